//! The reads of one call: answered once per question (rule A3), paged, counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use setpoint_core::contract::{ListQuery, ReadError};
use setpoint_core::{Key, Name};

use crate::bindings::objects;
use crate::convert;
use crate::limits::{Limits, size};
use crate::state::State;

/// A boxed future that can be sent to another thread.
pub type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, T>;

/// Objects per page if the plugin does not say.
const PAGE: u32 = 100;
/// The most objects per page.
const LONGEST_PAGE: u32 = 500;

/// Answers the reads of one call. Grants, descriptions, field masks, the read set and waiting for
/// sources that still sync are its business; questions that come here are well-formed. It is asked
/// each question once per call.
pub trait Reads: Send + Sync {
    /// One object as JSON; none is proven absence (rule A4).
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>>;

    /// The whole list, in ascending order of namespace and name. Pages are cut from it here.
    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>>;
}

/// One page of a list.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Page {
    list: Arc<[Arc<str>]>,
    from: usize,
    to: usize,
    /// Asks for the next page; none if this is the last.
    pub(crate) next: Option<String>,
}

impl Page {
    pub(crate) fn items(&self) -> &[Arc<str>] {
        &self.list[self.from..self.to]
    }
}

/// The answer to a get.
pub(crate) type GetAnswer = Result<Option<Arc<str>>, ReadError>;
/// The answer to a list: all of it, whatever the pages.
pub(crate) type ListAnswer = Result<Arc<[Arc<str>]>, ReadError>;

/// What a call has read so far.
pub(crate) struct Answers {
    /// None: nothing may be read.
    source: Option<Arc<dyn Reads>>,
    /// The cluster of lists that name none.
    cluster: Name,
    gets: HashMap<Key, GetAnswer>,
    /// The number of a list is part of its continue tokens.
    lists: HashMap<ListQuery, (usize, ListAnswer)>,
    max_calls: u32,
    max_bytes: u64,
    pub(crate) calls: u32,
    pub(crate) bytes: u64,
}

impl Answers {
    pub(crate) fn new(source: Option<Arc<dyn Reads>>, cluster: Name, limits: &Limits) -> Self {
        Self {
            source,
            cluster,
            gets: HashMap::new(),
            lists: HashMap::new(),
            max_calls: limits.host_calls,
            max_bytes: limits.bytes_read,
            calls: 0,
            bytes: 0,
        }
    }

    /// The cluster of the reconciled object.
    pub(crate) fn cluster(&self) -> &Name {
        &self.cluster
    }

    /// One object.
    pub(crate) async fn get(&mut self, key: Key) -> GetAnswer {
        let source = self.count_call()?;
        let answer = match self.gets.entry(key) {
            Entry::Occupied(answered) => answered.into_mut(),
            Entry::Vacant(question) => {
                let answer = source.get(question.key().clone()).await;
                question.insert(answer)
            }
        };
        let answer = answer.clone();
        if let Ok(Some(object)) = &answer {
            self.count_bytes(object.len())?;
        }
        answer
    }

    /// One page of a list. All pages are from the moment of the first (rule A3).
    pub(crate) async fn list(
        &mut self,
        query: ListQuery,
        limit: Option<u32>,
        token: Option<&str>,
    ) -> Result<Page, ReadError> {
        let source = self.count_call()?;
        let limit = limit.unwrap_or(PAGE);
        if !(1..=LONGEST_PAGE).contains(&limit) {
            return Err(invalid(format!("limit is {limit}; it must be from 1 to {LONGEST_PAGE}")));
        }
        let token = match token {
            None => None,
            Some(text) => Some(Token::parse(text).ok_or_else(|| invalid(format!("{text:?} is no continue token")))?),
        };
        let number = self.lists.len();
        let (number, answer) = match self.lists.entry(query) {
            Entry::Occupied(answered) => answered.into_mut(),
            Entry::Vacant(_) if token.is_some() => return Err(other_question()),
            Entry::Vacant(question) => {
                let answer = source.list(question.key().clone()).await;
                question.insert((number, answer))
            }
        };
        let list = answer.clone()?;
        let from = match token {
            None => 0,
            Some(token) if token.list == *number && token.from < list.len() => token.from,
            Some(_) => return Err(other_question()),
        };
        let to = list.len().min(from + limit as usize);
        let next = (to < list.len()).then(|| Token { list: *number, from: to }.text());
        let page = Page { list, from, to, next };
        self.count_bytes(page.items().iter().map(|item| item.len()).sum())?;
        Ok(page)
    }

    fn count_call(&mut self) -> Result<Arc<dyn Reads>, ReadError> {
        let Some(source) = &self.source else {
            return Err(ReadError::NotGranted("nothing can be read while the plugin describes itself".to_owned()));
        };
        if self.calls >= self.max_calls {
            return Err(ReadError::LimitExceeded(format!("more than {} reads in one call", self.max_calls)));
        }
        self.calls += 1;
        Ok(source.clone())
    }

    /// Counts what is about to be handed over.
    fn count_bytes(&mut self, bytes: usize) -> Result<(), ReadError> {
        let total = self.bytes.saturating_add(bytes as u64);
        if total > self.max_bytes {
            let max = usize::try_from(self.max_bytes).unwrap_or(usize::MAX);
            return Err(ReadError::LimitExceeded(format!("more than {} read in one call", size(max))));
        }
        self.bytes = total;
        Ok(())
    }
}

/// Where a list goes on. It means something within one call only.
struct Token {
    list: usize,
    from: usize,
}

impl Token {
    fn text(&self) -> String {
        format!("{}.{}", self.list, self.from)
    }

    fn parse(text: &str) -> Option<Self> {
        let (list, from) = text.split_once('.')?;
        Some(Self { list: list.parse().ok()?, from: from.parse().ok()? })
    }
}

fn invalid(text: String) -> ReadError {
    ReadError::Invalid(text)
}

fn other_question() -> ReadError {
    invalid("the continue token belongs to another question, or to another call".to_owned())
}

impl objects::Host for State {
    async fn get(&mut self, key: objects::Key) -> wasmtime::Result<Result<Option<String>, objects::ReadError>> {
        let answer = match convert::key(&key) {
            Ok(key) => self.answers.get(key).await,
            Err(reason) => Err(invalid(reason)),
        };
        Ok(match answer {
            Ok(object) => Ok(object.map(|object| object.as_ref().to_owned())),
            Err(error) => Err(convert::read_error(error)),
        })
    }

    async fn list(&mut self, query: objects::Query) -> wasmtime::Result<Result<objects::Page, objects::ReadError>> {
        let answer = match convert::list_query(&query, self.answers.cluster()) {
            Ok(question) => self.answers.list(question, query.limit, query.continue_.as_deref()).await,
            Err(reason) => Err(invalid(reason)),
        };
        Ok(match answer {
            Ok(page) => Ok(objects::Page {
                items: page.items().iter().map(|item| item.as_ref().to_owned()).collect(),
                continue_: page.next,
            }),
            Err(error) => Err(convert::read_error(error)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use setpoint_core::GroupKind;

    use super::*;

    /// Answers each question with how often it was asked.
    #[derive(Default)]
    struct Counting {
        asked: Mutex<Vec<String>>,
        length: usize,
    }

    impl Reads for Counting {
        fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
            let mut asked = self.asked.lock().expect("one thread");
            asked.push(key.to_string());
            let answer = match &*key.name {
                "absent" => Ok(None),
                "away" => Err(ReadError::Unavailable(format!("asked {}", asked.len()))),
                _ => Ok(Some(format!("{{\"asked\":{}}}", asked.len()).into())),
            };
            Box::pin(async move { answer })
        }

        fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
            let mut asked = self.asked.lock().expect("one thread");
            asked.push(query.kind.to_string());
            let moment = asked.len();
            let items = (0..self.length).map(|i| Arc::from(format!("{moment}:{i:04}"))).collect();
            Box::pin(async move { Ok(items) })
        }
    }

    fn key(name: &str) -> Key {
        Key::new("local", "", "ConfigMap", Some("default"), name)
    }

    fn query(kind: &str) -> ListQuery {
        ListQuery {
            cluster: "local".into(),
            kind: GroupKind::new("", kind),
            namespace: None,
            labels: None,
            index: None,
        }
    }

    fn answers(source: &Arc<Counting>, limits: Limits) -> Answers {
        Answers::new(Some(source.clone()), "local".into(), &limits)
    }

    #[tokio::test]
    async fn the_same_question_has_the_same_answer_within_a_call() {
        let source = Arc::new(Counting::default());
        let mut call = answers(&source, Limits::default());
        let first = call.get(key("a")).await;
        assert_eq!(first, Ok(Some(Arc::from("{\"asked\":1}"))));
        assert_eq!(call.get(key("absent")).await, Ok(None));
        let away = call.get(key("away")).await;
        assert!(matches!(away, Err(ReadError::Unavailable(_))));
        assert_eq!(call.get(key("a")).await, first);
        assert_eq!(call.get(key("absent")).await, Ok(None));
        assert_eq!(call.get(key("away")).await, away);
        assert_eq!(source.asked.lock().expect("one thread").len(), 3);
        assert_eq!((call.calls, call.bytes), (6, 22), "an answer counts each time it is handed over");
    }

    #[tokio::test]
    async fn pages_of_a_list_are_all_from_its_first_moment_and_together_the_whole() {
        let source = Arc::new(Counting { length: 1001, ..Counting::default() });
        for limit in [None, Some(1), Some(333), Some(500)] {
            let mut call = answers(&source, Limits::default());
            let (mut token, mut seen, mut pages) = (None, Vec::new(), 0);
            loop {
                let page = call.list(query("A"), limit, token.as_deref()).await.expect("a page");
                assert!(page.items().len() <= limit.unwrap_or(PAGE) as usize);
                seen.extend(page.items().to_vec());
                pages += 1;
                token = page.next.clone();
                if token.is_none() {
                    break;
                }
                call.get(key("a")).await.expect("something in between");
            }
            let moment = seen[0].split(':').next().expect("a moment").to_owned();
            let whole: Vec<Arc<str>> = (0..1001).map(|i| Arc::from(format!("{moment}:{i:04}"))).collect();
            assert_eq!(seen, whole);
            assert_eq!(pages, 1001usize.div_ceil(limit.unwrap_or(PAGE) as usize));
        }
    }

    #[tokio::test]
    async fn an_empty_list_is_one_empty_last_page() {
        let mut call = answers(&Arc::default(), Limits::default());
        let page = call.list(query("A"), None, None).await.expect("a page");
        assert!(page.items().is_empty() && page.next.is_none());
    }

    #[tokio::test]
    async fn a_token_of_another_question_and_a_page_of_no_length_are_refused() {
        let source = Arc::new(Counting { length: 10, ..Counting::default() });
        let mut call = answers(&source, Limits::default());
        let a = call.list(query("A"), Some(4), None).await.expect("a page").next.expect("more");
        let b = call.list(query("B"), Some(4), None).await.expect("a page").next.expect("more");
        assert!(call.list(query("B"), Some(4), Some(&b)).await.is_ok());
        let refused = |answer: Result<Page, ReadError>| matches!(answer, Err(ReadError::Invalid(_)));
        assert!(refused(call.list(query("B"), Some(4), Some(&a)).await));
        assert!(refused(call.list(query("C"), Some(4), Some(&a)).await), "never asked before");
        assert!(refused(call.list(query("A"), Some(4), Some("0.10")).await), "beyond the end");
        assert!(refused(call.list(query("A"), Some(4), Some("x")).await));
        assert!(refused(call.list(query("A"), Some(0), None).await));
        assert!(refused(call.list(query("A"), Some(501), None).await));
    }

    #[tokio::test]
    async fn reads_beyond_the_limits_are_answered_with_what_to_change() {
        let source = Arc::new(Counting { length: 10, ..Counting::default() });
        let mut call = answers(&source, Limits { host_calls: 2, ..Limits::default() });
        assert!(call.get(key("a")).await.is_ok());
        assert!(call.get(key("a")).await.is_ok());
        let error = call.get(key("a")).await.expect_err("the third");
        assert_eq!(error, ReadError::LimitExceeded("more than 2 reads in one call".into()));

        let mut call = answers(&source, Limits { bytes_read: 12, ..Limits::default() });
        assert!(call.list(query("A"), Some(2), None).await.is_ok());
        assert!(matches!(call.list(query("A"), Some(2), None).await, Err(ReadError::LimitExceeded(_))));
        assert_eq!(call.bytes, 12, "what was not handed over is not counted");
    }

    #[tokio::test]
    async fn nothing_is_read_while_a_plugin_describes_itself() {
        let mut call = Answers::new(None, "".into(), &Limits::default());
        assert!(matches!(call.get(key("a")).await, Err(ReadError::NotGranted(_))));
        assert!(matches!(call.list(query("A"), None, None).await, Err(ReadError::NotGranted(_))));
    }
}
