//! Incidents for programs: the list, page by page, and one whole story.
//!
//! Every answer is bounded, and so is every read that it takes: the journal's readers serve the healer too, and are asked here for
//! one small piece at a time. Whoever filters narrowly gets a page that may hold little, and a `next` to go on with.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::query::{Asked, StoryAsked};
use crate::alert::IncidentId;
use crate::incident::timeline::{self, Line};
use crate::incident::{Closing, Event, Incident};
use crate::journal::{Journal, JournalError};
use crate::operate::Awaiting;

/// Entries of one incident that are read at a time.
const PIECE: usize = 200;
/// Incidents whose ids are read at a time.
const PAGE: usize = 50;
/// Incidents that one answer looks at.
const MOST_LOOKED_AT: usize = 2_000;
/// How long one answer looks.
const LOOK_FOR: Duration = Duration::from_secs(3);
/// How large a story's page grows, in bytes; an entry may be larger.
const MOST_BYTES: usize = 4 << 20;

/// An incident as programs see it.
#[derive(Debug, Serialize)]
pub struct Summary {
    id: String,
    key: String,
    state: &'static str,
    ending: Option<&'static str>,
    policy: Option<String>,
    labels: crate::alert::Labels,
    targets: Vec<String>,
    attempts: usize,
    opened_at: String,
    updated_at: String,
    closed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    awaiting: Option<Awaiting>,
}

impl Summary {
    /// The summary of this one.
    pub fn of(incident: &Incident) -> Self {
        Self {
            id: incident.id.to_string(),
            key: incident.id.key.to_string(),
            state: incident.state(),
            ending: incident.closing().map(Closing::word),
            policy: incident.owner.as_ref().map(|owner| owner.policy.clone()),
            labels: incident.alert.labels.clone(),
            targets: incident.targets.iter().map(|view| view.target.to_string()).collect(),
            attempts: incident.attempts.len(),
            opened_at: incident.opened_at.to_string(),
            updated_at: incident.updated_at.to_string(),
            closed_at: incident.is_closed().then(|| incident.updated_at.to_string()),
            awaiting: Awaiting::of(incident),
        }
    }
}

/// One page of the list.
#[derive(Debug, Serialize)]
pub(super) struct List {
    incidents: Vec<Summary>,
    /// What to send as `cursor` for the next page; `null` when there is none.
    next: Option<String>,
}

/// The newest incidents that fit, before the cursor.
pub(super) async fn list(journal: &Journal, asked: &Asked) -> Result<List, JournalError> {
    let (begun, mut before, mut looked_at, mut incidents) = (Instant::now(), asked.before, 0, Vec::new());
    loop {
        let page = journal.list(before, asked.filter.open_only(), PAGE).await?;
        if page.is_empty() {
            return Ok(List { incidents, next: None });
        }
        for opened in page {
            before = opened.pos;
            looked_at += 1;
            // Removed for its age meanwhile, if there is none.
            if let Some(incident) = fold(journal, &opened.id, u64::MAX).await? {
                if asked.filter.is_before(incident.opened_at) {
                    return Ok(List { incidents, next: None });
                }
                incidents.extend(asked.filter.fits(&incident).then(|| Summary::of(&incident)));
            }
            if incidents.len() == asked.limit || looked_at == MOST_LOOKED_AT || begun.elapsed() > LOOK_FOR {
                return Ok(List { incidents, next: Some(before.to_string()) });
            }
        }
    }
}

/// One page of a story.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    incident: Summary,
    timeline: Vec<Line>,
    entries: Vec<Value>,
    /// What to send as `after` for the next page; `null` when there is none.
    next: Option<u64>,
}

/// What was written about the incident behind that entry.
pub(super) async fn story(journal: &Journal, id: &IncidentId, asked: &StoryAsked) -> Result<Option<Story>, JournalError> {
    let Some(incident) = fold(journal, id, u64::MAX).await? else { return Ok(None) };
    let (mut lines, mut told, mut bytes, mut next) = (Vec::new(), Vec::new(), 0, None);
    for mut entry in journal.read(id, asked.after, asked.limit).await? {
        // The token that reads here is the one of those who send alerts.
        match &mut entry.event {
            Event::Diagnosed { found, .. } => *found = found.withheld(),
            Event::Decided(answer) => answer.lookups.iter_mut().for_each(|looked| *looked = looked.withheld()),
            _ => {}
        }
        let body = json!({
            "pos": entry.pos, "seq": entry.seq, "at": entry.at.to_string(), "version": entry.version, "event": entry.event, "hash": entry.hash,
        });
        bytes += body.to_string().len();
        if bytes > MOST_BYTES && !told.is_empty() {
            break;
        }
        lines.extend(timeline::tell([(entry.at, &entry.event)]));
        told.push(body);
        next = (entry.seq < incident.seq).then_some(entry.seq);
    }
    Ok(Some(Story { incident: Summary::of(&incident), timeline: lines, entries: told, next }))
}

/// The incident as it stood at entry `until`, read piece by piece; `None` when there is none.
pub(super) async fn fold(journal: &Journal, id: &IncidentId, until: u64) -> Result<Option<Incident>, JournalError> {
    let mut incident: Option<Incident> = None;
    loop {
        let after = incident.as_ref().map_or(0, |incident| incident.seq);
        let limit = usize::try_from(until - after).map_or(PIECE, |left| left.min(PIECE));
        let entries = if limit == 0 { Vec::new() } else { journal.read(id, after, limit).await? };
        let whole = entries.len() < PIECE;
        match &mut incident {
            None => incident = Incident::from_events(id, entries.iter().map(|entry| (entry.seq, entry.at, &entry.event))),
            Some(incident) => entries.iter().for_each(|entry| incident.apply(entry.seq, entry.at, &entry.event)),
        }
        if whole || incident.is_none() {
            return Ok(incident);
        }
    }
}
