//! What Ansible's inventories know, and with what Ansible is run.
//!
//! A `--limit` is a pattern language (`all`, `web*`, `~regex`, `!x`, and `@file` reads a file), so a playbook is only limited to a name
//! that `ansible-inventory --list` gives exactly so. The programs run with an environment of our own making: `ansible.cfg` is
//! the configured one or an empty one, never that of the folder or home directory that Paramedic happens to be started in.
//! Absent on purpose: reading inventories ourselves, and Ansible's implicit `localhost`, which no operator wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::Unfit;
use crate::action::InventoryHost;
use crate::incident::Rule;
use crate::telemetry::clean;

/// How long listing an inventory may take; inventories that ask a cloud take a while.
const LISTING: Duration = Duration::from_secs(30);
/// How long a listing is good while its file is unchanged: a file may name a plugin that asks a cloud.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Bytes of a listing.
const MAX_LISTING: usize = 64 * 1024 * 1024;
/// Where programs are searched when Paramedic itself was started without `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The section `ansible` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder in which every playbook lies that may ever run.
    pub playbooks: PathBuf,
    /// How long a playbook may take; then it and everything it started is ended.
    #[serde(default = "five_minutes", deserialize_with = "crate::clock::duration")]
    pub deadline: Duration,
    /// Named ways to run Ansible; a grant names one of them.
    pub profiles: BTreeMap<String, Profile>,
    /// `ansible-playbook`, if it is not to be found through `PATH`; `ansible-inventory` is expected beside it.
    #[serde(default)]
    pub program: Option<PathBuf>,
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

/// One way to run Ansible: with which inventory, as whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// File, folder or executable script.
    pub inventory: PathBuf,
    /// The user to log in as (`--user`).
    #[serde(default)]
    pub user: Option<String>,
    /// The key to log in with; then ssh never asks for a password.
    #[serde(default)]
    pub private_key: Option<PathBuf>,
    /// The host keys that are believed. Without it, ssh's own file is used; an unknown key is refused either way.
    #[serde(default)]
    pub known_hosts: Option<PathBuf>,
    /// A file with the vault's password, or an executable that prints it.
    #[serde(default)]
    pub vault_password_file: Option<PathBuf>,
    /// The `ansible.cfg`; without it an empty one is used.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// Become another user on the host.
    #[serde(default, rename = "become")]
    pub becoming: Option<Become>,
}

/// How to become another user on the host (`--become`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Become {
    /// Which one; root if it is not said.
    pub user: Option<String>,
    /// A file with the password for it, if one is needed.
    pub password_file: Option<PathBuf>,
}

/// Whether this playbook can be run with this profile on this host, as far as folder and inventory tell. Gives the SHA-256 of its file,
/// in hex.
///
/// # Errors
/// The rule that is not kept, or that it cannot be found out.
pub async fn fits(settings: Option<&Settings>, name: &str, profile: &str, host: &InventoryHost) -> Result<String, Unfit> {
    let never = |rule: Rule, why: String| Err(Unfit::Never(rule, why));
    let Some(settings) = settings else {
        return never(Rule::InvalidPlaybook, "no playbooks are configured: add an `ansible` section".to_owned());
    };
    let path = match playbook_path(settings, name) {
        Ok(path) => path,
        Err(why) => return never(Rule::InvalidPlaybook, why),
    };
    let Some(known) = settings.profiles.get(profile) else {
        return never(
            Rule::InvalidPlaybook,
            format!("ansible profile `{profile}` is not configured: add it under ansible.profiles"),
        );
    };
    match knows(settings, known, host).await {
        Ok(true) => {}
        Ok(false) => {
            return never(
                Rule::UnknownInventoryHost,
                format!("the inventory of profile `{profile}` does not know the host {host}"),
            );
        }
        Err(error) => return Err(Unfit::Unknown(format!("the inventory cannot be read: {error}"))),
    }
    match tokio::fs::read(&path).await {
        Ok(text) => Ok(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()),
        Err(error) => Err(Unfit::Unknown(format!("playbook {} cannot be read: {error}", path.display()))),
    }
}

/// The file of a playbook: a relative `.yml` or `.yaml` inside the playbook folder, also when links are followed.
///
/// # Errors
/// A sentence that says which of that is not so.
pub fn playbook_path(settings: &Settings, name: &str) -> Result<PathBuf, String> {
    let shown = clean(name, 200);
    let relative = Path::new(name);
    let plain = name.len() <= 1_000 && !name.contains(char::is_control) && !name.starts_with('-');
    if !plain || name.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("`{shown}` cannot name a playbook: write its path inside the playbook folder, without `..`"));
    }
    if !relative.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
        return Err(format!("`{shown}` cannot name a playbook: its name must end in .yml or .yaml"));
    }
    let folder = &settings.playbooks;
    let missing = |path: &Path, error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let inside = folder.canonicalize().map_err(|error| missing(folder, error))?;
    let path =
        inside.join(relative).canonicalize().map_err(|error| format!("playbook {shown} in {}: {error}", folder.display()))?;
    if !path.starts_with(&inside) {
        return Err(format!("playbook {shown} is a link that leads out of {}; put the file itself there", folder.display()));
    }
    if !path.is_file() {
        return Err(format!("playbook {shown} is not a file"));
    }
    Ok(path)
}

impl Settings {
    /// The same settings with every relative path taken from `folder`, the place of the configuration file.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        let place = |path: &mut PathBuf| *path = folder.join(&*path);
        place(&mut self.playbooks);
        // A bare `ansible-playbook` is searched through PATH.
        self.program.iter_mut().filter(|program| program.components().count() > 1).for_each(place);
        for profile in self.profiles.values_mut() {
            place(&mut profile.inventory);
            let paths =
                [&mut profile.private_key, &mut profile.known_hosts, &mut profile.vault_password_file, &mut profile.config];
            paths.into_iter().flatten().for_each(place);
            profile.becoming.iter_mut().filter_map(|b| b.password_file.as_mut()).for_each(place);
        }
        self
    }

    /// What is wrong with these settings on this machine, one sentence each; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.playbooks.is_dir() {
            problems.push(format!("ansible.playbooks: {} is not a folder", self.playbooks.display()));
        }
        if self.deadline.is_zero() {
            problems.push("ansible.deadline: 0 leaves no time for any playbook; write for instance 5m".to_owned());
        }
        for (name, profile) in &self.profiles {
            problems.extend(profile.problems().into_iter().map(|problem| format!("ansible.profiles.{name}.{problem}")));
        }
        problems
    }

    fn inventory_program(&self) -> PathBuf {
        self.program.as_ref().map_or_else(|| "ansible-inventory".into(), |program| program.with_file_name("ansible-inventory"))
    }
}

impl Profile {
    fn problems(&self) -> Vec<String> {
        let files = [
            ("inventory", Some(&self.inventory)),
            ("private_key", self.private_key.as_ref()),
            ("known_hosts", self.known_hosts.as_ref()),
            ("vault_password_file", self.vault_password_file.as_ref()),
            ("config", self.config.as_ref()),
            ("become.password_file", self.becoming.as_ref().and_then(|b| b.password_file.as_ref())),
        ];
        let missing = files.into_iter().filter_map(|(field, path)| path.filter(|p| !p.exists()).map(|p| (field, p)));
        let mut problems: Vec<String> =
            missing.map(|(field, path)| format!("{field}: {} does not exist", path.display())).collect();
        if let Some(path) = self.known_hosts.as_ref().filter(|path| !is_plain(path)) {
            let path = path.display();
            problems.push(format!("known_hosts: {path} holds a blank or a quote, which ssh would take apart; use another path"));
        }
        problems
    }

    /// Arguments that `ansible-playbook` and `ansible-inventory` share. Absolute, so that they mean the same in any folder.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec![OsString::from("-i"), absolute(&self.inventory).into()];
        if let Some(path) = &self.vault_password_file {
            arguments.extend(["--vault-password-file".into(), absolute(path).into()]);
        }
        arguments
    }

    /// The whole environment of an Ansible program. `empty_config` is an empty file named `*.cfg`.
    pub(crate) fn environment(&self, empty_config: &Path) -> Vec<(&'static str, OsString)> {
        let config = self.config.as_deref().unwrap_or(empty_config);
        let mut environment: Vec<(&str, OsString)> = vec![
            ("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into())),
            // Ansible refuses to start when the locale is not UTF-8.
            ("LANG", "C.UTF-8".into()),
            ("ANSIBLE_CONFIG", absolute(config).into()),
            ("ANSIBLE_NOCOLOR", "1".into()),
            ("ANSIBLE_HOST_KEY_CHECKING", "True".into()),
            ("ANSIBLE_RETRY_FILES_ENABLED", "False".into()),
            // Each of these is a warning and exit code 0 otherwise.
            ("ANSIBLE_INVENTORY_UNPARSED_FAILED", "True".into()),
            ("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "True".into()),
            ("ANSIBLE_HOST_PATTERN_MISMATCH", "error".into()),
        ];
        // Where it may write, which a service unit decides.
        environment.extend(["HOME", "TMPDIR"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        environment.extend(self.ssh_arguments().map(|arguments| ("ANSIBLE_SSH_COMMON_ARGS", arguments)));
        environment
    }

    /// What ssh is told, since nobody is there to answer its questions. An `ansible.cfg` of the operator's has the last word
    /// unless the profile itself says how to log in.
    fn ssh_arguments(&self) -> Option<OsString> {
        if self.config.is_some() && self.private_key.is_none() && self.known_hosts.is_none() {
            return None;
        }
        let mut arguments = OsString::from("-o StrictHostKeyChecking=yes");
        if self.private_key.is_some() {
            arguments.push(" -o BatchMode=yes");
        }
        if let Some(path) = self.known_hosts.as_ref().filter(|path| is_plain(path)) {
            arguments.push(" -o UserKnownHostsFile=");
            arguments.push(absolute(path));
        }
        Some(arguments)
    }
}

/// True when neither Ansible nor ssh takes the path apart.
fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\%$".contains(c)))
}

pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Why an inventory could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It is not there.
    #[error("inventory {} cannot be read: {error}", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The program could not be started.
    #[error("{} cannot be started: {error}; install ansible-core, or name ansible-playbook under ansible.program", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It took too long.
    #[error("ansible-inventory did not list {} within {} s", path.display(), LISTING.as_secs())]
    TimedOut {
        /// Which inventory.
        path: PathBuf,
    },
    /// The program said no, or something that is no listing.
    #[error("ansible-inventory could not list {}: {why}", path.display())]
    Failed {
        /// Which inventory.
        path: PathBuf,
        /// Its own words, cleaned.
        why: String,
    },
    /// A group has the same name, and a `--limit` would mean the group.
    #[error("inventory {} has a group that is called {host} as well: rename one of them", path.display())]
    Ambiguous {
        /// Which inventory.
        path: PathBuf,
        /// The name.
        host: InventoryHost,
    },
}

/// The names in an inventory.
#[derive(Debug)]
struct Listing {
    hosts: BTreeSet<String>,
    groups: BTreeSet<String>,
}

/// One group of the listing; what else there is (variables, maybe with secrets) is not even kept.
#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    hosts: Vec<String>,
}

impl Listing {
    fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let listed: BTreeMap<String, Group> = serde_json::from_slice(json)?;
        let hosts = listed.values().flat_map(|group| group.hosts.iter().cloned()).collect();
        let always = ["all".to_owned(), "ungrouped".to_owned()];
        let groups = listed.into_keys().filter(|name| name != "_meta").chain(always).collect();
        Ok(Self { hosts, groups })
    }
}

/// What tells that an inventory is still the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

/// Only of a plain file: a folder changes without its own time changing, and a script answers what it likes.
fn stamp(path: &Path) -> Result<Option<Stamp>, std::io::Error> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path)?;
    let plain = metadata.is_file() && metadata.permissions().mode() & 0o111 == 0;
    Ok(plain.then_some(Stamp { modified: metadata.modified()?, bytes: metadata.len() }))
}

/// A listing, with what its file was then and when it was begun.
type Kept = (Option<Stamp>, Instant, Arc<Listing>);
/// Listings by program, inventory and `ansible.cfg`: as many as there are profiles.
type Cache = BTreeMap<(PathBuf, PathBuf, Option<PathBuf>), Kept>;
static CACHE: Mutex<Cache> = Mutex::new(BTreeMap::new());
/// One listing at a time: after a start every incident that waits for a playbook asks at once, and each would run Ansible.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Tells whether the profile's inventory lists exactly this host. The listing of an unchanged plain file is good for a minute.
///
/// # Errors
/// When the inventory could not be listed, or when the name is also that of a group.
pub async fn knows(settings: &Settings, profile: &Profile, host: &InventoryHost) -> Result<bool, InventoryError> {
    let path = &profile.inventory;
    let listing = listing(settings, profile).await?;
    let known = listing.hosts.contains(host.as_str());
    if known && listing.groups.contains(host.as_str()) {
        return Err(InventoryError::Ambiguous { path: path.clone(), host: host.clone() });
    }
    Ok(known)
}

async fn listing(settings: &Settings, profile: &Profile) -> Result<Arc<Listing>, InventoryError> {
    let path = &profile.inventory;
    let asked = Instant::now();
    let now = stamp(path).map_err(|error| InventoryError::Missing { path: path.clone(), error })?;
    let key = (settings.inventory_program(), path.clone(), profile.config.clone());
    // A listing that was begun after it was asked for is as good as one of its own, whatever kind of inventory it is.
    let kept = || {
        let kept = CACHE.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        kept.filter(|(then, at, _)| *at >= asked || (then.is_some() && *then == now && at.elapsed() < GOOD_FOR))
    };
    if let Some((_, _, listing)) = kept() {
        return Ok(listing);
    }
    let turn = tokio::time::timeout(LISTING * 2, TURN.lock()).await;
    let _turn = turn.map_err(|_| InventoryError::TimedOut { path: path.clone() })?;
    if let Some((_, _, listing)) = kept() {
        return Ok(listing);
    }
    let begun = Instant::now();
    let listed = Arc::new(list(&key.0, profile).await?);
    CACHE.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (now, begun, Arc::clone(&listed)));
    Ok(listed)
}

async fn list(program: &Path, profile: &Profile) -> Result<Listing, InventoryError> {
    let path = profile.inventory.clone();
    let failed = |why: String| InventoryError::Failed { path: path.clone(), why };
    let config = tempfile::Builder::new().suffix(".cfg").tempfile().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(profile.arguments()).arg("--list").env_clear().envs(profile.environment(config.path()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let child = command.spawn().map_err(|error| InventoryError::Start { program: program.to_owned(), error })?;
    let group = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    let mut finishing = std::pin::pin!(finish(child));
    let Ok(ended) = tokio::time::timeout(LISTING, &mut finishing).await else {
        // With everything it started, and before it is reaped, so that the group's number is still its own.
        let _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
        return Err(InventoryError::TimedOut { path });
    };
    let (status, stdout, stderr) = ended.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(clean(String::from_utf8_lossy(&stderr).trim(), 500)));
    }
    Listing::parse(&stdout).map_err(|error| failed(format!("its answer is no listing: {error}")))
}

async fn finish(mut child: tokio::process::Child) -> std::io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::try_join!(read(stdout, MAX_LISTING), read(stderr, 16 * 1024))?;
    Ok((child.wait().await?, stdout, stderr))
}

/// Reads to the end, so that the writer never blocks, and keeps the first `max` bytes.
async fn read(from: Option<impl AsyncRead + Unpin>, max: usize) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(u64::try_from(max).unwrap_or(u64::MAX)).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_and_groups_are_told_apart_and_variables_ignored() {
        let json =
            br#"{"_meta": {"hostvars": {"web1": {"password": "x"}}}, "all": {"children": ["web"]}, "web": {"hosts": ["web1"]}}"#;
        let listing = Listing::parse(json).unwrap();
        assert_eq!(listing.hosts, ["web1".to_owned()].into());
        assert_eq!(listing.groups, ["all".to_owned(), "ungrouped".to_owned(), "web".to_owned()].into());
    }

    fn settings(yaml: &str) -> Result<Settings, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_have_a_deadline_of_five_minutes_and_know_every_field() {
        let s = settings("playbooks: books\nprofiles: {a: {inventory: hosts.ini, become: {user: app}}}").unwrap();
        assert_eq!(s.deadline, Duration::from_secs(300));
        let s = s.relative_to(Path::new("/etc/paramedic"));
        assert_eq!(s.playbooks, Path::new("/etc/paramedic/books"));
        assert_eq!(s.profiles["a"].inventory, Path::new("/etc/paramedic/hosts.ini"));
        assert!(settings("playbooks: books\nprofiles: {a: {inventory: x, host_key_checking: false}}").is_err());
    }

    #[test]
    fn problems_name_the_field() {
        let s = settings("playbooks: /nowhere\ndeadline: 0s\nprofiles: {a: {inventory: /no, known_hosts: '/a b'}}").unwrap();
        let problems = s.problems().join("\n");
        for field in ["ansible.playbooks", "ansible.deadline", "profiles.a.inventory", "known_hosts: /a b holds a blank"] {
            assert!(problems.contains(field), "{field} is missing in {problems}");
        }
    }

    /// A folder with a program that counts how often it is asked to list, and an inventory that is a plain file or a script.
    fn counting(script: bool) -> (tempfile::TempDir, Settings) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program =
            "#!/bin/sh\necho once >> \"$(dirname \"$0\")/count\"\nsleep 0.2\necho '{\"web\": {\"hosts\": [\"web1\"]}}'\n";
        for (name, text, mode) in [("ansible-inventory", program, 0o755), ("hosts", "web1\n", if script { 0o755 } else { 0o644 })]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
            std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let yaml = "playbooks: books\nprogram: ansible-playbook\nprofiles: {default: {inventory: hosts}}";
        let settings = settings(yaml).unwrap().relative_to(folder.path());
        let program = Some(folder.path().join("ansible-playbook"));
        (folder, Settings { program, ..settings })
    }

    #[tokio::test]
    async fn however_many_ask_at_once_an_inventory_is_listed_once() {
        for (script, most) in [(false, 1), (true, 2)] {
            let (folder, settings) = counting(script);
            let host: InventoryHost = "web1".parse().unwrap();
            let asked = (0..30).map(|_| knows(&settings, &settings.profiles["default"], &host));
            assert!(futures_util::future::join_all(asked).await.into_iter().all(|known| known.unwrap()));
            let count = std::fs::read_to_string(folder.path().join("count")).unwrap().lines().count();
            assert!((1..=most).contains(&count), "listed {count} times");
            // A script may answer something else the next time; a plain file does not.
            assert!(knows(&settings, &settings.profiles["default"], &host).await.unwrap());
            let again = std::fs::read_to_string(folder.path().join("count")).unwrap().lines().count();
            assert_eq!(again - count, usize::from(script));
        }
    }

    #[test]
    fn ssh_is_told_never_to_ask() {
        let s = settings("playbooks: b\nprofiles: {a: {inventory: /i, private_key: /k, known_hosts: /etc/kh}}").unwrap();
        let expected = "-o StrictHostKeyChecking=yes -o BatchMode=yes -o UserKnownHostsFile=/etc/kh";
        assert_eq!(s.profiles["a"].ssh_arguments(), Some(expected.into()));
    }
}
