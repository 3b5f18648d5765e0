//! A policy written as settings: a list of rules, each a condition in CEL and a decision. Nobody has to compile anything.
//!
//! The rules are tried from the top, and the first one whose condition holds decides. A rule that acts does so once in an incident (`times`), and
//! then lets the next ones try: a ladder is a list. Whatever is wrong, in the settings or while a condition is evaluated, is an error that names
//! the rule; nothing is silently false. Absent on purpose: variables, loops and memory of its own; who needs them writes a plugin.

mod condition;
mod functions;
mod names;
mod plan;
mod scene;
pub mod settings;
mod steps;
mod template;
mod time;
mod values;

use paramedic_policy::{Decision, Incident, Kind, Lookup, Target, Trigger, policy};

pub use crate::settings::Settings;

use crate::plan::{Plan, title};
use crate::scene::Scene;
use crate::settings::{Judgement, Otherwise, Rule, What};

policy! {
    name: "rules",
    description: "Decides by rules that are written in the policy file: conditions in CEL, no code",
    actions: [
        Kind::DockerRestart,
        Kind::DockerStart,
        Kind::DockerStop,
        Kind::DockerPause,
        Kind::DockerUnpause,
        Kind::DockerKill,
        Kind::AnsiblePlaybook,
        Kind::Silence,
        Kind::ExpireSilence,
        Kind::Notify,
    ],
    lookups: [Lookup::Containers, Lookup::LogTail, Lookup::Metrics, Lookup::History],
    settings: Settings,
    check: check,
    decide: decide,
}

/// Whether these settings make sense: every condition and every text is read.
///
/// # Errors
/// Names the first rule or lookup that is wrong, with the column.
pub fn check(settings: &Settings) -> Result<(), String> {
    Plan::of(settings).map(drop)
}

/// The policy.
///
/// # Errors
/// Names the rule that could not be read or evaluated.
pub fn decide(incident: &Incident, settings: &Settings) -> Result<Decision, String> {
    let Plan { rules, zone } = Plan::of(settings)?;
    let scene = Scene::new(incident, settings, zone, target(incident, settings))?;
    // The first rule that would have acted, had it not acted before.
    let mut spent = None;
    for (at, (rule, condition)) in rules.iter().enumerate() {
        let name = || title(at, rule);
        if let Some(condition) = condition {
            let holds = scene.value(condition).map_err(|why| format!("{}: `{condition}`: {why}", name()))?;
            match holds {
                cel::Value::Bool(true) => {}
                cel::Value::Bool(false) => continue,
                other => return Err(format!("{}: `{condition}` is a {}, not true or false", name(), other.type_of())),
            }
        }
        let decided = match &rule.what {
            // What a person has just said no to would only be asked about again.
            What::Act(_) if incident.trigger == Trigger::Denied => Ok(None),
            What::Act(_) => act(&scene, rule, &mut spent),
            What::Judge(judgement) => judge(&scene, judgement, rule, spent.take()).map(Some),
        };
        if let Some(decision) = decided.map_err(|why| format!("{}: {why}", name()))? {
            return Ok(decision);
        }
    }
    end(&scene, settings, spent)
}

/// The target that the rules are about: what is down comes first, then what was tried least.
fn target(incident: &Incident, settings: &Settings) -> Option<Target> {
    let targets = incident.candidates(settings.target.as_deref());
    targets.into_iter().min_by_key(|target| incident.begun_on(&target.name).count())
}

/// Acts, unless that was done often enough.
fn act(scene: &Scene<'_>, rule: &Rule, spent: &mut Option<Decision>) -> Result<Option<Decision>, String> {
    let What::Act(steps) = &rule.what else { return Ok(None) };
    if scene.target.is_none() && steps.iter().any(|step| step.target().is_none()) {
        return scene.the_target().map(|_| None).or_else(|why| Ok(Some(Decision::escalate(why))));
    }
    let reason = steps::reason(scene, rule, steps)?;
    let proposals = steps.iter().map(|step| step.propose(scene, &reason)).collect::<Result<Vec<_>, _>>()?;
    let done = steps::done(scene.incident, &steps[0], &proposals[0]);
    let act = Decision::act(reason, proposals);
    if done < rule.head.times.unwrap_or(1) {
        return Ok(Some(act));
    }
    spent.get_or_insert(act);
    Ok(None)
}

fn judge(scene: &Scene<'_>, judgement: &Judgement, rule: &Rule, spent: Option<Decision>) -> Result<Decision, String> {
    Ok(match judgement {
        Judgement::Act(_) => return Err("it decides nothing".to_owned()),
        Judgement::Wait(length) => {
            let reason = rule
                .head
                .reason
                .as_deref()
                .map_or_else(|| Ok(format!("{} fires: not yet", scene.incident.name())), |r| scene.tell(r))?;
            Decision::wait(reason, length.0)
        }
        Judgement::Ignore(text) => Decision::ignore(scene.tell(text)?),
        Judgement::Pass(text) => Decision::pass(scene.tell(text)?),
        Judgement::Escalate(text) => again(scene, spent).map_or_else(|| scene.tell(text).map(Decision::escalate), Ok)?,
    })
}

/// When a person asks for it, a list that was tried to its end begins anew.
fn again(scene: &Scene<'_>, spent: Option<Decision>) -> Option<Decision> {
    spent.filter(|_| scene.incident.may_begin_again())
}

fn end(scene: &Scene<'_>, settings: &Settings, spent: Option<Decision>) -> Result<Decision, String> {
    let incident = scene.incident;
    if let Some(act) = again(scene, spent) {
        return Ok(act);
    }
    let alert = incident.name();
    Ok(match (settings.otherwise, incident.begun().next()) {
        (Otherwise::Pass, _) => Decision::pass(format!("no rule fits {alert}")),
        (Otherwise::Escalate, _) if incident.trigger == Trigger::Denied => {
            Decision::escalate("a person said no to what this policy wanted, and no other rule fits")
        }
        (Otherwise::Escalate, None) => Decision::escalate(format!("{alert} fires, and no rule fits")),
        (Otherwise::Escalate, Some(_)) => {
            Decision::escalate(format!("{alert} still fires after {}, and no other rule fits", incident.what_was_tried()))
        }
    })
}

#[cfg(test)]
mod tests;
