//! The last calls of each plugin, in memory: what a new version is tried on (rule D11), and what
//! `setpoint record` is told live. Kept is what was there anyway, shared; it becomes a
//! [`RecordedCall`] only when somebody asks.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use setpoint_core::contract::{Outcome, Request};
use setpoint_core::key::{GroupKind, Key, Name};
use setpoint_core::recording::{RecordedCall, RecordedRead, RecordedRequest, RecordedResult};
use setpoint_plugin::{Call, Recorder, recorded_result};
use tokio::sync::broadcast;

use crate::clock::rfc3339_millis;
use crate::driver::unix_now;

/// Calls per plugin and kind.
const KEPT: usize = 32;
/// A call with more than this in its request, reads and outcome is not kept.
const CALL_BYTES: usize = 1 << 20;
/// The calls of one plugin have so much together; the oldest go first.
const PLUGIN_BYTES: usize = 8 << 20;
/// A listener that is so many calls behind misses some, and is told so.
const STREAM: usize = 64;

/// One call of a plugin as it was.
pub struct Recorded {
    number: u64,
    plugin: Name,
    digest: Name,
    /// Unix milliseconds.
    at: u64,
    request: Request,
    /// Shared with the one who recorded them.
    reads: Arc<Recorder>,
    call: Call,
    bytes: usize,
}

impl Recorded {
    /// The plugin's name.
    pub fn plugin(&self) -> &Name {
        &self.plugin
    }

    /// The object that it was called for.
    pub fn key(&self) -> &Arc<Key> {
        &self.request.key
    }

    /// The call as recordings have it. Secrets are in it as they are.
    pub fn call(&self) -> RecordedCall {
        RecordedCall {
            plugin: self.plugin.to_string(),
            digest: self.digest.to_string(),
            at: rfc3339_millis(self.at),
            request: RecordedRequest::of(&self.request),
            reads: self.reads(),
            impure: self.call.impure,
            result: self.result(),
        }
    }

    /// Its place among all calls of this host.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    pub(crate) fn reads(&self) -> Vec<RecordedRead> {
        self.reads.reads()
    }

    pub(crate) fn impure(&self) -> bool {
        self.call.impure
    }

    pub(crate) fn result(&self) -> RecordedResult {
        recorded_result(&self.call)
    }

    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.call.result.as_ref().ok()
    }
}

/// The calls of one plugin, by kind, oldest first.
#[derive(Default)]
struct OfPlugin {
    kinds: HashMap<GroupKind, VecDeque<Arc<Recorded>>>,
    bytes: usize,
}

impl OfPlugin {
    fn push(&mut self, recorded: Arc<Recorded>) {
        self.bytes += recorded.bytes;
        let calls = self.kinds.entry(recorded.key().group_kind()).or_default();
        calls.push_back(recorded);
        if calls.len() > KEPT
            && let Some(oldest) = calls.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
        while self.bytes > PLUGIN_BYTES {
            let calls = self.kinds.values_mut().filter(|calls| !calls.is_empty());
            let Some(calls) = calls.min_by_key(|calls| calls.front().map(|first| first.number)) else { return };
            if let Some(oldest) = calls.pop_front() {
                self.bytes -= oldest.bytes;
            }
        }
    }
}

/// The last calls of all plugins, and whoever listens to new ones.
pub(crate) struct Ring {
    plugins: Mutex<HashMap<Name, OfPlugin>>,
    next: AtomicU64,
    stream: broadcast::Sender<Arc<Recorded>>,
}

impl Default for Ring {
    fn default() -> Self {
        Self { plugins: Mutex::default(), next: AtomicU64::new(0), stream: broadcast::channel(STREAM).0 }
    }
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, OfPlugin>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has ended. What is too large to keep is only told, and only if somebody listens.
    pub(crate) fn record(&self, plugin: &Name, digest: &Name, request: &Request, reads: &Arc<Recorder>, call: &Call) {
        let bytes = request.object.len() + reads.bytes() + outcome_bytes(call.result.as_ref().ok());
        let heard = self.stream.receiver_count() > 0;
        if reads.truncated() {
            if heard {
                tracing::warn!("the call read more than can be recorded; it is not in the recording");
            }
            return;
        }
        let kept = bytes <= CALL_BYTES;
        if !kept && !heard {
            return;
        }
        let recorded = Arc::new(Recorded {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            plugin: plugin.clone(),
            digest: digest.clone(),
            at: unix_now(),
            request: request.clone(),
            reads: reads.clone(),
            call: call.clone(),
            bytes,
        });
        if heard {
            // The last listener may have gone just now.
            let _ = self.stream.send(recorded.clone());
        }
        if kept {
            self.lock().entry(plugin.clone()).or_default().push(recorded);
        }
    }

    /// Calls from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Recorded>> {
        self.stream.subscribe()
    }

    /// What is kept of a plugin's calls for these kinds, newest first.
    pub(crate) fn recent(&self, plugin: &str, kinds: &[GroupKind]) -> Vec<Arc<Recorded>> {
        let plugins = self.lock();
        let Some(of_plugin) = plugins.get(plugin) else { return Vec::new() };
        let mut calls: Vec<Arc<Recorded>> =
            kinds.iter().filter_map(|kind| of_plugin.kinds.get(kind)).flatten().cloned().collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.number));
        calls
    }

    /// Nothing of a plugin is kept any more.
    pub(crate) fn forget(&self, plugin: &str) {
        self.lock().remove(plugin);
    }
}

fn outcome_bytes(outcome: Option<&Outcome>) -> usize {
    let Some(outcome) = outcome else { return 0 };
    let texts = |reason: &setpoint_core::contract::Reason| reason.code.len() + reason.message.len();
    outcome.status.as_ref().map_or(0, String::len)
        + outcome.children.iter().flatten().map(|child| child.object.len()).sum::<usize>()
        + outcome.conditions.iter().map(|condition| texts(&condition.reason)).sum::<usize>()
        + outcome.events.iter().map(|event| texts(&event.reason)).sum::<usize>()
}

#[cfg(test)]
pub(crate) mod tests {
    use setpoint_core::contract::{Child, ListQuery, ReadError, Update};
    use setpoint_plugin::{BoxFuture, CallStats};

    use super::*;

    /// There is nothing to be read.
    struct Empty;

    impl setpoint_plugin::Reads for Empty {
        fn get(&self, _: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
            Box::pin(async { Ok(None) })
        }

        fn list(&self, _: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
            Box::pin(async { Ok(Arc::from([])) })
        }
    }

    pub(crate) fn request(kind: &str, name: &str, bytes: usize) -> Request {
        Request {
            key: Arc::new(Key::new("local", "g", kind, Some("default"), name)),
            object: "x".repeat(bytes).into(),
            deleting: false,
            attempt: 1,
            last_error: None,
            causes: Vec::new(),
            config: "{}".into(),
        }
    }

    /// An answer with ConfigMaps of these names as children.
    pub(crate) fn answer(children: &[&str]) -> Call {
        let child = |name: &&str| Child {
            cluster: None,
            object: format!("{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{name}\"}}}}"),
            update: Update::InPlace,
        };
        let outcome = Outcome { children: Some(children.iter().map(child).collect()), ..Outcome::default() };
        Call { result: Ok(outcome), impure: false, stats: CallStats::default() }
    }

    pub(crate) fn record(ring: &Ring, request: &Request, call: &Call) {
        ring.record(&"p".into(), &"d".into(), request, &Arc::new(Recorder::new(Arc::new(Empty))), call);
    }

    fn names(ring: &Ring, kinds: &[&str]) -> Vec<String> {
        let kinds: Vec<GroupKind> = kinds.iter().map(|kind| GroupKind::new("g", kind)).collect();
        ring.recent("p", &kinds).iter().map(|call| call.key().name.to_string()).collect()
    }

    #[test]
    fn the_last_32_calls_of_each_kind_are_kept_newest_first() {
        let ring = Ring::default();
        for number in 0..40 {
            record(&ring, &request("A", &format!("a{number}"), 10), &answer(&[]));
        }
        record(&ring, &request("B", "b", 10), &answer(&[]));
        let kept = names(&ring, &["A", "B"]);
        assert_eq!(kept.len(), 33);
        assert_eq!((kept[0].as_str(), kept[1].as_str(), kept[32].as_str()), ("b", "a39", "a8"));
        assert_eq!(names(&ring, &["B"]), ["b"]);
        ring.forget("p");
        assert!(names(&ring, &["A", "B"]).is_empty());
    }

    #[test]
    fn what_is_kept_of_a_plugin_has_a_bound_in_bytes_over_all_its_kinds() {
        let ring = Ring::default();
        let part = PLUGIN_BYTES / 10;
        for number in 0..8 {
            record(&ring, &request("A", &format!("a{number}"), part), &answer(&[]));
        }
        for number in 0..4 {
            record(&ring, &request("B", &format!("b{number}"), part), &answer(&[]));
        }
        assert_eq!(names(&ring, &["A", "B"]).len(), 10, "the oldest went, of whatever kind");
        assert_eq!(names(&ring, &["A"]).last().map(String::as_str), Some("a2"));
        record(&ring, &request("A", "large", CALL_BYTES + 1), &answer(&[]));
        assert!(!names(&ring, &["A"]).contains(&"large".to_owned()), "one call that is too large is not kept");
    }

    #[tokio::test]
    async fn whoever_listens_is_told_of_each_call_however_large() {
        let ring = Ring::default();
        let mut calls = ring.subscribe();
        record(&ring, &request("A", "large", CALL_BYTES + 1), &answer(&["child"]));
        let call = calls.recv().await.expect("a call").call();
        assert_eq!((call.plugin.as_str(), call.request.key.as_str()), ("p", "local/g/A/default/large"));
        let RecordedResult::Outcome(outcome) = call.result else { panic!("no outcome") };
        assert_eq!(outcome.children.map(|children| children.len()), Some(1));
    }
}
