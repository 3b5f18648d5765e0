//! Tests that need wasm, Docker, Ansible, HTTP or files: one module per room of `host/src`, in one binary.
#![cfg(test)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod actions;
mod ansible;
mod approval;
mod brakes;
mod cancelling;
mod compatibility;
mod components;
mod config;
mod conformance;
mod cookbook;
mod crash;
mod diagnostics;
mod docker;
mod doors;
mod engine;
mod families;
mod flow;
mod frozen;
mod halt;
mod holding;
mod host;
mod house;
mod incident;
mod journal;
mod life;
mod lookups;
mod matchers;
mod monitors;
mod notify;
mod people;
mod programs;
mod reload;
mod replay;
mod sandbox;
mod seen;
mod simulation;
mod soak;
mod steps;
mod storm;
mod verify;
mod workbench;
