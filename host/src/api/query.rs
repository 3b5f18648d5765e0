//! What is asked for behind the `?` of a request: checked word by word, and refused with what would be right.

use reqwest::Url;

use crate::alert::matchers::Matcher;
use crate::incident::filter::{Filter, State, since};
use crate::telemetry::clean;

/// How many incidents one answer holds, unless something else is said, and at most.
const INCIDENTS: (usize, usize) = (50, 200);
/// How many entries of a story one answer holds, unless something else is said, and at most.
const ENTRIES: (usize, usize) = (200, 500);
/// Conditions of one kind.
const MOST_CONDITIONS: usize = 20;

/// A page of the list of incidents.
#[derive(Debug)]
pub(super) struct Asked {
    pub filter: Filter,
    pub limit: usize,
    /// Only what was opened before this position.
    pub before: u64,
}

/// A page of one story.
#[derive(Debug)]
pub(super) struct StoryAsked {
    pub limit: usize,
    /// Only what was written behind this entry.
    pub after: u64,
}

impl Asked {
    pub fn parse(query: Option<&str>) -> Result<Self, String> {
        let mut asked = Self { filter: Filter::default(), limit: INCIDENTS.0, before: u64::MAX };
        for (name, value) in pairs(query) {
            let filter = &mut asked.filter;
            match name.as_str() {
                // `state=held,escalated` and `state=held&state=escalated` mean the same.
                "state" => {
                    let states = value.split(',').map(str::parse::<State>).collect::<Result<Vec<_>, _>>().map_err(of(&name))?;
                    filter.states.extend(states);
                }
                "policy" => filter.policies.push(value),
                "match" => filter.matchers.push(Matcher::parse(&value).map_err(of(&name))?),
                "alertname" => {
                    let matcher = format!("alertname={}", serde_json::Value::String(value));
                    filter.matchers.push(Matcher::parse(&matcher).map_err(of(&name))?);
                }
                "since" => filter.since = Some(since(&value).map_err(of(&name))?),
                "open" => filter.open = flag(&name, &value)?,
                "limit" => asked.limit = number(&name, &value, INCIDENTS.1)?,
                "cursor" => asked.before = value.parse().map_err(|_| no_cursor())?,
                _ => return Err(unknown(&name, "state, policy, match, alertname, since, open, limit, cursor")),
            }
        }
        let filter = &asked.filter;
        if [filter.states.len(), filter.policies.len(), filter.matchers.len()].iter().any(|n| *n > MOST_CONDITIONS) {
            return Err(format!("at most {MOST_CONDITIONS} conditions of one kind"));
        }
        Ok(asked)
    }
}

impl StoryAsked {
    pub fn parse(query: Option<&str>) -> Result<Self, String> {
        let mut asked = Self { limit: ENTRIES.0, after: 0 };
        for (name, value) in pairs(query) {
            match name.as_str() {
                "limit" => asked.limit = number(&name, &value, ENTRIES.1)?,
                "after" => asked.after = value.parse().map_err(|_| "`after` is the number of an entry".to_owned())?,
                _ => return Err(unknown(&name, "limit, after")),
            }
        }
        Ok(asked)
    }
}

/// Nothing can be asked for here.
pub(super) fn nothing(query: Option<&str>) -> Result<(), String> {
    pairs(query).first().map_or(Ok(()), |(name, _)| Err(format!("`{}` is not understood here: nothing is", clean(name, 40))))
}

fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let Ok(mut url) = Url::parse("http://x/") else { return Vec::new() };
    url.set_query(query);
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn of(name: &str) -> impl Fn(String) -> String {
    let name = name.to_owned();
    move |why| format!("{name}: {why}")
}

fn number(name: &str, value: &str, most: usize) -> Result<usize, String> {
    let number = value.parse().ok().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| format!("{name}: `{}` is no number from 1 to {most}", clean(value, 40)))
}

fn flag(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{name}: write true or false, not `{}`", clean(value, 40)))
}

fn no_cursor() -> String {
    "cursor: send the `next` of the answer before, as it is".to_owned()
}

fn unknown(name: &str, known: &str) -> String {
    format!("`{}` is not understood here: there are {known}", clean(name, 40))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_right_is_read() {
        let asked =
            Asked::parse(Some("state=held,fired&state=healed&match=severity%3D~%22a%7Cb%22&alertname=a%22b&limit=7&cursor=9"));
        let asked = asked.unwrap();
        assert_eq!((asked.filter.states.len(), asked.filter.matchers.len(), asked.limit, asked.before), (3, 2, 7, 9));
        assert_eq!(asked.filter.matchers[1].value(), "a\"b");
        let none = Asked::parse(None).unwrap();
        assert_eq!((none.limit, none.before), (50, u64::MAX));
        assert_eq!(StoryAsked::parse(Some("after=3")).unwrap().after, 3);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (query, says) in [
            ("state=hold", "awaiting-approval"),
            ("match=x", "has no ="),
            ("since=soon", "30m"),
            ("limit=0", "1 to 200"),
            ("limit=201", "1 to 200"),
            ("cursor=-1", "`next`"),
            ("open=yes", "true or false"),
            ("states=held", "there are state, policy"),
            (&"policy=a&".repeat(21), "at most 20"),
        ] {
            let wrong = Asked::parse(Some(query)).unwrap_err();
            assert!(wrong.contains(says), "{query}: {wrong}");
        }
        assert!(StoryAsked::parse(Some("limit=501")).is_err() && StoryAsked::parse(Some("before=1")).is_err());
        assert!(nothing(Some("x=1")).is_err() && nothing(None).is_ok());
    }
}
