//! Policies and plugins taken over while the server runs: by the watch, the socket, HTTP and SIGHUP; all of it or nothing.

mod open;
mod trial;

use std::collections::HashSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use paramedic::alert::{Alert, Family, IncidentId, Labels, Status, Via};
use paramedic::clock::Time;
use paramedic::config;
use paramedic::decide::{Decider, Loaded, Question};
use paramedic::incident::{Event, Incident, Trigger};
use paramedic::policy::present::Present;
use paramedic::server;
use serde_json::{Value, json};

use crate::components::component;
use crate::crash::serve;
use crate::host::{Host, Setup};
use crate::people::{paramedic, say};
use crate::programs::{reqwest_client, within};
use crate::sandbox::sandbox;

fn nothing_there() -> Setup {
    Setup::restarts("reload-no-such-container")
}

fn policy(host: &Host) -> PathBuf {
    host.config().with_file_name("policies").join("10-heal.yaml")
}

async fn get(url: &str) -> Result<Value> {
    let text = reqwest_client().get(url).send().await?.text().await?;
    Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn until(url: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    within(30, what, async || Ok(Some(get(url).await?).filter(&is_so))).await.unwrap()
}

fn modes(policies: &Value) -> Vec<(&str, &str)> {
    let all = policies["policies"].as_array().into_iter().flatten();
    all.map(|one| (one["name"].as_str().unwrap(), one["mode"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_taken_over_and_a_broken_one_leaves_everything_as_it_was() {
    let host = Host::start(&nothing_there()).await;
    let (policies, status) = (format!("{}/api/v1/policies", host.url), format!("{}/api/v1/status", host.url));
    let written = std::fs::read_to_string(policy(&host)).unwrap();
    std::fs::write(policy(&host), written.replace("enforce", "observe")).unwrap();
    let seen = until(&policies, "the change", |seen| modes(seen) == [("heal", "observe")]).await;
    assert_eq!(seen["policies"][0]["file_sha256"].as_str().unwrap().len(), 64);

    // One good file and one broken one: neither is taken over.
    std::fs::write(policy(&host), &written).unwrap();
    let broken = policy(&host).with_file_name("20-broken.yaml");
    std::fs::write(&broken, "name: broken\nplugin: restart-container.wasm\nmoed: enforce\n").unwrap();
    let seen = until(&status, "the complaint", |seen| seen["reload"]["successful"] == false).await;
    assert!(seen["reload"]["error"].as_str().unwrap().contains("20-broken.yaml:3:1"), "{seen}");
    let ready = get(&format!("{}/-/ready", host.url)).await.unwrap().to_string();
    assert!(ready.contains("20-broken.yaml:3:1"), "{ready}");
    let (code, said) = paramedic(&host, &["reload"]).await;
    assert!(code == Some(1) && said.contains("20-broken.yaml:3:1") && said.contains("goes on"), "{code:?} {said}");
    until(&format!("{}/metrics", host.url), "the metric", |text| {
        text.as_str().unwrap().contains("paramedic_config_last_reload_successful 0")
    })
    .await;

    std::fs::write(&broken, "name: mended\nplugin: restart-container.wasm\n").unwrap();
    until(&policies, "the mended file", |seen| modes(seen) == [("heal", "enforce"), ("mended", "observe")]).await;
    until(&status, "that all is well", |seen| seen["reload"]["successful"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_plugin_a_pin_or_settings_is_said_with_its_place_and_changes_nothing() {
    let host = Host::start(&nothing_there()).await;
    let plugins = host.config().with_file_name("plugins");
    let bad = policy(&host).with_file_name("20-bad.yaml");
    std::fs::write(plugins.join("cut.wasm"), &component("restart-container")[..5_000]).unwrap();
    let cut = format!("20-bad.yaml:2:9: plugin {}/cut.wasm: the file ends in the middle", plugins.display());
    for (rest, said) in [
        ("plugin: cut.wasm", cut.as_str()),
        ("plugin: missing.wasm", "/missing.wasm: there is no such file; the folder "),
        (&format!("plugin: restart-container.wasm@sha256:{}", "0".repeat(64)), "20-bad.yaml:2:9: plugin"),
        ("plugin: restart-container.wasm\nsettings: {grace_seconds: x}", "20-bad.yaml:3:"),
    ] {
        std::fs::write(&bad, format!("name: bad\n{rest}\n")).unwrap();
        let (code, answer) = say(&host, "reload", json!({})).await;
        assert!(code == 409 && answer["error"].as_str().unwrap().contains(said), "{rest}: {code} {answer}");
        assert_eq!(modes(&get(&format!("{}/api/v1/policies", host.url)).await.unwrap()), [("heal", "enforce")]);
    }
    std::fs::remove_file(&bad).unwrap();
    let (code, answer) = say(&host, "reload", json!({})).await;
    assert!(code == 200 && answer["added"] == json!([]) && answer["policies"] == 1, "{answer}");
}

/// What was wrong may be mended elsewhere than in the watched folders.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_taken_over_is_tried_again_without_another_change() {
    let host = Host::start(&nothing_there().then_playbook("- hosts: localhost\n  tasks: []\n".to_owned(), "x")).await;
    let more = "name: more\nplugin: restart-container.wasm\ngrants: {ansible: [{playbook: late.yml, hosts: [localhost]}]}\n";
    std::fs::write(policy(&host).with_file_name("20-more.yaml"), more).unwrap();
    let status = format!("{}/api/v1/status", host.url);
    let seen = until(&status, "the complaint", |seen| seen["reload"]["successful"] == false).await;
    assert!(seen["reload"]["error"].as_str().unwrap().contains("late.yml"), "{seen}");
    std::fs::write(host.config().with_file_name("playbooks").join("late.yml"), "- hosts: localhost\n  tasks: []\n").unwrap();
    let policies = format!("{}/api/v1/policies", host.url);
    until(&policies, "the policy", |seen| modes(seen) == [("heal", "enforce"), ("more", "observe")]).await;
    until(&status, "that all is well", |seen| seen["reload"]["successful"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_it_needs_the_senders_token_no_browser_and_a_distance() {
    let mut setup = nothing_there();
    let folder = tempfile::tempdir().unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(folder.path().join("token"), token).unwrap();
    setup.config.push_str(&format!("auth: {{token_file: {}}}\n", folder.path().join("token").display()));
    let host = Host::start(&setup).await;
    let post = || reqwest_client().post(format!("{}/-/reload", host.url));
    assert_eq!(post().send().await.unwrap().status(), 401);
    assert_eq!(post().bearer_auth(token).header("Origin", "http://evil").send().await.unwrap().status(), 403);
    let answer = post().bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["policies"], 1);
    assert_eq!(post().bearer_auth(token).send().await.unwrap().status(), 429);
    // paramedic.yaml is not taken over, and that is said.
    let config = std::fs::read_to_string(host.config()).unwrap();
    std::fs::write(host.config(), config + "max_age: 20m\n").unwrap();
    let (code, said) = paramedic(&host, &["reload"]).await;
    assert!(code == Some(0) && said.contains("paramedic.yaml has changed since the start") && said.contains("restart"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_a_symlink_is_taken_over_when_it_is_moved() {
    let mut setup = nothing_there();
    setup.config.push_str("policies: mounted\n");
    let volume = tempfile::tempdir().unwrap();
    let version = |name: &str, mode: &str| {
        let folder = volume.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("10.yaml"), format!("name: heal\nplugin: restart-container.wasm\nmode: {mode}\n")).unwrap();
    };
    version("..1", "observe");
    version("..2", "enforce");
    // As Kubernetes mounts it: ..data names the version, and each file goes through it.
    symlink("..1", volume.path().join("..data")).unwrap();
    symlink("..data/10.yaml", volume.path().join("10.yaml")).unwrap();
    setup.config = setup.config.replace("policies: mounted", &format!("policies: {}", volume.path().display()));
    let host = Host::start(&setup).await;
    let policies = format!("{}/api/v1/policies", host.url);
    assert_eq!(modes(&get(&policies).await.unwrap()), [("heal", "observe")]);
    symlink("..2", volume.path().join("..tmp")).unwrap();
    std::fs::rename(volume.path().join("..tmp"), volume.path().join("..data")).unwrap();
    until(&policies, "the other version", |seen| modes(seen) == [("heal", "enforce")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hangups_end_nothing_and_a_stop_in_between_is_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let config = nothing_there().write(folder.path(), 0);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))).unwrap();
    let mut child = serve(&config);
    let url = format!("http://127.0.0.1:{port}");
    let policies = format!("{url}/api/v1/policies");
    within(60, "its start", async || Ok(get(&policies).await.ok())).await.unwrap();
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let hangup = || rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
    std::fs::write(folder.path().join("policies/20.yaml"), "name: other\nplugin: restart-container.wasm\n").unwrap();
    (0..200).for_each(|_| hangup());
    until(&policies, "the new policy", |seen| modes(seen).len() == 2).await;
    hangup();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    hangup();
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status}");
}

/// Many policies may ask one plugin: what is wrong with it is told once.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_cannot_be_loaded_is_told_once_however_many_policies_ask_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, plugin) in [("a", "broken"), ("b", "gone"), ("c", "broken"), ("d", "broken")] {
        std::fs::write(folder.path().join(format!("{name}.yaml")), format!("name: {name}\nplugin: {plugin}.wasm\n")).unwrap();
    }
    std::fs::write(folder.path().join("broken.wasm"), "").unwrap();
    let read = config::load_policies(folder.path()).unwrap();
    let said = server::load(sandbox(), folder.path(), read, None).await.unwrap_err().to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("a.yaml:2:9: ") && lines[0].contains("the file is empty"), "{said}");
    assert!(lines[0].ends_with("; 2 more policies ask it, too"), "{said}");
    assert!(lines[1].contains("b.yaml:2:9: ") && lines[1].contains("gone.wasm") && !lines[1].contains("ask it, too"), "{said}");
}

/// The same plugin with other bytes: a custom section changes nothing but the digest.
fn twin(plugin: &[u8], n: u8) -> Vec<u8> {
    [plugin, &[0, 3, 1, b'n', n]].concat()
}

/// The policies of one generation: everything in it names the generation.
async fn generation(folder: &Path, n: usize) -> Vec<Loaded> {
    let policies = folder.join(n.to_string());
    std::fs::create_dir_all(&policies).unwrap();
    for name in ["a", "b", "c"] {
        let text = format!(
            "name: {name}\nplugin: {}.wasm\nmode: observe\nmatch: ['alertname=\"Down\"']\nsettings: {{grace_seconds: {}}}\n\
             limits: {{deadline: 10s}}\n",
            n % 2,
            n + 1
        );
        std::fs::write(policies.join(format!("{name}.yaml")), text).unwrap();
    }
    let read = config::load_policies(&policies).unwrap();
    server::load(sandbox(), &folder.join("plugins"), read, None).await.unwrap().0
}

fn question() -> Question {
    let labels = Labels::from([("alertname".to_owned(), "Down".to_owned())]);
    let (starts_at, family, status) = (Time(1), Family::Prometheus, Status::Firing);
    let annotations = Labels::new();
    let alert =
        Alert { family, status, labels, annotations, starts_at, ends_at: None, generator_url: String::new(), fingerprint: None };
    let id: IncidentId = "0123456789abcdef-7".parse().unwrap();
    let incident = Incident::from_events(&id, [(1, Time(1), &Event::Opened { alert, via: Via::Webhook })]).unwrap();
    Question { incident, trigger: Trigger::Alert, targets: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_decisions_while_policies_are_swapped_a_hundred_times() {
    const DECISIONS: usize = 10_000;
    const SWAPS: usize = 100;
    /// Decisions that belong to each of them.
    const SHARE: usize = DECISIONS / (SWAPS + 1);
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    for n in 0..2_u8 {
        std::fs::write(plugins.join(format!("{n}.wasm")), twin(&component("restart-container"), n)).unwrap();
    }
    let mut generations = Vec::new();
    for n in 0..=SWAPS {
        generations.push(generation(folder.path(), n).await);
    }
    // What belongs together, policy by policy: any other combination is a mixture.
    let whole: Arc<Vec<Vec<_>>> = Arc::new(
        generations
            .iter()
            .map(|all| {
                let of = |one: &Loaded| (one.policy.digest.clone(), one.plugin.digest().to_owned(), one.policy.settings.clone());
                all.iter().map(of).collect()
            })
            .collect(),
    );
    let distinct: HashSet<&str> = whole.iter().flatten().map(|(file, ..)| file.as_str()).collect();
    assert_eq!(distinct.len(), 3 * (SWAPS + 1), "every generation has its own files");
    let mut generations = generations.into_iter().map(|all| Decider::new(all, Arc::clone(sandbox()), PathBuf::new()));
    let present = Present::of(generations.next().unwrap());
    let (done, swaps) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (present, done, swaps, whole) = (present.clone(), Arc::clone(&done), Arc::clone(&swaps), Arc::clone(&whole));
        askers.spawn(async move {
            let (question, mut seen) = (question(), HashSet::new());
            for _ in 0..DECISIONS / 8 {
                // Whoever decides does not run away from whoever swaps, or a busy machine would see few generations.
                while swaps.load(Ordering::SeqCst) < (done.load(Ordering::SeqCst) / SHARE).min(SWAPS) {
                    tokio::task::yield_now().await;
                }
                let answers = present.now().rehearse(&question, Time(5)).await;
                assert!(answers.iter().all(|answer| answer.decision.is_ok()), "{answers:?}");
                let told: Vec<_> =
                    answers.iter().map(|one| (one.policy_file.clone(), one.plugin.clone(), one.settings.clone())).collect();
                let generation = whole.iter().position(|whole| *whole == told);
                seen.insert(generation.unwrap_or_else(|| panic!("a mixture: {told:?}")));
                done.fetch_add(1, Ordering::SeqCst);
            }
            seen
        });
    }
    // Each swap waits until so much was decided that the next belongs to its share.
    let (swapped, decided) = (present.clone(), Arc::clone(&done));
    let mut swapper = tokio::task::JoinSet::new();
    swapper.spawn(async move {
        for (n, decider) in generations.enumerate() {
            while decided.load(Ordering::SeqCst) < (n + 1) * SHARE {
                tokio::task::yield_now().await;
            }
            swapped.swap(decider);
            swaps.fetch_add(1, Ordering::SeqCst);
        }
    });
    let seen: HashSet<usize> = askers.join_all().await.into_iter().flatten().collect();
    swapper.join_all().await;
    assert_eq!(done.load(Ordering::SeqCst), DECISIONS, "none is lost");
    assert!(seen.len() > SWAPS * 9 / 10, "only {} generations were asked: were they swapped while others decided?", seen.len());
}
