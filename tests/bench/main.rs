//! `make bench`, the part that is Rust: what a decision costs, how fast alerts become durable, and how a server starts on a long history.
//!
//! Figures are printed and never asserted: they belong to the machine they were measured on. The load goes to 127.0.0.1, the
//! data lies in a folder of its own that is removed in the end, and everything is bounded.
//! Its first argument is the server's binary, the second, if there is one, the only part that is wanted: `sandbox`,
//! `intake`, `start`, `many`, `storm` or `replay`.
//! Everything is written below the current folder, so that it is the disk that is meant.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod intake;
mod many;
mod replay;
mod sandbox;
mod sender;
mod server;
mod start;
mod storm;

use std::path::PathBuf;

#[tokio::main]
async fn main() {
    let Some(binary) = std::env::args().nth(1) else {
        println!("usage: paramedic-bench PATH-OF-PARAMEDIC [sandbox|intake|start|many|storm|replay]");
        std::process::exit(64);
    };
    let binary = PathBuf::from(binary).canonicalize().unwrap();
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(".").unwrap();
    let only = std::env::args().nth(2);
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    if wanted("sandbox") {
        sandbox::measure().await;
    }
    if wanted("intake") {
        intake::measure(&binary, folder.path()).await;
    }
    if wanted("start") {
        start::measure(&binary, folder.path()).await;
    }
    if wanted("many") {
        many::measure(&binary, folder.path()).await;
    }
    if wanted("storm") {
        storm::measure(&binary, folder.path()).await;
    }
    if wanted("replay") {
        replay::measure(&binary, folder.path()).await;
    }
}

/// One line of the table.
pub(crate) fn row(what: &str, figure: &str) {
    println!("{what:<58} {figure}");
}
