//! What is open, held or counted while policies and plugins are swapped, on a real server and the real engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use paramedic::clock::Time;
use paramedic::incident::Event;
use paramedic::journal::Reader;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{get, modes, policy, twin, until};
use crate::components::component;
use crate::crash::binary;
use crate::flow::{DOWN, Service, labels, restarts, rule, service, until_restarted};
use crate::host::{Host, Setup};
use crate::people::{id, look, paramedic, say};
use crate::programs::{Exporter, start_prometheus, within};

fn approving(container: &str) -> Setup {
    let mut setup = Setup::restarts(container).policy_line("limits: {deadline: 10s}");
    setup.policy = setup.policy.replace("mode: enforce", "mode: approve");
    setup
}

fn plugin_file(host: &Host) -> PathBuf {
    host.config().with_file_name("plugins").join("restart-container.wasm")
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// By the journal: the plugin of every decision about this incident, oldest first.
fn decided_by(host: &Host, id: &str) -> Vec<String> {
    let entries = Reader::open(&host.data()).unwrap().read(&id.parse().unwrap(), 0, usize::MAX).unwrap();
    let plugin = |event: &Event| if let Event::Decided(answer) = event { Some(answer.plugin.clone()) } else { None };
    entries.iter().filter_map(|entry| plugin(&entry.event)).collect()
}

fn story(host: &Host, id: &str) -> String {
    let entries = Reader::open(&host.data()).unwrap().read(&id.parse().unwrap(), 0, usize::MAX).unwrap();
    let told = paramedic::incident::timeline::tell(entries.iter().map(|entry| (entry.at, &entry.event)));
    told.iter().map(|line| format!("{} {}\n", line.kind, line.text)).collect()
}

async fn until_told(host: &Host, id: &str, what: &str) -> String {
    let told = async || Ok(Some(story(host, id)).filter(|story| story.contains(what)));
    within(30, what, told).await.unwrap_or_else(|error| panic!("{error}: {}", story(host, id)))
}

async fn fires(host: &Host, service: &Service) {
    assert_eq!(host.send("firing", labels(service), &Time::now().to_string()).await, 200);
}

async fn deny(host: &Host, id: &str) {
    let (code, answer) = say(host, &format!("incidents/{id}/deny"), json!({ "reason": "not now" })).await;
    assert_eq!(code, 200, "{answer}");
}

async fn reloaded(host: &Host) -> Value {
    let (code, answer) = say(host, "reload", json!({})).await;
    assert_eq!(code, 200, "{answer}");
    answer
}

/// Writes it as a careful tool does, so that no look finds half of it.
fn replace(file: &Path, bytes: &[u8]) {
    let partial = file.with_extension("part");
    std::fs::write(&partial, bytes).unwrap();
    std::fs::rename(partial, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_incident_keeps_its_plugin_to_the_end_and_also_after_a_restart() {
    let (first, second, third) = (service(), service(), service());
    let mut setup = approving(&first.name);
    setup.policy = setup.policy.replace(&format!("local/{}", first.name), "local/paramedic-test-*");
    setup.policy = setup.policy.replace("cooldown: 1s", "cooldown: 1s, storm_share: 100%");
    let mut host = Host::start(&setup).await;
    let (old, new) = (component("restart-container"), twin(&component("restart-container"), 7));
    fires(&host, &first).await;
    host.until("awaiting-approval", 20).await;
    let of_old = id(&host);
    replace(&plugin_file(&host), &new);
    let policies = format!("{}/api/v1/policies", host.url);
    until(&policies, "the new plugin", |seen| seen["policies"][0]["plugin"].to_string().contains(&digest(&new))).await;

    // One opened before goes on with the old one, one opened after begins with the new one.
    fires(&host, &second).await;
    host.until("awaiting-approval", 20).await;
    let of_new = id(&host);
    deny(&host, &of_old).await;
    until_told(&host, &of_old, "ESCALATED").await;
    assert_eq!(decided_by(&host, &of_old), vec![digest(&old); 2]);
    assert_eq!(decided_by(&host, &of_new), [digest(&new)]);
    // Anybody sees with what each decision was made: shortened, and whole for programs.
    let (_, shown) = paramedic(&host, &["incident", "show", &of_old]).await;
    assert_eq!(shown.matches(&format!("| with plugin {}, policy file ", &digest(&old)[..12])).count(), 2, "{shown}");
    let (_, shown) = paramedic(&host, &["incident", "show", &of_new, "--output", "json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let lines = shown["timeline"].as_array().unwrap();
    let made_with = &lines.iter().find(|line| line["kind"] == "decided").unwrap()["made_with"];
    let file = digest(&std::fs::read(policy(&host)).unwrap());
    assert_eq!(*made_with, json!({ "plugin": digest(&new), "policy_file": file }));

    // The old file is nowhere but in the data folder, and there it is enough, also for a server that never saw the old one in its place.
    host.restart().await;
    let retry = json!({ "reason": "again" });
    assert_eq!(say(&host, &format!("incidents/{of_old}/retry"), retry.clone()).await.0, 200);
    host.until("awaiting-approval", 20).await;
    until_told(&host, &of_old, "retried ").await;
    within(20, "the third decision", async || Ok((decided_by(&host, &of_old).len() == 3).then_some(()))).await.unwrap();
    assert_eq!(decided_by(&host, &of_old), vec![digest(&old); 3]);

    // Without it a person is called, and told what to do; others are decided.
    host.stop().await;
    let kept = host.data().join("plugins").join(format!("{}.wasm", digest(&old)));
    std::fs::remove_file(&kept).unwrap();
    host.start_again().await;
    deny(&host, &of_old).await;
    let story = until_told(&host, &of_old, "cannot be loaded").await;
    let what = format!("plugin {}: there is no such file", kept.display());
    assert!(story.contains(&what) && story.contains("put the file back and retry, or close the incident"), "{story}");
    let escalated = until_told(&host, &of_old, "ESCALATED").await;
    assert_eq!(escalated.matches("ESCALATED").count(), 2, "{escalated}");
    fires(&host, &third).await;
    within(20, "the third incident", async || Ok((id(&host) != of_new && id(&host) != of_old).then_some(()))).await.unwrap();
    host.until("awaiting-approval", 20).await;
    assert_eq!(decided_by(&host, &id(&host)), [digest(&new)]);
    assert_eq!(restarts(&first) + restarts(&second) + restarts(&third), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_deleted_policy_escalates_when_it_is_asked_and_nobody_says_yes_for_it() {
    let (held, waits) = (service(), service());
    let mut setup = approving(&held.name);
    setup.policy = setup.policy.replace(&format!("local/{}", held.name), "local/paramedic-test-*");
    setup.policy = setup.policy.replace("cooldown: 1s", "cooldown: 1s, storm_share: 100%");
    let host = Host::start(&setup).await;
    let (code, said) = paramedic(&host, &["hold", &format!("container=\"{}\"", held.name), "--for", "2h", "--reason", "x"]).await;
    assert_eq!(code, Some(0), "{said}");
    let name = said.lines().next().unwrap().to_owned();
    fires(&host, &held).await;
    host.until("held", 20).await;
    let of_held = id(&host);
    fires(&host, &waits).await;
    host.until("awaiting-approval", 20).await;
    let of_waits = id(&host);
    let shown = look(&host, &format!("incidents/{of_waits}")).await["awaiting"]["digest"].as_str().unwrap().to_owned();
    let written = std::fs::read(policy(&host)).unwrap();
    std::fs::remove_file(policy(&host)).unwrap();
    let answer = reloaded(&host).await;
    assert_eq!(answer["policies"], 0, "{answer}");

    let (code, said) = paramedic(&host, &["release", &name, "--reason", "x"]).await;
    assert_eq!(code, Some(0), "{said}");
    let told = until_told(&host, &of_held, "ESCALATED").await;
    assert!(told.contains("policy heal, to which this incident belongs, is gone, or only observes now"), "{told}");
    // Who may say yes stood in the file.
    let yes = json!({ "reason": "go", "digest": shown });
    let (code, answer) = say(&host, &format!("incidents/{of_waits}/approve"), yes.clone()).await;
    let gone = "policy heal is gone, and with it who may say yes: close it, or bring the policy back";
    assert_eq!((code, answer["error"].as_str()), (409, Some(gone)));
    assert_eq!((restarts(&held), restarts(&waits)), (0, 0));

    // Back again, it goes on where it stood.
    std::fs::write(policy(&host), written).unwrap();
    reloaded(&host).await;
    assert_eq!(say(&host, &format!("incidents/{of_waits}/approve"), yes).await.0, 200);
    until_restarted(&waits, 1, 20).await;
    assert_eq!(restarts(&held), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_reloads_at_once_one_takes_the_change_over_and_all_end_with_the_same() {
    let host = Host::start(&super::nothing_there()).await;
    let written = std::fs::read_to_string(policy(&host)).unwrap();
    for (mode, before) in [("observe", "enforce"), ("approve", "observe")] {
        std::fs::write(policy(&host), written.replace("enforce", mode)).unwrap();
        let answers = join_all((0..8).map(|_| reloaded(&host))).await;
        let changed = answers.iter().filter(|answer| answer["changed"] == json!(["heal"])).count();
        // The watch may have been the one.
        assert!(changed <= 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer["sha256"] == answers[0]["sha256"] && answer["policies"] == 1), "{answers:?}");
        assert_eq!(
            modes(&get(&format!("{}/api/v1/policies", host.url)).await.unwrap()),
            [("heal", mode)],
            "not {before} any more"
        );
    }
    // A good one and a bad one at once: both read what is there, so they say the same.
    std::fs::write(policy(&host), "name: heal\nplugin: gone.wasm\n").unwrap();
    let answers = join_all((0..4).map(|_| say(&host, "reload", json!({})))).await;
    assert!(answers.iter().all(|(code, answer)| *code == 409 && *answer == answers[0].1), "{answers:?}");
    assert_eq!(modes(&get(&format!("{}/api/v1/policies", host.url)).await.unwrap()), [("heal", "approve")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_windows_and_what_brakes_have_counted_outlive_a_reload() {
    let (braked, held, windowed) = (service(), service(), service());
    let mut setup = Setup::restarts(&braked.name).policy_line("limits: {deadline: 10s}");
    setup.policy = setup.policy.replace(&format!("local/{}", braked.name), "local/paramedic-test-*");
    setup.policy = setup.policy.replace("cooldown: 1s", "cooldown: 10m, storm_share: 100%, actions: 50 per 1h, concurrent: 3");
    setup.policy = setup.policy.replace("within: 40s, stable: 2s", "within: 2s, stable: 1s");
    setup.policy = setup.policy.replace("grace_seconds: 1", "grace_seconds: 1, restarts: 3");
    let window =
        format!("maintenance:\n- {{name: works, match: ['container=\"{}\"'], from: '00:00', to: '24:00'}}\n", windowed.name);
    setup.policy.push_str(&window);
    let host = Host::start(&setup).await;
    let (code, said) =
        paramedic(&host, &["hold", &format!("container=\"{}\"", held.name), "--for", "2h", "--reason", "deploy"]).await;
    assert_eq!(code, Some(0), "{said}");
    let name = said.lines().next().unwrap().to_owned();

    let mut ids = Vec::new();
    for (service, state) in [(&held, "HELD [hold]"), (&windowed, "HELD [maintenance]"), (&braked, "HELD [cooldown]")] {
        fires(&host, service).await;
        within(20, "one more incident", async || Ok((host.incidents().len() == ids.len() + 1).then_some(()))).await.unwrap();
        ids.push(id(&host));
        until_told(&host, &ids[ids.len() - 1], state).await;
    }
    assert_eq!(restarts(&braked), 1, "once, and then the cooldown holds");
    let stories = || ids.iter().map(|id| story(&host, id)).collect::<Vec<_>>();
    let before = stories();

    // Swapped three times, the plugin once among them.
    for n in 0..3_u8 {
        let text = std::fs::read_to_string(policy(&host)).unwrap();
        replace(&policy(&host), format!("{text}# {n}\n").as_bytes());
        if n == 1 {
            replace(&plugin_file(&host), &twin(&component("restart-container"), n));
        }
        let answer = reloaded(&host).await;
        assert_eq!(answer["policies"], 1);
    }
    // Longer than the time after which what is held is looked at again.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(stories(), before, "nothing was let go, and nothing was written twice");
    assert_eq!([&braked, &held, &windowed].map(restarts), [1, 0, 0]);

    // Each is let go by its own end: the hold by its release, the window by the file, the cooldown by a shorter one against which the old count is held.
    let (code, said) = paramedic(&host, &["release", &name, "--reason", "deployed"]).await;
    assert_eq!(code, Some(0), "{said}");
    let text = std::fs::read_to_string(policy(&host)).unwrap();
    replace(&policy(&host), text.replace(&window, "").replace("cooldown: 10m", "cooldown: 2s").as_bytes());
    reloaded(&host).await;
    until_restarted(&held, 1, 30).await;
    until_restarted(&windowed, 1, 30).await;
    // It waits for the moment that was written down with it, unless a person asks.
    assert_eq!(say(&host, &format!("incidents/{}/retry", ids[2]), json!({ "reason": "shorter now" })).await.0, 200);
    until_told(&host, &ids[2], "Allowed as attempt 2").await;
    until_restarted(&braked, 2, 10).await;
}

/// What a person should know about policies is said about those that count now, not about those of the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_no_rule_can_reach_is_warned_of_when_it_comes() -> anyhow::Result<()> {
    let exporter = Exporter::start(DOWN).await?;
    let prometheus = start_prometheus(&rule("x"), &[&exporter], None, "").await?;
    let folder = tempfile::tempdir()?;
    let config = super::nothing_there().prometheus(&prometheus.url).write(folder.path(), 0);
    let log = folder.path().join("log");
    let mut server = std::process::Command::new(binary());
    server.arg("serve").arg("--config").arg(&config).stdin(std::process::Stdio::null());
    let mut server = server.stderr(std::fs::File::create(&log)?).spawn()?;
    let logged = |what: &str| std::fs::read_to_string(&log).unwrap().matches(what).count();
    let until = async |what: &str| within(60, what, async || Ok((logged(what) > 0).then_some(()))).await;
    let outcome = async {
        until("Taking alerts in").await?;
        std::fs::write(
            folder.path().join("policies/20-late.yaml"),
            "name: late\nplugin: restart-container.wasm\nmatch: ['alertname=\"Odd\"']\n",
        )?;
        until("20-late.yaml: none of the 1 rules loaded in").await?;
        // Said once, and nothing of it about what a rule does reach.
        tokio::time::sleep(Duration::from_secs(12)).await;
        anyhow::ensure!(logged("20-late.yaml: none of the") == 1 && logged("10-heal.yaml: none of the") == 0);
        Ok(())
    };
    let outcome = outcome.await;
    server.kill()?;
    server.wait()?;
    outcome.map_err(|error: anyhow::Error| error.context(std::fs::read_to_string(&log).unwrap_or_default()))
}
