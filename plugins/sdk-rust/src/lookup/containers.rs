//! Looking at containers. Only those that the policy file grants are seen: `grants.docker.inspect`, and `grants.docker.logs` for logs.

use std::collections::BTreeMap;

use super::{LookupError, fake};
use crate::bindings::paramedic::policy::containers as wit;
use crate::incident::Time;
use crate::words::{Health, State};

/// The granted containers of a Docker host, running or not, that have all these labels with these values; in the order of
/// their names, at most 200. Declared by [`Lookup::Containers`](crate::Lookup::Containers).
///
/// # Errors
/// When there is no such host, it is not granted, or the engine cannot be asked.
pub fn find(host: &str, labels: &[(&str, &str)]) -> Result<Vec<Container>, LookupError> {
    if cfg!(not(target_arch = "wasm32")) {
        return fake::find(host, labels);
    }
    // In the order of their names, as the contract has it.
    let labels: BTreeMap<_, _> = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let labels: Vec<_> = labels.into_iter().collect();
    Ok(wit::find(host, &labels)?.into_iter().map(Container::from).collect())
}

/// One container, by its unique name, such as `local/web`. Declared by [`Lookup::Containers`](crate::Lookup::Containers).
///
/// # Errors
/// [`LookupError::NotFound`] when there is no such container.
pub fn inspect(target: &str) -> Result<Container, LookupError> {
    if cfg!(not(target_arch = "wasm32")) {
        return fake::inspect(target);
    }
    Ok(wit::inspect(target)?.into())
}

/// The last lines of what a container wrote, oldest first, both outputs together; at most 200 lines of 1000 characters. Declared by
/// [`Lookup::LogTail`](crate::Lookup::LogTail).
///
/// # Errors
/// [`LookupError::NotFound`] when there is no such container.
pub fn log_tail(target: &str, lines: u32) -> Result<Vec<String>, LookupError> {
    if cfg!(not(target_arch = "wasm32")) {
        return fake::log_tail(target, lines);
    }
    Ok(wit::log_tail(target, lines)?)
}

/// A container as its engine describes it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Container {
    /// Unique name: `local/web`.
    pub name: String,
    /// The engine's id.
    pub id: String,
    /// The image's name.
    pub image: String,
    /// What it is doing.
    pub state: State,
    /// What its health check says.
    pub health: Health,
    /// When it was last started.
    pub started_at: Option<Time>,
    /// When it last ended; none while it runs.
    pub finished_at: Option<Time>,
    /// Exit code of its last end; none while it runs.
    pub exit_code: Option<i64>,
    /// How often the engine restarted it by itself.
    pub restart_count: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What later versions of the contract have to add.
    pub extra: Vec<(String, String)>,
}

/// For tests: containers as they could be.
impl Container {
    /// A running container without a health check.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: "0123456789ab".to_owned(),
            image: String::new(),
            state: State::Running,
            health: Health::None,
            started_at: None,
            finished_at: None,
            exit_code: None,
            restart_count: 0,
            labels: BTreeMap::new(),
            extra: Vec::new(),
        }
    }

    /// Says what it is doing.
    pub fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }

    /// Says that it ended with that exit code.
    pub fn exited(mut self, code: i64) -> Self {
        self.state = State::Exited;
        self.exit_code = Some(code);
        self
    }

    /// Says what its health check says.
    pub fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Says how often the engine restarted it by itself.
    pub fn restarts(mut self, count: u32) -> Self {
        self.restart_count = count;
        self
    }

    /// Adds a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl From<wit::Container> for Container {
    fn from(container: wit::Container) -> Self {
        Self {
            name: container.name,
            id: container.id,
            image: container.image,
            state: container.state.into(),
            health: container.health.into(),
            started_at: container.started_at.map(Time),
            finished_at: container.finished_at.map(Time),
            exit_code: container.exit_code,
            restart_count: container.restart_count,
            labels: container.labels.into_iter().collect(),
            extra: container.extra,
        }
    }
}
