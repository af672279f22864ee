"""MQTT.js through the gateway to mosquitto: the client of browsers and of Node.

Its first run installs it from npm into ``js/node_modules``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import unittest
from pathlib import Path
from typing import Any

from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.needed import missing

FOLDER = Path(__file__).parent / "js"
PATIENCE = 180
REFUSALS = {
    3: {
        "refusedFilter": {"granted": [1]},  # so that the connection can go on; it is never subscribed
        "refusedMessage1": {"granted": 0},
        "refusedMessage2": {"granted": 0},
        "refusedConnect": {"code": 5, "message": "Connection refused: Not authorized"},
    },
    4: {
        "refusedFilter": {"message": "Subscribe error: Unspecified error"},
        "refusedMessage1": {"granted": 0},
        "refusedMessage2": {"granted": 0},
        "refusedConnect": {"code": 5, "message": "Connection refused: Not authorized"},
    },
    5: {
        "refusedFilter": {"message": "Subscribe error: Quota exceeded"},
        "refusedMessage1": {"code": 0x97, "message": "Publish error: Quota exceeded"},
        "refusedMessage2": {"code": 0x97, "message": "Publish error: Quota exceeded"},
        "refusedConnect": {"code": 0x8A, "message": "Connection refused: Banned"},
    },
}
"""What MQTT.js tells its user of each refusal, by protocol level."""


def installed() -> str:
    """The path of node, once MQTT.js is there. Without node or npm these tests are skipped, under CI too: they are
    nothing that `make test` installs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise unittest.SkipTest("NOT TESTED: MQTT.js needs node and npm (apt install nodejs npm)")
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]["mqtt"]
    found = FOLDER / "node_modules" / "mqtt" / "package.json"
    if not found.exists() or json.loads(found.read_text())["version"] != wanted:
        try:
            done = subprocess.run(
                [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=FOLDER, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return missing("npm install did not end in time")
        if done.returncode:
            return missing(f"npm install failed: {done.stderr[-500:]}")
    return node


class MqttJsTest(unittest.TestCase):
    node: str
    gateway: Gateway
    broker: Mosquitto

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = installed()
        cls.broker = Mosquitto(ForClass(cls))
        cls.gateway = Gateway(
            ForClass(cls),
            cls.broker.port,
            plain=Serve(),
            watching=Serve(["copier", "watcher"]),
            refusing=Serve(["refuser"], keys={"denied_subscribe_31": "grant"}),
        )

    def play(self, port: int, version: int) -> dict[str, Any]:
        done = subprocess.run(
            [self.node, str(FOLDER / "play.js"), str(port), str(version)],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def test_all_versions(self) -> None:
        for version in (3, 4, 5):
            direct = self.play(self.broker.port, version)
            self.assertEqual(len(direct["messages"]), 9)
            self.assertEqual(len(direct["kept"]), 20)
            for listener in ("plain", "watching"):
                with self.subTest(listener, version=version):
                    self.assertEqual(self.play(self.gateway.ports[listener], version), direct)

    def test_refusals(self) -> None:
        for version, expected in REFUSALS.items():
            with self.subTest(version):
                seen = self.play(self.gateway.ports["refusing"], version)
                self.assertEqual({name: seen[name] for name in expected}, expected)
