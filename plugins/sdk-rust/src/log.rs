//! Words for the journal, shown with the decision. 100 lines of 1000 characters are kept for one question.
//!
//! Outside of Paramedic, in `cargo test` for instance, nobody listens and nothing is printed.

use std::fmt::Display;

use crate::bindings::paramedic::policy::log::{Level, log};

/// What only the author wants to know.
pub fn debug(message: impl Display) {
    say(Level::Debug, &message);
}

/// What explains the decision.
pub fn info(message: impl Display) {
    say(Level::Info, &message);
}

/// What should not be so.
pub fn warn(message: impl Display) {
    say(Level::Warn, &message);
}

/// What went wrong.
pub fn error(message: impl Display) {
    say(Level::Error, &message);
}

fn say(level: Level, message: &dyn Display) {
    if cfg!(target_arch = "wasm32") {
        log(level, &message.to_string());
    }
}
