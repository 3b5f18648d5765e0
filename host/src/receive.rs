//! Doors for alerts: what comes in is parsed once, made durable, and only then acknowledged.
//!
//! Every door ends at the [`intake::Intake`], the one place that opens incidents, so that all doors together open one.

pub mod auth;
pub mod http;
pub mod intake;
pub mod message;
pub mod poll;
pub mod post;
mod serve;
pub mod webhook;
