"""`mgate.mqtt.decode` and `mgate.mqtt.connect`, walked through the table of wire cases."""

from __future__ import annotations

import unittest
from collections import Counter

from mgate.errors import Malformed
from mgate.mqtt.decode import UnsupportedVersion, decode, decode_connect
from mgate.mqtt.framing import split
from mgate.mqtt.packets import Packet, Publish
from mgate.mqtt.reasons import REASONS, reason_name
from mgate.outcome import Direction
from tests.mqtt.cases import BAD, CASES, GOOD
from tests.wire import connect, publish


def decoded(version: int, direction: Direction, data: bytes) -> Packet:
    """Decode `data`, which must be one whole packet."""
    ((head, ((_, body, stop),)),) = split(data, 1 << 28)[0]
    return decode(version, direction, head, data, body, stop)


class DecodeTests(unittest.TestCase):
    def test_accepts(self) -> None:
        for case in GOOD:
            with self.subTest(case.name, version=case.version):
                self.assertEqual(decoded(case.version, case.direction, case.data), case.expected)

    def test_refuses(self) -> None:
        for case in BAD:
            with self.subTest(case.name, version=case.version), self.assertRaises(Malformed) as caught:
                decoded(case.version, case.direction, case.data)
            self.assertEqual(caught.exception.code, case.expected, case.name)

    def test_never_looks_behind_the_packet(self) -> None:
        """A cut packet in a buffer with more bytes gives what it gives alone, and so does a whole one."""
        for case in CASES:
            ((head, ((_, body, stop),)),) = split(case.data, 1 << 28)[0]
            buffer = b"\1\0\1" + case.data + b"\0\1a\0\1a\0\0\0\0"
            with self.subTest(case.name, version=case.version):
                try:
                    got: Packet | int = decode(case.version, case.direction, head, buffer, body + 3, stop + 3)
                except Malformed as broken:
                    got = broken.code
                self.assertEqual(got, case.expected)

    def test_every_prefix_of_a_body_is_malformed_or_a_packet(self) -> None:
        for case in GOOD:
            ((head, ((_, body, stop),)),) = split(case.data, 1 << 28)[0]
            for end in range(body, min(stop, body + 200)):
                try:
                    packet = decode(case.version, case.direction, head, case.data, body, end)
                except Malformed:
                    continue
                self.assertIs(type(packet), type(case.expected))

    def test_table_names_each_case_once(self) -> None:
        names = Counter((case.name, case.version, case.direction) for case in CASES)
        self.assertEqual([name for name, count in names.items() if count > 1], [])

    def test_refusal_codes_have_names(self) -> None:
        self.assertLessEqual({case.expected for case in BAD}, set(REASONS))

    def test_direction_decides_about_subscription_identifiers(self) -> None:
        data = publish("a", version=5, props=b"\x0b\5")
        self.assertIsInstance(decoded(5, Direction.DOWNLINK, data), Publish)
        with self.assertRaises(Malformed):
            decoded(5, Direction.UPLINK, data)

    def test_many_properties_take_linear_time(self) -> None:
        """250,000 user properties: quadratic time would take minutes."""
        pair = b"\x26\0\0\0\0"
        packet = decoded(5, Direction.UPLINK, publish("a", b"", version=5, props=pair * 250_000))
        self.assertIsInstance(packet, Publish)
        assert isinstance(packet, Publish) and packet.properties is not None
        self.assertEqual(len(packet.properties), 250_000)


class ConnectTests(unittest.TestCase):
    def test_broken_connect_tells_its_version(self) -> None:
        for case in BAD:
            if case.data[0] != 0x10 or case.direction is Direction.DOWNLINK or case.name.startswith("M09 name"):
                continue
            ((_, ((_, body, stop),)),) = split(case.data, 1 << 28)[0]
            known = stop - body > (8 if case.version == 3 else 6)
            with self.subTest(case.name, version=case.version), self.assertRaises(Malformed) as caught:
                decode_connect(0x10, case.data, body, stop)
            if isinstance(caught.exception, UnsupportedVersion):
                self.assertIn(f"level {caught.exception.version}", case.name)
            else:
                self.assertEqual(caught.exception.version, case.version if known else 0, case.name)

    def test_unknown_name_has_no_version(self) -> None:
        data = connect(name=b"mqtt")
        with self.assertRaises(Malformed) as caught:
            decode_connect(0x10, data, 2, len(data))
        self.assertEqual(caught.exception.version, 0)

    def test_unsupported_level_is_kept(self) -> None:
        data = connect(level=0x84)
        with self.assertRaises(UnsupportedVersion) as caught:
            decode_connect(0x10, data, 2, len(data))
        self.assertEqual((caught.exception.version, caught.exception.code), (0x84, 0x84))
        self.assertEqual(caught.exception.reason, "unsupported_version")

    def test_connect_is_read_by_its_own_level(self) -> None:
        for version in (3, 4, 5):
            packet = decoded(0, Direction.UPLINK, connect(version=version))
            self.assertEqual(getattr(packet, "version"), version)  # noqa: B009


class ReasonTests(unittest.TestCase):
    def test_names(self) -> None:
        self.assertEqual(reason_name(0x87), "not authorized")
        self.assertEqual(reason_name(5, version=4), "not authorized")
        self.assertEqual(reason_name(0x05), "0x05")
        self.assertEqual(reason_name(0x80, version=3), "0x80")
