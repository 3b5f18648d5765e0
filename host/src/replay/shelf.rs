//! The plugins of the past: found by their digest in the folder where the server keeps them, or in one that a person names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::decide::plugin::Judge;
use crate::decide::sandbox::Sandbox;
use crate::telemetry::clean;

/// Larger files are not looked at: no plugin is that large.
const MOST_BYTES: u64 = 64 << 20;

/// Loads plugins by their digests, each once.
#[derive(Debug)]
pub struct Shelf {
    sandbox: Arc<Sandbox>,
    kept: PathBuf,
    more: Option<PathBuf>,
    loaded: HashMap<String, Result<Arc<dyn Judge>, String>>,
}

impl Shelf {
    /// `kept` holds them as `<sha256>.wasm`; in `more` they may have any name that ends in `.wasm`.
    pub fn new(sandbox: Arc<Sandbox>, kept: PathBuf, more: Option<PathBuf>) -> Self {
        Self { sandbox, kept, more, loaded: HashMap::new() }
    }

    /// The plugin with this digest.
    ///
    /// # Errors
    /// In one sentence, with what to do.
    pub async fn get(&mut self, digest: &str) -> Result<Arc<dyn Judge>, String> {
        if let Some(known) = self.loaded.get(digest) {
            return known.clone();
        }
        let found = self.load(digest).await;
        self.loaded.insert(digest.to_owned(), found.clone());
        found
    }

    async fn load(&self, digest: &str) -> Result<Arc<dyn Judge>, String> {
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("`{}` is no digest of a plugin", clean(digest, 80)));
        }
        let (path, bytes) = self.find(digest)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let plugin = self.sandbox.load(&name, &bytes).await.map_err(|error| error.to_string())?;
        if plugin.digest() == digest {
            return Ok(plugin);
        }
        Err(format!("{} was altered: its digest is not its name", path.display()))
    }

    fn find(&self, digest: &str) -> Result<(PathBuf, Vec<u8>), String> {
        let named = format!("{digest}.wasm");
        for folder in std::iter::once(&self.kept).chain(&self.more) {
            let path = folder.join(&named);
            match read(&path) {
                Ok(bytes) => return Ok((path, bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
            }
        }
        if let Some(found) = self.more.as_deref().and_then(|folder| by_content(folder, digest)) {
            return Ok(found);
        }
        let folder = self.kept.display();
        let beginning = digest.get(..12).unwrap_or(digest);
        Err(format!("the plugin {beginning} is not kept in {folder} any more: name a folder that has it with --plugins DIR"))
    }
}

fn by_content(folder: &Path, digest: &str) -> Option<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|end| end == "wasm")).find_map(|path| {
        let bytes = read(&path).ok()?;
        let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        (found == digest).then_some((path, bytes))
    })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > MOST_BYTES {
        return Err(std::io::Error::other("it is too large to be a plugin"));
    }
    std::fs::read(path)
}
