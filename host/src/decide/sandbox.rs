//! The one place where foreign code runs: the WebAssembly engine, its limits, and the clock that enforces them.
//!
//! Every question gets a fresh sandbox, thrown away with the answer. Several bounds hold at once, so that no plugin can crash,
//! stall or starve the host: an epoch clock on an OS thread of its own ends what computes, a timer around the call ends what
//! waits, a meter sums memory and tables, the bytes handed over in one call are counted, and the places are limited. Absent on
//! purpose: reuse of a sandbox (after a trap or a deadline it is dead, and a warm one would remember); `pagemap_scan` (it is
//! twice as fast, but pages that were swapped out are not reset, so the next sandbox reads what the one before wrote).

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, UpdateDeadline, WasmBacktraceDetails,
    WasmFeatures,
};

use super::compile::{Bounds, Compiler, apart};
use super::guest::{Guest, MAX_HANDLES, TimeUp};
pub use super::load::{CONTRACT_VERSION, PluginError, Problem};
pub use super::plugin::{Manifest, Plugin};
pub use super::question::{Brief, Failure, Ruling};
use super::slow::SlowLane;
use super::{bindings, wasi};

/// How often the epoch clock ticks: what computes is looked at that often.
const TICK: Duration = Duration::from_millis(5);
/// What has taken so long goes on in the slow lane, a tick later at most. A plugin in Rust takes 0.02 ms, one in Python 2 ms.
const SLOW: Duration = Duration::from_millis(4);
/// How many sandboxes may exist at once.
const PLACES: u32 = 16;
/// Bytes that a plugin may hand over in one call.
const MAX_HANDED_BYTES: usize = 1 << 20;
/// The most memory that `limits.memory` can give a plugin: the pool reserves places of this size.
pub const MAX_MEMORY: u64 = 256 << 20;
/// Memories that one component may have; QuickJS components have 3.
pub(super) const MAX_MEMORIES: u32 = 8;
/// Tables that one component may have.
pub(super) const MAX_TABLES: u32 = 48;
/// Core instances in one component; Python components have 38.
const MAX_CORE_INSTANCES: u32 = 64;

/// The wasmtime that plugins run in; a test of the house compares it with the lock file.
pub const WASMTIME: &str = "48.0.8";

/// What a plugin may use for one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time from the start of the sandbox to the answer.
    pub deadline: Duration,
    /// Bytes of all its memories together; at most [`MAX_MEMORY`].
    pub memory: u64,
    /// Time for the answers of all its lookups together; it does not count against `deadline`.
    pub lookups: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_millis(100), memory: 64 << 20, lookups: Duration::from_secs(5) }
    }
}

/// Why no sandbox can be had at all.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine does not start.
    #[error("the WebAssembly engine does not start: {0:#}")]
    Engine(#[source] wasmtime::Error),
    /// The clock thread does not start.
    #[error("the clock of the WebAssembly engine does not start: {0}; is the number of threads limited?")]
    Clock(#[source] std::io::Error),
    /// The folder for compiled code cannot be used.
    #[error("the folder {0} for compiled plugins cannot be used: {1}; make it writable for Paramedic's user alone")]
    Cache(String, String),
}

/// The engine that all plugins run in.
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Guest>,
    pub(super) compiler: Compiler,
    /// Plugins in use, by digest: an incident's own copy and the policy's file are one plugin if they are one component.
    pub(super) loaded: Mutex<HashMap<String, Weak<Plugin>>>,
    pub(super) slow_lane: SlowLane,
    places: Arc<Semaphore>,
    /// Are instructions counted?
    counts: bool,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Starts the engine and its clock. Compiled code is kept in `cache`, which must be writable for nobody else: what lies
    /// there is run as it is. Plugins are compiled by processes of this program, if it is one that can ([`apart::if_asked`]).
    ///
    /// # Errors
    /// When the engine or its clock cannot be started, or the folder cannot be used or could be written by others.
    pub fn new(cache: Option<&Path>) -> Result<Arc<Self>, SandboxError> {
        Self::with(Compiler::new(apart::program(), cache, Bounds::default(), false)?, false)
    }

    /// A sandbox for a command: compiled code is taken from the server's cache in this data folder, if that is this user's own. Nobody runs what
    /// another user has put there, and a command that root runs leaves nothing there that the server could not use.
    ///
    /// # Errors
    /// When the engine or its clock cannot be started.
    pub fn beside(data: &Path) -> Result<Arc<Self>, SandboxError> {
        use std::os::unix::fs::MetadataExt;
        let cache = data.join("cache");
        let own = std::fs::metadata(&cache).is_ok_and(|meta| meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw());
        // A cache that cannot be used only costs time.
        if own { Self::new(Some(&cache)).or_else(|_| Self::new(None)) } else { Self::new(None) }
    }

    /// A sandbox whose plugins are compiled by this program, within these bounds.
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    pub fn compiled_by(program: &Path, bounds: Bounds, cache: Option<&Path>) -> Result<Arc<Self>, SandboxError> {
        Self::with(Compiler::new(Some(program), cache, bounds, false)?, false)
    }

    /// A sandbox that counts the instructions of its plugins, for [`Plugin::measure`](super::plugin::Plugin::measure); that makes them slower.
    ///
    /// # Errors
    /// When the engine or its clock cannot be started.
    pub fn counting() -> Result<Arc<Self>, SandboxError> {
        Self::with(Compiler::new(apart::program(), None, Bounds::default(), true)?, true)
    }

    fn with(compiler: Compiler, counts: bool) -> Result<Arc<Self>, SandboxError> {
        let engine = start(counts)?;
        let mut linker = Linker::new(&engine);
        wasi::link(&mut linker).and_then(|()| bindings::link(&mut linker)).map_err(SandboxError::Engine)?;
        tick(&engine).map_err(SandboxError::Clock)?;
        Ok(Arc::new(Self {
            engine,
            linker,
            compiler,
            loaded: Mutex::new(HashMap::new()),
            slow_lane: SlowLane::default(),
            places: Arc::new(Semaphore::new(PLACES as usize)),
            counts,
        }))
    }

    /// Waits for a free place, at most that long; `None` when there was none.
    pub(super) async fn place(&self, within: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        tokio::time::timeout(within, self.places.clone().acquire_owned()).await.ok()?.ok()
    }

    /// A fresh store with every limit set. Its time begins now.
    pub(super) fn store(&self, brief: Option<Brief>, declared: &[&'static str], limits: &Limits) -> Store<Guest> {
        let mut store = Store::new(&self.engine, Guest::new(brief, declared, limits));
        store.limiter(|guest| &mut guest.meter);
        store.set_hostcall_fuel(MAX_HANDED_BYTES);
        store.set_max_component_handles(MAX_HANDLES);
        if self.counts {
            // It fails only where nothing is counted.
            let _ = store.set_fuel(u64::MAX);
        }
        // At each tick the guest lets others run; when its time is up it ends, even if no timer of the runtime came to run.
        store.set_epoch_deadline(1);
        let began = Instant::now();
        store.epoch_deadline_callback(move |store| {
            let (now, guest) = (Instant::now(), store.data());
            if now >= guest.deadline {
                return Err(TimeUp.into());
            }
            if now > began + SLOW && guest.slow.get().is_none() {
                let _was_set = guest.slow.set(tokio::runtime::Handle::current());
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }
}

/// The pool makes sandboxes twice as fast or better, but reserves some 500 GiB of addresses; where these are not to be had (a limit
/// on virtual memory), sandboxes are made one by one.
fn start(counts: bool) -> Result<Engine, SandboxError> {
    let mut config = config(counts);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    let refused = match Engine::new(&config) {
        Ok(engine) => return Ok(engine),
        Err(error) => error,
    };
    tracing::warn!(error = %format!("{refused:#}"), "no address space for a pool of sandboxes: each is made anew, which is slower");
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config).map_err(SandboxError::Engine)
}

/// An engine that only compiles; its code is that of [`start`]'s, wherever sandboxes are made.
pub(super) fn compiling(counts: bool) -> wasmtime::Result<Engine> {
    Engine::new(config(counts).allocation_strategy(InstanceAllocationStrategy::OnDemand))
}

fn config(counts: bool) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(counts)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        .async_stack_zeroing(true)
        // The same question must get the same answer on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        // What no policy needs is surface for nothing.
        .wasm_memory64(false)
        .wasm_features(WasmFeatures::THREADS | WasmFeatures::GC | WasmFeatures::EXCEPTIONS | WasmFeatures::STACK_SWITCHING, false)
        // Not to be switched by an environment variable.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(16));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(PLACES)
        .total_core_instances(PLACES * MAX_CORE_INSTANCES)
        .total_memories(PLACES * MAX_MEMORIES)
        .total_tables(PLACES * MAX_TABLES)
        .total_stacks(PLACES)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_tables_per_module(8)
        .table_elements(20_000)
        .max_memory_size(usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX))
        // Resetting this much by writing zeros is cheaper than giving the pages back; more made interpreters slower (measured).
        .linear_memory_keep_resident(2 << 20)
        .async_stack_keep_resident(32 << 10)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::No);
    pool
}

/// The engine's clock: its own thread, so that it ticks however busy the runtime is. It ends when the engine is gone.
fn tick(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    let clock = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name("sandbox-clock".to_owned()).spawn(clock).map(drop)
}
