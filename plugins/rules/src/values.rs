//! Plain data as CEL sees it, and back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::Value;
use cel::objects::Key;
use paramedic_policy::lookup::{Container, PastIncident, Sample};
use paramedic_policy::{Attempt, Incident, Target, Time};
use serde_json::json;

use crate::time::seconds;

/// Characters of a value in a text for people.
const SHOWN: usize = 1500;

/// A text.
pub fn text(value: impl Into<String>) -> Value {
    Value::String(Arc::new(value.into()))
}

/// Something with fields.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::from(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<String, Value>>())
}

/// Several of the same.
pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(Arc::new(values.into_iter().collect()))
}

/// Labels, annotations.
pub fn pairs(pairs: &BTreeMap<String, String>) -> Value {
    Value::from(pairs.iter().map(|(name, value)| (name.clone(), text(value))).collect::<HashMap<String, Value>>())
}

fn maybe(value: Option<i64>) -> Value {
    value.map_or(Value::Null, Value::Int)
}

/// `alert`.
pub fn alert(incident: &Incident) -> Value {
    let alert = &incident.alert;
    object([
        ("name", text(incident.name())),
        ("status", text(alert.status.as_str())),
        ("source", text(alert.source.as_str())),
        ("age", Value::Int(seconds(alert.starts_at, incident.now))),
        ("url", text(&alert.generator_url)),
    ])
}

/// `target`.
pub fn target(target: &Target) -> Value {
    let host = target.name.split_once('/').map_or("", |(host, _)| host);
    object([
        ("name", text(&target.name)),
        ("container", text(target.container())),
        ("host", text(host)),
        ("state", text(target.state.as_str())),
        ("down", Value::Bool(target.state.is_down())),
        ("inventory_host", target.inventory_host.as_ref().map_or(Value::Null, text)),
    ])
}

/// `attempts`.
pub fn attempts(attempts: &[Attempt], now: Time) -> Value {
    list(attempts.iter().map(|attempt| {
        let actions = attempt.actions.iter().map(|action| {
            object([
                ("kind", text(action.kind.as_str())),
                ("target", text(&action.target)),
                ("detail", text(&action.detail)),
                ("outcome", text(action.outcome.as_str())),
                ("begun", Value::Bool(action.outcome.was_begun())),
                ("message", text(&action.message)),
            ])
        });
        object([
            ("number", Value::Int(attempt.number.into())),
            ("verification", text(attempt.verification.as_str())),
            ("ago", Value::Int(seconds(attempt.ended_at, now))),
            ("actions", list(actions)),
        ])
    }))
}

/// What a query found.
pub fn samples(samples: &[Sample]) -> Value {
    list(samples.iter().map(|sample| object([("labels", pairs(&sample.labels)), ("value", Value::Float(sample.value))])))
}

/// One container.
pub fn container(container: &Container, now: Time) -> Value {
    let running = container.state.as_str() == "running" || container.state.as_str() == "paused";
    let since = |moment: Option<Time>, if_so| moment.filter(|_| if_so).map_or(0, |moment| seconds(moment, now));
    object([
        ("name", text(&container.name)),
        ("id", text(&container.id)),
        ("image", text(&container.image)),
        ("state", text(container.state.as_str())),
        ("health", text(container.health.as_str())),
        ("exit_code", maybe(container.exit_code)),
        ("restart_count", Value::Int(container.restart_count.into())),
        ("up_for", Value::Int(since(container.started_at, running))),
        ("down_for", Value::Int(since(container.finished_at, !running))),
        ("labels", pairs(&container.labels)),
    ])
}

/// A container that is not there: a rule about it can say so, and nothing else of it is true.
pub fn missing(name: &str) -> Value {
    let nothing = BTreeMap::new();
    object([
        ("name", text(name)),
        ("id", text("")),
        ("image", text("")),
        ("state", text("missing")),
        ("health", text("none")),
        ("exit_code", Value::Null),
        ("restart_count", Value::Int(0)),
        ("up_for", Value::Int(0)),
        ("down_for", Value::Int(0)),
        ("labels", pairs(&nothing)),
    ])
}

/// Earlier incidents.
pub fn past(past: &[PastIncident], now: Time) -> Value {
    list(past.iter().map(|past| {
        object([
            ("id", text(&past.id)),
            ("alertname", text(&past.alertname)),
            ("ago", Value::Int(seconds(past.opened_at, now))),
            ("open", Value::Bool(past.closed_at.is_none() && !matches!(past.state.as_str(), "healed" | "cleared" | "closed"))),
            ("state", text(&past.state)),
            ("policy", text(&past.policy)),
            ("attempts", attempts(&past.attempts, now)),
        ])
    }))
}

/// A value as people read it.
pub fn show(value: &Value) -> String {
    let shown = match value {
        Value::String(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Null => "none".to_owned(),
        Value::List(items) => items.iter().map(show).collect::<Vec<_>>().join(", "),
        other => json_of(other).map_or_else(|_| format!("a {}", other.type_of()), |json| json.to_string()),
    };
    match shown.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &shown[..end]),
        None => shown,
    }
}

/// A value for a playbook.
///
/// # Errors
/// When JSON has no such value.
pub fn json_of(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::String(text) => json!(text.as_str()),
        Value::Int(number) => json!(number),
        Value::UInt(number) => json!(number),
        Value::Float(number) if number.is_finite() => json!(number),
        Value::Bool(yes) => json!(yes),
        Value::Null => serde_json::Value::Null,
        Value::List(items) => serde_json::Value::Array(items.iter().map(json_of).collect::<Result<_, _>>()?),
        Value::Map(map) => {
            let entry = |(key, value): (&Key, &Value)| Ok((key.to_string(), json_of(value)?));
            serde_json::Value::Object(map.map.iter().map(entry).collect::<Result<_, String>>()?)
        }
        other => return Err(format!("the value {} cannot be handed to a playbook", show_plain(other))),
    })
}

fn show_plain(value: &Value) -> String {
    if let Value::Float(number) = value { number.to_string() } else { format!("of type {}", value.type_of()) }
}
