//! Mass failure is probably the sensor: what is counted when a policy takes an incident, and what has to be calm before anything is done.
//!
//! Two signs. Many targets that are new to the policies within a short time (`brakes.storm`, altogether, and per policy where it says
//! so). And more than a share of the containers that a policy may touch failing at once (`brakes.storm_share`), which also sees
//! what comes slowly. Either holds everything of its group; a person's `retry` lets one incident go on. Absent on purpose: acting on a part of a
//! storm; whom it is told to, which follows from the `held` entries.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::{Authoriser, Claim, Stop, unsure};
use crate::clock::{Time, print_duration};
use crate::incident::{Incident, Rule, TargetView};
use crate::journal::storm::{Newcomer, Storm};
use crate::journal::{Appended, Journal, JournalError, Spend};
use crate::policy::Policy;
use crate::policy::brakes::{Brakes, PerWindow};

/// Smaller groups have no share: of two, one that fails is half of them.
const SMALLEST_GROUP: usize = 3;

/// Whose newcomers are counted altogether.
const ALL: &str = "storm:all";

/// Which storms were told in the log, by their keys, with when they began.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<String, Time>>);

impl Told {
    /// True once for each storm.
    fn is_news(&self, key: &str, since: Time) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(key.to_owned(), since) != Some(since)
    }

    /// Nothing of this policy is held any more: gives the storms that were told.
    fn over(&self, keys: &[Spend]) -> Vec<String> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().filter(|spend| told.remove(spend.key()).is_some()).map(|spend| spend.key().to_owned()).collect()
    }
}

/// What counts of an incident when a policy takes it: as a newcomer, and as failing for as long as it is open.
pub fn arrival(policy: &Policy, global: &Brakes, incident: &Incident, targets: &[TargetView]) -> (Vec<Newcomer>, Vec<String>) {
    let mut names: Vec<String> = targets.iter().map(|view| view.target.to_string()).collect();
    let failing = names.iter().map(|name| failing_key(&policy.name, name)).collect();
    names.sort();
    let subject = if names.is_empty() { incident.id.key.to_string() } else { names.join(",") };
    let new = |(key, PerWindow { limit, window })| Newcomer { key, subject: subject.clone(), limit, window };
    (groups(policy, global).into_iter().map(new).collect(), failing)
}

/// The groups of which so many new ones are a storm: all, and the policy's own if it says so.
fn groups(policy: &Policy, global: &Brakes) -> Vec<(String, PerWindow)> {
    let own = policy.brakes.storm.map(|storm| (format!("storm:{}", policy.name), storm));
    [(ALL.to_owned(), global.storm)].into_iter().chain(own).collect()
}

/// The key that an incident holds while it is open and its policy takes this target to be failing.
fn failing_key(policy: &str, target: &str) -> String {
    format!("failing:{policy}:{target}")
}

fn calm(claim: Claim<'_>, global: &Brakes) -> Vec<Spend> {
    groups(claim.policy, global).into_iter().map(|(key, _)| Spend::Calm { key }).collect()
}

impl Authoriser {
    /// Is a storm on, for this incident? Cheap: asks the journal alone.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn stormy(&self, journal: &Journal, claim: Claim<'_>) -> Result<Option<Stop>, JournalError> {
        if claim.incident.taken_at.is_some() {
            return Ok(None);
        }
        match journal.room(&claim.incident.id, &calm(claim, &self.brakes)).await? {
            Some(Appended::Braked { key, after, .. }) => self.storm_stop(journal, claim, &key, after).await,
            _ => Ok(None),
        }
    }

    /// What has to be calm, as the intent's append checks it. An incident that a person took is that person's.
    ///
    /// # Errors
    /// The hold, when the engine cannot be asked what the group is.
    pub(super) async fn calm(&self, claim: Claim<'_>) -> Result<Vec<Spend>, Stop> {
        if claim.incident.taken_at.is_some() {
            return Ok(Vec::new());
        }
        let mut spend = calm(claim, &self.brakes);
        spend.extend(self.share(claim).await?);
        Ok(spend)
    }

    async fn share(&self, claim: Claim<'_>) -> Result<Option<Spend>, Stop> {
        let policy = claim.policy;
        let share = policy.brakes.storm_share.unwrap_or(self.brakes.storm_share);
        if share.is_all() {
            return Ok(None);
        }
        let mut group = Vec::new();
        for host in policy.grants.containers().map(|containers| containers.host()).collect::<BTreeSet<_>>() {
            match self.eyes.containers(host).await {
                Ok(all) => group.extend(all.into_iter().filter(|(target, labels)| policy.grants.covers(target, labels))),
                Err(error) => unsure(claim.policy, &format!("how many containers policy {} looks after", policy.name), &error)?,
            }
        }
        let of: Vec<String> = group.iter().map(|(target, _)| failing_key(&policy.name, &target.to_string())).collect();
        let limit = share.of(of.len());
        let spend = Spend::Share { key: format!("share:{}", policy.name), of, limit };
        Ok((group.len() >= SMALLEST_GROUP).then_some(spend))
    }

    /// The hold for a brake of this room; `None` for any other key.
    pub(super) async fn storm_stop(
        &self,
        journal: &Journal,
        claim: Claim<'_>,
        key: &str,
        after: Option<Time>,
    ) -> Result<Option<Stop>, JournalError> {
        let policy = claim.policy;
        let (since, until, what) = match key.split_once(':') {
            Some(("share", _)) => {
                let share = policy.brakes.storm_share.unwrap_or(self.brakes.storm_share);
                let again = Time::now().plus(self.brakes.storm.window);
                let what = format!(
                    "more than {share} of the containers that policy {} may touch are failing at once (brakes.storm_share)",
                    policy.name
                );
                (Time(0), again, what)
            }
            Some(("storm", of)) => {
                let now = Time::now();
                let read = journal.storm(key).await?;
                let storm = read.unwrap_or(Storm { since: now, until: after.unwrap_or(now), count: 0 });
                let rule = groups(policy, &self.brakes).into_iter().find(|(group, _)| group == key).map(|(_, rule)| rule);
                let rule = rule.unwrap_or(self.brakes.storm);
                let whose = if key == ALL { "all policies".to_owned() } else { format!("policy {of}") };
                let what = format!(
                    "a storm over {whose} since {}: {} new targets, and {} within {} are one (brakes.storm)",
                    storm.since,
                    storm.count,
                    rule.limit,
                    print_duration(rule.window)
                );
                (storm.since, storm.until, what)
            }
            _ => return Ok(None),
        };
        if self.storms.is_news(key, since) {
            tracing::warn!(policy = %policy.name, %what, "Probably the sensor and not the targets: everything of it is held, a person has to look");
        }
        let message = format!(
            "{what}: probably the sensor and not the targets, so nothing is done before {until}, and then the oldest comes first; \
             `paramedic incident retry {} --reason ...` lets this one go on now",
            claim.incident.id
        );
        Ok(Some(Stop::Held { rule: Rule::Storm, message, until: Some(until) }))
    }

    /// An action of this policy passed, so it is calm again.
    pub(super) fn passed(&self, claim: Claim<'_>, calm: &[Spend]) {
        for key in self.storms.over(calm) {
            tracing::info!(policy = %claim.policy.name, key, "The storm is over: what still fires is taken up, the oldest first");
        }
    }
}
