//! One question as the expressions see it: names that are filled when they are used, and functions.
//!
//! A lookup is asked when an expression comes to its name, and once. CEL knows no values that fail, so why one failed is kept here
//! until the expression is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cel::common::types::{CelBool, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, Value, extensions};
use jiff::tz::TimeZone;
use paramedic_policy::lookup::{LookupError, containers, history, metrics};
use paramedic_policy::{Incident, Target};

use crate::condition::Condition;
use crate::functions;
use crate::names::{Names, VARIABLES};
use crate::settings::{Lookup, Settings};
use crate::template::{self, Part};
use crate::time::wall_clock;
use crate::values;

/// A value once it was needed, or why there is none.
type Cell = OnceLock<Result<Box<dyn Val>, String>>;

/// One question.
pub struct Scene<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// The target that rules are about, if there is one.
    pub target: Option<Target>,
    lookups: &'a BTreeMap<String, Lookup>,
    zone: TimeZone,
    env: Arc<Env>,
    cells: BTreeMap<&'a str, Cell>,
    /// Why the last name that could not be filled could not.
    failed: Mutex<Option<String>>,
}

impl<'a> Scene<'a> {
    /// The scene of this question.
    pub fn new(incident: &'a Incident, settings: &'a Settings, zone: TimeZone, target: Option<Target>) -> Result<Self, String> {
        let mut env = Env::stdlib();
        env.add_extension(extensions::strings).map_err(|e| e.to_string())?;
        let names = VARIABLES.into_iter().chain(settings.lookups.keys().map(String::as_str));
        let cells = names.map(|name| (name, OnceLock::new())).collect();
        let failed = Mutex::default();
        Ok(Self { incident, target, lookups: &settings.lookups, zone, env: Arc::new(env), cells, failed })
    }

    /// The names that conditions and texts may use.
    pub fn names(&self) -> Names<'a> {
        Names::with(self.lookups)
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn value(&self, condition: &Condition) -> Result<Value, String> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        functions::add(&mut context, self.incident).map_err(|e| e.to_string())?;
        context.set_variable_resolver(self);
        self.fail(None);
        let result = Value::resolve(&condition.expression, &context);
        result.map_err(|error| self.fail(None).unwrap_or_else(|| functions::explain(&error, condition)))
    }

    /// A text with its values filled in.
    ///
    /// # Errors
    /// Says which value there is not.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        self.fill_with(template::parse(text, &self.names())?, |value| Ok(template::plain(value)))
    }

    /// PromQL or a matcher with its values filled in.
    ///
    /// # Errors
    /// Says which value there is not, or cannot stand there.
    pub fn fill_quoted(&self, text: &str) -> Result<String, String> {
        self.fill_with(template::parse_quoted(text, &self.names())?, template::quoted)
    }

    /// A text for people: a value that there is not is told as such, since nothing but a sentence depends on it.
    pub fn tell(&self, text: &str) -> Result<String, String> {
        let mut told = String::new();
        for part in template::parse(text, &self.names())? {
            match part {
                Part::Text(text) => told.push_str(&text),
                Part::Value(condition) => match self.value(&condition) {
                    Ok(value) => told.push_str(&template::plain(&value)),
                    Err(why) => told.push_str(&format!("({why})")),
                },
            }
        }
        Ok(told)
    }

    /// A value for a playbook: texts in it are filled in, and one that is nothing but a placeholder keeps the type of its value.
    ///
    /// # Errors
    /// Says which value there is not.
    pub fn fill_json(&self, value: &serde_json::Value) -> Result<serde_json::Value, String> {
        use serde_json::Value as Json;
        Ok(match value {
            Json::String(text) => match template::parse(text, &self.names())?.as_slice() {
                [Part::Value(condition)] => values::json_of(&self.value(condition)?)?,
                _ => Json::String(self.fill(text)?),
            },
            Json::Array(items) => Json::Array(items.iter().map(|item| self.fill_json(item)).collect::<Result<_, _>>()?),
            Json::Object(fields) => {
                let field = |(name, value): (&String, &Json)| Ok((name.clone(), self.fill_json(value)?));
                Json::Object(fields.iter().map(field).collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }

    fn fill_with(&self, parts: Vec<Part>, spell: impl Fn(&Value) -> Result<String, String>) -> Result<String, String> {
        let mut filled = String::new();
        for part in parts {
            match part {
                Part::Text(text) => filled.push_str(&text),
                Part::Value(condition) => {
                    let value = self.value(&condition).and_then(|value| spell(&value));
                    filled.push_str(&value.map_err(|why| format!("`${{{}}}`: {why}", condition.source))?);
                }
            }
        }
        Ok(filled)
    }

    /// Keeps why something failed, and gives what was kept before.
    fn fail(&self, why: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner), why)
    }

    fn cell(&self, name: &str) -> Option<&Result<Box<dyn Val>, String>> {
        let cell = self.cells.get(name)?;
        Some(cell.get_or_init(|| self.make(name).and_then(|value| value.try_into().map_err(|e: ExecutionError| e.to_string()))))
    }

    fn make(&self, name: &str) -> Result<Value, String> {
        let incident = self.incident;
        Ok(match name {
            "alert" => values::alert(incident),
            "annotations" => values::pairs(&incident.alert.annotations),
            "attempts" => values::attempts(&incident.attempts, incident.now),
            "labels" => values::pairs(&incident.alert.labels),
            "now" => wall_clock(incident.now, self.zone.clone()),
            "target" => values::target(self.the_target()?),
            "targets" => values::list(incident.targets.iter().map(values::target)),
            "trigger" => values::text(incident.trigger.as_str()),
            "what_was_tried" => values::text(incident.what_was_tried()),
            _ => return self.look(name),
        })
    }

    /// The target, for what cannot do without.
    ///
    /// # Errors
    /// Says what to configure when there is none.
    pub fn the_target(&self) -> Result<&Target, String> {
        self.target.as_ref().ok_or_else(|| {
            let alert = self.incident.name();
            format!("{alert} names no target: map it under `targets` in paramedic.yaml, or give the settings a `target`")
        })
    }

    fn look(&self, name: &str) -> Result<Value, String> {
        let lookup = self.lookups.get(name).ok_or_else(|| format!("there is no `{name}`"))?;
        self.ask(lookup).map_err(|why| format!("the lookup `{name}` has no answer: {why}"))
    }

    fn ask(&self, lookup: &'a Lookup) -> Result<Value, String> {
        let now = self.incident.now;
        Ok(match lookup {
            Lookup::Metrics(promql) => values::samples(&metrics::query(&self.inner(promql, true)?)?),
            Lookup::Container(target) => {
                let target = self.inner(target, false)?;
                match containers::inspect(&target) {
                    Err(LookupError::NotFound(_)) => values::missing(&target),
                    found => values::container(&found?, now),
                }
            }
            Lookup::Containers(wanted) => {
                let host = self.inner(&wanted.host, false)?;
                let label = |(name, value): (&'a String, &String)| Ok((name.as_str(), self.inner(value, false)?));
                let labels: Vec<(&str, String)> = wanted.labels.iter().map(label).collect::<Result<_, String>>()?;
                let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                values::list(containers::find(&host, &labels)?.iter().map(|container| values::container(container, now)))
            }
            Lookup::Log(log) => match containers::log_tail(&self.whose(log.target.as_deref())?, log.lines) {
                Err(LookupError::NotFound(_)) => values::list([]),
                lines => values::list(lines?.into_iter().map(values::text)),
            },
            Lookup::History(past) => values::past(&history::of_target(&self.whose(past.target.as_deref())?, past.within.0)?, now),
        })
    }

    fn whose(&self, target: Option<&str>) -> Result<String, String> {
        target.map_or_else(|| Ok(self.the_target()?.name.clone()), |target| self.inner(target, false))
    }

    /// A text inside a lookup: other lookups are no names there, so that none can wait for itself.
    fn inner(&self, text: &str, promql: bool) -> Result<String, String> {
        let names = Names::without_lookups();
        if promql {
            self.fill_with(template::parse_quoted(text, &names)?, template::quoted)
        } else {
            self.fill_with(template::parse(text, &names)?, |value| Ok(template::plain(value)))
        }
    }
}

impl VariableResolver for Scene<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        // What `condition.rs` makes of `answered(disk)` and `problem(disk)`.
        match name.split_once(':') {
            Some(("answered", lookup)) => return Some(CowVal::owned(CelBool::from(self.cell(lookup)?.is_ok()))),
            Some(("problem", lookup)) => {
                let problem = self.cell(lookup)?.as_ref().err().cloned().unwrap_or_default();
                return Some(CowVal::owned(CelString::from(problem)));
            }
            _ => {}
        }
        match self.cell(name)? {
            Ok(value) => Some(CowVal::Borrowed(value.as_ref())),
            Err(why) => {
                self.fail(Some(why.clone()));
                None
            }
        }
    }
}
