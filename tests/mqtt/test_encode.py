"""`mgate.mqtt.encode`: what is accepted is written back, what is illegal is not written."""

from __future__ import annotations

import unittest
from typing import Any

from mgate.mqtt.encode import encode
from mgate.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from mgate.mqtt.properties import Properties, PropertyId
from mgate.outcome import Direction
from tests.mqtt.cases import GOOD
from tests.mqtt.test_decode import decoded

WHY = Properties([(PropertyId.REASON_STRING, "why")])
METHOD = Properties([(PropertyId.AUTHENTICATION_METHOD, "m")])
DATA = Properties([(PropertyId.AUTHENTICATION_DATA, b"d")])
LONG = "x" * 65536
NOTHING: Any = None
STRING: Any = "text"

ILLEGAL: list[tuple[str, int, Packet]] = [
    ("connect of another version", 4, Connect(5, "a")),
    ("connect of no version", 6, Connect(6, "a")),
    ("connect, properties in 3.1.1", 4, Connect(4, "a", properties=METHOD)),
    ("connect, password alone", 4, Connect(4, "a", password=b"p")),
    ("connect, empty id in 3.1", 3, Connect(3, "")),
    ("connect, empty id kept", 4, Connect(4, "", False)),
    ("connect, long id", 4, Connect(4, LONG)),
    ("connect, U+0000", 4, Connect(4, "a\0")),
    ("connect, surrogate", 4, Connect(4, "\ud800")),
    ("connect, long password", 4, Connect(4, "a", username="u", password=b"x" * 65536)),
    ("connect, keep alive", 4, Connect(4, "a", keep_alive=65536)),
    ("connect, negative keep alive", 4, Connect(4, "a", keep_alive=-1)),
    ("connect, data without method", 5, Connect(5, "a", properties=DATA)),
    ("connect, wrong property", 5, Connect(5, "a", properties=WHY)),
    ("will qos 3", 4, Connect(4, "a", will=Will("w", b"", 3))),
    ("will topic", 4, Connect(4, "a", will=Will("w/#", b""))),
    ("will topic empty", 4, Connect(4, "a", will=Will("", b""))),
    ("will properties in 3.1.1", 4, Connect(4, "a", will=Will("w", b"", properties=METHOD))),
    ("will, wrong property", 5, Connect(5, "a", will=Will("w", b"", properties=METHOD))),
    ("connect flags", 4, Connect(4, "a", flags=4)),
    ("connect qos 3 in 3.1", 3, Connect(3, "a", flags=6)),
    ("connect flags beyond four bits", 3, Connect(3, "a", flags=16)),
    ("connect negative flags", 3, Connect(3, "a", flags=-8)),
    ("connect reserved flag", 5, Connect(5, "a", reserved=True)),
    ("connack code", 4, Connack(6)),
    ("connack code of 3.1.1 in 5", 5, Connack(5)),
    ("connack code of 5 in 3.1.1", 4, Connack(0x87)),
    ("connack refuses with session", 5, Connack(0x87, True)),
    ("connack properties in 3.1.1", 4, Connack(0, properties=WHY)),
    ("connack data without method", 5, Connack(0, properties=DATA)),
    ("qos 3", 4, Publish("a", qos=3, packet_id=1)),
    ("negative qos", 4, Publish("a", qos=-1, packet_id=1)),
    ("dup with qos 0", 4, Publish("a", dup=True)),
    ("empty topic", 4, Publish("")),
    ("empty topic without alias", 5, Publish("", properties=Properties([(1, 1)]))),
    ("empty topic without properties", 5, Publish("")),
    ("empty topic with alias in 3.1.1", 4, Publish("", properties=Properties([(35, 1)]))),
    ("wildcard", 4, Publish("a/+")),
    ("wildcard with alias", 5, Publish("#", properties=Properties([(35, 1)]))),
    ("long topic", 4, Publish(LONG)),
    ("topic long in UTF-8", 4, Publish("\u00e9" * 32768)),
    ("topic with U+0000", 4, Publish("a\0b")),
    ("id 0 with qos 1", 4, Publish("a", qos=1)),
    ("id with qos 0", 4, Publish("a", packet_id=1)),
    ("id too large", 4, Publish("a", qos=1, packet_id=65536)),
    ("properties in 3.1", 3, Publish("a", properties=Properties([(1, 1)]))),
    ("publish, wrong property", 5, Publish("a", properties=WHY)),
    ("payload too large", 4, Publish("a", bytes(268_435_455))),
    ("puback id 0", 4, Puback(0)),
    ("puback negative id", 4, Puback(-1)),
    ("puback code in 3.1.1", 4, Puback(1, 0x87)),
    ("puback properties in 3.1.1", 4, Puback(1, None, WHY)),
    ("puback code of pubrel", 5, Puback(1, 0x92)),
    ("pubrec code", 5, Pubrec(1, 1)),
    ("pubrel code of puback", 5, Pubrel(1, 0x10)),
    ("pubcomp code", 5, Pubcomp(1, 0x10)),
    ("puback flags", 4, Puback(1, flags=1)),
    ("pubrel flags", 5, Pubrel(1, flags=0)),
    ("pubrel qos 3 in 3.1", 3, Pubrel(1, flags=6)),
    ("pubrel flags beyond four bits", 3, Pubrel(1, flags=18)),
    ("pubrel negative flags", 3, Pubrel(1, flags=-8)),
    ("puback, wrong property", 5, Puback(1, 0, METHOD)),
    ("subscribe to nothing", 4, Subscribe(1)),
    ("subscribe id 0", 4, Subscribe(0, [Subscription("a")])),
    ("subscribe filter", 4, Subscribe(1, [Subscription("a"), Subscription("a#")])),
    ("subscribe qos", 4, Subscribe(1, [Subscription("a", 3)])),
    ("subscribe retain handling", 5, Subscribe(1, [Subscription("a", retain_handling=3)])),
    ("no local in 3.1.1", 4, Subscribe(1, [Subscription("a", no_local=True)])),
    ("retain as published in 3.1.1", 4, Subscribe(1, [Subscription("a", retain_as_published=True)])),
    ("retain handling in 3.1.1", 4, Subscribe(1, [Subscription("a", retain_handling=1)])),
    ("shared no local", 5, Subscribe(1, [Subscription("$share/g/a", no_local=True)])),
    ("two subscription identifiers", 5, Subscribe(1, [Subscription("a")], Properties([(11, 1), (11, 2)]))),
    ("subscribe flags", 4, Subscribe(1, [Subscription("a")], flags=0)),
    ("subscribe properties in 3.1.1", 4, Subscribe(1, [Subscription("a")], Properties([(11, 1)]))),
    ("suback without codes", 4, Suback(1)),
    ("suback id 0", 4, Suback(0, [0])),
    ("suback code", 4, Suback(1, [0, 0x87])),
    ("suback code in 5", 5, Suback(1, [3])),
    ("unsubscribe from nothing", 4, Unsubscribe(1)),
    ("unsubscribe filter", 4, Unsubscribe(1, ["a", ""])),
    ("unsubscribe id 0", 4, Unsubscribe(0, ["a"])),
    ("unsubscribe flags", 5, Unsubscribe(1, ["a"], flags=3)),
    ("unsuback without codes in 5", 5, Unsuback(1)),
    ("unsuback with codes in 3.1.1", 4, Unsuback(1, [0])),
    ("unsuback code", 5, Unsuback(1, [1])),
    ("unsuback id 0", 4, Unsuback(0)),
    ("disconnect code in 3.1.1", 4, Disconnect(4)),
    ("disconnect properties in 3.1.1", 4, Disconnect(properties=WHY)),
    ("disconnect code", 5, Disconnect(1)),
    ("disconnect, wrong property", 5, Disconnect(0, METHOD)),
    ("auth in 3.1.1", 4, Auth()),
    ("auth code alone", 5, Auth(0x18)),
    ("auth without method", 5, Auth(0x18, WHY)),
    ("auth code", 5, Auth(0x87, METHOD)),
    ("wrong type of topic", 4, Publish(NOTHING)),
    ("wrong type of payload", 4, Publish("a", NOTHING)),
    ("text as payload", 4, Publish("a", STRING)),
    ("wrong type of id", 4, Publish("a", qos=1, packet_id=STRING)),
    ("wrong type of filters", 4, Unsubscribe(1, [NOTHING])),
    ("wrong type of client id", 4, Connect(4, NOTHING)),
    ("wrong type of will", 4, Connect(4, "a", will=STRING)),
    ("no packet", 4, Packet()),
]


class EncodeTests(unittest.TestCase):
    def test_gives_back_what_was_accepted(self) -> None:
        for case in GOOD:
            assert isinstance(case.expected, Packet)
            with self.subTest(case.name, version=case.version):
                self.assertEqual(encode(case.version, case.expected), case.data)

    def test_refuses_what_may_not_be_sent(self) -> None:
        for name, version, packet in ILLEGAL:
            with self.subTest(name), self.assertRaises(ValueError):
                encode(version, packet)

    def test_table_has_every_packet_of_every_version(self) -> None:
        seen = {(case.version, case.expected.type) for case in GOOD if isinstance(case.expected, Packet)}
        every = {(version, kind) for version in (3, 4, 5) for kind in PacketType}
        self.assertEqual(every - seen, {(3, PacketType.AUTH), (4, PacketType.AUTH)})

    def test_properties_that_may_not_be_left_out_are_written_empty(self) -> None:
        for bare, empty in (
            (Publish("a"), Publish("a", properties=Properties())),
            (Connack(0), Connack(0, properties=Properties())),
            (Suback(1, [0]), Suback(1, [0], Properties())),
            (Connect(5, "a"), Connect(5, "a", properties=Properties())),
        ):
            data = encode(5, bare)
            self.assertEqual(data, encode(5, empty))
            direction = Direction.UPLINK if bare.type in (1, 3) else Direction.DOWNLINK
            self.assertEqual(decoded(5, direction, data), empty)

    def test_empty_properties_are_no_properties_below_version_5(self) -> None:
        self.assertEqual(encode(4, Publish("a", properties=Properties())), encode(4, Publish("a")))
        self.assertEqual(encode(3, Puback(1, 0, Properties())), b"\x40\2\0\1")
        self.assertEqual(encode(4, Connect(4, "a", properties=Properties())), encode(4, Connect(4, "a")))
        will = Will("w", b"", properties=Properties())
        self.assertEqual(encode(4, Connect(4, "a", will=will)), encode(4, Connect(4, "a", will=Will("w", b""))))

    def test_properties_bring_their_reason_code(self) -> None:
        self.assertEqual(encode(5, Puback(1, None, Properties())), b"\x40\4\0\1\0\0")
        self.assertEqual(encode(5, Disconnect(None, Properties())), b"\xe0\2\0\0")
        self.assertEqual(encode(5, Auth(None, METHOD)), b"\xf0\6\0\4\x15\0\1m")

    def test_remaining_length_grows_with_the_packet(self) -> None:
        for size, length in ((127, b"\x7f"), (128, b"\x80\1"), (16383, b"\xff\x7f"), (16384, b"\x80\x80\1")):
            data = encode(4, Publish("a", bytes(size - 3)))
            self.assertEqual(data[1 : 1 + len(length)], length)
            self.assertEqual(len(data), 1 + len(length) + size)

    def test_longest_fields_fit(self) -> None:
        longest = "x" * 65535
        packet = Connect(4, longest, username=longest, password=b"x" * 65535)
        self.assertEqual(decoded(4, Direction.UPLINK, encode(4, packet)), packet)

    def test_flags_are_single_bits(self) -> None:
        """A handler that writes 2 for true must not change the QoS."""
        two: Any = 2
        self.assertEqual(encode(4, Publish("a", retain=two)), encode(4, Publish("a", retain=True)))
        self.assertEqual(encode(4, Connack(session_present=two)), encode(4, Connack(session_present=True)))
        self.assertEqual(
            encode(5, Subscribe(1, [Subscription("a", no_local=two)])),
            encode(5, Subscribe(1, [Subscription("a", no_local=True)])),
        )
