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
    /// Position of its first entry.
    pub opened: u64,
    /// Number of its last entry.
    pub last: u64,
    /// True until it is closed.
    pub open: bool,
    /// When something is due.
    pub due: Option<Time>,
}

/// What is known of a chain up to here.
pub(super) struct Chain {
    first: u64,
    pos: u64,
    hash: String,
    at: Time,
    incidents: BTreeMap<String, Told>,
}

impl Chain {
    /// The chain from its very beginning.
    pub fn new() -> Self {
        Self::behind(0, FIRST_HASH.to_owned())
    }

    /// What follows behind this entry, if its hash can be trusted.
    pub fn behind(pos: u64, hash: String) -> Self {
        Self { first: pos + 1, pos, hash, at: Time(i64::MIN), incidents: BTreeMap::new() }
    }

    /// Position of the first entry that was, or would be, checked.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Position of the last entry that was checked.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// Is this the last entry that was checked?
    pub fn ends_with(&self, pos: u64, hash: &str) -> bool {
        (self.pos, self.hash.as_str()) == (pos, hash)
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
        // The beginning of an incident may lie before that of the chain.
        let remnant = self.first > 1 && row.seq > 1;
        let (opened, last) = if remnant { (0, row.seq - 1) } else { (pos, 0) };
        let told = self.incidents.entry(row.incident.clone()).or_insert(Told { opened, last, open: true, due: None });
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

    /// Compares with the head, and with what is kept beside the entries of those incidents that begin behind the anchor.
    pub fn end(self, head: (u64, &str), anchor: u64, listed: &BTreeMap<String, Told>) -> Result<(), JournalError> {
        let broken = |message| Err(JournalError::Broken { pos: self.pos, message });
        if !self.ends_with(head.0, head.1) {
            return broken(format!("it is the last one, but entry {} was written last", head.0));
        }
        let whole: BTreeMap<&String, &Told> = self.incidents.iter().filter(|(_, told)| told.opened > anchor).collect();
        if let Some((id, told)) = whole.iter().find(|(id, told)| listed.get(**id) != Some(told)) {
            let what = match listed.get(*id) {
                Some(other) if other.due != told.due => "its timer",
                _ => "the list of incidents",
            };
            return broken(format!("{what} does not say what the entries of incident {id} say"));
        }
        if let Some(id) = listed.keys().find(|id| !whole.contains_key(id)) {
            return broken(format!("the list of incidents names {id}, of which there is no beginning"));
        }
        Ok(())
    }
}
