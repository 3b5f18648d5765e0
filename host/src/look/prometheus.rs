//! The eyes on Prometheus: its alerting rules with the alerts they raise, and what its metrics say.
//!
//! Prometheus' own API shows alerts without its external labels, which it adds only when it sends them to an Alertmanager.
//! They are added here, so that one alert is one alert whoever names it.
//! Absent on purpose: opinions. Whether something is well is judged in `verify`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::http::{BaseUrl, Endpoint, LookError};
use crate::alert::{Alert, Family, Labels, Status};
use crate::clock::{Time, parse_duration};
use crate::incident::lookup::{LookupError, Sample as Looked};
use crate::telemetry::clean;

/// How long the external labels that were read are believed: Prometheus may be told to reload its configuration.
const EXTERNAL_LABELS_FOR: Duration = Duration::from_secs(60);
/// What one query may cost Prometheus, as it is told.
const QUERY_TIMEOUT: &str = "4s";
/// The most series of a query's answer that are wanted; older versions do not know the parameter.
const QUERY_LIMIT: &str = "1000";

/// The longest that Prometheus is given for a plugin's query, in milliseconds.
const QUERY_WITHIN_MS: u128 = 4_500;
/// The most that is read of the answer to a plugin's query.
const MOST_LOOKUP_BYTES: usize = 4 << 20;

/// How Prometheus is reached. In YAML a URL, or a map with the keys below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where its API begins.
    pub url: BaseUrl,
    /// A file that holds a bearer token; read for every question.
    pub bearer_token_file: Option<PathBuf>,
    /// What it adds to every alert it sends; `None`: it is asked, which needs `/api/v1/status/config`.
    pub external_labels: Option<Labels>,
}

impl Settings {
    /// Only a URL.
    pub fn new(url: BaseUrl) -> Self {
        Self { url, bearer_token_file: None, external_labels: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsMap {
    url: BaseUrl,
    #[serde(default)]
    bearer_token_file: Option<PathBuf>,
    #[serde(default)]
    external_labels: Option<Labels>,
}

// By hand, since `untagged` would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrMap;
        impl<'de> Visitor<'de> for UrlOrMap {
            type Value = Settings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL such as http://localhost:9090, or a map with `url`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Settings, E> {
                BaseUrl::parse(text).map(Settings::new).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Settings, A::Error> {
                let map = SettingsMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Settings { url: map.url, bearer_token_file: map.bearer_token_file, external_labels: map.external_labels })
            }
        }
        deserializer.deserialize_any(UrlOrMap)
    }
}

/// What Prometheus says about an alert that is not inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its condition holds, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

/// One alert as Prometheus lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromAlert {
    /// With the external labels, as an Alertmanager would be told; its status is firing for a pending one as well.
    pub alert: Alert,
    /// Pending or firing.
    pub state: State,
    /// Since when its condition holds. Not what is sent as `startsAt`, which is when it began to fire.
    pub active_at: Time,
}

/// One alerting rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The alertname.
    pub name: String,
    /// Its PromQL.
    pub query: String,
    /// The labels it adds; values may be templates.
    pub labels: Labels,
    /// What went wrong at its last evaluation; `None`: nothing.
    pub problem: Option<String>,
    /// When it was last evaluated; `None`: not yet.
    pub last_evaluation: Option<Time>,
    /// The alerts it raises.
    pub alerts: Vec<PromAlert>,
}

/// A rule as it is loaded, whatever it says just now: what tells how soon it can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedRule {
    /// The alertname, or the name of the series it records.
    pub name: String,
    /// True when it raises alerts, false when it records.
    pub alerting: bool,
    /// Its PromQL.
    pub query: String,
    /// The labels it adds; values may be templates.
    pub labels: Labels,
    /// For how long its alerts fire on after its condition is over (since Prometheus 2.42).
    pub keep_firing_for: Duration,
    /// How often it is evaluated.
    pub interval: Duration,
}

/// How often targets are scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrapes {
    /// Where a job says nothing else.
    pub usual: Duration,
    /// By the name of the job.
    pub jobs: BTreeMap<String, Duration>,
}

impl Default for Scrapes {
    fn default() -> Self {
        // Prometheus' own default.
        Self { usual: Duration::from_secs(60), jobs: BTreeMap::new() }
    }
}

/// One value of a query's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels; none for a scalar.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// One series over a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, its name included.
    pub labels: Labels,
    /// Its values, the oldest first.
    pub values: Vec<(Time, f64)>,
}

/// One Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    endpoint: Endpoint,
    configured: Option<Labels>,
    read: Mutex<Option<(Instant, Labels)>>,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct RulesData {
    groups: Vec<GroupData>,
}

#[derive(Deserialize)]
struct GroupData {
    /// In seconds.
    #[serde(default)]
    interval: f64,
    rules: Vec<RuleData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleData {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    query: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    health: String,
    #[serde(default)]
    last_error: String,
    #[serde(default)]
    last_evaluation: String,
    /// How long its condition has to hold until it fires, in seconds.
    #[serde(default)]
    duration: f64,
    /// In seconds.
    #[serde(default)]
    keep_firing_for: f64,
    #[serde(default)]
    alerts: Vec<AlertData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertData {
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    state: String,
    active_at: String,
}

#[derive(Deserialize)]
struct ConfigData {
    yaml: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryData {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct RangeData {
    result: Vec<RangeSeries>,
}

#[derive(Deserialize)]
struct RangeSeries {
    #[serde(default)]
    metric: Labels,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct SeriesData {
    #[serde(default)]
    metric: Labels,
    value: Option<(f64, String)>,
}

impl Prometheus {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(settings: &Settings) -> Result<Self, LookError> {
        let endpoint = Endpoint::new("Prometheus", &settings.url, settings.bearer_token_file.as_deref())?;
        Ok(Self { endpoint, configured: settings.external_labels.clone(), read: Mutex::new(None) })
    }

    /// Its name for people, with its URL.
    pub fn who(&self) -> &str {
        self.endpoint.who()
    }

    /// All alerts that are pending or firing.
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn alerts(&self) -> Result<Vec<PromAlert>, LookError> {
        Ok(self.rules(None).await?.into_iter().flat_map(|rule| rule.alerts).collect())
    }

    /// The alerting rules, with their alerts; all of them, or those of one name.
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn rules(&self, name: Option<&str>) -> Result<Vec<Rule>, LookError> {
        let external = self.external_labels().await?;
        // Versions that do not know `rule_name[]` answer with all rules; hence the filter below.
        let narrow = name.map(|name| ("rule_name[]", name));
        let query: Vec<_> = [("type", "alert")].into_iter().chain(narrow).collect();
        let answer: Answer<RulesData> = self.endpoint.get(&["api", "v1", "rules"], &query).await?;
        let rules = answer.data.groups.into_iter().flat_map(|group| group.rules);
        let wanted = rules.filter(|rule| rule.kind == "alerting" && name.is_none_or(|name| rule.name == name));
        wanted.map(|rule| self.rule(rule, &external)).collect()
    }

    /// All rules as they are loaded, recording ones too.
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn loaded(&self) -> Result<Vec<LoadedRule>, LookError> {
        // Older versions do not know the parameter, and send the alerts as well.
        let answer: Answer<RulesData> = self.endpoint.get(&["api", "v1", "rules"], &[("exclude_alerts", "true")]).await?;
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let rule = |rule: RuleData, interval| LoadedRule {
            alerting: rule.kind == "alerting",
            keep_firing_for: seconds(rule.keep_firing_for),
            interval,
            name: rule.name,
            query: rule.query,
            labels: rule.labels,
        };
        let group = |group: GroupData| group.rules.into_iter().map(move |data| rule(data, seconds(group.interval)));
        Ok(answer.data.groups.into_iter().flat_map(group).collect())
    }

    /// How often it scrapes, as its configuration says.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    pub async fn scrapes(&self) -> Result<Scrapes, LookError> {
        let answer: Answer<ConfigData> = self.endpoint.get(&["api", "v1", "status", "config"], &[]).await?;
        Ok(scrapes(&answer.data.yaml))
    }

    fn rule(&self, rule: RuleData, external: &Labels) -> Result<Rule, LookError> {
        let problem = match rule.health.as_str() {
            // One that was never evaluated has no health yet.
            "ok" | "unknown" => None,
            health if rule.last_error.is_empty() => Some(format!("its health is `{health}`")),
            _ => Some(rule.last_error),
        };
        // A rule that was never evaluated names the year 1.
        let last_evaluation = Time::parse(&rule.last_evaluation).filter(|t| t.0 > 0 && rule.health != "unknown");
        let pending = Duration::try_from_secs_f64(rule.duration).unwrap_or_default();
        let alerts = rule.alerts.into_iter().map(|a| self.alert(a, external, pending)).collect::<Result<_, _>>()?;
        Ok(Rule { name: rule.name, query: rule.query, labels: rule.labels, problem, last_evaluation, alerts })
    }

    fn alert(&self, data: AlertData, external: &Labels, pending: Duration) -> Result<PromAlert, LookError> {
        let state = match data.state.as_str() {
            "pending" => State::Pending,
            "firing" => State::Firing,
            other => return Err(self.endpoint.invalid(format!("an alert's state `{other}`"))),
        };
        let active_at = Time::parse(&data.active_at);
        let active_at = active_at.ok_or_else(|| self.endpoint.invalid(format!("`{}` as a time", data.active_at)))?;
        // Prometheus adds an external label only where the alert has none of that name.
        let mut labels = external.clone();
        labels.extend(data.labels);
        labels.retain(|_, value| !value.is_empty());
        let alert = Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels,
            annotations: data.annotations,
            // What it sends names the moment from which it fires; here it names the one from which it was pending.
            starts_at: if state == State::Firing { active_at.plus(pending) } else { active_at },
            ends_at: None,
            generator_url: String::new(),
            fingerprint: None,
        };
        Ok(PromAlert { alert, state, active_at })
    }

    /// What it adds to every alert it sends: as configured here, else as it says itself, asked about once a minute.
    ///
    /// # Errors
    /// When it does not say: `external_labels` has to be configured then.
    pub async fn external_labels(&self) -> Result<Labels, LookError> {
        if let Some(labels) = &self.configured {
            return Ok(labels.clone());
        }
        if let Some(labels) = self.remembered() {
            return Ok(labels);
        }
        let answer: Answer<ConfigData> = self.endpoint.get(&["api", "v1", "status", "config"], &[]).await.map_err(unsaid)?;
        let labels = external_labels(&answer.data.yaml).map_err(|e| self.endpoint.invalid(e))?;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), labels.clone()));
        Ok(labels)
    }

    fn remembered(&self) -> Option<Labels> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.as_ref().filter(|(at, _)| at.elapsed() < EXTERNAL_LABELS_FOR).map(|(_, labels)| labels.clone())
    }

    /// What a PromQL expression gives, `at` a moment of Prometheus' own clock or now; a vector or a scalar.
    ///
    /// # Errors
    /// When it cannot be asked, refuses the expression, or its answer cannot be used.
    pub async fn query(&self, promql: &str, at: Option<Time>) -> Result<Vec<Sample>, LookError> {
        let at = at.map(|t| t.to_string());
        let time = at.iter().map(|t| ("time", t.as_str()));
        let form: Vec<_> =
            [("query", promql), ("timeout", QUERY_TIMEOUT), ("limit", QUERY_LIMIT)].into_iter().chain(time).collect();
        let answer: Answer<QueryData> = self.endpoint.form(&["api", "v1", "query"], &form).await?;
        self.samples(answer.data)
    }

    /// What a PromQL expression finds at this moment, in words; `None` when it has no result: an empty vector. A number or a text is always
    /// a result, and an empty answer with a warning is no answer.
    ///
    /// # Errors
    /// When it cannot be asked, refuses the expression, or its answer cannot be used.
    pub async fn finds(&self, promql: &str) -> Result<Option<String>, LookError> {
        let form = [("query", promql), ("timeout", QUERY_TIMEOUT), ("limit", QUERY_LIMIT)];
        let answer: Answer<QueryData> = self.endpoint.form(&["api", "v1", "query"], &form).await?;
        let QueryData { result_type, result } = answer.data;
        match result_type.as_str() {
            "vector" | "matrix" => {
                let series: Vec<SeriesData> = serde_json::from_value(result).map_err(|e| self.endpoint.invalid(e))?;
                let warned = answer.warnings.first().filter(|_| series.is_empty());
                let warned = warned.map(|warning| format!("no series, but {} warns: {}", self.who(), clean(warning, 300)));
                Ok(warned.or_else(|| found(&series)))
            }
            other => Ok(Some(format!(
                "a {} ({}), which is a result whatever it says: compare series instead, such as `up == 0`",
                clean(other, 20),
                clean(&result.to_string(), 60)
            ))),
        }
    }

    /// Answers a plugin's query, already allowed, at this time: an instant vector or a scalar of at most `most` samples.
    ///
    /// # Errors
    /// Why there is no answer, in the words of the contract.
    pub async fn lookup(&self, promql: &str, at: Time, within: Duration, most: usize) -> Result<Vec<Looked>, LookupError> {
        let (at, limit) = (at.to_string(), (most + 1).to_string());
        // Its own deadline a little before ours, so that it stops working for nobody.
        let within = format!("{}ms", within.as_millis().clamp(1, QUERY_WITHIN_MS));
        let form = [("query", promql), ("time", at.as_str()), ("timeout", within.as_str()), ("limit", limit.as_str())];
        let asked = self.endpoint.form_within::<Answer<QueryData>>(&["api", "v1", "query"], &form, MOST_LOOKUP_BYTES).await;
        let QueryData { result_type, result } = asked.map_err(unanswered)?.data;
        let invalid = |e: serde_json::Error| LookupError::Unavailable(self.endpoint.invalid(e).to_string());
        let series = match result_type.as_str() {
            "vector" => serde_json::from_value::<Vec<SeriesData>>(result).map_err(invalid)?,
            "scalar" => vec![SeriesData { metric: Labels::new(), value: serde_json::from_value(result).map_err(invalid)? }],
            other => {
                let text = format!("the answer is a {}; an instant vector or a scalar can be told", clean(other, 20));
                return Err(LookupError::Invalid(text));
            }
        };
        if series.len() > most {
            return Err(LookupError::LimitExceeded(format!("the answer has more than {most} samples: aggregate, or use topk")));
        }
        series.into_iter().map(looked).collect()
    }

    fn samples(&self, data: QueryData) -> Result<Vec<Sample>, LookError> {
        let invalid = |e: serde_json::Error| self.endpoint.invalid(e);
        let series = match data.result_type.as_str() {
            "vector" => serde_json::from_value::<Vec<SeriesData>>(data.result).map_err(invalid)?,
            "scalar" => vec![SeriesData { metric: Labels::new(), value: serde_json::from_value(data.result).map_err(invalid)? }],
            other => return Err(self.endpoint.invalid(format!("a result of type `{other}`, not a vector or a scalar"))),
        };
        // Native histograms have no value and are left out.
        let numbers = series.into_iter().filter_map(|s| Some((s.metric, s.value?.1)));
        let parse = |(labels, text): (Labels, String)| match text.parse() {
            Ok(value) => Ok(Sample { labels, value }),
            Err(_) => Err(self.endpoint.invalid(format!("`{text}` as a number"))),
        };
        numbers.map(parse).collect()
    }

    /// The values of a selector's series at every `step` between two moments. Too much for one answer is an error: ask for less.
    ///
    /// # Errors
    /// When it cannot be asked, refuses the expression, or its answer cannot be used.
    pub async fn range(&self, promql: &str, from: Time, to: Time, step: Duration) -> Result<Vec<Series>, LookError> {
        let (from, to) = (from.to_string(), to.to_string());
        let step = format!("{}", step.as_secs_f64());
        let form = [("query", promql), ("start", &from), ("end", &to), ("step", &step), ("timeout", QUERY_TIMEOUT)];
        let answer: Answer<RangeData> = self.endpoint.form(&["api", "v1", "query_range"], &form).await?;
        let number = |(at, text): (f64, String)| Some((seconds_to_time(at), text.parse().ok()?));
        let series = |series: RangeSeries| Series {
            labels: series.metric,
            values: series.values.into_iter().filter_map(number).collect(),
        };
        Ok(answer.data.result.into_iter().map(series).collect())
    }

    /// What its clock says.
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn clock(&self) -> Result<Time, LookError> {
        let answer = self.query("time()", None).await?;
        let seconds = answer.first().map(|s| s.value).filter(|s| s.is_finite());
        seconds.map(seconds_to_time).ok_or_else(|| self.endpoint.invalid("no value for time()"))
    }

    /// The names of all labels of the series that fit a selector and had samples between two moments of its clock.
    ///
    /// # Errors
    /// When it cannot be asked or its answer not be used.
    pub async fn label_names(&self, selector: &str, from: Time, to: Time) -> Result<Vec<String>, LookError> {
        let (from, to) = (from.to_string(), to.to_string());
        let query = [("match[]", selector), ("start", from.as_str()), ("end", to.as_str())];
        let answer: Answer<Option<Vec<String>>> = self.endpoint.get(&["api", "v1", "labels"], &query).await?;
        Ok(answer.data.unwrap_or_default())
    }
}

/// One value of a lookup's answer.
fn looked(series: SeriesData) -> Result<Looked, LookupError> {
    let histogram = || LookupError::Invalid("the answer holds histograms: take a number out with histogram_quantile".to_owned());
    let (at, text) = series.value.ok_or_else(histogram)?;
    let value =
        text.parse().map_err(|_| LookupError::Unavailable(format!("Prometheus told `{}` as a number", clean(&text, 40))))?;
    let labels = series.metric.into_iter().collect();
    Ok(Looked { labels, value, at: seconds_to_time(at) })
}

/// Why a query has no answer, in the words of the contract.
fn unanswered(error: LookError) -> LookupError {
    let text = clean(&error.to_string(), 600);
    match error {
        // It does not parse, or it cannot be evaluated, such as many series matched to many.
        LookError::Refused { status, .. } if matches!(status.as_u16(), 400 | 422) => LookupError::Invalid(text),
        LookError::TooLarge { .. } => LookupError::LimitExceeded(text),
        _ => LookupError::Unavailable(text),
    }
}

/// Series in words: some of them, and how many more there are.
fn found(series: &[SeriesData]) -> Option<String> {
    let shown = |series: &SeriesData| {
        let labels = series.metric.iter().filter(|(name, _)| *name != "__name__").take(8);
        let labels: Vec<String> = labels.map(|(name, value)| format!("{}=\"{}\"", clean(name, 60), clean(value, 80))).collect();
        let name = series.metric.get("__name__").map_or(String::new(), |name| clean(name, 80));
        let value = series.value.as_ref().map_or(String::new(), |(_, value)| format!(" {}", clean(value, 40)));
        format!("{name}{{{}}}{value}", labels.join(", "))
    };
    let first: Vec<String> = series.iter().take(2).map(shown).collect();
    let more = series.len().saturating_sub(first.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!first.is_empty()).then(|| format!("{}{more}", first.join(", ")))
}

/// Turns a value of `time()` or `timestamp()` into a moment.
#[allow(clippy::cast_possible_truncation, reason = "a saturating cast of a finite number of milliseconds")]
pub fn seconds_to_time(seconds: f64) -> Time {
    Time((seconds * 1_000.0).round() as i64)
}

/// Says what to do when the configuration is not shown, as by programs that only speak Prometheus' language.
fn unsaid(error: LookError) -> LookError {
    match error {
        LookError::Refused { who, status, text } => {
            let text = format!("its external labels cannot be read ({text}): write them as `external_labels` (`{{}}` for none)");
            LookError::Refused { who, status, text }
        }
        other => other,
    }
}

/// Reads `global.external_labels` from the configuration Prometheus shows.
///
/// Only the section `global` is parsed: the whole may hold megabytes of targets and whatever this version knows of YAML.
fn external_labels(yaml: &str) -> Result<Labels, String> {
    #[derive(Default, Deserialize)]
    struct Global {
        #[serde(default)]
        external_labels: Option<BTreeMap<String, String>>,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        global: Option<Global>,
    }
    let from_global = yaml.lines().skip_while(|line| !line.starts_with("global:"));
    let section = from_global.enumerate().take_while(|(i, line)| *i == 0 || line.is_empty() || line.starts_with([' ', '#']));
    let text: String = section.flat_map(|(_, line)| [line, "\n"]).collect();
    if text.is_empty() {
        return Ok(Labels::new());
    }
    let config: Config = serde_saphyr::from_str(&text).map_err(|e| format!("its configuration: {e}"))?;
    let labels = config.global.unwrap_or_default().external_labels.unwrap_or_default();
    Ok(labels.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}

/// Reads the scrape intervals from the configuration Prometheus shows, which it prints in one way only: every job begins with
/// `- job_name:`, and says its interval two spaces in.
fn scrapes(yaml: &str) -> Scrapes {
    let mut scrapes = Scrapes::default();
    let (mut section, mut job) = ("", None);
    for line in yaml.lines() {
        if !line.starts_with([' ', '-', '#']) {
            (section, job) = (line, None);
        }
        let value = |key: &str| line.strip_prefix(key).map(|value| value.trim().trim_matches(['"', '\'']));
        match section {
            "global:" => {
                scrapes.usual = value("  scrape_interval:").and_then(|v| parse_duration(v).ok()).unwrap_or(scrapes.usual)
            }
            "scrape_configs:" => {
                job = value("- job_name:").map(str::to_owned).or(job);
                if let (Some(job), Some(length)) = (&job, value("  scrape_interval:").and_then(|v| parse_duration(v).ok())) {
                    scrapes.jobs.insert(job.clone(), length);
                }
            }
            _ => {}
        }
    }
    scrapes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn external_labels_are_found_in_the_shown_configuration() {
        let yaml = "global:\n  scrape_interval: 1s\n  external_labels:\n    cluster: \"1\"\n    replica: 'a: b'\n    empty: \"\"\nrule_files:\n- /x\nexternal_labels: {no: no}\n";
        assert_eq!(external_labels(yaml).unwrap(), labels(&[("cluster", "1"), ("replica", "a: b")]));
        assert_eq!(external_labels("global:\n  scrape_interval: 1m\nscrape_configs: []\n").unwrap(), Labels::new());
        assert_eq!(external_labels("scrape_configs: []\n").unwrap(), Labels::new());
        external_labels("global:\n  external_labels: [1\n").unwrap_err();
    }

    #[test]
    fn scrape_intervals_are_found_in_the_shown_configuration() {
        let yaml = "global:\n  scrape_interval: 30s\n  evaluation_interval: 1m\nrule_files:\n- /x\nscrape_configs:\n- job_name: web\n  scrape_interval: 5s\n  static_configs:\n  - targets:\n    - a:1\n- job_name: \"d b\"\n  honor_labels: true\n  scrape_interval: 1m30s\n";
        let found = scrapes(yaml);
        assert_eq!(found.usual, Duration::from_secs(30));
        let jobs: Vec<_> = found.jobs.iter().map(|(job, length)| (job.as_str(), length.as_secs())).collect();
        assert_eq!(jobs, [("d b", 90), ("web", 5)]);
        assert_eq!(scrapes("scrape_configs: []\n"), Scrapes::default());
    }

    #[test]
    fn settings_are_a_url_or_a_map() {
        let read = |yaml: &str| serde_saphyr::from_str::<Settings>(yaml);
        let url = BaseUrl::parse("http://h:9090").unwrap();
        assert_eq!(read("http://h:9090").unwrap(), Settings::new(url.clone()));
        let map = read("url: http://h:9090\nbearer_token_file: t\nexternal_labels: {a: b}\n").unwrap();
        assert_eq!(map, Settings { url, bearer_token_file: Some("t".into()), external_labels: Some(labels(&[("a", "b")])) });
        for (yaml, why) in [
            ("url: http://h\nurll: x\n", "urll"),
            ("url: h:9090\n", "http://localhost:9090"),
            ("bearer_token_file: t\n", "url"),
            ("[http://h]\n", "a map with `url`"),
        ] {
            let error = read(yaml).unwrap_err().to_string();
            assert!(error.contains(why), "{yaml}: {error}");
        }
    }
}
