//! What must never be: the invariants, read off what was written and what was really done.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use paramedic::action::{Action, Outcome};
use paramedic::alert::{IncidentId, Status};
use paramedic::clock::Time;
use paramedic::incident::{Answer, Closing, Decision, Event, Verdict};
use paramedic::journal::Entry;
use paramedic::policy::brakes::PerWindow;
use paramedic::verify::Seen;

use super::families;
use super::plan::Trouble;
use super::process::{Record, STABLE, Said, storm};
use super::world::{What, World, second};

/// As long as an echo of a healed firing is told (see `receive/intake.rs`).
const ECHO: Duration = Duration::from_secs(300);

/// At the very moment at which something begins or ends, either is right.
const MOMENT: Duration = Duration::from_millis(1);

/// Everything that is wrong with a run; nothing if it is as it should be.
pub fn broken(record: &Record) -> Vec<String> {
    let disk = record.disk.lock().unwrap_or_else(PoisonError::into_inner);
    let entries = &disk.entries;
    let mut wrong: Vec<String> = disk.illegal.iter().map(|what| format!("5: not a legal entry: {what}")).collect();
    if !record.ended {
        let open: Vec<String> =
            disk.incidents().filter(|i| !i.is_closed()).map(|i| format!("{} {} {:?}", i.id, i.state(), i.phase)).collect();
        wrong.push(format!("6: it never ended: {}", open.join("; ")));
    }
    wrong.extend(
        record.said.iter().filter(|said| said.status == Status::Firing).filter_map(|said| lost(entries, said, &record.said)),
    );
    one_open_per_key(entries, &mut wrong);
    effects_have_permits(entries, &record.world, &mut wrong);
    super::brakes::hold(entries, &record.world, &mut wrong);
    calm_in_a_storm(entries, storm(&record.world.plan), &mut wrong);
    people_win(entries, &record.world, &mut wrong);
    stopped_rests(entries, &mut wrong);
    healed_was_seen(entries, &record.world, &mut wrong);
    families::hold(entries, &record.world, record.ended, &mut wrong);
    wrong
}

/// When an incident began, and when and how it ended.
type Life = (Time, Option<(Time, Closing)>);

/// 1: whatever was acknowledged has an incident.
fn lost(entries: &[Entry], said: &Said, all: &[Said]) -> Option<String> {
    let mut ends: HashMap<&IncidentId, Life> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.incident.key == said.key) {
        match entry.event {
            Event::Opened { .. } => drop(ends.insert(&entry.incident, (entry.at, None))),
            Event::Closed { how, .. } => drop(ends.entry(&entry.incident).and_modify(|(_, end)| *end = Some((entry.at, how)))),
            _ => {}
        }
    }
    let has = ends.values().any(|(begun, end)| {
        // A firing that a person has closed is that person's until it ends.
        let covers = |(end, how): (Time, Closing)| end.plus(ECHO) >= said.at || (how == Closing::Person && said.starts_at <= end);
        *begun <= said.at && end.is_none_or(covers)
    });
    let overtaken = all.iter().any(|other| {
        other.status == Status::Resolved && other.key == said.key && other.starts_at == said.starts_at && other.at <= said.at
    });
    (!has && !overtaken).then(|| format!("1: acknowledged at {} and no incident", second(said.at)))
}

/// 2: at most one incident is open per key.
fn one_open_per_key(entries: &[Entry], wrong: &mut Vec<String>) {
    let mut open = HashSet::new();
    for entry in entries {
        match entry.event {
            Event::Opened { .. } if !open.insert(&entry.incident.key) => {
                wrong.push(format!("2: two open of {}", entry.incident.key))
            }
            Event::Closed { .. } => drop(open.remove(&entry.incident.key)),
            _ => {}
        }
    }
}

/// An intent as it was written.
pub(super) struct Intent<'a> {
    pub incident: &'a IncidentId,
    pub number: u32,
    pub action: &'a Action,
    pub intended: Time,
    pub begun: Option<Time>,
    pub over: Option<Time>,
    /// How it ended; none where it was cancelled, or is not over.
    pub outcome: Option<&'a Outcome>,
}

pub(super) fn intents(entries: &[Entry]) -> Vec<Intent<'_>> {
    let mut all: BTreeMap<(&IncidentId, u32), Intent<'_>> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Intended { intent, action, .. } => {
                let new = Intent {
                    incident: &entry.incident,
                    number: *intent,
                    action,
                    intended: entry.at,
                    begun: None,
                    over: None,
                    outcome: None,
                };
                all.insert((&entry.incident, *intent), new);
            }
            Event::Begun { intent } => {
                if let Some(known) = all.get_mut(&(&entry.incident, *intent)) {
                    known.begun = Some(entry.at);
                }
            }
            Event::Ended { intent, .. } | Event::Cancelled { intent, .. } => {
                if let Some(known) = all.get_mut(&(&entry.incident, *intent)) {
                    known.over = Some(entry.at);
                    known.outcome = if let Event::Ended { outcome, .. } = &entry.event { Some(outcome) } else { None };
                }
            }
            _ => {}
        }
    }
    all.into_values().collect()
}

/// 4, 5, 8: what was done had an intent that had begun, one for each, about that very container.
fn effects_have_permits(entries: &[Entry], world: &World, wrong: &mut Vec<String>) {
    let mut runs = HashSet::new();
    let mut spent = HashSet::new();
    for effect in world.effects() {
        let mut found = false;
        for entry in entries {
            let Event::Begun { intent } = entry.event else { continue };
            if entry.at > effect.at {
                continue;
            }
            let action = entries.iter().find_map(|other| match &other.event {
                Event::Intended { intent: number, action, .. } if *number == intent && other.incident == entry.incident => {
                    Some(action)
                }
                _ => None,
            });
            // One permit to end several silences is spent once for each.
            let part = if let What::Expired(id) = &effect.what { id.clone() } else { String::new() };
            let permit = (entry.incident.clone(), intent, part);
            if !spent.contains(&permit)
                && action.is_some_and(|action| families::is_of(&effect.what, &entry.incident, intent, action))
            {
                found = spent.insert(permit);
                break;
            }
        }
        if !found {
            wrong.push(format!("5: done at {} without a permit of its own: {:?}", second(effect.at), effect.what));
        }
        if let What::Playbook { run, .. } = &effect.what
            && !runs.insert(run.clone())
        {
            wrong.push(format!("5: {run} ran twice"));
        }
    }
}

/// While so many targets are new, nothing is allowed but what a person took; counted anew from the entries.
fn calm_in_a_storm(entries: &[Entry], storm: PerWindow, wrong: &mut Vec<String>) {
    let mut owned: HashSet<&IncidentId> = HashSet::new();
    let mut persons: HashSet<&IncidentId> = HashSet::new();
    let mut targets: HashMap<&IncidentId, String> = HashMap::new();
    let mut came: HashMap<String, Time> = HashMap::new();
    let mut until = Time(0);
    for entry in entries {
        let (id, at) = (&entry.incident, entry.at);
        match &entry.event {
            Event::Asked { targets: views, .. } => {
                let name = views.iter().map(|view| view.target.to_string()).collect::<String>();
                targets.insert(id, name);
            }
            Event::Retried { .. } => drop(persons.insert(id)),
            Event::Intended { .. } if at < until && !persons.contains(id) => {
                wrong.push(format!("storm: allowed at {} although it lasts until {}", second(at), second(until)));
            }
            Event::Decided(Answer { mode, decision: Ok(decision), .. }) if mode.takes() => {
                let new = !matches!(decision, Decision::Pass { .. }) && owned.insert(id);
                let fresh = |came: Option<&Time>| came.is_some_and(|came| at.since(*came) < storm.window);
                let name = targets.get(id).cloned().unwrap_or_default();
                if !new || matches!(decision, Decision::Ignore { .. }) || fresh(came.get(&name)) {
                    continue;
                }
                came.insert(name, at);
                let lately = came.values().filter(|came| at.since(**came) < storm.window).count();
                if lately >= storm.limit as usize {
                    until = at.plus(storm.window);
                }
            }
            _ => {}
        }
    }
}

/// 9: nothing begins against a person.
fn people_win(entries: &[Entry], world: &World, wrong: &mut Vec<String>) {
    for entry in entries {
        let at = entry.at;
        if matches!(entry.event, Event::Begun { .. }) && world.plan_had(Trouble::Halted, at, MOMENT) {
            wrong.push(format!("9: begun at {} although everything was halted", second(at)));
        }
        if matches!(entry.event, Event::Begun { .. }) && world.plan_had(Trouble::Held, at, MOMENT) {
            wrong.push(format!("9: begun at {} although it was held", second(at)));
        }
        if matches!(entry.event, Event::Intended { .. })
            && (world.plan_had(Trouble::Deploying, at, MOMENT) || world.plan_had(Trouble::PrometheusDown, at, MOMENT))
        {
            wrong.push(format!("9: allowed at {} although `unless` held", second(at)));
        }
        if matches!(entry.event, Event::Intended { .. })
            && world.plan_had(Trouble::Silenced, at, MOMENT)
            && !world.plan_had(Trouble::SilencesUnknown, at, Duration::ZERO)
        {
            wrong.push(format!("9: allowed at {} although it was silenced", second(at)));
        }
    }
}

/// 9: what a person stopped is not tried again before a person says so.
fn stopped_rests(entries: &[Entry], wrong: &mut Vec<String>) {
    let mut stopped = HashSet::new();
    for entry in entries {
        match entry.event {
            Event::Stopped { .. } => drop(stopped.insert(&entry.incident)),
            Event::Retried { .. } => drop(stopped.remove(&entry.incident)),
            Event::Asked { .. } | Event::Intended { .. } if stopped.contains(&entry.incident) => {
                wrong.push(format!("9: {} goes on at {} although a person stopped it", entry.incident, second(entry.at)));
            }
            _ => {}
        }
    }
}

/// 10: healed is only said when every look for long enough, and after the action, was a positive one.
fn healed_was_seen(entries: &[Entry], world: &World, wrong: &mut Vec<String>) {
    let looks = world.looks();
    let mut verdicts: HashMap<&IncidentId, (Verdict, Time)> = HashMap::new();
    for entry in entries {
        match entry.event {
            Event::Verified { verdict, .. } => drop(verdicts.insert(&entry.incident, (verdict, entry.at))),
            Event::Closed { how: Closing::Healed, .. } => {
                let Some((Verdict::Healed, at)) = verdicts.get(&entry.incident) else {
                    wrong.push(format!("10: {} closed as healed without being seen", entry.incident));
                    continue;
                };
                let near =
                    looks.iter().filter(|(when, key, _)| *key == entry.incident.key && *when <= *at && when.plus(STABLE) >= *at);
                let near: Vec<_> = near.collect();
                if near.is_empty() || near.iter().any(|(_, _, seen)| !matches!(seen, Seen::Healthy(_))) {
                    wrong.push(format!("10: {} healed at {} after looks {near:?}", entry.incident, second(*at)));
                }
            }
            _ => {}
        }
    }
}
