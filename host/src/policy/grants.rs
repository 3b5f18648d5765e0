//! Grants: what the operator allows a policy to do, and to look at. Nothing granted means nothing allowed.
//!
//! A grant names a Docker host exactly and a container by name, where `*` stands for any run of characters, or by one label.
//! A playbook is granted by its name, the inventory hosts it may be limited to and the variables it may be given.
//! Absent on purpose: wildcards for hosts and playbooks, and any grant that grows by itself.

mod lookups;
mod telling;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::action::{DockerHost, DockerVerb, InventoryHost, Kind, Signal, Target};
use crate::alert::Labels;
use crate::incident::lookup::Lookup;
pub use lookups::{Metrics, Targets};
pub use telling::{AlertmanagerGrants, SilenceGrant};

/// All grants of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// What may be done to which containers.
    pub docker: DockerGrants,
    /// Which playbooks may be run.
    pub ansible: Vec<PlaybookGrant>,
    /// Which silences may be made, and ended.
    pub alertmanager: AlertmanagerGrants,
    /// Which channels may be told something.
    pub notify: Vec<String>,
    /// Which metrics may be asked for.
    pub metrics: Vec<Metrics>,
    /// The history of which targets may be read.
    pub history: Vec<Targets>,
}

/// What may be done to which containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerGrants {
    /// Restart these.
    pub restart: Vec<Containers>,
    /// Start these.
    pub start: Vec<Containers>,
    /// Stop these.
    pub stop: Vec<Containers>,
    /// Freeze these.
    pub pause: Vec<Containers>,
    /// Let these go on.
    pub unpause: Vec<Containers>,
    /// Send this signal to these.
    pub kill: BTreeMap<Signal, Vec<Containers>>,
    /// Look at these: state, health, labels.
    pub inspect: Vec<Containers>,
    /// Keep the last lines of their logs, their state and what their health checks said, before something is done about them; and let the
    /// plugin read those lines.
    pub logs: Vec<Containers>,
}

/// Containers: `local/nginx-*`, or `{host: local, label: "paramedic.heal=true"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Containers {
    /// By name.
    Named {
        /// Exactly this Docker host.
        host: DockerHost,
        /// `*` stands for any run of characters.
        pattern: String,
    },
    /// By a label of the container.
    Labelled {
        /// Exactly this Docker host.
        host: DockerHost,
        /// The label's name.
        label: String,
        /// Its value, exactly.
        value: String,
    },
}

impl Containers {
    /// Parses `host/pattern`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` names no containers: write docker-host/container, such as local/nginx-*");
        let (host, pattern) = text.split_once('/').ok_or_else(expected)?;
        let host =
            host.parse().map_err(|_| format!("{} (the host is a key of docker.hosts, `*` is not allowed in it)", expected()))?;
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
        if pattern.is_empty() || !pattern.chars().all(ok) {
            return Err(expected());
        }
        Ok(Self::Named { host, pattern: pattern.to_owned() })
    }

    /// The Docker host it names.
    pub fn host(&self) -> &DockerHost {
        match self {
            Self::Named { host, .. } | Self::Labelled { host, .. } => host,
        }
    }

    fn covers(&self, target: &Target, labels: &Labels) -> bool {
        match self {
            Self::Named { .. } => self.names(target),
            Self::Labelled { host, label, value } => *host == target.host && labels.get(label) == Some(value),
        }
    }

    /// Covers it by its name alone, whatever labels it has.
    fn names(&self, target: &Target) -> bool {
        matches!(self, Self::Named { host, pattern } if *host == target.host && fits(pattern, target.container.as_str()))
    }
}

impl fmt::Display for Containers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { host, pattern } => write!(f, "{host}/{pattern}"),
            Self::Labelled { host, label, value } => write!(f, "{host} with {}={}", label.escape_debug(), value.escape_debug()),
        }
    }
}

/// What the name of a container tells of whether it may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glimpse {
    /// It may.
    Granted,
    /// It may if it has a certain label.
    ByLabel,
    /// It may not.
    Denied,
}

/// Does the text fit the pattern, in which `*` stands for any run of characters?
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// One playbook that may be run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaybookGrant {
    /// Its path inside the playbook folder, exactly.
    pub playbook: String,
    /// The inventory hosts it may be limited to.
    pub hosts: Vec<InventoryHost>,
    /// The variables it may be given.
    #[serde(default)]
    pub vars: Vec<String>,
    /// The tags it may be limited to. None may be given without, since to leave tasks out may be dangerous.
    #[serde(default)]
    pub tags: Vec<String>,
    /// It may only be asked what it would change.
    #[serde(default)]
    pub check_only: bool,
    /// The Ansible profile it runs with.
    #[serde(default = "default_profile")]
    pub profile: String,
}

fn default_profile() -> String {
    "default".to_owned()
}

impl Grants {
    /// May this be done to this container, which has these labels?
    /// A signal is that of a kill, and each has a grant of its own; without one it is `SIGKILL`.
    pub fn allows_docker(&self, verb: DockerVerb, signal: Option<Signal>, target: &Target, labels: &Labels) -> bool {
        let granted = match verb {
            DockerVerb::Restart => &self.docker.restart,
            DockerVerb::Start => &self.docker.start,
            DockerVerb::Stop => &self.docker.stop,
            DockerVerb::Pause => &self.docker.pause,
            DockerVerb::Unpause => &self.docker.unpause,
            DockerVerb::Kill => match self.docker.kill.get(&signal.unwrap_or(Signal::KILL)) {
                Some(granted) => granted,
                None => return false,
            },
        };
        granted.iter().any(|containers| containers.covers(target, labels))
    }

    /// May anything be done to this container, which has these labels?
    pub fn covers(&self, target: &Target, labels: &Labels) -> bool {
        self.containers().any(|containers| containers.covers(target, labels))
    }

    /// May the log of this container, which has these labels, be kept?
    pub fn allows_logs(&self, target: &Target, labels: &Labels) -> bool {
        self.docker.logs.iter().any(|containers| containers.covers(target, labels))
    }

    /// May this container, which has these labels, be looked at?
    pub fn allows_inspect(&self, target: &Target, labels: &Labels) -> bool {
        self.docker.inspect.iter().any(|containers| containers.covers(target, labels))
    }

    /// May any container of this Docker host be looked at?
    pub fn inspects_host(&self, host: &DockerHost) -> bool {
        self.docker.inspect.iter().any(|containers| containers.host() == host)
    }

    /// How far a lookup of this container is granted before anything is known of it but its name.
    pub fn glimpse(&self, lookup: &Lookup, target: &Target) -> Glimpse {
        let granted = if matches!(lookup, Lookup::Log { .. }) { &self.docker.logs } else { &self.docker.inspect };
        if granted.iter().any(|containers| containers.names(target)) {
            Glimpse::Granted
        } else if granted.iter().any(|c| matches!(c, Containers::Labelled { host, .. } if *host == target.host)) {
            Glimpse::ByLabel
        } else {
            Glimpse::Denied
        }
    }

    /// Is every query granted, also one that is not understood?
    pub fn allows_every_query(&self) -> bool {
        lookups::every_query(&self.metrics)
    }

    /// May this metric be asked for?
    pub fn allows_metric(&self, name: &str) -> bool {
        lookups::metric(&self.metrics, name)
    }

    /// May the history of this target be read?
    pub fn allows_history(&self, target: &Target) -> bool {
        lookups::history(&self.history, target)
    }

    /// The words of everything of which something is granted: kinds of action and lookups.
    pub fn words(&self) -> Vec<&'static str> {
        let docker = &self.docker;
        let actions = [
            (Kind::DockerRestart, !docker.restart.is_empty()),
            (Kind::DockerStart, !docker.start.is_empty()),
            (Kind::DockerStop, !docker.stop.is_empty()),
            (Kind::DockerPause, !docker.pause.is_empty()),
            (Kind::DockerUnpause, !docker.unpause.is_empty()),
            (Kind::DockerKill, docker.kill.values().any(|granted| !granted.is_empty())),
            (Kind::AnsiblePlaybook, !self.ansible.is_empty()),
            (Kind::Silence, !self.alertmanager.silence.is_empty()),
            (Kind::ExpireSilence, self.alertmanager.expire),
            (Kind::Notify, !self.notify.is_empty()),
        ];
        let actions = actions.into_iter().filter(|(_, granted)| *granted).map(|(kind, _)| kind.word());
        actions.chain(Lookup::WORDS.into_iter().filter(|word| !self.lookups(word).is_empty())).collect()
    }

    /// What is granted of the lookups with this word ([`Lookup::WORDS`]), for people.
    pub fn lookups(&self, word: &str) -> Vec<String> {
        fn told<T: ToString>(granted: &[T]) -> Vec<String> {
            granted.iter().map(ToString::to_string).collect()
        }
        match word {
            "containers" => told(&self.docker.inspect),
            "containers.log-tail" => told(&self.docker.logs),
            "metrics" => told(&self.metrics),
            "history" => told(&self.history),
            _ => Vec::new(),
        }
    }

    /// The grant for this playbook on this host, if there is one.
    pub fn playbook(&self, name: &str, host: &InventoryHost) -> Option<&PlaybookGrant> {
        self.ansible.iter().find(|grant| grant.playbook == name && grant.hosts.contains(host))
    }

    /// Every grant for containers, for checking that it can ever apply.
    pub fn containers(&self) -> impl Iterator<Item = &Containers> {
        let docker = &self.docker;
        let lists = [&docker.restart, &docker.start, &docker.stop, &docker.pause, &docker.unpause];
        lists.into_iter().chain(docker.kill.values()).flatten()
    }
}

impl<'de> Deserialize<'de> for Containers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Either form, told apart by what stands there, so that errors point at the right place.
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Containers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`host/container` or `{host: ..., label: \"name=value\"}`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Containers, E> {
                Containers::parse(text).map_err(E::custom)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Containers, A::Error> {
                let form = LabelForm::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let (label, value) = form
                    .label
                    .split_once('=')
                    .ok_or_else(|| serde::de::Error::custom(format!("`{}` is no label: write name=value", form.label)))?;
                Ok(Containers::Labelled { host: form.host, label: label.to_owned(), value: value.to_owned() })
            }
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct LabelForm {
            host: DockerHost,
            label: String,
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn covers(grant: &str, target: &str) -> bool {
        Containers::parse(grant).unwrap().covers(&target.parse().unwrap(), &Labels::new())
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters_in_the_container_only() {
        assert!(covers("local/nginx-*", "local/nginx-demo"));
        assert!(covers("local/*-demo", "local/nginx-demo"));
        assert!(covers("local/n*x-*o", "local/nginx-demo"));
        assert!(covers("local/web", "local/web"));
        assert!(!covers("local/web", "local/web2"));
        assert!(!covers("local/nginx-*", "local/my-nginx-1"));
        assert!(!covers("local/nginx-*", "remote/nginx-demo"));
        assert!(!covers("local/a*a", "local/a"));
        assert!(Containers::parse("*/nginx").is_err());
        assert!(Containers::parse("nginx").is_err());
        assert!(Containers::parse("local/").is_err());
    }

    #[test]
    fn a_label_grants_only_its_own_host_and_value() {
        let grant = Containers::Labelled { host: "local".parse().unwrap(), label: "heal".into(), value: "true".into() };
        let yes = Labels::from([("heal".to_owned(), "true".to_owned())]);
        let no = Labels::from([("heal".to_owned(), "false".to_owned())]);
        assert!(grant.covers(&"local/web".parse().unwrap(), &yes));
        assert!(!grant.covers(&"local/web".parse().unwrap(), &no));
        assert!(!grant.covers(&"other/web".parse().unwrap(), &yes));
    }
}
