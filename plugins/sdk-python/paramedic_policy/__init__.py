"""The Python SDK for Paramedic's policy plugins: a policy is a plain function from an incident to a decision.

    @policy(name="restart-once", version="1.0.0", description="Restarts the container, once", actions=[Kind.DOCKER_RESTART])
    def decide(incident: Incident, settings: NoSettings) -> Decision: ...

Nothing here needs wasm: `decide` can be called by a test. `paramedic_component.py`, beside this package, makes a plugin of it.
"""

from . import containers, history, log, metrics
from .decision import CannotDecide, Decision, Matcher, Proposal
from .incident import Alert, Attempt, AttemptedAction, Incident, Target, Time
from .lookup import (
    AccessDenied,
    Container,
    Invalid,
    LimitExceeded,
    LookupFailed,
    NotFound,
    PastIncident,
    Sample,
    Unavailable,
)
from .plugin import Plugin, policy
from .settings import NoSettings, SettingsError, setting
from .words import Health, Kind, Lookup, Outcome, Source, State, Status, Trigger, Verification

__all__ = [
    "AccessDenied", "Alert", "Attempt", "AttemptedAction", "CannotDecide", "Container", "Decision", "Health", "Incident", "Invalid",
    "Kind", "LimitExceeded", "Lookup", "LookupFailed", "Matcher", "NoSettings", "NotFound", "Outcome", "PastIncident", "Plugin",
    "Proposal", "Sample", "SettingsError", "Source", "State", "Status", "Target", "Time", "Trigger", "Unavailable", "Verification",
    "containers", "history", "log", "metrics", "policy", "setting",
]  # fmt: skip
