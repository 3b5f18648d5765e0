//! `paramedic replay --prometheus URL`: what Paramedic would have done about the alerts of the last month.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use serde_json::json as value;

use super::{Assume, Replay, report};
use crate::alert::Labels;
use crate::cli::output::{Progress, bold, json, line, note, table};
use crate::cli::{End, Output};
use crate::clock::spell_duration;
use crate::config::{self, Config, LoadedPolicy};
use crate::decide::Decider;
use crate::decide::sandbox::Sandbox;
use crate::incident::Mode;
use crate::look::http::BaseUrl;
use crate::look::prometheus::{self, Prometheus};
use crate::replay::backtest::Span;
use crate::replay::course::{Assumed, Course, Helps, Rulebook};
use crate::replay::outcome::{Done, NOBODY, Outcome};
use crate::replay::series::{self, LACKING};
use crate::replay::unless::Unless;
use crate::server;
use crate::telemetry::clean;

/// Shorter steps are more samples than anybody needs.
const SHORTEST_STEP: Duration = Duration::from_secs(1);
/// How often it is told how far it is.
const TELL: Duration = Duration::from_millis(500);
/// Rows of a table that are shown.
const ROWS: usize = 40;

pub(super) async fn run(replay: &Replay, url: &str) -> anyhow::Result<End> {
    ensure!(replay.step >= SHORTEST_STEP, "--step is at least 1s: Prometheus evaluates its rules no more often");
    let (config, policies) = configured(replay)?;
    let span = replay.span()?;
    let prometheus = open(&config, url)?;
    let external = prometheus.external_labels().await.unwrap_or_else(|error| {
        note(format!("{error}; alerts are taken without its external labels"));
        Labels::new()
    });
    let sandbox = Sandbox::beside(&config.data)?;
    let (loaded, _) = server::load(&sandbox, &config.plugins, policies, None).await?;
    let progress = Progress::of("Asking Prometheus");
    let drop_labels = &config.identity.drop;
    let rebuilt =
        series::rebuild(&prometheus, span, replay.step, drop_labels, &external, |done, of| progress.tell(done, of)).await;
    drop(progress);
    let episodes = rebuilt.context("the alerts of that time cannot be rebuilt")?;

    let expressions = loaded.iter().flat_map(|loaded| loaded.policy.unless.clone()).collect();
    let unless = Unless::rebuild(&prometheus, span, replay.step, expressions).await.map_err(|(promql, error)| {
        anyhow!("`unless: {}` cannot be asked of that time: {error}; correct it, or leave it out", clean(&promql, 200))
    })?;

    let assumed = Assumed { helps: helps(replay), takes: replay.takes };
    let rules = Rulebook {
        targets: config.targets.clone(),
        hosts: config.docker.hosts.keys().cloned().collect(),
        brakes: config.brakes.clone(),
        maintenance: config.maintenance.clone(),
        max_age: config.max_age,
        unless,
    };
    let course = Course::new(|policies| Decider::new(policies, sandbox, PathBuf::new()), loaded, rules, assumed);
    let (alerts, done) = (episodes.len() as u64, Arc::new(AtomicU64::new(0)));
    let (progress, counted) = (Progress::of("Going through the alerts"), Arc::clone(&done));
    let mut going = tokio::task::spawn_blocking(move || course.run(&episodes, span.until, &counted));
    let outcome = loop {
        tokio::select! {
            gone = &mut going => break gone.context("going through the alerts broke off")??,
            () = tokio::time::sleep(TELL) => progress.tell(done.load(Ordering::Relaxed), alerts),
        }
    };
    drop(progress);
    if replay.output == Output::Json {
        print_json(replay, span, &outcome)?;
    } else {
        print(replay, url, span, &outcome);
    }
    Ok(End::Fine)
}

/// The configuration, if there is one, and the policies as they are taken.
fn configured(replay: &Replay) -> anyhow::Result<(Config, Vec<LoadedPolicy>)> {
    let file = &replay.data.config.config;
    let mut config = match config::load(file) {
        Ok(config) => config,
        Err(_) if replay.policies.is_some() && !file.exists() => Config::default(),
        Err(error) if replay.policies.is_none() && !file.exists() => {
            return Err(error).context("without a configuration, --policies DIR and --plugins DIR say what to try");
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(plugins) = &replay.plugins {
        config.plugins.clone_from(plugins);
    }
    let mut policies = config::load_policies(replay.policies.as_ref().unwrap_or(&config.policies))?;
    ensure!(!policies.is_empty(), "there is no policy to try: write one, or name another folder with --policies DIR");
    for loaded in &mut policies {
        // A person who is asked is taken to say yes.
        if loaded.policy.mode == Mode::Approve || !replay.as_written {
            Arc::make_mut(&mut loaded.policy).mode = Mode::Enforce;
        }
    }
    Ok((config, policies))
}

/// With the token of the configuration, where that is about the same Prometheus.
fn open(config: &Config, url: &str) -> anyhow::Result<Prometheus> {
    let url = BaseUrl::parse(url).map_err(anyhow::Error::msg)?;
    let settings = match &config.prometheus {
        Some(settings) if settings.url == url => settings.clone(),
        _ => prometheus::Settings::new(url),
    };
    Ok(Prometheus::new(&settings)?)
}

fn helps(replay: &Replay) -> Helps {
    match replay.assume {
        None => Helps::AsInSeries,
        Some(Assume::Healed) => Helps::Always,
        Some(Assume::NotHealed) => Helps::Never,
    }
}

fn assumptions(replay: &Replay) -> Vec<String> {
    let helped = match replay.assume {
        None => "it helped if the alert ended by itself within `verify.within` of its policy",
        Some(Assume::Healed) => "it always helps",
        Some(Assume::NotHealed) => "it never helps",
    };
    let modes = if replay.as_written {
        "policies that observe only observe, and whoever is asked for approval says yes at once"
    } else {
        "every policy is enforced, whatever its mode (--as-written leaves those that observe)"
    };
    vec![
        format!("each action takes {} and succeeds; {helped}", spell_duration(replay.takes)),
        modes.to_owned(),
        "every container that is named is there, and has no labels: what is granted by label only is refused".to_owned(),
        "brakes.minimum_healthy and brakes.storm_share look at containers, and are left out".to_owned(),
        "`unless` had a result where this Prometheus still has one, to within one step; what it has forgotten held nothing"
            .to_owned(),
        "what happened in the series happened without Paramedic, and what it would have changed is not in it".to_owned(),
    ]
}

fn print_json(replay: &Replay, span: Span, outcome: &Outcome) -> anyhow::Result<()> {
    json(&value!({
        "since": span.since.to_string(), "until": span.until.to_string(), "step": spell_duration(replay.step),
        "outcome": outcome, "assumed": assumptions(replay), "lacking": LACKING,
    }))
}

fn print(replay: &Replay, url: &str, span: Span, outcome: &Outcome) {
    line(bold(&format!("What Paramedic would have done, {} to {}", span.since, span.until)));
    line(format!("  by the ALERTS of {}, at steps of {}", clean(url, 200), spell_duration(replay.step)));
    let cut = if outcome.cut > 0 { format!(", {} of them since before", outcome.cut) } else { String::new() };
    line(format!("  alerts that fired: {}{cut}", outcome.alerts));
    if outcome.joined > 0 {
        line(format!("  of these, {} while their last incident was still worked on", outcome.joined));
    }
    line("");
    let head = ["POLICY", "INCIDENTS", "ACTED", "ACTIONS", "HEALED", "HELD", "REFUSED", "TO PEOPLE", "LEFT"];
    let rows: Vec<_> = outcome.policies.iter().map(|(name, done)| row(vec![named(name)], done)).collect();
    table(&head, &rows);
    line("");
    let by_alert = outcome.by_alert.iter().flat_map(|(policy, alerts)| alerts.iter().map(move |alert| (policy, alert)));
    let mut rows: Vec<_> = by_alert.map(|(policy, (alert, done))| (done, vec![alert.clone(), named(policy)])).collect();
    rows.sort_by_key(|(done, _)| std::cmp::Reverse(done.incidents));
    let rows: Vec<_> = rows.into_iter().take(ROWS).map(|(done, names)| row(names, done)).collect();
    table(&[&["ALERT"], &head[..]].concat(), &rows);
    rules(outcome);
    for (policy, (times, first)) in &outcome.errors {
        line(format!("{policy} could not decide {times} times: {first}"));
    }
    for (policy, words) in &outcome.observed {
        let words: Vec<String> = words.iter().map(|(word, times)| format!("{word} {times}")).collect();
        line(format!("{policy}, observing, would have said: {}", words.join(", ")));
    }
    if outcome.endless > 0 {
        line(format!("{} incidents were left in the middle: their policy asks to be asked again without end", outcome.endless));
    }
    line("");
    line("Assumed:");
    assumptions(replay).iter().for_each(|text| line(format!("  - {text}")));
    line("What the series do not tell:");
    LACKING.iter().for_each(|text| line(format!("  - {text}")));
}

fn rules(outcome: &Outcome) {
    if !outcome.rules.is_empty() {
        line("");
        line("What would have said no:");
        for said in &outcome.rules {
            report::times(
                &format!("{} ({}) of {}, about {} incidents", said.rule, said.how, said.policy, said.incidents),
                &said.times,
            );
            line(format!("      {}", said.message));
        }
    }
    if !outcome.people.is_empty() {
        line("");
        line("What would have gone to people:");
        for call in outcome.people.iter().take(ROWS) {
            line(format!("  {} calls  {} of {}: {}", call.calls, call.alert, named(&call.policy), call.reason));
        }
    }
}

fn named(policy: &str) -> String {
    if policy == NOBODY { "(nobody's)".to_owned() } else { policy.to_owned() }
}

fn row(mut cells: Vec<String>, done: &Done) -> Vec<String> {
    let actions: u64 = done.actions.values().sum();
    let numbers = [done.incidents, done.acted, actions, done.healed, done.held, done.refused, done.to_people, done.left];
    cells.extend(numbers.map(|number| number.to_string()));
    cells
}
