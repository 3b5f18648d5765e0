//! An incident that rests: until something is due, somebody tells news, or the alert goes away.
//!
//! Whether an alert is gone is told by what sources list, what doors were told, and one positive look. None of it is a claim that
//! anything helped. Absent on purpose: what follows; that stands in `healer.rs` and in the incident itself.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::line::{self, Closed, Place};
use super::{Healer, Permits};
use crate::action::Proposal;
use crate::alert::{Status, Via};
use crate::authorise::{Claim, LOOK_AGAIN, Stop};
use crate::clock::{Time, print_duration};
use crate::incident::{Closing, Due, Event, Incident, Phase, Rule, Step, Trigger};
use crate::journal::{Append, JournalError};
use crate::look::sight::{Fires, QUIET};
use crate::verify::Seen;

/// A line that was found closed is closed for so long at least.
const SHORTEST: Duration = Duration::from_millis(100);

/// An incident that rests is read again so often, should nobody have told of what was written.
const READ_AGAIN: Duration = Duration::from_secs(60);

impl Healer {
    /// Nothing to do for now: wait for news, for the moment that was named, or for the alert to go away.
    pub(super) async fn wait(
        &self,
        incident: &Incident,
        until: Option<Time>,
        then: Option<Due>,
        permits: &mut Permits,
        news: &Notify,
    ) -> Result<(), JournalError> {
        let begun = Instant::now();
        loop {
            if let Some(message) = self.gone(incident).await {
                return self.close(incident, Closing::Cleared, message).await;
            }
            if let Some((how, message)) = self.unheard(incident) {
                return self.close(incident, how, message).await;
            }
            let left = until.map(|moment| moment.since(Time::now()));
            match (then, left) {
                (Some(Due::Ask(Trigger::HoldOver)), left)
                    if may_end_early(incident) || left.is_none_or(|left| left.is_zero()) =>
                {
                    return self.ask_again(incident, permits, news).await;
                }
                // Who waits in line stands there before the moment comes, or the oldest might come last.
                (Some(Due::Ask(Trigger::HoldOver)), _) if line_of(incident).is_some() => {
                    return self.ask_again(incident, permits, news).await;
                }
                (Some(Due::Ask(trigger)), Some(Duration::ZERO)) => return self.ask(incident, trigger).await,
                (Some(Due::NobodyAnswered), Some(Duration::ZERO)) => {
                    if let Some(held) = self.while_away(incident).await {
                        return self.write(Append::new(incident.id.clone(), Some(incident.seq), vec![held])).await;
                    }
                    return self.escalate(incident, "nobody said yes or no in time: nothing was done".to_owned()).await;
                }
                // Whoever writes to it tells, so there is no need to read it again at every look.
                _ if self.rest(news, left.unwrap_or(LOOK_AGAIN).min(pause_of(incident))).await
                    || begun.elapsed() > READ_AGAIN =>
                {
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Nobody could have answered while Paramedic was away.
    async fn while_away(&self, incident: &Incident) -> Option<Event> {
        let (loaded, declared) = self.owner(incident).await?;
        match self.authoriser.away(&self.journal, Claim { incident, policy: &loaded.policy, declared: &declared })? {
            Stop::Held { rule, message, until } => Some(Event::Held { rule, message, until }),
            Stop::Refused { .. } => None,
        }
    }

    /// What was held back: is it still? If not, the policy is asked anew and its answer authorised.
    async fn ask_again(&self, incident: &Incident, permits: &mut Permits, news: &Notify) -> Result<(), JournalError> {
        let Phase::Held { proposals, rule, until } = &incident.phase else { return Ok(()) };
        let place = match line_of(incident) {
            None => None,
            Some(policy) => match self.own_turn(incident, policy, *rule, *until, news).await? {
                Some(place) => Some(place),
                None => return Ok(()),
            },
        };
        let still = self.still_held(incident, proposals, (*rule, *until)).await?;
        if still && line_of(incident).is_some_and(|policy| self.lines.closed(policy, Time::now()).is_some()) {
            // Back into the line, at its place, before it opens.
            return Ok(());
        }
        // Whoever is still held for itself lets the next one pass.
        let place = place.filter(|_| !still);
        // When a brake lets go, one of those that it held goes first; the others look again later.
        let turn = match (still, &place) {
            (true, _) => None,
            (false, None) => self.turn.try_lock().ok(),
            (false, Some(_)) => Some(self.turn.lock().await),
        };
        let Some(_turn) = turn else {
            self.rest(news, LOOK_AGAIN).await;
            return Ok(());
        };
        self.ask(incident, Trigger::HoldOver).await?;
        let Some(incident) = self.journal.incident(&incident.id).await? else { return Ok(()) };
        match incident.next() {
            Step::Authorise(proposals) => self.authorise(&incident, &proposals, permits, news).await,
            _ => Ok(()),
        }
    }

    /// Waits in its policy's line until it is the oldest in it and no brake is known that holds them all. `None`: read it again.
    async fn own_turn(
        &self,
        incident: &Incident,
        policy: &str,
        rule: Rule,
        until: Option<Time>,
        news: &Notify,
    ) -> Result<Option<Place<'_>>, JournalError> {
        let place = self.lines.enter(policy, incident.opened_at, &incident.id);
        let begun = Instant::now();
        while begun.elapsed() < READ_AGAIN {
            let now = Time::now();
            let pause = match self.lines.closed(policy, now) {
                _ if !place.is_first() => READ_AGAIN,
                None => match until.map(|until| until.since(now)) {
                    None | Some(Duration::ZERO) => return Ok(Some(place)),
                    Some(left) => left.min(READ_AGAIN),
                },
                Some(closed) => {
                    // That the storm is over, and what it waits for now, is said once.
                    if rule == Rule::Storm && closed.rule != rule {
                        let event = Event::Held { rule: closed.rule, message: closed.message, until: Some(closed.until) };
                        self.write(Append::new(incident.id.clone(), Some(incident.seq), vec![event])).await?;
                        return Ok(None);
                    }
                    closed.until.since(now).min(READ_AGAIN)
                }
            };
            tokio::select! {
                () = place.called() => {}
                has_news = self.rest(news, pause) => if has_news { return Ok(None) },
            }
        }
        Ok(None)
    }

    /// Is it still held? By the same rule until the same moment: say nothing. Else write that.
    async fn still_held(
        &self,
        incident: &Incident,
        proposals: &[Proposal],
        before: (Rule, Option<Time>),
    ) -> Result<bool, JournalError> {
        let Some((loaded, declared)) = self.owner(incident).await else { return Ok(false) };
        let claim = Claim { incident, policy: &loaded.policy, declared: &declared };
        let would = match proposals {
            // A call for a person waits for nothing but the end of a storm.
            [] => self.authoriser.stormy(&self.journal, claim).await?.map_or(Ok(Vec::new()), Err),
            _ => self.authoriser.would(&self.journal, claim, proposals).await?,
        };
        match would {
            Err(Stop::Held { rule, message, until }) => {
                if line::is_shared(rule) {
                    let until = until.unwrap_or(Time::now().plus(LOOK_AGAIN)).max(Time::now().plus(SHORTEST));
                    self.lines.close(&loaded.policy.name, Closed { rule, message: message.clone(), until });
                }
                let same_storm = rule == Rule::Storm && before.0 == rule;
                if (rule, until) != before && !same_storm {
                    let event = Event::Held { rule, message, until };
                    self.write(Append::new(incident.id.clone(), Some(incident.seq), vec![event])).await?;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What the sources list about this alert.
    pub(super) fn fires(&self, incident: &Incident) -> Fires {
        match self.sight.fires(&incident.id.key) {
            // A source that never listed it (another Alertmanager's alert, Grafana's) does not clear it by listing nothing.
            Fires::No { .. } if !self.listed(incident) => {
                Fires::CannotTell { reason: "no source that is looked at has ever listed it".to_owned() }
            }
            fires => fires,
        }
    }

    /// Why it is gone, if it is: no reachable source fires, or it is positively seen to be over. Never a claim that anything helped.
    pub(super) async fn gone(&self, incident: &Incident) -> Option<String> {
        if self.spent(incident).is_some_and(|window| self.quiet(incident) < window) {
            return None;
        }
        match self.fires(incident) {
            Fires::Yes { .. } | Fires::Pending { .. } => None,
            Fires::No { quiet, .. } if quiet >= QUIET => {
                Some(format!("no reachable source has listed it for {} s", quiet.as_secs()))
            }
            Fires::No { .. } => match self.verifier.look(&incident.alert, incident.opened_at.min(Time::now())).await {
                Seen::Healthy(message) => Some(message),
                _ => None,
            },
            Fires::CannotTell { .. } => all_resolved(incident).then(|| "its source says that it is over".to_owned()),
        }
    }

    /// How it ends when nobody says any longer that it fires, nobody said that it is over, and no source can be looked at: what
    /// Prometheus posts it repeats every minute, so its silence clears; Alertmanager repeats a webhook after hours.
    fn unheard(&self, incident: &Incident) -> Option<(Closing, String)> {
        let now = Time::now();
        if !matches!(self.fires(incident), Fires::CannotTell { .. }) {
            return None;
        }
        let (via, until) = self.intake.believed(incident, self.stale_after)?;
        if now < until.plus(self.spent(incident).unwrap_or_default()) {
            return None;
        }
        Some(match via {
            Via::Post => (Closing::Cleared, "Prometheus has stopped posting it, and posts what fires every minute".to_owned()),
            _ => {
                let after = print_duration(self.stale_after);
                (Closing::Stale, format!("nobody has repeated it for {after} (stale_after), and no source lists it"))
            }
        })
    }

    /// For how long attempts count, when this incident was told that its target's are spent. It stays open for so long after its alert
    /// was last seen, or a flapping alert would begin anew as often as it likes.
    fn spent(&self, incident: &Incident) -> Option<Duration> {
        let told = matches!(incident.phase, Phase::Escalating(_) | Phase::Escalated)
            && incident.attempts.last()?.refused.iter().any(|(_, rule, _)| *rule == Rule::AttemptsSpent);
        let own = self.policy_of(incident).and_then(|loaded| loaded.policy.brakes.attempts);
        told.then(|| own.unwrap_or(self.authoriser.brakes.attempts).window)
    }

    /// How long nobody has said that it fires.
    fn quiet(&self, incident: &Incident) -> Duration {
        match self.fires(incident) {
            Fires::No { quiet, .. } => quiet,
            Fires::CannotTell { .. } if all_resolved(incident) => {
                let last = incident.heard.values().map(|(_, heard)| *heard).max();
                last.map_or(Duration::ZERO, |heard| Time::now().since(heard))
            }
            _ => Duration::ZERO,
        }
    }

    /// Did a source that is looked at ever list it?
    fn listed(&self, incident: &Incident) -> bool {
        incident.heard.keys().any(|via| matches!(via, Via::Alertmanager | Via::Prometheus))
    }

    /// Sleeps until there is news, `at_most` has passed, or the server stops; `false` when only time has passed.
    pub(super) async fn rest(&self, news: &Notify, at_most: Duration) -> bool {
        tokio::select! {
            () = news.notified() => true,
            () = tokio::time::sleep(at_most) => false,
            () = self.shutdown.requested() => true,
        }
    }
}

/// The policy in whose line it waits, if it waits in one: for what a brake holds that many share, unless a person took it.
fn line_of(incident: &Incident) -> Option<&str> {
    let shared = matches!(incident.phase, Phase::Held { rule, .. } if line::is_shared(rule)) && incident.taken_at.is_none();
    incident.owner.as_ref().filter(|_| shared).map(|owner| owner.policy.as_str())
}

/// How soon it is looked again whether the alert is gone. After a journal was put back there may be ten thousand who look.
fn pause_of(incident: &Incident) -> Duration {
    if matches!(incident.phase, Phase::Held { rule: Rule::TooOld, .. }) { READ_AGAIN } else { LOOK_AGAIN }
}

/// Is it held by a person's word, which that person may take back before its time?
fn may_end_early(incident: &Incident) -> bool {
    matches!(incident.phase, Phase::Held { rule: Rule::Hold | Rule::Maintenance, .. })
}

/// True when every door through which it was heard says that it is over.
pub(super) fn all_resolved(incident: &Incident) -> bool {
    incident.heard.values().all(|(status, _)| *status == Status::Resolved)
}
