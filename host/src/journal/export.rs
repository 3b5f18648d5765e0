//! Entries as JSON lines, with all that is needed to verify their chain elsewhere, and the way back from such lines.
//!
//! The body is the exact text that was chained, as a string, and each line names the hash before it, so that a file can be
//! verified alone: SHA-256 over `previous`, `pos`, `incident`, `seq`, `at`, `version` and `body`, joined by line ends, is `hash`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::JournalError;
use super::chain::Chain;
use super::entry::Row;
use crate::clock::Time;

/// The longest line that is read: a body of the largest size, every character escaped.
const LINE_BYTES: u64 = 128 << 20;

#[derive(Serialize, Deserialize)]
struct Line {
    pos: u64,
    incident: String,
    seq: u64,
    at: i64,
    version: u32,
    kind: String,
    body: String,
    append_id: String,
    previous: String,
    hash: String,
}

/// Writes an entry as a line.
pub(super) fn write(out: &mut dyn Write, row: Row, previous: String) -> std::io::Result<()> {
    let Row { pos, incident, seq, at, version, kind, body, append_id, hash } = row;
    let line = Line { pos, incident, seq, at: at.0, version, kind, body, append_id, previous, hash };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Walks archives, in the order of their first positions, as one chain; gives where it ends. `None` when there are none.
pub(super) fn walk(files: &[PathBuf]) -> Result<Option<Chain>, JournalError> {
    let mut ordered = Vec::new();
    for file in files {
        ordered.push((first(file)?, file));
    }
    ordered.sort();
    let mut chain: Option<Chain> = None;
    for (_, file) in ordered {
        read(file, |line, number| {
            let previous = line.previous.clone();
            let row = Row::from(line);
            let before = row.pos.saturating_sub(1);
            let chain = chain.get_or_insert_with(|| Chain::behind(before, previous));
            if row.pos <= chain.pos() {
                return Err(unreadable(file, number, &format!("entry {} stands in another archive, too", row.pos)));
            }
            chain.next(&row)
        })?;
    }
    Ok(chain)
}

fn first(file: &Path) -> Result<u64, JournalError> {
    let mut first = None;
    let found = read(file, |line, _| {
        first = Some(line.pos);
        // Only a way to stop.
        Err(JournalError::Unreadable(String::new()))
    });
    match (first, found) {
        (Some(pos), _) => Ok(pos),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(unreadable(file, 1, "the file is empty")),
    }
}

fn read(file: &Path, mut each: impl FnMut(Line, u64) -> Result<(), JournalError>) -> Result<(), JournalError> {
    let fail = |e: std::io::Error| JournalError::Unreadable(format!("{} cannot be read: {e}", file.display()));
    let mut input = BufReader::new(std::fs::File::open(file).map_err(fail)?);
    for number in 1.. {
        let mut text = String::new();
        if std::io::Read::take(&mut input, LINE_BYTES).read_line(&mut text).map_err(fail)? == 0 {
            break;
        }
        let line = serde_json::from_str(&text).map_err(|e| unreadable(file, number, &e.to_string()))?;
        each(line, number)?;
    }
    Ok(())
}

fn unreadable(file: &Path, line: u64, why: &str) -> JournalError {
    JournalError::Unreadable(format!("{}:{line}: this is not what `paramedic journal export` writes: {why}", file.display()))
}

impl From<Line> for Row {
    fn from(line: Line) -> Self {
        let Line { pos, incident, seq, at, version, kind, body, append_id, hash, .. } = line;
        Self { pos, incident, seq, at: Time(at), version, kind, body, append_id, hash }
    }
}
