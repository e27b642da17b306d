//! The shadow (rule D11): before a new version of a plugin takes over it answers the last requests
//! of the one that runs, without effects. A version that only traps is refused; what it would delete
//! feeds the guard of rule B3.

use std::sync::Arc;
use std::time::Duration;

use setpoint_core::contract::{Description, Outcome, Request};
use setpoint_core::effects::{Shapes, validate};
use setpoint_core::engine::PluginInfo;
use setpoint_core::key::{GroupKind, Key};
use setpoint_core::recording::{Question, RecordedResult};
use setpoint_core::sanitize::sanitize;
use setpoint_plugin::{Call, Limits, Reads, Replayed, recorded_result};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::code::Code;
use crate::driver::Driver;
use crate::logs::Silent;
use crate::reads::PeekReads;
use crate::ring::Recorded;
use crate::views::ShadowRow;

/// All requests together have so long; those without an answer by then are left out.
const AT_MOST: Duration = Duration::from_secs(10);
/// Requests that are answered at a time: the version that runs needs instances as well.
const AT_A_TIME: usize = 4;
/// Objects that differ, by name.
const NAMED: usize = 20;

/// A version that shall take over.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) code: Code,
    pub(crate) limits: Limits,
    /// As the engine will know it.
    pub(crate) info: Arc<PluginInfo>,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Tried {
    pub(crate) row: ShadowRow,
    /// Owner and child that it would no longer return.
    pub(crate) deletions: Vec<(Key, Key)>,
    /// Requests that had no answer in time, or whose reads had none.
    pub(crate) left_out: usize,
    /// The message of the newest trap.
    pub(crate) trap: Option<String>,
}

impl Tried {
    /// Why the version is refused: it answered, and never with anything but a trap.
    pub(crate) fn refusal(&self) -> Option<String> {
        let ShadowRow { calls, traps, .. } = self.row;
        let trap = self.trap.as_deref().filter(|_| calls > 0 && traps == calls)?;
        let requests = match calls {
            1 => "the last request".to_owned(),
            _ => format!("all of the last {calls} requests"),
        };
        Some(format!("in the shadow it trapped on {requests}: {trap}; replace the file by a mended one"))
    }
}

/// The requests that a version is tried on: the last ones of the kinds that it still reconciles.
pub(crate) fn requests(driver: &Driver, description: &Description) -> Vec<Arc<Recorded>> {
    let kinds: Vec<GroupKind> = description.kinds.iter().map(|owned| owned.kind.group_kind()).collect();
    driver.ring.recent(&description.name, &kinds)
}

/// Lets `candidate` answer `requests` while the version `before` runs on.
pub(crate) async fn try_out(
    driver: &Arc<Driver>,
    shapes: &dyn Shapes,
    before: &PluginInfo,
    candidate: &Candidate,
    requests: Vec<Arc<Recorded>>,
) -> Tried {
    let deadline = Instant::now() + AT_MOST;
    let asked = requests.len();
    let same_view: Arc<[GroupKind]> = same_view(&before.description, &candidate.info.description).into();
    let mut waiting = requests.into_iter();
    let mut running = JoinSet::new();
    let mut pairs = Vec::new();
    loop {
        while running.len() < AT_A_TIME
            && let Some(recorded) = waiting.next()
        {
            running.spawn(answer(driver.clone(), candidate.clone(), same_view.clone(), recorded));
        }
        match timeout_at(deadline, running.join_next()).await {
            Ok(Some(Ok(Some(pair)))) => {
                let trapped = matches!(recorded_result(&pair.after), RecordedResult::Trap(_));
                driver.metrics.record_shadow_call(&candidate.info.name, trapped);
                pairs.push(pair);
            }
            Ok(Some(Ok(None))) => {}
            Ok(Some(Err(error))) => tracing::error!(%error, "a request in the shadow was not carried through"),
            // All are answered, or the time is over: dropping the set cancels what still runs.
            Ok(None) | Err(_) => break,
        }
    }
    drop(running);
    let mut tried = judge(pairs, |pair| {
        let request = pair.before.request();
        let children = child_keys(before, shapes, request, pair.before.outcome()?)?;
        Some((children, child_keys(&candidate.info, shapes, request, pair.after.result.as_ref().ok()?)?))
    });
    tried.left_out = asked - tried.row.calls;
    // An owner that has gone since deletes nothing any more.
    driver.look(|engine| {
        let cache = engine.cache();
        let is_there = |owner: &Key| cache.keys().find(owner).is_some_and(|id| cache.view(id).is_some());
        tried.deletions.retain(|(owner, _)| is_there(owner));
    });
    tried.row.deletions = tried.deletions.len();
    tried
}

/// A request with the answers of both versions.
struct Pair {
    before: Arc<Recorded>,
    after: Call,
}

/// Asks the new version; none if the answer says nothing, because the host could not answer a read.
async fn answer(
    driver: Arc<Driver>,
    candidate: Candidate,
    same_view: Arc<[GroupKind]>,
    before: Arc<Recorded>,
) -> Option<Pair> {
    let mut recorded = before.reads();
    recorded.retain(|read| kind_of(&read.question).is_some_and(|kind| same_view.contains(&kind)));
    let peek = Arc::new(PeekReads::new(driver, candidate.info.clone()));
    let fallback: Arc<dyn Reads> = peek.clone();
    let reads = Arc::new(Replayed::new(&recorded, Some(fallback)));
    let request = Request { config: candidate.info.config.clone(), ..before.request().clone() };
    let after = candidate.code.reconcile(&request, reads, &candidate.limits, Arc::new(Silent)).await;
    (!peek.unanswered()).then_some(Pair { before, after })
}

fn kind_of(question: &Question) -> Option<GroupKind> {
    match question {
        Question::Get(key) => Some(Key::parse(key)?.group_kind()),
        Question::List(query) => Some(GroupKind::new(&query.group, &query.kind)),
    }
}

/// The kinds of which both versions see the same: answers recorded for another field mask would
/// mislead the new one, which is answered anew.
fn same_view(before: &Description, after: &Description) -> Vec<GroupKind> {
    let same = after.reads.iter().filter(|read| before.reads.contains(read));
    same.map(|read| read.kind.group_kind()).collect()
}

/// The keys of the children that an outcome returns; none if it leaves its children, or is no answer.
fn child_keys(info: &PluginInfo, shapes: &dyn Shapes, request: &Request, outcome: &Outcome) -> Option<Vec<Key>> {
    let (_, children) =
        validate(&request.key, request.deleting, outcome, &info.description, info.grants(), shapes).ok()?;
    Some(children?.into_iter().filter_map(|child| child.key).collect())
}

/// Counts and compares. `children`: of the version before and of the new one, where both are known.
fn judge(mut pairs: Vec<Pair>, children: impl Fn(&Pair) -> Option<(Vec<Key>, Vec<Key>)>) -> Tried {
    // Newest first: only the last answer for an object says what would become of it.
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.before.number()));
    let mut tried = Tried::default();
    let mut seen = std::collections::HashSet::new();
    for pair in &pairs {
        tried.row.calls += 1;
        let after = recorded_result(&pair.after);
        if let RecordedResult::Trap(message) = &after {
            tried.row.traps += 1;
            tried.trap.get_or_insert_with(|| sanitize(message));
        }
        let key = pair.before.key();
        if !seen.insert(key.clone()) {
            continue;
        }
        // What may answer differently each time proves nothing by doing so (rule A7).
        let comparable = !pair.before.impure() && !pair.after.impure;
        if comparable && tried.row.differences.len() < NAMED && after != pair.before.result() {
            tried.row.differences.push(key.to_string());
        }
        if pair.before.request().deleting {
            continue;
        }
        if let Some((before, after)) = children(pair) {
            let lost = before.into_iter().filter(|child| !after.contains(child));
            tried.deletions.extend(lost.map(|child| ((**key).clone(), child)));
        }
    }
    tried.row.deletions = tried.deletions.len();
    tried
}

#[cfg(test)]
mod tests {
    use setpoint_core::contract::{ReadKind, ReadScope, Tuning};
    use setpoint_core::key::GroupVersionKind;
    use setpoint_plugin::{CallFailure, CallStats};

    use super::*;
    use crate::ring::Ring;
    use crate::ring::tests::{answer, record, request};

    fn trap() -> Call {
        let failure = CallFailure::Trap { message: "the plugin trapped: unreachable".into(), limit: None };
        Call { result: Err(failure), impure: false, stats: CallStats::default() }
    }

    /// What both versions answered: name of the object, before, after; oldest first.
    fn pairs(calls: &[(&str, Call, Call)]) -> Vec<Pair> {
        let ring = Ring::default();
        for (name, before, _) in calls {
            record(&ring, &request("A", name, 2), before);
        }
        let newest_first = ring.recent("p", &[GroupKind::new("g", "A")]).into_iter();
        newest_first.zip(calls.iter().rev()).map(|(before, call)| Pair { before, after: call.2.clone() }).collect()
    }

    /// The children of both answers, by the names in them.
    fn children(pair: &Pair) -> Option<(Vec<Key>, Vec<Key>)> {
        let keys = |outcome: &Outcome| -> Option<Vec<Key>> {
            let name = |text: &str| {
                let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
                value["metadata"]["name"].as_str().expect("a name").to_owned()
            };
            let key = |text: &str| Key::new("local", "", "ConfigMap", Some("default"), &name(text));
            Some(outcome.children.as_ref()?.iter().map(|child| key(&child.object)).collect())
        };
        Some((keys(pair.before.outcome()?)?, keys(pair.after.result.as_ref().ok()?)?))
    }

    #[test]
    fn a_version_that_traps_on_every_request_is_refused_and_one_that_answers_once_is_not() {
        let all = judge(pairs(&[("a", answer(&[]), trap()), ("b", answer(&[]), trap())]), children);
        let refusal = all.refusal().expect("refused");
        assert!(refusal.starts_with("in the shadow it trapped on all of the last 2 requests: the plugin trapped"));
        let one = judge(pairs(&[("a", answer(&[]), answer(&[])), ("b", answer(&[]), trap())]), children);
        assert_eq!((one.refusal(), one.row.calls, one.row.traps), (None, 2, 1));
        assert_eq!(judge(Vec::new(), children).refusal(), None, "nothing was asked");
    }

    #[test]
    fn only_the_last_answer_for_an_object_says_what_would_be_deleted() {
        let tried = judge(
            pairs(&[
                ("a", answer(&["one", "two", "three"]), answer(&[])),
                ("a", answer(&["one", "two"]), answer(&["two"])),
                ("b", answer(&["one"]), answer(&["one", "more"])),
            ]),
            children,
        );
        let owner = Key::new("local", "g", "A", Some("default"), "a");
        let child = Key::new("local", "", "ConfigMap", Some("default"), "one");
        assert_eq!(tried.deletions, [(owner, child)]);
        assert_eq!(tried.row.deletions, 1);
        assert_eq!(tried.row.differences, ["local/g/A/default/b", "local/g/A/default/a"]);
    }

    #[test]
    fn a_call_that_may_answer_differently_each_time_is_no_difference() {
        let impure = Call { impure: true, ..answer(&["other"]) };
        let tried = judge(pairs(&[("a", answer(&["one"]), impure)]), children);
        assert!(tried.row.differences.is_empty());
        assert_eq!(tried.deletions.len(), 1, "what it would delete counts all the same");
    }

    #[test]
    fn answers_recorded_for_another_field_mask_are_not_given_to_the_new_version() {
        let read = |kind: &str, fields: &[&str]| ReadKind {
            kind: GroupVersionKind::new("", "v1", kind),
            scope: ReadScope::All,
            fields: fields.iter().map(ToString::to_string).collect(),
            indexes: Vec::new(),
        };
        let description = |reads: Vec<ReadKind>| Description {
            name: "p".into(),
            version: "0.1.0".into(),
            kinds: Vec::new(),
            reads,
            writes: Vec::new(),
            capabilities: Vec::new(),
            config_schema: None,
            tuning: Tuning::default(),
        };
        let before = description(vec![read("ConfigMap", &["data"]), read("Secret", &[])]);
        let after = description(vec![read("ConfigMap", &[]), read("Secret", &[]), read("Service", &[])]);
        assert_eq!(same_view(&before, &after), [GroupKind::new("", "Secret")]);
    }
}
