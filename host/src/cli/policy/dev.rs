//! `paramedic policy dev`: builds and asks the cases again whenever a file of the project changes.
//!
//! The project is small, so it is looked at twice a second: that works on every file system and in every container, and has no limit that
//! a machine can run out of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::build::build;
use super::project::Project;
use super::test;
use crate::cli::End;
use crate::cli::output::{line, note};
use crate::clock::Time;

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(500);
/// Files that are looked at; a project with more is none.
const MOST_FILES: usize = 10_000;
/// Folders that tools fill.
const MADE: [&str; 6] = ["target", "dist", "node_modules", ".venv", "__pycache__", ".git"];

const EXAMPLES: &str = "Examples:
  paramedic policy dev
  paramedic policy dev heal-web

Ctrl-C ends it.";

/// Build and test a project again whenever one of its files changes
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    /// The project's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// When each file was last changed, and how large it is.
type Seen = BTreeMap<PathBuf, (SystemTime, u64)>;

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        Project::open(&self.folder)?;
        let work = async {
            let mut seen = Seen::new();
            loop {
                let now = settled(&self.folder, &seen).await;
                let changed: Vec<_> =
                    now.iter().filter(|(path, how)| seen.get(*path) != Some(how)).map(|(path, _)| path).collect();
                if !seen.is_empty() {
                    let first = changed.first().map_or("a file is gone".to_owned(), |path| path.display().to_string());
                    line(format!("\n==== {}: {first}", Time::now()));
                }
                seen = now;
                if let Err(error) = round(&self.folder).await {
                    note(format!("error: {error:#}"));
                }
                note("Waiting for a change; Ctrl-C ends it.");
            }
        };
        tokio::select! {
            () = work => Ok(End::Fine),
            _ = tokio::signal::ctrl_c() => Ok(End::Fine),
        }
    }
}

/// One build, and all cases.
async fn round(folder: &Path) -> anyhow::Result<()> {
    // Its name may be what has changed.
    let project = Project::open(folder)?;
    build(&project).await?;
    test::of_project(&project).await?;
    Ok(())
}

/// Waits until something is otherwise than it was, and then until nothing changes any more: editors and git write in steps.
async fn settled(folder: &Path, before: &Seen) -> Seen {
    let mut last = look(folder);
    loop {
        if last != *before {
            tokio::time::sleep(EVERY / 5).await;
            let now = look(folder);
            if now == last {
                return now;
            }
            last = now;
            continue;
        }
        tokio::time::sleep(EVERY).await;
        last = look(folder);
    }
}

fn look(folder: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let made = MADE.iter().any(|made| name == *made);
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && !made {
                folders.push(entry.path());
            } else if meta.is_file() && seen.len() < MOST_FILES {
                let changed = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                seen.insert(entry.path(), (changed, meta.len()));
            }
        }
    }
    // Tools write it, and nobody else.
    seen.retain(|path, _| path.file_name().is_none_or(|name| name != "Cargo.lock" && name != "package-lock.json"));
    seen
}
