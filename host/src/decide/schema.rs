//! The JSON Schema of a plugin's settings, before anything is checked with it: a stranger wrote it, and it must neither fetch anything nor
//! keep the host busy.
//!
//! A schema can grow without end by referring to itself: thirty definitions that each name the next one twice are a thousand million
//! checks. So references are followed once, here, and what they unfold to is counted. Absent on purpose: references to
//! anything outside of the schema, and the rarer ways to refer (`$anchor`, `$dynamicRef`, `$id` inside), which nobody could count.

use std::collections::HashMap;

use serde_json::Value;

use crate::telemetry::clean;

/// Bytes of a schema.
pub(super) const MAX_BYTES: usize = 64 << 10;
/// Parts of a schema, each counted as often as references lead to it.
const MAX_PARTS: u64 = 20_000;
/// References that lead to one another; whoever follows them needs its stack for it.
const MAX_DEPTH: usize = 64;
/// Patterns of a schema; each is compiled when the plugin is loaded, and kept.
const MAX_PATTERNS: usize = 128;
/// Bytes that one compiled pattern may have.
const MAX_PATTERN_BYTES: usize = 256 << 10;
/// Keywords whose schemas are about the same value: a circle of these never ends.
const IN_PLACE: [&str; 9] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"];
/// Ways to refer that are not followed here.
const NOT_FOLLOWED: [&str; 6] = ["$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$anchor", "$id"];

/// Reads a schema; `None` if the text is empty. The error says why it cannot be used.
pub(super) fn read(text: &str) -> Result<Option<(Value, jsonschema::Validator)>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_BYTES {
        return Err(format!("it has {} bytes; {MAX_BYTES} are allowed", text.len()));
    }
    let schema: Value = serde_json::from_str(text).map_err(|e| clean(&format!("it is no JSON: {e}"), 300))?;
    Count { root: &schema, known: HashMap::new(), depth: 0, patterns: 0 }.whole()?;
    // A pattern is checked by the engine without backtracking: a plugin's schema must not be able to stall the host.
    let patterns = jsonschema::PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    let options = jsonschema::options().with_pattern_options(patterns);
    let validator = options.build(&schema).map_err(|error| {
        let place = error.instance_path().to_string();
        clean(&if place.is_empty() { error.to_string() } else { format!("at {place}: {error}") }, 300)
    })?;
    Ok(Some((schema, validator)))
}

/// What a reference leads to.
#[derive(Clone, Copy)]
enum Known {
    /// It is being followed.
    Following,
    /// It unfolds to so many parts.
    Parts(u64),
}

struct Count<'a> {
    root: &'a Value,
    known: HashMap<String, Known>,
    depth: usize,
    patterns: usize,
}

impl Count<'_> {
    fn whole(&mut self) -> Result<(), String> {
        if let Some(draft) = self.root.get("$schema").and_then(Value::as_str)
            && !draft.contains("draft-07")
            && !draft.contains("2020-12")
        {
            return Err(format!("its `$schema` is {}; draft-07 and 2020-12 are known", clean(draft, 100)));
        }
        self.follow("")?;
        let places: Vec<String> = self.known.keys().cloned().collect();
        let mut ended = HashMap::new();
        places.iter().try_for_each(|pointer| self.ends(pointer, &mut ended))
    }

    /// Whether what a pointer leads to comes to an end, without going deeper into the settings; `ended` holds what is known of others,
    /// false while it is being followed.
    fn ends(&self, pointer: &str, ended: &mut HashMap<String, bool>) -> Result<(), String> {
        match ended.get(pointer) {
            Some(true) => return Ok(()),
            Some(false) => return Err(format!("`#{}` leads to itself without end", clean(pointer, 100))),
            None => {}
        }
        ended.insert(pointer.to_owned(), false);
        if let Some(schema) = self.root.pointer(pointer) {
            self.ends_here(schema, ended)?;
        }
        ended.insert(pointer.to_owned(), true);
        Ok(())
    }

    fn ends_here(&self, schema: &Value, ended: &mut HashMap<String, bool>) -> Result<(), String> {
        let Value::Object(map) = schema else { return Ok(()) };
        if let Some(pointer) = map.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')) {
            self.ends(pointer, ended)?;
        }
        for value in IN_PLACE.iter().filter_map(|key| map.get(*key)) {
            match value {
                Value::Array(list) => list.iter().try_for_each(|schema| self.ends_here(schema, ended))?,
                // `dependentSchemas` has schemas by name, `not` and the others are one; both are looked through.
                Value::Object(inner) => {
                    self.ends_here(value, ended)?;
                    inner.values().try_for_each(|schema| self.ends_here(schema, ended))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Parts of what lies at a JSON pointer.
    fn follow(&mut self, pointer: &str) -> Result<u64, String> {
        match self.known.get(pointer) {
            Some(Known::Parts(parts)) => return Ok(*parts),
            // A tree of settings: it goes on only as deep as the settings do.
            Some(Known::Following) => return Ok(1),
            None => {}
        }
        let root = self.root;
        let Some(schema) = root.pointer(pointer) else {
            return Err(format!("there is no `#{}` in it", clean(pointer, 100)));
        };
        if self.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} references lead to one another"));
        }
        self.known.insert(pointer.to_owned(), Known::Following);
        self.depth += 1;
        let parts = self.parts(schema, pointer.is_empty())?;
        self.depth -= 1;
        self.known.insert(pointer.to_owned(), Known::Parts(parts));
        Ok(parts)
    }

    fn parts(&mut self, schema: &Value, top: bool) -> Result<u64, String> {
        let mut sum = 1_u64;
        match schema {
            Value::Array(list) => {
                for item in list {
                    sum = sum.saturating_add(self.parts(item, false)?);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    sum = sum.saturating_add(self.part(key, value, top)?);
                }
            }
            _ => {}
        }
        if sum > MAX_PARTS {
            return Err(format!("its references unfold to more than {MAX_PARTS} parts"));
        }
        Ok(sum)
    }

    fn part(&mut self, key: &str, value: &Value, top: bool) -> Result<u64, String> {
        match (key, value) {
            ("$ref", Value::String(reference)) => {
                let pointer = reference.strip_prefix('#').filter(|p| (p.is_empty() || p.starts_with('/')) && !p.contains('%'));
                let Some(pointer) = pointer else {
                    let reference = clean(reference, 100);
                    return Err(format!(
                        "its `$ref` is `{reference}`; only places in the schema itself can be referred to, such as `#/$defs/name`"
                    ));
                };
                self.follow(pointer)
            }
            (key, Value::String(_)) if NOT_FOLLOWED.contains(&key) && !(top && key == "$id") => {
                Err(format!("it uses `{key}`; refer to places in the schema itself, such as `#/$defs/name`"))
            }
            ("$schema", Value::String(_)) if !top => Err("it has a `$schema` inside".to_owned()),
            ("pattern", Value::String(_)) => self.pattern(1),
            ("patternProperties", Value::Object(map)) => Ok(self.pattern(map.len())?.saturating_add(self.parts(value, false)?)),
            _ => self.parts(value, false),
        }
    }

    fn pattern(&mut self, more: usize) -> Result<u64, String> {
        self.patterns += more;
        if self.patterns > MAX_PATTERNS {
            return Err(format!("it has more than {MAX_PATTERNS} patterns"));
        }
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(text: &str) -> String {
        read(text).err().unwrap_or_else(|| unreachable!("{text} was accepted"))
    }

    /// Definitions of which each one names the next one twice.
    fn doubling(levels: usize, keyword: &str) -> String {
        let define =
            |n: usize| format!(r##""d{n}": {{"{keyword}": [{{"$ref": "#/$defs/d{0}"}}, {{"$ref": "#/$defs/d{0}"}}]}}"##, n + 1);
        let defs: Vec<_> = (0..levels).map(define).collect();
        format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{}, "d{levels}": true}}}}"##, defs.join(", "))
    }

    #[test]
    fn a_schema_that_unfolds_without_end_is_refused() {
        for keyword in ["allOf", "anyOf", "oneOf", "prefixItems"] {
            assert_eq!(refused(&doubling(40, keyword)), "its references unfold to more than 20000 parts");
            assert!(read(&doubling(5, keyword)).is_ok());
        }
        let circle =
            r##"{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}"##;
        assert!(refused(circle).ends_with("leads to itself without end"), "{}", refused(circle));
        assert_eq!(refused(r##"{"$ref": "#"}"##), "`#` leads to itself without end");
        assert_eq!(refused(r##"{"allOf": [{"$ref": "#"}]}"##), "`#` leads to itself without end");
        // A tree goes on only as deep as the settings do.
        let tree = r##"{"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}"##;
        let (_, tree) = read(tree).unwrap().unwrap();
        assert!(tree.is_valid(&serde_json::json!({"left": {"right": {}}})) && !tree.is_valid(&serde_json::json!({"left": 3})));
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let chain = |links: usize| {
            let defs: Vec<_> = (0..links).map(|n| format!(r##""d{n}": {{"$ref": "#/$defs/d{}"}}"##, n + 1)).collect();
            format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{}, "d{links}": true}}}}"##, defs.join(", "))
        };
        assert_eq!(refused(&chain(1_500)), "more than 64 references lead to one another");
        assert!(read(&chain(50)).unwrap().unwrap().1.is_valid(&Value::Null));
    }

    #[test]
    fn nothing_outside_of_the_schema_is_referred_to() {
        for reference in [
            "http://169.254.169.254/latest/meta-data",
            "https://example.com/x",
            "file:///etc/passwd",
            "other.json",
            "#name",
            "#/a%20b",
        ] {
            let said = refused(&format!(r#"{{"properties": {{"a": {{"$ref": "{reference}"}}}}}}"#));
            assert!(said.contains(reference) && said.contains("only places in the schema itself"), "{said}");
        }
        assert_eq!(refused(r##"{"$ref": "#/nowhere"}"##), "there is no `#/nowhere` in it");
        assert!(refused(r##"{"properties": {"a": {"$id": "http://169.254.169.254/"}}}"##).starts_with("it uses `$id`"));
        assert!(refused(r##"{"$dynamicRef": "#x"}"##).starts_with("it uses `$dynamicRef`"));
        assert!(refused(r#"{"$schema": "http://json-schema.org/draft-04/schema#"}"#).contains("draft-07 and 2020-12"));
        for draft in ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"] {
            assert!(read(&format!(r#"{{"$schema": "{draft}", "$id": "https://example.com/mine", "type": "object"}}"#)).is_ok());
        }
        assert!(read(r#"{"properties": {"$id": {"type": "string"}, "id": {"type": "string"}}}"#).is_ok());
    }

    #[test]
    fn patterns_are_few_and_small() {
        let many: Vec<_> = (0..200).map(|n| format!(r#""p{n}": {{"pattern": "a"}}"#)).collect();
        assert_eq!(refused(&format!(r#"{{"properties": {{{}}}}}"#, many.join(","))), "it has more than 128 patterns");
        assert!(!refused(r#"{"pattern": "((a{100}){100}){100}"}"#).is_empty());
        let (_, slow) = read(r#"{"pattern": "^(a+)+$"}"#).unwrap().unwrap();
        let began = std::time::Instant::now();
        assert!(!slow.is_valid(&Value::String("a".repeat(5000) + "b")));
        assert!(began.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for broken in ["{", "3", r#"{"type": 3}"#, r#"{"pattern": "("}"#] {
            assert!(read(broken).is_err(), "{broken}");
        }
        let large = format!(r#"{{"description": "{}"}}"#, "x".repeat(MAX_BYTES));
        assert_eq!(refused(&large), format!("it has {} bytes; 65536 are allowed", large.len()));
        let deep = format!("{}true{}", r#"{"not":"#.repeat(5_000), "}".repeat(5_000));
        assert!(refused(&deep).contains("recursion limit"));
        assert!(read(" \n").unwrap().is_none());
    }
}
