//! Rules of the house that a machine can hold: which room may name which, and no forgotten test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use paramedic::incident::Rule;

/// The rooms of `host/src` by floor: a room may name rooms of lower floors, and of its own floor only itself.
const FLOORS: [&[&str]; 10] = [
    &["action", "alert", "clock", "incident", "policy", "shutdown", "telemetry"],
    &["halt", "journal", "look"],
    // A halt of something, for a while.
    &["hold"],
    &["receive", "decide", "authorise", "execute", "verify"],
    &["healer", "operate"],
    &["replay"],
    &["notify"],
    &["config", "api"],
    &["server"],
    &["cli"],
];

/// What is handed over between two steps of the flow: (room, earlier room, the only name).
const HANDED_OVER: [(&str, &str, &str); 1] = [("execute", "authorise", "Permit")];

fn host() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src")
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files
}

/// Every `crate::room::Name` in a file, outside of comments.
fn named(text: &str) -> Vec<(String, String)> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    code.split("crate::")
        .skip(1)
        .map(|rest| {
            let room = word(rest);
            let name = rest.get(room.len()..).and_then(|rest| rest.strip_prefix("::")).map(word).unwrap_or_default();
            (room, name)
        })
        .collect()
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in rust_files(&host()) {
        let inside = path.strip_prefix(host()).unwrap().to_owned();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        if room == "lib" || room == "main" {
            continue;
        }
        let own = floor(&room).unwrap_or_else(|| panic!("room {room} has no floor: give it one in FLOORS"));
        for (other, name) in named(&std::fs::read_to_string(&path).unwrap()) {
            seen += 1;
            let handed = HANDED_OVER.iter().any(|(a, b, n)| *a == room && *b == other && *n == name);
            let Some(theirs) = floor(&other) else { continue };
            // On the ground floor words build on one another; there Rust itself refuses nothing worse.
            let allowed = room == other || theirs < own || (own == 0 && theirs == 0) || handed;
            if !allowed {
                wrong.push(format!("{}: {room} names {other}::{name}", inside.display()));
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were read: does this test still read what it should?");
    assert!(wrong.is_empty(), "imports go from the later rooms to the earlier ones, never back:\n{}", wrong.join("\n"));
}

#[test]
fn only_authorisation_makes_permits_and_only_the_journal_proves() {
    for path in rust_files(&host()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let inside = path.strip_prefix(host()).unwrap().display().to_string();
        assert!(!text.contains("Permit {") || inside == "authorise.rs", "{inside} makes a Permit");
        assert!(!text.contains("Journalled {") || inside == "journal.rs", "{inside} makes a Journalled");
    }
}

#[test]
fn nothing_in_the_host_knows_nginx_but_its_examples() {
    let shown: [&str; 3] = ["cli/policy/bench.rs", "cli/alert.rs", "alert/matchers.rs"];
    for path in rust_files(&host()) {
        let inside = path.strip_prefix(host()).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//") && !line.contains('`'));
        let known = lines.filter(|line| line.to_lowercase().contains("nginx")).filter(|line| !line.contains("such as"));
        let known: Vec<&str> = known.collect();
        assert!(known.is_empty() || shown.contains(&inside.as_str()), "{inside} knows nginx: {known:?}");
    }
}

#[test]
fn every_state_of_an_incident_has_its_word_in_the_list() {
    let text = std::fs::read_to_string(host().join("incident.rs")).unwrap();
    let (_, body) = text.split_once("pub fn state(&self) -> &'static str {").unwrap();
    let (body, _) = body.split_once("\n    }\n").unwrap();
    let words: BTreeSet<&str> = body.split('"').skip(1).step_by(2).collect();
    assert_eq!(words, paramedic::incident::STATES.into(), "STATES lists what `state` gives: filters and gauges rely on it");
}

#[test]
fn every_rule_that_says_no_is_explained() {
    let text = std::fs::read_to_string(host().join("incident/event.rs")).unwrap();
    let (_, body) = text.split_once("pub enum Rule {").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let names = body.lines().map(str::trim).filter(|line| line.starts_with(char::is_uppercase));
    let rules = names.map(|name| serde_json::from_value::<Rule>(kebab(name.trim_end_matches(',')).into()).unwrap().word());
    let docs = std::fs::read_to_string(host().join("../../docs/configuration.md")).unwrap();
    let unexplained: Vec<String> = rules.filter(|word| !docs.contains(&format!("`{word}`"))).collect();
    assert!(unexplained.is_empty(), "docs/configuration.md does not explain {unexplained:?}");
}

fn kebab(name: &str) -> String {
    let small = |c: char| if c.is_uppercase() { format!("-{}", c.to_lowercase()) } else { c.to_string() };
    name.chars().map(small).collect::<String>().trim_start_matches('-').to_owned()
}

#[test]
fn the_wasmtime_that_is_named_is_the_one_that_is_built_in() {
    let lock = std::fs::read_to_string(host().join("../../Cargo.lock")).unwrap();
    let named = format!("name = \"wasmtime\"\nversion = \"{}\"", paramedic::decide::sandbox::WASMTIME);
    assert!(lock.contains(&named), "decide/sandbox.rs names another wasmtime than Cargo.lock");
}

#[test]
fn no_test_file_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let list = std::fs::read_to_string(folder.join("lib.rs")).unwrap();
    let mut names = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        names.insert(name, entry.path());
    }
    names.remove("lib");
    let forgotten: Vec<_> = names.keys().filter(|name| !list.contains(&format!("mod {name};"))).collect();
    assert!(forgotten.is_empty(), "not in tests/src/lib.rs: {forgotten:?}");
}

/// What `make broken` applies: a patch that no longer fits the code shows nothing.
#[test]
fn every_patch_that_breaks_an_invariant_still_applies() {
    let patches = Path::new(env!("CARGO_MANIFEST_DIR")).join("broken");
    let mut broken = BTreeSet::new();
    for entry in std::fs::read_dir(&patches).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let says = |what: &str| {
            text.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_else(|| panic!("{entry:?} lacks `{what}`"))
        };
        broken.extend(
            says("Breaks: ")
                .strip_prefix("invariant ")
                .and_then(|rest| rest.split_once(':'))
                .map(|(number, _)| number.to_owned()),
        );
        let name = says("Noticed by: ").rsplit("::").next().unwrap();
        let known = rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
            .iter()
            .any(|file| std::fs::read_to_string(file).unwrap().contains(&format!("fn {name}()")));
        assert!(known, "{entry:?} names a test that does not exist: {name}");
        let mut check = std::process::Command::new("patch");
        check.args(["-p1", "--dry-run", "--silent", "--force", "-i"]).arg(entry.path());
        let checked = check.current_dir(host().join("../..")).output().unwrap();
        assert!(checked.status.success(), "{entry:?}: {}", String::from_utf8_lossy(&checked.stdout));
    }
    assert_eq!(broken, (1..=10).map(|number| number.to_string()).collect(), "each invariant has a patch that breaks it");
}
