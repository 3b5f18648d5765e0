//! `paramedic check`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use serde_json::json as value;

use super::output::{json, line, note};
use super::{ConfigArg, End, Output};
use crate::config;
use crate::decide::Loaded;
use crate::decide::sandbox::Sandbox;
use crate::incident::Mode;
use crate::incident::lookup::Lookup;
use crate::look::docker::Engines;
use crate::look::http::LookError;
use crate::look::sight::Sources;
use crate::policy::Policy;
use crate::server;
use crate::telemetry::clean;
use crate::verify::answers::doubts;
use crate::verify::probe::{holding_anyway, passing_anyway};

const EXAMPLES: &str = "Examples:
  paramedic check
  paramedic check --config /etc/paramedic/paramedic.yaml --online --output json";

/// Check the configuration, the policies and the plugins; exit code 1 when something is wrong
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    #[command(flatten)]
    config: ConfigArg,
    /// Also ask every engine, Prometheus and Alertmanager whether it answers, whether Prometheus understands every `unless`, and whether every
    /// policy waits for as long as its rules may need; exit code 1 when one does not answer, or not understand
    #[arg(long)]
    online: bool,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let (config, policies) = match config::load_all(&self.config.config) {
            Ok(read) => read,
            Err(problems) => return self.bad(&problems.to_string()),
        };
        let written: Vec<_> = policies.iter().map(|loaded| (loaded.file.clone(), loaded.policy.clone())).collect();
        let overlaps = config::overlap::overlaps(&policies);
        let sandbox = Sandbox::beside(&config.data)?;
        let (loaded, odd) = match server::load(&sandbox, &config.plugins, policies, None).await {
            Ok(loaded) => loaded,
            Err(problems) => return self.bad(&problems.to_string()),
        };
        let (mut unreachable, mut warnings) = (Vec::new(), passing_anyway(&written));
        warnings.extend(holding_anyway(&written));
        warnings.extend(overlaps);
        warnings.extend(odd);
        let mut wrong = Vec::new();
        if self.online {
            let sources = config.sources()?;
            for prometheus in &sources.prometheus {
                warnings.extend(doubts(prometheus, &written).await.unwrap_or_else(|error| {
                    vec![format!("whether every policy waits for as long as its rules may need was not found out: {error}")]
                }));
            }
            wrong = unaskable(&sources, &written).await;
            let engines = Engines::connect(&config.docker)?;
            for host in engines.hosts() {
                unreachable.extend(engines.reachable(host).await.err().map(|error| error.to_string()));
            }
            let poller = crate::receive::poll::Poller::new(&sources, config.poll.interval);
            unreachable
                .extend(poller.once().await.into_iter().filter_map(|(_, _, listed)| listed.err()).map(|error| error.to_string()));
        }
        if self.output == Output::Json {
            let policies: Vec<_> = loaded
                .iter()
                .map(|l| value!({ "name": l.policy.name, "mode": l.policy.mode, "plugin": l.policy.plugin.file, "sha256": l.plugin.digest(), "lookups": lookups(l) }))
                .collect();
            json(
                &value!({ "ok": unreachable.is_empty() && wrong.is_empty(), "policies": policies, "unreachable": unreachable, "problems": wrong, "warnings": warnings }),
            )?;
        } else {
            for policy in &loaded {
                let mode = match policy.policy.mode {
                    Mode::Enforce => "acts",
                    Mode::Approve => "acts once a person approves",
                    Mode::Observe => "only observes",
                };
                line(format!(
                    "ok  {} {mode}, asks {} ({})",
                    policy.policy.name,
                    policy.policy.plugin.file,
                    policy.plugin.manifest().version
                ));
                lookups(policy).iter().for_each(|lookup| line(format!("    {}", lookup.told())));
            }
            if loaded.is_empty() {
                note(format!(
                    "No policies in {}: alerts are written down and nothing is done about them.",
                    config.policies.display()
                ));
            }
            for warning in &warnings {
                note(format!("warning: {warning}"));
            }
            wrong.iter().for_each(note);
            for problem in &unreachable {
                note(format!("unreachable: {problem}"));
            }
        }
        Ok(if unreachable.is_empty() && wrong.is_empty() { End::Fine } else { End::Findings })
    }

    fn bad(&self, problems: &str) -> anyhow::Result<End> {
        if self.output == Output::Json {
            json(&value!({ "ok": false, "problems": problems }))?;
        } else {
            note(problems);
        }
        Ok(End::Findings)
    }
}

/// One kind of lookup of one policy: both keys.
#[derive(Serialize)]
struct LookupKeys {
    lookup: &'static str,
    /// The plugin says that it may ask for it.
    declared: bool,
    /// What the policy grants.
    granted: Vec<String>,
}

impl LookupKeys {
    fn told(&self) -> String {
        let (lookup, granted) = (self.lookup, clean(&self.granted.join(", "), 300));
        match (self.declared, self.granted.is_empty()) {
            (true, false) => format!("may look at {lookup}: {granted}"),
            (true, true) => {
                format!("may ask for {lookup}, which nothing grants: it would be answered access-denied ({})", wanted(lookup))
            }
            (false, _) => format!("{lookup} is granted ({granted}), but the plugin never asks for it"),
        }
    }
}

/// The grant that would be missing.
fn wanted(lookup: &str) -> &'static str {
    match lookup {
        "containers" => "`grants: {docker: {inspect: [...]}}` in the policy",
        "containers.log-tail" => "`grants: {docker: {logs: [...]}}` in the policy",
        "metrics" => "`grants: {metrics: [...]}` in the policy",
        _ => "`grants: {history: [...]}` in the policy",
    }
}

/// What a policy grants of lookups against what its plugin declares. A grant of logs alone is no oddity: it also keeps diagnostics.
fn lookups(loaded: &Loaded) -> Vec<LookupKeys> {
    let declared = &loaded.plugin.manifest().lookups;
    let keys =
        |lookup| LookupKeys { lookup, declared: declared.contains(&lookup), granted: loaded.policy.grants.lookups(lookup) };
    let odd = |keys: &LookupKeys| keys.declared || (!keys.granted.is_empty() && keys.lookup != "containers.log-tail");
    Lookup::WORDS.into_iter().map(keys).filter(odd).collect()
}

/// Expressions of `unless` that Prometheus refuses: they would hold for ever.
async fn unaskable(sources: &Sources, policies: &[(PathBuf, Arc<Policy>)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, policy) in policies {
        for (i, promql) in policy.unless.iter().enumerate() {
            for prometheus in &sources.prometheus {
                // One that cannot be reached is told of elsewhere.
                if let Err(error @ LookError::Refused { .. }) = prometheus.finds(promql).await {
                    wrong.push(format!("{}: unless[{i}] holds for ever: {}", file.display(), clean(&error.to_string(), 600)));
                }
            }
        }
    }
    wrong
}
