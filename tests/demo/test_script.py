"""What the demo prints before it begins, without a demo."""

from __future__ import annotations

import unittest
from pathlib import Path
from unittest import mock

from mgate.demo.script import PORTS, STEPS, TLS_STEPS, Place, lines

FOLDER = Path("/tmp/mgate-abcdefgh")


def printed(ports: dict[str, int] = PORTS, wanted: int | None = None) -> list[str]:
    """The lines, for clients that are on the path."""
    with mock.patch("mgate.demo.script._client", return_value="mgate"):
        return "\n".join(lines(Place(ports, FOLDER, wanted))).split("\n")


class ScriptTest(unittest.TestCase):
    def test_it_fits_into_a_terminal(self) -> None:
        self.assertEqual([line for line in printed() if len(line) > 100], [])

    def test_every_step_has_a_line_for_each_client(self) -> None:
        for beginning in ("    mosquitto_", "    mgate "):
            found = [line for line in printed() if line.startswith(beginning)]
            self.assertEqual(len(found), len(STEPS) + len(TLS_STEPS), found)

    def test_usual_ports_are_not_told_of(self) -> None:
        self.assertNotIn("taken", "\n".join(printed()))

    def test_ports_that_moved_are_told(self) -> None:
        told = printed({"broker": 5001, "mgate": 5002, "TLS": 5003, "mutual TLS": 5004})
        self.assertEqual(
            [line for line in told if "taken" in line],
            [
                "Port 1883 is taken, so the broker listens on 5001.",
                "Port 1884 is taken, so mgate listens on 5002.",
                "Port 8883 is taken, so mgate listens for TLS on 5003.",
                "Port 8884 is taken, so mgate listens for mutual TLS on 5004.",
            ],
        )

    def test_a_port_that_was_wanted_is_not_told_of(self) -> None:
        self.assertNotIn("taken", "\n".join(printed({**PORTS, "mgate": 5002}, 5002)))
        self.assertNotIn("taken", "\n".join(printed(dict.fromkeys(PORTS, 5000), 0)))
