//! One rule: when, and exactly one decision beside it.

use std::borrow::Cow;

use paramedic_policy::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, json};

use super::{Length, Step};

/// One rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Rule {
    /// What goes around the decision.
    pub head: Head,
    /// The decision.
    pub what: What,
}

/// What can be written beside the decision.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Head {
    /// A name, for messages.
    pub name: Option<String>,
    /// When the rule holds, in CEL; not given: always.
    pub when: Option<String>,
    /// How often at most the rule acts on one target in one incident, the same done by other rules included; 1 if not given. Then the next rules are tried.
    #[schemars(range(min = 1, max = 100))]
    pub times: Option<usize>,
    /// Why, for the engineer on call; `${...}` is filled in. With `ignore`, `escalate` and `pass` the reason is their own text.
    pub reason: Option<String>,
}

/// A rule's decision.
#[derive(Clone, Debug)]
pub enum What {
    /// Do these things.
    Act(Vec<Step>),
    /// Something else.
    Judge(Judgement),
}

/// A decision that is not a single action.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Several things in their order, about one target; the first that fails ends the attempt.
    Act(#[schemars(length(min = 1, max = 16))] Vec<Step>),
    /// Ask again after that time, such as `5m`, or when the alert is over. Needs `when`, or it would wait for ever.
    Wait(Length),
    /// There is nothing to do; the text says why.
    Ignore(String),
    /// A person has to look; the text says why.
    Escalate(String),
    /// Not for this policy: the next one is asked; the text says why.
    Pass(String),
}

const HEAD: [&str; 4] = ["name", "when", "times", "reason"];
const JUDGEMENTS: [&str; 5] = ["act", "wait", "ignore", "escalate", "pass"];
/// What a rule may decide, for messages.
const ONE_OF: &str =
    "restart, start, stop, pause, unpause, kill, playbook, silence, expire_silences, notify, act, wait, ignore, escalate, pass";

impl TryFrom<Map<String, Value>> for Rule {
    type Error = String;

    fn try_from(written: Map<String, Value>) -> Result<Self, String> {
        let (head, rest): (Map<_, _>, Map<_, _>) = written.into_iter().partition(|(key, _)| HEAD.contains(&key.as_str()));
        let mut keys = rest.keys();
        let what = match (keys.next().cloned(), keys.next()) {
            (None, _) => return Err(format!("a rule decides nothing: it needs one of {ONE_OF}")),
            (Some(one), Some(two)) => {
                return Err(format!(
                    "a rule has both `{one}` and `{two}`: it needs exactly one of {ONE_OF}; several things to do are written as `act: [...]`"
                ));
            }
            (Some(key), None) if JUDGEMENTS.contains(&key.as_str()) => match from_value(Value::Object(rest))? {
                Judgement::Act(steps) => What::Act(steps),
                other => What::Judge(other),
            },
            (Some(_), None) => What::Act(vec![from_value(Value::Object(rest))?]),
        };
        Ok(Self { head: from_value(Value::Object(head))?, what })
    }
}

fn from_value<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}

/// One object with all keys that a rule can have, of which exactly one decides.
impl JsonSchema for Rule {
    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = Map::new();
        if let Some(Value::Object(head)) = Head::json_schema(generator).get("properties") {
            properties.extend(head.clone());
        }
        let decisions = [Judgement::json_schema(generator), Step::json_schema(generator)].into_iter().flat_map(choices);
        let decisions: Map<String, Value> = decisions.collect();
        let exactly_one: Vec<Value> = decisions.keys().map(|key| json!({ "required": [key] })).collect();
        properties.extend(decisions);
        json_schema!({
            "type": "object",
            "description": "When, and exactly one decision.",
            "properties": properties,
            "additionalProperties": false,
            "oneOf": exactly_one,
            "errorMessage": format!("a rule needs exactly one of {ONE_OF}; several things to do are written as `act: [...]`"),
        })
    }
}

/// The keys of an enum that is written as an object with one key, each with its schema and what it means.
fn choices(schema: Schema) -> Vec<(String, Value)> {
    let Some(Value::Array(choices)) = schema.get("oneOf") else { return Vec::new() };
    let choice = |choice: &Value| {
        let (key, value) = choice.get("properties")?.as_object()?.iter().next()?;
        let mut value = value.clone();
        if let (Some(object), Some(text)) = (value.as_object_mut(), choice.get("description")) {
            object.insert("description".to_owned(), text.clone());
        }
        Some((key.clone(), value))
    };
    choices.iter().filter_map(choice).collect()
}
