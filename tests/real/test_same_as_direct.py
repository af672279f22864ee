"""What works with a broker works through the gateway, and looks the same: every scenario of `tests.real.scenarios` is
played to mosquitto itself, and to gateways in front of another one, with no handler and with handlers that only watch.
"""

from __future__ import annotations

import unittest
from concurrent.futures import ThreadPoolExecutor

from tests.real.gateway import Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.scenarios import SCENARIOS, Place

LISTENERS = {
    "plain": (),
    "watching": ("watcher",),
    "inspecting": ("copier",),
    "hesitating": ("hesitater:3", "copier", "watcher"),
}
"""Packets as slices; judged and told of; each decoded; and all of it with waits in between."""


class SameAsDirectTest(unittest.TestCase):
    def test_every_scenario(self) -> None:
        direct = Mosquitto(self).port
        # Each listener has a broker of its own, so that none sees what another left there.
        brokers = {name: Mosquitto(self) for name in LISTENERS}
        serve = {name: Serve(handlers, brokers[name].port) for name, handlers in LISTENERS.items()}
        gateway = Gateway(self, direct, **serve)
        ports = {"direct": direct, **gateway.ports}
        with ThreadPoolExecutor(len(ports)) as threads:
            for act, versions in SCENARIOS:
                for version in versions:
                    plays = {name: threads.submit(Place(port).play, act, version) for name, port in ports.items()}
                    expected = plays.pop("direct").result()
                    for name, play in plays.items():
                        with self.subTest(act.__name__, version=version, listener=name):
                            self.assertEqual(play.result(), expected)
