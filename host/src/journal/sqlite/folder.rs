//! The data folder: made for its owner alone, and locked by the one server that uses it.
//!
//! The lock is the kernel's (`flock`), so it is gone the moment its process is, however that ended. Should somebody delete
//! the lock's file under a running server, the epoch in the journal still keeps two servers apart.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::journal::JournalError;

/// Where the journal lies in its folder.
pub(super) fn database(dir: &Path) -> PathBuf {
    dir.join("journal.db")
}

/// What the journal takes on the disk, with what is not yet written into its main file.
pub(super) fn bytes(dir: &Path) -> u64 {
    let main = database(dir);
    let mut wal = main.clone().into_os_string();
    wal.push("-wal");
    [main, wal.into()].iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

/// Makes the folder if it is missing, takes its lock, and sees to it that the database's file is there.
pub(super) fn take(dir: &Path) -> Result<File, JournalError> {
    let fail = |what: &str, e: &dyn std::fmt::Display| {
        JournalError::Open(format!(
            "the data folder {} {what}: {e}; is `data` right, and may this user write there?",
            dir.display()
        ))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| fail("cannot be made", &e))?;
    let mut lock = private(&dir.join("lock")).map_err(|e| fail("cannot be locked", &e))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(taken(dir, &mut lock)),
        Err(e) => return Err(fail("cannot be locked", &e)),
    }
    sign(&mut lock).map_err(|e| fail("cannot be written to", &e))?;
    // Only if it is missing: closing the file of an open SQLite database would give back this process' locks on it.
    if !database(dir).exists() {
        private(&database(dir)).map_err(|e| fail("cannot be written to", &e))?;
    }
    // New names are durable only once the folders that hold them are.
    let parent = dir.canonicalize().ok().and_then(|full| full.parent().map(Path::to_owned));
    for folder in [Some(dir.to_owned()), parent].into_iter().flatten() {
        File::open(&folder).and_then(|f| f.sync_all()).map_err(|e| fail("cannot be made durable", &e))?;
    }
    Ok(lock)
}

/// Opens a file that only its owner may read, and makes it if it is missing. SQLite's other files take over its mode.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Writes our process id into the lock, for the message that the next one gets.
fn sign(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())
}

fn taken(dir: &Path, lock: &mut File) -> JournalError {
    let mut text = String::new();
    // Only for the message: if it cannot be read, the message does without.
    let _ = lock.take(20).read_to_string(&mut text);
    let who = text.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (process {pid})"));
    JournalError::Open(format!(
        "the data folder {} is in use by another paramedic{who}: stop that one first, or give this one a `data` folder of its own",
        dir.display()
    ))
}
