//! Reading the journal, beside the one who writes it.
//!
//! A read sees whatever was committed when it began. It proves nothing: act only on an acknowledged append. The
//! functions block; in a server go through [`crate::journal::Journal`], which gives them a thread.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params};

use super::schema::{Tables, tables};
use super::{explain, folder, signed, unsigned};
use crate::action::Target;
use crate::alert::{IncidentId, Key};
use crate::clock::Time;
use crate::incident::Incident;
use crate::journal::brakes::Counts;
use crate::journal::chain::{Chain, Told};
use crate::journal::entry::{Entry, Row};
use crate::journal::storm::Storm;
use crate::journal::{Appended, JournalError, Listed, Opened, Spend, Verified, brakes, export, replay};

/// How long to wait for a lock; a writer in WAL mode holds up readers only while the database is opened or recovered.
const BUSY: Duration = Duration::from_secs(5);

/// How many entries are exported at a time.
const PAGE: u32 = 1_000;

const COLUMNS: &str = "pos, incident, seq, at, version, kind, body, append_id, hash";

/// The journal, open for reading only; also while a server writes it.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
}

impl Reader {
    /// Opens the journal in this folder.
    ///
    /// # Errors
    /// [`JournalError::Open`] when there is none, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let missing = || {
            let dir = dir.display();
            JournalError::Open(format!(
                "there is no journal in {dir}: `paramedic serve` makes it; is `data` right, and the user?"
            ))
        };
        let path = folder::database(dir);
        if !path.exists() {
            return Err(missing());
        }
        Self::connect(&path)?.ok_or_else(missing)
    }

    /// Opens a copy of a journal.
    pub(super) fn at(path: &Path) -> Result<Self, JournalError> {
        Self::connect(path)?.ok_or_else(|| JournalError::Open(format!("{} holds no journal", path.display())))
    }

    /// `None` when no table was made yet.
    fn connect(path: &Path) -> Result<Option<Self>, JournalError> {
        let open = || {
            let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            db.busy_timeout(BUSY)?;
            Ok(db)
        };
        let db = open().map_err(|e: rusqlite::Error| {
            JournalError::Open(format!("the journal {} cannot be opened: {}", path.display(), explain(&e)))
        })?;
        match tables(&db, path)? {
            Tables::Ours => Ok(Some(Self { db })),
            Tables::None => Ok(None),
            Tables::Older(_) => Err(JournalError::Open(format!(
                "the journal {} was written by an older Paramedic: start `paramedic serve` once, which brings it up to date",
                path.display()
            ))),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.db
    }

    /// Incidents, the newest first, at most `limit`; only open ones if asked for.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn list(&self, open_only: bool, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        Ok(self.page(u64::MAX, open_only, limit)?.into_iter().map(|opened| opened.id).collect())
    }

    /// Incidents that were opened before that position, the newest first, at most `limit`; only open ones if asked for.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn page(&self, before: u64, open_only: bool, limit: usize) -> Result<Vec<Opened>, JournalError> {
        // Two texts, so that each has its index.
        let sql = if open_only {
            "select id, opened from incident where open = 1 and opened < ?1 order by opened desc limit ?2"
        } else {
            "select id, opened from incident where opened < ?1 order by opened desc limit ?2"
        };
        let read = || -> rusqlite::Result<Vec<(String, i64)>> {
            let mut query = self.db.prepare_cached(sql)?;
            query.query_map((signed(before), bound(limit)), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let rows = read().map_err(unreadable)?;
        rows.into_iter().map(|(id, pos)| Ok(Opened { id: parse_id(&id)?, pos: unsigned(pos) })).collect()
    }

    /// All open incidents in the order of their opening.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn open_incidents(&self) -> Result<Vec<IncidentId>, JournalError> {
        self.ids("select id from incident where open = 1 order by opened", [])
    }

    /// Open incidents whose timer is due by the journal's time, the longest due first, at most `limit`.
    pub(super) fn due(&self, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        let now = self.time().map_err(unreadable)?;
        self.ids("select incident from timer where due <= ?1 order by due, incident limit ?2", (now.0, bound(limit)))
    }

    /// Which incidents hold the lock of this key.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn holders(&self, key: &str) -> Result<Vec<IncidentId>, JournalError> {
        self.ids("select incident from hold where k = ?1 order by incident", [key])
    }

    /// Incidents about this target that were opened at that time or later, the newest first, at most `limit`.
    pub(super) fn about(&self, target: &Target, since: Time, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut query = self.db.prepare_cached(
                "select e.incident, e.at from about a join entry e on e.pos = a.opened where a.target = ?1 order by a.opened desc",
            )?;
            let mut rows = query.query([target.to_string()])?;
            let mut found = Vec::new();
            // Times never decrease, so the first older one ends the search.
            while let Some(row) = rows.next()?.filter(|_| found.len() < limit) {
                if row.get::<_, i64>(1)? < since.0 {
                    break;
                }
                found.push(row.get(0)?);
            }
            Ok(found)
        };
        read().map_err(unreadable)?.iter().map(|id| parse_id(id)).collect()
    }

    /// The last storm among the newcomers of this key, over or not.
    pub(super) fn storm(&self, key: &str) -> Result<Option<Storm>, JournalError> {
        self.db.storm(key).map_err(unreadable)
    }

    /// The newest incident of this key.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn latest(&self, key: &Key) -> Result<Option<Listed>, JournalError> {
        let found: Option<(String, bool)> = self
            .db
            .prepare_cached("select id, open, n from incident where key = ?1 union all select key || '-' || n, 0, n from gone where key = ?1 order by n desc limit 1")
            .and_then(|mut query| query.query_row([key.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional())
            .map_err(unreadable)?;
        found.map(|(id, open)| Ok(Listed { id: parse_id(&id)?, open })).transpose()
    }

    /// The incident that a person means: its id, or the beginning of one that no other key shares. The beginning of a key
    /// means its latest incident.
    ///
    /// # Errors
    /// [`JournalError::NoSuch`] when there is none, or several keys begin so.
    pub fn find(&self, prefix: &str) -> Result<IncidentId, JournalError> {
        let text = prefix.trim().to_ascii_lowercase();
        let shown: String = prefix.chars().take(40).collect();
        let shown = shown.escape_debug();
        if let Some(exact) = self.ids("select id from incident where id = ?1", [&text])?.pop() {
            return Ok(exact);
        }
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        // `~` sorts behind every character of an id.
        let mut latest = if plain {
            self.ids("select id, max(n) from incident where id >= ?1 and id < ?1 || '~' group by key limit 4", [&text])?
        } else {
            Vec::new()
        };
        match (latest.pop(), latest.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(one), false) => Err(JournalError::NoSuch(format!(
                "several incidents begin with `{shown}`, such as {one} and {}: write more of the id",
                latest[0]
            ))),
            (None, _) => Err(JournalError::NoSuch(format!(
                "there is no incident `{shown}`: `paramedic incident list` shows their ids, and the beginning of one is enough"
            ))),
        }
    }

    /// The incident, computed from its entries; `None` when there is none.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn incident(&self, incident: &IncidentId) -> Result<Option<Incident>, JournalError> {
        Ok(replay::incident(incident, &self.read(incident, 0, usize::MAX)?))
    }

    /// The incident's entries behind number `after_seq`, at most `limit`. Of an incident whose beginning was removed there are
    /// none.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`], also when one is missing.
    pub fn read(&self, incident: &IncidentId, after_seq: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let sql = format!("select {COLUMNS} from entry where incident = ?1 and seq > ?2 order by seq limit ?3");
        let entries = self.entries(&sql, (incident.to_string(), signed(after_seq), bound(limit)))?;
        match contiguous(&entries, after_seq, |entry| entry.seq) {
            Err(_) if self.ids("select id from incident where id = ?1", [incident.to_string()])?.is_empty() => Ok(Vec::new()),
            checked => checked.map(|()| entries),
        }
    }

    /// The entries of the whole journal behind position `after_pos`, at most `limit`, without gaps.
    ///
    /// # Errors
    /// [`JournalError::Compacted`] when the next one was removed for its age, [`JournalError::Unreadable`], also when one is
    /// missing.
    pub fn tail(&self, after_pos: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let sql = format!("select {COLUMNS} from entry where pos > ?1 order by pos limit ?2");
        let entries = self.entries(&sql, (signed(after_pos), bound(limit)))?;
        // Asked behind the entries: it may have been removed meanwhile.
        let first = self.first_pos()?;
        if after_pos + 1 < first && entries.first().is_none_or(|entry| entry.pos > after_pos + 1) {
            return Err(JournalError::Compacted { first });
        }
        contiguous(&entries, after_pos, |entry| entry.pos)?;
        Ok(entries)
    }

    /// Position of the first entry that is kept; one behind the last when none is.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn first_pos(&self) -> Result<u64, JournalError> {
        self.db.query_row("select anchor + 1 from head", [], |row| row.get(0)).map(unsigned).map_err(unreadable)
    }

    /// When entries were last removed for their age, if ever.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn compacted_at(&self) -> Result<Option<Time>, JournalError> {
        let at = self.db.query_row("select compacted_at from head", [], |row| row.get::<_, Option<i64>>(0));
        at.map(|at| at.map(Time)).map_err(unreadable)
    }

    /// Position of the last entry; 0 when there is none.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn last_pos(&self) -> Result<u64, JournalError> {
        self.db.query_row("select pos from head", [], |row| row.get(0)).map(unsigned).map_err(unreadable)
    }

    /// Walks the whole journal and checks that each entry is the one that was written; gives their number.
    ///
    /// # Errors
    /// [`JournalError::Broken`] with the first entry that is not.
    pub fn verify(&self) -> Result<u64, JournalError> {
        self.verify_with(&[]).map(|verified| verified.entries)
    }

    /// Walks these archives and the whole journal as one chain.
    ///
    /// # Errors
    /// [`JournalError::Broken`] with the first entry that is not the one that was written, or that is missing between them;
    /// [`JournalError::Unreadable`] when an archive cannot be read.
    pub fn verify_with(&self, archives: &[PathBuf]) -> Result<Verified, JournalError> {
        let archived = export::walk(archives)?;
        // One transaction: the entries and what is derived from them belong to one moment, also while a server writes.
        let tx = self.db.unchecked_transaction().map_err(unreadable)?;
        let (pos, hash, anchor, anchor_hash) = tx
            .query_row("select pos, hash, anchor, anchor_hash from head", [], |row| {
                Ok((unsigned(row.get(0)?), row.get::<_, String>(1)?, unsigned(row.get(2)?), row.get::<_, String>(3)?))
            })
            .map_err(unreadable)?;
        let mut chain = match archived {
            Some(chain) if chain.ends_with(anchor, &anchor_hash) => chain,
            Some(chain) => {
                let message = format!(
                    "the archives end with it, but the journal begins behind entry {anchor}: one is missing, or it is another journal's"
                );
                return Err(JournalError::Broken { pos: chain.pos(), message });
            }
            None if anchor == 0 => Chain::new(),
            None => Chain::behind(anchor, anchor_hash),
        };
        let mut query = tx.prepare(&format!("select {COLUMNS} from entry order by pos")).map_err(unreadable)?;
        for row in query.query_map([], row).map_err(unreadable)? {
            chain.next(&row.map_err(unreadable)?)?;
        }
        let first = chain.first();
        chain.end((pos, &hash), anchor, &listed(&tx).map_err(unreadable)?)?;
        // Pages that no entry was read from, such as those of an index.
        let database: String = tx.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(unreadable)?;
        if database != "ok" {
            return Err(JournalError::Unreadable(format!(
                "the database is damaged: {database}; all entries are there: export them"
            )));
        }
        Ok(Verified { first, entries: pos + 1 - first })
    }

    /// Writes the entries from `since` to `until` as JSON lines; gives how many.
    ///
    /// # Errors
    /// [`JournalError::Compacted`] when some were removed; [`JournalError::Unreadable`], also when it cannot be written there.
    pub fn export(&self, since: u64, until: u64, out: &mut dyn Write) -> Result<u64, JournalError> {
        let first = self.first_pos()?;
        if since < first {
            return Err(JournalError::Compacted { first });
        }
        let hash = |sql: &str, params: &[i64]| self.db.query_row(sql, rusqlite::params_from_iter(params), |row| row.get(0));
        let mut previous: String = match since - first {
            0 => hash("select anchor_hash from head", &[]),
            _ => hash("select hash from entry where pos = ?1", &[signed(since - 1)]),
        }
        .map_err(unreadable)?;
        let mut next = since;
        while next <= until {
            let sql = format!("select {COLUMNS} from entry where pos >= ?1 and pos <= ?2 order by pos limit {PAGE}");
            // In pages, so that a long export holds up no checkpoint.
            let rows = self.rows(&sql, (signed(next), signed(until))).map_err(unreadable)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if row.pos != next {
                    return Err(JournalError::Unreadable(format!("entry {next} is missing: was it removed meanwhile?")));
                }
                next += 1;
                let hash = row.hash.clone();
                export::write(out, row, std::mem::replace(&mut previous, hash))
                    .map_err(|e| JournalError::Unreadable(format!("it cannot be exported: {e}")))?;
            }
        }
        Ok(next - since)
    }

    /// Exports to a new file, durably.
    pub(super) fn archive(&self, to: &Path, since: u64, until: u64) -> Result<(), JournalError> {
        let fail = |e: &dyn std::fmt::Display| {
            JournalError::NotDone(format!("the archive {} cannot be written, so nothing was removed: {e}", to.display()))
        };
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(to).map_err(|e| fail(&e))?;
        let written = || -> Result<(), JournalError> {
            let mut out = BufWriter::new(&file);
            let count = self.export(since, until, &mut out)?;
            if count != until + 1 - since {
                return Err(fail(&format!("only {count} entries were found")));
            }
            out.flush().and_then(|()| file.sync_all()).map_err(|e| fail(&e))?;
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| fail(&e))
        };
        written().inspect_err(|_| {
            // Half an archive is none, and would be in the way of the next try.
            let _ = std::fs::remove_file(to);
        })
    }

    /// The journal's time: the clock's, but never earlier than that of the last entry.
    fn time(&self) -> rusqlite::Result<Time> {
        let at = self.db.prepare_cached("select at from head")?.query_row([], |row| row.get(0))?;
        Ok(Time(at).max(Time::now()))
    }

    /// The brakes as they are now, for asking again.
    pub(super) fn room(&self, incident: &IncidentId, spend: &[Spend]) -> Result<Option<Appended>, JournalError> {
        self.time().and_then(|now| brakes::check(&self.db, now, incident, spend)).map_err(unreadable)
    }

    fn ids(&self, sql: &str, params: impl Params) -> Result<Vec<IncidentId>, JournalError> {
        let ids: Vec<String> = self.column(sql, params).map_err(unreadable)?;
        ids.iter().map(|id| parse_id(id)).collect()
    }

    fn column<T: FromSql>(&self, sql: &str, params: impl Params) -> rusqlite::Result<Vec<T>> {
        self.db.prepare_cached(sql)?.query_map(params, |row| row.get(0))?.collect()
    }

    fn entries(&self, sql: &str, params: impl Params) -> Result<Vec<Entry>, JournalError> {
        self.rows(sql, params).map_err(unreadable)?.into_iter().map(Entry::try_from).collect()
    }

    fn rows(&self, sql: &str, params: impl Params) -> rusqlite::Result<Vec<Row>> {
        self.db.prepare_cached(sql)?.query_map(params, row)?.collect()
    }
}

/// What is kept beside the entries, by incident.
fn listed(db: &Connection) -> rusqlite::Result<BTreeMap<String, Told>> {
    let sql = "select coalesce(id, incident), coalesce(opened, 0), coalesce(last_seq, 0), coalesce(open, 0), due
               from incident full join timer on incident = id";
    db.prepare(sql)?
        .query_map([], |row| {
            let (opened, last) = (unsigned(row.get(1)?), unsigned(row.get(2)?));
            Ok((row.get(0)?, Told { opened, last, open: row.get(3)?, due: row.get::<_, Option<i64>>(4)?.map(Time) }))
        })?
        .collect()
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        pos: unsigned(row.get(0)?),
        incident: row.get(1)?,
        seq: unsigned(row.get(2)?),
        at: Time(row.get(3)?),
        version: row.get(4)?,
        kind: row.get(5)?,
        body: row.get(6)?,
        append_id: row.get(7)?,
        hash: row.get(8)?,
    })
}

fn contiguous(entries: &[Entry], after: u64, number: fn(&Entry) -> u64) -> Result<(), JournalError> {
    match entries.iter().zip(after + 1..).find(|(entry, expected)| number(entry) != *expected) {
        None => Ok(()),
        Some((entry, expected)) => Err(JournalError::Unreadable(format!(
            "number {expected} is missing before entry {} of {}: `paramedic journal verify` says more",
            entry.pos, entry.incident
        ))),
    }
}

fn parse_id(text: &str) -> Result<IncidentId, JournalError> {
    text.parse().map_err(JournalError::Unreadable)
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

// Takes it by value to fit `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn unreadable(e: rusqlite::Error) -> JournalError {
    JournalError::Unreadable(explain(&e))
}
