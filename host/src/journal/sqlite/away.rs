//! Being away: the times in which nobody kept this journal, found out from its own sign of life.
//!
//! The head carries when the journal was last kept, so a copy that is put back knows its age, and a machine that slept is found
//! out by the next append. A clock that goes back makes no time of being away; one that leaps ahead makes one, which is the safe side:
//! what was decided before is then left to a person. Absent on purpose: what follows from it; `authorise` knows.

use std::time::Duration;

use rusqlite::{Connection, Transaction};

use crate::clock::Time;
use crate::journal::{Away, LONGEST_WINDOW};

/// What is shorter is a restart, or a disk that was slow. The keeper gives a sign of life about twice in this time.
const SHORTEST: Duration = Duration::from_secs(120);

/// The time of being away, if it is one.
pub(super) fn gap(kept: Time, now: Time) -> Option<Away> {
    (now.since(kept) >= SHORTEST).then_some(Away { from: kept, until: now })
}

/// Writes it down, forgets those of long ago, and gives all that are left.
pub(super) fn write(tx: &Transaction<'_>, away: Away) -> rusqlite::Result<Vec<Away>> {
    tx.execute("insert into away (since, until) values (?1, ?2)", (away.from.0, away.until.0))?;
    tx.execute("delete from away where until < ?1", [away.until.minus(LONGEST_WINDOW).0])?;
    tracing::warn!(from = %away.from, until = %away.until, "Nobody kept the journal in this time: what was decided before is not acted upon");
    read(tx)
}

/// All that are written down.
pub(super) fn read(db: &Connection) -> rusqlite::Result<Vec<Away>> {
    let mut query = db.prepare("select since, until from away order by since")?;
    query.query_map([], |row| Ok(Away { from: Time(row.get(0)?), until: Time(row.get(1)?) }))?.collect()
}
