//! `/metrics`: everything of Paramedic that Prometheus can watch, as OpenMetrics text.
//!
//! What happened is counted by the tally; how it is now is looked at when somebody scrapes, at most once a second. The names are
//! listed in `docs/operations.md`, and a test compares the two. A room that counts something of its own (telling people, say) hands
//! its counters over in [`Metrics::new`], as the doors do. Absent on purpose: labels of alerts, and anything else that has no bound.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::tally::Counts;
use super::{Look, Seen, Shown};
use crate::clock::Time;
use crate::decide::sandbox::WASMTIME;
use crate::policy::present::Taken;
use crate::telemetry::Gauges;

/// What kind of text it is.
pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The names, and how it was at the last look.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    policies: Gauges,
    config: Gauges,
    reloaded: Gauge,
    reloaded_at: Gauge,
    incidents: Gauges,
    held: Gauges,
    detectors: Gauges,
    halted: Gauge,
    holds: Gauges,
    ready: Gauge,
    position: Gauge,
    bytes: Gauge,
    waiting: Gauges,
    memory: Gauge,
}

impl Metrics {
    pub fn new(counts: &Counts, seen: &Seen, started: Time) -> Self {
        let Seen { intake, told, .. } = seen;
        let pulse = seen.journal.pulse();
        let mut registry = Registry::default();
        of_the_journal(&mut registry, counts);
        let r = &mut registry;
        r.register("paramedic_alerts_heard", "Alerts heard, by door, whether or not they were new", intake.heard.clone());
        r.register("paramedic_alerts_not_kept", "Alerts that could not be made durable, by door", intake.not_kept.clone());
        r.register("paramedic_told", "Alerts and messages that a receiver took", told.sent.clone());
        r.register("paramedic_told_failed", "Tries to tell a receiver that failed", told.failed.clone());
        r.register("paramedic_told_refused", "Messages that a receiver refused, and that were passed over", told.refused.clone());
        r.register("paramedic_told_waiting", "Alerts and messages that wait for a receiver", told.waiting.clone());
        r.register("paramedic_journal_append_seconds", "How long an append took", pulse.appends.clone());
        r.register("paramedic_journal_appends_failed", "Appends that surely were not written", pulse.failed.clone());
        r.register("paramedic_journal_appends_unknown", "Appends that may not have been written", pulse.unknown.clone());
        let gauges = |r: &mut Registry, name: &str, help: &str| {
            let gauges = Gauges::default();
            r.register(name, help, gauges.clone());
            gauges
        };
        let gauge = |r: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            r.register(name, help, gauge.clone());
            gauge
        };
        let build = gauges(r, "paramedic_build_info", "Always 1; its labels say which version this is");
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("wasmtime", WASMTIME.to_owned())]).set(1);
        let begun: Gauge<f64, AtomicU64> = Gauge::default();
        begun.set(started.0 as f64 / 1e3);
        r.register("process_start_time_seconds", "When this process began, in seconds since 1970", begun);
        Self {
            policies: gauges(r, "paramedic_policy_info", "Always 1; its labels say which policies are loaded, in which mode"),
            config: gauges(
                r,
                "paramedic_config_info",
                "Always 1; its label is the digest of all policies and plugins that are loaded",
            ),
            reloaded: gauge(
                r,
                "paramedic_config_last_reload_successful",
                "0 while the files of policies and plugins could not be taken over",
            ),
            reloaded_at: gauge(r, "paramedic_config_last_reload_success_timestamp_seconds", "When they were last taken over"),
            incidents: gauges(r, "paramedic_incidents", "Incidents that are open, by where they stand"),
            held: gauges(r, "paramedic_incidents_held", "Incidents that are held now, by the rule that holds them"),
            detectors: gauges(r, "paramedic_detector_up", "Whether what is looked at answers"),
            halted: gauge(r, "paramedic_halted", "1 while everything is halted"),
            holds: gauges(r, "paramedic_holds", "Holds that stand; a broken one holds everything"),
            ready: gauge(r, "paramedic_journal_ready", "1 while alerts can be made durable"),
            position: gauge(r, "paramedic_journal_position", "Number of the last entry"),
            bytes: gauge(r, "paramedic_journal_bytes", "What the journal takes on the disk"),
            waiting: gauges(r, "paramedic_journal_waiting", "What waits for its turn at the journal"),
            memory: gauge(r, "process_resident_memory_bytes", "Memory that this process holds"),
            registry,
        }
    }

    /// Writes it down as it is at this look.
    pub fn text(&self, look: &Look, policies: &[Shown], files: &Taken) -> String {
        self.look(look);
        self.files(policies, files);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// What was loaded before is not there any more.
    fn files(&self, policies: &[Shown], files: &Taken) {
        self.policies.clear();
        for policy in policies {
            self.policies.get_or_create(&policy.labels()).set(1);
        }
        self.config.clear();
        self.config.get_or_create(&vec![("sha256", files.sha256.clone())]).set(1);
        self.reloaded.set(i64::from(files.successful));
        self.reloaded_at.set(files.at_time.0 / 1_000);
    }

    fn look(&self, look: &Look) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (state, count) in &look.standing.states {
            self.incidents.get_or_create(&vec![("state", (*state).to_owned())]).set(number(*count));
        }
        for (rule, count) in &look.standing.held {
            self.held.get_or_create(&vec![("rule", rule.word())]).set(number(*count));
        }
        // What was not asked yet neither answers nor fails to.
        for (detector, up) in look.detectors.iter().filter_map(|detector| Some((detector, detector.reachable?))) {
            let labels = vec![("kind", detector.kind.to_owned()), ("name", detector.name.clone())];
            self.detectors.get_or_create(&labels).set(i64::from(up));
        }
        self.halted.set(i64::from(look.halted.is_some()));
        for (kind, holds) in [("standing", look.holds.0.len()), ("broken", look.holds.1)] {
            self.holds.get_or_create(&vec![("kind", kind.to_owned())]).set(number(holds));
        }
        self.ready.set(i64::from(look.ready.is_ok()));
        if let Ok(vitals) = &look.vitals {
            self.position.set(i64::try_from(vitals.last).unwrap_or(i64::MAX));
            self.bytes.set(i64::try_from(vitals.bytes).unwrap_or(i64::MAX));
            for (what, waiting) in [("reads", vitals.reads_waiting), ("appends", vitals.appends_waiting)] {
                self.waiting.get_or_create(&vec![("what", what.to_owned())]).set(number(waiting));
            }
        }
        if let Some(bytes) = resident() {
            self.memory.set(bytes);
        }
    }
}

/// What follows from the journal's entries.
fn of_the_journal(r: &mut Registry, counts: &Counts) {
    r.register("paramedic_journal_entries", "Entries written, by kind", counts.entries.clone());
    r.register("paramedic_incidents_opened", "Incidents opened, by the door they came through", counts.opened.clone());
    r.register("paramedic_incidents_closed", "Incidents closed, by how", counts.closed.clone());
    r.register("paramedic_decisions", "Answers of policies", counts.decisions.clone());
    r.register(
        "paramedic_policies_compared",
        "Answers of observing policies to what a followed one was asked too, by whether they agree",
        counts.compared.clone(),
    );
    r.register("paramedic_refusals", "Actions that were refused, by rule", counts.refused.clone());
    r.register("paramedic_held", "How often something was held, by rule", counts.held.clone());
    r.register("paramedic_escalations", "How often a person was called", counts.escalated.clone());
    r.register("paramedic_attempts", "Attempts to heal", counts.attempts.clone());
    r.register("paramedic_verdicts", "Whether an attempt had helped", counts.verdicts.clone());
    r.register("paramedic_actions", "Actions, by kind and by how they ended", counts.actions.clone());
    r.register("paramedic_time_to_heal_seconds", "From when it was first heard to healed", counts.to_heal.clone());
    r.register("paramedic_first_response_seconds", "From when it was first heard to the first action", counts.to_begin.clone());
    r.register("paramedic_action_seconds", "How long an action took, by kind", counts.acting.clone());
    r.register("paramedic_plugin_seconds", "How long a policy's plugin took to answer", counts.answering.clone());
}

/// The memory of this process, as the kernel counts it.
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<i64>().ok()?.checked_mul(1024)
}
