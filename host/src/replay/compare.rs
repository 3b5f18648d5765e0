//! Two policies that were asked the same: one that only observes, and the one that is followed. Where do they not agree?
//!
//! The journal has both answers to the first question about every incident that both match. Absent on purpose: later questions. They follow
//! from what the followed one did, and the observing one is not asked then.

use std::collections::BTreeMap;

use super::asked::Asked;
use super::found::{Found, Tally, Times};
use super::trial::agree;
use crate::incident::{Answer, Mode};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Questions that both answered, and what is not the same: from the followed one's to the observing one's.
    pub both: Tally,
    /// First questions that only one of them answered, by its name.
    pub alone: BTreeMap<String, Times>,
}

impl Compared {
    /// Takes in one question.
    pub fn add(&mut self, asked: &Asked, observed: &str, live: &str) {
        if !asked.is_first() {
            return;
        }
        match (asked.by(observed), asked.by(live)) {
            (Some(observed), Some(live)) => {
                self.both.add(asked, Found::between(&live.answer.decision, &observed.answer.decision));
            }
            (Some(_), None) => self.alone(asked, observed),
            (None, Some(_)) => self.alone(asked, live),
            (None, None) => {}
        }
    }

    fn alone(&mut self, asked: &Asked, who: &str) {
        let id = asked.question.incident.id.to_string();
        self.alone.entry(who.to_owned()).or_default().add(asked.pos, &id);
    }
}

/// Of the answers to one question that came before, those with which this one can be compared: one of a pair observes, the other is
/// followed. Gives who observes, who is followed, and whether they agree.
pub fn pairs<'a>(before: &'a [Answer], answer: &'a Answer) -> impl Iterator<Item = (&'a str, &'a str, bool)> {
    before.iter().filter(move |other| (other.mode == Mode::Observe) != (answer.mode == Mode::Observe)).map(move |other| {
        let same = agree(&other.decision, &answer.decision);
        let (observed, live) = if answer.mode == Mode::Observe { (answer, other) } else { (other, answer) };
        (observed.policy.as_str(), live.policy.as_str(), same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::Decision;

    fn answer(policy: &str, mode: Mode, decision: Decision) -> Answer {
        Answer {
            policy: policy.to_owned(),
            mode,
            plugin: String::new(),
            settings: serde_json::Value::Null,
            decision: Ok(decision),
            log: Vec::new(),
            lookups: Vec::new(),
            policy_file: String::new(),
            limits: None,
            micros: 1,
        }
    }

    #[test]
    fn one_observes_and_one_is_followed_and_words_do_not_count() {
        let pass = |reason: &str| Decision::Pass { reason: reason.to_owned() };
        let escalate = || Decision::Escalate { reason: String::new() };
        let before = [
            answer("next", Mode::Observe, pass("one")),
            answer("other-next", Mode::Observe, escalate()),
            answer("first", Mode::Enforce, pass("x")),
        ];
        let live = answer("live", Mode::Approve, pass("two"));
        let found: Vec<_> = pairs(&before, &live).collect();
        assert_eq!(found, [("next", "live", true), ("other-next", "live", false)]);
        let late = answer("late-next", Mode::Observe, escalate());
        assert_eq!(pairs(&before, &late).collect::<Vec<_>>(), [("late-next", "first", false)]);
    }
}
