//! `paramedic halt` and `paramedic resume`
//!
//! They work whether or not a server runs: the halt is a file in the data folder, and all that the socket adds is that the
//! server itself writes it, as the one who was asked.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json as value};

use super::desk::{Answer, SocketArg};
use super::output::{json, line, note};
use super::{End, Output};
use crate::halt as stop;
use crate::journal::Reader;
use crate::operate::{Running, myself};
use crate::policy::brakes::ALL_KEY;

/// Halt everything: no action begins until somebody resumes, also after a restart
#[derive(Args, Debug)]
pub struct Halt {
    #[command(flatten)]
    command: Said,
}

/// Let actions begin again
#[derive(Args, Debug)]
pub struct Resume {
    #[command(flatten)]
    command: Said,
}

#[derive(Args, Debug)]
struct Said {
    /// Why; the next person reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    socket: SocketArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Halt {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        self.command
            .run("halt", |file, reason| {
                let before = stop::write(file, &stop::Halt::now(&myself().to_string(), reason))?;
                Ok(match before {
                    Some(before) => format!("already {before}; that stays as it is"),
                    None => "no server runs; one that is started takes alerts in and does nothing".to_owned(),
                })
            })
            .await
    }
}

impl Resume {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        self.command
            .run("resume", |file, _| {
                Ok(match stop::remove(file)? {
                    Some(before) => format!("no longer {before}. No server runs; one that is started may act"),
                    None => "nothing was halted, nothing has changed; no server runs".to_owned(),
                })
            })
            .await
    }
}

impl Said {
    /// Over the socket when a server runs, otherwise by `alone` on the file itself.
    async fn run(self, word: &str, alone: impl FnOnce(&Path, &str) -> std::io::Result<String>) -> anyhow::Result<End> {
        let reason = self.reason.trim();
        anyhow::ensure!(!reason.is_empty(), "a reason is needed: the next person reads it");
        let answer = match self.socket.desk()? {
            Some(desk) => desk.post(&[word], &value!({ "reason": reason })).await?,
            None => {
                let data = self.socket.data()?;
                let file = data.join(stop::FILE);
                let reason = crate::telemetry::clean(reason, 500);
                let next = alone(&file, &reason).with_context(|| {
                    format!("{} cannot be changed: may this user write there, and is `data` right?", file.display())
                })?;
                let halt = stop::read(&file)?;
                Answer::Done(value!({ "halted": halt.is_some(), "halt": halt, "running": left_running(&data), "next": next }))
            }
        };
        match answer {
            Answer::Done(told) if self.output == Output::Json => json(&told)?,
            Answer::Done(told) => print(&told),
            Answer::No(why) => {
                note(why);
                return Ok(End::Findings);
            }
        }
        Ok(End::Fine)
    }
}

fn print(told: &Value) {
    let next = told["next"].as_str().unwrap_or_default();
    line(if told["halted"] == true { format!("Halted: {next}.") } else { format!("Not halted: {next}.") });
    for running in told["running"].as_array().into_iter().flatten() {
        let part = |name: &str| running[name].as_str().unwrap_or("?").to_owned();
        line(format!("  under way, and finished: {} (incident {})", part("action"), part("incident")));
    }
}

/// What was under way when the last server stopped: a playbook may have lived on. The journal may be closed to this user.
fn left_running(data: &Path) -> Vec<Running> {
    let read = || {
        let journal = Reader::open(data)?;
        let mut left = Vec::new();
        for id in journal.holders(ALL_KEY)? {
            left.extend(journal.incident(&id)?.iter().flat_map(Running::of));
        }
        Ok::<_, crate::journal::JournalError>(left)
    };
    read().unwrap_or_default()
}
