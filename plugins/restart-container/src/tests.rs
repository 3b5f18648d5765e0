//! The ladder, rung by rung. No wasm is needed for any of it.
#![allow(clippy::unwrap_used)]

use paramedic_policy::{Attempt, Outcome, json, parse_settings, settings_schema};

use super::*;

const WEB: &str = "local/web";
const API: &str = "local/api";

fn settings(json: &str) -> Settings {
    parse_settings(json).unwrap()
}

fn ladder() -> Settings {
    settings(r#"{"then_playbook": "repair.yml"}"#)
}

fn down() -> Incident {
    Incident::firing("WebDown").label("container", "web").target(Target::named(WEB).state(State::Exited))
}

fn restarted(target: &str, outcome: Outcome) -> Attempt {
    Attempt::of(Kind::DockerRestart, target, outcome)
}

fn ran(target: &str, outcome: Outcome) -> Attempt {
    Attempt::of(Kind::AnsiblePlaybook, target, outcome).detail("repair.yml").message("exit code 2")
}

fn repair(target: &str, container: &str) -> Proposal {
    Proposal::playbook("repair.yml").about(target).var("container", container)
}

#[test]
fn first_it_restarts_the_target() {
    let decision = decide(&down(), &settings("{}"));
    assert_eq!(decision, Decision::act("WebDown fires and local/web is exited: restart local/web", [Proposal::restart(WEB)]));
}

#[test]
fn the_grace_is_handed_on() {
    let decision = decide(&down(), &settings(r#"{"grace_seconds": 3}"#));
    assert_eq!(decision.proposals(), [Proposal::restart(WEB).grace(3)]);
}

#[test]
fn then_it_runs_the_playbook_with_the_containers_name() {
    let incident = down().attempt(restarted(WEB, Outcome::Succeeded));
    let reason =
        "WebDown still fires after docker.restart of local/web succeeded but did not heal it: run repair.yml about local/web";
    assert_eq!(decide(&incident, &ladder()), Decision::act(reason, [repair(WEB, "web")]));
}

#[test]
fn then_it_escalates_and_says_what_was_tried_and_how_it_ended() {
    let incident = down().attempt(restarted(WEB, Outcome::TimedOut)).attempt(ran(WEB, Outcome::Failed));
    let reason = "WebDown still fires after docker.restart of local/web timed out, then ansible.playbook repair.yml about local/web \
                  failed (exit code 2); nothing is left to try on local/web";
    assert_eq!(decide(&incident, &ladder()), Decision::escalate(reason));
}

#[test]
fn without_a_playbook_it_escalates_after_the_restarts() {
    let incident = down().attempt(restarted(WEB, Outcome::Failed));
    assert!(matches!(decide(&incident, &settings("{}")), Decision::Escalate { .. }));
    assert_eq!(decide(&incident, &settings(r#"{"restarts": 2}"#)).proposals(), [Proposal::restart(WEB)]);
    let incident = incident.attempt(restarted(WEB, Outcome::Failed));
    assert!(matches!(decide(&incident, &settings(r#"{"restarts": 2}"#)), Decision::Escalate { .. }));
}

#[test]
fn what_was_never_begun_is_no_rung() {
    for outcome in [Outcome::Refused, Outcome::Cancelled] {
        let incident = down().attempt(restarted(WEB, outcome)).trigger(Trigger::Retry);
        assert_eq!(decide(&incident, &ladder()).proposals(), [Proposal::restart(WEB)]);
    }
}

#[test]
fn an_interrupted_restart_is_not_repeated() {
    let incident = down().attempt(restarted(WEB, Outcome::Interrupted)).trigger(Trigger::Interrupted);
    assert_eq!(decide(&incident, &ladder()).proposals(), [repair(WEB, "web")]);
}

#[test]
fn a_retry_begins_at_the_foot_and_climbs_the_whole_ladder_once_more() {
    let incident =
        down().attempt(restarted(WEB, Outcome::Succeeded)).attempt(ran(WEB, Outcome::Succeeded)).trigger(Trigger::Retry);
    assert_eq!(decide(&incident, &ladder()).proposals(), [Proposal::restart(WEB)]);
    let incident = incident.attempt(restarted(WEB, Outcome::Succeeded));
    assert_eq!(decide(&incident, &ladder()).proposals(), [repair(WEB, "web")]);
    let incident = incident.attempt(ran(WEB, Outcome::Succeeded));
    assert!(matches!(decide(&incident, &ladder()), Decision::Escalate { .. }));
}

#[test]
fn a_retry_that_was_held_back_is_still_a_retry() {
    let spent = down().attempt(restarted(WEB, Outcome::Succeeded)).attempt(ran(WEB, Outcome::Succeeded));
    assert_eq!(decide(&spent.clone().trigger(Trigger::HoldOver), &ladder()).proposals(), [Proposal::restart(WEB)]);
    for trigger in [Trigger::NotHealed, Trigger::Interrupted, Trigger::Alert, Trigger::Other("news".to_owned())] {
        assert!(matches!(decide(&spent.clone().trigger(trigger), &ladder()), Decision::Escalate { .. }));
    }
}

#[test]
fn a_retry_without_a_playbook_restarts_once_more() {
    let incident = down().attempt(restarted(WEB, Outcome::Succeeded)).trigger(Trigger::Retry);
    assert_eq!(decide(&incident, &settings("{}")).proposals(), [Proposal::restart(WEB)]);
    let incident = incident.attempt(restarted(WEB, Outcome::Succeeded));
    assert!(matches!(decide(&incident, &settings("{}")), Decision::Escalate { .. }));
}

#[test]
fn several_targets_are_taken_one_at_a_time_and_the_least_tried_first() {
    let mut incident = Incident::firing("WebDown").target(Target::named(API).state(State::Running)).target(WEB);
    incident.targets[1].state = State::Exited;
    let mut proposed = Vec::new();
    while let [proposal] = decide(&incident, &ladder()).proposals() {
        proposed.push(proposal.clone());
        incident = incident.attempt(Attempt::of(proposal.kind().clone(), proposal.target(), Outcome::Succeeded));
        incident.targets[1].state = State::Running;
    }
    assert_eq!(proposed, [Proposal::restart(WEB), Proposal::restart(API), repair(API, "api"), repair(WEB, "web")]);
    let last = decide(&incident, &ladder());
    assert!(last.reason().ends_with("nothing is left to try on local/api, local/web"), "{}", last.reason());
}

#[test]
fn without_a_target_it_says_what_to_configure() {
    let decision = decide(&Incident::firing("WebDown"), &ladder());
    let expected =
        "WebDown names no container: give this policy `settings.target`, or map the alert under `targets` in paramedic.yaml";
    assert_eq!(decision, Decision::escalate(expected));
}

#[test]
fn a_target_in_the_settings_wins_over_those_of_the_alert() {
    let decision = decide(&down(), &settings(r#"{"target": "local/api"}"#));
    assert_eq!(decision, Decision::act("WebDown fires: restart local/api", [Proposal::restart(API)]));
}

#[test]
fn a_container_that_is_gone_is_not_restarted() {
    let gone = Incident::firing("WebDown").target(Target::named(WEB).state(State::Missing));
    assert_eq!(decide(&gone, &ladder()).proposals(), [repair(WEB, "web")]);
    let decision = decide(&gone, &settings("{}"));
    assert!(matches!(&decision, Decision::Escalate { reason } if reason.contains("local/web is missing")), "{decision:?}");
}

#[test]
fn variables_replace_the_usual_one() {
    let with = |variables| settings(&json!({"restarts": 0, "then_playbook": "repair.yml", "variables": variables}).to_string());
    let decision = decide(&down(), &with(json!({"name": {"label": "container"}, "retries": 3})));
    let expected = Proposal::playbook("repair.yml").about(WEB).var("name", "web").var("retries", 3);
    assert_eq!(decision.proposals(), [expected]);
    assert_eq!(decide(&down(), &with(json!({}))).proposals(), [Proposal::playbook("repair.yml").about(WEB)]);
    let decision = decide(&down(), &with(json!({"name": {"label": "pod"}})));
    assert!(matches!(&decision, Decision::Escalate { reason } if reason.contains("label `pod`")), "{decision:?}");
}

#[test]
fn settings_that_allow_nothing_are_said_so() {
    let decision = decide(&down().trigger(Trigger::Retry), &settings(r#"{"restarts": 0}"#));
    assert_eq!(
        decision,
        Decision::escalate("WebDown fires, but the settings allow neither a restart nor a playbook for local/web")
    );
}

#[test]
fn unknown_settings_are_refused() {
    assert!(parse_settings::<Settings>(r#"{"restart": 2}"#).unwrap_err().contains("unknown field `restart`"));
    assert!(parse_settings::<Settings>(r#"{"restarts": -1}"#).is_err());
    assert_eq!(settings_schema::<Settings>()["additionalProperties"], false);
}

#[test]
fn a_persons_no_is_not_asked_about_again() {
    let decision = decide(&down().trigger(Trigger::Denied), &settings("{}"));
    assert!(decision.proposals().is_empty() && decision.reason().contains("said no"), "{decision:?}");
}
