//! What happened, counted from the journal's entries, and where every open incident stands.
//!
//! It follows the journal as any reader does, in order and without gaps, so whatever is counted here is on disk, nothing is counted
//! twice, and no room has to count. Counters begin at 0 with the process; where incidents stand is read at the start. A kind of
//! entry, a rule or a word that is new appears by itself. Labels are the operator's and the code's words, never an alert's.

use std::collections::HashMap;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::{Answer, Event, Incident, Phase, Progress, Rule, STATES};
use crate::journal::{Entry, Journal, JournalError};
use crate::replay::compare;
use crate::telemetry::{Counters, Labels};

/// Histograms that differ in their labels.
pub(super) type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Entries that are read at a time.
const PAGE: usize = 500;
/// Seconds until an incident is healed, or an action has ended: seconds for a restart, minutes for a playbook, an hour for a person.
const HEAL: [f64; 10] = [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0];
/// Seconds until something is begun about it.
const RESPOND: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_800.0];
/// Seconds of a plugin's answer; its deadline is 100 ms unless the policy says otherwise.
const ANSWER: [f64; 9] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5];

/// What was counted since the process began.
#[derive(Debug)]
pub(super) struct Counts {
    pub entries: Counters,
    pub opened: Counters,
    pub closed: Counters,
    pub decisions: Counters,
    pub compared: Counters,
    pub held: Counters,
    pub refused: Counters,
    pub escalated: Counters,
    pub attempts: Counters,
    pub verdicts: Counters,
    pub actions: Counters,
    pub to_heal: Histogram,
    pub to_begin: Histogram,
    pub acting: Histograms,
    pub answering: Histograms,
}

impl Default for Counts {
    fn default() -> Self {
        let (entries, opened, closed, decisions, compared, held) = Default::default();
        let (refused, escalated, attempts, verdicts, actions) = Default::default();
        Self {
            entries,
            opened,
            closed,
            decisions,
            compared,
            held,
            refused,
            escalated,
            attempts,
            verdicts,
            actions,
            to_heal: Histogram::new(HEAL),
            to_begin: Histogram::new(RESPOND),
            acting: Histograms::new_with_constructor(|| Histogram::new(HEAL)),
            answering: Histograms::new_with_constructor(|| Histogram::new(ANSWER)),
        }
    }
}

/// An incident that is open.
#[derive(Debug)]
struct Story {
    /// As computed from its entries, without what only takes room here.
    incident: Incident,
    /// Whether anything was ever begun about it.
    begun: bool,
    /// What was answered to the first question so far, while further answers to it may come.
    first: Vec<Answer>,
}

/// Where the open incidents stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// How many are in each state; every state is named.
    pub states: Vec<(&'static str, usize)>,
    /// How many each rule holds now; every rule is named that held something since the process began.
    pub held: Vec<(Rule, usize)>,
}

/// Follows the journal.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Position of the last entry that was counted; `None` before the open incidents were read.
    pos: Option<u64>,
    open: HashMap<IncidentId, Story>,
    held: Vec<Rule>,
    pub counts: Counts,
}

impl Tally {
    /// Counts what was written since it was last here. May be dropped at any moment, and goes on there the next time.
    pub async fn catch_up(&mut self, journal: &Journal) -> Result<(), JournalError> {
        loop {
            let Some(pos) = self.pos else {
                self.begin(journal).await?;
                continue;
            };
            let entries = match journal.tail(pos, PAGE).await {
                Ok(entries) => entries,
                // It was away for longer than entries are kept.
                Err(JournalError::Compacted { .. }) => {
                    self.pos = None;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                self.take(journal, entry).await?;
            }
        }
    }

    /// True once it is known where the open incidents stand.
    pub fn is_ready(&self) -> bool {
        self.pos.is_some()
    }

    /// Reads where the open incidents stand. Counts nothing: that was another process' time.
    async fn begin(&mut self, journal: &Journal) -> Result<(), JournalError> {
        let pos = journal.vitals().await?.last;
        let mut open = HashMap::new();
        for id in journal.open_incidents().await? {
            if let Some(incident) = super::incidents::fold(journal, &id, u64::MAX).await?.filter(|read| !read.is_closed()) {
                open.insert(id, Story::of(incident));
            }
        }
        let held = open.values().filter_map(Story::held);
        held.for_each(|rule| note(&mut self.held, rule));
        (self.open, self.pos) = (open, Some(pos));
        Ok(())
    }

    async fn take(&mut self, journal: &Journal, entry: &Entry) -> Result<(), JournalError> {
        // Open when the reading at the start began, and closed before it came to it.
        if !self.open.contains_key(&entry.incident) && entry.seq > 1 {
            let before = super::incidents::fold(journal, &entry.incident, entry.seq - 1).await?;
            self.open.extend(before.map(|incident| (entry.incident.clone(), Story::of(incident))));
        }
        self.count(entry);
        self.pos = Some(entry.pos);
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        let Entry { incident: id, seq, at, event, .. } = entry;
        self.counts.entry(event);
        if let Event::Opened { .. } = event
            && let Some(incident) = Incident::from_events(id, [(*seq, *at, event)])
        {
            self.open.insert(id.clone(), Story::of(incident));
        }
        let Some(story) = self.open.get_mut(id) else { return };
        self.counts.story(story, *at, event);
        story.first_answer(&self.counts, event);
        if let Event::Held { rule, .. } = event {
            note(&mut self.held, *rule);
        }
        story.apply(*seq, *at, event);
        if story.incident.is_closed() {
            self.open.remove(id);
        }
    }

    /// Where the open incidents stand.
    pub fn standing(&self) -> Standing {
        let states = STATES.into_iter().filter(|state| *state != "closed");
        let mut states: Vec<(&'static str, usize)> = states.map(|state| (state, 0)).collect();
        let mut held: Vec<(Rule, usize)> = self.held.iter().map(|rule| (*rule, 0)).collect();
        for story in self.open.values() {
            add(&mut states, story.incident.state());
            if let Some(rule) = story.held() {
                add(&mut held, rule);
            }
        }
        Standing { states, held }
    }
}

fn add<T: PartialEq>(counts: &mut Vec<(T, usize)>, what: T) {
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, count)) => *count += 1,
        None => counts.push((what, 1)),
    }
}

fn note(known: &mut Vec<Rule>, rule: Rule) {
    if !known.contains(&rule) {
        known.push(rule);
    }
}

impl Story {
    fn of(incident: Incident) -> Self {
        let begun = |progress: &Progress| matches!(progress, Progress::Begun(_) | Progress::Ended(_));
        let begun = incident.attempts.iter().flat_map(|attempt| &attempt.intents).any(|intent| begun(&intent.progress));
        let mut story = Self { incident, begun, first: Vec::new() };
        story.slim();
        story
    }

    fn apply(&mut self, seq: u64, at: Time, event: &Event) {
        // What was read at the start may be further than the entries that are counted.
        if seq > self.incident.seq {
            self.incident.apply(seq, at, event);
            self.slim();
        }
        self.begun |= matches!(event, Event::Begun { .. });
    }

    /// Compares the answers of policies that were asked the same; observing ones are asked the first question only.
    fn first_answer(&mut self, counts: &Counts, event: &Event) {
        let Event::Decided(answer) = event else {
            // Whatever a source says may be written between two answers.
            if !matches!(event, Event::Heard { .. }) {
                self.first = Vec::new();
            }
            return;
        };
        // All answers so far are those to one question.
        if usize::try_from(self.incident.answers) != Ok(self.first.len()) {
            return;
        }
        for (observed, live, agree) in compare::pairs(&self.first, answer) {
            let says = if agree { "agree" } else { "disagree" };
            count(&counts.compared, [("observed", observed.to_owned()), ("live", live.to_owned()), ("says", says.to_owned())]);
        }
        self.first.push(Answer { settings: serde_json::Value::Null, log: Vec::new(), lookups: Vec::new(), ..answer.clone() });
    }

    /// Forgets what says nothing about where it stands: ten thousand may be open at once.
    fn slim(&mut self) {
        let incident = &mut self.incident;
        incident.alert.labels.clear();
        incident.alert.annotations.clear();
        incident.alert.generator_url.clear();
        incident.targets.clear();
        if let Some(owner) = &mut incident.owner {
            owner.settings = serde_json::Value::Null;
        }
        let last = incident.attempts.len().saturating_sub(1);
        incident.attempts.drain(..last);
    }

    fn held(&self) -> Option<Rule> {
        if let Phase::Held { rule, .. } = &self.incident.phase { Some(*rule) } else { None }
    }
}

impl Counts {
    /// What an entry says by itself.
    fn entry(&self, event: &Event) {
        count(&self.entries, [("kind", event.kind().to_owned())]);
        match event {
            Event::Opened { via, .. } => count(&self.opened, [("door", via.word().to_owned())]),
            Event::Closed { how, .. } => count(&self.closed, [("how", how.word().to_owned())]),
            Event::Decided(answer) => {
                let word = answer.decision.as_ref().map_or("error", |decision| decision.word());
                let policy = || ("policy", answer.policy.clone());
                count(&self.decisions, [policy(), ("decision", word.to_owned())]);
                self.answering.get_or_create(&vec![policy()]).observe(answer.micros as f64 / 1e6);
            }
            _ => {}
        }
    }

    /// What it says about the incident, which stands as it did before.
    fn story(&self, story: &Story, at: Time, event: &Event) {
        let incident = &story.incident;
        let policy = || ("policy", incident.owner.as_ref().map_or("-", |owner| owner.policy.as_str()).to_owned());
        match event {
            Event::Held { rule, .. } => count(&self.held, [policy(), ("rule", rule.word())]),
            Event::Refused { rule, .. } => count(&self.refused, [policy(), ("rule", rule.word())]),
            Event::Escalated { .. } => count(&self.escalated, [policy()]),
            Event::Intended { attempt, .. } if incident.attempts.last().is_none_or(|last| last.number != *attempt) => {
                count(&self.attempts, [policy()]);
            }
            Event::Verified { verdict, .. } => count(&self.verdicts, [policy(), ("verdict", verdict.word().to_owned())]),
            Event::Begun { .. } if !story.begun => self.to_begin.observe(at.since(incident.opened_at).as_secs_f64()),
            Event::Ended { intent, outcome } => self.ended(incident, *intent, at, outcome.ending.word()),
            Event::Cancelled { intent, .. } => self.ended(incident, *intent, at, "cancelled"),
            Event::Closed { how: crate::incident::Closing::Healed, .. } => {
                self.to_heal.observe(at.since(incident.opened_at).as_secs_f64());
            }
            _ => {}
        }
    }

    fn ended(&self, incident: &Incident, intent: u32, at: Time, outcome: &str) {
        let Some(intent) = incident.intent(intent) else { return };
        let kind = || ("kind", intent.action.kind().word().to_owned());
        count(&self.actions, [kind(), ("outcome", outcome.to_owned())]);
        if let Progress::Begun(begun) = intent.progress {
            self.acting.get_or_create(&vec![kind()]).observe(at.since(begun).as_secs_f64());
        }
    }
}

fn count<const N: usize>(counters: &Counters, labels: [(&'static str, String); N]) {
    counters.get_or_create(&labels.to_vec()).inc();
}
