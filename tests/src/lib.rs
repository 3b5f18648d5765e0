//! Tests that need wasm, Docker, Ansible, HTTP or files: one module per room of `host/src`, in one binary.

#[cfg(test)]
mod config;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod monitors;
#[cfg(test)]
mod programs;
