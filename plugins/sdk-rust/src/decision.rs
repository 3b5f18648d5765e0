//! What a policy answers: decisions and proposals, as plain data until the very end.

use std::fmt::{self, Display};
use std::time::Duration;

use serde_json::Value;

use crate::bindings::paramedic::policy::types::Proposal as Handle;
use crate::bindings::paramedic::policy::{ansible, docker};
use crate::words::Kind;

/// What a policy answers. The reason is one sentence for the engineer on call.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Not mine: ask the next policy.
    Pass {
        /// Why.
        reason: String,
    },
    /// Mine, and there is nothing to do.
    Ignore {
        /// Why.
        reason: String,
    },
    /// Mine: do these things, in this order.
    Act {
        /// Why.
        reason: String,
        /// What; at least 1, at most 16.
        proposals: Vec<Proposal>,
    },
    /// Mine: not yet.
    Wait {
        /// Why.
        reason: String,
        /// How long; at most 24 hours are waited.
        duration: Duration,
    },
    /// Mine: a person has to look.
    Escalate {
        /// Why.
        reason: String,
    },
}

impl Decision {
    /// Not mine: ask the next policy.
    pub fn pass(reason: impl Into<String>) -> Self {
        Self::Pass { reason: reason.into() }
    }

    /// Mine, and there is nothing to do.
    pub fn ignore(reason: impl Into<String>) -> Self {
        Self::Ignore { reason: reason.into() }
    }

    /// Mine: do these things, in this order; the first that fails ends the attempt.
    pub fn act(reason: impl Into<String>, proposals: impl IntoIterator<Item = Proposal>) -> Self {
        Self::Act { reason: reason.into(), proposals: proposals.into_iter().collect() }
    }

    /// Mine: ask again after that time. Ends early when the alert clears.
    pub fn wait(reason: impl Into<String>, duration: Duration) -> Self {
        Self::Wait { reason: reason.into(), duration }
    }

    /// Mine: a person has to look.
    pub fn escalate(reason: impl Into<String>) -> Self {
        Self::Escalate { reason: reason.into() }
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::Pass { reason }
            | Self::Ignore { reason }
            | Self::Act { reason, .. }
            | Self::Wait { reason, .. }
            | Self::Escalate { reason } => reason,
        }
    }

    /// What it wants to be done; empty unless it is [`Decision::Act`].
    pub fn proposals(&self) -> &[Proposal] {
        if let Self::Act { proposals, .. } = self { proposals } else { &[] }
    }
}

/// What the function of a policy may return: a [`Decision`], or a `Result` of one. An error means: could not decide. It is
/// written down and the next policy is asked.
pub struct Answer(pub(crate) Result<Decision, String>);

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        Self(Ok(decision))
    }
}

impl<E: Display> From<Result<Decision, E>> for Answer {
    fn from(result: Result<Decision, E>) -> Self {
        Self(result.map_err(|e| e.to_string()))
    }
}

/// Something that could be done to one target. Making one does nothing.
///
/// It carries the function that hands it to Paramedic, so that a component imports only the proposals its policy can make:
/// a policy that never calls [`Proposal::playbook`] cannot express a playbook.
#[derive(Clone)]
pub struct Proposal {
    wanted: Wanted,
    hand_over: fn(&Wanted) -> Handle,
}

/// What a proposal says.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    kind: Kind,
    target: String,
    grace_seconds: Option<u32>,
    playbook: String,
    host: Option<String>,
    variables: Vec<(String, Value)>,
}

impl Proposal {
    fn new(kind: Kind, target: String, hand_over: fn(&Wanted) -> Handle) -> Self {
        let wanted = Wanted { kind, target, grace_seconds: None, playbook: String::new(), host: None, variables: Vec::new() };
        Self { wanted, hand_over }
    }

    /// Stop (if running) and start a container, such as `local/web`.
    pub fn restart(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerRestart, target.into(), |w| docker::restart(&w.target, w.grace_seconds))
    }

    /// Start a container that is not running.
    pub fn start(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerStart, target.into(), |w| docker::start(&w.target))
    }

    /// Stop a container.
    pub fn stop(target: impl Into<String>) -> Self {
        Self::new(Kind::DockerStop, target.into(), |w| docker::stop(&w.target, w.grace_seconds))
    }

    /// Run a playbook of the operator's playbook folder; say which target it is [`about`](Playbook::about).
    pub fn playbook(name: impl Into<String>) -> Playbook {
        Playbook(name.into())
    }

    /// How many seconds the container may take to stop before it is killed; not given: the container's own setting. Means nothing
    /// to kinds that do not stop anything.
    pub fn grace(mut self, seconds: u32) -> Self {
        self.wanted.grace_seconds = Some(seconds);
        self
    }

    /// The inventory host a playbook is limited to; not given: the one configured for the target it is about.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.wanted.host = Some(host.into());
        self
    }

    /// One variable for a playbook. Strings reach it as data that Ansible never evaluates.
    pub fn var(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.wanted.variables.push((name.into(), value.into()));
        self
    }

    /// Several variables for a playbook.
    pub fn vars(mut self, variables: impl IntoIterator<Item = (String, Value)>) -> Self {
        self.wanted.variables.extend(variables);
        self
    }

    /// The kind of action.
    pub fn kind(&self) -> &Kind {
        &self.wanted.kind
    }

    /// The target's name; for a playbook the one it is about.
    pub fn target(&self) -> &str {
        &self.wanted.target
    }

    pub(crate) fn hand_over(&self) -> Handle {
        (self.hand_over)(&self.wanted)
    }
}

// The kind determines the function, and the addresses of functions cannot be compared.
impl PartialEq for Proposal {
    fn eq(&self, other: &Self) -> bool {
        self.wanted == other.wanted
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wanted.fmt(f)
    }
}

/// A playbook that still has to say which target it is about.
#[derive(Clone, Debug)]
pub struct Playbook(String);

impl Playbook {
    /// The target it is meant to help, such as `local/web`: the playbook shares that target's lock and brakes.
    pub fn about(self, target: impl Into<String>) -> Proposal {
        let mut run = Proposal::new(Kind::AnsiblePlaybook, target.into(), |w| {
            let variables: Vec<_> = w.variables.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
            let options =
                ansible::RunOptions { host: w.host.clone(), variables, tags: Vec::new(), check: false, extra: Vec::new() };
            ansible::playbook(&w.playbook, &w.target, &options)
        });
        run.wanted.playbook = self.0;
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_equal_when_they_mean_the_same() {
        assert_eq!(Proposal::restart("local/web").grace(10), Proposal::restart("local/web").grace(10));
        assert_ne!(Proposal::restart("local/web"), Proposal::start("local/web"));
        assert_ne!(Proposal::restart("local/web"), Proposal::restart("local/web").grace(10));
        let repair = || Proposal::playbook("repair.yml").about("local/web");
        assert_ne!(repair(), repair().var("retries", 3));
        assert_ne!(repair(), repair().host("localhost"));
        assert_ne!(repair(), Proposal::playbook("other.yml").about("local/web"));
    }

    #[test]
    fn a_result_is_an_answer() {
        let answer = Answer::from(Err::<Decision, _>("no label".to_owned()));
        assert_eq!(answer.0, Err("no label".to_owned()));
        assert_eq!(Answer::from(Decision::pass("no")).0, Ok(Decision::pass("no")));
    }
}
