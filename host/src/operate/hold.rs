//! Holding and releasing, for whoever may use the operator's socket: a file is written, and every action asks for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{No, Operator, Running};
use crate::alert::matchers::Matchers;
use crate::clock::{Time, print_duration};
use crate::hold::{Hold, Holds, Released};
use crate::policy::approve::Person;
use crate::telemetry::clean;

/// What it takes at most to write a hold down.
const MOMENT: Duration = Duration::from_millis(500);

/// What somebody wants held.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Which alerts, in Alertmanager's matcher syntax.
    pub matchers: Vec<String>,
    /// Until when, in RFC 3339.
    pub until: String,
    /// Why.
    pub reason: String,
}

/// A hold that is on disk.
#[derive(Debug, Serialize)]
pub struct Held {
    /// The hold.
    #[serde(flatten)]
    pub hold: Hold,
    /// What is under way about alerts that match: it is finished.
    pub running: Vec<Running>,
    /// What follows now.
    pub next: String,
}

/// Holds, as they stand.
#[derive(Debug, Default, Serialize)]
pub struct Listed {
    /// Those that hold now.
    pub holds: Vec<Hold>,
    /// Files that cannot be understood: each holds everything.
    pub broken: Vec<String>,
    /// Those that have ended and are kept as a record; only when they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Hold>,
}

impl Listed {
    /// As the files say.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of(holds: &Holds, all: bool) -> std::io::Result<Self> {
        let (broken, standing) = holds.standing(Time::now())?;
        let ended = if all { holds.ended()? } else { Vec::new() };
        Ok(Self { holds: standing, broken: broken.iter().map(ToString::to_string).collect(), ended })
    }
}

/// What was released.
#[derive(Debug, Serialize)]
pub struct LetGo {
    /// Ids of the holds, and files that could not be understood.
    pub released: Vec<String>,
    /// What follows now.
    pub next: String,
}

impl LetGo {
    /// What is said to whoever asked.
    pub fn told(released: &[Released]) -> Self {
        let name = |released: &Released| match released {
            Released::Hold(hold) => hold.id.clone(),
            Released::Broken(file) => clean(file, 300),
        };
        let next = match released.len() {
            0 => "nothing was held, nothing has changed",
            _ => "what was held by that is asked again within 5 s",
        };
        Self { released: released.iter().map(name).collect(), next: next.to_owned() }
    }
}

impl Wanted {
    /// The hold that is meant.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn by(&self, who: &Person) -> Result<Hold, String> {
        let shown = || clean(&self.until, 80);
        let until = Time::parse(&self.until).ok_or_else(|| {
            format!("`{}` is no moment: write for instance 2026-11-25T04:30:00Z, or a length such as `--for 30m`", shown())
        })?;
        Hold::now(Matchers::parse(&self.matchers)?, until, &who.to_string(), &super::reason(&self.reason)?)
    }
}

/// What a hold means from now on.
pub fn after_hold(hold: &Hold) -> String {
    // To the second that was asked for, although a moment has passed.
    let left = hold.until.map_or_else(String::new, |until| print_duration(until.plus(MOMENT).since(Time::now())));
    format!(
        "nothing begins about alerts that match, for another {left}; what is under way is finished (`paramedic incident cancel` ends a playbook). \
         `paramedic release {} --reason ...` lets go before that",
        hold.id
    )
}

impl Operator {
    /// Holds. Returning `Ok` means that it is on disk.
    ///
    /// # Errors
    /// [`No`]; [`No::Bad`] when it can never be right.
    pub async fn hold(&self, who: &Person, wanted: &Wanted) -> Result<Held, No> {
        let hold = wanted.by(who).map_err(No::Bad)?;
        let placed = hold.clone();
        self.with_holds(move |holds| holds.place(&placed)).await?;
        warn!(hold = %hold.id, by = %who, uid = who.uid, matchers = %hold.matchers, until = ?hold.until.map(|until| until.to_string()), reason = hold.reason, "A person holds");
        // The hold stands, whatever the journal tells.
        let running = self.running(|incident| hold.matchers.matches(&incident.alert.labels)).await.unwrap_or_default();
        Ok(Held { next: after_hold(&hold), running, hold })
    }

    /// Releases one, or all without an id. Returning `Ok` means that it is on disk.
    ///
    /// # Errors
    /// [`No`].
    pub async fn release(&self, who: &Person, id: Option<String>, reason: &str) -> Result<LetGo, No> {
        let (by, why) = (who.to_string(), reason.to_owned());
        let released = self
            .with_holds(move |holds| match id {
                Some(id) => Ok(vec![holds.release(&id, &by, &why)?]),
                None => holds.release_all(&by, &why),
            })
            .await?;
        let told = LetGo::told(&released);
        warn!(by = %who, uid = who.uid, reason, released = told.released.join(" "), "A person released holds");
        Ok(told)
    }

    /// All that is held.
    ///
    /// # Errors
    /// [`No::Broken`].
    pub async fn holds(&self, all: bool) -> Result<Listed, No> {
        self.with_holds(move |holds| Listed::of(holds, all)).await
    }

    /// Does this with the holds, away from the threads that serve everybody: a disk may hang.
    async fn with_holds<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Holds) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, No> {
        let holds = self.holds.clone();
        let work = tokio::task::spawn_blocking(move || work(&holds));
        match tokio::time::timeout(super::FILE_WITHIN, work).await {
            Ok(Ok(done)) => done.map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound if error.raw_os_error().is_none() => No::NoSuch(error.to_string()),
                std::io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => No::NoSuch(error.to_string()),
                _ => No::Broken(format!("the folder of holds: {error}; `paramedic halt` holds everything, also on a full disk")),
            }),
            Ok(Err(failure)) => Err(No::Broken(failure.to_string())),
            Err(_) => Err(No::Broken(format!(
                "the disk did not answer within {} s, and it is not known what became of it: `paramedic holds` tells",
                super::FILE_WITHIN.as_secs()
            ))),
        }
    }
}
