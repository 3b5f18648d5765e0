//! The journal on SQLite: WAL, `synchronous=FULL`, one connection that writes and a few that read.
//!
//! The writer is a thread with the only writing connection; a few more threads read, each on a connection of its own, since a disk
//! may be slow. Everything has a deadline, and an error says what to do. Absent on purpose: a pool, retries beyond the one under the
//! same append id, and any rule that another store would have to repeat.

mod away;
mod backup;
mod compact;
mod database;
mod folder;
mod keeper;
mod reader;
mod readers;
mod schema;
mod stamps;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::ErrorCode;

use super::storm::Storm;
use super::{Append, Appended, Away, Draft, Entry, JournalError, Keep, Listed, Opened, Settings, Spend, Store, Vitals};
use crate::action::Target;
use crate::alert::{IncidentId, Key};
use crate::clock::Time;

pub use backup::backup;
pub use compact::{Compacted, Pin, compact};
use database::Database;
pub use reader::Reader;
use readers::Readers;
use writer::Writer;

/// How long an append may take, waiting for its turn included. What is not known by then is [`JournalError::Unknown`].
const APPEND_DEADLINE: Duration = Duration::from_secs(10);

/// How long a read may take.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// How long a probe may take.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// The journal of one folder, open for writing. The lock on the folder is given back when it is dropped.
pub(super) struct Sqlite {
    dir: PathBuf,
    epoch: u64,
    away: Arc<Mutex<Vec<Away>>>,
    /// `None` when it is open for reading only.
    writer: Option<Writer<Database>>,
    readers: Readers,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("dir", &self.dir).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the journal in this folder and makes both if they are missing.
    pub fn open(dir: &Path, settings: &Settings) -> Result<Self, JournalError> {
        let lock = folder::take(dir)?;
        let database = Database::open(dir, lock)?;
        let (epoch, away) = (database.epoch(), database.away());
        let thread = |e| JournalError::Open(format!("the journal's threads cannot be started: {e}"));
        let writer = Writer::start(APPEND_DEADLINE, database).map_err(thread)?;
        if let Some(turns) = writer.turns() {
            let keep = if let Keep::For(keep) = settings.keep { Some(keep) } else { None };
            keeper::start(turns, keep).map_err(thread)?;
        }
        let readers = Readers::start(dir).map_err(thread)?;
        Ok(Self { dir: dir.to_owned(), epoch, away, writer: Some(writer), readers })
    }

    /// Opens the journal of this folder for reading, also while a server writes it.
    pub fn read_only(dir: &Path) -> Result<Self, JournalError> {
        // What is wrong with it is said now, and not by the first read.
        Reader::open(dir)?;
        let readers = Readers::start(dir).map_err(|e| JournalError::Open(format!("its threads cannot be started: {e}")))?;
        Ok(Self { dir: dir.to_owned(), epoch: 0, away: Arc::default(), writer: None, readers })
    }

    fn writer(&self) -> Result<&Writer<Database>, JournalError> {
        self.writer.as_ref().ok_or_else(|| JournalError::NotDone("it is open for reading only".to_owned()))
    }

    /// Reads on one of the threads that do nothing else.
    fn reading<T, F>(&self, read: F) -> BoxFuture<'_, Result<T, JournalError>>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, JournalError> + Send + 'static,
    {
        let answered = self.readers.read(read);
        async move {
            match tokio::time::timeout(READ_DEADLINE, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(JournalError::Unreadable("reading it broke off by a fault in Paramedic".to_owned())),
                Err(_) => {
                    Err(JournalError::Unreadable(format!("no answer within {} s: is the disk stuck?", READ_DEADLINE.as_secs())))
                }
            }
        }
        .boxed()
    }
}

impl Store for Sqlite {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, JournalError>> {
        async move { self.writer()?.append(Arc::new(Draft::new(append)?)).await }.boxed()
    }

    fn room(&self, incident: &IncidentId, spend: &[Spend]) -> BoxFuture<'_, Result<Option<Appended>, JournalError>> {
        let (incident, spend) = (incident.clone(), spend.to_vec());
        self.reading(move |reader| reader.room(&incident, &spend))
    }

    fn read(&self, incident: &IncidentId, after_seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let incident = incident.clone();
        self.reading(move |reader| reader.read(&incident, after_seq, limit))
    }

    fn tail(&self, after_pos: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        self.reading(move |reader| reader.tail(after_pos, limit))
    }

    fn open_incidents(&self) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        self.reading(Reader::open_incidents)
    }

    fn latest(&self, key: &Key) -> BoxFuture<'_, Result<Option<Listed>, JournalError>> {
        let key = key.clone();
        self.reading(move |reader| reader.latest(&key))
    }

    fn find(&self, beginning: &str) -> BoxFuture<'_, Result<IncidentId, JournalError>> {
        let beginning = beginning.to_owned();
        self.reading(move |reader| reader.find(&beginning))
    }

    fn holders(&self, key: &str) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let key = key.to_owned();
        self.reading(move |reader| reader.holders(&key))
    }

    fn due(&self, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        self.reading(move |reader| reader.due(limit))
    }

    fn list(&self, before: u64, open_only: bool, limit: usize) -> BoxFuture<'_, Result<Vec<Opened>, JournalError>> {
        self.reading(move |reader| reader.page(before, open_only, limit))
    }

    fn about(&self, target: &Target, since: Time, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let target = target.clone();
        self.reading(move |reader| reader.about(&target, since, limit))
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, JournalError>> {
        let (reads_waiting, appends_waiting) = (self.readers.waiting(), self.writer.as_ref().map_or(0, Writer::waiting));
        let dir = self.dir.clone();
        self.reading(move |reader| {
            let (first, last) = (reader.first_pos()?, reader.last_pos()?);
            Ok(Vitals { first, last, bytes: folder::bytes(&dir), reads_waiting, appends_waiting })
        })
    }

    fn storm(&self, key: &str) -> BoxFuture<'_, Result<Option<Storm>, JournalError>> {
        let key = key.to_owned();
        self.reading(move |reader| reader.storm(&key))
    }

    fn away(&self) -> Vec<Away> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        async move {
            self.writer()?.turn(READY_DEADLINE, Database::probe).await.unwrap_or_else(|| {
                Err(JournalError::NotDone(format!(
                    "no answer within {} s: is the disk of {} stuck, or does another program hold a lock on its journal.db?",
                    READY_DEADLINE.as_secs(),
                    self.dir.display()
                )))
            })
        }
        .boxed()
    }
}

/// What is wrong in SQLite's words, and what to do about it.
fn explain(e: &rusqlite::Error) -> String {
    let what_to_do = match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "free space on the disk of the data folder",
        Some(ErrorCode::ReadOnly) => {
            "make the data folder writable again: is its file system mounted read-only, are the files this user's?"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds a lock on journal.db in the data folder, such as a `sqlite3` shell: end it"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged: stop paramedic, keep a copy of the data folder, and restore a backup; `paramedic journal verify` says how far it is whole"
        }
        Some(ErrorCode::SystemIoFailure) => "the disk of the data folder fails: the system's log says more",
        Some(ErrorCode::CannotOpen) => "are the data folder and its files there, and this user's?",
        _ => return e.to_string(),
    };
    format!("{e}; {what_to_do}")
}

/// A count for SQLite, whose integers are signed.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A count from SQLite, never negative there.
fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
