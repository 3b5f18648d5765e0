"""Looking at Prometheus. Only metrics that the policy file grants (`grants.metrics`) can be asked for."""

import re
from typing import Dict, List

from .lookup import Sample, world

# What ends a string of PromQL, and what no terminal should be sent: control characters.
_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f-\x9f]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}


def query(promql: str) -> List[Sample]:
    """Evaluates PromQL at the time of the question: an instant vector or a scalar, at most 500 samples. Text from an alert belongs
    into it only through `quote` or `selector`."""
    return world().query(promql)


def quote(text: str) -> str:
    """Text as a string of PromQL, quotes included: whatever it holds, it stays one string.

    >>> "up{job=" + quote('x"} or vector(1) #') + "}"
    'up{job="x\\\\"} or vector(1) #"}'
    """
    return '"' + _SPECIAL.sub(lambda m: _ESCAPES.get(m[0]) or f"\\u{ord(m[0]):04x}", text) + '"'


def selector(labels: Dict[str, str]) -> str:
    """Labels and their values as `{a="1",b="2"}`. Raises `ValueError` for a name that cannot be a label's."""
    for name in labels:
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(f"`{name}` cannot be the name of a label")
    return "{" + ",".join(f"{name}={quote(value)}" for name, value in labels.items()) + "}"
