//! `paramedic ask`: what would be done about this alert, and why; nothing follows.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::output::{bold, json, line};
use super::{ConfigArg, End, Output};
use crate::alert::{Alert, IncidentId, Key, Via};
use crate::authorise::{Authoriser, Claim, Stop};
use crate::clock::Time;
use crate::config::{self, Config};
use crate::decide::sandbox::Sandbox;
use crate::decide::{Decider, Loaded, Question};
use crate::incident::{Answer, Decision, Event, Incident, Mode, TargetView, Trigger, timeline};
use crate::look::Eyes;
use crate::receive::webhook;
use crate::server;
use crate::telemetry::clean;

/// Ask what would be done about one alert, and why; does nothing
#[derive(Args, Debug)]
pub struct Ask {
    /// An Alertmanager webhook message, or `-` to read it from standard input
    alert: PathBuf,
    #[command(flatten)]
    config: ConfigArg,
    /// Show for every policy why it took the alert or not
    #[arg(long)]
    tree: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What would be done about one alert.
#[derive(Serialize)]
struct Reply {
    alert: String,
    targets: Vec<String>,
    policies: Vec<Considered>,
    verdict: String,
}

/// One policy, and why it would take the alert or not.
#[derive(Serialize)]
struct Considered {
    policy: String,
    mode: Mode,
    says: String,
}

impl Ask {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let (config, policies) = config::load_all(&self.config.config)?;
        let sandbox = Sandbox::new(None)?;
        let loaded = server::load(&sandbox, &config.plugins, policies, None).await?;
        let decider = Decider::new(loaded, sandbox, config.data.join("plugins"));
        let eyes: Arc<dyn Eyes> = Arc::new(server::world(&config)?);
        let authoriser = server::authoriser(&config, &eyes);
        let mut replies = Vec::new();
        for alert in read_alerts(&self.alert)? {
            replies.push(reply(&config, &decider, &authoriser, &*eyes, alert).await);
        }
        if self.output == Output::Json {
            json(&replies)?;
        } else {
            replies.iter().for_each(|reply| reply.print(self.tree));
        }
        Ok(End::Fine)
    }
}

fn read_alerts(path: &PathBuf) -> anyhow::Result<Vec<Alert>> {
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut text).context("standard input cannot be read")?;
    } else {
        text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    webhook::parse_all(&text).with_context(|| format!("{} is no Alertmanager webhook message", path.display()))
}

impl Reply {
    fn print(&self, tree: bool) {
        line(bold(&self.alert));
        line(format!("  targets: {}", if self.targets.is_empty() { "none known".to_owned() } else { self.targets.join(", ") }));
        let shown = self.policies.iter().filter(|considered| tree || !considered.says.starts_with("does not match"));
        for considered in shown {
            line(format!("  {} ({}): {}", considered.policy, considered.mode.word(), considered.says));
        }
        line(format!("  => {}", self.verdict));
    }
}

async fn reply(config: &Config, decider: &Decider, authoriser: &Authoriser, eyes: &dyn Eyes, alert: Alert) -> Reply {
    let now = Time::now();
    let id = IncidentId { key: Key::of(alert.family, &alert.labels, &config.identity.drop), n: 1 };
    let name = clean(alert.name(), 120);
    let resolved = config.targets.resolve(&alert.labels, &eyes.hosts());
    let mut targets = Vec::new();
    for (target, inventory_host) in resolved.targets {
        let state = eyes.container(&target).await.map_or("unknown".to_owned(), |c| c.map_or("missing".to_owned(), |c| c.state));
        targets.push(TargetView { target, inventory_host, state });
    }
    let opened = Event::Opened { alert, via: Via::Webhook };
    let asked = Event::Asked { trigger: Trigger::Alert, targets: targets.clone(), ambiguous: resolved.ambiguous };
    let story = [(1, now, &opened), (2, now, &asked)];
    let mut reply = Reply {
        alert: name,
        targets: targets.iter().map(|view| format!("{} ({})", view.target, clean(&view.state, 40))).collect(),
        policies: Vec::new(),
        verdict: "nothing: no policy takes it".to_owned(),
    };
    let Some(mut incident) = Incident::from_events(&id, story) else { return reply };
    let answers = decider.rehearse(&Question { incident: incident.clone(), trigger: Trigger::Alert, targets }, now).await;
    reply.policies = decider.policies().iter().map(|loaded| considered(loaded, &incident, &answers)).collect();
    for answer in answers {
        incident.apply(incident.seq + 1, now, &Event::Decided(answer.clone()));
        if let (Some(owner), Ok(decision)) = (&incident.owner, &answer.decision) {
            let loaded = decider.policy(&owner.policy).filter(|_| answer.mode.takes());
            if let Some(loaded) = loaded {
                reply.verdict = verdict(authoriser, &incident, loaded, decision).await;
            }
        }
    }
    reply
}

fn considered(loaded: &Loaded, incident: &Incident, answers: &[Answer]) -> Considered {
    let policy = &loaded.policy;
    let answer = answers.iter().find(|answer| answer.policy == policy.name);
    let says = match (policy.matchers.first_mismatch(&incident.alert.labels), answer) {
        (Some(matcher), _) => format!("does not match: {matcher}"),
        (None, Some(answer)) => {
            timeline::tell([(Time::now(), &Event::Decided(answer.clone()))]).pop().map_or(String::new(), |line| line.text)
        }
        (None, None) => "matches, but an earlier policy took it".to_owned(),
    };
    Considered { policy: clean(&policy.name, 120), mode: policy.mode, says }
}

async fn verdict(authoriser: &Authoriser, incident: &Incident, loaded: &Loaded, decision: &Decision) -> String {
    let Decision::Act { proposals, .. } = decision else {
        return format!("{}: {}", decision.word(), clean(decision.reason(), 600));
    };
    let claim = Claim { incident, policy: &loaded.policy, declared: &loaded.plugin.manifest().actions };
    match authoriser.check(claim, proposals).await {
        Ok(actions) => {
            let all: Vec<String> = actions.iter().map(ToString::to_string).collect();
            let first = if loaded.policy.mode == Mode::Approve { ", once a person approves it" } else { "" };
            format!("would do {}{first} (brakes are not looked at here)", all.join(", then "))
        }
        Err(Stop::Refused { rule, message, .. }) => format!("REFUSED [{rule}]: {}", clean(&message, 600)),
        Err(Stop::Held { rule, message, .. }) => format!("HELD [{rule}]: {}", clean(&message, 600)),
    }
}
