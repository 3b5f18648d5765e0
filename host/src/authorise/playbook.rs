//! May this playbook be run, on this host, with these variables?

use std::collections::BTreeMap;

use crate::action::{Action, InventoryHost, Proposal, Target, is_tag};
use crate::incident::Rule;
use crate::look::{Eyes, Unfit};
use crate::policy::grants::PlaybookGrant;
use crate::telemetry::did_you_mean;

use super::{Claim, Stop};

/// A no, before it is known which proposal it is about.
pub(super) enum No {
    Ever(Rule, String),
    Now(String),
}

impl No {
    pub(super) fn into_stop(self, proposal: &Proposal) -> Stop {
        match self {
            Self::Ever(rule, message) => Stop::Refused { proposal: Box::new(proposal.clone()), rule, message },
            Self::Now(message) => Stop::held(Rule::Unsure, message),
        }
    }
}

/// Checks name, grant, host and variables, in the order in which an operator would ask. Gives the action and the SHA-256 of the file.
pub(super) async fn action(
    eyes: &dyn Eyes,
    claim: Claim<'_>,
    about: &Target,
    proposal: &Proposal,
) -> Result<(Action, String), No> {
    let Proposal::Playbook { name, host, variables, tags, check, .. } = proposal else {
        return Err(No::Ever(Rule::InvalidProposal, format!("{} is no playbook", proposal.kind())));
    };
    let host = host_of(claim, about, name, host.as_deref())?;
    let grant = claim.policy.grants.playbook(name, &host).ok_or_else(|| not_granted(claim, name, &host))?;
    limited(grant, tags, *check)?;
    let file = eyes.playbook(name, &grant.profile, &host).await.map_err(|unfit| match unfit {
        Unfit::Never(rule, message) => No::Ever(rule, message),
        Unfit::Unknown(message) => No::Now(message),
    })?;
    let variables = checked(grant, variables)?;
    let (name, profile, tags) = (name.clone(), grant.profile.clone(), tags.clone());
    Ok((Action::Playbook { name, about: about.clone(), host, profile, variables, tags, check: *check }, file))
}

/// The host the plugin named, or the one configured for the target, or the only one that is granted for this playbook.
fn host_of(claim: Claim<'_>, about: &Target, name: &str, host: Option<&str>) -> Result<InventoryHost, No> {
    if let Some(host) = host {
        return host.parse().map_err(|why| No::Ever(Rule::UnknownInventoryHost, why));
    }
    let configured =
        claim.incident.targets.iter().find(|view| view.target == *about).and_then(|view| view.inventory_host.clone());
    let granted: Vec<&PlaybookGrant> = claim.policy.grants.ansible.iter().filter(|grant| grant.playbook == name).collect();
    if granted.is_empty() {
        let message = format!("policy {} has no grant for the playbook {}", claim.policy.name, name.escape_debug());
        return Err(No::Ever(Rule::NotGranted, message));
    }
    let only = match granted.as_slice() {
        [grant] if grant.hosts.len() == 1 => grant.hosts.first().cloned(),
        _ => None,
    };
    configured.or(only).ok_or_else(|| {
        let message =
            format!("it is not known on which inventory host a playbook about {about} runs: give it one under `targets`");
        No::Ever(Rule::UnknownInventoryHost, message)
    })
}

fn not_granted(claim: Claim<'_>, name: &str, host: &InventoryHost) -> No {
    let name = name.escape_debug();
    let policy = &claim.policy.name;
    No::Ever(
        Rule::NotGranted,
        format!(
            "policy {policy} has no grant for {name} on {host}; to allow it: grants: {{ansible: [{{playbook: {name}, hosts: [{host}]}}]}}"
        ),
    )
}

/// Only granted tags, and only a check where no more is granted.
fn limited(grant: &PlaybookGrant, tags: &[String], check: bool) -> Result<(), No> {
    let playbook = &grant.playbook;
    for tag in tags {
        let shown = tag.escape_debug();
        if !is_tag(tag) {
            let message = format!("`{shown}` cannot be a tag: up to 64 letters, digits, `_`, `.` and `-` are allowed");
            return Err(No::Ever(Rule::InvalidProposal, message));
        }
        if !grant.tags.contains(tag) {
            let near = did_you_mean(tag, &grant.tags);
            let message =
                format!("the tag `{shown}` is not granted for {playbook}{near}; to allow it, add it to the grant's tags");
            return Err(No::Ever(Rule::NotGranted, message));
        }
    }
    if grant.check_only && !check {
        let message = format!("{playbook} may only be checked: its grant says `check_only: true`");
        return Err(No::Ever(Rule::NotGranted, message));
    }
    Ok(())
}

/// Only granted names, never `ansible_*` (some of those run commands on the controller), each with a JSON value.
fn checked(grant: &PlaybookGrant, variables: &[(String, String)]) -> Result<BTreeMap<String, serde_json::Value>, No> {
    let mut values = BTreeMap::new();
    for (name, text) in variables {
        let shown = name.escape_debug();
        if !grant.vars.contains(name) || !is_variable(name) {
            let message =
                format!("variable `{shown}` is not granted for {}; to allow it, add it to the grant's vars", grant.playbook);
            return Err(No::Ever(Rule::InvalidVariable, message));
        }
        let value = serde_json::from_str(text)
            .map_err(|error| No::Ever(Rule::InvalidVariable, format!("the value of variable `{shown}` is no JSON: {error}")))?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

fn is_variable(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.starts_with("ansible_") && name.chars().all(word) && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}
