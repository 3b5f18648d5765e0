//! Grants of looking: which metrics may be asked for, and of which targets the history may be read.
//!
//! Which containers may be looked at is granted like what may be done to them, in `grants.docker`. Absent on purpose: grants of single
//! labels or values of a metric. Whoever may ask for a metric may see all its series.

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::{Containers, fits};
use crate::action::{DockerHost, Target};

/// Names of metrics: `up`, `node_filesystem_*`, or `*` for everything that Prometheus can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics(String);

impl Metrics {
    /// Parses it.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Beside the classic characters those that names have which are quoted in a query.
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '/' | '-' | '*');
        if text.is_empty() || !text.chars().all(ok) {
            return Err(format!(
                "`{}` names no metrics: write a name such as up, with `*` for any run of characters, such as node_filesystem_*, or only \"*\" for everything",
                text.escape_debug()
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Grants any query, also one that is not understood here.
    pub fn is_everything(&self) -> bool {
        self.0 == "*"
    }

    fn covers(&self, name: &str) -> bool {
        fits(&self.0, name)
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Targets by their names: `local/web-*`. Not by a label: what there was may be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets(Containers);

impl Targets {
    /// The Docker host it names.
    pub fn host(&self) -> &DockerHost {
        self.0.host()
    }

    fn covers(&self, target: &Target) -> bool {
        self.0.names(target)
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Containers::parse(&String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Is every query granted?
pub(super) fn every_query(granted: &[Metrics]) -> bool {
    granted.iter().any(Metrics::is_everything)
}

/// May this metric be asked for?
pub(super) fn metric(granted: &[Metrics], name: &str) -> bool {
    granted.iter().any(|metrics| metrics.covers(name))
}

/// May the history of this target be read?
pub(super) fn history(granted: &[Targets], target: &Target) -> bool {
    granted.iter().any(|targets| targets.covers(target))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_metric_is_granted_by_its_whole_name() {
        let granted = ["up", "node_filesystem_*", "job:*:rate5m"].map(|text| Metrics::parse(text).unwrap());
        for name in ["up", "node_filesystem_", "node_filesystem_avail_bytes", "job:errors:rate5m"] {
            assert!(metric(&granted, name), "{name}");
        }
        for name in ["", "upp", "UP", "node_filesystem", "x_node_filesystem_a", "job:errors:rate1m"] {
            assert!(!metric(&granted, name), "{name}");
        }
        assert!(!every_query(&granted));
        assert!(every_query(&[Metrics::parse("*").unwrap()]));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "up{job=\"a\"}", "a b", "up,down", "{__name__=~\".*\"}", "\u{1b}[2J"] {
            let why = Metrics::parse(text).unwrap_err();
            assert!(why.contains("names no metrics") && !why.contains('\u{1b}'), "{why}");
        }
        assert!(serde_json::from_str::<Targets>(r#""web""#).is_err());
        assert!(serde_json::from_str::<Targets>(r#""*/web""#).is_err());
    }

    #[test]
    fn a_history_is_granted_by_host_and_name() {
        let granted: Vec<Targets> = serde_json::from_str(r#"["local/web-*"]"#).unwrap();
        assert!(history(&granted, &"local/web-1".parse().unwrap()));
        assert!(!history(&granted, &"local/db".parse().unwrap()));
        assert!(!history(&granted, &"far/web-1".parse().unwrap()));
    }
}
