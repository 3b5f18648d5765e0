//! The eye of a policy's own HTTP probe: one question to one address, and the status that came back.
//!
//! Every question makes a connection of its own, so that an answer says that somebody listens now, and not that somebody once did. Of the
//! body a little is read and thrown away: an answer that breaks off is none. No redirect is followed and no proxy used, as for all that is
//! asked here. Absent on purpose: any opinion about the status.

use reqwest::StatusCode;
use reqwest::header::HOST;

use super::http::{self, LookError};
use crate::policy::HttpProbe;

/// How much of an answer's body is read; one that goes on is not waited for.
const MOST_BYTES: usize = 64 << 10;

/// Its name for people.
pub fn who(probe: &HttpProbe) -> String {
    match &probe.host {
        Some(host) => format!("the policy's probe of {} (host {host})", probe.url),
        None => format!("the policy's probe of {}", probe.url),
    }
}

/// Asks once.
///
/// # Errors
/// When there is no answer, or not a whole one, within the deadline.
pub async fn ask(probe: &HttpProbe) -> Result<StatusCode, LookError> {
    // A client made for this question has no connection yet.
    let client = http::client().map_err(|error| LookError::Client { who: who(probe), error })?;
    let broken = |error: reqwest::Error| http::broken(who(probe), error);
    let mut request = client.get(probe.url.url().clone());
    if let Some(host) = &probe.host {
        request = request.header(HOST, host);
    }
    let mut response = request.send().await.map_err(broken)?;
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        bytes += chunk.len();
        if bytes > MOST_BYTES {
            break;
        }
    }
    Ok(response.status())
}
