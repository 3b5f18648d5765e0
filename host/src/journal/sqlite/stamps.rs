//! The tables of the brakes: what was stamped when, who holds what, who is new, and which storms there were.

use rusqlite::{Connection, OptionalExtension};

use super::{signed, unsigned};
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::journal::brakes::Counts;
use crate::journal::storm::{self, Arrival, Newcomer, Storm};
use crate::journal::{Draft, LONGEST_WINDOW};

pub(super) const SCHEMA: &str = "
create table stamp (k text not null, at integer not null, incident text not null, seq integer not null) strict;
create index stamp_of_key on stamp (k, at);
create index stamp_by_age on stamp (at);
create table hold (k text not null, incident text not null, primary key (k, incident)) strict, without rowid;
create index hold_of_incident on hold (incident);
";

impl Counts for Connection {
    type Error = rusqlite::Error;

    fn stamped(&self, key: &str, since: Time) -> rusqlite::Result<u64> {
        self.prepare_cached("select count(*) from stamp where k = ?1 and at > ?2")?
            .query_row((key, since.0), |row| row.get(0))
            .map(unsigned)
    }

    fn stamp(&self, key: &str, since: Time, nth: u64) -> rusqlite::Result<Option<Time>> {
        self.prepare_cached("select at from stamp where k = ?1 and at > ?2 order by at limit 1 offset ?3")?
            .query_row((key, since.0, signed(nth)), |row| row.get(0).map(Time))
            .optional()
    }

    fn holders(&self, key: &str, without: &IncidentId) -> rusqlite::Result<(u64, Option<IncidentId>)> {
        let (others, one): (i64, Option<String>) = self
            .prepare_cached("select count(*), min(incident) from hold where k = ?1 and incident <> ?2")?
            .query_row((key, without.to_string()), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((unsigned(others), one.and_then(|id| id.parse().ok())))
    }

    fn is_marked(&self, key: &str) -> rusqlite::Result<bool> {
        self.prepare_cached("select exists (select 1 from mark where k = ?1)")?.query_row([key], |row| row.get(0))
    }

    fn arrived(&self, key: &str, subject: &str) -> rusqlite::Result<Option<Time>> {
        self.prepare_cached("select at from newcomer where k = ?1 and subject = ?2")?
            .query_row((key, subject), |row| row.get(0).map(Time))
            .optional()
    }

    fn newest(&self, key: &str, since: Time, nth: u64) -> rusqlite::Result<Option<Time>> {
        self.prepare_cached("select at from newcomer where k = ?1 and at > ?2 order by at desc limit 1 offset ?3")?
            .query_row((key, since.0, signed(nth)), |row| row.get(0).map(Time))
            .optional()
    }

    fn storm(&self, key: &str) -> rusqlite::Result<Option<Storm>> {
        self.prepare_cached("select since, until, n from storm where k = ?1")?
            .query_row([key], |row| {
                Ok(Storm { since: Time(row.get(0)?), until: Time(row.get(1)?), count: unsigned(row.get(2)?) })
            })
            .optional()
    }
}

/// Counts a newcomer; the tables' memory of the others of its key ends with the window.
fn arrive(db: &Connection, at: Time, new: &Newcomer) -> rusqlite::Result<()> {
    let arrival = storm::arrive(db, at, new)?;
    if arrival == Arrival::Known {
        return Ok(());
    }
    db.prepare_cached("delete from newcomer where k = ?1 and at <= ?2")?.execute((&new.key, at.minus(new.window).0))?;
    db.prepare_cached("insert or replace into newcomer (k, subject, at) values (?1, ?2, ?3)")?.execute((
        &new.key,
        &new.subject,
        at.0,
    ))?;
    if let Arrival::Storm(Storm { since, until, count }) = arrival {
        let mut put = db.prepare_cached("insert or replace into storm (k, since, until, n) values (?1, ?2, ?3, ?4)")?;
        put.execute((&new.key, since.0, until.0, signed(count)))?;
    }
    Ok(())
}

/// Writes down what an append spends, stamps and releases; `seq` is its last entry.
pub(super) fn write(db: &Connection, at: Time, incident: &str, seq: u64, draft: &Draft) -> rusqlite::Result<()> {
    if draft.append().release_all {
        db.prepare_cached("delete from hold where incident = ?1")?.execute([incident])?;
    }
    for key in &draft.append().release {
        db.prepare_cached("delete from hold where k = ?1 and incident = ?2")?.execute((key, incident))?;
    }
    for key in draft.stamps() {
        db.prepare_cached("insert into stamp (k, at, incident, seq) values (?1, ?2, ?3, ?4)")?.execute((
            key,
            at.0,
            incident,
            signed(seq),
        ))?;
    }
    for key in draft.holds() {
        db.prepare_cached("insert or ignore into hold (k, incident) values (?1, ?2)")?.execute((key, incident))?;
    }
    for key in &draft.append().mark {
        db.prepare_cached("insert or ignore into mark (k, incident) values (?1, ?2)")?.execute((key, incident))?;
    }
    for new in &draft.append().newcomers {
        arrive(db, at, new)?;
    }
    if draft.closes() {
        db.prepare_cached("delete from mark where incident = ?1")?.execute([incident])?;
        db.prepare_cached("delete from hold where incident = ?1")?.execute([incident])?;
    }
    Ok(())
}

/// Forgets stamps that no window can count any more.
pub(super) fn prune(db: &Connection, now: Time) -> rusqlite::Result<()> {
    db.prepare_cached("delete from stamp where at < ?1")?.execute([now.minus(LONGEST_WINDOW).0])?;
    Ok(())
}
