//! What people have to be told about one incident: computed from its entries and from nothing else.
//!
//! Alertmanager is told what is so now, webhooks what was just written; both read the same [`Story`]. Absent on purpose: whom
//! to tell, and how.

use std::time::Duration;

use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::{Event, Incident, Phase, Rule, Trigger};
use crate::journal::Entry;

/// Healing that begins so long after the alert was first heard delays no page: with Alertmanager's `group_wait` of 30s it went out
/// before, and what ends while it is inhibited is never told as resolved.
const IN_TIME: Duration = Duration::from_secs(60);

/// What people have to be told, as it stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Matter {
    /// It is being healed.
    Healing {
        /// May the page for it be delayed? Not if people were called before, or it began late.
        delays: bool,
    },
    /// A person has to look.
    Escalated {
        /// Why.
        why: String,
    },
    /// A yes or a no is waited for.
    Approval {
        /// What would be done.
        actions: Vec<String>,
        /// Hash of what is shown.
        digest: String,
        /// Until when.
        until: Time,
    },
    /// It is held by a rule that lets go by nothing but a person, or by nobody knows what.
    Holding {
        /// The rule.
        rule: Rule,
        /// Why.
        why: String,
    },
}

impl Matter {
    /// Is it the same matter still, whatever its words?
    fn goes_on(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Holding { rule, .. }, Self::Holding { rule: other, .. }) => rule == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(before),
        }
    }
}

/// Holds that people are told of. The others end by themselves, or are a person's own wish about this very alert.
pub fn is_told(rule: Rule) -> bool {
    matches!(rule, Rule::Storm | Rule::TooOld | Rule::Halted | Rule::Unsure)
}

/// An incident with what has to be told about it.
#[derive(Clone, Debug)]
pub struct Story {
    /// The incident.
    pub incident: Incident,
    /// What has to be told now, and since when.
    pub matter: Option<(Matter, Time)>,
    /// Was a person ever called about it alone: an escalation, or a question?
    pub told: bool,
    /// The words of the last entry that had any.
    said: String,
}

impl Story {
    /// Reads an incident's entries, oldest first.
    pub fn read(id: &IncidentId, entries: &[Entry]) -> Option<Self> {
        let (first, rest) = entries.split_first()?;
        let incident = Incident::from_events(id, [(first.seq, first.at, &first.event)])?;
        let mut story = Self { incident, matter: None, told: false, said: String::new() };
        for entry in rest {
            story.apply(entry);
        }
        Some(story)
    }

    fn apply(&mut self, entry: &Entry) {
        self.incident.apply(entry.seq, entry.at, &entry.event);
        if let Event::Refused { message, .. } | Event::Held { message, .. } | Event::Escalated { message } = &entry.event {
            self.said.clone_from(message);
        }
        let since = |now: &Matter| self.matter.as_ref().filter(|(before, _)| now.goes_on(before)).map(|(_, since)| *since);
        let mut now = self.now();
        let began = now.as_ref().and_then(since);
        if let Some(Matter::Healing { delays }) = &mut now {
            // Not from when Paramedic first heard of it: it may have been down, and people were paged meanwhile.
            let fires_since = self.incident.opened_at.min(self.incident.alert.starts_at);
            *delays = !self.told && began.unwrap_or(entry.at).since(fires_since) <= IN_TIME;
        }
        self.told |= matches!(now, Some(Matter::Escalated { .. } | Matter::Approval { .. }));
        self.matter = now.map(|matter| (matter, began.unwrap_or(entry.at)));
    }

    fn now(&self) -> Option<Matter> {
        match &self.incident.phase {
            // What is decided is begun at once, or held. Between two attempts it is still being healed.
            Phase::Decided(_) | Phase::Approved { .. } | Phase::Acting | Phase::Verifying(_) | Phase::Verified(_) => {
                Some(Matter::Healing { delays: false })
            }
            Phase::Due(Trigger::NotHealed | Trigger::Interrupted) | Phase::Asked(Trigger::NotHealed | Trigger::Interrupted) => {
                Some(Matter::Healing { delays: false })
            }
            // What nothing was tried about may still be held in a storm, which calls once.
            Phase::Escalating(why) if !self.incident.attempts.is_empty() => Some(Matter::Escalated { why: why.clone() }),
            Phase::Escalated => Some(Matter::Escalated { why: self.said.clone() }),
            Phase::Awaiting { actions, digest, until, .. } => {
                let actions = actions.iter().map(ToString::to_string).collect();
                Some(Matter::Approval { actions, digest: digest.clone(), until: *until })
            }
            Phase::Held { rule, .. } if is_told(*rule) => Some(Matter::Holding { rule: *rule, why: self.said.clone() }),
            _ => None,
        }
    }

    /// The policy that owns it.
    pub fn policy(&self) -> Option<&str> {
        self.incident.owner.as_ref().map(|owner| owner.policy.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::action::{Action, DockerVerb, Ending, Outcome, Proposal};
    use crate::alert::{Alert, Family, Labels, Status, Via};
    use crate::incident::{Answer, Closing, Decision, Mode, Verdict};

    pub(in crate::notify) fn opened() -> Event {
        let labels = Labels::from([("alertname".to_owned(), "Down".to_owned()), ("job".to_owned(), "web".to_owned())]);
        let (annotations, generator_url) = (Labels::new(), String::new());
        let alert = Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels,
            annotations,
            starts_at: Time(0),
            ends_at: None,
            generator_url,
            fingerprint: None,
        };
        Event::Opened { alert, via: Via::Post }
    }

    fn proposal() -> Proposal {
        Proposal::Docker { verb: DockerVerb::Restart, target: "local/web".to_owned(), grace_seconds: None, signal: None }
    }

    fn decided(decision: Decision) -> Event {
        Event::Decided(Answer {
            policy: "heal".to_owned(),
            mode: Mode::Enforce,
            plugin: String::new(),
            settings: serde_json::Value::Null,
            decision: Ok(decision),
            log: Vec::new(),
            lookups: Vec::new(),
            policy_file: String::new(),
            limits: None,
            micros: 0,
        })
    }

    fn act() -> Event {
        decided(Decision::Act { reason: String::new(), proposals: vec![proposal()] })
    }

    fn asked(trigger: Trigger) -> Event {
        Event::Asked { trigger, targets: Vec::new(), ambiguous: Vec::new() }
    }

    fn intended(number: u32) -> Event {
        let action = Action::Docker {
            verb: DockerVerb::Restart,
            target: "local/web".parse().unwrap(),
            container: "0".repeat(64).parse().unwrap(),
            started_at: String::new(),
            grace_seconds: None,
            signal: None,
        };
        Event::Intended { attempt: number, intent: number, action }
    }

    fn ended(intent: u32) -> Event {
        let outcome = Outcome { ending: Ending::Succeeded, touched: true, message: String::new(), output: Vec::new() };
        Event::Ended { intent, outcome }
    }

    fn held(rule: Rule) -> Event {
        Event::Held { rule, message: format!("held by {rule}"), until: None }
    }

    fn escalated(message: &str) -> Event {
        Event::Escalated { message: message.to_owned() }
    }

    /// The story of these entries, ten seconds apart, the first at second 10.
    fn story(events: Vec<Event>) -> Story {
        let id: IncidentId = "0123456789abcdef-1".parse().unwrap();
        let entry = |(n, event): (u64, Event)| Entry {
            pos: n,
            incident: id.clone(),
            seq: n,
            at: Time(i64::try_from(n).unwrap() * 10_000),
            version: 1,
            event,
            append_id: uuid::Uuid::nil(),
            hash: String::new(),
        };
        let entries: Vec<Entry> = (1..).zip(events).map(entry).collect();
        Story::read(&id, &entries).unwrap()
    }

    #[test]
    fn healing_goes_on_from_the_first_decision_to_the_end_without_a_gap() {
        let mut events = vec![opened(), asked(Trigger::Alert)];
        assert_eq!(story(events.clone()).matter, None, "nobody has taken it yet");
        let ladder = [
            act(),
            intended(1),
            Event::Begun { intent: 1 },
            ended(1),
            Event::Verified { attempt: 1, verdict: Verdict::NotHealed, message: String::new() },
            asked(Trigger::NotHealed),
            act(),
            intended(2),
        ];
        for event in ladder {
            events.push(event);
            let now = story(events.clone());
            assert_eq!(now.matter, Some((Matter::Healing { delays: true }, Time(30_000))), "{:?}", events.last());
        }
        events.push(Event::Closed { how: Closing::Cleared, message: String::new() });
        let over = story(events);
        assert_eq!((over.matter, over.told), (None, false));
    }

    #[test]
    fn what_is_held_or_called_is_not_being_healed_and_delays_no_page_any_more() {
        for (rule, matter) in [
            (Rule::Cooldown, None),
            (Rule::Silenced, None),
            (Rule::TooOld, Some(Matter::Holding { rule: Rule::TooOld, why: "held by too-old".to_owned() })),
        ] {
            let now = story(vec![opened(), asked(Trigger::Alert), act(), held(rule)]);
            assert_eq!(now.matter.map(|(matter, _)| matter), matter);
        }
        let called = vec![opened(), asked(Trigger::Alert), act(), escalated("spent (for ann)")];
        let now = story(called.clone());
        assert_eq!(now.matter, Some((Matter::Escalated { why: "spent (for ann)".to_owned() }, Time(40_000))));
        assert!(now.told);
        let retried = Event::Retried { by: "ann".to_owned(), message: String::new() };
        let again = [called, vec![retried.clone()]].concat();
        assert_eq!(story(again.clone()).matter, None, "told again: a person has taken it");
        let again = [again, vec![asked(Trigger::Retry), act()]].concat();
        assert_eq!(story(again).matter, Some((Matter::Healing { delays: false }, Time(70_000))));
    }

    #[test]
    fn what_fired_long_before_it_was_heard_delays_nothing() {
        let Event::Opened { mut alert, via } = opened() else { unreachable!() };
        alert.starts_at = alert.starts_at.minus(Duration::from_secs(300));
        let late = Event::Opened { alert, via };
        let now = story(vec![late, asked(Trigger::Alert), act()]);
        assert_eq!(now.matter.map(|(matter, _)| matter), Some(Matter::Healing { delays: false }));
        let now = story(vec![opened(), asked(Trigger::Alert), act()]);
        assert_eq!(now.matter.map(|(matter, _)| matter), Some(Matter::Healing { delays: true }));
    }

    #[test]
    fn healing_that_begins_late_delays_nothing() {
        let wait = Decision::Wait { reason: String::new(), millis: 1 };
        let waits = (0..3).flat_map(|_| [decided(wait.clone()), asked(Trigger::WaitOver)]);
        let late: Vec<Event> = [opened(), asked(Trigger::Alert)].into_iter().chain(waits).chain([act()]).collect();
        assert_eq!(story(late).matter.map(|(matter, _)| matter), Some(Matter::Healing { delays: false }));
    }

    #[test]
    fn a_call_keeps_its_beginning_when_its_words_change() {
        let (wants, called) = (decided(Decision::Escalate { reason: "no".to_owned() }), escalated("no (for ann)"));
        let tried = vec![
            opened(),
            asked(Trigger::Alert),
            act(),
            intended(1),
            Event::Begun { intent: 1 },
            ended(1),
            Event::Verified { attempt: 1, verdict: Verdict::NotHealed, message: String::new() },
            asked(Trigger::NotHealed),
        ];
        let now = story([tried, vec![wants.clone(), called.clone()]].concat());
        assert_eq!(now.matter, Some((Matter::Escalated { why: "no (for ann)".to_owned() }, Time(90_000))));
        // Where nothing was tried, a storm may still hold the call.
        let mut untried = vec![opened(), asked(Trigger::Alert), wants];
        assert_eq!(story(untried.clone()).matter, None);
        untried.push(called);
        assert_eq!(story(untried).matter, Some((Matter::Escalated { why: "no (for ann)".to_owned() }, Time(40_000))));
    }
}
