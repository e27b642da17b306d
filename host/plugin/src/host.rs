//! The plugins of one process and what they share: the engine, the pool, the clock, the cache.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use setpoint_core::contract::{Description, Request};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::bindings::ReconcilerPre;
use crate::cache::{Code, CodeCache};
use crate::call::{self, Call, CallFailure, CallStats, Instance};
use crate::describe;
use crate::digest::Digest;
use crate::error::PluginError;
use crate::limits::Limits;
use crate::pool::{Place, Pool};
use crate::reads::Reads;
use crate::replay::{Recorder, Replayed};
use crate::state::{Logs, State};
use crate::ticker::{Running, Ticker};
use crate::warm::{self, Mode, Verdict, Warm};
use crate::{engine, gate, imports};

/// How the host runs plugins.
#[derive(Clone, PartialEq, Debug)]
pub struct HostOptions {
    /// Where compiled code is kept; made private to the user (0700). None compiles anew at each
    /// start. Default none.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of compiled code to keep; what was not used for longest goes first. Default 1 GiB.
    pub cache_bytes: u64,
    /// Calls that can run at a time, of all plugins together; further ones wait. At least 1.
    /// Default 64.
    pub max_instances: u32,
    /// An instance that waits for its next call (rule A13) is given up when it has waited for so long, and sooner when
    /// another plugin's call needs its place. Default 30 s.
    pub warm_idle: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { cache_dir: None, cache_bytes: 1 << 30, max_instances: 64, warm_idle: Duration::from_secs(30) }
    }
}

/// Loads plugins. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct PluginHost(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<State>,
    ticker: Ticker,
    pool: Arc<Pool<Instance>>,
    cache: Option<CodeCache>,
    loaded: Mutex<HashMap<Digest, Weak<Plugin>>>,
    /// Numbers plugins, as whose kept instances they are.
    plugins: AtomicU64,
}

/// A call's place in the pool. The order is that in which they are given back: the clock may stop when nothing of
/// the call is left.
struct Entered<'a> {
    place: Place<'a, Instance>,
    _running: Running,
}

/// A loaded plugin: compiled code that is ready to be called. It has no instance and no memory of
/// its own while it is not called; see [`Limits::warm_calls`] for the exception.
pub struct Plugin {
    host: Arc<Inner>,
    number: u64,
    mode: Mode,
    pre: ReconcilerPre<State>,
    digest: Digest,
    description: Arc<Description>,
    contract: &'static str,
    imports: Vec<String>,
    size: usize,
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHost").field("free_places", &self.0.pool.free()).finish()
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.description.name)
            .field("version", &self.description.version)
            .field("digest", &self.digest)
            .finish()
    }
}

impl PluginHost {
    /// Makes the engine, its pool of instances and its clock.
    ///
    /// # Errors
    /// [`PluginError::Engine`] if WebAssembly cannot be run on this machine, [`PluginError::Cache`]
    /// if `cache_dir` cannot be made or is not ours.
    pub fn new(options: HostOptions) -> Result<Self, PluginError> {
        let max_instances = options.max_instances.max(1);
        let engine = engine::engine(max_instances)?;
        let failed = |error: wasmtime::Error| PluginError::Engine(format!("{error:#}"));
        let linker = engine::linker(&engine).map_err(failed)?;
        let pool: Arc<Pool<Instance>> = Arc::new(Pool::new(max_instances as usize, options.warm_idle));
        let kept = Arc::downgrade(&pool);
        let ticker = Ticker::start(&engine, move || kept.upgrade()?.sweep(Instant::now()))
            .map_err(|error| PluginError::Engine(error.to_string()))?;
        let cache = match &options.cache_dir {
            Some(dir) => Some(CodeCache::open(dir, &engine, options.cache_bytes)?),
            None => None,
        };
        Ok(Self(Arc::new(Inner {
            engine,
            linker,
            ticker,
            pool,
            cache,
            loaded: Mutex::new(HashMap::new()),
            plugins: AtomicU64::new(0),
        })))
    }

    /// Makes a plugin of the bytes of a component: checks what it is and what it imports, compiles
    /// it or takes it from the cache, and asks it what it is, twice. The same bytes loaded again
    /// give the same plugin while it lives.
    ///
    /// Takes a few hundred milliseconds of CPU the first time: call it from a blocking thread.
    ///
    /// # Errors
    /// Why it is refused; see [`PluginError`].
    pub fn load(&self, bytes: &[u8]) -> Result<Arc<Plugin>, PluginError> {
        gate::check(bytes)?;
        let digest = Digest::of(bytes);
        if let Some(plugin) = self.loaded(&digest) {
            return Ok(plugin);
        }
        let plugin = Arc::new(self.0.make(&self.0, bytes, digest.clone())?);
        let mut loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        // Another thread may have loaded the same meanwhile: the first one is kept.
        if let Some(first) = loaded.get(&digest).and_then(Weak::upgrade) {
            return Ok(first);
        }
        loaded.insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    fn loaded(&self, digest: &Digest) -> Option<Arc<Plugin>> {
        self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(digest).and_then(Weak::upgrade)
    }
}

impl Inner {
    fn make(&self, shared: &Arc<Self>, bytes: &[u8], digest: Digest) -> Result<Plugin, PluginError> {
        let (component, code) = self.compile(bytes, &digest)?;
        let ty = component.component_type();
        let contract =
            imports::version(ty.exports(&self.engine).map(|(name, _)| name).collect::<Vec<_>>().into_iter())?;
        let imports: Vec<String> = ty.imports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        imports::check(imports.iter().map(String::as_str), contract)?;
        let misfit = |error: wasmtime::Error| PluginError::Interface {
            version: contract.to_owned(),
            reason: format!("{error:#}"),
        };
        let prepare =
            |component: &Component| self.linker.instantiate_pre(component).and_then(ReconcilerPre::new).map_err(misfit);
        let mut pre = prepare(&component)?;
        let description = self.describe(&pre, &digest)?;
        // To be described it ran through much of its code, which is in memory now. A new mapping has nothing in
        // memory until it is called.
        match code.map(|code| code.map(&self.engine)) {
            Some(Ok(again)) => pre = prepare(&again)?,
            Some(Err(error)) => tracing::debug!(plugin = digest.short(), "code is not mapped anew: {error:#}"),
            None => {}
        }
        Ok(Plugin {
            host: shared.clone(),
            number: self.plugins.fetch_add(1, Ordering::Relaxed),
            mode: Mode::default(),
            pre,
            digest,
            description: Arc::new(description),
            contract,
            imports,
            size: bytes.len(),
        })
    }

    /// The component, and its code if that is in the cache.
    fn compile(&self, bytes: &[u8], digest: &Digest) -> Result<(Component, Option<Code>), PluginError> {
        let cached = |cache: &CodeCache| cache.load(&self.engine, digest).map(|(found, code)| (found, Some(code)));
        if let Some(found) = self.cache.as_ref().and_then(cached) {
            return Ok(found);
        }
        let component =
            Component::from_binary(&self.engine, bytes).map_err(|error| PluginError::Compile(format!("{error:#}")))?;
        let Some(cache) = &self.cache else {
            return Ok((component, None));
        };
        cache.store(digest, &component);
        // Code that is mapped from the file is shared, and given back when memory is short.
        Ok(cached(cache).unwrap_or((component, None)))
    }

    /// Asks twice, each time in a new instance: what differs cannot be relied on.
    fn describe(&self, pre: &ReconcilerPre<State>, digest: &Digest) -> Result<Description, PluginError> {
        let ask = async {
            let limits = Limits::default();
            // One place for both, as the first is gone when the second is made.
            let entered = self.enter().await?;
            entered.place.make_room();
            let first = call::describe(&self.engine, pre, State::describe(digest.clone(), &limits)).await?;
            let second = call::describe(&self.engine, pre, State::describe(digest.clone(), &limits)).await?;
            Ok::<_, CallFailure>((first, second))
        };
        // On a thread of its own, because the caller's may belong to a runtime.
        let answers = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                    runtime.map_err(|error| PluginError::Engine(error.to_string())).map(|runtime| runtime.block_on(ask))
                })
                .join()
        });
        let (first, second) = match answers {
            Ok(answers) => answers?.map_err(|failure| PluginError::Describe(failure.to_string()))?,
            Err(_) => return Err(PluginError::Describe("the host failed at it".to_owned())),
        };
        let first = describe::convert(first).map_err(PluginError::Description)?;
        let second = describe::convert(second).map_err(PluginError::Description)?;
        if first != second {
            let text = "it is not the same each time it is asked; it must not depend on time or randomness";
            return Err(PluginError::Description(text.to_owned()));
        }
        Ok(first)
    }

    /// Waits for a place in the pool, and starts the clock.
    async fn enter(&self) -> Result<Entered<'_>, CallFailure> {
        match self.pool.enter().await {
            Some(place) => Ok(Entered { place, _running: self.ticker.enter() }),
            // The pool is closed by nobody; a call that meets it closed has not happened.
            None => Err(CallFailure::Trap { message: "the host is stopping".to_owned(), limit: None }),
        }
    }
}

impl Plugin {
    /// What identifies it.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it says of itself, checked.
    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// The version of the contract that it speaks; one of [`crate::KNOWN_VERSIONS`].
    pub fn contract_version(&self) -> &str {
        self.contract
    }

    /// The names of its imports, such as `wasi:io/poll@0.2.6`.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The bytes of its component.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether its instances are reused (rule A13).
    pub fn warm(&self) -> Warm {
        self.mode.view(self.host.pool.kept(self.number))
    }

    /// Calls it for one object, in a fresh instance, or if `limits.warm_calls` allows it in one that answered calls
    /// before (rule A13). Ends within `limits.wall` after a place in the pool was free, whatever the plugin does
    /// (rule C7). Dropping the future cancels the call.
    ///
    /// Must be polled on a tokio runtime with time enabled.
    pub async fn reconcile(
        &self,
        request: &Request,
        reads: Arc<dyn Reads>,
        limits: &Limits,
        logs: Arc<dyn Logs>,
    ) -> Call {
        let entered = match self.host.enter().await {
            Ok(entered) => entered,
            Err(failure) => {
                return Call { result: Err(failure), impure: false, stats: CallStats::default() };
            }
        };
        let place = &entered.place;
        let kept = self.mode.calls(limits.warm_calls).and_then(|calls| self.take(place, calls));
        let recorder = (kept.is_some() && self.mode.reused()).then(|| Arc::new(Recorder::new(reads.clone())));
        let reads = recorder.clone().map_or(reads, |recorder| recorder as Arc<dyn Reads>);
        if kept.is_none() {
            place.make_room();
        }
        let state = State::call(self.digest.clone(), request.key.clone(), limits, reads, Some(logs));
        let (call, instance) = call::reconcile(&self.host.engine, &self.pre, kept, state, request).await;
        // Asked again, as another call may have ended warm mode meanwhile.
        let calls = self.mode.calls(limits.warm_calls);
        match instance {
            Some(instance) if calls.is_some_and(|calls| instance.calls() < calls) => place.keep(self.number, instance),
            instance => drop(instance),
        }
        if let Some(recorder) = recorder {
            self.check(place, request, limits, &call, &recorder).await;
        }
        call
    }

    /// A kept instance that may have another call.
    fn take(&self, place: &Place<'_, Instance>, calls: u32) -> Option<Instance> {
        // What the limit of another call let live for longer is dropped.
        place.take(self.number).filter(|instance| instance.calls() < calls)
    }

    /// Repeats a call in a fresh instance in this place, within the time that is left of it. If it comes to something
    /// else, instances of this plugin are not reused any more (rule A13).
    async fn check(
        &self,
        place: &Place<'_, Instance>,
        request: &Request,
        limits: &Limits,
        call: &Call,
        recorder: &Recorder,
    ) {
        let left = limits.wall.saturating_sub(call.stats.wall);
        if call.impure || recorder.truncated() || left.is_zero() {
            return;
        }
        let replayed = Arc::new(Replayed::of(recorder));
        let limits = Limits { wall: left, ..*limits };
        let state = State::call(self.digest.clone(), request.key.clone(), &limits, replayed.clone(), None);
        place.make_room();
        let (fresh, _) = call::reconcile(&self.host.engine, &self.pre, None, state, request).await;
        match warm::compare(call, &fresh, &replayed.unrecorded()) {
            Verdict::Same => self.mode.passed(),
            Verdict::Unclear => {}
            Verdict::Different(what) => self.end_warm_mode(&format!("{}: {what}", request.key)),
        }
    }

    fn end_warm_mode(&self, reason: &str) {
        if self.mode.end(reason.to_owned()) {
            self.host.pool.forget(self.number);
            tracing::warn!(
                plugin = %self.description.name,
                digest = self.digest.short(),
                reason,
                "the plugin keeps something between calls: its instances are not reused any more"
            );
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.host.pool.forget(self.number);
    }
}
