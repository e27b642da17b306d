//! The engine: how code is compiled, where instances come from, what is linked.

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::bindings::Reconciler;
use crate::error::PluginError;
use crate::limits::{MAX_TABLE_ELEMENTS, STACK_BYTES};
use crate::state::State;

/// Parts that one component may be made of; a Rust component has three core instances, one memory.
const CORE_INSTANCES: u32 = 8;
const MEMORIES: u32 = 2;
const TABLES: u32 = 4;

/// Bytes of pages that a free slot keeps. More costs memory, less costs page faults; it pays only where the
/// kernel can say which pages were touched, as only those are then written anew. The stacks of calls are
/// kept as they are: they are not zeroed, since compiled code never reads what it has not written.
const KEEP_MEMORY: usize = 256 * 1024;
const KEEP_TABLE: usize = 64 * 1024;
/// Slots that stay bound to the component that last used them.
const WARM_SLOTS: u32 = 16;

/// Makes an engine with a pool of so many instances. Where the address space for the pool is not to
/// be had, instances are made when they are needed: slower, the same otherwise.
pub(crate) fn engine(max_instances: u32) -> Result<Engine, PluginError> {
    let mut pooled = config();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(max_instances)));
    match Engine::new(&pooled) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                max_instances,
                "no address space for a pool of plugin instances; calls will be slower"
            );
            let mut on_demand = config();
            on_demand.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            // What is short is address space, so each memory reserves only what it may use by default.
            on_demand.memory_reservation(64 << 20).memory_guard_size(64 << 10).memory_reservation_for_growth(64 << 20);
            Engine::new(&on_demand).map_err(|error| PluginError::Engine(format!("{error:#}")))
        }
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // The contract's functions are not async: without this machinery a call is five times cheaper.
    config.concurrency_support(false);
    config.max_wasm_stack(STACK_BYTES);
    // Nobody reads backtraces of a plugin: a failure is told by its limit, its panic or what it printed. So
    // a trap need not walk the stack, and the maps from machine code back to WebAssembly, a good part of the
    // compiled file, need not be written, hashed at each load and kept.
    config.wasm_backtrace_max_frames(None);
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.generate_address_map(false);
    // Only the system's unwinder wants this, for other programs' profilers and debuggers. To register it reads
    // through all of it at each load, which keeps it in memory, and takes longer the more plugins there are.
    if !cfg!(windows) {
        config.native_unwind_info(false);
    }
    config
}

fn pool(max_instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(max_instances)
        .total_core_instances(max_instances.saturating_mul(CORE_INSTANCES))
        .total_memories(max_instances.saturating_mul(MEMORIES))
        .total_tables(max_instances.saturating_mul(TABLES))
        .total_stacks(max_instances)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_module(TABLES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS.min(max_instances));
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(KEEP_MEMORY).table_keep_resident(KEEP_TABLE);
    }
    pool
}

/// All that a plugin may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    Reconciler::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    crate::wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}
