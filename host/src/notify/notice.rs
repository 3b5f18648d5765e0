//! What Alertmanager is told: alerts of our own, made of the cases on the board.
//!
//! Labels are copied as they are, because routes, inhibitions and people's habits hang on them; words are cleaned and bounded. Nothing
//! that came with an alert is ever evaluated: annotations are texts, and Alertmanager's templates belong to the operator.
//! Absent on purpose: sending.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::board::{Case, Group};
use super::case::Matter;
use super::settings::ToAlertmanager;
use crate::alert::own::{ALIVE, APPROVAL, ESCALATED, HEALING, HOLDING, MARK, MARKED};
use crate::alert::{IncidentId, Labels};
use crate::clock::{Time, print_duration};
use crate::incident::Rule;
use crate::operate::short;
use crate::policy::present::Present;
use crate::telemetry::clean;

/// How long an alert is believed that says what Paramedic does: when it dies, people are called so much later.
pub const WHILE_ALIVE: Duration = Duration::from_secs(180);
/// How long a call for people is believed. A break in the network is no reason to tell them that it is over.
pub const CALL: Duration = Duration::from_secs(900);
/// So many incidents of one kind are told one by one; the others are counted.
const ALONE: usize = 200;
/// At most this many characters of a text from outside are told.
const WORDS: usize = 500;

/// One alert that Alertmanager is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Who it is.
    pub labels: Labels,
    /// Words for people.
    pub annotations: Labels,
    /// Since when.
    pub since: Time,
    /// How long it is believed without a repetition.
    pub lasts: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
}

/// The body of a post: these alerts go on, those end now.
pub fn body(go_on: &[&Notice], end: &[&Notice], now: Time) -> String {
    let wire = |notice: &&Notice, ends: Time| {
        serde_json::to_value(Wire {
            labels: &notice.labels,
            annotations: &notice.annotations,
            // Never after its end, which Alertmanager would refuse.
            starts_at: notice.since.min(ends).to_string(),
            ends_at: ends.to_string(),
        })
        .unwrap_or_default()
    };
    let go_on = go_on.iter().map(|notice| wire(notice, now.plus(notice.lasts)));
    serde_json::Value::Array(go_on.chain(end.iter().map(|notice| wire(notice, now))).collect()).to_string()
}

/// What does not change while a server runs.
#[derive(Debug)]
pub struct About {
    /// What the operator wants told.
    pub settings: ToAlertmanager,
    /// Whom each policy wants called.
    pub whom: Present<BTreeMap<String, String>>,
    /// When this server began.
    pub since: Time,
    /// Where it runs.
    pub host: String,
}

/// The policy that an incident belongs to, in words.
pub fn under(policy: &str) -> String {
    if policy.is_empty() { "no policy".to_owned() } else { format!("policy {policy}") }
}

impl About {
    /// All that Alertmanager is to have now.
    pub fn wanted(&self, cases: &[(IncidentId, Case)], groups: &BTreeMap<(Rule, String), Group>, now: Time) -> Vec<Notice> {
        let mut notices = Vec::new();
        if self.settings.heartbeat {
            notices.push(self.alive());
        }
        let mut told: BTreeMap<&str, Vec<(&IncidentId, &Case)>> = BTreeMap::new();
        for (id, case) in cases {
            let name = match case.matter {
                Matter::Healing { .. } if now.since(case.since) > self.settings.healing_at_most => continue,
                Matter::Healing { .. } if !self.settings.healing => continue,
                Matter::Healing { .. } => HEALING,
                Matter::Escalated { .. } => ESCALATED,
                Matter::Approval { .. } => APPROVAL,
                Matter::Holding { .. } => continue,
            };
            told.entry(name).or_default().push((id, case));
        }
        for (name, mut cases) in told {
            // The newest one by one: a changed number in an alert that is there already calls nobody.
            cases.sort_by_key(|(_, case)| std::cmp::Reverse(case.since));
            let (alone, more) = cases.split_at(cases.len().min(ALONE));
            notices.extend(alone.iter().map(|(id, case)| self.one(name, id, case)));
            if let Some((_, first)) = more.last().filter(|_| name != HEALING) {
                notices.push(self.more(name, more.len(), first.since));
            }
        }
        notices.extend(groups.iter().map(|((rule, policy), group)| self.group(*rule, policy, group)));
        notices
    }

    fn alive(&self) -> Notice {
        // Two Paramedics at one Alertmanager are two hearts.
        let host = if self.settings.labels.contains_key("host") { "" } else { self.host.as_str() };
        let labels = [("severity", "none"), ("host", host)];
        let summary = "Paramedic works: this alert is always there, and a person has to look when it is not".to_owned();
        let description = "route it to a dead man's switch, or to nobody (docs/telling.md shows both)".to_owned();
        self.notice(ALIVE, Labels::new(), &labels, summary, description, self.since, WHILE_ALIVE)
    }

    fn one(&self, name: &str, id: &IncidentId, case: &Case) -> Notice {
        let alert = clean(case.labels.get("alertname").map_or("?", String::as_str), 120);
        let policy = case.policy.as_deref().unwrap_or_default();
        let about = if case.targets.is_empty() { String::new() } else { format!(", about {}", case.targets.join(", ")) };
        let under = under(policy);
        let attempts = if case.attempts == 1 { "1 attempt".to_owned() } else { format!("{} attempts", case.attempts) };
        let story = format!("incident {id} ({under}, {attempts}{about}): `paramedic incident show {id}` tells the story");
        let original = case.labels.get("alertname").map_or("", String::as_str);
        let called = self.whom.now();
        let (id_text, whom) = (id.to_string(), called.get(policy).map_or("", String::as_str));
        let call = [("alert", original), ("incident", &id_text), ("policy", policy), ("escalate", whom)];
        let copy = classic(&case.labels);
        let mut notice = match &case.matter {
            Matter::Healing { delays } => {
                let page = if *delays { "delay" } else { "keep" };
                // Not its severity: a route by severity must not call anybody because something is being healed.
                let labels = [("alert", original), ("page", page), ("severity", "none")];
                let most = print_duration(self.settings.healing_at_most);
                let description = format!("{story}; when it does not help, or takes longer than {most}, people are called");
                let summary = format!("Paramedic is healing {alert}");
                self.notice(name, copy, &labels, summary, description, case.since, WHILE_ALIVE)
            }
            Matter::Escalated { why } => {
                let summary = format!("{alert}: a person has to look: {}", clean(why, WORDS));
                let description = format!(
                    "{story}; `paramedic incident retry {id} --reason TEXT` has it tried again, `paramedic incident close {id} --reason TEXT` leaves it to people"
                );
                self.notice(name, copy, &call, summary, description, case.since, CALL)
            }
            Matter::Approval { actions, digest, until } => {
                let summary = format!("{alert}: may this be done? {}", clean(&actions.join(", then "), WORDS));
                let digest = short(digest);
                let description = format!(
                    "waits until {until}; `paramedic incident approve {id} --digest {digest} --reason TEXT` says yes, `paramedic incident deny {id} --reason TEXT` says no; {story}"
                );
                self.notice(name, copy, &call, summary, description, case.since, CALL)
            }
            Matter::Holding { why, .. } => self.notice(name, Labels::new(), &call, clean(why, WORDS), story, case.since, CALL),
        };
        if !case.summary.is_empty() {
            notice.annotations.insert("alert_summary".to_owned(), clean(&case.summary, WORDS));
        }
        notice
    }

    fn more(&self, name: &str, count: usize, since: Time) -> Notice {
        let summary = format!("{count} more incidents are as those that are told one by one");
        let description = "`paramedic incident list --open` lists them all".to_owned();
        self.notice(name, Labels::new(), &[("incident", "more"), ("severity", "critical")], summary, description, since, CALL)
    }

    fn group(&self, rule: Rule, policy: &str, group: &Group) -> Notice {
        let Group { count, oldest, since, why } = group;
        let called = self.whom.now();
        let (word, whom) = (rule.word(), called.get(policy).map_or("", String::as_str));
        let severity = if rule == Rule::Storm { "critical" } else { "warning" };
        let labels = [("rule", word.as_str()), ("policy", policy), ("escalate", whom), ("severity", severity)];
        let incidents = if *count == 1 { "1 incident is".to_owned() } else { format!("{count} incidents are") };
        let summary = format!("{incidents} held by the rule {word} under {}: {}", under(policy), clean(why, WORDS));
        let description = format!(
            "`paramedic incident list --open` lists them; the oldest is {oldest}, held since {since}: `paramedic incident show {oldest}`"
        );
        self.notice(HOLDING, Labels::new(), &labels, summary, description, *since, CALL)
    }

    #[allow(clippy::too_many_arguments)]
    fn notice(
        &self,
        name: &str,
        copied: Labels,
        ours: &[(&str, &str)],
        summary: String,
        description: String,
        since: Time,
        lasts: Duration,
    ) -> Notice {
        // What was copied stays as it is, since an inhibition compares it; what is ours is ours.
        let mut labels = self.settings.labels.clone();
        labels.extend(copied);
        let own = [("alertname", name), (MARK, MARKED)];
        for (name, value) in ours.iter().chain(&own).filter(|(_, value)| !value.is_empty()) {
            labels.insert((*name).to_owned(), (*value).to_owned());
        }
        labels.retain(|_, value| !value.is_empty());
        let annotations = Labels::from([("summary".to_owned(), summary), ("description".to_owned(), description)]);
        Notice { labels, annotations, since, lasts }
    }
}

/// An alert's labels, without those that an Alertmanager before 0.27 refuses.
fn classic(labels: &Labels) -> Labels {
    let fits = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    labels.iter().filter(|(name, _)| fits(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Time = Time(10_000_000);

    fn about() -> About {
        let whom = Present::of(BTreeMap::from([("heal".to_owned(), "oncall".to_owned())]));
        About {
            settings: ToAlertmanager { heartbeat: false, ..ToAlertmanager::default() },
            whom,
            since: NOW,
            host: "h".to_owned(),
        }
    }

    fn case(matter: Matter, age: u64) -> Case {
        let pairs = [("alertname", "Down"), ("severity", "critical"), ("team", "web"), ("odd-name", "x"), ("alert", "theirs")];
        Case {
            matter,
            since: NOW.minus(Duration::from_secs(age)),
            opened_at: NOW.minus(Duration::from_secs(age)),
            labels: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            summary: "{{ $labels.x }} \u{1b}[2J<b>".to_owned(),
            policy: Some("heal".to_owned()),
            targets: vec!["local/web".to_owned()],
            attempts: 2,
        }
    }

    fn id(n: u64) -> IncidentId {
        format!("0123456789abcdef-{n}").parse().unwrap()
    }

    fn shown(labels: &Labels) -> String {
        labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_call_is_routed_as_the_alert_was_and_healing_calls_nobody() {
        let escalated = case(Matter::Escalated { why: "attempts \u{1b}[31mspent".to_owned() }, 60);
        let healing = case(Matter::Healing { delays: true }, 60);
        let notices = about().wanted(&[(id(1), escalated), (id(2), healing)], &BTreeMap::new(), NOW);
        let shown: Vec<String> = notices.iter().map(|notice| shown(&notice.labels)).collect();
        assert_eq!(
            shown,
            [
                "alert=Down alertname=ParamedicEscalated escalate=oncall incident=0123456789abcdef-1 paramedic=notice policy=heal severity=critical team=web",
                "alert=Down alertname=ParamedicHealing page=delay paramedic=notice severity=none team=web",
            ]
        );
        let text = format!("{:?}", notices[0].annotations);
        assert!(
            text.contains("attempts \u{fffd}spent") && text.contains("paramedic incident retry 0123456789abcdef-1"),
            "{text}"
        );
        assert!(text.contains("{{ $labels.x }} \u{fffd}<b>"), "text is told as text: {text}");
        assert_eq!(notices.iter().map(|notice| notice.lasts).collect::<Vec<_>>(), [CALL, WHILE_ALIVE]);
    }

    #[test]
    fn healing_ends_at_its_bound_whatever_becomes_of_it() {
        let wanted = |age| about().wanted(&[(id(1), case(Matter::Healing { delays: true }, age))], &BTreeMap::new(), NOW).len();
        assert_eq!((wanted(899), wanted(901)), (1, 0));
        let off = About { settings: ToAlertmanager { healing: false, ..about().settings }, ..about() };
        assert!(off.wanted(&[(id(1), case(Matter::Healing { delays: true }, 1))], &BTreeMap::new(), NOW).is_empty());
    }

    #[test]
    fn many_are_told_as_many_and_groups_as_one() {
        let cases: Vec<(IncidentId, Case)> =
            (1..=1_000).map(|n| (id(n), case(Matter::Escalated { why: "no".to_owned() }, n))).collect();
        let group = Group { count: 400, oldest: id(7), since: NOW, why: "old".to_owned() };
        let groups = BTreeMap::from([((Rule::TooOld, "heal".to_owned()), group)]);
        let notices = about().wanted(&cases, &groups, NOW);
        assert_eq!(notices.len(), 202);
        assert!(notices[200].annotations["summary"].starts_with("800 more incidents"));
        assert_eq!(
            shown(&notices[201].labels),
            "alertname=ParamedicHolding escalate=oncall paramedic=notice policy=heal rule=too-old severity=warning"
        );
        assert!(
            notices[201].annotations["summary"].starts_with("400 incidents are held by the rule too-old under policy heal: old")
        );
    }

    #[test]
    fn what_ends_never_ends_before_it_began() {
        let ahead = Notice { since: NOW.plus(Duration::from_secs(9)), ..about().alive() };
        let body: serde_json::Value = serde_json::from_str(&body(&[&ahead], &[&ahead], NOW)).unwrap();
        assert_eq!(body[0]["endsAt"], NOW.plus(WHILE_ALIVE).to_string());
        assert_eq!((&body[1]["startsAt"], &body[1]["endsAt"]), (&body[1]["endsAt"], &NOW.to_string().into()));
    }
}
