//! Who may say yes, and how long a yes is waited for: the part of a policy that `mode: approve` needs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// How a person is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approve {
    /// How long a yes or a no is waited for; then it escalates and nothing is done.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub within: Duration,
}

impl Default for Approve {
    fn default() -> Self {
        Self { within: Duration::from_secs(15 * 60) }
    }
}

/// A person of this machine, as its kernel and its files of users say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's number.
    pub uid: u32,
    /// The user's name, if the number has one.
    pub name: Option<String>,
    /// Names of the groups that the user is in.
    pub groups: Vec<String>,
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// Somebody who may say yes or no: a user's name, `uid 1000`, or `group ops`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approver {
    /// The user of this name.
    User(String),
    /// The user of this number.
    Uid(u32),
    /// Everybody in this group.
    Group(String),
}

impl Approver {
    /// Is this that person?
    pub fn is(&self, person: &Person) -> bool {
        match self {
            Self::User(name) => person.name.as_ref() == Some(name),
            Self::Uid(uid) => person.uid == *uid,
            Self::Group(name) => person.groups.contains(name),
        }
    }
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Approver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let named = |name: &str| is_name(name).then(|| name.to_owned());
        let approver = match words.as_slice() {
            ["uid" | "group"] => None,
            ["uid", uid] => uid.parse().ok().map(Self::Uid),
            ["group", name] => named(name).map(Self::Group),
            [name] => named(name).map(Self::User),
            _ => None,
        };
        approver.ok_or_else(|| {
            let text = text.escape_debug();
            serde::de::Error::custom(format!("`{text}` is nobody: write a user's name such as alice, `uid 1000` or `group ops`"))
        })
    }
}

/// What Linux' own tools accept as the name of a user or group; a bare number would be taken for a name by mistake.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '@' | '$' | '\\' | '+');
    text.chars().count() <= 64 && text.chars().all(allowed) && text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Approver, String> {
        serde_json::from_value(text.into()).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn an_approver_is_a_name_a_number_or_a_group_and_nothing_else() {
        let alice = Person { uid: 1000, name: Some("alice".to_owned()), groups: vec!["ops".to_owned()] };
        let nobody = Person { uid: 4242, name: None, groups: Vec::new() };
        for (text, is_alice, is_nobody) in [
            ("alice", true, false),
            ("bob", false, false),
            ("uid 1000", true, false),
            ("uid 4242", false, true),
            ("group ops", true, false),
            ("group alice", false, false),
            ("ops", false, false),
        ] {
            let approver = read(text).unwrap();
            assert_eq!((approver.is(&alice), approver.is(&nobody)), (is_alice, is_nobody), "{text}");
            assert_eq!(approver.to_string(), text);
        }
        for wrong in ["", "1000", "uid", "uid alice", "uid -1", "group", "alice bob", "group ops dev", "a:b", "al\u{1b}ice"] {
            assert!(read(wrong).unwrap_err().contains("is nobody"), "{wrong:?}");
        }
    }
}
