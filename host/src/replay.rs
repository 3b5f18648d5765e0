//! What was decided, decided again: to prove a past decision, to try a new plugin on what happened, to try all of Paramedic on the alerts of a
//! team that does not have it yet, and to compare two policies that were asked the same.
//!
//! Plugins are pure and the journal holds all that went into a decision, so this needs no world: nothing here looks at an engine, and
//! nothing can follow from it. Not to be confused with `journal/replay.rs`, which makes incidents of entries. Absent on purpose: a
//! guess of what would have happened next; after another decision, history would have been another one.

pub mod asked;
pub mod backtest;
pub mod compare;
pub mod course;
pub mod found;
mod ledger;
pub mod outcome;
pub mod paper;
pub mod repeat;
pub mod series;
pub mod shelf;
pub mod trial;
pub mod unless;
