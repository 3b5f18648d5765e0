//! Cases: what a policy has to answer, written down as data beside it.
//!
//! A case is an incident, the recorded answers of lookups, and the decision that is expected. Everything has a default, so that a case
//! says only what it is about. Absent on purpose: expressions, loops and templates; a table of data is read faster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::action::{InventoryHost, Target};
use crate::alert::{Alert, Family, IncidentId, Key, Labels, Status};
use crate::clock::{Time, parse_duration};
use crate::config::ConfigError;
use crate::config::problem::Problem;
use crate::config::yaml::Source;
use crate::decide::lookup::Recorded;
use crate::decide::question::Brief;
use crate::incident::lookup::{Found, FoundContainer, Lookup, LookupError, PastAction, PastAttempt, PastIncident, Sample};
use crate::incident::{TargetView, Trigger};

/// When a case happens if it does not say: 2026-01-01T00:05:00Z. The alert began five minutes before.
const NOW: Time = Time(1_767_225_900_000);
const FIVE_MINUTES: std::time::Duration = std::time::Duration::from_secs(300);

/// One case, ready to be asked.
pub(super) struct Case {
    /// Its name.
    pub(super) name: String,
    /// Where it stands: `cases/web.yaml:12`.
    pub(super) place: String,
    /// The settings it is asked with.
    pub(super) settings: Value,
    /// What is expected.
    pub(super) expect: Expect,
    form: Form,
    lookups: Vec<(Lookup, Result<Found, LookupError>)>,
}

/// What is expected of a decision.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// `pass`, `ignore`, `act`, `wait`, `escalate`, `error`, or `settings-refused`.
    pub(super) decision: Word,
    /// The reason, or the error's text, contains this; `/.../` is a regular expression.
    #[serde(default)]
    pub(super) reason: Option<Pattern>,
    /// How long, of `wait`.
    #[serde(default, rename = "for", deserialize_with = "crate::clock::optional_duration")]
    pub(super) length: Option<std::time::Duration>,
    /// What is to be done, of `act`, in order.
    #[serde(default)]
    pub(super) actions: Option<Vec<BTreeMap<String, BTreeMap<String, Value>>>>,
}

/// How a decision is called in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub(super) enum Word {
    Pass,
    Ignore,
    Act,
    Wait,
    Escalate,
    Error,
    SettingsRefused,
}

impl Word {
    /// As it is written.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Ignore => "ignore",
            Self::Act => "act",
            Self::Wait => "wait",
            Self::Escalate => "escalate",
            Self::Error => "error",
            Self::SettingsRefused => "settings-refused",
        }
    }
}

/// A text that has to occur, or `/a regular expression/`.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// This occurs in it.
    Text(String),
    /// This fits somewhere in it.
    Regex(regex::Regex),
}

impl Pattern {
    /// Reads it from how it is written.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|inner| !inner.is_empty()) {
            Some(inner) => regex::Regex::new(inner).map(Self::Regex).map_err(|error| error.to_string()),
            None => Ok(Self::Text(text.to_owned())),
        }
    }

    /// Does this text fit?
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Text(part) => text.contains(part),
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    /// As it is written.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("`{text}`"),
            Self::Regex(regex) => format!("/{}/", regex.as_str()),
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cases: Vec<Written>,
}

/// A case as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default = "no_settings")]
    settings: Value,
    alert: AlertForm,
    #[serde(default)]
    targets: Vec<TargetForm>,
    #[serde(default = "fires")]
    trigger: Trigger,
    #[serde(default)]
    now: Option<Moment>,
    #[serde(default)]
    attempts: Vec<AttemptForm>,
    #[serde(default)]
    lookups: Vec<LookupForm>,
    expect: Expect,
}

fn no_settings() -> Value {
    Value::Object(serde_json::Map::new())
}

fn fires() -> Trigger {
    Trigger::Alert
}

/// What is needed to ask.
struct Form {
    alert: AlertForm,
    targets: Vec<TargetForm>,
    trigger: Trigger,
    now: Time,
    attempts: Vec<AttemptForm>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertForm {
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    source: Option<Family>,
    #[serde(default)]
    status: Option<Status>,
    #[serde(default)]
    starts_at: Option<Moment>,
    #[serde(default)]
    first_seen: Option<Moment>,
    #[serde(default)]
    generator_url: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetForm {
    name: Target,
    #[serde(default = "running")]
    state: String,
    #[serde(default)]
    inventory_host: Option<InventoryHost>,
}

fn running() -> String {
    "running".to_owned()
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptForm {
    actions: Vec<ActionForm>,
    #[serde(default = "unclear")]
    verification: String,
    #[serde(default)]
    started_at: Option<Moment>,
    #[serde(default)]
    ended_at: Option<Moment>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionForm {
    kind: String,
    target: String,
    #[serde(default)]
    detail: String,
    #[serde(default = "succeeded")]
    outcome: String,
    #[serde(default)]
    message: String,
}

fn succeeded() -> String {
    "succeeded".to_owned()
}

fn unclear() -> String {
    "unclear".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LookupForm {
    #[serde(default)]
    metrics: Option<String>,
    #[serde(default)]
    containers: Option<ContainersForm>,
    #[serde(default)]
    container: Option<String>,
    #[serde(default)]
    log: Option<LogForm>,
    #[serde(default)]
    history: Option<HistoryForm>,
    #[serde(default)]
    answer: Option<Value>,
    #[serde(default)]
    error: Option<LookupError>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainersForm {
    host: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogForm {
    target: String,
    lines: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryForm {
    target: String,
    #[serde(deserialize_with = "crate::clock::duration")]
    within: std::time::Duration,
}

/// A moment, as RFC 3339.
#[derive(Clone, Copy)]
struct Moment(Time);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom(format!("`{text}` is no moment: write for instance 2026-01-01T00:05:00Z"));
        Time::parse(&text).map(Self).ok_or_else(wrong)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleForm {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    value: Number,
    #[serde(default)]
    at: Option<Moment>,
}

/// A number, or `NaN`, `+Inf`, `-Inf` in quotes.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong =
            |said: &str| serde::de::Error::custom(format!("{said} is no number: write 1.5, \"NaN\", \"+Inf\" or \"-Inf\""));
        match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_f64().map(Self).ok_or_else(|| wrong(&number.to_string())),
            Value::String(text) => text.parse().map(Self).map_err(|_| wrong(&text)),
            other => Err(wrong(&other.to_string())),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerForm {
    name: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    image: String,
    #[serde(default = "running")]
    state: String,
    #[serde(default = "none")]
    health: String,
    #[serde(default)]
    started_at: Option<Moment>,
    #[serde(default)]
    finished_at: Option<Moment>,
    #[serde(default)]
    exit_code: Option<i64>,
    #[serde(default)]
    restart_count: u32,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn none() -> String {
    "none".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IncidentForm {
    #[serde(default)]
    id: String,
    alertname: String,
    opened_at: Moment,
    #[serde(default)]
    closed_at: Option<Moment>,
    state: String,
    #[serde(default)]
    policy: String,
    #[serde(default)]
    attempts: Vec<AttemptForm>,
}

/// All cases of a folder, in the order of file names; at least one.
///
/// # Errors
/// Everything that is wrong with its files.
pub(super) fn read(folder: &Path) -> Result<Vec<Case>, ConfigError> {
    let wrong = |what: &str, hint: &str| ConfigError::from(vec![Problem::of_file(folder, what, hint)]);
    let hint = "a case is written in a file such as cases/first.yaml; docs/workbench.md shows one";
    let files = if is_yaml(folder) {
        vec![folder.to_owned()]
    } else {
        let entries = std::fs::read_dir(folder).map_err(|error| wrong(&format!("has no cases: {error}"), hint))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_yaml(path)).collect();
        files.sort();
        files
    };
    let (mut cases, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match read_file(&file) {
            Ok(read) => cases.extend(read),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems.into());
    }
    if cases.is_empty() { Err(wrong("has no cases", hint)) } else { Ok(cases) }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") && path.is_file()
}

fn read_file(file: &Path) -> Result<Vec<Case>, Vec<Problem>> {
    let source = Source::open(file)?;
    let File { cases } = source.read()?;
    let (mut ready, mut problems) = (Vec::new(), Vec::new());
    for (i, written) in cases.into_iter().enumerate() {
        match case(&source, &format!("cases[{i}]"), written) {
            Ok(case) => ready.push(case),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(ready) } else { Err(problems) }
}

fn case(source: &Source, path: &str, written: Written) -> Result<Case, Vec<Problem>> {
    let now = written.now.map_or(NOW, |moment| moment.0);
    let (mut lookups, mut problems) = (Vec::new(), expected(source, path, &written.expect));
    for (i, form) in written.lookups.into_iter().enumerate() {
        match lookup(form, now) {
            Ok(recorded) => lookups.push(recorded),
            Err((key, why, hint)) => problems.push(source.problem(&format!("{path}.lookups[{i}]{key}"), why, hint)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let line = source.line(path).map_or(String::new(), |line| format!(":{line}"));
    Ok(Case {
        name: written.name,
        place: format!("{}{line}", source.file().display()),
        settings: written.settings,
        expect: written.expect,
        form: Form { alert: written.alert, targets: written.targets, trigger: written.trigger, now, attempts: written.attempts },
        lookups,
    })
}

/// Expectations that could never be met.
fn expected(source: &Source, path: &str, expect: &Expect) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut no = |key: &str, why: String, hint: &str| problems.push(source.problem(&format!("{path}.expect.{key}"), why, hint));
    if expect.length.is_some() && expect.decision != Word::Wait {
        no("for", format!("`{}` takes no time", expect.decision.as_str()), "write `decision: wait`, or leave `for` out");
    }
    match (&expect.actions, expect.decision) {
        (Some(_), word) if word != Word::Act => {
            no("actions", format!("`{}` does nothing", word.as_str()), "write `decision: act`, or leave `actions` out");
        }
        (Some(actions), _) => {
            for (i, action) in actions.iter().enumerate() {
                if let Err((why, hint)) = super::compare::is_action(action) {
                    no(&format!("actions[{i}]"), why, &hint);
                }
            }
        }
        (None, _) => {}
    }
    problems
}

type Recording = (Lookup, Result<Found, LookupError>);
type Wrong = (&'static str, String, &'static str);

fn lookup(form: LookupForm, now: Time) -> Result<Recording, Wrong> {
    const ONE: &str = "write one of metrics, containers, container, log, history";
    let LookupForm { metrics, containers, container, log, history, answer, error } = form;
    let mut asked: Vec<Lookup> = Vec::new();
    asked.extend(metrics.map(|query| Lookup::Metrics { query }));
    asked.extend(containers.map(|c| Lookup::Containers { host: c.host, labels: c.labels.into_iter().collect() }));
    asked.extend(container.map(|target| Lookup::Container { target }));
    asked.extend(log.map(|log| Lookup::Log { target: log.target, lines: log.lines }));
    asked.extend(
        history.map(|h| Lookup::History { target: h.target, within_ms: u64::try_from(h.within.as_millis()).unwrap_or(u64::MAX) }),
    );
    let [lookup] = <[Lookup; 1]>::try_from(asked)
        .map_err(|asked| ("", format!("a lookup asks one question, and this one asks {}", asked.len()), ONE))?;
    match (answer, error) {
        (None, Some(error)) => Ok((lookup, Err(error))),
        (Some(answer), None) => {
            let found = found(&lookup, answer, now);
            found.map(|found| (lookup, Ok(found))).map_err(|why| (".answer", why, "docs/workbench.md lists what each answer has"))
        }
        _ => Err((
            "",
            "a lookup has either an answer or an error".to_owned(),
            "write `answer: [...]`, or `error: {unavailable: why}`",
        )),
    }
}

fn found(lookup: &Lookup, answer: Value, now: Time) -> Result<Found, String> {
    Ok(match lookup {
        Lookup::Metrics { .. } => {
            let sample = |form: SampleForm| Sample {
                labels: form.labels.into_iter().collect(),
                value: form.value.0,
                at: form.at.map_or(now, |moment| moment.0),
            };
            Found::Metrics(form::<Vec<SampleForm>>(answer)?.into_iter().map(sample).collect())
        }
        Lookup::Containers { .. } => Found::Containers(form::<Vec<ContainerForm>>(answer)?.into_iter().map(container).collect()),
        Lookup::Container { .. } => Found::Container(container(form(answer)?)),
        Lookup::Log { .. } => Found::Log(form(answer)?),
        Lookup::History { .. } => {
            let incident = |form: IncidentForm| PastIncident {
                id: form.id,
                alertname: form.alertname,
                opened_at: form.opened_at.0,
                closed_at: form.closed_at.map(|moment| moment.0),
                state: form.state,
                policy: form.policy,
                attempts: attempts(&form.attempts, form.opened_at.0),
            };
            Found::History(form::<Vec<IncidentForm>>(answer)?.into_iter().map(incident).collect())
        }
    })
}

fn form<T: for<'de> Deserialize<'de>>(answer: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(answer).map_err(|error| format!("this is no answer to that question: {error}"))
}

fn container(form: ContainerForm) -> FoundContainer {
    FoundContainer {
        name: form.name,
        id: form.id,
        image: form.image,
        state: form.state,
        health: form.health,
        started_at: form.started_at.map(|moment| moment.0),
        finished_at: form.finished_at.map(|moment| moment.0),
        exit_code: form.exit_code,
        restart_count: form.restart_count,
        labels: form.labels.into_iter().collect(),
    }
}

fn action(form: ActionForm) -> PastAction {
    let ActionForm { kind, target, detail, outcome, message } = form;
    PastAction { kind, target, detail, outcome, message }
}

/// Attempts, numbered; one that does not say when it was came a minute after the one before.
fn attempts(forms: &[AttemptForm], first: Time) -> Vec<PastAttempt> {
    let minute = std::time::Duration::from_secs(60);
    let mut last = first;
    let mut made = Vec::new();
    for (form, number) in forms.iter().zip(1..) {
        let started_at = form.started_at.map_or(last.plus(minute), |moment| moment.0);
        let ended_at = form.ended_at.map_or(started_at.plus(std::time::Duration::from_secs(1)), |moment| moment.0);
        last = ended_at;
        made.push(PastAttempt {
            number,
            started_at,
            ended_at,
            actions: form.actions.iter().cloned().map(action).collect(),
            verification: form.verification.clone(),
        });
    }
    made
}

impl Case {
    /// The question, with a fresh recording of its lookups.
    pub(super) fn brief(&self) -> (Brief, Arc<Recorded>) {
        let Form { alert, targets, trigger, now, attempts: tried } = &self.form;
        let family = alert.source.unwrap_or(Family::Prometheus);
        let starts_at = alert.starts_at.map_or(now.minus(FIVE_MINUTES), |moment| moment.0);
        let lookups = Arc::new(Recorded::new(self.lookups.iter().cloned()));
        let view = |form: &TargetForm| TargetView {
            target: form.name.clone(),
            inventory_host: form.inventory_host.clone(),
            state: form.state.clone(),
        };
        let brief = Brief {
            id: IncidentId { key: Key::of(family, &alert.labels, &[]), n: 1 },
            alert: Alert {
                family,
                status: alert.status.unwrap_or(Status::Firing),
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at,
                ends_at: None,
                generator_url: alert.generator_url.clone(),
                fingerprint: None,
            },
            first_seen: alert.first_seen.map_or(starts_at, |moment| moment.0),
            trigger: *trigger,
            attempts: attempts(tried, starts_at),
            targets: targets.iter().map(view).collect(),
            settings: self.settings.clone(),
            now: *now,
            lookups: lookups.clone(),
        };
        (brief, lookups)
    }

    /// What is recorded, for telling which of it was never asked.
    pub(super) fn recorded(&self) -> impl Iterator<Item = &Lookup> {
        self.lookups.iter().map(|(lookup, _)| lookup)
    }
}

/// How a lookup is written in a case.
pub(super) fn written(lookup: &Lookup) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    match lookup {
        Lookup::Metrics { query } => format!("metrics: {}", quoted(query)),
        Lookup::Containers { host, labels } => {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))).collect();
            format!("containers: {{host: {}, labels: {{{}}}}}", quoted(host), labels.join(", "))
        }
        Lookup::Container { target } => format!("container: {}", quoted(target)),
        Lookup::Log { target, lines } => format!("log: {{target: {}, lines: {lines}}}", quoted(target)),
        Lookup::History { target, within_ms } => {
            let within = crate::clock::spell_duration(std::time::Duration::from_millis(*within_ms));
            format!("history: {{target: {}, within: {within}}}", quoted(target))
        }
    }
}

/// A length of time as it is written in a case, in milliseconds.
pub(super) fn millis(text: &str) -> Option<u64> {
    u64::try_from(parse_duration(text).ok()?.as_millis()).ok()
}
