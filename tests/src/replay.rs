//! Decisions of the past, decided again: a journal is written as the healer writes it, by real plugins with answers of a made-up world.

mod backtest;
mod history;
mod live;
mod prove;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
use paramedic::clock::Time;
use paramedic::decide::lookup::Lookups;
use paramedic::decide::sandbox::{Brief, Limits, Plugin, Sandbox};
use paramedic::incident::lookup::{Found, FoundContainer, Lookup, LookupError, Sample};
use paramedic::incident::{Allowance, Answer, Closing, Event, Mode, TargetView, Trigger};
use paramedic::journal::{Append, Appended, Journal, Reader};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::components::component;
use crate::crash::binary;

/// What the made-up world says.
#[derive(Debug)]
struct World {
    errors: f64,
}

impl Lookups for World {
    fn look<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Found, LookupError>> {
        ready(match lookup {
            Lookup::Metrics { .. } => Ok(Found::Metrics(vec![Sample { labels: Vec::new(), value: self.errors, at: Time(7) }])),
            Lookup::Container { target } => {
                Ok(Found::Container(FoundContainer { name: target.clone(), state: "exited".to_owned(), ..Default::default() }))
            }
            _ => Err(LookupError::Other("there is no such thing in this world".to_owned())),
        })
        .boxed()
    }
}

/// A data folder whose journal this process writes, and closes before anybody reads it.
struct Past {
    folder: TempDir,
    journal: Option<Journal>,
    sandbox: Arc<Sandbox>,
}

/// One answer that is written.
struct Says<'a> {
    policy: &'a str,
    mode: Mode,
    plugin: &'a Arc<Plugin>,
    settings: Value,
}

impl Past {
    fn begin() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir_all(folder.path().join("plugins")).unwrap();
        let journal = Some(Journal::open(folder.path()).unwrap());
        Self { folder, journal, sandbox: Sandbox::new(None).unwrap() }
    }

    fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Loads a plugin, and keeps it as a server does.
    async fn plugin(&self, name: &str) -> Arc<Plugin> {
        let plugin = self.sandbox.load(name, &component(name)).await.unwrap();
        std::fs::write(self.kept(&plugin), component(name)).unwrap();
        plugin
    }

    fn kept(&self, plugin: &Plugin) -> PathBuf {
        self.data().join("plugins").join(format!("{}.wasm", plugin.digest()))
    }

    fn policy(&self, name: &str, more: &str) -> PathBuf {
        let file = self.data().join(format!("{name}.yaml"));
        std::fs::write(&file, format!("name: {name}\nplugin: looks.wasm\n{more}\n")).unwrap();
        file
    }

    async fn write(&self, id: &IncidentId, events: Vec<Event>) -> Time {
        match self.journal.as_ref().unwrap().append(Append::new(id.clone(), None, events)).await.unwrap() {
            Appended::Committed { at, .. } => at,
            other => panic!("{other:?}"),
        }
    }

    /// One alert, one question, and the answers of these in a world with so many errors.
    async fn alert(&self, name: &str, errors: f64, says: &[Says<'_>]) -> IncidentId {
        let id = opened(name);
        self.write(&id, vec![Event::Opened { alert: alert(name), via: Via::Webhook }]).await;
        self.ask(&id, errors, says).await;
        id
    }

    async fn ask(&self, id: &IncidentId, errors: f64, says: &[Says<'_>]) {
        let incident = self.journal.as_ref().unwrap().incident(id).await.unwrap().unwrap();
        let targets = vec![TargetView { target: "local/web".parse().unwrap(), inventory_host: None, state: "exited".to_owned() }];
        let asked = Event::Asked { trigger: Trigger::Alert, targets: targets.clone(), ambiguous: Vec::new() };
        let now = self.write(id, vec![asked]).await;
        let mut answers = Vec::new();
        for Says { policy, mode, plugin, settings } in says {
            let brief = Brief {
                id: id.clone(),
                alert: incident.alert.clone(),
                first_seen: incident.opened_at,
                trigger: Trigger::Alert,
                attempts: incident.attempts.iter().map(paramedic::decide::told::attempt).collect(),
                targets: targets.clone(),
                settings: settings.clone(),
                now,
                lookups: Arc::new(World { errors }),
            };
            let limits = Limits { deadline: Duration::from_secs(5), ..Limits::default() };
            let ruling = plugin.decide(&brief, &limits).await;
            answers.push(Event::Decided(Answer {
                policy: (*policy).to_owned(),
                mode: *mode,
                plugin: plugin.digest().to_owned(),
                settings: settings.clone(),
                decision: ruling.decision.map_err(|failure| failure.to_string()),
                log: ruling.log,
                lookups: ruling.lookups,
                policy_file: String::new(),
                limits: Some(Allowance { deadline_ms: 5_000, memory: 64 << 20, lookups_ms: 5_000 }),
                micros: ruling.micros,
            }));
        }
        if answers.is_empty() {
            answers.push(Event::Unclaimed { message: "no policy matches it".to_owned() });
        }
        self.write(id, answers).await;
    }

    async fn close(&self, id: &IncidentId) {
        self.write(id, vec![Event::Closed { how: Closing::Cleared, message: "gone".to_owned() }]).await;
    }

    /// Nothing more is written.
    fn end(&mut self) {
        self.journal = None;
    }

    /// Alters the last entry of that kind behind the journal's back.
    fn alter(&self, kind: &str, change: impl FnOnce(&mut Value)) {
        let db = rusqlite::Connection::open(self.data().join("journal.db")).unwrap();
        let (pos, body): (i64, String) = db
            .query_row("select pos, body from entry where kind = ?1 order by pos desc limit 1", [kind], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        let mut body: Value = serde_json::from_str(&body).unwrap();
        change(&mut body);
        db.execute("update entry set body = ?1 where pos = ?2", (body.to_string(), pos)).unwrap();
    }

    /// `paramedic replay` on it: exit code, stdout and stderr.
    fn replay(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = std::process::Command::new(binary());
        command.arg("replay").args(arguments).env("PARAMEDIC_DATA", self.data()).env("PARAMEDIC_LOG", "warn");
        command.env("PARAMEDIC_CONFIG", self.data().join("none.yaml"));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let (code, out, err) = self.replay(&[arguments, &["--output", "json"]].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code:?}\n{out}\n{err}")))
    }

    fn reader(&self) -> Reader {
        Reader::open(self.data()).unwrap()
    }
}

fn alert(name: &str) -> Alert {
    Alert {
        family: Family::Prometheus,
        status: Status::Firing,
        labels: Labels::from([("alertname".to_owned(), name.to_owned())]),
        annotations: Labels::new(),
        starts_at: Time::now(),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    }
}

fn opened(name: &str) -> IncidentId {
    IncidentId { key: Key::of(Family::Prometheus, &alert(name).labels, &[]), n: 1 }
}

fn heal(plugin: &Arc<Plugin>) -> Says<'_> {
    Says { policy: "heal", mode: Mode::Enforce, plugin, settings: json!({"above": 5}) }
}
