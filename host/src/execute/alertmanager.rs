//! Making and ending silences through Alertmanager's API v2.
//!
//! A silence carries in its comment which policy made it, about which target, and for which action of which incident. So a server that was
//! stopped in the middle finds it instead of making it twice, and nobody ends one that was made by somebody else. Absent on purpose: changing
//! a silence, and trying again.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Hands;
use super::docker::{Finding, NotDone};
use crate::action::{Action, Ending, Outcome, ProposedMatcher};
use crate::clock::Time;
use crate::incident::Incident;
use crate::look::Eyes;
use crate::look::alertmanager::{OURSELVES, Own, Settings};
use crate::look::docker::CLOCKS;
use crate::look::http::{BaseUrl, LookError, builder, read_token, root};
use crate::telemetry::clean;

/// How long one request may take, answer included.
const WITHIN: Duration = Duration::from_secs(10);
/// How long after a request was begun Alertmanager may still carry it out.
const SETTLED: Duration = WITHIN.saturating_add(Duration::from_secs(5));
/// How often it is looked meanwhile.
const LOOK: Duration = Duration::from_millis(500);
/// As much of an answer is read.
const MOST_BYTES: usize = 16 << 10;

/// A silence to be made.
#[derive(Clone, Copy, Debug)]
pub struct Silence<'a> {
    /// All of them have to fit.
    pub matchers: &'a [ProposedMatcher],
    /// For how long from now.
    pub length: Duration,
    /// With [`Own::mark_of`] in front.
    pub comment: &'a str,
}

/// Where silences are made.
#[derive(Debug)]
pub struct Silences {
    client: reqwest::Client,
    url: BaseUrl,
    token_file: Option<PathBuf>,
}

/// When there is no Alertmanager (any more).
pub fn unconfigured() -> NotDone {
    NotDone::NotAsked("there is no Alertmanager: add `alertmanager: URL` to paramedic.yaml".to_owned())
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "silenceID")]
    id: String,
}

impl Silences {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(settings: &Settings) -> Result<Self, LookError> {
        let who = || format!("Alertmanager at {}", settings.url);
        let client = builder().timeout(WITHIN).build().map_err(|error| LookError::Client { who: who(), error })?;
        Ok(Self { client, url: settings.url.clone(), token_file: settings.bearer_token_file.clone() })
    }

    /// Makes a silence and gives its id.
    pub(super) async fn make(&self, silence: Silence<'_>) -> Result<String, NotDone> {
        let now = Time::now();
        let matchers: Vec<Value> = silence.matchers.iter().map(matcher).collect();
        let body = json!({
            "matchers": matchers, "startsAt": now.to_string(), "endsAt": now.plus(silence.length).to_string(),
            "createdBy": OURSELVES, "comment": silence.comment,
        });
        let request = self.client.post(self.url.path(&["api", "v2", "silences"]));
        let answer = self.ask(request.header("Content-Type", "application/json").body(body.to_string())).await?;
        let made: Result<Made, _> = serde_json::from_slice(&answer);
        made.map(|made| clean(&made.id, 80))
            .map_err(|error| NotDone::Unanswered(format!("its answer is not understood: {error}")))
    }

    /// Ends a silence.
    pub(super) async fn end(&self, id: &str) -> Result<(), NotDone> {
        self.ask(self.client.delete(self.url.path(&["api", "v2", "silence", id]))).await.map(drop)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Vec<u8>, NotDone> {
        let request = match &self.token_file {
            None => request,
            Some(file) => {
                let unreadable = |error| format!("the bearer token cannot be read from {}: {error}", file.display());
                request.bearer_auth(read_token(file).await.map_err(|error| NotDone::NotAsked(unreadable(error)))?)
            }
        };
        let mut response = request.send().await.map_err(|error| {
            let why = format!("Alertmanager at {}: {}", self.url, root(&error));
            if error.is_connect() { NotDone::NotAsked(why) } else { NotDone::Unanswered(why) }
        })?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| NotDone::Unanswered(root(&error)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                break;
            }
        }
        match status {
            StatusCode::OK => Ok(body),
            _ => Err(NotDone::Refused { status: status.as_u16(), message: clean(&String::from_utf8_lossy(&body), 500) }),
        }
    }
}

fn matcher(matcher: &ProposedMatcher) -> Value {
    let ProposedMatcher { name, op, value } = matcher;
    json!({"name": name, "value": value, "isRegex": op.ends_with('~'), "isEqual": op.starts_with('=')})
}

/// Carries out what is to be done in Alertmanager.
pub async fn carry(eyes: &dyn Eyes, hands: &dyn Hands, incident: &Incident, intent: u32, action: &Action) -> Outcome {
    match action {
        Action::Silence { matchers, millis, comment, .. } => {
            let comment = format!("{}{comment}", mark(incident, intent, action));
            let silence = Silence { matchers, length: Duration::from_millis(*millis), comment: &comment };
            match hands.silence(silence).await {
                Ok(id) => outcome(Ending::Succeeded, &format!("silence {id} was made")),
                Err(error) => not_done("the silence was not made", error),
            }
        }
        Action::ExpireSilence { ids, .. } if ids.is_empty() => {
            outcome(Ending::Succeeded, "there was no silence of this policy about it to end")
        }
        Action::ExpireSilence { ids, .. } => end_all(eyes, hands, incident, action, ids).await,
        other => outcome(Ending::Failed, &format!("{} is nothing for Alertmanager; nothing was done", other.kind())),
    }
}

/// It is looked once more whose they are, right before: an id alone proves nothing.
async fn end_all(eyes: &dyn Eyes, hands: &dyn Hands, incident: &Incident, action: &Action, ids: &[String]) -> Outcome {
    let own = match own(eyes, incident, action).await {
        Ok(own) => own,
        Err(why) => return outcome(Ending::Failed, &format!("{why}; nothing was done")),
    };
    for id in ids {
        match own.iter().find(|own| own.id == *id) {
            None => return outcome(Ending::Failed, &format!("silence {id} is not one that this policy made about it; it stays")),
            Some(ended) if !ended.stands => {}
            Some(_) => {
                if let Err(error) = hands.expire(id).await {
                    return not_done(&format!("silence {id} was not ended"), error);
                }
            }
        }
    }
    outcome(Ending::Succeeded, &format!("ended: {}", ids.join(", ")))
}

fn not_done(what: &str, error: NotDone) -> Outcome {
    match error {
        NotDone::NotAsked(why) => outcome(Ending::Failed, &format!("{what}: {why}")),
        NotDone::Refused { status, message } => {
            outcome(Ending::Failed, &format!("{what}: Alertmanager answered {status}: {message}"))
        }
        NotDone::Unanswered(why) => outcome(Ending::TimedOut, &format!("{what}, as far as can be told: {why}")),
    }
}

/// How the comments of this action's silences begin.
fn mark(incident: &Incident, intent: u32, action: &Action) -> String {
    Own::mark_of(policy(incident), action.target(), &incident.id, intent)
}

fn policy(incident: &Incident) -> &str {
    incident.owner.as_ref().map_or("?", |owner| owner.policy.as_str())
}

/// The silences that this policy made about the target.
async fn own(eyes: &dyn Eyes, incident: &Incident, action: &Action) -> Result<Vec<Own>, String> {
    let mark = Own::mark(policy(incident), action.target());
    match eyes.silences().await {
        Ok(Some(own)) => Ok(own.into_iter().filter(|own| own.comment.starts_with(&mark)).collect()),
        Ok(None) => Err("there is no Alertmanager to ask: add `alertmanager: URL` to paramedic.yaml".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// After a crash: looks whether it took place; the request may still be under way, so not only once. Never repeats it.
pub async fn find_out(eyes: &dyn Eyes, incident: &Incident, intent: u32, action: &Action, begun_at: Time) -> Outcome {
    loop {
        let last = Time::now() >= begun_at.plus(SETTLED);
        let finding = match own(eyes, incident, action).await {
            Ok(own) => match action {
                Action::ExpireSilence { ids, .. } => ended(&own, ids, begun_at),
                _ => made(&own, &mark(incident, intent, action)),
            },
            Err(why) => Finding::Unfinished(format!("it cannot be told: {why}")),
        };
        match finding {
            Finding::Settled(seen) => return outcome(Ending::Interrupted, &seen),
            Finding::Unfinished(seen) if last => return outcome(Ending::Interrupted, &seen),
            Finding::Unfinished(_) => sleep(LOOK).await,
        }
    }
}

fn made(own: &[Own], mark: &str) -> Finding {
    match own.iter().find(|own| own.comment.starts_with(mark)) {
        Some(made) => Finding::Settled(format!("it took place: silence {} was made", made.id)),
        None => Finding::Unfinished("it did not take place: there is no such silence".to_owned()),
    }
}

/// A silence that does not stand any more was ended by us only if somebody ended it since we began: its own time leaves no such trace.
fn ended(own: &[Own], ids: &[String], begun_at: Time) -> Finding {
    let of = |wanted: fn(&Own, Time) -> bool| -> Vec<&str> {
        let listed = own.iter().filter(|own| ids.contains(&own.id) && wanted(own, begun_at.minus(CLOCKS)));
        listed.map(|own| own.id.as_str()).collect()
    };
    let standing = of(|own, _| own.stands);
    let ended = of(|own, since| !own.stands && own.updated.is_some_and(|updated| updated >= since));
    match (standing.is_empty(), ended.is_empty()) {
        (true, false) => Finding::Settled(format!("it took place: ended: {}", ended.join(", "))),
        (true, true) => Finding::Settled("it did not take place, and had not to: none of them stood any more".to_owned()),
        (false, true) => Finding::Unfinished(format!("it did not take place: still there: {}", standing.join(", "))),
        (false, false) => Finding::Unfinished(format!(
            "it took place in part: ended: {}; still there: {}",
            ended.join(", "),
            standing.join(", ")
        )),
    }
}

fn outcome(ending: Ending, message: &str) -> Outcome {
    Outcome { ending, message: clean(message, 4_000), touched: false, output: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_ended_since_then_counts_as_ended_by_us() {
        let (begun, long_ago) = (Time(1_000_000), Time(10_000));
        let own = |id: &str, stands, updated| {
            let (id, comment) = (id.to_owned(), String::new());
            Own { id, comment, stands, updated: Some(updated) }
        };
        let (stands, over) = (own("a", true, long_ago), own("a", false, long_ago));
        let (ended, another) = (own("a", false, begun.plus(LOOK)), own("c", true, long_ago));
        let told = |own: &[Own], ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            match super::ended(own, &ids, begun) {
                Finding::Settled(text) => (true, text),
                Finding::Unfinished(text) => (false, text),
            }
        };
        let says = |(settled, text): (bool, String), wanted: bool, words: &str| {
            assert!(settled == wanted && text.starts_with(words), "{text}")
        };
        says(told(&[ended.clone(), another.clone()], &["a"]), true, "it took place: ended: a");
        says(told(&[over, another.clone()], &["a"]), true, "it did not take place, and had not to");
        says(told(&[], &["a"]), true, "it did not take place, and had not to");
        says(told(&[stands], &["a"]), false, "it did not take place: still there: a");
        says(told(&[ended, another], &["a", "c"]), false, "it took place in part: ended: a; still there: c");
    }
}
