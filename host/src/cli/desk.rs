//! The other end of the operator's socket: how commands reach a running server, and what is said when they do not.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::DataArg;
use crate::config;
use crate::operate::{self, group_of, myself};
use crate::telemetry::clean;

/// A little longer than the server takes at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

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

    /// The desk of the running server; `None` when none runs.
    pub(super) fn desk(&self) -> anyhow::Result<Option<Desk>> {
        let path = self.path()?;
        match UnixStream::connect(&path) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => bail!("{}", not_yours(&path)),
            Err(error) => return Err(error).with_context(|| format!("the socket {} cannot be used", path.display())),
        }
        let client = crate::look::http::builder().timeout(ANSWER_WITHIN).unix_socket(path).build()?;
        Ok(Some(Desk { client, base: Url::parse("http://paramedic/v1")? }))
    }
}

/// Why a socket that is there is closed to this person, and who could.
fn not_yours(path: &Path) -> String {
    let (me, socket) = (myself(), path.display());
    match path.metadata() {
        Ok(found) => format!(
            "you ({me}) may not use the socket {socket}: it is for root, its server's user and the group {}; become one of them (`sudo`)",
            group_of(found.gid())
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

    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        for part in path {
            let plain = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            anyhow::ensure!(plain, "`{}` is no id: `paramedic incident list` shows them", clean(part, 80).escape_debug());
        }
        url.path_segments_mut().map_err(|()| anyhow::anyhow!("the socket's URL cannot be made"))?.extend(path);
        Ok(url)
    }
}

async fn answer(request: RequestBuilder) -> anyhow::Result<Answer> {
    let hint = "the server did not answer in time or broke off: look with `paramedic incident show` whether it was written";
    let response = request.send().await.context(hint)?;
    let status = response.status();
    let body: Value = response.json().await.context(hint)?;
    if status.is_success() {
        return Ok(Answer::Done(body));
    }
    let why = clean(body["error"].as_str().unwrap_or("no reason was given"), 1000);
    match status {
        StatusCode::CONFLICT | StatusCode::FORBIDDEN => Ok(Answer::No(why)),
        _ => bail!("{why}"),
    }
}
