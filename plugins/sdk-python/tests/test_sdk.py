"""python3 -m unittest discover plugins/sdk-python/tests"""

import dataclasses
import sys
import unittest
from datetime import timedelta
from pathlib import Path
from typing import Dict, List, Literal, Optional

sys.path.insert(0, str(Path(__file__).parent.parent))

from paramedic_policy import Container, Invalid, Kind, NotFound, Outcome, SettingsError, State, Time, metrics, setting  # noqa: E402
from paramedic_policy.settings import parse, schema  # noqa: E402
from paramedic_policy.testing import World, firing, tried  # noqa: E402

WEB = "local/web"


@dataclasses.dataclass(frozen=True)
class Inner:
    a: int


@dataclasses.dataclass(frozen=True)
class Settings:
    name: str
    n: Optional[int] = setting(None, "how many", minimum=1)
    wait: timedelta = timedelta(minutes=5)
    how: Literal["a", "b"] = "a"
    inner: List[Inner] = setting(factory=list)
    texts: Dict[str, str] = setting(factory=dict)


class Words(unittest.TestCase):
    def test_a_word_that_is_not_known_is_kept(self):
        word = Kind("k8s.delete-pod")
        self.assertEqual((str(word), word.is_known, word), ("k8s.delete-pod", False, Kind("k8s.delete-pod")))
        self.assertEqual(Kind("docker.restart"), Kind.DOCKER_RESTART)
        self.assertTrue(Kind.DOCKER_RESTART.is_known)
        self.assertNotIn(word, list(Kind))

    def test_only_what_was_never_begun_does_not_count(self):
        self.assertEqual([Outcome(w).was_begun for w in ("failed", "new", "refused", "cancelled")], [True, True, False, False])


class History(unittest.TestCase):
    def test_counts_and_tells_what_was_begun(self):
        kind = Kind.DOCKER_RESTART
        playbook = tried(Kind.ANSIBLE_PLAYBOOK, WEB, Outcome.FAILED, "repair.yml", "exit code 2")
        incident = firing("WebDown", attempts=[tried(kind, WEB, Outcome.REFUSED), tried(kind, WEB), playbook])
        self.assertEqual((incident.tried(kind), len(incident.begun_on(WEB)), incident.begun_on("x")), (1, 2, []))
        self.assertEqual(
            incident.what_was_tried(),
            "docker.restart of local/web succeeded but did not heal it, "
            "then ansible.playbook repair.yml about local/web failed (exit code 2)",
        )
        self.assertEqual(firing("X").what_was_tried(), "nothing was tried")

    def test_time_neither_overflows_nor_runs_backwards(self):
        self.assertEqual(Time(5).since(10), timedelta(0))
        self.assertGreater(Time(2**63 - 1).since(-(2**63)), timedelta(days=999_999_000))


class SettingsTest(unittest.TestCase):
    def test_they_are_parsed(self):
        read = parse(Settings, {"name": "x", "n": 2.0, "wait": "1h30m", "inner": [{"a": 1}]})
        self.assertEqual(read, Settings("x", 2, timedelta(minutes=90), "a", [Inner(1)]))

    def test_what_does_not_fit_is_said(self):
        for wrong, text in [
            ({}, "settings needs the key `name`"),
            ({"name": 1}, "settings.name has to be text"),
            ({"name": "x", "n": True}, "settings.n has to be a whole number"),
            ({"name": "x", "how": "c"}, "settings.how has to be one of a, b"),
            ({"name": "x", "inner": [{}]}, "settings.inner[0] needs the key `a`"),
            ({"name": "x", "z": 1}, "settings has no key `z`; there are: name, n, wait, how, inner, texts"),
            ([], "settings has to be an object"),
        ]:
            with self.assertRaises(SettingsError) as raised:
                parse(Settings, wrong)
            self.assertEqual(str(raised.exception), text)

    def test_the_schema_says_the_same(self):
        made = schema(Settings)
        self.assertEqual((made["required"], made["additionalProperties"]), (["name"], False))
        self.assertEqual(made["properties"]["n"]["minimum"], 1)
        self.assertEqual(made["properties"]["how"], {"enum": ["a", "b"]})


class Lookups(unittest.TestCase):
    def test_text_stays_one_string(self):
        self.assertEqual(metrics.quote('a\\"b\nc\0\x85é'), '"a\\\\\\"b\\nc\\u0000\\u0085é"')
        self.assertEqual(metrics.selector({"a": '"'}), '{a="\\""}')
        with self.assertRaises(ValueError):
            metrics.selector({'a="",b': "x"})

    def test_a_world_answers_and_fails(self):
        from paramedic_policy import containers

        world = World(containers=[Container(WEB, State.EXITED, labels={"a": "1"})], metrics={"x": Invalid("no")})
        ask = lambda what: world.ask(lambda *_: what(), firing("X"))
        self.assertEqual([c.name for c in ask(lambda: containers.find("local", {"a": "1"}))], [WEB])
        self.assertEqual(ask(lambda: containers.find("local", {"a": "2"})), [])
        self.assertRaises(NotFound, ask, lambda: containers.inspect("local/no"))
        self.assertRaises(Invalid, ask, lambda: metrics.query("x"))
        self.assertRaises(AssertionError, ask, lambda: metrics.query("y"))
        self.assertRaises(RuntimeError, metrics.query, "x")


if __name__ == "__main__":
    unittest.main()
