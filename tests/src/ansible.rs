//! Playbooks through the real `ansible-playbook`: what they may do, how they end, and what is known after a crash.
//!
//! The one on `PATH` is used, or the one that `PARAMEDIC_TEST_ANSIBLE` names, so that another version can be tried.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use paramedic::action::{Action, Ending, Outcome};
use paramedic::clock::Time;
use paramedic::execute::ansible::{carry, find_out};
use paramedic::look::inventory::knows;
use paramedic::look::inventory::{Profile, Settings};
use serde_json::{Value, json};

const PERMIT: &str = "0123456789abcdef-1-1";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ansible")
}

/// One run's world: its own folder for runs and for what playbooks write.
struct World {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl World {
    fn new() -> Self {
        let profile = |inventory: &str| Profile {
            inventory: fixtures().join(inventory),
            user: None,
            private_key: None,
            known_hosts: None,
            vault_password_file: None,
            config: None,
            becoming: None,
        };
        let settings = Settings {
            playbooks: fixtures(),
            deadline: Duration::from_secs(120),
            profiles: [("main".to_owned(), profile("hosts.ini")), ("twins".to_owned(), profile("twins.ini"))].into(),
            program: std::env::var_os("PARAMEDIC_TEST_ANSIBLE").map(PathBuf::from),
        };
        Self { folder: tempfile::tempdir().unwrap(), settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn runs(&self) -> PathBuf {
        self.path("runs")
    }

    async fn carry(&self, playbook: &str, host: &str, variables: Value) -> Outcome {
        carry(&self.settings, &self.runs(), PERMIT, &action(playbook, host, variables)).await
    }

    async fn find_out(&self, begun_at: Time) -> Outcome {
        find_out(&self.settings, &self.runs(), PERMIT, begun_at).await
    }

    async fn knows(&self, profile: &str, host: &str) -> Result<bool, String> {
        let profile = &self.settings.profiles[profile];
        knows(&self.settings, profile, &host.parse().unwrap()).await.map_err(|error| error.to_string())
    }
}

fn action(playbook: &str, host: &str, variables: Value) -> Action {
    let variables: BTreeMap<String, Value> = serde_json::from_value(variables).unwrap();
    Action::Playbook {
        name: playbook.to_owned(),
        about: "local/web".parse().unwrap(),
        host: host.parse().unwrap(),
        profile: "main".to_owned(),
        variables,
        tags: Vec::new(),
        check: false,
    }
}

/// Processes whose arguments hold `text`, except this one.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let commands = entries.filter(|pid| pid.parse::<u32>().is_ok() && *pid != own).filter_map(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    commands.filter(|command| command.contains(text)).collect()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A number of seconds that no other process sleeps, so that the sleepers of one test can be told.
fn own_seconds(test: u32) -> u32 {
    1_000_000 + std::process::id() * 10 + test
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_playbook_for_all_touches_only_the_limited_host() {
    let world = World::new();
    let outcome = world.carry("writes.yml", "web", json!({"value": "v", "folder": world.folder.path()})).await;
    assert_eq!(outcome.ending, Ending::Succeeded, "{outcome:?}");
    assert_eq!(outcome.message, "playbook writes.yml ended: ok=3 changed=1 failed=0 skipped=1 on web");
    assert_eq!(
        outcome.output,
        [
            "task Look first: ok on web",
            "task Write the value: changed on web",
            "task Pass it on as one argument: ok on web",
            "task Look at what is nested: skipped on web"
        ]
    );
    assert!(world.path("web.txt").exists() && !world.path("db.txt").exists());
}

#[tokio::test]
async fn a_check_run_changes_nothing_and_tags_choose_the_tasks() {
    let world = World::new();
    let of = |value: &str, only: &[&str], check_only: bool| match action(
        "writes.yml",
        "web",
        json!({"value": value, "folder": world.folder.path()}),
    ) {
        Action::Playbook { name, about, host, profile, variables, .. } => {
            let tags = only.iter().map(|tag| (*tag).to_owned()).collect();
            Action::Playbook { name, about, host, profile, variables, tags, check: check_only }
        }
        other => other,
    };
    let run = |permit: &'static str, action: Action| {
        let (settings, runs) = (&world.settings, world.runs());
        async move { carry(settings, &runs, permit, &action).await }
    };
    let outcome = run("0123456789abcdef-1-1", of("v", &[], true)).await;
    assert!(outcome.ending == Ending::Succeeded && !outcome.touched, "{outcome:?}");
    assert!(
        outcome.message.starts_with("check only, nothing was changed") && outcome.message.contains("changed=1"),
        "{outcome:?}"
    );
    assert!(!world.path("web.txt").exists());
    // No task has this tag: the run has nothing to do, and nothing is written.
    let outcome = run("0123456789abcdef-1-2", of("v", &["none-such"], false)).await;
    assert!(!world.path("web.txt").exists() && !outcome.message.contains("changed=1"), "{outcome:?}");
    let outcome = run("0123456789abcdef-1-3", of("v", &["untagged"], false)).await;
    assert!(outcome.ending == Ending::Succeeded && world.path("web.txt").exists(), "{outcome:?}");
    let outcome = run("0123456789abcdef-1-4", of("v", &["a,b"], false)).await;
    assert!(outcome.ending == Ending::Failed && outcome.message.contains("cannot be a tag"), "{outcome:?}");
}

#[tokio::test]
async fn what_strangers_say_stays_text() {
    let world = World::new();
    let marker = world.path("injected");
    let touch = format!("touch {}", marker.display());
    let values = [
        format!("{{{{ lookup('pipe', '{touch}') }}}}"),
        format!("{{% for x in [lookup('pipe', '{touch}')] %}}{{{{ x }}}}{{% endfor %}}"),
        format!("$({touch}) `{touch}` ; {touch}"),
        "x ansible_connection=ssh\n- hosts: all".to_owned(),
        "@/etc/passwd".to_owned(),
        "\"quotes\" 'and' \\ back \u{1b}[31m".to_owned(),
    ];
    for (n, value) in values.iter().enumerate() {
        let variables = json!({"value": value, "folder": world.folder.path(), "nested": {"inner": [value]}});
        let permit = format!("{PERMIT}{n}");
        let outcome = carry(&world.settings, &world.runs(), &permit, &action("writes.yml", "web", variables)).await;
        assert_eq!(outcome.ending, Ending::Succeeded, "{value}: {outcome:?}");
        assert_eq!(&std::fs::read_to_string(world.path("web.txt")).unwrap(), value);
        assert_eq!(&std::fs::read_to_string(world.path("nested.txt")).unwrap(), value);
        assert!(!marker.exists(), "{value} was executed");
    }
}

#[tokio::test]
async fn a_failing_task_is_named_with_its_own_words() {
    let outcome = World::new().carry("fails.yml", "web", json!({})).await;
    assert_eq!(outcome.ending, Ending::Failed);
    assert!(outcome.message.starts_with("task Check the configuration failed on web: "), "{outcome:?}");
    assert!(outcome.message.ends_with(": unknown directive"), "{outcome:?}");
    assert!(outcome.output[0].starts_with("task Not so bad: failed, which the playbook ignores on web"), "{outcome:?}");
}

#[tokio::test]
async fn what_is_not_to_be_logged_is_not_kept() {
    let world = World::new();
    let outcome = world.carry("secret.yml", "web", json!({"password": "s3cr3t-pw"})).await;
    assert_eq!(outcome.ending, Ending::Failed);
    assert!(outcome.message.starts_with("task Log in failed on web: the output has been hidden"), "{outcome:?}");
    let found = Command::new("grep").args(["-rl", "s3cr3t-pw"]).arg(world.folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the password was left behind");
}

#[tokio::test]
async fn an_unreachable_host_is_told_apart() {
    let outcome = World::new().carry("unreachable.yml", "away", json!({})).await;
    assert_eq!(outcome.ending, Ending::Failed);
    assert!(outcome.message.starts_with("away could not be reached: "), "{outcome:?}");
    assert!(outcome.message.contains("Connection refused"), "{outcome:?}");
}

#[tokio::test]
async fn nothing_ran_is_a_failure_although_the_exit_code_is_0() {
    for playbook in ["nobody.yml", "empty.yml"] {
        let outcome = World::new().carry(playbook, "web", json!({})).await;
        assert_eq!(outcome.ending, Ending::Failed, "{playbook}");
        assert!(outcome.message.starts_with("nothing ran"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_broken_playbook_shows_what_ansible_says_about_it() {
    let outcome = World::new().carry("broken.yml", "web", json!({})).await;
    assert_eq!(outcome.ending, Ending::Failed);
    assert!(outcome.message.starts_with("playbook broken.yml ended with exit code 4 before any task: "), "{outcome:?}");
    assert!(outcome.message.contains("ERROR"), "{outcome:?}");
}

#[tokio::test]
async fn what_was_not_authorised_like_that_is_refused_again() {
    let world = World::new();
    for (playbook, variables, why) in [
        ("../Cargo.toml", json!({}), "cannot name a playbook"),
        ("writes.yml", json!({"ansible_connection": "ssh"}), "not ansible_*"),
        ("writes.yml", json!({"value": {"__ansible_vault": "x"}}), "would read as a command"),
    ] {
        let outcome = world.carry(playbook, "web", variables).await;
        assert_eq!(outcome.ending, Ending::Failed);
        assert!(outcome.message.contains(why), "{outcome:?}");
    }
    assert!(!world.runs().exists(), "something was started");
}

#[tokio::test]
async fn one_permit_never_runs_twice() {
    let world = World::new();
    let variables = || json!({"counter": world.path("counter"), "seconds": 0});
    let first = world.carry("sleeps.yml", "web", variables()).await;
    let second = world.carry("sleeps.yml", "web", variables()).await;
    assert_eq!(first.ending, Ending::Succeeded, "{first:?}");
    assert!(second.ending == Ending::Failed && second.message.contains("already used"), "{second:?}");
    assert_eq!(lines(&world.path("counter")), 1);
}

#[tokio::test]
async fn a_missing_program_says_what_to_install() {
    let mut world = World::new();
    world.settings.program = Some("/nowhere/ansible-playbook".into());
    let outcome = world.carry("writes.yml", "web", json!({})).await;
    assert!(outcome.ending == Ending::Failed && outcome.message.contains("install ansible-core"), "{outcome:?}");
    assert!(world.knows("main", "web").await.unwrap_err().contains("install ansible-core"));
}

#[tokio::test]
async fn the_deadline_ends_everything_that_was_started() {
    let mut world = World::new();
    // Long enough for Ansible to get to its task on a busy machine.
    world.settings.deadline = Duration::from_secs(45);
    let seconds = own_seconds(1).to_string();
    let variables = json!({"counter": world.path("counter"), "seconds": seconds});
    let running = action("sleeps.yml", "web", variables);
    let begun = Instant::now();
    let runs = world.runs();
    let (outcome, ()) = tokio::join!(carry(&world.settings, &runs, PERMIT, &running), async {
        until("both sleepers", || processes_with(&format!("sleep {seconds}")).len() >= 3).await;
    });
    assert!(begun.elapsed() < Duration::from_secs(90), "it took {:?}", begun.elapsed());
    assert_eq!(outcome.ending, Ending::TimedOut);
    assert_eq!(
        outcome.message,
        "playbook sleeps.yml on web had not ended within 45.0 s; it was in task Take a while, and all its processes were ended"
    );
    assert_eq!(outcome.output, ["task Count: changed on web"]);
    assert_eq!(processes_with(&seconds), Vec::<String>::new());
}

#[tokio::test]
async fn no_value_is_seen_in_any_argument_or_environment() {
    let world = World::new();
    let variables = json!({"counter": world.path("counter"), "seconds": 3, "password": "v1sible-pw"});
    let running = action("sleeps.yml", "web", variables);
    let runs = world.runs();
    let (outcome, ()) = tokio::join!(carry(&world.settings, &runs, PERMIT, &running), async {
        until("the count", || world.path("counter").exists()).await;
        assert!(!processes_with("--limit=web").is_empty(), "the playbook itself was not seen");
        assert_eq!(processes_with("v1sible-pw"), Vec::<String>::new());
        let own = std::process::id().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| entry.file_name() != *own) {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&environment).contains("v1sible-pw"), "seen in {:?}", entry.path());
        }
    });
    assert_eq!(outcome.ending, Ending::Succeeded, "{outcome:?}");
}

/// The other half of the next test: a host that runs a playbook until it is killed.
const ACT_AS_HOST: &str = "PARAMEDIC_TEST_ACT_AS_HOST";

#[tokio::test]
async fn a_playbook_survives_kill_9_of_its_host_and_is_awaited() {
    let mut world = World::new();
    if let Some(folder) = std::env::var_os(ACT_AS_HOST) {
        let variables = json!({"counter": Path::new(&folder).join("counter"), "seconds": 4});
        let runs = Path::new(&folder).join("runs");
        carry(&world.settings, &runs, PERMIT, &action("sleeps.yml", "web", variables)).await;
        panic!("the host was not killed");
    }
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ansible::a_playbook_survives_kill_9_of_its_host_and_is_awaited"])
        .env(ACT_AS_HOST, world.folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun_at = Time::now();
    until("the count", || world.path("counter").exists()).await;
    host.kill().unwrap();
    host.wait().unwrap();

    world.settings.deadline = Duration::from_secs(60);
    let outcome = world.find_out(begun_at).await;
    assert_eq!(outcome.ending, Ending::Interrupted);
    assert_eq!(
        outcome.message, "Paramedic was stopped while it ran a playbook; it took place: ok=2 changed=2 failed=0 on web",
        "{outcome:?}"
    );
    assert_eq!(outcome.output.len(), 2, "{outcome:?}");
    assert_eq!(lines(&world.path("counter")), 1, "it ran more than once");
    assert!(!world.runs().join(PERMIT).join("variables.json").exists(), "the variables were left behind");

    let again = world.find_out(begun_at).await;
    assert_eq!(again.message, outcome.message);
    assert_eq!(lines(&world.path("counter")), 1);
}

#[test]
fn a_playbook_whose_host_is_gone_is_ended_at_its_deadline() {
    let mut world = World::new();
    let seconds = own_seconds(2).to_string();
    let running = action("sleeps.yml", "web", json!({"counter": world.path("counter"), "seconds": seconds}));
    let sleepers = || processes_with(&format!("sleep {seconds}")).len();
    let begun_at = Time::now();
    // The runtime is dropped with the playbook in it: nothing of it may be ended by that.
    let first = tokio::runtime::Runtime::new().unwrap();
    first.block_on(async {
        let runs = world.runs();
        tokio::select! {
            outcome = carry(&world.settings, &runs, PERMIT, &running) => panic!("it ended: {outcome:?}"),
            () = until("both sleepers", || sleepers() >= 3) => {}
        }
    });
    drop(first);
    assert!(sleepers() >= 3, "dropping the host ended the playbook");

    world.settings.deadline = Time::now().since(begun_at) + Duration::from_secs(1);
    let second = tokio::runtime::Runtime::new().unwrap();
    let outcome = second.block_on(world.find_out(begun_at));
    assert_eq!(outcome.ending, Ending::Interrupted);
    assert!(outcome.message.contains("it was still in task Take a while"), "{outcome:?}");
    assert!(outcome.message.ends_with("all its processes were ended"), "{outcome:?}");
    assert_eq!(processes_with(&seconds), Vec::<String>::new());
}

#[tokio::test]
async fn an_inventory_knows_exactly_what_it_lists() {
    let world = World::new();
    assert_eq!(world.knows("main", "web").await, Ok(true));
    for host in ["nobody", "servers", "all", "localhost", "we", "127.0.0.1"] {
        assert_eq!(world.knows("main", host).await, Ok(false), "{host}");
    }
    assert_eq!(world.knows("twins", "other").await, Ok(true));
    let why = world.knows("twins", "twin").await.unwrap_err();
    assert!(why.contains("has a group that is called twin as well"), "{why}");
}

#[tokio::test]
async fn a_changed_missing_or_broken_inventory_is_noticed() {
    let mut world = World::new();
    let inventory = world.path("hosts.ini");
    world.settings.profiles.get_mut("main").unwrap().inventory = inventory.clone();
    assert!(world.knows("main", "web").await.unwrap_err().contains("cannot be read"));
    std::fs::write(&inventory, "web ansible_connection=local\n").unwrap();
    assert_eq!(world.knows("main", "new").await, Ok(false));
    std::fs::write(&inventory, "web ansible_connection=local\nnew ansible_connection=local\n").unwrap();
    assert_eq!(world.knows("main", "new").await, Ok(true));
    std::fs::write(&inventory, "[web\n").unwrap();
    assert!(world.knows("main", "web").await.unwrap_err().contains("could not list"));
}
