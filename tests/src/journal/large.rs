//! A journal with a long history, written fast; and how soon a server is ready on it.

use std::time::Instant;

use paramedic::journal::entry;
use rusqlite::Connection;

use super::*;

/// Fills the journal in this folder with so many closed incidents of `each` entries (at least 2), as a server would have
/// written them over the last days, hashes and all: 100,000 incidents of 10 entries take about half a minute and 500 MB. The journal
/// is made if it is missing and must be empty; nobody may have it open. `journal verify` passes afterwards.
pub fn fill(dir: &Path, incidents: u64, each: u64) {
    drop(Journal::open(dir).unwrap());
    let mut db = Connection::open(dir.join("journal.db")).unwrap();
    db.execute_batch("pragma synchronous = off").unwrap();
    let tx = db.transaction().unwrap();
    let (mut pos, mut hash) = (0, entry::FIRST_HASH.to_owned());
    let int = |n: u64| i64::try_from(n).unwrap();
    let start = Time::now().minus(24 * HOUR).0;
    {
        let mut insert = tx
            .prepare("insert into entry (pos, incident, seq, at, version, kind, body, append_id, hash) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")
            .unwrap();
        let mut appended = tx.prepare("insert into appended (append_id, pos, n) values (?1, ?2, 1)").unwrap();
        let mut listed =
            tx.prepare("insert into incident (id, key, n, last_seq, open, opened) values (?1, ?2, 1, ?3, 0, ?4)").unwrap();
        for number in 0..incidents {
            let name = format!("old {number}");
            let (id, key) = (id(&name, 1).to_string(), id(&name, 1).key.to_string());
            listed.execute((&id, key, int(each), int(pos + 1))).unwrap();
            for seq in 1..=each {
                let event = match seq {
                    1 => Event::Opened { alert: alert(&name), via: Via::Webhook },
                    last if last == each => closed(),
                    _ => note(),
                };
                pos += 1;
                let at = Time(start + int(pos) / 100);
                let body = serde_json::to_string(&event).unwrap();
                hash = entry::chain(&hash, pos, &id, seq, at, entry::VERSION, &body);
                let append = format!("00000000-0000-4000-8000-{pos:012x}");
                insert.execute((int(pos), &id, int(seq), at.0, entry::VERSION, event.kind(), &body, &append, &hash)).unwrap();
                appended.execute((&append, int(pos))).unwrap();
            }
        }
    }
    tx.execute("update head set pos = ?1, hash = ?2, at = ?3", (int(pos), &hash, Time::now().0)).unwrap();
    tx.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_does_not_slow_the_start() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 100_000, 10);
    let begun = Instant::now();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.open_incidents().await.unwrap(), []);
    assert_eq!(journal.ready().await, Ok(()));
    opened(&journal, &["new"]).await;
    let took = begun.elapsed();
    println!("journal: 100000 incidents, 1000000 entries: open and written to after {} ms", took.as_millis());
    // A scan of the history takes many times that.
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(journal.latest(&id("old 77", 1).key).await.unwrap().unwrap().id, id("old 77", 1));
    drop(journal);

    let begun = Instant::now();
    let (url, shutdown, _folder) = trouble::serve(dir.path()).await;
    assert_eq!(trouble::ready(&url).await.0, 200);
    let took = begun.elapsed();
    println!("journal: a whole server on it is ready after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(2), "{took:?}");
    shutdown.request();
}

#[tokio::test]
async fn what_is_filled_is_a_whole_journal() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 50, 4);
    assert_eq!(Reader::open(dir.path()).unwrap().verify(), Ok(200));
    let journal = Journal::open(dir.path()).unwrap();
    assert!(journal.incident(&id("old 7", 1)).await.unwrap().unwrap().is_closed());
    assert_eq!(committed(&journal.append(opening("old 7", 2)).await.unwrap()).0, 201);
}
