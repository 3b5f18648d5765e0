//! Variables of a playbook as an operator writes them in settings: values, or where to take them from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use crate::incident::{Incident, Target};

/// Names of variables and what they are:
///
/// ```yaml
/// variables:
///   retries: 3                       # a value: text, number, true, false, null or a list
///   service: {label: service}        # the alert's label of that name
///   container: {target: container}   # `web` of the target `local/web`; `{target: name}` is all of it
///   options: {value: {verbose: true}}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Variables(pub BTreeMap<String, Variable>);

/// One variable, or where to take it from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Variable {
    /// This.
    Value(Value),
    /// The alert's label of that name.
    Label(String),
    /// The target the playbook is about.
    Target(TargetPart),
}

/// Which part of a target's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetPart {
    /// All of it, `local/web`.
    Name,
    /// The container, `web`.
    Container,
}

/// The forms that are written as an object.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Form {
    /// The alert's label of that name.
    Label(String),
    /// A part of the target's name.
    Target(TargetPart),
    /// This value, an object for instance.
    Value(Value),
}

impl TryFrom<Value> for Variable {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if !value.is_object() {
            return Ok(Self::Value(value));
        }
        let hint = "write {label: NAME}, {target: name}, {target: container} or {value: ...}";
        match serde_json::from_value(value).map_err(|e| format!("{e}: {hint}"))? {
            Form::Label(name) => Ok(Self::Label(name)),
            Form::Target(part) => Ok(Self::Target(part)),
            Form::Value(value) => Ok(Self::Value(value)),
        }
    }
}

impl JsonSchema for Variable {
    fn schema_name() -> Cow<'static, str> {
        "Variable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let form = generator.subschema_for::<Form>();
        json_schema!({ "anyOf": [{ "type": ["string", "number", "boolean", "array", "null"] }, form] })
    }
}

impl Variables {
    /// The values for this incident and target.
    ///
    /// # Errors
    /// A sentence for the engineer on call when the alert lacks a label.
    pub fn resolve(&self, incident: &Incident, target: &Target) -> Result<Vec<(String, Value)>, String> {
        let value = |name: &String, variable: &Variable| match variable {
            Variable::Value(value) => Ok(value.clone()),
            Variable::Label(label) => incident
                .get_label(label)
                .map(Value::from)
                .ok_or_else(|| format!("variable `{name}` is the alert's label `{label}`, which this alert does not have")),
            Variable::Target(TargetPart::Name) => Ok(target.name.as_str().into()),
            Variable::Target(TargetPart::Container) => Ok(target.container().into()),
        };
        self.0.iter().map(|(name, variable)| Ok((name.clone(), value(name, variable)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn parse(value: Value) -> Result<Variables, String> {
        serde_json::from_value(value).map_err(|e| e.to_string())
    }

    #[test]
    fn takes_values_labels_and_parts_of_the_target() {
        let variables = parse(json!({
            "retries": 3, "list": ["a", {"b": 1}], "container": {"target": "container"}, "target": {"target": "name"},
            "service": {"label": "service"}, "options": {"value": {"label": "kept"}},
        }));
        let incident = Incident::firing("WebDown").label("service", "{{ evil }}");
        let resolved: BTreeMap<_, _> = variables.unwrap().resolve(&incident, &"local/web".into()).unwrap().into_iter().collect();
        assert_eq!(
            json!(resolved),
            json!({
                "retries": 3, "list": ["a", {"b": 1}], "container": "web", "target": "local/web",
                "service": "{{ evil }}", "options": {"label": "kept"},
            })
        );
    }

    #[test]
    fn a_label_that_is_missing_is_named() {
        let variables = parse(json!({ "service": { "label": "svc" } })).unwrap();
        let error = variables.resolve(&Incident::firing("WebDown"), &"local/web".into()).unwrap_err();
        assert_eq!(error, "variable `service` is the alert's label `svc`, which this alert does not have");
    }

    #[test]
    fn any_other_object_is_refused_with_what_to_write() {
        for wrong in
            [json!({"lable": "x"}), json!({}), json!({"label": 3}), json!({"target": "id"}), json!({"label": "a", "value": 1})]
        {
            let error = parse(json!({ "service": wrong })).unwrap_err();
            assert!(error.contains("write {label: NAME}"), "{error}");
        }
    }
}
