//! What a broken or hostile plugin tries, each kind with the words in which it is told.

use std::time::{Duration, Instant};

use paramedic::decide::sandbox::{Failure, Limits};
use paramedic::incident::Decision;

use super::raw::Raw;
use super::{ask, assert_others_go_on, guests, patient, sandbox};

/// Every misbehaviour ends as its own failure, and the next decision is fine.
#[tokio::test(flavor = "multi_thread")]
async fn each_ends_as_its_own_failure() {
    let cases = [
        ("panic", "the plugin crashed: it gave up (`unreachable`): "),
        ("trap", "the plugin crashed: it gave up (`unreachable`)"),
        ("overflow", "attempt to add with overflow"),
        ("recurse", "called itself until its stack was full"),
        ("exit", "broke its contract: it ended its own process instead of answering"),
        ("eat-memory", "wanted more than 64 MiB of memory, the policy's `limits.memory`"),
        ("eat-memory-slowly", "wanted more than 64 MiB of memory, the policy's `limits.memory`"),
        ("huge-reason", "broke its contract: it handed over more than 1 MiB at once"),
        ("many-proposals", "broke its contract: it made more than 64 proposals"),
        ("act-empty", "broke its contract: it answered `act` without any proposal"),
        ("act-17", "broke its contract: it answered `act` with 17 proposals; 16 are allowed"),
        ("huge-target", "broke its contract: the target of a proposal is 102400 bytes long; 1024 are allowed"),
        ("playbook-huge-vars", "broke its contract: the variables of a playbook are "),
        ("keep-variables", "broke its contract: a proposal has 20000 variables; 256 are allowed"),
        ("keep-silences", "broke its contract: its proposals are more than 512 KiB long together"),
        ("error", "the plugin could not decide: �red"),
        ("no-such-verb", "the plugin could not decide: no guest knows how to"),
    ];
    for (verb, words) in cases {
        let said = ask(verb, &patient()).await.decision.unwrap_err().to_string();
        assert!(said.contains(words), "{verb}: {said}");
        assert!(!said.contains(|c: char| c.is_control()), "{verb}: {said:?}");
        assert_others_go_on().await;
    }
}

/// What is made and dropped is not counted, and neither is what fits.
#[tokio::test(flavor = "multi_thread")]
async fn large_proposals_may_be_kept_as_long_as_they_fit() {
    assert_eq!(ask("keep-texts:60", &patient()).await.decision.unwrap().reason(), "60 were kept");
    assert_eq!(ask("keep-silences:1", &patient()).await.decision.unwrap().reason(), "1 were kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_in_the_plugins_own_words() {
    let ruling = ask("panic", &patient()).await;
    let said = ruling.decision.unwrap_err().to_string();
    assert!(said.contains("panicked at tests/guests/src/harm.rs") && said.contains("a plugin's own words: �boom"), "{said}");
    assert!(ruling.log.iter().any(|line| line.level == "error" && line.message.contains("own words")), "{:?}", ruling.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_ended_at_the_deadline() {
    let limits = Limits { deadline: Duration::from_millis(250), ..Limits::default() };
    for verb in ["spin", "ask-for-ever", "fill:48", "copy:48", "fill:1", "copy:1"] {
        guests().await;
        let began = Instant::now();
        let ruling = ask(verb, &limits).await;
        let took = began.elapsed();
        assert_eq!(ruling.decision, Err(Failure::Deadline(limits.deadline)), "{verb}");
        assert!(took >= limits.deadline && took < 2 * limits.deadline, "{verb} was ended after {took:?}");
        assert!(u128::from(ruling.micros) >= limits.deadline.as_micros(), "{verb}");
        assert_others_go_on().await;
    }
}

/// Host calls are the plugin's own time, however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_calls_costs_the_plugins_own_time() {
    let patient = Limits { deadline: Duration::from_secs(20), ..Limits::default() };
    assert_eq!(ask("now-flood", &patient).await.decision.unwrap().reason(), "3000");
    let short = Limits { deadline: Duration::from_millis(5), ..Limits::default() };
    assert_eq!(ask("now-flood", &short).await.decision, Err(Failure::Deadline(short.deadline)));
}

/// On a runtime with one thread a plugin that computes for ever must still let the rest of the program run.
#[tokio::test(flavor = "current_thread")]
async fn a_spinning_plugin_does_not_stop_the_runtime() {
    guests().await;
    let spinning =
        tokio::spawn(async { ask("spin", &Limits { deadline: Duration::from_millis(500), ..Limits::default() }).await });
    let began = Instant::now();
    let mut turns = 0;
    while !spinning.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        turns += 1;
    }
    assert!(turns >= 10, "the runtime came round {turns} times in {:?}", began.elapsed());
    assert!(matches!(spinning.await.unwrap().decision, Err(Failure::Deadline(_))));
}

/// What a plugin does while it is loaded is kept away from whoever else has the thread: one `memory.fill` cannot be interrupted.
#[tokio::test(flavor = "current_thread")]
async fn plugins_that_fill_their_memory_while_they_are_loaded_do_not_stop_the_runtime() {
    let fill = "(loop $again (memory.fill (i32.const 0) (i32.const 7) (i32.const 262000000)) (br $again)) (unreachable)";
    let describes = Raw { describe: fill, pages: 4_000, ..Raw::default() }.component();
    let checks = Raw { check: fill, pages: 4_000, ..Raw::default() }.component();
    let checks = sandbox().load("checks.wasm", &checks).await.unwrap();
    let describing = tokio::spawn(async move { sandbox().load("describes.wasm", &describes).await.map(drop) });
    let checking = tokio::spawn(async move { checks.check_settings(&serde_json::Value::Null).await });
    let mut turns = 0;
    while !describing.is_finished() || !checking.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        turns += 1;
    }
    assert!(turns >= 300, "the runtime came round {turns} times");
    let told = describing.await.unwrap().unwrap_err().to_string();
    assert!(told.contains("asked to describe itself, it failed: the plugin gave no answer within 5.0 s"), "{told}");
    let told = checking.await.unwrap();
    assert_eq!(told, ["asked to check them, it failed: the plugin gave no answer within 5.0 s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_go_on_beside_plugins_that_spin() {
    guests().await;
    let long = Limits { deadline: Duration::from_secs(2), ..Limits::default() };
    let spinning: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn({
                let long = long.clone();
                async move { ask("spin", &long).await }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..20 {
        assert_others_go_on().await;
    }
    assert!(spinning.iter().all(|task| !task.is_finished()), "the neighbours were too slow to be beside them");
    for task in spinning {
        assert_eq!(task.await.unwrap().decision, Err(Failure::Deadline(long.deadline)));
    }
}

/// More questions than places wait their turn; none is lost and none hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_waits_for_a_place() {
    guests().await;
    let crowd: Vec<_> =
        (0..200).map(|n| tokio::spawn(async move { ask(if n % 4 == 0 { "panic" } else { "pass" }, &patient()).await })).collect();
    let mut passed = 0;
    for task in crowd {
        passed += usize::from(task.await.unwrap().decision.is_ok());
    }
    assert_eq!(passed, 150);
}

/// Who stops waiting for an answer gives the place back.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_question_leaves_nothing_behind() {
    guests().await;
    let long = Limits { deadline: Duration::from_secs(60), ..Limits::default() };
    let spinning: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn({
                let long = long.clone();
                async move { ask("spin", &long).await }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    spinning.iter().for_each(tokio::task::JoinHandle::abort);
    assert_others_go_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_is_what_the_policy_allows() {
    let limits = Limits { memory: 8 << 20, ..patient() };
    assert_eq!(ask("eat-memory-slowly", &limits).await.decision, Err(Failure::Memory(8 << 20)));
    assert!(matches!(ask("pass", &limits).await.decision, Ok(Decision::Pass { .. })));
    // What is not enough to start is the same fault, told the same way.
    let none = Limits { memory: 64 << 10, ..patient() };
    assert_eq!(ask("pass", &none).await.decision, Err(Failure::Memory(64 << 10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_are_cut_and_the_answer_still_counts() {
    for (verb, first) in [("log-flood", "line 0"), ("stdout-flood", "line 0 xxx"), ("stderr-flood", "line 0 xxx")] {
        let ruling = ask(verb, &Limits { deadline: Duration::from_secs(20), ..Limits::default() }).await;
        assert!(ruling.decision.is_ok(), "{verb}: {:?}", ruling.decision);
        assert_eq!(ruling.log.len(), 101, "{verb}");
        assert!(ruling.log[0].message.starts_with(first), "{verb}: {:?}", ruling.log[0]);
        assert!(ruling.log[100].message.ends_with("more lines were not kept"), "{verb}: {:?}", ruling.log[100]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_and_ugly_text_is_bounded_and_cleaned() {
    let log = ask("long-log", &patient()).await.log;
    assert_eq!(log[0].message.chars().count(), 1000);
    assert_eq!((log[1].level.as_str(), log[1].message.as_str()), ("warn", "�red�� second line"));
    let reason = ask("long-reason", &patient()).await.decision.unwrap().reason().to_owned();
    assert_eq!(reason.chars().count(), 2000);
    let ugly = ask("escapes", &patient()).await.decision.unwrap().reason().to_owned();
    assert!(
        ugly.contains("red") && !ugly.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{2069}').contains(&c)),
        "{ugly:?}"
    );
    assert_eq!(ask("empty-reason", &patient()).await.decision.unwrap().reason(), "(it gave no reason)");
    let error = ask("huge-error", &patient()).await.decision.unwrap_err().to_string();
    assert!(error.chars().count() < 2100, "{}", error.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_a_day_at_most() {
    let decision = ask("long-wait", &patient()).await.decision;
    assert_eq!(decision, Ok(Decision::Wait { reason: "not yet".into(), millis: 24 * 60 * 60 * 1000 }));
}

/// Proposals that were dropped do not count: nothing was made by them.
#[tokio::test(flavor = "multi_thread")]
async fn proposals_may_be_made_and_dropped() {
    assert!(matches!(ask("churn", &patient()).await.decision, Ok(Decision::Pass { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_gets_a_fresh_deaf_sandbox() {
    for (verb, seen) in [("remember", "asked 1 times"), ("snoop", "args 0 vars 0 stdin 0")] {
        for _ in 0..2 {
            assert_eq!(ask(verb, &patient()).await.decision.unwrap().reason(), seen);
        }
    }
    assert_eq!(ask("hash", &patient()).await.decision, ask("hash", &patient()).await.decision);
}

/// A name with escapes must not become a valid one by being cleaned, and a plugin may propose what it did not declare:
/// authorisation refuses that, and says so in the journal.
#[tokio::test(flavor = "multi_thread")]
async fn odd_proposals_come_back_as_they_are_to_be_refused() {
    for verb in
        ["act:local/we\u{1b}[0mb", "act:../containers/prune?x=", "act:local/\u{202e}bew", "undeclared", "playbook-not-json"]
    {
        let decision = ask(verb, &patient()).await.decision.unwrap();
        let Decision::Act { proposals, .. } = decision else { panic!("{verb}: {decision:?}") };
        let target = proposals[0].target();
        assert!(!target.contains(|c: char| c.is_control()), "{verb}: {target:?}");
        let valid = target.parse::<paramedic::action::Target>().is_ok();
        assert_eq!(valid, !verb.starts_with("act:"), "{verb}: {target:?}");
    }
}
