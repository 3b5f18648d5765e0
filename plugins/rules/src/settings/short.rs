//! Things that can be written in full or as one word: `restart: {grace_seconds: 10}`, `restart: local/web`, or `restart:` alone.

use std::borrow::Cow;

use paramedic_policy::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::{Kill, Plain, Playbook, Silence, Stopping};

/// `T`, which can be written as one word too.
#[derive(Clone, Debug)]
pub struct Short<T>(pub T);

/// What one word means.
pub trait Word {
    /// The key it stands for; with `None`, nothing at all may be written as well.
    const KEY: Option<&'static str>;
}

impl Word for Stopping {
    const KEY: Option<&'static str> = None;
}
impl Word for Plain {
    const KEY: Option<&'static str> = None;
}
impl Word for Kill {
    const KEY: Option<&'static str> = Some("signal");
}
impl Word for Playbook {
    const KEY: Option<&'static str> = Some("name");
}
impl Word for Silence {
    const KEY: Option<&'static str> = Some("for");
}

impl<'de, T: Word + DeserializeOwned> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let full = match Value::deserialize(deserializer)? {
            word @ Value::String(_) => json!({ T::KEY.unwrap_or("target"): word }),
            Value::Null if T::KEY.is_none() => json!({}),
            full => full,
        };
        serde_json::from_value(full).map(Self).map_err(Error::custom)
    }
}

// One schema with several types instead of a choice of schemas: what is wrong with the full form is then said exactly.
impl<T: Word + JsonSchema> JsonSchema for Short<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Short{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let types = if T::KEY.is_none() { json!(["object", "string", "null"]) } else { json!(["object", "string"]) };
        schema.insert("type".to_owned(), types);
        schema
    }
}
