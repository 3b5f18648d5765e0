//! What was tried before: attempts, their actions, and the questions a ladder asks about them.

use crate::incident::{Incident, Time};
use crate::words::{Kind, Outcome, Trigger, Verification};

/// One earlier `act` of this incident and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    /// When it was authorised or refused.
    pub started_at: Time,
    /// When its last action ended or was refused.
    pub ended_at: Time,
    /// What was done, in its order.
    pub actions: Vec<AttemptedAction>,
    /// What looking again said.
    pub verification: Verification,
    /// What later versions of the contract have to add.
    pub extra: Vec<(String, String)>,
}

/// One action of an earlier attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptedAction {
    /// What kind.
    pub kind: Kind,
    /// The target's name; for a playbook the one it was about.
    pub target: String,
    /// What exactly, for instance the playbook's name; may be empty.
    pub detail: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in words. For [`Outcome::Refused`] it begins with the name of the rule that refused.
    pub message: String,
    /// What later versions of the contract have to add.
    pub extra: Vec<(String, String)>,
}

/// For tests: attempts as they could have been.
impl Attempt {
    /// One action on one target that ended like that, and did not heal.
    pub fn of(kind: Kind, target: &str, outcome: Outcome) -> Self {
        let verification = if outcome.was_begun() { Verification::NotHealed } else { Verification::None };
        let action = AttemptedAction {
            kind,
            target: target.to_owned(),
            detail: String::new(),
            outcome,
            message: String::new(),
            extra: Vec::new(),
        };
        // `Incident::attempt` numbers it.
        Self { number: 0, started_at: Time(0), ended_at: Time(0), actions: vec![action], verification, extra: Vec::new() }
    }

    /// Says what exactly its last action was, for instance the playbook's name.
    pub fn detail(mut self, detail: &str) -> Self {
        if let Some(last) = self.actions.last_mut() {
            last.detail = detail.to_owned();
        }
        self
    }

    /// Says why its last action ended as it did.
    pub fn message(mut self, message: &str) -> Self {
        if let Some(last) = self.actions.last_mut() {
            last.message = message.to_owned();
        }
        self
    }

    /// Appends the actions of another attempt to this one.
    pub fn and(mut self, other: Self) -> Self {
        self.actions.extend(other.actions);
        self
    }

    /// Says what looking again said.
    pub fn verified(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }
}

/// How many characters of an action's message go into [`Incident::what_was_tried`].
const MESSAGE: usize = 160;
/// How many actions are told there, the last ones.
const TOLD: usize = 6;

impl Incident {
    /// In how many attempts an action of this kind was really begun. What was refused or cancelled does not count.
    pub fn tried(&self, kind: &Kind) -> usize {
        let begun = |attempt: &&Attempt| attempt.actions.iter().any(|a| a.kind == *kind && a.outcome.was_begun());
        self.attempts.iter().filter(begun).count()
    }

    /// Every action that was really begun, oldest first.
    pub fn begun(&self) -> impl DoubleEndedIterator<Item = &AttemptedAction> {
        self.attempts.iter().flat_map(|a| &a.actions).filter(|a| a.outcome.was_begun())
    }

    /// Every action on this target that was really begun, oldest first.
    pub fn begun_on(&self, target: &str) -> impl DoubleEndedIterator<Item = &AttemptedAction> {
        self.begun().filter(move |a| a.target == target)
    }

    /// True when a ladder that was climbed to its end may begin at its foot again: a person asks for it, or it began again and was
    /// held back until now. (What is held was decided on the same history, so at the end of a ladder only a retry can have been.)
    pub fn may_begin_again(&self) -> bool {
        matches!(self.trigger, Trigger::Retry | Trigger::HoldOver)
    }

    /// What was begun and how it ended, in words for a reason: `docker.restart of local/web succeeded but did not heal it, then
    /// ansible.playbook repair.yml about local/web failed (exit code 2)`. Says `nothing was tried` when that is so.
    pub fn what_was_tried(&self) -> String {
        let told: Vec<String> = self
            .attempts
            .iter()
            .flat_map(|attempt| attempt.actions.iter().map(move |action| (action, &attempt.verification)))
            .filter(|(action, _)| action.outcome.was_begun())
            .map(|(action, verification)| tell(action, verification))
            .collect();
        match told.len().checked_sub(TOLD) {
            _ if told.is_empty() => "nothing was tried".to_owned(),
            None | Some(0) => told.join(", then "),
            Some(more) => format!("{more} earlier actions, then {}", told[more..].join(", then ")),
        }
    }
}

fn tell(action: &AttemptedAction, verification: &Verification) -> String {
    let AttemptedAction { kind, target, detail, outcome, message, .. } = action;
    let what = if detail.is_empty() { format!("{kind} of {target}") } else { format!("{kind} {detail} about {target}") };
    match (outcome, verification) {
        (Outcome::Succeeded, Verification::Unclear) => format!("{what} succeeded but it could not be told whether that helped"),
        (Outcome::Succeeded, Verification::NotHealed) => format!("{what} succeeded but did not heal it"),
        (Outcome::Succeeded, _) => format!("{what} succeeded"),
        (_, _) if message.is_empty() => format!("{what} {}", say(outcome)),
        (_, _) => format!("{what} {} ({})", say(outcome), message.chars().take(MESSAGE).collect::<String>()),
    }
}

fn say(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::TimedOut => "timed out",
        Outcome::Interrupted => "was interrupted",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "local/web";

    #[test]
    fn counts_what_was_begun_and_nothing_else() {
        let incident = Incident::firing("WebDown")
            .attempt(Attempt::of(Kind::DockerRestart, WEB, Outcome::Refused))
            .attempt(Attempt::of(Kind::DockerRestart, WEB, Outcome::TimedOut))
            .attempt(Attempt::of(Kind::DockerRestart, WEB, Outcome::Failed).and(Attempt::of(
                Kind::AnsiblePlaybook,
                WEB,
                Outcome::Cancelled,
            )));
        assert_eq!(incident.tried(&Kind::DockerRestart), 2);
        assert_eq!(incident.tried(&Kind::AnsiblePlaybook), 0);
        assert_eq!(incident.begun_on(WEB).count(), 2);
        assert_eq!(incident.begun_on("local/db").count(), 0);
    }

    #[test]
    fn tells_what_was_tried() {
        assert_eq!(Incident::firing("WebDown").what_was_tried(), "nothing was tried");
        let incident = Incident::firing("WebDown")
            .attempt(Attempt::of(Kind::DockerRestart, WEB, Outcome::Succeeded))
            .attempt(Attempt::of(Kind::AnsiblePlaybook, WEB, Outcome::Failed).detail("repair.yml").message("exit code 2"));
        assert_eq!(
            incident.what_was_tried(),
            "docker.restart of local/web succeeded but did not heal it, \
             then ansible.playbook repair.yml about local/web failed (exit code 2)"
        );
    }

    #[test]
    fn a_long_story_is_shortened() {
        let mut incident = Incident::firing("WebDown");
        for _ in 0..1000 {
            incident = incident.attempt(Attempt::of(Kind::DockerRestart, WEB, Outcome::Failed).message(&"x".repeat(5000)));
        }
        let told = incident.what_was_tried();
        assert!(told.starts_with("994 earlier actions, then docker.restart of local/web failed (xxx"), "{told}");
        assert!(told.len() < 1500, "{}", told.len());
    }
}
