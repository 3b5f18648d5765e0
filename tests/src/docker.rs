//! Looking at containers and acting on them, against the real engine.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paramedic::action::{Action, ContainerName, DockerVerb, Ending, Outcome, Signal, Target};
use paramedic::clock::Time;
use paramedic::execute::{RealHands, docker as execute};
use paramedic::look::World;
use paramedic::look::docker::{Container, Engines, LookError, Settings};
use paramedic::look::sight::Sources;

use crate::engine::{Patient, docker, engines};

const DEADLINE: Duration = Duration::from_secs(30);

async fn look(patient: &Patient) -> Container {
    engines().container(&patient.target()).await.unwrap().unwrap()
}

/// What authorisation would make of it now.
async fn authorised(verb: DockerVerb, patient: &Patient, grace_seconds: Option<u32>) -> Action {
    let Container { target, id, started_at, .. } = look(patient).await;
    let signal = (verb == DockerVerb::Kill).then_some(Signal::KILL);
    Action::Docker { verb, target, container: id, started_at, grace_seconds, signal }
}

fn world(engines: &Engines) -> World {
    World { engines: Arc::new(engines.clone()), sources: Sources::default(), ansible: None }
}

async fn carry(engines: &Engines, action: &Action, deadline: Duration) -> Outcome {
    let hands = RealHands { engines: Arc::new(engines.clone()), ansible: None, runs: "runs".into(), silences: None, voice: None };
    execute::carry(&world(engines), &hands, action, deadline).await
}

async fn find_out(engines: &Engines, action: &Action, begun_at: Time) -> Outcome {
    execute::find_out(&world(engines), action, begun_at).await
}

async fn act(verb: DockerVerb, patient: &Patient) -> Outcome {
    let action = authorised(verb, patient, Some(1)).await;
    carry(&engines(), &action, DEADLINE).await
}

fn assert_begins(outcome: &Outcome, ending: Ending, beginning: &str) {
    assert!(outcome.ending == ending && outcome.message.starts_with(beginning), "{outcome:?}");
}

fn assert_says(outcome: &Outcome, ending: Ending, words: &[&str]) {
    assert!(outcome.ending == ending && words.iter().all(|word| outcome.message.contains(word)), "{outcome:?}");
}

#[tokio::test]
async fn sees_what_the_engine_knows() {
    let patient = Patient::run(
        &[
            "--label",
            "tier=web",
            "--restart",
            "on-failure:3",
            "--stop-timeout",
            "7",
            "--health-cmd",
            "true",
            "--health-interval",
            "1h",
        ],
        &["wait"],
    );
    let seen = look(&patient).await;
    assert_eq!((seen.id.as_str(), seen.target.to_string()), (patient.id.as_str(), format!("local/{}", patient.name)));
    assert_eq!(seen.started_at, patient.inspect("{{.State.StartedAt}}"));
    assert!(Time::now().since(seen.started.unwrap()) < Duration::from_secs(30) && seen.is_running());
    assert_eq!((seen.labels["tier"].as_str(), seen.restart_policy.as_str()), ("web", "on-failure"));
    assert_eq!((seen.stop_timeout, seen.health.as_deref(), seen.finished), (Some(7), Some("starting"), None));
    assert_eq!((seen.restart_count, seen.protected), (0, None));
    engines().reachable(&"local".parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn only_the_exact_name_or_the_full_id_is_a_match() {
    let patient = Patient::run(&[], &["wait"]);
    let (engines, host) = (engines(), "local".parse().unwrap());
    // The engine itself would resolve both: looking by id for a name, and by name for (the beginning of) an id.
    for name in [&patient.id, &patient.id[..12]] {
        let target = Target { host: "local".parse().unwrap(), container: name.parse().unwrap() };
        assert_eq!(engines.container(&target).await.unwrap(), None, "{name}");
        docker(&["inspect", name]);
    }
    for id in [&patient.name, &patient.id[..12]] {
        assert_eq!(engines.by_id(&host, &id.parse().unwrap()).await.unwrap(), None, "{id}");
    }
    assert!(engines.by_id(&host, &patient.id.parse().unwrap()).await.unwrap().is_some());
    assert_eq!(engines.container(&"local/paramedic-test-nobody".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn hostile_names_never_reach_a_url() {
    let bystander = Patient::create(&[], &["wait"]);
    for name in ["../containers/prune?x=", "%2e%2e/volumes/prune?", "a/b", "a?b", "a#b", ".", "..", "web\r\nHost: x", ""] {
        assert!(name.parse::<ContainerName>().is_err(), "{name:?}");
        assert!(format!("local/{name}").parse::<Target>().is_err(), "{name:?}");
        assert!(serde_json::from_value::<Target>(serde_json::json!(format!("local/{name}"))).is_err(), "{name:?}");
    }
    assert_eq!(bystander.inspect("{{.State.Status}}"), "created");
}

#[tokio::test]
async fn restart_start_and_stop_do_what_they_say() {
    let patient = Patient::run(&[], &["wait"]);
    let first = patient.inspect("{{.State.StartedAt}} {{.State.Pid}}");
    assert_says(&act(DockerVerb::Restart, &patient).await, Ending::Succeeded, &["was restarted in", "running since"]);
    let second = patient.inspect("{{.State.StartedAt}} {{.State.Pid}}");
    assert_ne!(first, second);

    assert_says(&act(DockerVerb::Stop, &patient).await, Ending::Succeeded, &["was stopped in", "exited (137)"]);
    assert_eq!(patient.inspect("{{.State.Status}}"), "exited");

    assert_says(&act(DockerVerb::Start, &patient).await, Ending::Succeeded, &["was started in", "running since"]);
    assert_eq!(patient.inspect("{{.State.Status}}"), "running");
    assert_says(&act(DockerVerb::Start, &patient).await, Ending::Succeeded, &["had been started already"]);

    // A restart starts what was stopped, and wakes what was paused.
    docker(&["stop", "--time", "0", &patient.name]);
    assert_says(&act(DockerVerb::Restart, &patient).await, Ending::Succeeded, &["running since"]);
    docker(&["pause", &patient.name]);
    assert_says(&act(DockerVerb::Restart, &patient).await, Ending::Succeeded, &["running since"]);
    assert_eq!(patient.inspect("{{.State.Status}}"), "running");
}

#[tokio::test]
async fn the_engines_own_words_are_kept() {
    let paused = Patient::run(&[], &["wait"]);
    docker(&["pause", &paused.name]);
    assert_says(&act(DockerVerb::Start, &paused).await, Ending::Failed, &["the engine answered 409 to docker.start", "paused"]);
    // A start that cannot succeed: its folder on the machine has gone.
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("type=bind,src={},dst=/data", folder.path().display());
    let broken = Patient::create(&["--mount", &mount], &["wait"]);
    drop(folder);
    assert_says(
        &act(DockerVerb::Start, &broken).await,
        Ending::Failed,
        &["the engine answered", "bind source path does not exist"],
    );
}

#[tokio::test]
async fn a_changed_target_is_left_alone() {
    let mut patient = Patient::run(&["--init"], &["wait"]);
    let before = authorised(DockerVerb::Restart, &patient, Some(1)).await;

    docker(&["restart", &patient.name]);
    let started = patient.inspect("{{.State.StartedAt}}");
    let restarted = carry(&engines(), &before, DEADLINE).await;
    assert_says(&restarted, Ending::Failed, &["changed target", "by somebody else", "nothing was done"]);
    assert_eq!(patient.inspect("{{.State.StartedAt}}"), started);

    let before = authorised(DockerVerb::Stop, &patient, Some(1)).await;
    let name = format!("{}-old", patient.name);
    docker(&["rename", &patient.name, &name]);
    assert_says(
        &carry(&engines(), &before, DEADLINE).await,
        Ending::Failed,
        &["changed target", "renamed to", "nothing was done"],
    );
    docker(&["rename", &name, &patient.name]);

    patient.recreate(&["wait"]);
    let started = patient.inspect("{{.State.StartedAt}}");
    assert_says(&carry(&engines(), &before, DEADLINE).await, Ending::Failed, &["changed target", "is gone", "nothing was done"]);
    assert_eq!(patient.inspect("{{.State.StartedAt}} {{.State.Status}}"), format!("{started} running"));
}

#[tokio::test]
async fn what_is_protected_is_never_touched() {
    for label in [
        "io.paramedic.role=host",
        "io.kubernetes.pod.name=web",
        "com.docker.swarm.service.name=web",
        "com.hashicorp.nomad.alloc_id=1",
    ] {
        let patient = Patient::run(&["--label", label], &["wait"]);
        assert!(look(&patient).await.protected.is_some(), "{label}");
        let started = patient.inspect("{{.State.StartedAt}}");
        assert_says(&act(DockerVerb::Restart, &patient).await, Ending::Failed, &["protected target", "nothing was done"]);
        assert_eq!(patient.inspect("{{.State.StartedAt}}"), started);
    }
}

#[tokio::test]
async fn a_playbook_is_none_of_its_business() {
    let playbook =
        serde_json::json!({"playbook": {"name": "x.yml", "about": "local/x", "host": "localhost", "profile": "default"}});
    let action: Action = serde_json::from_value(playbook).unwrap();
    assert_says(&carry(&engines(), &action, DEADLINE).await, Ending::Failed, &["nothing was done"]);
}

/// Stubborn: as process 1 it ignores SIGTERM, so every stop takes the whole grace.
#[tokio::test]
async fn a_deadline_shorter_than_the_grace_ends_in_timed_out_and_is_looked_up() {
    let patient = Patient::run(&[], &["wait"]);
    let action = authorised(DockerVerb::Restart, &patient, Some(4)).await;
    let begun = (Instant::now(), Time::now());
    let outcome = carry(&engines(), &action, Duration::from_secs(1)).await;
    assert!(begun.0.elapsed() < Duration::from_secs(3), "{:?}", begun.0.elapsed());
    assert_says(&outcome, Ending::TimedOut, &["no answer within 1.0 s", "it did not take place", "may still carry it out"]);
    // The engine carries on, and finding out waits for it.
    assert_begins(&find_out(&engines(), &action, begun.1).await, Ending::Interrupted, "it took place");
    assert!(begun.0.elapsed() > Duration::from_secs(3));
}

#[tokio::test]
async fn freezes_lets_go_on_and_signals_and_finds_out_what_took_place() {
    let (patient, begun) = (Patient::run(&[], &["wait"]), Time::now());
    let pause = authorised(DockerVerb::Pause, &patient, None).await;
    assert_says(&carry(&engines(), &pause, DEADLINE).await, Ending::Succeeded, &["was paused in", "paused, started"]);
    assert_says(&carry(&engines(), &pause, DEADLINE).await, Ending::Failed, &["docker.pause", "paused"]);
    assert_begins(&find_out(&engines(), &pause, begun).await, Ending::Interrupted, "it took place");
    // It is paused, and was so before: that proves nothing for ours.
    let later = Time::now().plus(Duration::from_secs(60));
    let before = "it did not take place: it had been paused before";
    assert_begins(&find_out(&engines(), &pause, later).await, Ending::Interrupted, before);
    let unpause = authorised(DockerVerb::Unpause, &patient, None).await;
    let (long_ago, no) = (begun.minus(Duration::from_secs(60)), "it did not take place");
    let soon = Time::now().plus(Duration::from_secs(3));
    assert_begins(&find_out(&engines(), &unpause, soon).await, Ending::Interrupted, no);
    let again = "it cannot be told: it was paused at";
    assert_begins(&find_out(&engines(), &unpause, long_ago).await, Ending::Interrupted, again);
    assert_says(&carry(&engines(), &unpause, DEADLINE).await, Ending::Succeeded, &["was let go on in", "running since"]);
    assert_begins(&find_out(&engines(), &unpause, begun).await, Ending::Interrupted, "it took place");
    let before = "it did not take place: it had been let go on before";
    assert_begins(&find_out(&engines(), &unpause, later).await, Ending::Interrupted, before);
    assert_begins(&find_out(&engines(), &pause, begun).await, Ending::Interrupted, "it cannot be told: it was let go on at");
    assert_says(&carry(&engines(), &unpause, DEADLINE).await, Ending::Failed, &["docker.unpause", "not paused"]);
    // One that was never paused runs, whoever wanted it to.
    let untouched = Patient::run(&[], &["wait"]);
    let unpause = authorised(DockerVerb::Unpause, &untouched, None).await;
    assert_begins(&find_out(&engines(), &unpause, begun).await, Ending::Interrupted, "it cannot be told: the engine does not");
    let with = |name: &str, action: &Action| match action.clone() {
        Action::Docker { verb, target, container, started_at, grace_seconds, .. } => {
            let signal = Some(name.parse().unwrap());
            Action::Docker { verb, target, container, started_at, grace_seconds, signal }
        }
        other => other,
    };
    let kill = authorised(DockerVerb::Kill, &patient, None).await;
    let winch = with("WINCH", &kill);
    assert_says(&carry(&engines(), &winch, DEADLINE).await, Ending::Succeeded, &["was sent SIGWINCH", "running"]);
    assert_begins(&find_out(&engines(), &winch, long_ago).await, Ending::Interrupted, "it cannot be told whether SIGWINCH");
    assert_begins(&find_out(&engines(), &kill, long_ago).await, Ending::Interrupted, no);
    assert_says(&carry(&engines(), &kill, DEADLINE).await, Ending::Succeeded, &["was sent SIGKILL"]);
    assert_begins(&find_out(&engines(), &kill, begun).await, Ending::Interrupted, "it took place");
}

#[tokio::test]
async fn finds_out_what_took_place() {
    let (polite, begun) = (Patient::run(&["--init"], &["wait"]), Time::now());
    let restart = authorised(DockerVerb::Restart, &polite, Some(1)).await;
    docker(&["restart", &polite.name]);
    assert_begins(&find_out(&engines(), &restart, begun).await, Ending::Interrupted, "it took place");
    let stop = authorised(DockerVerb::Stop, &polite, Some(1)).await;
    docker(&["stop", &polite.name]);
    assert_begins(&find_out(&engines(), &stop, begun).await, Ending::Interrupted, "it took place");
    let start = authorised(DockerVerb::Start, &polite, None).await;
    docker(&["start", &polite.name]);
    assert_begins(&find_out(&engines(), &start, begun).await, Ending::Interrupted, "it took place");
    assert_begins(&find_out(&engines(), &stop, begun).await, Ending::Interrupted, "it cannot be told: it was started again");
    docker(&["rm", "--force", &polite.name]);
    assert_begins(&find_out(&engines(), &start, begun).await, Ending::Interrupted, "it cannot be told");
}

#[tokio::test]
async fn finds_out_what_did_not_take_place() {
    let patient = Patient::run(&["--init"], &["wait"]);
    let long_ago = Time::now().minus(Duration::from_secs(60));
    for verb in [DockerVerb::Restart, DockerVerb::Stop] {
        let action = authorised(verb, &patient, None).await;
        assert_begins(&find_out(&engines(), &action, long_ago).await, Ending::Interrupted, "it did not take place");
    }
    // Begun just now with a grace of 1 s: nothing is said before the engine would be done.
    let (action, begun) = (authorised(DockerVerb::Restart, &patient, Some(1)).await, Instant::now());
    assert_begins(&find_out(&engines(), &action, Time::now()).await, Ending::Interrupted, "it did not take place");
    assert!(begun.elapsed() > Duration::from_secs(5), "{:?}", begun.elapsed());
    // Somebody else's start, before ours was begun.
    docker(&["restart", &patient.name]);
    let later = Time::now().plus(Duration::from_secs(10));
    assert_begins(&find_out(&engines(), &action, later).await, Ending::Interrupted, "it did not take place: somebody else");
    assert_eq!(patient.inspect("{{.RestartCount}} {{.State.Status}}"), "0 running");
}

async fn stopped_by_a_person(patient: &Patient) -> Option<String> {
    engines().deliberately_stopped(&look(patient).await).await.unwrap()
}

#[tokio::test]
async fn a_stop_by_a_person_is_told_from_a_crash() {
    for policy in ["no", "on-failure", "always", "unless-stopped"] {
        let patient = Patient::run(&["--init", "--restart", policy], &["wait"]);
        assert_eq!(stopped_by_a_person(&patient).await, None, "{policy}: it runs");
        docker(&["stop", &patient.name]);
        assert!(stopped_by_a_person(&patient).await.unwrap().contains("docker stop"), "{policy}");
        docker(&["start", &patient.name]);
        assert_eq!(stopped_by_a_person(&patient).await, None, "{policy}: it was started again");
        docker(&["kill", &patient.name]);
        assert!(stopped_by_a_person(&patient).await.unwrap().contains("docker kill"), "{policy}");
    }
}

#[tokio::test]
async fn a_crash_is_nobodys_wish() {
    let crashed = Patient::run(&[], &["exit", "1", "300"]);
    crashed.wait_until("exited");
    assert_eq!(stopped_by_a_person(&crashed).await, None);
    assert_eq!(look(&crashed).await.exit_code, Some(1));

    let murdered = Patient::run(&[], &["wait"]);
    docker(&["kill", "--signal", "HUP", &murdered.name]);
    murdered.murder();
    murdered.wait_until("exited");
    assert_eq!(look(&murdered).await.exit_code, Some(137));
    assert_eq!(stopped_by_a_person(&murdered).await, None);

    // An earlier stop by a person is over once the container was started again.
    docker(&["start", &murdered.name]);
    docker(&["stop", "--time", "0", &murdered.name]);
    docker(&["start", &murdered.name]);
    murdered.murder();
    murdered.wait_until("exited");
    assert_eq!(stopped_by_a_person(&murdered).await, None);

    // Under a restart policy the engine itself starts it again: nothing is stopped.
    let restarted = Patient::run(&["--restart", "always"], &["wait"]);
    restarted.murder();
    while restarted.inspect("{{.RestartCount}}") == "0" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    restarted.wait_until("running");
    assert_eq!(stopped_by_a_person(&restarted).await, None);
}

#[tokio::test]
async fn a_pause_is_a_persons_doing_and_a_failed_start_is_not() {
    let paused = Patient::run(&[], &["wait"]);
    docker(&["pause", &paused.name]);
    assert!(stopped_by_a_person(&paused).await.unwrap().contains("paused"));

    let folder = tempfile::tempdir().unwrap();
    let mount = format!("type=bind,src={},dst=/data", folder.path().display());
    let broken = Patient::run(&["--restart", "always", "--init", "--mount", &mount], &["wait"]);
    drop(folder);
    let restart = act(DockerVerb::Restart, &broken).await;
    assert_says(&restart, Ending::Failed, &["the engine answered 500 to docker.restart", "no such file or directory"]);
    let seen = look(&broken).await;
    assert!(seen.state == "exited" && !seen.error.is_empty(), "{seen:?}");
    assert_eq!(stopped_by_a_person(&broken).await, None);
}

#[tokio::test]
async fn what_the_engine_has_forgotten_is_not_guessed() {
    let patient = Patient::run(&[], &["exit", "0", "0"]);
    patient.wait_until("exited");
    // As after a restart of the engine: no event tells of its end.
    let mut seen = look(&patient).await;
    seen.started = Some(Time::now());
    let forgotten = engines().deliberately_stopped(&seen).await.unwrap_err();
    assert!(matches!(forgotten, LookError::Forgotten { .. }), "{forgotten}");
    seen.restart_policy = "unless-stopped".to_owned();
    assert!(engines().deliberately_stopped(&seen).await.unwrap().unwrap().contains("restart policy"));
}

fn engines_at(socket: &std::path::Path) -> Engines {
    let settings = serde_json::json!({"hosts": {"far": format!("unix://{}", socket.display())}});
    Engines::connect(&serde_json::from_value::<Settings>(settings).unwrap()).unwrap()
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_clearly_and_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, host) = (folder.path().join("docker.sock"), "far".parse().unwrap());
    let engines = engines_at(&socket);
    let begun = Instant::now();
    let error = engines.reachable(&host).await.unwrap_err().to_string();
    assert!(error.contains("Docker host `far`: there is no socket at unix:///"), "{error}");
    // A socket file that a dead engine left behind.
    drop(UnixListener::bind(&socket).unwrap());
    let error = engines.reachable(&host).await.unwrap_err().to_string();
    assert!(error.contains("Docker host `far`: no engine answers at unix:///"), "{error}");
    let error = engines.reachable(&"moon".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("there is no Docker host `moon` (there are: far)"), "{error}");
    let action: Action = serde_json::from_value(serde_json::json!({"docker":
        {"verb": "restart", "target": "far/web", "container": "0123456789ab", "started_at": "2026-01-01T00:00:00Z"}}))
    .unwrap();
    assert_says(&carry(&engines, &action, DEADLINE).await, Ending::Failed, &["no engine answers", "nothing was done"]);
    let found = find_out(&engines, &action, Time::now().minus(Duration::from_secs(60))).await;
    assert_begins(&found, Ending::Interrupted, "it cannot be told");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(
        Engines::connect(&serde_json::from_value(serde_json::json!({"hosts": {"x": "unix:///etc/hostname"}})).unwrap()).is_err()
    );
}

#[tokio::test]
async fn an_engine_that_hangs_costs_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // Takes the connection, reads the question and says nothing until the client has gone.
    std::thread::spawn(move || listener.accept().map(|(mut stream, _)| stream.read_to_end(&mut Vec::new())));
    let begun = Instant::now();
    let error = engines_at(&socket).container(&"far/web".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("the engine gave no answer within 5 s"), "{error}");
    assert!((5..7).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

/// An engine that answers every look with a container of its choice, and hangs up on everything else.
fn false_engine(socket: &std::path::Path, body: &'static str) {
    use std::io::Write as _;
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 4096]);
            let read = stream.read(&mut request).unwrap();
            if request[..read].starts_with(b"GET ") {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        }
    });
}

#[tokio::test]
async fn strange_answers_are_errors_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (number, body) in [
        r#"{"Id": "0123456789ab", "Name": "/web", "State": {"Status": "stopped"}}"#,
        r#"{"Id": "0123456789ab", "Name": "/we\u001b[2Jb"}"#,
        r#"{"Id": "../prune?", "Name": "/web"}"#,
        "[]",
    ]
    .into_iter()
    .enumerate()
    {
        let socket = folder.path().join(number.to_string());
        false_engine(&socket, body);
        let error = engines_at(&socket).container(&"far/web".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, LookError::NotUnderstood { .. }), "{body}: {error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
}

/// Whether the engine had begun is not known then: that is no clean failure.
#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_is_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    false_engine(
        &socket,
        r#"{"Id": "0123456789ab", "Name": "/web", "State": {"Status": "running", "StartedAt": "2026-01-01T00:00:00Z"}}"#,
    );
    let engines = engines_at(&socket);
    let Container { target, id, started_at, .. } = engines.container(&"far/web".parse().unwrap()).await.unwrap().unwrap();
    let action =
        Action::Docker { verb: DockerVerb::Restart, target, container: id, started_at, grace_seconds: None, signal: None };
    let outcome = carry(&engines, &action, DEADLINE).await;
    assert_says(&outcome, Ending::TimedOut, &["the connection broke", "it did not take place", "may still carry it out"]);
}

/// Looking is for everybody, touching for one file.
#[test]
fn only_execution_has_hands() {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let house = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src");
    let mut found = Vec::new();
    files(&house, &mut found);
    let having = |word: &str| -> Vec<String> {
        let mut names: Vec<String> = found
            .iter()
            .filter(|path| std::fs::read_to_string(path).unwrap().contains(word))
            .map(|path| path.strip_prefix(&house).unwrap().display().to_string())
            .collect();
        names.sort();
        names
    };
    assert_eq!(having(".hands("), ["execute/docker.rs"]);
    assert_eq!(having("fn hands("), ["look/docker.rs"]);
    assert_eq!(having("Docker::connect"), ["look/docker.rs"]);
}
