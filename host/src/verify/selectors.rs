//! Which series an alerting rule looks at, found in its PromQL, and narrowed to one alert.
//!
//! A rule that is quiet proves nothing while it is evaluated on samples from before the action. So the selectors of its
//! query are taken out, and Prometheus is asked how new the samples behind them are.
//! Label values come from alerts, that is from strangers: they are quoted here, and nowhere else put into PromQL.

use std::fmt::Write as _;

use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, Offset, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};

use crate::alert::Labels;

/// The longest query that is parsed. Prometheus' own page becomes unusable long before.
const MOST_BYTES: usize = 16 << 10;
/// Room for the parser's recursion: the deepest tree of [`MOST_BYTES`] needs less than a kilobyte for each byte.
const STACK_BYTES: usize = 64 << 20;
/// The most selectors of one rule that are looked at.
const MOST_SELECTORS: usize = 32;

/// One vector selector of a rule's query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    matchers: Vec<(String, &'static str, String)>,
    offset_ms: i128,
}

impl Selector {
    /// In PromQL, with these labels as further matchers.
    pub(super) fn narrowed<'a>(&self, labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
        self.written(labels, None)
    }

    /// Like [`Selector::narrowed`], over the samples of so many milliseconds.
    pub(super) fn ranged<'a>(&self, labels: impl IntoIterator<Item = (&'a String, &'a String)>, range_ms: i64) -> String {
        self.written(labels, Some(range_ms))
    }

    fn written<'a>(&self, labels: impl IntoIterator<Item = (&'a String, &'a String)>, range_ms: Option<i64>) -> String {
        let mut text = String::from("{");
        for (name, op, value) in &self.matchers {
            push_matcher(&mut text, name, op, value);
        }
        for (name, value) in labels {
            push_matcher(&mut text, name, "=", value);
        }
        text.push('}');
        if let Some(range_ms) = range_ms {
            let _infallible = write!(text, "[{}ms]", range_ms.max(1));
        }
        if self.offset_ms != 0 {
            let sign = if self.offset_ms < 0 { "-" } else { "" };
            let _infallible = write!(text, " offset {sign}{}ms", self.offset_ms.unsigned_abs());
        }
        text
    }

    /// Without its offset: what `match[]` takes.
    pub(super) fn series(&self) -> String {
        Self { matchers: self.matchers.clone(), offset_ms: 0 }.narrowed(None)
    }
}

fn push_matcher(text: &mut String, name: &str, op: &str, value: &str) {
    if !text.ends_with('{') {
        text.push(',');
    }
    let classic = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(classic) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        text.push_str(name);
    } else {
        // Since Prometheus 3 a label may have any name.
        text.push_str(&quoted(name));
    }
    text.push_str(op);
    text.push_str(&quoted(value));
}

/// A PromQL string that means exactly this text.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The selectors that a rule's query looks at now. Those that look back (`offset`) count only when there are no others, since
/// a comparison with last week is never new; those that look at a fixed time (`@`) never count.
///
/// # Errors
/// Why it cannot be told, in words that continue "the rule's query".
pub(super) async fn selectors(query: &str) -> Result<Vec<Selector>, String> {
    if query.len() > MOST_BYTES {
        return Err(format!("is longer than {} KiB", MOST_BYTES >> 10));
    }
    // A thread of its own: a tree as deep as the query is long must not overflow the stack of one that serves everybody.
    let (send, receive) = tokio::sync::oneshot::channel();
    let query = query.to_owned();
    let work = move || drop(send.send(find(&query)));
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).map_err(|e| format!("cannot be parsed ({e})"))?;
    receive.await.map_err(|_| "cannot be parsed".to_owned())?
}

fn find(query: &str) -> Result<Vec<Selector>, String> {
    let expr = parse(query).map_err(|e| format!("is not understood ({e})"))?;
    let mut found = Found::default();
    walk_expr(&mut found, &expr)?;
    let (now, back): (Vec<_>, Vec<_>) = found.0.into_iter().partition(|s| s.offset_ms == 0);
    let mut selectors = if now.is_empty() { back } else { now };
    selectors.dedup();
    match selectors.len() {
        0 => Err("looks at no series of its own".to_owned()),
        1..=MOST_SELECTORS => Ok(selectors),
        _ => Err(format!("looks at more than {MOST_SELECTORS} kinds of series")),
    }
}

#[derive(Default)]
struct Found(Vec<Selector>);

impl ExprVisitor for Found {
    type Error = String;
    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(selector) => self.take(selector)?,
            Expr::MatrixSelector(matrix) => self.take(&matrix.vs)?,
            _ => {}
        }
        Ok(true)
    }
}

impl Found {
    fn take(&mut self, selector: &VectorSelector) -> Result<(), String> {
        if selector.at.is_some() {
            return Ok(());
        }
        if !selector.matchers.or_matchers.is_empty() {
            return Err("uses `or` between matchers, which is not understood".to_owned());
        }
        let name = selector.name.iter().map(|name| ("__name__".to_owned(), "=", name.clone()));
        let matchers = selector.matchers.matchers.iter().map(|m| (m.name.clone(), operator(&m.op), m.value.clone()));
        let millis = |d: std::time::Duration| i128::try_from(d.as_millis()).unwrap_or(i128::MAX);
        let offset_ms = match selector.offset {
            None => 0,
            Some(Offset::Pos(back)) => millis(back),
            Some(Offset::Neg(ahead)) => -millis(ahead),
        };
        self.0.push(Selector { matchers: name.chain(matchers).collect(), offset_ms });
        Ok(())
    }
}

fn operator(op: &MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Re(_) => "=~",
        MatchOp::NotRe(_) => "!~",
    }
}

/// The alert's labels that its series should have: not the alert's name, not what the rule adds, not what Prometheus adds when it
/// sends, and not what only tells replicas apart.
pub(super) fn of_series(alert: &Labels, rule: &Labels, external: &Labels, drop: &[String]) -> Labels {
    let own = |(name, value): &(&String, &String)| {
        !name.starts_with("__") && *name != "alertname" && !rule.contains_key(*name) && external.get(*name) != Some(*value) && !drop.contains(name)
    };
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
        find(query).map(|found| found.iter().map(|s| s.narrowed(None)).collect())
    }

    #[test]
    fn every_selector_is_found() {
        for (query, expected) in [
            ("probe_success == 0", &[r#"{__name__="probe_success"}"#][..]),
            (r#"up{job="a",x!~"b|c"} == 0"#, &[r#"{__name__="up",job="a",x!~"b|c"}"#]),
            (r#"{__name__=~"a.*"} > 1"#, &[r#"{__name__=~"a.*"}"#]),
            ("absent(up)", &[r#"{__name__="up"}"#]),
            (
                "sum by (job) (rate(errors_total[5m])) / on (job) group_left (team) sum(rate(all_total[5m])) > 0.1",
                &[r#"{__name__="errors_total"}"#, r#"{__name__="all_total"}"#],
            ),
            ("max_over_time(up[5m:1m]) < 1 and time() > 0", &[r#"{__name__="up"}"#]),
            ("-x unless (y or z)", &[r#"{__name__="x"}"#, r#"{__name__="y"}"#, r#"{__name__="z"}"#]),
            // A baseline is never new, so it counts only when there is nothing else.
            ("x < x offset 1w", &[r#"{__name__="x"}"#]),
            ("rate(x[5m] offset 1m) == 0", &[r#"{__name__="x"} offset 60000ms"#]),
            ("x @ 1600000000 < x", &[r#"{__name__="x"}"#]),
        ] {
            assert_eq!(texts(query).unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        for (query, why) in
            [("vector(1) == 1", "no series"), ("x @ 1600000000", "no series"), ("up ==", "not understood"), ("", "not understood")]
        {
            let error = texts(query).unwrap_err();
            assert!(error.contains(why), "{query}: {error}");
        }
    }

    #[test]
    fn hostile_values_stay_inside_their_quotes() {
        let hostile = "\"} or vector(0) #\\\n\u{1b}[2J`'";
        let narrowed = find("up").unwrap()[0].narrowed(&labels(&[("a", hostile), ("dotted.name", "x")]));
        assert_eq!(narrowed, r#"{__name__="up",a="\"} or vector(0) #\\\n\u001b[2J`'","dotted.name"="x"}"#);
        // Parsed again it is one selector that means the same text.
        let Expr::VectorSelector(again) = parse(&format!("up{{a={}}}", quoted(hostile))).unwrap() else { unreachable!() };
        assert_eq!(again.matchers.matchers[0].value, hostile);
    }

    #[tokio::test]
    async fn deep_and_long_queries_harm_nobody() {
        selectors(&"(".repeat(MOST_BYTES)).await.unwrap_err();
        let parens = format!("{}up{}", "(".repeat(8_000), ")".repeat(8_000));
        assert_eq!(selectors(&parens).await.unwrap().len(), 1);
        assert!(selectors(&format!("up{}", "+1".repeat(8_000))).await.is_ok());
        let why = selectors(&"x".repeat(MOST_BYTES + 1)).await.unwrap_err();
        assert!(why.contains("16 KiB"), "{why}");
    }

    #[test]
    fn labels_that_no_series_has_are_left_out() {
        let alert = labels(&[("alertname", "X"), ("severity", "page"), ("cluster", "c"), ("replica", "b"), ("job", "j"), ("zone", "own")]);
        let rule = labels(&[("severity", "page")]);
        let external = labels(&[("cluster", "c"), ("replica", "a"), ("zone", "other")]);
        let drop = ["replica".to_owned()];
        assert_eq!(of_series(&alert, &rule, &external, &drop), labels(&[("job", "j"), ("zone", "own")]));
    }
}
