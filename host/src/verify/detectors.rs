//! All detectors at once: every Prometheus and every Alertmanager that is configured, and what they say together.
//!
//! Prometheus tells whether an alert is over. Alertmanager can say that it fires, never that it does not: it holds what it was told until that
//! expires, and after a restart it knows nothing for a while.

use futures_util::future::{BoxFuture, FutureExt as _, join_all};

use super::detector::{self, Said};
use super::{Detect, Seen, probe};
use crate::alert::{Alert, Family};
use crate::clock::{Time, print_duration};
use crate::look::sight::{QUIET, Sources};
use crate::policy::Probe;

/// The real detectors.
#[derive(Debug)]
pub(super) struct Detectors {
    pub(super) sources: Sources,
}

impl Detect for Detectors {
    fn look<'a>(&'a self, alert: &'a Alert, since: Time) -> BoxFuture<'a, Seen> {
        async move {
            let drop = &*self.sources.drop;
            let prometheus = join_all(self.sources.prometheus.iter().map(|p| detector::look(p, alert, drop, since)));
            let (said, listed) = tokio::join!(prometheus, self.listed(alert, since));
            together(alert.family, said, listed)
        }
        .boxed()
    }

    fn probe<'a>(&'a self, probe: &'a Probe, since: Time) -> BoxFuture<'a, Seen> {
        match probe {
            Probe::Promql(promql) => probe::promql(&self.sources.prometheus, promql, since).boxed(),
            Probe::Http(http) => probe::http(http, since).boxed(),
        }
    }
}

impl Detectors {
    /// What the Alertmanagers list.
    async fn listed(&self, alert: &Alert, since: Time) -> Listed {
        let drop = &*self.sources.drop;
        let ask = self.sources.alertmanager.iter().map(|am| async move { (am, am.same(&alert.labels, drop).await) });
        let mut listed = Listed::default();
        for (am, answer) in join_all(ask).await {
            let who = am.who();
            match answer {
                Ok(alerts) if alerts.iter().any(|a| a.updated_at > since) => {
                    listed.again.get_or_insert_with(|| format!("{who} lists it, as it was told again since"));
                }
                Ok(alerts) if !alerts.is_empty() => listed.still.push(format!("{who} still lists it, from before")),
                Ok(_) => match am.runs_for().await {
                    Ok(long) if long < QUIET => {
                        let long = print_duration(long);
                        listed.unclear.push(format!("{who} was started {long} ago, and may not have been told yet what fires"));
                    }
                    Ok(_) => {}
                    Err(error) => listed.unclear.push(error.to_string()),
                },
                Err(error) => listed.unclear.push(error.to_string()),
            }
        }
        listed
    }
}

/// What the Alertmanagers say about one alert.
#[derive(Debug, Default)]
struct Listed {
    /// It fires, as one was told again since the action.
    again: Option<String>,
    /// One lists it, as it was told before.
    still: Vec<String>,
    /// One that lists nothing of it proves nothing by that.
    unclear: Vec<String>,
}

/// What all detectors say together about an alert of that family.
fn together(family: Family, said: Vec<Said>, listed: Listed) -> Seen {
    let (mut healthy, mut suspect, mut unclear, mut without) = (None, Vec::new(), Vec::new(), Vec::new());
    for said in said {
        match said {
            Said::Firing(text) => return Seen::Firing(text),
            Said::Suspect(text) => suspect.push(text),
            Said::Healthy(text) => healthy = Some(text),
            Said::Unclear(text) => unclear.push(text),
            Said::NoRule(text) => without.push(text),
        }
    }
    // Several Prometheus may share the work, so one without the rule says nothing; one that has it and cannot tell leaves it to one that can.
    match (healthy, listed.again) {
        _ if !suspect.is_empty() => Seen::Suspect(suspect.join("; ")),
        (Some(text), _) => Seen::Healthy(text),
        (None, Some(text)) => Seen::Firing(text),
        (None, None) => {
            // Prometheus' own alert whose rule nobody has: the rule may have been removed a moment ago, and said nothing of being well.
            let orphaned = family == Family::Prometheus && !without.is_empty();
            let sure = unclear.is_empty() && listed.unclear.is_empty() && !orphaned;
            let known = [unclear, without, listed.still.clone(), listed.unclear].concat().join("; ");
            match (listed.still.is_empty(), sure) {
                (false, _) => Seen::Suspect(known),
                (true, false) => Seen::Unclear(known),
                (true, true) if known.is_empty() => Seen::Unwatched("no Prometheus that could tell is configured".to_owned()),
                (true, true) => Seen::Unwatched(known),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again() -> Listed {
        Listed { again: Some("A lists it".to_owned()), ..Listed::default() }
    }
    fn still() -> Listed {
        Listed { still: vec!["A still lists it".to_owned()], ..Listed::default() }
    }
    fn of(said: Vec<Said>, listed: Listed) -> Seen {
        together(Family::Prometheus, said, listed)
    }
    fn well() -> Said {
        Said::Healthy("P".to_owned())
    }
    fn blind() -> Said {
        Said::Unclear("R".to_owned())
    }
    fn no_rule() -> Said {
        Said::NoRule("S has no rule".to_owned())
    }

    #[test]
    fn prometheus_is_believed_before_a_lagging_alertmanager() {
        let fires = || Said::Firing("Q".to_owned());
        let suspect = || Said::Suspect("T".to_owned());
        assert_eq!(of(vec![well()], again()), Seen::Healthy("P".to_owned()));
        assert_eq!(of(vec![well(), suspect(), fires()], Listed::default()), Seen::Firing("Q".to_owned()));
        assert_eq!(of(vec![suspect(), well()], again()), Seen::Suspect("T".to_owned()));
        assert_eq!(of(vec![blind()], again()), Seen::Firing("A lists it".to_owned()));
        assert_eq!(of(vec![blind(), well(), no_rule()], Listed::default()), Seen::Healthy("P".to_owned()));
        // An Alertmanager that lists nothing is no proof of anything.
        assert_eq!(of(vec![blind()], Listed::default()), Seen::Unclear("R".to_owned()));
    }

    #[test]
    fn what_alertmanager_was_told_before_the_action_is_a_suspicion_and_no_more() {
        assert_eq!(of(vec![well()], still()), Seen::Healthy("P".to_owned()));
        assert_eq!(of(vec![], still()), Seen::Suspect("A still lists it".to_owned()));
        assert_eq!(of(vec![blind()], still()), Seen::Suspect("R; A still lists it".to_owned()));
    }

    #[test]
    fn unwatched_is_only_what_nobody_could_have_watched() {
        let fresh = || Listed { unclear: vec!["A was just started".to_owned()], ..Listed::default() };
        assert!(matches!(of(vec![], Listed::default()), Seen::Unwatched(text) if text.contains("configured")));
        assert!(matches!(of(vec![], fresh()), Seen::Unclear(_)));
        // A rule that is gone raised it, for all that is known.
        assert!(matches!(of(vec![no_rule()], Listed::default()), Seen::Unclear(_)));
        let other = |said, listed| together(Family::Docker, said, listed);
        assert!(matches!(other(vec![no_rule()], Listed::default()), Seen::Unwatched(_)));
        assert!(matches!(other(vec![no_rule(), blind()], Listed::default()), Seen::Unclear(_)));
        assert!(matches!(other(vec![no_rule()], fresh()), Seen::Unclear(_)));
    }
}
