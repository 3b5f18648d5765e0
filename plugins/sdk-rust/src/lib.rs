//! Write a Paramedic policy in Rust: a plain function from incident to decision.
//!
//! ```
//! use paramedic_policy::{Decision, Incident, Kind, Proposal, policy};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! /// What an operator may write under `settings` of a policy file; `policy!` derives the JSON Schema from it.
//! #[derive(Debug, Default, Deserialize, JsonSchema)]
//! #[serde(default, deny_unknown_fields)]
//! struct Settings {
//!     /// Run this playbook when a restart did not help.
//!     then_playbook: Option<String>,
//! }
//!
//! fn decide(incident: &Incident, settings: &Settings) -> Decision {
//!     let [target] = incident.targets.as_slice() else {
//!         return Decision::escalate("this policy wants exactly one target: configure `targets` for this alert");
//!     };
//!     // A ladder is a match on what was tried before.
//!     match (incident.tried(&Kind::DockerRestart), incident.tried(&Kind::AnsiblePlaybook), &settings.then_playbook) {
//!         (0, _, _) => Decision::act("it is down: restart it", [Proposal::restart(&target.name).grace(10)]),
//!         (_, 0, Some(playbook)) => {
//!             Decision::act("the restart did not help", [Proposal::playbook(playbook).about(&target.name)])
//!         }
//!         _ => Decision::escalate(format!("nothing left to try: {}", incident.what_was_tried())),
//!     }
//! }
//!
//! policy! {
//!     name: "restart-once",
//!     description: "Restarts the container, then runs a playbook, then calls a person",
//!     actions: [Kind::DockerRestart, Kind::AnsiblePlaybook],
//!     settings: Settings,
//!     decide: decide,
//! }
//!
//! // `cargo test` needs no wasm: an incident is plain data.
//! let incident = Incident::firing("WebDown").label("container", "web").target("local/web");
//! let decision = decide(&incident, &Settings::default());
//! assert_eq!(decision, Decision::act("it is down: restart it", [Proposal::restart("local/web").grace(10)]));
//! ```
//!
//! Such a crate has `crate-type = ["cdylib"]`, and `cargo build --target wasm32-wasip2` makes the plugin.
//!
//! A plugin is a pure function. It has no clock but [`Incident::now`], no randomness, files, network, environment or
//! memory of earlier questions: all it may know is in the [`Incident`], and earlier attempts are part of it. A component that
//! imports such things is refused when it is loaded. `HashMap` takes its seed from the host; `BTreeMap` needs nothing.
//!
//! Making a [`Proposal`] does nothing, and a proposal is only carried out when its kind is named in `actions` of [`policy!`]
//! *and* the operator granted it on that target. Only the proposal constructors that are used end up as imports of the component.
//!
//! Words that name an open set ([`Kind`], [`Trigger`], [`Outcome`], ...) have a case `Other`: a later Paramedic may say
//! something that this version does not know, and a policy keeps working.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod decision;
mod guest;
mod history;
mod incident;
pub mod log;
pub mod lookup;
mod policy;
mod proposal;
mod variables;
mod words;

/// What the contract in `wit/` generates. [`policy!`] needs it; authors do not.
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod bindings {
    wit_bindgen::generate!({
        world: "policy",
        path: "../../wit",
        pub_export_macro: true,
        default_bindings_module: "paramedic_policy::bindings",
    });
}

pub use crate::decision::{Answer, Decision};
#[doc(hidden)]
pub use crate::guest::private;
pub use crate::guest::{NoSettings, parse_settings, settings_schema};
pub use crate::history::{Attempt, AttemptedAction};
pub use crate::incident::{Alert, Incident, Target, Time};
pub use crate::proposal::{About, Matcher, Proposal};
pub use crate::variables::{TargetPart, Variable, Variables};
pub use crate::words::{Health, Kind, Lookup, Outcome, Source, State, Status, Trigger, Verification};
pub use serde_json::{Value, json};
