//! The socket itself: made so that nobody else can ever connect, not even for a moment; and the loop that serves it.
//!
//! It is bound inside a folder that only we can enter, gets its owner and mode there, and is then moved to its place, which
//! replaces what a dead server left behind. One that answers belongs to a living server and is never replaced.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
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
use tokio::time::timeout;
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
/// For whoever listens at a socket that is there already.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
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
    /// The group cannot be given to it.
    #[error("{} cannot be given to the group `{group}`: only root, or a member of that group, may do so: add the server's user to it (`usermod -aG {group} USER`) and start the server anew, or leave `operator.group` out", path.display())]
    NotGiven {
        /// What.
        path: PathBuf,
        /// To whom.
        group: String,
    },
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
    /// Makes it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(settings: &Settings, data: &Path) -> Result<Self, OpenError> {
        let path = settings.path(data);
        let group = match &settings.group {
            Some(name) => Some(Group { name, gid: people::gid_of(name).ok_or_else(|| OpenError::NoGroup(name.clone()))? }),
            None => None,
        };
        is_free(&path).await?;
        let listener = bind(&path, group)?;
        warn_if_others_enter(data);
        Ok(Self { listener, path })
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
        let _ = timeout(STOP_WITHIN, seats.acquire_many(MOST_CONNECTIONS)).await;
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
                timeout(STOP_WITHIN, connection).await.unwrap_or(Ok(()))
            }
        }
    };
    match timeout(ALL_WITHIN, served).await {
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

/// Whom it is for, beside root and the server's own user.
#[derive(Clone, Copy)]
struct Group<'a> {
    name: &'a str,
    gid: u32,
}

impl Group<'_> {
    fn gets(self, path: &Path) -> Result<(), OpenError> {
        match chown(path, None, Some(self.gid)) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(OpenError::NotGiven { path: path.to_owned(), group: self.name.to_owned() })
            }
            other => other.map_err(|error| not_made(path, error)),
        }
    }
}

fn not_made(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), error }
}

/// May the socket be put there? Only if nothing is, or a socket at which surely nobody listens.
async fn is_free(path: &Path) -> Result<(), OpenError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(not_made(path, error)),
        Ok(found) if !found.file_type().is_socket() => return Err(OpenError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    match timeout(ANSWER_WITHIN, UnixStream::connect(path)).await {
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(()),
        // A queue that is full is somebody's, though that one be slow.
        Ok(Err(error)) if error.kind() != ErrorKind::WouldBlock => Err(not_made(path, error)),
        _ => Err(OpenError::Taken(path.to_owned())),
    }
}

fn bind(path: &Path, group: Option<Group<'_>>) -> Result<UnixListener, OpenError> {
    let wrong = |error| not_made(path, error);
    if path.as_os_str().len() > MOST_PATH_BYTES {
        return Err(wrong(io::Error::new(ErrorKind::InvalidInput, "its path is too long for a socket")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(folder, group)?;
    let ours = Permissions::from_mode(0o700);
    let private = tempfile::Builder::new().prefix(".op").rand_bytes(4).permissions(ours).tempdir_in(folder).map_err(wrong)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made).map_err(wrong)?;
    if let Some(group) = group {
        group.gets(&made)?;
    }
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    std::fs::set_permissions(&made, Permissions::from_mode(mode)).map_err(wrong)?;
    std::fs::rename(&made, path).map_err(wrong)?;
    Ok(listener)
}

/// Makes the folders that are missing: ours alone, or the group's to walk through. One that is there already is somebody's decision.
fn make(folder: &Path, group: Option<Group<'_>>) -> Result<(), OpenError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).collect();
    for part in missing.into_iter().rev() {
        DirBuilder::new().mode(0o700).create(part).map_err(|error| not_made(part, error))?;
        if let Some(group) = group {
            group.gets(part)?;
            // Not by the mode above, from which a umask takes away.
            std::fs::set_permissions(part, Permissions::from_mode(0o750)).map_err(|error| not_made(part, error))?;
        }
    }
    Ok(())
}

/// The journal tells what runs where, and the file `HALT` in this folder stops everything.
fn warn_if_others_enter(data: &Path) {
    let Ok(found) = data.metadata() else { return };
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o011 != 0 {
        warn!(
            folder = %data.display(),
            mode = format!("{mode:03o}"),
            "Others than the server's user may enter the data folder: `chmod 700` it, unless they are meant to"
        );
    }
}
