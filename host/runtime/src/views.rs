//! What the HTTP API answers and the command line shows: plain serialisable rows. Times are
//! RFC 3339 in UTC; texts are sanitised.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use setpoint_schema::Crd;

/// `GET /v1/overview`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overview {
    /// Whether the host runs (false while it stops).
    pub running: bool,
    /// `files` or `kubernetes`.
    pub mode: String,
    /// The cluster whose objects are meant where none is named: `local` or `hub`.
    #[serde(default = "local")]
    pub cluster: String,
    /// Address of the API server; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<String>,
    /// The lease of the host that acts; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseRow>,
    /// How work is shared among hosts; none if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardsRow>,
    /// Version of the host.
    pub version: String,
    /// When it started.
    pub started: String,
    /// Keys that wait in the queue.
    pub queue_length: usize,
    /// Kinds with a plugin, enabled, as `Kind.group`.
    pub enabled_resource_types: Vec<String>,
    /// Kinds that a person disabled.
    pub disabled_resource_types: Vec<String>,
    /// Objects by state.
    pub status_summary: StatusSummary,
    /// Whether the host can do its job here, and why not (rule C6).
    pub ready: Readiness,
}

fn local() -> String {
    setpoint_core::key::LOCAL.to_owned()
}

/// Which of several hosts acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// Namespace and name of the Lease.
    pub name: String,
    /// What this host is called in it.
    pub identity: String,
    /// Who holds it, as far as is known.
    pub holder: Option<String>,
    /// Whether that is this host.
    pub holds: bool,
    /// How often it has changed hands.
    pub transitions: u64,
}

/// How work is shared among hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardsRow {
    /// This host's share, in proportion to those of the others.
    pub weight: u32,
    /// The shards that it acts on: `cluster`, or `cluster/range`.
    pub held: Vec<String>,
    /// How many there are, as far as this host sees.
    pub total: usize,
    /// The hosts that share, by what they are called in leases; this one is among them.
    pub members: Vec<String>,
}

/// Objects by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusSummary {
    /// All of them.
    pub total: usize,
    /// Wait for something.
    pub pending: usize,
    /// An attempt is running.
    pub reconciling: usize,
    /// The last attempt succeeded.
    pub synced: usize,
    /// The last attempt failed, or something was refused.
    pub error: usize,
    /// Failed for good so far.
    pub failed: usize,
}

/// `GET /readyz`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether the host can do its job here.
    pub ready: bool,
    /// Why not; warnings if it can.
    pub reasons: Vec<String>,
}

/// One row of `GET /v1/reconciles`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReconcileRow {
    /// Cluster.
    pub cluster: String,
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `Pending`, `Reconciling`, `Synced`, `Error`, `Failed`.
    pub state: String,
    /// `ready`, `progressing`, `stalled`, as shown last.
    pub readiness: Option<String>,
    /// Why it is not ready, or what it waits for.
    pub reason: Option<String>,
    /// Failures in a row.
    pub attempt: u32,
    /// Last error, until success.
    pub last_error: Option<String>,
    /// When the last attempt ended.
    pub last_reconcile_time: Option<String>,
    /// When the next one is due.
    pub next_reconcile_time: Option<String>,
    /// Why it runs or ran last.
    pub causes: Vec<String>,
    /// The plugin; none if no plugin reconciles the kind now.
    pub plugin: Option<String>,
    /// Held back by the hot-loop bucket.
    pub damped: bool,
    /// Held back by a person (paused object or disabled kind).
    pub paused: bool,
    /// Problems of the source: the last good content is in use.
    pub problems: Vec<String>,
    /// Values of the kind's printer columns: name, value.
    pub columns: Vec<(String, Value)>,
    /// `metadata.creationTimestamp`.
    pub created: Option<String>,
    /// Keys of children, as `cluster/group/kind/namespace/name`.
    pub children: Vec<String>,
    /// Number of reads of the last attempt.
    pub reads: usize,
    /// The last runs, oldest first.
    pub runs: Vec<RunRow>,
}

/// One run of an object: one row of `GET /v1/reconciles/{key}/runs`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunRow {
    /// Its number among the runs of this host.
    #[serde(default)]
    pub number: u64,
    /// When it began.
    pub started: String,
    /// Wait in the queue, milliseconds.
    pub waited_ms: u64,
    /// From start to end, milliseconds.
    pub took_ms: u64,
    /// Lane of the queue.
    pub lane: String,
    /// Why it ran.
    pub causes: Vec<String>,
    /// What it came to.
    pub result: String,
    /// Writes.
    pub writes: u32,
    /// The call of the plugin, milliseconds; none if it was not called.
    #[serde(default)]
    pub call_ms: Option<u64>,
    /// Objects and lists that it read.
    #[serde(default)]
    pub reads: usize,
    /// What it wrote, in order; the first 20.
    #[serde(default)]
    pub written: Vec<WriteRow>,
    /// The causes once more, each with the change that began it, as far as it is known.
    #[serde(default)]
    pub because: Vec<CauseRow>,
}

/// A write of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRow {
    /// `apply`, `status`, `delete`, `finalizer`.
    pub verb: String,
    /// `cluster/group/kind/namespace/name`
    pub key: String,
}

/// A cause of a run, with the chain behind it: the change, the run that made the change, and why
/// that one ran, as far back as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseRow {
    /// `changed`, `dependency`, … as [`setpoint_core::contract::Cause::word`] has it.
    pub cause: String,
    /// What changed; none for causes that are no change of an object.
    pub key: Option<String>,
    /// Whose effects made the change: the object whose run it was; none: somebody else (a file, a
    /// person, another controller).
    pub by: Option<String>,
    /// The file that defines what changed, relative to its root, if nobody's effects made the change.
    #[serde(default)]
    pub file: Option<String>,
    /// The number of that run, if it is still known.
    pub run: Option<u64>,
    /// Why that run ran; empty where the chain ends.
    #[serde(default)]
    pub because: Vec<CauseRow>,
}

/// `GET /v1/objects/{cluster}/{group}/{kind}/{namespace}/{name}`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectView {
    /// The object. Values of Secrets are not in it.
    pub object: Value,
    /// How it is reconciled, if a plugin does.
    pub reconcile: Option<ReconcileRow>,
    /// Its events, oldest first.
    pub events: Vec<EventRow>,
    /// The file that defines it, relative to its root.
    pub file: Option<String>,
}

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventRow {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// What it is about, as `cluster/group/kind/namespace/name`.
    pub regarding: String,
    /// First of the series.
    pub first: String,
    /// Last of the series.
    pub last: String,
    /// Number in the series.
    pub count: u64,
}

/// One row of `GET /v1/plugins`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PluginRow {
    /// Name that the plugin gives itself; the file's stem while it could not be read.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// `Running`, `Refused`, `Loading`, `Removed`.
    pub state: String,
    /// Why it is refused. What ran before keeps running.
    pub problem: Option<String>,
    /// File, relative to the plugins directory.
    pub file: String,
    /// Digest of the component that runs.
    pub digest: Option<String>,
    /// Kinds that it reconciles, as `Kind.group/version`.
    pub kinds: Vec<String>,
    /// Grants that it has.
    pub grants: Vec<String>,
    /// Grants that it asks for and lacks, as they would be written.
    pub missing_grants: Vec<String>,
    /// Objects of its kinds.
    pub objects: usize,
    /// Calls since the host started.
    pub calls: u64,
    /// Calls that ended in a trap, a timeout or a limit.
    pub traps: u64,
    /// Mean time of a call, milliseconds; none before the first.
    #[serde(default)]
    pub call_ms: Option<f64>,
    /// Keys that a change woke up, in the mean (rule A9); none before the first.
    #[serde(default)]
    pub fan_out: Option<f64>,
    /// It is not called at present because it kept trapping (rule C8): until when, and what to do.
    #[serde(default)]
    pub quarantine: Option<QuarantineRow>,
    /// Digest of the component that ran before, which `rollback` goes back to.
    #[serde(default)]
    pub previous: Option<String>,
    /// A person went back to the previous component: the file is not used until it changes.
    #[serde(default)]
    pub rolled_back: bool,
    /// What the trial of this component in the shadow of the one before showed (rule D11).
    #[serde(default)]
    pub shadow: Option<ShadowRow>,
}

/// Why and how long a plugin is not called (rule C8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRow {
    /// When it is tried again.
    pub until: String,
    /// Quarantines in a row.
    pub times: u32,
    /// The last trap.
    pub reason: String,
    /// What a person may do.
    pub advice: String,
}

/// What came of a component that answered recent requests without effects (rule D11).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowRow {
    /// Requests that it answered.
    pub calls: usize,
    /// Of them, those that ended in a trap, a timeout or a limit.
    pub traps: usize,
    /// Objects whose outcome would be another, the first 20, as `cluster/group/kind/namespace/name`.
    pub differences: Vec<String>,
    /// Children that it would no longer return.
    pub deletions: usize,
}

/// A line that a plugin logged: one item of `GET /v1/plugins/{name}/logs`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRow {
    /// When.
    pub at: String,
    /// `trace`, `debug`, `info`, `warn`, `error`; `stderr` for what it wrote there before it trapped.
    pub level: String,
    /// The object that it was called for, as `cluster/group/kind/namespace/name`.
    pub key: String,
    /// The text, sanitised.
    pub message: String,
    /// Its fields, sanitised.
    #[serde(default)]
    pub fields: Vec<(String, String)>,
}

/// What `POST /v1/plan` asks: one object, or all of a kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PlanRequest {
    /// Which objects; `kind` is required.
    #[serde(flatten)]
    pub filter: Filter,
}

/// What reconciling one object now would change: one row of the answer to `POST /v1/plan`. Nothing
/// is written for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRow {
    /// `cluster/group/kind/namespace/name`
    pub key: String,
    /// The plugin that was asked.
    pub plugin: String,
    /// Why there is no outcome: the plugin's failure, or what could not be read.
    pub failure: Option<String>,
    /// What would be written, in order. Empty: nothing.
    pub changes: Vec<PlanChange>,
    /// What the plan cannot show, such as what follows from a child that does not exist yet (rule A12).
    pub notes: Vec<String>,
}

/// One thing that would be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanChange {
    /// `create`, `update`, `delete`, `status`, or `refused`.
    pub verb: String,
    /// What would be written, as `cluster/group/kind/namespace/name`.
    pub key: String,
    /// The object before, without the values of Secrets; null if there is none. For `status` only the status.
    pub before: Value,
    /// And after.
    pub after: Value,
    /// Why it is refused or held.
    pub reason: Option<String>,
}

/// What `POST /v1/release` asks (rule B12).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReleaseRequest {
    /// Which objects; `kind` is required.
    #[serde(flatten)]
    pub filter: Filter,
    /// Their children are deleted as well; else they stay, without an owner.
    #[serde(default)]
    pub delete_children: bool,
}

/// What `POST /v1/release` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Objects whose finalizer was removed.
    pub released: Vec<String>,
    /// Children that were deleted.
    pub deleted: Vec<String>,
    /// Children that stay, now without an owner.
    pub orphaned: Vec<String>,
}

/// A kind that is known: one row of `GET /v1/kinds`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KindRow {
    /// API group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural name, lower case.
    pub plural: String,
    /// Singular name, lower case.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether it is namespaced.
    pub namespaced: bool,
    /// Printer columns: name, JSON path, type, priority.
    pub columns: Vec<(String, String, String, i64)>,
    /// The plugin that reconciles it.
    pub plugin: Option<String>,
    /// A person disabled it.
    pub disabled: bool,
    /// The cluster that is meant where an object of it is named without one.
    #[serde(default = "local")]
    pub cluster: String,
}

impl KindRow {
    /// The row of a kind, with the plugin that reconciles it and whether a person disabled it, in a host that knows
    /// no cluster but its own.
    pub fn of(crd: &Crd, plugin: Option<String>, disabled: bool) -> Self {
        let column = |column: &setpoint_schema::Column| {
            (column.name.clone(), column.json_path.clone(), column.kind.clone(), column.priority)
        };
        Self {
            group: crd.group.clone(),
            version: crd.version.clone(),
            kind: crd.kind.clone(),
            plural: crd.plural.clone(),
            singular: crd.singular.clone(),
            short_names: crd.short_names.clone(),
            namespaced: crd.namespaced,
            columns: crd.columns.iter().map(column).collect(),
            plugin,
            disabled,
            cluster: local(),
        }
    }
}

/// A document of a file that is no object (unclaimed or wrong): part of `GET /v1/files`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileRow {
    /// The cluster of files.
    #[serde(default = "local")]
    pub cluster: String,
    /// File, relative to its root.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// `Unclaimed`, `Invalid`, `Notice`, `Suspicious`.
    pub state: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Which rows of `GET /v1/reconciles` are wanted: query parameters, all optional.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Cluster.
    pub cluster: Option<String>,
    /// API group (`core` for the core group).
    pub group: Option<String>,
    /// Kind, plural, singular or short name; any case.
    pub kind: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// State.
    pub state: Option<String>,
    /// Plugin.
    pub plugin: Option<String>,
    /// Label selector as kubectl writes it: `app=a,tier in (b,c),!old`.
    #[serde(default)]
    pub labels: Option<String>,
}

/// What `GET /v1/events` streams.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum StreamItem {
    /// An event was recorded.
    Event(EventRow),
    /// A row changed: read it anew. None of `key`: the receiver fell behind, read everything anew.
    Row {
        /// `cluster/group/kind/namespace/name`
        key: Option<String>,
    },
}
