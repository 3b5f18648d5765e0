//! A copy of the journal while a server writes it.
//!
//! The copy is of one moment: a read transaction holds it, in WAL mode without holding up the writer, and the pages are copied
//! in steps with rests. It is whole only under its own name: before that it is verified and made durable.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{Reader, explain, folder};
use crate::journal::{JournalError, Verified};

/// Pages that are copied in one step.
const STEP: i32 = 512;

/// Rest between two steps.
const REST: Duration = Duration::from_millis(5);

/// Copies the journal in this folder to a new file and verifies the copy. `progress` is told how many pages of how many are
/// copied.
///
/// # Errors
/// [`JournalError::Open`] when there is no journal; [`JournalError::NotDone`] when the file is there already or cannot be
/// written; [`JournalError::Broken`] when what was copied is not whole. Then there is no file.
pub fn backup(dir: &Path, to: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Verified, JournalError> {
    let fail = |e: &dyn std::fmt::Display| JournalError::NotDone(format!("{} cannot be written: {e}", to.display()));
    if to.symlink_metadata().is_ok() {
        return Err(fail(&"it is there already; name another file, or move it away"));
    }
    let source = Reader::open(dir)?;
    let mut partial = to.as_os_str().to_owned();
    partial.push(format!(".{}.part", std::process::id()));
    let partial = Path::new(&partial);
    let copied = folder::private(partial).map_err(|e| fail(&e)).and_then(|_| {
        copy(source.connection(), partial, &mut progress).map_err(|e| fail(&explain(&e)))?;
        let verified = Reader::at(partial)?.verify_with(&[])?;
        publish(partial, to).map_err(|e| fail(&e))?;
        Ok(verified)
    });
    // Gone already when all went well; else nothing half done is left.
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut file = partial.as_os_str().to_owned();
        file.push(end);
        let _ = std::fs::remove_file(file);
    }
    copied
}

fn copy(source: &Connection, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> rusqlite::Result<()> {
    // Without it every append would make the copy begin again.
    let moment = source.unchecked_transaction()?;
    let _: i64 = moment.query_row("select pos from head", [], |row| row.get(0))?;
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    {
        let backup = Backup::new(&moment, &mut target)?;
        while backup.step(STEP)? != StepResult::Done {
            let told = backup.progress();
            let pages = |n: i32| u64::try_from(n).unwrap_or(0);
            progress(pages(told.pagecount - told.remaining), pages(told.pagecount));
            thread::sleep(REST);
        }
    }
    // The copy is one file; whoever opens it for writing makes its WAL.
    target.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get::<_, String>(0))?;
    Ok(())
}

/// Durable first, then under its name, which must be new.
fn publish(partial: &Path, to: &Path) -> std::io::Result<()> {
    File::open(partial)?.sync_all()?;
    std::fs::hard_link(partial, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
