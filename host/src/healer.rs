//! The only file that knows the order: one task for each open incident, which does whatever its journal says comes next.
//!
//! A story reads its incident, takes the one legal next step ([`Incident::next`]), writes down what came of it, and reads again.
//! It keeps nothing in memory but permits, so a restarted server goes on where the journal ends: what was never begun is
//! cancelled, what was begun is found out. Absent on purpose: rules of any kind; they live in the rooms that are called from here.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use crate::action::{Action, DockerVerb, Kind, Proposal, Target};
use crate::alert::{IncidentId, Status, Via};
use crate::authorise::{Authorised, Authoriser, Claim, LOOK_AGAIN, Permit, Stop};
use crate::clock::{Time, print_duration};
use crate::decide::{Decider, Loaded, Question};
use crate::execute::{Executor, targets_of};
use crate::incident::{
    Answer, Closing, Decision, Due, Event, Incident, Phase, Progress, Rule, Step, TargetView, Trigger, Verdict,
};
use crate::journal::{Append, Appended, Journal, JournalError};
use crate::look::Eyes;
use crate::look::sight::{Fires, QUIET, Sight};
use crate::look::targets;
use crate::receive::intake::Intake;
use crate::shutdown::Shutdown;
use crate::telemetry::clean;
use crate::verify::{self, Seen, TargetState, Verifier};

/// Longest pause between two tries of a step that the journal would not take.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// How often it is looked for incidents that nobody told of.
const SWEEP: Duration = Duration::from_secs(10);

/// So many timers that are due are looked at in one sweep.
const AT_ONCE: usize = 256;

/// An incident that rests is read again so often, should nobody have told of what was written.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// How often it is looked again whether an alert is gone, when an answer hangs on it.
const LOOK_SOON: Duration = Duration::from_secs(2);

/// Everything a story needs.
#[derive(Debug)]
pub struct Healer {
    /// The record.
    pub journal: Journal,
    /// Closes incidents, so that no alert falls between two of them.
    pub intake: Arc<Intake>,
    /// Which target an alert means.
    pub targets: targets::Rules,
    /// What is looked at.
    pub eyes: Arc<dyn Eyes>,
    /// What the sources list.
    pub sight: Sight,
    /// Asks policies.
    pub decider: Decider,
    /// Says yes or no.
    pub authoriser: Authoriser,
    /// Does what is permitted.
    pub executor: Executor,
    /// Looks whether it helped.
    pub verifier: Verifier,
    /// Held while an incident that a brake had held is asked and authorised again: one at a time.
    pub turn: Mutex<()>,
    /// After how long an alert that nobody repeats, and that no source could be asked about, is closed as stale.
    pub stale_after: Duration,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// What a story does after a step.
enum Then {
    /// Read the incident again and go on.
    GoOn,
    /// It is over.
    Over,
}

/// Permits at hand, by intent. They die with the process, and so does the right to act.
type Permits = HashMap<u32, Permit>;

impl Healer {
    /// Runs until shutdown is requested, then lets every story finish the step it is in, until `within` has passed.
    ///
    /// # Errors
    /// When the journal cannot be read at the start.
    pub async fn run(self: Arc<Self>, mut nudges: UnboundedReceiver<IncidentId>, within: Duration) -> Result<(), JournalError> {
        let mut stories: HashMap<IncidentId, Arc<Notify>> = HashMap::new();
        let mut tasks = JoinSet::new();
        for id in self.journal.open_incidents().await? {
            self.nudge(&mut stories, &mut tasks, id);
        }
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = sweep.tick() => self.sweep(&mut stories, &mut tasks).await,
                () = self.shutdown.requested() => break,
                Some(id) = nudges.recv() => self.nudge(&mut stories, &mut tasks, id),
                Some(ended) = tasks.join_next() => match ended {
                    Ok(id) => drop(stories.remove(&id)),
                    Err(failure) => error!(%failure, "A story broke off; its incident goes on at the next start or alert"),
                },
            }
        }
        info!(stories = tasks.len(), "Stopping: every incident finishes the step it is in");
        let finished = tokio::time::timeout(within, async { while tasks.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            warn!(left = tasks.len(), "Stopping with steps under way; the next start finds out how they ended");
        }
        Ok(())
    }

    /// Nobody may have told of an incident: its first entry was written although the disk seemed to fail, or its story broke off. So
    /// it is looked at what the journal itself says is open or due.
    async fn sweep(self: &Arc<Self>, stories: &mut HashMap<IncidentId, Arc<Notify>>, tasks: &mut JoinSet<IncidentId>) {
        let due = self.journal.due(AT_ONCE).await.unwrap_or_default();
        let open = self.journal.open_incidents().await.unwrap_or_default();
        let alone: Vec<IncidentId> = open.into_iter().filter(|id| !stories.contains_key(id)).collect();
        for id in due.into_iter().chain(alone) {
            self.nudge(stories, tasks, id);
        }
    }

    fn nudge(self: &Arc<Self>, stories: &mut HashMap<IncidentId, Arc<Notify>>, tasks: &mut JoinSet<IncidentId>, id: IncidentId) {
        if let Some(story) = stories.get(&id) {
            return story.notify_one();
        }
        let (healer, notify) = (Arc::clone(self), Arc::new(Notify::new()));
        stories.insert(id.clone(), Arc::clone(&notify));
        tasks.spawn(async move {
            // A panic is a fault of ours, and no reason to leave an incident alone: what was begun is found out.
            while AssertUnwindSafe(healer.story(&id, &notify)).catch_unwind().await.is_err() && !healer.shutdown.is_requested() {
                error!(incident = %id, "A story broke off by a fault in Paramedic; it goes on");
                healer.rest(&notify, MAX_BACKOFF).await;
            }
            id
        });
    }

    async fn story(&self, id: &IncidentId, news: &Notify) {
        let mut permits = Permits::new();
        let mut backoff = Duration::from_millis(500);
        while !self.shutdown.is_requested() {
            match self.step(id, &mut permits, news).await {
                Ok(Then::GoOn) => backoff = Duration::from_millis(500),
                Ok(Then::Over) => return,
                Err(failure) => {
                    error!(incident = %id, %failure, "An incident cannot go on; trying again");
                    self.rest(news, backoff).await;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
            }
        }
    }

    /// One step of one incident, from the journal to the journal.
    async fn step(&self, id: &IncidentId, permits: &mut Permits, news: &Notify) -> Result<Then, JournalError> {
        let Some(incident) = self.journal.incident(id).await? else { return Ok(Then::Over) };
        match incident.next() {
            Step::Ask(trigger) => self.ask(&incident, trigger).await?,
            Step::Authorise(proposals) => self.authorise(&incident, &proposals, permits, news).await?,
            Step::Carry(intent) => self.carry(&incident, intent, permits).await?,
            Step::FindOut(intent) => self.find_out(&incident, intent).await?,
            Step::Cancel(intent) => {
                self.executor.cancel(&incident, intent, "an earlier action of this attempt did not succeed").await?
            }
            Step::Verify { attempt, since } => self.verify(&incident, attempt, since).await?,
            Step::ClearOr(trigger) => self.clear_or_ask(&incident, trigger, news).await?,
            Step::Escalate(message) => self.escalate(&incident, message).await?,
            Step::Close(how) => self.close(&incident, how, closing_words(&incident)).await?,
            Step::Rest { until, then } => self.wait(&incident, until, then, permits, news).await?,
            Step::Done => {
                self.intake.forget(id);
                return Ok(Then::Over);
            }
        }
        Ok(Then::GoOn)
    }

    /// Writes the question, asks, writes the answers.
    async fn ask(&self, incident: &Incident, trigger: Trigger) -> Result<(), JournalError> {
        let (targets, ambiguous) = self.look_at_targets(incident).await;
        let asked = Event::Asked { trigger, targets: targets.clone(), ambiguous };
        let append = Append::new(incident.id.clone(), Some(incident.seq), vec![asked]);
        let question = Question { incident: incident.clone(), trigger, targets };
        let question = match self.journal.prove(append, question).await? {
            Ok(question) => question,
            Err(Appended::Fenced) => return Err(JournalError::fenced()),
            Err(_) => return Ok(()),
        };
        let answers = self.decider.decide(&question).await;
        for answer in &answers {
            log_answer(incident, answer);
        }
        let mut events: Vec<Event> = answers.iter().cloned().map(Event::Decided).collect();
        events.extend(untaken(incident, &answers));
        // Behind whatever was heard meanwhile: the answers are true all the same, and authorisation reads again.
        self.write(Append::new(incident.id.clone(), None, events)).await
    }

    async fn look_at_targets(&self, incident: &Incident) -> (Vec<TargetView>, Vec<String>) {
        let mut views = Vec::new();
        let resolved = self.targets.resolve(&incident.alert.labels, &self.eyes.hosts());
        for (target, inventory_host) in resolved.targets {
            let state = match self.eyes.container(&target).await {
                Ok(Some(container)) => container.state,
                Ok(None) => "missing".to_owned(),
                Err(_) => "unknown".to_owned(),
            };
            views.push(TargetView { target, inventory_host, state });
        }
        (views, resolved.ambiguous)
    }

    async fn authorise(
        &self,
        incident: &Incident,
        wanted: &[Proposal],
        permits: &mut Permits,
        news: &Notify,
    ) -> Result<(), JournalError> {
        // Somebody says it is over: do nothing before it is clear whether that is so.
        if incident.heard.values().any(|(status, _)| *status == Status::Resolved)
            && !matches!(self.fires(incident), Fires::Yes { .. })
        {
            if let Some(message) = self.gone(incident).await {
                return self.close(incident, Closing::Cleared, message).await;
            }
            if !matches!(self.fires(incident), Fires::CannotTell { .. }) {
                self.rest(news, LOOK_SOON).await;
                return Ok(());
            }
        }
        let Some((loaded, declared)) = self.owner(incident).await else { return self.policy_gone(incident).await };
        let claim = Claim { incident, policy: &loaded.policy, declared: &declared };
        if let Authorised::Permits(granted) = self.authoriser.authorise(&self.journal, claim, wanted).await? {
            permits.extend(granted.into_iter().map(|permit| (permit.intent(), permit)));
        }
        Ok(())
    }

    /// The owner as today's files say, with what its plugin of then declares.
    async fn owner(&self, incident: &Incident) -> Option<(&Loaded, Vec<Kind>)> {
        let owner = incident.owner.as_ref()?;
        let loaded = self.decider.policy(&owner.policy).filter(|loaded| loaded.policy.mode.takes())?;
        let plugin = self.decider.plugin(&owner.plugin).await.ok()?;
        Some((loaded, plugin.manifest().actions.clone()))
    }

    async fn policy_gone(&self, incident: &Incident) -> Result<(), JournalError> {
        let name = incident.owner.as_ref().map_or("?", |owner| owner.policy.as_str());
        let message = format!(
            "policy {name}, to which this incident belongs, is gone, only observes now or cannot be loaded ({})",
            Rule::PolicyGone
        );
        self.escalate(incident, message).await
    }

    async fn carry(&self, incident: &Incident, intent: u32, permits: &mut Permits) -> Result<(), JournalError> {
        let Some(permit) = permits.remove(&intent) else {
            return self.executor.cancel(incident, intent, "Paramedic was stopped before it began").await;
        };
        if self.authoriser.halted().is_err() {
            return self.executor.cancel(incident, intent, "everything was halted before it began").await;
        }
        info!(incident = %incident.id, action = %permit.action(), "Acting");
        self.executor.execute(permit, incident, || self.authoriser.halted().is_err()).await
    }

    async fn find_out(&self, incident: &Incident, number: u32) -> Result<(), JournalError> {
        let Some((action, begun)) = incident.intent(number).and_then(|intent| match intent.progress {
            Progress::Begun(at) => Some((&intent.action, at)),
            _ => None,
        }) else {
            return Ok(());
        };
        warn!(incident = %incident.id, %action, "It was begun before this server started: finding out how it ended");
        self.executor.find_out(incident, number, action, begun).await
    }

    async fn verify(&self, incident: &Incident, attempt: u32, since: Time) -> Result<(), JournalError> {
        // The journal's clock may once have been ahead; the detectors' clocks are not.
        let since = since.min(Time::now());
        let settings = self.owner(incident).await.map(|(loaded, _)| loaded.policy.verify.clone()).unwrap_or_default();
        let started = incident.attempts.last().map_or(since, |attempt| attempt.started_at);
        let looked_at = started_target(incident);
        let attempt_seen =
            verify::Attempt { alert: &incident.alert, begun: started, ended: since, starts_target: looked_at.is_some() };
        let target = || self.target_state(looked_at);
        let (verdict, message) = tokio::select! {
            seen = self.verifier.verify(&attempt_seen, &settings, target) => seen,
            () = self.shutdown.requested() => return Ok(()),
        };
        info!(incident = %incident.id, verdict = verdict.word(), %message, "Looked whether it helped");
        let mut append = Append::new(incident.id.clone(), None, vec![Event::Verified { attempt, verdict, message }]);
        append.release = targets_of(incident);
        self.write(append).await
    }

    /// How a container is that should run after the attempt.
    async fn target_state(&self, target: Option<&Target>) -> Option<TargetState> {
        let found = self.eyes.container(target?).await.ok()?;
        Some(match found {
            Some(container) => TargetState { state: container.state, health: container.health, started: container.started },
            None => TargetState { state: "missing".to_owned(), health: None, started: None },
        })
    }

    /// An attempt did not help, or that cannot be told: ask again while it fires, close when it is gone.
    async fn clear_or_ask(&self, incident: &Incident, trigger: Trigger, news: &Notify) -> Result<(), JournalError> {
        match self.fires(incident) {
            Fires::No { .. } => match self.gone(incident).await {
                Some(message) => self.close(incident, Closing::Cleared, message).await,
                None => {
                    self.rest(news, LOOK_SOON).await;
                    Ok(())
                }
            },
            Fires::CannotTell { .. } if all_resolved(incident) => {
                self.close(incident, Closing::Cleared, "its source says that it is over".to_owned()).await
            }
            _ => self.ask(incident, trigger).await,
        }
    }

    async fn escalate(&self, incident: &Incident, message: String) -> Result<(), JournalError> {
        let policy = incident.owner.as_ref().and_then(|owner| self.decider.policy(&owner.policy));
        let message = match policy.and_then(|loaded| loaded.policy.escalate.as_ref()) {
            Some(whom) => format!("{message} (for {})", clean(whom, 80)),
            None => message,
        };
        warn!(incident = %incident.id, alert = incident.alert.name(), %message, "A person has to look");
        self.write(Append::new(incident.id.clone(), Some(incident.seq), vec![Event::Escalated { message }])).await
    }

    async fn close(&self, incident: &Incident, how: Closing, message: String) -> Result<(), JournalError> {
        info!(incident = %incident.id, alert = incident.alert.name(), ?how, %message, "Closed");
        let append = Append::new(incident.id.clone(), Some(incident.seq), vec![Event::Closed { how, message }]);
        match self.intake.close(append).await? {
            Appended::Fenced => Err(JournalError::fenced()),
            _ => Ok(()),
        }
    }

    /// Nothing to do for now: wait for news, for the moment that was named, or for the alert to go away.
    async fn wait(
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
                (Some(Due::Ask(Trigger::HoldOver)), None | Some(Duration::ZERO)) => {
                    return self.ask_again(incident, permits, news).await;
                }
                (Some(Due::Ask(trigger)), Some(Duration::ZERO)) => return self.ask(incident, trigger).await,
                (Some(Due::NobodyAnswered), Some(Duration::ZERO)) => {
                    return self.escalate(incident, "nobody said yes or no in time: nothing was done".to_owned()).await;
                }
                // Whoever writes to it tells, so there is no need to read it again at every look.
                _ if self.rest(news, left.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)).await || begun.elapsed() > READ_AGAIN => {
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// What was held back: is it still? If not, the policy is asked anew and its answer authorised.
    async fn ask_again(&self, incident: &Incident, permits: &mut Permits, news: &Notify) -> Result<(), JournalError> {
        let still = match &incident.phase {
            Phase::Held { proposals, rule, .. } => self.still_held(incident, proposals, *rule).await?,
            _ => false,
        };
        // When a brake lets go, one of those that it held goes first; the others look again later.
        let Some(_turn) = self.turn.try_lock().ok().filter(|_| !still) else {
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

    /// Is it still held? By the same rule: say nothing. By another one: write that.
    async fn still_held(&self, incident: &Incident, proposals: &[Proposal], before: Rule) -> Result<bool, JournalError> {
        let Some((loaded, declared)) = self.owner(incident).await else { return Ok(false) };
        let claim = Claim { incident, policy: &loaded.policy, declared: &declared };
        match self.authoriser.would(&self.journal, claim, proposals).await? {
            Err(Stop::Held { rule, message, until }) => {
                if rule != before || until.is_some() {
                    let event = Event::Held { rule, message, until };
                    self.write(Append::new(incident.id.clone(), Some(incident.seq), vec![event])).await?;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What the sources list about this alert.
    fn fires(&self, incident: &Incident) -> Fires {
        match self.sight.fires(&incident.id.key) {
            // A source that never listed it (another Alertmanager's alert, Grafana's) does not clear it by listing nothing.
            Fires::No { .. } if !self.listed(incident) => {
                Fires::CannotTell { reason: "no source that is looked at has ever listed it".to_owned() }
            }
            fires => fires,
        }
    }

    /// Why it is gone, if it is: no reachable source fires, or it is positively seen to be over. Never a claim that anything helped.
    async fn gone(&self, incident: &Incident) -> Option<String> {
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
        if !matches!(self.fires(incident), Fires::CannotTell { .. }) || self.listed(incident) {
            return None;
        }
        let (via, until) = self.intake.believed(incident, self.stale_after)?;
        if now < until {
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

    /// Did a source that is looked at ever list it?
    fn listed(&self, incident: &Incident) -> bool {
        incident.heard.keys().any(|via| matches!(via, Via::Alertmanager | Via::Prometheus))
    }

    /// Sleeps until there is news, `at_most` has passed, or the server stops; `false` when only time has passed.
    async fn rest(&self, news: &Notify, at_most: Duration) -> bool {
        tokio::select! {
            () = news.notified() => true,
            () = tokio::time::sleep(at_most) => false,
            () = self.shutdown.requested() => true,
        }
    }

    async fn write(&self, append: Append) -> Result<(), JournalError> {
        match self.journal.append(append).await? {
            Appended::Fenced => Err(JournalError::fenced()),
            // A conflict means that somebody wrote meanwhile: the story reads again and decides again.
            _ => Ok(()),
        }
    }
}

/// The container that the last attempt's last action should have left running.
fn started_target(incident: &Incident) -> Option<&Target> {
    match &incident.attempts.last()?.intents.last()?.action {
        Action::Docker { verb: DockerVerb::Restart | DockerVerb::Start, target, .. } => Some(target),
        _ => None,
    }
}

/// True when every door through which it was heard says that it is over.
fn all_resolved(incident: &Incident) -> bool {
    incident.heard.values().all(|(status, _)| *status == Status::Resolved)
}

/// What follows when nobody took the incident: an error escalates, and so does an owner that cannot answer.
fn untaken(incident: &Incident, answers: &[Answer]) -> Option<Event> {
    let may_act = || answers.iter().filter(|answer| answer.mode.takes());
    let taken = may_act().any(|answer| matches!(&answer.decision, Ok(decision) if !matches!(decision, Decision::Pass { .. })));
    if taken {
        return None;
    }
    if let Some((policy, why)) = may_act().find_map(|answer| Some((&answer.policy, answer.decision.as_ref().err()?))) {
        return Some(Event::Escalated { message: format!("policy {policy} could not decide: {why}") });
    }
    let message = match (incident.owner.is_some(), may_act().next().is_some(), answers.is_empty()) {
        (true, _, _) => "its policy does not want it any more",
        (_, true, _) => "every policy that matches it and may act passed",
        (_, _, false) => "only policies in mode observe match it",
        _ => "no policy matches it",
    };
    Some(Event::Unclaimed { message: message.to_owned() })
}

fn closing_words(incident: &Incident) -> String {
    match incident.attempts.iter().rev().find(|attempt| attempt.verdict == Some(Verdict::Healed)) {
        Some(attempt) => format!("healed by attempt {}", attempt.number),
        None => "over".to_owned(),
    }
}

fn log_answer(incident: &Incident, answer: &Answer) {
    match &answer.decision {
        Ok(decision) => {
            info!(incident = %incident.id, policy = answer.policy, decision = decision.word(), reason = decision.reason(), "Decided");
        }
        Err(why) => warn!(incident = %incident.id, policy = answer.policy, %why, "A policy could not decide"),
    }
}
