//! The writing side of the journal on SQLite: one connection, one transaction for all appends that wait.
//!
//! One `head` row hands out positions without gaps, carries the journal's clock, the epoch and the last hash, and is read
//! first in every transaction, so a store on another engine can work the same way. Within a transaction each append is evaluated on its
//! own: first only reads, then, if nothing refuses it, its writes. After any surprise the connection is dropped and opened anew.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};

use super::away;
use super::compact::{self, Compacted};
use super::writer::Commit;
use super::{explain, folder, schema, signed, stamps, unsigned};
use crate::clock::Time;
use crate::journal::entry::{self, VERSION};
use crate::journal::{Appended, Away, Draft, JournalError, brakes};

/// How often old stamps are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// From when on the journal's time being ahead of the clock's is told: cooldowns are counted in it.
const CLOCK_BACK: Duration = Duration::from_secs(30);

/// The writing side of the database.
#[derive(Debug)]
pub(super) struct Database {
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
    /// The times in which nobody kept it, as the table says.
    away: Arc<Mutex<Vec<Away>>>,
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

impl Database {
    /// Opens the database, makes or migrates its tables, and raises the epoch.
    pub fn open(dir: &Path, lock: File) -> Result<Self, JournalError> {
        let path = folder::database(dir);
        let fail =
            |e: rusqlite::Error| JournalError::Open(format!("the journal {} cannot be opened: {}", path.display(), explain(&e)));
        let mut db = schema::connect(&path).map_err(fail)?;
        schema::migrate(&mut db, &path)?;
        schema::check_end(&db, &path)?;
        let (head, away) = raise_epoch(&mut db).map_err(fail)?;
        let file = identity(&path).map_err(|e| JournalError::Open(format!("{} cannot be looked at: {e}", path.display())))?;
        Ok(Self {
            db: Some(db),
            path,
            file,
            epoch: head.epoch,
            acknowledged: head.pos,
            pruned_at: Time(0),
            clock_back_told: false,
            away: Arc::new(Mutex::new(away)),
            _lock: lock,
        })
    }

    /// The epoch that this opening has.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The times in which nobody kept it; more are added while it is open, should the machine sleep.
    pub fn away(&self) -> Arc<Mutex<Vec<Away>>> {
        Arc::clone(&self.away)
    }

    /// Writes only the journal's time, durably: can it be written now?
    pub fn probe(&mut self) -> Result<(), JournalError> {
        match self.commit_together(&[], true) {
            Ok(_) => Ok(()),
            Err(Failure::All(e)) => Err(e),
            Err(Failure::One(e)) => Err(JournalError::NotDone(explain(&e))),
        }
    }

    /// Removes at most `most` of the entries that are older than `keep`.
    pub fn compact(&mut self, keep: Duration, most: u64) -> Result<Compacted, JournalError> {
        let mut db = self.connection()?;
        let surely = |e: rusqlite::Error| JournalError::NotDone(explain(&e));
        let mut piece = || -> Result<Compacted, JournalError> {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(surely)?;
            let head = Head::read(&tx).map_err(surely)?;
            if head.epoch != self.epoch {
                return Err(JournalError::fenced());
            }
            let told = compact::remove_within(&tx, head.at.max(Time::now()).minus(keep), most).map_err(surely)?;
            tx.commit().map_err(|e| commit_error(&e))?;
            Ok(told)
        };
        let told = piece();
        if db.is_autocommit() && told.is_ok() {
            self.db = Some(db);
        }
        told
    }

    fn commit_together(&mut self, batch: &[Arc<Draft>], always: bool) -> Result<Vec<Appended>, Failure> {
        let mut db = self.connection().map_err(Failure::All)?;
        let committed = self.write(&mut db, batch, always);
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
            None => schema::connect(&self.path)
                .map_err(|e| JournalError::NotDone(format!("it cannot be opened again: {}", explain(&e)))),
        }
    }

    fn write(&mut self, db: &mut Connection, batch: &[Arc<Draft>], always: bool) -> Result<Vec<Appended>, Failure> {
        let surely = |e: rusqlite::Error| Failure::All(JournalError::NotDone(explain(&e)));
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
        self.tick(&tx, &mut head)?;
        let mut answers = Vec::with_capacity(batch.len());
        for draft in batch {
            answers.push(if head.epoch == self.epoch { append(&tx, &mut head, draft)? } else { Appended::Fenced });
        }
        if always && head.epoch != self.epoch {
            return Err(Failure::All(JournalError::fenced()));
        }
        if head.pos == before && !always {
            // Refusals only: nothing to make durable.
            return Ok(answers);
        }
        if head.at.since(self.pruned_at) > PRUNE_EVERY {
            stamps::prune(&tx, head.at)?;
            self.pruned_at = head.at;
        }
        head.write(&tx)?;
        tx.commit().map_err(|e| Failure::All(commit_error(&e)))?;
        self.acknowledged = head.pos;
        Ok(answers)
    }

    /// The journal's time: the clock's, but never earlier than before.
    fn tick(&mut self, tx: &Transaction<'_>, head: &mut Head) -> rusqlite::Result<()> {
        let clock = Time::now();
        if let Some(gap) = away::gap(head.alive_at.max(head.at), clock) {
            *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away::write(tx, gap)?;
        }
        if head.at.since(clock) > CLOCK_BACK && !self.clock_back_told {
            self.clock_back_told = true;
            tracing::warn!(journal_at = %head.at, clock = %clock, "the clock is behind the journal's time: cooldowns last until it has caught up");
        }
        head.at = head.at.max(clock);
        head.alive_at = clock;
        Ok(())
    }
}

impl Commit for Database {
    fn commit(&mut self, batch: &[Arc<Draft>]) -> Vec<Result<Appended, JournalError>> {
        match self.commit_together(batch, false) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(Failure::All(e)) => {
                tracing::error!(error = %e, appends = batch.len(), "the journal cannot be written");
                batch.iter().map(|_| Err(e.clone())).collect()
            }
            Err(Failure::One(e)) if batch.len() == 1 => {
                tracing::error!(error = %explain(&e), "an append cannot be written to the journal");
                vec![Err(JournalError::NotDone(explain(&e)))]
            }
            // It was rolled back; nobody has to suffer from a neighbour.
            Err(Failure::One(_)) => batch.iter().flat_map(|one| self.commit(std::slice::from_ref(one))).collect(),
        }
    }
}

/// The one row that orders everything.
struct Head {
    pos: u64,
    at: Time,
    epoch: u64,
    hash: String,
    /// When it was last kept, by the clock of then.
    alive_at: Time,
}

impl Head {
    fn read(db: &Connection) -> rusqlite::Result<Self> {
        db.prepare_cached("select pos, at, epoch, hash, alive_at from head where one = 1")?.query_row([], |row| {
            let (pos, at, epoch) = (unsigned(row.get(0)?), Time(row.get(1)?), unsigned(row.get(2)?));
            Ok(Self { pos, at, epoch, hash: row.get(3)?, alive_at: Time(row.get(4)?) })
        })
    }

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached("update head set pos = ?1, at = ?2, epoch = ?3, hash = ?4, alive_at = ?5 where one = 1")?.execute((
            signed(self.pos),
            self.at.0,
            signed(self.epoch),
            &self.hash,
            self.alive_at.0,
        ))?;
        Ok(())
    }
}

/// Evaluates one append: reads, then writes; or a refusal and no write.
fn append(tx: &Transaction<'_>, head: &mut Head, draft: &Draft) -> rusqlite::Result<Appended> {
    let (append, incident) = (draft.append(), draft.append().incident.to_string());
    if let Some(already) = written_before(tx, draft)? {
        return Ok(already);
    }
    let last = match room_behind(tx, &incident, draft)? {
        Ok(last) => last,
        Err(conflict) => return Ok(conflict),
    };
    if let Some(braked) = brakes::check::<Connection>(tx, head.at, &append.incident, &append.spend)? {
        return Ok(braked);
    }
    let first = head.pos + 1;
    let seq = write_entries(tx, head, &incident, draft, last)?;
    stamps::write(tx, head.at, &incident, seq, draft)?;
    if let Some(timer) = draft.timer(head.at) {
        schema::set_timer(tx, &incident, timer)?;
    }
    Ok(Appended::Committed { pos: first, seq, at: head.at })
}

fn written_before(tx: &Transaction<'_>, draft: &Draft) -> rusqlite::Result<Option<Appended>> {
    tx.prepare_cached("select a.pos, e.seq, e.at from appended a join entry e on e.pos = a.pos + a.n - 1 where a.append_id = ?1")?
        .query_row([draft.append().append_id.to_string()], |row| {
            Ok(Appended::Already { pos: unsigned(row.get(0)?), seq: unsigned(row.get(1)?), at: Time(row.get(2)?) })
        })
        .optional()
}

/// The number behind which this may be written, or the conflict.
fn room_behind(tx: &Transaction<'_>, id: &str, draft: &Draft) -> rusqlite::Result<Result<u64, Appended>> {
    let known: Option<(i64, bool)> = tx
        .prepare_cached("select last_seq, open from incident where id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let expect = draft.append().expect;
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
    let incident = &draft.append().incident;
    let (latest, any_open): (i64, i64) = tx
        .prepare_cached("select max(coalesce(max(n), 0), coalesce((select n from gone where key = ?1), 0)), coalesce(max(open), 0) from incident where key = ?1",
        )?
        .query_row([incident.key.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(any_open == 0 && incident.n > unsigned(latest))
}

/// Writes the entries and what is derived from them; gives the number of the last one.
fn write_entries(tx: &Transaction<'_>, head: &mut Head, id: &str, draft: &Draft, last: u64) -> rusqlite::Result<u64> {
    let append_id = draft.append().append_id.to_string();
    let first = head.pos + 1;
    let mut seq = last;
    let mut insert = tx.prepare_cached(
        "insert into entry (pos, incident, seq, at, version, kind, body, append_id, hash) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (event, body) in draft.entries() {
        seq += 1;
        head.pos += 1;
        head.hash = entry::chain(&head.hash, head.pos, id, seq, head.at, VERSION, body);
        let (pos, at) = (signed(head.pos), head.at.0);
        insert.execute((pos, id, signed(seq), at, VERSION, event.kind(), body, &append_id, &head.hash))?;
    }
    tx.prepare_cached("insert into appended (append_id, pos, n) values (?1, ?2, ?3)")?.execute((
        &append_id,
        signed(first),
        signed(head.pos + 1 - first),
    ))?;
    if last == 0 {
        let incident = &draft.append().incident;
        tx.prepare_cached("insert into incident (id, key, n, last_seq, open, opened) values (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute((id, incident.key.as_str(), signed(incident.n), signed(seq), !draft.closes(), signed(first)))?;
    } else {
        tx.prepare_cached("update incident set last_seq = ?2, open = open and not ?3 where id = ?1")?.execute((
            id,
            signed(seq),
            draft.closes(),
        ))?;
    }
    for (event, _) in draft.entries() {
        schema::set_about(tx, id, event)?;
    }
    Ok(seq)
}

/// A failed commit: did it surely not happen? Only those errors say so that come before anything could be durable.
fn commit_error(e: &rusqlite::Error) -> JournalError {
    let sure = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::DiskFull, ErrorCode::ConstraintViolation];
    match e.sqlite_error_code() {
        Some(code) if sure.contains(&code) => JournalError::NotDone(explain(e)),
        _ => JournalError::Unknown(explain(e)),
    }
}

/// Gives the head and the times in which nobody kept this journal, up to now.
fn raise_epoch(db: &mut Connection) -> rusqlite::Result<(Head, Vec<Away>)> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut head, clock) = (Head::read(&tx)?, Time::now());
    let away = match away::gap(head.alive_at.max(head.at), clock) {
        // Nobody can have been away from a journal that was never open.
        Some(gap) if head.epoch > 0 => away::write(&tx, gap)?,
        _ => away::read(&tx)?,
    };
    head.epoch += 1;
    head.alive_at = clock;
    head.write(&tx)?;
    tx.commit()?;
    Ok((head, away))
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}
