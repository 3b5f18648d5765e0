"""What a policy answers and what it can want, as plain data that tests compare with `==`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Dict, Iterable, Optional, Tuple

from .words import Kind


@dataclass(frozen=True)
class Matcher:
    """One matcher of a silence; `op` is `=`, `!=`, `=~` or `!~`."""

    name: str
    op: str
    value: str


@dataclass(frozen=True)
class Proposal:
    """Something that could be done to one target. Making one does nothing. Use the functions below, one for each kind."""

    kind: Kind
    target: str
    options: Dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def restart(target: str, *, grace_seconds: Optional[int] = None) -> Proposal:
        """Stop (if running) and start a container. Without `grace_seconds` its own setting says how long it may take to stop."""
        return Proposal(Kind.DOCKER_RESTART, target, {"grace_seconds": grace_seconds})

    @staticmethod
    def start(target: str) -> Proposal:
        """Start a container that is not running."""
        return Proposal(Kind.DOCKER_START, target)

    @staticmethod
    def stop(target: str, *, grace_seconds: Optional[int] = None) -> Proposal:
        """Stop a container."""
        return Proposal(Kind.DOCKER_STOP, target, {"grace_seconds": grace_seconds})

    @staticmethod
    def pause(target: str) -> Proposal:
        """Freeze all processes of a container."""
        return Proposal(Kind.DOCKER_PAUSE, target)

    @staticmethod
    def unpause(target: str) -> Proposal:
        """Let a paused container go on."""
        return Proposal(Kind.DOCKER_UNPAUSE, target)

    @staticmethod
    def kill(target: str, signal: Optional[str] = None) -> Proposal:
        """Send a signal, such as `SIGHUP`, to the first process of a container; without one it is `SIGKILL`."""
        return Proposal(Kind.DOCKER_KILL, target, {"signal": signal})

    @staticmethod
    def playbook(
        name: str,
        *,
        about: str,
        host: Optional[str] = None,
        variables: Optional[Dict[str, Any]] = None,
        tags: Iterable[str] = (),
        check: bool = False,
    ) -> Proposal:
        """Run a playbook of the operator's playbook folder. `about` is the target it is meant to help; without `host` it is limited to
        that target's inventory host. Variables are anything that JSON can hold; strings reach Ansible as data it never evaluates."""
        options = {"name": name, "host": host, "variables": dict(variables or {}), "tags": list(tags), "check": check}
        return Proposal(Kind.ANSIBLE_PLAYBOOK, about, options)

    @staticmethod
    def silence(matchers: Iterable[Matcher], *, about: str, duration: timedelta, comment: str = "") -> Proposal:
        """Silence what all these matchers fit, from now on and for that long. The alert still fires."""
        return Proposal(Kind.SILENCE, about, {"matchers": list(matchers), "duration": duration, "comment": comment})

    @staticmethod
    def expire_silences(about: str, id: Optional[str] = None) -> Proposal:
        """End every silence, or the one with that id, that this policy made about that target."""
        return Proposal(Kind.EXPIRE_SILENCE, about, {"id": id})

    @staticmethod
    def notify(channel: str, text: str, *, about: str) -> Proposal:
        """Send a text of at most 2000 characters to a channel of the operator's configuration."""
        return Proposal(Kind.NOTIFY, about, {"channel": channel, "text": text})


@dataclass(frozen=True)
class Decision:
    """What a policy answers. The reason is one sentence for the engineer on call."""

    word: str
    reason: str
    proposals: Tuple[Proposal, ...] = ()
    duration: Optional[timedelta] = None

    @staticmethod
    def pass_(reason: str) -> Decision:
        """Not mine: ask the next policy."""
        return Decision("pass", reason)

    @staticmethod
    def ignore(reason: str) -> Decision:
        """Mine, and there is nothing to do."""
        return Decision("ignore", reason)

    @staticmethod
    def act(reason: str, *proposals: Proposal) -> Decision:
        """Mine: do these things, in this order; the first that fails ends the attempt. All about one target, at most 16."""
        return Decision("act", reason, tuple(proposals))

    @staticmethod
    def wait(reason: str, duration: timedelta) -> Decision:
        """Mine: ask again after that time, or when the alert clears."""
        return Decision("wait", reason, duration=duration)

    @staticmethod
    def escalate(reason: str) -> Decision:
        """Mine: a person has to look."""
        return Decision("escalate", reason)


class CannotDecide(Exception):
    """Raise it, with a sentence for the engineer on call, when a policy cannot decide. The next policy is asked."""
