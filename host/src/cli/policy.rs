//! `paramedic policy ...`: the workbench of whoever writes policies.

mod bench;
mod build;
mod cases;
mod compare;
mod dev;
mod inspect;
mod junit;
mod new;
mod project;
mod test;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{bail, ensure};
use clap::Subcommand;

use super::End;
use crate::decide::plugin::Plugin;
use crate::decide::sandbox::Sandbox;

const HELP: &str = "The loop of a policy's author:
  paramedic policy new --lang rust heal-web    a project with a policy, cases and the SDK
  paramedic policy build heal-web              heal-web/dist/heal-web.wasm
  paramedic policy test heal-web               ask it every case of heal-web/cases
  paramedic policy dev heal-web                both again whenever a file changes
  paramedic policy inspect heal-web/dist/heal-web.wasm --policy policies/50-heal-web.yaml
  paramedic ask --tree alert.json              what all policies would do about one alert
  paramedic replay --plugin heal-web/dist/heal-web.wasm --since 30d

docs/workbench.md tells the whole of it; docs/cookbook.md has policies that need no code.";

/// Write, build, test, look into and measure policy plugins
#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub enum PolicyCommand {
    /// Begin a project: a policy with cases, its SDK and a README
    New(new::New),
    /// Build a project's plugin: dist/NAME.wasm
    Build(build::Build),
    /// Ask a plugin what its cases say, and show where it answers otherwise
    Test(test::Test),
    /// Build and test a project again whenever one of its files changes
    Dev(dev::Dev),
    /// Say who a plugin is: what it declares, what it imports, its digest and its settings
    Inspect(inspect::Inspect),
    /// Measure how long one decision takes, with a fresh sandbox for each
    Bench(bench::Bench),
}

impl PolicyCommand {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        match self {
            Self::New(new) => new.run(),
            Self::Build(build) => build.run().await,
            Self::Test(test) => test.run().await,
            Self::Dev(dev) => dev.run().await,
            Self::Inspect(inspect) => inspect.run().await,
            Self::Bench(bench) => bench.run().await,
        }
    }
}

/// The plugin in this file; its compiled code is kept in the user's cache, since an author loads the same one again and again.
async fn load(path: &Path) -> anyhow::Result<Arc<Plugin>> {
    let bytes = bytes(path)?;
    let sandbox = match cache() {
        // A cache that cannot be used only costs time.
        Some(cache) => Sandbox::new(Some(&cache)).or_else(|_| Sandbox::new(None))?,
        None => Sandbox::new(None)?,
    };
    Ok(sandbox.load(&path.display().to_string(), &bytes).await?)
}

/// What is in a plugin's file; whatever is not one is told apart before anything is read.
fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let refused = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound if path.is_symlink() => {
            format!("{shown} is a link to a file that is not there; build the plugin again")
        }
        std::io::ErrorKind::NotFound => {
            format!(
                "{shown} is not there; look whether the path is right, or run `paramedic policy build` in the project's folder"
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("{shown} cannot be read: look at the permissions of the file and of its folders")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            format!("{shown} is a link that leads to itself; give the file itself")
        }
        _ => format!("{shown} cannot be read"),
    };
    let told = |error: std::io::Error| {
        let text = refused(&error);
        anyhow::Error::from(error).context(text)
    };
    let meta = std::fs::metadata(path).map_err(told)?;
    if meta.is_dir() {
        bail!(
            "{shown} is a folder, and here a plugin's file is wanted: in a project it is dist/NAME.wasm, once `paramedic policy build` has made it"
        );
    }
    // A pipe or a device might never end.
    ensure!(
        meta.is_file(),
        "{shown} is neither a file nor a folder; give the .wasm file that `paramedic policy build` has written"
    );
    std::fs::read(path).map_err(told)
}

/// Where compiled plugins of this user are kept.
fn cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(folder.join("paramedic/compiled"))
}
