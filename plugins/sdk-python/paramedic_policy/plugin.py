"""What makes a plugin of a function: its name, what it may ever want and look at, its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterable, List, Optional

from .settings import NoSettings
from .words import Kind, Lookup


@dataclass(frozen=True)
class Plugin:
    """A policy and what it says about itself."""

    name: str
    version: str
    description: str
    actions: List[Kind]
    lookups: List[Lookup]
    settings: type
    decide: Callable[[Any, Any], Any]
    check: Optional[Callable[[Any], None]] = None


registered: List[Plugin] = []


def policy(
    *,
    name: str,
    version: str,
    description: str,
    actions: Iterable[Kind] = (),
    lookups: Iterable[Lookup] = (),
    settings: type = NoSettings,
    check: Optional[Callable[[Any], None]] = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a plugin of the function below, which stays a plain function.

    What `actions` and `lookups` do not name is refused even if the operator granted it. `check` is given the settings when a policy
    is loaded, and raises `ValueError` about what a schema cannot say.
    """

    def register(decide: Callable[..., Any]) -> Callable[..., Any]:
        registered.append(Plugin(name, version, description, list(actions), list(lookups), settings, decide, check))
        return decide

    return register
