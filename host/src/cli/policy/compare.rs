//! What was expected and what came: the differences, said so that an author sees at a glance what to change.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::cases::{Case, Pattern, Word, millis};
use crate::action::{Kind, Proposal};
use crate::clock::spell_duration;
use crate::decide::question::{Failure, Ruling};
use crate::incident::Decision;
use crate::telemetry::clean;

/// Characters of a text that are shown.
const SHOWN: usize = 600;

/// The fields of an action.
type Fields = BTreeMap<String, Value>;

/// The fields that each kind of action has; the first one says what it is done to.
fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::DockerRestart | Kind::DockerStop => &["target", "grace_seconds"],
        Kind::DockerStart | Kind::DockerPause | Kind::DockerUnpause => &["target"],
        Kind::DockerKill => &["target", "signal"],
        Kind::AnsiblePlaybook => &["about", "name", "host", "variables", "tags", "check"],
        Kind::Silence => &["about", "matchers", "duration", "comment"],
        Kind::ExpireSilence => &["about", "id"],
        Kind::Notify => &["about", "channel", "text"],
    }
}

/// Texts for people: compared only where they are given, and then as a reason is.
const TEXTS: [&str; 2] = ["comment", "text"];

/// Can this be an expected action? One kind with fields that it has.
pub(super) fn is_action(written: &BTreeMap<String, Fields>) -> Result<(), (String, String)> {
    let hint = || {
        format!(
            "write for instance `docker.restart: {{target: local/web}}`; the kinds are {}",
            Kind::ALL.map(Kind::word).join(", ")
        )
    };
    let [(word, given)] = written.iter().collect::<Vec<_>>()[..] else {
        return Err((format!("an action is of one kind, and here are {}", written.len()), hint()));
    };
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.word() == word) else {
        return Err((format!("`{word}` is no kind of action"), hint()));
    };
    let known = fields(kind);
    if let Some(unknown) = given.keys().find(|key| !known.contains(&key.as_str())) {
        return Err((format!("{word} has no `{unknown}`"), format!("it has {}", known.join(", "))));
    }
    if !given.contains_key(known[0]) {
        return Err((format!("{word} needs `{}`", known[0]), format!("write `{word}: {{{}: local/web}}`", known[0])));
    }
    let text = |key: &str| given.get(key).and_then(Value::as_str);
    if given.contains_key("duration") && text("duration").and_then(millis).is_none() {
        return Err(("`duration` is no length of time".to_owned(), "write for instance 30m or 2h".to_owned()));
    }
    for key in TEXTS {
        if let Some(Err(why)) = text(key).map(Pattern::parse) {
            return Err((
                format!("`{key}` is no regular expression: {why}"),
                "leave the slashes out to look for a plain text".to_owned(),
            ));
        }
    }
    Ok(())
}

/// A proposal in the words of a case, without what is left at its default.
fn told(proposal: &Proposal) -> (Kind, Fields) {
    let mut fields = Fields::new();
    let mut put = |key: &str, value: Value| {
        let empty = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            _ => false,
        };
        if !empty {
            fields.insert(key.to_owned(), value);
        }
    };
    match proposal {
        Proposal::Docker { target, grace_seconds, signal, .. } => {
            put("target", json!(target));
            put("grace_seconds", json!(grace_seconds));
            put("signal", json!(signal));
        }
        Proposal::Playbook { name, about, host, variables, tags, check } => {
            // A value is JSON text; one that is none is shown as it is, and refused when it is authorised.
            let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| json!(format!("(no JSON) {text}")));
            let variables: serde_json::Map<String, Value> = variables.iter().map(|(n, text)| (n.clone(), value(text))).collect();
            put("about", json!(about));
            put("name", json!(name));
            put("host", json!(host));
            put("variables", Value::Object(variables));
            put("tags", json!(tags));
            put("check", json!(check));
        }
        Proposal::Silence { about, matchers, millis, comment } => {
            let matchers: Vec<String> = matchers.iter().map(|m| format!("{}{}{}", m.name, m.op, json!(m.value))).collect();
            put("about", json!(about));
            put("matchers", json!(matchers));
            put("duration", json!(spell_duration(Duration::from_millis(*millis))));
            put("comment", json!(comment));
        }
        Proposal::ExpireSilence { about, id } => {
            put("about", json!(about));
            put("id", json!(id));
        }
        Proposal::Notify { about, channel, text } => {
            put("about", json!(about));
            put("channel", json!(channel));
            put("text", json!(text));
        }
    }
    (proposal.kind(), fields)
}

/// Is this what was expected?
fn is_same(expected: (&str, &Fields), got: (Kind, &Fields)) -> bool {
    let same = |key: &&str| match (expected.1.get(*key), got.1.get(*key)) {
        (None, None) => true,
        (None, Some(_)) => TEXTS.contains(key),
        (Some(Value::String(text)), Some(Value::String(said))) if TEXTS.contains(key) => {
            Pattern::parse(text).is_ok_and(|pattern| pattern.fits(said))
        }
        (Some(Value::String(text)), Some(Value::String(said))) if *key == "duration" => millis(text) == millis(said),
        (Some(value), None) => matches!(value, Value::Null | Value::Bool(false)),
        (Some(value), said) => Some(value) == said,
    };
    expected.0 == got.0.word() && fields(got.0).iter().all(same)
}

fn shown(kind: &str, fields: &Fields) -> String {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    clean(&format!("{kind}: {{{}}}", fields.join(", ")), SHOWN)
}

/// What a plugin answered, as its word and its text.
fn answer(ruling: &Ruling) -> (Word, String) {
    match &ruling.decision {
        Ok(decision) => {
            let word = match decision {
                Decision::Pass { .. } => Word::Pass,
                Decision::Ignore { .. } => Word::Ignore,
                Decision::Act { .. } => Word::Act,
                Decision::Wait { .. } => Word::Wait,
                Decision::Escalate { .. } => Word::Escalate,
            };
            (word, decision.reason().to_owned())
        }
        Err(Failure::Error(text)) => (Word::Error, text.clone()),
        Err(failure) => (Word::Error, failure.to_string()),
    }
}

/// All differences between what a case expects and what came; empty when there is none.
pub(super) fn differences(case: &Case, ruling: &Ruling) -> Vec<String> {
    let (word, reason) = answer(ruling);
    let mut found = Vec::new();
    let expect = &case.expect;
    if word != expect.decision {
        found.push(format!("- decision: {}", expect.decision.as_str()));
        found.push(format!("+ decision: {} ({})", word.as_str(), clean(&reason, SHOWN)));
        return found;
    }
    if let Some(pattern) = expect.reason.as_ref().filter(|pattern| !pattern.fits(&reason)) {
        found.push(format!("- reason: {}", clean(&pattern.shown(), SHOWN)));
        found.push(format!("+ reason: {}", clean(&reason, SHOWN)));
    }
    if let (Some(length), Ok(Decision::Wait { millis, .. })) = (expect.length, &ruling.decision) {
        let got = Duration::from_millis(*millis);
        if got != length {
            found.push(format!("- for: {}", spell_duration(length)));
            found.push(format!("+ for: {}", spell_duration(got)));
        }
    }
    if let (Some(expected), Ok(Decision::Act { proposals, .. })) = (&expect.actions, &ruling.decision) {
        found.extend(different_actions(expected, proposals));
    }
    found
}

fn different_actions(expected: &[BTreeMap<String, Fields>], proposals: &[Proposal]) -> Vec<String> {
    let got: Vec<(Kind, Fields)> = proposals.iter().map(told).collect();
    let expected: Vec<(&str, &Fields)> =
        expected.iter().flat_map(|one| one.iter().map(|(kind, fields)| (kind.as_str(), fields))).collect();
    let mut found = Vec::new();
    for i in 0..expected.len().max(got.len()) {
        let (wanted, came) = (expected.get(i), got.get(i));
        if let (Some(wanted), Some((kind, fields))) = (wanted, came)
            && is_same(*wanted, (*kind, fields))
        {
            continue;
        }
        found.extend(wanted.map(|(kind, fields)| format!("- action {}: {}", i + 1, shown(kind, fields))));
        found.extend(came.map(|(kind, fields)| format!("+ action {}: {}", i + 1, shown(kind.word(), fields))));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::action::{DockerVerb, ProposedMatcher};

    fn expected(yaml: &str) -> BTreeMap<String, Fields> {
        serde_json::from_str(yaml).unwrap()
    }

    fn differ(wanted: &str, proposal: Proposal) -> Vec<String> {
        different_actions(&[expected(wanted)], &[proposal])
    }

    fn restart(grace_seconds: Option<u32>) -> Proposal {
        Proposal::Docker { verb: DockerVerb::Restart, target: "local/web".into(), grace_seconds, signal: None }
    }

    #[test]
    fn what_is_left_out_has_to_be_at_its_default() {
        assert!(differ(r#"{"docker.restart": {"target": "local/web"}}"#, restart(None)).is_empty());
        let found = differ(r#"{"docker.restart": {"target": "local/web"}}"#, restart(Some(10)));
        assert_eq!(
            found,
            [
                r#"- action 1: docker.restart: {target: "local/web"}"#,
                r#"+ action 1: docker.restart: {grace_seconds: 10, target: "local/web"}"#
            ]
        );
        assert!(!differ(r#"{"docker.restart": {"target": "local/web", "grace_seconds": 10}}"#, restart(None)).is_empty());
        assert!(!differ(r#"{"docker.stop": {"target": "local/web"}}"#, restart(None)).is_empty());
        assert_eq!(different_actions(&[], &[restart(None)]).len(), 1, "one too many");
    }

    #[test]
    fn variables_are_values_and_texts_are_looked_into() {
        let playbook = Proposal::Playbook {
            name: "fix.yml".into(),
            about: "local/web".into(),
            host: None,
            variables: vec![("n".into(), "3".into())],
            tags: vec![],
            check: false,
        };
        let wanted = r#"{"ansible.playbook": {"about": "local/web", "name": "fix.yml", "variables": {"n": 3}, "check": false}}"#;
        assert!(differ(wanted, playbook).is_empty());
        let silence = Proposal::Silence {
            about: "local/web".into(),
            matchers: vec![ProposedMatcher { name: "alertname".into(), op: "=".into(), value: "Web \"Down\"".into() }],
            millis: 7_200_000,
            comment: "healing since noon".into(),
        };
        let wanted = r#"{"alertmanager.silence": {"about": "local/web", "matchers": ["alertname=\"Web \\\"Down\\\"\""], "duration": "120m", "comment": "/since .*n$/"}}"#;
        assert_eq!(differ(wanted, silence), Vec::<String>::new());
    }

    #[test]
    fn what_could_never_be_proposed_is_refused_when_it_is_read() {
        let why = |text: &str| is_action(&expected(text)).unwrap_err().0;
        assert_eq!(why(r#"{"docker.reboot": {}}"#), "`docker.reboot` is no kind of action");
        assert_eq!(why(r#"{"docker.start": {"target": "a/b", "grace_seconds": 1}}"#), "docker.start has no `grace_seconds`");
        assert_eq!(why(r#"{"docker.start": {}}"#), "docker.start needs `target`");
        assert_eq!(why("{}"), "an action is of one kind, and here are 0");
        assert!(why(r#"{"notify.send": {"about": "a/b", "text": "/(/"}}"#).contains("no regular expression"));
    }
}
