//! What is wrong with a file, said so that it can be repaired without looking anything up.

use std::fmt;
use std::path::PathBuf;

use crate::telemetry::clean;

/// Longest line of a file that is shown around a caret, in characters.
const SHOWN_CHARS: usize = 110;

/// A place in a file; both count from 1, columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// One thing that is wrong, with everything that is needed to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which file.
    pub file: PathBuf,
    /// Where in it, as far as that is known.
    pub place: Option<Place>,
    /// That line's text.
    pub line: Option<String>,
    /// Path of keys, such as `grants.docker.restart[0]`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// Something wrong with a file as a whole.
    pub fn of_file(file: impl Into<PathBuf>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), Some(hint.into()));
        Self { file: file.into(), place: None, line: None, path: String::new(), message, hint }
    }
}

/// `file:line:column: message`, then the line with a caret, the path, and a hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", clean(&self.message, 1000))?;
        let hook = self.path.starts_with("notify.webhooks");
        let secret = |line: &&String| may_hold_password(line) || (hook && (line.contains("://") || self.path.ends_with(".url")));
        if let (Some(place), Some(text)) = (self.place, self.line.as_ref().filter(|line| !secret(line))) {
            write_snippet(f, place, text)?;
        }
        if !self.path.is_empty() {
            write!(f, "\n  at: {}", clean(&self.path, 300))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", clean(hint, 1000))?;
        }
        Ok(())
    }
}

/// Whether a line has a URL with something in front of an `@`; such a line is not shown. Nor is a webhook's, which may be a secret as a whole.
fn may_hold_password(line: &str) -> bool {
    line.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

fn write_snippet(f: &mut fmt::Formatter<'_>, place: Place, text: &str) -> fmt::Result {
    // A long line is shown from a little before the caret on; every character becomes one, so that the caret stays true.
    let skip = place.column.saturating_sub(SHOWN_CHARS * 3 / 4);
    let shown: String = text.chars().skip(skip).take(SHOWN_CHARS).map(|c| if c == '\t' { ' ' } else { c }).collect();
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    let lead = " ".repeat(place.column.saturating_sub(skip + 1));
    // Escapes are replaced one for one; a whole sequence that shrinks moves the caret, never hides the line.
    write!(f, "\n  {margin} |\n  {number} | {}\n  {margin} | {lead}^", clean(&shown, SHOWN_CHARS))
}

/// Everything that is wrong with the configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order of files and lines.
    pub problems: Vec<Problem>,
}

impl From<Vec<Problem>> for ConfigError {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
