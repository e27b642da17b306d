//! One call of a plugin, from an instance, fresh or kept, to its answer.

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
    /// The part of `wall` in which the instance was made; 0 if it was there (rule A13).
    pub instantiate: Duration,
    /// Calls of `get` and `list`.
    pub host_calls: u32,
    /// Bytes of objects handed to the plugin by them.
    pub bytes_read: u64,
    /// Log lines that were dropped for being too many.
    pub log_lines_dropped: u32,
}

/// An instance that answered a call and can be called again. Dropping it gives its place in the pool back.
pub(crate) struct Instance {
    store: Store<State>,
    exports: Reconciler,
    calls: u32,
}

impl Instance {
    /// The calls that it has answered.
    pub(crate) fn calls(&self) -> u32 {
        self.calls
    }
}

/// Reconciles one object in this instance, or in a fresh one. Answers the instance as well if it can be called again:
/// after an outcome, and never when it trapped, was stopped or gave an answer that makes no sense.
pub(crate) async fn reconcile(
    engine: &Engine,
    pre: &ReconcilerPre<State>,
    kept: Option<Instance>,
    state: State,
    request: &Request,
) -> (Call, Option<Instance>) {
    let (limits, meter) = (state.limits, state.meter.clone());
    let causes = convert::causes(&request.causes);
    let (mut store, exports, calls) = match kept {
        Some(Instance { mut store, exports, calls }) => {
            store.data_mut().renew(state);
            (store, Some(exports), calls)
        }
        None => (open(engine, state), None, 0),
    };
    allow(&mut store);
    let answer = bounded(limits.wall, &meter, async {
        let exports = match exports {
            Some(exports) => exports,
            None => instantiate(pre, &mut store).await?,
        };
        let request = convert::request(request, &causes);
        let answer = exports.setpoint_reconciler_guest().call_reconcile(&mut store, request).await?;
        Ok::<_, wasmtime::Error>((answer, exports))
    })
    .await;
    let (result, exports) = match answer {
        Ok((Ok(answer), exports)) => {
            let outcome =
                outcome::check(&answer, &limits).and_then(|()| convert::outcome(answer).map_err(CallFailure::Invalid));
            (outcome, Some(exports))
        }
        Ok((Err(failure), _)) => (Err(CallFailure::Plugin(convert::failure(failure))), None),
        Err(stop) => {
            store.data().tell_printed();
            (Err(explain(&stop, store.data())), None)
        }
    };
    let state = store.data_mut();
    let stats = CallStats {
        wall: state.world.started().elapsed(),
        cpu: meter.spent(),
        instantiate: state.instantiate,
        host_calls: state.answers.calls,
        bytes_read: state.answers.bytes,
        log_lines_dropped: state.lines_dropped,
    };
    let call = Call { result, impure: state.world.impure, stats };
    let reusable = call.result.is_ok() && state.reusable();
    let again = exports.filter(|_| reusable).map(|exports| {
        store.data_mut().rest();
        Instance { store, exports, calls: calls.saturating_add(1) }
    });
    (call, again)
}

/// Asks a plugin what it is, in a throw-away instance.
pub(crate) async fn describe(
    engine: &Engine,
    pre: &ReconcilerPre<State>,
    state: State,
) -> Result<types::Description, CallFailure> {
    let (wall, meter) = (state.limits.wall, state.meter.clone());
    let mut store = open(engine, state);
    allow(&mut store);
    let answer = bounded(wall, &meter, async {
        let instance = instantiate(pre, &mut store).await?;
        instance.setpoint_reconciler_guest().call_describe(&mut store).await
    })
    .await;
    answer.map_err(|stop| explain(&stop, store.data()))
}

fn open(engine: &Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| state);
    store.epoch_deadline_callback(|mut store| store.data_mut().tick());
    store
}

/// Sets what the engine itself bounds in each call anew.
fn allow(store: &mut Store<State>) {
    // Host memory that the texts of one answer may take; the limits proper are checked on it later.
    let copied = store.data().limits.outcome_bytes.saturating_add(SHAPE_BYTES);
    store.set_hostcall_fuel(copied);
    // From now on: while an instance waited for its call the clock went on.
    store.set_epoch_deadline(1);
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
