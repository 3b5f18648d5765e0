//! An incident told to a tired human: one line for each entry, who said or did what.
//!
//! Text that came from outside is cleaned again here: this is what reaches a terminal. Absent on purpose: colours and layout.

use serde::Serialize;

use super::lookup::Looked;
use super::{Answer, Closing, Decision, Diagnostics, Event, Mode, Trigger, Verdict};
use crate::action::Action;
use crate::alert::{Alert, Status};
use crate::clock::{Time, print_duration};
use crate::telemetry::clean;

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub at: String,
    /// The entry's kind, such as `decided`.
    pub kind: &'static str,
    /// What happened, in one sentence.
    pub text: String,
    /// Further lines: what the plugin looked at and logged, the end of a playbook's output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Of a decision: with what it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_with: Option<MadeWith>,
}

/// What a decision was made with: the very bytes, as SHA-256 in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MadeWith {
    /// Of the plugin's file.
    pub plugin: String,
    /// Of the policy's file; `None` where it is not known: in older entries, and when the policy was gone.
    pub policy_file: Option<String>,
}

impl std::fmt::Display for MadeWith {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |digest: &str| clean(digest.get(..12).unwrap_or(digest), 12);
        write!(f, "with plugin {}", short(&self.plugin))?;
        self.policy_file.as_ref().map_or(Ok(()), |file| write!(f, ", policy file {}", short(file)))
    }
}

/// Tells the entries of one incident, oldest first.
pub fn tell<'a>(entries: impl IntoIterator<Item = (Time, &'a Event)>) -> Vec<Line> {
    entries
        .into_iter()
        .map(|(at, event)| Line {
            at: at.to_string(),
            kind: event.kind(),
            text: text(event),
            details: details(event),
            made_with: made_with(event),
        })
        .collect()
}

/// At most this many characters of a sentence from outside are shown.
const WORDS: usize = 600;
/// As many as a message to a channel may have: whoever says yes to it reads all of it.
const WHOLE_TEXT: usize = 2_000;

fn text(event: &Event) -> String {
    match event {
        Event::Opened { alert, via } => format!("{} fires, says {via}: {}", name(alert), labels(alert)),
        Event::Heard { alert, via } => match alert.status {
            Status::Firing => format!("{via} says that it fires"),
            Status::Resolved => format!("{via} says that it is over"),
        },
        Event::Asked { trigger, targets, .. } => {
            let told: Vec<String> = targets.iter().map(|view| format!("{} is {}", view.target, clean(&view.state, 40))).collect();
            let told = if told.is_empty() { "no target is known".to_owned() } else { told.join(", ") };
            format!("Asking policies because {}; {told}", why(*trigger))
        }
        Event::Decided(answer) => decided(answer),
        Event::Unclaimed { message } => format!("Nobody takes it: {}", clean(message, WORDS)),
        Event::Refused { proposal, rule, message, .. } => {
            format!("REFUSED {} [{rule}]: {}", clean(&proposal.to_string(), WORDS), clean(message, WORDS))
        }
        Event::Held { rule, message, until } => {
            let until = until.map(|moment| format!(", looking again at {moment}")).unwrap_or_default();
            format!("HELD [{rule}]: {}{until}", clean(message, WORDS))
        }
        Event::ApprovalAsked { attempt, actions, until, .. } => {
            let actions: Vec<String> = actions.iter().map(ToString::to_string).collect();
            format!("WAITS FOR A PERSON to approve attempt {attempt}: {}; until {until}", actions.join(", then "))
        }
        Event::Approved { by, message, .. } => format!("Approved by {}: {}", clean(by, 80), clean(message, WORDS)),
        Event::Denied { by, message } => format!("Denied by {}: {}", clean(by, 80), clean(message, WORDS)),
        Event::Intended { attempt, intent, action } => format!("Allowed as attempt {attempt}, action {intent}: {action}"),
        Event::Diagnosed { intent, found } => kept(*intent, found),
        Event::Begun { intent } => format!("Action {intent} began"),
        Event::Ended { intent, outcome } => {
            format!("Action {intent} {}: {}", outcome.ending.word().replace('-', " "), clean(&outcome.message, WORDS))
        }
        Event::Cancelled { intent, message } => format!("Action {intent} was not begun: {}", clean(message, WORDS)),
        Event::Stopped { by, message } => format!("{} wants it stopped: {}", clean(by, 80), clean(message, WORDS)),
        Event::Verified { attempt, verdict, message } => {
            let verdict = match verdict {
                Verdict::Healed => "HEALED",
                Verdict::NotHealed => "NOT HEALED",
                Verdict::Unclear => "CANNOT TELL",
            };
            format!("Looked after attempt {attempt}: {verdict}: {}", clean(message, WORDS))
        }
        Event::Escalated { message } => format!("ESCALATED, a person has to look: {}", clean(message, WORDS)),
        Event::Retried { by, message } => format!("{} wants it tried again: {}", clean(by, 80), clean(message, WORDS)),
        Event::Closed { how, message } => {
            let how = match how {
                Closing::Healed => "Closed as healed",
                Closing::Cleared => "Closed as cleared, without claiming that anything helped",
                Closing::Person => "Closed by a person",
                Closing::Stale => "Closed as stale, nobody claims that it is over",
            };
            format!("{how}: {}", clean(message, WORDS))
        }
    }
}

/// What was kept before an action, in one line; the lines themselves are details.
fn kept(intent: u32, found: &Diagnostics) -> String {
    let lines = |lines: &[String], of: &str| match lines.len() {
        0 => None,
        1 => Some(format!("1 line of its {of}")),
        many => Some(format!("{many} lines of its {of}")),
    };
    let state = Some(clean(&found.state, WORDS)).filter(|state| !state.is_empty());
    let kept: Vec<String> =
        [state, lines(&found.health, "health check"), lines(&found.log, "log")].into_iter().flatten().collect();
    let missing: String = found.missing.iter().map(|why| format!("; {}", clean(why, WORDS))).collect();
    let told = if kept.is_empty() { "nothing".to_owned() } else { kept.join("; ") };
    format!("Kept before action {intent}: {told}{missing}")
}

fn name(alert: &Alert) -> String {
    clean(alert.name(), 120)
}

fn labels(alert: &Alert) -> String {
    let shown = alert.labels.iter().filter(|(name, _)| *name != "alertname").take(12);
    shown.map(|(name, value)| format!("{}={}", clean(name, 60), clean(value, 120))).collect::<Vec<_>>().join(" ")
}

fn why(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Alert => "the alert fires",
        Trigger::NotHealed => "the last attempt did not help",
        Trigger::WaitOver => "the wait is over",
        Trigger::HoldOver => "what held it back is gone",
        Trigger::Interrupted => "the last attempt was interrupted",
        Trigger::Denied => "a person said no to what was wanted",
        Trigger::Retry => "a person wants it tried again",
    }
}

fn decided(answer: &Answer) -> String {
    let observing = if answer.mode == Mode::Observe { " (observing: nothing follows)" } else { "" };
    let policy = clean(&answer.policy, 120);
    match &answer.decision {
        Err(why) => format!("{policy} could not decide{observing}: {}", clean(why, WORDS)),
        Ok(decision) => format!("{policy} says {}{observing}: {}", what(decision), clean(decision.reason(), WORDS)),
    }
}

/// What was decided, without the reason: `wait 30.0 s`, `act: docker.restart local/web`.
pub fn what(decision: &Decision) -> String {
    match decision {
        Decision::Act { proposals, .. } => {
            let wanted: Vec<String> = proposals.iter().map(|proposal| clean(&proposal.to_string(), WORDS)).collect();
            format!("act: {}", wanted.join(", then "))
        }
        Decision::Wait { millis, .. } => format!("wait {}", print_duration(std::time::Duration::from_millis(*millis))),
        other => other.word().to_owned(),
    }
}

/// What is bound by a person's yes beside the names: one line for each.
pub fn explain(actions: &[Action]) -> Vec<String> {
    let mut lines = Vec::new();
    for action in actions {
        match action {
            Action::Docker { target, started_at, grace_seconds, signal, .. } => {
                let grace = grace_seconds.map(|seconds| format!(", {seconds} s to stop")).unwrap_or_default();
                let signal = signal.map(|signal| format!(", {signal}")).unwrap_or_default();
                lines.push(format!("{target}: the container that was last started {}{grace}{signal}", clean(started_at, 40)));
            }
            Action::Playbook { name, profile, variables, tags, check, .. } => {
                lines.push(format!("{}: with the profile {}", clean(name, 200), clean(profile, 80)));
                if !tags.is_empty() {
                    lines.push(format!("only the tasks with the tags {}", clean(&tags.join(", "), WORDS)));
                }
                if *check {
                    lines.push("check only: it says what it would change, and changes nothing".to_owned());
                }
                let told = |(name, value): (&String, &serde_json::Value)| {
                    format!("variable {}: {}", clean(name, 80), clean(&value.to_string(), WORDS))
                };
                lines.extend(variables.iter().map(told));
            }
            Action::Silence { comment, .. } => lines.push(format!("silence: {}", clean(comment, WORDS))),
            Action::ExpireSilence { .. } => {}
            Action::Notify { channel, text, .. } => lines.push(format!("to {}: {}", clean(channel, 80), clean(text, WHOLE_TEXT))),
        }
    }
    lines
}

fn made_with(event: &Event) -> Option<MadeWith> {
    let Event::Decided(answer) = event else { return None };
    let policy_file = Some(answer.policy_file.clone()).filter(|file| !file.is_empty());
    Some(MadeWith { plugin: answer.plugin.clone(), policy_file })
}

fn details(event: &Event) -> Vec<String> {
    match event {
        Event::Decided(answer) => {
            let log = answer.log.iter().map(|line| format!("{}: {}", clean(&line.level, 10), clean(&line.message, WORDS)));
            answer.lookups.iter().map(Looked::told).chain(log).collect()
        }
        Event::Asked { ambiguous, .. } => ambiguous.iter().map(|text| format!("ambiguous: {}", clean(text, WORDS))).collect(),
        Event::ApprovalAsked { actions, .. } => explain(actions),
        Event::Diagnosed { found, .. } => {
            let health = found.health.iter().map(|line| format!("health: {}", clean(line, WORDS)));
            health.chain(found.log.iter().map(|line| format!("log: {}", clean(line, WORDS)))).collect()
        }
        Event::Ended { outcome, .. } => outcome.output.iter().map(|line| clean(line, 200)).collect(),
        _ => Vec::new(),
    }
}
