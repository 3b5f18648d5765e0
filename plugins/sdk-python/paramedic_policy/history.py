"""Looking at what happened before: other incidents, not this one. Granted by `grants.history`."""

from datetime import timedelta
from typing import List

from .lookup import PastIncident, world


def of_target(target: str, within: timedelta) -> List[PastIncident]:
    """The incidents about that target which were opened within that time before now, newest first; at most 50."""
    return world().of_target(target, within)
