//! What belongs to one sandbox and dies with it: what the plugin is told, what it has made and said, and how much it may use.
//!
//! Everything here is bounded, since the plugin drives it. Absent on purpose: anything shared between two sandboxes.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;

use super::lookup::Record;
use super::question::Brief;
use super::sandbox::Limits;
use crate::incident::LogLine;
use crate::telemetry::clean;

/// Lines that are kept of what a plugin says about one question.
const MAX_LINES: usize = 100;
/// Characters that are kept of one line.
const MAX_LINE_CHARS: usize = 1000;
/// Bytes of an unfinished line of standard output; enough for [`MAX_LINE_CHARS`] of any script.
const MAX_PARTIAL_BYTES: usize = 4 * MAX_LINE_CHARS;
/// Handles of proposals and streams that may exist at once.
pub(super) const MAX_HANDLES: usize = 128;
/// Elements of all tables of one sandbox together; interpreters compiled to WebAssembly need some ten thousand.
const MAX_TABLE_ELEMENTS: usize = 200_000;

/// The state of one sandbox.
pub(super) struct Guest {
    /// What the plugin is told; `None` while it describes itself.
    pub(super) brief: Option<Brief>,
    /// What its handles stand for.
    pub(super) table: ResourceTable,
    /// How many proposals it holds.
    pub(super) proposals: usize,
    /// How many bytes these have.
    pub(super) proposed_bytes: usize,
    /// What it says.
    pub(super) notes: Notes,
    /// What it uses.
    pub(super) meter: Meter,
    /// What it may use.
    pub(super) limits: Limits,
    /// What it said it may ever look at.
    pub(super) declared: Vec<&'static str>,
    /// What it has looked at; shared with whoever waits for the answer.
    pub(super) record: Arc<Mutex<Record>>,
    /// Set when it has computed for so long that it has to go on elsewhere; then its lookups are still made here.
    pub(super) slow: Arc<Slow>,
    /// When its time is up.
    pub(super) deadline: Instant,
}

impl Guest {
    /// A sandbox's state before the plugin runs; its time begins now.
    pub(super) fn new(brief: Option<Brief>, declared: &[&'static str], limits: &Limits) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            brief,
            table,
            proposals: 0,
            proposed_bytes: 0,
            notes: Notes::default(),
            meter: Meter { memory: 0, max_memory: usize::try_from(limits.memory).unwrap_or(usize::MAX), table: 0, over: None },
            deadline: Instant::now() + limits.deadline,
            limits: limits.clone(),
            declared: declared.to_vec(),
            record: Arc::default(),
            slow: Arc::default(),
        }
    }
}

/// Where the lookups of a slow plugin are made: the runtime that it was asked on.
pub(super) type Slow = OnceLock<tokio::runtime::Handle>;

/// The plugin did what the contract forbids; ends the call.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Overstep(pub(super) String);

/// The plugin's time was up while it computed; ends the call.
#[derive(Debug, thiserror::Error)]
#[error("its time was up")]
pub(super) struct TimeUp;

/// Which limit a plugin ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Memory.
    Memory,
    /// Elements of tables.
    Table,
}

/// Counts what all memories and tables of a sandbox use together; wasmtime's own limits are for each one alone.
pub(super) struct Meter {
    /// Bytes that its memories have; they never shrink.
    pub(super) memory: usize,
    max_memory: usize,
    table: usize,
    /// The limit that ended the call, if one did.
    pub(super) over: Option<Over>,
}

impl Meter {
    /// Ends the call: a plugin that is merely told "no more memory" dies a moment later of something harder to explain.
    fn stop(&mut self, over: Over) -> wasmtime::Result<bool> {
        self.over = Some(over);
        Err(Overstep("more than it may use".to_owned()).into())
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_add(desired.saturating_sub(current));
        if wanted > self.max_memory {
            return self.stop(Over::Memory);
        }
        self.memory = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table.saturating_add(desired.saturating_sub(current));
        if wanted > MAX_TABLE_ELEMENTS {
            return self.stop(Over::Table);
        }
        self.table = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        100
    }

    fn memories(&self) -> usize {
        16
    }

    fn tables(&self) -> usize {
        100
    }
}

/// What a plugin says, kept in bounds; shared with the streams it writes to.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    lines: Vec<LogLine>,
    dropped: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Which of its outputs a plugin writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipe {
    /// Standard output, kept as `info`.
    Stdout,
    /// Standard error, kept as `error`.
    Stderr,
}

impl Notes {
    /// Keeps one line.
    pub(super) fn log(&self, level: &str, message: &str) {
        self.kept().push(level, message);
    }

    /// Keeps what was written to one of the outputs, line by line.
    pub(super) fn write(&self, pipe: Pipe, bytes: &[u8]) {
        let mut kept = self.kept();
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines.by_ref().for_each(|part| kept.part(pipe, part));
    }

    /// All lines, in their order, and then how many more there were.
    pub(super) fn take(&self) -> Vec<LogLine> {
        let mut kept = self.kept();
        for pipe in [Pipe::Stdout, Pipe::Stderr] {
            kept.end_line(pipe);
        }
        if kept.dropped > 0 {
            let message = format!("{} more lines were not kept", kept.dropped);
            kept.lines.push(LogLine { level: "warn".to_owned(), message });
        }
        std::mem::take(&mut kept.lines)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, level: &str, message: &str) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(LogLine { level: level.to_owned(), message: clean(message, MAX_LINE_CHARS) });
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn partial(&mut self, pipe: Pipe) -> &mut Vec<u8> {
        match pipe {
            Pipe::Stdout => &mut self.stdout,
            Pipe::Stderr => &mut self.stderr,
        }
    }

    fn part(&mut self, pipe: Pipe, part: &[u8]) {
        let partial = self.partial(pipe);
        let room = MAX_PARTIAL_BYTES.saturating_sub(partial.len());
        partial.extend_from_slice(&part[..part.len().min(room)]);
        if part.ends_with(b"\n") {
            self.end_line(pipe);
        }
    }

    fn end_line(&mut self, pipe: Pipe) {
        let line = std::mem::take(self.partial(pipe));
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            self.push(if pipe == Pipe::Stdout { "info" } else { "error" }, text);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_is_summed_over_all_memories() {
        let mut meter = Meter { memory: 0, max_memory: 1000, table: 0, over: None };
        assert!(meter.memory_growing(0, 600, None).unwrap());
        assert!(meter.memory_growing(0, 400, None).unwrap());
        assert!(meter.memory_growing(400, 401, None).is_err());
        assert_eq!(meter.over, Some(Over::Memory));
    }

    #[test]
    fn tables_are_summed_too() {
        let mut meter = Meter { memory: 0, max_memory: 0, table: 0, over: None };
        assert!(meter.table_growing(0, MAX_TABLE_ELEMENTS, None).unwrap());
        assert!(meter.table_growing(0, 1, None).is_err());
        assert_eq!(meter.over, Some(Over::Table));
    }

    #[test]
    fn output_becomes_lines() {
        let notes = Notes::default();
        notes.write(Pipe::Stdout, b"one\ntw");
        notes.write(Pipe::Stderr, b"oh\xff\n\n");
        notes.write(Pipe::Stdout, b"o");
        let lines: Vec<_> = notes.take().into_iter().map(|l| (l.level, l.message)).collect();
        let expected = [("info", "one"), ("error", "oh\u{fffd}"), ("info", "two")];
        assert_eq!(lines, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let notes = Notes::default();
        notes.write(Pipe::Stdout, "x".repeat(1 << 20).as_bytes());
        notes.write(Pipe::Stdout, b"\n");
        (0..500).for_each(|_| notes.log("info", "again"));
        let lines = notes.take();
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines[0].message.chars().count(), MAX_LINE_CHARS);
        assert_eq!(lines[MAX_LINES].message, "401 more lines were not kept");
    }
}
