//! The containers of the operator's Docker hosts, looked at through their engines.
//!
//! Looking is all that [`Engines`] offers: the one way to a client that could change something is for `execute` alone
//! (see `Engines::hands`). The engine is asked anew every time and a client is made for every call, so that a socket
//! that appears later, or an engine that was restarted, needs no care here. A container is found by its exact name or its full
//! id; Docker would also take the beginning of an id or another container's name, and that is no match.
//! Lists of containers are only asked for to count them: by a label for `minimum_healthy`, all for a storm's share; never to find
//! a target (Podman's cannot be read by the client). Absent on purpose: retries, and a memory of anything.

mod diagnostics;
mod protected;
mod stopped;

use std::collections::{BTreeMap, HashMap};
use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::models::{ContainerConfig, ContainerInspectResponse, ContainerState, HostConfig};
use bollard::query_parameters::ListContainersOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::action::{ContainerId, ContainerName, DockerHost, Target};
use crate::alert::Labels;
use crate::clock::Time;
use crate::telemetry::clean;
pub use stopped::Freeze;

/// How long one look at an engine may take.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// How far an engine's clock and the journal's may be apart.
pub const CLOCKS: Duration = Duration::from_secs(2);

/// So many containers of a list are looked at at the same time.
const AT_ONCE: usize = 16;

/// How much of an engine's own text is kept.
const TEXT: usize = 1_000;

/// `docker:` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The engines, by the names that targets use. Without any, one named `local` at Docker's usual socket.
    #[serde(default = "only_local")]
    pub hosts: BTreeMap<DockerHost, Endpoint>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hosts: only_local() }
    }
}

fn only_local() -> BTreeMap<DockerHost, Endpoint> {
    let local = "local".parse().map(|host| (host, Endpoint::Unix("/var/run/docker.sock".into())));
    local.into_iter().collect()
}

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    /// A Unix socket on this machine, written `unix:///var/run/docker.sock`.
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let shown = clean(text, 200);
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') && path.len() > 1 => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err(format!("`{shown}` needs a whole path: write for instance unix:///var/run/docker.sock")),
            Some((scheme @ ("tcp" | "http" | "https" | "ssh" | "npipe"), _)) => Err(format!(
                "`{shown}`: {scheme}:// is not there yet; write unix:///path/to/docker.sock, which may be forwarded from another machine (ssh -L)"
            )),
            _ => Err(format!("`{shown}` is not the address of a Docker engine: write for instance unix:///var/run/docker.sock")),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Why something could not be looked at. The text is safe to show and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// No such host is configured.
    #[error("there is no Docker host `{host}` (there are: {known}): add it to docker.hosts")]
    UnknownHost {
        /// The host asked for.
        host: DockerHost,
        /// Those that exist.
        known: String,
    },
    /// There is no socket.
    #[error("Docker host `{host}`: there is no socket at {endpoint}: start the engine, or correct docker.hosts.{host}")]
    NoSocket {
        /// The host asked.
        host: DockerHost,
        /// Where it should be.
        endpoint: Endpoint,
    },
    /// There is something else than a socket.
    #[error("Docker host `{host}`: {endpoint} is not a socket: correct docker.hosts.{host}")]
    NotASocket {
        /// The host asked.
        host: DockerHost,
        /// Where it should be.
        endpoint: Endpoint,
    },
    /// The socket may not be used.
    #[error(
        "Docker host `{host}`: no permission for {endpoint}: run Paramedic in the group that owns this socket (usually `docker`)"
    )]
    Denied {
        /// The host asked.
        host: DockerHost,
        /// Where it is.
        endpoint: Endpoint,
        /// What the client says.
        #[source]
        source: Box<EngineError>,
    },
    /// Nobody answers.
    #[error("Docker host `{host}`: no engine answers at {endpoint}: see whether it runs there")]
    Unreachable {
        /// The host asked.
        host: DockerHost,
        /// Where it should be.
        endpoint: Endpoint,
        /// What the client says.
        #[source]
        source: Box<EngineError>,
    },
    /// No answer in time.
    #[error("Docker host `{host}`: the engine gave no answer within {} s: see whether it hangs", within.as_secs())]
    TooSlow {
        /// The host asked.
        host: DockerHost,
        /// How long it was given.
        within: Duration,
    },
    /// The engine said no.
    #[error("Docker host `{host}`: the engine answered {status}: {message}")]
    Refused {
        /// The host asked.
        host: DockerHost,
        /// The HTTP status.
        status: u16,
        /// The engine's own text, cleaned.
        message: String,
    },
    /// The answer makes no sense.
    #[error("Docker host `{host}`: its answer was not understood ({what}): is it Docker Engine 20.10 or later?")]
    NotUnderstood {
        /// The host asked.
        host: DockerHost,
        /// What was wrong with it.
        what: String,
    },
    /// More text than is read.
    #[error("{target}: its last lines are longer than {} MiB, which is not read: ask for fewer lines", most >> 20)]
    LogTooLong {
        /// The container.
        target: Target,
        /// What is read of it, in bytes.
        most: usize,
    },
    /// The engine has forgotten how a container ended (it remembers 256 events, and none after its own restart).
    #[error(
        "the engine no longer remembers how {target} ended: a person may have stopped it; see for yourself, then retry or start it"
    )]
    Forgotten {
        /// The container.
        target: Target,
    },
}

/// A container as its engine describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Its host and name.
    pub target: Target,
    /// Its full id.
    pub id: ContainerId,
    /// The image's name, as it was given when the container was made.
    pub image: String,
    /// The engine's word: `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub state: String,
    /// When it was last started, exactly as the engine says it; year 1 if never.
    pub started_at: String,
    /// The same moment, `None` if never.
    pub started: Option<Time>,
    /// When it last ended, `None` if never.
    pub finished: Option<Time>,
    /// How it last ended; of no meaning while it runs.
    pub exit_code: Option<i64>,
    /// True when it last ended for want of memory.
    pub out_of_memory: bool,
    /// Why it could not be started, in the engine's words (cleaned); empty if it could.
    pub error: String,
    /// Its labels, empty values left out.
    pub labels: Labels,
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    pub restart_policy: String,
    /// How often its restart policy has started it again.
    pub restart_count: i64,
    /// What its health check says (`starting`, `healthy`, `unhealthy`), `None` if it has none.
    pub health: Option<String>,
    /// Seconds it may take to stop by its own setting; `None`: the engine's default of 10; negative: for ever.
    pub stop_timeout: Option<i64>,
    /// Why it must never be touched, if so: it is Paramedic itself, or an orchestrator looks after it.
    pub protected: Option<String>,
}

impl Container {
    /// True while it runs and is not paused.
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// True while it runs and its health check, if it has one, says that it is well.
    pub fn is_healthy(&self) -> bool {
        self.is_running() && self.health.as_deref().is_none_or(|health| health == "healthy")
    }
}

/// The operator's engines, to look at.
#[derive(Clone, Debug)]
pub struct Engines {
    endpoints: BTreeMap<DockerHost, Endpoint>,
    own: protected::Own,
}

impl Engines {
    /// Takes the settings in. An engine that is not there (yet) is no error: its looks fail until it is.
    ///
    /// # Errors
    /// [`LookError::NotASocket`] when an address can never be right.
    pub fn connect(settings: &Settings) -> Result<Self, LookError> {
        for (host, endpoint) in &settings.hosts {
            let Endpoint::Unix(path) = endpoint;
            if std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
                return Err(LookError::NotASocket { host: host.clone(), endpoint: endpoint.clone() });
            }
        }
        Ok(Self { endpoints: settings.hosts.clone(), own: protected::Own::find() })
    }

    /// The hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &DockerHost> {
        self.endpoints.keys()
    }

    /// Asks the engine for a sign of life.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn reachable(&self, host: &DockerHost) -> Result<(), LookError> {
        let client = self.client(host, DEADLINE)?;
        self.asked(host, client.ping()).await.map(drop)
    }

    /// The container of exactly this name; `None` if there is none.
    ///
    /// # Errors
    /// Why it could not be found out.
    pub async fn container(&self, target: &Target) -> Result<Option<Container>, LookError> {
        let found = self.inspect(&target.host, target.container.as_str()).await?;
        Ok(found.filter(|container| container.target == *target))
    }

    /// The container of exactly this full id, whatever it is called now; `None` if there is none.
    ///
    /// # Errors
    /// Why it could not be found out.
    pub async fn by_id(&self, host: &DockerHost, id: &ContainerId) -> Result<Option<Container>, LookError> {
        let found = self.inspect(host, id.as_str()).await?;
        Ok(found.filter(|container| container.id == *id))
    }

    /// All containers with this label, running or not.
    ///
    /// # Errors
    /// Why it could not be found out.
    pub async fn labelled(&self, host: &DockerHost, label: &str, value: &str) -> Result<Vec<Container>, LookError> {
        let client = self.client(host, DEADLINE)?;
        let filters = HashMap::from([("label".to_owned(), vec![format!("{label}={value}")])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        let listed = self.asked(host, client.list_containers(Some(options))).await?;
        // The list knows too little of their health.
        let ids = listed.into_iter().filter_map(|summary| summary.id?.parse().ok());
        let inspected = futures_util::stream::iter(ids).map(|id: ContainerId| async move { self.by_id(host, &id).await });
        let all = async {
            let found: Vec<Option<Container>> = inspected.buffered(AT_ONCE).try_collect().await?;
            // One that is gone meanwhile is none.
            Ok(found.into_iter().flatten().collect())
        };
        let late = LookError::TooSlow { host: host.clone(), within: DEADLINE };
        tokio::time::timeout(DEADLINE, all).await.unwrap_or(Err(late))
    }

    /// All containers of this host with their labels, running or not.
    ///
    /// # Errors
    /// Why it could not be found out.
    pub async fn all(&self, host: &DockerHost) -> Result<Vec<(Target, Labels)>, LookError> {
        let client = self.client(host, DEADLINE)?;
        let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let listed = self.asked(host, client.list_containers(Some(all))).await?;
        let named = |names: Vec<String>| {
            // The names that other containers know it by have a second slash.
            let own = names.iter().filter_map(|name| name.strip_prefix('/')).find(|name| !name.contains('/'));
            own.and_then(|name| name.parse().ok()).map(|container| Target { host: host.clone(), container })
        };
        let one = |(names, labels): (Option<Vec<String>>, Option<_>)| Some((named(names?)?, labels.unwrap_or_default()));
        let labelled = listed.into_iter().map(|found| (found.names, found.labels.map(|labels| labels.into_iter().collect())));
        Ok(labelled.filter_map(one).collect())
    }

    /// `name` comes from a [`ContainerName`] or [`ContainerId`]: the client puts it into a URL as it is.
    async fn inspect(&self, host: &DockerHost, name: &str) -> Result<Option<Container>, LookError> {
        let client = self.client(host, DEADLINE)?;
        match self.asked(host, client.inspect_container(name, None)).await {
            Ok(answer) => self.read(host, answer).map(Some),
            Err(LookError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A client that can change things. For `execute::docker` alone, which holds a permit; a test looks that nobody
    /// else names it. `wait`, in whole seconds, is how long it waits for an answer.
    ///
    /// # Errors
    /// When there is no such host, or no socket.
    pub(crate) fn hands(&self, host: &DockerHost, wait: Duration) -> Result<Docker, LookError> {
        self.client(host, wait)
    }

    /// What an error of the client means, in words.
    pub(crate) fn explain(&self, host: &DockerHost, within: Duration, error: EngineError) -> LookError {
        let Some(endpoint) = self.endpoints.get(host).cloned() else { return self.unknown(host) };
        let host = host.clone();
        match error {
            EngineError::DockerResponseServerError { status_code: status, message } => {
                LookError::Refused { host, status, message: clean(message.trim(), TEXT) }
            }
            EngineError::RequestTimeoutError => LookError::TooSlow { host, within },
            EngineError::SocketNotFoundError(_) => LookError::NoSocket { host, endpoint },
            EngineError::JsonDataError { message, .. } => LookError::NotUnderstood { host, what: clean(&message, TEXT) },
            EngineError::JsonSerdeError { err } => LookError::NotUnderstood { host, what: clean(&err.to_string(), TEXT) },
            error if io_kind(&error) == Some(io::ErrorKind::PermissionDenied) => {
                LookError::Denied { host, endpoint, source: Box::new(error) }
            }
            error => LookError::Unreachable { host, endpoint, source: Box::new(error) },
        }
    }

    fn unknown(&self, host: &DockerHost) -> LookError {
        let known: Vec<&str> = self.hosts().map(DockerHost::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        LookError::UnknownHost { host: host.clone(), known }
    }

    fn client(&self, host: &DockerHost, wait: Duration) -> Result<Docker, LookError> {
        let Some(Endpoint::Unix(path)) = self.endpoints.get(host) else { return Err(self.unknown(host)) };
        let seconds = wait.as_secs().saturating_add(1);
        Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
            .map_err(|error| self.explain(host, wait, error))
    }

    /// Waits for one look, body included (the client's own timeout ends with the headers).
    async fn asked<T>(&self, host: &DockerHost, look: impl Future<Output = Result<T, EngineError>>) -> Result<T, LookError> {
        match tokio::time::timeout(DEADLINE, look).await {
            Ok(answer) => answer.map_err(|error| self.explain(host, DEADLINE, error)),
            Err(_) => Err(LookError::TooSlow { host: host.clone(), within: DEADLINE }),
        }
    }

    fn read(&self, host: &DockerHost, answer: ContainerInspectResponse) -> Result<Container, LookError> {
        let strange = |what: String| LookError::NotUnderstood { host: host.clone(), what };
        let name = answer.name.unwrap_or_default();
        let name: ContainerName = name.strip_prefix('/').unwrap_or(&name).parse().map_err(strange)?;
        let id: ContainerId = answer.id.unwrap_or_default().parse().map_err(strange)?;
        let ContainerState { status, started_at, finished_at, exit_code, oom_killed, error, health, .. } =
            answer.state.unwrap_or_default();
        let ContainerConfig { labels, stop_timeout, image, .. } = answer.config.unwrap_or_default();
        let HostConfig { restart_policy, .. } = answer.host_config.unwrap_or_default();
        let labels: Labels = labels.unwrap_or_default().into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let started_at = clean(&started_at.unwrap_or_default(), 64);
        let health = health.and_then(|health| health.status).map(|status| status.to_string());
        Ok(Container {
            protected: self.own.why_protected(&id, &name, &labels),
            target: Target { host: host.clone(), container: name },
            id,
            image: clean(&image.unwrap_or_default(), 300),
            state: status.map(|status| status.to_string()).filter(|s| !s.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
            started: moment(&started_at),
            started_at,
            finished: finished_at.as_deref().and_then(moment),
            exit_code,
            out_of_memory: oom_killed.unwrap_or_default(),
            error: clean(error.unwrap_or_default().trim(), TEXT),
            labels,
            restart_policy: restart_policy
                .and_then(|p| p.name)
                .map(|n| n.to_string())
                .filter(|n| !n.is_empty())
                .unwrap_or_else(|| "no".to_owned()),
            restart_count: answer.restart_count.unwrap_or_default(),
            health: health.filter(|status| !status.is_empty() && status != "none"),
            stop_timeout,
        })
    }
}

/// The engine writes year 1 for "never".
fn moment(text: &str) -> Option<Time> {
    Time::parse(text).filter(|time| time.0 > 0)
}

/// The operating system's reason, wherever it is in the chain.
fn io_kind(error: &EngineError) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    if let EngineError::IOError { err } = error {
        return Some(err.kind());
    }
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn without_a_word_there_is_one_host_at_the_usual_socket() {
        let settings: Settings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, Settings::default());
        let (host, endpoint) = settings.hosts.first_key_value().unwrap();
        assert_eq!((host.as_str(), endpoint.to_string().as_str()), ("local", "unix:///var/run/docker.sock"));
        assert_eq!(settings.hosts.len(), 1);
    }

    #[test]
    fn settings_refuse_what_they_do_not_know() {
        assert!(serde_json::from_str::<Settings>(r#"{"host": {}}"#).unwrap_err().to_string().contains("unknown field `host`"));
        for (text, expected) in [
            ("tcp://10.0.0.1:2375", "tcp:// is not there yet"),
            ("ssh://root@db1", "ssh:// is not there yet"),
            ("unix://docker.sock", "needs a whole path"),
            ("unix:///", "needs a whole path"),
            ("/var/run/docker.sock", "is not the address of a Docker engine"),
            ("\u{1b}[31munix", "is not the address of a Docker engine"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(expected) && !error.contains('\u{1b}'), "{text}: {error}");
        }
        let one = r#"{"hosts": {"db1": "unix:///run/db1.sock"}}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Settings>(one).unwrap()).unwrap(), one.replace(": ", ":"));
        assert!(serde_json::from_str::<Settings>(r#"{"hosts": {"../x": "unix:///run/db1.sock"}}"#).is_err());
    }

    #[test]
    fn never_is_no_moment() {
        assert_eq!(moment("0001-01-01T00:00:00Z"), None);
        assert_eq!(moment(""), None);
        assert_eq!(moment("2026-11-22T22:00:00.123456789Z"), Some(Time(1_795_384_800_123)));
    }
}
