//! A thousand policies over twenty plugins: how soon a server with them is ready, what it holds beyond the plugins' compiled code, and what
//! a decision, a reload and a check cost among so many.
//!
//! The plugins are shipped ones with another section of no meaning each: other bytes and another digest, so nothing is shared. Every policy has
//! matchers, settings and grants of its own. Nothing they name exists, so nothing is touched.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use paramedic::clock::Time;
use paramedic::incident::Event;
use paramedic::journal::Reader;

use crate::row;
use crate::sender::{Connection, webhook};
use crate::server::Server;

const PLUGINS: usize = 20;
const POLICIES: usize = 1_000;
/// Which plugins, as `make plugins` puts them below the target folder.
const SHIPPED: [&str; 3] = ["restart-container.wasm", "rules.wasm", "run-playbook.wasm"];
/// Warm starts, of which the slowest is told.
const STARTS: usize = 5;
/// After so long what the start has left behind is given back.
const SETTLED: Duration = Duration::from_secs(2);
/// Alerts, each taken by another policy.
const ALERTS: usize = 200;
const RELOADS: usize = 5;
/// The least time between two reloads over HTTP, and some more.
const BETWEEN: Duration = Duration::from_millis(2_200);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(binary: &Path, folder: &Path) {
    let folder = folder.join("many");
    let data = Server::prepare(&folder);
    write(&folder, POLICIES);
    let what = format!("{POLICIES} policies, {PLUGINS} plugins");
    let server = Server::start(binary, &folder).await;
    row(&format!("{what}: ready, nothing compiled yet"), &ms(server.ready_after));
    drop(server);
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    let mut memory = None;
    for _ in 0..STARTS {
        let server = Server::start(binary, &folder).await;
        tokio::time::sleep(SETTLED).await;
        slowest = slowest.max(server.ready_after);
        let now = Memory::of(&server);
        if now.beyond() >= most {
            (most, memory) = (now.beyond(), Some(now));
        }
    }
    row(&format!("{what}: ready, all compiled before"), &ms(slowest));
    row(&format!("{what}: resident beyond compiled code"), &memory.unwrap().told());

    let server = Server::start(binary, &folder).await;
    let alerts = decisions(&server, &data).await;
    row(&format!("{what}: on disk until decided"), &told(&alerts));
    let reloads = reloads(&server, &folder).await;
    row(&format!("{what}: reload, one changed"), &told(&reloads));
    row("... resident beyond compiled code after that", &Memory::of(&server).told());
    drop(server);
    row(&format!("{what}: paramedic check"), &check(binary, &folder));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Twenty plugins and so many policies.
fn write(folder: &Path, policies: usize) {
    for number in 0..PLUGINS {
        let shipped = Path::new("plugins").join(SHIPPED[number % SHIPPED.len()]);
        let mut bytes = std::fs::read(&shipped).unwrap_or_else(|error| panic!("{}: {error}; `make plugins`", shipped.display()));
        let name = format!("copy {number:02}");
        // A custom section: its kind, its length, its name with the length of that.
        bytes.extend([0, u8::try_from(name.len()).unwrap() + 1, u8::try_from(name.len()).unwrap()]);
        bytes.extend(name.as_bytes());
        std::fs::write(folder.join(format!("plugins/plugin-{number:02}.wasm")), bytes).unwrap();
    }
    (0..policies).for_each(|number| std::fs::write(file(folder, number), policy(number, 30)).unwrap());
}

fn file(folder: &Path, number: usize) -> std::path::PathBuf {
    folder.join(format!("policies/{number:04}.yaml"))
}

fn policy(number: usize, cooldown: usize) -> String {
    let plugin = number % PLUGINS;
    let service = match number % 4 {
        0 => format!(r#"service=~"s-{number}|t-{number}""#),
        _ => format!(r#"service="s-{number}""#),
    };
    let grace = number % 30 + 1;
    let settings = match plugin % SHIPPED.len() {
        0 => format!("{{grace_seconds: {grace}, restarts: {}}}", number % 3 + 1),
        1 => format!(
            "\n  rules:\n  - {{when: 'labels.severity == \"info\" && int(labels.port) == {number}', wait: {grace}m}}\n  \
             - {{escalate: 's-{number} needs a person'}}"
        ),
        _ => format!("{{playbook: fix-{number}.yml, variables: {{service: s-{number}}}}}"),
    };
    format!(
        "name: heal-{number}\nplugin: plugin-{plugin:02}.wasm\nmode: enforce\n\
         match: ['alertname=\"Down\"', '{service}', 'severity=~\"critical|page\"', 'team!=\"t-{number}\"']\nsettings: {settings}\n\
         grants: {{docker: {{restart: ['local/s-{number}-*', {{host: local, label: 'service=s-{number}'}}], inspect: ['local/s-{number}-*']}}}}\n\
         brakes: {{cooldown: {cooldown}s, attempts: 3 per 30m}}\nverify: {{within: 3m, stable: 30s}}\nescalate: team-{number}\n"
    )
}

/// What is resident, and how much of it is compiled code, in KiB.
struct Memory {
    resident: usize,
    code: usize,
    mapped: usize,
}

impl Memory {
    fn of(server: &Server) -> Self {
        let mut memory = Self { resident: 0, code: 0, mapped: 0 };
        let mut of_code = false;
        for line in server.read("smaps").lines() {
            let kib = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap();
            if line.split_whitespace().next().is_some_and(|first| first.contains('-')) {
                of_code = line.ends_with(".cwasm");
            } else if line.starts_with("Rss:") {
                memory.resident += kib(line);
                memory.code += if of_code { kib(line) } else { 0 };
            } else if line.starts_with("Size:") && of_code {
                memory.mapped += kib(line);
            }
        }
        memory
    }

    fn beyond(&self) -> usize {
        self.resident - self.code
    }

    fn told(&self) -> String {
        let mib = |kib: usize| kib as f64 / 1_024.0;
        let Self { resident, code, mapped } = self;
        let (beyond, resident, code, mapped) = (mib(self.beyond()), mib(*resident), mib(*code), mib(*mapped));
        format!("{beyond:.1} MiB ({resident:.1} MiB, of which code {code:.1} MiB of {mapped:.1} MiB)")
    }
}

/// Alerts that only one policy takes each, the time between the entry that it came and the one that it was decided.
async fn decisions(server: &Server, data: &Path) -> Vec<Duration> {
    let mut connection = Connection::open(server.port()).await.unwrap();
    for number in (0..POLICIES).step_by(POLICIES / ALERTS) {
        let labels = format!(r#"{{"alertname":"Down","service":"s-{number}","severity":"critical"}}"#);
        let alert = format!(r#"{{"status":"firing","labels":{labels},"annotations":{{}},"startsAt":"{}"}}"#, Time::now());
        let request = webhook(&format!(r#"{{"version":"4","status":"firing","alerts":[{alert}]}}"#));
        assert_eq!(connection.send(&request).await.unwrap(), 200);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begun = Instant::now();
    loop {
        let (mut opened, mut took) = (std::collections::HashMap::new(), Vec::new());
        for entry in Reader::open(data).unwrap().tail(0, usize::MAX).unwrap() {
            match entry.event {
                Event::Opened { .. } => drop(opened.insert(entry.incident, entry.at)),
                Event::Decided(answer) => {
                    assert!(answer.decision.is_ok(), "{answer:?}");
                    took.extend(
                        opened.remove(&entry.incident).map(|at| Duration::from_millis((entry.at.0 - at.0).max(0) as u64)),
                    );
                }
                _ => {}
            }
        }
        if took.len() >= ALERTS {
            return took;
        }
        assert!(begun.elapsed() < PATIENCE, "only {} of {ALERTS} alerts were decided", took.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Changes one policy and has it taken over, some times.
async fn reloads(server: &Server, folder: &Path) -> Vec<Duration> {
    let mut took = Vec::new();
    for round in 1..=RELOADS {
        std::fs::write(file(folder, 500), policy(500, 30 + round)).unwrap();
        let mut connection = Connection::open(server.port()).await.unwrap();
        let begun = Instant::now();
        let request = b"POST /-/reload HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(connection.send(request).await.unwrap(), 200);
        took.push(begun.elapsed());
        tokio::time::sleep(BETWEEN).await;
    }
    took
}

fn check(binary: &Path, folder: &Path) -> String {
    let begun = Instant::now();
    let output = Command::new(binary).args(["check", "--config"]).arg(folder.join("paramedic.yaml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let warnings = String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.starts_with("warning")).count();
    format!("{} ({warnings} warnings)", ms(begun.elapsed()))
}

fn told(took: &[Duration]) -> String {
    let mut took = took.to_vec();
    took.sort_unstable();
    format!("p50 {}, slowest {}", ms(took[took.len() / 2]), ms(took[took.len() - 1]))
}

fn ms(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1_000.0)
}
