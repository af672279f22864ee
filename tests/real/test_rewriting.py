"""What a handler changes is what arrives: at the broker, at its subscribers, and at the device itself."""

from __future__ import annotations

import subprocess
import tempfile
import unittest
from pathlib import Path

from paho.mqtt.properties import Properties

from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.needed import needed
from tests.real.paho_device import Device, Will, options, properties

ALL_PROPERTIES = {
    "ContentType": "text/plain",
    "ResponseTopic": "answers/1",
    "CorrelationData": b"\x00\xff7",
    "PayloadFormatIndicator": 1,
    "UserProperty": [("b", "1"), ("a", "2"), ("b", "1")],
}


def passwords(test: unittest.TestCase) -> str:
    """A password file of mosquitto with the only user that it lets in."""
    folder = tempfile.TemporaryDirectory(prefix="mgate-passwords-")
    test.addCleanup(folder.cleanup)
    file = Path(folder.name, "passwords")
    maker = needed("mosquitto_passwd", "apt install mosquitto")
    subprocess.run([maker, "-c", "-b", str(file), "gateway", "secret of the gateway"], check=True, capture_output=True)
    # The broker reads it as another user if root has started it.
    Path(folder.name).chmod(0o755)
    file.chmod(0o644)
    return str(file)


class RewritingTest(unittest.TestCase):
    """With a handler that answers at once."""

    handlers = ("rewriter",)
    broker: Mosquitto
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = Mosquitto(ForClass(cls))
        cls.gateway = Gateway(ForClass(cls), cls.broker.port, rewriting=Serve(cls.handlers))

    def device(
        self,
        version: int,
        client_id: str = "",
        *,
        clean: bool = True,
        will: Will | None = None,
        connect: Properties | None = None,
    ) -> Device:
        name = client_id or f"d{version}"
        return Device(self, self.gateway.port, name, version=version, clean=clean, will=will, connect=connect)

    def witness(self, *filters: str) -> Device:
        """Somebody at the broker itself, who does not care for what was retained before."""
        device = Device(self, self.broker.port, "witness", version=5)
        if filters:
            device.subscribe(*((name, options(2, retainHandling=2)) for name in filters))
        return device

    def test_topic_and_payload(self) -> None:
        witness = self.witness("far/#", "near/#")
        for version in (3, 4, 5):
            device = self.device(version)
            for qos in (0, 1, 2):
                with self.subTest(version=version, qos=qos):
                    self.assertEqual(device.publish("near/a", b"text", qos=qos), 0)
                    self.assertEqual(witness.receive()[:4], ("far/a", b"TEXT", qos, False))

    def test_many_messages_in_order(self) -> None:
        for version in (4, 5):
            witness = self.witness("far/#")
            device = self.device(version)
            for qos in (0, 1, 2):
                with self.subTest(version=version, qos=qos):
                    for number in range(200):
                        device.client.publish("near/a", f"n{number}", qos)
                    came = [message.payload for message in witness.take(200)]
                    self.assertEqual(came, [b"N%d" % number for number in range(200)])
            witness.drop()

    def test_a_lowered_qos(self) -> None:
        witness = self.witness("far/#")
        for version in (3, 4, 5):
            device = self.device(version)
            for wanted in (0, 1):
                for qos in (0, 1, 2):
                    with self.subTest(version=version, qos=qos, wanted=wanted):
                        for number in range(3):
                            self.assertEqual(device.publish(f"near/qos {wanted}", f"{number}", qos=qos), 0)
                        came = [(message.payload, message.qos) for message in witness.take(3)]
                        self.assertEqual(came, [(b"%d" % number, min(wanted, qos)) for number in range(3)])

    def test_retain(self) -> None:
        for version in (3, 4, 5):
            with self.subTest(version):
                device = self.device(version)
                device.publish("near/retain", f"kept {version}", qos=1)
                device.publish("near/forget", b"gone", qos=1, retain=True)
                witness = self.witness()
                witness.subscribe(("far/retain", 0), ("far/forget", 0))
                witness.publish("far/marker")
                witness.subscribe("far/marker")
                witness.publish("far/marker")
                came = witness.until_marker()
                self.assertEqual([message[:4] for message in came], [("far/retain", b"KEPT %d" % version, 0, True)])
                witness.drop()

    def test_properties(self) -> None:
        witness = self.witness("far/#")
        device = self.device(5)
        device.publish("near/properties", b"x", 1, made=properties("publish", **ALL_PROPERTIES))
        self.assertEqual(
            witness.receive().properties,
            {"ContentType": "text/changed", "UserProperty": [("b", "1"), ("a", "2"), ("b", "1")]},
        )
        device.publish("near/other", b"x", 2, made=properties("publish", **ALL_PROPERTIES))
        self.assertEqual(witness.receive().properties, ALL_PROPERTIES)

    def test_topic_aliases_of_a_device_end_at_the_gateway(self) -> None:
        witness = self.witness("far/#")
        device = self.device(5)
        self.assertGreater(device.connack.properties["TopicAliasMaximum"], 1)
        for topic, alias in (("near/a", 1), ("", 1), ("near/b", 2), ("near/c", 1), ("", 2), ("", 1)):
            device.publish(topic, b"x", 1, made=properties("publish", TopicAlias=alias))
        self.assertEqual([message.topic[-1] for message in witness.take(6)], ["a", "a", "b", "c", "b", "c"])

    def test_client_identifier(self) -> None:
        for version in (3, 4, 5):
            with self.subTest(version):
                device = self.device(version, "taken")
                # Another client of the identifier that the broker knows takes its session over.
                other = Device(self, self.broker.port, "far-taken", version=version)
                device.lost()
                other.disconnect()

    def test_a_persistent_session_by_its_rewritten_identifier(self) -> None:
        for version in (3, 4, 5):
            with self.subTest(version):
                lasting = properties("connect", SessionExpiryInterval=60) if version == 5 else None
                device = self.device(version, f"lasting{version}", clean=False, connect=lasting)
                self.assertFalse(device.connack.session_present)
                device.subscribe(f"near/kept{version}")
                device.disconnect()
                publisher = self.witness()
                publisher.publish(f"far/kept{version}", b"1", qos=1)
                publisher.publish(f"far/kept{version}", b"2", qos=2)
                # MQTT 3.1 has no such flag.
                self.assertEqual(device.connect(clean=False).session_present, version > 3)
                came = [message[:3] for message in device.take(2)]
                self.assertEqual(came, [(f"near/kept{version}", b"1!", 1), (f"near/kept{version}", b"2!", 2)])
                # The gateway has forgotten what stood for the filter of the session; the handler has not.
                self.assertEqual(device.subscribe(f"near/kept{version}"), [2])
                device.unsubscribe(f"near/kept{version}")
                publisher.publish(f"far/kept{version}", b"3", qos=1)
                device.subscribe("near/marker")
                publisher.publish("far/marker", qos=1)
                self.assertEqual(device.payloads(), [])
                publisher.drop()

    def test_the_will(self) -> None:
        witness = self.witness("far/#", "near/#")
        for version in (3, 4, 5):
            with self.subTest(version):
                self.device(version, will=Will("near/will", b"gone", 1)).drop()
                self.assertEqual(witness.receive()[:3], ("far/will", b"GONE", 1))
                self.device(version, will=Will("near/no will", b"gone", 1)).drop()
                self.device(version, "mortal").drop()
                self.assertEqual(witness.receive()[:3], ("far/obituary", b"given by the gateway", 1))

    def test_properties_of_the_will(self) -> None:
        witness = self.witness("far/#")
        will = Will("near/will", b"gone", 2, False, properties("will", **ALL_PROPERTIES))
        self.device(5, will=will).drop()
        self.assertEqual(witness.receive()[1:], (b"GONE", 2, False, ALL_PROPERTIES))

    def test_filters_there_and_back(self) -> None:
        publisher = self.witness()
        for version in (3, 4, 5):
            with self.subTest(version):
                device = self.device(version)
                asked = (("near/a/+", 1), ("near/two", 2), ("near/slowly", 1), ("plain", 0))
                self.assertEqual(device.subscribe(*asked), [1, 2, 0, 0])
                for topic in ("far/a/b", "far/one", "far/other", "far/slowly", "plain", "near/a/b"):
                    publisher.publish(topic, topic, qos=2)
                device.subscribe("near/marker")
                publisher.publish("far/marker", qos=2)
                came = sorted(message[:3] for message in device.until_marker())
                self.assertEqual(
                    came,
                    [
                        ("near/a/b", b"far/a/b!", 1),
                        ("near/one", b"far/one!", 2),
                        ("near/other", b"far/other!", 2),
                        ("near/slowly", b"far/slowly!", 0),
                        ("plain", b"plain", 0),
                    ],
                )
                codes = device.unsubscribe("near/two", "near/a/+", "near/slowly", "near/never")
                self.assertEqual(codes, [0, 0, 0, 0x11] if version == 5 else [])
                for topic in ("far/a/b", "far/one", "far/other", "far/slowly", "plain"):
                    publisher.publish(topic, topic, qos=2)
                publisher.publish("far/marker", qos=2)
                self.assertEqual(device.payloads(), [b"plain"])
                device.drop()

    def test_a_shared_filter(self) -> None:
        publisher = self.witness()
        for version in (4, 5):
            with self.subTest(version):
                devices = [self.device(version, f"{name}{version}") for name in "ab"]
                for device in devices:
                    device.subscribe("$share/group/near/#")
                for number in range(10):
                    publisher.publish("far/a", f"{number}", qos=1)
                for device in devices:
                    device.subscribe(f"near/{device.client._client_id.decode()}/marker")
                    publisher.publish(f"far/{device.client._client_id.decode()}/marker", qos=1)
                came = [device.payloads() for device in devices]
                self.assertTrue(all(came), came)
                self.assertEqual(sorted(sum(came, [])), [b"%d!" % number for number in range(10)])
                for device in devices:
                    device.disconnect()

    def test_options_and_identifier_of_a_subscription(self) -> None:
        device = self.device(5)
        self.witness().publish("far/kept", b"old", qos=1, retain=True)
        device.subscribe(
            ("near/kept", options(1, noLocal=True, retainAsPublished=True, retainHandling=2)),
            made=properties("subscribe", SubscriptionIdentifier=7),
        )
        device.publish("near/kept", b"own", qos=1)
        other = Device(self, self.broker.port, "other", version=5)
        other.publish("far/kept", b"new", qos=1, retain=True)
        self.assertEqual(device.receive(), ("near/kept", b"new!", 1, True, {"SubscriptionIdentifier": [7]}))


class LateRewritingTest(RewritingTest):
    """With a handler that has to wait before each answer."""

    handlers = ("late-rewriter",)


class CredentialsTest(unittest.TestCase):
    """The broker lets one user in, whom only the gateway knows."""

    def test_user_and_password(self) -> None:
        broker = Mosquitto(self, "allow_anonymous false", f"password_file {passwords(self)}")
        gateway = Gateway(
            self, broker.port, plain=Serve(), rewriting=Serve(["rewriter"]), late=Serve(["late-rewriter"])
        )
        for version, refused in ((3, 5), (4, 5), (5, 0x87)):
            for listener, username, code in (
                ("plain", "device", refused),
                ("plain", None, refused),
                ("rewriting", "device", 0),
                ("late", "device", 0),
                ("rewriting", "anonymise", refused),
                ("late", "anonymise", refused),
            ):
                with self.subTest(version=version, listener=listener, username=username):
                    device = Device(
                        self, gateway.ports[listener], "a", version=version, username=username,
                        password=username and "of the device",
                    )  # fmt: skip
                    self.assertEqual(device.connack.code, code)


class TwoHandlersTest(unittest.TestCase):
    """An ordered list works as one: each sees what the one before it made of the message."""

    def test_order(self) -> None:
        broker = Mosquitto(self)
        gateway = Gateway(
            self,
            broker.port,
            one=Serve(["signer:a", "signer:b"]),
            other=Serve(["signer:b", "late-rewriter", "signer:a"]),
            refused=Serve(["signer:a", "refuser", "signer:b"]),
        )
        witness = Device(self, broker.port, "witness")
        witness.subscribe("#")
        for version in (3, 4, 5):
            device = Device(self, gateway.ports["one"], "a", version=version)
            device.publish("near/x", b"by me", 2)
            self.assertEqual(witness.receive()[:2], ("near/x", b"by me, a of near/x, b of near/x"))
            device = Device(self, gateway.ports["other"], "b", version=version)
            device.publish("near/x", b"by me", 1)
            self.assertEqual(witness.receive()[:2], ("far/x", b"BY ME, B OF NEAR/X, a of far/x"))
            device = Device(self, gateway.ports["refused"], "c", version=version)
            self.assertEqual(device.publish("closed/quota", b"by me", 1), 0x97 if version == 5 else 0)
            device.publish("open", b"by me", 1)
            self.assertEqual(witness.receive()[:2], ("open", b"by me, a of open, b of open"))
