//! `paramedic policy bench`: how long a decision takes, how many instructions it runs, and how much memory it holds.
//!
//! Time is measured with the engine that the server uses, a fresh sandbox for each decision, on the thread that asks. Instructions are
//! counted by a second engine that does nothing else, since counting makes a plugin slower: the number is the same on every machine, and
//! so it is the one to watch in CI. Absent on purpose: a verdict; what is slow enough to matter is `limits.deadline`'s to say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json as value;

use super::project::Project;
use super::{cases, load};
use crate::action::Target;
use crate::alert::{Alert, Family, IncidentId, Key, Labels, Status};
use crate::cli::output::{json, line};
use crate::cli::{End, Output};
use crate::clock::Time;
use crate::decide::file;
use crate::decide::measure::Used;
use crate::decide::plugin::Plugin;
use crate::decide::question::Brief;
use crate::decide::sandbox::{Limits, Sandbox};
use crate::incident::{TargetView, Trigger};

const EXAMPLES: &str = "Examples:
  paramedic policy bench heal-web
  paramedic policy bench target/plugins/restart-container.wasm
  paramedic policy bench dist/heal-web.wasm --cases cases -n 1000 --output json

Lookups are answered from the cases, so their time is not in it. Instructions are WebAssembly's, as wasmtime counts them.";

/// Measure how long one decision takes, with a fresh sandbox for each
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// A project's folder, or a plugin's file
    what: PathBuf,
    /// So many decisions are measured
    #[arg(long, short = 'n', default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    decisions: u32,
    /// A folder of cases to ask; without it those of the project, or one sample alert for a file
    #[arg(long, conflicts_with = "settings")]
    cases: Option<PathBuf>,
    /// Settings for the sample alert, as JSON
    #[arg(long)]
    settings: Option<String>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What is asked.
enum Asked {
    Cases(Vec<cases::Case>),
    Sample(Box<Brief>),
}

impl Asked {
    /// The question of that number; a recording is used up, so each gets its own.
    fn brief(&self, n: usize) -> Brief {
        match self {
            Self::Cases(cases) => cases[n % cases.len()].brief().0,
            Self::Sample(brief) => (**brief).clone(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Cases(cases) => cases.len(),
            Self::Sample(_) => 1,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Cases(cases) => format!("{} cases in turn", cases.len()),
            Self::Sample(_) => "one sample alert".to_owned(),
        }
    }
}

impl Bench {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let (file, cases) = match Project::find(&self.what)? {
            Some(project) if self.settings.is_none() => (project.built()?, Some(project.folder().join("cases"))),
            Some(project) => (project.built()?, None),
            None => (self.what.clone(), None),
        };
        let asked = match self.cases.clone().or(cases) {
            Some(folder) => Asked::Cases(askable(&folder)?),
            None => Asked::Sample(Box::new(self.sample()?)),
        };
        let plugin = load(&file).await?;
        if let Asked::Sample(brief) = &asked {
            let wrong = plugin.check_settings(&brief.settings).await;
            ensure!(
                wrong.is_empty(),
                "the sample's settings do not fit the plugin: {}; give others with --settings",
                wrong.join("; ")
            );
        }
        let took = self.times(&plugin, &asked).await?;
        let used = count(&file, &asked).await?;
        self.tell(&plugin, &asked, &took, &used)
    }

    /// How long each decision took, shortest first.
    async fn times(&self, plugin: &Plugin, asked: &Asked) -> anyhow::Result<Vec<Duration>> {
        let limits = Limits::default();
        let warm_up = (self.decisions as usize / 10).max(asked.len());
        let mut took = Vec::with_capacity(self.decisions as usize);
        for n in 0..self.decisions as usize + warm_up {
            let brief = asked.brief(n);
            let start = Instant::now();
            let ruling = plugin.decide(&brief, &limits).await;
            if n >= warm_up {
                took.push(start.elapsed());
            }
            if matches!(asked, Asked::Sample(_)) {
                ruling
                    .decision
                    .context("the plugin cannot decide about the sample alert; give --cases, or a project's folder")?;
            }
        }
        took.sort();
        Ok(took)
    }

    fn sample(&self) -> anyhow::Result<Brief> {
        let settings = self.settings.as_deref().unwrap_or("{}");
        sample(
            serde_json::from_str(settings).context("--settings is no JSON; write for instance --settings '{\"restarts\": 1}'")?,
        )
    }

    fn tell(&self, plugin: &Plugin, asked: &Asked, took: &[Duration], used: &[Used]) -> anyhow::Result<End> {
        let at = |share: f64| micros(took[((took.len() - 1) as f64 * share) as usize]);
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(at);
        let mut instructions: Vec<u64> = used.iter().map(|used| used.instructions).collect();
        instructions.sort_unstable();
        let (usual, most) = (instructions[instructions.len() / 2], instructions[instructions.len() - 1]);
        let memory = used.iter().map(|used| used.memory).max().unwrap_or_default();
        if self.output == Output::Json {
            json(&value!({
                "plugin": plugin.manifest().name, "version": plugin.manifest().version, "sha256": plugin.digest(),
                "decisions": self.decisions, "questions": asked.len(), "p50_us": p50, "p90_us": p90, "p99_us": p99, "max_us": max,
                "instructions": { "median": usual, "max": most }, "memory_bytes": memory,
            }))?;
            return Ok(End::Fine);
        }
        let manifest = plugin.manifest();
        line(format!(
            "{} {}: {} decisions about {}, each in a fresh sandbox",
            manifest.name,
            manifest.version,
            self.decisions,
            asked.told()
        ));
        line(format!("  time          p50 {p50:.1} µs, p90 {p90:.1} µs, p99 {p99:.1} µs, slowest {max:.1} µs"));
        line(format!("  instructions  {usual} in the middle, {most} at most"));
        line(format!(
            "  memory        {:.1} MiB at most, of 64 MiB that a policy gets if it does not say otherwise",
            memory as f64 / f64::from(1 << 20)
        ));
        Ok(End::Fine)
    }
}

/// The cases that get as far as a question.
fn askable(folder: &Path) -> anyhow::Result<Vec<cases::Case>> {
    let mut all = cases::read(folder)?;
    all.retain(|case| case.expect.decision != cases::Word::SettingsRefused);
    ensure!(!all.is_empty(), "every case in {} is about settings that are refused, so nothing can be asked", folder.display());
    Ok(all)
}

/// What each question uses.
async fn count(file: &Path, asked: &Asked) -> anyhow::Result<Vec<Used>> {
    let plugin = Sandbox::counting()?.load(&file.display().to_string(), &file::read(file)?).await?;
    let mut used = Vec::with_capacity(asked.len());
    // Counting is slow, and the plugin's time is not what is looked at here.
    let limits = Limits { deadline: Duration::from_secs(10), ..Limits::default() };
    for n in 0..asked.len() {
        used.push(plugin.measure(&asked.brief(n), &limits).await);
    }
    Ok(used)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A sample alert like the tutorial's.
fn sample(settings: serde_json::Value) -> anyhow::Result<Brief> {
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
