//! What loads, describes itself and likes its settings, and still cannot decide: it is refused before it is let near an alert.

use std::path::Path;

use paramedic::server::Server;
use paramedic::shutdown::Shutdown;
use paramedic::{config, journal};
use serde_json::{Value, json};

use super::{get, modes, nothing_there, policy, until};
use crate::components::component;
use crate::host::Host;
use crate::people::{paramedic, say};

fn guest(file: &Path, what: &str, more: &str) {
    let text = format!("name: guest\nplugin: guests.wasm\nmatch: ['alertname=\"Odd\"']\nsettings: {{do: '{what}'}}\n{more}");
    std::fs::write(file, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_fails_at_once_is_refused_before_the_swap_and_at_the_start_and_by_check() {
    let host = Host::start(&nothing_there()).await;
    let plugins = host.config().with_file_name("plugins");
    std::fs::write(plugins.join("guests.wasm"), component("guests")).unwrap();
    let (file, policies) = (policy(&host).with_file_name("20-guest.yaml"), format!("{}/api/v1/policies", host.url));
    let cases = "ask it the cases of `paramedic policy test`";
    for (what, more, said, then) in [
        ("panic", "", "the plugin crashed: it gave up (`unreachable`): ", cases),
        ("trap", "", "the plugin crashed: it gave up (`unreachable`)", cases),
        ("spin", "", "the plugin gave no answer within 5.0 s; a plugin may wait for nothing", cases),
        ("eat-memory", "", "the plugin wanted more than 64 MiB of memory; give the policy more", "limits: {memory: 128MiB}"),
        ("act-empty", "", "the plugin broke its contract: it answered `act` without any proposal", cases),
    ] {
        guest(&file, what, more);
        let (code, answer) = say(&host, "reload", json!({})).await;
        let error = answer["error"].as_str().unwrap_or_default();
        let place = format!(
            "20-guest.yaml:2:9: plugin {}: asked about a made-up alert, it failed: ",
            plugins.join("guests.wasm").display()
        );
        assert!(code == 409 && error.contains(&place), "{what}: {code} {answer}");
        assert!(error.contains(said) && error.contains(then), "{what}: {error}");
        assert_eq!(modes(&get(&policies).await.unwrap()), [("heal", "enforce")], "{what}");
    }
    let ready = get(&format!("{}/-/ready", host.url)).await.unwrap().to_string();
    assert!(ready.contains("it answered `act` without any proposal"), "{ready}");
    let metrics = get(&format!("{}/metrics", host.url)).await.unwrap();
    assert!(metrics.as_str().unwrap().contains("paramedic_config_last_reload_successful 0"), "{metrics}");

    // The same complaint when nothing runs yet.
    let (code, said) = paramedic(&host, &["check"]).await;
    assert!(code == Some(1) && said.contains("20-guest.yaml:2:9: plugin ") && said.contains("without any proposal"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = nothing_there().write(folder.path(), 0);
    std::fs::write(folder.path().join("plugins/guests.wasm"), component("guests")).unwrap();
    guest(&folder.path().join("policies/20-guest.yaml"), "act-empty", "");
    let (config, read) = config::load_all(&elsewhere).unwrap();
    let refused = Server::open(config, read, Shutdown::new()).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("20-guest.yaml:2:9: plugin ") && refused.contains("without any proposal"), "{refused}");

    // Mended, it takes over by itself, and is told so.
    guest(&file, "pass", "");
    until(&policies, "the mended policy", |seen| modes(seen) == [("heal", "enforce"), ("guest", "observe")]).await;
    until(&format!("{}/api/v1/status", host.url), "that all is well", |seen| seen["reload"]["successful"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_it_cannot_decide_about_a_made_up_alert_is_only_worth_a_word() {
    let host = Host::start(&nothing_there()).await;
    std::fs::write(host.config().with_file_name("plugins").join("guests.wasm"), component("guests")).unwrap();
    guest(&policy(&host).with_file_name("20-guest.yaml"), "error", "");
    let (code, answer) = say(&host, "reload", json!({})).await;
    assert!(code == 200 && answer["added"] == json!(["guest"]), "{answer}");
    let (code, said) = paramedic(&host, &["check", "--output", "json"]).await;
    let told: Value = serde_json::from_str(&said).unwrap();
    let warning = told["warnings"].to_string();
    assert!(
        code == Some(0) && warning.contains("20-guest.yaml:2:9: asked about a made-up alert, guests could not decide: "),
        "{said}"
    );
    // It was asked about an alert that fits, and this is told.
    assert!(warning.contains("alertname=Odd, container=trial") && !warning.contains("\\u001b"), "{said}");
    // Nothing of it is written down: nobody asked because of an alert.
    let reader = journal::Reader::open(&host.data()).unwrap();
    assert!(reader.tail(0, usize::MAX).unwrap().is_empty());
}

/// What it would look at is not there, so that it fails for want of it says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_to_look_is_not_blamed_for_seeing_nothing() {
    let host = Host::start(&nothing_there()).await;
    std::fs::write(host.config().with_file_name("plugins").join("looks.wasm"), component("looks")).unwrap();
    // It ends with an error, after it has looked.
    let settings = "settings: {lookups: [{metrics: 'up'}, {nothing: 1}]}\n";
    let file = policy(&host).with_file_name("20-looks.yaml");
    std::fs::write(file, format!("name: looks\nplugin: looks.wasm\n{settings}")).unwrap();
    let (code, answer) = say(&host, "reload", json!({})).await;
    assert!(code == 200 && answer["added"] == json!(["looks"]), "{answer}");
    let (code, said) = paramedic(&host, &["check", "--output", "json"]).await;
    assert!(code == Some(0) && !said.contains("made-up alert"), "{said}");
}
