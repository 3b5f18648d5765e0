//! A policy that observes beside a live one, on a real server: how often they agree stands in its metrics.

use paramedic::clock::Time;
use serde_json::json;

use crate::components::component;
use crate::host::{Host, Setup};
use crate::people::{id, paramedic, say};
use crate::programs::{reqwest_client, within};

/// The lines of `/metrics` that count comparisons, sorted.
async fn compared(host: &Host) -> Vec<String> {
    let answer = reqwest_client().get(format!("{}/metrics", host.url)).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let mut lines: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("paramedic_policies_compared_total")).map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn until_compared(host: &Host, wanted: &[String]) {
    let seen = within(20, "the comparisons", async || {
        let lines = compared(host).await;
        Ok((lines == wanted).then_some(()))
    });
    if let Err(error) = seen.await {
        panic!("{error}: wanted {wanted:#?}, got {:#?}", compared(host).await);
    }
}

async fn fires(host: &Host, n: u8) {
    let labels = json!({ "alertname": "Down", "container": "no-such-container", "n": n.to_string() });
    assert_eq!(host.send("firing", labels, &Time::now().to_string()).await, 200);
    host.until("escalated", 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_counted_how_often_an_observing_policy_agrees_with_a_live_one() {
    let host = Host::start(&Setup::restarts("no-such-container").policy_line("limits: {deadline: 10s}")).await;
    let beside = |file: &str, text: &str| {
        let text = format!("{text}match: ['alertname=\"Down\"']\nlimits: {{deadline: 10s}}\n");
        std::fs::write(host.config().with_file_name("policies").join(file), text).unwrap();
    };
    std::fs::write(host.config().with_file_name("plugins").join("guests.wasm"), component("guests")).unwrap();
    // One is asked before the live one, the others after it; who cannot decide does not agree with who can.
    beside("05-before.yaml", "name: before\nplugin: guests.wasm\nsettings: {do: act}\n");
    beside("20-same.yaml", "name: same\nplugin: restart-container.wasm\n");
    beside("30-other.yaml", "name: other\nplugin: guests.wasm\nsettings: {do: ignore}\n");
    beside("40-errs.yaml", "name: errs\nplugin: guests.wasm\nsettings: {do: error}\n");
    assert_eq!(say(&host, "reload", json!({})).await.0, 200);
    assert_eq!(compared(&host).await, Vec::<String>::new());

    fires(&host, 1).await;
    let of = |observed: &str, says: &str, n: u8| format!("{{observed=\"{observed}\",live=\"heal\",says=\"{says}\"}} {n}");
    let wanted =
        |n: u8| [of("before", "disagree", n), of("errs", "disagree", n), of("other", "disagree", n), of("same", "agree", n)];
    until_compared(&host, &wanted(1)).await;
    // Only first questions count: those who observe are not asked again.
    let retry = json!({ "reason": "again" });
    assert_eq!(say(&host, &format!("incidents/{}/retry", id(&host)), retry).await.0, 200);
    fires(&host, 2).await;
    until_compared(&host, &wanted(2)).await;
    // The same numbers as from the journal.
    let (code, said) = paramedic(&host, &["replay", "--compare", "same", "heal", "--since", "1h", "--output", "json"]).await;
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == Some(0) && told["agree"] == 2 && told["disagree"] == 0, "{said}");
}
