"""Between the contract and the plain data: what componentize-py makes a component of. Authors write `plugin.py` and never see this."""

import io
import json
import linecache
import re
import sys
import traceback
from datetime import timedelta
from typing import Any, Dict, List, Optional

import plugin as _author  # noqa: F401  the policy, which registers itself
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.lifecycle import Manifest
from wit_world.imports import alertmanager, ansible, containers, docker, history, incident, metrics, notify, types
from wit_world.imports import log as journal

import paramedic_policy as sdk
from paramedic_policy import lookup, settings
from paramedic_policy.incident import milliseconds
from paramedic_policy.plugin import registered

if len(registered) != 1:
    raise SystemExit(f"plugin.py has to decorate exactly one function with @policy; it decorates {len(registered)}")
PLUGIN = registered[0]
# Described while it is built: settings that have no schema are an error of the build.
SCHEMA = json.dumps(settings.schema(PLUGIN.settings))
MAX_U32 = 2**32 - 1


class Lifecycle(exports.Lifecycle):
    def describe(self) -> Manifest:
        words = lambda these: [str(word) for word in these]
        actions, lookups = words(PLUGIN.actions), words(PLUGIN.lookups)
        return Manifest(PLUGIN.name, PLUGIN.version, PLUGIN.description, actions, lookups, SCHEMA, [])

    def check(self, text: str) -> None:
        try:
            parsed = settings.parse(PLUGIN.settings, json.loads(text))
            if PLUGIN.check is not None:
                PLUGIN.check(parsed)
        except ValueError as error:
            raise Err(plain(str(error))) from None
        except Exception as error:
            raise failed(error) from None


class Handler(exports.Handler):
    def decide(self) -> types.Decision:
        lookup.answer_with(Paramedic)
        try:
            parsed = settings.parse(PLUGIN.settings, json.loads(incident.settings()))
            return hand_over(PLUGIN.decide(told(), parsed))
        except settings.SettingsError as error:
            raise Err(plain(f"the policy's settings do not fit this plugin: {error}")) from None
        except lookup.LookupFailed as error:
            raise Err(plain(str(error) if error.case == "other" else f"{error.case.replace('-', ' ')}: {error}")) from None
        except sdk.CannotDecide as error:
            raise Err(plain(str(error))) from None
        except Exception as error:
            raise failed(error) from None


def failed(error: Exception) -> Err:
    """A bug of the plugin. A trap would say nothing but `unreachable`; this says what and, in the log, where."""
    sdk.log.error("".join(traceback.format_exception(error)[-3:])[-900:])
    return Err(plain(f"the plugin failed: {type(error).__name__}: {error}"))


class Paramedic:
    """Who answers lookups in the sandbox."""

    @staticmethod
    def find(host: str, labels: Dict[str, str]) -> List[sdk.Container]:
        pairs = [(plain(name), plain(value)) for name, value in sorted(labels.items())]
        return [container(c) for c in ask(containers.find, plain(host), pairs)]

    @staticmethod
    def inspect(target: str) -> sdk.Container:
        return container(ask(containers.inspect, plain(target)))

    @staticmethod
    def log_tail(target: str, lines: int) -> List[str]:
        return ask(containers.log_tail, plain(target), clamp(lines, MAX_U32))

    @staticmethod
    def query(promql: str) -> List[sdk.Sample]:
        return [sdk.Sample(s.value, dict(s.labels), sdk.Time(s.at)) for s in ask(metrics.query, plain(promql))]

    @staticmethod
    def of_target(target: str, within: timedelta) -> List[sdk.PastIncident]:
        return [past(p) for p in ask(history.of_target, plain(target), milliseconds(within))]

    @staticmethod
    def log(level: str, message: str) -> None:
        journal.log(journal.Level[level.upper()], plain(message))


class Printed(io.TextIOBase):
    """Where `print` goes: there is no standard output in the sandbox, and writing to it would be a crash."""

    def __init__(self, level: str) -> None:
        self._level, self._line = level, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            Paramedic.log(self._level, line)
        return len(text)


FAILURES = {
    types.LookupError_AccessDenied: sdk.AccessDenied,
    types.LookupError_NotFound: sdk.NotFound,
    types.LookupError_Invalid: sdk.Invalid,
    types.LookupError_LimitExceeded: sdk.LimitExceeded,
    types.LookupError_Unavailable: sdk.Unavailable,
}


def ask(function: Any, *question: Any) -> Any:
    try:
        return function(*question)
    except Err as error:
        raise FAILURES.get(type(error.value), sdk.LookupFailed)(error.value.value) from None


def told() -> sdk.Incident:
    a = incident.alert()
    alert = sdk.Alert(
        sdk.Source(a.source), sdk.Status(a.status), dict(a.labels), dict(a.annotations),
        sdk.Time(a.starts_at), sdk.Time(a.first_seen), a.generator_url, a.extra,
    )  # fmt: skip
    targets = [sdk.Target(t.name, sdk.State(t.state), t.inventory_host, t.extra) for t in incident.targets()]
    attempts = [attempt(one) for one in incident.attempts()]
    return sdk.Incident(incident.id(), alert, sdk.Trigger(incident.trigger()), attempts, targets, sdk.Time(incident.now()))


def attempt(a: types.Attempt) -> sdk.Attempt:
    of = lambda x: sdk.AttemptedAction(sdk.Kind(x.kind), x.target, sdk.Outcome(x.outcome), x.detail, x.message, x.extra)
    actions, verification = [of(x) for x in a.actions], sdk.Verification(a.verification)
    return sdk.Attempt(actions, verification, a.number, sdk.Time(a.started_at), sdk.Time(a.ended_at), a.extra)


def moment(at: Any) -> Any:
    return None if at is None else sdk.Time(at)


def container(c: Any) -> sdk.Container:
    return sdk.Container(
        c.name, sdk.State(c.state), sdk.Health(c.health), dict(c.labels), c.id, c.image, moment(c.started_at),
        moment(c.finished_at), c.exit_code, c.restart_count, c.extra,
    )  # fmt: skip


def past(p: Any) -> sdk.PastIncident:
    attempts = [attempt(one) for one in p.attempts]
    return sdk.PastIncident(p.alertname, sdk.Time(p.opened_at), moment(p.closed_at), p.state, p.policy, attempts, p.id, p.extra)


def hand_over(decision: Any) -> types.Decision:
    if not isinstance(decision, sdk.Decision):
        raise sdk.CannotDecide(f"the plugin answers {type(decision).__name__}, not a Decision")
    reason = plain(decision.reason)
    if decision.word == "act":
        return types.Decision_Act(types.Act(reason, [propose(p) for p in decision.proposals]))
    if decision.word == "wait":
        return types.Decision_Wait(types.Wait(reason, milliseconds(decision.duration)))
    cases = {"pass": types.Decision_Pass, "ignore": types.Decision_Ignore, "escalate": types.Decision_Escalate}
    return cases[decision.word](reason)


def propose(p: sdk.Proposal) -> types.Proposal:
    about, o, kind = plain(p.target), p.options, sdk.Kind
    if p.kind == kind.DOCKER_RESTART:
        return docker.restart(about, clamp(o["grace_seconds"], MAX_U32))
    if p.kind == kind.DOCKER_STOP:
        return docker.stop(about, clamp(o["grace_seconds"], MAX_U32))
    if p.kind == kind.DOCKER_KILL:
        return docker.kill(about, maybe(o["signal"]))
    if p.kind == kind.ANSIBLE_PLAYBOOK:
        variables = [(plain(name), written(value)) for name, value in sorted(o["variables"].items())]
        options = ansible.RunOptions(maybe(o["host"]), variables, [plain(tag) for tag in o["tags"]], bool(o["check"]), [])
        return ansible.playbook(plain(o["name"]), about, options)
    if p.kind == kind.SILENCE:
        matchers = [alertmanager.Matcher(plain(m.name), plain(m.op), plain(m.value)) for m in o["matchers"]]
        return alertmanager.silence(about, matchers, milliseconds(o["duration"]), plain(o["comment"]))
    if p.kind == kind.EXPIRE_SILENCE:
        return alertmanager.expire(about, maybe(o["id"]))
    if p.kind == kind.NOTIFY:
        return notify.send(about, plain(o["channel"]), plain(o["text"]))
    simple = {kind.DOCKER_START: docker.start, kind.DOCKER_PAUSE: docker.pause, kind.DOCKER_UNPAUSE: docker.unpause}
    if p.kind not in simple:
        raise sdk.CannotDecide(f"the plugin proposes {p.kind}, which this SDK cannot express")
    return simple[p.kind](about)


def clamp(number: Any, most: int) -> Any:
    return None if number is None else min(max(int(number), 0), most)


def written(value: Any) -> str:
    return plain(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def maybe(text: Optional[str]) -> Optional[str]:
    return None if text is None else plain(text)


def plain(text: str) -> str:
    """Text that can be handed over. What is none would be a crash; half of a surrogate pair is a character nobody knows."""
    if not isinstance(text, str):
        raise TypeError(f"the plugin hands over {text!r} where text belongs")
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


# Whoever tells of an exception (traceback, logging, warnings) reads the sources, and here are no files: even asking is a crash.
linecache.checkcache = lambda filename=None: None
linecache.updatecache = lambda filename, module_globals=None: []
# At the very end: while it is built, before it is asked anything, there is nobody to tell.
sys.stdout, sys.stderr = Printed("info"), Printed("error")
