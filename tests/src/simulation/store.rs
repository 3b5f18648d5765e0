//! A journal in memory for the simulation: the same promises as the real one, kept by the plainest code, and held to them by the
//! same conformance tests. It survives the server that is killed, and fails when the plan says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal::conformance;
use futures_util::future::{BoxFuture, FutureExt};
use paramedic::action::Target;
use paramedic::alert::{IncidentId, Key};
use paramedic::clock::Time;
use paramedic::incident::Incident;
use paramedic::journal::brakes::{self, Counts};
use paramedic::journal::entry::{FIRST_HASH, VERSION, chain};
use paramedic::journal::storm::{self, Arrival, Storm};
use paramedic::journal::{Append, Appended, Away, Draft, Entry, Journal, JournalError, Listed, Opened, Spend, Store, Vitals};
use uuid::Uuid;

/// What becomes of one append, by the will of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As it should be.
    Fine,
    /// It surely fails.
    Fails,
    /// It is written, and nobody is told.
    Unknown,
    /// It is not written, and nobody is told.
    Lost,
}

/// Decides about appends, and is told of each before and after: a killed server never comes back from it.
pub trait Fates: fmt::Debug + Send + Sync {
    /// Before anything is written.
    fn before<'a>(&'a self, append: &'a Append) -> BoxFuture<'a, Fate>;
    /// After it was written, before anybody hears of it.
    fn after(&self) -> BoxFuture<'_, ()>;
}

/// One that lets everything happen.
#[derive(Debug)]
pub struct Kind;

impl Fates for Kind {
    fn before<'a>(&'a self, _: &'a Append) -> BoxFuture<'a, Fate> {
        std::future::ready(Fate::Fine).boxed()
    }
    fn after(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

/// What is on the disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// Every entry, in order.
    pub entries: Vec<Entry>,
    /// Entries that the life of an incident does not allow where they were written.
    pub illegal: Vec<String>,
    at: Time,
    epoch: u64,
    stories: HashMap<IncidentId, Story>,
    newest: HashMap<Key, u64>,
    order: Vec<IncidentId>,
    appended: HashMap<Uuid, (u64, u64, Time)>,
    stamps: HashMap<String, Vec<Time>>,
    holds: BTreeMap<String, BTreeSet<IncidentId>>,
    marks: BTreeMap<String, BTreeSet<IncidentId>>,
    timers: BTreeMap<IncidentId, Time>,
    newcomers: BTreeMap<(String, String), Time>,
    storms: BTreeMap<String, Storm>,
    /// Times in which nobody kept it, as a test wants them.
    pub away: Vec<Away>,
}

#[derive(Debug)]
struct Story {
    entries: Vec<usize>,
    incident: Incident,
}

/// The journal as one server has it open.
#[derive(Debug)]
pub struct Memory {
    disk: Arc<Mutex<Disk>>,
    fates: Arc<dyn Fates>,
    epoch: u64,
}

impl Memory {
    /// Opens what is on this disk; whoever had it open before is fenced.
    pub fn open(disk: &Arc<Mutex<Disk>>, fates: Arc<dyn Fates>) -> Self {
        let mut held = disk.lock().unwrap_or_else(PoisonError::into_inner);
        held.epoch += 1;
        Self { disk: Arc::clone(disk), fates, epoch: held.epoch }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Every incident as it stands, in the order of opening.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.order.iter().filter_map(|id| self.stories.get(id)).map(|story| &story.incident)
    }

    fn write(&mut self, epoch: u64, draft: &Draft) -> Appended {
        let append = draft.append();
        if epoch != self.epoch {
            return Appended::Fenced;
        }
        if let Some((pos, seq, at)) = self.appended.get(&append.append_id).copied() {
            return Appended::Already { pos, seq, at };
        }
        let last = match self.room_behind(draft) {
            Ok(last) => last,
            Err(conflict) => return conflict,
        };
        self.at = self.at.max(Time::now());
        if let Some(braked) = self.braked(&append.incident, &append.spend) {
            return braked;
        }
        let pos = self.entries.len() as u64 + 1;
        let seq = self.add(draft, last);
        self.spend(draft);
        self.appended.insert(append.append_id, (pos, seq, self.at));
        Appended::Committed { pos, seq, at: self.at }
    }

    fn room_behind(&self, draft: &Draft) -> Result<u64, Appended> {
        let opens = draft.opens();
        let append = draft.append();
        let Some(story) = self.stories.get(&append.incident) else {
            let newest = self.newest.get(&append.incident.key).copied().unwrap_or(0);
            let open = self.stories.get(&IncidentId { key: append.incident.key.clone(), n: newest });
            let free = open.is_none_or(|story| story.incident.is_closed()) && append.incident.n > newest;
            let fits = opens && append.expect.unwrap_or(0) == 0 && free;
            return if fits { Ok(0) } else { Err(Appended::Conflict { last: 0 }) };
        };
        let last = story.incident.seq;
        let fits = !opens && !story.incident.is_closed() && append.expect.is_none_or(|expect| expect == last);
        if fits { Ok(last) } else { Err(Appended::Conflict { last }) }
    }

    fn add(&mut self, draft: &Draft, mut seq: u64) -> u64 {
        let append = draft.append();
        for (event, body) in draft.entries() {
            seq += 1;
            let index = self.entries.len();
            let (incident, at) = (append.incident.clone(), self.at);
            match self.stories.get_mut(&incident) {
                Some(story) => {
                    if !story.incident.allows(event) {
                        self.illegal.push(format!("{} {seq}: {} while {:?}", incident, event.kind(), story.incident.phase));
                    }
                    story.incident.apply(seq, at, event);
                    story.entries.push(index);
                }
                None => {
                    let first = Incident::from_events(&incident, [(seq, at, event)]).expect("begins with opened");
                    self.stories.insert(incident.clone(), Story { entries: vec![index], incident: first });
                    self.newest.insert(incident.key.clone(), incident.n);
                    self.order.push(incident.clone());
                }
            }
            let pos = index as u64 + 1;
            let previous = self.entries.last().map_or(FIRST_HASH, |entry| &entry.hash);
            let hash = chain(previous, pos, &incident.to_string(), seq, at, VERSION, body);
            let (append_id, event) = (append.append_id, event.clone());
            self.entries.push(Entry { pos, incident, seq, at, version: VERSION, event, append_id, hash });
        }
        match draft.timer(self.at) {
            Some(Some(due)) => drop(self.timers.insert(append.incident.clone(), due)),
            Some(None) => drop(self.timers.remove(&append.incident)),
            None => {}
        }
        seq
    }

    fn spend(&mut self, draft: &Draft) {
        let append = draft.append();
        let id = &append.incident;
        let given_back = |key: &String| append.release_all || append.release.contains(key);
        self.holds.iter_mut().filter(|(key, _)| given_back(key)).for_each(|(_, holders)| {
            holders.remove(id);
        });
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
                self.newcomers.insert((new.key.clone(), new.subject.clone()), self.at);
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
    }

    fn braked(&self, incident: &IncidentId, spends: &[Spend]) -> Option<Appended> {
        let Ok(braked) = brakes::check(self, self.at, incident, spends);
        braked
    }

    fn later(&self, key: &str, since: Time) -> impl Iterator<Item = Time> {
        self.stamps.get(key).into_iter().flatten().copied().filter(move |at| *at > since)
    }
}

impl Counts for Disk {
    type Error = Infallible;

    fn stamped(&self, key: &str, since: Time) -> Result<u64, Infallible> {
        Ok(self.later(key, since).count() as u64)
    }

    fn stamp(&self, key: &str, since: Time, nth: u64) -> Result<Option<Time>, Infallible> {
        Ok(self.later(key, since).nth(nth as usize))
    }

    fn holders(&self, key: &str, without: &IncidentId) -> Result<(u64, Option<IncidentId>), Infallible> {
        let others: Vec<&IncidentId> = self.holds.get(key).into_iter().flatten().filter(|id| *id != without).collect();
        Ok((others.len() as u64, others.first().map(|id| (*id).clone())))
    }

    fn is_marked(&self, key: &str) -> Result<bool, Infallible> {
        Ok(self.marks.get(key).is_some_and(|marked| !marked.is_empty()))
    }

    fn arrived(&self, key: &str, subject: &str) -> Result<Option<Time>, Infallible> {
        Ok(self.newcomers.get(&(key.to_owned(), subject.to_owned())).copied())
    }

    fn newest(&self, key: &str, since: Time, nth: u64) -> Result<Option<Time>, Infallible> {
        let mut times: Vec<Time> =
            self.newcomers.iter().filter(|((of, _), at)| of == key && **at > since).map(|(_, at)| *at).collect();
        times.sort_by_key(|at| std::cmp::Reverse(*at));
        Ok(times.get(nth as usize).copied())
    }

    fn storm(&self, key: &str) -> Result<Option<Storm>, Infallible> {
        Ok(self.storms.get(key).copied())
    }
}

impl Store for Memory {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, JournalError>> {
        async move {
            let draft = Draft::new(append)?;
            let fate = self.fates.before(draft.append()).await;
            let unknown = || Err(JournalError::Unknown("the disk is odd".to_owned()));
            match fate {
                Fate::Fails => return Err(JournalError::NotDone("the disk is full".to_owned())),
                Fate::Lost => return unknown(),
                Fate::Fine | Fate::Unknown => {}
            }
            let appended = self.disk().write(self.epoch, &draft);
            self.fates.after().await;
            if fate == Fate::Unknown { unknown() } else { Ok(appended) }
        }
        .boxed()
    }

    fn room(&self, incident: &IncidentId, spend: &[Spend]) -> BoxFuture<'_, Result<Option<Appended>, JournalError>> {
        let mut disk = self.disk();
        disk.at = disk.at.max(Time::now());
        let braked = disk.braked(incident, spend);
        std::future::ready(Ok(braked)).boxed()
    }

    fn read(&self, incident: &IncidentId, after_seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let disk = self.disk();
        let entries = disk.stories.get(incident).map_or(Vec::new(), |story| {
            let behind = story.entries.iter().map(|index| &disk.entries[*index]).filter(|entry| entry.seq > after_seq);
            behind.take(limit).cloned().collect()
        });
        std::future::ready(Ok(entries)).boxed()
    }

    fn tail(&self, after_pos: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let entries = self.disk().entries.iter().skip(after_pos as usize).take(limit).cloned().collect();
        std::future::ready(Ok(entries)).boxed()
    }

    fn open_incidents(&self) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let open = self.disk().incidents().filter(|incident| !incident.is_closed()).map(|incident| incident.id.clone()).collect();
        std::future::ready(Ok(open)).boxed()
    }

    fn latest(&self, key: &Key) -> BoxFuture<'_, Result<Option<Listed>, JournalError>> {
        let disk = self.disk();
        let newest = disk.newest.get(key).map(|n| IncidentId { key: key.clone(), n: *n });
        let listed = newest.map(|id| Listed { open: !disk.stories[&id].incident.is_closed(), id });
        std::future::ready(Ok(listed)).boxed()
    }

    fn find(&self, beginning: &str) -> BoxFuture<'_, Result<IncidentId, JournalError>> {
        let disk = self.disk();
        let mut keys: Vec<(&Key, &u64)> = disk.newest.iter().filter(|(key, _)| key.as_str().starts_with(beginning)).collect();
        let exact = disk.order.iter().find(|id| id.to_string() == beginning).cloned();
        let found = match (exact, keys.pop(), keys.is_empty()) {
            (Some(exact), _, _) => Ok(exact),
            (None, Some((key, n)), true) => Ok(IncidentId { key: key.clone(), n: *n }),
            _ => Err(JournalError::NoSuch(format!("there is no one incident `{beginning}`"))),
        };
        std::future::ready(found).boxed()
    }

    fn holders(&self, key: &str) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let holders = self.disk().holds.get(key).into_iter().flatten().cloned().collect();
        std::future::ready(Ok(holders)).boxed()
    }

    fn due(&self, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let disk = self.disk();
        let now = disk.at.max(Time::now());
        let mut due: Vec<(Time, IncidentId)> =
            disk.timers.iter().filter(|(_, at)| **at <= now).map(|(id, at)| (*at, id.clone())).collect();
        due.sort();
        let due = due.into_iter().take(limit).map(|(_, id)| id).collect();
        std::future::ready(Ok(due)).boxed()
    }

    fn list(&self, before: u64, open_only: bool, limit: usize) -> BoxFuture<'_, Result<Vec<Opened>, JournalError>> {
        let disk = self.disk();
        let opened = disk.order.iter().rev().map(|id| (id, &disk.stories[id]));
        let wanted = opened.filter(|(_, story)| !open_only || !story.incident.is_closed());
        let placed = wanted.map(|(id, story)| Opened { id: id.clone(), pos: disk.entries[story.entries[0]].pos });
        let list = placed.filter(|opened| opened.pos < before).take(limit).collect();
        std::future::ready(Ok(list)).boxed()
    }

    fn about(&self, target: &Target, since: Time, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let (disk, target) = (self.disk(), target.clone());
        let about =
            |id: &&IncidentId| disk.stories[*id].entries.iter().any(|at| disk.entries[*at].event.about().contains(&&target));
        let young = |id: &&IncidentId| disk.stories[*id].incident.opened_at >= since;
        let found = disk.order.iter().rev().filter(young).filter(about).take(limit).cloned().collect();
        std::future::ready(Ok(found)).boxed()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, JournalError>> {
        let last = self.disk().entries.len() as u64;
        std::future::ready(Ok(Vitals { first: 1, last, ..Vitals::default() })).boxed()
    }

    fn storm(&self, key: &str) -> BoxFuture<'_, Result<Option<Storm>, JournalError>> {
        std::future::ready(Ok(self.disk().storms.get(key).copied())).boxed()
    }

    fn away(&self) -> Vec<Away> {
        self.disk().away.clone()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        let fenced = self.disk().epoch != self.epoch;
        let answer = if fenced { Err(JournalError::NotDone("another server has taken over".to_owned())) } else { Ok(()) };
        std::future::ready(answer).boxed()
    }
}

/// A disk of its own.
struct Place(Arc<Mutex<Disk>>);

impl conformance::Place for Place {
    fn open(&self) -> Journal {
        Journal::on(Arc::new(Memory::open(&self.0, Arc::new(Kind))))
    }

    fn take_over(&self) -> Journal {
        self.open()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_of_the_simulation_keeps_every_promise_of_a_journal() {
    conformance::run(|| Place(Arc::default())).await;
}
