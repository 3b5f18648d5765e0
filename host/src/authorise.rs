//! From a decision to permits, or to a refusal or a hold with the rule that says so.
//!
//! Two questions in a row. *May this ever be done?* Both keys (declared by the plugin, granted by the operator), names that are
//! names, a target that is there, is one, and is not protected: a no is a refusal. *May it be done now?* Halt, holds, maintenance,
//! age, people, silences, brakes: a no is a hold, and it is asked again. Then one append writes the intents of the whole act together with
//! what they spend, all or none; only that commit makes a [`Permit`]. Under a policy in mode `approve` a person is asked in between,
//! and both questions are asked again when the yes is there. Absent on purpose: any other way to a permit.

mod approval;
mod away;
mod brakes;
mod healthy;
mod ours;
mod people;
mod playbook;
pub mod storm;
mod telling;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use approval::Consent;
use brakes::Full;

use crate::action::{Action, DockerVerb, Kind, Proposal, Signal, Target};
use crate::alert::IncidentId;
use crate::clock::{Time, print_duration};
use crate::hold::Holds;
use crate::incident::{Event, Incident, Rule};
use crate::journal::{Append, Appended, Journal, JournalError, Spend};
use crate::look::Eyes;
use crate::look::docker::Container;
use crate::policy::brakes::{Brakes, target_key};
use crate::policy::maintenance::Window;
use crate::policy::{Policy, WhenUnsure};
use crate::telemetry::clean;

/// How long to wait before looking again when a hold names no moment of its own.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The right to do one thing once. Made here, after its intent was committed; spent by `execute`.
#[derive(Debug)]
pub struct Permit {
    incident: IncidentId,
    intent: u32,
    action: Action,
}

impl Permit {
    /// Whose.
    pub fn incident(&self) -> &IncidentId {
        &self.incident
    }
    /// Which intent of that incident.
    pub fn intent(&self) -> u32 {
        self.intent
    }
    /// What may be done.
    pub fn action(&self) -> &Action {
        &self.action
    }
}

/// What came of asking.
#[derive(Debug)]
pub enum Authorised {
    /// The intents are on disk: these may be carried out, in this order.
    Permits(Vec<Permit>),
    /// A refusal or a hold was written, or a person was asked.
    Stopped,
    /// Somebody wrote to the incident meanwhile: read it again.
    Again,
}

/// A no.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// For good: the policy would have to be changed, or a person has to look.
    Refused {
        /// What was wanted.
        proposal: Box<Proposal>,
        /// The rule.
        rule: Rule,
        /// One sentence with what would change it.
        message: String,
    },
    /// For now.
    Held {
        /// The rule.
        rule: Rule,
        /// One sentence with what would change it.
        message: String,
        /// When it is worth asking again.
        until: Option<Time>,
    },
}

impl Stop {
    fn held(rule: Rule, message: impl Into<String>) -> Self {
        Self::Held { rule, message: message.into(), until: None }
    }
}

/// One thing that may ever be done, with what was seen of it.
struct Checked {
    action: Action,
    /// The container it is about, if that is there.
    container: Option<Container>,
    /// SHA-256 of the playbook's file, if it is one.
    playbook: Option<String>,
}

/// Who says yes or no.
#[derive(Debug)]
pub struct Authoriser {
    /// What is looked at.
    pub eyes: Arc<dyn Eyes>,
    /// While this file exists nothing is done.
    pub halt_file: PathBuf,
    /// What people hold.
    pub holds: Holds,
    /// Times in which nothing is done, whatever the policy.
    pub maintenance: Vec<Window>,
    /// The global brakes.
    pub brakes: Brakes,
    /// Alerts that had been firing for longer when first seen are left to a person.
    pub max_age: Duration,
    /// Which storms were told.
    pub storms: storm::Told,
}

/// Who wants something: the incident and the policy that owns it, with what its plugin declares.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// Its policy, as the file says now.
    pub policy: &'a Policy,
    /// The kinds of action that its plugin declares.
    pub declared: &'a [Kind],
}

impl Authoriser {
    /// Authorises what was decided and writes the outcome: intents, a refusal or a hold; or the question to a person whether it may be done.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn authorise(
        &self,
        journal: &Journal,
        claim: Claim<'_>,
        proposals: &[Proposal],
    ) -> Result<Authorised, JournalError> {
        if let Some(stop) = self.before_looking(journal, claim).await? {
            return write_stop(journal, claim.incident, stop).await;
        }
        let consent = Consent::of(claim, Time::now());
        if consent == Consent::Missing {
            return self.ask_a_person(journal, claim, proposals).await;
        }
        let checked = match self.check_with(Some(journal), claim, consent, proposals).await {
            Ok(checked) => checked,
            Err(stop) => return write_stop(journal, claim.incident, stop).await,
        };
        let calm = match self.calm(claim).await {
            Ok(calm) => calm,
            Err(stop) => return write_stop(journal, claim.incident, stop).await,
        };
        let spend = self.spend(claim, &checked);
        let actions = actions_of(checked);
        let incident = claim.incident;
        let (attempt, first) = (incident.next_attempt(), incident.next_intent());
        let intents = (first..).zip(actions.iter().cloned());
        let events = intents.clone().map(|(intent, action)| Event::Intended { attempt, intent, action }).collect();
        let mut append = Append::new(incident.id.clone(), Some(incident.seq), events);
        append.spend.clone_from(&calm);
        append.spend.extend(spend);
        match journal.append(append).await? {
            Appended::Committed { .. } | Appended::Already { .. } => {
                self.passed(claim, &calm);
                let permit = |(intent, action)| Permit { incident: incident.id.clone(), intent, action };
                Ok(Authorised::Permits(intents.map(permit).collect()))
            }
            Appended::Braked { key, limit, after, holder } => {
                let full = Full { key: &key, limit, after, holder: holder.as_ref() };
                let stop = self.braked(journal, claim, full, proposals).await?;
                write_stop(journal, incident, stop).await
            }
            Appended::Conflict { .. } => Ok(Authorised::Again),
            Appended::Fenced => Err(JournalError::fenced()),
        }
    }

    /// Everything is as for an action, but nothing is spent: a person is shown only what would be done at this moment.
    async fn ask_a_person(
        &self,
        journal: &Journal,
        claim: Claim<'_>,
        proposals: &[Proposal],
    ) -> Result<Authorised, JournalError> {
        let incident = claim.incident;
        let event = match self.would_be(journal, claim, proposals).await? {
            Ok(checked) => approval::asked(claim, checked),
            Err(stop) => return write_stop(journal, incident, stop).await,
        };
        write_event(journal, incident, event).await
    }

    /// Would it be allowed now? Looks at everything, the brakes included, and writes nothing.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn would(
        &self,
        journal: &Journal,
        claim: Claim<'_>,
        proposals: &[Proposal],
    ) -> Result<Result<Vec<Action>, Stop>, JournalError> {
        Ok(self.would_be(journal, claim, proposals).await?.map(actions_of))
    }

    /// What the journal alone tells. It is cheap, and there may be ten thousand who ask.
    async fn before_looking(&self, journal: &Journal, claim: Claim<'_>) -> Result<Option<Stop>, JournalError> {
        match self.too_old(claim).err().or_else(|| self.away(journal, claim)) {
            None => self.stormy(journal, claim).await,
            left_to_a_person => Ok(left_to_a_person),
        }
    }

    async fn would_be(
        &self,
        journal: &Journal,
        claim: Claim<'_>,
        proposals: &[Proposal],
    ) -> Result<Result<Vec<Checked>, Stop>, JournalError> {
        // Asked again and again while it is held: what costs nothing comes first here.
        if let Err(stop) = self.left_alone(claim) {
            return Ok(Err(stop));
        }
        if let Some(stop) = self.before_looking(journal, claim).await? {
            return Ok(Err(stop));
        }
        let checked = match self.check_with(Some(journal), claim, Consent::Missing, proposals).await {
            Ok(checked) => checked,
            Err(stop) => return Ok(Err(stop)),
        };
        let mut spend = match self.calm(claim).await {
            Ok(calm) => calm,
            Err(stop) => return Ok(Err(stop)),
        };
        spend.extend(self.spend(claim, &checked));
        match journal.room(&claim.incident.id, &spend).await? {
            Some(Appended::Braked { key, limit, after, holder }) => {
                let full = Full { key: &key, limit, after, holder: holder.as_ref() };
                Ok(Err(self.braked(journal, claim, full, proposals).await?))
            }
            _ => Ok(Ok(checked)),
        }
    }

    fn spend(&self, claim: Claim<'_>, checked: &[Checked]) -> Vec<Spend> {
        let actions: Vec<Action> = checked.iter().map(|checked| checked.action.clone()).collect();
        brakes::spend(claim.policy, &self.brakes, &actions, &healthy::groups(claim.policy, &self.brakes, checked))
    }

    async fn braked(
        &self,
        journal: &Journal,
        claim: Claim<'_>,
        full: Full<'_>,
        proposals: &[Proposal],
    ) -> Result<Stop, JournalError> {
        if let Some(storm) = self.storm_stop(journal, claim, full.key, full.after).await? {
            return Ok(storm);
        }
        let (rule, message) = brakes::explain(full, claim.policy, &self.brakes);
        Ok(match rule {
            // All proposals of one act are about one target, so the refusal keeps that target's lock.
            Rule::AttemptsSpent => Stop::Refused { proposal: Box::new(proposals[0].clone()), rule, message },
            _ => Stop::Held { rule, message, until: full.after },
        })
    }

    /// Everything but the brakes and a person: would it be allowed, as far as looking tells? Writes nothing, and asks no journal: a pause
    /// that another incident made is taken for a person's.
    ///
    /// # Errors
    /// The refusal or the hold.
    pub async fn check(&self, claim: Claim<'_>, proposals: &[Proposal]) -> Result<Vec<Action>, Stop> {
        self.check_with(None, claim, Consent::Missing, proposals).await.map(actions_of)
    }

    async fn check_with(
        &self,
        journal: Option<&Journal>,
        claim: Claim<'_>,
        consent: Consent<'_>,
        proposals: &[Proposal],
    ) -> Result<Vec<Checked>, Stop> {
        // What the brakes never allow would be held for ever.
        if let Some((rule, message)) = brakes::never(claim.policy, &self.brakes, proposals) {
            return Err(Stop::Refused { proposal: Box::new(proposals[0].clone()), rule, message });
        }
        let mut checked = Vec::new();
        for proposal in proposals {
            checked.push(self.may_ever(claim, proposal).await?);
        }
        if let Consent::Yes(digest) = consent {
            approval::is_of(claim, digest, &checked, &proposals[0])?;
        }
        self.may_now(journal, claim, &checked).await?;
        Ok(checked)
    }

    /// May this ever be done?
    async fn may_ever(&self, claim: Claim<'_>, proposal: &Proposal) -> Result<Checked, Stop> {
        let no = |rule: Rule, message: String| Stop::Refused { proposal: Box::new(proposal.clone()), rule, message };
        if !claim.declared.contains(&proposal.kind()) {
            let message = format!("the plugin does not declare {} as something it may ever propose", proposal.kind());
            return Err(no(Rule::NotDeclared, message));
        }
        let target: Target = proposal.target().parse().map_err(|why| no(Rule::InvalidTarget, why))?;
        if !self.eyes.hosts().contains(&target.host) {
            let message = format!("Docker host `{}` is not configured: add it under docker.hosts", target.host);
            return Err(no(Rule::UnknownHost, message));
        }
        if matches!(proposal, Proposal::Silence { .. } | Proposal::ExpireSilence { .. } | Proposal::Notify { .. }) {
            // Nothing is done to the container: it may be protected, gone, or on an engine that does not answer.
            let action = telling::action(&*self.eyes, claim, target, proposal).await?;
            return Ok(Checked { action, container: None, playbook: None });
        }
        let container = self.container(&target).await?;
        let (action, playbook) = match proposal {
            Proposal::Docker { verb, grace_seconds, signal, .. } => {
                let how = (*verb, *grace_seconds, signal.as_deref());
                let action = self.docker_action(claim, &target, container.as_ref(), how);
                (action.map_err(|(rule, m)| no(rule, m))?, None)
            }
            _ => {
                let action = playbook::action(&*self.eyes, claim, &target, proposal).await;
                let (action, file) = action.map_err(|stop| stop.into_stop(proposal))?;
                (action, Some(file))
            }
        };
        if let Some(why) = container.as_ref().and_then(|c| c.protected.as_deref()) {
            return Err(no(Rule::ProtectedTarget, format!("{target} is never touched: {why}")));
        }
        Ok(Checked { action, container, playbook })
    }

    fn docker_action(
        &self,
        claim: Claim<'_>,
        target: &Target,
        container: Option<&Container>,
        (verb, grace_seconds, signal): (DockerVerb, Option<u32>, Option<&str>),
    ) -> Result<Action, (Rule, String)> {
        let signal = match (verb, signal) {
            (DockerVerb::Kill, None) => Some(Signal::KILL),
            (DockerVerb::Kill, Some(name)) => Some(name.parse().map_err(|why| (Rule::InvalidProposal, why))?),
            _ => None,
        };
        let nothing = crate::alert::Labels::new();
        let labels = container.map_or(&nothing, |c| &c.labels);
        if !claim.policy.grants.allows_docker(verb, signal, target, labels) {
            let word = verb.kind().word().trim_start_matches("docker.");
            let (what, grant) = match signal {
                None => (word.to_owned(), format!("{word}: [\"{target}\"]")),
                Some(signal) => (format!("send {signal} to"), format!("{word}: {{{signal}: [\"{target}\"]}}")),
            };
            let policy = &claim.policy.name;
            let message =
                format!("policy {policy} has no grant to {what} {target}; to allow it: grants: {{docker: {{{grant}}}}}");
            return Err((Rule::NotGranted, message));
        }
        let Some(container) = container else {
            return Err((
                Rule::MissingTarget,
                format!("there is no container named exactly {} on {}", target.container, target.host),
            ));
        };
        Ok(Action::Docker {
            verb,
            target: target.clone(),
            container: container.id.clone(),
            started_at: container.started_at.clone(),
            grace_seconds,
            signal,
        })
    }

    /// The container of that name, or none. An engine that cannot be asked holds: nothing can be resolved.
    async fn container(&self, target: &Target) -> Result<Option<Container>, Stop> {
        let found = self.eyes.container(target).await;
        found.map_err(|error| {
            Stop::held(Rule::Unsure, format!("{target} cannot be looked at: {}", clean(&error.to_string(), 500)))
        })
    }

    /// May it be done now? Cheap questions first.
    async fn may_now(&self, journal: Option<&Journal>, claim: Claim<'_>, wanted: &[Checked]) -> Result<(), Stop> {
        self.left_alone(claim)?;
        self.too_old(claim)?;
        // What touches nothing is not done against anybody who stopped or started the target.
        let touched = wanted.iter().filter(|checked| checked.action.touches());
        for container in touched.filter_map(|checked| checked.container.as_ref()) {
            self.deliberately_stopped(journal, claim, container).await?;
            recently_started(claim, container)?;
        }
        self.unless(claim).await?;
        self.silenced(claim).await?;
        self.enough_healthy(claim.policy, wanted).await
    }

    /// What can be told without asking anybody.
    fn left_alone(&self, claim: Claim<'_>) -> Result<(), Stop> {
        self.forbidden(&claim.incident.alert.labels)?;
        self.maintained(claim)
    }

    fn too_old(&self, claim: Claim<'_>) -> Result<(), Stop> {
        let max = claim.policy.max_age.unwrap_or(self.max_age);
        let age = claim.incident.opened_at.min(Time::now()).since(claim.incident.alert.starts_at);
        if claim.incident.taken_at.is_some() || age <= max {
            return Ok(());
        }
        let message = format!(
            "it had been firing for {} when it was first seen, longer than max_age ({}): left to a person; `paramedic incident retry {} --reason ...` lets it go on",
            print_duration(age),
            print_duration(max),
            claim.incident.id,
        );
        Err(Stop::held(Rule::TooOld, message))
    }

    async fn silenced(&self, claim: Claim<'_>) -> Result<(), Stop> {
        match self.eyes.suppression(&claim.incident.alert.labels).await {
            Ok(None) => Ok(()),
            Ok(Some(hold)) => Err(Stop::Held { rule: hold.rule, message: clean(&hold.to_string(), 500), until: None }),
            Err(error) => unsure(claim.policy, "whether the alert is silenced", &error),
        }
    }
}

fn actions_of(checked: Vec<Checked>) -> Vec<Action> {
    checked.into_iter().map(|checked| checked.action).collect()
}

async fn write_stop(journal: &Journal, incident: &Incident, stop: Stop) -> Result<Authorised, JournalError> {
    let (event, spend) = match stop {
        Stop::Refused { proposal, rule, message } => {
            let spend = stays_with(rule, &proposal);
            (Event::Refused { attempt: incident.next_attempt(), proposal: *proposal, rule, message }, spend)
        }
        Stop::Held { rule, message, until } => (Event::Held { rule, message, until }, Vec::new()),
    };
    write(journal, Append { spend, ..Append::new(incident.id.clone(), Some(incident.seq), vec![event]) }).await
}

/// A target whose attempts are spent stays with the incident that was told so, until that is closed: other incidents about it neither act
/// nor call a person too.
fn stays_with(rule: Rule, proposal: &Proposal) -> Vec<Spend> {
    match proposal.target().parse() {
        Ok(target) if rule == Rule::AttemptsSpent => vec![Spend::Lock { key: target_key(&target), limit: 1 }],
        _ => Vec::new(),
    }
}

async fn write_event(journal: &Journal, incident: &Incident, event: Event) -> Result<Authorised, JournalError> {
    write(journal, Append::new(incident.id.clone(), Some(incident.seq), vec![event])).await
}

async fn write(journal: &Journal, append: Append) -> Result<Authorised, JournalError> {
    match journal.append(append).await? {
        Appended::Committed { .. } | Appended::Already { .. } => Ok(Authorised::Stopped),
        Appended::Fenced => Err(JournalError::fenced()),
        // Also when another incident took the target meanwhile: authorised again, this one is then held for it.
        _ => Ok(Authorised::Again),
    }
}

/// What could not be found out holds, unless the policy says otherwise.
fn unsure(policy: &Policy, what: &str, error: &dyn std::error::Error) -> Result<(), Stop> {
    if policy.when_unsure == WhenUnsure::Act {
        return Ok(());
    }
    let message = format!("it cannot be found out {what}: {} (when_unsure: act would act)", clean(&error.to_string(), 500));
    Err(Stop::held(Rule::Unsure, message))
}

/// A container that runs and was started after the alert began, not for this incident nor by its restart policy, is somebody's
/// repair: a person's, or another incident's about the same target. It is given as long as an attempt of this policy would be.
fn recently_started(claim: Claim<'_>, container: &Container) -> Result<(), Stop> {
    let incident = claim.incident;
    let Some(started) = container.started else { return Ok(()) };
    let running = container.state == "running" && container.restart_count == 0;
    let settles = started.plus(claim.policy.verify.within);
    let settled = Time::now() >= settles;
    if !running || settled || started <= incident.alert.starts_at || ours::is_ours(incident, &container.target, started) {
        return Ok(());
    }
    let message = format!("{} was started at {started}, after the alert began: waiting whether that helped", container.target);
    Err(Stop::Held { rule: Rule::RecentlyStarted, message, until: Some(settles) })
}
