"""MQTT.js over TLS, to a target with TLS; as in `test_mqttjs`, where it is installed from."""

from __future__ import annotations

import json
import subprocess
import unittest
from typing import Any

from tests.real.certificates import Certificates
from tests.real.gateway import Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.test_mqttjs import FOLDER, PATIENCE, installed


class MqttJsTest(unittest.TestCase):
    def play(self, node: str, port: int, version: int, *tls: str) -> dict[str, Any]:
        done = subprocess.run(
            [node, str(FOLDER / "play.js"), str(port), str(version), *tls],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def test_all_versions(self) -> None:
        node = installed()
        certificates = Certificates(self)
        direct = Mosquitto(self)
        broker = Mosquitto(self, certificates=certificates)
        keys = {"tls": certificates.serving("ocsp", "crl"), "target_tls": certificates.dialling()}
        gateway = Gateway(self, f"mqtts://localhost:{broker.port}", secure=Serve(["watcher"], keys=keys))
        files = [str(certificates.root), *(certificates.file("client-good", suffix) for suffix in ("pem", "key"))]
        for version in (3, 4, 5):
            expected = self.play(node, direct.port, version)
            for tls in ("TLSv1.2", "TLSv1.3"):
                with self.subTest(version=version, tls=tls):
                    self.assertEqual(self.play(node, gateway.port, version, *files, tls), expected)
