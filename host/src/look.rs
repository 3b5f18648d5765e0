//! The eyes: what Paramedic can read of the world. Nothing in this room can change anything.
//!
//! [`Eyes`] is the border: all that deciding, authorising and executing ever look at goes through it, so that a simulated
//! world can stand behind it. [`World`] is the real one.

pub mod alertmanager;
pub mod docker;
pub mod http;
pub mod inventory;
pub mod presence;
pub mod probe;
pub mod prometheus;
pub mod promql;
pub mod sight;
pub mod targets;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use crate::action::{ContainerId, DockerHost, InventoryHost, Target};
use crate::alert::Labels;
use crate::clock::Time;
use crate::incident::lookup::{LookupError, Sample};
use crate::incident::{Diagnostics, Rule};
use alertmanager::{Hold, Own};
use docker::{Container, Engines, Freeze, LookError};
use sight::Sources;

/// What is looked at before something is done, while it is done, and after a crash.
pub trait Eyes: fmt::Debug + Send + Sync {
    /// The configured Docker hosts.
    fn hosts(&self) -> Vec<DockerHost>;

    /// The container of exactly this name; `None` if there is none.
    fn container<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Option<Container>, LookError>>;

    /// The container of exactly this full id, whatever it is called now; `None` if there is none.
    fn by_id<'a>(&'a self, host: &'a DockerHost, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Container>, LookError>>;

    /// All containers of this host with this label, running or not.
    fn labelled<'a>(
        &'a self,
        host: &'a DockerHost,
        label: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Container>, LookError>>;

    /// All containers of this host with their labels, running or not: to know how large a group is.
    fn containers<'a>(&'a self, host: &'a DockerHost) -> BoxFuture<'a, Result<Vec<(Target, Labels)>, LookError>>;

    /// How one can tell that a person stopped this container; `None` if it runs or ended on its own.
    fn deliberately_stopped<'a>(&'a self, container: &'a Container) -> BoxFuture<'a, Result<Option<String>, LookError>>;

    /// When this container was last paused or let go on since its last start; `None` when the engine does not remember that.
    fn last_freeze<'a>(&'a self, _: &'a Container) -> BoxFuture<'a, Result<Option<Freeze>, LookError>> {
        std::future::ready(Ok(None)).boxed()
    }

    /// What an action about this container may destroy, as far as it can be had within a few seconds.
    fn diagnostics<'a>(&'a self, container: &'a Container) -> BoxFuture<'a, Diagnostics>;

    /// The last lines of what a container wrote, cleaned, oldest first.
    fn log_tail<'a>(&'a self, container: &'a Container, lines: usize) -> BoxFuture<'a, Result<Vec<String>, LookError>>;

    /// Answers a query of a plugin, of which it is known that it is allowed, at this time: at most so many samples, within that time.
    fn query<'a>(
        &'a self,
        promql: &'a str,
        at: Time,
        within: Duration,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Sample>, LookupError>>;

    /// What this PromQL expression finds now, in words; `None` when it has no result.
    fn finds<'a>(&'a self, promql: &'a str) -> BoxFuture<'a, Result<Option<String>, http::LookError>>;

    /// Whether a person wants the alert with these labels left alone now.
    fn suppression<'a>(&'a self, labels: &'a Labels) -> BoxFuture<'a, Result<Option<Hold>, http::LookError>>;

    /// Paramedic's own silences that Alertmanager has, ended ones too; `None` when there is no Alertmanager, or none that is asked.
    fn silences(&self) -> BoxFuture<'_, Result<Option<Vec<Own>>, http::LookError>> {
        std::future::ready(Ok(None)).boxed()
    }

    /// Whether this playbook can be run with this profile on this host; gives the SHA-256 of its file, in hex.
    fn playbook<'a>(&'a self, name: &'a str, profile: &'a str, host: &'a InventoryHost) -> BoxFuture<'a, Result<String, Unfit>>;
}

/// Why a playbook cannot be run on a host, in words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The configuration does not fit, by this rule.
    Never(Rule, String),
    /// It could not be found out.
    Unknown(String),
}

/// The real world: the operator's engines, monitoring and inventories.
#[derive(Clone, Debug)]
pub struct World {
    /// The containers.
    pub engines: Arc<Engines>,
    /// Where alerts and silences are.
    pub sources: Sources,
    /// Playbooks and inventories, if there are any.
    pub ansible: Option<Arc<inventory::Settings>>,
}

impl Eyes for World {
    fn hosts(&self) -> Vec<DockerHost> {
        self.engines.hosts().cloned().collect()
    }

    fn container<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        self.engines.container(target).boxed()
    }

    fn by_id<'a>(&'a self, host: &'a DockerHost, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        self.engines.by_id(host, id).boxed()
    }

    fn labelled<'a>(
        &'a self,
        host: &'a DockerHost,
        label: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Container>, LookError>> {
        self.engines.labelled(host, label, value).boxed()
    }

    fn containers<'a>(&'a self, host: &'a DockerHost) -> BoxFuture<'a, Result<Vec<(Target, Labels)>, LookError>> {
        self.engines.all(host).boxed()
    }

    fn deliberately_stopped<'a>(&'a self, container: &'a Container) -> BoxFuture<'a, Result<Option<String>, LookError>> {
        self.engines.deliberately_stopped(container).boxed()
    }

    fn last_freeze<'a>(&'a self, container: &'a Container) -> BoxFuture<'a, Result<Option<Freeze>, LookError>> {
        self.engines.last_freeze(container).boxed()
    }

    fn diagnostics<'a>(&'a self, container: &'a Container) -> BoxFuture<'a, Diagnostics> {
        self.engines.diagnostics(&container.target.host, &container.id).boxed()
    }

    fn log_tail<'a>(&'a self, container: &'a Container, lines: usize) -> BoxFuture<'a, Result<Vec<String>, LookError>> {
        self.engines.log_tail(container, lines).boxed()
    }

    fn query<'a>(
        &'a self,
        promql: &'a str,
        at: Time,
        within: Duration,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Sample>, LookupError>> {
        match self.sources.prometheus.first() {
            Some(prometheus) => prometheus.lookup(promql, at, within, most).boxed(),
            None => {
                let text = "there is no Prometheus to ask: add `prometheus: URL` to paramedic.yaml";
                std::future::ready(Err(LookupError::Unavailable(text.to_owned()))).boxed()
            }
        }
    }

    fn finds<'a>(&'a self, promql: &'a str) -> BoxFuture<'a, Result<Option<String>, http::LookError>> {
        async move {
            if self.sources.prometheus.is_empty() {
                return Ok(Some("there is no Prometheus to ask: add `prometheus` to paramedic.yaml".to_owned()));
            }
            for prometheus in &self.sources.prometheus {
                if let Some(found) = prometheus.finds(promql).await? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
        .boxed()
    }

    fn suppression<'a>(&'a self, labels: &'a Labels) -> BoxFuture<'a, Result<Option<Hold>, http::LookError>> {
        async move {
            let mut unknown = None;
            for alertmanager in &self.sources.alertmanager {
                match alertmanager.suppression(labels, &self.sources.drop).await {
                    Ok(None) => {}
                    Ok(Some(hold)) => return Ok(Some(hold)),
                    Err(error) => unknown = Some(error),
                }
            }
            unknown.map_or(Ok(None), Err)
        }
        .boxed()
    }

    fn silences(&self) -> BoxFuture<'_, Result<Option<Vec<Own>>, http::LookError>> {
        async move {
            match self.sources.alertmanager.first() {
                Some(alertmanager) => alertmanager.own().await.map(Some),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn playbook<'a>(&'a self, name: &'a str, profile: &'a str, host: &'a InventoryHost) -> BoxFuture<'a, Result<String, Unfit>> {
        inventory::fits(self.ansible.as_deref(), name, profile, host).boxed()
    }
}
