//! Is this a moment in which people want it left alone? By a halt, a hold, a maintenance window, or the policy's own `unless`.
//!
//! The first three cost nothing and are asked first, again and again. `unless` asks Prometheus, exactly as the operator wrote it: nothing
//! of an alert ever gets into it. An expression that cannot be asked holds, whatever `when_unsure` says: it was written to stop something.

use super::{Authoriser, Claim, Stop};
use crate::alert::Labels;
use crate::clock::Time;
use crate::halt;
use crate::incident::Rule;
use crate::telemetry::clean;

impl Authoriser {
    /// Does a person forbid, at this very moment, to act for an alert with these labels?
    ///
    /// # Errors
    /// The hold that says so.
    pub fn forbidden(&self, labels: &Labels) -> Result<(), Stop> {
        if let Some(message) = halt::in_the_way(&self.halt_file) {
            return Err(Stop::held(Rule::Halted, message));
        }
        match self.holds.in_the_way(labels) {
            None => Ok(()),
            Some(hold) => Err(Stop::Held { rule: Rule::Hold, message: hold.message, until: hold.until }),
        }
    }

    /// Is a maintenance window open, of all policies or of this one? Of several, the one that ends last.
    pub(super) fn maintained(&self, claim: Claim<'_>) -> Result<(), Stop> {
        let (labels, now) = (&claim.incident.alert.labels, Time::now());
        let own = claim.policy.maintenance.iter().map(|window| (window, format!("policy {}", claim.policy.name)));
        let all = self.maintenance.iter().map(|window| (window, "paramedic.yaml".to_owned()));
        let open = own.chain(all).filter_map(|(window, of)| Some((window.open(labels, now)?, window, of)));
        let Some((until, window, of)) = open.max_by_key(|(until, ..)| *until) else { return Ok(()) };
        let message = format!("maintenance window {window} is open until {until}; `maintenance` of {of} says so");
        Err(Stop::Held { rule: Rule::Maintenance, message, until: Some(until) })
    }

    /// Has one of the policy's expressions a result?
    pub(super) async fn unless(&self, claim: Claim<'_>) -> Result<(), Stop> {
        for promql in &claim.policy.unless {
            let shown = clean(promql, 200);
            let message = match self.eyes.finds(promql).await {
                Ok(None) => continue,
                Ok(Some(found)) => format!(
                    "policy {} says `unless: {shown}`, and that has a result: {}; it goes on when there is none",
                    claim.policy.name,
                    clean(&found, 600)
                ),
                Err(error) => format!(
                    "policy {} says `unless: {shown}`, which could not be asked, and that holds as well: {}",
                    claim.policy.name,
                    clean(&error.to_string(), 500)
                ),
            };
            return Err(Stop::held(Rule::Unless, message));
        }
        Ok(())
    }
}
