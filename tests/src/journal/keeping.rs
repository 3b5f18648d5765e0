//! Keeping a journal: what is removed for its age, archives and exports, and copies.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use paramedic::journal::{Compacted, Keep, Settings, Verified, backup, compact};

use super::*;
use crate::crash::binary;

/// Incidents `A` to `D`, each opened, noted and closed, but `C` is left open: entries 1 to 11. Gives when the last of `B` was
/// written, with the clock a few milliseconds further.
async fn a_b_c_d(dir: &Path) -> Time {
    let journal = Journal::open(dir).unwrap();
    let mut between = Time(0);
    for name in ["A", "B", "C", "D"] {
        let append = if name == "C" { vec![note()] } else { vec![note(), closed()] };
        committed(&journal.append(opening(name, 1)).await.unwrap());
        let spend = vec![rate("attempts", 1, HOUR)];
        let append = Append::new(id(name, 1), None, append);
        let (.., at) = committed(&journal.append(if name == "A" { Append { spend, ..append } } else { append }).await.unwrap());
        if name == "B" {
            between = at;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    between
}

fn after(at: Time) -> Time {
    at.plus(Duration::from_millis(1))
}

fn reader(dir: &Path) -> Reader {
    Reader::open(dir).unwrap()
}

#[tokio::test]
async fn what_is_old_and_closed_is_removed_and_the_rest_is_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let between = a_b_c_d(dir.path()).await;
    let nothing = Compacted { removed: 0, first: 1, pinned: None };
    assert_eq!(compact(dir.path(), Time(0), None, false), Ok(nothing));
    let would = compact(dir.path(), after(between), None, true).unwrap();
    assert_eq!(would, Compacted { removed: 6, first: 7, pinned: None });
    assert_eq!(reader(dir.path()).verify_with(&[]), Ok(Verified { first: 1, entries: 11 }), "nothing was touched");
    assert_eq!(compact(dir.path(), after(between), None, false), Ok(would));
    assert_eq!(reader(dir.path()).verify_with(&[]), Ok(Verified { first: 7, entries: 5 }));

    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.tail(3, 10).await, Err(JournalError::Compacted { first: 7 }));
    assert_eq!(journal.tail(6, 10).await.unwrap().len(), 5);
    assert_eq!(journal.read(&id("A", 1), 0, 10).await.unwrap(), []);
    assert!(journal.incident(&id("B", 1)).await.unwrap().is_none());
    assert_eq!(reader(dir.path()).list(false, 10).unwrap(), [id("D", 1), id("C", 1)]);
    // Its number is known for ever, and so is what was spent.
    let latest = journal.latest(&id("A", 1).key).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.open), (id("A", 1), false));
    assert_eq!(journal.append(opening("A", 1)).await.unwrap(), Appended::Conflict { last: 0 });
    assert_eq!(committed(&journal.append(opening("A", 2)).await.unwrap()).0, 12);
    let spent = journal.append(spending("C", vec![rate("attempts", 1, HOUR)])).await.unwrap();
    assert_eq!(braked(&spent).0, "attempts");
    assert_eq!(journal.latest(&id("A", 1).key).await.unwrap().unwrap().id, id("A", 2));
    assert_eq!(reader(dir.path()).verify(), Ok(6));
}

#[tokio::test]
async fn what_is_open_keeps_all_that_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    a_b_c_d(dir.path()).await;
    let future = Time::now().plus(HOUR);
    let done = compact(dir.path(), future, None, false).unwrap();
    assert_eq!((done.removed, done.first), (6, 7));
    assert_eq!(done.pinned.map(|pin| (pin.incident, pin.open)), Some((id("C", 1), true)));
    let journal = Journal::open(dir.path()).unwrap();
    let stopped = compact(dir.path(), future, None, false).unwrap_err().to_string();
    assert!(stopped.contains("in use") && stopped.contains("journal: {keep"), "{stopped}");
    committed(&journal.append(Append::new(id("C", 1), None, vec![closed()])).await.unwrap());
    drop(journal);
    let done = compact(dir.path(), future, None, false).unwrap();
    assert_eq!(done, Compacted { removed: 6, first: 13, pinned: None });
    // An empty journal remembers where it is.
    assert_eq!(reader(dir.path()).verify_with(&[]), Ok(Verified { first: 13, entries: 0 }));
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(committed(&journal.append(opening("A", 2)).await.unwrap()).0, 13);
    assert_eq!(reader(dir.path()).verify(), Ok(1));
}

/// A story that ended lately is kept whole, however long ago it began; what lies beside it may lose its beginning.
#[tokio::test]
async fn a_story_is_kept_whole_or_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["over", "long"]).await;
    let (.., at) = committed(&journal.append(Append::new(id("over", 1), None, vec![closed()])).await.unwrap());
    tokio::time::sleep(Duration::from_millis(5)).await;
    committed(&journal.append(Append::new(id("long", 1), None, vec![closed()])).await.unwrap());
    drop(journal);
    let done = compact(dir.path(), after(at), None, false).unwrap();
    assert_eq!((done.removed, done.first), (1, 2));
    assert_eq!(done.pinned.map(|pin| (pin.incident, pin.open)), Some((id("long", 1), false)));
    assert_eq!(reader(dir.path()).verify(), Ok(3));
    assert!(reader(dir.path()).incident(&id("over", 1)).unwrap().is_none(), "its end is still there, and no story");
    assert!(reader(dir.path()).incident(&id("long", 1)).unwrap().unwrap().is_closed());
    assert_eq!(reader(dir.path()).list(false, 10).unwrap(), [id("long", 1)]);
}

#[tokio::test]
async fn an_altered_compacted_journal_is_found_out() {
    let cases = [
        ("update head set anchor_hash = 'no'", 7),
        ("update head set anchor = 7", 8),
        ("update head set anchor = 7, anchor_hash = (select hash from entry where pos = 7); delete from entry where pos = 7", 11),
        ("delete from entry where pos = 7", 7),
        ("update entry set body = replace(body, 'C', 'X') where pos = 7", 7),
        ("insert into timer (incident, due) values ('0123456789abcdef-1', 5)", 11),
    ];
    for (sql, at) in cases {
        let dir = tempfile::tempdir().unwrap();
        let between = a_b_c_d(dir.path()).await;
        compact(dir.path(), after(between), None, false).unwrap();
        alter(dir.path(), sql);
        let broken = reader(dir.path()).verify().unwrap_err();
        assert!(matches!(&broken, JournalError::Broken { pos, .. } if *pos == at), "{sql}: {broken}");
    }
}

#[tokio::test]
async fn archives_and_journal_are_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let between = a_b_c_d(dir.path()).await;
    let (one, two) = (dir.path().join("one.jsonl"), dir.path().join("two.jsonl"));
    compact(dir.path(), after(between), Some(&one), false).unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    committed(&journal.append(Append::new(id("C", 1), None, vec![closed()])).await.unwrap());
    opened(&journal, &["E"]).await;
    drop(journal);
    let later = Time::now().plus(HOUR);
    let taken = compact(dir.path(), later, Some(&one), false).unwrap_err().to_string();
    assert!(taken.contains("one.jsonl") && taken.contains("nothing was removed"), "{taken}");
    compact(dir.path(), later, Some(&two), false).unwrap();
    assert_eq!(one.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let reader = reader(dir.path());
    assert_eq!(reader.verify_with(&[]), Ok(Verified { first: 13, entries: 1 }));
    assert_eq!(reader.verify_with(&[two.clone(), one.clone()]), Ok(Verified { first: 1, entries: 13 }));
    assert_eq!(reader.verify_with(std::slice::from_ref(&two)), Ok(Verified { first: 7, entries: 7 }));
    let missing = reader.verify_with(std::slice::from_ref(&one)).unwrap_err().to_string();
    assert!(missing.contains("behind entry 12"), "{missing}");
    let twice = reader.verify_with(&[one.clone(), one.clone(), two.clone()]).unwrap_err().to_string();
    assert!(twice.contains("another archive"), "{twice}");

    let text = std::fs::read_to_string(&one).unwrap();
    std::fs::write(&one, text.replacen("alert\\\":{", "alert\\\": {", 1)).unwrap();
    let altered = reader.verify_with(&[one.clone(), two.clone()]).unwrap_err();
    assert!(matches!(altered, JournalError::Broken { pos: 1, .. }), "{altered}");
    std::fs::write(&one, &text[..text.len() - 9]).unwrap();
    let torn = reader.verify_with(&[one, two]).unwrap_err().to_string();
    assert!(torn.contains("one.jsonl:") && torn.contains("journal export"), "{torn}");
}

/// Beside appends that go on, and one piece after the other: the keeper's pieces are of 1000 entries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_removes_what_is_old_beside_its_work() {
    let dir = tempfile::tempdir().unwrap();
    large::fill(dir.path(), 1_500, 4);
    let journal = Journal::with(dir.path(), &Settings { keep: Keep::For(HOUR) }).unwrap();
    opened(&journal, &["A"]).await;
    let (begun, mut slowest, mut n) = (Instant::now(), Duration::ZERO, 6_001);
    while reader(dir.path()).first_pos().unwrap() < 6_001 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is not being compacted");
        let asked = Instant::now();
        committed(&journal.append(Append::new(id("A", 1), None, vec![note()])).await.unwrap());
        (slowest, n) = (slowest.max(asked.elapsed()), n + 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(slowest < Duration::from_secs(1), "an append waited {slowest:?}");
    assert_eq!(reader(dir.path()).verify_with(&[]), Ok(Verified { first: 6_001, entries: n - 6_000 }));
    assert!(reader(dir.path()).list(false, 10).unwrap() == [id("A", 1)]);
    drop(journal);
    // By default nothing is removed, but by a server.
    drop(Journal::open(dir.path()).unwrap());
}

fn paramedic(arguments: &[&str], dir: &Path) -> Output {
    let output = Command::new(binary()).arg("journal").args(arguments).env("PARAMEDIC_DATA", dir).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn an_export_holds_all_that_the_chain_needs() {
    let dir = tempfile::tempdir().unwrap();
    let between = a_b_c_d(dir.path()).await;
    let text = out(&paramedic(&["export", "--since", "2", "--until", "5"], dir.path()));
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["pos"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 5]);
    for line in &lines {
        // As the documentation says it, and by other means.
        use sha2::Digest;
        let field = |name: &str| match &line[name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let parts = ["previous", "pos", "incident", "seq", "at", "version", "body"].map(field);
        let hash = sha2::Sha256::digest(parts.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(line["hash"], hash.as_str());
    }
    compact(dir.path(), after(between), None, false).unwrap();
    let gone = paramedic(&["export", "--since", "2"], dir.path());
    assert!(!gone.status.success() && String::from_utf8_lossy(&gone.stderr).contains("from 7 on"), "{gone:?}");
    assert_eq!(out(&paramedic(&["export"], dir.path())).lines().count(), 5);
    assert_eq!(out(&paramedic(&["export", "--since", "99"], dir.path())), "");
}

#[tokio::test]
async fn the_commands_say_what_they_did() {
    let dir = tempfile::tempdir().unwrap();
    a_b_c_d(dir.path()).await;
    let archive = dir.path().join("old.jsonl");
    let archive = archive.to_str().unwrap();
    assert_eq!(out(&paramedic(&["verify"], dir.path())), "11 entries, none altered or missing\n");
    let dry = paramedic(&["compact", "--before", "0s", "--dry-run"], dir.path());
    assert_eq!(out(&dry), "6 entries would be removed; the journal begins with entry 7\n");
    assert!(String::from_utf8_lossy(&dry.stderr).contains(&id("C", 1).to_string()), "{dry:?}");
    let done = paramedic(&["compact", "--before", "0s", "--archive", archive, "--output", "json"], dir.path());
    let said: serde_json::Value = serde_json::from_str(&out(&done)).unwrap();
    assert_eq!((&said["removed"], &said["pinned"]["incident"]), (&6.into(), &id("C", 1).to_string().into()));
    assert!(out(&paramedic(&["verify"], dir.path())).starts_with("5 entries from 7 on, none altered"));
    assert_eq!(out(&paramedic(&["verify", "--archive", archive], dir.path())), "11 entries, none altered or missing\n");
    std::fs::write(archive, "{}\n").unwrap();
    assert_eq!(paramedic(&["verify", "--archive", archive], dir.path()).status.code(), Some(2));
    alter(dir.path(), "update entry set body = replace(body, 'C', 'X')");
    assert_eq!(paramedic(&["verify"], dir.path()).status.code(), Some(1));
}

/// Follows a journal while servers come and go and what it had not read yet is removed.
#[tokio::test]
async fn who_follows_goes_on_through_restarts_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["A"]).await;
    let mut tail = Command::new(binary())
        .args(["journal", "tail", "--follow", "--output", "json"])
        .env("PARAMEDIC_DATA", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let (send, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            let _ = send.send(entry["pos"].as_u64().unwrap());
        }
    });
    let next = || heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(next(), 1);
    committed(&journal.append(Append::new(id("A", 1), None, vec![closed()])).await.unwrap());
    assert_eq!(next(), 2);
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["B"]).await;
    assert_eq!(next(), 3);
    // While it is stopped, what it would read next is written and removed.
    let pid = rustix::process::Pid::from_child(&tail);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    committed(&journal.append(Append::new(id("B", 1), None, vec![note(), closed()])).await.unwrap());
    drop(journal);
    assert_eq!(compact(dir.path(), Time::now().plus(HOUR), None, false).unwrap().first, 6);
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["C"]).await;
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(next(), 6);
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_of_one_moment_while_the_server_writes() {
    let dir = tempfile::tempdir().unwrap();
    large::fill(dir.path(), 5_000, 4);
    let journal = Journal::open(dir.path()).unwrap();
    let (stop, file) = (Arc::new(AtomicBool::new(false)), dir.path().join("copy.db"));
    let writing = tokio::spawn({
        let (journal, stop) = (journal.clone(), Arc::clone(&stop));
        async move {
            let (mut n, mut slowest) = (0, Duration::ZERO);
            while !stop.load(Ordering::SeqCst) {
                let asked = Instant::now();
                committed(&journal.append(opening(&format!("during {n}"), 1)).await.unwrap());
                (slowest, n) = (slowest.max(asked.elapsed()), n + 1);
            }
            (n, slowest)
        }
    });
    let copied = tokio::task::spawn_blocking({
        let (dir, file) = (dir.path().to_owned(), file.clone());
        move || {
            let mut steps = 0;
            (
                backup(&dir, &file, |done, of| {
                    assert!(done <= of);
                    steps += 1;
                }),
                steps,
            )
        }
    });
    let (copied, steps) = copied.await.unwrap();
    stop.store(true, Ordering::SeqCst);
    let (written, slowest) = writing.await.unwrap();
    let copied = copied.unwrap();
    assert!(steps >= 3 && written > 10, "{steps} steps, {written} appends: this shows nothing");
    assert!(copied.entries >= 20_000 && copied.entries <= 20_000 + written, "{copied:?}");
    assert!(slowest < Duration::from_secs(2), "an append waited {slowest:?}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // It is a whole journal, and nothing is left beside it.
    let left: Vec<PathBuf> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| !path.display().to_string().contains(".part")), "{left:?}");
    let restored = tempfile::tempdir().unwrap();
    std::fs::copy(&file, restored.path().join("journal.db")).unwrap();
    assert_eq!(reader(restored.path()).verify(), Ok(copied.entries));
    let again = Journal::open(restored.path()).unwrap();
    assert_eq!(committed(&again.append(opening("restored", 1)).await.unwrap()).0, copied.entries + 1);
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_copies_nothing_broken() {
    let dir = tempfile::tempdir().unwrap();
    a_b_c_d(dir.path()).await;
    let there = dir.path().join("there");
    File::create(&there).unwrap().write_all(b"mine").unwrap();
    let refused = paramedic(&["backup", there.to_str().unwrap()], dir.path());
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("it is there already"), "{refused:?}");
    assert_eq!(std::fs::read(&there).unwrap(), b"mine");
    let copy = dir.path().join("copy");
    let done = paramedic(&["backup", copy.to_str().unwrap()], dir.path());
    assert!(out(&done).ends_with("copy: 11 entries, none altered or missing\n"), "{done:?}");

    alter(dir.path(), "update entry set body = replace(body, 'C', 'X')");
    let other = dir.path().join("other");
    let broken = backup(dir.path(), &other, |_, _| {}).unwrap_err();
    assert!(matches!(broken, JournalError::Broken { pos: 7, .. }), "{broken}");
    assert!(!other.exists());
    let nowhere = backup(dir.path(), Path::new("/nowhere/copy"), |_, _| {}).unwrap_err().to_string();
    assert!(nowhere.contains("/nowhere/copy"), "{nowhere}");
}
