//! What one act has to spend of the brakes, as keys and limits; the journal checks and spends them with the intents.
//!
//! One stamp per action and scope is counted by all windows of that scope. What the looks of an act found has a part in it, too: the groups
//! of containers that it takes one of (`healthy`).

use std::time::Duration;

use super::healthy::Group;
use crate::action::{Action, Proposal};
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::Rule;
use crate::journal::Spend;
use crate::policy::Policy;
use crate::policy::brakes::{
    ACTIONS_KEY, ALL_KEY, Brakes, PerWindow, Rates, as_written, cooldown_key, policy_actions_key, policy_key, target_key,
};
use crate::telemetry::clean;

/// Where the global brakes stand.
pub(super) const FILE: &str = "paramedic.yaml";

/// What this act has to spend.
pub(super) fn spend(policy: &Policy, global: &Brakes, actions: &[Action], groups: &[Group]) -> Vec<Spend> {
    let targets = sorted(actions.iter().map(Action::target));
    let attempts = policy.brakes.attempts.unwrap_or(global.attempts);
    let cooldown = policy.brakes.cooldown.unwrap_or(global.cooldown);
    // Locks first: that somebody is at work on the target explains more than the cooldown that follows from it.
    let mut spend: Vec<Spend> = targets.iter().map(|target| lock(target_key(target), 1)).collect();
    spend.extend(sorted(groups.iter().map(Group::key)).into_iter().map(|key| lock(key, 1)));
    spend.push(lock(policy_key(&policy.name), policy.brakes.concurrent));
    spend.push(lock(ALL_KEY.to_owned(), global.concurrent));
    spend.extend(targets.iter().map(|target| rate(format!("attempts:{target}"), attempts.limit, attempts.window)));
    spend.extend(sorted(actions.iter().map(cooldown_key)).into_iter().map(|key| rate(key, 1, cooldown)));
    spend.extend(actions.iter().map(|_| rates(policy_actions_key(&policy.name), &policy.brakes.actions)));
    spend.extend(actions.iter().map(|_| rates(ACTIONS_KEY.to_owned(), &global.actions)));
    spend
}

fn lock(key: String, limit: u32) -> Spend {
    Spend::Lock { key, limit }
}

fn rate(key: String, limit: u32, window: Duration) -> Spend {
    Spend::Rate { key, limits: vec![PerWindow { limit, window }] }
}

fn rates(key: String, rates: &Rates) -> Spend {
    Spend::Rate { key, limits: rates.limits().to_vec() }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    items.dedup();
    items
}

/// What can never be spent, however long one waits: the rule and what to tell people.
pub(super) fn never(policy: &Policy, global: &Brakes, proposals: &[Proposal]) -> Option<(Rule, String)> {
    let several = sorted(proposals.iter().map(Proposal::target));
    if let [first, second, ..] = several[..] {
        let message = format!(
            "one act is about one target, and this one names {first} and {second}: the plugin has to propose one of them, and is asked about the next once it was looked whether that helped"
        );
        return Some((Rule::SeveralTargets, message));
    }
    let own = (&policy.brakes.actions, format!("policy {}", policy.name));
    [own, (&global.actions, FILE.to_owned())].into_iter().find_map(|(rates, whose)| {
        let tightest = rates.tightest().filter(|rate| u64::from(rate.limit) < proposals.len() as u64)?;
        let message = format!(
            "one act of {} actions is more than brakes.actions of {whose} ever allows ({tightest}): raise it there",
            proposals.len()
        );
        Some((Rule::TooManyActions, message))
    })
}

/// A brake without room, as the journal tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full<'a> {
    pub(super) key: &'a str,
    pub(super) limit: Option<PerWindow>,
    pub(super) after: Option<Time>,
    pub(super) holder: Option<&'a IncidentId>,
}

/// Which rule such a brake stands for, and what to tell people about it.
pub(super) fn explain(full: Full<'_>, policy: &Policy, global: &Brakes) -> (Rule, String) {
    let (brake, of) = full.key.split_once(':').unwrap_or((full.key, ""));
    let by = full.holder.map_or(String::new(), |holder| format!(" ({holder})"));
    let own = format!("policy {}", policy.name);
    match brake {
        "target" => (
            Rule::TargetBusy,
            format!(
                "another incident{by} has {of}: it is at work on it, or tried what it may and was left to a person, who may close it"
            ),
        ),
        "group" => (Rule::MinimumHealthy, one_of(&clean(of, 300), &by)),
        "attempts" => (
            Rule::AttemptsSpent,
            format!(
                "the attempts allowed for {of} are spent: it keeps failing, and a person has to look (brakes.attempts); nothing else is done \
                 about it before a person closes or retries this incident, or its alert has been gone for as long as attempts count"
            ),
        ),
        "cooldown" => (Rule::Cooldown, too_soon(&of.replacen(':', " of ", 1), policy, global)),
        "policy" => (Rule::TooManyAtOnce, at_once(&own, &own, &by, policy.brakes.concurrent)),
        ACTIONS_KEY if of.is_empty() => (Rule::TooManyActions, spent(full, FILE)),
        ACTIONS_KEY => (Rule::TooManyActions, spent(full, &own)),
        _ => (Rule::TooManyAtOnce, at_once("Paramedic", FILE, &by, global.concurrent)),
    }
}

fn one_of(group: &str, by: &str) -> String {
    format!("another container of {group} is being restarted or looked at{by}, and brakes.minimum_healthy takes one at a time")
}

fn too_soon(what: &str, policy: &Policy, global: &Brakes) -> String {
    let (whose, cooldown) = match policy.brakes.cooldown {
        Some(cooldown) => (format!("policy {}", policy.name), cooldown),
        None => (FILE.to_owned(), global.cooldown),
    };
    format!("too soon after the last {what}: brakes.cooldown of {whose} is {}", as_written(cooldown))
}

fn at_once(who: &str, whose: &str, by: &str, limit: u32) -> String {
    format!("{who} is already acting{by}, and brakes.concurrent of {whose} allows {limit} at once")
}

fn spent(full: Full<'_>, whose: &str) -> String {
    let limit = full.limit.map_or(String::new(), |limit| format!(" ({limit})"));
    let room = full.after.map_or(String::new(), |after| format!("; there is room again at {after}"));
    format!("as many actions were done as brakes.actions of {whose} allows{limit}{room}")
}
