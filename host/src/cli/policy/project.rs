//! A policy author's project: which language it is written in, what it is called, and where its built plugin lies.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The languages that there are SDKs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// `cargo`, target wasm32-wasip2
    Rust,
    /// componentize-py, in the project's own virtual environment
    Python,
    /// JavaScript or TypeScript, compiled with QuickJS, in the project's own node_modules
    Js,
}

impl Language {
    /// All of them.
    const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::Js];

    /// The file that tells it.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "pyproject.toml",
            Self::Js => "package.json",
        }
    }
}

/// A folder with a policy in it.
#[derive(Clone, Debug)]
pub(super) struct Project {
    folder: PathBuf,
    /// Its language.
    pub(super) language: Language,
    /// Its name; the plugin is `dist/NAME.wasm`.
    pub(super) name: String,
}

impl Project {
    /// The project at this path; `None` if the path is a file.
    ///
    /// # Errors
    /// When there is nothing, or a folder that is no project.
    pub(super) fn find(path: &Path) -> anyhow::Result<Option<Self>> {
        // What is wrong with a file is said by whoever reads it.
        if path.is_dir() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// The project in this folder.
    ///
    /// # Errors
    /// When it is none; the text says what belongs there.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let Some(language) = Language::ALL.into_iter().find(|language| folder.join(language.file()).is_file()) else {
            bail!(
                "{} is no policy project: it has no Cargo.toml, pyproject.toml or package.json; \
                 `paramedic policy new --lang rust my-policy` makes one",
                folder.display()
            );
        };
        let file = folder.join(language.file());
        let text = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        let name = name_of(language, &text).with_context(|| format!("{} names no project", file.display()))?;
        if !is_name(&name) {
            bail!("{}: `{}` is no name for a plugin: {NAMES}", file.display(), crate::telemetry::clean(&name, 80));
        }
        Ok(Self { folder: folder.to_owned(), language, name })
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its plugin lies, or will lie.
    pub(super) fn plugin(&self) -> PathBuf {
        self.folder.join("dist").join(format!("{}.wasm", self.name))
    }

    /// Its built plugin.
    ///
    /// # Errors
    /// When it was never built.
    pub(super) fn built(&self) -> anyhow::Result<PathBuf> {
        let plugin = self.plugin();
        if !plugin.is_file() {
            bail!("{} is not there yet: run `paramedic policy build {}`", plugin.display(), self.folder.display());
        }
        Ok(plugin)
    }
}

/// What a name may be, for people.
pub(super) const NAMES: &str = "small letters, digits and dashes, beginning with a letter, at most 64, such as heal-web";

/// Can a project be called so? It becomes a crate, a Python package, an npm package and a file.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn name_of(language: Language, text: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    #[derive(Deserialize)]
    struct Cargo {
        package: Named,
    }
    #[derive(Deserialize)]
    struct Python {
        project: Named,
    }
    Ok(match language {
        Language::Rust => toml::from_str::<Cargo>(text)?.package.name,
        Language::Python => toml::from_str::<Python>(text)?.project.name,
        Language::Js => serde_json::from_str::<Named>(text)?.name,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_language_names_its_project_in_its_own_file() {
        let name = |language, text| name_of(language, text).ok();
        assert_eq!(name(Language::Rust, "[package]\nname = \"heal-web\"\n").as_deref(), Some("heal-web"));
        assert_eq!(name(Language::Rust, "[workspace]"), None);
        assert_eq!(name(Language::Python, "[project]\nname = \"heal-web\"\n").as_deref(), Some("heal-web"));
        assert_eq!(name(Language::Js, "{\"name\": \"heal-web\"}").as_deref(), Some("heal-web"));
        assert_eq!(name(Language::Js, "{}"), None);
    }

    #[test]
    fn a_name_can_be_all_that_it_becomes() {
        for good in ["a", "heal-web", "web2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "2web", "-web", "web-", "Web", "web_x", "../x", "we b", "ü"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
