//! One question about a made-up alert, before a plugin is let near a real one.
//!
//! That a plugin loads, describes itself and likes its settings says nothing about whether it can decide: what crashes at once, or does not
//! fit into its policy's memory, would be found out by the first alert, at night. The alert is made to fit the policy's matchers, nothing can
//! be looked at, and nothing follows from the answer. Which decision comes is the plugin's business, and that it cannot decide about an
//! alert that nobody has seen is no fault, only worth a word. Absent on purpose: a verdict on how long it took; a
//! machine that starts is busy, so that only gives a word too.

use std::sync::Arc;
use std::time::Duration;

use super::load::{AT_LOAD, plainly};
use super::lookup::Blind;
use super::plugin::Judge;
use super::question::{Brief, Failure};
use super::sandbox::Limits;
use crate::alert::{Alert, Family, IncidentId, Key, Labels, Status, overlap};
use crate::clock::{Time, print_duration};
use crate::incident::{TargetView, Trigger};
use crate::policy::Policy;
use crate::telemetry::clean;

/// How long the made-up alert has been firing.
const FIRING_FOR_MS: i64 = 60_000;
/// Characters of a plugin's own words that are shown.
const WORDS: usize = 300;

/// Asks the plugin as this policy would. `Ok(Some(..))`: what its author or operator should know.
///
/// # Errors
/// Why no alert could be decided with it, and what to do.
pub async fn ask(policy: &Policy, plugin: &dyn Judge) -> Result<Option<String>, String> {
    let own = &policy.limits;
    let limits = Limits { deadline: own.deadline.max(AT_LOAD.deadline), memory: own.memory, lookups: Duration::ZERO };
    let brief = brief(policy)?;
    let mut ruling = plugin.decide(&brief, &limits).await;
    if slow(ruling.micros, own.deadline) {
        // The first time an interpreter reads all its pages.
        ruling = plugin.decide(&brief, &limits).await;
    }
    let took = ruling.micros;
    match ruling.decision {
        // Nothing could be looked at, so that it lacks something is right.
        Err(Failure::Error(_)) if !ruling.lookups.is_empty() => Ok(None),
        Err(Failure::Error(why)) => Ok(Some(format!(
            "asked about a made-up alert, {} could not decide: {}; look whether that is right for an alert with the labels {}",
            clean(&plugin.manifest().name, 64),
            clean(&why, WORDS),
            told(&brief.alert.labels)
        ))),
        Err(failure) => Err(format!("asked about a made-up alert, it failed: {}; {}", plainly(&failure), advice(&failure))),
        Ok(_) if slow(took, own.deadline) => Ok(Some(format!(
            "asked about a made-up alert, {} took {}, and the policy's `limits.deadline` is {}: real questions may get no answer",
            clean(&plugin.manifest().name, 64),
            print_duration(Duration::from_micros(took)),
            print_duration(own.deadline)
        ))),
        Ok(_) => Ok(None),
    }
}

fn slow(micros: u64, deadline: Duration) -> bool {
    Duration::from_micros(micros) > deadline
}

fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Memory(_) => "give the policy more with `limits: {memory: 128MiB}`, or make the plugin smaller",
        Failure::Busy(_) => "try again when fewer questions are asked",
        Failure::NoSandbox(_) => "look at the machine's free memory and its limits",
        Failure::Deadline(_) => "a plugin may wait for nothing: look for a loop, and ask it the cases of `paramedic policy test`",
        _ => "a plugin that lacks something answers an error instead: mend it, and ask it the cases of `paramedic policy test`",
    }
}

/// The alert is told, so that whoever reads the complaint can put the same question as a case.
fn brief(policy: &Policy) -> Result<Brief, String> {
    let now = Time::now();
    let mut labels =
        Labels::from([("alertname", "Trial"), ("container", "trial"), ("instance", "trial:80"), ("severity", "none")].map(text));
    labels.extend(overlap::example(&policy.matchers));
    let target = "local/trial".parse()?;
    Ok(Brief {
        id: IncidentId { key: Key::of(Family::Prometheus, &labels, &[]), n: 1 },
        alert: Alert {
            family: Family::Prometheus,
            status: Status::Firing,
            labels,
            annotations: Labels::from([("summary", "made up, to see whether the plugin can decide")].map(text)),
            starts_at: Time(now.0 - FIRING_FOR_MS),
            ends_at: None,
            generator_url: String::new(),
            fingerprint: None,
        },
        first_seen: now,
        trigger: Trigger::Alert,
        attempts: Vec::new(),
        targets: vec![TargetView { target, inventory_host: Some("localhost".parse()?), state: "running".to_owned() }],
        settings: policy.settings.clone(),
        now,
        lookups: Arc::new(Blind),
    })
}

fn text((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn told(labels: &Labels) -> String {
    let all: Vec<String> = labels.iter().map(|(name, value)| format!("{}={}", clean(name, 60), clean(value, 60))).collect();
    all.join(", ")
}
