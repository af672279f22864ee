"""What docs/topics promise, and what they say the gateway does not do, sentence by sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import TestCase

from twisted.internet.defer import Deferred

from mgate.errors import TargetLost
from mgate.handler import Denied, Filter, Handler, Message, Session
from mgate.limits import Limits
from mgate.mqtt.choices import Choices
from mgate.mqtt.packets import Connack, Disconnect, Packet, Puback, Publish, Subscribe, Unsubscribe, Will
from mgate.mqtt.properties import Properties, PropertyId
from mgate.mqtt.relay import HELD_MOST
from mgate.outcome import Direction
from mgate.testing import FakeTarget, RelayProbe, joined_link, relay_with

TOPICS = Path(__file__).resolve().parent.parent / "docs" / "topics"


class Admits(Handler):
    """Answers as it was told to, and admits where it was told nothing."""

    def __init__(self, **answers: Any) -> None:
        super().__init__()
        self.answers = answers

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Any:
        return self.answers.get("publish")

    def auth_subscribe(self, session: Session, filters: list[str]) -> Any:
        return self.answers.get("subscribe")

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> Any:
        return self.answers.get("deliver")


class Mute(FakeTarget):
    """Never says whether it accepts a connection."""

    def answer(self, packet: Packet) -> list[Packet]:
        return []


class Late(FakeTarget):
    """Accepts a connection, and acknowledges no message by itself."""

    def answer(self, packet: Packet) -> Sequence[Packet]:
        return [] if isinstance(packet, Publish) else super().answer(packet)


def kinds(packets: list[Packet]) -> list[str]:
    return [packet.type.name for packet in packets]


class DoesNot(TestCase):
    """docs/topics/does-not.rst"""

    def test_does_not_raise_qos(self) -> None:
        for version in (4, 5):
            device = relay_with(Admits(publish=Message(qos=2)), version=version, raise_faults=False)
            self.assertEqual(device.publish("t", qos=1).published, [])
            device = relay_with(Admits(subscribe=[Filter(qos=2)]), version=version, raise_faults=False)
            self.assertEqual(device.subscribe("t", qos=1).to_target, [])
            self.assertEqual(len(device.faults), 1)

    def test_lowers_qos(self) -> None:
        effect = relay_with(Admits(publish=Message(qos=0))).publish("t", b"x", qos=1)
        (message,) = effect.to_target
        self.assertEqual(getattr(message, "qos", None), 0)
        self.assertEqual(effect.codes, [0])

    def test_remembers_rewritten_filters_for_one_connection(self) -> None:
        def filters(device: RelayProbe) -> list[str]:
            (packet,) = device.unsubscribe("a").to_target
            assert isinstance(packet, Unsubscribe)
            return packet.filters

        handler = Admits(subscribe=["mine/a"])
        device = relay_with(handler)
        device.subscribe("a")
        self.assertEqual(filters(device), ["mine/a"])
        self.assertEqual(filters(relay_with(handler, clean_start=False)), ["a"])

    def test_sends_nothing_of_its_own_to_the_target(self) -> None:
        link = joined_link(keep_alive=60)
        link.advance(89)
        self.assertEqual(kinds(link.target.packets), ["CONNECT"])

    def test_target_gets_no_disconnect_when_a_link_is_cut(self) -> None:
        link = joined_link(Admits(publish=False), will=None, choices=Choices(denied_publish="disconnect"))
        link.publish("t")
        self.assertTrue(link.closed)
        self.assertIsInstance(link.received[-1], Disconnect)
        self.assertEqual(kinds(link.target.packets), ["CONNECT"])

    def test_unsubscribe_is_not_judged(self) -> None:
        device = relay_with(Admits(subscribe=False))
        self.assertEqual(kinds(device.unsubscribe("a").to_target), ["UNSUBSCRIBE"])

    def test_a_copy_of_a_forwarded_qos_2_message_ends_the_connection_if_it_is_refused(self) -> None:
        handler = Admits()
        device = relay_with(handler)
        device.send(Publish("t", b"x", 2, packet_id=1))
        handler.answers["publish"] = False
        effect = device.send(Publish("t", b"x", 2, dup=True, packet_id=1))
        self.assertIsInstance(effect.closed, Denied)

    def test_certificate_is_none(self) -> None:
        self.assertIsNone(relay_with().session.certificate)


    def test_limit_on_packets_is_not_announced(self) -> None:
        link = joined_link(limits=Limits(max_packet_size=1000))
        (asked, told) = (link.target.packets[0], link.received[0])
        for packet in (asked, told):
            properties = getattr(packet, "properties", None) or Properties()
            self.assertIsNone(properties.get(PropertyId.MAXIMUM_PACKET_SIZE))
        link.from_target(Publish("t", bytes(900)))
        self.assertFalse(link.closed)
        link.from_target(Publish("t", bytes(1000)))
        self.assertTrue(link.closed)

    def test_refusal_overtakes_an_acknowledgement(self) -> None:
        for version in (4, 5):
            handler = Admits()
            device = relay_with(handler, target=Late(), version=version)
            self.assertEqual(device.send(Publish("t", b"x", 1, packet_id=1)).to_device, [])
            handler.answers["publish"] = False
            (refusal,) = device.send(Publish("t", b"x", 1, packet_id=2)).to_device
            self.assertEqual(getattr(refusal, "packet_id", None), 2)
            (acknowledgement,) = device.from_target(Puback(1)).to_device
            self.assertEqual(getattr(acknowledgement, "packet_id", None), 1)

    def test_does_not_wait_for_acknowledgements_at_shutdown(self) -> None:
        link = joined_link(target=Late())
        link.send(Publish("t", b"x", 1, packet_id=1))
        link._factory.drain()
        link.advance(0)
        self.assertTrue(link.closed)
        self.assertEqual(kinds(link.received), ["CONNACK", "DISCONNECT"])


class Ordering(TestCase):
    """docs/topics/ordering.rst"""

    def test_the_other_direction_goes_on(self) -> None:
        device = relay_with(Admits(publish=Deferred()))
        self.assertTrue(device.publish("t").waiting)
        self.assertEqual(device.deliver("d", b"1").delivered, [("d", b"1")])

    def test_64_kib(self) -> None:
        text = (TOPICS / "ordering.rst").read_text()
        self.assertIn(f"From {HELD_MOST // 1024} KiB on", text)
        device = relay_with(Admits(publish=Deferred()))
        device.publish("t")
        device.publish("t", bytes(HELD_MOST - 100))
        self.assertFalse(device.relay.crowded(Direction.UPLINK))
        device.publish("t", bytes(100))
        self.assertTrue(device.relay.crowded(Direction.UPLINK))

    def test_what_was_admitted_before_a_refusal_goes_out(self) -> None:
        class Second(Handler):
            def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
                if topic == "b":
                    raise Denied

        device = relay_with(Second(), choices=Choices(denied_publish="disconnect"))
        effect = device.send(Publish("a"), Publish("b"), Publish("c"))
        self.assertEqual(effect.published, [("a", b"")])
        self.assertIsInstance(effect.closed, Denied)

    def test_target_that_closes(self) -> None:
        link = joined_link()
        link.lose_target()
        (last,) = link.received[1:]
        assert isinstance(last, Disconnect)
        self.assertEqual(last.reason_code, 0x8B)
        link = joined_link()
        link.close_target()
        self.assertTrue(link.closed)
        self.assertEqual(link.received[1:], [])


class Architecture(TestCase):
    """docs/topics/architecture.rst"""

    def test_uplink_waits_for_connack(self) -> None:
        device = relay_with(Admits(publish=Message(topic="judged")), target=Mute(), opened=False)
        device.connect()
        self.assertEqual(device.publish("t").to_target, [])
        self.assertEqual(device.from_target(Connack()).published, [("judged", b"")])

    def test_target_is_dialled_when_the_will_was_judged(self) -> None:
        link = joined_link(Admits(publish=False), opened=False)
        link.connect(will=Will("t", b"x"))
        self.assertEqual(link.target.packets, [])
        self.assertEqual(link.counters.target_dials, 0)


class Security(TestCase):
    """docs/topics/security.rst"""

    def test_topics_of_the_broker(self) -> None:
        for topic in ("$SYS/broker/log", "$CONTROL/x"):
            self.assertEqual(relay_with().publish(topic, qos=1).codes, [0x87])
            self.assertEqual(relay_with(Admits()).publish(topic, qos=1).codes, [0x87])
            passed = relay_with(Admits(publish=Message(topic=topic))).publish(topic)
            self.assertEqual(passed.published, [(topic, b"")])

    def test_shared_subscriptions_are_judged_by_the_filter_inside(self) -> None:
        asked: list[list[str]] = []

        class Asked(Handler):
            def auth_subscribe(self, session: Session, filters: list[str]) -> list[str]:
                asked.append(filters)
                return ["mine/" + each for each in filters]

        (packet,) = relay_with(Asked()).subscribe("$share/group/a/b").to_target
        assert isinstance(packet, Subscribe)
        self.assertEqual(asked, [["a/b"]])
        self.assertEqual(packet.subscriptions[0].filter, "$share/group/mine/a/b")

    def test_no_answer_to_what_is_no_connect(self) -> None:
        link = joined_link(opened=False)
        link.publish("t")
        self.assertEqual((link.received, link.closed), ([], True))

    def test_times(self) -> None:
        link = joined_link(opened=False, limits=Limits(connect_timeout=3))
        link.advance(2.9)
        self.assertFalse(link.closed)
        link.advance(3)
        self.assertEqual((link.received, link.closed), ([], True))

    def test_device_is_told_that_the_target_is_gone(self) -> None:
        for version, code in ((4, 3), (5, 0x88)):
            device = relay_with(target=Mute(), version=version, opened=False)
            device.connect()
            told = device.relay.fail(TargetLost("gone", "target_down"))
            self.assertEqual(told[3], code)


class Log(TestCase):
    """docs/reference/log.rst"""

    def test_late_answer_is_a_handler_fault(self) -> None:
        device = relay_with(Admits(publish=Deferred()), raise_faults=False)
        effect = device.publish("t", qos=1)
        device.time_out()
        self.assertEqual(effect.codes, [0x83])
        self.assertEqual([refusal.reason for refusal in device.refusals], ["handler_fault"])
        (fault,) = device.faults
        said = f"{type(fault).__name__}: {fault}"
        self.assertEqual(said, "TimeoutError: no answer of auth_publish in time")
        self.assertIn(said, (TOPICS.parent / "reference" / "log.rst").read_text())
