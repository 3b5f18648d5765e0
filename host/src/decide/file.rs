//! A plugin's file: read, or told apart from what is none before anything is read.
//!
//! The server, `check` and the author's commands say the same about it. Absent on purpose: what is in the file, which is `load`'s business.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::load::{MAX_FILE_BYTES, PluginError, Problem};
use crate::telemetry::clean;

/// Other plugins of a folder that are named when one is missing.
const MOST_NAMED: usize = 8;

/// Why a plugin's file cannot be read. Each text ends with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Nothing of that name.
    #[error("there is no such file; {0}")]
    Missing(String),
    /// A folder, such as a project.
    #[error(
        "this is a folder, and a plugin's file is wanted: in a project it is dist/NAME.wasm, once `paramedic policy build` has made it"
    )]
    Folder,
    /// A pipe or a device, which might never end.
    #[error("this is neither a file nor a folder; give the .wasm file that `paramedic policy build` has written")]
    Special,
    /// A link to nothing.
    #[error("this is a link to a file that is not there; build the plugin again, or lead the link to it")]
    Dangling,
    /// A link to itself.
    #[error("this is a link that leads to itself; give the file itself")]
    Circle,
    /// Not for this user.
    #[error(
        "it may not be read by the user with the id {0}: look at the permissions of the file and of its folders, as `namei -l` shows them"
    )]
    Denied(u32),
    /// The disk, or something else.
    #[error("it cannot be read: {0}; look at the disk that it lies on")]
    Other(io::Error),
}

/// What is in a plugin's file.
///
/// # Errors
/// As [`look`].
pub fn read(path: &Path) -> Result<Vec<u8>, PluginError> {
    look(path)?;
    std::fs::read(path).map_err(|error| refused(path, Problem::Unreadable(why(path, error))))
}

/// Is there a file that could be a plugin?
///
/// # Errors
/// Why it cannot be read, or that it is far too large; the text names the file and says what to do.
pub fn look(path: &Path) -> Result<(), PluginError> {
    let problem = match std::fs::metadata(path) {
        Err(error) => Problem::Unreadable(why(path, error)),
        Ok(meta) if meta.is_dir() => Problem::Unreadable(Unreadable::Folder),
        Ok(meta) if !meta.is_file() => Problem::Unreadable(Unreadable::Special),
        Ok(meta) => match usize::try_from(meta.len()).unwrap_or(usize::MAX) {
            size if size > MAX_FILE_BYTES => Problem::TooLarge(size >> 20),
            _ => return Ok(()),
        },
    };
    Err(refused(path, problem))
}

fn refused(path: &Path, problem: Problem) -> PluginError {
    PluginError { file: clean(&path.display().to_string(), 500), problem }
}

fn why(path: &Path, error: io::Error) -> Unreadable {
    match error.kind() {
        ErrorKind::NotFound if path.is_symlink() => Unreadable::Dangling,
        ErrorKind::NotFound | ErrorKind::NotADirectory => Unreadable::Missing(nearby(path)),
        ErrorKind::PermissionDenied => Unreadable::Denied(rustix::process::geteuid().as_raw()),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Unreadable::Circle,
        _ => Unreadable::Other(error),
    }
}

/// What there is instead: a typing mistake is seen beside the right name.
fn nearby(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = clean(&folder.display().to_string(), 300);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return format!("the folder {shown} is not there either, or may not be looked into: look at the path");
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".wasm")).map(|name| clean(&name, 80)).collect();
    names.sort();
    if names.is_empty() {
        return format!(
            "no plugin is in the folder {shown}: run `paramedic policy build` in a project, or `make plugins` for those that come with Paramedic"
        );
    }
    let more = names.len().saturating_sub(MOST_NAMED);
    names.truncate(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "the folder {shown} has {}{more}: look whether the name is right, or run `paramedic policy build` in its project",
        names.join(", ")
    )
}
