//! The latest view of every configured source: what each lists, since when it can be seen, and what is quiet.
//!
//! A source that lists nothing of an alert proves little: a restarted one lists nothing of anything for a while. So quiet counts only
//! from when every reachable source last listed the alert, or last came back, whichever is later.
//! Absent on purpose: the word "healed". Quiet is at most "cleared".

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::alertmanager::Alertmanager;
use super::prometheus::Prometheus;
use crate::alert::{Key, Via};
use crate::clock::{Time, print_duration};

/// How long every reachable source has to list nothing of an alert until it counts as cleared.
///
/// Measured (Prometheus 2.42, Alertmanager 0.25): a restarted Alertmanager listed nothing for 50 s while the alert fired; Prometheus sends firing
/// alerts again every 60 s plus one evaluation interval (`--rules.alert.resend-delay` 1m).
pub const QUIET: Duration = Duration::from_secs(90);
/// What was last listed longer ago than this is forgotten: it is quiet either way.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);

/// The monitoring systems that are looked at.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Every Prometheus.
    pub prometheus: Vec<Arc<Prometheus>>,
    /// Every Alertmanager.
    pub alertmanager: Vec<Arc<Alertmanager>>,
    /// Labels that are no part of identity.
    pub drop: Arc<[String]>,
}

/// What one source says about an alert it lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It fires; suppressed or not.
    Firing,
    /// Its condition holds, not yet for long enough.
    Pending,
}

/// Whether an alert fires, as far as listing tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fires {
    /// It does.
    Yes {
        /// Who says so.
        by: String,
    },
    /// Its condition holds, so it is not quiet.
    Pending {
        /// Who says so.
        by: String,
    },
    /// No reachable source lists it.
    No {
        /// For how long not.
        quiet: Duration,
        /// Sources that cannot be reached, and so say nothing.
        unreachable: Vec<String>,
    },
    /// No source can be asked.
    CannotTell {
        /// Why not.
        reason: String,
    },
}

impl Fires {
    /// Quiet for long enough to be closed as cleared.
    pub fn cleared(&self) -> bool {
        matches!(self, Self::No { quiet, .. } if *quiet >= QUIET)
    }
}

/// One source, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// Its name, with its URL.
    pub name: String,
    /// Which kind.
    pub via: Via,
    /// True while it answers.
    pub reachable: bool,
    /// Since when it has answered, or not answered; `None`: it was not asked yet.
    pub since: Option<Time>,
    /// When it last answered.
    pub last_success: Option<Time>,
    /// What went wrong last, with the time; kept until it goes wrong again.
    pub last_error: Option<(Time, String)>,
    /// How many alerts it listed last, pending ones included.
    pub listed: usize,
}

#[derive(Debug)]
struct Source {
    name: String,
    via: Via,
    answered: Option<Instant>,
    /// Since when it has answered without a break.
    answers_since: Option<Instant>,
    /// When answering or not answering began.
    changed: Option<Time>,
    last_success: Option<Time>,
    last_error: Option<(Time, String)>,
    now: HashMap<Key, Listing>,
    last_listed: HashMap<Key, Instant>,
}

/// The latest view; a cheap handle to one shared view.
#[derive(Clone, Debug)]
pub struct Sight {
    sources: Arc<Mutex<Vec<Source>>>,
    fresh_for: Duration,
}

impl Sight {
    /// A view of sources (name and kind), of which nothing is known yet. An answer is believed for `fresh_for`.
    pub fn new(sources: impl IntoIterator<Item = (String, Via)>, fresh_for: Duration) -> Self {
        let source = |(name, via)| Source {
            name,
            via,
            answered: None,
            answers_since: None,
            changed: None,
            last_success: None,
            last_error: None,
            now: HashMap::new(),
            last_listed: HashMap::new(),
        };
        Self { sources: Arc::new(Mutex::new(sources.into_iter().map(source).collect())), fresh_for }
    }

    /// Writes down what the source of that number listed, or why it could not be asked, when its question was sent at `asked`.
    pub fn record(&self, number: usize, asked: Instant, result: Result<HashMap<Key, Listing>, String>) {
        let fresh_for = self.fresh_for;
        if let Some(source) = self.lock().get_mut(number) {
            source.record(asked, fresh_for, result);
        }
    }

    /// Whether an alert fires, as far as the last listings tell.
    pub fn fires(&self, key: &Key) -> Fires {
        self.fires_at(key, Instant::now())
    }

    fn fires_at(&self, key: &Key, now: Instant) -> Fires {
        let sources = self.lock();
        let (reachable, lost): (Vec<_>, Vec<_>) = sources.iter().partition(|s| s.is_fresh(now, self.fresh_for));
        let says = |listing| reachable.iter().find(|s| s.now.get(key) == Some(&listing)).map(|s| s.name.clone());
        if let Some(by) = says(Listing::Firing) {
            return Fires::Yes { by };
        }
        if let Some(by) = says(Listing::Pending) {
            return Fires::Pending { by };
        }
        // A source that listed it a moment ago and has been lost since is not taken for a quiet one at once.
        let lost_quiet = lost.iter().filter_map(|s| s.last_listed.get(key)).map(|at| now.saturating_duration_since(*at)).min();
        match reachable.iter().map(|s| s.quiet(key, now)).min() {
            Some(quiet) => Fires::No {
                quiet: lost_quiet.map_or(quiet, |lost| lost.min(quiet)),
                unreachable: lost.iter().map(|s| s.name.clone()).collect(),
            },
            None if lost.is_empty() => {
                Fires::CannotTell { reason: "neither a Prometheus nor an Alertmanager is configured to be looked at".to_owned() }
            }
            None => Fires::CannotTell { reason: lost.iter().map(|s| s.excuse(now)).collect::<Vec<_>>().join("; ") },
        }
    }

    /// All sources, for people.
    pub fn sources(&self) -> Vec<SourceView> {
        let now = Instant::now();
        let view = |s: &Source| SourceView {
            name: s.name.clone(),
            via: s.via,
            reachable: s.is_fresh(now, self.fresh_for),
            since: s.changed,
            last_success: s.last_success,
            last_error: s.last_error.clone(),
            listed: s.now.len(),
        };
        self.lock().iter().map(view).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn record(&mut self, asked: Instant, fresh_for: Duration, result: Result<HashMap<Key, Listing>, String>) {
        match result {
            Ok(listed) => {
                // Counted from when it was asked: what it says is no newer. After a pause of ours it counts anew.
                if !self.is_fresh(asked, fresh_for) || self.answers_since.is_none() {
                    (self.answers_since, self.changed) = (Some(asked), Some(Time::now()));
                }
                self.last_listed.retain(|_, at| asked.saturating_duration_since(*at) < FORGET_AFTER);
                self.last_listed.extend(listed.keys().map(|key| (key.clone(), asked)));
                (self.now, self.answered, self.last_success) = (listed, Some(asked), Some(Time::now()));
            }
            Err(error) => {
                self.last_error = Some((Time::now(), error));
                if self.answers_since.take().is_some() || self.changed.is_none() {
                    self.changed = Some(Time::now());
                }
            }
        }
    }

    fn is_fresh(&self, now: Instant, fresh_for: Duration) -> bool {
        self.answers_since.is_some() && self.answered.is_some_and(|at| now.saturating_duration_since(at) <= fresh_for)
    }

    fn quiet(&self, key: &Key, now: Instant) -> Duration {
        let since = self.answers_since.into_iter().chain(self.last_listed.get(key).copied()).max();
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn excuse(&self, now: Instant) -> String {
        match (&self.last_error, self.answered) {
            (Some((_, error)), _) => error.clone(),
            (None, None) => format!("{} has not answered yet", self.name),
            (None, Some(at)) => {
                format!("{} has not answered for {}", self.name, print_duration(now.saturating_duration_since(at)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Family, Labels};

    const FRESH: Duration = Duration::from_secs(20);

    fn key(name: &str) -> Key {
        Key::of(Family::Prometheus, &Labels::from([("alertname".to_owned(), name.to_owned())]), &[])
    }

    fn lists(pairs: &[(&str, Listing)]) -> Result<HashMap<Key, Listing>, String> {
        Ok(pairs.iter().map(|(name, listing)| (key(name), *listing)).collect())
    }

    fn two() -> (Sight, impl Fn(u64) -> Instant) {
        let names = [("P".to_owned(), Via::Prometheus), ("A".to_owned(), Via::Alertmanager)];
        let start = Instant::now();
        (Sight::new(names, FRESH), move |s| start + Duration::from_secs(s))
    }

    fn quiet(fires: &Fires) -> Option<u64> {
        if let Fires::No { quiet, .. } = fires { Some(quiet.as_secs()) } else { None }
    }

    #[test]
    fn nobody_asked_means_it_cannot_be_told() {
        let (sight, at) = two();
        assert!(
            matches!(sight.fires_at(&key("x"), at(0)), Fires::CannotTell { reason } if reason.contains("P has not answered yet"))
        );
        let none = Sight::new([], FRESH);
        assert!(matches!(none.fires_at(&key("x"), at(0)), Fires::CannotTell { reason } if reason.contains("configured")));
    }

    #[test]
    fn any_source_that_lists_it_keeps_it_alive() {
        let (sight, at) = two();
        sight.record(0, at(0), lists(&[("x", Listing::Pending)]));
        sight.record(1, at(0), lists(&[]));
        assert_eq!(sight.fires_at(&key("x"), at(1)), Fires::Pending { by: "P".to_owned() });
        sight.record(1, at(2), lists(&[("x", Listing::Firing)]));
        assert_eq!(sight.fires_at(&key("x"), at(3)), Fires::Yes { by: "A".to_owned() });
        assert_eq!(quiet(&sight.fires_at(&key("y"), at(3))), Some(3));
    }

    #[test]
    fn quiet_counts_from_the_last_listing_of_the_last_source() {
        let (sight, at) = two();
        for second in (0..=100).step_by(5) {
            sight.record(0, at(second), if second < 10 { lists(&[("x", Listing::Firing)]) } else { lists(&[]) });
            sight.record(1, at(second), if second == 20 { lists(&[("x", Listing::Firing)]) } else { lists(&[]) });
        }
        let fires = sight.fires_at(&key("x"), at(100));
        assert_eq!(quiet(&fires), Some(80));
        assert!(!fires.cleared());
        assert!(sight.fires_at(&key("x"), at(110)).cleared());
    }

    #[test]
    fn pending_is_not_quiet() {
        let (sight, at) = two();
        for second in (0..=100).step_by(5) {
            sight.record(0, at(second), if second == 50 { lists(&[("x", Listing::Pending)]) } else { lists(&[]) });
        }
        assert_eq!(quiet(&sight.fires_at(&key("x"), at(100))), Some(50));
    }

    #[test]
    fn a_source_that_comes_back_has_to_be_quiet_anew() {
        let (sight, at) = two();
        sight.record(0, at(0), lists(&[]));
        sight.record(1, at(0), lists(&[]));
        sight.record(0, at(100), lists(&[]));
        sight.record(1, at(95), Err("A cannot be reached".to_owned()));
        // We were away from 0 to 100: what happened meanwhile was not seen.
        let fires = sight.fires_at(&key("x"), at(100));
        assert_eq!(fires, Fires::No { quiet: Duration::ZERO, unreachable: vec!["A".to_owned()] });
        sight.record(1, at(100), lists(&[]));
        sight.record(0, at(105), Err("P cannot be reached".to_owned()));
        sight.record(1, at(110), Err("A cannot be reached".to_owned()));
        let fires = sight.fires_at(&key("x"), at(110));
        assert!(matches!(fires, Fires::CannotTell { reason } if reason == "P cannot be reached; A cannot be reached"));
    }

    #[test]
    fn what_listed_it_and_was_lost_is_not_quiet_at_once() {
        let (sight, at) = two();
        for second in (0..=200).step_by(5) {
            sight.record(0, at(second), lists(&[]));
            let lost = Err("A cannot be reached".to_owned());
            sight.record(1, at(second), if second <= 100 { lists(&[("x", Listing::Firing)]) } else { lost });
        }
        assert_eq!(quiet(&sight.fires_at(&key("x"), at(110))), Some(10));
        assert_eq!(quiet(&sight.fires_at(&key("x"), at(200))), Some(100));
        assert_eq!(quiet(&sight.fires_at(&key("y"), at(200))), Some(200));
    }

    #[test]
    fn an_old_answer_is_not_believed() {
        let (sight, at) = two();
        sight.record(0, at(0), lists(&[("x", Listing::Firing)]));
        assert!(matches!(sight.fires_at(&key("x"), at(20)), Fires::Yes { .. }));
        assert!(matches!(sight.fires_at(&key("x"), at(21)), Fires::CannotTell { .. }));
    }
}
