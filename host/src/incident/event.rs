//! What can be written about an incident: the entries of the journal, and the words in them.
//!
//! Fields are only ever added, with a default, so that an older journal stays readable.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::{Action, InventoryHost, Outcome, Proposal, Target};
use crate::alert::{Alert, Via};
use crate::clock::Time;
use crate::incident::lookup::Looked;

/// Why a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The alert fires.
    Alert,
    /// An attempt ended and it is not better, or that cannot be told.
    NotHealed,
    /// What the policy wanted to wait for is over.
    WaitOver,
    /// What was decided was held back and is not any more.
    HoldOver,
    /// Paramedic was restarted in the middle of an attempt, and the alert still fires.
    Interrupted,
    /// A person said no to what was wanted.
    Denied,
    /// A person asks.
    Retry,
}

impl Trigger {
    /// The word used in the contract and the journal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::NotHealed => "not-healed",
            Self::WaitOver => "wait-over",
            Self::HoldOver => "hold-over",
            Self::Interrupted => "interrupted",
            Self::Denied => "denied",
            Self::Retry => "retry",
        }
    }
}

/// A target as a plugin is told about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// Which.
    pub target: Target,
    /// Where playbooks about it run.
    #[serde(default)]
    pub inventory_host: Option<InventoryHost>,
    /// The engine's word for its state, or `missing`, or `unknown`.
    pub state: String,
}

/// What a plugin answered, in plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Not its business.
    Pass {
        /// Why.
        reason: String,
    },
    /// Its business, nothing to do.
    Ignore {
        /// Why.
        reason: String,
    },
    /// Do these in their order.
    Act {
        /// Why.
        reason: String,
        /// What; never empty.
        proposals: Vec<Proposal>,
    },
    /// Ask again later.
    Wait {
        /// Why.
        reason: String,
        /// How long, in milliseconds.
        millis: u64,
    },
    /// A person has to look.
    Escalate {
        /// Why.
        reason: String,
    },
}

impl Decision {
    /// The reason, in the plugin's words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Pass { reason }
            | Self::Ignore { reason }
            | Self::Act { reason, .. }
            | Self::Wait { reason, .. }
            | Self::Escalate { reason } => reason,
        }
    }

    /// The word: `pass`, `ignore`, `act`, `wait`, `escalate`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Ignore { .. } => "ignore",
            Self::Act { .. } => "act",
            Self::Wait { .. } => "wait",
            Self::Escalate { .. } => "escalate",
        }
    }
}

/// Mode of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Decide and journal, never act.
    #[default]
    Observe,
    /// Act within the grants, once a person has said yes.
    Approve,
    /// Act within the grants.
    Enforce,
}

impl Mode {
    /// The word of the policy's file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Approve => "approve",
            Self::Enforce => "enforce",
        }
    }

    /// Can a policy of this mode take an incident? One that observes is listened to, never followed.
    pub fn takes(self) -> bool {
        self != Self::Observe
    }
}

/// A line that a plugin logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// What it said, cleaned and bounded.
    pub message: String,
}

/// What one answer might cost. Without it, a decision that was ended for what it cost cannot be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Time from the start of the sandbox to the answer, in milliseconds.
    pub deadline_ms: u64,
    /// Bytes of all its memories together.
    pub memory: u64,
    /// Time for the answers of all its lookups together, in milliseconds.
    pub lookups_ms: u64,
}

/// One policy's answer to one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The policy's name.
    pub policy: String,
    /// Its mode when it answered.
    pub mode: Mode,
    /// SHA-256 of the plugin's file, in hex.
    pub plugin: String,
    /// The settings it was asked with.
    pub settings: serde_json::Value,
    /// What it decided, or why it could not.
    pub decision: Result<Decision, String>,
    /// What it logged.
    #[serde(default)]
    pub log: Vec<LogLine>,
    /// What it asked about the world, in that order, and what it was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lookups: Vec<Looked>,
    /// SHA-256 of the policy's file, in hex; empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy_file: String,
    /// What it might cost; none in older entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Allowance>,
    /// How long it took, fresh sandbox included, lookups not.
    pub micros: u64,
}

/// Which policy an incident belongs to, frozen when it took the incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The policy's name.
    pub policy: String,
    /// SHA-256 of its plugin then.
    pub plugin: String,
    /// Its settings then.
    pub settings: serde_json::Value,
}

/// A rule that says no for good, or not now. The word is stable: docs, metrics and plugins use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    // Refusals: the policy would have to be changed, or a person has to look.
    /// The plugin does not declare this kind of action.
    NotDeclared,
    /// No grant covers it.
    NotGranted,
    /// A name that cannot be one.
    InvalidTarget,
    /// The engine or host of that name is not configured.
    UnknownHost,
    /// There is no such container.
    MissingTarget,
    /// The name fits several things.
    AmbiguousTarget,
    /// Paramedic itself, or an orchestrator's own container.
    ProtectedTarget,
    /// It is not the container it was a moment ago.
    ChangedTarget,
    /// No playbook of that name inside the folder.
    InvalidPlaybook,
    /// The inventory does not know that host.
    UnknownInventoryHost,
    /// A variable that is not granted, or whose value is no JSON.
    InvalidVariable,
    /// What is wanted cannot be: no such signal, a tag or a matcher that is none, an empty text.
    InvalidProposal,
    /// The attempts of this target are spent.
    AttemptsSpent,
    /// One act names several targets.
    SeveralTargets,
    /// The policy that owns the incident is gone or no longer enforced.
    PolicyGone,
    // Holds: asked again later.
    /// A silence in Alertmanager covers the alert.
    Silenced,
    /// Another alert inhibits this one in Alertmanager.
    Inhibited,
    /// A person stopped the container.
    DeliberateStop,
    /// It had been firing for long when it was first seen.
    TooOld,
    /// The container was started after the alert began: somebody's repair.
    RecentlyStarted,
    /// Too soon after the last action of this kind on this target.
    Cooldown,
    /// Something else is at work on this target.
    TargetBusy,
    /// This policy, or Paramedic altogether, is doing as much at once as it may.
    TooManyAtOnce,
    /// As many actions were done lately as this policy, or Paramedic altogether, may do.
    #[serde(alias = "hourly-limit")]
    TooManyActions,
    /// Too few others of its group would stay healthy.
    MinimumHealthy,
    /// So much fails at once that the sensor is more likely to be broken.
    Storm,
    /// Everything is halted.
    Halted,
    /// A person holds it.
    Hold,
    /// A maintenance window is open.
    Maintenance,
    /// An expression of the policy's `unless` has a result, or cannot be asked.
    Unless,
    /// It could not be found out whether acting is allowed.
    Unsure,
}

impl Rule {
    /// The stable word, in kebab case.
    pub fn word(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word())
    }
}

/// What looking again after an attempt said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Positively observed to be well.
    Healed,
    /// Positively observed not to be.
    NotHealed,
    /// It cannot be told.
    Unclear,
}

impl Verdict {
    /// The word used in the contract and the journal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healed => "healed",
            Self::NotHealed => "not-healed",
            Self::Unclear => "unclear",
        }
    }
}

/// What a restart of a container would destroy; bounded and cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// How the container was, in one sentence.
    #[serde(default)]
    pub state: String,
    /// What its health check last said, the oldest first.
    #[serde(default)]
    pub health: Vec<String>,
    /// The last lines of its log.
    #[serde(default)]
    pub log: Vec<String>,
    /// Why something of it is not there.
    #[serde(default)]
    pub missing: Vec<String>,
}

impl Diagnostics {
    /// The same without the container's own words, which may hold secrets: for readers who may not read its log.
    pub fn withheld(&self) -> Self {
        let mut missing = self.missing.clone();
        let (health, log) = (self.health.len(), self.log.len());
        missing.push(format!(
            "{health} lines of its health check and {log} of its log are not shown here; `paramedic incident show ID --diagnostics` shows them to whoever may read the data folder"
        ));
        Self { state: self.state.clone(), missing, ..Self::default() }
    }
}

/// How an incident was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closing {
    /// Positively observed to be well after an action.
    Healed,
    /// No reachable source says any longer that it fires. No claim that anything of ours helped.
    Cleared,
    /// A person closed it.
    Person,
    /// Nobody has said for long that it fires, and there is no source that could be looked at.
    Stale,
}

impl Closing {
    /// The word of `incident list`, metrics and the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healed => "healed",
            Self::Cleared => "cleared",
            Self::Person => "person",
            Self::Stale => "stale",
        }
    }
}

/// What can be written about an incident. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// It begins.
    Opened {
        /// What was heard.
        alert: Alert,
        /// Through which door.
        via: Via,
    },
    /// A source said something new about it: resolved, firing again, other words.
    Heard {
        /// What was heard.
        alert: Alert,
        /// Through which door.
        via: Via,
    },
    /// A question is asked; with the entries before it this is all that a plugin is told.
    Asked {
        /// Why.
        trigger: Trigger,
        /// The targets as they were then.
        targets: Vec<TargetView>,
        /// What the alert could mean and cannot be told, one sentence each: it counts as no target.
        #[serde(default)]
        ambiguous: Vec<String>,
    },
    /// A policy answered.
    Decided(Answer),
    /// No policy took it.
    Unclaimed {
        /// Why not, in one sentence.
        message: String,
    },
    /// What was decided is not allowed; nothing was done.
    Refused {
        /// Which attempt it would have been.
        attempt: u32,
        /// What was wanted.
        proposal: Proposal,
        /// The rule that refused.
        rule: Rule,
        /// One sentence, with what would change it.
        message: String,
    },
    /// What was decided must not be done now.
    Held {
        /// The rule that holds.
        rule: Rule,
        /// One sentence, with what would change it.
        message: String,
        /// When it is worth asking again; `None`: as soon as looking says so.
        #[serde(default)]
        until: Option<Time>,
    },
    /// A person has to say yes first.
    ApprovalAsked {
        /// Which attempt it would be.
        attempt: u32,
        /// What would be done, as authorised: a person says yes to exactly this.
        actions: Vec<Action>,
        /// Hash of what was shown; a yes has to name it.
        digest: String,
        /// Until when a person is waited for.
        until: Time,
    },
    /// A person said yes.
    Approved {
        /// Who.
        by: String,
        /// Why, in that person's words.
        message: String,
        /// Hash of what that person was shown.
        digest: String,
    },
    /// A person said no.
    Denied {
        /// Who.
        by: String,
        /// Why, in that person's words.
        message: String,
    },
    /// It will be done: written in one append with what it spends.
    Intended {
        /// Which attempt of this incident, from 1.
        attempt: u32,
        /// Which intent of this incident, from 1.
        intent: u32,
        /// What.
        action: Action,
    },
    /// What the action may destroy, kept before it begins.
    Diagnosed {
        /// Which intent.
        intent: u32,
        /// What was found.
        found: Diagnostics,
    },
    /// It is being done, from now on nobody knows whether it took place until the next entry says so.
    Begun {
        /// Which intent.
        intent: u32,
    },
    /// It was done, or not.
    Ended {
        /// Which intent.
        intent: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// It was never begun and will not be.
    Cancelled {
        /// Which intent.
        intent: u32,
        /// Why.
        message: String,
    },
    /// A person wants what is under way stopped, and nothing further done.
    Stopped {
        /// Who.
        by: String,
        /// Why, in that person's words.
        message: String,
    },
    /// Somebody looked whether the attempt helped.
    Verified {
        /// Which attempt.
        attempt: u32,
        /// What was seen.
        verdict: Verdict,
        /// One sentence: with which detector, what it said.
        message: String,
    },
    /// A person has to look; nothing is asked until one retries or the alert clears.
    Escalated {
        /// Why.
        message: String,
    },
    /// A person wants it tried again.
    Retried {
        /// Who.
        by: String,
        /// Why.
        message: String,
    },
    /// It is over.
    Closed {
        /// How.
        how: Closing,
        /// One sentence.
        message: String,
    },
}

impl Event {
    /// The word of its kind, as in its JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Heard { .. } => "heard",
            Self::Asked { .. } => "asked",
            Self::Decided(_) => "decided",
            Self::Unclaimed { .. } => "unclaimed",
            Self::Refused { .. } => "refused",
            Self::Held { .. } => "held",
            Self::ApprovalAsked { .. } => "approval-asked",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Intended { .. } => "intended",
            Self::Diagnosed { .. } => "diagnosed",
            Self::Begun { .. } => "begun",
            Self::Ended { .. } => "ended",
            Self::Cancelled { .. } => "cancelled",
            Self::Stopped { .. } => "stopped",
            Self::Verified { .. } => "verified",
            Self::Escalated { .. } => "escalated",
            Self::Retried { .. } => "retried",
            Self::Closed { .. } => "closed",
        }
    }

    /// The targets that its incident is about, as far as this entry tells: those of a question, and that of an action.
    pub fn about(&self) -> Vec<&Target> {
        match self {
            Self::Asked { targets, .. } => targets.iter().map(|view| &view.target).collect(),
            Self::Intended { action, .. } => vec![action.target()],
            _ => Vec::new(),
        }
    }

    /// What this entry, written at that time, does to its incident's timer: `None` leaves it, `Some(None)` clears it, and
    /// `Some(Some(due))` sets it. Timers are kept beside the entries and can be computed from them at any time, so the two
    /// cannot disagree.
    pub fn timer(&self, at: Time) -> Option<Option<Time>> {
        match self {
            Self::Heard { .. } => None,
            Self::Held { until, .. } => Some(*until),
            Self::ApprovalAsked { until, .. } => Some(Some(*until)),
            Self::Decided(answer) => match &answer.decision {
                // Nobody follows these, so whatever was being waited for still is.
                Err(_) | Ok(Decision::Pass { .. }) => None,
                Ok(_) if answer.mode == Mode::Observe => None,
                Ok(Decision::Wait { millis, .. }) => Some(Some(at.plus(Duration::from_millis(*millis)))),
                Ok(_) => Some(None),
            },
            _ => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(mode: Mode, decision: Result<Decision, String>) -> Event {
        let (policy, plugin) = ("heal".to_owned(), String::new());
        Event::Decided(Answer {
            policy,
            mode,
            plugin,
            settings: serde_json::Value::Null,
            decision,
            log: Vec::new(),
            lookups: Vec::new(),
            policy_file: String::new(),
            limits: None,
            micros: 0,
        })
    }

    #[test]
    fn what_waits_sets_the_timer_and_whatever_moves_on_clears_it() {
        let reason = String::new;
        let wait = || Ok(Decision::Wait { reason: reason(), millis: 30 });
        let timer = |event: Event| event.timer(Time(1_000));
        assert_eq!(timer(decided(Mode::Enforce, wait())), Some(Some(Time(1_030))));
        assert_eq!(timer(decided(Mode::Observe, wait())), None, "nobody follows it");
        assert_eq!(timer(decided(Mode::Enforce, Ok(Decision::Pass { reason: reason() }))), None);
        assert_eq!(timer(decided(Mode::Enforce, Err(reason()))), None);
        assert_eq!(timer(decided(Mode::Enforce, Ok(Decision::Escalate { reason: reason() }))), Some(None));
        let held = |until| Event::Held { rule: Rule::Cooldown, message: reason(), until };
        assert_eq!(timer(held(Some(Time(7)))), Some(Some(Time(7))));
        assert_eq!(timer(held(None)), Some(None));
        for moved_on in [Event::Begun { intent: 1 }, Event::Closed { how: Closing::Cleared, message: reason() }] {
            assert_eq!(timer(moved_on), Some(None));
        }
    }
}
