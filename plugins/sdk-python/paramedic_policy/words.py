"""The contract's open sets of words, as enums that keep a word they do not know.

`Kind("k8s.delete-pod")` is no error: it is a member of `Kind` with that value which equals no named one. A later Paramedic may say
something new, and a policy keeps working.
"""

from enum import Enum


class Word(Enum):
    """A word of an open set; `str(word)` is the contract's word, `is_known` says whether this SDK knows it."""

    @classmethod
    def _missing_(cls, value):
        if not isinstance(value, str):
            return None
        word = object.__new__(cls)
        word._name_ = "OTHER"
        word._value_ = value
        return word

    def __str__(self) -> str:
        return self._value_

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value_ == self._value_

    def __hash__(self) -> int:
        return hash(self._value_)

    @property
    def is_known(self) -> bool:
        """False for a word that this version of the SDK does not know."""
        return self._value_ in type(self)._value2member_map_


class Kind(Word):
    """A kind of action."""

    DOCKER_RESTART = "docker.restart"
    DOCKER_START = "docker.start"
    DOCKER_STOP = "docker.stop"
    DOCKER_PAUSE = "docker.pause"
    DOCKER_UNPAUSE = "docker.unpause"
    DOCKER_KILL = "docker.kill"
    ANSIBLE_PLAYBOOK = "ansible.playbook"
    SILENCE = "alertmanager.silence"
    EXPIRE_SILENCE = "alertmanager.expire"
    NOTIFY = "notify.send"


class Lookup(Word):
    """What a policy may look at."""

    CONTAINERS = "containers"
    LOG_TAIL = "containers.log-tail"
    METRICS = "metrics"
    HISTORY = "history"


class Trigger(Word):
    """Why the question is asked."""

    ALERT = "alert"
    NOT_HEALED = "not-healed"
    WAIT_OVER = "wait-over"
    HOLD_OVER = "hold-over"
    INTERRUPTED = "interrupted"
    DENIED = "denied"
    RETRY = "retry"


class Outcome(Word):
    """How one action of an earlier attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def was_begun(self) -> bool:
        """True when it was really begun, however it ended. An unknown word counts as begun, so that a ladder climbs rather than repeats."""
        return self not in (Outcome.REFUSED, Outcome.CANCELLED)


class Verification(Word):
    """What looking again after an attempt said."""

    HEALED = "healed"
    NOT_HEALED = "not-healed"
    UNCLEAR = "unclear"
    NONE = "none"


class State(Word):
    """What a container was doing."""

    RUNNING = "running"
    EXITED = "exited"
    PAUSED = "paused"
    RESTARTING = "restarting"
    CREATED = "created"
    DEAD = "dead"
    MISSING = "missing"
    UNKNOWN = "unknown"

    @property
    def is_down(self) -> bool:
        """True when it is certain that the container exists and does not run."""
        return self in (State.EXITED, State.CREATED, State.DEAD)


class Health(Word):
    """What a container's health check says."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    STARTING = "starting"
    NONE = "none"


class Status(Word):
    """Whether the alert fires."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Source(Word):
    """Family of the source that raised the alert."""

    PROMETHEUS = "prometheus"
    DOCKER = "docker"
    GRAFANA = "grafana"
    GENERIC = "generic"
