//! From entries to incidents: pure, so that what a restarted server knows is exactly what it knew.

use super::entry::Entry;
use crate::alert::IncidentId;
use crate::incident::Incident;

/// Computes an incident from its entries, oldest first. Entries of others are passed over, so a piece of the whole journal
/// may be given. `None` when there is nothing of it, or its beginning is missing.
pub fn incident(id: &IncidentId, entries: &[Entry]) -> Option<Incident> {
    let own = entries.iter().filter(|entry| entry.incident == *id);
    Incident::from_events(id, own.map(|entry| (entry.seq, entry.at, &entry.event)))
}
