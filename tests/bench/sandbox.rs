//! What a decision costs, and what plugins that misbehave cost the others: in this process, with the library that the server is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paramedic::alert::{Alert, Family, Labels, Status};
use paramedic::clock::Time;
use paramedic::decide::lookup::{Blind, Lookups, Recorded};
use paramedic::decide::sandbox::{Brief, Limits, Plugin, Sandbox};
use paramedic::incident::lookup::{Found, FoundContainer, Lookup, Sample};
use paramedic::incident::{Decision, TargetView, Trigger};
use serde_json::{Value, json};

use crate::row;

/// Where cargo puts components, below the target folder.
const COMPONENTS: &str = "wasm32-wasip2/plugin";
const WARM: usize = 2_000;
const TIMES: usize = 50_000;
/// Decisions of the neighbour, one each millisecond: about as many as a storm brings.
const NEIGHBOUR: usize = 4_000;
const STOPS: usize = 40;

pub async fn measure() {
    let sandbox = Sandbox::new(None).unwrap();
    let load = async |name: &str| {
        let file = Path::new(COMPONENTS).join(name);
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; `make bench` builds it", file.display()));
        sandbox.load(name, &bytes).await.unwrap()
    };
    let (plain, looks, guests) =
        (load("restart_container.wasm").await, load("examples/looks_twice.wasm").await, load("guests.wasm").await);
    let brief = question(json!({}), Arc::new(Blind));
    row("one decision, fresh sandbox (restart-container)", &told(asked(&plain, &brief).await));
    let brief = question(json!({}), Arc::new(answers()));
    let decided = looks.decide(&brief, &Limits::default()).await;
    assert!(matches!(decided.decision, Ok(Decision::Act { .. })) && decided.lookups.len() == 2, "{decided:?}");
    row("one decision, fresh sandbox, two lookups (answers there)", &told(asked(&looks, &brief).await));
    neighbours(&looks, &brief, &guests).await;
    stops(&guests).await;
    floods(&guests).await;
}

/// A plugin that is asked now and then, alone and beside others that compute without end.
async fn neighbours(plugin: &Arc<Plugin>, brief: &Brief, guests: &Arc<Plugin>) {
    for (spinning, verb) in [(0, "spin"), (1, "spin"), (1, "fill:48"), (8, "spin")] {
        let spinners: Vec<_> = (0..spinning).map(|_| tokio::spawn(for_ever(guests.clone(), verb))).collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (plugin, brief) = (plugin.clone(), brief.clone());
        let asking = tokio::spawn(async move {
            let mut times = Vec::with_capacity(NEIGHBOUR);
            for _ in 0..NEIGHBOUR {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let began = Instant::now();
                let ruling = plugin.decide(&brief, &Limits::default()).await;
                times.push(began.elapsed());
                assert!(ruling.decision.is_ok(), "{ruling:?}");
            }
            times
        });
        let what = match spinning {
            0 => "a decision each ms, nothing else".to_owned(),
            n => format!("... beside {n} that never end ({verb})"),
        };
        row(&what, &told(asking.await.unwrap()));
        spinners.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn for_ever(guests: Arc<Plugin>, verb: &'static str) {
    let brief = question(json!({ "do": verb }), Arc::new(Blind));
    loop {
        guests.decide(&brief, &Limits::default()).await;
    }
}

/// How long after its deadline a plugin is gone.
async fn stops(guests: &Arc<Plugin>) {
    for (verb, memory) in [("spin", 64), ("ask-for-ever", 64), ("fill:48", 64), ("fill:240", 256)] {
        let brief = question(json!({ "do": verb }), Arc::new(Blind));
        let limits = Limits { memory: memory << 20, ..Limits::default() };
        let mut late = Vec::new();
        for _ in 0..STOPS {
            let (guests, brief, limits) = (guests.clone(), brief.clone(), limits.clone());
            let took = tokio::spawn(async move {
                let began = Instant::now();
                guests.decide(&brief, &limits).await;
                began.elapsed()
            });
            late.push(took.await.unwrap().saturating_sub(Limits::default().deadline));
        }
        late.sort();
        let (half, most) = (late[STOPS / 2].as_secs_f64() * 1e3, late[STOPS - 1].as_secs_f64() * 1e3);
        row(&format!("ended after its deadline of 100 ms ({verb})"), &format!("p50 +{half:.1} ms, worst +{most:.1} ms"));
    }
}

/// What the host needs while sixteen plugins hand over as much as they can.
async fn floods(guests: &Arc<Plugin>) {
    for verb in ["keep-variables", "keep-silences", "look-many-labels", "huge-reason", "many-proposals"] {
        let before = resident_kib();
        let flooding: Vec<_> = (0..16).map(|_| tokio::spawn(for_ever(guests.clone(), verb))).collect();
        let mut most = 0;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            most = most.max(resident_kib());
        }
        flooding.iter().for_each(tokio::task::JoinHandle::abort);
        row(
            &format!("16 plugins hand over all they can ({verb})"),
            &format!("+{} MiB resident", most.saturating_sub(before) >> 10),
        );
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

async fn asked(plugin: &Arc<Plugin>, brief: &Brief) -> Vec<Duration> {
    let (plugin, brief) = (plugin.clone(), brief.clone());
    let asking = async move {
        plugin.bench(&brief, &Limits::default(), WARM).await;
        plugin.bench(&brief, &Limits::default(), TIMES).await
    };
    tokio::spawn(asking).await.unwrap()
}

fn told(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    format!("p50 {:.0} us, p99 {:.0} us", at(0.5), at(0.99))
}

fn question(settings: Value, lookups: Arc<dyn Lookups>) -> Brief {
    let labels =
        [("alertname", "WebDown"), ("container", "web"), ("severity", "critical"), ("instance", "http://shop.example:80")];
    let labels: Labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Brief {
        id: "0123456789abcdef-7".parse().unwrap(),
        alert: Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels,
            annotations: Labels::from([("summary".to_owned(), "web does not answer".to_owned())]),
            starts_at: Time(1_000),
            ends_at: None,
            generator_url: "http://prometheus:9090/graph?g0.expr=probe_success".to_owned(),
            fingerprint: None,
        },
        first_seen: Time(2_000),
        trigger: Trigger::Alert,
        attempts: Vec::new(),
        targets: vec![TargetView { target: "local/web".parse().unwrap(), inventory_host: None, state: "exited".to_owned() }],
        settings,
        now: Time(3_000),
        lookups,
    }
}

fn answers() -> Recorded {
    let container = FoundContainer {
        name: "local/web".to_owned(),
        id: "c15c57f6a541".repeat(5),
        image: "nginx:1.27".to_owned(),
        state: "exited".to_owned(),
        health: "none".to_owned(),
        exit_code: Some(137),
        labels: vec![("tier".to_owned(), "web".to_owned()), ("team".to_owned(), "shop".to_owned())],
        ..FoundContainer::default()
    };
    let metrics = Lookup::Metrics { query: r#"deploying{container="web"} == 1"#.to_owned() };
    Recorded::new([
        (Lookup::Container { target: "local/web".to_owned() }, Ok(Found::Container(container))),
        (metrics, Ok(Found::Metrics(Vec::<Sample>::new()))),
    ])
}
