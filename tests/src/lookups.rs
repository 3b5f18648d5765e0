//! What a plugin can look at: on the real engine, a real Prometheus and a real journal, each with its twin that is refused.
//!
//! The guest `looks` asks what its settings say and declares all lookups; `looks_undeclared` asks the same and declares none.

mod metrics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use paramedic::action::{Action, DockerVerb, Ending, Outcome, Target};
use paramedic::alert::{Alert, Family, IncidentId, Labels, Status, Via};
use paramedic::clock::Time;
use paramedic::decide::lookup::live::Lookout;
use paramedic::decide::lookup::{Lookups, Recorded};
use paramedic::decide::plugin::Judge;
use paramedic::decide::question::Brief;
use paramedic::decide::sandbox::Limits;
use paramedic::decide::{Decider, Loaded, Question};
use paramedic::incident::lookup::{Found, FoundContainer, Looked, Lookup, LookupError, PastIncident};
use paramedic::incident::{Answer, Closing, Decision, Event, Incident, TargetView, Trigger, Verdict};
use paramedic::journal::{Append, Journal};
use paramedic::look::docker::{Engines, Settings};
use paramedic::look::{Eyes, World};
use paramedic::policy::Policy;
use serde_json::{Value, json};

use crate::brakes::Town;
use crate::components::component;
use crate::engine::{Patient, engines};
use crate::host::{Host, Setup};
use crate::people::{id, paramedic};
use crate::programs::reqwest_client;
use crate::sandbox::sandbox;

type Answered = Result<Found, LookupError>;

const HOUR_MS: u64 = 3_600_000;

/// The engine of this machine, and this Prometheus.
fn world(prometheus: &[&str]) -> Arc<dyn Eyes> {
    let sources = crate::monitors::sources(prometheus, &[]).unwrap();
    Arc::new(World { engines: Arc::new(engines()), sources, ansible: None })
}

fn lookout(eyes: Arc<dyn Eyes>) -> Lookout {
    Lookout { eyes, journal: Err("there is no journal in this test".to_owned()) }
}

fn question(now: Time) -> Question {
    let labels = Labels::from([("alertname".to_owned(), "Down".to_owned())]);
    let alert = Alert {
        family: Family::Prometheus,
        status: Status::Firing,
        labels,
        annotations: Labels::new(),
        starts_at: now,
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    };
    let opened = Event::Opened { alert, via: Via::Webhook };
    let id: IncidentId = "0123456789abcdef-7".parse().unwrap();
    let incident = Incident::from_events(&id, [(1, now, &opened)]).unwrap();
    Question { incident, trigger: Trigger::Alert, targets: Vec::new() }
}

/// What one policy with these grants is answered, now.
async fn ask(lookout: Lookout, grants: Value, lookups: Value) -> Answer {
    let limits = json!({"deadline": "2s"});
    ask_with("looks", lookout, grants, json!({"do": "look", "lookups": lookups}), limits, Time::now()).await
}

async fn ask_with(plugin: &str, lookout: Lookout, grants: Value, settings: Value, limits: Value, now: Time) -> Answer {
    let policy: Policy = serde_json::from_value(json!({
        "name": "curious", "plugin": "looks.wasm", "mode": "enforce", "settings": settings, "grants": grants, "limits": limits,
    }))
    .unwrap();
    let plugin = sandbox().load(plugin, &component(plugin)).await.unwrap();
    let decider =
        Decider::new(vec![Loaded { policy: Arc::new(policy), plugin }], Arc::clone(sandbox()), PathBuf::new()).looking(lookout);
    let mut answers = decider.rehearse(&question(now), now).await;
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// What was answered, each in its turn.
async fn answers(lookout: Lookout, grants: Value, lookups: Value) -> Vec<Answered> {
    let answer = ask(lookout, grants, lookups).await;
    assert!(answer.decision.is_ok(), "{:?}", answer.decision);
    answer.lookups.into_iter().map(|looked| looked.answer).collect()
}

async fn one(lookout: Lookout, grants: Value, lookup: Value) -> Answered {
    answers(lookout, grants, json!([lookup])).await.remove(0)
}

fn denied(answer: &Answered) -> &str {
    match answer {
        Err(LookupError::AccessDenied(why)) => why,
        other => panic!("this is no access-denied: {other:?}"),
    }
}

fn containers(answer: Answered) -> Vec<FoundContainer> {
    match answer {
        Ok(Found::Containers(found)) => found,
        Ok(Found::Container(found)) => vec![found],
        other => panic!("no containers: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_seen_as_far_as_they_are_granted() {
    let label = format!("paramedic.look=seen-{}", std::process::id());
    let well = Patient::run(&["--label", &label, "--label", "tier=web"], &["wait"]);
    // Nothing may touch what an orchestrator looks after; looking is no touching.
    let ended = Patient::run(&["--label", &label, "--label", "com.docker.swarm.service.id=x"], &["exit", "3", "300"]);
    let other = Patient::run(&["--label", "tier=web"], &["wait"]);
    ended.wait_until("exited");
    let grants = json!({"docker": {"inspect": [{"host": "local", "label": label}]}});
    let all = answers(
        lookout(world(&[])),
        grants.clone(),
        json!([
            {"containers": {"host": "local"}},
            {"containers": {"host": "local", "labels": {"tier": "web"}}},
            {"container": ended.target().to_string()},
            {"container": other.target().to_string()},
            {"container": "local/there-is-no-such-one"},
            {"containers": {"host": "nowhere"}},
            {"containers": {"host": "../etc"}},
            {"container": "no target at all"},
        ]),
    )
    .await;
    let mut all = all.into_iter();
    let found = containers(all.next().unwrap());
    let mut names = [well.target().to_string(), ended.target().to_string()];
    names.sort();
    assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), names);
    let found = containers(all.next().unwrap()).remove(0);
    assert_eq!((found.name, found.id), (well.target().to_string(), well.id.clone()));
    assert_eq!((found.image.as_str(), found.state.as_str(), found.health.as_str()), (crate::engine::IMAGE, "running", "none"));
    assert_eq!((found.exit_code, found.finished_at, found.restart_count), (None, None, 0));
    assert!(found.started_at.unwrap().since(Time::now()) < Duration::from_secs(600));
    assert!(found.labels.contains(&("tier".to_owned(), "web".to_owned())), "{:?}", found.labels);
    let found = containers(all.next().unwrap()).remove(0);
    assert_eq!((found.state.as_str(), found.exit_code), ("exited", Some(3)));
    assert!(found.finished_at.unwrap() >= found.started_at.unwrap());
    // What is there and what is not are refused in the same words.
    let (there, not_there) = (all.next().unwrap(), all.next().unwrap());
    let same = denied(&there).replace(&other.target().to_string(), "local/there-is-no-such-one");
    assert_eq!(same, denied(&not_there));
    assert!(same.contains(r#"to allow it: grants: {docker: {inspect: ["local/there-is-no-such-one"]}}"#), "{same}");
    assert!(matches!(all.next(), Some(Err(LookupError::NotFound(why))) if why.contains("nowhere") && why.contains("local")));
    assert!(matches!(all.next(), Some(Err(LookupError::Invalid(_)))));
    assert!(matches!(all.next(), Some(Err(LookupError::Invalid(_)))));

    // By name: what is granted and not there is not found.
    let grants = json!({"docker": {"inspect": [format!("local/{}", well.name), "local/there-is-*"]}});
    let lookup = json!([{"container": well.target().to_string()}, {"container": "local/there-is-no-such-one"}]);
    let all = answers(lookout(world(&[])), grants, lookup).await;
    assert!(all[0].is_ok(), "{:?}", all[0]);
    assert!(matches!(&all[1], Err(LookupError::NotFound(_))), "{:?}", all[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_nothing_of_a_host_is_seen() {
    let patient = Patient::run(&[], &["says", "3"]);
    let two: Settings =
        serde_json::from_value(json!({"hosts": {"local": "unix:///var/run/docker.sock", "far": "unix:///var/run/docker.sock"}}))
            .unwrap();
    let sources = crate::monitors::sources(&[], &[]).unwrap();
    let eyes: Arc<dyn Eyes> = Arc::new(World { engines: Arc::new(Engines::connect(&two).unwrap()), sources, ansible: None });
    let all = json!([
        {"containers": {"host": "far"}}, {"container": format!("far/{}", patient.name)}, {"log": {"target": format!("far/{}", patient.name), "lines": 3}},
    ]);
    let restart = format!("local/{}", patient.name);
    // To act, to look, and to read the log are three things; and another host's grants are none of this one's.
    for grants in [
        json!({}),
        json!({"docker": {"restart": [restart.replace("local", "far")]}}),
        json!({"docker": {"inspect": ["local/*"], "logs": ["local/*"]}}),
    ] {
        for answer in answers(lookout(Arc::clone(&eyes)), grants.clone(), all.clone()).await {
            let why = denied(&answer);
            assert!(why.starts_with("policy curious has no grant to ") && why.contains("grants: {docker: {"), "{grants}: {why}");
        }
    }
    let only_look = answers(lookout(Arc::clone(&eyes)), json!({"docker": {"inspect": ["far/*"]}}), all.clone()).await;
    assert!(only_look[0].is_ok() && only_look[1].is_ok(), "{only_look:?}");
    assert!(denied(&only_look[2]).contains("to read the log of"), "{only_look:?}");
    let only_log = answers(lookout(eyes), json!({"docker": {"logs": ["far/*"]}}), all).await;
    denied(&only_log[0]);
    denied(&only_log[1]);
    assert!(only_log[2].is_ok(), "{only_log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_of_a_log_come_clean_and_whole() {
    let patient = Patient::run(&[], &["says", "300"]);
    let mute = Patient::run(&["--log-driver", "none"], &["wait"]);
    let grants = json!({"docker": {"logs": ["local/paramedic-test-*"]}});
    let target = patient.target().to_string();
    let written = || async {
        let log = crate::engine::docker(&["logs", &patient.id]);
        Ok((log.matches("line ").count() >= 100).then_some(()))
    };
    crate::programs::within(20, "the log", written).await.unwrap();
    let all = answers(
        lookout(world(&[])),
        grants,
        json!([
            {"log": {"target": target, "lines": 20}},
            {"log": {"target": target, "lines": 0}},
            {"log": {"target": target, "lines": 201}},
            {"log": {"target": mute.target().to_string(), "lines": 5}},
        ]),
    )
    .await;
    let Ok(Found::Log(lines)) = &all[0] else { panic!("{:?}", all[0]) };
    assert_eq!(lines.len(), 20);
    assert!(lines.iter().all(|line| line.starts_with("line ") && !line.contains(['\u{1b}', '\u{7}'])), "{lines:?}");
    assert_eq!(all[1], Ok(Found::Log(Vec::new())));
    assert!(matches!(&all[2], Err(LookupError::LimitExceeded(why)) if why.contains("200")), "{:?}", all[2]);
    assert!(matches!(&all[3], Err(LookupError::Unavailable(_))), "{:?}", all[3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_containers_are_refused_and_not_shortened() {
    let grants = json!({"docker": {"inspect": ["local/c*"]}});
    for (many, fits) in [(200, true), (201, false)] {
        let town: Arc<dyn Eyes> = Town::of((0..many).map(|n| format!("c{n}")).chain(["other".to_owned()]));
        let answer = one(lookout(town), grants.clone(), json!({"containers": {"host": "local", "labels": {"app": "web"}}})).await;
        match answer {
            Ok(Found::Containers(found)) if fits => assert_eq!(found.len(), many),
            Err(LookupError::LimitExceeded(why)) if !fits => assert!(why.contains("201 containers"), "{why}"),
            other => panic!("{many}: {other:?}"),
        }
    }
}

/// Whoever asks this although it must not be asked is found out.
#[derive(Debug)]
struct Untouchable;

impl Lookups for Untouchable {
    fn look<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Answered> {
        panic!("{lookup} reached whoever answers")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_plugin_does_not_declare_is_denied_whatever_is_granted() {
    let lookups = json!([
        {"containers": {"host": "local"}}, {"container": "local/c0"}, {"log": {"target": "local/c0", "lines": 1}}, {"metrics": "up"},
        {"history": {"target": "local/c0", "within_ms": HOUR_MS}},
    ]);
    let grants = json!({"docker": {"inspect": ["local/*"], "logs": ["local/*"]}, "metrics": ["*"], "history": ["local/*"]});
    let town: Arc<dyn Eyes> = Town::of(["c0".to_owned()]);
    let settings = json!({"do": "look", "lookups": lookups});
    let answer =
        ask_with("looks-undeclared", lookout(town), grants, settings.clone(), json!({"deadline": "2s"}), Time::now()).await;
    assert_eq!(answer.lookups.len(), 5);
    for Looked { lookup, answer, .. } in &answer.lookups {
        let expected = format!("the plugin does not declare `{}` among its `lookups` in `describe`", lookup.word());
        assert_eq!(denied(answer), expected);
    }
    // It does not even reach whoever answers; nor does what is far too long.
    let undeclared = sandbox().load("looks-undeclared", &component("looks-undeclared")).await.unwrap();
    let ruling = undeclared.decide(&brief(settings, Arc::new(Untouchable)), &patient()).await;
    assert!(ruling.decision.is_ok(), "{:?}", ruling.decision);
    let looks = sandbox().load("looks", &component("looks")).await.unwrap();
    let long = json!({"lookups": [{"metrics": 9_000}, {"container": 9_000}]});
    let ruling = looks.decide(&brief(long, Arc::new(Untouchable)), &patient()).await;
    for looked in &ruling.lookups {
        assert!(matches!(&looked.answer, Err(LookupError::LimitExceeded(why)) if why.contains("9000 bytes")), "{looked:?}");
        assert!(serde_json::to_string(&looked.lookup).unwrap().len() < 400, "what is too long is not kept");
    }
    assert_eq!(ruling.lookups.len(), 2);
}

fn patient() -> Limits {
    Limits { deadline: Duration::from_secs(2), ..Limits::default() }
}

fn brief(settings: Value, lookups: Arc<dyn Lookups>) -> Brief {
    let Question { incident, trigger, .. } = question(Time(5_000));
    Brief {
        id: incident.id,
        alert: incident.alert,
        first_seen: incident.opened_at,
        trigger,
        attempts: Vec::new(),
        targets: Vec::new(),
        settings,
        now: Time(5_000),
        lookups,
    }
}

/// Answers out of a list, so that limits and repetitions can be tried.
#[derive(Debug)]
struct Script(Vec<Answered>, std::sync::Mutex<usize>);

impl Lookups for Script {
    fn look<'a>(&'a self, _: &'a Lookup) -> BoxFuture<'a, Answered> {
        let mut next = self.1.lock().unwrap();
        let answer = self.0[*next % self.0.len()].clone();
        *next += 1;
        std::future::ready(answer).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_repeats_the_decision_bit_for_bit() {
    let sample = |value| paramedic::incident::lookup::Sample { labels: Vec::new(), value, at: Time(5_000) };
    let lines = |many: usize| Ok(Found::Log(vec!["y".repeat(1_000); many]));
    let world = vec![
        Ok(Found::Metrics(vec![sample(f64::NAN), sample(0.1 + 0.2), sample(-0.0), sample(f64::NEG_INFINITY)])),
        Err(LookupError::LimitExceeded("too many samples".to_owned())),
        lines(120),
        Err(LookupError::Unavailable("no answer".to_owned())),
        lines(130),
        lines(100),
        lines(9),
    ];
    // Questions that are long, odd, the same with another answer, and more than are answered.
    let settings = json!({"times": 5, "lookups": [
        {"metrics": format!("up # \u{1b}{}", "z".repeat(5_000))}, {"metrics": "up"}, {"log": {"target": "local/web", "lines": 200}},
        {"metrics": "up"}, {"log": {"target": "local/web", "lines": 200}}, {"container": 9_000}, {"containers": {"host": "local", "labels": {"a": "b"}}},
    ]});
    let looks = sandbox().load("looks", &component("looks")).await.unwrap();
    let script = Arc::new(Script(world, std::sync::Mutex::default()));
    let first = looks.decide(&brief(settings.clone(), script), &patient()).await;
    assert!(first.decision.is_ok(), "{:?}", first.decision);
    assert_eq!(first.lookups.len(), 32, "further ones are refused");
    let over = |looked: &Looked| matches!(&looked.answer, Err(LookupError::LimitExceeded(why)) if why.contains("256 KiB"));
    assert!(first.lookups.iter().any(over), "the answers of one decision are bounded together");
    let text = serde_json::to_string(&first.lookups).unwrap();
    assert!(text.len() < 400 << 10, "{} bytes", text.len());
    let written: Vec<Looked> = serde_json::from_str(&text).unwrap();
    let recorded = Arc::new(Recorded::new(written.into_iter().map(|looked| (looked.lookup, looked.answer))));
    let again = looks.decide(&brief(settings, Arc::clone(&recorded) as Arc<dyn Lookups>), &patient()).await;
    assert_eq!(recorded.missing(), []);
    assert_eq!(again.decision, first.decision);
    let without_time = |looked: &[Looked]| {
        let all: Vec<Looked> = looked.iter().cloned().map(|looked| Looked { micros: 0, ..looked }).collect();
        serde_json::to_string(&all).unwrap()
    };
    assert_eq!(without_time(&again.lookups), without_time(&first.lookups));
}

/// An incident about this container, in a real journal.
async fn happened(journal: &Journal, name: &str, n: u64, target: &Target) -> IncidentId {
    let alert = Alert { labels: Labels::from([("alertname".to_owned(), name.to_owned())]), ..question(Time(1)).incident.alert };
    let id = IncidentId { key: paramedic::alert::Key::of(alert.family, &alert.labels, &[]), n };
    let views = vec![TargetView { target: target.clone(), inventory_host: None, state: "exited".to_owned() }];
    let events = vec![
        Event::Opened { alert, via: Via::Webhook },
        Event::Asked { trigger: Trigger::Alert, targets: views, ambiguous: Vec::new() },
    ];
    journal.append(Append::new(id.clone(), Some(0), events)).await.unwrap();
    id
}

/// It was restarted in vain, or not, and is over.
async fn ended(journal: &Journal, id: &IncidentId, target: &Target) {
    let action = Action::Docker {
        verb: DockerVerb::Restart,
        target: target.clone(),
        container: "abc".parse().unwrap(),
        started_at: String::new(),
        grace_seconds: None,
        signal: None,
    };
    let outcome = Outcome { ending: Ending::Succeeded, message: "done\u{1b}[2J".to_owned(), touched: true, output: Vec::new() };
    let events = vec![
        Event::Intended { attempt: 1, intent: 1, action },
        Event::Begun { intent: 1 },
        Event::Ended { intent: 1, outcome },
        Event::Verified { attempt: 1, verdict: Verdict::Healed, message: "well".to_owned() },
        Event::Closed { how: Closing::Healed, message: "healed by attempt 1".to_owned() },
    ];
    journal.append(Append::new(id.clone(), None, events)).await.unwrap();
}

fn history(answer: Answered) -> Vec<PastIncident> {
    let Ok(Found::History(incidents)) = answer else { panic!("no history: {answer:?}") };
    incidents
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_what_happened_to_a_target_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let (web, db): (Target, Target) = ("local/web".parse().unwrap(), "local/db".parse().unwrap());
    let first = happened(&journal, "Down", 1, &web).await;
    ended(&journal, &first, &web).await;
    let open = happened(&journal, "Slow", 1, &web).await;
    happened(&journal, "Other", 1, &db).await;
    let grants = json!({"history": ["local/we*"]});
    let lookout = || Lookout { eyes: Town::of([]), journal: Ok(journal.clone()) };
    let ask_for = |target: &str, within: u64| json!({"history": {"target": target, "within_ms": within}});
    let told = history(one(lookout(), grants.clone(), ask_for("local/web", HOUR_MS)).await);
    assert_eq!(told.iter().map(|past| past.id.clone()).collect::<Vec<_>>(), [open.to_string(), first.to_string()]);
    assert_eq!((told[0].alertname.as_str(), told[0].state.as_str(), told[0].closed_at), ("Slow", "deciding", None));
    assert_eq!((told[1].alertname.as_str(), told[1].state.as_str()), ("Down", "healed"));
    assert!(told[1].closed_at.unwrap() >= told[1].opened_at);
    let attempt = &told[1].attempts[0];
    assert_eq!((attempt.number, attempt.verification.as_str(), attempt.actions.len()), (1, "healed", 1));
    let action = &attempt.actions[0];
    assert_eq!(
        (action.kind.as_str(), action.target.as_str(), action.outcome.as_str()),
        ("docker.restart", "local/web", "succeeded")
    );
    assert!(!action.message.contains('\u{1b}'), "{action:?}");

    let refused = answers(lookout(), grants.clone(), json!([ask_for("local/db", HOUR_MS), ask_for("local/none", HOUR_MS)])).await;
    assert!(denied(&refused[0]).contains(r#"to allow it: grants: {history: ["local/db"]}"#), "{refused:?}");
    assert_eq!(denied(&refused[0]).replace("/db", "/none"), denied(&refused[1]));
    assert!(matches!(one(lookout(), grants.clone(), ask_for("web", HOUR_MS)).await, Err(LookupError::Invalid(_))));
    denied(&one(lookout(), json!({}), ask_for("local/web", HOUR_MS)).await);
    // A length of time that goes back before the beginning of time is as good as any.
    assert_eq!(history(one(lookout(), grants.clone(), ask_for("local/web", u64::MAX)).await).len(), 2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(history(one(lookout(), grants.clone(), ask_for("local/web", 1)).await), []);

    // The incident itself is not told; of many others the newest are.
    for n in 0..60 {
        happened(&journal, &format!("Many{n}"), 1, &web).await;
    }
    let own = happened(&journal, "Down", 2, &web).await;
    let policy = json!({"name": "curious", "plugin": "looks.wasm", "mode": "enforce", "grants": grants});
    let policy: Policy = serde_json::from_value(policy).unwrap();
    let live = Arc::new(lookout()).through(&policy, &own, Time::now());
    let lookup = Lookup::History { target: "local/web".to_owned(), within_ms: HOUR_MS };
    let told = history(live.look(&lookup).await);
    assert_eq!((told.len(), told[0].alertname.as_str(), told[49].alertname.as_str()), (50, "Many59", "Many10"));

    let nowhere = Lookout { eyes: Town::of([]), journal: Err("no journal is there".to_owned()) };
    let answer = one(nowhere, json!({"history": ["local/*"]}), ask_for("local/web", 1)).await;
    assert_eq!(answer, Err(LookupError::Unavailable("no journal is there".to_owned())));
}

/// The whole way: a server, a refusal in the journal, a grant that is written, and readers who may not know all.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_in_the_journal_and_todays_grants_count_for_an_owner_of_yesterday() {
    let patient = Patient::run(&[], &["says", "3"]);
    let settings = format!("settings: {{then: wait, lookups: [{{log: {{target: local/{}, lines: 3}}}}]}}\n", patient.name);
    let mut setup = Setup::restarts(&patient.name);
    setup.policy = format!("name: curious\nplugin: looks.wasm\nmode: enforce\nlimits: {{deadline: 2s}}\n{settings}");
    let mut host = Host::start(&setup).await;
    host.send("firing", crate::flow::labels(&patient), &Time::now().to_string()).await;
    host.until("waiting", 30).await;
    let shown = |host: &Host| {
        let id = id(host);
        let config = host.config().to_owned();
        async move {
            let mut command = tokio::process::Command::new(crate::crash::binary());
            let run = command.args(["incident", "show", &id, "--config"]).arg(config).output().await.unwrap();
            String::from_utf8_lossy(&run.stdout).into_owned()
        }
    };
    let story = shown(&host).await;
    let looked = format!(
        "looked at the last 3 lines of local/{}: access denied: policy curious has no grant to read the log of",
        patient.name
    );
    assert!(story.contains(&looked), "{story}");

    // The same owner, with the plugin it has, under the grants of the file as it is now.
    host.stop().await;
    let granted = format!("{}grants: {{docker: {{logs: ['local/{}']}}}}\n", setup.policy, patient.name);
    std::fs::write(host.config().with_file_name("policies").join("10-heal.yaml"), granted).unwrap();
    host.start_again().await;
    let begun = Instant::now();
    let story = loop {
        let story = shown(&host).await;
        if story.contains(": 3 lines (") {
            break story;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{story}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(story.contains(&looked), "what was refused stays written: {story}");
    // Whoever sends alerts may read at the door, and is not told what the container said.
    let url = format!("{}/api/v1/incidents/{}", host.url, id(&host));
    let seen: Value = reqwest_client().get(url).send().await.unwrap().json().await.unwrap();
    let lookups: Vec<&Value> =
        seen["entries"].as_array().unwrap().iter().flat_map(|e| e["event"]["lookups"].as_array()).flatten().collect();
    assert!(lookups.iter().any(|looked| looked.to_string().contains("3 lines, not shown here")), "{lookups:?}");
    assert!(lookups.iter().all(|looked| !looked.to_string().contains("password")), "{lookups:?}");

    let (code, checked) = paramedic(&host, &["check"]).await;
    assert_eq!(code, Some(0), "{checked}");
    assert!(checked.contains(&format!("may look at containers.log-tail: local/{}", patient.name)), "{checked}");
    assert!(checked.contains("may ask for metrics, which nothing grants: it would be answered access-denied"), "{checked}");
    let alert = host.config().with_file_name("alert.json");
    let message = json!({"version": "4", "status": "firing", "alerts": [
        {"status": "firing", "labels": crate::flow::labels(&patient), "annotations": {}, "startsAt": Time::now().to_string()}]});
    std::fs::write(&alert, message.to_string()).unwrap();
    let (_, asked) = paramedic(&host, &["ask", alert.to_str().unwrap()]).await;
    assert!(asked.contains("line 2") && asked.contains("wait"), "a rehearsal looks as well: {asked}");
}

#[test]
fn decisions_of_before_have_no_lookups() {
    let old = json!({"policy": "heal", "mode": "enforce", "plugin": "00", "settings": {}, "decision": {"Ok": {"pass": {"reason": "x"}}}, "micros": 1});
    let answer: Answer = serde_json::from_value(old).unwrap();
    assert!(answer.lookups.is_empty() && matches!(answer.decision, Ok(Decision::Pass { .. })));
}

/// A plugin that stands in for one keeps working without any lookup.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_looked_at_everything_is_denied() {
    let policy = json!({"name": "curious", "plugin": "looks.wasm", "mode": "enforce", "settings": {"lookups": [{"metrics": "up"}]},
        "grants": {"metrics": ["*"]}, "limits": {"deadline": "2s"}});
    let plugin: Arc<dyn Judge> = sandbox().load("looks", &component("looks")).await.unwrap();
    let loaded = Loaded { policy: Arc::new(serde_json::from_value(policy).unwrap()), plugin };
    let decider = Decider::new(vec![loaded], Arc::clone(sandbox()), PathBuf::new());
    let answer = decider.rehearse(&question(Time(5)), Time(5)).await.remove(0);
    assert!(denied(&answer.lookups[0].answer).contains("nothing can be looked at here"));
}
