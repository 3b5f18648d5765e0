//! Serves connections: with a deadline for heads, a bound on how many there are, and an end that does not wait for ever.
//!
//! axum's own loop has none of the three, so a handful of half-sent requests would keep the doors busy until the process ends.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::http::Patience;
use crate::shutdown::Shutdown;

/// Connections at once; more wait until one ends. Far below the usual limit of 1024 open files.
const MOST_CONNECTIONS: u32 = 512;
/// The largest head of a request, in bytes.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// Pause after the system has refused to accept, such as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves until everything is to stop and the requests under way are answered, or `patience.stop` has passed.
pub(super) async fn run(router: Router, listener: TcpListener, patience: Patience, shutdown: Shutdown) -> io::Result<()> {
    let seats = Arc::new(Semaphore::new(usize::try_from(MOST_CONNECTIONS).unwrap_or(usize::MAX)));
    loop {
        let next = async {
            let seat = Arc::clone(&seats).acquire_owned().await;
            (seat, listener.accept().await)
        };
        let (seat, accepted) = tokio::select! {
            next = next => next,
            () = shutdown.requested() => break,
        };
        let Ok(seat) = seat else { break };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve_one(router.clone(), stream, patience, shutdown.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Nobody new from here on; all seats are free when all have been answered.
    drop(listener);
    if tokio::time::timeout(patience.stop, seats.acquire_many(MOST_CONNECTIONS)).await.is_err() {
        tracing::warn!("some senders were not answered before the stop; they will send again");
    }
    Ok(())
}

async fn serve_one(router: Router, stream: TcpStream, patience: Patience, shutdown: Shutdown) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(MOST_HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(patience.stop, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        // Senders that hang up or are too slow: theirs to repair, and no news.
        tracing::debug!(%error, "a connection broke");
    }
}
