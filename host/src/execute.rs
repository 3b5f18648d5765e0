//! Spend a permit: write `begun`, do it, write what came of it.
//!
//! A permit is taken by value, so it is spent once. `begun` is on disk before anything is touched; from then on until the result
//! is on disk nobody knows whether it took place, and a server that finds such an intent at start looks and never
//! repeats. Absent on purpose: deciding whether something should be done.

pub mod alertmanager;
pub mod ansible;
pub mod docker;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use crate::action::{Action, Ending, Outcome, Target};
use crate::authorise::Permit;
use crate::clock::Time;
use crate::incident::{Event, Incident, Phase};
use crate::journal::{Append, Appended, Journal, JournalError};
use crate::look::docker::Engines;
use crate::look::{Eyes, inventory};
use crate::policy::brakes::{ALL_KEY, cooldown_key, policy_key};
use crate::telemetry::clean;

/// The hands: all that ever changes the world goes through here, so that a simulated world can stand behind it.
pub trait Hands: fmt::Debug + Send + Sync {
    /// One call to an engine about one container.
    fn docker<'a>(&'a self, call: docker::Call<'a>, within: Duration) -> BoxFuture<'a, Result<(), docker::NotDone>>;

    /// Runs the playbook of this action under this name, once, and says what came of it.
    fn playbook<'a>(&'a self, run: &'a str, action: &'a Action) -> BoxFuture<'a, Outcome>;

    /// Finds out how the run of this name ended, which was begun before this server started. Runs nothing.
    fn find_playbook<'a>(&'a self, run: &'a str, begun_at: Time) -> BoxFuture<'a, Outcome>;

    /// Makes a silence. Gives its id.
    fn silence<'a>(&'a self, _: alertmanager::Silence<'a>) -> BoxFuture<'a, Result<String, docker::NotDone>> {
        std::future::ready(Err(alertmanager::unconfigured())).boxed()
    }

    /// Ends the silence of this id.
    fn expire<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<(), docker::NotDone>> {
        std::future::ready(Err(alertmanager::unconfigured())).boxed()
    }

    /// Says something through a channel, once.
    fn say<'a>(&'a self, said: Said<'a>) -> BoxFuture<'a, Outcome> {
        std::future::ready(untouched(&format!("there is no channel {}", clean(said.channel, 80)))).boxed()
    }

    /// Ends everything that belongs to the run of this name, for this reason, and says how far it had come. Runs nothing.
    fn end_playbook<'a>(&'a self, run: &'a str, why: &'a str) -> BoxFuture<'a, Outcome>;
}

/// What is said through a channel.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// For which incident.
    pub incident: &'a Incident,
    /// Which intent of it: together they name the message.
    pub intent: u32,
    /// The target it is about.
    pub about: &'a Target,
    /// The operator's name of the channel.
    pub channel: &'a str,
    /// The text, cleaned and bounded.
    pub text: &'a str,
}

/// Who knows the operator's channels. Implemented where people are told things (`notify`), which this room does not know.
pub trait Voice: fmt::Debug + Send + Sync {
    /// Says it once, within a deadline.
    fn say<'a>(&'a self, said: Said<'a>) -> BoxFuture<'a, Outcome>;
}

/// The real hands: the operator's engines and `ansible-playbook`.
#[derive(Debug)]
pub struct RealHands {
    /// The containers.
    pub engines: Arc<Engines>,
    /// Playbooks and inventories, if there are any.
    pub ansible: Option<Arc<inventory::Settings>>,
    /// One folder per playbook run.
    pub runs: PathBuf,
    /// Where silences are made, if anywhere.
    pub silences: Option<alertmanager::Silences>,
    /// The channels.
    pub voice: Option<Arc<dyn Voice>>,
}

impl Hands for RealHands {
    fn docker<'a>(&'a self, call: docker::Call<'a>, within: Duration) -> BoxFuture<'a, Result<(), docker::NotDone>> {
        docker::call(&self.engines, call, within).boxed()
    }

    fn playbook<'a>(&'a self, run: &'a str, action: &'a Action) -> BoxFuture<'a, Outcome> {
        match &self.ansible {
            Some(settings) => ansible::carry(settings, &self.runs, run, action).boxed(),
            None => std::future::ready(ansible::unconfigured()).boxed(),
        }
    }

    fn find_playbook<'a>(&'a self, run: &'a str, begun_at: Time) -> BoxFuture<'a, Outcome> {
        match &self.ansible {
            Some(settings) => ansible::find_out(settings, &self.runs, run, begun_at).boxed(),
            None => std::future::ready(ansible::unconfigured()).boxed(),
        }
    }

    fn silence<'a>(&'a self, silence: alertmanager::Silence<'a>) -> BoxFuture<'a, Result<String, docker::NotDone>> {
        match &self.silences {
            Some(silences) => silences.make(silence).boxed(),
            None => std::future::ready(Err(alertmanager::unconfigured())).boxed(),
        }
    }

    fn expire<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), docker::NotDone>> {
        match &self.silences {
            Some(silences) => silences.end(id).boxed(),
            None => std::future::ready(Err(alertmanager::unconfigured())).boxed(),
        }
    }

    fn say<'a>(&'a self, said: Said<'a>) -> BoxFuture<'a, Outcome> {
        match &self.voice {
            Some(voice) => voice.say(said),
            None => std::future::ready(untouched("no channel is configured: add it under notify.webhooks")).boxed(),
        }
    }

    fn end_playbook<'a>(&'a self, run: &'a str, why: &'a str) -> BoxFuture<'a, Outcome> {
        ansible::end(&self.runs, run, why).boxed()
    }
}

/// Who carries out what is permitted.
#[derive(Debug)]
pub struct Executor {
    /// Where begun and result are written.
    pub journal: Journal,
    /// What is looked at before and after.
    pub eyes: Arc<dyn Eyes>,
    /// What it is done with.
    pub hands: Arc<dyn Hands>,
}

impl Executor {
    /// Carries out what is permitted. `incident` is the incident as of the append that made the permit. Why it must not begin, if so, is
    /// asked once more behind `begun`: writing takes a moment, and who halted in it was told that nothing begins any more. `stop` comes
    /// back when a person wants it ended, with who and why: a playbook is, and a call to an engine cannot be.
    ///
    /// # Errors
    /// When the journal cannot be written. Was that before `begun`, nothing was done.
    pub async fn execute(
        &self,
        permit: Permit,
        incident: &Incident,
        forbidden: impl Fn() -> Option<String>,
        stop: impl Future<Output = String>,
    ) -> Result<(), JournalError> {
        let begun = Append::new(permit.incident().clone(), None, vec![Event::Begun { intent: permit.intent() }]);
        self.write(begun).await?;
        // Who stopped it before this line was told that what had not begun does not begin.
        let stopped = self.journal.incident(permit.incident()).await?.and_then(|now| now.stopped().map(str::to_owned));
        let forbidden = forbidden().or(stopped);
        let outcome = match permit.action() {
            _ if forbidden.is_some() => untouched(forbidden.as_deref().unwrap_or_default()),
            action @ Action::Docker { .. } => {
                let within = docker::deadline(&*self.eyes, action).await;
                docker::carry(&*self.eyes, &*self.hands, action, within).await
            }
            action @ Action::Playbook { .. } => {
                let run = run_id(incident, permit.intent());
                let outcome = self.until_stopped(&run, self.hands.playbook(&run, action), stop).await;
                if outcome.ending == Ending::Interrupted { ansible::labelled(action, outcome) } else { outcome }
            }
            Action::Notify { about, channel, text } => {
                let said = Said { incident, intent: permit.intent(), about, channel, text };
                self.hands.say(said).await
            }
            action @ (Action::Silence { .. } | Action::ExpireSilence { .. }) => {
                alertmanager::carry(&*self.eyes, &*self.hands, incident, permit.intent(), action).await
            }
        };
        self.end(incident, permit.intent(), permit.action(), outcome).await
    }

    /// Waits for a playbook until it has ended, or a person wants it ended.
    async fn until_stopped(&self, run: &str, playbook: BoxFuture<'_, Outcome>, stop: impl Future<Output = String>) -> Outcome {
        let why = tokio::select! {
            outcome = playbook => return outcome,
            why = stop => why,
        };
        self.hands.end_playbook(run, &why).await
    }

    /// Finds out how an intent ended that was begun before this server started, and writes that down. `stop` as for [`Self::execute`].
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn find_out(
        &self,
        incident: &Incident,
        intent: u32,
        action: &Action,
        begun_at: Time,
        stop: impl Future<Output = String>,
    ) -> Result<(), JournalError> {
        let outcome = match action {
            Action::Docker { .. } => docker::find_out(&*self.eyes, action, begun_at).await,
            Action::Playbook { .. } => {
                let run = run_id(incident, intent);
                ansible::labelled(action, self.until_stopped(&run, self.hands.find_playbook(&run, begun_at), stop).await)
            }
            Action::Notify { channel, .. } => untold(channel),
            Action::Silence { .. } | Action::ExpireSilence { .. } => {
                alertmanager::find_out(&*self.eyes, incident, intent, action, begun_at).await
            }
        };
        self.end(incident, intent, action, outcome).await
    }

    /// Writes that an intent will not be carried out.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn cancel(&self, incident: &Incident, intent: u32, why: &str) -> Result<(), JournalError> {
        let event = Event::Cancelled { intent, message: why.to_owned() };
        let mut append = Append::new(incident.id.clone(), None, vec![event.clone()]);
        give_back(incident, &event, &mut append);
        self.write(append).await
    }

    async fn end(&self, incident: &Incident, intent: u32, action: &Action, outcome: Outcome) -> Result<(), JournalError> {
        self.write(ended(incident, intent, action, outcome)).await
    }

    async fn write(&self, append: Append) -> Result<(), JournalError> {
        match self.journal.append(append).await? {
            Appended::Committed { .. } | Appended::Already { .. } => Ok(()),
            other => Err(JournalError::NotDone(format!("it was refused: {other:?}"))),
        }
    }
}

fn untouched(why: &str) -> Outcome {
    Outcome { ending: Ending::Failed, message: format!("nothing was done: {why}"), touched: false, output: Vec::new() }
}

/// A message leaves no trace that could be looked at, and it is never sent twice.
fn untold(channel: &str) -> Outcome {
    let message = format!("it cannot be told whether {} got the message; it is not sent again", clean(channel, 80));
    Outcome { ending: Ending::Interrupted, message, touched: false, output: Vec::new() }
}

/// Name of a playbook's run folder and of the mark that its processes carry.
fn run_id(incident: &Incident, intent: u32) -> String {
    format!("{}-{intent}", incident.id)
}

/// What is written when an action has ended: the cooldown counts from the outcome, and an act that is over gives its locks back.
pub fn ended(incident: &Incident, intent: u32, action: &Action, outcome: Outcome) -> Append {
    let event = Event::Ended { intent, outcome };
    let mut append = Append::new(incident.id.clone(), None, vec![event.clone()]);
    append.stamp = vec![cooldown_key(action)];
    give_back(incident, &event, &mut append);
    append
}

/// The locks that are given back with this event: none while the act goes on; those of acting when it is over; all of them, those of
/// target and groups too, when there is nothing to look at, or a person stopped it.
fn give_back(incident: &Incident, event: &Event, append: &mut Append) {
    let mut after = incident.clone();
    after.apply(incident.seq + 1, Time::now(), event);
    match after.phase {
        Phase::Acting => {}
        Phase::Verifying(_) => {
            append.release.extend(incident.owner.as_ref().map(|owner| policy_key(&owner.policy)));
            append.release.push(ALL_KEY.to_owned());
        }
        _ => append.release_all = true,
    }
}
