//! `paramedic journal tail|verify`

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json as value;

use super::output::{json, line, note};
use super::{DataArg, End, Output};
use crate::incident::timeline;
use crate::journal::{Entry, JournalError};

/// How often a followed journal is looked at.
const FOLLOW: Duration = Duration::from_millis(500);

/// Follow or verify the journal
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Print the last entries of the journal, and with --follow what comes
    Tail(Tail),
    /// Check that no entry was altered or is missing
    Verify(Verify),
}

/// Print the last entries of the journal
#[derive(Args, Debug)]
pub struct Tail {
    #[command(flatten)]
    data: DataArg,
    /// So many of the last entries
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: u64,
    /// Go on printing what is written
    #[arg(long, short)]
    follow: bool,
    /// For people, or one JSON object a line for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Check that no entry was altered or is missing
#[derive(Args, Debug)]
pub struct Verify {
    #[command(flatten)]
    data: DataArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl JournalCommand {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        match self {
            Self::Tail(tail) => tail.run().await,
            Self::Verify(verify) => verify.run(),
        }
    }
}

impl Tail {
    async fn run(self) -> anyhow::Result<End> {
        let journal = self.data.journal()?;
        let mut seen = journal.last_pos()?.saturating_sub(self.lines);
        loop {
            let entries = journal.tail(seen, 1000)?;
            for entry in &entries {
                self.print(entry)?;
                seen = entry.pos;
            }
            if entries.is_empty() {
                if !self.follow {
                    return Ok(End::Fine);
                }
                tokio::select! {
                    () = tokio::time::sleep(FOLLOW) => {}
                    _ = tokio::signal::ctrl_c() => return Ok(End::Fine),
                }
            }
        }
    }

    fn print(&self, entry: &Entry) -> anyhow::Result<()> {
        if self.output == Output::Json {
            let object = value!({
                "pos": entry.pos, "incident": entry.incident, "seq": entry.seq, "at": entry.at.to_string(), "event": entry.event, "hash": entry.hash,
            });
            line(serde_json::to_string(&object)?);
            return Ok(());
        }
        for told in timeline::tell([(entry.at, &entry.event)]) {
            line(format!("{:>6}  {}  {}  {}", entry.pos, told.at, entry.incident, told.text));
        }
        Ok(())
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<End> {
        match self.data.journal()?.verify() {
            Ok(entries) if self.output == Output::Json => json(&value!({ "ok": true, "entries": entries }))?,
            Ok(entries) => line(format!("{entries} entries, none altered or missing")),
            Err(error @ JournalError::Broken { .. }) => {
                if self.output == Output::Json {
                    json(&value!({ "ok": false, "problem": error.to_string() }))?;
                } else {
                    note(error.to_string());
                }
                return Ok(End::Findings);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(End::Fine)
    }
}
