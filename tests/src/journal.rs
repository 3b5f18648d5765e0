//! The journal on real files: what it promises about order, brakes, takeovers, crashes and alterations.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use paramedic::alert::{Alert, Family, IncidentId, Key, Labels, Status, Via};
use paramedic::clock::Time;
use paramedic::incident::{Closing, Event, Trigger};
use paramedic::journal::{Append, Appended, Journal, JournalError, Reader, Spend};

const HOUR: Duration = Duration::from_secs(3_600);

fn alert(name: &str) -> Alert {
    Alert {
        family: Family::Prometheus,
        status: Status::Firing,
        labels: Labels::from([("alertname".to_owned(), name.to_owned())]),
        annotations: Labels::new(),
        starts_at: Time(1_000),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    }
}

fn id(name: &str, n: u64) -> IncidentId {
    IncidentId { key: Key::of(Family::Prometheus, &alert(name).labels, &[]), n }
}

fn opening(name: &str, n: u64) -> Append {
    Append::new(id(name, n), Some(0), vec![Event::Opened { alert: alert(name), via: Via::Webhook }])
}

fn note() -> Event {
    Event::Asked { trigger: Trigger::Alert, targets: Vec::new(), ambiguous: Vec::new() }
}

fn closed() -> Event {
    Event::Closed { how: Closing::Cleared, message: "gone".to_owned() }
}

/// Writes a note, spending these.
fn spending(name: &str, spend: Vec<Spend>) -> Append {
    Append { spend, ..Append::new(id(name, 1), None, vec![note()]) }
}

fn rate(key: &str, limit: u32, window: Duration) -> Spend {
    Spend::Rate { key: key.to_owned(), limit, window }
}

fn lock(key: &str, limit: u32) -> Spend {
    Spend::Lock { key: key.to_owned(), limit }
}

/// The position, number and time of what must have been committed.
#[track_caller]
fn committed(appended: &Appended) -> (u64, u64, Time) {
    match appended {
        Appended::Committed { pos, seq, at } => (*pos, *seq, *at),
        other => panic!("not committed: {other:?}"),
    }
}

/// When the brake that must have refused may have room again, and who holds it.
#[track_caller]
fn braked(appended: &Appended) -> (&str, Option<Time>, Option<&IncidentId>) {
    match appended {
        Appended::Braked { key, after, holder } => (key, *after, holder.as_ref()),
        other => panic!("not braked: {other:?}"),
    }
}

async fn opened(journal: &Journal, names: &[&str]) {
    for name in names {
        committed(&journal.append(opening(name, 1)).await.unwrap());
    }
}

fn alter(dir: &Path, sql: &str) {
    let db = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
    db.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn appends_are_numbered_and_what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let before = Time::now();
    let (pos, seq, at) = committed(&journal.append(opening("A", 1)).await.unwrap());
    assert_eq!((pos, seq), (1, 1));
    assert!(at >= before && at <= Time::now());
    opened(&journal, &["B"]).await;
    let two = Append::new(id("A", 1), Some(1), vec![note(), note()]);
    let (pos, seq, later) = committed(&journal.append(two.clone()).await.unwrap());
    assert_eq!((pos, seq), (3, 3));
    assert!(later >= at);

    let entries = journal.read(&id("A", 1), 0, 100).await.unwrap();
    assert_eq!(entries.iter().map(|e| (e.pos, e.seq)).collect::<Vec<_>>(), [(1, 1), (3, 2), (4, 3)]);
    assert_eq!((&entries[1].event, entries[1].append_id, entries[1].version), (&note(), two.append_id, 1));
    assert_eq!(journal.read(&id("A", 1), 1, 1).await.unwrap(), entries[1..2]);
    assert_eq!(journal.tail(1, 2).await.unwrap().iter().map(|e| e.pos).collect::<Vec<_>>(), [2, 3]);
    let incident = journal.incident(&id("A", 1)).await.unwrap().unwrap();
    assert_eq!((incident.seq, incident.opened_at), (3, at));
    assert!(journal.incident(&id("C", 1)).await.unwrap().is_none());
    assert_eq!(journal.open_incidents().await.unwrap(), [id("A", 1), id("B", 1)]);
}

#[tokio::test]
async fn what_others_wrote_meanwhile_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let nothing_there = journal.append(Append::new(id("A", 1), None, vec![note()])).await.unwrap();
    assert_eq!(nothing_there, Appended::Conflict { last: 0 });
    opened(&journal, &["A"]).await;
    let stale = Append::new(id("A", 1), Some(0), vec![note()]);
    assert_eq!(journal.append(stale).await.unwrap(), Appended::Conflict { last: 1 });
    assert_eq!(journal.append(opening("A", 1)).await.unwrap(), Appended::Conflict { last: 1 });
    assert_eq!(journal.append(opening("A", 2)).await.unwrap(), Appended::Conflict { last: 0 }, "one of its key is open");
    committed(&journal.append(Append::new(id("A", 1), Some(1), vec![closed()])).await.unwrap());
    for expect in [None, Some(2)] {
        let behind_its_end = Append::new(id("A", 1), expect, vec![note()]);
        assert_eq!(journal.append(behind_its_end).await.unwrap(), Appended::Conflict { last: 2 });
    }
    committed(&journal.append(opening("A", 2)).await.unwrap());
    let latest = journal.latest(&id("A", 1).key).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.open), (id("A", 2), true));
    assert_eq!(journal.open_incidents().await.unwrap(), [id("A", 2)]);
}

#[tokio::test]
async fn the_same_append_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A"]).await;
    let append = Append { events: vec![note(), note()], ..spending("A", vec![rate("r", 1, HOUR)]) };
    let (pos, seq, at) = committed(&journal.append(append.clone()).await.unwrap());
    opened(&journal, &["B"]).await;
    assert_eq!(journal.append(append.clone()).await.unwrap(), Appended::Already { pos, seq, at });
    let proof = journal.prove(append, "value").await.unwrap().unwrap();
    assert_eq!((*proof.value(), proof.seq(), proof.at()), ("value", seq, at));
    let refused = journal.prove(Append::new(id("A", 1), Some(1), vec![note()]), ()).await.unwrap();
    assert_eq!(refused.unwrap_err(), Appended::Conflict { last: 3 });
    assert_eq!(journal.read(&id("A", 1), 0, 100).await.unwrap().len(), 3);
}

#[tokio::test]
async fn two_openers_of_one_key_collide() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for round in 0..50 {
        let name = format!("alert {round}");
        let both =
            join_all([journal.append(opening(&name, 1)), journal.append(opening(&name, 1)), journal.append(opening(&name, 2))]);
        let answers: Vec<_> = both.await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|a| matches!(a, Appended::Committed { .. })).count(), 1, "{answers:?}");
    }
    assert_eq!(journal.open_incidents().await.unwrap().len(), 50);
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

#[tokio::test]
async fn who_was_taken_over_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let old = Journal::open(dir.path()).unwrap();
    opened(&old, &["A"]).await;
    // Somebody tidies up under a running server, and starts another.
    std::fs::remove_file(dir.path().join("lock")).unwrap();
    let new = Journal::open(dir.path()).unwrap();
    assert_eq!((old.epoch(), new.epoch()), (1, 2));
    let append = Append::new(id("A", 1), None, vec![note()]);
    assert_eq!(old.append(append.clone()).await.unwrap(), Appended::Fenced);
    committed(&new.append(append.clone()).await.unwrap());
    assert_eq!(old.append(append).await.unwrap(), Appended::Fenced, "acting on it is not its business any more");
    assert_eq!(new.read(&id("A", 1), 0, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_cooldown_says_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A", "B"]).await;
    let long = rate("cooldown:x", 1, HOUR);
    let (_, _, at) = committed(&journal.append(spending("A", vec![long.clone()])).await.unwrap());
    let refused = journal.append(spending("B", vec![long.clone()])).await.unwrap();
    assert_eq!(braked(&refused), ("cooldown:x", Some(at.plus(HOUR)), None));
    assert_eq!(journal.room(&id("B", 1), std::slice::from_ref(&long)).await.unwrap(), Some(refused));
    assert_eq!(journal.room(&id("B", 1), &[rate("cooldown:y", 1, HOUR)]).await.unwrap(), None);

    // Counted from a stamp that was set without a check.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let ended = Append { stamp: vec!["cooldown:x".to_owned()], ..Append::new(id("A", 1), None, vec![note()]) };
    let (_, _, later) = committed(&journal.append(ended).await.unwrap());
    let refused = journal.append(spending("B", vec![long])).await.unwrap();
    assert_eq!(braked(&refused).1, Some(later.plus(HOUR)), "room for one needs both stamps to be gone");

    let short = vec![rate("short", 1, Duration::from_millis(200))];
    committed(&journal.append(spending("A", short.clone())).await.unwrap());
    let refused = journal.append(spending("A", short.clone())).await.unwrap();
    let after = braked(&refused).1.unwrap();
    tokio::time::sleep(after.since(Time::now()) + Duration::from_millis(2)).await;
    committed(&journal.append(spending("A", short)).await.unwrap());
}

#[tokio::test]
async fn spending_several_places_at_once_is_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A", "B"]).await;
    let each = rate("hour", 3, HOUR);
    committed(&journal.append(spending("A", vec![each.clone(), each.clone()])).await.unwrap());
    // The lock has room, the rate has one place and two are wanted: neither is spent.
    let refused = journal.append(spending("B", vec![lock("target", 1), each.clone(), each.clone()])).await.unwrap();
    assert_eq!(braked(&refused).0, "hour");
    committed(&journal.append(spending("A", vec![lock("target", 1), each.clone()])).await.unwrap());
    assert!(matches!(journal.append(spending("A", vec![each.clone()])).await.unwrap(), Appended::Braked { .. }));
    // More than the limit at once never fits, however long one waits.
    let refused = journal.append(spending("A", vec![rate("none", 0, HOUR)])).await.unwrap();
    assert_eq!(braked(&refused), ("none", None, None));
    let too_long = journal.append(spending("A", vec![rate("r", 1, 24 * 33 * HOUR)])).await.unwrap_err();
    assert!(matches!(&too_long, JournalError::NotDone(text) if text.contains("32 days")), "{too_long}");
    assert_eq!(journal.read(&id("B", 1), 0, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lock_names_its_holder_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A", "B"]).await;
    let target = vec![lock("target:local/nginx", 1)];
    committed(&journal.append(spending("A", target.clone())).await.unwrap());
    committed(&journal.append(spending("A", target.clone())).await.unwrap());
    let refused = journal.append(spending("B", target.clone())).await.unwrap();
    assert_eq!(braked(&refused), ("target:local/nginx", None, Some(&id("A", 1))));
    assert_eq!(journal.room(&id("B", 1), &target).await.unwrap(), Some(refused));
    assert_eq!(journal.room(&id("A", 1), &target).await.unwrap(), None);

    let release = |name| Append { release: vec!["target:local/nginx".to_owned()], ..spending(name, Vec::new()) };
    committed(&journal.append(release("B")).await.unwrap());
    assert!(
        matches!(journal.append(spending("B", target.clone())).await.unwrap(), Appended::Braked { .. }),
        "not B's to release"
    );
    committed(&journal.append(release("A")).await.unwrap());
    committed(&journal.append(spending("B", target.clone())).await.unwrap());
    // Closing gives back whatever is left.
    committed(&journal.append(Append::new(id("B", 1), None, vec![closed()])).await.unwrap());
    committed(&journal.append(spending("A", target)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn brakes_are_exact_when_eight_race_for_the_last_place() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let names: Vec<String> = (0..8).map(|n| format!("racer {n}")).collect();
    opened(&journal, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for round in 0..1_000 {
        let key = format!("round {round}");
        let spend = if round % 2 == 0 { rate(&key, 1, HOUR) } else { lock(&key, 1) };
        let race = names.iter().map(|name| {
            let (journal, append) = (journal.clone(), spending(name, vec![spend.clone()]));
            tokio::spawn(async move { journal.append(append).await.unwrap() })
        });
        let answers: Vec<_> = join_all(race).await.into_iter().map(Result::unwrap).collect();
        let count = |f: fn(&Appended) -> bool| answers.iter().filter(|a| f(a)).count();
        assert_eq!(count(|a| matches!(a, Appended::Committed { .. })), 1, "{answers:?}");
        assert_eq!(count(|a| matches!(a, Appended::Braked { .. })), 7, "{answers:?}");
    }
    assert_eq!(Reader::open(dir.path()).unwrap().verify(), Ok(1_008));
}

#[tokio::test]
async fn a_refusal_does_not_disturb_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let appends = (0..500).map(|n| {
        let name = format!("alert {n}");
        journal.append(if n % 3 == 0 { Append::new(id(&name, 1), Some(7), vec![note()]) } else { opening(&name, 1) })
    });
    let answers: Vec<_> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(matches!(answer, Appended::Conflict { last: 0 }), n % 3 == 0, "{n}: {answer:?}");
    }
    assert_eq!(Reader::open(dir.path()).unwrap().verify(), Ok(333));
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
            .args(["journal::a_killed_writer_loses_nothing_that_it_acknowledged", "--exact", "--nocapture"])
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

#[tokio::test]
async fn five_thousand_alerts_at_once_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let appends = (0..5_000).map(|n| journal.append(opening(&format!("alert {n}"), 1)));
    for answer in join_all(appends).await {
        committed(&answer.unwrap());
    }
    assert_eq!(journal.open_incidents().await.unwrap().len(), 5_000);
}
