//! Did a person stop it? What a person stopped stays stopped, unless a policy says otherwise.
//!
//! Docker keeps no flag that says so. What there is: under `restart: always` or `unless-stopped` the engine itself starts
//! again whatever ends on its own, so what stays down was stopped; and the engine remembers its last 256 events, among them `stop` (by
//! the API, which is `docker stop`, Compose and everybody else; also Paramedic's own `docker.stop`). An exit code
//! proves nothing: a clean program exits 0 or 143 whoever asked it to. When the events no longer reach back, it is not known.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;

use super::{Container, Engines, LookError, TEXT};
use crate::clock::Time;
use crate::telemetry::clean;

/// An engine that keeps more events than this (Podman can) is not read further.
const MOST_EVENTS: usize = 20_000;

/// A signal sent from outside that is followed by the end within this time is taken as its cause.
const KILL_TO_DEATH: Duration = Duration::from_secs(60);

/// What remains of an event for this question.
#[derive(Clone, Debug)]
struct Seen {
    action: String,
    signal: Option<String>,
    at: Time,
}

/// What the events since the last start say about the end.
#[derive(Debug, PartialEq)]
enum End {
    Stopped(Time),
    Killed(Time, String),
    Alone,
    Forgotten,
}

/// The last time a container was paused, or let go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Paused, or let go on?
    pub paused: bool,
    /// When, by the engine's clock.
    pub at: Time,
}

impl Engines {
    /// Says in words how one can tell that a person stopped (or paused) this container; `None` if it runs or ended on its own.
    ///
    /// # Errors
    /// [`LookError::Forgotten`] when it has ended and nothing tells how; otherwise why it could not be found out.
    pub async fn deliberately_stopped(&self, container: &Container) -> Result<Option<String>, LookError> {
        match container.state.as_str() {
            "paused" => return Ok(Some("it is paused, which only a person or a program does, through the engine".to_owned())),
            "exited" | "dead" => {}
            _ => return Ok(None),
        }
        // Somebody wanted it to run and the engine could not start it; or the kernel ended it.
        if !container.error.is_empty() || container.out_of_memory {
            return Ok(None);
        }
        let end = end_of(&self.events_since_start(container, []).await?);
        let policy = &container.restart_policy;
        Ok(match end {
            End::Stopped(at) => Some(format!("it was stopped through the engine (docker stop, Compose) at {at}")),
            End::Killed(at, signal) => {
                Some(format!("it was sent signal {} through the engine (docker kill) at {at}", clean(&signal, 20)))
            }
            // The engine would have started it again.
            End::Alone | End::Forgotten if matches!(policy.as_str(), "always" | "unless-stopped") => {
                let at = container.finished.map(|at| format!(" at {at}")).unwrap_or_default();
                Some(format!(
                    "it ended{at} and stays down although its restart policy is {policy}: only a stop by a person does that"
                ))
            }
            End::Alone => None,
            End::Forgotten => return Err(LookError::Forgotten { target: container.target.clone() }),
        })
    }

    /// When it was last paused or let go on since its last start; `None` when the engine does not remember that: it keeps few events.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn last_freeze(&self, container: &Container) -> Result<Option<Freeze>, LookError> {
        // Only these, since of all events only so many are read.
        let only = ("event".to_owned(), vec!["pause".to_owned(), "unpause".to_owned()]);
        Ok(freeze_of(&self.events_since_start(container, [only]).await?))
    }

    async fn events_since_start(
        &self,
        container: &Container,
        more: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Result<Vec<Seen>, LookError> {
        let host = &container.target.host;
        let client = self.client(host, super::DEADLINE)?;
        let only = |what: &str| vec![what.to_owned()];
        let mut filters =
            HashMap::from([("type".to_owned(), only("container")), ("container".to_owned(), only(container.id.as_str()))]);
        filters.extend(more);
        let options = EventsOptionsBuilder::new()
            .since(&seconds(container.started.unwrap_or_default()))
            // Not later than now, or the engine keeps the answer open and waits for more.
            .until(&seconds(Time::now()))
            .filters(&filters)
            .build();
        let all = async {
            let mut events = std::pin::pin!(client.events(Some(options)).take(MOST_EVENTS));
            let mut seen = Vec::new();
            while let Some(event) = events.next().await {
                seen.extend(Seen::of(event?));
            }
            Ok(seen)
        };
        self.asked(host, all).await
    }
}

impl Seen {
    fn of(event: EventMessage) -> Option<Self> {
        let signal = event.actor.and_then(|actor| actor.attributes).and_then(|mut attributes| attributes.remove("signal"));
        let at = event.time_nano.map(|ns| ns / 1_000_000).or_else(|| event.time.map(|s| s.saturating_mul(1_000)))?;
        Some(Self { action: event.action?, signal: signal.map(|signal| clean(&signal, TEXT)), at: Time(at) })
    }
}

fn end_of(events: &[Seen]) -> End {
    let (mut stopped, mut killed, mut died) = (None, None, None);
    for event in events {
        match event.action.as_str() {
            "start" => (stopped, killed, died) = (None, None, None),
            "stop" => stopped = Some(event.at),
            "kill" if event.signal.as_deref().is_some_and(is_deadly) => killed = Some((event.at, event.signal.clone())),
            // `died` is Podman's word.
            "die" | "died" => died = Some(event.at),
            _ => {}
        }
    }
    match (stopped, killed, died) {
        (Some(at), ..) => End::Stopped(at),
        (None, Some((at, Some(signal))), Some(end)) if end.since(at) <= KILL_TO_DEATH => End::Killed(at, signal),
        (None, _, Some(_)) => End::Alone,
        (None, _, None) => End::Forgotten,
    }
}

fn freeze_of(events: &[Seen]) -> Option<Freeze> {
    events.iter().rev().find_map(|event| match event.action.as_str() {
        "pause" => Some(Freeze { paused: true, at: event.at }),
        "unpause" => Some(Freeze { paused: false, at: event.at }),
        _ => None,
    })
}

/// Signals that people end programs with; the others (HUP, USR1, ...) only tell it something.
fn is_deadly(signal: &str) -> bool {
    matches!(signal.strip_prefix("SIG").unwrap_or(signal), "2" | "INT" | "3" | "QUIT" | "9" | "KILL" | "15" | "TERM")
}

/// A moment as the engine's `since` and `until` take it.
fn seconds(time: Time) -> String {
    format!("{}.{:03}", time.0.div_euclid(1_000), time.0.rem_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(events: &[(&str, &str, i64)]) -> Vec<Seen> {
        let seen = |(action, signal, at): &(&str, &str, i64)| Seen {
            action: (*action).to_owned(),
            signal: Some((*signal).to_owned()).filter(|s| !s.is_empty()),
            at: Time(*at),
        };
        events.iter().map(seen).collect()
    }

    fn end(events: &[(&str, &str, i64)]) -> End {
        end_of(&seen(events))
    }

    #[test]
    fn of_pauses_the_last_word_counts() {
        let freeze = |events: &[(&str, &str, i64)]| freeze_of(&seen(events)).map(|freeze| (freeze.paused, freeze.at.0));
        assert_eq!(freeze(&[("start", "", 0), ("pause", "", 1), ("exec_die", "", 2)]), Some((true, 1)));
        assert_eq!(freeze(&[("pause", "", 1), ("unpause", "", 2)]), Some((false, 2)));
        assert_eq!(freeze(&[("start", "", 0)]), None, "not remembered is not told");
    }

    #[test]
    fn a_stop_or_a_deadly_signal_is_a_persons_doing() {
        assert_eq!(end(&[("start", "", 0), ("kill", "15", 1), ("die", "", 2), ("stop", "", 3)]), End::Stopped(Time(3)));
        assert_eq!(end(&[("start", "", 0), ("kill", "9", 1), ("die", "", 2)]), End::Killed(Time(1), "9".to_owned()));
        assert_eq!(end(&[("kill", "SIGTERM", 1), ("died", "", 2)]), End::Killed(Time(1), "SIGTERM".to_owned()));
    }

    #[test]
    fn what_was_before_the_last_start_does_not_count() {
        let restarted =
            [("kill", "15", 1), ("die", "", 2), ("stop", "", 3), ("start", "", 4), ("restart", "", 5), ("die", "", 9)];
        assert_eq!(end(&restarted), End::Alone);
    }

    #[test]
    fn a_reload_long_before_a_crash_is_not_its_cause() {
        assert_eq!(end(&[("start", "", 0), ("kill", "1", 1), ("die", "", 2)]), End::Alone);
        assert_eq!(end(&[("start", "", 0), ("kill", "15", 1), ("die", "", 600_000)]), End::Alone);
    }

    #[test]
    fn without_its_end_among_the_events_nothing_is_known() {
        assert_eq!(end(&[]), End::Forgotten);
        assert_eq!(end(&[("start", "", 0)]), End::Forgotten);
    }

    #[test]
    fn the_engine_reads_seconds() {
        assert_eq!(seconds(Time(1_795_384_800_007)), "1795384800.007");
    }
}
