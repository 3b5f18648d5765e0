//! The YAML reader's errors in our own words: what is wrong, and what to do.

use serde_saphyr::Error;

use crate::telemetry::{clean, did_you_mean};

/// What an error is about, which decides where to point.
#[derive(Debug)]
pub(super) enum About {
    /// A key of a mapping.
    Key(String),
    /// A value.
    Value,
    /// The text as such: only the parser knows where.
    Syntax,
}

/// An error in our words.
#[derive(Debug)]
pub(super) struct Said {
    pub about: About,
    pub message: String,
    pub hint: Option<String>,
}

fn said(about: About, message: impl Into<String>, hint: Option<String>) -> Said {
    Said { about, message: message.into(), hint }
}

/// Explains one error.
pub(super) fn of(error: &Error) -> Said {
    match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            let message = format!("unknown key `{}`{}", clean(field, 80), did_you_mean(field, expected));
            said(About::Key(field.clone()), message, listed("known keys: ", expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let message = format!("`{}` is not possible here{}", clean(variant, 80), did_you_mean(variant, expected));
            said(About::Value, message, listed("write one of: ", expected))
        }
        Error::SerdeMissingField { field, .. } => {
            said(About::Value, format!("the key `{field}` is missing"), Some(format!("add a line `{field}: ...`")))
        }
        Error::DuplicateMappingKey { key, .. } => {
            let name = key.as_ref().map_or_else(|| "a key".to_owned(), |key| format!("the key `{}`", clean(key, 80)));
            said(About::Syntax, format!("{name} stands twice in one mapping"), Some("keep one of the two".to_owned()))
        }
        Error::SerdeInvalidType { unexpected, expected, .. } | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            said(About::Value, format!("expected {}, found {}", kind(expected), kind(unexpected)), None)
        }
        Error::InvalidBooleanStrict { .. } => {
            said(About::Value, "expected true or false", Some("yes, no, on and off are texts here".to_owned()))
        }
        Error::InvalidScalar { ty, .. } => said(About::Value, format!("expected {}", kind(ty)), None),
        Error::NullIntoString { .. } => {
            said(About::Value, "expected a text, found nothing", Some("write a value, or leave the key out".to_owned()))
        }
        Error::Unexpected { expected, .. } => {
            let hint =
                expected.starts_with("sequence").then(|| "write [a, b], or each item on a line of its own after `- `".to_owned());
            said(About::Value, format!("expected {}", kind(expected)), hint)
        }
        Error::UnknownAnchor { .. } => {
            said(About::Syntax, "this alias names no anchor", Some("a text that begins with * or & needs quotes".to_owned()))
        }
        Error::MultipleDocuments { .. } => {
            said(About::Syntax, "a second document begins here", Some("one file holds one document: remove the `---`".to_owned()))
        }
        // The use is where the author looks; what it stands for is explained there.
        Error::AliasError { error, .. } => of(error),
        Error::Message { msg, .. } if msg == "invalid socket address syntax" => {
            let hint = "write an IP address and a port, such as 127.0.0.1:5001 or [::1]:5001";
            said(About::Value, "this is not an address to listen on", Some(hint.to_owned()))
        }
        Error::Message { msg, .. } => {
            let (message, hint) = split_hint(msg);
            said(About::Value, message, hint)
        }
        other => said(About::Syntax, without_position(&other.to_string()), Some(syntax_hint(other))),
    }
}

fn syntax_hint(error: &Error) -> String {
    match error {
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } | Error::AliasExpansionLimitExceeded { .. } => {
            "the file is nested or aliased beyond every use: write it out plainly".to_owned()
        }
        _ => "look at indentation, quotes and brackets in this line and the one before it".to_owned(),
    }
}

/// Rooms say `what is wrong: write this`; the second half is a hint.
pub(super) fn split_hint(text: &str) -> (String, Option<String>) {
    let cut =
        [": write ", "; write ", ": use ", ": leave ", ": add ", ": give "].iter().filter_map(|marker| text.find(marker)).min();
    match cut {
        Some(at) => (text[..at].to_owned(), Some(text[at + 2..].to_owned())),
        None => (text.to_owned(), None),
    }
}

/// The parser ends many of its texts with the position that we print ourselves.
fn without_position(text: &str) -> String {
    let end = [" at line ", ": line ", " (line "].iter().filter_map(|marker| text.rfind(marker)).min().unwrap_or(text.len());
    text[..end].trim_end_matches([',', ':', ' ']).to_owned()
}

/// Serde's and the parser's names of kinds, for people.
fn kind(name: &str) -> String {
    let plain = match name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" | "boolean" => "true or false",
        "map" | "mapping" | "mapping start" | "a mapping" | "a map" => "a mapping (`key: value`)",
        "sequence" | "sequence start" | "a sequence" => "a list",
        "string" | "a string" | "string scalar" | "scalar" => "a text",
        "unit" | "unit value" | "null" | "a null" => "nothing",
        other if other.starts_with("struct ") => "a mapping (`key: value`)",
        other => other,
    };
    clean(plain, 200)
}

fn listed(lead: &str, names: &[&'static str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{lead}{}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_nearest_first() {
        assert_eq!(did_you_mean("modul", &["module", "mode", "name"]), ", did you mean `module` or `mode`?");
        assert_eq!(did_you_mean("zzz", &["module", "mode"]), "");
    }

    #[test]
    fn what_to_do_becomes_the_hint() {
        let (message, hint) = split_hint("`x` is no mode: write observe or enforce");
        assert_eq!((message.as_str(), hint.as_deref()), ("`x` is no mode", Some("write observe or enforce")));
        assert_eq!(split_hint("no: idea"), ("no: idea".to_owned(), None));
    }
}
