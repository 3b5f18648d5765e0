//! Minimum healthy: no container is taken away while too few others of its group would be left.
//!
//! A group is the containers of one Docker host that have a label in common; a rule says how many *others* have to be healthy: running and,
//! if they have a health check, `healthy`. A restart, a stop, a pause and a deadly signal take a container away, and a playbook about it may; a start does not. What
//! does not run is not taken away by anything, so a service that is down altogether can still be healed. Of each group one container is
//! taken at a time: its key is a lock like the target's, held until it was looked whether that helped, so two incidents cannot both count the other's
//! container. It is looked twice: before the intents, and once more right before each of them is begun.

use std::collections::BTreeMap;

use super::brakes::FILE;
use super::{Authoriser, Checked, Stop, unsure};
use crate::action::{Action, DockerHost, DockerVerb, Signal, Target};
use crate::incident::Rule;
use crate::look::docker::Container;
use crate::policy::brakes::{Brakes, MinimumHealthy};
use crate::policy::{Policy, WhenUnsure};
use crate::telemetry::clean;

/// So many names are written out.
const NAMES: usize = 5;

/// Containers of which an act takes one away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    host: DockerHost,
    label: String,
    value: String,
    /// So many others have to be healthy.
    count: u32,
    /// Whose rule says so.
    whose: String,
}

impl Group {
    /// The key of its lock.
    pub(super) fn key(&self) -> String {
        format!("group:{}={} on {}", self.label, self.value, self.host)
    }
}

/// The groups of which this act takes a container away.
pub(super) fn groups(policy: &Policy, global: &Brakes, wanted: &[Checked]) -> Vec<Group> {
    let mut groups = Vec::new();
    for Checked { action, container, .. } in wanted {
        for group in container.iter().flat_map(|container| taken_from(policy, global, action, container)) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    groups
}

fn taken_from(policy: &Policy, global: &Brakes, action: &Action, container: &Container) -> Vec<Group> {
    let takes = container.is_running() && takes_away(action);
    let own = policy.brakes.minimum_healthy.iter().map(|rule| (rule, format!("policy {}", policy.name)));
    let all = own.chain(global.minimum_healthy.iter().map(|rule| (rule, FILE.to_owned())));
    let of = |(rule, whose): (&MinimumHealthy, String)| {
        let value = rule.label.value_of(&container.labels).filter(|_| takes)?.clone();
        let (host, label) = (container.target.host.clone(), rule.label.name.clone());
        Some(Group { host, label, value, count: rule.count, whose })
    };
    all.filter_map(of).collect()
}

/// A start and an unpause give a container, a signal such as SIGHUP only tells it something, and a check touches nothing.
fn takes_away(action: &Action) -> bool {
    match action {
        Action::Docker { verb: DockerVerb::Start | DockerVerb::Unpause, .. } => false,
        Action::Docker { verb: DockerVerb::Kill, signal, .. } => signal.is_none_or(Signal::is_deadly),
        action => action.touches(),
    }
}

impl Authoriser {
    /// Would enough be left?
    pub(super) async fn enough_healthy(&self, policy: &Policy, wanted: &[Checked]) -> Result<(), Stop> {
        for group in groups(policy, &self.brakes, wanted) {
            let taken = wanted.iter().filter_map(|checked| checked.container.as_ref()).map(|container| &container.target);
            match self.eyes.labelled(&group.host, &group.label, &group.value).await {
                Ok(found) => enough(&group, &taken.collect::<Vec<_>>(), &found)?,
                Err(error) => {
                    let what = format!("how many containers with the label {}={} are healthy", group.label, group.value);
                    unsure(policy, &what, &error)?;
                }
            }
        }
        Ok(())
    }

    /// The last look, right before this is begun: since it was allowed, others may have gone.
    ///
    /// # Errors
    /// The hold that says so.
    pub async fn still_enough(&self, policy: &Policy, action: &Action) -> Result<(), Stop> {
        let no_rule = policy.brakes.minimum_healthy.is_empty() && self.brakes.minimum_healthy.is_empty();
        if no_rule || !takes_away(action) {
            return Ok(());
        }
        let container = match self.container(action.target()).await {
            Err(_) if policy.when_unsure == WhenUnsure::Act => return Ok(()),
            found => found?,
        };
        self.enough_healthy(policy, &[Checked { action: action.clone(), container, playbook: None }]).await
    }
}

fn enough(group: &Group, taken: &[&Target], found: &[Container]) -> Result<(), Stop> {
    let others = found.iter().filter(|container| !taken.contains(&&container.target));
    let (well, ill): (Vec<&Container>, Vec<&Container>) = others.partition(|container| container.is_healthy());
    if well.len() >= usize::try_from(group.count).unwrap_or(usize::MAX) {
        return Ok(());
    }
    let Group { host, label, value, count, whose } = group;
    let target = taken.first().map_or(String::new(), ToString::to_string);
    let rest = if ill.is_empty() {
        "there are no more of them: start more".to_owned()
    } else {
        format!("not healthy: {}: heal one of them", named(&ill, true))
    };
    let message = format!(
        "without {target}, healthy containers with the label {label}={value} on {host} would be {}{}, and brakes.minimum_healthy of {whose} wants {count}; {rest}, or lower its `count`",
        well.len(),
        if well.is_empty() { String::new() } else { format!(" ({})", named(&well, false)) },
    );
    Err(Stop::held(Rule::MinimumHealthy, clean(&message, 1_000)))
}

/// Names of containers, the first few of them; with how they are.
fn named(containers: &[&Container], how: bool) -> String {
    let sorted: BTreeMap<&str, &Container> = containers.iter().map(|c| (c.target.container.as_str(), *c)).collect();
    let state = |c: &Container| match &c.health {
        Some(health) if c.is_running() => health.clone(),
        _ => c.state.clone(),
    };
    let name = |(name, c): (&&str, &&Container)| if how { format!("{name} ({})", state(c)) } else { (*name).to_owned() };
    let mut names: Vec<String> = sorted.iter().take(NAMES).map(name).collect();
    if containers.len() > NAMES {
        names.push(format!("and {} more", containers.len() - NAMES));
    }
    names.join(", ")
}
