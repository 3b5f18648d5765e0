//! What a playbook did, read from the lines of our own callback, and what that makes of the run.
//!
//! The exit code alone lies: 0 also when nothing ran, 4 for an unreachable host and for a broken file. So the host statistics
//! decide, and a run without statistics has failed. Pure: reading files and processes is elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use crate::action::{Ending, InventoryHost, Outcome};
use crate::telemetry::clean;

/// Lines of results that are kept; older ones make room.
const MAX_LINES: usize = 200;
/// Characters of one line that is kept.
const MAX_LINE: usize = 500;
/// Characters of an outcome's message.
const MAX_MESSAGE: usize = 4_000;
/// Bytes of the callback's file that are read; the callback itself stops long before.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// One line of the callback.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    /// The playbook was read and begins.
    Start,
    /// A task begins.
    Task { task: String },
    /// A task ended on a host.
    Result { host: String, task: String, status: Status, message: String },
    /// The end, with the counts of every host that took part.
    Stats { hosts: BTreeMap<String, Counts> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Changed,
    Skipped,
    Ignored,
    Failed,
    Unreachable,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Changed => "changed",
            Self::Skipped => "skipped",
            Self::Ignored => "failed, which the playbook ignores",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Ansible's own counts for one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    ok: u64,
    changed: u64,
    failures: u64,
    unreachable: u64,
    skipped: u64,
    rescued: u64,
    ignored: u64,
}

impl Counts {
    fn print(&self) -> String {
        let mut text = format!("ok={} changed={} failed={}", self.ok, self.changed, self.failures);
        for (word, count) in
            [("unreachable", self.unreachable), ("skipped", self.skipped), ("rescued", self.rescued), ("ignored", self.ignored)]
        {
            if count > 0 {
                text.push_str(&format!(" {word}={count}"));
            }
        }
        text
    }
}

/// How the process itself ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    fn print(self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Signal(signal) => format!("signal {signal}"),
        }
    }
}

/// What the callback told.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The playbook was read and began.
    pub(super) started: bool,
    /// The task that began last.
    pub(super) task: Option<String>,
    /// The last failure that the playbook did not ignore: task and its own words.
    failure: Option<(String, String)>,
    /// The counts of every host, once it has ended.
    pub(super) stats: Option<BTreeMap<String, Counts>>,
    /// True once a task said that it changed something.
    changed: bool,
    lines: VecDeque<String>,
    left_out: usize,
}

impl Report {
    /// Reads what there is; a file that is missing tells nothing, and a line that is half written is skipped.
    pub(super) fn read(path: &Path) -> Self {
        match std::fs::File::open(path) {
            Ok(file) => Self::parse(BufReader::new(file.take(MAX_BYTES))),
            Err(_) => Self::default(),
        }
    }

    fn parse(lines: impl BufRead) -> Self {
        let mut report = Self::default();
        for line in lines.split(b'\n').map_while(Result::ok) {
            if let Ok(line) = serde_json::from_slice(&line) {
                report.take(line);
            }
        }
        report
    }

    fn take(&mut self, line: Line) {
        self.started = true;
        match line {
            Line::Start => {}
            Line::Task { task } => self.task = Some(clean(&task, MAX_LINE)),
            Line::Result { host, task, status, message } => self.result(&host, &task, status, &message),
            Line::Stats { hosts } => self.stats = Some(hosts),
        }
    }

    fn result(&mut self, host: &str, task: &str, status: Status, message: &str) {
        let (task, host) = (clean(task, MAX_LINE), clean(host, 255));
        let told = if message.is_empty() { String::new() } else { format!(": {}", message.trim()) };
        if matches!(status, Status::Failed | Status::Unreachable) {
            self.failure = Some((task.clone(), clean(&told, 2_000)));
        }
        self.changed |= matches!(status, Status::Changed);
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
            self.left_out += 1;
        }
        self.lines.push_back(clean(&format!("task {task}: {} on {host}{told}", status.word()), MAX_LINE));
    }

    /// The kept lines, and behind them what the program complained about.
    pub(super) fn output(&self, complaints: &[String]) -> Vec<String> {
        let omitted = (self.left_out > 0).then(|| format!("({} earlier results are left out)", self.left_out));
        let complaints = complaints.iter().map(|line| format!("stderr: {line}"));
        omitted.into_iter().chain(self.lines.iter().cloned()).chain(complaints).collect()
    }

    /// The counts of all hosts, for people; `None` before the end.
    pub(super) fn print_stats(&self) -> Option<String> {
        let stats = self.stats.as_ref()?;
        let hosts: Vec<String> =
            stats.iter().take(10).map(|(host, counts)| format!("{} on {}", counts.print(), clean(host, 255))).collect();
        Some(if hosts.is_empty() { "no host took part".to_owned() } else { hosts.join("; ") })
    }

    /// What a run that ended by itself comes to. `complaints` are the last lines of stderr, cleaned.
    pub(super) fn judge(&self, name: &str, host: &InventoryHost, exit: Exit, complaints: &[String]) -> Outcome {
        let (ending, message) = match self.fault(name, host, exit, complaints) {
            Some(fault) => (Ending::Failed, fault),
            None => (Ending::Succeeded, format!("playbook {name} ended: {}", self.print_stats().unwrap_or_default())),
        };
        let complaints = if ending == Ending::Failed { complaints } else { &[] };
        Outcome { ending, message: clean(&message, MAX_MESSAGE), touched: self.changed, output: self.output(complaints) }
    }

    fn fault(&self, name: &str, host: &InventoryHost, exit: Exit, complaints: &[String]) -> Option<String> {
        let Some(stats) = &self.stats else {
            let begun = if self.started { "before it was through" } else { "before any task" };
            return Some(format!("playbook {name} ended with {} {begun}{}", exit.print(), complaint(complaints)));
        };
        if let Some(other) = stats.keys().find(|other| other.as_str() != host.as_str()) {
            let other = clean(other, 255);
            return Some(format!("playbook {name} ran on {other} although it was limited to {host}: look at its add_host tasks"));
        }
        let Some(counts) = stats.get(host.as_str()) else {
            return Some(format!("nothing ran: no play and no task of playbook {name} is for {host}; look at its `hosts:`"));
        };
        let (task, told) = self.failure.as_ref().map_or(("?", ""), |(task, told)| (task, told));
        match (counts.unreachable, counts.failures, exit) {
            (0, 0, Exit::Code(0)) => None,
            (0, 0, exit) => Some(format!("playbook {name} ended with {}{}", exit.print(), complaint(complaints))),
            (0, ..) => Some(format!("task {task} failed on {host}{told}")),
            _ => Some(format!("{host} could not be reached{told}")),
        }
    }
}

/// What stderr says was wrong: the last line that calls itself an error (core 2.14 writes `ERROR!`, 2.19 `[ERROR]:`), or the last.
fn complaint(lines: &[String]) -> String {
    let error = lines.iter().rev().find(|line| line.starts_with("ERROR") || line.starts_with("[ERROR]"));
    error.or(lines.last()).map_or_else(String::new, |line| format!(": {line}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn web() -> InventoryHost {
        "web1".parse().unwrap()
    }

    fn judge(lines: &str, exit: Exit) -> Outcome {
        let complaints = ["[WARNING]: odd".to_owned(), "ERROR! no such thing".to_owned(), "see above".to_owned()];
        Report::parse(lines.as_bytes()).judge("fix.yml", &web(), exit, &complaints)
    }

    #[test]
    fn a_run_with_counts_for_the_host_has_succeeded() {
        let outcome = judge(
            r#"{"event": "start"}
{"event": "task", "task": "Restart"}
{"event": "result", "host": "web1", "task": "Restart", "status": "changed", "message": ""}
{"event": "stats", "hosts": {"web1": {"ok": 2, "changed": 1, "failures": 0, "unreachable": 0, "skipped": 0}}}"#,
            Exit::Code(0),
        );
        assert_eq!(outcome.ending, Ending::Succeeded);
        assert_eq!(outcome.message, "playbook fix.yml ended: ok=2 changed=1 failed=0 on web1");
        assert_eq!(outcome.output, ["task Restart: changed on web1"]);
    }

    #[test]
    fn exit_code_0_without_a_host_is_a_failure() {
        let outcome = judge(r#"{"event": "stats", "hosts": {}}"#, Exit::Code(0));
        assert_eq!(outcome.ending, Ending::Failed);
        assert!(outcome.message.starts_with("nothing ran"), "{}", outcome.message);
    }

    #[test]
    fn another_host_than_the_limited_one_is_a_failure() {
        let outcome = judge(r#"{"event": "stats", "hosts": {"web1": {"ok": 1}, "db": {"ok": 1}}}"#, Exit::Code(0));
        assert_eq!(outcome.ending, Ending::Failed);
        assert!(outcome.message.contains("ran on db although it was limited to web1"), "{}", outcome.message);
    }

    #[test]
    fn unreachable_is_told_apart_from_failed() {
        let line = |status, counts| {
            format!(
                "{{\"event\":\"result\",\"host\":\"web1\",\"task\":\"T\",\"status\":\"{status}\",\"message\":\"why\\u001b[31m\"}}\n\
                 {{\"event\":\"stats\",\"hosts\":{{\"web1\":{{\"{counts}\":1}}}}}}"
            )
        };
        assert_eq!(judge(&line("unreachable", "unreachable"), Exit::Code(4)).message, "web1 could not be reached: why\u{fffd}");
        assert_eq!(judge(&line("failed", "failures"), Exit::Code(2)).message, "task T failed on web1: why\u{fffd}");
    }

    #[test]
    fn no_counts_at_all_shows_the_error_of_the_program() {
        let outcome = judge("{\"event\":\"start\"}\n{\"event\":\"sta", Exit::Code(4));
        assert_eq!(outcome.message, "playbook fix.yml ended with exit code 4 before it was through: ERROR! no such thing");
        assert_eq!(outcome.output.last().map(String::as_str), Some("stderr: see above"));
    }

    #[test]
    fn counts_without_a_fault_do_not_hide_a_bad_exit() {
        let outcome = judge(r#"{"event": "stats", "hosts": {"web1": {"ok": 1}}}"#, Exit::Signal(9));
        assert_eq!(outcome.message, "playbook fix.yml ended with signal 9: ERROR! no such thing");
    }

    #[test]
    fn a_flood_of_results_is_bounded() {
        let line = r#"{"event":"result","host":"web1","task":"T","status":"ok","message":""}"#;
        let report = Report::parse(format!("{line}\n").repeat(1_000).as_bytes());
        let output = report.output(&[]);
        assert_eq!((output.len(), output[0].as_str()), (201, "(800 earlier results are left out)"));
    }
}
