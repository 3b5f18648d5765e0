//! `paramedic observe`: the first five minutes of a sceptic. No configuration, no socket, no root; reads only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::output::{bold, json, line, note, table};
use super::{End, Output};
use crate::action::Proposal;
use crate::alert::{Alert, IncidentId, Key};
use crate::clock::{Time, print_duration};
use crate::config;
use crate::decide::lookup::live::Lookout;
use crate::decide::sandbox::Sandbox;
use crate::decide::{Decider, Loaded, Question};
use crate::incident::{Decision, Event, Incident, TargetView, Trigger};
use crate::look::alertmanager::{self, Alertmanager};
use crate::look::docker::{self, Engines};
use crate::look::http::BaseUrl;
use crate::look::prometheus::{self, Prometheus};
use crate::look::sight::Sources;
use crate::look::{World, targets};
use crate::policy::Policy;
use crate::receive::poll::{EVERY, Poller};
use crate::server;
use crate::telemetry::clean;

const EXAMPLES: &str = "Examples:
  paramedic observe --prometheus http://localhost:9090 --alertmanager http://localhost:9093
  paramedic observe --prometheus http://localhost:9090 --policies policies --output json";

/// Labels that only tell replicas apart, as in an empty configuration.
const DROP: [&str; 2] = ["replica", "prometheus_replica"];

/// Look at a Prometheus and an Alertmanager and say what Paramedic would do; needs no configuration and changes nothing
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Observe {
    /// A Prometheus, such as http://localhost:9090
    #[arg(long)]
    prometheus: Option<String>,
    /// An Alertmanager, such as http://localhost:9093
    #[arg(long)]
    alertmanager: Option<String>,
    /// The policies to try
    #[arg(long, default_value = "policies")]
    policies: PathBuf,
    /// Where their plugins are
    #[arg(long, default_value = "target/plugins")]
    plugins: PathBuf,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// One firing alert, and what would be done about it.
#[derive(Serialize)]
struct Finding {
    alert: String,
    labels: BTreeMap<String, String>,
    firing_for: String,
    targets: Vec<String>,
    would: String,
}

impl Observe {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let sources = self.sources()?;
        let poller = Poller::new(&sources, EVERY);
        let mut alerts: BTreeMap<Key, Alert> = BTreeMap::new();
        let mut reached = 0;
        for (who, _, listed) in poller.once().await {
            match listed {
                Ok(listed) => {
                    reached += 1;
                    alerts.extend(listed.into_iter().map(|alert| (key(&alert), alert)));
                }
                Err(error) => note(format!("{who}: {error}")),
            }
        }
        if reached == 0 {
            bail!("nothing could be asked; is the address right, and does this machine reach it?");
        }
        let decider = self.decider(&sources).await;
        let mut findings = Vec::new();
        for (key, alert) in alerts {
            findings.push(find(&decider, key, alert).await);
        }
        if self.output == Output::Json {
            json(&findings)?;
        } else {
            print(&findings);
        }
        Ok(End::Fine)
    }

    fn sources(&self) -> anyhow::Result<Sources> {
        if self.prometheus.is_none() && self.alertmanager.is_none() {
            bail!("say what to look at: --prometheus URL, --alertmanager URL, or both");
        }
        let url = |text: &String| BaseUrl::parse(text).map_err(anyhow::Error::msg);
        let prometheus =
            self.prometheus.as_ref().map(|text| anyhow::Ok(Prometheus::new(&prometheus::Settings::new(url(text)?))?));
        let alertmanager =
            self.alertmanager.as_ref().map(|text| anyhow::Ok(Alertmanager::new(&alertmanager::Settings::new(url(text)?))?));
        Ok(Sources {
            prometheus: prometheus.transpose()?.map(Arc::new).into_iter().collect(),
            alertmanager: alertmanager.transpose()?.map(Arc::new).into_iter().collect(),
            drop: DROP.map(str::to_owned).into(),
        })
    }

    /// The policies to try. Without any, alerts and targets are shown all the same.
    async fn decider(&self, sources: &Sources) -> Option<Decider> {
        let loaded = self.load(sources).await;
        match loaded {
            Ok(decider) => Some(decider),
            Err(error) => {
                note(format!("Showing alerts only, since there are no policies to try: {error:#}"));
                None
            }
        }
    }

    /// Plugins can ask for metrics, as far as their policies grant it; no engine is asked here, and there is no journal.
    async fn load(&self, sources: &Sources) -> anyhow::Result<Decider> {
        let policies = config::load_policies(&self.policies)?;
        let sandbox = Sandbox::new(None)?;
        let (loaded, _) = server::load(&sandbox, &self.plugins, policies, None).await?;
        let nowhere = docker::Settings { hosts: BTreeMap::new() };
        let world = World { engines: Arc::new(Engines::connect(&nowhere)?), sources: sources.clone(), ansible: None };
        let journal = Err("`paramedic observe` reads no journal".to_owned());
        Ok(Decider::new(loaded, sandbox, PathBuf::new()).looking(Lookout { eyes: Arc::new(world), journal }))
    }
}

fn key(alert: &Alert) -> Key {
    Key::of(alert.family, &alert.labels, &DROP.map(str::to_owned))
}

async fn find(decider: &Option<Decider>, key: Key, alert: Alert) -> Finding {
    let now = Time::now();
    let local: Vec<_> = "local".parse().into_iter().collect();
    let resolved = targets::Rules::default().resolve(&alert.labels, &local);
    let targets: Vec<TargetView> = resolved
        .targets
        .into_iter()
        .map(|(target, inventory_host)| TargetView { target, inventory_host, state: "unknown".to_owned() })
        .collect();
    let would = match decider {
        Some(decider) => would(decider, IncidentId { key, n: 1 }, &alert, &targets, now).await,
        None => "-".to_owned(),
    };
    Finding {
        firing_for: print_duration(now.since(alert.starts_at)),
        targets: targets.iter().map(|view| view.target.to_string()).collect(),
        alert: clean(alert.name(), 120),
        labels: alert.labels,
        would,
    }
}

async fn would(decider: &Decider, id: IncidentId, alert: &Alert, targets: &[TargetView], now: Time) -> String {
    let opened = Event::Opened { alert: alert.clone(), via: crate::alert::Via::Prometheus };
    let Some(incident) = Incident::from_events(&id, [(1, now, &opened)]) else { return "-".to_owned() };
    let matching: Vec<&Loaded> = decider.policies().iter().filter(|l| l.policy.matchers.matches(&alert.labels)).collect();
    if matching.is_empty() {
        return "nothing: no policy matches it".to_owned();
    }
    let question = Question { incident, trigger: Trigger::Alert, targets: targets.to_vec() };
    let answers = decider.rehearse(&question, now).await;
    let taken = answers.iter().rev().find(|answer| !matches!(answer.decision, Ok(Decision::Pass { .. })));
    let Some(answer) = taken else { return "nothing: every policy that matches it passed".to_owned() };
    let policy = matching.iter().find(|loaded| loaded.policy.name == answer.policy).map(|loaded| &loaded.policy);
    match (&answer.decision, policy) {
        (Ok(Decision::Act { proposals, .. }), Some(policy)) => {
            let all: Vec<String> = proposals.iter().map(|proposal| granted(policy, proposal)).collect();
            all.join(", then ")
        }
        (Ok(decision), _) => format!("{}: {}", decision.word(), clean(decision.reason(), 200)),
        (Err(why), _) => format!("nothing: {} cannot decide: {}", clean(&answer.policy, 60), clean(why, 200)),
    }
}

/// By name only: nothing is asked about the container here.
fn granted(policy: &Policy, proposal: &Proposal) -> String {
    let what = clean(&proposal.to_string(), 200);
    let name = clean(&policy.name, 60);
    let allowed = match proposal {
        Proposal::Docker { verb, target, signal, .. } => {
            let signal = signal.as_ref().map(|signal| signal.parse()).transpose();
            let allows =
                |target| signal.is_ok_and(|signal| policy.grants.allows_docker(*verb, signal, &target, &BTreeMap::new()));
            target.parse().is_ok_and(allows)
        }
        Proposal::Playbook { name, .. } => policy.grants.ansible.iter().any(|grant| grant.playbook == *name),
        // Of silences only that some are granted: which, their matchers decide.
        Proposal::Silence { .. } => !policy.grants.alertmanager.silence.is_empty(),
        Proposal::ExpireSilence { .. } => policy.grants.alertmanager.expire,
        Proposal::Notify { channel, .. } => policy.grants.notify.contains(channel),
    };
    if allowed { format!("{what} (granted to {name})") } else { format!("{what}, but REFUSED: {name} has no grant for it") }
}

fn print(findings: &[Finding]) {
    if findings.is_empty() {
        line("Nothing fires.");
        return;
    }
    line(bold(&format!("{} alerts fire; nothing was done, and this command cannot do anything.", findings.len())));
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|f| {
            let targets = if f.targets.is_empty() { "none known".to_owned() } else { f.targets.join(",") };
            vec![f.alert.clone(), f.firing_for.clone(), targets, f.would.clone()]
        })
        .collect();
    table(&["ALERT", "FIRING FOR", "TARGET", "PARAMEDIC WOULD"], &rows);
}
