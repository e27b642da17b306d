//! One registry: which backends there are, and how far they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use setpoint_sdk::prelude::*;
use setpoint_sdk::{ConditionStatus, Object, ReadError};

use crate::backend::{BackendObject, BackendSpec, Draining};
use crate::drain::{self, Drain};
use crate::source::{self, MCPGroup, SourceKind, SourceRef};
use crate::status::{Health, State};
use crate::{GROUP, NAME, VERSION};

/// Label of backends: the name of their registry, if it is short enough to be a label.
const LABEL: &str = "vmcp.setpoint.dev/registry";
/// Longest value of a label.
const LONGEST_LABEL: usize = 63;
/// Backends that a message names.
const NAMED: usize = 5;

/// What a registry is of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrySpec {
    group: String,
    #[serde(default)]
    cluster: Option<String>,
    #[serde(default = "default_drain")]
    drain_seconds: u64,
}

fn default_drain() -> u64 {
    30
}

/// What the operator says for all registries.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cluster that registries read from which name none in `spec.cluster`. Without it, their own.
    #[serde(default)]
    cluster: Option<String>,
}

/// What there is.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistryStatus {
    cluster: String,
    total: usize,
    open: usize,
    healthy: usize,
    backends: Vec<Entry>,
}

/// One backend.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: String,
    kind: SourceKind,
    /// Name of the `Backend`.
    backend: String,
    state: State,
    health: Health,
    reason: String,
}

/// A registry as another one sees it.
#[derive(Deserialize)]
struct Other {
    #[serde(default)]
    spec: OtherSpec,
}

#[derive(Deserialize, Default)]
struct OtherSpec {
    #[serde(default)]
    cluster: Option<String>,
}

impl Resource for Other {
    const GROUP: &'static str = GROUP;
    const VERSION: &'static str = VERSION;
    const KIND: &'static str = "BackendRegistry";
}

/// Reconciles `BackendRegistry`.
pub struct BackendRegistry;

impl Reconciler for BackendRegistry {
    type Spec = RegistrySpec;
    type Status = RegistryStatus;
    type Config = Config;

    fn describe() -> Describe<Self> {
        let others = Read::all::<Other>().fields([".metadata.creationTimestamp", ".spec.cluster"]);
        let backends = Read::all::<BackendObject>().fields([
            ".metadata.generation",
            ".spec",
            ".status.state",
            ".status.health",
            ".status.reason",
            ".status.observedGeneration",
        ]);
        let describe =
            Describe::with_crd_json(NAME, env!("CARGO_PKG_VERSION"), VERSION, include_str!("registry.crd.json"))
                .reads(others.index("group", ".spec.group"))
                .reads(backends.index("registry", ".spec.registry"))
                .reads(Read::named::<MCPGroup>().fields([".metadata.generation"]))
                .writes::<BackendObject>();
        SourceKind::ALL.map(SourceKind::read).into_iter().fold(describe, Describe::reads)
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<RegistryStatus>, Error> {
        let group = &cx.spec().group;
        let cluster = cluster(cx, cx.spec().cluster.as_ref());
        if let Some(other) = first(cx, &cluster)? {
            let message = format!("The registry {other} is of the group {group} already: one is enough");
            return Ok(Outcome::without_status().stalled("GroupTaken", message));
        }
        let found = group_is_there(cx, &cluster)?;
        let wanted = wanted(cx, &cluster)?;
        let known = own(cx)?;
        let empty = wanted.is_empty();

        let filled = wanted.iter().all(|(name, _)| known.get(name).is_some_and(looked_at));
        let (leaving, again) = leaving(&known, &wanted, cx.spec().drain_seconds);
        let mut all: Vec<(String, BackendSpec)> = wanted.into_iter().chain(leaving).collect();
        all.sort_by(|(_, a), (_, b)| (&a.id, a.source.kind).cmp(&(&b.id, b.source.kind)));

        let status = status(cluster, &all, &known);
        let resolved = resolved(&status, filled);
        let mut outcome = Outcome::ready(status).children(all.iter().map(|(name, spec)| child(cx.name(), name, spec)));
        if found == GroupFound::No && empty {
            let message = format!("There is no MCPGroup {group}, and nothing is in it");
            outcome = outcome.stalled("GroupNotFound", message);
        } else if !filled {
            outcome = outcome.progressing("Filling", "Not every backend has been looked at yet");
        }
        outcome = found.with_condition(outcome, group);
        outcome = outcome.condition("AllResolved", resolved.status, resolved.code, resolved.message);
        Ok(match again {
            Some(after) => outcome.requeue_after(after),
            None => outcome,
        })
    }
}

/// The cluster that is read from: what the registry says, else the operator, else the registry's own.
fn cluster(cx: &Context<BackendRegistry>, given: Option<&String>) -> String {
    given.or(cx.config().cluster.as_ref()).unwrap_or(&cx.key().cluster).clone()
}

/// The registry that is of this group in this cluster already, if it is another one: the oldest keeps it.
fn first(cx: &Context<BackendRegistry>, here: &str) -> Result<Option<String>, ReadError> {
    let others = cx.list::<Other>(Query::new().index("group", &cx.spec().group))?;
    let same = others.iter().filter(|other| cluster(cx, other.spec.cluster.as_ref()) == here);
    let age = |other: &&Object<Other>| (other.metadata.creation_timestamp.clone(), other.metadata.name.clone());
    Ok(same.min_by_key(age).map(|other| other.metadata.name.clone()).filter(|name| name != cx.name()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GroupFound {
    Yes,
    No,
    Hidden,
}

fn group_is_there(cx: &Context<BackendRegistry>, cluster: &str) -> Result<GroupFound, ReadError> {
    match cx.get::<MCPGroup>(ObjectRef::new(&cx.spec().group).in_cluster(cluster)) {
        Ok(Some(_)) => Ok(GroupFound::Yes),
        Ok(None) => Ok(GroupFound::No),
        // Which sources are in the group is known all the same.
        Err(ReadError::NotGranted(_)) => Ok(GroupFound::Hidden),
        Err(error) => Err(error),
    }
}

impl GroupFound {
    fn with_condition<S>(self, outcome: Outcome<S>, group: &str) -> Outcome<S> {
        match self {
            Self::Yes => outcome.condition("GroupFound", true, "Found", format!("There is an MCPGroup {group}")),
            Self::No => {
                outcome.condition("GroupFound", false, "GroupNotFound", format!("There is no MCPGroup {group}"))
            }
            Self::Hidden => {
                let message = "The plugin may not read MCPGroup of toolhive.stacklok.dev";
                outcome.condition("GroupFound", ConditionStatus::Unknown, "NotGranted", message)
            }
        }
    }
}

/// The backends that there shall be, by their names. Of several sources of one name the first kind has the id; the
/// others are there as well, closed, and say so.
fn wanted(cx: &Context<BackendRegistry>, cluster: &str) -> Result<BTreeMap<String, BackendSpec>, ReadError> {
    let mut wanted = BTreeMap::new();
    let mut taken: BTreeMap<String, SourceKind> = BTreeMap::new();
    for kind in SourceKind::ALL {
        let members: BTreeSet<String> = source::members(cx, cluster, &cx.spec().group, kind)?.into_iter().collect();
        for name in members {
            let shadowed_by = taken.get(&name).copied();
            taken.entry(name.clone()).or_insert(kind);
            let backend = cx.stable_name(&name, [cluster, kind.name(), &name]);
            let spec = BackendSpec {
                registry: cx.name().to_owned(),
                group: cx.spec().group.clone(),
                id: name.clone(),
                source: SourceRef { cluster: Some(cluster.to_owned()), kind, name },
                shadowed_by,
                draining: None,
            };
            wanted.insert(backend, spec);
        }
    }
    Ok(wanted)
}

/// The backends that this registry has. One that a person made is not among them, whatever it says.
fn own(cx: &Context<BackendRegistry>) -> Result<BTreeMap<String, Object<BackendObject>>, ReadError> {
    let found = cx.list::<BackendObject>(Query::new().index("registry", cx.name()))?;
    let mine = |backend: &Object<BackendObject>| {
        let mut owners = backend.metadata.owner_references.iter();
        owners.any(|owner| owner.kind == "BackendRegistry" && owner.name == cx.name())
    };
    Ok(found.into_iter().filter(mine).map(|backend| (backend.metadata.name.clone(), backend)).collect())
}

/// Whether the backend's own reconciler has said something about it as it is.
fn looked_at(backend: &Object<BackendObject>) -> bool {
    backend.status.as_ref().is_some_and(|status| {
        !status.reason.is_empty() && status.observed_generation.is_none_or(|seen| seen >= backend.metadata.generation)
    })
}

/// The backends that stay for a while though their sources have left, and when to look again. One that nobody can be
/// using goes at once.
fn leaving(
    known: &BTreeMap<String, Object<BackendObject>>,
    wanted: &BTreeMap<String, BackendSpec>,
    longest: u64,
) -> (Vec<(String, BackendSpec)>, Option<Duration>) {
    let in_use = |backend: &Object<BackendObject>| {
        let state = backend.status.as_ref().map(|status| status.state);
        matches!(state, Some(State::Open | State::Draining)) && backend.metadata.deletion_timestamp.is_none()
    };
    let left: Vec<_> =
        known.iter().filter(|(name, backend)| longest > 0 && !wanted.contains_key(*name) && in_use(backend)).collect();
    if left.is_empty() {
        return (Vec::new(), None);
    }
    let now = drain::now();
    let mut stay = Vec::new();
    let mut again: Option<Duration> = None;
    for (name, backend) in left {
        let since = backend.spec.draining.as_ref().map(|draining| draining.since.as_str());
        if let Drain::Stays(since, after) = drain::decide(since, now, longest) {
            stay.push((name.clone(), BackendSpec { draining: Some(Draining { since }), ..backend.spec.clone() }));
            again = Some(again.map_or(after, |earlier| earlier.min(after)));
        }
    }
    (stay, again)
}

fn child(registry: &str, name: &str, spec: &BackendSpec) -> Child {
    let child = Child::of(name, &BackendObject { spec: spec.clone(), status: None });
    if registry.len() <= LONGEST_LABEL { child.label(LABEL, registry) } else { child }
}

fn status(
    cluster: String,
    all: &[(String, BackendSpec)],
    known: &BTreeMap<String, Object<BackendObject>>,
) -> RegistryStatus {
    let entry = |(name, spec): &(String, BackendSpec)| {
        let seen = known.get(name).filter(|backend| looked_at(backend)).and_then(|backend| backend.status.as_ref());
        Entry {
            id: spec.id.clone(),
            kind: spec.source.kind,
            backend: name.clone(),
            state: seen.map_or(State::Pending, |status| status.state),
            health: seen.map_or(Health::Unknown, |status| status.health),
            reason: seen.map_or_else(|| "NotLookedAt".to_owned(), |status| status.reason.clone()),
        }
    };
    let backends: Vec<Entry> = all.iter().map(entry).collect();
    let open = |entry: &&Entry| entry.state == State::Open;
    RegistryStatus {
        cluster,
        total: backends.len(),
        open: backends.iter().filter(open).count(),
        healthy: backends.iter().filter(open).filter(|entry| entry.health == Health::Healthy).count(),
        backends,
    }
}

struct Resolved {
    status: ConditionStatus,
    code: &'static str,
    message: String,
}

/// Whether clients may be sent to every backend; if not, to which not, and why.
fn resolved(status: &RegistryStatus, filled: bool) -> Resolved {
    let said = |status, code, message: &str| Resolved { status, code, message: message.to_owned() };
    if !filled {
        return said(ConditionStatus::Unknown, "Filling", "Not every backend has been looked at yet");
    }
    let not_open = status.backends.iter().filter(|entry| matches!(entry.state, State::Pending | State::Closed));
    let names: Vec<String> = not_open.map(|entry| format!("{} ({})", entry.id, entry.reason)).collect();
    match names.len() {
        0 if status.backends.is_empty() => said(ConditionStatus::True, "Empty", "Nothing is in the group"),
        0 => said(ConditionStatus::True, "AllResolved", "Every backend is resolved"),
        more => {
            let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let more = if more > NAMED { ", …" } else { "" };
            said(ConditionStatus::False, "SomeNotResolved", &format!("No client can use {shown}{more}"))
        }
    }
}
