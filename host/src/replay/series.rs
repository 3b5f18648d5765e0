//! From Prometheus' own series back to alerts: when did what fire, for a team that has no journal yet.
//!
//! `ALERTS` says at each evaluation which alerts fire, and `ALERTS_FOR_STATE` since when their conditions hold. They are asked for in pieces, each a
//! bounded question; a piece that is too much is halved, and one that fails is asked again. What they lack is [`LACKING`]. Absent on
//! purpose: pending alerts; nobody is told of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::backtest::Span;
use crate::alert::{Alert, Family, Key, Labels, Status};
use crate::clock::Time;
use crate::look::http::LookError;
use crate::look::prometheus::{Prometheus, Series};

/// What the series do not tell, one sentence each.
pub const LACKING: [&str; 6] = [
    "annotations and the link to the rule: a policy that reads them is told that there are none",
    "the exact moments: they are known to within one step, and what fired and ended between two steps was never there",
    "the states of containers: each is told as `unknown`",
    "the answers of lookups: each is refused, so a policy that looks decides as it does when it cannot",
    "silences, inhibitions and deliberate stops: people would have held some of this",
    "alerts that came from elsewhere than this Prometheus",
];

/// Samples of one series that are asked for at once; Prometheus gives 11 000.
const POINTS: u32 = 1_440;
/// How often a question that fails is asked.
const TRIES: u32 = 4;
/// The first pause between two tries; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// A piece of so many steps is not halved any more.
const SMALLEST: u32 = 10;
/// Alerts that are rebuilt at most: more of them is no month of alerts but a broken rule.
const MOST: usize = 200_000;

/// One alert, from its first firing to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// What would have been heard of it.
    pub alert: Alert,
    /// Who it is.
    pub key: Key,
    /// When it began to fire.
    pub from: Time,
    /// When it was over; `None` when it still fires at the end.
    pub until: Option<Time>,
    /// True when it was firing before the time began: its start was not seen.
    pub cut: bool,
}

/// Asks for all alerts of that time. `tell` hears how many pieces are there, of how many.
///
/// # Errors
/// When Prometheus cannot be asked, several times over.
pub async fn rebuild(
    prometheus: &Prometheus,
    span: Span,
    step: Duration,
    drop: &[String],
    external: &Labels,
    tell: impl Fn(u64, u64),
) -> Result<Vec<Episode>, LookError> {
    let mut builder = Builder { span, step, drop, external, firing: BTreeMap::new(), active: BTreeMap::new() };
    let all = pieces(span, step);
    let of = all.len() as u64;
    for (done, (from, to)) in (1..).zip(all) {
        for (promql, active) in [("ALERTS{alertstate=\"firing\"}", false), ("ALERTS_FOR_STATE", true)] {
            for series in ask(prometheus, promql, from, to, step).await? {
                builder.take(series, active);
            }
        }
        tell(done, of);
    }
    Ok(builder.episodes())
}

/// The time in pieces that can be asked for at once.
pub(super) fn pieces(span: Span, step: Duration) -> Vec<(Time, Time)> {
    let (mut all, mut from) = (Vec::new(), span.since);
    while from <= span.until {
        // The end of a piece is not the beginning of the next one.
        let to = from.plus(step * (POINTS - 1)).min(span.until);
        all.push((from, to));
        from = to.plus(step);
    }
    all
}

/// Asks again when it fails, and for halves when it is too much.
pub(super) async fn ask(
    prometheus: &Prometheus,
    promql: &str,
    from: Time,
    to: Time,
    step: Duration,
) -> Result<Vec<Series>, LookError> {
    let (mut all, mut open) = (Vec::new(), vec![(from, to)]);
    while let Some((from, to)) = open.pop() {
        let half = to.since(from) / 2;
        let mut pause = PAUSE;
        for attempt in 1.. {
            match prometheus.range(promql, from, to, step).await {
                Ok(series) => {
                    all.extend(series);
                    break;
                }
                Err(LookError::TooLarge { .. } | LookError::TimedOut { .. }) if half > step * SMALLEST => {
                    let steps = u32::try_from(half.as_millis() / step.as_millis().max(1)).unwrap_or(SMALLEST);
                    let middle = from.plus(step * steps);
                    open.extend([(middle.plus(step), to), (from, middle)]);
                    break;
                }
                // What it refuses it will refuse again, unless it is only busy.
                Err(error @ LookError::Refused { status, .. }) if status.is_client_error() && status.as_u16() != 429 => {
                    return Err(error);
                }
                Err(error) if attempt >= TRIES => return Err(error),
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }
    Ok(all)
}

struct Builder<'a> {
    span: Span,
    step: Duration,
    drop: &'a [String],
    external: &'a Labels,
    /// When each alert was seen firing.
    firing: BTreeMap<Labels, Vec<Time>>,
    /// Since when its condition held, as each sample says.
    active: BTreeMap<Labels, BTreeMap<Time, Time>>,
}

impl Builder<'_> {
    fn take(&mut self, series: Series, active: bool) {
        let mut labels = series.labels;
        labels.remove("__name__");
        labels.remove("alertstate");
        labels.retain(|_, value| !value.is_empty());
        if active {
            let seconds = |value: f64| crate::look::prometheus::seconds_to_time(value);
            let since = series.values.into_iter().map(|(at, value)| (at, seconds(value)));
            self.active.entry(labels).or_default().extend(since);
        } else {
            self.firing.entry(labels).or_default().extend(series.values.into_iter().map(|(at, _)| at));
        }
    }

    fn episodes(mut self) -> Vec<Episode> {
        // Replicas of one alert are one alert: it fires while one of them does.
        let mut all: BTreeMap<Key, Vec<Episode>> = BTreeMap::new();
        for (labels, mut seen) in std::mem::take(&mut self.firing) {
            seen.sort();
            seen.dedup();
            for episode in self.of(&labels, &seen) {
                all.entry(episode.key.clone()).or_default().push(episode);
            }
        }
        let mut all: Vec<Episode> = all.into_values().flat_map(joined).collect();
        all.sort_by(|one, other| (one.from, &one.key).cmp(&(other.from, &other.key)));
        all.truncate(MOST);
        all
    }

    fn of(&self, labels: &Labels, seen: &[Time]) -> Vec<Episode> {
        let nothing = BTreeMap::new();
        let active = self.active.get(labels).unwrap_or(&nothing);
        let mut episodes: Vec<Episode> = Vec::new();
        let (mut last, mut since): (Option<Time>, Option<Time>) = (None, None);
        for at in seen {
            let began = active.get(at).copied();
            let gap = last.is_none_or(|last| at.since(last) > self.step);
            // It ended and began anew between two steps, or after a restart of Prometheus it was taken up again.
            let anew = began.is_some() && since.is_some() && began > since && began > last;
            if gap || anew {
                if let (Some(episode), Some(last)) = (episodes.last_mut(), last) {
                    let end = last.plus(self.step).min(*at);
                    // What began anew cannot have begun before the other had ended.
                    episode.until = Some(began.filter(|_| anew).map_or(end, |began| end.min(began)));
                }
                episodes.push(self.begin(labels, *at, began));
            }
            last = Some(*at);
            since = began.or(since);
        }
        if let (Some(episode), Some(last)) = (episodes.last_mut(), last) {
            let ended = last.plus(self.step);
            episode.until = (ended <= self.span.until).then_some(ended);
        }
        episodes
    }

    fn begin(&self, labels: &Labels, at: Time, active: Option<Time>) -> Episode {
        let mut all = self.external.clone();
        all.extend(labels.clone());
        // Where the condition began within the last step, that is the moment; where it had to hold for long, only the step is known.
        let from = active.filter(|active| *active > at.minus(self.step) && *active <= at).unwrap_or(at);
        let cut = at.since(self.span.since) < self.step;
        let alert = Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels: all,
            annotations: Labels::new(),
            starts_at: from,
            ends_at: None,
            generator_url: String::new(),
            fingerprint: None,
        };
        let from = from.max(self.span.since);
        Episode { key: Key::of(alert.family, &alert.labels, self.drop), alert, from, until: None, cut }
    }
}

/// Episodes of one key that overlap are one.
fn joined(mut episodes: Vec<Episode>) -> Vec<Episode> {
    episodes.sort_by_key(|episode| episode.from);
    let mut all: Vec<Episode> = Vec::new();
    for episode in episodes {
        match all.last_mut() {
            Some(last) if last.until.is_none_or(|until| episode.from < until) => {
                last.until = last.until.zip(episode.until).map(|(one, other)| one.max(other));
            }
            _ => all.push(episode),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STEP: Duration = Duration::from_secs(60);

    fn minute(n: i64) -> Time {
        Time(1_700_000_040_000 + n * 60_000)
    }

    fn series(replica: &str, values: Vec<(Time, f64)>) -> Series {
        let labels = [("__name__", "ALERTS"), ("alertname", "Down"), ("alertstate", "firing"), ("replica", replica)];
        Series { labels: labels.map(|(n, v)| (n.to_owned(), v.to_owned())).into(), values }
    }

    fn episodes(firing: Vec<Series>, active: Vec<Series>) -> Vec<(i64, Option<i64>, bool)> {
        let (drop, external) = (["replica".to_owned()], Labels::new());
        let span = Span { since: minute(0), until: minute(100) };
        let mut builder =
            Builder { span, step: STEP, drop: &drop, external: &external, firing: BTreeMap::new(), active: BTreeMap::new() };
        firing.into_iter().for_each(|series| builder.take(series, false));
        active.into_iter().for_each(|series| builder.take(series, true));
        let seconds = |at: Time| (at.0 - minute(0).0) / 1_000;
        let all = builder.episodes();
        all.into_iter().map(|one| (seconds(one.from), one.until.map(seconds), one.cut)).collect()
    }

    fn fires(minutes: impl IntoIterator<Item = i64>) -> Vec<(Time, f64)> {
        minutes.into_iter().map(|n| (minute(n), 1.0)).collect()
    }

    #[test]
    fn a_gap_ends_an_alert_and_the_ends_of_the_time_are_told() {
        let all = episodes(vec![series("a", fires([0, 1, 5, 6, 99, 100]))], vec![]);
        assert_eq!(all, [(0, Some(120), true), (300, Some(420), false), (5_940, None, false)]);
    }

    #[test]
    fn replicas_of_one_alert_are_one() {
        let all = episodes(vec![series("a", fires(5..9)), series("b", fires(7..12))], vec![]);
        assert_eq!(all, [(300, Some(720), false)]);
    }

    #[test]
    fn the_condition_s_beginning_sharpens_the_start_and_parts_two_firings() {
        let began = |n: i64| (minute(n).0 - 20_000) as f64 / 1e3;
        let active = vec![(minute(5), began(5)), (minute(6), began(5)), (minute(7), began(7))];
        let all = episodes(vec![series("a", fires(5..8))], vec![series("a", active)]);
        assert_eq!(all, [(280, Some(400), false), (400, Some(480), false)]);
        // Where it had to hold for an hour, the step is all that is known.
        let all = episodes(vec![series("a", fires(5..8))], vec![series("a", vec![(minute(5), began(-60))])]);
        assert_eq!(all, [(300, Some(480), false)]);
    }
}
