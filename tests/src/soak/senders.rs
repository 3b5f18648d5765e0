//! Two senders that never stop: one speaks as Alertmanager's webhook does, one as Prometheus does, and each comes again
//! until it is answered 2xx. What was acknowledged is remembered here, and nowhere asked of the server.
//!
//! The lives of the alerts follow from the seed: told by one door or by both, twice at the same moment, resolved before firing,
//! resolved while something is done about them, firing again, never resolved until the end, or never at all.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paramedic::clock::Time;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::check::{Labels, Told};
use super::dice::Dice;
use crate::programs::reqwest_client;

/// How often a firing alert is told again, as Prometheus does every minute.
const REPEAT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    /// `POST /alert`
    Webhook,
    /// `POST /api/v2/alerts`
    Post,
}

/// How long alerts fire.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lasting {
    For(Duration),
    UntilTheEnd,
    ForEver,
}

/// Alerts that fire together, and how they are told.
#[derive(Clone, Debug)]
struct Life {
    alerts: Vec<Labels>,
    /// Which doors, each with its own delay.
    doors: Vec<(Door, Duration)>,
    /// The end is told before the beginning as well.
    early: bool,
    /// The beginning is told twice at the same moment.
    twice: bool,
    lasting: Lasting,
    /// They fire once more after this pause, for as long.
    again: Option<Duration>,
}

/// Makes lives, as the seed will have them.
struct Fate {
    dice: Dice,
    count: u32,
    /// Alert name and container; no container: nobody's business.
    wounds: Vec<(&'static str, Option<String>)>,
    /// Labels that may come again.
    known: Vec<Labels>,
}

impl Fate {
    fn next(&mut self) -> Life {
        let lasting = match self.dice.below(100) {
            0..2 => Lasting::ForEver,
            2..7 => Lasting::UntilTheEnd,
            7..35 => Lasting::For(self.dice.millis(100, 2_000)),
            35..85 => Lasting::For(self.dice.millis(2_000, 15_000)),
            _ => Lasting::For(self.dice.millis(15_000, 40_000)),
        };
        let count = 1 + self.dice.below(3);
        let alerts = (0..count).map(|_| self.alert(lasting)).collect();
        let mut doors = vec![(Door::Webhook, self.dice.millis(0, 800)), (Door::Post, self.dice.millis(0, 800))];
        if self.dice.percent(50) {
            let unused = self.dice.below(2);
            doors.remove(unused);
        }
        let again = (matches!(lasting, Lasting::For(_)) && self.dice.percent(20)).then(|| self.dice.millis(0, 3_000));
        Life { alerts, doors, early: self.dice.percent(10), twice: self.dice.percent(25), lasting, again }
    }

    fn alert(&mut self, lasting: Lasting) -> Labels {
        if lasting != Lasting::ForEver && !self.known.is_empty() && self.dice.percent(20) {
            return self.dice.one_of(&self.known).clone();
        }
        self.count += 1;
        // What nobody wants may not fire for ever: it would rest without anybody having said why.
        let wounds: Vec<_> =
            self.wounds.iter().filter(|(_, container)| lasting != Lasting::ForEver || container.is_some()).collect();
        let (name, container) = (*self.dice.one_of(&wounds)).clone();
        let mut labels = Labels::from([("alertname".to_owned(), name.to_owned()), ("wound".to_owned(), self.count.to_string())]);
        labels.extend(container.map(|container| ("container".to_owned(), container)));
        if lasting != Lasting::ForEver {
            self.known.push(labels.clone());
        }
        labels
    }
}

/// What the senders remember.
#[derive(Debug, Default)]
pub struct Memory {
    /// What was acknowledged.
    pub told: Vec<Told>,
    /// What was left firing for ever.
    pub forgotten: BTreeSet<Labels>,
    /// Answers that no right alert may get.
    pub wrong: Vec<String>,
}

/// The senders, at work.
pub struct Senders {
    memory: Arc<Mutex<Memory>>,
    over: watch::Sender<bool>,
    lives: tokio::task::JoinHandle<JoinSet<()>>,
}

struct Sender {
    url: String,
    client: reqwest::Client,
    memory: Arc<Mutex<Memory>>,
}

impl Senders {
    /// Begins to send alerts about these wounds to this server.
    pub fn start(url: &str, wounds: Vec<(&'static str, Option<String>)>, seed: u64) -> Self {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let sender = Arc::new(Sender { url: url.to_owned(), client: reqwest_client(), memory: Arc::clone(&memory) });
        let (over, ending) = watch::channel(false);
        let mut fate = Fate { dice: Dice::new(seed), count: 0, wounds, known: Vec::new() };
        let lives = tokio::spawn(async move {
            let mut lives = JoinSet::new();
            while !*ending.borrow() {
                let life = Arc::new(fate.next());
                if life.lasting == Lasting::ForEver {
                    sender.memory.lock().unwrap().forgotten.extend(life.alerts.iter().cloned());
                }
                let began = Time::now();
                for (door, delay) in life.doors.clone() {
                    let (sender, life, ending) = (Arc::clone(&sender), Arc::clone(&life), ending.clone());
                    lives.spawn(async move {
                        tokio::time::sleep(delay).await;
                        sender.live(door, &life, began, ending).await;
                    });
                }
                while lives.try_join_next().is_some() {}
                tokio::time::sleep(fate.dice.millis(100, 700)).await;
            }
            lives
        });
        Self { memory, over, lives }
    }

    /// How many messages about alerts were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.memory.lock().unwrap().told.len()
    }

    /// No new alerts from now on, and what fires is resolved, but for what is left firing for ever. Waits until all of that
    /// is acknowledged.
    pub async fn finish(self, within: Duration) -> Memory {
        self.over.send(true).unwrap();
        let rest = async { self.lives.await.unwrap().join_all().await };
        let done = tokio::time::timeout(within, rest).await;
        assert!(done.is_ok(), "the last alerts were not acknowledged within {} s", within.as_secs());
        std::mem::take(&mut self.memory.lock().unwrap())
    }
}

impl Sender {
    async fn live(&self, door: Door, life: &Life, began: Time, mut ending: watch::Receiver<bool>) {
        if life.early {
            self.tell(door, &life.alerts, began, false).await;
        }
        let first = self.tell(door, &life.alerts, began, true);
        if life.twice {
            tokio::join!(first, self.tell(door, &life.alerts, began, true));
        } else {
            first.await;
        }
        self.go_on(door, life, began, &mut ending).await;
        if life.lasting == Lasting::ForEver {
            return;
        }
        self.tell(door, &life.alerts, began, false).await;
        let over = *ending.borrow();
        if let (Some(pause), Lasting::For(lasted), false) = (life.again, life.lasting, over) {
            tokio::time::sleep(pause).await;
            let again = began.plus(lasted);
            self.tell(door, &life.alerts, again, true).await;
            self.go_on(door, life, again, &mut ending).await;
            self.tell(door, &life.alerts, again, false).await;
        }
    }

    /// Tells it again and again, for as long as it fires.
    async fn go_on(&self, door: Door, life: &Life, began: Time, ending: &mut watch::Receiver<bool>) {
        let lasting = match life.lasting {
            Lasting::For(lasting) => lasting,
            Lasting::UntilTheEnd | Lasting::ForEver => Duration::MAX,
        };
        let repeating = async {
            loop {
                tokio::time::sleep(REPEAT).await;
                self.tell(door, &life.alerts, began, true).await;
            }
        };
        tokio::select! {
            () = repeating => {}
            () = tokio::time::sleep(lasting.min(Duration::from_secs(86_400))) => {}
            _ = ending.wait_for(|over| *over) => {}
        }
    }

    /// Comes again until it is acknowledged.
    async fn tell(&self, door: Door, alerts: &[Labels], starts_at: Time, firing: bool) {
        let mut pause = Duration::from_millis(50);
        let first_sent = Time::now().0;
        loop {
            let sent = Time::now();
            let (path, body) = message(door, alerts, starts_at, firing, sent);
            let answer = self.client.post(format!("{}{path}", self.url)).json(&body).send().await;
            match answer.map(|answer| answer.status().as_u16()) {
                Ok(200..=299) => {
                    let acked = Time::now();
                    let told = |labels: &Labels| Told {
                        labels: labels.clone(),
                        starts_at: starts_at.0,
                        firing,
                        first_sent,
                        sent: sent.0,
                        acked: acked.0,
                    };
                    return self.memory.lock().unwrap().told.extend(alerts.iter().map(told));
                }
                Ok(503) | Err(_) => {}
                Ok(status) => return self.memory.lock().unwrap().wrong.push(format!("{status} to {path}: {body}")),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(800));
        }
    }
}

fn message(door: Door, alerts: &[Labels], starts_at: Time, firing: bool, now: Time) -> (&'static str, Value) {
    let status = if firing { "firing" } else { "resolved" };
    // While it fires: Alertmanager says the year 1, Prometheus how long it vouches for it.
    let end = match (door, firing) {
        (_, false) => now.to_string(),
        (Door::Webhook, true) => "0001-01-01T00:00:00Z".to_owned(),
        (Door::Post, true) => now.plus(Duration::from_secs(240)).to_string(),
    };
    let one = |labels: &Labels| {
        let mut alert =
            json!({ "labels": labels, "annotations": {}, "startsAt": starts_at.to_string(), "endsAt": end, "generatorURL": "" });
        if door == Door::Webhook {
            alert["status"] = status.into();
        }
        alert
    };
    let alerts: Vec<Value> = alerts.iter().map(one).collect();
    match door {
        Door::Webhook => {
            ("/alert", json!({ "version": "4", "groupKey": "{}", "status": status, "receiver": "paramedic", "alerts": alerts }))
        }
        Door::Post => ("/api/v2/alerts", alerts.into()),
    }
}
