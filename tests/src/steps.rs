//! Every step fails once: the server dies after each kind of entry, and before and after each thing that it does to the world;
//! the next one reaches the same end, and what had to be done was done once.
//!
//! Dying is sudden: the runtime with all its tasks is thrown away while one of them stands at the fatal point, so nothing of the
//! server gets to run any more. What it had asked of Docker and Ansible goes on. (`soak` kills the real process.)

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use paramedic::action::{Action, Outcome, Target};
use paramedic::alert::matchers::Matchers;
use paramedic::alert::{IncidentId, Key};
use paramedic::clock::Time;
use paramedic::config::{self, Config};
use paramedic::execute::Hands;
use paramedic::execute::docker::{Call, NotDone};
use paramedic::hold::{Hold, Holds};
use paramedic::incident::timeline;
use paramedic::journal::storm::Storm;
use paramedic::journal::{Append, Appended, Away, Entry, Journal, JournalError, Listed, Opened, Reader, Spend, Store, Vitals};
use paramedic::server::{Borders, Server};
use paramedic::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::flow::{DOWN, Service, WELL, restarts, rule, service};
use crate::host::Setup;
use crate::programs::{Exporter, reqwest_client, start_prometheus};

/// Where the server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// After an entry of this kind is on disk, before anybody hears of it.
    After(&'static str),
    /// Before the world is touched.
    BeforeTouch,
    /// After the world was touched, before the result is known to anybody.
    AfterTouch,
    /// It lives.
    Never,
}

/// The fatal point, passed once.
struct Fate {
    death: Death,
    passed: AtomicBool,
    /// Told when it was reached.
    reached: tokio::sync::Notify,
}

impl fmt::Debug for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.death)
    }
}

impl Fate {
    fn new(death: Death) -> Arc<Self> {
        Arc::new(Self { death, passed: AtomicBool::new(false), reached: tokio::sync::Notify::new() })
    }

    /// Never comes back if this is the point.
    async fn at(&self, here: bool) {
        if here && !self.passed.swap(true, Ordering::SeqCst) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// The real journal, with a fatal point behind one kind of entry.
#[derive(Debug)]
struct Mortal {
    journal: Journal,
    fate: Arc<Fate>,
}

impl Store for Mortal {
    fn epoch(&self) -> u64 {
        self.journal.epoch()
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, JournalError>> {
        async move {
            let here = append.events.iter().any(|event| self.fate.death == After(event.kind()));
            let appended = self.journal.append(append).await;
            self.fate.at(here && matches!(appended, Ok(Appended::Committed { .. }))).await;
            appended
        }
        .boxed()
    }

    fn room(&self, incident: &IncidentId, spend: &[Spend]) -> BoxFuture<'_, Result<Option<Appended>, JournalError>> {
        let (incident, spend) = (incident.clone(), spend.to_vec());
        async move { self.journal.room(&incident, &spend).await }.boxed()
    }

    fn read(&self, incident: &IncidentId, after_seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let incident = incident.clone();
        async move { self.journal.read(&incident, after_seq, limit).await }.boxed()
    }

    fn tail(&self, after_pos: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        self.journal.tail(after_pos, limit).boxed()
    }

    fn open_incidents(&self) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        self.journal.open_incidents().boxed()
    }

    fn latest(&self, key: &Key) -> BoxFuture<'_, Result<Option<Listed>, JournalError>> {
        let key = key.clone();
        async move { self.journal.latest(&key).await }.boxed()
    }

    fn find(&self, beginning: &str) -> BoxFuture<'_, Result<IncidentId, JournalError>> {
        let beginning = beginning.to_owned();
        async move { self.journal.find(&beginning).await }.boxed()
    }

    fn holders(&self, key: &str) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let key = key.to_owned();
        async move { self.journal.holders(&key).await }.boxed()
    }

    fn due(&self, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        self.journal.due(limit).boxed()
    }

    fn list(&self, before: u64, open_only: bool, limit: usize) -> BoxFuture<'_, Result<Vec<Opened>, JournalError>> {
        async move { self.journal.list(before, open_only, limit).await }.boxed()
    }

    fn about(&self, target: &Target, since: Time, limit: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        let target = target.clone();
        async move { self.journal.about(&target, since, limit).await }.boxed()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, JournalError>> {
        self.journal.vitals().boxed()
    }

    fn storm(&self, key: &str) -> BoxFuture<'_, Result<Option<Storm>, JournalError>> {
        let key = key.to_owned();
        async move { self.journal.storm(&key).await }.boxed()
    }

    fn away(&self) -> Vec<Away> {
        self.journal.away()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.journal.ready().boxed()
    }
}

/// The real hands, with a fatal point before or behind their first deed.
#[derive(Debug)]
struct MortalHands {
    hands: Arc<dyn Hands>,
    fate: Arc<Fate>,
}

impl Hands for MortalHands {
    fn docker<'a>(&'a self, call: Call<'a>, within: Duration) -> BoxFuture<'a, Result<(), NotDone>> {
        async move {
            self.fate.at(self.fate.death == BeforeTouch).await;
            let done = self.hands.docker(call, within).await;
            self.fate.at(self.fate.death == AfterTouch).await;
            done
        }
        .boxed()
    }

    fn playbook<'a>(&'a self, run: &'a str, action: &'a Action) -> BoxFuture<'a, Outcome> {
        async move {
            self.fate.at(self.fate.death == BeforeTouch).await;
            let outcome = self.hands.playbook(run, action).await;
            self.fate.at(self.fate.death == AfterTouch).await;
            outcome
        }
        .boxed()
    }

    fn find_playbook<'a>(&'a self, run: &'a str, begun_at: Time) -> BoxFuture<'a, Outcome> {
        self.hands.find_playbook(run, begun_at)
    }

    fn end_playbook<'a>(&'a self, run: &'a str, why: &'a str) -> BoxFuture<'a, Outcome> {
        self.hands.end_playbook(run, why)
    }
}

/// A server in a runtime of its own, which can be thrown away.
struct Life {
    runtime: Option<Runtime>,
    url: String,
    fate: Arc<Fate>,
}

impl Life {
    async fn begin(path: &Path, death: Death) -> Self {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::begin_here(&path, death)).await.unwrap()
    }

    fn begin_here(path: &Path, death: Death) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let fate = Fate::new(death);
        let url = runtime.block_on(async {
            let (config, policies) = config::load_all(path).unwrap();
            let real = Self::borders(&config).await;
            let journal = Journal::on(Arc::new(Mortal { journal: real.journal, fate: fate.clone() }));
            let hands = Arc::new(MortalHands { hands: real.hands, fate: fate.clone() });
            let server = Server::within(Borders { journal, hands }, config, policies, Shutdown::new()).await.unwrap();
            let url = format!("http://{}", server.address().unwrap());
            tokio::spawn(server.run());
            url
        });
        Self { runtime: Some(runtime), url, fate }
    }

    /// A process that dies gives its lock back at once; the threads of the life before may need a moment for what they were at.
    async fn borders(config: &Config) -> Borders {
        let begun = Instant::now();
        loop {
            match Borders::real(config) {
                Ok(real) => return real,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for the fatal point, then is no more. `false` when it was not reached in time.
    async fn ends(self, within: Duration) -> bool {
        let reached = tokio::time::timeout(within, self.fate.reached.notified()).await.is_ok();
        self.stop().await;
        reached
    }

    /// Is no more, at once.
    async fn stop(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One story: what is configured, where the server dies one life after the other, and how it has to end.
struct Story {
    name: &'static str,
    setup: fn(&str, &Path) -> Setup,
    deaths: &'static [Death],
    end: &'static str,
    deeds: usize,
}

const fn story(
    name: &'static str,
    setup: fn(&str, &Path) -> Setup,
    deaths: &'static [Death],
    end: &'static str,
    deeds: usize,
) -> Story {
    Story { name, setup, deaths, end, deeds }
}

use Death::{After, AfterTouch, BeforeTouch};

const STORIES: &[Story] = &[
    story("restart", restart, &[], "healed", 1),
    story("restart", restart, &[After("opened")], "healed", 1),
    story("restart", restart, &[After("asked")], "healed", 1),
    story("restart", restart, &[After("decided")], "healed", 1),
    story("restart", restart, &[After("intended")], "healed", 1),
    story("restart", restart, &[After("intended"), After("cancelled")], "healed", 1),
    story("restart", restart, &[After("begun")], "healed", 1),
    story("restart", restart, &[BeforeTouch], "healed", 1),
    story("restart", restart, &[AfterTouch], "healed", 1),
    story("restart", restart, &[AfterTouch, After("ended"), After("verified"), After("closed")], "healed", 1),
    story("restart", restart, &[After("ended")], "healed", 1),
    story("restart", restart, &[After("verified")], "healed", 1),
    story("restart", restart, &[After("closed")], "healed", 1),
    story("playbook", playbook, &[After("intended")], "healed", 1),
    story("playbook", playbook, &[After("begun")], "healed", 1),
    story("playbook", playbook, &[BeforeTouch], "healed", 1),
    story("playbook", playbook, &[AfterTouch], "healed", 1),
    story("playbook", playbook, &[After("ended")], "healed", 1),
    story("refused", refused, &[After("refused")], "escalated", 0),
    story("refused", refused, &[After("escalated")], "escalated", 0),
    story("retried", refused, &[After("retried")], "escalated", 0),
    story("halted", restart, &[After("held")], "healed", 1),
    story("halted", restart, &[After("heard")], "healed", 1),
    story("nobody's", nobodys, &[After("unclaimed")], "watching", 0),
    story("approved", approving, &[After("approval-asked")], "healed", 1),
    story("approved", approving, &[After("approved")], "healed", 1),
    story("denied", approving, &[After("denied")], "escalated", 0),
    story("diagnosed", diagnosing, &[After("diagnosed")], "healed", 1),
    story("stopped", long_playbook, &[After("stopped")], "escalated", 1),
    story("held", restart, &[After("held")], "healed", 1),
];

/// Restarts it, and once more if that did not take place.
fn restart(container: &str, _: &Path) -> Setup {
    let mut setup = Setup::restarts(container);
    setup.policy = setup.policy.replace("grace_seconds: 1", "grace_seconds: 1, restarts: 3").replace("within: 40s", "within: 6s");
    setup
}

fn approving(container: &str, trace: &Path) -> Setup {
    let mut setup = restart(container, trace);
    setup.policy = setup.policy.replace("mode: enforce", "mode: approve");
    setup
}

/// What a restart destroys is kept before it.
fn diagnosing(container: &str, trace: &Path) -> Setup {
    let mut setup = restart(container, trace);
    setup.policy = setup.policy.replace("docker: {", &format!("docker: {{logs: ['local/{container}'], "));
    setup
}

/// Leaves a line, and then runs for longer than anybody waits.
fn long_playbook(container: &str, trace: &Path) -> Setup {
    let mut setup = playbook(container, trace);
    setup.playbooks[0].1.push_str("  - name: take long\n    ansible.builtin.command: sleep 600\n");
    setup.config = setup.config.replace("deadline: 60s", "deadline: 20m");
    setup
}

fn refused(container: &str, trace: &Path) -> Setup {
    let mut setup = restart(container, trace);
    setup.policy = setup.policy.replace(&format!("local/{container}"), "local/somebody-else");
    setup
}

fn nobodys(container: &str, trace: &Path) -> Setup {
    let mut setup = restart(container, trace);
    setup.policy = setup.policy.replace("Down", "Up");
    setup
}

/// Runs a playbook that leaves a line, and once more if that did not take place.
fn playbook(container: &str, trace: &Path) -> Setup {
    let text = format!(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n  - name: leave a line\n    ansible.builtin.shell: echo ran >> {}\n",
        trace.display()
    );
    let mut setup = Setup::restarts(container).then_playbook(text, container);
    setup.policy = setup
        .policy
        .replace("plugin: restart-container.wasm", "plugin: run-playbook.wasm")
        .replace("settings: {grace_seconds: 1, then_playbook: fix.yml}", "settings: {playbook: fix.yml, times: 3}")
        .replace("within: 40s", "within: 6s");
    setup
}

/// One story as it goes on, on the real engine, Prometheus and Ansible.
struct Case {
    folder: tempfile::TempDir,
    service: Service,
    /// A line for each run of the playbook.
    trace: PathBuf,
}

impl Case {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// How often it was done in truth.
    fn deeds(&self) -> usize {
        std::fs::read_to_string(&self.trace).map_or(0, |text| text.lines().count()) + restarts(&self.service)
    }

    /// State or ending of the newest incident, and its story.
    fn story(&self) -> (String, String) {
        let Ok(reader) = Reader::open(&self.data()) else { return Default::default() };
        let Some(id) = reader.list(false, 1).unwrap().pop() else { return Default::default() };
        let entries = reader.read(&id, 0, usize::MAX).unwrap();
        let incident = reader.incident(&id).unwrap().unwrap();
        let state = incident.closing().map_or(incident.state().to_owned(), |how| format!("{how:?}").to_lowercase());
        let told = timeline::tell(entries.iter().map(|entry| (entry.at, &entry.event)));
        (state, told.iter().map(|line| format!("{} {}\n", line.kind, line.text)).collect())
    }

    /// What the world and people do meanwhile: senders send, what is done cures, and people answer.
    async fn world(&self, name: &str, exporter: &Exporter, url: &Mutex<String>) {
        let (since, halt) = (Time::now().to_string(), self.data().join("HALT"));
        let (mut heard, mut retried) = (false, false);
        // As Alertmanager has them from this Prometheus.
        let labels = json!({
            "alertname": "Down", "cluster": "test", "container": self.service.name, "instance": exporter.address, "job": "demo",
            "replica": "a", "severity": "critical",
        });
        loop {
            let url = url.lock().unwrap().clone();
            // What a person stopped goes on to fire, so that it stays that person's.
            if self.deeds() > 0 && name != "stopped" {
                exporter.set(WELL);
            } else if !heard {
                heard = send(&url, &labels, &since).await;
            }
            let (state, story) = self.story();
            match (name, state.as_str()) {
                ("approved", "awaiting-approval") => self.say("approve").await,
                ("denied", "awaiting-approval") => self.say("deny").await,
                ("stopped", "acting") if self.deeds() > 0 => self.say("cancel").await,
                ("retried", "escalated") if !retried => {
                    self.say("retry").await;
                    retried = self.story().1.contains("retried ");
                }
                ("halted", "held") if story.contains("held ") => drop(std::fs::remove_file(&halt)),
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Says something at the operator's socket; a server that dies meanwhile does not answer.
    async fn say(&self, verb: &str) {
        drop(reqwest_client());
        let socket = self.data().join("operator.sock");
        let Ok(desk) = reqwest::Client::builder().unix_socket(socket).timeout(Duration::from_secs(2)).build() else { return };
        let id = Reader::open(&self.data()).unwrap().list(false, 1).unwrap()[0].to_string();
        let path = format!("http://paramedic/v1/incidents/{id}");
        let mut body = json!({ "reason": "so be it" });
        if verb == "approve" {
            let Ok(shown) = desk.get(&path).send().await else { return };
            let Ok(shown) = shown.json::<Value>().await else { return };
            body["digest"] = shown["awaiting"]["digest"].clone();
        }
        drop(desk.post(format!("{path}/{verb}")).json(&body).send().await);
    }
}

async fn send(url: &str, labels: &Value, starts_at: &str) -> bool {
    let alert = json!({ "status": "firing", "labels": labels, "annotations": {}, "startsAt": starts_at });
    let message = json!({ "version": "4", "status": "firing", "alerts": [alert] });
    let sent = reqwest_client().post(format!("{url}/alert")).timeout(Duration::from_secs(2)).json(&message).send().await;
    sent.is_ok_and(|answer| answer.status().is_success())
}

/// Plays one story; says what is wrong with how it went.
async fn play(story: &Story) -> Result<(), String> {
    let folder = tempfile::TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let service = tokio::task::spawn_blocking(service).await.unwrap();
    let exporter = Exporter::start(DOWN).await.unwrap();
    let prometheus = start_prometheus(&rule(&service.name), &[&exporter], None, "").await.unwrap();
    let config = (story.setup)(&service.name, &trace).prometheus(&prometheus.url).write(folder.path(), 0);
    let case = Case { folder, service, trace };
    if story.name == "held" {
        // Longer than both lives that end: it is released by nobody, and ends by itself.
        let holds = Holds::of(&case.data());
        std::fs::create_dir_all(case.data()).unwrap();
        let (all, until) = (Matchers::parse(&["alertname=Down"]).unwrap(), Time::now().plus(Duration::from_secs(45)));
        holds.place(&Hold::now(all, until, "ann", "deploy").unwrap()).unwrap();
    }
    if story.name == "halted" {
        std::fs::create_dir_all(case.data()).unwrap();
        std::fs::write(case.data().join("HALT"), "").unwrap();
    }
    let url = Mutex::new(String::new());
    let lives = async {
        for death in story.deaths {
            let life = Life::begin(&config, *death).await;
            life.url.clone_into(&mut url.lock().unwrap());
            if !life.ends(Duration::from_secs(60)).await {
                return Err(format!("{death:?} was never reached"));
            }
        }
        let life = Life::begin(&config, Death::Never).await;
        life.url.clone_into(&mut url.lock().unwrap());
        let begun = Instant::now();
        while case.story().0 != story.end {
            if begun.elapsed() > Duration::from_secs(120) {
                return Err(format!("it is {} after 120 s", case.story().0));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // Whatever would be done once more is done soon.
        tokio::time::sleep(Duration::from_secs(3)).await;
        life.stop().await;
        Ok(())
    };
    let lived = tokio::select! {
        lived = lives => lived,
        () = case.world(story.name, &exporter, &url) => Ok(()),
    };
    let deeds = case.deeds();
    let verified = Reader::open(&case.data()).unwrap().verify().map_err(|error| error.to_string());
    let wrong = lived.err().or_else(|| (deeds != story.deeds).then(|| format!("done {deeds} times, not {}", story.deeds)));
    let wrong = wrong.or(verified.err());
    wrong.map_or(Ok(()), |wrong| Err(format!("{} dying {:?}: {wrong}\n{}", story.name, story.deaths, case.story().1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_fails_once_and_the_end_is_the_same() {
    let ends: Vec<Result<(), String>> = futures_util::stream::iter(STORIES).map(play).buffer_unordered(6).collect().await;
    let wrong: Vec<String> = ends.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), STORIES.len(), wrong.join("\n"));
}

/// A new kind of entry needs a story in which the server dies behind it.
#[test]
fn every_kind_of_entry_is_somebody_s_last() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/src/incident/event.rs")).unwrap();
    let kinds: Vec<&str> = text
        .split_once("fn kind(&self)")
        .map(|(_, rest)| rest.split_once("\n    }").unwrap().0)
        .into_iter()
        .flat_map(|body| body.split('"').skip(1).step_by(2))
        .collect();
    assert!(kinds.len() >= 18 && kinds.contains(&"opened"), "the kinds are read wrongly: {kinds:?}");
    let dies = |kind: &&str| STORIES.iter().flat_map(|story| story.deaths).any(|death| matches!(death, After(k) if k == kind));
    let missing: Vec<&&str> = kinds.iter().filter(|kind| !dies(kind)).collect();
    assert!(missing.is_empty(), "nobody dies after {missing:?}");
}
