//! Reconciles `MCPServer` of `muster.giantswarm.io/v1alpha1`: servers that speak the Model Context
//! Protocol, as processes of this machine or as endpoints elsewhere.
//!
//! The plugin starts and dials nothing. It returns a `Process` and a `Probe`, which the host runs
//! and looks at, reads what the host says of them, and says it in muster's words. What changes with a
//! process or an endpoint is a change of a child, and so a call.

mod auth;
mod children;
mod events;
mod family;
mod look;
mod spec;
mod status;

use children::{HOST_CLUSTER, Probe, Process, Seen, Wants, seen_probe, seen_process};
use look::{Look, Progress};
use setpoint_sdk::prelude::*;
use spec::MCPServerSpec;
use status::MCPServerStatus;

struct MCPServer;

impl Reconciler for MCPServer {
    type Spec = MCPServerSpec;
    type Status = MCPServerStatus;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        let process = [
            ".metadata.generation",
            ".spec",
            ".status.state",
            ".status.reason",
            ".status.message",
            ".status.lastExit.at",
            ".status.restarts",
            ".status.consecutiveFailures",
            ".status.nextRestartAt",
            ".status.observedGeneration",
        ];
        let probe = [
            ".metadata.generation",
            ".spec",
            ".status.state",
            ".status.reason",
            ".status.message",
            ".status.httpStatus",
            ".status.tools",
            ".status.lastConnected",
            ".status.consecutiveFailures",
            ".status.lastAttempt",
            ".status.nextAttempt",
            ".status.observedGeneration",
        ];
        Describe::with_crd_json("mcp-server", env!("CARGO_PKG_VERSION"), "v1alpha1", include_str!("crd.json"))
            .reads(family::reads())
            .reads(Read::all::<Process>().fields(process))
            .reads(Read::all::<Probe>().fields(probe))
            // Never read here: the host looks up what `envFrom` and `headersFrom` name, if the plugin may
            // read Secrets there. The mask keeps values away from it.
            .reads(Read::named::<Secret>().fields([".type"]))
            .writes::<Process>()
            .writes::<Probe>()
            .process()
            .http("*")
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<MCPServerStatus>, Error> {
        let spec = cx.spec();
        if let Some(missing) = missing(spec) {
            // The CRD refuses it, but objects may be older. What runs goes on.
            return Ok(Outcome::without_status().stalled("InvalidSpec", missing));
        }
        let old = cx.status().cloned().unwrap_or_default();
        let edited = old.observed_generation.is_some_and(|seen| seen < generation(cx));
        // A request that is taken back asks for nothing: what was complied with stays so.
        let requested = spec.restart_requested_at.clone().or_else(|| old.last_restarted_at.clone());
        let wants = Wants::of(cx.key(), spec, requested.clone());
        let auth = auth::mode(spec);

        let mut process = Seen::Absent;
        let mut probe = Seen::Absent;
        let look = if spec.active() {
            let settled = old.state.is_some_and(|state| !state.starts());
            probe = seen_probe(cx.get(child(&wants.name))?, &wants.probe, settled);
            match &wants.process {
                Some(wanted) => {
                    process = seen_process(cx.get(child(&wants.name))?, wanted, settled);
                    look::local(&process, &probe)
                }
                None => look::remote(&probe, auth.as_ref()),
            }
        } else {
            look::inactive(spec.is_stdio(), spec.is_stdio() && cx.get::<Process>(child(&wants.name))?.is_some())
        };

        let complied = match &wants.process {
            Some(_) => process.current().is_some(),
            None => probe.current().is_some(),
        };
        let restarted_at = if complied { requested } else { old.last_restarted_at.clone() };
        let status = look::status(&old, &look, &process, &probe, restarted_at, spec.is_stdio());
        let events = events::of(&old, &status, &look, spec.active(), edited);

        let mut outcome = outcome(status, &look);
        outcome = with_activity(outcome, spec);
        outcome = auth::with_condition(outcome, auth.as_ref());
        outcome = family::with_condition(cx, outcome)?;
        outcome = events.into_iter().fold(outcome, Outcome::event);
        Ok(if spec.active() { outcome.children(wants.children()) } else { outcome.no_children() })
    }
}

/// What the server cannot do without.
fn missing(spec: &MCPServerSpec) -> Option<&'static str> {
    match spec.is_stdio() {
        true => spec.command.is_empty().then_some("spec.command is required for type stdio"),
        false => spec.url.is_empty().then_some("spec.url is required for a remote server"),
    }
}

fn generation(cx: &Context<MCPServer>) -> i64 {
    cx.metadata().map_or(0, |metadata| metadata.generation)
}

/// A child is in the host's cluster, wherever the server's definition is.
fn child(name: &str) -> ObjectRef {
    ObjectRef::new(name).in_cluster(HOST_CLUSTER)
}

fn outcome(status: MCPServerStatus, look: &Look) -> Outcome<MCPServerStatus> {
    let outcome = Outcome::ready(status);
    match &look.progress {
        Progress::Done => outcome,
        Progress::Waits(code, message) => outcome.progressing(code, message),
        Progress::Stuck(code, message) => outcome.stalled(code, message),
    }
}

/// The condition `Active`: whether the server shall run, and what says so.
fn with_activity(outcome: Outcome<MCPServerStatus>, spec: &MCPServerSpec) -> Outcome<MCPServerStatus> {
    let (active, code, message) = match (spec.suspended, spec.auto_start, spec.restart_requested_at.is_some()) {
        (true, ..) => (false, "Suspended", "spec.suspended is true"),
        (_, true, _) => (true, "AutoStart", "spec.autoStart is true"),
        (_, _, true) => (true, "RestartRequested", "spec.restartRequestedAt asked for a start"),
        _ => {
            (false, "AutoStartOff", "spec.autoStart is false: set it, or spec.restartRequestedAt, to start the server")
        }
    };
    outcome.condition("Active", active, code, message)
}

setpoint_sdk::export!(MCPServer);

#[cfg(test)]
mod tests;
