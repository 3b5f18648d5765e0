//! What a webhook is told: one JSON object for each entry of the journal that people are to hear of. `docs/telling.md` is its contract.
//!
//! Fields are only ever added. Everything that came with an alert stands in JSON strings, cleaned and bounded, and is evaluated nowhere.
//! Absent on purpose: a body made by a template. Who needs another shape puts a small program in between.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::board::Group;
use super::case::{Matter, Story, is_told};
use super::notice::under;
use crate::alert::Labels;
use crate::clock::Time;
use crate::execute::Said;
use crate::incident::{Closing, Event, Incident, Rule};
use crate::journal::Entry;
use crate::operate::short;
use crate::telemetry::clean;

/// The version of the JSON. It goes up when a field changes its meaning.
pub const VERSION: u32 = 1;

const SENDER: &str = concat!("paramedic/", env!("CARGO_PKG_VERSION"));

/// At most this many characters of a text from outside are told.
const WORDS: usize = 1_000;
/// At most this many labels, and as many annotations.
const MOST_LABELS: usize = 64;

/// What a message is about, and what a webhook can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A person has to look.
    Escalated,
    /// A yes or a no is waited for.
    AwaitingApproval,
    /// Incidents are held by a rule that does not let go by itself; told once an hour for each rule and policy.
    Holding,
    /// What somebody was called about is over: healed after all, cleared, or closed.
    Over,
    /// Something was healed that nobody was called about.
    Healed,
    /// A policy has something to say. Who is a granted channel gets it, whatever `send` says.
    #[serde(skip_deserializing)]
    Said,
}

impl Kind {
    /// What is told unless the operator says otherwise: all but good news.
    pub fn usual() -> Vec<Self> {
        vec![Self::Escalated, Self::AwaitingApproval, Self::Holding, Self::Over]
    }
}

/// What the entry of the journal is about, if people are to hear of it.
pub fn kind(event: &Event) -> Option<Kind> {
    match event {
        Event::Escalated { .. } => Some(Kind::Escalated),
        Event::ApprovalAsked { .. } => Some(Kind::AwaitingApproval),
        Event::Held { rule, .. } if is_told(*rule) => Some(Kind::Holding),
        Event::Closed { .. } => Some(Kind::Over),
        _ => None,
    }
}

/// The end of an incident: is it news to whoever wants these?
pub fn of_an_end(how: Closing, told: bool, wanted: &[Kind]) -> Option<Kind> {
    let healed = (how == Closing::Healed).then_some(Kind::Healed);
    [told.then_some(Kind::Over), healed].into_iter().flatten().find(|kind| wanted.contains(kind))
}

/// One message.
#[derive(Debug, Serialize)]
pub struct Message {
    version: u32,
    /// The same for every repetition of this message, and for no other.
    pub id: String,
    /// Where in the journal stands what it tells of; none of what a policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    kind: Kind,
    at: String,
    sender: &'static str,
    /// One sentence.
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    escalate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<About>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<Closing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<Approval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holding: Option<Holding>,
    /// What a person can do, as commands.
    commands: Vec<String>,
}

#[derive(Debug, Serialize)]
struct About {
    id: String,
    alert: String,
    state: &'static str,
    opened_at: String,
    policy: Option<String>,
    targets: Vec<String>,
    attempts: usize,
    labels: Labels,
    annotations: Labels,
}

#[derive(Debug, Serialize)]
struct Approval {
    actions: Vec<String>,
    digest: String,
    until: String,
}

#[derive(Debug, Serialize)]
struct Holding {
    rule: String,
    policy: String,
    count: usize,
    oldest: String,
}

impl Message {
    /// What is told of this entry, the last one of this story.
    pub fn about(kind: Kind, entry: &Entry, story: &Story, whom: &BTreeMap<String, String>) -> Self {
        let (incident, id) = (&story.incident, &story.incident.id);
        let name = clean(incident.alert.name(), 120);
        let show = format!("paramedic incident show {id}");
        let mut message = Self::new(kind, entry, story.policy().and_then(|policy| whom.get(policy)));
        message.incident = Some(About::of(&story.incident, story.policy()));
        message.commands = vec![show];
        match &entry.event {
            Event::Closed { how, message: why } => {
                let how_in_words = match how {
                    Closing::Healed => "it is healed",
                    Closing::Cleared => "it is over, and nobody claims that anything helped",
                    Closing::Person => "a person has closed it",
                    Closing::Stale => "nobody says any longer that it fires",
                };
                message.message = format!("{name}: {how_in_words}: {}", clean(why, WORDS));
                message.ending = Some(*how);
            }
            Event::Escalated { message: why } => {
                message.message = format!("{name}: a person has to look: {}", clean(why, WORDS));
                message.commands.push(format!("paramedic incident retry {id} --reason TEXT"));
                message.commands.push(format!("paramedic incident close {id} --reason TEXT"));
            }
            _ => {}
        }
        if let (Event::ApprovalAsked { .. }, Some((Matter::Approval { actions, digest, until }, _))) =
            (&entry.event, &story.matter)
        {
            let actions: Vec<String> = actions.iter().map(|action| clean(action, WORDS)).collect();
            message.message = format!("{name}: may this be done? {}", actions.join(", then "));
            message.commands.push(format!("paramedic incident approve {id} --digest {} --reason TEXT", short(digest)));
            message.commands.push(format!("paramedic incident deny {id} --reason TEXT"));
            message.approval = Some(Approval { actions, digest: digest.clone(), until: until.to_string() });
        }
        message
    }

    /// What a policy says about an incident; the text is clean and bounded.
    pub fn said(said: Said<'_>) -> Self {
        let Said { incident, intent, text, .. } = said;
        let policy = incident.owner.as_ref().map(|owner| owner.policy.as_str());
        Self {
            version: VERSION,
            id: format!("{}-{intent}", incident.id),
            position: None,
            kind: Kind::Said,
            at: Time::now().to_string(),
            sender: SENDER,
            message: text.to_owned(),
            escalate: None,
            incident: Some(About::of(incident, policy)),
            ending: None,
            approval: None,
            holding: None,
            commands: vec![format!("paramedic incident show {}", incident.id)],
        }
    }

    /// What is told of incidents that are held together.
    pub fn group(entry: &Entry, rule: Rule, policy: &str, group: &Group, whom: &BTreeMap<String, String>) -> Self {
        let mut message = Self::new(Kind::Holding, entry, whom.get(policy));
        let (rule, count, oldest) = (rule.word(), group.count, group.oldest.to_string());
        let incidents = if count == 1 { "1 incident is".to_owned() } else { format!("{count} incidents are") };
        message.message = format!("{incidents} held by the rule {rule} under {}: {}", under(policy), clean(&group.why, WORDS));
        message.commands = vec!["paramedic incident list --open".to_owned(), format!("paramedic incident show {oldest}")];
        message.holding = Some(Holding { rule, policy: policy.to_owned(), count, oldest });
        message
    }

    fn new(kind: Kind, entry: &Entry, whom: Option<&String>) -> Self {
        Self {
            version: VERSION,
            id: format!("{}-{}", entry.pos, entry.hash.get(..16).unwrap_or(&entry.hash)),
            position: Some(entry.pos),
            kind,
            at: entry.at.to_string(),
            sender: SENDER,
            message: String::new(),
            escalate: whom.map(|whom| clean(whom, 200)),
            incident: None,
            ending: None,
            approval: None,
            holding: None,
            commands: Vec::new(),
        }
    }

    /// The body of a post.
    pub fn body(&self) -> String {
        // Plain texts and numbers: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl About {
    fn of(incident: &Incident, policy: Option<&str>) -> Self {
        let bounded = |labels: &Labels| {
            labels.iter().take(MOST_LABELS).map(|(name, value)| (clean(name, 200), clean(value, WORDS))).collect::<Labels>()
        };
        Self {
            id: incident.id.to_string(),
            alert: clean(incident.alert.name(), 200),
            state: incident.state(),
            opened_at: Time::to_string(&incident.opened_at),
            policy: policy.map(str::to_owned),
            targets: incident.targets.iter().map(|view| view.target.to_string()).collect(),
            attempts: incident.attempts.len(),
            labels: bounded(&incident.alert.labels),
            annotations: bounded(&incident.alert.annotations),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_news_to_whom_was_called_or_to_whom_wants_good_news() {
        let usual = Kind::usual();
        assert_eq!(of_an_end(Closing::Healed, true, &usual), Some(Kind::Over));
        assert_eq!(of_an_end(Closing::Cleared, true, &usual), Some(Kind::Over));
        assert_eq!(of_an_end(Closing::Healed, false, &usual), None);
        assert_eq!(of_an_end(Closing::Healed, false, &[Kind::Healed]), Some(Kind::Healed));
        assert_eq!(of_an_end(Closing::Healed, true, &[Kind::Healed, Kind::Over]), Some(Kind::Over), "once, not twice");
        assert_eq!(of_an_end(Closing::Cleared, false, &[Kind::Healed, Kind::Over]), None);
    }
}
