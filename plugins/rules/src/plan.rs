//! The settings, checked as a whole: every condition and every text is read before the first one is used.
//!
//! A typo in the last rule is found at the first question, not in the night in which that rule would have helped.

use jiff::tz::TimeZone;
use paramedic_policy::Matcher;

use crate::condition::Condition;
use crate::names::{Names, VARIABLES};
use crate::settings::{Judgement, Lookup, Rule, Settings, Step, What};
use crate::template;
use crate::time::zone;

/// Settings that make sense.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Each rule with its condition.
    pub rules: Vec<(&'a Rule, Option<Condition>)>,
    /// The zone of `now`.
    pub zone: TimeZone,
}

impl<'a> Plan<'a> {
    /// Reads all conditions and texts.
    ///
    /// # Errors
    /// Names the first rule or lookup that is wrong, and says at which column what is wrong and what there is instead.
    pub fn of(settings: &'a Settings) -> Result<Self, String> {
        let zone = zone(settings.time_zone.as_deref())?;
        for (name, lookup) in &settings.lookups {
            check_lookup(name, lookup).map_err(|why| format!("lookup `{name}`: {why}"))?;
        }
        let names = Names::with(&settings.lookups);
        let read = |(at, rule): (usize, &'a Rule)| {
            let condition = check_rule(rule, &names).map_err(|why| format!("{}: {why}", title(at, rule)))?;
            Ok((rule, condition))
        };
        let rules: Vec<_> = settings.rules.iter().enumerate().map(read).collect::<Result<_, String>>()?;
        if rules.is_empty() {
            return Err("the settings have no rules".to_owned());
        }
        Ok(Self { rules, zone })
    }
}

/// How messages call a rule.
pub fn title(at: usize, rule: &Rule) -> String {
    match &rule.head.name {
        Some(name) => format!("rule {} ({name})", at + 1),
        None => format!("rule {}", at + 1),
    }
}

fn check_lookup(name: &str, lookup: &Lookup) -> Result<(), String> {
    let fine = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !fine {
        return Err("its name may have small letters, digits and _, and begins with a letter".to_owned());
    }
    if VARIABLES.contains(&name) || crate::names::FUNCTIONS.contains(&name) || crate::names::TYPES.contains(&name) {
        return Err("that name means something else already".to_owned());
    }
    let names = Names::without_lookups();
    let text = |text: &str| template::parse(text, &names).map(drop);
    match lookup {
        Lookup::Metrics(promql) => template::parse_quoted(promql, &names).map(drop),
        Lookup::Container(target) => text(target),
        Lookup::Containers(wanted) => {
            text(&wanted.host)?;
            wanted.labels.values().try_for_each(|value| text(value))
        }
        Lookup::Log(log) => log.target.iter().try_for_each(|target| text(target)),
        Lookup::History(past) => past.target.iter().try_for_each(|target| text(target)),
    }
}

fn check_rule(rule: &Rule, names: &Names<'_>) -> Result<Option<Condition>, String> {
    let condition = rule.head.when.as_deref().map(|when| Condition::parse(when, names)).transpose();
    let condition = condition.map_err(|why| format!("`when`, {why}"))?;
    if let Some(reason) = &rule.head.reason {
        template::parse(reason, names).map_err(|why| format!("`reason`: {why}"))?;
    }
    match &rule.what {
        What::Act(steps) => {
            if steps.is_empty() {
                return Err("`act` has nothing to do".to_owned());
            }
            steps.iter().try_for_each(|step| check_step(step, names))?;
        }
        What::Judge(judgement) => check_judgement(rule, judgement, names)?,
    }
    Ok(condition)
}

fn check_judgement(rule: &Rule, judgement: &Judgement, names: &Names<'_>) -> Result<(), String> {
    if rule.head.times.is_some() {
        return Err("`times` is for rules that do something".to_owned());
    }
    match judgement {
        Judgement::Act(_) => Ok(()),
        Judgement::Wait(_) if rule.head.when.is_none() => {
            Err("`wait` needs `when`, or it would wait for ever: for instance `when: alert.age < duration(\"5m\")`".to_owned())
        }
        Judgement::Wait(_) => Ok(()),
        Judgement::Ignore(_) | Judgement::Escalate(_) | Judgement::Pass(_) if rule.head.reason.is_some() => {
            Err("the reason is written twice: as the decision's own text and as `reason`".to_owned())
        }
        Judgement::Ignore(text) | Judgement::Escalate(text) | Judgement::Pass(text) => template::parse(text, names).map(drop),
    }
}

/// Every text of an action is read; what it becomes is known only later.
fn check_step(step: &Step, names: &Names<'_>) -> Result<(), String> {
    let each = |texts: &[Option<&String>]| texts.iter().flatten().try_for_each(|text| template::parse(text, names).map(drop));
    match step {
        Step::Restart(s) | Step::Stop(s) => each(&[s.0.target.as_ref()]),
        Step::Start(s) | Step::Pause(s) | Step::Unpause(s) | Step::ExpireSilences(s) => each(&[s.0.target.as_ref()]),
        Step::Kill(s) => each(&[s.0.target.as_ref()]),
        Step::Playbook(s) => {
            each(&[s.0.target.as_ref(), s.0.host.as_ref()])?;
            s.0.variables
                .iter()
                .try_for_each(|(name, value)| check_json(value, names).map_err(|why| format!("variable `{name}`: {why}")))
        }
        Step::Silence(s) => {
            each(&[s.0.target.as_ref(), s.0.comment.as_ref()])?;
            s.0.matchers.iter().try_for_each(|matcher| check_matcher(matcher, names))
        }
        Step::Notify(s) => each(&[s.target.as_ref(), s.text.as_ref()]),
    }
}

fn check_json(value: &serde_json::Value, names: &Names<'_>) -> Result<(), String> {
    match value {
        serde_json::Value::String(text) => template::parse(text, names).map(drop),
        serde_json::Value::Array(items) => items.iter().try_for_each(|item| check_json(item, names)),
        serde_json::Value::Object(fields) => fields.values().try_for_each(|value| check_json(value, names)),
        _ => Ok(()),
    }
}

/// With any text in the place of the placeholders, it has to be a matcher.
fn check_matcher(matcher: &str, names: &Names<'_>) -> Result<(), String> {
    let parts = template::parse_quoted(matcher, names)?;
    let filled: String = parts
        .iter()
        .map(|part| match part {
            template::Part::Text(text) => text.as_str(),
            template::Part::Value(_) => "\"\"",
        })
        .collect();
    filled
        .parse::<Matcher>()
        .map(drop)
        .map_err(|_| format!("`{matcher}` is no matcher: write name=\"value\", with =, !=, =~ or !~"))
}
