//! A person ends what is under way: real playbooks with all that they started, and calls to the engine, which cannot be taken back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use paramedic::clock::Time;
use paramedic::operate::myself;
use serde_json::json;

use crate::ansible::processes_with;
use crate::engine::Patient;
use crate::flow::{labels, service};
use crate::host::{Host, Setup};
use crate::people::{error, id, paramedic, say};

/// A policy that runs a playbook: it leaves a line, and then sleeps for so many seconds, also in a process that left its group.
fn playbook(container: &str, trace: &Path, seconds: u32) -> Setup {
    let text = format!(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n  - name: leave a line\n    ansible.builtin.shell: echo ran >> {}\n  \
         - name: take long\n    ansible.builtin.shell: \"setsid sh -c 'trap \\\"\\\" TERM; sleep {seconds}; true' & sleep {seconds}\"\n",
        trace.display()
    );
    let mut setup = Setup::restarts(container).then_playbook(text, container);
    setup.config = setup.config.replace("deadline: 60s", "deadline: 20m");
    setup.policy = setup
        .policy
        .replace("plugin: restart-container.wasm", "plugin: run-playbook.wasm")
        .replace("settings: {grace_seconds: 1, then_playbook: fix.yml}", "settings: {playbook: fix.yml, times: 3}");
    setup
}

fn runs(trace: &Path) -> usize {
    std::fs::read_to_string(trace).unwrap_or_default().lines().count()
}

async fn until(what: &str, seconds: u64, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "within {seconds} s there was no sign of: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A playbook that is in its long task.
async fn running(setup: &Setup, patient: &Patient, seconds: u32) -> Host {
    let host = Host::start(setup).await;
    host.send("firing", labels(patient), &Time::now().to_string()).await;
    until("both sleepers", 60, || processes_with(&format!("sleep {seconds}")).len() >= 3).await;
    host
}

fn trace(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("trace")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_playbook_is_ended_with_all_that_it_started_and_rests_until_a_person_retries() {
    let (service, folder, seconds) = (service(), tempfile::tempdir().unwrap(), 2_000_000 + std::process::id());
    let host = running(&playbook(&service.name, &trace(&folder), seconds), &service, seconds).await;
    let id = id(&host);
    let (code, said) = paramedic(&host, &["incident", "cancel", &id, "--reason", "it is the wrong\u{1b}[31m host"]).await;
    assert!(code == Some(0) && said.contains("all its processes are ended") && said.contains("incident retry"), "{said}");
    let story = host.until("escalated", 25).await;
    assert_eq!(processes_with(&format!("sleep {seconds}")), Vec::<String>::new(), "{story}");
    let stopped = format!("{} stopped it: it is the wrong", myself());
    assert!(story.contains("Action 1 interrupted") && story.contains(&stopped) && story.contains("in task take long"), "{story}");
    assert!(story.contains("all its processes were ended") && !story.contains('\u{1b}'), "{story}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!((host.incidents()[0].0.as_str(), runs(&trace(&folder))), ("escalated", 1), "it is that person's now");
    let (code, answer) = say(&host, &format!("incidents/{id}/cancel"), json!({ "reason": "again" })).await;
    assert!(code == 409 && error(&answer).contains("nothing of it is under way"), "{answer}");
    // It fires still, so a retry goes on where the policy is: the playbook once more.
    assert_eq!(paramedic(&host, &["incident", "retry", &id, "--reason", "the right one now"]).await.0, Some(0));
    until("a second run", 60, || runs(&trace(&folder)) == 2).await;
    assert_eq!(paramedic(&host, &["incident", "cancel", &id, "--reason", "enough"]).await.0, Some(0));
    host.until("escalated", 25).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_that_cancels_ends_what_runs_and_one_that_does_not_lets_it_finish() {
    let (service, folder, seconds) = (service(), tempfile::tempdir().unwrap(), 3_000_000 + std::process::id());
    let host = running(&playbook(&service.name, &trace(&folder), seconds), &service, seconds).await;
    let (code, said) = paramedic(&host, &["halt", "--reason", "look first"]).await;
    assert!(code == Some(0) && said.contains("under way, and finished"), "{said}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(processes_with(&format!("sleep {seconds}")).len() >= 3, "a halt alone lets it finish");
    let (code, said) = paramedic(&host, &["halt", "--cancel-running", "--reason", "it eats the disk"]).await;
    assert!(code == Some(0) && said.contains("look first") && said.contains("to be ended"), "{said}");
    let story = host.until("escalated", 25).await;
    assert!(story.contains("it eats the disk") && story.contains("Action 1 interrupted"), "{story}");
    assert_eq!(processes_with(&format!("sleep {seconds}")), Vec::<String>::new());
    let (_, said) = paramedic(&host, &["resume", "--reason", "on"]).await;
    assert!(said.contains("Not halted"), "{said}");
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!((host.incidents()[0].0.as_str(), runs(&trace(&folder))), ("escalated", 1), "a resume is no retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_a_halt_says_that_it_cannot_cancel() {
    let mut host = Host::start(&Setup::restarts("nobody")).await;
    host.stop().await;
    let (code, said) = paramedic(&host, &["halt", "--cancel-running", "--reason", "stop"]).await;
    assert!(code == Some(0) && said.contains("NOT ended"), "{said}");
    assert!(host.data().join("HALT").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_the_engine_cannot_be_taken_back_and_what_follows_is_not_done() {
    // It ignores SIGTERM: a restart takes as long as the grace.
    let patient = Patient::run(&[], &["wait"]);
    let mut setup = Setup::restarts(&patient.name);
    setup.policy = setup.policy.replace("grace_seconds: 1", "grace_seconds: 6, restarts: 3").replace("within: 40s", "within: 5s");
    let host = Host::start(&setup).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    until("a beginning", 20, || host.incidents().iter().any(|(_, story)| story.contains("begun"))).await;
    let cancel = format!("incidents/{}/cancel", id(&host));
    let (code, answer) = say(&host, &cancel, json!({ "reason": "I am on it" })).await;
    assert!(code == 200 && answer["next"].as_str().unwrap().contains("cannot take it back"), "{answer}");
    let (code, answer) = say(&host, &cancel, json!({ "reason": "me too" })).await;
    assert!(
        code == 409 && error(&answer).contains("is being stopped already") && error(&answer).contains("I am on it"),
        "{answer}"
    );
    let story = host.until("escalated", 20).await;
    assert!(story.contains("Action 1 succeeded") && story.contains("I am on it"), "{story}");
    let started = patient.inspect("{{.State.StartedAt}}");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(patient.inspect("{{.State.StartedAt}}"), started, "nothing further is done: {}", host.incidents()[0].1);
}
