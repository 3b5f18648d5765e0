//! The configuration: gathers each room's own settings from `paramedic.yaml` and the policies from their folder.
//!
//! A setting that is wrong is never replaced by its default: it is an error with file, line, column and what to do, and all
//! files are read before anything is said, so that one run shows as much as can be found. Paths in a file are relative to
//! that file's folder. Absent on purpose: environment variables and includes, and any merging of files.

mod check;
pub mod overlap;
pub mod problem;
mod words;
pub mod yaml;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::journal;
use crate::look::alertmanager::{self, Alertmanager};
use crate::look::http::LookError;
use crate::look::prometheus::{self, Prometheus};
use crate::look::sight::Sources;
use crate::look::{docker, inventory, targets};
use crate::notify;
use crate::operate;
use crate::policy::Policy;
use crate::policy::brakes::Brakes;
use crate::policy::maintenance::Window;
use crate::receive::auth;
pub use problem::{ConfigError, Problem};
use yaml::Source;

/// What `paramedic.yaml` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where alerts are taken in.
    pub listen: SocketAddr,
    /// Folder of the journal, of playbook runs and of the plugins that incidents depend on.
    pub data: PathBuf,
    /// How the journal is kept.
    pub journal: journal::Settings,
    /// Folder of the policies.
    pub policies: PathBuf,
    /// Folder of the plugins.
    pub plugins: PathBuf,
    /// The Docker engines.
    pub docker: docker::Settings,
    /// Playbooks and inventories; without it no playbook can be run.
    pub ansible: Option<inventory::Settings>,
    /// The Prometheus to look at.
    pub prometheus: Option<prometheus::Settings>,
    /// The Alertmanager to look at.
    pub alertmanager: Option<alertmanager::Settings>,
    /// Which target an alert means.
    pub targets: targets::Rules,
    /// Who may send alerts.
    pub auth: auth::Settings,
    /// Where people are listened to.
    pub operator: operate::Settings,
    /// Whom to tell.
    pub notify: notify::Settings,
    /// What makes two alerts the same.
    pub identity: Identity,
    /// How often and how much at once may be done.
    pub brakes: Brakes,
    /// Times that come again, in which nothing is done about certain alerts.
    pub maintenance: Vec<Window>,
    /// How often it is asked what fires.
    pub poll: Poll,
    /// An alert that had been firing for longer when it was first seen is left to a person.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub max_age: Duration,
    /// After how long an alert that nobody repeats, and that no source could be asked about, is closed as stale.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub stale_after: Duration,
    /// How long a graceful stop may take.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub shutdown_within: Duration,
    /// The file it was read from, with its digest.
    #[serde(skip)]
    pub origin: Option<(PathBuf, String)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5001)),
            data: "data".into(),
            journal: journal::Settings::default(),
            policies: "policies".into(),
            plugins: "plugins".into(),
            docker: docker::Settings::default(),
            ansible: None,
            prometheus: None,
            alertmanager: None,
            targets: targets::Rules::default(),
            auth: auth::Settings::default(),
            operator: operate::Settings::default(),
            notify: notify::Settings::default(),
            identity: Identity::default(),
            brakes: Brakes::default(),
            maintenance: Vec::new(),
            poll: Poll::default(),
            max_age: Duration::from_secs(15 * 60),
            // Three times Alertmanager's default `repeat_interval`.
            stale_after: Duration::from_secs(12 * 3_600),
            shutdown_within: Duration::from_secs(30),
            origin: None,
        }
    }
}

/// What makes two alerts the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Labels that only tell replicas of a source apart.
    pub drop: Vec<String>,
}

impl Default for Identity {
    fn default() -> Self {
        Self { drop: vec!["replica".to_owned(), "prometheus_replica".to_owned()] }
    }
}

/// How often it is asked what fires.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poll {
    /// Time between two rounds.
    #[serde(deserialize_with = "crate::clock::duration")]
    pub interval: Duration,
}

impl Default for Poll {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5) }
    }
}

/// A policy and the file it was read from.
#[derive(Clone, Debug)]
pub struct LoadedPolicy {
    /// The file.
    pub file: PathBuf,
    /// What it says.
    pub policy: Arc<Policy>,
    /// The same as it was written, for showing it: what is new in a policy needs nothing there.
    pub written: Arc<serde_json::Value>,
    /// Where its `plugin` stands, and its `settings`.
    pub places: [Option<problem::Place>; 2],
}

impl LoadedPolicy {
    /// Its file with the place of that key, `plugin` or `settings`.
    pub fn at(&self, key: &str) -> String {
        let [plugin, settings] = self.places;
        let place = if key == "settings" { settings.or(plugin) } else { plugin };
        let file = self.file.display();
        place.map_or_else(|| file.to_string(), |place| format!("{file}:{}:{}", place.line, place.column))
    }
}

/// Reads `paramedic.yaml` alone.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let source = Source::open(path)?;
    Ok(read_config(&source, false)?)
}

/// Reads all policies of a folder, in the order of their file names: every `*.yaml` and `*.yml` that is not hidden.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load_policies(folder: &Path) -> Result<Vec<LoadedPolicy>, ConfigError> {
    let mut problems = Vec::new();
    let found = read_policies(folder, &Known::new(), &mut problems);
    if problems.is_empty() { Ok(found.into_iter().map(|(_, loaded)| loaded).collect()) } else { Err(problems.into()) }
}

/// Reads one policy.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_policy(file: &Path) -> Result<LoadedPolicy, ConfigError> {
    Ok(read_policy(file, None).map(|(_, loaded)| loaded)?)
}

/// Reads `paramedic.yaml` and the policies it names, and checks that they fit together.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn load_all(path: &Path) -> Result<(Config, Vec<LoadedPolicy>), ConfigError> {
    let source = Source::open(path)?;
    let mut problems = Vec::new();
    let config = read_config(&source, true).map_err(|found| problems.extend(found)).ok();
    // With a broken configuration the policies are looked for where it says, as far as it can be read.
    let folder = match &config {
        Some(config) => config.policies.clone(),
        None => folder_of(source.file()).join(source.text("policies").unwrap_or("policies")),
    };
    let policies = read_policies(&folder, &Known::new(), &mut problems);
    if let Some(config) = &config {
        for (source, loaded) in &policies {
            problems.extend(check::policy_within(config, source, &loaded.policy));
        }
    }
    match config {
        Some(config) if problems.is_empty() => Ok((config, policies.into_iter().map(|(_, loaded)| loaded).collect())),
        _ => Err(problems.into()),
    }
}

/// Reads the policies that this configuration names as they are now, and checks that they fit to it. Files that are as they were `before` are not
/// taken apart again.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn load_present(config: &Config, before: &[LoadedPolicy]) -> Result<Vec<LoadedPolicy>, ConfigError> {
    let mut problems = Vec::new();
    let known = before.iter().map(|loaded| (loaded.file.as_path(), loaded)).collect();
    let found = read_policies(&config.policies, &known, &mut problems);
    for (source, loaded) in &found {
        problems.extend(check::policy_within(config, source, &loaded.policy));
    }
    if !problems.is_empty() && !before.is_empty() {
        // Only what was taken apart can tell where in a file something stands.
        return load_present(config, &[]);
    }
    if problems.is_empty() { Ok(found.into_iter().map(|(_, loaded)| loaded).collect()) } else { Err(problems.into()) }
}

/// Why this file has to be read by a new server, if it is not what that one was started with.
pub fn restart_needed(config: &Config) -> Option<String> {
    let (file, digest) = config.origin.as_ref()?;
    let told = |what: &str| Some(format!("{} {what}: it is read at the start only, so restart the server", file.display()));
    match Source::open(file) {
        Ok(now) if now.digest() == *digest => None,
        Ok(_) if load(file).is_ok() => told("has changed since the start"),
        _ => told("has changed since the start, and is not right as it is now (`paramedic check` says why)"),
    }
}

/// With `secrets`, it is also looked whether the files can be read that only the server needs.
fn read_config(source: &Source, secrets: bool) -> Result<Config, Vec<Problem>> {
    let mut config: Config = source.read()?;
    let mut problems = check::config(source, &config);
    if secrets {
        problems.extend(check::secrets(source, &config));
        problems.sort_by_key(|problem| problem.place);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    config.resolve(folder_of(source.file()));
    config.origin = Some((source.file().to_owned(), source.digest()));
    Ok(config)
}

impl Config {
    /// The monitoring systems to look at.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn sources(&self) -> Result<Sources, LookError> {
        let prometheus = self.prometheus.iter().map(|settings| Prometheus::new(settings).map(Arc::new));
        let alertmanager = self.alertmanager.iter().map(|settings| Alertmanager::new(settings).map(Arc::new));
        Ok(Sources {
            prometheus: prometheus.collect::<Result<_, _>>()?,
            alertmanager: alertmanager.collect::<Result<_, _>>()?,
            drop: self.identity.drop.as_slice().into(),
        })
    }

    /// Makes every path relative to the file's folder; absolute ones stay.
    fn resolve(&mut self, folder: &Path) {
        let always = [&mut self.data, &mut self.policies, &mut self.plugins];
        let named = [
            self.auth.token_file.as_mut(),
            self.operator.socket.as_mut(),
            self.prometheus.as_mut().and_then(|prometheus| prometheus.bearer_token_file.as_mut()),
            self.alertmanager.as_mut().and_then(|alertmanager| alertmanager.bearer_token_file.as_mut()),
        ];
        let hooks = self.notify.webhooks.iter_mut().filter_map(|hook| hook.bearer_token_file.as_mut());
        for path in always.into_iter().chain(named.into_iter().flatten()).chain(hooks) {
            *path = folder.join(&*path);
        }
        self.ansible = self.ansible.take().map(|ansible| ansible.relative_to(folder));
    }
}

fn folder_of(file: &Path) -> &Path {
    // `paramedic.yaml` alone has an empty parent, which joins to the same relative paths.
    file.parent().unwrap_or(Path::new(""))
}

/// Policies that were read before, by their files.
type Known<'a> = HashMap<&'a Path, &'a LoadedPolicy>;

fn read_policies(folder: &Path, known: &Known<'_>, problems: &mut Vec<Problem>) -> Vec<(Source, LoadedPolicy)> {
    let files = match policy_files(folder) {
        Ok(files) => files,
        Err(error) => {
            let hint = "make the folder, or name another with `policies:` in paramedic.yaml";
            problems.push(Problem::of_file(folder, format!("the policies folder cannot be read: {error}"), hint));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for file in files {
        match read_policy(&file, known.get(file.as_path()).copied()) {
            Ok(read) => found.push(read),
            Err(wrong) => problems.extend(wrong),
        }
    }
    problems.extend(check::names(&found));
    found
}

fn read_policy(file: &Path, known: Option<&LoadedPolicy>) -> Result<(Source, LoadedPolicy), Vec<Problem>> {
    let source = Source::unparsed(file)?;
    if let Some(same) = known.filter(|known| known.policy.digest == source.digest()) {
        return Ok((source, same.clone()));
    }
    let source = source.parsed()?;
    let policy = Arc::new(Policy { digest: source.digest(), ..source.read()? });
    let problems = check::policy(&source, &policy);
    if !problems.is_empty() {
        return Err(problems);
    }
    let written = Arc::new(source.read()?);
    let places = ["plugin", "settings"].map(|key| source.problem(key, "", "").place);
    Ok((source, LoadedPolicy { file: file.to_owned(), policy, written, places }))
}

fn policy_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
        if yaml && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
