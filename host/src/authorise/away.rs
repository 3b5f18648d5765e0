//! What was decided before Paramedic was away for long is left to a person.
//!
//! Away is: the server was down, its machine slept, or yesterday's journal was put back. The world went on meanwhile, and a
//! decision of yesterday is no reason to act today. What had begun is still found out and verified, and what cleared is closed; only
//! an intent needs a person's `retry`. Absent on purpose: how it is found out; the journal itself knows.

use super::{Authoriser, Claim, Stop};
use crate::clock::print_duration;
use crate::incident::Rule;
use crate::journal::Journal;

impl Authoriser {
    /// The hold of an incident that was there before Paramedic was away for longer than `max_age`, and that no person took since.
    pub fn away(&self, journal: &Journal, claim: Claim<'_>) -> Option<Stop> {
        let incident = claim.incident;
        let max = claim.policy.max_age.unwrap_or(self.max_age);
        let known = incident.taken_at.unwrap_or(incident.opened_at);
        let away = journal.away();
        let long = away.iter().rev().find(|away| known <= away.from && away.until.since(away.from) > max)?;
        let message = format!(
            "Paramedic was away from {} to {} ({}), longer than max_age ({}), so what was decided before is left to a person; \
             `paramedic incident retry {} --reason ...` lets it go on",
            long.from,
            long.until,
            print_duration(long.until.since(long.from)),
            print_duration(max),
            incident.id,
        );
        Some(Stop::held(Rule::TooOld, message))
    }
}
