#![cfg(test)]
//! Every test of the house, in one binary; rooms have the names of the rooms they test.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod incident;

