"""Looking at containers. Only those that the policy file grants are seen: `grants.docker.inspect`, and `logs` for logs."""

from typing import Dict, List, Optional

from .lookup import Container, world


def find(host: str, labels: Optional[Dict[str, str]] = None) -> List[Container]:
    """The granted containers of a Docker host, running or not, that have all these labels; in the order of their names, at most 200."""
    return world().find(host, labels or {})


def inspect(target: str) -> Container:
    """One container, by its unique name such as `local/web`. Raises `NotFound`."""
    return world().inspect(target)


def log_tail(target: str, lines: int = 20) -> List[str]:
    """The last lines of what a container wrote, oldest first; at most 200 lines of 1000 characters."""
    return world().log_tail(target, lines)
