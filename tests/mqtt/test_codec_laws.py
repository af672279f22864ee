"""Laws of the codec, for all packets and for all bytes (Hypothesis).

1. What is written is read back as the same packet.
2. What is read is written back as the same bytes.
3. No bytes give anything but a packet or `Malformed`, no packet anything but bytes or `ValueError`.
"""

from __future__ import annotations

import unittest

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgate.errors import Malformed
from mgate.mqtt.decode import decode
from mgate.mqtt.encode import encode
from mgate.mqtt.framing import split
from mgate.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Puback,
    Publish,
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
from tests.mqtt.cases import CASES
from tests.mqtt.strategies import packets
from tests.mqtt.test_decode import decoded
from tests.wire import packet as framed

# No deadline: the machine that runs this may be busy with other things.
law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
versions = st.sampled_from([3, 4, 5])
directions = st.sampled_from(list(Direction))

_wild_text = st.text(max_size=8) | st.sampled_from(
    ["", "a", "#", "a/+", "$share/g/a", "$share/g", "\0", "\ud800", "$queue/"]
)
_wild_int = st.integers(-2, 300) | st.sampled_from([0, 1, 2, 3, 0x80, 0x87, 65535, 65536, 2**32])
_wild_bytes = st.binary(max_size=8)
_wild_value = st.one_of(_wild_int, _wild_text, _wild_bytes, st.tuples(_wild_text, _wild_text), st.none())
_wild_pair = st.tuples(st.sampled_from(list(PropertyId)) | _wild_int, _wild_value)
_wild_pairs = st.none() | st.lists(_wild_pair, max_size=3).map(Properties)
_flag = st.booleans()
_will = st.builds(Will, _wild_text, _wild_bytes, st.integers(-1, 3), _flag, _wild_pairs)
_subscription = st.builds(Subscription, _wild_text, st.integers(-1, 3), _flag, _flag, st.integers(-1, 3))
_small = st.none() | _wild_int
_wild = st.one_of(
    st.builds(
        Connect, st.integers(2, 6), _wild_text, _flag, _wild_int, st.none() | _wild_text, st.none() | _wild_bytes,
        st.none() | _will, _wild_pairs,
    ),
    st.builds(Connack, _wild_int, _flag, _wild_pairs),
    st.builds(Publish, _wild_text, _wild_bytes, st.integers(-1, 3), _flag, _flag, _wild_int, _wild_pairs),
    st.builds(Puback, _wild_int, _small, _wild_pairs, _wild_int),
    st.builds(Pubrel, _wild_int, _small, _wild_pairs, _wild_int),
    st.builds(Subscribe, _wild_int, st.lists(_subscription, max_size=2), _wild_pairs, _wild_int),
    st.builds(Suback, _wild_int, st.lists(_wild_int, max_size=2), _wild_pairs),
    st.builds(Unsubscribe, _wild_int, st.lists(_wild_text, max_size=2), _wild_pairs, _wild_int),
    st.builds(Unsuback, _wild_int, st.lists(_wild_int, max_size=2), _wild_pairs),
    st.builds(Disconnect, _small, _wild_pairs),
    st.builds(Auth, _small, _wild_pairs),
)  # fmt: skip

SEEDS = [case.data for case in CASES if len(case.data) < 300]


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
    @given(st.data(), st.sampled_from(SEEDS), versions, directions)
    def test_damaged_packets(self, data: st.DataObject, seed: bytes, version: int, direction: Direction) -> None:
        """Cases with a few bytes changed, taken out or put in, in their own and in other versions and directions."""
        ((head, _, body, _),) = split(seed, 1 << 28)[0]
        spot = data.draw(st.integers(body, len(seed)))
        cut = data.draw(st.integers(0, 2))
        put = data.draw(st.binary(max_size=2))
        self._check(version, direction, framed(head, seed[body:spot] + put + seed[spot + cut :]))

    def _check(self, version: int, direction: Direction, data: bytes) -> None:
        packet = read(version, direction, data)
        if packet is not None:
            own = packet.version if isinstance(packet, Connect) else version
            self.assertEqual(encode(own, packet), data)

    @law
    @given(versions, _wild)
    def test_any_packet(self, version: int, packet: Packet) -> None:
        """Whatever a handler makes of a packet: it is refused, or it is one that the other side reads."""
        try:
            data = encode(version, packet)
        except ValueError:
            return
        read_back = [read(version, direction, data) for direction in Direction]
        self.assertTrue(any(read_back), packet)
        for again in read_back:
            if again is not None:
                self.assertEqual(encode(version, again), data)

    @law
    @given(st.data(), versions, directions, st.binary(max_size=10), st.binary(max_size=10))
    def test_place_in_the_buffer_does_not_matter(
        self, data: st.DataObject, version: int, direction: Direction, before: bytes, behind: bytes
    ) -> None:
        packet = data.draw(packets(version, direction))
        encoded = encode(version, packet)
        ((head, _, body, stop),) = split(encoded, 1 << 28)[0]
        buffer, shift = before + encoded + behind, len(before)
        self.assertEqual(decode(version, direction, head, buffer, body + shift, stop + shift), packet)
