//! A person's yes: what it is about, and whether it still is.
//!
//! A yes is bound to what was shown: the hash of incident, attempt and actions with all that was resolved, so that a container that was
//! recreated or restarted meanwhile, another host, another variable or a playbook that was edited is another question. What a playbook includes
//! (roles, other files) is not in it. Nor does a yes outlive the time in which it was waited for,
//! should the server have been down: then it is asked again. Absent on purpose: who may say yes, which is asked where people
//! speak (`operate`), and any way around the other rules, which all count again when the yes is there.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Checked, Claim, Stop, actions_of};
use crate::action::{Action, Proposal};
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::incident::{Event, Mode, Phase, Rule};

/// A yes of the last moment is still followed.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(60);

/// Whether a person has spoken. Found out once for each authorisation and handed on: looking may take seconds, and a yes whose time
/// is over meanwhile must not become no yes at all, with nothing to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent<'a> {
    /// The policy asks nobody.
    NotNeeded,
    /// A person has to be asked first.
    Missing,
    /// A person said yes to what has this digest.
    Yes(&'a str),
}

impl<'a> Consent<'a> {
    /// As it stands at this moment.
    pub(super) fn of(claim: Claim<'a>, now: Time) -> Self {
        match (yes(&claim.incident.phase, now), claim.policy.mode) {
            (Some(digest), _) => Self::Yes(digest),
            (None, Mode::Approve) => Self::Missing,
            (None, _) => Self::NotNeeded,
        }
    }
}

/// The question to a person whether this may be done.
pub(super) fn asked(claim: Claim<'_>, checked: Vec<Checked>) -> Event {
    Event::ApprovalAsked {
        attempt: claim.incident.next_attempt(),
        digest: digest_of(claim, &checked),
        actions: actions_of(checked),
        until: Time::now().plus(claim.policy.approve.within),
    }
}

/// Is this what has the digest that a person said yes to?
pub(super) fn is_of(claim: Claim<'_>, approved: &str, checked: &[Checked], first: &Proposal) -> Result<(), Stop> {
    if digest_of(claim, checked) == approved {
        return Ok(());
    }
    let now: Vec<String> = checked.iter().map(told).collect();
    let message = format!(
        "changed target: it is not any more what the person was shown; now it would be {}; `paramedic incident retry {} --reason ...` asks again",
        now.join(", then "),
        claim.incident.id
    );
    Err(Stop::Refused { proposal: Box::new(first.clone()), rule: Rule::ChangedTarget, message })
}

fn told(checked: &Checked) -> String {
    match (&checked.action, &checked.playbook) {
        (action @ Action::Docker { started_at, .. }, _) => format!("{action}, started {started_at}"),
        (action, Some(file)) => format!("{action}, whose file has the SHA-256 {}...", file.get(..12).unwrap_or(file)),
        (action, None) => action.to_string(),
    }
}

/// The digest of a yes that still counts.
fn yes(phase: &Phase, now: Time) -> Option<&str> {
    match phase {
        Phase::Approved { digest, until, .. } if now <= until.plus(FOLLOWED_WITHIN) => Some(digest),
        _ => None,
    }
}

fn digest_of(claim: Claim<'_>, checked: &[Checked]) -> String {
    let wanted: Vec<_> = checked.iter().map(|checked| (&checked.action, checked.playbook.as_deref())).collect();
    digest(&claim.incident.id, claim.incident.next_attempt(), &wanted)
}

/// SHA-256 of all that as JSON, in hex: the fields of an action always come in one order, and so do variables, by their names.
fn digest(incident: &IncidentId, attempt: u32, wanted: &[(&Action, Option<&str>)]) -> String {
    let text = serde_json::to_value((incident, attempt, wanted)).map(|value| value.to_string()).unwrap_or_default();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::action::{ContainerId, DockerVerb, InventoryHost, Kind, ProposedMatcher, Signal, Target};

    fn restart(target: &str, container: &str, started_at: &str, grace_seconds: Option<u32>) -> Action {
        let (target, container) = (target.parse().unwrap(), container.parse().unwrap());
        Action::Docker {
            verb: DockerVerb::Restart,
            target,
            container,
            started_at: started_at.to_owned(),
            grace_seconds,
            signal: None,
        }
    }

    fn playbook(host: &str, variables: &[(&str, serde_json::Value)]) -> Action {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<BTreeMap<_, _>>();
        let (name, profile) = ("fix.yml".to_owned(), "default".to_owned());
        Action::Playbook {
            name,
            about: "local/web".parse().unwrap(),
            host: host.parse().unwrap(),
            profile,
            variables,
            tags: Vec::new(),
            check: false,
        }
    }

    #[test]
    fn whatever_may_change_changes_the_digest() {
        let acts = [
            vec![restart("local/web", "aa", "t1", None)],
            vec![restart("local/web", "bb", "t1", None)],
            vec![restart("local/web", "aa", "t2", None)],
            vec![restart("local/web", "aa", "t1", Some(1))],
            vec![restart("edge/web", "aa", "t1", None)],
            vec![restart("local/web", "aa", "t1", None), restart("local/db", "cc", "t1", None)],
            vec![restart("local/db", "cc", "t1", None), restart("local/web", "aa", "t1", None)],
            vec![playbook("localhost", &[])],
            vec![playbook("web1", &[])],
            vec![playbook("localhost", &[("a", 1.into())])],
            vec![playbook("localhost", &[("a", "1".into())])],
        ];
        let (one, other) = ("00112233aabbccdd-1".parse().unwrap(), "00112233aabbccdd-2".parse().unwrap());
        let of = |id: &IncidentId, attempt: u32, file: Option<&str>, act: &[Action]| {
            digest(id, attempt, &act.iter().map(|action| (action, file)).collect::<Vec<_>>())
        };
        let mut digests: BTreeSet<String> = acts.iter().map(|act| of(&one, 1, None, act)).collect();
        digests.extend([of(&other, 1, None, &acts[0]), of(&one, 2, None, &acts[0])]);
        digests.extend([of(&one, 1, Some("aa"), &acts[7]), of(&one, 1, Some("bb"), &acts[7])]);
        assert_eq!(digests.len(), acts.len() + 4);
        assert!(digests.iter().all(|digest| digest.len() == 64));
    }

    /// Another value of the same type.
    trait Other {
        fn other(&self) -> Self;
    }

    /// One value, and another one.
    macro_rules! other {
        ($($type:ty: $one:expr, $two:expr;)*) => {
            $(impl Other for $type {
                fn other(&self) -> Self {
                    if *self == $one { $two } else { $one }
                }
            })*
        };
    }

    other! {
        DockerVerb: DockerVerb::Stop, DockerVerb::Kill;
        Target: "local/other".parse().unwrap(), "edge/other".parse().unwrap();
        ContainerId: "dd".parse().unwrap(), "ee".parse().unwrap();
        InventoryHost: "other".parse().unwrap(), "another".parse().unwrap();
        String: "other".to_owned(), String::new();
        bool: true, false;
        u64: 1, 2;
        Option<u32>: Some(0), None;
        Option<Signal>: Some(Signal::KILL), Some("SIGHUP".parse().unwrap());
    }

    /// One more, and none.
    impl<T: Other + Clone + Default + PartialEq> Other for Vec<T> {
        fn other(&self) -> Self {
            if self.is_empty() { vec![T::default().other()] } else { Self::new() }
        }
    }

    impl Other for Vec<ProposedMatcher> {
        fn other(&self) -> Self {
            self[1..].to_vec()
        }
    }

    impl Other for BTreeMap<String, serde_json::Value> {
        fn other(&self) -> Self {
            self.keys().map(|name| (name.clone(), false.into())).collect()
        }
    }

    /// The value with each of its fields changed, one at a time. All of them have to be named, or this does not compile: what is new in an
    /// action cannot be forgotten here.
    macro_rules! each_changed {
        ($value:expr, Action::$kind:ident { $($field:ident),* }) => {{
            let value = $value.clone();
            let Action::$kind { $($field: _),* } = &value else { panic!("it is another kind") };
            let mut all = Vec::new();
            $(
                let mut changed = value.clone();
                if let Action::$kind { $field: it, .. } = &mut changed {
                    *it = it.other();
                }
                all.push((stringify!($field), changed));
            )*
            all
        }};
    }

    fn matcher() -> ProposedMatcher {
        ProposedMatcher { name: "alertname".to_owned(), op: "=".to_owned(), value: "Down".to_owned() }
    }

    /// One action of each kind, with something in every field.
    fn one_of(kind: Kind) -> Action {
        let about: Target = "local/web".parse().unwrap();
        let docker = |verb, signal: Option<&str>| Action::Docker {
            verb,
            target: about.clone(),
            container: "aa".parse().unwrap(),
            started_at: "t".to_owned(),
            grace_seconds: Some(1),
            signal: signal.map(|signal| signal.parse().unwrap()),
        };
        match kind {
            Kind::DockerRestart => docker(DockerVerb::Restart, None),
            Kind::DockerStart => docker(DockerVerb::Start, None),
            Kind::DockerStop => docker(DockerVerb::Stop, None),
            Kind::DockerPause => docker(DockerVerb::Pause, None),
            Kind::DockerUnpause => docker(DockerVerb::Unpause, None),
            Kind::DockerKill => docker(DockerVerb::Kill, Some("SIGHUP")),
            Kind::AnsiblePlaybook => playbook("web1", &[("a", 1.into())]),
            Kind::Silence => {
                Action::Silence { about, matchers: vec![matcher(), matcher()], millis: 60_000, comment: "why".to_owned() }
            }
            Kind::ExpireSilence => Action::ExpireSilence { about, ids: vec!["a".to_owned()] },
            Kind::Notify => Action::Notify { about, channel: "oncall".to_owned(), text: "look".to_owned() },
        }
    }

    fn each_field_changed(action: &Action) -> Vec<(&'static str, Action)> {
        match action {
            Action::Docker { .. } => {
                each_changed!(action, Action::Docker { verb, target, container, started_at, grace_seconds, signal })
            }
            Action::Playbook { .. } => {
                each_changed!(action, Action::Playbook { name, about, host, profile, variables, tags, check })
            }
            Action::Silence { matchers, .. } => {
                let mut all = each_changed!(action, Action::Silence { about, matchers, millis, comment });
                let ProposedMatcher { name: _, op: _, value: _ } = &matchers[0];
                let changes: [fn(&mut ProposedMatcher); 3] =
                    [|m| m.name.push('x'), |m| m.op = "!=".to_owned(), |m| m.value.push('x')];
                for change in changes {
                    let mut changed = action.clone();
                    if let Action::Silence { matchers, .. } = &mut changed {
                        change(&mut matchers[0]);
                    }
                    all.push(("matcher", changed));
                }
                all
            }
            Action::ExpireSilence { .. } => each_changed!(action, Action::ExpireSilence { about, ids }),
            Action::Notify { .. } => each_changed!(action, Action::Notify { about, channel, text }),
        }
    }

    #[test]
    fn each_field_of_each_action_changes_the_digest() {
        let id: IncidentId = "00112233aabbccdd-1".parse().unwrap();
        let of = |action: &Action| digest(&id, 1, &[(action, None)]);
        let (mut digests, mut count) = (BTreeSet::new(), 0);
        for kind in Kind::ALL {
            let action = one_of(kind);
            assert_eq!(action.kind(), kind);
            for (field, changed) in each_field_changed(&action) {
                assert_ne!(changed, action, "{kind}: {field} was not changed");
                assert_ne!(
                    of(&changed),
                    of(&action),
                    "{kind}: {field} is not in the digest: a yes to one would be a yes to the other"
                );
                count += 1;
            }
            assert!(digests.insert(of(&action)), "{kind}");
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn a_yes_to_the_harmless_one_is_none_to_the_other() {
        let id: IncidentId = "00112233aabbccdd-1".parse().unwrap();
        let of = |action: &Action| digest(&id, 1, &[(action, None)]);
        let (hangup, mut kill) = (one_of(Kind::DockerKill), one_of(Kind::DockerKill));
        if let Action::Docker { signal, .. } = &mut kill {
            *signal = Some(Signal::KILL);
        }
        let (mut dry, real) = (playbook("web1", &[]), playbook("web1", &[]));
        if let Action::Playbook { check, .. } = &mut dry {
            *check = true;
        }
        assert_ne!(of(&hangup), of(&kill));
        assert_ne!(of(&dry), of(&real));
    }

    #[test]
    fn a_yes_does_not_count_for_ever() {
        let (until, digest) = (Time(1_000_000), "aa".to_owned());
        let approved = Phase::Approved { proposals: Vec::new(), digest: digest.clone(), until };
        assert_eq!(yes(&approved, until.plus(FOLLOWED_WITHIN)), Some("aa"));
        assert_eq!(yes(&approved, until.plus(FOLLOWED_WITHIN * 2)), None);
        let awaiting = Phase::Awaiting { proposals: Vec::new(), actions: Vec::new(), digest, until };
        assert_eq!(yes(&awaiting, Time(0)), None, "a question is no answer");
    }

    #[test]
    fn the_order_in_which_variables_are_written_does_not_count() {
        let nested = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let one = playbook("localhost", &[("b", 1.into()), ("a", nested(r#"{"x": 1, "y": 2}"#))]);
        let two = playbook("localhost", &[("a", nested(r#"{"y": 2, "x": 1}"#)), ("b", 1.into())]);
        let id = "00112233aabbccdd-1".parse().unwrap();
        assert_eq!(digest(&id, 1, &[(&one, None)]), digest(&id, 1, &[(&two, None)]));
    }
}
