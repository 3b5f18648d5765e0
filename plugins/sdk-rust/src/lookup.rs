//! Looking at the world while deciding: containers, metrics, what happened before.
//!
//! Everything here only reads. A lookup is answered when the policy declares it (`lookups` of [`policy!`](crate::policy)) and the
//! operator's policy file grants it; each question is written down with its answer, so that the decision can be repeated later. At most
//! 32 lookups are answered for one decision, within the policy's `limits.lookups`.
//!
//! ```
//! use paramedic_policy::lookup::{Fake, LookupError, Sample, metrics};
//! use paramedic_policy::{Decision, Incident, NoSettings, Proposal};
//!
//! fn decide(incident: &Incident, _: &NoSettings) -> Result<Decision, LookupError> {
//!     let service = incident.get_label("service").unwrap_or_default();
//!     // Text from an alert belongs into a query only as a quoted string.
//!     let deploying = metrics::query(&format!("deployment_in_progress{{service={}}} == 1", metrics::quote(service)))?;
//!     Ok(match deploying.first() {
//!         Some(_) => Decision::wait("it is being deployed", std::time::Duration::from_secs(120)),
//!         None => Decision::act("it is down: restart it", [Proposal::restart("local/web")]),
//!     })
//! }
//!
//! // In a test the world is made up.
//! let incident = Incident::firing("WebDown").label("service", "web");
//! let quiet = Fake::new().metrics(r#"deployment_in_progress{service="web"} == 1"#, []);
//! assert_eq!(quiet.judge(decide, &incident, &NoSettings {})?.proposals(), [Proposal::restart("local/web")]);
//!
//! let busy = Fake::new().metrics(r#"deployment_in_progress{service="web"} == 1"#, [Sample::of(1.0)]);
//! assert_eq!(busy.judge(decide, &incident, &NoSettings {})?.reason(), "it is being deployed");
//! # Ok::<(), String>(())
//! ```

use std::error::Error;
use std::fmt;

use crate::bindings::paramedic::policy::types as wit;

pub mod containers;
mod fake;
pub mod history;
pub mod metrics;

pub use containers::Container;
pub use fake::Fake;
pub use history::PastIncident;
pub use metrics::Sample;

/// Why a lookup has no answer. The text is one sentence for people. A function that returns a `Result` of this one, or of a `String`,
/// hands it on with `?`: could not decide.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupError {
    /// The policy file does not grant it, or the plugin does not declare it.
    AccessDenied(String),
    /// There is no such thing.
    NotFound(String),
    /// The question itself is wrong: a name that cannot be one, PromQL that does not parse.
    Invalid(String),
    /// Too many lookups, too long a question, or an answer that is too large; nothing is shortened silently.
    LimitExceeded(String),
    /// Whoever would know could not be asked, or did not answer in time.
    Unavailable(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied(text) => write!(f, "access denied: {text}"),
            Self::NotFound(text) => write!(f, "not found: {text}"),
            Self::Invalid(text) => write!(f, "invalid: {text}"),
            Self::LimitExceeded(text) => write!(f, "limit exceeded: {text}"),
            Self::Unavailable(text) => write!(f, "unavailable: {text}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Error for LookupError {}

impl From<LookupError> for String {
    fn from(error: LookupError) -> Self {
        error.to_string()
    }
}

impl From<wit::LookupError> for LookupError {
    fn from(error: wit::LookupError) -> Self {
        match error {
            wit::LookupError::AccessDenied(text) => Self::AccessDenied(text),
            wit::LookupError::NotFound(text) => Self::NotFound(text),
            wit::LookupError::Invalid(text) => Self::Invalid(text),
            wit::LookupError::LimitExceeded(text) => Self::LimitExceeded(text),
            wit::LookupError::Unavailable(text) => Self::Unavailable(text),
            wit::LookupError::Other(text) => Self::Other(text),
        }
    }
}
