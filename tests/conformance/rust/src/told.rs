//! What was told, as text that is the same in every language: JSON with sorted keys, no spaces, ASCII only, and numbers that are not
//! whole by their bits.

use std::collections::BTreeMap;

use paramedic_policy::lookup::{Container, LookupError, PastIncident, Sample};
use paramedic_policy::{Attempt, AttemptedAction, Incident, Target, Value, json};

use crate::settings::{Part, Values};

/// JSON without anything that depends on the language.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && c != '\u{7f}' {
            text.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

/// A number by its bits.
fn bits(number: f64) -> String {
    if number.is_nan() { "nan".to_owned() } else { format!("{:016x}", number.to_bits()) }
}

/// A part of the incident, or of the settings.
pub fn part(what: &Part, incident: &Incident, values: &Values) -> Value {
    match what {
        Part::Id => json!(incident.id),
        Part::Alert => alert(incident),
        Part::Trigger => json!(incident.trigger.as_str()),
        Part::Attempts => json!(incident.attempts.iter().map(attempt).collect::<Vec<_>>()),
        Part::Targets => json!(incident.targets.iter().map(target).collect::<Vec<_>>()),
        Part::Values => json!({
            "text": values.text, "maybe": values.maybe, "whole": values.whole, "number": bits(values.number), "flag": values.flag,
            "word": values.word.as_str(), "names": values.names, "table": values.table, "anything": values.anything,
        }),
        Part::Now => json!(incident.now.0),
        Part::Derived => derived(incident),
    }
}

/// What the SDK makes of the incident for its authors.
fn derived(incident: &Incident) -> Value {
    let begun: Vec<_> = incident.begun().map(|a| a.kind.as_str()).collect();
    let candidates: Vec<_> = incident.candidates(None).into_iter().map(|t| t.name).collect();
    json!({
        "name": incident.name(), "label": incident.get_label("container"), "firing_for_ms": incident.firing_for().as_millis() as u64,
        "begun": begun, "candidates": candidates, "may_begin_again": incident.may_begin_again(), "tried": incident.what_was_tried(),
    })
}

fn alert(incident: &Incident) -> Value {
    let a = &incident.alert;
    json!({
        "source": a.source.as_str(), "status": a.status.as_str(), "labels": a.labels, "annotations": a.annotations,
        "starts_at": a.starts_at.0, "first_seen": a.first_seen.0, "generator_url": a.generator_url, "extra": a.extra,
    })
}

fn target(t: &Target) -> Value {
    json!({ "name": t.name, "inventory_host": t.inventory_host, "state": t.state.as_str(), "extra": t.extra })
}

fn attempt(a: &Attempt) -> Value {
    json!({
        "number": a.number, "started_at": a.started_at.0, "ended_at": a.ended_at.0,
        "actions": a.actions.iter().map(action).collect::<Vec<_>>(), "verification": a.verification.as_str(), "extra": a.extra,
    })
}

fn action(a: &AttemptedAction) -> Value {
    json!({
        "kind": a.kind.as_str(), "target": a.target, "detail": a.detail, "outcome": a.outcome.as_str(), "message": a.message,
        "extra": a.extra,
    })
}

/// A container that was found.
pub fn container(c: Container) -> Value {
    json!({
        "name": c.name, "id": c.id, "image": c.image, "state": c.state.as_str(), "health": c.health.as_str(),
        "started_at": c.started_at.map(|t| t.0), "finished_at": c.finished_at.map(|t| t.0), "exit_code": c.exit_code,
        "restart_count": c.restart_count, "labels": c.labels, "extra": c.extra,
    })
}

/// A value that was found.
pub fn sample(s: Sample) -> Value {
    json!({ "labels": s.labels, "value": bits(s.value), "at": s.at.0 })
}

/// An incident that was found.
pub fn past(p: PastIncident) -> Value {
    json!({
        "id": p.id, "alertname": p.alertname, "opened_at": p.opened_at.0, "closed_at": p.closed_at.map(|t| t.0), "state": p.state,
        "policy": p.policy, "attempts": p.attempts.iter().map(attempt).collect::<Vec<_>>(), "extra": p.extra,
    })
}

/// Why nothing was found.
pub fn failed(error: LookupError) -> Value {
    let (case, text) = match error {
        LookupError::AccessDenied(text) => ("access-denied", text),
        LookupError::NotFound(text) => ("not-found", text),
        LookupError::Invalid(text) => ("invalid", text),
        LookupError::LimitExceeded(text) => ("limit-exceeded", text),
        LookupError::Unavailable(text) => ("unavailable", text),
        LookupError::Other(text) => ("other", text),
        other => ("unknown", other.to_string()),
    };
    json!(BTreeMap::from([("error", [case, &text])]))
}
