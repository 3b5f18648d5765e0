//! What a course came to: per policy, per alert, per brake, and what would have gone to people.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::found::Times;
use super::ledger::Story;
use super::series::Episode;
use crate::decide::Decider;
use crate::incident::{Closing, Decision, Event, Incident, Rule, Verdict};
use crate::telemetry::clean;

/// Who nobody's incidents belong to.
pub const NOBODY: &str = "-";

/// What would have been done about some alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Incidents.
    pub incidents: u64,
    /// Of those, about how many at least one action would have been done.
    pub acted: u64,
    /// Attempts.
    pub attempts: u64,
    /// Actions, by kind.
    pub actions: BTreeMap<&'static str, u64>,
    /// Closed as healed, under the assumption.
    pub healed: u64,
    /// Incidents that a person would have been called for.
    pub to_people: u64,
    /// Incidents that a brake or another rule would have held for a while.
    pub held: u64,
    /// Incidents about which something was refused.
    pub refused: u64,
    /// Ended by themselves without an action.
    pub left: u64,
}

/// How often a rule said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The rule's word.
    pub rule: String,
    /// `held` for a while, or `refused` for good.
    pub how: &'static str,
    /// The policy.
    pub policy: String,
    /// About how many incidents.
    pub incidents: u64,
    /// How often, with alerts' names for instance.
    #[serde(flatten)]
    pub times: Times,
    /// In words, once.
    pub message: String,
}

/// What would have gone to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The policy, or `-`.
    pub policy: String,
    /// The name of the alert.
    pub alert: String,
    /// How often.
    pub calls: u64,
    /// The first reason.
    pub reason: String,
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Alerts that fired.
    pub alerts: u64,
    /// Of those, how many had been firing before the time began.
    pub cut: u64,
    /// Of those, how many began while their earlier incident was still worked on, and so were part of it.
    pub joined: u64,
    /// Incidents that were left in the middle, since their policy asks to be asked again without end.
    pub endless: u64,
    /// By policy; every policy is named.
    pub policies: BTreeMap<String, Done>,
    /// By policy and alert.
    pub by_alert: BTreeMap<String, BTreeMap<String, Done>>,
    /// What said no.
    pub rules: Vec<Said>,
    /// What would have gone to people.
    pub people: Vec<Call>,
    /// Answers that were errors, by policy and with the first of them.
    pub errors: BTreeMap<String, (u64, String)>,
    /// What observing policies said about the first question, by policy and decision.
    pub observed: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

type Rules = BTreeMap<(Rule, &'static str, String), (Times, BTreeSet<u64>, String)>;

impl Outcome {
    pub(super) fn of(stories: &[Story], episodes: &[Episode], decider: &Decider) -> Self {
        let mut all = Self {
            alerts: episodes.len() as u64,
            cut: episodes.iter().filter(|episode| episode.cut).count() as u64,
            joined: episodes.len().saturating_sub(stories.len()) as u64,
            ..Self::default()
        };
        for loaded in decider.policies() {
            all.policies.insert(clean(&loaded.policy.name, 120), Done::default());
        }
        let (mut rules, mut people) = (Rules::new(), BTreeMap::<(String, String), Call>::new());
        for story in stories {
            all.story(story, &mut rules, &mut people);
        }
        let said = |((rule, how, policy), (times, of, message)): (_, (Times, BTreeSet<u64>, String))| {
            let rule: Rule = rule;
            Said { rule: rule.word(), how, policy, incidents: of.len() as u64, times, message }
        };
        all.rules = rules.into_iter().map(said).collect();
        all.rules.sort_by_key(|said| std::cmp::Reverse(said.times.count));
        all.people = people.into_values().collect();
        all.people.sort_by_key(|call| std::cmp::Reverse(call.calls));
        all
    }

    fn story(&mut self, story: &Story, rules: &mut Rules, people: &mut BTreeMap<(String, String), Call>) {
        let incident = &story.incident;
        let policy = incident.owner.as_ref().map_or(NOBODY.to_owned(), |owner| clean(&owner.policy, 120));
        let alert = clean(incident.alert.name(), 80);
        let pos = story.entries.first().map_or(0, |entry| entry.pos);
        let (mut calls, mut held, mut refused) = (0, false, false);
        for entry in &story.entries {
            let (rule, how, message) = match &entry.event {
                Event::Held { rule, message, .. } => (*rule, "held", message),
                Event::Refused { rule, message, .. } => (*rule, "refused", message),
                Event::Escalated { message } => {
                    calls += 1;
                    let new = || Call { policy: policy.clone(), alert: alert.clone(), calls: 0, reason: clean(message, 400) };
                    people.entry((policy.clone(), alert.clone())).or_insert_with(new).calls += 1;
                    continue;
                }
                Event::Decided(answer) => {
                    self.answer(answer);
                    continue;
                }
                _ => continue,
            };
            held |= how == "held";
            refused |= how == "refused";
            let (times, of, _) = rules
                .entry((rule, how, policy.clone()))
                .or_insert_with(|| (Times::default(), BTreeSet::new(), clean(message, 400)));
            times.add(entry.pos, &alert);
            of.insert(pos);
        }
        let add = |done: &mut Done| {
            done.incidents += 1;
            done.to_people += u64::from(calls > 0);
            done.held += u64::from(held);
            done.refused += u64::from(refused);
            add(done, incident);
        };
        add(self.policies.entry(policy.clone()).or_default());
        add(self.by_alert.entry(policy).or_default().entry(alert).or_default());
    }

    fn answer(&mut self, answer: &crate::incident::Answer) {
        let policy = clean(&answer.policy, 120);
        if let Err(sentence) = &answer.decision {
            self.errors.entry(policy.clone()).or_insert_with(|| (0, clean(sentence, 400))).0 += 1;
        }
        if !answer.mode.takes() {
            let word = answer.decision.as_ref().map_or("error", Decision::word);
            *self.observed.entry(policy).or_default().entry(word).or_default() += 1;
        }
    }
}

fn add(done: &mut Done, incident: &Incident) {
    let attempts = incident.attempts.iter().filter(|attempt| !attempt.intents.is_empty());
    done.attempts += attempts.clone().count() as u64;
    for intent in attempts.flat_map(|attempt| &attempt.intents) {
        *done.actions.entry(intent.action.kind().word()).or_default() += 1;
    }
    let acted = incident.attempts.iter().any(|attempt| !attempt.intents.is_empty());
    done.acted += u64::from(acted);
    done.healed += u64::from(incident.attempts.iter().any(|attempt| attempt.verdict == Some(Verdict::Healed)));
    done.left += u64::from(!acted && incident.closing() == Some(Closing::Cleared));
}
