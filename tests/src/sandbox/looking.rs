//! Looking, where plugin and world do their worst: answers that never come, that come late, that are too large; questions without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use paramedic::clock::Time;
use paramedic::decide::lookup::{Lookups, MOST_BYTES, MOST_LOOKUPS, Recorded};
use paramedic::decide::sandbox::{Failure, Limits, Ruling};
use paramedic::incident::Decision;
use paramedic::incident::lookup::{Found, FoundContainer, Lookup, LookupError, Sample};
use serde_json::json;

use super::{assert_others_go_on, brief, guests, patient};

/// A world that answers after so long, with a list of so many samples; it counts who waits and who got an answer.
#[derive(Debug, Default)]
struct World {
    after: Duration,
    samples: usize,
    asked: AtomicU32,
    answered: AtomicU32,
}

impl Lookups for World {
    fn look<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Found, LookupError>> {
        async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if !self.after.is_zero() {
                tokio::time::sleep(self.after).await;
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
            let sample = Sample { labels: vec![("job".into(), "web".into())], value: 1.0, at: Time(3) };
            Ok(match lookup {
                Lookup::Containers { .. } => Found::Containers(Vec::new()),
                Lookup::Container { target } => Found::Container(FoundContainer { name: target.clone(), ..Default::default() }),
                Lookup::Log { .. } => Found::Log(Vec::new()),
                Lookup::Metrics { .. } => Found::Metrics(vec![sample; self.samples]),
                Lookup::History { .. } => Found::History(Vec::new()),
            })
        }
        .boxed()
    }
}

async fn ask(verb: &str, world: &Arc<World>, limits: &Limits) -> Ruling {
    let mut brief = brief(json!({ "do": verb }));
    brief.lookups = world.clone();
    guests().await.decide(&brief, limits).await
}

fn reason(ruling: &Ruling) -> &str {
    ruling.decision.as_ref().map_or("no decision", Decision::reason)
}

fn limits(deadline: u64, lookups: u64) -> Limits {
    let (deadline, lookups) = (Duration::from_millis(deadline), Duration::from_millis(lookups));
    Limits { deadline, lookups, ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_unavailable_and_the_plugin_still_decides() {
    let world = Arc::new(World { after: Duration::from_secs(3600), ..World::default() });
    let began = Instant::now();
    let ruling = ask("look", &world, &limits(2_000, 200)).await;
    let said = "no answer within 200 ms, the policy's `limits.lookups`";
    // The second question finds no time left: it is asked, and not waited for.
    assert_eq!(reason(&ruling), format!("unavailable: {said} unavailable: {said}"));
    assert!(began.elapsed() < Duration::from_millis(1_000), "{:?}", began.elapsed());
    assert_eq!((ruling.lookups.len(), world.answered.load(Ordering::Relaxed)), (2, 0));
    assert!(ruling.lookups[0].micros >= 200_000 && ruling.micros < 200_000, "{} own", ruling.micros);
    assert_others_go_on().await;
}

/// Many lookups, each just below the limit: the time is one sum.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_all_lookups_is_one_sum() {
    let world = Arc::new(World { after: Duration::from_millis(90), ..World::default() });
    let began = Instant::now();
    let ruling = ask("look-often:32", &world, &limits(2_000, 300)).await;
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    let answered = world.answered.load(Ordering::Relaxed);
    assert!((1..=3).contains(&answered), "{answered}");
    assert_eq!(reason(&ruling), format!("answered {answered}, limited 0, other {}", 32 - answered));
}

/// Turning between looking and computing gives neither more time.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_does_not_lengthen_the_time_to_compute() {
    let world = Arc::new(World { after: Duration::from_millis(20), ..World::default() });
    for verb in ["look-then-spin", "look-and-compute:31"] {
        let began = Instant::now();
        let limits = limits(250, 400);
        let ruling = ask(verb, &world, &limits).await;
        let took = began.elapsed();
        assert_eq!(ruling.decision, Err(Failure::Deadline(limits.deadline)), "{verb}");
        assert!(took < limits.deadline + limits.lookups + Duration::from_millis(250), "{verb} took {took:?}");
        let own = Duration::from_micros(ruling.micros);
        // The timer around both clocks may end it a little earlier than its own clock would have.
        assert!((200..500).contains(&own.as_millis()), "{verb} computed {own:?}");
        assert!(!ruling.lookups.is_empty(), "{verb}: what was looked at before the end is kept");
        assert_others_go_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_thirty_third_lookup_is_not_asked() {
    let world = Arc::new(World::default());
    let ruling = ask("look-often:100000", &world, &limits(10_000, 1_000)).await;
    assert_eq!(reason(&ruling), format!("answered {MOST_LOOKUPS}, limited {}, other 0", 100_000 - MOST_LOOKUPS));
    assert_eq!((world.asked.load(Ordering::Relaxed) as usize, ruling.lookups.len()), (MOST_LOOKUPS, MOST_LOOKUPS));
}

/// An answer that does not fit is neither given nor kept; those that fit still are.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_kept_up_to_their_sum_and_never_shortened() {
    let world = Arc::new(World { samples: 1_000, ..World::default() });
    let one = serde_json::to_string(&world.look(&Lookup::Metrics { query: String::new() }).await).unwrap().len();
    let fit = MOST_BYTES / one;
    let ruling = ask("look-same:20", &world, &limits(5_000, 1_000)).await;
    let limited = format!("limit-exceeded: the answers to one decision's lookups may have {} KiB together", MOST_BYTES >> 10);
    let expected: Vec<_> = (0..20).map(|n| if n < fit { "1000".to_owned() } else { limited.clone() }).collect();
    assert_eq!(reason(&ruling), expected.join(" | "));
    let written = serde_json::to_string(&ruling.lookups).unwrap().len();
    assert!(written < MOST_BYTES + (16 << 10), "{written} bytes are kept");

    let world = Arc::new(World { samples: 1_000_000, ..World::default() });
    let ruling = ask("look-same:1", &world, &limits(5_000, 5_000)).await;
    assert_eq!(reason(&ruling), limited);
}

/// A question is the plugin's own text: what is refused for its size is kept short, and nobody is asked.
#[tokio::test(flavor = "multi_thread")]
async fn questions_that_are_too_large_reach_nobody() {
    let world = Arc::new(World::default());
    for (verb, said) in [
        ("look-huge", "limit-exceeded: a question of 102400 bytes; 8192 are allowed"),
        ("look-many-labels", "limit-exceeded: a question with 20000 labels; 32 are allowed"),
    ] {
        let ruling = ask(verb, &world, &patient()).await;
        assert_eq!(reason(&ruling), said);
        assert!(serde_json::to_string(&ruling.lookups).unwrap().len() < 2_000, "{verb}");
    }
    assert_eq!(world.asked.load(Ordering::Relaxed), 0);
}

/// The same answers give the same decision, also where an answer had been refused for its size.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_repeats_the_decision() {
    let world = Arc::new(World { samples: 2_000, ..World::default() });
    for verb in ["look", "look-same:9", "look-often:40", "look-huge", "look-escapes", "look-log", "look-history", "look-all"] {
        let first = ask(verb, &world, &limits(5_000, 1_000)).await;
        let looked = first.lookups.iter().map(|looked| (looked.lookup.clone(), looked.answer.clone()));
        let recorded = Arc::new(Recorded::new(looked));
        let mut again = brief(json!({ "do": verb }));
        again.lookups = recorded.clone();
        let second = guests().await.decide(&again, &limits(5_000, 1_000)).await;
        assert_eq!(second.decision, first.decision, "{verb}");
        assert_eq!(recorded.missing(), [], "{verb}");
    }
}

/// Nobody waits any longer for a question whose plugin was given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_is_given_up_leaves_no_one_waiting() {
    let world = Arc::new(World { after: Duration::from_secs(60), ..World::default() });
    let asking: Vec<_> = (0..24)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { ask("look", &world, &limits(1_000, 60_000)).await })
        })
        .collect();
    while world.asked.load(Ordering::Relaxed) < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    assert_others_go_on().await;
    let began = Instant::now();
    while Arc::strong_count(&world) > 1 {
        assert!(began.elapsed() < Duration::from_secs(5), "{} still hold the world", Arc::strong_count(&world));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_does_not_declare_it_does_not_see() {
    let world = Arc::new(World::default());
    let mut brief = brief(json!({}));
    brief.lookups = world.clone();
    let denied = "the plugin does not declare `metrics` among its `lookups` in `describe`".to_owned();
    let long = "a question of 1000000 bytes; 8192 are allowed".to_owned();
    // A question of a megabyte that it never declared must not fill the journal either.
    for (length, refused) in [(2, LookupError::AccessDenied(denied)), (1_000_000, LookupError::LimitExceeded(long))] {
        let decide = format!("(call $query (i32.const 131072) (i32.const {length}) (i32.const 3072)) (i32.const 2048)");
        let raw = super::raw::Raw { decide: &decide, pages: 40, ..Default::default() };
        let plugin = super::sandbox().load("raw.wasm", &raw.component()).await.unwrap();
        let ruling = plugin.decide(&brief, &patient()).await;
        assert_eq!(ruling.lookups[0].answer, Err(refused));
        assert!(serde_json::to_string(&ruling.lookups).unwrap().len() < 2_000);
    }
    assert_eq!(world.asked.load(Ordering::Relaxed), 0);
}
