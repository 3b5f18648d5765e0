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

use clap::Subcommand;

use super::End;
use crate::decide::file;
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
    let bytes = file::read(path)?;
    let sandbox = match cache() {
        // A cache that cannot be used only costs time.
        Some(cache) => Sandbox::new(Some(&cache)).or_else(|_| Sandbox::new(None))?,
        None => Sandbox::new(None)?,
    };
    Ok(sandbox.load(&path.display().to_string(), &bytes).await?)
}

/// Where compiled plugins of this user are kept.
fn cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(folder.join("paramedic/compiled"))
}
