//! The report that CI systems read: JUnit's XML, as far as GitLab, Jenkins and the actions of GitHub agree on it.

use std::time::Duration;

use super::test::Outcome;

/// One suite with one case for each.
pub(super) fn report(suite: &str, outcomes: &[Outcome], took: Duration) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (suite, seconds) = (escape(suite), took.as_secs_f64());
    xml += &format!(
        "<testsuites tests=\"{n}\" failures=\"{failed}\" time=\"{seconds:.3}\">\n  <testsuite name=\"{suite}\" tests=\"{n}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{seconds:.3}\">\n",
        n = outcomes.len()
    );
    for outcome in outcomes {
        let file = outcome.place.rsplit_once(':').map_or(outcome.place.as_str(), |(file, _)| file);
        xml += &format!(
            "    <testcase name=\"{}\" classname=\"{suite}\" file=\"{}\" time=\"{:.6}\"",
            escape(&outcome.name),
            escape(file),
            outcome.seconds
        );
        if outcome.passed {
            xml += "/>\n";
            continue;
        }
        let text = outcome.differences.join("\n");
        let first = outcome.differences.last().map_or("it differs", String::as_str);
        xml += &format!(
            ">\n      <failure message=\"{}\" type=\"difference\">{}\n{}</failure>\n",
            escape(first),
            escape(&outcome.place),
            escape(&text)
        );
        if !outcome.log.is_empty() {
            xml += &format!("      <system-out>{}</system-out>\n", escape(&outcome.log.join("\n")));
        }
        xml += "    </testcase>\n";
    }
    xml + "  </testsuite>\n</testsuites>"
}

/// Text for XML 1.0: five characters are spelt out, and those that XML cannot hold at all become U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&apos;",
            '\n' => escaped.push('\n'),
            '\t' => escaped.push(' '),
            c if c < ' ' || matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_plugin_stays_text() {
        assert_eq!(escape("a<b>&\"'\u{1b}\u{0}\n"), "a&lt;b&gt;&amp;&quot;&apos;\u{fffd}\u{fffd}\n");
    }

    #[test]
    fn a_failure_has_its_place_and_its_differences() {
        let outcome = |passed: bool, differences: &[&str]| Outcome {
            name: "x \"y\"".into(),
            place: "cases/a.yaml:3".into(),
            passed,
            differences: differences.iter().map(|d| (*d).to_owned()).collect(),
            log: vec!["info: <hello>".into()],
            seconds: 0.001,
        };
        let all = [outcome(true, &[]), outcome(false, &["- decision: act", "+ decision: pass"])];
        let xml = report("p", &all, Duration::from_millis(5));
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites tests=\"2\" failures=\"1\" time=\"0.005\">
  <testsuite name=\"p\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\" time=\"0.005\">
    <testcase name=\"x &quot;y&quot;\" classname=\"p\" file=\"cases/a.yaml\" time=\"0.001000\"/>
    <testcase name=\"x &quot;y&quot;\" classname=\"p\" file=\"cases/a.yaml\" time=\"0.001000\">
      <failure message=\"+ decision: pass\" type=\"difference\">cases/a.yaml:3
- decision: act
+ decision: pass</failure>
      <system-out>info: &lt;hello&gt;</system-out>
    </testcase>
  </testsuite>
</testsuites>";
        assert_eq!(xml, expected);
    }
}
