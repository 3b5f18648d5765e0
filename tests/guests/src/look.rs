//! Looks at what the settings' `lookups` say, one after the other, and passes; the reason tells the first words of each answer.
//!
//! Each of them is `{"containers": {"host": ..., "labels": {...}}}`, `{"container": TARGET}`, `{"log": {"target": ..., "lines": ...}}`,
//! `{"metrics": PROMQL}` or `{"history": {"target": ..., "within_ms": ...}}`. `"times"` asks all of it so often; with `"then": "wait"` it
//! waits for a second instead.

use serde_json::Value;

use crate::bindings::paramedic::policy::types::{Decision, LookupError, Wait};
use crate::bindings::paramedic::policy::{containers, history, metrics};

/// Does it.
pub(crate) fn look(settings: &Value) -> Result<Decision, String> {
    let lookups = settings["lookups"].as_array().ok_or("settings need `lookups`")?;
    let mut told = Vec::new();
    for _ in 0..settings["times"].as_u64().unwrap_or(1) {
        for lookup in lookups {
            told.push(one(lookup)?);
        }
    }
    let told = told.join("; ");
    Ok(if settings["then"] == "wait" { Decision::Wait(Wait { reason: told, duration: 1_000 }) } else { Decision::Pass(told) })
}

fn one(lookup: &Value) -> Result<String, String> {
    let (kind, asked) = lookup.as_object().and_then(|map| map.iter().next()).ok_or("a lookup is a map of one key")?;
    let text = |value: &Value| match value {
        // Longer than settings may be.
        Value::Number(length) => "x".repeat(usize::try_from(length.as_u64().unwrap_or_default()).unwrap_or_default()),
        value => value.as_str().unwrap_or_default().to_owned(),
    };
    Ok(match kind.as_str() {
        "containers" => {
            let labels = asked["labels"].as_object().into_iter().flatten();
            let labels: Vec<_> = labels.map(|(name, value)| (name.clone(), text(value))).collect();
            told(containers::find(&text(&asked["host"]), &labels))
        }
        "container" => told(containers::inspect(&text(asked))),
        "log" => {
            let lines = u32::try_from(asked["lines"].as_u64().unwrap_or_default()).unwrap_or(u32::MAX);
            told(containers::log_tail(&text(&asked["target"]), lines))
        }
        "metrics" => told(metrics::query(&text(asked))),
        "history" => told(history::of_target(&text(&asked["target"]), asked["within_ms"].as_u64().unwrap_or_default())),
        other => return Err(format!("no lookup is called `{other}`")),
    })
}

fn told<T: std::fmt::Debug>(answer: Result<T, LookupError>) -> String {
    match answer {
        Ok(found) => format!("{found:?}"),
        Err(why) => format!("{why:?}"),
    }
}
