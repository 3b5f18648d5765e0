//! The journal: what every store promises, and what the one on SQLite does with real files, crashes and alterations.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

pub mod conformance;
mod keeping;
pub mod large;
mod sqlite;
mod trouble;

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
use paramedic::clock::Time;
use paramedic::incident::{Answer, Closing, Decision, Event, Mode, Rule, Trigger};
use paramedic::journal::{Append, Appended, Journal, JournalError, Opened, Reader, Spend};
use paramedic::policy::brakes::PerWindow;

const HOUR: Duration = Duration::from_secs(3_600);

fn alert(name: &str) -> Alert {
    Alert {
        family: Family::Prometheus,
        status: Status::Firing,
        labels: Labels::from([("alertname".to_owned(), name.to_owned())]),
        annotations: Labels::new(),
        starts_at: Time(1_000),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    }
}

fn id(name: &str, n: u64) -> IncidentId {
    IncidentId { key: Key::of(Family::Prometheus, &alert(name).labels, &[]), n }
}

fn opening(name: &str, n: u64) -> Append {
    Append::new(id(name, n), Some(0), vec![Event::Opened { alert: alert(name), via: Via::Webhook }])
}

fn note() -> Event {
    Event::Asked { trigger: Trigger::Alert, targets: Vec::new(), ambiguous: Vec::new() }
}

fn held(until: Option<Time>) -> Event {
    Event::Held { rule: Rule::Cooldown, message: "too soon".to_owned(), until }
}

fn decided(mode: Mode, decision: Decision) -> Event {
    let (policy, plugin, settings) = ("heal".to_owned(), "00".repeat(32), serde_json::json!({}));
    Event::Decided(Answer {
        policy,
        mode,
        plugin,
        settings,
        decision: Ok(decision),
        log: Vec::new(),
        lookups: Vec::new(),
        policy_file: String::new(),
        limits: None,
        micros: 1,
    })
}

fn closed() -> Event {
    Event::Closed { how: Closing::Cleared, message: "gone".to_owned() }
}

/// Writes a note, spending these.
fn spending(name: &str, spend: Vec<Spend>) -> Append {
    Append { spend, ..Append::new(id(name, 1), None, vec![note()]) }
}

fn rate(key: &str, limit: u32, window: Duration) -> Spend {
    Spend::Rate { key: key.to_owned(), limits: vec![PerWindow { limit, window }] }
}

fn lock(key: &str, limit: u32) -> Spend {
    Spend::Lock { key: key.to_owned(), limit }
}

/// The position, number and time of what must have been committed.
#[track_caller]
fn committed(appended: &Appended) -> (u64, u64, Time) {
    match appended {
        Appended::Committed { pos, seq, at } => (*pos, *seq, *at),
        other => panic!("not committed: {other:?}"),
    }
}

/// When the brake that must have refused may have room again, and who holds it.
#[track_caller]
fn braked(appended: &Appended) -> (&str, Option<Time>, Option<&IncidentId>) {
    match appended {
        Appended::Braked { key, after, holder, .. } => (key, *after, holder.as_ref()),
        other => panic!("not braked: {other:?}"),
    }
}

async fn opened(journal: &Journal, names: &[&str]) {
    for name in names {
        committed(&journal.append(opening(name, 1)).await.unwrap());
    }
}

fn alter(dir: &Path, sql: &str) {
    let db = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
    db.execute_batch(sql).unwrap();
}
