//! Looking at Prometheus. Only metrics that the policy file grants (`grants.metrics`) can be asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{LookupError, fake};
use crate::bindings::paramedic::policy::metrics as wit;
use crate::incident::Time;

/// Evaluates PromQL at the time of the question. The answer has to be an instant vector or a scalar, of at most 500 samples; a query
/// has at most 4096 bytes. Text from an alert belongs into it only through [`quote`].
///
/// # Errors
/// [`LookupError::Invalid`] when it does not parse, [`LookupError::AccessDenied`] when one of its metrics is not granted.
pub fn query(promql: &str) -> Result<Vec<Sample>, LookupError> {
    if cfg!(not(target_arch = "wasm32")) {
        return fake::query(promql);
    }
    Ok(wit::query(promql)?.into_iter().map(Sample::from).collect())
}

/// Text as a string of PromQL, quotes included: whatever it holds, it stays one string.
///
/// ```
/// use paramedic_policy::lookup::metrics::quote;
///
/// assert_eq!(format!("up{{job={}}}", quote("web")), r#"up{job="web"}"#);
/// assert_eq!(quote(r#"x"} or vector(1) #"#), r#""x\"} or vector(1) #""#);
/// ```
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// One value of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Its labels; empty for a scalar.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
    /// When it was evaluated.
    pub at: Time,
}

/// For tests: samples as they could be.
impl Sample {
    /// A value without labels.
    pub fn of(value: f64) -> Self {
        Self { labels: BTreeMap::new(), value, at: Time(0) }
    }

    /// Adds a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl From<wit::Sample> for Sample {
    fn from(sample: wit::Sample) -> Self {
        Self { labels: sample.labels.into_iter().collect(), value: sample.value, at: Time(sample.at) }
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn whatever_the_text_holds_it_stays_one_string() {
        assert_eq!(quote(""), r#""""#);
        assert_eq!(quote("a\\\"b\nc\u{0}\u{85}é"), "\"a\\\\\\\"b\\nc\\u0000\\u0085é\"");
    }
}
