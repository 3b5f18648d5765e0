//! Texts with values in them: `restart ${target.name}`.
//!
//! What stands between `${` and `}` is CEL. Nothing that is filled in is read again: not as CEL, not as a placeholder, and where the text is a
//! language of its own (PromQL, matchers) it becomes one quoted string, whatever it holds.

use paramedic_policy::lookup::metrics::quote;

use cel::Value;

use crate::condition::Condition;
use crate::names::Names;
use crate::values::show;

/// A piece of a text.
#[derive(Debug)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// A value.
    Value(Condition),
}

/// Reads a text; `$${` stands for `${`.
///
/// # Errors
/// Says which placeholder is wrong.
pub fn parse(text: &str, names: &Names<'_>) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            plain.push_str(&rest[..at - 1]);
            plain.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        plain.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = closing(inside).ok_or_else(|| format!("`{}` has no closing brace", &rest[at..]))?;
        let source = &inside[..end];
        let condition = Condition::parse(source, names).map_err(|why| format!("`${{{source}}}`, {why}"))?;
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(Part::Value(condition));
        rest = &inside[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// Reads a text in which what is filled in becomes a quoted string or a number.
///
/// # Errors
/// As [`parse`], and when a placeholder stands between quotes: there it would end them.
pub fn parse_quoted(text: &str, names: &Names<'_>) -> Result<Vec<Part>, String> {
    let parts = parse(text, names)?;
    let mut open = None;
    for part in &parts {
        match part {
            Part::Text(text) => open = still_open(open, text),
            Part::Value(condition) if open.is_some() => {
                let source = &condition.source;
                return Err(format!(
                    "`${{{source}}}` stands between quotes: leave them out, since it brings its own; \
                     join texts inside it, such as `${{\"web-\" + labels.zone}}`"
                ));
            }
            Part::Value(_) => {}
        }
    }
    Ok(parts)
}

/// One value for a text that is read by people, or is a name.
pub fn plain(value: &Value) -> String {
    show(value)
}

/// One value for PromQL or a matcher.
///
/// # Errors
/// When it is neither text nor number.
pub fn quoted(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(quote(text)),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => Ok(show(value)),
        other => Err(format!("a {} cannot be filled in there; text and numbers can", other.type_of())),
    }
}

/// Where the brace is that closes the placeholder.
fn closing(inside: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' => quote = Some(c),
                '{' => depth += 1,
                '}' if depth == 0 => return Some(at),
                '}' => depth -= 1,
                _ => {}
            },
        }
    }
    None
}

/// Which quote is open after that text.
fn still_open(mut open: Option<char>, text: &str) -> Option<char> {
    let mut escaped = false;
    for c in text.chars() {
        match open {
            Some(_) if escaped => escaped = false,
            Some(quote) if c == '\\' && quote != '`' => escaped = true,
            Some(quote) if c == quote => open = None,
            None if matches!(c, '"' | '\'' | '`') => open = Some(c),
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(text: &str) -> Result<String, String> {
        let parts = parse_quoted(text, &Names::without_lookups())?;
        Ok(parts
            .iter()
            .map(|p| match p {
                Part::Text(t) => t.clone(),
                Part::Value(c) => format!("<{}>", c.source),
            })
            .collect())
    }

    #[test]
    fn placeholders_end_where_their_brace_does() {
        assert_eq!(told("a ${labels.x} b${{'}': \"}\"}['}']}").unwrap(), "a <labels.x> b<{'}': \"}\"}['}']>");
        assert_eq!(told("costs $5, $${x} and ${target.name}").unwrap(), "costs $5, ${x} and <target.name>");
        assert!(told("${labels.x").unwrap_err().contains("no closing brace"));
        assert!(told("${nope}").unwrap_err().starts_with("`${nope}`, column 1: there is no `nope`"));
    }

    #[test]
    fn what_is_filled_in_cannot_stand_between_quotes() {
        for wrong in [
            "up{job=\"${labels.job}\"}",
            "up{job='a' ,b='${labels.job}'}",
            "up{job=~`${labels.job}.*`}",
            "x{a=\"\\\"${labels.job}\"}",
        ] {
            assert!(told(wrong).unwrap_err().contains("leave them out"), "{wrong}");
        }
        assert!(told("up{job='it\\'s', b=${labels.job}}").is_ok());
    }

    #[test]
    fn hostile_text_stays_one_string() {
        let evil = Value::from("x\"} or vector(1) # ${labels.y}");
        assert_eq!(quoted(&evil).unwrap(), r#""x\"} or vector(1) # ${labels.y}""#);
        assert_eq!(quoted(&Value::Int(3)).unwrap(), "3");
        assert!(quoted(&Value::Null).is_err());
    }
}
