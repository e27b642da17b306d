//! One call of a plugin, from a fresh instance to its answer.

use std::future::Future;
use std::time::{Duration, Instant};

use setpoint_core::contract::{Failure, Outcome, Request};
use wasmtime::{Engine, Store};

use crate::bindings::{Reconciler, ReconcilerPre, types};
use crate::convert;
use crate::failure::{Stop, explain};
use crate::limits::LimitKind;
use crate::meter::Meter;
use crate::outcome;
use crate::state::State;

/// Beyond the bytes of the texts, what the engine may copy per answer for the shape of an outcome.
const SHAPE_BYTES: usize = 1 << 20;

/// What became of a call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The outcome, or why there is none.
    pub result: Result<Outcome, CallFailure>,
    /// The call read the wall clock or secure randomness: it may answer differently next time, and
    /// is not skipped at a resync (rule A7).
    pub impure: bool,
    /// What it cost.
    pub stats: CallStats,
}

/// Why a call has no outcome.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum CallFailure {
    /// The plugin's own answer.
    #[error("{}", .0.message())]
    Plugin(Failure),
    /// The plugin was stopped, or an answer of it was beyond a limit. Counts for quarantine
    /// (rule C8).
    #[error("{message}")]
    Trap {
        /// What happened: the message of a panic where there is one.
        message: String,
        /// The limit that it went beyond; none if it stopped by itself.
        limit: Option<LimitKind>,
    },
    /// The plugin answered, but the answer makes no sense.
    #[error("the plugin's answer is invalid: {0}")]
    Invalid(String),
}

/// What a call cost.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct CallStats {
    /// From the beginning of the call to its answer; waiting for a free instance is not part of it.
    pub wall: Duration,
    /// The part of `wall` in which it kept a thread busy.
    pub cpu: Duration,
    /// The part of `wall` in which the instance was made.
    pub instantiate: Duration,
    /// Calls of `get` and `list`.
    pub host_calls: u32,
    /// Bytes of objects handed to the plugin by them.
    pub bytes_read: u64,
    /// Log lines that were dropped for being too many.
    pub log_lines_dropped: u32,
}

/// Reconciles one object in a fresh instance, which is gone when this returns.
pub(crate) async fn reconcile(engine: &Engine, pre: &ReconcilerPre<State>, state: State, request: &Request) -> Call {
    let (limits, meter) = (state.limits, state.meter.clone());
    let mut store = open(engine, state);
    let causes = convert::causes(&request.causes);
    let answer = bounded(limits.wall, &meter, async {
        let instance = instantiate(pre, &mut store).await?;
        instance.setpoint_reconciler_guest().call_reconcile(&mut store, convert::request(request, &causes)).await
    })
    .await;
    let state = store.data();
    let result = match answer {
        Ok(Ok(answer)) => {
            outcome::check(&answer, &limits).and_then(|()| convert::outcome(answer).map_err(CallFailure::Invalid))
        }
        Ok(Err(failure)) => Err(CallFailure::Plugin(convert::failure(failure))),
        Err(stop) => {
            state.tell_printed();
            Err(explain(&stop, state))
        }
    };
    let stats = CallStats {
        wall: state.world.started().elapsed(),
        cpu: meter.spent(),
        instantiate: state.instantiate,
        host_calls: state.answers.calls,
        bytes_read: state.answers.bytes,
        log_lines_dropped: state.lines_dropped,
    };
    Call { result, impure: state.world.impure, stats }
}

/// Asks a plugin what it is, in a throw-away instance.
pub(crate) async fn describe(
    engine: &Engine,
    pre: &ReconcilerPre<State>,
    state: State,
) -> Result<types::Description, CallFailure> {
    let (wall, meter) = (state.limits.wall, state.meter.clone());
    let mut store = open(engine, state);
    let answer = bounded(wall, &meter, async {
        let instance = instantiate(pre, &mut store).await?;
        instance.setpoint_reconciler_guest().call_describe(&mut store).await
    })
    .await;
    answer.map_err(|stop| explain(&stop, store.data()))
}

fn open(engine: &Engine, state: State) -> Store<State> {
    // Host memory that the texts of one answer may take; the limits proper are checked on it later.
    let copied = state.limits.outcome_bytes.saturating_add(SHAPE_BYTES);
    let mut store = Store::new(engine, state);
    store.limiter(|state| state);
    store.set_hostcall_fuel(copied);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| store.data_mut().tick());
    store
}

async fn instantiate(pre: &ReconcilerPre<State>, store: &mut Store<State>) -> wasmtime::Result<Reconciler> {
    let begin = Instant::now();
    let instance = pre.instantiate_async(&mut *store).await?;
    store.data_mut().instantiate = begin.elapsed();
    Ok(instance)
}

/// Runs a call, measured, for at most this long. A call that is cut off is dropped where it stands:
/// its store can then only be looked at and thrown away.
async fn bounded<T>(wall: Duration, meter: &Meter, call: impl Future<Output = wasmtime::Result<T>>) -> Result<T, Stop> {
    match tokio::time::timeout(wall, meter.measure(call)).await {
        Ok(answer) => answer.map_err(Stop::Error),
        Err(_) => Err(Stop::Wall),
    }
}
