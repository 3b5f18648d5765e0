//! Whom to tell: the key `notify` of `paramedic.yaml`.
//!
//! Alertmanager is told unless the operator says no, so that nobody is uncalled by an omission. The address of a webhook is
//! often a secret as a whole: it is shown by its host only.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::message::Kind;
use crate::alert::Labels;

/// Whom to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What the configured Alertmanager is told; everything, when this is left out.
    pub alertmanager: Option<ToAlertmanager>,
    /// Who else is told, over HTTP.
    pub webhooks: Vec<Hook>,
}

/// What Alertmanager is told. In YAML true, false, or a map with the keys below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToAlertmanager {
    /// Anything at all?
    pub on: bool,
    /// `ParamedicHealing`, while something is healed?
    pub healing: bool,
    /// It ends after so long, whatever becomes of the healing: a person is then called by what fires.
    pub healing_at_most: Duration,
    /// `ParamedicAlive`, always?
    pub heartbeat: bool,
    /// More labels on everything, such as a site.
    pub labels: Labels,
}

impl Default for ToAlertmanager {
    fn default() -> Self {
        ToAlertmanagerMap::default().into()
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ToAlertmanagerMap {
    healing: bool,
    #[serde(deserialize_with = "crate::clock::duration")]
    healing_at_most: Duration,
    heartbeat: bool,
    labels: Labels,
}

impl Default for ToAlertmanagerMap {
    fn default() -> Self {
        Self { healing: true, healing_at_most: Duration::from_secs(15 * 60), heartbeat: true, labels: Labels::new() }
    }
}

impl From<ToAlertmanagerMap> for ToAlertmanager {
    fn from(map: ToAlertmanagerMap) -> Self {
        let ToAlertmanagerMap { healing, healing_at_most, heartbeat, labels } = map;
        Self { on: true, healing, healing_at_most, heartbeat, labels }
    }
}

// By hand, since `untagged` would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for ToAlertmanager {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoolOrMap;
        impl<'de> Visitor<'de> for BoolOrMap {
            type Value = ToAlertmanager;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a map with `healing`, `healing_at_most`, `heartbeat`, `labels`")
            }
            fn visit_bool<E>(self, on: bool) -> Result<ToAlertmanager, E> {
                Ok(ToAlertmanager { on, ..ToAlertmanager::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ToAlertmanager, A::Error> {
                ToAlertmanagerMap::deserialize(MapAccessDeserializer::new(map)).map(ToAlertmanager::from)
            }
        }
        deserializer.deserialize_any(BoolOrMap)
    }
}

/// One webhook.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Its name: in logs, metrics, and the file that remembers how far it was told.
    pub name: HookName,
    /// Where to.
    pub url: HookUrl,
    /// A file that holds a bearer token; read for every message.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// What it is told.
    #[serde(default = "Kind::usual")]
    pub send: Vec<Kind>,
}

/// A webhook's name, which is a file's name too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct HookName(String);

impl HookName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HookName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if (1..=60).contains(&name.len()) && name.chars().all(plain) {
            Ok(Self(name))
        } else {
            Err("this is not the name of a webhook: write up to 60 letters, digits, `_` or `-`, such as chat".to_owned())
        }
    }
}

/// A webhook's address. It is never shown beyond its host: path and query are often the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl(Url);

impl HookUrl {
    /// Parses it.
    ///
    /// # Errors
    /// A sentence that says what was expected, without what was written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = "this is not an http or https URL: write for instance https://chat.example/hooks/paramedic";
        let url = Url::parse(text).map_err(|_| wrong.to_owned())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a name or password in it is not accepted: use `bearer_token_file`".to_owned());
        }
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || url.fragment().is_some() {
            return Err(wrong.to_owned());
        }
        Ok(Self(url))
    }

    /// The whole of it, for asking only.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookUrl({self}/...)")
    }
}

impl<'de> Deserialize<'de> for HookUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_shown_by_its_host_only() {
        let url = HookUrl::parse("https://chat.example:8443/hooks/T0P-SECRET?sig=T0P").unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://chat.example:8443 HookUrl(https://chat.example:8443/...)");
        for text in ["ftp://T0P", "T0P", "http://me:T0P@h/", "http://h/#T0P", "https://"] {
            let why = HookUrl::parse(text).unwrap_err();
            assert!(!why.contains("T0P"), "{why}");
        }
    }

    #[test]
    fn a_name_is_a_plain_file_name() {
        for name in ["", "..", "a/b", "a b", "\u{e9}", &"x".repeat(61)] {
            HookName::try_from(name.to_owned()).unwrap_err();
        }
        assert_eq!(HookName::try_from("on_call-1".to_owned()).unwrap().as_str(), "on_call-1");
    }
}
