//! The sandbox against real components: what a plugin is told arrives, what it answers comes back, and whatever it does wrong
//! ends as one failed decision while everybody else goes on.

mod bombs;
mod contract;
pub(crate) mod load;
mod looking;
mod misbehaviour;
mod raw;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use paramedic::action::{Action, ContainerId, DockerVerb, Ending, Outcome, Proposal};
use paramedic::alert::{Alert, Family, Labels, Status};
use paramedic::clock::Time;
use paramedic::decide::lookup::Blind;
use paramedic::decide::sandbox::{Brief, Limits, Plugin, Ruling, Sandbox};
use paramedic::decide::told;
use paramedic::incident::{Attempt, Decision, Intent, Progress, Rule, TargetView, Trigger, Verdict};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::components::component;

pub(crate) fn sandbox() -> &'static Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(None).unwrap())
}

/// The plugin that does what its settings say.
async fn guests() -> &'static Arc<Plugin> {
    static GUESTS: OnceCell<Arc<Plugin>> = OnceCell::const_new();
    GUESTS.get_or_init(|| async { sandbox().load("guests.wasm", &component("guests")).await.unwrap() }).await
}

/// Time enough for a good plugin on a busy machine.
fn patient() -> Limits {
    Limits { deadline: Duration::from_secs(2), ..Limits::default() }
}

fn brief(settings: Value) -> Brief {
    let labels = Labels::from([("alertname".to_owned(), "NginxDown".to_owned()), ("severity".to_owned(), "critical".to_owned())]);
    let alert = Alert {
        family: Family::Prometheus,
        status: Status::Firing,
        labels,
        annotations: Labels::from([("summary".to_owned(), "it is {{ down }}".to_owned())]),
        starts_at: Time(1_000),
        ends_at: None,
        generator_url: "http://prometheus/graph".to_owned(),
        fingerprint: None,
    };
    Brief {
        id: "0123456789abcdef-7".parse().unwrap(),
        alert,
        first_seen: Time(2_000),
        trigger: Trigger::NotHealed,
        attempts: Vec::new(),
        targets: Vec::new(),
        settings,
        now: Time(3_000),
        lookups: Arc::new(Blind),
    }
}

async fn ask(verb: &str, limits: &Limits) -> Ruling {
    guests().await.decide(&brief(json!({"do": verb})), limits).await
}

async fn assert_others_go_on() {
    assert_eq!(ask("pass", &patient()).await.decision, Ok(Decision::Pass { reason: "not mine".into() }));
}

fn restart(target: &str) -> Proposal {
    Proposal::Docker { verb: DockerVerb::Restart, target: target.into(), grace_seconds: None, signal: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_comes_back() {
    let playbook = Proposal::Playbook {
        name: "repair.yml".into(),
        about: "local/db".into(),
        host: None,
        variables: vec![],
        tags: Vec::new(),
        check: false,
    };
    let act = |reason: &str, proposals| Decision::Act { reason: reason.into(), proposals };
    let answers = [
        ("pass", Decision::Pass { reason: "not mine".into() }),
        ("ignore", Decision::Ignore { reason: "known and harmless".into() }),
        ("escalate", Decision::Escalate { reason: "a person has to look".into() }),
        ("wait", Decision::Wait { reason: "not yet".into(), millis: 30_000 }),
        ("act:local/db", act("restart it", vec![restart("local/db")])),
        ("two:local/db", act("restart it, then run a playbook", vec![restart("local/db"), playbook])),
    ];
    for (verb, decision) in answers {
        assert_eq!(ask(verb, &patient()).await.decision, Ok(decision), "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_told_everything() {
    let mut brief = brief(json!({"do": "told", "more": [1, null]}));
    brief.targets = vec![TargetView {
        target: "local/web".parse().unwrap(),
        inventory_host: Some("web1".parse().unwrap()),
        state: "exited".into(),
    }];
    let ruling = guests().await.decide(&brief, &patient()).await;
    let told = ruling.decision.unwrap().reason().to_owned();
    for part in [
        r#"0123456789abcdef-7 not-healed 3000 "#,
        r#"source: "prometheus", status: "firing", labels: [("alertname", "NginxDown"), ("severity", "critical")]"#,
        r#"annotations: [("summary", "it is {{ down }}")], starts-at: 1000, first-seen: 2000"#,
        r#"generator-url: "http://prometheus/graph""#,
        r#"name: "local/web", inventory-host: Some("web1"), state: "exited""#,
        r#"{"do":"told","more":[1,null]}"#,
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

fn intent(progress: Progress) -> Intent {
    let action = Action::Docker {
        verb: DockerVerb::Restart,
        target: "local/web".parse().unwrap(),
        container: "abc".parse::<ContainerId>().unwrap(),
        started_at: String::new(),
        grace_seconds: None,
        signal: None,
    };
    Intent { number: 1, action, progress }
}

fn ended(ending: Ending) -> Progress {
    Progress::Ended(Outcome { ending, message: "exit\u{1b}[31m".into(), touched: false, output: Vec::new() })
}

fn attempt(intents: Vec<Intent>, verdict: Option<Verdict>) -> Attempt {
    Attempt { number: 1, started_at: Time(10), ended_at: Time(20), intents, refused: Vec::new(), verdict, stopped: None }
}

/// What the plugin sees of one earlier attempt.
async fn told_of(attempt: Attempt) -> String {
    let mut brief = brief(json!({"do": "told"}));
    brief.attempts = vec![told::attempt(&attempt)];
    let told = guests().await.decide(&brief, &patient()).await.decision.unwrap().reason().to_owned();
    told[told.find("number: 1").unwrap()..].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_attempts_are_told_in_the_contracts_words() {
    let cases = [
        (ended(Ending::Succeeded), Some(Verdict::NotHealed), "succeeded", "not-healed"),
        (ended(Ending::Succeeded), Some(Verdict::Healed), "succeeded", "healed"),
        (ended(Ending::Succeeded), None, "succeeded", "unclear"),
        (ended(Ending::Failed), None, "failed", "not-healed"),
        (ended(Ending::TimedOut), Some(Verdict::Unclear), "timed-out", "unclear"),
        (ended(Ending::Interrupted), None, "interrupted", "unclear"),
        (Progress::Begun(Time(11)), None, "interrupted", "unclear"),
        (Progress::Intended, None, "interrupted", "unclear"),
        (Progress::Cancelled("never begun".into()), None, "cancelled", "none"),
    ];
    for (progress, verdict, outcome, verification) in cases {
        let told = told_of(attempt(vec![intent(progress.clone())], verdict)).await;
        assert!(told.contains(r#"kind: "docker.restart", target: "local/web""#), "{told}");
        assert!(told.contains(&format!(r#"outcome: "{outcome}""#)), "{progress:?}: {told}");
        assert!(told.contains(&format!(r#"verification: "{verification}""#)), "{progress:?}: {told}");
        assert!(!told.contains('\u{1b}') && !told.contains("\\u{1b}"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_with_its_rule() {
    let mut refused = attempt(Vec::new(), None);
    let playbook = Proposal::Playbook {
        name: "x.yml".into(),
        about: "local/web".into(),
        host: None,
        variables: vec![],
        tags: Vec::new(),
        check: false,
    };
    refused.refused = vec![(playbook, Rule::NotGranted, "no grant covers x.yml".into())];
    let told = told_of(refused).await;
    for part in [
        r#"kind: "ansible.playbook", target: "local/web", detail: "x.yml", outcome: "refused""#,
        r#"message: "not-granted: no grant covers x.yml""#,
        r#"verification: "none""#,
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_settings_are_empty_settings() {
    let ruling = guests().await.decide(&brief(Value::Null), &patient()).await;
    assert!(ruling.decision.unwrap_err().to_string().contains("settings need `do`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_plugin_restarts_its_target() {
    let plugin = sandbox().load("restart-container.wasm", &component("restart-container")).await.unwrap();
    assert_eq!(plugin.manifest().name, "restart-container");
    assert!(plugin.imports().iter().all(|import| !import.contains("clocks") && !import.contains("filesystem")));
    let mut brief = brief(json!({}));
    brief.trigger = Trigger::Alert;
    brief.targets = vec![TargetView { target: "local/web".parse().unwrap(), inventory_host: None, state: "exited".into() }];
    let decision = plugin.decide(&brief, &patient()).await.decision.unwrap();
    assert!(matches!(&decision, Decision::Act { proposals, .. } if proposals == &[restart("local/web")]), "{decision:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_against_the_plugins_schema() {
    let plugin = sandbox().load("restart-container.wasm", &component("restart-container")).await.unwrap();
    assert_eq!(plugin.check_settings(&json!({"target": "local/web", "restarts": 2})).await, Vec::<String>::new());
    assert_eq!(plugin.check_settings(&Value::Null).await, Vec::<String>::new());
    let wrong = plugin.check_settings(&json!({"restarts": "two", "tarlet": "local/web\u{1b}[31m"})).await;
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong.iter().any(|m| m.starts_with("/restarts: ")), "{wrong:?}");
    assert!(wrong.iter().any(|m| m.contains("tarlet") && !m.contains('\u{1b}')), "{wrong:?}");
    let guests = guests().await;
    assert_eq!(guests.check_settings(&json!({"do": "pass"})).await, Vec::<String>::new());
    assert_eq!(guests.check_settings(&json!({"do": "refused:check"})).await, ["`do` is what nobody should do"]);
}

/// `paramedic policy bench` prints these; here it only has to be sane on whatever machine runs the tests.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_quick() {
    let plugin = sandbox().load("restart-container.wasm", &component("restart-container")).await.unwrap();
    let mut brief = brief(json!({}));
    brief.targets = vec![TargetView { target: "local/web".parse().unwrap(), inventory_host: None, state: "exited".into() }];
    plugin.bench(&brief, &patient(), 1_000).await;
    let mut times = plugin.bench(&brief, &patient(), 20_000).await;
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("one decision, fresh sandbox included: p50 {:?} p90 {:?} p99 {:?}", at(50), at(90), at(99));
    assert!(at(50) < Duration::from_millis(2), "p50 is {:?}", at(50));
}
