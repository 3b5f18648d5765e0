//! Compiled code on disk: one file for each component and each way of compiling, mapped when it is used.
//!
//! What lies here is run as it is. So the folder is writable for Paramedic's user alone, nothing in it was made by anyone but a compiler that
//! this program started, and a file appears whole, after it is on the disk, or not at all. wasmtime refuses code of another version or for other
//! features; its name says that too, so that it is not even tried. Absent on purpose: sums against a disk that decays.

use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::super::sandbox::SandboxError;

/// How the files' names end.
const KEPT: &str = "cwasm";
/// What nobody has used for so long is removed,
const UNUSED: Duration = Duration::from_secs(30 * 86_400);
/// and so is what goes beyond this, the longest unused first.
const MAX_BYTES: u64 = 2 << 30;
/// A file that is being written is whole after that, or never.
const UNFINISHED: Duration = Duration::from_secs(3_600);
/// A use is noted when the last one is older.
const NOTED: Duration = Duration::from_secs(3_600);

/// The folder.
#[derive(Clone)]
pub(super) struct Cache(PathBuf);

impl Cache {
    /// Makes it if it is not there.
    pub fn open(folder: &Path) -> Result<Self, SandboxError> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let refuse = |why: String| SandboxError::Cache(folder.display().to_string(), why);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| refuse(e.to_string()))?;
        let mode = std::fs::metadata(folder).map_err(|e| refuse(e.to_string()))?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(refuse("others may write there, and what lies there is run as it is".to_owned()));
        }
        folder.canonicalize().map(Self).map_err(|e| refuse(e.to_string()))
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The component with this digest, if it was compiled before, for this engine.
    pub async fn find(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let (engine, file) = (engine.clone(), self.file(engine, digest));
        tokio::task::spawn_blocking(move || mapped(&engine, &file)).await.ok().flatten()
    }

    /// Keeps it, and gives it as it is from now on; `None` if it cannot be mapped from there.
    pub async fn keep(&self, engine: &Engine, digest: &str, code: &[u8]) -> std::io::Result<Option<Component>> {
        let (engine, file, cache, code) = (engine.clone(), self.file(engine, digest), self.clone(), code.to_vec());
        let keep = move || {
            cache.tidy(SystemTime::now());
            let mut new = tempfile::NamedTempFile::new_in(&cache.0)?;
            new.write_all(&code)?;
            new.as_file().sync_all()?;
            new.persist(&file)?;
            Ok(mapped(&engine, &file))
        };
        tokio::task::spawn_blocking(keep).await.map_err(std::io::Error::other)?
    }

    fn file(&self, engine: &Engine, digest: &str) -> PathBuf {
        let mut way = Way(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut way);
        let way: String = way.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.0.join(format!("{digest}-{way}.{KEPT}"))
    }

    /// Removes what nobody uses any longer. What is mapped stays usable for whoever has mapped it.
    fn tidy(&self, now: SystemTime) {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
                let unused = now.duration_since(meta.modified().ok()?).unwrap_or_default();
                Some((unused, meta.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut bytes = 0_u64;
        for (unused, length, path) in files {
            let kept = path.extension().is_some_and(|end| end == KEPT);
            let with_it = bytes.saturating_add(length);
            if unused > if kept { UNUSED } else { UNFINISHED } || with_it > MAX_BYTES {
                // Somebody else may have done it.
                let _ = std::fs::remove_file(path);
            } else {
                bytes = with_it;
            }
        }
    }
}

/// The engine's way of compiling, in a form that stays the same.
struct Way(Sha256);

impl Hasher for Way {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn mapped(engine: &Engine, path: &Path) -> Option<Component> {
    let file = std::fs::File::open(path).ok()?;
    let now = SystemTime::now();
    if file.metadata().and_then(|meta| meta.modified()).is_ok_and(|used| now.duration_since(used).is_ok_and(|ago| ago > NOTED)) {
        // Only the order in which files are removed suffers.
        let _ = file.set_modified(now);
    }
    // SAFETY: the folder is writable for this user alone (`Cache::open`), and whatever has this ending in it was written by `Cache::keep`: compiled
    // code, whole, and never changed afterwards, only replaced or removed by name.
    #[allow(unsafe_code)]
    let component = unsafe { Component::deserialize_file(engine, path) };
    component.inspect_err(|error| tracing::debug!(%error, file = %path.display(), "Compiled code cannot be mapped")).ok()
}

/// The component whose compiled code this is, without a file.
pub(super) fn made(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code comes from a compiler that `super::Compiler` has just started, through a pipe that nobody else has.
    #[allow(unsafe_code)]
    unsafe {
        Component::deserialize(engine, code)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_nobody_uses_is_removed_and_then_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let now = SystemTime::now();
        let put = |name: &str, days: u64, bytes: u64| {
            let file = std::fs::File::create(cache.0.join(name)).unwrap();
            // It has no content: only its length counts.
            file.set_len(bytes).unwrap();
            file.set_modified(now - Duration::from_secs(days * 86_400)).unwrap();
        };
        put("new.cwasm", 1, 1);
        put("large.cwasm", 2, MAX_BYTES - 1);
        put("too-much.cwasm", 3, 1);
        put("old.cwasm", 31, 1);
        put("broken-off", 1, 1);
        put("being-written", 0, 0);
        cache.tidy(now);
        let mut left: Vec<_> = std::fs::read_dir(&cache.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["being-written", "large.cwasm", "new.cwasm"]);
    }
}
