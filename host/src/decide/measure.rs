//! What one decision uses: instructions and memory.
//!
//! For a plugin's author, beside the time that it takes: these two are the same on every machine. Absent on purpose: counting in the
//! server; it makes plugins slower, and there the clock is what matters.

use super::plugin::{Plugin, call};
use super::question::Brief;
use super::sandbox::Limits;

/// What one decision used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Instructions, as wasmtime counts them; 0 unless the sandbox counts ([`Sandbox::counting`](super::sandbox::Sandbox::counting)).
    pub instructions: u64,
    /// Bytes of all its memories together, at their largest.
    pub memory: usize,
}

impl Plugin {
    /// Asks it one question in a fresh sandbox and says what it used, whatever it answers.
    pub async fn measure(&self, brief: &Brief, limits: &Limits) -> Used {
        let mut store = self.sandbox.store(Some(brief.clone()), &self.manifest().lookups, limits);
        // A question that ends badly has used something, too.
        let _said = tokio::time::timeout(limits.deadline + limits.lookups, call(&self.pre, &mut store)).await;
        let left = store.get_fuel().unwrap_or(u64::MAX);
        Used { instructions: u64::MAX - left, memory: store.data().meter.memory }
    }
}
