//! Which incidents somebody wants to see: the one rule behind `incident list` and `GET /api/v1/incidents`.
//!
//! Each word is checked when it is given, so that a misspelt state is an error and not an empty list. Absent on purpose: any
//! order but the newest first, and any language for queries.

use std::time::Duration;

use super::{Closing, Incident, STATES};
use crate::alert::matchers::Matcher;
use crate::clock::{Time, parse_duration};

/// How an incident can have ended.
const ENDINGS: [Closing; 4] = [Closing::Healed, Closing::Cleared, Closing::Person, Closing::Stale];

/// What an incident has to be. Of each kind of condition one has to hold, of the matchers all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only what is not over.
    pub open: bool,
    /// Where it stands, or how it ended.
    pub states: Vec<State>,
    /// The policy it belongs to; `-` for none.
    pub policies: Vec<String>,
    /// On the alert's labels.
    pub matchers: Vec<Matcher>,
    /// Opened at this moment or later.
    pub since: Option<Time>,
}

/// A word of [`Incident::state`] or of [`Closing::word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(&'static str);

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || STATES.into_iter().chain(ENDINGS.map(Closing::word));
        known()
            .find(|word| *word == text)
            .map(Self)
            .ok_or_else(|| format!("`{}` is no state: there are {}", text.escape_debug(), known().collect::<Vec<_>>().join(", ")))
    }
}

impl State {
    fn is(self, incident: &Incident) -> bool {
        self.0 == incident.state() || incident.closing().is_some_and(|how| how.word() == self.0)
    }

    /// True when only what is over can be in it.
    fn is_over(self) -> bool {
        self.0 == "closed" || ENDINGS.iter().any(|how| how.word() == self.0)
    }
}

/// A moment, as a length of time before now (`1h`) or in RFC 3339.
///
/// # Errors
/// A sentence that says what was expected.
pub fn since(text: &str) -> Result<Time, String> {
    match (Time::parse(text), parse_duration(text)) {
        (Some(at), _) => Ok(at),
        (None, Ok(ago)) => Ok(Time::now().minus(ago.max(Duration::from_millis(1)))),
        _ => Err(format!("`{}` is no moment: write for instance 30m, 1h, 2d, or 2026-11-25T01:20:00Z", text.escape_debug())),
    }
}

impl Filter {
    /// Does this incident fit?
    pub fn fits(&self, incident: &Incident) -> bool {
        let policy = incident.owner.as_ref().map_or("-", |owner| owner.policy.as_str());
        !(self.open && incident.is_closed())
            && (self.states.is_empty() || self.states.iter().any(|state| state.is(incident)))
            && (self.policies.is_empty() || self.policies.iter().any(|name| name == policy))
            && self.matchers.iter().all(|matcher| matcher.matches(&incident.alert.labels))
            && !self.is_before(incident.opened_at)
    }

    /// True when what was opened then is too old, and so is everything that was opened earlier.
    pub fn is_before(&self, opened_at: Time) -> bool {
        self.since.is_some_and(|since| opened_at < since)
    }

    /// True when nothing that is over can fit, so that nobody needs to read it.
    pub fn open_only(&self) -> bool {
        self.open || (!self.states.is_empty() && !self.states.iter().any(|state| state.is_over()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
    use crate::incident::Event;

    fn incident(events: &[Event]) -> Incident {
        let labels = Labels::from([("alertname".to_owned(), "Down".to_owned())]);
        let id = IncidentId { key: Key::of(Family::Prometheus, &labels, &[]), n: 1 };
        let (annotations, ends_at, generator_url, fingerprint) = Default::default();
        let alert = Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels,
            annotations,
            starts_at: Time(5),
            ends_at,
            generator_url,
            fingerprint,
        };
        let opened = Event::Opened { alert, via: Via::Post };
        let story = std::iter::once(&opened).chain(events).zip(1..);
        Incident::from_events(&id, story.map(|(event, seq)| (seq, Time(1_000), event))).unwrap()
    }

    #[test]
    fn each_condition_has_its_say() {
        let closed = incident(&[Event::Closed { how: Closing::Cleared, message: String::new() }]);
        let (open, any) = (incident(&[]), Filter::default());
        assert!(any.fits(&open) && any.fits(&closed) && !any.open_only());
        let states = |words: &[&str]| Filter { states: words.iter().map(|w| w.parse().unwrap()).collect(), ..Filter::default() };
        assert!(states(&["held", "fired"]).fits(&open) && states(&["held", "fired"]).open_only());
        assert!(states(&["closed"]).fits(&closed) && states(&["cleared"]).fits(&closed) && !states(&["healed"]).fits(&closed));
        assert!(!states(&["fired", "cleared"]).open_only());
        let only = Filter { open: true, ..Filter::default() };
        assert!(only.fits(&open) && !only.fits(&closed) && only.open_only());
        let named = |name: &str| Filter { policies: vec![name.to_owned()], ..Filter::default() };
        assert!(named("-").fits(&open) && !named("heal").fits(&open));
        let labelled = |text: &str| Filter { matchers: vec![Matcher::parse(text).unwrap()], ..Filter::default() };
        assert!(labelled("alertname=~\"D.*\"").fits(&open) && !labelled("alertname=Up").fits(&open));
        let later = Filter { since: Some(Time(1_001)), ..Filter::default() };
        assert!(!later.fits(&open) && later.is_before(open.opened_at));
        assert!(Filter { since: Some(Time(1_000)), ..Filter::default() }.fits(&open));
    }

    #[test]
    fn a_word_that_is_none_is_said_so_with_those_there_are() {
        let wrong = "hold".parse::<State>().unwrap_err();
        assert!(wrong.contains("`hold`") && wrong.contains("held, ") && wrong.contains("healed, "), "{wrong}");
        assert!(since("yesterday").unwrap_err().contains("2d"));
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(Time(1_000)));
        assert!(Time::now().since(since("1h").unwrap()) >= Duration::from_secs(3_600));
    }
}
