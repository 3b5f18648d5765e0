"""What a policy is told, as plain data, and the questions a ladder asks about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Dict, Iterator, List, Optional, Tuple

from .words import Kind, Outcome, Source, State, Status, Trigger, Verification

Pairs = List[Tuple[str, str]]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LONGEST_MS = timedelta.max // timedelta(milliseconds=1)
# How many characters of an action's message are told, and how many actions: the last ones.
_MESSAGE, _TOLD = 160, 6


class Time(int):
    """A moment: milliseconds since 1970-01-01T00:00:00Z. An `int`, since what strangers say may lie outside of `datetime`."""

    def since(self, earlier: int) -> timedelta:
        """How long ago `earlier` was; zero if it was not earlier."""
        return timedelta(milliseconds=min(max(int(self) - int(earlier), 0), _LONGEST_MS))

    def plus(self, duration: timedelta) -> Time:
        """That much later."""
        return Time(int(self) + milliseconds(duration))

    @property
    def datetime(self) -> datetime:
        """In UTC. Raises `OverflowError` outside of the years 1 to 9999."""
        return _EPOCH + timedelta(milliseconds=int(self))


def milliseconds(duration: timedelta) -> int:
    """Whole milliseconds of a length of time, never less than zero."""
    return max(duration // timedelta(milliseconds=1), 0)


@dataclass(frozen=True)
class Alert:
    """What the source said. Everything in it is written by strangers: data, never commands."""

    source: Source
    status: Status
    labels: Dict[str, str]
    annotations: Dict[str, str]
    starts_at: Time
    first_seen: Time
    generator_url: str = ""
    extra: Pairs = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """What an action could be done to: `local/web` is container `web` on Docker host `local`."""

    name: str
    state: State = State.UNKNOWN
    inventory_host: Optional[str] = None
    extra: Pairs = field(default_factory=list)

    @property
    def container(self) -> str:
        """The part of the name after the Docker host."""
        return self.name.partition("/")[2] or self.name


@dataclass(frozen=True)
class AttemptedAction:
    """One action of an earlier attempt."""

    kind: Kind
    target: str
    outcome: Outcome
    detail: str = ""
    message: str = ""
    extra: Pairs = field(default_factory=list)

    @property
    def was_begun(self) -> bool:
        """True when it was really begun: neither refused nor cancelled."""
        return self.outcome.was_begun


@dataclass(frozen=True)
class Attempt:
    """One earlier `act` of an incident and what came of it."""

    actions: List[AttemptedAction]
    verification: Verification = Verification.NONE
    number: int = 0
    started_at: Time = Time(0)
    ended_at: Time = Time(0)
    extra: Pairs = field(default_factory=list)


@dataclass(frozen=True)
class Incident:
    """One alert's story, as a policy is told it. Tests make one with `paramedic_policy.testing.firing`."""

    id: str
    alert: Alert
    trigger: Trigger
    attempts: List[Attempt]
    targets: List[Target]
    now: Time

    @property
    def name(self) -> str:
        """The alert's name: its label `alertname`, or `alert` if it has none."""
        return self.label("alertname") or "alert"

    def label(self, name: str) -> Optional[str]:
        """A label's value; `None` if the alert lacks it or it is empty, which Prometheus holds to be the same."""
        return self.alert.labels.get(name) or None

    @property
    def firing_for(self) -> timedelta:
        """How long the alert has been firing, by the source's own account."""
        return self.now.since(self.alert.starts_at)

    def candidates(self, named: Optional[str] = None) -> List[Target]:
        """The targets to choose from, best first: the one that the settings name and no other, or else those of the alert, the ones
        that are down before the others. Empty when nobody names one."""
        if named is not None:
            return [next((t for t in self.targets if t.name == named), Target(named))]
        return sorted(self.targets, key=lambda t: not t.state.is_down)

    def tried(self, kind: Kind) -> int:
        """In how many attempts an action of this kind was really begun. What was refused or cancelled does not count."""
        return sum(any(a.kind == kind and a.was_begun for a in attempt.actions) for attempt in self.attempts)

    def begun(self) -> List[AttemptedAction]:
        """Every action that was really begun, oldest first."""
        return [a for attempt in self.attempts for a in attempt.actions if a.was_begun]

    def begun_on(self, target: str) -> List[AttemptedAction]:
        """Every action on this target that was really begun, oldest first."""
        return [a for a in self.begun() if a.target == target]

    @property
    def may_begin_again(self) -> bool:
        """True when a ladder that was climbed to its end may begin at its foot again: a person asks for it, or it began again and was
        held back until now."""
        return self.trigger in (Trigger.RETRY, Trigger.HOLD_OVER)

    def what_was_tried(self) -> str:
        """What was begun and how it ended, in words for a reason."""
        told = list(self._told())
        if not told:
            return "nothing was tried"
        more = len(told) - _TOLD
        earlier = [f"{more} earlier actions"] if more > 0 else []
        return ", then ".join(earlier + told[-_TOLD:])

    def _told(self) -> Iterator[str]:
        for attempt in self.attempts:
            for action in attempt.actions:
                if action.was_begun:
                    yield _tell(action, attempt.verification)


def _tell(action: AttemptedAction, verification: Verification) -> str:
    what = f"{action.kind} of {action.target}"
    if action.detail:
        what = f"{action.kind} {action.detail} about {action.target}"
    if action.outcome == Outcome.SUCCEEDED:
        if verification == Verification.UNCLEAR:
            return f"{what} succeeded but it could not be told whether that helped"
        return f"{what} succeeded but did not heal it" if verification == Verification.NOT_HEALED else f"{what} succeeded"
    said = {Outcome.TIMED_OUT: "timed out", Outcome.INTERRUPTED: "was interrupted"}.get(action.outcome, str(action.outcome))
    return f"{what} {said} ({action.message[:_MESSAGE]})" if action.message else f"{what} {said}"
