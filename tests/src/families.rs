//! The families of actions beside restarts, on the real server: told and done once each, and what `kill -9` cuts off is found out and never
//! repeated: a silence and its end before and after the real Alertmanager took them, a message, a check run.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::post;
use paramedic::clock::Time;
use serde_json::{Value, json};

use crate::crash::{serve, story, until};
use crate::flow::{DOWN, WELL, restarts, rule, service};
use crate::host::{Host, Setup};
use crate::programs::{Exporter, Program, reqwest_client, start_alertmanager, start_prometheus};

/// Whatever was posted there.
type Heard = Arc<Mutex<Vec<Value>>>;

/// A channel that takes what it is told, and answers after that time.
async fn channel(answers_after: Duration) -> (String, Heard) {
    let heard = Heard::default();
    let (keep, listener) = (Arc::clone(&heard), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let take = move |body: Bytes| async move {
        keep.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        tokio::time::sleep(answers_after).await;
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(take))).await });
    (url, heard)
}

/// The texts that policies said, in their order.
fn said(heard: &Heard) -> Vec<String> {
    let heard = heard.lock().unwrap();
    let said = heard.iter().filter(|message| message["kind"] == "said");
    said.map(|message| message["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_tells_a_channel_and_then_restarts_does_each_once_and_it_is_verified() {
    let patient = service();
    let exporter = Exporter::start(WELL).await.unwrap();
    let alertmanager = start_alertmanager("").await.unwrap();
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let (url, heard) = channel(Duration::ZERO).await;
    let name = &patient.name;
    let mut setup = Setup::restarts(name).prometheus(&prometheus.url).alertmanager(&alertmanager.url);
    setup.config.push_str(&format!("notify: {{webhooks: [{{name: oncall, url: '{url}'}}]}}\n"));
    setup.policy = format!(
        "name: heal\nplugin: rules.wasm\nmatch: ['alertname=\"Down\"']\nmode: enforce\nbrakes: {{cooldown: 1s}}\n\
         grants: {{docker: {{restart: ['local/{name}']}}, notify: [oncall]}}\nverify: {{within: 40s, stable: 2s}}\n\
         settings:\n  rules:\n  - act:\n    - notify: {{channel: oncall, text: 'restarting ${{target.name}}'}}\n    - restart: {{grace_seconds: 1}}\n"
    );
    let host = Host::start(&setup).await;
    exporter.set(DOWN);
    crate::flow::until_restarted(&patient, 1, 60).await;
    // Told before it was done.
    assert_eq!(said(&heard), [format!("restarting local/{name}")]);
    exporter.set(WELL);
    let told = host.until("healed", 60).await;
    for words in [
        "Allowed as attempt 1, action 1: notify.send to oncall",
        "oncall was told",
        "was restarted in",
        "HEALED",
        "healed by attempt 1",
    ] {
        assert_eq!(told.matches(words).count(), 1, "{words}: {told}");
    }
    assert_eq!((said(&heard).len(), restarts(&patient)), (1, 1), "{told}");
}

/// In front of the real Alertmanager: lets everything through but the one kind of request that it holds, before or after it was taken.
struct Gate {
    url: String,
    held: Arc<Mutex<Option<(Method, Moment)>>>,
    /// How many requests are or were held.
    waiting: Arc<Mutex<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Before,
    After,
}

impl Gate {
    async fn before(alertmanager: &Program) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (held, waiting) = (Arc::<Mutex<Option<(Method, Moment)>>>::default(), Arc::<Mutex<usize>>::default());
        let gate = Self { url, held: Arc::clone(&held), waiting: Arc::clone(&waiting) };
        let upstream = alertmanager.url.clone();
        let pass = move |method: Method, uri: Uri, body: Bytes| async move {
            let hold = held.lock().unwrap().clone().filter(|(of, _)| *of == method && uri.path().contains("/silence"));
            let hang = || async {
                *waiting.lock().unwrap() += 1;
                std::future::pending::<()>().await;
            };
            if hold.as_ref().is_some_and(|(_, moment)| *moment == Moment::Before) {
                hang().await;
            }
            let request = reqwest_client().request(method, format!("{upstream}{uri}")).header("Content-Type", "application/json");
            let Ok(answer) = request.body(body).send().await else { return (StatusCode::BAD_GATEWAY, Bytes::new()) };
            let (status, body) = (answer.status(), answer.bytes().await.unwrap_or_default());
            if hold.is_some() {
                hang().await;
            }
            (status, body)
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(pass)).await });
        gate
    }

    fn hold(&self, what: Option<(Method, Moment)>) {
        *self.held.lock().unwrap() = what;
    }

    async fn until_held(&self) {
        until("the request that is held", 90, || *self.waiting.lock().unwrap() > 0).await;
    }
}

/// The real server with a policy of rules, in a folder of its own, about an alert that the real Alertmanager lists.
struct Station {
    folder: tempfile::TempDir,
    config: PathBuf,
    child: Option<Child>,
}

impl Station {
    fn new(config: &str, grants: &str, rules: &str, playbook: Option<String>) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let policy = format!(
            "name: heal\nplugin: rules.wasm\nmatch: ['alertname=\"Down\"']\nmode: enforce\nbrakes: {{cooldown: 1s}}\n\
             grants: {grants}\nverify: {{within: 3s, stable: 1s}}\nsettings:\n  rules:\n{rules}"
        );
        let config = format!("poll: {{interval: 1s}}\n{config}");
        let playbooks = playbook.into_iter().map(|text| ("fix.yml", text)).collect();
        let folder = tempfile::TempDir::new().unwrap();
        let config = Setup { config, policy, playbooks }.write(folder.path(), port);
        let child = Some(serve(&config));
        Self { folder, config, child }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn story(&self) -> String {
        story(&self.data())
    }

    async fn until_told(&self, words: &str, seconds: u64) -> String {
        until(words, seconds, || self.story().contains(words)).await;
        self.story()
    }

    /// As a power cut.
    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = Some(serve(&self.config));
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// About a container that nobody has: telling people something touches none.
const ABOUT: &str = "local/paramedic-test-nobody";

async fn fires(alertmanager: &Program) {
    let (_, container) = ABOUT.split_once('/').unwrap();
    let labels = json!({"alertname": "Down", "container": container});
    let alert = json!([{"labels": labels, "startsAt": Time::now().to_string()}]);
    let answer = reqwest_client().post(format!("{}/api/v2/alerts", alertmanager.url)).json(&alert).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

/// The states of all silences that Paramedic made.
async fn silences(alertmanager: &Program) -> Vec<String> {
    let listed = reqwest_client().get(format!("{}/api/v2/silences", alertmanager.url)).send().await.unwrap();
    let listed: Vec<Value> = listed.json().await.unwrap();
    let ours = listed.iter().filter(|silence| silence["createdBy"] == "paramedic");
    ours.map(|silence| silence["status"]["state"].as_str().unwrap().to_owned()).collect()
}

const QUIET: &str = "  - silence: {for: 30m, match: ['alertname=\"Down\"'], comment: being healed}\n";
const MAY_QUIET: &str = "{alertmanager: {silence: [{match: ['alertname=\"Down\"']}], expire: true}}";

fn watching(gate: &Gate) -> String {
    format!("alertmanager: {}\nnotify: {{alertmanager: false}}\n", gate.url)
}

/// Kills the server at that moment of its request to the real Alertmanager and starts it again. Gives what it tells when it has gone through
/// these rules, and the states of the silences by then.
async fn cut_off(method: Method, moment: Moment, rules: &str) -> (String, Vec<String>) {
    let alertmanager = start_alertmanager("").await.unwrap();
    let gate = Gate::before(&alertmanager).await;
    gate.hold(Some((method, moment)));
    let mut station = Station::new(&watching(&gate), MAY_QUIET, &format!("{rules}  - escalate: nothing more\n"), None);
    fires(&alertmanager).await;
    gate.until_held().await;
    station.kill();
    gate.hold(None);
    station.start_again();
    let told = station.until_told("nothing more", 90).await;
    (told, silences(&alertmanager).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_was_cut_off_is_found_by_its_comment_and_never_made_twice() {
    for (moment, words, made) in
        [(Moment::After, "it took place: silence ", 1), (Moment::Before, "it did not take place: there is no such silence", 0)]
    {
        let (told, silences) = cut_off(Method::POST, moment, QUIET).await;
        assert!(told.contains(&format!("Action 1 interrupted: {words}")), "{moment:?}: {told}");
        assert_eq!(silences.len(), made, "{moment:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_silence_that_was_cut_off_is_looked_up() {
    let rules = format!("{QUIET}  - expire_silences:\n");
    for (moment, words, state) in
        [(Moment::After, "it took place: ended: ", "expired"), (Moment::Before, "it did not take place: still there: ", "active")]
    {
        let (told, silences) = cut_off(Method::DELETE, moment, &rules).await;
        assert!(told.contains(&format!("Action 2 interrupted: {words}")), "{moment:?}: {told}");
        assert_eq!(silences, [state], "{moment:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_cut_off_is_sent_at_most_once() {
    let alertmanager = start_alertmanager("").await.unwrap();
    let (url, heard) = channel(Duration::from_secs(3_600)).await;
    let config = format!(
        "alertmanager: {}\nnotify: {{alertmanager: false, webhooks: [{{name: oncall, url: '{url}', send: [healed]}}]}}\n",
        alertmanager.url
    );
    let rules = "  - notify: {channel: oncall, text: 'look at ${target.name}'}\n  - escalate: nothing more\n";
    let mut station = Station::new(&config, "{notify: [oncall]}", rules, None);
    fires(&alertmanager).await;
    until("the message", 90, || !said(&heard).is_empty()).await;
    station.kill();
    station.start_again();
    let told = station.until_told("nothing more", 90).await;
    assert!(
        told.contains("Action 1 interrupted: it cannot be told whether oncall got the message; it is not sent again"),
        "{told}"
    );
    assert_eq!(said(&heard), [format!("look at {ABOUT}")], "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_run_that_was_cut_off_is_found_runs_once_and_nobody_looks_whether_it_healed() {
    let alertmanager = start_alertmanager("").await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let (counter, changed) = (folder.path().join("counter"), folder.path().join("changed"));
    let shown = |path: &Path| path.display().to_string();
    let playbook = format!(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n\
         \x20 - {{name: count, check_mode: false, ansible.builtin.shell: 'echo ran >> {}'}}\n\
         \x20 - {{name: take a while, check_mode: false, ansible.builtin.command: sleep 10}}\n\
         \x20 - {{name: change, ansible.builtin.copy: {{content: x, dest: {}}}}}\n",
        shown(&counter),
        shown(&changed)
    );
    let config = format!(
        "alertmanager: {}\nnotify: {{alertmanager: false}}\n\
         ansible: {{playbooks: playbooks, deadline: 60s, profiles: {{default: {{inventory: inventory.yml}}}}}}\n",
        alertmanager.url
    );
    let grants = "{ansible: [{playbook: fix.yml, hosts: [localhost], check_only: true}]}";
    let rules = "  - playbook: {name: fix.yml, check: true}\n  - escalate: nothing more\n";
    let mut station = Station::new(&config, grants, rules, Some(playbook));
    fires(&alertmanager).await;
    until("the first task", 90, || counter.exists()).await;
    station.kill();
    station.start_again();
    let told = station.until_told("nothing more", 90).await;
    let found = "Action 1 interrupted: check only, nothing was changed (`changed` counts what would be): Paramedic was stopped while it ran a playbook; it took place";
    assert!(told.contains(found), "{told}");
    assert!(!told.contains("Looked after attempt"), "nothing was touched: {told}");
    assert_eq!(std::fs::read_to_string(&counter).unwrap(), "ran\n", "{told}");
    assert!(!changed.exists(), "a check changes nothing: {told}");
}
