//! One deliberately wrong folder per rule of the configuration, each with the exact text an operator is shown.
//!
//! `tests/fixtures/config/<case>/` holds a `paramedic.yaml`, perhaps `policies/`, and `expected.txt`. After a deliberate change of
//! a message run the tests with `UPDATE_EXPECTED=1`, and read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use paramedic::config;
use paramedic::incident::Mode;
use paramedic::journal::Keep;
use paramedic::notify::Kind;
use paramedic::policy::brakes::Rates;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config")
}

/// What an operator is shown for one case, with paths as seen from its folder.
fn shown(case: &Path) -> String {
    let text = match config::load_all(&case.join("paramedic.yaml")) {
        Ok(_) => "no problems".to_owned(),
        Err(error) => error.to_string(),
    };
    text.replace(&format!("{}/", case.display()), "") + "\n"
}

#[test]
fn every_rule_says_exactly_what_is_wrong_where_and_what_to_do() {
    let mut cases: Vec<PathBuf> = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 20, "only {} cases were found", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let (got, file) = (shown(&case), case.join("expected.txt"));
        assert!(got != "no problems\n" || case.ends_with("good"), "{} is not wrong at all", case.display());
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&file, &got).unwrap();
        }
        let wanted = fs::read_to_string(&file).unwrap_or_default();
        if got != wanted {
            wrong.push(format!("== {}\n-- expected:\n{wanted}-- got:\n{got}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_full_configuration_means_what_it_says() {
    let (config, policies) = config::load_all(&fixtures().join("good/paramedic.yaml")).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:6001");
    assert_eq!(config.data, fixtures().join("good/state"));
    assert_eq!(config.plugins, Path::new("/opt/plugins"));
    assert_eq!(config.operator.socket, Some("/run/paramedic/operator.sock".into()));
    assert_eq!(config.identity.drop, ["replica"]);
    assert_eq!(config.journal.keep, Keep::Forever);
    assert_eq!(config::Config::default().journal.keep, Keep::For(Duration::from_secs(90 * 86_400)));
    assert_eq!(config.auth.token_file, Some(fixtures().join("good/secrets/token")));
    let ansible = config.ansible.as_ref().unwrap();
    assert_eq!(ansible.playbooks, fixtures().join("good/playbooks"));
    assert_eq!(ansible.profiles["default"].inventory, fixtures().join("good/hosts.yml"));
    let prometheus = config.prometheus.as_ref().unwrap();
    assert_eq!(prometheus.url.to_string(), "http://localhost:9090");
    assert_eq!(prometheus.bearer_token_file, Some("/etc/prometheus.token".into()));
    assert_eq!(config.alertmanager.as_ref().unwrap().url.to_string(), "http://localhost:9093");
    let to = config.notify.alertmanager.as_ref().unwrap();
    assert_eq!((to.on, to.healing, to.healing_at_most), (true, true, Duration::from_secs(600)));
    let [chat, pager] = config.notify.webhooks.as_slice() else { panic!("{:?}", config.notify) };
    assert_eq!((chat.name.as_str(), chat.send.as_slice()), ("chat", &[Kind::Escalated, Kind::Healed][..]));
    assert_eq!(pager.bearer_token_file, Some(fixtures().join("good/pager.token")));
    assert!(pager.send.contains(&Kind::Over) && !pager.send.contains(&Kind::Healed));
    let hosts: Vec<_> = config.docker.hosts.keys().map(ToString::to_string).collect();
    assert_eq!(hosts, ["edge", "local"]);
    assert_eq!(config.targets.0.len(), 1);
    assert_eq!(config.brakes.attempts.limit, 3);
    let rates = |rates: &Rates| rates.limits().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(rates(&config.brakes.actions), ["8 per 1h", "30 per 1d"]);
    assert_eq!(rates(&config::Config::default().brakes.actions), ["10 per 1h", "50 per 1d"]);
    assert_eq!(config.brakes.minimum_healthy[0].label.value, None, "whatever value the container has");
    assert_eq!(config.max_age, Duration::from_secs(600));
    let own = &policies[0].policy.brakes;
    assert_eq!((rates(&own.actions), own.concurrent), (vec!["4 per 1h".to_owned()], 2));
    assert_eq!((own.minimum_healthy[0].label.value.as_deref(), own.minimum_healthy[0].count), (Some("web"), 2));
    assert_eq!(rates(&policies[1].policy.brakes.actions), ["5 per 1h", "25 per 1d"], "what is left out keeps its default");
    // By file name, not by policy name.
    let names: Vec<_> = policies.iter().map(|loaded| loaded.policy.name.as_str()).collect();
    assert_eq!(names, ["zz-first", "aa-second"]);
    let first = &policies[0].policy;
    assert_eq!(first.mode, Mode::Enforce);
    assert_eq!(first.approve.within, Duration::from_secs(3600));
    let approvers: Vec<_> = first.approvers.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(approvers, ["alice", "uid 1000", "group ops"]);
    assert_eq!(
        first.settings,
        serde_json::json!({"then_playbook": "restart-nginx.yml", "tries": 2, "on": "yes", "list": [1, null, true]})
    );
    assert_eq!(policies[1].policy.mode, Mode::Observe, "a policy that says nothing only observes");
    assert_eq!(policies[1].policy.plugin.sha256.as_deref(), Some("ab".repeat(32).as_str()));
}

#[test]
fn an_empty_file_is_all_defaults() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    for text in ["", "# nothing yet\n", "{}\n"] {
        fs::write(folder.path().join("paramedic.yaml"), text).unwrap();
        let (config, policies) = config::load_all(&folder.path().join("paramedic.yaml")).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:5001");
        assert_eq!(config.policies, folder.path().join("policies"));
        assert!(policies.is_empty());
    }
}

#[test]
fn hostile_files_are_refused_quickly_and_shown_harmlessly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("paramedic.yaml");
    let nines = (1..8).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
        let last = format!("*a{}", i - 1);
        format!("{text}a{i}: &a{i} [{}]\n", [last.as_str(); 9].join(","))
    });
    let deep = "[".repeat(100_000);
    for (bytes, part) in [
        (nines.into_bytes(), "nested or aliased"),
        (deep.into_bytes(), "hint:"),
        (vec![0xff, 0xfe, 0x00], "is not UTF-8"),
        (vec![b'a'; 2 << 20], "is larger than 1 MiB"),
        ("\u{1b}[31m\u{202e}evil: 1\n".into(), "hint:"),
        ("\"\\e[31m\\u202eevil\": 1\n".into(), "unknown key"),
    ] {
        fs::write(&file, bytes).unwrap();
        let begun = std::time::Instant::now();
        let error = config::load(&file).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains(['\u{1b}', '\u{202e}']), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(5) && error.len() < 5000, "{:?}, {} bytes", begun.elapsed(), error.len());
    }
    let missing = config::load(&folder.path().join("nothing.yaml")).unwrap_err().to_string();
    assert!(missing.contains("cannot be read") && missing.contains("hint:"), "{missing}");
}

#[test]
fn what_is_shipped_is_well_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let policies = config::load_policies(&root.join("policies")).unwrap();
    assert!(!policies.is_empty());
    let stack = config::load(&root.join("stack/paramedic/paramedic.yaml")).unwrap();
    assert!(!stack.listen.ip().is_loopback() && stack.auth.token_file.is_some());
}

/// What was read before is not taken apart again; what is wrong about it now is told with its place all the same.
#[test]
fn what_is_as_it_was_is_known_and_still_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    let write = |file: &str, name: &str| fs::write(policies.join(file), format!("plugin: p.wasm\nname: {name}\n")).unwrap();
    write("20.yaml", "same");
    write("30.yaml", "changed");
    let config = config::Config { policies: policies.clone(), ..config::Config::default() };
    let before = config::load_present(&config, &[]).unwrap();
    write("30.yaml", "other");
    let now = config::load_present(&config, &before).unwrap();
    let shared = |n: usize| std::sync::Arc::ptr_eq(&before[n].policy, &now[n].policy);
    assert_eq!((shared(0), shared(1)), (true, false));
    assert_eq!(now.iter().map(|one| one.policy.name.as_str()).collect::<Vec<_>>(), ["same", "other"]);
    write("10.yaml", "same");
    let said = config::load_present(&config, &now).unwrap_err().to_string();
    assert!(said.contains("20.yaml:2:7: ") && said.contains("`same` is already taken by 10.yaml"), "{said}");
}
