//! `verify:` of a policy: how to look whether an attempt helped.
//!
//! The probe is the operator's own question, asked as it is written: nothing of an alert gets into it, and it needs no grant, since whoever
//! writes grants has written it. Absent on purpose: methods other than GET, bodies, headers and expressions over answers; an
//! exporter and a PromQL expression say those better.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Deserializer};

use crate::telemetry::clean;

/// How to look whether an attempt helped.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Verify {
    /// Being well has to begin by then, counted from the end of the action.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub within: Duration,
    /// For how long it has to be well.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub stable: Duration,
    /// What is seen of earlier than this after the end of the action counts for nothing.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub settle: Duration,
    /// What has to say that all is well, beside the detectors.
    #[serde(deserialize_with = "some_probe")]
    pub probe: Option<Probe>,
}

impl Default for Verify {
    /// No settling: what is from before the end of the action never counts, and being well has to last. Waiting longer only
    /// helps a target that does well for more than `stable` and fails then.
    fn default() -> Self {
        Self { within: Duration::from_secs(180), stable: Duration::from_secs(30), settle: Duration::ZERO, probe: None }
    }
}

/// What a policy asks by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A PromQL expression that has a result while all is well.
    Promql(String),
    /// An address that gives a certain answer while all is well.
    Http(HttpProbe),
}

/// An address to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Where to.
    pub url: ProbeUrl,
    /// The status expected; `None`: any of 2xx.
    pub status: Option<u16>,
    /// The `Host` to ask for, when it is not the URL's.
    pub host: Option<String>,
}

/// A URL to probe; shown without its query, which may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ProbeUrl(Url);

impl ProbeUrl {
    /// Parses it.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{why}: write for instance http://web:8080/health");
        // What stands before an `@` may be a password.
        let shown = if text.contains('@') { "what is written here".to_owned() } else { format!("`{}`", clean(text, 200)) };
        let url = Url::parse(text).map_err(|e| wrong(format!("{shown} is not a URL ({e})")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a name or password in it is not accepted: give it a path that needs none".to_owned());
        }
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong(format!("{shown} is not an http or https URL")));
        }
        if url.fragment().is_some() {
            return Err(wrong("what stands behind `#` is never sent".to_owned()));
        }
        Ok(Self(url))
    }

    /// The whole of it.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for ProbeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        shown.set_query(None);
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for ProbeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProbeUrl({self})")
    }
}

impl<'de> Deserialize<'de> for ProbeUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeMap {
    #[serde(default)]
    promql: Option<String>,
    #[serde(default)]
    http: Option<ProbeUrl>,
    #[serde(default, deserialize_with = "some_status")]
    status: Option<u16>,
    #[serde(default, deserialize_with = "some_host")]
    host: Option<String>,
}

// Named by its key, and not by a tag: so an error can point at the very value.
impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ProbeMap { promql, http, status, host } = ProbeMap::deserialize(deserializer)?;
        let wrong = |what: &str| Err(serde::de::Error::custom(what));
        match (promql, http) {
            (Some(_), Some(_)) => wrong("a probe asks one thing: write either `promql` or `http`"),
            (None, None) => wrong("this probe asks nothing: write `promql: EXPRESSION` or `http: URL`"),
            (Some(_), None) if status.is_some() || host.is_some() => {
                wrong("an expression has no status and no host: leave `status` and `host` out, or probe with `http`")
            }
            (Some(promql), None) => Ok(Self::Promql(promql)),
            (None, Some(url)) => Ok(Self::Http(HttpProbe { url, status, host })),
        }
    }
}

fn some_probe<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Probe>, D::Error> {
    Probe::deserialize(deserializer).map(Some)
}

fn some_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let status = u16::deserialize(deserializer)?;
    if (200..=599).contains(&status) {
        return Ok(Some(status));
    }
    Err(serde::de::Error::custom(format!(
        "{status} is the status of no answer: write one from 200 to 599, or leave it out for any of 2xx"
    )))
}

fn some_host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let host = String::deserialize(deserializer)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if !host.is_empty() && host.len() <= 255 && host.chars().all(fits) {
        return Ok(Some(host));
    }
    let shown = clean(&host, 100);
    Err(serde::de::Error::custom(format!("`{shown}` is no host: write for instance shop.example or shop.example:8080")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_probe_is_an_expression_or_an_address() {
        let read = |yaml: &str| serde_saphyr::from_str::<Verify>(yaml).map(|v| v.probe.unwrap());
        assert_eq!(read("probe: {promql: up == 1}").unwrap(), Probe::Promql("up == 1".to_owned()));
        let url = ProbeUrl::parse("http://web/health?key=secret").unwrap();
        assert!(!format!("{url} {url:?}").contains("secret"));
        let http =
            |status, host: Option<&str>| Probe::Http(HttpProbe { url: url.clone(), status, host: host.map(str::to_owned) });
        assert_eq!(read("probe: {http: 'http://web/health?key=secret'}").unwrap(), http(None, None));
        let all = "probe: {http: 'http://web/health?key=secret', status: 204, host: shop.example}";
        assert_eq!(read(all).unwrap(), http(Some(204), Some("shop.example")));
    }
}
