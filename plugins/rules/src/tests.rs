//! What rules decide, and what is said about those that make no sense. No wasm is needed for any of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use paramedic_policy::lookup::{Container, Fake, LookupError, PastIncident, Sample};
use paramedic_policy::{Attempt, Matcher, Outcome, Proposal, State, Value, json, parse_settings, settings_schema};

use super::*;

mod mistakes;

const WEB: &str = "local/web";

fn settings(json: &Value) -> Settings {
    let settings = parse_settings(&json.to_string()).unwrap();
    check(&settings).unwrap();
    settings
}

/// Settings with these rules and no more.
fn rules(rules: Value) -> Settings {
    settings(&json!({ "rules": rules }))
}

fn firing() -> Incident {
    Incident::firing("WebDown")
        .label("instance", "web:80")
        .label("severity", "critical")
        .annotation("summary", "web is down")
        .target(Target::named(WEB).state(State::Exited).inventory_host("web1"))
}

fn tried(kind: Kind) -> Attempt {
    Attempt::of(kind, WEB, Outcome::Succeeded)
}

fn asked(settings: &Settings, incident: &Incident) -> Decision {
    Fake::new().judge(decide, incident, settings).unwrap()
}

fn in_world(world: &Fake, settings: &Settings, incident: &Incident) -> Result<Decision, String> {
    world.judge(decide, incident, settings)
}

/// Whether that condition holds about the usual incident, in a world without anything.
fn holds(condition: &str) -> Result<bool, String> {
    holds_about(&firing(), condition)
}

fn holds_about(incident: &Incident, condition: &str) -> Result<bool, String> {
    let settings = rules(json!([{ "when": condition, "ignore": "yes" }]));
    in_world(&Fake::new(), &settings, incident).map(|d| matches!(d, Decision::Ignore { .. }))
}

#[test]
fn a_list_is_a_ladder() {
    let ladder = rules(json!([{"restart": null}, {"playbook": "repair.yml"}, {"escalate": "${alert.name}: ${what_was_tried}"}]));
    let incident = firing();
    assert_eq!(asked(&ladder, &incident), Decision::act("WebDown fires: restart local/web", [Proposal::restart(WEB)]));
    let incident = incident.attempt(tried(Kind::DockerRestart));
    assert_eq!(asked(&ladder, &incident).proposals(), [Proposal::playbook("repair.yml").about(WEB)]);
    let incident = incident.attempt(tried(Kind::AnsiblePlaybook).detail("repair.yml"));
    let expected = "WebDown: docker.restart of local/web succeeded but did not heal it, \
                    then ansible.playbook repair.yml about local/web succeeded but did not heal it";
    assert_eq!(asked(&ladder, &incident), Decision::escalate(expected));
}

#[test]
fn times_counts_what_was_begun_on_that_target_and_nothing_else() {
    let twice = rules(json!([{"restart": {}, "times": 2}]));
    let incident = firing().attempt(Attempt::of(Kind::DockerRestart, WEB, Outcome::Refused)).attempt(tried(Kind::DockerRestart));
    let incident = incident.attempt(Attempt::of(Kind::DockerRestart, "local/other", Outcome::Failed));
    assert_eq!(asked(&twice, &incident).proposals(), [Proposal::restart(WEB)]);
    let incident = incident.attempt(tried(Kind::DockerRestart));
    assert!(matches!(asked(&twice, &incident), Decision::Escalate { .. }));
}

#[test]
fn two_playbooks_are_two_rungs() {
    let both = rules(json!([{"playbook": "a.yml"}, {"playbook": {"name": "b.yml"}}]));
    let incident = firing().attempt(tried(Kind::AnsiblePlaybook).detail("a.yml"));
    assert_eq!(asked(&both, &incident).proposals(), [Proposal::playbook("b.yml").about(WEB)]);
}

#[test]
fn a_retry_begins_again_and_a_no_ends_it() {
    let ladder = rules(json!([{"restart": {}}, {"escalate": "nothing left"}]));
    let end = firing().attempt(tried(Kind::DockerRestart));
    assert_eq!(asked(&ladder, &end), Decision::escalate("nothing left"));
    assert_eq!(asked(&ladder, &end.clone().trigger(Trigger::Retry)).proposals(), [Proposal::restart(WEB)]);
    let without = rules(json!([{"restart": {}}]));
    assert_eq!(asked(&without, &end.clone().trigger(Trigger::HoldOver)).proposals(), [Proposal::restart(WEB)]);
    assert_eq!(asked(&ladder, &firing().trigger(Trigger::Denied)), Decision::escalate("nothing left"));
    assert!(asked(&without, &firing().trigger(Trigger::Denied)).reason().contains("said no"));
}

#[test]
fn what_is_down_and_least_tried_is_the_target() {
    let restart = rules(json!([{"restart": {}, "times": 5}]));
    let incident = firing().target(Target::named("local/a").state(State::Running)).target("local/b");
    assert_eq!(asked(&restart, &incident).proposals()[0].target(), WEB);
    let incident = incident.attempt(tried(Kind::DockerRestart));
    assert_eq!(asked(&restart, &incident).proposals()[0].target(), "local/a");
    let fixed = settings(&json!({"target": "local/proxy", "rules": [{"restart": {}}]}));
    assert_eq!(asked(&fixed, &incident).proposals()[0].target(), "local/proxy");
}

#[test]
fn without_a_target_it_says_what_to_configure() {
    let nobody = Incident::firing("WebDown");
    let expected = "WebDown names no target: map it under `targets` in paramedic.yaml, or give the settings a `target`";
    assert_eq!(asked(&rules(json!([{"restart": {}}])), &nobody), Decision::escalate(expected));
    let error = in_world(&Fake::new(), &rules(json!([{"when": "target.down", "ignore": "x"}])), &nobody).unwrap_err();
    assert_eq!(error, format!("rule 1: `target.down`: {expected}"));
    assert_eq!(asked(&rules(json!([{"restart": "local/x"}])), &nobody).proposals(), [Proposal::restart("local/x")]);
}

#[test]
fn every_action_can_be_written() {
    let all = rules(json!([{"act": [
        {"restart": {"grace_seconds": 5}}, {"start": null}, {"stop": {"grace_seconds": 1}}, {"pause": {}}, {"unpause": "local/${target.container}"},
        {"kill": "SIGHUP"},
        {"playbook": {"name": "r.yml", "host": "${target.inventory_host}", "tags": ["logs"], "check": true,
            "variables": {"port": "${int(labels.instance.split(':')[1])}", "who": "the ${labels.severity} one", "n": 3, "deep": [{"a": "${target.down}"}]}}},
        {"silence": "1h"},
        {"silence": {"for": "30m", "match": ["alertname=~\"Web.*\"", "instance=${labels.instance}"], "comment": "about ${target.name}"}},
        {"expire_silences": {}},
        {"notify": {"channel": "team", "text": "${annotations.summary}"}},
    ], "reason": "because"}]));
    let exactly = [("alertname", "WebDown"), ("instance", "web:80"), ("severity", "critical")];
    let expected = [
        Proposal::restart(WEB).grace(5),
        Proposal::start(WEB),
        Proposal::stop(WEB).grace(1),
        Proposal::pause(WEB),
        Proposal::unpause(WEB),
        Proposal::kill(WEB).signal("SIGHUP"),
        Proposal::playbook("r.yml").about(WEB).host("web1").tag("logs").check().vars([
            ("deep".to_owned(), json!([{"a": true}])),
            ("n".to_owned(), json!(3)),
            ("port".to_owned(), json!(80)),
            ("who".to_owned(), json!("the critical one")),
        ]),
        Proposal::silence(exactly.map(|(n, v)| Matcher::is(n, v)), Duration::from_secs(3600)).about(WEB).comment("because"),
        Proposal::silence([Matcher::like("alertname", "Web.*"), Matcher::is("instance", "web:80")], Duration::from_secs(1800))
            .about(WEB)
            .comment("about local/web"),
        Proposal::expire_silences(WEB),
        Proposal::notify("team", "web is down").about(WEB),
    ];
    let decision = asked(&all, &firing());
    assert_eq!(decision.reason(), "because");
    for (is, should) in decision.proposals().iter().zip(&expected) {
        assert_eq!(is, should);
    }
    assert_eq!(decision.proposals().len(), expected.len());
}

#[test]
fn every_judgement_can_be_written() {
    let about = |rule: Value| asked(&rules(json!([rule])), &firing());
    assert_eq!(about(json!({"ignore": "only ${alert.name}"})), Decision::ignore("only WebDown"));
    assert_eq!(about(json!({"pass": "not mine"})), Decision::pass("not mine"));
    assert_eq!(about(json!({"escalate": "help"})), Decision::escalate("help"));
    let wait = json!({"when": "alert.age < duration('5m')", "wait": "1m30s", "reason": "${alert.age} s only"});
    assert_eq!(about(wait), Decision::wait("15 s only", Duration::from_secs(90)));
    assert_eq!(about(json!({"when": "false", "ignore": "x"})), Decision::escalate("WebDown fires, and no rule fits"));
    let passing = settings(&json!({"rules": [{"when": "false", "ignore": "x"}], "otherwise": "pass"}));
    assert_eq!(asked(&passing, &firing()), Decision::pass("no rule fits WebDown"));
}

#[test]
fn conditions_see_the_incident() {
    let incident = firing().attempt(tried(Kind::DockerRestart).message("ok"));
    for condition in [
        "alert.name == 'WebDown' && alert.status == 'firing' && alert.source == 'prometheus'",
        "labels.severity in ['critical', 'page'] && labels['instance'].endsWith(':80')",
        "annotations.summary.contains('down') && annotations.summary.matches('^web is (down|slow)$')",
        "target.name == 'local/web' && target.host == 'local' && target.container == 'web' && target.down && target.state == 'exited'",
        "targets.size() == 1 && targets[0].inventory_host == 'web1'",
        "attempts.size() == 1 && attempts[0].actions[0].kind == 'docker.restart' && attempts[0].verification == 'not-healed'",
        "tried('docker.restart') == 1 && tried('ansible.playbook') == 0 && tried('docker.restart', 'x') == 0",
        "trigger == 'not-healed' && alert.age >= duration('1m') && duration('1h30m') == 5400",
        "now.date == '2023-11-14' && now.time == '22:14' && now.hour == 22 && now.weekday == 'tue' && now.unix > 1700000000",
        "what_was_tried.startsWith('docker.restart of local/web')",
        "labels.?team.orValue('none') == 'none' && !has(labels.team) && !('team' in labels)",
        "'a.b'.matches(literal('a.b')) && !'axb'.matches(literal('a.b'))",
        "targets.exists(t, t.down) && targets.all(t, t.name.startsWith('local/')) && targets.map(t, t.name).join(',') == 'local/web'",
    ] {
        assert_eq!(holds_about(&incident, condition), Ok(true), "{condition}");
    }
}

#[test]
fn the_clock_is_that_of_the_zone() {
    let rule = json!([{"when": "now.time == '23:13' && now.hour == 23", "ignore": "x"}]);
    let berlin = settings(&json!({"time_zone": "Europe/Berlin", "rules": rule}));
    assert_eq!(asked(&berlin, &firing()), Decision::ignore("x"));
}

fn seeing() -> Settings {
    settings(&json!({
        "lookups": {
            "disk": {"metrics": "free{instance=${labels.instance}} < 5"},
            "db": {"container": "local/db"},
            "tier": {"containers": {"host": "${target.host}", "labels": {"tier": "web"}}},
            "tail": {"log": {"lines": 2}},
            "past": {"history": {"within": "24h"}},
        },
        "rules": [
            {"when": "labels.severity == 'disk' && number(disk) < 1.0", "escalate": "${disk[0].labels.device} has ${number(disk)} left"},
            {"when": "labels.severity == 'db' && db.state != 'running'", "ignore": "db is ${db.state} with ${db.exit_code}"},
            {"when": "labels.severity == 'tier' && tier.filter(c, c.state == 'running').size() < 2", "escalate": "${tier.map(c, c.name)}"},
            {"when": "labels.severity == 'tail'", "escalate": "it said: ${tail.join(' | ')}"},
            {"when": "labels.severity == 'past' && past.tried('docker.restart') >= 2", "escalate": "restarted ${past.size()} times"},
            {"when": "labels.severity == 'asks' && !answered(disk)", "escalate": "${problem(disk)}"},
        ],
    }))
}

fn world() -> Fake {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    Fake::new()
        .metrics("free{instance=\"web:80\"} < 5", [Sample::of(0.5).label("device", "sda1")])
        .container(Container::named("local/db").exited(137))
        .container(Container::named("local/w1").label("tier", "web"))
        .container(Container::named("local/w2").label("tier", "web").exited(1))
        .log(WEB, ["one", "two", "three"])
        .past(WEB, hours(2), PastIncident::of("WebDown").attempt(tried(Kind::DockerRestart)))
        .past(WEB, hours(3), PastIncident::of("WebDown").attempt(tried(Kind::DockerRestart)))
        .past(WEB, hours(48), PastIncident::of("WebDown").attempt(tried(Kind::DockerRestart)))
}

#[test]
fn a_lookup_is_asked_when_its_name_is_used_and_only_once() {
    for (severity, reason, asked) in [
        ("disk", "sda1 has 0.5 left", "metrics free{instance=\"web:80\"} < 5"),
        ("db", "db is exited with 137", "containers local/db"),
        ("tier", "local/w1, local/w2", "containers local {tier=web}"),
        ("tail", "it said: two | three", "containers.log-tail local/web 2"),
        ("past", "restarted 2 times", "history local/web 86400s"),
    ] {
        let world = world();
        let decision = in_world(&world, &seeing(), &firing().label("severity", severity)).unwrap();
        assert_eq!(decision.reason(), reason);
        assert_eq!(world.asked(), [asked]);
    }
    let world = world();
    in_world(&world, &seeing(), &firing()).unwrap();
    assert_eq!(world.asked(), Vec::<String>::new(), "no rule came to a lookup");
}

#[test]
fn a_container_that_is_not_there_is_missing() {
    let decision = in_world(&Fake::new(), &seeing(), &firing().label("severity", "db")).unwrap();
    assert_eq!(decision, Decision::ignore("db is missing with none"));
    let decision = in_world(&Fake::new(), &seeing(), &firing().label("severity", "tail")).unwrap();
    assert_eq!(decision, Decision::escalate("it said: "));
}

#[test]
fn a_lookup_without_an_answer_is_an_error_in_a_condition_and_a_note_in_a_reason() {
    let broken = || world().failing(Lookup::Metrics, LookupError::Unavailable("Prometheus does not answer".into()));
    let error = in_world(&broken(), &seeing(), &firing().label("severity", "disk")).unwrap_err();
    let expected = "rule 1: `labels.severity == 'disk' && number(disk) < 1.0`: \
                    the lookup `disk` has no answer: unavailable: Prometheus does not answer";
    assert_eq!(error, expected);
    let decision = in_world(&broken(), &seeing(), &firing().label("severity", "asks")).unwrap();
    assert!(decision.reason().contains("Prometheus does not answer"), "{decision:?}");
    let tail = world().failing(Lookup::LogTail, LookupError::AccessDenied("not granted".into()));
    let decision = in_world(&tail, &seeing(), &firing().label("severity", "tail")).unwrap();
    assert_eq!(decision.reason(), "it said: (the lookup `tail` has no answer: access denied: not granted)");
}

#[test]
fn text_of_the_alert_stays_text() {
    let evil = "x\"} or vector(1) # ${labels.severity}";
    let world = Fake::new().metrics("free{instance=\"x\\\"} or vector(1) # ${labels.severity}\"} < 5", []);
    let incident = firing().label("instance", evil).label("severity", "disk").annotation("summary", "${target.name}");
    let error = in_world(&world, &seeing(), &incident).unwrap_err();
    assert!(error.contains("the query found nothing"), "{error}");
    let decision = asked(&rules(json!([{"escalate": "${annotations.summary}, $${labels.x}"}])), &incident);
    assert_eq!(decision.reason(), "${target.name}, ${labels.x}");
    let silence = rules(json!([{"silence": {"for": "1h", "match": ["instance=${labels.instance}"]}}]));
    let expected = Proposal::silence([Matcher::is("instance", evil)], Duration::from_secs(3600)).about(WEB);
    assert_eq!(asked(&silence, &incident).proposals(), [expected.comment("WebDown fires: silence it for local/web")]);
}
