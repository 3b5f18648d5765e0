"""The settings: a script of steps, the decision to answer, and values of every type.

Numbers that may be larger than what every language's JSON keeps exactly are written as text.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, List, Literal, Optional

from paramedic_policy import setting


@dataclass(frozen=True)
class Step:
    """One step. What it tells is added to the decision's reason."""

    do: Literal["tell", "find", "inspect", "log-tail", "query", "past", "log", "print", "fail"]
    what: Optional[Literal["id", "alert", "trigger", "attempts", "targets", "values", "now", "derived"]] = None
    host: str = ""
    labels: Dict[str, str] = field(default_factory=dict)
    target: str = ""
    lines: int = setting(0, minimum=0)
    promql: str = ""
    within_ms: str = "0"
    level: Literal["debug", "info", "warn", "error"] = "info"
    message: str = ""
    times: int = setting(1, minimum=0)
    text: str = ""
    how: Optional[Literal["cannot-decide", "bug", "recursion", "nothing", "half-a-character", "no-text", "bug-in-check"]] = None


class Word(Enum):
    """One of a few words."""

    RED = "red"
    DARK_GREEN = "dark-green"


@dataclass(frozen=True)
class Values:
    """Values of every type that settings can have, each with a default."""

    text: str = "nothing"
    maybe: Optional[str] = None
    whole: int = 7
    number: float = 0.5
    flag: bool = False
    word: Word = Word.RED
    names: List[str] = field(default_factory=lambda: ["first"])
    table: Dict[str, int] = field(default_factory=dict)
    anything: Any = None


@dataclass(frozen=True)
class Match:
    """One matcher of a silence."""

    name: str
    op: str
    value: str


@dataclass(frozen=True)
class Wanted:
    """What to propose."""

    kind: Literal[
        "docker.restart", "docker.start", "docker.stop", "docker.pause", "docker.unpause", "docker.kill", "ansible.playbook",
        "alertmanager.silence", "alertmanager.expire", "notify.send",
    ]  # fmt: skip
    target: str = ""
    about: str = ""
    grace_seconds: Optional[int] = setting(None, minimum=0)
    signal: Optional[str] = None
    name: str = ""
    host: Optional[str] = None
    variables: Dict[str, Any] = field(default_factory=dict)
    tags: List[str] = field(default_factory=list)
    check: bool = False
    matchers: List[Match] = field(default_factory=list)
    ms: str = "0"
    comment: str = ""
    id: Optional[str] = None
    channel: str = ""
    text: str = ""


@dataclass(frozen=True)
class Answer:
    """What to answer."""

    answer: Literal["pass", "ignore", "act", "wait", "escalate"]
    reason: str
    proposals: List[Wanted] = field(default_factory=list)
    ms: str = "0"


@dataclass(frozen=True)
class Settings:
    """What this plugin is told to do."""

    decision: Answer = setting(help="What to answer")
    script: List[Step] = setting(factory=list, help="What to do first, in this order")
    strict: bool = setting(False, "Let the error of a lookup through instead of telling it")
    values: Values = setting(Values(), "Values to be told again")
