//! The contract's host side: what a plugin is told, and what it can make and say.
//!
//! Each function of `wit/policy.wit` answers from the [`Brief`] of the question. Making a proposal only puts plain data into a
//! table; nothing happens by it. Lookups are async, and granted, bounded and recorded in `lookup.rs`.

use wasmtime::component::{HasSelf, Linker, Resource};

use self::wit::paramedic::policy::{alertmanager, ansible, containers, docker, history, incident, log, metrics, notify, types};
use super::guest::{Guest, Overstep};
use super::question::{Brief, Said};
use crate::action::{DockerVerb, Proposal, ProposedMatcher};
use crate::alert::{Alert, Labels, Status};
use crate::incident::TargetView;
use crate::incident::lookup::{Found, FoundContainer, Lookup, LookupError, PastAction, PastAttempt, PastIncident, Sample};
use crate::telemetry::clean;

/// Proposals that a plugin may hold at once.
const MAX_PROPOSALS: usize = 64;
/// Bytes of a name in a proposal; longer ones cannot be right.
const MAX_NAME_BYTES: usize = 1024;
/// Bytes of all proposals that a plugin holds: the host keeps them, and those of an act are written down.
const MAX_PROPOSED_BYTES: usize = 512 << 10;
/// Variables of a playbook.
const MAX_VARIABLES: usize = 256;
/// Bytes of all names and values of a playbook's variables.
const MAX_VARIABLES_BYTES: usize = 64 << 10;
/// Matchers that a silence may have.
const MAX_MATCHERS: usize = 32;
/// Bytes of a silence's comment, of a text to a channel, of a matcher's value.
const MAX_TEXT_BYTES: usize = 8 << 10;
/// Tags that a playbook may be limited to.
const MAX_TAGS: usize = 32;

/// What `bindgen!` makes of the contract.
#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        imports: {
            default: trappable,
            "paramedic:policy/containers.find": async | trappable,
            "paramedic:policy/containers.inspect": async | trappable,
            "paramedic:policy/containers.log-tail": async | trappable,
            "paramedic:policy/metrics.query": async | trappable,
            "paramedic:policy/history.of-target": async | trappable,
        },
        exports: { default: async },
        with: { "paramedic:policy/types.proposal": crate::action::Proposal },
    });
}

pub(super) use wit::exports::paramedic::policy::lifecycle::Manifest as RawManifest;
pub(super) use wit::{Policy, PolicyPre};

/// The interfaces of the contract that a plugin can import.
pub(super) const INTERFACES: [&str; 10] =
    ["types", "incident", "docker", "ansible", "alertmanager", "notify", "containers", "metrics", "history", "log"];

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
        let bytes = self.proposed_bytes.saturating_add(weight(&proposal));
        if bytes > MAX_PROPOSED_BYTES {
            let text = format!("its proposals are more than {} KiB long together", MAX_PROPOSED_BYTES >> 10);
            return Err(Overstep(text).into());
        }
        self.proposals += 1;
        self.proposed_bytes = bytes;
        Ok(self.table.push(proposal)?)
    }

    fn docker(
        &mut self,
        verb: DockerVerb,
        target: &str,
        grace_seconds: Option<u32>,
        signal: Option<String>,
    ) -> wasmtime::Result<Resource<Proposal>> {
        let target = name("target", target)?;
        let signal = signal.map(|signal| name("signal", &signal)).transpose()?;
        self.propose(Proposal::Docker { verb, target, grace_seconds, signal })
    }
}

/// Bytes of a proposal's texts, with something for each of them.
fn weight(proposal: &Proposal) -> usize {
    let of = |text: &String| text.len() + 32;
    match proposal {
        Proposal::Docker { target, signal, .. } => of(target) + signal.as_ref().map_or(0, of),
        Proposal::Playbook { name, about, host, variables, tags, .. } => {
            let variables: usize = variables.iter().map(|(name, value)| of(name) + of(value)).sum();
            of(name) + of(about) + host.as_ref().map_or(0, of) + variables + tags.iter().map(of).sum::<usize>()
        }
        Proposal::Silence { about, matchers, comment, .. } => {
            of(about) + of(comment) + matchers.iter().map(|m| of(&m.name) + of(&m.op) + of(&m.value)).sum::<usize>()
        }
        Proposal::ExpireSilence { about, id } => of(about) + id.as_ref().map_or(0, of),
        Proposal::Notify { about, channel, text } => of(about) + of(channel) + of(text),
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

/// A text for people in a proposal; cleaned only where it is shown or sent.
fn text(what: &str, text: String) -> wasmtime::Result<String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(
            Overstep(format!("the {what} of a proposal is {} bytes long; {MAX_TEXT_BYTES} are allowed", text.len())).into()
        );
    }
    Ok(text)
}

fn few<T>(what: &str, list: Vec<T>, most: usize) -> wasmtime::Result<Vec<T>> {
    if list.len() > most {
        return Err(Overstep(format!("a proposal has {} {what}; {most} are allowed", list.len())).into());
    }
    Ok(list)
}

impl types::Host for Guest {}

impl types::HostProposal for Guest {
    fn drop(&mut self, handle: Resource<Proposal>) -> wasmtime::Result<()> {
        let proposal = self.table.delete(handle)?;
        self.proposals = self.proposals.saturating_sub(1);
        self.proposed_bytes = self.proposed_bytes.saturating_sub(weight(&proposal));
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
        Ok(self.brief()?.attempts.iter().cloned().map(attempt).collect())
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
        self.docker(DockerVerb::Restart, &target, grace_seconds, None)
    }
    fn start(&mut self, target: String) -> wasmtime::Result<Resource<Proposal>> {
        self.docker(DockerVerb::Start, &target, None, None)
    }
    fn stop(&mut self, target: String, grace_seconds: Option<u32>) -> wasmtime::Result<Resource<Proposal>> {
        self.docker(DockerVerb::Stop, &target, grace_seconds, None)
    }
    fn pause(&mut self, target: String) -> wasmtime::Result<Resource<Proposal>> {
        self.docker(DockerVerb::Pause, &target, None, None)
    }
    fn unpause(&mut self, target: String) -> wasmtime::Result<Resource<Proposal>> {
        self.docker(DockerVerb::Unpause, &target, None, None)
    }
    fn kill(&mut self, target: String, signal: Option<String>) -> wasmtime::Result<Resource<Proposal>> {
        self.docker(DockerVerb::Kill, &target, None, signal)
    }
}

impl ansible::Host for Guest {
    fn playbook(
        &mut self,
        playbook: String,
        about: String,
        options: ansible::RunOptions,
    ) -> wasmtime::Result<Resource<Proposal>> {
        let ansible::RunOptions { host, variables, tags, check, extra } = options;
        if let Some((unknown, _)) = extra.first() {
            return Err(Overstep(format!("`{}` is no option of a playbook here", clean(unknown, 64))).into());
        }
        let variables = few("variables", variables, MAX_VARIABLES)?;
        let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_VARIABLES_BYTES {
            let text = format!("the variables of a playbook are {bytes} bytes long; {MAX_VARIABLES_BYTES} are allowed");
            return Err(Overstep(text).into());
        }
        let host = host.map(|host| name("host", &host)).transpose()?;
        let tags = few("tags", tags, MAX_TAGS)?.iter().map(|tag| name("tag", tag)).collect::<Result<_, _>>()?;
        let (name, about) = (name("playbook", &playbook)?, name("target", &about)?);
        self.propose(Proposal::Playbook { name, about, host, variables, tags, check })
    }
}

impl alertmanager::Host for Guest {
    fn silence(
        &mut self,
        about: String,
        matchers: Vec<alertmanager::Matcher>,
        millis: u64,
        comment: String,
    ) -> wasmtime::Result<Resource<Proposal>> {
        let matcher = |m: alertmanager::Matcher| -> wasmtime::Result<ProposedMatcher> {
            Ok(ProposedMatcher { name: name("label", &m.name)?, op: name("operator", &m.op)?, value: text("matcher", m.value)? })
        };
        let matchers = few("matchers", matchers, MAX_MATCHERS)?.into_iter().map(matcher).collect::<Result<_, _>>()?;
        let about = name("target", &about)?;
        self.propose(Proposal::Silence { about, matchers, millis, comment: text("comment", comment)? })
    }
    fn expire(&mut self, about: String, id: Option<String>) -> wasmtime::Result<Resource<Proposal>> {
        let id = id.map(|id| name("silence", &id)).transpose()?;
        self.propose(Proposal::ExpireSilence { about: name("target", &about)?, id })
    }
}

impl notify::Host for Guest {
    fn send(&mut self, about: String, channel: String, message: String) -> wasmtime::Result<Resource<Proposal>> {
        let (about, channel) = (name("target", &about)?, name("channel", &channel)?);
        self.propose(Proposal::Notify { about, channel, text: text("text", message)? })
    }
}

/// What a lookup gave, in the shape of its function.
type Told<T> = wasmtime::Result<Result<T, types::LookupError>>;

impl containers::Host for Guest {
    async fn find(&mut self, host: String, labels: Vec<(String, String)>) -> Told<Vec<containers::Container>> {
        Ok(match self.look(Lookup::Containers { host, labels }).await? {
            Ok(Found::Containers(found)) => Ok(found.into_iter().map(container).collect()),
            other => Err(no(other)),
        })
    }
    async fn inspect(&mut self, target: String) -> Told<containers::Container> {
        Ok(match self.look(Lookup::Container { target }).await? {
            Ok(Found::Container(found)) => Ok(container(found)),
            other => Err(no(other)),
        })
    }
    async fn log_tail(&mut self, target: String, lines: u32) -> Told<Vec<String>> {
        Ok(match self.look(Lookup::Log { target, lines }).await? {
            Ok(Found::Log(lines)) => Ok(lines),
            other => Err(no(other)),
        })
    }
}

impl metrics::Host for Guest {
    async fn query(&mut self, query: String) -> Told<Vec<metrics::Sample>> {
        let sample = |Sample { labels, value, at }| metrics::Sample { labels, value, at: at.0 };
        Ok(match self.look(Lookup::Metrics { query }).await? {
            Ok(Found::Metrics(samples)) => Ok(samples.into_iter().map(sample).collect()),
            other => Err(no(other)),
        })
    }
}

impl history::Host for Guest {
    async fn of_target(&mut self, target: String, within_ms: u64) -> Told<Vec<history::PastIncident>> {
        Ok(match self.look(Lookup::History { target, within_ms }).await? {
            Ok(Found::History(incidents)) => Ok(incidents.into_iter().map(past).collect()),
            other => Err(no(other)),
        })
    }
}

/// Why there is no answer; one of the wrong shape, which only a recording that was altered can have, is none either.
fn no(answer: Result<Found, LookupError>) -> types::LookupError {
    match answer {
        Err(LookupError::AccessDenied(text)) => types::LookupError::AccessDenied(text),
        Err(LookupError::NotFound(text)) => types::LookupError::NotFound(text),
        Err(LookupError::Invalid(text)) => types::LookupError::Invalid(text),
        Err(LookupError::LimitExceeded(text)) => types::LookupError::LimitExceeded(text),
        Err(LookupError::Unavailable(text)) => types::LookupError::Unavailable(text),
        Err(LookupError::Other(text)) => types::LookupError::Other(text),
        Ok(_) => types::LookupError::Other("the recorded answer is one to another question".to_owned()),
    }
}

fn container(found: FoundContainer) -> containers::Container {
    containers::Container {
        name: found.name,
        id: found.id,
        image: found.image,
        state: found.state,
        health: found.health,
        started_at: found.started_at.map(|time| time.0),
        finished_at: found.finished_at.map(|time| time.0),
        exit_code: found.exit_code,
        restart_count: found.restart_count,
        labels: found.labels,
        extra: Vec::new(),
    }
}

fn past(incident: PastIncident) -> history::PastIncident {
    history::PastIncident {
        id: incident.id,
        alertname: incident.alertname,
        opened_at: incident.opened_at.0,
        closed_at: incident.closed_at.map(|time| time.0),
        state: incident.state,
        policy: incident.policy,
        attempts: incident.attempts.into_iter().map(attempt).collect(),
        extra: Vec::new(),
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

fn attempt(attempt: PastAttempt) -> types::Attempt {
    let action = |action: PastAction| types::AttemptedAction {
        kind: action.kind,
        target: action.target,
        detail: action.detail,
        outcome: action.outcome,
        message: action.message,
        extra: Vec::new(),
    };
    types::Attempt {
        number: attempt.number,
        started_at: attempt.started_at.0,
        ended_at: attempt.ended_at.0,
        actions: attempt.actions.into_iter().map(action).collect(),
        verification: attempt.verification,
        extra: Vec::new(),
    }
}
