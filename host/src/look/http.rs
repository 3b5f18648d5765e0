//! One way to ask a monitoring system over HTTP, for Prometheus and Alertmanager alike.
//!
//! Every question has a deadline that covers the whole answer, and an answer that grows without end is cut off. A redirect
//! is never followed: a bearer token would follow it to wherever it points. Proxies named in the environment are not used,
//! since what is asked here lives beside us. Absent on purpose: any request that changes something. `POST` is
//! used for one thing only, a PromQL query that may be too long for a URL.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::telemetry::clean;

/// How long one question may take, answer included.
pub const ASK_WITHIN: Duration = Duration::from_secs(5);
/// The largest answer that is read: some 100 000 alerts.
pub const MOST_BYTES: usize = 64 << 20;
/// Answers above this size are parsed away from the threads that serve everybody.
const PARSE_ASIDE_BYTES: usize = 256 << 10;
/// The largest token file, and the largest text of an error, that is read.
const MOST_SMALL_BYTES: usize = 64 << 10;

/// Why a monitoring system could not be asked, or its answer not be used.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// No answer within the deadline.
    #[error("{who} did not answer within {} s: see whether it is overloaded", ASK_WITHIN.as_secs())]
    TimedOut {
        /// Whom.
        who: String,
    },
    /// Each question was answered, and all together took too long.
    #[error("{who} has not answered all that was asked within {} s: see whether it is overloaded", within.as_secs())]
    TookTooLong {
        /// Whom.
        who: String,
        /// The deadline.
        within: Duration,
    },
    /// No connection, or it broke.
    #[error("{who} cannot be reached: {}: see whether it runs and whether the URL is right", root(error))]
    Unreachable {
        /// Whom.
        who: String,
        /// What the client says.
        #[source]
        error: reqwest::Error,
    },
    /// It said no.
    #[error("{who} answered {status}: {text}")]
    Refused {
        /// Whom.
        who: String,
        /// The HTTP status.
        status: StatusCode,
        /// Its own words, cleaned, and what to do.
        text: String,
    },
    /// The answer does not end.
    #[error("{who} answered with more than {} MiB, which is not read", most >> 20)]
    TooLarge {
        /// Whom.
        who: String,
        /// What is read, in bytes.
        most: usize,
    },
    /// The answer is not what its documentation promises.
    #[error("{who} answered something that is not understood ({what}): is the URL that of the right program?")]
    Invalid {
        /// Whom.
        who: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file with the token cannot be read.
    #[error("the bearer token for {who} cannot be read from {}: {error}", path.display())]
    Token {
        /// For whom.
        who: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
    /// The client itself could not be made.
    #[error("no HTTP client for {who} could be made: {error}")]
    Client {
        /// For whom.
        who: String,
        /// Why not.
        #[source]
        error: reqwest::Error,
    },
}

/// The innermost reason: the outer ones only repeat the URL.
pub(crate) fn root(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    clean(&inner.to_string(), 200)
}

/// Where a monitoring system's API begins, such as `http://localhost:9090` or `https://example.org/prometheus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Parses it.
    ///
    /// # Errors
    /// A sentence that says what was expected. Names and passwords inside a URL are refused: they would be shown wherever
    /// the URL is shown.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}: write for instance http://localhost:9090");
        // What stands before an `@` may be a password.
        let shown = if text.contains('@') { "what is written here".to_owned() } else { format!("`{}`", clean(text, 200)) };
        let url = Url::parse(text).map_err(|e| wrong(&format!("{shown} is not a URL ({e})")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a name or password in it is not accepted: use `bearer_token_file`".to_owned());
        }
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong(&format!("{shown} is not an http or https URL")));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("only the beginning of the API's URL is wanted, without `?` and `#`"));
        }
        Ok(Self(url))
    }

    /// An address below it.
    pub(crate) fn path(&self, parts: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A client as every question uses it: deadline set, no redirects followed, no proxy.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    builder().timeout(ASK_WITHIN).build()
}

/// What every client has in common: no redirects followed, no proxy. The deadline is the caller's.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    // reqwest comes without a TLS provider, so that only one (ring) is ever linked. Losing the race is fine.
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("paramedic/", env!("CARGO_PKG_VERSION")))
}

/// One program that is asked.
#[derive(Debug)]
pub(super) struct Endpoint {
    who: String,
    base: BaseUrl,
    token_file: Option<PathBuf>,
    client: reqwest::Client,
}

impl Endpoint {
    /// `program` is its name for people, such as `Prometheus`.
    pub(super) fn new(program: &str, base: &BaseUrl, token_file: Option<&Path>) -> Result<Self, LookError> {
        let who = format!("{program} at {base}");
        let client = client().map_err(|error| LookError::Client { who: who.clone(), error })?;
        Ok(Self { who, base: base.clone(), token_file: token_file.map(Path::to_owned), client })
    }

    /// Its name for people, with its URL.
    pub(super) fn who(&self) -> &str {
        &self.who
    }

    /// Asks with `GET`.
    pub(super) async fn get<T>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, LookError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.ask(self.client.get(self.base.path(path)).query(query), MOST_BYTES).await
    }

    /// Asks with `POST` and a form.
    pub(super) async fn form<T>(&self, path: &[&str], form: &[(&str, &str)]) -> Result<T, LookError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.form_within(path, form, MOST_BYTES).await
    }

    /// The same, of whose answer at most so many bytes are read.
    pub(super) async fn form_within<T>(&self, path: &[&str], form: &[(&str, &str)], most: usize) -> Result<T, LookError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.ask(self.client.post(self.base.path(path)).form(form), most).await
    }

    /// An answer that cannot be used.
    pub(super) fn invalid(&self, what: impl std::fmt::Display) -> LookError {
        LookError::Invalid { who: self.who.clone(), what: clean(&what.to_string(), 300) }
    }

    async fn ask<T>(&self, request: RequestBuilder, most: usize) -> Result<T, LookError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let request = match &self.token_file {
            Some(path) => request.bearer_auth(self.token(path).await?),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.broken(error))?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let body = self.body(response, most).await?;
        let parsed = if body.len() < PARSE_ASIDE_BYTES {
            serde_json::from_slice(&body)
        } else {
            let parsing = tokio::task::spawn_blocking(move || serde_json::from_slice(&body));
            parsing.await.map_err(|e| self.invalid(e))?
        };
        parsed.map_err(|e| self.invalid(e))
    }

    async fn token(&self, path: &Path) -> Result<String, LookError> {
        read_token(path).await.map_err(|error| LookError::Token { who: self.who.clone(), path: path.to_owned(), error })
    }

    async fn body(&self, mut response: Response, most: usize) -> Result<Vec<u8>, LookError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if body.len() + chunk.len() > most {
                return Err(LookError::TooLarge { who: self.who.clone(), most });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn refused(&self, response: Response) -> LookError {
        let status = response.status();
        let body = self.body(response, MOST_SMALL_BYTES).await.unwrap_or_default();
        let said = clean(&String::from_utf8_lossy(&body), 300);
        let text = match status {
            _ if status.is_redirection() => "redirects are not followed: configure the URL it points to".to_owned(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!("set or renew `bearer_token_file` ({said})"),
            StatusCode::NOT_FOUND => format!("no such address: is the URL right, with its path? ({said})"),
            _ => said,
        };
        LookError::Refused { who: self.who.clone(), status, text }
    }

    fn broken(&self, error: reqwest::Error) -> LookError {
        broken(self.who.clone(), error)
    }
}

/// A token is read anew for every question, so that it can be replaced while we run.
pub(crate) async fn read_token(path: &Path) -> std::io::Result<String> {
    if tokio::fs::metadata(path).await?.len() > MOST_SMALL_BYTES as u64 {
        return Err(std::io::Error::other("it is too large to be a token"));
    }
    Ok(tokio::fs::read_to_string(path).await?.trim().to_owned())
}

/// No answer, or not a whole one.
pub(super) fn broken(who: String, error: reqwest::Error) -> LookError {
    if error.is_timeout() { LookError::TimedOut { who } } else { LookError::Unreachable { who, error: error.without_url() } }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_prefix_is_kept_and_parts_are_escaped() {
        for text in ["http://h:9/prom", "http://h:9/prom/"] {
            let base = BaseUrl::parse(text).unwrap();
            assert_eq!(base.path(&["api", "a/../b?c"]).as_str(), "http://h:9/prom/api/a%2F..%2Fb%3Fc");
            assert_eq!(base.to_string(), "http://h:9/prom");
        }
        assert_eq!(BaseUrl::parse("http://h:9").unwrap().path(&["api"]).as_str(), "http://h:9/api");
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for text in ["localhost:9090", "ftp://h", "http://", "http://h?x=1", "http://h#x", "unix:///run/x", "\u{1b}[2J"] {
            let why = BaseUrl::parse(text).unwrap_err();
            assert!(why.contains("http://localhost:9090"), "{text}: {why}");
            assert!(!why.contains('\u{1b}'), "{why}");
        }
        let why = BaseUrl::parse("http://me:secret@h").unwrap_err();
        assert!(why.contains("bearer_token_file") && !why.contains("secret"), "{why}");
    }
}
