//! `paramedic replay`: past decisions again, in four forms. What each does is in the room `replay`; here it is read in and printed.

mod compare;
mod history;
mod incident;
mod report;
mod trial;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use super::{DataArg, End, Output};
use crate::clock::{Time, parse_duration};
use crate::incident::filter::since;
use crate::replay::backtest::Span;

/// How far back it is looked without `--since`.
const USUALLY: Duration = Duration::from_secs(30 * 24 * 3_600);

const EXAMPLES: &str = "Examples:
  paramedic replay df2240259743fc59-3
  paramedic replay --plugin dist/heal.wasm --policy policies/10-heal.yaml --since 30d
  paramedic replay --plugin dist/heal.wasm --settings recorded --since 7d --output json
  paramedic replay --compare heal-next heal --since 7d
  paramedic replay --prometheus http://localhost:9090 --since 30d
  paramedic replay --prometheus http://localhost:9090 --policies policies --plugins plugins --step 30s

What happened then is fixed: a question is asked again as it was put, and what would have followed from another answer is not guessed.
Exit codes: 0 the same, 1 something differs or cannot be told, 2 could not run (or, of an incident: not all could be repeated).";

/// Repeat past decisions: prove them, or try what another version would have decided
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").required(true))]
pub struct Replay {
    /// Prove the decisions of this incident bit for bit: its id, or the beginning of it
    #[arg(group = "what")]
    incident: Option<String>,
    /// Try this version of a plugin on every question of the journal that its policy answered, or would match
    #[arg(long, value_name = "FILE", group = "what")]
    plugin: Option<PathBuf>,
    /// Compare two policies that were asked the same: one that observes, and the one that is followed
    #[arg(long, num_args = 2, value_names = ["OBSERVED", "LIVE"], group = "what")]
    compare: Option<Vec<String>>,
    /// Rebuild the alerts of the past from this Prometheus, and say what all policies would have done; needs no journal
    #[arg(long, value_name = "URL", group = "what")]
    prometheus: Option<String>,
    /// The policies for --prometheus; without it, those of the configuration
    #[arg(long, value_name = "DIR", requires = "prometheus")]
    policies: Option<PathBuf>,
    /// How close to each other the moments are at which it is asked what fired
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1m")]
    step: Duration,
    /// Whether an action helps, for --prometheus; by default, if the alert ended by itself within `verify.within` of its policy
    #[arg(long, value_enum, requires = "prometheus")]
    assume: Option<Assume>,
    /// How long each action takes, for --prometheus
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    takes: Duration,
    /// Leave the policies that observe in that mode; by default every policy is taken for enforced
    #[arg(long, requires = "prometheus")]
    as_written: bool,
    /// The policy's file for --plugin; without it, the one in the policies folder that names a plugin of this file name
    #[arg(long, value_name = "FILE", requires = "plugin")]
    policy: Option<PathBuf>,
    /// The settings for --plugin: those of the file, or those that each answer was given with [default: file with --policy, else recorded]
    #[arg(long, value_enum, requires = "plugin")]
    settings: Option<Which>,
    /// Only questions since then: 7d, 12h, or a moment in RFC 3339 [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = since, conflicts_with = "incident")]
    since: Option<Time>,
    /// Only questions until then [default: now]
    #[arg(long, value_name = "TIME", value_parser = since, conflicts_with = "incident")]
    until: Option<Time>,
    /// Where else plugins of the past are, whatever their names; for --prometheus, where those of the policies are
    #[arg(long, value_name = "DIR", conflicts_with_all = ["plugin", "compare"])]
    plugins: Option<PathBuf>,
    #[command(flatten)]
    data: DataArg,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What comes of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Assume {
    /// It always helps
    Healed,
    /// It never does
    NotHealed,
}

/// Whose settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Those of the policy's file
    File,
    /// Those that each answer was given with
    Recorded,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        match (&self.incident, &self.plugin, &self.compare, &self.prometheus) {
            (Some(id), ..) => incident::prove(&self, id).await,
            (_, Some(plugin), ..) => trial::run(&self, plugin).await,
            (_, _, Some(names), _) => compare::run(&self, names),
            (.., Some(url)) => history::run(&self, url).await,
            _ => {
                anyhow::bail!("say what to replay: an incident's id, --plugin FILE, --compare OBSERVED LIVE or --prometheus URL")
            }
        }
    }

    /// The time that is meant.
    fn span(&self) -> anyhow::Result<Span> {
        let now = Time::now();
        let until = self.until.unwrap_or(now);
        let since = self.since.unwrap_or(until.minus(USUALLY));
        anyhow::ensure!(since < until, "--since {since} is not before --until {until}");
        Ok(Span { since, until })
    }
}
