//! What a policy's own probe says, and on what evidence.
//!
//! A probe is believed only about the time after the action: an HTTP answer when it was asked for then, an expression when every sample that it
//! may have looked at is from then. What it cannot be asked is "cannot tell".

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Seen;
use super::selectors::{self, Selector};
use crate::clock::{Time, print_duration};
use crate::look::http::LookError;
use crate::look::probe::{ask, who};
use crate::look::prometheus::{Prometheus, seconds_to_time};
use crate::policy::{HttpProbe, Policy, Probe};
use crate::telemetry::clean;

/// How far back an expression looks.
///
/// # Errors
/// Why nothing could ever prove that its result is new, in words that continue "the expression".
pub(crate) fn looks_back(promql: &str) -> Result<Duration, String> {
    let selectors = selectors::only_now(promql)?;
    let back: Option<Vec<_>> = selectors.iter().map(Selector::back).collect();
    back.and_then(|back| back.into_iter().max()).ok_or_else(|| "has a range that is not understood".to_owned())
}

/// Warns of policies whose own expression passes whatever the value is.
pub fn passing_anyway(policies: &[(PathBuf, Arc<Policy>)]) -> Vec<String> {
    let asks = |policy: &Policy| match &policy.verify.probe {
        Some(Probe::Promql(promql)) if !selectors::compares(promql) => Some(clean(promql, 200)),
        _ => None,
    };
    let warning = |file: &Path, promql: String| {
        let file = file.display();
        format!(
            "{file}: `verify.probe.promql` compares nothing: it passes at any value, 0 too: write for instance `{promql} == 1`"
        )
    };
    policies.iter().filter_map(|(file, policy)| asks(policy).map(|promql| warning(file, promql))).collect()
}

/// Warns of policies whose `unless` may hold at any value. A series that is there only while nothing shall be done needs no comparison.
pub fn holding_anyway(policies: &[(PathBuf, Arc<Policy>)]) -> Vec<String> {
    let needs_none = |promql: &str| ["absent", "ALERTS", " and ", " unless "].iter().any(|word| promql.contains(word));
    let suspect = |promql: &&String| !selectors::compares(promql) && !needs_none(promql);
    let warning = |file: &Path, promql: &String| {
        let (file, promql) = (file.display(), clean(promql, 200));
        format!(
            "{file}: `unless: {promql}` compares nothing: it holds at any value, 0 too, as long as the series is there: if that is not meant, write for instance `{promql} == 1`"
        )
    };
    policies.iter().flat_map(|(file, policy)| policy.unless.iter().filter(suspect).map(|promql| warning(file, promql))).collect()
}

/// Asks an address once.
pub(super) async fn http(probe: &HttpProbe, since: Time) -> Seen {
    if Time::now() <= since {
        return Seen::Unclear("it is too early to probe".to_owned());
    }
    let expected = match probe.status {
        Some(status) => format!("{status}"),
        None => "2xx".to_owned(),
    };
    match ask(probe).await {
        Ok(status) if probe.status.map_or(status.is_success(), |wanted| status == wanted) => {
            Seen::Healthy(format!("{} answers {}", who(probe), status.as_u16()))
        }
        Ok(status) => Seen::Firing(format!("{} answers {}, not {expected}", who(probe), status.as_u16())),
        Err(error) => Seen::Unclear(error.to_string()),
    }
}

/// Asks every Prometheus for an expression once: one that has a positive result is enough, one that has none is a no.
pub(super) async fn promql(all: &[impl AsRef<Prometheus>], promql: &str, since: Time) -> Seen {
    let (mut healthy, mut unclear) = (None, Vec::new());
    for seen in join_all(all.iter().map(|prometheus| judge(prometheus.as_ref(), promql, since))).await {
        match seen {
            Ok(Seen::Healthy(text)) => healthy = Some(text),
            Ok(Seen::Unclear(text) | Seen::Suspect(text) | Seen::Unwatched(text)) => unclear.push(text),
            Ok(no @ Seen::Firing(_)) => return no,
            Err(error) => unclear.push(error.to_string()),
        }
    }
    match healthy {
        Some(text) => Seen::Healthy(text),
        None if all.is_empty() => Seen::Unclear("there is no Prometheus to ask for the policy's probe".to_owned()),
        None => Seen::Unclear(unclear.join("; ")),
    }
}

async fn judge(prometheus: &Prometheus, promql: &str, since: Time) -> Result<Seen, LookError> {
    let (who, shown) = (prometheus.who(), clean(promql, 200));
    let selectors = match selectors::only_now(promql) {
        Ok(selectors) => selectors,
        Err(why) => return Ok(Seen::Unclear(format!("the policy's probe `{shown}` {why}"))),
    };
    // One moment of its clock for everything that is asked, so that samples and result belong together.
    let before = Time::now();
    let at = prometheus.clock().await?;
    let since = Time(since.0.saturating_add(at.0.saturating_sub(before.0)));
    let result = prometheus.query(promql, Some(at)).await?;
    let mut newest = None;
    for selector in &selectors {
        let Some(back) = selector.back() else {
            return Ok(Seen::Unclear(format!("the policy's probe `{shown}` has a range that is not understood")));
        };
        if at.minus(back) <= since {
            let text =
                format!("the policy's probe `{shown}` still looks at the {} before the end of the action", print_duration(back));
            return Ok(Seen::Unclear(text));
        }
        match oldest(prometheus, selector, at).await? {
            Some(old) if old <= since => {
                let text =
                    format!("{who} still has samples of {old}, before the end of the action, for the policy's probe `{shown}`");
                return Ok(Seen::Unclear(text));
            }
            Some(found) => newest = newest.max(Some(found)),
            // An expression can have a result because something is not there.
            None => {
                let series = clean(&selector.series(), 200);
                let text = format!("{who} has no samples of the series `{series}`, at which the policy's probe `{shown}` looks");
                return Ok(Seen::Unclear(text));
            }
        }
    }
    Ok(match newest {
        None => Seen::Unclear(format!("the policy's probe `{shown}` looks at no series of its own")),
        Some(_) if result.is_empty() => Seen::Firing(format!("the policy's probe `{shown}` has no result at {who}")),
        Some(at) => Seen::Healthy(format!("the policy's probe `{shown}` has a result at {who} on samples of {at}")),
    })
}

/// When the last sample was taken of that series behind a selector whose last sample is the oldest.
async fn oldest(prometheus: &Prometheus, selector: &Selector, at: Time) -> Result<Option<Time>, LookError> {
    let answer = prometheus.query(&format!("min(timestamp({}))", selector.narrowed(None)), Some(at)).await?;
    Ok(answer.first().map(|sample| sample.value).filter(|v| v.is_finite()).map(seconds_to_time))
}
