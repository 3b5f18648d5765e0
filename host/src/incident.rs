//! One alert's story: what can be written about it, what follows from what was written, and the only legal next steps.
//!
//! An [`Incident`] is computed from its [`Event`]s and from nothing else, so what a restarted server knows is what it knew.
//! [`Incident::next`] is the one place that says what may happen next; the healer does it and writes down what came of it.
//! Absent on purpose: clocks, waiting, any doing.

pub mod timeline;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Ending, InventoryHost, Outcome, Proposal, Target};
use crate::alert::{Alert, IncidentId, Status, Via};
use crate::clock::Time;

/// Why a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The alert fires.
    Alert,
    /// An attempt ended and it is not better, or that cannot be told.
    NotHealed,
    /// What the policy wanted to wait for is over.
    WaitOver,
    /// What was decided was held back and is not any more.
    HoldOver,
    /// Paramedic was restarted in the middle of an attempt, and the alert still fires.
    Interrupted,
    /// A person asks.
    Retry,
}

impl Trigger {
    /// The word used in the contract and the journal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::NotHealed => "not-healed",
            Self::WaitOver => "wait-over",
            Self::HoldOver => "hold-over",
            Self::Interrupted => "interrupted",
            Self::Retry => "retry",
        }
    }
}

/// A target as a plugin is told about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// Which.
    pub target: Target,
    /// Where playbooks about it run.
    #[serde(default)]
    pub inventory_host: Option<InventoryHost>,
    /// The engine's word for its state, or `missing`, or `unknown`.
    pub state: String,
}

/// What a plugin answered, in plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Not its business.
    Pass {
        /// Why.
        reason: String,
    },
    /// Its business, nothing to do.
    Ignore {
        /// Why.
        reason: String,
    },
    /// Do these in their order.
    Act {
        /// Why.
        reason: String,
        /// What; never empty.
        proposals: Vec<Proposal>,
    },
    /// Ask again later.
    Wait {
        /// Why.
        reason: String,
        /// How long, in milliseconds.
        millis: u64,
    },
    /// A person has to look.
    Escalate {
        /// Why.
        reason: String,
    },
}

impl Decision {
    /// The reason, in the plugin's words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Pass { reason }
            | Self::Ignore { reason }
            | Self::Act { reason, .. }
            | Self::Wait { reason, .. }
            | Self::Escalate { reason } => reason,
        }
    }

    /// The word: `pass`, `ignore`, `act`, `wait`, `escalate`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Ignore { .. } => "ignore",
            Self::Act { .. } => "act",
            Self::Wait { .. } => "wait",
            Self::Escalate { .. } => "escalate",
        }
    }
}

/// Mode of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Decide and journal, never act.
    #[default]
    Observe,
    /// Act within the grants.
    Enforce,
}

/// A line that a plugin logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// What it said, cleaned and bounded.
    pub message: String,
}

/// One policy's answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The policy's name.
    pub policy: String,
    /// Its mode when it answered.
    pub mode: Mode,
    /// SHA-256 of the plugin's file, in hex.
    pub plugin: String,
    /// The settings it was asked with.
    pub settings: serde_json::Value,
    /// What it decided, or why it could not.
    pub decision: Result<Decision, String>,
    /// What it logged.
    #[serde(default)]
    pub log: Vec<LogLine>,
    /// How long it took, fresh sandbox included.
    pub micros: u64,
}

/// Which policy an incident belongs to, frozen when it took the incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The policy's name.
    pub policy: String,
    /// SHA-256 of its plugin then.
    pub plugin: String,
    /// Its settings then.
    pub settings: serde_json::Value,
}

/// A rule that says no for good, or not now. The word is stable: docs, metrics and plugins use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    // Refusals: the policy would have to be changed, or a person has to look.
    /// The plugin does not declare this kind of action.
    NotDeclared,
    /// No grant covers it.
    NotGranted,
    /// A name that cannot be one.
    InvalidTarget,
    /// The engine or host of that name is not configured.
    UnknownHost,
    /// There is no such container.
    MissingTarget,
    /// The name fits several things.
    AmbiguousTarget,
    /// Paramedic itself, or an orchestrator's own container.
    ProtectedTarget,
    /// It is not the container it was a moment ago.
    ChangedTarget,
    /// No playbook of that name inside the folder.
    InvalidPlaybook,
    /// The inventory does not know that host.
    UnknownInventoryHost,
    /// A variable that is not granted, or whose value is no JSON.
    InvalidVariable,
    /// The attempts of this target are spent.
    AttemptsSpent,
    /// The policy that owns the incident is gone or no longer enforced.
    PolicyGone,
    // Holds: asked again later.
    /// A silence in Alertmanager covers the alert.
    Silenced,
    /// Another alert inhibits this one in Alertmanager.
    Inhibited,
    /// A person stopped the container.
    DeliberateStop,
    /// It had been firing for long when it was first seen.
    TooOld,
    /// The container was started after the alert began: somebody's repair.
    RecentlyStarted,
    /// Too soon after the last action of this kind on this target.
    Cooldown,
    /// Something else is at work on this target.
    TargetBusy,
    /// This policy, or Paramedic altogether, is doing as much at once as it may.
    TooManyAtOnce,
    /// As many actions as are allowed in an hour were done.
    HourlyLimit,
    /// Everything is halted.
    Halted,
    /// It could not be found out whether acting is allowed.
    Unsure,
}

impl Rule {
    /// The stable word, in kebab case.
    pub fn word(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word())
    }
}

/// What looking again after an attempt said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Positively observed to be well.
    Healed,
    /// Positively observed not to be.
    NotHealed,
    /// It cannot be told.
    Unclear,
}

impl Verdict {
    /// The word used in the contract and the journal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healed => "healed",
            Self::NotHealed => "not-healed",
            Self::Unclear => "unclear",
        }
    }
}

/// How an incident was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closing {
    /// Positively observed to be well after an action.
    Healed,
    /// No reachable source says any longer that it fires. No claim that anything of ours helped.
    Cleared,
    /// A person closed it.
    Person,
}

/// What can be written about an incident. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// It begins.
    Opened {
        /// What was heard.
        alert: Alert,
        /// Through which door.
        via: Via,
    },
    /// A source said something new about it: resolved, firing again, other words.
    Heard {
        /// What was heard.
        alert: Alert,
        /// Through which door.
        via: Via,
    },
    /// A question is asked; with the entries before it this is all that a plugin is told.
    Asked {
        /// Why.
        trigger: Trigger,
        /// The targets as they were then.
        targets: Vec<TargetView>,
        /// What the alert could mean and cannot be told, one sentence each: it counts as no target.
        #[serde(default)]
        ambiguous: Vec<String>,
    },
    /// A policy answered.
    Decided(Answer),
    /// No policy took it.
    Unclaimed {
        /// Why not, in one sentence.
        message: String,
    },
    /// What was decided is not allowed; nothing was done.
    Refused {
        /// Which attempt it would have been.
        attempt: u32,
        /// What was wanted.
        proposal: Proposal,
        /// The rule that refused.
        rule: Rule,
        /// One sentence, with what would change it.
        message: String,
    },
    /// What was decided must not be done now.
    Held {
        /// The rule that holds.
        rule: Rule,
        /// One sentence, with what would change it.
        message: String,
        /// When it is worth asking again; `None`: as soon as looking says so.
        #[serde(default)]
        until: Option<Time>,
    },
    /// It will be done: written in one append with what it spends.
    Intended {
        /// Which attempt of this incident, from 1.
        attempt: u32,
        /// Which intent of this incident, from 1.
        intent: u32,
        /// What.
        action: Action,
    },
    /// It is being done, from now on nobody knows whether it took place until the next entry says so.
    Begun {
        /// Which intent.
        intent: u32,
    },
    /// It was done, or not.
    Ended {
        /// Which intent.
        intent: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// It was never begun and will not be.
    Cancelled {
        /// Which intent.
        intent: u32,
        /// Why.
        message: String,
    },
    /// Somebody looked whether the attempt helped.
    Verified {
        /// Which attempt.
        attempt: u32,
        /// What was seen.
        verdict: Verdict,
        /// One sentence: with which detector, what it said.
        message: String,
    },
    /// A person has to look; nothing is asked until one retries or the alert clears.
    Escalated {
        /// Why.
        message: String,
    },
    /// A person wants it tried again.
    Retried {
        /// Who.
        by: String,
        /// Why.
        message: String,
    },
    /// It is over.
    Closed {
        /// How.
        how: Closing,
        /// One sentence.
        message: String,
    },
}

impl Event {
    /// The word of its kind, as in its JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Heard { .. } => "heard",
            Self::Asked { .. } => "asked",
            Self::Decided(_) => "decided",
            Self::Unclaimed { .. } => "unclaimed",
            Self::Refused { .. } => "refused",
            Self::Held { .. } => "held",
            Self::Intended { .. } => "intended",
            Self::Begun { .. } => "begun",
            Self::Ended { .. } => "ended",
            Self::Cancelled { .. } => "cancelled",
            Self::Verified { .. } => "verified",
            Self::Escalated { .. } => "escalated",
            Self::Retried { .. } => "retried",
            Self::Closed { .. } => "closed",
        }
    }
}

/// How far one intent has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Written, not begun.
    Intended,
    /// Begun, no result.
    Begun(Time),
    /// There is a result.
    Ended(Outcome),
    /// Never done.
    Cancelled(String),
}

/// One intent of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Its number in the incident.
    pub number: u32,
    /// What.
    pub action: Action,
    /// How far it has come.
    pub progress: Progress,
}

/// One `act` and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it was authorised or refused.
    pub started_at: Time,
    /// When its last action ended or was refused.
    pub ended_at: Time,
    /// What was allowed.
    pub intents: Vec<Intent>,
    /// What was refused.
    pub refused: Vec<(Proposal, Rule, String)>,
    /// What looking again said.
    pub verdict: Option<Verdict>,
}

impl Attempt {
    /// True when every action of it succeeded.
    fn succeeded(&self) -> bool {
        self.intents.iter().all(|i| matches!(&i.progress, Progress::Ended(o) if o.ending == Ending::Succeeded))
    }

    /// True when Paramedic was stopped in the middle of it.
    fn was_interrupted(&self) -> bool {
        self.intents.iter().any(|i| matches!(&i.progress, Progress::Ended(o) if o.ending == Ending::Interrupted))
    }

    /// True when it failed in a way that leaves nothing to look at: nothing of it may have taken effect.
    fn failed_cleanly(&self) -> bool {
        !self.intents.iter().any(|i| matches!(&i.progress, Progress::Ended(o) if o.ending != Ending::Failed || o.touched))
    }
}

/// Where an incident stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// A question is due.
    Due(Trigger),
    /// A question was asked, not yet answered by one who takes it.
    Asked(Trigger),
    /// This was decided and has to be authorised.
    Decided(Vec<Proposal>),
    /// An attempt is being made.
    Acting,
    /// Looking whether the attempt that ended then helped.
    Verifying(Time),
    /// Looked; what follows depends on the verdict and on whether it still fires.
    Verified(Verdict),
    /// Held back by a rule.
    Held {
        /// What is wanted.
        proposals: Vec<Proposal>,
        /// The rule.
        rule: Rule,
        /// When it is worth asking again.
        until: Option<Time>,
    },
    /// The policy wants to wait until then.
    Waiting(Time),
    /// Nobody wants to do anything until it clears.
    Watching,
    /// Something was refused, or the policy gave up: tell a person.
    Escalating(String),
    /// Told.
    Escalated,
    /// Over.
    Closed(Closing),
}

/// What the healer has to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write a question and ask it.
    Ask(Trigger),
    /// Authorise this.
    Authorise(Vec<Proposal>),
    /// Carry out this intent, if its permit is at hand; cancel it if it is not (it never began).
    Carry(u32),
    /// Nobody knows how this one ended: find out, do not repeat.
    FindOut(u32),
    /// Cancel this intent: an earlier one of the attempt did not succeed.
    Cancel(u32),
    /// Look whether the attempt helped.
    Verify {
        /// Which attempt.
        attempt: u32,
        /// When its last action ended.
        since: Time,
    },
    /// Close it.
    Close(Closing),
    /// Close it as cleared if no reachable source fires; otherwise ask.
    ClearOr(Trigger),
    /// Escalate with this text.
    Escalate(String),
    /// Nothing to do before this moment, or until something is heard. What is held is looked at again meanwhile.
    Rest {
        /// When something is due.
        until: Option<Time>,
        /// What is due then.
        then: Option<Trigger>,
    },
    /// Nothing, ever.
    Done,
}

/// One alert's story so far.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Who.
    pub id: IncidentId,
    /// Number of the last entry.
    pub seq: u64,
    /// The alert as last heard.
    pub alert: Alert,
    /// Through which door it was first heard.
    pub via: Via,
    /// When it was first heard.
    pub opened_at: Time,
    /// When the last entry was written.
    pub updated_at: Time,
    /// What each door last said.
    pub heard: BTreeMap<Via, (Status, Time)>,
    /// The targets of the last question.
    pub targets: Vec<TargetView>,
    /// The policy that took it.
    pub owner: Option<Owner>,
    /// How many answers were written.
    pub answers: u32,
    /// All attempts.
    pub attempts: Vec<Attempt>,
    /// Where it stands.
    pub phase: Phase,
    /// True once a person asked to try although it is old.
    pub taken_by_person: bool,
}

impl Incident {
    /// Computes an incident from its entries, oldest first, each with its number in the incident and its time.
    /// `None` when the first is not `opened`.
    pub fn from_events<'a>(id: &IncidentId, events: impl IntoIterator<Item = (u64, Time, &'a Event)>) -> Option<Self> {
        let mut events = events.into_iter();
        let (seq, at, first) = events.next()?;
        let Event::Opened { alert, via } = first else { return None };
        let mut incident = Self::open(id.clone(), seq, at, alert.clone(), *via);
        for (seq, at, event) in events {
            incident.apply(seq, at, event);
        }
        Some(incident)
    }

    fn open(id: IncidentId, seq: u64, at: Time, alert: Alert, via: Via) -> Self {
        Self {
            id,
            seq,
            heard: BTreeMap::from([(via, (alert.status, at))]),
            alert,
            via,
            opened_at: at,
            updated_at: at,
            targets: Vec::new(),
            owner: None,
            answers: 0,
            attempts: Vec::new(),
            phase: Phase::Due(Trigger::Alert),
            taken_by_person: false,
        }
    }

    /// Takes in one more entry.
    pub fn apply(&mut self, seq: u64, at: Time, event: &Event) {
        self.seq = seq;
        self.updated_at = at;
        match event {
            Event::Opened { alert, via } | Event::Heard { alert, via } => {
                self.heard.insert(*via, (alert.status, at));
                self.alert = alert.clone();
            }
            Event::Asked { trigger, targets, .. } => {
                self.targets = targets.clone();
                self.phase = Phase::Asked(*trigger);
            }
            Event::Decided(answer) => self.decided(at, answer),
            Event::Unclaimed { .. } => self.phase = Phase::Watching,
            Event::Refused { attempt, proposal, rule, message } => {
                self.attempt(*attempt, at).refused.push((proposal.clone(), *rule, message.clone()));
                self.phase = Phase::Escalating(message.clone());
            }
            Event::Held { rule, until, .. } => {
                if let Phase::Decided(proposals) | Phase::Held { proposals, .. } = &self.phase {
                    self.phase = Phase::Held { proposals: proposals.clone(), rule: *rule, until: *until };
                }
            }
            Event::Intended { attempt, intent, action } => {
                let intent = Intent { number: *intent, action: action.clone(), progress: Progress::Intended };
                self.attempt(*attempt, at).intents.push(intent);
                self.phase = Phase::Acting;
            }
            Event::Begun { intent } => self.progress(*intent, at, Progress::Begun(at)),
            Event::Ended { intent, outcome } => self.progress(*intent, at, Progress::Ended(outcome.clone())),
            Event::Cancelled { intent, message } => self.progress(*intent, at, Progress::Cancelled(message.clone())),
            Event::Verified { verdict, .. } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.verdict = Some(*verdict);
                }
                self.phase = Phase::Verified(*verdict);
            }
            Event::Escalated { .. } => self.phase = Phase::Escalated,
            Event::Retried { .. } => {
                self.taken_by_person = true;
                self.phase = Phase::Due(Trigger::Retry);
            }
            Event::Closed { how, .. } => self.phase = Phase::Closed(*how),
        }
    }

    fn decided(&mut self, at: Time, answer: &Answer) {
        self.answers += 1;
        // Observing policies are listened to, never followed; one that could not answer, or passed, leaves the question open.
        let Ok(decision) = &answer.decision else { return };
        if answer.mode == Mode::Observe || matches!(decision, Decision::Pass { .. }) {
            return;
        }
        self.owner.get_or_insert_with(|| Owner {
            policy: answer.policy.clone(),
            plugin: answer.plugin.clone(),
            settings: answer.settings.clone(),
        });
        self.phase = match decision {
            Decision::Pass { .. } | Decision::Ignore { .. } => Phase::Watching,
            Decision::Act { proposals, .. } => Phase::Decided(proposals.clone()),
            Decision::Wait { millis, .. } => Phase::Waiting(at.plus(Duration::from_millis(*millis))),
            Decision::Escalate { reason } => Phase::Escalating(reason.clone()),
        };
    }

    fn attempt(&mut self, number: u32, at: Time) -> &mut Attempt {
        if self.attempts.last().is_none_or(|a| a.number != number) {
            let attempt =
                Attempt { number, started_at: at, ended_at: at, intents: Vec::new(), refused: Vec::new(), verdict: None };
            self.attempts.push(attempt);
        }
        let last = self.attempts.len() - 1;
        &mut self.attempts[last]
    }

    fn progress(&mut self, number: u32, at: Time, progress: Progress) {
        let Some(attempt) = self.attempts.last_mut() else { return };
        if let Some(intent) = attempt.intents.iter_mut().find(|i| i.number == number) {
            intent.progress = progress;
        }
        let over = |i: &Intent| matches!(i.progress, Progress::Ended(_) | Progress::Cancelled(_));
        if attempt.intents.iter().all(over) {
            attempt.ended_at = at;
            self.phase = if attempt.failed_cleanly() { Phase::Verified(Verdict::NotHealed) } else { Phase::Verifying(at) };
        }
    }

    /// The only legal next step.
    pub fn next(&self) -> Step {
        match &self.phase {
            Phase::Due(trigger) | Phase::Asked(trigger) => Step::Ask(*trigger),
            Phase::Decided(proposals) => Step::Authorise(proposals.clone()),
            Phase::Acting => self.next_of_attempt(),
            Phase::Verifying(since) => Step::Verify { attempt: self.next_attempt() - 1, since: *since },
            Phase::Verified(Verdict::Healed) => Step::Close(Closing::Healed),
            Phase::Verified(_) => Step::ClearOr(self.trigger_after_attempt()),
            Phase::Held { until, .. } => Step::Rest { until: *until, then: Some(Trigger::HoldOver) },
            Phase::Waiting(until) => Step::Rest { until: Some(*until), then: Some(Trigger::WaitOver) },
            Phase::Watching | Phase::Escalated => Step::Rest { until: None, then: None },
            Phase::Escalating(message) => Step::Escalate(message.clone()),
            Phase::Closed(_) => Step::Done,
        }
    }

    fn next_of_attempt(&self) -> Step {
        let Some(attempt) = self.attempts.last() else { return Step::Ask(Trigger::Alert) };
        let mut failed = false;
        for intent in &attempt.intents {
            match &intent.progress {
                Progress::Begun(_) => return Step::FindOut(intent.number),
                Progress::Intended if failed => return Step::Cancel(intent.number),
                Progress::Intended => return Step::Carry(intent.number),
                Progress::Ended(outcome) => failed |= outcome.ending != Ending::Succeeded,
                Progress::Cancelled(_) => failed = true,
            }
        }
        Step::Verify { attempt: attempt.number, since: attempt.ended_at }
    }

    fn trigger_after_attempt(&self) -> Trigger {
        match self.attempts.last() {
            Some(attempt) if attempt.was_interrupted() && !attempt.succeeded() => Trigger::Interrupted,
            _ => Trigger::NotHealed,
        }
    }

    /// The number the next attempt gets.
    pub fn next_attempt(&self) -> u32 {
        self.attempts.last().map_or(1, |a| a.number + 1)
    }

    /// The number the next intent gets.
    pub fn next_intent(&self) -> u32 {
        self.attempts.iter().flat_map(|a| &a.intents).map(|i| i.number).max().unwrap_or(0) + 1
    }

    /// The intent of that number.
    pub fn intent(&self, number: u32) -> Option<&Intent> {
        self.attempts.iter().flat_map(|a| &a.intents).find(|i| i.number == number)
    }

    /// True once it is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// How it ended, if it did.
    pub fn closing(&self) -> Option<Closing> {
        if let Phase::Closed(how) = self.phase { Some(how) } else { None }
    }

    /// Where it stands, in one word for people and programs: `fired`, `deciding`, `held`, `acting`, `verifying`, `waiting`,
    /// `watching`, `escalated`, `closed`.
    pub fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Due(_) => "fired",
            Phase::Asked(_) | Phase::Decided(_) | Phase::Verified(_) => "deciding",
            Phase::Acting => "acting",
            Phase::Verifying(_) => "verifying",
            Phase::Held { .. } => "held",
            Phase::Waiting(_) => "waiting",
            Phase::Watching => "watching",
            Phase::Escalating(_) | Phase::Escalated => "escalated",
            Phase::Closed(_) => "closed",
        }
    }
}
