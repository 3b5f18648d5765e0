//! A loaded plugin: who it is, and how it is asked.
//!
//! Each question runs in a sandbox of its own. Whatever goes wrong in it ends as a [`Failure`] of this one question; the next
//! question, to this plugin or to another, knows nothing of it.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use serde::Serialize;
use serde_json::Value;
use wasmtime::component::ResourceTableError;
use wasmtime::{Store, Trap};

use super::bindings::{self, PolicyPre};
use super::guest::{Guest, Over, Overstep, TimeUp};
use super::load::{AT_LOAD, plainly};
use super::lookup::Record;
use super::question::{Brief, Failure, Ruling, Said, weigh};
use super::sandbox::{Limits, MAX_MEMORY, Sandbox};
use crate::action::Kind;
use crate::clock::print_duration;
use crate::incident::LogLine;
use crate::telemetry::clean;

/// How long a question waits for a free sandbox.
const PLACE_WITHIN: Duration = Duration::from_secs(5);
/// How much later than its own clock a plugin is given up.
pub(super) const GRACE: Duration = Duration::from_millis(10);
/// Bytes that one instruction moves in some milliseconds. With more memory a plugin begins in the slow lane: nothing interrupts one
/// instruction.
const QUICKLY_MOVED: u64 = 64 << 20;
/// Messages about settings that are shown at most.
const MAX_MESSAGES: usize = 20;

/// What a plugin says about itself, checked, cleaned and bounded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line.
    pub description: String,
    /// The kinds of action it may ever propose; one of the two keys that an action needs.
    pub actions: Vec<Kind>,
    /// What it may ever look at, in the words of [`Lookup::WORDS`](crate::incident::lookup::Lookup::WORDS); one of the two keys that a lookup needs.
    pub lookups: Vec<&'static str>,
    /// JSON Schema of the policy's settings; `None` if it takes none.
    pub settings_schema: Option<Value>,
}

/// Who can be asked: a loaded plugin, or what stands in for one in a simulation.
pub trait Judge: std::fmt::Debug + Send + Sync {
    /// SHA-256 of its file, in hex.
    fn digest(&self) -> &str;

    /// What it says about itself.
    fn manifest(&self) -> &Manifest;

    /// Asks it one question. Always answers.
    fn decide<'a>(&'a self, brief: &'a Brief, limits: &'a Limits) -> BoxFuture<'a, Ruling>;
}

impl Judge for Plugin {
    fn digest(&self) -> &str {
        self.digest()
    }

    fn manifest(&self) -> &Manifest {
        self.manifest()
    }

    fn decide<'a>(&'a self, brief: &'a Brief, limits: &'a Limits) -> BoxFuture<'a, Ruling> {
        self.decide(brief, limits).boxed()
    }
}

/// A plugin that was loaded, checked, and can be asked.
pub struct Plugin {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) pre: PolicyPre<Guest>,
    pub(super) digest: String,
    pub(super) size: usize,
    pub(super) imports: Vec<String>,
    pub(super) manifest: Manifest,
    pub(super) schema: Option<Arc<jsonschema::Validator>>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("digest", &self.digest).field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

impl Plugin {
    /// SHA-256 of its file, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Size of its file, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The interfaces it imports, sorted. What is not among them it cannot express.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// What is wrong with a policy's settings for this plugin, each message with its place; empty when nothing is. First the schema
    /// is asked, then the plugin itself.
    pub async fn check_settings(&self, settings: &Value) -> Vec<String> {
        let wrong = self.against_schema(settings).await;
        if wrong.is_empty() { self.own_check(settings).await.err().into_iter().collect() } else { wrong }
    }

    async fn own_check(&self, settings: &Value) -> Result<(), String> {
        let text = if settings.is_null() { "{}".to_owned() } else { settings.to_string() };
        let pre = self.pre.clone();
        let run = move |mut store: Store<Guest>| {
            async move {
                let started = pre.instantiate_async(&mut store).await;
                let checked = match started {
                    Ok(policy) => policy.paramedic_policy_lifecycle().call_check(&mut store, &text).await,
                    Err(error) => Err(error),
                };
                checked.map_err(|error| explain(&error, store.data()))
            }
            .boxed()
        };
        match self.sandbox.at_load(run).await {
            Ok(Ok(answer)) => answer.map_err(|why| clean(why.trim(), 1000)),
            Err(busy @ Failure::Busy(_)) => Err(busy.to_string()),
            Ok(Err(failure)) | Err(failure) => Err(format!("asked to check them, it failed: {}", plainly(&failure))),
        }
    }

    async fn against_schema(&self, settings: &Value) -> Vec<String> {
        let none = Value::Object(serde_json::Map::new());
        let settings = if settings.is_null() { &none } else { settings };
        let Some(schema) = &self.schema else {
            return if settings == &none {
                Vec::new()
            } else {
                vec![format!("the plugin {} takes no settings", self.manifest.name)]
            };
        };
        // The schema is a plugin's own, so checking with it must not hold up whoever loads policies.
        let (schema, settings, written) = (schema.clone(), settings.clone(), self.manifest.settings_schema.clone());
        let check = tokio::task::spawn_blocking(move || {
            let message = |error: jsonschema::ValidationError<'_>| {
                let place = error.instance_path().to_string();
                let own = written.as_ref().and_then(|schema| own_words(schema, error.schema_path().as_str()));
                let said = own.map_or_else(|| in_words(&error), str::to_owned);
                clean(&if place.is_empty() { said } else { format!("{place}: {said}") }, 600)
            };
            schema.iter_errors(&settings).take(MAX_MESSAGES).map(message).collect()
        });
        match tokio::time::timeout(AT_LOAD.deadline, check).await {
            Ok(Ok(messages)) => messages,
            Ok(Err(crashed)) => vec![clean(&format!("the plugin's schema cannot be used: {crashed}"), 300)],
            Err(_) => {
                vec![format!("checking them with the plugin's schema takes longer than {}", print_duration(AT_LOAD.deadline))]
            }
        }
    }

    /// Asks the plugin one question in a fresh sandbox. Always answers, within the deadline and the wait for a free sandbox.
    pub async fn decide(&self, brief: &Brief, limits: &Limits) -> Ruling {
        let Some(place) = self.sandbox.place(PLACE_WITHIN).await else {
            return Ruling { decision: Err(Failure::Busy(PLACE_WITHIN)), log: Vec::new(), lookups: Vec::new(), micros: 0 };
        };
        let began = Instant::now();
        let limits = Limits { memory: limits.memory.min(MAX_MEMORY), ..limits.clone() };
        let store = self.sandbox.store(Some(brief.clone()), &self.manifest.lookups, &limits);
        let (notes, record, slow) = (store.data().notes.clone(), store.data().record.clone(), store.data().slow.clone());
        if limits.memory > QUICKLY_MOVED {
            let _first = slow.set(tokio::runtime::Handle::current());
        }
        let pre = self.pre.clone();
        // The place is free again when the sandbox is gone, and not before, even if nobody waits for it any longer: what stands first goes first.
        let held = (store, place);
        let call = async move {
            let mut held = held;
            call(&pre, &mut held.0).await
        };
        let mut asking = pin!(self.sandbox.slow_lane.run(&slow, call.boxed()));
        let said = loop {
            let due = due(began, &limits, &record);
            match tokio::time::timeout_at(due.into(), &mut asking).await {
                Ok(Some(said)) => break said,
                Ok(None) => break Err(Failure::NoSandbox("its thread crashed".to_owned())),
                // It may have looked meanwhile.
                Err(_) if self::due(began, &limits, &record) > Instant::now() => {}
                Err(_) => break Err(Failure::Deadline(limits.deadline)),
            }
        };
        let took = began.elapsed();
        let log = notes.take();
        let decision = said.map_err(|failure| with_last_words(failure, &log)).and_then(weigh);
        let record = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));
        let micros = u64::try_from(took.saturating_sub(record.waited).as_micros()).unwrap_or(u64::MAX);
        Ruling { decision, log, lookups: record.looked, micros }
    }

    /// Asks the same question `n` times and says how long each took, fresh sandbox included.
    pub async fn bench(&self, brief: &Brief, limits: &Limits, n: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(n);
        for _ in 0..n {
            let began = Instant::now();
            let _ruling = self.decide(brief, limits).await;
            times.push(began.elapsed());
        }
        times
    }
}

/// When it is not waited for any longer. What computes is ended before that by the sandbox's clock, which knows how long it waited for
/// answers; this ends what the clock does not reach.
fn due(began: Instant, limits: &Limits, record: &Mutex<Record>) -> Instant {
    let record = record.lock().unwrap_or_else(PoisonError::into_inner);
    let waiting = if record.waiting { limits.lookups.saturating_sub(record.waited) } else { Duration::ZERO };
    began + limits.deadline + record.waited + waiting + GRACE
}

pub(super) async fn call(pre: &PolicyPre<Guest>, store: &mut Store<Guest>) -> Result<Said, Failure> {
    let policy = match pre.instantiate_async(&mut *store).await {
        Ok(policy) => policy,
        Err(error) => return Err(explain_start(&error, store.data())),
    };
    let answer = policy.paramedic_policy_handler().call_decide(&mut *store).await;
    let said = answer.and_then(|answer| bindings::unwrap(store.data_mut(), answer));
    said.map_err(|error| explain(&error, store.data()))
}

/// Why a sandbox could not be started: the plugin's own start-up code, or the host.
fn explain_start(error: &wasmtime::Error, guest: &Guest) -> Failure {
    if is_plugins_own(error, guest) { explain(error, guest) } else { Failure::NoSandbox(clean(&format!("{error:#}"), 500)) }
}

/// True when a call was ended by what the plugin did, not by what the host lacks.
pub(super) fn is_plugins_own(error: &wasmtime::Error, guest: &Guest) -> bool {
    guest.meter.over.is_some() || error.is::<Trap>() || error.is::<Overstep>() || error.is::<TimeUp>()
}

/// Makes a sentence of the error that ended a call.
pub(super) fn explain(error: &wasmtime::Error, guest: &Guest) -> Failure {
    let limits = &guest.limits;
    match guest.meter.over {
        Some(Over::Memory) => return Failure::Memory(limits.memory),
        Some(Over::Table) => return Failure::Nonsense("its tables grow without end".to_owned()),
        None => {}
    }
    if let Some(Overstep(text)) = error.downcast_ref() {
        return Failure::Nonsense(text.clone());
    }
    if error.is::<TimeUp>() {
        return Failure::Deadline(limits.deadline);
    }
    if error.is::<ResourceTableError>() {
        return Failure::Nonsense("it keeps too many handles open".to_owned());
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return explain_trap(*trap, limits);
    }
    explain_text(&error.root_cause().to_string())
}

fn explain_trap(trap: Trap, limits: &Limits) -> Failure {
    Failure::Trapped(match trap {
        Trap::Interrupt => return Failure::Deadline(limits.deadline),
        Trap::StackOverflow => "it called itself until its stack was full".to_owned(),
        Trap::MemoryOutOfBounds => "it left its memory, or called itself until its stack was full".to_owned(),
        Trap::UnreachableCodeReached => "it gave up (`unreachable`)".to_owned(),
        Trap::CannotLeaveComponent => {
            return Failure::Nonsense("it called the host while the host handed something over".to_owned());
        }
        trap => trap.to_string(),
    })
}

/// wasmtime has no public types for these: part of its text, and what a plugin did to get it.
const NONSENSE: [(&str, &str); 9] = [
    ("fuel allocated for hostcalls", "it handed over more than 1 MiB at once"),
    ("handle limit", "it keeps too many handles open"),
    ("unknown handle index", "it used a handle that it does not have"),
    ("used with the wrong type", "it used a handle of one kind as one of another"),
    ("out of bounds", "it handed over an address outside of its memory"),
    ("beyond end of memory", "it handed over an address outside of its memory"),
    ("not aligned", "it handed over an address where such a value cannot be"),
    ("invalid utf-8", "it handed over a text that is not UTF-8"),
    ("discriminant", "it handed over a case that its type does not have"),
];

fn explain_text(text: &str) -> Failure {
    match NONSENSE.iter().find(|(part, _)| text.contains(part)) {
        Some((_, what)) => Failure::Nonsense((*what).to_owned()),
        None => Failure::Trapped(clean(text, 500)),
    }
}

/// A crash tells more with what the plugin printed last: a panic's message.
pub(super) fn with_last_words(failure: Failure, log: &[LogLine]) -> Failure {
    let Failure::Trapped(what) = failure else { return failure };
    let errors: Vec<_> = log.iter().filter(|line| line.level == "error").map(|line| line.message.as_str()).collect();
    let Some(panic) = errors.iter().rposition(|line| line.contains("panicked at ")) else { return Failure::Trapped(what) };
    let words = errors[panic..].iter().take(2).copied().collect::<Vec<_>>().join(" ");
    Failure::Trapped(clean(&format!("{what}: {words}"), 1000))
}

/// The commonest mistake is a key that does not exist.
fn in_words(error: &jsonschema::ValidationError<'_>) -> String {
    match error.kind() {
        jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } => {
            format!("there is no setting `{}`", unexpected.join("`, `"))
        }
        _ => error.to_string(),
    }
}

/// What a schema itself says when one of its choices does not fit, in its `errorMessage` (a word that editors know too).
fn own_words<'a>(schema: &'a Value, path: &str) -> Option<&'a str> {
    let (path, keyword) = path.rsplit_once('/')?;
    let mut node = schema;
    for part in path.split('/').skip(1) {
        node = match node {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ if part == "$ref" => schema.pointer(node.get(part)?.as_str()?.strip_prefix('#')?)?,
            _ => node.get(part)?,
        };
    }
    node.get("errorMessage").filter(|_| matches!(keyword, "oneOf" | "anyOf" | "not"))?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_told_with_the_panic() {
        let line = |level: &str, message: &str| LogLine { level: level.into(), message: message.into() };
        let log = [line("error", "noise"), line("error", "thread 'main' panicked at src/lib.rs:3:5:"), line("error", "boom")];
        let failure = with_last_words(Failure::Trapped("it gave up".into()), &log);
        assert_eq!(failure, Failure::Trapped("it gave up: thread 'main' panicked at src/lib.rs:3:5: boom".into()));
        assert_eq!(with_last_words(Failure::Trapped("x".into()), &log[..1]), Failure::Trapped("x".into()));
    }

    #[test]
    fn errors_without_a_type_are_recognised_by_their_text() {
        let fuel =
            "too much data is being copied between the host and the guest: fuel allocated for hostcalls has been exhausted";
        assert!(matches!(explain_text(fuel), Failure::Nonsense(_)));
        assert_eq!(explain_text("some\u{1b}[1m trap"), Failure::Trapped("some� trap".into()));
    }
}
