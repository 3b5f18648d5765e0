//! The central stop: while the file `HALT` is in the data folder, no action begins.
//!
//! A file, because it has to work while the server is down, survive every restart, and be within reach of `touch` and `rm`
//! when nothing else works. Who, when and why are one line of JSON in it; an empty file halts as well, and so does one that cannot
//! be read: whatever bears that name is a person's wish. Absent on purpose: an end that comes by itself.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::telemetry::clean;

/// The file's name in the data folder.
pub const FILE: &str = "HALT";

/// The longest reason, in characters; for a halt and for whatever else a person says.
pub const MOST_REASON: usize = 500;

/// How much of the file is read, in bytes.
const MOST_BYTES: u64 = 4096;

/// Everybody may read who halted and why.
const MODE: u32 = 0o644;

/// What is known of a halt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Halt {
    /// Who halted; unknown when the file was made by hand.
    pub by: Option<String>,
    /// Why, in that person's words.
    pub reason: Option<String>,
    /// Since when, in RFC 3339.
    pub at: Option<String>,
}

impl Halt {
    /// A halt that begins now.
    pub fn now(by: &str, reason: &str) -> Self {
        Self { by: Some(by.to_owned()), reason: Some(reason.to_owned()), at: Some(Time::now().to_string()) }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("halted")?;
        match &self.by {
            Some(by) => write!(f, " by {}", clean(by, 80))?,
            None => write!(f, " by the file {FILE} in the data folder")?,
        }
        if let Some(at) = &self.at {
            write!(f, " since {}", clean(at, 40))?;
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {}", clean(reason, MOST_REASON))?;
        }
        Ok(())
    }
}

/// Is everything halted? `None` when it is not.
///
/// # Errors
/// When that cannot be found out: take it for halted.
pub fn read(file: &Path) -> io::Result<Option<Halt>> {
    match file.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    // Not for what cannot end, such as a pipe.
    let readable = file.is_file() && File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text)).is_ok();
    let text = if readable { text.trim() } else { "" };
    Ok(Some(serde_json::from_str(text).unwrap_or_else(|_| Halt {
        // What somebody wrote by hand is a reason.
        reason: (!text.is_empty()).then(|| clean(text, MOST_REASON)),
        ..Halt::default()
    })))
}

/// What stands in the way of every action, with what to do about it; `None` when nothing is halted.
pub fn in_the_way(file: &Path) -> Option<String> {
    match read(file) {
        Ok(None) => None,
        Ok(Some(halt)) => Some(format!(
            "everything is {halt}; `paramedic resume --reason ...` goes on, and so does removing {}",
            file.display()
        )),
        Err(error) => Some(format!("whether everything is halted cannot be found out: {}: {error}", file.display())),
    }
}

/// Halts, durably. One who halted before and said who and why is not overwritten, and given back.
///
/// # Errors
/// When the file cannot be written.
pub fn write(file: &Path, halt: &Halt) -> io::Result<Option<Halt>> {
    if let Some(before) = read(file)?
        && before.by.is_some()
    {
        return Ok(Some(before));
    }
    if let Err(error) = replace(file, halt) {
        // The name alone halts, and needs no room on a disk that is full.
        OpenOptions::new().append(true).create(true).mode(MODE).open(file).map_err(|_| error)?;
    }
    sync_folder(file)?;
    Ok(None)
}

fn replace(file: &Path, halt: &Halt) -> io::Result<()> {
    let mode = Permissions::from_mode(MODE);
    let mut new = tempfile::Builder::new().prefix(FILE).permissions(mode).tempfile_in(folder_of(file))?;
    writeln!(new, "{}", serde_json::to_string(halt)?)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// Lets go, durably. Gives what was halted, `None` when nothing was.
///
/// # Errors
/// When the file cannot be removed.
pub fn remove(file: &Path) -> io::Result<Option<Halt>> {
    let Some(before) = read(file)? else { return Ok(None) };
    std::fs::remove_file(file)?;
    sync_folder(file)?;
    Ok(Some(before))
}

/// A name is there, or gone, for good only once its folder is on disk.
fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whatever_bears_the_name_halts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        assert_eq!(read(&file).unwrap(), None);
        std::fs::write(&file, "").unwrap();
        assert_eq!(read(&file).unwrap(), Some(Halt::default()));
        std::fs::write(&file, "deploying\u{1b}[31m\n").unwrap();
        assert!(read(&file).unwrap().unwrap().reason.unwrap().starts_with("deploying"));
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert_eq!(read(&file).unwrap(), Some(Halt::default()));
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/nowhere", &file).unwrap();
        assert_eq!(read(&file).unwrap(), Some(Halt::default()), "a dangling link is a wish as well");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_eq!(read(&file).unwrap(), Some(Halt::default()));
    }

    #[test]
    fn who_halted_first_stays_until_somebody_resumes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, "").unwrap();
        let (ann, bob) = (Halt::now("ann", "storage is on fire"), Halt::now("bob", "me too"));
        assert_eq!(write(&file, &ann).unwrap(), None, "a touched file is completed");
        assert_eq!(write(&file, &bob).unwrap(), Some(ann.clone()));
        assert_eq!(read(&file).unwrap(), Some(ann.clone()));
        let said = ann.to_string();
        assert!(said.contains("by ann since") && said.ends_with(": storage is on fire"), "{said}");
        assert_eq!(remove(&file).unwrap(), Some(ann));
        assert_eq!(remove(&file).unwrap(), None);
    }
}
