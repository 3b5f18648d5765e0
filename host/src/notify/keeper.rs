//! Keeps Alertmanager told: what is so now is posted again and again, with an end in the near future, and what is over once more.
//!
//! Nothing has to be remembered for that: a lost post is made good by the next, a Paramedic that dies lets its alerts expire, and one
//! that starts computes them from the journal. While the journal cannot be read or written nothing is posted, so that people are called.
//! Absent on purpose: asking Alertmanager anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::board::{AGAIN, Board};
use super::notice::{About, Notice, body};
use super::send::{SendError, Teller};
use super::{LookAgain, Tally};
use crate::alert::Labels;
use crate::alert::own::{ALIVE, HEALING};
use crate::clock::Time;
use crate::journal::Journal;
use crate::telemetry::clean;

/// How often it is told again what goes on.
const EVERY: Duration = Duration::from_secs(30);
/// Several changes at once are one post.
const GATHER: Duration = Duration::from_millis(300);
/// Alertmanager's clock may differ by so much from ours; by more, and the ends that it is told are put into its time.
const SKEW: i64 = 20_000;
/// So many alerts are posted at a time.
const AT_ONCE: usize = 200;

/// Tells one Alertmanager.
#[derive(Debug)]
pub struct Keeper {
    /// Its name for people, with its URL.
    pub who: String,
    /// The way to it.
    pub teller: Teller,
    /// What it is to be told about.
    pub about: About,
    /// How things stand.
    pub board: Arc<Board>,
    /// Is it alive?
    pub journal: Journal,
    /// What came of it.
    pub tally: Tally,
}

/// What it was told, and when.
struct Told {
    notice: Notice,
    at: Instant,
}

/// What is remembered between two rounds; none of it has to be.
#[derive(Default)]
struct Memory {
    told: BTreeMap<Labels, Told>,
    /// Whether the journal could be written, and when that was asked.
    alive: Option<(Instant, bool)>,
    /// How far Alertmanager's clock is ahead of ours, in milliseconds; 0 while that hardly matters.
    ahead: i64,
    unreachable: LookAgain,
    refuses: LookAgain,
}

impl Keeper {
    /// Keeps it told until it is dropped.
    pub async fn run(&self) {
        let (mut changes, mut memory) = (self.board.changes(), Memory::default());
        loop {
            changes.mark_unchanged();
            let ahead = memory.ahead;
            let result = match self.wanted(&mut memory).await {
                Some(wanted) => self.tell(wanted, &mut memory).await,
                None => Ok(()),
            };
            if memory.ahead != ahead {
                tracing::warn!(
                    who = self.who,
                    ahead_ms = memory.ahead,
                    "Alertmanager's clock is not ours: see whether time is synchronised on both machines"
                );
                memory.told.clear();
            }
            let pause = match result {
                Ok(()) if memory.ahead != ahead => AGAIN,
                Ok(()) => {
                    if memory.unreachable.over() {
                        tracing::info!(who = self.who, "Alertmanager can be told again");
                    }
                    EVERY
                }
                Err(error) => {
                    if memory.unreachable.begins() {
                        tracing::error!(who = self.who, %error, "Alertmanager cannot be told: nobody is called through it until it can");
                    }
                    AGAIN
                }
            };
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => tokio::time::sleep(GATHER).await,
                    Err(_) => return,
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// All that it is to have; `None` while that is not known. Without a journal that can be written, Paramedic is not alive.
    async fn wanted(&self, memory: &mut Memory) -> Option<Vec<Notice>> {
        let cases = self.board.cases()?;
        let mut wanted = self.about.wanted(&cases, &self.board.groups(), Time::now());
        let (_, alive) = match memory.alive.filter(|(at, _)| at.elapsed() < AGAIN) {
            Some(asked) => asked,
            None => *memory.alive.insert((Instant::now(), self.journal.ready().await.is_ok())),
        };
        if !alive {
            // It can finish nothing, so no page may wait for it either.
            wanted.retain(|notice| !is_of_the_living(notice));
        }
        Some(wanted)
    }

    async fn tell(&self, wanted: Vec<Notice>, memory: &mut Memory) -> Result<(), SendError> {
        let told = &mut memory.told;
        let names: BTreeSet<&Labels> = wanted.iter().map(|notice| &notice.labels).collect();
        // What it was told so long ago has ended by itself.
        told.retain(|_, before| before.at.elapsed() < before.notice.lasts);
        let over: Vec<Notice> = told.values().map(|t| &t.notice).filter(|n| !names.contains(&n.labels)).cloned().collect();
        let due: Vec<&Notice> = wanted
            .iter()
            .filter(|notice| told.get(&notice.labels).is_none_or(|t| t.notice != **notice || t.at.elapsed() >= EVERY - GATHER))
            .collect();
        let all: Vec<(&Notice, bool)> = due.into_iter().map(|n| (n, true)).chain(over.iter().map(|n| (n, false))).collect();
        self.tally.waiting(all.len());
        // The calls may be long: what says that Paramedic lives, and heals, goes before them.
        let (first, calls): (Vec<_>, Vec<_>) = all.into_iter().partition(|(notice, _)| is_of_the_living(notice));
        for some in first.chunks(AT_ONCE).chain(calls.chunks(AT_ONCE)) {
            self.post(some, &mut memory.refuses, &mut memory.ahead).await?;
            for (notice, goes_on) in some {
                if *goes_on {
                    let (notice, at) = ((*notice).clone(), Instant::now());
                    told.insert(notice.labels.clone(), Told { notice, at });
                } else {
                    told.remove(&notice.labels);
                }
            }
        }
        self.tally.waiting(0);
        Ok(())
    }

    /// Posts these; one that it refuses is told apart and keeps no other from being told.
    async fn post(&self, notices: &[(&Notice, bool)], refuses: &mut LookAgain, ahead: &mut i64) -> Result<(), SendError> {
        match self.post_together(notices, ahead).await {
            Err(error) if error.is_about_the_message() => {}
            done => return done,
        }
        for notice in notices {
            match self.post_together(std::slice::from_ref(notice), ahead).await {
                Err(error) if error.is_about_the_message() => {
                    let name = clean(notice.0.labels.get("alertname").map_or("?", String::as_str), 60);
                    let incident = clean(notice.0.labels.get("incident").map_or("", String::as_str), 60);
                    if refuses.begins() {
                        tracing::error!(who = self.who, name, incident, %error, "Alertmanager refuses an alert of ours: nobody is called by it");
                    }
                    self.tally.refused();
                }
                Err(error) => return Err(error),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn post_together(&self, notices: &[(&Notice, bool)], ahead: &mut i64) -> Result<(), SendError> {
        let of = |wanted: bool| notices.iter().filter(|(_, goes_on)| *goes_on == wanted).map(|(n, _)| *n).collect::<Vec<_>>();
        let now = Time::now();
        match self.teller.tell(body(&of(true), &of(false), Time(now.0 + *ahead)), None).await {
            Ok(theirs) => {
                self.tally.sent(notices.len());
                // An end that lies in its past would be taken, and nobody called.
                if let Some(differs) = theirs.map(|theirs| theirs.0 - now.0).filter(|differs| (differs - *ahead).abs() > SKEW) {
                    *ahead = if differs.abs() > SKEW { differs } else { 0 };
                }
                Ok(())
            }
            Err(error) => {
                self.tally.failed();
                Err(error)
            }
        }
    }
}

/// Is it only there while Paramedic works?
fn is_of_the_living(notice: &Notice) -> bool {
    notice.labels.get("alertname").is_some_and(|name| [ALIVE, HEALING].contains(&name.as_str()))
}
