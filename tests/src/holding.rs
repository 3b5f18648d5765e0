//! Holds, `unless` and maintenance windows, through the real program, on the real engine and Prometheus.

use std::time::Duration;

use paramedic::clock::Time;
use paramedic::execute::Executor;
use paramedic::hold::{FOLDER, Hold, Holds};
use paramedic::incident::{Mode, Progress};
use serde_json::{Value, json};

use crate::approval::Desk;
use crate::flow::{DOWN, Service, labels, restarts, service, until_restarted};
use crate::halt::Counting;
use crate::host::{Host, Setup};
use crate::people::{error, id, paramedic, say};
use crate::programs::{Exporter, start_prometheus};

async fn fires(host: &Host, service: &Service) {
    assert_eq!(host.send("firing", labels(service), &Time::now().to_string()).await, 200);
}

fn names(service: &Service) -> String {
    format!("container=\"{}\"", service.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stops_what_it_names_and_nothing_else_and_its_end_lets_go() {
    let (held, other) = (service(), service());
    let mut setup = Setup::restarts(&held.name);
    setup.policy = setup.policy.replace(&format!("local/{}", held.name), "local/paramedic-test-*");
    // Two of as many as other tests have just now may be more than half of them.
    setup.policy = setup.policy.replace("cooldown: 1s", "cooldown: 1s, storm_share: 100%");
    let mut host = Host::start(&setup).await;
    let (code, said) = paramedic(&host, &["hold", &names(&held), "--for", "20s", "--reason", "deploy 123"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (name, rest) = said.split_once('\n').unwrap();
    assert!(name.len() == 8 && rest.contains("Held until") && rest.contains(&format!("paramedic release {name}")), "{said}");
    fires(&host, &held).await;
    let story = host.until("held", 15).await;
    let told =
        story.contains("HELD [hold]") && story.contains("deploy 123") && story.contains(&format!("paramedic release {name}"));
    assert!(told && story.contains("looking again at"), "{story}");
    fires(&host, &other).await;
    until_restarted(&other, 1, 10).await;
    // A restart of the server ends nothing, and makes nobody wait longer.
    host.restart().await;
    assert_eq!(restarts(&held), 0);
    until_restarted(&held, 1, 30).await;
    let (_, said) = paramedic(&host, &["holds"]).await;
    assert!(said.contains("Nothing is held"), "{said}");
    let (_, said) = paramedic(&host, &["holds", "--all"]).await;
    assert!(said.contains(name) && said.contains("deploy 123") && said.contains("over"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_lets_go_before_the_end_and_says_who_and_why() {
    let service = service();
    let host = Host::start(&Setup::restarts(&service.name)).await;
    let hold = ["hold", "alertname=Down", "--for", "2h", "--reason", "deploy", "--output", "json"];
    let (code, said) = paramedic(&host, &hold).await;
    let told: Value = serde_json::from_str(&said).unwrap();
    assert!(code == Some(0) && told["matchers"][0] == "alertname=\"Down\"" && told["until"].is_string(), "{said}");
    let name = told["id"].as_str().unwrap();
    fires(&host, &service).await;
    host.until("held", 15).await;
    // Looked at again and again, and written down once.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!((host.incidents()[0].1.matches("held ").count(), restarts(&service)), (1, 0), "{}", host.incidents()[0].1);
    let (code, said) = paramedic(&host, &["release", &name[..5], "--reason", "deployed"]).await;
    assert!(code == Some(0) && said.contains(&format!("Released {name}")), "{said}");
    until_restarted(&service, 1, 15).await;
    let (code, said) = paramedic(&host, &["release", name, "--reason", "again"]).await;
    assert!(code == Some(2) && said.contains("was released by"), "{said}");
    let ended = Holds::of(&host.data()).ended().unwrap().remove(0).ended.unwrap();
    assert_eq!((ended.by, ended.reason.as_str()), (paramedic::operate::myself().to_string(), "deployed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_hold_is_said_with_what_would_be_one() {
    let host = Host::start(&Setup::restarts("nobody")).await;
    let far = Time::now().plus(Duration::from_secs(8 * 86_400)).to_string();
    for (arguments, why) in [
        (vec!["hold", "a=b", "--reason", "x"], "--for"),
        (vec!["hold", "--for", "1h", "--reason", "x"], "MATCHER"),
        (vec!["hold", "a=b", "--for", "1h"], "--reason"),
        (vec!["hold", "a=b", "--for", "1h", "--until", &far, "--reason", "x"], "cannot be used with"),
        (vec!["hold", "a=b", "--for", "soon", "--reason", "x"], "is not a length of time"),
        (vec!["hold", "a=b", "--for", "8d", "--reason", "x"], "more than 7 d"),
        (vec!["hold", "a=b", "--until", &far, "--reason", "x"], "more than 7 d"),
        (vec!["hold", "a=b", "--until", "2020-01-01T00:00:00Z", "--reason", "x"], "not in the future"),
        (vec!["hold", "a=b", "--until", "tomorrow", "--reason", "x"], "is no moment"),
        (vec!["hold", "a=b", "--for", "1h", "--reason", " "], "a reason is needed"),
        (vec!["hold", "service", "--for", "1h", "--reason", "x"], "write for instance"),
        (vec!["release", "ffffffff", "--reason", "x"], "there is no hold ffffffff"),
        (vec!["release", "--reason", "x"], "--all"),
        (vec!["release", "../../HALT", "--reason", "x"], "is no id"),
    ] {
        let (code, said) = paramedic(&host, &arguments).await;
        assert!(code == Some(2) && said.contains(why), "{arguments:?}: {said}");
    }
    assert_eq!(Holds::of(&host.data()).standing(Time::now()).unwrap(), (Vec::new(), Vec::new()));
    let (code, answer) = say(&host, "holds", json!({ "matchers": ["a=b"], "until": far, "reason": "x" })).await;
    assert!(code == 400 && error(&answer).contains("more than 7 d"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_and_released_while_it_is_down_counts() {
    let service = service();
    let mut host = Host::start(&Setup::restarts(&service.name)).await;
    host.stop().await;
    let (code, said) = paramedic(&host, &["hold", &names(&service), "--for", "1h", "--reason", "the rack is moved"]).await;
    assert!(code == Some(0) && said.contains("without a server"), "{said}");
    let (_, said) = paramedic(&host, &["holds"]).await;
    assert!(said.contains("the rack is moved"), "{said}");
    host.start_again().await;
    fires(&host, &service).await;
    let story = host.until("held", 15).await;
    assert!(story.contains("the rack is moved"), "{story}");
    host.stop().await;
    let (code, said) = paramedic(&host, &["release", "--all", "--reason", "it is moved"]).await;
    assert!(code == Some(0) && said.contains("Released "), "{said}");
    assert_eq!(restarts(&service), 0);
    host.start_again().await;
    until_restarted(&service, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_hold_holds_everything_until_it_is_gone() {
    let service = service();
    let host = Host::start(&Setup::restarts(&service.name)).await;
    let folder = host.data().join(FOLDER);
    let _ = std::fs::create_dir(&folder);
    std::fs::write(folder.join("mine.json"), "{\"matchers\": [\"container=web\"").unwrap();
    fires(&host, &service).await;
    let story = host.until("held", 15).await;
    assert!(story.contains("holds/mine.json") && story.contains("everything is held") && story.contains("remove it"), "{story}");
    let (code, said) = paramedic(&host, &["holds"]).await;
    assert!(code == Some(0) && said.contains("mine.json"), "{said}");
    let (code, said) = paramedic(&host, &["release", "mine", "--reason", "it was a mistake"]).await;
    assert_eq!(code, Some(0), "{said}");
    until_restarted(&service, 1, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_while_it_is_held_is_not_spent() {
    let service = service();
    let mut setup = Setup::restarts(&service.name);
    setup.policy = setup.policy.replace("mode: enforce", "mode: approve");
    let host = Host::start(&setup).await;
    fires(&host, &service).await;
    host.until("awaiting-approval", 15).await;
    let id = id(&host);
    let digest = crate::people::look(&host, &format!("incidents/{id}")).await["awaiting"]["digest"].clone();
    let (_, said) = paramedic(&host, &["hold", &names(&service), "--for", "1h", "--reason", "not now"]).await;
    let yes = json!({ "reason": "yes", "digest": digest });
    let (code, answer) = say(&host, &format!("incidents/{id}/approve"), yes.clone()).await;
    assert!(code == 409 && error(&answer).contains("not now") && error(&answer).contains("paramedic release"), "{answer}");
    assert_eq!(paramedic(&host, &["release", &said[..8], "--reason", "now"]).await.0, Some(0));
    assert_eq!(say(&host, &format!("incidents/{id}/approve"), yes).await.0, 200);
    until_restarted(&service, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_between_intent_and_begin_is_not_done() {
    let mut desk = Desk::new().await;
    desk.policy.mode = Mode::Enforce;
    let paramedic::authorise::Authorised::Permits(mut permits) = desk.authorise().await else { panic!("it is allowed") };
    let (incident, holds) = (desk.incident().await, desk.holds());
    let until = Time::now().plus(Duration::from_secs(60));
    let matchers = paramedic::alert::matchers::Matchers::parse(&["alertname=Down"]).unwrap();
    holds.place(&Hold::now(matchers, until, "ann", "deploy").unwrap()).unwrap();
    let hands = std::sync::Arc::new(Counting::default());
    let executor = Executor { journal: desk.journal.clone(), eyes: desk.eyes.clone(), hands: hands.clone() };
    let held = || holds.in_the_way(&incident.alert.labels).map(|hold| hold.message);
    executor.execute(permits.remove(0), &incident, held, std::future::pending()).await.unwrap();
    assert_eq!(hands.times(), 0, "held means untouched");
    let Progress::Ended(outcome) = desk.incident().await.attempts[0].intents[0].progress.clone() else { panic!("it has an end") };
    assert!(!outcome.touched && outcome.message.contains("by ann") && outcome.message.contains("deploy"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_holds_while_it_has_a_result_and_while_it_cannot_be_asked() {
    let service = service();
    let exporter = Exporter::start(&format!("{DOWN}deploying 1\n")).await.unwrap();
    let mut prometheus = start_prometheus("", &[&exporter], None, "").await.unwrap();
    crate::programs::within(20, "the first sample", || async {
        let asked =
            crate::programs::reqwest_client().get(format!("{}/api/v1/query?query=deploying", prometheus.url)).send().await?;
        Ok(asked.text().await?.contains("deploying").then_some(()))
    })
    .await
    .unwrap();
    let unless = "unless: ['absent(up_in_truth)', 'deploying{job=\"demo\"} == 1']";
    let host = Host::start(&Setup::restarts(&service.name).prometheus(&prometheus.url).policy_line(unless)).await;
    fires(&host, &service).await;
    let story = host.until("held", 15).await;
    let told = story.contains("HELD [unless]") && story.contains("deploying{job=\"demo\"} == 1") && story.contains("instance=");
    assert!(told && !story.contains("absent"), "{story}");
    prometheus.kill().await.unwrap();
    exporter.set(&format!("{DOWN}deploying 0\n"));
    // `when_unsure` says nothing about it: what cannot be asked holds.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(restarts(&service), 0);
    prometheus.start().await.unwrap();
    until_restarted(&service, 1, 40).await;

    // Stopped from the beginning.
    prometheus.kill().await.unwrap();
    let setup = Setup::restarts(&service.name).prometheus(&prometheus.url).policy_line(unless).policy_line("when_unsure: act");
    let host = Host::start(&setup).await;
    fires(&host, &service).await;
    let story = host.until("held", 30).await;
    assert!(story.contains("HELD [unless]") || story.contains("HELD [recently-started]"), "{story}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(restarts(&service), 1, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unless_that_prometheus_does_not_understand_holds_and_a_check_says_so() {
    let service = service();
    let prometheus = start_prometheus("", &[], None, "").await.unwrap();
    let setup = Setup::restarts(&service.name).prometheus(&prometheus.url);
    for (unless, why) in [("sum(", "could not be asked"), ("1 + 1", "a scalar"), ("\"text\"", "a string"), ("vector(0)", "{} 0")]
    {
        let host = Host::start(
            &Setup { policy: setup.policy.clone(), config: setup.config.clone(), playbooks: Vec::new() }
                .policy_line(&format!("unless: ['{unless}']")),
        )
        .await;
        fires(&host, &service).await;
        let story = host.until("held", 15).await;
        assert!(story.contains("HELD [unless]") && story.contains(why), "{unless}: {story}");
        let (code, said) = paramedic(&host, &["check", "--online"]).await;
        let wrong = unless == "sum(";
        assert!(code == Some(i32::from(wrong)) && said.contains("unless[0] holds for ever") == wrong, "{unless}: {said}");
        assert!(wrong || said.contains("compares nothing"), "{said}");
    }
    assert_eq!(restarts(&service), 0);
    // Without a result it goes on.
    let host = Host::start(&setup.policy_line("unless: ['vector(0) > 0', 'absent(vector(1))']")).await;
    fires(&host, &service).await;
    until_restarted(&service, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_window_holds_what_it_names_until_it_closes() {
    let service = service();
    // Open since a while, and closing at the minute after the next that begins in more than 20 s.
    let now = Time::now();
    let minute = |seconds: u64| now.plus(Duration::from_secs(seconds)).to_string()[11..16].to_owned();
    let before = now.minus(Duration::from_secs(600)).to_string()[11..16].to_owned();
    let to = minute(20 + 60);
    let mut setup = Setup::restarts(&service.name);
    setup.config.push_str(&format!(
        "maintenance:\n- {{name: others, match: ['container=\"other\"'], from: '00:00', to: '24:00'}}\n\
         - {{name: nightly, match: ['container=\"{}\"'], from: '{before}', to: '{to}', timezone: UTC}}\n",
        service.name
    ));
    let host = Host::start(&setup).await;
    fires(&host, &service).await;
    let story = host.until("held", 15).await;
    assert!(story.contains("HELD [maintenance]") && story.contains(&format!("nightly (every day {before}-{to} UTC)")), "{story}");
    assert!(story.contains("looking again at") && story.contains("paramedic.yaml"), "{story}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(restarts(&service), 0);
    until_restarted(&service, 1, 90).await;
    assert_eq!(Time::now().to_string()[11..16], to, "and not earlier");
}
