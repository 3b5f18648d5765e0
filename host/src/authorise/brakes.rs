//! What one act has to spend of the brakes, as keys and limits; the journal checks and spends them with the intents.

use crate::action::{Action, Target};
use crate::incident::Rule;
use crate::journal::Spend;
use crate::policy::brakes::{Brakes, PolicyBrakes};

/// Acts of one policy that may be under way at once.
const PER_POLICY: u32 = 1;

/// The keys under which the journal counts. Their first word tells which brake it is.
pub(crate) fn cooldown_key(action: &Action) -> String {
    format!("cooldown:{}:{}", action.kind(), action.target())
}

/// The lock of a target, held from the intent until somebody has looked whether it helped.
pub(crate) fn target_key(target: &Target) -> String {
    format!("target:{target}")
}

fn policy_key(policy: &str) -> String {
    format!("policy:{policy}")
}

const ALL_KEY: &str = "all:acts";

/// What one act has to spend.
pub(crate) fn spend(policy: &str, own: &PolicyBrakes, global: &Brakes, actions: &[Action]) -> Vec<Spend> {
    let mut spend = Vec::new();
    let mut targets: Vec<&Target> = actions.iter().map(Action::target).collect();
    targets.sort();
    targets.dedup();
    // Locks first: somebody at work on the target explains more than the cooldown that follows from it.
    spend.extend(targets.iter().map(|target| Spend::Lock { key: target_key(target), limit: 1 }));
    spend.push(Spend::Lock { key: policy_key(policy), limit: PER_POLICY });
    spend.push(Spend::Lock { key: ALL_KEY.to_owned(), limit: global.concurrent });
    let attempts = own.attempts.unwrap_or(global.attempts);
    spend.extend(targets.iter().map(|target| Spend::Rate {
        key: format!("attempts:{target}"),
        limit: attempts.limit,
        window: attempts.window,
    }));
    let cooldown = own.cooldown.unwrap_or(global.cooldown);
    let mut cooldowns: Vec<String> = actions.iter().map(cooldown_key).collect();
    cooldowns.sort();
    cooldowns.dedup();
    spend.extend(cooldowns.into_iter().map(|key| Spend::Rate { key, limit: 1, window: cooldown }));
    spend.extend(actions.iter().map(|_| Spend::Rate {
        key: "hour:actions".to_owned(),
        limit: global.actions.limit,
        window: global.actions.window,
    }));
    spend
}

/// What is given back when the last action of an act has ended, before anybody has looked.
pub(crate) fn locks_of_acting(policy: &str) -> Vec<String> {
    vec![policy_key(policy), ALL_KEY.to_owned()]
}

/// Which rule a brake's key stands for.
pub(crate) fn rule_of(key: &str) -> Rule {
    match key.split(':').next() {
        Some("target") => Rule::TargetBusy,
        Some("attempts") => Rule::AttemptsSpent,
        Some("cooldown") => Rule::Cooldown,
        Some("hour") => Rule::HourlyLimit,
        _ => Rule::TooManyAtOnce,
    }
}
