//! Alerts as a message holds them, before a door has judged what they mean.
//!
//! One alert that is wrong spoils itself, not its neighbours: each is read on its own and keeps its reason. Labels stay as they
//! came, since identity hangs on them and every door has to find the same; they are cleaned where they are shown. Absent on
//! purpose: refusing what is merely unknown, as senders add fields every year.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::alert::{Alert, Labels};
use crate::clock::Time;
use crate::telemetry::clean;

/// More alerts in one message are refused: ten times the largest group that was ever measured.
pub const MOST_ALERTS: usize = 50_000;
/// All labels of one alert together, in bytes. More is an attack or a mistake; cutting them would change who the alert is.
const MOST_LABEL_BYTES: usize = 64 << 10;
/// What is kept of one annotation, in characters.
const MOST_ANNOTATION_CHARS: usize = 4_000;
/// How many annotations are kept.
const MOST_ANNOTATIONS: usize = 64;
/// Go's zero time is the year 1, in whatever zone it is written.
const YEAR_2: Time = Time(-62_104_060_800_000);
/// What is kept of a link or a fingerprint, in characters.
const MOST_URL_CHARS: usize = 2_000;

/// Why nothing of a message could be heard. Short: the sender puts it into its log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// No JSON at all.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// JSON of another kind.
    #[error("{0}")]
    NotAMessage(String),
    /// Too much at once.
    #[error("a message may hold at most {MOST_ALERTS} alerts: set `max_alerts` at the sender")]
    TooMany,
}

/// What a message said.
#[derive(Debug, Default)]
pub struct Heard {
    /// The alerts that can be understood.
    pub alerts: Vec<Alert>,
    /// The first that cannot, with its reason.
    pub wrong: Option<String>,
    /// How many cannot.
    pub wrong_count: usize,
}

impl Heard {
    /// Lets a door judge what each alert means.
    pub(super) fn judge(said: Vec<Said>, mut judge: impl FnMut(Raw) -> Result<Alert, String>) -> Self {
        let mut heard = Self::default();
        for (i, Said(raw)) in said.into_iter().enumerate() {
            let name = raw.as_ref().ok().and_then(|raw| raw.labels.get("alertname")).map(|name| clean(name, 100));
            match raw.and_then(&mut judge) {
                Ok(alert) => heard.alerts.push(alert),
                Err(why) => {
                    heard.wrong_count += 1;
                    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
                    heard.wrong.get_or_insert_with(|| format!("alert {}{name}: {}", i + 1, clean(&why, 300)));
                }
            }
        }
        heard
    }

    /// What is wrong, in one short sentence; `None` if all is well.
    pub fn complaint(&self) -> Option<String> {
        let first = self.wrong.as_deref()?;
        Some(match self.wrong_count {
            0 | 1 => first.to_owned(),
            n => format!("{first}; {} more are wrong", n - 1),
        })
    }
}

/// One alert as it stands in a message.
#[derive(Debug)]
pub(super) struct Raw {
    pub status: Option<String>,
    pub labels: Labels,
    pub annotations: Labels,
    pub starts_at: Option<Time>,
    pub ends_at: Option<Time>,
    pub generator_url: String,
    pub fingerprint: Option<String>,
}

/// One alert, or why it is none.
#[derive(Debug)]
pub(super) struct Said(Result<Raw, String>);

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A derived type would give up the whole message for one wrong field.
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Said;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an alert")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "status" => fields.status = map.next_value()?,
                        "labels" => fields.labels = map.next_value()?,
                        "annotations" => fields.annotations = map.next_value()?,
                        "startsAt" => fields.starts_at = map.next_value()?,
                        "endsAt" => fields.ends_at = map.next_value()?,
                        "generatorURL" => fields.generator_url = map.next_value()?,
                        "fingerprint" => fields.fingerprint = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Said(fields.read()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Said, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(none())
            }
            fn visit_unit<E>(self) -> Result<Said, E> {
                Ok(none())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Said, E> {
                Ok(none())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Said, E> {
                Ok(none())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Said, E> {
                Ok(none())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Said, E> {
                Ok(none())
            }
            fn visit_str<E>(self, _: &str) -> Result<Said, E> {
                Ok(none())
            }
        }
        deserializer.deserialize_any(Object)
    }
}

fn none() -> Said {
    Said(Err("it is not an object".to_owned()))
}

/// A list of alerts that stops being kept when there are too many.
#[derive(Debug)]
pub(super) struct Alerts(pub Result<Vec<Said>, Refused>);

impl<'de> Deserialize<'de> for Alerts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Alerts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of alerts")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Alerts, A::Error> {
                let mut said = Vec::new();
                while let Some(one) = list.next_element::<Said>()? {
                    if said.len() == MOST_ALERTS {
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Alerts(Err(Refused::TooMany)));
                    }
                    said.push(one);
                }
                Ok(Alerts(Ok(said)))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Reads JSON, and tells text that is none from JSON of another shape.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8], expected: &str) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refused::NotAMessage(format!("{expected}: {}", clean(&error.to_string(), 200))),
        _ => Refused::NotJson(clean(&error.to_string(), 200)),
    })
}

/// What stands in the fields of an alert, of whatever kind.
#[derive(Default)]
struct Fields {
    status: Any,
    labels: Any,
    annotations: Any,
    starts_at: Any,
    ends_at: Any,
    generator_url: Any,
    fingerprint: Any,
}

impl Fields {
    fn read(self) -> Result<Raw, String> {
        let status = match self.status {
            Any::Nothing => None,
            Any::Text(status) => Some(status),
            other => return Err(format!("its status is {}, not a text", other.kind())),
        };
        Ok(Raw {
            status,
            labels: labels(self.labels)?,
            annotations: annotations(self.annotations)?,
            starts_at: time(self.starts_at, "startsAt")?,
            ends_at: time(self.ends_at, "endsAt")?,
            generator_url: text(self.generator_url).unwrap_or_default(),
            fingerprint: text(self.fingerprint).filter(|text| !text.is_empty()),
        })
    }
}

fn labels(value: Any) -> Result<Labels, String> {
    let mut labels = Labels::new();
    let mut bytes = 0;
    for (name, value) in value.pairs("labels")? {
        let value = match value {
            Any::Text(value) => value,
            Any::Nothing => continue,
            other => return Err(format!("its label `{}` is {}, not a text", clean(&name, 80), other.kind())),
        };
        if name.is_empty() {
            return Err("a label has an empty name".to_owned());
        }
        // No label and an empty one are the same everywhere in this ecosystem.
        if value.is_empty() {
            continue;
        }
        bytes += name.len() + value.len();
        if bytes > MOST_LABEL_BYTES {
            return Err(format!("its labels are larger than {} KiB", MOST_LABEL_BYTES >> 10));
        }
        labels.insert(name, value);
    }
    if labels.is_empty() { Err("at least one label with a value is required".to_owned()) } else { Ok(labels) }
}

/// Words for people: what is too long is cut, and what is no text is left out.
fn annotations(value: Any) -> Result<Labels, String> {
    let texts = value.pairs("annotations")?.into_iter().filter_map(|(name, value)| match value {
        Any::Text(text) => Some((cut(name, 200), cut(text, MOST_ANNOTATION_CHARS))),
        _ => None,
    });
    Ok(texts.take(MOST_ANNOTATIONS).collect())
}

fn text(value: Any) -> Option<String> {
    if let Any::Text(text) = value { Some(cut(text, MOST_URL_CHARS)) } else { None }
}

/// A moment; the year 1 is Go's word for none.
fn time(value: Any, name: &str) -> Result<Option<Time>, String> {
    let text = match value {
        Any::Nothing => return Ok(None),
        Any::Text(text) if text.is_empty() => return Ok(None),
        Any::Text(text) => text,
        other => return Err(format!("its {name} is {}, not a text", other.kind())),
    };
    let time = Time::parse(&text).ok_or_else(|| format!("its {name} `{}` is not a time in RFC 3339", clean(&text, 60)))?;
    Ok((time >= YEAR_2).then_some(time))
}

/// Cuts after so many characters.
fn cut(mut text: String, most: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
    }
    text
}

/// Any JSON, of which only texts and one level of pairs are kept: what is of no use to anybody takes no memory.
#[derive(Debug, Default)]
enum Any {
    #[default]
    Nothing,
    Text(String),
    Pairs(Vec<(String, Any)>),
    Other(&'static str),
}

impl Any {
    fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "null",
            Self::Text(_) => "a text",
            Self::Pairs(_) => "an object",
            Self::Other(kind) => kind,
        }
    }

    fn pairs(self, what: &str) -> Result<Vec<(String, Self)>, String> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Pairs(pairs) => Ok(pairs),
            other => Err(format!("its {what} are {}, not an object", other.kind())),
        }
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Keep { pairs: true })
    }
}

/// Reads an [`Any`], with pairs or without.
struct Keep {
    pairs: bool,
}

impl<'de> DeserializeSeed<'de> for Keep {
    type Value = Any;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep {
    type Value = Any;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Any, E> {
        Ok(Any::Nothing)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Any, E> {
        Ok(Any::Other("a boolean"))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Any, E> {
        Ok(Any::Other("a number"))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Any, E> {
        Ok(Any::Other("a number"))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Any, E> {
        Ok(Any::Other("a number"))
    }
    fn visit_str<E>(self, text: &str) -> Result<Any, E> {
        Ok(Any::Text(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Any, E> {
        Ok(Any::Text(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Any, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Any::Other("a list"))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
        if !self.pairs {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Any::Other("an object"));
        }
        let mut pairs = Vec::new();
        while let Some(name) = map.next_key()? {
            pairs.push((name, map.next_value_seed(Self { pairs: false })?));
        }
        Ok(Any::Pairs(pairs))
    }
}
