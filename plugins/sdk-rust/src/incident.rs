//! What a policy is told, as plain data, and the builder with which a test makes it up.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::Attempt;
use crate::words::{Source, State, Status, Trigger};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    /// How long ago `earlier` was; zero if it was not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// That much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// What the source said. Everything in it is written by strangers: data, never commands.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Family of the source.
    pub source: Source,
    /// Whether it fires.
    pub status: Status,
    /// Labels: what it is.
    pub labels: BTreeMap<String, String>,
    /// Annotations: what there is to say about it.
    pub annotations: BTreeMap<String, String>,
    /// When the source says it began firing.
    pub starts_at: Time,
    /// When Paramedic first heard of it.
    pub first_seen: Time,
    /// Link back to the rule; may be empty.
    pub generator_url: String,
    /// What later versions of the contract have to add.
    pub extra: Vec<(String, String)>,
}

/// What an action could be done to, as Paramedic resolved it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Unique name: `local/web` is container `web` on Docker host `local`.
    pub name: String,
    /// The inventory host on which a playbook about this target would run.
    pub inventory_host: Option<String>,
    /// What it was doing when the question was asked.
    pub state: State,
    /// What later versions of the contract have to add.
    pub extra: Vec<(String, String)>,
}

impl Target {
    /// A target of that name about which nothing else is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), inventory_host: None, state: State::Unknown, extra: Vec::new() }
    }

    /// The part of the name after the Docker host: `web` of `local/web`.
    pub fn container(&self) -> &str {
        self.name.split_once('/').map_or(self.name.as_str(), |(_, container)| container)
    }

    /// Says what it is doing.
    pub fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }

    /// Says where playbooks about it run.
    pub fn inventory_host(mut self, host: &str) -> Self {
        self.inventory_host = Some(host.to_owned());
        self
    }
}

impl From<&str> for Target {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

/// One alert's story, as a policy is told it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Incident {
    /// Its id, `<key>-<n>`.
    pub id: String,
    /// The alert, as last heard.
    pub alert: Alert,
    /// Why the question is asked.
    pub trigger: Trigger,
    /// All earlier attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// The alert's targets as the operator's configuration resolves them; empty if it names none.
    pub targets: Vec<Target>,
    /// The time of the question, the only clock there is.
    pub now: Time,
}

impl Incident {
    /// The alert's name: its label `alertname`, or `alert` if it has none.
    pub fn name(&self) -> &str {
        self.get_label("alertname").unwrap_or("alert")
    }

    /// The value of a label; `None` if the alert does not have it or it is empty, which Prometheus holds to be the same.
    pub fn get_label(&self, name: &str) -> Option<&str> {
        self.alert.labels.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// How long the alert has been firing, by the source's own account.
    pub fn firing_for(&self) -> Duration {
        self.now.since(self.alert.starts_at)
    }

    /// The targets to choose from, best first: the one named by the operator's settings and no other, or else those of the
    /// alert, the ones that are down before the others. Empty when nobody names one.
    pub fn candidates(&self, named: Option<&str>) -> Vec<Target> {
        if let Some(name) = named {
            let known = self.targets.iter().find(|t| t.name == name).cloned();
            return vec![known.unwrap_or_else(|| Target::named(name))];
        }
        let mut targets = self.targets.clone();
        targets.sort_by_key(|t| Reverse(t.state.is_down()));
        targets
    }
}

/// When the incidents of tests take place: 2023-11-14T22:13:20Z.
const TEST_TIME: Time = Time(1_700_000_000_000);

/// For tests: an incident as it could be.
impl Incident {
    /// An alert of Prometheus that has been firing for 15 seconds; nothing was tried.
    pub fn firing(alertname: &str) -> Self {
        let alert = Alert {
            source: Source::Prometheus,
            status: Status::Firing,
            labels: BTreeMap::from([("alertname".to_owned(), alertname.to_owned())]),
            annotations: BTreeMap::new(),
            starts_at: TEST_TIME,
            first_seen: TEST_TIME,
            generator_url: String::new(),
            extra: Vec::new(),
        };
        Self {
            id: "0123456789abcdef-1".to_owned(),
            alert,
            trigger: Trigger::Alert,
            attempts: Vec::new(),
            targets: Vec::new(),
            now: TEST_TIME.plus(Duration::from_secs(15)),
        }
    }

    /// Adds a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.alert.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.alert.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds a target: a name, or a [`Target`] of which more is known.
    pub fn target(mut self, target: impl Into<Target>) -> Self {
        self.targets.push(target.into());
        self
    }

    /// Adds an attempt that did not heal; the question is asked because of that.
    pub fn attempt(mut self, attempt: Attempt) -> Self {
        let number = u32::try_from(self.attempts.len() + 1).unwrap_or(u32::MAX);
        let ended_at = self.now.plus(Duration::from_secs(60));
        self.attempts.push(Attempt { number, started_at: self.now, ended_at, ..attempt });
        self.now = ended_at;
        self.trigger = Trigger::NotHealed;
        self
    }

    /// Says why the question is asked.
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = trigger;
        self
    }

    /// Says when it is asked, as a time after the alert began.
    pub fn after(mut self, firing: Duration) -> Self {
        self.now = self.alert.starts_at.plus(firing);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_down_comes_first_and_a_named_target_is_the_only_one() {
        let incident = Incident::firing("WebDown")
            .target(Target::named("local/a").state(State::Running))
            .target("local/b")
            .target(Target::named("local/c").state(State::Exited));
        let names = |targets: Vec<Target>| targets.into_iter().map(|t| t.name).collect::<Vec<_>>();
        assert_eq!(names(incident.candidates(None)), ["local/c", "local/a", "local/b"]);
        assert_eq!(incident.candidates(Some("local/a")), [Target::named("local/a").state(State::Running)]);
        assert_eq!(incident.candidates(Some("local/z")), [Target::named("local/z")]);
        assert_eq!(Incident::firing("WebDown").candidates(None), []);
    }

    #[test]
    fn time_neither_overflows_nor_runs_backwards() {
        assert_eq!(Time(5).since(Time(10)), Duration::ZERO);
        assert_eq!(Time(i64::MAX).since(Time(i64::MIN)), Duration::from_millis(i64::MAX.unsigned_abs()));
        assert_eq!(Time(1).plus(Duration::MAX), Time(i64::MAX));
        assert_eq!(Incident::firing("WebDown").after(Duration::from_secs(90)).firing_for(), Duration::from_secs(90));
    }

    #[test]
    fn an_empty_label_is_no_label() {
        let incident = Incident::firing("WebDown").label("container", "");
        assert_eq!(incident.get_label("container"), None);
        assert_eq!(incident.name(), "WebDown");
    }
}
