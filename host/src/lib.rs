//! Paramedic: the first responder of an infrastructure.
//!
//! The flow goes one way, and so do the imports:
//!
//! ```text
//! receive -> journal -> decide -> authorise -> execute -> verify
//! ```
//!
//! # Invariants
//! 1. An alert is answered 2xx only after it is durable. If it cannot be made durable: 503, so that the sender retries. What can
//!    never be right gets a 4xx with a reason.
//! 2. One open incident per key, whatever the source says and how often; one firing never causes the same action twice.
//! 3. A plugin can look and propose, never touch; what it looks at needs a grant and is recorded.
//! 4. No grant, no action; both keys (declared by the plugin, granted by the operator) are needed. Every refusal is journalled
//!    with the rule that refused.
//! 5. Intent before, `begun` at, result after. Begun without a result, found at start, is unknown: look first, never repeat.
//! 6. Every wait has a deadline: plugin calls, lookups, Docker calls, playbooks, approvals, verification, shutdown. A deadline that
//!    passes is an outcome, not a hang.
//! 7. A broken plugin harms only its own decision: it cannot crash, stall, starve or read anything of the host or of another plugin.
//! 8. An empty, ambiguous, changed or protected target means do nothing and say so.
//! 9. Never act against a person: silences, inhibitions, deliberate stops, holds, `unless`, maintenance and halt win over every policy.
//! 10. Only a positive observation is called healed.

// The ground floor: words that every room uses.
pub mod action;
pub mod alert;
pub mod clock;
pub mod incident;
pub mod policy;
pub mod shutdown;
pub mod telemetry;

// The stops, the record, and the eyes: what can be read of the world, never changed.
pub mod halt;
pub mod hold;
pub mod journal;
pub mod look;

// The five steps, in the order of the flow: take alerts in,
pub mod receive;

// ask the policies,
pub mod decide;

// say yes or no,
pub mod authorise;

// do what was allowed,
pub mod execute;

// look whether it helped.
pub mod verify;

// Who knows that order, and where people say what shall be done.
pub mod healer;
pub mod operate;

// What was decided, decided again: nothing follows from it.
pub mod replay;

// What leaves the house to call people.
pub mod notify;

// Who gathers the settings, puts the rooms together and shows them.
pub mod api;
pub mod config;
pub mod server;

pub mod cli;
