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

    /// Does anybody hold this key?
    ///
    /// # Errors
    /// The store's.
    fn is_held(&self, key: &str) -> Result<bool, Self::Error>;

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
            Spend::Rate { key, limit, window } => {
                let before = spent.entry(key).or_default();
                *before += 1;
                check_rate(counts, now.minus(*window), key, *before, u64::from(*limit))?.map(|oldest| Appended::Braked {
                    key: key.clone(),
                    after: oldest.map(|at| at.plus(*window)),
                    holder: None,
                })
            }
            Spend::Lock { key, limit } => {
                let (others, holder) = counts.holders(key, incident)?;
                (others >= u64::from(*limit)).then(|| Appended::Braked { key: key.clone(), after: None, holder })
            }
            Spend::Calm { key } => {
                let storm = counts.storm(key)?.filter(|storm| storm.is_on(now));
                storm.map(|storm| Appended::Braked { key: key.clone(), after: Some(storm.until), holder: None })
            }
            Spend::Share { key, of, limit } => {
                let mut held = 0;
                for one in of {
                    held += u32::from(counts.is_held(one)?);
                }
                (held > *limit).then(|| Appended::Braked { key: key.clone(), after: None, holder: None })
            }
        };
        if braked.is_some() {
            return Ok(braked);
        }
    }
    Ok(None)
}

/// `Some` when so many more stamps are too many, with the stamp that has to leave the window first, if waiting helps at all.
fn check_rate<C: Counts>(counts: &C, since: Time, key: &str, more: u64, limit: u64) -> Result<Option<Option<Time>>, C::Error> {
    // So many of the counted ones have to leave before there is room.
    match (counts.stamped(key, since)? + more).checked_sub(limit) {
        None | Some(0) => Ok(None),
        Some(excess) => Ok(Some(counts.stamp(key, since, excess - 1)?)),
    }
}
