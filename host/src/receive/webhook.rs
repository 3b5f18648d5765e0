//! Alertmanager's webhook, version 4, and what else speaks it: older Alertmanagers, Grafana, Mimir.
//!
//! Firing or resolved is what `status` says: a firing alert's `endsAt` is the year 1 in new senders and a real time in old
//! ones. A message's other fields describe the notification, not the alerts, and are not looked at.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::message::{self, Alerts, Heard, Raw, Refused};
use crate::alert::{Alert, Family, Status};
use crate::clock::Time;
use crate::telemetry::clean;

const EXPECTED: &str = "not an Alertmanager webhook message (an object with a list `alerts`)";

/// The fields that matter. Everything may be missing, so that a message of another kind is told so.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    version: Value,
    #[serde(default, rename = "orgId")]
    org: Option<IgnoredAny>,
    alerts: Option<Alerts>,
    // Grafana's format before version 9 has these instead of alerts.
    #[serde(default, rename = "evalMatches")]
    matches: Option<IgnoredAny>,
    #[serde(default, rename = "ruleName")]
    rule: Option<IgnoredAny>,
}

/// Reads a message.
///
/// # Errors
/// When nothing of it can be heard.
pub fn parse(body: &[u8], now: Time) -> Result<Heard, Refused> {
    let body: Body = message::json(body, EXPECTED)?;
    let Some(Alerts(said)) = body.alerts else {
        let legacy = body.matches.is_some() || body.rule.is_some();
        return Err(Refused::NotAMessage(if legacy {
            "this is Grafana's legacy alerting, which does not name its alerts: use Grafana alerting (version 9 or later)"
                .to_owned()
        } else {
            format!("{EXPECTED}: `alerts` is missing")
        }));
    };
    let grafana = body.version == "1" && body.org.is_some();
    let family = if grafana { Family::Grafana } else { Family::Prometheus };
    Ok(Heard::judge(said?, |raw| alert(raw, family, now)))
}

/// Reads a message all of whose alerts have to be right.
///
/// # Errors
/// What is wrong with it.
pub fn parse_all(body: &[u8]) -> Result<Vec<Alert>, Refused> {
    let heard = parse(body, Time::now())?;
    match heard.complaint() {
        Some(complaint) => Err(Refused::NotAMessage(complaint)),
        None => Ok(heard.alerts),
    }
}

fn alert(raw: Raw, family: Family, now: Time) -> Result<Alert, String> {
    let status = match raw.status.as_deref() {
        Some("firing") => Status::Firing,
        Some("resolved") => Status::Resolved,
        Some(other) => return Err(format!("its status is `{}`, neither firing nor resolved", clean(other, 40))),
        None => return Err("it has no status".to_owned()),
    };
    Ok(Alert {
        family,
        status,
        labels: raw.labels,
        annotations: raw.annotations,
        starts_at: raw.starts_at.unwrap_or(now),
        ends_at: raw.ends_at,
        generator_url: raw.generator_url,
        fingerprint: raw.fingerprint,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Time = Time(1_000_000);

    fn refused(body: &str) -> String {
        parse(body.as_bytes(), NOW).unwrap_err().to_string()
    }

    fn complaint(alert: &str) -> String {
        parse(format!(r#"{{"alerts":[{alert}]}}"#).as_bytes(), NOW).unwrap().complaint().unwrap()
    }

    #[test]
    fn status_counts_and_not_the_end() {
        let body = r#"{"version":"4","alerts":[
            {"status":"firing","labels":{"alertname":"A","empty":""},"startsAt":"2026-01-02T03:04:05+01:00","endsAt":"2020-01-01T00:00:00Z"},
            {"status":"resolved","labels":{"alertname":"B"},"endsAt":"0001-01-01T00:00:00Z","fingerprint":"ab","generatorURL":"?orgId=1"}]}"#;
        let alerts = parse_all(body.as_bytes()).unwrap();
        assert_eq!((alerts[0].status, alerts[1].status), (Status::Firing, Status::Resolved));
        assert_eq!(alerts[0].starts_at, Time::parse("2026-01-02T02:04:05Z").unwrap());
        assert_eq!(alerts[0].labels.len(), 1, "an empty label is no label");
        assert_eq!((alerts[1].ends_at, alerts[1].fingerprint.as_deref()), (None, Some("ab")));
        assert_eq!(alerts[0].family, Family::Prometheus);
    }

    #[test]
    fn old_and_strange_senders_are_understood() {
        // Version 3 had a numeric groupKey; null stands for absent; unknown fields are none of our business.
        let body = r#"{"version":"3","groupKey":4711,"new":{"a":[1]},"alerts":[{"status":"firing","labels":{"a":"b"},"annotations":null,"values":{"A":null}}]}"#;
        let heard = parse(body.as_bytes(), NOW).unwrap();
        assert_eq!((heard.alerts.len(), heard.wrong_count, heard.alerts[0].starts_at), (1, 0, NOW));
        let body = r#"{"version":"1","orgId":1,"state":"alerting","alerts":[{"status":"firing","labels":{"a":"b"},"orgId":1}]}"#;
        assert_eq!(parse_all(body.as_bytes()).unwrap()[0].family, Family::Grafana);
        assert!(parse(br#"{"alerts":[]}"#, NOW).unwrap().alerts.is_empty());
    }

    #[test]
    fn what_is_no_message_is_refused_with_a_reason() {
        for (body, part) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("nginx is down", "not JSON"),
            ("[]", "not an Alertmanager webhook message"),
            ("{}", "`alerts` is missing"),
            (r#"{"alerts":null}"#, "`alerts` is missing"),
            (r#"{"alerts":{}}"#, "not an Alertmanager webhook message"),
            (r#"{"ruleName":"x","state":"alerting","evalMatches":[]}"#, "legacy"),
        ] {
            assert!(refused(body).contains(part), "{body}: {}", refused(body));
        }
        assert!(parse(b"{\"alerts\":[{\"status\":\"\xff\"}]}", NOW).unwrap_err().to_string().contains("not JSON"));
        assert!(matches!(parse("[".repeat(100_000).as_bytes(), NOW), Err(Refused::NotJson(_) | Refused::NotAMessage(_))));
    }

    #[test]
    fn a_wrong_alert_is_named_and_spoils_no_other() {
        for (alert, part) in [
            ("1", "not an object"),
            (r#"{"status":"firing"}"#, "at least one label"),
            (r#"{"status":"firing","labels":{"a":""}}"#, "at least one label"),
            (r#"{"status":"firing","labels":["a"]}"#, "labels are a list"),
            (r#"{"status":"firing","labels":{"a":1}}"#, "label `a` is a number"),
            (r#"{"status":"firing","labels":{"":"x"}}"#, "empty name"),
            (r#"{"status":"Firing","labels":{"a":"b"}}"#, "neither firing nor resolved"),
            (r#"{"status":"\u001b[31m","labels":{"a":"b"}}"#, "neither firing nor resolved"),
            (r#"{"status":1,"labels":{"a":"b"}}"#, "status is a number"),
            (r#"{"labels":{"a":"b"}}"#, "no status"),
            (r#"{"status":"firing","labels":{"a":"b"},"startsAt":"yesterday"}"#, "startsAt `yesterday`"),
            (r#"{"status":"firing","labels":{"a":"b"},"startsAt":7}"#, "startsAt is a number"),
            (r#"{"status":"firing","labels":{"a":"b"},"annotations":"x"}"#, "annotations are a text"),
        ] {
            assert!(complaint(alert).contains(part), "{alert}: {}", complaint(alert));
            assert!(!complaint(alert).contains('\u{1b}'));
        }
        let body =
            r#"{"alerts":[{"status":"firing","labels":{"alertname":"Good"}},{"status":"?","labels":{"alertname":"Bad"}},7]}"#;
        let heard = parse(body.as_bytes(), NOW).unwrap();
        assert_eq!(heard.alerts.len(), 1);
        assert_eq!(heard.complaint().unwrap(), "alert 2 (Bad): its status is `?`, neither firing nor resolved; 1 more are wrong");
        assert!(parse_all(body.as_bytes()).is_err());
    }

    #[test]
    fn size_is_bounded() {
        let label = format!(r#"{{"status":"firing","labels":{{"a":"{}"}}}}"#, "x".repeat(70_000));
        assert!(complaint(&label).contains("larger than 64 KiB"));
        let long = format!(
            r#"{{"alerts":[{{"status":"firing","labels":{{"a":"b"}},"annotations":{{"n":"{}"}}}}]}}"#,
            "ü".repeat(10_000)
        );
        assert_eq!(parse_all(long.as_bytes()).unwrap()[0].annotations["n"].chars().count(), 4_000);
        let many = format!(r#"{{"alerts":[{}1]}}"#, "1,".repeat(message::MOST_ALERTS));
        assert_eq!(parse(many.as_bytes(), NOW).unwrap_err(), Refused::TooMany);
    }
}
