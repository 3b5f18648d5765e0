//! The world of a soak: containers to restart, a playbook that counts its own runs, policies with tight brakes, the server as it
//! ships, and a witness who listens to the engine from the beginning.
//!
//! Everything is in one temporary folder, and everything ends with the value: server, witness, containers, playbooks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use paramedic::clock::Time;
use serde_json::Value;
use tempfile::TempDir;

use super::check::{Brakes, Deed, Line, Shared, TargetBrakes};
use crate::components::component;
use crate::crash::binary;
use crate::engine::Patient;

/// What is done about the alerts of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cure {
    Restart,
    Playbook,
    /// A restart, then the playbook.
    Ladder,
}

impl Cure {
    fn alert(self) -> &'static str {
        match self {
            Self::Restart => "NeedsRestart",
            Self::Playbook => "NeedsPlaybook",
            Self::Ladder => "NeedsLadder",
        }
    }
}

/// Policies: name, cure, how many containers, whether these end at once when they are asked to, and how many acts it does at once.
/// The containers that one policy restarts are a group, of which one has to stay healthy: by the policy's own rule where one act at a time
/// would do, by that of `paramedic.yaml` where it would not.
const POLICIES: [(&str, Cure, usize, bool, usize); 6] = [
    ("restart-stubborn", Cure::Restart, 2, false, 1),
    ("restart-polite", Cure::Restart, 2, true, 2),
    ("playbook-one", Cure::Playbook, 2, true, 1),
    ("playbook-other", Cure::Playbook, 1, false, 1),
    ("ladder-one", Cure::Ladder, 1, true, 1),
    ("ladder-other", Cure::Ladder, 1, false, 1),
];

/// The label by which the containers of one policy belong together.
const GROUP: &str = "paramedic.soak.group";

/// Attempts per target, actions of a policy and altogether, each in so many seconds; acts at once.
const ATTEMPTS: (usize, i64) = (3, 15);
const POLICY_ACTIONS: [(usize, i64); 2] = [(2, 10), (8, 40)];
const ACTIONS: [(usize, i64); 2] = [(9, 10), (24, 40)];
const CONCURRENT: usize = 2;

/// Seconds; a ladder's is longer than looking whether it helped takes, so that it is felt.
const fn cooldown(cure: Cure) -> i64 {
    if let Cure::Ladder = cure { 5 } else { 1 }
}

/// The world.
pub struct Ward {
    server: Option<Child>,
    witness: Child,
    /// Each with its policy's number.
    beds: Vec<(usize, Patient)>,
    config: PathBuf,
    /// Where the doors are.
    pub url: String,
    folder: TempDir,
}

impl Ward {
    /// Makes it all, but for the server.
    pub fn open() -> Self {
        let folder = TempDir::with_prefix("paramedic-soak-").unwrap();
        let mark = format!("paramedic.soak={}", folder.path().file_name().unwrap().to_string_lossy());
        let mut beds = Vec::new();
        let mut policies = Vec::new();
        for (number, (name, cure, count, polite, _)) in POLICIES.into_iter().enumerate() {
            let mut options = vec!["--stop-timeout", "1", "--label", &mark];
            options.extend(polite.then_some("--init"));
            let group = group(&mark, name);
            options.extend((cure == Cure::Restart).then_some(["--label", &group]).into_iter().flatten());
            let patients: Vec<Patient> = (0..count).map(|_| Patient::run(&options, &["wait"])).collect();
            policies.push((name, policy(number, &patients, &group)));
            beds.extend(patients.into_iter().map(|patient| (number, patient)));
        }
        let port = free_port();
        let config = write(folder.path(), port, &policies);
        let witness = listen(&mark, &folder.path().join("events"));
        let ward = Self { server: None, witness, beds, config, url: format!("http://127.0.0.1:{port}"), folder };
        ward.until_heard("start", ward.beds.len());
        ward
    }

    /// What an alert may be about: an alert's name, and a container. One of them is nobody's business.
    pub fn wounds(&self) -> Vec<(&'static str, Option<String>)> {
        let alert = |number: &usize| POLICIES[*number].1.alert();
        let mut wounds: Vec<_> = self.beds.iter().map(|(number, patient)| (alert(number), Some(patient.name.clone()))).collect();
        wounds.push(("NeedsNothing", None));
        wounds
    }

    /// The brakes as the files say them.
    pub fn brakes(&self) -> Brakes {
        let own = |cure| TargetBrakes { cooldown: cooldown(cure) * 1_000, attempts: ATTEMPTS.0, window: ATTEMPTS.1 * 1_000 };
        let targets: BTreeMap<String, TargetBrakes> =
            self.beds.iter().map(|(number, patient)| (format!("local/{}", patient.name), own(POLICIES[*number].1))).collect();
        let ms = |rates: &[(usize, i64)]| rates.iter().map(|(limit, seconds)| (*limit, seconds * 1_000)).collect();
        let all = targets.keys().cloned().collect();
        let mut shared =
            vec![Shared { what: "everything".to_owned(), targets: all, actions: ms(&ACTIONS), concurrent: CONCURRENT }];
        for (number, (name, cure, _, _, concurrent)) in POLICIES.into_iter().enumerate() {
            let own =
                self.beds.iter().filter(|(other, _)| *other == number).map(|(_, patient)| format!("local/{}", patient.name));
            let (what, targets) = (format!("policy {name}"), own.collect::<BTreeSet<_>>());
            shared.push(Shared { what, targets: targets.clone(), actions: ms(&POLICY_ACTIONS), concurrent });
            if cure == Cure::Restart {
                shared.push(Shared { what: format!("the group {name}"), targets, actions: Vec::new(), concurrent: 1 });
            }
        }
        Brakes { targets, shared }
    }

    /// Starts the server.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("server.log")).unwrap();
        let mut command = Command::new(binary());
        command
            .args(["--log", "warn", "serve", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(command.spawn().unwrap());
    }

    /// SIGKILL. Says so when the server had ended by itself.
    pub fn kill(&mut self) -> Result<(), String> {
        let mut server = self.server.take().unwrap();
        let before = server.try_wait().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        before.map_or(Ok(()), |status| Err(format!("the server had ended by itself: {status}\n{}", self.log_end())))
    }

    /// SIGTERM, which has to end well.
    pub fn stop(&mut self) -> Result<(), String> {
        let mut server = self.server.take().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(&server), rustix::process::Signal::TERM).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(45) {
            match server.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("a graceful stop ended with {status}\n{}", self.log_end())),
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        self.server = Some(server);
        Err("a graceful stop took longer than 45 s".to_owned())
    }

    /// Halts every action from now on, as an operator would.
    pub fn halt(&self) {
        std::fs::write(self.path("data/HALT"), "").unwrap();
    }

    /// The last lines that the servers logged.
    pub fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.path("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Faults of the server's own that it survived.
    pub fn broke_off(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path("server.log")).unwrap_or_default();
        let fault = |line: &&str| line.contains("panicked at") || line.contains("broke off by a fault");
        log.lines().filter(fault).map(str::to_owned).collect()
    }

    /// How much was heard of the engine, and of the playbooks, in bytes: it grows when something happens.
    pub fn noise(&self) -> (u64, u64) {
        let bytes = |file: &str| std::fs::metadata(self.path(file)).map_or(0, |metadata| metadata.len());
        (bytes("events"), bytes("runs"))
    }

    /// The journal, by the command that operators use.
    pub fn journal(&self) -> Vec<Line> {
        let printed = self.paramedic(&["journal", "tail", "-n", "10000000", "--output", "json"]).unwrap();
        let line = |text: &str| {
            let value: Value = serde_json::from_str(text).unwrap();
            let at = Time::parse(value["at"].as_str().unwrap()).unwrap().0;
            let incident = value["incident"].as_str().unwrap().to_owned();
            Line { pos: value["pos"].as_u64().unwrap(), incident, at, event: value["event"].clone() }
        };
        printed.lines().map(line).collect()
    }

    /// A command of the server's, about its journal.
    pub fn paramedic(&self, arguments: &[&str]) -> Result<String, String> {
        let ran = Command::new(binary()).args(arguments).arg("--data").arg(self.path("data")).output().unwrap();
        let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8_lossy(&ran.stderr).into_owned());
        if ran.status.success() { Ok(out) } else { Err(format!("{}: {out}{err}", ran.status)) }
    }

    /// All restarts the witness heard of, after making sure that the witness heard everything: a last event of ours is told to it as well.
    pub fn restarts(&mut self) -> Vec<Deed> {
        assert!(self.witness.try_wait().unwrap().is_none(), "docker events ended early");
        let bells: Vec<&str> = self.beds.iter().map(|(_, patient)| patient.id.as_str()).collect();
        for id in &bells {
            crate::engine::docker(&["kill", "--signal", "CONT", id]);
        }
        self.until_heard("\"signal\":\"18\"", bells.len());
        deeds(&std::fs::read_to_string(self.path("events")).unwrap())
    }

    /// All runs that counted themselves.
    pub fn runs(&self) -> Vec<Deed> {
        let lines = |file: &str| {
            let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
            text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
        };
        let ends = lines("ran");
        let deed = |line: Vec<String>| {
            let ended = ends.iter().find(|end| end[1] == line[1]).map(|end| end[3].parse().unwrap());
            Deed { container: line[2].clone(), intent: Some(line[0].clone()), began: line[3].parse().unwrap(), ended }
        };
        lines("runs").into_iter().map(deed).collect()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn until_heard(&self, what: &str, times: usize) {
        let begun = Instant::now();
        while std::fs::read_to_string(self.path("events")).unwrap().matches(what).count() < times {
            assert!(begun.elapsed() < Duration::from_secs(30), "docker events does not tell {times} times of {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends what servers that were killed have left running: everything whose arguments or environment name this folder.
    fn end_the_rest(&self) {
        let ours = self.folder.path().to_string_lossy().into_owned();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(rustix::process::Pid::from_raw);
            let names_it = |file: &str| {
                std::fs::read(process.path().join(file)).is_ok_and(|text| String::from_utf8_lossy(&text).contains(&ours))
            };
            if let Some(pid) = pid
                && (names_it("environ") || names_it("cmdline"))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        for child in self.server.iter_mut().chain([&mut self.witness]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.end_the_rest();
    }
}

/// The label of a policy's containers; of this soak alone.
fn group(mark: &str, policy: &str) -> String {
    format!("{GROUP}={}-{policy}", mark.rsplit('-').next().unwrap_or_default())
}

/// As files write several rates.
fn rates(rates: &[(usize, i64)]) -> String {
    let each: Vec<String> = rates.iter().map(|(limit, seconds)| format!("{limit} per {seconds}s")).collect();
    format!("[{}]", each.join(", "))
}

fn policy(number: usize, patients: &[Patient], group: &str) -> String {
    let (name, cure, _, _, concurrent) = POLICIES[number];
    let names: Vec<&str> = patients.iter().map(|patient| patient.name.as_str()).collect();
    let targets: Vec<String> = names.iter().map(|name| format!("local/{name}")).collect();
    let restart = format!("docker: {{restart: [{}]}}", targets.join(", "));
    let playbook = "ansible: [{playbook: count.yml, hosts: [localhost], vars: [container]}]";
    let (plugin, settings, grants) = match cure {
        Cure::Restart => ("restart-container", "grace_seconds: 1".to_owned(), restart),
        Cure::Playbook => {
            ("run-playbook", "playbook: count.yml, variables: {container: {label: container}}".to_owned(), playbook.to_owned())
        }
        Cure::Ladder => {
            ("restart-container", "grace_seconds: 1, then_playbook: count.yml".to_owned(), format!("{restart}, {playbook}"))
        }
    };
    let own_rule = cure == Cure::Restart && concurrent == 1;
    let healthy = if own_rule { format!(", minimum_healthy: [{{label: '{group}', count: 1}}]") } else { String::new() };
    format!(
        "name: {name}\nplugin: {plugin}.wasm\nmode: enforce\nmatch: ['alertname=\"{}\"', 'container=~\"{}\"']\n\
         settings: {{{settings}}}\ngrants: {{{grants}}}\nlimits: {{deadline: 10s}}\n\
         brakes: {{cooldown: {}s, actions: {}, concurrent: {concurrent}{healthy}}}\n\
         verify: {{within: 1s, stable: 500ms}}\n",
        cure.alert(),
        names.join("|"),
        cooldown(cure),
        rates(&POLICY_ACTIONS)
    )
}

/// Writes all files; gives the configuration's path.
fn write(folder: &Path, port: u16, policies: &[(&str, String)]) -> PathBuf {
    for part in ["policies", "plugins", "playbooks"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    for plugin in ["restart-container", "run-playbook"] {
        std::fs::write(folder.join("plugins").join(format!("{plugin}.wasm")), component(plugin)).unwrap();
    }
    for (name, text) in policies {
        std::fs::write(folder.join("policies").join(format!("{name}.yaml")), text).unwrap();
    }
    let count = |file: &str| {
        let file = folder.join(file);
        format!("echo \"$PARAMEDIC_INTENT $PARAMEDIC_RUN {{{{ container | quote }}}} $(date +%s%3N)\" >> {}", file.display())
    };
    let mut playbook =
        String::from("- hosts: localhost\n  gather_facts: false\n  tasks:\n  - name: count\n    ansible.builtin.shell: |\n");
    let sleep = "sleep \"$(printf %s \"$PARAMEDIC_RUN\" | cksum | awk '{printf \"%.3f\", $1 % 2000 / 1000}')\"";
    for line in [&count("runs"), sleep, &count("ran")] {
        let _ = writeln!(playbook, "      {line}");
    }
    std::fs::write(folder.join("playbooks/count.yml"), playbook).unwrap();
    let inventory = "all: {hosts: {localhost: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}}}\n";
    std::fs::write(folder.join("inventory.yml"), inventory).unwrap();
    let path = folder.join("paramedic.yaml");
    let text = format!(
        "listen: 127.0.0.1:{port}\nansible: {{playbooks: playbooks, deadline: 60s, profiles: {{default: {{inventory: inventory.yml}}}}}}\n\
         brakes: {{attempts: {} per {}s, actions: {}, concurrent: {CONCURRENT}, minimum_healthy: [{{label: {GROUP}, count: 1}}], storm: 1000 per 1m}}\n",
        ATTEMPTS.0,
        ATTEMPTS.1,
        rates(&ACTIONS)
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A port below those that the system hands out for connections: while the server is down, nobody else gets it by chance.
fn free_port() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..first + 500).find(free).expect("one of 500 ports is free")
}

fn listen(mark: &str, file: &Path) -> Child {
    let mut command = Command::new("docker");
    command.args(["events", "--since", "60s", "--filter", &format!("label={mark}"), "--format", "{{json .}}"]);
    command.stdin(Stdio::null()).stdout(File::create(file).unwrap()).spawn().unwrap()
}

/// Restarts, from their first event to their last.
fn deeds(events: &str) -> Vec<Deed> {
    let mut began: BTreeMap<String, i64> = BTreeMap::new();
    let mut deeds = Vec::new();
    for event in events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let container = event["Actor"]["Attributes"]["name"].as_str().unwrap_or_default().to_owned();
        let at = event["timeNano"].as_i64().unwrap() / 1_000_000;
        match event["Action"].as_str().unwrap_or_default() {
            "kill" | "die" | "stop" => drop(began.entry(container).or_insert(at)),
            "restart" => {
                let began = began.remove(&container).unwrap_or(at);
                deeds.push(Deed { container, intent: None, began, ended: Some(at) });
            }
            _ => {}
        }
    }
    deeds
}
