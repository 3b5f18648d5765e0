//! Tests that need wasm, Docker, Ansible, HTTP or files: one module per room of `host/src`, in one binary.

#[cfg(test)]
mod ansible;
#[cfg(test)]
mod config;
#[cfg(test)]
mod journal;
