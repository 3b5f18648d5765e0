"""python3 -m unittest discover plugins/disk-pressure/tests"""

import sys
import unittest
from datetime import timedelta
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE.parents[1] / "sdk-python")]

from paramedic_policy import AccessDenied, Kind, Outcome, Sample, SettingsError, Trigger  # noqa: E402
from paramedic_policy.testing import World, firing, settings, tried  # noqa: E402
from plugin import Settings, decide, tell_time  # noqa: E402

LABELS = {"instance": "db1:9100", "mountpoint": "/var"}
QUERY = 'predict_linear(node_filesystem_avail_bytes{instance="db1:9100",mountpoint="/var"}[3600s], 14400)'
RUN = tried(Kind.ANSIBLE_PLAYBOOK, "local/db", detail="clean.yml")


def ask(incident, free=None, error=None, **more):
    answer = error or ([] if free is None else [Sample(free)])
    return World(metrics={QUERY: answer}).ask(decide, incident, settings(Settings, playbook="clean.yml", **more))


def full(**more):
    return firing("DiskFills", labels=LABELS, targets=["local/db"], **more)


class DiskPressure(unittest.TestCase):
    def test_it_cleans_up_what_will_be_full(self):
        decision = ask(full(), -5e9, variables={"path": "mountpoint"})
        self.assertEqual(decision.word, "act")
        self.assertEqual(decision.proposals[0].options["variables"], {"path": "/var"})
        self.assertIn("is forecast to have 0 B free in 4 h", decision.reason)

    def test_it_waits_while_the_forecast_is_good(self):
        self.assertEqual(ask(full(), 3e9).word, "wait")
        self.assertEqual(ask(full(), 3e9, below=4_000_000_000).word, "act")

    def test_it_is_patient_beside_a_good_forecast_and_not_for_ever(self):
        self.assertEqual(ask(full(), 3e9, patience="1h").word, "wait")
        decision = ask(full(), 3e9, patience="0s")
        self.assertEqual(decision.word, "escalate")
        self.assertIn("disagree", decision.reason)
        self.assertEqual(ask(full(trigger=Trigger.RETRY), 3e9, patience="0s").word, "wait")
        self.assertEqual([tell_time(timedelta(seconds=s)) for s in (7200, 5400, 90)], ["2 h", "90 min", "90 s"])

    def test_it_lets_a_clean_up_show_and_then_calls_a_person(self):
        just_now = full(attempts=[RUN])
        self.assertEqual(ask(just_now, -1).word, "wait")
        decision = ask(just_now, -1, settle="0s")
        self.assertEqual(decision.word, "escalate")
        self.assertIn("it goes on growing", decision.reason)
        self.assertEqual(ask(just_now, -1, settle="0s", runs=2).word, "act")

    def test_what_was_refused_is_no_run(self):
        refused = tried(Kind.ANSIBLE_PLAYBOOK, "local/db", Outcome.REFUSED)
        self.assertEqual(ask(full(attempts=[refused]), -1).word, "act")

    def test_without_a_forecast_nothing_is_deleted(self):
        self.assertIn("cannot be had: no grant", ask(full(), error=AccessDenied("no grant")).reason)
        self.assertIn("knows no node_filesystem_avail_bytes", ask(full()).reason)
        self.assertEqual(ask(full(), float("nan")).word, "escalate")

    def test_a_persons_no_ends_it_and_a_retry_begins_again(self):
        self.assertEqual(ask(full(trigger=Trigger.DENIED), -1).word, "escalate")
        self.assertEqual(ask(full(attempts=[RUN], trigger=Trigger.RETRY), -1).word, "act")

    def test_hostile_labels_stay_text(self):
        hostile = {"instance": 'x"} or vector(-1) #', "mountpoint": "/\n"}
        world = World(metrics={QUERY: []})
        with self.assertRaises(AssertionError):
            world.ask(decide, firing("X", labels=hostile, targets=["local/db"]), settings(Settings, playbook="clean.yml"))
        self.assertIn('{instance="x\\"} or vector(-1) #",mountpoint="/\\n"}', world.asked[0])

    def test_what_is_missing_is_named(self):
        self.assertIn("names no target", ask(firing("X", labels=LABELS)).reason)
        self.assertIn("lacks the label instance, mountpoint", ask(firing("X", targets=["local/db"])).reason)

    def test_settings_say_what_is_wrong(self):
        for wrong, text in [({}, "needs the key `playbook`"), ({"playbook": "a", "horizon": "4"}, "settings.horizon: `4` is no length"),
                            ({"playbook": "a", "labels": []}, "at least one label"), ({"playbook": "a", "x": 1}, "no key `x`")]:  # fmt: skip
            with self.assertRaisesRegex(SettingsError, text.replace("(", "\\(")):
                settings(Settings, **wrong)


if __name__ == "__main__":
    unittest.main()
