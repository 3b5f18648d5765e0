//! Paramedic seen from outside: the JSON API, `/metrics`, and what `/-/ready` says. It only reads; what moves Paramedic goes over the
//! operator's socket.
//!
//! Whoever may send alerts may read here, and nobody else: with `auth.token_file` the same token is asked for. The journal serves the
//! healer first: few requests read it at once, each in small pieces and with a deadline, and what is counted is looked at once a second
//! however many ask.

mod incidents;
mod metrics;
mod policies;
mod query;
mod tally;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::alert::Via;
use crate::clock::Time;
use crate::decide::sandbox::WASMTIME;
use crate::halt::{self, Halt};
use crate::hold::{Hold, Holds};
use crate::journal::{Journal, JournalError, Vitals};
use crate::look::presence::Presence;
use crate::look::sight::Sight;
use crate::notify::Told;
use crate::policy::brakes::Brakes;
use crate::policy::present::{Present, Taken};
use crate::receive::auth::Gate;
use crate::receive::http::{answer, error, guard, later, moves_nothing, only};
use crate::receive::intake::Intake;
use crate::shutdown::Shutdown;
use crate::telemetry::clean;
pub use incidents::Summary;
use metrics::Metrics;
pub use policies::Shown;
use query::{Asked, StoryAsked};
use tally::{Standing, Tally};

/// For a whole answer; Prometheus itself gives up after 10 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// For one's turn.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// Requests that read the journal at once.
const READ_AT_ONCE: usize = 2;
/// For so long one look is good for all who ask.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often the journal is followed when nobody asks.
const FOLLOW: Duration = Duration::from_secs(2);
/// So many holds are shown.
const MOST_HOLDS: usize = 100;
/// For a file to be read; a disk may hang.
const FILE_WITHIN: Duration = Duration::from_secs(2);

/// What is looked at.
#[derive(Debug)]
pub struct Seen {
    /// Who may read.
    pub gate: Gate,
    /// The record.
    pub journal: Journal,
    /// Where alerts are taken in.
    pub intake: Arc<Intake>,
    /// The monitoring systems.
    pub sight: Sight,
    /// The Docker engines.
    pub engines: Presence,
    /// While this file exists nothing is done.
    pub halt_file: PathBuf,
    /// What people want left alone.
    pub holds: Holds,
    /// The policies as they are loaded.
    pub policies: Present<Vec<Shown>>,
    /// Whether they are what the files say.
    pub files: Present<Taken>,
    /// The brakes that count for all of them together.
    pub brakes: Brakes,
    /// What came of telling people.
    pub told: Told,
}

/// Shows it.
#[derive(Debug)]
pub struct Api {
    seen: Seen,
    started: Time,
    metrics: Metrics,
    /// Held by whoever looks; the others wait for the same answer.
    tally: Mutex<(Tally, LastLook)>,
    reading: Semaphore,
}

/// When it was last looked, and what was seen.
type LastLook = Option<(Instant, Arc<Look>)>;

/// How it is at one moment.
#[derive(Debug)]
struct Look {
    standing: Standing,
    vitals: Result<Vitals, JournalError>,
    ready: Result<(), String>,
    halted: Option<Halt>,
    /// Those that can be read, and how many cannot: each of these holds everything.
    holds: (Vec<Hold>, usize),
    detectors: Vec<Detector>,
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

/// Everything at one glance.
#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    wasmtime: &'static str,
    started_at: String,
    /// Whether alerts can be made durable, or why not.
    ready: bool,
    reason: Option<String>,
    /// What a person should know although it is ready.
    notes: Vec<String>,
    halted: Option<&'a Halt>,
    /// What people want left alone, at most a hundred of them.
    holds: Vec<&'a Hold>,
    /// Files of holds that cannot be read: each holds everything.
    broken_holds: usize,
    incidents: BTreeMap<&'static str, usize>,
    held: BTreeMap<String, usize>,
    policies: BTreeMap<&'static str, usize>,
    /// Whether they are what the files say.
    reload: &'a Taken,
    journal: Option<Vitals>,
}

/// An answer other than what was asked for.
type Refusal = Box<Response>;

impl Api {
    /// Nothing is counted until [`Api::follow`] runs or somebody asks.
    pub fn new(seen: Seen) -> Arc<Self> {
        let (tally, started) = (Tally::default(), Time::now());
        let metrics = Metrics::new(&tally.counts, &seen, started);
        Arc::new(Self { seen, started, metrics, tally: Mutex::new((tally, None)), reading: Semaphore::new(READ_AT_ONCE) })
    }

    /// Its routes, to be served beside the doors.
    pub fn router(self: &Arc<Self>) -> Router {
        let may = |headers: &HeaderMap, api: &Self| guard(&api.seen.gate, headers);
        let detectors = get(async move |State(api): State<Arc<Self>>, headers: HeaderMap, RawQuery(query): RawQuery| {
            reply(may(&headers, &api).and_then(|()| plainly(query, &api.detectors())))
        });
        let policies = get(async move |State(api): State<Arc<Self>>, headers: HeaderMap, RawQuery(query): RawQuery| {
            reply(may(&headers, &api).and_then(|()| {
                plainly(query, &serde_json::json!({ "policies": *api.seen.policies.now(), "brakes": api.seen.brakes }))
            }))
        });
        let status = get(async move |State(api): State<Arc<Self>>, headers: HeaderMap| match may(&headers, &api) {
            Ok(()) => reply(api.status().await),
            Err(refusal) => *refusal,
        });
        let metrics = get(async move |State(api): State<Arc<Self>>, headers: HeaderMap| match may(&headers, &api) {
            Ok(()) => reply(api.metrics().await),
            Err(refusal) => *refusal,
        });
        let list = get(async move |State(api): State<Arc<Self>>, headers: HeaderMap, RawQuery(query): RawQuery| {
            match may(&headers, &api) {
                Ok(()) => reply(api.list(query.as_deref()).await),
                Err(refusal) => *refusal,
            }
        });
        let story = get(
            async move |State(api): State<Arc<Self>>, headers: HeaderMap, Path(id): Path<String>, RawQuery(query): RawQuery| {
                match may(&headers, &api) {
                    Ok(()) => reply(api.story(&id, query.as_deref()).await),
                    Err(refusal) => *refusal,
                }
            },
        );
        Router::new()
            .route("/metrics", only("GET, HEAD", metrics))
            .route("/api/v1/detectors", only("GET, HEAD", detectors))
            .route("/api/v1/policies", only("GET, HEAD", policies))
            .route("/api/v1/status", only("GET, HEAD", status))
            .route("/api/v1/incidents", only("GET, HEAD", list))
            .route("/api/v1/incidents/{id}", only("GET, HEAD", story.post(moves_nothing)))
            .with_state(Arc::clone(self))
    }

    /// Follows the journal until everything is to stop, so that whoever asks finds it counted.
    pub async fn follow(&self, shutdown: &Shutdown) {
        loop {
            let mut tally = self.tally.lock().await;
            let followed = tokio::select! {
                followed = tally.0.catch_up(&self.seen.journal) => followed,
                () = shutdown.requested() => return,
            };
            drop(tally);
            if let Err(error) = followed {
                // Whoever appends says so loudly; here only numbers stand still.
                tracing::debug!(%error, "What was written cannot be counted now");
            }
            tokio::select! { () = tokio::time::sleep(FOLLOW) => {}, () = shutdown.requested() => return }
        }
    }

    /// Can alerts be taken in? With what a person should know all the same.
    ///
    /// # Errors
    /// Why not.
    pub async fn ready(&self) -> Result<Vec<String>, String> {
        self.seen.intake.ready().await?;
        let mut notes = notes(self.halted().await.as_ref(), &self.detectors(), self.seen.policies.now().is_empty());
        notes.extend(self.seen.files.now().notes());
        Ok(notes)
    }

    async fn metrics(&self) -> Result<Response, Refusal> {
        let look = self.look().await?;
        Ok(answer(StatusCode::OK, metrics::KIND, self.metrics.text(&look, &self.seen.policies.now(), &self.seen.files.now())))
    }

    async fn status(&self) -> Result<Response, Refusal> {
        let look = self.look().await?;
        let mut policies = BTreeMap::new();
        self.seen.policies.now().iter().for_each(|policy| *policies.entry(policy.mode()).or_default() += 1);
        let files = self.seen.files.now();
        let mut notes = notes(look.halted.as_ref(), &look.detectors, self.seen.policies.now().is_empty());
        notes.extend(files.notes());
        json(&Status {
            version: env!("CARGO_PKG_VERSION"),
            wasmtime: WASMTIME,
            started_at: self.started.to_string(),
            ready: look.ready.is_ok(),
            reason: look.ready.as_ref().err().map(|why| clean(why, 500)),
            notes,
            halted: look.halted.as_ref(),
            holds: look.holds.0.iter().take(MOST_HOLDS).collect(),
            broken_holds: look.holds.1,
            incidents: look.standing.states.iter().copied().collect(),
            held: look.standing.held.iter().map(|(rule, count)| (rule.word(), *count)).collect(),
            policies,
            reload: &files,
            journal: look.vitals.as_ref().ok().copied(),
        })
    }

    /// How it is now, or was less than a second ago.
    async fn look(&self) -> Result<Arc<Look>, Refusal> {
        let looked = timeout(ANSWER_WITHIN, async {
            let mut tally = self.tally.lock().await;
            if let Some((at, look)) = &tally.1
                && at.elapsed() < LOOK_AGAIN
            {
                return Some(Arc::clone(look));
            }
            // A journal that cannot be read says so by its own gauge; the rest is told all the same.
            let followed = tally.0.catch_up(&self.seen.journal).await;
            if !tally.0.is_ready() && followed.is_err() {
                return None;
            }
            let look = Arc::new(self.look_anew(tally.0.standing()).await);
            tally.1 = Some((Instant::now(), Arc::clone(&look)));
            Some(look)
        });
        let busy = "the open incidents are still being counted, or the journal does not answer: ask again";
        looked.await.ok().flatten().ok_or_else(|| Box::new(later(busy)))
    }

    async fn look_anew(&self, standing: Standing) -> Look {
        let (journal, intake) = (&self.seen.journal, &self.seen.intake);
        let (vitals, ready, halted, holds) = tokio::join!(journal.vitals(), intake.ready(), self.halted(), self.holds());
        Look { standing, vitals, ready, halted, holds, detectors: self.detectors() }
    }

    /// What cannot be found out counts as halted, as it does for every action.
    async fn halted(&self) -> Option<Halt> {
        let file = self.seen.halt_file.clone();
        let read = timeout(FILE_WITHIN, tokio::task::spawn_blocking(move || halt::read(&file))).await;
        let unknown = |why: String| Some(Halt { reason: Some(format!("it cannot be found out: {why}")), ..Halt::default() });
        match read {
            Ok(Ok(Ok(halt))) => halt,
            Ok(Ok(Err(error))) => unknown(error.to_string()),
            Ok(Err(failure)) => unknown(failure.to_string()),
            Err(_) => unknown("the disk of the data folder does not answer".to_owned()),
        }
    }

    /// A folder that cannot be read counts as one broken hold, as it does for every action.
    async fn holds(&self) -> (Vec<Hold>, usize) {
        let holds = self.seen.holds.clone();
        let read = timeout(FILE_WITHIN, tokio::task::spawn_blocking(move || holds.standing(Time::now()))).await;
        match read {
            Ok(Ok(Ok((broken, holds)))) => (holds, broken.len()),
            _ => (Vec::new(), 1),
        }
    }

    async fn list(&self, query: Option<&str>) -> Result<Response, Refusal> {
        let asked = Asked::parse(query).map_err(bad)?;
        json(&self.read(incidents::list(&self.seen.journal, &asked)).await?)
    }

    async fn story(&self, id: &str, query: Option<&str>) -> Result<Response, Refusal> {
        let asked = StoryAsked::parse(query).map_err(bad)?;
        let journal = &self.seen.journal;
        let found = self.read(async { incidents::story(journal, &journal.find(id).await?, &asked).await }).await?;
        let gone = || Box::new(error(StatusCode::NOT_FOUND, "there is no such incident: it was removed for its age"));
        json(&found.ok_or_else(gone)?)
    }

    /// Reads the journal when it is one's turn.
    async fn read<T>(&self, read: impl Future<Output = Result<T, JournalError>>) -> Result<T, Refusal> {
        let busy = || Box::new(later("too many ask at once: ask again, or for less"));
        let Ok(Ok(_turn)) = timeout(TURN_WITHIN, self.reading.acquire()).await else { return Err(busy()) };
        match timeout(ANSWER_WITHIN, read).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(JournalError::NoSuch(why))) => Err(Box::new(error(StatusCode::NOT_FOUND, &why))),
            Ok(Err(why)) => Err(Box::new(later(&why.to_string()))),
            Err(_) => Err(busy()),
        }
    }

    fn detectors(&self) -> Vec<Detector> {
        let sources = self.seen.sight.sources().into_iter().map(|s| {
            let kind = if s.via == Via::Alertmanager { "alertmanager" } else { "prometheus" };
            detector(s.name, kind, s.reachable, s.since, s.last_error)
        });
        let engines =
            self.seen.engines.views().into_iter().map(|(host, view)| {
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

/// What a person should know although alerts are taken in, one sentence each.
fn notes(halted: Option<&Halt>, detectors: &[Detector], no_policies: bool) -> Vec<String> {
    let halted = halted.map(|halt| format!("everything is {halt}; `paramedic resume --reason ...` goes on"));
    let lost = detectors.iter().filter(|detector| detector.reachable == Some(false));
    let lost = lost.map(|detector| {
        let why = detector.last_error.as_ref().map_or_else(String::new, |last| format!(": {}", last.message));
        let since = detector.since.as_deref().unwrap_or("the start");
        format!("{} has not answered since {since}{why}", clean(&detector.name, 200))
    });
    let idle = no_policies.then(|| "no policy is loaded: alerts are written down, and nothing is done about them".to_owned());
    halted.into_iter().chain(lost).chain(idle).collect()
}

fn plainly(query: Option<String>, value: &impl Serialize) -> Result<Response, Refusal> {
    query::nothing(query.as_deref()).map_err(bad)?;
    json(value)
}

fn json(value: &impl Serialize) -> Result<Response, Refusal> {
    match serde_json::to_string(value) {
        Ok(body) => Ok(answer(StatusCode::OK, "application/json", body)),
        Err(why) => Err(Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()))),
    }
}

// Takes it by value to fit `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn bad(why: String) -> Refusal {
    Box::new(error(StatusCode::BAD_REQUEST, &why))
}

fn reply(answered: Result<Response, Refusal>) -> Response {
    answered.unwrap_or_else(|refusal| *refusal)
}
