//! The families of actions beside restarts and playbooks: what is granted is done for real, what is not is refused, and what a crash
//! cut off is looked for and never repeated.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use paramedic::action::{Action, DockerVerb, Ending, Kind, Outcome, Proposal, ProposedMatcher};
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
use paramedic::authorise::{Authorised, Authoriser, Claim, Permit, Stop};
use paramedic::clock::Time;
use paramedic::execute::alertmanager::{Silences, find_out};
use paramedic::execute::{Executor, RealHands};
use paramedic::incident::{Answer, Decision, Event, Incident, Mode, Rule, Step, Trigger};
use paramedic::journal::{Append, Appended, Journal};
use paramedic::look::alertmanager::{Alertmanager, Settings};
use paramedic::look::{Eyes, World};
use paramedic::notify::channels::Channels;
use paramedic::policy::Policy;
use paramedic::replay::paper;
use serde_json::{Value, json};

use crate::engine::engines;
use crate::monitors::{base, sources};
use crate::programs::{reqwest_client, start_alertmanager};

const ABOUT: &str = "local/web";

fn docker(verb: DockerVerb, signal: Option<&str>) -> Proposal {
    Proposal::Docker { verb, target: ABOUT.to_owned(), grace_seconds: None, signal: signal.map(str::to_owned) }
}

fn playbook(tags: &[&str], check: bool) -> Proposal {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let (name, host) = ("fix.yml".to_owned(), Some("web1".to_owned()));
    Proposal::Playbook { name, about: ABOUT.to_owned(), host, variables: Vec::new(), tags, check }
}

fn silence(matchers: &[(&str, &str, &str)], long: Duration) -> Proposal {
    let of = |&(name, op, value): &(&str, &str, &str)| ProposedMatcher { name: name.into(), op: op.into(), value: value.into() };
    let (matchers, millis) = (matchers.iter().map(of).collect(), u64::try_from(long.as_millis()).unwrap());
    Proposal::Silence { about: ABOUT.to_owned(), matchers, millis, comment: "being\nhealed".to_owned() }
}

fn expire(id: Option<&str>) -> Proposal {
    Proposal::ExpireSilence { about: ABOUT.to_owned(), id: id.map(str::to_owned) }
}

fn say(channel: &str, text: &str) -> Proposal {
    Proposal::Notify { about: ABOUT.to_owned(), channel: channel.to_owned(), text: text.to_owned() }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn policy(grants: Value) -> Policy {
    serde_json::from_value(json!({
        "name": "heal", "plugin": "p.wasm", "mode": "enforce", "brakes": {"cooldown": "0s"}, "grants": grants,
    }))
    .unwrap()
}

fn events(proposals: &[Proposal]) -> (IncidentId, Vec<Event>) {
    let alert = Alert {
        family: Family::Prometheus,
        status: Status::Firing,
        labels: Labels::from([("alertname".to_owned(), "Down".to_owned())]),
        annotations: Labels::new(),
        starts_at: Time::now(),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    };
    let id = IncidentId { key: Key::of(alert.family, &alert.labels, &[]), n: 1 };
    let answer = Answer {
        policy: "heal".to_owned(),
        mode: Mode::Enforce,
        plugin: "d".to_owned(),
        settings: Value::Null,
        decision: Ok(Decision::Act { reason: "down".to_owned(), proposals: proposals.to_vec() }),
        log: Vec::new(),
        lookups: Vec::new(),
        policy_file: String::new(),
        limits: None,
        micros: 1,
    };
    let asked = Event::Asked { trigger: Trigger::Alert, targets: Vec::new(), ambiguous: Vec::new() };
    (id, vec![Event::Opened { alert, via: Via::Webhook }, asked, Event::Decided(answer)])
}

fn incident(proposals: &[Proposal]) -> Incident {
    let (id, events) = events(proposals);
    Incident::from_events(&id, (1..).zip(&events).map(|(seq, event)| (seq, Time::now(), event))).unwrap()
}

/// On paper, where every container is there.
async fn check(grants: Value, proposal: Proposal) -> Result<Action, (Rule, String)> {
    let (policy, proposals) = (policy(grants), vec![proposal]);
    let authoriser = paper::authoriser(vec!["local".parse().unwrap()], Default::default(), Duration::MAX);
    let incident = incident(&proposals);
    let claim = Claim { incident: &incident, policy: &policy, declared: &Kind::ALL };
    match authoriser.check(claim, &proposals).await {
        Ok(mut actions) => Ok(actions.remove(0)),
        Err(Stop::Refused { rule, message, .. } | Stop::Held { rule, message, .. }) => Err((rule, message)),
    }
}

#[tokio::test]
async fn what_is_granted_is_allowed_and_its_twin_is_refused_with_what_would_change_it() {
    let grants = json!({
        "docker": {"pause": ["local/web"], "kill": {"SIGHUP": ["local/*"]}},
        "ansible": [{"playbook": "fix.yml", "hosts": ["web1"], "tags": ["safe"]}],
        "alertmanager": {"silence": [{"match": ["alertname=\"Down\""], "longest": "1h"}]},
        "notify": ["oncall"],
    });
    let down = ("alertname", "=", "Down");
    let allowed = [
        docker(DockerVerb::Pause, None),
        docker(DockerVerb::Kill, Some("SIGHUP")),
        docker(DockerVerb::Kill, Some("HUP")),
        playbook(&["safe"], false),
        playbook(&[], true),
        silence(&[down, ("job", "=~", "web.*")], HOUR),
        say("oncall", "look"),
    ];
    for proposal in allowed {
        let action = check(grants.clone(), proposal.clone()).await.unwrap();
        assert_eq!(action.kind(), proposal.kind());
    }
    let refused = [
        (docker(DockerVerb::Unpause, None), Rule::NotGranted, "grants: {docker: {unpause: [\"local/web\"]}}"),
        (docker(DockerVerb::Kill, None), Rule::NotGranted, "send SIGKILL to local/web"),
        (docker(DockerVerb::Kill, Some("SIGTERM")), Rule::NotGranted, "{kill: {SIGTERM: [\"local/web\"]}}"),
        (docker(DockerVerb::Kill, Some("SIGHUB")), Rule::InvalidProposal, "did you mean"),
        (docker(DockerVerb::Kill, Some("9")), Rule::InvalidProposal, "no number"),
        (playbook(&["save"], false), Rule::NotGranted, "did you mean"),
        (playbook(&["safe,--become"], false), Rule::InvalidProposal, "cannot be a tag"),
        (silence(&[("job", "=", "web")], HOUR), Rule::NotGranted, "has no grant for this silence"),
        (silence(&[("alertname", "=~", "Down")], HOUR), Rule::NotGranted, "has no grant for this silence"),
        (silence(&[down], HOUR * 2), Rule::NotGranted, "longest"),
        (silence(&[down], Duration::ZERO), Rule::InvalidProposal, "less than a second"),
        (silence(&[("job", "=~", ".*")], HOUR), Rule::InvalidProposal, "at least one matcher"),
        (silence(&[("job", "~", "web")], HOUR), Rule::InvalidProposal, "none of ="),
        (expire(None), Rule::NotGranted, "expire: true"),
        (say("on-call", "look"), Rule::NotGranted, "did you mean"),
        (say("oncall", " \n "), Rule::InvalidProposal, "empty"),
    ];
    for (proposal, rule, words) in refused {
        let (said, message) = check(grants.clone(), proposal).await.unwrap_err();
        assert!(said == rule && message.contains(words), "{said}: {message}");
    }
    let checked = json!({"ansible": [{"playbook": "fix.yml", "hosts": ["web1"], "check_only": true}]});
    assert!(check(checked.clone(), playbook(&[], true)).await.unwrap().to_string().contains("check only"));
    let (rule, message) = check(checked, playbook(&[], false)).await.unwrap_err();
    assert!(rule == Rule::NotGranted && message.contains("check_only"), "{message}");
}

#[tokio::test]
async fn what_only_looks_like_what_is_granted_is_refused() {
    let grants = json!({
        "docker": {"kill": {"SIGHUP": ["local/web"]}},
        "ansible": [{"playbook": "fix.yml", "hosts": ["web1"], "tags": ["safe"], "vars": ["port"]}],
        "alertmanager": {"silence": [{"match": ["alertname=\"Down\"", "job=~\"web.*\""], "longest": "1h"}]},
        "notify": ["oncall"],
    });
    let of = |name: &str, op: &str, value: &str| (name.to_owned(), op.to_owned(), value.to_owned());
    let (down, web) = (of("alertname", "=", "Down"), of("job", "=~", "web.*"));
    let quiet = |matchers: &[(String, String, String)], long: Duration| {
        silence(&matchers.iter().map(|(n, o, v)| (n.as_str(), o.as_str(), v.as_str())).collect::<Vec<_>>(), long)
    };
    check(grants.clone(), quiet(&[down.clone(), web.clone()], HOUR)).await.unwrap();
    // Wider, negated, or only alike.
    for matchers in [
        vec![down.clone()],
        vec![down.clone(), of("job", "=~", ".*")],
        vec![down.clone(), of("job", "=~", "web.*|.*")],
        vec![down.clone(), of("job", "=", "web.*")],
        vec![down.clone(), of("job", "!~", "web.*")],
        vec![of("alertname", "!=", "Down"), web.clone()],
        vec![of("alertname", "=", ""), web.clone()],
        vec![of("alertname", "=", "Down "), web.clone()],
        vec![of("alertname", "=", "D\u{43e}wn"), web.clone()],
        vec![of("alertname", "=", "Down\",job=~\"web.*"), web.clone()],
        vec![of("Alertname", "=", "Down"), web.clone()],
        vec![of("alertname\u{200b}", "=", "Down"), web.clone()],
    ] {
        let (rule, message) = check(grants.clone(), quiet(&matchers, HOUR)).await.unwrap_err();
        assert_eq!(rule, Rule::NotGranted, "{matchers:?}: {message}");
        assert!(!message.contains(['\u{200b}', '\u{1b}']), "{message}");
    }
    for matchers in [vec![of("", "=", "Down"), web.clone()], vec![down.clone(), web.clone(), of("a", "=~", "x)|(.*")]] {
        assert_eq!(check(grants.clone(), quiet(&matchers, HOUR)).await.unwrap_err().0, Rule::InvalidProposal, "{matchers:?}");
    }
    for long in [HOUR + Duration::from_millis(1), Duration::from_millis(u64::MAX)] {
        let (rule, message) = check(grants.clone(), quiet(&[down.clone(), web.clone()], long)).await.unwrap_err();
        assert!(rule == Rule::NotGranted && message.contains("longest"), "{message}");
    }
    // A quote inside a value is not shown as its end.
    let action = check(grants.clone(), quiet(&[down, web, of("a", "=", "x\",b=\"y")], HOUR)).await.unwrap();
    assert!(action.to_string().contains(r#"{alertname="Down",job=~"web.*",a="x\",b=\"y"}"#), "{action}");

    for channel in ["\u{43e}ncall", "oncall\u{200b}", "oncall ", "Oncall", "oncall\n", "../oncall", "*", "", "\u{202e}llacno"] {
        let (rule, message) = check(grants.clone(), say(channel, "look")).await.unwrap_err();
        assert!(rule == Rule::NotGranted && message.is_ascii(), "{message}");
    }
    for text in ["", " \t\n", "\u{200b}\u{feff}", "\u{1b}[2J\u{7}"] {
        assert_eq!(check(grants.clone(), say("oncall", text)).await.unwrap_err().0, Rule::InvalidProposal, "{text:?}");
    }
    // Mentions and links are the receiver's business; what would move a terminal's cursor is nobody's.
    let text = "<!channel> @everyone see http://example.com \u{1b}]8;;x\u{7}y\u{202e}";
    let Ok(Action::Notify { text: said, .. }) = check(grants.clone(), say("oncall", text)).await else { panic!("it is granted") };
    assert!(
        said.starts_with("<!channel> @everyone see http://example.com ") && !said.contains(['\u{1b}', '\u{7}', '\u{202e}']),
        "{said}"
    );

    let with_host = |host: &str| {
        let Proposal::Playbook { name, about, variables, tags, check, .. } = playbook(&["safe"], false) else { panic!() };
        Proposal::Playbook { name, about, host: Some(host.to_owned()), variables, tags, check }
    };
    for host in ["web1,web2", "web1:web2", "web*", "!web1", "@/etc/hosts", "--check", "-i", "~web.*", "web1 ", "", "w\u{435}b1"] {
        let (rule, message) = check(grants.clone(), with_host(host)).await.unwrap_err();
        assert_eq!(rule, Rule::UnknownInventoryHost, "{host}: {message}");
    }
    for host in ["all", "ungrouped", "WEB1", "web1."] {
        assert_eq!(check(grants.clone(), with_host(host)).await.unwrap_err().0, Rule::NotGranted, "{host}");
    }
    for tag in ["safe,unsafe", "safe:x", "!safe", "@safe", "-safe", "--tags", "safe ", "", "s\u{430}fe", "safe\n", "*"] {
        let (rule, message) = check(grants.clone(), playbook(&[tag], false)).await.unwrap_err();
        assert!(rule == Rule::InvalidProposal && !message.contains('\n'), "{tag}: {message}");
    }
    for tag in ["all", "always", "never", "tagged", "untagged", "Safe"] {
        assert_eq!(check(grants.clone(), playbook(&["safe", tag], false)).await.unwrap_err().0, Rule::NotGranted, "{tag}");
    }
    for signal in ["sighup", "SIGSIGHUP", "1", "SIGHUP ", "HUP,KILL", "", "SIGRTMIN", "SIG\u{41d}UP"] {
        let (rule, message) = check(grants.clone(), docker(DockerVerb::Kill, Some(signal))).await.unwrap_err();
        assert_eq!(rule, Rule::InvalidProposal, "{signal}: {message}");
    }
}

/// A real Alertmanager, a journal, and hands for both.
struct Desk {
    journal: Journal,
    authoriser: Authoriser,
    executor: Executor,
    policy: Policy,
    eyes: Arc<World>,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new(manager: Option<&str>, channels: Value, grants: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let managers: Vec<&str> = manager.into_iter().collect();
        let eyes = Arc::new(World { engines: Arc::new(engines()), sources: sources(&[], &managers).unwrap(), ansible: None });
        let hands = RealHands {
            engines: Arc::new(engines()),
            ansible: None,
            runs: folder.path().join("runs"),
            silences: manager.map(|url| Silences::new(&Settings::new(base(url).unwrap())).unwrap()),
            voice: Some(Arc::new(Channels::of(&serde_json::from_value(json!({"webhooks": channels})).unwrap()).unwrap())),
        };
        let mut authoriser = paper::authoriser(Vec::new(), Default::default(), Duration::MAX);
        authoriser.eyes = Arc::clone(&eyes) as Arc<dyn Eyes>;
        let executor = Executor { journal: journal.clone(), eyes: Arc::clone(&eyes) as Arc<dyn Eyes>, hands: Arc::new(hands) };
        Self { journal, authoriser, executor, policy: policy(grants), eyes, _folder: folder }
    }

    async fn now(&self) -> Option<Incident> {
        let (id, _) = events(&[]);
        self.journal.incident(&id).await.unwrap()
    }

    /// Decides that anew and authorises it.
    async fn authorise(&self, proposal: Proposal) -> Option<Permit> {
        let (id, events) = events(std::slice::from_ref(&proposal));
        let (seq, events) = match self.now().await {
            None => (0, events),
            Some(now) => (now.seq, events[1..].to_vec()),
        };
        let written = self.journal.append(Append::new(id, Some(seq), events)).await.unwrap();
        assert!(matches!(written, Appended::Committed { .. }), "{written:?}");
        let incident = self.now().await.unwrap();
        let claim = Claim { incident: &incident, policy: &self.policy, declared: &Kind::ALL };
        match self.authoriser.authorise(&self.journal, claim, &[proposal]).await.unwrap() {
            Authorised::Permits(mut permits) => permits.pop(),
            _ => None,
        }
    }

    async fn act(&self, proposal: Proposal) -> Outcome {
        let permit = self.authorise(proposal).await.unwrap();
        let incident = self.now().await.unwrap();
        let intent = permit.intent();
        self.executor.execute(permit, &incident, || None, std::future::pending()).await.unwrap();
        self.outcome(intent).await
    }

    async fn outcome(&self, intent: u32) -> Outcome {
        let now = self.now().await.unwrap();
        assert!(matches!(now.next(), Step::ClearOr(Trigger::NotHealed | Trigger::Interrupted)), "{:?}", now.next());
        match &now.intent(intent).unwrap().progress {
            paramedic::incident::Progress::Ended(outcome) => outcome.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// It was begun, and then the server was killed.
    async fn cut_off(&self, proposal: Proposal) -> (Outcome, Action) {
        let permit = self.authorise(proposal).await.unwrap();
        let (intent, action) = (permit.intent(), permit.action().clone());
        let begun = Append::new(permit.incident().clone(), None, vec![Event::Begun { intent }]);
        self.journal.append(begun).await.unwrap();
        let incident = self.now().await.unwrap();
        let long_ago = Time::now().minus(Duration::from_secs(60));
        self.executor.find_out(&incident, intent, &action, long_ago, std::future::pending()).await.unwrap();
        (self.outcome(intent).await, action)
    }
}

async fn listed(url: &str) -> Vec<Value> {
    reqwest_client().get(format!("{url}/api/v2/silences")).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_silence_is_made_once_holds_nothing_of_ours_and_only_our_own_is_ended() {
    let am = start_alertmanager("").await.unwrap();
    let grants = json!({"alertmanager": {"silence": [{"match": ["alertname=\"Down\""]}], "expire": true}});
    let desk = Desk::new(Some(&am.url), json!([]), grants);
    let wanted = silence(&[("alertname", "=", "Down"), ("job", "!~", "db.*")], HOUR);
    // Begun and cut off before anybody was asked: there is none, and none is made.
    let (outcome, _) = desk.cut_off(wanted.clone()).await;
    assert!(outcome.ending == Ending::Interrupted && outcome.message.starts_with("it did not take place"), "{outcome:?}");
    assert!(listed(&am.url).await.is_empty());

    let outcome = desk.act(wanted.clone()).await;
    assert!(outcome.ending == Ending::Succeeded && !outcome.touched, "{outcome:?}");
    let silences = listed(&am.url).await;
    let [made] = silences.as_slice() else { panic!("{silences:?}") };
    let comment = made["comment"].as_str().unwrap();
    assert!(comment.starts_with("policy heal about local/web, incident ") && comment.ends_with("being healed"), "{comment}");
    assert_eq!((&made["createdBy"], made["matchers"].as_array().unwrap().len()), (&json!("paramedic"), 2));
    let labels = Labels::from([("alertname".to_owned(), "Down".to_owned())]);
    let manager = Alertmanager::new(&Settings::new(base(&am.url).unwrap())).unwrap();
    assert_eq!(manager.suppression(&labels, &[]).await.unwrap(), None);
    // Found by its comment, as a server that was stopped before the answer would.
    let (incident, about) = (desk.now().await.unwrap(), ABOUT.parse().unwrap());
    let action = Action::Silence { about, matchers: Vec::new(), millis: 1, comment: String::new() };
    let intent = incident.next_intent() - 1;
    let found = find_out(&*desk.eyes, &incident, intent, &action, Time::now()).await;
    assert!(found.message.starts_with("it took place"), "{found:?}");

    let matchers = json!([{"name": "a", "value": "b", "isRegex": false}]);
    let ends = Time::now().plus(HOUR).to_string();
    let anothers = json!({"matchers": matchers, "startsAt": Time::now().to_string(), "endsAt": ends, "createdBy": "eve", "comment": comment});
    let answer = reqwest_client().post(format!("{}/api/v2/silences", am.url)).json(&anothers).send().await.unwrap();
    let eves: Value = answer.json().await.unwrap();
    let eves = eves["silenceID"].as_str().unwrap();
    let outcome = desk.act(expire(None)).await;
    assert_eq!(outcome.ending, Ending::Succeeded, "{outcome:?}");
    let standing: Vec<Value> = listed(&am.url).await.into_iter().filter(|s| s["status"]["state"] == "active").collect();
    assert!(standing.len() == 1 && standing[0]["id"] == eves, "a person's stays: {standing:?}");
    assert!(desk.authorise(expire(Some(eves))).await.is_none(), "a person's silence is refused by its id");
}

#[tokio::test]
async fn a_channel_is_told_once_and_a_message_that_was_cut_off_is_never_sent_again() {
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (keep, listener) = (Arc::clone(&heard), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let take = move |body: axum::body::Bytes| async move { keep.lock().unwrap().push(serde_json::from_slice(&body).unwrap()) };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(take))).await });
    let channels = json!([{"name": "oncall", "url": url}, {"name": "gone", "url": "http://127.0.0.1:1/"}]);
    let desk = Desk::new(None, channels, json!({"notify": ["oncall", "gone"]}));
    let outcome = desk.act(say("oncall", &format!("look\u{1b}[2J {}", "x".repeat(3_000)))).await;
    assert!(outcome.ending == Ending::Succeeded && !outcome.touched, "{outcome:?}");
    {
        let heard = heard.lock().unwrap();
        let [message] = heard.as_slice() else { panic!("{heard:?}") };
        let text = message["message"].as_str().unwrap();
        assert!(text.starts_with("look") && text.chars().count() <= 2_001 && !text.contains('\u{1b}'), "{text}");
        assert_eq!((&message["kind"], &message["incident"]["policy"]), (&json!("said"), &json!("heal")));
    }
    let (outcome, _) = desk.cut_off(say("oncall", "look")).await;
    assert!(outcome.message.starts_with("it cannot be told") && outcome.ending == Ending::Interrupted, "{outcome:?}");
    assert_eq!(heard.lock().unwrap().len(), 1, "it is not sent again");
    let outcome = desk.act(say("gone", "look")).await;
    assert!(outcome.ending != Ending::Succeeded && outcome.message.contains("gone was not told"), "{outcome:?}");
}
