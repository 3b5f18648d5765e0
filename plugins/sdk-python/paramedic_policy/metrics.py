"""Looking at Prometheus. Only metrics that the policy file grants (`grants.metrics`) can be asked for."""

from typing import Dict, List

from .lookup import Sample, world


def query(promql: str) -> List[Sample]:
    """Evaluates PromQL at the time of the question: an instant vector or a scalar, at most 500 samples. Text from an alert belongs
    into it only through `quote` or `selector`."""
    return world().query(promql)


def quote(text: str) -> str:
    """Text as a string of PromQL, quotes included: whatever it holds, it stays one string.

    >>> "up{job=" + quote('x"} or vector(1) #') + "}"
    'up{job="x\\\\"} or vector(1) #"}'
    """
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
    return '"' + "".join(escapes.get(c) or (c if _is_plain(c) else f"\\u{ord(c):04x}") for c in text) + '"'


def selector(labels: Dict[str, str]) -> str:
    """Labels and their values as `{a="1",b="2"}`. Raises `ValueError` for a name that cannot be a label's."""
    for name in labels:
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(f"`{name}` cannot be the name of a label")
    return "{" + ",".join(f"{name}={quote(value)}" for name, value in labels.items()) + "}"


def _is_plain(c: str) -> bool:
    return not (ord(c) < 32 or 127 <= ord(c) < 160)
