//! Brakes: how often and how much at once an operator lets Paramedic act.
//!
//! Safe defaults, on with an empty configuration: a cooldown of 30 s per target and kind of action, 5 attempts per target in
//! 30 minutes across incidents, one action at a time per target and per policy, three altogether; a policy acts 5 times an hour and 25
//! times a day, all of them together 10 and 50 times; five new targets in a minute are a storm, and so is more than half of a policy's
//! containers failing at once. `docs/brakes.md` has the reasons.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::action::{Action, Target};
use crate::alert::Labels;
use crate::clock::parse_duration;

/// So many within such a time, written `5 per 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerWindow {
    /// How many.
    pub limit: u32,
    /// Within how long a time.
    pub window: Duration,
}

impl FromStr for PerWindow {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once(" per ").and_then(|(limit, window)| Some((limit.trim().parse().ok()?, parse_duration(window).ok()?)));
        let (limit, window) = parts.ok_or_else(|| format!("`{text}` is no limit: write for instance `5 per 30m`"))?;
        Ok(Self { limit, window })
    }
}

impl Serialize for PerWindow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PerWindow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for PerWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.limit, as_written(self.window))
    }
}

/// A length of time as files say it, in the largest unit that fits without a rest.
pub fn as_written(length: Duration) -> String {
    let ms = length.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let (unit, word) = units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit)).unwrap_or((1, "ms"));
    format!("{}{word}", ms / unit)
}

/// Limits that all count, written `10 per 1h` or `[10 per 1h, 50 per 1d]`; never none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rates(Vec<PerWindow>);

impl Rates {
    /// One limit, and perhaps more.
    pub fn new(first: PerWindow, more: impl IntoIterator<Item = PerWindow>) -> Self {
        Self(std::iter::once(first).chain(more).collect())
    }

    /// All of them, as they were written.
    pub fn limits(&self) -> &[PerWindow] {
        &self.0
    }

    /// The one that allows the least at once.
    pub fn tightest(&self) -> Option<PerWindow> {
        self.0.iter().copied().min_by_key(|rate| rate.limit)
    }

    fn hours_and_days(per_hour: u32, per_day: u32) -> Self {
        let rate = |limit, hours: u64| PerWindow { limit, window: Duration::from_secs(hours * 3_600) };
        Self(vec![rate(per_hour, 1), rate(per_day, 24)])
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Rates;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a limit such as `10 per 1h`, or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rates, E> {
                text.parse().map(|rate| Rates(vec![rate])).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Rates, A::Error> {
                let mut rates = Vec::new();
                while let Some(rate) = items.next_element()? {
                    rates.push(rate);
                }
                if rates.is_empty() {
                    return Err(serde::de::Error::custom("an empty list limits nothing: write for instance `10 per 1h`"));
                }
                Ok(Rates(rates))
            }
        }
        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// So many *other* containers with a label have to be healthy before one of them is taken away.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MinimumHealthy {
    /// Which containers belong together.
    pub label: Alike,
    /// So many others have to be healthy.
    pub count: u32,
}

/// What containers of a group have in common: `app=web`, or only `app`: whatever value the container at hand has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Alike {
    /// The label's name.
    pub name: String,
    /// Its value, exactly; `None`: that of the container at hand.
    pub value: Option<String>,
}

impl Alike {
    /// The value by which a container with these labels belongs to such a group, if it does.
    pub fn value_of<'a>(&self, labels: &'a Labels) -> Option<&'a String> {
        labels.get(&self.name).filter(|value| self.value.as_ref().is_none_or(|wanted| wanted == *value))
    }
}

impl From<Alike> for String {
    fn from(Alike { name, value }: Alike) -> Self {
        value.map_or_else(|| name.clone(), |value| format!("{name}={value}"))
    }
}

impl TryFrom<String> for Alike {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
        if name.trim().is_empty() || value.is_some_and(str::is_empty) || name.contains(char::is_whitespace) {
            return Err(format!(
                "`{text}` is no label of a container: write for instance `app=web`, or `app` for whatever value it has"
            ));
        }
        Ok(Self { name: name.to_owned(), value: value.map(str::to_owned) })
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

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

/// A policy's own brakes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyBrakes {
    /// Time between two actions of one kind on one target, counted from the outcome; `None`: the global one.
    #[serde(deserialize_with = "crate::clock::optional_duration", serialize_with = "crate::clock::spelt::optional")]
    pub cooldown: Option<Duration>,
    /// Attempts per target, whichever incident they belong to. Spent means: escalate. `None`: the global ones.
    pub attempts: Option<PerWindow>,
    /// Actions of this policy.
    pub actions: Rates,
    /// Acts of this policy that are under way at once.
    pub concurrent: u32,
    /// What has to stay healthy; counts beside the global ones.
    pub minimum_healthy: Vec<MinimumHealthy>,
    /// So many new targets of this policy within such a time are a storm, beside [`Brakes::storm`], which counts altogether.
    pub storm: Option<PerWindow>,
    /// Default: [`Brakes::storm_share`].
    pub storm_share: Option<Share>,
}

impl Default for PolicyBrakes {
    fn default() -> Self {
        Self {
            cooldown: None,
            attempts: None,
            actions: Rates::hours_and_days(5, 25),
            concurrent: 1,
            minimum_healthy: Vec::new(),
            storm: None,
            storm_share: None,
        }
    }
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
    pub actions: Rates,
    /// Acts that are under way at once, altogether.
    pub concurrent: u32,
    /// What has to stay healthy, whichever policy acts.
    pub minimum_healthy: Vec<MinimumHealthy>,
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
            actions: Rates::hours_and_days(10, 50),
            concurrent: 3,
            minimum_healthy: Vec::new(),
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

/// The key under which the journal counts all actions.
pub const ACTIONS_KEY: &str = "actions";

/// The key under which the journal counts the actions of one policy.
pub fn policy_actions_key(policy: &str) -> String {
    format!("{ACTIONS_KEY}:{policy}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rates(json: &str) -> Result<Vec<String>, String> {
        let read = serde_json::from_str::<Rates>(json).map_err(|e| e.to_string())?;
        Ok(read.limits().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn one_limit_or_several() {
        assert_eq!(rates(r#""10 per 1h""#).unwrap(), ["10 per 1h"]);
        assert_eq!(rates(r#"["10 per 1h", "50 per 1d"]"#).unwrap(), ["10 per 1h", "50 per 1d"]);
        for (wrong, why) in [("[]", "limits nothing"), (r#"["10"]"#, "`10` is no limit"), ("10", "a limit such as")] {
            assert!(rates(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }

    #[test]
    fn a_label_has_a_value_or_takes_the_containers() {
        let labels: Labels = [("app", "web"), ("tier", "a=b")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let value = |text: &str| Alike::try_from(text.to_owned()).map(|alike| alike.value_of(&labels).cloned());
        assert_eq!(value("app=web"), Ok(Some("web".to_owned())));
        assert_eq!(value("app=api"), Ok(None));
        assert_eq!(value("app"), Ok(Some("web".to_owned())));
        assert_eq!(value("tier=a=b"), Ok(Some("a=b".to_owned())), "the first `=` ends the name");
        assert_eq!(value("none"), Ok(None));
        for wrong in ["", "=web", "app=", "app web"] {
            assert!(value(wrong).unwrap_err().contains("is no label"), "{wrong}");
        }
    }
}
