//! The journal's entries, put together into incidents and intents, by other code than the server's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Labels, Line};

/// How a story stands at the end of the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Closed, how and when.
    Closed {
        /// `cleared`, `healed`, ...
        how: String,
        /// When.
        at: i64,
    },
    /// A person was called, with this reason.
    Escalated(String),
    /// Held by this rule, with this reason.
    Held(String),
    /// In the middle of something: its last entry.
    Working(String),
}

impl End {
    pub fn word(&self) -> String {
        match self {
            Self::Closed { how, .. } => how.clone(),
            Self::Escalated(_) => "escalated".to_owned(),
            Self::Held(_) => "held".to_owned(),
            Self::Working(kind) => format!("stopped at {kind}"),
        }
    }
}

/// One incident.
#[derive(Clone, Debug)]
pub struct Story {
    pub labels: Labels,
    pub opened: i64,
    pub end: End,
}

impl Story {
    pub fn closed_at(&self) -> Option<i64> {
        if let End::Closed { at, .. } = self.end { Some(at) } else { None }
    }

    /// Did a person close it?
    pub fn is_a_persons(&self) -> bool {
        matches!(&self.end, End::Closed { how, .. } if how == "person")
    }
}

/// The end of an intent: `ended` or `cancelled`.
#[derive(Clone, Debug)]
pub struct Over {
    pub pos: u64,
    pub at: i64,
    /// `cancelled`, or the outcome's word.
    pub ending: String,
    pub message: String,
}

/// One intent: positions and times of what was written about it.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// `<incident>-<number>`, as runs are marked.
    pub name: String,
    pub incident: String,
    pub attempt: u64,
    /// `docker.restart`, `ansible.playbook`.
    pub kind: String,
    /// `local/name`.
    pub target: String,
    pub intended: Vec<(u64, i64)>,
    pub begun: Vec<(u64, i64)>,
    pub over: Vec<Over>,
}

impl Intent {
    pub fn intended_at(&self) -> i64 {
        self.intended.first().map_or(0, |(_, at)| *at)
    }

    pub fn begun_at(&self) -> i64 {
        self.begun.first().map_or(0, |(_, at)| *at)
    }

    /// The container's name, without its host.
    pub fn container(&self) -> &str {
        self.target.split_once('/').map_or("", |(_, name)| name)
    }
}

/// Everything that the journal tells.
#[derive(Clone, Debug, Default)]
pub struct Stories {
    pub incidents: BTreeMap<String, Story>,
    pub intents: BTreeMap<String, Intent>,
    /// How often each rule held or refused.
    pub rules: BTreeMap<String, usize>,
    /// What cannot be: something begun or ended that was never intended.
    pub faults: Vec<String>,
}

impl Stories {
    pub fn read(journal: &[Line]) -> Self {
        let mut stories = Self::default();
        for line in journal {
            stories.take(line);
        }
        stories
    }

    fn take(&mut self, line: &Line) {
        let event = &line.event;
        let kind = text(&event["kind"]);
        if kind == "opened" {
            let labels = serde_json::from_value(event["alert"]["labels"].clone()).unwrap_or_default();
            let story = Story { labels, opened: line.at, end: End::Working(kind) };
            if self.incidents.insert(line.incident.clone(), story).is_some() {
                self.faults.push(format!("incident {} was opened twice", line.incident));
            }
            return;
        }
        if let "held" | "refused" = kind.as_str() {
            *self.rules.entry(text(&event["rule"])).or_default() += 1;
        }
        self.intent(line, &kind);
        let Some(story) = self.incidents.get_mut(&line.incident) else {
            return self.faults.push(format!("incident {} has `{kind}` before `opened`", line.incident));
        };
        if story.closed_at().is_some() {
            self.faults.push(format!("incident {} has `{kind}` after its end", line.incident));
        }
        story.end = match kind.as_str() {
            "closed" => End::Closed { how: text(&event["how"]), at: line.at },
            "escalated" => End::Escalated(text(&event["message"])),
            "held" if text(&event["rule"]).is_empty() => End::Held(String::new()),
            "held" => End::Held(text(&event["message"])),
            // News alone moves nobody.
            "heard" => return,
            _ => End::Working(kind),
        };
    }

    fn intent(&mut self, line: &Line, kind: &str) {
        if !matches!(kind, "intended" | "begun" | "ended" | "cancelled") {
            return;
        }
        let event = &line.event;
        let name = format!("{}-{}", line.incident, event["intent"]);
        let intent = self.intents.entry(name.clone()).or_default();
        if kind != "intended" && intent.intended.is_empty() {
            self.faults.push(format!("intent {name} was {kind} and never intended"));
        }
        match kind {
            "intended" => {
                (intent.kind, intent.target) = action(&event["action"]);
                intent.attempt = event["attempt"].as_u64().unwrap_or(0);
                intent.intended.push((line.pos, line.at));
            }
            "begun" => intent.begun.push((line.pos, line.at)),
            "ended" => {
                let outcome = &event["outcome"];
                let (ending, message) = (text(&outcome["ending"]), text(&outcome["message"]));
                intent.over.push(Over { pos: line.pos, at: line.at, ending, message });
            }
            _ => {
                let message = text(&event["message"]);
                intent.over.push(Over { pos: line.pos, at: line.at, ending: "cancelled".to_owned(), message });
            }
        }
        (intent.name, intent.incident) = (name, line.incident.clone());
    }
}

/// Kind and target of an action.
fn action(action: &Value) -> (String, String) {
    if let Some(docker) = action.get("docker") {
        return (format!("docker.{}", text(&docker["verb"])), text(&docker["target"]));
    }
    ("ansible.playbook".to_owned(), text(&action["playbook"]["about"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
