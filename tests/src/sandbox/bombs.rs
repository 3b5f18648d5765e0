//! Components that take minutes or gigabytes to compile: small files, made so that one loop with many locals and many ways back costs the
//! compiler their product. Each is refused in time, nobody else is held up, and no process is left over.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paramedic::decide::compile::Bounds;
use paramedic::decide::sandbox::Sandbox;
use serde_json::{Value, json};

use super::raw::Raw;
use super::{ask, assert_others_go_on, brief, patient};
use crate::components::component;
use crate::crash::binary;
use crate::host::Setup;
use crate::programs::reqwest_client;

/// Half a minute and more on two cores, whatever memory there is.
const SLOW: Bomb = Bomb { locals: 1_000, ways_back: 1_000, functions: 100 };
/// Gigabytes within seconds.
const HUNGRY: Bomb = Bomb { locals: 50_000, ways_back: 50_000, functions: 1 };

struct Bomb {
    locals: usize,
    ways_back: usize,
    functions: usize,
}

impl Bomb {
    /// A component with one core module; `name` makes its bytes others.
    fn component(&self, name: &str) -> Vec<u8> {
        let body = self.body();
        let functions = [leb(self.functions), vec![0; self.functions]].concat();
        let code = [leb(self.functions), [leb(body.len()), body].concat().repeat(self.functions)].concat();
        let sections = [section(1, &[1, 0x60, 0, 0]), section(3, &functions), section(10, &code)];
        let module = [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat();
        let named = section(0, &[leb(name.len()), name.as_bytes().to_vec()].concat());
        [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module), named].concat()
    }

    /// In a loop, each local is changed by its neighbour, and each way back carries all of them.
    fn body(&self) -> Vec<u8> {
        let (i32, get, set, add, end) = (0x7f, 0x20, 0x21, 0x6a, 0x0b);
        let mut body = [vec![1], leb(self.locals), vec![i32, 0x03, 0x40]].concat();
        for way in 0..self.ways_back {
            let (one, next) = (leb(way % self.locals), leb((way + 1) % self.locals));
            body.extend([&[get][..], &one, &[get], &next, &[add, set], &one, &[get], &one, &[0x0d, 0]].concat());
        }
        body.extend([end, end]);
        body
    }
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

fn section(kind: u8, content: &[u8]) -> Vec<u8> {
    [vec![kind], leb(content.len()), content.to_vec()].concat()
}

/// A sandbox whose plugins are compiled as the server's are. The number of bytes tells this test's processes from others'.
fn apart(bounds: Bounds) -> Arc<Sandbox> {
    Sandbox::compiled_by(&binary(), bounds, None).unwrap()
}

/// The processes that compile now with these arguments, as (id, parent).
fn compilers(argument: &str) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = |what: &str| std::fs::read_to_string(entry.path().join(what)).unwrap_or_default();
        let arguments = read("cmdline");
        if arguments.contains("\0__compile\0") && arguments.contains(argument) {
            let parent = read("stat").rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            found.extend(parent.map(|parent| (id, parent)));
        }
    }
    found
}

async fn gone(argument: &str) {
    let begun = Instant::now();
    while !compilers(argument).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(5), "still there: {:?}", compilers(argument));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn there(argument: &str, count: usize) -> Vec<(u32, u32)> {
    let begun = Instant::now();
    loop {
        let now = compilers(argument);
        if now.len() == count {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_time_are_refused_in_time_while_a_good_plugin_is_compiled_and_others_decide() {
    let bounds = Bounds { within: Duration::from_secs(12), memory: (1 << 30) + 1 };
    let (sandbox, mark) = (apart(bounds), bounds.memory.to_string());
    super::guests().await;
    let begun = Instant::now();
    let bombs = ["one", "other"].map(|name| {
        let (sandbox, bytes) = (Arc::clone(&sandbox), SLOW.component(name));
        tokio::spawn(async move { (sandbox.load("bomb.wasm", &bytes).await.map(drop), begun.elapsed()) })
    });
    there(&mark, 2).await;
    let good = sandbox.load("good.wasm", &Raw::default().component()).await.unwrap();
    let decided = good.decide(&brief(Value::Null), &patient()).await.decision.unwrap();
    assert_eq!(decided.reason(), "fine");
    for _ in 0..20 {
        assert_others_go_on().await;
    }
    assert!(bombs.iter().all(|bomb| !bomb.is_finished()), "the bombs were over when the good plugin decided");
    for bomb in bombs {
        let (refused, took) = bomb.await.unwrap();
        let told = refused.unwrap_err().to_string();
        assert_eq!(told, "plugin bomb.wasm: compiling it takes longer than 12 s; make it smaller");
        assert!(took < bounds.within + Duration::from_secs(3), "refused after {took:?}");
    }
    gone(&mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_memory_ends_when_it_has_what_it_may_have() {
    let bounds = Bounds { within: Duration::from_secs(60), memory: (256 << 20) + 1 };
    let sandbox = apart(bounds);
    let told = sandbox.load("bomb.wasm", &HUNGRY.component("one")).await.unwrap_err().to_string();
    assert_eq!(told, "plugin bomb.wasm: compiling it takes more than 256 MiB of memory; make it smaller");
    gone(&bounds.memory.to_string()).await;
    // What is within the bounds is compiled within them.
    sandbox.load("good.wasm", &component("restart-container")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_waits_any_longer_it_is_ended() {
    let bounds = Bounds { within: Duration::from_secs(50), memory: (1 << 30) + 2 };
    let (sandbox, mark) = (apart(bounds), bounds.memory.to_string());
    let loading = tokio::spawn(async move { sandbox.load("bomb.wasm", &SLOW.component("dropped")).await.map(drop) });
    there(&mark, 1).await;
    loading.abort();
    gone(&mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_outlive_a_program_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bomb.wasm");
    std::fs::write(&file, SLOW.component("killed")).unwrap();
    let mut command = Command::new(binary());
    command
        .args(["policy", "inspect"])
        .arg(&file)
        .env("XDG_CACHE_HOME", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut inspecting = command.spawn().unwrap();
    let begun = Instant::now();
    let compiler = loop {
        if let Some((compiler, _)) = compilers("").into_iter().find(|(_, parent)| *parent == inspecting.id()) {
            break compiler;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not compile");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    inspecting.kill().unwrap();
    inspecting.wait().unwrap();
    let begun = Instant::now();
    while compilers("").iter().any(|(id, _)| *id == compiler) {
        assert!(begun.elapsed() < Duration::from_secs(5), "it goes on though nobody waits for it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compiled_apart_is_what_is_compiled_here() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let files = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let bytes = component("restart-container");
    Sandbox::compiled_by(&binary(), Bounds::default(), Some(&cache)).unwrap().load("x.wasm", &bytes).await.unwrap();
    let kept = files();
    assert!(kept.len() == 1 && kept[0].to_str().unwrap().ends_with(".cwasm"), "{kept:?}");
    // With nothing that could compile: it is found.
    let nowhere = Path::new("/nowhere/paramedic");
    let found = Sandbox::compiled_by(nowhere, Bounds::default(), Some(&cache)).unwrap().load("x.wasm", &bytes).await.unwrap();
    assert_eq!(found.manifest().name, "restart-container");
    Sandbox::new(Some(&cache)).unwrap().load("x.wasm", &bytes).await.unwrap();
    assert_eq!(files(), kept);
    // What lies there and is no compiled code, or not the whole of it, is compiled again.
    let file = cache.join(&kept[0]);
    for broken in [Vec::new(), b"no code".to_vec(), std::fs::read(&file).unwrap()[..5_000].to_vec()] {
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, broken).unwrap();
        Sandbox::compiled_by(&binary(), Bounds::default(), Some(&cache)).unwrap().load("x.wasm", &bytes).await.unwrap();
        assert!(std::fs::metadata(&file).unwrap().len() > 100_000);
    }
    let nothing = Sandbox::compiled_by(nowhere, Bounds::default(), None).unwrap().load("x.wasm", &bytes).await.unwrap_err();
    assert!(nothing.to_string().contains("the compiler cannot be started: No such file"), "{nothing}");
}

/// The real server, asked to take a bomb over: it says no, keeps what it has, and neither grows nor waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_gets_one_says_no_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = Setup::restarts("bombs-no-such-container").write(folder.path(), port);
    let mut server = crate::crash::serve(&config);
    let url = format!("http://127.0.0.1:{port}");
    let ready = async || reqwest_client().get(format!("{url}/-/ready")).send().await.is_ok_and(|answer| answer.status() == 200);
    let begun = Instant::now();
    while !ready().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "the server is not ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::fs::write(folder.path().join("plugins/bomb.wasm"), HUNGRY.component("served")).unwrap();
    std::fs::write(folder.path().join("policies/20-bomb.yaml"), "name: bomb\nplugin: bomb.wasm\nmatch: [a=b]\n").unwrap();
    let (mut most, begun, mut slowest) = (0, Instant::now(), Duration::ZERO);
    let told = loop {
        most = most.max(resident_mib(server.id()));
        let asked = Instant::now();
        let status = reqwest_client().get(format!("{url}/api/v1/status")).send().await.unwrap().json::<Value>().await.unwrap();
        slowest = slowest.max(asked.elapsed());
        if let Some(error) = status.to_string().split("bomb.wasm: ").nth(1) {
            break error.to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "it neither takes it over nor says no: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(told.starts_with("compiling it takes "), "{told}");
    assert!(most < 250, "the server itself took {most} MiB");
    assert!(slowest < Duration::from_secs(1), "it did not answer for {slowest:?}");
    assert!(compilers("").iter().all(|(_, parent)| *parent != server.id()));
    let labels = json!({"alertname": "Down", "container": "bombs-no-such-container"});
    let message = json!({"version": "4", "alerts": [{"status": "firing", "labels": labels, "startsAt": "2026-01-01T00:00:00Z"}]});
    let sent = reqwest_client().post(format!("{url}/alert")).json(&message).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(ask("pass", &patient()).await.decision.is_ok());
}

fn resident_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
