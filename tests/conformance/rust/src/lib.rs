//! A plugin that does what its settings say, through the whole of the Rust SDK. Its twins in Python and JavaScript have to do the
//! same: `tests/src/conformance.rs` asks all of them the same questions.
#![allow(missing_docs)]
// Whoever asks it is there in a component only.
#![cfg_attr(not(target_family = "wasm"), allow(dead_code, unused_imports))]

use std::time::Duration;

use paramedic_policy::lookup::{LookupError, containers, history, metrics};
use paramedic_policy::{Decision, Incident, Kind, Lookup, Matcher, Proposal, Value, json, log, policy};

mod settings;
mod told;

use settings::{Answer, How, Level, Match, Settings, Step, Wanted};

policy! {
    name: "conformance",
    description: "Does what its settings say, through the whole of its SDK",
    actions: [
        Kind::DockerRestart, Kind::DockerStart, Kind::DockerStop, Kind::DockerPause, Kind::DockerUnpause, Kind::DockerKill,
        Kind::AnsiblePlaybook, Kind::Silence, Kind::ExpireSilence, Kind::Notify,
    ],
    lookups: [Lookup::Containers, Lookup::LogTail, Lookup::Metrics, Lookup::History],
    settings: Settings,
    check: check,
    decide: decide,
}

/// What a schema cannot say.
fn check(settings: &Settings) -> Result<(), String> {
    for step in &settings.script {
        match step {
            Step::Past { within_ms, .. } => drop(millis(within_ms)?),
            Step::Fail { how: How::BugInCheck } => drop(fail(&How::Bug)?),
            _ => {}
        }
    }
    match &settings.decision {
        Answer::Wait { ms, .. } => millis(ms).map(drop),
        Answer::Act { proposals, .. } => proposals.iter().try_for_each(|wanted| propose(wanted).map(drop)),
        _ => Ok(()),
    }
}

fn decide(incident: &Incident, settings: &Settings) -> Result<Decision, String> {
    let mut told = Vec::new();
    for step in &settings.script {
        match step {
            Step::Tell { what } => told.push(told::part(what, incident, &settings.values)),
            Step::Log { level, message, times } => (0..*times).for_each(|_| say(level, message)),
            Step::Print { text } => print(text),
            Step::Fail { how } => return fail(how),
            _ => match look(step)? {
                Err(error) if settings.strict => return Err(error.into()),
                answer => told.push(answer.unwrap_or_else(told::failed)),
            },
        }
    }
    answer(&settings.decision, &told)
}

fn look(step: &Step) -> Result<Result<Value, LookupError>, String> {
    Ok(match step {
        Step::Find { host, labels } => {
            // Backwards, here and below: to bring names into their order is the SDK's part.
            let labels: Vec<_> = labels.iter().rev().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            containers::find(host, &labels).map(|found| found.into_iter().map(told::container).collect())
        }
        Step::Inspect { target } => containers::inspect(target).map(told::container),
        Step::LogTail { target, lines } => containers::log_tail(target, *lines).map(|lines| json!(lines)),
        Step::Query { promql } => metrics::query(promql).map(|found| found.into_iter().map(told::sample).collect()),
        Step::Past { target, within_ms } => {
            history::of_target(target, millis(within_ms)?).map(|found| found.into_iter().map(told::past).collect())
        }
        other => return Err(format!("{other:?} is no lookup")),
    })
}

fn answer(answer: &Answer, told: &[Value]) -> Result<Decision, String> {
    let with =
        |reason: &str| if told.is_empty() { reason.to_owned() } else { format!("{reason} {}", told::canonical(&json!(told))) };
    Ok(match answer {
        Answer::Pass { reason } => Decision::pass(with(reason)),
        Answer::Ignore { reason } => Decision::ignore(with(reason)),
        Answer::Act { reason, proposals } => {
            Decision::act(with(reason), proposals.iter().map(propose).collect::<Result<Vec<_>, _>>()?)
        }
        Answer::Wait { reason, ms } => Decision::wait(with(reason), millis(ms)?),
        Answer::Escalate { reason } => Decision::escalate(with(reason)),
    })
}

fn propose(wanted: &Wanted) -> Result<Proposal, String> {
    Ok(match wanted {
        Wanted::Restart { target, grace_seconds } => grace(Proposal::restart(target), *grace_seconds),
        Wanted::Start { target } => Proposal::start(target),
        Wanted::Stop { target, grace_seconds } => grace(Proposal::stop(target), *grace_seconds),
        Wanted::Pause { target } => Proposal::pause(target),
        Wanted::Unpause { target } => Proposal::unpause(target),
        Wanted::Kill { target, signal: Some(signal) } => Proposal::kill(target).signal(signal),
        Wanted::Kill { target, signal: None } => Proposal::kill(target),
        Wanted::Playbook { name, about, host, variables, tags, check } => {
            let run = Proposal::playbook(name).about(about).vars(variables.clone().into_iter().rev()).tags(tags);
            let run = if *check { run.check() } else { run };
            host.iter().fold(run, |run, host| run.host(host))
        }
        Wanted::Silence { about, matchers, ms, comment } => {
            let matchers = matchers.iter().map(matcher).collect::<Result<Vec<_>, _>>()?;
            Proposal::silence(matchers, millis(ms)?).about(about).comment(comment)
        }
        Wanted::Expire { about, id: Some(id) } => Proposal::expire_silence(about, id),
        Wanted::Expire { about, id: None } => Proposal::expire_silences(about),
        Wanted::Notify { about, channel, text } => Proposal::notify(channel, text).about(about),
    })
}

fn grace(proposal: Proposal, seconds: Option<u32>) -> Proposal {
    seconds.into_iter().fold(proposal, Proposal::grace)
}

fn matcher(of: &Match) -> Result<Matcher, String> {
    let Match { name, op, value } = of;
    match op.as_str() {
        "=" => Ok(Matcher::is(name, value)),
        "!=" => Ok(Matcher::is_not(name, value)),
        "=~" => Ok(Matcher::like(name, value)),
        "!~" => Ok(Matcher::unlike(name, value)),
        other => Err(format!("`{other}` is no operator of a matcher")),
    }
}

/// A length of time; `forever` is the longest that the language can say.
fn millis(text: &str) -> Result<Duration, String> {
    if text == "forever" {
        return Ok(Duration::MAX);
    }
    text.parse().map(Duration::from_millis).map_err(|_| format!("`{text}` is no number of milliseconds"))
}

fn say(level: &Level, message: &str) {
    match level {
        Level::Debug => log::debug(message),
        Level::Info => log::info(message),
        Level::Warn => log::warn(message),
        Level::Error => log::error(message),
    }
}

#[allow(clippy::print_stdout)]
fn print(text: &str) {
    println!("{text}");
}

#[allow(clippy::panic)]
fn fail(how: &How) -> Result<Decision, String> {
    match how {
        How::CannotDecide => Err("this cannot be decided".to_owned()),
        How::Bug | How::BugInCheck => panic!("a bug"),
        How::Recursion => Ok(Decision::pass(deeper(1).to_string())),
        How::Nothing => Err("a policy in Rust cannot answer nothing".to_owned()),
        How::NoText => Err("a policy in Rust cannot name what is no text".to_owned()),
        How::HalfACharacter => Ok(Decision::escalate("half \u{fffd}")),
    }
}

#[allow(unconditional_recursion)]
fn deeper(n: u64) -> u64 {
    std::hint::black_box(deeper(n + 1)) + n
}
