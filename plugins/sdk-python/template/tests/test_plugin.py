"""Needs no wasm: python3 -m unittest discover tests (or pytest)."""

import sys
import unittest
from pathlib import Path

PROJECT = Path(__file__).parent.parent
sys.path[:0] = [str(PROJECT / "src"), str(PROJECT / "sdk")]

from paramedic_policy import Decision, Kind, Proposal  # noqa: E402
from paramedic_policy.testing import firing, settings, tried  # noqa: E402
from plugin import Settings, decide  # noqa: E402


class Restarts(unittest.TestCase):
    def test_what_is_down_is_restarted(self):
        expected = Decision.act("WebDown fires: restart local/web", Proposal.restart("local/web"))
        self.assertEqual(decide(firing("WebDown", targets=["local/web"]), Settings()), expected)

    def test_what_a_restart_does_not_heal_is_for_a_person(self):
        incident = firing("WebDown", targets=["local/web"], attempts=[tried(Kind.DOCKER_RESTART, "local/web")])
        self.assertEqual(decide(incident, Settings()).word, "escalate")
        self.assertEqual(decide(incident, settings(Settings, restarts=2)).word, "act")


if __name__ == "__main__":
    unittest.main()
