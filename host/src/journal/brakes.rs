//! Brakes as data: stamps that are counted and holds that are taken, inside the append that spends them.
//!
//! The rule is here, once, for every store; a store only counts. All checks of an append come before its first write, and
//! appends are evaluated one after the other, so a limit is exact however many incidents race for the last place. Absent on
//! purpose: what the keys mean; `authorise` knows.

use std::collections::BTreeMap;

use super::storm::Storm;
use super::{Appended, Spend};
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::policy::brakes::PerWindow;

/// What a store can count.
pub trait Counts {
    /// What goes wrong in it.
    type Error;

    /// How many stamps of this key are later than `since`.
    ///
    /// # Errors
    /// The store's.
    fn stamped(&self, key: &str, since: Time) -> Result<u64, Self::Error>;

    /// Of the stamps of this key that are later than `since`, the one that is `nth` from the oldest (0).
    ///
    /// # Errors
    /// The store's.
    fn stamp(&self, key: &str, since: Time, nth: u64) -> Result<Option<Time>, Self::Error>;

    /// How many incidents hold this key, without this one, and the one of them with the smallest id.
    ///
    /// # Errors
    /// The store's.
    fn holders(&self, key: &str, without: &IncidentId) -> Result<(u64, Option<IncidentId>), Self::Error>;

    /// Does this key mark any incident?
    ///
    /// # Errors
    /// The store's.
    fn is_marked(&self, key: &str) -> Result<bool, Self::Error>;

    /// When this subject was last counted among the newcomers of this key.
    ///
    /// # Errors
    /// The store's.
    fn arrived(&self, key: &str, subject: &str) -> Result<Option<Time>, Self::Error>;

    /// Of the newcomers of this key that came later than `since`, the one that is `nth` from the newest (0).
    ///
    /// # Errors
    /// The store's.
    fn newest(&self, key: &str, since: Time, nth: u64) -> Result<Option<Time>, Self::Error>;

    /// The last storm among the newcomers of this key, over or not.
    ///
    /// # Errors
    /// The store's.
    fn storm(&self, key: &str) -> Result<Option<Storm>, Self::Error>;
}

/// The first brake that has no room for this, as [`Appended::Braked`].
///
/// # Errors
/// The store's.
pub fn check<C: Counts>(counts: &C, now: Time, incident: &IncidentId, spends: &[Spend]) -> Result<Option<Appended>, C::Error> {
    // What this same append spends of a key counts for its later spends of that key.
    let mut spent: BTreeMap<&str, u64> = BTreeMap::new();
    for spend in spends {
        let braked = match spend {
            Spend::Rate { key, limits } => {
                let before = spent.entry(key).or_default();
                *before += 1;
                let full = check_rate(counts, now, key, *before, limits)?;
                full.map(|(limit, after)| Appended::Braked { key: key.clone(), limit: Some(limit), after, holder: None })
            }
            Spend::Lock { key, limit } => {
                let (others, holder) = counts.holders(key, incident)?;
                (others >= u64::from(*limit)).then(|| Appended::Braked { key: key.clone(), limit: None, after: None, holder })
            }
            Spend::Calm { key } => {
                let storm = counts.storm(key)?.filter(|storm| storm.is_on(now));
                storm.map(|storm| Appended::Braked { key: key.clone(), limit: None, after: Some(storm.until), holder: None })
            }
            Spend::Share { key, of, limit } => {
                let mut held = 0;
                for one in of {
                    held += u32::from(counts.is_marked(one)?);
                }
                (held > *limit).then(|| Appended::Braked { key: key.clone(), limit: None, after: None, holder: None })
            }
        };
        if braked.is_some() {
            return Ok(braked);
        }
    }
    Ok(None)
}

/// Of the limits for which so many more stamps are too many, the one that lets go last, and when; `None` if waiting never helps.
fn check_rate<C: Counts>(
    counts: &C,
    now: Time,
    key: &str,
    more: u64,
    limits: &[PerWindow],
) -> Result<Option<(PerWindow, Option<Time>)>, C::Error> {
    let mut last: Option<(PerWindow, Option<Time>)> = None;
    for limit in limits {
        let since = now.minus(limit.window);
        // So many of the counted ones have to leave before there is room.
        let Some(excess) = (counts.stamped(key, since)? + more).checked_sub(limit.limit.into()).filter(|excess| *excess > 0)
        else {
            continue;
        };
        let after = counts.stamp(key, since, excess - 1)?.map(|oldest| oldest.plus(limit.window));
        // `None` is later than any moment.
        if last.is_none_or(|(_, other)| after.is_none() || other.is_some_and(|other| after > Some(other))) {
            last = Some((*limit, after));
        }
    }
    Ok(last)
}
