//! Whether there can be an alert that fits several lists of matchers at once.
//!
//! Exact where each label is compared with texts (`=`, `!=`, and alternations of plain texts such as `a|b`); where other regular expressions
//! about one label meet, it is only said that there may be one. Absent on purpose: the intersection of regular expressions.

use std::collections::BTreeMap;

use super::Labels;
use super::matchers::{Matcher, Matchers};

/// Can one alert fit?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// No alert does.
    Never,
    /// Some alert does, as far as can be told without solving regular expressions.
    Perhaps,
    /// There is such an alert.
    Surely,
}

/// Can one alert fit all of these?
pub fn together(all: &[&Matchers]) -> Fit {
    let mut fit = Fit::Surely;
    for (name, matchers) in by_label(all) {
        match about_one(name, &matchers) {
            Fit::Never => return Fit::Never,
            Fit::Perhaps => fit = Fit::Perhaps,
            Fit::Surely => {}
        }
    }
    fit
}

/// Labels of an alert that fits, as far as they can be told without solving regular expressions.
pub fn example(matchers: &Matchers) -> Labels {
    let mut labels = Labels::new();
    for (name, matchers) in by_label(&[matchers]) {
        let values = matchers.iter().find_map(|matcher| matcher.only()).unwrap_or_default();
        let value = values.into_iter().find(|value| !value.is_empty() && fits(name, value, &matchers));
        labels.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    labels
}

fn by_label<'a>(all: &[&'a Matchers]) -> BTreeMap<&'a str, Vec<&'a Matcher>> {
    let mut by_label: BTreeMap<&str, Vec<&Matcher>> = BTreeMap::new();
    for matcher in all.iter().flat_map(|matchers| matchers.iter()) {
        by_label.entry(matcher.name()).or_default().push(matcher);
    }
    by_label
}

fn fits(name: &str, value: &str, matchers: &[&Matcher]) -> bool {
    let labels = Labels::from([(name.to_owned(), value.to_owned())]);
    matchers.iter().all(|matcher| matcher.matches(&labels))
}

fn about_one(name: &str, matchers: &[&Matcher]) -> Fit {
    let fits = |value: &str| fits(name, value, matchers);
    // One of them leaves only these values: then it is enough to try them.
    if let Some(values) = matchers.iter().find_map(|matcher| matcher.only()) {
        return if values.iter().any(|value| fits(value)) { Fit::Surely } else { Fit::Never };
    }
    // A label that is not there, and one that nobody had in mind.
    if fits("") || fits("no matcher of these had this text in mind") { Fit::Surely } else { Fit::Perhaps }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fit(one: &[&str], other: &[&str]) -> Fit {
        together(&[&Matchers::parse(one).unwrap(), &Matchers::parse(other).unwrap()])
    }

    #[test]
    fn texts_are_compared_exactly() {
        assert_eq!(fit(&["a=\"x\""], &["a=\"y\""]), Fit::Never);
        assert_eq!(fit(&["a=\"x\""], &["b=\"y\""]), Fit::Surely);
        assert_eq!(fit(&["a=~\"x|y\""], &["a=~\"y|z\""]), Fit::Surely);
        assert_eq!(fit(&["a=~\"x|y\""], &["a=~\"z\"", "b=\"1\""]), Fit::Never);
        assert_eq!(fit(&["a=~\"x|y\""], &["a!~\"x|y\""]), Fit::Never);
        assert_eq!(fit(&["a=\"x\""], &["a=~\"x.*\""]), Fit::Surely);
        assert_eq!(fit(&["a=\"x\""], &["a=~\"y.*\""]), Fit::Never);
        assert_eq!(fit(&["a!=\"x\""], &["a!=\"\""]), Fit::Surely);
        assert_eq!(fit(&[], &["a=\"x\""]), Fit::Surely);
        assert_eq!(fit(&["a=\"\""], &["a!=\"\""]), Fit::Never);
    }

    #[test]
    fn regular_expressions_that_meet_may_overlap() {
        assert_eq!(fit(&["a=~\"x.*\""], &["a=~\".*y\""]), Fit::Perhaps);
        assert_eq!(fit(&["a=~\"x.*\""], &["a=~\"y.*\""]), Fit::Perhaps);
        assert_eq!(fit(&["a=~\".+\""], &["a!=\"x\""]), Fit::Surely);
    }

    #[test]
    fn an_example_fits_what_can_be_listed() {
        let of = |matchers: &[&str]| example(&Matchers::parse(matchers).unwrap());
        let labels = of(&[
            "alertname=\"Down\"",
            "severity=~\"critical|page\"",
            "severity!=\"critical\"",
            "job=~\"web-.*\"",
            "team!=\"a\"",
        ]);
        let told: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(told, ["alertname=Down", "severity=page"]);
        assert_eq!(of(&["gone=\"\""]), Labels::new());
    }

    #[test]
    fn one_alone_may_contradict_itself() {
        assert_eq!(together(&[&Matchers::parse(&["a=\"x\"", "a=\"y\""]).unwrap()]), Fit::Never);
    }
}
