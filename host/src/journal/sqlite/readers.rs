//! The threads that read: few, each with a connection of its own that is kept.
//!
//! Threads of our own and not those of the runtime: it starts another whenever all are busy, dozens in a storm of alerts, and each read
//! of a few microseconds then costs a switch of threads, a connection, and a quarrel over SQLite's memory.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use tokio::sync::oneshot;

use super::reader::Reader;
use crate::journal::JournalError;

/// How many reads are under way at once; more wait for their turn.
const THREADS: usize = 2;

/// Reads, and gives the connection back if it may be used again.
type Job = Box<dyn FnOnce(Result<Reader, JournalError>) -> Option<Reader> + Send>;

/// The way to the threads; they end with it.
pub(super) struct Readers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Readers {
    /// Starts the threads; each opens its connection when it is first needed.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let readers = Self { shared: Arc::default() };
        for _ in 0..THREADS {
            let (dir, shared) = (dir.to_owned(), Arc::clone(&readers.shared));
            thread::Builder::new().name("journal-read".to_owned()).spawn(move || run(&dir, &shared))?;
        }
        Ok(readers)
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }

    /// Has it read; the answer comes through the channel, and none comes if reading broke off.
    pub fn read<T, F>(&self, read: F) -> oneshot::Receiver<Result<T, JournalError>>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, JournalError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // Whose caller has given up need not be read any more.
            if answer.is_closed() {
                return reader.ok();
            }
            let (read, reader) = match reader {
                Ok(reader) => (read(&reader), Some(reader)),
                Err(error) => (Err(error), None),
            };
            // After an error the connection is not used again.
            let reader = reader.filter(|_| read.is_ok());
            let _ = answer.send(read);
            reader
        });
        self.shared.lock().jobs.push_back(job);
        self.shared.wake.notify_one();
        answered
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `None` when nobody can ask any more.
    fn next(&self) -> Option<Job> {
        let waits = |queue: &mut Queue| queue.jobs.is_empty() && !queue.closed;
        let mut queue = self.wake.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        queue.jobs.pop_front()
    }
}

fn run(dir: &Path, shared: &Shared) {
    let mut kept = None;
    while let Some(job) = shared.next() {
        let reader = kept.take().map_or_else(|| Reader::open(dir), Ok);
        // A panic is the fault of one read, and no reason to read nothing any more.
        kept = catch_unwind(AssertUnwindSafe(|| job(reader))).unwrap_or(None);
    }
}
