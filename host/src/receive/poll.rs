//! The door that Paramedic opens itself: every few seconds all sources are asked what fires.
//!
//! A message is only a hint that something changed; for a second failure within its `group_interval` Alertmanager may send none
//! at all. Each source is asked on its own, so that one that hangs delays no other.
//! Absent on purpose: deduplication (one open incident per key is the journal's business) and jitter.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior};

use crate::alert::{Alert, Key, Via, own};
use crate::look::alertmanager::Alertmanager;
use crate::look::http::{ASK_WITHIN, LookError};
use crate::look::prometheus::{Prometheus, State};
use crate::look::sight::{Listing, Sight, Sources};

/// How often every source is asked, unless configured otherwise.
pub const EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Source {
    Prometheus(Arc<Prometheus>),
    Alertmanager(Arc<Alertmanager>),
}

/// Asks all sources what fires, again and again.
#[derive(Clone, Debug)]
pub struct Poller {
    sources: Vec<Source>,
    drop: Arc<[String]>,
    interval: Duration,
    sight: Sight,
}

impl Poller {
    /// Nothing is asked until [`Poller::run`] or [`Poller::once`].
    pub fn new(sources: &Sources, interval: Duration) -> Self {
        let prometheus = sources.prometheus.iter().cloned().map(Source::Prometheus);
        let alertmanager = sources.alertmanager.iter().cloned().map(Source::Alertmanager);
        let all: Vec<Source> = prometheus.chain(alertmanager).collect();
        let names = all.iter().map(|s| (s.who().to_owned(), s.via()));
        // One answer may be late, and one may be missed.
        let sight = Sight::new(names, interval * 2 + ASK_WITHIN * 2);
        Self { sources: all, drop: sources.drop.clone(), interval, sight }
    }

    /// The view that every round renews.
    pub fn sight(&self) -> Sight {
        self.sight.clone()
    }

    /// Asks until it is dropped; every answer that holds firing alerts goes to `hear`, after it is in the view.
    ///
    /// `hear` is waited for, so a slow intake slows this down and is never flooded.
    pub async fn run<F, Fut>(&self, hear: F)
    where
        F: Fn(Via, Vec<Alert>) -> Fut,
        Fut: Future<Output = ()>,
    {
        let rounds = self.sources.iter().enumerate().map(|(number, source)| self.rounds(number, source, &hear));
        join_all(rounds).await;
        // Without a source there is nothing to ask; whoever waits for this waits for a shutdown.
        std::future::pending().await
    }

    async fn rounds<F, Fut>(&self, number: usize, source: &Source, hear: &F)
    where
        F: Fn(Via, Vec<Alert>) -> Fut,
        Fut: Future<Output = ()>,
    {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complained = false;
        loop {
            ticks.tick().await;
            match self.ask(number, source).await {
                Ok(alerts) => {
                    if std::mem::take(&mut complained) {
                        tracing::info!(source = source.who(), "the source answers again");
                    }
                    if !alerts.is_empty() {
                        hear(source.via(), alerts).await;
                    }
                }
                // Said once per outage; the view says it for as long as it lasts.
                Err(error) if !std::mem::replace(&mut complained, true) => {
                    tracing::warn!(source = source.who(), %error, "a source cannot be asked what fires");
                }
                Err(_) => {}
            }
        }
    }

    /// Asks every source once, all at the same time, and renews the view.
    pub async fn once(&self) -> Vec<(String, Via, Result<Vec<Alert>, LookError>)> {
        let ask = |(number, source): (usize, &Source)| {
            let (who, via) = (source.who().to_owned(), source.via());
            let source = source.clone();
            async move { (who, via, self.ask(number, &source).await) }
        };
        join_all(self.sources.iter().enumerate().map(ask)).await
    }

    async fn ask(&self, number: usize, source: &Source) -> Result<Vec<Alert>, LookError> {
        let asked = Instant::now();
        let answer = source.list().await;
        let listed = answer.as_ref().map(|alerts| self.listings(alerts)).map_err(ToString::to_string);
        self.sight.record(number, asked, listed);
        Ok(answer?.into_iter().filter(|(_, listing)| *listing == Listing::Firing).map(|(alert, _)| alert).collect())
    }

    fn listings(&self, alerts: &[(Alert, Listing)]) -> HashMap<Key, Listing> {
        let mut listed = HashMap::with_capacity(alerts.len());
        for (alert, listing) in alerts {
            let entry = listed.entry(Key::of(alert.family, &alert.labels, &self.drop)).or_insert(*listing);
            // Two alerts that differ only in dropped labels: the worse one counts.
            if *listing == Listing::Firing {
                *entry = Listing::Firing;
            }
        }
        listed
    }
}

impl Source {
    fn who(&self) -> &str {
        match self {
            Self::Prometheus(p) => p.who(),
            Self::Alertmanager(a) => a.who(),
        }
    }

    fn via(&self) -> Via {
        match self {
            Self::Prometheus(_) => Via::Prometheus,
            Self::Alertmanager(_) => Via::Alertmanager,
        }
    }

    /// What it lists, without what Paramedic itself told it.
    async fn list(&self) -> Result<Vec<(Alert, Listing)>, LookError> {
        let mut listed = self.list_all().await?;
        listed.retain(|(alert, _)| !own::is_own(&alert.labels));
        Ok(listed)
    }

    async fn list_all(&self) -> Result<Vec<(Alert, Listing)>, LookError> {
        match self {
            Self::Prometheus(p) => {
                let listing = |state| if state == State::Firing { Listing::Firing } else { Listing::Pending };
                Ok(p.alerts().await?.into_iter().map(|a| (a.alert, listing(a.state))).collect())
            }
            // Suppressed alerts are listed too: they open an incident, which is then held, and shown as held.
            Self::Alertmanager(a) => Ok(a.alerts().await?.into_iter().map(|a| (a.alert, Listing::Firing)).collect()),
        }
    }
}
