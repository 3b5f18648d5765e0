//! Restarting, starting, stopping, freezing and signalling one container, by the id that was authorised.
//!
//! Right before the call the container is looked at again: another id, another name or another start than the one that was authorised
//! means that somebody was faster, and nothing is done. After a call that nobody answered it is looked at as well, since the engine
//! carries on with what it was asked although its client has gone. Nothing here is ever repeated.
//! Absent on purpose: remove, exec, create; and any name in a URL that is not a [`ContainerId`].

use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::query_parameters::{KillContainerOptionsBuilder, RestartContainerOptionsBuilder, StopContainerOptionsBuilder};
use tokio::time::{Instant, sleep, timeout};

use super::Hands;
use crate::action::{Action, ContainerId, DockerHost, DockerVerb, Ending, Outcome, Signal, Target};
use crate::clock::{Time, print_duration};
use crate::look::Eyes;
use crate::look::docker::{CLOCKS, Container, Engines, Freeze, LookError};
use crate::telemetry::clean;

/// What the engine gives a container to stop when nobody says anything.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// How much longer than the grace a call may take: killing, unmounting, starting.
const MARGIN: Duration = Duration::from_secs(5);
/// What a call may take on top of the grace, before nobody waits for its answer any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// A container that may take longer than this to stop, or for ever, is not waited for to the end.
const LONGEST_GRACE: Duration = Duration::from_secs(600);
/// The longest time [`find_out`] waits for a call that the engine may still be carrying out.
const FIND_OUT_WITHIN: Duration = LONGEST_GRACE.saturating_add(PATIENCE);
/// How often it looks meanwhile.
const FIND_OUT_EVERY: Duration = Duration::from_millis(300);

/// What is to be done, taken out of an [`Action`].
struct Task<'a> {
    verb: DockerVerb,
    target: &'a Target,
    id: &'a ContainerId,
    started_at: &'a str,
    grace_seconds: Option<u32>,
    signal: Option<Signal>,
}

impl<'a> Task<'a> {
    fn of(action: &'a Action) -> Option<Self> {
        match action {
            Action::Docker { verb, target, container, started_at, grace_seconds, signal } => {
                let (verb, grace_seconds, signal) = (*verb, *grace_seconds, *signal);
                Some(Self { verb, target, id: container, started_at, grace_seconds, signal })
            }
            _ => None,
        }
    }

    /// How long the engine may take for the stopping part; `None`: for ever.
    fn grace(&self, container: Option<&Container>) -> Option<Duration> {
        let own = || container.and_then(|container| container.stop_timeout);
        match (self.verb, self.grace_seconds) {
            (DockerVerb::Start | DockerVerb::Pause | DockerVerb::Unpause | DockerVerb::Kill, _) => Some(Duration::ZERO),
            (_, Some(seconds)) => Some(Duration::from_secs(seconds.into())),
            (_, None) => own().map_or(Some(DEFAULT_GRACE), |seconds| u64::try_from(seconds).ok().map(Duration::from_secs)),
        }
    }
}

/// How long a call is waited for: longer than the container may take to stop, since the engine carries on without us.
pub async fn deadline(eyes: &dyn Eyes, action: &Action) -> Duration {
    let Some(task) = Task::of(action) else { return PATIENCE };
    let found = eyes.by_id(&task.target.host, task.id).await.ok().flatten();
    PATIENCE + task.grace(found.as_ref()).unwrap_or(LONGEST_GRACE).min(LONGEST_GRACE)
}

/// One call to an engine.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Which engine.
    pub host: &'a DockerHost,
    /// Which container.
    pub id: &'a ContainerId,
    /// What.
    pub verb: DockerVerb,
    /// Seconds it may take to stop; `None`: the container's own setting.
    pub grace_seconds: Option<u32>,
    /// The signal of a kill.
    pub signal: Option<Signal>,
}

/// Why a call did not do what it should, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// The engine was never asked.
    NotAsked(String),
    /// The engine said no.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its own text, cleaned.
        message: String,
    },
    /// Nobody knows: the engine carries on without its client.
    Unanswered(String),
}

/// Carries out a Docker action: one call, and what was seen after it.
///
/// Takes at most `deadline` for the call and twice [`look::docker::DEADLINE`](crate::look::docker::DEADLINE) for looking before
/// and after. A `deadline` shorter than the container's grace is kept all the same, and ends in [`Ending::TimedOut`].
pub async fn carry(eyes: &dyn Eyes, hands: &dyn Hands, action: &Action, deadline: Duration) -> Outcome {
    let Some(task) = Task::of(action) else { return failed(format!("{action} is nothing for Docker; nothing was done")) };
    if let Err(why) = look_before(eyes, &task).await {
        return failed(format!("{why}; nothing was done"));
    }
    let (begun, asked_at) = (Instant::now(), Time::now());
    let call =
        Call { host: &task.target.host, id: task.id, verb: task.verb, grace_seconds: task.grace_seconds, signal: task.signal };
    match hands.docker(call, deadline).await {
        Ok(()) => succeeded(eyes, &task, begun.elapsed()).await,
        Err(NotDone::NotAsked(why)) => failed(format!("{why}; nothing was done")),
        Err(NotDone::Refused { status, message }) => {
            failed(format!("the engine answered {status} to {} of {}: {message}", task.verb.kind(), task.target))
        }
        Err(NotDone::Unanswered(why)) => unanswered(eyes, &task, &why, asked_at).await,
    }
}

/// Says why the container is not, or no longer, the one that was authorised.
async fn look_before(eyes: &dyn Eyes, task: &Task<'_>) -> Result<(), String> {
    let found = eyes.by_id(&task.target.host, task.id).await.map_err(|error| error.to_string())?;
    let changed = |how: String| Err(format!("changed target: {how} since it was authorised"));
    match found {
        None => changed(format!("the container that was {} is gone", task.target)),
        Some(now) if now.target != *task.target => changed(format!("{} was renamed to {}", task.target, now.target)),
        Some(now) if now.started_at != task.started_at => {
            let (target, at, state) = (task.target, &now.started_at, &now.state);
            changed(format!(
                "{target} was started at {at}, by somebody else or by an earlier action of this act (it is {state}),"
            ))
        }
        Some(now) => match now.protected {
            Some(why) => Err(format!("protected target: {} must not be touched: {why}", task.target)),
            None => Ok(()),
        },
    }
}

/// The real call: the engine is asked once, and given this long to answer.
pub(super) async fn call(engines: &Engines, call: Call<'_>, within: Duration) -> Result<(), NotDone> {
    // The client's own timeout only cuts what ours has missed.
    let hands = engines.hands(call.host, within + MARGIN).map_err(|error| NotDone::NotAsked(error.to_string()))?;
    match timeout(within, ask(&hands, call)).await {
        Ok(answer) => answer.map_err(|error| explain(engines, call.host, within, error)),
        Err(_) => Err(NotDone::Unanswered(format!("the engine gave no answer within {}", print_duration(within)))),
    }
}

/// The engine said no, or the connection failed.
fn explain(engines: &Engines, host: &DockerHost, within: Duration, error: EngineError) -> NotDone {
    // Without a connection nothing was asked; with one that broke, nobody knows.
    let never_asked = matches!(&error, EngineError::HyperLegacyError { err } if err.is_connect());
    match engines.explain(host, within, error) {
        LookError::Refused { status, message, .. } => NotDone::Refused { status, message },
        error if never_asked => NotDone::NotAsked(error.to_string()),
        LookError::TooSlow { within, .. } => {
            NotDone::Unanswered(format!("the engine gave no answer within {}", print_duration(within)))
        }
        error => NotDone::Unanswered(format!("the connection broke in the middle of the call ({error})")),
    }
}

async fn ask(hands: &bollard::Docker, call: Call<'_>) -> Result<(), EngineError> {
    let id = call.id.as_str();
    let grace = call.grace_seconds.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX));
    match call.verb {
        DockerVerb::Start => hands.start_container(id, None).await,
        DockerVerb::Restart => {
            let options = grace.map(|seconds| RestartContainerOptionsBuilder::new().t(seconds).build());
            hands.restart_container(id, options).await
        }
        DockerVerb::Stop => {
            let options = grace.map(|seconds| StopContainerOptionsBuilder::new().t(seconds).build());
            hands.stop_container(id, options).await
        }
        DockerVerb::Pause => hands.pause_container(id).await,
        DockerVerb::Unpause => hands.unpause_container(id).await,
        DockerVerb::Kill => {
            let signal = call.signal.unwrap_or(Signal::KILL).to_string();
            hands.kill_container(id, Some(KillContainerOptionsBuilder::new().signal(&signal).build())).await
        }
    }
}

async fn succeeded(eyes: &dyn Eyes, task: &Task<'_>, took: Duration) -> Outcome {
    let took = print_duration(took);
    let seen = eyes.by_id(&task.target.host, task.id).await;
    let message = match (&seen, task.verb) {
        (Ok(Some(now)), DockerVerb::Start) if now.started_at == task.started_at => {
            format!("{} had been started already; it is {}", task.target, describe(now))
        }
        (Ok(Some(now)), _) => format!("{} {} in {took}; it is {}", task.target, done(task), describe(now)),
        (Ok(None), _) => format!("{} {} in {took}; it is gone since", task.target, done(task)),
        (Err(error), _) => format!("{} {} in {took}; how it is now is not known: {error}", task.target, done(task)),
    };
    outcome(Ending::Succeeded, message)
}

/// Nobody knows whether it took place: the engine carries on without its client. So look.
async fn unanswered(eyes: &dyn Eyes, task: &Task<'_>, why: &str, asked_at: Time) -> Outcome {
    let seen = match look(eyes, task).await {
        Ok((now, freeze)) => match judge(task, now.as_ref(), None, Frozen::of(freeze, asked_at)) {
            Finding::Unfinished(seen) => format!("{seen}; the engine may still carry it out"),
            Finding::Settled(seen) => seen,
        },
        Err(error) => format!("it cannot be told whether it took place: {error}"),
    };
    outcome(Ending::TimedOut, format!("{why}; looked: {seen}"))
}

/// After a crash: looks whether an action that was begun took place. Never repeats it.
///
/// The engine finishes what it was asked although Paramedic has gone, so this waits until the grace since `begun_at` is over
/// before it says that nothing happened; two minutes at the most. The message begins with `it took place`, `it did not take place`
/// or `it cannot be told`.
pub async fn find_out(eyes: &dyn Eyes, action: &Action, begun_at: Time) -> Outcome {
    let Some(task) = Task::of(action) else {
        return outcome(Ending::Interrupted, format!("it cannot be told: {action} is nothing for Docker"));
    };
    let began_looking = Instant::now();
    loop {
        let (finding, grace) = match look(eyes, &task).await {
            Ok((now, freeze)) => {
                (judge(&task, now.as_ref(), Some(begun_at), Frozen::of(freeze, begun_at)), task.grace(now.as_ref()))
            }
            Err(error) => (Finding::Unfinished(format!("it cannot be told: {error}")), task.grace(None)),
        };
        let seen = match finding {
            Finding::Settled(seen) => return outcome(Ending::Interrupted, seen),
            Finding::Unfinished(seen) => seen,
        };
        if grace.is_some_and(|grace| Time::now() >= begun_at.plus(grace + MARGIN)) {
            return outcome(Ending::Interrupted, seen);
        }
        if began_looking.elapsed() >= FIND_OUT_WITHIN {
            return outcome(
                Ending::Interrupted,
                format!("it cannot be told: the engine may still be waiting for it to stop; {seen}"),
            );
        }
        sleep(FIND_OUT_EVERY).await;
    }
}

/// The container as it is, and for a pause or its end when it was last paused or let go on: its state alone does not tell who did that.
async fn look(eyes: &dyn Eyes, task: &Task<'_>) -> Result<(Option<Container>, Option<Freeze>), LookError> {
    let now = eyes.by_id(&task.target.host, task.id).await?;
    let freeze = match (&now, task.verb) {
        // An engine that does not tell its events leaves it unknown.
        (Some(now), DockerVerb::Pause | DockerVerb::Unpause) => eyes.last_freeze(now).await.ok().flatten(),
        _ => None,
    };
    Ok((now, freeze))
}

/// What the engine remembers of pauses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Frozen {
    /// Nothing (any more).
    Unknown,
    /// The last one was before it was asked for ours.
    Before(Freeze),
    /// The last one was since then.
    Since(Freeze),
}

impl Frozen {
    fn of(freeze: Option<Freeze>, asked_at: Time) -> Self {
        match freeze {
            None => Self::Unknown,
            Some(freeze) if freeze.at < asked_at.minus(CLOCKS) => Self::Before(freeze),
            Some(freeze) => Self::Since(freeze),
        }
    }
}

/// What a look says about an action whose answer was not heard.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    /// This will not change any more.
    Settled(String),
    /// Nothing yet; what it means if it stays so.
    Unfinished(String),
}

/// Compares what is with what was authorised. The moment of the last start, exactly as the engine says it, is the evidence;
/// `begun_at` only tells a start of ours from one that somebody else made before.
fn judge(task: &Task<'_>, now: Option<&Container>, begun_at: Option<Time>, frozen: Frozen) -> Finding {
    use Finding::{Settled, Unfinished};
    let Some(now) = now else { return Settled(format!("it cannot be told: {} is gone", task.target)) };
    let seen = format!("{} is {}", task.target, describe(now));
    let started_since = now.started_at != task.started_at;
    let not_before = |moment: Option<Time>| moment.zip(begun_at).is_none_or(|(moment, begun)| moment >= begun.minus(CLOCKS));
    match (task.verb, started_since) {
        (DockerVerb::Restart | DockerVerb::Start, true) if not_before(now.started) => Settled(format!("it took place: {seen}")),
        (DockerVerb::Restart | DockerVerb::Start, true) => {
            Settled(format!("it did not take place: somebody else had started it before; {seen}"))
        }
        (DockerVerb::Stop, true) => Settled(format!("it cannot be told: it was started again since; {seen}")),
        (DockerVerb::Stop, false) if !is_up(now) && now.finished.is_some() && not_before(now.finished) => {
            Settled(format!("it took place: {seen}"))
        }
        (DockerVerb::Pause | DockerVerb::Unpause | DockerVerb::Kill, true) => {
            Settled(format!("it cannot be told: it was started again since; {seen}"))
        }
        (DockerVerb::Pause | DockerVerb::Unpause, false) => froze(task.verb == DockerVerb::Pause, now, frozen, &seen),
        (DockerVerb::Kill, false) => killed(task.signal.unwrap_or(Signal::KILL), now, not_before(now.finished), seen),
        _ => Unfinished(format!("it did not take place: {seen}")),
    }
}

/// That it is paused now, or runs, says nothing about who did that: only the moment does, and only the engine's events tell it.
fn froze(pause: bool, now: &Container, frozen: Frozen, seen: &str) -> Finding {
    use Finding::{Settled, Unfinished};
    let as_wanted = now.state == if pause { "paused" } else { "running" };
    let word = |paused: bool| if paused { "paused" } else { "let go on" };
    match frozen {
        Frozen::Since(Freeze { paused, at }) if paused == pause && as_wanted => {
            Settled(format!("it took place: it was {} at {at}; {seen}", word(pause)))
        }
        Frozen::Since(Freeze { paused, at }) if paused != pause && !as_wanted => {
            Settled(format!("it cannot be told: it was {} at {at}; {seen}", word(paused)))
        }
        Frozen::Before(Freeze { paused, at }) if paused == pause && as_wanted => {
            Settled(format!("it did not take place: it had been {} before, at {at}; {seen}", word(pause)))
        }
        _ if as_wanted => Settled(format!("it cannot be told: the engine does not remember when it was {}; {seen}", word(pause))),
        _ if matches!(now.state.as_str(), "paused" | "running") => Unfinished(format!("it did not take place: {seen}")),
        _ => Settled(format!("it cannot be told: {seen}")),
    }
}

/// A signal leaves no trace in a program that goes on; only SIGKILL cannot be ignored.
fn killed(signal: Signal, now: &Container, ended_since: bool, seen: String) -> Finding {
    use Finding::{Settled, Unfinished};
    let ended = !is_up(now) && now.finished.is_some();
    match (signal.is_deadly(), ended) {
        (true, true) if ended_since => Settled(format!("it took place: {seen}")),
        (_, true) => Settled(format!("it cannot be told: {seen}")),
        (_, false) if signal == Signal::KILL => Unfinished(format!("it did not take place: {seen}")),
        _ => Unfinished(format!("it cannot be told whether {signal} was sent: {seen}")),
    }
}

fn is_up(container: &Container) -> bool {
    matches!(container.state.as_str(), "running" | "paused" | "restarting")
}

/// `running since 2026-…`, `exited (1) since 2026-…: no such file`.
fn describe(container: &Container) -> String {
    let since = |moment: Option<Time>| moment.map(|moment| format!(" since {moment}")).unwrap_or_default();
    let text = match container.state.as_str() {
        "exited" | "dead" => {
            let code = container.exit_code.map(|code| format!(" ({code})")).unwrap_or_default();
            format!("{}{code}{}", container.state, since(container.finished))
        }
        // Since when it is paused, its description does not tell.
        "paused" => format!("paused{}", container.started.map(|moment| format!(", started {moment}")).unwrap_or_default()),
        state => format!("{state}{}", since(container.started)),
    };
    if container.error.is_empty() { text } else { format!("{text}: {}", container.error) }
}

fn done(task: &Task<'_>) -> String {
    match task.verb {
        DockerVerb::Restart => "was restarted".to_owned(),
        DockerVerb::Start => "was started".to_owned(),
        DockerVerb::Stop => "was stopped".to_owned(),
        DockerVerb::Pause => "was paused".to_owned(),
        DockerVerb::Unpause => "was let go on".to_owned(),
        DockerVerb::Kill => format!("was sent {}", task.signal.unwrap_or(Signal::KILL)),
    }
}

fn failed(message: String) -> Outcome {
    outcome(Ending::Failed, message)
}

fn outcome(ending: Ending, message: String) -> Outcome {
    // Whoever can be sure says so in these words.
    let touched = !message.ends_with("nothing was done");
    Outcome { ending, message: clean(&message, 4_000), touched, output: Vec::new() }
}
