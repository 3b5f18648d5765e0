//! What the conformance plugins have to tell, worked out here from what they are told: JSON with sorted keys, no spaces, ASCII only,
//! and numbers that are not whole by their bits.

use paramedic::alert::{Alert, Status};
use paramedic::decide::sandbox::Brief;
use paramedic::incident::TargetView;
use paramedic::incident::lookup::{Found, FoundContainer, LookupError, PastAttempt, PastIncident, Sample};
use serde_json::{Map, Value, json};

/// JSON without anything that depends on the language.
pub(super) fn canonical(value: &Value) -> String {
    let escaped = |c: char| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    let ascii = |c: char| if matches!(c, ' '..='~') { c.to_string() } else { escaped(c) };
    value.to_string().chars().map(ascii).collect()
}

/// A number by its bits.
pub(super) fn bits(number: f64) -> String {
    if number.is_nan() { "nan".to_owned() } else { format!("{:016x}", number.to_bits()) }
}

/// A part of what a plugin is told.
pub(super) fn part(what: &str, brief: &Brief) -> Value {
    match what {
        "id" => json!(brief.id.to_string()),
        "alert" => alert(&brief.alert, brief.first_seen.0),
        "trigger" => json!(brief.trigger.word()),
        "attempts" => json!(brief.attempts.iter().map(attempt).collect::<Vec<_>>()),
        "targets" => json!(brief.targets.iter().map(target).collect::<Vec<_>>()),
        "now" => json!(brief.now.0),
        other => panic!("nobody is told `{other}`"),
    }
}

fn alert(a: &Alert, first_seen: i64) -> Value {
    let status = if a.status == Status::Firing { "firing" } else { "resolved" };
    json!({
        "source": a.family.word(), "status": status, "labels": a.labels, "annotations": a.annotations,
        "starts_at": a.starts_at.0, "first_seen": first_seen, "generator_url": a.generator_url, "extra": [],
    })
}

fn target(t: &TargetView) -> Value {
    json!({"name": t.target.to_string(), "inventory_host": t.inventory_host, "state": t.state, "extra": []})
}

fn attempt(a: &PastAttempt) -> Value {
    let action = |a: &paramedic::incident::lookup::PastAction| json!({"kind": a.kind, "target": a.target, "detail": a.detail, "outcome": a.outcome, "message": a.message, "extra": []});
    json!({
        "number": a.number, "started_at": a.started_at.0, "ended_at": a.ended_at.0,
        "actions": a.actions.iter().map(action).collect::<Vec<_>>(), "verification": a.verification, "extra": [],
    })
}

/// The answer to a lookup.
pub(super) fn answer(answer: &Result<Found, LookupError>) -> Value {
    match answer {
        Ok(Found::Containers(found)) => found.iter().map(container).collect(),
        Ok(Found::Container(found)) => container(found),
        Ok(Found::Log(lines)) => json!(lines),
        Ok(Found::Metrics(samples)) => samples.iter().map(sample).collect(),
        Ok(Found::History(incidents)) => incidents.iter().map(past).collect(),
        Err(LookupError::AccessDenied(text)) => failed("access-denied", text),
        Err(LookupError::NotFound(text)) => failed("not-found", text),
        Err(LookupError::Invalid(text)) => failed("invalid", text),
        Err(LookupError::LimitExceeded(text)) => failed("limit-exceeded", text),
        Err(LookupError::Unavailable(text)) => failed("unavailable", text),
        Err(LookupError::Other(text)) => failed("other", text),
    }
}

/// Why there was no answer.
pub(super) fn failed(case: &str, text: &str) -> Value {
    json!({ "error": [case, text] })
}

fn object(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>())
}

fn container(c: &FoundContainer) -> Value {
    json!({
        "name": c.name, "id": c.id, "image": c.image, "state": c.state, "health": c.health, "started_at": c.started_at,
        "finished_at": c.finished_at, "exit_code": c.exit_code, "restart_count": c.restart_count, "labels": object(&c.labels), "extra": [],
    })
}

fn sample(s: &Sample) -> Value {
    json!({"labels": object(&s.labels), "value": bits(s.value), "at": s.at})
}

fn past(p: &PastIncident) -> Value {
    json!({
        "id": p.id, "alertname": p.alertname, "opened_at": p.opened_at, "closed_at": p.closed_at, "state": p.state, "policy": p.policy,
        "attempts": p.attempts.iter().map(attempt).collect::<Vec<_>>(), "extra": [],
    })
}
