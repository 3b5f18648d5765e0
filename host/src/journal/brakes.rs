//! Brakes as data: stamps that are counted and holds that are taken, inside the append that spends them.
//!
//! All checks of an append come before its first write, and appends are evaluated one after the other, so a limit is exact
//! however many incidents race for the last place. Absent on purpose: what the keys mean; `authorise` knows.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::sqlite::signed;
use super::{Append, Appended, LONGEST_WINDOW, Spend};
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::Event;

/// The tables of this file.
pub(super) const SCHEMA: &str = "
create table stamp (k text not null, at integer not null, incident text not null, seq integer not null) strict;
create index stamp_of_key on stamp (k, at);
create index stamp_by_age on stamp (at);
create table hold (k text not null, incident text not null, primary key (k, incident)) strict, without rowid;
create index hold_of_incident on hold (incident);
";

/// The first brake that has no room for this, as [`Appended::Braked`].
pub(super) fn check(db: &Connection, now: Time, incident: &str, spends: &[Spend]) -> rusqlite::Result<Option<Appended>> {
    // What this same append spends of a key counts for its later spends of that key.
    let mut spent: BTreeMap<&str, u32> = BTreeMap::new();
    for spend in spends {
        let braked = match spend {
            Spend::Rate { key, limit, window } => {
                let before = spent.entry(key).or_default();
                *before += 1;
                check_rate(db, now.minus(*window), key, (*limit, *before - 1))?.map(|oldest| Appended::Braked {
                    key: key.clone(),
                    after: oldest.map(|at| at.plus(*window)),
                    holder: None,
                })
            }
            Spend::Lock { key, limit } => {
                check_lock(db, incident, key, *limit)?.map(|holder| Appended::Braked { key: key.clone(), after: None, holder })
            }
        };
        if braked.is_some() {
            return Ok(braked);
        }
    }
    Ok(None)
}

/// `Some` when one more stamp is too many, with the stamp that has to leave the window first, if waiting helps at all.
fn check_rate(db: &Connection, since: Time, key: &str, (limit, pending): (u32, u32)) -> rusqlite::Result<Option<Option<Time>>> {
    let counted: i64 =
        db.prepare_cached("select count(*) from stamp where k = ?1 and at > ?2")?.query_row((key, since.0), |row| row.get(0))?;
    // So many of the counted ones have to leave before there is room.
    let excess = counted + i64::from(pending) + 1 - i64::from(limit);
    if excess <= 0 {
        return Ok(None);
    }
    let leaves = db
        .prepare_cached("select at from stamp where k = ?1 and at > ?2 order by at limit 1 offset ?3")?
        .query_row((key, since.0, excess - 1), |row| row.get(0))
        .optional()?;
    Ok(Some(leaves.map(Time)))
}

/// `Some` when others hold as much as may be held, with one of them.
fn check_lock(db: &Connection, incident: &str, key: &str, limit: u32) -> rusqlite::Result<Option<Option<IncidentId>>> {
    let (others, one): (i64, Option<String>) = db
        .prepare_cached("select count(*), min(incident) from hold where k = ?1 and incident <> ?2")?
        .query_row((key, incident), |row| Ok((row.get(0)?, row.get(1)?)))?;
    if others < i64::from(limit) {
        return Ok(None);
    }
    Ok(Some(one.and_then(|id| id.parse().ok())))
}

/// Writes down what an append spends, stamps and releases; `seq` is its last entry.
pub(super) fn write(db: &Connection, at: Time, incident: &str, seq: u64, append: &Append) -> rusqlite::Result<()> {
    for key in &append.release {
        db.prepare_cached("delete from hold where k = ?1 and incident = ?2")?.execute((key, incident))?;
    }
    let stamped = append.spend.iter().filter_map(|spend| match spend {
        Spend::Rate { key, .. } => Some(key),
        Spend::Lock { .. } => None,
    });
    for key in stamped.chain(&append.stamp) {
        db.prepare_cached("insert into stamp (k, at, incident, seq) values (?1, ?2, ?3, ?4)")?.execute((
            key,
            at.0,
            incident,
            signed(seq),
        ))?;
    }
    for spend in &append.spend {
        if let Spend::Lock { key, .. } = spend {
            db.prepare_cached("insert or ignore into hold (k, incident) values (?1, ?2)")?.execute((key, incident))?;
        }
    }
    if append.events.iter().any(|event| matches!(event, Event::Closed { .. })) {
        db.prepare_cached("delete from hold where incident = ?1")?.execute([incident])?;
    }
    Ok(())
}

/// Forgets stamps that no window can count any more.
pub(super) fn prune(db: &Connection, now: Time) -> rusqlite::Result<()> {
    db.prepare_cached("delete from stamp where at < ?1")?.execute([now.minus(LONGEST_WINDOW).0])?;
    Ok(())
}
