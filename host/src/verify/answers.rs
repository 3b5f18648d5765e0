//! How soon the rules that are loaded in Prometheus can say that an alert is over, and which policies do not wait for that.
//!
//! A rule's own `for` delays its firing, never its going quiet. What delays that is `keep_firing_for`, the range its query looks back over
//! (`rate(x[5m])` may be too high for five minutes after the last error), the time until the next scrape and the time until the next evaluation;
//! and the same again for every recording rule it is built on. A policy whose `verify.within` is shorter calls every attempt a failure.
//! These are the longest times that there can be, so that what is said here is a warning, and never an error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::PAUSE;
use super::selectors::{self, Selector};
use crate::alert::Labels;
use crate::clock::print_duration;
use crate::look::http::LookError;
use crate::look::prometheus::{LoadedRule, Prometheus, Scrapes};
use crate::policy::Policy;
use crate::telemetry::clean;

/// How deep recording rules that are built on recording rules are followed.
const DEEPEST: usize = 5;
/// How many selectors of one alerting rule are looked at, those of its recording rules included.
const MOST_SELECTORS: usize = 1_000;
/// Of how many kinds of series it is asked which job they come from; the others are taken for usual ones.
const MOST_ASKED: usize = 64;
/// How long all questions about the rules of one Prometheus may take together.
const ALL_WITHIN: Duration = Duration::from_secs(60);

/// Warns of policies that look for a shorter time than the rules that can raise their alerts may need, and of those that no rule can reach.
///
/// # Errors
/// When Prometheus cannot be asked, or has not answered all that is asked within a minute.
pub async fn doubts(prometheus: &Prometheus, policies: &[(PathBuf, Arc<Policy>)]) -> Result<Vec<String>, LookError> {
    in_time(prometheus.who(), all_doubts(prometheus, policies)).await
}

/// Each question has its own deadline; this is one for all of them.
async fn in_time<T>(who: &str, all: impl Future<Output = Result<T, LookError>>) -> Result<T, LookError> {
    let late = |_| Err(LookError::TookTooLong { who: who.to_owned(), within: ALL_WITHIN });
    tokio::time::timeout(ALL_WITHIN, all).await.unwrap_or_else(late)
}

async fn all_doubts(prometheus: &Prometheus, policies: &[(PathBuf, Arc<Policy>)]) -> Result<Vec<String>, LookError> {
    let rules = prometheus.loaded().await?;
    // Programs that only speak Prometheus' language show no configuration; its defaults are as good a guess as any.
    let scrapes = prometheus.scrapes().await.unwrap_or_default();
    let mut answers = Answers { prometheus, scrapes, rules: &rules, asked: BTreeMap::new(), known: BTreeMap::new() };
    let mut doubts = Vec::new();
    for (file, policy) in policies {
        let alerting: Vec<_> = rules.iter().enumerate().filter(|(_, rule)| rule.alerting && may_raise(policy, rule)).collect();
        if alerting.is_empty() {
            doubts.push(format!(
                "{}: none of the {} rules loaded in {} can raise an alert that this policy matches: correct `match`, unless its alerts come from elsewhere",
                file.display(),
                rules.iter().filter(|rule| rule.alerting).count(),
                prometheus.who()
            ));
        }
        let mut slow: Vec<(Delay, &LoadedRule)> = Vec::new();
        for (place, rule) in alerting {
            let delay = answers.known_delay(place, rule).await;
            if delay.total() > policy.verify.within {
                slow.push((delay, rule));
            }
        }
        slow.sort_by_key(|(delay, _)| std::cmp::Reverse(delay.total()));
        if let Some((delay, rule)) = slow.first() {
            let others =
                if slow.len() > 1 { format!(", and {} more rules are slower than that", slow.len() - 1) } else { String::new() };
            doubts.push(format!(
                "{}: `verify.within` is {}, but rule {} of {} may need {} to go quiet ({delay}){others}: write `within: {}`",
                file.display(),
                print_duration(policy.verify.within),
                clean(&rule.name, 100),
                prometheus.who(),
                print_duration(delay.total()),
                written(delay.total()),
            ));
        }
    }
    Ok(doubts)
}

/// Whether an alert of this rule can be one that the policy matches, as far as the rule's own words tell.
fn may_raise(policy: &Policy, rule: &LoadedRule) -> bool {
    policy.matchers.0.iter().all(|matcher| {
        let known = match matcher.name() {
            "alertname" => Some(&rule.name),
            // Templates may become anything, and so may labels of the series.
            name => rule.labels.get(name).filter(|value| !value.contains("{{")),
        };
        known.is_none_or(|value| matcher.matches(&Labels::from([(matcher.name().to_owned(), value.clone())])))
    })
}

/// What keeps a rule from going quiet, each at its longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Delay {
    keeps_firing: Duration,
    looks_back: Duration,
    scrape: Duration,
    evaluation: Duration,
}

impl Delay {
    fn total(&self) -> Duration {
        // Prometheus' word is not to be trusted to be a possible length of time.
        let parts = [self.keeps_firing, self.looks_back, self.scrape, self.evaluation, PAUSE];
        parts.into_iter().fold(Duration::ZERO, Duration::saturating_add)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.keeps_firing, "keep_firing_for"),
            (self.looks_back, "looking back"),
            (self.scrape, "until the next scrape"),
            (self.evaluation, "until the next evaluation"),
        ];
        let told = parts.iter().filter(|(length, _)| !length.is_zero());
        let told: Vec<_> = told.map(|(length, what)| format!("{} {what}", print_duration(*length))).collect();
        f.write_str(&told.join(", "))
    }
}

/// What is known of one Prometheus.
struct Answers<'a> {
    prometheus: &'a Prometheus,
    scrapes: Scrapes,
    rules: &'a [LoadedRule],
    /// Scrape intervals by selector.
    asked: BTreeMap<String, Duration>,
    /// Delays by the rule's place among the rules: many policies may match one.
    known: BTreeMap<usize, Delay>,
}

impl Answers<'_> {
    async fn known_delay(&mut self, place: usize, rule: &LoadedRule) -> Delay {
        if let Some(known) = self.known.get(&place) {
            return *known;
        }
        let delay = self.delay(rule).await;
        self.known.insert(place, delay);
        delay
    }

    async fn delay(&mut self, rule: &LoadedRule) -> Delay {
        let mut slowest = Delay::default();
        // Selectors still to be looked at, with what the recording rules in between have added.
        let mut open: Vec<(Selector, Delay, usize)> = of(rule, Delay::default(), 0);
        for _ in 0..MOST_SELECTORS {
            let Some((selector, before, depth)) = open.pop() else { break };
            let delay = Delay { looks_back: before.looks_back.saturating_add(selector.back().unwrap_or_default()), ..before };
            let recording: Vec<_> = self.rules.iter().filter(|r| !r.alerting && selector.is_of(&r.name)).collect();
            if recording.is_empty() || depth >= DEEPEST {
                let delay = Delay { scrape: self.scrape(&selector).await, ..delay };
                slowest = if delay.total() > slowest.total() { delay } else { slowest };
            }
            for recording in recording.into_iter().filter(|_| depth < DEEPEST) {
                let through = Delay { evaluation: delay.evaluation.saturating_add(recording.interval), ..delay };
                open.extend(of(recording, through, depth + 1));
            }
        }
        Delay { keeps_firing: rule.keep_firing_for, evaluation: slowest.evaluation.saturating_add(rule.interval), ..slowest }
    }

    /// The longest scrape interval of the jobs that a selector's series come from.
    async fn scrape(&mut self, selector: &Selector) -> Duration {
        let series = selector.series();
        if let Some(known) = self.asked.get(&series) {
            return *known;
        }
        if self.asked.len() >= MOST_ASKED {
            return self.scrapes.usual;
        }
        let jobs = self.prometheus.query(&format!("count by (job) ({series})"), None).await.unwrap_or_default();
        let known = jobs.iter().filter_map(|sample| self.scrapes.jobs.get(sample.labels.get("job")?)).max();
        let length = known.copied().unwrap_or(self.scrapes.usual);
        self.asked.insert(series, length);
        length
    }
}

fn of(rule: &LoadedRule, before: Delay, depth: usize) -> Vec<(Selector, Delay, usize)> {
    // A query that is not understood is not warned of: verification itself will say so.
    let selectors = selectors::selectors(&rule.query).unwrap_or_default();
    selectors.into_iter().map(|selector| (selector, before, depth)).collect()
}

/// As it is written in a policy, rounded up to what a person would write.
fn written(length: Duration) -> String {
    let step = if length < Duration::from_secs(120) { 10 } else { 60 };
    let seconds = length.as_secs_f64().ceil();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length of time in whole seconds")]
    let seconds = (seconds as u64).div_ceil(step).saturating_mul(step);
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s}s"),
        (m, 0) => format!("{m}m"),
        (m, s) => format!("{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn policy(matchers: &str) -> Policy {
        serde_saphyr::from_str(&format!("name: p\nplugin: p.wasm\nmatch: {matchers}\n")).unwrap()
    }

    fn rule(labels: &[(&str, &str)]) -> LoadedRule {
        LoadedRule {
            name: "Down".to_owned(),
            alerting: true,
            query: "up == 0".to_owned(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            keep_firing_for: Duration::ZERO,
            interval: Duration::from_secs(15),
        }
    }

    #[test]
    fn what_a_rule_does_not_tell_counts_as_possible() {
        let page = rule(&[("severity", "page"), ("team", "{{ $labels.team }}")]);
        for (matchers, may) in [
            ("[]", true),
            ("['alertname=\"Down\"']", true),
            ("['alertname=\"Up\"']", false),
            ("['alertname=~\"Do.*\"', 'severity=\"page\"']", true),
            ("['severity!=\"page\"']", false),
            ("['team=\"web\"', 'instance=\"x\"', 'cluster=\"\"']", true),
        ] {
            assert_eq!(may_raise(&policy(matchers), &page), may, "{matchers}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn questions_without_end_have_one() {
        let error = in_time("P", std::future::pending::<Result<(), LookError>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "P has not answered all that was asked within 60 s: see whether it is overloaded");
    }

    #[test]
    fn lengths_that_no_rule_can_have_are_added_up_all_the_same() {
        let delay = Delay { keeps_firing: Duration::MAX, looks_back: Duration::MAX, scrape: PAUSE, evaluation: Duration::MAX };
        assert_eq!(delay.total(), Duration::MAX);
        assert!(written(delay.total()).ends_with('s'));
    }

    #[test]
    fn lengths_are_written_as_a_person_would() {
        for (ms, text) in [(1, "10s"), (59_000, "1m"), (61_000, "1m10s"), (120_000, "2m"), (301_500, "6m"), (3_600_000, "60m")] {
            assert_eq!(written(Duration::from_millis(ms)), text);
        }
    }
}
