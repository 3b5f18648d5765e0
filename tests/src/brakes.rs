//! The brakes at the authoriser itself, on the real journal: each is exact when eight incidents race for its last place, and each says
//! what it is in a sentence of its own.
//!
//! In a round all brakes are raced for at once; so that each is raced for alone, a store in between lets only that brake be spent, under
//! keys of that round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use paramedic::action::{ContainerId, DockerHost, DockerVerb, InventoryHost, Kind, Proposal, Target};
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
use paramedic::authorise::storm::Told;
use paramedic::authorise::{Authorised, Authoriser, Claim, Stop};
use paramedic::clock::Time;
use paramedic::hold::Holds;
use paramedic::incident::lookup::{LookupError, Sample};
use paramedic::incident::{Answer, Decision, Diagnostics, Event, Incident, Mode, Rule, Trigger};
use paramedic::journal::storm::Storm;
use paramedic::journal::{Append, Appended, Away, Entry, Journal, JournalError, Listed, Opened, Spend, Store, Vitals};
use paramedic::look::alertmanager::Hold;
use paramedic::look::docker::{Container, LookError};
use paramedic::look::{Eyes, Unfit, http};
use paramedic::policy::Policy;
use paramedic::policy::brakes::Brakes;
use serde_json::{Value, json};

/// So often they race for each brake.
const ROUNDS: u64 = 1_000;
/// So many incidents race.
const RACERS: usize = 8;

/// Containers `c0`, `c1`, ... of one group, as they are said to be.
#[derive(Debug, Default)]
pub(crate) struct Town(Mutex<BTreeMap<String, (&'static str, Option<&'static str>)>>);

impl Town {
    pub(crate) fn of(names: impl IntoIterator<Item = String>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(names.into_iter().map(|name| (name, ("running", None))).collect())))
    }

    fn set(&self, name: &str, state: &'static str, health: Option<&'static str>) {
        self.0.lock().unwrap().insert(name.to_owned(), (state, health));
    }

    fn all(&self) -> Vec<Container> {
        let container = |(name, (state, health)): (&String, &(&str, Option<&str>))| Container {
            target: format!("local/{name}").parse().unwrap(),
            id: format!("{name}id").parse().unwrap(),
            image: String::new(),
            state: (*state).to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            started: None,
            finished: None,
            exit_code: Some(1),
            out_of_memory: false,
            error: String::new(),
            labels: Labels::from([("app".to_owned(), "web".to_owned())]),
            restart_policy: "no".to_owned(),
            restart_count: 0,
            health: health.map(str::to_owned),
            stop_timeout: None,
            protected: None,
        };
        self.0.lock().unwrap().iter().map(container).collect()
    }
}

impl Eyes for Town {
    fn hosts(&self) -> Vec<DockerHost> {
        vec!["local".parse().unwrap()]
    }
    fn container<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        std::future::ready(Ok(self.all().into_iter().find(|container| container.target == *target))).boxed()
    }
    fn by_id<'a>(&'a self, _: &'a DockerHost, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        std::future::ready(Ok(self.all().into_iter().find(|container| container.id == *id))).boxed()
    }
    fn labelled<'a>(
        &'a self,
        _: &'a DockerHost,
        label: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Container>, LookError>> {
        let has = |container: &Container| container.labels.get(label).is_some_and(|own| own == value);
        std::future::ready(Ok(self.all().into_iter().filter(has).collect())).boxed()
    }
    fn containers<'a>(&'a self, _: &'a DockerHost) -> BoxFuture<'a, Result<Vec<(Target, Labels)>, LookError>> {
        std::future::ready(Ok(self.all().into_iter().map(|one| (one.target, one.labels)).collect())).boxed()
    }
    fn diagnostics<'a>(&'a self, _: &'a Container) -> BoxFuture<'a, Diagnostics> {
        unused()
    }
    fn log_tail<'a>(&'a self, _: &'a Container, _: usize) -> BoxFuture<'a, Result<Vec<String>, LookError>> {
        unused()
    }
    fn query<'a>(&'a self, _: &'a str, _: Time, _: Duration, _: usize) -> BoxFuture<'a, Result<Vec<Sample>, LookupError>> {
        unused()
    }
    fn finds<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, http::LookError>> {
        unused()
    }
    fn deliberately_stopped<'a>(&'a self, _: &'a Container) -> BoxFuture<'a, Result<Option<String>, LookError>> {
        std::future::ready(Ok(None)).boxed()
    }
    fn suppression<'a>(&'a self, _: &'a Labels) -> BoxFuture<'a, Result<Option<Hold>, http::LookError>> {
        std::future::ready(Ok(None)).boxed()
    }
    fn playbook<'a>(&'a self, _: &'a str, _: &'a str, _: &'a InventoryHost) -> BoxFuture<'a, Result<String, Unfit>> {
        std::future::ready(Ok(String::new())).boxed()
    }
}

/// The journal, of whose brakes only some can be spent, under keys of their own.
#[derive(Debug)]
struct Scoped {
    journal: Journal,
    /// Behind every key.
    scope: String,
    /// The one brake that counts; `None`: all.
    only: Option<&'static str>,
    /// Brakes that were spent.
    spent: Mutex<BTreeSet<&'static str>>,
}

/// The brakes by their keys; an unknown one has to be raced for as well.
fn brake(key: &str) -> &'static str {
    let known = ["target:", "group:", "policy:", "all:", "attempts:", "cooldown:", "actions:"];
    match known.into_iter().find(|known| key.starts_with(known)) {
        Some(known) => known,
        None if key == "actions" => "actions",
        None => panic!("nobody races for the last place of `{key}`: give it a race in RACES"),
    }
}

impl Scoped {
    fn spend(&self, spend: Vec<Spend>) -> Vec<Spend> {
        let own = |key: String| format!("{key}{}", self.scope);
        let scoped = |spend: Spend| {
            let key = spend.key().to_owned();
            Some(match spend {
                Spend::Rate { limits, .. } => (brake(&key), Spend::Rate { key: own(key), limits }),
                Spend::Lock { limit, .. } => (brake(&key), Spend::Lock { key: own(key), limit }),
                // Nobody takes a place of these: what is counted for them are newcomers, and who is failing.
                Spend::Calm { .. } | Spend::Share { .. } => return None,
            })
        };
        let spend: Vec<_> = spend.into_iter().filter_map(scoped).collect();
        self.spent.lock().unwrap().extend(spend.iter().map(|(brake, _)| *brake));
        let counts = |brake| self.only.is_none_or(|only| brake == only);
        spend.into_iter().filter(|(brake, _)| counts(*brake)).map(|(_, spend)| spend).collect()
    }

    fn told(&self, appended: Appended) -> Appended {
        match appended {
            Appended::Braked { key, limit, after, holder } => {
                Appended::Braked { key: key.trim_end_matches(&self.scope).to_owned(), limit, after, holder }
            }
            other => other,
        }
    }
}

fn unused<T>() -> BoxFuture<'static, T> {
    unreachable!("an authoriser does not ask that")
}

impl Store for Scoped {
    fn epoch(&self) -> u64 {
        self.journal.epoch()
    }
    fn append(&self, mut append: Append) -> BoxFuture<'_, Result<Appended, JournalError>> {
        append.spend = self.spend(append.spend);
        async move { Ok(self.told(self.journal.append(append).await?)) }.boxed()
    }
    fn room(&self, incident: &IncidentId, spend: &[Spend]) -> BoxFuture<'_, Result<Option<Appended>, JournalError>> {
        let (incident, spend) = (incident.clone(), self.spend(spend.to_vec()));
        async move { Ok(self.journal.room(&incident, &spend).await?.map(|braked| self.told(braked))) }.boxed()
    }
    fn read(&self, incident: &IncidentId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let incident = incident.clone();
        async move { self.journal.read(&incident, after, limit).await }.boxed()
    }
    fn tail(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        unused()
    }
    fn open_incidents(&self) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        unused()
    }
    fn latest(&self, _: &Key) -> BoxFuture<'_, Result<Option<Listed>, JournalError>> {
        unused()
    }
    fn find(&self, _: &str) -> BoxFuture<'_, Result<IncidentId, JournalError>> {
        unused()
    }
    fn holders(&self, _: &str) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        unused()
    }
    fn due(&self, _: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        unused()
    }
    fn list(&self, _: u64, _: bool, _: usize) -> BoxFuture<'_, Result<Vec<Opened>, JournalError>> {
        unused()
    }
    fn about(&self, target: &Target, since: Time, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let target = target.clone();
        async move { self.journal.about(&target, since, limit).await }.boxed()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, JournalError>> {
        unused()
    }
    fn storm(&self, _: &str) -> BoxFuture<'_, Result<Option<Storm>, JournalError>> {
        unused()
    }
    fn away(&self) -> Vec<Away> {
        Vec::new()
    }
    fn ready(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        unused()
    }
}

/// A brake that is raced for.
struct Race {
    /// What it is called here.
    name: &'static str,
    /// The key by which it is known.
    brake: &'static str,
    /// Of `paramedic.yaml` and of the policy.
    brakes: fn() -> (Value, Value),
    /// So many places are taken before.
    taken: usize,
    /// All want one target, or each another.
    one_target: bool,
    /// What the others are told.
    rule: Rule,
}

const RACES: &[Race] = &[
    Race { name: "cooldown", brake: "cooldown:", brakes: loose, taken: 0, one_target: true, rule: Rule::Cooldown },
    Race {
        name: "attempts",
        brake: "attempts:",
        brakes: || (json!({}), json!({"attempts": "3 per 1h"})),
        taken: 2,
        one_target: true,
        rule: Rule::AttemptsSpent,
    },
    Race {
        name: "actions of the policy per hour",
        brake: "actions:",
        brakes: || (json!({}), json!({"actions": ["3 per 1h", "100 per 1d"]})),
        taken: 2,
        one_target: false,
        rule: Rule::TooManyActions,
    },
    Race {
        name: "actions of the policy per day",
        brake: "actions:",
        brakes: || (json!({}), json!({"actions": ["100 per 1h", "3 per 1d"]})),
        taken: 2,
        one_target: false,
        rule: Rule::TooManyActions,
    },
    Race {
        name: "actions altogether per hour",
        brake: "actions",
        brakes: || (json!({"actions": ["3 per 1h", "100 per 1d"]}), json!({})),
        taken: 2,
        one_target: false,
        rule: Rule::TooManyActions,
    },
    Race {
        name: "actions altogether per day",
        brake: "actions",
        brakes: || (json!({"actions": ["100 per 1h", "3 per 1d"]}), json!({})),
        taken: 2,
        one_target: false,
        rule: Rule::TooManyActions,
    },
    Race {
        name: "one at a time per target",
        brake: "target:",
        brakes: loose,
        taken: 0,
        one_target: true,
        rule: Rule::TargetBusy,
    },
    Race {
        name: "at once per policy",
        brake: "policy:",
        brakes: || (json!({}), json!({"concurrent": 2})),
        taken: 1,
        one_target: false,
        rule: Rule::TooManyAtOnce,
    },
    Race { name: "at once altogether", brake: "all:", brakes: loose, taken: 2, one_target: false, rule: Rule::TooManyAtOnce },
    Race {
        name: "one of a group",
        brake: "group:",
        brakes: || (json!({}), json!({"minimum_healthy": [{"label": "app=web", "count": 2}]})),
        taken: 0,
        one_target: false,
        rule: Rule::MinimumHealthy,
    },
];

/// As they are without a word.
fn loose() -> (Value, Value) {
    (json!({}), json!({}))
}

/// One who wants to restart a container.
struct Wish {
    incident: Incident,
    proposals: Vec<Proposal>,
}

fn restart(target: &str) -> Proposal {
    Proposal::Docker { verb: DockerVerb::Restart, target: target.to_owned(), grace_seconds: None, signal: None }
}

impl Wish {
    /// An incident in which that was decided.
    async fn new(journal: &Journal, name: &str, proposals: Vec<Proposal>) -> Self {
        let alert = Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels: Labels::from([("alertname".to_owned(), name.to_owned())]),
            annotations: Labels::new(),
            starts_at: Time::now(),
            ends_at: None,
            generator_url: String::new(),
            fingerprint: None,
        };
        let id = IncidentId { key: Key::of(alert.family, &alert.labels, &[]), n: 1 };
        let decision = Ok(Decision::Act { reason: "down".to_owned(), proposals: proposals.clone() });
        let (policy, plugin, settings) = ("heal".to_owned(), "d".to_owned(), Value::Null);
        let events = vec![
            Event::Opened { alert, via: Via::Webhook },
            Event::Asked { trigger: Trigger::Alert, targets: Vec::new(), ambiguous: Vec::new() },
            Event::Decided(Answer {
                policy,
                mode: Mode::Enforce,
                plugin,
                settings,
                decision,
                log: Vec::new(),
                lookups: Vec::new(),
                policy_file: String::new(),
                limits: None,
                micros: 1,
            }),
        ];
        let written = journal.append(Append::new(id.clone(), Some(0), events.clone())).await.unwrap();
        let Appended::Committed { at, .. } = written else { panic!("{written:?}") };
        let events = (1..).zip(&events).map(|(seq, event)| (seq, at, event));
        Self { incident: Incident::from_events(&id, events).unwrap(), proposals }
    }

    async fn authorise(&self, desk: &Desk) -> Authorised {
        desk.authoriser.authorise(&desk.journal, desk.claim(&self.incident), &self.proposals).await.unwrap()
    }
}

/// An authoriser with these brakes.
struct Desk {
    authoriser: Authoriser,
    journal: Journal,
    policy: Policy,
}

impl Desk {
    fn new(eyes: Arc<Town>, journal: Journal, (global, own): (Value, Value)) -> Self {
        let policy = json!({
            "name": "heal", "plugin": "p.wasm", "mode": "enforce", "brakes": own,
            "grants": {"docker": {"restart": ["local/*"], "start": ["local/*"]}},
        });
        let brakes: Brakes = serde_json::from_value(global).unwrap();
        let nowhere = std::path::Path::new("/nonexistent");
        let authoriser = Authoriser {
            eyes,
            halt_file: nowhere.join("HALT"),
            holds: Holds::of(nowhere),
            maintenance: Vec::new(),
            brakes,
            max_age: Duration::from_secs(900),
            storms: Told::default(),
        };
        Self { authoriser, journal, policy: serde_json::from_value(policy).unwrap() }
    }

    fn claim<'a>(&'a self, incident: &'a Incident) -> Claim<'a> {
        Claim { incident, policy: &self.policy, declared: &[Kind::DockerRestart, Kind::DockerStart] }
    }

    /// The rule and the words with which it is refused or held.
    async fn no(&self, wish: &Wish) -> (Rule, String) {
        let Err(stop) = self.authoriser.would(&self.journal, self.claim(&wish.incident), &wish.proposals).await.unwrap() else {
            panic!("it is allowed")
        };
        match stop {
            Stop::Refused { rule, message, .. } | Stop::Held { rule, message, .. } => (rule, message),
        }
    }
}

/// Lets eight race for the last place of one brake.
async fn race(race: &'static Race, round: u64, town: Arc<Town>, journal: Journal) {
    let scope = format!(" of {} in round {round}", race.name);
    let store = Scoped { journal: journal.clone(), scope: scope.clone(), only: Some(race.brake), spent: Mutex::default() };
    let desk = Arc::new(Desk::new(town, Journal::on(Arc::new(store)), (race.brakes)()));
    let wish = |n: usize| {
        let (journal, target) = (journal.clone(), format!("local/c{}", if race.one_target { 0 } else { n }));
        let name = format!("{n}{scope}");
        async move { Wish::new(&journal, &name, vec![restart(&target)]).await }
    };
    let mut wishes = join_all((0..race.taken + RACERS).map(wish)).await;
    for before in wishes.drain(..race.taken) {
        assert!(matches!(before.authorise(&desk).await, Authorised::Permits(_)), "{}: it has room{scope}", race.name);
    }
    let start = Arc::new(tokio::sync::Barrier::new(RACERS));
    let run = |wish: Wish| {
        let (desk, start) = (Arc::clone(&desk), Arc::clone(&start));
        tokio::spawn(async move {
            start.wait().await;
            (wish.authorise(&desk).await, wish)
        })
    };
    let ended = join_all(wishes.into_iter().map(run)).await;
    let (won, lost): (Vec<_>, Vec<_>) =
        ended.into_iter().map(Result::unwrap).partition(|(end, _)| matches!(end, Authorised::Permits(_)));
    assert_eq!(won.len(), 1, "one place is left, and so many got it{scope}");
    assert!(lost.iter().all(|(end, _)| matches!(end, Authorised::Stopped)), "all others are told{scope}");
    // Reading all of them would take longer than the races.
    let (_, loser) = &lost[round as usize % lost.len()];
    let last = journal.read(&loser.incident.id, loser.incident.seq, 9).await.unwrap().pop().unwrap().event;
    let rule = match last {
        Event::Held { rule, .. } | Event::Refused { rule, .. } => rule,
        other => panic!("{other:?}"),
    };
    assert_eq!(rule, race.rule, "{scope}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_race_for_the_last_place_of_each_brake_and_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let town = Town::of((0..RACERS + 2).map(|n| format!("c{n}")));

    // Every brake there is has a race.
    let store = Arc::new(Scoped { journal: journal.clone(), scope: String::new(), only: None, spent: Mutex::default() });
    let group = json!({"minimum_healthy": [{"label": "app=web", "count": 2}]});
    let desk = Desk::new(Arc::clone(&town), Journal::on(store.clone()), (json!({}), group));
    let wish = Wish::new(&journal, "all", vec![restart("local/c0")]).await;
    assert!(matches!(wish.authorise(&desk).await, Authorised::Permits(_)));
    assert_eq!(*store.spent.lock().unwrap(), RACES.iter().map(|race| race.brake).collect::<BTreeSet<_>>());

    let begun = std::time::Instant::now();
    for round in 0..ROUNDS {
        let all = RACES.iter().map(|one| tokio::spawn(race(one, round, Arc::clone(&town), journal.clone())));
        join_all(all).await.into_iter().for_each(Result::unwrap);
    }
    println!("races: {} brakes, {ROUNDS} rounds, {RACERS} racers, {:.1} s", RACES.len(), begun.elapsed().as_secs_f64());
}

/// A desk on a journal of its own, with containers c0, c1, ... of which each wants two others to be healthy.
struct Ward {
    desk: Desk,
    town: Arc<Town>,
    _folder: tempfile::TempDir,
}

impl Ward {
    fn new(containers: usize, brakes: (Value, Value)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let town = Town::of((0..containers).map(|n| format!("c{n}")));
        let desk = Desk::new(Arc::clone(&town), Journal::open(folder.path()).unwrap(), brakes);
        Self { desk, town, _folder: folder }
    }

    async fn wish(&self, name: &str, proposals: Vec<Proposal>) -> Wish {
        Wish::new(&self.desk.journal, name, proposals).await
    }
}

fn two_others() -> Value {
    json!({"minimum_healthy": [{"label": "app=web", "count": 2}]})
}

#[tokio::test]
async fn what_would_leave_too_few_healthy_is_held_and_says_who_is_not() {
    let ward = Ward::new(4, (json!({}), two_others()));
    let wish = ward.wish("A", vec![restart("local/c0")]).await;
    let would = || ward.desk.authoriser.would(&ward.desk.journal, ward.desk.claim(&wish.incident), &wish.proposals);
    ward.town.set("c1", "exited", None);
    ward.town.set("c2", "running", Some("healthy"));
    assert!(would().await.unwrap().is_ok(), "two others are healthy");
    ward.town.set("c2", "running", Some("unhealthy"));
    assert_eq!(
        ward.desk.no(&wish).await,
        (
            Rule::MinimumHealthy,
            "without local/c0, healthy containers with the label app=web on local would be 1 (c3), and brakes.minimum_healthy of policy heal wants 2; not healthy: c1 (exited), c2 (unhealthy): heal one of them, or lower its `count`".to_owned()
        )
    );
    // One that is starting is not there yet, and a paused one does nothing.
    for (state, health) in [("running", Some("starting")), ("paused", None), ("restarting", None), ("created", None)] {
        ward.town.set("c2", state, health);
        assert_eq!(ward.desk.no(&wish).await.0, Rule::MinimumHealthy, "{state} {health:?}");
    }
    // What is down is not taken away; nor does a start take anything away.
    ward.town.set("c0", "exited", None);
    assert!(would().await.unwrap().is_ok());
    ward.town.set("c0", "running", None);
    let start = Proposal::Docker { verb: DockerVerb::Start, target: "local/c0".to_owned(), grace_seconds: None, signal: None };
    let start = ward.wish("B", vec![start]).await;
    let claim = ward.desk.claim(&start.incident);
    assert!(ward.desk.authoriser.would(&ward.desk.journal, claim, &start.proposals).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_rule_for_all_policies_counts_by_the_containers_own_value() {
    let global = json!({"minimum_healthy": [{"label": "app", "count": 1}]});
    let ward = Ward::new(1, (global, json!({})));
    let wish = ward.wish("A", vec![restart("local/c0")]).await;
    let (rule, message) = ward.desk.no(&wish).await;
    assert_eq!(rule, Rule::MinimumHealthy);
    assert!(
        message.contains("would be 0, and brakes.minimum_healthy of paramedic.yaml wants 1; there are no more of them"),
        "{message}"
    );
    ward.town.set("c1", "running", None);
    assert!(matches!(wish.authorise(&ward.desk).await, Authorised::Permits(_)));
    // The other one of the group has to wait until it was looked whether that helped.
    let other = ward.wish("B", vec![restart("local/c1")]).await;
    let (rule, message) = ward.desk.no(&other).await;
    assert_eq!(rule, Rule::MinimumHealthy);
    let expected = format!("another container of app=web on local is being restarted or looked at ({})", wish.incident.id);
    assert!(message.starts_with(&expected), "{message}");
}

#[tokio::test]
async fn right_before_it_begins_it_is_looked_once_more() {
    let ward = Ward::new(3, (json!({}), two_others()));
    let wish = ward.wish("A", vec![restart("local/c0")]).await;
    let Authorised::Permits(permits) = wish.authorise(&ward.desk).await else { panic!("it is allowed") };
    let again = || ward.desk.authoriser.still_enough(&ward.desk.policy, permits[0].action());
    assert_eq!(again().await, Ok(()));
    ward.town.set("c1", "exited", None);
    let Err(Stop::Held { rule, message, .. }) = again().await else { panic!("one of the others has gone") };
    assert!(rule == Rule::MinimumHealthy && message.contains("would be 1 (c2)"), "{message}");
}

#[test]
fn an_older_journal_is_still_read() {
    let rule: Rule = serde_json::from_value(json!("hourly-limit")).unwrap();
    assert_eq!((rule, rule.word()), (Rule::TooManyActions, "too-many-actions".to_owned()));
}

#[tokio::test]
async fn an_act_that_the_brakes_never_allow_is_refused_at_once() {
    let ward = Ward::new(3, (json!({"actions": ["2 per 1h", "3 per 1d"]}), json!({"actions": ["9 per 1h", "1 per 1d"]})));
    let two = ward.wish("A", vec![restart("local/c0"), restart("local/c1")]).await;
    let (rule, message) = ward.desk.no(&two).await;
    assert_eq!(rule, Rule::SeveralTargets);
    assert!(message.starts_with("one act is about one target, and this one names local/c0 and local/c1"), "{message}");
    for (count, expected) in [(2, "brakes.actions of policy heal ever allows (1 per 1d)"), (1, "")] {
        let wish = ward.wish(&format!("{count}"), vec![restart("local/c0"); count]).await;
        if expected.is_empty() {
            assert!(matches!(wish.authorise(&ward.desk).await, Authorised::Permits(_)));
        } else {
            let (rule, message) = ward.desk.no(&wish).await;
            assert!(rule == Rule::TooManyActions && message.contains(expected), "{message}");
        }
    }
}

#[tokio::test]
async fn every_brake_says_its_name_its_number_and_when_there_is_room() {
    let tight = (json!({"actions": "1 per 1h", "concurrent": 2}), json!({"concurrent": 2, "actions": ["1 per 5m", "1 per 1h"]}));
    let ward = Ward::new(9, tight);
    let first = ward.wish("first", vec![restart("local/c0")]).await;
    assert!(matches!(first.authorise(&ward.desk).await, Authorised::Permits(_)));
    let wish = ward.wish("second", vec![restart("local/c1")]).await;
    let (rule, message) = ward.desk.no(&wish).await;
    assert_eq!(rule, Rule::TooManyActions);
    let start = "as many actions were done as brakes.actions of policy heal allows (1 per 1h); there is room again at 20";
    assert!(message.starts_with(start), "{message}");
    let wish = ward.wish("third", vec![restart("local/c0")]).await;
    let (rule, message) = ward.desk.no(&wish).await;
    assert_eq!(
        (rule, message),
        (
            Rule::TargetBusy,
            format!(
                "another incident ({}) has local/c0: it is at work on it, or tried what it may and was left to a person, who may close it",
                first.incident.id
            )
        )
    );
}
