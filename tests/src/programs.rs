//! Real monitoring programs for tests: Prometheus and Alertmanager as Debian packages them, and metrics that a test controls.
//!
//! Each runs on a free port of 127.0.0.1, from a temporary folder, with intervals of a second. They end with the value that holds them.
//! `apt-get install prometheus prometheus-alertmanager` provides them; without them the tests fail, they are never skipped.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::routing::get;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long a program may take to be ready; the machine may be busy.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running program, with the means to stop it and to start it again on the same port and data.
pub struct Program {
    name: &'static str,
    args: Vec<String>,
    folder: TempDir,
    /// Where its API begins.
    pub url: String,
    child: Option<Child>,
}

impl Program {
    async fn start_new(name: &'static str, folder: TempDir, args: impl FnOnce(&Path, u16) -> Vec<String>) -> Result<Self> {
        let port = free_port()?;
        let args = args(folder.path(), port);
        let mut program = Self { name, args, folder, url: format!("http://127.0.0.1:{port}"), child: None };
        program.start().await?;
        Ok(program)
    }

    /// Starts it (again), and waits until it says that it is ready.
    pub async fn start(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let mut command = Command::new(self.name);
        command.args(&self.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let hint = format!("{} cannot be started: apt-get install prometheus prometheus-alertmanager", self.name);
        self.child = Some(command.spawn().context(hint)?);
        let deadline = Instant::now() + READY_WITHIN;
        while !is_ready(&self.url).await {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() > deadline {
                bail!("{} is not ready: {ended:?}\n{}", self.name, std::fs::read_to_string(self.folder.path().join("log"))?);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Gives a Prometheus other rules, and lets it read them.
    pub async fn reload(&self, rules: &str) -> Result<()> {
        std::fs::write(self.folder.path().join("rules.yml"), rule_file(rules))?;
        reqwest_client().post(format!("{}/-/reload", self.url)).send().await?.error_for_status()?;
        Ok(())
    }

    /// Ends it at once, as a power cut would.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn is_ready(url: &str) -> bool {
    let asked = reqwest_client().get(format!("{url}/-/ready")).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

/// A client for a test's own requests.
pub fn reqwest_client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap_or_default()
}

/// Starts Prometheus with the rules of one group (YAML, a list), scraping `targets` every second, and sending to `alertmanager`.
///
/// External labels: `cluster: test`, `replica: a`. `alerting` is more YAML under `alerting:`.
pub async fn start_prometheus(rules: &str, targets: &[&Exporter], alertmanager: Option<&str>, alerting: &str) -> Result<Program> {
    start_replica("a", rules, targets, alertmanager, alerting).await
}

/// The same as another one of its replicas.
pub async fn start_replica(
    replica: &str,
    rules: &str,
    targets: &[&Exporter],
    alertmanager: Option<&str>,
    alerting: &str,
) -> Result<Program> {
    let folder = TempDir::new()?;
    let targets: Vec<String> = targets.iter().map(|t| format!("'{}'", t.address)).collect();
    let managers = alertmanager.map_or_else(String::new, |url| format!("'{}'", url.trim_start_matches("http://")));
    let config = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n  external_labels:\n    cluster: test\n    replica: {replica}\n\
         rule_files: [rules.yml]\nalerting:\n  alertmanagers:\n  - static_configs:\n    - targets: [{managers}]\n{alerting}\n\
         scrape_configs:\n- job_name: demo\n  static_configs:\n  - targets: [{}]\n",
        targets.join(", ")
    );
    std::fs::write(folder.path().join("prometheus.yml"), config)?;
    std::fs::write(folder.path().join("rules.yml"), rule_file(rules))?;
    Program::start_new("prometheus", folder, |folder, port| {
        vec![
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--rules.alert.resend-delay=1s".to_owned(),
            "--web.enable-lifecycle".to_owned(),
        ]
    })
    .await
}

/// Starts Prometheus so that it scrapes what serves metrics at that address, every second, proving itself with this token.
pub async fn start_scraping(address: &str, token_file: &Path) -> Result<Program> {
    let folder = TempDir::new()?;
    let config = format!(
        "scrape_configs:\n- job_name: paramedic\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  authorization: {{credentials_file: {}}}\n  \
         static_configs:\n  - targets: ['{address}']\n",
        token_file.display()
    );
    std::fs::write(folder.path().join("prometheus.yml"), config)?;
    Program::start_new("prometheus", folder, |folder, port| {
        vec![
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ]
    })
    .await
}

/// Starts Prometheus with a past: samples in OpenMetrics' text, each with its time.
pub async fn start_with_blocks(openmetrics: &str) -> Result<Program> {
    let folder = TempDir::new()?;
    let (text, data) = (folder.path().join("past.om"), folder.path().join("data"));
    std::fs::write(&text, openmetrics)?;
    let mut promtool = Command::new("promtool");
    promtool.args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"]).arg(&text).arg(&data);
    let made = promtool.output().await.context("promtool cannot be started: apt-get install prometheus")?;
    ensure!(made.status.success(), "promtool: {}", String::from_utf8_lossy(&made.stderr));
    std::fs::write(folder.path().join("prometheus.yml"), "scrape_configs: []\n")?;
    Program::start_new("prometheus", folder, |folder, port| {
        vec![
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            // What is written so has no marks where a series ends.
            "--query.lookback-delta=59s".to_owned(),
        ]
    })
    .await
}

fn rule_file(rules: &str) -> String {
    if rules.trim().is_empty() { "groups: []\n".to_owned() } else { format!("groups:\n- name: test\n  rules:\n{rules}\n") }
}

/// Starts Alertmanager; `more` is YAML at the top of its configuration, such as `inhibit_rules`.
pub async fn start_alertmanager(more: &str) -> Result<Program> {
    start_alertmanager_with(&format!("route: {{receiver: none}}\nreceivers: [{{name: none}}]\n{more}\n")).await
}

/// Starts Alertmanager with this configuration.
pub async fn start_alertmanager_with(config: &str) -> Result<Program> {
    let folder = TempDir::new()?;
    std::fs::write(folder.path().join("alertmanager.yml"), config)?;
    Program::start_new("prometheus-alertmanager", folder, |folder, port| {
        vec![
            format!("--config.file={}", folder.join("alertmanager.yml").display()),
            format!("--storage.path={}", folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=".to_owned(),
        ]
    })
    .await
}

/// Metrics whose text the test controls.
pub struct Exporter {
    /// `127.0.0.1:port`.
    pub address: String,
    text: Arc<Mutex<String>>,
}

impl Exporter {
    /// Serves this text as `/metrics`.
    pub async fn start(text: &str) -> Result<Self> {
        let shared = Arc::new(Mutex::new(text.to_owned()));
        let served = shared.clone();
        let metrics = get(move || async move { served.lock().map(|text| text.clone()).unwrap_or_default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let app = Router::new().route("/metrics", metrics);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, text: shared })
    }

    /// Serves this text from now on.
    pub fn set(&self, text: &str) {
        if let Ok(mut held) = self.text.lock() {
            text.clone_into(&mut held);
        }
    }
}

/// Asks again and again until `look` gives something, at most for so many seconds.
pub async fn within<T, F, Fut>(seconds: u64, what: &str, look: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "within {seconds} s there was no sign of: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
