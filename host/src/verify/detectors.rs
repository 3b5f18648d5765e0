//! All detectors at once: every Prometheus and every Alertmanager that is configured, and what they say together.
//!
//! Prometheus tells whether an alert is over. Alertmanager can say that it fires, never that it does not: it holds what it was told until that
//! expires, and after a restart it knows nothing for a while.

use futures_util::future::{BoxFuture, FutureExt as _, join_all};

use super::detector::{self, Said};
use super::{Detect, Seen};
use crate::alert::Alert;
use crate::clock::Time;
use crate::look::sight::Sources;
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
            together(said, listed)
        }
        .boxed()
    }

    // No policy can name a probe yet.
    fn probe<'a>(&'a self, _probe: &'a Probe, _since: Time) -> BoxFuture<'a, Seen> {
        std::future::ready(Seen::Unclear("the policy's probe cannot be asked".to_owned())).boxed()
    }
}

impl Detectors {
    /// Whether an Alertmanager lists it as told again since then; the errors of those that cannot be asked.
    async fn listed(&self, alert: &Alert, since: Time) -> Listed {
        let drop = &*self.sources.drop;
        let ask = self.sources.alertmanager.iter().map(|am| async move { (am.who(), am.same(&alert.labels, drop).await) });
        let mut listed = Listed::default();
        for (who, answer) in join_all(ask).await {
            match answer {
                Ok(alerts) if alerts.iter().any(|a| a.updated_at > since) => {
                    listed.firing.get_or_insert_with(|| format!("{who} lists it, as it was told again since"));
                }
                Ok(_) => {}
                Err(error) => listed.unclear.push(error.to_string()),
            }
        }
        listed
    }
}

#[derive(Debug, Default)]
struct Listed {
    firing: Option<String>,
    unclear: Vec<String>,
}

/// What all sources say together.
fn together(said: Vec<Said>, listed: Listed) -> Seen {
    let no_prometheus = said.is_empty();
    let (mut healthy, mut unclear, mut without) = (None, Vec::new(), Vec::new());
    for said in said {
        match said {
            Said::Firing(text) => return Seen::Firing(text),
            Said::Healthy(text) => healthy = Some(text),
            Said::Unclear(text) => unclear.push(text),
            Said::NoRule(text) => without.push(text),
        }
    }
    // Several Prometheus may share the work, so one without the rule says nothing; one that has it and cannot tell leaves it to one that can.
    match (healthy, listed.firing) {
        (Some(text), _) => Seen::Healthy(text),
        (None, Some(text)) => Seen::Firing(text),
        (None, None) if no_prometheus => Seen::Unwatched("no Prometheus that could tell is configured".to_owned()),
        (None, None) => {
            unclear.extend(without);
            unclear.extend(listed.unclear);
            Seen::Unclear(unclear.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_is_believed_before_a_lagging_alertmanager() {
        let lists = || Listed { firing: Some("A lists it".to_owned()), unclear: Vec::new() };
        let well = || Said::Healthy("P".to_owned());
        let fires = || Said::Firing("Q".to_owned());
        let blind = || Said::Unclear("R".to_owned());
        assert_eq!(together(vec![well()], lists()), Seen::Healthy("P".to_owned()));
        assert_eq!(together(vec![well(), fires()], Listed::default()), Seen::Firing("Q".to_owned()));
        assert_eq!(together(vec![blind()], lists()), Seen::Firing("A lists it".to_owned()));
        assert_eq!(together(vec![blind(), well()], Listed::default()), Seen::Healthy("P".to_owned()));
        // An Alertmanager that lists nothing is no proof of anything.
        assert_eq!(together(vec![blind()], Listed::default()), Seen::Unclear("R".to_owned()));
        assert!(matches!(together(Vec::new(), Listed::default()), Seen::Unwatched(text) if text.contains("configured")));
    }
}
