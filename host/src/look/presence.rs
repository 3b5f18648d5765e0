//! Whether the Docker engines answer: looked at every few seconds, said once when it changes, and shown for as long as it lasts.
//!
//! A fault here does nothing by itself: whoever needs an engine asks it anew. It is there so that a lost engine is known before it is needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use super::docker::Engines;
use crate::action::DockerHost;
use crate::clock::Time;
use crate::telemetry::clean;

/// How often every engine is looked at; each look has the engines' own deadline.
const EVERY: Duration = Duration::from_secs(15);

/// How one engine was at the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineView {
    /// True while it answers.
    pub reachable: bool,
    /// Since when it has answered, or not answered; `None`: it was not looked at yet.
    pub since: Option<Time>,
    /// What went wrong last, with the time; kept until it goes wrong again.
    pub last_error: Option<(Time, String)>,
}

/// The latest view of all engines; a cheap handle to one shared view.
#[derive(Clone, Debug)]
pub struct Presence {
    engines: Arc<Engines>,
    views: Arc<Mutex<BTreeMap<DockerHost, EngineView>>>,
}

impl Presence {
    /// Nothing is looked at until [`Presence::run`] or [`Presence::once`].
    pub fn new(engines: Arc<Engines>) -> Self {
        let views = engines.hosts().map(|host| (host.clone(), EngineView::default())).collect();
        Self { engines, views: Arc::new(Mutex::new(views)) }
    }

    /// Looks again and again, until it is dropped.
    pub async fn run(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.once().await;
        }
    }

    /// Looks at every engine once, at all of them at the same time.
    pub async fn once(&self) {
        let look = self.engines.hosts().map(|host| async move { (host, self.engines.reachable(host).await) });
        for (host, answer) in join_all(look).await {
            self.record(host, answer.map_err(|error| clean(&error.to_string(), 500)));
        }
    }

    fn record(&self, host: &DockerHost, answer: Result<(), String>) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let view = views.entry(host.clone()).or_default();
        let (first, was) = (view.since.is_none(), std::mem::replace(&mut view.reachable, answer.is_ok()));
        if first || was != view.reachable {
            view.since = Some(Time::now());
            match &answer {
                Ok(()) if first => {}
                Ok(()) => tracing::info!(%host, "the Docker engine answers again"),
                Err(error) => tracing::warn!(%host, %error, "a Docker engine cannot be asked; what needs it is held"),
            }
        }
        if let Err(error) = answer {
            view.last_error = Some((Time::now(), error));
        }
    }

    /// All engines, for people.
    pub fn views(&self) -> BTreeMap<DockerHost, EngineView> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::look::docker::Settings;

    #[test]
    fn a_change_is_dated_once_and_the_last_error_is_kept() {
        let presence = Presence::new(Arc::new(Engines::connect(&Settings::default()).unwrap()));
        let host: DockerHost = "local".parse().unwrap();
        let view = || presence.views()[&host].clone();
        assert_eq!(view(), EngineView::default());
        presence.record(&host, Err("gone".to_owned()));
        let since = view().since;
        assert!(since.is_some() && !view().reachable);
        presence.record(&host, Err("still gone".to_owned()));
        assert_eq!(view().since, since);
        presence.record(&host, Ok(()));
        assert!(view().reachable && view().last_error.is_some_and(|(_, error)| error == "still gone"));
    }
}
