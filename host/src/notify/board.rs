//! What has to be told now: one case for each open incident about which there is something to tell.
//!
//! It follows the journal, and can be computed from it anew at any time; nobody acts on it. When the journal cannot be read it says
//! so, and whoever tells others that Paramedic heals, or lives, stops saying it. Absent on purpose: whom to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::case::{Matter, Story};
use crate::alert::{IncidentId, Labels};
use crate::clock::Time;
use crate::incident::{Event, Rule};
use crate::journal::{Entry, Journal, JournalError};

/// How often it is looked for new entries.
pub const TICK: Duration = Duration::from_millis(500);
/// How soon a journal that could not be read is tried again.
pub const AGAIN: Duration = Duration::from_secs(5);
/// How many entries are read at a time.
pub const PAGE: usize = 512;

/// An open incident about which there is something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What.
    pub matter: Matter,
    /// Since when.
    pub since: Time,
    /// When the incident was opened.
    pub opened_at: Time,
    /// Its alert's labels; none for what is told in groups.
    pub labels: Labels,
    /// What the alert says of itself, as it came.
    pub summary: String,
    /// The policy that owns it.
    pub policy: Option<String>,
    /// What it is about.
    pub targets: Vec<String>,
    /// How many attempts were made.
    pub attempts: usize,
}

impl Case {
    fn of(story: &Story) -> Option<Self> {
        let (matter, since) = story.matter.clone()?;
        let incident = &story.incident;
        let alone = !matches!(matter, Matter::Holding { .. });
        let labels = if alone { incident.alert.labels.clone() } else { Labels::new() };
        let summary = incident.alert.annotations.get("summary").filter(|_| alone).cloned().unwrap_or_default();
        Some(Self {
            matter,
            since,
            opened_at: incident.opened_at,
            labels,
            summary,
            policy: story.policy().map(str::to_owned),
            targets: incident.targets.iter().map(|view| view.target.to_string()).collect(),
            attempts: incident.attempts.len(),
        })
    }
}

/// Incidents that one rule holds under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub count: usize,
    /// The one that has waited longest.
    pub oldest: IncidentId,
    /// Since when that one is held.
    pub since: Time,
    /// Why, in its words.
    pub why: String,
}

/// All cases, kept up to date while it runs.
#[derive(Debug)]
pub struct Board {
    journal: Journal,
    cases: Mutex<BTreeMap<IncidentId, Case>>,
    /// Counts changes; `None` while it is not known how things stand.
    changes: watch::Sender<Option<u64>>,
}

impl Board {
    /// Nothing is known before it runs.
    pub fn new(journal: Journal) -> Self {
        Self { journal, cases: Mutex::default(), changes: watch::Sender::new(None) }
    }

    /// Follows the journal until it is dropped.
    pub async fn run(&self) {
        loop {
            let Err(error) = self.follow().await;
            if self.changes.send_replace(None).is_some() {
                tracing::error!(%error, "It is not known any more what people have to be told; trying again");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn follow(&self) -> Result<std::convert::Infallible, JournalError> {
        let mut pos = self.journal.head().await?;
        self.lock().clear();
        for id in self.journal.open_incidents().await? {
            self.read(&id).await?;
        }
        self.changed();
        loop {
            let entries = self.journal.tail(pos, PAGE).await?;
            let Some(last) = entries.last() else {
                tokio::time::sleep(TICK).await;
                continue;
            };
            pos = last.pos;
            // Each incident once, however much was written about it.
            let concerned: BTreeSet<&IncidentId> =
                entries.iter().filter(|entry| self.concerns(entry)).map(|e| &e.incident).collect();
            let mut news = false;
            for id in concerned {
                news |= self.read(id).await?;
            }
            if news {
                self.changed();
            }
        }
    }

    /// Can this entry begin, change or end a case?
    fn concerns(&self, entry: &Entry) -> bool {
        let idle = matches!(
            entry.event,
            Event::Opened { .. } | Event::Heard { .. } | Event::Asked { .. } | Event::Unclaimed { .. } | Event::Closed { .. }
        );
        !idle || self.lock().contains_key(&entry.incident)
    }

    /// Reads one incident anew; `true` when that changed its case.
    async fn read(&self, id: &IncidentId) -> Result<bool, JournalError> {
        let entries = self.journal.read(id, 0, usize::MAX).await?;
        let case = Story::read(id, &entries).as_ref().and_then(Case::of);
        let mut cases = self.lock();
        if cases.get(id) == case.as_ref() {
            return Ok(false);
        }
        match case {
            Some(case) => drop(cases.insert(id.clone(), case)),
            None => drop(cases.remove(id)),
        }
        Ok(true)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = Some(count.map_or(0, |count| count + 1)));
    }

    /// Tells of changes; holds `None` while it is not known how things stand.
    pub fn changes(&self) -> watch::Receiver<Option<u64>> {
        self.changes.subscribe()
    }

    /// What has to be told now; `None` while that is not known.
    pub fn cases(&self) -> Option<Vec<(IncidentId, Case)>> {
        let known = self.changes.borrow().is_some();
        known.then(|| self.lock().iter().map(|(id, case)| (id.clone(), case.clone())).collect())
    }

    /// How many incidents are held now, by rule and policy.
    pub fn groups(&self) -> BTreeMap<(Rule, String), Group> {
        let mut groups: BTreeMap<(Rule, String), Group> = BTreeMap::new();
        for (id, case) in self.lock().iter() {
            let Matter::Holding { rule, why } = &case.matter else { continue };
            let this = || Group { count: 0, oldest: id.clone(), since: case.since, why: why.clone() };
            let group = groups.entry((*rule, case.policy.clone().unwrap_or_default())).or_insert_with(this);
            let count = group.count + 1;
            if case.since < group.since {
                *group = this();
            }
            group.count = count;
        }
        groups
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IncidentId, Case>> {
        // Nothing panics while it is held.
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
