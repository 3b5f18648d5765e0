//! The line of those whom one brake holds: a storm, or as much as may be done at once or in an hour.
//!
//! When such a brake lets go, ten thousand may have waited for it. So they stand in line, one line for each policy, the oldest incident
//! first, and only the first one looks; what it finds out holds the others too, until a moment that it names. It is a cache: the
//! journal alone decides, in the append of the intent. Absent on purpose: those whom a person or their own target holds; they look for
//! themselves, so that an engine that hangs delays nobody else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::Rule;

/// Is it a brake that holds all incidents of a policy alike?
pub(super) fn is_shared(rule: Rule) -> bool {
    matches!(rule, Rule::Storm | Rule::TooManyActions | Rule::TooManyAtOnce)
}

/// What holds everybody in a line.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    /// The rule.
    pub rule: Rule,
    /// Its sentence.
    pub message: String,
    /// Until then nobody needs to look.
    pub until: Time,
}

#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<(Time, IncidentId), Arc<Notify>>,
    closed: Option<Closed>,
}

/// So many new incidents are asked about at once: in a storm the doors, the journal and the engine have others to serve too, and
/// plugins are given only so much time.
const FIRST_QUESTIONS: usize = 32;

/// All lines, by policy, and the one of those that are new.
#[derive(Debug)]
pub struct Lines {
    by_policy: Mutex<HashMap<String, Line>>,
    new: Semaphore,
}

impl Default for Lines {
    fn default() -> Self {
        Self { by_policy: Mutex::default(), new: Semaphore::new(FIRST_QUESTIONS) }
    }
}

/// A place in a line, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    lines: &'a Lines,
    policy: String,
    who: (Time, IncidentId),
    called: Arc<Notify>,
}

impl Lines {
    /// Waits until a new incident may be asked about, in the order of coming; that lasts until the permit is dropped.
    pub(super) async fn first_question(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.new.acquire().await.ok()
    }

    /// Stands in line, by age.
    pub(super) fn enter(&self, policy: &str, opened: Time, id: &IncidentId) -> Place<'_> {
        let (called, who) = (Arc::new(Notify::new()), (opened, id.clone()));
        self.lock().entry(policy.to_owned()).or_default().waiting.insert(who.clone(), Arc::clone(&called));
        Place { lines: self, policy: policy.to_owned(), who, called }
    }

    /// What holds everybody in this line now, as far as anybody knows.
    pub(super) fn closed(&self, policy: &str, now: Time) -> Option<Closed> {
        self.lock().get(policy)?.closed.clone().filter(|closed| now < closed.until)
    }

    /// The first one has found out what holds them all.
    pub(super) fn close(&self, policy: &str, closed: Closed) {
        self.lock().entry(policy.to_owned()).or_default().closed = Some(closed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Line>> {
        // Nothing panics while it is held; and it is only a cache of the journal.
        self.by_policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Is nobody older in the line?
    pub(super) fn is_first(&self) -> bool {
        let lines = self.lines.lock();
        lines.get(&self.policy).is_none_or(|line| line.waiting.first_key_value().is_none_or(|(who, _)| *who == self.who))
    }

    /// Waits until who stood before has left.
    pub(super) async fn called(&self) {
        self.called.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        let Some(line) = lines.get_mut(&self.policy) else { return };
        line.waiting.remove(&self.who);
        if let Some(first) = line.waiting.values().next() {
            first.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn id(n: u64) -> IncidentId {
        format!("0123456789abcdef-{n}").parse().unwrap()
    }

    #[tokio::test]
    async fn the_oldest_is_first_and_who_leaves_calls_the_next() {
        let lines = Lines::default();
        let (young, old, other) =
            (lines.enter("web", Time(2), &id(1)), lines.enter("web", Time(1), &id(2)), lines.enter("db", Time(9), &id(3)));
        assert!(!young.is_first() && old.is_first() && other.is_first());
        drop(old);
        tokio::time::timeout(Duration::from_secs(5), young.called()).await.unwrap();
        assert!(young.is_first());
    }

    #[test]
    fn a_line_is_closed_until_its_moment_and_no_other_line_is() {
        let lines = Lines::default();
        lines.close("web", Closed { rule: Rule::Storm, message: String::new(), until: Time(10) });
        assert!(lines.closed("web", Time(9)).is_some() && lines.closed("web", Time(10)).is_none());
        assert!(lines.closed("db", Time(9)).is_none());
    }
}
