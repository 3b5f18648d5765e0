//! What must never be of pauses, signals, check runs, silences and messages: done without a grant or twice, told wrongly, looked at for nothing.

use std::collections::HashSet;
use std::time::Duration;

use paramedic::action::{Action, DockerVerb, Ending, Kind, Outcome};
use paramedic::alert::IncidentId;
use paramedic::incident::Event;
use paramedic::journal::Entry;
use paramedic::look::alertmanager::Own;
use paramedic::look::docker::CLOCKS;

use super::brakes::service;
use super::plan::Trouble;
use super::process::Record;
use super::rules::{Intent, intents};
use super::world::{PERSONS_SILENCE, What, World, second};

/// Adds what should not have been.
pub(super) fn hold(entries: &[Entry], world: &World, ended: bool, wrong: &mut Vec<String>) {
    let all = intents(entries);
    for intent in &all {
        if !granted(intent.action) {
            wrong.push(format!("4: {} was allowed at {} and no grant covers it", intent.action, second(intent.intended)));
        }
        if ended && intent.over.is_none() {
            wrong.push(format!("6: {} of {} never ended", intent.action, second(intent.intended)));
        }
        persons_pause_wins(intent, world, wrong);
        // Of two of the same in one act nobody can tell which effect was whose.
        let twin = |other: &Intent<'_>| {
            (other.incident, other.action) == (intent.incident, intent.action) && other.number != intent.number
        };
        if !all.iter().any(twin) {
            told_truly(intent, world, wrong);
        }
    }
    if world.effects().iter().any(|effect| effect.what == What::Expired(PERSONS_SILENCE.to_owned())) {
        wrong.push("9: a person's silence was ended".to_owned());
    }
    looked_for_a_reason(entries, &all, wrong);
}

/// Each kind of action that was really done, and each that was cut off by a crash.
pub(super) fn happened(record: &Record) -> Vec<String> {
    let disk = record.disk.lock().unwrap();
    let all = intents(&disk.entries);
    let effects = record.world.effects();
    let done = all.iter().filter(|intent| effects.iter().any(|e| is_of(&e.what, intent.incident, intent.number, intent.action)));
    let cut_off = all.iter().filter(|intent| intent.outcome.is_some_and(|outcome| outcome.ending == Ending::Interrupted));
    let done = done.map(|intent| word(intent.action));
    done.chain(cut_off.map(|intent| format!("{} cut off", word(intent.action)))).collect()
}

/// What has to happen in some of many schedules.
pub(super) fn all_that_happens() -> impl Iterator<Item = String> {
    let kinds = Kind::ALL.iter().filter(|kind| !matches!(kind, Kind::DockerStart | Kind::DockerStop)).map(|kind| kind.word());
    kinds.chain(["ansible.playbook check"]).flat_map(|word| [word.to_owned(), format!("{word} cut off")])
}

fn word(action: &Action) -> String {
    let check = if matches!(action, Action::Playbook { check: true, .. }) { " check" } else { "" };
    format!("{}{check}", action.kind())
}

/// Is this what that intent allowed?
pub(super) fn is_of(what: &What, incident: &IncidentId, intent: u32, action: &Action) -> bool {
    match (what, action) {
        (
            What::Docker { verb, signal, container, started_at },
            Action::Docker { verb: allowed, signal: with, container: id, started_at: start, .. },
        ) => verb == allowed && signal == with && id.as_str() == container && start == started_at,
        (What::Playbook { run, tags, check }, Action::Playbook { tags: only, check: checks, .. }) => {
            *run == format!("{incident}-{intent}") && tags == only && check == checks
        }
        // The policy's name is not told by the action: the rest of the mark says enough.
        (What::Silenced { comment }, Action::Silence { about, .. }) => ["first", "rest"]
            .iter()
            .any(|policy| *comment == format!("{}being healed", Own::mark_of(policy, about, incident, intent))),
        (What::Expired(id), Action::ExpireSilence { ids, .. }) => ids.contains(id),
        (What::Said { incident: of, intent: number, channel, text }, Action::Notify { channel: to, text: words, .. }) => {
            of == incident && *number == intent && channel == to && text == words
        }
        _ => false,
    }
}

/// What the policies of the simulation grant, said anew.
fn granted(action: &Action) -> bool {
    match action {
        Action::Docker { verb: DockerVerb::Kill, signal, .. } => {
            signal.is_some_and(|signal| ["SIGHUP", "SIGKILL"].contains(&signal.to_string().as_str()))
        }
        Action::Docker { verb, .. } => matches!(verb, DockerVerb::Restart | DockerVerb::Pause | DockerVerb::Unpause),
        Action::Playbook { name, tags, .. } => name == "fix.yml" && tags.iter().all(|tag| tag == "safe"),
        Action::Silence { matchers, millis, .. } => {
            matchers.iter().any(|m| (m.op.as_str(), m.value.as_str()) == ("=~", "s.*")) && *millis <= 3_600_000
        }
        Action::ExpireSilence { ids, .. } => ids.iter().all(|id| id != PERSONS_SILENCE),
        Action::Notify { channel, .. } => channel == "oncall",
    }
}

/// 9: what a person paused is left alone, however often we paused it before. An engine that forgets cannot tell the two apart.
fn persons_pause_wins(intent: &Intent<'_>, world: &World, wrong: &mut Vec<String>) {
    let tells = !world.plan.heals_deliberate && !world.plan.forgets;
    let paused = service(intent.action).is_some_and(|service| world.paused_by_person(service, intent.intended));
    if tells && intent.action.touches() && paused {
        wrong.push(format!("9: {} was allowed at {} although a person had paused it", intent.action, second(intent.intended)));
    }
}

/// 5: what is told of how it ended is what happened, where that can be told at all.
fn told_truly(intent: &Intent<'_>, world: &World, wrong: &mut Vec<String>) {
    let effects = world.effects();
    let parts: HashSet<String> = effects
        .iter()
        .filter(|effect| intent.begun.is_some_and(|begun| effect.at >= begun) && intent.over.is_none_or(|over| effect.at <= over))
        .filter(|effect| is_of(&effect.what, intent.incident, intent.number, intent.action))
        .map(|effect| format!("{:?}", effect.what))
        .collect();
    let (Some(outcome), done) = (intent.outcome, parts.len()) else {
        if intent.outcome.is_none() && !parts.is_empty() {
            wrong.push(format!("5: {} was done, and cancelled as never begun", intent.action));
        }
        return;
    };
    let told = told(intent.action, outcome);
    let lie = match told {
        // Ending silences of which none stands any more succeeds without doing anything.
        Told::Done if outcome.ending == Ending::Succeeded && matches!(intent.action, Action::ExpireSilence { .. }) => false,
        Told::Done => done == 0,
        Told::NotDone => done > 0,
        Told::Unknown => false,
    };
    if lie && !persons_hand(intent, world) {
        wrong.push(format!("5: {} is told as {:?} ({}), and was done {done} times", intent.action, told, outcome.message));
    }
}

#[derive(Debug)]
enum Told {
    Done,
    NotDone,
    Unknown,
}

/// What an outcome claims.
fn told(action: &Action, outcome: &Outcome) -> Told {
    // A restart is found by the container's start, which a person may have made as well; a run is found by its own folder.
    let by_the_world = !matches!(action, Action::Docker { verb: DockerVerb::Restart, .. } | Action::Playbook { .. });
    match outcome.ending {
        Ending::Succeeded => Told::Done,
        Ending::Failed if outcome.message.ends_with("nothing was done") => Told::NotDone,
        Ending::Interrupted if by_the_world && outcome.message.starts_with("it took place") => Told::Done,
        Ending::Interrupted if by_the_world && outcome.message.starts_with("it did not take place") => Told::NotDone,
        _ => Told::Unknown,
    }
}

/// Whether a person did something to the container at that time that looks the same.
fn persons_hand(intent: &Intent<'_>, world: &World) -> bool {
    let (Some(service), Some(begun), Some(over)) = (service(intent.action), intent.begun, intent.over) else { return false };
    let near = |second: u16| {
        let at = super::world::at(second);
        at.plus(CLOCKS + Duration::from_secs(1)) >= begun && at <= over
    };
    world.plan.troubles.iter().any(|(begin, length, trouble)| {
        let theirs = matches!(trouble, Trouble::Stopped(n) | Trouble::Paused(n) | Trouble::Recreated(n) if *n == service);
        theirs && (near(*begin) || near(begin + u16::from(*length)))
    })
}

/// Nobody looks whether it healed where nothing was touched; a look costs the target's lock and minutes.
fn looked_for_a_reason(entries: &[Entry], all: &[Intent<'_>], wrong: &mut Vec<String>) {
    let mut attempts: HashSet<(&IncidentId, u32)> = HashSet::new();
    for entry in entries {
        match &entry.event {
            Event::Intended { attempt, intent, action } if action.touches() => {
                let begun =
                    all.iter().any(|other| *other.incident == entry.incident && other.number == *intent && other.begun.is_some());
                if begun {
                    attempts.insert((&entry.incident, *attempt));
                }
            }
            Event::Verified { attempt, .. } if !attempts.contains(&(&entry.incident, *attempt)) => {
                wrong.push(format!("10: attempt {attempt} of {} touched nothing and was looked at", entry.incident));
            }
            _ => {}
        }
    }
}
