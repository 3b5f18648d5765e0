"""What the lookups answer, how they fail, and who answers them.

In the sandbox Paramedic answers; in a test a `paramedic_policy.testing.World` does. Whoever it is stands in `_world`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from .incident import Attempt, AttemptedAction, Pairs, Time
from .words import Health, State


class LookupFailed(Exception):
    """A lookup has no answer; the text is one sentence for people. Its subclasses say why. A policy that lets it through could not
    decide: that is written down and the next policy is asked."""

    case = "other"


class AccessDenied(LookupFailed):
    """The policy file does not grant it, or the plugin does not declare it."""

    case = "access-denied"


class NotFound(LookupFailed):
    """There is no such thing."""

    case = "not-found"


class Invalid(LookupFailed):
    """The question itself is wrong: a name that cannot be one, PromQL that does not parse."""

    case = "invalid"


class LimitExceeded(LookupFailed):
    """Too many lookups, too long a question, or an answer that is too large."""

    case = "limit-exceeded"


class Unavailable(LookupFailed):
    """Whoever would know could not be asked, or did not answer in time."""

    case = "unavailable"


@dataclass(frozen=True)
class Container:
    """A container as its engine describes it."""

    name: str
    state: State = State.RUNNING
    health: Health = Health.NONE
    labels: Dict[str, str] = field(default_factory=dict)
    id: str = "0123456789ab"
    image: str = ""
    started_at: Optional[Time] = None
    finished_at: Optional[Time] = None
    exit_code: Optional[int] = None
    restart_count: int = 0
    extra: Pairs = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """One value of Prometheus' answer; the labels of a scalar are empty."""

    value: float
    labels: Dict[str, str] = field(default_factory=dict)
    at: Time = Time(0)


@dataclass(frozen=True)
class PastIncident:
    """An earlier incident, or another one that is open. `state` is how it ended (`healed`, `cleared`, `closed`) or where it stands."""

    alertname: str
    opened_at: Time
    closed_at: Optional[Time] = None
    state: str = "healed"
    policy: str = ""
    attempts: List[Attempt] = field(default_factory=list)
    id: str = "fedcba9876543210-1"
    extra: Pairs = field(default_factory=list)

    def begun(self) -> List[AttemptedAction]:
        """Every action that was really begun, oldest first."""
        return [a for attempt in self.attempts for a in attempt.actions if a.was_begun]


_world: Any = None


def world() -> Any:
    """Whoever answers now."""
    if _world is None:
        raise RuntimeError("the policy looks something up, and nobody answers: ask it through `paramedic_policy.testing.World`")
    return _world


def answer_with(new: Any) -> Any:
    """Puts another one there; gives the one before."""
    global _world
    before, _world = _world, new
    return before
