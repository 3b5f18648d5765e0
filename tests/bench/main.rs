//! `make bench`, the part that is Rust: how fast alerts become durable, and how a server starts on a long history.
//!
//! Figures are printed and never asserted: they belong to the machine they were measured on. The load goes to 127.0.0.1, the
//! data lies in a folder of its own that is removed in the end, and everything is bounded.
//! Its one argument is the server's binary; everything is written below the current folder, so that it is the disk that is meant.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod intake;
mod sender;
mod server;
mod start;

use std::path::PathBuf;

#[tokio::main]
async fn main() {
    let Some(binary) = std::env::args().nth(1) else {
        println!("usage: paramedic-bench PATH-OF-PARAMEDIC");
        std::process::exit(64);
    };
    let binary = PathBuf::from(binary).canonicalize().unwrap();
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(".").unwrap();
    intake::measure(&binary, folder.path()).await;
    start::measure(&binary, folder.path()).await;
}

/// One line of the table.
pub(crate) fn row(what: &str, figure: &str) {
    println!("{what:<58} {figure}");
}
