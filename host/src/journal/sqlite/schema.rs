//! The tables of the journal on SQLite: made, recognised, and brought up to date.
//!
//! An older version is brought to the present one in one transaction, after the whole file was copied beside it, so that going
//! back to the older Paramedic stays possible. Tables beside `entry` and the stamps are derived from the entries and can be
//! computed anew. Absent on purpose: ways back to an older version; the copy is the way back.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Progress;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use super::{explain, folder, stamps, unsigned};
use crate::clock::Time;
use crate::incident::Event;
use crate::journal::JournalError;
use crate::journal::entry::FIRST_HASH;

/// Version of the tables, kept as `user_version`.
pub(super) const SCHEMA_VERSION: i64 = 4;

/// Marks a database as ours (`PARM`), kept as `application_id`.
const APPLICATION: i64 = 0x5041_524d;

/// How long to wait for somebody else's lock on the database, such as a person with the `sqlite3` shell.
const BUSY: Duration = Duration::from_secs(2);

/// Version 1. What came later is added by its step of [`migrate`], also to a new journal: one way to the present tables.
const VERSION_1: &str = "
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

/// What version 2 adds: timers, the place from which on entries are kept, and the numbers of incidents that are not.
const VERSION_2: &str = "
create table timer (incident text primary key, due integer not null) strict, without rowid;
create index timer_due on timer (due);
create table gone (key text primary key, n integer not null) strict, without rowid;
alter table head add column anchor integer not null default 0;
alter table head add column anchor_hash text not null default '0000000000000000000000000000000000000000000000000000000000000000';
alter table head add column compacted_at integer;
";

/// What version 3 adds: newcomers and storms, a sign of life, and the times in which there was none. Those are kept beside the entries, so
/// that a copy of the journal knows its age.
const VERSION_3: &str = "
create table newcomer (k text not null, subject text not null, at integer not null, primary key (k, subject)) strict, without rowid;
create index newcomer_by_time on newcomer (k, at);
create table storm (k text primary key, since integer not null, until integer not null, n integer not null) strict, without rowid;
create table mark (k text not null, incident text not null, primary key (k, incident)) strict, without rowid;
create index mark_of_incident on mark (incident);
create table away (since integer not null, until integer not null) strict;
alter table head add column alive_at integer not null default 0;
";

/// What version 4 adds: which incidents are about a target, by the position at which they were opened.
const VERSION_4: &str = "
create table about (target text not null, opened integer not null, primary key (target, opened)) strict, without rowid;
create index about_by_opening on about (opened);
";

/// Opens the database for its one writer.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "foreign_keys", false)?;
    // In a storm one commit of many appends fills the usual 1000 pages, and each checkpoint waits for the disk twice.
    db.pragma_update_and_check(None, "wal_autocheckpoint", 12_000, |row| row.get::<_, i64>(0))?;
    // Keys are hashes, so appends touch pages all over the indexes: with the usual 2 MiB each is read again every time. In KiB.
    db.pragma_update(None, "cache_size", -32_768)?;
    // After a long reader the WAL is cut back to this.
    db.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |row| row.get::<_, i64>(0))?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// What kind of database this is.
pub(super) enum Tables {
    /// Ours, in the present version.
    Ours,
    /// Ours, in this older version.
    Older(i64),
    /// Nothing was made yet.
    None,
}

/// Finds out whether the tables are ours; refuses those of somebody else or of a newer Paramedic.
pub(super) fn tables(db: &Connection, path: &Path) -> Result<Tables, JournalError> {
    let path = path.display();
    let pragma = |name: &str| -> Result<i64, JournalError> {
        db.pragma_query_value(None, name, |row| row.get(0))
            .map_err(|e| JournalError::Open(format!("the journal {path} cannot be read: {}", explain(&e))))
    };
    let (application, version, pages) = (pragma("application_id")?, pragma("user_version")?, pragma("schema_version")?);
    match (application, version) {
        (APPLICATION, SCHEMA_VERSION) => Ok(Tables::Ours),
        (APPLICATION, older) if (1..SCHEMA_VERSION).contains(&older) => Ok(Tables::Older(older)),
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

/// Makes the tables if there are none, and brings older ones up to date.
pub(super) fn migrate(db: &mut Connection, path: &Path) -> Result<(), JournalError> {
    let from = match tables(db, path)? {
        Tables::Ours => return Ok(()),
        Tables::None => 0,
        Tables::Older(version) => {
            let kept = keep_copy(db, path, version)?;
            tracing::info!(from = version, to = SCHEMA_VERSION, copy = %kept.display(), "The journal's tables are brought up to date; the copy is for going back");
            version
        }
    };
    let steps = |db: &mut Connection| -> rusqlite::Result<()> {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if from < 1 {
            tx.execute_batch(VERSION_1)?;
            tx.execute_batch(stamps::SCHEMA)?;
            tx.execute("insert into head (one, pos, at, epoch, hash) values (1, 0, 0, 0, ?1)", [FIRST_HASH])?;
            tx.pragma_update(None, "application_id", APPLICATION)?;
        }
        if from < 2 {
            tx.execute_batch(VERSION_2)?;
            rebuild_timers(&tx)?;
        }
        if from < 3 {
            tx.execute_batch(VERSION_3)?;
        }
        tx.execute_batch(VERSION_4)?;
        rebuild_about(&tx)?;
        tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        tx.commit()
    };
    let doing = if from == 0 { "made" } else { "brought up to date; it is as it was" };
    steps(db).map_err(|e| JournalError::Open(format!("the journal {} cannot be {doing}: {}", path.display(), explain(&e))))
}

/// Copies the database as it is beside it, as `journal.db.v1`, before anything is changed. A copy that is there stays: it is
/// from an earlier try that did not come to its end, or from before somebody went back.
fn keep_copy(db: &Connection, path: &Path, version: i64) -> Result<PathBuf, JournalError> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".v{version}"));
    let kept = PathBuf::from(kept);
    if kept.exists() {
        return Ok(kept);
    }
    let partial = kept.with_extension("part");
    let copy = || -> Result<(), String> {
        let _ = std::fs::remove_file(&partial);
        folder::private(&partial).map_err(|e| e.to_string())?;
        db.backup("main", &partial, None::<fn(Progress)>).map_err(|e| explain(&e))?;
        File::open(&partial).and_then(|file| file.sync_all()).map_err(|e| e.to_string())?;
        std::fs::rename(&partial, &kept).map_err(|e| e.to_string())
    };
    copy().map_err(|e| {
        JournalError::Open(format!(
            "the journal {} has to be brought up to date and cannot be copied to {} before: {e}; nothing was changed",
            path.display(),
            kept.display()
        ))
    })?;
    Ok(kept)
}

/// Computes all timers anew from the entries of the open incidents.
fn rebuild_timers(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut open = tx.prepare(
        "select e.incident, e.at, e.body from incident i join entry e on e.incident = i.id where i.open = 1 order by e.pos",
    )?;
    let mut rows = open.query([])?;
    while let Some(row) = rows.next()? {
        let (incident, at, body): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // What is not understood here is refused by who reads it.
        if let Some(timer) = serde_json::from_str::<Event>(&body).ok().and_then(|event| event.timer(Time(at))) {
            set_timer(tx, &incident, timer)?;
        }
    }
    Ok(())
}

/// Computes anew which incidents are about which targets.
fn rebuild_about(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut told = tx.prepare(
        "select i.id, e.body from entry e join incident i on i.id = e.incident where e.kind in ('asked', 'intended') order by e.pos",
    )?;
    let mut rows = told.query([])?;
    while let Some(row) = rows.next()? {
        let (incident, body): (String, String) = (row.get(0)?, row.get(1)?);
        // What is not understood here is refused by who reads it.
        if let Ok(event) = serde_json::from_str::<Event>(&body) {
            set_about(tx, &incident, &event)?;
        }
    }
    Ok(())
}

/// Writes down which targets an incident is about, as far as this entry of it tells.
pub(super) fn set_about(db: &Connection, incident: &str, event: &Event) -> rusqlite::Result<()> {
    for target in event.about() {
        db.prepare_cached("insert or ignore into about (target, opened) select ?1, opened from incident where id = ?2")?
            .execute((target.to_string(), incident))?;
    }
    Ok(())
}

/// Writes down when something is due for an incident, or that nothing is.
pub(super) fn set_timer(db: &Connection, incident: &str, timer: Option<Time>) -> rusqlite::Result<()> {
    match timer {
        Some(due) => db
            .prepare_cached("insert into timer (incident, due) values (?1, ?2) on conflict (incident) do update set due = ?2")?
            .execute((incident, due.0))?,
        None => db.prepare_cached("delete from timer where incident = ?1")?.execute([incident])?,
    };
    Ok(())
}

/// The last entry must be the one that the head names: a quick sign that nothing is missing at the end.
pub(super) fn check_end(db: &Connection, path: &Path) -> Result<(), JournalError> {
    let ends = || -> rusqlite::Result<(u64, Option<u64>)> {
        let (pos, hash, anchor, anchor_hash): (i64, String, i64, String) =
            db.query_row("select pos, hash, anchor, anchor_hash from head", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        let last = db
            .query_row("select pos, hash from entry order by pos desc limit 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let last = last.unwrap_or((anchor, anchor_hash));
        Ok((unsigned(last.0), (last != (pos, hash)).then_some(unsigned(pos))))
    };
    let path = path.display();
    match ends() {
        Ok((_, None)) => Ok(()),
        Ok((pos, Some(says))) => Err(JournalError::Open(format!(
            "the journal {path} is damaged or was altered: it ends at entry {pos}, but entry {says} was written last: restore a backup"
        ))),
        Err(e) => Err(JournalError::Open(format!("the journal {path} cannot be read: {}", explain(&e)))),
    }
}
