//! All questions of a time from the journal, asked again: read in one pass on one thread, decided on all cores, with bounded memory.
//!
//! It reads beside the server that writes; what it holds are the incidents that are open at the place where it reads, a few batches
//! of questions, and counts. Absent on purpose: any order among the decisions; each is a question of its own.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::asked::{Asked, Questions};
use super::found::Tally;
use super::trial::Trial;
use crate::clock::Time;
use crate::journal::{JournalError, Reader};

/// Entries that are read at a time.
const PAGE: usize = 1_000;
/// Questions that are handed over at a time.
const BATCH: usize = 128;
/// Batches that wait to be asked.
const WAITING: usize = 8;
/// How often it is told how far it is.
const TELL: Duration = Duration::from_millis(500);

/// A time of the journal, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From when.
    pub since: Time,
    /// Until when.
    pub until: Time,
}

/// How far it is.
#[derive(Debug, Default)]
struct Far {
    read: AtomicU64,
    of: AtomicU64,
}

/// Tries this on every question of that time. `tell` hears how many entries are read, of how many.
///
/// # Errors
/// [`JournalError`] when the journal cannot be read.
pub async fn run(reader: Reader, trial: Arc<Trial>, span: Span, tell: impl Fn(u64, u64)) -> Result<Tally, JournalError> {
    let (send, receive) = mpsc::channel::<Vec<Asked>>(WAITING);
    let (receive, far) = (Arc::new(Mutex::new(receive)), Arc::new(Far::default()));
    let mut workers = JoinSet::new();
    for _ in 0..std::thread::available_parallelism().map_or(1, NonZeroUsize::get) {
        workers.spawn(work(Arc::clone(&receive), Arc::clone(&trial)));
    }
    let told = Arc::clone(&far);
    let mut reading = tokio::task::spawn_blocking(move || each(&reader, span, &far, &mut Batches { send, batch: Vec::new() }));
    let read = loop {
        tokio::select! {
            read = &mut reading => break read,
            () = tokio::time::sleep(TELL) => tell(told.read.load(Ordering::Relaxed), told.of.load(Ordering::Relaxed)),
        }
    };
    read.map_err(|error| JournalError::Unreadable(format!("reading it broke off: {error}")))??;
    let mut all = Tally::default();
    while let Some(counted) = workers.join_next().await {
        let counted = counted.map_err(|error| JournalError::Unreadable(format!("asking broke off: {error}")))?;
        all.merge(&counted);
    }
    Ok(all)
}

async fn work(batches: Arc<Mutex<mpsc::Receiver<Vec<Asked>>>>, trial: Arc<Trial>) -> Tally {
    let mut counted = Tally::default();
    loop {
        let batch = batches.lock().await.recv().await;
        let Some(batch) = batch else { return counted };
        for asked in batch {
            if let Some(found) = trial.ask(&asked).await {
                counted.add(&asked, found);
            }
        }
    }
}

struct Batches {
    send: mpsc::Sender<Vec<Asked>>,
    batch: Vec<Asked>,
}

impl Batches {
    /// Hands it over; waits while enough is waiting. False when nobody takes any more.
    fn push(&mut self, asked: Asked) -> bool {
        self.batch.push(asked);
        self.batch.len() < BATCH || self.flush()
    }

    fn flush(&mut self) -> bool {
        self.send.blocking_send(std::mem::take(&mut self.batch)).is_ok()
    }
}

fn each(reader: &Reader, span: Span, far: &Far, to: &mut Batches) -> Result<(), JournalError> {
    questions(
        reader,
        span,
        |read, of| {
            far.read.store(read, Ordering::Relaxed);
            far.of.store(of, Ordering::Relaxed);
        },
        |asked| to.push(asked),
    )?;
    to.flush();
    Ok(())
}

/// Every question of that time, in the order in which they were answered, while `take` wants more. Blocks.
///
/// # Errors
/// [`JournalError`] when the journal cannot be read.
pub fn questions(
    reader: &Reader,
    span: Span,
    mut tell: impl FnMut(u64, u64),
    mut take: impl FnMut(Asked) -> bool,
) -> Result<(), JournalError> {
    let (begin, end) = (before(reader, span.since)?, reader.last_pos()?);
    let (mut pos, mut questions) = (begin, Questions::default());
    let within = |asked: &Asked| asked.at >= span.since && asked.at <= span.until;
    'pages: loop {
        let page = reader.tail(pos, PAGE)?;
        let Some(last) = page.last() else { break };
        pos = last.pos;
        for entry in page {
            if entry.at > span.until {
                break 'pages;
            }
            if !questions.knows(&entry) {
                // It was opened before that time: its beginning is read alone.
                let count = usize::try_from(entry.seq - 1).unwrap_or(usize::MAX);
                for earlier in reader.read(&entry.incident, 0, count)? {
                    questions.take(earlier);
                }
                // Its beginning was removed for its age: nothing can be told of it.
                if !questions.knows(&entry) {
                    continue;
                }
            }
            if let Some(asked) = questions.take(entry).filter(within)
                && !take(asked)
            {
                return Ok(());
            }
        }
        tell(pos.saturating_sub(begin), end.saturating_sub(begin));
    }
    for asked in questions.rest().into_iter().filter(within) {
        if !take(asked) {
            break;
        }
    }
    Ok(())
}

/// The last position before that moment. The journal's time never runs back, so it can be found by halving.
fn before(reader: &Reader, since: Time) -> Result<u64, JournalError> {
    let (mut low, mut high) = (reader.first_pos()?.saturating_sub(1), reader.last_pos()?);
    while low < high {
        let middle = low + (high - low) / 2;
        match reader.tail(middle, 1)?.first() {
            Some(entry) if entry.at < since => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}
