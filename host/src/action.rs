//! Everything that can be done, as one closed enum, and the names of what it can be done to.
//!
//! A [`Proposal`] is what a plugin wants, still in its own words. An [`Action`] is the same after every name was checked
//! and resolved to one real thing; only `authorise` makes one. Names are newtypes that cannot be wrong, since
//! the Docker client puts them into a URL as they are. Absent on purpose: any action that runs a free command.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::alert::matchers::Matcher;

/// A word of a name: what Docker allows for containers (`[a-zA-Z0-9][a-zA-Z0-9_.-]*`), at most 255 characters.
fn is_name(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    let shown: String = text.chars().take(80).collect();
                    Err(format!(concat!("`{}` is not the name of ", $what, ": letters, digits, _ . - are allowed"), shown.escape_debug()))
                }
            }
        }
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The operator's name of a Docker host, a key of `docker.hosts`.
    DockerHost,
    "a Docker host"
);
name!(
    /// The name of a container, without the leading `/` of Docker's own answers.
    ContainerName,
    "a container"
);
name!(
    /// A container's id as the engine gave it.
    ContainerId,
    "a container's id"
);
name!(
    /// One host of an Ansible inventory; never a pattern.
    InventoryHost,
    "an inventory host"
);

/// The signals there are, without `SIG`.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
    "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Those that programs are only told something with; every other one ends or freezes what does not catch it.
const TELLING: [&str; 8] = ["HUP", "USR1", "USR2", "CONT", "CHLD", "URG", "WINCH", "IO"];

/// A signal by its name, `SIGHUP` (its place in the list above). Never a number, whose meaning hangs on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(u8);

impl Signal {
    /// What a kill without a name sends.
    pub const KILL: Self = Self(8);

    /// May it end or freeze the program?
    pub fn is_deadly(self) -> bool {
        !TELLING.contains(&self.name())
    }

    fn name(self) -> &'static str {
        SIGNALS.get(usize::from(self.0)).copied().unwrap_or("?")
    }
}

impl FromStr for Signal {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        let known = SIGNALS.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok());
        known.map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let hint = crate::telemetry::did_you_mean(&name.to_uppercase(), &SIGNALS);
            format!("`{}` is not the name of a signal{hint}: write a name such as SIGHUP, no number", shown.escape_debug())
        })
    }
}

impl TryFrom<String> for Signal {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIG{}", self.name())
    }
}

/// Can this be the tag of a playbook's task? Tags are joined by commas in an argument, so little is allowed.
pub fn is_tag(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A container on a Docker host, written `local/nginx-demo`. Target's locks and brakes hang on this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    /// Which engine.
    pub host: DockerHost,
    /// Which container there.
    pub container: ContainerName,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.container)
    }
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, container) = text.split_once('/').ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            format!("`{}` is not a target: write docker-host/container, such as local/nginx-demo", shown.escape_debug())
        })?;
        Ok(Self { host: host.parse()?, container: container.parse()? })
    }
}

impl TryFrom<String> for Target {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

/// A kind of action, as declared by plugins and written in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Stop and start a container.
    #[serde(rename = "docker.restart")]
    DockerRestart,
    /// Start a container.
    #[serde(rename = "docker.start")]
    DockerStart,
    /// Stop a container.
    #[serde(rename = "docker.stop")]
    DockerStop,
    /// Freeze a container.
    #[serde(rename = "docker.pause")]
    DockerPause,
    /// Let a paused container go on.
    #[serde(rename = "docker.unpause")]
    DockerUnpause,
    /// Send a signal to a container.
    #[serde(rename = "docker.kill")]
    DockerKill,
    /// Run a playbook.
    #[serde(rename = "ansible.playbook")]
    AnsiblePlaybook,
    /// Create a silence in Alertmanager.
    #[serde(rename = "alertmanager.silence")]
    Silence,
    /// End silences of one's own.
    #[serde(rename = "alertmanager.expire")]
    ExpireSilence,
    /// Send a text to a channel.
    #[serde(rename = "notify.send")]
    Notify,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::DockerRestart,
        Self::DockerStart,
        Self::DockerStop,
        Self::DockerPause,
        Self::DockerUnpause,
        Self::DockerKill,
        Self::AnsiblePlaybook,
        Self::Silence,
        Self::ExpireSilence,
        Self::Notify,
    ];

    /// The word, such as `docker.restart`.
    pub fn word(self) -> &'static str {
        match self {
            Self::DockerRestart => "docker.restart",
            Self::DockerStart => "docker.start",
            Self::DockerStop => "docker.stop",
            Self::DockerPause => "docker.pause",
            Self::DockerUnpause => "docker.unpause",
            Self::DockerKill => "docker.kill",
            Self::AnsiblePlaybook => "ansible.playbook",
            Self::Silence => "alertmanager.silence",
            Self::ExpireSilence => "alertmanager.expire",
            Self::Notify => "notify.send",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What can be done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DockerVerb {
    /// Stop (if running), then start.
    Restart,
    /// Start.
    Start,
    /// Stop.
    Stop,
    /// Freeze all its processes.
    Pause,
    /// Let them go on.
    Unpause,
    /// Send a signal to its first process.
    Kill,
}

impl DockerVerb {
    /// The kind of action this is.
    pub fn kind(self) -> Kind {
        match self {
            Self::Restart => Kind::DockerRestart,
            Self::Start => Kind::DockerStart,
            Self::Stop => Kind::DockerStop,
            Self::Pause => Kind::DockerPause,
            Self::Unpause => Kind::DockerUnpause,
            Self::Kill => Kind::DockerKill,
        }
    }
}

/// What a plugin wants, in its own words: nothing here was checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proposal {
    /// Something with a container.
    Docker {
        /// What.
        verb: DockerVerb,
        /// The name the plugin gave, hopefully a [`Target`].
        target: String,
        /// Seconds the container may take to stop; `None`: its own setting.
        #[serde(default)]
        grace_seconds: Option<u32>,
        /// The signal of a `kill`; `None`: `SIGKILL`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
    },
    /// Run a playbook.
    Playbook {
        /// Path inside the playbook folder.
        name: String,
        /// The target it is meant to help.
        about: String,
        /// The inventory host; `None`: the one configured for `about`.
        #[serde(default)]
        host: Option<String>,
        /// Names and JSON texts.
        #[serde(default)]
        variables: Vec<(String, String)>,
        /// Only the tasks with one of these tags; empty: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        /// Only say what would be changed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        check: bool,
    },
    /// Silence alerts in Alertmanager.
    Silence {
        /// The target it is about.
        about: String,
        /// All of them have to fit.
        matchers: Vec<ProposedMatcher>,
        /// For how long, in milliseconds.
        millis: u64,
        /// For people.
        comment: String,
    },
    /// End silences that the same policy made.
    ExpireSilence {
        /// The target they are about.
        about: String,
        /// Which; `None`: all that this policy made about that target.
        #[serde(default)]
        id: Option<String>,
    },
    /// Send a text to a channel.
    Notify {
        /// The target it is about.
        about: String,
        /// The operator's name of the channel.
        channel: String,
        /// The text.
        text: String,
    },
}

/// A matcher of a silence, in a plugin's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedMatcher {
    /// The label's name.
    pub name: String,
    /// Hopefully `=`, `!=`, `=~` or `!~`.
    pub op: String,
    /// The value.
    pub value: String,
}

impl Proposal {
    /// The kind of action it asks for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Docker { verb, .. } => verb.kind(),
            Self::Playbook { .. } => Kind::AnsiblePlaybook,
            Self::Silence { .. } => Kind::Silence,
            Self::ExpireSilence { .. } => Kind::ExpireSilence,
            Self::Notify { .. } => Kind::Notify,
        }
    }

    /// The name of the target as the plugin wrote it.
    pub fn target(&self) -> &str {
        match self {
            Self::Docker { target, .. } => target,
            Self::Playbook { about, .. }
            | Self::Silence { about, .. }
            | Self::ExpireSilence { about, .. }
            | Self::Notify { about, .. } => about,
        }
    }

    /// What exactly, beside kind and target: the playbook's name, the signal, the silence's id, the channel; may be empty.
    pub fn detail(&self) -> &str {
        match self {
            Self::Docker { signal, .. } => signal.as_deref().unwrap_or_default(),
            Self::Playbook { name, .. } => name,
            Self::Silence { .. } => "",
            Self::ExpireSilence { id, .. } => id.as_deref().unwrap_or_default(),
            Self::Notify { channel, .. } => channel,
        }
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker { target, signal: None, .. } => write!(f, "{} {}", self.kind(), target.escape_debug()),
            Self::Docker { target, signal: Some(signal), .. } => {
                write!(f, "{} {} to {}", self.kind(), signal.escape_debug(), target.escape_debug())
            }
            Self::Silence { about, .. } | Self::ExpireSilence { about, id: None } => {
                write!(f, "{} about {}", self.kind(), about.escape_debug())
            }
            Self::Playbook { name, about, tags, check, .. } => {
                let (name, about) = (name.escape_debug(), about.escape_debug());
                write!(f, "{} {name} about {about}{}", self.kind(), manner(tags, *check))
            }
            other => write!(f, "{} {} about {}", other.kind(), other.detail().escape_debug(), other.target().escape_debug()),
        }
    }
}

/// One typed thing that can be done to one real target, as authorised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Something with a container.
    Docker {
        /// What.
        verb: DockerVerb,
        /// The container's name.
        target: Target,
        /// The id it had when it was authorised: the action is done to this id and no other.
        container: ContainerId,
        /// When that container had last been started (RFC 3339, as the engine says it); tells after a crash whether the action took place.
        started_at: String,
        /// Seconds it may take to stop; `None`: the container's own setting.
        #[serde(default)]
        grace_seconds: Option<u32>,
        /// The signal of a `kill`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<Signal>,
    },
    /// Run a playbook.
    Playbook {
        /// Path inside the playbook folder, normalised, without `..`.
        name: String,
        /// The target it is meant to help; lock and brakes hang on it.
        about: Target,
        /// The only host it may touch (`--limit`).
        host: InventoryHost,
        /// The Ansible profile it runs with.
        profile: String,
        /// Granted names and their JSON values.
        #[serde(default)]
        variables: BTreeMap<String, serde_json::Value>,
        /// Only the tasks with one of these tags; empty: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        /// Only say what would be changed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        check: bool,
    },
    /// Silence alerts in Alertmanager.
    Silence {
        /// The target it is about.
        about: Target,
        /// All of them have to fit.
        matchers: Vec<ProposedMatcher>,
        /// For how long, in milliseconds.
        millis: u64,
        /// For people; bounded and cleaned.
        comment: String,
    },
    /// End silences that the same policy made about that target.
    ExpireSilence {
        /// The target they are about.
        about: Target,
        /// Their ids, as Alertmanager listed them when it was authorised.
        ids: Vec<String>,
    },
    /// Send a text to a channel.
    Notify {
        /// The target it is about.
        about: Target,
        /// The operator's name of the channel.
        channel: String,
        /// The text; bounded and cleaned.
        text: String,
    },
}

impl Action {
    /// The kind of action.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Docker { verb, .. } => verb.kind(),
            Self::Playbook { .. } => Kind::AnsiblePlaybook,
            Self::Silence { .. } => Kind::Silence,
            Self::ExpireSilence { .. } => Kind::ExpireSilence,
            Self::Notify { .. } => Kind::Notify,
        }
    }

    /// Can it change anything about its target? A check run cannot, nor can who only tells people more or less.
    pub fn touches(&self) -> bool {
        matches!(self, Self::Docker { .. } | Self::Playbook { check: false, .. })
    }

    /// The target whose lock and brakes it uses.
    pub fn target(&self) -> &Target {
        match self {
            Self::Docker { target, .. } => target,
            Self::Playbook { about, .. }
            | Self::Silence { about, .. }
            | Self::ExpireSilence { about, .. }
            | Self::Notify { about, .. } => about,
        }
    }

    /// What exactly, beside kind and target; as [`Proposal::detail`].
    pub fn detail(&self) -> String {
        match self {
            Self::Docker { signal, .. } => signal.map(|signal| signal.to_string()).unwrap_or_default(),
            Self::Playbook { name, .. } => name.clone(),
            Self::Silence { .. } => String::new(),
            Self::ExpireSilence { ids, .. } => ids.join(", "),
            Self::Notify { channel, .. } => channel.clone(),
        }
    }
}

/// As Alertmanager writes it: a quote inside a value never looks like its end.
impl fmt::Display for ProposedMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Matcher::of(self.name.clone(), &self.op, self.value.clone()) {
            Ok(matcher) => matcher.fmt(f),
            Err(_) => write!(f, "{:?} {:?} {:?}", self.name, self.op, self.value),
        }
    }
}

/// ` only the tags a, b`, ` (check only, nothing is changed)`: how a playbook is run, where that is not as usual.
fn manner(tags: &[String], check: bool) -> String {
    let tags = if tags.is_empty() { String::new() } else { format!(" with only the tags {}", tags.join(", ")) };
    let check = if check { " (check only, nothing is changed)" } else { "" };
    format!("{tags}{check}").escape_debug().to_string()
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker { target, container, signal, .. } => {
                let short = container.as_str().get(..12).unwrap_or(container.as_str());
                let signal = signal.map(|signal| format!("{signal} to ")).unwrap_or_default();
                write!(f, "{} {signal}{target} ({short})", self.kind())
            }
            Self::Playbook { name, about, host, tags, check, .. } => {
                write!(f, "{} {name} on {host} about {about}{}", self.kind(), manner(tags, *check))
            }
            Self::Silence { about, matchers, millis, .. } => {
                let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
                let long = crate::clock::print_duration(std::time::Duration::from_millis(*millis));
                write!(f, "{} of {{{}}} for {long} about {about}", self.kind(), matchers.join(","))
            }
            Self::ExpireSilence { about, ids } if ids.is_empty() => write!(f, "{} of nothing about {about}", self.kind()),
            Self::ExpireSilence { about, ids } => write!(f, "{} {} about {about}", self.kind(), ids.join(", ").escape_debug()),
            Self::Notify { about, channel, .. } => write!(f, "{} to {} about {about}", self.kind(), channel.escape_debug()),
        }
    }
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It did what it should.
    Succeeded,
    /// It did not.
    Failed,
    /// Its deadline passed; it may still have an effect.
    TimedOut,
    /// Paramedic was stopped meanwhile, or a person stopped it: whether it took place was looked up, as far as it can be.
    Interrupted,
}

impl Ending {
    /// The word used in the contract and the journal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How an execution ended, and what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub ending: Ending,
    /// One sentence; holds the engine's or the playbook's own error text. At most 4000 characters.
    pub message: String,
    /// True when something may have been changed, however it ended: then it is looked at before anything else is done.
    #[serde(default)]
    pub touched: bool,
    /// Lines of output that were kept, bounded; terminal escapes are gone.
    #[serde(default)]
    pub output: Vec<String>,
}
