//! A person's yes at the authoriser itself: what it is compared with, also when looking takes longer than the yes lasts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use paramedic::action::{ContainerId, DockerHost, DockerVerb, InventoryHost, Kind, Proposal, Target};
use paramedic::alert::{Alert, Family, IncidentId, Labels, Status, Via};
use paramedic::authorise::storm::Told;
use paramedic::authorise::{Authorised, Authoriser, Claim};
use paramedic::clock::Time;
use paramedic::hold::Holds;
use paramedic::incident::lookup::{LookupError, Sample};
use paramedic::incident::{Answer, Decision, Diagnostics, Event, Incident, Mode, Phase, Trigger};
use paramedic::journal::{Append, Journal};
use paramedic::look::alertmanager::Hold;
use paramedic::look::docker::{Container, LookError};
use paramedic::look::{Eyes, Unfit, http};
use paramedic::policy::Policy;
use paramedic::policy::brakes::Brakes;

/// One container, which takes a while to look at.
#[derive(Debug)]
pub struct Slow {
    id: Mutex<&'static str>,
    takes: Mutex<Duration>,
    /// SHA-256 of every playbook.
    playbook: Mutex<&'static str>,
}

impl Eyes for Slow {
    fn hosts(&self) -> Vec<DockerHost> {
        vec!["local".parse().unwrap()]
    }

    fn container<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        async move {
            let (id, takes) = (*self.id.lock().unwrap(), *self.takes.lock().unwrap());
            tokio::time::sleep(takes).await;
            Ok(Some(Container {
                target: target.clone(),
                id: id.parse().unwrap(),
                image: String::new(),
                state: "exited".to_owned(),
                started_at: "2026-01-01T00:00:00Z".to_owned(),
                started: None,
                finished: None,
                exit_code: Some(1),
                out_of_memory: false,
                error: String::new(),
                labels: Labels::new(),
                restart_policy: "no".to_owned(),
                restart_count: 0,
                health: None,
                stop_timeout: None,
                protected: None,
            }))
        }
        .boxed()
    }

    fn by_id<'a>(&'a self, _: &'a DockerHost, _: &'a ContainerId) -> BoxFuture<'a, Result<Option<Container>, LookError>> {
        std::future::ready(Ok(None)).boxed()
    }

    fn labelled<'a>(&'a self, _: &'a DockerHost, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Vec<Container>, LookError>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    fn containers<'a>(&'a self, _: &'a DockerHost) -> BoxFuture<'a, Result<Vec<(Target, Labels)>, LookError>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    fn deliberately_stopped<'a>(&'a self, _: &'a Container) -> BoxFuture<'a, Result<Option<String>, LookError>> {
        std::future::ready(Ok(None)).boxed()
    }

    fn diagnostics<'a>(&'a self, _: &'a Container) -> BoxFuture<'a, Diagnostics> {
        std::future::ready(Diagnostics::default()).boxed()
    }

    fn log_tail<'a>(&'a self, _: &'a Container, _: usize) -> BoxFuture<'a, Result<Vec<String>, LookError>> {
        unreachable!("an authoriser does not ask that")
    }
    fn query<'a>(&'a self, _: &'a str, _: Time, _: Duration, _: usize) -> BoxFuture<'a, Result<Vec<Sample>, LookupError>> {
        unreachable!("an authoriser does not ask that")
    }
    fn finds<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, http::LookError>> {
        std::future::ready(Ok(None)).boxed()
    }

    fn suppression<'a>(&'a self, _: &'a Labels) -> BoxFuture<'a, Result<Option<Hold>, http::LookError>> {
        std::future::ready(Ok(None)).boxed()
    }

    fn playbook<'a>(&'a self, _: &'a str, _: &'a str, _: &'a InventoryHost) -> BoxFuture<'a, Result<String, Unfit>> {
        std::future::ready(Ok(self.playbook.lock().unwrap().to_string())).boxed()
    }
}

/// An authoriser, a journal, and an incident in it whose policy wants to restart the container.
pub struct Desk {
    folder: tempfile::TempDir,
    pub eyes: Arc<Slow>,
    authoriser: Authoriser,
    pub journal: Journal,
    pub policy: Policy,
    wish: Proposal,
    id: IncidentId,
}

fn restart() -> Proposal {
    Proposal::Docker { verb: DockerVerb::Restart, target: "local/web".to_owned(), grace_seconds: None, signal: None }
}

impl Desk {
    pub async fn new() -> Self {
        Self::wanting(restart()).await
    }

    async fn wanting(wish: Proposal) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"name": "heal", "plugin": "p.wasm", "mode": "approve", "grants": {"docker": {"restart": ["local/web"]}, "ansible": [{"playbook": "fix.yml", "hosts": ["web1"]}]}}"#;
        let eyes = Arc::new(Slow { id: Mutex::new("aa"), takes: Mutex::default(), playbook: Mutex::new("11") });
        let authoriser = Authoriser {
            eyes: eyes.clone(),
            halt_file: folder.path().join("HALT"),
            holds: Holds::of(folder.path()),
            maintenance: Vec::new(),
            brakes: Brakes::default(),
            max_age: Duration::from_secs(900),
            storms: Told::default(),
        };
        let id: IncidentId = "00112233aabbccdd-1".parse().unwrap();
        let journal = Journal::open(&folder.path().join("data")).unwrap();
        let desk = Self { folder, eyes, authoriser, journal, policy: serde_json::from_str(text).unwrap(), wish, id };
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
        let act = Decision::Act { reason: "down".to_owned(), proposals: vec![desk.wish.clone()] };
        let (policy, plugin) = ("heal".to_owned(), "d".to_owned());
        let settings = serde_json::Value::Null;
        desk.write(Event::Opened { alert, via: Via::Webhook }).await;
        desk.write(Event::Asked { trigger: Trigger::Alert, targets: Vec::new(), ambiguous: Vec::new() }).await;
        desk.write(Event::Decided(Answer {
            policy,
            mode: Mode::Approve,
            plugin,
            settings,
            decision: Ok(act),
            log: Vec::new(),
            lookups: Vec::new(),
            policy_file: String::new(),
            limits: None,
            micros: 1,
        }))
        .await;
        desk
    }

    /// The folder in which people hold.
    pub fn holds(&self) -> Holds {
        Holds::of(self.folder.path())
    }

    /// The file that halts.
    pub fn halt_file(&self) -> PathBuf {
        self.folder.path().join("HALT")
    }

    async fn write(&self, event: Event) {
        let seq = self.journal.incident(&self.id).await.unwrap().map_or(0, |incident| incident.seq);
        self.journal.append(Append::new(self.id.clone(), Some(seq), vec![event])).await.unwrap();
        assert_eq!(self.incident().await.seq, seq + 1);
    }

    pub async fn incident(&self) -> Incident {
        self.journal.incident(&self.id).await.unwrap().unwrap()
    }

    pub async fn authorise(&self) -> Authorised {
        let incident = self.incident().await;
        let claim = Claim { incident: &incident, policy: &self.policy, declared: &[Kind::DockerRestart, Kind::AnsiblePlaybook] };
        self.authoriser.authorise(&self.journal, claim, std::slice::from_ref(&self.wish)).await.unwrap()
    }

    /// A person is asked, and says yes to that; the yes counts for so long from now on.
    async fn approved(&self, counts_for: Duration) {
        assert!(matches!(self.authorise().await, Authorised::Stopped));
        let Phase::Awaiting { actions, digest, .. } = self.incident().await.phase else { panic!("nobody was asked") };
        // Followed for 60 s after it was waited for.
        let until = Time::now().plus(counts_for).minus(Duration::from_secs(60));
        self.write(Event::ApprovalAsked { attempt: 1, actions, digest: digest.clone(), until }).await;
        self.write(Event::Approved { by: "ann".to_owned(), message: "yes".to_owned(), digest }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_that_ends_while_it_is_looked_is_compared_all_the_same() {
    let desk = Desk::new().await;
    desk.approved(Duration::from_millis(500)).await;
    *desk.eyes.id.lock().unwrap() = "bb";
    *desk.eyes.takes.lock().unwrap() = Duration::from_secs(1);
    assert!(matches!(desk.authorise().await, Authorised::Stopped), "another container is another question");
    let incident = desk.incident().await;
    assert!(matches!(&incident.phase, Phase::Escalating(why) if why.contains("changed target")), "{:?}", incident.phase);
    assert!(incident.attempts.iter().all(|attempt| attempt.intents.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_that_counts_is_followed_and_one_that_is_over_is_asked_for_again() {
    let desk = Desk::new().await;
    desk.approved(Duration::ZERO).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(matches!(desk.authorise().await, Authorised::Stopped));
    assert!(matches!(desk.incident().await.phase, Phase::Awaiting { .. }), "asked again");

    let desk = Desk::new().await;
    desk.approved(Duration::from_millis(500)).await;
    *desk.eyes.takes.lock().unwrap() = Duration::from_secs(1);
    assert!(matches!(desk.authorise().await, Authorised::Permits(permits) if permits.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_that_was_edited_meanwhile_is_another_question() {
    let (name, host) = ("fix.yml".to_owned(), Some("web1".to_owned()));
    let wish =
        Proposal::Playbook { name, about: "local/web".to_owned(), host, variables: Vec::new(), tags: Vec::new(), check: false };
    let desk = Desk::wanting(wish).await;
    desk.approved(Duration::from_secs(60)).await;
    *desk.eyes.playbook.lock().unwrap() = "22";
    assert!(matches!(desk.authorise().await, Authorised::Stopped));
    let phase = desk.incident().await.phase;
    assert!(
        matches!(&phase, Phase::Escalating(why) if why.contains("changed target") && why.contains("SHA-256 22")),
        "{phase:?}"
    );
}
