//! The slow lane: threads of low priority on which a plugin goes on that computes for long, so that it takes nobody else's turn.
//!
//! A good decision takes less than the engine's clock needs to tick, and runs where it was asked: no thread is woken for it. What
//! the clock has caught computing is moved here whole. There it may run one instruction that cannot be interrupted (a `memory.fill` of a
//! quarter of a gigabyte) or spin beside fifteen others; who waits for it has a timer on a thread that it cannot touch.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Poll;
use std::thread::available_parallelism;

use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::guest::Slow;

/// How nice its threads are to all others.
const NICENESS: i32 = 10;

/// Threads that are started when the first plugin needs them.
#[derive(Default)]
pub(super) struct SlowLane(OnceLock<Option<Runtime>>);

impl SlowLane {
    /// Runs the future here, and in the slow lane as soon as `slow` is set. It ends when it is dropped, wherever it is.
    pub(super) async fn run<T: Send + 'static>(&self, slow: &Slow, mut future: BoxFuture<'static, T>) -> Option<T> {
        let done = poll_fn(|cx| {
            if slow.get().is_some() {
                return Poll::Ready(None);
            }
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => Poll::Ready(Some(value)),
                Poll::Pending if slow.get().is_some() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(value) = done.await {
            return Some(value);
        }
        match self.0.get_or_init(start) {
            Some(threads) => AbortOnDrop(threads.spawn(future)).ended().await,
            None => Some(future.await),
        }
    }
}

impl Drop for SlowLane {
    fn drop(&mut self) {
        // Whoever drops it may be a task, and a task must not wait.
        if let Some(threads) = self.0.take().flatten() {
            threads.shutdown_background();
        }
    }
}

fn start() -> Option<Runtime> {
    let threads = available_parallelism().map_or(2, usize::from);
    let be_nice = || {
        // Where it is not allowed, they are threads like others.
        let _refused = rustix::process::setpriority_process(None, NICENESS);
    };
    let built = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("slow-plugins")
        .on_thread_start(be_nice)
        .enable_time()
        .build();
    built.inspect_err(|error| tracing::warn!(%error, "no threads for plugins that compute long: they run beside all others")).ok()
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    /// `None` if it panicked.
    async fn ended(mut self) -> Option<T> {
        Pin::new(&mut self.0).await.ok()
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
