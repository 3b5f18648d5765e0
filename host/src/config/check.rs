//! What is well written and still wrong: values beyond their bounds, and things that do not fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::words::split_hint;
use super::yaml::Source;
use super::{Config, LoadedPolicy, Problem, folder_of};
use crate::action::{DockerHost, is_tag};
use crate::alert::{Labels, own};
use crate::clock::print_duration;
use crate::journal::Keep;
use crate::look::inventory::playbook_path;
use crate::operate::without_a_group;
use crate::policy::brakes::{MinimumHealthy, PerWindow, Rates};
use crate::policy::grants::PlaybookGrant;
use crate::policy::maintenance::Window;
use crate::policy::{Policy, Probe, Verify};
use crate::telemetry::did_you_mean;
use crate::verify::probe::looks_back;

/// The most expressions of `unless`, and the longest.
const MOST_UNLESS: usize = 20;
const MOST_PROMQL: usize = 8 << 10;

const DAY: Duration = Duration::from_secs(86_400);

/// Collects what is wrong with one file.
struct Checks<'a> {
    source: &'a Source,
    problems: Vec<Problem>,
}

impl<'a> Checks<'a> {
    fn of(source: &'a Source) -> Self {
        Self { source, problems: Vec::new() }
    }

    fn found(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.place);
        self.problems
    }

    fn wrong(&mut self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(self.source.problem(path, message, hint));
    }

    /// A length of time inside its bounds.
    fn length(&mut self, path: &str, length: Duration, least: Duration, most: Duration) {
        if !(least..=most).contains(&length) {
            let bounds = format!("write a length of time from {} to {}", print_duration(least), print_duration(most));
            self.wrong(
                path,
                format!("{} is too {}", print_duration(length), if length < least { "short" } else { "long" }),
                bounds,
            );
        }
    }

    fn docker_host(&mut self, config: &Config, path: &str, host: &DockerHost) {
        let known: Vec<&str> = config.docker.hosts.keys().map(DockerHost::as_str).collect();
        if !known.contains(&host.as_str()) {
            let message = format!("Docker host `{host}` is not configured{}", did_you_mean(host.as_str(), &known));
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            self.wrong(path, message, format!("add it under docker.hosts in paramedic.yaml; there now: {known}"));
        }
    }

    fn playbook(&mut self, config: &Config, path: &str, grant: &PlaybookGrant) {
        let Some(ansible) = &config.ansible else {
            let hint = "add `ansible: {playbooks: ..., profiles: {default: {inventory: ...}}}` to paramedic.yaml";
            return self.wrong(path, "no playbook can be run: Ansible is not configured", hint);
        };
        if !ansible.profiles.contains_key(&grant.profile) {
            let known: Vec<&str> = ansible.profiles.keys().map(String::as_str).collect();
            let message =
                format!("Ansible profile `{}` is not configured{}", grant.profile, did_you_mean(&grant.profile, &known));
            let hint = format!("add it under ansible.profiles in paramedic.yaml; there now: {}", known.join(", "));
            self.wrong(&format!("{path}.profile"), message, hint);
        }
        if let Err(why) = playbook_path(ansible, &grant.playbook) {
            let (message, hint) = split_hint(&why);
            let hint = hint.unwrap_or_else(|| "give the path of a playbook inside ansible.playbooks".to_owned());
            self.wrong(&format!("{path}.playbook"), message, hint);
        }
    }

    fn verify(&mut self, verify: &Verify) {
        let Verify { within, stable, settle, probe } = verify;
        self.length("verify.within", *within, Duration::from_secs(1), DAY);
        self.length("verify.stable", *stable, Duration::ZERO, DAY);
        self.length("verify.settle", *settle, Duration::ZERO, DAY);
        let shown = print_duration(*within);
        if stable >= within {
            let message = format!("nothing can be well for {} within {shown}", print_duration(*stable));
            self.wrong("verify", message, "make `stable` shorter than `within` (defaults: stable 30s, within 3m)");
        }
        if settle >= within {
            let message = format!("nothing counts for {}, and being well has to begin within {shown}", print_duration(*settle));
            self.wrong("verify.settle", message, "make `settle` shorter than `within` (defaults: settle 0s, within 3m)");
        }
        let Some(Probe::Promql(promql)) = probe else { return };
        match looks_back(promql) {
            Err(why) => {
                let hint = "write an expression over series that has a result while all is well, such as `up{job=\"web\"} == 1`";
                self.wrong(
                    "verify.probe.promql",
                    format!("the expression {why}, so that nothing can prove its result to be new"),
                    hint,
                );
            }
            Ok(back) if back.saturating_add(*settle) >= *within => {
                let message = format!(
                    "the expression looks {} back, which is all to be after the action, within {shown}",
                    print_duration(back)
                );
                self.wrong(
                    "verify.probe.promql",
                    message,
                    "give it a shorter range, or make `within` longer than range and `settle` together",
                );
            }
            Ok(_) => {}
        }
    }

    /// A limit of things that are under way at once.
    fn at_once(&mut self, path: &str, limit: u32) {
        if limit == 0 {
            let hint = "write at least 1; to do nothing use `mode: observe`";
            self.wrong(path, "a limit of 0 forbids every action", hint);
        }
    }

    fn rates(&mut self, path: &str, rates: &Rates) {
        let limits = rates.limits();
        for (i, rate) in limits.iter().enumerate() {
            let one = format!("{path}[{i}]");
            self.rate(if limits.len() == 1 { path } else { &one }, *rate);
            if limits[..i].iter().any(|other| other.window == rate.window) {
                let hint = "leave one of them";
                self.wrong(&one, format!("there is another limit for this length of time before it ({rate})"), hint);
            }
        }
    }

    fn minimum_healthy(&mut self, rules: &[MinimumHealthy]) {
        for (i, _) in rules.iter().enumerate().filter(|(_, rule)| rule.count == 0) {
            let hint = "write at least 1, or leave the rule out";
            self.wrong(&format!("brakes.minimum_healthy[{i}].count"), "a minimum of 0 holds nothing", hint);
        }
    }

    /// Expressions that hold while they have a result.
    fn unless(&mut self, unless: &[String]) {
        if unless.len() > MOST_UNLESS {
            let hint = format!("write at most {MOST_UNLESS}; PromQL's `or` joins several into one");
            self.wrong("unless", format!("{} expressions are too many to be asked before every action", unless.len()), hint);
        }
        for (i, promql) in unless.iter().enumerate() {
            let hint = "write PromQL that has a result while nothing shall be done, such as `deployment_in_progress{service=\"web\"} == 1`";
            let path = format!("unless[{i}]");
            if promql.trim().is_empty() {
                self.wrong(&path, "this expression is empty", hint);
            } else if promql.len() > MOST_PROMQL {
                self.wrong(&path, format!("this expression is longer than {} KiB", MOST_PROMQL >> 10), hint);
            }
        }
    }

    fn maintenance(&mut self, windows: &[Window]) {
        let mut names = BTreeSet::new();
        for (i, window) in windows.iter().enumerate() {
            let path = format!("maintenance[{i}].name");
            if window.name.trim().is_empty() || window.name.chars().count() > 80 {
                self.wrong(
                    &path,
                    "this is not the name of a window",
                    "write up to 80 characters, such as nightly: people are told it",
                );
            } else if !names.insert(&window.name) {
                self.wrong(&path, format!("the name `{}` is already taken", window.name), "give every window a name of its own");
            }
        }
    }

    fn notify(&mut self, config: &Config) {
        if let Some(to) = &config.notify.alertmanager {
            if to.on && config.alertmanager.is_none() {
                let hint = "add `alertmanager: URL` to paramedic.yaml, or remove this key";
                self.wrong("notify.alertmanager", "there is no Alertmanager to tell", hint);
            }
            self.length("notify.alertmanager.healing_at_most", to.healing_at_most, Duration::from_secs(60), DAY);
            let fits = |name: &str| is_variable(name) && !["alertname", own::MARK].contains(&name);
            for name in to.labels.keys().filter(|name| !fits(name)) {
                let hint = "write letters, digits and `_`, such as `labels: {site: berlin}`; alertname and paramedic are ours";
                let message = format!("`{}` cannot be a label of our alerts", name.escape_debug());
                self.wrong("notify.alertmanager.labels", message, hint);
            }
        }
        let mut names = BTreeSet::new();
        for (i, hook) in config.notify.webhooks.iter().enumerate() {
            if !names.insert(&hook.name) {
                let message = format!("the name `{}` is already taken by another webhook", hook.name.as_str());
                let hint = "give every webhook a name of its own: by it is remembered how far it was told";
                self.wrong(&format!("notify.webhooks[{i}].name"), message, hint);
            }
            if hook.send.is_empty() {
                let hint = "name at least one kind, such as `send: [escalated]`, or leave the key out";
                self.wrong(&format!("notify.webhooks[{i}].send"), "with an empty list it would never be told anything", hint);
            }
        }
    }

    fn rate(&mut self, path: &str, rate: PerWindow) {
        if rate.limit == 0 {
            self.wrong(
                path,
                "a limit of 0 forbids every action",
                "write at least `1 per ...`; to do nothing use `mode: observe`",
            );
        }
        self.length(path, rate.window, Duration::from_secs(1), DAY * 30);
    }

    fn storm(&mut self, path: &str, storm: PerWindow) {
        if storm.limit == 0 {
            let hint = "write for instance `5 per 1m`; with a large number, such as `1000 per 1m`, there is hardly ever one";
            self.wrong(path, "with 0 it would be a storm before anything fails", hint);
        }
        self.length(path, storm.window, Duration::from_secs(1), Duration::from_secs(3_600));
    }
}

/// What is wrong with files that only the server reads. Whoever halts it, or looks at its journal, may not be able to read them, and
/// need not.
pub(super) fn secrets(source: &Source, config: &Config) -> Vec<Problem> {
    let mut checks = Checks::of(source);
    for (i, hook) in config.notify.webhooks.iter().enumerate() {
        // Read for every message, so that it can be replaced; one that is not there now is a mistake.
        let file = hook.bearer_token_file.as_ref().map(|file| folder_of(source.file()).join(file));
        if let Some(Err(error)) = file.map(std::fs::File::open) {
            let message = format!("the token file cannot be read: {error}");
            let hint = "look whether the path is right, and at its permissions; it is relative to this file's folder";
            checks.wrong(&format!("notify.webhooks[{i}].bearer_token_file"), message, hint);
        }
    }
    checks.found()
}

/// Checks `paramedic.yaml` by itself.
pub(super) fn config(source: &Source, config: &Config) -> Vec<Problem> {
    let mut checks = Checks::of(source);
    let (token, open) = (&config.auth.token_file, config.auth.allow_unauthenticated);
    if !config.listen.ip().is_loopback() && token.is_none() && !open {
        checks.wrong(
            "listen",
            format!("{} can be reached from other machines, and senders do not have to prove who they are", config.listen),
            "add `auth: {token_file: ...}` with a file that holds a secret, or listen on 127.0.0.1, or say `auth: {allow_unauthenticated: true}`",
        );
    }
    if token.is_some() && open {
        let hint = "remove one of the two: with a token nobody is unauthenticated";
        checks.wrong("auth.allow_unauthenticated", "both a token and no token are asked for", hint);
    }
    if let Some(group) = &config.operator.group
        && config.operator.path(&config.data).starts_with(&config.data)
    {
        let hint = "name a place outside of it: `operator: {socket: /run/paramedic/operator.sock, group: ...}`; the folder is made if it is missing";
        let message =
            format!("group `{}` cannot reach a socket in the data folder, which is the server's alone", group.escape_debug());
        checks.wrong("operator.group", message, hint);
    }
    checks.notify(config);
    checks.at_once("brakes.concurrent", config.brakes.concurrent);
    checks.minimum_healthy(&config.brakes.minimum_healthy);
    checks.rate("brakes.attempts", config.brakes.attempts);
    checks.rates("brakes.actions", &config.brakes.actions);
    checks.storm("brakes.storm", config.brakes.storm);
    checks.length("brakes.cooldown", config.brakes.cooldown, Duration::ZERO, DAY);
    checks.length("poll.interval", config.poll.interval, Duration::from_secs(1), Duration::from_secs(300));
    checks.length("max_age", config.max_age, Duration::from_secs(1), DAY * 365);
    checks.length("stale_after", config.stale_after, Duration::from_secs(60), DAY * 365);
    checks.length("shutdown_within", config.shutdown_within, Duration::from_secs(1), Duration::from_secs(3600));
    if let Keep::For(keep) = config.journal.keep {
        checks.length("journal.keep", keep, DAY, DAY * 36_500);
    }
    checks.maintenance(&config.maintenance);
    for (i, rule) in config.targets.0.iter().enumerate() {
        checks.docker_host(config, &format!("targets[{i}].docker"), &rule.docker.host);
    }
    if let Some(ansible) = &config.ansible {
        checks.length("ansible.deadline", ansible.deadline, Duration::from_secs(1), DAY);
    }
    checks.found()
}

/// Checks a policy by itself.
pub(super) fn policy(source: &Source, policy: &Policy) -> Vec<Problem> {
    let mut checks = Checks::of(source);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if policy.name.is_empty() || policy.name.len() > 100 || !policy.name.chars().all(plain) {
        checks.wrong(
            "name",
            "this is not the name of a policy",
            "write up to 100 letters, digits, `_`, `.` or `-`, such as heal-nginx",
        );
    }
    if !policy.settings.is_object() {
        checks.wrong("settings", "settings have to be a mapping", "write `settings: {}` or leave the key out");
    }
    checks.length("limits.deadline", policy.limits.deadline, Duration::from_millis(1), Duration::from_secs(10));
    checks.length("limits.lookups", policy.limits.lookups, Duration::from_millis(1), Duration::from_secs(60));
    checks.verify(&policy.verify);
    checks.unless(&policy.unless);
    checks.maintenance(&policy.maintenance);
    if let Some(cooldown) = policy.brakes.cooldown {
        checks.length("brakes.cooldown", cooldown, Duration::ZERO, DAY);
    }
    if let Some(attempts) = policy.brakes.attempts {
        checks.rate("brakes.attempts", attempts);
    }
    checks.rates("brakes.actions", &policy.brakes.actions);
    checks.at_once("brakes.concurrent", policy.brakes.concurrent);
    checks.minimum_healthy(&policy.brakes.minimum_healthy);
    if let Some(storm) = policy.brakes.storm {
        checks.storm("brakes.storm", storm);
    }
    checks.length("approve.within", policy.approve.within, Duration::from_secs(60), DAY);
    if policy.approvers.as_ref().is_some_and(Vec::is_empty) {
        let hint = "name somebody, such as `approvers: [alice, group ops]`, or leave the key out: then whoever may use the operator's socket";
        checks.wrong("approvers", "with an empty list nobody can ever say yes", hint);
    }
    if let Some(age) = policy.max_age {
        checks.length("max_age", age, Duration::from_secs(1), DAY * 365);
    }
    for (i, grant) in policy.grants.ansible.iter().enumerate() {
        if grant.hosts.is_empty() {
            let hint = "write for instance `hosts: [web1]`: a playbook is always limited to one granted host";
            checks.wrong(&format!("grants.ansible[{i}].hosts"), "without a host this playbook can never be run", hint);
        }
        for (n, name) in grant.vars.iter().enumerate().filter(|(_, name)| !is_variable(name)) {
            let hint = "write letters, digits and `_`, not beginning with `ansible_`: those change how Ansible connects";
            checks.wrong(&format!("grants.ansible[{i}].vars[{n}]"), format!("`{name}` cannot be granted as a variable"), hint);
        }
        for (n, tag) in grant.tags.iter().enumerate().filter(|(_, tag)| !is_tag(tag)) {
            let hint = "write up to 64 letters, digits, `_`, `.` and `-`";
            let message = format!("`{}` cannot be granted as a tag", tag.escape_debug());
            checks.wrong(&format!("grants.ansible[{i}].tags[{n}]"), message, hint);
        }
    }
    for (i, grant) in policy.grants.alertmanager.silence.iter().enumerate() {
        let path = format!("grants.alertmanager.silence[{i}]");
        if grant.matchers.iter().all(|matcher| matcher.matches(&Labels::new())) {
            let hint = "write at least one matcher that a label has to fit, such as `match: ['alertname=\"Down\"']`";
            checks.wrong(&format!("{path}.match"), "this would allow to silence everything", hint);
        }
        checks.length(&format!("{path}.longest"), grant.longest, Duration::from_secs(1), DAY * 30);
    }
    checks.found()
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with("ansible_")
}

/// Checks that a policy fits the configuration it will run with: a grant that can never apply is a mistake.
pub(super) fn policy_within(config: &Config, source: &Source, policy: &Policy) -> Vec<Problem> {
    let mut checks = Checks::of(source);
    let docker = &policy.grants.docker;
    let grants = [
        ("restart", &docker.restart),
        ("start", &docker.start),
        ("stop", &docker.stop),
        ("logs", &docker.logs),
        ("inspect", &docker.inspect),
    ];
    let more = [("pause".to_owned(), &docker.pause), ("unpause".to_owned(), &docker.unpause)];
    let kill = docker.kill.iter().map(|(signal, grants)| (format!("kill.{signal}"), grants));
    for (verb, grants) in grants.map(|(verb, grants)| (verb.to_owned(), grants)).into_iter().chain(more).chain(kill) {
        for (i, grant) in grants.iter().enumerate() {
            checks.docker_host(config, &format!("grants.docker.{verb}[{i}]"), grant.host());
        }
    }
    let manager = &policy.grants.alertmanager;
    if (manager.expire || !manager.silence.is_empty()) && config.alertmanager.is_none() {
        let hint = "add `alertmanager: URL` to paramedic.yaml, or leave `alertmanager` out of the grants";
        checks.wrong("grants.alertmanager", "there is no Alertmanager in which anything could be silenced", hint);
    }
    let channels: Vec<&str> = config.notify.webhooks.iter().map(|hook| hook.name.as_str()).collect();
    for (i, name) in policy.grants.notify.iter().enumerate().filter(|(_, name)| !channels.contains(&name.as_str())) {
        let known = if channels.is_empty() { "none".to_owned() } else { channels.join(", ") };
        let message = format!("there is no channel `{}`{}", name.escape_debug(), did_you_mean(name, &channels));
        checks.wrong(
            &format!("grants.notify[{i}]"),
            message,
            format!("add it under notify.webhooks in paramedic.yaml; there now: {known}"),
        );
    }
    for (i, grant) in policy.grants.history.iter().enumerate() {
        checks.docker_host(config, &format!("grants.history[{i}]"), grant.host());
    }
    if !policy.grants.metrics.is_empty() && config.prometheus.is_none() {
        let hint = "add `prometheus: URL` to paramedic.yaml, or leave `metrics` out";
        checks.wrong("grants.metrics", "there is no Prometheus to ask for these metrics", hint);
    }
    if policy.grants.metrics.len() > 1 && policy.grants.allows_every_query() {
        let hint = "leave only \"*\", or leave it out";
        checks.wrong("grants.metrics", "with \"*\" everything is granted, and what stands beside it says nothing", hint);
    }
    if matches!(policy.verify.probe, Some(Probe::Promql(_))) && config.prometheus.is_none() {
        let hint = "add `prometheus: URL` to paramedic.yaml, or probe with `http`";
        checks.wrong("verify.probe.promql", "there is no Prometheus to ask", hint);
    }
    if !policy.unless.is_empty() && config.prometheus.is_none() {
        let hint = "add `prometheus: URL` to paramedic.yaml, or leave `unless` out";
        checks.wrong("unless", "there is no Prometheus to ask, and what cannot be asked holds for ever", hint);
    }
    if let (None, Some(approvers)) = (&config.operator.group, &policy.approvers) {
        let may = without_a_group(&config.data);
        for (i, approver) in approvers.iter().enumerate().filter(|(_, approver)| !may.iter().any(|person| approver.is(person))) {
            let hint = "add `operator: {socket: /run/paramedic/operator.sock, group: ...}` to paramedic.yaml with a group that they are in";
            let message =
                format!("{approver} can never say yes: without `operator.group` only root and the server's user can speak");
            checks.wrong(&format!("approvers[{i}]"), message, hint);
        }
    }
    for (i, grant) in policy.grants.ansible.iter().enumerate() {
        checks.playbook(config, &format!("grants.ansible[{i}]"), grant);
    }
    checks.found()
}

/// Checks that no two policies have one name.
pub(super) fn names(policies: &[(Source, LoadedPolicy)]) -> Vec<Problem> {
    let mut first = BTreeMap::new();
    let mut problems = Vec::new();
    for (source, loaded) in policies {
        let file = loaded.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match first.get(loaded.policy.name.as_str()) {
            None => drop(first.insert(loaded.policy.name.as_str(), file)),
            Some(other) => {
                let message = format!("the name `{}` is already taken by {other}", loaded.policy.name);
                problems.push(source.problem(
                    "name",
                    message,
                    "give every policy a name of its own: the journal tells them apart by it",
                ));
            }
        }
    }
    problems
}
