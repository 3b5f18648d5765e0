//! What a restart would destroy, or bury: how the container is, what its health check said, and the end of its log.
//!
//! Everything is bounded, in time, lines and bytes, and cleaned: a log is written by strangers. What could not be had is said, and is no
//! error: nobody waits for this longer than for one look. Absent on purpose: following a log, its beginning, and files in the container.

use std::collections::VecDeque;
use std::time::Duration;

use bollard::models::Health;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::timeout;

use bollard::Docker;
use bollard::errors::Error as EngineError;

use super::{Container, Engines, LookError};
use crate::action::{ContainerId, DockerHost};
use crate::incident::Diagnostics;
use crate::telemetry::clean;

/// For the engine to tell it; somebody waits for a repair meanwhile.
const WITHIN: Duration = Duration::from_secs(4);
/// The most lines of the log.
const MOST_LINES: usize = 200;
/// The most bytes of the log that are kept, from its end.
const MOST_BYTES: usize = 64 << 10;
/// The most that is read for that: the engine sends the last lines from the first of them on, and a line may be long.
const MOST_READ: usize = 16 << 20;
/// The most characters of one line.
const LINE: usize = 1_000;
/// The most results of the health check.
const MOST_RESULTS: usize = 5;

impl Engines {
    /// All that can be had of this container within 4 seconds.
    pub async fn diagnostics(&self, host: &DockerHost, id: &ContainerId) -> Diagnostics {
        let mut found = Diagnostics::default();
        let (state, log) = tokio::join!(timeout(WITHIN, self.state(host, id)), self.log(host, id));
        match state {
            Ok(Ok((state, health))) => (found.state, found.health) = (state, health),
            Ok(Err(error)) => found.missing.push(format!("its state: {error}")),
            Err(_) => found.missing.push(format!("its state: no answer within {} s", WITHIN.as_secs())),
        }
        let (lines, missing) = log;
        found.log = lines;
        found.missing.extend(missing.map(|why| format!("its log: {}", clean(&why, 300))));
        found
    }

    /// The last `lines` lines, of at most 1000 characters each, oldest first; `lines` is at most what a caller's own limit says.
    ///
    /// # Errors
    /// Why they could not be had, or not all of them.
    pub async fn log_tail(&self, container: &Container, lines: usize) -> Result<Vec<String>, LookError> {
        let host = &container.target.host;
        let client = self.client(host, WITHIN)?;
        let mut tail = Tail::new(lines);
        match timeout(WITHIN, pieces(&client, &container.id, lines, |piece| tail.push(piece))).await {
            Ok(Ok(())) if tail.read > MOST_READ => {
                Err(LookError::LogTooLong { target: container.target.clone(), most: MOST_READ })
            }
            Ok(Ok(())) => Ok(tail.lines()),
            Ok(Err(error)) => Err(self.explain(host, WITHIN, error)),
            Err(_) => Err(LookError::TooSlow { host: host.clone(), within: WITHIN }),
        }
    }

    async fn state(&self, host: &DockerHost, id: &ContainerId) -> Result<(String, Vec<String>), LookError> {
        let client = self.client(host, WITHIN)?;
        let answer = self.asked(host, client.inspect_container(id.as_str(), None)).await?;
        let health = answer.state.as_ref().and_then(|state| state.health.clone());
        let lines = health.iter().flat_map(results).collect();
        Ok((told(&self.read(host, answer)?, health.as_ref()), lines))
    }

    /// The last lines, and why there are none or not all.
    async fn log(&self, host: &DockerHost, id: &ContainerId) -> (Vec<String>, Option<String>) {
        let client = match self.client(host, WITHIN) {
            Ok(client) => client,
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        let mut end = End::default();
        let read = timeout(WITHIN, pieces(&client, id, MOST_LINES, |piece| end.push(piece))).await;
        let missing = match read {
            Ok(Ok(())) if end.read > MOST_READ => Some(format!("its last lines are longer than {} MiB", MOST_READ >> 20)),
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(self.explain(host, WITHIN, error).to_string()),
            Err(_) => Some(format!("it did not end within {} s", WITHIN.as_secs())),
        };
        (end.lines(), missing)
    }
}

/// The last lines of a log, piece by piece, until more than [`MOST_READ`] was read.
async fn pieces(client: &Docker, id: &ContainerId, lines: usize, mut take: impl FnMut(&[u8]) + Send) -> Result<(), EngineError> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
    let mut pieces = std::pin::pin!(client.logs(id.as_str(), Some(options)));
    let mut read = 0;
    while let Some(piece) = pieces.next().await {
        let bytes = piece?.into_bytes();
        read += bytes.len();
        take(&bytes);
        if read > MOST_READ {
            break;
        }
    }
    Ok(())
}

/// Whole lines of a text that comes in pieces, each cleaned and cut; the last so many.
#[derive(Debug)]
struct Tail {
    most: usize,
    lines: VecDeque<String>,
    partial: Vec<u8>,
    read: usize,
}

impl Tail {
    fn new(most: usize) -> Self {
        Self { most, lines: VecDeque::new(), partial: Vec::new(), read: 0 }
    }

    fn push(&mut self, piece: &[u8]) {
        self.read += piece.len();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            // Enough to see that a line is longer than what is kept of it.
            let room = (4 * LINE + 4).saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.partial);
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        if self.most > 0 {
            self.lines.push_back(clean(String::from_utf8_lossy(&line).trim_end(), LINE));
        }
    }

    fn lines(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.end_line();
        }
        self.lines.into()
    }
}

/// The end of a text that comes in pieces.
#[derive(Debug, Default)]
struct End {
    bytes: Vec<u8>,
    read: usize,
}

impl End {
    fn push(&mut self, piece: &[u8]) {
        self.read += piece.len();
        self.bytes.extend_from_slice(piece);
        if self.bytes.len() > 2 * MOST_BYTES {
            self.bytes.drain(..self.bytes.len() - MOST_BYTES);
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes[self.bytes.len().saturating_sub(MOST_BYTES)..]);
        let mut lines: Vec<&str> = text.lines().collect();
        // What was cut begins in the middle of a line.
        if self.read > MOST_BYTES && lines.len() > 1 {
            lines.remove(0);
        }
        let from = lines.len().saturating_sub(MOST_LINES);
        lines[from..].iter().map(|line| clean(line.trim_end(), LINE)).collect()
    }
}

/// How it is, in one sentence.
fn told(container: &Container, health: Option<&Health>) -> String {
    let mut told = vec![format!("{} was {}", container.target, clean(&container.state, 40))];
    let since = |what: &str, moment: Option<crate::clock::Time>| moment.map(|moment| format!("{what} {moment}"));
    told.extend(since("last started", container.started));
    if !container.is_running() {
        told.extend(since("ended", container.finished));
        told.extend(container.exit_code.map(|code| format!("exit code {code}")));
    }
    if container.out_of_memory {
        told.push("killed for want of memory".to_owned());
    }
    if container.restart_count > 0 {
        told.push(format!("started again {} times by its restart policy", container.restart_count));
    }
    if !container.error.is_empty() {
        told.push(format!("error: {}", container.error));
    }
    if let (Some(status), Some(health)) = (&container.health, health) {
        told.push(format!(
            "health check: {}, {} failures in a row",
            clean(status, 40),
            health.failing_streak.unwrap_or_default()
        ));
    }
    told.join(", ")
}

fn results(health: &Health) -> Vec<String> {
    let results = health.log.as_deref().unwrap_or_default();
    let last = &results[results.len().saturating_sub(MOST_RESULTS)..];
    let told = |output: &Option<String>| clean(output.as_deref().unwrap_or_default().trim(), LINE);
    last.iter().map(|result| format!("exit code {}: {}", result.exit_code.unwrap_or_default(), told(&result.output))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_kept_in_whole_lines() {
        let mut end = End::default();
        for n in 0..20_000 {
            end.push(format!("line {n}\n").as_bytes());
        }
        let lines = end.lines();
        assert_eq!(
            (lines.len(), lines.first().map(String::as_str), lines.last().map(String::as_str)),
            (200, Some("line 19800"), Some("line 19999"))
        );
        let mut long = End::default();
        long.push("x".repeat(60 << 10).as_bytes());
        long.push(format!("\n{}\nlast", "y".repeat(10 << 10)).as_bytes());
        let lines = long.lines();
        assert_eq!(lines.len(), 2, "what is left of the first is no line");
        assert!(lines[0].starts_with('y') && lines[0].chars().count() == LINE && lines[1] == "last");
    }

    #[test]
    fn a_tail_has_the_last_lines_however_they_come() {
        let mut tail = Tail::new(2);
        for piece in ["one\ntw", "o\nthree", " and more\n", "fo", "ur"] {
            tail.push(piece.as_bytes());
        }
        assert_eq!(tail.lines(), ["three and more", "four"]);
        let mut long = Tail::new(3);
        long.push("ä".repeat(100 << 10).as_bytes());
        long.push(b"\n\x1b[31mred\x07\n");
        let lines = long.lines();
        assert!(lines.len() == 2 && lines[0].chars().count() == LINE && lines[0].ends_with('…'), "{lines:?}");
        assert!(!lines[1].contains(['\u{1b}', '\u{7}']), "{lines:?}");
        let mut none = Tail::new(0);
        none.push(b"x\n");
        assert_eq!(none.lines(), Vec::<String>::new());
    }

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        let mut end = End::default();
        end.push(b"\x1b]0;title\x07red \x1b[31m\xff\r\n");
        let lines = end.lines();
        assert!(lines.len() == 1 && !lines[0].contains(['\u{1b}', '\u{7}', '\r']), "{lines:?}");
    }
}
