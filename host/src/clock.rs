//! Moments and lengths of time as the journal, the contract and the configuration say them.
//!
//! One unit everywhere: whole milliseconds since 1970-01-01T00:00:00Z, as in the journal and the contract.
//! Absent on purpose: time zones and calendars; people read RFC 3339 in UTC.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// What the wall clock says now. The journal's own time of an entry may be later, never earlier than its neighbours'.
    pub fn now() -> Self {
        match SIMULATED.get() {
            Some((start, begun)) => start.plus(begun.elapsed()),
            None => Self(jiff::Timestamp::now().as_millisecond()),
        }
    }

    /// Parses RFC 3339 with any offset; `None` for text that is none.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This moment moved into the future.
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment moved into the past.
    pub fn minus(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

thread_local! {
    static SIMULATED: Cell<Option<(Time, tokio::time::Instant)>> = const { Cell::new(None) };
}

/// While this lives, the wall clock of this thread follows tokio's, which a test can pause: hours pass in a moment, and
/// every wait in this program is a wait on tokio's clock. For simulations; nothing else may hold one.
#[derive(Debug)]
pub struct Simulated(());

impl Simulated {
    /// From now on it is `start` on this thread, and time passes as in the runtime that this is called in.
    pub fn begin(start: Time) -> Self {
        SIMULATED.set(Some((start, tokio::time::Instant::now())));
        Self(())
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
}

/// Parses `500ms`, `30s`, `5m`, `4h`, `1d` and sums such as `1h30m`, as Prometheus writes them.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a length of time: write for instance 500ms, 30s, 5m, 4h or 1h30m");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
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
        let part = number.checked_mul(millis).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
    }
    Ok(total)
}

/// Writes a length of time as [`parse_duration`] reads it: `30s`, `1h30m`.
pub fn spell_duration(length: Duration) -> String {
    let mut left = length.as_millis();
    let mut text = String::new();
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= millis {
            text.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Prints a length of time for people, to the most telling unit: `420 ms`, `12.3 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
pub fn print_duration(length: Duration) -> String {
    let ms = length.as_millis();
    let s = ms / 1_000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Reads a length of time such as `30s` from a configuration file.
///
/// # Errors
/// When it is no text, or no length of time.
pub fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// A length of time in a configuration that is also shown, for `#[serde(with = ...)]`.
pub mod spelt {
    use std::time::Duration;

    pub use super::duration as deserialize;

    /// Writes it as it is read.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: serde::Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::spell_duration(*length))
    }

    /// The same for a field that may be left out.
    ///
    /// # Errors
    /// The serializer's.
    pub fn optional<S: serde::Serializer>(length: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match length {
            Some(length) => serialize(length, serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// Like [`duration`], for a field that may be left out.
///
/// # Errors
/// When it is no text, or no length of time.
pub fn optional_duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}
