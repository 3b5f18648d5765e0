//! What is said about rules that make no sense: when the settings are read, and when a condition is evaluated.

use super::*;

/// What is said when settings are read: by the types, or by the check.
fn refused(settings: &Value) -> String {
    match parse_settings::<Settings>(&settings.to_string()) {
        Err(why) => why,
        Ok(settings) => check(&settings).unwrap_err(),
    }
}

fn refused_rule(rule: Value) -> String {
    refused(
        &json!({"lookups": {"disk": {"metrics": "up"}, "db": {"container": "local/db"}}, "rules": [{"ignore": "fine"}, rule]}),
    )
}

#[test]
fn a_condition_that_cannot_be_read_says_where() {
    for (when, expected) in [
        ("target.state = 'exited'", "rule 2: `when`, column 14: "),
        ("tried('docker.restart') >", "rule 2: `when`, column 26: "),
        ("alert.age > duration('5m'", "rule 2: `when`, column 26: "),
        (
            "targt.down",
            "rule 2: `when`, column 1: there is no `targt`; there are alert, annotations, attempts, labels, now, target, targets, trigger, what_was_tried, and the lookups db, disk",
        ),
        ("true &&\n  targt.down", "rule 2: `when`, line 2, column 3: there is no `targt`"),
        (
            "target.stat == 'x'",
            "rule 2: `when`, column 8: `target` has no `stat`; it has name, container, host, state, down, inventory_host",
        ),
        ("db.exitcode == 1", "rule 2: `when`, column 4: `db` has no `exitcode`; it has name, id, image"),
        (
            "tired('docker.restart') > 1",
            "rule 2: `when`, column 1: there is no function `tired`; there are answered, problem, tried",
        ),
        ("answered('disk')", "`answered(...)` takes the name of a lookup; there are db, disk"),
        ("targets.exists(t, u.down)", "there is no `u`"),
    ] {
        let said = refused_rule(json!({"when": when, "ignore": "x"}));
        assert!(said.contains(expected), "{when}: {said}");
    }
}

#[test]
fn a_text_that_cannot_be_read_says_where() {
    for (rule, expected) in [
        (json!({"ignore": "a ${labels.x"}), "rule 2: `${labels.x` has no closing brace"),
        (
            json!({"restart": {}, "name": "again", "reason": "${nope}"}),
            "rule 2 (again): `reason`: `${nope}`, column 1: there is no `nope`",
        ),
        (
            json!({"playbook": {"name": "x.yml", "variables": {"a": ["${labels.}"]}}}),
            "rule 2: variable `a`: `${labels.}`, column",
        ),
        (json!({"silence": {"for": "1h", "match": ["alertname"]}}), "rule 2: `alertname` is no matcher"),
        (json!({"silence": {"for": "1h", "match": ["a=\"${labels.x}\""]}}), "stands between quotes: leave them out"),
        (json!({"act": [{"restart": {}}, {"notify": {"channel": "x", "text": "${y}"}}]}), "there is no `y`"),
    ] {
        let said = refused_rule(rule);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_rule_decides_exactly_one_thing() {
    assert!(refused_rule(json!({"when": "true"})).contains("a rule decides nothing: it needs one of restart, start"));
    assert!(refused_rule(json!({"restart": {}, "wait": "5m"})).contains("a rule has both `restart` and `wait`"));
    assert!(refused_rule(json!({"restrat": {}})).contains("unknown variant `restrat`, expected one of `restart`"));
    assert!(
        refused_rule(json!({"restart": {"grace": 3}})).contains("unknown field `grace`, expected `target` or `grace_seconds`")
    );
    assert!(refused_rule(json!({"wait": "5m"})).contains("`wait` needs `when`"));
    assert!(refused_rule(json!({"wait": "soon", "when": "true"})).contains("`soon` is not a length of time"));
    assert!(refused_rule(json!({"ignore": "x", "reason": "y"})).contains("written twice"));
    assert!(refused_rule(json!({"ignore": "x", "times": 2})).contains("`times` is for rules that do something"));
    assert!(refused_rule(json!({"act": []})).contains("`act` has nothing to do"));
    assert!(refused_rule(json!({"kill": {}})).contains("missing field `signal`"));
}

#[test]
fn lookups_and_the_rest_are_checked_too() {
    let with = |name: &str, lookup: Value| {
        refused(&json!({"lookups": {name: lookup, "up": {"metrics": "up"}}, "rules": [{"ignore": "x"}]}))
    };
    let said = with("disk", json!({"metrics": "up{job=\"${labels.job}\"}"}));
    assert!(said.starts_with("lookup `disk`: `${labels.job}` stands between quotes"), "{said}");
    let said = with("disk", json!({"metrics": "x > ${number(up)}"}));
    assert!(said.contains("there is no `up`") && said.contains("a lookup cannot use another one"), "{said}");
    assert!(with("labels", json!({"container": "local/x"})).contains("that name means something else already"));
    assert!(with("Disk-1", json!({"container": "local/x"})).contains("its name may have small letters"));
    assert!(with("disk", json!({"metric": "up"})).contains("unknown variant `metric`"));
    assert!(refused(&json!({"rules": []})).contains("the settings have no rules"));
    assert!(refused(&json!({"rules": [{"ignore": "x"}], "time_zone": "Berlin"})).contains("`time_zone: Berlin` is not known"));
}

#[test]
fn what_goes_wrong_later_names_the_rule_and_what_to_write() {
    for (condition, expected) in [
        (
            "labels.team == 'web'",
            "rule 1: `labels.team == 'web'`: the alert has no label `team`: write `labels.?team.orValue(\"\")` or `\"team\" in labels` if it may be missing",
        ),
        ("labels['team'] == 'web'", "the alert has no label `team`"),
        ("annotations.runbook == ''", "the alert has no annotation `runbook`"),
        ("alert.name", "rule 1: `alert.name` is a string, not true or false"),
        ("alert.age > '5m'", "cannot be"),
        ("alert.age > duration('soon')", "`duration(...)`: `soon` is not a length of time"),
        ("alert.name.matches('(')", "`matches(...)`: "),
        ("targets[3].down", "ndex out of bounds"),
        ("tried(3) > 1", "it takes a kind of action"),
    ] {
        let error = holds(condition).unwrap_err();
        assert!(error.contains(expected), "{condition}: {error}");
    }
}

#[test]
fn a_value_that_an_action_needs_is_not_guessed() {
    let about = |rule: Value| in_world(&Fake::new(), &rules(json!([rule])), &firing()).unwrap_err();
    assert!(about(json!({"restart": "local/${labels.container}"})).contains("the alert has no label `container`"));
    let said = about(json!({"playbook": {"name": "x.yml", "variables": {"a": "${labels.b}"}}}));
    assert!(said.starts_with("rule 1: variable `a`: the alert has no label `b`"), "{said}");
    assert!(about(json!({"silence": {"for": "1h", "match": ["a=${targets}"]}})).contains("a list cannot be filled in there"));
}

#[test]
fn the_schema_tells_an_editor_everything() {
    let schema = settings_schema::<Settings>();
    let rule = &schema["$defs"]["Rule"];
    assert_eq!(rule["additionalProperties"], false);
    assert_eq!(rule["oneOf"].as_array().unwrap().len(), 15);
    let properties = rule["properties"].as_object().unwrap();
    assert_eq!(properties.len(), 19);
    for (name, property) in properties {
        assert!(property["description"].as_str().is_some_and(|text| text.len() > 8), "{name} is not described: {property}");
    }
}
