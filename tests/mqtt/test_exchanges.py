"""What waits for an answer of the target, and which filters stand for those of the device."""

from __future__ import annotations

from unittest import TestCase

from mgate.errors import Denied
from mgate.mqtt.exchanges import REQUESTS_MOST, Exchanges
from mgate.mqtt.subscribing import Request


class RequestsTests(TestCase):
    def test_each_is_answered_once(self) -> None:
        exchanges = Exchanges(8)
        request = Request(["a"])
        exchanges.asked(7, request)
        self.assertIs(exchanges.answered(7), request)
        self.assertIsNone(exchanges.answered(7))

    def test_a_packet_identifier_that_is_used_again(self) -> None:
        exchanges = Exchanges(8)
        first, second = Request(["a"]), Request(["b"])
        exchanges.asked(7, first)
        exchanges.asked(7, second)
        self.assertIs(exchanges.answered(7), first)
        self.assertIs(exchanges.answered(7), second)
        self.assertIsNone(exchanges.answered(7))

    def test_a_target_that_never_answers(self) -> None:
        exchanges = Exchanges(8)
        large = Request(["a" * 60_000])
        accepted = 0
        with self.assertRaises(Denied) as caught:
            while True:
                exchanges.asked(accepted + 1, large)
                accepted += 1
        self.assertEqual(caught.exception.kind, "quota")
        self.assertLessEqual(accepted * large.size, REQUESTS_MOST + large.size)

    def test_many_small_filters_are_not_free(self) -> None:
        exchanges = Exchanges(8)
        small = Request(["ab"] * 1000)
        accepted = 0
        with self.assertRaises(Denied):
            while True:
                exchanges.asked(accepted + 1, small)
                accepted += 1
        self.assertLess(accepted, 10)

    def test_a_target_that_answers_may_be_asked_for_ever(self) -> None:
        exchanges = Exchanges(8)
        for number in range(1000):
            exchanges.asked(5, Request(["a" * 60_000]))
            self.assertIsNotNone(exchanges.answered(5), number)

    def test_one_large_request_is_no_flood(self) -> None:
        exchanges = Exchanges(8)
        exchanges.asked(1, Request(["a" * 60_000] * 16))
        with self.assertRaises(Denied):
            exchanges.asked(2, Request(["a"]))


class RenamedTests(TestCase):
    def test_what_stands_for_a_filter(self) -> None:
        exchanges = Exchanges(8)
        exchanges.rename("a", ["x", "y"])
        self.assertEqual(exchanges.original("a"), ["x", "y"])
        self.assertEqual(exchanges.original("a"), ["a"], "forgotten")
        self.assertEqual(exchanges.original("b"), ["b"])

    def test_subscribed_again_as_it_is(self) -> None:
        exchanges = Exchanges(8)
        exchanges.rename("a", ["x"])
        exchanges.rename("a", ["a"])
        self.assertEqual(exchanges.original("a"), ["a"])

    def test_no_more_than_allowed(self) -> None:
        exchanges = Exchanges(2)
        exchanges.rename("a", ["x"])
        exchanges.rename("b", ["y"])
        with self.assertRaises(Denied) as caught:
            exchanges.rename("c", ["z"])
        self.assertEqual(caught.exception.kind, "quota")
        exchanges.rename("b", ["w"])
        exchanges.rename("d", ["d"])
        exchanges.original("a")
        exchanges.rename("c", ["z"])
        self.assertEqual([exchanges.original(name) for name in "abcd"], [["a"], ["w"], ["z"], ["d"]])

    def test_no_longer_than_allowed(self) -> None:
        exchanges = Exchanges(1000)
        with self.assertRaises(Denied):
            for number in range(10):
                exchanges.rename(str(number), ["a" * 60_000])
        self.assertEqual(exchanges.original("0"), ["a" * 60_000])
        exchanges.rename("9", ["a" * 60_000])
