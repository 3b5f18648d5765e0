//! What commands print: everything that reaches the terminal goes through here.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place that writes to the terminal")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How often a line tells how far it is, where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Prints an error with its causes and gives the exit code of «could not run».
pub(super) fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(2)
}

/// Prints one line. A reader that went away (`| head`) is no error.
pub(super) fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

/// Prints one line for people beside the data, to stderr.
pub(super) fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
}

/// Prints a value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// How far something is that takes a while, on stderr: a bar on a terminal, a line every few seconds elsewhere.
pub(super) struct Progress {
    what: &'static str,
    began: Instant,
    told: std::cell::Cell<Instant>,
    bar: bool,
}

impl Progress {
    /// Nothing is printed yet.
    pub(super) fn of(what: &'static str) -> Self {
        let now = Instant::now();
        Self { what, began: now, told: std::cell::Cell::new(now), bar: std::io::stderr().is_terminal() }
    }

    /// So many of so many are done.
    pub(super) fn tell(&self, done: u64, of: u64) {
        let share = done.min(of).saturating_mul(100).checked_div(of).unwrap_or(0);
        if self.bar {
            let full = usize::try_from(share / 4).unwrap_or(0);
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[2K{} [{}{}] {share}%",
                self.what,
                "#".repeat(full),
                " ".repeat(25 - full.min(25))
            );
        } else if self.told.get().elapsed() >= LINE_EVERY {
            self.told.set(Instant::now());
            note(format!("{}: {done} of {of} ({share}%), after {} s", self.what, self.began.elapsed().as_secs()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.bar {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// Data for a program, as it comes: a writer that notes when its reader went away (`| head`), which is no error.
#[derive(Default)]
pub(super) struct Data {
    /// True when nobody reads any more.
    pub gone: bool,
}

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::stdout().write(bytes).inspect_err(|e| self.gone |= e.kind() == std::io::ErrorKind::BrokenPipe)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().flush().inspect_err(|e| self.gone |= e.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Prints rows under a head, each column as wide as its widest cell. The last column is not padded.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: Vec<&str>| {
        let mut text = String::new();
        for (i, cell) in cells.iter().enumerate() {
            text.push_str(cell);
            if i + 1 < cells.len() {
                let pad = widths.get(i).copied().unwrap_or_default().saturating_sub(cell.chars().count()) + 2;
                text.push_str(&" ".repeat(pad));
            }
        }
        line(text.trim_end());
    };
    print(head.to_vec());
    for row in rows {
        print(row.iter().map(String::as_str).collect());
    }
}

/// Emphasised on a terminal, plain elsewhere.
pub(super) fn bold(text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
