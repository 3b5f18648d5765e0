//! The engine of incidents in a simulated world: whatever goes wrong, and whenever the server is killed, no invariant is broken.
//!
//! The rooms are the real ones: intake, healer, authorisation with its brakes, execution, verification. Simulated are what they touch: the
//! journal's disk, Docker, playbooks, detectors, senders, people, and the clock. A plan says what goes wrong; it is random, and
//! one that breaks something is shrunk to the smallest that still does.
//!
//! `SCHEDULES=n` says how many plans (2,000 if nothing is said; 100,000 in `make test`), `SEED=n` which ones.

mod brakes;
mod families;
mod plan;
mod process;
mod rules;
pub(crate) mod store;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use plan::{Cure, Deed, Firing, Plan, Rung, Trouble, plans};
use process::Record;

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    if text.is_empty() { default } else { text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")) }
}

/// The story of a run, for the one who has to find out why it broke.
fn told(record: &Record) -> String {
    let disk = record.disk.lock().unwrap();
    let lines = disk.entries.iter().map(|entry| {
        let text = paramedic::incident::timeline::tell([(entry.at, &entry.event)]).pop().map_or(String::new(), |line| line.text);
        format!(
            "{:8.3} {} {}: {text}\n",
            world::second(entry.at),
            entry.incident.key.as_str().get(..4).unwrap_or(""),
            entry.incident.n
        )
    });
    let effects =
        record.world.effects().into_iter().map(|effect| format!("{:8.3} DONE {:?}\n", world::second(effect.at), effect.what));
    lines.chain(effects).collect()
}

#[test]
fn no_schedule_breaks_an_invariant() {
    let schedules = setting("SCHEDULES", 2_000);
    let seed = setting("SEED", 20_261_124);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let (acted, healed) = (AtomicU64::new(0), AtomicU64::new(0));
    let happened: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let work = |thread: u64| -> Option<Box<TestError<Plan>>> {
        let share = u32::try_from(schedules.div_ceil(threads)).unwrap();
        let config = Config { cases: share, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&thread.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let ended = runner.run(&plans(), |plan| {
            let record = process::run(&plan);
            acted.fetch_add(record.world.effects().len() as u64, Ordering::Relaxed);
            healed.fetch_add(u64::from(told_healed(&record)), Ordering::Relaxed);
            for what in families::happened(&record) {
                *happened.lock().unwrap().entry(what).or_default() += 1;
            }
            let broken = rules::broken(&record);
            prop_assert!(broken.is_empty(), "{}", broken.join("\n"));
            Ok(())
        });
        ended.err().map(Box::new)
    };
    let failures: Vec<Box<TestError<Plan>>> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        all.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    if let Some(TestError::Fail(why, plan)) = failures.into_iter().next().map(|failure| *failure) {
        let record = process::run(&plan);
        panic!("SEED={seed}: {why}\nby this plan:\n{plan:#?}\n{}", told(&record));
    }
    let (acted, healed) = (acted.into_inner(), healed.into_inner());
    let happened = happened.into_inner().unwrap();
    println!("simulation: {happened:?}");
    println!("simulation: {schedules} schedules, {acted} actions, {healed} with a healed incident, none broke an invariant");
    assert!(acted > schedules / 2 && healed > schedules / 10, "too little happened in them to prove anything");
    let missing: Vec<_> = families::all_that_happens().filter(|what| !happened.contains_key(what)).collect();
    assert!(missing.is_empty() || schedules < 1_000, "never happened, so nothing is proved of it: {missing:?}");
}

fn told_healed(record: &Record) -> bool {
    use paramedic::incident::Closing;
    record.disk.lock().unwrap().incidents().any(|incident| incident.closing() == Some(Closing::Healed))
}

/// A container that crashes again and again, seen as three alerts, for an hour: each comes back so many seconds after a restart has helped.
fn crash_loop(cure: Cure, again: u16) -> Plan {
    let firing = |at| Firing { service: 0, at, cure, again: Some(again), webhook: true, post: true, listed: true, lag: 2 };
    Plan {
        firings: [1, 3, 8].map(firing).to_vec(),
        troubles: Vec::new(),
        kills: Vec::new(),
        ladder: vec![Rung::Restart; 20],
        cooldown: 30,
        attempts: 5,
        actions: (100, 0),
        policy_actions: (100, 0),
        concurrent: 3,
        policy_concurrent: 1,
        minimum_healthy: false,
        takes: 2,
        heals_deliberate: true,
        acts_unsure: false,
        approve: false,
        two_policies: false,
        storms: false,
        forgets: false,
        crash_loop: true,
        window: 1_800,
        length: 3_600,
    }
}

#[test]
fn a_crash_loop_under_three_names_is_five_actions_and_one_call_in_an_hour() {
    use paramedic::incident::Event;
    // Restarting helps for a minute, or for three, or never; or the policy knows only one rung, and then a person.
    let short = Plan { ladder: vec![Rung::Restart], ..crash_loop(Cure::Nothing, 1) };
    let plans =
        [(crash_loop(Cure::Restart, 60), 5), (crash_loop(Cure::Restart, 180), 5), (crash_loop(Cure::Nothing, 1), 5), (short, 1)];
    for (plan, actions) in plans {
        let record = process::run(&plan);
        assert_eq!(rules::broken(&record), Vec::<String>::new(), "{}", told(&record));
        let disk = record.disk.lock().unwrap();
        let calls = disk.entries.iter().filter(|entry| matches!(entry.event, Event::Escalated { .. })).count();
        drop(disk);
        assert_eq!((record.world.effects().len(), calls), (actions, 1), "{}", told(&record));
    }
}

/// One alert about one container, in a calm world, of which this goes wrong.
fn calm(ladder: Vec<Rung>, cure: Cure, again: Option<u16>, troubles: Vec<(u16, u8, Trouble)>) -> Plan {
    let plan = crash_loop(cure, 0);
    let firings = vec![Firing { at: 1, again, ..plan.firings[0].clone() }];
    Plan { firings, troubles, ladder, heals_deliberate: false, crash_loop: false, length: 400, ..plan }
}

#[test]
fn a_pause_by_a_person_holds_although_we_restarted_it_before_and_one_of_ours_holds_nobody() {
    use paramedic::incident::{Event, Rule};
    let held = |record: &Record| {
        let disk = record.disk.lock().unwrap();
        disk.entries.iter().filter(|entry| matches!(&entry.event, Event::Held { rule: Rule::DeliberateStop, .. })).count()
    };
    // After the first restart a person pauses it for a minute and a half: the second one waits.
    let person = calm(vec![Rung::Restart; 2], Cure::Nothing, None, vec![(30, 90, Trouble::Paused(0))]);
    let record = process::run(&person);
    assert_eq!(rules::broken(&record), Vec::<String>::new(), "{}", told(&record));
    let times: Vec<f64> = record.world.effects().iter().map(|effect| world::second(effect.at)).collect();
    assert!(matches!(times[..], [first, second] if first < 30.0 && second >= 120.0), "{times:?}\n{}", told(&record));
    assert!(held(&record) > 0, "{}", told(&record));

    // What the first incident paused is not a person's will to the second one, whether or not the engine remembers.
    for forgets in [false, true] {
        let own = Plan { forgets, ..calm(vec![Rung::Act(vec![Deed::Pause])], Cure::Alone(100), Some(60), Vec::new()) };
        let record = process::run(&own);
        assert_eq!(rules::broken(&record), Vec::<String>::new(), "{}", told(&record));
        let disk = record.disk.lock().unwrap();
        let allowed = disk.entries.iter().filter(|entry| matches!(entry.event, Event::Intended { .. })).count();
        drop(disk);
        assert_eq!((allowed, held(&record)), (2, 0), "forgets {forgets}: {}", told(&record));
    }
}

#[test]
fn a_message_is_neither_work_on_the_container_nor_a_repair_that_was_tried() {
    let notify = || Rung::Act(vec![Deed::Notify]);
    let told_at = |record: &Record| -> Vec<(bool, f64)> {
        let said = |what: &world::What| matches!(what, world::What::Said { .. });
        record.world.effects().iter().map(|effect| (said(&effect.what), world::second(effect.at))).collect()
    };
    // Right after the message a person stops the container: that is not our doing, and the restart waits.
    let stopped = calm(vec![notify(), Rung::Wait(10)], Cure::Nothing, None, vec![(6, 90, Trouble::Stopped(0))]);
    let record = process::run(&stopped);
    assert_eq!(rules::broken(&record), Vec::<String>::new(), "{}", told(&record));
    let done = told_at(&record);
    assert!(matches!(done[..], [(true, _), (false, restarted)] if restarted >= 96.0), "{done:?}\n{}", told(&record));

    // One incident told somebody and was left to a person: another one about the same container goes on.
    let one = calm(vec![notify()], Cure::Nothing, None, Vec::new());
    let firings = vec![one.firings[0].clone(), Firing { at: 100, ..one.firings[0].clone() }];
    let record = process::run(&Plan { firings, ..one });
    assert_eq!(rules::broken(&record), Vec::<String>::new(), "{}", told(&record));
    let done = told_at(&record);
    assert!(matches!(done[..], [(true, _), (true, second)] if second < 150.0), "{done:?}\n{}", told(&record));
}
