"""Words for the journal, shown with the decision. 100 lines of 1000 characters are kept for one question.

Outside of Paramedic nobody listens, except a `paramedic_policy.testing.World`.
"""

from . import lookup


def debug(message: object) -> None:
    """What only the author wants to know."""
    _say("debug", message)


def info(message: object) -> None:
    """What explains the decision."""
    _say("info", message)


def warn(message: object) -> None:
    """What should not be so."""
    _say("warn", message)


def error(message: object) -> None:
    """What went wrong."""
    _say("error", message)


def _say(level: str, message: object) -> None:
    if lookup._world is not None:
        lookup._world.log(level, str(message))
