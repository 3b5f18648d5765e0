//! What a plugin answers: every decision, and every proposal with every option.

use paramedic::action::{DockerVerb, Proposal, ProposedMatcher};
use paramedic::incident::Decision;
use serde_json::{Value, json};

use super::telling::STRANGE;
use super::{Case, Expected, Language, Outcome, Says, brief};

const WEB: &str = "local/web";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = decisions();
    for (name, wanted, proposal) in proposals() {
        let expected = Outcome::of(Decision::Act { reason: "because".to_owned(), proposals: vec![proposal] });
        let settings = json!({"decision": {"answer": "act", "reason": "because", "proposals": [wanted]}});
        cases.push(case(name, settings, Expected::Same(expected)));
    }
    cases.extend([in_their_order(), many(16), many(17), many(0), many(65)]);
    cases.extend(long_silences());
    cases
}

fn case(name: &str, settings: Value, expected: Expected) -> Case {
    Case { name: name.to_owned(), brief: brief(settings), lookups: Vec::new(), expected }
}

fn decisions() -> Vec<Case> {
    let says = |name: &str, decision: Value, expected: Decision| {
        case(name, json!({ "decision": decision }), Expected::Same(Outcome::of(expected)))
    };
    let reason = || "it is so".to_owned();
    let wait = |name: &str, ms: &str, millis: u64| {
        says(name, json!({"answer": "wait", "reason": reason(), "ms": ms}), Decision::Wait { reason: reason(), millis })
    };
    let shown = paramedic::telemetry::clean(STRANGE, 2000);
    vec![
        says("pass", json!({"answer": "pass", "reason": reason()}), Decision::Pass { reason: reason() }),
        says("ignore", json!({"answer": "ignore", "reason": reason()}), Decision::Ignore { reason: reason() }),
        says("escalate", json!({"answer": "escalate", "reason": reason()}), Decision::Escalate { reason: reason() }),
        says("a reason of strange text", json!({"answer": "pass", "reason": STRANGE}), Decision::Pass { reason: shown }),
        says("no reason", json!({"answer": "pass", "reason": ""}), Decision::Pass { reason: "(it gave no reason)".to_owned() }),
        says(
            "a reason that is too long",
            json!({"answer": "ignore", "reason": "漢".repeat(5000)}),
            Decision::Ignore { reason: format!("{}…", "漢".repeat(1999)) },
        ),
        wait("wait", "90000", 90_000),
        wait("a wait that is too short", "0", 1000),
        wait("a wait that is too long", "9007199254740993", 86_400_000),
        wait("a wait without end", "forever", 86_400_000),
    ]
}

fn docker(verb: DockerVerb, grace_seconds: Option<u32>, signal: Option<&str>) -> Proposal {
    Proposal::Docker { verb, target: WEB.to_owned(), grace_seconds, signal: signal.map(str::to_owned) }
}

fn proposals() -> Vec<(&'static str, Value, Proposal)> {
    use DockerVerb::{Kill, Pause, Restart, Start, Stop, Unpause};
    vec![
        ("restart", json!({"kind": "docker.restart", "target": WEB}), docker(Restart, None, None)),
        (
            "restart with a grace",
            json!({"kind": "docker.restart", "target": WEB, "grace_seconds": 10}),
            docker(Restart, Some(10), None),
        ),
        ("restart at once", json!({"kind": "docker.restart", "target": WEB, "grace_seconds": 0}), docker(Restart, Some(0), None)),
        (
            "restart with all the time there is",
            json!({"kind": "docker.restart", "target": WEB, "grace_seconds": u32::MAX}),
            docker(Restart, Some(u32::MAX), None),
        ),
        ("start", json!({"kind": "docker.start", "target": WEB}), docker(Start, None, None)),
        ("stop", json!({"kind": "docker.stop", "target": WEB}), docker(Stop, None, None)),
        ("stop with a grace", json!({"kind": "docker.stop", "target": WEB, "grace_seconds": 3}), docker(Stop, Some(3), None)),
        ("pause", json!({"kind": "docker.pause", "target": WEB}), docker(Pause, None, None)),
        ("unpause", json!({"kind": "docker.unpause", "target": WEB}), docker(Unpause, None, None)),
        ("kill", json!({"kind": "docker.kill", "target": WEB}), docker(Kill, None, None)),
        (
            "kill with a signal",
            json!({"kind": "docker.kill", "target": WEB, "signal": "SIGHUP"}),
            docker(Kill, None, Some("SIGHUP")),
        ),
        ("a playbook", json!({"kind": "ansible.playbook", "name": "fix.yml", "about": WEB}), playbook()),
        ("a playbook with everything", everything(), playbook_with_everything()),
        (
            "a silence",
            silence("3600000"),
            Proposal::Silence { about: WEB.to_owned(), matchers: matchers(), millis: 3_600_000, comment: STRANGE.to_owned() },
        ),
        (
            "a silence of nothing, for no time",
            json!({"kind": "alertmanager.silence", "about": WEB, "matchers": [], "ms": "0", "comment": ""}),
            Proposal::Silence { about: WEB.to_owned(), matchers: Vec::new(), millis: 0, comment: String::new() },
        ),
        (
            "the end of all silences",
            json!({"kind": "alertmanager.expire", "about": WEB}),
            Proposal::ExpireSilence { about: WEB.to_owned(), id: None },
        ),
        (
            "the end of one silence",
            json!({"kind": "alertmanager.expire", "about": WEB, "id": "5f2c"}),
            Proposal::ExpireSilence { about: WEB.to_owned(), id: Some("5f2c".to_owned()) },
        ),
        (
            "a text to a channel",
            json!({"kind": "notify.send", "about": WEB, "channel": "oncall", "text": STRANGE}),
            Proposal::Notify { about: WEB.to_owned(), channel: "oncall".to_owned(), text: STRANGE.to_owned() },
        ),
        (
            "names that cannot be any",
            json!({"kind": "notify.send", "about": "", "channel": "漢 字/../😀", "text": ""}),
            Proposal::Notify { about: String::new(), channel: "漢 字/../😀".to_owned(), text: String::new() },
        ),
    ]
}

fn playbook() -> Proposal {
    Proposal::Playbook {
        name: "fix.yml".to_owned(),
        about: WEB.to_owned(),
        host: None,
        variables: Vec::new(),
        tags: Vec::new(),
        check: false,
    }
}

/// Variables of every type, whose names have an order of their own in some languages.
fn variables() -> Value {
    json!({"b": "text", "a": 3, "10": null, "9": true, "deep": {"x": [1, {"y": "z"}]}, "empty": [], "__proto__": "p", "strange": STRANGE})
}

fn everything() -> Value {
    json!({
        "kind": "ansible.playbook", "name": "sub/fix.yml", "about": WEB, "host": "web1", "variables": variables(),
        "tags": ["clean", "a", "clean"], "check": true,
    })
}

fn playbook_with_everything() -> Proposal {
    let variables = variables().as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    let tags = ["clean", "a", "clean"].map(str::to_owned).to_vec();
    Proposal::Playbook {
        name: "sub/fix.yml".to_owned(),
        about: WEB.to_owned(),
        host: Some("web1".to_owned()),
        variables,
        tags,
        check: true,
    }
}

const MATCHERS: [(&str, &str, &str); 4] =
    [("alertname", "=", "WebDown"), ("team", "!=", ""), ("job", "=~", "a|b"), ("env", "!~", "é\"\\")];

fn matchers() -> Vec<ProposedMatcher> {
    let matcher =
        |(name, op, value): (&str, &str, &str)| ProposedMatcher { name: name.into(), op: op.into(), value: value.into() };
    MATCHERS.into_iter().map(matcher).collect()
}

fn silence(ms: &str) -> Value {
    let matchers: Vec<_> =
        MATCHERS.into_iter().map(|(name, op, value)| json!({"name": name, "op": op, "value": value})).collect();
    json!({"kind": "alertmanager.silence", "about": WEB, "matchers": matchers, "ms": ms, "comment": STRANGE})
}

fn in_their_order() -> Case {
    let (wanted, proposals): (Vec<_>, Vec<_>) =
        proposals().into_iter().take(16).map(|(_, wanted, proposal)| (wanted, proposal)).unzip();
    let expected = Outcome::of(Decision::Act { reason: "all".to_owned(), proposals });
    case(
        "proposals of every kind, in their order",
        json!({"decision": {"answer": "act", "reason": "all", "proposals": wanted}}),
        Expected::Same(expected),
    )
}

/// Lengths of time at the end of what a language can say: JavaScript's numbers are exact up to 2^53, and Python's end after 999,999,999
/// days.
fn long_silences() -> [Case; 2] {
    let of = |name, ms, expected| {
        let decision = json!({"answer": "act", "reason": "quiet", "proposals": [silence(ms)]});
        case(name, json!({ "decision": decision }), Expected::Each(expected))
    };
    [
        of("a silence for longer than JavaScript keeps", "9007199254740993", |language| {
            quiet(if language == Language::Js { 1 << 53 } else { (1 << 53) + 1 })
        }),
        of("a silence without end", "forever", |language| {
            quiet(if language == Language::Python { 86_400_000 * 1_000_000_000 - 1 } else { u64::MAX })
        }),
    ]
}

fn quiet(millis: u64) -> Outcome {
    let silence = Proposal::Silence { about: WEB.to_owned(), matchers: matchers(), millis, comment: STRANGE.to_owned() };
    Outcome::of(Decision::Act { reason: "quiet".to_owned(), proposals: vec![silence] })
}

/// From 1 to 16 proposals are an act, and more than 64 cannot even be made.
fn many(n: usize) -> Case {
    let wanted = vec![json!({"kind": "docker.start", "target": WEB}); n];
    let failure = |text: String| Outcome::failure(Says::This(format!("the plugin broke its contract: {text}")));
    let expected = match n {
        0 => failure("it answered `act` without any proposal".to_owned()),
        1..=16 => {
            Outcome::of(Decision::Act { reason: "many".to_owned(), proposals: vec![docker(DockerVerb::Start, None, None); n] })
        }
        17..=64 => failure(format!("it answered `act` with {n} proposals; 16 are allowed")),
        _ => failure("it made more than 64 proposals".to_owned()),
    };
    case(
        &format!("an act of {n} proposals"),
        json!({"decision": {"answer": "act", "reason": "many", "proposals": wanted}}),
        Expected::Same(expected),
    )
}
