//! What a plugin is told: every part of the incident and the settings, and what the SDK makes of it for its authors.

use paramedic::alert::{Family, Status};
use paramedic::clock::Time;
use paramedic::decide::sandbox::Brief;
use paramedic::incident::lookup::{PastAction, PastAttempt};
use paramedic::incident::{TargetView, Trigger};
use serde_json::{Value, json};

use super::{Case, Expected, Outcome, brief, script, told, told_reason};

/// Text with everything that a border could stumble over.
pub(super) const STRANGE: &str = "ä 漢字 😀 \u{202e}\u{0}\u{7f}\u{85}\n\t\"\\ {{ x }} \u{feff}e\u{301}";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        tells("everything about an incident", &["id", "alert", "trigger", "attempts", "targets", "now"], |_| {}),
        tells("an alert with nothing in it", &["alert"], |b| {
            b.alert.labels.clear();
            b.alert.annotations.clear();
            b.alert.generator_url.clear();
        }),
        tells("an alert full of strange text", &["alert"], strange),
        tells("labels in the order of their names, whatever they look like", &["alert"], |b| {
            let names = ["10", "9", "a", "B", "__proto__", "constructor", "toString", "", "é"];
            b.alert.labels = names.into_iter().map(|name| (name.to_owned(), format!("is {name}"))).collect();
        }),
        tells("an alert with a hundred labels", &["alert"], |b| {
            b.alert.labels = (0..100).map(|n| (format!("l{n}"), "x".to_owned())).collect();
        }),
        tells("times before 1970, and as far away as a date can be", &["alert", "now"], |b| {
            b.alert.starts_at = Time(-62_135_596_800_000);
            b.first_seen = Time(-1);
            b.now = Time(253_402_300_799_999);
        }),
        tells("times of zero", &["alert", "now"], |b| {
            (b.alert.starts_at, b.first_seen, b.now) = (Time(0), Time(0), Time(0));
        }),
        tells("no target", &["targets"], |b| b.targets.clear()),
        tells("targets, one without an inventory host, one in a state that nobody knows", &["targets"], more_targets),
        tells("attempts with every outcome", &["attempts"], |b| b.attempts = every_outcome()),
        tells("words that no SDK knows", &["attempts", "trigger"], |b| b.attempts = vec![unknown_words()]),
        tells("attempts with strange text", &["attempts"], |b| {
            b.attempts = vec![attempt(1, vec![action("docker.kill", "failed", STRANGE)], "not-healed")];
        }),
        tells("an attempt of nothing", &["attempts"], |b| b.attempts = vec![attempt(u32::MAX, Vec::new(), "none")]),
        tells("fifty attempts", &["attempts"], |b| {
            b.attempts = (1..=50).map(|n| attempt(n, vec![action("docker.restart", "succeeded", "")], "not-healed")).collect();
        }),
    ];
    for family in [Family::Prometheus, Family::Docker, Family::Grafana, Family::Generic] {
        cases.push(tells(&format!("an alert from {}", family.word()), &["alert"], move |b| b.alert.family = family));
    }
    cases.push(tells("an alert that is over", &["alert"], |b| b.alert.status = Status::Resolved));
    let triggers = [
        Trigger::Alert,
        Trigger::NotHealed,
        Trigger::WaitOver,
        Trigger::HoldOver,
        Trigger::Interrupted,
        Trigger::Denied,
        Trigger::Retry,
    ];
    for trigger in triggers {
        cases.push(tells(&format!("asked because of {}", trigger.word()), &["trigger"], move |b| b.trigger = trigger));
    }
    cases.extend(values());
    cases.extend(derived());
    cases
}

fn tells(name: &str, parts: &[&str], change: impl Fn(&mut Brief)) -> Case {
    let steps: Vec<_> = parts.iter().map(|what| json!({"do": "tell", "what": what})).collect();
    let mut brief = brief(script(json!(steps)));
    change(&mut brief);
    let told: Vec<_> = parts.iter().map(|what| told::part(what, &brief)).collect();
    Case { name: name.to_owned(), brief, lookups: Vec::new(), expected: Expected::Same(told_reason(&json!(told))) }
}

fn strange(brief: &mut Brief) {
    brief.alert.labels.insert(STRANGE.to_owned(), STRANGE.to_owned());
    brief.alert.annotations.insert("summary".to_owned(), STRANGE.to_owned());
    brief.alert.generator_url = STRANGE.to_owned();
}

fn more_targets(brief: &mut Brief) {
    let target =
        |name: &str, state: &str| TargetView { target: name.parse().unwrap(), inventory_host: None, state: state.to_owned() };
    brief.targets.push(target("remote-1/db.main_2", "running"));
    brief.targets.push(target("local/cache", "hibernating"));
}

fn action(kind: &str, outcome: &str, message: &str) -> PastAction {
    PastAction {
        kind: kind.to_owned(),
        target: "local/web".to_owned(),
        detail: String::new(),
        outcome: outcome.to_owned(),
        message: message.to_owned(),
    }
}

fn attempt(number: u32, actions: Vec<PastAction>, verification: &str) -> PastAttempt {
    PastAttempt {
        number,
        started_at: Time(1_767_225_700_000),
        ended_at: Time(1_767_225_760_000),
        actions,
        verification: verification.to_owned(),
    }
}

pub(super) fn every_outcome() -> Vec<PastAttempt> {
    let playbook =
        PastAction { detail: "fix.yml".to_owned(), ..action("ansible.playbook", "timed-out", "took longer than 5 min") };
    vec![
        attempt(1, vec![action("docker.restart", "succeeded", "")], "not-healed"),
        attempt(2, vec![playbook, action("docker.start", "cancelled", "")], "unclear"),
        attempt(3, vec![action("docker.stop", "refused", "not-granted: nobody allows it")], "none"),
        attempt(4, vec![action("docker.kill", "interrupted", ""), action("notify.send", "failed", "503")], "healed"),
    ]
}

fn unknown_words() -> PastAttempt {
    attempt(1, vec![action("k8s.delete-pod", "vanished", "")], "perhaps")
}

/// Settings of every type, and what is told when they are left out.
fn values() -> Vec<Case> {
    let defaults = json!({
        "text": "nothing", "maybe": null, "whole": 7, "number": 0.5, "flag": false, "word": "red", "names": ["first"], "table": {},
        "anything": null,
    });
    let given = |name: &str, given: Value| {
        let mut told = defaults.clone();
        told.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        told["number"] = json!(told::bits(told["number"].as_f64().unwrap()));
        let mut settings = script(json!([{"do": "tell", "what": "values"}]));
        settings["values"] = given;
        let expected = Expected::Same(told_reason(&json!([told])));
        Case { name: name.to_owned(), brief: brief(settings), lookups: Vec::new(), expected }
    };
    vec![
        given("settings that are left out", json!({})),
        given(
            "settings of every type",
            json!({
                "text": STRANGE, "maybe": "there", "whole": -3, "number": 2.25, "flag": true, "word": "dark-green", "names": [STRANGE, ""],
                "table": {"b": 1, "a": -1, "__proto__": 2, "10": 3, "9": 4}, "anything": {"z": [1, "x", null, true, {"__proto__": {}}], "": []},
            }),
        ),
        given("settings that are empty", json!({"text": "", "maybe": null, "names": [], "table": {}, "anything": {}})),
        given("the largest whole number that every language keeps", json!({"whole": 9_007_199_254_740_991_i64, "number": 1e300})),
        given("the smallest one", json!({"whole": -9_007_199_254_740_991_i64, "number": -0.0})),
        given("a whole number where any may stand", json!({"number": 3})),
        larger(),
    ]
}

/// The one number that JavaScript's JSON does not keep; its SDK's page says so.
fn larger() -> Case {
    let mut settings = script(json!([{"do": "tell", "what": "values"}]));
    settings["values"] = json!({"whole": 9_007_199_254_740_993_i64});
    let expected = Expected::Each(|language| {
        let whole = if language == super::Language::Js { 9_007_199_254_740_992_i64 } else { 9_007_199_254_740_993 };
        told_reason(&json!([{
            "text": "nothing", "maybe": null, "whole": whole, "number": told::bits(0.5), "flag": false, "word": "red",
            "names": ["first"], "table": {}, "anything": null,
        }]))
    });
    Case { name: "a larger whole number".to_owned(), brief: brief(settings), lookups: Vec::new(), expected }
}

/// What an SDK makes of the incident has to be the same as well: a ladder may not climb differently in another language.
fn derived() -> Vec<Case> {
    let case = |name: &str, change: &dyn Fn(&mut Brief), told: Value| {
        let mut brief = brief(script(json!([{"do": "tell", "what": "derived"}])));
        change(&mut brief);
        let outcome: Outcome = told_reason(&json!([told]));
        Case { name: name.to_owned(), brief, lookups: Vec::new(), expected: Expected::Same(outcome) }
    };
    let fresh = json!({
        "name": "WebDown", "label": "web", "firing_for_ms": 400_000, "begun": [], "candidates": ["local/web"],
        "may_begin_again": false, "tried": "nothing was tried",
    });
    let with = |change: Value| {
        let mut told = fresh.clone();
        told.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        told
    };
    vec![
        case("what is made of a fresh incident", &|_| {}, fresh.clone()),
        case(
            "what is made of an alert without a name, not begun yet",
            &|b| {
                b.alert.labels = [("container".to_owned(), String::new())].into();
                b.alert.starts_at = Time(b.now.0 + 1);
            },
            with(json!({"name": "alert", "label": null, "firing_for_ms": 0})),
        ),
        case(
            "what is made of targets: what is down comes first",
            &|b| {
                more_targets(b);
                b.targets.rotate_left(1);
                b.trigger = Trigger::Retry;
            },
            with(json!({"candidates": ["local/web", "remote-1/db.main_2", "local/cache"], "may_begin_again": true})),
        ),
        case(
            "what is made of attempts with every outcome",
            &|b| b.attempts = every_outcome(),
            with(json!({
                "begun": ["docker.restart", "ansible.playbook", "docker.kill", "notify.send"],
                "tried": "docker.restart of local/web succeeded but did not heal it, then ansible.playbook fix.yml about local/web timed \
                          out (took longer than 5 min), then docker.kill of local/web was interrupted, then notify.send of local/web \
                          failed (503)",
            })),
        ),
        case(
            "what is made of words that no SDK knows: a ladder climbs",
            &|b| b.attempts = vec![unknown_words()],
            with(json!({"begun": ["k8s.delete-pod"], "tried": "k8s.delete-pod of local/web vanished"})),
        ),
        case(
            "what is made of a long story",
            &|b| {
                let long = "😀".repeat(500);
                b.attempts = (1..=9).map(|n| attempt(n, vec![action("docker.stop", "failed", &long)], "not-healed")).collect();
            },
            with(json!({
                "begun": vec!["docker.stop"; 9],
                "tried": format!("3 earlier actions, then {}", vec![format!("docker.stop of local/web failed ({})", "😀".repeat(160)); 6].join(", then ")),
            })),
        ),
    ]
}
