//! The life of an incident: what follows from what was written, and nothing else.

use paramedic::action::{Action, DockerVerb, Ending, Outcome, Proposal};
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
use paramedic::clock::Time;
use paramedic::incident::{Answer, Closing, Decision, Due, Event, Incident, Mode, Phase, Rule, Step, Trigger, Verdict};

fn alert(status: Status) -> Alert {
    Alert {
        family: Family::Prometheus,
        status,
        labels: Labels::from([("alertname".to_owned(), "Down".to_owned())]),
        annotations: Labels::new(),
        starts_at: Time(0),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    }
}

fn opened() -> Event {
    Event::Opened { alert: alert(Status::Firing), via: Via::Webhook }
}

fn asked(trigger: Trigger) -> Event {
    Event::Asked { trigger, targets: Vec::new(), ambiguous: Vec::new() }
}

fn wish() -> Proposal {
    Proposal::Docker { verb: DockerVerb::Restart, target: "local/web".to_owned(), grace_seconds: None, signal: None }
}

fn answered(mode: Mode, decision: Result<Decision, String>) -> Event {
    Event::Decided(Answer {
        policy: "p".to_owned(),
        mode,
        plugin: "d".to_owned(),
        settings: serde_json::Value::Null,
        decision,
        log: Vec::new(),
        lookups: Vec::new(),
        policy_file: String::new(),
        limits: None,
        micros: 1,
    })
}

fn acts() -> Event {
    answered(Mode::Enforce, Ok(Decision::Act { reason: "r".to_owned(), proposals: vec![wish()] }))
}

fn intended(attempt: u32, intent: u32) -> Event {
    let action = Action::Docker {
        verb: DockerVerb::Restart,
        target: "local/web".parse().unwrap(),
        container: "abc".parse().unwrap(),
        started_at: String::new(),
        grace_seconds: None,
        signal: None,
    };
    Event::Intended { attempt, intent, action }
}

fn ended(intent: u32, ending: Ending) -> Event {
    Event::Ended { intent, outcome: Outcome { ending, message: String::new(), touched: false, output: Vec::new() } }
}

fn verified(verdict: Verdict) -> Event {
    Event::Verified { attempt: 1, verdict, message: String::new() }
}

fn after(events: &[Event]) -> Incident {
    let id = IncidentId { key: Key::of(Family::Prometheus, &Labels::new(), &[]), n: 1 };
    let numbered = events.iter().enumerate().map(|(i, event)| (i as u64 + 1, Time(i as i64 * 1000), event));
    Incident::from_events(&id, numbered).expect("begins with opened")
}

fn next(events: &[Event]) -> Step {
    after(events).next()
}

#[test]
fn a_question_that_was_asked_and_not_answered_is_asked_again() {
    assert_eq!(next(&[opened()]), Step::Ask(Trigger::Alert));
    assert_eq!(next(&[opened(), asked(Trigger::Alert)]), Step::Ask(Trigger::Alert));
}

#[test]
fn an_observing_policy_is_never_followed() {
    let observed = answered(Mode::Observe, Ok(Decision::Act { reason: "r".to_owned(), proposals: vec![wish()] }));
    let incident = after(&[opened(), asked(Trigger::Alert), observed]);
    assert!(incident.owner.is_none());
    assert_eq!(incident.next(), Step::Ask(Trigger::Alert));
}

#[test]
fn a_pass_and_an_error_leave_the_question_open_and_anything_else_owns() {
    let pass = answered(Mode::Enforce, Ok(Decision::Pass { reason: "r".to_owned() }));
    let error = answered(Mode::Enforce, Err("trap".to_owned()));
    assert!(after(&[opened(), asked(Trigger::Alert), pass, error]).owner.is_none());
    let ignore = answered(Mode::Enforce, Ok(Decision::Ignore { reason: "r".to_owned() }));
    let incident = after(&[opened(), asked(Trigger::Alert), ignore]);
    assert_eq!(incident.owner.as_ref().map(|owner| owner.policy.as_str()), Some("p"));
    assert_eq!(incident.state(), "watching");
}

#[test]
fn an_intent_that_never_began_is_carried_and_one_that_began_is_found_out() {
    let story = [opened(), asked(Trigger::Alert), acts(), intended(1, 1), intended(1, 2)];
    assert_eq!(next(&story), Step::Carry(1));
    let mut begun = story.to_vec();
    begun.push(Event::Begun { intent: 1 });
    assert_eq!(next(&begun), Step::FindOut(1));
    begun.push(ended(1, Ending::Succeeded));
    assert_eq!(next(&begun), Step::Carry(2));
}

#[test]
fn the_first_action_that_fails_ends_the_attempt() {
    let mut story = vec![opened(), asked(Trigger::Alert), acts(), intended(1, 1), intended(1, 2), Event::Begun { intent: 1 }];
    story.push(ended(1, Ending::Failed));
    assert_eq!(next(&story), Step::Cancel(2));
    story.push(Event::Cancelled { intent: 2, message: String::new() });
    assert_eq!(next(&story), Step::ClearOr(Trigger::NotHealed));
}

#[test]
fn an_attempt_that_may_have_had_an_effect_is_looked_at_first() {
    for ending in [Ending::Succeeded, Ending::TimedOut, Ending::Interrupted] {
        let story = [opened(), asked(Trigger::Alert), acts(), intended(1, 1), Event::Begun { intent: 1 }, ended(1, ending)];
        assert!(matches!(next(&story), Step::Verify { attempt: 1, .. }), "{ending:?}");
    }
}

#[test]
fn an_attempt_that_failed_after_it_changed_something_is_looked_at_first() {
    let outcome = Outcome { ending: Ending::Failed, message: String::new(), touched: true, output: Vec::new() };
    let halfway = Event::Ended { intent: 1, outcome };
    let story = [opened(), asked(Trigger::Alert), acts(), intended(1, 1), Event::Begun { intent: 1 }, halfway];
    assert!(matches!(next(&story), Step::Verify { attempt: 1, .. }));
}

#[test]
fn only_a_positive_observation_closes_as_healed() {
    let story =
        [opened(), asked(Trigger::Alert), acts(), intended(1, 1), Event::Begun { intent: 1 }, ended(1, Ending::Succeeded)];
    let with = |verdict| next(&story.iter().cloned().chain([verified(verdict)]).collect::<Vec<_>>());
    assert_eq!(with(Verdict::Healed), Step::Close(Closing::Healed));
    assert_eq!(with(Verdict::NotHealed), Step::ClearOr(Trigger::NotHealed));
    assert_eq!(with(Verdict::Unclear), Step::ClearOr(Trigger::NotHealed));
}

#[test]
fn an_interrupted_attempt_that_did_not_help_is_asked_about_as_interrupted() {
    let story = [
        opened(),
        asked(Trigger::Alert),
        acts(),
        intended(1, 1),
        Event::Begun { intent: 1 },
        ended(1, Ending::Interrupted),
        verified(Verdict::NotHealed),
    ];
    assert_eq!(next(&story), Step::ClearOr(Trigger::Interrupted));
}

#[test]
fn a_refusal_escalates_and_a_hold_rests_with_what_was_wanted() {
    let refused = Event::Refused { attempt: 1, proposal: wish(), rule: Rule::NotGranted, message: "no grant".to_owned() };
    assert_eq!(next(&[opened(), asked(Trigger::Alert), acts(), refused]), Step::Escalate("no grant".to_owned()));
    let held = Event::Held { rule: Rule::Silenced, message: String::new(), until: None };
    let incident = after(&[opened(), asked(Trigger::Alert), acts(), held]);
    assert_eq!(incident.next(), Step::Rest { until: None, then: Some(Due::Ask(Trigger::HoldOver)) });
    assert!(matches!(&incident.phase, Phase::Held { proposals, rule: Rule::Silenced, .. } if *proposals == [wish()]));
}

#[test]
fn escalation_ends_the_questions_until_a_person_retries() {
    let story = [opened(), asked(Trigger::Alert), Event::Escalated { message: String::new() }];
    assert_eq!(next(&story), Step::Rest { until: None, then: None });
    let retried = Event::Retried { by: "ann".to_owned(), message: String::new() };
    assert_eq!(next(&story.iter().cloned().chain([retried]).collect::<Vec<_>>()), Step::Ask(Trigger::Retry));
}

#[test]
fn a_resolved_message_changes_what_was_heard_and_nothing_else() {
    let heard = Event::Heard { alert: alert(Status::Resolved), via: Via::Webhook };
    let story = [opened(), asked(Trigger::Alert), acts(), intended(1, 1), Event::Begun { intent: 1 }, heard];
    let incident = after(&story);
    assert_eq!(incident.next(), Step::FindOut(1));
    assert_eq!(incident.heard.get(&Via::Webhook).map(|(status, _)| *status), Some(Status::Resolved));
}

#[test]
fn a_closed_incident_has_no_next_step() {
    let closed = Event::Closed { how: Closing::Cleared, message: String::new() };
    assert_eq!(next(&[opened(), closed]), Step::Done);
}

#[test]
fn attempts_and_intents_are_numbered_through() {
    let story = [opened(), acts(), intended(1, 1), intended(1, 2), Event::Begun { intent: 1 }, ended(1, Ending::Succeeded)];
    let incident = after(&story);
    assert_eq!((incident.next_attempt(), incident.next_intent()), (2, 3));
}
