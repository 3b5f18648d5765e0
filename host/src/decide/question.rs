//! One question to a plugin and its answer, in plain data.
//!
//! A [`Brief`] is all that a plugin is told, so the same brief gives the same ruling, today and in a replay. A [`Ruling`] always
//! comes back: whatever a plugin does wrong ends as a [`Failure`] with a sentence for the journal.

use std::sync::Arc;
use std::time::Duration;

use super::lookup::Lookups;
use crate::action::Proposal;
use crate::alert::{Alert, IncidentId};
use crate::clock::{Time, print_duration};
use crate::incident::lookup::{Looked, PastAttempt};
use crate::incident::{Decision, LogLine, TargetView, Trigger};
use crate::telemetry::clean;

/// Characters that are kept of a reason or of a plugin's own error.
const MAX_REASON_CHARS: usize = 2000;
/// Proposals that one act may have.
const MAX_ACT: usize = 16;
/// The longest wait; the contract says so to plugin authors.
const MAX_WAIT_MS: u64 = 24 * 60 * 60 * 1000;
/// The shortest wait: a plugin that answers "wait 0" must not turn the host into a loop.
const MIN_WAIT_MS: u64 = 1000;

/// All that a plugin is told.
#[derive(Clone, Debug)]
pub struct Brief {
    /// Which incident.
    pub id: IncidentId,
    /// The alert as last heard.
    pub alert: Alert,
    /// When it was first heard of.
    pub first_seen: Time,
    /// Why the question is asked.
    pub trigger: Trigger,
    /// What was tried before, oldest first.
    pub attempts: Vec<PastAttempt>,
    /// What the alert is about, as resolved for this question.
    pub targets: Vec<TargetView>,
    /// The policy's settings; `null` is the same as `{}`.
    pub settings: serde_json::Value,
    /// The question's time in the journal.
    pub now: Time,
    /// Who answers its lookups.
    pub lookups: Arc<dyn Lookups>,
}

/// What came of one question.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// What was decided, or why nothing was.
    pub decision: Result<Decision, Failure>,
    /// What the plugin logged and printed, bounded.
    pub log: Vec<LogLine>,
    /// What it looked at.
    pub lookups: Vec<Looked>,
    /// How long it took, fresh sandbox included; waiting for a free one and for the answers of lookups not.
    pub micros: u64,
}

/// Why a plugin gave no decision. Its text is one sentence for the journal, cleaned and bounded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It crashed.
    #[error("the plugin crashed: {0}")]
    Trapped(String),
    /// It took too long.
    #[error("the plugin gave no answer within {}, the policy's `limits.deadline`", print_duration(*.0))]
    Deadline(Duration),
    /// It wanted too much memory; in bytes what it may have.
    #[error("the plugin wanted more than {} MiB of memory, the policy's `limits.memory`", .0 >> 20)]
    Memory(u64),
    /// It broke the contract.
    #[error("the plugin broke its contract: {0}")]
    Nonsense(String),
    /// It said itself that it cannot decide.
    #[error("the plugin could not decide: {0}")]
    Error(String),
    /// All sandboxes were busy for that long.
    #[error("the plugin was not asked: all sandboxes were busy for {}", print_duration(*.0))]
    Busy(Duration),
    /// No sandbox could be made; not the plugin's fault.
    #[error("the plugin was not asked: its sandbox could not be made: {0}")]
    NoSandbox(String),
}

impl Failure {
    /// Does this sentence of the journal say that it was the machine's doing, and not the plugin's? Asked again, it may well decide.
    pub fn was_the_machines(sentence: &str) -> bool {
        ["the plugin gave no answer within ", "the plugin was not asked: "].iter().any(|begins| sentence.starts_with(begins))
    }

    /// Does this sentence of the journal say that the plugin wanted more memory than its policy gave it?
    pub fn was_for_memory(sentence: &str) -> bool {
        sentence.starts_with("the plugin wanted more than ")
    }
}

/// A plugin's answer as it came, with the proposals taken out of their handles.
pub(super) enum Said {
    Pass(String),
    Ignore(String),
    Act(String, Vec<Proposal>),
    Wait(String, u64),
    Escalate(String),
    Error(String),
}

/// Makes a decision of an answer: cleaned, bounded, and refused where it means nothing.
pub(super) fn weigh(said: Said) -> Result<Decision, Failure> {
    Ok(match said {
        Said::Pass(reason) => Decision::Pass { reason: reason_of(&reason) },
        Said::Ignore(reason) => Decision::Ignore { reason: reason_of(&reason) },
        Said::Escalate(reason) => Decision::Escalate { reason: reason_of(&reason) },
        Said::Wait(reason, millis) => {
            Decision::Wait { reason: reason_of(&reason), millis: millis.clamp(MIN_WAIT_MS, MAX_WAIT_MS) }
        }
        Said::Act(_, proposals) if proposals.is_empty() => {
            return Err(Failure::Nonsense("it answered `act` without any proposal".to_owned()));
        }
        Said::Act(_, proposals) if proposals.len() > MAX_ACT => {
            let n = proposals.len();
            return Err(Failure::Nonsense(format!("it answered `act` with {n} proposals; {MAX_ACT} are allowed")));
        }
        Said::Act(reason, proposals) => Decision::Act { reason: reason_of(&reason), proposals },
        Said::Error(text) => return Err(Failure::Error(reason_of(&text))),
    })
}

fn reason_of(text: &str) -> String {
    let cleaned = clean(text.trim(), MAX_REASON_CHARS);
    if cleaned.is_empty() { "(it gave no reason)".to_owned() } else { cleaned }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::action::DockerVerb;

    fn restarts(n: usize) -> Vec<Proposal> {
        vec![Proposal::Docker { verb: DockerVerb::Restart, target: "local/web".into(), grace_seconds: None, signal: None }; n]
    }

    #[test]
    fn an_act_has_one_to_sixteen_proposals() {
        assert!(matches!(weigh(Said::Act("x".into(), restarts(0))), Err(Failure::Nonsense(_))));
        assert!(matches!(weigh(Said::Act("x".into(), restarts(1))), Ok(Decision::Act { .. })));
        assert!(matches!(weigh(Said::Act("x".into(), restarts(16))), Ok(Decision::Act { .. })));
        assert!(matches!(weigh(Said::Act("x".into(), restarts(17))), Err(Failure::Nonsense(_))));
    }

    #[test]
    fn a_wait_is_neither_endless_nor_a_loop() {
        let millis = |n| match weigh(Said::Wait("x".into(), n)) {
            Ok(Decision::Wait { millis, .. }) => millis,
            other => unreachable!("{other:?}"),
        };
        assert_eq!([millis(0), millis(5000), millis(u64::MAX)], [1000, 5000, 86_400_000]);
    }

    #[test]
    fn reasons_are_cleaned_bounded_and_never_empty() {
        assert_eq!(weigh(Said::Pass(" \u{1b}[31mred\n".into())).unwrap().reason(), "�red");
        assert_eq!(weigh(Said::Pass(String::new())).unwrap().reason(), "(it gave no reason)");
        assert_eq!(weigh(Said::Ignore("x".repeat(5000))).unwrap().reason().chars().count(), 2000);
        assert_eq!(weigh(Said::Error("\u{202e}no".into())), Err(Failure::Error("�no".into())));
    }

    #[test]
    fn a_sentence_of_the_journal_tells_the_machines_failures_from_the_plugins() {
        let machines = [Failure::Deadline(Duration::from_secs(1)), Failure::Busy(Duration::ZERO), Failure::NoSandbox("x".into())];
        let plugins = [Failure::Trapped("x".into()), Failure::Nonsense("x".into()), Failure::Error("x".into())];
        assert!(machines.iter().all(|failure| Failure::was_the_machines(&failure.to_string())));
        assert!(plugins.iter().all(|failure| !Failure::was_the_machines(&failure.to_string())));
        let memory = Failure::Memory(1 << 20).to_string();
        assert!(Failure::was_for_memory(&memory) && !Failure::was_the_machines(&memory));
    }

    #[test]
    fn failures_are_sentences() {
        assert_eq!(
            Failure::Deadline(Duration::from_millis(100)).to_string(),
            "the plugin gave no answer within 100 ms, the policy's `limits.deadline`"
        );
        assert_eq!(
            Failure::Memory(64 << 20).to_string(),
            "the plugin wanted more than 64 MiB of memory, the policy's `limits.memory`"
        );
    }
}
