//! One backend: what its source amounts to.
//!
//! | source | state |
//! |---|---|
//! | has an address, and all that it needs is there | Open |
//! | the same, and it is being deleted | Draining |
//! | is gone, or in another group, and the backend had an address | Draining, with what was known of it |
//! | is gone, or in another group, and it had none | Pending |
//! | has no address yet, or was not validated yet | Pending |
//! | was found invalid, or its credentials or certificates are not there | Closed |
//! | cannot be known at present | as it was |

use serde::{Deserialize, Serialize};
use setpoint_sdk::ReadError;
use setpoint_sdk::prelude::*;

use crate::problem::{Problem, or_problem};
use crate::resolve::{self, Unresolved};
use crate::source::{self, Source, SourceKind, SourceRef};
use crate::status::{BackendStatus, Health, State};
use crate::{GROUP, NAME, VERSION, auth, extras};

/// What a backend is made of.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct BackendSpec {
    /// The registry that made it; empty for one that a person made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub registry: String,
    /// The group that the source has to be in; empty for any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// What clients call it.
    pub id: String,
    pub source: SourceRef,
    /// The kind of the source that has the id instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadowed_by: Option<SourceKind>,
    /// The source is no longer in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
}

/// That a backend is about to go.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Draining {
    /// Since when, in RFC 3339.
    pub since: String,
}

/// As a registry sees its backends, and returns them.
#[derive(Serialize, Deserialize)]
pub struct BackendObject {
    pub spec: BackendSpec,
    #[serde(default, skip_serializing)]
    pub status: Option<SeenStatus>,
}

/// What a registry shows of a backend.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct SeenStatus {
    pub state: State,
    pub health: Health,
    pub reason: String,
    pub observed_generation: Option<i64>,
}

impl Resource for BackendObject {
    const GROUP: &'static str = GROUP;
    const VERSION: &'static str = VERSION;
    const KIND: &'static str = "Backend";
}

/// Reconciles `Backend`.
pub struct Backend;

impl Reconciler for Backend {
    type Spec = BackendSpec;
    type Status = BackendStatus;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        let describe =
            Describe::with_crd_json(NAME, env!("CARGO_PKG_VERSION"), VERSION, include_str!("backend.crd.json"));
        let sources = SourceKind::ALL.map(SourceKind::read);
        let all = sources.into_iter().chain(auth::reads()).chain([extras::reads()]);
        all.fold(describe, Describe::reads)
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<BackendStatus>, Error> {
        let old = cx.status().cloned().unwrap_or_default();
        let status = look(cx, &old)?;
        let (state, code, message) = (status.state, status.reason.clone(), status.message.clone());
        // An event tells of a change; the status tells what is.
        let changed = (old.state, &old.reason) != (state, &code);
        let outcome = Outcome::ready(status);
        let (outcome, event) = match state {
            State::Open => (outcome, Event::normal("BackendOpened", message)),
            State::Pending => (outcome.progressing(code, &message), Event::normal("BackendPending", message)),
            State::Draining => (outcome.progressing(code, &message), Event::normal("BackendDraining", message)),
            State::Closed => (outcome.stalled(code, &message), Event::warning("BackendClosed", message)),
        };
        Ok(if changed { outcome.event(event) } else { outcome })
    }
}

/// What there is to say about the backend.
///
/// # Errors
/// Something cannot be known at present. Then nothing is said, so that the last good word stays.
fn look(cx: &Context<Backend>, old: &BackendStatus) -> Result<BackendStatus, ReadError> {
    let BackendSpec { group, source, shadowed_by, draining, .. } = cx.spec();
    let name = format!("{} {}", source.kind.name(), source.name);
    if let Some(kind) = shadowed_by {
        let message = format!("The {} of this name has the id {}", kind.name(), cx.spec().id);
        return Ok(said(State::Closed, "NameTaken", message));
    }
    if draining.is_some() {
        return Ok(leaving(old, "Removed", format!("{name} is no longer in the group")));
    }
    let read = source::get(cx, source);
    let found = match read {
        // Who may not know whether there is one says nothing about it. That leaves the backend as it was.
        Err(error @ ReadError::NotGranted(_)) => return Err(error),
        read => match or_problem(read)? {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(leaving(old, "SourceNotFound", format!("There is no {name}"))),
            Err(problem) => return Ok(said(State::Closed, problem.code, problem.message)),
        },
    };
    if !group.is_empty() && found.group() != group {
        return Ok(leaving(old, "GroupChanged", format!("{name} is not in the group {group}")));
    }
    let mut status = match resolve::url(source.kind, &found) {
        Ok(url) => match needs(cx, source, &found)? {
            Ok(needs) => BackendStatus { url: Some(url), ..needs },
            Err(Problem { code, message }) => said(State::Closed, code, message),
        },
        Err(Unresolved::Pending(Problem { code, message })) => said(State::Pending, code, message),
        Err(Unresolved::Closed(Problem { code, message })) => said(State::Closed, code, message),
    };
    if status.state == State::Open && found.metadata.deletion_timestamp.is_some() {
        status.state = State::Draining;
        status.reason = "SourceTerminating".into();
        status.message = format!("{name} is being deleted");
    }
    status.health = resolve::health(source.kind, &found.status.phase);
    status.transport = Some(resolve::transport(source.kind, &found));
    status.metadata = resolve::metadata(source.kind, &found);
    Ok(status)
}

/// What clients need besides the address.
fn needs(cx: &Context<Backend>, at: &SourceRef, source: &Source) -> Result<Result<BackendStatus, Problem>, ReadError> {
    let mut status = said(State::Open, "Resolved", "All that is needed to use the backend is known".into());
    if let Some(config) = &source.spec.external_auth_config_ref {
        match auth::check(cx, at, &config.name)? {
            Ok(auth) => status.auth = Some(auth),
            Err(problem) => return Ok(Err(problem)),
        }
    }
    if at.kind == SourceKind::MCPServerEntry {
        match extras::ca_bundle(cx, at, source.spec.ca_bundle_ref.as_ref())? {
            Ok(bundle) => status.ca_bundle = bundle,
            Err(problem) => return Ok(Err(problem)),
        }
        match extras::headers(cx, at, source.spec.header_forward.as_ref())? {
            Ok(headers) => status.headers = headers,
            Err(problem) => return Ok(Err(problem)),
        }
    }
    Ok(Ok(status))
}

fn said(state: State, code: &str, message: String) -> BackendStatus {
    BackendStatus { state, reason: code.to_owned(), message, ..BackendStatus::default() }
}

/// A backend whose source is not there any more: whoever uses it may end what is under way. One that nobody could
/// use, or that was closed to everybody, has nothing to end.
fn leaving(old: &BackendStatus, code: &str, message: String) -> BackendStatus {
    match old.url {
        Some(_) => BackendStatus { state: State::Draining, reason: code.to_owned(), message, ..old.clone() },
        None => said(State::Pending, code, message),
    }
}
