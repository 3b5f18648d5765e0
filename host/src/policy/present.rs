//! What is so at present, and may be swapped for something else while others read; and the plain words about such a swap.
//!
//! Whoever works takes the present once and goes on with that, so that nothing is done by half of one and half of another. Nobody
//! waits: a swap is one pointer, and what was taken lives for as long as somebody holds it.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::clock::Time;
use crate::telemetry::clean;

/// The present of something. Clones are the same present.
#[derive(Debug)]
pub struct Present<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Present<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Present<T> {
    fn default() -> Self {
        Self::of(T::default())
    }
}

impl<T> Present<T> {
    /// This, until it is swapped.
    pub fn of(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// What is so now, to be held for one step.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this.
    pub fn swap(&self, value: T) {
        let value = Arc::new(value);
        let before = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), value);
        // Behind the lock: what goes may take compiled code with it.
        drop(before);
    }
}

/// Takes the files over as they are now, for whoever asks (in words, for the log).
pub type Reload = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Reloaded, NotReloaded>> + Send + Sync>;

/// What came of taking the files over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// How many policies are loaded.
    pub policies: usize,
    /// Policies that are new.
    pub added: Vec<String>,
    /// Policies whose file, place in the order or plugin is another.
    pub changed: Vec<String>,
    /// Policies that are gone; what belongs to them escalates when it is asked next.
    pub removed: Vec<String>,
    /// The digest of all of it together.
    pub sha256: String,
    /// What was not taken over, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Reloaded {
    /// Is everything as it was?
    pub fn is_nothing(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("new", &self.added), ("changed", &self.changed), ("gone", &self.removed)];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(word, names)| format!("{word}: {}", clean(&names.join(", "), 2_000)))
            .collect();
        let what = if parts.is_empty() { "nothing has changed".to_owned() } else { parts.join("; ") };
        write!(f, "{what} ({} policies, {})", self.policies, self.sha256.get(..12).unwrap_or(&self.sha256))
    }
}

/// Why the files were not taken over: everything that is wrong, with its place. What was loaded before goes on, all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReloaded(pub String);

/// How it stands with the files.
#[derive(Clone, Debug, Serialize)]
pub struct Taken {
    /// Is what is loaded what the files said when they were last looked at?
    pub successful: bool,
    /// When they were last taken over, RFC 3339.
    pub at: String,
    /// The same as a number.
    #[serde(skip)]
    pub at_time: Time,
    /// The digest of all that is loaded.
    pub sha256: String,
    /// What is wrong with them, if so.
    pub error: Option<String>,
    /// `paramedic.yaml` is not what this server was started with, if so in words.
    pub restart_needed: Option<String>,
}

impl Taken {
    /// They were taken over now.
    pub fn good(sha256: String, restart_needed: Option<String>) -> Self {
        let now = Time::now();
        Self { successful: true, at: now.to_string(), at_time: now, sha256, error: None, restart_needed }
    }

    /// What a person should know.
    pub fn notes(&self) -> impl Iterator<Item = String> + use<> {
        let wrong = self.error.as_ref().map(|error| {
            let at = &self.at;
            format!("the policies of {at} go on, because the files as they are now are not right: {}", clean(error, 1_500))
        });
        wrong.into_iter().chain(self.restart_needed.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_stays_and_who_comes_later_gets_the_new() {
        let present = Present::of(1);
        let (twin, held) = (present.clone(), present.now());
        present.swap(2);
        assert_eq!((*held, *twin.now()), (1, 2));
    }

    #[test]
    fn it_is_said_what_is_new_changed_and_gone() {
        let one = |name: &str| vec![name.to_owned()];
        let nothing = Reloaded { policies: 3, sha256: "abcdef0123456789".to_owned(), ..Reloaded::default() };
        assert_eq!(nothing.to_string(), "nothing has changed (3 policies, abcdef012345)");
        assert!(nothing.is_nothing());
        let all = Reloaded { added: one("a"), changed: one("b"), removed: one("c"), ..nothing };
        assert_eq!(all.to_string(), "new: a; changed: b; gone: c (3 policies, abcdef012345)");
        assert!(!all.is_nothing());
    }
}
