//! Which containers an alert is about.
//!
//! An alert often knows only a URL. The operator says in `targets` what is behind it; without a rule that matches, the labels
//! `container` and `docker_host` are believed. Labels come from strangers, so this only says what is *meant*: whether
//! anything may be done to it is for the grants alone. Pure: no engine is asked whether the container exists.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use crate::action::{ContainerName, DockerHost, InventoryHost, Target};
use crate::alert::Labels;
use crate::alert::matchers::Matchers;
use crate::telemetry::clean;

/// The label that names a container.
const CONTAINER: &str = "container";
/// The label that names its Docker host.
const DOCKER_HOST: &str = "docker_host";

/// One rule: alerts that match are about this container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which alerts.
    #[serde(rename = "match")]
    pub matchers: Matchers,
    /// The container they are about.
    pub docker: Target,
    /// The inventory host on which playbooks about it run.
    #[serde(default)]
    pub host: Option<InventoryHost>,
}

/// `targets:` of the configuration. Every rule that matches counts, not only the first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Rules(pub Vec<Rule>);

/// What an alert is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The containers, each once, in the order of the rules. Several are taken one at a time.
    pub targets: Vec<(Target, Option<InventoryHost>)>,
    /// What could be meant but cannot be told, one sentence each: nothing is done about it.
    pub ambiguous: Vec<String>,
}

impl Rules {
    /// The Docker hosts that rules name although they are not configured.
    pub fn unknown_hosts<'a>(&'a self, hosts: &'a [DockerHost]) -> impl Iterator<Item = &'a DockerHost> {
        self.0.iter().map(|rule| &rule.docker.host).filter(|host| !hosts.contains(host))
    }

    /// Finds out what an alert with these labels is about, given the configured Docker hosts.
    pub fn resolve(&self, labels: &Labels, hosts: &[DockerHost]) -> Resolved {
        let matching: Vec<&Rule> = self.0.iter().filter(|rule| rule.matchers.matches(labels)).collect();
        if matching.is_empty() { by_labels(labels, hosts) } else { by_rules(&matching, hosts) }
    }
}

fn by_rules(rules: &[&Rule], hosts: &[DockerHost]) -> Resolved {
    let mut resolved = Resolved::default();
    let mut inventory: BTreeMap<&Target, Vec<&InventoryHost>> = BTreeMap::new();
    for rule in rules {
        let named = inventory.entry(&rule.docker).or_default();
        named.extend(rule.host.iter().filter(|host| !named.contains(host)).collect::<Vec<_>>());
    }
    for rule in rules {
        // Taken out: the second rule about the same container finds nothing left to say.
        let Some(named) = inventory.remove(&rule.docker) else { continue };
        match named[..] {
            _ if !hosts.contains(&rule.docker.host) => resolved.ambiguous.push(not_configured(rule.docker.host.as_str(), hosts)),
            [] => resolved.targets.push((rule.docker.clone(), None)),
            [host] => resolved.targets.push((rule.docker.clone(), Some(host.clone()))),
            [first, second, ..] => resolved.ambiguous.push(format!(
                "the rules in targets name several inventory hosts for {}, such as {first} and {second}: leave one",
                rule.docker
            )),
        }
    }
    resolved
}

fn by_labels(labels: &Labels, hosts: &[DockerHost]) -> Resolved {
    let label = |name: &str| labels.get(name).filter(|value| !value.is_empty());
    let Some(container) = label(CONTAINER) else { return Resolved::default() };
    let target = container_of(container, label(DOCKER_HOST).map(String::as_str), hosts);
    match target {
        Ok(target) => Resolved { targets: vec![(target, None)], ambiguous: Vec::new() },
        Err(why) => Resolved { targets: Vec::new(), ambiguous: vec![why] },
    }
}

fn container_of(container: &str, host: Option<&str>, hosts: &[DockerHost]) -> Result<Target, String> {
    let container = ContainerName::from_str(container).map_err(|why| format!("label {CONTAINER}: {why}"))?;
    let host = match (host, hosts) {
        (Some(named), _) => hosts.iter().find(|host| host.as_str() == named).ok_or_else(|| not_configured(named, hosts))?,
        (None, [only]) => only,
        (None, []) => return Err(format!("container {container}: no Docker host is configured (docker.hosts)")),
        (None, _) => {
            return Err(format!(
                "container {container} may be on any of the Docker hosts {}: give the alert a label {DOCKER_HOST}, or write a rule in targets",
                listed(hosts)
            ));
        }
    };
    Ok(Target { host: host.clone(), container })
}

fn not_configured(host: &str, hosts: &[DockerHost]) -> String {
    format!("the Docker host `{}` is not configured (docker.hosts has: {})", clean(host, 80), listed(hosts))
}

fn listed(hosts: &[DockerHost]) -> String {
    let names: Vec<&str> = hosts.iter().map(DockerHost::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RULES: &str = r#"[
        {"match": ["alertname=\"NginxDown\"", "instance=~\"http://nginx.*\""], "docker": "local/nginx-demo", "host": "localhost"},
        {"match": ["instance=~\"http://nginx.*\""], "docker": "local/cache"},
        {"match": ["alertname=\"Twice\""], "docker": "local/db"},
        {"match": ["alertname=\"Twice\""], "docker": "local/db", "host": "db1"},
        {"match": ["alertname=\"Torn\""], "docker": "local/db", "host": "db1"},
        {"match": ["alertname=\"Torn\""], "docker": "local/db", "host": "db2"},
        {"match": ["alertname=\"Lost\""], "docker": "moon/db"}
    ]"#;

    fn resolve(labels: &[(&str, &str)], hosts: &[&str]) -> Resolved {
        let rules: Rules = serde_json::from_str(RULES).unwrap();
        let hosts: Vec<DockerHost> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        rules.resolve(&labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), &hosts)
    }

    fn targets(resolved: &Resolved) -> Vec<String> {
        assert!(resolved.ambiguous.is_empty(), "{resolved:?}");
        let host = |host: &Option<InventoryHost>| host.as_ref().map(|h| format!(" on {h}")).unwrap_or_default();
        resolved.targets.iter().map(|(target, on)| format!("{target}{}", host(on))).collect()
    }

    fn ambiguous(resolved: &Resolved) -> &str {
        assert!(resolved.targets.is_empty() && resolved.ambiguous.len() == 1, "{resolved:?}");
        &resolved.ambiguous[0]
    }

    #[test]
    fn every_rule_that_matches_counts_and_wins_over_labels() {
        let labels = [("alertname", "NginxDown"), ("instance", "http://nginx:80"), ("container", "other")];
        assert_eq!(targets(&resolve(&labels, &["local"])), ["local/nginx-demo on localhost", "local/cache"]);
        assert_eq!(targets(&resolve(&[("alertname", "Twice")], &["local"])), ["local/db on db1"]);
    }

    #[test]
    fn without_a_rule_the_labels_are_believed() {
        assert_eq!(targets(&resolve(&[("container", "web")], &["local"])), ["local/web"]);
        assert_eq!(targets(&resolve(&[("container", "web"), ("docker_host", "b")], &["a", "b"])), ["b/web"]);
        assert_eq!(resolve(&[("instance", "http://web")], &["local"]), Resolved::default());
        assert_eq!(resolve(&[("docker_host", "local")], &["local"]), Resolved::default());
    }

    #[test]
    fn what_cannot_be_told_is_said_and_nothing_is_meant() {
        let several = resolve(&[("container", "web")], &["a", "b"]);
        assert!(ambiguous(&several).contains("any of the Docker hosts a, b"));
        assert!(ambiguous(&resolve(&[("container", "web"), ("docker_host", "c\u{1b}[2J")], &["a"])).contains("not configured"));
        assert!(ambiguous(&resolve(&[("container", "web")], &[])).contains("no Docker host"));
        assert!(ambiguous(&resolve(&[("alertname", "Torn")], &["local"])).contains("db1 and db2"));
        assert!(ambiguous(&resolve(&[("alertname", "Lost")], &["local"])).contains("`moon` is not configured"));
    }

    #[test]
    fn hostile_labels_never_become_a_target() {
        for name in ["../containers/prune?x=", "a/b", "web\n", "%2e%2e", "-v", "", " web", "we\u{202e}b"] {
            let resolved = resolve(&[("container", name)], &["local"]);
            assert!(resolved.targets.is_empty(), "{name:?}");
            assert!(!resolved.ambiguous.join("").contains(['\n', '\u{1b}', '\u{202e}']), "{resolved:?}");
        }
    }

    #[test]
    fn rules_naming_unknown_hosts_are_found() {
        let rules: Rules = serde_json::from_str(RULES).unwrap();
        let hosts = ["local".parse().unwrap()];
        assert_eq!(rules.unknown_hosts(&hosts).map(DockerHost::as_str).collect::<Vec<_>>(), ["moon"]);
        assert!(serde_json::from_str::<Rules>(r#"[{"match": [], "docker": "local/web", "hots": "x"}]"#).is_err());
    }
}
