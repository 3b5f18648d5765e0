//! From the journal's entries to the questions that were put, each with all that a plugin was told and with what was answered.
//!
//! Entries are taken in their order and forgotten; only the incidents that are open at that point are kept. Absent on purpose: reading
//! the journal, so that it can be fed from anywhere.

use std::collections::HashMap;

use crate::alert::IncidentId;
use crate::clock::Time;
use crate::decide::Question;
use crate::incident::{Answer, Event, Incident};
use crate::journal::Entry;

/// A question of the past.
#[derive(Clone, Debug)]
pub struct Asked {
    /// All that was asked.
    pub question: Question,
    /// The journal's time of it.
    pub at: Time,
    /// Position of its entry in the journal.
    pub pos: u64,
    /// What was answered; nothing when no policy matched, or the server was stopped in between.
    pub answers: Vec<Answered>,
}

/// An answer of the past.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Position of its entry in the journal.
    pub pos: u64,
    /// Number of its entry in the incident.
    pub seq: u64,
    /// When it was written.
    pub at: Time,
    /// The answer.
    pub answer: Answer,
}

impl Asked {
    /// Is it the first question about its incident? Only then are observing policies asked.
    pub fn is_first(&self) -> bool {
        self.question.incident.answers == 0
    }

    /// What this policy answered.
    pub fn by(&self, policy: &str) -> Option<&Answered> {
        self.answers.iter().find(|answered| answered.answer.policy == policy)
    }
}

/// An open incident.
#[derive(Debug)]
struct Open {
    incident: Incident,
    /// The last question, while answers to it may come.
    asked: Option<Asked>,
}

/// Takes entries, gives questions.
#[derive(Debug, Default)]
pub struct Questions {
    open: HashMap<IncidentId, Open>,
}

impl Questions {
    /// Is enough known of this entry's incident to take the entry? If not, the entries before it have to be taken first.
    pub fn knows(&self, entry: &Entry) -> bool {
        entry.seq == 1 || self.open.contains_key(&entry.incident)
    }

    /// Takes one entry; gives the question before it, once it is sure that all answers to that were seen.
    pub fn take(&mut self, entry: Entry) -> Option<Asked> {
        let Entry { pos, incident: id, seq, at, event, .. } = entry;
        let Some(open) = self.open.get_mut(&id) else {
            let incident = Incident::from_events(&id, [(seq, at, &event)])?;
            self.open.insert(id, Open { incident, asked: None });
            return None;
        };
        // Whatever a source says may be written between a question and its answers.
        let before = match &event {
            Event::Decided(_) | Event::Heard { .. } => None,
            _ => open.asked.take(),
        };
        if let Event::Asked { trigger, targets, .. } = &event {
            // The incident as it was when the question was written: without this entry.
            let question = Question { incident: open.incident.clone(), trigger: *trigger, targets: targets.clone() };
            open.asked = Some(Asked { question, at, pos, answers: Vec::new() });
        }
        open.incident.apply(seq, at, &event);
        if let (Event::Decided(answer), Some(asked)) = (event, &mut open.asked) {
            asked.answers.push(Answered { pos, seq, at, answer });
        }
        if open.incident.is_closed() {
            self.open.remove(&id);
        }
        before
    }

    /// The questions whose answers were the last that was written about their incidents, the oldest first.
    pub fn rest(self) -> Vec<Asked> {
        let mut rest: Vec<Asked> = self.open.into_values().filter_map(|open| open.asked).collect();
        rest.sort_by_key(|asked| asked.pos);
        rest
    }

    /// All questions about one incident, from all of its entries.
    pub fn of(entries: Vec<Entry>) -> Vec<Asked> {
        let mut questions = Self::default();
        let mut all: Vec<Asked> = entries.into_iter().filter_map(|entry| questions.take(entry)).collect();
        all.extend(questions.rest());
        all
    }
}
