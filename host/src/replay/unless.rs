//! When the `unless` of policies had a result, by what Prometheus still knows of that time.
//!
//! It is asked exactly as the operator wrote it, for every step of the time, and between two steps the earlier one counts. Absent on
//! purpose: expressions that could not be asked then. They would have held, and nobody can tell any more when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::backtest::Span;
use super::series::{ask, pieces};
use crate::clock::Time;
use crate::look::http::LookError;
use crate::look::prometheus::Prometheus;
use crate::telemetry::clean;

/// Labels of a result that are shown.
const MOST_LABELS: usize = 8;

/// One time in which there was a result; its end is the first moment without.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stretch {
    from: Time,
    until: Time,
    found: String,
}

/// What each expression found, and when.
#[derive(Clone, Debug, Default)]
pub struct Unless(HashMap<String, Vec<Stretch>>);

impl Unless {
    /// Asks for all of that time.
    ///
    /// # Errors
    /// Which expression cannot be asked, and why.
    pub async fn rebuild(
        prometheus: &Prometheus,
        span: Span,
        step: Duration,
        expressions: BTreeSet<String>,
    ) -> Result<Self, (String, LookError)> {
        let mut all = HashMap::new();
        for promql in expressions {
            let mut seen = BTreeMap::new();
            for (from, to) in pieces(span, step) {
                let asked = ask(prometheus, &promql, from, to, step).await;
                for series in asked.map_err(|error| (promql.clone(), error))? {
                    let labels = series.labels.iter().take(MOST_LABELS);
                    let labels: Vec<_> =
                        labels.map(|(name, value)| format!("{}=\"{}\"", clean(name, 60), clean(value, 80))).collect();
                    let found = format!("{{{}}}", labels.join(", "));
                    for (at, _) in series.values {
                        seen.entry(at).or_insert_with(|| found.clone());
                    }
                }
            }
            all.insert(promql, stretches(seen, step));
        }
        Ok(Self(all))
    }

    /// What this expression found at that time.
    pub fn at(&self, promql: &str, now: Time) -> Option<String> {
        let stretches = self.0.get(promql)?;
        let begun = stretches.partition_point(|stretch| stretch.from <= now);
        let last = stretches.get(begun.checked_sub(1)?)?;
        (now < last.until).then(|| last.found.clone())
    }
}

fn stretches(seen: BTreeMap<Time, String>, step: Duration) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = Vec::new();
    for (at, found) in seen {
        match all.last_mut() {
            Some(last) if at <= last.until => last.until = at.plus(step),
            _ => all.push(Stretch { from: at, until: at.plus(step), found }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_steps_the_earlier_one_counts() {
        let seen = [0, 60, 120, 300].map(|second| (Time(second * 1_000), format!("{second}")));
        let all = stretches(seen.into(), Duration::from_secs(60));
        let unless = Unless(HashMap::from([("up == 0".to_owned(), all)]));
        let at = |second: i64| unless.at("up == 0", Time(second * 1_000));
        assert_eq!([at(-1), at(0), at(179)].map(|found| found.unwrap_or_default()), ["", "0", "0"]);
        assert_eq!([at(180), at(299), at(300), at(360)].map(|found| found.unwrap_or_default()), ["", "", "300", ""]);
        assert_eq!(unless.at("up", Time(0)), None);
    }
}
