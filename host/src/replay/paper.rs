//! Authorisation without a world: would the grants have allowed this, as far as names tell?
//!
//! The rules are those of `authorise`, asked with eyes that see what a proposal names as being there, and nothing else: no label of
//! a container, no silence, no person. So a refusal here would surely have been one, and a grant by label cannot be told.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::unless::Unless;
use crate::action::{ContainerId, DockerHost, InventoryHost, Kind, Proposal, Target};
use crate::alert::Labels;
use crate::authorise::{Authoriser, Claim, Stop, storm};
use crate::clock::Time;
use crate::hold::Holds;
use crate::incident::lookup::{LookupError, Sample};
use crate::incident::{Diagnostics, Incident, Rule};
use crate::look::alertmanager::Hold;
use crate::look::docker::{Container, LookError};
use crate::look::{Eyes, Unfit, http};
use crate::policy::Policy;
use crate::policy::brakes::Brakes;
use crate::policy::grants::Containers;

/// A folder that is not there: nothing is halted or held in it.
const NOWHERE: &str = "/nonexistent/paramedic";
/// What stands for a container's id.
const ID: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Verdicts that are remembered; the same few acts come again and again.
const REMEMBERED: usize = 10_000;

/// What the grants say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is against it, as far as names tell.
    Granted,
    /// It would have been refused.
    Refused(Rule, String),
    /// It hangs on the labels of a container.
    Untold(String),
}

/// Sees whatever is named.
#[derive(Debug)]
pub struct Paper {
    hosts: Vec<DockerHost>,
    unless: Unless,
}

impl Paper {
    /// With these Docker hosts.
    pub fn new(hosts: Vec<DockerHost>) -> Self {
        Self { hosts, unless: Unless::default() }
    }

    /// The same, which knows what each `unless` found.
    #[must_use]
    pub fn knowing(self, unless: Unless) -> Self {
        Self { unless, ..self }
    }
}

impl Eyes for Paper {
    fn hosts(&self) -> Vec<DockerHost> {
        self.hosts.clone()
    }

    fn container<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        ready(Ok(ID.parse().ok().map(|id| container(target, id)))).boxed()
    }

    fn by_id<'a>(&'a self, _: &'a DockerHost, _: &'a ContainerId) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        ready(Ok(None)).boxed()
    }

    fn labelled<'a>(&'a self, _: &'a DockerHost, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Vec<Container>, LookError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn containers<'a>(&'a self, _: &'a DockerHost) -> BoxFuture<'a, Result<Vec<(Target, Labels)>, LookError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn deliberately_stopped<'a>(&'a self, _: &'a Container) -> BoxFuture<'a, Result<Option<String>, LookError>> {
        ready(Ok(None)).boxed()
    }

    fn diagnostics<'a>(&'a self, _: &'a Container) -> BoxFuture<'a, Diagnostics> {
        ready(Diagnostics::default()).boxed()
    }

    fn log_tail<'a>(&'a self, _: &'a Container, _: usize) -> BoxFuture<'a, Result<Vec<String>, LookError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn query<'a>(&'a self, _: &'a str, _: Time, _: Duration, _: usize) -> BoxFuture<'a, Result<Vec<Sample>, LookupError>> {
        ready(Err(LookupError::Unavailable("nothing is recorded of it".to_owned()))).boxed()
    }

    fn finds<'a>(&'a self, promql: &'a str) -> BoxFuture<'a, Result<Option<String>, http::LookError>> {
        ready(Ok(self.unless.at(promql, Time::now()))).boxed()
    }

    fn suppression<'a>(&'a self, _: &'a Labels) -> BoxFuture<'a, Result<Option<Hold>, http::LookError>> {
        ready(Ok(None)).boxed()
    }

    fn playbook<'a>(&'a self, _: &'a str, _: &'a str, _: &'a InventoryHost) -> BoxFuture<'a, Result<String, Unfit>> {
        ready(Ok(String::new())).boxed()
    }
}

fn container(target: &Target, id: ContainerId) -> Container {
    Container {
        target: target.clone(),
        id,
        state: "unknown".to_owned(),
        started_at: String::new(),
        started: None,
        finished: None,
        exit_code: None,
        out_of_memory: false,
        error: String::new(),
        labels: Labels::new(),
        image: String::new(),
        restart_policy: "no".to_owned(),
        restart_count: 0,
        health: None,
        stop_timeout: None,
        protected: None,
    }
}

/// An authoriser that looks at nothing of this machine.
pub fn authoriser(hosts: Vec<DockerHost>, brakes: Brakes, max_age: Duration) -> Authoriser {
    Authoriser {
        eyes: Arc::new(Paper::new(hosts)),
        halt_file: PathBuf::from(NOWHERE).join("HALT"),
        holds: Holds::of(Path::new(NOWHERE)),
        maintenance: Vec::new(),
        brakes,
        max_age,
        storms: storm::Told::default(),
    }
}

/// A policy without what only the world of that moment could tell: groups that have to stay healthy.
pub fn on_paper(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.brakes.minimum_healthy.clear();
    policy
}

/// Answers whether acts would have been granted.
#[derive(Debug)]
pub struct Grants {
    policy: Policy,
    declared: Vec<Kind>,
    brakes: Brakes,
    hosts: Vec<DockerHost>,
    known: Mutex<HashMap<String, Verdict>>,
}

impl Grants {
    /// Of this policy, whose plugin declares these kinds. `hosts` are the Docker hosts that are known beside those of grants and targets.
    pub fn new(policy: &Policy, declared: Vec<Kind>, brakes: Brakes, mut hosts: Vec<DockerHost>) -> Self {
        let mut policy = on_paper(policy);
        policy.maintenance.clear();
        hosts.extend(policy.grants.containers().map(|containers| containers.host().clone()));
        Self { policy, declared, brakes, hosts, known: Mutex::default() }
    }

    /// Would these proposals about this incident have been granted?
    pub async fn allow(&self, incident: &Incident, proposals: &[Proposal]) -> Verdict {
        let key = format!("{proposals:?}{:?}", incident.targets);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = known().get(&key) {
            return verdict.clone();
        }
        let verdict = self.look(incident, proposals).await;
        let mut known = known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, verdict.clone());
        verdict
    }

    async fn look(&self, incident: &Incident, proposals: &[Proposal]) -> Verdict {
        let mut hosts = self.hosts.clone();
        hosts.extend(incident.targets.iter().map(|view| view.target.host.clone()));
        hosts.sort();
        hosts.dedup();
        let authoriser = authoriser(hosts, self.brakes.clone(), Duration::MAX);
        let claim = Claim { incident, policy: &self.policy, declared: &self.declared };
        match authoriser.check(claim, proposals).await {
            Err(Stop::Refused { rule: Rule::NotGranted, proposal, message }) => match self.by_label(&proposal) {
                Some(label) => Verdict::Untold(format!("whether {} has the label {label}", proposal.target())),
                None => Verdict::Refused(Rule::NotGranted, message),
            },
            Err(Stop::Refused { rule, message, .. }) => Verdict::Refused(rule, message),
            Err(Stop::Held { .. }) | Ok(_) => Verdict::Granted,
        }
    }

    /// A label by which the container of this proposal may be granted.
    fn by_label(&self, proposal: &Proposal) -> Option<String> {
        let target: Target = proposal.target().parse().ok()?;
        if !matches!(proposal, Proposal::Docker { .. }) {
            return None;
        }
        self.policy.grants.containers().find_map(|containers| match containers {
            Containers::Labelled { host, label, value } if *host == target.host => Some(format!("{label}={value}")),
            _ => None,
        })
    }
}
