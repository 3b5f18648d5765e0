//! Brakes: how often and how much at once an operator lets Paramedic act.
//!
//! Safe defaults, on with an empty configuration: a cooldown of 30 s per target and kind of action, 5 attempts per target in
//! 30 minutes across incidents, one action at a time per target and per policy, three altogether, ten an hour.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::action::{Action, Target};
use crate::clock::{parse_duration, spell_duration};

/// So many within such a time, written `5 per 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerWindow {
    /// How many.
    pub limit: u32,
    /// Within how long a time.
    pub window: Duration,
}

impl<'de> Deserialize<'de> for PerWindow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts =
            text.split_once(" per ").and_then(|(limit, window)| Some((limit.trim().parse().ok()?, parse_duration(window).ok()?)));
        let (limit, window) =
            parts.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no limit: write for instance `5 per 30m`")))?;
        Ok(Self { limit, window })
    }
}

impl Serialize for PerWindow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} per {}", self.limit, spell_duration(self.window)))
    }
}

/// A policy's own brakes; what is left out is taken from the global ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyBrakes {
    /// Time between two actions of one kind on one target, counted from the outcome.
    #[serde(deserialize_with = "crate::clock::optional_duration")]
    pub cooldown: Option<Duration>,
    /// Attempts per target, whichever incident they belong to. Spent means: escalate.
    pub attempts: Option<PerWindow>,
}

/// The global brakes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Brakes {
    /// Default of [`PolicyBrakes::cooldown`].
    #[serde(with = "crate::clock::spelt")]
    pub cooldown: Duration,
    /// Default of [`PolicyBrakes::attempts`].
    pub attempts: PerWindow,
    /// Actions altogether.
    pub actions: PerWindow,
    /// Acts that are under way at once, altogether.
    pub concurrent: u32,
}

impl Default for Brakes {
    fn default() -> Self {
        Self {
            cooldown: Duration::from_secs(30),
            attempts: PerWindow { limit: 5, window: Duration::from_secs(30 * 60) },
            actions: PerWindow { limit: 10, window: Duration::from_secs(3600) },
            concurrent: 3,
        }
    }
}

/// The key under which the journal counts the cooldown of this action.
pub fn cooldown_key(action: &Action) -> String {
    format!("cooldown:{}:{}", action.kind(), action.target())
}

/// The key of a target's lock, held from the intent until somebody has looked whether it helped.
pub fn target_key(target: &Target) -> String {
    format!("target:{target}")
}

/// The key of a policy's lock, held while it acts.
pub fn policy_key(policy: &str) -> String {
    format!("policy:{policy}")
}

/// The key of the lock that all acts share, held while they act.
pub const ALL_KEY: &str = "all:acts";
