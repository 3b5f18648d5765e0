//! `paramedic journal tail|verify|export|backup|compact`

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json as value;

use super::output::{Data, json, line, note};
use super::{DataArg, End, Output};
use crate::clock::{Time, parse_duration};
use crate::incident::timeline;
use crate::journal::{Compacted, Entry, JournalError, Reader, backup, compact};

const COMPACT_EXAMPLES: &str = "Examples:
  paramedic journal compact --before 30d --dry-run
  paramedic journal compact --before 30d --archive journal-2026-10.jsonl";

const BACKUP_EXAMPLES: &str = "Examples:
  paramedic journal backup /backup/journal.db";

const EXPORT_EXAMPLES: &str = "Examples:
  paramedic journal export
  paramedic journal export --since 12000 --until 12999";

const VERIFY_EXAMPLES: &str = "Examples:
  paramedic journal verify
  paramedic journal verify --archive journal-2026-09.jsonl journal-2026-10.jsonl";

const TAIL_EXAMPLES: &str = "Examples:
  paramedic journal tail
  paramedic journal tail -n 100 --follow
  paramedic journal tail -n 1 --output json";

/// How often a followed journal is looked at.
const FOLLOW: Duration = Duration::from_millis(500);

/// How often it is told how far a long backup is.
const TELL: Duration = Duration::from_secs(2);

/// Follow, verify, export, back up or compact the journal
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Print the last entries of the journal, and with --follow what comes
    Tail(Tail),
    /// Check that no entry was altered or is missing
    Verify(Verify),
    /// Write entries as JSON lines, with all that is needed to verify their chain
    Export(Export),
    /// Copy the journal to a file, also while a server writes it, and verify the copy
    Backup(Backup),
    /// Remove old entries while no server runs
    Compact(Compact),
}

/// Print the last entries of the journal
#[derive(Args, Debug)]
#[command(after_help = TAIL_EXAMPLES)]
pub struct Tail {
    #[command(flatten)]
    data: DataArg,
    /// So many of the last entries
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: u64,
    /// Go on printing what is written
    #[arg(long, short)]
    follow: bool,
    /// For people, or one JSON object a line for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Check that no entry was altered or is missing
#[derive(Args, Debug)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct Verify {
    #[command(flatten)]
    data: DataArg,
    /// Archives of entries that were removed, to be checked as one chain with the journal
    #[arg(long, value_name = "FILE", num_args = 1..)]
    archive: Vec<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Write entries as JSON lines
#[derive(Args, Debug)]
#[command(after_help = EXPORT_EXAMPLES)]
pub struct Export {
    #[command(flatten)]
    data: DataArg,
    /// Position of the first entry; without it, the first that is kept
    #[arg(long, value_name = "POS")]
    since: Option<u64>,
    /// Position of the last entry; without it, the last that there is
    #[arg(long, value_name = "POS")]
    until: Option<u64>,
    /// What is exported is JSON lines, always
    #[arg(long, value_name = "json", default_value = "json", value_parser = ["json"])]
    output: String,
}

/// Copy the journal to a file
#[derive(Args, Debug)]
#[command(after_help = BACKUP_EXAMPLES)]
pub struct Backup {
    #[command(flatten)]
    data: DataArg,
    /// The new file
    file: PathBuf,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Remove old entries while no server runs
#[derive(Args, Debug)]
#[command(after_help = COMPACT_EXAMPLES)]
pub struct Compact {
    #[command(flatten)]
    data: DataArg,
    /// Remove what is older, such as 30d
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    before: Duration,
    /// Write what is removed to this new file first
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl JournalCommand {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        match self {
            Self::Tail(tail) => tail.run().await,
            Self::Verify(verify) => verify.run(),
            Self::Export(export) => export.run(),
            Self::Backup(backup) => backup.run(),
            Self::Compact(compact) => compact.run(),
        }
    }
}

impl Tail {
    async fn run(self) -> anyhow::Result<End> {
        let mut journal = self.data.journal()?;
        let mut seen = journal.last_pos()?.saturating_sub(self.lines).max(journal.first_pos()? - 1);
        let mut told = String::new();
        loop {
            match journal.tail(seen, 1000) {
                Ok(entries) => {
                    told.clear();
                    for entry in &entries {
                        self.print(entry)?;
                        seen = entry.pos;
                    }
                    if !entries.is_empty() {
                        continue;
                    }
                }
                Err(JournalError::Compacted { first }) => {
                    note(format!("entries {} to {} were removed for their age", seen + 1, first - 1));
                    seen = first - 1;
                    continue;
                }
                Err(error) if self.follow => self.reopen(&mut journal, error, &mut told),
                Err(error) => return Err(error.into()),
            }
            if !self.follow {
                return Ok(End::Fine);
            }
            tokio::select! {
                () = tokio::time::sleep(FOLLOW) => {}
                _ = tokio::signal::ctrl_c() => return Ok(End::Fine),
            }
        }
    }

    /// Who follows wants to go on when a disk or a server is well again; what is wrong is told once.
    fn reopen(&self, journal: &mut Reader, error: JournalError, told: &mut String) {
        let error = match self.data.journal() {
            Ok(again) => {
                *journal = again;
                error.to_string()
            }
            Err(error) => format!("{error:#}"),
        };
        if *told != error {
            note(format!("{error}; looking again"));
            *told = error;
        }
    }

    fn print(&self, entry: &Entry) -> anyhow::Result<()> {
        if self.output == Output::Json {
            let object = value!({
                "pos": entry.pos, "incident": entry.incident, "seq": entry.seq, "at": entry.at.to_string(), "event": entry.event, "hash": entry.hash,
            });
            line(serde_json::to_string(&object)?);
            return Ok(());
        }
        for told in timeline::tell([(entry.at, &entry.event)]) {
            line(format!("{:>6}  {}  {}  {}", entry.pos, told.at, entry.incident, told.text));
        }
        Ok(())
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<End> {
        let journal = self.data.journal()?;
        match journal.verify_with(&self.archive) {
            Ok(whole) if self.output == Output::Json => {
                json(&value!({ "ok": true, "entries": whole.entries, "first": whole.first }))?;
            }
            Ok(whole) if whole.first == 1 => line(format!("{} entries, none altered or missing", whole.entries)),
            Ok(whole) => {
                let when = journal.compacted_at()?.map_or(String::new(), |at| format!(" on {at}"));
                line(format!(
                    "{} entries from {} on, none altered or missing; older ones were removed{when}, and are checked with --archive",
                    whole.entries, whole.first
                ));
            }
            Err(error @ JournalError::Broken { .. }) => {
                if self.output == Output::Json {
                    json(&value!({ "ok": false, "problem": error.to_string() }))?;
                } else {
                    note(error.to_string());
                }
                return Ok(End::Findings);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(End::Fine)
    }
}

impl Export {
    fn run(self) -> anyhow::Result<End> {
        let journal = self.data.journal()?;
        let since = self.since.map_or_else(|| journal.first_pos(), |pos| Ok(pos.max(1)))?;
        let until = self.until.map_or_else(|| journal.last_pos(), Ok)?;
        let mut out = Data::default();
        let written = {
            let mut buffered = BufWriter::with_capacity(1 << 16, &mut out);
            let written = journal.export(since, until, &mut buffered);
            written.map_err(anyhow::Error::from).and_then(|_| buffered.flush().context("stdout cannot be written"))
        };
        if !out.gone {
            written?;
        }
        Ok(End::Fine)
    }
}

impl Backup {
    fn run(self) -> anyhow::Result<End> {
        let mut told = Instant::now();
        let copied = backup(&self.data.folder()?, &self.file, |done, of| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                note(format!("{done} of {of} pages are copied"));
            }
        })?;
        let file = self.file.display().to_string();
        if self.output == Output::Json {
            json(&value!({ "file": file, "entries": copied.entries, "first": copied.first }))?;
        } else {
            line(format!("{file}: {} entries, none altered or missing", copied.entries));
        }
        Ok(End::Fine)
    }
}

impl Compact {
    fn run(self) -> anyhow::Result<End> {
        let before = Time::now().minus(self.before);
        let done = compact(&self.data.folder()?, before, self.archive.as_deref(), self.dry_run)?;
        if self.output == Output::Json {
            let pinned = done
                .pinned
                .as_ref()
                .map(|pin| value!({ "incident": pin.incident, "since": pin.since.to_string(), "open": pin.open }));
            json(&value!({ "removed": done.removed, "first": done.first, "dry_run": self.dry_run, "pinned": pinned }))?;
        } else {
            self.tell(&done);
        }
        Ok(End::Fine)
    }

    fn tell(&self, done: &Compacted) {
        let verb = if self.dry_run { "would be removed" } else { "were removed" };
        line(format!("{} entries {verb}; the journal begins with entry {}", done.removed, done.first));
        if let Some(pin) = &done.pinned {
            let why = if pin.open { "is still open: close it when it is over" } else { "was written to since then" };
            note(format!("older entries are kept, since incident {}, of {}, {why}", pin.incident, pin.since));
        }
    }
}
