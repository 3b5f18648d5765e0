//! Harm: what a broken or hostile plugin tries.
#![allow(clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bindings::paramedic::policy::log::{Level, log};
use crate::bindings::paramedic::policy::types::Decision;
use crate::bindings::paramedic::policy::{alertmanager, ansible, docker, incident, notify};

/// How often this instance was asked.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Does it; `None` if it is none of these. Most never return.
pub(crate) fn harm(verb: &str, rest: &str) -> Option<Result<Decision, String>> {
    let text = match verb {
        "spin" => spin(),
        "panic" => panic!("a plugin's own words: \u{1b}[31mboom"),
        "trap" => trap(),
        "exit" => std::process::exit(0),
        "overflow" => overflow(),
        "recurse" => recurse(0).to_string(),
        "eat-memory" => black_box(vec![1_u8; 1 << 30]).len().to_string(),
        "eat-memory-slowly" => eat_slowly(),
        "log-flood" => (0..100_000).map(|n| log(Level::Info, &format!("line {n}"))).count().to_string(),
        "long-log" => long_log(),
        "stdout-flood" => (0..10_000).map(|n| println!("line {n} {}", "x".repeat(1000))).count().to_string(),
        "stderr-flood" => (0..10_000).map(|n| eprintln!("line {n} {}", "x".repeat(1000))).count().to_string(),
        "churn" => (0..10_000).map(|_| drop(docker::restart("local/web", None))).count().to_string(),
        "ask-for-ever" => loop {
            black_box(incident::alert());
        },
        "now-flood" => (0..2_000_000).map(|_| incident::now()).max().unwrap_or_default().to_string(),
        "fill" | "copy" => bulk(verb, rest),
        "keep-variables" => keep(rest, || {
            let variables = vec![(String::new(), String::new()); 20_000];
            let options = ansible::RunOptions { host: None, variables, tags: Vec::new(), check: false, extra: Vec::new() };
            ansible::playbook("repair.yml", "local/web", &options)
        }),
        "keep-silences" => keep(rest, || {
            let matcher = alertmanager::Matcher { name: "x".repeat(1024), op: "=".to_owned(), value: "x".repeat(8 << 10) };
            alertmanager::silence("local/web", &vec![matcher; 32], 1, "")
        }),
        "keep-texts" => keep(rest, || notify::send("local/web", "oncall", &"x".repeat(8 << 10))),
        "remember" => format!("asked {} times", ASKED.fetch_add(1, Ordering::Relaxed) + 1),
        "hash" => hash(),
        "snoop" => snoop(),
        _ => return None,
    };
    Some(Ok(Decision::Pass(text)))
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

/// The bare instruction, without a word on standard error.
fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

/// An ordinary mistake: a sum that does not fit.
fn overflow() -> String {
    let most = black_box(u32::MAX);
    (most + 1).to_string()
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(depth + 1) + frame[3]
}

fn eat_slowly() -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 64 << 10]);
        black_box(&eaten);
    }
}

/// One instruction that moves that many MiB, again and again: the engine's clock looks only between two of them.
fn bulk(verb: &str, mebibytes: &str) -> ! {
    let mut memory = vec![0_u8; mebibytes.parse().unwrap_or(1) << 20];
    let half = memory.len() / 2;
    for n in (0..=u8::MAX).cycle() {
        match verb {
            "fill" => memory.fill(n),
            _ => memory.copy_within(..half, half),
        }
        black_box(&memory);
    }
    spin()
}

/// Makes the host keep that many large proposals.
fn keep<T>(count: &str, make: impl Fn() -> T) -> String {
    let kept: Vec<_> = (0..count.parse().unwrap_or(64)).map(|_| make()).collect();
    format!("{} were kept", kept.len())
}

fn long_log() -> String {
    log(Level::Error, &"x".repeat(100 << 10));
    log(Level::Warn, "\u{1b}[31mred\u{202e}\0\nsecond line");
    "long lines".to_owned()
}

/// A hash map takes a seed from the host; two instances must see the same order.
fn hash() -> String {
    let map: std::collections::HashMap<u32, u32> = (0..20).map(|n| (n, n)).collect();
    format!("{:?}", map.keys().collect::<Vec<_>>())
}

/// All that a process usually finds around itself.
fn snoop() -> String {
    let mut input = String::new();
    let read = std::io::stdin().read_line(&mut input);
    let read = read.map_or_else(|_| "closed".to_owned(), |bytes| bytes.to_string());
    format!("args {} vars {} stdin {read}", std::env::args().count(), std::env::vars().count())
}
