"""Tells Paramedic what a playbook did, one JSON object per line.

Paramedic writes this file into the run's own folder and points ansible-playbook at it. ansible-core ships no callback
that a program could read, and its exit code alone says success when nothing ran. Only names, states and short messages are
written: results that are `no_log` arrive here already censored, and arguments and return values are never looked at.
Works with ansible-core 2.14 to 2.22: `host`, `task` and `result` are the names since 2.19, those with `_` the ones before.
"""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: paramedic_events
type: stdout
short_description: writes what a playbook did for Paramedic
description: Appends one JSON object per line to the file named by the environment variable PARAMEDIC_EVENTS.
"""

MAX_TEXT = 2000
MAX_EVENTS = 20000


def short(value):
    """Text that is bounded and surely valid Unicode; of a long one, begin and end are kept."""
    text = str(value)
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT // 2] + " [...] " + text[-MAX_TEXT // 2 :]
    return text.encode("utf-8", "replace").decode("utf-8")


def message_of(result):
    """Why a task failed, in its own words. In a loop: what the first failed item says."""
    items = result.get("results")
    if isinstance(items, (list, tuple)):
        for item in items:
            if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
                return message_of(item)
    if result.get("censored"):
        return short(result["censored"])
    words = [result.get("msg") or result.get("reason") or "", result.get("stderr") or result.get("module_stderr") or ""]
    return short(": ".join(str(word).strip().rstrip(".") for word in words if word))


class CallbackModule(CallbackBase):
    """Appends to the file instead of printing: since core 2.19 the printing callback shows errors of tasks that are `no_log`."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "paramedic_events"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(os.environ["PARAMEDIC_EVENTS"], flags, 0o600)
        self._written = 0

    def _write(self, **event):
        # A playbook that loops for ever must not fill the disk; the end is always told.
        self._written += 1
        if self._written <= MAX_EVENTS or event["event"] == "stats":
            os.write(self._file, (json.dumps(event) + "\n").encode("ascii"))

    def _result(self, status, result, with_message=False):
        host = getattr(result, "host", None) or result._host
        task = getattr(result, "task", None) or result._task
        values = getattr(result, "result", None) or result._result
        message = message_of(values) if with_message else ""
        self._write(event="result", host=short(host.get_name()), task=short(task.get_name()), status=status, message=message)

    def v2_playbook_on_start(self, playbook):
        self._write(event="start")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._write(event="task", task=short(task.get_name()))

    def v2_playbook_on_handler_task_start(self, task):
        self._write(event="task", task=short(task.get_name()))

    def v2_playbook_on_cleanup_task_start(self, task):
        self._write(event="task", task=short(task.get_name()))

    def v2_runner_on_ok(self, result):
        values = getattr(result, "result", None) or result._result
        self._result("changed" if values.get("changed") else "ok", result)

    def v2_runner_on_skipped(self, result):
        self._result("skipped", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._result("ignored" if ignore_errors else "failed", result, with_message=True)

    def v2_runner_on_unreachable(self, result):
        self._result("unreachable", result, with_message=True)

    def v2_playbook_on_stats(self, stats):
        self._write(event="stats", hosts={short(host): stats.summarize(host) for host in stats.processed})
