//! Mass failure is probably the sensor, and yesterday is no reason to act today: on the real server, engine and Alertmanager.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use paramedic::alert::{Family, IncidentId, Key};
use paramedic::clock::Time;
use paramedic::incident::{Event, Rule};
use paramedic::journal::{Entry, Reader};
use serde_json::{Value, json};

use crate::crash::binary;
use crate::engine::Patient;
use crate::flow::{labels, restarts, service, until_restarted};
use crate::host::{Host, Setup};
use crate::programs::{reqwest_client, start_alertmanager};

/// So many alerts; ten thousand are measured by `make bench`.
const MANY: usize = 2_000;
/// So many containers they are about.
const CONTAINERS: usize = 8;
/// So many alerts in a message.
const TOGETHER: usize = 50;

fn entries(data: &Path) -> Vec<Entry> {
    Reader::open(data).unwrap().tail(0, usize::MAX).unwrap()
}

/// The rule by which each open incident was last held.
fn held(entries: &[Entry]) -> BTreeMap<IncidentId, Rule> {
    let mut held = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Held { rule, .. } => drop(held.insert(entry.incident.clone(), *rule)),
            Event::Heard { .. } => {}
            _ => drop(held.remove(&entry.incident)),
        }
    }
    held
}

fn intended(entries: &[Entry]) -> Vec<(IncidentId, Time)> {
    let first = |entry: &Entry| matches!(entry.event, Event::Intended { .. }).then(|| (entry.incident.clone(), entry.at));
    entries.iter().filter_map(first).collect()
}

fn target_of(entry: &Entry) -> Option<String> {
    if let Event::Intended { action, .. } = &entry.event { Some(action.target().to_string()) } else { None }
}

async fn until<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(seconds), "within {seconds} s there was no sign of: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A policy with all the time in the world: other tests keep this machine busy.
fn patient_policy(container: &str) -> Setup {
    Setup::restarts(container).policy_line("limits: {deadline: 10s}")
}

/// Sends these, as Alertmanager does, in messages that overlap; each has to be answered 200.
async fn send(host: &Host, status: &str, alerts: &[Value]) {
    let post = |alerts: &[Value]| {
        let message = json!({ "version": "4", "status": status, "alerts": alerts });
        let request = reqwest_client().post(format!("{}/alert", host.url)).timeout(Duration::from_secs(30)).json(&message);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let answers = stream::iter(alerts.chunks(TOGETHER).map(post)).buffer_unordered(8).collect::<Vec<u16>>().await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
}

fn alert(status: &str, labels: &Value, since: &str) -> Value {
    json!({ "status": status, "labels": labels, "annotations": {}, "startsAt": since })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_stops_every_action_and_what_fires_after_it_is_taken_up_in_order() {
    let patients: Vec<Patient> = (0..CONTAINERS).map(|_| Patient::run(&["--stop-timeout", "1"], &["wait"])).collect();
    let mut setup = patient_policy("paramedic-test-*");
    setup.config.push_str("brakes: {storm: 5 per 20s, storm_share: 100%, actions: 100 per 1h, attempts: 50 per 30m}\n");
    setup.policy = setup.policy.replace("within: 40s, stable: 2s", "within: 2s, stable: 1s");
    let host = Host::start(&setup).await;
    let since = Time::now().to_string();
    let of = |n: usize| json!({ "alertname": "Down", "container": patients[n % CONTAINERS].name, "n": n.to_string() });
    let firing: Vec<Value> = (0..MANY).map(|n| alert("firing", &of(n), &since)).collect();
    send(&host, "firing", &firing).await;

    // All are held but the few that had begun before the journal knew.
    let in_storm = |now: &[Entry]| held(now).values().filter(|rule| **rule == Rule::Storm).count();
    let now = until("nearly all held by the storm", 120, || {
        let now = entries(&host.data());
        (in_storm(&now) > MANY - 10).then_some(now)
    })
    .await;
    let begun: Vec<String> = now.iter().filter_map(target_of).collect();
    let before = begun.len();
    assert!(before < 5, "{before} actions in a storm");

    // Nearly all are over; those that still fire are of different ages, one for each of four containers that nothing was done to.
    let untouched = (0..CONTAINERS).filter(|n| !begun.contains(&patients[*n].target().to_string()));
    let ages = [1_896, 248, 1_400, 800];
    let still: Vec<usize> = untouched.zip(ages).map(|(container, age)| age + container).collect();
    assert_eq!(still.len(), ages.len());
    let over: Vec<Value> = (0..MANY).filter(|n| !still.contains(n)).map(|n| alert("resolved", &of(n), &since)).collect();
    send(&host, "resolved", &over).await;
    let acted = until("an attempt for each that still fires", 180, || {
        let acted = intended(&entries(&host.data()));
        (acted.len() >= before + still.len()).then_some(acted)
    })
    .await;
    let all = entries(&host.data());
    let opened =
        |id: &IncidentId| all.iter().position(|entry| entry.incident == *id && matches!(entry.event, Event::Opened { .. }));
    let order: Vec<_> = acted[before..].iter().map(|(id, _)| (all[opened(id).unwrap()].at, id.clone())).collect();
    assert!(order.is_sorted(), "not the oldest first: {order:?}");
    let said = all.iter().find_map(|entry| match &entry.event {
        Event::Held { rule: Rule::Storm, message, .. } => Some((entry.at, message.clone())),
        _ => None,
    });
    let (began, said) = said.unwrap();
    assert!(
        acted[before].1.since(began) > Duration::from_secs(19),
        "the storm that began at {began} was over too soon: {acted:?}"
    );
    assert!(said.contains("brakes.storm") && said.contains("paramedic incident retry"), "{said}");
}

/// The sensor lost its sense: the containers that it names are not there, so the policy has nothing to offer but a person.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_calls_for_a_person_calls_for_the_first_few_and_holds_the_rest() {
    const ALERTS: usize = 300;
    let mut setup = patient_policy("nothing-*");
    setup.config.push_str("brakes: {storm: 5 per 10s}\n");
    let host = Host::start(&setup).await;
    let since = Time::now().to_string();
    let of = |n: usize| json!({ "alertname": "Down", "container": format!("nothing-{n}") });
    send(&host, "firing", &(0..ALERTS).map(|n| alert("firing", &of(n), &since)).collect::<Vec<_>>()).await;
    let of_kind = |kind: &str| entries(&host.data()).iter().filter(|entry| entry.event.kind() == kind).count();
    until("all the others to be held", 60, || {
        (held(&entries(&host.data())).len() + of_kind("escalated") == ALERTS).then_some(())
    })
    .await;
    let first = of_kind("escalated");
    assert!(first < 5, "{first} calls in a storm");
    // What is over by then is told of to nobody, what fires on is.
    let last = held(&entries(&host.data())).into_keys().next().unwrap();
    let over = |n: &usize| Key::of(Family::Prometheus, &serde_json::from_value(of(*n)).unwrap(), &[]) != last.key;
    let over: Vec<Value> = (0..ALERTS).filter(over).map(|n| alert("resolved", &of(n), &since)).collect();
    send(&host, "resolved", &over).await;
    until("all but one to be over, and that one to have called", 90, || {
        (of_kind("closed") == ALERTS - 1 && of_kind("escalated") == first + 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_lets_one_incident_of_a_storm_go_on() {
    let patient = service();
    let mut setup = Setup::restarts(&patient.name);
    setup.config.push_str("brakes: {storm: 1 per 1h}\n");
    let host = Host::start(&setup).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("held", 30).await;
    assert!(story.contains("a storm over all policies"), "{story}");
    retry(&host, "it is real");
    until_restarted(&patient, 1, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_half_of_a_policys_containers_failing_at_once_holds_them_until_fewer_do() {
    let patients: Vec<Patient> = (0..3).map(|_| Patient::run(&["--stop-timeout", "1"], &["wait"])).collect();
    let names: Vec<String> = patients.iter().map(|patient| format!("'local/{}'", patient.name)).collect();
    let mut setup = Setup::restarts("x");
    setup.config.push_str("brakes: {storm: 50 per 2s}\n");
    setup.policy = setup.policy.replace("'local/x'", &names.join(", ")).replace("within: 40s", "within: 4s");
    let host = Host::start(&setup).await;
    let of = |n: usize| json!({ "alertname": "Down", "container": patients[n].name });
    let since = Time::now().to_string();
    std::fs::write(host.data().join("HALT"), "").unwrap();
    for n in 0..2 {
        host.send("firing", of(n), &since).await;
    }
    until("both to be held", 30, || (held(&entries(&host.data())).len() == 2).then_some(())).await;
    std::fs::remove_file(host.data().join("HALT")).unwrap();
    until("both to be held for their share", 30, || {
        (held(&entries(&host.data())).values().filter(|rule| **rule == Rule::Storm).count() == 2).then_some(())
    })
    .await;
    assert_eq!(intended(&entries(&host.data())).len(), 0);
    host.send("resolved", of(0), &since).await;
    let acted = until("the other one to be taken up", 60, || {
        let acted = intended(&entries(&host.data()));
        (!acted.is_empty()).then_some(acted)
    })
    .await;
    assert_eq!(acted.len(), 1);
}

fn retry(host: &Host, reason: &str) {
    let reader = Reader::open(&host.data()).unwrap();
    let id = reader.list(true, 1).unwrap().pop().unwrap().to_string();
    let ran =
        Command::new(binary()).args(["incident", "retry", &id, "--reason", reason, "--data"]).arg(host.data()).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_alerts_that_fired_for_an_hour_at_the_first_start_cause_no_action() {
    const ALERTS: usize = 400;
    let patient = service();
    let alertmanager = start_alertmanager("").await.unwrap();
    let now = Time::now();
    let since = now.minus(Duration::from_secs(3_600)).to_string();
    let until_then = now.plus(Duration::from_secs(3_600)).to_string();
    let alerts: Vec<Value> = (0..ALERTS)
        .map(|n| {
            let labels = json!({ "alertname": "Down", "container": patient.name, "n": n.to_string() });
            json!({ "labels": labels, "startsAt": since, "endsAt": until_then })
        })
        .collect();
    let posted = reqwest_client().post(format!("{}/api/v2/alerts", alertmanager.url)).json(&alerts).send().await.unwrap();
    assert!(posted.status().is_success(), "{posted:?}");
    let host = Host::start(&patient_policy(&patient.name).alertmanager(&alertmanager.url)).await;
    until("all of them left to a person", 120, || {
        let held = held(&entries(&host.data()));
        (held.len() == ALERTS && held.values().all(|rule| *rule == Rule::TooOld)).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let all = entries(&host.data());
    assert_eq!((restarts(&patient), intended(&all).len()), (0, 0));
    assert!(!all.iter().any(|entry| matches!(entry.event, Event::Escalated { .. })));
}

/// A copy of the journal, made while the server runs, is put back a day later.
#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_journal_put_back_causes_no_action_before_a_person_says_so() {
    const DAY_MS: i64 = 86_400_000;
    let patient = service();
    let mut host = Host::start(&Setup::restarts(&patient.name)).await;
    std::fs::write(host.data().join("HALT"), "").unwrap();
    let since = Time::now().to_string();
    host.send("firing", labels(&patient), &since).await;
    host.until("held", 30).await;
    let copy = host.data().join("copy.db");
    let ran = Command::new(binary()).args(["journal", "backup"]).arg(&copy).arg("--data").arg(host.data()).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");

    // A short stop changes nothing of what is held, nor why.
    host.restart().await;
    assert!(host.until("held", 30).await.contains("halted"));
    host.stop().await;
    let shifted = ["entry set at", "head set alive_at", "head set at", "timer set due", "stamp set at", "newcomer set at"];
    let db = rusqlite::Connection::open(&copy).unwrap();
    for column in shifted {
        let name = column.rsplit(' ').next().unwrap();
        db.execute(&format!("update {column} = {name} - {DAY_MS}"), []).unwrap();
    }
    drop(db);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(host.data().join(format!("journal.db{end}")));
    }
    std::fs::rename(&copy, host.data().join("journal.db")).unwrap();
    std::fs::remove_file(host.data().join("HALT")).unwrap();
    host.start_again().await;
    host.send("firing", labels(&patient), &since).await;
    let story = until("the hold that says why", 30, || {
        host.incidents().into_iter().find(|(state, story)| state == "held" && story.contains("Paramedic was away from"))
    })
    .await;
    assert!(story.1.contains("too-old") && story.1.contains("paramedic incident retry"), "{}", story.1);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(restarts(&patient), 0);
    // Once more, shortly after: that it was away is not forgotten by a restart.
    host.restart().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(restarts(&patient), 0);
    retry(&host, "it is still down");
    until_restarted(&patient, 1, 30).await;
}
