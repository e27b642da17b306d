//! What a call read, kept so that the call can be made again: with another version of the plugin, in another
//! instance, elsewhere (rules A13, D11; `setpoint record`, `replay`, `plan`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use setpoint_core::Key;
use setpoint_core::contract::{ListQuery, ReadError};
use setpoint_core::recording::{Question, RecordedAnswer, RecordedRead, RecordedResult};

use crate::call::{Call, CallFailure};
use crate::reads::{BoxFuture, GetAnswer, ListAnswer, Reads};

/// Bytes of answers that a [`Recorder`] keeps.
const MAX_RECORDED: usize = 8 << 20;

/// Asks another [`Reads`], and keeps the questions and answers of one call.
///
/// Answers are shared with whoever gave them, not copied, until [`Recorder::reads`] is asked for. Of answers
/// beyond 8 MiB together nothing is kept, nor of what comes after them: see [`Recorder::truncated`].
pub struct Recorder {
    source: Arc<dyn Reads>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    reads: Vec<Read>,
    bytes: usize,
    truncated: bool,
}

enum Read {
    Get(Key, GetAnswer),
    List(ListQuery, ListAnswer),
}

impl Read {
    fn bytes(&self) -> usize {
        match self {
            Read::Get(_, Ok(Some(object))) => object.len(),
            Read::List(_, Ok(items)) => items.iter().map(|item| item.len()).sum(),
            // What is short enough not to count.
            Read::Get(_, Ok(None) | Err(_)) | Read::List(_, Err(_)) => 0,
        }
    }

    fn recorded(&self) -> RecordedRead {
        match self {
            Read::Get(key, answer) => {
                RecordedRead { question: Question::get(key), answer: RecordedAnswer::of_get(answer) }
            }
            Read::List(query, answer) => {
                RecordedRead { question: Question::list(query), answer: RecordedAnswer::of_list(answer) }
            }
        }
    }
}

impl Recorder {
    /// Records what is asked of `source`. For one call: a call asks each question once.
    pub fn new(source: Arc<dyn Reads>) -> Self {
        Self { source, kept: Mutex::new(Kept::default()) }
    }

    /// What was asked and answered so far, in that order.
    pub fn reads(&self) -> Vec<RecordedRead> {
        self.lock().reads.iter().map(Read::recorded).collect()
    }

    /// Whether the record has an end before the call's: there was too much to keep.
    pub fn truncated(&self) -> bool {
        self.lock().truncated
    }

    /// Bytes of the answers that are kept.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What is kept is right after every step, so what a panic left is as good.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, read: Read) {
        let mut kept = self.lock();
        let bytes = kept.bytes.saturating_add(read.bytes());
        if kept.truncated || bytes > MAX_RECORDED {
            kept.truncated = true;
            return;
        }
        kept.bytes = bytes;
        kept.reads.push(read);
    }
}

impl Reads for Recorder {
    fn get(&self, key: Key) -> BoxFuture<'_, GetAnswer> {
        Box::pin(async move {
            let answer = self.source.get(key.clone()).await;
            self.keep(Read::Get(key, answer.clone()));
            answer
        })
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, ListAnswer> {
        Box::pin(async move {
            let answer = self.source.list(query.clone()).await;
            self.keep(Read::List(query, answer.clone()));
            answer
        })
    }
}

/// Answers reads from what was recorded.
///
/// A question that was not recorded goes to the fallback; without one it is answered with
/// [`ReadError::Unavailable`], and an outcome made in spite of it should not be relied on (rule A4). Either way
/// [`Replayed::unrecorded`] names it. Of a question that was recorded twice the first answer counts.
pub struct Replayed {
    /// By the key's text, in which recordings have it.
    gets: HashMap<String, GetAnswer>,
    lists: HashMap<ListQuery, ListAnswer>,
    fallback: Option<Arc<dyn Reads>>,
    unrecorded: Mutex<Vec<Question>>,
}

impl Replayed {
    /// Answers from a recording. Objects are written anew from their JSON: what they say is the same, their order
    /// of fields and their white space need not be.
    pub fn new(reads: &[RecordedRead], fallback: Option<Arc<dyn Reads>>) -> Self {
        let (mut gets, mut lists) = (HashMap::new(), HashMap::new());
        for RecordedRead { question, answer } in reads {
            match question {
                Question::Get(key) => {
                    gets.entry(key.clone()).or_insert_with(|| answer.get());
                }
                Question::List(query) => {
                    lists.entry(query.query()).or_insert_with(|| answer.list());
                }
            }
        }
        Self { gets, lists, fallback, unrecorded: Mutex::default() }
    }

    /// Answers to the letter what a call of this process was answered. Without a fallback.
    pub(crate) fn of(recorder: &Recorder) -> Self {
        let (mut gets, mut lists) = (HashMap::new(), HashMap::new());
        for read in &recorder.lock().reads {
            match read {
                Read::Get(key, answer) => {
                    gets.entry(key.to_string()).or_insert_with(|| answer.clone());
                }
                Read::List(query, answer) => {
                    lists.entry(query.clone()).or_insert_with(|| answer.clone());
                }
            }
        }
        Self { gets, lists, fallback: None, unrecorded: Mutex::default() }
    }

    /// The questions that were not in the recording, in the order in which they were asked.
    pub fn unrecorded(&self) -> Vec<Question> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn missed(&self, question: Question) -> ReadError {
        let error = ReadError::Unavailable(format!("not in the recording: {}", words(&question)));
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).push(question);
        error
    }
}

impl Reads for Replayed {
    fn get(&self, key: Key) -> BoxFuture<'_, GetAnswer> {
        Box::pin(async move {
            if let Some(answer) = self.gets.get(&key.to_string()) {
                return answer.clone();
            }
            let error = self.missed(Question::get(&key));
            match &self.fallback {
                Some(fallback) => fallback.get(key).await,
                None => Err(error),
            }
        })
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, ListAnswer> {
        Box::pin(async move {
            if let Some(answer) = self.lists.get(&query) {
                return answer.clone();
            }
            let error = self.missed(Question::list(&query));
            match &self.fallback {
                Some(fallback) => fallback.list(query).await,
                None => Err(error),
            }
        })
    }
}

/// A question for people: `get local/core/ConfigMap/default/a`, `list ConfigMap in default with a=b`.
pub(crate) fn words(question: &Question) -> String {
    let query = match question {
        Question::Get(key) => return format!("get {key}"),
        Question::List(query) => query.query(),
    };
    let mut text = format!("list {}", query.kind);
    if let Some(namespace) = &query.namespace {
        text = format!("{text} in {namespace}");
    }
    if let Some(labels) = &query.labels {
        text = format!("{text} with {labels}");
    }
    if let Some((index, value)) = &query.index {
        text = format!("{text} where {index} is {value}");
    }
    text
}

/// What came of a call, as recordings have it: a trap, a limit and an answer that makes no sense are one.
pub fn recorded_result(call: &Call) -> RecordedResult {
    match &call.result {
        Ok(outcome) => RecordedResult::Outcome(Box::new(outcome.into())),
        Err(CallFailure::Plugin(failure)) => RecordedResult::Failure(failure.into()),
        Err(stopped @ (CallFailure::Trap { .. } | CallFailure::Invalid(_))) => {
            RecordedResult::Trap(stopped.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use setpoint_core::GroupKind;
    use setpoint_core::contract::Failure;
    use setpoint_core::recording::RecordedFailure;

    use super::*;
    use crate::call::CallStats;

    /// One object per name, as long as its name says; `absent` and `away` are what they are called.
    struct Source;

    impl Reads for Source {
        fn get(&self, key: Key) -> BoxFuture<'_, GetAnswer> {
            Box::pin(async move {
                match &*key.name {
                    "absent" => Ok(None),
                    "away" => Err(ReadError::Unavailable("away".into())),
                    name => {
                        let fill = "x".repeat(name.parse().unwrap_or(1));
                        Ok(Some(format!("{{\"b\":1, \"a\":\"{fill}\"}}").into()))
                    }
                }
            })
        }

        fn list(&self, query: ListQuery) -> BoxFuture<'_, ListAnswer> {
            let item: Arc<str> = format!("{{\"kind\":\"{}\"}}", query.kind).into();
            Box::pin(async move { Ok(Arc::from([item])) })
        }
    }

    fn key(name: &str) -> Key {
        Key::new("local", "", "ConfigMap", Some("default"), name)
    }

    fn query(kind: &str) -> ListQuery {
        ListQuery {
            cluster: "local".into(),
            kind: GroupKind::new("g", kind),
            namespace: Some("default".into()),
            labels: Some("a=b".into()),
            index: Some(("owner".into(), "me".into())),
        }
    }

    #[tokio::test]
    async fn a_call_is_answered_the_same_from_its_recording() {
        let recorder = Recorder::new(Arc::new(Source));
        let asked = (
            recorder.get(key("a")).await,
            recorder.get(key("absent")).await,
            recorder.list(query("A")).await,
            recorder.get(key("away")).await,
        );
        assert_eq!(asked.0, Source.get(key("a")).await, "what is recorded is answered as it came");
        let reads = recorder.reads();
        let questions: Vec<_> = reads.iter().map(|read| words(&read.question)).collect();
        let expected = [
            "get local/core/ConfigMap/default/a",
            "get local/core/ConfigMap/default/absent",
            "list A.g in default with a=b where owner is me",
            "get local/core/ConfigMap/default/away",
        ];
        assert_eq!(questions, expected);
        assert!(!recorder.truncated());

        let exact = Replayed::of(&recorder);
        assert_eq!(exact.get(key("a")).await, asked.0, "to the letter");
        let written = Replayed::new(&reads, None);
        let again = written.get(key("a")).await.expect("an answer").expect("an object");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&again), value(&asked.0.expect("an answer").expect("an object")));
        for replayed in [exact, written] {
            assert_eq!(replayed.get(key("absent")).await, asked.1);
            assert_eq!(replayed.list(query("A")).await, asked.2);
            assert_eq!(replayed.get(key("away")).await, asked.3);
            assert!(replayed.unrecorded().is_empty());
        }
    }

    #[tokio::test]
    async fn a_question_that_was_not_recorded_is_told_and_goes_to_the_fallback() {
        let alone = Replayed::new(&[], None);
        let missing = ReadError::Unavailable("not in the recording: get local/core/ConfigMap/default/a".into());
        assert_eq!(alone.get(key("a")).await, Err(missing));
        assert!(matches!(alone.list(query("A")).await, Err(ReadError::Unavailable(_))));
        assert_eq!(alone.unrecorded(), [Question::get(&key("a")), Question::list(&query("A"))]);

        let helped = Replayed::new(&[], Some(Arc::new(Source)));
        assert_eq!(helped.get(key("absent")).await, Ok(None));
        assert_eq!(helped.list(query("A")).await, Source.list(query("A")).await);
        assert_eq!(helped.unrecorded(), [Question::get(&key("absent")), Question::list(&query("A"))]);
    }

    #[tokio::test]
    async fn a_recorder_keeps_so_much_and_says_when_there_was_more() {
        let recorder = Recorder::new(Arc::new(Source));
        let half = (MAX_RECORDED / 2).to_string();
        assert!(recorder.get(key(&half)).await.is_ok());
        assert!(!recorder.truncated());
        assert!(recorder.get(key(&half)).await.is_ok(), "the call itself goes on");
        assert!(recorder.truncated());
        assert!(recorder.get(key("a")).await.is_ok());
        assert_eq!(recorder.reads().len(), 1, "what is kept is a beginning, without gaps");
    }

    #[test]
    fn whatever_stopped_a_call_is_a_trap_in_a_recording() {
        let call = |failure| Call { result: Err(failure), impure: false, stats: CallStats::default() };
        let retry = call(CallFailure::Plugin(Failure::Retry("no".into())));
        assert_eq!(recorded_result(&retry), RecordedResult::Failure(RecordedFailure::Retry("no".into())));
        let trap = call(CallFailure::Trap { message: "the plugin trapped".into(), limit: None });
        assert_eq!(recorded_result(&trap), RecordedResult::Trap("the plugin trapped".into()));
        let invalid = call(CallFailure::Invalid("no JSON".into()));
        let told = RecordedResult::Trap("the plugin's answer is invalid: no JSON".into());
        assert_eq!(recorded_result(&invalid), told);
    }
}
