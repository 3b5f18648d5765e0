//! The operator's socket as HTTP: what is asked, by whom, and the answer in JSON.
//!
//! Every command needs a reason: it is what the next person reads. Bodies are small and have a deadline.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use super::{No, Operator, Wanted, Wish};
use crate::policy::approve::Person;
use crate::telemetry::clean;

/// The largest body.
const MOST_BYTES: usize = 16 << 10;
/// For a body to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// For a command to be on disk.
const DONE_WITHIN: Duration = Duration::from_secs(30);

/// What a person sends along.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    reason: String,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    cancel_running: bool,
}

#[derive(Clone)]
struct Desk {
    operator: Arc<Operator>,
    who: Person,
}

/// The routes for one connection of this person.
pub(super) fn router(operator: Arc<Operator>, who: Person) -> Router {
    Router::new()
        .route("/v1/incidents/{id}", get(view))
        .route("/v1/incidents/{id}/{command}", post(command))
        .route("/v1/halt", get(halted).post(halt))
        .route("/v1/resume", post(resume))
        .route("/v1/reload", post(reload))
        .route("/v1/holds", get(holds).post(hold).delete(release_all))
        .route("/v1/holds/all", get(all_holds))
        .route("/v1/holds/{id}", delete(release))
        .fallback(|| async {
            error(
                StatusCode::NOT_FOUND,
                "there is nothing here: /v1/incidents/ID/COMMAND, /v1/halt, /v1/resume, /v1/reload, /v1/holds, /v1/holds/ID",
            )
        })
        .method_not_allowed_fallback(|| async {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "commands are sent with POST, questions with GET, and a hold is released with DELETE",
            )
        })
        .with_state(Desk { operator, who })
}

async fn view(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    answer(timeout(DONE_WITHIN, desk.operator.view(&id)).await)
}

async fn command(State(desk): State<Desk>, Path((id, command)): Path<(String, String)>, body: Body) -> Response {
    let said = match said(body).await {
        Ok(said) => said,
        Err(refusal) => return *refusal,
    };
    let wish = match (command.as_str(), said.digest) {
        ("close", None) => Wish::Close,
        ("retry", None) => Wish::Retry,
        ("deny", None) => Wish::Deny,
        ("cancel", None) => Wish::Cancel,
        ("approve", Some(digest)) => Wish::Approve(digest),
        ("approve", None) => {
            return error(StatusCode::BAD_REQUEST, "send the `digest` of what was shown: GET /v1/incidents/ID tells it");
        }
        ("close" | "retry" | "deny" | "cancel", Some(_)) => {
            return error(StatusCode::BAD_REQUEST, "`digest` belongs to approve alone");
        }
        _ => return error(StatusCode::NOT_FOUND, "there is no such command: close, retry, approve, deny, cancel"),
    };
    answer(timeout(DONE_WITHIN, desk.operator.command(&desk.who, &id, &wish, &said.reason)).await)
}

async fn halted(State(desk): State<Desk>) -> Response {
    answer(timeout(DONE_WITHIN, desk.operator.halted()).await)
}

async fn halt(State(desk): State<Desk>, body: Body) -> Response {
    match said(body).await {
        Ok(said) => {
            let halt = async {
                let halted = desk.operator.halt(&desk.who, &said.reason).await?;
                if said.cancel_running {
                    Ok(desk.operator.cancel_running(&desk.who, &said.reason, halted).await)
                } else {
                    Ok(halted)
                }
            };
            answer(timeout(DONE_WITHIN, halt).await)
        }
        Err(refusal) => *refusal,
    }
}

/// Everything that holds.
async fn holds(State(desk): State<Desk>) -> Response {
    answer(timeout(DONE_WITHIN, desk.operator.holds(false)).await)
}

/// And what has ended.
async fn all_holds(State(desk): State<Desk>) -> Response {
    answer(timeout(DONE_WITHIN, desk.operator.holds(true)).await)
}

async fn hold(State(desk): State<Desk>, body: Body) -> Response {
    match read::<Wanted>(body, "{\"matchers\": [\"...\"], \"until\": \"...\", \"reason\": \"...\"}").await {
        Ok(wanted) => answer(timeout(DONE_WITHIN, desk.operator.hold(&desk.who, &wanted)).await),
        Err(refusal) => *refusal,
    }
}

async fn release(State(desk): State<Desk>, Path(id): Path<String>, body: Body) -> Response {
    let_go(&desk, Some(id), body).await
}

async fn release_all(State(desk): State<Desk>, body: Body) -> Response {
    let_go(&desk, None, body).await
}

async fn let_go(desk: &Desk, id: Option<String>, body: Body) -> Response {
    match said(body).await {
        Ok(said) => answer(timeout(DONE_WITHIN, desk.operator.release(&desk.who, id, &said.reason)).await),
        Err(refusal) => *refusal,
    }
}

async fn resume(State(desk): State<Desk>, body: Body) -> Response {
    match said(body).await {
        Ok(said) => answer(timeout(DONE_WITHIN, desk.operator.resume(&desk.who, &said.reason)).await),
        Err(refusal) => *refusal,
    }
}

/// It has a deadline of its own, and goes on when whoever asked has left.
async fn reload(State(desk): State<Desk>) -> Response {
    match desk.operator.reload(&desk.who).await {
        Err(No::State(why)) => reply(StatusCode::CONFLICT, json!({ "error": why }).to_string()),
        done => answer(Ok(done)),
    }
}

/// What was sent, with its reason cleaned; or the answer to somebody who says nothing that can be used.
async fn said(body: Body) -> Result<Said, Box<Response>> {
    let said: Said = read(body, "{\"reason\": \"...\"}").await?;
    match super::reason(&said.reason) {
        Ok(reason) => Ok(Said { reason, ..said }),
        Err(why) => Err(Box::new(error(StatusCode::BAD_REQUEST, &why))),
    }
}

async fn read<T: DeserializeOwned>(body: Body, expected: &str) -> Result<T, Box<Response>> {
    let bytes = match timeout(BODY_WITHIN, axum::body::to_bytes(body, MOST_BYTES)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(Box::new(error(StatusCode::PAYLOAD_TOO_LARGE, "the body broke off, or is above 16 KiB"))),
        Err(_) => return Err(Box::new(error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))),
    };
    serde_json::from_slice(&bytes)
        .map_err(|why| Box::new(error(StatusCode::BAD_REQUEST, &format!("send {expected} as JSON: {why}"))))
}

fn answer<T: Serialize>(done: Result<Result<T, No>, tokio::time::error::Elapsed>) -> Response {
    match done {
        Ok(Ok(done)) => reply(StatusCode::OK, serde_json::to_string(&done).unwrap_or_default()),
        Ok(Err(no)) => {
            let status = match &no {
                No::NoSuch(_) => StatusCode::NOT_FOUND,
                No::Bad(_) => StatusCode::BAD_REQUEST,
                No::State(_) => StatusCode::CONFLICT,
                No::Forbidden(_) => StatusCode::FORBIDDEN,
                No::Broken(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            error(status, &no.to_string())
        }
        Err(_) => error(
            StatusCode::GATEWAY_TIMEOUT,
            "it is not known whether it was written: look at the incident, or for the file `HALT` in the data folder",
        ),
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    reply(status, json!({ "error": clean(message, 1000) }).to_string())
}

fn reply(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}
