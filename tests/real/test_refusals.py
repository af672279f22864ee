"""A device that is refused is told why, in the words of its version (as a real client reads them off the wire)."""

from __future__ import annotations

import unittest

from mgate.errors import Kind
from tests.processes import free_port
from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.mosquitto import Mosquitto, command
from tests.real.paho_device import Device, Will, properties

CONNACK = {
    Kind.BAD_CREDENTIALS: (4, 0x86),
    Kind.NOT_AUTHORISED: (5, 0x87),
    Kind.BAD_CLIENT_ID: (2, 0x85),
    Kind.BANNED: (5, 0x8A),
    Kind.BAD_TOPIC: (5, 0x90),
    Kind.QUOTA: (3, 0x97),
    Kind.RATE: (3, 0x9F),
    Kind.BAD_PAYLOAD: (5, 0x99),
    Kind.TOO_LARGE: (5, 0x95),
    Kind.TARGET_DOWN: (3, 0x88),
    Kind.TARGET_SLOW: (3, 0x88),
    Kind.INTERNAL_FAULT: (3, 0x80),
    Kind.HANDLER_FAULT: (5, 0x83),
}
"""The return code of 3.x and the reason code of 5.0."""

SUBACK = {
    Kind.NOT_AUTHORISED: 0x87,
    Kind.BANNED: 0x87,
    Kind.BAD_TOPIC: 0x8F,
    Kind.QUOTA: 0x97,
    Kind.TOO_LARGE: 0x97,
    Kind.TARGET_DOWN: 0x80,
    Kind.INTERNAL_FAULT: 0x80,
}

PUBACK = {
    Kind.NOT_AUTHORISED: 0x87,
    Kind.BANNED: 0x87,
    Kind.BAD_TOPIC: 0x90,
    Kind.QUOTA: 0x97,
    Kind.BAD_PAYLOAD: 0x99,
    Kind.TOO_LARGE: 0x97,
    Kind.TARGET_SLOW: 0x80,
    Kind.INTERNAL_FAULT: 0x80,
}
"""PUBACK and PUBREC of 5.0."""

DISCONNECT = {
    Kind.NOT_AUTHORISED: 0x87,
    Kind.BANNED: 0x98,
    Kind.BAD_TOPIC: 0x90,
    Kind.QUOTA: 0x97,
    Kind.RATE: 0x96,
    Kind.BAD_PAYLOAD: 0x99,
    Kind.TOO_LARGE: 0x95,
    Kind.INTERNAL_FAULT: 0x80,
}

UNSPECIFIED = 0x80
"""What paho says of a connection that ended without DISCONNECT."""


class RefusalTest(unittest.TestCase):
    broker: Mosquitto
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = Mosquitto(ForClass(cls))
        cls.gateway = Gateway(
            ForClass(cls),
            cls.broker.port,
            refusing=Serve(["refuser"]),
            strict=Serve(["refuser"], keys={"denied_publish": "disconnect", "denied_delivery": "disconnect"}),
            lenient=Serve(["refuser"], keys={"denied_subscribe_31": "grant", "denied_will": "strip"}),
        )

    def device(self, version: int, listener: str = "refusing", client_id: str = "", **more: object) -> Device:
        name = client_id or f"{self.id().rpartition('.')[2][:60]}-{version}"
        return Device(self, self.gateway.ports[listener], name, version=version, **more)  # type: ignore[arg-type]

    def witness(self, *filters: str) -> Device:
        """Somebody at the broker itself, who sees what arrives there."""
        device = Device(self, self.broker.port, f"witness of {self.id()}"[:200])
        device.subscribe(*filters)
        return device


class ConnectTest(RefusalTest):
    def test_each_kind_has_its_code(self) -> None:
        self.assertEqual(CONNACK.keys(), set(Kind))
        for kind, codes in CONNACK.items():
            for version in (3, 4, 5):
                with self.subTest(kind, version=version):
                    device = self.device(version, username="deny", password=str(kind))
                    self.assertEqual(device.connack.code, codes[version == 5])
                    self.assertFalse(device.connack.session_present)
                    if version == 5:
                        self.assertEqual(device.connack.properties["ReasonString"], "as you asked")
                    device.lost()

    def test_a_refused_device_leaves_those_who_are_there_alone(self) -> None:
        for version in (3, 4, 5):
            with self.subTest(version):
                name = f"the only one {version}"
                there = self.device(version, client_id=name)
                intruder = self.device(version, client_id=name, username="deny", password="banned")
                self.assertNotEqual(intruder.connack.code, 0)
                intruder.lost()
                self.assertEqual(there.subscribe("alive"), [2])

    def test_the_will_of_a_refused_device_is_not_published(self) -> None:
        witness = self.witness("wills/#")
        for version in (4, 5):
            self.device(version, username="deny", password="banned", will=Will("wills/a", b"never")).lost()
        self.device(4, client_id="after it").publish("wills/marker", qos=1)
        self.assertEqual(witness.until_marker(), [])


class PublishTest(RefusalTest):
    def test_version_5_tells_the_code_and_goes_on(self) -> None:
        witness = self.witness("closed/#", "open/#")
        device = self.device(5)
        for kind, code in PUBACK.items():
            with self.subTest(kind):
                self.assertEqual(device.publish(f"closed/{kind}", b"no", qos=1), code)
                self.assertEqual(device.publish(f"closed/{kind}", b"no", qos=2), code)
                device.publish(f"closed/{kind}", b"no", qos=0)
        for qos in (0, 1, 2):
            self.assertEqual(device.publish("open/a", b"yes", qos=qos), 0)
        device.publish("open/marker", qos=2)
        self.assertEqual([message[:3] for message in witness.until_marker()], [("open/a", b"yes", q) for q in range(3)])

    def test_below_version_5_it_is_acknowledged_and_goes_nowhere(self) -> None:
        witness = self.witness("closed/#", "open/#")
        for version in (3, 4):
            with self.subTest(version):
                device = self.device(version)
                for qos in (0, 1, 2):
                    for _ in range(3):
                        device.publish("closed/quota", b"no", qos=qos)
                    device.publish("open/a", b"yes", qos=qos)
                device.publish("open/marker", qos=2)
                self.assertEqual(witness.payloads(), [b"yes"] * 3)

    def test_the_choice_to_disconnect(self) -> None:
        witness = self.witness("closed/#", "strict/#")
        for qos in (0, 1, 2):
            for kind, code in DISCONNECT.items():
                with self.subTest(kind, qos=qos):
                    device = self.device(5, "strict")
                    device.client.publish(f"closed/{kind}", b"no", qos)
                    self.assertEqual(device.lost(), code)
            for version in (3, 4):
                with self.subTest(version, qos=qos):
                    device = self.device(version, "strict", will=Will("strict/will", b"cut off", 1))
                    device.client.publish("closed/banned", b"no", qos)
                    self.assertEqual(device.lost(), UNSPECIFIED)
                    self.assertEqual(witness.receive().payload, b"cut off")

    def test_mosquitto_pub_is_told(self) -> None:
        port = str(self.gateway.ports["refusing"])
        for qos in ("1", "2"):
            done = command("mosquitto_pub", "-p", port, "-V", "5", "-q", qos, "-t", "closed/not authorised", "-m", "x")
            self.assertIn("Not authorized", done.stderr)


class SubscribeTest(RefusalTest):
    def test_one_of_three_filters(self) -> None:
        for version, kinds in ((4, dict.fromkeys(SUBACK, 0x80)), (5, SUBACK)):
            device = self.device(version)
            for kind, code in kinds.items():
                with self.subTest(kind, version=version):
                    asked = (f"one/{version}/{kind}", 0), (f"closed/{kind}", 2), (f"three/{version}/#", 1)
                    self.assertEqual(device.subscribe(*asked), [0, code, 1])
                    publisher = self.witness("nothing")
                    for topic in (asked[0][0], f"closed/{kind}", f"three/{version}/a", f"three/{version}/marker"):
                        publisher.publish(topic, topic, qos=1)
                    came = [message.topic for message in device.until_marker()]
                    self.assertEqual(came, [f"one/{version}/{kind}", f"three/{version}/a"])
                    device.unsubscribe(asked[2][0])

    def test_all_filters(self) -> None:
        for version, code in ((4, 0x80), (5, 0x87)):
            device = self.device(version)
            self.assertEqual(device.subscribe("closed/not authorised"), [code])
            self.assertEqual(device.subscribe("closed/not authorised", "closed/banned/#"), [code, code])
            self.assertEqual(device.subscribe("open/a"), [2])

    def test_the_filter_of_a_shared_subscription(self) -> None:
        for version, code in ((4, 0x80), (5, 0x87)):
            device = self.device(version)
            self.assertEqual(device.subscribe("$share/g/closed/not authorised", "$share/g/open/#"), [code, 2])

    def test_version_3_1_has_no_code_for_it(self) -> None:
        strict = self.device(3)
        strict.client.subscribe([("open/a", 1), ("closed/banned", 1)])
        self.assertEqual(strict.lost(), UNSPECIFIED)
        lenient = self.device(3, "lenient")
        self.assertEqual(lenient.subscribe(("open/a", 1), ("closed/banned", 2), ("l/marker", 1)), [1, 2, 1])
        publisher = self.witness("nothing")
        for topic in ("closed/banned", "open/a", "l/marker"):
            publisher.publish(topic, topic, qos=2)
        self.assertEqual(lenient.payloads(), [b"open/a"])

    def test_mosquitto_sub_is_told(self) -> None:
        port = str(self.gateway.ports["refusing"])
        for version in ("mqttv311", "mqttv5"):
            done = command("mosquitto_sub", "-p", port, "-V", version, "-t", "closed/not authorised", "-W", "5")
            self.assertIn("subscription requests were denied", done.stdout + done.stderr)


class DeliverTest(RefusalTest):
    def test_it_is_dropped_and_the_broker_told_that_it_arrived(self) -> None:
        for version in (3, 4, 5):
            with self.subTest(version):
                device = self.device(version, client_id=f"deaf-{version}")
                device.subscribe("unheard/#", f"heard-{version}/#")
                publisher = self.witness("nothing")
                for number in range(40):  # twice as many as mosquitto leaves unacknowledged
                    publisher.publish("unheard/a", f"no {number}", qos=number % 3)
                    publisher.publish(f"heard-{version}/a", f"{number}", qos=number % 3)
                publisher.publish(f"heard-{version}/marker", qos=2)
                # Messages of different QoS may overtake each other.
                self.assertEqual(sorted(device.payloads(), key=int), [b"%d" % number for number in range(40)])

    def test_retained_messages_are_judged_too(self) -> None:
        publisher = self.witness("nothing")
        publisher.publish("unheard/kept", b"no", qos=1, retain=True)
        publisher.publish("heard/kept", b"yes", qos=1, retain=True)
        for version in (3, 4, 5):
            with self.subTest(version):
                device = self.device(version)
                device.subscribe("unheard/#", "heard/#", f"end-{version}/#")
                publisher.publish(f"end-{version}/marker", qos=2)
                self.assertEqual(device.payloads(), [b"yes"])

    def test_the_choice_to_disconnect(self) -> None:
        publisher = self.witness("nothing")
        for version, code in ((3, UNSPECIFIED), (4, UNSPECIFIED), (5, 0x87)):
            with self.subTest(version):
                device = self.device(version, "strict")
                device.subscribe("unheard/#")
                publisher.publish("unheard/a", b"no", qos=1)
                self.assertEqual(device.lost(), code)
                self.assertTrue(device.messages.empty())


class WillTest(RefusalTest):
    def test_it_refuses_the_connect(self) -> None:
        for version, kind, code in (
            (3, Kind.NOT_AUTHORISED, 5),
            (4, Kind.NOT_AUTHORISED, 5),
            (4, Kind.QUOTA, 3),
            (5, Kind.NOT_AUTHORISED, 0x87),
            (5, Kind.BAD_TOPIC, 0x90),
            (5, Kind.BAD_PAYLOAD, 0x99),
            (5, Kind.TOO_LARGE, 0x95),
        ):
            with self.subTest(kind, version=version):
                device = self.device(version, will=Will(f"closed/{kind}", b"x", 2, True))
                self.assertEqual(device.connack.code, code)
                device.lost()

    def test_the_choice_to_strip_it(self) -> None:
        witness = self.witness("closed/#", "open/#")
        for version in (3, 4, 5):
            device = self.device(version, "lenient", will=Will("closed/banned", b"no", 1))
            self.assertEqual(device.connack.code, 0)
            device.publish("open/a", b"alive", qos=1)
            device.drop()
            other = self.device(version, "lenient", client_id=f"other-{version}", will=Will("open/w", b"last", 1))
            other.drop()
        self.assertEqual([message.payload for message in witness.take(6)], [b"alive", b"last"] * 3)

    def test_an_expiring_session_and_will_delay_go_together_with_a_refusal(self) -> None:
        will = Will("closed/quota", b"x", 1, False, properties("will", WillDelayInterval=1))
        device = self.device(5, will=will, connect=properties("connect", SessionExpiryInterval=60))
        self.assertEqual(device.connack.code, 0x97)
        device.lost()


class UnreachableTest(unittest.TestCase):
    def test_a_target_that_is_down(self) -> None:
        gateway = Gateway(self, free_port())
        for version, code in ((3, 3), (4, 3), (5, 0x88)):
            self.assertEqual(Device(self, gateway.port, "a", version=version).connack.code, code)
