//! Files that are no plugins, or not this contract's: refused when they are loaded, in words that say what to do.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::Instant;

use paramedic::decide::sandbox::{Problem, Sandbox, SandboxError};

use super::sandbox;
use crate::components::component;

async fn refusal(bytes: &[u8]) -> String {
    let error = sandbox().load("some\u{1b}[31mthing.wasm", bytes).await.err().map(|error| error.to_string());
    let text = error.unwrap_or_else(|| panic!("it was accepted"));
    assert!(text.starts_with("plugin some�thing.wasm: "), "{text}");
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
    text
}

pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn built_wrongly() {
    let cases = [
        ("guest-files", " wasi:filesystem/preopens@0.2", ", no files, no network: remove what uses it"),
        ("guest-clock", "it imports wasi:clocks/", "a policy gets no clock"),
        ("describe_traps", "asked to describe itself, it failed: the plugin crashed", "must not depend on anything"),
        ("unknown_kind", "declares the action `docker.exec`, which does not exist", "docker.restart, docker.start"),
        ("broken_schema", "settings schema cannot be used: ", "JSON Schema"),
        ("other_version", "was built for paramedic:policy/", "build it with the SDK of this version"),
        ("no_decide", "does not export paramedic:policy/handler@1.0.0", "build it with an SDK"),
    ];
    for (name, what, then) in cases {
        let text = refusal(&component(name)).await;
        assert!(text.contains(what) && text.contains(then), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn not_even_a_component() {
    let module = wat("(module (func (export \"decide\")))");
    assert!(
        refusal(&module)
            .await
            .contains("a core WebAssembly module, not a component; build it with `paramedic policy build`, or in Rust")
    );
    assert!(refusal(b"name: heal-nginx\nplugin: x.wasm\n").await.contains("this is text, not WebAssembly"));
    assert!(refusal(b"").await.contains("the file is empty"));
    assert!(refusal(&wat("(component)")).await.contains("does not export paramedic:policy/handler"));
}

/// Cut off anywhere, or with any byte broken, a file is refused or still a sound plugin; nothing crashes.
#[tokio::test(flavor = "multi_thread")]
async fn cut_off_or_damaged() {
    let whole = component("restart-container");
    for length in [5, 9, 100, whole.len() / 2, whole.len() - 1] {
        let text = refusal(&whole[..length]).await;
        assert!(text.contains("the file ends in the middle"), "{length} bytes: {text}");
    }
    for n in 1..20 {
        let mut damaged = whole.clone();
        let at = n * damaged.len() / 20;
        damaged[at] ^= 0x55;
        if let Err(error) = sandbox().load("damaged.wasm", &damaged).await {
            assert!(error.to_string().starts_with("plugin damaged.wasm: "), "{error}");
        }
    }
}

/// A component with both exports, whose two functions give `result`, with `memory` and what else is in its module.
pub(crate) fn exporting(result: &str, module: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component
            (core module $m (memory (export "mem") 1) (func (export "f") (result i32) i32.const 0) {module})
            (core instance $i (instantiate $m))
            (alias core export $i "mem" (core memory $mem))
            (func $f (result {result}) (canon lift (core func $i "f") (memory $mem)))
            (instance $h (export "decide" (func $f)))
            (instance $l (export "describe" (func $f)) (export "check" (func $f)))
            (export "paramedic:policy/handler@1.0.0" (instance $h))
            (export "paramedic:policy/lifecycle@1.0.0" (instance $l)))"#
    ))
}

/// A component that imports this of an interface, and whose exports are empty.
pub(crate) fn importing(interface: &str, exports: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component
            (import "paramedic:policy/{interface}" (instance {exports}))
            (instance $none)
            (export "paramedic:policy/handler@1.0.0" (instance $none))
            (export "paramedic:policy/lifecycle@1.0.0" (instance $none)))"#
    ))
}

/// The engine's own words are about its inside; these name the function, the field and both types.
#[tokio::test(flavor = "multi_thread")]
async fn of_other_types() {
    const RECORD: &str = r#"(type $t (record (field "source" string)))
        (export "alert-record" (type $a (eq $t))) (export "alert" (func (result $a)))"#;
    let of_types = [
        (
            exporting("string", ""),
            "it exports `handler.decide`, and its result is string there, \
             and should be result<variant {pass, ignore, act, wait, escalate}, string>",
        ),
        (
            importing("incident@1.0.0", r#"(export "now" (func (result string)))"#),
            "it imports `incident.now`, and its result is string there, and should be s64",
        ),
        (
            importing("incident@1.0.0", r#"(export "now" (func (param "zone" string) (result s64)))"#),
            "it imports `incident.now`, and it has 1 parameter there, and should have 0 parameters",
        ),
        (importing("incident@1.2.0", RECORD), "it imports `incident.alert`, and its result has no field `status` there"),
        (
            importing("metrics@1.0.0", r#"(export "query" (func (param "promql" u32)))"#),
            "it imports `metrics.query`, and its parameter `promql` is u32 there, and should be string",
        ),
        (importing("log@1.0.0", ""), "it exports `handler` without the function `decide`"),
    ];
    for (bytes, what) in of_types {
        let whole = format!(
            "plugin some\u{fffd}thing.wasm: its types are not those of paramedic:policy@1.0.0: {what}; \
             build it with the contract's unchanged WIT files"
        );
        assert_eq!(refusal(&bytes).await, whole);
    }
    let newer = "which is not part of the contract paramedic:policy@1.0.0; if it is made for a newer Paramedic, update this one, \
                 else build it with the WIT files of this one";
    let function = importing("incident@1.1.0", r#"(export "weather" (func (result string)))"#);
    assert_eq!(
        refusal(&function).await,
        format!("plugin some\u{fffd}thing.wasm: it imports the function `incident.weather`, {newer}")
    );
    let interface = wat(r#"(component (import "paramedic:policy/weather@1.0.0" (instance)))"#);
    assert_eq!(
        refusal(&interface).await,
        format!("plugin some\u{fffd}thing.wasm: it imports paramedic:policy/weather@1.0.0, {newer}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_big_for_a_sandbox() {
    let text = refusal(&exporting("u32", "(memory 5000)")).await;
    assert!(text.contains("does not fit into a sandbox"), "{text}");
    let many = "(memory 1)".repeat(20);
    let text = refusal(&exporting("u32", &many)).await;
    assert!(text.contains("does not fit into a sandbox"), "{text}");
    let text = refusal(&exporting("u32", "(table 1000000 funcref)")).await;
    assert!(text.contains("does not fit into a sandbox"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_never_finishes_starting() {
    let began = Instant::now();
    let text = refusal(&exporting("u32", "(func $spin (loop (br 0))) (start $spin)")).await;
    assert!(text.contains("asked to describe itself, it failed: the plugin gave no answer within 5.0 s"), "{text}");
    assert!(began.elapsed().as_secs() < 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_is_the_same_plugin() {
    let bytes = component("restart-container");
    let (one, other) = (sandbox().load("a.wasm", &bytes).await.unwrap(), sandbox().load("b.wasm", &bytes).await.unwrap());
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!((one.digest().len(), one.size()), (64, bytes.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let bytes = component("restart-container");
    Sandbox::new(Some(&cache)).unwrap().load("x.wasm", &bytes).await.unwrap();
    let files = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let kept = files();
    assert_eq!(kept.len(), 1, "nothing was kept, or more than the compiled code: {kept:?}");
    let written = || std::fs::metadata(cache.join(&kept[0])).unwrap().ino();
    let first = written();
    Sandbox::new(Some(&cache)).unwrap().load("x.wasm", &bytes).await.unwrap();
    assert_eq!((files(), written()), (kept.clone(), first), "it was compiled again");
}

/// What lies in the cache is run as it is, so nobody else may write there.
#[test]
fn a_cache_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Sandbox::new(Some(folder.path())).unwrap_err();
    assert!(matches!(&error, SandboxError::Cache(_, why) if why.contains("others may write there")), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Sandbox::new(Some(&file)), Err(SandboxError::Cache(..))));
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_can_be_told_apart_by_programs() {
    let error = sandbox().load("x.wasm", b"").await.unwrap_err();
    assert!(matches!(error.problem, Problem::Empty));
}

pub(crate) fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Names and notes that a tool left in the file mean nothing here, however long they are.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_carried_along_does_no_harm() {
    let carrying = |mebibytes: usize| {
        let content = [&[8_u8][..], &b"\x1b]0;own\x07"[..], &vec![0x1b; mebibytes << 20][..]].concat();
        [component("restart-container"), vec![0], leb(content.len()), content].concat()
    };
    let began = Instant::now();
    let plugin = sandbox().load("heavy.wasm", &carrying(60)).await.unwrap();
    assert_eq!(plugin.manifest().name, "restart-container");
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    let said = refusal(&carrying(65)).await;
    assert!(said.ends_with("MiB, more than the 64 MiB that a plugin may have; build it optimised and stripped"), "{said}");
}

/// Components in components, thousands deep: refused, and nobody's stack is full.
#[tokio::test(flavor = "multi_thread")]
async fn nested_without_end() {
    let header = &b"\0asm\x0d\0\x01\0"[..];
    let mut component = header.to_vec();
    for _ in 0..5_000 {
        component = [header, &[4], &leb(component.len()), &component].concat();
    }
    let said = refusal(&component).await;
    assert!(said.ends_with("it does not fit into a sandbox: its components are nested more than 16 deep; build it with fewer parts or less memory"), "{said}");
}

/// Many parts instead of large ones.
#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_parts() {
    let instances = "(core instance (instantiate $e))".repeat(80);
    let many = format!("(component (core module $e) {instances})");
    let said = refusal(&wat(&many)).await;
    assert!(said.contains("does not fit into a sandbox"), "{said}");
    let types = format!("(component {})", "(type (func))".repeat(100_000));
    let began = Instant::now();
    assert!(refusal(&wat(&types)).await.contains("does not export paramedic:policy/handler"));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn that_wants_the_network() {
    for (import, meaning) in [
        ("wasi:http/outgoing-handler@0.2.6", "network"),
        ("wasi:sockets/tcp@0.2.6", "network"),
        ("wasi:filesystem/types@0.2.6", "files"),
        ("wasi:random/random@0.2.6", "randomness"),
        ("wasi:cli/command@0.2.6", "such part of WASI"),
    ] {
        let said = refusal(&wat(&format!(r#"(component (import "{import}" (instance)))"#))).await;
        let what = "remove what uses it; the time is `incident.now`, and what may be looked at are `containers`, `metrics` and `history`";
        assert_eq!(said, format!("plugin some\u{fffd}thing.wasm: it imports {import}; a policy gets no {meaning}: {what}"));
    }
}
