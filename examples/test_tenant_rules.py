"""How a handler is tested: no sockets, no reactor, no broker.

Usage, in this folder: PYTHONPATH=handlers python -m unittest test_tenant_rules
"""

import unittest

from tenant_rules import TenantRules

from mgate.testing import joined_link, relay_with


class TenantRulesTests(unittest.TestCase):
    def test_own_topics_are_open(self) -> None:
        device = relay_with(TenantRules(), username="alice")
        effect = device.publish("alice/t", b"21", qos=1)
        self.assertEqual(effect.published, [("alice/t", b"21")])
        self.assertEqual(effect.codes, [0])

    def test_topics_of_others_are_closed(self) -> None:
        device = relay_with(TenantRules(), username="alice")
        effect = device.publish("bob/t", b"21", qos=1)
        self.assertEqual(effect.published, [])
        self.assertEqual(effect.codes, [0x87])
        self.assertEqual(effect.reasons, ["publish below alice/"])

    def test_old_devices_are_acknowledged_and_nothing_goes_on(self) -> None:
        device = relay_with(TenantRules(), version=4, username="alice")
        effect = device.publish("bob/t", b"21", qos=1)
        self.assertEqual(effect.published, [])
        self.assertEqual(effect.codes, [0])

    def test_one_of_two_filters(self) -> None:
        device = relay_with(TenantRules(), username="alice")
        self.assertEqual(device.subscribe("alice/#", "#", qos=1).codes, [1, 0x87])

    def test_nobody_without_a_name(self) -> None:
        device = relay_with(TenantRules(), opened=False)
        effect = device.connect()
        self.assertEqual(effect.codes, [0x86])
        self.assertEqual(effect.to_target, [])

    def test_silent_devices_are_left(self) -> None:
        link = joined_link(TenantRules(), username="alice", keep_alive=60)
        link.advance(91)
        self.assertTrue(link.closed)


if __name__ == "__main__":
    unittest.main()
