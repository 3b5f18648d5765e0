//! From a failing service to a healed one, and all the reasons not to act: on the real engine, Prometheus, Alertmanager and Ansible.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use paramedic::clock::Time;
use serde_json::json;

use crate::engine::{Patient, docker};
use crate::host::{Host, Setup};
use crate::programs::{Exporter, Program, reqwest_client, start_alertmanager, start_prometheus, start_replica};

pub const DOWN: &str = "up_in_truth 0\n";
pub const WELL: &str = "up_in_truth 1\n";

pub fn rule(container: &str) -> String {
    format!("  - {{alert: Down, expr: up_in_truth == 0, for: 1s, labels: {{container: {container}, severity: critical}}}}")
}

/// A container that runs, and a witness who listens to the engine's events about it: the engine remembers only its last 256.
pub(crate) struct Service {
    pub(crate) patient: Patient,
    events: tempfile::NamedTempFile,
    witness: Child,
}

impl std::ops::Deref for Service {
    type Target = Patient;
    fn deref(&self) -> &Patient {
        &self.patient
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.witness.kill();
        let _ = self.witness.wait();
    }
}

pub(crate) fn service() -> Service {
    listened_to(Patient::run(&["--stop-timeout", "1"], &["wait"]))
}

/// One of a group of this process alone.
fn labelled() -> Service {
    let label = format!("paramedic.flow={}", std::process::id());
    listened_to(Patient::run(&["--stop-timeout", "1", "--label", &label], &["wait"]))
}

fn listened_to(patient: Patient) -> Service {
    let events = tempfile::NamedTempFile::new().unwrap();
    let filter = format!("container={}", patient.id);
    let witness = Command::new("docker")
        .args(["events", "--since", "5s", "--filter", &filter, "--format", "{{.Action}}"])
        .stdout(events.reopen().unwrap())
        .spawn()
        .unwrap();
    let service = Service { patient, events, witness };
    // It has begun to listen once it has told of the start, which was a moment ago.
    let begun = Instant::now();
    while !heard(&service).contains("start") {
        assert!(begun.elapsed() < Duration::from_secs(20), "docker events does not tell of the container's start");
        std::thread::sleep(Duration::from_millis(50));
    }
    service
}

pub fn heard(service: &Service) -> String {
    std::fs::read_to_string(service.events.path()).unwrap()
}

pub(crate) fn labels(patient: &Patient) -> serde_json::Value {
    json!({ "alertname": "Down", "container": patient.name })
}

/// How often the engine was asked to restart it, by its own word.
pub(crate) fn restarts(service: &Service) -> usize {
    heard(service).lines().filter(|action| *action == "restart").count()
}

pub(crate) async fn until_restarted(patient: &Service, times: usize, seconds: u64) {
    for _ in 0..seconds * 5 {
        if restarts(patient) >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{} was not restarted {times} times within {seconds} s", patient.name);
}

async fn silence(alertmanager: &Program, name: &str, seconds: u64) {
    let now = Time::now();
    let body = json!({
        "matchers": [{ "name": "alertname", "value": name, "isRegex": false }],
        "startsAt": now.to_string(), "endsAt": now.plus(Duration::from_secs(seconds)).to_string(), "createdBy": "ann", "comment": "deploying",
    });
    let answer = reqwest_client().post(format!("{}/api/v2/silences", alertmanager.url)).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_is_restarted_once_and_verified_and_again_when_it_fails_again() {
    let patient = service();
    let exporter = Exporter::start(WELL).await.unwrap();
    let alertmanager = start_alertmanager("").await.unwrap();
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let host = Host::start(&Setup::restarts(&patient.name).prometheus(&prometheus.url).alertmanager(&alertmanager.url)).await;
    for failure in 1..=2 {
        exporter.set(DOWN);
        until_restarted(&patient, failure, 30).await;
        exporter.set(WELL);
        let story = host.until("healed", 60).await;
        assert!(story.contains("HEALED"), "{story}");
        assert_eq!(restarts(&patient), failure, "{story}");
    }
    assert_eq!(host.incidents().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanagers_list_alone_is_enough_to_act_and_never_enough_to_say_healed() {
    let patient = service();
    let exporter = Exporter::start(DOWN).await.unwrap();
    let alertmanager = start_alertmanager("").await.unwrap();
    let _prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let setup = Setup::restarts(&patient.name).alertmanager(&alertmanager.url).policy_line("");
    let host = Host::start(&setup).await;
    until_restarted(&patient, 1, 30).await;
    exporter.set(WELL);
    let story = host.until("cleared", 180).await;
    assert!(!story.contains(" HEALED"), "{story}");
    assert_eq!(restarts(&patient), 1, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_refused_and_nothing_is_touched() {
    let patient = service();
    let started = patient.inspect("{{.State.StartedAt}}");
    let host = Host::start(&Setup::restarts("somebody-else")).await;
    assert_eq!(host.send("firing", labels(&patient), &Time::now().to_string()).await, 200);
    let story = host.until("escalated", 20).await;
    assert!(story.contains("REFUSED") && story.contains("not-granted"), "{story}");
    assert_eq!(patient.inspect("{{.State.StartedAt}}"), started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_two_docker_hosts_may_have_is_no_target_until_the_alert_names_the_host() {
    let patient = service();
    let mut setup = Setup::restarts(&patient.name);
    // Two addresses of one engine: whatever is done to either is done to this container.
    setup.config.push_str("docker: {hosts: {edge: 'unix:///var/run/docker.sock', local: 'unix:///var/run/docker.sock'}}\n");
    setup.policy =
        setup.policy.replace(&format!("['local/{}']", patient.name), "['local/paramedic-test-*', 'edge/paramedic-test-*']");
    let host = Host::start(&setup).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("escalated", 20).await;
    assert!(story.contains("no target is known") && !story.contains("Allowed"), "{story}");
    let (_, shown) = crate::people::paramedic(&host, &["incident", "show", &crate::people::id(&host)]).await;
    assert!(shown.contains("may be on any of the Docker hosts edge, local") && shown.contains("docker_host"), "{shown}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(restarts(&patient), 0);
    let named = json!({ "alertname": "Down", "container": patient.name, "docker_host": "edge" });
    host.send("firing", named, &Time::now().to_string()).await;
    until_restarted(&patient, 1, 20).await;
    // The grant itself cannot leave the host open.
    let open = setup.policy.replace("'local/paramedic-test-*', 'edge/paramedic-test-*'", "'paramedic-test-*'");
    let folder = tempfile::TempDir::new().unwrap();
    let path = Setup { policy: open, ..setup }.write(folder.path(), 0);
    let refused = paramedic::config::load_all(&path).unwrap_err().to_string();
    assert!(refused.contains("names no containers"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_alert_told_many_times_causes_one_restart() {
    let patient = service();
    let host = Host::start(&Setup::restarts(&patient.name)).await;
    let since = Time::now().to_string();
    let sends = (0..20).map(|_| host.send("firing", labels(&patient), &since));
    assert!(futures_util::future::join_all(sends).await.iter().all(|code| *code == 200));
    until_restarted(&patient, 1, 20).await;
    assert_eq!(host.send("firing", labels(&patient), &since).await, 200);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((restarts(&patient), host.incidents().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observing_policy_says_what_it_would_do_and_does_nothing() {
    let patient = service();
    let mut setup = Setup::restarts(&patient.name);
    setup.policy = setup.policy.replace("mode: enforce", "mode: observe");
    let host = Host::start(&setup).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("watching", 20).await;
    assert!(story.contains("act: docker.restart") && story.contains("observing"), "{story}");
    assert_eq!(restarts(&patient), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_holds_and_its_end_lets_go() {
    let patient = service();
    let exporter = Exporter::start(DOWN).await.unwrap();
    let alertmanager = start_alertmanager("").await.unwrap();
    silence(&alertmanager, "Down", 15).await;
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let host = Host::start(&Setup::restarts(&patient.name).prometheus(&prometheus.url).alertmanager(&alertmanager.url)).await;
    let story = host.until("held", 14).await;
    assert!(story.contains("silenced") && story.contains("deploying"), "{story}");
    assert_eq!(restarts(&patient), 0);
    until_restarted(&patient, 1, 60).await;
    exporter.set(WELL);
    host.until("healed", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_a_person_stopped_is_left_alone_unless_the_policy_says_otherwise() {
    let patient = service();
    docker(&["stop", &patient.id]);
    let host = Host::start(&Setup::restarts(&patient.name)).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("held", 20).await;
    assert!(story.contains("deliberate-stop"), "{story}");
    assert_eq!(patient.inspect("{{.State.Running}}"), "false");

    let host = Host::start(&Setup::restarts(&patient.name).policy_line("on_deliberate_stop: heal")).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    patient.wait_until("running");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_long_been_firing_when_first_seen_is_left_to_a_person() {
    let patient = service();
    let host = Host::start(&Setup::restarts(&patient.name)).await;
    let hour_ago = Time::now().minus(Duration::from_secs(3600)).to_string();
    host.send("firing", labels(&patient), &hour_ago).await;
    let story = host.until("held", 20).await;
    assert!(story.contains("too-old"), "{story}");
    assert_eq!(restarts(&patient), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_halt_file_is_there_nothing_is_done() {
    let patient = service();
    let host = Host::start(&Setup::restarts(&patient.name)).await;
    std::fs::write(host.data().join("HALT"), "").unwrap();
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("held", 20).await;
    assert!(story.contains("halted"), "{story}");
    assert_eq!(restarts(&patient), 0);
    std::fs::remove_file(host.data().join("HALT")).unwrap();
    until_restarted(&patient, 1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_cannot_be_found_out_whether_it_is_silenced_nothing_is_done() {
    let patient = service();
    let host = Host::start(&Setup::restarts(&patient.name).alertmanager("http://127.0.0.1:9")).await;
    host.send("firing", labels(&patient), &Time::now().to_string()).await;
    let story = host.until("held", 20).await;
    assert!(story.contains("unsure"), "{story}");
    assert_eq!(restarts(&patient), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_restarted_while_verifying_is_not_taken_for_health() {
    let patient = service();
    let exporter = Exporter::start(DOWN).await.unwrap();
    let mut prometheus = start_prometheus(&rule(&patient.name), &[&exporter], None, "").await.unwrap();
    let host = Host::start(&Setup::restarts(&patient.name).prometheus(&prometheus.url)).await;
    until_restarted(&patient, 1, 30).await;
    prometheus.kill().await.unwrap();
    prometheus.start().await.unwrap();
    // It still fires in truth: whatever is said within the time of verification, it is not healed.
    let story = host.until("escalated", 90).await;
    assert!(!story.contains(": HEALED"), "{story}");
    assert_eq!(restarts(&patient), 1, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_does_not_help_is_followed_by_the_playbook() {
    let patient = service();
    let exporter = Exporter::start(DOWN).await.unwrap();
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], None, "").await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let playbook = format!(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n  - name: leave a trace\n    ansible.builtin.copy: {{dest: '{}', content: '{{{{ container }}}}'}}\n",
        trace.display()
    );
    let setup = Setup::restarts(&patient.name).then_playbook(playbook, &patient.name).prometheus(&prometheus.url);
    let setup = Setup { policy: setup.policy.replace("within: 40s", "within: 5s"), ..setup };
    let host = Host::start(&setup).await;
    until_restarted(&patient, 1, 30).await;
    for _ in 0..300 {
        if trace.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    exporter.set(WELL);
    let story = host.until("healed", 60).await;
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), patient.name, "{story}");
    assert!(story.contains("ansible.playbook fix.yml on localhost"), "{story}");
    assert_eq!(restarts(&patient), 1, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_goes_on_where_the_journal_ends() {
    let patient = service();
    let exporter = Exporter::start(DOWN).await.unwrap();
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], None, "").await.unwrap();
    let mut host = Host::start(&Setup::restarts(&patient.name).prometheus(&prometheus.url)).await;
    until_restarted(&patient, 1, 30).await;
    host.restart().await;
    exporter.set(WELL);
    let story = host.until("healed", 60).await;
    assert_eq!(restarts(&patient), 1, "{story}");
    assert_eq!(host.incidents().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_posts_alone_are_enough_for_each_of_two_failures() {
    let patient = service();
    let exporter = Exporter::start(WELL).await.unwrap();
    let host = Host::start(&Setup::restarts(&patient.name)).await;
    let _prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&host.url), "").await.unwrap();
    for failure in 1..=2 {
        exporter.set(DOWN);
        until_restarted(&patient, failure, 30).await;
        exporter.set(WELL);
        let story = host.until("cleared", 90).await;
        assert!(!story.contains(": HEALED"), "nothing can be looked at here, so nothing may be called healed: {story}");
        assert_eq!(restarts(&patient), failure, "{story}");
    }
}

/// Two replicas of one Prometheus both post, as they do to every Alertmanager.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_of_prometheus_are_one_incident_and_one_restart() {
    let patient = service();
    let exporter = Exporter::start(WELL).await.unwrap();
    let host = Host::start(&Setup::restarts(&patient.name)).await;
    let _one = start_replica("a", &rule(&patient.name), &[&exporter], Some(&host.url), "").await.unwrap();
    let _other = start_replica("b", &rule(&patient.name), &[&exporter], Some(&host.url), "").await.unwrap();
    exporter.set(DOWN);
    until_restarted(&patient, 1, 30).await;
    // Both have posted it again and again by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    exporter.set(WELL);
    let story = host.until("cleared", 90).await;
    assert_eq!((host.incidents().len(), restarts(&patient)), (1, 1), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_restarted_in_the_middle_causes_no_second_action_and_no_false_end() {
    let patient = service();
    let exporter = Exporter::start(DOWN).await.unwrap();
    let mut alertmanager = start_alertmanager("").await.unwrap();
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], Some(&alertmanager.url), "").await.unwrap();
    let host = Host::start(&Setup::restarts(&patient.name).prometheus(&prometheus.url).alertmanager(&alertmanager.url)).await;
    until_restarted(&patient, 1, 30).await;
    alertmanager.kill().await.unwrap();
    alertmanager.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (state, story) = host.incidents().remove(0);
    assert_eq!(state, "verifying", "it still fires in truth: {story}");
    exporter.set(WELL);
    let story = host.until("healed", 60).await;
    assert_eq!((restarts(&patient), host.incidents().len()), (1, 1), "{story}");
}

/// A server that may restart both, which one alert is about.
async fn two(prometheus: &Program, one: &Service, other: &Service) -> Host {
    let mut setup = Setup::restarts(&one.name).prometheus(&prometheus.url);
    let rule = |service: &Service| format!("  - {{match: ['alertname=\"Down\"'], docker: local/{}}}\n", service.name);
    setup.config += &format!("targets:\n{}{}", rule(one), rule(other));
    let (both, only) = (format!("'local/{}', 'local/{}'", one.name, other.name), format!("'local/{}'", one.name));
    setup.policy = setup.policy.replace(&only, &both).replace("within: 40s", "within: 6s");
    Host::start(&setup).await
}

#[tokio::test(flavor = "multi_thread")]
async fn several_targets_of_one_alert_are_taken_one_at_a_time_with_a_look_in_between() {
    let (one, other) = (service(), service());
    let exporter = Exporter::start(DOWN).await.unwrap();
    let prometheus = start_prometheus(&rule("nobody"), &[&exporter], None, "").await.unwrap();
    let host = two(&prometheus, &one, &other).await;
    until_restarted(&one, 1, 30).await;
    assert_eq!(restarts(&other), 0, "it was not yet looked whether the first helped");
    until_restarted(&other, 1, 40).await;
    exporter.set(WELL);
    let story = host.until("healed", 60).await;
    let at = |what: &str| story.find(what).unwrap_or_else(|| panic!("no {what:?}: {story}"));
    let (first, second) =
        (at(&format!("docker.restart local/{} (", one.name)), at(&format!("docker.restart local/{} (", other.name)));
    let looked = at("verified Looked after attempt 1: ");
    assert!(first < looked && looked < second, "{story}");
    assert_eq!((restarts(&one), restarts(&other)), (1, 1), "{story}");

    // When the first one helps, the other is left alone.
    exporter.set(DOWN);
    until_restarted(&one, 2, 60).await;
    exporter.set(WELL);
    let story = host.until("healed", 60).await;
    assert_eq!((restarts(&one), restarts(&other)), (2, 1), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_healthy_container_is_left_alone_until_another_one_is_there() {
    let (one, other) = (labelled(), labelled());
    let mut setup = Setup::restarts(&one.name);
    let brakes = format!("cooldown: 1s, minimum_healthy: [{{label: paramedic.flow={}, count: 1}}]", std::process::id());
    setup.policy = setup.policy.replace("cooldown: 1s", &brakes);
    let host = Host::start(&setup).await;
    docker(&["stop", &other.id]);
    host.send("firing", labels(&one), &Time::now().to_string()).await;
    let story = host.until("held", 20).await;
    let expected = format!("not healthy: {} (exited): heal one of them, or lower its `count`", other.name);
    assert!(story.contains("[minimum-healthy]") && story.contains(&expected), "{story}");
    assert_eq!(restarts(&one), 0);
    docker(&["start", &other.id]);
    until_restarted(&one, 1, 30).await;
    assert_eq!(restarts(&other), 0);
}
