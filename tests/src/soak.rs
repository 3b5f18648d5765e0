//! The crash soak: the server is killed with SIGKILL again and again while alerts keep coming and actions are under way; then everything is
//! laid beside what was seen from the outside.
//!
//! Real server binary, real Docker engine, real `ansible-playbook`. A round is one kill. `ROUNDS` and `SEED` come from the
//! environment (`make soak ROUNDS=200 SEED=7`); the same test runs shortly among all others. The seed decides what is sent and when
//! it is killed, not what the machine makes of it.

mod check;
pub(crate) mod dice;
mod senders;
mod ward;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use paramedic::clock::Time;
use serde::Deserialize;

use check::{Evidence, Labels, Report};
use dice::Dice;
use senders::{Memory, Senders};
use ward::Ward;

use crate::programs::reqwest_client;

/// Kills when nobody says another number.
const FEW: u64 = 8;
/// In every so many rounds a person sees to what is escalated.
const EVERY: u64 = 3;
/// From so many kills on every brake has to have been felt: a soak that brakes nothing proves nothing about brakes.
const MANY: u64 = 200;
/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(10);
/// How long a server may take to be ready, on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// How long the awaited moment may take to come; then it is killed anyway.
const AWAITED: Duration = Duration::from_secs(5);
/// How long the last alerts may take to be acknowledged, and how long the stories to come to their ends.
const SETTLE: Duration = Duration::from_secs(150);

/// When the server is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it was started, ready or not.
    Starting(Duration),
    /// So long after it was ready.
    Working(Duration),
    /// So long after the engine told of something that is done to a container.
    Restarting(Duration),
    /// So long after a playbook counted itself.
    Playing(Duration),
}

impl Moment {
    fn of(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..10 => Self::Starting(dice.millis(0, 400)),
            10..45 => Self::Working(dice.millis(0, 4_000)),
            45..75 => Self::Restarting(dice.millis(0, 200)),
            _ => Self::Playing(dice.millis(0, 2_500)),
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`: write a whole number, such as {name}=200")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_and_no_brake_exceeded_whenever_it_is_killed() {
    let rounds = number("ROUNDS").unwrap_or(FEW);
    let seed = number("SEED").unwrap_or_else(|| Time::now().0.unsigned_abs() % 1_000_000);
    println!("soak: {rounds} rounds with SEED={seed}");
    let mut ward = Ward::open();
    // Cancelled at the next `await`, so that what was started is ended also then.
    let soaked = tokio::select! {
        soaked = soak(&mut ward, rounds, seed) => soaked,
        _ = tokio::signal::ctrl_c() => panic!("stopped by a person"),
    };
    let (evidence, mut faults) = soaked;
    let report = check::check(&evidence, &ward.brakes());
    faults.extend(ward.broke_off());
    faults.extend(ward.paramedic(&["journal", "verify"]).err().map(|why| format!("journal verify: {why}")));
    if rounds >= MANY {
        faults.extend(
            unfelt(&report, &evidence).map(|rule| format!("nothing was ever held or refused by {rule}: the soak is too gentle")),
        );
    }
    tell(&evidence, &report, &faults, rounds);
    let clean = report.lost.is_empty() && report.doubled.is_empty() && report.over_brake.is_empty();
    assert!(clean && faults.is_empty(), "the particulars stand above; SEED={seed} ROUNDS={rounds} repeats it");
}

/// Kills the server so often, lets everything come to its end, and gathers the evidence.
async fn soak(ward: &mut Ward, rounds: u64, seed: u64) -> (Evidence, Vec<String>) {
    let mut dice = Dice::new(seed);
    let mut faults = Vec::new();
    let senders = Senders::start(&ward.url, ward.wounds(), dice.next());
    let (began, mut told) = (Instant::now(), Instant::now());
    for round in 1..=rounds {
        ward.start();
        if round % EVERY == 0 {
            see_to_what_is_escalated(ward).await;
        }
        await_moment(ward, Moment::of(&mut dice)).await;
        faults.extend(ward.kill().err());
        tokio::time::sleep(dice.millis(0, 300)).await;
        if told.elapsed() >= TELL {
            told = Instant::now();
            let (acknowledged, (runs, seconds)) = (senders.acknowledged(), (ward.runs().len(), began.elapsed().as_secs()));
            println!(
                "soak: round {round} of {rounds} after {seconds} s: {acknowledged} acknowledged, {runs} playbooks run, {} faults",
                faults.len()
            );
        }
    }
    ward.start();
    println!(
        "soak: killed {rounds} times in {} s; now everything is resolved and has to come to its end",
        began.elapsed().as_secs()
    );
    let Memory { told, forgotten, wrong } = senders.finish(SETTLE).await;
    println!("soak: all of it is acknowledged after {} s", began.elapsed().as_secs());
    faults.extend(wrong.into_iter().map(|answer| format!("a right alert was answered {answer}")));
    settle(ward, &forgotten).await;
    println!("soak: nothing moves any more after {} s", began.elapsed().as_secs());
    faults.extend(ward.stop().err());
    let (journal, restarts, runs) = (ward.journal(), ward.restarts(), ward.runs());
    (Evidence { told, forgotten, journal, restarts, runs }, faults)
}

/// A person closes what is escalated: a target whose attempts are spent is that person's, and nothing is done about it before that.
async fn see_to_what_is_escalated(ward: &Ward) {
    ready(ward).await;
    let listed = ward.paramedic(&["incident", "list", "--state", "escalated", "--limit", "1000", "--output", "json"]);
    for incident in serde_json::from_str::<Vec<Open>>(&listed.unwrap()).unwrap() {
        // It may be over by now.
        drop(ward.paramedic(&["incident", "close", &incident.id, "--reason", "seen to"]));
    }
}

async fn await_moment(ward: &Ward, moment: Moment) {
    if let Moment::Starting(after) = moment {
        return tokio::time::sleep(after).await;
    }
    ready(ward).await;
    let (engine, playbooks) = ward.noise();
    let after = match moment {
        Moment::Starting(after) | Moment::Working(after) => after,
        Moment::Restarting(after) => {
            until(|| ward.noise().0 > engine).await;
            after
        }
        Moment::Playing(after) => {
            until(|| ward.noise().1 > playbooks).await;
            after
        }
    };
    tokio::time::sleep(after).await;
}

async fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < AWAITED {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A server that does not come up is seen when it is killed.
async fn ready(ward: &Ward) {
    let (client, url, begun) = (reqwest_client(), format!("{}/-/ready", ward.url), Instant::now());
    while begun.elapsed() < READY && !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until everything that is resolved is closed; then halts what was left firing, and waits until that rests. When time is up,
/// the check tells what did not come to its end.
async fn settle(ward: &Ward, forgotten: &BTreeSet<Labels>) {
    let open = || {
        let listed = ward.paramedic(&["incident", "list", "--open", "--limit", "1000000", "--output", "json"]).unwrap();
        serde_json::from_str::<Vec<Open>>(&listed).unwrap()
    };
    wait_for(|| open().iter().all(|incident| forgotten.contains(&incident.labels))).await;
    ward.halt();
    wait_for(|| open().iter().all(|incident| matches!(incident.state.as_str(), "held" | "escalated"))).await;
}

/// A line of `paramedic incident list`.
#[derive(Deserialize)]
struct Open {
    id: String,
    state: String,
    labels: Labels,
}

async fn wait_for(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < SETTLE && !is_so() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The brakes that nothing ran into.
fn unfelt(report: &Report, evidence: &Evidence) -> impl Iterator<Item = &'static str> {
    let rules = ["cooldown", "attempts-spent", "target-busy", "minimum-healthy"];
    // These are said of policies and of everything.
    let named = [
        "brakes.actions of policy",
        "brakes.actions of paramedic.yaml",
        "brakes.concurrent of policy",
        "brakes.concurrent of paramedic.yaml",
    ];
    let said = |name: &str| {
        let stopped = evidence.journal.iter().filter(|line| matches!(line.event["kind"].as_str(), Some("held" | "refused")));
        stopped.filter_map(|line| line.event["message"].as_str()).any(|message| message.contains(name))
    };
    let unsaid = named.into_iter().filter(|name| !said(name)).collect::<Vec<_>>();
    rules.into_iter().filter(|rule| !report.rules.contains_key(*rule)).chain(unsaid)
}

/// The particulars, then the last line.
fn tell(evidence: &Evidence, report: &Report, faults: &[String], rounds: u64) {
    let kinds = [("lost", &report.lost), ("doubled", &report.doubled), ("over_brake", &report.over_brake)];
    for (kind, found) in kinds {
        found.iter().for_each(|particular| println!("{kind}: {particular}"));
    }
    faults.iter().for_each(|fault| println!("fault: {fault}"));
    println!(
        "soak: {} restarts and {} playbooks seen, {} entries",
        evidence.restarts.len(),
        evidence.runs.len(),
        evidence.journal.len()
    );
    println!("soak: ends {:?}", report.ends);
    println!("soak: held or refused {:?}", report.rules);
    let [lost, doubled, over_brake] = kinds.map(|(_, found)| found.len());
    let (alerts, actions) = (report.alerts, report.actions);
    println!("soak: rounds={rounds} alerts={alerts} actions={actions} lost={lost} doubled={doubled} over_brake={over_brake}");
}
