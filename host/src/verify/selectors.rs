//! Which series an alerting rule looks at, found in its PromQL, and narrowed to one alert.
//!
//! A rule that is quiet proves nothing while it is evaluated on samples from before the action. So the selectors of its
//! query are taken out, and Prometheus is asked how new the samples behind them are.
//!
//! The query was parsed by Prometheus, so only its words are scanned here: no tree, no recursion, and functions of later
//! versions need not be known. The parser crate there is (promql-parser) brings 25 crates, one of them unmaintained, and
//! refuses functions it does not know. Label values come from alerts, that is from strangers: they are quoted here, and nowhere else put into PromQL.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::CharIndices;
use std::time::Duration;

use crate::alert::Labels;
use crate::clock::parse_duration;
use crate::look::promql::{label_name, quoted};

/// The longest query that is looked at.
const MOST_BYTES: usize = 64 << 10;
/// The most selectors of one rule that are looked at.
const MOST_SELECTORS: usize = 32;

/// One vector selector of a rule's query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    name: String,
    /// What stands between the braces, as written, without comments.
    matchers: String,
    offset: Duration,
    /// How far back from there it looks: its range, and every subquery around it; rather too far than too short.
    window: Window,
    /// Looks ahead, or at a fixed time (`@`).
    fixed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Known(Duration),
    /// Written in a way that is not understood; later versions calculate.
    Unknown,
}

impl Default for Window {
    fn default() -> Self {
        Self::Known(Duration::ZERO)
    }
}

impl Selector {
    /// All series of a metric.
    pub(super) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// In PromQL, with these labels as further matchers.
    pub(super) fn narrowed<'a>(&self, labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
        self.written(labels, None)
    }

    /// Like [`Selector::narrowed`], over the samples of so many milliseconds.
    pub(super) fn ranged<'a>(&self, labels: impl IntoIterator<Item = (&'a String, &'a String)>, range_ms: i64) -> String {
        self.written(labels, Some(range_ms))
    }

    /// True when it is about the metric of that name.
    pub(super) fn is_of(&self, name: &str) -> bool {
        self.name == name
    }

    /// The age of the oldest sample it may look at; `None`: its words do not tell.
    pub(super) fn back(&self) -> Option<Duration> {
        match self.window {
            Window::Known(window) => Some(self.offset.saturating_add(window)),
            Window::Unknown => None,
        }
    }

    /// Without its offset: what `match[]` takes.
    pub(super) fn series(&self) -> String {
        Self { offset: Duration::ZERO, ..self.clone() }.narrowed(None)
    }

    fn written<'a>(&self, labels: impl IntoIterator<Item = (&'a String, &'a String)>, range_ms: Option<i64>) -> String {
        let mut text = format!("{}{{{}", self.name, self.matchers);
        for (name, value) in labels {
            if !text.ends_with('{') {
                text.push(',');
            }
            text.push_str(&label_name(name));
            text.push('=');
            text.push_str(&quoted(value));
        }
        text.push('}');
        if let Some(range_ms) = range_ms {
            let _infallible = write!(text, "[{}ms]", range_ms.max(1));
        }
        if !self.offset.is_zero() {
            let _infallible = write!(text, " offset {}ms", self.offset.as_millis());
        }
        text
    }
}

/// The selectors that a rule's query looks at now. Those that look back (`offset`) count only when there are no others, since
/// a comparison with last week is never new; those that look ahead or at a fixed time (`@`) never count.
///
/// # Errors
/// Why it cannot be told, in words that continue "the rule's query".
pub(super) fn selectors(query: &str) -> Result<Vec<Selector>, String> {
    let mut found = find(&read(query)?)?;
    found.retain(|s| !s.fixed);
    let (now, back): (Vec<_>, Vec<_>) = found.into_iter().partition(|s| s.offset.is_zero());
    counted(if now.is_empty() { back } else { now })
}

/// All selectors of an expression whose result is to be new: what looks at another time is never new.
///
/// # Errors
/// Why it cannot be told, in words that continue "the expression".
pub(super) fn only_now(promql: &str) -> Result<Vec<Selector>, String> {
    let found = find(&read(promql)?)?;
    if found.iter().any(|s| s.fixed || !s.offset.is_zero()) {
        return Err("looks at another time than now (`offset` or `@`)".to_owned());
    }
    counted(found)
}

/// Whether an expression compares, so that it has no result when the comparison does not hold (as with `bool` it still has).
pub(super) fn compares(promql: &str) -> bool {
    let Ok(words) = read(promql) else { return false };
    let sign = |word: &Word<'_>| matches!(word, Word::Sign('=' | '<' | '>'));
    let is_bool = |word: &Word<'_>| matches!(word, Word::Name(name) if name.eq_ignore_ascii_case("bool"));
    // The last sign of a comparison is the one that no other follows.
    words.iter().enumerate().any(|(i, word)| sign(word) && !words.get(i + 1).is_some_and(|next| sign(next) || is_bool(next)))
}

fn read(query: &str) -> Result<Vec<Word<'_>>, String> {
    if query.len() > MOST_BYTES {
        return Err(format!("is longer than {} KiB", MOST_BYTES >> 10));
    }
    words(query)
}

fn counted(mut selectors: Vec<Selector>) -> Result<Vec<Selector>, String> {
    selectors.dedup();
    match selectors.len() {
        0 => Err("looks at no series of its own".to_owned()),
        1..=MOST_SELECTORS => Ok(selectors),
        _ => Err(format!("looks at more than {MOST_SELECTORS} kinds of series")),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Word<'a> {
    /// A name or keyword.
    Name(&'a str),
    /// A number or length of time.
    Number(&'a str),
    /// What stands between braces.
    Braces(String),
    /// What stands between brackets: a range, or range and step of a subquery.
    Range(&'a str),
    /// A sign, or the beginning of a string.
    Sign(char),
}

type Chars<'a> = Peekable<CharIndices<'a>>;

fn words(query: &str) -> Result<Vec<Word<'_>>, String> {
    let mut words = Vec::new();
    let mut chars = query.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        match c {
            '#' => comment(&mut chars),
            '"' | '\'' | '`' => {
                string(&mut chars, c)?;
                words.push(Word::Sign(c));
            }
            '{' => words.push(Word::Braces(braces(query, &mut chars)?)),
            // A range may hold a calculation in later versions, never a selector or a bracket.
            '[' => {
                let (end, _) = chars.by_ref().find(|(_, c)| *c == ']').ok_or("has a range that does not end")?;
                words.push(Word::Range(query.get(start + 1..end).unwrap_or_default()));
            }
            c if c.is_ascii_alphabetic() || matches!(c, '_' | ':') => {
                words.push(Word::Name(run(query, start, &mut chars, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))));
            }
            c if c.is_ascii_digit() => {
                words.push(Word::Number(run(query, start, &mut chars, |c| c.is_ascii_alphanumeric() || c == '.')));
            }
            c if c.is_whitespace() => {}
            c => words.push(Word::Sign(c)),
        }
    }
    Ok(words)
}

fn run<'a>(query: &'a str, start: usize, chars: &mut Chars<'a>, fits: impl Fn(char) -> bool) -> &'a str {
    while chars.next_if(|(_, c)| fits(*c)).is_some() {}
    let end = chars.peek().map_or(query.len(), |(end, _)| *end);
    query.get(start..end).unwrap_or_default()
}

fn comment(chars: &mut Chars<'_>) {
    while chars.next_if(|(_, c)| *c != '\n').is_some() {}
}

/// Skips to the end of a string; a backslash means nothing between backticks.
fn string(chars: &mut Chars<'_>, quote: char) -> Result<(), String> {
    while let Some((_, c)) = chars.next() {
        match c {
            '\\' if quote != '`' => drop(chars.next()),
            c if c == quote => return Ok(()),
            _ => {}
        }
    }
    Err("has a string that does not end".to_owned())
}

fn braces(query: &str, chars: &mut Chars<'_>) -> Result<String, String> {
    let mut text = String::new();
    while let Some((start, c)) = chars.next() {
        match c {
            '}' => return Ok(text.trim().trim_end_matches(',').trim_end().to_owned()),
            '#' => comment(chars),
            '"' | '\'' | '`' => {
                string(chars, c)?;
                let end = chars.peek().map_or(query.len(), |(end, _)| *end);
                text.push_str(query.get(start..end).unwrap_or_default());
            }
            // Not Prometheus' own: further matchers would belong to the last alternative only.
            'o' if text.ends_with(char::is_whitespace) && chars.next_if(|(_, c)| *c == 'r').is_some() => {
                if chars.peek().is_some_and(|(_, c)| c.is_whitespace()) {
                    return Err("uses `or` between matchers, which is not understood".to_owned());
                }
                text.push_str("or");
            }
            c => text.push(c),
        }
    }
    Err("has braces that do not end".to_owned())
}

fn find(words: &[Word<'_>]) -> Result<Vec<Selector>, String> {
    let mut found: Vec<Selector> = Vec::new();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        match word {
            Word::Braces(matchers) => found.push(Selector { matchers: matchers.clone(), ..Selector::default() }),
            Word::Sign('@') => look_elsewhere(&mut found, |s| s.fixed = true),
            Word::Range(text) => look_back(&mut found, text),
            Word::Name(name) => match (Keyword::of(name), after) {
                // The labels of `by (...)` and its like are no series.
                (Some(Keyword::Grouping), [Word::Sign('('), ..]) => rest = behind_parenthesis(after)?,
                (Some(Keyword::Offset), [Word::Number(length), ..]) => {
                    let length = parse_duration(length).map_err(|_| "has an offset that is not understood")?;
                    look_elsewhere(&mut found, |s| s.offset = length);
                }
                (Some(Keyword::Offset), _) => look_elsewhere(&mut found, |s| s.fixed = true),
                (Some(_), _) => {}
                // A function, or an aggregation, perhaps with its grouping in front.
                (None, [Word::Sign('('), ..]) => {}
                (None, [Word::Name(next), ..]) if Keyword::of(next) == Some(Keyword::Grouping) && is_aggregation(next) => {}
                (None, [Word::Braces(matchers), behind @ ..]) => {
                    found.push(Selector { name: (*name).to_owned(), matchers: matchers.clone(), ..Selector::default() });
                    rest = behind;
                }
                (None, _) => found.push(Selector { name: (*name).to_owned(), ..Selector::default() }),
            },
            Word::Number(_) | Word::Sign(_) => {}
        }
    }
    Ok(found)
}

/// A modifier belongs to what stands before it; behind a subquery to the last selector inside.
fn look_elsewhere(found: &mut [Selector], change: impl FnOnce(&mut Selector)) {
    if let Some(last) = found.last_mut() {
        change(last);
    }
}

/// A range belongs to the selector before it. A subquery is about all of an expression, which is not parsed here: so it is taken to be
/// about every selector before it.
fn look_back(found: &mut [Selector], text: &str) {
    let (range, is_subquery) = text.split_once(':').map_or((text, false), |(range, _)| (range, true));
    let from = if is_subquery { 0 } else { found.len().saturating_sub(1) };
    for selector in found.iter_mut().skip(from) {
        selector.window = match (selector.window, parse_duration(range)) {
            (Window::Known(window), Ok(length)) => Window::Known(window.saturating_add(length)),
            _ => Window::Unknown,
        };
    }
}

fn behind_parenthesis<'a, 'b>(words: &'a [Word<'b>]) -> Result<&'a [Word<'b>], String> {
    let end = words.iter().position(|word| *word == Word::Sign(')')).ok_or("has a parenthesis that does not end")?;
    Ok(words.get(end + 1..).unwrap_or_default())
}

#[derive(PartialEq, Eq)]
enum Keyword {
    Grouping,
    Offset,
    Other,
}

impl Keyword {
    fn of(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" => Some(Self::Grouping),
            "offset" => Some(Self::Offset),
            "and" | "or" | "unless" | "atan2" | "bool" | "inf" | "nan" | "anchored" | "smoothed" => Some(Self::Other),
            _ => None,
        }
    }
}

fn is_aggregation(grouping: &str) -> bool {
    grouping.eq_ignore_ascii_case("by") || grouping.eq_ignore_ascii_case("without")
}

/// The alert's labels that its series should have: not the alert's name, not what the rule adds, not what Prometheus adds when it
/// sends, and not what only tells replicas apart.
pub(super) fn of_series(alert: &Labels, rule: &Labels, external: &Labels, drop: &[String]) -> Labels {
    let added =
        |name: &String, value: &String| rule.contains_key(name) || external.get(name) == Some(value) || drop.contains(name);
    let own = |(name, value): &(&String, &String)| !name.starts_with("__") && *name != "alertname" && !added(name, value);
    alert.iter().filter(own).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn texts(query: &str) -> Result<Vec<String>, String> {
        selectors(query).map(|found| found.iter().map(|s| s.narrowed(None)).collect())
    }

    #[test]
    fn every_selector_is_found() {
        for (query, expected) in [
            ("probe_success == 0", &["probe_success{}"][..]),
            (r#"up{job="a", x!~"b|}c" , } == 0"#, &[r#"up{job="a", x!~"b|}c"}"#]),
            ("{__name__=~'a.*', b=`\\`} > 1e3", &["{__name__=~'a.*', b=`\\`}"]),
            (r#"{"dotted.name", a="\"}"}"#, &[r#"{"dotted.name", a="\"}"}"#]),
            ("absent(up)", &["up{}"]),
            (
                "sum by (job) (rate(errors_total[5m])) / on (job) group_left (team) sum(rate(all_total[5m])) without (x) > 0.1",
                &["errors_total{}", "all_total{}"],
            ),
            ("SUM WITHOUT (a, b)(x) > bool 0x1F and on() y", &["x{}", "y{}"]),
            ("a * on (b) group_left c", &["a{}", "c{}"]),
            ("max_over_time(up[5m:1m]) < 1 and time() > Inf", &["up{}"]),
            ("-x unless (y or job:z:rate5m{a='#'}) # and not_me", &["x{}", "y{}", "job:z:rate5m{a='#'}"]),
            ("up{a='1', # no\n order='2', or='3'}", &["up{a='1', \n order='2', or='3'}"]),
            ("label_replace(up == 0, 'host', '$1', 'name', '(.*)')", &["up{}"]),
            ("unknown_function_of_later(x, 5)", &["x{}"]),
            ("count(up) by (x) - count(up)", &["up{}"]),
            // A baseline is never new, so it counts only when there is nothing else.
            ("x < x offset 1w", &["x{}"]),
            ("rate(x[5m] offset 1m30s) == 0", &["x{} offset 90000ms"]),
            ("x @ 1600000000 < x offset -5m + y @ start() - z", &["z{}"]),
        ] {
            assert_eq!(texts(query).unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn how_far_back_is_told_rather_too_long() {
        for (query, seconds) in [
            ("up == 0", &[0][..]),
            ("rate(x[5m]) > on() rate(y[1h])", &[300, 3600]),
            ("rate(x[5m] offset 1m) == 0", &[360]),
            ("max_over_time(rate(x[5m])[30m:1m]) > 0 and y", &[2100, 0]),
            ("avg_over_time((x == bool y)[10m:]) < 1", &[600, 600]),
            ("x[5m] > x[5m] offset 1w", &[300]),
        ] {
            let back: Vec<u64> = selectors(query).unwrap().iter().map(|s| s.back().unwrap().as_secs()).collect();
            assert_eq!(back, seconds, "{query}");
        }
        assert_eq!(selectors("rate(up[5m + 1m])").unwrap()[0].back(), None);
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        let long = "x".repeat(MOST_BYTES + 1);
        let many: String = (0..40).map(|n| format!("m{n}+")).collect();
        for (query, why) in [
            ("vector(1) == 1", "no series"),
            ("x @ 1600000000", "no series"),
            ("", "no series"),
            ("up{a=\"}", "does not end"),
            ("up{a=\"b\"", "do not end"),
            ("up[5m", "does not end"),
            ("sum by (x", "does not end"),
            ("up{a=\"b\" or c=\"d\"}", "`or`"),
            (long.as_str(), "64 KiB"),
            (many.as_str(), "more than 32"),
        ] {
            let error = texts(query).unwrap_err();
            assert!(error.contains(why), "{query:.80}: {error}");
        }
    }

    #[test]
    fn an_expression_about_now_looks_at_no_other_time() {
        assert_eq!(only_now("absent(x) and on() up == 1").unwrap().len(), 2);
        for query in ["x offset 1m == 1", "up == 1 and x offset 1w > 0", "up == 1 and x @ 1600000000", "up > x offset -5m"] {
            assert!(only_now(query).unwrap_err().contains("another time"), "{query}");
        }
        assert!(only_now("vector(1)").unwrap_err().contains("no series"));
    }

    #[test]
    fn a_comparison_is_told_from_what_only_looks_like_one() {
        for query in ["x == 1", "x{a='b'} >= 1", "count(x < 3) and y", "x != y", "x == bool 1 > 0", "1<x"] {
            assert!(compares(query), "{query}");
        }
        for query in ["probe_success{instance='x'}", "x{a!='b',c=~'d>e'}", "x and y", "x >= bool 1", "x # == 1", "min(x{a='=='})"]
        {
            assert!(!compares(query), "{query}");
        }
    }

    #[test]
    fn hostile_values_stay_inside_their_quotes() {
        let hostile = "\"} or vector(0) #\\\n\u{1b}[2J`'";
        let narrowed = selectors("up").unwrap()[0].narrowed(&labels(&[("a", hostile), ("dotted.name", "x")]));
        assert_eq!(narrowed, r#"up{a="\"} or vector(0) #\\\n\u001b[2J`'","dotted.name"="x"}"#);
        // Read again it is one selector.
        assert_eq!(texts(&narrowed).unwrap(), [narrowed]);
    }

    #[test]
    fn further_matchers_follow_those_there_are() {
        let selector = &selectors("up{job='a',} offset 5m").unwrap()[0];
        let more = labels(&[("x", "1")]);
        assert_eq!(selector.narrowed(&more), "up{job='a',x=\"1\"} offset 300000ms");
        assert_eq!(selector.ranged(&more, 60_000), "up{job='a',x=\"1\"}[60000ms] offset 300000ms");
        assert_eq!(selector.series(), "up{job='a'}");
    }

    #[test]
    fn labels_that_no_series_has_are_left_out() {
        let alert = labels(&[
            ("alertname", "X"),
            ("severity", "page"),
            ("cluster", "c"),
            ("replica", "b"),
            ("job", "j"),
            ("zone", "own"),
        ]);
        let rule = labels(&[("severity", "page")]);
        let external = labels(&[("cluster", "c"), ("replica", "a"), ("zone", "other")]);
        let drop = ["replica".to_owned()];
        assert_eq!(of_series(&alert, &rule, &external, &drop), labels(&[("job", "j"), ("zone", "own")]));
    }
}
