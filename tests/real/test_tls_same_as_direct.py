"""What works with a broker works over TLS through the gateway, and looks the same: the scenarios of
`test_same_as_direct`, for devices with TLS 1.2 and 1.3, and for a target with TLS.
"""

from __future__ import annotations

import unittest
from concurrent.futures import ThreadPoolExecutor

from tests.real.certificates import TLS_1_2, TLS_1_3, Certificates
from tests.real.gateway import Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.scenarios import SCENARIOS, Place

LISTENERS = {
    "plain-to-tls": ((), None, True),
    "tls-1.3-to-tls": (("watcher",), TLS_1_3, True),
    "tls-1.2": (("copier",), TLS_1_2, False),
}
"""Who judges, the TLS of the devices, and whether the target has TLS."""


class SameAsDirectTest(unittest.TestCase):
    def test_scenarios(self) -> None:
        certificates = Certificates(self)
        direct = Mosquitto(self).port
        serve: dict[str, Serve] = {}
        for name, (handlers, tls, to_tls) in LISTENERS.items():
            # Each listener has a broker of its own, so that none sees what another left there.
            broker = Mosquitto(self, certificates=certificates if to_tls else None)
            keys = {"tls": certificates.serving("ocsp")} if tls else {}
            if to_tls:
                keys["target_tls"] = certificates.dialling()
            serve[name] = Serve(handlers, f"mqtt{'s' if to_tls else ''}://localhost:{broker.port}", keys)
        gateway = Gateway(self, direct, **serve)
        places = {"direct": Place(direct)}
        for name, (_, tls, _) in LISTENERS.items():
            places[name] = Place(gateway.ports[name], certificates.context(version=tls) if tls else None)
        with ThreadPoolExecutor(len(places)) as threads:
            for act, versions in SCENARIOS:
                for version in versions[-2:]:  # TLS does not know what MQTT 3.1 has of its own
                    plays = {name: threads.submit(place.play, act, version) for name, place in places.items()}
                    expected = plays.pop("direct").result()
                    for name, play in plays.items():
                        with self.subTest(act.__name__, version=version, listener=name):
                            self.assertEqual(play.result(), expected)
