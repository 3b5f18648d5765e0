//! The brakes, computed anew: from the journal's times without any tolerance, and from what the witnesses saw.
//!
//! What a witness sees comes later than the intent that paid for it, each time by another while, so a window of the
//! witness may be shorter than the brake's by the longest of these whiles and no more.

use std::collections::{BTreeMap, BTreeSet};

use super::story::{Intent, Stories};
use super::{Deed, Explained, FOUND_OUT_MS};

/// The brakes of one target, as its policy sets them.
#[derive(Clone, Copy, Debug)]
pub struct TargetBrakes {
    /// Between two actions of one kind, in ms.
    pub cooldown: i64,
    /// So many attempts,
    pub attempts: usize,
    /// in so many ms.
    pub window: i64,
}

/// The brakes that several targets share: those of a policy, of a group of which one is taken at a time, of everything.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Whose, in words.
    pub what: String,
    /// Which targets, `local/name`.
    pub targets: BTreeSet<String>,
    /// So many actions in so many ms, all of them.
    pub actions: Vec<(usize, i64)>,
    /// So many acts at once.
    pub concurrent: usize,
}

/// All brakes.
#[derive(Clone, Debug, Default)]
pub struct Brakes {
    /// By target, `local/name`.
    pub targets: BTreeMap<String, TargetBrakes>,
    /// What they share.
    pub shared: Vec<Shared>,
}

/// Something that counts against a rate: when it took place, and how long before that it was paid for.
type Paid = (i64, i64);

pub(super) fn check(brakes: &Brakes, stories: &Stories, explained: &[Explained<'_>], over: &mut Vec<String>) {
    let intents: Vec<&Intent> = stories.intents.values().filter(|intent| !intent.intended.is_empty()).collect();
    let begun: Vec<(&Intent, i64)> = explained.iter().map(|one| (one.intent, one.intent.begun_at())).collect();
    let seen: Vec<(&Intent, &Deed)> = explained.iter().filter_map(|one| Some((one.intent, one.deed?))).collect();
    for (target, own) in &brakes.targets {
        let of = |intent: &Intent| intent.target == *target;
        let what = format!("attempts on {target}");
        // Every act here is one action; one of several would be one attempt.
        let paid = intents.iter().filter(|i| of(i)).map(|i| (i.intended_at(), 0));
        rate(&format!("{what}, by intents"), paid, own.attempts, own.window, over);
        let paid = begun.iter().filter(|(i, _)| of(i)).map(|(i, at)| (*at, at - i.intended_at()));
        rate(&format!("{what}, by begun"), paid, own.attempts, own.window, over);
        let paid = seen.iter().filter(|(i, _)| of(i)).map(|(i, deed)| (deed.began, deed.began - i.intended_at()));
        rate(&format!("{what}, as seen"), paid, own.attempts, own.window, over);
        for kind in ["docker.restart", "ansible.playbook"] {
            let same = |intent: &Intent| of(intent) && intent.kind == kind;
            cooldown_written(target, kind, own.cooldown, intents.iter().copied().filter(|i| same(i)), over);
            cooldown_seen(target, kind, own.cooldown, seen.iter().copied().filter(|(i, _)| same(i)), over);
        }
        at_once_written(target, 1, intents.iter().copied().filter(|i| of(i)), over);
        at_once_seen(target, 1, seen.iter().copied().filter(|(i, _)| of(i)), over);
    }
    if let Some(intent) = intents.iter().find(|intent| !brakes.targets.contains_key(&intent.target)) {
        over.push(format!("intent {} is about {}, which has no brakes", intent.name, intent.target));
    }
    for Shared { what, targets, actions, concurrent } in &brakes.shared {
        let of = |intent: &Intent| targets.contains(&intent.target);
        for (limit, window) in actions.iter().copied() {
            let paid = intents.iter().filter(|i| of(i)).map(|i| (i.intended_at(), 0));
            rate(&format!("actions of {what}, by intents"), paid, limit, window, over);
            let paid = begun.iter().filter(|(i, _)| of(i)).map(|(i, at)| (*at, at - i.intended_at()));
            rate(&format!("actions of {what}, by begun"), paid, limit, window, over);
            let paid = seen.iter().filter(|(i, _)| of(i)).map(|(i, deed)| (deed.began, deed.began - i.intended_at()));
            rate(&format!("actions of {what}, as seen"), paid, limit, window, over);
        }
        at_once_written(what, *concurrent, intents.iter().copied().filter(|i| of(i)), over);
        at_once_seen(what, *concurrent, seen.iter().copied().filter(|(i, _)| of(i)), over);
    }
}

/// In any `limit + 1` in a row, the first and the last are a window apart.
fn rate(what: &str, paid: impl Iterator<Item = Paid>, limit: usize, window: i64, over: &mut Vec<String>) {
    let mut paid: Vec<Paid> = paid.collect();
    paid.sort_unstable();
    for row in paid.windows(limit + 1) {
        let lag = row.iter().map(|(_, lag)| *lag).max().unwrap_or(0);
        let took = row[limit].0 - row[0].0;
        if took < window - lag {
            over.push(format!("{what}: {} within {took} ms from {} on, allowed are {limit} in {window} ms", limit + 1, row[0].0));
        }
    }
}

/// From the outcome of one to the intent of the next.
fn cooldown_written<'a>(
    target: &str,
    kind: &str,
    cooldown: i64,
    intents: impl Iterator<Item = &'a Intent>,
    over: &mut Vec<String>,
) {
    let mut intents: Vec<&Intent> = intents.collect();
    intents.sort_by_key(|intent| intent.intended.first().copied());
    for pair in intents.windows(2) {
        // What was cancelled has paid with its intent, and has no outcome to count from.
        let ended = pair[0].over.iter().filter(|over| over.ending != "cancelled").map(|over| over.at).max();
        let from = ended.unwrap_or(0).max(pair[0].intended_at());
        let pause = pair[1].intended_at() - from;
        if pause < cooldown {
            let (one, other) = (&pair[0].name, &pair[1].name);
            over.push(format!("cooldown of {kind} on {target}: {other} came {pause} ms after {one}, not {cooldown}"));
        }
    }
}

/// From the last trace of one to the first trace of the next.
fn cooldown_seen<'a>(
    target: &str,
    kind: &str,
    cooldown: i64,
    seen: impl Iterator<Item = (&'a Intent, &'a Deed)>,
    over: &mut Vec<String>,
) {
    let mut seen: Vec<(&Intent, &Deed)> = seen.collect();
    seen.sort_by_key(|(_, deed)| deed.began);
    for pair in seen.windows(2) {
        let pause = pair[1].1.began - end_of(pair[0]);
        if pause < cooldown {
            over.push(format!("cooldown of {kind} on {target}, as seen: {pause} ms, not {cooldown}: {:?}", pair[1].1));
        }
    }
}

/// The last trace; or when a restarted server found out the end, if that was just before.
fn end_of((intent, deed): (&Intent, &Deed)) -> i64 {
    let written = intent.over.first().map_or(i64::MAX, |over| over.at);
    match deed.ended {
        Some(seen) if seen > written && seen - written <= FOUND_OUT_MS => written,
        Some(seen) => seen,
        None => written,
    }
}

/// Acts from their intent to their end, in the order of the journal's positions.
fn at_once_written<'a>(what: &str, limit: usize, intents: impl Iterator<Item = &'a Intent>, over: &mut Vec<String>) {
    let position = |pos: u64| i64::try_from(pos).unwrap_or(i64::MAX);
    let spans = intents.map(|intent| {
        let start = intent.intended.first().map_or(0, |(pos, _)| *pos);
        (position(start), intent.over.first().map_or(i64::MAX, |over| position(over.pos)))
    });
    at_once(&format!("acts on {what} under way at once, by entries"), limit, spans, over);
}

fn at_once_seen<'a>(what: &str, limit: usize, seen: impl Iterator<Item = (&'a Intent, &'a Deed)>, over: &mut Vec<String>) {
    let spans = seen.map(|(intent, deed)| (deed.began, end_of((intent, deed))));
    at_once(&format!("acts on {what} under way at once, as seen"), limit, spans, over);
}

fn at_once(what: &str, limit: usize, spans: impl Iterator<Item = (i64, i64)>, over: &mut Vec<String>) {
    // Ends (-1) sort before beginnings of the same moment.
    let mut steps: Vec<(i64, i32)> =
        spans.filter(|(start, end)| start < end).flat_map(|(start, end)| [(start, 1), (end, -1)]).collect();
    steps.sort_unstable();
    let (mut now, limit) = (0, i32::try_from(limit).unwrap_or(i32::MAX));
    for (at, step) in steps {
        now += step;
        if step > 0 && now > limit {
            over.push(format!("{what}: {now} at {at}, allowed are {limit}"));
        }
    }
}
