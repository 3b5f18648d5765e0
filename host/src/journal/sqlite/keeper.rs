//! Retention and the sign of life while a server runs: a thread that asks the writer, between two batches of appends, for one small
//! piece of work.
//!
//! It rests between the pieces, so that appends come first, and ends with the writer.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::compact::{Compacted, PIECE};
use super::database::Database;
use super::writer::Turns;
use crate::alert::IncidentId;

/// When it is looked for the first time whether something is old enough: the start has more important things to do.
const FIRST: Duration = Duration::from_secs(2);

/// How often it is looked, and how often a sign of life is given: about twice in the shortest time that counts as being away.
const EVERY: Duration = Duration::from_secs(50);

/// Pause between two pieces.
const REST: Duration = Duration::from_millis(50);

/// Starts the thread, which removes what is older than `keep`, if that is said.
pub(super) fn start(turns: Turns<Database>, keep: Option<Duration>) -> std::io::Result<()> {
    thread::Builder::new().name("journal-keeper".to_owned()).spawn(move || run(&turns, keep)).map(|_| ())
}

fn run(turns: &Turns<Database>, keep: Option<Duration>) {
    let (mut pause, mut removed, mut told_pin) = (FIRST, 0, None);
    loop {
        thread::sleep(pause);
        // Appends fail too when this does, and say so.
        if pause != REST && ask(turns, Database::probe).is_none() {
            return;
        }
        pause = EVERY;
        let Some(keep) = keep else { continue };
        let Some(done) = ask(turns, move |database| database.compact(keep, PIECE)) else { return };
        match done {
            Ok(piece) if piece.removed > 0 => {
                removed += piece.removed;
                pause = REST;
            }
            Ok(piece) => tell(&piece, std::mem::take(&mut removed), &mut told_pin),
            // Appends fail too, and say so.
            Err(error) => tracing::debug!(%error, "The journal could not be compacted"),
        }
    }
}

/// Has it done between two batches; `None` when the writer has ended.
fn ask<T: Send + 'static>(turns: &Turns<Database>, work: impl FnOnce(&mut Database) -> T + Send + 'static) -> Option<T> {
    let (answer, answered) = mpsc::channel();
    // Nobody waits for it any more when the process ends.
    let asked = turns.turn(move |database| drop(answer.send(work(database))));
    asked.then(|| answered.recv().ok()).flatten()
}

fn tell(piece: &Compacted, removed: u64, told: &mut Option<IncidentId>) {
    if removed > 0 {
        tracing::info!(removed, first = piece.first, "Old entries were removed from the journal");
    }
    // What was written to lately is let go in time; only an open incident needs somebody.
    let pin = piece.pinned.as_ref().filter(|pin| pin.open);
    if let Some(pin) = pin.filter(|pin| told.as_ref() != Some(&pin.incident)) {
        tracing::warn!(incident = %pin.incident, since = %pin.since, "Older entries are kept, since this incident is still open: close it when it is over");
    }
    *told = pin.map(|pin| pin.incident.clone());
}
