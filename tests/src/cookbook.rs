//! The cookbook cannot lie: every policy file in it passes `check` as it stands, and decides what its cases say.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::components::component;
use crate::crash::binary;

fn cookbook() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cookbook").canonicalize().unwrap()
}

/// The names of the policies, without `.yaml`.
fn names() -> Vec<String> {
    let files = std::fs::read_dir(cookbook()).unwrap().flatten().map(|entry| entry.path());
    let policies = files.filter(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    let mut names: Vec<String> = policies.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder).env("XDG_CACHE_HOME", folder.join(".cache"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

/// A folder of an operator who copied the whole cookbook: the playbooks that it names are there, and a channel `team`.
fn kitchen() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["plugins", "policies", "playbooks"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    std::fs::write(folder.path().join("plugins/rules.wasm"), component("rules")).unwrap();
    for name in names() {
        let text = std::fs::read_to_string(cookbook().join(format!("{name}.yaml"))).unwrap();
        for playbook in text.split([' ', ',', '{', '}', '[', ']', '"']).filter(|word| word.ends_with(".yml")) {
            std::fs::write(folder.path().join("playbooks").join(playbook), "- {hosts: all, tasks: []}\n").unwrap();
        }
        std::fs::write(folder.path().join(format!("policies/{name}.yaml")), text).unwrap();
    }
    std::fs::write(folder.path().join("inventory.yml"), "all: {hosts: {localhost: {ansible_connection: local}}}\n").unwrap();
    let config = "docker: {hosts: {local: unix:///var/run/docker.sock}}
prometheus: http://127.0.0.1:1
alertmanager: http://127.0.0.1:1
ansible: {playbooks: playbooks, profiles: {default: {inventory: inventory.yml}}}
notify: {webhooks: [{name: team, url: 'http://127.0.0.1:1/'}]}
";
    std::fs::write(folder.path().join("paramedic.yaml"), config).unwrap();
    folder
}

#[test]
fn every_policy_passes_check_as_it_stands() {
    let folder = kitchen();
    let (code, said) = run(folder.path(), &["check", "--config", "paramedic.yaml"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn every_policy_decides_what_its_cases_say() {
    let folder = kitchen();
    assert_eq!(names().len(), 20);
    for name in names() {
        let cases = cookbook().join(format!("cases/{name}.yaml"));
        let policy = format!("policies/{name}.yaml");
        let arguments = ["policy", "test", "plugins/rules.wasm", "--policy", &policy, "--cases", cases.to_str().unwrap()];
        let (code, said) = run(folder.path(), &arguments);
        assert_eq!(code, 0, "{name}:\n{said}");
        assert!(!said.contains("note: recorded, and never asked"), "{name}:\n{said}");
    }
}

#[test]
fn a_policy_that_a_case_contradicts_is_shown() {
    let folder = kitchen();
    let policy =
        std::fs::read_to_string(cookbook().join("01-web-down.yaml")).unwrap().replace("grace_seconds: 10", "grace_seconds: 11");
    std::fs::write(folder.path().join("changed.yaml"), policy).unwrap();
    let cases = cookbook().join("cases/01-web-down.yaml");
    let arguments = ["policy", "test", "plugins/rules.wasm", "--policy", "changed.yaml", "--cases", cases.to_str().unwrap()];
    let (code, said) = run(folder.path(), &arguments);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("grace_seconds: 11"), "{said}");
}

#[test]
fn the_page_names_every_policy() {
    let page = std::fs::read_to_string(cookbook().with_file_name("cookbook.md")).unwrap();
    for name in names() {
        assert!(page.contains(&format!("(cookbook/{name}.yaml)")), "docs/cookbook.md lacks {name}");
    }
}
