//! What a plugin looks at: every lookup, its answers, and every way to have none.

use paramedic::clock::Time;
use paramedic::decide::lookup::MOST_LOOKUPS;
use paramedic::incident::lookup::{Found, FoundContainer, Lookup, LookupError, PastIncident, Sample};
use serde_json::{Value, json};

use super::telling::{STRANGE, every_outcome};
use super::{Answered, Case, Expected, Language, Outcome, Says, brief, script, told, told_reason};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        looks("containers that are found", vec![(find(&[("tier", "web")]), Ok(Found::Containers(vec![container(), bare()])))]),
        looks("containers without a label asked for, and none found", vec![(find(&[]), Ok(Found::Containers(Vec::new())))]),
        looks(
            "labels are asked for in the order of their names",
            vec![(find(&[("10", "x"), ("9", "x"), ("B", "x"), ("a", STRANGE)]), Ok(Found::Containers(vec![container()])))],
        ),
        looks("two hundred containers", vec![(find(&[]), Ok(Found::Containers(vec![bare(); 200])))]),
        looks("a container with everything", vec![(inspect("local/web"), Ok(Found::Container(container())))]),
        looks("a container with nothing", vec![(inspect("local/web"), Ok(Found::Container(bare())))]),
        looks("a container in words that no SDK knows", vec![(inspect("local/web"), Ok(Found::Container(unknown())))]),
        looks("a container of strange text", vec![(inspect(STRANGE), Ok(Found::Container(strange())))]),
        looks(
            "the end of a log",
            vec![(log("local/web", 3), Ok(Found::Log(vec!["first".into(), STRANGE.into(), String::new()])))],
        ),
        looks("an empty log, and a great many lines", vec![(log("local/web", u32::MAX), Ok(Found::Log(Vec::new())))]),
        looks("no line at all", vec![(log("local/web", 0), Ok(Found::Log(Vec::new())))]),
        looks("a long log", vec![(log("local/web", 200), Ok(Found::Log(vec!["x".repeat(1000); 200])))]),
        looks("values of every kind", vec![(query("up == 0"), Ok(Found::Metrics(every_number())))]),
        looks(
            "a scalar, and no value",
            vec![
                (query("scalar(up)"), Ok(Found::Metrics(vec![Sample { labels: Vec::new(), value: 1.0, at: Time(0) }]))),
                (query(STRANGE), Ok(Found::Metrics(Vec::new()))),
            ],
        ),
        looks("five hundred values", vec![(query("up"), Ok(Found::Metrics(vec![sample(0.1); 500])))]),
        looks("incidents of before", vec![(past("local/web", 3_600_000), Ok(Found::History(vec![incident(), open()])))]),
        looks("no incident before", vec![(past("local/web", 0), Ok(Found::History(Vec::new())))]),
        looks(
            "the longest time that every language keeps",
            vec![(past("local/web", (1 << 53) - 1), Ok(Found::History(Vec::new())))],
        ),
        looks(
            "the same question twice, answered differently",
            vec![(query("up"), Ok(Found::Metrics(Vec::new()))), (query("up"), Ok(Found::Metrics(vec![sample(1.0)])))],
        ),
        looks("everything, in its order", everything()),
        too_many(),
        large_number(),
    ];
    for (name, error) in errors() {
        for (asked, _) in everything() {
            let name = format!("{name}, asked for {}", asked.word());
            cases.push(looks(&name, vec![(asked, Err(error(STRANGE.to_owned())))]));
        }
        cases.push(let_through(name, error(format!("why {name}"))));
    }
    cases.extend(refused_by_size());
    cases
}

type ErrorOf = fn(String) -> LookupError;

fn errors() -> [(&'static str, ErrorOf); 6] {
    [
        ("access denied", LookupError::AccessDenied),
        ("not found", LookupError::NotFound),
        ("invalid", LookupError::Invalid),
        ("limit exceeded", LookupError::LimitExceeded),
        ("unavailable", LookupError::Unavailable),
        ("other", LookupError::Other),
    ]
}

/// The step of the script that asks it.
fn step(lookup: &Lookup) -> Value {
    match lookup {
        Lookup::Containers { host, labels } => {
            let labels: serde_json::Map<_, _> = labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            json!({"do": "find", "host": host, "labels": labels})
        }
        Lookup::Container { target } => json!({"do": "inspect", "target": target}),
        Lookup::Log { target, lines } => json!({"do": "log-tail", "target": target, "lines": lines}),
        Lookup::Metrics { query } => json!({"do": "query", "promql": query}),
        Lookup::History { target, within_ms } => json!({"do": "past", "target": target, "within_ms": within_ms.to_string()}),
    }
}

fn looks(name: &str, lookups: Vec<Answered>) -> Case {
    let settings = script(lookups.iter().map(|(lookup, _)| step(lookup)).collect());
    let told: Value = lookups.iter().map(|(_, answer)| told::answer(answer)).collect();
    Case { name: name.to_owned(), brief: brief(settings), lookups, expected: Expected::Same(told_reason(&told)) }
}

/// An error that the policy does not look at: it could not decide, in the words of the host.
fn let_through(name: &str, error: LookupError) -> Case {
    let asked = inspect("local/db");
    let mut settings = script(json!([step(&asked)]));
    settings["strict"] = json!(true);
    let says = Says::This(format!("the plugin could not decide: {error}"));
    Case {
        name: format!("{name}, let through"),
        brief: brief(settings),
        lookups: vec![(asked, Err(error))],
        expected: Expected::Same(Outcome::failure(says)),
    }
}

fn find(labels: &[(&str, &str)]) -> Lookup {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Lookup::Containers { host: "local".to_owned(), labels }
}

fn inspect(target: &str) -> Lookup {
    Lookup::Container { target: target.to_owned() }
}

fn log(target: &str, lines: u32) -> Lookup {
    Lookup::Log { target: target.to_owned(), lines }
}

fn query(query: &str) -> Lookup {
    Lookup::Metrics { query: query.to_owned() }
}

fn past(target: &str, within_ms: u64) -> Lookup {
    Lookup::History { target: target.to_owned(), within_ms }
}

fn bare() -> FoundContainer {
    FoundContainer {
        name: "local/web".to_owned(),
        id: "c15c57f6a541".to_owned(),
        state: "created".to_owned(),
        health: "none".to_owned(),
        ..FoundContainer::default()
    }
}

fn container() -> FoundContainer {
    FoundContainer {
        image: "nginx:1.27".to_owned(),
        state: "exited".to_owned(),
        health: "unhealthy".to_owned(),
        started_at: Some(Time(-1)),
        finished_at: Some(Time(1_767_225_500_000)),
        exit_code: Some(137),
        restart_count: u32::MAX,
        labels: vec![("10".into(), "b".into()), ("9".into(), "a".into()), ("__proto__".into(), "c".into())],
        ..bare()
    }
}

fn unknown() -> FoundContainer {
    FoundContainer { state: "hibernating".to_owned(), health: "confused".to_owned(), exit_code: Some(-1), ..container() }
}

fn strange() -> FoundContainer {
    let strange = || STRANGE.to_owned();
    FoundContainer { name: strange(), id: strange(), image: strange(), labels: vec![(strange(), strange())], ..container() }
}

fn sample(value: f64) -> Sample {
    Sample { labels: vec![("instance".into(), "a:1".into()), ("job".into(), STRANGE.into())], value, at: Time(1_767_226_000_000) }
}

fn every_number() -> Vec<Sample> {
    let numbers =
        [0.0, -0.0, 1.0, 0.1, -1e300, 5e-324, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 9_007_199_254_740_993.0];
    numbers.into_iter().map(|value| Sample { labels: Vec::new(), value, at: Time(-1) }).collect()
}

fn incident() -> PastIncident {
    PastIncident {
        id: "fedcba9876543210-3".to_owned(),
        alertname: STRANGE.to_owned(),
        opened_at: Time(1_767_220_000_000),
        closed_at: Some(Time(1_767_220_100_000)),
        state: "healed".to_owned(),
        policy: "heal-web".to_owned(),
        attempts: every_outcome(),
    }
}

fn open() -> PastIncident {
    PastIncident { closed_at: None, state: "asleep".to_owned(), policy: String::new(), attempts: Vec::new(), ..incident() }
}

fn everything() -> Vec<Answered> {
    vec![
        (find(&[("tier", "web")]), Ok(Found::Containers(vec![bare()]))),
        (inspect("local/web"), Ok(Found::Container(bare()))),
        (log("local/web", 20), Ok(Found::Log(vec!["ready".to_owned()]))),
        (query("up"), Ok(Found::Metrics(vec![sample(1.0)]))),
        (past("local/web", 60_000), Ok(Found::History(vec![open()]))),
    ]
}

/// More than are answered. What is not answered is not written down either.
fn too_many() -> Case {
    let asked = MOST_LOOKUPS;
    let answered: Vec<Answered> = (0..asked).map(|n| (inspect(&format!("local/c{n}")), Ok(Found::Container(bare())))).collect();
    let mut steps: Vec<_> = answered.iter().map(|(lookup, _)| step(lookup)).collect();
    steps.push(json!({"do": "query", "promql": "up"}));
    let mut settings = script(json!(steps));
    settings["strict"] = json!(true);
    let says = format!("the plugin could not decide: limit exceeded: {asked} lookups are answered for one decision");
    Case {
        name: "more lookups than are answered".to_owned(),
        brief: brief(settings),
        lookups: answered,
        expected: Expected::Same(Outcome::failure(Says::This(says))),
    }
}

/// The one number that JavaScript does not keep: its SDK gives the nearest one, as its page says.
fn large_number() -> Case {
    let exited = FoundContainer { exit_code: Some((1 << 53) + 1), ..bare() };
    let mut case =
        looks("an exit code that JavaScript's numbers cannot say", vec![(inspect("local/web"), Ok(Found::Container(exited)))]);
    case.expected = Expected::Each(|language| {
        let code = if language == Language::Js { 1 << 53 } else { (1 << 53) + 1 };
        told_reason(&json!([told::answer(&Ok(Found::Container(FoundContainer { exit_code: Some(code), ..bare() })))]))
    });
    case
}

/// Questions that are refused by their size, before anybody is asked; they are written down shortened.
fn refused_by_size() -> Vec<Case> {
    let refused = |name: &str, asked: Lookup, kept: Lookup, why: &str| {
        let mut case = looks(name, vec![(kept, Err(LookupError::LimitExceeded(why.to_owned())))]);
        case.brief.settings["script"] = json!([step(&asked)]);
        case
    };
    let long = "x".repeat(9000);
    let short = paramedic::telemetry::clean(&long, 200);
    let labels: Vec<_> = (10..43).map(|n| (format!("l{n}"), "x".to_owned())).collect();
    let few = labels[..8].to_vec();
    let of = |labels| Lookup::Containers { host: "local".to_owned(), labels };
    vec![
        refused("a question that is too long", query(&long), query(&short), "a question of 9000 bytes; 8192 are allowed"),
        refused("too many labels", of(labels), of(few), "a question with 33 labels; 32 are allowed"),
    ]
}
