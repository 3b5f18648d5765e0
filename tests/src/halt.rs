//! Halting when something is wrong: with the journal, with the server, with the moment.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use paramedic::action::{Action, Ending, Outcome, Target};
use paramedic::alert::{IncidentId, Key};
use paramedic::authorise::Authorised;
use paramedic::clock::Time;
use paramedic::execute::docker::{Call, NotDone};
use paramedic::execute::{Executor, Hands};
use paramedic::halt;
use paramedic::hold::Holds;
use paramedic::incident::{Mode, Progress};
use paramedic::journal::storm::Storm;
use paramedic::journal::{Append, Appended, Away, Entry, Journal, JournalError, Listed, Opened, Spend, Store, Vitals};
use paramedic::operate::{Operator, myself};
use paramedic::receive::intake::Intake;

use crate::approval::Desk;
use crate::crash::binary;

/// A journal that answers nothing but errors.
#[derive(Debug)]
struct Sick;

fn sick<T: Send + 'static>() -> BoxFuture<'static, Result<T, JournalError>> {
    std::future::ready(Err(JournalError::NotDone("the disk is on fire".to_owned()))).boxed()
}

impl Store for Sick {
    fn epoch(&self) -> u64 {
        1
    }
    fn append(&self, _: Append) -> BoxFuture<'_, Result<Appended, JournalError>> {
        sick()
    }
    fn room(&self, _: &IncidentId, _: &[Spend]) -> BoxFuture<'_, Result<Option<Appended>, JournalError>> {
        sick()
    }
    fn read(&self, _: &IncidentId, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        sick()
    }
    fn tail(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        sick()
    }
    fn open_incidents(&self) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        sick()
    }
    fn latest(&self, _: &Key) -> BoxFuture<'_, Result<Option<Listed>, JournalError>> {
        sick()
    }
    fn find(&self, _: &str) -> BoxFuture<'_, Result<IncidentId, JournalError>> {
        sick()
    }
    fn holders(&self, _: &str) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        sick()
    }
    fn due(&self, _: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        sick()
    }
    fn list(&self, _: u64, _: bool, _: usize) -> BoxFuture<'_, Result<Vec<Opened>, JournalError>> {
        sick()
    }
    fn about(&self, _: &Target, _: Time, _: usize) -> BoxFuture<'_, Result<Vec<IncidentId>, JournalError>> {
        sick()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, JournalError>> {
        sick()
    }
    fn storm(&self, _: &str) -> BoxFuture<'_, Result<Option<Storm>, JournalError>> {
        sick()
    }
    fn away(&self) -> Vec<Away> {
        Vec::new()
    }
    fn ready(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        sick()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_journal_takes_nothing_away_from_what_was_halted_or_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(halt::FILE);
    let (nudge, _nudges) = tokio::sync::mpsc::unbounded_channel();
    let journal = Journal::on(Arc::new(Sick));
    let intake = Arc::new(Intake::new(journal.clone(), Vec::new(), nudge.clone()));
    let operator = Operator::new(journal, intake, [], file.clone(), Holds::of(folder.path()), nudge);
    let noted = |note: Option<String>| note.is_some_and(|note| note.contains("the disk is on fire"));

    let told = operator.halt(&myself(), "stop").await.unwrap();
    assert!(told.halted && file.exists() && noted(told.note), "{}", told.next);
    let told = operator.halted().await.unwrap();
    assert!(told.halted && told.running.is_empty() && noted(told.note), "{}", told.next);
    let told = operator.resume(&myself(), "go").await.unwrap();
    assert!(!told.halted && !file.exists() && noted(told.note), "{}", told.next);
    assert!(told.next.contains("no longer halted by"), "{}", told.next);

    std::fs::create_dir(&file).unwrap();
    let error = operator.resume(&myself(), "go").await.unwrap_err().to_string();
    assert!(error.contains("rmdir"), "{error}");
}

/// Hands that count how often they were used.
#[derive(Debug, Default)]
pub struct Counting(AtomicUsize);

impl Counting {
    /// How often.
    pub fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Hands for Counting {
    fn docker<'a>(&'a self, _: Call<'a>, _: Duration) -> BoxFuture<'a, Result<(), NotDone>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(())).boxed()
    }
    fn playbook<'a>(&'a self, _: &'a str, _: &'a Action) -> BoxFuture<'a, Outcome> {
        unreachable!("no playbook is wanted")
    }
    fn find_playbook<'a>(&'a self, _: &'a str, _: Time) -> BoxFuture<'a, Outcome> {
        unreachable!("no playbook is wanted")
    }
    fn end_playbook<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Outcome> {
        unreachable!("no playbook is wanted")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_about_to_begin_is_told_and_not_begun() {
    let mut desk = Desk::new().await;
    desk.policy.mode = Mode::Enforce;
    let Authorised::Permits(mut permits) = desk.authorise().await else { panic!("it is allowed") };
    let (nudge, _nudges) = tokio::sync::mpsc::unbounded_channel();
    let intake = Arc::new(Intake::new(desk.journal.clone(), Vec::new(), nudge.clone()));
    let operator = Operator::new(desk.journal.clone(), intake, [], desk.halt_file(), desk.holds(), nudge);
    let told = operator.halt(&myself(), "stop").await.unwrap();
    assert!(told.note.is_none() && told.running.len() == 1 && !told.running[0].begun, "{:?}", told.running);

    // The halt came after it was last asked and before `begun` was there.
    let hands = Arc::new(Counting::default());
    let executor = Executor { journal: desk.journal.clone(), eyes: desk.eyes.clone(), hands: hands.clone() };
    let (incident, file) = (desk.incident().await, desk.halt_file());
    executor.execute(permits.remove(0), &incident, || halt::in_the_way(&file), std::future::pending()).await.unwrap();
    assert_eq!(hands.times(), 0, "halted means untouched");
    let intent = desk.incident().await.attempts[0].intents[0].clone();
    let Progress::Ended(outcome) = intent.progress else { panic!("{intent:?}") };
    assert!(outcome.ending == Ending::Failed && !outcome.touched && outcome.message.contains("halted"), "{outcome:?}");
    assert!(operator.halted().await.unwrap().running.is_empty());
}

/// Runs the program with this data folder and no configuration.
async fn paramedic(data: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--config", "/nonexistent/paramedic.yaml", "--data"]).arg(data);
    command.env_remove("PARAMEDIC_SOCKET");
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output { status, stdout, stderr } = run.await.unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_halts_is_not_kept_waiting_by_a_server_that_hangs_or_is_sick() {
    // What a sick server answers; one that hangs answers nothing.
    let answers = ["503 Service Unavailable", "504 Gateway Timeout", "garbage", ""];
    let halts = answers.map(|answer| async move {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("operator.sock")).unwrap();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                if !answer.is_empty() && stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    let body = r#"{"error": "the disk is full"}"#;
                    let _ = write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                } else {
                    kept.push(stream);
                }
            }
        });
        let (code, said) = paramedic(folder.path(), &["halt", "--reason", "now"]).await;
        assert!(code == Some(0) && said.contains("Halted") && said.contains("without it"), "{answer}: {said}");
        let written = halt::read(&folder.path().join(halt::FILE)).unwrap().unwrap();
        assert_eq!((written.by, written.reason.as_deref()), (Some(myself().to_string()), Some("now")), "{answer}");

        let (code, said) = paramedic(folder.path(), &["resume", "--reason", "now"]).await;
        assert!(code == Some(2) && said.contains("lets go without the server"), "{answer}: {said}");
        assert!(folder.path().join(halt::FILE).exists(), "{answer}");
    });
    futures_util::future::join_all(halts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_socket_it_is_not_said_that_no_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = paramedic(folder.path(), &["halt", "--reason", "now"]).await;
    assert!(code == Some(0) && said.contains("No server was found at"), "{said}");
    assert!(folder.path().join(halt::FILE).exists() && !said.contains("no server runs"), "{said}");
    let (code, said) = paramedic(folder.path(), &["halt", "--reason", &"x".repeat(501)]).await;
    assert!(code == Some(2) && said.contains("longer than 500"), "{said}");
    let (code, said) = paramedic(folder.path(), &["resume", "--reason", "go"]).await;
    assert!(code == Some(0) && said.contains("no longer halted by") && said.contains("may act"), "{said}");
    let (code, said) = paramedic(&folder.path().join("no-such-folder"), &["halt", "--reason", "now"]).await;
    assert!(code == Some(2) && said.contains("cannot be changed"), "{said}");
}

/// Whoever is let in at the socket may not read the server's secrets, and they may be lost at three in the morning.
#[tokio::test(flavor = "multi_thread")]
async fn who_halts_needs_none_of_the_server_s_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("paramedic.yaml");
    let webhook = "{name: chat, url: 'http://127.0.0.1:9/', bearer_token_file: lost}";
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(&config, format!("policies: .\nnotify: {{webhooks: [{webhook}]}}\n")).unwrap();
    let run = |arguments: &'static [&'static str]| {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(&config).env_remove("PARAMEDIC_SOCKET");
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    };
    let (code, said) = run(&["halt", "--reason", "fire"]);
    assert!(code == Some(0) && folder.path().join("data/HALT").exists(), "{said}");
    // The server does need it.
    let (code, said) = run(&["check"]);
    assert!(code == Some(1) && said.contains("the token file cannot be read"), "{said}");
}
