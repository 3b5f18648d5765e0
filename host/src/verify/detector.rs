//! One look at one Prometheus: what it says about one alert, and on samples how new.
//!
//! "Not firing" is cheap: a Prometheus that was restarted, whose rule was renamed or whose target vanished says it too. It
//! counts only when the rule is there, is healthy, was evaluated after the action, and was evaluated on samples of this alert's own
//! series that were taken after the action. Everything else is "cannot tell".

use crate::alert::{Alert, Key, Labels};
use crate::clock::{Time, print_duration};
use crate::look::http::LookError;
use crate::look::prometheus::{PromAlert, Prometheus, Rule, State, seconds_to_time};
use crate::telemetry::clean;

use super::selectors::{self, Selector};

/// How far before the end of the action series are looked for to learn which labels they have.
const SERIES_BACK: std::time::Duration = std::time::Duration::from_secs(900);

/// What one Prometheus says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The alert fires.
    Firing(String),
    /// It cannot be told, and what is seen may mean that it fires, now or soon.
    Suspect(String),
    /// It is positively well.
    Healthy(String),
    /// It cannot be told.
    Unclear(String),
    /// It has no rule for this alert: it says nothing at all.
    NoRule(String),
}

/// Looks once.
pub(super) async fn look(prometheus: &Prometheus, alert: &Alert, drop: &[String], since: Time) -> Said {
    match judge(prometheus, alert, drop, since).await {
        Ok(said) => said,
        Err(error) => Said::Unclear(error.to_string()),
    }
}

async fn judge(prometheus: &Prometheus, alert: &Alert, drop: &[String], since: Time) -> Result<Said, LookError> {
    let rules = prometheus.rules(Some(alert.name())).await?;
    if let Some(said) = raised(prometheus, &rules, alert, drop) {
        return Ok(said);
    }
    let name = clean(alert.name(), 100);
    let rules: Vec<_> = rules.iter().filter(|rule| may_raise(rule, &alert.labels)).collect();
    if rules.is_empty() {
        return Ok(Said::NoRule(format!("{} has no rule {name} with this alert's labels", prometheus.who())));
    }
    let external = prometheus.external_labels().await?;
    let since = on_its_clock(prometheus, since).await?;
    let mut newest = None;
    for rule in rules {
        let seen = evaluated(rule, since).map_err(|why| format!("{}'s rule {name} {why}", prometheus.who()));
        let seen = match seen {
            Ok(at) => samples(prometheus, rule, alert, &external, drop, since, at).await?,
            Err(why) => Err(why),
        };
        match seen {
            Ok(at) => newest = newest.max(Some(at)),
            Err(why) => return Ok(Said::Unclear(why)),
        }
    }
    Ok(newest.map_or_else(
        || Said::Unclear(format!("{} has no sample of it", prometheus.who())),
        |at| Said::Healthy(format!("{} evaluated {name} on samples of {at}: neither pending nor firing", prometheus.who())),
    ))
}

/// What the alerts that the rules raise say; `None`: none of them may be this one.
fn raised(prometheus: &Prometheus, rules: &[Rule], alert: &Alert, drop: &[String]) -> Option<Said> {
    let (who, key) = (prometheus.who(), Key::of(alert.family, &alert.labels, drop));
    let alerts = || rules.iter().flat_map(|rule| &rule.alerts);
    let same = || alerts().filter(|a| Key::of(alert.family, &a.alert.labels, drop) == key);
    let lasted = |a: &PromAlert| print_duration(Time::now().since(a.active_at));
    if let Some(firing) = same().find(|a| a.state == State::Firing) {
        return Some(Said::Firing(format!("{who} says it is firing, for {}", lasted(firing))));
    }
    if let Some(pending) = same().next() {
        let lasted = lasted(pending);
        return Some(Said::Suspect(format!(
            "{who} says it is pending, for {lasted}: its condition holds, not yet for long enough"
        )));
    }
    // `alert_relabel_configs` change an alert on its way out, and the API does not show how: what contradicts in no label may be it.
    let alike = alerts().find(|a| !contradicts(&a.alert.labels, &alert.labels, drop))?;
    let state = if alike.state == State::Firing { "firing" } else { "pending" };
    Some(Said::Suspect(format!("{who} says an alert of this name is {state}, with other labels, that may be this one")))
}

fn contradicts(one: &Labels, other: &Labels, drop: &[String]) -> bool {
    one.iter().any(|(name, value)| !drop.contains(name) && other.get(name).is_some_and(|o| o != value))
}

/// The labels that the rule adds are those of the alert; templates may become anything.
fn may_raise(rule: &Rule, alert: &Labels) -> bool {
    rule.labels.iter().all(|(name, value)| value.contains("{{") || alert.get(name).map_or("", String::as_str) == value)
}

/// The end of the action as Prometheus' own clock would have shown it, rather later than earlier.
async fn on_its_clock(prometheus: &Prometheus, since: Time) -> Result<Time, LookError> {
    let before = Time::now();
    let theirs = prometheus.clock().await?;
    Ok(Time(since.0.saturating_add(theirs.0.saturating_sub(before.0))))
}

/// When the rule was last evaluated, if that was without error and after the action.
fn evaluated(rule: &Rule, since: Time) -> Result<Time, String> {
    if let Some(problem) = &rule.problem {
        return Err(format!("cannot be evaluated: {}", clean(problem, 200)));
    }
    match rule.last_evaluation {
        None => Err("was not evaluated yet: it was just loaded, or this Prometheus just started".to_owned()),
        Some(at) if at <= since => Err(format!("was not evaluated since the action: last at {at}")),
        Some(at) => Ok(at),
    }
}

/// The newest sample the rule saw at that evaluation; every series it looks at has to have one from after the action, and none may have
/// vanished.
async fn samples(
    prometheus: &Prometheus,
    rule: &Rule,
    alert: &Alert,
    external: &Labels,
    drop: &[String],
    since: Time,
    at: Time,
) -> Result<Result<Time, String>, LookError> {
    let name = clean(&rule.name, 100);
    let selectors = match selectors::selectors(&rule.query) {
        Ok(selectors) => selectors,
        Err(why) => return Ok(Err(format!("the query of {}'s rule {name} {why}", prometheus.who()))),
    };
    let labels = selectors::of_series(&alert.labels, &rule.labels, external, drop);
    let (mut newest, mut vanished) = (None, false);
    for selector in &selectors {
        match sample(prometheus, selector, &labels, since, at).await? {
            Sampled::At(old) if old <= since => {
                return Ok(Err(format!(
                    "{}'s rule {name} still looks at samples of {old}, before the end of the action",
                    prometheus.who()
                )));
            }
            Sampled::At(found) => newest = newest.max(Some(found)),
            Sampled::Vanished => vanished = true,
            Sampled::Never => {}
        }
    }
    match newest {
        Some(newest) if !vanished => Ok(Ok(newest)),
        _ => {
            let down = scraped_in_vain(prometheus, &labels, at).await?;
            let why = if down { ": their target cannot be scraped (`up` is 0)" } else { "" };
            let (who, which) = (prometheus.who(), if newest.is_some() { "some" } else { "the" });
            Ok(Err(format!("{who} has no samples any more of {which} series that rule {name} looks at for this alert{why}")))
        }
    }
}

/// Whether the target that the alert names cannot be scraped.
async fn scraped_in_vain(prometheus: &Prometheus, labels: &Labels, at: Time) -> Result<bool, LookError> {
    let target: Labels = ["job", "instance"]
        .iter()
        .filter_map(|name| labels.get_key_value(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if target.len() < 2 {
        return Ok(false);
    }
    let up = format!("max({}) == 0", Selector::of("up").narrowed(&target));
    Ok(!prometheus.query(&up, Some(at)).await?.is_empty())
}

/// What there is behind one selector for one alert.
enum Sampled {
    /// The newest sample.
    At(Time),
    /// Nothing, and lately there was something.
    Vanished,
    /// Nothing, now and lately: what a rule leaves out (`unless maintenance`) is usually not there.
    Never,
}

/// The newest sample of this alert's series behind one selector, as of that evaluation.
///
/// First with all of the alert's labels. When nothing has them all, those are left out that no series of the selector has had lately, since
/// an expression can make up labels (`label_replace`, a join). A label that any of them has stays: otherwise the samples of
/// a neighbour would be taken for those of a series that has vanished. For the same reason none of these series may have vanished:
/// a rule is quiet as well when one of the series that it compares is not there any more.
async fn sample(
    prometheus: &Prometheus,
    selector: &Selector,
    labels: &Labels,
    since: Time,
    at: Time,
) -> Result<Sampled, LookError> {
    if let Some(found) = newest(prometheus, &selector.narrowed(labels), at).await? {
        return Ok(Sampled::At(found));
    }
    let from = since.minus(SERIES_BACK);
    let known = prometheus.label_names(&selector.series(), from, at).await?;
    let kept: Labels = labels.iter().filter(|(name, _)| known.contains(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let (lately, now) = (selector.ranged(&kept, at.0.saturating_sub(from.0)), selector.narrowed(&kept));
    // Without `or vector(0)` nothing would be more than nothing.
    let vanished = format!("count(last_over_time({lately})) > (count({now}) or vector(0))");
    if !prometheus.query(&vanished, Some(at)).await?.is_empty() {
        return Ok(Sampled::Vanished);
    }
    Ok(newest(prometheus, &now, at).await?.map_or(Sampled::Never, Sampled::At))
}

async fn newest(prometheus: &Prometheus, selector: &str, at: Time) -> Result<Option<Time>, LookError> {
    let answer = prometheus.query(&format!("max(timestamp({selector}))"), Some(at)).await?;
    Ok(answer.first().map(|sample| sample.value).filter(|v| v.is_finite()).map(seconds_to_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn rule(rule_labels: &[(&str, &str)]) -> Rule {
        Rule {
            name: "X".to_owned(),
            query: "up == 0".to_owned(),
            labels: labels(rule_labels),
            problem: None,
            last_evaluation: Some(Time(2_000)),
            alerts: Vec::new(),
        }
    }

    #[test]
    fn a_rule_raises_only_alerts_with_its_labels() {
        let alert = labels(&[("alertname", "X"), ("severity", "page")]);
        assert!(may_raise(&rule(&[]), &alert));
        assert!(may_raise(&rule(&[("severity", "page")]), &alert));
        assert!(may_raise(&rule(&[("severity", "{{ $labels.level }}")]), &alert));
        assert!(!may_raise(&rule(&[("severity", "warning")]), &alert));
        assert!(!may_raise(&rule(&[("team", "a")]), &alert));
    }

    #[test]
    fn an_evaluation_counts_only_when_it_is_healthy_and_later() {
        assert_eq!(evaluated(&rule(&[]), Time(1_999)), Ok(Time(2_000)));
        assert!(evaluated(&rule(&[]), Time(2_000)).is_err());
        assert!(evaluated(&Rule { last_evaluation: None, ..rule(&[]) }, Time(0)).is_err());
        let broken = Rule { problem: Some("boom".to_owned()), ..rule(&[]) };
        assert!(evaluated(&broken, Time(0)).is_err_and(|why| why.contains("boom")));
    }

    #[test]
    fn relabelled_alerts_may_be_the_same_and_neighbours_are_not() {
        let ours = labels(&[("alertname", "X"), ("instance", "a"), ("team", "t"), ("replica", "1")]);
        let drop = ["replica".to_owned()];
        assert!(!contradicts(&labels(&[("alertname", "X"), ("instance", "a"), ("replica", "2")]), &ours, &drop));
        assert!(contradicts(&labels(&[("alertname", "X"), ("instance", "b")]), &ours, &drop));
    }
}
