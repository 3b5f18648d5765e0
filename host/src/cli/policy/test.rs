//! `paramedic policy test`: asks a plugin what its cases say, and shows where it answers otherwise.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::cases::{self, Case, Word, written};
use super::compare::differences;
use super::project::Project;
use super::{junit, load};
use crate::cli::End;
use crate::cli::output::{json, line, note};
use crate::decide::file;
use crate::decide::plugin::Plugin;
use crate::decide::sandbox::Limits;
use crate::telemetry::clean;

/// What a case may take; more than a policy's default, since many machines that test are busy.
const LIMITS: Limits = Limits { deadline: Duration::from_secs(5), memory: 64 << 20, lookups: Duration::from_secs(5) };
/// Lines of a plugin's log that are shown with a failure.
const MOST_LOG: usize = 20;

const EXAMPLES: &str = "Examples:
  paramedic policy test
  paramedic policy test heal-web --filter restart
  paramedic policy test target/plugins/restart-container.wasm --cases plugins/restart-container/cases
  paramedic policy test target/plugins/rules.wasm --policy policies/web.yaml --cases cases/web.yaml
  paramedic policy test heal-web --output junit

Without a path it is the project in this folder: dist/*.wasm and cases/. JUnit's XML goes to stdout: `> report.xml`.
Exit codes: 0 every case passed, 1 at least one failed, 2 could not run.
A case is data: an incident, recorded answers of lookups, and the decision that is expected. See docs/workbench.md.";

/// Ask a plugin what its cases say, and show where it answers otherwise
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Test {
    /// A project's folder, or a plugin's file
    #[arg(default_value = ".")]
    what: PathBuf,
    /// The folder of the cases, or one file; without it, `cases` in the project
    #[arg(long)]
    cases: Option<PathBuf>,
    /// A policy's file: cases that give no settings are asked with its own
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Only cases whose names contain this
    #[arg(long)]
    filter: Option<String>,
    /// For people, for programs, or for CI systems that read JUnit's XML
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
    Junit,
}

/// What came of one case.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Its name.
    pub(super) name: String,
    /// `file:line`.
    pub(super) place: String,
    /// True when everything was as expected.
    pub(super) passed: bool,
    /// What was otherwise, line by line: `-` expected, `+` got.
    pub(super) differences: Vec<String>,
    /// What the plugin logged.
    pub(super) log: Vec<String>,
    /// How long the decision took, in seconds.
    pub(super) seconds: f64,
}

/// Asks all cases of a project, for people.
pub(super) async fn of_project(project: &Project) -> anyhow::Result<End> {
    Test { what: project.folder().to_owned(), cases: None, policy: None, filter: None, output: Format::Text }.run().await
}

impl Test {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let (file, folder) = match Project::find(&self.what)? {
            Some(project) => (project.built()?, project.folder().join("cases")),
            None => {
                // Before its cases are looked for.
                file::look(&self.what)?;
                (self.what.clone(), self.what.parent().unwrap_or(Path::new("")).join("cases"))
            }
        };
        let folder = self.cases.clone().unwrap_or(folder);
        let all = cases::read(&folder)?;
        let count = all.len();
        let mut cases: Vec<Case> =
            all.into_iter().filter(|case| self.filter.as_ref().is_none_or(|part| case.name.contains(part))).collect();
        anyhow::ensure!(!cases.is_empty(), "none of the {count} cases in {} has that in its name", folder.display());
        if let Some(path) = &self.policy {
            let policy = super::inspect::read(path)?;
            for case in cases.iter_mut().filter(|case| case.settings.as_object().is_some_and(serde_json::Map::is_empty)) {
                case.settings = policy.settings.clone();
            }
        }
        let plugin = load(&file).await?;
        let begun = Instant::now();
        let mut outcomes = Vec::new();
        for case in &cases {
            let outcome = run(&plugin, case).await;
            if self.output == Format::Text {
                print(&outcome);
            }
            outcomes.push(outcome);
        }
        self.summary(&plugin, &outcomes, begun.elapsed())
    }

    fn summary(&self, plugin: &Plugin, outcomes: &[Outcome], took: Duration) -> anyhow::Result<End> {
        let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
        let passed = outcomes.len() - failed;
        let manifest = plugin.manifest();
        match self.output {
            Format::Text => line(format!(
                "\n{} {}: {passed} passed, {failed} failed, in {:.2} s",
                manifest.name,
                manifest.version,
                took.as_secs_f64()
            )),
            Format::Json => json(&serde_json::json!({
                "plugin": manifest.name, "version": manifest.version, "sha256": plugin.digest(),
                "passed": passed, "failed": failed, "cases": outcomes,
            }))?,
            Format::Junit => line(junit::report(&manifest.name, outcomes, took)),
        }
        Ok(if failed == 0 { End::Fine } else { End::Findings })
    }
}

async fn run(plugin: &Plugin, case: &Case) -> Outcome {
    let mut outcome = Outcome {
        name: clean(&case.name, 200),
        place: case.place.clone(),
        passed: false,
        differences: Vec::new(),
        log: Vec::new(),
        seconds: 0.0,
    };
    let refused = plugin.check_settings(&case.settings).await;
    if !refused.is_empty() || case.expect.decision == Word::SettingsRefused {
        outcome.differences = about_settings(case, &refused);
        outcome.passed = outcome.differences.is_empty();
        return outcome;
    }
    let (brief, recorded) = case.brief();
    let ruling = plugin.decide(&brief, &LIMITS).await;
    let mut found = differences(case, &ruling);
    for lookup in recorded.missing() {
        found.push(format!(
            "+ it asked what this case does not record; add to its `lookups`: {{{}, answer: ...}}",
            clean(&written(&lookup), 600)
        ));
    }
    if found.is_empty() {
        let asked: Vec<_> = ruling.lookups.iter().map(|looked| &looked.lookup).collect();
        let unused = case.recorded().filter(|lookup| !asked.contains(lookup));
        outcome.log.extend(unused.map(|lookup| format!("note: recorded, and never asked: {}", clean(&written(lookup), 300))));
    }
    outcome.log.extend(ruling.log.iter().take(MOST_LOG).map(|said| format!("{}: {}", said.level, said.message)));
    outcome.seconds = ruling.micros as f64 / 1e6;
    outcome.passed = found.is_empty();
    outcome.differences = found;
    outcome
}

/// Settings that are refused are the end of a case, and may be what it expects.
fn about_settings(case: &Case, refused: &[String]) -> Vec<String> {
    let said = refused.join("; ");
    match (case.expect.decision, refused) {
        (Word::SettingsRefused, []) => {
            vec!["- decision: settings-refused".to_owned(), "+ the plugin takes these settings".to_owned()]
        }
        (Word::SettingsRefused, _) => match case.expect.reason.as_ref().filter(|pattern| !pattern.fits(&said)) {
            Some(pattern) => vec![format!("- reason: {}", clean(&pattern.shown(), 600)), format!("+ reason: {said}")],
            None => Vec::new(),
        },
        (expected, _) => {
            vec![format!("- decision: {}", expected.as_str()), format!("+ the settings do not fit the plugin: {said}")]
        }
    }
}

fn print(outcome: &Outcome) {
    if outcome.passed {
        line(format!("ok    {}", outcome.name));
        outcome.log.iter().filter(|said| said.starts_with("note: ")).for_each(|said| note(format!("      {said}")));
        return;
    }
    line(format!("FAIL  {}  ({})", outcome.name, outcome.place));
    outcome.differences.iter().for_each(|difference| line(format!("      {difference}")));
    outcome.log.iter().for_each(|said| line(format!("      | {said}")));
}
