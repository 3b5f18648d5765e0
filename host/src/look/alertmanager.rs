//! The eyes on Alertmanager: what it lists as firing, and whether a person wants an alert left alone.
//!
//! A silence or an inhibition is a person's word, and it wins over every policy. A restarted Alertmanager knows its
//! silences at once, the alerts only when Prometheus sends them again (up to 50 s were measured); so an alert that is not
//! listed is matched against the silences here. Its inhibition cannot be known then.
//! Absent on purpose: creating silences (`execute`), and mute timings, which belong to a route and not to an alert.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use regex::RegexBuilder;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::http::{BaseUrl, Endpoint, LookError};
use crate::action::Target;
use crate::alert::{Alert, Family, IncidentId, Key, Labels, Status, own};
use crate::clock::Time;
use crate::incident::Rule;
use crate::telemetry::clean;

/// Who makes Paramedic's own silences; they hold nothing back.
pub const OURSELVES: &str = "paramedic";
/// The largest program a silence's regular expression may become.
const MOST_REGEX_BYTES: usize = 1 << 20;

/// How Alertmanager is reached. In YAML a URL, or a map with the keys below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where its API begins.
    pub url: BaseUrl,
    /// A file that holds a bearer token; read for every question.
    pub bearer_token_file: Option<PathBuf>,
}

impl Settings {
    /// Only a URL.
    pub fn new(url: BaseUrl) -> Self {
        Self { url, bearer_token_file: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsMap {
    url: BaseUrl,
    #[serde(default)]
    bearer_token_file: Option<PathBuf>,
}

// By hand, since `untagged` would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrMap;
        impl<'de> Visitor<'de> for UrlOrMap {
            type Value = Settings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL such as http://localhost:9093, or a map with `url`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Settings, E> {
                BaseUrl::parse(text).map(Settings::new).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Settings, A::Error> {
                let map = SettingsMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Settings { url: map.url, bearer_token_file: map.bearer_token_file })
            }
        }
        deserializer.deserialize_any(UrlOrMap)
    }
}

/// One alert as Alertmanager lists it; only alerts that have not ended are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmAlert {
    /// What it was told.
    pub alert: Alert,
    /// Why it tells nobody, if so.
    pub suppressed: Option<Suppression>,
    /// When somebody last told it that the alert fires.
    pub updated_at: Time,
}

/// What keeps Alertmanager from telling anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Ids of silences.
    pub silenced_by: Vec<String>,
    /// Fingerprints of the alerts that inhibit it.
    pub inhibited_by: Vec<String>,
}

/// A person's word that an alert is to be left alone now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// [`Rule::Silenced`] or [`Rule::Inhibited`].
    pub rule: Rule,
    /// Who made the silence, or which alert inhibits; cleaned.
    pub by: String,
    /// The silence's comment; cleaned.
    pub why: String,
    /// When the silence ends; inhibitions end when they end.
    pub until: Option<Time>,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rule, self.until) {
            (Rule::Inhibited, _) => write!(f, "inhibited in Alertmanager by {}", self.by),
            (_, Some(until)) => write!(f, "silenced in Alertmanager by {} until {until}: {}", self.by, self.why),
            (_, None) => write!(f, "silenced in Alertmanager by {}: {}", self.by, self.why),
        }
    }
}

/// A silence that Paramedic made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Alertmanager's id.
    pub id: String,
    /// Its comment, which begins with [`Own::mark`] and says for which incident it was made.
    pub comment: String,
    /// Has it not ended?
    pub stands: bool,
    /// When it was made or ended; an end by its time alone leaves this as it was.
    pub updated: Option<Time>,
}

impl Own {
    /// How the comments of all silences begin that a policy made about a target. Neither name can hold a space.
    pub fn mark(policy: &str, about: &Target) -> String {
        format!("policy {policy} about {about}, ")
    }

    /// How the comment of that one begins which was made for this intent.
    pub fn mark_of(policy: &str, about: &Target, incident: &IncidentId, intent: u32) -> String {
        format!("{}incident {incident}, action {intent}: ", Self::mark(policy, about))
    }
}

/// One Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    endpoint: Endpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertData {
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    starts_at: String,
    ends_at: String,
    updated_at: String,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
    #[serde(default)]
    fingerprint: Option<String>,
    status: StatusData,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusData {
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
}

/// A moment, whatever it is called.
#[derive(Deserialize)]
struct Uptime {
    uptime: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Silence {
    id: String,
    matchers: Vec<SilenceMatcher>,
    ends_at: String,
    #[serde(default)]
    updated_at: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
    status: SilenceStatus,
}

#[derive(Debug, Deserialize)]
struct SilenceStatus {
    state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SilenceMatcher {
    name: String,
    value: String,
    is_regex: bool,
    /// Older versions do not know negative matchers.
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl Alertmanager {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(settings: &Settings) -> Result<Self, LookError> {
        Ok(Self { endpoint: Endpoint::new("Alertmanager", &settings.url, settings.bearer_token_file.as_deref())? })
    }

    /// Its name for people, with its URL.
    pub fn who(&self) -> &str {
        self.endpoint.who()
    }

    /// Everything that fires, suppressed or not.
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn alerts(&self) -> Result<Vec<AmAlert>, LookError> {
        self.list(None).await
    }

    /// The alerts listed now that are this one, told by `identity.drop` (several, when replicas differ in dropped labels).
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn same(&self, labels: &Labels, drop: &[String]) -> Result<Vec<AmAlert>, LookError> {
        let key = Key::of(Family::Prometheus, labels, drop);
        let mut alerts = self.list(labels.get("alertname").map(String::as_str)).await?;
        alerts.retain(|a| Key::of(Family::Prometheus, &a.alert.labels, drop) == key);
        Ok(alerts)
    }

    /// For how long it has been running. One that was just started lists nothing, whatever fires.
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn runs_for(&self) -> Result<Duration, LookError> {
        let status: Uptime = self.endpoint.get(&["api", "v2", "status"], &[]).await?;
        let started = Time::parse(&status.uptime);
        let started = started.ok_or_else(|| self.endpoint.invalid(format!("`{}` as a time", status.uptime)))?;
        Ok(Time::now().since(started))
    }

    /// The silences that Paramedic made, ended ones too.
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn own(&self) -> Result<Vec<Own>, LookError> {
        let silences: Vec<Silence> = self.endpoint.get(&["api", "v2", "silences"], &[]).await?;
        let ours = silences.into_iter().filter(|silence| silence.created_by == OURSELVES);
        let own = |s: Silence| Own {
            stands: s.status.state != "expired",
            updated: Time::parse(&s.updated_at),
            id: s.id,
            comment: s.comment,
        };
        Ok(ours.map(own).collect())
    }

    async fn list(&self, name: Option<&str>) -> Result<Vec<AmAlert>, LookError> {
        // Only to be told less. A name that would need quoting is not sent: the answer is filtered by the caller anyway.
        let plain = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let filter = name.filter(plain).map(|name| format!("alertname=\"{name}\""));
        let all = [("active", "true"), ("silenced", "true"), ("inhibited", "true"), ("unprocessed", "true")];
        let query: Vec<_> = all.into_iter().chain(filter.iter().map(|f| ("filter", f.as_str()))).collect();
        let alerts: Vec<AlertData> = self.endpoint.get(&["api", "v2", "alerts"], &query).await?;
        alerts.into_iter().map(|data| self.alert(data)).collect()
    }

    fn alert(&self, data: AlertData) -> Result<AmAlert, LookError> {
        let time = |text: &str| Time::parse(text).ok_or_else(|| self.endpoint.invalid(format!("`{text}` as a time")));
        let (starts_at, updated_at) = (time(&data.starts_at)?, time(&data.updated_at)?);
        let ends_at = Some(time(&data.ends_at)?);
        let StatusData { silenced_by, inhibited_by } = data.status;
        let suppressed = !(silenced_by.is_empty() && inhibited_by.is_empty());
        let mut labels = data.labels;
        labels.retain(|_, value| !value.is_empty());
        let alert = Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels,
            annotations: data.annotations,
            starts_at,
            ends_at,
            generator_url: data.generator_url,
            fingerprint: data.fingerprint,
        };
        Ok(AmAlert { alert, suppressed: suppressed.then_some(Suppression { silenced_by, inhibited_by }), updated_at })
    }

    /// Whether a person wants this very alert left alone now: a silence or an inhibition other than Paramedic's own.
    ///
    /// # Errors
    /// When it cannot be found out; nothing must be done then, unless the policy says otherwise.
    pub async fn suppression(&self, labels: &Labels, drop: &[String]) -> Result<Option<Hold>, LookError> {
        let listed = self.same(labels, drop).await?;
        let silences: Vec<Silence> = self.endpoint.get(&["api", "v2", "silences"], &[]).await?;
        if listed.is_empty() {
            return self.silenced(&silences, labels);
        }
        for suppression in listed.iter().filter_map(|a| a.suppressed.as_ref()) {
            for id in &suppression.silenced_by {
                match silences.iter().find(|s| s.id == *id) {
                    Some(silence) if silence.created_by == OURSELVES => {}
                    Some(silence) => return Ok(Some(silence.hold())),
                    // Made between the two questions: somebody's, until it is known whose.
                    None => return Ok(Some(Hold { rule: Rule::Silenced, by: clean(id, 80), why: String::new(), until: None })),
                }
            }
        }
        let inhibited_by: Vec<&String> =
            listed.iter().filter_map(|a| a.suppressed.as_ref()).flat_map(|s| &s.inhibited_by).collect();
        if inhibited_by.is_empty() { Ok(None) } else { self.inhibition(&inhibited_by).await }
    }

    fn silenced(&self, silences: &[Silence], labels: &Labels) -> Result<Option<Hold>, LookError> {
        for silence in silences.iter().filter(|s| s.status.state == "active" && s.created_by != OURSELVES) {
            if silence.covers(labels).map_err(|e| self.endpoint.invalid(e))? {
                return Ok(Some(silence.hold()));
            }
        }
        Ok(None)
    }

    /// Who inhibits, other than the alert with which Paramedic itself says that it heals. Alertmanager names one of several,
    /// that of the first rule: so the rule about Paramedic has to be the last one.
    async fn inhibition(&self, fingerprints: &[&String]) -> Result<Option<Hold>, LookError> {
        let alerts = self.alerts().await?;
        for fingerprint in fingerprints {
            let source = alerts.iter().find(|a| a.alert.fingerprint.as_ref() == Some(*fingerprint));
            if source.is_some_and(|a| own::is_healing(&a.alert.labels)) {
                continue;
            }
            // One that ended between the two questions is somebody's, until it is known whose.
            let by = source.map_or_else(|| format!("alert {fingerprint}"), |a| a.alert.name().to_owned());
            return Ok(Some(Hold { rule: Rule::Inhibited, by: clean(&by, 200), why: String::new(), until: None }));
        }
        Ok(None)
    }
}

impl Silence {
    /// All its matchers fit; a label that is not there counts as an empty one, as Alertmanager has it.
    fn covers(&self, labels: &Labels) -> Result<bool, String> {
        for matcher in &self.matchers {
            let value = labels.get(&matcher.name).map_or("", String::as_str);
            if matcher.fits(value)? != matcher.is_equal {
                return Ok(false);
            }
        }
        Ok(!self.matchers.is_empty())
    }

    fn hold(&self) -> Hold {
        let until = Time::parse(&self.ends_at);
        Hold { rule: Rule::Silenced, by: clean(&self.created_by, 80), why: clean(&self.comment, 300), until }
    }
}

impl SilenceMatcher {
    fn fits(&self, value: &str) -> Result<bool, String> {
        if !self.is_regex {
            return Ok(self.value == value);
        }
        let regex = RegexBuilder::new(&format!("^(?:{})$", self.value)).size_limit(MOST_REGEX_BYTES).build();
        regex.map(|regex| regex.is_match(value)).map_err(|e| format!("a silence's expression `{}`: {e}", self.value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn silence(matchers: &[(&str, &str, bool, bool)]) -> Silence {
        let of = |&(name, value, is_regex, is_equal): &(&str, &str, bool, bool)| SilenceMatcher {
            name: name.to_owned(),
            value: value.to_owned(),
            is_regex,
            is_equal,
        };
        Silence {
            id: "1".to_owned(),
            matchers: matchers.iter().map(of).collect(),
            ends_at: "2030-01-01T00:00:00Z".to_owned(),
            updated_at: String::new(),
            created_by: "eve\u{1b}[2J".to_owned(),
            comment: "work\non it".to_owned(),
            status: SilenceStatus { state: "active".to_owned() },
        }
    }

    #[test]
    fn silences_match_as_alertmanager_does() {
        let alert = labels(&[("alertname", "Down"), ("job", "web-1")]);
        for (matchers, covers) in [
            (&[("alertname", "Down", false, true)][..], true),
            (&[("alertname", "Dow", true, true)], false),
            (&[("alertname", "Dow.|x", true, true), ("job", "web-.*", true, true)], true),
            (&[("alertname", "x|Dow", true, true)], false),
            (&[("alertname", "Down", false, true), ("job", "web-1", false, false)], false),
            (&[("job", "db-.*", true, false)], true),
            (&[("none", "", false, true)], true),
            (&[("none", ".+", true, true)], false),
            (&[], false),
        ] {
            assert_eq!(silence(matchers).covers(&alert).unwrap(), covers, "{matchers:?}");
        }
        // What cannot be understood is not taken for "no silence".
        silence(&[("job", "(", true, true)]).covers(&alert).unwrap_err();
    }

    #[test]
    fn a_hold_says_who_why_and_until_when_without_their_escapes() {
        let hold = silence(&[]).hold();
        assert_eq!(hold.why, "work on it");
        assert_eq!(hold.until, Time::parse("2030-01-01T00:00:00Z"));
        assert!(!hold.to_string().contains('\u{1b}'), "{hold}");
    }
}
