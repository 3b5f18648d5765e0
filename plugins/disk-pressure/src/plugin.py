"""Cleans up a filesystem that is about to be full: asks Prometheus for its forecast, runs a playbook, asks again, and calls a person when
it goes on growing, or when the alert goes on beside a good forecast.

The filesystem is the one that the alert's labels name. What the labels say goes into the query as quoted text and into the playbook as
variables, never as anything else. Absent on purpose: deleting by itself; what may be deleted is written in the operator's playbook.
"""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Dict, List, Optional

from paramedic_policy import (
    CannotDecide, Decision, Incident, Kind, Lookup, LookupFailed, Proposal, Trigger, log, metrics, policy, setting,
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What an operator may write under `settings`."""

    playbook: str = setting(help="The playbook that cleans up, a path in the playbook folder", minLength=1)
    target: Optional[str] = setting(None, "The target it is about; without it the alert's own")
    metric: str = setting("node_filesystem_avail_bytes", "The metric of the free bytes", pattern="^[a-zA-Z_:][a-zA-Z0-9_:]*$")
    labels: List[str] = setting(
        factory=lambda: ["instance", "mountpoint"], help="The alert's labels that tell the filesystem", minItems=1
    )
    below: int = setting(0, "Pressure means: forecast to have at most so many bytes free", minimum=0)
    horizon: timedelta = setting(timedelta(hours=4), "How far ahead is forecast")
    over: timedelta = setting(timedelta(hours=1), "The past from which is forecast")
    patience: timedelta = setting(
        timedelta(hours=1), "How long the alert may fire beside a good forecast before a person is called"
    )
    settle: timedelta = setting(timedelta(minutes=5), "How long a clean-up may take to show in the metric")
    runs: int = setting(1, "How often the playbook is run before a person is called", minimum=1, maximum=10)
    variables: Dict[str, str] = field(default_factory=dict, metadata={"schema": {"description": "Variables: name -> the alert's label"}})

    def __post_init__(self) -> None:
        """Refuses what would make a query that cannot be answered."""
        if self.over < timedelta(minutes=1):
            raise ValueError("`over` has to be at least 1m, so that there is something to forecast from")
        if not self.labels:
            raise ValueError("`labels` has to name at least one label, or every filesystem would be meant")


@policy(
    name="disk-pressure",
    version="0.1.0",
    description="Cleans up a filesystem that is about to be full, looks whether that helped, then escalates",
    actions=[Kind.ANSIBLE_PLAYBOOK],
    lookups=[Lookup.METRICS],
    settings=Settings,
)
def decide(incident: Incident, settings: Settings) -> Decision:
    """The policy."""
    if incident.trigger == Trigger.DENIED:
        return Decision.escalate("a person said no to the clean-up, and this policy has nothing else to offer")
    candidates = incident.candidates(settings.target)
    if not candidates:
        return Decision.escalate(
            f"{incident.name} names no target: give this policy `settings.target`, or map the alert under `targets` in paramedic.yaml"
        )
    missing = [name for name in settings.labels if incident.label(name) is None]
    if missing:
        return Decision.escalate(f"{incident.name} lacks the label {', '.join(missing)}, so it is not known which filesystem is meant")
    runs = incident.begun_on(candidates[0].name)
    waited = incident.now.since(incident.attempts[-1].ended_at) if runs else None
    if waited is not None and waited < settings.settle and incident.trigger != Trigger.RETRY:
        return Decision.wait(f"{settings.playbook} was run: let it show in {settings.metric}", settings.settle - waited)
    try:
        free = forecast(incident, settings)
    except LookupFailed as error:
        # Without a forecast the alert alone is no reason to delete anything.
        return Decision.escalate(f"{incident.name} fires, and the forecast cannot be had: {error}")
    return judge(incident, settings, candidates[0].name, len(runs), free)


def judge(incident: Incident, settings: Settings, target: str, runs: int, free: Optional[float]) -> Decision:
    """What follows from the forecast."""
    where = ", ".join(f"{name}={incident.label(name)}" for name in settings.labels)
    if free is None:
        return Decision.escalate(f"{incident.name} fires, and Prometheus knows no {settings.metric} of {where}")
    hours = f"{settings.horizon.total_seconds() / 3600:g} h"
    said = f"{where} is forecast to have {tell_bytes(free)} free in {hours}"
    if free > settings.below:
        log.info(f"{said}; pressure begins at {tell_bytes(settings.below)}")
        return be_patient(incident, settings, said)
    if runs < settings.runs or (incident.trigger == Trigger.RETRY and runs % settings.runs == 0):
        return Decision.act(f"{said}: run {settings.playbook}", clean_up(incident, settings, target))
    return Decision.escalate(f"{said}, though {incident.what_was_tried()}: it goes on growing")


def be_patient(incident: Incident, settings: Settings, said: str) -> Decision:
    """The rule that fires and the forecast disagree: for a while that is the time a rule needs to see what has changed."""
    begun = [incident.alert.first_seen] + [attempt.ended_at for attempt in incident.attempts]
    left = settings.patience - incident.now.since(max(begun))
    if left <= timedelta() and incident.trigger != Trigger.RETRY:
        tried = f", and {incident.what_was_tried()}" if incident.begun() else ""
        return Decision.escalate(
            f"{said}{tried}, yet {incident.name} has gone on firing for {tell_time(settings.patience)}: "
            "its rule and this forecast disagree, and a person has to say which is right"
        )
    # After a person's retry it is looked once more.
    pause = max(settings.settle, timedelta(minutes=1))
    return Decision.wait(f"{said}: no clean-up is needed, so look again", min(pause, left) if left > timedelta() else pause)


def forecast(incident: Incident, settings: Settings) -> Optional[float]:
    """The fewest bytes that are forecast to be free; `None` if there is nothing to forecast from."""
    samples = metrics.query(query(incident, settings))
    values = [sample.value for sample in samples if math.isfinite(sample.value)]
    return min(values, default=None)


def query(incident: Incident, settings: Settings) -> str:
    """The PromQL; what labels hold is quoted."""
    labels = {name: incident.label(name) or "" for name in settings.labels}
    over, horizon = int(settings.over.total_seconds()), int(settings.horizon.total_seconds())
    return f"predict_linear({settings.metric}{metrics.selector(labels)}[{over}s], {horizon})"


def clean_up(incident: Incident, settings: Settings, target: str) -> Proposal:
    """The playbook with its variables."""
    variables = {}
    for name, label in settings.variables.items():
        value = incident.label(label)
        if value is None:
            raise CannotDecide(f"variable `{name}` is the alert's label `{label}`, which this alert does not have")
        variables[name] = value
    return Proposal.playbook(settings.playbook, about=target, variables=variables)


def tell_time(length: timedelta) -> str:
    """A length of time for people."""
    seconds = int(length.total_seconds())
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def tell_bytes(number: float) -> str:
    """Bytes for people; what is less than nothing is nothing."""
    number = max(number, 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
