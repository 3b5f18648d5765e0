//! Full, read-only, locked and damaged: what is refused then, what is said, and that all goes on by itself afterwards.

use std::io::{Seek, SeekFrom, Write};
use std::process::Command;
use std::time::Instant;

use paramedic::config;
use paramedic::server::Server;
use paramedic::shutdown::Shutdown;

use super::*;
use crate::programs::reqwest_client;

/// A small file system of its own; needs root, as the tests with containers do.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn mount(&self, arguments: &[&str]) {
        let done = Command::new("mount").args(arguments).arg(self.path()).output().unwrap();
        assert!(done.status.success(), "a file system has to be mounted, which takes root: {done:?}");
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("filler")).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// A refused append, with its words.
#[track_caller]
fn refused(answer: Result<Appended, JournalError>) -> String {
    match answer {
        Err(error @ (JournalError::NotDone(_) | JournalError::Unknown(_))) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

/// Everything that was acknowledged, and nothing that surely was not written.
async fn holds(journal: &Journal, acknowledged: &[IncidentId]) {
    let open = journal.open_incidents().await.unwrap();
    assert_eq!(acknowledged.iter().find(|id| !open.contains(id)), None, "lost");
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_over_when_there_is_room() {
    let disk = Disk::new("4m");
    let journal = Journal::open(disk.path()).unwrap();
    opened(&journal, &["before"]).await;
    disk.fill();
    let (mut acknowledged, mut said) = (vec![id("before", 1)], String::new());
    for n in 0..5_000 {
        let name = format!("{} {n}", "x".repeat(2_000));
        match journal.append(opening(&name, 1)).await {
            Ok(appended) => {
                committed(&appended);
                acknowledged.push(id(&name, 1));
            }
            refusal => {
                said = refused(refusal);
                break;
            }
        }
    }
    assert!(said.contains("full") && said.contains("free space"), "{said}");
    let why = journal.ready().await.unwrap_err().to_string();
    assert!(why.contains("free space"), "{why}");
    holds(&journal, &acknowledged).await;

    disk.empty();
    assert_eq!(journal.ready().await, Ok(()));
    opened(&journal, &["after"]).await;
    acknowledged.push(id("after", 1));
    holds(&journal, &acknowledged).await;
    let entries = acknowledged.len() as u64;
    assert_eq!(Reader::open(disk.path()).unwrap().verify(), Ok(entries), "what was refused is not there");
    drop(journal);
    assert_eq!(Journal::open(disk.path()).unwrap().open_incidents().await.unwrap().len() as u64, entries);
}

#[tokio::test]
async fn who_holds_the_lock_is_waited_for_and_then_named() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["before"]).await;
    let other = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let begun = Instant::now();
    let (said, why) = tokio::join!(journal.append(opening("during", 1)), async {
        let why = journal.ready().await.unwrap_err().to_string();
        assert!(begun.elapsed() < Duration::from_secs(3), "who asks whether it is ready does not wait for long");
        why
    });
    let said = refused(said);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(said.contains("locked") && said.contains("sqlite3"), "{said}");
    assert!(why.contains("lock"), "{why}");
    assert_eq!(journal.tail(0, 10).await.unwrap().len(), 1, "reading goes on");
    other.execute_batch("rollback").unwrap();
    opened(&journal, &["after"]).await;
    assert_eq!(journal.ready().await, Ok(()));
    assert_eq!(Reader::open(dir.path()).unwrap().verify(), Ok(2));
}

#[tokio::test]
async fn a_disk_that_is_read_only_is_named_and_nothing_is_touched() {
    let disk = Disk::new("4m");
    let journal = Journal::open(disk.path()).unwrap();
    opened(&journal, &["A"]).await;
    drop(journal);
    disk.mount(&["-o", "remount,ro"]);
    let said = Journal::open(disk.path()).unwrap_err().to_string();
    assert!(said.to_lowercase().contains("read-only") && said.contains(&disk.path().display().to_string()), "{said}");
    disk.mount(&["-o", "remount,rw"]);
    opened(&Journal::open(disk.path()).unwrap(), &["B"]).await;
}

fn overwrite(dir: &Path, from: u64, len: usize) {
    let mut file = std::fs::OpenOptions::new().write(true).open(dir.join("journal.db")).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0xa5; len]).unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_said_to_be_damaged() {
    for from in [0, 4_096, 40_960, 102_400] {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        for n in 0..300 {
            opened(&journal, &[&format!("alert {n}")]).await;
        }
        drop(journal);
        overwrite(dir.path(), from, 20_480);
        let verified = Reader::open(dir.path()).and_then(|reader| reader.verify());
        assert!(verified.is_err(), "bytes from {from} on were overwritten, and verify says {verified:?}");
        match Journal::open(dir.path()) {
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("damaged") && said.contains("backup"), "{from}: {said}");
            }
            // Some pages are not needed to open it, nor to write: then it is whole as far as it is used.
            Ok(journal) => {
                for n in 0..300 {
                    if let Err(error) = journal.append(Append::new(id(&format!("alert {n}"), 1), None, vec![note()])).await {
                        assert!(error.to_string().contains("damaged"), "{from}: {error}");
                    }
                }
            }
        }
    }
}

/// Pages are overwritten under a journal that is open: what it needs of them is an error with what to do, soon, and not an answer.
#[tokio::test]
async fn damage_under_a_running_server_is_an_error_and_no_hang() {
    let dir = tempfile::tempdir().unwrap();
    large::fill(dir.path(), 5_000, 4);
    let journal = Journal::open(dir.path()).unwrap();
    opened(&journal, &["before"]).await;
    let len = dir.path().join("journal.db").metadata().unwrap().len();
    assert!(len > 4 << 20, "it would all be in memory: {len} bytes");
    overwrite(dir.path(), 64 << 10, usize::try_from(len - (64 << 10)).unwrap());
    let (begun, mut said) = (Instant::now(), Vec::new());
    for n in 0..50 {
        let append = Append::new(id(&format!("old {}", n * 97), 1), Some(4), vec![note()]);
        if let Err(error) = journal.append(append).await {
            said.push(error.to_string());
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(!said.is_empty() && said.iter().all(|text| text.contains("damaged") && text.contains("backup")), "{said:?}");
    let verified = Reader::open(dir.path()).unwrap().verify().unwrap_err();
    assert!(!matches!(verified, JournalError::Open(_)), "{verified}");
}

/// A server on this data folder, without policies: where it listens, and how it is stopped.
pub(super) async fn serve(data: &Path) -> (String, Shutdown, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["policies", "plugins"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    let path = folder.path().join("paramedic.yaml");
    std::fs::write(&path, format!("listen: 127.0.0.1:0\ndata: {}\n", data.display())).unwrap();
    let (config, policies) = config::load_all(&path).unwrap();
    let shutdown = Shutdown::new();
    let server = Server::open(config, policies, shutdown.clone()).await.unwrap();
    let url = format!("http://{}", server.address().unwrap());
    tokio::spawn(server.run());
    (url, shutdown, folder)
}

async fn post(url: &str, name: &str) -> u16 {
    let alert = serde_json::json!({ "status": "firing", "labels": { "alertname": name }, "startsAt": Time::now().to_string() });
    let message = serde_json::json!({ "version": "4", "status": "firing", "alerts": [alert] });
    reqwest_client()
        .post(format!("{url}/alert"))
        .timeout(Duration::from_secs(20))
        .json(&message)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

pub(super) async fn ready(url: &str) -> (u16, String) {
    let answer = reqwest_client().get(format!("{url}/-/ready")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn until_ready(url: &str) {
    let begun = Instant::now();
    while ready(url).await.0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is well again and does not say so: {:?}", ready(url).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doors_refuse_while_the_disk_is_full_and_open_by_themselves() {
    let disk = Disk::new("8m");
    let (url, shutdown, _folder) = serve(disk.path()).await;
    assert_eq!((post(&url, "before").await, ready(&url).await.0), (200, 200));
    disk.fill();
    let mut acknowledged = vec!["before".to_owned()];
    for n in 0..5_000 {
        let name = format!("{} {n}", "x".repeat(1_500));
        match post(&url, &name).await {
            200 => acknowledged.push(name),
            status => {
                assert_eq!(status, 503);
                break;
            }
        }
    }
    let (status, why) = ready(&url).await;
    assert!(status == 503 && why.contains("free space"), "{status} {why}");
    disk.empty();
    until_ready(&url).await;
    assert_eq!(post(&url, "after").await, 200);
    acknowledged.push("after".to_owned());
    let reader = Reader::open(disk.path()).unwrap();
    let heard: Vec<String> = reader
        .list(false, 10_000)
        .unwrap()
        .iter()
        .map(|id| reader.incident(id).unwrap().unwrap().alert.name().to_owned())
        .collect();
    assert_eq!(acknowledged.iter().find(|name| !heard.contains(name)), None, "lost");
    assert!(reader.verify().unwrap() >= acknowledged.len() as u64);
    shutdown.request();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doors_refuse_while_somebody_holds_the_lock_and_open_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let (url, shutdown, _folder) = serve(dir.path()).await;
    assert_eq!((post(&url, "before").await, ready(&url).await.0), (200, 200));
    let other = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let begun = Instant::now();
    assert_eq!(post(&url, "during").await, 503);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (status, why) = ready(&url).await;
    assert!(status == 503 && why.contains("lock"), "{status} {why}");
    other.execute_batch("rollback").unwrap();
    until_ready(&url).await;
    assert_eq!(post(&url, "during").await, 200, "the sender comes again");
    assert_eq!(Reader::open(dir.path()).unwrap().list(false, 10).unwrap().len(), 2);
    shutdown.request();
}
