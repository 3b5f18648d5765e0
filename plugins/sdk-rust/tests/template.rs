//! The project that `paramedic policy new --lang rust` makes: its policy and its own tests, and that the SDK it carries asks for the
//! same crates as the one here.
#![allow(clippy::unwrap_used)]

#[path = "../template/src/lib.rs"]
mod policy;

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The lines `name = ...` of a section.
fn section<'a>(manifest: &'a str, header: &str) -> BTreeSet<&'a str> {
    let lines = manifest.lines().skip_while(|line| *line != header).skip(1).take_while(|line| !line.starts_with('['));
    lines.map(|line| line.split(" #").next().unwrap_or(line).trim()).filter(|line| line.contains(" = ")).collect()
}

#[test]
fn the_sdk_that_a_project_carries_is_this_one() {
    let (workspace, ours, theirs) = (read("../../Cargo.toml"), read("Cargo.toml"), read("template/sdk-Cargo.toml"));
    let wanted: BTreeSet<&str> =
        section(&ours, "[dependencies]").iter().map(|line| line.split_once(".workspace").unwrap().0).collect();
    let known = section(&workspace, "[workspace.dependencies]");
    let expected: BTreeSet<&str> = known.into_iter().filter(|line| wanted.contains(line.split_once(" = ").unwrap().0)).collect();
    assert_eq!(expected.len(), wanted.len());
    assert_eq!(section(&theirs, "[dependencies]"), expected, "template/sdk-Cargo.toml follows the workspace's Cargo.toml");
    for line in section(&workspace, "[workspace.package]").iter().filter(|line| !line.starts_with("publish")) {
        assert!(theirs.lines().any(|l| l == *line), "template/sdk-Cargo.toml lacks `{line}`");
    }
}

#[test]
fn a_project_asks_for_the_crates_that_its_sdk_has() {
    let (project, sdk) = (read("template/Cargo.toml"), read("template/sdk-Cargo.toml"));
    let theirs = section(&sdk, "[dependencies]");
    for line in section(&project, "[dependencies]").iter().filter(|line| !line.starts_with("paramedic-policy")) {
        assert!(theirs.contains(line), "`{line}` is another version than the SDK's");
    }
}
