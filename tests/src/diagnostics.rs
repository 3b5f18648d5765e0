//! What is kept before a restart destroys it: of a real container on the real engine, and only with a grant.

use paramedic::clock::Time;
use serde_json::Value;

use crate::engine::Patient;
use crate::flow::labels;
use crate::host::{Host, Setup};
use crate::people::{id, paramedic};
use crate::programs::reqwest_client;

/// A policy that restarts that container, and may keep its log.
fn keeping(container: &str) -> Setup {
    let mut setup = Setup::restarts(container);
    setup.policy = setup.policy.replace("docker: {", "docker: {logs: ['local/paramedic-test-*'], ");
    setup
}

async fn restarted(setup: &Setup, patient: &Patient) -> (Host, String) {
    let started = patient.inspect("{{.State.StartedAt}}");
    let host = Host::start(setup).await;
    host.send("firing", labels(patient), &Time::now().to_string()).await;
    let story = host.until("verifying", 30).await;
    assert_ne!(patient.inspect("{{.State.StartedAt}}"), started, "{story}");
    (host, story)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_log_and_the_state_are_kept_before_the_restart_and_shown_when_asked_for() {
    let health = ["--stop-timeout", "1", "--health-cmd", "no-such-shell", "--health-interval", "1s", "--health-retries", "1"];
    let patient = Patient::run(&health, &["says", "300"]);
    crate::programs::within(20, "the health check", || async {
        Ok((patient.inspect("{{.State.Health.Status}}") == "unhealthy").then_some(()))
    })
    .await
    .unwrap();
    let (host, story) = restarted(&keeping(&patient.name), &patient).await;
    let kept = story.lines().find(|line| line.starts_with("diagnosed ")).unwrap_or_else(|| panic!("{story}"));
    assert!(kept.contains("was running") && kept.contains("200 lines of its log") && kept.contains("unhealthy"), "{kept}");
    assert!(story.find("diagnosed ").unwrap() < story.find("begun ").unwrap(), "{story}");

    let id = id(&host);
    let (_, folded) = paramedic(&host, &["incident", "show", &id]).await;
    assert!(folded.contains("--diagnostics shows them") && !folded.contains("line 299"), "{folded}");
    let (_, shown) = paramedic(&host, &["incident", "show", &id, "--diagnostics"]).await;
    // The engine hears stdout and stderr one after the other, so which of the first lines are left is its own affair.
    assert!(
        shown.contains("log: line 299 ") && shown.contains("log: line 298 ") && shown.matches("log: line ").count() == 200,
        "{shown}"
    );
    assert!(shown.contains("health: exit code"), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{7}']), "what a terminal would obey is gone: {shown}");
    let (_, told) = paramedic(&host, &["incident", "show", &id, "--output", "json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let entry = told["timeline"].as_array().unwrap().iter().find(|line| line["kind"] == "diagnosed").unwrap();
    assert!(entry["details"].as_array().unwrap().len() > 200, "{entry}");
    // Whoever sends alerts may read there, and is not told what the container said.
    let seen = reqwest_client().get(format!("{}/api/v1/incidents/{id}", host.url)).send().await.unwrap().text().await.unwrap();
    assert!(seen.contains("200 of its log are not shown here") && !seen.contains("line 299"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_nothing_is_kept() {
    let patient = Patient::run(&["--stop-timeout", "1"], &["says", "3"]);
    let (_host, story) = restarted(&Setup::restarts(&patient.name), &patient).await;
    assert!(!story.contains("diagnosed "), "{story}");
    // One for another container is none for this one.
    let mut setup = keeping(&patient.name);
    setup.policy = setup.policy.replace("local/paramedic-test-*", "local/another-*");
    let other = Patient::run(&["--stop-timeout", "1"], &["says", "3"]);
    setup.policy = setup.policy.replace(&patient.name, &other.name);
    let (_host, story) = restarted(&setup, &other).await;
    assert!(!story.contains("diagnosed "), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_noted_and_hinders_nothing() {
    let patient = Patient::run(&["--stop-timeout", "1", "--log-driver", "none"], &["says", "3"]);
    let (_host, story) = restarted(&keeping(&patient.name), &patient).await;
    let kept = story.lines().find(|line| line.starts_with("diagnosed ")).unwrap_or_else(|| panic!("{story}"));
    assert!(kept.contains("was running") && kept.contains("; its log: "), "{kept}");
}
