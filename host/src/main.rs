//! Arguments, one command, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    paramedic::cli::Cli::parse().run()
}
