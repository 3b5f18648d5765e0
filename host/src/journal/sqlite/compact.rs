//! Retention: the oldest entries are removed, and what is left stays one chain that can be verified.
//!
//! Only a prefix is ever removed: everything before the first entry that is younger than asked for, or that begins an incident
//! which is open or was written to since. The head keeps the anchor, which is the position and hash of the last removed entry,
//! and the numbers of removed incidents are kept, so that no id is ever used twice. Of a closed incident whose beginning was
//! removed, the rest is a remnant: part of the chain, not of the listing. Stamps and holds are no entries and stay.
//! Absent on purpose: removing anything from the middle, and giving pages back while a server runs (they are used again).

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{Reader, explain, folder, schema, signed, unsigned};
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::journal::JournalError;

/// How many entries are removed in one transaction, so that no append waits long for one.
pub(super) const PIECE: u64 = 1_000;

/// What was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// How many entries.
    pub removed: u64,
    /// Position of the first entry that is kept.
    pub first: u64,
    /// What keeps more from being removed although it is old.
    pub pinned: Option<Pin>,
}

/// An incident whose story is kept whole, and with it everything behind its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Which.
    pub incident: IncidentId,
    /// When it began.
    pub since: Time,
    /// True when it is open; else it was written to within the time for which entries are kept.
    pub open: bool,
}

/// Removes what was written before that moment from the journal in this folder, while no server runs. With `archive`, what is
/// removed is written there first, as `export` writes it. With `dry_run` nothing is touched.
///
/// # Errors
/// [`JournalError::Open`] when the journal cannot be opened or a server runs; [`JournalError::NotDone`] when the archive cannot
/// be written, or the journal; the text says what to do.
pub fn compact(dir: &Path, before: Time, archive: Option<&Path>, dry_run: bool) -> Result<Compacted, JournalError> {
    let reader = Reader::open(dir)?;
    if dry_run {
        return plan(reader.connection(), before, u64::MAX).map(|cut| cut.told()).map_err(not_done);
    }
    let hint = "a running server removes old entries by itself, as `journal: {keep: ...}` says";
    let _lock = folder::take(dir).map_err(|e| JournalError::Open(format!("{e}; {hint}")))?;
    let path = folder::database(dir);
    let mut db = schema::connect(&path).map_err(not_done)?;
    schema::check_end(&db, &path)?;
    let whole = plan(&db, before, u64::MAX).map_err(not_done)?;
    if let Some(file) = archive.filter(|_| whole.to > whole.anchor) {
        reader.archive(file, whole.anchor + 1, whole.to)?;
    }
    loop {
        let piece = remove(&mut db, before, PIECE).map_err(not_done)?;
        if piece.first > whole.to || piece.removed == 0 {
            break;
        }
    }
    // Nobody waits: give the pages back. If there is no room for that, they are used again by what is written next.
    if let Err(e) = db.execute_batch("vacuum") {
        tracing::warn!(error = %explain(&e), "The space of removed entries stays with the journal and is used again");
    }
    Ok(whole.told())
}

/// Where the journal would be cut.
struct Cut {
    /// Position of the last entry that was removed before; 0 when none was.
    anchor: u64,
    /// Position of the last entry that would be removed now.
    to: u64,
    pinned: Option<Pin>,
}

impl Cut {
    fn told(&self) -> Compacted {
        Compacted { removed: self.to - self.anchor, first: self.to + 1, pinned: self.pinned.clone() }
    }
}

/// Looks at the first `most` entries.
fn plan(db: &Connection, before: Time, most: u64) -> rusqlite::Result<Cut> {
    let (anchor, last) = db
        .prepare_cached("select anchor, pos from head")?
        .query_row([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))?;
    let end = anchor.saturating_add(most).min(last);
    // Times never decrease, so the first young one ends the search.
    let young: Option<i64> = db
        .prepare_cached("select pos from entry where pos > ?1 and pos <= ?2 and at >= ?3 order by pos limit 1")?
        .query_row((signed(anchor), signed(end), before.0), |row| row.get(0))
        .optional()?;
    let old = young.map_or(end, |pos| unsigned(pos) - 1);
    let pin: Option<(i64, String, i64, bool)> = db
        .prepare_cached(
            "select i.opened, i.id, first.at, i.open from incident i join entry first on first.pos = i.opened
             join entry last on last.incident = i.id and last.seq = i.last_seq
             where i.opened <= ?1 and (i.open = 1 or last.at >= ?2) order by i.opened limit 1",
        )?
        .query_row((signed(old), before.0), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    Ok(match pin {
        None => Cut { anchor, to: old, pinned: None },
        Some((opened, id, since, open)) => {
            let pinned = id.parse().ok().map(|incident| Pin { incident, since: Time(since), open });
            Cut { anchor, to: unsigned(opened) - 1, pinned }
        }
    })
}

/// Removes at most `most` entries in one transaction.
fn remove(db: &mut Connection, before: Time, most: u64) -> rusqlite::Result<Compacted> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let told = remove_within(&tx, before, most)?;
    tx.commit()?;
    Ok(told)
}

/// Removes at most `most` entries.
pub(super) fn remove_within(tx: &Transaction<'_>, before: Time, most: u64) -> rusqlite::Result<Compacted> {
    let cut = plan(tx, before, most)?;
    if cut.to == cut.anchor {
        return Ok(cut.told());
    }
    let to = signed(cut.to);
    tx.prepare_cached(
        "insert into gone (key, n) select key, max(n) from incident where opened <= ?1 group by key
         on conflict (key) do update set n = max(n, excluded.n)",
    )?
    .execute([to])?;
    tx.prepare_cached("delete from incident where opened <= ?1")?.execute([to])?;
    tx.prepare_cached("delete from about where opened <= ?1")?.execute([to])?;
    tx.prepare_cached("delete from appended where append_id in (select append_id from entry where pos <= ?1)")?.execute([to])?;
    tx.prepare_cached(
        "update head set anchor = ?1, anchor_hash = (select hash from entry where pos = ?1), compacted_at = max(at, ?2)",
    )?
    .execute((to, Time::now().0))?;
    tx.prepare_cached("delete from entry where pos <= ?1")?.execute([to])?;
    Ok(cut.told())
}

// Takes it by value to fit `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn not_done(e: rusqlite::Error) -> JournalError {
    JournalError::NotDone(explain(&e))
}
