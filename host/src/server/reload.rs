//! Policies and plugins taken over while the server runs: all of what the folders hold, or nothing of it.
//!
//! Files are validated as at the start, plugins compiled, asked to describe themselves and asked a trial question out of the way of whoever decides, each
//! plugin kept for the incidents that it will own; only then the present is swapped. What is not right leaves everything as it was, is logged once,
//! and shows in `/-/ready`, `/api/v1/status` and the metrics. Open incidents keep the plugin and settings that own them; grants,
//! mode, brakes and matchers are those of the present files.
//!
//! The folders are looked at every second instead of being told by the kernel: so a folder that is replaced, a symlink that is moved
//! (Kubernetes), and a network file system are seen like any edit. What has changed is taken over once it has been the same for two looks.
//! Absent on purpose: a reload of `paramedic.yaml`; ports, engines and tokens do not change under a running server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use sha2::{Digest, Sha256};
use tokio::signal::unix::Signal;
use tokio::sync::Mutex;

use super::{load_beside, shown};
use crate::api::Shown;
use crate::config::{self, Config, LoadedPolicy};
use crate::decide::lookup::live::Lookout;
use crate::decide::sandbox::Sandbox;
use crate::decide::{Decider, Loaded};
use crate::journal::Journal;
use crate::look::Eyes;
use crate::policy::Policy;
use crate::policy::present::{NotReloaded, Present, Reload, Reloaded, Taken};
use crate::receive::auth::Gate;
use crate::receive::http::{answer, error, guard, only};
use crate::telemetry::clean;

/// For everything together; one plugin in Python takes 8 s to compile, and is then in the cache.
const WITHIN: Duration = Duration::from_secs(120);
/// How often the folders are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often files that could not be taken over are tried again although they have not changed: a playbook that a grant names may be there by
/// now, or the disk again.
const RETRY: Duration = Duration::from_secs(15);
/// How soon they are looked at again while they change.
const SETTLE: Duration = Duration::from_millis(300);
/// For one look; a disk may hang.
const LOOK_WITHIN: Duration = Duration::from_secs(30);
/// The least time between two reloads that were asked for over HTTP.
const DISTANCE: Duration = Duration::from_secs(2);

/// Why it is done when nobody asked.
const WATCH: &str = "a file has changed";

/// What every room knows of the policies. Each takes its present once for a step.
#[derive(Debug)]
pub(super) struct Presents {
    pub decider: Present<Decider>,
    pub operators: Present<HashMap<String, Arc<Policy>>>,
    pub whom: Present<BTreeMap<String, String>>,
    pub shown: Present<Vec<Shown>>,
    /// As they were read, for what is said about them, and so that they need not be read again.
    pub files: Present<Vec<LoadedPolicy>>,
    pub standing: Present<Taken>,
}

/// What is needed to make policies that can be asked.
#[derive(Debug)]
pub(super) struct Maker {
    pub config: Config,
    pub sandbox: Arc<Sandbox>,
    pub eyes: Arc<dyn Eyes>,
    pub journal: Journal,
}

/// Everything that follows from the files, ready to be swapped in.
pub(super) struct Made {
    decider: Decider,
    shown: Vec<Shown>,
    files: Vec<LoadedPolicy>,
    /// What is odd about them, and nothing that would keep them away.
    doubts: Vec<String>,
    sha256: String,
}

/// Takes the files over.
#[derive(Debug)]
pub(super) struct Reloader {
    maker: Maker,
    presents: Presents,
    /// One at a time.
    turn: Mutex<()>,
    /// When it was last asked for over HTTP; held while that is under way.
    asked: Mutex<Option<Instant>>,
}

impl Maker {
    /// Loads all plugins, checks all settings, puts a question to each, and keeps the plugins. What is loaded `before`, and is the same, is not checked again.
    pub async fn make(&self, policies: Vec<LoadedPolicy>, before: &[Loaded]) -> anyhow::Result<Made> {
        let written: Vec<_> = policies.iter().map(|loaded| (loaded.file.clone(), loaded.written.clone())).collect();
        let files = policies.clone();
        let kept = self.config.data.join("plugins");
        let (loaded, doubts) = load_beside(before, &self.sandbox, &self.config.plugins, policies, Some(&kept)).await?;
        let shown = shown(&written, &loaded, &self.config.brakes);
        let sha256 = digest(&loaded);
        let lookout = Lookout { eyes: Arc::clone(&self.eyes), journal: Ok(self.journal.clone()) };
        let decider = Decider::new(loaded, Arc::clone(&self.sandbox), kept).looking(lookout);
        Ok(Made { decider, shown, files, doubts, sha256 })
    }
}

impl Made {
    fn warn(&self) {
        self.doubts.iter().for_each(|doubt| tracing::warn!("{doubt}"));
    }
}

impl Presents {
    /// As it is at the start.
    pub fn of(made: Made) -> Self {
        made.warn();
        let policies = made.decider.policies();
        Self {
            operators: Present::of(by_name(policies)),
            whom: Present::of(whom(policies)),
            shown: Present::of(made.shown),
            files: Present::of(made.files),
            standing: Present::of(Taken::good(made.sha256, None)),
            decider: Present::of(made.decider),
        }
    }

    fn swap(&self, made: Made) {
        made.warn();
        let policies = made.decider.policies();
        self.operators.swap(by_name(policies));
        self.whom.swap(whom(policies));
        self.shown.swap(made.shown);
        self.files.swap(made.files);
        self.decider.swap(made.decider);
    }
}

impl Reloader {
    pub fn new(maker: Maker, presents: Presents) -> Arc<Self> {
        Arc::new(Self { maker, presents, turn: Mutex::default(), asked: Mutex::default() })
    }

    /// What others call, without knowing what this is. It goes on when whoever asked has left.
    pub fn handle(self: &Arc<Self>) -> Reload {
        let reloader = Arc::clone(self);
        Arc::new(move |why| {
            let reloader = Arc::clone(&reloader);
            Box::pin(async move {
                let work = tokio::spawn(async move { reloader.reload(&why).await });
                work.await.unwrap_or_else(|failure| Err(NotReloaded(format!("it broke off: {failure}"))))
            })
        })
    }

    /// All of what the folders hold now, or nothing of it.
    async fn reload(&self, why: &str) -> Result<Reloaded, NotReloaded> {
        let _turn = self.turn.lock().await;
        let begun = Instant::now();
        let (config, before) = (self.maker.config.clone(), self.presents.files.now());
        let read = async {
            let read = move || (config::load_present(&config, &before), config::restart_needed(&config));
            let (policies, restart) = tokio::task::spawn_blocking(read).await?;
            anyhow::Ok((self.maker.make(policies?, self.presents.decider.now().policies()).await?, restart))
        };
        let made = tokio::time::timeout(WITHIN, read).await;
        let made = made.unwrap_or_else(|_| {
            let seconds = WITHIN.as_secs();
            Err(anyhow::anyhow!(
                "loading took longer than {seconds} s: look for a plugin that is large or does not answer, or at the disk"
            ))
        });
        match made {
            Ok((made, restart)) => Ok(self.take_over(made, restart, why, begun)),
            Err(error) => Err(self.leave(&format!("{error:#}"), why)),
        }
    }

    fn take_over(&self, made: Made, restart: Option<String>, why: &str, begun: Instant) -> Reloaded {
        let mut told = compare(self.presents.decider.now().policies(), &made);
        told.note.clone_from(&restart);
        let before = self.presents.standing.now();
        let standing = Taken::good(made.sha256.clone(), restart);
        // The order of files alone also counts.
        if before.sha256 != made.sha256 {
            self.presents.swap(made);
        }
        if let Some(note) = standing.restart_needed.as_ref().filter(|note| before.restart_needed.as_ref() != Some(note)) {
            tracing::warn!("{note}");
        }
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A file that was only touched is no news.
        if why != WATCH || !told.is_nothing() || !before.successful {
            tracing::info!(why, ms, policies = told.policies, "Policies and plugins were taken over: {told}");
        }
        self.presents.standing.swap(standing);
        told
    }

    fn leave(&self, error: &str, why: &str) -> NotReloaded {
        let before = self.presents.standing.now();
        if before.error.as_deref() != Some(error) {
            tracing::error!(why, "Policies and plugins were NOT taken over, those of {} go on: {error}", before.at);
        }
        self.presents.standing.swap(Taken { successful: false, error: Some(error.to_owned()), ..(*before).clone() });
        NotReloaded(error.to_owned())
    }

    /// Takes over whatever changes in the folders, and whatever is there at a SIGHUP. Ends never.
    pub async fn watch(self: Arc<Self>, mut hangup: Signal) {
        let reload = self.handle();
        // What changed between the start's reading and now is not known: the first look finds something new.
        let (mut known, mut tried) = (None, Instant::now());
        loop {
            tokio::select! {
                Some(()) = hangup.recv() => {
                    known = self.look().await;
                    // What is wrong is logged, and nobody else asked.
                    let _ = reload("SIGHUP".to_owned()).await;
                }
                () = tokio::time::sleep(LOOK) => {
                    let now = self.look().await;
                    let again = !self.presents.standing.now().successful && tried.elapsed() >= RETRY;
                    if now == known && !again {
                        continue;
                    }
                    known = self.settled(now).await;
                    let _ = reload(WATCH.to_owned()).await;
                    tried = Instant::now();
                }
            }
        }
    }

    /// Editors, rsync and git write in steps: comes back once two looks are the same.
    async fn settled(&self, mut last: Option<Files>) -> Option<Files> {
        loop {
            tokio::time::sleep(SETTLE).await;
            let now = self.look().await;
            if now == last {
                return now;
            }
            last = now;
        }
    }

    async fn look(&self) -> Option<Files> {
        let config = &self.maker.config;
        let origin = config.origin.as_ref().map(|(file, _)| file.clone());
        let (policies, plugins) = (config.policies.clone(), config.plugins.clone());
        let look = tokio::task::spawn_blocking(move || {
            let mut files = Files::new();
            look_into(&policies, &["yaml", "yml"], &mut files);
            look_into(&plugins, &["wasm"], &mut files);
            origin.into_iter().for_each(|file| note(file, &mut files));
            files
        });
        tokio::time::timeout(LOOK_WITHIN, look).await.ok()?.ok()
    }

    /// `POST /-/reload`: a sender's token suffices, because nothing comes with it. It has the server read files that only the operator
    /// writes, and that it takes over by itself a second after they change; so it moves nothing that would not move anyway. What it could do is make work: one at
    /// a time, with a distance, and no page in a browser can ask for it.
    pub fn router(self: &Arc<Self>, gate: Gate) -> Router {
        let door = Arc::new((gate, Arc::clone(self)));
        let reload =
            post(async move |State(door): State<Arc<(Gate, Arc<Self>)>>, headers: HeaderMap| match admit(&door.0, &headers) {
                Ok(()) => door.1.asked_over_http().await,
                Err(refusal) => *refusal,
            });
        Router::new().route("/-/reload", only("POST", reload)).with_state(door)
    }

    async fn asked_over_http(self: &Arc<Self>) -> Response {
        let seconds = DISTANCE.as_secs();
        let soon = || {
            error(
                StatusCode::TOO_MANY_REQUESTS,
                &format!("it was asked for less than {seconds} s ago, or is under way: ask again"),
            )
        };
        let Ok(mut asked) = self.asked.try_lock() else { return soon() };
        if asked.is_some_and(|at| at.elapsed() < DISTANCE) {
            return soon();
        }
        let told = self.handle()("POST /-/reload".to_owned()).await;
        *asked = Some(Instant::now());
        match told {
            Ok(told) => answer(StatusCode::OK, "application/json", serde_json::to_string(&told).unwrap_or_default()),
            Err(NotReloaded(why)) => {
                let why = serde_json::json!({ "error": clean_lines(&why) }).to_string();
                answer(StatusCode::INTERNAL_SERVER_ERROR, "application/json", why)
            }
        }
    }
}

/// What files looked like: whatever is written, moved or replaced changes one of these.
type Files = BTreeMap<PathBuf, (u64, u64, i64, i64, u64)>;

fn look_into(folder: &Path, kinds: &[&str], files: &mut Files) {
    // A folder that is away for a moment has no files; what follows from that is said by the reload.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| kinds.iter().any(|kind| end == *kind)) {
            note(path, files);
        }
    }
}

fn note(path: PathBuf, files: &mut Files) {
    // Through symlinks: Kubernetes moves one, and the files themselves are others then.
    if let Ok(meta) = std::fs::metadata(&path) {
        files.insert(path, (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec(), meta.size()));
    }
}

fn admit(gate: &Gate, headers: &HeaderMap) -> Result<(), Box<Response>> {
    if headers.contains_key(ORIGIN) {
        return Err(Box::new(error(StatusCode::FORBIDDEN, "a reload is not asked for by browsers")));
    }
    guard(gate, headers)
}

/// Lines stay lines: a place in a file is shown with its line.
fn clean_lines(text: &str) -> String {
    text.lines().take(200).map(|line| clean(line, 500)).collect::<Vec<_>>().join("\n")
}

fn by_name(policies: &[Loaded]) -> HashMap<String, Arc<Policy>> {
    policies.iter().map(|loaded| (loaded.policy.name.clone(), Arc::clone(&loaded.policy))).collect()
}

fn whom(policies: &[Loaded]) -> BTreeMap<String, String> {
    policies.iter().filter_map(|loaded| Some((loaded.policy.name.clone(), loaded.policy.escalate.clone()?))).collect()
}

/// Of every policy in its order: name, file and plugin.
fn digest(policies: &[Loaded]) -> String {
    let mut all = Sha256::new();
    for Loaded { policy, plugin } in policies {
        all.update(format!("{} {} {}\n", policy.name, policy.digest, plugin.digest()));
    }
    all.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compare(before: &[Loaded], made: &Made) -> Reloaded {
    let now = made.decider.policies();
    let of = |loaded: &Loaded| (loaded.policy.digest.clone(), loaded.plugin.digest().to_owned());
    let old: HashMap<&str, _> = before.iter().map(|loaded| (loaded.policy.name.as_str(), of(loaded))).collect();
    let mut told = Reloaded { policies: now.len(), sha256: made.sha256.clone(), ..Reloaded::default() };
    for loaded in now {
        let name = loaded.policy.name.clone();
        match old.get(name.as_str()) {
            None => told.added.push(name),
            Some(one) if *one != of(loaded) => told.changed.push(name),
            Some(_) => {}
        }
    }
    let here: HashSet<&str> = now.iter().map(|loaded| loaded.policy.name.as_str()).collect();
    let gone = before.iter().filter(|old| !here.contains(old.policy.name.as_str()));
    told.removed = gone.map(|old| old.policy.name.clone()).collect();
    // The same files under other names are asked in another order.
    let names = |all: &[Loaded]| all.iter().map(|loaded| loaded.policy.name.clone()).collect::<Vec<_>>();
    if told.is_nothing() && names(before) != names(now) {
        let moved = names(before).into_iter().zip(names(now)).filter(|(old, new)| old != new);
        told.changed = moved.map(|(_, new)| new).collect();
    }
    told
}
