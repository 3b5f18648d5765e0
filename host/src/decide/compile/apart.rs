//! The process that compiles one component: this program again, under bounds of its own.
//!
//! stdin: eight bytes of length, the component, and then nothing, for as long as somebody waits for it. stdout: the compiled code. stderr: why
//! there is none. It opens no file for that and no connection, and writes nothing down. Its memory and its time on processors are bounded by the
//! kernel, so that they hold even if whoever asked is stopped; the time by the clock is kept by whoever asked.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

use super::super::sandbox;
use super::Bounds;

/// The argument that asks for it.
const WORD: &str = "__compile";
/// This program, whatever has become of its file since it was started.
const OURSELVES: &str = "/proc/self/exe";
/// The signal of a process that has used up its time on processors.
pub(super) const OUT_OF_TIME: i32 = 24;
/// How nice it is to decisions. No more: a start on a busy machine must not take for ever.
const NICENESS: i32 = 5;
/// When memory is short, the kernel ends this process rather than the server or a playbook.
const FIRST_TO_GO: &str = "500";
/// Decided by the component's size, which is bounded before; a wrong number must not become memory.
const MAX_COMPONENT: u64 = 1 << 30;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The program that compiles, once [`if_asked`] has said that this one can.
pub(in super::super) fn program() -> Option<&'static Path> {
    PROGRAM.get().map(PathBuf::as_path)
}

/// The first thing that `main` calls: compiles if this process was started for it, and otherwise lets sandboxes start such processes.
pub fn if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == WORD) {
        return Some(answer(&arguments.collect::<Vec<_>>()));
    }
    PROGRAM.get_or_init(|| OURSELVES.into());
    None
}

/// What such a process is started with: the memory in bytes, the time in seconds, and whether instructions are counted.
pub(super) fn asking(bounds: Bounds, counts: bool) -> [String; 4] {
    let seconds = bounds.within.as_secs().max(1);
    [WORD.to_owned(), bounds.memory.to_string(), seconds.to_string(), u8::from(counts).to_string()]
}

fn answer(arguments: &[OsString]) -> ExitCode {
    let numbers: Vec<u64> = arguments.iter().filter_map(|word| word.to_str()?.parse().ok()).collect();
    let made = match numbers[..] {
        [memory, seconds, counts] => bound(memory, seconds).and_then(|()| compile(counts == 1)),
        _ => Err("this is how Paramedic compiles plugins; `paramedic policy inspect` tells whether one compiles".to_owned()),
    };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // If nobody listens, nobody wants to know.
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::from(1)
        }
    }
}

/// Before anything is read: the kernel holds these for this process.
fn bound(memory: u64, seconds: u64) -> Result<(), String> {
    let cores = available_parallelism().map_or(1, usize::from) as u64;
    // Not of addresses: what is only reserved costs nothing.
    for (what, most) in [(Resource::Data, memory), (Resource::Cpu, seconds.saturating_mul(cores)), (Resource::Core, 0)] {
        let within = |most: u64| getrlimit(what).maximum.map_or(most, |now| now.min(most));
        // At the outer limit of time it is killed without a word; at the inner one it is told apart.
        let limit = Rlimit { current: Some(within(most)), maximum: Some(within(most.saturating_add(1))) };
        setrlimit(what, limit).map_err(|error| format!("the compiler cannot be bounded: {error}"))?;
    }
    // Where these are not allowed, it is a process like others.
    let _refused = setpriority_process(None, NICENESS);
    let _refused = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    Ok(())
}

fn compile(counts: bool) -> Result<(), String> {
    let bytes = component().map_err(|error| format!("the component does not arrive: {error}"))?;
    std::thread::spawn(end_with_who_asked);
    let engine = sandbox::compiling(counts).map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&bytes).map_err(|error| format!("{error:#}"))?;
    std::io::stdout().write_all(&code).map_err(|error| format!("nobody takes the compiled code: {error}"))
}

fn component() -> std::io::Result<Vec<u8>> {
    let (mut stdin, mut length) = (std::io::stdin().lock(), [0; 8]);
    stdin.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_COMPONENT {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    stdin.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Nothing more comes on stdin, but its end does when whoever asked is gone, however that came.
fn end_with_who_asked() {
    let _ = std::io::stdin().lock().read(&mut [0]);
    std::process::abort();
}
