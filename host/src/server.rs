//! The server put together: every room gets its settings and its neighbours, then the doors open.
//!
//! A library object: a test starts one on port 0 and stops it. Nothing is decided here.

mod reload;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::stream::{self, StreamExt};
use reload::{Maker, Presents, Reloader};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use crate::api::{Api, Seen, Shown};
use crate::authorise::{Authoriser, storm};
use crate::clock::Time;
use crate::config::Config;
use crate::config::LoadedPolicy;
use crate::decide::plugin::{Judge, Plugin};
use crate::decide::sandbox::Sandbox;
use crate::decide::{Loaded, file, trial};
use crate::execute::alertmanager::Silences;
use crate::execute::{Executor, Hands, RealHands};
use crate::halt;
use crate::healer::Healer;
use crate::healer::line::Lines;
use crate::hold::{self, Holds};
use crate::journal::{Journal, Keep};
use crate::look::docker::Engines;
use crate::look::presence::Presence;
use crate::look::sight::Sources;
use crate::look::{Eyes, World};
use crate::notify::Notify;
use crate::notify::channels::Channels;
use crate::operate::{Operator, Socket};
use crate::policy::Policy;
use crate::policy::brakes::Brakes;
use crate::policy::present::Present;
use crate::receive::auth::Gate;
use crate::receive::http::{Doors, Hear, HearError, Ready};
use crate::receive::intake::Intake;
use crate::receive::poll::Poller;
use crate::shutdown::Shutdown;
use crate::verify::Verifier;
use crate::verify::answers::doubts;

/// How often it is looked whether a Prometheus has to be asked for its rules: because it could not be asked, or policies have changed.
const ASK_RULES: Duration = Duration::from_secs(10);

/// How many plugins are loaded at once; compiling one takes all processors, and half a GiB for one in Python.
const LOADED_AT_ONCE: usize = 2;

/// How often holds that have ended are put aside.
const TIDY_HOLDS: Duration = Duration::from_secs(60);

/// What a server writes to and acts with: the real ones, or those of a test that dies at a chosen moment.
pub struct Borders {
    /// The record.
    pub journal: Journal,
    /// The hands.
    pub hands: Arc<dyn Hands>,
}

impl Borders {
    /// The journal in the data folder, the configured engines and `ansible-playbook`.
    ///
    /// # Errors
    /// When the journal is in use or cannot be opened.
    pub fn real(config: &Config) -> anyhow::Result<Self> {
        let hands = RealHands {
            engines: Arc::new(Engines::connect(&config.docker)?),
            ansible: config.ansible.clone().map(Arc::new),
            runs: config.data.join("runs"),
            silences: config.alertmanager.as_ref().map(Silences::new).transpose()?,
            voice: Some(Arc::new(Channels::of(&config.notify)?)),
        };
        Ok(Self { journal: Journal::with(&config.data, &config.journal)?, hands: Arc::new(hands) })
    }
}

/// A server whose doors are open and whose work has not begun.
pub struct Server {
    listener: TcpListener,
    doors: Doors,
    poller: Poller,
    intake: Arc<Intake>,
    healer: Arc<Healer>,
    socket: Socket,
    operator: Arc<Operator>,
    notify: Arc<Notify>,
    nudges: mpsc::UnboundedReceiver<crate::alert::IncidentId>,
    engines: Presence,
    sources: Sources,
    api: Arc<Api>,
    reloader: Arc<Reloader>,
    hangup: Signal,
    /// As written, for what is said about them.
    policies: Present<Vec<LoadedPolicy>>,
    config: Config,
    shutdown: Shutdown,
}

impl Server {
    /// Opens the journal, loads policies and plugins, and binds the port.
    ///
    /// # Errors
    /// With what to do: a journal in use, a plugin that cannot be loaded, a port in use.
    pub async fn open(config: Config, policies: Vec<LoadedPolicy>, shutdown: Shutdown) -> anyhow::Result<Self> {
        let borders = Borders::real(&config)?;
        Self::within(borders, config, policies, shutdown).await
    }

    /// The same with other borders.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub async fn within(
        Borders { journal, hands }: Borders,
        config: Config,
        policies: Vec<LoadedPolicy>,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        // From here on a SIGHUP does not end it.
        let hangup = signal(SignalKind::hangup())?;
        let sandbox = Sandbox::new(Some(&config.data.join("cache")))?;
        let world = world(&config)?;
        let (sources, engines) = (world.sources.clone(), Presence::new(Arc::clone(&world.engines)));
        let eyes: Arc<dyn Eyes> = Arc::new(world);
        let maker = Maker { config: config.clone(), sandbox, eyes: Arc::clone(&eyes), journal: journal.clone() };
        let presents = Presents::of(maker.make(policies, &[]).await?);
        let poller = Poller::new(&sources, config.poll.interval);
        let (nudge, nudges) = mpsc::unbounded_channel();
        let intake = Arc::new(Intake::new(journal.clone(), config.identity.drop.clone(), nudge.clone()));
        let halt_file = config.data.join(halt::FILE);
        let holds = Holds::of(&config.data);
        let operators = presents.operators.clone();
        let operator = Operator::new(journal.clone(), Arc::clone(&intake), operators, halt_file.clone(), holds.clone(), nudge);
        // Behind the journal, whose lock says that no other server uses this folder.
        let socket = Socket::open(&config.operator, &config.data).await?;
        let whom = presents.whom.clone();
        let notify = Notify::open(&config.notify, config.alertmanager.as_ref(), &config.data, &journal, whom).await?;
        let api = Api::new(Seen {
            gate: Gate::new(&config.auth)?,
            journal: journal.clone(),
            intake: Arc::clone(&intake),
            sight: poller.sight(),
            engines: engines.clone(),
            halt_file,
            holds,
            policies: presents.shown.clone(),
            files: presents.standing.clone(),
            brakes: config.brakes.clone(),
            told: notify.told().clone(),
        });
        let healer = Healer {
            intake: Arc::clone(&intake),
            targets: config.targets.clone(),
            sight: poller.sight(),
            decider: presents.decider.clone(),
            authoriser: authoriser(&config, &eyes),
            executor: Executor { journal: journal.clone(), eyes: Arc::clone(&eyes), hands },
            verifier: Verifier::new(sources.clone()),
            eyes,
            journal,
            turn: tokio::sync::Mutex::default(),
            lines: Lines::default(),
            stale_after: config.stale_after,
            shutdown: shutdown.clone(),
        };
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("{} cannot be listened on: change `listen`, or stop what uses it", config.listen))?;
        let ready = Arc::clone(&api);
        let ready: Ready = Arc::new(move || {
            let api = Arc::clone(&ready);
            Box::pin(async move { api.ready().await })
        });
        let policies = presents.files.clone();
        let reloader = Reloader::new(maker, presents);
        let operator = Arc::new(operator.reloading(reloader.handle()));
        let doors = Doors::new(&config.auth, hear(&intake))?.ready(ready).beside(api.router());
        let doors = doors.beside(reloader.router(Gate::new(&config.auth)?));
        let healer = Arc::new(healer);
        Ok(Self {
            listener,
            doors,
            poller,
            intake,
            healer,
            socket,
            operator,
            notify: Arc::new(notify),
            nudges,
            engines,
            sources,
            api,
            reloader,
            hangup,
            policies,
            config,
            shutdown,
        })
    }

    /// Where alerts are taken in.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Works until shutdown is requested and what was begun has ended, or the deadline for that has passed.
    ///
    /// # Errors
    /// When the journal cannot be read at the start.
    pub async fn run(self) -> anyhow::Result<()> {
        info!(address = %self.listener.local_addr()?, policies = self.healer.decider.now().policies().len(), "Taking alerts in");
        let poll = {
            let intake = Arc::clone(&self.intake);
            let poller = self.poller;
            async move {
                let hear = |via, alerts| {
                    let intake = Arc::clone(&intake);
                    async move {
                        if let Err(error) = intake.hear(via, alerts).await {
                            tracing::error!(%error, "What a source lists could not be written down; it is asked again");
                        }
                    }
                };
                poller.run(hear).await;
            }
        };
        // When either of them ends, for whatever reason, nobody may go on accepting what nobody works on.
        let doors = async {
            let served = self.doors.serve(self.listener, self.shutdown.clone()).await;
            self.shutdown.request();
            served
        };
        let healer = async {
            let healed = self.healer.run(self.nudges, self.config.shutdown_within).await;
            self.shutdown.request();
            healed
        };
        let shutdown = self.shutdown.clone();
        let (engines, sources, policies, notify) = (self.engines, self.sources, self.policies, self.notify);
        let reload = self.reloader.watch(self.hangup);
        let (holds, keep) = (Holds::of(&self.config.data), self.config.journal.keep);
        let poll = async move {
            let look = async {
                let hasty = warn_of_hasty_policies(&sources, &policies);
                tokio::join!(poll, engines.run(), hasty, tidy(&holds, keep), notify.run(), reload)
            };
            tokio::select! { _ = look => {}, () = shutdown.requested() => {} }
        };
        let people = self.socket.serve(self.operator, self.shutdown.clone());
        let counted = self.api.follow(&self.shutdown);
        let (healed, served, (), (), ()) = tokio::join!(healer, doors, poll, people, counted);
        healed?;
        served?;
        info!("Stopped");
        Ok(())
    }
}

/// Puts holds aside that have ended, and forgets them with the journal's entries of that time.
async fn tidy(holds: &Holds, keep: Keep) {
    let keep = match keep {
        Keep::For(keep) => Some(keep),
        Keep::Forever => None,
    };
    if let Ok((broken, standing)) = holds.standing(Time::now()) {
        broken.iter().for_each(|broken| tracing::warn!("{broken}; correct it or remove it"));
        standing.iter().for_each(|hold| tracing::info!("There is a {hold}"));
    }
    loop {
        let holds = holds.clone();
        let tidied = tokio::task::spawn_blocking(move || holds.prepare().and_then(|()| holds.tidy(keep))).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(%error, folder = hold::FOLDER, "Holds that have ended could not be put aside: may the server write there?");
        }
        tokio::time::sleep(TIDY_HOLDS).await;
    }
}

/// Warns of policies that do not wait for as long as the rules loaded in Prometheus may need: once, and again when policies have changed.
async fn warn_of_hasty_policies(sources: &Sources, policies: &Present<Vec<LoadedPolicy>>) {
    // For each Prometheus what it was asked about, and what was said then.
    let mut asked = vec![(None, Vec::new()); sources.prometheus.len()];
    loop {
        let now = policies.now();
        for (prometheus, (about, said)) in sources.prometheus.iter().zip(&mut asked) {
            if about.as_ref().is_some_and(|before| Arc::ptr_eq(before, &now)) {
                continue;
            }
            // That it cannot be asked is said by whoever asks it what fires.
            let files: Vec<_> = now.iter().map(|one| (one.file.clone(), Arc::clone(&one.policy))).collect();
            let Ok(doubts) = doubts(prometheus, &files).await else { continue };
            doubts.iter().filter(|doubt| !said.contains(*doubt)).for_each(|doubt| tracing::warn!("{doubt}"));
            (*about, *said) = (Some(Arc::clone(&now)), doubts);
        }
        tokio::time::sleep(ASK_RULES).await;
    }
}

/// What a door does with alerts.
fn hear(intake: &Arc<Intake>) -> Hear {
    let intake = Arc::clone(intake);
    Arc::new(move |via, alerts| {
        let intake = Arc::clone(&intake);
        Box::pin(async move { intake.hear(via, alerts).await.map_err(|error| HearError(error.to_string())) })
    })
}

/// What the configuration lets Paramedic look at.
pub(crate) fn world(config: &Config) -> anyhow::Result<World> {
    Ok(World {
        engines: Arc::new(Engines::connect(&config.docker)?),
        sources: config.sources()?,
        ansible: config.ansible.clone().map(Arc::new),
    })
}

/// Who says yes or no, with the operator's settings.
pub(crate) fn authoriser(config: &Config, eyes: &Arc<dyn Eyes>) -> Authoriser {
    Authoriser {
        eyes: Arc::clone(eyes),
        halt_file: config.data.join(halt::FILE),
        holds: Holds::of(&config.data),
        maintenance: config.maintenance.clone(),
        brakes: config.brakes.clone(),
        max_age: config.max_age,
        storms: storm::Told::default(),
    }
}

/// Policies that can be asked, and what is odd about them without being wrong.
pub type Fit = (Vec<Loaded>, Vec<String>);

/// Loads every policy's plugin, checks its settings, and puts a question to it. With `kept`, each plugin is kept there, since an incident
/// goes on with the plugin that took it, whatever the plugins folder holds by then.
///
/// # Errors
/// All that is wrong, one line each, naming policy and file.
pub async fn load(
    sandbox: &Arc<Sandbox>,
    plugins: &Path,
    policies: Vec<LoadedPolicy>,
    kept: Option<&Path>,
) -> anyhow::Result<Fit> {
    load_beside(&[], sandbox, plugins, policies, kept).await
}

/// The same beside policies that are loaded already: those that are the same, with the same plugin, were checked and tried when they were loaded.
async fn load_beside(
    before: &[Loaded],
    sandbox: &Arc<Sandbox>,
    plugins: &Path,
    policies: Vec<LoadedPolicy>,
    kept: Option<&Path>,
) -> anyhow::Result<Fit> {
    let of = |policy: &Policy, plugin: &dyn Judge| (policy.digest.clone(), plugin.digest().to_owned());
    let before: HashSet<_> = before.iter().map(|loaded| of(&loaded.policy, &*loaded.plugin)).collect();
    let found = load_plugins(sandbox, plugins, &policies, kept).await;
    let (mut loaded, mut problems, mut tried) = (Vec::new(), Vec::new(), Trials::default());
    // Where a plugin's own problem is told, and how many more policies have it.
    let mut broken: HashMap<String, (usize, usize)> = HashMap::new();
    for one in policies {
        let Some(plugin) = found.get(&one.policy.plugin.file) else { continue };
        let plugin = match plugin {
            Ok(plugin) => Arc::clone(plugin),
            Err(problem) => {
                let (_, more) = broken
                    .entry(one.policy.plugin.file.clone())
                    .and_modify(|(_, more)| *more += 1)
                    .or_insert((problems.len(), 0));
                if *more == 0 {
                    problems.push(format!("{}: {problem}", one.at("plugin")));
                }
                continue;
            }
        };
        let fits = match before.contains(&of(&one.policy, &*plugin)) {
            true => Ok(()),
            false => match fits(plugins, &one, &plugin).await {
                Ok(()) => tried.ask(plugins, &one, &plugin).await,
                wrong => wrong,
            },
        };
        match fits {
            Ok(()) => loaded.push(Loaded { policy: one.policy, plugin }),
            Err(wrong) => problems.push(wrong),
        }
    }
    for (at, more) in broken.into_values().filter(|(_, more)| *more > 0) {
        let others =
            if more == 1 { "another policy asks it, too".to_owned() } else { format!("{more} more policies ask it, too") };
        problems[at] += &format!("; {others}");
    }
    anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok((loaded, tried.doubts))
}

/// Every plugin of these policies, by its file, which is read once: so that all of them get the same bytes. A few at once, for one that takes
/// long to compile must not hold up the others' verdict.
async fn load_plugins(
    sandbox: &Arc<Sandbox>,
    plugins: &Path,
    policies: &[LoadedPolicy],
    kept: Option<&Path>,
) -> HashMap<String, Result<Arc<Plugin>, String>> {
    let files: BTreeSet<&str> = policies.iter().map(|one| one.policy.plugin.file.as_str()).collect();
    let load = |file: &str| {
        let file = file.to_owned();
        async move { (file.clone(), load_one(sandbox, plugins, &file, kept).await) }
    };
    let loading: Vec<_> = files.into_iter().map(load).collect();
    stream::iter(loading).buffer_unordered(LOADED_AT_ONCE).collect().await
}

/// Trial questions of one load: policies that differ in nothing that a plugin is told share one.
#[derive(Default)]
struct Trials {
    asked: HashMap<(String, String, u64), Result<(), String>>,
    doubts: Vec<String>,
}

impl Trials {
    async fn ask(&mut self, plugins: &Path, one: &LoadedPolicy, plugin: &Plugin) -> Result<(), String> {
        let policy = &one.policy;
        let same = (plugin.digest().to_owned(), policy.settings.to_string(), policy.limits.memory);
        let told = match self.asked.get(&same) {
            Some(told) => told.clone(),
            None => {
                let told = trial::ask(policy, plugin).await;
                let doubt = told.as_ref().ok().and_then(Option::as_ref);
                self.doubts.extend(doubt.map(|doubt| format!("{}: {doubt}", one.at("plugin"))));
                self.asked.entry(same).or_insert(told.map(drop)).clone()
            }
        };
        told.map_err(|why| format!("{}: plugin {}: {why}", one.at("plugin"), plugins.join(&policy.plugin.file).display()))
    }
}

async fn load_one(sandbox: &Arc<Sandbox>, plugins: &Path, file: &str, kept: Option<&Path>) -> Result<Arc<Plugin>, String> {
    let path = plugins.join(file);
    let shown = path.display().to_string();
    let bytes = tokio::task::spawn_blocking(move || file::read(&path)).await.map_err(|error| error.to_string())?;
    let bytes = bytes.map_err(|error| error.to_string())?;
    let plugin = sandbox.load(&shown, &bytes).await.map_err(|error| error.to_string())?;
    if let Some(kept) = kept {
        keep(kept, &bytes, plugin.digest()).await.map_err(|error| format!("{error:#}"))?;
    }
    Ok(plugin)
}

/// Is this the plugin that the policy means, and do its settings fit?
async fn fits(plugins: &Path, one: &LoadedPolicy, plugin: &Plugin) -> Result<(), String> {
    let policy = &one.policy;
    if let Some(pinned) = policy.plugin.sha256.as_ref().filter(|pinned| *pinned != plugin.digest()) {
        let (path, digest) = (plugins.join(&policy.plugin.file), plugin.digest());
        return Err(format!(
            "{}: plugin {} has the digest {digest}, the policy pins {pinned}: one of the two is not what you meant",
            one.at("plugin"),
            path.display()
        ));
    }
    let wrong = plugin.check_settings(&policy.settings).await;
    if wrong.is_empty() {
        return Ok(());
    }
    let path = plugins.join(&policy.plugin.file);
    Err(format!(
        "{}: settings do not fit {}: {}; `paramedic policy inspect {}` shows what they may be",
        one.at("settings"),
        policy.plugin.file,
        wrong.join("; "),
        path.display()
    ))
}

/// The bytes that were loaded, whatever the file holds by now.
async fn keep(kept: &Path, bytes: &[u8], digest: &str) -> anyhow::Result<()> {
    let to = kept.join(format!("{digest}.wasm"));
    if to.exists() {
        return Ok(());
    }
    tokio::fs::create_dir_all(kept).await.with_context(|| format!("{} cannot be made", kept.display()))?;
    let partial = kept.join(format!("{digest}.part"));
    tokio::fs::write(&partial, bytes).await.with_context(|| format!("{} cannot be written", partial.display()))?;
    tokio::fs::rename(&partial, &to).await.with_context(|| format!("{} cannot be written", to.display()))?;
    Ok(())
}

/// The policies for whoever looks.
fn shown(written: &[(PathBuf, Arc<serde_json::Value>)], loaded: &[Loaded], global: &Brakes) -> Vec<Shown> {
    written.iter().zip(loaded).map(|((file, written), loaded)| Shown::of(file, written, loaded, global)).collect()
}
