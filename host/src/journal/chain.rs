//! Walking a chain of entries: is each the one that was written, and do they say what is kept beside them?
//!
//! Pure, so that what lies in a store and what was exported are checked by the same words.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::JournalError;
use super::entry::{FIRST_HASH, Row};
use crate::clock::Time;
use crate::incident::Event;

/// What the entries of an incident say, and what is kept beside them for quick answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Number of its last entry.
    pub last: u64,
    /// True until it is closed.
    pub open: bool,
    /// When something is due.
    pub due: Option<Time>,
}

/// What is known of a chain up to here.
pub(super) struct Chain {
    pos: u64,
    hash: String,
    at: Time,
    incidents: BTreeMap<String, Told>,
}

impl Chain {
    /// Nothing was read yet.
    pub fn new() -> Self {
        Self { pos: 0, hash: FIRST_HASH.to_owned(), at: Time(i64::MIN), incidents: BTreeMap::new() }
    }

    /// Takes in the next entry.
    pub fn next(&mut self, row: &Row) -> Result<(), JournalError> {
        #[derive(Deserialize)]
        struct Kind {
            kind: String,
        }
        let pos = self.pos + 1;
        let broken = |message: &str| Err(JournalError::Broken { pos, message: message.to_owned() });
        if row.pos != pos {
            return broken("it is missing");
        }
        if row.chain(&self.hash) != row.hash {
            return broken("its hash does not fit it and the entry before");
        }
        let first = Told { last: 0, open: true, due: None };
        let told = self.incidents.entry(row.incident.clone()).or_insert(first);
        if row.seq != told.last + 1 {
            return broken("its number does not follow the one before of its incident");
        }
        if row.at < self.at {
            return broken("its time is before that of the entry before");
        }
        // What only a newer Paramedic understands can still be checked, all but its timer.
        let event: Option<Event> = serde_json::from_str(&row.body).ok();
        let kind = match &event {
            Some(event) => Some(event.kind().to_owned()),
            None => serde_json::from_str::<Kind>(&row.body).ok().map(|body| body.kind),
        };
        if kind.as_ref() != Some(&row.kind) {
            return broken("its kind is not the one that its body says");
        }
        told.last = row.seq;
        told.open &= row.kind != "closed";
        if let Some(timer) = event.and_then(|event| event.timer(row.at)) {
            told.due = timer;
        }
        (self.pos, self.at) = (pos, row.at);
        self.hash.clone_from(&row.hash);
        Ok(())
    }

    /// Compares with the head and with what is kept beside the entries; gives the number of entries.
    pub fn end(self, head: (u64, &String), listed: &BTreeMap<String, Told>) -> Result<u64, JournalError> {
        let broken = |message| Err(JournalError::Broken { pos: self.pos, message });
        if head != (self.pos, &self.hash) {
            return broken(format!("it is the last one, but entry {} was written last", head.0));
        }
        let differs = |(id, told): (&String, &Told)| listed.get(id) != Some(told);
        if let Some((id, told)) = self.incidents.iter().find(|(id, told)| differs((*id, *told))) {
            let but = match listed.get(id) {
                Some(other) if other.due != told.due => "its timer",
                _ => "the list of incidents",
            };
            return broken(format!("{but} does not say what the entries of incident {id} say"));
        }
        if let Some(id) = listed.keys().find(|id| !self.incidents.contains_key(*id)) {
            return broken(format!("the list of incidents names {id}, of which there is no entry"));
        }
        Ok(self.pos)
    }
}
