//! `paramedic policy ...`: the workbench of whoever writes policies.

mod build;
mod cases;
mod compare;
mod dev;
mod inspect;
mod junit;
mod new;
mod project;
mod test;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json as value;

use super::output::{json, line};
use super::{End, Output};
use crate::action::Target;
use crate::alert::{Alert, Family, IncidentId, Key, Labels, Status};
use crate::clock::Time;
use crate::decide::plugin::Plugin;
use crate::decide::question::Brief;
use crate::decide::sandbox::{Limits, Sandbox};
use crate::incident::{TargetView, Trigger};

const BENCH_EXAMPLES: &str = "Examples:
  paramedic policy bench target/plugins/restart-container.wasm
  paramedic policy bench target/plugins/restart-container.wasm -n 1000 --settings '{}' --output json";

const HELP: &str = "The loop of a policy's author:
  paramedic policy new --lang rust heal-web    a project with a policy, cases and the SDK
  paramedic policy build heal-web              heal-web/dist/heal-web.wasm
  paramedic policy test heal-web               ask it every case of heal-web/cases
  paramedic policy dev heal-web                both again whenever a file changes
  paramedic policy inspect heal-web/dist/heal-web.wasm --policy policies/50-heal-web.yaml
  paramedic ask --tree alert.json              what all policies would do about one alert
  paramedic replay --plugin heal-web/dist/heal-web.wasm --since 30d

docs/workbench.md tells the whole of it; docs/cookbook.md has policies that need no code.";

/// Write, build, test, look into and measure policy plugins
#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub enum PolicyCommand {
    /// Begin a project: a policy with cases, its SDK and a README
    New(new::New),
    /// Build a project's plugin: dist/NAME.wasm
    Build(build::Build),
    /// Ask a plugin what its cases say, and show where it answers otherwise
    Test(test::Test),
    /// Build and test a project again whenever one of its files changes
    Dev(dev::Dev),
    /// Say who a plugin is: what it declares, what it imports, its digest and its settings
    Inspect(inspect::Inspect),
    /// Measure how long one decision takes, with a fresh sandbox for each
    Bench(Bench),
}

/// Measure how long one decision takes
#[derive(Args, Debug)]
#[command(after_help = BENCH_EXAMPLES)]
pub struct Bench {
    /// The plugin's file
    plugin: PathBuf,
    /// So many decisions
    #[arg(long, short = 'n', default_value_t = 10_000)]
    decisions: u32,
    /// Settings, as JSON
    #[arg(long, default_value = "{}")]
    settings: String,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl PolicyCommand {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        match self {
            Self::New(new) => new.run(),
            Self::Build(build) => build.run().await,
            Self::Test(test) => test.run().await,
            Self::Dev(dev) => dev.run().await,
            Self::Inspect(inspect) => inspect.run().await,
            Self::Bench(bench) => bench.run().await,
        }
    }
}

/// The plugin in this file; its compiled code is kept in the user's cache, since an author loads the same one again and again.
async fn load(path: &Path) -> anyhow::Result<Arc<Plugin>> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let sandbox = match cache() {
        // A cache that cannot be used only costs time.
        Some(cache) => Sandbox::new(Some(&cache)).or_else(|_| Sandbox::new(None))?,
        None => Sandbox::new(None)?,
    };
    Ok(sandbox.load(&path.display().to_string(), &bytes).await?)
}

/// Where compiled plugins of this user are kept.
fn cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(folder.join("paramedic/compiled"))
}

impl Bench {
    async fn run(self) -> anyhow::Result<End> {
        let plugin = load(&self.plugin).await?;
        let brief = brief(serde_json::from_str(&self.settings).context("--settings is no JSON")?)?;
        let limits = Limits::default();
        let mut took = Vec::new();
        for i in 0..self.decisions + self.decisions / 10 {
            let start = std::time::Instant::now();
            let ruling = plugin.decide(&brief, &limits).await;
            if i >= self.decisions / 10 {
                took.push(start.elapsed());
            }
            ruling.decision.context("the plugin cannot decide about the sample alert")?;
        }
        took.sort();
        let at = |share: f64| micros(took[((took.len() - 1) as f64 * share) as usize]);
        let (p50, p99, worst) = (at(0.5), at(0.99), at(1.0));
        if self.output == Output::Json {
            json(&value!({ "decisions": self.decisions, "p50_us": p50, "p99_us": p99, "max_us": worst }))?;
        } else {
            line(format!(
                "{} decisions, each in a fresh sandbox: p50 {p50:.1} µs, p99 {p99:.1} µs, slowest {worst:.1} µs",
                self.decisions
            ));
        }
        Ok(End::Fine)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A sample alert like the tutorial's.
fn brief(settings: serde_json::Value) -> anyhow::Result<Brief> {
    let now = Time::now();
    let labels: Labels =
        [("alertname", "NginxDown"), ("container", "nginx-demo"), ("instance", "http://nginx-demo:80"), ("severity", "critical")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    let target: Target = "local/nginx-demo".parse().map_err(anyhow::Error::msg)?;
    Ok(Brief {
        id: IncidentId { key: Key::of(Family::Prometheus, &labels, &[]), n: 1 },
        alert: Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels,
            annotations: Labels::from([("summary".to_owned(), "NGINX is down".to_owned())]),
            starts_at: now,
            ends_at: None,
            generator_url: String::new(),
            fingerprint: None,
        },
        first_seen: now,
        trigger: Trigger::Alert,
        attempts: Vec::new(),
        targets: vec![TargetView { target, inventory_host: None, state: "exited".to_owned() }],
        settings,
        now,
        lookups: Arc::new(crate::decide::lookup::Blind),
    })
}
