//! One run's folder, `runs/<permit>/`, mode 0700: what the playbook is given, and what it leaves behind.
//!
//! Everything that must outlive a `kill -9` of the host is a file: the playbook writes to files, never to pipes, so it goes on
//! and can be read afterwards. The folder is made once and never again, so that one permit cannot run twice. The variables and
//! Ansible's own temporary files (it decrypts vaults there) are removed as soon as the run is over.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::processes::Family;
use super::report::{Exit, Report};
use crate::clock::Time;
use crate::telemetry::clean;

/// How many runs are kept to look at.
const KEPT: usize = 100;
/// Bytes of stdout or stderr from which on it is begun anew: a babbling playbook must not fill the disk.
const MAX_OUTPUT: u64 = 16 * 1024 * 1024;
/// Bytes at the end of stderr that are read.
const TAIL: u64 = 16 * 1024;
/// Lines of stderr that are kept.
const COMPLAINTS: usize = 20;
/// Depth to which variables may be nested.
const MAX_DEPTH: usize = 32;

/// The callback plugin, written into every run's folder: the playbook of a run that outlives an upgrade keeps its own.
const CALLBACK: &str = include_str!("paramedic_events.py");
/// Its name in Ansible; the file is named so too.
pub(super) const CALLBACK_NAME: &str = "paramedic_events";

/// Written before the playbook is started.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The permit's id.
    permit: String,
    /// Random, in the environment of every process of the run.
    token: String,
    /// Which playbook, for people.
    playbook: String,
    /// On which host, for people.
    host: String,
    /// When.
    begun_at: Time,
}

/// Written when somebody has seen the playbook end.
#[derive(Serialize, Deserialize)]
pub(super) struct Ended {
    /// Exit code, if it ended by itself.
    pub(super) code: Option<i32>,
    /// True when its deadline ended it.
    pub(super) timed_out: bool,
    at: Time,
}

impl Ended {
    pub(super) fn new(exit: Option<Exit>, timed_out: bool) -> Self {
        let code = match exit {
            Some(Exit::Code(code)) => Some(code),
            _ => None,
        };
        Self { code, timed_out, at: Time::now() }
    }
}

/// One run's folder.
#[derive(Debug)]
pub(super) struct Run {
    folder: PathBuf,
    permit: String,
    token: String,
}

impl Run {
    /// Makes the folder with all that the playbook needs, durably.
    ///
    /// # Errors
    /// When it is there already, or cannot be written; a sentence.
    pub(super) fn create(runs: &Path, permit: &str, playbook: &str, host: &str, variables: &[u8]) -> Result<Self, String> {
        let folder = folder(runs, permit)?;
        let sentence = |error: std::io::Error| format!("the run's folder {} cannot be written: {error}", folder.display());
        let private = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        DirBuilder::new().recursive(true).mode(0o700).create(runs).map_err(sentence)?;
        private(&folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => format!("permit {permit} was already used: {} is there", folder.display()),
            _ => sentence(error),
        })?;
        let run = Self { folder: folder.clone(), permit: permit.to_owned(), token: uuid::Uuid::new_v4().to_string() };
        let record = Record {
            permit: run.permit.clone(),
            token: run.token.clone(),
            playbook: playbook.to_owned(),
            host: host.to_owned(),
            begun_at: Time::now(),
        };
        let fill = || {
            private(&run.callbacks())?;
            private(&run.temporary())?;
            write(&run.callbacks().join(CALLBACK_NAME).with_extension("py"), CALLBACK.as_bytes())?;
            write(&run.empty_config(), b"")?;
            write(&run.variables(), variables)?;
            write(&run.path("run.json"), &serde_json::to_vec(&record)?)?;
            File::open(&run.folder)?.sync_all()?;
            File::open(runs)?.sync_all()
        };
        fill().map_err(sentence)?;
        Ok(run)
    }

    /// The folder of a run that was begun before; `None` when there is none, or it was not complete: then nothing was started.
    pub(super) fn open(runs: &Path, permit: &str) -> Option<Self> {
        let folder = folder(runs, permit).ok()?;
        let record: Record = serde_json::from_slice(&std::fs::read(folder.join("run.json")).ok()?).ok()?;
        Some(Self { folder, permit: permit.to_owned(), token: record.token })
    }

    /// All its processes.
    pub(super) fn family(&self) -> Family {
        Family::new(&self.permit, &self.token)
    }

    /// The random mark of this run.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// What the callback has told so far.
    pub(super) fn report(&self) -> Report {
        Report::read(&self.events())
    }

    /// True once the playbook has told its host statistics, the last thing it does.
    pub(super) fn is_through(&self) -> bool {
        tail(&self.events()).lines().any(|line| line.starts_with(r#"{"event": "stats""#))
    }

    /// The last lines of stderr, cleaned.
    pub(super) fn complaints(&self) -> Vec<String> {
        let text = tail(&self.path("stderr"));
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.iter().skip(lines.len().saturating_sub(COMPLAINTS)).map(|line| clean(line.trim_end(), 500)).collect()
    }

    /// A file that the child appends its output to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn output(&self, name: &str) -> std::io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(self.path(name))
    }

    /// Empties output that has grown too large. It is appended to, so what comes later begins at its start.
    pub(super) fn bound_output(&self) {
        for name in ["stdout", "stderr"] {
            let file = OpenOptions::new().write(true).open(self.path(name));
            if let Ok(file) = file
                && file.metadata().is_ok_and(|metadata| metadata.len() > MAX_OUTPUT)
            {
                let _ = file.set_len(0);
            }
        }
    }

    /// Notes how it ended, and removes what may hold secrets.
    pub(super) fn close(&self, ended: &Ended) {
        let noted =
            serde_json::to_vec(ended).map_err(std::io::Error::from).and_then(|json| write(&self.path("ended.json"), &json));
        if let Err(error) = noted {
            tracing::warn!(run = %self.permit, %error, "the end of a playbook could not be noted in its run folder");
        }
        self.forget_secrets();
    }

    /// Removes the variables and Ansible's temporary files.
    pub(super) fn forget_secrets(&self) {
        let removed = [std::fs::remove_file(self.variables()), std::fs::remove_dir_all(self.temporary())];
        for error in removed.into_iter().filter_map(Result::err).filter(|error| error.kind() != std::io::ErrorKind::NotFound) {
            tracing::warn!(run = %self.permit, %error, "a playbook's variables or temporary files could not be removed");
        }
    }

    /// How it ended, if a host saw that.
    pub(super) fn ended(&self) -> Option<Ended> {
        serde_json::from_slice(&std::fs::read(self.path("ended.json")).ok()?).ok()
    }

    pub(super) fn events(&self) -> PathBuf {
        self.path("events.jsonl")
    }
    pub(super) fn variables(&self) -> PathBuf {
        self.path("variables.json")
    }
    pub(super) fn callbacks(&self) -> PathBuf {
        self.path("callback")
    }
    pub(super) fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }
    pub(super) fn empty_config(&self) -> PathBuf {
        self.path("ansible.cfg")
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// A permit's id becomes a folder's name, so it must be one.
fn folder(runs: &Path, permit: &str) -> Result<PathBuf, String> {
    let plain = permit.len() <= 200 && permit.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && !permit.is_empty() {
        Ok(crate::look::inventory::absolute(runs).join(permit))
    } else {
        Err(format!("`{}` cannot name a run's folder", clean(permit, 80)))
    }
}

/// A new file that only we can read, on disk when this returns.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The end of a file as text; empty if there is none.
fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// Removes all but the newest runs.
pub(super) fn prune(runs: &Path) {
    let age = |entry: &std::fs::DirEntry| entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut folders: Vec<_> =
        std::fs::read_dir(runs).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()).collect();
    folders.sort_by_cached_key(|entry| std::cmp::Reverse(age(entry)));
    for old in folders.into_iter().skip(KEPT) {
        if let Err(error) = std::fs::remove_dir_all(old.path()) {
            tracing::warn!(folder = %old.path().display(), %error, "an old run folder could not be removed");
        }
    }
}

/// The variables as the JSON that `-e @file` reads. Extra variables are trusted templates in every version of Ansible, so each
/// string is marked as one that is never evaluated.
///
/// # Errors
/// A sentence when a name or a nested name would mean something to Ansible itself.
pub(super) fn variables<'a>(variables: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Result<Vec<u8>, String> {
    let mut marked = Map::new();
    for (name, value) in variables {
        if !is_variable(name) {
            return Err(format!(
                "`{}` cannot be the name of a playbook's variable: use letters, digits and _, not ansible_*",
                clean(name, 80)
            ));
        }
        marked.insert(name.clone(), mark(value, MAX_DEPTH).map_err(|why| format!("variable {name} {why}"))?);
    }
    serde_json::to_vec(&marked).map_err(|error| format!("the variables are no JSON: {error}"))
}

/// `ansible_*` are commands in disguise: `ansible_ssh_common_args` runs one on the controller.
fn is_variable(name: &str) -> bool {
    name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.to_ascii_lowercase().starts_with("ansible_")
        && !name.starts_with("__ansible")
}

fn mark(value: &Value, depth: usize) -> Result<Value, String> {
    let depth = depth.checked_sub(1).ok_or_else(|| format!("is nested deeper than {MAX_DEPTH} levels"))?;
    Ok(match value {
        Value::String(text) => json!({ "__ansible_unsafe": text }),
        Value::Array(items) => Value::Array(items.iter().map(|item| mark(item, depth)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            // `__ansible_vault` and `__ansible_unsafe` are words of the format itself.
            if let Some(name) = fields.keys().find(|name| name.starts_with("__ansible")) {
                return Err(format!("holds the name `{}`, which Ansible would read as a command", clean(name, 80)));
            }
            Value::Object(
                fields.iter().map(|(name, item)| Ok((name.clone(), mark(item, depth)?))).collect::<Result<_, String>>()?,
            )
        }
        plain => plain.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    fn marked(text: &str) -> Result<Value, String> {
        let given: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
        variables(&given).map(|json| serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn every_string_is_marked_at_any_depth_and_nothing_else() {
        let unsafe_ = |text: &str| json!({ "__ansible_unsafe": text });
        let expected = json!({"a": unsafe_("{{ x }}"), "b": [unsafe_("y"), {"c": unsafe_("z"), "d": 3}], "e": true, "f": null});
        assert_eq!(marked(r#"{"a": "{{ x }}", "b": ["y", {"c": "z", "d": 3}], "e": true, "f": null}"#), Ok(expected));
    }

    #[test]
    fn names_that_mean_something_to_ansible_are_refused() {
        for name in ["ansible_connection", "Ansible_x", "a-b", "1a", "", "a b", "__ansible_vault", "é"] {
            assert!(marked(&json!({ name: "x" }).to_string()).is_err(), "{name}");
        }
        for inner in ["__ansible_vault", "__ansible_unsafe", "__ansible_type"] {
            assert!(marked(&json!({ "a": [{ inner: "x" }] }).to_string()).is_err(), "{inner}");
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(40), "]".repeat(40));
        assert!(marked(&deep).unwrap_err().contains("nested deeper"));
    }

    #[test]
    fn a_permit_has_one_folder_once_and_only_we_can_read_it() {
        let runs = tempfile::tempdir().unwrap();
        let run = Run::create(runs.path(), "0123-1-1", "a.yml", "web1", b"{}").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&run.folder), mode(&run.callbacks()), mode(&run.variables())), (0o700, 0o700, 0o600));
        assert!(Run::create(runs.path(), "0123-1-1", "a.yml", "web1", b"{}").unwrap_err().contains("already used"));
        assert_eq!(Run::open(runs.path(), "0123-1-1").unwrap().token, run.token);
        for bad in ["../x", "", "a/b", "."] {
            assert!(Run::create(runs.path(), bad, "a.yml", "web1", b"{}").is_err(), "{bad}");
        }
        run.close(&Ended::new(Some(Exit::Code(0)), false));
        assert!(!run.variables().exists() && !run.temporary().exists());
        assert_eq!(run.ended().unwrap().code, Some(0));
    }

    #[test]
    fn the_newest_hundred_are_kept() {
        let runs = tempfile::tempdir().unwrap();
        for n in 0..103_u64 {
            let folder = runs.path().join(format!("r-{n}"));
            std::fs::create_dir(&folder).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000 + n);
            File::open(&folder).unwrap().set_modified(time).unwrap();
        }
        prune(runs.path());
        assert_eq!(std::fs::read_dir(runs.path()).unwrap().count(), 100);
        assert!(!runs.path().join("r-2").exists() && runs.path().join("r-3").exists());
    }
}
