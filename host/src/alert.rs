//! An alert as Paramedic knows it, whatever door it came through, and who it is.
//!
//! Everything a source says is data from strangers. Identity is a hash of the source's family and the labels, less those
//! that only tell replicas apart; `startsAt` is never identity, since after a restart Prometheus and Alertmanager name
//! different times for one firing. Absent on purpose: trust in a given fingerprint (it is kept and shown, no more).

pub mod matchers;
pub mod overlap;
pub mod own;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Time;

/// Names and values; a label with an empty value is the same as no label and is never stored.
pub type Labels = BTreeMap<String, String>;

/// Which family of sources said it. Sources of one family that say the same labels mean the same alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Alertmanager's webhook and API, Prometheus' posts and API.
    Prometheus,
    /// Docker's own events.
    Docker,
    /// Grafana's own alerting.
    Grafana,
    /// Anything else.
    Generic,
}

impl Family {
    /// The word used in identities, the contract and the journal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Docker => "docker",
            Self::Grafana => "grafana",
            Self::Generic => "generic",
        }
    }
}

/// Through which door an alert was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// `POST /alert`, Alertmanager's webhook.
    Webhook,
    /// `POST /api/v2/alerts`, what Prometheus sends to an Alertmanager.
    Post,
    /// Paramedic listed Alertmanager's alerts.
    Alertmanager,
    /// Paramedic listed Prometheus' alerts.
    Prometheus,
}

impl Via {
    /// The word used in the journal and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Post => "post",
            Self::Alertmanager => "alertmanager",
            Self::Prometheus => "prometheus",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Webhook => "Alertmanager's webhook",
            Self::Post => "Prometheus' post",
            Self::Alertmanager => "Alertmanager's list",
            Self::Prometheus => "Prometheus' list",
        })
    }
}

/// Firing or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The source says it fires.
    Firing,
    /// The source says it is over. A hint, never proof of health.
    Resolved,
}

/// What a source said about one alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Family of the source.
    pub family: Family,
    /// Firing or resolved.
    pub status: Status,
    /// Labels, empty values left out.
    pub labels: Labels,
    /// Annotations: words for people.
    #[serde(default)]
    pub annotations: Labels,
    /// Since when it fires, as the source says.
    pub starts_at: Time,
    /// Until when the source vouches for it; `None` when it said nothing (Alertmanager's firing alerts say year 1).
    #[serde(default)]
    pub ends_at: Option<Time>,
    /// Link back to the rule; may be empty.
    #[serde(default)]
    pub generator_url: String,
    /// The source's fingerprint, kept as it came.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

impl Alert {
    /// The alert's name, or `?` if it has none.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("?", String::as_str)
    }
}

/// Who an alert is: 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// The key of these labels from this family, not looking at the labels named in `drop`.
    ///
    /// SHA-256 over the family and each name and value with a 0 byte behind, cut to 64 bits: keys of one installation are
    /// few, and a collision made on purpose only merges the liar's own alerts.
    pub fn of(family: Family, labels: &Labels, drop: &[String]) -> Self {
        let mut hash = Sha256::new();
        hash.update(family.word());
        hash.update([0]);
        for (name, value) in labels.iter().filter(|(name, _)| !drop.contains(name)) {
            for part in [name, value] {
                hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                hash.update(part);
            }
        }
        Self(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The 16 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The n-th incident of a key, written `<key>-<n>`; n counts from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IncidentId {
    /// Whose incident.
    pub key: Key,
    /// Which one of this key, from 1.
    pub n: u64,
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.key, self.n)
    }
}

impl From<IncidentId> for String {
    fn from(id: IncidentId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for IncidentId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for IncidentId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-').filter(|(key, _)| key.len() == 16 && key.bytes().all(|b| b.is_ascii_hexdigit()));
        let id = parts.and_then(|(key, n)| Some(Self { key: Key(key.to_owned()), n: n.parse().ok().filter(|n| *n > 0)? }));
        id.ok_or_else(|| format!("`{}` is not an incident's id: it looks like 0123456789abcdef-1", text.escape_debug()))
    }
}
