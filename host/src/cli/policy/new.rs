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

/// A file of a project: its path there, its path in this repository, and its text.
type Embedded = (&'static str, &'static str, &'static str);

macro_rules! files {
    ($($to:literal <- $from:literal),* $(,)?) => {
        &[$(($to, $from, include_str!(concat!("../../../../", $from)))),*]
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
        Language::Python => files![
            "README.md" <- "plugins/sdk-python/template/README.md",
            "cases/restart.yaml" <- "plugins/sdk-python/template/cases/restart.yaml",
            ".gitignore" <- "plugins/sdk-python/template/gitignore",
            "pyproject.toml" <- "plugins/sdk-python/template/pyproject.toml",
            "requirements.txt" <- "plugins/sdk-python/template/requirements.txt",
            "src/plugin.py" <- "plugins/sdk-python/template/src/plugin.py",
            "tests/test_plugin.py" <- "plugins/sdk-python/template/tests/test_plugin.py",
        ],
        Language::Js => files![
            "README.md" <- "plugins/sdk-js/template/README.md",
            "cases/restart.yaml" <- "plugins/sdk-js/template/cases/restart.yaml",
            ".gitignore" <- "plugins/sdk-js/template/gitignore",
            "package-lock.json" <- "plugins/sdk-js/template/package-lock.json",
            "package.json" <- "plugins/sdk-js/template/package.json",
            "src/plugin.js" <- "plugins/sdk-js/template/src/plugin.js",
            "tests/plugin.test.js" <- "plugins/sdk-js/template/tests/plugin.test.js",
            "tsconfig.json" <- "plugins/sdk-js/template/tsconfig.json",
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
        Language::Python => files![
            "sdk/paramedic_policy/__init__.py" <- "plugins/sdk-python/paramedic_policy/__init__.py",
            "sdk/paramedic_policy/containers.py" <- "plugins/sdk-python/paramedic_policy/containers.py",
            "sdk/paramedic_policy/decision.py" <- "plugins/sdk-python/paramedic_policy/decision.py",
            "sdk/paramedic_policy/history.py" <- "plugins/sdk-python/paramedic_policy/history.py",
            "sdk/paramedic_policy/incident.py" <- "plugins/sdk-python/paramedic_policy/incident.py",
            "sdk/paramedic_policy/log.py" <- "plugins/sdk-python/paramedic_policy/log.py",
            "sdk/paramedic_policy/lookup.py" <- "plugins/sdk-python/paramedic_policy/lookup.py",
            "sdk/paramedic_policy/metrics.py" <- "plugins/sdk-python/paramedic_policy/metrics.py",
            "sdk/paramedic_policy/plugin.py" <- "plugins/sdk-python/paramedic_policy/plugin.py",
            "sdk/paramedic_policy/settings.py" <- "plugins/sdk-python/paramedic_policy/settings.py",
            "sdk/paramedic_policy/testing.py" <- "plugins/sdk-python/paramedic_policy/testing.py",
            "sdk/paramedic_policy/words.py" <- "plugins/sdk-python/paramedic_policy/words.py",
            "sdk/paramedic_component.py" <- "plugins/sdk-python/paramedic_component.py",
        ],
        Language::Js => files![
            "sdk/build.mjs" <- "plugins/sdk-js/build.mjs",
            "sdk/component.js" <- "plugins/sdk-js/component.js",
            "sdk/decision.js" <- "plugins/sdk-js/decision.js",
            "sdk/incident.js" <- "plugins/sdk-js/incident.js",
            "sdk/index.d.ts" <- "plugins/sdk-js/index.d.ts",
            "sdk/index.js" <- "plugins/sdk-js/index.js",
            "sdk/lookup.js" <- "plugins/sdk-js/lookup.js",
            "sdk/plugin.js" <- "plugins/sdk-js/plugin.js",
            "sdk/settings.js" <- "plugins/sdk-js/settings.js",
            "sdk/testing.d.ts" <- "plugins/sdk-js/testing.d.ts",
            "sdk/testing.js" <- "plugins/sdk-js/testing.js",
            "sdk/words.js" <- "plugins/sdk-js/words.js",
        ],
    }
}

/// The contract, which every SDK reads.
const CONTRACT: Embedded = ("wit/policy.wit", "wit/policy.wit", include_str!("../../../../wit/policy.wit"));

impl New {
    pub(super) fn run(self) -> anyhow::Result<End> {
        ensure!(is_name(&self.name), "`{}` is no name for a project: {NAMES}", clean(&self.name, 80));
        let folder = self.dir.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        let taken = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file();
        if taken {
            bail!("{} is there already and not empty: choose another name, or another folder with --dir", folder.display());
        }
        for (path, _, text) in template(self.lang) {
            write(&folder, path, &text.replace("{{name}}", &self.name))?;
        }
        for (path, _, text) in sdk(self.lang).iter().chain([&CONTRACT]) {
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

    /// All files below a folder of an SDK but its own tests, as paths in this repository.
    fn below(repository: &Path, folder: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(repository.join(folder)).unwrap().flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            let (is_folder, own) = (entry.path().is_dir(), !path.contains("/template/") && path.ends_with("/tests"));
            if is_folder && !own && !path.ends_with("__pycache__") {
                below(repository, &path, found);
            } else if !is_folder {
                found.insert(path);
            }
        }
    }

    /// A file that is added to an SDK has to be carried, too.
    #[test]
    fn a_project_carries_all_of_its_sdk() {
        // What makes a package of an SDK here, and tells readers of this repository what it is.
        let stay = ["sdk-rust/Cargo.toml", "sdk-python/README.md", "sdk-js/README.md", "sdk-js/package.json"];
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (language, folder) in [(Language::Rust, "sdk-rust"), (Language::Python, "sdk-python"), (Language::Js, "sdk-js")] {
            let mut files = BTreeSet::new();
            below(&repository, &format!("plugins/{folder}"), &mut files);
            files.retain(|file| !stay.iter().any(|stay| file.strip_prefix("plugins/") == Some(stay)));
            let carried: BTreeSet<String> =
                template(language).iter().chain(sdk(language)).map(|(_, from, _)| (*from).to_owned()).collect();
            assert_eq!(carried, files, "{folder}");
        }
    }
}
