//! Fabricated evidence: what is right passes, and each fault is found under its name.

use serde_json::json;

use super::*;

const WEB: &str = "web";
const OTHER: &str = "other";
const ID: &str = "0123456789abcdef-1";

/// Evidence that is put together piece by piece; times are ms.
#[derive(Default)]
struct Case {
    evidence: Evidence,
}

fn labels(name: &str) -> Labels {
    Labels::from([("alertname".to_owned(), name.to_owned())])
}

fn brakes() -> Brakes {
    let own = TargetBrakes { cooldown: 1_000, attempts: 2, window: 10_000 };
    let targets: BTreeMap<String, TargetBrakes> = [WEB, OTHER].map(|name| (format!("local/{name}"), own)).into();
    let (what, all) = ("everything".to_owned(), targets.keys().cloned().collect());
    let shared = vec![Shared { what, targets: all, actions: vec![(3, 10_000), (4, 60_000)], concurrent: 2 }];
    Brakes { targets, shared }
}

impl Case {
    fn entry(&mut self, incident: &str, at: i64, event: Value) -> &mut Self {
        let pos = self.evidence.journal.len() as u64 + 1;
        self.evidence.journal.push(Line { pos, incident: incident.to_owned(), at, event });
        self
    }

    fn told(&mut self, name: &str, firing: bool, sent: i64, acked: i64) -> &mut Self {
        self.evidence.told.push(Told { labels: labels(name), starts_at: 1, firing, first_sent: sent, sent, acked });
        self
    }

    fn opened(&mut self, incident: &str, name: &str, at: i64) -> &mut Self {
        self.entry(incident, at, json!({ "kind": "opened", "via": "post", "alert": { "labels": labels(name) } }))
    }

    fn closed(&mut self, incident: &str, at: i64) -> &mut Self {
        self.entry(incident, at, json!({ "kind": "closed", "how": "cleared", "message": "over" }))
    }

    fn intended(&mut self, incident: &str, intent: u64, container: &str, at: i64) -> &mut Self {
        let action = json!({ "docker": { "verb": "restart", "target": format!("local/{container}") } });
        self.entry(incident, at, json!({ "kind": "intended", "attempt": intent, "intent": intent, "action": action }))
    }

    fn begun(&mut self, incident: &str, intent: u64, at: i64) -> &mut Self {
        self.entry(incident, at, json!({ "kind": "begun", "intent": intent }))
    }

    fn ended(&mut self, incident: &str, intent: u64, at: i64, ending: &str, message: &str) -> &mut Self {
        let outcome = json!({ "ending": ending, "message": message });
        self.entry(incident, at, json!({ "kind": "ended", "intent": intent, "outcome": outcome }))
    }

    fn restarted(&mut self, container: &str, began: i64, ended: i64) -> &mut Self {
        self.evidence.restarts.push(Deed { container: container.to_owned(), intent: None, began, ended: Some(ended) });
        self
    }

    /// A whole restart: begun 10 ms after its intent, seen 10 ms later, for 100 ms, and written 10 ms after that.
    fn restart(&mut self, incident: &str, intent: u64, container: &str, at: i64) -> &mut Self {
        self.intended(incident, intent, container, at).begun(incident, intent, at + 10);
        self.restarted(container, at + 20, at + 120).ended(incident, intent, at + 130, "succeeded", "restarted")
    }

    /// One alert, one incident, nothing done yet; to be closed by `sound` or by the test.
    fn story() -> Self {
        let mut case = Self::default();
        case.told("A", true, 90, 110).opened(ID, "A", 100);
        case
    }

    fn report(&self) -> Report {
        check(&self.evidence, &brakes())
    }

    /// Only this kind of fault, once, with these words.
    fn finds(&self, kind: &str, words: &str) {
        let report = self.report();
        let found = |name| if name == kind { 1 } else { 0 };
        let counts = [report.lost.len(), report.doubled.len(), report.over_brake.len()];
        assert_eq!(counts, ["lost", "doubled", "over_brake"].map(found), "{report:#?}");
        let all = [report.lost, report.doubled, report.over_brake].concat().join("\n");
        assert!(all.contains(words), "`{words}` is not in {all}");
    }

    fn is_sound(&self) {
        let report = self.report();
        assert!(report.lost.is_empty() && report.doubled.is_empty() && report.over_brake.is_empty(), "{report:#?}");
    }
}

#[test]
fn what_is_right_passes() {
    let mut case = Case::story();
    case.restart(ID, 1, WEB, 200).closed(ID, 5_000).told("A", false, 4_000, 4_001);
    case.is_sound();
    let report = case.report();
    assert_eq!((report.alerts, report.actions, report.ends["cleared"]), (1, 1, 1));
}

#[test]
fn an_acknowledged_alert_without_an_incident_is_lost() {
    let mut case = Case::story();
    case.closed(ID, 500).told("B", true, 600, 610);
    case.finds("lost", "no incident was open");
}

#[test]
fn an_incident_that_was_over_before_does_not_count() {
    let mut case = Case::story();
    case.closed(ID, 500).told("A", true, 501, 510);
    case.finds("lost", "no incident was open");
    let mut in_time = Case::story();
    in_time.closed(ID, 500).told("A", true, 499, 510);
    in_time.is_sound();
}

#[test]
fn a_firing_that_was_overtaken_by_its_end_needs_no_incident() {
    let told = |starts_at: i64, end_at: i64| {
        let mut case = Case::default();
        case.told("A", false, end_at, end_at + 10).told("A", true, 1_000, 1_010);
        case.evidence.told[0].starts_at = starts_at;
        case
    };
    told(1, 500).is_sound();
    told(1, 1_005).is_sound();
    // Another firing, one that was acknowledged before its end was told, and one that was told again long after.
    told(2, 500).finds("lost", "no incident was open");
    told(1, 1_011).finds("lost", "no incident was open");
    told(1, 1_000 - 11 - OVERTAKEN_MS).finds("lost", "no incident was open");
    // Its end may have been heard at the first try already, of which nobody knows.
    let mut tried = told(1, 5_000);
    tried.evidence.told[0].first_sent = 900;
    tried.is_sound();
}

#[test]
fn what_a_person_closed_while_it_fired_is_not_lost() {
    let closed = |how: &str| {
        let mut case = Case::story();
        case.entry(ID, 200, json!({ "kind": "closed", "how": how, "message": "seen to" })).told("A", true, 300, 310);
        case
    };
    closed("person").is_sound();
    closed("cleared").finds("lost", "no incident was open");
}

#[test]
fn a_story_that_stops_in_the_middle_is_lost() {
    let mut case = Case::story();
    case.entry(ID, 200, json!({ "kind": "asked" }));
    case.finds("lost", "stopped in the middle");
    // News alone is no end either.
    let mut heard = Case::story();
    heard.entry(ID, 200, json!({ "kind": "heard" }));
    heard.finds("lost", "stopped in the middle");
}

#[test]
fn resting_counts_only_for_what_was_left_firing_and_only_with_a_reason() {
    let held = |reason: &str| {
        let mut case = Case::story();
        case.entry(ID, 200, json!({ "kind": "held", "rule": "cooldown", "message": reason }));
        case
    };
    held("too soon").finds("lost", "is not closed");
    let mut forgotten = held("too soon");
    forgotten.evidence.forgotten.insert(labels("A"));
    forgotten.is_sound();
    assert_eq!(forgotten.report().rules["cooldown"], 1);
    let mut silent = held("");
    silent.evidence.forgotten.insert(labels("A"));
    silent.finds("lost", "without a reason");
}

#[test]
fn healed_is_a_lie_here() {
    let mut case = Case::story();
    case.entry(ID, 200, json!({ "kind": "closed", "how": "healed", "message": "well" }));
    case.finds("lost", "closed as healed");
}

#[test]
fn a_restart_that_nobody_permitted_is_found() {
    let mut case = Case::story();
    case.restart(ID, 1, WEB, 200).restarted(WEB, 2_000, 2_100).closed(ID, 5_000);
    case.finds("doubled", "no begun intent explains this");
    // Also on a container about which nothing was ever written, before the intent began, or after its end was written.
    for (container, began) in [(OTHER, 220), (WEB, 205), (WEB, 301)] {
        let mut case = Case::story();
        case.intended(ID, 1, WEB, 200).begun(ID, 1, 210).ended(ID, 1, 300, "failed", "no").restarted(container, began, began + 1);
        case.closed(ID, 5_000).finds("doubled", "no begun intent explains this");
    }
}

#[test]
fn a_deed_belongs_to_the_intent_that_was_under_way() {
    // The first was never carried out, and says so; the second was.
    let mut case = Case::story();
    case.intended(ID, 1, WEB, 200).begun(ID, 1, 210).ended(ID, 1, 400, "interrupted", "it did not take place: running");
    let second = "fedcba9876543210-1";
    case.opened(second, "B", 1_000).restart(second, 1, WEB, 2_000).closed(second, 3_000).closed(ID, 3_000).is_sound();
    // What is not known may come late.
    let mut late = Case::story();
    late.intended(ID, 1, WEB, 200).begun(ID, 1, 210).ended(ID, 1, 400, "timed-out", "no answer").restarted(WEB, 900, 1_000);
    late.closed(ID, 3_000).is_sound();
}

#[test]
fn a_run_is_explained_by_its_own_intent_and_once() {
    let ran = |marks: &[&str]| {
        let mut case = Case::story();
        let action = json!({ "playbook": { "name": "count.yml", "about": "local/web" } });
        case.entry(ID, 200, json!({ "kind": "intended", "attempt": 1, "intent": 1, "action": action })).begun(ID, 1, 210);
        for (number, mark) in (0..).zip(marks) {
            let began = 1_000 + number * 100;
            let run = Deed { container: WEB.to_owned(), intent: Some((*mark).to_owned()), began, ended: Some(began + 50) };
            case.evidence.runs.push(run);
        }
        case.ended(ID, 1, 1_500, "succeeded", "ran").closed(ID, 5_000);
        case
    };
    let own = format!("{ID}-1");
    ran(&[&own]).is_sound();
    ran(&[&own, &own]).finds("doubled", "no begun intent explains this");
    ran(&[]).finds("lost", "nobody saw what the journal claims");
    let report = ran(&["fedcba9876543210-1-1"]).report();
    assert_eq!((report.doubled.len(), report.lost.len()), (1, 1), "{report:#?}");
}

#[test]
fn one_permit_is_written_and_begun_once() {
    let mut case = Case::story();
    case.intended(ID, 1, WEB, 200).begun(ID, 1, 210).begun(ID, 1, 220).ended(ID, 1, 300, "failed", "no").closed(ID, 5_000);
    case.finds("doubled", "was begun 2 times");
    let mut never = Case::story();
    never.begun(ID, 1, 210).closed(ID, 5_000);
    assert!(never.report().doubled.iter().any(|fault| fault.contains("never intended")), "{:#?}", never.report());
}

#[test]
fn the_same_rung_twice_in_one_incident_is_found() {
    let mut case = Case::story();
    case.restart(ID, 1, WEB, 200).restart(ID, 2, WEB, 3_000).closed(ID, 5_000);
    case.finds("doubled", "docker.restart was begun 2 times for incident");
}

#[test]
fn what_the_journal_claims_or_denies_has_to_be_so() {
    let told = |ending: &str, message: &str, seen: bool| {
        let mut case = Case::story();
        case.intended(ID, 1, WEB, 200).begun(ID, 1, 210).ended(ID, 1, 400, ending, message).closed(ID, 5_000);
        if seen {
            case.restarted(WEB, 220, 300);
        }
        case
    };
    told("succeeded", "restarted", false).finds("lost", "nobody saw");
    told("interrupted", "it took place: running", false).finds("lost", "nobody saw");
    told("interrupted", "it did not take place: running", true).finds("lost", "the journal denies");
    told("interrupted", "it did not take place: running", false).is_sound();
    told("interrupted", "it cannot be told: gone", true).is_sound();
    told("failed", "409", true).is_sound();
}

/// Restarts of these containers at these times, each by an incident of its own.
fn restarts(of: &[(&str, i64)]) -> Case {
    let mut case = Case::default();
    for (number, (container, at)) in (1..).zip(of) {
        let (id, name) = (format!("{number:016}-1"), format!("A{number}"));
        case.told(&name, true, at - 10, at - 5).opened(&id, &name, at - 7).restart(&id, 1, container, *at).closed(&id, at + 150);
    }
    case
}

#[test]
fn more_attempts_than_allowed_are_found_by_all_three_clocks() {
    restarts(&[(WEB, 1_000), (WEB, 3_000), (WEB, 11_000)]).is_sound();
    let report = restarts(&[(WEB, 1_000), (WEB, 3_000), (WEB, 10_900)]).report();
    let found: Vec<bool> = ["by intents", "by begun", "as seen"]
        .map(|how| report.over_brake.iter().any(|f| f.contains("attempts") && f.contains(how)))
        .into();
    assert_eq!(found, [true, true, true], "{report:#?}");
    assert_eq!(report.over_brake.len(), 3, "{report:#?}");
}

#[test]
fn more_actions_than_allowed_are_found() {
    let of = [(WEB, 1_000), (OTHER, 2_000), (WEB, 3_000), (OTHER, 10_500)];
    let report = restarts(&of).report();
    assert_eq!(report.over_brake.len(), 3, "{report:#?}");
    assert!(report.over_brake.iter().all(|fault| fault.contains("actions of everything")), "{report:#?}");
    // Every window counts: five in a minute are more than four.
    let of = [(WEB, 1_000), (OTHER, 2_000), (WEB, 12_000), (OTHER, 13_000), (WEB, 24_000)];
    let report = restarts(&of).report();
    assert!(report.over_brake.iter().all(|fault| fault.contains("allowed are 4 in 60000 ms")), "{report:#?}");
    assert_eq!(report.over_brake.len(), 3, "{report:#?}");
}

#[test]
fn two_of_a_group_at_once_are_found() {
    let case = restarts(&[(WEB, 1_000), (OTHER, 1_050)]);
    case.is_sound();
    let mut brakes = brakes();
    let targets = brakes.targets.keys().cloned().collect();
    brakes.shared.push(Shared { what: "the group".to_owned(), targets, actions: Vec::new(), concurrent: 1 });
    let report = check(&case.evidence, &brakes);
    // The fabricated entries of one stand behind those of the other; the witness saw both at once.
    assert_eq!(report.over_brake.len(), 1, "{report:#?}");
    assert!(report.over_brake[0].contains("acts on the group under way at once, as seen"), "{report:#?}");
}

#[test]
fn a_cooldown_counts_from_the_outcome_and_from_the_end_that_was_seen() {
    restarts(&[(WEB, 1_000), (WEB, 2_130)]).is_sound();
    // Written 999 ms after the outcome; seen, the pause is 1029 ms.
    restarts(&[(WEB, 1_000), (WEB, 2_129)]).finds("over_brake", "came 999 ms after");
    // The journal's times are right, but the engine was at it for longer.
    let mut case = restarts(&[(WEB, 1_000), (WEB, 2_130)]);
    case.evidence.restarts[0].ended = Some(1_000 + 130 + FOUND_OUT_MS + 1);
    let report = case.report();
    assert!(report.over_brake.iter().any(|fault| fault.contains("as seen")), "{report:#?}");
    // Found out by a restarted server, just before the engine told of it.
    let mut case = restarts(&[(WEB, 1_000), (WEB, 2_130)]);
    case.evidence.restarts[0].ended = Some(1_300);
    case.is_sound();
}

#[test]
fn too_much_at_once_is_found() {
    let three = |containers: [&str; 3]| {
        let mut case = Case::default();
        let ids = ["a", "b", "c"].map(|name| (format!("{}-1", name.repeat(16)), name));
        for ((id, name), container) in ids.iter().zip(containers) {
            case.told(name, true, 1, 3).opened(id, name, 2).intended(id, 1, container, 100);
        }
        for (id, _) in &ids {
            case.begun(id, 1, 110).ended(id, 1, 300, "failed", "no").closed(id, 400);
        }
        case.report().over_brake
    };
    let found = three([WEB, OTHER, WEB]);
    assert!(found.iter().any(|fault| fault.contains("acts on local/web under way at once, by entries: 2")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.contains("acts on everything under way at once, by entries: 3")), "{found:#?}");
    // As the world saw it, whatever the journal says: two restarts of one container that overlap.
    let mut seen = restarts(&[(WEB, 1_000), (WEB, 3_000)]);
    seen.evidence.restarts[0].ended = Some(8_000);
    let report = seen.report();
    assert!(report.over_brake.iter().any(|fault| fault.contains("at once, as seen: 2")), "{report:#?}");
}

#[test]
fn a_target_without_brakes_is_a_mistake_of_the_harness() {
    restarts(&[("stranger", 1_000)]).finds("over_brake", "has no brakes");
}
