//! The journal on SQLite: its folder, kills, takeovers, alterations, older and newer versions, and reading beside it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use paramedic::action::Target;
use paramedic::incident::TargetView;

use super::conformance::{self, Place};
use super::*;

/// A folder of its own.
struct Folder(tempfile::TempDir);

impl Place for Folder {
    fn open(&self) -> Journal {
        Journal::open(self.0.path()).unwrap()
    }

    fn take_over(&self) -> Journal {
        // Somebody tidies up under a running server, and starts another.
        std::fs::remove_file(self.0.path().join("lock")).unwrap();
        self.open()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_every_promise_of_a_journal() {
    conformance::run(|| Folder(tempfile::tempdir().unwrap())).await;
}

/// A database as an older Paramedic wrote it.
fn version_1(dir: &Path) {
    alter(dir, include_str!("../../fixtures/journal/version-1.sql"));
}

#[tokio::test]
async fn a_journal_of_version_1_is_brought_up_to_date_and_its_timers_are_there() {
    let dir = tempfile::tempdir().unwrap();
    version_1(dir.path());
    let text = Reader::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("older Paramedic") && text.contains("paramedic serve"), "{text}");
    // Whatever this machine's clock says, an hour has passed for this journal.
    alter(dir.path(), "update head set at = at + 3600000");
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(Reader::open(dir.path()).unwrap().verify(), Ok(29), "timers are compared with the entries, too");
    let due = journal.due(10).await.unwrap();
    assert_eq!(due, [id("waits", 1), id("heard after", 1)], "the held one is due in the year 2096, the others were moved on");
    let db = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    assert_eq!(db.query_row("select count(*) from timer", [], |row| row.get::<_, u32>(0)), Ok(3));
    let spent = journal.append(spending("waits", vec![lock("target:local/nginx", 1)])).await.unwrap();
    assert_eq!(braked(&spent).2, Some(&id("moved on", 1)), "brakes go on where they were");
    committed(&journal.append(opening("new", 1)).await.unwrap());
    drop(journal);

    // The way back: the copy is what was there, for its owner alone, and no later opening touches it.
    let copy = dir.path().join("journal.db.v1");
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let old = rusqlite::Connection::open(&copy).unwrap();
    let said = |sql: &str| old.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((said("pragma user_version"), said("select count(*) from entry")), (1, 29));
    drop(Journal::open(dir.path()).unwrap());
    assert_eq!(said("select count(*) from entry"), 29);
}

#[tokio::test]
async fn a_journal_of_version_3_learns_what_its_incidents_are_about() {
    let dir = tempfile::tempdir().unwrap();
    let web: Target = "local/web".parse().unwrap();
    let view = TargetView { target: web.clone(), inventory_host: None, state: "exited".to_owned() };
    let asked = Event::Asked { trigger: Trigger::Alert, targets: vec![view], ambiguous: Vec::new() };
    let journal = Journal::open(dir.path()).unwrap();
    for name in ["A", "B", "C"] {
        committed(&journal.append(opening(name, 1)).await.unwrap());
    }
    for name in ["C", "A"] {
        committed(&journal.append(Append::new(id(name, 1), None, vec![asked.clone()])).await.unwrap());
    }
    let found = [id("C", 1), id("A", 1)];
    assert_eq!(journal.about(&web, Time(0), 9).await.unwrap(), found);
    drop(journal);
    alter(dir.path(), "drop table about; pragma user_version = 3");
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.about(&web, Time(0), 9).await.unwrap(), found, "computed anew from the entries");
    assert!(dir.path().join("journal.db.v3").exists());
}

#[tokio::test]
async fn the_folder_is_for_one_server_and_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/data");
    let journal = Journal::open(&data).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("journal.db"))), (0o700, 0o600));
    assert_eq!(mode(&data.join("journal.db-wal")), 0o600);

    let text = Journal::open(&data).unwrap_err().to_string();
    assert!(
        text.contains("in use") && text.contains(&std::process::id().to_string()) && text.contains("stop that one"),
        "{text}"
    );
    let copy = journal.clone();
    drop(journal);
    assert!(Journal::open(&data).is_err(), "a handle is left");
    drop(copy);
    assert_eq!(Journal::open(&data).unwrap().epoch(), 2);
    let text = Journal::open(Path::new("/dev/null/data")).unwrap_err().to_string();
    assert!(text.contains("/dev/null/data"), "{text}");
}

/// The test starts itself as the writer that is killed.
#[tokio::test]
async fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    const DIR: &str = "PARAMEDIC_TEST_JOURNAL";
    if let Some(dir) = std::env::var_os(DIR) {
        write_until_killed(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 1..=5_usize {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["journal::sqlite::a_killed_writer_loses_nothing_that_it_acknowledged", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut heard = 0;
        for pos in lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok()) {
            assert!(acknowledged.insert(pos), "position {pos} was given twice");
            heard += 1;
            if heard == 150 * round {
                writer.kill().unwrap();
            }
        }
        assert!(!writer.wait().unwrap().success());
        assert!(heard >= 150 * round, "round {round}: only {heard} appends");
        // What the dead one left is taken over: the kernel gave back its lock.
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.epoch(), 2 * round as u64);
        let entries = journal.tail(0, usize::MAX).await.unwrap();
        let present: BTreeSet<u64> = entries.iter().map(|e| e.pos).collect();
        assert!(acknowledged.is_subset(&present), "lost: {:?}", acknowledged.difference(&present).collect::<Vec<_>>());
        assert_eq!(Reader::open(dir.path()).unwrap().verify(), Ok(entries.len() as u64));
    }
}

async fn write_until_killed(dir: &Path) -> ! {
    let journal = Journal::open(dir).unwrap();
    let me = std::process::id();
    let start = Instant::now();
    for n in 0.. {
        let appends = (0..4).map(|part| journal.append(opening(&format!("{me} {n} {part}"), 1)));
        for answer in join_all(appends).await {
            println!("acknowledged {}", committed(&answer.unwrap()).0);
        }
        assert!(start.elapsed() < Duration::from_secs(120), "nobody killed this");
    }
    unreachable!("it counts for ever")
}

#[tokio::test]
async fn an_altered_journal_is_found_out() {
    let cases = [
        ("update entry set body = replace(body, 'B', 'X') where pos = 2", 2),
        ("update entry set at = at + 1 where pos = 2", 2),
        ("update entry set kind = 'closed' where pos = 2", 2),
        ("delete from entry where pos = 2", 2),
        ("delete from entry where pos = 3", 2),
        ("delete from entry where pos = 3; update head set pos = 2", 2),
        ("update incident set open = 0", 3),
    ];
    for (sql, at) in cases {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        opened(&journal, &["A", "B", "C"]).await;
        assert_eq!(Reader::open(dir.path()).unwrap().verify(), Ok(3));
        alter(dir.path(), sql);
        let broken = Reader::open(dir.path()).unwrap().verify().unwrap_err();
        assert!(matches!(&broken, JournalError::Broken { pos, .. } if *pos == at), "{sql}: {broken}");
    }
}

#[tokio::test]
async fn a_gap_is_an_error_for_who_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A", "B", "C"]).await;
    alter(dir.path(), "delete from entry where pos = 2");
    let gap = journal.tail(0, 10).await.unwrap_err();
    assert!(matches!(&gap, JournalError::Unreadable(text) if text.contains("number 2 is missing")), "{gap}");
}

#[tokio::test]
async fn a_journal_that_lost_its_end_is_not_opened_or_written() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A", "B"]).await;
    alter(dir.path(), "delete from entry where pos = 2; update head set pos = 1");
    let went_back = journal.append(opening("C", 1)).await.unwrap_err();
    assert!(matches!(&went_back, JournalError::NotDone(text) if text.contains("acknowledged")), "{went_back}");
    drop(journal);
    let text = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("damaged") && text.contains("backup"), "{text}");
}

#[tokio::test]
async fn a_journal_that_is_moved_away_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A"]).await;
    let (db, away) = (dir.path().join("journal.db"), dir.path().join("away.db"));
    std::fs::rename(&db, &away).unwrap();
    let refused = journal.append(opening("B", 1)).await.unwrap_err();
    assert!(matches!(&refused, JournalError::NotDone(text) if text.contains("moved")), "{refused}");
    std::fs::rename(&away, &db).unwrap();
    opened(&journal, &["B"]).await;
}

#[tokio::test]
async fn the_journals_time_never_runs_back() {
    let dir = tempfile::tempdir().unwrap();
    let ahead = Time::now().plus(HOUR);
    drop(Journal::open(dir.path()).unwrap());
    alter(dir.path(), &format!("update head set at = {}", ahead.0));
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(committed(&journal.append(opening("A", 1)).await.unwrap()).2, ahead);
    let brake = vec![rate("r", 1, HOUR)];
    committed(&journal.append(spending("A", brake.clone())).await.unwrap());
    let refused = journal.append(spending("A", brake)).await.unwrap();
    assert_eq!(braked(&refused).1, Some(ahead.plus(HOUR)));
}

#[tokio::test]
async fn what_a_newer_paramedic_wrote_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A"]).await;
    alter(dir.path(), r#"update entry set kind = 'teleported', body = replace(body, '"opened"', '"teleported"')"#);
    let unknown = journal.tail(0, 9).await.unwrap_err().to_string();
    assert!(unknown.contains("`teleported`") && unknown.contains("newer"), "{unknown}");
    drop(journal);
    alter(dir.path(), "pragma user_version = 99");
    for text in [Journal::open(dir.path()).unwrap_err().to_string(), Reader::open(dir.path()).unwrap_err().to_string()] {
        assert!(text.contains("newer Paramedic") && text.contains("99") && text.contains("backup"), "{text}");
    }
    let other = tempfile::tempdir().unwrap();
    alter(other.path(), "create table theirs (a)");
    let text = Journal::open(other.path()).unwrap_err().to_string();
    assert!(text.contains("not a journal of Paramedic"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_reads_while_a_server_writes() {
    let dir = tempfile::tempdir().unwrap();
    let text = Reader::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("no journal") && text.contains("paramedic serve") && text.contains(&dir.path().display().to_string()));
    let journal = Journal::open(dir.path()).unwrap();
    let path = dir.path().to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let reader = Reader::open(&path).unwrap();
        let (mut last, mut rounds) = (0, 0);
        while last < 2_000 {
            let entries = reader.tail(last, 100).unwrap();
            last = entries.last().map_or(last, |entry| entry.pos);
            rounds += 1;
            if rounds % 10 == 0 {
                assert!(reader.verify().unwrap() >= last);
            }
        }
        rounds
    });
    for chunk in 0..200 {
        let appends = (0..10).map(|n| journal.append(opening(&format!("alert {chunk} {n}"), 1)));
        for answer in join_all(appends).await {
            committed(&answer.unwrap());
        }
    }
    let rounds = tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
    assert!(rounds > 10, "it hardly read while it was written: {rounds}");
}

#[tokio::test]
async fn incidents_are_listed_and_found_by_the_beginning_of_their_id() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A", "B"]).await;
    for n in 1..=10 {
        committed(&journal.append(Append::new(id("A", n), None, vec![closed()])).await.unwrap());
        committed(&journal.append(opening("A", n + 1)).await.unwrap());
    }
    // Also when nobody writes, and nobody cleaned up behind the writer.
    drop(journal);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.list(true, 10).unwrap(), [id("A", 11), id("B", 1)]);
    assert_eq!(reader.list(false, 2).unwrap(), [id("A", 11), id("A", 10)]);
    let key = id("A", 1).key.to_string();
    assert_eq!(reader.find(&format!("{key}-1")), Ok(id("A", 1)));
    for latest in [key.as_str(), &key.to_uppercase(), &key[..9], &format!("{key}-")] {
        assert_eq!(reader.find(latest), Ok(id("A", 11)), "{latest}");
    }
    for nothing in ["", "zz", "%", "' or 1=1 --", "\u{1b}[2J", "ffffffffffffffff-9"] {
        let text = reader.find(nothing).unwrap_err().to_string();
        assert!(text.contains("incident list") && !text.contains('\u{1b}'), "{text}");
    }
    // Seventeen keys cannot all begin differently.
    let journal = Journal::open(dir.path()).unwrap();
    for n in 0..17 {
        committed(&journal.append(opening(&format!("other {n}"), 1)).await.unwrap());
    }
    let ambiguous =
        (0..16).map(|digit| format!("{digit:x}")).filter_map(|digit| reader.find(&digit).err()).map(|e| e.to_string());
    assert!(ambiguous.filter(|text| text.contains("several incidents")).count() > 0);
    assert!(reader.incident(&id("A", 3)).unwrap().unwrap().is_closed());
}
