//! The two doors that others knock on: `POST /alert` and `POST /api/v2/alerts`.
//!
//! 2xx is said only after [`Hear`] has returned, which is when the alerts are on disk; until then the sender has to keep them. What
//! cannot be kept now is a 503, which is repeated, and what can never be right a 4xx, which is not. A redirect would be
//! followed as a GET without a body and lose the alert, so there is none. Absent on purpose: TLS and compression (a proxy's
//! business), and everything that moves Paramedic, which goes over the operator's socket.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::auth::{self, AuthError, Gate};
use super::message::{Heard, Refused};
use super::{post, serve, webhook};
use crate::alert::{Alert, Via};
use crate::clock::Time;
use crate::shutdown::Shutdown;
use crate::telemetry::clean;

/// The largest body. 5000 alerts are about 10 MB; a 413 would be repeated by Alertmanager for ever, so this is far above.
pub const MOST_BYTES: usize = 32 << 20;
/// Bodies that are held at once, all together, in MiB.
const ROOM_MIB: u32 = 128;
/// Bodies above this size are parsed away from the threads that serve everybody.
const PARSE_ASIDE_BYTES: usize = 256 << 10;
/// What is read and thrown away of a body that is refused, so that the sender gets to read the answer.
const MOST_DISCARDED_BYTES: usize = 64 << 20;
/// When a sender should come again.
const RETRY_AFTER_SECONDS: &str = "5";

/// Makes alerts durable. `Ok` is the acknowledgement.
pub type Hear = Arc<dyn Fn(Via, Vec<Alert>) -> BoxFuture<'static, Result<(), HearError>> + Send + Sync>;

/// Says whether alerts can be taken in, with what else a person should know then; or why not.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<String>, String>> + Send + Sync>;

/// Why alerts could not be made durable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HearError(pub String);

/// How long is waited for others.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of a request, and for the next request on an idle connection.
    pub head: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For the alerts to be on disk.
    pub hear: Duration,
    /// For requests under way when everything is to stop.
    pub stop: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self { head: half_a_minute, body: half_a_minute, hear: half_a_minute, stop: Duration::from_secs(10) }
    }
}

/// The doors, before they are opened.
pub struct Doors {
    gate: Gate,
    hear: Hear,
    ready: Ready,
    patience: Patience,
    /// One permit is one MiB of a body.
    room: Semaphore,
    beside: Router,
}

/// Which door a message came through; decides what is understood and how it is answered.
#[derive(Clone, Copy, Debug)]
enum Door {
    Webhook,
    Post,
}

impl Doors {
    /// Doors with this gate in front of them.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub fn new(settings: &auth::Settings, hear: Hear) -> Result<Self, AuthError> {
        let room = Semaphore::new(usize::try_from(ROOM_MIB).unwrap_or(usize::MAX));
        Ok(Self {
            gate: Gate::new(settings)?,
            hear,
            ready: Arc::new(|| Box::pin(async { Ok(Vec::new()) })),
            patience: Patience::default(),
            room,
            beside: Router::new(),
        })
    }

    /// Other routes to serve on this port.
    #[must_use]
    pub fn beside(mut self, routes: Router) -> Self {
        self.beside = self.beside.merge(routes);
        self
    }

    /// What `/-/ready` asks.
    #[must_use]
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = ready;
        self
    }

    /// Other deadlines than the usual ones.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The routes of the doors and of the health checks. Whatever else is served on this port is merged with them;
    /// unknown paths are answered here.
    pub fn router(mut self) -> Router {
        let beside = std::mem::take(&mut self.beside);
        let ready = Arc::clone(&self.ready);
        let doors = Arc::new(self);
        let door = |door: Door| {
            let doors = Arc::clone(&doors);
            only("POST", post(move |request: Request| async move { doors.take(door, request).await }))
        };
        Router::new()
            .route("/alert", door(Door::Webhook))
            .route("/api/v2/alerts", door(Door::Post))
            // What moves Paramedic is said elsewhere, whatever token is shown here.
            .route("/v1/{*rest}", only_the_socket())
            .route("/api/v1/incidents/{id}/{command}", only_the_socket())
            .route("/api/v1/halt", only_the_socket())
            .route("/api/v1/resume", only_the_socket())
            .route("/-/healthy", only("GET, HEAD", get(|| async { plain(StatusCode::OK, "OK") })))
            .route("/-/ready", only("GET, HEAD", get(answer_ready).with_state(ready)))
            .merge(beside)
            .fallback(|| async {
                error(StatusCode::NOT_FOUND, "there is nothing here: alerts are sent to /alert or /api/v2/alerts")
            })
    }

    /// Serves on this socket until everything is to stop.
    ///
    /// # Errors
    /// When the socket is of no use.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> std::io::Result<()> {
        let patience = self.patience;
        serve::run(self.router(), listener, patience, shutdown).await
    }

    /// One message, from its head to its answer.
    async fn take(&self, door: Door, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let deadline = Instant::now() + self.patience.body;
        if let Err(refusal) = self.admit(&head.headers) {
            discard(body, deadline).await;
            return *refusal;
        }
        let announced = announced(&head.headers);
        if announced.is_some_and(|bytes| bytes > MOST_BYTES) {
            discard(body, deadline).await;
            return too_large();
        }
        // Without a length it may become as large as any.
        let Ok(room) = timeout_at(deadline, self.room_for(announced.unwrap_or(MOST_BYTES))).await else {
            return later("too many large messages at once");
        };
        let bytes = match read(body, announced, deadline).await {
            Ok(bytes) => bytes,
            Err(refusal) => return *refusal,
        };
        let parsed = parse(door, bytes).await;
        drop(room);
        self.hear(door, parsed).await
    }

    /// Is this a sender, and one who may send?
    fn admit(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        // Every browser says where a foreign page's request comes from, no sender of alerts does: a page that somebody
        // happens to look at on this machine is not to raise alerts.
        if headers.contains_key(ORIGIN) {
            return Err(Box::new(error(StatusCode::FORBIDDEN, "alerts are not taken from browsers")));
        }
        if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Box::new(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body without compression")));
        }
        guard(&self.gate, headers)
    }

    async fn room_for(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let mib = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(ROOM_MIB).clamp(1, ROOM_MIB);
        self.room.acquire_many(mib).await.ok()
    }

    /// Makes what is right durable, then says what is wrong.
    async fn hear(&self, door: Door, parsed: Result<Heard, Refused>) -> Response {
        let mut heard = match parsed {
            Ok(heard) => heard,
            Err(Refused::TooMany) => return complain(door, StatusCode::PAYLOAD_TOO_LARGE, &Refused::TooMany.to_string()),
            Err(why) => return complain(door, StatusCode::BAD_REQUEST, &why.to_string()),
        };
        let via = match door {
            Door::Webhook => Via::Webhook,
            Door::Post => Via::Post,
        };
        let alerts = std::mem::take(&mut heard.alerts);
        if !alerts.is_empty() {
            match timeout(self.patience.hear, (self.hear)(via, alerts)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    tracing::error!(error = %why, %via, "alerts could not be written down; the sender has to come again");
                    return later("the alerts could not be made durable");
                }
                Err(_) => {
                    tracing::error!(%via, "alerts were not written down in time; the sender has to come again");
                    return later("the alerts were not durable in time");
                }
            }
        }
        match heard.complaint() {
            Some(complaint) => complain(door, StatusCode::BAD_REQUEST, &complaint),
            None => plain(StatusCode::OK, ""),
        }
    }
}

/// Does this request carry the token, where one is asked for?
pub(crate) fn guard(gate: &Gate, headers: &HeaderMap) -> Result<(), Box<Response>> {
    match gate.admits(headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let refusal = error(StatusCode::UNAUTHORIZED, "send the token of auth.token_file: `Authorization: Bearer <token>`");
            Err(Box::new(with(refusal, WWW_AUTHENTICATE, "Bearer realm=\"paramedic\"")))
        }
        Err(why) => {
            tracing::error!(error = %why, "senders cannot be told apart; alerts are refused until the token can be read");
            Err(Box::new(later("the token cannot be read")))
        }
    }
}

async fn answer_ready(State(ready): State<Ready>) -> Response {
    match ready().await {
        // One line each, behind the word that everybody looks for.
        Ok(notes) => {
            let text = std::iter::once("OK".to_owned()).chain(notes).collect::<Vec<_>>().join("\n");
            answer(StatusCode::OK, "text/plain; charset=utf-8", text)
        }
        Err(why) => with(error(StatusCode::SERVICE_UNAVAILABLE, &why), RETRY_AFTER, RETRY_AFTER_SECONDS),
    }
}

/// Commands of people, which no token of a sender can ever give.
fn only_the_socket<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    post(moves_nothing)
        .fallback(|| async { error(StatusCode::NOT_FOUND, "there is nothing here: alerts are sent to /alert or /api/v2/alerts") })
}

/// The answer to a command that came through a door.
pub(crate) async fn moves_nothing(body: Body) -> Response {
    let message = "alerts are taken in here, and what is known is read: a sender's token moves nothing. Commands go over the operator's socket \
                   of the server's machine (`operator.socket`, else operator.sock in `data`): see `paramedic incident --help`, `paramedic halt`, `paramedic resume`";
    discard(body, Instant::now() + Patience::default().body).await;
    error(StatusCode::FORBIDDEN, message)
}

/// Other methods are refused with the ones there are.
pub(crate) fn only<S: Clone + Send + Sync + 'static>(methods: &'static str, route: MethodRouter<S>) -> MethodRouter<S> {
    let message = format!("only {methods} is possible here");
    route.fallback(move || async move { with(error(StatusCode::METHOD_NOT_ALLOWED, &message), ALLOW, methods) })
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body, or the answer to a sender who does not get it across.
async fn read(body: Body, announced: Option<usize>, deadline: Instant) -> Result<Vec<u8>, Box<Response>> {
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(MOST_BYTES));
    let mut stream = body.into_data_stream();
    loop {
        match timeout_at(deadline, stream.next()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(Ok(chunk))) if bytes.len() + chunk.len() <= MOST_BYTES => bytes.extend_from_slice(&chunk),
            Ok(Some(Ok(_))) => {
                discard(Body::from_stream(stream), deadline).await;
                return Err(Box::new(too_large()));
            }
            Ok(Some(Err(_))) => return Err(Box::new(error(StatusCode::BAD_REQUEST, "the body broke off"))),
            Err(_) => return Err(Box::new(error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))),
        }
    }
}

/// Reads a refused body and forgets it: a connection that is closed with unread data resets, and the answer is lost.
async fn discard(body: Body, deadline: Instant) {
    let mut stream = body.into_data_stream();
    let mut bytes = 0;
    while let Ok(Some(Ok(chunk))) = timeout_at(deadline, stream.next()).await {
        bytes += chunk.len();
        if bytes > MOST_DISCARDED_BYTES {
            return;
        }
    }
}

async fn parse(door: Door, bytes: Vec<u8>) -> Result<Heard, Refused> {
    let (now, bytes_len) = (Time::now(), bytes.len());
    let parse = move || match door {
        Door::Webhook => webhook::parse(&bytes, now),
        Door::Post => post::parse(&bytes, now),
    };
    if bytes_len <= PARSE_ASIDE_BYTES {
        return parse();
    }
    // A lost thread is not the sender's fault, and not a reason to fall over.
    tokio::task::spawn_blocking(parse)
        .await
        .unwrap_or_else(|_| Err(Refused::NotAMessage("the message could not be parsed".to_owned())))
}

/// The complaint as the sender of this door expects it: Alertmanager answers `/api/v2/alerts` with a JSON text.
fn complain(door: Door, status: StatusCode, message: &str) -> Response {
    tracing::warn!(?door, status = status.as_u16(), message = %clean(message, 300), "a message was refused, at least in part");
    match door {
        Door::Webhook => error(status, message),
        Door::Post => answer(status, "application/json", json!(clean(message, 500)).to_string()),
    }
}

fn too_large() -> Response {
    tracing::warn!(most_bytes = MOST_BYTES, "a message was refused: it is too large");
    error(StatusCode::PAYLOAD_TOO_LARGE, "a message may be at most 32 MiB: set `max_alerts` at the sender")
}

pub(crate) fn later(message: &str) -> Response {
    with(error(StatusCode::SERVICE_UNAVAILABLE, message), RETRY_AFTER, RETRY_AFTER_SECONDS)
}

/// A short error: the whole of it ends up in the sender's log.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    answer(status, "application/json", json!({ "error": clean(message, 500) }).to_string())
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    answer(status, "text/plain; charset=utf-8", text.to_owned())
}

/// An answer that nobody keeps.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    let headers = [(axum::http::header::CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

fn with(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
