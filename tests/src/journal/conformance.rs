//! What every journal promises, as cases that any store has to pass as they stand: SQLite's does, and a later one will.
//!
//! A case sees a journal only through [`Journal`], and its store through [`Place`], which can open it again and take it over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use paramedic::action::{Action, DockerVerb, Target};
use paramedic::incident::{Decision, Mode, TargetView};
use paramedic::journal::entry;
use paramedic::journal::storm::{Newcomer, Storm};

use super::*;

/// Where a journal lies, empty at first.
pub trait Place: Sync {
    /// Opens it, when nobody has it open.
    fn open(&self) -> Journal;
    /// Opens it although somebody still has it open, as after a pause that nobody noticed.
    fn take_over(&self) -> Journal;
}

/// One promise.
pub struct Case {
    name: &'static str,
    run: for<'a> fn(&'a dyn Place) -> BoxFuture<'a, ()>,
}

/// All promises. A function that is missing here is unused, and the compiler says so.
pub const CASES: &[Case] = &[
    Case {
        name: "appends_are_numbered_and_what_was_written_is_read",
        run: |place| appends_are_numbered_and_what_was_written_is_read(place).boxed(),
    },
    Case {
        name: "what_others_wrote_meanwhile_is_a_conflict",
        run: |place| what_others_wrote_meanwhile_is_a_conflict(place).boxed(),
    },
    Case { name: "the_same_append_is_written_once", run: |place| the_same_append_is_written_once(place).boxed() },
    Case { name: "two_openers_of_one_key_collide", run: |place| two_openers_of_one_key_collide(place).boxed() },
    Case { name: "who_was_taken_over_writes_nothing_more", run: |place| who_was_taken_over_writes_nothing_more(place).boxed() },
    Case { name: "a_cooldown_says_when_it_is_over", run: |place| a_cooldown_says_when_it_is_over(place).boxed() },
    Case {
        name: "spending_several_places_at_once_is_all_or_none",
        run: |place| spending_several_places_at_once_is_all_or_none(place).boxed(),
    },
    Case { name: "one_stamp_is_counted_by_every_window", run: |place| one_stamp_is_counted_by_every_window(place).boxed() },
    Case {
        name: "a_lock_names_its_holder_until_it_is_released",
        run: |place| a_lock_names_its_holder_until_it_is_released(place).boxed(),
    },
    Case {
        name: "brakes_are_exact_when_eight_race_for_the_last_place",
        run: |place| brakes_are_exact_when_eight_race_for_the_last_place(place).boxed(),
    },
    Case {
        name: "a_refusal_does_not_disturb_its_neighbours",
        run: |place| a_refusal_does_not_disturb_its_neighbours(place).boxed(),
    },
    Case { name: "five_thousand_alerts_at_once_are_taken", run: |place| five_thousand_alerts_at_once_are_taken(place).boxed() },
    Case {
        name: "what_was_acknowledged_is_there_after_opening_again",
        run: |place| what_was_acknowledged_is_there_after_opening_again(place).boxed(),
    },
    Case { name: "a_timer_is_what_the_entries_say", run: |place| a_timer_is_what_the_entries_say(place).boxed() },
    Case { name: "a_number_is_never_used_again", run: |place| a_number_is_never_used_again(place).boxed() },
    Case {
        name: "what_could_never_be_written_is_an_error_and_writes_nothing",
        run: |place| what_could_never_be_written_is_an_error_and_writes_nothing(place).boxed(),
    },
    Case {
        name: "reads_see_all_that_was_acknowledged_and_no_gap",
        run: |place| reads_see_all_that_was_acknowledged_and_no_gap(place).boxed(),
    },
    Case { name: "who_is_meant_is_found", run: |place| who_is_meant_is_found(place).boxed() },
    Case {
        name: "incidents_are_listed_page_by_page_the_newest_first",
        run: |place| incidents_are_listed_page_by_page_the_newest_first(place).boxed(),
    },
    Case {
        name: "a_storm_holds_until_it_has_been_calm_for_a_window",
        run: |place| a_storm_holds_until_it_has_been_calm_for_a_window(place).boxed(),
    },
    Case {
        name: "no_intent_passes_once_the_last_newcomer_is_written",
        run: |place| no_intent_passes_once_the_last_newcomer_is_written(place).boxed(),
    },
    Case { name: "a_share_counts_what_is_held_by_whomever", run: |place| a_share_counts_what_is_held_by_whomever(place).boxed() },
    Case {
        name: "incidents_about_a_target_are_found_the_newest_first",
        run: |place| incidents_about_a_target_are_found_the_newest_first(place).boxed(),
    },
    Case { name: "who_holds_a_lock_is_known", run: |place| who_holds_a_lock_is_known(place).boxed() },
];

/// Runs every case in a new place; fails with the names of those that failed.
pub async fn run<P: Place>(place: impl Fn() -> P) {
    let mut failed = Vec::new();
    for case in CASES {
        let place = place();
        if std::panic::AssertUnwindSafe((case.run)(&place)).catch_unwind().await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "of {} promises these are broken: {failed:#?}", CASES.len());
}

/// Walks the whole journal and computes its chain anew; gives the number of entries.
async fn whole(journal: &Journal) -> u64 {
    let entries = journal.tail(0, usize::MAX).await.unwrap();
    let mut hash = entry::FIRST_HASH.to_owned();
    for (entry, pos) in entries.iter().zip(1..) {
        assert_eq!((entry.pos, entry.version), (pos, entry::VERSION));
        let body = serde_json::to_string(&entry.event).unwrap();
        hash = entry::chain(&hash, pos, &entry.incident.to_string(), entry.seq, entry.at, entry.version, &body);
        assert_eq!(entry.hash, hash, "entry {pos}");
    }
    entries.len() as u64
}

async fn appends_are_numbered_and_what_was_written_is_read(place: &dyn Place) {
    let journal = place.open();
    assert_eq!(journal.head().await.unwrap(), 0);
    let before = Time::now();
    let (pos, seq, at) = committed(&journal.append(opening("A", 1)).await.unwrap());
    assert_eq!((pos, seq), (1, 1));
    assert!(at >= before && at <= Time::now());
    opened(&journal, &["B"]).await;
    let two = Append::new(id("A", 1), Some(1), vec![note(), note()]);
    let (pos, seq, later) = committed(&journal.append(two.clone()).await.unwrap());
    assert_eq!((pos, seq), (3, 3));
    assert!(later >= at);

    let entries = journal.read(&id("A", 1), 0, 100).await.unwrap();
    assert_eq!(entries.iter().map(|e| (e.pos, e.seq)).collect::<Vec<_>>(), [(1, 1), (3, 2), (4, 3)]);
    assert_eq!((&entries[1].event, entries[1].append_id, entries[1].version), (&note(), two.append_id, 1));
    assert_eq!(journal.read(&id("A", 1), 1, 1).await.unwrap(), entries[1..2]);
    assert_eq!(journal.head().await.unwrap(), 4);
    assert_eq!(journal.tail(1, 2).await.unwrap().iter().map(|e| e.pos).collect::<Vec<_>>(), [2, 3]);
    let incident = journal.incident(&id("A", 1)).await.unwrap().unwrap();
    assert_eq!((incident.seq, incident.opened_at), (3, at));
    assert!(journal.incident(&id("C", 1)).await.unwrap().is_none());
    assert_eq!(journal.open_incidents().await.unwrap(), [id("A", 1), id("B", 1)]);
}

async fn what_others_wrote_meanwhile_is_a_conflict(place: &dyn Place) {
    let journal = place.open();
    let nothing_there = journal.append(Append::new(id("A", 1), None, vec![note()])).await.unwrap();
    assert_eq!(nothing_there, Appended::Conflict { last: 0 });
    opened(&journal, &["A"]).await;
    let stale = Append::new(id("A", 1), Some(0), vec![note()]);
    assert_eq!(journal.append(stale).await.unwrap(), Appended::Conflict { last: 1 });
    assert_eq!(journal.append(opening("A", 1)).await.unwrap(), Appended::Conflict { last: 1 });
    assert_eq!(journal.append(opening("A", 2)).await.unwrap(), Appended::Conflict { last: 0 }, "one of its key is open");
    committed(&journal.append(Append::new(id("A", 1), Some(1), vec![closed()])).await.unwrap());
    for expect in [None, Some(2)] {
        let behind_its_end = Append::new(id("A", 1), expect, vec![note()]);
        assert_eq!(journal.append(behind_its_end).await.unwrap(), Appended::Conflict { last: 2 });
    }
    committed(&journal.append(opening("A", 2)).await.unwrap());
    let latest = journal.latest(&id("A", 1).key).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.open), (id("A", 2), true));
    assert_eq!(journal.open_incidents().await.unwrap(), [id("A", 2)]);
}

async fn the_same_append_is_written_once(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A"]).await;
    let append = Append { events: vec![note(), note()], ..spending("A", vec![rate("r", 1, HOUR)]) };
    let (pos, seq, at) = committed(&journal.append(append.clone()).await.unwrap());
    opened(&journal, &["B"]).await;
    assert_eq!(journal.append(append.clone()).await.unwrap(), Appended::Already { pos, seq, at });
    let repeated = append.clone();
    let proof = journal.prove(append, "value").await.unwrap().unwrap();
    assert_eq!((*proof.value(), proof.seq(), proof.at()), ("value", seq, at));
    let refused = journal.prove(Append::new(id("A", 1), Some(1), vec![note()]), ()).await.unwrap();
    assert_eq!(refused.unwrap_err(), Appended::Conflict { last: 3 });
    assert_eq!(journal.read(&id("A", 1), 0, 100).await.unwrap().len(), 3);
    // A caller that did not hear the answer may ask the next server.
    drop(journal);
    let journal = place.open();
    assert_eq!(journal.append(repeated).await.unwrap(), Appended::Already { pos, seq, at });
    assert_eq!(whole(&journal).await, 4);
}

async fn two_openers_of_one_key_collide(place: &dyn Place) {
    let journal = place.open();
    for round in 0..50 {
        let name = format!("alert {round}");
        let both =
            join_all([journal.append(opening(&name, 1)), journal.append(opening(&name, 1)), journal.append(opening(&name, 2))]);
        let answers: Vec<_> = both.await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|a| matches!(a, Appended::Committed { .. })).count(), 1, "{answers:?}");
    }
    assert_eq!(journal.open_incidents().await.unwrap().len(), 50);
}

async fn who_was_taken_over_writes_nothing_more(place: &dyn Place) {
    let old = place.open();
    opened(&old, &["A"]).await;
    let new = place.take_over();
    assert_eq!((old.epoch(), new.epoch()), (1, 2));
    let append = Append::new(id("A", 1), None, vec![note()]);
    assert_eq!(old.append(append.clone()).await.unwrap(), Appended::Fenced);
    committed(&new.append(append.clone()).await.unwrap());
    assert_eq!(old.append(append).await.unwrap(), Appended::Fenced, "acting on it is not its business any more");
    assert!(old.ready().await.unwrap_err().to_string().contains("taken over"));
    assert_eq!(new.ready().await, Ok(()));
    assert_eq!(new.read(&id("A", 1), 0, 9).await.unwrap().len(), 2);
}

async fn a_cooldown_says_when_it_is_over(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B"]).await;
    let long = rate("cooldown:x", 1, HOUR);
    let (_, _, at) = committed(&journal.append(spending("A", vec![long.clone()])).await.unwrap());
    let refused = journal.append(spending("B", vec![long.clone()])).await.unwrap();
    assert_eq!(braked(&refused), ("cooldown:x", Some(at.plus(HOUR)), None));
    assert_eq!(journal.room(&id("B", 1), std::slice::from_ref(&long)).await.unwrap(), Some(refused));
    assert_eq!(journal.room(&id("B", 1), &[rate("cooldown:y", 1, HOUR)]).await.unwrap(), None);

    // Counted from a stamp that was set without a check.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let ended = Append { stamp: vec!["cooldown:x".to_owned()], ..Append::new(id("A", 1), None, vec![note()]) };
    let (_, _, later) = committed(&journal.append(ended).await.unwrap());
    let refused = journal.append(spending("B", vec![long])).await.unwrap();
    assert_eq!(braked(&refused).1, Some(later.plus(HOUR)), "room for one needs both stamps to be gone");

    let short = vec![rate("short", 1, Duration::from_millis(200))];
    committed(&journal.append(spending("A", short.clone())).await.unwrap());
    let refused = journal.append(spending("A", short.clone())).await.unwrap();
    let after = braked(&refused).1.unwrap();
    tokio::time::sleep(after.since(Time::now()) + Duration::from_millis(2)).await;
    committed(&journal.append(spending("A", short)).await.unwrap());
}

async fn spending_several_places_at_once_is_all_or_none(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B"]).await;
    let each = rate("hour", 3, HOUR);
    committed(&journal.append(spending("A", vec![each.clone(), each.clone()])).await.unwrap());
    // The lock has room, the rate has one place and two are wanted: neither is spent.
    let refused = journal.append(spending("B", vec![lock("target", 1), each.clone(), each.clone()])).await.unwrap();
    assert_eq!(braked(&refused).0, "hour");
    committed(&journal.append(spending("A", vec![lock("target", 1), each.clone()])).await.unwrap());
    assert!(matches!(journal.append(spending("A", vec![each.clone()])).await.unwrap(), Appended::Braked { .. }));
    // More than the limit at once never fits, however long one waits.
    let refused = journal.append(spending("A", vec![rate("none", 0, HOUR)])).await.unwrap();
    assert_eq!(braked(&refused), ("none", None, None));
    let too_long = journal.append(spending("A", vec![rate("r", 1, 24 * 33 * HOUR)])).await.unwrap_err();
    assert!(matches!(&too_long, JournalError::NotDone(text) if text.contains("32 days")), "{too_long}");
    assert_eq!(journal.read(&id("B", 1), 0, 9).await.unwrap().len(), 1);
}

async fn one_stamp_is_counted_by_every_window(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A"]).await;
    let limit = |limit, window| PerWindow { limit, window };
    let (short, long) = (limit(2, Duration::from_millis(200)), limit(3, HOUR));
    let both = vec![Spend::Rate { key: "two".to_owned(), limits: vec![short, long] }];
    let (_, _, first) = committed(&journal.append(spending("A", both.clone())).await.unwrap());
    committed(&journal.append(spending("A", both.clone())).await.unwrap());
    let refused = journal.append(spending("A", both.clone())).await.unwrap();
    assert_eq!(braked(&refused).1, Some(first.plus(short.window)));
    assert!(matches!(refused, Appended::Braked { limit: Some(limit), .. } if limit == short), "{refused:?}");
    tokio::time::sleep(Duration::from_millis(250)).await;
    committed(&journal.append(spending("A", both.clone())).await.unwrap());
    let refused = journal.append(spending("A", both.clone())).await.unwrap();
    assert_eq!(braked(&refused).1, Some(first.plus(HOUR)));
    assert!(matches!(refused, Appended::Braked { limit: Some(limit), .. } if limit == long), "{refused:?}");
    // Without room in both, the one that lets go last is told.
    let tight = vec![Spend::Rate { key: "two".to_owned(), limits: vec![limit(1, HOUR * 2), limit(1, HOUR)] }];
    let refused = journal.append(spending("A", tight)).await.unwrap();
    assert!(
        matches!(refused, Appended::Braked { limit: Some(PerWindow { window, .. }), .. } if window == HOUR * 2),
        "{refused:?}"
    );
}

async fn a_lock_names_its_holder_until_it_is_released(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B"]).await;
    let target = vec![lock("target:local/nginx", 1)];
    committed(&journal.append(spending("A", target.clone())).await.unwrap());
    committed(&journal.append(spending("A", target.clone())).await.unwrap());
    let refused = journal.append(spending("B", target.clone())).await.unwrap();
    assert_eq!(braked(&refused), ("target:local/nginx", None, Some(&id("A", 1))));
    assert_eq!(journal.room(&id("B", 1), &target).await.unwrap(), Some(refused));
    assert_eq!(journal.room(&id("A", 1), &target).await.unwrap(), None);

    let release = |name| Append { release: vec!["target:local/nginx".to_owned()], ..spending(name, Vec::new()) };
    committed(&journal.append(release("B")).await.unwrap());
    assert!(
        matches!(journal.append(spending("B", target.clone())).await.unwrap(), Appended::Braked { .. }),
        "not B's to release"
    );
    committed(&journal.append(release("A")).await.unwrap());
    committed(&journal.append(spending("B", target.clone())).await.unwrap());
    // All of them at once, and nobody else's.
    committed(&journal.append(spending("B", vec![lock("other", 1)])).await.unwrap());
    let all = |name| Append { release_all: true, ..spending(name, Vec::new()) };
    committed(&journal.append(all("A")).await.unwrap());
    assert!(matches!(journal.append(spending("A", target.clone())).await.unwrap(), Appended::Braked { .. }));
    committed(&journal.append(all("B")).await.unwrap());
    committed(&journal.append(spending("A", vec![lock("other", 1), target[0].clone()])).await.unwrap());
    committed(&journal.append(all("A")).await.unwrap());
    committed(&journal.append(spending("B", target.clone())).await.unwrap());
    // Closing gives back whatever is left.
    committed(&journal.append(Append::new(id("B", 1), None, vec![closed()])).await.unwrap());
    committed(&journal.append(spending("A", target)).await.unwrap());
}

async fn brakes_are_exact_when_eight_race_for_the_last_place(place: &dyn Place) {
    let journal = place.open();
    let names: Vec<String> = (0..8).map(|n| format!("racer {n}")).collect();
    opened(&journal, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for round in 0..1_000 {
        let key = format!("round {round}");
        let spend = if round % 2 == 0 { rate(&key, 1, HOUR) } else { lock(&key, 1) };
        let race = names.iter().map(|name| {
            let (journal, append) = (journal.clone(), spending(name, vec![spend.clone()]));
            tokio::spawn(async move { journal.append(append).await.unwrap() })
        });
        let answers: Vec<_> = join_all(race).await.into_iter().map(Result::unwrap).collect();
        let count = |f: fn(&Appended) -> bool| answers.iter().filter(|a| f(a)).count();
        assert_eq!(count(|a| matches!(a, Appended::Committed { .. })), 1, "{answers:?}");
        assert_eq!(count(|a| matches!(a, Appended::Braked { .. })), 7, "{answers:?}");
    }
    assert_eq!(whole(&journal).await, 1_008);
}

async fn a_refusal_does_not_disturb_its_neighbours(place: &dyn Place) {
    let journal = place.open();
    let appends = (0..500).map(|n| {
        let name = format!("alert {n}");
        journal.append(if n % 3 == 0 { Append::new(id(&name, 1), Some(7), vec![note()]) } else { opening(&name, 1) })
    });
    let answers: Vec<_> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(matches!(answer, Appended::Conflict { last: 0 }), n % 3 == 0, "{n}: {answer:?}");
    }
    assert_eq!(whole(&journal).await, 333);
}

async fn five_thousand_alerts_at_once_are_taken(place: &dyn Place) {
    let journal = place.open();
    let appends = (0..5_000).map(|n| journal.append(opening(&format!("alert {n}"), 1)));
    for answer in join_all(appends).await {
        committed(&answer.unwrap());
    }
    assert_eq!(journal.open_incidents().await.unwrap().len(), 5_000);
}

async fn what_was_acknowledged_is_there_after_opening_again(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B"]).await;
    committed(&journal.append(spending("A", vec![rate("r", 1, HOUR), lock("l", 1)])).await.unwrap());
    committed(&journal.append(Append { stamp: vec!["s".to_owned()], ..spending("A", Vec::new()) }).await.unwrap());
    committed(&journal.append(Append::new(id("A", 1), None, vec![held(Some(Time(5)))])).await.unwrap());
    let (entries, epoch) = (journal.tail(0, 100).await.unwrap(), journal.epoch());
    drop(journal);

    let journal = place.open();
    assert_eq!(journal.epoch(), epoch + 1);
    assert_eq!(journal.tail(0, 100).await.unwrap(), entries);
    assert_eq!(journal.open_incidents().await.unwrap(), [id("A", 1), id("B", 1)]);
    assert_eq!(journal.due(9).await.unwrap(), [id("A", 1)]);
    for (spend, key) in [(rate("r", 1, HOUR), "r"), (rate("s", 1, HOUR), "s"), (lock("l", 1), "l")] {
        assert_eq!(braked(&journal.append(spending("B", vec![spend])).await.unwrap()).0, key);
    }
    let (pos, seq, at) = committed(&journal.append(Append::new(id("A", 1), Some(4), vec![note()])).await.unwrap());
    assert_eq!((pos, seq), (6, 5));
    assert!(at >= entries[4].at);
    assert_eq!(whole(&journal).await, 6);
}

async fn a_timer_is_what_the_entries_say(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B", "C", "D"]).await;
    let write = async |name: &str, event: Event| {
        committed(&journal.append(Append::new(id(name, 1), None, vec![event])).await.unwrap());
    };
    let due = async || journal.due(10).await.unwrap();
    let later = Time::now().plus(HOUR);
    write("A", held(Some(Time(20)))).await;
    write("B", held(Some(Time(10)))).await;
    write("C", held(Some(later))).await;
    assert_eq!(due().await, [id("B", 1), id("A", 1)], "the longest due first, and C is not due");
    assert_eq!(journal.due(1).await.unwrap(), [id("B", 1)]);
    assert_eq!(journal.due(0).await.unwrap(), []);

    write("B", Event::Heard { alert: alert("B"), via: Via::Post }).await;
    write("B", decided(Mode::Observe, Decision::Wait { reason: String::new(), millis: 3_600_000 })).await;
    write("B", decided(Mode::Enforce, Decision::Pass { reason: String::new() })).await;
    assert_eq!(due().await, [id("B", 1), id("A", 1)], "what nobody follows leaves it");
    write("B", decided(Mode::Enforce, Decision::Wait { reason: String::new(), millis: 3_600_000 })).await;
    write("A", held(None)).await;
    write("D", decided(Mode::Enforce, Decision::Wait { reason: String::new(), millis: 60 })).await;
    assert_eq!(due().await, [], "B and D wait, nothing is due for A");
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(due().await, [id("D", 1)]);
    write("D", closed()).await;
    assert_eq!(due().await, []);

    // Within one append the last word counts, and a refused append sets nothing.
    let both = Append::new(id("A", 1), None, vec![held(Some(Time(1))), note()]);
    committed(&journal.append(both).await.unwrap());
    let refused = Append::new(id("A", 1), Some(1), vec![held(Some(Time(1)))]);
    assert!(matches!(journal.append(refused).await.unwrap(), Appended::Conflict { .. }));
    assert_eq!(due().await, []);
}

async fn a_number_is_never_used_again(place: &dyn Place) {
    let journal = place.open();
    for n in 1..=3 {
        committed(&journal.append(opening("A", n)).await.unwrap());
        committed(&journal.append(Append::new(id("A", n), Some(1), vec![closed()])).await.unwrap());
    }
    for n in 1..=3 {
        assert!(matches!(journal.append(opening("A", n)).await.unwrap(), Appended::Conflict { last: 2 }));
    }
    assert!(journal.latest(&id("B", 1).key).await.unwrap().is_none());
    let latest = journal.latest(&id("A", 1).key).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.open), (id("A", 3), false));
    // A number may be left out, but not filled in afterwards.
    committed(&journal.append(opening("A", 9)).await.unwrap());
    committed(&journal.append(Append::new(id("A", 9), Some(1), vec![closed()])).await.unwrap());
    assert_eq!(journal.append(opening("A", 4)).await.unwrap(), Appended::Conflict { last: 0 });
}

async fn what_could_never_be_written_is_an_error_and_writes_nothing(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A"]).await;
    let reopened = Event::Opened { alert: alert("A"), via: Via::Webhook };
    for events in [Vec::new(), vec![note(), reopened], vec![closed(), note()]] {
        let refused = journal.append(Append::new(id("A", 1), None, events)).await.unwrap_err();
        assert!(matches!(refused, JournalError::NotDone(_)), "{refused}");
    }
    assert_eq!(whole(&journal).await, 1);
}

/// Whoever reads behind the writer sees a contiguous journal, whose times do not run back, and all that was acknowledged.
async fn reads_see_all_that_was_acknowledged_and_no_gap(place: &dyn Place) {
    let journal = place.open();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let reading = tokio::spawn({
        let (journal, acknowledged) = (journal.clone(), Arc::clone(&acknowledged));
        async move {
            let (mut last, mut at) = (0, Time(0));
            while last < 2_000 {
                let must = acknowledged.load(Ordering::SeqCst);
                loop {
                    let entries = journal.tail(last, 100).await.unwrap();
                    for (entry, expected) in entries.iter().zip(last + 1..) {
                        assert_eq!(entry.pos, expected);
                        assert!(entry.at >= at);
                        at = entry.at;
                    }
                    last += entries.len() as u64;
                    if entries.len() < 100 {
                        break;
                    }
                }
                assert!(last >= must, "entry {must} was acknowledged, the tail ends at {last}");
            }
        }
    });
    for chunk in 0..100 {
        let appends = (0..20).map(|n| {
            let (journal, acknowledged, name) = (journal.clone(), Arc::clone(&acknowledged), format!("{chunk} {n}"));
            async move {
                let (pos, ..) = committed(&journal.append(opening(&name, 1)).await.unwrap());
                acknowledged.fetch_max(pos, Ordering::SeqCst);
                assert_eq!(journal.read(&id(&name, 1), 0, 9).await.unwrap()[0].pos, pos);
            }
        });
        join_all(appends).await;
    }
    tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
}

async fn who_is_meant_is_found(place: &dyn Place) {
    let journal = place.open();
    let names: Vec<String> = (0..40).map(|n| format!("alert {n}")).collect();
    opened(&journal, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    committed(&journal.append(Append::new(id("alert 0", 1), None, vec![closed()])).await.unwrap());
    committed(&journal.append(opening("alert 0", 2)).await.unwrap());
    let key = id("alert 0", 1).key.to_string();
    assert_eq!(journal.find(&format!("{key}-1")).await, Ok(id("alert 0", 1)));
    assert_eq!(journal.find(&key[..12]).await, Ok(id("alert 0", 2)), "the latest of its key");
    for nobody in ["", "zz", "ffffffffffffffff-9"] {
        assert!(matches!(journal.find(nobody).await, Err(JournalError::NoSuch(_))), "{nobody}");
    }
    // Forty keys cannot all begin differently.
    let mut several = 0;
    for digit in 0..16 {
        several += u32::from(matches!(journal.find(&format!("{digit:x}")).await, Err(JournalError::NoSuch(_))));
    }
    assert!(several > 0);
}

async fn incidents_are_listed_page_by_page_the_newest_first(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B", "C"]).await;
    committed(&journal.append(Append::new(id("B", 1), None, vec![closed()])).await.unwrap());
    let names = |list: Vec<Opened>| list.into_iter().map(|opened| opened.id).collect::<Vec<_>>();
    assert_eq!(names(journal.list(u64::MAX, false, 10).await.unwrap()), [id("C", 1), id("B", 1), id("A", 1)]);
    assert_eq!(names(journal.list(u64::MAX, true, 10).await.unwrap()), [id("C", 1), id("A", 1)]);
    let first = journal.list(u64::MAX, false, 2).await.unwrap();
    let before = first.last().unwrap().pos;
    assert_eq!(names(first), [id("C", 1), id("B", 1)]);
    assert_eq!(names(journal.list(before, false, 2).await.unwrap()), [id("A", 1)]);
    assert_eq!(journal.vitals().await.unwrap().last, journal.tail(0, 100).await.unwrap().len() as u64);
}

async fn incidents_about_a_target_are_found_the_newest_first(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B", "C", "D"]).await;
    let (web, db): (Target, Target) = ("local/web".parse().unwrap(), "local/db".parse().unwrap());
    let about = |target: &Target| TargetView { target: target.clone(), inventory_host: None, state: "exited".to_owned() };
    let asked = |targets| Event::Asked { trigger: Trigger::Alert, targets, ambiguous: Vec::new() };
    // Asked out of order, and twice: it is the opening that counts.
    for (name, targets) in
        [("C", vec![about(&web)]), ("A", vec![about(&web), about(&db)]), ("A", vec![about(&web)]), ("B", Vec::new())]
    {
        committed(&journal.append(Append::new(id(name, 1), None, vec![asked(targets)])).await.unwrap());
    }
    // What only an action was about.
    let action = Action::Docker {
        verb: DockerVerb::Restart,
        target: db.clone(),
        container: "abc".parse().unwrap(),
        started_at: String::new(),
        grace_seconds: None,
        signal: None,
    };
    committed(
        &journal.append(Append::new(id("D", 1), None, vec![Event::Intended { attempt: 1, intent: 1, action }])).await.unwrap(),
    );
    let long_ago = Time(0);
    assert_eq!(journal.about(&web, long_ago, 9).await.unwrap(), [id("C", 1), id("A", 1)]);
    assert_eq!(journal.about(&web, long_ago, 1).await.unwrap(), [id("C", 1)]);
    assert_eq!(journal.about(&db, long_ago, 9).await.unwrap(), [id("D", 1), id("A", 1)]);
    assert_eq!(journal.about(&"far/web".parse().unwrap(), long_ago, 9).await.unwrap(), []);
    // Also when it is over, and after opening again; and not when it was opened before.
    committed(&journal.append(Append::new(id("A", 1), None, vec![closed()])).await.unwrap());
    tokio::time::sleep(Duration::from_millis(5)).await;
    let (.., later) = committed(&journal.append(opening("E", 1)).await.unwrap());
    committed(&journal.append(Append::new(id("E", 1), None, vec![asked(vec![about(&web)])])).await.unwrap());
    drop(journal);
    let journal = place.open();
    assert_eq!(journal.about(&web, long_ago, 9).await.unwrap(), [id("E", 1), id("C", 1), id("A", 1)]);
    assert_eq!(journal.about(&web, later, 9).await.unwrap(), [id("E", 1)]);
    assert_eq!(journal.about(&web, later.plus(HOUR), 9).await.unwrap(), []);
}

async fn who_holds_a_lock_is_known(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B", "C"]).await;
    for name in ["A", "B"] {
        committed(&journal.append(spending(name, vec![lock("three", 3), lock(name, 1)])).await.unwrap());
    }
    let mut both = vec![id("A", 1), id("B", 1)];
    both.sort_by_key(ToString::to_string);
    assert_eq!(journal.holders("three").await.unwrap(), both);
    committed(&journal.append(Append { release: vec!["three".to_owned()], ..spending("A", Vec::new()) }).await.unwrap());
    assert_eq!(journal.holders("three").await.unwrap(), [id("B", 1)]);
    committed(&journal.append(Append::new(id("B", 1), None, vec![closed()])).await.unwrap());
    assert_eq!(journal.holders("three").await.unwrap(), []);
    assert_eq!(journal.holders("A").await.unwrap(), [id("A", 1)]);
}

fn new(subject: &str, limit: u32, window: Duration) -> Newcomer {
    Newcomer { key: "storm:all".to_owned(), subject: subject.to_owned(), limit, window }
}

/// Writes a note about this incident, which is a newcomer.
fn arriving(name: &str, new: Newcomer) -> Append {
    Append { newcomers: vec![new], ..spending(name, Vec::new()) }
}

fn calm() -> Vec<Spend> {
    vec![Spend::Calm { key: "storm:all".to_owned() }]
}

async fn a_storm_holds_until_it_has_been_calm_for_a_window(place: &dyn Place) {
    const WINDOW: Duration = Duration::from_millis(400);
    let journal = place.open();
    opened(&journal, &["A", "B", "C"]).await;
    // The same one again and again is one.
    for subject in ["x", "x", "y", "x", "y"] {
        committed(&journal.append(arriving("A", new(subject, 3, WINDOW))).await.unwrap());
    }
    committed(&journal.append(spending("A", calm())).await.unwrap());
    assert_eq!(journal.storm("storm:all").await.unwrap(), None);
    let (.., at) = committed(&journal.append(arriving("B", new("z", 3, WINDOW))).await.unwrap());
    let refused = journal.append(spending("C", calm())).await.unwrap();
    assert_eq!(braked(&refused), ("storm:all", Some(at.plus(WINDOW)), None));
    assert_eq!(journal.room(&id("C", 1), &calm()).await.unwrap(), Some(refused));
    assert_eq!(journal.room(&id("C", 1), &[Spend::Calm { key: "storm:web".to_owned() }]).await.unwrap(), None);
    // Whoever is new prolongs it, whoever is known does not.
    tokio::time::sleep(WINDOW / 4).await;
    let (.., later) = committed(&journal.append(arriving("C", new("w", 3, WINDOW))).await.unwrap());
    committed(&journal.append(arriving("C", new("w", 3, WINDOW))).await.unwrap());
    let storm = journal.storm("storm:all").await.unwrap().unwrap();
    assert_eq!(storm, Storm { since: at, until: later.plus(WINDOW), count: 4 });
    // It is in the journal, so a restart does not end it.
    drop(journal);
    let journal = place.open();
    assert_eq!(journal.storm("storm:all").await.unwrap(), Some(storm));
    tokio::time::sleep(storm.until.since(Time::now()) + Duration::from_millis(2)).await;
    committed(&journal.append(spending("C", calm())).await.unwrap());
    // A new one begins from nothing.
    committed(&journal.append(arriving("A", new("x", 3, WINDOW))).await.unwrap());
    committed(&journal.append(spending("C", calm())).await.unwrap());
    let of_one = journal.append(arriving("A", new("v", 1, WINDOW))).await.unwrap();
    committed(&of_one);
    assert_eq!(journal.storm("storm:all").await.unwrap().map(|storm| storm.count), Some(1));
}

async fn no_intent_passes_once_the_last_newcomer_is_written(place: &dyn Place) {
    let journal = place.open();
    let names = ["A", "B", "C", "D", "E", "F", "G", "H"];
    opened(&journal, &names).await;
    for round in 0..200 {
        let key = format!("storm:{round}");
        let one = |name: &'static str| {
            let (journal, key) = (journal.clone(), key.clone());
            async move {
                let came = Newcomer { key: key.clone(), subject: name.to_owned(), limit: 4, window: HOUR };
                let (came, ..) = committed(&journal.append(arriving(name, came)).await.unwrap());
                match journal.append(spending(name, vec![Spend::Calm { key }])).await.unwrap() {
                    Appended::Committed { pos, .. } => (came, Some(pos)),
                    refused => {
                        braked(&refused);
                        (came, None)
                    }
                }
            }
        };
        let mut all = join_all(names.map(one)).await;
        all.sort_unstable();
        let fourth = all[3].0;
        let passed: Vec<u64> = all.iter().filter_map(|(_, passed)| *passed).collect();
        assert!(passed.iter().all(|pos| *pos < fourth), "round {round}: {passed:?} and the storm at {fourth}");
        assert!(all[4..].iter().all(|(_, passed)| passed.is_none()), "round {round}: {all:?}");
    }
}

async fn a_share_counts_what_is_held_by_whomever(place: &dyn Place) {
    let journal = place.open();
    opened(&journal, &["A", "B", "C"]).await;
    let of = ["failing:web:1", "failing:web:2", "failing:web:3", "failing:web:4"].map(str::to_owned);
    let share = |limit| vec![Spend::Share { key: "share:web".to_owned(), of: of.to_vec(), limit }];
    let failing = |name: &str, keys: &[&str]| Append {
        mark: keys.iter().map(|key| format!("failing:web:{key}")).collect(),
        ..spending(name, Vec::new())
    };
    // Two about one container are one that fails, and one outside of the group is none.
    for (name, keys) in [("A", &["1", "1"][..]), ("B", &["1"]), ("C", &["9", "2"])] {
        committed(&journal.append(failing(name, keys)).await.unwrap());
    }
    committed(&journal.append(spending("A", share(2))).await.unwrap());
    let refused = journal.append(spending("A", share(1))).await.unwrap();
    assert_eq!(braked(&refused), ("share:web", None, None));
    // Whoever is closed fails no more.
    committed(&journal.append(Append::new(id("C", 1), None, vec![closed()])).await.unwrap());
    committed(&journal.append(spending("A", share(1))).await.unwrap());
    // A mark is no lock: it is not given back with them.
    committed(&journal.append(Append { release_all: true, ..failing("A", &[]) }).await.unwrap());
    committed(&journal.append(Append::new(id("B", 1), None, vec![closed()])).await.unwrap());
    assert_eq!(braked(&journal.append(spending("A", share(0))).await.unwrap()), ("share:web", None, None));
}
