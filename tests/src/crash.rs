//! `kill -9` of the real server while a playbook runs: the next server finds it, waits for it, and runs nothing twice.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use paramedic::clock::Time;
use paramedic::incident::timeline;
use paramedic::journal::Reader;
use serde_json::json;

use crate::engine::Patient;
use crate::host::Setup;
use crate::programs::reqwest_client;

/// The server as it ships, from the folder in which this test was built.
pub(crate) fn binary() -> PathBuf {
    let path = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("paramedic");
    assert!(path.exists(), "{} is missing: `make build` makes it", path.display());
    path
}

pub(crate) fn serve(config: &Path) -> Child {
    let mut command = Command::new(binary());
    command.arg("serve").arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

pub(crate) async fn until(what: &str, seconds: u64, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "within {seconds} s there was no sign of: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) fn story(data: &Path) -> String {
    let Ok(reader) = Reader::open(data) else { return String::new() };
    let Some(id) = reader.list(false, 1).unwrap().pop() else { return String::new() };
    let entries = reader.read(&id, 0, usize::MAX).unwrap();
    timeline::tell(entries.iter().map(|entry| (entry.at, &entry.event)))
        .iter()
        .map(|line| format!("{} {}\n", line.kind, line.text))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_a_playbook_runs_finds_it_again_and_runs_it_once() {
    let patient = Patient::run(&["--stop-timeout", "1"], &["wait"]);
    let folder = tempfile::TempDir::new().unwrap();
    let counter = folder.path().join("counter");
    let playbook = format!(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n  - name: count\n    ansible.builtin.shell: echo ran >> {}\n  - name: take a while\n    ansible.builtin.command: sleep 12\n",
        counter.display()
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut setup = Setup::restarts(&patient.name).then_playbook(playbook, &patient.name);
    // Straight to the playbook: nothing can be verified here, and this is not about restarts.
    setup.policy = setup.policy.replace("plugin: restart-container.wasm", "plugin: run-playbook.wasm").replace(
        "settings: {grace_seconds: 1, then_playbook: fix.yml}",
        &format!("settings: {{playbook: fix.yml, about: local/{}}}", patient.name),
    );
    setup.policy = setup.policy.replace("within: 40s, stable: 2s", "within: 3s, stable: 1s");
    let config = setup.write(folder.path(), port);
    let data = folder.path().join("data");

    let mut first = serve(&config);
    let url = format!("http://127.0.0.1:{port}");
    let alert = json!({ "status": "firing", "labels": { "alertname": "Down", "container": patient.name }, "startsAt": Time::now().to_string() });
    let message = json!({ "version": "4", "status": "firing", "alerts": [alert] });
    let mut sent = false;
    for _ in 0..300 {
        sent = reqwest_client()
            .post(format!("{url}/alert"))
            .json(&message)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success());
        if sent {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(sent, "the server did not take the alert");
    until("the playbook's first task", 60, || counter.exists()).await;
    first.kill().unwrap();
    first.wait().unwrap();

    let mut second = serve(&config);
    until("the interrupted playbook in the journal", 90, || story(&data).contains("interrupted")).await;
    let told = story(&data);
    assert!(told.contains("it took place"), "{told}");
    assert!(told.find("ended").unwrap() < told.find("verified").unwrap_or(usize::MAX), "{told}");
    until("looking again", 60, || story(&data).contains("Looked after attempt 1")).await;
    assert_eq!(std::fs::read_to_string(&counter).unwrap(), "ran\n", "{}", story(&data));
    rustix::process::kill_process(rustix::process::Pid::from_child(&second), rustix::process::Signal::TERM).unwrap();
    let ended = second.wait().unwrap();
    assert!(ended.success(), "a graceful stop ends with {ended}");
}
