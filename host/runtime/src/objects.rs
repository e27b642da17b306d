//! Objects as people see them: rows of what is reconciled, the objects themselves, their events.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use setpoint_cluster::local::{EventFilter, RecordedEvent};
use setpoint_core::contract::Readiness as Shown;
use setpoint_core::engine::Row;
use setpoint_core::key::{GroupKind, Key, LOCAL};
use setpoint_core::mask::Path;
use setpoint_core::object::Object;
use setpoint_core::selector::SelectorError;
use setpoint_schema::Crd;

use crate::clock::rfc3339_millis;
use crate::filter::Wanted;
use crate::handle::Handle;
use crate::runs;
use crate::views::{EventRow, Filter, ObjectView, ReconcileRow};

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
            if crd.group.is_empty() || self.plugin_of(&kind).is_some() {
                continue;
            }
            for object in self.inner.local.objects(&kind) {
                let key = Arc::new(object.key(&LOCAL.into()));
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

    fn row(&self, key: &Key, object: Option<&Object>, row: Option<Row>) -> ReconcileRow {
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
        let problems =
            self.inner.local.read(|model| model.problems(key)).iter().map(ToString::to_string).collect::<Vec<_>>();
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

    /// One object with everything that is known of it.
    pub fn object(&self, key: &Key) -> Option<ObjectView> {
        let object = self.inner.local.object(key)?;
        let row = self.inner.driver.look(|engine| engine.row(key));
        let reconcile = match &row {
            Some(_) => Some(self.row(key, Some(&object), row)),
            None => None,
        };
        let events = self.inner.local.events(&EventFilter { about: Some(key.clone()), ..EventFilter::default() });
        Some(ObjectView {
            object: shown(&object),
            reconcile,
            events: events.iter().map(event_row).collect(),
            file: self.inner.local.read(|model| model.file_of(key)).map(|file| file.to_string()),
        })
    }

    /// Objects of any kind, in order of keys. Values of Secrets are not in them.
    ///
    /// # Errors
    /// The label selector does not parse.
    pub fn objects(&self, filter: &Filter) -> Result<Vec<Value>, SelectorError> {
        let wanted = Wanted::of(filter, &self.inner.kinds)?;
        let all = self.inner.local.all().into_iter();
        let all = all.filter(|(key, object)| wanted.key(key) && wanted.labels(Some(object)));
        Ok(all.map(|(_, object)| shown(&object)).collect())
    }

    /// Recorded events, oldest first.
    ///
    /// # Errors
    /// The label selector does not parse.
    pub fn events(&self, filter: &Filter) -> Result<Vec<EventRow>, SelectorError> {
        let wanted = Wanted::of(filter, &self.inner.kinds)?;
        let events = self.inner.local.events(&EventFilter::default());
        Ok(events.iter().filter(|event| wanted.key(&event.about)).map(event_row).collect())
    }
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
