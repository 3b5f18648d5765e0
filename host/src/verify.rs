//! Look again, with the detector that raised the alert, until it is positively well or time is up.
//!
//! Only a positive observation is called healed: a Prometheus that evaluated the rule, after the action, on samples taken after the
//! action, and finds the alert neither pending nor firing, for as long as `stable` says. Alertmanager can say
//! that an alert fires, never that it does not: it holds what it was told until that expires. So when it still lists an alert
//! that Prometheus positively finds well, it lags, and Prometheus is believed.
//! A policy that has a probe of its own asks for more and for less: the probe has to pass, and no detector may say that it fires; what the
//! detectors cannot tell, the probe tells. Where nobody watches for an alert, a container's own health check is the positive observation.
//! Neither is asked while somebody keeps telling Paramedic that the alert fires.
//! Absent on purpose: a way to call something healed because it is not heard of any more.

pub mod answers;
mod detector;
mod detectors;
pub mod probe;
mod selectors;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::alert::{Alert, Via};
use crate::clock::{Time, print_duration};
use crate::incident::Verdict;
use crate::look::sight::Sources;
use crate::policy::{Probe, Verify};
use detectors::Detectors;

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// A target that is seen down twice, so far apart, after it was started, is down.
const DOWN_FOR: Duration = Duration::from_secs(4);
/// How long one look at all detectors may take.
const LOOK_WITHIN: Duration = Duration::from_secs(30);
/// How long one look at the target may take.
const TARGET_WITHIN: Duration = Duration::from_secs(10);

/// The eyes of verification: all that is ever looked at to tell whether an alert is over, but for the target itself. A simulated
/// world can stand behind it.
pub trait Detect: fmt::Debug + Send + Sync {
    /// Asks every detector once about an alert; only what was seen of later than `since` counts.
    fn look<'a>(&'a self, alert: &'a Alert, since: Time) -> BoxFuture<'a, Seen>;

    /// Asks a policy's own probe once; only what is seen of later than `since` counts.
    fn probe<'a>(&'a self, probe: &'a Probe, since: Time) -> BoxFuture<'a, Seen>;
}

/// What one look saw. The text says who said what, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Positively well.
    Healthy(String),
    /// It fires; or the probe says no.
    Firing(String),
    /// It cannot be told, and somebody says what may mean that it fires: it is pending, or an Alertmanager still lists it.
    Suspect(String),
    /// It cannot be told; nobody says that it fires.
    Unclear(String),
    /// Nobody watches for it: every detector was asked, none has a rule for it, and none lists it. So it cannot be told either, unless
    /// somebody else knows.
    Unwatched(String),
}

/// The target of an action, as far as verification needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// The engine's word (`running`, `exited`, ...), or `missing`.
    pub state: String,
    /// What its own health check says (`healthy`, `starting`, ...), if it has one.
    pub health: Option<String>,
    /// When it was last started.
    pub started: Option<Time>,
}

impl TargetState {
    fn is_down(&self) -> bool {
        matches!(self.state.as_str(), "exited" | "dead" | "restarting" | "missing" | "created" | "removing")
    }
}

/// What is to be verified: that an alert is over after an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The alert.
    pub alert: &'a Alert,
    /// When the attempt's first action began.
    pub begun: Time,
    /// When its last action ended; only what is seen of later counts.
    pub ended: Time,
    /// True when an action should have left the target running (`docker.restart`, `docker.start`).
    pub starts_target: bool,
}

/// Looks whether an attempt helped.
#[derive(Clone, Debug)]
pub struct Verifier {
    eyes: Arc<dyn Detect>,
    pause: Duration,
}

impl Verifier {
    /// One that looks at these sources.
    pub fn new(sources: Sources) -> Self {
        Self::with(Arc::new(Detectors { sources }))
    }

    /// One that looks through these eyes.
    pub fn with(eyes: Arc<dyn Detect>) -> Self {
        Self { eyes, pause: PAUSE }
    }

    /// Looks once, at all detectors at the same time; only what was seen of later than `since` counts.
    pub async fn look(&self, alert: &Alert, since: Time) -> Seen {
        in_time("the detectors", self.eyes.look(alert, since)).await
    }

    /// Looks again and again, from the end of `settle` on: healed once it was positively well for `stable`; not healed when it fires at the
    /// end of `within`, or when its target is seen down although it was started; else it cannot be told. Being well has to begin within
    /// `within`, and may then last longer; so this takes at most `within + stable` and one look.
    ///
    /// `target` says how the action's target is, `None` when that is not known or does not matter; `told` which door keeps saying that it
    /// fires, and when it last did.
    pub async fn verify<F, Fut>(
        &self,
        attempt: &Attempt<'_>,
        settings: &Verify,
        target: F,
        told: impl Fn(Time) -> Option<(Via, Time)>,
    ) -> (Verdict, String)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Option<TargetState>>,
    {
        let mut watch = Watch::new(attempt.starts_target, settings.stable, Instant::now());
        let mut health = Health::default();
        let since = attempt.ended.plus(settings.settle);
        tokio::time::sleep(since.since(Time::now()).min(settings.settle)).await;
        let end = Instant::now() + attempt.ended.plus(settings.within).since(Time::now()).min(settings.within);
        loop {
            let look_at_target = async { tokio::time::timeout(TARGET_WITHIN, target()).await.ok().flatten() };
            let asked = Instant::now();
            let look = self.look_with(settings.probe.as_ref(), attempt.alert, since);
            let ((seen, probed), state) = tokio::join!(look, look_at_target);
            let seen = with_doors(seen, told(since), since);
            let seen = match (probed, &state) {
                (Some(probed), _) => with_probe(seen, probed),
                (None, Some(state)) => health.judge(seen, state, attempt.begun),
                (None, None) => seen,
            };
            tracing::debug!(alert = attempt.alert.name(), ?seen, ?state, "looked again");
            if let Some(verdict) = watch.take(seen, state.as_ref(), asked, Instant::now() >= end) {
                return verdict;
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// The detectors and the probe at the same time.
    async fn look_with(&self, probe: Option<&Probe>, alert: &Alert, since: Time) -> (Seen, Option<Seen>) {
        let probed = async {
            match probe {
                Some(probe) => Some(in_time("the policy's probe", self.eyes.probe(probe, since)).await),
                None => None,
            }
        };
        tokio::join!(in_time("the detectors", self.eyes.look(alert, since)), probed)
    }
}

/// Each question has its own deadline; this is one for all those of a look.
async fn in_time(who: &str, look: BoxFuture<'_, Seen>) -> Seen {
    let late = |_| Seen::Unclear(format!("{who} gave no answer within {}", print_duration(LOOK_WITHIN)));
    tokio::time::timeout(LOOK_WITHIN, look).await.unwrap_or_else(late)
}

/// What is positively well is believed before what was told at a door, as before what an Alertmanager lists. Nothing else is.
fn with_doors(seen: Seen, told: Option<(Via, Time)>, since: Time) -> Seen {
    match (seen, told) {
        (Seen::Unclear(_) | Seen::Unwatched(_), Some((via, at))) if at > since => {
            Seen::Firing(format!("{via} says that it fires: told again since, at {at}"))
        }
        (Seen::Unclear(text) | Seen::Unwatched(text), Some((via, at))) => {
            Seen::Suspect(format!("{via} said at {at} that it fires, and has not taken that back; {text}"))
        }
        (seen, _) => seen,
    }
}

/// With a probe it is well when the probe says so and no detector that can be asked says, or may mean, that it fires.
fn with_probe(seen: Seen, probed: Seen) -> Seen {
    match (seen, probed) {
        (Seen::Firing(text), _) | (_, Seen::Firing(text)) => Seen::Firing(text),
        (Seen::Suspect(text), _) => Seen::Suspect(text),
        (Seen::Healthy(text), Seen::Healthy(yes)) => Seen::Healthy(format!("{yes}; {text}")),
        (Seen::Unclear(text) | Seen::Unwatched(text), Seen::Healthy(yes)) => {
            Seen::Healthy(format!("{yes}; no detector that can be asked says that it fires ({text})"))
        }
        (_, Seen::Unclear(why) | Seen::Suspect(why) | Seen::Unwatched(why)) => Seen::Unclear(why),
    }
}

/// A container's own health check, where nobody else watches.
#[derive(Debug, Default)]
struct Health {
    /// It was seen not to be healthy since the action: so `healthy` is news.
    was_not: bool,
}

impl Health {
    /// `healthy` counts when it cannot be from before the action: after a start every health check begins anew.
    fn judge(&mut self, seen: Seen, state: &TargetState, begun: Time) -> Seen {
        let Some(health) = &state.health else { return seen };
        if health != "healthy" {
            self.was_not = true;
            return seen;
        }
        let is_new = self.was_not || state.started.is_some_and(|started| started >= begun);
        match seen {
            Seen::Unwatched(nobody) if is_new && state.state == "running" => {
                Seen::Healthy(format!("{nobody}; the container's own health check passes since the action"))
            }
            seen => seen,
        }
    }
}

/// What was seen so far; decides when that is enough. Pure: moments come in as arguments.
#[derive(Debug)]
struct Watch {
    starts_target: bool,
    stable: Duration,
    started: Instant,
    well_since: Option<Instant>,
    down_since: Option<Instant>,
}

impl Watch {
    fn new(starts_target: bool, stable: Duration, started: Instant) -> Self {
        Self { starts_target, stable, started, well_since: None, down_since: None }
    }

    /// Takes a look that was begun at `at`; `over` when there is no time left for being well to begin.
    fn take(&mut self, seen: Seen, target: Option<&TargetState>, at: Instant, over: bool) -> Option<(Verdict, String)> {
        if let Seen::Healthy(text) = &seen {
            let since = *self.well_since.get_or_insert(at);
            self.down_since = None;
            let lasted = at.saturating_duration_since(since);
            return (lasted >= self.stable).then(|| (Verdict::Healed, format!("{text}, for {}", print_duration(lasted))));
        }
        self.well_since = None;
        if let Some(state) = self.down(target, at) {
            let text = format!("the target is {state} again after it was started");
            return Some((Verdict::NotHealed, text));
        }
        if !over {
            return None;
        }
        let lasted = print_duration(at.saturating_duration_since(self.started));
        Some(match seen {
            Seen::Firing(text) => (Verdict::NotHealed, format!("after {lasted}: {text}")),
            Seen::Healthy(text) | Seen::Suspect(text) | Seen::Unclear(text) | Seen::Unwatched(text) => {
                (Verdict::Unclear, format!("after {lasted} it cannot be told: {text}"))
            }
        })
    }

    /// The target's state, when it was seen down at two looks far enough apart and at none in between up.
    fn down(&mut self, target: Option<&TargetState>, at: Instant) -> Option<String> {
        let state = target.filter(|_| self.starts_target)?;
        if !state.is_down() {
            self.down_since = None;
            return None;
        }
        let since = *self.down_since.get_or_insert(at);
        (at.saturating_duration_since(since) >= DOWN_FOR).then(|| state.state.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn healthy() -> Seen {
        Seen::Healthy("P says well".to_owned())
    }
    fn firing() -> Seen {
        Seen::Firing("P says it is firing".to_owned())
    }
    fn unclear() -> Seen {
        Seen::Unclear("P cannot be reached".to_owned())
    }
    fn unwatched() -> Seen {
        Seen::Unwatched("nobody watches".to_owned())
    }
    fn target(state: &str, health: Option<&str>, started: i64) -> TargetState {
        TargetState { state: state.to_owned(), health: health.map(str::to_owned), started: Some(Time(started)) }
    }

    fn watch() -> (Watch, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Watch::new(true, Duration::from_secs(30), start), move |s| start + Duration::from_secs(s))
    }

    #[test]
    fn well_has_to_last_without_a_break() {
        let (mut watch, at) = watch();
        assert_eq!(watch.take(healthy(), None, at(0), false), None);
        assert_eq!(watch.take(healthy(), None, at(28), false), None);
        assert_eq!(watch.take(unclear(), None, at(29), false), None);
        assert_eq!(watch.take(healthy(), None, at(31), false), None);
        assert_eq!(watch.take(healthy(), None, at(60), false), None);
        // Time is up, but being well began in time.
        assert_eq!(watch.take(healthy(), None, at(60), true), None);
        let (verdict, text) = watch.take(healthy(), None, at(61), true).unzip();
        assert_eq!(verdict, Some(Verdict::Healed));
        assert_eq!(text.as_deref(), Some("P says well, for 30.0 s"));
    }

    #[test]
    fn at_the_end_the_last_look_counts() {
        let (mut watch, at) = watch();
        assert_eq!(watch.take(firing(), None, at(0), false), None);
        let verdict = watch.take(firing(), None, at(180), true);
        assert!(verdict.is_some_and(|(v, text)| v == Verdict::NotHealed && text.contains("firing")));
        let verdict = watch.take(unclear(), None, at(180), true);
        assert!(verdict.is_some_and(|(v, text)| v == Verdict::Unclear && text.contains("cannot be reached")));
    }

    #[test]
    fn a_target_that_stays_down_ends_it_early() {
        let down = target("exited", None, 0);
        let up = target("running", None, 0);
        let (mut watch, at) = watch();
        assert_eq!(watch.take(firing(), Some(&down), at(0), false), None);
        assert_eq!(watch.take(firing(), Some(&up), at(2), false), None);
        assert_eq!(watch.take(firing(), Some(&down), at(4), false), None);
        assert_eq!(watch.take(firing(), Some(&down), at(6), false), None);
        let verdict = watch.take(unclear(), Some(&down), at(8), false);
        assert!(verdict.is_some_and(|(v, text)| v == Verdict::NotHealed && text.contains("exited")));
        // Not when nothing started it, and not against a positive observation.
        let mut other = Watch::new(false, Duration::from_secs(30), at(0));
        assert_eq!(other.take(firing(), Some(&down), at(0), false), None);
        assert_eq!(other.take(firing(), Some(&down), at(9), false), None);
        assert_eq!(watch.take(healthy(), Some(&down), at(20), false), None);
    }

    #[test]
    fn a_probe_speaks_where_detectors_cannot_and_never_against_them() {
        let suspect = || Seen::Suspect("P says it is pending".to_owned());
        let (yes, no) = (|| Seen::Healthy("yes".to_owned()), || Seen::Firing("no".to_owned()));
        assert_eq!(with_probe(firing(), yes()), firing());
        assert_eq!(with_probe(suspect(), yes()), suspect());
        for seen in [healthy(), unclear(), unwatched()] {
            assert!(matches!(with_probe(seen.clone(), yes()), Seen::Healthy(text) if text.starts_with("yes; ")), "{seen:?}");
            assert_eq!(with_probe(seen.clone(), no()), no(), "{seen:?}");
            assert_eq!(with_probe(seen.clone(), unclear()), unclear(), "{seen:?}");
        }
    }

    #[test]
    fn what_is_told_at_a_door_counts_before_a_probe_and_not_before_a_detector() {
        let told = |at| Some((Via::Post, Time(at)));
        for seen in [unclear(), unwatched()] {
            assert_eq!(with_doors(seen.clone(), None, Time(9)), seen);
            assert!(
                matches!(with_doors(seen.clone(), told(10), Time(9)), Seen::Firing(text) if text.contains("Prometheus' post"))
            );
            assert!(matches!(with_doors(seen, told(9), Time(9)), Seen::Suspect(text) if text.contains("not taken that back")));
        }
        for seen in [healthy(), firing(), Seen::Suspect("A still lists it".to_owned())] {
            assert_eq!(with_doors(seen.clone(), told(10), Time(9)), seen);
        }
    }

    #[test]
    fn a_health_check_counts_only_when_it_is_news() {
        let judge = |health: &mut Health, state: &TargetState| health.judge(unwatched(), state, Time(1_000));
        let fresh = &mut Health::default();
        assert_eq!(judge(fresh, &target("running", Some("healthy"), 999)), unwatched());
        assert_eq!(judge(fresh, &target("running", None, 1_000)), unwatched());
        assert!(matches!(judge(fresh, &target("running", Some("healthy"), 1_000)), Seen::Healthy(_)));
        assert_eq!(judge(fresh, &target("running", Some("unhealthy"), 999)), unwatched());
        assert!(matches!(judge(fresh, &target("running", Some("healthy"), 999)), Seen::Healthy(_)));
        // What still fires is not outvoted, and who cannot tell is not spoken for.
        for seen in [unclear(), Seen::Suspect("A still lists it".to_owned())] {
            assert_eq!(fresh.judge(seen.clone(), &target("running", Some("healthy"), 1_000), Time(1_000)), seen);
        }
        assert_eq!(fresh.judge(firing(), &target("running", Some("healthy"), 1_000), Time(1_000)), firing());
    }

    /// Says what it is told to, and when it was asked.
    #[derive(Debug, Default)]
    struct Scripted {
        say: Option<Seen>,
        asked: std::sync::Mutex<Vec<(Time, Time)>>,
    }

    impl Detect for Scripted {
        fn look<'a>(&'a self, _: &'a Alert, since: Time) -> BoxFuture<'a, Seen> {
            Box::pin(async move {
                self.asked.lock().unwrap().push((Time::now(), since));
                match &self.say {
                    Some(seen) => seen.clone(),
                    None => std::future::pending().await,
                }
            })
        }
        fn probe<'a>(&'a self, _: &'a Probe, _: Time) -> BoxFuture<'a, Seen> {
            Box::pin(std::future::ready(Seen::Firing("the probe says no".to_owned())))
        }
    }

    async fn verify(eyes: &Arc<Scripted>, settings: &Verify) -> ((Verdict, String), Duration) {
        let _clock = crate::clock::Simulated::begin(Time(1_000_000));
        let alert = Alert {
            family: crate::alert::Family::Prometheus,
            status: crate::alert::Status::Firing,
            labels: crate::alert::Labels::new(),
            annotations: crate::alert::Labels::new(),
            starts_at: Time(0),
            ends_at: None,
            generator_url: String::new(),
            fingerprint: None,
        };
        let attempt = Attempt { alert: &alert, begun: Time(999_000), ended: Time(1_000_000), starts_target: true };
        let begun = Instant::now();
        let verdict =
            Verifier::with(Arc::clone(eyes) as Arc<dyn Detect>).verify(&attempt, settings, || async { None }, |_| None).await;
        (verdict, begun.elapsed())
    }

    fn scripted(say: Option<Seen>) -> Arc<Scripted> {
        Arc::new(Scripted { say, ..Scripted::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_looked_at_before_it_has_settled() {
        let settings = Verify { settle: Duration::from_secs(20), ..Verify::default() };
        let eyes = scripted(Some(healthy()));
        let ((verdict, _), took) = verify(&eyes, &settings).await;
        assert_eq!(verdict, Verdict::Healed);
        assert!(took >= Duration::from_secs(50) && took <= Duration::from_secs(53), "{took:?}");
        let asked = eyes.asked.lock().unwrap();
        assert!(asked.iter().all(|(at, since)| *at >= Time(1_020_000) && *since == Time(1_020_000)), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn eyes_that_never_answer_cost_no_more_than_the_deadline() {
        let ((verdict, text), took) = verify(&scripted(None), &Verify::default()).await;
        assert_eq!(verdict, Verdict::Unclear);
        assert!(text.contains("the detectors gave no answer within 30.0 s"), "{text}");
        assert!(took <= Duration::from_secs(180) + LOOK_WITHIN + PAUSE, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_at_the_end_means_not_healed() {
        let settings = Verify { probe: Some(Probe::Promql("x == 1".to_owned())), ..Verify::default() };
        let ((verdict, text), _) = verify(&scripted(Some(healthy())), &settings).await;
        assert_eq!(verdict, Verdict::NotHealed);
        assert!(text.contains("the probe says no"), "{text}");
    }
}
