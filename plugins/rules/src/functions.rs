//! The functions that CEL does not have, and its errors in words.

use std::sync::Arc;

use cel::extractors::{Arguments, This};
use cel::{Context, DeclarationError, ExecutionError, Value};
use paramedic_policy::Incident;

use crate::condition::Condition;
use crate::time::parse_length;

/// Characters of an error.
const LONGEST: usize = 300;

/// Makes the functions known.
pub fn add(context: &mut Context<'_, '_>, incident: &Incident) -> Result<(), DeclarationError> {
    let here = crate::values::attempts(&incident.attempts, incident.now);
    context.add_function("tried", move |This(this): This<Value>, Arguments(args): Arguments| tried(&here, &this, &args))?;
    context.add_function("number", |This(this): This<Value>, Arguments(args): Arguments| number(&this, &args))?;
    context.add_function("duration", |This(length): This<Arc<String>>| {
        let length = parse_length(&length).map_err(|why| ExecutionError::function_error("duration", why))?;
        Ok::<i64, ExecutionError>(i64::try_from(length.as_secs()).unwrap_or(i64::MAX))
    })?;
    context.add_function("matches", |This(text): This<Arc<String>>, pattern: Arc<String>| {
        let pattern = regex_lite::Regex::new(&pattern).map_err(|why| ExecutionError::function_error("matches", why))?;
        Ok::<bool, ExecutionError>(pattern.is_match(&text))
    })?;
    context.add_function("literal", |This(text): This<Arc<String>>| regex_lite::escape(&text))
}

/// `tried(kind)`, `tried(kind, detail)`: in how many attempts of this incident that was begun. `past.tried(kind)`: the same in earlier ones.
fn tried(here: &Value, this: &Value, args: &[Value]) -> Result<Value, ExecutionError> {
    let wrong = || ExecutionError::function_error("tried", "it takes a kind of action such as \"docker.restart\"");
    let words = |args: &[Value]| match args {
        [Value::String(kind)] => Ok((kind.clone(), None)),
        [Value::String(kind), Value::String(detail)] => Ok((kind.clone(), Some(detail.clone()))),
        _ => Err(wrong()),
    };
    let Value::List(incidents) = this else {
        let (kind, detail) = words(args)?;
        return Ok(Value::Int(attempts_with(here, &kind, detail.as_deref().map(String::as_str))));
    };
    // Called as a function, the list is an argument too.
    let args = if let Some(Value::List(_)) = args.first() { &args[1..] } else { args };
    let (kind, detail) = words(args)?;
    let count = |incident: &Value| {
        field(incident, "attempts").map_or(0, |a| attempts_with(a, &kind, detail.as_deref().map(String::as_str)))
    };
    Ok(Value::Int(incidents.iter().map(count).sum()))
}

fn attempts_with(attempts: &Value, kind: &str, detail: Option<&str>) -> i64 {
    let is = |value: Option<&Value>, text: &str| matches!(value, Some(Value::String(t)) if t.as_str() == text);
    let counts = |action: &&Value| {
        is(field(action, "kind"), kind)
            && matches!(field(action, "begun"), Some(Value::Bool(true)))
            && detail.is_none_or(|detail| is(field(action, "detail"), detail))
    };
    let begun =
        |attempt: &&Value| matches!(field(attempt, "actions"), Some(Value::List(actions)) if actions.iter().any(|a| counts(&a)));
    let Value::List(attempts) = attempts else { return 0 };
    i64::try_from(attempts.iter().filter(begun).count()).unwrap_or(i64::MAX)
}

fn field<'v>(value: &'v Value, name: &'static str) -> Option<&'v Value> {
    if let Value::Map(map) = value { map.get(&cel::objects::KeyRef::String(name)) } else { None }
}

/// `number(disk)`: the one number that a query found. `number(disk, 0.0)`: that, or the other when it found nothing.
fn number(this: &Value, args: &[Value]) -> Result<Value, ExecutionError> {
    let wrong = |why: String| Err(ExecutionError::function_error("number", why));
    let Value::List(samples) = this else {
        return wrong("it takes the answer to a `metrics` lookup".to_owned());
    };
    let args = if let Some(Value::List(_)) = args.first() { &args[1..] } else { args };
    match (samples.as_slice(), args) {
        ([sample], _) => match field(sample, "value") {
            Some(value) => Ok(value.clone()),
            None => wrong("it takes the answer to a `metrics` lookup".to_owned()),
        },
        ([], [default, ..]) => Ok(default.clone()),
        ([], []) => wrong("the query found nothing: write `number(NAME, 0.0)` if that means something".to_owned()),
        (many, _) => wrong(format!("the query found {} values instead of one", many.len())),
    }
}

/// An error of CEL for whoever wrote the condition.
pub fn explain(error: &ExecutionError, condition: &Condition) -> String {
    let text = match error {
        ExecutionError::NoSuchKey(key) => match condition.owner_of(key) {
            Some(owner) if owner == "labels" || owner == "annotations" => format!(
                "the alert has no {} `{key}`: write `{owner}.?{key}.orValue(\"\")` or `\"{key}\" in {owner}` if it may be missing",
                owner.trim_end_matches('s')
            ),
            Some(owner) => format!("`{owner}` has no `{key}`"),
            None => format!("there is no `{key}`"),
        },
        ExecutionError::NoSuchOverload(call) => {
            let types = call.argument_types().join(" and ");
            let name = call.function().trim_matches('_').trim_start_matches('@');
            format!("`{name}` cannot be applied to {types}")
        }
        ExecutionError::UnsupportedBinaryOperator(name, left, right) => {
            format!("`{name}` cannot be applied to {} and {}", left.type_of(), right.type_of())
        }
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("a {} cannot be compared to a {}", left.type_of(), right.type_of())
        }
        ExecutionError::FunctionError { function, message } => format!("`{function}(...)`: {message}"),
        other => other.to_string(),
    };
    text.chars().take(LONGEST).collect()
}
