//! The world, as far as one policy may look at it: who answers lookups when a question is really asked, or rehearsed.
//!
//! What is granted is looked up in the grants of today's policy file, before anything is asked and again by what was found. A refusal names
//! the grant that would allow it, and tells nothing of what is there. What would be too much is refused whole, never shortened.
//! Absent on purpose: a memory of answers. The same question may get two answers, since the world goes on; the record has both.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::{StreamExt, TryStreamExt};

use super::super::told;
use super::Lookups;
use crate::action::{DockerHost, Target};
use crate::alert::{IncidentId, Labels};
use crate::clock::Time;
use crate::incident::Incident;
use crate::incident::lookup::{Found, FoundContainer, Lookup, LookupError, PastIncident, Sample};
use crate::journal::{Journal, JournalError};
use crate::look::Eyes;
use crate::look::docker::{Container, LookError};
use crate::look::promql::Query;
use crate::policy::Policy;
use crate::policy::grants::{Glimpse, Grants};
use crate::telemetry::clean;

/// Containers of one answer.
const MOST_CONTAINERS: usize = 200;
/// So many of them are looked at at the same time.
const AT_ONCE: usize = 16;
/// Lines of a log in one answer.
const MOST_LINES: u32 = 200;
/// Bytes of a query.
const MOST_QUERY_BYTES: usize = 4096;
/// Samples of one answer.
const MOST_SAMPLES: usize = 500;
/// Incidents of one answer: the newest.
const MOST_INCIDENTS: usize = 50;

/// What can be looked at at all.
#[derive(Clone, Debug)]
pub struct Lookout {
    /// Containers and metrics.
    pub eyes: Arc<dyn Eyes>,
    /// What happened before, or why that cannot be told.
    pub journal: Result<Journal, String>,
}

impl Lookout {
    /// As this policy may look for a question about this incident at this time.
    pub fn through(self: &Arc<Self>, policy: &Policy, incident: &IncidentId, now: Time) -> Arc<dyn Lookups> {
        Arc::new(Live {
            lookout: Arc::clone(self),
            policy: policy.name.clone(),
            grants: policy.grants.clone(),
            within: policy.limits.lookups,
            incident: incident.clone(),
            now,
        })
    }
}

/// The world for one policy and one question.
#[derive(Debug)]
struct Live {
    lookout: Arc<Lookout>,
    policy: String,
    grants: Grants,
    within: Duration,
    incident: IncidentId,
    now: Time,
}

impl Lookups for Live {
    fn look<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Found, LookupError>> {
        async move {
            match lookup {
                Lookup::Containers { host, labels } => self.containers(host, labels).await.map(Found::Containers),
                Lookup::Container { target } => Ok(Found::Container(found(self.container(lookup, target).await?))),
                Lookup::Log { target, lines } => self.log(lookup, target, *lines).await.map(Found::Log),
                Lookup::Metrics { query } => self.metrics(query).await.map(Found::Metrics),
                Lookup::History { target, within_ms } => {
                    self.history(target, Duration::from_millis(*within_ms)).await.map(Found::History)
                }
            }
        }
        .boxed()
    }
}

impl Live {
    fn denied(&self, what: &str, grant: &str) -> LookupError {
        LookupError::AccessDenied(format!(
            "policy {} has no grant {what}; to allow it: grants: {grant}",
            clean(&self.policy, 100)
        ))
    }

    fn known(&self, host: &DockerHost) -> Result<(), LookupError> {
        let hosts = self.lookout.eyes.hosts();
        if hosts.contains(host) {
            return Ok(());
        }
        let known: Vec<&str> = hosts.iter().map(DockerHost::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(LookupError::NotFound(format!("there is no Docker host `{host}` (there are: {known}): add it to docker.hosts")))
    }

    async fn containers(&self, host: &str, wanted: &[(String, String)]) -> Result<Vec<FoundContainer>, LookupError> {
        let host: DockerHost = host.parse().map_err(LookupError::Invalid)?;
        let nothing =
            || self.denied(&format!("to look at containers of {host}"), &format!("{{docker: {{inspect: [\"{host}/*\"]}}}}"));
        if self.grants.docker.inspect.is_empty() {
            return Err(nothing());
        }
        self.known(&host)?;
        if !self.grants.inspects_host(&host) {
            return Err(nothing());
        }
        let eyes = &self.lookout.eyes;
        let fits = |labels: &Labels| wanted.iter().all(|(name, value)| labels.get(name).is_some_and(|own| own == value));
        let listed = eyes.containers(&host).await.map_err(|error| unseen(&error))?;
        let visible = listed.into_iter().filter(|(target, labels)| self.grants.allows_inspect(target, labels) && fits(labels));
        let mut visible: Vec<Target> = visible.map(|(target, _)| target).collect();
        if visible.len() > MOST_CONTAINERS {
            let text = format!(
                "{} containers of {host} fit; {MOST_CONTAINERS} can be told: ask for more labels, or grant fewer",
                visible.len()
            );
            return Err(LookupError::LimitExceeded(text));
        }
        visible.sort();
        let looks = futures_util::stream::iter(visible)
            .map(|target| {
                let eyes = Arc::clone(eyes);
                async move { eyes.container(&target).await }
            })
            .buffered(AT_ONCE);
        let looked: Vec<Option<Container>> = looks.try_collect().await.map_err(|error| unseen(&error))?;
        // One that is gone meanwhile is none; one that was made anew may be another.
        let still = |container: &Container| self.grants.allows_inspect(&container.target, &container.labels);
        Ok(looked.into_iter().flatten().filter(still).map(found).collect())
    }

    /// The one container that is asked for, if the grant for this lookup covers it. What is not covered is refused in the same words
    /// whether it is there or not.
    async fn container(&self, lookup: &Lookup, target: &str) -> Result<Container, LookupError> {
        let target: Target = target.parse().map_err(LookupError::Invalid)?;
        let (what, key) = match lookup {
            Lookup::Log { .. } => ("to read the log of", "logs"),
            _ => ("to look at", "inspect"),
        };
        let denied = || self.denied(&format!("{what} {target}"), &format!("{{docker: {{{key}: [\"{target}\"]}}}}"));
        let glimpse = self.grants.glimpse(lookup, &target);
        if glimpse == Glimpse::Denied {
            return Err(denied());
        }
        self.known(&target.host)?;
        let container = self.lookout.eyes.container(&target).await.map_err(|error| unseen(&error))?;
        let allows = |container: &Container| match lookup {
            Lookup::Log { .. } => self.grants.allows_logs(&container.target, &container.labels),
            _ => self.grants.allows_inspect(&container.target, &container.labels),
        };
        match container {
            Some(container) if allows(&container) => Ok(container),
            None if glimpse == Glimpse::Granted => Err(LookupError::NotFound(format!("there is no container {target}"))),
            _ => Err(denied()),
        }
    }

    async fn log(&self, lookup: &Lookup, target: &str, lines: u32) -> Result<Vec<String>, LookupError> {
        if lines > MOST_LINES {
            return Err(LookupError::LimitExceeded(format!("{lines} lines of a log; {MOST_LINES} can be asked for")));
        }
        let container = self.container(lookup, target).await?;
        let lines = usize::try_from(lines).unwrap_or_default();
        self.lookout.eyes.log_tail(&container, lines).await.map_err(|error| unseen(&error))
    }

    async fn metrics(&self, query: &str) -> Result<Vec<Sample>, LookupError> {
        if self.grants.metrics.is_empty() {
            return Err(self.denied("to ask for metrics", "{metrics: [up]} for the metric up, or {metrics: [\"*\"]} for all"));
        }
        if query.len() > MOST_QUERY_BYTES {
            return Err(LookupError::LimitExceeded(format!("a query of {} bytes; {MOST_QUERY_BYTES} are allowed", query.len())));
        }
        let query = self.allowed_query(query)?;
        self.lookout.eyes.query(&query, self.now, self.within, MOST_SAMPLES).await
    }

    /// What is asked: with a grant for everything the query as it stands, otherwise what was understood of it.
    fn allowed_query(&self, query: &str) -> Result<String, LookupError> {
        if self.grants.allows_every_query() {
            return Ok(query.to_owned());
        }
        let read = Query::read(query).map_err(|why| {
            let what = format!("for a query that is not understood completely: it {}", clean(&why, 200));
            self.denied(&what, "{metrics: [\"*\"]}")
        })?;
        match read.metrics.iter().find(|name| !self.grants.allows_metric(name)) {
            Some(name) => {
                let name = clean(name, 200);
                Err(self.denied(&format!("to ask for the metric {name}"), &format!("{{metrics: [\"{name}\"]}}")))
            }
            None => Ok(read.text),
        }
    }

    async fn history(&self, target: &str, within: Duration) -> Result<Vec<PastIncident>, LookupError> {
        let target: Target = target.parse().map_err(LookupError::Invalid)?;
        if !self.grants.allows_history(&target) {
            return Err(self.denied(&format!("to read the history of {target}"), &format!("{{history: [\"{target}\"]}}")));
        }
        let journal = self.lookout.journal.as_ref().map_err(|why| LookupError::Unavailable(clean(why, 600)))?;
        // One more, since the incident itself is among them.
        let ids = journal.about(&target, self.now.minus(within), MOST_INCIDENTS + 1).await.map_err(|error| unread(&error))?;
        let mut told = Vec::new();
        for id in ids.into_iter().filter(|id| *id != self.incident).take(MOST_INCIDENTS) {
            // Removed for its age meanwhile, if there is none.
            let incident = journal.incident(&id).await.map_err(|error| unread(&error))?;
            told.extend(incident.filter(|incident| incident.opened_at <= self.now).map(|incident| past(&incident)));
        }
        Ok(told)
    }
}

/// A container in the words of the contract.
fn found(container: Container) -> FoundContainer {
    let over = !matches!(container.state.as_str(), "running" | "paused") && container.finished.is_some();
    FoundContainer {
        name: container.target.to_string(),
        id: container.id.as_str().to_owned(),
        image: container.image,
        state: container.state,
        health: container.health.unwrap_or_else(|| "none".to_owned()),
        started_at: container.started,
        finished_at: container.finished.filter(|_| over),
        exit_code: container.exit_code.filter(|_| over),
        restart_count: u32::try_from(container.restart_count).unwrap_or_default(),
        labels: container.labels.into_iter().collect(),
    }
}

/// An incident in the words of the contract.
fn past(incident: &Incident) -> PastIncident {
    PastIncident {
        id: incident.id.to_string(),
        alertname: clean(incident.alert.name(), 200),
        opened_at: incident.opened_at,
        closed_at: incident.is_closed().then_some(incident.updated_at),
        state: incident.standing().to_owned(),
        policy: incident.owner.as_ref().map(|owner| owner.policy.clone()).unwrap_or_default(),
        attempts: incident.attempts.iter().map(told::attempt).collect(),
    }
}

fn unseen(error: &LookError) -> LookupError {
    let text = clean(&error.to_string(), 600);
    match error {
        LookError::LogTooLong { .. } => LookupError::LimitExceeded(text),
        _ => LookupError::Unavailable(text),
    }
}

fn unread(error: &JournalError) -> LookupError {
    LookupError::Unavailable(clean(&error.to_string(), 600))
}
