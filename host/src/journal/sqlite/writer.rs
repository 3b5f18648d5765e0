//! The one writer: a thread of its own that takes all appends that wait, has them committed together, then answers.
//!
//! One `fsync` for many appends is what makes a durable journal quick. The thread knows nothing of the store, but that it
//! commits a batch; other work on the store takes its turn between two batches. Nobody waits for ever: if the thread is stuck, the deadline passes; if it dies, its
//! queue closes, and both are answers that say whether something may have been written.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::journal::{Appended, Draft, JournalError};

/// How many appends are committed together at most.
const BATCH: usize = 256;

/// How many appends may wait; more wait for a place, until their deadline.
const QUEUE: usize = 4_096;

/// How long the last handle waits for the thread, so that the folder's lock is free when it is gone.
const GOODBYE: Duration = Duration::from_secs(5);

pub(super) type Answer = Result<Appended, JournalError>;

/// What the thread owns.
pub(super) trait Commit: Send + 'static {
    /// Commits these together; one answer for each, in their order.
    fn commit(&mut self, batch: &[Arc<Draft>]) -> Vec<Answer>;
}

struct Waiting {
    draft: Arc<Draft>,
    answer: oneshot::Sender<Answer>,
}

/// Something to do between two batches.
type Turn<T> = Box<dyn FnOnce(&mut T) + Send>;

enum Job<T> {
    Append(Waiting),
    Turn(Turn<T>),
}

/// The way to the thread.
pub(super) struct Writer<T> {
    queue: Option<mpsc::Sender<Job<T>>>,
    ended: Mutex<std_mpsc::Receiver<()>>,
    deadline: Duration,
}

/// A way to the thread that does not keep it alive.
pub(super) struct Turns<T>(mpsc::WeakSender<Job<T>>);

impl<T> Turns<T> {
    /// Has something done between two batches, at some time; `false` when the thread has ended or is about to.
    pub fn turn(&self, work: impl FnOnce(&mut T) + Send + 'static) -> bool {
        self.0.upgrade().is_some_and(|queue| queue.blocking_send(Job::Turn(Box::new(work))).is_ok())
    }
}

impl<T: Commit> Writer<T> {
    /// Starts the thread.
    pub fn start(deadline: Duration, store: T) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (ending, ended) = std_mpsc::channel();
        thread::Builder::new().name("journal".to_owned()).spawn(move || {
            // Dropped last, when the store and its lock are gone, also when the thread panics.
            let _ending: std_mpsc::Sender<()> = ending;
            run(store, waiting);
        })?;
        Ok(Self { queue: Some(queue), ended: Mutex::new(ended), deadline })
    }

    /// A way to the thread that does not keep it alive.
    pub fn turns(&self) -> Option<Turns<T>> {
        self.queue.as_ref().map(|queue| Turns(queue.downgrade()))
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Has it written. If it is not known whether it was, it is tried once more under the same id.
    pub async fn append(&self, draft: Arc<Draft>) -> Answer {
        let deadline = Instant::now() + self.deadline;
        match self.once(Arc::clone(&draft), deadline).await {
            Err(JournalError::Unknown(why)) if Instant::now() < deadline => match self.once(draft, deadline).await {
                // That the second try surely failed says nothing about the first.
                Err(JournalError::NotDone(again)) => Err(JournalError::Unknown(format!("{why}; tried once more: {again}"))),
                answer => answer,
            },
            answer => answer,
        }
    }

    /// Does something with the store between two batches, and gives what came of it, if that is known within `deadline`.
    pub async fn turn<R, F>(&self, deadline: Duration, work: F) -> Option<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut T) -> R + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let turn: Turn<T> = Box::new(move |store| {
            // Whoever asked may have gone.
            let _ = answer.send(work(store));
        });
        let deadline = Instant::now() + deadline;
        timeout_at(deadline, self.queue.as_ref()?.send(Job::Turn(turn))).await.ok()?.ok()?;
        timeout_at(deadline, answered).await.ok()?.ok()
    }

    async fn once(&self, draft: Arc<Draft>, deadline: Instant) -> Answer {
        let ended = || JournalError::NotDone("its writer has ended: restart paramedic; the log says why it ended".to_owned());
        let Some(queue) = &self.queue else { return Err(ended()) };
        let (answer, answered) = oneshot::channel();
        match timeout_at(deadline, queue.send(Job::Append(Waiting { draft, answer }))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(ended()),
            Err(_) => {
                return Err(JournalError::NotDone(format!("{QUEUE} appends were waiting before this one: is the disk stuck?")));
            }
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(JournalError::Unknown("its writer ended in the middle of it".to_owned())),
            Err(_) => Err(JournalError::Unknown(format!("no answer within {} s: is the disk stuck?", self.deadline.as_secs()))),
        }
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.queue = None;
        // An error is the end of the thread, or that it is stuck: then it ends with the process.
        let _ = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(GOODBYE);
    }
}

fn run<T: Commit>(mut store: T, mut queue: mpsc::Receiver<Job<T>>) {
    let mut next = None;
    while let Some(job) = next.take().or_else(|| queue.blocking_recv()) {
        let mut batch = match job {
            Job::Append(first) => vec![first],
            Job::Turn(turn) => {
                turn(&mut store);
                continue;
            }
        };
        while batch.len() < BATCH {
            match queue.try_recv() {
                Ok(Job::Append(more)) => batch.push(more),
                Ok(turn) => {
                    next = Some(turn);
                    break;
                }
                Err(_) => break,
            }
        }
        commit(&mut store, batch);
    }
}

fn commit<T: Commit>(store: &mut T, mut batch: Vec<Waiting>) {
    // Whose caller has gone was not acknowledged, so it need not be written.
    batch.retain(|waiting| !waiting.answer.is_closed());
    let drafts: Vec<_> = batch.iter().map(|waiting| Arc::clone(&waiting.draft)).collect();
    if drafts.is_empty() {
        return;
    }
    for (waiting, answer) in batch.into_iter().zip(store.commit(&drafts)) {
        // A caller that has gone meanwhile will find it when it asks again under the same id.
        let _ = waiting.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::clock::Time;
    use crate::incident::Event;
    use crate::journal::Append;

    struct Script<F>(F);

    impl<F: FnMut(&[Arc<Draft>]) -> Vec<Answer> + Send + 'static> Commit for Script<F> {
        fn commit(&mut self, batch: &[Arc<Draft>]) -> Vec<Answer> {
            (self.0)(batch)
        }
    }

    fn start<F: FnMut(&[Arc<Draft>]) -> Vec<Answer> + Send + 'static>(deadline: Duration, commit: F) -> Writer<Script<F>> {
        Writer::start(deadline, Script(commit)).unwrap()
    }

    fn draft() -> Arc<Draft> {
        let id = "0123456789abcdef-1".parse().unwrap();
        Arc::new(Draft::new(Append::new(id, None, vec![Event::Begun { intent: 1 }])).unwrap())
    }

    fn committed() -> Answer {
        Ok(Appended::Committed { pos: 1, seq: 1, at: Time(1) })
    }

    fn unknown() -> Answer {
        Err(JournalError::Unknown("the disk is odd".to_owned()))
    }

    /// A writer whose commits answer these, one after the other.
    fn scripted(mut answers: Vec<Answer>) -> Writer<impl Commit> {
        answers.reverse();
        start(Duration::from_secs(5), move |batch| batch.iter().map(|_| answers.pop().unwrap()).collect())
    }

    #[tokio::test]
    async fn a_panic_hangs_nobody() {
        let writer = start(Duration::from_secs(60), |_| panic!("on purpose"));
        let in_the_middle = writer.append(draft()).await.unwrap_err();
        assert!(matches!(in_the_middle, JournalError::Unknown(_)), "{in_the_middle}");
        let afterwards = writer.append(draft()).await.unwrap_err();
        assert!(matches!(afterwards, JournalError::NotDone(_)), "{afterwards}");
    }

    #[tokio::test]
    async fn what_is_unknown_is_asked_once_more() {
        let already = Appended::Already { pos: 1, seq: 1, at: Time(1) };
        assert_eq!(scripted(vec![unknown(), Ok(already.clone())]).append(draft()).await, Ok(already));
        assert_eq!(scripted(vec![unknown(), committed()]).append(draft()).await, committed());
        assert!(matches!(scripted(vec![unknown(), unknown()]).append(draft()).await, Err(JournalError::Unknown(_))));
        let surely_failed_again = vec![unknown(), Err(JournalError::NotDone("no disk".to_owned()))];
        assert!(matches!(scripted(surely_failed_again).append(draft()).await, Err(JournalError::Unknown(_))));
    }

    #[tokio::test]
    async fn a_stuck_store_is_an_answer() {
        let (free, stuck) = std_mpsc::channel::<()>();
        let writer = start(Duration::from_millis(50), move |batch| {
            let _ = stuck.recv();
            batch.iter().map(|_| committed()).collect()
        });
        assert!(matches!(writer.append(draft()).await, Err(JournalError::Unknown(_))));
        drop(free);
        assert_eq!(writer.append(draft()).await, committed());
    }

    #[tokio::test]
    async fn appends_that_wait_are_committed_together() {
        let (sizes, seen) = std_mpsc::channel();
        let (free, stuck) = std_mpsc::channel::<()>();
        let writer = start(Duration::from_secs(5), move |batch| {
            let _ = sizes.send(batch.len());
            let _ = stuck.recv();
            batch.iter().map(|_| committed()).collect()
        });
        let many = futures_util::future::join_all((0..300).map(|_| writer.append(draft())));
        let (answers, ()) = tokio::join!(many, async move {
            // The first batch is being committed while the others arrive.
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(free);
        });
        assert!(answers.iter().all(Result::is_ok));
        let sizes: Vec<usize> = seen.try_iter().collect();
        assert_eq!(sizes.iter().sum::<usize>(), 300);
        assert!(sizes.len() <= 4 && sizes.iter().all(|size| *size <= BATCH), "{sizes:?}");
    }
}
