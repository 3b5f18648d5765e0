//! Arguments, one command, exit code; or, when a server or a command has started it for that, one plugin compiled.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    paramedic::decide::compile::apart::if_asked().unwrap_or_else(|| paramedic::cli::Cli::parse().run())
}
