"""One direction: an unfinished packet is joined once, what is held is kept in order, what waits is counted."""

from __future__ import annotations

from unittest import TestCase

from mgate.mqtt.lane import LARGE, WAITING, Lane, note
from mgate.outcome import Direction


def lane(direction: Direction = Direction.UPLINK) -> Lane:
    return Lane(direction, None, None, [0] * 16)


class UnfinishedTests(TestCase):
    def test_nothing_begun(self) -> None:
        self.assertFalse(lane().unfinished)

    def take(self, up: Lane, data: bytes) -> tuple[bytes, bytes]:
        """What is whole now, and what is to be looked at after that."""
        whole, start = up.take(data)
        return bytes(whole), data[start:]

    def test_nothing_comes_back_before_there_is_enough(self) -> None:
        up = lane()
        up.keep(b"before0", 6, 5)
        self.assertTrue(up.unfinished)
        self.assertEqual(self.take(up, b"12"), (b"", b""))
        self.assertEqual(self.take(up, b"3"), (b"", b""))
        self.assertTrue(up.unfinished)
        self.assertEqual(self.take(up, b"4"), (b"01234", b""))
        self.assertFalse(up.unfinished)

    def test_what_follows_a_small_packet_is_joined_with_it(self) -> None:
        up = lane()
        up.keep(b"0", 0, 3)
        self.assertEqual(self.take(up, b"12345"), (b"012345", b""))

    def test_a_large_packet_is_completed_alone(self) -> None:
        for begun in (b"0", b"0" * LARGE):
            for behind in (b"", b"rest"):
                up = lane()
                up.keep(b"before" + begun, 6, len(begun) + 2 * LARGE)
                self.assertEqual(self.take(up, b"1" * LARGE), (b"", b""))
                self.assertEqual(self.take(up, b"2" * LARGE + behind), (begun + b"1" * LARGE + b"2" * LARGE, behind))
                self.assertFalse(up.unfinished)

    def test_many_small_pieces_of_a_large_packet_are_joined_once(self) -> None:
        up = lane()
        up.keep(b"0", 0, 100_001)
        pieces = [self.take(up, b"1") for _ in range(100_000)]
        self.assertEqual(set(pieces[:-1]), {(b"", b"")})
        self.assertEqual(pieces[-1], (b"0" + b"1" * 100_000, b""))

    def test_pieces_of_all_sizes(self) -> None:
        up = lane()
        pieces = [b"a", b"b" * LARGE, b"c", b"d", b"e" * LARGE, b"f" * LARGE, b"g"]
        up.keep(b"0", 0, 1 + sum(map(len, pieces)))
        for piece in pieces[:-1]:
            self.assertEqual(self.take(up, piece), (b"", b""))
        self.assertEqual(self.take(up, pieces[-1]), (b"0" + b"".join(pieces), b""))


class HeldTests(TestCase):
    def test_order(self) -> None:
        up = lane()
        up.hold(b"a")
        up.hold(b"b")
        self.assertEqual(up.held, b"ab")

    def test_nothing_behind_the_end(self) -> None:
        up = lane()
        up.ended = True
        up.hold(b"a")
        self.assertEqual(up.held, b"")


class WaitingTests(TestCase):
    def test_each_is_acknowledged_once(self) -> None:
        up = lane()
        self.assertIsNone(up.acknowledged(1))
        up.wait(1, "a", b"one")
        up.wait(2, "b", b"")
        self.assertEqual(up.waiting_size, 2 * WAITING + 5)
        self.assertEqual(up.acknowledged(1), ("a", b"one"))
        self.assertIsNone(up.acknowledged(1))
        self.assertEqual(up.acknowledged(2), ("b", b""))
        self.assertEqual(up.waiting_size, 0)

    def test_a_message_that_is_sent_again_is_counted_once(self) -> None:
        up = lane()
        for _ in range(200):
            up.wait(1, "a", b"twelve bytes")
        self.assertEqual(up.waiting_size, WAITING + 13)
        up.acknowledged(1)
        self.assertEqual(up.waiting_size, 0)


class OtherTests(TestCase):
    def test_who_may_ping(self) -> None:
        self.assertEqual((lane().ping, lane(Direction.DOWNLINK).ping), (0xC0, 0xD0))

    def test_a_set_is_made_at_first_use(self) -> None:
        noted = note(None, 1)
        self.assertEqual(noted, {1})
        self.assertIs(note(noted, 2), noted)
        self.assertEqual(noted, {1, 2})
