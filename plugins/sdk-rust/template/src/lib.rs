//! Restarts the container that an alert is about; if that does not help, calls a person.
//!
//! A policy is a plain function from an incident to a decision. What it answers is only a proposal: Paramedic carries it out when the policy
//! file grants it.

use paramedic_policy::{Decision, Incident, Kind, Proposal, policy};
use schemars::JsonSchema;
use serde::Deserialize;

/// What an operator may write under `settings` of a policy file. The comments are shown by editors.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many restarts are tried before a person is called.
    pub restarts: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { restarts: 1 }
    }
}

policy! {
    name: "{{name}}",
    description: "Restarts the container an alert is about, then calls a person",
    actions: [Kind::DockerRestart],
    // What it may ever look at, with `paramedic_policy::lookup`: Lookup::Containers, LogTail, Metrics, History.
    lookups: [],
    settings: Settings,
    decide: decide,
}

/// The policy.
pub fn decide(incident: &Incident, settings: &Settings) -> Decision {
    let alert = incident.name();
    let Some(target) = incident.targets.first() else {
        return Decision::escalate(format!("{alert} names no container: map it under `targets` in paramedic.yaml"));
    };
    // Every question is asked afresh; what was tried before is part of the incident.
    if incident.tried(&Kind::DockerRestart) < settings.restarts {
        Decision::act(format!("{alert} fires: restart {}", target.name), [Proposal::restart(&target.name)])
    } else {
        Decision::escalate(format!("{alert} fires, and nothing is left to try: {}", incident.what_was_tried()))
    }
}

#[cfg(test)]
mod tests {
    use paramedic_policy::{Attempt, Outcome};

    use super::*;

    fn firing() -> Incident {
        Incident::firing("WebDown").target("local/web")
    }

    #[test]
    fn it_restarts_what_is_down() {
        let expected = Decision::act("WebDown fires: restart local/web", [Proposal::restart("local/web")]);
        assert_eq!(decide(&firing(), &Settings::default()), expected);
    }

    #[test]
    fn what_a_restart_does_not_heal_is_for_a_person() {
        let incident = firing().attempt(Attempt::of(Kind::DockerRestart, "local/web", Outcome::Succeeded));
        assert!(matches!(decide(&incident, &Settings::default()), Decision::Escalate { .. }));
        assert!(matches!(decide(&incident, &Settings { restarts: 2 }), Decision::Act { .. }));
    }
}
