//! The Rust side of `wit/reconciler.wit`, generated. One module per released version of the
//! contract: a frozen version never changes, the next one gets its own beside it.

// Generated code: its names and its `unsafe` (typed views of exports whose types were checked when
// the plugin was loaded) are the generator's.
#[allow(unsafe_code, missing_docs, unreachable_pub, dead_code, clippy::all)]
pub(crate) mod v0_1_0 {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "reconciler",
        imports: {
            "setpoint:reconciler/log.log": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        require_store_data_send: true,
        // The object of a request is handed over without a copy in the host.
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) use v0_1_0::setpoint::reconciler::{log, objects, types};
pub(crate) use v0_1_0::{Reconciler, ReconcilerPre};
