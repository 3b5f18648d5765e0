//! `paramedic incident close|retry|approve|deny|cancel`: what a person says about one incident.

use clap::Args;
use serde_json::{Value, json as value};

use super::desk::{Answer, Desk, SocketArg};
use super::output::{json, line, note};
use super::{End, Output};
use crate::operate::short;
use crate::telemetry::clean;

/// About which incident, and why
#[derive(Args, Clone, Debug)]
pub struct Verdict {
    /// Its id, or the beginning of it; a key alone means its latest incident
    id: String,
    /// Why; the next person reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    socket: SocketArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Say yes to what a policy in mode `approve` wants to do, and was shown by `incident show`
#[derive(Args, Debug)]
pub struct Approve {
    #[command(flatten)]
    verdict: Verdict,
    /// The digest of what you saw, or at least 8 characters of its beginning; without it nothing is approved, and what waits is shown
    #[arg(long)]
    digest: Option<String>,
}

impl Approve {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let Self { verdict, digest } = self;
        let desk = verdict.desk("approve").await?;
        let seen = match desk.get(&["incidents", &verdict.id]).await? {
            Answer::Done(seen) => seen,
            Answer::No(why) => return no(&why),
            Answer::Sick(why) => return Err(sick(&why, &verdict.id)),
        };
        let awaiting = &seen["awaiting"];
        let id = clean(seen["incident"].as_str().unwrap_or(&verdict.id), 80);
        let Some(digest) = digest else {
            show(awaiting, note);
            return no(&match awaiting["digest"].as_str() {
                Some(waits) => format!(
                    "nothing was approved: name what you saw, with\n  paramedic incident approve {id} --digest {} --reason '...'",
                    short(waits)
                ),
                None => format!(
                    "nothing of incident {id} waits for a yes or a no: `paramedic incident show {id}` tells how it stands"
                ),
            });
        };
        if verdict.output == Output::Text {
            show(awaiting, line);
        }
        // The incident that was shown: a beginning, or a key, may mean another one by now.
        Verdict { id, ..verdict.clone() }.give(&desk, "approve", value!({ "reason": verdict.reason, "digest": digest })).await
    }
}

impl Verdict {
    pub(super) async fn run(self, word: &str) -> anyhow::Result<End> {
        let desk = self.desk(word).await?;
        self.give(&desk, word, value!({ "reason": self.reason })).await
    }

    async fn desk(&self, word: &str) -> anyhow::Result<Desk> {
        let desk = self.socket.desk().await?;
        desk.ok_or_else(|| match self.socket.path() {
            Ok(path) => anyhow::anyhow!(
                "no server listens at {}, and only a running one can take `{word}`: start it with {}; `paramedic halt` works without one",
                path.display(),
                self.socket.start()
            ),
            Err(error) => error,
        })
    }

    async fn give(&self, desk: &Desk, word: &str, body: Value) -> anyhow::Result<End> {
        match desk.post(&["incidents", &self.id, word], &body).await? {
            Answer::Done(done) if self.output == Output::Json => json(&done)?,
            Answer::Done(done) => {
                let part = |name: &str| clean(done[name].as_str().unwrap_or("?"), 500);
                line(format!("Written by {}: {word} incident {} (entry {}).", part("by"), part("incident"), done["entry"]));
                line(format!("Next: {}.", part("next")));
            }
            Answer::No(why) => return no(&why),
            Answer::Sick(why) => return Err(sick(&why, &self.id)),
        }
        Ok(End::Fine)
    }
}

fn sick(why: &str, id: &str) -> anyhow::Error {
    anyhow::anyhow!("{why}; look with `paramedic incident show {id}` whether it was written")
}

fn no(why: &str) -> anyhow::Result<End> {
    note(format!("no: {why}"));
    Ok(End::Findings)
}

fn show(awaiting: &Value, say: impl Fn(String)) {
    let texts = |name: &str| awaiting[name].as_array().cloned().unwrap_or_default();
    for (lead, name) in [("would do", "actions"), ("        ", "details")] {
        for text in texts(name) {
            say(format!("{lead}  {}", clean(text.as_str().unwrap_or("?"), 600)));
        }
    }
}
