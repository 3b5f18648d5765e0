//! Everything that senders do to an incident: out of order, twice, too late, never again. Each has its one answer, on the real engine.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
use paramedic::clock::Time;
use paramedic::incident::{Closing, Event};
use paramedic::journal::{Append, Journal};
use paramedic::receive::intake::Intake;
use serde_json::{Value, json};

use crate::flow::{labels, restarts, service, until_restarted};
use crate::host::{Host, Setup};
use crate::simulation::store::{Fate, Fates, Memory};

fn now() -> String {
    Time::now().to_string()
}

async fn told(host: &Host, status: &str, labels: Value, since: &str) {
    assert_eq!(host.send(status, labels, since).await, 200);
}

/// Long enough for anything that would be done wrongly to be done.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_before_it_was_heard_of_is_no_incident_and_the_next_firing_is_one() {
    let patient = service();
    let host = Host::start(&Setup::restarts(&patient.name)).await;
    let since = now();
    told(&host, "resolved", labels(&patient), &since).await;
    // The message that it fires was overtaken, and comes twice.
    told(&host, "firing", labels(&patient), &since).await;
    told(&host, "firing", labels(&patient), &since).await;
    a_while().await;
    assert_eq!((restarts(&patient), host.incidents().len()), (0, 0));
    told(&host, "firing", labels(&patient), &now()).await;
    until_restarted(&patient, 1, 20).await;
    assert_eq!(host.incidents().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overtaken_message_is_still_known_after_a_restart() {
    let patient = service();
    let mut host = Host::start(&Setup::restarts("somebody-else")).await;
    let since = now();
    told(&host, "firing", labels(&patient), &since).await;
    host.until("escalated", 20).await;
    told(&host, "resolved", labels(&patient), &since).await;
    host.until("cleared", 20).await;
    host.restart().await;
    told(&host, "firing", labels(&patient), &since).await;
    a_while().await;
    assert_eq!(host.incidents().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_while_it_is_being_repaired_is_looked_at_and_never_called_healed() {
    let patient = service();
    let mut setup = Setup::restarts(&patient.name);
    setup.policy = setup.policy.replace("within: 40s", "within: 5s");
    let host = Host::start(&setup).await;
    let since = now();
    told(&host, "firing", labels(&patient), &since).await;
    host.until("acting", 20).await;
    told(&host, "resolved", labels(&patient), &since).await;
    let story = host.until("cleared", 60).await;
    assert!(story.contains("CANNOT TELL") && !story.contains("HEALED"), "{story}");
    assert_eq!(restarts(&patient), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn firing_again_after_the_end_begins_a_new_incident_and_flapping_ends_at_a_person() {
    let patient = service();
    let mut setup = Setup::restarts(&patient.name);
    setup.policy =
        setup.policy.replace("{cooldown: 1s}", "{cooldown: 1s, attempts: 2 per 30m}").replace("within: 40s", "within: 3s");
    let host = Host::start(&setup).await;
    for failure in 1..=2 {
        let since = now();
        told(&host, "firing", labels(&patient), &since).await;
        until_restarted(&patient, failure, 30).await;
        told(&host, "resolved", labels(&patient), &since).await;
        host.until("cleared", 60).await;
    }
    told(&host, "firing", labels(&patient), &now()).await;
    let story = host.until("escalated", 60).await;
    assert!(story.contains("attempts-spent"), "{story}");
    assert_eq!((restarts(&patient), host.incidents().len()), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_alerts_about_one_container_restart_it_once() {
    let patient = service();
    let mut setup = Setup::restarts(&patient.name);
    setup.policy = setup.policy.replace(r#"alertname="Down""#, r#"alertname=~"Down|Slow""#);
    let host = Host::start(&setup).await;
    let since = now();
    let slow = json!({ "alertname": "Slow", "container": patient.name });
    tokio::join!(told(&host, "firing", labels(&patient), &since), told(&host, "firing", slow.clone(), &since));
    until_restarted(&patient, 1, 20).await;
    a_while().await;
    let held = host.incidents().into_iter().find(|(state, _)| state == "held").expect("one waits for the other");
    assert!(held.1.contains("target-busy") || held.1.contains("recently-started"), "{}", held.1);
    told(&host, "resolved", labels(&patient), &since).await;
    told(&host, "resolved", slow, &since).await;
    host.until("cleared", 90).await;
    assert_eq!(restarts(&patient), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_repeats_and_no_source_lists_is_stale_in_the_end_and_never_healed() {
    let patient = service();
    let mut setup = Setup::restarts("somebody-else");
    setup.config.push_str("stale_after: 60s\n");
    let host = Host::start(&setup).await;
    told(&host, "firing", labels(&patient), &now()).await;
    host.until("escalated", 20).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    // Repeated once, so it is believed for another minute.
    told(&host, "firing", labels(&patient), &now()).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(host.incidents()[0].0, "escalated");
    let story = host.until("stale", 60).await;
    assert!(story.contains("nobody has repeated it"), "{story}");
}

/// A disk on which nothing ends.
#[derive(Debug)]
struct Stuck;

impl Fates for Stuck {
    fn before<'a>(&'a self, append: &'a Append) -> BoxFuture<'a, Fate> {
        let ends = append.events.iter().any(|event| matches!(event, Event::Closed { .. }));
        async move { if ends { std::future::pending().await } else { Fate::Fine } }.boxed()
    }

    fn after(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

#[tokio::test]
async fn whoever_gives_up_closing_an_incident_shuts_no_door() {
    let journal = Journal::on(Arc::new(Memory::open(&Arc::default(), Arc::new(Stuck))));
    let (nudge, _nudges) = tokio::sync::mpsc::unbounded_channel();
    let intake = Intake::new(journal, Vec::new(), nudge);
    let alert = Alert {
        family: Family::Prometheus,
        status: Status::Firing,
        labels: Labels::from([("alertname".to_owned(), "Down".to_owned())]),
        annotations: Labels::new(),
        starts_at: Time::now(),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    };
    intake.hear(Via::Webhook, vec![alert.clone()]).await.unwrap();
    let id = IncidentId { key: Key::of(alert.family, &alert.labels, &[]), n: 1 };
    let closed = Event::Closed { how: Closing::Person, message: "gone".to_owned() };
    let closing = intake.close(Append::new(id, Some(1), vec![closed]));
    assert!(tokio::time::timeout(Duration::from_millis(50), closing).await.is_err(), "it was closed after all");
    intake.hear(Via::Webhook, vec![alert]).await.unwrap();
}
