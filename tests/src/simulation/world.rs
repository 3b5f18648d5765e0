//! The simulated world: containers, playbook runs, alerts and those who tell of them. It lives on when the server is killed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use paramedic::action::{Action, ContainerId, DockerHost, DockerVerb, Ending, InventoryHost, Outcome, Signal, Target};
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status};
use paramedic::clock::Time;
use paramedic::execute::alertmanager::Silence;
use paramedic::execute::docker::{Call, NotDone};
use paramedic::execute::{Hands, Said, ansible};
use paramedic::incident::lookup::{LookupError, Sample};
use paramedic::incident::{Diagnostics, Rule};
use paramedic::journal::Append;
use paramedic::look::alertmanager::{Hold, Own};
use paramedic::look::docker::{Container, Freeze, LookError};
use paramedic::look::sight::Listing;
use paramedic::look::{Eyes, Unfit, http};
use paramedic::policy::Probe;
use paramedic::verify::{Detect, Seen};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::plan::{Cure, Firing, Kill, Plan, SERVICES, Trouble};
use super::store::{Fate, Fates};

/// The smallest step of time.
const MILLI: Duration = Duration::from_millis(1);

/// The id of a silence that a person made.
pub const PERSONS_SILENCE: &str = "persons";

/// As long as a request to Alertmanager or a channel may be on its way; what was asked takes place, whoever waits for the answer.
const ON_ITS_WAY: u8 = 8;

/// When every simulation begins.
pub const START: Time = Time(1_790_000_000_000);

/// Something that was really done.
#[derive(Clone, Debug)]
pub struct Effect {
    /// When it was asked for.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What was really done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A container, by its id and the start that it had.
    Docker { verb: DockerVerb, signal: Option<Signal>, container: String, started_at: String },
    /// A playbook, by the name of its run.
    Playbook { run: String, tags: Vec<String>, check: bool },
    /// A silence was made, with this comment.
    Silenced { comment: String },
    /// The silence of this id was ended.
    Expired(String),
    /// Something was said for this intent.
    Said { incident: IncidentId, intent: u32, channel: String, text: String },
}

/// A silence that Paramedic made.
#[derive(Clone, Debug)]
struct Quiet {
    own: Own,
    /// When it can be seen: a request may be on its way for a while.
    from: Time,
    until: Time,
    /// When somebody ended it.
    ended: Option<Time>,
}

#[derive(Debug)]
struct Service {
    id: String,
    started: Time,
    /// Since when it is down, and whether a person did that.
    down: Option<(Time, bool)>,
    /// Since when it is paused.
    paused: Option<Time>,
    /// When it was last paused or let go on.
    freeze: Option<Freeze>,
    /// From when until when a person's pause stood.
    persons: Vec<(Time, Option<Time>)>,
    /// A restart that is under way: when it will be done.
    restarting: Option<(DockerVerb, Time)>,
    /// Since when it was up, or not: the newest last.
    history: Vec<(Time, bool)>,
}

#[derive(Debug)]
struct Run {
    service: u8,
    check: bool,
    ends: Time,
    told: bool,
}

#[derive(Debug)]
struct Truth {
    /// Since when it fires, or not: the newest last.
    history: Vec<(Time, bool)>,
    repeats: Option<u16>,
}

#[derive(Debug)]
struct State {
    services: Vec<Service>,
    runs: BTreeMap<String, Run>,
    truths: Vec<Truth>,
    effects: Vec<Effect>,
    silences: Vec<Quiet>,
    looks: Vec<(Time, Key, Seen)>,
    operations: u16,
    around_effects: u16,
    made: u32,
    unsure: u32,
    calm: bool,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// What goes wrong in it.
    pub plan: Plan,
    /// Told when the server has to die now.
    pub deadly: Notify,
    state: Mutex<State>,
}

/// Seconds since the beginning.
pub fn second(moment: Time) -> f64 {
    (moment.0 - START.0) as f64 / 1000.0
}

pub fn at(second: u16) -> Time {
    START.plus(Duration::from_secs(second.into()))
}

pub fn local() -> DockerHost {
    "local".parse().unwrap()
}

pub fn target(service: u8) -> Target {
    format!("local/s{service}").parse().unwrap()
}

impl World {
    /// A world in which all is well.
    pub fn new(plan: Plan) -> Self {
        let service = |n| Service {
            id: format!("{n:064x}"),
            started: START.minus(Duration::from_secs(9_999)),
            down: None,
            paused: None,
            freeze: None,
            persons: Vec::new(),
            restarting: None,
            history: vec![(Time(0), true)],
        };
        let truths = plan.firings.iter().map(|firing| Truth { history: vec![(START, false)], repeats: firing.again }).collect();
        let state = State {
            services: (0..SERVICES).map(service).collect(),
            runs: BTreeMap::new(),
            truths,
            effects: Vec::new(),
            silences: Vec::new(),
            looks: Vec::new(),
            operations: 0,
            around_effects: 0,
            made: 0,
            unsure: 0,
            calm: false,
        };
        Self { plan, deadly: Notify::new(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle(&self.plan, Time::now());
        state
    }

    /// Is this going wrong at this moment?
    pub fn suffers(&self, wanted: impl Fn(Trouble) -> bool, now: Time) -> bool {
        let inside = |(begin, length, trouble): &(u16, u8, Trouble)| {
            wanted(*trouble) && now >= at(*begin) && now < at(*begin).plus(Duration::from_secs((*length).into()))
        };
        self.plan.troubles.iter().any(inside) && !self.state.lock().unwrap_or_else(PoisonError::into_inner).calm
    }

    /// Was this going wrong at that moment, by the plan, and for at least so long before and after?
    pub fn plan_had(&self, trouble: Trouble, now: Time, margin: Duration) -> bool {
        let during = |(begin, length, other): &(u16, u8, Trouble)| {
            let ends = at(*begin).plus(Duration::from_secs((*length).into()));
            *other == trouble && now >= at(*begin).plus(margin) && now.plus(margin) <= ends
        };
        self.plan.troubles.iter().any(during)
    }

    fn has(&self, trouble: Trouble) -> bool {
        self.suffers(|other| other == trouble, Time::now())
    }

    /// From now on nothing goes wrong any more, and nothing fires.
    pub fn calm_down(&self) {
        let mut state = self.lock();
        let now = Time::now();
        state.calm = true;
        state.truths.iter_mut().for_each(|truth| truth.set(now, false));
        state.services.iter_mut().for_each(|service| service.start(now));
    }

    /// Was this container up at that moment and just before and after? `None` when that changed in it.
    pub fn was_up(&self, service: u8, moment: Time) -> Option<bool> {
        let state = self.lock();
        let history = &state.services[usize::from(service)].history;
        let at = |moment: Time| history.iter().rev().find(|(since, _)| *since <= moment).is_some_and(|(_, up)| *up);
        let near = [moment.minus(MILLI), moment, moment.plus(MILLI)].map(at);
        near.iter().all(|up| *up == near[0]).then_some(near[0])
    }

    /// Did a pause by a person stand then, which was not made within so short a time after one of ours that nobody could tell?
    pub fn paused_by_person(&self, service: u8, moment: Time) -> bool {
        let state = self.lock();
        let own = state.services[usize::from(service)].id.clone();
        let after_ours = |from: Time| {
            let pauses = |effect: &Effect| matches!(&effect.what, What::Docker { verb: DockerVerb::Pause, container, .. } if *container == own);
            state
                .effects
                .iter()
                .any(|effect| pauses(effect) && from.since(effect.at) < Duration::from_secs(60) && effect.at <= from)
        };
        let stood = |(from, until): &(Time, Option<Time>)| {
            *from < moment && until.is_none_or(|until| until > moment) && !after_ours(*from)
        };
        state.services[usize::from(service)].persons.iter().any(stood)
    }

    /// What was really done.
    pub fn effects(&self) -> Vec<Effect> {
        self.lock().effects.clone()
    }

    /// What verification was told: when, about whom, what.
    pub fn looks(&self) -> Vec<(Time, Key, Seen)> {
        self.lock().looks.clone()
    }

    /// One more operation of the server; if the plan says so, it never comes back from it.
    async fn operation(&self) {
        let number = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.operations += 1;
            state.operations
        };
        self.die_if(|kill| matches!(kill, Kill::Operation(at) if *at == number)).await;
    }

    /// One more operation, before or after a side effect.
    async fn effect(&self) {
        self.operation().await;
        let number = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.around_effects += 1;
            state.around_effects
        };
        self.die_if(|kill| matches!(kill, Kill::Effect(at) if u16::from(*at) == number)).await;
    }

    async fn die_if(&self, now: impl Fn(&Kill) -> bool) {
        if self.plan.kills.iter().any(|(kill, _)| now(kill)) {
            self.deadly.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// What a firing looks like to those who tell of it, with its start; `None` when it does not fire.
    pub fn seen(&self, number: usize) -> Option<Alert> {
        let firing = &self.plan.firings[number];
        let state = self.lock();
        let moment = Time::now().minus(Duration::from_secs(firing.lag.into()));
        let (since, fires) = state.truths[number].at(moment);
        fires.then(|| alert(number, firing, Status::Firing, since))
    }

    /// When this alert last began to fire, if it ever did.
    pub fn last_start(&self, number: usize) -> Option<Time> {
        let state = self.lock();
        state.truths[number].history.iter().rev().find(|(_, fires)| *fires).map(|(since, _)| *since)
    }

    /// What the sources list; an error when they cannot be reached.
    pub fn list(&self) -> Result<Vec<Alert>, String> {
        if self.has(Trouble::ListsDown) {
            return Err("the sources cannot be reached".to_owned());
        }
        if self.has(Trouble::ListsEmpty) {
            return Ok(Vec::new());
        }
        let listed = self.plan.firings.iter().enumerate().filter(|(_, firing)| firing.listed);
        Ok(listed.filter_map(|(number, _)| self.seen(number)).collect())
    }

    /// What a list says of one alert.
    pub fn listings(alerts: &[Alert]) -> HashMap<Key, Listing> {
        alerts.iter().map(|alert| (Key::of(alert.family, &alert.labels, &[]), Listing::Firing)).collect()
    }

    /// Lets the alerts of this moment begin, and does what people do.
    pub fn second_passes(&self, second: u16) {
        let mut state = self.lock();
        let now = Time::now();
        for (number, firing) in self.plan.firings.iter().enumerate() {
            if firing.at == second {
                state.truths[number].set(now, true);
            }
            if let Cure::Alone(after) = firing.cure {
                let over = state.truths[number]
                    .history
                    .last()
                    .is_some_and(|(since, fires)| *fires && *since <= now.minus(Duration::from_secs(after.into())));
                if over {
                    state.truths[number].set(now, false);
                }
            }
            // What was cured comes back once.
            let again = state.truths[number].repeats.map(|after| Duration::from_secs(after.into()));
            let truth = &mut state.truths[number];
            if let (Some(after), Some((since, false))) = (again, truth.history.last().copied())
                && truth.history.len() > 2
                && now >= since.plus(after)
            {
                truth.set(now, true);
                truth.repeats = truth.repeats.filter(|_| self.plan.crash_loop);
            }
        }
        for (begin, length, trouble) in &self.plan.troubles {
            let (begins, ends) = (*begin == second, begin + u16::from(*length) == second);
            match trouble {
                Trouble::Stopped(service) if begins => state.services[usize::from(*service)].stop(now, true),
                Trouble::Stopped(service) if ends => state.services[usize::from(*service)].start(now),
                Trouble::Paused(service) if begins => {
                    let service = &mut state.services[usize::from(*service)];
                    if service.is_running() {
                        service.freeze(now, true);
                        service.persons.push((now, None));
                    }
                }
                Trouble::Paused(service) if ends => state.services[usize::from(*service)].freeze(now, false),
                Trouble::Recreated(service) if begins => {
                    state.made += 1;
                    let made = state.made;
                    let service = &mut state.services[usize::from(*service)];
                    service.start(now);
                    (service.id, service.started, service.restarting) = (format!("{:064x}", 1_000 + made), now, None);
                }
                _ => {}
            }
        }
    }

    fn by(&self, state: &State, id: &str) -> Option<u8> {
        (0..SERVICES).find(|n| state.services[usize::from(*n)].id == id)
    }
}

/// An alert as everybody writes it.
pub fn alert(number: usize, firing: &Firing, status: Status, since: Time) -> Alert {
    let labels = [("alertname", format!("A{number}")), ("container", format!("s{}", firing.service))];
    Alert {
        family: Family::Prometheus,
        status,
        labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        annotations: Labels::new(),
        starts_at: since,
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    }
}

impl Truth {
    fn set(&mut self, now: Time, fires: bool) {
        if self.history.last().is_none_or(|(_, before)| *before != fires) {
            self.history.push((now, fires));
        }
    }

    fn at(&self, moment: Time) -> (Time, bool) {
        self.history.iter().rev().find(|(since, _)| *since <= moment).copied().unwrap_or((START, false))
    }
}

impl Service {
    fn stop(&mut self, now: Time, by_person: bool) {
        self.freeze(now, false);
        self.down.get_or_insert((now, by_person));
        self.history.push((now, false));
    }

    fn start(&mut self, now: Time) {
        self.freeze(now, false);
        if self.down.take().is_some() {
            self.started = now;
            self.history.push((now, true));
        }
    }

    fn is_running(&self) -> bool {
        self.down.is_none() && self.paused.is_none()
    }

    /// Pauses what runs, or lets go on what is paused.
    fn freeze(&mut self, now: Time, paused: bool) {
        if self.down.is_some() || paused == self.paused.is_some() {
            return;
        }
        self.paused = paused.then_some(now);
        self.freeze = Some(Freeze { paused, at: now });
        self.history.push((now, !paused));
        if let Some((_, until)) = self.persons.last_mut().filter(|_| !paused) {
            until.get_or_insert(now);
        }
    }
}

impl State {
    /// What was begun earlier and is done by now.
    fn settle(&mut self, plan: &Plan, now: Time) {
        for number in 0..self.services.len() {
            let service = &mut self.services[number];
            let Some((verb, done)) = service.restarting.filter(|(_, done)| *done <= now) else { continue };
            service.restarting = None;
            match verb {
                DockerVerb::Pause | DockerVerb::Unpause | DockerVerb::Kill => {}
                DockerVerb::Stop => service.stop(done, false),
                DockerVerb::Restart | DockerVerb::Start => {
                    service.start(done);
                    service.started = done;
                    self.cure(plan, number, Cure::Restart, done);
                }
            }
        }
        let mut done = Vec::new();
        for run in self.runs.values_mut().filter(|run| run.ends <= now && !run.told) {
            run.told = true;
            if !run.check {
                done.push((run.service, run.ends));
            }
        }
        for (service, ends) in done {
            self.cure(plan, usize::from(service), Cure::Playbook, ends);
        }
    }

    fn cure(&mut self, plan: &Plan, service: usize, cure: Cure, now: Time) {
        for (number, firing) in plan.firings.iter().enumerate() {
            if usize::from(firing.service) == service && firing.cure == cure {
                self.truths[number].set(now, false);
            }
        }
    }
}

impl Eyes for World {
    fn hosts(&self) -> Vec<DockerHost> {
        vec![local()]
    }

    fn container<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        let number = (0..SERVICES).find(|n| format!("s{n}") == target.container.as_str());
        std::future::ready(self.inspect(number)).boxed()
    }

    fn by_id<'a>(&'a self, _: &'a DockerHost, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        let number = self.by(&self.lock(), id.as_str());
        std::future::ready(self.inspect(number)).boxed()
    }

    fn labelled<'a>(
        &'a self,
        _: &'a DockerHost,
        label: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Container>, LookError>> {
        assert_eq!((label, value), ("app", "web"));
        let all = (0..SERVICES).filter_map(|number| self.inspect(Some(number)).transpose()).collect();
        std::future::ready(all).boxed()
    }

    fn containers<'a>(&'a self, _: &'a DockerHost) -> BoxFuture<'a, Result<Vec<(Target, Labels)>, LookError>> {
        let all = (0..SERVICES).map(|number| (target(number), Labels::new())).collect();
        let answer = if self.has(Trouble::EngineDown) {
            Err(LookError::TooSlow { host: local(), within: Duration::from_secs(5) })
        } else {
            Ok(all)
        };
        std::future::ready(answer).boxed()
    }

    fn deliberately_stopped<'a>(&'a self, container: &'a Container) -> BoxFuture<'a, Result<Option<String>, LookError>> {
        let state = self.lock();
        let number = self.by(&state, container.id.as_str());
        let by_person = |n: u8| {
            let service = &state.services[usize::from(n)];
            // As the real engine: that it is paused does not say by whom.
            matches!(service.down, Some((_, true))) || service.paused.is_some()
        };
        std::future::ready(Ok(number.is_some_and(by_person).then(|| "a person did".to_owned()))).boxed()
    }

    fn last_freeze<'a>(&'a self, container: &'a Container) -> BoxFuture<'a, Result<Option<Freeze>, LookError>> {
        let answer = if self.has(Trouble::EngineDown) {
            Err(LookError::TooSlow { host: local(), within: Duration::from_secs(5) })
        } else {
            let state = self.lock();
            let service = self.by(&state, container.id.as_str()).map(|number| &state.services[usize::from(number)]);
            let known = service.filter(|_| !self.plan.forgets);
            Ok(known.and_then(|service| service.freeze.filter(|freeze| freeze.at >= service.started)))
        };
        std::future::ready(answer).boxed()
    }

    fn diagnostics<'a>(&'a self, _: &'a Container) -> BoxFuture<'a, Diagnostics> {
        async {
            // As slow as a log may be.
            sleep(Duration::from_secs(self.plan.takes.into())).await;
            Diagnostics { state: "it was".to_owned(), ..Diagnostics::default() }
        }
        .boxed()
    }

    fn log_tail<'a>(&'a self, _: &'a Container, _: usize) -> BoxFuture<'a, Result<Vec<String>, LookError>> {
        unreachable!("no policy of the simulation looks at anything")
    }
    fn query<'a>(&'a self, _: &'a str, _: Time, _: Duration, _: usize) -> BoxFuture<'a, Result<Vec<Sample>, LookupError>> {
        unreachable!("no policy of the simulation looks at anything")
    }
    fn finds<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, http::LookError>> {
        let answer = if self.has(Trouble::PrometheusDown) {
            Err(http::LookError::TimedOut { who: "Prometheus".to_owned() })
        } else {
            Ok(self.has(Trouble::Deploying).then(|| "deploying{}".to_owned()))
        };
        std::future::ready(answer).boxed()
    }

    fn suppression<'a>(&'a self, _: &'a Labels) -> BoxFuture<'a, Result<Option<Hold>, http::LookError>> {
        let answer = if self.has(Trouble::SilencesUnknown) {
            Err(http::LookError::TimedOut { who: "Alertmanager".to_owned() })
        } else if self.has(Trouble::Silenced) {
            Ok(Some(Hold { rule: Rule::Silenced, by: "ann".to_owned(), why: "deploying".to_owned(), until: None }))
        } else {
            Ok(None)
        };
        std::future::ready(answer).boxed()
    }

    fn silences(&self) -> BoxFuture<'_, Result<Option<Vec<Own>>, http::LookError>> {
        let answer = if self.has(Trouble::SilencesUnknown) || self.has(Trouble::ManagerDown) {
            Err(http::LookError::TimedOut { who: "Alertmanager".to_owned() })
        } else {
            let now = Time::now();
            let seen = |quiet: &Quiet| {
                let ended = quiet.ended.filter(|ended| *ended <= now);
                let stands = ended.is_none() && now < quiet.until;
                Own { stands, updated: Some(ended.unwrap_or(quiet.from)), ..quiet.own.clone() }
            };
            Ok(Some(self.lock().silences.iter().filter(|quiet| quiet.from <= now).map(seen).collect()))
        };
        std::future::ready(answer).boxed()
    }

    fn playbook<'a>(&'a self, _: &'a str, _: &'a str, _: &'a InventoryHost) -> BoxFuture<'a, Result<String, Unfit>> {
        std::future::ready(Ok(String::new())).boxed()
    }
}

impl World {
    fn inspect(&self, number: Option<u8>) -> Result<Option<Container>, LookError> {
        if self.has(Trouble::EngineDown) {
            return Err(LookError::TooSlow { host: local(), within: Duration::from_secs(5) });
        }
        let Some(number) = number else { return Ok(None) };
        let state = self.lock();
        let service = &state.services[usize::from(number)];
        Ok(Some(Container {
            target: target(number),
            id: service.id.parse().unwrap(),
            image: String::new(),
            state: match (service.down, service.paused) {
                (Some(_), _) => "exited",
                (None, Some(_)) => "paused",
                (None, None) => "running",
            }
            .to_owned(),
            started_at: service.started.to_string(),
            started: Some(service.started),
            finished: service.down.map(|(since, _)| since),
            exit_code: Some(0),
            out_of_memory: false,
            error: String::new(),
            labels: Labels::from([("app".to_owned(), "web".to_owned())]),
            restart_policy: "no".to_owned(),
            restart_count: 0,
            health: None,
            stop_timeout: Some(1),
            protected: None,
        }))
    }

    /// The engine does it, whether or not anybody waits for the answer. Gives how long that takes.
    fn begin(&self, call: Call<'_>) -> Result<Duration, NotDone> {
        let no = |message: &str| NotDone::Refused { status: 409, message: message.to_owned() };
        let takes = Duration::from_secs(self.plan.takes.into());
        let mut state = self.lock();
        let now = Time::now();
        let number = self.by(&state, call.id.as_str()).ok_or_else(|| no("no such container"))?;
        let service = &mut state.services[usize::from(number)];
        let takes = match call.verb {
            DockerVerb::Pause if !service.is_running() => return Err(no("it is not running")),
            DockerVerb::Unpause if service.paused.is_none() => return Err(no("it is not paused")),
            DockerVerb::Kill if service.down.is_some() => return Err(no("it is not running")),
            DockerVerb::Pause | DockerVerb::Unpause | DockerVerb::Kill => Duration::ZERO,
            verb => {
                service.restarting = Some((verb, now.plus(takes)));
                takes
            }
        };
        let (container, started_at) = (service.id.clone(), service.started.to_string());
        match call.verb {
            DockerVerb::Pause => service.freeze(now, true),
            DockerVerb::Unpause => service.freeze(now, false),
            // As the real engine, which does not tell who sent a signal.
            DockerVerb::Kill if call.signal.is_none_or(|signal| signal.is_deadly()) => service.stop(now, true),
            _ => {}
        }
        state
            .effects
            .push(Effect { at: now, what: What::Docker { verb: call.verb, signal: call.signal, container, started_at } });
        Ok(takes)
    }

    fn done(&self, what: What) {
        self.lock().effects.push(Effect { at: Time::now(), what });
    }

    fn answer_takes(&self) -> Duration {
        Duration::from_secs(self.plan.takes.min(ON_ITS_WAY).into())
    }

    /// How a request to Alertmanager ends before it is one, and whether its answer will be lost.
    fn manager(&self) -> Result<bool, NotDone> {
        if self.has(Trouble::ManagerDown) {
            return Err(NotDone::NotAsked("nobody answers".to_owned()));
        }
        if self.has(Trouble::ManagerRefuses) {
            return Err(NotDone::Refused { status: 400, message: "bad silence".to_owned() });
        }
        Ok(self.has(Trouble::ManagerBreaks))
    }
}

impl Hands for World {
    fn docker<'a>(&'a self, call: Call<'a>, within: Duration) -> BoxFuture<'a, Result<(), NotDone>> {
        async move {
            self.effect().await;
            if self.has(Trouble::EngineDown) {
                return Err(NotDone::NotAsked("no engine answers".to_owned()));
            }
            let takes = self.begin(call)?;
            self.effect().await;
            if self.has(Trouble::EngineBreaks) {
                return Err(NotDone::Unanswered("the connection broke".to_owned()));
            }
            if self.has(Trouble::EngineHangs) {
                sleep(within).await;
                return Err(NotDone::Unanswered("the engine gave no answer".to_owned()));
            }
            sleep(takes).await;
            self.effect().await;
            Ok(())
        }
        .boxed()
    }

    fn playbook<'a>(&'a self, run: &'a str, action: &'a Action) -> BoxFuture<'a, Outcome> {
        async move {
            self.effect().await;
            let takes = Duration::from_secs(self.plan.takes.into());
            let service = (0..SERVICES).find(|n| target(*n) == *action.target()).unwrap();
            let Action::Playbook { tags, check, .. } = action else { panic!("{action} is no playbook") };
            self.lock().runs.insert(run.to_owned(), Run { service, check: *check, ends: Time::now().plus(takes), told: false });
            self.done(What::Playbook { run: run.to_owned(), tags: tags.clone(), check: *check });
            self.effect().await;
            sleep(takes).await;
            self.effect().await;
            ansible::labelled(
                action,
                Outcome { ending: Ending::Succeeded, message: "done".to_owned(), touched: true, output: Vec::new() },
            )
        }
        .boxed()
    }

    fn silence<'a>(&'a self, silence: Silence<'a>) -> BoxFuture<'a, Result<String, NotDone>> {
        async move {
            self.effect().await;
            let breaks = self.manager()?;
            let (from, comment) = (Time::now().plus(self.answer_takes()), silence.comment.to_owned());
            let id = {
                let mut state = self.lock();
                let id = format!("silence-{}", state.silences.len());
                let own = Own { id: id.clone(), comment: comment.clone(), stands: true, updated: None };
                state.silences.push(Quiet { own, from, until: from.plus(silence.length), ended: None });
                id
            };
            self.done(What::Silenced { comment });
            self.effect().await;
            sleep(self.answer_takes()).await;
            if breaks { Err(NotDone::Unanswered("the answer was lost".to_owned())) } else { Ok(id) }
        }
        .boxed()
    }

    fn expire<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), NotDone>> {
        async move {
            self.effect().await;
            let breaks = self.manager()?;
            let at = Time::now().plus(self.answer_takes());
            self.lock().silences.iter_mut().filter(|quiet| quiet.own.id == id).for_each(|quiet| quiet.ended = Some(at));
            self.done(What::Expired(id.to_owned()));
            self.effect().await;
            sleep(self.answer_takes()).await;
            if breaks { Err(NotDone::Unanswered("the answer was lost".to_owned())) } else { Ok(()) }
        }
        .boxed()
    }

    fn say<'a>(&'a self, said: Said<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            self.effect().await;
            let outcome =
                |ending, message: &str| Outcome { ending, message: message.to_owned(), touched: false, output: Vec::new() };
            if self.has(Trouble::ChannelRefuses) {
                return outcome(Ending::Failed, "it was not told");
            }
            let (incident, channel, text) = (said.incident.id.clone(), said.channel.to_owned(), said.text.to_owned());
            self.done(What::Said { incident, intent: said.intent, channel, text });
            self.effect().await;
            sleep(self.answer_takes()).await;
            if self.has(Trouble::ChannelBreaks) {
                return outcome(Ending::TimedOut, "it was not told, as far as can be told");
            }
            outcome(Ending::Succeeded, "it was told")
        }
        .boxed()
    }

    fn end_playbook<'a>(&'a self, run: &'a str, why: &'a str) -> BoxFuture<'a, Outcome> {
        async move {
            sleep(Duration::from_secs(1)).await;
            let now = Time::now();
            if let Some(run) = self.lock().runs.get_mut(run) {
                run.ends = run.ends.min(now);
            }
            Outcome { ending: Ending::Interrupted, message: why.to_owned(), touched: true, output: Vec::new() }
        }
        .boxed()
    }

    fn find_playbook<'a>(&'a self, run: &'a str, _: Time) -> BoxFuture<'a, Outcome> {
        async move {
            let ends = self.lock().runs.get(run).map(|run| run.ends);
            if let Some(ends) = ends {
                sleep(ends.since(Time::now())).await;
            }
            let message = if ends.is_some() { "it took place" } else { "there is no trace of it" };
            Outcome { ending: Ending::Interrupted, message: message.to_owned(), touched: true, output: Vec::new() }
        }
        .boxed()
    }
}

impl Detect for World {
    fn look<'a>(&'a self, alert: &'a Alert, since: Time) -> BoxFuture<'a, Seen> {
        let name = alert.labels["alertname"].trim_start_matches('A').parse::<usize>().unwrap();
        let now = Time::now();
        let lag = Duration::from_secs(self.plan.firings[name].lag.into());
        let seen = if self.has(Trouble::Blind) || now.minus(lag) <= since {
            Seen::Unclear("it cannot be told".to_owned())
        } else if self.has(Trouble::LieWell) {
            Seen::Healthy("all is well".to_owned())
        } else if self.has(Trouble::LieFiring) || self.seen(name).is_some() {
            Seen::Firing("it fires".to_owned())
        } else {
            Seen::Healthy("neither pending nor firing".to_owned())
        };
        self.lock().looks.push((now, Key::of(alert.family, &alert.labels, &[]), seen.clone()));
        std::future::ready(seen).boxed()
    }

    fn probe<'a>(&'a self, _: &'a Probe, _: Time) -> BoxFuture<'a, Seen> {
        std::future::ready(Seen::Unclear("there is no probe".to_owned())).boxed()
    }
}

impl Fates for World {
    fn before<'a>(&'a self, _: &'a Append) -> BoxFuture<'a, Fate> {
        async move {
            self.operation().await;
            // As if it had to wait for the disk: others get their turn.
            tokio::task::yield_now().await;
            if self.has(Trouble::DiskFull) {
                return Fate::Fails;
            }
            if self.has(Trouble::DiskUnsure) {
                let mut state = self.lock();
                state.unsure += 1;
                return if state.unsure.is_multiple_of(2) { Fate::Unknown } else { Fate::Lost };
            }
            Fate::Fine
        }
        .boxed()
    }

    fn after(&self) -> BoxFuture<'_, ()> {
        async {
            self.operation().await;
            if self.has(Trouble::DiskSlow) {
                sleep(Duration::from_secs(5)).await;
            }
        }
        .boxed()
    }
}
