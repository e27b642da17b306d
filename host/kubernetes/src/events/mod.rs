//! Events about objects, best effort (rule B16): nobody waits for them, and nothing fails for want of them.

mod series;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use serde_json::{Value, json};
use setpoint_core::contract::{Event, EventType};
use setpoint_core::key::Key;
use setpoint_core::object::Object;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::series::{Act, Series};
use crate::reflect::{Shared, random};
use crate::resource::{Query, segment};
use crate::transport::{Call, JSON, MERGE_PATCH};

/// Events that wait to be written; beyond it the oldest are dropped.
const WAITING: usize = 1_000;
/// Objects whose uid is remembered, so that events name them as `kubectl describe` looks for them.
const UIDS: usize = 4_096;
/// Who reports them.
const CONTROLLER: &str = "setpoint.dev/host";
/// Where the API has them.
const GROUP: &str = "/apis/events.k8s.io/v1";
/// The longest note and the longest reason that the API takes, in bytes.
const NOTE: usize = 1_024;
const REASON: usize = 128;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Said {
    about: Key,
    warning: bool,
    reason: String,
    message: String,
}

/// Namespace and name of an event.
type Written = (String, String);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Said>,
    dropped: u64,
}

#[derive(Default)]
struct Uids {
    known: HashMap<Key, Box<str>>,
    order: VecDeque<Key>,
}

struct Inner {
    shared: Arc<Shared>,
    instance: String,
    queue: Mutex<Queue>,
    uids: Mutex<Uids>,
    more: Notify,
}

/// Takes events and writes them one by one.
pub(crate) struct Recorder {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    pub(crate) fn new(shared: Arc<Shared>, instance: &str) -> Self {
        let inner = Arc::new(Inner {
            shared,
            instance: cut(instance, REASON),
            queue: Mutex::default(),
            uids: Mutex::default(),
            more: Notify::new(),
        });
        Self { task: tokio::spawn(inner.clone().run()), inner }
    }

    /// Takes events.
    pub(crate) fn record(&self, about: &Key, events: &[Event]) {
        let mut queue = self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            let about = event.regarding.as_ref().filter(|key| key.cluster == about.cluster).unwrap_or(about);
            if queue.waiting.len() >= WAITING {
                queue.waiting.pop_front();
                queue.dropped += 1;
            }
            queue.waiting.push_back(Said {
                about: about.clone(),
                warning: event.kind == EventType::Warning,
                reason: cut(&event.reason.code, REASON),
                message: cut(&event.reason.message, NOTE),
            });
        }
        drop(queue);
        self.inner.more.notify_one();
    }

    /// An object was answered: events about it can name its uid.
    pub(crate) fn seen(&self, key: &Key, object: &Object) {
        self.inner.remember(key, object.uid());
    }
}

impl Inner {
    fn remember(&self, key: &Key, uid: &str) {
        let mut uids = self.uids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = uids.known.get_mut(key) {
            if &**known != uid {
                *known = uid.into();
            }
            return;
        }
        if uids.order.len() >= UIDS
            && let Some(oldest) = uids.order.pop_front()
        {
            uids.known.remove(&oldest);
        }
        uids.order.push_back(key.clone());
        uids.known.insert(key.clone(), uid.into());
    }

    async fn run(self: Arc<Self>) {
        let mut series: Series<Said, Written> = Series::new();
        loop {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front();
            if let Some(said) = next {
                self.handle(&mut series, said).await;
                continue;
            }
            for (said, count) in series.due(self.shared.now()) {
                self.count(&mut series, said, count).await;
            }
            match series.due_at() {
                Some(at) => {
                    tokio::select! {
                        () = self.more.notified() => {}
                        () = tokio::time::sleep_until(self.shared.at(at)) => {}
                    }
                }
                None => self.more.notified().await,
            }
        }
    }

    async fn handle(&self, series: &mut Series<Said, Written>, said: Said) {
        match series.said(self.shared.now(), &said) {
            Act::Create => self.create(series, said).await,
            Act::Count(count) => self.count(series, said, count).await,
            Act::Later => {}
        }
    }

    async fn create(&self, series: &mut Series<Said, Written>, said: Said) {
        let namespace = said.about.namespace.as_deref().unwrap_or("default").to_owned();
        let name = format!("{}.{:016x}", cut(&said.about.name, 200).trim_end_matches(['.', '-']), random());
        let regarding = self.regarding(&said.about).await;
        let event = event(&said, &regarding, (&namespace, &name), &self.instance, &now());
        let path = Query::new(format!("{GROUP}/namespaces/{}/events", segment(&namespace))).done();
        match self.shared.transport.send(Call::write(Method::POST, path, JSON, event.to_string().into_bytes())).await {
            Ok(_) => series.written(&said, (namespace, name)),
            Err(failure) => {
                series.lost(&said);
                tracing::debug!(about = %said.about, "an event could not be written: {failure}");
            }
        }
    }

    async fn count(&self, series: &mut Series<Said, Written>, said: Said, count: u64) {
        let Some((namespace, name)) = series.name(&said) else { return };
        let path = format!("{GROUP}/namespaces/{}/events/{}", segment(&namespace), segment(&name));
        let patch = json!({"series": {"count": count, "lastObservedTime": now()}});
        let call = Call::write(Method::PATCH, path, MERGE_PATCH, patch.to_string().into_bytes());
        if let Err(failure) = self.shared.transport.send(call).await {
            // Events live for an hour on the server.
            series.lost(&said);
            tracing::debug!(about = %said.about, "an event could not be counted: {failure}");
        }
    }

    /// The reference of an event to what it is about. The uid of what was not written lately is asked for.
    async fn regarding(&self, about: &Key) -> Value {
        let known = self.uids.lock().unwrap_or_else(PoisonError::into_inner).known.get(about).cloned();
        let Ok(kind) = self.shared.kinds.find(&about.group_kind()).await else {
            return json!({"kind": &*about.kind, "namespace": about.namespace.as_deref(), "name": &*about.name});
        };
        let uid = match known {
            Some(uid) => Some(uid),
            None => {
                let reply = self.shared.transport.send(Call::get(kind.resource.object(about))).await.ok();
                let object = reply.and_then(|reply| serde_json::from_slice::<Value>(&reply.body).ok());
                let uid: Option<Box<str>> =
                    object.and_then(|object| Some(object.pointer("/metadata/uid")?.as_str()?.into()));
                if let Some(uid) = &uid {
                    self.remember(about, uid);
                }
                uid
            }
        };
        json!({
            "apiVersion": kind.resource.kind.api_version(), "kind": &*about.kind,
            "namespace": about.namespace.as_deref(), "name": &*about.name, "uid": uid.as_deref(),
        })
    }
}

fn event(said: &Said, regarding: &Value, (namespace, name): (&str, &str), instance: &str, now: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"namespace": namespace, "name": name},
        "eventTime": now,
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "action": "Reconcile",
        "reason": if said.reason.is_empty() { "Reconciled" } else { &said.reason },
        "regarding": regarding,
        "note": said.message,
        "type": if said.warning { "Warning" } else { "Normal" },
    })
}

/// The time as the API writes it, with microseconds.
pub(crate) fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_the_api_wants_of_one() {
        let about = Key::new("hub", "g.io", "K", Some("team"), "a");
        let said = Said { about, warning: true, reason: "ChildConflict".into(), message: "whose?".into() };
        let regarding = json!({"kind": "K"});
        let event = event(&said, &regarding, ("team", "a.1"), "pod-1", "2026-01-01T00:00:00.000000Z");
        assert_eq!(
            event,
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"namespace": "team", "name": "a.1"},
                   "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "setpoint.dev/host",
                   "reportingInstance": "pod-1", "action": "Reconcile", "reason": "ChildConflict",
                   "regarding": {"kind": "K"}, "note": "whose?", "type": "Warning"})
        );
        assert_eq!(now().len(), "2026-01-01T00:00:00.000000Z".len());
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("ab", 9), "ab");
    }
}
