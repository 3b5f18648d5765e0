//! What a policy answers.

use std::fmt::Display;
use std::time::Duration;

use crate::proposal::Proposal;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_an_answer() {
        let answer = Answer::from(Err::<Decision, _>("no label".to_owned()));
        assert_eq!(answer.0, Err("no label".to_owned()));
        assert_eq!(Answer::from(Decision::pass("no")).0, Ok(Decision::pass("no")));
    }
}
