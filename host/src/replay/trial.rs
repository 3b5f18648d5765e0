//! A new version on the questions of the past: what would it have answered, and is that another answer than the one that was given?
//!
//! First order only: each question is the one that was put then, with the attempts that were made then. After another decision the next
//! question would have been another one, or none. Absent on purpose: what would have come of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::asked::{Answered, Asked};
use super::found::{Found, Other};
use super::paper::{Grants, Verdict};
use super::repeat;
use crate::decide::lookup::Recorded;
use crate::decide::plugin::Judge;
use crate::decide::question::Failure;
use crate::decide::sandbox::Limits;
use crate::incident::lookup::LookupError;
use crate::incident::{Decision, Mode};
use crate::policy::Policy;

/// A plugin gets at least so long here, since many are asked at once.
const AT_LEAST: Duration = Duration::from_secs(1);

/// With which settings the new version is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// With those that each question was answered with; where the policy was not asked, with those of its file.
    Recorded,
    /// With those of the policy's file.
    File,
}

/// What is tried.
#[derive(Debug)]
pub struct Trial {
    /// The policy, as its file says.
    pub policy: Policy,
    /// The new version of its plugin.
    pub plugin: Arc<dyn Judge>,
    /// Which settings it is given.
    pub settings: Settings,
    /// What it may do.
    pub grants: Grants,
}

/// What was answered then.
#[derive(Clone, Copy)]
enum Then<'a> {
    Answered(&'a Answered),
    NotAsked,
}

impl Trial {
    /// What would have been answered to this question; `None` when the policy has nothing to do with it.
    pub async fn ask(&self, asked: &Asked) -> Option<Found> {
        let matches = self.policy.matchers.matches(&asked.question.incident.alert.labels);
        let then = match asked.by(&self.policy.name) {
            Some(answered) if matches => Then::Answered(answered),
            Some(answered) => {
                return Some(Found::differs(label(&answered.answer.decision), "not asked: it does not match".to_owned()));
            }
            None if matches && asked.is_first() => Then::NotAsked,
            None => return None,
        };
        Some(self.compare(asked, then).await)
    }

    async fn compare(&self, asked: &Asked, then: Then<'_>) -> Found {
        let recorded = Arc::new(match then {
            Then::Answered(answered) => answers(answered),
            Then::NotAsked => Recorded::default(),
        });
        let brief = repeat::brief(asked, self.settings(then), &recorded);
        let ruling = self.plugin.decide(&brief, &self.limits()).await;
        if let Some(first) = recorded.missing().into_iter().next() {
            return Found::untold(repeat::spell(&first), first.word());
        }
        let now = ruling.decision.map_err(|failure| failure.to_string());
        if let Err(sentence) = &now
            && Failure::was_the_machines(sentence)
        {
            return Found::untold(sentence.clone(), "time");
        }
        let mut found = match then {
            Then::Answered(answered) => compared(&answered.answer.decision, &now),
            Then::NotAsked => Found::differs(not_asked(asked), label(&now)),
        };
        if let Ok(Decision::Act { proposals, .. }) = &now {
            let mut incident = asked.question.incident.clone();
            incident.targets.clone_from(&asked.question.targets);
            found.acts = Some(match self.grants.allow(&incident, proposals).await {
                Verdict::Granted => Ok(None),
                Verdict::Refused(rule, message) => Err((rule, message)),
                Verdict::Untold(why) => Ok(Some(why)),
            });
        }
        found
    }

    fn settings(&self, then: Then<'_>) -> Value {
        match (&self.settings, then) {
            (Settings::Recorded, Then::Answered(answered)) => answered.answer.settings.clone(),
            _ => self.policy.settings.clone(),
        }
    }

    fn limits(&self) -> Limits {
        let limits = &self.policy.limits;
        Limits { deadline: limits.deadline.max(AT_LEAST), memory: limits.memory, lookups: limits.lookups }
    }
}

/// What was looked up then. What was refused then is not known: the new version may declare it, or its policy grant it.
fn answers(answered: &Answered) -> Recorded {
    let told = answered.answer.lookups.iter().filter(|looked| !matches!(looked.answer, Err(LookupError::AccessDenied(_))));
    Recorded::new(told.map(|looked| (looked.lookup.clone(), looked.answer.clone())))
}

/// Why a policy that would match was not asked then.
fn not_asked(asked: &Asked) -> String {
    let took = asked.answers.iter().find(|answered| {
        let answer = &answered.answer;
        answer.mode != Mode::Observe && matches!(&answer.decision, Ok(decision) if !matches!(decision, Decision::Pass { .. }))
    });
    match took {
        Some(answered) => format!("not asked: {} took it", crate::telemetry::clean(&answered.answer.policy, 80)),
        None => "not asked".to_owned(),
    }
}

pub(super) fn compared(then: &Result<Decision, String>, now: &Result<Decision, String>) -> Found {
    if then == now {
        return Found::same(false);
    }
    let (from, to) = (label(then), label(now));
    if from != to {
        return Found::differs(from, to);
    }
    match other(then, now) {
        None => Found::same(true),
        Some(other) => Found::differs(from, format!("{to}, {}", other.words())),
    }
}

/// What two decisions of one label have not in common beside their words.
fn other(then: &Result<Decision, String>, now: &Result<Decision, String>) -> Option<Other> {
    match (then, now) {
        (Ok(Decision::Act { proposals: then, .. }), Ok(Decision::Act { proposals: now, .. })) if then != now => {
            let targets = |list: &[crate::action::Proposal]| list.iter().map(|one| one.target().to_owned()).collect::<Vec<_>>();
            Some(if targets(then) == targets(now) { Other::Details } else { Other::Target })
        }
        (Ok(Decision::Wait { millis: then, .. }), Ok(Decision::Wait { millis: now, .. })) if then != now => Some(Other::Length),
        _ => None,
    }
}

/// A decision in as few words as tell it apart: `act docker.restart`.
pub fn label(decision: &Result<Decision, String>) -> String {
    match decision {
        Ok(Decision::Act { proposals, .. }) => {
            let kinds: Vec<&str> = proposals.iter().map(|proposal| proposal.kind().word()).collect();
            format!("act {}", kinds.join(", "))
        }
        Ok(decision) => decision.word().to_owned(),
        Err(_) => "error".to_owned(),
    }
}

/// Do two policies that were asked the same agree? In what they would do, not in their words.
pub fn agree(one: &Result<Decision, String>, other: &Result<Decision, String>) -> bool {
    matches!(compared(one, other), Found { differs: None, .. })
}
