//! Events of the embedded cluster: best effort, folded, kept for an hour (rule B16).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use setpoint_core::contract::{Event, EventType};
use setpoint_core::key::{GroupKind, Key};

use super::effects::{Effects, Table};

/// How long an event is kept after it was last seen, in milliseconds.
pub(crate) const KEPT: u64 = 3_600_000;
/// At most so many events are kept per object.
pub(crate) const PER_OBJECT: usize = 100;
/// The same event within so many milliseconds since the last counts as one series.
pub(crate) const SERIES: u64 = 300_000;

/// An event that happened once or, as a series, several times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedEvent {
    /// What it is about.
    pub about: Key,
    /// Normal or warning.
    pub kind: EventType,
    /// CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// How often, at least 1.
    pub count: u64,
    /// When first, in unix milliseconds.
    pub first: u64,
    /// When last, in unix milliseconds.
    pub last: u64,
}

/// Which events are asked for; the default is all.
#[derive(Clone, Default, Debug)]
pub struct EventFilter {
    /// About this object.
    pub about: Option<Key>,
    /// About objects of this kind.
    pub kind: Option<GroupKind>,
    /// About objects of this namespace.
    pub namespace: Option<String>,
    /// Last seen at or after this time, in unix milliseconds.
    pub since: Option<u64>,
}

impl EventFilter {
    fn matches(&self, event: &RecordedEvent) -> bool {
        self.about.as_ref().is_none_or(|key| *key == event.about)
            && self.kind.as_ref().is_none_or(|kind| *kind == event.about.group_kind())
            && self.namespace.as_ref().is_none_or(|namespace| event.about.namespace.as_deref() == Some(namespace))
            && self.since.is_none_or(|since| event.last >= since)
    }
}

#[derive(Serialize, Deserialize)]
struct Row {
    about: String,
    warning: bool,
    reason: String,
    message: String,
    count: u64,
    first: u64,
    last: u64,
}

/// All events, by object. Nothing wakes up to forget old ones: they go with the next event, and are
/// not shown meanwhile.
#[derive(Clone, Default, Debug)]
pub(crate) struct EventLog {
    by_object: BTreeMap<Key, Vec<(u64, RecordedEvent)>>,
    next: u64,
    swept: u64,
}

impl EventLog {
    pub(crate) fn record(&mut self, now: u64, about: &Key, events: &[Event], effects: &mut Effects) {
        for event in events {
            let about = event.regarding.as_ref().unwrap_or(about);
            let kept = self.by_object.entry(about.clone()).or_default();
            let running = kept.iter().position(|(_, there)| {
                there.kind == event.kind
                    && there.reason == event.reason.code
                    && there.message == event.reason.message
                    && now.saturating_sub(there.last) <= SERIES
            });
            let (id, recorded) = match running {
                Some(at) => {
                    let (id, mut there) = kept.remove(at);
                    there.count += 1;
                    there.last = there.last.max(now);
                    (id, there)
                }
                None => {
                    self.next += 1;
                    let recorded = RecordedEvent {
                        about: about.clone(),
                        kind: event.kind,
                        reason: event.reason.code.clone(),
                        message: event.reason.message.clone(),
                        count: 1,
                        first: now,
                        last: now,
                    };
                    (self.next, recorded)
                }
            };
            effects.put(Table::Events, row_name(id), bytes(&recorded));
            kept.push((id, recorded));
            if kept.len() > PER_OBJECT {
                // The one that has been silent for the longest time is the first.
                let (id, _) = kept.remove(0);
                effects.remove(Table::Events, row_name(id));
            }
        }
        if now.saturating_sub(self.swept) > SERIES {
            self.sweep(now, effects);
        }
    }

    fn sweep(&mut self, now: u64, effects: &mut Effects) {
        self.swept = now;
        self.by_object.retain(|_, kept| {
            kept.retain(|(id, event)| {
                let keep = fresh(now, event);
                if !keep {
                    effects.remove(Table::Events, row_name(*id));
                }
                keep
            });
            !kept.is_empty()
        });
    }

    pub(crate) fn list(&self, now: u64, filter: &EventFilter) -> Vec<RecordedEvent> {
        let all = self.by_object.values().flatten().map(|(_, event)| event);
        let mut events: Vec<RecordedEvent> =
            all.filter(|event| fresh(now, event) && filter.matches(event)).cloned().collect();
        events.sort_by_key(|event| event.last);
        events
    }

    pub(crate) fn load(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let id: u64 = name.parse().map_err(|error| format!("{error}"))?;
        let row: Row = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let about = Key::parse(&row.about).ok_or_else(|| format!("`{}` is no key", row.about))?;
        let event = RecordedEvent {
            about: about.clone(),
            kind: if row.warning { EventType::Warning } else { EventType::Normal },
            reason: row.reason,
            message: row.message,
            count: row.count,
            first: row.first,
            last: row.last,
        };
        self.next = self.next.max(id);
        let kept = self.by_object.entry(about).or_default();
        let at = kept.partition_point(|(_, there)| there.last <= event.last);
        kept.insert(at, (id, event));
        Ok(())
    }
}

fn fresh(now: u64, event: &RecordedEvent) -> bool {
    now.saturating_sub(event.last) <= KEPT
}

fn row_name(id: u64) -> String {
    format!("{id:020}")
}

fn bytes(event: &RecordedEvent) -> Vec<u8> {
    let row = Row {
        about: event.about.to_string(),
        warning: event.kind == EventType::Warning,
        reason: event.reason.clone(),
        message: event.message.clone(),
        count: event.count,
        first: event.first,
        last: event.last,
    };
    serde_json::to_vec(&row).unwrap_or_default()
}
