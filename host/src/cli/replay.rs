//! `paramedic replay`: past decisions again, in four forms. What each does is in the room `replay`; here it is read in and printed.

mod incident;

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{DataArg, End, Output};

const EXAMPLES: &str = "Examples:
  paramedic replay df2240259743fc59-3";

/// Repeat past decisions: prove them, or try what another version would have decided
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").required(true))]
pub struct Replay {
    /// Prove the decisions of this incident bit for bit: its id, or the beginning of it
    #[arg(group = "what")]
    incident: Option<String>,
    /// Where else plugins of the past are, whatever their names; beside `plugins` in the data folder
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    #[command(flatten)]
    data: DataArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        match &self.incident {
            Some(id) => incident::prove(&self, id).await,
            None => anyhow::bail!("say what to replay: an incident's id"),
        }
    }
}
