//! The journal: the durable, append-only record of everything, and the only source of truth.
//!
//! One write verb, [`Journal::append`], evaluated serially by the store: it checks the expected entry number, the fencing
//! epoch and the brakes, and either commits all of one [`Append`] or returns a refusal as a value. No transaction, closure,
//! clock or lock crosses this line, so that a second store can stand behind the same words: [`Store`]. Act only on an
//! acknowledged append, never on a read. Absent on purpose: in-memory truth, updates, deletes.

mod append;
pub mod brakes;
mod chain;
pub mod entry;
mod export;
mod pulse;
pub mod replay;
mod settings;
mod sqlite;
pub mod storm;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::action::Target;
use crate::alert::{IncidentId, Key};
use crate::clock::Time;
use crate::incident::Incident;

pub use append::{Append, Appended, Draft, LONGEST_WINDOW, Spend};
pub use entry::Entry;
pub use pulse::Pulse;
pub use settings::{Keep, Settings};
pub use sqlite::{Compacted, Pin, Reader, backup, compact};
use storm::Storm;

/// Why the journal could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It surely was not written.
    #[error("the journal could not be written: {0}")]
    NotDone(String),
    /// It may or may not have been written: repeat with the same `append_id`, and nothing else.
    #[error("it is not known whether the journal was written: {0}")]
    Unknown(String),
    /// It could not be read.
    #[error("the journal could not be read: {0}")]
    Unreadable(String),
    /// It could not be opened; the text says what to do.
    #[error("{0}")]
    Open(String),
    /// What was asked for was removed for its age.
    #[error("entries before {first} were removed for their age: ask from {first} on, or look into an archive")]
    Compacted {
        /// Position of the first entry that is kept.
        first: u64,
    },
    /// It holds no such incident; the text says what to do.
    #[error("{0}")]
    NoSuch(String),
    /// It is not what was written.
    #[error("the journal is damaged or was altered at entry {pos}: {message}")]
    Broken {
        /// Position of the first entry that is wrong.
        pos: u64,
        /// What is wrong with it.
        message: String,
    },
}

impl JournalError {
    /// What a server says whose journal was taken over by another one.
    pub(crate) fn fenced() -> Self {
        Self::NotDone("another server has taken over this journal: stop one of the two".to_owned())
    }
}

/// What was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Position of the first entry that was checked.
    pub first: u64,
    /// How many were.
    pub entries: u64,
}

/// A line of the listing of incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub id: IncidentId,
    /// True until it is closed.
    pub open: bool,
}

/// An incident in the order of opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which.
    pub id: IncidentId,
    /// Position of its first entry.
    pub pos: u64,
}

/// How a store is doing, for those who watch over it. Nothing is decided by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Vitals {
    /// Position of the first entry that is kept.
    pub first: u64,
    /// Position of the last entry; 0 when there is none.
    pub last: u64,
    /// What it takes on the disk.
    pub bytes: u64,
    /// Reads that wait for their turn.
    pub reads_waiting: usize,
    /// Appends that wait for theirs.
    pub appends_waiting: usize,
}

/// A time in which nobody kept this journal: the server was down or its machine slept, or this is a copy that was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// When it was last kept.
    pub from: Time,
    /// When it was kept again.
    pub until: Time,
}

/// Proof that a value was appended and acknowledged: only this room makes one.
#[derive(Clone, Debug)]
pub struct Journalled<T> {
    value: T,
    at: Time,
    seq: u64,
}

impl<T> Journalled<T> {
    /// What was written.
    pub fn value(&self) -> &T {
        &self.value
    }
    /// The journal's time of it.
    pub fn at(&self) -> Time {
        self.at
    }
    /// Number of its entry in its incident.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// What a journal can do. One verb writes, and a store evaluates its calls one after the other.
///
/// What every store promises, and the conformance suite in `tests/` checks: positions are contiguous from 1 in the order of
/// commit, numbers contiguous from 1 within an incident, and times never decrease. An append is all or nothing, durable
/// before it is answered, refused as a value, and written once however often it is repeated under its id, also after the
/// store was opened anew. Brakes are exact whoever races. At most one incident is open per key, and a closed one takes
/// nothing more. Reads see everything that was acknowledged. Who was opened later fences out who was opened before.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// How many times this journal was opened for writing, this time included; every append is fenced by it.
    fn epoch(&self) -> u64;

    /// Writes all of it or nothing, and answers once it is durable. [`Draft`] is what an append has to be.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, JournalError>>;

    /// Would these brakes have room now? Spends nothing and proves nothing. [`brakes::check`] is the rule.
    fn room(&self, incident: &IncidentId, spend: &[Spend]) -> BoxFuture<'_, Result<Option<Appended>, JournalError>>;

    /// The incident's entries behind number `after_seq`, at most `limit`, without gaps.
    fn read(&self, incident: &IncidentId, after_seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>>;

    /// The entries of the whole journal behind position `after_pos`, at most `limit`, without gaps. A store may remove a prefix
    /// of what is old and closed: then [`JournalError::Compacted`] says where it goes on.
    fn tail(&self, after_pos: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>>;

    /// All open incidents in the order of their opening.
    fn open_incidents(&self) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>>;

    /// The newest incident that this key ever had.
    fn latest(&self, key: &Key) -> BoxFuture<'_, Result<Option<Listed>, JournalError>>;

    /// The incident that a person means: its id, or the beginning of one that no other key shares. The beginning of a key
    /// means its latest incident. [`JournalError::NoSuch`] when there is none, or several keys begin so.
    fn find(&self, beginning: &str) -> BoxFuture<'_, Result<IncidentId, JournalError>>;

    /// Which incidents hold the lock of this key, sorted.
    fn holders(&self, key: &str) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>>;

    /// Open incidents whose timer is due by the journal's time, the longest due first, at most `limit`. A timer is what
    /// [`Draft::timer`] last said, written in the same append.
    fn due(&self, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>>;

    /// Incidents that were opened before that position, the newest first, at most `limit`; only open ones if asked for.
    fn list(&self, before: u64, open_only: bool, limit: usize) -> BoxFuture<'_, Result<Vec<Opened>, JournalError>>;

    /// Incidents about this target that were opened at that time or later, the newest first, at most `limit`. An incident is about the
    /// targets of its questions and of its actions ([`Event::about`](crate::incident::Event::about)).
    fn about(&self, target: &Target, since: Time, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>>;

    /// How it is doing.
    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, JournalError>>;

    /// The last storm among the newcomers of this key, over or not.
    fn storm(&self, key: &str) -> BoxFuture<'_, Result<Option<Storm>, JournalError>>;

    /// The times in which nobody kept this journal, the oldest first: short ones and those of long ago are left out.
    fn away(&self) -> Vec<Away>;

    /// Can it be written now? Tries it, cheaply and soon, and says what to do if not.
    fn ready(&self) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// The journal, open for writing: a cheap handle to its one store, which is closed with the last handle.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Arc<dyn Store>,
    pulse: Arc<Pulse>,
}

impl Journal {
    /// Opens the SQLite journal in this folder and makes both if they are missing: takes the folder's lock for life, and raises
    /// the epoch, so that nobody who had the journal open before can write to it any more.
    ///
    /// # Errors
    /// [`JournalError::Open`] when the folder is in use or cannot be used, or a newer Paramedic wrote the journal.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Self::with(dir, &Settings { keep: Keep::Forever })
    }

    /// Opens it as [`Journal::open`] does, and keeps it as the operator wants.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn with(dir: &Path, settings: &Settings) -> Result<Self, JournalError> {
        Ok(Self::on(Arc::new(sqlite::Sqlite::open(dir, settings)?)))
    }

    /// Opens the SQLite journal of this folder for reading, also while a server writes it: every append is refused.
    ///
    /// # Errors
    /// [`JournalError::Open`] when there is none, or it cannot be read.
    pub fn read_only(dir: &Path) -> Result<Self, JournalError> {
        Ok(Self::on(Arc::new(sqlite::Sqlite::read_only(dir)?)))
    }

    /// A journal on this store.
    pub fn on(store: Arc<dyn Store>) -> Self {
        Self { store, pulse: Arc::default() }
    }

    /// How many times this journal was opened for writing, this time included; every append is fenced by it.
    pub fn epoch(&self) -> u64 {
        self.store.epoch()
    }

    /// Writes all of it or nothing, and answers once it is durable. A refusal is a value.
    ///
    /// # Errors
    /// [`JournalError::NotDone`] when it surely was not written, [`JournalError::Unknown`] when that cannot be told.
    pub async fn append(&self, append: Append) -> Result<Appended, JournalError> {
        self.pulse.take(self.store.append(append)).await
    }

    /// How long appends took, and how many failed, since this was opened.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Appends, and hands back `value` as proof that this was acknowledged; or the refusal.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn prove<T>(&self, append: Append, value: T) -> Result<Result<Journalled<T>, Appended>, JournalError> {
        Ok(match self.append(append).await? {
            Appended::Committed { seq, at, .. } | Appended::Already { seq, at, .. } => Ok(Journalled { value, at, seq }),
            refused => Err(refused),
        })
    }

    /// Would these brakes have room now? `None` when all have, otherwise [`Appended::Braked`]. Spends nothing and proves
    /// nothing: for asking again while something is held.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn room(&self, incident: &IncidentId, spend: &[Spend]) -> Result<Option<Appended>, JournalError> {
        self.store.room(incident, spend).await
    }

    /// The incident's entries behind number `after_seq`, at most `limit`.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`], also when one is missing.
    pub async fn read(&self, incident: &IncidentId, after_seq: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.store.read(incident, after_seq, limit).await
    }

    /// The incident, computed from its entries; `None` when there is none.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn incident(&self, incident: &IncidentId) -> Result<Option<Incident>, JournalError> {
        Ok(replay::incident(incident, &self.store.read(incident, 0, usize::MAX).await?))
    }

    /// The incident that a person means: its id, or the beginning of one that no other key shares.
    ///
    /// # Errors
    /// [`JournalError::NoSuch`], [`JournalError::Unreadable`].
    pub async fn find(&self, beginning: &str) -> Result<IncidentId, JournalError> {
        self.store.find(beginning).await
    }

    /// Which incidents hold the lock of this key.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn holders(&self, key: &str) -> Result<Vec<IncidentId>, JournalError> {
        self.store.holders(key).await
    }

    /// All open incidents in the order of their opening.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn open_incidents(&self) -> Result<Vec<IncidentId>, JournalError> {
        self.store.open_incidents().await
    }

    /// The newest incident that this key ever had.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn latest(&self, key: &Key) -> Result<Option<Listed>, JournalError> {
        self.store.latest(key).await
    }

    /// Open incidents whose timer is due by the journal's time, the longest due first, at most `limit`.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn due(&self, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        self.store.due(limit).await
    }

    /// The entries of the whole journal behind position `after_pos`, at most `limit`, without gaps.
    ///
    /// # Errors
    /// [`JournalError::Compacted`] when the next one was removed for its age, [`JournalError::Unreadable`], also when one is
    /// missing.
    pub async fn tail(&self, after_pos: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.store.tail(after_pos, limit).await
    }

    /// Incidents that were opened before that position, the newest first, at most `limit`; only open ones if asked for.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn list(&self, before: u64, open_only: bool, limit: usize) -> Result<Vec<Opened>, JournalError> {
        self.store.list(before, open_only, limit).await
    }

    /// Incidents about this target that were opened at that time or later, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn about(&self, target: &Target, since: Time, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        self.store.about(target, since, limit).await
    }

    /// How it is doing.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn vitals(&self) -> Result<Vitals, JournalError> {
        self.store.vitals().await
    }

    /// The last storm among the newcomers of this key, over or not.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn storm(&self, key: &str) -> Result<Option<Storm>, JournalError> {
        self.store.storm(key).await
    }

    /// The times in which nobody kept this journal, the oldest first: short ones and those of long ago are left out.
    pub fn away(&self) -> Vec<Away> {
        self.store.away()
    }

    /// Position of the last entry; 0 when there is none.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn head(&self) -> Result<u64, JournalError> {
        Ok(self.store.vitals().await?.last)
    }

    /// Can it be written now?
    ///
    /// # Errors
    /// Why not, and what to do.
    pub async fn ready(&self) -> Result<(), JournalError> {
        self.store.ready().await
    }
}
