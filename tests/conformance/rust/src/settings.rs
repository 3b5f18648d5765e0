//! The settings: a script of steps, the decision to answer, and values of every type.
//!
//! Numbers that may be larger than what every language's JSON keeps exactly are written as text.

use std::collections::BTreeMap;

use paramedic_policy::Value;
use schemars::JsonSchema;
use serde::Deserialize;

/// What this plugin is told to do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What to do first, in this order.
    #[serde(default)]
    pub script: Vec<Step>,
    /// Let the error of a lookup through instead of telling it.
    #[serde(default)]
    pub strict: bool,
    /// Values to be told again.
    #[serde(default)]
    pub values: Values,
    /// What to answer.
    pub decision: Answer,
}

/// One step. What it tells is added to the decision's reason.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Tell a part of the incident.
    Tell { what: Part },
    /// `containers.find`
    Find {
        host: String,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    },
    /// `containers.inspect`
    Inspect { target: String },
    /// `containers.log-tail`
    LogTail { target: String, lines: u32 },
    /// `metrics.query`
    Query { promql: String },
    /// `history.of-target`
    Past { target: String, within_ms: String },
    /// A line in the journal, so many times.
    Log {
        level: Level,
        message: String,
        #[serde(default = "once")]
        times: u32,
    },
    /// A line on standard output.
    Print { text: String },
    /// Do not get any further.
    Fail { how: How },
}

fn once() -> u32 {
    1
}

/// A part of what a plugin is told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    Id,
    Alert,
    Trigger,
    Attempts,
    Targets,
    Values,
    Now,
    Derived,
}

/// How loud.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// How to fail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Say that it cannot be decided.
    CannotDecide,
    /// A bug: what the language has for it.
    Bug,
    /// Call oneself without end.
    Recursion,
    /// Answer what is no decision.
    Nothing,
    /// Answer half of a character.
    HalfACharacter,
    /// Propose something about what is no text.
    NoText,
    /// A bug, but already when the settings are checked.
    BugInCheck,
}

/// Values of every type that settings can have, each with a default.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Values {
    pub text: String,
    pub maybe: Option<String>,
    pub whole: i64,
    pub number: f64,
    pub flag: bool,
    pub word: Word,
    pub names: Vec<String>,
    pub table: BTreeMap<String, i64>,
    pub anything: Value,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            text: "nothing".to_owned(),
            maybe: None,
            whole: 7,
            number: 0.5,
            flag: false,
            word: Word::Red,
            names: vec!["first".to_owned()],
            table: BTreeMap::new(),
            anything: Value::Null,
        }
    }
}

/// One of a few words.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    Red,
    DarkGreen,
}

impl Word {
    /// As it is written.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::DarkGreen => "dark-green",
        }
    }
}

/// What to answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    Pass { reason: String },
    Ignore { reason: String },
    Act { reason: String, proposals: Vec<Wanted> },
    Wait { reason: String, ms: String },
    Escalate { reason: String },
}

/// What to propose.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Wanted {
    #[serde(rename = "docker.restart")]
    Restart { target: String, grace_seconds: Option<u32> },
    #[serde(rename = "docker.start")]
    Start { target: String },
    #[serde(rename = "docker.stop")]
    Stop { target: String, grace_seconds: Option<u32> },
    #[serde(rename = "docker.pause")]
    Pause { target: String },
    #[serde(rename = "docker.unpause")]
    Unpause { target: String },
    #[serde(rename = "docker.kill")]
    Kill { target: String, signal: Option<String> },
    #[serde(rename = "ansible.playbook")]
    Playbook {
        name: String,
        about: String,
        host: Option<String>,
        #[serde(default)]
        variables: BTreeMap<String, Value>,
        #[serde(default)]
        tags: Vec<String>,
        #[serde(default)]
        check: bool,
    },
    #[serde(rename = "alertmanager.silence")]
    Silence { about: String, matchers: Vec<Match>, ms: String, comment: String },
    #[serde(rename = "alertmanager.expire")]
    Expire { about: String, id: Option<String> },
    #[serde(rename = "notify.send")]
    Notify { about: String, channel: String, text: String },
}

/// One matcher of a silence.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    pub name: String,
    pub op: String,
    pub value: String,
}
