//! A policy: an operator's file that says which plugin judges which alerts, with which settings, grants and brakes.

pub mod approve;
pub mod brakes;
pub mod grants;
pub mod maintenance;
pub mod present;
mod verify;

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::alert::matchers::Matchers;
use crate::incident::Mode;
use approve::{Approve, Approver};
use brakes::PolicyBrakes;
use grants::Grants;
use maintenance::Window;
pub use verify::{HttpProbe, Probe, ProbeUrl, Verify};

/// One file of the policies folder, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name; unique.
    pub name: String,
    /// Which plugin.
    pub plugin: PluginRef,
    /// Which alerts: all matchers have to fit. Empty fits every alert.
    #[serde(default, rename = "match")]
    pub matchers: Matchers,
    /// `observe` (the default), `approve` or `enforce`.
    #[serde(default, deserialize_with = "mode")]
    pub mode: Mode,
    /// Handed to the plugin as JSON.
    #[serde(default = "no_settings")]
    pub settings: serde_json::Value,
    /// What it may do.
    #[serde(default)]
    pub grants: Grants,
    /// PromQL: while one of them has a result, or cannot be asked, nothing is done.
    #[serde(default)]
    pub unless: Vec<String>,
    /// Times in which nothing is done, beside those of `paramedic.yaml`.
    #[serde(default)]
    pub maintenance: Vec<Window>,
    /// What one decision may cost.
    #[serde(default)]
    pub limits: Limits,
    /// How often it may act.
    #[serde(default)]
    pub brakes: PolicyBrakes,
    /// How to look whether it helped.
    #[serde(default)]
    pub verify: Verify,
    /// How a person is asked, in mode `approve`.
    #[serde(default)]
    pub approve: Approve,
    /// Who may say yes or no; without it, whoever may use the operator's socket.
    #[serde(default)]
    pub approvers: Option<Vec<Approver>>,
    /// What to do about a container that a person stopped.
    #[serde(default)]
    pub on_deliberate_stop: OnDeliberateStop,
    /// What to do when it cannot be found out whether acting is allowed.
    #[serde(default)]
    pub when_unsure: WhenUnsure,
    /// An alert that had been firing for longer when it was first seen is left to a person; without it the global one counts.
    #[serde(default, deserialize_with = "crate::clock::optional_duration")]
    pub max_age: Option<Duration>,
    /// Whom to tell; a word for people.
    #[serde(default)]
    pub escalate: Option<String>,
    /// SHA-256 of the file it was read from, in hex; empty for one that was not read from a file.
    #[serde(skip)]
    pub digest: String,
}

fn no_settings() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// A plugin's file, `name.wasm`, perhaps pinned: `name.wasm@sha256:<64 hex digits>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRef {
    /// File name inside the plugins folder.
    pub file: String,
    /// The digest it must have.
    pub sha256: Option<String>,
}

impl<'de> Deserialize<'de> for PluginRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (file, sha256) = match text.split_once("@sha256:") {
            Some((file, digest)) => (file, Some(digest.to_ascii_lowercase())),
            None => (text.as_str(), None),
        };
        let plain = file.ends_with(".wasm") && !file.contains(['/', '\\', '\0']) && !file.starts_with('.');
        let hex = sha256.as_ref().is_none_or(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        if plain && hex {
            Ok(Self { file: file.to_owned(), sha256 })
        } else {
            Err(serde::de::Error::custom(format!(
                "`{text}` is no plugin: write a file name of the plugins folder, such as restart-container.wasm, or pinned as name.wasm@sha256:<64 hex digits>"
            )))
        }
    }
}

/// What one decision may cost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Time for one decision, sandbox included, waiting for the answers of lookups not.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub deadline: Duration,
    /// Memory of one decision, all its memories together, in bytes; written `64MiB`.
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    /// Time for all lookups of one decision together.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub lookups: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_millis(100), memory: 64 << 20, lookups: Duration::from_secs(5) }
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    units
        .iter()
        .find_map(|(unit, shift)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(1 << shift))
        .filter(|bytes| (1 << 20..=128 << 20).contains(bytes))
        .ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is no amount of memory between 1MiB and 128MiB: write for instance 64MiB"))
        })
}

/// What to do about a container that a person stopped on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDeliberateStop {
    /// Leave it to that person.
    #[default]
    Hold,
    /// Heal it all the same.
    Heal,
}

/// What to do when it cannot be found out whether acting is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenUnsure {
    /// Not now.
    #[default]
    Hold,
    /// Act all the same.
    Act,
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "observe" => Ok(Mode::Observe),
        "approve" => Ok(Mode::Approve),
        "enforce" => Ok(Mode::Enforce),
        other => Err(serde::de::Error::custom(format!("`{other}` is no mode: write observe, approve or enforce"))),
    }
}
