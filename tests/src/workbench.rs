//! The policy author's commands, run as an author runs them: the real binary, real plugins, real tool chains.
#![allow(clippy::unwrap_used, clippy::panic)]

mod ci;
mod refusals;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::components::component;
use crate::crash::binary;

/// Exit code, stdout and stderr of `paramedic policy ...` in a folder.
fn policy(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.arg("policy").args(arguments).current_dir(folder).env("XDG_CACHE_HOME", folder.join(".cache"));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A folder with a plugin and one file of cases.
fn bench(plugin: &str, cases: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugin.wasm"), component(plugin)).unwrap();
    std::fs::create_dir(folder.path().join("cases")).unwrap();
    std::fs::write(folder.path().join("cases/a.yaml"), cases).unwrap();
    folder
}

/// What `policy test` says about these cases of a plugin.
fn tested(plugin: &str, cases: &str) -> (i32, String) {
    let folder = bench(plugin, cases);
    let (code, out, err) = policy(folder.path(), &["test", "plugin.wasm"]);
    (code, out + &err)
}

#[test]
fn every_shipped_plugin_in_rust_passes_its_cases() {
    let folder = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for entry in std::fs::read_dir(repository().join("plugins")).unwrap().flatten() {
        let (name, cases) = (entry.file_name().into_string().unwrap(), entry.path().join("cases"));
        if name.starts_with("sdk-") || !entry.path().join("Cargo.toml").exists() {
            continue;
        }
        assert!(cases.is_dir(), "{name} is shipped without cases");
        std::fs::write(folder.path().join("p.wasm"), component(&name)).unwrap();
        let (code, out, err) = policy(folder.path(), &["test", "p.wasm", "--cases", cases.to_str().unwrap()]);
        assert_eq!(code, 0, "{name}:\n{out}{err}");
        tried += 1;
    }
    assert!(tried >= 2, "only {tried} plugins were tried");
}

#[test]
fn a_difference_is_shown_line_by_line_with_its_place() {
    let (code, said) = tested(
        "restart-container",
        "cases:
- name: passes
  alert: {labels: {alertname: Down}}
  expect: {decision: escalate}
- name: differs
  alert: {labels: {alertname: Down, container: web}}
  targets: [{name: local/web, state: exited}]
  expect:
    decision: act
    actions: [{docker.restart: {target: local/web, grace_seconds: 3}}]
- name: decides otherwise
  alert: {labels: {alertname: Down}}
  expect: {decision: pass}
",
    );
    assert_eq!(code, 1, "{said}");
    for line in [
        "ok    passes",
        "FAIL  differs  (cases/a.yaml:5)",
        "      - action 1: docker.restart: {grace_seconds: 3, target: \"local/web\"}",
        "      + action 1: docker.restart: {target: \"local/web\"}",
        "FAIL  decides otherwise  (cases/a.yaml:11)",
        "      - decision: pass",
        "      + decision: escalate (Down names no container",
        "1 passed, 2 failed",
    ] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
}

#[test]
fn mistakes_in_cases_are_named_with_file_line_and_a_hint() {
    let whole = |case: &str| tested("restart-container", &format!("cases:\n- {case}\n"));
    let alert = "name: x\n  alert: {labels: {alertname: Down}}";
    for (case, wanted) in [
        ("name: x\n  alrt: {}".to_owned(), "cases/a.yaml:3:3: unknown key `alrt`, did you mean `alert`?"),
        (alert.to_owned(), "the key `expect` is missing"),
        (format!("{alert}\n  expect: {{decision: acts}}"), "cases/a.yaml:4:"),
        (format!("{alert}\n  expect: {{decision: pass, for: 5m}}"), "`pass` takes no time"),
        (format!("{alert}\n  expect: {{decision: pass, actions: []}}"), "`pass` does nothing"),
        (
            format!("{alert}\n  expect: {{decision: act, actions: [{{docker.reboot: {{}}}}]}}"),
            "`docker.reboot` is no kind of action",
        ),
        (
            format!("{alert}\n  lookups: [{{metrics: up}}]\n  expect: {{decision: pass}}"),
            "a lookup has either an answer or an error",
        ),
        (
            format!("{alert}\n  lookups: [{{answer: []}}]\n  expect: {{decision: pass}}"),
            "a lookup asks one question, and this one asks 0",
        ),
        (
            format!("{alert}\n  lookups: [{{metrics: up, answer: [{{valu: 1}}]}}]\n  expect: {{decision: pass}}"),
            "this is no answer to that question",
        ),
        (format!("{alert}\n  now: noon\n  expect: {{decision: pass}}"), "`noon` is no moment"),
    ] {
        let (code, said) = whole(&case);
        assert_eq!(code, 2, "{case}\n{said}");
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}");
    }
    let (code, said) = tested("restart-container", "");
    assert!(code == 2 && said.contains("cases/a.yaml"), "{said}");
}

#[test]
fn junit_is_whole_also_with_hostile_text() {
    let folder = bench(
        "restart-container",
        "cases:\n- name: \"a <b> & \\\"c\\\" \\e[31m\"\n  alert: {labels: {alertname: \"<x>\"}}\n  expect: {decision: pass}\n",
    );
    let (code, out, _) = policy(folder.path(), &["test", "plugin.wasm", "--output", "junit"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("<?xml") && out.trim_end().ends_with("</testsuites>"), "{out}");
    assert!(out.contains("name=\"a &lt;b&gt; &amp; &quot;c&quot;") && !out.contains('\u{1b}'), "{out}");
    // Python is on every machine that runs Ansible, and its parser is strict.
    let parse = "import sys, xml.dom.minidom as m; d = m.parseString(sys.stdin.buffer.read()); print(d.documentElement.getAttribute('failures'))";
    let mut python = Command::new("python3");
    python.args(["-c", parse]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = python.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), out.trim_end().as_bytes()).unwrap();
    let parsed = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(parsed.stdout).unwrap().trim(), "1");
}

#[test]
fn a_new_rust_project_builds_and_passes_in_two_more_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = policy(folder.path(), &["new", "--lang", "rust", "heal-web"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = policy(folder.path(), &["build", "heal-web"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("heal-web/dist/heal-web.wasm: heal-web 0.1.0"), "{out}");
    assert!(out.contains("  sha256   ") && out.contains("  imports  paramedic:policy/docker@1.0.0, "), "{out}");
    let (code, out, err) = policy(folder.path(), &["test", "heal-web"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("4 passed, 0 failed"), "{out}");

    ci::the_workflow_runs_as_written(folder.path());

    // The mistakes that are made next.
    let (code, _, err) = policy(folder.path(), &["new", "--lang", "rust", "heal-web"]);
    assert!(code == 2 && err.contains("heal-web is there already and not empty"), "{err}");
    std::fs::write(folder.path().join("heal-web/src/lib.rs"), "fn broken(").unwrap();
    let (code, _, err) = policy(folder.path(), &["build", "heal-web"]);
    let said = err.contains("this file contains an unclosed delimiter") && err.contains("src/lib.rs:1");
    assert!(code == 2 && said && err.contains("it does not compile; what the compiler said stands above"), "{err}");
    std::fs::remove_dir_all(folder.path().join("heal-web/dist")).unwrap();
    let (code, _, err) = policy(folder.path(), &["test", "heal-web"]);
    assert!(code == 2 && err.contains("run `paramedic policy build heal-web`"), "{err}");
}

/// Their tools are fetched into the project, as a new user's are.
#[test]
fn new_projects_in_python_and_javascript_build_and_pass_too() {
    let folder = tempfile::tempdir().unwrap();
    for language in ["python", "js"] {
        let (code, out, err) = policy(folder.path(), &["new", "--lang", language, language]);
        assert_eq!(code, 0, "{out}{err}");
        let (code, out, err) = policy(folder.path(), &["build", language]);
        assert_eq!(code, 0, "{out}{err}");
        let (code, out, err) = policy(folder.path(), &["test", language]);
        assert!(code == 0 && out.contains("4 passed, 0 failed"), "{out}{err}");
    }
    // A build that keeps the runtime's own imports is told what its author can do about it.
    let tool = folder.path().join("js/sdk/build.mjs");
    let told = std::fs::read_to_string(&tool).unwrap();
    assert!(told.contains("stubWasi: true"));
    std::fs::write(&tool, told.replace("stubWasi: true", "stubWasi: false")).unwrap();
    let (code, _, err) = policy(folder.path(), &["build", "js"]);
    let kept = err.contains("it was built, and is no plugin: plugin js/dist/js.wasm: it imports wasi:");
    assert!(code == 2 && kept && err.contains("unless componentize-qjs is told `stubWasi: true` (`--stub-wasi`)"), "{err}");
    std::fs::write(&tool, told).unwrap();
    std::fs::write(folder.path().join("js/src/plugin.js"), "export const broken = (").unwrap();
    let (code, _, err) = policy(folder.path(), &["build", "js"]);
    let said = err.contains("unexpected token in expression") && err.contains("/src/plugin.js:");
    assert!(code == 2 && said && err.contains("it does not build; what the tools said stands above"), "{err}");
    std::fs::write(folder.path().join("python/src/plugin.py"), "def broken(").unwrap();
    let (code, _, err) = policy(folder.path(), &["build", "python"]);
    let said = err.contains("SyntaxError: '(' was never closed") && err.contains("plugin.py\", line 1");
    assert!(code == 2 && said && err.contains("it does not build; what componentize-py said stands above"), "{err}");
}

#[test]
fn what_is_no_project_or_no_name_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = policy(folder.path(), &["new", "--lang", "rust", "Heal"]);
    assert!(code == 2 && err.contains("small letters, digits and dashes"), "{err}");
    for command in ["build", "test", "dev"] {
        let (code, _, err) = policy(folder.path(), &[command, "."]);
        assert!(code == 2 && err.contains("`paramedic policy new"), "{command}: {err}");
    }
    let (code, _, err) = policy(folder.path(), &["test", "nothing.wasm"]);
    assert!(code == 2 && err.contains("plugin nothing.wasm: there is no such file; no plugin is in the folder ."), "{err}");
    std::fs::create_dir(folder.path().join("cases")).unwrap();
    std::fs::write(folder.path().join("p.wasm"), component("restart-container")).unwrap();
    let (code, _, err) = policy(folder.path(), &["test", "p.wasm"]);
    assert!(code == 2 && err.contains("has no cases"), "{err}");
}

#[test]
fn inspect_puts_what_is_asked_for_beside_what_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.wasm"), component("restart-container")).unwrap();
    let policy_file = "name: heal\nplugin: p.wasm\ngrants: {docker: {restart: ['local/web'], stop: ['local/web']}}\n";
    std::fs::write(folder.path().join("heal.yaml"), policy_file).unwrap();
    let (code, out, err) = policy(folder.path(), &["inspect", "p.wasm", "--policy", "heal.yaml"]);
    assert_eq!(code, 1, "it declares a playbook that is not granted: {out}{err}");
    let row = |what: &str| out.lines().filter(|line| line.starts_with(what)).map(str::to_owned).next_back().unwrap_or_default();
    assert!(row("docker.restart").ends_with("granted"), "{out}");
    assert!(row("ansible.playbook").contains("not granted: it will be refused"), "{out}");
    assert!(row("docker.stop").contains("never asked for"), "{out}");
    assert!(out.contains("pin it    plugin: p.wasm@sha256:"), "{out}");
    std::fs::write(folder.path().join("heal.yaml"), "name: heal\nplugin: p.wasm\nsettings: {restarts: many}\n").unwrap();
    let (code, _, err) = policy(folder.path(), &["inspect", "p.wasm", "--policy", "heal.yaml"]);
    assert!(code == 2 && err.contains("heal.yaml: its settings do not fit p.wasm: /restarts"), "{err}");
}

#[test]
fn bench_measures_time_instructions_and_memory() {
    let cases = "cases:
- name: acts
  alert: {labels: {alertname: Down, container: web}}
  targets: [{name: local/web, state: exited}]
  expect: {decision: act}
- name: calls a person
  alert: {labels: {alertname: Down}}
  expect: {decision: escalate}
";
    let folder = bench("restart-container", cases);
    let measured = || {
        let arguments = ["bench", "plugin.wasm", "--cases", "cases", "-n", "20", "--output", "json"];
        let (code, out, err) = policy(folder.path(), &arguments);
        assert_eq!(code, 0, "{out}{err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let (one, other) = (measured(), measured());
    assert_eq!((one["decisions"].as_u64(), one["questions"].as_u64()), (Some(20), Some(2)));
    let number = |key: &str| one[key].as_f64().unwrap();
    assert!(0.0 < number("p50_us") && number("p50_us") <= number("p90_us") && number("p90_us") <= number("p99_us"), "{one}");
    assert!(number("p99_us") <= number("max_us") && number("memory_bytes") >= 65536.0, "{one}");
    assert!(one["instructions"]["median"].as_u64().unwrap() > 1000, "{one}");
    assert_eq!(one["instructions"], other["instructions"], "instructions are the same each time");

    let (code, out, err) = policy(folder.path(), &["bench", "plugin.wasm", "-n", "5"]);
    assert_eq!(code, 0, "{out}{err}");
    for line in
        ["5 decisions about one sample alert, each in a fresh sandbox", "time          p50 ", "instructions  ", "memory        "]
    {
        assert!(out.contains(line), "{line} is not in:\n{out}");
    }
    let (code, _, err) = policy(folder.path(), &["bench", "plugin.wasm", "-n", "5", "--settings", "{\"restarts\": \"x\"}"]);
    assert!(code == 2 && err.contains("the sample's settings do not fit the plugin: /restarts"), "{err}");
    let (code, _, err) = policy(folder.path(), &["bench", "plugin.wasm", "-n", "0"]);
    assert!(code == 2 && err.contains("0 is not in 1..=10000000"), "{err}");
}
