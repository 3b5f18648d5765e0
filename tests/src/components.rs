//! Plugins for tests, built from this repository's sources when the first test asks, so that no test runs an old one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The bytes of a component: a package's, such as `restart-container` or `guests`, or those of an example of `guests`.
pub(crate) fn component(name: &str) -> Vec<u8> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(build);
    let file = format!("{}.wasm", name.replace('-', "_"));
    let found = [folder.join(&file), folder.join("examples").join(&file)].into_iter().find(|path| path.exists());
    std::fs::read(found.unwrap_or_else(|| panic!("{file} was not built in {}", folder.display()))).unwrap()
}

fn build() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap();
    cargo(
        target,
        &[
            "-p",
            "restart-container",
            "-p",
            "run-playbook",
            "-p",
            "rules",
            "-p",
            "conformance-rust",
            "-p",
            "guests",
            "-p",
            "guest-files",
            "-p",
            "guest-clock",
        ],
    );
    cargo(target, &["-p", "guests", "--examples"]);
    target.join("wasm32-wasip2/plugin")
}

fn cargo(target: &Path, packages: &[&str]) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--locked", "--profile", "plugin", "--target", "wasm32-wasip2", "--target-dir"]);
    command.arg(target).args(packages).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "the plugins do not build:\n{}", String::from_utf8_lossy(&output.stderr));
}
