//! Everything that is no plugin, or cannot be used with its policy, each with the exact text that an author and an operator are shown.
//!
//! `tests/fixtures/plugins/<case>.txt` holds what `check`, `policy inspect` and `policy test` print. After a deliberate change of a
//! message run this test with `UPDATE_EXPECTED=1`, and read the difference.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::components::component;
use crate::crash::binary;
use crate::sandbox::load::{exporting, importing, leb, wat};

/// What lies at `plugins/bad.wasm`.
enum File {
    Bytes(Vec<u8>),
    Missing,
    Folder,
    Unreadable,
    Dangling,
    Circle,
    Pipe,
    /// So many bytes of nothing.
    Sparse(u64),
}

struct Case {
    name: &'static str,
    file: File,
    settings: &'static str,
}

/// A whole component that imports this as well, as left by that tool.
fn wanting(imports: &[&str], tool: &str) -> Vec<u8> {
    let imports: String = imports.iter().map(|name| format!("(import \"{name}\" (instance))")).collect();
    let component = wat(&format!(
        r#"(component {imports} (instance $none)
            (export "paramedic:policy/handler@1.0.0" (instance $none)) (export "paramedic:policy/lifecycle@1.0.0" (instance $none)))"#
    ));
    // The section `producers`, as tools write it: one field, `processed-by`, with one name and its version.
    let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    let section = [text("producers"), vec![1], text("processed-by"), vec![1], text(tool), text("1.0.0")].concat();
    [component, vec![0], leb(section.len()), section].concat()
}

fn cases() -> Vec<Case> {
    let plain = |name, bytes| Case { name, file: File::Bytes(bytes), settings: "{}" };
    let odd = |name, file| Case { name, file, settings: "{}" };
    let guest = |name, settings| Case { name, file: File::Bytes(component("guests")), settings };
    let (sound, whole) = (component("restart-container"), wanting(&[], "wit-component"));
    let python =
        ["wasi:clocks/wall-clock@0.2.9", "wasi:filesystem/types@0.2.9", "wasi:random/random@0.2.9", "wasi:sockets/tcp@0.2.9"];
    vec![
        odd("missing", File::Missing),
        odd("a-folder", File::Folder),
        odd("unreadable", File::Unreadable),
        odd("link-to-nothing", File::Dangling),
        odd("link-to-itself", File::Circle),
        odd("a-pipe", File::Pipe),
        odd("too-big", File::Sparse(65 << 20)),
        plain("empty", Vec::new()),
        plain("text", b"name: heal\nplugin: restart-container.wasm\n".to_vec()),
        plain("native-program", std::fs::read("/bin/true").unwrap()),
        plain("archive", b"PK\x03\x04 and so on".to_vec()),
        plain("truncated", whole[..whole.len() - 3].to_vec()),
        plain("core-module", wat("(module (func (export \"decide\")))")),
        plain("import-of-an-unknown-interface", wanting(&["paramedic:policy/weather@1.0.0"], "wit-component")),
        plain("import-of-an-unknown-function", importing("incident@1.1.0", r#"(export "weather" (func (result string)))"#)),
        plain("import-of-a-stranger", wanting(&["acme:thing/api@1.0.0"], "wit-component")),
        plain("import-of-another-type", importing("incident@1.0.0", r#"(export "now" (func (result string)))"#)),
        plain("another-version", component("other_version")),
        plain("missing-export", component("no_decide")),
        plain("export-of-another-type", exporting("string", "")),
        plain("files", wanting(&["wasi:filesystem/preopens@0.2.6", "wasi:filesystem/types@0.2.6"], "wit-component")),
        plain("sockets", wanting(&["wasi:sockets/tcp@0.2.6"], "wit-component")),
        plain("http", wanting(&["wasi:http/outgoing-handler@0.2.6", "wasi:http/types@0.2.6"], "wit-component")),
        plain("python-with-its-runtime", wanting(&python, "componentize-py")),
        plain("javascript-with-http", wanting(&["wasi:http/outgoing-handler@0.2.12"], "componentize-qjs")),
        plain("javascript-of-another-engine", wanting(&["wasi:http/outgoing-handler@0.2.3"], "ComponentizeJS")),
        plain("too-many-memories", exporting("u32", &"(memory 1)".repeat(20))),
        plain("describe-crashes", component("describe_traps")),
        plain("unknown-action", component("unknown_kind")),
        plain("broken-schema", component("broken_schema")),
        Case { name: "settings-against-the-schema", file: File::Bytes(sound.clone()), settings: "{restarts: many, wait: 3}" },
        guest("settings-that-the-plugin-refuses", "{do: 'refused:check'}"),
        guest("fails-at-once", "{do: act-empty}"),
    ]
}

fn lay(folder: &Path, case: &Case) {
    for part in ["policies", "plugins", "cases"] {
        std::fs::create_dir(folder.join(part)).unwrap();
    }
    std::fs::write(folder.join("paramedic.yaml"), "{}\n").unwrap();
    let policy = format!("name: heal\nplugin: bad.wasm\nsettings: {}\n", case.settings);
    std::fs::write(folder.join("policies/10-heal.yaml"), policy).unwrap();
    let asked = format!(
        "cases:\n- name: passes\n  settings: {}\n  alert: {{labels: {{alertname: Down}}}}\n  expect: {{decision: pass}}\n",
        case.settings
    );
    std::fs::write(folder.join("cases/a.yaml"), asked).unwrap();
    std::fs::write(folder.join("plugins/good.wasm"), "not looked at").unwrap();
    let bad = folder.join("plugins/bad.wasm");
    match &case.file {
        File::Bytes(bytes) => std::fs::write(bad, bytes).unwrap(),
        File::Missing => {}
        File::Folder => std::fs::create_dir(bad).unwrap(),
        File::Unreadable => {
            std::fs::write(&bad, "secret").unwrap();
            std::fs::set_permissions(bad, PermissionsExt::from_mode(0o000)).unwrap();
        }
        File::Dangling => symlink("gone.wasm", bad).unwrap(),
        File::Circle => symlink("bad.wasm", bad).unwrap(),
        File::Pipe => assert!(Command::new("mkfifo").arg(bad).status().unwrap().success()),
        File::Sparse(length) => std::fs::File::create(bad).unwrap().set_len(*length).unwrap(),
    }
}

/// What the command prints, and its exit code. Nothing keeps a file from root, so it is run as somebody else.
fn said(folder: &Path, case: &Case, arguments: &[&str]) -> String {
    let mut command = if matches!(case.file, File::Unreadable) && rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary());
        command
    } else {
        Command::new(binary())
    };
    command.args(arguments).current_dir(folder).env("XDG_CACHE_HOME", folder.join(".cache")).env_remove("PARAMEDIC_DATA");
    let output = command.output().unwrap();
    let all = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(all).unwrap().replace(&format!("{}/", folder.display()), "");
    let me = format!("with the id {}:", rustix::process::geteuid().as_raw());
    let text = text.replace("with the id 65534:", "with the id ME:").replace(&me, "with the id ME:");
    format!("$ paramedic {}\n{}[{}]\n", arguments.join(" "), timeless(&text), output.status.code().unwrap())
}

/// How long something took says nothing here.
fn timeless(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split_once(" failed, in ").map_or(line.to_owned(), |(before, _)| format!("{before} failed")));
    lines.map(|line| line + "\n").collect()
}

#[test]
fn whatever_is_wrong_with_a_plugin_is_said_with_its_file_and_what_to_do() {
    let fixtures: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins");
    let (mut wrong, mut known) = (Vec::new(), Vec::new());
    for case in cases() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        lay(folder.path(), &case);
        let mut got = said(folder.path(), &case, &["check"]);
        let settings = case.settings != "{}";
        let inspect: &[&str] = if settings {
            &["policy", "inspect", "plugins/bad.wasm", "--policy", "policies/10-heal.yaml", "--output", "json"]
        } else {
            &["policy", "inspect", "plugins/bad.wasm"]
        };
        let inspected = said(folder.path(), &case, inspect);
        // What the plugin is, which is right, comes before what is wrong.
        got += &if settings { without_json(&inspected) } else { inspected };
        got += &said(folder.path(), &case, &["policy", "test", "plugins/bad.wasm", "--cases", "cases"]);
        assert!(!got.contains(|c: char| c.is_control() && c != '\n'), "{got:?}");
        assert!(got.contains("bad.wasm"), "{}: which file?\n{got}", case.name);
        let file = fixtures.join(format!("{}.txt", case.name));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&file, &got).unwrap();
        }
        let wanted = std::fs::read_to_string(&file).unwrap_or_default();
        if got != wanted {
            wrong.push(format!("== {}\n-- expected:\n{wanted}-- got:\n{got}", case.name));
        }
        known.push(file);
    }
    let forgotten: Vec<_> =
        std::fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).filter(|file| !known.contains(file)).collect();
    assert!(forgotten.is_empty(), "no case asks for {forgotten:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn without_json(text: &str) -> String {
    let (before, rest) = text.split_once("{\n").unwrap_or((text, ""));
    let (_, after) = rest.split_once("\n}\n").unwrap_or(("", rest));
    format!("{before}{after}")
}
