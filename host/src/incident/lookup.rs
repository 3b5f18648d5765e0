//! What a plugin asked about the world while it decided, and what it was told: plain data, written down with the decision.
//!
//! With these a decision can be repeated exactly, since the answers are part of the question.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Time, print_duration};
use crate::telemetry::clean;

/// Characters of a question that are shown to people.
const SHOWN: usize = 200;

/// One thing that can be looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lookup {
    /// Containers of a Docker host that have all these labels.
    Containers {
        /// The operator's name of the Docker host, hopefully.
        host: String,
        /// Names and values.
        labels: Vec<(String, String)>,
    },
    /// One container.
    Container {
        /// The name the plugin gave.
        target: String,
    },
    /// The last lines of a container's log.
    Log {
        /// The name the plugin gave.
        target: String,
        /// How many.
        lines: u32,
    },
    /// PromQL at the time of the question.
    Metrics {
        /// The query.
        query: String,
    },
    /// Incidents about a target.
    History {
        /// The name the plugin gave.
        target: String,
        /// Opened so long before the question at most, in milliseconds.
        within_ms: u64,
    },
}

impl Lookup {
    /// The word with which a plugin declares it: `containers`, `containers.log-tail`, `metrics`, `history`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Containers { .. } | Self::Container { .. } => "containers",
            Self::Log { .. } => "containers.log-tail",
            Self::Metrics { .. } => "metrics",
            Self::History { .. } => "history",
        }
    }

    /// All words.
    pub const WORDS: [&'static str; 4] = ["containers", "containers.log-tail", "metrics", "history"];
}

impl fmt::Display for Lookup {
    /// For people: cleaned, and cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Containers { host, labels } => {
                let labels = labels.iter().take(8).map(|(name, value)| format!("{}={}", clean(name, 60), clean(value, 60)));
                let labels = labels.collect::<Vec<_>>().join(" ");
                write!(f, "containers of {}", clean(host, SHOWN))?;
                if labels.is_empty() { Ok(()) } else { write!(f, " with {labels}") }
            }
            Self::Container { target } => write!(f, "container {}", clean(target, SHOWN)),
            Self::Log { target, lines } => write!(f, "the last {lines} lines of {}", clean(target, SHOWN)),
            Self::Metrics { query } => write!(f, "metrics {}", clean(query, SHOWN)),
            Self::History { target, within_ms } => {
                write!(f, "incidents about {} within {}", clean(target, SHOWN), print_duration(Duration::from_millis(*within_ms)))
            }
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// To [`Lookup::Containers`], in the order of their names.
    Containers(Vec<FoundContainer>),
    /// To [`Lookup::Container`].
    Container(FoundContainer),
    /// To [`Lookup::Log`], oldest first.
    Log(Vec<String>),
    /// To [`Lookup::Metrics`].
    Metrics(Vec<Sample>),
    /// To [`Lookup::History`], newest first.
    History(Vec<PastIncident>),
}

impl Found {
    /// How much it is, for people.
    pub fn amount(&self) -> String {
        let (many, of) = match self {
            Self::Container(_) => (1, "container"),
            Self::Containers(all) => (all.len(), "container"),
            Self::Log(lines) => (lines.len(), "line"),
            Self::Metrics(samples) => (samples.len(), "sample"),
            Self::History(incidents) => (incidents.len(), "incident"),
        };
        if many == 1 { format!("1 {of}") } else { format!("{many} {of}s") }
    }
}

/// Why nothing was found. The text is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum LookupError {
    /// Not granted, or not declared.
    #[error("access denied: {0}")]
    AccessDenied(String),
    /// No such thing.
    #[error("not found: {0}")]
    NotFound(String),
    /// The question is wrong.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Too much.
    #[error("limit exceeded: {0}")]
    LimitExceeded(String),
    /// Whoever would know could not be asked.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// One lookup and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// What was asked.
    pub lookup: Lookup,
    /// What was answered.
    pub answer: Result<Found, LookupError>,
    /// How long the answer took.
    #[serde(default)]
    pub micros: u64,
}

impl Looked {
    /// In one sentence for people: what was asked, how much was answered or why nothing, and how long it took.
    pub fn told(&self) -> String {
        let answer = match &self.answer {
            Ok(found) => found.amount(),
            Err(why) => clean(&why.to_string(), 600),
        };
        format!("looked at {}: {answer} ({:.1} ms)", self.lookup, Duration::from_micros(self.micros).as_secs_f64() * 1e3)
    }

    /// The same without what was answered, which may hold secrets: for readers who may not look for themselves.
    #[must_use]
    pub fn withheld(&self) -> Self {
        let answer = self.answer.as_ref().map_err(Clone::clone).and_then(|found| {
            let text = format!(
                "{}, not shown here; `paramedic journal export` shows it to whoever may read the data folder",
                found.amount()
            );
            Err(LookupError::Other(text))
        });
        Self { answer, ..self.clone() }
    }
}

/// A container as a plugin is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FoundContainer {
    /// `host/name`.
    pub name: String,
    /// The engine's id.
    pub id: String,
    /// The image's name.
    pub image: String,
    /// `running`, `exited`, ...
    pub state: String,
    /// `healthy`, `unhealthy`, `starting`, `none`.
    pub health: String,
    /// Last start.
    pub started_at: Option<Time>,
    /// Last end; none while it runs.
    pub finished_at: Option<Time>,
    /// Exit code of the last end; none while it runs.
    pub exit_code: Option<i64>,
    /// Restarts by the engine itself.
    pub restart_count: u32,
    /// Its labels, by name.
    pub labels: Vec<(String, String)>,
}

/// One value of an instant vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its labels, by name; empty for a scalar.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
    /// The value.
    #[serde(with = "float")]
    pub value: f64,
    /// When it was evaluated.
    pub at: Time,
}

/// Another incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastIncident {
    /// `<key>-<n>`.
    pub id: String,
    /// The alert's name.
    pub alertname: String,
    /// When it was opened.
    pub opened_at: Time,
    /// When it was closed.
    #[serde(default)]
    pub closed_at: Option<Time>,
    /// How it ended, or its state.
    pub state: String,
    /// Who took it.
    #[serde(default)]
    pub policy: String,
    /// What was tried.
    #[serde(default)]
    pub attempts: Vec<PastAttempt>,
}

/// An attempt, in the words of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastAttempt {
    /// Counts from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Time,
    /// When its last action ended.
    pub ended_at: Time,
    /// What was done.
    pub actions: Vec<PastAction>,
    /// `healed`, `not-healed`, `unclear`, `none`.
    pub verification: String,
}

/// One action of an attempt, in the words of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastAction {
    /// `docker.restart`, ...
    pub kind: String,
    /// The target's name.
    pub target: String,
    /// Playbook, signal, silence, channel; may be empty.
    #[serde(default)]
    pub detail: String,
    /// `succeeded`, `failed`, `timed-out`, `interrupted`, `refused`, `cancelled`.
    pub outcome: String,
    /// Why.
    #[serde(default)]
    pub message: String,
}

/// Numbers as Prometheus writes them, in quotes: JSON has no NaN and no infinity. Rust's shortest form gives the same bits back.
mod float {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom(format!("`{}` is no number", text.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lookup_is_told_in_one_clean_sentence_and_can_be_withheld() {
        let mut looked = Looked {
            lookup: Lookup::Metrics { query: "up == 0 # \u{1b}[2J\nsecond".to_owned() },
            answer: Ok(Found::Log(vec!["password=secret".to_owned()])),
            micros: 1_240,
        };
        assert_eq!(looked.told(), "looked at metrics up == 0 # \u{fffd} second: 1 line (1.2 ms)");
        let withheld = serde_json::to_string(&looked.withheld()).unwrap();
        assert!(withheld.contains("1 line, not shown here") && !withheld.contains("secret"), "{withheld}");
        looked.lookup = Lookup::History { target: "local/web".to_owned(), within_ms: 3_600_000 };
        looked.answer = Err(LookupError::AccessDenied("no grant".to_owned()));
        assert_eq!(looked.told(), "looked at incidents about local/web within 1 h 0 min: access denied: no grant (1.2 ms)");
        assert_eq!(looked.withheld(), looked);
    }

    #[test]
    fn every_number_comes_back_as_it_was() {
        for value in [0.0, -0.0, 0.1, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE, 1e300] {
            let sample = Sample { labels: Vec::new(), value, at: Time(1) };
            let back: Sample = serde_json::from_str(&serde_json::to_string(&sample).unwrap()).unwrap();
            assert!(back.value.to_bits() == value.to_bits() || back.value.is_nan() && value.is_nan(), "{value}");
        }
    }
}
