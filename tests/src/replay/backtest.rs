//! `paramedic replay --plugin new.wasm` and `--compare`

use paramedic::incident::Mode;
use paramedic::replay::asked::Questions;
use serde_json::json;

use super::{Past, Says, heal};
use crate::components::component;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_reported_exactly() {
    let mut past = Past::begin();
    let looks = past.plugin("looks_before").await;
    for (name, errors) in [("Same", 7.0), ("Quiet", 0.0), ("Some", 3.0), ("Other", 4.0)] {
        past.alert(name, errors, &[heal(&looks)]).await;
    }
    let twice = past.alert("Closed", 3.0, &[heal(&looks)]).await;
    past.close(&twice).await;
    past.alert("Foreign", 3.0, &[Says { policy: "other", ..heal(&looks) }]).await;
    past.end();
    let next = past.data().join("looks.wasm");
    std::fs::write(&next, component("looks_next")).unwrap();
    let policy = past.policy(
        "heal",
        "match: ['alertname!=\"Foreign\"']\nsettings: {above: 100}\ngrants: {docker: {restart: ['local/other']}}",
    );
    let (plugin, policy) = (next.to_str().unwrap(), policy.to_str().unwrap());
    let base = ["--plugin", plugin, "--policy", policy, "--since", "1h"];

    let (code, found) = past.json(&[&base[..], &["--settings", "recorded"]].concat());
    assert_eq!(code, Some(1), "{found:#}");
    assert_eq!([&found["questions"], &found["same"], &found["different"], &found["cannot_tell"]], [5, 2, 3, 0], "{found:#}");
    let groups = found["differences"].as_array().unwrap();
    assert_eq!(groups.len(), 3);
    let closed = groups.iter().find(|group| group["alert"] == "Closed").unwrap();
    assert_eq!((&closed["from"], &closed["to"], &closed["count"]), (&json!("pass"), &json!("escalate"), &json!(1)));
    assert_eq!(closed["examples"], json!([twice.to_string()]));
    // The one act names a container that the grants do not.
    assert_eq!(
        (&found["acts"], &found["refused"][0]["kind"], &found["refused"][0]["count"]),
        (&json!(1), &json!("not-granted"), &json!(1))
    );

    // With the file's settings nothing is restarted any more.
    let (_, found) = past.json(&base);
    assert_eq!((&found["settings"], &found["acts"], &found["different"]), (&json!("file"), &json!(0), &json!(4)), "{found:#}");

    // What was never looked at cannot be told.
    let settings = past.policy("heal", "match: ['alertname=\"Some\"']\nsettings: {inspect: true}");
    let (code, found) = past.json(&["--plugin", plugin, "--policy", settings.to_str().unwrap()]);
    assert_eq!((code, &found["cannot_tell"]), (Some(1), &json!(1)), "{found:#}");
    assert_eq!(found["unrecorded"][0]["text"], "container local/web");
    // Nor is anything else asked: the others do not match any more, and so are not asked.
    assert_eq!(
        found["differences"].as_array().unwrap().iter().filter(|one| one["to"] == "not asked: it does not match").count(),
        4
    );

    // The same version: nothing differs. Before that time there is nothing.
    std::fs::write(&next, component("looks_before")).unwrap();
    let all = past.policy("heal", "match: ['alertname!=\"Foreign\"']");
    let (code, found) = past.json(&["--plugin", plugin, "--policy", all.to_str().unwrap(), "--settings", "recorded"]);
    assert_eq!((code, &found["same"]), (Some(0), &json!(5)), "{found:#}");
    let (code, out, err) = past.replay(&[&base[..4], &["--since", "2h", "--until", "1h"]].concat());
    assert_eq!(code, Some(0));
    assert!(out.contains("questions:        0") && err.contains("is its name the one in the journal?"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_not_there_is_tried_on_what_it_would_match() {
    let mut past = Past::begin();
    let looks = past.plugin("looks_before").await;
    past.alert("Mine\u{1b}[2J", 3.0, &[]).await;
    past.alert("Theirs", 3.0, &[Says { settings: json!({"above": 1}), ..heal(&looks) }]).await;
    past.end();
    let file = past.data().join("looks.wasm");
    std::fs::write(&file, component("guests")).unwrap();
    let policy = past.policy("new", "settings: {do: escapes}");
    let arguments = ["--plugin", file.to_str().unwrap(), "--policy", policy.to_str().unwrap()];
    let (code, out, _) = past.replay(&arguments);
    assert_eq!(code, Some(1));
    assert!(out.contains("not asked -> escalate") && out.contains("not asked: heal took it -> escalate"), "{out}");
    assert!(!out.contains('\u{1b}') && out.contains("After another decision the next question"), "{out:?}");
    // Settings that the new version does not take.
    let policy = past.policy("new", "settings: {}");
    let (code, _, err) = past.replay(&["--plugin", file.to_str().unwrap(), "--policy", policy.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(err.contains("do not fit") && err.contains("--settings recorded"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_begins_in_the_middle_of_an_incident() {
    let mut past = Past::begin();
    let looks = past.plugin("looks_before").await;
    let id = past.alert("Long", 3.0, &[heal(&looks)]).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let since = paramedic::clock::Time::now();
    past.ask(&id, 7.0, &[heal(&looks)]).await;
    past.end();
    let span = paramedic::replay::backtest::Span { since, until: paramedic::clock::Time::now() };
    let mut found = Vec::new();
    let take = |asked| {
        found.push(asked);
        true
    };
    paramedic::replay::backtest::questions(&past.reader(), span, |_, _| {}, take).unwrap();
    let whole = Questions::of(past.reader().read(&id, 0, usize::MAX).unwrap());
    assert_eq!((found.len(), whole.len()), (1, 2));
    assert_eq!(found[0].question.incident.answers, 1, "what came before is known");
    assert_eq!(found[0].pos, whole[1].pos);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observing_policy_is_compared_with_the_followed_one() {
    let mut past = Past::begin();
    let (looks, next) = (past.plugin("looks_before").await, past.plugin("looks_next").await);
    let observed = || Says { policy: "heal-next", mode: Mode::Observe, ..heal(&next) };
    let mut odd = String::new();
    for (name, errors) in [("Down", 7.0), ("Quiet", 0.0), ("Few", 3.0)] {
        let id = past.alert(name, errors, &[observed(), heal(&looks)]).await;
        odd = id.to_string();
    }
    past.alert("Alone", 3.0, &[heal(&looks)]).await;
    past.end();
    let (code, found) = past.json(&["--compare", "heal-next", "heal", "--since", "1h"]);
    assert_eq!(code, Some(1));
    assert_eq!([&found["questions"], &found["agree"], &found["disagree"]], [3, 2, 1], "{found:#}");
    let group = &found["differences"][0];
    assert_eq!((&group["from"], &group["to"], &group["examples"][0]), (&json!("pass"), &json!("escalate"), &json!(odd)));
    assert_eq!(found["alone"]["heal"]["count"], 1);
    assert_eq!(past.replay(&["--compare", "heal", "nobody", "--since", "1s"]).0, Some(2));
}
