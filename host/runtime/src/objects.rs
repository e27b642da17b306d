//! Objects as people see them: rows of what is reconciled, the objects themselves, their events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, iter, unfold};
use serde_json::Value;
use setpoint_cluster::local::{EventFilter, RecordedEvent};
use setpoint_core::contract::Readiness as Shown;
use setpoint_core::engine::Row;
use setpoint_core::key::{GroupKind, Key, LOCAL, Name, Source};
use setpoint_core::mask::Path;
use setpoint_core::object::Object;
use setpoint_core::sanitize::sanitize;
use setpoint_core::selector::SelectorError;
use setpoint_schema::Crd;

use crate::clock::rfc3339_millis;
use crate::filter::Wanted;
use crate::handle::Handle;
use crate::native::{self, OutputLine};
use crate::runs;
use crate::views::{EventRow, Filter, LogRow, ObjectView, ReconcileRow};

/// What a process writes within this is told of together, so that one that floods costs no more.
const GATHERED: Duration = Duration::from_millis(100);

impl Handle {
    /// Rows of reconciled objects, and of objects of files whose kind has no running plugin.
    ///
    /// # Errors
    /// The label selector does not parse.
    pub fn reconciles(&self, filter: &Filter) -> Result<Vec<ReconcileRow>, SelectorError> {
        let wanted = Wanted::of(filter, &self.inner.kinds)?;
        let rows = self.inner.driver.look(|engine| {
            let with_object = |row: Row| {
                let id = engine.cache().keys().find(&row.key)?;
                let object = engine.cache().view(id).cloned();
                wanted.labels(object.as_deref()).then_some((object, row))
            };
            engine.rows().into_iter().filter(|row| wanted.key(&row.key)).filter_map(with_object).collect::<Vec<_>>()
        });
        let mut known: BTreeSet<Arc<Key>> = rows.iter().map(|(_, row)| row.key.clone()).collect();
        let mut all: Vec<ReconcileRow> =
            rows.into_iter().map(|(object, row)| self.row(&row.key.clone(), object.as_deref(), Some(row))).collect();
        // Owned by a plugin that is not there now: shown, with what they wait for.
        for crd in self.inner.kinds.all() {
            let kind = GroupKind::new(&crd.group, &crd.kind);
            let own = native::owns(&kind.group, &kind.kind);
            if crd.group.is_empty()
                || !wanted.asks_for(&kind.group, &kind.kind)
                || (self.plugin_of(&kind).is_some() && !own)
            {
                continue;
            }
            for (key, object) in self.known(&kind) {
                if wanted.key(&key) && wanted.labels(Some(&object)) && known.insert(key.clone()) {
                    all.push(self.row(&key, Some(&object), None));
                }
            }
        }
        let state = filter.state.as_deref().map(str::to_lowercase);
        all.retain(|row| {
            state.as_deref().is_none_or(|state| row.state.to_lowercase() == state)
                && filter.plugin.as_deref().is_none_or(|plugin| row.plugin.as_deref() == Some(plugin))
        });
        all.sort_by(|a, b| {
            (&a.group, &a.kind, &a.cluster, &a.namespace, &a.name).cmp(&(
                &b.group,
                &b.kind,
                &b.cluster,
                &b.namespace,
                &b.name,
            ))
        });
        Ok(all)
    }

    /// The objects of a kind as far as they are known, whether somebody reconciles them or not.
    fn known(&self, kind: &GroupKind) -> Vec<(Arc<Key>, Arc<Object>)> {
        let mut all = self.inner.files.objects(kind);
        if &*self.inner.home != LOCAL {
            let source = Source { cluster: self.inner.home.clone(), kind: kind.clone() };
            self.inner.driver.look(|engine| {
                let cache = engine.cache();
                all.extend(cache.list(&source).map(|(id, object)| (cache.keys().key(id).clone(), object.clone())));
            });
        }
        all
    }

    fn row(&self, key: &Key, object: Option<&Object>, row: Option<Row>) -> ReconcileRow {
        if let Some(object) = object.filter(|_| native::owns(&key.group, &key.kind)) {
            return self.own_row(key, object);
        }
        let clock = &self.inner.driver.clock;
        let value = object.map(Object::value).unwrap_or_default();
        let crd = self.inner.kinds.get(&key.group_kind());
        let waits = || {
            let deleting = object.is_some_and(Object::terminating);
            let what = if deleting { "waits for a plugin for its deletion" } else { "waits for a plugin" };
            format!("{what}: none reconciles {}", key.group_kind())
        };
        let (readiness, reason) = match row.as_ref().and_then(|row| row.readiness.as_ref()) {
            Some(Shown::Ready) => (Some("ready"), None),
            Some(Shown::Progressing(why)) => (Some("progressing"), Some(why.message.clone())),
            Some(Shown::Stalled(why)) => (Some("stalled"), Some(why.message.clone())),
            None => (None, None),
        };
        let waiting = row.as_ref().and_then(|row| row.waiting.as_ref()).map(|text| text.to_string());
        let problems = self.inner.files.problems(key);
        ReconcileRow {
            cluster: key.cluster.to_string(),
            group: key.group.to_string(),
            kind: key.kind.to_string(),
            namespace: key.namespace.as_deref().map(str::to_owned),
            name: key.name.to_string(),
            state: row.as_ref().map_or("Pending", |row| row.phase.word()).to_owned(),
            readiness: readiness.map(str::to_owned),
            reason: match &row {
                Some(_) => waiting.or(reason),
                None => Some(waits()),
            },
            attempt: row.as_ref().map_or(0, |row| row.failures),
            last_error: row.as_ref().and_then(|row| row.last_error.as_ref()).map(|text| text.to_string()),
            last_reconcile_time: row.as_ref().and_then(|row| row.last_run).map(|at| clock.wall_of(at)),
            next_reconcile_time: row.as_ref().and_then(|row| row.next_run).map(|at| clock.wall_of(at)),
            causes: row.iter().flat_map(|row| &row.causes).map(ToString::to_string).collect(),
            plugin: row.as_ref().map(|row| row.plugin.to_string()),
            damped: row.as_ref().is_some_and(|row| row.damped),
            paused: row.as_ref().is_some_and(|row| row.stopped),
            problems,
            columns: crd.as_deref().map(|crd| columns(crd, &value)).unwrap_or_default(),
            created: value.pointer("/metadata/creationTimestamp").and_then(Value::as_str).map(str::to_owned),
            children: row.iter().flat_map(|row| &row.children).map(ToString::to_string).collect(),
            reads: row.as_ref().map_or(0, |row| row.reads),
            runs: row.iter().flat_map(|row| &row.runs).map(|run| runs::row(clock, run)).collect(),
        }
    }

    /// An object that the host itself reconciles: what its status says.
    fn own_row(&self, key: &Key, object: &Object) -> ReconcileRow {
        let value = object.value();
        let status = &value["status"];
        let text = |name: &str| status[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let ready = status["conditions"][0]["status"] == "True";
        let failed =
            matches!(status["state"].as_str(), Some("Failed" | "CrashLoop" | "Unhealthy" | "Unreachable" | "Refused"));
        let seen = status["observedGeneration"].as_i64() == Some(object.generation());
        let crd = self.inner.kinds.get(&key.group_kind());
        let mut columns = crd.as_deref().map(|crd| columns(crd, &value)).unwrap_or_default();
        if let Some(latency) = self.inner.native.latency(key) {
            columns.push(("Latency".into(), Value::String(format!("{} ms", latency.as_millis()))));
        }
        ReconcileRow {
            cluster: key.cluster.to_string(),
            group: key.group.to_string(),
            kind: key.kind.to_string(),
            namespace: key.namespace.as_deref().map(str::to_owned),
            name: key.name.to_string(),
            state: if failed {
                "Error"
            } else if seen {
                "Synced"
            } else {
                "Pending"
            }
            .to_owned(),
            readiness: Some(if ready { "ready" } else { "progressing" }.to_owned()),
            reason: text("message").filter(|_| !ready),
            attempt: status["consecutiveFailures"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
            last_error: text("message").filter(|_| failed),
            next_reconcile_time: text("nextRestartAt").or_else(|| text("nextAttempt")),
            plugin: Some(native::HOST.to_owned()),
            columns,
            created: value.pointer("/metadata/creationTimestamp").and_then(Value::as_str).map(str::to_owned),
            ..ReconcileRow::default()
        }
    }

    /// What a process wrote last, oldest first; none if it is no process. Texts are sanitised.
    pub fn output(&self, key: &Key) -> Option<Vec<LogRow>> {
        let row = |line: OutputLine| LogRow {
            at: rfc3339_millis(line.at),
            level: line.stream.to_owned(),
            key: key.to_string(),
            message: sanitize(&line.text),
            fields: Vec::new(),
        };
        Some(self.inner.native.output(key)?.into_iter().map(row).collect())
    }

    /// These lines of a process, and then each as it comes. Ends when there is no such process any more.
    pub(crate) fn follow_output(&self, key: Key, rows: Vec<LogRow>) -> impl Stream<Item = LogRow> + Send + use<> {
        let changes = self.inner.native.output_changes(&key);
        let later = unfold((self.clone(), key, rows.clone(), changes), |state| async move {
            let (handle, key, before, mut changes) = state;
            if changes.as_mut()?.next().await.is_none() {
                // There may be another one of the same name.
                changes = handle.inner.native.output_changes(&key);
            }
            tokio::time::sleep(GATHERED).await;
            let now = handle.output(&key)?;
            let new = following(&before, &now);
            Some((new, (handle, key, now, changes)))
        });
        iter(rows).chain(later.flat_map(iter))
    }

    /// One object with everything that is known of it.
    pub fn object(&self, key: &Key) -> Option<ObjectView> {
        let (object, row) = self.inner.driver.look(|engine| {
            let view = engine.cache().keys().find(key).and_then(|id| engine.cache().view(id).cloned());
            (view, engine.row(key))
        });
        // A cluster of files has more than the rules look at.
        let object = match self.inner.files.of(&key.cluster) {
            Some(cluster) => cluster.local().object(key),
            None => object,
        }?;
        let reconciled = row.is_some() || native::reconciles(&key.group, &key.kind);
        let reconcile = reconciled.then(|| self.row(key, Some(&object), row));
        let events = self.inner.files.events(&EventFilter { about: Some(key.clone()), ..EventFilter::default() });
        let elsewhere = self.inner.driver.recent.of(|about| about == key);
        Some(ObjectView {
            object: shown(&object),
            reconcile,
            events: events.iter().map(event_row).chain(elsewhere).collect(),
            file: self.inner.files.file_of(key),
        })
    }

    /// Objects of any kind, in order of keys. Values of Secrets are not in them.
    ///
    /// # Errors
    /// The label selector does not parse.
    pub fn objects(&self, filter: &Filter) -> Result<Vec<Value>, SelectorError> {
        let wanted = Wanted::of(filter, &self.inner.kinds)?;
        let clusters = self.inner.files.all();
        let mut all: Vec<_> = clusters.iter().flat_map(|cluster| cluster.local().all()).collect();
        let of_files: BTreeSet<&Name> = clusters.iter().map(|cluster| cluster.name()).collect();
        let others = self.inner.driver.look(|engine| {
            let others = engine.cache().all().filter(|(key, _)| !of_files.contains(&key.cluster));
            others.map(|(key, object)| (key.clone(), object.clone())).collect::<Vec<_>>()
        });
        if !others.is_empty() || clusters.len() > 1 {
            all.extend(others);
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let meant = |key: &Key| wanted.key(key) && wanted.asks_for(&key.group, &key.kind);
        let all = all.into_iter().filter(|(key, object)| meant(key) && wanted.labels(Some(object)));
        Ok(all.map(|(_, object)| shown(&object)).collect())
    }

    /// Recorded events, oldest first.
    ///
    /// # Errors
    /// The label selector does not parse.
    pub fn events(&self, filter: &Filter) -> Result<Vec<EventRow>, SelectorError> {
        let wanted = Wanted::of(filter, &self.inner.kinds)?;
        let events = self.inner.files.events(&EventFilter::default());
        let here = events.iter().filter(|event| wanted.key(&event.about)).map(event_row);
        Ok(here.chain(self.inner.driver.recent.of(|about| wanted.key(about))).collect())
    }
}

/// What came after the lines before, of which the oldest may be gone by now.
fn following(before: &[LogRow], now: &[LogRow]) -> Vec<LogRow> {
    let gone = (0..before.len()).find(|gone| now.starts_with(&before[*gone..])).unwrap_or(before.len());
    now[before.len() - gone..].to_vec()
}

fn event_row(event: &RecordedEvent) -> EventRow {
    EventRow {
        kind: event.kind.as_str().into(),
        reason: event.reason.clone(),
        message: event.message.clone(),
        regarding: event.about.to_string(),
        first: rfc3339_millis(event.first),
        last: rfc3339_millis(event.last),
        count: event.count,
    }
}

/// The object for people, with its version and without the values of a Secret.
fn shown(object: &Object) -> Value {
    let mut value = object.value();
    value["metadata"]["resourceVersion"] = Value::String(object.resource_version().to_owned());
    if is_secret(&object.key(&LOCAL.into()).group_kind()) {
        redact(&mut value);
    }
    value
}

/// Whether objects of a kind have values that are shown to nobody.
pub(crate) fn is_secret(kind: &GroupKind) -> bool {
    kind.group.is_empty() && *kind.kind == *"Secret"
}

/// Takes the values out of a Secret.
pub(crate) fn redact(secret: &mut Value) {
    for part in ["data", "stringData"] {
        for value in secret.get_mut(part).and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
            *value = Value::String("[REDACTED]".into());
        }
    }
}

fn columns(crd: &Crd, object: &Value) -> Vec<(String, Value)> {
    let value = |path: &str| Path::parse(path).ok().and_then(|path| path.first(object).cloned()).unwrap_or(Value::Null);
    crd.columns
        .iter()
        .filter(|column| column.json_path != ".metadata.creationTimestamp")
        .map(|column| (column.name.clone(), value(&column.json_path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[&str]) -> Vec<LogRow> {
        let row = |text: &&str| LogRow {
            at: "2026-01-01T00:00:00.000Z".into(),
            level: "stderr".into(),
            key: String::new(),
            message: (*text).to_owned(),
            fields: Vec::new(),
        };
        texts.iter().map(row).collect()
    }

    #[test]
    fn who_follows_a_process_sees_each_line_once() {
        for (before, now, new) in [
            (&["a", "b"][..], &["a", "b", "c"][..], &["c"][..]),
            (&["a", "b"], &["b", "c"], &["c"]),
            (&["a"], &["x", "y"], &["x", "y"]),
            (&[], &["a"], &["a"]),
            (&["a", "a"], &["a", "a", "a"], &["a"]),
            (&["a"], &["a"], &[]),
        ] {
            assert_eq!(following(&rows(before), &rows(now)), rows(new), "{before:?} {now:?}");
        }
    }
}
