//! Storms as data: so many new targets within such a time that the sensor is more likely to be broken than the targets.
//!
//! A newcomer is counted in the append that takes its incident, and whether a storm is on is checked in the append that intends an
//! action, so that no action passes once the journal knows. A storm ends when for a whole window no newcomer was one too
//! many. The rule is here, once, for every store. Absent on purpose: what the keys mean; `authorise` knows.

use std::time::Duration;

use super::brakes::Counts;
use crate::clock::Time;

/// Somebody new of whom so many within such a time are a storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Among whom it is counted, such as `storm:all`.
    pub key: String,
    /// Who it is: within a window each is counted once.
    pub subject: String,
    /// So many within the window are a storm; at least 1.
    pub limit: u32,
    /// The window.
    pub window: Duration,
}

/// A storm, and whether it is over: that is told by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Since when.
    pub since: Time,
    /// When it is over, if nobody too many comes any more.
    pub until: Time,
    /// How many came so far, with those who were there when it began.
    pub count: u64,
}

impl Storm {
    /// Is it on?
    pub fn is_on(&self, now: Time) -> bool {
        now < self.until
    }
}

/// What a newcomer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing: it was counted a moment ago.
    Known,
    /// It is counted.
    Counted,
    /// It is counted, and this storm is on.
    Storm(Storm),
}

/// Counts a newcomer.
///
/// # Errors
/// The store's.
pub fn arrive<C: Counts>(counts: &C, now: Time, new: &Newcomer) -> Result<Arrival, C::Error> {
    let since = now.minus(new.window);
    if counts.arrived(&new.key, &new.subject)?.is_some_and(|at| at > since) {
        return Ok(Arrival::Known);
    }
    // With it they are enough when one less came before.
    let enough = match u64::from(new.limit).checked_sub(2) {
        None => true,
        Some(nth) => counts.newest(&new.key, since, nth)?.is_some(),
    };
    if !enough {
        return Ok(Arrival::Counted);
    }
    let before = counts.storm(&new.key)?.filter(|storm| storm.is_on(now));
    let (began, count) = before.map_or((now, u64::from(new.limit)), |storm| (storm.since, storm.count + 1));
    Ok(Arrival::Storm(Storm { since: began, until: now.plus(new.window), count }))
}
