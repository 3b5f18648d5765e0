//! The journal: the durable, append-only record of everything, and the only source of truth.
//!
//! One write verb, [`Journal::append`], evaluated serially by the store: it checks the expected entry number, the fencing
//! epoch and the brakes, and either commits all of one [`Append`] or returns a refusal as a value. No transaction, closure,
//! clock or lock crosses this line, so that a second store can stand behind the same words. Act only on an acknowledged
//! append, never on a read. Absent on purpose: in-memory truth, updates, deletes.

mod brakes;
pub mod entry;
mod folder;
mod reader;
pub mod replay;
mod sqlite;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::alert::{IncidentId, Key};
use crate::clock::Time;
use crate::incident::{Event, Incident};

pub use entry::Entry;
pub use reader::Reader;

use sqlite::{Draft, Store};
use writer::Writer;

/// The longest window of a [`Spend::Rate`]: older stamps are forgotten.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(32 * 24 * 3_600);

/// How long an append may take, waiting for its turn included. What is not known by then is [`JournalError::Unknown`].
const APPEND_DEADLINE: Duration = Duration::from_secs(10);

/// How long a read may take.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// How many idle read connections are kept.
const IDLE_READERS: usize = 4;

/// What is to be written, all or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// Makes a repetition recognisable: the same id is never written twice.
    pub append_id: uuid::Uuid,
    /// Whose story.
    pub incident: IncidentId,
    /// Number of the incident's last entry, as the writer knows it; 0 for one that begins. `None` writes behind whatever is
    /// there. A closed incident takes no more entries.
    pub expect: Option<u64>,
    /// What happened, in order; at least one.
    pub events: Vec<Event>,
    /// Brakes that must all have room; they are spent by this append.
    pub spend: Vec<Spend>,
    /// Keys of rates to stamp now, without a check (a cooldown counts from the outcome).
    pub stamp: Vec<String>,
    /// Keys of locks that this incident gives back.
    pub release: Vec<String>,
}

impl Append {
    /// One append that expects `expect` to be the last entry, with nothing to spend.
    pub fn new(incident: IncidentId, expect: Option<u64>, events: Vec<Event>) -> Self {
        Self {
            append_id: uuid::Uuid::new_v4(),
            incident,
            expect,
            events,
            spend: Vec::new(),
            stamp: Vec::new(),
            release: Vec::new(),
        }
    }
}

/// A brake as data: checked and spent inside the append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spend {
    /// At most `limit` stamps of `key` within `window`; spending sets one more stamp.
    Rate {
        /// What is counted, such as `attempts:local/nginx-demo`.
        key: String,
        /// How many are allowed.
        limit: u32,
        /// Within how long a time.
        window: Duration,
    },
    /// At most `limit` incidents hold `key` at once; spending holds it until released. Holding it twice counts once.
    Lock {
        /// What is held, such as `target:local/nginx-demo`.
        key: String,
        /// How many may hold it.
        limit: u32,
    },
}

impl Spend {
    /// The key that is counted or held.
    pub fn key(&self) -> &str {
        match self {
            Self::Rate { key, .. } | Self::Lock { key, .. } => key,
        }
    }
}

/// What became of one append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Durable, with the position and number of its first entry and the journal's time.
    Committed {
        /// Position of the first entry in the whole journal, from 1, without gaps.
        pos: u64,
        /// Number of the last entry in its incident.
        seq: u64,
        /// The journal's time of these entries.
        at: Time,
    },
    /// An append with this id was written before, there.
    Already {
        /// Position of its first entry.
        pos: u64,
        /// Number of its last entry in its incident.
        seq: u64,
        /// The journal's time of it.
        at: Time,
    },
    /// Somebody wrote before: fold again, ask again. So is writing to a closed incident, and beginning one while another of its
    /// key is open.
    Conflict {
        /// The incident's last entry number; 0 when there is none.
        last: u64,
    },
    /// Another server has taken over this journal.
    Fenced,
    /// A brake has no room.
    Braked {
        /// Its key.
        key: String,
        /// When it may have room again; `None`: when somebody releases it, or never, if more is spent at once than its limit.
        after: Option<Time>,
        /// Who holds it, for locks.
        holder: Option<IncidentId>,
    },
}

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

/// A line of the listing of incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub id: IncidentId,
    /// True until it is closed.
    pub open: bool,
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

/// The journal, open for writing: a cheap handle to its one writer. The lock on its folder is given back with the last one.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    epoch: u64,
    writer: Writer,
    readers: Mutex<Vec<Reader>>,
}

impl Journal {
    /// Opens the journal in this folder and makes both if they are missing: takes the folder's lock for life, and raises the
    /// epoch, so that nobody who had the journal open before can write to it any more.
    ///
    /// # Errors
    /// [`JournalError::Open`] when the folder is in use or cannot be used, or a newer Paramedic wrote the journal.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let lock = folder::take(dir)?;
        let mut store = Store::open(dir, lock)?;
        let epoch = store.epoch();
        let writer = Writer::start(APPEND_DEADLINE, move |batch| store.commit(batch))
            .map_err(|e| JournalError::Open(format!("the journal's writer cannot be started: {e}")))?;
        Ok(Self { shared: Arc::new(Shared { dir: dir.to_owned(), epoch, writer, readers: Mutex::new(Vec::new()) }) })
    }

    /// How many times this journal was opened for writing, this time included; every append is fenced by it.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Writes all of it or nothing, and answers once it is durable. A refusal is a value.
    ///
    /// # Errors
    /// [`JournalError::NotDone`] when it surely was not written, [`JournalError::Unknown`] when that cannot be told.
    pub async fn append(&self, append: Append) -> Result<Appended, JournalError> {
        self.shared.writer.append(Arc::new(Draft::new(append)?)).await
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
        let (incident, spend) = (incident.clone(), spend.to_vec());
        self.reading(move |reader| reader.room(&incident, &spend)).await
    }

    /// The incident's entries behind number `after_seq`, at most `limit`.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`], also when one is missing.
    pub async fn read(&self, incident: &IncidentId, after_seq: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let incident = incident.clone();
        self.reading(move |reader| reader.read(&incident, after_seq, limit)).await
    }

    /// The incident, computed from its entries; `None` when there is none.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn incident(&self, incident: &IncidentId) -> Result<Option<Incident>, JournalError> {
        let incident = incident.clone();
        self.reading(move |reader| reader.incident(&incident)).await
    }

    /// The incident that a person means, as [`Reader::find`].
    ///
    /// # Errors
    /// [`JournalError::NoSuch`], [`JournalError::Unreadable`].
    pub async fn find(&self, beginning: &str) -> Result<IncidentId, JournalError> {
        let beginning = beginning.to_owned();
        self.reading(move |reader| reader.find(&beginning)).await
    }

    /// Which incidents hold the lock of this key.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn holders(&self, key: &str) -> Result<Vec<IncidentId>, JournalError> {
        let key = key.to_owned();
        self.reading(move |reader| reader.holders(&key)).await
    }

    /// All open incidents in the order of their opening.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn open_incidents(&self) -> Result<Vec<IncidentId>, JournalError> {
        self.reading(Reader::open_incidents).await
    }

    /// The newest incident of this key.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub async fn latest(&self, key: &Key) -> Result<Option<Listed>, JournalError> {
        let key = key.clone();
        self.reading(move |reader| reader.latest(&key)).await
    }

    /// The entries of the whole journal behind position `after_pos`, at most `limit`, without gaps.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`], also when one is missing.
    pub async fn tail(&self, after_pos: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.reading(move |reader| reader.tail(after_pos, limit)).await
    }

    /// Reads on a thread of its own, since a disk may be slow.
    async fn reading<T, F>(&self, read: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, JournalError> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let work = tokio::task::spawn_blocking(move || {
            let reader = shared.idle_reader().map_or_else(|| Reader::open(&shared.dir), Ok)?;
            // After an error the connection is not used again.
            read(&reader).inspect(|_| shared.keep_reader(reader))
        });
        match tokio::time::timeout(READ_DEADLINE, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failed)) => Err(JournalError::Unreadable(failed.to_string())),
            Err(_) => {
                Err(JournalError::Unreadable(format!("no answer within {} s: is the disk stuck?", READ_DEADLINE.as_secs())))
            }
        }
    }
}

impl Shared {
    fn idle_reader(&self) -> Option<Reader> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep_reader(&self, reader: Reader) {
        let mut idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_READERS {
            idle.push(reader);
        }
    }
}
