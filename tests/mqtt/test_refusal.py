"""A refusal on the wire: the table of codes, kind by kind and version by version."""

from __future__ import annotations

from functools import partial
from unittest import TestCase

from mgate.errors import Denied, GateError, Kind, Malformed, TargetLost, TimedOut
from mgate.mqtt import refusal
from mgate.mqtt.decode import UnsupportedVersion, decode
from mgate.mqtt.framing import split
from mgate.mqtt.packets import Packet
from mgate.mqtt.refusal import ROOMY
from mgate.outcome import Direction
from tests import wire

TABLE = """
kind             CONNACK       SUBACK        PUBACK and PUBREC   DISCONNECT
                 3.x   5       3.1.1  5      5                   5
bad credentials  4     86      80     87     87                  87
not authorised   5     87      80     87     87                  87
bad client id    2     85      80     87     87                  87
banned           5     8A      80     87     87                  98
bad topic        5     90      80     8F     90                  90
quota            3     97      80     97     97                  97
rate             3     9F      80     97     97                  96
bad payload      5     99      80     80     99                  99
too large        5     95      80     97     97                  95
target down      3     88      80     80     80                  8B
target slow      3     88      80     80     80                  80
internal fault   3     80      80     80     80                  80
handler fault    5     83      80     83     83                  83
"""
ROWS = {line[:17].strip(): [int(code, 16) for code in line[17:].split()] for line in TABLE.strip().splitlines()[2:]}

TEXT = "no entry"
REASON = b"\x1f" + wire.text(TEXT)
"""It as a Reason String."""


def read(version: int, data: bytes) -> Packet:
    """As the device reads it; it is one whole packet."""
    ((head, ((start, body, stop),)),), end, _, error = split(data, 1 << 20)
    assert error is None and start == 0 and end == len(data)
    return decode(version, Direction.DOWNLINK, head, data, body, stop)


class TableTests(TestCase):
    def test_each_kind_has_its_row(self) -> None:
        self.assertEqual(set(ROWS), {kind.value for kind in Kind})

    def test_each_cell(self) -> None:
        for kind, (connack3, connack5, suback4, suback5, puback5, disconnect5) in ROWS.items():
            with self.subTest(kind):
                bare = Denied(kind)
                for version in (3, 4):
                    self.assertEqual(refusal.connack(version, bare), wire.connack(connack3))
                    self.assertEqual(refusal.suback_code(version, bare), suback4)
                    self.assertEqual(refusal.refused(version, 0, 0, bare, ROOMY), b"")
                    self.assertEqual(refusal.refused(version, 1, 7, bare, ROOMY), wire.puback(7))
                    self.assertEqual(refusal.refused(version, 2, 7, bare, ROOMY), wire.pubrec(7))
                    self.assertEqual(refusal.disconnect(version, bare), b"")
                self.assertEqual(refusal.connack(5, bare), wire.connack(connack5, version=5))
                self.assertEqual(refusal.suback_code(5, bare), suback5)
                self.assertEqual(refusal.refused(5, 0, 0, bare, ROOMY), b"")
                self.assertEqual(refusal.refused(5, 1, 7, bare, ROOMY), wire.puback(7, puback5))
                self.assertEqual(refusal.refused(5, 2, 7, bare, ROOMY), wire.pubrec(7, puback5))
                self.assertEqual(refusal.disconnect(5, bare), wire.disconnect(disconnect5))

    def test_each_cell_with_a_text(self) -> None:
        for kind, (connack3, connack5, _, suback5, puback5, disconnect5) in ROWS.items():
            with self.subTest(kind):
                told = Denied(kind, TEXT, detail="for the log only")
                self.assertEqual(refusal.connack(4, told), wire.connack(connack3), "no room for words below 5")
                self.assertEqual(refusal.connack(5, told), wire.connack(connack5, version=5, props=REASON))
                self.assertEqual(refusal.refused(5, 1, 7, told, ROOMY), wire.puback(7, puback5, REASON))
                self.assertEqual(refusal.refused(5, 2, 7, told, ROOMY), wire.pubrec(7, puback5, REASON))
                self.assertEqual(refusal.refused(5, 1, 7, told, 0), wire.puback(7, puback5))
                self.assertEqual(refusal.disconnect(5, told), wire.disconnect(disconnect5, REASON))
                self.assertEqual(
                    refusal.suback(5, 7, [suback5], told, ROOMY),
                    wire.suback(7, bytes([suback5]), version=5, props=REASON),
                )

    def test_no_code_that_the_version_does_not_have(self) -> None:
        """Whatever is written can be read by the strict decoder of a device."""
        for kind in ROWS:
            for text in ("", TEXT):
                denied = Denied(kind, text)
                for version in (3, 4, 5):
                    with self.subTest(kind, version=version, text=text):
                        codes = [refusal.suback_code(version, denied)]
                        for data in (
                            refusal.connack(version, denied),
                            refusal.refused(version, 1, 7, denied, ROOMY),
                            refusal.refused(version, 2, 7, denied, ROOMY),
                            refusal.suback(version, 7, codes, denied, ROOMY),
                            *([refusal.disconnect(5, denied)] if version == 5 else []),
                        ):
                            read(version, data)


class OtherErrorsTests(TestCase):
    def test_connack(self) -> None:
        for error, connack4, connack5 in (
            (Malformed(TEXT, 0x81), None, 0x81),
            (Malformed(TEXT, 0x82), None, 0x82),
            (Malformed(TEXT, 0x85), 2, 0x85),
            (Malformed(TEXT, 0x84), 1, 0x84),
            (Malformed(TEXT, 0x97), None, 0x97),
            (TargetLost(TEXT), None, 0x88),
            (TargetLost(TEXT, "target_down"), 3, 0x88),
            (TargetLost(TEXT, "upstream_malformed"), 3, 0x88),
        ):
            with self.subTest(repr(error), code=connack5):
                self.assertEqual(refusal.connack(4, error), b"" if connack4 is None else wire.connack(connack4))
                props = REASON if isinstance(error, TargetLost) else b""
                self.assertEqual(refusal.connack(5, error), wire.connack(connack5, version=5, props=props))

    def test_a_level_that_nobody_knows(self) -> None:
        self.assertEqual(refusal.connack(2, UnsupportedVersion(2)), wire.connack(1))
        self.assertEqual(read(5, refusal.connack(6, UnsupportedVersion(6))).reason_code, 0x84)  # type: ignore[attr-defined]

    def test_a_device_that_was_too_slow_to_connect_is_told_nothing(self) -> None:
        for version in (3, 4, 5):
            self.assertEqual(refusal.connack(version, TimedOut(TEXT)), b"")

    def test_disconnect(self) -> None:
        errors: list[tuple[GateError, int]] = [
            (Malformed(TEXT, 0x81), 0x81),
            (Malformed(TEXT, 0x94), 0x94),
            (TargetLost(TEXT), 0x8B),
            (TargetLost(TEXT, "upstream_malformed"), 0x83),
            (TimedOut(TEXT, "keep_alive"), 0x8D),
            (TimedOut(TEXT, "packet_timeout"), 0x80),
            (GateError(TEXT), 0x80),
        ]
        for error, code in errors:
            with self.subTest(repr(error), code=code):
                told = () if isinstance(error, (Malformed, TimedOut)) else (REASON,)
                self.assertEqual(refusal.disconnect(5, error), wire.disconnect(code, *told))
                self.assertEqual(refusal.disconnect(4, error), b"")


class PacketsTests(TestCase):
    def test_as_if_it_had_been_taken(self) -> None:
        for version in (3, 4, 5):
            self.assertEqual(refusal.acknowledged(version, 0, 0), b"")
            self.assertEqual(refusal.acknowledged(version, 1, 7), wire.puback(7))
            self.assertEqual(refusal.acknowledged(version, 2, 7), wire.pubrec(7))
            self.assertEqual(refusal.completed(version, 7), wire.pubcomp(7))

    def test_suback(self) -> None:
        told = Denied("quota", TEXT)
        for version in (3, 4, 5):
            bare = Denied("quota")
            self.assertEqual(refusal.suback(version, 7, [1, 0], bare, ROOMY), wire.suback(7, b"\1\0", version=version))
            self.assertEqual(refusal.suback(version, 7, [2], told, 0), wire.suback(7, b"\2", version=version))

    def test_what_does_not_fit_is_told_by_its_code(self) -> None:
        """[MQTT-3.1.2-25]: the device has said how large a packet may be."""
        told = Denied("quota", "x" * 50)
        for data, bare in (
            (refusal.refused(5, 1, 7, told, 20), wire.puback(7, 0x97)),
            (refusal.suback(5, 7, [0x97], told, 20), wire.suback(7, b"\x97", version=5)),
            (refusal.disconnect(5, told, 20), wire.disconnect(0x97)),
        ):
            self.assertEqual(data, bare)

    def test_text_that_a_device_has_chosen(self) -> None:
        """A handler may quote anything [MQTT-1.5.4-1] [MQTT-1.5.4-2]."""
        for text in ("a\0b", "\ud800"):
            read(5, refusal.disconnect(5, Denied("quota", text)))

    def test_not_even_bare_may_one_be_larger_than_the_device_takes(self) -> None:
        denied = Denied("quota", TEXT)
        for told, bare in (
            (partial(refusal.connack, 5, denied), wire.connack(0x97, version=5)),
            (partial(refusal.disconnect, 5, denied), wire.disconnect(0x97)),
            (partial(refusal.refused, 5, 1, 7, denied), wire.puback(7, 0x97)),
            (partial(refusal.suback, 5, 7, [0x97], denied), wire.suback(7, b"\x97", version=5)),
        ):
            self.assertEqual(told(len(bare)), bare)
            self.assertEqual(told(len(bare) - 1), b"")

    def test_long_texts_are_cut(self) -> None:
        for text in ("x" * 70_000, "\U0001f600" * 70_000):
            for data in (
                refusal.connack(5, Denied("quota", text)),
                refusal.disconnect(5, Denied("quota", text)),
                refusal.refused(5, 1, 1, Denied("quota", text), ROOMY),
                refusal.suback(5, 1, [0x97], Denied("quota", text), ROOMY),
            ):
                self.assertLess(len(data), 1100)
                read(5, data)
