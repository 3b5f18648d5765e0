//! The JSON API: what Paramedic sees, for programs. It only reads; what moves Paramedic goes over the operator's socket.
//!
//! Whoever may send alerts may read here, and nobody else: with `auth.token_file` the same token is asked for.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use crate::alert::Via;
use crate::clock::Time;
use crate::look::presence::Presence;
use crate::look::sight::Sight;
use crate::receive::auth::Gate;
use crate::receive::http::{answer, guard, only};
use crate::telemetry::clean;

/// What the API shows.
#[derive(Debug)]
pub struct Api {
    /// Who may read.
    pub gate: Gate,
    /// The monitoring systems.
    pub sight: Sight,
    /// The Docker engines.
    pub engines: Presence,
}

/// One thing that is looked at.
#[derive(Debug, Serialize)]
struct Detector {
    name: String,
    kind: &'static str,
    /// Whether it answered last; `null`: it was not asked yet.
    reachable: Option<bool>,
    /// Since when that is so, RFC 3339.
    since: Option<String>,
    /// What went wrong last; kept while it answers again.
    last_error: Option<LastError>,
}

#[derive(Debug, Serialize)]
struct LastError {
    at: String,
    message: String,
}

impl Api {
    /// Its routes, to be served beside the doors.
    pub fn router(self) -> Router {
        let show = get(|State(api): State<Arc<Self>>, headers: HeaderMap| async move { api.show_detectors(&headers) });
        Router::new().route("/api/v1/detectors", only("GET, HEAD", show)).with_state(Arc::new(self))
    }

    fn show_detectors(&self, headers: &HeaderMap) -> Response {
        if let Err(refusal) = guard(&self.gate, headers) {
            return *refusal;
        }
        match serde_json::to_string(&self.detectors()) {
            Ok(body) => answer(StatusCode::OK, "application/json", body),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", error.to_string()),
        }
    }

    fn detectors(&self) -> Vec<Detector> {
        let sources = self.sight.sources().into_iter().map(|s| {
            let kind = if s.via == Via::Alertmanager { "alertmanager" } else { "prometheus" };
            detector(s.name, kind, s.reachable, s.since, s.last_error)
        });
        let engines =
            self.engines.views().into_iter().map(|(host, view)| {
                detector(format!("Docker host `{host}`"), "docker", view.reachable, view.since, view.last_error)
            });
        sources.chain(engines).collect()
    }
}

fn detector(
    name: String,
    kind: &'static str,
    reachable: bool,
    since: Option<Time>,
    last_error: Option<(Time, String)>,
) -> Detector {
    let last_error = last_error.map(|(at, message)| LastError { at: at.to_string(), message: clean(&message, 500) });
    Detector { name, kind, reachable: since.map(|_| reachable), since: since.map(|t| t.to_string()), last_error }
}
