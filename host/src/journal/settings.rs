//! What an operator can set about the journal.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::clock::parse_duration;

/// The journal's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long entries are kept at least.
    pub keep: Keep,
}

/// How long entries are kept at least; the entries of open incidents are always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So long.
    For(Duration),
    /// For ever.
    Forever,
}

impl Default for Keep {
    fn default() -> Self {
        Self::For(Duration::from_secs(90 * 86_400))
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim() == "forever" {
            return Ok(Self::Forever);
        }
        parse_duration(&text).map(Self::For).map_err(|e| serde::de::Error::custom(format!("{e}, or forever")))
    }
}
