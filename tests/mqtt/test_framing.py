"""Where packets start and stop: the edges of the Remaining Length, and what holds for any bytes (Hypothesis)."""

from __future__ import annotations

import itertools
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from mgate.mqtt.framing import split
from tests import wire

LIMIT = 268_435_460
"""No packet is larger (2.1.4)."""

bodies = st.binary(max_size=3) | st.integers(0, 400).map(bytes)
packets = st.builds(wire.packet, st.integers(0, 255), bodies)


def taken(chunks: list[bytes], limit: int = LIMIT) -> tuple[list[bytes], bytes, int | None]:
    """What a reader gets that keeps what is left over: packets, the rest, and the code of the error."""
    found: list[bytes] = []
    kept = b""
    need = 0
    for chunk in chunks:
        kept += chunk
        if len(kept) < need:
            continue
        runs, end, need, error = split(kept, limit)
        found += [kept[start:stop] for _, spans in runs for start, _, stop in spans]
        if error is not None:
            return found, b"", error.code
        kept = kept[end:]
    return found, kept, None


class EdgeTests(TestCase):
    def test_span(self) -> None:
        data = wire.PINGREQ + wire.publish("a", bytes(200))
        self.assertEqual(split(data, LIMIT), ([(0xC0, [(0, 2, 2)]), (0x30, [(2, 5, len(data))])], len(data), 0, None))

    def test_a_view(self) -> None:
        self.assertEqual(split(memoryview(wire.PINGREQ), LIMIT)[0], [(0xC0, [(0, 2, 2)])])

    def test_packets_in_a_row_with_the_same_first_byte_are_one_run(self) -> None:
        runs = split(wire.PINGREQ + b"\x30\x01a\x30\x01b\x31\x01c\x30\x01d", LIMIT)[0]
        rows = [(0xC0, [(0, 2, 2)]), (0x30, [(2, 4, 5), (5, 7, 8)]), (0x31, [(8, 10, 11)]), (0x30, [(11, 13, 14)])]
        self.assertEqual(runs, rows)

    def test_how_many_bytes_are_needed(self) -> None:
        for data, need in (
            (b"", 0), (b"\x30", 2), (b"\x30\x05", 7), (b"\x30\x05abcd", 7), (b"\x30\x80", 3), (b"\x30\x80\x80", 4),
            (b"\x30\x80\x80\x80", 5), (b"\x30\x80\x01", 131), (b"\x30\xff\xff\xff\x7f", LIMIT),
        ):  # fmt: skip
            with self.subTest(data):
                self.assertEqual(split(data, LIMIT), ([], 0, need, None))
                ahead = wire.PINGREQ
                self.assertEqual(split(ahead + data, LIMIT), ([(0xC0, [(0, 2, 2)])], 2, need, None))

    def test_each_length_of_the_length(self) -> None:
        for size in (0, 127, 128, 16383, 16384, 2097151, 2097152):
            with self.subTest(size):
                data = wire.packet(0x30, bytes(size))
                self.assertEqual(split(data, LIMIT), ([(0x30, [(0, len(data) - size, len(data))])], len(data), 0, None))

    def test_a_length_that_is_malformed(self) -> None:
        for length in (
            b"\x80\x80\x80\x80", b"\xff\xff\xff\xff", b"\x80\x80\x80\x80\x01", b"\x80\x00", b"\x81\x80\x00",
            b"\xff\xff\xff\x00",
        ):  # fmt: skip
            with self.subTest(length):
                runs, end, need, error = split(wire.PINGREQ + b"\x30" + length, LIMIT)
                self.assertEqual((runs, end, need), ([(0xC0, [(0, 2, 2)])], 2, 0))
                assert error is not None
                self.assertEqual(error.code, 0x81)

    def test_the_limit_is_held_at_the_header(self) -> None:
        for body in (0, 98, 99, 1 << 20):
            with self.subTest(body):
                data = b"\x30" + wire.varint(body)
                _, _, need, error = split(data, 100)
                self.assertEqual(error and error.code, 0x95 if body > 98 else None)
                self.assertEqual(need, 0 if body in (0, 99, 1 << 20) else 100)


class LawTests(TestCase):
    @given(st.lists(packets, max_size=6), st.binary(max_size=5), st.data())
    def test_how_bytes_are_cut_changes_nothing(self, whole: list[bytes], rest: bytes, data: st.DataObject) -> None:
        stream = b"".join(whole) + rest
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        chunks = [stream[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(stream)])]
        at_once = taken([stream])
        self.assertEqual(taken(chunks), at_once)
        self.assertEqual(taken([stream[at : at + 1] for at in range(len(stream))]), at_once)
        self.assertEqual(at_once[0][: len(whole)], whole)

    @given(st.binary(max_size=60), st.integers(2, 80))
    def test_any_bytes(self, data: bytes, limit: int) -> None:
        runs, end, need, error = split(data, limit)
        pos = 0
        for head, start, body, stop in [(head, *span) for head, spans in runs for span in spans]:
            self.assertEqual((start, head), (pos, data[start]))
            self.assertTrue(start + 2 <= body <= min(stop, start + 5))
            self.assertLessEqual(stop - start, limit)
            self.assertEqual(data[start + 1 : body], wire.varint(stop - body))
            pos = stop
        self.assertEqual(end, pos)
        if error is None and end < len(data):
            self.assertGreater(need, len(data) - end, "more than is there")
            self.assertEqual(split(data[end:] + bytes(need - 1 - len(data) + end), limit)[0], [], "and no less helps")
        else:
            self.assertEqual(need, 0)

    def test_linear(self) -> None:
        """Each read of an unfinished packet costs what it brings, not what is there: counted, not timed."""
        looked = 0

        class Counted(bytes):
            def __getitem__(self, key: object) -> object:  # type: ignore[override]
                nonlocal looked
                looked += 1
                return super().__getitem__(key)  # type: ignore[index]

        many = Counted(wire.PINGREQ * 10_000)
        self.assertEqual(len(split(many, LIMIT)[0][0][1]), 10_000)
        self.assertLessEqual(looked, 2 * 10_000 + 1)
        looked = 0
        split(Counted(wire.packet(0x30, bytes(1 << 20))), LIMIT)
        self.assertLessEqual(looked, 5)
