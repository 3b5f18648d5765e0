"""For tests without wasm: incidents as they could be, and a made-up world that lookups are answered from.

    world = World(metrics={'up{job="web"}': [Sample(1.0)]})
    assert world.ask(decide, firing("WebDown", targets=["local/web"])) == Decision.act(...)
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

from . import lookup
from .incident import Alert, Attempt, AttemptedAction, Incident, Target, Time
from .lookup import Container, LookupFailed, NotFound, PastIncident, Sample
from .settings import NoSettings, parse
from .words import Kind, Outcome, Source, Status, Trigger, Verification

# When the incidents of tests take place: 2023-11-14T22:13:20Z.
TEST_TIME = Time(1_700_000_000_000)


def firing(
    alertname: str,
    *,
    labels: Optional[Dict[str, str]] = None,
    annotations: Optional[Dict[str, str]] = None,
    targets: Iterable[Union[str, Target]] = (),
    attempts: Iterable[Attempt] = (),
    trigger: Optional[Trigger] = None,
    after: timedelta = timedelta(seconds=15),
) -> Incident:
    """An alert of Prometheus that fires for as long as `after`. Without `trigger` it is asked because it fires, or because the last
    attempt did not heal."""
    alert = Alert(Source.PROMETHEUS, Status.FIRING, {"alertname": alertname, **(labels or {})}, annotations or {}, TEST_TIME, TEST_TIME)
    known = [Target(t) if isinstance(t, str) else t for t in targets]
    now, told = TEST_TIME.plus(after), []
    for number, attempt in enumerate(attempts, 1):
        told.append(replace(attempt, number=number, started_at=now, ended_at=now.plus(timedelta(minutes=1))))
        now = told[-1].ended_at
    why = trigger or (Trigger.NOT_HEALED if told else Trigger.ALERT)
    return Incident("0123456789abcdef-1", alert, why, told, known, now)


def tried(kind: Kind, target: str, outcome: Outcome = Outcome.SUCCEEDED, detail: str = "", message: str = "") -> Attempt:
    """An attempt of one action that did not heal."""
    verification = Verification.NOT_HEALED if outcome.was_begun else Verification.NONE
    return Attempt([AttemptedAction(kind, target, outcome, detail, message)], verification)


class World:
    """Answers lookups in a test: with what it was given, or with the error that stands in its place.

    A query, a log or a history that nobody made up fails the test; a container that is not there is `NotFound`. What was asked is in
    `asked`, what was logged in `said`.
    """

    def __init__(
        self,
        *,
        containers: Union[Iterable[Container], LookupFailed] = (),
        metrics: Optional[Dict[str, Union[List[Sample], LookupFailed]]] = None,
        logs: Optional[Dict[str, Union[List[str], LookupFailed]]] = None,
        history: Optional[Dict[str, Union[List[PastIncident], LookupFailed]]] = None,
    ) -> None:
        self._containers = containers if isinstance(containers, LookupFailed) else {c.name: c for c in containers}
        self._metrics, self._logs, self._history = metrics or {}, logs or {}, history or {}
        self._now = TEST_TIME
        self.asked: List[str] = []
        self.said: List[Tuple[str, str]] = []

    def ask(self, decide: Callable[..., Any], incident: Incident, settings: Any = NoSettings()) -> Any:
        """Asks the policy while this world answers."""
        before, self._now = lookup.answer_with(self), incident.now
        try:
            return decide(incident, settings)
        finally:
            lookup.answer_with(before)

    def find(self, host: str, labels: Dict[str, str]) -> List[Container]:
        known = self._known(f"containers {host} {labels}")
        found = [c for name, c in sorted(known.items()) if name.partition("/")[0] == host]
        return [c for c in found if labels.items() <= c.labels.items()]

    def inspect(self, target: str) -> Container:
        known = self._known(f"containers {target}")
        if target not in known:
            raise NotFound(f"there is no container {target}")
        return known[target]

    def log_tail(self, target: str, lines: int) -> List[str]:
        return self._answer(self._logs, target, f"log {target} {lines}")[-lines:]

    def query(self, promql: str) -> List[Sample]:
        return [replace(s, at=s.at or self._now) for s in self._answer(self._metrics, promql, f"metrics {promql}")]

    def of_target(self, target: str, within: timedelta) -> List[PastIncident]:
        all_of_it = self._answer(self._history, target, f"history {target} {within}")
        recent = [p for p in all_of_it if self._now.since(p.opened_at) <= within]
        return sorted(recent, key=lambda p: -p.opened_at)

    def log(self, level: str, message: str) -> None:
        self.said.append((level, message))

    def _known(self, question: str) -> Dict[str, Container]:
        self.asked.append(question)
        if isinstance(self._containers, LookupFailed):
            raise self._containers
        return self._containers

    def _answer(self, answers: Dict[str, Any], key: str, question: str) -> Any:
        self.asked.append(question)
        if key not in answers:
            raise AssertionError(f"the policy asks `{question}`, and this world has no answer: give it one")
        if isinstance(answers[key], LookupFailed):
            raise answers[key]
        return answers[key]


def settings(of: type, **values: Any) -> Any:
    """Settings as an operator would write them, checked in the same way: `settings(Settings, wait="5m")`."""
    return parse(of, values)
