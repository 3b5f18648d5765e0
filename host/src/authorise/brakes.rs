//! What one act has to spend of the brakes, as keys and limits; the journal checks and spends them with the intents.

use std::time::Duration;

use crate::action::Action;
use crate::incident::Rule;
use crate::journal::Spend;
use crate::policy::brakes::{ALL_KEY, Brakes, PolicyBrakes, cooldown_key, policy_key, target_key};

/// Acts of one policy that may be under way at once.
const PER_POLICY: u32 = 1;

/// What this act has to spend.
pub(super) fn spend(policy: &str, own: &PolicyBrakes, global: &Brakes, actions: &[Action]) -> Vec<Spend> {
    let targets = sorted(actions.iter().map(Action::target));
    let attempts = own.attempts.unwrap_or(global.attempts);
    let cooldown = own.cooldown.unwrap_or(global.cooldown);
    // Locks first: that somebody is at work on the target explains more than the cooldown that follows from it.
    let mut spend: Vec<Spend> = targets.iter().map(|target| Spend::Lock { key: target_key(target), limit: 1 }).collect();
    spend.push(Spend::Lock { key: policy_key(policy), limit: PER_POLICY });
    spend.push(Spend::Lock { key: ALL_KEY.to_owned(), limit: global.concurrent });
    spend.extend(targets.iter().map(|target| rate(format!("attempts:{target}"), attempts.limit, attempts.window)));
    spend.extend(sorted(actions.iter().map(cooldown_key)).into_iter().map(|key| rate(key, 1, cooldown)));
    spend.extend(actions.iter().map(|_| rate("hour:actions".to_owned(), global.actions.limit, global.actions.window)));
    spend
}

fn rate(key: String, limit: u32, window: Duration) -> Spend {
    Spend::Rate { key, limit, window }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    items.dedup();
    items
}

/// Which rule a brake's key stands for, and what to tell people about it.
pub(super) fn explain(key: &str, global: &Brakes) -> (Rule, String) {
    let (brake, of) = key.split_once(':').unwrap_or((key, ""));
    match brake {
        "target" => {
            (Rule::TargetBusy, format!("another incident is at work on {of}, or has tried what it may and left it to a person"))
        }
        "attempts" => (
            Rule::AttemptsSpent,
            format!(
                "the attempts allowed for {of} are spent: it keeps failing, and a person has to look (brakes.attempts); nothing else is done \
                 about it before a person closes or retries this incident, or its alert has been gone for as long as attempts count"
            ),
        ),
        "cooldown" => (Rule::Cooldown, format!("too soon after the last {} (brakes.cooldown)", of.replacen(':', " of ", 1))),
        "hour" => {
            (Rule::HourlyLimit, format!("{} actions were done lately, as many as brakes.actions allows", global.actions.limit))
        }
        "policy" => (Rule::TooManyAtOnce, format!("policy {of} is acting elsewhere, and does one thing at a time")),
        _ => (Rule::TooManyAtOnce, format!("{} acts are under way, as many as brakes.concurrent allows", global.concurrent)),
    }
}
