//! What a plugin says beside its decision, and how it ends without one: words for the journal, errors, bugs, and settings that it
//! refuses.

use paramedic::incident::Decision;
use serde_json::{Value, json};

use super::telling::STRANGE;
use super::{ALL, Case, Expected, Language, Outcome, Says, brief, script};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("a line of each level", json!([log("debug", "a"), log("info", "b"), log("warn", "c"), log("error", "d")]), || {
            said().log("debug", "a".into()).log("info", "b".into()).log("warn", "c".into()).log("error", "d".into())
        }),
        case("lines of strange text, and of none", json!([log("info", STRANGE), log("info", "")]), || {
            said().log("info", Says::This(paramedic::telemetry::clean(STRANGE, 1000))).log("info", "".into())
        }),
        case("a line that is too long", json!([log("warn", &"é".repeat(3000))]), || {
            said().log("warn", Says::This(format!("{}…", "é".repeat(999))))
        }),
        case("more lines than are kept", json!([{"do": "log", "level": "info", "message": "again", "times": 130}]), || {
            let kept = (0..100).fold(said(), |outcome, _| outcome.log("info", "again".into()));
            kept.log("warn", "30 more lines were not kept".into())
        }),
        case("what was logged before it failed is kept", json!([log("info", "first"), fail("cannot-decide")]), || {
            Outcome::failure("the plugin could not decide: this cannot be decided".into()).log("info", "first".into())
        }),
        case("half of a character is a character nobody knows", json!([fail("half-a-character")]), || {
            Outcome::of(Decision::Escalate { reason: "half \u{fffd}".to_owned() })
        }),
        case("what is printed is logged", json!([{"do": "print", "text": "printed"}]), || said().log("info", "printed".into())),
        each("a bug", json!([fail("bug")]), bug),
        each("a function that calls itself without end", json!([fail("recursion")]), recursion),
        each("no decision at all", json!([fail("nothing")]), nothing),
        each("what is no text", json!([fail("no-text")]), no_text),
    ]
}

fn case(name: &str, steps: Value, expected: fn() -> Outcome) -> Case {
    Case { name: name.to_owned(), brief: brief(script(steps)), lookups: Vec::new(), expected: Expected::Same(expected()) }
}

fn each(name: &str, steps: Value, expected: fn(Language) -> Outcome) -> Case {
    Case { name: name.to_owned(), brief: brief(script(steps)), lookups: Vec::new(), expected: Expected::Each(expected) }
}

fn log(level: &str, message: &str) -> Value {
    json!({"do": "log", "level": level, "message": message})
}

fn fail(how: &str) -> Value {
    json!({"do": "fail", "how": how})
}

fn said() -> Outcome {
    Outcome::of(Decision::Escalate { reason: "told".to_owned() })
}

/// A panic is a crash. An exception is an error like any other, and its trace is in the log.
fn bug(language: Language) -> Outcome {
    match language {
        Language::Rust => Outcome::failure(Says::With("the plugin crashed: it gave up"))
            .log("error", Says::With("panicked at"))
            .log("error", "a bug".into())
            .log("error", Says::With("RUST_BACKTRACE")),
        Language::Python => Outcome::failure(Says::With("RuntimeError: a bug")).log("error", Says::With("plugin.py")),
        Language::Js => Outcome::failure(Says::With("TypeError: a bug")).log("error", Says::With("plugin.js")),
    }
}

fn recursion(language: Language) -> Outcome {
    match language {
        Language::Rust => Outcome::failure(Says::With("until its stack was full")),
        Language::Python => Outcome::failure(Says::With("RecursionError")).log("error", Says::With("RecursionError")),
        Language::Js => Outcome::failure(Says::With("until its stack was full")),
    }
}

/// What Rust's types do not let anybody write.
fn nothing(language: Language) -> Outcome {
    Outcome::failure(match language {
        Language::Rust => "the plugin could not decide: a policy in Rust cannot answer nothing".into(),
        Language::Python => "the plugin could not decide: the plugin answers NoneType, not a Decision".into(),
        Language::Js => "the plugin could not decide: the plugin answers undefined, not a Decision".into(),
    })
}

/// A wrong type is told as any other bug; handed over to the sandbox it would be a crash that tells nothing.
fn no_text(language: Language) -> Outcome {
    let says = "the plugin hands over 5 where text belongs";
    match language {
        Language::Rust => Outcome::failure("the plugin could not decide: a policy in Rust cannot name what is no text".into()),
        Language::Python | Language::Js => Outcome::failure(Says::With(says)).log("error", Says::With(says)),
    }
}

/// Settings that are refused, and what each complaint says or begins with.
fn refused() -> Vec<(&'static str, Value, &'static str)> {
    let decision = json!({"answer": "pass", "reason": "x"});
    let values = |values: Value| json!({"decision": decision, "values": values});
    let wait = |ms: &str| json!({"decision": {"answer": "wait", "reason": "x", "ms": ms}});
    let past = |ms: &str| json!({"decision": decision, "script": [{"do": "past", "target": "local/web", "within_ms": ms}]});
    let silence = |op: &str| {
        let matchers = json!([{"name": "a", "op": op, "value": "b"}]);
        json!([{"kind": "alertmanager.silence", "about": "local/web", "matchers": matchers, "ms": "1000", "comment": ""}])
    };
    vec![
        ("a key that there is not", json!({"decision": decision, "scrpt": []}), "there is no setting `scrpt`"),
        ("a key that is missing", json!({"script": []}), "\"decision\" is a required property"),
        ("text where a list belongs", json!({"decision": decision, "script": "x"}), "/script: "),
        ("a step that there is not", json!({"decision": decision, "script": [{"do": "dance"}]}), "/script/0"),
        ("text where a number belongs", values(json!({"whole": "3"})), "/values/whole: \"3\" is not of type"),
        ("a part where a whole number belongs", values(json!({"whole": 0.5})), "/values/whole: 0.5 is not of type"),
        ("text where true or false belongs", values(json!({"flag": "yes"})), "/values/flag: \"yes\" is not of type"),
        ("a word that there is not", values(json!({"word": "blue"})), "/values/word: \"blue\" is not"),
        ("a number among texts", values(json!({"names": ["a", 3]})), "/values/names/1: 3 is not of type"),
        ("text among numbers", values(json!({"table": {"a": "x"}})), "/values/table/a: \"x\" is not of type"),
        ("a key inside that there is not", values(json!({"txt": ""})), "there is no setting `txt`"),
        ("what the schema cannot say", wait("soon"), "`soon` is no number of milliseconds"),
        ("what the schema cannot say, in a step", past("-1"), "`-1` is no number of milliseconds"),
        (
            "what the schema cannot say, in a proposal",
            json!({"decision": {"answer": "act", "reason": "x", "proposals": silence("==")}}),
            "`==` is no operator of a matcher",
        ),
    ]
}

/// A bug in the check of settings refuses them too.
#[tokio::test(flavor = "multi_thread")]
async fn a_bug_in_the_check_of_settings_refuses_them() {
    let settings = script(json!([fail("bug-in-check")]));
    for language in ALL {
        let complaints = language.plugin().await.check_settings(&settings).await;
        let says = match language {
            Language::Rust => "asked to check them, it failed",
            Language::Python => "the plugin failed: RuntimeError: a bug",
            Language::Js => "a bug",
        };
        assert!(matches!(&complaints[..], [one] if one.contains(says)), "{language:?}: {complaints:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_language_refuses_the_same_settings() {
    for language in ALL {
        let plugin = language.plugin().await;
        for (name, settings, says) in refused() {
            let complaints = plugin.check_settings(&settings).await;
            assert!(complaints.iter().any(|text| text.contains(says)), "{language:?}: {name}: {complaints:?}");
        }
    }
}
