//! A world for tests: what lookups answer outside of Paramedic.
//!
//! It is reached through a thread-local while [`Fake::judge`] runs, so that the policy's own code is the same in a test and in the
//! sandbox, and tests that run beside each other do not meet. A component contains none of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use super::{Container, LookupError, PastIncident, Sample};
use crate::decision::{Answer, Decision};
use crate::incident::{Incident, Time};
use crate::words::Lookup;

thread_local! {
    static WORLD: RefCell<Option<Rc<RefCell<World>>>> = const { RefCell::new(None) };
}

#[derive(Clone, Debug, Default)]
struct World {
    now: Time,
    containers: BTreeMap<String, Container>,
    logs: BTreeMap<String, Vec<String>>,
    metrics: BTreeMap<String, Vec<Sample>>,
    past: BTreeMap<String, Vec<(Duration, PastIncident)>>,
    failing: BTreeMap<Lookup, LookupError>,
    asked: Vec<String>,
}

/// For tests: a made-up world that a policy looks at.
///
/// There are the containers, logs and earlier incidents that it was given, and no others. PromQL is not evaluated: a query that
/// [`Fake::metrics`] was not given panics and says so, since nobody knows its answer.
#[derive(Debug, Default)]
pub struct Fake(Rc<RefCell<World>>);

impl Fake {
    /// A world with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a container.
    pub fn container(self, container: Container) -> Self {
        self.with(|world| drop(world.containers.insert(container.name.clone(), container)))
    }

    /// Says all that a container wrote.
    pub fn log<L: Into<String>>(self, target: &str, lines: impl IntoIterator<Item = L>) -> Self {
        let lines = lines.into_iter().map(Into::into).collect();
        self.with(|world| drop(world.logs.insert(target.to_owned(), lines)))
    }

    /// Says what Prometheus answers to this query.
    pub fn metrics(self, promql: &str, answer: impl IntoIterator<Item = Sample>) -> Self {
        let answer = answer.into_iter().collect();
        self.with(|world| drop(world.metrics.insert(promql.to_owned(), answer)))
    }

    /// Adds an incident about that target that was opened so long ago.
    pub fn past(self, target: &str, ago: Duration, incident: PastIncident) -> Self {
        self.with(|world| world.past.entry(target.to_owned()).or_default().push((ago, incident)))
    }

    /// Answers every lookup of that kind with this error.
    pub fn failing(self, kind: Lookup, error: LookupError) -> Self {
        self.with(|world| drop(world.failing.insert(kind, error)))
    }

    /// Asks a policy in this world, and gives what Paramedic would hear.
    ///
    /// # Errors
    /// The error with which the policy could not decide.
    pub fn judge<S, A: Into<Answer>>(
        &self,
        decide: impl FnOnce(&Incident, &S) -> A,
        incident: &Incident,
        settings: &S,
    ) -> Result<Decision, String> {
        self.0.borrow_mut().now = incident.now;
        let before = WORLD.replace(Some(Rc::clone(&self.0)));
        let _restore = Restore(before);
        let Answer(answer) = decide(incident, settings).into();
        answer
    }

    /// What was asked so far, in its order: `metrics up == 0`, `containers local/web`, `containers local {tier=web}`,
    /// `containers.log-tail local/web 20`, `history local/web 3600s`.
    pub fn asked(&self) -> Vec<String> {
        self.0.borrow().asked.clone()
    }

    fn with(self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.0.borrow_mut());
        self
    }
}

/// Puts back what was there before, also when the policy panics.
struct Restore(Option<Rc<RefCell<World>>>);

impl Drop for Restore {
    fn drop(&mut self) {
        WORLD.set(self.0.take());
    }
}

// A test that looks where nothing was made up is wrong, and an error value could pass for an answer of the world.
#[allow(clippy::panic)]
fn ask<T>(kind: Lookup, what: &str, answer: impl FnOnce(&World) -> Result<T, LookupError>) -> Result<T, LookupError> {
    let world = WORLD.with_borrow(Clone::clone);
    let Some(world) = world else {
        panic!("the policy looks up `{kind} {what}`, and there is no world to look at: ask it through `lookup::Fake::judge`");
    };
    let mut world = world.borrow_mut();
    world.asked.push(format!("{kind} {what}"));
    match world.failing.get(&kind) {
        Some(error) => Err(error.clone()),
        None => answer(&world),
    }
}

pub(super) fn find(host: &str, labels: &[(&str, &str)]) -> Result<Vec<Container>, LookupError> {
    let mut what = format!("{host} {{");
    for (at, (name, value)) in labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(what, "{comma}{name}={value}");
    }
    what.push('}');
    ask(Lookup::Containers, &what, |world| {
        let fits = |container: &&Container| {
            container.name.split_once('/').is_some_and(|(its_host, _)| its_host == host)
                && labels.iter().all(|(name, value)| container.labels.get(*name).is_some_and(|v| v == value))
        };
        Ok(world.containers.values().filter(fits).cloned().collect())
    })
}

pub(super) fn inspect(target: &str) -> Result<Container, LookupError> {
    ask(Lookup::Containers, target, |world| world.containers.get(target).cloned().ok_or_else(|| no_container(target)))
}

pub(super) fn log_tail(target: &str, lines: u32) -> Result<Vec<String>, LookupError> {
    ask(Lookup::LogTail, &format!("{target} {lines}"), |world| {
        let all = world.logs.get(target).ok_or_else(|| no_container(target))?;
        let skip = all.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
        Ok(all[skip..].to_vec())
    })
}

#[allow(clippy::panic)]
pub(super) fn query(promql: &str) -> Result<Vec<Sample>, LookupError> {
    ask(Lookup::Metrics, promql, |world| match world.metrics.get(promql) {
        Some(answer) => Ok(answer.iter().map(|sample| Sample { at: world.now, ..sample.clone() }).collect()),
        None => panic!("the policy asks for the metrics `{promql}`: say with `Fake::metrics` what the answer is"),
    })
}

pub(super) fn of_target(target: &str, within: Duration) -> Result<Vec<PastIncident>, LookupError> {
    ask(Lookup::History, &format!("{target} {}s", within.as_secs()), |world| {
        let Some(all) = world.past.get(target) else { return Ok(Vec::new()) };
        let mut found: Vec<_> = all.iter().filter(|(ago, _)| *ago <= within).collect();
        found.sort_by_key(|(ago, _)| *ago);
        let opened = |ago: &Duration| Time(world.now.0.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
        Ok(found.into_iter().map(|(ago, past)| PastIncident { opened_at: opened(ago), ..past.clone() }).collect())
    })
}

fn no_container(target: &str) -> LookupError {
    LookupError::NotFound(format!("there is no container {target}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::lookup::{containers, history, metrics};
    use crate::{NoSettings, State};

    fn world() -> Fake {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Fake::new()
            .container(Container::named("local/web").label("tier", "web"))
            .container(Container::named("local/db").label("tier", "db").exited(137))
            .container(Container::named("other/web").label("tier", "web"))
            .log("local/web", ["one", "two", "three"])
            .metrics("up", [Sample::of(1.0).label("job", "web")])
            .past("local/web", hours(30), PastIncident::of("Old"))
            .past("local/web", hours(2), PastIncident::of("WebSlow"))
            .past("local/web", hours(1), PastIncident::of("WebDown"))
    }

    fn asked<T>(world: &Fake, look: impl Fn() -> T) -> T {
        let out = RefCell::new(None);
        let decide = |_: &Incident, _: &NoSettings| {
            *out.borrow_mut() = Some(look());
            Decision::pass("seen")
        };
        world.judge(decide, &Incident::firing("WebDown"), &NoSettings {}).unwrap();
        out.into_inner().unwrap()
    }

    #[test]
    fn it_answers_what_it_was_given_and_remembers_the_questions() {
        let world = world();
        let names = asked(&world, || containers::find("local", &[("tier", "web")]).unwrap());
        assert_eq!(names.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["local/web"]);
        let db = asked(&world, || containers::inspect("local/db").unwrap());
        assert_eq!((db.state, db.exit_code), (State::Exited, Some(137)));
        assert_eq!(asked(&world, || containers::log_tail("local/web", 2).unwrap()), ["two", "three"]);
        assert_eq!(asked(&world, || metrics::query("up").unwrap())[0].value, 1.0);
        let past = asked(&world, || history::of_target("local/web", Duration::from_secs(86_400)).unwrap());
        assert_eq!(past.iter().map(|p| p.alertname.as_str()).collect::<Vec<_>>(), ["WebDown", "WebSlow"]);
        assert_eq!(Incident::firing("x").now.since(past[0].opened_at), Duration::from_secs(3600));
        let questions = [
            "containers local {tier=web}",
            "containers local/db",
            "containers.log-tail local/web 2",
            "metrics up",
            "history local/web 86400s",
        ];
        assert_eq!(world.asked(), questions);
    }

    #[test]
    fn what_is_not_there_is_not_found_and_what_fails_fails() {
        let world = world().failing(Lookup::Metrics, LookupError::Unavailable("Prometheus does not answer".into()));
        assert!(matches!(asked(&world, || containers::inspect("local/no")), Err(LookupError::NotFound(_))));
        let error = asked(&world, || metrics::query("up")).unwrap_err();
        assert_eq!(error.to_string(), "unavailable: Prometheus does not answer");
    }

    #[test]
    #[should_panic(expected = "say with `Fake::metrics` what the answer is")]
    fn a_query_that_nobody_answers_fails_the_test() {
        let _ = asked(&world(), || metrics::query("down"));
    }

    #[test]
    #[should_panic(expected = "ask it through `lookup::Fake::judge`")]
    fn without_a_world_a_lookup_fails_the_test() {
        let _ = containers::inspect("local/web");
    }
}
