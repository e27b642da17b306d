//! What can be asked of a running host.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use setpoint_cluster::local::{EventFilter, Local, RecordedEvent};
use setpoint_core::contract::Readiness as Shown;
use setpoint_core::effects::PAUSED;
use setpoint_core::engine::{Engine, Phase, Row};
use setpoint_core::key::{GroupKind, Key, LOCAL};
use setpoint_core::mask::Path;
use setpoint_core::object::Object;
use setpoint_core::op::Answer;
use setpoint_schema::Crd;
use tokio::sync::broadcast;

use crate::clock::{rfc3339, rfc3339_millis};
use crate::driver::{Driver, unix_now};
use crate::files::Files;
use crate::kinds::Kinds;
use crate::metrics::MetricsSnapshot;
use crate::plugins::Plugins;
use crate::views::{
    EventRow, FileRow, Filter, KindRow, ObjectView, Overview, PluginRow, Readiness, ReconcileRow, RunRow,
    StatusSummary, StreamItem,
};

/// Bookkeeping: kinds that a person disabled (rule C9).
pub const DISABLED: &str = "disabled-kinds";
/// The first pass holds readiness up for so long at most (rule C6).
const FIRST_PASS: Duration = Duration::from_secs(300);

pub(crate) struct Inner {
    pub(crate) driver: Arc<Driver>,
    pub(crate) local: Arc<Local>,
    pub(crate) files: Arc<Files>,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) started: Instant,
    pub(crate) confirm: Box<dyn Fn() + Send + Sync>,
}

/// A running host, for those who look and ask. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
    stopping: Arc<AtomicBool>,
    passed: Arc<AtomicBool>,
}

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner), stopping: Arc::default(), passed: Arc::default() }
    }

    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The host in one view.
    pub fn overview(&self) -> Overview {
        let (summary, queue_length, disabled) = self.inner.driver.look(|engine| {
            let disabled: Vec<String> = engine.disabled().map(ToString::to_string).collect();
            (engine.summary(), engine.queue_length(), disabled)
        });
        let mut counts = StatusSummary::default();
        for (phase, count) in summary {
            counts.total += count;
            match phase {
                Phase::Pending => counts.pending = count,
                Phase::Reconciling => counts.reconciling = count,
                Phase::Synced => counts.synced = count,
                Phase::Error => counts.error = count,
                Phase::Failed => counts.failed = count,
            }
        }
        let enabled = self.kinds().into_iter().filter(|kind| kind.plugin.is_some() && !kind.disabled);
        Overview {
            running: !self.stopping.load(Ordering::Acquire),
            mode: "files".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: rfc3339(unix_now().saturating_sub(self.inner.started.elapsed().as_millis() as u64)),
            queue_length,
            enabled_resource_types: enabled.map(|kind| GroupKind::new(&kind.group, &kind.kind).to_string()).collect(),
            disabled_resource_types: disabled,
            status_summary: counts,
            ready: self.readiness(),
        }
    }

    /// Whether the host can do its job here (rule C6).
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        let mut ready = true;
        if self.stopping.load(Ordering::Acquire) {
            ready = false;
            reasons.push("the host is stopping".to_owned());
        }
        if !self.inner.files.scanned() {
            ready = false;
            reasons.push("the resources directory has not been read completely yet".to_owned());
        }
        if let Some(suspicion) = self.inner.files.suspicion() {
            ready = false;
            reasons.push(format!("SourceSuspicious: {suspicion}"));
        }
        let (unsynced, complete) = self.inner.driver.look(|engine| (engine.unsynced(), engine.first_pass_complete()));
        if !unsynced.is_empty() {
            ready = false;
            reasons.extend(unsynced);
        }
        // Asked once per process.
        if complete && ready {
            self.passed.store(true, Ordering::Release);
        }
        if !self.passed.load(Ordering::Acquire) && !complete {
            ready &= self.inner.started.elapsed() >= FIRST_PASS;
            reasons.push("FirstPassIncomplete: first attempts are still running".to_owned());
        }
        Readiness { ready, reasons }
    }

    /// Rows of reconciled objects, and of objects of files whose kind has no running plugin.
    pub fn reconciles(&self, filter: &Filter) -> Vec<ReconcileRow> {
        let wanted = self.wanted(filter);
        let rows = self.inner.driver.look(|engine| {
            let with_object = |row: Row| {
                let id = engine.cache().keys().find(&row.key)?;
                Some((engine.cache().view(id).cloned(), row))
            };
            engine.rows().into_iter().filter(|row| wanted(&row.key)).filter_map(with_object).collect::<Vec<_>>()
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
                if wanted(&key) && known.insert(key.clone()) {
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
        all
    }

    fn plugin_of(&self, kind: &GroupKind) -> Option<String> {
        let source = setpoint_core::key::Source { cluster: LOCAL.into(), kind: kind.clone() };
        self.inner.driver.look(|engine| engine.plugin_for(&source).map(|info| info.name.to_string()))
    }

    fn wanted<'f>(&self, filter: &'f Filter) -> impl Fn(&Key) -> bool + use<'f> {
        let kinds: Option<Vec<GroupKind>> = filter
            .kind
            .as_deref()
            .map(|word| self.inner.kinds.named(word).iter().map(|crd| GroupKind::new(&crd.group, &crd.kind)).collect());
        let group = filter.group.as_deref().map(|group| if group == "core" { "" } else { group });
        move |key: &Key| {
            filter.cluster.as_deref().is_none_or(|cluster| *key.cluster == *cluster)
                && group.is_none_or(|group| *key.group == *group)
                && kinds.as_ref().is_none_or(|kinds| kinds.contains(&key.group_kind()))
                && filter.namespace.as_deref().is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
                && filter.name.as_deref().is_none_or(|name| *key.name == *name)
        }
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
            runs: row
                .iter()
                .flat_map(|row| &row.runs)
                .map(|run| RunRow {
                    started: clock.wall_of(run.started),
                    waited_ms: run.waited,
                    took_ms: run.ended.saturating_sub(run.started),
                    lane: run.lane.word().into(),
                    causes: run.causes.iter().map(ToString::to_string).collect(),
                    result: run.result.to_string(),
                    writes: run.writes,
                    number: run.number,
                    ..RunRow::default()
                })
                .collect(),
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
    pub fn objects(&self, filter: &Filter) -> Vec<Value> {
        let wanted = self.wanted(filter);
        let all = self.inner.local.all();
        all.into_iter().filter(|(key, _)| wanted(key)).map(|(_, object)| shown(&object)).collect()
    }

    /// All kinds that are served.
    pub fn kinds(&self) -> Vec<KindRow> {
        let disabled: Vec<GroupKind> = self.inner.driver.look(|engine| engine.disabled().cloned().collect());
        let row = |crd: Arc<Crd>| {
            let kind = GroupKind::new(&crd.group, &crd.kind);
            KindRow {
                group: crd.group.clone(),
                version: crd.version.clone(),
                kind: crd.kind.clone(),
                plural: crd.plural.clone(),
                singular: crd.singular.clone(),
                short_names: crd.short_names.clone(),
                namespaced: crd.namespaced,
                columns: crd
                    .columns
                    .iter()
                    .map(|c| (c.name.clone(), c.json_path.clone(), c.kind.clone(), c.priority))
                    .collect(),
                plugin: self.plugin_of(&kind),
                disabled: disabled.contains(&kind),
            }
        };
        self.inner.kinds.all().into_iter().map(row).collect()
    }

    /// The plugins directory.
    pub fn plugins(&self) -> Vec<PluginRow> {
        self.inner.plugins.rows()
    }

    /// Documents that are no objects, and what is wrong with files.
    pub fn files(&self) -> Vec<FileRow> {
        let mut rows = self.inner.files.rows();
        if let Some(suspicion) = self.inner.files.suspicion() {
            let message = suspicion;
            rows.insert(0, FileRow { file: ".".into(), line: 1, column: 1, state: "Suspicious".into(), message });
        }
        rows
    }

    /// Recorded events, oldest first.
    pub fn events(&self, filter: &Filter) -> Vec<EventRow> {
        let wanted = self.wanted(filter);
        let events = self.inner.local.events(&EventFilter::default());
        events.iter().filter(|event| wanted(&event.about)).map(event_row).collect()
    }

    /// Somebody asks for an attempt now. False if nothing reconciles such an object.
    pub fn trigger(&self, key: &Key) -> bool {
        self.inner.driver.with(|engine, now| engine.trigger(now, key))
    }

    /// Enables or disables a kind; durable when it returns (rule C9).
    ///
    /// # Errors
    /// The kind is not known, or the state could not be written.
    pub async fn set_enabled(&self, kind: &GroupKind, enabled: bool) -> Result<(), String> {
        if self.inner.kinds.get(kind).is_none() {
            return Err(format!("the kind {kind} is not known"));
        }
        let disabled: Vec<(String, String)> = self.inner.driver.with(|engine, now| {
            if enabled {
                engine.enable(now, kind);
            } else {
                engine.disable(kind);
            }
            engine.disabled().map(|kind| (kind.group.to_string(), kind.kind.to_string())).collect()
        });
        let text = serde_json::to_vec(&disabled).unwrap_or_default();
        self.inner.local.bookkeeping_put(DISABLED, Some(&text)).await.map_err(|error| error.to_string())
    }

    /// Pauses or resumes one object; durable when it returns.
    ///
    /// # Errors
    /// There is no such object, or it could not be written.
    pub async fn set_paused(&self, key: &Key, paused: bool) -> Result<(), String> {
        said(self.inner.local.annotate(key, PAUSED, paused.then_some("true")).await, key)
    }

    /// Deletes an object that no file defines.
    ///
    /// # Errors
    /// There is no such object, a file defines it, or it could not be written.
    pub async fn delete(&self, key: &Key) -> Result<(), String> {
        said(self.inner.local.delete(key).await, key)
    }

    /// Every event that is recorded and every row that changes.
    pub fn subscribe(&self) -> broadcast::Receiver<StreamItem> {
        self.inner.driver.subscribe()
    }

    /// A person says that the files that are gone are gone for good (rule D1).
    ///
    /// # Errors
    /// Nothing waits for that.
    pub async fn confirm_resources(&self) -> Result<(), String> {
        if self.inner.files.suspicion().is_none() {
            return Err("nothing is suspicious: there is nothing to confirm".into());
        }
        (self.inner.confirm)();
        Ok(())
    }

    /// Deletions that wait for a person, by plugin: owner and child (rule B3).
    pub fn held(&self) -> Vec<(String, Vec<(String, String)>)> {
        let texts = |held: setpoint_core::engine::Held| {
            let children = held.children.iter().map(|(owner, child)| (owner.to_string(), child.to_string())).collect();
            (held.plugin.to_string(), children)
        };
        self.inner.driver.look(Engine::held).into_iter().map(texts).collect()
    }

    /// Lets the held deletions of a plugin happen. False if there are none.
    pub fn confirm(&self, plugin: &str) -> bool {
        self.inner.driver.with(|engine, now| engine.confirm(now, plugin))
    }

    /// Numbers of this moment.
    pub fn metrics(&self) -> MetricsSnapshot {
        let store = self.inner.local.metrics();
        self.inner.driver.look(|engine| MetricsSnapshot::of(engine, store))
    }

    /// What is counted.
    pub fn counters(&self) -> &crate::metrics::Metrics {
        &self.inner.driver.metrics
    }
}

fn said(answer: Answer, key: &Key) -> Result<(), String> {
    match answer {
        Answer::Refused(refusal) => Err(format!("{key}: {refusal}")),
        Answer::Absent | Answer::Applied { .. } | Answer::Done | Answer::Found(_) | Answer::Listed(_) => Ok(()),
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
    if object.kind() == "Secret" && object.api_version() == "v1" {
        for part in ["data", "stringData"] {
            for secret in
                value.get_mut(part).and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut())
            {
                *secret = Value::String("[REDACTED]".into());
            }
        }
    }
    value
}

fn columns(crd: &Crd, object: &Value) -> Vec<(String, Value)> {
    let value = |path: &str| Path::parse(path).ok().and_then(|path| path.first(object).cloned()).unwrap_or(Value::Null);
    crd.columns
        .iter()
        .filter(|column| column.json_path != ".metadata.creationTimestamp")
        .map(|column| (column.name.clone(), value(&column.json_path)))
        .collect()
}
