//! Runs a playbook as a real `ansible-playbook` process, and finds out after a crash how one ended.
//!
//! No shell, and nothing of a stranger in the arguments: variables go into a file, marked so that Ansible never evaluates them.
//! The playbook must survive a `kill -9` of Paramedic, and Paramedic must find it again: it has a process group of its own,
//! writes to files, and everything it starts carries the run's mark in its environment. So dropping [`carry`] half-way ends
//! nothing, and [`find_out`] takes over. Run by systemd, the unit needs `KillMode=process` for that to hold when Paramedic is stopped.
//! A check run (`--check`) is the same run, and counts as one that touched nothing. Absent on purpose: patterns, and any second run of one permit.

mod processes;
mod report;
mod run;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use self::processes::{INTENT, RUN};
use self::report::Exit;
use self::run::{Ended, Run};
use crate::action::{Action, Ending, InventoryHost, Outcome, is_tag};
use crate::clock::{Time, print_duration};
use crate::look::inventory::{Profile, Settings, playbook_path};
use crate::telemetry::clean;

/// How often a running playbook's output is looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked for the processes of a run that was begun before a restart.
const LOOK: Duration = Duration::from_millis(250);
/// How long the end of a child may take to arrive after all its processes are gone.
const REAPING: Duration = Duration::from_secs(5);

/// The outcome when a playbook is to run and the configuration has no `ansible` section (any more).
pub fn unconfigured() -> Outcome {
    failed("no playbooks are configured: add an `ansible` section".to_owned())
}

fn failed(message: String) -> Outcome {
    Outcome { ending: Ending::Failed, message: clean(&message, 4_000), touched: false, output: Vec::new() }
}

/// Runs the playbook of `action`, once, and waits for its end or its deadline. `runs` is the folder of all runs, `permit` the name of
/// this one (`<incident>-<intent>`). May be dropped at any time: the playbook goes on, and [`find_out`] tells what became of it.
pub async fn carry(settings: &Settings, runs: &Path, permit: &str, action: &Action) -> Outcome {
    let Action::Playbook { name, host, profile, variables, tags, check, .. } = action else {
        return failed(format!("{} is not done with Ansible", action.kind()));
    };
    let begun = Instant::now();
    let started = match settings.profiles.get(profile) {
        Some(profile) => start(settings, profile, runs, permit, (name, host, tags, *check), variables),
        None => Err(format!("ansible profile `{}` is not configured: add it under ansible.profiles", clean(profile, 80))),
    };
    let (run, child) = match started {
        Ok(started) => started,
        Err(why) => return failed(why),
    };
    tracing::info!(run = permit, playbook = %name, host = %host, pid = child.id(), "playbook started");
    let outcome = labelled(action, attend(settings, &run, child, name, host).await);
    run::prune(runs);
    let took = print_duration(begun.elapsed());
    tracing::info!(run = permit, playbook = %name, ending = outcome.ending.word(), took, "playbook ended");
    outcome
}

/// What a check run says is labelled as such: its counts are of what would change.
pub fn labelled(action: &Action, mut outcome: Outcome) -> Outcome {
    if matches!(action, Action::Playbook { check: true, .. }) {
        let message = format!("check only, nothing was changed (`changed` counts what would be): {}", outcome.message);
        outcome.message = clean(&message, 4_000);
        outcome.touched = false;
    }
    outcome
}

/// Prepares the folder and starts the program.
fn start<'a>(
    settings: &Settings,
    profile: &Profile,
    runs: &Path,
    permit: &str,
    (name, host, tags, check): (&str, &InventoryHost, &[String], bool),
    variables: impl IntoIterator<Item = (&'a String, &'a serde_json::Value)>,
) -> Result<(Run, Child), String> {
    let playbook = playbook_path(settings, name)?;
    if let Some(tag) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(format!("`{}` cannot be a tag", clean(tag, 80)));
    }
    let run = Run::create(runs, permit, name, host.as_str(), &run::variables(variables)?)?;
    let program = settings.program.clone().unwrap_or_else(|| "ansible-playbook".into());
    let spawn = || {
        let mut command = Command::new(&program);
        command.args(arguments(profile, host, &run));
        command.args(check.then_some("--check")).args((!tags.is_empty()).then(|| format!("--tags={}", tags.join(","))));
        command.arg(&playbook);
        command.env_clear().envs(profile.environment(&run.empty_config()));
        command.env(INTENT, permit).env(RUN, run.token()).env("PARAMEDIC_EVENTS", run.events());
        command.env("ANSIBLE_CALLBACK_PLUGINS", run.callbacks()).env("ANSIBLE_STDOUT_CALLBACK", run::CALLBACK_NAME);
        command.env("ANSIBLE_LOCAL_TEMP", run.temporary());
        command.current_dir(playbook.parent().unwrap_or(Path::new("/"))).process_group(0);
        command.stdin(Stdio::null()).stdout(run.output("stdout")?).stderr(run.output("stderr")?);
        command.spawn()
    };
    let child = spawn().map_err(|error| {
        run.close(&Ended::new(None, false));
        let program = program.display();
        format!("{program} cannot be started: {error}; install ansible-core, or say where it is under ansible.program")
    })?;
    Ok((run, child))
}

fn arguments(profile: &Profile, host: &InventoryHost, run: &Run) -> Vec<OsString> {
    let joined = |option: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        let mut argument = OsString::from(option);
        argument.push(value.as_ref());
        argument
    };
    let mut arguments = profile.arguments();
    arguments.push(joined("--limit=", &host.as_str()));
    arguments.extend(["-e".into(), joined("@", &run.variables())]);
    arguments.extend(profile.user.as_ref().map(|user| joined("--user=", user)));
    arguments.extend(profile.private_key.as_ref().map(|key| joined("--private-key=", &crate::look::inventory::absolute(key))));
    if let Some(becoming) = &profile.becoming {
        arguments.push("--become".into());
        arguments.extend(becoming.user.as_ref().map(|user| joined("--become-user=", user)));
        let file = becoming.password_file.as_deref().map(crate::look::inventory::absolute);
        arguments.extend(file.map(|file| joined("--become-password-file=", &file)));
    }
    arguments
}

/// Waits until the child has ended or its deadline has passed, and says what came of it.
async fn attend(settings: &Settings, run: &Run, mut child: Child, name: &str, host: &InventoryHost) -> Outcome {
    let Some(ended) = wait(run, &mut child, settings.deadline).await else {
        let left = run.family().with_root(child.id()).end().await;
        // Reaped only now: until then its number and its group were surely its own.
        let _ = timeout(REAPING, child.wait()).await;
        run.close(&Ended::new(None, true));
        return timed_out(run, name, host, settings.deadline, left);
    };
    match ended {
        Ok(status) => {
            let exit = exit_of(status);
            run.close(&Ended::new(Some(exit), false));
            run.report().judge(name, host, exit, &run.complaints())
        }
        Err(error) => {
            run.forget_secrets();
            failed(format!("it could not be seen how playbook {name} ended: {error}"))
        }
    }
}

/// `None` when the deadline came first.
async fn wait(run: &Run, child: &mut Child, deadline: Duration) -> Option<std::io::Result<ExitStatus>> {
    let begun = Instant::now();
    while let Some(left) = deadline.checked_sub(begun.elapsed()) {
        match timeout(left.min(PAUSE), child.wait()).await {
            Ok(ended) => return Some(ended),
            Err(_) => run.bound_output(),
        }
    }
    None
}

fn exit_of(status: ExitStatus) -> Exit {
    status.code().map_or_else(|| Exit::Signal(status.signal().unwrap_or(0)), Exit::Code)
}

fn timed_out(run: &Run, name: &str, host: &InventoryHost, deadline: Duration, left: usize) -> Outcome {
    let report = run.report();
    let task = report.task.as_ref().map_or_else(|| "before its first task".to_owned(), |task| format!("in task {task}"));
    let took = print_duration(deadline);
    let message = format!("playbook {name} on {host} had not ended within {took}; it was {task}, and {}", ending_of(left));
    Outcome { ending: Ending::TimedOut, message: clean(&message, 4_000), touched: true, output: report.output(&run.complaints()) }
}

fn ending_of(left: usize) -> String {
    match left {
        0 => "all its processes were ended".to_owned(),
        usize::MAX => "whether its processes were ended is not known".to_owned(),
        left => format!("{left} of its processes could not be ended: look at them by hand"),
    }
}

/// Finds out how a playbook ended that was begun before this server started. If it still runs, it has until its deadline, counted from
/// `begun_at`; then it is ended. Never runs it again.
pub async fn find_out(settings: &Settings, runs: &Path, permit: &str, begun_at: Time) -> Outcome {
    let Some(run) = Run::open(runs, permit) else {
        return interrupted("there is no trace that the playbook was ever started", Vec::new());
    };
    let already_ended = run.ended();
    let was_ended = match already_ended {
        Some(_) => None,
        None => await_others(&run, settings.deadline, begun_at).await,
    };
    if already_ended.is_none() {
        run.close(&Ended::new(None, was_ended.is_some()));
    }
    run.forget_secrets();
    let report = run.report();
    let task = report.task.as_deref().unwrap_or("?");
    let message = match (report.print_stats(), was_ended, &already_ended) {
        (Some(stats), _, ended) => {
            let code =
                ended.as_ref().and_then(|ended| ended.code).map_or_else(String::new, |code| format!(" (exit code {code})"));
            format!("it took place: {stats}{code}")
        }
        (None, Some(left), _) if report.started => {
            let took = print_duration(settings.deadline);
            format!("it was still in task {task} when its {took} were over, and {}", ending_of(left))
        }
        (None, Some(left), _) => {
            format!("it still ran, without having begun a task, when its time was over, and {}", ending_of(left))
        }
        (None, None, Some(Ended { timed_out: true, .. })) => format!("it was ended at its deadline, in task {task}"),
        (None, None, _) if report.started => format!("it ended without being through; the last task it began is {task}"),
        (None, None, _) => "it was started at most, and no task began".to_owned(),
    };
    interrupted(&message, report.output(&run.complaints()))
}

/// Ends everything that a run has started, on somebody's wish, and says how far it had come.
pub async fn end(runs: &Path, permit: &str, why: &str) -> Outcome {
    let Some(run) = Run::open(runs, permit) else {
        return stopped(why, "it had not been started", Vec::new());
    };
    if run.ended().is_none() {
        let left = run.family().end().await;
        run.close(&Ended::new(None, false));
        let report = run.report();
        let task = report.task.as_ref().map_or_else(|| "before its first task".to_owned(), |task| format!("in task {task}"));
        let far = report.print_stats().map_or(format!("it was {task}"), |stats| format!("it was just through: {stats}"));
        return stopped(why, &format!("{far}, and {}", ending_of(left)), report.output(&run.complaints()));
    }
    let report = run.report();
    let far =
        report.print_stats().map_or("it ended without being through".to_owned(), |stats| format!("it was just through: {stats}"));
    stopped(why, &far, report.output(&run.complaints()))
}

fn stopped(why: &str, far: &str, output: Vec<String>) -> Outcome {
    let message = format!("{}; {far}", clean(why, 600));
    Outcome { ending: Ending::Interrupted, message: clean(&message, 4_000), touched: true, output }
}

/// Waits until the playbook is through or nobody of it is left; at the deadline ends them all and gives how many that failed with.
/// What a playbook that is through has left running (a service it started) is none of our business.
async fn await_others(run: &Run, deadline: Duration, begun_at: Time) -> Option<usize> {
    let begun = Instant::now();
    let left = deadline.saturating_sub(Time::now().since(begun_at));
    let mut family = run.family();
    loop {
        let alive;
        (family, alive) = family.look_and(None).await;
        if alive == 0 || run.is_through() {
            return None;
        }
        if begun.elapsed() >= left {
            return Some(family.end().await);
        }
        run.bound_output();
        sleep(LOOK).await;
    }
}

fn interrupted(message: &str, output: Vec<String>) -> Outcome {
    let message = format!("Paramedic was stopped while it ran a playbook; {message}");
    Outcome { ending: Ending::Interrupted, message: clean(&message, 4_000), touched: true, output }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn books() -> (tempfile::TempDir, Settings) {
        let folder = tempfile::tempdir().unwrap();
        let books = folder.path().join("books");
        std::fs::create_dir_all(books.join("sub.yml")).unwrap();
        for name in ["books/fix.yml", "books/sub.yml/deep.yaml", "outside.yml", "books/notes.txt"] {
            std::fs::write(folder.path().join(name), "[]").unwrap();
        }
        std::os::unix::fs::symlink("../outside.yml", books.join("out.yml")).unwrap();
        std::os::unix::fs::symlink("..", books.join("up")).unwrap();
        std::os::unix::fs::symlink("fix.yml", books.join("alias.yml")).unwrap();
        let settings = Settings { playbooks: books, deadline: PAUSE, profiles: Default::default(), program: None };
        (folder, settings)
    }

    #[test]
    fn playbooks_inside_the_folder_are_found() {
        let (_folder, settings) = books();
        for name in ["fix.yml", "sub.yml/deep.yaml", "alias.yml"] {
            assert!(playbook_path(&settings, name).unwrap().is_absolute(), "{name}");
        }
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let (folder, settings) = books();
        let absolute = folder.path().join("outside.yml").display().to_string();
        let names = [
            "../outside.yml",
            "sub.yml/../../outside.yml",
            "/etc/passwd.yml",
            &absolute,
            "out.yml",
            "up/outside.yml",
            "up/books/../outside.yml",
        ];
        for name in names {
            let why = playbook_path(&settings, name).unwrap_err();
            assert!(why.contains("without `..`") || why.contains("leads out"), "{name}: {why}");
        }
    }

    #[test]
    fn what_is_no_playbook_is_refused() {
        let (_folder, settings) = books();
        for name in ["", ".", "notes.txt", "sub.yml", "none.yml", "-x.yml", "a\n.yml", "\u{1b}[2J.yml", &"a".repeat(2_000)] {
            let why = playbook_path(&settings, name).unwrap_err();
            assert!(!why.contains('\u{1b}') && why.len() < 600, "{why}");
        }
    }

    #[tokio::test]
    async fn without_a_folder_nothing_was_started() {
        let (folder, settings) = books();
        let outcome = find_out(&settings, folder.path(), "0123456789abcdef-1-1", Time::now()).await;
        assert_eq!(outcome.ending, Ending::Interrupted);
        assert!(outcome.message.contains("no trace"), "{}", outcome.message);
    }
}
