import unittest
from collections.abc import Sequence

from mgate.handler import Handler, Session
from mgate.mqtt.packets import Packet, Suback, Subscribe
from mgate.testing import FakeTarget, relay_with


class Counts(Handler):
    """Counts what devices are subscribed to."""

    subscriptions = 0

    def subscribe(self, session: Session, granted: dict[str, int]) -> None:
        self.subscriptions += len(granted)


class OnlyOne(FakeTarget):
    """Grants the first filter of each SUBSCRIBE."""

    def answer(self, packet: Packet) -> Sequence[Packet]:
        if isinstance(packet, Subscribe):
            return [Suback(packet.packet_id, [0, *[0x97] * (len(packet.subscriptions) - 1)])]
        return super().answer(packet)


class CountsTests(unittest.TestCase):
    def test_counts_what_was_granted(self) -> None:
        counts = Counts()
        device = relay_with(counts, target=OnlyOne())
        self.assertEqual(device.subscribe("a", "b", "c").codes, [0, 0x97, 0x97])
        self.assertEqual(counts.subscriptions, 1)
