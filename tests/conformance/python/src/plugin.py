"""A plugin that does what its settings say, through the whole of the Python SDK. Its twins in Rust and JavaScript have to do the same:
`tests/src/conformance.rs` asks all of them the same questions."""

from datetime import timedelta
from typing import Any, Dict, List

import told
from settings import Answer, Match, Settings, Step, Wanted

from paramedic_policy import (
    CannotDecide, Decision, Incident, Kind, Lookup, LookupFailed, Matcher, Proposal, containers, history, log, metrics, policy,
)  # fmt: skip


def check(settings: Settings) -> None:
    """What a schema cannot say."""
    for step in settings.script:
        if step.do == "past":
            millis(step.within_ms)
        if step.how == "bug-in-check":
            fail("bug")
    if settings.decision.answer == "wait":
        millis(settings.decision.ms)
    for wanted in settings.decision.proposals:
        propose(wanted)


@policy(
    name="conformance",
    version="1.0.0",
    description="Does what its settings say, through the whole of its SDK",
    actions=list(Kind),
    lookups=list(Lookup),
    settings=Settings,
    check=check,
)
def decide(incident: Incident, settings: Settings) -> Decision:
    heard: List[Any] = []
    for step in settings.script:
        if step.do == "tell":
            heard.append(told.part(step.what, incident, settings.values))
        elif step.do == "log":
            for _ in range(step.times):
                getattr(log, step.level)(step.message)
        elif step.do == "print":
            print(step.text)
        elif step.do == "fail":
            return fail(step.how)
        else:
            heard.append(look(step, settings.strict))
    return answer(settings.decision, heard)


def look(step: Step, strict: bool) -> Any:
    try:
        if step.do == "find":
            return [told.container(c) for c in containers.find(step.host, backwards(step.labels))]
        if step.do == "inspect":
            return told.container(containers.inspect(step.target))
        if step.do == "log-tail":
            return containers.log_tail(step.target, step.lines)
        if step.do == "query":
            return [told.sample(s) for s in metrics.query(step.promql)]
        return [told.past(p) for p in history.of_target(step.target, millis(step.within_ms))]
    except LookupFailed as error:
        if strict:
            raise
        return told.failed(error)


def backwards(names: Dict[str, Any]) -> Dict[str, Any]:
    """To bring names into their order is the SDK's part."""
    return dict(reversed(names.items()))


def answer(answer: Answer, heard: List[Any]) -> Decision:
    reason = f"{answer.reason} {told.canonical(heard)}" if heard else answer.reason
    if answer.answer == "act":
        return Decision.act(reason, *[propose(wanted) for wanted in answer.proposals])
    if answer.answer == "wait":
        return Decision.wait(reason, millis(answer.ms))
    words = {"pass": Decision.pass_, "ignore": Decision.ignore, "escalate": Decision.escalate}
    return words[answer.answer](reason)


def propose(w: Wanted) -> Proposal:
    kinds = {
        "docker.restart": lambda: Proposal.restart(w.target, grace_seconds=w.grace_seconds),
        "docker.start": lambda: Proposal.start(w.target),
        "docker.stop": lambda: Proposal.stop(w.target, grace_seconds=w.grace_seconds),
        "docker.pause": lambda: Proposal.pause(w.target),
        "docker.unpause": lambda: Proposal.unpause(w.target),
        "docker.kill": lambda: Proposal.kill(w.target, w.signal),
        "ansible.playbook": lambda: Proposal.playbook(
            w.name, about=w.about, host=w.host, variables=backwards(w.variables), tags=w.tags, check=w.check
        ),
        "alertmanager.silence": lambda: Proposal.silence(
            [matcher(m) for m in w.matchers], about=w.about, duration=millis(w.ms), comment=w.comment
        ),
        "alertmanager.expire": lambda: Proposal.expire_silences(w.about, w.id),
        "notify.send": lambda: Proposal.notify(w.channel, w.text, about=w.about),
    }
    return kinds[w.kind]()


def matcher(m: Match) -> Matcher:
    if m.op not in ("=", "!=", "=~", "!~"):
        raise ValueError(f"`{m.op}` is no operator of a matcher")
    return Matcher(m.name, m.op, m.value)


def millis(text: str) -> timedelta:
    """A length of time; `forever` is the longest that the language can say."""
    if text == "forever":
        return timedelta.max
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"`{text}` is no number of milliseconds")
    return timedelta(milliseconds=int(text))


def fail(how: str) -> Any:
    if how == "cannot-decide":
        raise CannotDecide("this cannot be decided")
    if how == "bug":
        raise RuntimeError("a bug")
    if how == "recursion":
        return Decision.pass_(str(deeper(1)))
    if how == "no-text":
        return Decision.act("x", Proposal.restart(5))
    return Decision.escalate("half \ud83d") if how == "half-a-character" else None


def deeper(n: int) -> int:
    return deeper(n + 1) + n
