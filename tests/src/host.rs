//! A whole server for a test: real journal, real engine, real plugins, on a free port; and questions a test asks it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use paramedic::config;
use paramedic::incident::timeline;
use paramedic::journal::Reader;
use paramedic::server::Server;
use paramedic::shutdown::Shutdown;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::components::component;
use crate::programs::reqwest_client;

/// What a server is started with.
pub struct Setup {
    /// YAML lines of `paramedic.yaml` beside listen, data, policies and plugins.
    pub config: String,
    /// YAML of the one policy.
    pub policy: String,
    /// Playbooks, by their file names.
    pub playbooks: Vec<(&'static str, String)>,
}

impl Setup {
    /// A policy that restarts that container when an alert `Down` fires, and looks for 2 s whether that helped.
    pub fn restarts(container: &str) -> Self {
        let policy = format!(
            "name: heal\nplugin: restart-container.wasm\nmatch: ['alertname=\"Down\"']\nmode: enforce\n\
             grants: {{docker: {{restart: ['local/{container}']}}}}\nsettings: {{grace_seconds: 1}}\n\
             brakes: {{cooldown: 1s}}\nverify: {{within: 40s, stable: 2s}}\n"
        );
        Self { config: "poll: {interval: 1s}\n".to_owned(), policy, playbooks: Vec::new() }
    }

    /// Looks at this Prometheus.
    pub fn prometheus(mut self, url: &str) -> Self {
        let _ = writeln!(self.config, "prometheus: {url}");
        self
    }

    /// Looks at this Alertmanager.
    pub fn alertmanager(mut self, url: &str) -> Self {
        let _ = writeln!(self.config, "alertmanager: {url}");
        self
    }

    /// More lines of the policy.
    pub fn policy_line(mut self, line: &str) -> Self {
        let _ = writeln!(self.policy, "{line}");
        self
    }

    /// A playbook that the policy may run on `localhost`, with the variable `container`, after one restart.
    pub fn then_playbook(mut self, playbook: String, container: &str) -> Self {
        self.policy = self.policy.replace(
            &format!("grants: {{docker: {{restart: ['local/{container}']}}}}\nsettings: {{grace_seconds: 1}}\n"),
            &format!(
                "grants: {{docker: {{restart: ['local/{container}']}}, ansible: [{{playbook: fix.yml, hosts: [localhost], vars: [container]}}]}}\n\
                 settings: {{grace_seconds: 1, then_playbook: fix.yml}}\n"
            ),
        );
        self.config.push_str("ansible: {playbooks: playbooks, deadline: 60s, profiles: {default: {inventory: inventory.yml}}}\n");
        self.playbooks.push(("fix.yml", playbook));
        self
    }

    /// Writes all files and gives the configuration's path.
    pub fn write(&self, folder: &Path, port: u16) -> PathBuf {
        for part in ["policies", "plugins", "playbooks"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        for plugin in ["restart-container", "run-playbook"] {
            std::fs::write(folder.join("plugins").join(format!("{plugin}.wasm")), component(plugin)).unwrap();
        }
        for plugin in ["looks", "rules"] {
            if self.policy.contains(&format!("plugin: {plugin}.wasm")) {
                std::fs::write(folder.join("plugins").join(format!("{plugin}.wasm")), component(plugin)).unwrap();
            }
        }
        std::fs::write(folder.join("policies/10-heal.yaml"), &self.policy).unwrap();
        for (name, text) in &self.playbooks {
            std::fs::write(folder.join("playbooks").join(name), text).unwrap();
        }
        let inventory = "all: {hosts: {localhost: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}}}\n";
        std::fs::write(folder.join("inventory.yml"), inventory).unwrap();
        let path = folder.join("paramedic.yaml");
        std::fs::write(&path, format!("listen: 127.0.0.1:{port}\n{}", self.config)).unwrap();
        path
    }
}

/// A running server.
pub struct Host {
    folder: TempDir,
    config: PathBuf,
    /// Where its doors are.
    pub url: String,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Host {
    /// Starts it.
    pub async fn start(setup: &Setup) -> Self {
        let folder = TempDir::new().unwrap();
        let config = setup.write(folder.path(), 0);
        let (url, shutdown, task) = open(&config).await;
        Self { folder, config, url, shutdown, task }
    }

    /// Stops it, keeps its journal, and starts it again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Stops it, and keeps its journal.
    pub async fn stop(&mut self) {
        self.shutdown.request();
        (&mut self.task).await.unwrap().unwrap();
    }

    /// Starts it again after a stop.
    pub async fn start_again(&mut self) {
        (self.url, self.shutdown, self.task) = open(&self.config).await;
    }

    /// Its `paramedic.yaml`.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Sends one alert through Alertmanager's door; gives the status code.
    pub async fn send(&self, status: &str, labels: Value, starts_at: &str) -> u16 {
        let alert = json!({ "status": status, "labels": labels, "annotations": {}, "startsAt": starts_at });
        let message = json!({ "version": "4", "status": status, "alerts": [alert] });
        let request = reqwest_client().post(format!("{}/alert", self.url)).json(&message);
        request.send().await.unwrap().status().as_u16()
    }

    /// Every incident as (state or ending, told timeline), the newest first.
    pub fn incidents(&self) -> Vec<(String, String)> {
        let Ok(reader) = Reader::open(&self.data()) else { return Vec::new() };
        let ids = reader.list(false, 100).unwrap();
        ids.iter()
            .map(|id| {
                let incident = reader.incident(id).unwrap().unwrap();
                let entries = reader.read(id, 0, usize::MAX).unwrap();
                let told = timeline::tell(entries.iter().map(|entry| (entry.at, &entry.event)));
                let state = incident.closing().map_or(incident.state().to_owned(), |how| format!("{how:?}").to_lowercase());
                (state, told.iter().map(|line| format!("{} {}\n", line.kind, line.text)).collect())
            })
            .collect()
    }

    /// Waits until the newest incident is in this state or ended this way; gives its timeline.
    pub async fn until(&self, state: &str, seconds: u64) -> String {
        let begun = Instant::now();
        loop {
            let newest = self.incidents().into_iter().next();
            if let Some((now, story)) = &newest
                && now == state
            {
                return story.clone();
            }
            assert!(begun.elapsed() < Duration::from_secs(seconds), "not {state} within {seconds} s: {newest:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.shutdown.request();
        self.task.abort();
    }
}

async fn open(path: &Path) -> (String, Shutdown, JoinHandle<anyhow::Result<()>>) {
    let begun = Instant::now();
    // In one process the lock of the server before lives on for a moment: in its writer's thread, and in children of other tests
    // that were forked and have not yet become `docker`.
    let (server, shutdown) = loop {
        let (config, policies) = config::load_all(path).unwrap();
        let shutdown = Shutdown::new();
        match Server::open(config, policies, shutdown.clone()).await {
            Err(error) if error.to_string().contains("is in use by another") && begun.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            opened => break (opened.unwrap(), shutdown),
        }
    };
    let url = format!("http://{}", server.address().unwrap());
    (url, shutdown, tokio::spawn(server.run()))
}
