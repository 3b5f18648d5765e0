//! The processes of one run: finding every one of them, also after a crash of the host, and ending them.
//!
//! A process group is not enough: since ansible-core 2.19 every worker leaves it, and what was started before a crash has no parent
//! that we know. So a process belongs to a run if its environment carries the run's mark, if its parent belongs to it, if
//! it sits in the group of a root we have not reaped yet, or if it belonged to it when we last looked (`sudo` empties the
//! environment, and an orphan has a new parent). A signal goes through a pidfd after the start time was compared, so it cannot hit
//! a stranger who got the number meanwhile. Absent on purpose: signals to a number or a group read from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

/// How long processes may take to stop on their own after they were asked.
const GRACE: Duration = Duration::from_secs(5);
/// How long it is tried to kill those that did not.
const KILLING: Duration = Duration::from_secs(10);
/// How often it is looked meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// The environment variable with the permit's id, for people who look at processes.
pub(super) const INTENT: &str = "PARAMEDIC_INTENT";
/// The environment variable with the run's random token: another Paramedic on this machine may have the same intent.
pub(super) const RUN: &str = "PARAMEDIC_RUN";

/// One process, told apart from a later one of the same number by its start time in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: i32,
    start: u64,
}

/// What `/proc/<pid>/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    zombie: bool,
    parent: i32,
    group: i32,
    start: u64,
}

/// All processes of one run.
#[derive(Clone, Debug)]
pub(super) struct Family {
    marks: [Vec<u8>; 2],
    /// The child that we spawned and have not reaped: its number is surely its own, and so is its group's.
    root: Option<i32>,
    known: BTreeSet<Process>,
}

impl Family {
    /// The processes of the run with this intent and token.
    pub(super) fn new(intent: &str, token: &str) -> Self {
        let marks = [format!("{INTENT}={intent}").into_bytes(), format!("{RUN}={token}").into_bytes()];
        Self { marks, root: None, known: BTreeSet::new() }
    }

    /// The same, with the spawned child, which must not be reaped while this is used.
    pub(super) fn with_root(mut self, root: Option<u32>) -> Self {
        self.root = root.and_then(|pid| i32::try_from(pid).ok());
        self
    }

    /// How many are alive. Reads all of `/proc`, so not on an async thread.
    pub(super) fn look(&mut self) -> usize {
        let all = read_all();
        let mut members: BTreeSet<i32> = all
            .iter()
            .filter(|(pid, stat)| {
                self.known.contains(&Process { pid: **pid, start: stat.start })
                    || self.root.is_some_and(|root| **pid == root || stat.group == root)
                    || self.is_marked(**pid)
            })
            .map(|(pid, _)| *pid)
            .collect();
        // Children of members, to any depth: repeated until nobody new is found.
        loop {
            let children: Vec<i32> = all
                .iter()
                .filter(|(pid, stat)| members.contains(&stat.parent) && !members.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if children.is_empty() {
                break;
            }
            members.extend(children);
        }
        let ours = |pid: &i32| all.get(pid).map(|stat| Process { pid: *pid, start: stat.start });
        self.known = members.iter().filter_map(ours).collect();
        self.known.len()
    }

    fn is_marked(&self, pid: i32) -> bool {
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else {
            return false;
        };
        self.marks.iter().all(|mark| environment.split(|byte| *byte == 0).any(|entry| entry == mark))
    }

    fn signal(&self, signal: Signal) {
        for process in &self.known {
            let Some(fd) = Pid::from_raw(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
                continue;
            };
            if read(process.pid).is_some_and(|stat| stat.start == process.start) {
                // Gone meanwhile, or not ours to signal: the next look tells.
                let _ = pidfd_send_signal(&fd, signal);
            }
        }
    }

    /// Asks them all to stop, then kills those that did not; bounded. Gives how many could not be ended.
    pub(super) async fn end(self) -> usize {
        let (mut family, mut left) = self.look_and(Some(Signal::TERM)).await;
        let asked = Instant::now();
        while left > 0 && asked.elapsed() < GRACE {
            sleep(PAUSE).await;
            (family, left) = family.look_and(None).await;
        }
        let killing = Instant::now();
        while left > 0 && killing.elapsed() < KILLING {
            (family, left) = family.look_and(Some(Signal::KILL)).await;
            if left > 0 {
                sleep(PAUSE).await;
            }
        }
        left
    }

    /// Looks, and sends a signal to whom it finds.
    pub(super) async fn look_and(mut self, signal: Option<Signal>) -> (Self, usize) {
        let copy = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let left = self.look();
            if let Some(signal) = signal {
                self.signal(signal);
            }
            (self, left)
        });
        // It can only fail while the runtime is shut down: then nothing is known, and nothing may be claimed.
        looked.await.unwrap_or((copy, usize::MAX))
    }
}

/// Everybody who is alive, except ourselves.
fn read_all() -> BTreeMap<i32, Stat> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| Some((pid, read(pid)?)))
        .filter(|(_, stat)| !stat.zombie)
        .collect()
}

fn read(pid: i32) -> Option<Stat> {
    // The name of a program need not be UTF-8.
    parse(&String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// Fields of proc(5), counted behind the last `)`, since a program's name may hold anything.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some(Stat {
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) R 1 (b) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 9876 0 0";
        assert_eq!(parse(stat), Some(Stat { zombie: false, parent: 7, group: 42, start: 9876 }));
        assert_eq!(parse("42 (a"), None);
    }

    fn shell(script: &str, token: &str) -> std::process::Child {
        Command::new("sh").args(["-c", script]).env(INTENT, "i-1-1").env(RUN, token).spawn().unwrap()
    }

    /// The sleepers need a moment to become what they are.
    async fn until_two(family: &mut Family) {
        let begun = Instant::now();
        while family.look() != 2 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{family:?}");
            sleep(PAUSE).await;
        }
    }

    #[tokio::test]
    async fn the_mark_finds_who_left_the_group_and_lost_its_parent() {
        let token = uuid::Uuid::new_v4().to_string();
        // The shell ends at once; what it leaves has another session and no parent, and ignores SIGTERM.
        let mut child = shell("setsid sh -c 'trap \"\" TERM; sleep 300; sleep 300' & exit 0", &token);
        child.wait().unwrap();
        let mut family = Family::new("i-1-1", &token);
        until_two(&mut family).await;
        assert_eq!(Family::new("i-1-1", "another").look(), 0);
        assert_eq!(family.clone().end().await, 0);
        assert_eq!(family.look(), 0);
    }

    #[tokio::test]
    async fn a_child_without_the_mark_is_found_through_its_parent() {
        let token = uuid::Uuid::new_v4().to_string();
        let mut child = shell("env -i setsid sleep 300 & wait", &token);
        let mut family = Family::new("i-1-1", &token).with_root(Some(child.id()));
        until_two(&mut family).await;
        assert_eq!(family.end().await, 0);
        child.wait().unwrap();
    }
}
