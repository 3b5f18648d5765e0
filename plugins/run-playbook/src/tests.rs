//! What is run, with what, how often. No wasm is needed for any of it.
#![allow(clippy::unwrap_used)]

use paramedic_policy::{Attempt, Outcome, State, Value, json, parse_settings, settings_schema};

use super::*;

const WEB: &str = "local/web";

fn settings(json: &Value) -> Settings {
    parse_settings(&json.to_string()).unwrap()
}

fn plain() -> Settings {
    settings(&json!({"playbook": "repair.yml"}))
}

fn firing() -> Incident {
    Incident::firing("WebDown").label("container", "web").target(WEB)
}

fn ran(target: &str, outcome: Outcome) -> Attempt {
    Attempt::of(Kind::AnsiblePlaybook, target, outcome).detail("repair.yml").message("exit code 2")
}

#[test]
fn it_runs_the_playbook_about_the_only_target() {
    let expected = Decision::act("WebDown fires: run repair.yml about local/web", [Proposal::playbook("repair.yml").about(WEB)]);
    assert_eq!(decide(&firing(), &plain()), expected);
}

#[test]
fn host_and_variables_are_handed_on() {
    let settings = settings(&json!({
        "playbook": "repair.yml", "host": "localhost", "about": "local/api",
        "variables": {"container": {"label": "container"}, "retries": 3},
    }));
    let expected =
        Proposal::playbook("repair.yml").about("local/api").host("localhost").var("container", "web").var("retries", 3);
    assert_eq!(decide(&firing(), &settings).proposals(), [expected]);
}

#[test]
fn a_label_that_is_missing_escalates() {
    let settings = settings(&json!({"playbook": "repair.yml", "variables": {"pod": {"label": "pod"}}}));
    let expected = "playbook repair.yml cannot be run: variable `pod` is the alert's label `pod`, which this alert does not have";
    assert_eq!(decide(&firing(), &settings), Decision::escalate(expected));
}

#[test]
fn it_runs_so_many_times_and_then_says_how_that_ended() {
    let twice = settings(&json!({"playbook": "repair.yml", "times": 2}));
    let incident = firing().attempt(ran(WEB, Outcome::Failed));
    assert!(matches!(decide(&incident, &plain()), Decision::Escalate { .. }));
    assert_eq!(decide(&incident, &twice).proposals().len(), 1);
    let expected = "WebDown still fires after ansible.playbook repair.yml about local/web failed (exit code 2), \
                    then ansible.playbook repair.yml about local/web succeeded but did not heal it; nothing is left to try";
    assert_eq!(decide(&incident.attempt(ran(WEB, Outcome::Succeeded)), &twice), Decision::escalate(expected));
}

#[test]
fn what_was_never_begun_does_not_count() {
    let incident = firing().attempt(ran(WEB, Outcome::Refused)).trigger(Trigger::Retry);
    assert_eq!(decide(&incident, &plain()).proposals().len(), 1);
}

#[test]
fn a_retry_runs_it_once_more() {
    let incident = firing().attempt(ran(WEB, Outcome::Succeeded)).trigger(Trigger::Retry);
    assert_eq!(decide(&incident, &plain()).proposals().len(), 1);
    assert!(matches!(decide(&incident.attempt(ran(WEB, Outcome::Succeeded)), &plain()), Decision::Escalate { .. }));
}

#[test]
fn several_targets_are_taken_one_at_a_time() {
    let incident = firing().target(Target::named("local/api").state(State::Exited));
    assert_eq!(decide(&incident, &plain()).proposals()[0].target(), "local/api");
    let incident = incident.attempt(ran("local/api", Outcome::Succeeded));
    assert_eq!(decide(&incident, &plain()).proposals()[0].target(), WEB);
    let incident = incident.attempt(ran(WEB, Outcome::Succeeded));
    assert!(matches!(decide(&incident, &plain()), Decision::Escalate { .. }));
}

#[test]
fn without_a_target_it_says_what_to_configure() {
    let expected =
        "WebDown names no target: give this policy `settings.about`, or map the alert under `targets` in paramedic.yaml";
    assert_eq!(decide(&Incident::firing("WebDown"), &plain()), Decision::escalate(expected));
}

#[test]
fn a_playbook_must_be_named_and_nothing_unknown_be_said() {
    assert!(parse_settings::<Settings>("{}").unwrap_err().contains("missing field `playbook`"));
    assert!(
        parse_settings::<Settings>(r#"{"playbook": "x.yml", "hosts": "all"}"#).unwrap_err().contains("unknown field `hosts`")
    );
    let schema = settings_schema::<Settings>();
    assert_eq!(schema["required"], json!(["playbook"]));
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn a_persons_no_is_not_asked_about_again() {
    let decision = decide(&firing().trigger(Trigger::Denied), &plain());
    assert!(decision.proposals().is_empty() && decision.reason().contains("said no"), "{decision:?}");
}
