//! The brakes, counted anew from what was written and from how the containers really were.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use paramedic::action::{Action, DockerVerb, Kind, Signal, Target};
use paramedic::alert::IncidentId;
use paramedic::clock::Time;
use paramedic::incident::{Event, Incident, Phase};
use paramedic::journal::Entry;

use super::plan::{SERVICES, Trouble};
use super::process::{LONG_WINDOW, WINDOW};
use super::rules::{Intent, intents};
use super::world::{World, second, target};

/// Adds what a brake should have held.
pub(super) fn hold(entries: &[Entry], world: &World, wrong: &mut Vec<String>) {
    let all = intents(entries);
    let owners = owners(entries);
    actions(&all, &owners, world, wrong);
    attempts(&all, world, wrong);
    cooldowns(&all, world, wrong);
    at_once(entries, world, wrong);
    minimum_healthy(&all, world, wrong);
}

/// The policy that each incident belongs to.
fn owners(entries: &[Entry]) -> BTreeMap<&IncidentId, String> {
    let mut stories: BTreeMap<&IncidentId, Incident> = BTreeMap::new();
    for entry in entries {
        tell(&mut stories, entry);
    }
    stories.into_iter().filter_map(|(id, incident)| Some((id, incident.owner?.policy))).collect()
}

fn tell<'a>(stories: &mut BTreeMap<&'a IncidentId, Incident>, entry: &'a Entry) {
    if let Some(incident) = stories.get_mut(&entry.incident) {
        incident.apply(entry.seq, entry.at, &entry.event);
    } else if let Some(opened) = Incident::from_events(&entry.incident, [(entry.seq, entry.at, &entry.event)]) {
        stories.insert(&entry.incident, opened);
    }
}

/// In any `limit + 1` in a row, the first and the last are a window apart.
fn inside(mut times: Vec<Time>, limit: usize, window: Duration) -> bool {
    times.sort();
    times.windows(limit + 1).all(|row| row[limit].since(row[0]) >= window)
}

fn actions(all: &[Intent<'_>], owners: &BTreeMap<&IncidentId, String>, world: &World, wrong: &mut Vec<String>) {
    let mut check = |whose: &str, (few, more): (u8, u8), times: Vec<Time>| {
        for (limit, window) in [(few, WINDOW), (few + more, LONG_WINDOW)] {
            if !inside(times.clone(), limit.into(), window) {
                wrong.push(format!("brake: more than {limit} actions of {whose} in {} s", window.as_secs()));
            }
        }
    };
    check("all", world.plan.actions, all.iter().map(|intent| intent.intended).collect());
    for policy in owners.values().collect::<BTreeSet<_>>() {
        let own = all.iter().filter(|intent| owners.get(intent.incident) == Some(policy));
        check(policy, world.plan.policy_actions, own.map(|intent| intent.intended).collect());
    }
}

fn attempts(all: &[Intent<'_>], world: &World, wrong: &mut Vec<String>) {
    let mut attempts: BTreeMap<&Target, BTreeSet<(Time, &IncidentId)>> = BTreeMap::new();
    for intent in all {
        attempts.entry(intent.action.target()).or_default().insert((intent.intended, intent.incident));
    }
    for (target, attempts) in &attempts {
        let (limit, window) = (world.plan.attempts, Duration::from_secs(world.plan.window.into()));
        if !inside(attempts.iter().map(|(at, _)| *at).collect(), limit.into(), window) {
            wrong.push(format!("brake: more than {limit} attempts at {target} in {} s", window.as_secs()));
        }
    }
}

fn cooldowns(all: &[Intent<'_>], world: &World, wrong: &mut Vec<String>) {
    let mut kinds: BTreeMap<(Kind, &Target), Vec<&Intent<'_>>> = BTreeMap::new();
    for intent in all {
        kinds.entry((intent.action.kind(), intent.action.target())).or_default().push(intent);
    }
    let cooldown = Duration::from_secs(world.plan.cooldown.into());
    for ((kind, target), mut of_kind) in kinds {
        of_kind.sort_by_key(|intent| intent.intended);
        for pair in of_kind.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let since = if before.begun.is_some() { before.over } else { Some(before.intended) };
            // Two of one kind in one act are one spending.
            let one_act = before.intended == after.intended && before.incident == after.incident;
            if !one_act && since.is_none_or(|since| after.intended.since(since) < cooldown) {
                wrong.push(format!("brake: {kind} of {target} at {} within its cooldown", second(after.intended)));
            }
        }
    }
}

/// One act at a time per target and per group, from the intent until somebody has looked; so many of a policy and altogether until
/// they are done; and one act is about one target.
fn at_once(entries: &[Entry], world: &World, wrong: &mut Vec<String>) {
    let mut stories: BTreeMap<&IncidentId, Incident> = BTreeMap::new();
    for entry in entries {
        tell(&mut stories, entry);
        if !matches!(entry.event, Event::Intended { .. }) {
            continue;
        }
        let at = second(entry.at);
        let (mut targets, mut taking) = (HashSet::new(), 0);
        for incident in stories.values().filter(|i| matches!(i.phase, Phase::Acting | Phase::Verifying(_))) {
            let Some(attempt) = incident.attempts.last() else { continue };
            let own: HashSet<&Target> = attempt.intents.iter().map(|intent| intent.action.target()).collect();
            if own.len() > 1 {
                wrong.push(format!("brake: one act about {} targets at {at}", own.len()));
            }
            if own.iter().any(|target| !targets.insert(*target)) {
                wrong.push(format!("brake: two incidents at work on one target at {at}"));
            }
            taking += usize::from(attempt.intents.iter().any(|intent| takes(&intent.action, attempt.started_at, world)));
        }
        if world.plan.minimum_healthy && taking > 1 {
            wrong.push(format!("brake: {taking} containers of one group at once at {at}"));
        }
        let acting: Vec<&Incident> = stories.values().filter(|incident| incident.phase == Phase::Acting).collect();
        if acting.len() > world.plan.concurrent.into() {
            wrong.push(format!("brake: {} acts at once at {at}", acting.len()));
        }
        let policies = acting.iter().filter_map(|incident| Some(&incident.owner.as_ref()?.policy));
        let mut of_policy: BTreeMap<&String, usize> = BTreeMap::new();
        policies.for_each(|policy| *of_policy.entry(policy).or_default() += 1);
        if of_policy.values().any(|count| *count > world.plan.policy_concurrent.into()) {
            wrong.push(format!("brake: acts at once at {at}, by policy: {of_policy:?}"));
        }
    }
}

pub(super) fn service(action: &Action) -> Option<u8> {
    (0..SERVICES).find(|service| target(*service) == *action.target())
}

/// Does this take a container away that surely was up then?
fn takes(action: &Action, then: Time, world: &World) -> bool {
    let telling = |signal: &Option<Signal>| signal.is_some_and(|signal| !signal.is_deadly());
    let takes = match action {
        Action::Docker { verb: DockerVerb::Start | DockerVerb::Unpause, .. } => false,
        Action::Docker { verb: DockerVerb::Kill, signal, .. } => !telling(signal),
        Action::Docker { .. } | Action::Playbook { check: false, .. } => true,
        _ => false,
    };
    takes && service(action).is_some_and(|service| world.was_up(service, then) == Some(true))
}

/// Nothing that is up is taken away while the other one is down.
fn minimum_healthy(all: &[Intent<'_>], world: &World, wrong: &mut Vec<String>) {
    for intent in all.iter().filter(|_| world.plan.minimum_healthy) {
        let (Some(begun), Some(own)) = (intent.begun, service(intent.action)) else { continue };
        let unsure = world.plan.acts_unsure && world.plan_had(Trouble::EngineDown, begun, Duration::ZERO);
        let alone = (0..SERVICES).filter(|other| *other != own).all(|other| world.was_up(other, begun) == Some(false));
        if takes(intent.action, begun, world) && alone && !unsure {
            wrong.push(format!("brake: {} begun at {} while nothing else was healthy", intent.action, second(begun)));
        }
    }
}
