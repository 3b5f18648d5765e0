//! The socket itself: made so that nobody else can ever connect, not even for a moment; and the loop that serves it.
//!
//! It is bound inside a folder that only we can enter, gets its owner and mode there, and is then moved to its place, which
//! replaces what a dead server left behind. One that answers belongs to a living server and is never replaced.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::{Operator, Settings, people, routes};
use crate::policy::approve::Person;
use crate::shutdown::Shutdown;

/// People at once; more wait.
const MOST_CONNECTIONS: u32 = 32;
/// For the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// For one connection, which is one request and its answer.
const ALL_WITHIN: Duration = Duration::from_secs(60);
/// For what is under way when everything is to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Pause after the system has refused to accept.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest path that can be connected to (`sun_path`, with the zero behind it), in bytes.
const MOST_PATH_BYTES: usize = 107;
/// The largest head of a request, in bytes.
const MOST_HEAD_BYTES: usize = 16 << 10;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server listens there.
    #[error("the operator's socket {} belongs to a server that is running: stop that one, or give this one another with `operator: {{socket: ...}}`", .0.display())]
    Taken(PathBuf),
    /// Something else is there.
    #[error("{} is no socket: move it away, or name another place with `operator: {{socket: ...}}`", .0.display())]
    NoSocket(PathBuf),
    /// No such group.
    #[error("`operator.group`: this machine has no group `{0}` in /etc/group: make it, or leave `group` out")]
    NoGroup(String),
    /// The system says no.
    #[error("the operator's socket {} cannot be made: {error}; `operator: {{socket: ...}}` names another place, at most 80 characters long", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// The socket, bound; removed when dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Makes it. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: &Settings, data: &Path) -> Result<Self, OpenError> {
        let path = settings.path(data);
        let gid = match &settings.group {
            Some(group) => Some(people::gid_of(group).ok_or_else(|| OpenError::NoGroup(group.clone()))?),
            None => None,
        };
        is_free(&path)?;
        match bind(&path, gid) {
            Ok(listener) => Ok(Self { listener, path }),
            Err(error) => Err(OpenError::Io { path, error }),
        }
    }

    /// Serves until everything is to stop.
    pub async fn serve(self, operator: Arc<Operator>, shutdown: Shutdown) {
        info!(socket = %self.path.display(), "Listening to people");
        let seats = Arc::new(Semaphore::new(usize::try_from(MOST_CONNECTIONS).unwrap_or(1)));
        loop {
            let next = async {
                let seat = Arc::clone(&seats).acquire_owned().await;
                (seat, self.listener.accept().await)
            };
            let (seat, accepted) = tokio::select! {
                next = next => next,
                () = shutdown.requested() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve_one(Arc::clone(&operator), stream, shutdown.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    warn!(%error, "a person's connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        let _ = tokio::time::timeout(STOP_WITHIN, seats.acquire_many(MOST_CONNECTIONS)).await;
    }
}

async fn serve_one(operator: Arc<Operator>, stream: UnixStream, shutdown: Shutdown) {
    let who = match peer(&stream) {
        Ok(who) => who,
        Err(error) => return warn!(%error, "the system does not tell who connected to the operator's socket: not listened to"),
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MOST_HEAD_BYTES).keep_alive(false);
    let service = TowerToHyperService::new(routes::router(operator, who));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.requested() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(STOP_WITHIN, connection).await.unwrap_or(Ok(()))
            }
        }
    };
    match tokio::time::timeout(ALL_WITHIN, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a person's connection broke"),
        Err(_) => debug!("a person's connection took too long"),
    }
}

/// Who connected, by the kernel's word.
fn peer(stream: &UnixStream) -> io::Result<Person> {
    let credentials = stream.peer_cred()?;
    Ok(people::person(credentials.uid(), credentials.gid()))
}

/// May the socket be put there?
fn is_free(path: &Path) -> Result<(), OpenError> {
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => Err(OpenError::NoSocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => Err(OpenError::Taken(path.to_owned())),
        Ok(_) => Ok(()),
    }
}

fn bind(path: &Path, gid: Option<u32>) -> io::Result<UnixListener> {
    if path.as_os_str().len() > MOST_PATH_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its path is too long for a socket"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.exists() {
        // Ours alone, or the group's to walk through; a folder that is there already is somebody's decision.
        let mode = if gid.is_some() { 0o750 } else { 0o700 };
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder)?;
        chown(folder, None, gid)?;
    }
    let private = tempfile::Builder::new()
        .prefix(".op")
        .rand_bytes(4)
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(folder)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    chown(&made, None, gid)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o660))?;
    std::fs::rename(&made, path)?;
    Ok(listener)
}
