//! One run of a plan: the real server's rooms in a simulated world, killed and started again as the plan says, with senders
//! that tell it what fires as Alertmanager and Prometheus do.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use paramedic::action::{DockerVerb, Kind, Proposal, ProposedMatcher};
use paramedic::alert::matchers::Matchers;
use paramedic::alert::{Alert, IncidentId, Key, Status, Via};
use paramedic::authorise::Authoriser;
use paramedic::authorise::storm::Told;
use paramedic::clock::{Simulated, Time};
use paramedic::decide::plugin::{Judge, Manifest};
use paramedic::decide::sandbox::{Brief, Limits, Ruling, Sandbox};
use paramedic::decide::{Decider, Loaded};
use paramedic::execute::Executor;
use paramedic::healer::Healer;
use paramedic::healer::line::Lines;
use paramedic::hold::{FOLDER, Hold, Holds};
use paramedic::incident::{Closing, Decision, Event, Incident, Phase, Trigger};
use paramedic::journal::{Append, Journal};
use paramedic::look::sight::Sight;
use paramedic::look::targets;
use paramedic::policy::Policy;
use paramedic::policy::brakes::{Brakes, PerWindow, Rates};
use paramedic::policy::present::Present;
use paramedic::receive::intake::Intake;
use paramedic::shutdown::Shutdown;
use paramedic::verify::Verifier;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until};

use super::plan::{Deed, FORBIDDEN, Kill, Plan, Rung, STORM, Trouble};
use super::store::{Disk, Memory};
use super::world::{PERSONS_SILENCE, START, World};

/// Ten minutes: the first window of the rates of actions.
pub const WINDOW: Duration = Duration::from_secs(600);
/// Half an hour: the second.
pub const LONG_WINDOW: Duration = Duration::from_secs(1_800);
/// How long a recovery has to last.
pub const STABLE: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);
/// After everything has gone wrong, all incidents have to end within this.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// All that is known of a run.
#[derive(Debug)]
pub struct Record {
    /// The journal.
    pub disk: Arc<Mutex<Disk>>,
    /// What was really done.
    pub world: Arc<World>,
    /// What was said and acknowledged.
    pub said: Vec<Said>,
    /// True when everything came to an end in time.
    pub ended: bool,
}

/// A policy that climbs the ladder of the plan.
#[derive(Debug)]
struct Medic {
    manifest: Manifest,
    ladder: Vec<Rung>,
}

impl Judge for Medic {
    fn digest(&self) -> &'static str {
        "medic"
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn decide<'a>(&'a self, brief: &'a Brief, _: &'a Limits) -> BoxFuture<'a, Ruling> {
        let decision = self.answer(brief);
        std::future::ready(Ruling { decision, log: Vec::new(), lookups: Vec::new(), micros: 0 }).boxed()
    }
}

impl Medic {
    fn answer(&self, brief: &Brief) -> Result<Decision, paramedic::decide::question::Failure> {
        let reason = String::new();
        let Some(view) = brief.targets.first() else { return Ok(Decision::Escalate { reason }) };
        let target = view.target.to_string();
        let propose = |deed: &Deed| proposal(*deed, &target);
        let playbook = || run_playbook(&target, Vec::new(), false);
        let waited = brief.trigger == Trigger::WaitOver;
        Ok(match self.ladder.get(brief.attempts.len()) {
            Some(Rung::Restart) => Decision::Act { reason, proposals: vec![propose(&Deed::Restart)] },
            Some(Rung::Playbook) => Decision::Act { reason, proposals: vec![playbook()] },
            Some(Rung::Both) => Decision::Act { reason, proposals: vec![propose(&Deed::Restart), playbook()] },
            Some(Rung::Act(deeds)) => Decision::Act { reason, proposals: deeds.iter().map(propose).collect() },
            Some(Rung::Wait(seconds)) if !waited => Decision::Wait { reason, millis: u64::from(*seconds) * 1000 },
            Some(Rung::Wait(_)) => Decision::Act { reason, proposals: vec![propose(&Deed::Restart)] },
            Some(Rung::Ignore) => Decision::Ignore { reason },
            Some(Rung::Pass) => Decision::Pass { reason },
            Some(Rung::Crash) => return Err(paramedic::decide::question::Failure::Trapped("on purpose".to_owned())),
            Some(Rung::Escalate) | None => Decision::Escalate { reason },
        })
    }
}

fn run_playbook(target: &str, tags: Vec<String>, check: bool) -> Proposal {
    let (name, about) = ("fix.yml".to_owned(), target.to_owned());
    Proposal::Playbook { name, about, host: None, variables: Vec::new(), tags, check }
}

/// What the plugin says for it.
fn proposal(deed: Deed, target: &str) -> Proposal {
    let (name, about) = (target.to_owned(), target.to_owned());
    let docker = |verb, signal: Option<&str>| Proposal::Docker {
        verb,
        target: name.clone(),
        grace_seconds: None,
        signal: signal.map(str::to_owned),
    };
    let silence = |op: &str, seconds: u64| Proposal::Silence {
        about: name.clone(),
        matchers: vec![ProposedMatcher { name: "container".to_owned(), op: op.to_owned(), value: "s.*".to_owned() }],
        millis: seconds * 1_000,
        comment: "being healed".to_owned(),
    };
    let notify = |channel: &str| Proposal::Notify { about: name.clone(), channel: channel.to_owned(), text: "look".to_owned() };
    match deed {
        Deed::Restart => docker(DockerVerb::Restart, None),
        Deed::Pause => docker(DockerVerb::Pause, None),
        Deed::Unpause => docker(DockerVerb::Unpause, None),
        Deed::Hup => docker(DockerVerb::Kill, Some("SIGHUP")),
        Deed::Kill => docker(DockerVerb::Kill, None),
        Deed::Tagged => run_playbook(target, vec!["safe".to_owned()], false),
        Deed::Check => run_playbook(target, Vec::new(), true),
        Deed::Silence => silence("=~", 600),
        Deed::Expire => Proposal::ExpireSilence { about, id: None },
        Deed::Notify => notify("oncall"),
        Deed::Forbidden(which) => match which % FORBIDDEN {
            0 => docker(DockerVerb::Kill, Some("SIGTERM")),
            1 => run_playbook(target, vec!["unsafe".to_owned()], false),
            2 => silence("=", 600),
            3 => silence("=~", 7_200),
            4 => Proposal::ExpireSilence { about, id: Some(PERSONS_SILENCE.to_owned()) },
            _ => notify("boss"),
        },
    }
}

fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    Arc::clone(SANDBOX.get_or_init(|| Sandbox::new(None).unwrap()))
}

fn policies(plan: &Plan) -> Vec<Loaded> {
    let manifest = Manifest {
        name: "medic".to_owned(),
        version: "1".to_owned(),
        description: String::new(),
        actions: Kind::ALL.to_vec(),
        lookups: Vec::new(),
        settings_schema: None,
    };
    let plugin: Arc<dyn Judge> = Arc::new(Medic { manifest, ladder: plan.ladder.clone() });
    let (few, more) = plan.policy_actions;
    let policy = |name: &str, matchers: &[&str], mode: &str| -> Policy {
        let text = json!({
            "name": name, "plugin": "medic.wasm", "mode": mode, "match": matchers,
            "unless": ["deploying"],
            "grants": {
                "docker": {
                    "restart": ["local/s*"], "pause": ["local/s*"], "unpause": ["local/s*"],
                    "kill": {"SIGHUP": ["local/s*"], "SIGKILL": ["local/s*"]}, "logs": ["local/s1"],
                },
                "ansible": [{"playbook": "fix.yml", "hosts": ["localhost"], "tags": ["safe"]}],
                "alertmanager": {"silence": [{"match": ["container=~\"s.*\""], "longest": "1h"}], "expire": true},
                "notify": ["oncall"],
            },
            "brakes": {
                "cooldown": format!("{}s", plan.cooldown),
                "attempts": format!("{} per {}s", plan.attempts, plan.window),
                "actions": [format!("{few} per 10m"), format!("{} per 30m", few + more)],
                "concurrent": plan.policy_concurrent,
                "minimum_healthy": if plan.minimum_healthy { json!([{"label": "app=web", "count": 1}]) } else { json!([]) },
            },
            "verify": {"within": format!("{}s", WITHIN.as_secs()), "stable": format!("{}s", STABLE.as_secs())},
            "on_deliberate_stop": if plan.heals_deliberate { "heal" } else { "hold" },
            "when_unsure": if plan.acts_unsure { "act" } else { "hold" },
        });
        serde_json::from_value(text).unwrap()
    };
    let loaded = |policy| Loaded { policy: Arc::new(policy), plugin: Arc::clone(&plugin) };
    let mode = if plan.approve { "approve" } else { "enforce" };
    let mut all = vec![loaded(policy("watch", &[], "observe"))];
    if plan.two_policies {
        all.push(loaded(policy("first", &["container=\"s0\""], mode)));
    }
    all.push(loaded(policy("rest", &[], mode)));
    all
}

/// The file that halts, for the simulation of this thread; it exists while the plan says so.
fn halt_file() -> PathBuf {
    thread_local! { static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) }; }
    FOLDER.with_borrow_mut(|folder| folder.get_or_insert_with(|| tempfile::tempdir().unwrap()).path().join("HALT"))
}

/// What is a storm in this plan; five, when it has none, are more than there are targets.
pub fn storm(plan: &Plan) -> PerWindow {
    PerWindow { limit: if plan.storms { 2 } else { 5 }, window: SECOND * STORM.into() }
}

/// What people hold, beside it.
fn holds() -> Holds {
    Holds::of(halt_file().parent().unwrap())
}

/// A server, until it is killed.
struct Process {
    reached: Reached,
    tasks: Vec<JoinHandle<()>>,
}

impl Process {
    fn start(world: &Arc<World>, disk: &Arc<Mutex<Disk>>) -> Self {
        let plan = &world.plan;
        let journal = Journal::on(Arc::new(Memory::open(disk, world.clone())));
        let (nudge, nudges) = mpsc::unbounded_channel();
        let intake = Arc::new(Intake::new(journal.clone(), Vec::new(), nudge.clone()));
        let looked_at = plan.firings.iter().any(|firing| firing.listed);
        let names = looked_at.then(|| ("Prometheus".to_owned(), Via::Prometheus));
        let sight = Sight::new(names, SECOND * 20);
        let rate = |limit: u8, window| PerWindow { limit: limit.into(), window };
        let (few, more) = plan.actions;
        let actions = Rates::new(rate(few, WINDOW), [rate(few + more, LONG_WINDOW)]);
        let authoriser = Authoriser {
            eyes: world.clone(),
            halt_file: halt_file(),
            holds: holds(),
            maintenance: Vec::new(),
            brakes: Brakes { actions, concurrent: plan.concurrent.into(), storm: storm(plan), ..Brakes::default() },
            max_age: SECOND * 900,
            storms: Told::default(),
        };
        let healer = Arc::new(Healer {
            intake: Arc::clone(&intake),
            targets: targets::Rules::default(),
            eyes: world.clone(),
            sight: sight.clone(),
            decider: Present::of(Decider::new(policies(plan), sandbox(), PathBuf::new())),
            authoriser,
            executor: Executor { journal: journal.clone(), eyes: world.clone(), hands: world.clone() },
            verifier: Verifier::with(world.clone()),
            journal,
            turn: tokio::sync::Mutex::default(),
            lines: Lines::default(),
            stale_after: SECOND * 600,
            shutdown: Shutdown::new(),
        });
        let mut tasks = vec![tokio::spawn(async move { drop(healer.run(nudges, SECOND).await) })];
        let (polled, hears) = (Arc::clone(world), Arc::clone(&intake));
        tasks.push(tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                let listed = polled.list();
                sight.record(0, asked, listed.as_ref().map(|alerts| World::listings(alerts)).map_err(Clone::clone));
                let _ = hears.hear(Via::Prometheus, listed.unwrap_or_default()).await;
                sleep(SECOND * 5).await;
            }
        }));
        Self { reached: Reached { intake, nudge }, tasks }
    }
}

/// What somebody said, once it was acknowledged.
#[derive(Clone, Debug)]
pub struct Said {
    /// When it was acknowledged.
    pub at: Time,
    /// Of whom.
    pub key: Key,
    /// What.
    pub status: Status,
    /// Since when it fires, by that.
    pub starts_at: Time,
}

/// The server that runs now, if one does, and how many there were: whoever talks to it hears nothing more when that changes.
type Running = watch::Sender<(u32, Option<Reached>)>;

/// How a server is reached.
#[derive(Clone)]
struct Reached {
    intake: Arc<Intake>,
    nudge: mpsc::UnboundedSender<IncidentId>,
}

/// What a person's command writes.
fn words(what: Trouble, incident: &Incident) -> Event {
    let (by, message) = ("ann".to_owned(), "so be it".to_owned());
    match what {
        Trouble::Approved(_) => {
            let digest = if let Phase::Awaiting { digest, .. } = &incident.phase { digest.clone() } else { String::new() };
            Event::Approved { by, message, digest }
        }
        Trouble::Denied(_) => Event::Denied { by, message },
        Trouble::Cancelled(_) => Event::Stopped { by, message },
        Trouble::Retried(_) => Event::Retried { by, message },
        _ => Event::Closed { how: Closing::Person, message },
    }
}

struct Play {
    world: Arc<World>,
    disk: Arc<Mutex<Disk>>,
    running: Running,
    said: Mutex<Vec<Said>>,
}

/// Runs a plan to its end.
pub fn run(plan: &Plan) -> Record {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _ = std::fs::remove_file(halt_file());
    let _ = std::fs::remove_dir_all(halt_file().with_file_name(FOLDER));
    let record = runtime.block_on(async {
        let _clock = Simulated::begin(START);
        play(plan.clone()).await
    });
    // Nobody is waited for: what still sleeps is dropped.
    runtime.shutdown_background();
    record
}

async fn play(plan: Plan) -> Record {
    let play = Arc::new(Play {
        world: Arc::new(World::new(plan)),
        disk: Arc::default(),
        running: watch::Sender::new((0, None)),
        said: Mutex::default(),
    });
    let supervisor = tokio::spawn(Arc::clone(&play).supervise());
    let senders: Vec<AbortHandle> =
        (0..play.world.plan.firings.len()).map(|number| tokio::spawn(Arc::clone(&play).tell(number)).abort_handle()).collect();
    let begun = Instant::now();
    for second in 0..play.world.plan.length {
        sleep_until(begun + SECOND * second.into()).await;
        play.world.second_passes(second);
        play.people(second).await;
    }
    play.world.calm_down();
    let ended = play.ends().await;
    supervisor.abort();
    senders.iter().for_each(AbortHandle::abort);
    let said = std::mem::take(&mut *play.said.lock().unwrap_or_else(PoisonError::into_inner));
    Record { disk: Arc::clone(&play.disk), world: Arc::clone(&play.world), said, ended }
}

impl Play {
    /// Keeps a server running, and kills it when the plan says so.
    async fn supervise(self: Arc<Self>) {
        let begun = Instant::now();
        let mut kills: Vec<(Instant, u8)> = Vec::new();
        for (kill, down) in &self.world.plan.kills {
            if let Kill::At(second) = kill {
                kills.push((begun + SECOND * (*second).into(), *down));
            }
        }
        kills.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        loop {
            let process = Process::start(&self.world, &self.disk);
            self.running.send_modify(|(count, reached)| (*count, *reached) = (*count + 1, Some(process.reached.clone())));
            let next = kills.last().copied();
            let down = tokio::select! {
                () = async { match next { Some((at, _)) => sleep_until(at).await, None => std::future::pending().await } } => {
                    kills.pop();
                    next.map_or(0, |(_, down)| down)
                }
                () = self.world.deadly.notified() => 3,
            };
            self.running.send_modify(|(count, reached)| (*count, *reached) = (*count + 1, None));
            process.tasks.iter().for_each(JoinHandle::abort);
            drop(process);
            // Whatever was aborted is gone before the next one begins.
            sleep(SECOND * down.into() + Duration::from_millis(1)).await;
        }
    }

    /// Says something to the server; `false` when it was not acknowledged.
    async fn say(&self, via: Via, alert: Alert) -> bool {
        let (count, reached) = self.running.borrow().clone();
        let Some(Reached { intake, .. }) = reached else { return false };
        let mut changes = self.running.subscribe();
        let heard = tokio::select! {
            heard = intake.hear(via, vec![alert.clone()]) => heard.is_ok(),
            _ = changes.wait_for(|(now, _)| *now != count) => false,
        };
        if heard {
            let key = Key::of(alert.family, &alert.labels, &[]);
            let said = Said { at: Time::now(), key, status: alert.status, starts_at: alert.starts_at };
            self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
        }
        heard
    }

    /// Tells of one alert: Alertmanager says changes, and again until it is heard; Prometheus posts what fires every minute.
    async fn tell(self: Arc<Self>, number: usize) {
        let firing = self.world.plan.firings[number].clone();
        let (mut told, mut posted): (Option<Time>, Option<Time>) = (None, None);
        let mut last: Option<Alert> = None;
        let mut next_post = Instant::now();
        loop {
            let seen = self.world.seen(number);
            let since = seen.as_ref().map(|alert| alert.starts_at);
            last = seen.clone().or(last);
            let word = || seen.clone().or_else(|| last.clone().map(|alert| Alert { status: Status::Resolved, ..alert }));
            if firing.webhook
                && told != since
                && let Some(alert) = word()
                && self.say(Via::Webhook, alert).await
            {
                told = since;
            }
            let due = posted != since || (since.is_some() && Instant::now() >= next_post);
            if firing.post
                && due
                && let Some(alert) = word()
                && self.say(Via::Post, alert).await
            {
                (posted, next_post) = (since, Instant::now() + SECOND * 60);
            }
            sleep(SECOND * 3).await;
        }
    }

    /// What people and slow networks do at this second.
    async fn people(&self, second: u16) {
        let halted = self.world.suffers(|trouble| trouble == Trouble::Halted, Time::now());
        if halted != halt_file().exists() {
            let _ = if halted { std::fs::write(halt_file(), "") } else { std::fs::remove_file(halt_file()) };
        }
        for (begin, lasts, trouble) in self.world.plan.troubles.clone() {
            if begin != second {
                continue;
            }
            match trouble {
                Trouble::Retried(n)
                | Trouble::ClosedByPerson(n)
                | Trouble::Approved(n)
                | Trouble::Denied(n)
                | Trouble::Cancelled(n) => self.command(n, trouble).await,
                // It ends by itself.
                Trouble::Held => {
                    let (all, until) =
                        (Matchers::parse(&["alertname=~\".+\""]).unwrap(), Time::now().plus(SECOND * lasts.into()));
                    holds().place(&Hold::now(all, until, "ann", "deploying").unwrap()).unwrap();
                }
                Trouble::Repeated(number) | Trouble::Late(number) => self.repeat(usize::from(number), trouble).await,
                _ => {}
            }
        }
    }

    async fn repeat(&self, number: usize, how: Trouble) {
        let Some(firing) = self.world.plan.firings.get(number) else { return };
        let Some(start) = self.world.last_start(number) else { return };
        let fires = matches!(how, Trouble::Late(_)) || self.world.seen(number).is_some();
        let status = if fires { Status::Firing } else { Status::Resolved };
        self.say(Via::Webhook, super::world::alert(number, firing, status, start)).await;
    }

    /// A person's command about the n-th open incident, as the operator's socket writes it.
    async fn command(&self, number: u8, what: Trouble) {
        let Some(Reached { intake, nudge }) = self.running.borrow().1.clone() else { return };
        let found = {
            let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
            let open = disk.incidents().filter(|incident| !incident.is_closed()).nth(number.into());
            open.map(|incident| (incident.id.clone(), incident.seq, words(what, incident), incident.clone()))
        };
        let Some((id, seq, event, _)) = found.filter(|(_, _, event, incident)| incident.allows(event)) else { return };
        // Like closing by the healer: an alert that is heard meanwhile waits.
        let command = intake.close(Append::new(id.clone(), Some(seq), vec![event]));
        let mut changes = self.running.subscribe();
        let count = changes.borrow_and_update().0;
        tokio::select! { _ = command => drop(nudge.send(id)), _ = changes.wait_for(|(now, _)| *now != count) => {} }
    }

    /// Waits until every incident is closed.
    async fn ends(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let open = self.disk.lock().unwrap_or_else(PoisonError::into_inner).incidents().any(|incident| !incident.is_closed());
            if !open {
                return true;
            }
            sleep(SECOND * 5).await;
        }
        false
    }
}
