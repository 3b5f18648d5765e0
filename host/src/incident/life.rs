//! The life of an incident: the one table of what may happen next, and of what may be written next.
//!
//! [`Incident::next`] is what the healer does. [`Incident::allows`] is what anybody may write: the healer's own entries, what
//! sources say, and what people say; simulation and tests hold every entry that is ever written against it.

use super::{Closing, Event, Incident, Phase, Progress, Trigger, Verdict};
use crate::action::{Ending, Proposal};
use crate::clock::Time;

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
    /// Cancel this intent: an earlier one of the attempt did not succeed, or a person stopped the attempt.
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
        then: Option<Due>,
    },
    /// Nothing, ever.
    Done,
}

/// What is due when a rest is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A question.
    Ask(Trigger),
    /// Nobody said yes or no: tell a person.
    NobodyAnswered,
}

impl Incident {
    /// The only legal next step.
    pub fn next(&self) -> Step {
        match &self.phase {
            Phase::Due(trigger) | Phase::Asked(trigger) => Step::Ask(*trigger),
            Phase::Decided(proposals) | Phase::Approved { proposals, .. } => Step::Authorise(proposals.clone()),
            Phase::Awaiting { until, .. } => Step::Rest { until: Some(*until), then: Some(Due::NobodyAnswered) },
            Phase::Acting => self.next_of_attempt(),
            Phase::Verifying(since) => Step::Verify { attempt: self.next_attempt() - 1, since: *since },
            Phase::Verified(Verdict::Healed) => Step::Close(Closing::Healed),
            Phase::Verified(_) => Step::ClearOr(self.trigger_after_attempt()),
            Phase::Held { until, .. } => Step::Rest { until: *until, then: Some(Due::Ask(Trigger::HoldOver)) },
            Phase::Waiting(until) => Step::Rest { until: Some(*until), then: Some(Due::Ask(Trigger::WaitOver)) },
            Phase::Watching | Phase::Escalated => Step::Rest { until: None, then: None },
            Phase::Escalating(message) => Step::Escalate(message.clone()),
            Phase::Closed(_) => Step::Done,
        }
    }

    fn next_of_attempt(&self) -> Step {
        let Some(attempt) = self.attempts.last() else { return Step::Ask(Trigger::Alert) };
        let mut failed = attempt.stopped.is_some();
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

    /// May this be written now? Whatever the healer writes follows from [`Incident::next`]; what sources and people say may come at any
    /// time, as long as it makes sense where the incident stands.
    pub fn allows(&self, event: &Event) -> bool {
        let over = matches!(event, Event::Closed { .. });
        match (&self.phase, event) {
            // Nothing is written behind the end, and nothing opens twice.
            (Phase::Closed(_), _) | (_, Event::Opened { .. }) => false,
            (_, Event::Heard { .. }) => true,
            // While something is done, or it is looked whether it helped, nobody closes, retries or asks anew.
            (Phase::Acting, Event::Intended { attempt, .. }) => self.attempts.last().is_some_and(|a| a.number == *attempt),
            (Phase::Acting, Event::Diagnosed { intent, .. }) => self.is_at(*intent, |progress| *progress == Progress::Intended),
            (Phase::Acting, Event::Stopped { .. }) => self.stopped().is_none(),
            (_, Event::Stopped { .. } | Event::Diagnosed { .. }) => false,
            (Phase::Acting, Event::Begun { intent }) => self.is_at(*intent, |progress| *progress == Progress::Intended),
            (Phase::Acting, Event::Cancelled { intent, .. }) => self.is_at(*intent, |progress| *progress == Progress::Intended),
            (Phase::Acting, Event::Ended { intent, .. }) => {
                self.is_at(*intent, |progress| matches!(progress, Progress::Begun(_)))
            }
            (Phase::Acting, _) => false,
            (Phase::Verifying(_), event) => matches!(event, Event::Verified { .. }),
            (Phase::Verified(Verdict::Healed), event) => matches!(event, Event::Closed { how: Closing::Healed, .. }),
            (Phase::Asked(_), Event::Decided(_) | Event::Unclaimed { .. }) => true,
            // More answers to one question: an observing policy behind the one that took it.
            (Phase::Decided(_) | Phase::Waiting(_) | Phase::Watching | Phase::Escalating(_), Event::Decided(answer)) => {
                answer.mode == super::Mode::Observe
            }
            (
                Phase::Decided(_) | Phase::Held { .. } | Phase::Approved { .. },
                Event::Intended { .. } | Event::Refused { .. } | Event::Held { .. } | Event::ApprovalAsked { .. },
            ) => true,
            // In a storm one call is enough.
            (Phase::Escalating(_), Event::Held { .. }) => true,
            (Phase::Awaiting { digest, .. }, Event::Approved { digest: approved, .. }) => digest == approved,
            (Phase::Awaiting { .. }, Event::Denied { .. } | Event::Held { .. }) => true,
            (
                Phase::Due(_) | Phase::Asked(_) | Phase::Verified(_) | Phase::Held { .. } | Phase::Waiting(_),
                Event::Asked { .. },
            ) => true,
            (Phase::Escalated, Event::Escalated { .. }) => false,
            (_, Event::Escalated { .. }) => true,
            (Phase::Held { .. } | Phase::Waiting(_) | Phase::Watching | Phase::Escalated, Event::Retried { .. }) => true,
            (_, Event::Closed { how: Closing::Healed, .. }) => false,
            _ => over,
        }
    }

    fn is_at(&self, intent: u32, progress: impl Fn(&Progress) -> bool) -> bool {
        self.intent(intent).is_some_and(|intent| progress(&intent.progress))
    }
}
