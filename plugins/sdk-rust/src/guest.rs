//! Between the contract and the plain data: reads the incident, hands over the decision.

use std::fmt::Display;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::exports::paramedic::policy::lifecycle::Manifest;
use crate::bindings::paramedic::policy::{incident as told, types as wit};
use crate::decision::{Answer, Decision};
use crate::history::{Attempt, AttemptedAction};
use crate::incident::{Alert, Incident, Target, Time};
use crate::words::{Kind, Lookup};

/// Settings of a policy that takes none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Settings from JSON text, as a plugin reads them.
///
/// # Errors
/// Says where in the settings what does not fit.
pub fn parse_settings<S: DeserializeOwned>(json: &str) -> Result<S, String> {
    serde_json::from_str(json).map_err(|e| format!("the policy's settings do not fit this plugin: {e}"))
}

/// The JSON Schema of settings, as the plugin describes itself with.
pub fn settings_schema<S: JsonSchema>() -> Value {
    schemars::schema_for!(S).to_value()
}

/// What [`crate::policy!`] calls; no part of the promise that the rest of this crate makes.
#[doc(hidden)]
pub mod private {
    use super::*;

    pub fn decide<S: DeserializeOwned, A: Into<Answer>>(judge: impl Fn(&Incident, &S) -> A) -> Result<wit::Decision, String> {
        let settings = parse_settings(&told::settings())?;
        let Answer(answer) = judge(&incident(), &settings).into();
        answer.map(decision)
    }

    pub fn check<S, E: Display>(settings: &S, check: impl Fn(&S) -> Result<(), E>) -> Result<(), String> {
        check(settings).map_err(|e| e.to_string())
    }

    pub fn describe<S: JsonSchema>(
        name: &str,
        version: &str,
        description: &str,
        actions: &[Kind],
        lookups: &[Lookup],
    ) -> Manifest {
        Manifest {
            name: name.to_owned(),
            version: version.to_owned(),
            description: description.to_owned(),
            actions: actions.iter().map(|kind| kind.as_str().to_owned()).collect(),
            lookups: lookups.iter().map(|lookup| lookup.as_str().to_owned()).collect(),
            settings_schema: settings_schema::<S>().to_string(),
            extra: Vec::new(),
        }
    }
}

fn decision(decision: Decision) -> wit::Decision {
    match decision {
        Decision::Pass { reason } => wit::Decision::Pass(reason),
        Decision::Ignore { reason } => wit::Decision::Ignore(reason),
        Decision::Act { reason, proposals } => {
            let proposals = proposals.iter().map(|p| p.hand_over()).collect();
            wit::Decision::Act(wit::Act { reason, proposals })
        }
        Decision::Wait { reason, duration } => {
            let duration = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            wit::Decision::Wait(wit::Wait { reason, duration })
        }
        Decision::Escalate { reason } => wit::Decision::Escalate(reason),
    }
}

fn incident() -> Incident {
    Incident {
        id: told::id(),
        alert: told::alert().into(),
        trigger: told::trigger().into(),
        attempts: told::attempts().into_iter().map(Attempt::from).collect(),
        targets: told::targets().into_iter().map(Target::from).collect(),
        now: Time(told::now()),
    }
}

impl From<wit::Alert> for Alert {
    fn from(alert: wit::Alert) -> Self {
        Self {
            source: alert.source.into(),
            status: alert.status.into(),
            labels: alert.labels.into_iter().collect(),
            annotations: alert.annotations.into_iter().collect(),
            starts_at: Time(alert.starts_at),
            first_seen: Time(alert.first_seen),
            generator_url: alert.generator_url,
            extra: alert.extra,
        }
    }
}

impl From<wit::Target> for Target {
    fn from(target: wit::Target) -> Self {
        Self { name: target.name, inventory_host: target.inventory_host, state: target.state.into(), extra: target.extra }
    }
}

impl From<wit::Attempt> for Attempt {
    fn from(attempt: wit::Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: Time(attempt.started_at),
            ended_at: Time(attempt.ended_at),
            actions: attempt.actions.into_iter().map(AttemptedAction::from).collect(),
            verification: attempt.verification.into(),
            extra: attempt.extra,
        }
    }
}

impl From<wit::AttemptedAction> for AttemptedAction {
    fn from(action: wit::AttemptedAction) -> Self {
        Self {
            kind: action.kind.into(),
            target: action.target,
            detail: action.detail,
            outcome: action.outcome.into(),
            message: action.message,
            extra: action.extra,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_not_fit_say_where() {
        assert_eq!(parse_settings::<NoSettings>("{}"), Ok(NoSettings {}));
        let error = parse_settings::<NoSettings>(r#"{"restart": 1}"#);
        let expected =
            "the policy's settings do not fit this plugin: unknown field `restart`, there are no fields at line 1 column 10";
        assert_eq!(error, Err(expected.to_owned()));
    }

    #[test]
    fn the_schema_refuses_what_the_settings_refuse() {
        assert_eq!(settings_schema::<NoSettings>()["additionalProperties"], false);
        assert_eq!(settings_schema::<NoSettings>()["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }

    #[test]
    fn a_manifest_holds_the_words_of_the_contract() {
        let manifest =
            private::describe::<NoSettings>("p", "1.0.0", "d", &[Kind::DockerRestart, Kind::AnsiblePlaybook], &[Lookup::LogTail]);
        assert_eq!(manifest.actions, ["docker.restart", "ansible.playbook"]);
        assert_eq!(manifest.lookups, ["containers.log-tail"]);
        assert_eq!(manifest.version, "1.0.0");
    }

    #[test]
    fn decisions_without_proposals_cross_over_unchanged() {
        let over = decision(Decision::wait("deploying", std::time::Duration::MAX));
        assert!(matches!(over, wit::Decision::Wait(w) if w.duration == u64::MAX && w.reason == "deploying"));
        assert!(matches!(decision(Decision::pass("no")), wit::Decision::Pass(r) if r == "no"));
        assert!(matches!(decision(Decision::escalate("help")), wit::Decision::Escalate(r) if r == "help"));
        assert!(matches!(decision(Decision::ignore("noise")), wit::Decision::Ignore(r) if r == "noise"));
    }
}
