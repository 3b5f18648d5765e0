//! `paramedic policy build`: finds the language's tools, runs them, and looks whether what came out is a plugin.
//!
//! The tools' own output is shown as it comes. What is missing is named with the command that installs it. Absent on purpose: installing
//! tools for the whole machine; what a project needs for itself is put into its own folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokio::process::Command;

use super::load;
use super::project::{Language, Project};
use crate::cli::End;
use crate::cli::output::{line, note};
use crate::clock::print_duration;

/// How long the tools may take; the first build fetches and compiles what the SDK needs.
const WITHIN: Duration = Duration::from_secs(15 * 60);
const WASM: &str = "wasm32-wasip2";

const EXAMPLES: &str = "Examples:
  paramedic policy build
  paramedic policy build heal-web";

/// Build a project's plugin: dist/NAME.wasm
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Build {
    /// The project's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Build {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let begun = Instant::now();
        let project = Project::open(&self.folder)?;
        let file = build(&project).await?;
        let plugin = load(&file).await.context("it was built, and is no plugin")?;
        let manifest = plugin.manifest();
        line(format!(
            "{}: {} {}, {} KiB, built and loaded in {}",
            file.display(),
            manifest.name,
            manifest.version,
            plugin.size().div_ceil(1024),
            print_duration(begun.elapsed())
        ));
        line(format!("  sha256   {}", plugin.digest()));
        line(format!("  imports  {}", plugin.imports().join(", ")));
        note(format!("next: paramedic policy test {}", self.folder.display()));
        Ok(End::Fine)
    }
}

/// Builds it; gives the plugin's file.
pub(super) async fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let made = match project.language {
        Language::Rust => rust(project).await?,
        Language::Python => python(project).await?,
        Language::Js => js(project).await?,
    };
    let plugin = project.plugin();
    if made == plugin {
        return Ok(plugin);
    }
    let dist = project.folder().join("dist");
    std::fs::create_dir_all(&dist).with_context(|| format!("{} cannot be made", dist.display()))?;
    // Whoever reads it meanwhile gets the old one or the new one.
    let partial = dist.join(format!(".{}.part", project.name));
    std::fs::copy(&made, &partial).with_context(|| format!("{} cannot be copied to {}", made.display(), partial.display()))?;
    std::fs::rename(&partial, &plugin).with_context(|| format!("{} cannot be written", plugin.display()))?;
    Ok(plugin)
}

async fn rust(project: &Project) -> anyhow::Result<PathBuf> {
    let folder = project.folder();
    let sysroot = output(folder, "rustc", &["--print", "sysroot"]).await.context("install Rust first: https://rustup.rs")?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(WASM);
    ensure!(
        library.is_dir(),
        "Rust is here, and cannot compile for {WASM} yet: run `rustup target add {WASM}` (without rustup: install the package of your distribution that has {})",
        library.display()
    );
    let args = ["build", "--release", "--target", WASM, "--lib", "--message-format", "json-render-diagnostics"];
    let said = output(folder, "cargo", &args).await.context("it does not compile; what the compiler said stands above")?;
    artefact(&said, &project.name).with_context(|| {
        format!("cargo has built no component of {}: Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]`", project.name)
    })
}

/// The version that the SDK was made with; others may want other arguments.
const COMPONENTIZE_PY: &str = "0.25.1";

async fn python(project: &Project) -> anyhow::Result<PathBuf> {
    let folder = project.folder();
    let tool = match own_python_tool(folder) {
        Some(tool) => tool,
        None => {
            note(format!("Fetching componentize-py {COMPONENTIZE_PY} into {}/.venv (once)", folder.display()));
            let how = "install Python with its venv: on Debian `apt-get install python3 python3-venv`";
            output(folder, "python3", &["-m", "venv", ".venv"]).await.context(how)?;
            let pip = absolute(folder)?.join(".venv/bin/pip");
            let args = ["install", "--quiet", "--requirement", "requirements.txt"];
            output(folder, &pip.to_string_lossy(), &args).await.context("componentize-py cannot be fetched")?;
            own_python_tool(folder).context("requirements.txt does not name componentize-py")?
        }
    };
    note("Compiling; Python takes half a minute");
    let dist = folder.join("dist");
    std::fs::create_dir_all(&dist).with_context(|| format!("{} cannot be made", dist.display()))?;
    let made = format!("dist/{}.wasm", project.name);
    let args = ["-q", "-d", "wit", "-w", "policy", "componentize", "--stub-wasi", "-p", "src", "-p", "sdk"];
    let args: Vec<&str> = args.into_iter().chain(["paramedic_component", "-o", &made]).collect();
    output(folder, &tool.to_string_lossy(), &args).await.context("it does not build; what componentize-py said stands above")?;
    Ok(project.plugin())
}

/// componentize-py in the project's own virtual environment.
fn own_python_tool(folder: &Path) -> Option<PathBuf> {
    let tool = absolute(folder).ok()?.join(".venv/bin/componentize-py");
    tool.is_file().then_some(tool)
}

/// A tool is run in the project's folder, so its own path has to hold from there.
fn absolute(folder: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(folder).with_context(|| format!("{} cannot be found", folder.display()))
}

async fn js(project: &Project) -> anyhow::Result<PathBuf> {
    let folder = project.folder();
    let how = "install Node.js 18 or newer with npm: on Debian `apt-get install nodejs npm`";
    output(folder, "node", &["--version"]).await.context(how)?;
    if !folder.join("node_modules/componentize-qjs").is_dir() {
        note(format!("Fetching componentize-qjs into {}/node_modules (once)", folder.display()));
        let args = ["ci", "--no-audit", "--no-fund", "--silent"];
        output(folder, "npm", &args).await.context(how)?;
    }
    output(folder, "node", &["sdk/build.mjs"]).await.context("it does not build; what the tools said stands above")?;
    Ok(project.plugin())
}

/// The component among what cargo says it has made.
fn artefact(said: &str, name: &str) -> Option<PathBuf> {
    let of = |line: &str| -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"].as_str()?.replace('_', "-") == name;
        let files = message["filenames"].as_array().filter(|_| ours)?;
        files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    };
    said.lines().filter_map(of).next_back()
}

/// Runs a tool in a folder, its errors and progress shown as they come, and gives what it wrote to stdout.
async fn output(folder: &Path, tool: &str, args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(tool);
    command
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        // Crash traces of their own would hide what they say about the author's code.
        .env("RUST_BACKTRACE", "0")
        .kill_on_drop(true);
    // Not `output()`, which would keep for itself what the tool says.
    let child = command.spawn().with_context(|| format!("{tool} cannot be run"))?;
    let ran = tokio::time::timeout(WITHIN, child.wait_with_output()).await;
    let Ok(ran) = ran else { bail!("{tool} was ended: it took longer than {}", print_duration(WITHIN)) };
    let ran = ran.with_context(|| format!("{tool} cannot be heard"))?;
    ensure!(ran.status.success(), "{tool} {} failed ({})", args.first().copied().unwrap_or_default(), ran.status);
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_found_wherever_cargo_has_put_it() {
        let said = r#"{"reason":"compiler-artifact","target":{"name":"serde"},"filenames":["/x/libserde.rlib"]}
not json
{"reason":"compiler-artifact","target":{"name":"heal_web"},"filenames":["/t/release/heal_web.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(artefact(said, "heal-web"), Some(PathBuf::from("/t/release/heal_web.wasm")));
        assert_eq!(artefact(said, "other"), None);
    }
}
