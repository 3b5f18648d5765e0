//! Metrics: what a real Prometheus answers, what is refused, and that no query ever reads what is not granted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use paramedic::incident::lookup::Sample;
use paramedic::look::promql::Query;

use super::*;
use crate::programs::{Exporter, Program, start_prometheus, within};
use crate::soak::dice::Dice;

/// A Prometheus that has scraped this once.
async fn scraped(text: &str, metric: &str) -> (Exporter, Program) {
    let exporter = Exporter::start(text).await.unwrap();
    let prometheus = start_prometheus("", &[&exporter], None, "").await.unwrap();
    let there = || async {
        let found = crate::monitors::eye(&prometheus.url)?.query(metric, None).await?;
        Ok((!found.is_empty()).then_some(()))
    };
    within(30, metric, there).await.unwrap();
    (exporter, prometheus)
}

fn samples(answer: Answered) -> Vec<Sample> {
    let Ok(Found::Metrics(samples)) = answer else { panic!("no samples: {answer:?}") };
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_told_as_far_as_they_are_granted() {
    let mut text = "secret 42\nodd{of=\"x\"} NaN\nodd{of=\"y\"} +Inf\nallowed{path=\"/a b\"} 0.1\n".to_owned();
    for n in 0..501 {
        let _ = writeln!(text, "many{{n=\"{n}\"}} {n}");
    }
    let (_exporter, prometheus) = scraped(&text, "many").await;
    let grants = json!({"metrics": ["up", "allowed", "odd*", "many"]});
    let now = Time::now();
    let all = json!([
        {"metrics": "allowed{path='/a b'} > bool 0 # a remark"},
        {"metrics": "time()"},
        {"metrics": "sort_desc(odd)"},
        {"metrics": "topk(500, many)"},
        {"metrics": "allowed == 7"},
        {"metrics": "many"},
        {"metrics": "allowed[1m]"},
        {"metrics": "allowed + on() many"},
        {"metrics": "secret"},
        {"metrics": "allowed or secret"},
        {"metrics": "{__name__=~\"allowed|secret\"}"},
        {"metrics": "allowed +"},
        {"metrics": 4_097},
    ]);
    let settings = json!({"lookups": all});
    let eyes = || lookout(world(&[&prometheus.url]));
    let answer = ask_with("looks", eyes(), grants, settings, json!({"deadline": "2s"}), now).await;
    let mut all = answer.lookups.into_iter().map(|looked| looked.answer);
    let mut next = || all.next().unwrap();
    let found = samples(next());
    assert_eq!((found.len(), found[0].value, found[0].at), (1, 1.0, now), "at the time of the question");
    assert!(found[0].labels.contains(&("path".to_owned(), "/a b".to_owned())), "{found:?}");
    let time = samples(next());
    assert_eq!((time.len(), time[0].labels.len()), (1, 0));
    assert!((time[0].value * 1e3 - now.0 as f64).abs() < 1.0, "{time:?} is not {now}");
    let odd = samples(next());
    assert!(odd.iter().any(|s| s.value.is_nan()) && odd.iter().any(|s| s.value == f64::INFINITY), "{odd:?}");
    assert_eq!(samples(next()).len(), 500);
    assert_eq!(samples(next()), []);
    assert!(matches!(next(), Err(LookupError::LimitExceeded(why)) if why.contains("more than 500")));
    assert!(matches!(next(), Err(LookupError::Invalid(why)) if why.contains("matrix")));
    assert!(matches!(next(), Err(LookupError::Invalid(why)) if why.contains("422") || why.contains("many")));
    for _ in 0..2 {
        assert!(denied(&next()).contains(r#"for the metric secret; to allow it: grants: {metrics: ["secret"]}"#));
    }
    assert!(
        denied(&next()).contains(
            r#"without a fixed name (`__name__` with another operator than `=`); to allow it: grants: {metrics: ["*"]}"#
        )
    );
    assert!(denied(&next()).contains("not understood completely"));
    assert!(matches!(next(), Err(LookupError::LimitExceeded(why)) if why.contains("4096")));

    // With a grant for everything it is Prometheus who says what is wrong.
    let everything = json!([{"metrics": "{__name__=~\"allowed|secret\"}"}, {"metrics": "allowed +"}]);
    let all = answers(eyes(), json!({"metrics": ["*"]}), everything).await;
    assert_eq!(samples(all[0].clone()).len(), 2);
    assert!(matches!(&all[1], Err(LookupError::Invalid(why)) if why.contains("parse error")), "{all:?}");
    // Without any, nothing; not even what reads nothing.
    assert!(denied(&one(eyes(), json!({}), json!({"metrics": "1"})).await).contains("to ask for metrics"));
    let nobody = one(lookout(world(&[])), json!({"metrics": ["up"]}), json!({"metrics": "up"})).await;
    assert!(matches!(&nobody, Err(LookupError::Unavailable(why)) if why.contains("add `prometheus: URL`")), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_hangs_costs_no_more_than_the_policy_allows_and_not_the_plugins_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hangs = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    let settings = json!({"times": 4, "lookups": [{"metrics": "up"}]});
    let limits = json!({"deadline": "150ms", "lookups": "600ms"});
    let begun = Instant::now();
    let eyes = lookout(world(&[&url]));
    let answer = ask_with("looks", eyes, json!({"metrics": ["up"]}), settings, limits, Time::now()).await;
    let took = begun.elapsed();
    assert!(
        matches!(&answer.decision, Ok(Decision::Pass { reason }) if reason.contains("limits.lookups")),
        "{:?}",
        answer.decision
    );
    assert_eq!(answer.lookups.len(), 4);
    for looked in &answer.lookups {
        assert!(matches!(&looked.answer, Err(LookupError::Unavailable(why)) if why.contains("within 600 ms")), "{looked:?}");
    }
    let waited: u64 = answer.lookups.iter().map(|looked| looked.micros).sum();
    assert!((590_000..900_000).contains(&waited), "all together waited {waited} µs");
    assert!(answer.micros < 150_000, "{} µs of its own", answer.micros);
    // The plugin's file is read and found compiled in this time as well.
    assert!(took < Duration::from_secs(5), "{took:?}");
    hangs.abort();
}

/// Pieces of which hostile queries are made. `secret` must never be read, whatever stands around it.
const PIECES: &[&str] = &[
    "up",
    "up",
    "up",
    "up",
    "secret",
    "secret",
    "up{}",
    "up{job=\"demo\"}",
    "{__name__=\"up\"}",
    "{__name__=\"secret\"}",
    "{\"secret\"}",
    "up{__name__=\"secret\"}",
    "{__name__=~\"up|secret\"}",
    "{__name__!=\"\"}",
    "{job=\"demo\"}",
    "{\"up\"}",
    "by",
    "BY",
    "offset",
    "on",
    "start",
    "end",
    "bool",
    "group",
    "sum",
    "count",
    "inf",
    "NaN",
    "secret{a!=\"b\"}",
    "up{a!=\"secret",
    "# secret\n",
    "#",
    "\r",
    "\n",
    "'",
    "\"",
    "`",
    "\\",
    "'secret'",
    "`secret`",
    "\"\\\"secret\"",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "[5m]",
    "[1m:10s]",
    ",",
    "=",
    "=~",
    "!=",
    "==",
    "+",
    "-",
    "*",
    "/",
    ">",
    "^",
    "%",
    "and",
    "OR",
    "or",
    "unless",
    "atan2",
    "offset 1s",
    "offset -1s",
    "@ start()",
    "@",
    "1",
    "5m",
    "0x1F",
    "1e3",
    ".5",
    "sum(",
    "count(",
    "sum by (secret) (",
    "by (job)",
    "without (secret)",
    "rate(",
    "absent(",
    "vector(",
    "scalar(",
    "label_replace(",
    "info(",
    "on(job)",
    "ignoring(secret)",
    "group_left(secret)",
    "group_right",
    "topk(1,",
    "count_values(\"secret\",",
    "time()",
    "secret()",
    "WITH (",
    ";",
    "$",
    "\u{a0}",
    "\u{0}",
    "ſ",
    "K",
    "UP",
    "ALERTS",
    "scrape_samples_scraped",
];

/// Sound queries to begin with.
const SOUND: &[&str] = &[
    "up == 0",
    "sum by (job) (up)",
    "count(up) - count(up offset 1s)",
    "max_over_time(up[5s]) > bool 0",
    "up{job=\"demo\", instance!=\"x\"} and on(job) up",
    "label_replace(up, \"a\", \"$1\", \"job\", \"(.*)\")",
    "{__name__=\"up\"} * 2 + on() group_left vector(1)",
    "sum(rate(up[10s])) by (job) or absent(up)",
    "quantile_over_time(0.5, up[10s:1s]) @ end()",
];

fn hostile(dice: &mut Dice) -> String {
    let mut text = if dice.percent(60) { (*dice.one_of(SOUND)).to_owned() } else { String::new() };
    for _ in 0..=dice.below(4) {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let at = *dice.one_of(&places);
        let piece = dice.one_of(PIECES);
        let space = if dice.percent(70) { " " } else { "" };
        if dice.percent(30) && !text.is_empty() {
            let end = *dice.one_of(&places[places.iter().position(|place| *place == at).unwrap()..]);
            text.replace_range(at..end, piece);
        } else {
            text.insert_str(at, &format!("{space}{piece}{space}"));
        }
    }
    text
}

/// Two Prometheis that differ in everything but `up` must not be told apart by whoever is granted only `up`.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_granted_only_one_metric_never_gets_another() {
    let (_one, with) = scraped(
        "secret{job=\"demo\",a=\"1\"} 42\nby 7\non 7\noffset 7\nstart 7\nUP 7\ntarget_info{secret=\"yes\"} 1\n",
        "secret",
    )
    .await;
    let (_two, without) = scraped("nothing 1\n", "nothing").await;
    // Both have been up for a while, and are asked about one moment. What tells the two exporters apart is their address.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let now = Time::now();
    let policy = json!({"name": "curious", "plugin": "looks.wasm", "grants": {"metrics": ["up"]}});
    let policy: Policy = serde_json::from_value(policy).unwrap();
    let id = question(now).incident.id;
    let [with, without] =
        [&with, &without].map(|prometheus| Arc::new(lookout(world(&[&prometheus.url]))).through(&policy, &id, now));
    let seed = 20_261_125;
    let mut dice = Dice::new(seed);
    let (mut asked, mut refused, mut seen) = (0, 0, BTreeSet::new());
    for round in 0..20_000 {
        let query = hostile(&mut dice);
        if !seen.insert(query.clone()) {
            continue;
        }
        let Ok(read) = Query::read(&query) else {
            refused += 1;
            continue;
        };
        assert_eq!(Query::read(&read.text).as_ref(), Ok(&read), "{query:?} is written anew as something else");
        let lookup = Lookup::Metrics { query: query.clone() };
        let answer = with.look(&lookup).await;
        if read.metrics.iter().any(|name| name != "up") {
            denied(&answer);
            continue;
        }
        asked += 1;
        let (one, two) = (bare(answer), bare(without.look(&lookup).await));
        assert_eq!(one, two, "round {round} of seed {seed}: {query:?}, asked as {:?}", read.text);
    }
    assert!(asked > 300 && refused > 3_000, "{asked} were asked and {refused} refused: does this still try what it should?");
}

/// An answer without what differs between the two anyway.
fn bare(answer: Answered) -> Result<BTreeSet<String>, &'static str> {
    match answer {
        Ok(Found::Metrics(samples)) => {
            let labels =
                |sample: &Sample| sample.labels.iter().filter(|(name, _)| name != "instance").cloned().collect::<Vec<_>>();
            Ok(samples.iter().map(|sample| format!("{:?} {}", labels(sample), sample.value)).collect())
        }
        Err(LookupError::Invalid(_)) => Err("invalid"),
        other => panic!("{other:?}"),
    }
}
