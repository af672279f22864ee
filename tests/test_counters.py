"""Counters begin at nothing, and refusals are counted by reason."""

from __future__ import annotations

from unittest import TestCase

from mgate.counters import Counters


class CountersTests(TestCase):
    def test_reject(self) -> None:
        counters = Counters()
        for reason in ("quota", "malformed", "quota"):
            counters.reject(reason)
        self.assertEqual(counters.rejects, {"quota": 2, "malformed": 1})

    def test_each_listener_has_its_own(self) -> None:
        one, two = Counters(), Counters()
        one.packets_uplink[3] += 1
        one.reject("quota")
        self.assertEqual((two.packets_uplink, two.rejects), ([0] * 16, {}))
