//! One way to tell somebody over HTTP: a JSON body, a deadline, and an honest word about what came of it.
//!
//! As when asking (`look::http`): no redirect is followed, since a token would follow it, no proxy is used, and answers are bounded.
//! No error holds an address beyond its host. Absent on purpose: trying again; whoever sends knows what may be repeated.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{DATE, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};

use crate::clock::Time;
use crate::look::http::{builder, read_token, root};
use crate::telemetry::clean;

/// How long one message may take, answer included.
pub const SEND_WITHIN: Duration = Duration::from_secs(10);
/// As much of an answer is read.
const MOST_BYTES: usize = 16 << 10;
/// A receiver is not obeyed beyond this when it names a time.
const LATEST: Duration = Duration::from_secs(300);

/// Why somebody could not be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No whole answer; it may have been told all the same.
    NoAnswer(String),
    /// It said no.
    Answered {
        /// The HTTP status.
        status: StatusCode,
        /// Its own words, cleaned.
        text: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
}

impl SendError {
    /// Is it this message that is refused, as it stands? Anything else may be another word tomorrow: a receiver that is down, busy
    /// or has moved, a token that was not renewed.
    pub fn is_about_the_message(&self) -> bool {
        use StatusCode as S;
        let Self::Answered { status, .. } = self else { return false };
        let the_receiver = [
            S::UNAUTHORIZED,
            S::FORBIDDEN,
            S::NOT_FOUND,
            S::PROXY_AUTHENTICATION_REQUIRED,
            S::REQUEST_TIMEOUT,
            S::TOO_EARLY,
            S::TOO_MANY_REQUESTS,
        ];
        status.is_client_error() && !the_receiver.contains(status)
    }

    /// When the receiver wants to be asked again, if it said so.
    pub fn after(&self) -> Option<Duration> {
        if let Self::Answered { after, .. } = self { *after } else { None }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(why) => f.write_str(why),
            Self::Answered { status, text, .. } if text.is_empty() => write!(f, "it answered {status}"),
            Self::Answered { status, text, .. } => write!(f, "it answered {status}: {text}"),
        }
    }
}

/// Where something is told.
#[derive(Debug)]
pub struct Teller {
    client: reqwest::Client,
    url: Url,
    token_file: Option<PathBuf>,
}

impl Teller {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: Url, token_file: Option<PathBuf>) -> Result<Self, SendError> {
        let client = builder().timeout(SEND_WITHIN).build();
        let client = client.map_err(|error| SendError::NoAnswer(format!("no HTTP client could be made: {}", root(&error))))?;
        Ok(Self { client, url, token_file })
    }

    /// Sends this JSON once. With a key, the receiver can tell a repetition. Gives the receiver's own time, if it says it.
    ///
    /// # Errors
    /// When it was not told, or that is not known.
    pub async fn tell(&self, body: String, key: Option<&str>) -> Result<Option<Time>, SendError> {
        let mut request = self.client.post(self.url.clone()).header("Content-Type", "application/json").body(body);
        if let Some(file) = &self.token_file {
            let unreadable = |error| format!("the bearer token cannot be read from {}: {error}", file.display());
            request = request.bearer_auth(read_token(file).await.map_err(|error| SendError::NoAnswer(unreadable(error)))?);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.send().await.map_err(no_answer)?;
        if response.status().is_success() { Ok(date(&response)) } else { Err(answered(response).await) }
    }
}

fn no_answer(error: reqwest::Error) -> SendError {
    SendError::NoAnswer(if error.is_timeout() {
        format!("no answer within {} s", SEND_WITHIN.as_secs())
    } else {
        format!("it cannot be reached: {}", root(&error.without_url()))
    })
}

fn date(response: &Response) -> Option<Time> {
    let text = response.headers().get(DATE)?.to_str().ok()?;
    // HTTP's dates are those of mail, but for the name of the zone, which is always this one.
    let moment = jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000")).ok()?;
    Some(Time(moment.timestamp().as_millisecond()))
}

async fn answered(mut response: Response) -> SendError {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = after.map(|seconds| Duration::from_secs(seconds).min(LATEST));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            break;
        }
    }
    let text = if status.is_redirection() {
        "redirects are not followed: configure the URL it points to".to_owned()
    } else {
        clean(String::from_utf8_lossy(&body).trim(), 200)
    };
    SendError::Answered { status, text, after }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_no_to_the_message_itself_is_about_the_message() {
        let is_about = |status: u16| {
            SendError::Answered { status: StatusCode::from_u16(status).unwrap(), text: String::new(), after: None }
                .is_about_the_message()
        };
        for about in [400, 405, 409, 410, 413, 415, 422] {
            assert!(is_about(about), "{about}");
        }
        for not in [301, 302, 401, 403, 404, 407, 408, 425, 429, 500, 502, 503, 504] {
            assert!(!is_about(not), "{not}");
        }
        assert!(!SendError::NoAnswer(String::new()).is_about_the_message());
    }
}
