//! Was it a person who stopped or paused it, or was it us?
//!
//! The engine tells that a container was stopped or paused, and when, never by whom. What happened while an attempt of this incident was at
//! work on it is ours. A pause outlives its incident, so for a pause the journal tells what other incidents did to the container as well.
//! Absent on purpose: the same for a stop. What an earlier incident stopped was meant to stay down, and whoever starts it again should be a
//! person, or a policy that says `on_deliberate_stop: heal`.

use std::time::Duration;

use super::{Authoriser, Claim, Stop, unsure};
use crate::action::{Action, DockerVerb, Ending, Target};
use crate::clock::Time;
use crate::incident::{Attempt, Incident, Intent, Progress, Rule};
use crate::journal::{Journal, JournalError};
use crate::look::docker::{CLOCKS, Container, Freeze};
use crate::policy::OnDeliberateStop;

/// How soon after our own action a container's new state still counts as our doing.
const OURS: Duration = Duration::from_secs(15);

/// So many of the newest incidents about a target are read for who paused it.
const MOST_INCIDENTS: usize = 50;

impl Authoriser {
    /// Is it down or paused by a person's will?
    pub(super) async fn deliberately_stopped(
        &self,
        journal: Option<&Journal>,
        claim: Claim<'_>,
        container: &Container,
    ) -> Result<(), Stop> {
        if claim.policy.on_deliberate_stop == OnDeliberateStop::Heal {
            return Ok(());
        }
        let ours = match container.state.as_str() {
            "paused" => match self.paused_by_us(journal, claim.incident, container).await {
                Ok(ours) => ours,
                Err(error) => return unsure(claim.policy, &format!("who paused {}", container.target), &error),
            },
            _ => container.finished.is_some_and(|at| is_ours(claim.incident, &container.target, at)),
        };
        if ours {
            return Ok(());
        }
        match self.eyes.deliberately_stopped(container).await {
            Ok(None) => Ok(()),
            Ok(Some(evidence)) => {
                let message =
                    format!("{} was stopped on purpose: {evidence} (on_deliberate_stop: heal would heal it)", container.target);
                Err(Stop::held(Rule::DeliberateStop, message))
            }
            Err(error) => unsure(claim.policy, &format!("whether {} was stopped on purpose", container.target), &error),
        }
    }

    async fn paused_by_us(
        &self,
        journal: Option<&Journal>,
        incident: &Incident,
        container: &Container,
    ) -> Result<bool, JournalError> {
        let mut deeds: Vec<Deed> = deeds(incident, container).collect();
        if let Some(journal) = journal {
            for id in journal.about(&container.target, Time(0), MOST_INCIDENTS).await? {
                let other = if id == incident.id { None } else { journal.incident(&id).await? };
                deeds.extend(other.iter().flat_map(|other| self::deeds(other, container)));
            }
        }
        if deeds.is_empty() {
            return Ok(false);
        }
        // An engine that cannot be asked remembers nothing either.
        let freeze = self.eyes.last_freeze(container).await.ok().flatten();
        Ok(is_own_pause(deeds, container, freeze))
    }
}

/// One thing that was done to a container, and the attempt in which it was.
struct Deed {
    verb: DockerVerb,
    /// The start that the container had.
    started_at: String,
    from: Time,
    until: Time,
}

/// What an incident did to exactly this container, in that order.
fn deeds(incident: &Incident, container: &Container) -> impl Iterator<Item = Deed> {
    let done = |intent: &&Intent| matches!(&intent.progress, Progress::Ended(outcome) if outcome.ending != Ending::Failed);
    let of = move |attempt: &Attempt, intent: &Intent| match &intent.action {
        Action::Docker { verb, container: id, started_at, .. } if *id == container.id => {
            Some(Deed { verb: *verb, started_at: started_at.clone(), from: attempt.started_at, until: attempt.ended_at })
        }
        _ => None,
    };
    incident.attempts.iter().flat_map(move |attempt| attempt.intents.iter().filter(done).filter_map(move |i| of(attempt, i)))
}

/// The container is paused: was the last thing that anybody is known to have done to it a pause of ours? Where the engine remembers when it
/// was paused, it has to have been then.
fn is_own_pause(mut deeds: Vec<Deed>, container: &Container, freeze: Option<Freeze>) -> bool {
    deeds.sort_by_key(|deed| deed.from);
    let paused_at = freeze.filter(|freeze| freeze.paused).map(|freeze| freeze.at);
    let last = deeds.into_iter().rfind(|deed| paused_at.is_none_or(|at| deed.from <= at.plus(CLOCKS)));
    last.is_some_and(|deed| {
        let then = paused_at.is_none_or(|at| at.plus(CLOCKS) >= deed.from && at <= deed.until.plus(OURS));
        deed.verb == DockerVerb::Pause && deed.started_at == container.started_at && then
    })
}

/// Did that happen to the target while an attempt of this incident was at work on it? One that only told people something was not.
pub(super) fn is_ours(incident: &Incident, target: &Target, at: Time) -> bool {
    let worked =
        |attempt: &&Attempt| attempt.intents.iter().any(|intent| intent.action.touches() && intent.action.target() == target);
    incident.attempts.iter().filter(worked).any(|attempt| at >= attempt.started_at && at <= attempt.ended_at.plus(OURS))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::alert::Labels;

    fn container(started_at: &str) -> Container {
        Container {
            target: "local/web".parse().unwrap(),
            id: "aa".parse().unwrap(),
            image: String::new(),
            state: "paused".to_owned(),
            started_at: started_at.to_owned(),
            started: None,
            finished: None,
            exit_code: None,
            out_of_memory: false,
            error: String::new(),
            labels: Labels::new(),
            restart_policy: "no".to_owned(),
            restart_count: 0,
            health: None,
            stop_timeout: None,
            protected: None,
        }
    }

    #[test]
    fn a_pause_is_ours_if_ours_was_the_last_word_and_the_engine_does_not_say_otherwise() {
        use DockerVerb::{Kill, Pause, Restart, Unpause};
        let at = |second: i64| Time(second * 1_000);
        let deed = |(verb, from): &(DockerVerb, i64)| {
            let started_at = "t".to_owned();
            Deed { verb: *verb, started_at, from: at(*from), until: at(from + 5) }
        };
        let ours = |deeds: &[(DockerVerb, i64)], paused: Option<i64>| {
            let freeze = paused.map(|second| Freeze { paused: true, at: at(second) });
            is_own_pause(deeds.iter().map(deed).collect(), &container("t"), freeze)
        };
        // The engine remembers.
        assert!(ours(&[(Pause, 100)], Some(101)));
        assert!(ours(&[(Restart, 10), (Pause, 100), (Restart, 900)], Some(101)), "what was tried later did not change it");
        assert!(ours(&[(Pause, 100)], Some(98)), "its clock is a little behind");
        assert!(!ours(&[(Pause, 100)], Some(500)), "somebody let it go on and paused it again");
        assert!(!ours(&[(Pause, 100)], Some(50)), "somebody had paused it before");
        assert!(!ours(&[(Pause, 100), (Unpause, 200)], Some(300)));
        assert!(!ours(&[(Pause, 100), (Unpause, 100)], Some(110)), "in one act, and then a person");
        // It does not.
        assert!(ours(&[(Kill, 10), (Pause, 100)], None));
        assert!(!ours(&[(Pause, 100), (Unpause, 200)], None));
        assert!(!ours(&[], None) && !ours(&[(Restart, 10)], Some(11)));
        // Another start than that of which we know.
        assert!(!is_own_pause(vec![deed(&(Pause, 100))], &container("u"), None));
    }
}
