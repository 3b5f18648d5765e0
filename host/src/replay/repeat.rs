//! One past decision repeated: the same plugin, told the same, in a fresh sandbox, has to answer the same, bit for bit.
//!
//! Compared are the decision, what the plugin logged, and what it looked at in which order. How long it took is not: that is the
//! machine's. For the same reason an answer that was ended by the clock, or never asked for want of a sandbox, cannot be repeated.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::asked::{Answered, Asked};
use crate::decide::lookup::Recorded;
use crate::decide::plugin::Judge;
use crate::decide::question::{Brief, Failure, Ruling};
use crate::decide::sandbox::{Limits, MAX_MEMORY};
use crate::decide::{self};
use crate::incident::lookup::{Looked, Lookup};
use crate::incident::{Answer, timeline};
use crate::telemetry::clean;

/// A repetition may take longer than the decision did: that a machine is busy proves nothing.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a text that are shown of a difference.
const SHOWN: usize = 600;

/// What came of repeating one decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Bit for bit the same.
    Same,
    /// Not the same.
    Differs {
        /// In what.
        differences: Vec<Difference>,
    },
    /// It proves nothing, whatever comes of it.
    Cannot {
        /// Why.
        why: String,
    },
}

/// One thing that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `decision`, `log` or `lookups`.
    pub what: &'static str,
    /// As the journal has it.
    pub then: String,
    /// As it is now.
    pub now: String,
}

/// All that a plugin was told, with the answers that were recorded.
pub fn brief(asked: &Asked, settings: Value, recorded: &Arc<Recorded>) -> Brief {
    let lookups: Arc<Recorded> = Arc::clone(recorded);
    decide::brief(&asked.question, asked.at, settings, lookups)
}

/// The recorded answers to what was looked up.
pub fn recorded(answer: &Answer) -> Arc<Recorded> {
    Arc::new(Recorded::new(answer.lookups.iter().map(|looked| (looked.lookup.clone(), looked.answer.clone()))))
}

/// Repeats this decision.
pub async fn repeat(plugin: &dyn Judge, asked: &Asked, answered: &Answered) -> Outcome {
    let answer = &answered.answer;
    if let Some(why) = not_repeatable(answer) {
        return Outcome::Cannot { why };
    }
    let recorded = recorded(answer);
    let ruling = plugin.decide(&brief(asked, answer.settings.clone(), &recorded), &limits(answer)).await;
    judge(answer, &ruling, &recorded.missing())
}

/// Why repeating it would prove nothing, as far as the entry tells.
pub fn not_repeatable(answer: &Answer) -> Option<String> {
    let Err(sentence) = &answer.decision else { return None };
    let shown = clean(sentence, SHOWN);
    if Failure::was_the_machines(sentence) {
        return Some(format!("it depended on the machine: {shown}"));
    }
    // A sandbox takes longer than that: nobody asked.
    if answer.micros == 0 {
        return Some(format!("no plugin was asked: {shown}"));
    }
    (answer.limits.is_none() && Failure::was_for_memory(sentence))
        .then(|| format!("how much memory the policy allowed was not written down then: {shown}"))
}

/// What it may cost now: as much memory as then, and more time.
pub fn limits(answer: &Answer) -> Limits {
    let usual = Limits::default();
    let then = answer.limits.map(|then| Limits {
        deadline: Duration::from_millis(then.deadline_ms),
        memory: then.memory,
        lookups: Duration::from_millis(then.lookups_ms),
    });
    let then = then.unwrap_or(Limits { memory: MAX_MEMORY, ..usual });
    Limits { deadline: then.deadline.max(PATIENCE), ..then }
}

fn judge(answer: &Answer, ruling: &Ruling, missing: &[Lookup]) -> Outcome {
    let decision = ruling.decision.as_ref().map_err(ToString::to_string);
    if let Err(sentence) = &decision
        && Failure::was_the_machines(sentence)
    {
        return Outcome::Cannot { why: format!("not on this machine, not now: {}", clean(sentence, SHOWN)) };
    }
    if answer.lookups.is_empty()
        && let Some(first) = missing.first()
    {
        let why = format!("it looked at {}, and what it was told was not written down then", spell(first));
        return Outcome::Cannot { why };
    }
    let mut differences = Vec::new();
    if answer.decision.as_ref().map_err(String::as_str) != decision.as_ref().copied().map_err(String::as_str) {
        let now = decision.cloned();
        differences.push(Difference { what: "decision", then: says(&answer.decision), now: says(&now) });
    }
    if answer.log != ruling.log {
        let lines = |log: &[crate::incident::LogLine]| {
            let lines: Vec<String> = log.iter().map(|line| format!("{}: {}", line.level, line.message)).collect();
            lines
        };
        differences.extend(first_difference("log", &lines(&answer.log), &lines(&ruling.log)));
    }
    let looked = |looked: &[Looked]| looked.iter().map(told).collect::<Vec<_>>();
    differences.extend(first_difference("lookups", &looked(&answer.lookups), &looked(&ruling.lookups)));
    if differences.is_empty() { Outcome::Same } else { Outcome::Differs { differences } }
}

/// The first place in which two lists are not the same, if there is one.
fn first_difference(what: &'static str, then: &[String], now: &[String]) -> Option<Difference> {
    let at = (0..then.len().max(now.len())).find(|at| then.get(*at) != now.get(*at))?;
    let side = |list: &[String]| match list.get(at) {
        Some(text) => format!("{} of {}: {}", at + 1, list.len(), clean(text, SHOWN)),
        None => format!("only {}", list.len()),
    };
    Some(Difference { what, then: side(then), now: side(now) })
}

/// A lookup with its answer as they are written down, without the time it took.
fn told(looked: &Looked) -> String {
    let answer = serde_json::to_string(&looked.answer).unwrap_or_default();
    format!("{} -> {answer}", serde_json::to_string(&looked.lookup).unwrap_or_default())
}

/// A lookup for people.
pub fn spell(lookup: &Lookup) -> String {
    clean(
        &match lookup {
            Lookup::Containers { host, labels } => {
                let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!(
                    "containers of {host} with {}",
                    if labels.is_empty() { "any label".to_owned() } else { labels.join(", ") }
                )
            }
            Lookup::Container { target } => format!("container {target}"),
            Lookup::Log { target, lines } => format!("the last {lines} lines of {target}"),
            Lookup::Metrics { query } => format!("metrics `{query}`"),
            Lookup::History { target, within_ms } => {
                format!("the history of {target} within {}", crate::clock::spell_duration(Duration::from_millis(*within_ms)))
            }
        },
        300,
    )
}

/// A decision for people, with its reason.
pub fn says(decision: &Result<crate::incident::Decision, String>) -> String {
    match decision {
        Ok(decision) => format!("{}: {}", timeline::what(decision), clean(decision.reason(), SHOWN)),
        Err(sentence) => format!("no decision: {}", clean(sentence, SHOWN)),
    }
}
