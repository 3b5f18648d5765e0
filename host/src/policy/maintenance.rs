//! Maintenance windows: times that come again, in which certain alerts are left alone.
//!
//! A window is written as the clock on the wall of its time zone shows it, and is one stretch of time: it begins when that clock first
//! shows `from` on one of its days, and ends when it last shows `to`. So an hour that is there twice in autumn lies inside as a whole,
//! and a window whose `from` or `to` is skipped in spring begins or ends where the clock jumps. One with `to` before `from` ends the
//! next day. Absent on purpose: days of the month, months and years; a deployment that is not every week is a hold.

use std::fmt;

use jiff::civil::{Date, DateTime, Time as Clock, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Deserializer};

use crate::alert::Labels;
use crate::alert::matchers::Matchers;
use crate::clock::Time;
use crate::telemetry::{clean, did_you_mean};

/// A time that comes again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its name, for people.
    pub name: String,
    /// Which alerts are left alone; empty: all.
    #[serde(default, rename = "match")]
    pub matchers: Matchers,
    /// On which days it begins; empty: on all.
    #[serde(default)]
    pub weekdays: Vec<Days>,
    /// When it begins.
    pub from: TimeOfDay,
    /// When it ends; on the next day, if that is not after its beginning.
    pub to: TimeOfDay,
    /// Whose clock is meant.
    #[serde(default)]
    pub timezone: Zone,
}

impl Window {
    /// When it ends, if it is open for an alert with these labels at that moment.
    pub fn open(&self, labels: &Labels, now: Time) -> Option<Time> {
        if !self.matchers.matches(labels) {
            return None;
        }
        let now = Timestamp::from_millisecond(now.0).ok()?;
        let today = now.to_zoned(self.timezone.0.clone()).date();
        // One that began yesterday may reach into today. A zone may be a day ahead of itself where it crossed the date line.
        let days = [today.yesterday().ok(), Some(today), today.tomorrow().ok()];
        let open = |day: Date| {
            let (begin, end) = self.on(day)?;
            (begin <= now && now < end).then_some(Time(end.as_millisecond()))
        };
        days.into_iter().flatten().filter_map(open).max()
    }

    /// Its beginning and its end, when it begins on this day.
    fn on(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let begins = self.weekdays.is_empty() || self.weekdays.iter().any(|days| days.contain(day.weekday()));
        if !begins {
            return None;
        }
        let next = if self.to <= self.from { 1 } else { 0 };
        let begin = self.timezone.first(self.from.on(day)?)?;
        let end = self.timezone.last(self.to.on(day.checked_add(next.days()).ok()?)?)?;
        Some((begin, end))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<String> = self.weekdays.iter().map(ToString::to_string).collect();
        let days = if days.is_empty() { "every day".to_owned() } else { days.join(", ") };
        write!(f, "{} ({days} {}-{} {})", clean(&self.name, 80), self.from, self.to, self.timezone)
    }
}

/// Minutes since midnight, 0 to 1440; written `22:00`, and `24:00` for the end of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    fn on(self, day: Date) -> Option<DateTime> {
        let midnight = day.to_datetime(Clock::midnight());
        // Added to the clock's face, not to the time that passes.
        midnight.checked_add(i64::from(self.0).minutes()).ok()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number =
            |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()));
        let parts = text.split_once(':').and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?)));
        let minutes = parts.filter(|(_, minutes)| *minutes < 60).map(|(hours, minutes)| hours * 60 + minutes);
        minutes.filter(|minutes| *minutes <= 24 * 60).map(Self).ok_or_else(|| {
            let text = text.escape_debug();
            serde::de::Error::custom(format!("`{text}` is no time of day: write hours and minutes in quotes, such as \"22:00\""))
        })
    }
}

/// A day, or days from one to another: `sat`, `mon-fri`, and Alertmanager's `monday:friday`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    first: Weekday,
    last: Weekday,
}

const NAMES: [(&str, &str, Weekday); 7] = [
    ("mon", "monday", Weekday::Monday),
    ("tue", "tuesday", Weekday::Tuesday),
    ("wed", "wednesday", Weekday::Wednesday),
    ("thu", "thursday", Weekday::Thursday),
    ("fri", "friday", Weekday::Friday),
    ("sat", "saturday", Weekday::Saturday),
    ("sun", "sunday", Weekday::Sunday),
];

impl Days {
    fn contain(self, day: Weekday) -> bool {
        self.first.until(day) <= self.first.until(self.last)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
        Ok(Self { first: day(first.trim())?, last: day(last.trim())? })
    }
}

fn day(text: &str) -> Result<Weekday, String> {
    let known = |(short, long, day): &(&str, &str, Weekday)| {
        (text.eq_ignore_ascii_case(short) || text.eq_ignore_ascii_case(long)).then_some(*day)
    };
    NAMES.iter().find_map(known).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().flat_map(|(short, long, _)| [*short, *long]).collect();
        let near = did_you_mean(text, &names);
        format!(
            "`{}` is no day of the week{near}: write mon, tue, wed, thu, fri, sat, sun, or days such as mon-fri",
            text.escape_debug()
        )
    })
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |day: Weekday| NAMES.iter().find(|(_, _, named)| *named == day).map_or("", |(short, _, _)| short);
        f.write_str(short(self.first))?;
        if self.first == self.last { Ok(()) } else { write!(f, "-{}", short(self.last)) }
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A time zone of this machine's database; UTC without a word.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    fn parse(name: &str) -> Result<Self, String> {
        TimeZone::get(name).map(Self).map_err(|_| {
            let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            let shown = clean(name, 80);
            if known.len() < 2 {
                return format!("`{shown}` cannot be looked up: this machine has no time zones: install tzdata, or write UTC");
            }
            format!("`{shown}` is no time zone{}: write a name such as Europe/Zurich, or UTC", did_you_mean(name, &known))
        })
    }

    /// The first moment at which its clock shows this, or has jumped over it.
    fn first(&self, shown: DateTime) -> Option<Timestamp> {
        let ambiguous = self.0.to_ambiguous_timestamp(shown);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => self.jump(shown),
            _ => ambiguous.earlier().ok(),
        }
    }

    /// The last moment at which its clock shows this, or has jumped over it.
    fn last(&self, shown: DateTime) -> Option<Timestamp> {
        let ambiguous = self.0.to_ambiguous_timestamp(shown);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => self.jump(shown),
            _ => ambiguous.later().ok(),
        }
    }

    /// When the clock jumps over this.
    fn jump(&self, shown: DateTime) -> Option<Timestamp> {
        let before = self.0.to_ambiguous_timestamp(shown).earlier().ok()?;
        Some(self.0.following(before).next()?.timestamp())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn window(text: &str) -> Window {
        serde_json::from_str(text).unwrap()
    }

    /// Is it open at this moment? Until when, in UTC.
    fn open(window: &Window, at: &str) -> Option<String> {
        let until = window.open(&Labels::new(), Time::parse(at).unwrap())?;
        Some(until.to_string().trim_end_matches(":00.000Z").to_owned())
    }

    fn check(window: &Window, cases: &[(&str, Option<&str>)]) {
        for (at, until) in cases {
            assert_eq!(open(window, at).as_deref(), *until, "{window} at {at}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        // 2026-11-28 is a Saturday; Zurich is an hour ahead of UTC.
        let nightly =
            window(r#"{"name": "n", "weekdays": ["sat", "sun"], "from": "22:00", "to": "04:00", "timezone": "Europe/Zurich"}"#);
        assert_eq!(nightly.to_string(), "n (sat, sun 22:00-04:00 Europe/Zurich)");
        check(
            &nightly,
            &[
                ("2026-11-27T21:30:00Z", None),
                ("2026-11-28T20:59:59Z", None),
                ("2026-11-28T21:00:00Z", Some("2026-11-29T03:00")),
                ("2026-11-29T02:59:59Z", Some("2026-11-29T03:00")),
                ("2026-11-29T03:00:00Z", None),
                ("2026-11-30T02:00:00Z", Some("2026-11-30T03:00")),
                ("2026-11-30T21:30:00Z", None),
            ],
        );
    }

    #[test]
    fn an_hour_that_is_there_twice_lies_inside_and_one_that_is_skipped_leaves_the_jump() {
        // In Zurich the clock goes from 03:00 back to 02:00 at 01:00 UTC on 2026-10-25, and from 02:00 to 03:00 at 01:00 UTC on 2026-03-29.
        let zurich = |from: &str, to: &str| {
            window(&format!(r#"{{"name": "n", "from": "{from}", "to": "{to}", "timezone": "Europe/Zurich"}}"#))
        };
        check(
            &zurich("01:30", "02:30"),
            &[
                ("2026-10-24T23:29:59Z", None),
                ("2026-10-24T23:30:00Z", Some("2026-10-25T01:30")),
                ("2026-10-25T00:45:00Z", Some("2026-10-25T01:30")),
                ("2026-10-25T01:30:00Z", None),
                ("2026-03-29T00:59:00Z", Some("2026-03-29T01:00")),
                ("2026-03-29T01:00:00Z", None),
            ],
        );
        check(
            &zurich("02:30", "03:15"),
            &[("2026-03-29T00:59:59Z", None), ("2026-03-29T01:00:00Z", Some("2026-03-29T01:15")), ("2026-03-29T01:15:00Z", None)],
        );
        check(&zurich("02:10", "02:50"), &[("2026-03-29T00:59:59Z", None), ("2026-03-29T01:00:00Z", None)]);
        // 22:00 to 04:00 lasts seven hours in one night and five in the other.
        check(
            &zurich("22:00", "04:00"),
            &[("2026-10-24T20:00:00Z", Some("2026-10-25T03:00")), ("2026-03-28T21:00:00Z", Some("2026-03-29T02:00"))],
        );
    }

    #[test]
    fn days_and_whole_days_and_matchers() {
        let week = window(r#"{"name": "n", "weekdays": ["monday:friday"], "from": "00:00", "to": "24:00", "match": ["a=b"]}"#);
        let at = |labels: &Labels, text: &str| week.open(labels, Time::parse(text).unwrap()).is_some();
        let ours = Labels::from([("a".to_owned(), "b".to_owned())]);
        assert!(at(&ours, "2026-11-27T23:59:59Z") && !at(&ours, "2026-11-28T00:00:00Z") && at(&ours, "2026-11-30T00:00:00Z"));
        assert!(!at(&Labels::new(), "2026-11-27T12:00:00Z"), "another alert");
        let around = Days::parse("Sat-Mon").unwrap();
        let on: Vec<bool> = NAMES.iter().map(|(_, _, day)| around.contain(*day)).collect();
        assert_eq!(on, [true, false, false, false, false, true, true]);
    }

    #[test]
    fn what_cannot_be_is_said_with_what_was_probably_meant() {
        for (key, value, why) in [
            ("timezone", "Europe/Zürich", "did you mean `Europe/Zurich`"),
            ("timezone", "", "is no time zone"),
            ("from", "7:00", "such as \"22:00\""),
            ("from", "22:60", "no time of day"),
            ("to", "24:01", "no time of day"),
            ("weekdays", "satterday", "did you mean `saturday`"),
            ("weekdays", "mon-", "no day of the week"),
        ] {
            let mut text = serde_json::json!({"name": "n", "from": "22:00", "to": "04:00", "timezone": "UTC"});
            text[key] = if key == "weekdays" { serde_json::json!([value]) } else { value.into() };
            let error = serde_json::from_value::<Window>(text).unwrap_err().to_string();
            assert!(error.contains(why), "{value}: {error}");
        }
    }
}
