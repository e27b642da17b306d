//! The plugins of one process and what they share: the engine, the pool, the clock, the cache.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use setpoint_core::contract::{Description, Request};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::bindings::ReconcilerPre;
use crate::cache::CodeCache;
use crate::call::{self, Call, CallFailure, CallStats};
use crate::describe;
use crate::digest::Digest;
use crate::error::PluginError;
use crate::limits::Limits;
use crate::reads::Reads;
use crate::state::{Logs, State};
use crate::ticker::{Running, Ticker};
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
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { cache_dir: None, cache_bytes: 1 << 30, max_instances: 64 }
    }
}

/// Loads plugins. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct PluginHost(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<State>,
    ticker: Ticker,
    /// As many permits as the pool has instances, so that a call waits instead of failing.
    instances: Semaphore,
    cache: Option<CodeCache>,
    loaded: Mutex<HashMap<Digest, Weak<Plugin>>>,
}

/// A loaded plugin: compiled code that is ready to be called. It has no instance and no memory of
/// its own while it is not called.
pub struct Plugin {
    host: Arc<Inner>,
    pre: ReconcilerPre<State>,
    digest: Digest,
    description: Arc<Description>,
    contract: &'static str,
    imports: Vec<String>,
    size: usize,
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHost").field("free_instances", &self.0.instances.available_permits()).finish()
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
        let ticker = Ticker::start(&engine).map_err(|error| PluginError::Engine(error.to_string()))?;
        let cache = match &options.cache_dir {
            Some(dir) => Some(CodeCache::open(dir, &engine, options.cache_bytes)?),
            None => None,
        };
        Ok(Self(Arc::new(Inner {
            engine,
            linker,
            ticker,
            instances: Semaphore::new(max_instances as usize),
            cache,
            loaded: Mutex::new(HashMap::new()),
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
        let component = self.compile(bytes, &digest)?;
        let ty = component.component_type();
        let contract =
            imports::version(ty.exports(&self.engine).map(|(name, _)| name).collect::<Vec<_>>().into_iter())?;
        let imports: Vec<String> = ty.imports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        imports::check(imports.iter().map(String::as_str), contract)?;
        let misfit = |error: wasmtime::Error| PluginError::Interface {
            version: contract.to_owned(),
            reason: format!("{error:#}"),
        };
        let pre = self.linker.instantiate_pre(&component).map_err(misfit)?;
        let pre = ReconcilerPre::new(pre).map_err(misfit)?;
        let description = self.describe(&pre, &digest)?;
        Ok(Plugin {
            host: shared.clone(),
            pre,
            digest,
            description: Arc::new(description),
            contract,
            imports,
            size: bytes.len(),
        })
    }

    fn compile(&self, bytes: &[u8], digest: &Digest) -> Result<Component, PluginError> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, digest)) {
            return Ok(component);
        }
        let component =
            Component::from_binary(&self.engine, bytes).map_err(|error| PluginError::Compile(format!("{error:#}")))?;
        let Some(cache) = &self.cache else {
            return Ok(component);
        };
        cache.store(digest, &component);
        // Code that is mapped from the file is shared, and given back when memory is short.
        Ok(cache.load(&self.engine, digest).unwrap_or(component))
    }

    /// Asks twice, each time in a new instance: what differs cannot be relied on.
    fn describe(&self, pre: &ReconcilerPre<State>, digest: &Digest) -> Result<Description, PluginError> {
        let ask = async {
            let limits = Limits::default();
            let (_permit, _running) = self.enter().await?;
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

    /// Waits for a free instance, and starts the clock.
    async fn enter(&self) -> Result<(SemaphorePermit<'_>, Running), CallFailure> {
        match self.instances.acquire().await {
            Ok(permit) => Ok((permit, self.ticker.enter())),
            // The semaphore is closed by nobody; a call that meets it closed has not happened.
            Err(_) => Err(CallFailure::Trap { message: "the host is stopping".to_owned(), limit: None }),
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

    /// Calls it for one object, in a fresh instance. Ends within `limits.wall` after an instance
    /// was free, whatever the plugin does (rule C7). Dropping the future cancels the call.
    ///
    /// Must be polled on a tokio runtime with time enabled.
    pub async fn reconcile(
        &self,
        request: &Request,
        reads: Arc<dyn Reads>,
        limits: &Limits,
        logs: Arc<dyn Logs>,
    ) -> Call {
        let _entered = match self.host.enter().await {
            Ok(entered) => entered,
            Err(failure) => {
                return Call { result: Err(failure), impure: false, stats: CallStats::default() };
            }
        };
        let state = State::call(self.digest.clone(), request.key.clone(), limits, reads, logs);
        call::reconcile(&self.host.engine, &self.pre, state, request).await
    }
}
