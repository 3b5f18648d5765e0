//! The only file that knows the order: one task for each open incident, which does whatever its journal says comes next.
//!
//! A story reads its incident, takes the one legal next step ([`Incident::next`]), writes down what came of it, and reads again.
//! It keeps nothing in memory but permits, so a restarted server goes on where the journal ends: what was never begun is
//! cancelled, what was begun is found out. Absent on purpose: rules of any kind; they live in the rooms that are called from here.

pub mod line;
mod rest;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::action::{Action, DockerVerb, Kind, Proposal, Target};
use crate::alert::{IncidentId, Status};
use crate::authorise::storm::arrival;
use crate::authorise::{Authorised, Authoriser, Claim, Permit, Stop};
use crate::clock::Time;
use crate::decide::{Decider, Loaded, Question};
use crate::execute::Executor;
use crate::incident::{
    Answer, Closing, Decision, Diagnostics, Event, Incident, Intent, Progress, Rule, Step, TargetView, Trigger, Verdict,
};
use crate::journal::{Append, Appended, Journal, JournalError};
use crate::look::Eyes;
use crate::look::sight::{Fires, Sight};
use crate::look::targets;
use crate::policy::brakes::target_key;
use crate::policy::present::Present;
use crate::receive::intake::Intake;
use crate::shutdown::Shutdown;
use crate::telemetry::clean;
use crate::verify::{self, TargetState, Verifier};
use line::Lines;
use rest::all_resolved;

/// Longest pause between two tries of a step that the journal would not take.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// In a rush of alerts the first question about a new incident waits until they are taken in, and not longer than this.
const RUSH_AT_MOST: Duration = Duration::from_secs(2);

/// How often it is looked for incidents that nobody told of.
const SWEEP: Duration = Duration::from_secs(10);

/// So many timers that are due are looked at in one sweep.
const AT_ONCE: usize = 256;

/// For keeping what an action may destroy; a repair waits for it.
const DIAGNOSE_WITHIN: Duration = Duration::from_secs(5);

/// How often it is read whether a person wants stopped what is under way.
const READ_STOP: Duration = Duration::from_secs(5);

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
    /// Asks policies: those that are loaded now, taken once for each question.
    pub decider: Present<Decider>,
    /// Says yes or no.
    pub authoriser: Authoriser,
    /// Does what is permitted.
    pub executor: Executor,
    /// Looks whether it helped.
    pub verifier: Verifier,
    /// Held while an incident that a brake had held is asked and authorised again: one at a time.
    pub turn: Mutex<()>,
    /// Where those wait whom a brake holds that many share.
    pub lines: Lines,
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
        // On its own, since a disk may be slow.
        let (found, mut open) = mpsc::channel(1);
        let mut sweeper = JoinSet::new();
        sweeper.spawn(sweep(self.journal.clone(), found));
        loop {
            tokio::select! {
                Some((due, open)) = open.recv() => {
                    let alone = open.into_iter().filter(|id| !stories.contains_key(id)).collect::<Vec<_>>();
                    due.into_iter().chain(alone).for_each(|id| self.nudge(&mut stories, &mut tasks, id));
                }
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
            Step::Carry(intent) => self.carry(&incident, intent, permits, news).await?,
            Step::FindOut(intent) => self.find_out(&incident, intent, news).await?,
            Step::Cancel(intent) => {
                let why = incident.stopped().unwrap_or("an earlier action of this attempt did not succeed");
                self.executor.cancel(&incident, intent, why).await?
            }
            Step::Verify { attempt, since } => self.verify(&incident, attempt, since).await?,
            Step::ClearOr(trigger) => self.clear_or_ask(&incident, trigger, news).await?,
            Step::Escalate(message) => self.escalate_or_hold(&incident, message).await?,
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
        let _first = if incident.answers == 0 {
            self.intake.calm(RUSH_AT_MOST).await;
            self.lines.first_question().await
        } else {
            None
        };
        let (targets, ambiguous) = self.look_at_targets(incident).await;
        let asked = Event::Asked { trigger, targets: targets.clone(), ambiguous };
        let append = Append::new(incident.id.clone(), Some(incident.seq), vec![asked]);
        let question = Question { incident: incident.clone(), trigger, targets };
        let question = match self.journal.prove(append, question).await? {
            Ok(question) => question,
            Err(Appended::Fenced) => return Err(JournalError::fenced()),
            Err(_) => return Ok(()),
        };
        let decider = self.decider.now();
        let answers = decider.decide(&question).await;
        for answer in &answers {
            log_answer(incident, answer);
        }
        let mut events: Vec<Event> = answers.iter().cloned().map(Event::Decided).collect();
        events.extend(untaken(incident, &answers, &decider));
        // Behind whatever was heard meanwhile: the answers are true all the same, and authorisation reads again.
        let mut append = Append::new(incident.id.clone(), None, events);
        if let Some(taken) = taker(incident, &answers).and_then(|name| decider.policy(name)) {
            let targets = &question.value().targets;
            (append.newcomers, append.mark) = arrival(&taken.policy, &self.authoriser.brakes, incident, targets);
        }
        self.write(append).await
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
    async fn owner(&self, incident: &Incident) -> Option<(Loaded, Vec<Kind>)> {
        let owner = incident.owner.as_ref()?;
        let decider = self.decider.now();
        let loaded = decider.policy(&owner.policy).filter(|loaded| loaded.policy.mode.takes())?;
        let plugin = decider.plugin(&owner.plugin).await.ok()?;
        Some((loaded.clone(), plugin.manifest().actions.clone()))
    }

    /// The policy to which it belongs as today's files say, whatever its mode.
    pub(super) fn policy_of(&self, incident: &Incident) -> Option<Loaded> {
        incident.owner.as_ref().and_then(|owner| self.decider.now().policy(&owner.policy).cloned())
    }

    async fn policy_gone(&self, incident: &Incident) -> Result<(), JournalError> {
        let name = incident.owner.as_ref().map_or("?", |owner| owner.policy.as_str());
        let message = format!(
            "policy {name}, to which this incident belongs, is gone, only observes now or cannot be loaded ({})",
            Rule::PolicyGone
        );
        self.escalate(incident, message).await
    }

    async fn carry(&self, incident: &Incident, intent: u32, permits: &mut Permits, news: &Notify) -> Result<(), JournalError> {
        let Some(permit) = permits.remove(&intent) else {
            return self.executor.cancel(incident, intent, "Paramedic was stopped before it began").await;
        };
        let labels = &incident.alert.labels;
        let forbidden = || match self.authoriser.forbidden(labels) {
            Err(Stop::Held { message, .. } | Stop::Refused { message, .. }) => Some(message),
            Ok(()) => None,
        };
        if forbidden().is_none() {
            self.diagnose(incident, &permit).await;
        }
        if let Some(why) = forbidden() {
            return self.executor.cancel(incident, intent, &why).await;
        }
        if let Err(why) = self.still_enough(incident, permit.action()).await {
            return self.executor.cancel(incident, intent, &format!("before it began: {why}")).await;
        }
        info!(incident = %incident.id, action = %permit.action(), "Acting");
        self.executor.execute(permit, incident, forbidden, self.stop_asked(&incident.id, news)).await
    }

    /// Why too few others would stay healthy without its target, if so; it was enough when it was allowed.
    async fn still_enough(&self, incident: &Incident, action: &Action) -> Result<(), String> {
        let Some(loaded) = self.policy_of(incident) else { return Ok(()) };
        match self.authoriser.still_enough(&loaded.policy, action).await {
            Err(Stop::Held { message, .. } | Stop::Refused { message, .. }) => Err(message),
            Ok(()) => Ok(()),
        }
    }

    /// Keeps what the action may destroy, where its policy grants that. Whatever goes wrong with it is noted, and hinders nothing.
    async fn diagnose(&self, incident: &Incident, permit: &Permit) {
        let Some((loaded, _)) = self.owner(incident).await else { return };
        let (grants, target) = (&loaded.policy.grants, permit.action().target());
        if grants.docker.logs.is_empty() {
            return;
        }
        let look = async {
            let Ok(Some(container)) = self.eyes.container(target).await else { return None };
            if !grants.allows_logs(target, &container.labels) {
                return None;
            }
            Some(self.eyes.diagnostics(&container).await)
        };
        let found = match tokio::time::timeout(DIAGNOSE_WITHIN, look).await {
            Ok(None) => return,
            Ok(Some(found)) => found,
            Err(_) => {
                let why = format!("the engine did not tell it within {} s", DIAGNOSE_WITHIN.as_secs());
                Diagnostics { missing: vec![why], ..Diagnostics::default() }
            }
        };
        let event = Event::Diagnosed { intent: permit.intent(), found };
        if let Err(error) = self.write(Append::new(incident.id.clone(), None, vec![event])).await {
            warn!(incident = %incident.id, %error, "What was kept before an action could not be written down");
        }
    }

    /// Comes back when a person wants stopped what is under way, with who and why. Whoever writes that tells; should nobody, it is read.
    async fn stop_asked(&self, id: &IncidentId, news: &Notify) -> String {
        loop {
            if let Ok(Some(incident)) = self.journal.incident(id).await
                && let Some(why) = incident.stopped()
            {
                return why.to_owned();
            }
            let _ = tokio::time::timeout(READ_STOP, news.notified()).await;
        }
    }

    async fn find_out(&self, incident: &Incident, number: u32, news: &Notify) -> Result<(), JournalError> {
        let Some((action, begun)) = incident.intent(number).and_then(|intent| match intent.progress {
            Progress::Begun(at) => Some((&intent.action, at)),
            _ => None,
        }) else {
            return Ok(());
        };
        warn!(incident = %incident.id, %action, "It was begun before this server started: finding out how it ended");
        self.executor.find_out(incident, number, action, begun, self.stop_asked(&incident.id, news)).await
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
        let told = |since| self.intake.told_since(incident, since, settings.stable);
        let (verdict, message) = tokio::select! {
            seen = self.verifier.verify(&attempt_seen, &settings, target, told) => seen,
            () = self.shutdown.requested() => return Ok(()),
        };
        info!(incident = %incident.id, verdict = verdict.word(), %message, "Looked whether it helped");
        let mut append = Append::new(incident.id.clone(), None, vec![Event::Verified { attempt, verdict, message }]);
        append.release_all = true;
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

    /// Ten thousand calls are none: in a storm, a policy that wants a person and has tried nothing is held like one that wants to act, and asked
    /// again when it is over.
    async fn escalate_or_hold(&self, incident: &Incident, message: String) -> Result<(), JournalError> {
        if incident.attempts.is_empty()
            && let Some((loaded, declared)) = self.owner(incident).await
        {
            let claim = Claim { incident, policy: &loaded.policy, declared: &declared };
            if let Some(Stop::Held { rule, message, until }) = self.authoriser.stormy(&self.journal, claim).await? {
                let held = Event::Held { rule, message, until };
                return self.write(Append::new(incident.id.clone(), Some(incident.seq), vec![held])).await;
            }
        }
        self.escalate(incident, message).await
    }

    async fn escalate(&self, incident: &Incident, message: String) -> Result<(), JournalError> {
        let message = match self.policy_of(incident).and_then(|loaded| loaded.policy.escalate.clone()) {
            Some(whom) => format!("{message} (for {})", clean(&whom, 80)),
            None => message,
        };
        warn!(incident = %incident.id, alert = incident.alert.name(), %message, "A person has to look");
        let mut append = Append::new(incident.id.clone(), Some(incident.seq), vec![Event::Escalated { message }]);
        // What this incident has tried in vain is a person's now: no other incident goes on about the same target.
        append.hold = tried(incident);
        self.write(append).await
    }

    async fn close(&self, incident: &Incident, how: Closing, message: String) -> Result<(), JournalError> {
        info!(incident = %incident.id, alert = incident.alert.name(), ?how, %message, "Closed");
        let append = Append::new(incident.id.clone(), Some(incident.seq), vec![Event::Closed { how, message }]);
        match self.intake.close(append).await? {
            Appended::Fenced => Err(JournalError::fenced()),
            _ => Ok(()),
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

/// Nobody may have told of an incident: its first entry was written although the disk seemed to fail, or its story broke off. So
/// it is looked again and again at what the journal itself says is due, and what is open.
async fn sweep(journal: Journal, found: mpsc::Sender<(Vec<IncidentId>, Vec<IncidentId>)>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // An error is told by whoever needs an answer; here the next look is soon.
        let (due, open) = (journal.due(AT_ONCE).await.unwrap_or_default(), journal.open_incidents().await.unwrap_or_default());
        if found.send((due, open)).await.is_err() {
            return;
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

/// The policy that takes it by these answers, if it was nobody's: to do something about it, now or later, or to call a person.
pub(crate) fn taker<'a>(incident: &Incident, answers: &'a [Answer]) -> Option<&'a str> {
    let takes = |decision: &Decision| !matches!(decision, Decision::Pass { .. } | Decision::Ignore { .. });
    let taken = answers.iter().find(|answer| answer.mode.takes() && answer.decision.as_ref().is_ok_and(takes));
    taken.filter(|_| incident.owner.is_none()).map(|answer| answer.policy.as_str())
}

/// The locks of the targets of all attempts. Whoever only told people something has tried nothing.
pub(crate) fn tried(incident: &Incident) -> Vec<String> {
    let intents = incident.attempts.iter().flat_map(|attempt| &attempt.intents);
    let begun = |intent: &&Intent| intent.action.touches() && matches!(intent.progress, Progress::Ended(_));
    intents.filter(begun).map(|intent| target_key(intent.action.target())).collect()
}

/// What follows when nobody took the incident: an error escalates, and so does an owner that cannot answer.
pub(crate) fn untaken(incident: &Incident, answers: &[Answer], decider: &Decider) -> Option<Event> {
    let may_act = || answers.iter().filter(|answer| answer.mode.takes());
    let taken = may_act().any(|answer| matches!(&answer.decision, Ok(decision) if !matches!(decision, Decision::Pass { .. })));
    if taken {
        return None;
    }
    if let Some((policy, why)) = may_act().find_map(|answer| Some((&answer.policy, answer.decision.as_ref().err()?))) {
        return Some(Event::Escalated { message: format!("policy {policy} could not decide: {why}") });
    }
    let message = match (incident.owner.is_some(), may_act().next().is_some(), answers.is_empty()) {
        (true, _, _) => "its policy does not want it any more".to_owned(),
        (_, true, _) => "every policy that matches it and may act passed".to_owned(),
        (_, _, false) => "only policies in mode observe match it".to_owned(),
        _ => format!("no policy matches it{}", decider.why_unmatched(&incident.alert.labels)),
    };
    Some(Event::Unclaimed { message })
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
