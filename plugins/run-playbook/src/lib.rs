//! Runs a playbook about the target of an alert; if that does not help, calls a person.
//!
//! Several targets are taken one at a time, the one that was tried least first. A person's retry runs it once more.

use paramedic_policy::{Decision, Incident, Kind, Proposal, Target, Trigger, Variables, policy};
use schemars::JsonSchema;
use serde::Deserialize;

/// What an operator may write under `settings`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The playbook, as its path inside the playbook folder.
    pub playbook: String,
    /// Its variables: values, or where to take them from.
    #[serde(default)]
    pub variables: Variables,
    /// The inventory host it is limited to; not given: the one configured for the target.
    #[serde(default)]
    pub host: Option<String>,
    /// The target it is about, as `docker-host/name`; not given: the alert's own targets.
    #[serde(default)]
    pub about: Option<String>,
    /// How many times it is tried on one target.
    #[serde(default = "once")]
    pub times: usize,
}

fn once() -> usize {
    1
}

policy! {
    name: "run-playbook",
    description: "Runs an Ansible playbook about the target of an alert, then escalates",
    actions: [Kind::AnsiblePlaybook],
    settings: Settings,
    decide: decide,
}

/// The policy.
pub fn decide(incident: &Incident, settings: &Settings) -> Decision {
    if incident.trigger == Trigger::Denied {
        return Decision::escalate("a person said no to what this policy wanted, and it has nothing else to offer");
    }
    let targets = incident.candidates(settings.about.as_deref());
    let Some(first) = targets.first() else {
        return Decision::escalate(format!(
            "{} names no target: give this policy `settings.about`, or map the alert under `targets` in paramedic.yaml",
            incident.name()
        ));
    };
    let runs = |target: &&Target| incident.begun_on(&target.name).filter(|a| a.kind == Kind::AnsiblePlaybook).count();
    // `min_by_key` takes the first of equals: what is down comes before what runs.
    match targets.iter().filter(|t| runs(t) < settings.times).min_by_key(runs) {
        Some(target) => run(incident, target, settings),
        None if incident.may_begin_again() => run(incident, first, settings),
        None => give_up(incident, settings),
    }
}

fn run(incident: &Incident, target: &Target, settings: &Settings) -> Decision {
    let name = &settings.playbook;
    let variables = match settings.variables.resolve(incident, target) {
        Ok(variables) => variables,
        Err(why) => return Decision::escalate(format!("playbook {name} cannot be run: {why}")),
    };
    let run = Proposal::playbook(name).about(&target.name).vars(variables);
    let run = match &settings.host {
        Some(host) => run.host(host),
        None => run,
    };
    let alert = incident.name();
    let why = match incident.begun().next() {
        None => format!("{alert} fires"),
        Some(_) => format!("{alert} still fires after {}", incident.what_was_tried()),
    };
    Decision::act(format!("{why}: run {name} about {}", target.name), [run])
}

fn give_up(incident: &Incident, settings: &Settings) -> Decision {
    let alert = incident.name();
    match incident.begun().next() {
        None => {
            Decision::escalate(format!("{alert} fires, but `times: {}` allows no run of {}", settings.times, settings.playbook))
        }
        Some(_) => Decision::escalate(format!("{alert} still fires after {}; nothing is left to try", incident.what_was_tried())),
    }
}

#[cfg(test)]
mod tests;
