"""`mgate.mqtt.properties`: the list, the table of table 2-4, and its values."""

from __future__ import annotations

import unittest
from typing import Any

from mgate.errors import Malformed
from mgate.mqtt.packets import PacketType
from mgate.mqtt.properties import (
    FROM_TARGET,
    WILL,
    Properties,
    PropertyId,
    decode_properties,
    encode_properties,
    encode_varint,
)
from tests.mqtt.strategies import EXAMPLES, PLACES
from tests.wire import properties


class ListTests(unittest.TestCase):
    def setUp(self) -> None:
        self.properties = Properties([(38, ("a", "1")), (1, 0), (38, ("b", "2")), (38, ("a", "3"))])

    def test_get(self) -> None:
        self.assertEqual(self.properties.get(38), ("a", "1"))
        self.assertEqual(self.properties.get(PropertyId.PAYLOAD_FORMAT_INDICATOR), 0)
        self.assertIsNone(self.properties.get(2))
        self.assertEqual(self.properties.get(2, 7), 7)

    def test_all(self) -> None:
        self.assertEqual(self.properties.all(38), [("a", "1"), ("b", "2"), ("a", "3")])
        self.assertEqual(self.properties.all(2), [])

    def test_set_replaces_the_first_and_drops_others(self) -> None:
        self.properties.set(38, ("c", "4"))
        self.assertEqual(self.properties, [(38, ("c", "4")), (1, 0)])

    def test_set_appends_what_is_new(self) -> None:
        self.properties.set(2, 5)
        self.assertEqual(self.properties[-1], (2, 5))
        self.assertEqual(len(self.properties), 5)

    def test_remove(self) -> None:
        self.properties.remove(38)
        self.assertEqual(self.properties, [(1, 0)])
        self.properties.remove(38)
        self.assertEqual(self.properties, [(1, 0)])


class PlaceTests(unittest.TestCase):
    """Every property in every place, against a second table written from the standard."""

    def test_all_27_are_there(self) -> None:
        self.assertEqual(len(PropertyId), 27)
        self.assertEqual(set(EXAMPLES), set(PropertyId))

    def test_where_each_may_stand(self) -> None:
        for kind, allowed in PLACES.items():
            for identifier, (value, raw) in EXAMPLES.items():
                data = properties(5, bytes((identifier,)) + raw)
                with self.subTest(kind=kind, property=identifier.name):
                    if identifier in allowed:
                        self.assertEqual(
                            decode_properties(kind, data, 0, len(data)), ([(identifier, value)], len(data))
                        )
                        self.assertEqual(encode_properties(Properties([(identifier, value)]), kind & 15), data)
                    else:
                        with self.assertRaises(Malformed):
                            decode_properties(kind, data, 0, len(data))

    def test_which_may_be_repeated(self) -> None:
        for kind, allowed in PLACES.items():
            for identifier in allowed:
                value, raw = EXAMPLES[identifier]
                data = properties(5, (bytes((identifier,)) + raw) * 2)
                if identifier == PropertyId.USER_PROPERTY or (
                    identifier == PropertyId.SUBSCRIPTION_IDENTIFIER and kind == PacketType.PUBLISH + FROM_TARGET
                ):
                    self.assertEqual(decode_properties(kind, data, 0, len(data))[0], [(identifier, value)] * 2)
                else:
                    with self.assertRaises(Malformed) as caught:
                        decode_properties(kind, data, 0, len(data))
                    self.assertEqual(caught.exception.code, 0x82)

    def test_kind_is_checked_when_writing(self) -> None:
        for kind in PacketType:
            allowed = PLACES.get(kind, frozenset()) | PLACES.get(kind + FROM_TARGET, frozenset())
            for identifier, (value, _) in EXAMPLES.items():
                if identifier not in allowed:
                    with self.subTest(kind=kind, property=identifier.name), self.assertRaises(ValueError):
                        encode_properties(Properties([(identifier, value)]), kind)

    def test_read_from_the_middle_of_a_buffer(self) -> None:
        self.assertEqual(decode_properties(WILL, b"xx\2\1\1yy", 2, 7), ([(1, 1)], 5))


class EncodeTests(unittest.TestCase):
    def test_none_and_empty(self) -> None:
        self.assertEqual(encode_properties(None), b"\0")
        self.assertEqual(encode_properties(Properties()), b"\0")

    def test_any_place_without_a_kind(self) -> None:
        self.assertEqual(encode_properties(Properties([(1, 1), (24, 2)])), b"\7\1\1\x18\0\0\0\2")

    def test_refuses(self) -> None:
        bad: list[tuple[Any, Any]] = [
            (0, 0), (43, 0), ("1", 0), (1, 2), (1, -1), (1, "1"), (1, None), (2, 2**32), (2, -1), (3, b"t"), (3, "\0"),
            (3, "\ud800"), (3, "x" * 65536), (8, ""), (8, "a/#"), (8, "+"), (9, "text"), (9, b"x" * 65536), (11, 0),
            (11, 268435456), (33, 0), (33, 65536), (35, 0), (39, 0), (38, ("a",)), (38, ("a", "b", "c")),
            (38, ("a", 1)), (38, (b"a", "b")), (38, ["a", "b"]), (38, ("a", "\0")),
        ]  # fmt: skip
        for identifier, value in bad:
            with self.subTest(identifier=identifier, value=value), self.assertRaises(ValueError):
                encode_properties(Properties([(identifier, value)]))

    def test_refuses_repetition(self) -> None:
        with self.assertRaises(ValueError):
            encode_properties(Properties([(1, 0), (1, 0)]))
        self.assertEqual(encode_properties(Properties([(11, 1), (11, 2)])), b"\4\x0b\1\x0b\2")


class VarintTests(unittest.TestCase):
    def test_edges(self) -> None:
        for value, encoded in (
            (0, b"\0"), (127, b"\x7f"), (128, b"\x80\1"), (16383, b"\xff\x7f"), (16384, b"\x80\x80\1"),
            (2097151, b"\xff\xff\x7f"), (2097152, b"\x80\x80\x80\1"), (268435455, b"\xff\xff\xff\x7f"),
        ):  # fmt: skip
            self.assertEqual(encode_varint(value), encoded)

    def test_refuses(self) -> None:
        for value in (-1, 268435456):
            with self.assertRaises(ValueError):
                encode_varint(value)
