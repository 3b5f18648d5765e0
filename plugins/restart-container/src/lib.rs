//! Restarts the container that an alert is about; if that does not help, runs a playbook; then calls a person.
//!
//! Each target has a ladder of its own: `restarts` restarts, then `then_playbook`, then nobody but a person. Several targets are taken one at
//! a time, the one that was tried least first. A person's retry of a ladder that was climbed to its end begins at its foot again; a person's no ends it.

use paramedic_policy::{AttemptedAction, Decision, Incident, Kind, Proposal, State, Target, Trigger, Variables, policy};
use schemars::JsonSchema;
use serde::Deserialize;

/// What an operator may write under `settings`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The container to restart, as `docker-host/name`; not given: the alert's own targets.
    pub target: Option<String>,
    /// How many restarts are tried before the next rung.
    pub restarts: usize,
    /// How many seconds the container may take to stop before it is killed; not given: the container's own setting.
    pub grace_seconds: Option<u32>,
    /// The playbook to run when the restarts did not help.
    pub then_playbook: Option<String>,
    /// Its variables; not given: `container`, the container's name.
    pub variables: Option<Variables>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { target: None, restarts: 1, grace_seconds: None, then_playbook: None, variables: None }
    }
}

policy! {
    name: "restart-container",
    description: "Restarts the container an alert is about, then runs a playbook if one is set, then escalates",
    actions: [Kind::DockerRestart, Kind::AnsiblePlaybook],
    settings: Settings,
    decide: decide,
}

/// The policy.
pub fn decide(incident: &Incident, settings: &Settings) -> Decision {
    if incident.trigger == Trigger::Denied {
        return Decision::escalate("a person said no to what this policy wanted, and it has nothing else to offer");
    }
    let targets = incident.candidates(settings.target.as_deref());
    let Some(first) = targets.first() else {
        return Decision::escalate(format!(
            "{} names no container: give this policy `settings.target`, or map the alert under `targets` in paramedic.yaml",
            incident.name()
        ));
    };
    let climbable = |target| Some((target, next_rung(incident, target, settings)?));
    // `min_by_key` takes the first of equals: what is down comes before what runs.
    if let Some((target, rung)) = targets.iter().filter_map(climbable).min_by_key(|(t, _)| incident.begun_on(&t.name).count()) {
        return climb(incident, target, rung, settings);
    }
    match foot(first, settings) {
        Some(rung) if incident.may_begin_again() => climb(incident, first, rung, settings),
        _ => give_up(incident, &targets),
    }
}

/// One thing that can be tried.
#[derive(Clone, Copy)]
enum Rung<'a> {
    Restart,
    Playbook(&'a str),
}

/// What comes next for this target; `None` at the end of its ladder.
///
/// Only the actions since the last playbook matter: what lies before is an earlier climb, which a person began again.
fn next_rung<'a>(incident: &Incident, target: &Target, settings: &'a Settings) -> Option<Rung<'a>> {
    let is = |action: &&AttemptedAction, kind| action.kind == kind;
    match incident.begun_on(&target.name).next_back() {
        None => foot(target, settings),
        Some(last) if is(&last, Kind::AnsiblePlaybook) => None,
        Some(_) => {
            let restarts = incident.begun_on(&target.name).rev().take_while(|a| is(a, Kind::DockerRestart)).count();
            if restarts < settings.restarts && can_restart(target) { Some(Rung::Restart) } else { playbook(settings) }
        }
    }
}

/// The first rung for this target, if there is any.
fn foot<'a>(target: &Target, settings: &'a Settings) -> Option<Rung<'a>> {
    if settings.restarts > 0 && can_restart(target) { Some(Rung::Restart) } else { playbook(settings) }
}

/// A container that is gone can only be brought back by a playbook.
fn can_restart(target: &Target) -> bool {
    target.state != State::Missing
}

fn playbook(settings: &Settings) -> Option<Rung<'_>> {
    settings.then_playbook.as_deref().map(Rung::Playbook)
}

fn climb(incident: &Incident, target: &Target, rung: Rung<'_>, settings: &Settings) -> Decision {
    let why = why(incident, target);
    match rung {
        Rung::Restart => {
            let restart = Proposal::restart(&target.name);
            let restart = settings.grace_seconds.map_or(restart.clone(), |seconds| restart.grace(seconds));
            Decision::act(format!("{why}: restart {}", target.name), [restart])
        }
        Rung::Playbook(name) => {
            let run = Proposal::playbook(name).about(&target.name);
            let run = match &settings.variables {
                None => run.var("container", target.container()),
                Some(variables) => match variables.resolve(incident, target) {
                    Ok(variables) => run.vars(variables),
                    Err(why) => return Decision::escalate(format!("playbook {name} cannot be run: {why}")),
                },
            };
            Decision::act(format!("{why}: run {name} about {}", target.name), [run])
        }
    }
}

/// The first half of a reason: what is known and what was tried.
fn why(incident: &Incident, target: &Target) -> String {
    match incident.begun().next() {
        None if matches!(target.state, State::Unknown | State::Running) => format!("{} fires", incident.name()),
        None => format!("{} fires and {} is {}", incident.name(), target.name, target.state),
        Some(_) => format!("{} still fires after {}", incident.name(), incident.what_was_tried()),
    }
}

fn give_up(incident: &Incident, targets: &[Target]) -> Decision {
    let names: Vec<&str> = targets.iter().take(5).map(|t| t.name.as_str()).collect();
    let names = names.join(", ");
    if incident.begun().next().is_some() {
        let tried = incident.what_was_tried();
        return Decision::escalate(format!("{} still fires after {tried}; nothing is left to try on {names}", incident.name()));
    }
    if targets.iter().all(|t| !can_restart(t)) {
        let hint = "there is no such container and no `then_playbook` that could bring it back";
        return Decision::escalate(format!("{} fires and {names} is missing: {hint}", incident.name()));
    }
    Decision::escalate(format!("{} fires, but the settings allow neither a restart nor a playbook for {names}", incident.name()))
}

#[cfg(test)]
mod tests;
