//! `paramedic halt` and `paramedic resume`
//!
//! They work whether or not a server runs: the halt is a file in the data folder, and all that the socket adds is that the
//! server itself writes it, as the one who was asked. A server that hangs, is sick or cannot be reached is passed by when it is to
//! halt: the file is written without it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json as value};

use super::desk::{Answer, SOON, SocketArg};
use super::output::{json, line, note};
use super::{End, Output};
use crate::halt as stop;
use crate::journal::Reader;
use crate::operate::{Halted, Running, after_halt, myself, reason};

/// Halt everything: no action begins until somebody resumes, also after a restart
#[derive(Args, Debug)]
pub struct Halt {
    /// Also end the playbooks that are running, within 15 s; what was asked of a Docker engine cannot be taken back. What was stopped
    /// escalates, and is not tried again before a person says `incident retry`
    #[arg(long)]
    cancel_running: bool,
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
        let (said, cancel) = (self.command, self.cancel_running);
        let reason = reason(&said.reason).map_err(anyhow::Error::msg)?;
        let body = if cancel { value!({ "reason": reason, "cancel_running": true }) } else { value!({ "reason": reason }) };
        // Whatever is wrong with the server, or with the way to it: who may write the file can halt.
        let (why, obeys) = match said.ask("halt", &body).await {
            Ok(Asked::Done(told)) => return said.tell(&told),
            Ok(Asked::No(why)) => return no(&why),
            Ok(Asked::Nobody(socket)) => {
                (format!("no server was found at {socket}"), "whichever uses this folder obeys the file, now and after its start")
            }
            Err(error) => (
                format!("the server was not reached, or did not do it: {error:#}"),
                "the file was written without it, and it obeys that",
            ),
        };
        let halt = stop::Halt::now(&myself().to_string(), &reason);
        let (data, before) = said.by_hand(move |file| stop::write(file, &halt)).await.with_context(|| why.clone())?;
        let mut next = format!("{}. {}; {obeys}", after_halt(before.as_ref()), upper(&why));
        if cancel {
            next.push_str(". What may still run was NOT ended, only a server can do that: start it and say this again; nothing new begins meanwhile");
        }
        said.tell(&said.found(&data, next).await?)
    }
}

impl Resume {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let said = self.command;
        let reason = reason(&said.reason).map_err(anyhow::Error::msg)?;
        let socket = match said.ask("resume", &value!({ "reason": reason })).await {
            Ok(Asked::Done(told)) => return said.tell(&told),
            Ok(Asked::No(why)) => return no(&why),
            Ok(Asked::Nobody(socket)) => socket,
            // Nobody needs to go on in a hurry past a server that cannot say how it stands.
            Err(error) => {
                let file = said.socket.data().unwrap_or_default().join(stop::FILE);
                return Err(error.context(format!(
                    "nothing is known to have changed; removing {} lets go without the server",
                    file.display()
                )));
            }
        };
        let (data, before) = said.by_hand(stop::remove).await?;
        let next = match before {
            Some(before) => format!("no longer {before}"),
            None => "nothing was halted, nothing has changed".to_owned(),
        };
        let next = format!("{next}. No server was found at {socket}; whichever uses this folder may act");
        said.tell(&said.found(&data, next).await?)
    }
}

/// What the server said.
enum Asked {
    Done(Value),
    No(String),
    /// None was found at this socket.
    Nobody(String),
}

impl Said {
    async fn ask(&self, word: &str, body: &Value) -> anyhow::Result<Asked> {
        let Some(desk) = self.socket.desk().await? else {
            return Ok(Asked::Nobody(self.socket.path()?.display().to_string()));
        };
        match desk.post_soon(&[word], body).await? {
            Answer::Done(told) => Ok(Asked::Done(told)),
            Answer::No(why) => Ok(Asked::No(why)),
            Answer::Sick(why) => anyhow::bail!("{why}"),
        }
    }

    /// Does this with the file itself.
    async fn by_hand<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> anyhow::Result<(PathBuf, T)> {
        let data = self.socket.data().context("the data folder is not known: name it with `--data`")?;
        let file = data.join(stop::FILE);
        let (path, shown) = (file.clone(), file.display());
        let done = tokio::time::timeout(SOON, tokio::task::spawn_blocking(move || work(&path))).await;
        let done = done.with_context(|| format!("the disk of {shown} does not answer"))??;
        let done = done.with_context(|| format!("{shown} cannot be changed: may this user write there, and is `data` right?"))?;
        Ok((data, done))
    }

    /// How it stands by the files alone.
    async fn found(&self, data: &Path, next: String) -> anyhow::Result<Value> {
        let halt = stop::read(&data.join(stop::FILE))?;
        Ok(serde_json::to_value(Halted::told(halt, left_running(data).await, next))?)
    }

    fn tell(&self, told: &Value) -> anyhow::Result<End> {
        if self.output == Output::Json {
            json(told)?;
        } else {
            print(told);
        }
        Ok(End::Fine)
    }
}

fn no(why: &str) -> anyhow::Result<End> {
    note(why);
    Ok(End::Findings)
}

/// A sentence begins with a capital.
fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn print(told: &Value) {
    let next = told["next"].as_str().unwrap_or_default();
    line(if told["halted"] == true { format!("Halted: {next}.") } else { format!("Not halted: {next}.") });
    for running in told["running"].as_array().into_iter().flatten() {
        let part = |name: &str| running[name].as_str().unwrap_or("?").to_owned();
        let state = match (running["begun"] == false, told["halted"] == true) {
            _ if running["cancelling"] == true => "to be ended (a call to an engine cannot be taken back)",
            (true, true) => "about to begin, and not begun if the halt was faster",
            (true, false) => "about to begin",
            (false, _) => "under way, and finished",
        };
        line(format!("  {state}: {} (incident {})", part("action"), part("incident")));
    }
    if let Some(unknown) = told["note"].as_str() {
        note(format!("note: {unknown}"));
    }
}

/// What was under way when the last server stopped: a playbook may have lived on. The journal may be closed to this user.
async fn left_running(data: &Path) -> Result<Vec<Running>, String> {
    let journal = Reader::open(data).map_err(|error| error.to_string())?;
    let running = Running::all(async |key| journal.holders(key), async |id| journal.incident(&id), |_| true).await;
    running.map_err(|error| error.to_string())
}
