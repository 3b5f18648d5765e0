//! Matchers on labels, in Alertmanager's own syntax: `alertname="NginxDown"`, `severity=~"critical|page"`.
//!
//! The same words an operator already writes in Alertmanager's routes and gives to amtool mean the same here: a regular
//! expression has to match the whole value, a label that is absent has the empty value, a name that is not an identifier
//! is written in quotes. Absent on purpose: several matchers in one string (`{a="b",c="d"}`); write a list.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::alert::Labels;
use crate::telemetry::clean;

/// Compiled size of one regular expression; Prometheus' own long alternations stay far below it.
const REGEX_SIZE_BYTES: usize = 1 << 20;
/// Characters that Alertmanager keeps for itself: names and values that hold one are written in quotes.
const RESERVED: &str = "{}!=~,\\\"'`";

/// How a value is compared.
#[derive(Clone, Debug)]
enum Test {
    Equal,
    NotEqual,
    /// Without a regular expression: one of some texts.
    Like(Option<Regex>),
    NotLike(Option<Regex>),
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    value: String,
    test: Test,
}

impl Matcher {
    /// Parses one matcher.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = parse_name(text.trim())?;
        let (operator, rest) = ["=~", "!~", "!=", "="]
            .iter()
            .find_map(|op| rest.strip_prefix(op).map(|rest| (*op, rest)))
            .ok_or_else(|| format!("`{}` has no =, !=, =~ or !~ after its label name: {EXAMPLE}", shown(text)))?;
        Self::of(name, operator, parse_value(rest.trim())?)
    }

    /// One matcher out of its parts, as programs give them.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn of(name: String, operator: &str, value: String) -> Result<Self, String> {
        let test = match operator {
            "=~" => Test::Like(pattern(&value)?),
            "!~" => Test::NotLike(pattern(&value)?),
            "!=" => Test::NotEqual,
            "=" => Test::Equal,
            other => return Err(format!("`{}` is none of =, !=, =~ and !~", shown(other))),
        };
        if name.is_empty() {
            return Err("a matcher needs the name of a label".to_owned());
        }
        Ok(Self { name, value, test })
    }

    /// True when the labels fulfil it. An absent label has the empty value.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        match &self.test {
            Test::Equal => value == self.value,
            Test::NotEqual => value != self.value,
            Test::Like(regex) => self.like(regex.as_ref(), value),
            Test::NotLike(regex) => !self.like(regex.as_ref(), value),
        }
    }

    fn like(&self, regex: Option<&Regex>, value: &str) -> bool {
        match regex {
            Some(regex) => regex.is_match(value),
            None => self.value.split('|').any(|text| text == value),
        }
    }

    /// The values that it lets through, if they can be listed.
    pub fn only(&self) -> Option<Vec<&str>> {
        match self.test {
            Test::Equal => Some(vec![&self.value]),
            Test::Like(None) => Some(self.value.split('|').collect()),
            _ => None,
        }
    }

    /// Why it does not match, with what is there instead: `alertname="Down", but it is "Up"`.
    pub fn against(&self, labels: &Labels) -> String {
        let shown = |text: &str| clean(text, 60);
        match labels.get(&self.name) {
            Some(value) => format!("{}, but it is \"{}\"", clean(&self.to_string(), 120), shown(value)),
            None => format!("{}, but the alert has no such label", clean(&self.to_string(), 120)),
        }
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value or regular expression as written, without quotes.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// `=`, `!=`, `=~` or `!~`.
    pub fn operator(&self) -> &'static str {
        match self.test {
            Test::Equal => "=",
            Test::NotEqual => "!=",
            Test::Like(_) => "=~",
            Test::NotLike(_) => "!~",
        }
    }
}

const EXAMPLE: &str = "write for instance alertname=\"NginxDown\" or severity=~\"critical|page\"";

/// Text from a file as it can be shown in one line of an error.
fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

fn is_reserved(c: char) -> bool {
    c.is_whitespace() || c.is_control() || RESERVED.contains(c)
}

fn parse_name(text: &str) -> Result<(String, &str), String> {
    let (name, rest) = if text.starts_with('"') {
        let end = end_of_quoted(text)?;
        (unquote(&text[1..end]), &text[end + 1..])
    } else {
        let end = text.find(is_reserved).unwrap_or(text.len());
        (text[..end].to_owned(), &text[end..])
    };
    if name.is_empty() {
        return Err(format!("`{}` names no label: {EXAMPLE}", shown(text)));
    }
    Ok((name, rest.trim_start()))
}

fn parse_value(text: &str) -> Result<String, String> {
    if text.starts_with('"') {
        let end = end_of_quoted(text)?;
        if end + 1 != text.len() {
            return Err(format!("`{}` goes on after the closing quote: one matcher per list item", shown(text)));
        }
        return Ok(unquote(&text[1..end]));
    }
    match text.find(is_reserved) {
        Some(_) => Err(format!("the value `{}` has to be written in double quotes", shown(text))),
        None => Ok(text.to_owned()),
    }
}

/// Position of the quote that closes the one at the start.
fn end_of_quoted(text: &str) -> Result<usize, String> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Ok(at),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    Err(format!("`{}` lacks its closing quote", shown(text)))
}

/// Takes escapes out of quoted text: Go's own when all of them are that, else only `\\`, `\"` and `\n` as Alertmanager's older
/// parser reads them, so that `"10\.0\.0\.1"` means what it always meant.
fn unquote(text: &str) -> String {
    unquote_go(text).unwrap_or_else(|| unquote_classic(text))
}

fn unquote_classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let plain = match (c, chars.peek()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('"')) => '"',
            ('\\', Some('\\')) => '\\',
            _ => {
                out.push(c);
                continue;
            }
        };
        out.push(plain);
        chars.next();
    }
    out
}

/// `None` when an escape is not one of Go's, or bytes do not make UTF-8.
fn unquote_go(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape_go(&rest[at + 1..], &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).ok()
}

/// Decodes one escape behind its backslash and returns what follows it.
fn escape_go<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let first = text.chars().next()?;
    let plain = match first {
        'a' => 7,
        'b' => 8,
        't' => 9,
        'n' => 10,
        'v' => 11,
        'f' => 12,
        'r' => 13,
        '\\' | '"' => u8::try_from(first).ok()?,
        'x' => {
            out.push(u8::try_from(digits(text.get(1..3)?, 16)?).ok()?);
            return text.get(3..);
        }
        'u' | 'U' => {
            let end = if first == 'u' { 5 } else { 9 };
            let c = char::from_u32(digits(text.get(1..end)?, 16)?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return text.get(end..);
        }
        '0'..='7' => {
            out.push(u8::try_from(digits(text.get(..3)?, 8)?).ok()?);
            return text.get(3..);
        }
        _ => return None,
    };
    out.push(plain);
    text.get(1..)
}

fn digits(text: &str, radix: u32) -> Option<u32> {
    // from_str_radix would take a sign.
    text.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(text, radix).ok())?
}

/// `None` for texts and alternations of texts, which most patterns are: a compiled regular expression takes some ten KiB, and a thousand policies
/// have a thousand of them.
fn pattern(text: &str) -> Result<Option<Regex>, String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '/' | ':' | '|');
    if text.chars().all(plain) { Ok(None) } else { anchored(text).map(Some) }
}

fn anchored(pattern: &str) -> Result<Regex, String> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_SIZE_BYTES).build();
    let why = |error: regex::Error| match error {
        regex::Error::CompiledTooBig(_) => format!("the regular expression `{}` is too big", shown(pattern)),
        // The last line of regex' message is the reason; the lines above draw the pattern.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the regular expression `{}` is wrong: {}", shown(pattern), shown(last))
        }
    };
    // Alone first: `a)|(b` would otherwise escape from the anchors.
    build(pattern).and_then(|_| build(&format!("^(?:{pattern})$"))).map_err(why)
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.operator() == other.operator() && self.value == other.value
    }
}

impl Eq for Matcher {}

/// Prints it so that it parses to the same again, always with a quoted value.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(is_reserved) {
            write_quoted(f, &self.name)?;
        } else {
            f.write_str(&self.name)?;
        }
        f.write_str(self.operator())?;
        write_quoted(f, &self.value)
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            // What could move a terminal's cursor or turn the text around.
            _ if c.is_control() || crate::telemetry::is_deceiving(c) => match u32::from(c) {
                code @ 0..=0xffff => write!(f, "\\u{code:04x}")?,
                code => write!(f, "\\U{code:08x}")?,
            },
            _ => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

impl FromStr for Matcher {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// Several matchers that all have to match; none at all matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Matchers(pub Vec<Matcher>);

impl Matchers {
    /// Parses a list of matchers.
    ///
    /// # Errors
    /// The first matcher that is wrong, in a sentence.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, String> {
        texts.iter().map(|text| Matcher::parse(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Matcher> {
        self.0.iter()
    }

    /// True when all match.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.first_mismatch(labels).is_none()
    }

    /// The first that does not match, to say why something was not taken.
    pub fn first_mismatch(&self, labels: &Labels) -> Option<&Matcher> {
        self.0.iter().find(|matcher| !matcher.matches(labels))
    }

    /// All that do not match.
    pub fn mismatches<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Matcher> {
        self.0.iter().filter(|matcher| !matcher.matches(labels))
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (i, matcher) in self.0.iter().enumerate() {
            write!(f, "{}{matcher}", if i == 0 { "" } else { "," })?;
        }
        f.write_char('}')
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn matches(matcher: &str, pairs: &[(&str, &str)]) -> bool {
        Matcher::parse(matcher).unwrap().matches(&labels(pairs))
    }

    #[test]
    fn compares_whole_values() {
        assert!(matches(r#"alertname="NginxDown""#, &[("alertname", "NginxDown")]));
        assert!(!matches(r#"alertname="Nginx""#, &[("alertname", "NginxDown")]));
        assert!(matches(r#"alertname!="Nginx""#, &[("alertname", "NginxDown")]));
        assert!(matches(r#"severity=~"critical|page""#, &[("severity", "page")]));
        assert!(!matches(r#"severity=~"critical|page""#, &[("severity", "pager")]));
        assert!(!matches(r#"severity=~"critical|page""#, &[("severity", "not critical")]));
        assert!(matches(r#"severity!~"crit""#, &[("severity", "critical")]));
        assert!(!matches(r#"severity=~"page""#, &[("severity", "page\n")]));
    }

    /// What is compared without a regular expression gives what the regular expression would.
    #[test]
    fn alternations_of_texts_mean_what_they_mean_as_regular_expressions() {
        let patterns =
            ["a", "a|b", "", "|", "a||b", "a b|c-d/e:f_1", "ü|✓", "aa|a", "a.", "a\\.|b", "(?i)a", "a|b*", "^a", "a$|b"];
        let values = ["", "a", "b", "ab", "a|b", "a b", "c-d/e:f_1", "ü", "✓", "aa", "A", "a.", "bb", "a\n"];
        for text in patterns {
            let regex = anchored(text).unwrap();
            let matcher = Matcher::of("x".to_owned(), "=~", text.to_owned()).unwrap();
            let not = Matcher::of("x".to_owned(), "!~", text.to_owned()).unwrap();
            for value in values {
                let labels = labels(&[("x", value)]);
                assert_eq!(
                    (matcher.matches(&labels), not.matches(&labels)),
                    (regex.is_match(value), !regex.is_match(value)),
                    "{text:?} {value:?}"
                );
            }
        }
    }

    #[test]
    fn an_absent_label_has_the_empty_value() {
        assert!(matches(r#"team="""#, &[]));
        assert!(matches("team=", &[]));
        assert!(!matches(r#"team!="""#, &[]));
        assert!(matches(r#"team=~".*""#, &[]));
        assert!(!matches(r#"team=~".+""#, &[]));
        assert!(matches(r#"team!="a""#, &[]));
    }

    #[test]
    fn reads_what_alertmanager_reads() {
        for (text, name, operator, value) in [
            ("alertname=NginxDown", "alertname", "=", "NginxDown"),
            (" alertname =~ Nginx.* ", "alertname", "=~", "Nginx.*"),
            (r#"a="say \"hi\"\\\n""#, "a", "=", "say \"hi\"\\\n"),
            (r#""service.name"="web front""#, "service.name", "=", "web front"),
            ("ünïcödé=✓", "ünïcödé", "=", "✓"),
            (r#"a="\u00fc\x41\101""#, "a", "=", "üAA"),
            (r#"ip=~"10\.0\.0\.1""#, "ip", "=~", r"10\.0\.0\.1"),
            (r#"a="x=~y!{}""#, "a", "=", "x=~y!{}"),
        ] {
            let matcher = Matcher::parse(text).unwrap();
            assert_eq!((matcher.name(), matcher.operator(), matcher.value()), (name, operator, value), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none_and_says_what_to_write() {
        for (text, part) in [
            ("", "names no label"),
            ("=x", "names no label"),
            (r#"""="x""#, "names no label"),
            ("alertname", "has no ="),
            ("alertname NginxDown", "has no ="),
            ("a=b c", "double quotes"),
            ("a==b", "double quotes"),
            (r#"a="b"#, "closing quote"),
            (r#"a="b" c"#, "after the closing quote"),
            (r#"a="b",c="d""#, "after the closing quote"),
            (r#"a=~"(""#, "unclosed group"),
            (r#"a=~"x)|(y""#, "is wrong"),
            (r#"a=~"(?:a{1000}){1000}""#, "too big"),
        ] {
            let error = Matcher::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn prints_what_parses_to_the_same() {
        for text in ["a=b", r#""a b"!="c\nd\"\\""#, r#"x=~"10\\.0""#, "é!~ü", "a=\"\u{202e}\u{1b}[31m\u{e0001}\""] {
            let matcher = Matcher::parse(text).unwrap();
            let printed = matcher.to_string();
            assert!(!printed.contains(['\u{1b}', '\u{202e}', '\n']), "{printed}");
            assert_eq!(Matcher::parse(&printed).unwrap(), matcher, "{printed}");
        }
    }

    #[test]
    fn all_of_a_list_have_to_match() {
        let list: Matchers = serde_json::from_str(r#"["a=1", "b!=2"]"#).unwrap();
        assert!(list.matches(&labels(&[("a", "1")])));
        assert_eq!(list.first_mismatch(&labels(&[("a", "1"), ("b", "2")])).unwrap().to_string(), r#"b!="2""#);
        assert_eq!(list.to_string(), r#"{a="1",b!="2"}"#);
        assert!(Matchers::default().matches(&Labels::new()));
        assert!(serde_json::from_str::<Matchers>(r#"["a"]"#).is_err());
    }
}
