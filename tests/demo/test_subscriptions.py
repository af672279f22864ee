"""Which filters match, and what is kept of them."""

from __future__ import annotations

import unittest
from typing import Any

from mgate.demo.subscriptions import Subscriptions, matches
from mgate.mqtt.packets import Subscription


class MatchTest(unittest.TestCase):
    CASES = (
        ("a/b", "a/b", True), ("a/b", "a/c", False), ("a/+", "a/b", True), ("a/+", "a", False), ("a/+", "a/", True),
        ("a/#", "a", True), ("a/#", "a/b/c", True), ("a/#", "b", False), ("#", "a/b", True), ("+", "a/b", False),
        ("+/+", "/b", True), ("/+", "/b", True), ("+", "/b", False), ("#", "$SYS/x", False), ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True), ("a/b/#", "a", False), ("+/b/#", "a/b/c", True),
    )  # fmt: skip

    def test_filters_match_as_in_the_standard(self) -> None:
        for topic_filter, topic, expected in self.CASES:
            with self.subTest(filter=topic_filter, topic=topic):
                self.assertIs(matches(topic_filter.split("/"), topic.split("/")), expected)

    def test_nothing_is_left_of_a_subscriber_that_went(self) -> None:
        subscriptions: Subscriptions[Any] = Subscriptions()
        for topic_filter in ("a", "a/+", "$share/g/a"):
            self.assertTrue(subscriptions.add(self, Subscription(topic_filter)))
        self.assertFalse(subscriptions.add(self, Subscription("a", 1)))
        self.assertEqual(subscriptions.count(self), 3)
        subscriptions.remove_all(self)
        self.assertEqual(subscriptions.count(self), 0)
        self.assertEqual(subscriptions.receivers("a", None), {})
        self.assertFalse(subscriptions.remove(self, "a"))
