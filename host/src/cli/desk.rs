//! The other end of the operator's socket: how commands reach a running server, and what is said when they do not.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::DataArg;
use crate::config;
use crate::operate::{self, group_of, myself};
use crate::telemetry::clean;

/// For the server to accept; a socket's queue is full when nobody does.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A little longer than the server takes at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);
/// The same where there is another way than the server.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// Where the running server is.
#[derive(Args, Clone, Debug)]
pub(super) struct SocketArg {
    #[command(flatten)]
    data: DataArg,
    /// The operator's socket; without it, the one of the configuration
    #[arg(long, env = "PARAMEDIC_SOCKET")]
    socket: Option<PathBuf>,
}

/// The desk of a running server.
pub(super) struct Desk {
    client: reqwest::Client,
    base: Url,
}

/// What the server answered.
pub(super) enum Answer {
    /// It is on disk.
    Done(Value),
    /// It does not fit, or this person may not; with the reason.
    No(String),
    /// The server could not do it, or did not answer: with what is known.
    Sick(String),
}

impl SocketArg {
    /// The data folder.
    pub(super) fn data(&self) -> anyhow::Result<PathBuf> {
        self.data.folder()
    }

    /// How to start the server, for messages.
    pub(super) fn start(&self) -> String {
        format!("`paramedic serve --config {}`", self.data.config.config.display())
    }

    /// Where the socket is.
    pub(super) fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if let Some(data) = &self.data.data {
            let named = config::load(&self.data.config.config).ok().and_then(|config| config.operator.socket);
            return Ok(named.unwrap_or_else(|| data.join(operate::FILE)));
        }
        let config = config::load(&self.data.config.config)?;
        Ok(config.operator.path(&config.data))
    }

    /// The desk of the running server; `None` when no socket is there, or nobody listens.
    pub(super) async fn desk(&self) -> anyhow::Result<Option<Desk>> {
        let path = self.path()?;
        match timeout(CONNECT_WITHIN, UnixStream::connect(&path)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
            Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => bail!("{}", not_yours(&path)),
            Ok(Err(error)) => return Err(error).with_context(|| format!("the socket {} cannot be used", path.display())),
            Err(_) => bail!("nobody answers at the socket {}: the server hangs", path.display()),
        }
        let client = crate::look::http::builder().timeout(ANSWER_WITHIN).unix_socket(path).build()?;
        Ok(Some(Desk { client, base: Url::parse("http://paramedic/v1")? }))
    }
}

/// Why a socket that is there is closed to this person, and who could.
fn not_yours(path: &Path) -> String {
    let (me, socket) = (myself(), path.display());
    match path.metadata() {
        Ok(found) if found.mode() & 0o060 != 0 => format!(
            "you ({me}) may not use the socket {socket}: it is for root, its server's user and the group {}; become one of them (`sudo`)",
            group_of(found.gid())
        ),
        Ok(_) => format!(
            "you ({me}) may not use the socket {socket}: it is for root and its server's user; become one of them (`sudo`), or let a group in \
             with `operator: {{socket: /run/paramedic/operator.sock, group: ...}}` in paramedic.yaml"
        ),
        Err(_) => format!(
            "you ({me}) may not use the socket {socket}: its folder is closed to you; run this as the server's user or as root, or let a group \
             in with `operator: {{socket: /run/paramedic/operator.sock, group: ...}}` in paramedic.yaml"
        ),
    }
}

impl Desk {
    /// Asks for something.
    pub(super) async fn get(&self, path: &[&str]) -> anyhow::Result<Answer> {
        answer(self.client.get(self.url(path)?)).await
    }

    /// Gives a command.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Answer> {
        answer(self.client.post(self.url(path)?).json(body)).await
    }

    /// Takes something away.
    pub(super) async fn delete(&self, path: &[&str], body: &Value) -> anyhow::Result<Answer> {
        answer(self.client.delete(self.url(path)?).json(body)).await
    }

    /// The same for who does not wait for long.
    pub(super) async fn post_soon(&self, path: &[&str], body: &Value) -> anyhow::Result<Answer> {
        answer(self.client.post(self.url(path)?).json(body).timeout(SOON)).await
    }

    /// The same for what takes as long as this.
    pub(super) async fn post_within(&self, path: &[&str], body: &Value, within: Duration) -> anyhow::Result<Answer> {
        answer(self.client.post(self.url(path)?).json(body).timeout(within)).await
    }

    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        for part in path {
            let plain = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            anyhow::ensure!(
                plain,
                "`{}` is no id: `paramedic incident list` and `paramedic holds` show them",
                clean(part, 80).escape_debug()
            );
        }
        url.path_segments_mut().map_err(|()| anyhow::anyhow!("the socket's URL cannot be made"))?.extend(path);
        Ok(url)
    }
}

async fn answer(request: RequestBuilder) -> anyhow::Result<Answer> {
    let answered = async {
        let response = request.send().await?;
        Ok::<_, reqwest::Error>((response.status(), response.json::<Value>().await?))
    };
    let (status, body) = match answered.await {
        Ok(answered) => answered,
        Err(error) => return Ok(Answer::Sick(format!("the server did not answer in time, or broke off ({})", told(&error)))),
    };
    if status.is_success() {
        return Ok(Answer::Done(body));
    }
    // Lines stay lines: what is wrong with a file is shown with its line.
    let lines = body["error"].as_str().unwrap_or("no reason was given").lines();
    let why = lines.take(200).map(|line| clean(line, 1000)).collect::<Vec<_>>().join("\n");
    match status {
        StatusCode::CONFLICT | StatusCode::FORBIDDEN => Ok(Answer::No(why)),
        status if status.is_server_error() => Ok(Answer::Sick(why)),
        _ => bail!("{why}"),
    }
}

/// The innermost cause says what happened; the rest is how the library got there.
fn told(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    clean(&inner.to_string(), 300)
}
