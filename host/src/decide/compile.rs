//! From a component to native code: in a process of its own, which is killed when it takes too long or too much.
//!
//! A compiler cannot be interrupted, and a component can be made so that it computes for minutes, fills the memory or overflows its stack. So
//! this program runs itself once more (`compile/apart.rs`): the component goes in, compiled code comes out, and whatever becomes of that process is
//! a refusal of one plugin. The process gets no path, no environment and no more rights than this one, so that what comes out is
//! believed exactly as far as what a thread of this process would have compiled.
//!
//! Compiled code is kept (`compile/cache.rs`) and mapped from there, so that only what is used of it takes memory. Absent on purpose: compiled
//! code from anywhere else, such as beside the plugin; and a seccomp filter for the compiler, which is as trusted as the rest of wasmtime.

pub mod apart;
mod cache;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::load::Problem;
use super::sandbox::SandboxError;
use crate::telemetry::clean;
use cache::Cache;

/// How many plugins are compiled at once. Few, since each may take [`Bounds::memory`]; more than are loaded at once, so that whoever needs an
/// older plugin for an open incident does not wait behind those that take long.
const COMPILERS: usize = 4;
/// The most compiled code of one plugin; a Python plugin has 35 MiB.
const MAX_CODE: u64 = 192 << 20;
/// Bytes that are kept of what the compiler says about an error.
const MAX_SAID: u64 = 4 << 10;
/// The signal that nobody here has sent.
const KILLED: i32 = 9;
/// How long a process that was killed is waited for.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// What compiling one plugin may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Time, by the clock.
    pub within: Duration,
    /// Bytes of memory of the process.
    pub memory: u64,
}

impl Default for Bounds {
    /// Python plugins take 8 s on two idle cores, and 0.4 GiB.
    fn default() -> Self {
        Self { within: Duration::from_secs(60), memory: 2 << 30 }
    }
}

/// Compiles, and keeps what was compiled.
pub(super) struct Compiler {
    /// What is run for it; without it, as in a library's tests, it is done on a thread of this process.
    program: Option<PathBuf>,
    cache: Option<Cache>,
    bounds: Bounds,
    places: Arc<Semaphore>,
    /// Are instructions counted?
    counts: bool,
}

impl Compiler {
    pub fn new(program: Option<&Path>, cache: Option<&Path>, bounds: Bounds, counts: bool) -> Result<Self, SandboxError> {
        let cache = cache.map(Cache::open).transpose()?;
        let program = program.map(Path::to_owned);
        Ok(Self { program, cache, bounds, places: Arc::new(Semaphore::new(COMPILERS)), counts })
    }

    /// The component in these bytes, which have this digest.
    pub async fn compile(&self, engine: &Engine, bytes: &[u8], digest: &str) -> Result<Component, Problem> {
        if let Some(cache) = &self.cache
            && let Some(component) = cache.find(engine, digest).await
        {
            return Ok(component);
        }
        let code = self.code(engine, bytes).await?;
        if let Some(cache) = &self.cache {
            match cache.keep(engine, digest, &code).await {
                Ok(Some(component)) => return Ok(component),
                // It only costs time and memory.
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, folder = %cache.folder().display(), "Compiled code could not be kept"),
            }
        }
        let engine = engine.clone();
        let made = tokio::task::spawn_blocking(move || cache::made(&engine, &code));
        made.await.map_err(|panicked| crashed(&panicked.to_string()))?.map_err(|error| not_compiled(&format!("{error:#}")))
    }

    async fn code(&self, engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
        let within = self.bounds.within;
        let permit = tokio::time::timeout(within, self.places.clone().acquire_owned()).await;
        let Ok(permit) = permit else { return Err(Problem::CompilersBusy(within)) };
        if let Some(program) = &self.program {
            return self.apart(program, bytes).await;
        }
        let (engine, bytes) = (engine.clone(), bytes.to_vec());
        // The permit goes with the thread: a compiler that nobody waits for any longer still takes a place.
        let compile = move || (engine.precompile_component(&bytes), permit).0;
        match tokio::time::timeout(within, tokio::task::spawn_blocking(compile)).await {
            Err(_) => Err(Problem::TooSlow(within)),
            Ok(Err(panicked)) => Err(crashed(&panicked.to_string())),
            Ok(Ok(compiled)) => compiled.map_err(|error| not_compiled(&format!("{error:#}"))),
        }
    }

    async fn apart(&self, program: &Path, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
        let mut command = Command::new(program);
        command.arg0("paramedic").args(apart::asking(self.bounds, self.counts)).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A Ctrl-C is meant for who asked; when that is gone, the process sees it by its stdin.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| Problem::NoCompiler(error.to_string()))?;
        let ended = tokio::time::timeout(self.bounds.within, converse(&mut child, bytes)).await;
        match ended {
            Ok(Ok((status, code, said))) => self.judge(status, code, &said),
            Ok(Err(error)) => {
                end(&mut child).await;
                Err(Problem::NoCompiler(error.to_string()))
            }
            Err(_) => {
                end(&mut child).await;
                Err(Problem::TooSlow(self.bounds.within))
            }
        }
    }

    fn judge(&self, status: ExitStatus, code: Vec<u8>, said: &str) -> Result<Vec<u8>, Problem> {
        let too_large = code.len() as u64 > MAX_CODE;
        match (status.code(), status.signal()) {
            (Some(0), _) if !too_large => Ok(code),
            _ if too_large => Err(Problem::DoesNotFit(format!("its compiled code has more than {} MiB", MAX_CODE >> 20))),
            // The allocator of Rust, the kernel's word for it, and the kernel itself.
            _ if said.contains("memory allocation of") || said.contains("os error 12") => {
                Err(Problem::TooHungry(self.bounds.memory))
            }
            (Some(1), _) => Err(not_compiled(said)),
            (_, Some(signal)) if signal == apart::OUT_OF_TIME => Err(Problem::TooSlow(self.bounds.within)),
            (_, Some(KILLED)) => Err(crashed("it was killed from outside, as the kernel does when memory is short")),
            _ => Err(crashed(&format!("{status}: {said}"))),
        }
    }
}

/// Hands the component over, and takes what comes; gives how it ended, the code, and what it said.
async fn converse(child: &mut Child, bytes: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>, String)> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(std::io::Error::other("it has no pipes"));
    };
    let (mut code, mut said) = (Vec::new(), Vec::new());
    let tell = async {
        // Whoever ends early says why by its status.
        let _ = stdin.write_all(&(bytes.len() as u64).to_le_bytes()).await;
        let _ = stdin.write_all(bytes).await;
    };
    let (mut stdout, mut stderr) = (stdout.take(MAX_CODE + 1), stderr.take(MAX_SAID));
    let ((), taken, heard) = tokio::join!(tell, stdout.read_to_end(&mut code), stderr.read_to_end(&mut said));
    taken?;
    heard?;
    // More than that is not listened to: it ends by a broken pipe.
    drop((stdout, stderr));
    let status = child.wait().await?;
    // Until here: it is the sign that somebody waits.
    drop(stdin);
    Ok((status, code, String::from_utf8_lossy(&said).into_owned()))
}

async fn end(child: &mut Child) {
    let _ = child.start_kill();
    let _ = tokio::time::timeout(GONE_WITHIN, child.wait()).await;
}

fn crashed(how: &str) -> Problem {
    Problem::Invalid(clean(&format!("the compiler crashed: {}", how.trim()), 500))
}

/// The pool looks at sizes when compiled code is taken in.
fn not_compiled(text: &str) -> Problem {
    let text = clean(text.trim(), 500);
    if !text.contains("pooling allocator") {
        return Problem::Invalid(text);
    }
    // What is too much stands at the end.
    Problem::DoesNotFit(text.rsplit(": ").next().unwrap_or(&text).to_owned())
}
