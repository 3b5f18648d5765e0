//! `paramedic replay INCIDENT`: each decision of one incident, proven or not.

use anyhow::bail;
use serde::Serialize;

use super::Replay;
use crate::cli::output::{bold, json, line};
use crate::cli::{End, Output};
use crate::decide::sandbox::Sandbox;
use crate::replay::asked::{Answered, Asked, Questions};
use crate::replay::repeat::{self, Outcome};
use crate::replay::shelf::Shelf;
use crate::telemetry::clean;

#[derive(Serialize)]
struct Proof {
    incident: String,
    alert: String,
    proven: bool,
    decisions: Vec<One>,
}

#[derive(Serialize)]
struct One {
    seq: u64,
    at: String,
    policy: String,
    plugin: String,
    decision: String,
    lookups: usize,
    #[serde(flatten)]
    outcome: Outcome,
}

pub(super) async fn prove(replay: &Replay, id: &str) -> anyhow::Result<End> {
    let folder = replay.data.folder()?;
    let journal = replay.data.journal()?;
    let id = journal.find(id)?;
    let asked = Questions::of(journal.read(&id, 0, usize::MAX)?);
    let Some(first) = asked.first() else { bail!("incident {id} has no decision yet, so there is nothing to repeat") };
    let alert = clean(first.question.incident.alert.name(), 120);
    let mut shelf = Shelf::new(Sandbox::beside(&folder)?, folder.join("plugins"), replay.plugins.clone());
    let mut decisions = Vec::new();
    for asked in &asked {
        for answered in &asked.answers {
            decisions.push(one(&mut shelf, asked, answered).await);
        }
    }
    if decisions.is_empty() {
        bail!("incident {id} has no decision, so there is nothing to repeat: no policy matched it");
    }
    let differ = decisions.iter().filter(|one| matches!(one.outcome, Outcome::Differs { .. })).count();
    let cannot = decisions.iter().filter(|one| matches!(one.outcome, Outcome::Cannot { .. })).count();
    let proof = Proof { incident: id.to_string(), alert, proven: differ + cannot == 0, decisions };
    if replay.output == Output::Json {
        json(&proof)?;
    } else {
        print(&proof);
    }
    match (differ, cannot) {
        (0, 0) => Ok(End::Fine),
        (0, cannot) => bail!(
            "{cannot} of {} decisions could not be repeated, so they are not proven; the lines above say why",
            proof.decisions.len()
        ),
        _ => Ok(End::Findings),
    }
}

async fn one(shelf: &mut Shelf, asked: &Asked, answered: &Answered) -> One {
    let answer = &answered.answer;
    let outcome = match (repeat::not_repeatable(answer), shelf.get(&answer.plugin).await) {
        (Some(why), _) => Outcome::Cannot { why },
        (None, Err(why)) => Outcome::Cannot { why },
        (None, Ok(plugin)) => repeat::repeat(&*plugin, asked, answered).await,
    };
    One {
        seq: answered.seq,
        at: answered.at.to_string(),
        policy: clean(&answer.policy, 120),
        plugin: clean(&answer.plugin, 64),
        decision: repeat::says(&answer.decision),
        lookups: answer.lookups.len(),
        outcome,
    }
}

fn print(proof: &Proof) {
    line(format!("{} {}", bold(&proof.incident), proof.alert));
    for one in &proof.decisions {
        let clock = one.at.get(11..23).unwrap_or(&one.at);
        let plugin = one.plugin.get(..12).unwrap_or(&one.plugin);
        let lookups = match one.lookups {
            0 => String::new(),
            1 => ", 1 lookup".to_owned(),
            many => format!(", {many} lookups"),
        };
        let word = match &one.outcome {
            Outcome::Same => "same",
            Outcome::Differs { .. } => "DIFFERS",
            Outcome::Cannot { .. } => "CANNOT BE REPEATED",
        };
        line(format!("{clock}  {} says {}", one.policy, one.decision));
        line(format!("              => {} (plugin {plugin}{lookups})", bold(word)));
        match &one.outcome {
            Outcome::Same => {}
            Outcome::Cannot { why } => line(format!("              | {}", clean(why, 900))),
            Outcome::Differs { differences } => {
                for difference in differences {
                    line(format!("              | {}", difference.what));
                    line(format!("              |   - {}", difference.then));
                    line(format!("              |   + {}", difference.now));
                }
            }
        }
    }
    if proof.proven {
        line(format!("{} decisions, each repeated in a fresh sandbox: bit for bit the same", proof.decisions.len()));
    }
}
