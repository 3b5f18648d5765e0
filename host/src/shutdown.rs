//! Stopping: one token that everything long-lived waits on.
//!
//! The first SIGTERM or SIGINT asks everybody to finish; the second means now. Whoever finishes has a deadline of its own:
//! nothing here waits. Absent on purpose: any knowledge of who is running.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Asks to stop, and tells when that was asked. Clones are the same token.
#[derive(Clone, Debug)]
pub struct Shutdown {
    asked: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token that nobody has asked yet.
    pub fn new() -> Self {
        Self { asked: Arc::new(watch::Sender::new(false)) }
    }

    /// A token that SIGTERM and SIGINT ask; the second signal ends the process at once with code 130. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let token = Self::new();
        let asked = token.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    Some(()) = term.recv() => "SIGTERM",
                    Some(()) = int.recv() => "SIGINT",
                    else => return,
                };
                if asked.is_requested() {
                    tracing::warn!(signal = name, "second signal: exiting now; what was begun is found out at the next start");
                    // The one exit outside main: whoever signals twice does not want anything waited for.
                    std::process::exit(130);
                }
                tracing::info!(signal = name, "stopping; a second signal exits at once");
                asked.request();
            }
        });
        Ok(token)
    }

    /// Asks everybody to stop.
    pub fn request(&self) {
        self.asked.send_replace(true);
    }

    /// True once it was asked.
    pub fn is_requested(&self) -> bool {
        *self.asked.borrow()
    }

    /// Returns once it was asked.
    pub async fn requested(&self) {
        // The sender lives as long as this token does, so that waiting cannot fail.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_it_before_and_after() {
        let token = Shutdown::new();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move { token.requested().await }
        });
        tokio::task::yield_now().await;
        assert!(!token.is_requested() && !waiting.is_finished());
        token.clone().request();
        assert!(waiting.await.is_ok());
        token.requested().await;
        assert!(token.is_requested());
    }
}
