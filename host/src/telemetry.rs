//! What Paramedic says about itself, and how the words of strangers are made safe to store and to show.
//!
//! Alerts, plugins, engines and playbooks are written by others: a terminal escape in a label must not repaint the screen of
//! the engineer on call, and a right-to-left override must not make one name look like another. Every room calls [`clean`]
//! before text of that kind is kept. Nothing is deleted without a trace: what was taken out leaves a `�`, so cleaning can never
//! turn one valid name into another. Logs go to stderr, so that stdout stays free for what a command prints.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tracing_subscriber::EnvFilter;

/// Names and values of the labels of one series in `/metrics`: the operator's and the code's words, never an alert's.
pub type Labels = Vec<(&'static str, String)>;

/// Counters that differ in their labels.
pub type Counters = Family<Labels, Counter>;

/// Gauges that differ in their labels.
pub type Gauges = Family<Labels, Gauge>;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("`{}` is not a log format: write text or json", clean(other, 40))),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("`{filter}` is not a log filter: write for instance info or paramedic=debug,warn")]
    Filter {
        /// What was given.
        filter: String,
        /// What tracing says.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody has set it up before.
    #[error("logging was already set up in this process")]
    Already(#[source] tracing_subscriber::util::TryInitError),
}

/// Sets up logging to stderr for the whole process, once.
///
/// # Errors
/// When `filter` is none, or logging was set up before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    use tracing_subscriber::prelude::*;
    let filter = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: clean(filter, 200), source })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .map_err(TelemetryError::Already)
}

/// `, did you mean ...?` with at most three near names, nearest first; empty when nothing is near.
pub fn did_you_mean<T: AsRef<str>>(name: &str, known: &[T]) -> String {
    let mut near: Vec<(f64, &str)> = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&name.to_lowercase(), &known.as_ref().to_lowercase()), known.as_ref()))
        .filter(|(score, _)| *score > 0.8)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.truncate(3);
    let names: Vec<String> = near.iter().map(|(_, name)| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!(", did you mean {}?", names.join(" or ")) }
}

/// What stands where something was taken out.
const GONE: char = '\u{fffd}';
/// What ends a text that was cut.
const CUT: char = '…';

/// The text on one line, without control characters, terminal escapes, invisible characters and bidirectional overrides, cut to
/// `max_chars` characters (a cut text ends in `…`). Work and memory are bounded by `max_chars`, whatever the text's length.
pub fn clean(text: &str, max_chars: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_chars.saturating_mul(4)));
    let mut rest = text.chars();
    let mut kept = 0;
    while let Some(c) = rest.next() {
        if kept == max_chars {
            if out.pop().is_some() {
                out.push(CUT);
            }
            break;
        }
        out.push(match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            '\u{1b}' => {
                skip_escape(&mut rest);
                GONE
            }
            c if c.is_control() || is_deceiving(c) => GONE,
            c => c,
        });
        kept += 1;
    }
    out
}

/// Characters that are not seen, or change how others are seen: bidirectional marks, zero-width joiners and fillers, tags.
pub(crate) fn is_deceiving(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Skips the rest of a well-formed colour or cursor sequence (`ESC [ 0-9;? letter`); anything else is left to be cleaned.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    let mut ahead = rest.clone();
    if ahead.next() != Some('[') {
        return;
    }
    // Real sequences are short; a longer one is text.
    for c in ahead.by_ref().take(32) {
        match c {
            ' '..='?' => {}
            '@'..='~' => {
                *rest = ahead;
                return;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{LogFormat, clean, init};

    #[test]
    fn plain_text_is_left_alone() {
        assert_eq!(clean("nginx is down: ärger, 日本語, 🚑", 100), "nginx is down: ärger, 日本語, 🚑");
        assert_eq!(clean("", 10), "");
    }

    #[test]
    fn terminal_escapes_leave_one_mark_each() {
        assert_eq!(clean("\u{1b}[31;1mred\u{1b}[0m", 100), "�red�");
        assert_eq!(clean("\u{1b}]0;title\u{7}x", 100), "�]0;title�x");
        assert_eq!(clean("\u{9b}31mx\u{8}\u{0}\u{7f}", 100), "�31mx���");
        assert_eq!(clean("\u{1b}", 100), "�");
        assert_eq!(clean("\u{1b}[", 100), "�[");
        assert_eq!(clean("\u{1b}[3ö", 100), "�[3ö");
    }

    #[test]
    fn lines_become_one() {
        assert_eq!(clean("a\r\nb\tc\u{2028}d", 100), "a  b c d");
    }

    #[test]
    fn what_deceives_the_eye_is_marked() {
        assert_eq!(clean("local/\u{202e}xnign\u{2066}\u{200b}\u{feff}\u{e0041}", 100), "local/�xnign����");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(clean("äöüß", 4), "äöüß");
        assert_eq!(clean("äöüßx", 4), "äöü…");
        assert_eq!(clean("ab", 0), "");
        assert_eq!(clean(&"x".repeat(1 << 20), 1000).chars().count(), 1000);
    }

    #[test]
    fn cleaning_twice_changes_nothing() {
        let once = clean("\u{1b}[31ma\n\u{202e}bcdefghij", 8);
        assert_eq!(clean(&once, 8), once);
    }

    #[test]
    fn a_filter_and_a_format_that_are_none_are_said_so() {
        assert!(init(LogFormat::Text, "paramedic=shout").unwrap_err().to_string().contains("not a log filter"));
        assert!("xml".parse::<LogFormat>().unwrap_err().contains("text or json"));
        assert_eq!("json".parse::<LogFormat>().unwrap().to_string(), "json");
    }
}
