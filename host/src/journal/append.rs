//! What is written to a journal, and what becomes of it: the words of its one write verb.
//!
//! A [`Draft`] is an append that was checked and put into the text that is stored and chained, so that every store refuses
//! the same and keeps the same. Absent on purpose: how anything is stored.

use std::time::Duration;

use super::JournalError;
use super::storm::Newcomer;
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::Event;
use crate::policy::brakes::PerWindow;

/// The longest window of a [`Spend::Rate`]: older stamps are forgotten.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(32 * 24 * 3_600);

/// The largest body of an entry. Rooms bound what they write far below this.
const BODY_BYTES: usize = 16 << 20;

/// What is to be written, all or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// Makes a repetition recognisable: the same id is never written twice.
    pub append_id: uuid::Uuid,
    /// Whose story.
    pub incident: IncidentId,
    /// Number of the incident's last entry, as the writer knows it; 0 for one that begins. `None` writes behind whatever is
    /// there. A closed incident takes no more entries.
    pub expect: Option<u64>,
    /// What happened, in order; at least one.
    pub events: Vec<Event>,
    /// Brakes that must all have room; they are spent by this append.
    pub spend: Vec<Spend>,
    /// Keys of rates to stamp now, without a check (a cooldown counts from the outcome).
    pub stamp: Vec<String>,
    /// Keys of locks that this incident gives back.
    pub release: Vec<String>,
    /// True when it gives back every lock that it holds, whatever they are.
    pub release_all: bool,
    /// Locks that it takes without a check; others may hold them too.
    pub hold: Vec<String>,
    /// Keys that mark this incident until it is closed: no locks, and not given back with them.
    pub mark: Vec<String>,
    /// Who is counted, so that a storm is noticed.
    pub newcomers: Vec<Newcomer>,
}

impl Append {
    /// One append that expects `expect` to be the last entry, with nothing to spend.
    pub fn new(incident: IncidentId, expect: Option<u64>, events: Vec<Event>) -> Self {
        Self {
            append_id: uuid::Uuid::new_v4(),
            incident,
            expect,
            events,
            spend: Vec::new(),
            stamp: Vec::new(),
            release: Vec::new(),
            release_all: false,
            hold: Vec::new(),
            mark: Vec::new(),
            newcomers: Vec::new(),
        }
    }
}

/// A brake as data: checked and spent inside the append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spend {
    /// So many stamps of `key` as every one of `limits` allows within its window; spending sets one more stamp.
    Rate {
        /// What is counted, such as `attempts:local/nginx-demo`.
        key: String,
        /// How many are allowed, each within its own time.
        limits: Vec<PerWindow>,
    },
    /// At most `limit` incidents hold `key` at once; spending holds it until released. Holding it twice counts once.
    Lock {
        /// What is held, such as `target:local/nginx-demo`.
        key: String,
        /// How many may hold it.
        limit: u32,
    },
    /// No storm is on among the newcomers of `key`; spends nothing.
    Calm {
        /// Among whom, such as `storm:all`.
        key: String,
    },
    /// At most `limit` of these keys are held, by whomever; spends nothing.
    Share {
        /// What it is called, such as `share:heal-web`.
        key: String,
        /// The keys that are counted.
        of: Vec<String>,
        /// How many may be held.
        limit: u32,
    },
}

impl Spend {
    /// The key that is counted or held.
    pub fn key(&self) -> &str {
        match self {
            Self::Rate { key, .. } | Self::Lock { key, .. } | Self::Calm { key } | Self::Share { key, .. } => key,
        }
    }
}

/// What became of one append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Durable, with the position and number of its first entry and the journal's time.
    Committed {
        /// Position of the first entry in the whole journal, from 1, without gaps.
        pos: u64,
        /// Number of the last entry in its incident.
        seq: u64,
        /// The journal's time of these entries.
        at: Time,
    },
    /// An append with this id was written before, there.
    Already {
        /// Position of its first entry.
        pos: u64,
        /// Number of its last entry in its incident.
        seq: u64,
        /// The journal's time of it.
        at: Time,
    },
    /// Somebody wrote before: fold again, ask again. So is writing to a closed incident, and beginning one while another of its
    /// key is open.
    Conflict {
        /// The incident's last entry number; 0 when there is none.
        last: u64,
    },
    /// Another server has taken over this journal.
    Fenced,
    /// A brake has no room.
    Braked {
        /// Its key.
        key: String,
        /// Which limit of a rate; of several without room, the one that lets go last.
        limit: Option<PerWindow>,
        /// When it may have room again; `None`: when somebody releases it, or never, if more is spent at once than its limit.
        after: Option<Time>,
        /// Who holds it, for locks.
        holder: Option<IncidentId>,
    },
}

/// An append, checked and put into the words of the store.
#[derive(Clone, Debug)]
pub struct Draft {
    append: Append,
    bodies: Vec<String>,
}

impl Draft {
    /// Refuses what could never be written.
    ///
    /// # Errors
    /// [`JournalError::NotDone`] with the reason.
    pub fn new(append: Append) -> Result<Self, JournalError> {
        let refuse = |why: &str| Err(JournalError::NotDone(why.to_owned()));
        let late_opening = append.events.iter().skip(1).any(|event| matches!(event, Event::Opened { .. }));
        if append.events.is_empty() || late_opening {
            return refuse("an append needs an entry, and `opened` can only be its first");
        }
        let ends = append.events.iter().position(|event| matches!(event, Event::Closed { .. }));
        if ends.is_some_and(|at| at + 1 < append.events.len()) {
            return refuse("nothing can follow `closed`");
        }
        let long = |limit: &PerWindow| limit.window > LONGEST_WINDOW;
        let too_long = |spend: &Spend| matches!(spend, Spend::Rate { limits, .. } if limits.iter().any(long));
        if append.spend.iter().any(too_long) || append.newcomers.iter().any(|new| new.window > LONGEST_WINDOW) {
            return refuse("a rate cannot be counted over more than 32 days");
        }
        let bodies: Vec<String> = append
            .events
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()
            .map_err(|e| JournalError::NotDone(format!("an entry cannot be put into JSON: {e}")))?;
        if bodies.iter().any(|body| body.len() > BODY_BYTES) {
            return refuse("an entry is larger than 16 MiB");
        }
        Ok(Self { append, bodies })
    }

    /// What is to be written.
    pub fn append(&self) -> &Append {
        &self.append
    }

    /// The events with the exact text of their bodies, which is what is stored and chained.
    pub fn entries(&self) -> impl Iterator<Item = (&Event, &str)> {
        self.append.events.iter().zip(self.bodies.iter().map(String::as_str))
    }

    /// True when it begins an incident.
    pub fn opens(&self) -> bool {
        matches!(self.append.events.first(), Some(Event::Opened { .. }))
    }

    /// True when it ends its incident.
    pub fn closes(&self) -> bool {
        matches!(self.append.events.last(), Some(Event::Closed { .. }))
    }

    /// What it does to the incident's timer, if written at this time: nothing (`None`), or what it is afterwards.
    pub fn timer(&self, at: Time) -> Option<Option<Time>> {
        self.append.events.iter().filter_map(|event| event.timer(at)).next_back()
    }

    /// Keys of which this sets a stamp: the rates that it spends, and those that it stamps without a check.
    pub fn stamps(&self) -> impl Iterator<Item = &str> {
        let spent = self.append.spend.iter().filter_map(|spend| match spend {
            Spend::Rate { key, .. } => Some(key.as_str()),
            _ => None,
        });
        spent.chain(self.append.stamp.iter().map(String::as_str))
    }

    /// Keys that its incident holds from now on.
    pub fn holds(&self) -> impl Iterator<Item = &str> {
        let locked = self.append.spend.iter().filter_map(|spend| match spend {
            Spend::Lock { key, .. } => Some(key.as_str()),
            _ => None,
        });
        locked.chain(self.append.hold.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::incident::{Closing, Rule};

    fn draft(events: Vec<Event>) -> Result<Draft, JournalError> {
        Draft::new(Append::new("0123456789abcdef-1".parse().unwrap(), None, events))
    }

    fn held(until: Option<Time>) -> Event {
        Event::Held { rule: Rule::Cooldown, message: String::new(), until }
    }

    fn closed() -> Event {
        Event::Closed { how: Closing::Person, message: String::new() }
    }

    #[test]
    fn the_last_word_about_the_timer_counts() {
        let begun = || Event::Begun { intent: 1 };
        let timer = |events| draft(events).unwrap().timer(Time(5));
        assert_eq!(timer(vec![begun(), held(Some(Time(9)))]), Some(Some(Time(9))));
        assert_eq!(timer(vec![held(Some(Time(9))), closed()]), Some(None));
    }

    #[test]
    fn what_could_never_be_written_is_refused_before_the_store() {
        for (events, why) in [(Vec::new(), "needs an entry"), (vec![closed(), held(None)], "nothing can follow")] {
            let refused = draft(events).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
