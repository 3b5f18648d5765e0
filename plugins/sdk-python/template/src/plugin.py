"""Restarts the container that an alert is about; if that does not help, calls a person.

A policy is a plain function from an incident to a decision. What it answers is only a proposal: Paramedic carries it out when the policy
file grants it.
"""

from dataclasses import dataclass

from paramedic_policy import Decision, Incident, Kind, Proposal, policy, setting


@dataclass(frozen=True)
class Settings:
    """What an operator may write under `settings` of a policy file."""

    restarts: int = setting(1, "How many restarts are tried before a person is called", minimum=0)


@policy(
    name="{{name}}",
    version="0.1.0",
    description="Restarts the container an alert is about, then calls a person",
    actions=[Kind.DOCKER_RESTART],
    lookups=[],  # what it may ever look at: Lookup.CONTAINERS, LOG_TAIL, METRICS, HISTORY
    settings=Settings,
)
def decide(incident: Incident, settings: Settings) -> Decision:
    """The policy."""
    if not incident.targets:
        return Decision.escalate(f"{incident.name} names no container: map it under `targets` in paramedic.yaml")
    target = incident.targets[0].name
    # Every question is asked afresh; what was tried before is part of the incident.
    if incident.tried(Kind.DOCKER_RESTART) < settings.restarts:
        return Decision.act(f"{incident.name} fires: restart {target}", Proposal.restart(target))
    return Decision.escalate(f"{incident.name} fires, and nothing is left to try: {incident.what_was_tried()}")
