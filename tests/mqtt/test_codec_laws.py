"""Laws of the codec, for all packets and for all bytes (Hypothesis).

1. What is written is read back as the same packet.
2. What is read is written back as the same bytes.
3. No bytes give anything but a packet or `Malformed`, no packet anything but bytes or `ValueError`.
"""

from __future__ import annotations

import unittest
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from io import StringIO
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import fuzz_mqtt
from mgate.errors import Malformed
from mgate.mqtt.decode import decode
from mgate.mqtt.encode import encode
from mgate.mqtt.framing import split
from mgate.mqtt.packets import Connect, Packet, Subscription, Will
from mgate.mqtt.properties import Properties, PropertyId
from mgate.outcome import Direction
from tests.mqtt.strategies import damaged_packets, packets
from tests.mqtt.test_decode import decoded
from tests.wire import packet as framed

# No deadline: the machine that runs this may be busy with other things.
law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
versions = st.sampled_from([3, 4, 5])
directions = st.sampled_from(list(Direction))

_text = st.text(max_size=8) | st.sampled_from(
    ["", "a", "#", "a/+", "$share/g/a", "$share/g", "\0", "\ud800", "$queue/"]
)
_binary = st.binary(max_size=8)
_integer = st.integers(-2, 300) | st.sampled_from([0, 1, 2, 3, 0x80, 0x87, 65535, 65536, 2**32])
_scalar = st.one_of(_integer, _text, _binary, st.none(), st.booleans(), st.floats(), st.tuples(_text, _text))
_pair = st.tuples(st.sampled_from(list(PropertyId)) | _integer, _scalar)
_subscription = st.builds(Subscription, _text, st.integers(-1, 3), st.booleans(), st.booleans(), st.integers(-1, 3))
_will = st.builds(Will, _text, _binary, st.integers(-1, 3), st.booleans())
anything: st.SearchStrategy[Any] = st.one_of(
    _scalar,
    st.lists(_pair, max_size=3).map(Properties),
    st.lists(_scalar, max_size=3),
    st.lists(_subscription, max_size=2),
    _will,
)


def read(version: int, direction: Direction, data: bytes) -> Packet | None:
    """The packet, or None where it is malformed."""
    try:
        return decoded(version, direction, data)
    except Malformed:
        return None


class LawTests(unittest.TestCase):
    @law
    @given(st.data(), versions, directions)
    def test_written_packets_are_read_back(self, data: st.DataObject, version: int, direction: Direction) -> None:
        packet = data.draw(packets(version, direction))
        encoded = encode(version, packet)
        self.assertEqual(decoded(version, direction, encoded), packet)

    @law
    @given(versions, directions, st.integers(0, 255), st.binary(max_size=40))
    def test_any_bytes(self, version: int, direction: Direction, head: int, body: bytes) -> None:
        self._check(version, direction, framed(head, body))

    @law
    @given(damaged_packets, versions, directions)
    def test_damaged_packets(self, data: bytes, version: int, direction: Direction) -> None:
        """Also in versions and directions that are not their own."""
        self._check(version, direction, data)

    def _check(self, version: int, direction: Direction, data: bytes) -> None:
        packet = read(version, direction, data)
        if packet is not None:
            own = packet.version if isinstance(packet, Connect) else version
            self.assertEqual(encode(own, packet), data)

    @law
    @given(st.data(), versions, versions, directions)
    def test_any_edit(self, data: st.DataObject, made: int, version: int, direction: Direction) -> None:
        """Whatever a handler writes into whichever field: it is refused, or the other side can read the packet."""
        packet = data.draw(packets(made, direction))
        names = [one.name for one in fields(packet)]
        if names:
            setattr(packet, data.draw(st.sampled_from(names)), data.draw(anything))
        try:
            written = encode(version, packet)
        except ValueError:
            return
        read_back = [read(version, direction, written) for direction in Direction]
        self.assertTrue(any(read_back), packet)
        for again in read_back:
            if again is not None:
                self.assertEqual(encode(version, again), written)

    @law
    @given(st.data(), versions, directions, st.binary(max_size=10), st.binary(max_size=10))
    def test_place_in_the_buffer_does_not_matter(
        self, data: st.DataObject, version: int, direction: Direction, before: bytes, behind: bytes
    ) -> None:
        packet = data.draw(packets(version, direction))
        encoded = encode(version, packet)
        ((head, ((_, body, stop),)),) = split(encoded, 1 << 28)[0]
        buffer, shift = before + encoded + behind, len(before)
        self.assertEqual(decode(version, direction, head, buffer, body + shift, stop + shift), packet)


class FuzzTests(unittest.TestCase):
    def test_fuzzer_holds_its_seeds(self) -> None:
        for seed in fuzz_mqtt.SEEDS:
            fuzz_mqtt.check(seed)

    def test_fuzzer_runs_and_tells_what_it_found(self) -> None:
        with redirect_stdout(StringIO()) as told:
            fuzz_mqtt.loop(500, 1)
        self.assertEqual(told.getvalue(), "500 inputs, seed 1: the law holds\n")
        with (
            mock.patch.object(fuzz_mqtt, "encode", return_value=b""),
            redirect_stderr(StringIO()) as told,
            self.assertRaises(AssertionError),
        ):
            fuzz_mqtt.loop(500, 1)
        self.assertIn("input: ", told.getvalue())
