//! What a good policy does at least: looks at the container and at a metric, and restarts what is down. Built with the SDK, and asked
//! again and again for the figures of `make bench`.

use paramedic_policy::lookup::{LookupError, containers, metrics};
use paramedic_policy::{Decision, Incident, Kind, Lookup, NoSettings, Proposal, policy};

/// The policy.
pub fn decide(incident: &Incident, _: &NoSettings) -> Result<Decision, LookupError> {
    let [target] = incident.targets.as_slice() else { return Ok(Decision::escalate("it wants exactly one target")) };
    let container = containers::inspect(&target.name)?;
    let deploying = metrics::query(&format!("deploying{{container={}}} == 1", metrics::quote(target.container())))?;
    Ok(if deploying.is_empty() && container.state.is_down() {
        Decision::act(format!("{} is down", target.name), [Proposal::restart(&target.name)])
    } else {
        Decision::ignore(format!("{}: nothing to do", target.name))
    })
}

policy! {
    name: "looks-twice",
    description: "Looks twice, then restarts what is down",
    actions: [Kind::DockerRestart],
    lookups: [Lookup::Containers, Lookup::Metrics],
    settings: NoSettings,
    decide: decide,
}
