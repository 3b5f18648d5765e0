//! What was found by asking again, counted and grouped, with a few examples each.
//!
//! Groups are few by nature: words of decisions and names of alerts. Should somebody's alerts have names without end, they share one.

use std::collections::BTreeMap;

use serde::Serialize;

use super::asked::Asked;
use crate::incident::{Decision, Rule};
use crate::telemetry::clean;

/// Groups that are kept apart.
const MOST_GROUPS: usize = 1_000;
/// Examples of each.
const EXAMPLES: usize = 3;

/// In what two decisions of one kind are not the same.
#[derive(Clone, Copy, Debug)]
pub(super) enum Other {
    Target,
    Details,
    Length,
}

impl Other {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Target => "about another target",
            Self::Details => "with other details",
            Self::Length => "for another time",
        }
    }
}

/// What came of one question.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The same decision, in other words.
    pub reworded: bool,
    /// From what to what.
    pub differs: Option<(String, String)>,
    /// What was looked up and is not recorded, and the word of its kind.
    pub untold: Option<(String, String)>,
    /// Of an act: granted, perhaps with what cannot be told; or the refusal.
    pub acts: Option<Result<Option<String>, (Rule, String)>>,
}

impl Found {
    pub(super) fn same(reworded: bool) -> Self {
        Self { reworded, ..Self::default() }
    }

    pub(super) fn differs(from: String, to: String) -> Self {
        Self { differs: Some((from, to)), ..Self::default() }
    }

    /// Two decisions compared.
    pub fn between(from: &Result<Decision, String>, to: &Result<Decision, String>) -> Self {
        super::trial::compared(from, to)
    }

    pub(super) fn untold(what: String, word: &str) -> Self {
        Self { untold: Some((what, word.to_owned())), ..Self::default() }
    }
}

/// So many, and some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// Ids of incidents, the oldest first.
    pub examples: Vec<String>,
    #[serde(skip)]
    positions: Vec<u64>,
}

impl Times {
    pub(super) fn add(&mut self, pos: u64, example: &str) {
        self.count += 1;
        self.keep(pos, example);
    }

    fn keep(&mut self, pos: u64, example: &str) {
        if self.examples.iter().any(|known| known == example) {
            return;
        }
        let at = self.positions.partition_point(|known| *known < pos);
        if at < EXAMPLES {
            self.positions.insert(at, pos);
            self.examples.insert(at, example.to_owned());
            self.positions.truncate(EXAMPLES);
            self.examples.truncate(EXAMPLES);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (pos, example) in other.positions.iter().zip(&other.examples) {
            self.keep(*pos, example);
        }
    }
}

/// Groups by their names.
pub(super) type Groups<K> = BTreeMap<K, Times>;

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Questions that the policy has to do with.
    pub questions: u64,
    /// Decided the same, bit for bit.
    pub same: u64,
    /// The same decision, in other words.
    pub reworded: u64,
    /// Decisions to act.
    pub acts: u64,
    pub(super) differs: Groups<(String, String, String)>,
    pub(super) untold: Groups<(String, String)>,
    pub(super) refused: Groups<(String, String)>,
    pub(super) unsure: Groups<String>,
}

/// One kind of difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What was decided.
    pub from: String,
    /// What would be decided.
    pub to: String,
    /// The name of the alert.
    pub alert: String,
    /// How often.
    #[serde(flatten)]
    pub found: Times,
}

/// Something that is counted by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The kind: a lookup's word, a rule.
    pub kind: String,
    /// In words.
    pub text: String,
    /// How often.
    #[serde(flatten)]
    pub found: Times,
}

impl Tally {
    /// Takes in what came of one question.
    pub fn add(&mut self, asked: &Asked, found: Found) {
        self.questions += 1;
        let (pos, id) = (asked.pos, asked.question.incident.id.to_string());
        let alert = || clean(asked.question.incident.alert.name(), 80);
        match (found.differs, found.untold) {
            (_, Some((what, word))) => put(&mut self.untold, (word, clean(&what, 200)), pos, &id, |_| more_of()),
            (Some((from, to)), None) => {
                let others = |(from, to, _): (String, String, String)| (from, to, "(others)".to_owned());
                put(&mut self.differs, (from, to, alert()), pos, &id, others);
            }
            (None, None) if found.reworded => self.reworded += 1,
            (None, None) => self.same += 1,
        }
        match found.acts {
            None => return,
            Some(Ok(None)) => {}
            Some(Ok(Some(why))) => put(&mut self.unsure, clean(&why, 200), pos, &id, |_| "others".to_owned()),
            Some(Err((rule, message))) => {
                put(&mut self.refused, (rule.word(), clean(&message, 400)), pos, &id, |(rule, _)| (rule, "others".to_owned()));
            }
        }
        self.acts += 1;
    }

    /// Takes in what somebody else counted.
    pub fn merge(&mut self, other: &Self) {
        self.questions += other.questions;
        self.same += other.same;
        self.reworded += other.reworded;
        self.acts += other.acts;
        merge(&mut self.differs, &other.differs);
        merge(&mut self.untold, &other.untold);
        merge(&mut self.refused, &other.refused);
        merge(&mut self.unsure, &other.unsure);
    }

    /// The differences, the most frequent first.
    pub fn differences(&self) -> Vec<Difference> {
        let one = |((from, to, alert), found): (&(String, String, String), &Times)| Difference {
            from: from.clone(),
            to: to.clone(),
            alert: alert.clone(),
            found: found.clone(),
        };
        sorted(self.differs.iter().map(one).collect(), |one| one.found.count)
    }

    /// What was looked up and is not recorded.
    pub fn untold(&self) -> Vec<Named> {
        named(&self.untold)
    }

    /// Acts that the grants would have refused.
    pub fn refused(&self) -> Vec<Named> {
        named(&self.refused)
    }

    /// Acts of which only the labels of containers tell whether they are granted.
    pub fn unsure(&self) -> Vec<Named> {
        let one = |(text, found): (&String, &Times)| Named { kind: "label".to_owned(), text: text.clone(), found: found.clone() };
        sorted(self.unsure.iter().map(one).collect(), |one| one.found.count)
    }
}

fn more_of() -> (String, String) {
    ("others".to_owned(), "others".to_owned())
}

fn put<K: Ord>(groups: &mut Groups<K>, key: K, pos: u64, id: &str, others: impl Fn(K) -> K) {
    let key = if groups.len() >= MOST_GROUPS && !groups.contains_key(&key) { others(key) } else { key };
    groups.entry(key).or_default().add(pos, id);
}

fn merge<K: Ord + Clone>(groups: &mut Groups<K>, other: &Groups<K>) {
    for (key, found) in other {
        groups.entry(key.clone()).or_default().merge(found);
    }
}

fn named(groups: &Groups<(String, String)>) -> Vec<Named> {
    let one = |((kind, text), found): (&(String, String), &Times)| Named {
        kind: kind.clone(),
        text: text.clone(),
        found: found.clone(),
    };
    sorted(groups.iter().map(one).collect(), |one| one.found.count)
}

fn sorted<T>(mut all: Vec<T>, count: impl Fn(&T) -> u64) -> Vec<T> {
    all.sort_by_key(|one| std::cmp::Reverse(count(one)));
    all
}
