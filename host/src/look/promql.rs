//! What a PromQL query reads, for certain: only a query of which every word is understood is read at all.
//!
//! A plugin's query is hostile text, and what it may read is granted by the names of metrics. So a query is parsed here, whole and strictly,
//! and what is asked is not its text but what was understood, written anew: comments, odd strings and the like cannot mean one thing
//! here and another to Prometheus. What is not understood is an error and never guessed at: operators of later versions, selectors
//! without a fixed name, functions that are not known, since one of them (`info`) reads metrics that nobody named. The scanner in
//! `verify` serves another purpose: it reads rules that Prometheus has parsed already, and may overlook what nobody would write.
//! Absent on purpose: a tree, types and precedence, which are Prometheus' own affair.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Parentheses within parentheses.
const MOST_DEEP: usize = 32;

/// A query of which all is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The same query, written anew.
    pub text: String,
    /// The metrics that it reads, and no others.
    pub metrics: BTreeSet<String>,
}

impl Query {
    /// Reads it.
    ///
    /// # Errors
    /// What is not understood, in words that continue "the query".
    pub fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text, written: String::new(), metrics: BTreeSet::new(), deep: 0 };
        reader.expression()?;
        match reader.next() {
            None => Ok(Self { text: reader.written, metrics: reader.metrics }),
            Some(_) => Err(reader.unexpected("an operator or the end")),
        }
    }
}

/// A PromQL string that means exactly this text.
pub fn quoted(text: &str) -> String {
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

/// Since Prometheus 3 a label may have any name; others than the classic ones are quoted.
pub fn label_name(name: &str) -> String {
    let classic = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if classic { name.to_owned() } else { quoted(name) }
}

const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];

/// Words that are no metric where an operand is expected, although Prometheus would take some of them for one.
const KEYWORDS: [&str; 17] = [
    "and",
    "or",
    "unless",
    "atan2",
    "bool",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "start",
    "end",
    "step",
    "with",
    "keep_metric_names",
];

/// Functions that read nothing but their arguments.
const FUNCTIONS: &str = " abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp clamp_max clamp_min cos \
    cosh count_over_time day_of_month day_of_week day_of_year days_in_month deg delta deriv double_exponential_smoothing exp floor \
    histogram_avg histogram_count histogram_fraction histogram_quantile histogram_stddev histogram_stdvar histogram_sum holt_winters hour \
    idelta increase irate label_join label_replace last_over_time ln log10 log2 mad_over_time max_over_time min_over_time minute month pi \
    predict_linear present_over_time quantile_over_time rad rate resets round scalar sgn sin sinh sort sort_by_label sort_by_label_desc \
    sort_desc sqrt stddev_over_time stdvar_over_time sum_over_time tan tanh time timestamp vector year ";

/// The longer ones first.
const OPERATORS: [&str; 12] = ["==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "^", ">", "<"];

struct Reader<'a> {
    rest: &'a str,
    written: String,
    metrics: BTreeSet<String>,
    deep: usize,
}

impl<'a> Reader<'a> {
    /// Operands with operators between them.
    fn expression(&mut self) -> Result<(), String> {
        self.deep += 1;
        if self.deep > MOST_DEEP {
            return Err(format!("has more than {MOST_DEEP} parentheses within each other"));
        }
        self.operand()?;
        while self.operator()? {
            self.operand()?;
        }
        self.deep -= 1;
        Ok(())
    }

    /// An operator with what may stand behind it, if there is one.
    fn operator(&mut self) -> Result<bool, String> {
        if !["and", "or", "unless", "atan2"].into_iter().any(|word| self.word_is(word)) {
            self.blank();
            let Some(sign) = OPERATORS.into_iter().find(|sign| self.rest.starts_with(sign)) else { return Ok(false) };
            self.take(sign.len());
        }
        self.word_is("bool");
        if self.word_is("on") || self.word_is("ignoring") {
            self.labels()?;
            if (self.word_is("group_left") || self.word_is("group_right")) && self.next() == Some('(') {
                self.labels()?;
            }
        }
        Ok(true)
    }

    fn operand(&mut self) -> Result<(), String> {
        while self.sign('+') || self.sign('-') {}
        match self.next() {
            Some('(') => {
                self.sign('(');
                self.expression()?;
                self.expect(')')?;
            }
            Some('{') => self.selector(None)?,
            Some('"' | '\'' | '`') => {
                let text = self.string()?;
                self.write(&quoted(&text));
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number()?,
            Some(c) if c.is_ascii_alphabetic() || matches!(c, '_' | ':') => self.named()?,
            _ => return Err(self.unexpected("a metric, a number or a function")),
        }
        while self.suffix()? {}
        Ok(())
    }

    /// A range, a subquery, `offset` or `@`.
    fn suffix(&mut self) -> Result<bool, String> {
        if self.sign('[') {
            self.number()?;
            if self.sign(':') && self.next() != Some(']') {
                self.number()?;
            }
            self.expect(']')?;
        } else if self.word_is("offset") {
            let _either = self.sign('-') || self.sign('+');
            self.number()?;
        } else if self.sign('@') {
            if self.word_is("start") || self.word_is("end") {
                self.expect('(')?;
                self.expect(')')?;
            } else {
                let _either = self.sign('-') || self.sign('+');
                self.number()?;
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// What begins with a name: a number in words, an aggregation, a function, or a metric.
    fn named(&mut self) -> Result<(), String> {
        let name = self.peek_word();
        let small = name.to_ascii_lowercase();
        if matches!(small.as_str(), "inf" | "nan") {
            self.take(name.len());
            return Ok(());
        }
        if AGGREGATIONS.contains(&small.as_str()) {
            self.take(name.len());
            let grouped = self.grouping()?;
            self.arguments()?;
            if !grouped {
                self.grouping()?;
            }
            return Ok(());
        }
        if KEYWORDS.contains(&small.as_str()) {
            return Err(format!("has `{name}` where a metric, a number or a function is expected"));
        }
        let before = self.rest;
        self.rest = &self.rest[name.len()..];
        if self.next() != Some('(') {
            return self.selector(Some(name));
        }
        if !FUNCTIONS.contains(&format!(" {name} ")) {
            return Err(format!("calls `{name}`, of which it is not known what it reads"));
        }
        self.rest = before;
        self.take(name.len());
        self.arguments()
    }

    fn grouping(&mut self) -> Result<bool, String> {
        let grouped = self.word_is("by") || self.word_is("without");
        if grouped {
            self.labels()?;
        }
        Ok(grouped)
    }

    fn arguments(&mut self) -> Result<(), String> {
        self.expect('(')?;
        if self.sign(')') {
            return Ok(());
        }
        self.expression()?;
        while self.sign(',') {
            self.expression()?;
        }
        self.expect(')')
    }

    /// Names of labels in parentheses.
    fn labels(&mut self) -> Result<(), String> {
        self.expect('(')?;
        while self.next() != Some(')') {
            let name = self.label()?;
            self.write(&label_name(&name));
            if !self.sign(',') {
                break;
            }
        }
        self.expect(')')
    }

    /// The name of a label, which is not written yet.
    fn label(&mut self) -> Result<String, String> {
        match self.next() {
            Some('"' | '\'' | '`') => self.string(),
            _ => {
                let name = self.peek_word();
                if name.is_empty() || name.contains(':') {
                    return Err(self.unexpected("the name of a label"));
                }
                self.rest = &self.rest[name.len()..];
                Ok(name.to_owned())
            }
        }
    }

    /// A selector behind its name, if it has one in front.
    fn selector(&mut self, name: Option<&str>) -> Result<(), String> {
        let mut fixed = name.map(str::to_owned);
        let mut matchers = Vec::new();
        if self.eat("{") {
            while self.next() != Some('}') {
                matchers.push(self.matcher(&mut fixed)?);
                if !self.eat(",") {
                    break;
                }
            }
            if !self.eat("}") {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
        let Some(fixed) = fixed.filter(|name| !name.is_empty()) else {
            return Err("has a selector without the name of a metric".to_owned());
        };
        self.metrics.insert(fixed);
        self.write(&format!("{}{{{}}}", name.unwrap_or_default(), matchers.join(",")));
        Ok(())
    }

    /// One matcher, written anew; or the quoted name of the metric.
    fn matcher(&mut self, fixed: &mut Option<String>) -> Result<String, String> {
        let is_quoted = matches!(self.next(), Some('"' | '\'' | '`'));
        let label = self.label()?;
        self.blank();
        let op = ["=~", "!~", "!=", "="].into_iter().find(|op| self.rest.starts_with(op));
        let Some(op) = op else {
            // `{"a.dotted.name"}`
            if !is_quoted {
                return Err(self.unexpected("`=`, `!=`, `=~` or `!~`"));
            }
            let written = quoted(&label);
            return self.fix(fixed, label).map(|()| written);
        };
        self.eat(op);
        if !matches!(self.next(), Some('"' | '\'' | '`')) {
            return Err(self.unexpected("a text in quotes"));
        }
        let value = self.string()?;
        let written = format!("{}{op}{}", label_name(&label), quoted(&value));
        match label.as_str() {
            "__name__" if op == "=" => self.fix(fixed, value)?,
            "__name__" => {
                return Err("has a selector without a fixed name (`__name__` with another operator than `=`)".to_owned());
            }
            // Some of these select by more than a label in programs that speak PromQL.
            hidden if hidden.starts_with("__") => return Err(format!("selects by `{}`", hidden.escape_debug())),
            _ => {}
        }
        Ok(written)
    }

    fn fix(&self, fixed: &mut Option<String>, name: String) -> Result<(), String> {
        match fixed.replace(name) {
            None => Ok(()),
            Some(_) => Err("has a selector with two names".to_owned()),
        }
    }

    /// A number or a length of time.
    fn number(&mut self) -> Result<(), String> {
        self.blank();
        let mut end = 0;
        for (at, c) in self.rest.char_indices() {
            let exponent = matches!(c, '+' | '-') && self.rest[..at].ends_with(['e', 'E']) && !self.rest.starts_with("0x");
            if !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || exponent) {
                break;
            }
            end = at + c.len_utf8();
        }
        let text = &self.rest[..end];
        if !(is_number(text) || is_length(text)) {
            return Err(self.unexpected("a number or a length of time"));
        }
        self.take(end);
        Ok(())
    }

    /// What a string means. Escapes of single bytes are not understood.
    fn string(&mut self) -> Result<String, String> {
        self.blank();
        let mut chars = self.rest.chars();
        let quote = chars.next();
        let mut text = String::new();
        loop {
            let c = chars.next().ok_or("has a text that does not end")?;
            text.push(match c {
                c if Some(c) == quote => break,
                '\\' if quote != Some('`') => escaped(&mut chars).ok_or("has an escape in a text that is not understood")?,
                c => c,
            });
        }
        self.rest = chars.as_str();
        Ok(text)
    }

    /// The next character that means something.
    fn next(&mut self) -> Option<char> {
        self.blank();
        self.rest.chars().next()
    }

    fn blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.trim_start_matches(|c| !matches!(c, '\r' | '\n'));
        }
    }

    fn peek_word(&mut self) -> &'a str {
        self.blank();
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &self.rest[..end] }
    }

    /// Takes this keyword, if it is next.
    fn word_is(&mut self, keyword: &str) -> bool {
        let is = self.peek_word().eq_ignore_ascii_case(keyword);
        if is {
            self.take(keyword.len());
        }
        is
    }

    /// Takes this sign, if it is next.
    fn sign(&mut self, sign: char) -> bool {
        let is = self.next() == Some(sign);
        if is {
            self.take(sign.len_utf8());
        }
        is
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        if self.sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    /// Reads this without writing it.
    fn eat(&mut self, text: &str) -> bool {
        self.blank();
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Reads and writes the next bytes, which are ASCII.
    fn take(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        self.write(taken);
        self.rest = rest;
    }

    fn write(&mut self, text: &str) {
        if !self.written.is_empty() {
            self.written.push(' ');
        }
        self.written.push_str(text);
    }

    fn unexpected(&mut self, wanted: &str) -> String {
        let found: String = match self.next() {
            None => return format!("ends where {wanted} is expected"),
            Some(_) => self.rest.chars().take(20).collect(),
        };
        format!("has `{}` where {wanted} is expected", found.escape_debug())
    }
}

/// What stands for it behind a backslash.
fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = match chars.next()? {
        'a' => return Some('\u{7}'),
        'b' => return Some('\u{8}'),
        'f' => return Some('\u{c}'),
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        'v' => return Some('\u{b}'),
        c @ ('\\' | '"' | '\'') => return Some(c),
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let code = chars.as_str().get(..digits).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    *chars = chars.as_str().get(digits..)?.chars();
    u32::from_str_radix(code, 16).ok().and_then(char::from_u32)
}

fn is_number(text: &str) -> bool {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => text.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok(),
    }
}

/// `1h30m`
fn is_length(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(behind) = ["ms", "s", "m", "h", "d", "w", "y"].into_iter().find_map(|name| unit.strip_prefix(name)) else {
            return false;
        };
        if unit.len() == rest.len() {
            return false;
        }
        rest = behind;
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn metrics(query: &str) -> Vec<String> {
        Query::read(query).unwrap_or_else(|why| panic!("{query}: {why}")).metrics.into_iter().collect()
    }

    #[test]
    fn every_metric_is_found() {
        for (query, expected) in [
            ("up", &["up"][..]),
            ("up == 0", &["up"]),
            ("1 + Inf > bool .5e-3", &[]),
            ("vector(time())", &[]),
            (
                "sum by (job, \"a.b\") (rate(errors_total[5m])) / on (job) group_left (team) sum(rate(all_total[5m] offset -1w)) without (x,)",
                &["all_total", "errors_total"],
            ),
            ("SUM(a) BY (b) oR (c Unless on() d)", &["a", "c", "d"]),
            ("a * on (b) group_left c", &["a", "c"]),
            ("max_over_time(rate(x[5m])[1h:1m]) @ start() + y @ 1600000000.5", &["x", "y"]),
            (
                "predict_linear(node_filesystem_avail_bytes{mountpoint=~'/|/var'}[6h], 4*3600) < 0",
                &["node_filesystem_avail_bytes"],
            ),
            ("{__name__=\"up\", job!='a'}", &["up"]),
            ("{'http.server.duration', a=`\\d`}", &["http.server.duration"]),
            ("label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):\\\\d+\")", &["up"]),
            ("-x # not_me\n + job:y:rate5m", &["job:y:rate5m", "x"]),
            ("sum(rate) + time", &["rate", "time"]),
            ("topk(3, a{b=\"} or secret #\"}) ^ -c", &["a", "c"]),
            ("quantile_over_time(0.9, x[1d:])", &["x"]),
        ] {
            assert_eq!(metrics(query), expected, "{query}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (query, why) in [
            ("", "ends where a metric"),
            ("up +", "ends where a metric"),
            ("up secret", "`secret` where an operator"),
            ("up{", "ends where the name"),
            ("up{a=\"b\" or c=\"d\"}", "where `,` or `}`"),
            ("{a=\"b\"}", "without the name of a metric"),
            ("{}", "without the name of a metric"),
            ("{__name__=~\".*\"}", "without a fixed name"),
            ("up{__name__!=\"x\"}", "without a fixed name"),
            ("up{__name__=\"secret\"}", "two names"),
            ("{\"up\",\"secret\"}", "two names"),
            ("{\"__name__\"=~\"up|secret\"}", "without a fixed name"),
            ("{__name__=\"\"}", "without the name of a metric"),
            ("up{__graphite__=\"secret.*\"}", "selects by `__graphite__`"),
            ("info(up)", "calls `info`"),
            ("info(up, {__name__=~\".+_info\"})", "calls `info`"),
            ("WITH (x = secret) up + x", "`WITH` where"),
            ("sum(by)", "has `by` where"),
            ("offset", "has `offset` where"),
            ("sum(sum)", "where `(`"),
            ("on(secret)", "has `on` where"),
            ("up offset secret", "where a number or a length of time"),
            ("up[5m + secret]", "where `]`"),
            ("up[secret]", "where a number"),
            ("up{a=\"\\x75\"}", "escape"),
            ("up{a=\"b}", "does not end"),
            ("1secret", "where a number"),
            ("1_000", "where a number"),
            ("up\u{a0}+ secret", "where an operator"),
            ("up smoothed", "where an operator"),
            ("up; secret", "where an operator"),
        ] {
            let error = Query::read(query).expect_err(query);
            assert!(error.contains(why), "{query}: {error}");
        }
        let deep = format!("{}up{}", "(".repeat(40), ")".repeat(40));
        assert!(Query::read(&deep).unwrap_err().contains("more than 32"));
        assert!(Query::read(&"(".repeat(4096)).is_err(), "and it is no deeper for a hostile one");
    }

    #[test]
    fn it_is_written_anew_without_what_could_be_read_in_two_ways() {
        let query = "up{a='\\'\"}', # } secret\n b=`\\`,} # secret\r > bool 1";
        let read = Query::read(query).unwrap();
        assert_eq!(read.text, "up{a=\"'\\\"}\",b=\"\\\\\"} > bool 1");
        assert_eq!(Query::read(&read.text).unwrap(), read, "read again it is the same");
    }

    #[test]
    fn hostile_values_stay_inside_their_quotes() {
        let hostile = "\"} or vector(0) #\\\n\u{1b}[2J`'";
        assert_eq!(quoted(hostile), r#""\"} or vector(0) #\\\n\u001b[2J`'""#);
        assert_eq!(label_name("dotted.name"), "\"dotted.name\"");
    }
}
