//! One alert's story: what can be written about it, what follows from what was written, and the only legal next steps.
//!
//! An [`Incident`] is computed from its [`Event`]s and from nothing else, so what a restarted server knows is what it knew.
//! `life` is the one place that says what may happen next ([`Incident::next`]) and what may be written next
//! ([`Incident::allows`]); the healer does it and writes down what came of it. Absent on purpose: clocks, waiting, any doing.

mod event;
pub mod filter;
mod life;
pub mod lookup;
pub mod timeline;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::{Action, Ending, Outcome, Proposal};
use crate::alert::{Alert, IncidentId, Status, Via};
use crate::clock::Time;
pub use event::{
    Allowance, Answer, Closing, Decision, Diagnostics, Event, LogLine, Mode, Owner, Rule, TargetView, Trigger, Verdict,
};
pub use life::{Due, Step};

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
    /// Who wanted it stopped, and why.
    pub stopped: Option<String>,
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

    /// True when it leaves nothing to look at: nothing of it may have taken effect on the target. It failed cleanly, or only told people.
    fn touched_nothing(&self) -> bool {
        let took = |i: &Intent| matches!(&i.progress, Progress::Ended(o) if o.ending != Ending::Failed || o.touched);
        !self.intents.iter().any(|intent| intent.action.touches() && took(intent))
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
        /// What is wanted; nothing, when it is a call for a person that is held.
        proposals: Vec<Proposal>,
        /// The rule.
        rule: Rule,
        /// When it is worth asking again.
        until: Option<Time>,
    },
    /// A person was asked whether this may be done.
    Awaiting {
        /// What is wanted.
        proposals: Vec<Proposal>,
        /// What would be done, as it was shown.
        actions: Vec<Action>,
        /// Hash of what was shown.
        digest: String,
        /// Nobody is waited for any longer than this.
        until: Time,
    },
    /// A person said yes to what has this hash: it has to be authorised as it stands.
    Approved {
        /// What is wanted.
        proposals: Vec<Proposal>,
        /// Hash of what was shown.
        digest: String,
        /// Until when a yes was waited for; it does not count for ever.
        until: Time,
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

/// Every word that [`Incident::state`] gives; a test of the house compares the two.
pub const STATES: [&str; 10] =
    ["fired", "deciding", "awaiting-approval", "held", "acting", "verifying", "waiting", "watching", "escalated", "closed"];

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
    /// When a person last asked to try it: what is old, or part of a storm, is that person's from then on.
    pub taken_at: Option<Time>,
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
            taken_at: None,
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
                // A call for a person can be held too; then nothing is wanted but to ask again.
                let calls = matches!(self.phase, Phase::Escalating(_)).then(Vec::new);
                if let Some(proposals) = calls.or_else(|| self.wanted().map(<[Proposal]>::to_vec)) {
                    self.phase = Phase::Held { proposals, rule: *rule, until: *until };
                }
            }
            Event::ApprovalAsked { actions, digest, until, .. } => {
                if let Some(proposals) = self.wanted().map(<[Proposal]>::to_vec) {
                    let (actions, digest) = (actions.clone(), digest.clone());
                    self.phase = Phase::Awaiting { proposals, actions, digest, until: *until };
                }
            }
            Event::Approved { digest, .. } => {
                if let Phase::Awaiting { proposals, until, .. } = &self.phase {
                    self.phase = Phase::Approved { proposals: proposals.clone(), digest: digest.clone(), until: *until };
                }
            }
            Event::Denied { .. } => self.phase = Phase::Due(Trigger::Denied),
            Event::Intended { attempt, intent, action } => {
                let intent = Intent { number: *intent, action: action.clone(), progress: Progress::Intended };
                self.attempt(*attempt, at).intents.push(intent);
                self.phase = Phase::Acting;
            }
            Event::Diagnosed { .. } => {}
            Event::Begun { intent } => self.progress(*intent, at, Progress::Begun(at)),
            Event::Ended { intent, outcome } => self.progress(*intent, at, Progress::Ended(outcome.clone())),
            Event::Cancelled { intent, message } => self.progress(*intent, at, Progress::Cancelled(message.clone())),
            Event::Stopped { by, message } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.stopped = Some(format!("{by} stopped it: {message}"));
                }
            }
            Event::Verified { verdict, .. } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.verdict = Some(*verdict);
                }
                self.phase = Phase::Verified(*verdict);
            }
            Event::Escalated { .. } => self.phase = Phase::Escalated,
            Event::Retried { .. } => {
                self.taken_at = Some(at);
                self.phase = Phase::Due(Trigger::Retry);
            }
            Event::Closed { how, .. } => self.phase = Phase::Closed(*how),
        }
    }

    fn decided(&mut self, at: Time, answer: &Answer) {
        self.answers += 1;
        // Observing policies are listened to, never followed; one that could not answer, or passed, leaves the question open.
        let Ok(decision) = &answer.decision else { return };
        if !answer.mode.takes() || matches!(decision, Decision::Pass { .. }) {
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

    /// What was decided and is neither done nor refused.
    pub fn wanted(&self) -> Option<&[Proposal]> {
        match &self.phase {
            Phase::Decided(proposals)
            | Phase::Held { proposals, .. }
            | Phase::Awaiting { proposals, .. }
            | Phase::Approved { proposals, .. } => Some(proposals),
            _ => None,
        }
    }

    fn attempt(&mut self, number: u32, at: Time) -> &mut Attempt {
        if self.attempts.last().is_none_or(|a| a.number != number) {
            let attempt = Attempt {
                number,
                started_at: at,
                ended_at: at,
                intents: Vec::new(),
                refused: Vec::new(),
                verdict: None,
                stopped: None,
            };
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
            self.phase = match &attempt.stopped {
                // It is that person's from now on: nothing is looked at, asked or tried before a retry.
                Some(who) => Phase::Escalating(format!(
                    "{who}; nothing further is done, and `paramedic incident retry {} --reason ...` lets its policy go on",
                    self.id
                )),
                None if attempt.touched_nothing() => Phase::Verified(Verdict::NotHealed),
                None => Phase::Verifying(at),
            };
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

    /// Who wants what is under way stopped, and why, if somebody does.
    pub fn stopped(&self) -> Option<&str> {
        let attempt = self.attempts.last().filter(|_| self.phase == Phase::Acting)?;
        attempt.stopped.as_deref()
    }

    /// True once it is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// How it ended, if it did.
    pub fn closing(&self) -> Option<Closing> {
        if let Phase::Closed(how) = self.phase { Some(how) } else { None }
    }

    /// How it stands in a list: how it ended, or else where it is.
    pub fn standing(&self) -> &'static str {
        self.closing().map_or(self.state(), Closing::word)
    }

    /// Where it stands, in one word for people and programs; one of [`STATES`].
    pub fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Due(_) => "fired",
            Phase::Asked(_) | Phase::Decided(_) | Phase::Approved { .. } | Phase::Verified(_) => "deciding",
            Phase::Awaiting { .. } => "awaiting-approval",
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
