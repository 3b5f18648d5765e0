//! How far a webhook has been told: a small file per webhook, replaced as a whole and durable before anything is built on it.
//!
//! The journal is the outbox, so this position is all there is to remember; lost, it means that messages are sent again or
//! not at all, which is why the file is never written in place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// How far a webhook has been told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Everything up to this position was told, or is not its business.
    pub pos: u64,
    /// When it was last told of holds by a rule under a policy (`rule policy`).
    #[serde(default)]
    pub holding: BTreeMap<String, Time>,
}

/// Where the file of a webhook is.
pub fn path(data: &Path, name: &str) -> PathBuf {
    data.join("notify").join(format!("{name}.json"))
}

/// Reads it; `None` when there is none.
///
/// # Errors
/// When it is there and cannot be understood.
pub fn load(path: &Path) -> io::Result<Option<Cursor>> {
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(meta) if meta.len() > MOST_BYTES => return Err(io::Error::other("it is too large to be ours")),
        Ok(_) => fs::read(path)?,
    };
    serde_json::from_slice(&text).map(Some).map_err(io::Error::other)
}

/// Replaces it; durable once this returns.
///
/// # Errors
/// When it could not be made durable; the old one is there still.
pub fn save(path: &Path, cursor: &Cursor) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("no folder"))?;
    if !folder.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        folder.parent().map_or(Ok(()), sync)?;
    }
    let partial = path.with_extension("part");
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
    file.write_all(&serde_json::to_vec(cursor).map_err(io::Error::other)?)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    sync(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Cursor {
    /// Is it time to tell of holds by this rule under this policy, when one was written at this moment?
    pub fn is_due(&self, group: &str, at: Time, every: Duration) -> bool {
        self.holding.get(group).is_none_or(|last| at.since(*last) >= every)
    }

    /// Remembers that it was told, and forgets what does not count any more.
    pub fn told(&mut self, group: String, at: Time, every: Duration) {
        self.holding.retain(|_, last| at.since(*last) < every);
        self.holding.insert(group, at);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_saved_is_read_and_what_is_broken_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "chat");
        assert_eq!(load(&path).unwrap(), None);
        let mut cursor = Cursor { pos: 7, ..Cursor::default() };
        cursor.told("storm heal".to_owned(), Time(5), Duration::from_secs(1));
        save(&path, &cursor).unwrap();
        assert_eq!(load(&path).unwrap(), Some(cursor.clone()));
        // A file that was left behind half written is no harm.
        fs::write(path.with_extension("part"), "{").unwrap();
        cursor.pos = 8;
        save(&path, &cursor).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().pos, 8);
        fs::write(&path, "{\"pos\":").unwrap();
        load(&path).unwrap_err();
    }

    #[test]
    fn a_group_is_told_again_after_its_time_and_then_forgotten() {
        let (mut cursor, hour) = (Cursor::default(), Duration::from_secs(3_600));
        assert!(cursor.is_due("a", Time(0), hour));
        cursor.told("a".to_owned(), Time(0), hour);
        assert!(!cursor.is_due("a", Time(3_599_999), hour) && cursor.is_due("a", Time(3_600_000), hour));
        assert!(cursor.is_due("b", Time(0), hour));
        cursor.told("b".to_owned(), Time(3_600_000), hour);
        assert_eq!(cursor.holding.keys().collect::<Vec<_>>(), ["b"]);
    }
}
