//! A journal of what never happened: in memory, with the brakes of every journal and the clock of the course.
//!
//! Only what a course needs is there: one server, no crash, and incidents that are never listed. The rules are those of every store: the
//! brakes are checked before the first write, and spent with it. Absent on purpose: hashes, and anything durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, ready};

use crate::action::Target;
use crate::alert::{IncidentId, Key};
use crate::clock::Time;
use crate::incident::Incident;
use crate::journal::brakes::{self, Counts};
use crate::journal::entry::VERSION;
use crate::journal::storm::{self, Arrival, Storm};
use crate::journal::{Append, Appended, Away, Draft, Entry, JournalError, Listed, Opened, Spend, Store, Vitals};

/// One incident with what was written about it.
pub(super) struct Story {
    pub(super) incident: Incident,
    pub(super) entries: Vec<Entry>,
}

/// The journal.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    stories: HashMap<IncidentId, Vec<Entry>>,
    incidents: HashMap<IncidentId, Incident>,
    newest: HashMap<Key, u64>,
    last: u64,
    at: Time,
    stamps: HashMap<String, Vec<Time>>,
    holds: HashMap<String, BTreeSet<IncidentId>>,
    marks: HashMap<String, BTreeSet<IncidentId>>,
    newcomers: HashMap<String, BTreeMap<String, Time>>,
    storms: HashMap<String, Storm>,
}

impl Ledger {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id that the next incident of this key gets; `None` while one is open.
    pub(super) fn next_id(&self, key: &Key) -> Option<IncidentId> {
        let kept = self.kept();
        let n = kept.newest.get(key).copied().unwrap_or(0);
        let open = kept.incidents.get(&IncidentId { key: key.clone(), n }).is_some_and(|incident| !incident.is_closed());
        (!open).then(|| IncidentId { key: key.clone(), n: n + 1 })
    }

    /// The incident as it stands.
    pub(super) fn incident(&self, id: &IncidentId) -> Option<Incident> {
        self.kept().incidents.get(id).cloned()
    }

    /// Everything that was written, in the order of opening.
    pub(super) fn stories(&self) -> Vec<Story> {
        let mut kept = self.kept();
        let entries = std::mem::take(&mut kept.stories);
        let mut stories: Vec<Story> = entries
            .into_iter()
            .filter_map(|(id, entries)| Some(Story { incident: kept.incidents.get(&id)?.clone(), entries }))
            .collect();
        stories.sort_by_key(|story| story.entries.first().map(|entry| entry.pos));
        stories
    }
}

impl Kept {
    fn write(&mut self, draft: &Draft) -> Appended {
        let append = draft.append();
        let before = self.incidents.get(&append.incident);
        let last = before.map_or(0, |incident| incident.seq);
        let closed = before.is_some_and(Incident::is_closed);
        if draft.opens() != before.is_none() || closed || append.expect.is_some_and(|expect| expect != last) {
            return Appended::Conflict { last };
        }
        self.at = self.at.max(Time::now());
        let Ok(braked) = brakes::check(self, self.at, &append.incident, &append.spend);
        if let Some(braked) = braked {
            return braked;
        }
        let (pos, seq) = (self.last + 1, self.add(append, last));
        self.spend(draft);
        Appended::Committed { pos, seq, at: self.at }
    }

    fn add(&mut self, append: &Append, mut seq: u64) -> u64 {
        let id = &append.incident;
        for event in &append.events {
            (seq, self.last) = (seq + 1, self.last + 1);
            match self.incidents.get_mut(id) {
                Some(incident) => incident.apply(seq, self.at, event),
                None => {
                    let begun = Incident::from_events(id, [(seq, self.at, event)]);
                    self.incidents.extend(begun.map(|incident| (id.clone(), incident)));
                    self.newest.insert(id.key.clone(), id.n);
                }
            }
            let entry = Entry {
                pos: self.last,
                incident: id.clone(),
                seq,
                at: self.at,
                version: VERSION,
                event: event.clone(),
                append_id: append.append_id,
                hash: String::new(),
            };
            self.stories.entry(id.clone()).or_default().push(entry);
        }
        seq
    }

    fn spend(&mut self, draft: &Draft) {
        let append = draft.append();
        let id = &append.incident;
        for (key, holders) in &mut self.holds {
            if append.release_all || append.release.contains(key) {
                holders.remove(id);
            }
        }
        for key in draft.stamps() {
            self.stamps.entry(key.to_owned()).or_default().push(self.at);
        }
        for key in draft.holds() {
            self.holds.entry(key.to_owned()).or_default().insert(id.clone());
        }
        for key in &append.mark {
            self.marks.entry(key.clone()).or_default().insert(id.clone());
        }
        for new in &append.newcomers {
            let Ok(arrival) = storm::arrive(self, self.at, new);
            if arrival != Arrival::Known {
                self.newcomers.entry(new.key.clone()).or_default().insert(new.subject.clone(), self.at);
            }
            if let Arrival::Storm(storm) = arrival {
                self.storms.insert(new.key.clone(), storm);
            }
        }
        if draft.closes() {
            self.holds.values_mut().chain(self.marks.values_mut()).for_each(|holders| {
                holders.remove(id);
            });
        }
        self.holds.retain(|_, holders| !holders.is_empty());
        self.marks.retain(|_, marked| !marked.is_empty());
    }

    /// The stamps of this key that are later; they are in their order.
    fn later(&self, key: &str, since: Time) -> &[Time] {
        let all = self.stamps.get(key).map_or(&[][..], Vec::as_slice);
        all.get(all.partition_point(|at| *at <= since)..).unwrap_or_default()
    }
}

impl Counts for Kept {
    type Error = Infallible;

    fn stamped(&self, key: &str, since: Time) -> Result<u64, Infallible> {
        Ok(self.later(key, since).len() as u64)
    }

    fn stamp(&self, key: &str, since: Time, nth: u64) -> Result<Option<Time>, Infallible> {
        Ok(usize::try_from(nth).ok().and_then(|nth| self.later(key, since).get(nth)).copied())
    }

    fn holders(&self, key: &str, without: &IncidentId) -> Result<(u64, Option<IncidentId>), Infallible> {
        let others: Vec<&IncidentId> = self.holds.get(key).into_iter().flatten().filter(|id| *id != without).collect();
        Ok((others.len() as u64, others.first().map(|id| (*id).clone())))
    }

    fn is_marked(&self, key: &str) -> Result<bool, Infallible> {
        Ok(self.marks.contains_key(key))
    }

    fn arrived(&self, key: &str, subject: &str) -> Result<Option<Time>, Infallible> {
        Ok(self.newcomers.get(key).and_then(|new| new.get(subject)).copied())
    }

    fn newest(&self, key: &str, since: Time, nth: u64) -> Result<Option<Time>, Infallible> {
        let mut times: Vec<Time> = self.newcomers.get(key).into_iter().flat_map(BTreeMap::values).copied().collect();
        times.retain(|at| *at > since);
        times.sort_by_key(|at| std::cmp::Reverse(*at));
        Ok(usize::try_from(nth).ok().and_then(|nth| times.get(nth)).copied())
    }

    fn storm(&self, key: &str) -> Result<Option<Storm>, Infallible> {
        Ok(self.storms.get(key).copied())
    }
}

/// What nobody asks of it.
fn not_here<T: Send + 'static>() -> BoxFuture<'static, Result<T, JournalError>> {
    ready(Err(JournalError::Unreadable("a course keeps no lists".to_owned()))).boxed()
}

impl Store for Ledger {
    fn epoch(&self) -> u64 {
        1
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, JournalError>> {
        ready(Draft::new(append).map(|draft| self.kept().write(&draft))).boxed()
    }

    fn room(&self, incident: &IncidentId, spend: &[Spend]) -> BoxFuture<'_, Result<Option<Appended>, JournalError>> {
        let kept = self.kept();
        let Ok(braked) = brakes::check(&*kept, kept.at.max(Time::now()), incident, spend);
        ready(Ok(braked)).boxed()
    }

    fn read(&self, incident: &IncidentId, after_seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let kept = self.kept();
        let entries = kept.stories.get(incident).into_iter().flatten().filter(|entry| entry.seq > after_seq);
        ready(Ok(entries.take(limit).cloned().collect())).boxed()
    }

    fn tail(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        not_here()
    }

    fn open_incidents(&self) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        not_here()
    }

    fn latest(&self, _: &Key) -> BoxFuture<'_, Result<Option<Listed>, JournalError>> {
        not_here()
    }

    fn find(&self, _: &str) -> BoxFuture<'_, Result<IncidentId, JournalError>> {
        not_here()
    }

    fn holders(&self, key: &str) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        ready(Ok(self.kept().holds.get(key).into_iter().flatten().cloned().collect())).boxed()
    }

    fn due(&self, _: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        not_here()
    }

    fn list(&self, _: u64, _: bool, _: usize) -> BoxFuture<'_, Result<Vec<Opened>, JournalError>> {
        not_here()
    }

    fn about(&self, _: &Target, _: Time, _: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        not_here()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, JournalError>> {
        ready(Ok(Vitals { first: 1, last: self.kept().last, ..Vitals::default() })).boxed()
    }

    fn storm(&self, key: &str) -> BoxFuture<'_, Result<Option<Storm>, JournalError>> {
        ready(Ok(self.kept().storms.get(key).copied())).boxed()
    }

    fn away(&self) -> Vec<Away> {
        Vec::new()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        ready(Ok(())).boxed()
    }
}
