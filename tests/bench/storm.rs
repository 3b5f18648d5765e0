//! A storm: ten thousand distinct alerts within a minute, each about another container, before a policy that may act.
//!
//! Told are what the doors and the memory are like meanwhile, how many actions were allowed, and whether what still fires is taken up
//! in order when it is over. None of the containers exists, so whatever is taken up ends with a call for a person, and nothing is touched.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use paramedic::alert::IncidentId;
use paramedic::clock::Time;
use paramedic::incident::{Event, Rule};
use paramedic::journal::Reader;

use crate::row;
use crate::sender::{Connection, webhook};
use crate::server::Server;

const ALERTS: usize = 10_000;
const SENDERS: usize = 8;
/// They come within this.
const WITHIN: Duration = Duration::from_secs(58);
/// So many are sent one by one before, for comparison, to a door that has nothing else to do; they are about one container.
const CALM: usize = 300;
/// Those that go on to fire.
const STILL: [usize; 5] = [9_001, 77, 5_000, 2_500, 42];
/// How long everything may take to come to its end.
const PATIENCE: Duration = Duration::from_secs(240);

const POLICY: &str = "name: heal\nplugin: restart-container.wasm\nmode: enforce\nmatch: [alertname=\"Down\"]\n\
                      grants: {docker: {restart: ['local/paramedic-storm-*']}}\nlimits: {deadline: 5s}\n";

pub async fn measure(binary: &Path, folder: &Path) {
    let folder = folder.join("storm");
    let data = Server::prepare(&folder);
    let plugin = "restart-container.wasm";
    std::fs::copy(Path::new("plugins").join(plugin), folder.join("plugins").join(plugin)).unwrap();
    std::fs::write(folder.join("policies/10-heal.yaml"), POLICY).unwrap();
    let server = Server::start(binary, &folder).await;
    let calm = send("resolved", &(0..CALM).collect::<Vec<_>>(), server.port(), Duration::from_secs(2)).await;
    let (before, cpu) = (server.resident_mib(), server.cpu());

    let begun = Instant::now();
    let all: Vec<usize> = (0..ALERTS).collect();
    let storm = send("firing", &all, server.port(), WITHIN).await;
    let (took, during) = (begun.elapsed(), server.resident_mib());
    until("every alert is held", || held(&data) + 10 >= ALERTS).await;
    row(&format!("storm: {ALERTS} alerts in {:.0} s, calm before", took.as_secs_f64()), &shown(&calm));
    row("storm: POST while it lasts", &shown(&storm));
    let after = server.resident_mib();
    row("storm: resident before, at its end, all held", &format!("{before:.1}, {during:.1}, {after:.1} MiB"));
    row("storm: processor time of each alert, until it is held", &ms((server.cpu() - cpu) / ALERTS as u32));
    let cpu = server.cpu();
    tokio::time::sleep(Duration::from_secs(10)).await;
    row("storm: processor, while all are held", &format!("{:.1} %", (server.cpu() - cpu).as_secs_f64() * 10.0));

    let over: Vec<usize> = all.into_iter().filter(|n| !STILL.contains(n)).collect();
    let closing = send("resolved", &over, server.port(), Duration::ZERO).await;
    row("storm: POST of what is over", &shown(&closing));
    let mut taken = Vec::new();
    until("what still fires is taken up", || {
        taken = taken_up(&data);
        taken.len() >= STILL.len()
    })
    .await;
    let order = if taken.is_sorted() { "in order" } else { "NOT in order" };
    row("storm: afterwards", &format!("{} still fire, taken up {order}", taken.len()));
    row(
        "storm: calls for a person by them all, actions",
        &format!("{}, {}", count(&data, "escalated"), count(&data, "intended")),
    );
}

/// Sends each as a message of its own, spread evenly over this time; all have to be answered 200.
async fn send(status: &str, numbers: &[usize], port: u16, within: Duration) -> Vec<Duration> {
    let pause = within / u32::try_from(numbers.len().div_ceil(SENDERS)).unwrap();
    let mut tasks = Vec::new();
    for sender in 0..SENDERS {
        let mut connection = Connection::open(port).await.unwrap();
        let requests: Vec<Vec<u8>> = numbers.iter().skip(sender).step_by(SENDERS).map(|n| request(status, *n)).collect();
        tasks.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(pause.max(Duration::from_micros(1)));
            let mut took = Vec::with_capacity(requests.len());
            for request in &requests {
                ticks.tick().await;
                let sent = Instant::now();
                assert_eq!(connection.send(request).await.unwrap(), 200);
                took.push(sent.elapsed());
            }
            took
        }));
    }
    let mut all = Vec::with_capacity(numbers.len());
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all.sort_unstable();
    all
}

fn request(status: &str, number: usize) -> Vec<u8> {
    let labels = format!(r#"{{"alertname":"Down","container":"paramedic-storm-{number}","severity":"critical"}}"#);
    let alert = format!(r#"{{"status":"{status}","labels":{labels},"annotations":{{}},"startsAt":"{}"}}"#, Time::now());
    webhook(&format!(r#"{{"version":"4","status":"{status}","alerts":[{alert}]}}"#))
}

fn held(data: &Path) -> usize {
    let mut held = HashMap::new();
    for entry in Reader::open(data).unwrap().tail(0, usize::MAX).unwrap() {
        held.insert(entry.incident, matches!(entry.event, Event::Held { rule: Rule::Storm, .. }));
    }
    held.values().filter(|held| **held).count()
}

/// When each that was taken up had begun, in the order of being taken up.
fn taken_up(data: &Path) -> Vec<Time> {
    let (mut opened, mut taken): (HashMap<IncidentId, Time>, Vec<Time>) = (HashMap::new(), Vec::new());
    let mut stormy = HashMap::new();
    for entry in Reader::open(data).unwrap().tail(0, usize::MAX).unwrap() {
        match entry.event {
            Event::Opened { .. } => drop(opened.insert(entry.incident, entry.at)),
            Event::Held { rule: Rule::Storm, .. } => drop(stormy.insert(entry.incident, ())),
            Event::Escalated { .. } if stormy.contains_key(&entry.incident) => taken.push(opened[&entry.incident]),
            _ => {}
        }
    }
    taken
}

fn count(data: &Path, kind: &str) -> usize {
    Reader::open(data).unwrap().tail(0, usize::MAX).unwrap().iter().filter(|entry| entry.event.kind() == kind).count()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "within {} s there was no sign of: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn shown(took: &[Duration]) -> String {
    let at = |part: usize| ms(took[(took.len() * part / 1_000).min(took.len() - 1)]);
    format!("p50 {}, p99 {}, slowest {}", at(500), at(990), at(1_000))
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1_000.0)
}
