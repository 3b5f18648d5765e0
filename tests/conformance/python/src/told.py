"""What was told, as text that is the same in every language: JSON with sorted keys, no spaces, ASCII only, and numbers that are not
whole by their bits."""

import json
import struct
from typing import Any

from paramedic_policy import (
    Attempt, AttemptedAction, Container, Incident, LookupFailed, PastIncident, Sample, Target,
)  # fmt: skip
from settings import Values


def canonical(value: Any) -> str:
    """JSON without anything that depends on the language."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def bits(number: float) -> str:
    """A number by its bits."""
    return "nan" if number != number else struct.pack(">d", number).hex()


def part(what: str, incident: Incident, values: Values) -> Any:
    """A part of the incident, or of the settings."""
    parts = {
        "id": lambda: incident.id,
        "alert": lambda: alert(incident),
        "trigger": lambda: str(incident.trigger),
        "attempts": lambda: [attempt(a) for a in incident.attempts],
        "targets": lambda: [target(t) for t in incident.targets],
        "values": lambda: {**vars(values), "number": bits(values.number), "word": values.word.value},
        "now": lambda: incident.now,
        "derived": lambda: derived(incident),
    }
    return parts[what]()


def derived(incident: Incident) -> Any:
    """What the SDK makes of the incident for its authors."""
    return {
        "name": incident.name,
        "label": incident.label("container"),
        "firing_for_ms": int(incident.firing_for.total_seconds() * 1000),
        "begun": [str(a.kind) for a in incident.begun()],
        "candidates": [t.name for t in incident.candidates()],
        "may_begin_again": incident.may_begin_again,
        "tried": incident.what_was_tried(),
    }


def alert(incident: Incident) -> Any:
    return {**vars(incident.alert), "source": str(incident.alert.source), "status": str(incident.alert.status)}


def target(t: Target) -> Any:
    return {**vars(t), "state": str(t.state)}


def attempt(a: Attempt) -> Any:
    return {**vars(a), "actions": [action(x) for x in a.actions], "verification": str(a.verification)}


def action(a: AttemptedAction) -> Any:
    return {**vars(a), "kind": str(a.kind), "outcome": str(a.outcome)}


def container(c: Container) -> Any:
    """A container that was found."""
    return {**vars(c), "state": str(c.state), "health": str(c.health)}


def sample(s: Sample) -> Any:
    """A value that was found."""
    return {**vars(s), "value": bits(s.value)}


def past(p: PastIncident) -> Any:
    """An incident that was found."""
    return {**vars(p), "attempts": [attempt(a) for a in p.attempts]}


def failed(error: LookupFailed) -> Any:
    """Why nothing was found."""
    return {"error": [error.case, str(error)]}
