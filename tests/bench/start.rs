//! Starting on a long history: ready how soon, and with how much memory.
//!
//! The journal is written through the library, so that it is one as a server writes it: whole lives of incidents, closed, and some that
//! are open.

use std::path::Path;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use paramedic::action::{Action, Ending, Outcome, Target};
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
use paramedic::clock::Time;
use paramedic::incident::{Answer, Closing, Decision, Event, Mode, TargetView, Trigger, Verdict};
use paramedic::journal::{Append, Appended, Journal};
use serde_json::json;

use crate::row;
use crate::server::Server;

const SHORT: usize = 1_000;
const LONG: usize = 100_000;
const OPEN: usize = 100;
/// Incidents that are written at once; they share commits.
const AT_ONCE: usize = 1_024;
/// Starts, of which the slowest is told.
const STARTS: usize = 5;
/// After so long every open incident was read.
const SETTLED: Duration = Duration::from_secs(1);

pub async fn measure(binary: &Path, folder: &Path) {
    for closed in [SHORT, LONG] {
        let folder = folder.join(format!("start-{closed}"));
        let data = Server::prepare(&folder);
        let entries = history(&data, closed).await;
        let (mut slowest, mut most) = (Duration::ZERO, 0_f64);
        for _ in 0..STARTS {
            let server = Server::start(binary, &folder).await;
            tokio::time::sleep(SETTLED).await;
            (slowest, most) = (slowest.max(server.ready_after), most.max(server.resident_mib()));
        }
        let bytes = std::fs::metadata(data.join("journal.db")).unwrap().len() >> 20;
        row(
            &format!("start: {closed} closed incidents, {OPEN} open"),
            &format!("ready after {:.0} ms, {most:.1} MiB resident", slowest.as_secs_f64() * 1_000.0),
        );
        row("", &format!("({entries} entries, {bytes} MiB on disk)"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// Writes it; gives the number of entries.
pub(crate) async fn history(data: &Path, closed: usize) -> u64 {
    let journal = Journal::open(data).unwrap();
    let append = |number: usize| {
        let journal = journal.clone();
        async move {
            let mut append = life(number);
            if number >= closed {
                append.events.truncate(2);
                append.stamp.clear();
            }
            let expected = append.events.len() as u64;
            match journal.append(append).await.map_err(|error| error.to_string())? {
                Appended::Committed { seq, .. } if seq == expected => Ok(seq),
                other => Err(format!("{other:?}")),
            }
        }
    };
    let written = stream::iter(0..closed + OPEN).map(append).buffer_unordered(AT_ONCE);
    written.try_fold(0, |sum, entries| async move { Ok(sum + entries) }).await.unwrap()
}

/// One incident from its first firing to its end, ten entries.
fn life(number: usize) -> Append {
    let name = format!("web-{number}");
    let labels: Labels =
        [("alertname", "WebDown"), ("container", &name), ("instance", "http://shop.example:80"), ("severity", "critical")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let id = IncidentId { key: Key::of(Family::Prometheus, &labels, &[]), n: 1 };
    let annotations = Labels::from([("summary".to_owned(), format!("{name} does not answer"))]);
    let alert = |status| Alert {
        family: Family::Prometheus,
        status,
        labels: labels.clone(),
        annotations: annotations.clone(),
        starts_at: Time::now(),
        ends_at: None,
        generator_url: "http://prometheus:9090/graph?g0.expr=probe_success".to_owned(),
        fingerprint: Some("0011223344556677".to_owned()),
    };
    let target: Target = format!("local/{name}").parse().unwrap();
    let proposals = serde_json::from_value(json!([{ "docker": { "verb": "restart", "target": target.to_string() } }])).unwrap();
    let answer = Answer {
        policy: "heal-web".to_owned(),
        mode: Mode::Enforce,
        plugin: "0".repeat(64),
        settings: json!({ "grace_seconds": 3 }),
        decision: Ok(Decision::Act { reason: format!("WebDown fires and {target} is exited: restart {target}"), proposals }),
        log: Vec::new(),
        lookups: Vec::new(),
        policy_file: String::new(),
        limits: None,
        micros: 300,
    };
    let action: Action = serde_json::from_value(json!({ "docker": {
        "verb": "restart", "target": target.to_string(), "container": "c15c57f6a541".repeat(5), "started_at": "2026-01-02T03:04:05.678901234Z",
    } }))
    .unwrap();
    let outcome = Outcome {
        ending: Ending::Succeeded,
        message: format!("{target} was restarted in 681 ms"),
        touched: true,
        output: Vec::new(),
    };
    let message = "Prometheus at http://prometheus:9090 evaluated WebDown: neither pending nor firing, for 30.1 s".to_owned();
    let events = vec![
        Event::Opened { alert: alert(Status::Firing), via: Via::Post },
        Event::Heard { alert: alert(Status::Firing), via: Via::Prometheus },
        Event::Asked {
            trigger: Trigger::Alert,
            targets: vec![TargetView { target: target.clone(), inventory_host: None, state: "exited".to_owned() }],
            ambiguous: Vec::new(),
        },
        Event::Decided(answer),
        Event::Intended { attempt: 1, intent: 1, action },
        Event::Begun { intent: 1 },
        Event::Ended { intent: 1, outcome },
        Event::Heard { alert: alert(Status::Resolved), via: Via::Post },
        Event::Verified { attempt: 1, verdict: Verdict::Healed, message },
        Event::Closed { how: Closing::Healed, message: "healed by attempt 1".to_owned() },
    ];
    let mut append = Append::new(id, Some(0), events);
    append.stamp = vec![format!("attempts:{target}"), format!("cooldown:docker.restart:{target}"), "hour:actions".to_owned()];
    append
}
