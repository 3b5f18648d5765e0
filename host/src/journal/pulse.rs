//! How long appends take and how many fail: what a person looks at when a disk is suspected.
//!
//! Counted at the one way to the store, so that it is true of every store. Absent on purpose: anything that acts on it.

use tokio::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::{Appended, JournalError};

/// Seconds: an append that shares a commit takes about a millisecond on a good disk, and has ten seconds at most.
const APPEND: [f64; 11] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// What was noted since the journal was opened.
#[derive(Debug)]
pub struct Pulse {
    /// How long appends took, their wait included, in seconds.
    pub appends: Histogram,
    /// Appends that surely were not written.
    pub failed: Counter,
    /// Appends of which it is not known whether they were written.
    pub unknown: Counter,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { appends: Histogram::new(APPEND), failed: Counter::default(), unknown: Counter::default() }
    }
}

impl Pulse {
    /// Waits for an append and notes how it went.
    pub(super) async fn take(
        &self,
        append: impl Future<Output = Result<Appended, JournalError>>,
    ) -> Result<Appended, JournalError> {
        let begun = Instant::now();
        let done = append.await;
        self.appends.observe(begun.elapsed().as_secs_f64());
        match &done {
            Ok(_) => {}
            Err(JournalError::Unknown(_)) => drop(self.unknown.inc()),
            Err(_) => drop(self.failed.inc()),
        }
        done
    }
}
