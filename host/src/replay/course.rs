//! The course that things would have taken: alerts of the past, heard by a Paramedic that was not there.
//!
//! What decides is real: the plugins, the authoriser with every brake, and the legal life of an incident, on a journal in memory, under a
//! clock that jumps from one moment at which something happens to the next. What answers is assumed: an action takes
//! [`Assumed::takes`] and succeeds, and whether it helped is [`Helps`]. Each incident is a task that sleeps until its next moment, so they
//! meet at the brakes in the order of their times. Absent on purpose: a world. Nothing is looked at, and nothing is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::ledger::Ledger;
use super::outcome::Outcome;
use super::paper::{self, Paper};
use super::series::Episode;
use super::unless::Unless;
use crate::action::{Action, DockerHost, Ending, Outcome as Ended};
use crate::alert::{IncidentId, Via};
use crate::authorise::storm::arrival;
use crate::authorise::{Authorised, Authoriser, Claim, LOOK_AGAIN, Stop};
use crate::clock::{Simulated, Time};
use crate::decide::{Decider, Loaded, Question};
use crate::execute;
use crate::healer::{taker, tried, untaken};
use crate::incident::{Closing, Due, Event, Incident, Phase, Rule, Step, TargetView, Verdict};
use crate::journal::{Append, Appended, Journal, JournalError};
use crate::look::targets::Rules;
use crate::policy::brakes::Brakes;
use crate::policy::maintenance::Window;
use crate::telemetry::clean;

/// What is held is looked at again after twice as long each time, up to this.
const SELDOM: Duration = Duration::from_secs(60);

/// And not sooner than after this, whatever a hold says.
const SOONEST: Duration = Duration::from_secs(1);
/// Steps of one incident that are gone through; a policy that waits a second each time goes on for ever.
const MOST_STEPS: u32 = 20_000;

/// Whether an attempt helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helps {
    /// It did if the alert ended by itself within the time in which it is looked: the series decides.
    AsInSeries,
    /// Always, after `verify.stable`.
    Always,
    /// Never.
    Never,
}

/// What is taken for granted.
#[derive(Clone, Copy, Debug)]
pub struct Assumed {
    /// Whether an attempt helps.
    pub helps: Helps,
    /// How long each action takes.
    pub takes: Duration,
}

/// What of the configuration counts.
#[derive(Clone, Debug)]
pub struct Rulebook {
    /// Which target an alert means.
    pub targets: Rules,
    /// The Docker hosts.
    pub hosts: Vec<DockerHost>,
    /// The global brakes.
    pub brakes: Brakes,
    /// Times in which nothing is done.
    pub maintenance: Vec<Window>,
    /// Alerts that had been firing for longer when they were first seen are left to a person.
    pub max_age: Duration,
    /// What each `unless` found.
    pub unless: Unless,
}

/// Everything that a course needs.
pub struct Course {
    decider: Decider,
    authoriser: Authoriser,
    journal: Journal,
    ledger: Arc<Ledger>,
    rules: Rulebook,
    assumed: Assumed,
    /// Incidents that were left after [`MOST_STEPS`].
    endless: AtomicU64,
}

impl Course {
    /// With these policies, each as it is: whoever wants to see what they would do if they were enforced says so in them.
    pub fn new(decider: impl FnOnce(Vec<Loaded>) -> Decider, policies: Vec<Loaded>, rules: Rulebook, assumed: Assumed) -> Self {
        let on_paper = |loaded: Loaded| Loaded { policy: Arc::new(paper::on_paper(&loaded.policy)), ..loaded };
        let decider = decider(policies.into_iter().map(on_paper).collect());
        let mut brakes = rules.brakes.clone();
        brakes.minimum_healthy.clear();
        let mut authoriser = paper::authoriser(rules.hosts.clone(), brakes, rules.max_age);
        authoriser.maintenance.clone_from(&rules.maintenance);
        authoriser.eyes = Arc::new(Paper::new(rules.hosts.clone()).knowing(rules.unless.clone()));
        let ledger = Arc::new(Ledger::default());
        let journal = Journal::on(Arc::clone(&ledger) as _);
        Self { decider, authoriser, journal, ledger, rules, assumed, endless: AtomicU64::new(0) }
    }

    /// Lets it all happen, from the first alert to `end`, on this thread. `done` counts the alerts that are over.
    ///
    /// # Errors
    /// When the runtime of its clock cannot be started.
    pub fn run(self, episodes: &[Episode], end: Time, done: &AtomicU64) -> std::io::Result<Outcome> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build()?;
        runtime.block_on(async {
            let start = episodes.first().map_or(end, |episode| episode.from);
            let _clock = Simulated::begin(start);
            let mut lives: FuturesUnordered<_> = episodes.iter().map(|episode| self.live(episode, end)).collect();
            while let Some(lived) = lives.next().await {
                // A journal in memory cannot fail; what it refuses is refused.
                if let Err(error) = lived {
                    tracing::warn!(%error, "An alert of the past could not be gone through");
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        let endless = self.endless.load(Ordering::Relaxed);
        Ok(Outcome { endless, ..Outcome::of(&self.ledger.stories(), episodes, &self.decider) })
    }

    async fn live(&self, episode: &Episode, end: Time) -> Result<(), JournalError> {
        sleep_until(episode.from).await;
        // One incident is open per key: what is still being worked on stays what it is.
        let Some(id) = self.ledger.next_id(&episode.key) else { return Ok(()) };
        let opened = Event::Opened { alert: episode.alert.clone(), via: Via::Prometheus };
        self.journal.append(Append::new(id.clone(), Some(0), vec![opened])).await?;
        for step in 0.. {
            if step == MOST_STEPS {
                self.endless.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if Time::now() > end {
                break;
            }
            let Some(incident) = self.ledger.incident(&id) else { return Ok(()) };
            if incident.is_closed() || !self.step(&incident, episode, end).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One legal next step; false when nothing more happens before the end.
    async fn step(&self, incident: &Incident, episode: &Episode, end: Time) -> Result<bool, JournalError> {
        let over = episode.until.is_some_and(|until| Time::now() >= until);
        match incident.next() {
            Step::Ask(trigger) if !over => self.ask(incident, trigger).await?,
            Step::Authorise(proposals) if !over => {
                let Some((loaded, declared)) = self.owner(incident) else {
                    self.escalate(incident, "its policy is gone".to_owned()).await?;
                    return Ok(true);
                };
                let claim = Claim { incident, policy: &loaded.policy, declared: &declared };
                let _spent: Authorised = self.authoriser.authorise(&self.journal, claim, &proposals).await?;
            }
            Step::Carry(intent) => self.carry(incident, intent).await?,
            Step::Cancel(intent) | Step::FindOut(intent) => {
                let message = "an earlier action of this attempt did not succeed".to_owned();
                self.write(Append::new(incident.id.clone(), None, vec![Event::Cancelled { intent, message }])).await?;
            }
            Step::Verify { attempt, since } => self.verify(incident, episode, attempt, since).await?,
            Step::Close(how) => self.close(incident, how, "taken for healed").await?,
            Step::ClearOr(trigger) if !over => self.ask(incident, trigger).await?,
            Step::Escalate(message) if !over => self.escalate_or_hold(incident, message).await?,
            Step::Rest { until, then } if !over => return self.rest(incident, episode, end, until, then).await,
            Step::Done => return Ok(false),
            // The alert's own end, while nothing was under way.
            _ => self.close(incident, Closing::Cleared, "the alert ended").await?,
        }
        Ok(true)
    }

    async fn ask(&self, incident: &Incident, trigger: crate::incident::Trigger) -> Result<(), JournalError> {
        let resolved = self.rules.targets.resolve(&incident.alert.labels, &self.rules.hosts);
        let view = |(target, inventory_host)| TargetView { target, inventory_host, state: "unknown".to_owned() };
        let targets: Vec<TargetView> = resolved.targets.into_iter().map(view).collect();
        let asked = Event::Asked { trigger, targets: targets.clone(), ambiguous: resolved.ambiguous };
        let question = Question { incident: incident.clone(), trigger, targets };
        let append = Append::new(incident.id.clone(), Some(incident.seq), vec![asked]);
        let Ok(question) = self.journal.prove(append, question).await? else { return Ok(()) };
        let answers = self.decider.decide(&question).await;
        let mut events: Vec<Event> = answers.iter().cloned().map(Event::Decided).collect();
        events.extend(untaken(incident, &answers, &self.decider));
        let mut append = Append::new(incident.id.clone(), None, events);
        if let Some(taken) = taker(incident, &answers).and_then(|name| self.decider.policy(name)) {
            let targets = &question.value().targets;
            (append.newcomers, append.mark) = arrival(&taken.policy, &self.authoriser.brakes, incident, targets);
        }
        self.write(append).await
    }

    fn owner(&self, incident: &Incident) -> Option<(&Loaded, Vec<crate::action::Kind>)> {
        let loaded = self.decider.policy(&incident.owner.as_ref()?.policy)?;
        Some((loaded, loaded.plugin.manifest().actions.clone()))
    }

    /// It is assumed to take so long, and to succeed.
    async fn carry(&self, incident: &Incident, intent: u32) -> Result<(), JournalError> {
        let action: Option<Action> = incident.intent(intent).map(|intent| intent.action.clone());
        self.write(Append::new(incident.id.clone(), None, vec![Event::Begun { intent }])).await?;
        tokio::time::sleep(self.assumed.takes).await;
        let (Some(action), Some(incident)) = (action, self.ledger.incident(&incident.id)) else { return Ok(()) };
        let outcome = Ended { ending: Ending::Succeeded, message: "assumed".to_owned(), touched: true, output: Vec::new() };
        self.write(execute::ended(&incident, intent, &action, outcome)).await
    }

    async fn verify(&self, incident: &Incident, episode: &Episode, attempt: u32, since: Time) -> Result<(), JournalError> {
        let settings = self.owner(incident).map(|(loaded, _)| loaded.policy.verify.clone()).unwrap_or_default();
        let last = since.plus(settings.within);
        let healed = match self.assumed.helps {
            Helps::Always => Some(since.plus(settings.stable)),
            Helps::Never => None,
            Helps::AsInSeries => episode.until.map(|until| until.max(Time::now())).filter(|until| *until <= last),
        };
        sleep_until(healed.unwrap_or(last)).await;
        let verdict = if healed.is_some() { Verdict::Healed } else { Verdict::NotHealed };
        let verified = Event::Verified { attempt, verdict, message: "assumed".to_owned() };
        self.write(Append { release_all: true, ..Append::new(incident.id.clone(), None, vec![verified]) }).await
    }

    /// False when nothing more happens before the end.
    async fn rest(
        &self,
        incident: &Incident,
        episode: &Episode,
        end: Time,
        until: Option<Time>,
        then: Option<Due>,
    ) -> Result<bool, JournalError> {
        let over = episode.until.unwrap_or(end.plus(Duration::from_millis(1)));
        let Some(then) = then else {
            sleep_until(over).await;
            return Ok(over <= end);
        };
        let mut pause = LOOK_AGAIN;
        loop {
            sleep_until(until.unwrap_or(Time::now().plus(pause)).max(Time::now().plus(SOONEST)).min(over)).await;
            pause = (pause * 2).min(SELDOM);
            match then {
                _ if Time::now() >= over => return Ok(over <= end),
                Due::Ask(trigger) => match &incident.phase {
                    Phase::Held { rule, until, .. } => match self.still_held(incident, *rule, *until).await? {
                        // Written anew, or to be looked at again in a moment.
                        Some(true) => return Ok(true),
                        Some(false) => {}
                        None => {
                            self.ask(incident, trigger).await?;
                            return Ok(true);
                        }
                    },
                    _ => {
                        self.ask(incident, trigger).await?;
                        return Ok(true);
                    }
                },
                Due::NobodyAnswered => {
                    self.escalate(incident, "nobody said yes or no in time: nothing was done".to_owned()).await?;
                    return Ok(true);
                }
            }
        }
    }

    /// `None`: not any more. Else whether that was written down, since another rule holds it, or until another moment.
    async fn still_held(&self, incident: &Incident, rule: Rule, until: Option<Time>) -> Result<Option<bool>, JournalError> {
        let Some((loaded, declared)) = self.owner(incident) else { return Ok(None) };
        let claim = Claim { incident, policy: &loaded.policy, declared: &declared };
        let would = match incident.wanted() {
            Some([]) | None => self.authoriser.stormy(&self.journal, claim).await?.map_or(Ok(Vec::new()), Err),
            Some(wanted) => self.authoriser.would(&self.journal, claim, wanted).await?,
        };
        let Err(Stop::Held { rule: now, message, until: later }) = would else { return Ok(None) };
        if (now, later) == (rule, until) {
            return Ok(Some(false));
        }
        let held = Event::Held { rule: now, message, until: later };
        self.write(Append::new(incident.id.clone(), Some(incident.seq), vec![held])).await?;
        Ok(Some(true))
    }

    /// In a storm, a policy that wants a person and has tried nothing is held like one that wants to act.
    async fn escalate_or_hold(&self, incident: &Incident, message: String) -> Result<(), JournalError> {
        if incident.attempts.is_empty()
            && let Some((loaded, declared)) = self.owner(incident)
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
        let message = clean(&message, 1000);
        let hold = tried(incident);
        let append = Append::new(incident.id.clone(), Some(incident.seq), vec![Event::Escalated { message }]);
        self.write(Append { hold, ..append }).await
    }

    async fn close(&self, incident: &Incident, how: Closing, message: &str) -> Result<(), JournalError> {
        let message = message.to_owned();
        self.write(Append::new(incident.id.clone(), Some(incident.seq), vec![Event::Closed { how, message }])).await
    }

    async fn write(&self, append: Append) -> Result<(), JournalError> {
        let id: IncidentId = append.incident.clone();
        match self.journal.append(append).await? {
            Appended::Committed { .. } => Ok(()),
            // Nobody else writes to an incident here; that it goes on would be a loop without end.
            other => Err(JournalError::NotDone(format!("{id} could not go on: {other:?}"))),
        }
    }
}

async fn sleep_until(moment: Time) {
    tokio::time::sleep(moment.since(Time::now())).await;
}
