//! The journal: the durable, append-only record of everything, and the only source of truth.
//!
//! One write verb, [`Journal::append`], evaluated serially by the store: it checks the expected entry number, the fencing
//! epoch and the brakes, and either commits all of one [`Append`] or returns a refusal as a value. No transaction, closure,
//! clock or lock crosses this line, so that a second store can stand behind the same words. Act only on an acknowledged
//! append, never on a read. Absent on purpose: in-memory truth, updates, deletes.

pub mod entry;
mod sqlite;

use std::time::Duration;

use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::Event;

/// What is to be written, all or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// Makes a repetition recognisable: the same id is never written twice.
    pub append_id: uuid::Uuid,
    /// Whose story.
    pub incident: IncidentId,
    /// Number of the incident's last entry, as the writer knows it; `None` writes behind whatever is there.
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
    },
    /// Somebody wrote before: fold again, ask again.
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
        /// When it may have room again; `None`: when somebody releases it.
        after: Option<Time>,
        /// Who holds it, for locks.
        holder: Option<IncidentId>,
    },
}

/// Why the journal could not answer.
#[derive(Debug, thiserror::Error)]
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

/// The journal, open for writing: a cheap handle to its one writer.
#[derive(Clone, Debug)]
pub struct Journal {
    store: (),
}

/// The journal, open for reading only; also while a server writes it.
#[derive(Debug)]
pub struct Reader {
    store: (),
}
