//! The journal on SQLite: WAL, `synchronous=FULL`, and one connection that writes.
//!
//! One `head` row hands out positions without gaps, carries the journal's clock, the epoch and the last hash, and is read
//! first in every transaction, so a store on another engine can work the same way. Within a transaction each append is evaluated on its
//! own: first only reads, then, if nothing refuses it, its writes. After any surprise the connection is dropped and opened anew.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use super::entry::{self, FIRST_HASH, VERSION};
use super::{Append, Appended, JournalError, LONGEST_WINDOW, Spend, brakes, folder};
use crate::clock::Time;
use crate::incident::Event;

/// Version of the tables, kept as `user_version`.
const SCHEMA_VERSION: i64 = 1;

/// Marks a database as ours (`PARM`), kept as `application_id`.
const APPLICATION: i64 = 0x5041_524d;

/// How long to wait for somebody else's lock on the database, such as a person with the `sqlite3` shell.
const BUSY: Duration = Duration::from_secs(4);

/// The largest body of an entry. Rooms bound what they write far below this.
const BODY_BYTES: usize = 16 << 20;

/// How often old stamps are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// From when on the journal's time being ahead of the clock's is told: cooldowns are counted in it.
const CLOCK_BACK: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
create table head (
  one integer primary key check (one = 1), pos integer not null, at integer not null, epoch integer not null, hash text not null
) strict;
create table entry (
  pos integer primary key, incident text not null, seq integer not null, at integer not null, version integer not null,
  kind text not null, body text not null, append_id text not null, hash text not null, unique (incident, seq)
) strict;
create table appended (append_id text primary key, pos integer not null, n integer not null) strict, without rowid;
create table incident (
  id text primary key, key text not null, n integer not null, last_seq integer not null, open integer not null,
  opened integer not null
) strict, without rowid;
create unique index incident_of_key on incident (key, n);
create unique index incident_open_of_key on incident (key) where open = 1;
create unique index incident_by_opening on incident (opened);
create index incident_open on incident (opened) where open = 1;
";

/// An append, checked and put into the words of the store.
#[derive(Debug)]
pub(super) struct Draft {
    append: Append,
    id: String,
    bodies: Vec<String>,
}

impl Draft {
    /// Refuses what could never be written.
    pub fn new(append: Append) -> Result<Self, JournalError> {
        let refuse = |why: &str| Err(JournalError::NotDone(why.to_owned()));
        let late_opening = append.events.iter().skip(1).any(|event| matches!(event, Event::Opened { .. }));
        if append.events.is_empty() || late_opening {
            return refuse("an append needs an entry, and `opened` can only be its first");
        }
        if append.spend.iter().any(|spend| matches!(spend, Spend::Rate { window, .. } if *window > LONGEST_WINDOW)) {
            return refuse("a rate cannot be counted over more than 32 days");
        }
        let bodies: Vec<String> = append
            .events
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()
            .map_err(|e| JournalError::NotDone(format!("an entry cannot be put into JSON: {e}")))?;
        if bodies.iter().any(|body| body.len() > BODY_BYTES) {
            return refuse("an entry is larger than 16 MiB");
        }
        Ok(Self { id: append.incident.to_string(), append, bodies })
    }

    fn opens(&self) -> bool {
        matches!(self.append.events.first(), Some(Event::Opened { .. }))
    }

    fn closes(&self) -> bool {
        self.append.events.iter().any(|event| matches!(event, Event::Closed { .. }))
    }
}

/// The writing side of the database.
#[derive(Debug)]
pub(super) struct Store {
    /// `None` after a surprise, until it could be opened again.
    db: Option<Connection>,
    path: PathBuf,
    /// Device and inode of the database, to notice that somebody moved or replaced it.
    file: (u64, u64),
    epoch: u64,
    /// The highest position that was ever acknowledged.
    acknowledged: u64,
    pruned_at: Time,
    clock_back_told: bool,
    _lock: File,
}

/// What went wrong with a batch: with one of its appends, or with all of them.
enum Failure {
    One(rusqlite::Error),
    All(JournalError),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Self::One(e)
    }
}

impl Store {
    /// Opens the database, makes or migrates its tables, and raises the epoch.
    pub fn open(dir: &Path, lock: File) -> Result<Self, JournalError> {
        let path = folder::database(dir);
        let fail = |e: rusqlite::Error| JournalError::Open(format!("the journal {} cannot be opened: {e}", path.display()));
        let mut db = connect(&path).map_err(fail)?;
        migrate(&mut db, &path)?;
        let head = raise_epoch(&mut db).map_err(fail)?;
        check_end(&db, &head, &path)?;
        let file = identity(&path).map_err(|e| JournalError::Open(format!("{} cannot be looked at: {e}", path.display())))?;
        Ok(Self {
            db: Some(db),
            path,
            file,
            epoch: head.epoch,
            acknowledged: head.pos,
            pruned_at: Time(0),
            clock_back_told: false,
            _lock: lock,
        })
    }

    /// The epoch that this opening has.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Commits these together, and answers each on its own.
    pub fn commit(&mut self, batch: &[Arc<Draft>]) -> Vec<Result<Appended, JournalError>> {
        match self.commit_together(batch) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(Failure::All(e)) => {
                tracing::error!(error = %e, appends = batch.len(), "the journal cannot be written");
                batch.iter().map(|_| Err(e.clone())).collect()
            }
            Err(Failure::One(e)) if batch.len() == 1 => {
                tracing::error!(error = %e, "an append cannot be written to the journal");
                vec![Err(JournalError::NotDone(e.to_string()))]
            }
            // It was rolled back; nobody has to suffer from a neighbour.
            Err(Failure::One(_)) => batch.iter().flat_map(|one| self.commit(std::slice::from_ref(one))).collect(),
        }
    }

    fn commit_together(&mut self, batch: &[Arc<Draft>]) -> Result<Vec<Appended>, Failure> {
        let mut db = self.connection().map_err(Failure::All)?;
        let committed = self.write(&mut db, batch);
        let unknown = matches!(committed, Err(Failure::All(JournalError::Unknown(_))));
        // A connection that is still inside a transaction, or of which too little is known, is not used again.
        if db.is_autocommit() && !unknown {
            self.db = Some(db);
        }
        committed
    }

    fn connection(&mut self) -> Result<Connection, JournalError> {
        if identity(&self.path).ok() != Some(self.file) {
            let path = self.path.display();
            return Err(JournalError::NotDone(format!(
                "{path} was moved, removed or replaced: put it back, then restart paramedic"
            )));
        }
        match self.db.take() {
            Some(db) => Ok(db),
            None => connect(&self.path).map_err(|e| JournalError::NotDone(format!("it cannot be opened again: {e}"))),
        }
    }

    fn write(&mut self, db: &mut Connection, batch: &[Arc<Draft>]) -> Result<Vec<Appended>, Failure> {
        let surely = |e: rusqlite::Error| Failure::All(JournalError::NotDone(e.to_string()));
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(surely)?;
        let mut head = Head::read(&tx).map_err(surely)?;
        let before = head.pos;
        if before < self.acknowledged {
            let text = format!(
                "it ends at entry {before}, but entry {} was acknowledged: was an old copy put in its place?",
                self.acknowledged
            );
            return Err(Failure::All(JournalError::NotDone(text)));
        }
        self.tick(&mut head);
        let mut answers = Vec::with_capacity(batch.len());
        for draft in batch {
            answers.push(if head.epoch == self.epoch { append(&tx, &mut head, draft)? } else { Appended::Fenced });
        }
        if head.pos == before {
            // Refusals only: nothing to make durable.
            return Ok(answers);
        }
        if head.at.since(self.pruned_at) > PRUNE_EVERY {
            brakes::prune(&tx, head.at)?;
            self.pruned_at = head.at;
        }
        head.write(&tx)?;
        tx.commit().map_err(|e| Failure::All(commit_error(&e)))?;
        self.acknowledged = head.pos;
        Ok(answers)
    }

    /// The journal's time: the clock's, but never earlier than before.
    fn tick(&mut self, head: &mut Head) {
        let clock = Time::now();
        if head.at.since(clock) > CLOCK_BACK && !self.clock_back_told {
            self.clock_back_told = true;
            tracing::warn!(journal_at = %head.at, clock = %clock, "the clock is behind the journal's time: cooldowns last until it has caught up");
        }
        head.at = head.at.max(clock);
    }
}

/// The one row that orders everything.
struct Head {
    pos: u64,
    at: Time,
    epoch: u64,
    hash: String,
}

impl Head {
    fn read(db: &Connection) -> rusqlite::Result<Self> {
        db.prepare_cached("select pos, at, epoch, hash from head where one = 1")?.query_row([], |row| {
            Ok(Self { pos: unsigned(row.get(0)?), at: Time(row.get(1)?), epoch: unsigned(row.get(2)?), hash: row.get(3)? })
        })
    }

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached("update head set pos = ?1, at = ?2, epoch = ?3, hash = ?4 where one = 1")?.execute((
            signed(self.pos),
            self.at.0,
            signed(self.epoch),
            &self.hash,
        ))?;
        Ok(())
    }
}

/// Evaluates one append: reads, then writes; or a refusal and no write.
fn append(tx: &Transaction<'_>, head: &mut Head, draft: &Draft) -> rusqlite::Result<Appended> {
    if let Some(already) = written_before(tx, draft)? {
        return Ok(already);
    }
    let last = match room_behind(tx, draft)? {
        Ok(last) => last,
        Err(conflict) => return Ok(conflict),
    };
    if let Some(braked) = brakes::check(tx, head.at, &draft.id, &draft.append.spend)? {
        return Ok(braked);
    }
    let first = head.pos + 1;
    let seq = write_entries(tx, head, draft, last)?;
    brakes::write(tx, head.at, &draft.id, seq, &draft.append)?;
    Ok(Appended::Committed { pos: first, seq, at: head.at })
}

fn written_before(tx: &Transaction<'_>, draft: &Draft) -> rusqlite::Result<Option<Appended>> {
    tx.prepare_cached("select a.pos, e.seq, e.at from appended a join entry e on e.pos = a.pos + a.n - 1 where a.append_id = ?1")?
        .query_row([draft.append.append_id.to_string()], |row| {
            Ok(Appended::Already { pos: unsigned(row.get(0)?), seq: unsigned(row.get(1)?), at: Time(row.get(2)?) })
        })
        .optional()
}

/// The number behind which this may be written, or the conflict.
fn room_behind(tx: &Transaction<'_>, draft: &Draft) -> rusqlite::Result<Result<u64, Appended>> {
    let known: Option<(i64, bool)> = tx
        .prepare_cached("select last_seq, open from incident where id = ?1")?
        .query_row([&draft.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let expect = draft.append.expect;
    let Some((last, open)) = known else {
        let fits = draft.opens() && expect.unwrap_or(0) == 0 && may_open(tx, draft)?;
        return Ok(if fits { Ok(0) } else { Err(Appended::Conflict { last: 0 }) });
    };
    let last = unsigned(last);
    // A closed incident takes no more entries: who writes behind it means the next one.
    let fits = open && !draft.opens() && expect.is_none_or(|expect| expect == last);
    Ok(if fits { Ok(last) } else { Err(Appended::Conflict { last }) })
}

/// True when no incident of the key is open and none has this number or a later one.
fn may_open(tx: &Transaction<'_>, draft: &Draft) -> rusqlite::Result<bool> {
    let incident = &draft.append.incident;
    let (latest, any_open): (i64, i64) = tx
        .prepare_cached("select coalesce(max(n), 0), coalesce(max(open), 0) from incident where key = ?1")?
        .query_row([incident.key.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(any_open == 0 && incident.n > unsigned(latest))
}

/// Writes the entries and what is derived from them; gives the number of the last one.
fn write_entries(tx: &Transaction<'_>, head: &mut Head, draft: &Draft, last: u64) -> rusqlite::Result<u64> {
    let append_id = draft.append.append_id.to_string();
    let first = head.pos + 1;
    let mut seq = last;
    let mut insert = tx.prepare_cached(
        "insert into entry (pos, incident, seq, at, version, kind, body, append_id, hash) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (event, body) in draft.append.events.iter().zip(&draft.bodies) {
        seq += 1;
        head.pos += 1;
        head.hash = entry::chain(&head.hash, head.pos, &draft.id, seq, head.at, VERSION, body);
        let (pos, at) = (signed(head.pos), head.at.0);
        insert.execute((pos, &draft.id, signed(seq), at, VERSION, event.kind(), body, &append_id, &head.hash))?;
    }
    tx.prepare_cached("insert into appended (append_id, pos, n) values (?1, ?2, ?3)")?.execute((
        &append_id,
        signed(first),
        signed(head.pos + 1 - first),
    ))?;
    if last == 0 {
        let incident = &draft.append.incident;
        tx.prepare_cached("insert into incident (id, key, n, last_seq, open, opened) values (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute((&draft.id, incident.key.as_str(), signed(incident.n), signed(seq), !draft.closes(), signed(first)))?;
    } else {
        tx.prepare_cached("update incident set last_seq = ?2, open = open and not ?3 where id = ?1")?.execute((
            &draft.id,
            signed(seq),
            draft.closes(),
        ))?;
    }
    Ok(seq)
}

/// A failed commit: did it surely not happen? Only those errors say so that come before anything could be durable.
fn commit_error(e: &rusqlite::Error) -> JournalError {
    let sure = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::DiskFull, ErrorCode::ConstraintViolation];
    match e.sqlite_error_code() {
        Some(code) if sure.contains(&code) => JournalError::NotDone(e.to_string()),
        _ => JournalError::Unknown(e.to_string()),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "foreign_keys", false)?;
    // After a long reader the WAL is cut back to this.
    db.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |row| row.get::<_, i64>(0))?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// What kind of database this is.
pub(super) enum Tables {
    /// Ours, in the present version.
    Ours,
    /// Nothing was made yet.
    None,
}

/// Finds out whether the tables are ours; refuses those of somebody else or of a newer Paramedic.
pub(super) fn tables(db: &Connection, path: &Path) -> Result<Tables, JournalError> {
    let path = path.display();
    let pragma = |name: &str| -> Result<i64, JournalError> {
        db.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| {
            JournalError::Open(format!("the journal {path} cannot be read: {e}; if it is damaged, restore a backup"))
        })
    };
    let (application, version, pages) = (pragma("application_id")?, pragma("user_version")?, pragma("schema_version")?);
    match (application, version) {
        (APPLICATION, SCHEMA_VERSION) => Ok(Tables::Ours),
        (0, 0) if pages == 0 => Ok(Tables::None),
        (APPLICATION, newer) if newer > SCHEMA_VERSION => Err(JournalError::Open(format!(
            "the journal {path} was written by a newer Paramedic (its tables have version {newer}, this one knows {SCHEMA_VERSION}): \
             run that one, or restore a backup from before"
        ))),
        _ => Err(JournalError::Open(format!(
            "{path} is not a journal of Paramedic: move it away, or choose another `data` folder"
        ))),
    }
}

/// Makes the tables if there are none. There is no older version to migrate yet.
fn migrate(db: &mut Connection, path: &Path) -> Result<(), JournalError> {
    if let Tables::Ours = tables(db, path)? {
        return Ok(());
    }
    let make = |db: &mut Connection| -> rusqlite::Result<()> {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(SCHEMA)?;
        tx.execute_batch(brakes::SCHEMA)?;
        tx.execute("insert into head (one, pos, at, epoch, hash) values (1, 0, 0, 0, ?1)", [FIRST_HASH])?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        tx.commit()
    };
    make(db).map_err(|e| JournalError::Open(format!("the journal {} cannot be made: {e}", path.display())))
}

fn raise_epoch(db: &mut Connection) -> rusqlite::Result<Head> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut head = Head::read(&tx)?;
    head.epoch += 1;
    head.write(&tx)?;
    tx.commit()?;
    Ok(head)
}

/// The last entry must be the one that the head names: a quick sign that nothing is missing at the end.
fn check_end(db: &Connection, head: &Head, path: &Path) -> Result<(), JournalError> {
    let last = db.query_row("select pos, hash from entry order by pos desc limit 1", [], |row| {
        Ok((unsigned(row.get(0)?), row.get::<_, String>(1)?))
    });
    let path = path.display();
    let (pos, hash) = match last.optional() {
        Ok(last) => last.unwrap_or((0, FIRST_HASH.to_owned())),
        Err(e) => {
            return Err(JournalError::Open(format!(
                "the journal {path} cannot be read: {e}; if it is damaged, restore a backup"
            )));
        }
    };
    if (pos, &hash) == (head.pos, &head.hash) {
        return Ok(());
    }
    let says = head.pos;
    Err(JournalError::Open(format!(
        "the journal {path} is damaged or was altered: it ends at entry {pos}, but entry {says} was written last: restore a backup"
    )))
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// A count for SQLite, whose integers are signed.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A count from SQLite, never negative there.
pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
