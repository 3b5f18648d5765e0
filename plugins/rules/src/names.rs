//! The names that conditions may use, and their fields.

use std::collections::BTreeMap;
use std::fmt;

use crate::settings::Lookup;

/// What is always there.
pub const VARIABLES: [&str; 9] =
    ["alert", "annotations", "attempts", "labels", "now", "target", "targets", "trigger", "what_was_tried"];

/// Functions and methods, those of CEL included. Macros are not among them: the parser has replaced them.
pub const FUNCTIONS: [&str; 37] = [
    "answered",
    "problem",
    "tried",
    "number",
    "duration",
    "matches",
    "literal",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "type",
    "dyn",
    "lowerAscii",
    "upperAscii",
    "trim",
    "split",
    "join",
    "replace",
    "indexOf",
    "lastIndexOf",
    "substring",
    "charAt",
    "format",
    "reverse",
    "of",
    "none",
    "orValue",
    "or",
    "hasValue",
    "bytes",
    "ofNonZeroValue",
];

/// Names of types, as `type(x) == string` uses them.
pub const TYPES: [&str; 9] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

const ALERT: &[&str] = &["name", "status", "source", "age", "url"];
const TARGET: &[&str] = &["name", "container", "host", "state", "down", "inventory_host"];
const NOW: &[&str] = &["date", "time", "hour", "weekday", "unix"];
const CONTAINER: &[&str] =
    &["name", "id", "image", "state", "health", "exit_code", "restart_count", "up_for", "down_for", "labels"];

/// The names that are there in one place.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    lookups: Option<&'a BTreeMap<String, Lookup>>,
}

impl<'a> Names<'a> {
    /// Those of a condition: the lookups are among them.
    pub fn with(lookups: &'a BTreeMap<String, Lookup>) -> Self {
        Self { lookups: Some(lookups) }
    }

    /// Those of a lookup: it cannot depend on another one.
    pub fn without_lookups() -> Self {
        Self { lookups: None }
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<&'a Lookup> {
        self.lookups.and_then(|lookups| lookups.get(name))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        VARIABLES.contains(&name) || self.lookup(name).is_some()
    }

    /// The fields of that name, if they are known.
    pub(crate) fn fields(&self, name: &str) -> Option<&'static [&'static str]> {
        match name {
            "alert" => Some(ALERT),
            "target" => Some(TARGET),
            "now" => Some(NOW),
            _ => match self.lookup(name)? {
                Lookup::Container(_) => Some(CONTAINER),
                _ => None,
            },
        }
    }

    /// The lookups, in words.
    pub(crate) fn lookups(&self) -> String {
        let names: Vec<&str> = self.lookups.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&VARIABLES.join(", "))?;
        match self.lookups {
            Some(lookups) if !lookups.is_empty() => write!(f, ", and the lookups {}", self.lookups()),
            Some(_) => f.write_str(", and no lookups"),
            None => f.write_str("; a lookup cannot use another one"),
        }
    }
}
