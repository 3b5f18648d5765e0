//! `paramedic ask`: what would be done about this alert, and why; nothing follows.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::output::{bold, json, line};
use super::{ConfigArg, End, Output};
use crate::action::Proposal;
use crate::alert::{Alert, IncidentId, Key, Via};
use crate::authorise::{Authoriser, Claim, Stop};
use crate::clock::Time;
use crate::config::{self, Config};
use crate::decide::lookup::live::Lookout;
use crate::decide::sandbox::Sandbox;
use crate::decide::{Decider, Loaded, Question};
use crate::incident::{Answer, Decision, Event, Incident, Mode, Rule, TargetView, Trigger, timeline};
use crate::journal::Journal;
use crate::look::Eyes;
use crate::receive::webhook;
use crate::server;
use crate::telemetry::clean;

const EXAMPLES: &str = "Examples:
  paramedic ask alert.json
  paramedic ask alert.json --tree --output json
  paramedic ask - --tree";

/// Ask what would be done about one alert, and why; does nothing
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
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
    /// Why the brakes were not looked at, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    unbraked: Option<String>,
}

/// One policy, and why it would take the alert or not.
#[derive(Serialize)]
struct Considered {
    policy: String,
    file: String,
    mode: Mode,
    takes: bool,
    /// Why it takes it, or why not.
    why: String,
    /// The matchers that do not match, with what is there instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mismatches: Vec<String>,
    /// The word of its answer, or of what it would answer: `pass`, `ignore`, `act`, `wait`, `escalate`, `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    /// The whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// Whether that would be allowed, and the first rule that says no.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<Allowed>,
    /// What would change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<String>,
}

/// What authorisation would say.
#[derive(Clone, Serialize)]
struct Allowed {
    yes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
    says: String,
}

/// Everything that is asked.
struct Asker {
    config: Config,
    files: Vec<String>,
    decider: Decider,
    authoriser: Authoriser,
    eyes: Arc<dyn Eyes>,
    /// For the brakes; without it they are not looked at, and this is why.
    journal: Result<Journal, String>,
}

impl Ask {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let (config, policies) = config::load_all(&self.config.config)?;
        let name = |file: &PathBuf| file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let files = policies.iter().map(|loaded| name(&loaded.file)).collect();
        let sandbox = Sandbox::beside(&config.data)?;
        let (loaded, _) = server::load(&sandbox, &config.plugins, policies, None).await?;
        let eyes: Arc<dyn Eyes> = Arc::new(server::world(&config)?);
        let authoriser = server::authoriser(&config, &eyes);
        let journal = Journal::read_only(&config.data).map_err(|why| why.to_string());
        let lookout = Lookout { eyes: Arc::clone(&eyes), journal: journal.clone() };
        let decider = Decider::new(loaded, sandbox, config.data.join("plugins")).looking(lookout);
        let asker = Asker { config, files, decider, authoriser, eyes, journal };
        let mut replies = Vec::new();
        for alert in read_alerts(&self.alert)? {
            replies.push(asker.reply(alert).await);
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
        self.policies.iter().filter(|considered| tree || considered.mismatches.is_empty()).for_each(|c| c.print(tree));
        line(format!("  => {}", self.verdict));
        if let Some(why) = &self.unbraked {
            line(format!("     (brakes were not looked at: {why})"));
        }
    }
}

impl Considered {
    fn print(&self, tree: bool) {
        line(format!("  {} {} ({}): {}", self.file, self.policy, self.mode.word(), self.why));
        let more = |text: &str| line(format!("      {text}"));
        self.mismatches.iter().for_each(|text| more(text));
        self.answer.iter().for_each(|text| more(text));
        if tree || self.mode == Mode::Observe {
            self.allowed.iter().for_each(|allowed| more(&allowed.says));
        }
        if tree {
            self.change.iter().for_each(|text| more(&format!("to change it: {text}")));
        }
    }
}

impl Asker {
    async fn reply(&self, alert: Alert) -> Reply {
        let now = Time::now();
        let id = IncidentId { key: Key::of(alert.family, &alert.labels, &self.config.identity.drop), n: 1 };
        let resolved = self.config.targets.resolve(&alert.labels, &self.eyes.hosts());
        let mut targets = Vec::new();
        for (target, inventory_host) in resolved.targets {
            let found = self.eyes.container(&target).await;
            let state = found.map_or("unknown".to_owned(), |c| c.map_or("missing".to_owned(), |c| c.state));
            targets.push(TargetView { target, inventory_host, state });
        }
        let mut reply = Reply {
            alert: clean(alert.name(), 120),
            targets: targets.iter().map(|view| format!("{} ({})", view.target, clean(&view.state, 40))).collect(),
            policies: Vec::new(),
            verdict: String::new(),
            unbraked: self.journal.as_ref().err().map(|why| clean(why, 300)),
        };
        let opened = Event::Opened { alert, via: Via::Webhook };
        let asked = Event::Asked { trigger: Trigger::Alert, targets: targets.clone(), ambiguous: resolved.ambiguous };
        if let Some(incident) = Incident::from_events(&id, [(1, now, &opened), (2, now, &asked)]) {
            let question = Question { incident, trigger: Trigger::Alert, targets };
            reply.verdict = self.consider_all(&question, now, &mut reply.policies).await;
        }
        reply
    }

    /// Every policy in the order in which they are asked; gives the verdict.
    async fn consider_all(&self, question: &Question, now: Time, considered: &mut Vec<Considered>) -> String {
        let (mut taken, mut verdict) = (None, "nothing: no policy takes it".to_owned());
        for (loaded, file) in self.decider.policies().iter().zip(&self.files) {
            let (one, would_take) = self.consider(loaded, file, question, now, taken.as_deref()).await;
            if would_take && taken.is_none() {
                let word = || format!("{}, says {}", one.decision.unwrap_or("?"), one.policy);
                verdict = one.allowed.as_ref().map_or_else(word, |allowed| allowed.says.clone());
                taken = Some(one.policy.clone());
            }
            considered.push(one);
        }
        verdict
    }

    /// One policy, asked alone; and whether it would take the alert if nobody did before.
    async fn consider(
        &self,
        loaded: &Loaded,
        file: &str,
        question: &Question,
        now: Time,
        taken: Option<&str>,
    ) -> (Considered, bool) {
        let (policy, labels) = (&loaded.policy, &question.incident.alert.labels);
        let mut one = Considered {
            policy: clean(&policy.name, 120),
            file: clean(file, 120),
            mode: policy.mode,
            takes: false,
            why: "does not match".to_owned(),
            mismatches: policy.matchers.mismatches(labels).map(|matcher| matcher.against(labels)).collect(),
            decision: None,
            answer: None,
            allowed: None,
            change: None,
        };
        if !one.mismatches.is_empty() {
            one.change = Some(format!("the labels of the alert, or `match` in {}", one.file));
            return (one, false);
        }
        let answer = self.decider.ask_alone(loaded, question, now).await;
        let told = timeline::tell([(now, &Event::Decided(answer.clone()))]);
        one.decision = Some(answer.decision.as_ref().map_or("error", Decision::word));
        one.answer = told.into_iter().next().map(|line| line.text);
        if let Ok(Decision::Act { proposals, .. }) = &answer.decision {
            one.allowed = Some(self.allowed(&question.incident, loaded, proposals).await);
        }
        let wants = matches!(&answer.decision, Ok(decision) if !matches!(decision, Decision::Pass { .. }));
        let would_take = wants && policy.mode.takes();
        one.takes = would_take && taken.is_none();
        (one.why, one.change) = why(&one, &answer, taken);
        (one, would_take)
    }

    async fn allowed(&self, incident: &Incident, loaded: &Loaded, proposals: &[Proposal]) -> Allowed {
        let claim = Claim { incident, policy: &loaded.policy, declared: &loaded.plugin.manifest().actions };
        let checked = match &self.journal {
            Ok(journal) => match self.authoriser.would(journal, claim, proposals).await {
                Ok(checked) => checked,
                Err(error) => {
                    let says = format!("it cannot be told: {}", clean(&error.to_string(), 300));
                    return Allowed { yes: false, rule: None, says };
                }
            },
            Err(_) => self.authoriser.check(claim, proposals).await,
        };
        match checked {
            Ok(actions) => {
                let all: Vec<String> = actions.iter().map(ToString::to_string).collect();
                let once = match loaded.policy.mode {
                    Mode::Approve => ", once a person approves it",
                    Mode::Observe => ", if it did not only observe",
                    Mode::Enforce => "",
                };
                Allowed { yes: true, rule: None, says: format!("would do {}{once}", all.join(", then ")) }
            }
            Err(Stop::Refused { rule, message, .. }) => no("REFUSED", rule, &message),
            Err(Stop::Held { rule, message, .. }) => no("HELD", rule, &message),
        }
    }
}

fn no(word: &str, rule: Rule, message: &str) -> Allowed {
    Allowed { yes: false, rule: Some(rule), says: format!("{word} [{rule}]: {}", clean(message, 600)) }
}

/// Why a policy that matches takes the alert or not, and what would change it.
fn why(one: &Considered, answer: &Answer, taken: Option<&str>) -> (String, Option<String>) {
    let file = &one.file;
    match (&answer.decision, taken) {
        (Err(_), _) => (
            "matches, but cannot answer; the next one is asked".to_owned(),
            Some("its plugin, its settings or its limits: `paramedic policy inspect` says what the plugin wants".to_owned()),
        ),
        (Ok(Decision::Pass { .. }), _) => {
            ("matches, and passes; the next one is asked".to_owned(), Some(format!("its plugin, or `settings` in {file}")))
        }
        (Ok(_), _) if one.mode == Mode::Observe => {
            ("matches, and only observes".to_owned(), Some(format!("`mode: approve` or `mode: enforce` in {file}")))
        }
        (Ok(_), Some(first)) => (
            format!("matches, but {first} takes it first"),
            Some(format!("a narrower `match` of {first}, or a file name that comes before")),
        ),
        (Ok(_), None) => ("takes it".to_owned(), None),
    }
}
