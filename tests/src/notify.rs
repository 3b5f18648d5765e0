//! Calling people: through the real Alertmanager's routes and inhibitions as they are shipped, and at webhooks that fail.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::routing::any;
use paramedic::clock::Time;
use paramedic::journal::Reader;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::crash::{binary, serve};
use crate::engine::Patient;
use crate::flow::{DOWN, WELL, restarts, rule, service, until_restarted};
use crate::host::{Host, Setup};
use crate::programs::{Exporter, Program, reqwest_client, start_alertmanager, start_alertmanager_with, start_prometheus};

/// What was told: when, with which key, and the body.
#[derive(Clone, Debug)]
struct Heard {
    at: Instant,
    key: String,
    /// What it proves itself with.
    token: String,
    body: Value,
}

/// Somebody who is told. Answers what the test wants.
#[derive(Clone)]
struct Person {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// What is answered to a body.
    answer: fn(&Value) -> u16,
}

impl Person {
    /// Has a place where it can be told, and is not there yet.
    fn absent(answer: fn(&Value) -> u16) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, heard: Arc::default(), answer }
    }

    async fn there() -> Self {
        let person = Self::absent(|_| 200);
        person.come().await;
        person
    }

    async fn come(&self) {
        let app = Router::new().fallback(any(hear)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks/T0P-SECRET", self.port)
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Every alert in every page of Alertmanager's, as (status, labels).
    fn pages(&self) -> Vec<(String, Value)> {
        let pages = self.heard().into_iter().flat_map(|heard| heard.body["alerts"].as_array().cloned().unwrap_or_default());
        pages.map(|alert| (alert["status"].as_str().unwrap().to_owned(), alert["labels"].clone())).collect()
    }

    fn was_paged(&self, status: &str, name: &str, container: &str) -> bool {
        self.pages().iter().any(|(s, labels)| s == status && labels["alertname"] == name && labels["container"] == container)
    }
}

async fn hear(State(person): State<Person>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (key, token) = (header("idempotency-key"), header("authorization"));
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let status = (person.answer)(&body);
    person.heard.lock().unwrap().push(Heard { at: Instant::now(), key, token, body });
    StatusCode::from_u16(status).unwrap()
}

async fn until(what: &str, seconds: u64, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "within {seconds} s there was no sign of: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    begun.elapsed()
}

/// Alertmanager as the demonstration ships it, for alerts called `Down`, with this person on call.
async fn shipped(oncall: &Person, more: &str) -> Program {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stack/alertmanager/alertmanager.yml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let called = format!("  - name: oncall\n    webhook_configs: [{{url: '{}'}}]\n", oncall.url());
    let there = [
        ("NginxDown", "Down"),
        ("  - name: oncall\n", &called),
        ("http://paramedic:5001/alert", "http://127.0.0.1:9/"),
        ("        http_config:\n          authorization: {credentials_file: /run/secrets/sender_token}\n", ""),
        ("inhibit_rules:\n", &format!("inhibit_rules:\n{more}")),
    ];
    let config = there.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "the shipped file has no `{from}` any more");
        text.replace(from, to)
    });
    start_alertmanager_with(&config).await.unwrap()
}

/// The alerts of this name that Alertmanager lists.
async fn listed(alertmanager: &Program, name: &str) -> Vec<Value> {
    let url = format!("{}/api/v2/alerts?filter=alertname%3D%22{name}%22", alertmanager.url);
    reqwest_client().get(url).send().await.unwrap().json().await.unwrap()
}

/// A rule that fires for whatever the metric names, and a metric that names these containers.
const BY_SERIES: &str = "  - {alert: Down, expr: up_in_truth == 0, for: 1s, labels: {severity: critical}}";
fn series(containers: &[(&str, u8)]) -> String {
    containers.iter().map(|(name, up)| format!("up_in_truth{{container=\"{name}\"}} {up}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_of_two_is_healed_only_the_other_one_is_paged() {
    let (patient, other) = (service(), "nobody-heals-me");
    let oncall = Person::there().await;
    let exporter = Exporter::start(&series(&[(&patient.name, 1), (other, 1)])).await.unwrap();
    let alertmanager = shipped(&oncall, "").await;
    let prometheus = start_prometheus(BY_SERIES, &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let mut setup = Setup::restarts(&patient.name).prometheus(&prometheus.url).alertmanager(&alertmanager.url);
    setup.policy = setup.policy.replace("within: 40s", "within: 5m");
    let host = Host::start(&setup).await;
    exporter.set(&series(&[(&patient.name, 0), (other, 0)]));
    until_restarted(&patient, 1, 30).await;
    until("ParamedicHealing", 10, async || !listed(&alertmanager, "ParamedicHealing").await.is_empty()).await;
    let healing = listed(&alertmanager, "ParamedicHealing").await.remove(0);
    assert_eq!(
        (&healing["labels"]["container"], &healing["labels"]["alert"]),
        (&json!(patient.name), &json!("Down")),
        "{healing}"
    );
    until("the page for the other one", 60, async || oncall.was_paged("firing", "Down", other)).await;
    until("the call about the other one", 60, async || oncall.was_paged("firing", "ParamedicEscalated", other)).await;
    // Twice group_interval, in which a page would have come.
    tokio::time::sleep(Duration::from_secs(65)).await;
    let states: Vec<String> = host.incidents().into_iter().map(|(state, _)| state).collect();
    assert!(states.contains(&"verifying".to_owned()), "it is not being healed any more, so this shows nothing: {states:?}");
    exporter.set(&series(&[(&patient.name, 1), (other, 0)]));
    until("it to be healed", 60, async || host.incidents().iter().any(|(state, _)| state == "healed")).await;
    until("ParamedicHealing to end", 40, async || listed(&alertmanager, "ParamedicHealing").await.is_empty()).await;
    for name in ["Down", "ParamedicEscalated", "ParamedicHealing"] {
        assert!(!oncall.was_paged("firing", name, &patient.name), "{:#?}", oncall.pages());
    }
    assert_eq!(host.incidents().len(), 2, "none of our own alerts became an incident");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_heals_a_person_is_paged_within_four_minutes() {
    let patient = service();
    let oncall = Person::there().await;
    let exporter = Exporter::start(DOWN).await.unwrap();
    let alertmanager = shipped(&oncall, "").await;
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let mut setup = Setup::restarts(&patient.name).prometheus(&prometheus.url).alertmanager(&alertmanager.url);
    setup.policy = setup.policy.replace("within: 40s", "within: 20m");
    let folder = TempDir::new().unwrap();
    let mut server = serve(&setup.write(folder.path(), free_port()));
    until_restarted(&patient, 1, 60).await;
    until("ParamedicHealing", 10, async || !listed(&alertmanager, "ParamedicHealing").await.is_empty()).await;
    // Past group_wait and one group_interval: the page does wait.
    tokio::time::sleep(Duration::from_secs(65)).await;
    assert!(!oncall.was_paged("firing", "Down", &patient.name), "{:#?}", oncall.pages());
    server.kill().unwrap();
    server.wait().unwrap();
    let took = until("the page", 240, async || oncall.was_paged("firing", "Down", &patient.name)).await;
    println!("paged {} s after the kill", took.as_secs());
    assert!(took > Duration::from_secs(100), "so soon that nothing had delayed it: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_called_through_alertmanager_is_told_when_it_heals_after_all() {
    let patient = service();
    let oncall = Person::there().await;
    let exporter = Exporter::start(DOWN).await.unwrap();
    let alertmanager = shipped(&oncall, "").await;
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let setup = Setup::restarts(&patient.name).prometheus(&prometheus.url).alertmanager(&alertmanager.url);
    let setup = setup.policy_line("escalate: '{{ template \"oncall\" . }}'");
    let setup = Setup { policy: setup.policy.replace("within: 40s", "within: 3s"), ..setup };
    let host = Host::start(&setup).await;
    until("the call", 90, async || oncall.was_paged("firing", "ParamedicEscalated", &patient.name)).await;
    let (_, called) = oncall.pages().into_iter().find(|(_, labels)| labels["alertname"] == "ParamedicEscalated").unwrap();
    assert_eq!((&called["severity"], &called["policy"], &called["alert"]), (&json!("critical"), &json!("heal"), &json!("Down")));
    assert_eq!(called["escalate"], "{{ template \"oncall\" . }}", "it is data, and nobody evaluates it");
    exporter.set(WELL);
    host.until("cleared", 60).await;
    until("that it is over", 120, async || oncall.was_paged("resolved", "ParamedicEscalated", &patient.name)).await;
    assert_eq!(host.incidents().len(), 1, "{:#?}", host.incidents());
}

/// Our own alerts as they come back through both doors and Alertmanager's list: of this Paramedic, and of another.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_alerts_are_never_incidents() {
    let patient = service();
    let alertmanager = start_alertmanager("").await.unwrap();
    let mut setup = Setup::restarts(&patient.name).alertmanager(&alertmanager.url);
    // A policy that would take anything.
    setup.policy = setup.policy.replace("match: ['alertname=\"Down\"']\n", "");
    let host = Host::start(&setup).await;
    let mut own = Vec::new();
    for name in ["ParamedicHealing", "ParamedicEscalated", "ParamedicApproval", "ParamedicHolding", "ParamedicAlive"] {
        own.push(json!({ "alertname": name, "container": patient.name, "paramedic": "notice" }));
        own.push(json!({ "alertname": name, "incident": "of-another-1", "paramedic": "notice" }));
    }
    let post = |url: String, labels: &[Value]| {
        let alerts: Vec<Value> =
            labels.iter().map(|labels| json!({ "labels": labels, "startsAt": Time::now().to_string() })).collect();
        reqwest_client().post(format!("{url}/api/v2/alerts")).json(&alerts).send()
    };
    for round in 0..2 {
        for labels in &own {
            assert_eq!(host.send("firing", labels.clone(), &Time::now().to_string()).await, 200, "{round}");
        }
        assert_eq!(post(host.url.clone(), &own).await.unwrap().status(), 200);
        assert_eq!(post(alertmanager.url.clone(), &own).await.unwrap().status(), 200);
    }
    // Some rounds of polling.
    until("our own heartbeat", 20, async || listed(&alertmanager, "ParamedicAlive").await.len() == 3).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(host.incidents(), []);
    // An operator's own alert about Paramedic is like any other.
    assert_eq!(
        host.send("firing", json!({ "alertname": "ParamedicDown", "container": patient.name }), &Time::now().to_string()).await,
        200
    );
    until("an operator's alert", 10, async || host.incidents().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inhibited_by_our_own_it_goes_on_and_by_anybody_else_it_is_held() {
    let patient = service();
    let oncall = Person::there().await;
    let others =
        "  - {source_matchers: ['alertname=\"Datacenter\"'], target_matchers: ['alertname=\"Down\"'], equal: [cluster]}\n";
    let exporter = Exporter::start(DOWN).await.unwrap();
    let alertmanager = shipped(&oncall, others).await;
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let setup = Setup::restarts(&patient.name).prometheus(&prometheus.url).alertmanager(&alertmanager.url);
    // Time for the alert of our own to be there before the second attempt.
    let setup = Setup { policy: setup.policy.replace("within: 40s", "within: 8s"), ..setup };
    let trace = TempDir::new().unwrap();
    let playbook = format!(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n  - name: leave a trace\n    ansible.builtin.copy: {{dest: '{}', content: x}}\n",
        trace.path().join("trace").display()
    );
    let host = Host::start(&setup.then_playbook(playbook, &patient.name)).await;
    until_restarted(&patient, 1, 30).await;
    until("our inhibition", 20, async || {
        listed(&alertmanager, "Down")
            .await
            .iter()
            .any(|alert| alert["status"]["inhibitedBy"].as_array().is_some_and(|by| !by.is_empty()))
    })
    .await;
    until("the second attempt", 60, async || trace.path().join("trace").exists()).await;
    let story = host.incidents().remove(0).1;
    assert!(!story.contains("held"), "our own inhibition held it: {story}");

    // Now a person's: the next incident is held by it, although ours might inhibit as well.
    exporter.set(WELL);
    until("the end of it", 90, async || {
        host.incidents().iter().all(|(state, _)| ["healed", "cleared"].contains(&state.as_str()))
    })
    .await;
    let datacenter = json!([{ "labels": { "alertname": "Datacenter", "cluster": "test" } }]);
    reqwest_client().post(format!("{}/api/v2/alerts", alertmanager.url)).json(&datacenter).send().await.unwrap();
    let ours = json!([{ "labels": { "alertname": "ParamedicHealing", "paramedic": "notice", "page": "delay", "alert": "Down", "job": "demo",
        "instance": exporter.address, "container": patient.name } }]);
    reqwest_client().post(format!("{}/api/v2/alerts", alertmanager.url)).json(&ours).send().await.unwrap();
    let before = restarts(&patient);
    exporter.set(DOWN);
    let story = host.until("held", 60).await;
    assert!(story.contains("[inhibited]: inhibited in Alertmanager by Datacenter"), "{story}");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(restarts(&patient), before, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_healed_all_the_same() {
    let patient = service();
    let exporter = Exporter::start(DOWN).await.unwrap();
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], None, "").await.unwrap();
    // Nobody listens there; and one who takes every connection and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!(
        "notify: {{webhooks: [{{name: hangs, url: 'http://{}', send: [escalated, healed, over]}}]}}\n",
        hanging.local_addr().unwrap()
    );
    let mut setup = Setup::restarts(&patient.name).prometheus(&prometheus.url).alertmanager("http://127.0.0.1:9");
    setup.config.push_str(&hook);
    let host = Host::start(&setup.policy_line("when_unsure: act")).await;
    until_restarted(&patient, 1, 30).await;
    exporter.set(WELL);
    host.until("healed", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_old_alerts_at_the_first_start_are_one_notice() {
    let patient = service();
    let hook = Person::there().await;
    let alertmanager = start_alertmanager("").await.unwrap();
    let hour_ago = Time::now().minus(Duration::from_secs(3_600)).to_string();
    let old: Vec<Value> = (0..400)
        .map(|n| {
            json!({ "labels": { "alertname": "Down", "container": patient.name, "n": n.to_string() }, "startsAt": hour_ago,
            "endsAt": Time::now().plus(Duration::from_secs(600)).to_string() })
        })
        .collect();
    reqwest_client().post(format!("{}/api/v2/alerts", alertmanager.url)).json(&old).send().await.unwrap();
    let mut setup = Setup::restarts(&patient.name).alertmanager(&alertmanager.url).policy_line("limits: {deadline: 10s}");
    setup.config.push_str(&format!("notify: {{webhooks: [{{name: chat, url: '{}'}}]}}\n", hook.url()));
    let host = Host::start(&setup).await;
    let begun = Instant::now();
    loop {
        let listed = listed(&alertmanager, "ParamedicHolding").await;
        let told: Vec<&str> = listed.iter().map(|alert| alert["annotations"]["summary"].as_str().unwrap()).collect();
        if matches!(told.as_slice(), [one] if one.starts_with("400 incidents are held by the rule too-old")) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "not one notice of 400: {told:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    until("one message", 30, async || !hook.heard().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let heard = hook.heard();
    assert_eq!(heard.len(), 1, "{heard:#?}");
    assert_eq!((&heard[0].body["kind"], &heard[0].body["holding"]["rule"]), (&json!("holding"), &json!("too-old")), "{heard:#?}");
    assert!(heard[0].body["holding"]["count"].as_u64().unwrap() > 1, "{heard:#?}");
    assert_eq!((restarts(&patient), host.incidents().len()), (0, 100), "all that are shown");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends an alert of this name to a server that may not be up yet.
async fn fire(port: u16, patient: &Patient, name: &str) {
    let alert = json!({ "status": "firing", "labels": { "alertname": "Down", "container": patient.name, "name": name }, "startsAt": Time::now().to_string() });
    let message = json!({ "version": "4", "status": "firing", "alerts": [alert] });
    until("the alert to be taken", 60, async || {
        let sent = reqwest_client().post(format!("http://127.0.0.1:{port}/alert")).json(&message).send().await;
        sent.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

fn escalated(folder: &Path) -> usize {
    let Ok(reader) = Reader::open(&folder.join("data")) else { return 0 };
    let ids = reader.list(false, 100).unwrap();
    ids.iter().filter(|id| reader.incident(id).unwrap().unwrap().state() == "escalated").count()
}

fn end(mut server: Child) {
    server.kill().unwrap();
    server.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_down_is_told_everything_in_order_across_kills() {
    let patient = Patient::run(&["--stop-timeout", "1"], &["wait"]);
    // The third one it refuses, whatever is said: that one is passed over, and the next ones are told.
    let hook = Person::absent(|body| if body["incident"]["labels"]["name"] == "c" { 400 } else { 200 });
    let mut setup = Setup::restarts("somebody-else");
    let line = format!("notify: {{webhooks: [{{name: chat, url: '{}', bearer_token_file: token}}]}}\n", hook.url());
    setup.config.push_str(&line);
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let config = setup.write(folder.path(), port);
    std::fs::write(folder.path().join("token"), "T0P-TOKEN\n").unwrap();
    let log = folder.path().join("log");
    let serve = |config: &Path| {
        let log = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = std::process::Command::new(binary());
        command.arg("serve").arg("--config").arg(config).stdin(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    };
    for (number, name) in (1..).zip(["a", "b", "c"]) {
        let server = serve(&config);
        fire(port, &patient, name).await;
        until("an escalation in the journal", 30, async || escalated(folder.path()) == number).await;
        end(server);
    }
    let server = serve(&config);
    fire(port, &patient, "d").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    hook.come().await;
    until("the last one", 120, async || hook.heard().iter().any(|heard| heard.body["incident"]["labels"]["name"] == "d")).await;
    let heard = hook.heard();
    let names: Vec<&str> = heard.iter().map(|heard| heard.body["incident"]["labels"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c", "c", "c", "c", "c", "c", "d"]);
    assert!(heard.iter().all(|heard| heard.body["kind"] == "escalated" && heard.key == heard.body["id"].as_str().unwrap()));
    assert!(heard.is_sorted_by_key(|heard| heard.body["position"].as_u64()), "{heard:#?}");
    assert_eq!(heard.iter().filter(|one| one.key == heard[2].key).count(), 6, "a repetition can be told");

    // Killed and started again it tells nothing twice that was taken, and goes on.
    end(server);
    let server = serve(&config);
    fire(port, &patient, "e").await;
    until("the next one", 60, async || hook.heard().len() == 10).await;
    assert_eq!(hook.heard()[9].body["incident"]["labels"]["name"], "e");
    assert!(hook.heard()[9].at > heard[8].at && hook.heard().iter().all(|heard| heard.token == "Bearer T0P-TOKEN"));
    end(server);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("A webhook cannot be told") && log.contains("A webhook refuses a message"), "{log}");
    assert!(!log.contains("T0P"), "a secret is in the log: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_again_when_what_it_was_told_of_heals_after_all_and_not_of_history() {
    let patient = service();
    let hook = Person::there().await;
    let exporter = Exporter::start(DOWN).await.unwrap();
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], None, "").await.unwrap();
    let mut setup = Setup::restarts(&patient.name).prometheus(&prometheus.url).policy_line("escalate: oncall");
    setup.policy = setup.policy.replace("within: 40s", "within: 5s");
    let mut host = Host::start(&setup).await;
    // Before the webhook is there: history.
    host.until("escalated", 60).await;
    setup.config.push_str(&format!("notify: {{webhooks: [{{name: chat, url: '{}'}}]}}\n", hook.url()));
    host.stop().await;
    setup.write(host.config().parent().unwrap(), 0);
    host.start_again().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(hook.heard().is_empty(), "{:#?}", hook.heard());
    let id = Reader::open(&host.data()).unwrap().list(false, 1).unwrap()[0].to_string();
    let retry = async || {
        let client = reqwest::Client::builder().unix_socket(host.data().join("operator.sock")).build().unwrap();
        let url = format!("http://paramedic/v1/incidents/{id}/retry");
        let answer = client.post(url).json(&json!({ "reason": "again" })).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    retry().await;
    until("the escalation of the second try", 60, async || hook.heard().len() == 1).await;
    let told = hook.heard().remove(0).body;
    assert_eq!(
        (&told["version"], &told["kind"], &told["escalate"]),
        (&json!(1), &json!("escalated"), &json!("oncall")),
        "{told:#}"
    );
    assert_eq!((&told["incident"]["id"], &told["incident"]["state"]), (&json!(id), &json!("escalated")), "{told:#}");
    assert!(
        told["commands"].as_array().unwrap().contains(&json!(format!("paramedic incident retry {id} --reason TEXT"))),
        "{told:#}"
    );
    retry().await;
    host.until("verifying", 30).await;
    exporter.set(WELL);
    host.until("healed", 60).await;
    until("that it is over", 30, async || hook.heard().len() == 2).await;
    let over = hook.heard().remove(1).body;
    assert_eq!(
        (&over["kind"], &over["ending"], &over["incident"]["id"]),
        (&json!("over"), &json!("healed"), &json!(id)),
        "{over:#}"
    );
    assert!(over["position"].as_u64() > told["position"].as_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_told_with_the_command_that_answers_it_and_ends_with_the_answer() {
    let patient = service();
    let hook = Person::there().await;
    let alertmanager = start_alertmanager("").await.unwrap();
    let mut setup = Setup::restarts(&patient.name).alertmanager(&alertmanager.url);
    setup.policy = setup.policy.replace("mode: enforce", "mode: approve");
    setup.config.push_str(&format!("notify: {{webhooks: [{{name: chat, url: '{}', send: [awaiting-approval]}}]}}\n", hook.url()));
    let host = Host::start(&setup).await;
    let labels = json!({ "alertname": "Down", "container": patient.name, "team": "web" });
    host.send("firing", labels, &Time::now().to_string()).await;
    host.until("awaiting-approval", 20).await;
    until("the question in Alertmanager", 10, async || !listed(&alertmanager, "ParamedicApproval").await.is_empty()).await;
    let asked = listed(&alertmanager, "ParamedicApproval").await.remove(0);
    assert_eq!((&asked["labels"]["team"], &asked["labels"]["policy"]), (&json!("web"), &json!("heal")), "{asked:#}");
    until("the message", 10, async || hook.heard().len() == 1).await;
    let told = hook.heard().remove(0).body;
    let (id, digest) = (told["incident"]["id"].as_str().unwrap(), told["approval"]["digest"].as_str().unwrap());
    let command = format!("paramedic incident approve {id} --digest {} --reason TEXT", &digest[..12]);
    assert!(told["commands"].as_array().unwrap().contains(&json!(command)), "{told:#}");
    assert!(asked["annotations"]["description"].as_str().unwrap().contains(&command), "{asked:#}");
    let client = reqwest::Client::builder().unix_socket(host.data().join("operator.sock")).build().unwrap();
    let url = format!("http://paramedic/v1/incidents/{id}/deny");
    let denied = client.post(url).json(&json!({ "reason": "no" })).send().await.unwrap();
    assert!(denied.status().is_success(), "{}", denied.text().await.unwrap());
    until("the question to end", 20, async || listed(&alertmanager, "ParamedicApproval").await.is_empty()).await;
    until("the call that follows", 20, async || !listed(&alertmanager, "ParamedicEscalated").await.is_empty()).await;
    assert_eq!((hook.heard().len(), restarts(&patient)), (1, 0));
}

/// An Alertmanager whose clock is an hour ahead would take what ends in three minutes for something that is over.
#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_with_another_clock_is_told_in_its_own_time() {
    let posts: Arc<Mutex<Vec<Value>>> = Arc::default();
    let heard = Arc::clone(&posts);
    let ahead = Duration::from_secs(3_600);
    let answer = move |request: Request| {
        let heard = Arc::clone(&heard);
        async move {
            if request.method() == axum::http::Method::POST {
                let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                heard.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            }
            let now = jiff::Timestamp::from_millisecond(Time::now().plus(ahead).0).unwrap();
            ([("date", now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())], "[]")
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(any(answer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let _host = Host::start(&Setup::restarts("web").alertmanager(&url)).await;
    until("two posts", 20, async || posts.lock().unwrap().len() >= 2).await;
    let ends: Vec<Time> =
        posts.lock().unwrap().iter().map(|post| Time::parse(post[0]["endsAt"].as_str().unwrap()).unwrap()).collect();
    let told = |ends: Time| ends.since(Time::now().plus(ahead)).as_secs();
    assert_eq!(told(ends[0]), 0, "before it is known, it is told in our time");
    assert!((150..=185).contains(&told(ends[1])), "{} s ahead of its clock", told(ends[1]));
}
