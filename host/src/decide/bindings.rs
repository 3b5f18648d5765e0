//! The contract's host side: what a plugin is told, and what it can make and say.
//!
//! Each function of `wit/policy.wit` answers from the [`Brief`] of the question. Making a proposal only puts plain data into a
//! table; nothing happens by it. Lookups, once there are any, are further `impl`s here that are async, granted and recorded.

use wasmtime::component::{HasSelf, Linker, Resource};

use self::wit::paramedic::policy::{ansible, docker, incident, log, types};
use super::guest::{Guest, Overstep};
use super::question::{Brief, Said};
use crate::action::{Action, DockerVerb, Ending, Proposal};
use crate::alert::{Alert, Labels, Status};
use crate::incident::{Attempt, Intent, Progress, TargetView};
use crate::telemetry::clean;

/// Proposals that a plugin may hold at once.
const MAX_PROPOSALS: usize = 64;
/// Bytes of a name in a proposal; longer ones cannot be right.
const MAX_NAME_BYTES: usize = 1024;
/// Bytes of all names and values of a playbook's variables.
const MAX_VARIABLES_BYTES: usize = 64 << 10;
/// Characters of an outcome's message that are told.
const MAX_MESSAGE_CHARS: usize = 1000;

/// What `bindgen!` makes of the contract.
#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        imports: { default: trappable },
        exports: { default: async },
        with: { "paramedic:policy/types.proposal": crate::action::Proposal },
    });
}

pub(super) use wit::exports::paramedic::policy::lifecycle::Manifest as RawManifest;
pub(super) use wit::{Policy, PolicyPre};

/// The interfaces of the contract that a plugin can import.
pub(super) const INTERFACES: [&str; 5] = ["types", "incident", "docker", "ansible", "log"];

/// Links the whole contract. What may be done is not decided here but by grants.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    Policy::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

/// Takes the answer's proposals out of their handles.
pub(super) fn unwrap(guest: &mut Guest, answer: Result<types::Decision, String>) -> wasmtime::Result<Said> {
    Ok(match answer {
        Ok(types::Decision::Pass(reason)) => Said::Pass(reason),
        Ok(types::Decision::Ignore(reason)) => Said::Ignore(reason),
        Ok(types::Decision::Escalate(reason)) => Said::Escalate(reason),
        Ok(types::Decision::Wait(wait)) => Said::Wait(wait.reason, wait.duration),
        Ok(types::Decision::Act(act)) => {
            let taken: Result<_, _> = act.proposals.into_iter().map(|handle| guest.table.delete(handle)).collect();
            Said::Act(act.reason, taken?)
        }
        Err(text) => Said::Error(text),
    })
}

impl Guest {
    fn brief(&self) -> wasmtime::Result<&Brief> {
        self.brief
            .as_ref()
            .ok_or_else(|| Overstep("`describe` must not ask about an incident: there is none yet".to_owned()).into())
    }

    fn propose(&mut self, proposal: Proposal) -> wasmtime::Result<Resource<Proposal>> {
        if self.proposals >= MAX_PROPOSALS {
            return Err(Overstep(format!("it made more than {MAX_PROPOSALS} proposals")).into());
        }
        self.proposals += 1;
        Ok(self.table.push(proposal)?)
    }

    fn docker(&mut self, verb: DockerVerb, target: &str, grace_seconds: Option<u32>) -> wasmtime::Result<Resource<Proposal>> {
        let target = name("target", target)?;
        self.propose(Proposal::Docker { verb, target, grace_seconds })
    }
}

/// A name in a proposal. It is never shortened: a shortened name could be another's. Cleaning only ever makes it invalid.
fn name(what: &str, text: &str) -> wasmtime::Result<String> {
    if text.len() > MAX_NAME_BYTES {
        return Err(
            Overstep(format!("the {what} of a proposal is {} bytes long; {MAX_NAME_BYTES} are allowed", text.len())).into()
        );
    }
    Ok(clean(text, MAX_NAME_BYTES))
}

impl types::Host for Guest {}

impl types::HostProposal for Guest {
    fn drop(&mut self, handle: Resource<Proposal>) -> wasmtime::Result<()> {
        self.proposals = self.proposals.saturating_sub(1);
        self.table.delete(handle)?;
        Ok(())
    }
}

impl incident::Host for Guest {
    fn id(&mut self) -> wasmtime::Result<String> {
        Ok(self.brief()?.id.to_string())
    }
    fn alert(&mut self) -> wasmtime::Result<types::Alert> {
        let brief = self.brief()?;
        Ok(alert(&brief.alert, brief.first_seen.0))
    }
    fn trigger(&mut self) -> wasmtime::Result<String> {
        Ok(self.brief()?.trigger.word().to_owned())
    }
    fn attempts(&mut self) -> wasmtime::Result<Vec<types::Attempt>> {
        Ok(self.brief()?.attempts.iter().map(attempt).collect())
    }
    fn targets(&mut self) -> wasmtime::Result<Vec<types::Target>> {
        Ok(self.brief()?.targets.iter().map(target).collect())
    }
    fn settings(&mut self) -> wasmtime::Result<String> {
        let settings = &self.brief()?.settings;
        Ok(if settings.is_null() { "{}".to_owned() } else { settings.to_string() })
    }
    fn now(&mut self) -> wasmtime::Result<i64> {
        Ok(self.brief()?.now.0)
    }
}

impl docker::Host for Guest {
    fn restart(&mut self, target: String, grace_seconds: Option<u32>) -> wasmtime::Result<Resource<Proposal>> {
        self.docker(DockerVerb::Restart, &target, grace_seconds)
    }
    fn start(&mut self, target: String) -> wasmtime::Result<Resource<Proposal>> {
        self.docker(DockerVerb::Start, &target, None)
    }
    fn stop(&mut self, target: String, grace_seconds: Option<u32>) -> wasmtime::Result<Resource<Proposal>> {
        self.docker(DockerVerb::Stop, &target, grace_seconds)
    }
}

impl ansible::Host for Guest {
    fn playbook(
        &mut self,
        playbook: String,
        about: String,
        host: Option<String>,
        variables: Vec<(String, String)>,
    ) -> wasmtime::Result<Resource<Proposal>> {
        let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_VARIABLES_BYTES {
            let text = format!("the variables of a playbook are {bytes} bytes long; {MAX_VARIABLES_BYTES} are allowed");
            return Err(Overstep(text).into());
        }
        let host = host.map(|host| name("host", &host)).transpose()?;
        self.propose(Proposal::Playbook { name: name("playbook", &playbook)?, about: name("target", &about)?, host, variables })
    }
}

impl log::Host for Guest {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.notes.log(level, &message);
        Ok(())
    }
}

fn pairs(labels: &Labels) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn alert(alert: &Alert, first_seen: i64) -> types::Alert {
    types::Alert {
        source: alert.family.word().to_owned(),
        status: match alert.status {
            Status::Firing => "firing",
            Status::Resolved => "resolved",
        }
        .to_owned(),
        labels: pairs(&alert.labels),
        annotations: pairs(&alert.annotations),
        starts_at: alert.starts_at.0,
        first_seen,
        generator_url: alert.generator_url.clone(),
        extra: Vec::new(),
    }
}

fn target(view: &TargetView) -> types::Target {
    types::Target {
        name: view.target.to_string(),
        inventory_host: view.inventory_host.as_ref().map(ToString::to_string),
        state: view.state.clone(),
        extra: Vec::new(),
    }
}

fn attempt(attempt: &Attempt) -> types::Attempt {
    let mut actions: Vec<_> = attempt.intents.iter().map(intended).collect();
    actions.extend(attempt.refused.iter().map(|(proposal, rule, message)| types::AttemptedAction {
        kind: proposal.kind().word().to_owned(),
        target: proposal.target().to_owned(),
        detail: if let Proposal::Playbook { name, .. } = proposal { name.clone() } else { String::new() },
        outcome: "refused".to_owned(),
        message: clean(&format!("{rule}: {message}"), MAX_MESSAGE_CHARS),
        extra: Vec::new(),
    }));
    types::Attempt {
        number: attempt.number,
        started_at: attempt.started_at.0,
        ended_at: attempt.ended_at.0,
        actions,
        verification: verification(attempt).to_owned(),
        extra: Vec::new(),
    }
}

fn intended(intent: &Intent) -> types::AttemptedAction {
    let (outcome, message) = match &intent.progress {
        Progress::Ended(outcome) => (outcome.ending.word(), outcome.message.as_str()),
        Progress::Cancelled(message) => ("cancelled", message.as_str()),
        // A plugin is asked between attempts, so an intent without an end was cut off by a restart.
        Progress::Intended | Progress::Begun(_) => ("interrupted", "Paramedic was stopped in the middle of it"),
    };
    types::AttemptedAction {
        kind: intent.action.kind().word().to_owned(),
        target: intent.action.target().to_string(),
        detail: if let Action::Playbook { name, .. } = &intent.action { name.clone() } else { String::new() },
        outcome: outcome.to_owned(),
        message: clean(message, MAX_MESSAGE_CHARS),
        extra: Vec::new(),
    }
}

/// The verdict, or what is known without one: nothing was done; all that was tried failed; or it cannot be told.
fn verification(attempt: &Attempt) -> &'static str {
    let failed = |intent: &Intent| matches!(&intent.progress, Progress::Ended(o) if o.ending == Ending::Failed);
    let untouched = |intent: &Intent| matches!(intent.progress, Progress::Cancelled(_));
    match attempt.verdict {
        Some(verdict) => verdict.word(),
        None if attempt.intents.iter().all(untouched) => "none",
        None if attempt.intents.iter().all(|i| failed(i) || untouched(i)) => "not-healed",
        None => "unclear",
    }
}
