//! What Prometheus sends to an Alertmanager: `POST /api/v2/alerts`, a list of alerts without a status.
//!
//! Prometheus repeats every alert about once a minute, with an end in the future while it fires and in the past once it is over;
//! vmalert and amtool leave the end out while it fires. Whoever speaks this expects the answers of an Alertmanager.

use super::message::{self, Alerts, Heard, Raw, Refused};
use crate::alert::{Alert, Family, Status};
use crate::clock::Time;

/// Reads a message.
///
/// # Errors
/// When nothing of it can be heard.
pub fn parse(body: &[u8], now: Time) -> Result<Heard, Refused> {
    let Alerts(said) = message::json(body, "expected a list of alerts")?;
    Ok(Heard::judge(said?, |raw| alert(raw, now)))
}

fn alert(raw: Raw, now: Time) -> Result<Alert, String> {
    let (starts_at, ends_at) = (raw.starts_at, raw.ends_at);
    if let (Some(start), Some(end)) = (starts_at, ends_at)
        && end < start
    {
        return Err("its start time must be before its end time".to_owned());
    }
    Ok(Alert {
        family: Family::Prometheus,
        status: if ends_at.is_some_and(|end| end <= now) { Status::Resolved } else { Status::Firing },
        labels: raw.labels,
        annotations: raw.annotations,
        // As Alertmanager does: without a start it began when it ended, or now.
        starts_at: starts_at.unwrap_or_else(|| ends_at.map_or(now, |end| end.min(now))),
        ends_at,
        generator_url: raw.generator_url,
        fingerprint: raw.fingerprint,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse_one(fields: &str) -> Result<Alert, String> {
        let now = Time::parse("2026-11-22T10:00:00Z").unwrap();
        let body = format!(r#"[{{"labels":{{"alertname":"A"}}{fields}}}]"#);
        let mut heard = parse(body.as_bytes(), now).unwrap();
        heard.complaint().map_or_else(|| Ok(heard.alerts.remove(0)), Err)
    }

    #[test]
    fn the_end_tells_whether_it_fires() {
        for (fields, status) in [
            ("", Status::Firing),
            (r#","endsAt":"2026-11-22T10:04:00Z""#, Status::Firing),
            (r#","endsAt":"2026-11-22T10:00:00Z""#, Status::Resolved),
            (r#","endsAt":"2026-11-22T09:59:00Z""#, Status::Resolved),
            (r#","startsAt":"0001-01-01T00:00:00.000Z","endsAt":"0001-01-01T00:00:00.000Z""#, Status::Firing),
            // There is no status here; one that is sent says nothing.
            (r#","status":"resolved""#, Status::Firing),
        ] {
            assert_eq!(parse_one(fields).unwrap().status, status, "{fields}");
        }
    }

    #[test]
    fn a_missing_start_is_the_end_or_now() {
        let at = |text| Time::parse(text).unwrap();
        assert_eq!(parse_one("").unwrap().starts_at, at("2026-11-22T10:00:00Z"));
        assert_eq!(parse_one(r#","endsAt":"2026-11-22T09:00:00Z""#).unwrap().starts_at, at("2026-11-22T09:00:00Z"));
        assert_eq!(parse_one(r#","endsAt":"2026-11-22T11:00:00Z""#).unwrap().starts_at, at("2026-11-22T10:00:00Z"));
        assert_eq!(parse_one(r#","startsAt":"2026-11-22T08:00:00Z""#).unwrap().starts_at, at("2026-11-22T08:00:00Z"));
    }

    #[test]
    fn what_alertmanager_refuses_is_refused() {
        let backwards = r#","startsAt":"2026-11-22T10:00:00Z","endsAt":"2026-11-22T09:00:00Z""#;
        assert!(parse_one(backwards).unwrap_err().contains("start time must be before"));
        for (body, part) in [("{}", "expected a list"), ("", "not JSON"), ("null", "expected a list")] {
            assert!(parse(body.as_bytes(), Time(0)).unwrap_err().to_string().contains(part), "{body}");
        }
        assert_eq!(parse(b"[]", Time(0)).unwrap().alerts.len(), 0);
        assert!(parse(b"[{}]", Time(0)).unwrap().complaint().unwrap().contains("at least one label"));
    }
}
