//! People: approve, deny, retry, close, halt and resume, over the operator's socket of a real server, on the real engine.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use paramedic::clock::Time;
use paramedic::config;
use paramedic::halt;
use paramedic::operate::{Settings, Socket, group_of, myself};
use serde_json::{Value, json};

use crate::crash::binary;
use crate::engine::Patient;
use crate::flow::{labels, restarts, service, until_restarted};
use crate::host::{Host, Setup};
use crate::programs::reqwest_client;

/// A policy that wants to restart that container, once a person says yes.
fn approving(container: &str) -> Setup {
    let mut setup = Setup::restarts(container);
    setup.policy = setup.policy.replace("mode: enforce", "mode: approve");
    setup
}

fn desk(host: &Host) -> reqwest::Client {
    let _ = reqwest_client();
    reqwest::Client::builder().unix_socket(config::load(host.config()).unwrap().operator.path(&host.data())).build().unwrap()
}

/// Says something at the operator's socket; status and answer.
pub(crate) async fn say(host: &Host, path: &str, body: Value) -> (u16, Value) {
    let answer = desk(host).post(format!("http://paramedic/v1/{path}")).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

pub(crate) async fn look(host: &Host, path: &str) -> Value {
    desk(host).get(format!("http://paramedic/v1/{path}")).send().await.unwrap().json().await.unwrap()
}

pub(crate) fn id(host: &Host) -> String {
    paramedic::journal::Reader::open(&host.data()).unwrap().list(false, 1).unwrap()[0].to_string()
}

/// Sends the alert and waits until a person is asked; the incident's id and the digest of what is shown.
async fn asked(host: &Host, patient: &Patient) -> (String, String) {
    assert_eq!(host.send("firing", labels(patient), &Time::now().to_string()).await, 200);
    host.until("awaiting-approval", 20).await;
    let id = id(host);
    let digest = look(host, &format!("incidents/{id}")).await["awaiting"]["digest"].as_str().unwrap().to_owned();
    (id, digest)
}

pub(crate) fn error(answer: &Value) -> &str {
    answer["error"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

fn story(host: &Host) -> String {
    host.incidents().remove(0).1
}

/// Runs a command of the real program against this server.
pub(crate) async fn paramedic(host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(arguments).arg("--config").arg(host.config()).env_remove("PARAMEDIC_DATA");
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output { status, stdout, stderr } = run.await.unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_approves_is_done_once_and_says_who_and_why() {
    let patient = service();
    let host = Host::start(&approving(&patient.name).policy_line(&format!("approvers: [uid {}]", myself().uid))).await;
    let (id, digest) = asked(&host, &patient).await;
    let shown = look(&host, &format!("incidents/{id}")).await;
    assert!(
        shown["awaiting"]["actions"][0].as_str().unwrap().contains(&format!("docker.restart local/{}", patient.name)),
        "{shown}"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(restarts(&patient), 0, "nobody has said yes");
    let (code, answer) =
        say(&host, &format!("incidents/{id}/approve"), json!({ "reason": "go\u{1b}[31m ahead", "digest": digest })).await;
    assert_eq!((code, answer["by"].as_str()), (200, Some(myself().to_string().as_str())), "{answer}");
    assert!(answer["next"].as_str().unwrap().contains("authorised again"), "{answer}");
    until_restarted(&patient, 1, 20).await;
    host.until("verifying", 20).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let story = story(&host);
    assert_eq!(restarts(&patient), 1, "{story}");
    assert!(story.contains(&format!("approved Approved by {}: go", myself())) && !story.contains('\u{1b}'), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_approve_at_once_cause_one_act() {
    let patient = service();
    let host = Host::start(&approving(&patient.name)).await;
    let (id, digest) = asked(&host, &patient).await;
    let path = format!("incidents/{id}/approve");
    let all = (0..8).map(|n| say(&host, &path, json!({ "reason": format!("yes from {n}"), "digest": digest })));
    let answers = futures_util::future::join_all(all).await;
    let taken = answers.iter().filter(|(code, _)| *code == 200).count();
    let late: Vec<&str> = answers.iter().filter(|(code, _)| *code == 409).map(|(_, answer)| error(answer)).collect();
    assert_eq!((taken, late.len()), (1, 7), "{answers:?}");
    assert!(late.iter().all(|why| why.contains("does not wait for a yes or a no")), "{late:?}");
    until_restarted(&patient, 1, 20).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let story = story(&host);
    assert_eq!((restarts(&patient), story.matches("approved Approved").count()), (1, 1), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_denies_is_not_done_and_the_policy_is_told_so() {
    let patient = service();
    let host = Host::start(&approving(&patient.name)).await;
    let (id, _) = asked(&host, &patient).await;
    let (code, answer) = say(&host, &format!("incidents/{id}/deny"), json!({ "reason": "the release is running" })).await;
    assert_eq!(code, 200, "{answer}");
    let story = host.until("escalated", 20).await;
    assert!(story.contains("the release is running") && story.contains("because a person said no to what was wanted"), "{story}");
    assert_eq!(restarts(&patient), 0, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_and_a_restart_of_the_server_does_not_make_them_wait_longer() {
    let patient = service();
    let mut host = Host::start(&approving(&patient.name).policy_line("approve: {within: 1m}")).await;
    let (id, digest) = asked(&host, &patient).await;
    let begun = Instant::now();
    let before = look(&host, &format!("incidents/{id}")).await;
    host.restart().await;
    let after = look(&host, &format!("incidents/{id}")).await;
    assert_eq!((&after["state"], &after["awaiting"]), (&json!("awaiting-approval"), &before["awaiting"]));
    let story = host.until("escalated", 75).await;
    assert!(begun.elapsed() > Duration::from_secs(50), "{:?}", begun.elapsed());
    assert!(story.contains("nobody said yes or no in time"), "{story}");
    let (code, answer) = say(&host, &format!("incidents/{id}/approve"), json!({ "reason": "late", "digest": digest })).await;
    assert_eq!(code, 409, "{answer}");
    assert_eq!(restarts(&patient), 0, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_recreated_meanwhile_is_not_what_was_approved() {
    let mut patient = Patient::run(&["--stop-timeout", "1"], &["wait"]);
    let host = Host::start(&approving(&patient.name)).await;
    let (id, digest) = asked(&host, &patient).await;
    patient.recreate(&["wait"]);
    let started = patient.inspect("{{.State.StartedAt}}");
    let (code, answer) = say(&host, &format!("incidents/{id}/approve"), json!({ "reason": "yes", "digest": digest })).await;
    assert_eq!(code, 200, "{answer}");
    let story = host.until("escalated", 20).await;
    assert!(story.contains("[changed-target]") && story.contains("changed target"), "{story}");
    assert!(!story.contains("intended"), "{story}");
    assert_eq!(patient.inspect("{{.State.StartedAt}}"), started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_restarted_by_hand_meanwhile_is_not_what_was_approved() {
    let patient = service();
    let host = Host::start(&approving(&patient.name)).await;
    let (id, digest) = asked(&host, &patient).await;
    crate::engine::docker(&["restart", &patient.id]);
    let (code, answer) = say(&host, &format!("incidents/{id}/approve"), json!({ "reason": "yes", "digest": digest })).await;
    assert_eq!(code, 200, "{answer}");
    let story = host.until("escalated", 20).await;
    assert!(story.contains("[changed-target]"), "{story}");
    assert_eq!(restarts(&patient), 1, "only the one by hand: {story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_names_what_was_shown() {
    let patient = service();
    let host = Host::start(&approving(&patient.name)).await;
    let (id, digest) = asked(&host, &patient).await;
    let path = format!("incidents/{id}/approve");
    let other = format!("{}{digest}", if digest.starts_with('0') { '1' } else { '0' });
    for (wrong, code) in
        [(json!(other), 409), (json!(""), 409), (json!(digest[..7]), 409), (json!(null), 400), (json!(format!("{digest}0")), 409)]
    {
        let (got, answer) = say(&host, &path, json!({ "reason": "yes", "digest": wrong })).await;
        assert_eq!(got, code, "{wrong}: {answer}");
    }
    for reason in ["", "  \n ", &"x".repeat(501)] {
        let (code, answer) = say(&host, &path, json!({ "reason": reason, "digest": digest })).await;
        assert!(code == 400 && error(&answer).contains("reason"), "{code} {answer}");
    }
    assert_eq!(say(&host, &path, json!({ "digest": digest })).await.0, 400);
    assert_eq!(say(&host, &path, json!({ "reason": "x".repeat(20_000), "digest": digest })).await.0, 413);
    let (code, answer) = say(&host, &format!("incidents/{id}/retry"), json!({ "reason": "again" })).await;
    assert!(code == 409 && error(&answer).contains("waits for a yes or a no"), "{answer}");
    assert_eq!(host.until("awaiting-approval", 1).await.matches("approved").count(), 0);
    assert_eq!(restarts(&patient), 0);
    let (code, answer) = say(&host, &path, json!({ "reason": "y".repeat(500), "digest": digest[..8] })).await;
    assert_eq!(code, 200, "{answer}");
    until_restarted(&patient, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_approver_can_say_neither_yes_nor_no() {
    let patient = service();
    let (run, group) = (tempfile::TempDir::new().unwrap(), group_of(rustix::process::getegid().as_raw()));
    let mut setup = approving(&patient.name).policy_line("approvers: [nobody-here, uid 4000000000, group no-such-group]");
    setup.config.push_str(&format!("operator: {{socket: {}/o.sock, group: {group}}}\n", run.path().display()));
    let host = Host::start(&setup).await;
    let (id, digest) = asked(&host, &patient).await;
    for (command, body) in [("approve", json!({ "reason": "yes", "digest": digest })), ("deny", json!({ "reason": "no" }))] {
        let (code, answer) = say(&host, &format!("incidents/{id}/{command}"), body).await;
        let listed = "nobody-here, uid 4000000000, group no-such-group";
        let told = error(&answer).contains(listed) && error(&answer).contains("change `approvers` there");
        assert!(code == 403 && told, "{code} {answer}");
    }
    host.until("awaiting-approval", 1).await;
    assert_eq!(restarts(&patient), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_held_is_so_before_anybody_is_asked() {
    let patient = service();
    let mut setup = approving(&patient.name);
    setup.policy = setup.policy.replace(&format!("local/{}", patient.name), "local/another");
    let host = Host::start(&setup).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("escalated", 20).await;
    assert!(story.contains("not-granted") && !story.contains("approval-asked"), "{story}");

    let host = Host::start(&approving(&patient.name)).await;
    std::fs::write(host.data().join(halt::FILE), "").unwrap();
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("held", 20).await;
    assert!(story.contains("halted") && !story.contains("approval-asked"), "{story}");
    assert_eq!(restarts(&patient), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_takes_what_had_long_been_firing() {
    let patient = service();
    let since = Time::now().to_string();
    let host = Host::start(&Setup::restarts(&patient.name).policy_line("max_age: 1s")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    host.send("firing", labels(&patient), &since).await;
    let told = host.until("held", 20).await;
    assert!(told.contains(&format!("paramedic incident retry {} --reason", id(&host))), "{told}");
    let (code, answer) = say(&host, &format!("incidents/{}/retry", id(&host)), json!({ "reason": "I have looked" })).await;
    assert_eq!(code, 200, "{answer}");
    until_restarted(&patient, 1, 20).await;
    assert!(story(&host).contains("wants it tried again: I have looked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_closes_stays_that_persons_until_it_fires_anew() {
    let patient = service();
    let host = Host::start(&approving(&patient.name)).await;
    let since = Time::now().to_string();
    host.send("firing", labels(&patient), &since).await;
    host.until("awaiting-approval", 20).await;
    // The key alone is enough.
    let key = id(&host).split('-').next().unwrap().to_owned();
    let (code, answer) = say(&host, &format!("incidents/{key}/close"), json!({ "reason": "I repair it by hand" })).await;
    assert_eq!(code, 200, "{answer}");
    let story = host.until("person", 5).await;
    assert!(story.contains(&format!("Closed by a person: {}: I repair it by hand", myself())), "{story}");
    host.send("firing", labels(&patient), &since).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(host.incidents().len(), 1, "the same firing is told again");
    let (code, answer) = say(&host, &format!("incidents/{key}/retry"), json!({ "reason": "no, you" })).await;
    assert!(code == 409 && error(&answer).contains("is closed"), "{answer}");
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    host.until("awaiting-approval", 20).await;
    assert_eq!((host.incidents().len(), restarts(&patient)), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_not_closed_and_halting_names_it() {
    // It ignores SIGTERM: a restart takes as long as the grace.
    let patient = Patient::run(&[], &["wait"]);
    let mut setup = Setup::restarts(&patient.name);
    setup.policy = setup.policy.replace("grace_seconds: 1", "grace_seconds: 6");
    let host = Host::start(&setup).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let begun = Instant::now();
    while !host.incidents().iter().any(|(_, story)| story.contains("begun")) {
        assert!(begun.elapsed() < Duration::from_secs(15), "it did not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let close = format!("incidents/{}/close", id(&host));
    let (code, answer) = say(&host, &close, json!({ "reason": "stop it" })).await;
    assert!(code == 409 && error(&answer).contains("is acting") && error(&answer).contains("paramedic halt"), "{answer}");
    let (code, halted) = say(&host, "halt", json!({ "reason": "stop all" })).await;
    assert_eq!((code, halted["running"][0]["incident"].as_str()), (200, Some(id(&host).as_str())), "{halted}");
    host.until("verifying", 20).await;
    let (code, answer) = say(&host, &close, json!({ "reason": "stop it" })).await;
    assert!(code == 409 && error(&answer).contains("is verifying"), "{answer}");
    assert_eq!(look(&host, "halt").await["running"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_survives_a_restart_and_a_resume_lets_go() {
    let patient = service();
    let mut host = Host::start(&Setup::restarts(&patient.name)).await;
    let (code, answer) = say(&host, "halt", json!({ "reason": "storage is on fire" })).await;
    assert_eq!((code, &answer["halted"]), (200, &json!(true)), "{answer}");
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("held", 20).await;
    let told = format!("halted by {} since", myself());
    assert!(story.contains(&told) && story.contains("storage is on fire") && story.contains("paramedic resume"), "{story}");
    host.restart().await;
    let (code, answer) = say(&host, "halt", json!({ "reason": "me too" })).await;
    assert!(code == 200 && answer["next"].as_str().unwrap().contains("storage is on fire"), "{answer}");
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!((host.incidents()[0].0.as_str(), restarts(&patient)), ("held", 0));
    let (code, answer) = say(&host, "resume", json!({ "reason": "it is out" })).await;
    assert_eq!((code, &answer["halted"]), (200, &json!(false)), "{answer}");
    until_restarted(&patient, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn halted_while_it_was_down_it_starts_and_does_nothing() {
    let patient = service();
    let mut host = Host::start(&Setup::restarts(&patient.name)).await;
    host.stop().await;
    let (code, said) = paramedic(&host, &["halt", "--reason", "the database is moved"]).await;
    assert!(code == Some(0) && said.contains("o server was found at"), "{said}");
    let written = halt::read(&host.data().join(halt::FILE)).unwrap().unwrap();
    assert_eq!((written.by, written.reason.as_deref()), (Some(myself().to_string()), Some("the database is moved")));
    let (code, said) = paramedic(&host, &["incident", "retry", "abcd", "--reason", "x"]).await;
    assert!(code == Some(2) && said.contains("paramedic serve --config"), "{said}");
    host.start_again().await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("held", 20).await;
    assert!(story.contains("the database is moved"), "{story}");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(restarts(&patient), 0);
    let (code, said) = paramedic(&host, &["resume", "--reason", "it is moved"]).await;
    assert!(code == Some(0) && said.contains("no longer halted by"), "{said}");
    until_restarted(&patient, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_while_halted_is_not_spent() {
    let patient = service();
    let host = Host::start(&approving(&patient.name)).await;
    let (id, digest) = asked(&host, &patient).await;
    say(&host, "halt", json!({ "reason": "wait" })).await;
    let yes = json!({ "reason": "yes", "digest": digest });
    let (code, answer) = say(&host, &format!("incidents/{id}/approve"), yes.clone()).await;
    assert!(code == 409 && error(&answer).contains("paramedic resume"), "{answer}");
    say(&host, "resume", json!({ "reason": "on" })).await;
    assert_eq!(say(&host, &format!("incidents/{id}/approve"), yes).await.0, 200);
    until_restarted(&patient, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senders_token_moves_nothing() {
    let patient = service();
    let token = "0123456789abcdef0123456789abcdef";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(token.as_bytes()).unwrap();
    let mut setup = approving(&patient.name);
    setup.config.push_str(&format!("auth: {{token_file: {}}}\n", file.path().display()));
    let host = Host::start(&setup).await;
    let post =
        |path: String, body: Value| reqwest_client().post(format!("{}{path}", host.url)).bearer_auth(token).json(&body).send();
    let firing =
        json!({ "status": "firing", "labels": labels(&patient), "annotations": {}, "startsAt": Time::now().to_string() });
    let sent = post("/alert".to_owned(), json!({ "version": "4", "status": "firing", "alerts": [firing] })).await.unwrap();
    assert_eq!(sent.status(), 200);
    host.until("awaiting-approval", 20).await;
    let id = id(&host);
    let digest = look(&host, &format!("incidents/{id}")).await["awaiting"]["digest"].clone();
    for prefix in ["/v1", "/api/v1"] {
        for path in [format!("incidents/{id}/approve"), format!("incidents/{id}/close"), "halt".to_owned(), "resume".to_owned()] {
            let answer = post(format!("{prefix}/{path}"), json!({ "reason": "let me", "digest": digest })).await.unwrap();
            assert_eq!(answer.status(), 403, "{prefix}/{path}");
            assert!(answer.text().await.unwrap().contains("operator's socket"));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((host.incidents()[0].0.as_str(), restarts(&patient)), ("awaiting-approval", 0));
    assert!(!host.data().join(halt::FILE).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_show_what_they_approve_and_say_what_is_wrong() {
    let patient = service();
    let host = Host::start(&approving(&patient.name)).await;
    let (id, digest) = asked(&host, &patient).await;
    let typed = format!("paramedic incident approve {id} --digest {}", &digest[..12]);
    for command in [vec!["incident", "list"], vec!["incident", "show", &id]] {
        let (code, said) = paramedic(&host, &command).await;
        assert!(code == Some(0) && said.contains(&typed) && said.contains("awaiting-approval"), "{said}");
    }
    let (code, said) = paramedic(&host, &["incident", "approve", "ffffffffffffffff", "--reason", "x"]).await;
    assert!(code == Some(2) && said.contains("there is no incident"), "{said}");
    let (code, said) = paramedic(&host, &["incident", "close", "../halt", "--reason", "x"]).await;
    assert!(code == Some(2) && said.contains("is no id"), "{said}");
    let (code, said) = paramedic(&host, &["incident", "close", "", "--reason", "x"]).await;
    assert!(code == Some(2) && said.contains("is no id"), "{said}");
    let (code, said) = paramedic(&host, &["incident", "approve", &id[..10], "--reason", "x", "--digest", "00000000"]).await;
    assert!(code == Some(1) && said.contains(&digest[..12]) && said.contains("nothing was approved"), "{said}");
    let (code, said) = paramedic(&host, &["incident", "approve", &id[..10], "--reason", "x"]).await;
    let shown = said.contains("would do") && said.contains(&patient.name);
    assert!(code == Some(1) && shown && said.contains(&typed) && said.contains("nothing was approved"), "{said}");
    host.until("awaiting-approval", 1).await;
    let approve = ["incident", "approve", &id[..10], "--digest", &digest[..12], "--reason", "looks right", "--output", "json"];
    let (code, said) = paramedic(&host, &approve).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["incident"], json!(id));
    until_restarted(&patient, 1, 20).await;
    // Of seventeen keys two begin alike.
    for n in 0..17 {
        host.send("firing", json!({ "alertname": format!("Other{n}") }), &Time::now().to_string()).await;
    }
    let reader = paramedic::journal::Reader::open(&host.data()).unwrap();
    let mut first: Vec<String> = reader.list(false, 100).unwrap().iter().map(|id| id.to_string()[..1].to_owned()).collect();
    first.sort();
    let twice = first.windows(2).find(|two| two[0] == two[1]).unwrap()[0].clone();
    let (code, said) = paramedic(&host, &["incident", "close", &twice, "--reason", "x"]).await;
    assert!(code == Some(2) && said.contains("several incidents begin with"), "{said}");
    let (code, said) = paramedic(&host, &["incident", "deny", &id, "--reason", "too late"]).await;
    assert!(code == Some(1) && said.contains("does not wait for a yes or a no"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_servers_socket_is_replaced_and_a_living_ones_never() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("data/operator.sock");
    let settings = Settings::default();
    let data = folder.path().join("data");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(Socket::open(&settings, &data).await.unwrap());
    assert!(!path.exists(), "a server that ends takes its socket away");
    drop(UnixListener::bind(&path).unwrap());
    let socket = Socket::open(&settings, &data).await.unwrap();
    assert_eq!((mode(&path), mode(&data)), (0o600, 0o700));
    let taken = Socket::open(&settings, &data).await.unwrap_err().to_string();
    assert!(taken.contains("belongs to a server that is running"), "{taken}");
    drop(socket);
    std::fs::write(&path, "not a socket").unwrap();
    let refused = Socket::open(&settings, &data).await.unwrap_err().to_string();
    assert!(refused.contains("is no socket"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"not a socket");
    let left: Vec<_> = std::fs::read_dir(&data).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["operator.sock"], "nothing else is left lying about");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gets_a_socket_of_its_own_and_no_other_right() {
    let folder = tempfile::TempDir::new().unwrap();
    let group = group_of(rustix::process::getegid().as_raw());
    let socket = folder.path().join("run/operator.sock");
    let settings = |group: &str| Settings { socket: Some(socket.clone()), group: Some(group.to_owned()) };
    let none = Socket::open(&settings("no-such-group"), folder.path()).await.unwrap_err().to_string();
    assert!(none.contains("no group `no-such-group`"), "{none}");
    let _open = Socket::open(&settings(&group), folder.path()).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o660, 0o750));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_whose_server_is_too_slow_to_accept_is_not_replaced() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("operator.sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::net::UnixStream::connect(&path).await {
        queue.push(stream);
        assert!(queue.len() < 100, "its queue never fills");
    }
    let taken = Socket::open(&Settings::default(), folder.path()).await.unwrap_err().to_string();
    assert!(taken.contains("belongs to a server that is running"), "{taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_umask_nor_a_folder_that_others_may_enter_goes_unnoticed() {
    let folder = tempfile::TempDir::new().unwrap();
    let config = Setup::restarts("nobody").write(folder.path(), 0);
    let (socket, data) = (folder.path().join("a/b/operator.sock"), folder.path().join("data"));
    let group = group_of(rustix::process::getegid().as_raw());
    let operator = format!("operator: {{socket: {}, group: {group}}}\n", socket.display());
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + &operator).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Command::new("sh");
    server.args(["-c", "umask 077; exec \"$0\" serve --config \"$1\""]).args([&binary(), &config]);
    let mut server = server.stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !socket.exists() && begun.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let modes = (mode(&socket), mode(&folder.path().join("a/b")), mode(&folder.path().join("a")));
    server.kill().unwrap();
    let told = tokio::task::spawn_blocking(move || server.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(modes, (0o660, 0o750, 0o750));
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("Others than the server's user may enter the data folder"), "{told}");
}
