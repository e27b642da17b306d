use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use setpoint_core::contract::{Child, Failure, ListQuery, ReadError, Update};
use setpoint_core::key::Key;
use setpoint_plugin::BoxFuture;

use super::*;
use crate::embed::Describe;

/// What the tests' reconciler does.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Answers,
    Fails,
    Panics,
    Hangs,
    AnswersNonsense,
    AnswersTooMuch,
    ReadsTwice,
    ReadsForEver,
}

struct Puppet(Does);

fn definition() -> serde_json::Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "puppets.g.example.com"},
        "spec": {"group": "g.example.com", "scope": "Namespaced",
            "names": {"kind": "Puppet", "plural": "puppets", "singular": "puppet"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
}

impl Reconciler for Puppet {
    fn describe(&self) -> Describe {
        let describe = Describe::new("puppet", "1.0.0").owns("v1", definition());
        if self.0 == Does::Answers { describe.pure() } else { describe }
    }

    async fn reconcile(&self, request: Request, reads: TrackedReads) -> Result<Outcome, Failure> {
        let child = |object: &str| Child { cluster: None, object: object.to_owned(), update: Update::InPlace };
        match self.0 {
            Does::Answers => Ok(Outcome::default()),
            Does::Fails => Err(Failure::Permanent("no".into())),
            Does::Panics => panic!("the string is cut"),
            Does::Hangs => pending().await,
            Does::AnswersNonsense => Ok(Outcome { children: Some(vec![child("[]")]), ..Outcome::default() }),
            Does::AnswersTooMuch => Ok(Outcome { children: Some(vec![child("{}"); 3]), ..Outcome::default() }),
            Does::ReadsTwice => {
                let first = reads.get(&request.key).await;
                assert_eq!(first, reads.clone().get(&request.key).await);
                Ok(Outcome { status: first.ok().flatten().map(|json| json.to_string()), ..Outcome::default() })
            }
            Does::ReadsForEver => loop {
                if let Err(error) = reads.get(&request.key).await {
                    return Err(Failure::Permanent(error.to_string()));
                }
            },
        }
    }
}

/// Answers each question differently, and counts them.
#[derive(Default)]
struct Counting(Mutex<u32>);

impl Reads for Counting {
    fn get(&self, _: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
        let mut asked = self.0.lock().expect("nobody panics with it");
        *asked += 1;
        let answer = format!(r#"{{"asked": {asked}}}"#);
        Box::pin(async move { Ok(Some(answer.into())) })
    }

    fn list(&self, _: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
        Box::pin(async { Ok(Arc::from([])) })
    }
}

async fn call(does: Does) -> (Call, u32) {
    let native = Arc::new(Native::new(Puppet(does)).expect("it is described"));
    let request = Request {
        key: Arc::new(Key::new("local", "g.example.com", "Puppet", Some("a"), "x")),
        object: "{}".into(),
        deleting: false,
        attempt: 1,
        last_error: None,
        causes: Vec::new(),
        config: "{}".into(),
    };
    let limits = Limits { wall: Duration::from_millis(200), children: 2, host_calls: 50, ..Limits::default() };
    let reads = Arc::new(Counting::default());
    let call = native.reconcile(&request, reads.clone(), &limits).await;
    let asked = *reads.0.lock().expect("nobody panics with it");
    (call, asked)
}

async fn trapped(does: Does) -> (String, Option<LimitKind>) {
    match call(does).await.0.result {
        Err(CallFailure::Trap { message, limit }) => (message, limit),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_is_an_outcome_and_an_error_a_failure() {
    let (answered, _) = call(Does::Answers).await;
    assert!(answered.result == Ok(Outcome::default()) && !answered.impure);
    let (failed, _) = call(Does::Fails).await;
    assert_eq!(failed.result, Err(CallFailure::Plugin(Failure::Permanent("no".into()))));
    assert!(failed.impure, "what does not say that it is pure may answer differently next time");
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_that_says_why() {
    assert_eq!(trapped(Does::Panics).await, ("panic: the string is cut".to_owned(), None));
}

#[tokio::test]
async fn a_call_that_does_not_end_is_a_timeout() {
    let (message, limit) = trapped(Does::Hangs).await;
    assert!(message.starts_with("timeout:") && limit == Some(LimitKind::Wall), "{message}");
}

#[tokio::test]
async fn an_answer_keeps_the_limits_of_all_answers() {
    let (message, limit) = trapped(Does::AnswersTooMuch).await;
    assert!(limit == Some(LimitKind::Children) && message.contains("(3)"), "{message}");
    let (nonsense, _) = call(Does::AnswersNonsense).await;
    assert!(matches!(nonsense.result, Err(CallFailure::Invalid(text)) if text.contains("child 1 of 1")));
}

#[tokio::test]
async fn a_question_that_is_asked_twice_in_a_call_has_one_answer() {
    let (call, asked) = call(Does::ReadsTwice).await;
    assert_eq!(asked, 1);
    assert_eq!(call.result.map(|outcome| outcome.status), Ok(Some(r#"{"asked": 1}"#.to_owned())));
}

#[tokio::test]
async fn reads_have_an_end() {
    let (call, _) = call(Does::ReadsForEver).await;
    assert!(matches!(call.result, Err(CallFailure::Plugin(Failure::Permanent(text))) if text.contains("50 reads")));
}

#[test]
fn what_panics_when_it_is_described_is_refused() {
    struct Shy;

    impl Reconciler for Shy {
        fn describe(&self) -> Describe {
            panic!("not yet")
        }

        async fn reconcile(&self, _: Request, _: TrackedReads) -> Result<Outcome, Failure> {
            Ok(Outcome::default())
        }
    }
    let problem = Native::new(Shy).err().unwrap_or_default();
    assert!(problem.contains("panic: not yet"), "{problem}");
}
