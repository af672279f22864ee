"""paho-mqtt through the gateway to mosquitto, in all versions: what the standard promises, said outright.

`test_same_as_direct` covers far more ground, but only says that the gateway makes no difference.
"""

from __future__ import annotations

import unittest
from typing import Any

from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.paho_device import Device, Will, options, properties

VERSIONS = (3, 4, 5)


class PahoTest(unittest.TestCase):
    broker: Mosquitto
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = Mosquitto(ForClass(cls), "max_keepalive 120")
        cls.gateway = Gateway(ForClass(cls), cls.broker.port, plain=Serve(), watching=Serve(["watcher"]))

    def device(self, listener: str, version: int, name: str = "", **more: Any) -> Device:
        device = Device(self, self.gateway.ports[listener], name or f"{listener}-{version}", version=version, **more)
        self.assertEqual(device.connack.code, 0)
        return device

    def each(self, versions: tuple[int, ...] = VERSIONS) -> list[tuple[str, int]]:
        return [(listener, version) for listener in self.gateway.ports for version in versions]

    def test_publish_and_subscribe(self) -> None:
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                device = self.device(listener, version)
                self.assertEqual(device.subscribe(("a/+", 2), ("b/#", 1), ("c", 0)), [2, 1, 0])
                for topic, granted in (("a/x", 2), ("b/x/y", 1), ("b", 1), ("c", 0)):
                    for qos in (0, 1, 2):
                        self.assertEqual(device.publish(topic, b"\x00\xff", qos), 0)
                        self.assertEqual(device.receive()[:4], (topic, b"\x00\xff", min(qos, granted), False))
                codes = device.unsubscribe("a/+", "never")
                self.assertEqual(codes, [0, 0x11] if version == 5 else [])
                device.publish("a/x", b"no", 1)
                device.publish("c", b"yes")
                self.assertEqual(device.receive().payload, b"yes")

    def test_between_versions(self) -> None:
        for sender in VERSIONS:
            for receiver in VERSIONS:
                with self.subTest(sender=sender, receiver=receiver):
                    to = self.device("plain", receiver, "to")
                    to.subscribe("between")
                    made = properties("publish", ContentType="x") if sender == 5 else None
                    self.device("watching", sender, "from").publish("between", b"x", 2, made=made)
                    self.assertEqual(
                        to.receive(),
                        ("between", b"x", 2, False, {"ContentType": "x"} if made and receiver == 5 else {}),
                    )
                    to.disconnect()

    def test_retained(self) -> None:
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                device = self.device(listener, version)
                device.publish("kept", b"old", 1, retain=True)
                device.publish("kept", b"new", 2, retain=True)
                device.subscribe("kept")
                self.assertEqual(device.receive()[:4], ("kept", b"new", 2, True))
                device.publish("kept", b"", 1, retain=True)
                self.assertEqual(device.receive()[:4], ("kept", b"", 1, False))
                other = self.device(listener, version, "other")
                other.subscribe("kept", "marker")
                other.publish("marker", qos=1)
                self.assertEqual(other.until_marker(), [])

    def test_wills(self) -> None:
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                witness = self.device(listener, version, "witness")
                witness.subscribe("will/#")
                self.device(listener, version, will=Will("will/a", b"gone", 2)).drop()
                self.assertEqual(witness.receive()[:3], ("will/a", b"gone", 2))
                self.device(listener, version, will=Will("will/b", b"never", 1)).disconnect()
                if version == 5:
                    self.device(listener, version, will=Will("will/c", b"asked for", 1)).disconnect(4)
                    self.assertEqual(witness.receive().payload, b"asked for")
                witness.publish("will/marker", qos=1)
                self.assertEqual(witness.until_marker(), [])
                witness.disconnect()

    def test_persistent_sessions(self) -> None:
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                lasting = properties("connect", SessionExpiryInterval=60) if version == 5 else None
                device = self.device(listener, version, "keeper", clean=False, connect=lasting)
                self.assertFalse(device.connack.session_present)
                device.subscribe("s/1", "s/2")
                device.drop()
                other = self.device(listener, version, "other")
                for number in range(50):
                    other.publish(f"s/{number % 2 + 1}", f"{number}", number % 2 + 1)
                self.assertEqual(device.connect().session_present, version > 3)  # 3.1 has no such flag
                came = [message[:3] for message in device.take(50)]
                sent = [(f"s/{number % 2 + 1}", b"%d" % number, number % 2 + 1) for number in range(50)]
                self.assertEqual(sorted(came), sorted(sent))
                device.disconnect()
                clean = self.device(listener, version, "keeper")
                self.assertFalse(clean.connack.session_present)
                clean.disconnect()
                self.assertFalse(device.connect().session_present)
                device.disconnect()
                self.device(listener, version, "keeper").disconnect()

    def test_shared_subscriptions(self) -> None:
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                members = [self.device(listener, version, name) for name in "abc"]
                for member in members:
                    member.subscribe("$share/group/work")
                for number in range(30):
                    members[0].publish("work", f"{number}", 1)
                for name, member in zip("abc", members, strict=True):
                    member.subscribe(f"{name}/marker")
                    member.publish(f"{name}/marker", qos=1)
                came = [member.payloads() for member in members]
                self.assertEqual([len(each) for each in came], [10, 10, 10])
                self.assertEqual(sorted(sum(came, [])), sorted(b"%d" % number for number in range(30)))
                for member in members:
                    member.disconnect()

    def test_properties_of_messages(self) -> None:
        wanted = {
            "ContentType": "text/plain",
            "PayloadFormatIndicator": 1,
            "ResponseTopic": "answers",
            "CorrelationData": b"\x00\xff",
            "UserProperty": [("b", "1"), ("a", "2"), ("b", "1"), ("", "ä€")],
        }
        for listener in self.gateway.ports:
            for qos in (0, 1, 2):
                with self.subTest(listener, qos=qos):
                    device = self.device(listener, 5)
                    device.subscribe("props", made=properties("subscribe", SubscriptionIdentifier=300))
                    device.publish("props", b"x", qos, made=properties("publish", **wanted))
                    self.assertEqual(device.receive().properties, wanted | {"SubscriptionIdentifier": [300]})
                    device.publish("props", b"x", qos, made=properties("publish", MessageExpiryInterval=100))
                    self.assertIn(device.receive().properties["MessageExpiryInterval"], (99, 100))

    def test_topic_aliases(self) -> None:
        for listener in self.gateway.ports:
            with self.subTest(listener):
                device = self.device(listener, 5)
                device.subscribe("alias/#")
                for topic, alias, meant in (
                    ("alias/a", 1, "alias/a"),
                    ("", 1, "alias/a"),
                    ("alias/b", 10, "alias/b"),
                    ("", 1, "alias/a"),
                    ("alias/c", 1, "alias/c"),
                    ("", 1, "alias/c"),
                    ("", 10, "alias/b"),
                ):
                    device.publish(topic, b"x", 1, made=properties("publish", TopicAlias=alias))
                    self.assertEqual(device.receive().topic, meant)
                device.client.publish("alias/d", b"x", properties=properties("publish", TopicAlias=11))
                self.assertEqual(device.lost(), 0x94)

    def test_what_connack_says(self) -> None:
        for listener in self.gateway.ports:
            with self.subTest(listener):
                anonymous = Device(self, self.gateway.ports[listener], version=5)
                self.assertRegex(anonymous.connack.properties["AssignedClientIdentifier"], ".+")
                patient = self.device(listener, 5, "patient", keep_alive=600)
                self.assertEqual(patient.connack.properties["ServerKeepAlive"], 120)
                self.assertEqual(patient.connack.properties["ReceiveMaximum"], 20)
                made = properties("connect", AuthenticationMethod="none of these", AuthenticationData=b"x")
                stranger = Device(self, self.gateway.ports[listener], "stranger", version=5, connect=made)
                self.assertEqual(stranger.connack.code, 0x8C)

    def test_a_small_receive_maximum(self) -> None:
        for listener in self.gateway.ports:
            with self.subTest(listener):
                slow = self.device(listener, 5, "slow", connect=properties("connect", ReceiveMaximum=1))
                slow.subscribe("slow")
                fast = self.device(listener, 5, "fast")
                for number in range(30):
                    fast.publish("slow", f"{number}", 2)
                self.assertEqual([message.payload for message in slow.take(30)], [b"%d" % n for n in range(30)])
                slow.disconnect()

    def test_subscription_options(self) -> None:
        for listener in self.gateway.ports:
            with self.subTest(listener):
                device, other = self.device(listener, 5), self.device(listener, 5, "other")
                other.publish("opt", b"kept", 1, retain=True)
                device.subscribe(("opt", options(1, noLocal=True, retainAsPublished=True, retainHandling=2)))
                device.publish("opt", b"own", 1)
                other.publish("opt", b"live", 1, retain=True)
                self.assertEqual(device.receive()[:4], ("opt", b"live", 1, True))
                device.unsubscribe("opt")
                self.assertEqual(device.subscribe(("opt", options(0, retainHandling=2))), [0])
                other.publish("opt", b"", 1, retain=True)
                self.assertEqual(device.receive()[:4], ("opt", b"", 0, False))

    def test_keep_alive(self) -> None:
        """Devices that only ping stay."""
        devices = [self.device(*each, keep_alive=1) for each in self.each()]
        clock = self.device("plain", 5, "watcher")
        clock.subscribe("clock")
        three_seconds = Will("clock", b"", 0, False, properties("will", WillDelayInterval=3))
        lasting = properties("connect", SessionExpiryInterval=60)
        self.device("plain", 5, "clock", will=three_seconds, connect=lasting).drop()
        clock.receive()
        for device in devices:
            self.assertEqual(device.subscribe("still/here"), [2])
            self.assertTrue(device.left.empty())
