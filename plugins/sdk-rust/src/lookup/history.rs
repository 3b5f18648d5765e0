//! Looking at what happened before: other incidents, not this one. Granted by `grants.history`.

use std::time::Duration;

use super::{LookupError, fake};
use crate::bindings::paramedic::policy::history as wit;
use crate::history::{Attempt, AttemptedAction};
use crate::incident::Time;

/// The incidents about that target which were opened within that time before now, newest first; at most 50.
///
/// # Errors
/// When it is not granted, or the name cannot be one.
pub fn of_target(target: &str, within: Duration) -> Result<Vec<PastIncident>, LookupError> {
    if cfg!(not(target_arch = "wasm32")) {
        return fake::of_target(target, within);
    }
    let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    Ok(wit::of_target(target, within)?.into_iter().map(PastIncident::from).collect())
}

/// An earlier incident, or another one that is open.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PastIncident {
    /// `<key>-<n>`.
    pub id: String,
    /// The alert's name.
    pub alertname: String,
    /// When it was opened.
    pub opened_at: Time,
    /// When it was closed; none while it is open.
    pub closed_at: Option<Time>,
    /// How it ended (`healed`, `cleared`, `closed`), or the state it is in.
    pub state: String,
    /// The policy that took it; empty if none did.
    pub policy: String,
    /// What was tried.
    pub attempts: Vec<Attempt>,
    /// What later versions of the contract have to add.
    pub extra: Vec<(String, String)>,
}

impl PastIncident {
    /// Every action that was really begun, oldest first.
    pub fn begun(&self) -> impl DoubleEndedIterator<Item = &AttemptedAction> {
        self.attempts.iter().flat_map(|a| &a.actions).filter(|a| a.outcome.was_begun())
    }
}

/// For tests: incidents as they could have been. When they were opened is told to [`Fake::past`](super::Fake::past).
impl PastIncident {
    /// One that healed.
    pub fn of(alertname: &str) -> Self {
        Self {
            id: "fedcba9876543210-1".to_owned(),
            alertname: alertname.to_owned(),
            opened_at: Time(0),
            closed_at: None,
            state: "healed".to_owned(),
            policy: String::new(),
            attempts: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Says how it ended, or the state it is in.
    pub fn state(mut self, state: &str) -> Self {
        self.state = state.to_owned();
        self
    }

    /// Adds an attempt.
    pub fn attempt(mut self, attempt: Attempt) -> Self {
        let number = u32::try_from(self.attempts.len() + 1).unwrap_or(u32::MAX);
        self.attempts.push(Attempt { number, ..attempt });
        self
    }
}

impl From<wit::PastIncident> for PastIncident {
    fn from(past: wit::PastIncident) -> Self {
        Self {
            id: past.id,
            alertname: past.alertname,
            opened_at: Time(past.opened_at),
            closed_at: past.closed_at.map(Time),
            state: past.state,
            policy: past.policy,
            attempts: past.attempts.into_iter().map(Attempt::from).collect(),
            extra: past.extra,
        }
    }
}
