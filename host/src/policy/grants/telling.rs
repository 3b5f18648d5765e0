//! Grants for telling people less: silences in Alertmanager.
//!
//! A silence is allowed if every matcher of one grant stands literally among its own, so that it is at least as narrow. Absent on
//! purpose: working out whether one regular expression is narrower than another.

use std::time::Duration;

use serde::Deserialize;

use crate::alert::matchers::{Matcher, Matchers};

/// What may be done in Alertmanager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertmanagerGrants {
    /// Make silences as narrow as these.
    pub silence: Vec<SilenceGrant>,
    /// End silences that the same policy made.
    pub expire: bool,
}

/// Silences that may be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceGrant {
    /// All of these have to stand among the silence's matchers.
    #[serde(rename = "match")]
    pub matchers: Matchers,
    /// The longest.
    #[serde(default = "two_hours", deserialize_with = "crate::clock::duration")]
    pub longest: Duration,
}

fn two_hours() -> Duration {
    Duration::from_secs(2 * 3_600)
}

impl SilenceGrant {
    /// Is a silence with these matchers at least as narrow? A grant without matchers allows none.
    pub fn covers(&self, wanted: &[Matcher]) -> bool {
        let mut granted = self.matchers.iter();
        !self.matchers.0.is_empty() && granted.all(|matcher| wanted.contains(matcher))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_silence_has_to_be_at_least_as_narrow_word_by_word() {
        let grant = |text: &str| serde_json::from_str::<SilenceGrant>(text).unwrap();
        let wanted = |texts: &[&str]| Matchers::parse(texts).unwrap().0;
        let down = grant(r#"{"match": ["alertname=\"Down\"", "job=~\"web.*\""]}"#);
        assert_eq!(down.longest, Duration::from_secs(7_200));
        assert!(down.covers(&wanted(&["job=~\"web.*\"", "alertname=\"Down\"", "instance=\"a\""])));
        for no in [
            &["alertname=\"Down\""][..],
            &["alertname=\"Down\"", "job=\"web1\""],
            &["alertname=~\"Down\"", "job=~\"web.*\""],
            &[],
        ] {
            assert!(!down.covers(&wanted(no)), "{no:?}");
        }
        assert!(!grant(r#"{"match": []}"#).covers(&wanted(&["a=\"b\""])), "an empty grant would allow everything");
    }
}
