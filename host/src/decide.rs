//! Which policy is asked, and what it answers.
//!
//! Policies are asked in file-name order; the first enforced or approved one that answers anything but `pass` takes the incident and is
//! asked alone from then on, with the plugin and the settings it had then. Observing policies are asked once, on the first
//! firing: what they would have done is written down, and nothing waits for them. A policy that cannot answer
//! is written down too, and the next one is asked. Absent on purpose: anything that is allowed or done.

mod bindings;
pub mod compile;
pub mod file;
mod guest;
mod load;
pub mod lookup;
pub mod measure;
pub mod plugin;
pub mod question;
pub mod sandbox;
mod schema;
mod shapes;
mod slow;
pub mod told;
pub mod trial;
mod wasi;

use std::path::PathBuf;
use std::sync::Arc;

use lookup::Lookups;
use lookup::live::Lookout;
use plugin::Judge;
use question::Brief;
use sandbox::Sandbox;

use crate::alert::Labels;
use crate::clock::Time;
use crate::incident::{Allowance, Answer, Decision, Incident, Mode, Owner, TargetView, Trigger};
use crate::journal::Journalled;
use crate::policy::{Limits, Policy};
use crate::telemetry::clean;

/// So many policies are named when none of them matches.
const MOST_EXPLAINED: usize = 3;

/// A policy with its plugin, ready to be asked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The policy as written; the same one for whoever needs it.
    pub policy: Arc<Policy>,
    /// Its plugin.
    pub plugin: Arc<dyn Judge>,
}

/// What is asked: everything the plugin will be told. Only what is on disk can be asked ([`Journalled`]).
#[derive(Clone, Debug)]
pub struct Question {
    /// The incident as the journal had it when the question was written.
    pub incident: Incident,
    /// Why it is asked.
    pub trigger: Trigger,
    /// The targets as they were then.
    pub targets: Vec<TargetView>,
}

/// Asks policies.
#[derive(Debug)]
pub struct Decider {
    policies: Vec<Loaded>,
    sandbox: Arc<Sandbox>,
    /// Where every plugin that an incident may depend on is kept, as `<sha256>.wasm`.
    kept: PathBuf,
    /// What plugins can look at; `None`: nothing.
    lookout: Option<Arc<Lookout>>,
}

impl Decider {
    /// `policies` in file-name order; `kept` is the folder of the plugins that open incidents depend on. They can look at nothing.
    pub fn new(policies: Vec<Loaded>, sandbox: Arc<Sandbox>, kept: PathBuf) -> Self {
        Self { policies, sandbox, kept, lookout: None }
    }

    /// The same, whose plugins can look at this, as far as their policies grant it.
    #[must_use]
    pub fn looking(self, lookout: Lookout) -> Self {
        Self { lookout: Some(Arc::new(lookout)), ..self }
    }

    /// All policies, in the order in which they are asked.
    pub fn policies(&self) -> &[Loaded] {
        &self.policies
    }

    /// The policy of that name, as the files say now.
    pub fn policy(&self, name: &str) -> Option<&Loaded> {
        self.policies.iter().find(|loaded| loaded.policy.name == name)
    }

    /// Which matcher of which policy keeps these labels away, for the first few; empty when nothing does.
    pub fn why_unmatched(&self, labels: &Labels) -> String {
        let why = |loaded: &Loaded| {
            let matcher = loaded.policy.matchers.first_mismatch(labels)?;
            Some(format!("{} wants {}", clean(&loaded.policy.name, 100), matcher.against(labels)))
        };
        let all: Vec<String> = self.policies.iter().filter_map(why).collect();
        let (few, more) = all.split_at(all.len().min(MOST_EXPLAINED));
        match (few, more.len()) {
            ([], _) => String::new(),
            (few, 0) => format!(": {}", few.join("; ")),
            (few, more) => format!(": {}; and {more} more, which `paramedic ask --tree` tells", few.join("; ")),
        }
    }

    /// Asks whoever has to be asked. The last answer is the one that counts, if any does.
    pub async fn decide(&self, question: &Journalled<Question>) -> Vec<Answer> {
        self.rehearse(question.value(), question.at()).await
    }

    /// What would be answered to this question at this moment. Nothing can follow from it: only [`Decider::decide`] is written down.
    pub async fn rehearse(&self, question: &Question, now: Time) -> Vec<Answer> {
        match &question.incident.owner {
            Some(owner) => vec![self.ask_owner(owner, question, now).await],
            None => self.ask_all(question, now).await,
        }
    }

    async fn ask_all(&self, question: &Question, now: Time) -> Vec<Answer> {
        let first = question.incident.answers == 0;
        let mut answers = Vec::new();
        let mut taken = false;
        for Loaded { policy, plugin } in &self.policies {
            let asked = match policy.mode {
                Mode::Observe => first,
                Mode::Approve | Mode::Enforce => !taken,
            };
            if !asked || !policy.matchers.matches(&question.incident.alert.labels) {
                continue;
            }
            let brief = self.brief(question, now, policy, policy.settings.clone());
            let answer = ask(policy, policy.mode, &**plugin, brief).await;
            taken |=
                policy.mode.takes() && matches!(&answer.decision, Ok(decision) if !matches!(decision, Decision::Pass { .. }));
            answers.push(answer);
        }
        answers
    }

    /// What this policy alone would answer, whoever else there is. Nothing can follow from it.
    pub async fn ask_alone(&self, loaded: &Loaded, question: &Question, now: Time) -> Answer {
        let Loaded { policy, plugin } = loaded;
        ask(policy, policy.mode, &**plugin, self.brief(question, now, policy, policy.settings.clone())).await
    }

    /// The owner answers with the plugin it had when it took the incident; the mode, and what it may look at, are those of today's file.
    async fn ask_owner(&self, owner: &Owner, question: &Question, now: Time) -> Answer {
        let loaded = self.policy(&owner.policy).filter(|loaded| loaded.policy.mode.takes());
        let mode = loaded.map_or(Mode::Enforce, |loaded| loaded.policy.mode);
        let unanswered = |why: String| Answer {
            policy: owner.policy.clone(),
            mode,
            plugin: owner.plugin.clone(),
            settings: owner.settings.clone(),
            decision: Err(why),
            log: Vec::new(),
            lookups: Vec::new(),
            policy_file: String::new(),
            limits: None,
            micros: 0,
        };
        let Some(loaded) = loaded else {
            let why = format!("policy {}, to which this incident belongs, is gone, or only observes now", owner.policy);
            return unanswered(why);
        };
        match self.plugin(&owner.plugin).await {
            Ok(plugin) => {
                let brief = self.brief(question, now, &loaded.policy, owner.settings.clone());
                ask(&loaded.policy, mode, &*plugin, brief).await
            }
            Err(why) => unanswered(format!(
                "the plugin with which policy {} took this incident cannot be loaded: {why}; put the file back and retry, or close the incident: the next firing gets the plugin of today",
                owner.policy
            )),
        }
    }

    /// All that a plugin is told about this question when it is asked for this policy.
    fn brief(&self, question: &Question, now: Time, policy: &Policy, settings: serde_json::Value) -> Brief {
        let lookups: Arc<dyn Lookups> = match &self.lookout {
            Some(lookout) => lookout.through(policy, &question.incident.id, now),
            None => Arc::new(lookup::Blind),
        };
        brief(question, now, settings, lookups)
    }

    /// The plugin with that digest: one that is loaded, or one that was kept.
    ///
    /// # Errors
    /// In words.
    pub async fn plugin(&self, digest: &str) -> Result<Arc<dyn Judge>, String> {
        if let Some(loaded) = self.policies.iter().find(|loaded| loaded.plugin.digest() == digest) {
            return Ok(Arc::clone(&loaded.plugin));
        }
        let name = format!("{digest}.wasm");
        let path = self.kept.join(&name);
        let bytes = tokio::task::spawn_blocking(move || file::read(&path)).await.map_err(|error| error.to_string())?;
        let bytes = bytes.map_err(|error| error.to_string())?;
        let plugin = self.sandbox.load(&name, &bytes).await.map_err(|error| error.to_string())?;
        if plugin.digest() == digest { Ok(plugin) } else { Err(format!("{name} was altered")) }
    }
}

/// All that a plugin is told, of a question that was put at this moment.
pub(crate) fn brief(question: &Question, now: Time, settings: serde_json::Value, lookups: Arc<dyn Lookups>) -> Brief {
    let Question { incident, trigger, targets } = question;
    Brief {
        id: incident.id.clone(),
        alert: incident.alert.clone(),
        first_seen: incident.opened_at,
        trigger: *trigger,
        attempts: incident.attempts.iter().map(told::attempt).collect(),
        targets: targets.clone(),
        settings,
        now,
        lookups,
    }
}

async fn ask(policy: &Policy, mode: Mode, plugin: &dyn Judge, brief: Brief) -> Answer {
    let Limits { deadline, memory, lookups } = policy.limits.clone();
    let limits = sandbox::Limits { deadline, memory, lookups };
    let ruling = plugin.decide(&brief, &limits).await;
    Answer {
        policy: policy.name.clone(),
        mode,
        plugin: plugin.digest().to_owned(),
        settings: brief.settings,
        decision: ruling.decision.map_err(|failure| failure.to_string()),
        log: ruling.log,
        lookups: ruling.lookups,
        policy_file: policy.digest.clone(),
        limits: Some(allowance(&limits)),
        micros: ruling.micros,
    }
}

fn allowance(limits: &sandbox::Limits) -> Allowance {
    let millis = |length: std::time::Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Allowance { deadline_ms: millis(limits.deadline), memory: limits.memory, lookups_ms: millis(limits.lookups) }
}
