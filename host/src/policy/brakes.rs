//! Brakes: how often and how much at once an operator lets Paramedic act.
//!
//! Safe defaults, on with an empty configuration: a cooldown of 30 s per target and kind of action, 5 attempts per target in
//! 30 minutes across incidents, one action at a time per target and per policy, three altogether, ten an hour; five new targets in a
//! minute are a storm, and so is more than half of a policy's containers failing at once.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::action::{Action, Target};
use crate::clock::parse_duration;

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

/// A part of a group, written `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u8);

impl Share {
    /// The whole group: never more than that.
    pub fn is_all(self) -> bool {
        self.0 >= 100
    }

    /// So many of a group of this size are the share, rounded down.
    pub fn of(self, size: usize) -> u32 {
        u32::try_from(size * usize::from(self.0) / 100).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let share = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        share.filter(|share| (1..=100).contains(share)).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is no share: write 1% to 99%, for instance `50%`, or `100%` for no limit"))
        })
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
    /// So many new targets of this policy within such a time are a storm, beside [`Brakes::storm`], which counts altogether.
    pub storm: Option<PerWindow>,
    /// Default: [`Brakes::storm_share`].
    pub storm_share: Option<Share>,
}

/// The global brakes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Brakes {
    /// Default of [`PolicyBrakes::cooldown`].
    #[serde(deserialize_with = "crate::clock::duration")]
    pub cooldown: Duration,
    /// Default of [`PolicyBrakes::attempts`].
    pub attempts: PerWindow,
    /// Actions altogether.
    pub actions: PerWindow,
    /// Acts that are under way at once, altogether.
    pub concurrent: u32,
    /// So many new targets within such a time, altogether, are a storm: nothing is done while it lasts.
    pub storm: PerWindow,
    /// When more than this share of the containers that a policy may touch fail at once, nothing of it is done.
    pub storm_share: Share,
}

impl Default for Brakes {
    fn default() -> Self {
        Self {
            cooldown: Duration::from_secs(30),
            attempts: PerWindow { limit: 5, window: Duration::from_secs(30 * 60) },
            actions: PerWindow { limit: 10, window: Duration::from_secs(3600) },
            concurrent: 3,
            storm: PerWindow { limit: 5, window: Duration::from_secs(60) },
            storm_share: Share(50),
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
