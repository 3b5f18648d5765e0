//! What must hold after any number of crashes, computed anew from what was seen from the outside.
//!
//! Three kinds of evidence are laid side by side: what the senders were told (2xx), what the journal says, and what
//! witnesses of the world saw (the engine's own events, and a line that each playbook run appends). The journal alone
//! proves nothing here: a restart or a run that no `begun` explains is a fault, and so is one that the journal
//! claims and nobody saw. Pure: no clock, no file, so that fabricated evidence can show that every fault is found.

mod brakes;
mod story;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use brakes::{Brakes, Shared, TargetBrakes};
use story::{End, Intent, Stories};

/// How long after its end was written as not known something may still begin.
const LATE_MS: i64 = 30_000;

/// How much later the witness may tell of the end of something than the journal does, when a restarted server found it out.
const FOUND_OUT_MS: i64 = 2_000;

/// For so long after a firing was said to be over it is old news when it is told once more.
const OVERTAKEN_MS: i64 = 60_000;

/// Labels of an alert: who it is.
pub type Labels = BTreeMap<String, String>;

/// A message about one alert that was acknowledged with 2xx.
#[derive(Clone, Debug)]
pub struct Told {
    /// Who: the labels are the alert's identity.
    pub labels: Labels,
    /// Its `startsAt`.
    pub starts_at: i64,
    /// Firing, or resolved.
    pub firing: bool,
    /// When it was first sent (ms, the harness' clock); it may have been heard then, although nobody said so.
    pub first_sent: i64,
    /// When the request that was acknowledged was sent.
    pub sent: i64,
    /// When the acknowledgement was there.
    pub acked: i64,
}

/// One entry of the journal, as `paramedic journal tail --output json` prints it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Position in the journal.
    pub pos: u64,
    /// Whose.
    pub incident: String,
    /// The journal's time, in ms.
    pub at: i64,
    /// `kind` and the fields of the event.
    pub event: Value,
}

/// Something that took place in the world: a restart in the engine's events, or a run of a playbook.
#[derive(Clone, Debug)]
pub struct Deed {
    /// The container's name.
    pub container: String,
    /// A run's mark, `<incident>-<intent>`; a restart has none.
    pub intent: Option<String>,
    /// When its first trace was seen, in ms.
    pub began: i64,
    /// When its last was; `None`: never.
    pub ended: Option<i64>,
}

/// All evidence.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What was acknowledged.
    pub told: Vec<Told>,
    /// Alerts that were left firing on purpose.
    pub forgotten: BTreeSet<Labels>,
    /// The whole journal.
    pub journal: Vec<Line>,
    /// Restarts that the engine told of.
    pub restarts: Vec<Deed>,
    /// Lines of the playbook's counter.
    pub runs: Vec<Deed>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Alerts (labels and start) whose firing was acknowledged.
    pub alerts: usize,
    /// Actions that were begun.
    pub actions: usize,
    /// Something acknowledged or claimed that is not there, or has no end.
    pub lost: Vec<String>,
    /// Something that took place more often than it was allowed.
    pub doubled: Vec<String>,
    /// Something that a brake should have held.
    pub over_brake: Vec<String>,
    /// How many incidents ended how.
    pub ends: BTreeMap<String, usize>,
    /// How often each rule held or refused.
    pub rules: BTreeMap<String, usize>,
}

/// An intent that was begun, and what was seen of it.
struct Explained<'a> {
    intent: &'a Intent,
    deed: Option<&'a Deed>,
}

/// Checks everything.
pub fn check(evidence: &Evidence, brakes: &Brakes) -> Report {
    let stories = Stories::read(&evidence.journal);
    let mut report = Report { rules: stories.rules.clone(), ..Report::default() };
    report.doubled.extend(stories.faults.iter().cloned());
    acknowledged(evidence, &stories, &mut report);
    ends(evidence, &stories, &mut report);
    once(&stories, &mut report);
    let explained = explain(evidence, &stories, &mut report);
    report.actions = explained.len();
    for one in &explained {
        honest(one, &mut report);
    }
    brakes::check(brakes, &stories, &explained, &mut report.over_brake);
    report
}

/// Every acknowledged firing belongs to an incident that was open at some moment between its sending and its answer. Only a firing
/// whose end (of the same `startsAt`) had been told before its answer, at most a minute ago, needs none: messages may overtake each other.
///
/// Without any tolerance: the journal's time of `opened` is taken before the answer, that of `closed` after the alert was last let in.
fn acknowledged(evidence: &Evidence, stories: &Stories, report: &mut Report) {
    let mut alerts = BTreeSet::new();
    let mut over: BTreeMap<(&Labels, i64), Vec<&Told>> = BTreeMap::new();
    for told in evidence.told.iter().filter(|told| !told.firing) {
        over.entry((&told.labels, told.starts_at)).or_default().push(told);
    }
    let mut of_labels: BTreeMap<&Labels, Vec<&story::Story>> = BTreeMap::new();
    for story in stories.incidents.values() {
        of_labels.entry(&story.labels).or_default().push(story);
    }
    for told in evidence.told.iter().filter(|told| told.firing) {
        let alert = (&told.labels, told.starts_at);
        alerts.insert(alert);
        let overtakes = |end: &&Told| end.first_sent <= told.acked && told.sent <= end.acked + OVERTAKEN_MS;
        let open_then = |story: &&story::Story| {
            let over = story.closed_at().filter(|at| *at < told.sent);
            // What a person closed while it fired is that person's until it ends.
            story.opened <= told.acked && over.is_none_or(|at| story.is_a_persons() && told.starts_at <= at)
        };
        let stories = of_labels.get(&told.labels).map_or(&[][..], Vec::as_slice);
        if !stories.iter().any(open_then) && !over.get(&alert).is_some_and(|ends| ends.iter().any(overtakes)) {
            report.lost.push(format!(
                "the firing of {:?} since {} was acknowledged at {} and no incident was open for it then (it has {})",
                told.labels,
                told.starts_at,
                told.acked,
                stories.len()
            ));
        }
    }
    report.alerts = alerts.len();
}

/// An end is `closed`, and never as healed, since nothing here can tell that. What was left firing on purpose may also
/// rest as escalated or held, with a reason. Anything else is a story that stopped in the middle.
fn ends(evidence: &Evidence, stories: &Stories, report: &mut Report) {
    for (id, story) in &stories.incidents {
        *report.ends.entry(story.end.word()).or_default() += 1;
        let fault = match &story.end {
            End::Closed { how, .. } if how == "healed" => "was closed as healed, and nothing could tell that",
            End::Closed { .. } => continue,
            End::Escalated(reason) | End::Held(reason) if evidence.forgotten.contains(&story.labels) => {
                if !reason.is_empty() {
                    continue;
                }
                "rests without a reason"
            }
            End::Escalated(_) | End::Held(_) => "is not closed although everybody says that its alert is over",
            End::Working(_) => "stopped in the middle",
        };
        report.lost.push(format!("incident {id} {fault}: {:?}", story.end));
    }
}

/// No entry twice, and no kind of action twice for one incident: every ladder here has each rung once.
fn once(stories: &Stories, report: &mut Report) {
    let mut rungs: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for intent in stories.intents.values() {
        for (what, count) in [("intended", intent.intended.len()), ("begun", intent.begun.len()), ("ended", intent.over.len())] {
            if count > 1 {
                report.doubled.push(format!("intent {} was {what} {count} times", intent.name));
            }
        }
        if !intent.begun.is_empty() {
            *rungs.entry((&intent.incident, &intent.kind)).or_default() += 1;
        }
    }
    for ((incident, kind), count) in rungs.into_iter().filter(|(_, count)| *count > 1) {
        report.doubled.push(format!("{kind} was begun {count} times for incident {incident}"));
    }
}

/// Finds the deed of every begun intent. A deed that no intent explains was done once too often.
fn explain<'a>(evidence: &'a Evidence, stories: &'a Stories, report: &mut Report) -> Vec<Explained<'a>> {
    let begun = stories.intents.values().filter(|intent| !intent.begun.is_empty());
    let mut begun: Vec<Explained<'a>> = begun.map(|intent| Explained { intent, deed: None }).collect();
    // What has to be seen first is given its deed first.
    begun.sort_by_key(|one| latest(one.intent));
    let mut deeds: Vec<&Deed> = evidence.restarts.iter().chain(&evidence.runs).collect();
    deeds.sort_by_key(|deed| deed.began);
    for deed in deeds {
        let fits = |one: &&mut Explained<'_>| {
            let same = match &deed.intent {
                Some(mark) => one.intent.kind == "ansible.playbook" && one.intent.name == *mark,
                None => one.intent.kind == "docker.restart",
            };
            let in_time = one.intent.begun_at() <= deed.began && deed.began <= latest(one.intent);
            same && one.deed.is_none() && one.intent.container() == deed.container && in_time
        };
        match begun.iter_mut().find(fits) {
            Some(one) => one.deed = Some(deed),
            None => report.doubled.push(format!("no begun intent explains this: {deed:?}")),
        }
    }
    begun
}

/// Until when something may begin that this intent explains: until its end was written, which is the end of the right to it.
/// Only what the journal itself leaves open may come later.
fn latest(intent: &Intent) -> i64 {
    let open = |over: &story::Over| over.ending == "timed-out" || over.message.contains("it cannot be told");
    match intent.over.first() {
        Some(over) if open(over) => over.at + LATE_MS,
        Some(over) => over.at,
        None => i64::MAX,
    }
}

/// What the journal says about an action is what was seen of it.
fn honest(one: &Explained<'_>, report: &mut Report) {
    let Some(over) = one.intent.over.first() else { return };
    let (claims, denies) = match over.ending.as_str() {
        "succeeded" => (true, false),
        "interrupted" => {
            let said = |words: &str| over.message.contains(words);
            (said("it took place"), said("it did not take place") || said("no trace") || said("no task began"))
        }
        _ => (false, false),
    };
    if claims && one.deed.is_none() {
        report.lost.push(format!("nobody saw what the journal claims of {}: {}", one.intent.name, over.message));
    }
    if denies && let Some(deed) = one.deed {
        report.lost.push(format!("the journal denies {} ({}), but it was seen: {deed:?}", one.intent.name, over.message));
    }
}

#[cfg(test)]
mod tests;
