//! What was tried, in the words of the contract.

use crate::action::Ending;
use crate::incident::lookup::{PastAction, PastAttempt};
use crate::incident::{Attempt, Intent, Progress};
use crate::telemetry::clean;

/// Characters of an outcome's message that are told.
const MAX_MESSAGE_CHARS: usize = 1000;

/// An attempt as plugins are told of it.
pub fn attempt(attempt: &Attempt) -> PastAttempt {
    let mut actions: Vec<_> = attempt.intents.iter().map(intended).collect();
    actions.extend(attempt.refused.iter().map(|(proposal, rule, message)| PastAction {
        kind: proposal.kind().word().to_owned(),
        target: proposal.target().to_owned(),
        detail: proposal.detail().to_owned(),
        outcome: "refused".to_owned(),
        message: clean(&format!("{rule}: {message}"), MAX_MESSAGE_CHARS),
    }));
    PastAttempt {
        number: attempt.number,
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        actions,
        verification: verification(attempt).to_owned(),
    }
}

fn intended(intent: &Intent) -> PastAction {
    let (outcome, message) = match &intent.progress {
        Progress::Ended(outcome) => (outcome.ending.word(), outcome.message.as_str()),
        Progress::Cancelled(message) => ("cancelled", message.as_str()),
        // A plugin is asked between attempts, so an intent without an end was cut off by a restart.
        Progress::Intended | Progress::Begun(_) => ("interrupted", "Paramedic was stopped in the middle of it"),
    };
    PastAction {
        kind: intent.action.kind().word().to_owned(),
        target: intent.action.target().to_string(),
        detail: intent.action.detail(),
        outcome: outcome.to_owned(),
        message: clean(message, MAX_MESSAGE_CHARS),
    }
}

/// The verdict, or what is known without one: nothing was done about the target; all that was tried failed; or it cannot be told.
fn verification(attempt: &Attempt) -> &'static str {
    let failed = |intent: &Intent| matches!(&intent.progress, Progress::Ended(o) if o.ending == Ending::Failed);
    let untouched = |intent: &Intent| matches!(intent.progress, Progress::Cancelled(_)) || !intent.action.touches();
    match attempt.verdict {
        Some(verdict) => verdict.word(),
        None if attempt.intents.iter().all(untouched) => "none",
        None if attempt.intents.iter().all(|i| failed(i) || untouched(i)) => "not-healed",
        None => "unclear",
    }
}
