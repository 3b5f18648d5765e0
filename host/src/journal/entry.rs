//! One line of the journal, as it is read, stored and chained.
//!
//! Each entry carries a SHA-256 over the entry before it and itself, so that a changed, removed or inserted one is noticed.
//! Bodies are JSON with a version; fields are only ever added. Absent on purpose: signatures. Who can write the file
//! can also compute the chain anew; a copy of the last hash kept elsewhere shows even that.

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::JournalError;
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::Event;

/// The version of the bodies that this Paramedic writes, and the newest it can read.
pub const VERSION: u32 = 1;

/// What stands for the hash before the first entry.
pub const FIRST_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Position in the whole journal, from 1, without gaps.
    pub pos: u64,
    /// Whose story.
    pub incident: IncidentId,
    /// Number in the incident, from 1, without gaps.
    pub seq: u64,
    /// The journal's time: never earlier than that of the entry before.
    pub at: Time,
    /// Version of the body.
    pub version: u32,
    /// What happened.
    pub event: Event,
    /// The append that wrote it.
    #[serde(serialize_with = "as_text")]
    pub append_id: Uuid,
    /// Hash of this entry and, through the one before, of all before it: 64 hex digits.
    pub hash: String,
}

fn as_text<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// An entry as it lies in the store, not yet understood.
#[derive(Debug)]
pub(super) struct Row {
    pub pos: u64,
    pub incident: String,
    pub seq: u64,
    pub at: Time,
    pub version: u32,
    pub kind: String,
    pub body: String,
    pub append_id: String,
    pub hash: String,
}

impl Row {
    /// The hash it must have behind an entry with the hash `previous`.
    pub fn chain(&self, previous: &str) -> String {
        chain(previous, self.pos, &self.incident, self.seq, self.at, self.version, &self.body)
    }
}

impl TryFrom<Row> for Entry {
    type Error = JournalError;

    fn try_from(row: Row) -> Result<Self, JournalError> {
        let Row { pos, seq, at, version, kind, hash, .. } = row;
        let unreadable =
            |why: String| JournalError::Unreadable(format!("entry {pos} (`{}`, version {version}) {why}", kind.escape_debug()));
        if version > VERSION {
            return Err(unreadable(format!(
                "was written by a newer Paramedic than this one ({}): read it with that one",
                env!("CARGO_PKG_VERSION")
            )));
        }
        let event: Event = serde_json::from_str(&row.body).map_err(|e| {
            unreadable(format!(
                "is not understood by this Paramedic ({}); if a newer one wrote it, read it with that one: {e}",
                env!("CARGO_PKG_VERSION")
            ))
        })?;
        let incident = row.incident.parse().map_err(&unreadable)?;
        let append_id = row.append_id.parse().map_err(|e: uuid::Error| unreadable(e.to_string()))?;
        Ok(Self { pos, incident, seq, at, version, event, append_id, hash })
    }
}

/// The hash of an entry: SHA-256 over lines of text, so that it can be checked with `sha256sum` too. The body is the last
/// line and the lines before it cannot hold a line end, so no two entries give the same text.
pub fn chain(previous: &str, pos: u64, incident: &str, seq: u64, at: Time, version: u32, body: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{previous}\n{pos}\n{incident}\n{seq}\n{}\n{version}\n", at.0));
    hash.update(body);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(version: u32, kind: &str, body: &str) -> Row {
        Row {
            pos: 7,
            incident: "0123456789abcdef-1".to_owned(),
            seq: 2,
            at: Time(5),
            version,
            kind: kind.to_owned(),
            body: body.to_owned(),
            append_id: Uuid::nil().to_string(),
            hash: FIRST_HASH.to_owned(),
        }
    }

    #[test]
    fn what_is_newer_is_named_and_not_guessed() {
        let newer = Entry::try_from(row(2, "begun", r#"{"kind":"begun","intent":1}"#)).unwrap_err().to_string();
        assert!(newer.contains("entry 7") && newer.contains("newer Paramedic"), "{newer}");
        let unknown = Entry::try_from(row(1, "teleported", r#"{"kind":"teleported"}"#)).unwrap_err().to_string();
        assert!(unknown.contains("`teleported`") && unknown.contains("newer"), "{unknown}");
        assert_eq!(Entry::try_from(row(1, "begun", r#"{"kind":"begun","intent":1}"#)).unwrap().event, Event::Begun { intent: 1 });
    }

    #[test]
    fn every_part_counts_in_the_hash() {
        let hash = |row: &Row, before: &str| row.chain(before);
        let first = row(1, "begun", "{}");
        let base = hash(&first, FIRST_HASH);
        assert_eq!(base.len(), 64);
        let altered = [
            Row { pos: 8, ..row(1, "begun", "{}") },
            Row { incident: "0123456789abcdef-2".to_owned(), ..row(1, "begun", "{}") },
            Row { seq: 3, ..row(1, "begun", "{}") },
            Row { at: Time(6), ..row(1, "begun", "{}") },
            row(2, "begun", "{}"),
            row(1, "begun", "{ }"),
        ];
        for other in &altered {
            assert_ne!(hash(other, FIRST_HASH), base, "{other:?}");
        }
        assert_ne!(hash(&first, &base), base);
    }
}
