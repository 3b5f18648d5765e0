//! `paramedic replay --plugin new.wasm`: what a new version would have decided about what happened.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json as value;

use super::{Replay, Which, report};
use crate::cli::output::{Progress, bold, json, line, note};
use crate::cli::{End, Output};
use crate::config::{self, Config};
use crate::decide::plugin::Plugin;
use crate::decide::sandbox::Sandbox;
use crate::policy::Policy;
use crate::replay::backtest::{self, Span};
use crate::replay::found::Tally;
use crate::replay::paper::Grants;
use crate::replay::trial::{Settings, Trial};
use crate::telemetry::clean;

const FIRST_ORDER: &str = "Each question is the one that was put then, with the attempts that were made then. After another decision the next question would have \
                           been another one, or none: that is not in these numbers. Grants are compared by name; no engine, no silence and no brake was asked.";

pub(super) async fn run(replay: &Replay, file: &Path) -> anyhow::Result<End> {
    let config = config::load(&replay.data.config.config).ok();
    let policy = policy(replay, file)?;
    let bytes = crate::decide::file::read(file)?;
    let plugin = Sandbox::new(None)?.load(&file.display().to_string(), &bytes).await?;
    let settings = match (replay.settings, &replay.policy) {
        (Some(Which::File), _) | (None, Some(_)) => Settings::File,
        (Some(Which::Recorded), _) | (None, None) => Settings::Recorded,
    };
    let wrong = plugin.check_settings(&policy.settings).await;
    if settings == Settings::File && !wrong.is_empty() {
        bail!(
            "the settings of policy {} do not fit {}: {}; change them, or try --settings recorded",
            clean(&policy.name, 120),
            file.display(),
            wrong.join("; ")
        );
    }
    let span = replay.span()?;
    let trial = Arc::new(trial(policy, &plugin, settings, config));
    let began = Instant::now();
    let progress = Progress::of("Asking again");
    let tally = backtest::run(replay.data.journal()?, Arc::clone(&trial), span, |done, of| progress.tell(done, of)).await?;
    drop(progress);
    if tally.questions == 0 {
        note(format!(
            "policy {} answered nothing between {} and {}, and would have matched nothing: is its name the one in the journal?",
            clean(&trial.policy.name, 120),
            span.since,
            span.until
        ));
    }
    let differs = tally.differences();
    if replay.output == Output::Json {
        print_json(&trial, &plugin, span, &tally, began)?;
    } else {
        print(&trial, &plugin, span, &tally, began);
    }
    Ok(if differs.is_empty() && tally.untold().is_empty() { End::Fine } else { End::Findings })
}

fn trial(policy: Policy, plugin: &Arc<Plugin>, settings: Settings, config: Option<Config>) -> Trial {
    let config = config.unwrap_or_default();
    let hosts = config.docker.hosts.keys().cloned().collect();
    let grants = Grants::new(&policy, plugin.manifest().actions.clone(), config.brakes, hosts);
    Trial { policy, plugin: Arc::clone(plugin) as _, settings, grants }
}

/// The policy that is meant.
fn policy(replay: &Replay, plugin: &Path) -> anyhow::Result<Policy> {
    if let Some(file) = &replay.policy {
        return Ok(Arc::unwrap_or_clone(config::load_policy(file)?.policy));
    }
    let file = plugin.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let config = config::load(&replay.data.config.config).context("--policy FILE says which policy it is for, or else")?;
    let all = config::load_policies(&config.policies)?;
    let named = |policy: &&config::LoadedPolicy| policy.policy.plugin.file == file;
    let mut fits: Vec<_> = all.iter().filter(named).map(|loaded| (&loaded.file, &loaded.policy)).collect();
    match (fits.pop(), fits.first()) {
        (Some((_, only)), None) => Ok((**only).clone()),
        (Some((one, _)), Some((other, _))) => bail!(
            "several policies have the plugin {}, such as {} and {}: say which with --policy FILE",
            clean(&file, 120),
            other.display(),
            one.display()
        ),
        (None, _) => bail!(
            "no policy in {} has a plugin called {}: say with --policy FILE which one this is a new version for",
            config.policies.display(),
            clean(&file, 120)
        ),
    }
}

fn which(settings: &Settings) -> &'static str {
    match settings {
        Settings::File => "file",
        Settings::Recorded => "recorded",
    }
}

fn print(trial: &Trial, plugin: &Plugin, span: Span, tally: &Tally, began: Instant) {
    let (differences, untold) = (tally.differences(), tally.untold());
    let sum = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
    let manifest = plugin.manifest();
    let digest = plugin.digest().get(..12).unwrap_or_default();
    line(format!(
        "{} with {} {} ({digest}), {} to {}",
        bold(&clean(&trial.policy.name, 120)),
        manifest.name,
        manifest.version,
        span.since,
        span.until
    ));
    line(match trial.settings {
        Settings::File => "  settings: those of the policy's file, for every question",
        Settings::Recorded => "  settings: those that each answer was given with; of the file where the policy was not asked",
    });
    let questions = tally.questions;
    let seconds = began.elapsed().as_secs_f64();
    line(format!("  questions:        {questions} (in {seconds:.1} s)"));
    line(format!("  the same:         {}", tally.same));
    line(format!("  in other words:   {}", tally.reworded));
    line(format!("  different:        {}", sum(&mut differences.iter().map(|one| one.found.count))));
    line(format!("  cannot be told:   {}", sum(&mut untold.iter().map(|one| one.found.count))));
    report::differences(&differences);
    report::named("It looks at what was not looked at then, so these cannot be told:", &untold);
    let title = format!("Of {} acts, the grants would have refused these:", tally.acts);
    report::named(&title, &tally.refused());
    report::named("Of these acts, only a container's labels tell whether they are granted:", &tally.unsure());
    line("");
    line(FIRST_ORDER);
}

fn print_json(trial: &Trial, plugin: &Plugin, span: Span, tally: &Tally, began: Instant) -> anyhow::Result<()> {
    let count = |all: &[crate::replay::found::Named]| all.iter().map(|one| one.found.count).sum::<u64>();
    let (differences, untold, refused) = (tally.differences(), tally.untold(), tally.refused());
    json(&value!({
        "policy": trial.policy.name, "plugin": plugin.digest(), "version": plugin.manifest().version, "settings": which(&trial.settings),
        "since": span.since.to_string(), "until": span.until.to_string(), "seconds": began.elapsed().as_secs_f64(),
        "questions": tally.questions, "same": tally.same, "reworded": tally.reworded,
        "different": differences.iter().map(|one| one.found.count).sum::<u64>(), "cannot_tell": count(&untold),
        "differences": differences, "unrecorded": untold,
        "acts": tally.acts, "refused": refused, "granted_by_label": tally.unsure(), "note": FIRST_ORDER,
    }))
}
