//! `paramedic replay INCIDENT`

use paramedic::incident::Mode;
use serde_json::{Value, json};

use super::{Past, Says, heal};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_with_lookups_is_proven_bit_for_bit() {
    let mut past = Past::begin();
    let (looks, guests) = (past.plugin("looks_before").await, past.plugin("guests").await);
    let all = Says { settings: json!({"above": 5, "inspect": true}), ..heal(&looks) };
    let escapes = Says { policy: "odd\u{1b}[2J", mode: Mode::Observe, plugin: &guests, settings: json!({"do": "escapes"}) };
    let id = past.alert("WebDown", 7.25, &[all, escapes]).await;
    past.ask(&id, f64::NAN, &[heal(&looks)]).await;
    // While somebody writes it, and afterwards.
    for _ in 0..2 {
        let (code, proof) = past.json(&[&id.to_string()]);
        assert_eq!((code, &proof["proven"]), (Some(0), &json!(true)), "{proof:#}");
        let outcomes: Vec<&Value> = proof["decisions"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
        assert_eq!(outcomes, ["same"; 3]);
        assert_eq!(proof["decisions"][0]["lookups"], 2);
        assert_eq!(proof["decisions"][0]["decision"], "act: docker.restart local/web: 7.25 errors");
        past.end();
    }
    let (code, out, _) = past.replay(&[&id.to_string()[..6]]);
    assert_eq!(code, Some(0));
    assert!(out.contains("3 decisions, each repeated in a fresh sandbox: bit for bit the same"), "{out}");
    assert!(!out.contains('\u{1b}') && !out.contains('\u{202e}'), "{out:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_altered_is_found() {
    type Alter = fn(&mut Value);
    let alterations: [(&str, Alter); 4] = [
        ("decision", |body| body["decision"]["Ok"]["act"]["reason"] = json!("7 errors\u{1b}[2J")),
        ("log", |body| body["log"][0]["message"] = json!("errors are 8")),
        ("lookups", |body| body["lookups"].as_array_mut().unwrap().swap(0, 1)),
        ("decision", |body| body["lookups"][0]["answer"]["Ok"]["metrics"][0]["value"] = json!("8")),
    ];
    for (what, alteration) in alterations {
        let mut past = Past::begin();
        let looks = past.plugin("looks_before").await;
        let all = Says { settings: json!({"above": 5, "inspect": true}), ..heal(&looks) };
        let id = past.alert("WebDown", 7.0, &[all]).await;
        past.end();
        past.alter("decided", alteration);
        let (code, proof) = past.json(&[&id.to_string()]);
        let found = &proof["decisions"][0];
        assert_eq!((code, &found["outcome"]), (Some(1), &json!("differs")), "{proof:#}");
        let differences: Vec<&Value> = found["differences"].as_array().unwrap().iter().map(|one| &one["what"]).collect();
        assert!(differences.contains(&&json!(what)), "{what}: {found:#}");
        let (_, out, _) = past.replay(&[&id.to_string()]);
        assert!(out.contains("DIFFERS") && !out.contains('\u{1b}'), "{out:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_repeated_says_why() {
    let mut past = Past::begin();
    let looks = past.plugin("looks_before").await;
    let id = past.alert("WebDown", 7.0, &[heal(&looks)]).await;
    past.end();
    let why = |past: &Past, arguments: &[&str]| {
        let (code, proof) = past.json(&[&[id.to_string().as_str()], arguments].concat());
        assert_eq!((code, &proof["proven"]), (Some(2), &json!(false)), "{proof:#}");
        proof["decisions"][0]["why"].as_str().unwrap().to_owned()
    };

    // An entry from before lookups were recorded.
    past.alter("decided", |body| drop(body.as_object_mut().unwrap().remove("lookups")));
    assert!(why(&past, &[]).contains("it looked at metrics `sum(errors)`, and what it was told was not written down"));

    past.alter("decided", |body| {
        body["decision"] = json!({"Err": "the plugin gave no answer within 100 ms, the policy's `limits.deadline`"})
    });
    assert!(why(&past, &[]).contains("it depended on the machine"));

    past.alter("decided", |body| {
        body["decision"] = json!({"Err": "the plugin wanted more than 64 MiB of memory, the policy's `limits.memory`"});
        body.as_object_mut().unwrap().remove("limits");
    });
    assert!(why(&past, &[]).contains("how much memory the policy allowed was not written down"));

    past.alter("decided", |body| body["decision"] = json!({"Ok": {"pass": {"reason": "x"}}}));
    std::fs::remove_file(past.kept(&looks)).unwrap();
    assert!(why(&past, &[]).contains("is not kept") && why(&past, &[]).contains("--plugins DIR"));
    // It may lie elsewhere under any name: then it is another decision than the one that was altered.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("old-looks.wasm"), crate::components::component("looks")).unwrap();
    let (code, proof) = past.json(&[&id.to_string(), "--plugins", elsewhere.path().to_str().unwrap()]);
    assert_eq!((code, &proof["decisions"][0]["outcome"]), (Some(2), &json!("cannot")), "{proof:#}");
    std::fs::write(past.kept(&looks), crate::components::component("guests")).unwrap();
    assert!(why(&past, &[]).contains("was altered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_entry_without_the_newer_fields_is_still_proven() {
    let mut past = Past::begin();
    let guests = past.plugin("guests").await;
    let says = Says { policy: "heal", mode: Mode::Enforce, plugin: &guests, settings: json!({"do": "told"}) };
    let id = past.alert("WebDown", 0.0, &[says]).await;
    past.end();
    past.alter("decided", |body| {
        let body = body.as_object_mut().unwrap();
        assert!(body.remove("limits").is_some());
        body.remove("log");
    });
    let (code, proof) = past.json(&[&id.to_string()]);
    assert_eq!((code, &proof["proven"]), (Some(0), &json!(true)), "{proof:#}");
    assert_eq!(past.replay(&["ffff"]).0, Some(2), "there is no such incident");
}
