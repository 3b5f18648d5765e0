//! Looking: as a good plugin would, and in every way in which it would harm whoever answers.

use std::hint::black_box;

use crate::bindings::paramedic::policy::types::{Decision, LookupError};
use crate::bindings::paramedic::policy::{containers, history, metrics};

/// Does it; `None` if it is none of these.
pub(crate) fn look(verb: &str, rest: &str) -> Option<Decision> {
    let times = || rest.parse().unwrap_or(1_u32);
    let text = match verb {
        "look" => two(),
        "look-often" => often(times()),
        "look-same" => (0..times()).map(|_| told(metrics::query("up"))).collect::<Vec<_>>().join(" | "),
        "look-then-spin" => {
            let _answer = metrics::query("up");
            spin()
        }
        "look-and-compute" => look_and_compute(times()),
        "look-huge" => told(metrics::query(&"x".repeat(100 << 10))),
        "look-many-labels" => told(containers::find("local", &vec![(String::new(), String::new()); 20_000])),
        "look-escapes" => told(containers::inspect("\u{1b}[31mlocal/web\u{202e}").map(|one| vec![one])),
        "look-log" => told(containers::log_tail("local/web", u32::MAX)),
        "look-history" => told(history::of_target("local/web", u64::MAX)),
        "look-all" => told(containers::find("local", &[])),
        _ => return None,
    };
    Some(Decision::Pass(text))
}

/// As a policy that is worth its name does it.
fn two() -> String {
    let state = containers::inspect("local/web").map_or_else(|error| said(&error), |container| container.state);
    format!("{state} {}", told(metrics::query("up == 0")))
}

fn told<T>(answer: Result<Vec<T>, LookupError>) -> String {
    answer.map_or_else(|error| said(&error), |list| list.len().to_string())
}

fn said(error: &LookupError) -> String {
    match error {
        LookupError::AccessDenied(text) => format!("access-denied: {text}"),
        LookupError::NotFound(text) => format!("not-found: {text}"),
        LookupError::Invalid(text) => format!("invalid: {text}"),
        LookupError::LimitExceeded(text) => format!("limit-exceeded: {text}"),
        LookupError::Unavailable(text) => format!("unavailable: {text}"),
        LookupError::Other(text) => format!("other: {text}"),
    }
}

/// Counts the answers of each kind.
fn often(times: u32) -> String {
    let (mut answered, mut limited, mut other) = (0, 0, 0);
    for n in 0..times {
        match metrics::query(&format!("up == {n}")) {
            Ok(_) => answered += 1,
            Err(LookupError::LimitExceeded(_)) => limited += 1,
            Err(_) => other += 1,
        }
    }
    format!("answered {answered}, limited {limited}, other {other}")
}

/// Turns between the two clocks, in the hope that neither sees all of it.
fn look_and_compute(rounds: u32) -> ! {
    for n in 0..rounds {
        let _answer = metrics::query(&format!("up == {n}"));
        for step in 0..5_000_000_u64 {
            black_box(step);
        }
    }
    spin()
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}
