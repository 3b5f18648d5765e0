//! What an operator writes under `settings`, and the JSON Schema that `paramedic check` and editors read.
//!
//! The doc comments are what editors show. Everything here is still text: `plan.rs` makes conditions and templates of it.

use std::collections::BTreeMap;

use paramedic_policy::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

mod rule;
mod short;

pub use rule::{Judgement, Rule, What};
pub use short::Short;

/// A policy as a list of rules: the first one whose condition holds decides.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The target that all rules are about, as `docker-host/container`; not given: the alert's own, those that are down first, then the one
    /// that was tried least.
    #[serde(default)]
    pub target: Option<String>,
    /// The time zone of `now`, such as `Europe/Berlin`.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// What the rules may look at, each under a name of its own. Nothing is asked before a rule uses the name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"pattern": "^[a-z][a-z0-9_]*$"}))]
    pub lookups: BTreeMap<String, Lookup>,
    /// Tried from the top; the first one whose condition holds decides.
    #[schemars(length(min = 1, max = 100))]
    pub rules: Vec<Rule>,
    /// What is decided when no rule does.
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// What is decided when no rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// A person is called.
    #[default]
    Escalate,
    /// The next policy is asked.
    Pass,
}

/// Something to look at.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lookup {
    /// PromQL, asked of Prometheus: a list of `{labels, value}`. `${...}` in it becomes a quoted string or a number, so it is written
    /// without quotes: `up{job=${labels.job}}`.
    Metrics(String),
    /// One container, as `docker-host/container`: its `state`, `health`, `exit_code`, `restart_count`, `up_for`, `down_for`, `image`, `labels`.
    Container(String),
    /// All containers of a Docker host with these labels: a list.
    Containers(Containers),
    /// The last lines of a container's log: a list of texts.
    Log(Log),
    /// Earlier incidents about a target, newest first: a list.
    History(History),
}

/// Containers of a Docker host.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Containers {
    /// A key of `docker.hosts`.
    pub host: String,
    /// The labels they all have.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A container's log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Whose; not given: the target's.
    #[serde(default)]
    pub target: Option<String>,
    /// How many lines.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 200))]
    pub lines: u32,
}

fn twenty() -> u32 {
    20
}

/// Earlier incidents.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Whose; not given: the target's.
    #[serde(default)]
    pub target: Option<String>,
    /// Opened so long before now at most, such as `24h`.
    pub within: Length,
}

/// A length of time such as `30s`, `5m`, `4h`, `1h30m`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Length(pub std::time::Duration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::time::parse_length(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Length {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Length".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]+(ms|s|m|h|d|w))+$",
            "description": "A length of time such as 30s, 5m, 4h or 1h30m.",
        })
    }
}

/// One thing to do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Stop (if running) and start a container. `restart: {}` is about the alert's target, `restart: local/web` about that one.
    Restart(Short<Stopping>),
    /// Start a container that is not running.
    Start(Short<Plain>),
    /// Stop a container.
    Stop(Short<Stopping>),
    /// Freeze all processes of a container.
    Pause(Short<Plain>),
    /// Let a paused container go on.
    Unpause(Short<Plain>),
    /// Send a signal to the first process of a container: `kill: SIGHUP`.
    Kill(Short<Kill>),
    /// Run a playbook: `playbook: repair.yml`, or with variables, tags and so on.
    Playbook(Short<Playbook>),
    /// Silence alerts for some time: `silence: 1h` silences exactly this alert.
    Silence(Short<Silence>),
    /// End the silences that this policy made about the target.
    ExpireSilences(Short<Plain>),
    /// Send a text to a channel of `notify` in `paramedic.yaml`.
    Notify(Notify),
}

/// A container that may take time to stop.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stopping {
    /// The container, as `docker-host/container`; not given: the target.
    pub target: Option<String>,
    /// How many seconds it may take to stop before it is killed; not given: the container's own setting.
    pub grace_seconds: Option<u32>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plain {
    /// The container, as `docker-host/container`; not given: the target.
    pub target: Option<String>,
}

/// A signal for a container.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// Which, such as `SIGHUP`. Each has a grant of its own.
    pub signal: String,
    /// The container, as `docker-host/container`; not given: the target.
    #[serde(default)]
    pub target: Option<String>,
}

/// A playbook.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Its path inside the playbook folder.
    pub name: String,
    /// The target it is to help, as `docker-host/container`; not given: the target.
    #[serde(default)]
    pub target: Option<String>,
    /// The inventory host it is limited to; not given: the one configured for the target.
    #[serde(default)]
    pub host: Option<String>,
    /// Its variables: values, in whose texts `${...}` is filled in. A text that is nothing but one `${...}` keeps the value's type.
    #[serde(default)]
    pub variables: BTreeMap<String, Value>,
    /// Only the tasks with one of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only say what would be changed.
    #[serde(default)]
    pub check: bool,
}

/// A silence.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// How long.
    #[serde(rename = "for")]
    pub length: Length,
    /// What is silenced, as Alertmanager writes it: `alertname="WebDown"`. Text that is filled in belongs to the right of the operator, without
    /// quotes: `instance=${labels.instance}`. Not given: exactly this alert.
    #[serde(default, rename = "match")]
    pub matchers: Vec<String>,
    /// Why, for whoever finds the silence; not given: the reason.
    #[serde(default)]
    pub comment: Option<String>,
    /// The target it is about; not given: the target.
    #[serde(default)]
    pub target: Option<String>,
}

/// A text for a channel.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// A name under `notify` in `paramedic.yaml`.
    pub channel: String,
    /// The text; not given: the reason.
    #[serde(default)]
    pub text: Option<String>,
    /// The target it is about; not given: the target.
    #[serde(default)]
    pub target: Option<String>,
}
