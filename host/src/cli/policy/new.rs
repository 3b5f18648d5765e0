//! `paramedic policy new`: a project that builds, passes its cases, and needs nothing from this repository.
//!
//! The SDK and the contract are carried in the project, as this Paramedic has them: no registry has to know the SDK, and it cannot be of
//! another version than the server. Absent on purpose: questions; everything has an answer that can be changed in the files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::project::{Language, NAMES, is_name};
use crate::cli::End;
use crate::cli::output::line;
use crate::telemetry::clean;

const EXAMPLES: &str = "Examples:
  paramedic policy new --lang rust heal-web
  cd heal-web && paramedic policy build && paramedic policy test

Policies that need no code are written as settings of the plugin `rules`: see docs/cookbook.md.";

/// Begin a project: a policy with cases, its SDK and a README
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct New {
    /// The project's name, and its folder's: small letters, digits and dashes
    name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// Another folder
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A file of a project: its path there and its text.
type Embedded = (&'static str, &'static str);

macro_rules! files {
    ($($to:literal <- $from:literal),* $(,)?) => {
        &[$(($to, include_str!(concat!("../../../../", $from)))),*]
    };
}

/// Files of a new project in which `{{name}}` becomes the name.
fn template(language: Language) -> &'static [Embedded] {
    match language {
        Language::Rust => files![
            "Cargo.toml" <- "plugins/sdk-rust/template/Cargo.toml",
            "README.md" <- "plugins/sdk-rust/template/README.md",
            "cases/restart.yaml" <- "plugins/sdk-rust/template/cases/restart.yaml",
            ".gitignore" <- "plugins/sdk-rust/template/gitignore",
            "src/lib.rs" <- "plugins/sdk-rust/template/src/lib.rs",
        ],
    }
}

/// Files of the SDK, copied as they are.
fn sdk(language: Language) -> &'static [Embedded] {
    match language {
        Language::Rust => files![
            "sdk/paramedic-policy/Cargo.toml" <- "plugins/sdk-rust/template/sdk-Cargo.toml",
            "sdk/paramedic-policy/README.md" <- "plugins/sdk-rust/README.md",
            "sdk/paramedic-policy/src/decision.rs" <- "plugins/sdk-rust/src/decision.rs",
            "sdk/paramedic-policy/src/guest.rs" <- "plugins/sdk-rust/src/guest.rs",
            "sdk/paramedic-policy/src/history.rs" <- "plugins/sdk-rust/src/history.rs",
            "sdk/paramedic-policy/src/incident.rs" <- "plugins/sdk-rust/src/incident.rs",
            "sdk/paramedic-policy/src/lib.rs" <- "plugins/sdk-rust/src/lib.rs",
            "sdk/paramedic-policy/src/log.rs" <- "plugins/sdk-rust/src/log.rs",
            "sdk/paramedic-policy/src/lookup.rs" <- "plugins/sdk-rust/src/lookup.rs",
            "sdk/paramedic-policy/src/lookup/containers.rs" <- "plugins/sdk-rust/src/lookup/containers.rs",
            "sdk/paramedic-policy/src/lookup/fake.rs" <- "plugins/sdk-rust/src/lookup/fake.rs",
            "sdk/paramedic-policy/src/lookup/history.rs" <- "plugins/sdk-rust/src/lookup/history.rs",
            "sdk/paramedic-policy/src/lookup/metrics.rs" <- "plugins/sdk-rust/src/lookup/metrics.rs",
            "sdk/paramedic-policy/src/policy.rs" <- "plugins/sdk-rust/src/policy.rs",
            "sdk/paramedic-policy/src/proposal.rs" <- "plugins/sdk-rust/src/proposal.rs",
            "sdk/paramedic-policy/src/variables.rs" <- "plugins/sdk-rust/src/variables.rs",
            "sdk/paramedic-policy/src/words.rs" <- "plugins/sdk-rust/src/words.rs",
        ],
    }
}

/// The contract, which every SDK reads.
const CONTRACT: Embedded = ("wit/policy.wit", include_str!("../../../../wit/policy.wit"));

impl New {
    pub(super) fn run(self) -> anyhow::Result<End> {
        ensure!(is_name(&self.name), "`{}` is no name for a project: {NAMES}", clean(&self.name, 80));
        let folder = self.dir.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        let taken = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file();
        if taken {
            bail!("{} is there already and not empty: choose another name, or another folder with --dir", folder.display());
        }
        for (path, text) in template(self.lang) {
            write(&folder, path, &text.replace("{{name}}", &self.name))?;
        }
        for (path, text) in sdk(self.lang).iter().chain([&CONTRACT]) {
            write(&folder, path, text)?;
        }
        let shown = folder.display();
        line(format!("{shown} is ready: a policy, its cases, its SDK. Next:"));
        line(format!("  paramedic policy build {shown}"));
        line(format!("  paramedic policy test {shown}"));
        line(format!("{shown}/README.md tells what lies where."));
        Ok(End::Fine)
    }
}

fn write(folder: &Path, path: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(path);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn below(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                below(&path, found);
            } else {
                found.insert(path);
            }
        }
    }

    /// A file that is added to an SDK has to be carried, too.
    #[test]
    fn a_project_carries_all_of_its_sdk() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut sources = BTreeSet::new();
        below(&repository.join("plugins/sdk-rust/src"), &mut sources);
        for path in sources {
            let to = Path::new("sdk/paramedic-policy").join(path.strip_prefix(repository.join("plugins/sdk-rust")).unwrap());
            let carried = sdk(Language::Rust).iter().find(|(carried, _)| Path::new(carried) == to);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(carried.is_some_and(|(_, carried)| *carried == text), "{} is not carried", path.display());
        }
        let mut files = BTreeSet::new();
        below(&repository.join("plugins/sdk-rust/template"), &mut files);
        assert_eq!(files.len(), template(Language::Rust).len() + 1, "each file of the template, and the SDK's manifest");
    }
}
