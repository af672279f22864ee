"""``deny:<topic filter>`` refuses what the filter matches."""

from __future__ import annotations

from unittest import TestCase

from mgate.errors import Denied, Kind
from mgate.handlers.deny import DenyHandler
from mgate.session import Session


class DenyTests(TestCase):
    def test_denies_below_the_filter(self) -> None:
        with self.assertRaises(Denied) as caught:
            DenyHandler("factory/#").auth_publish(Session(), "factory/7/stop", b"now")
        self.assertEqual(caught.exception.kind, Kind.NOT_AUTHORISED)
        self.assertEqual(caught.exception.text, "nobody publishes below factory/#")

    def test_admits_the_rest(self) -> None:
        DenyHandler("factory/#").auth_publish(Session(), "home/7", b"")

    def test_matching(self) -> None:
        cases = [
            ("a/#", "a", True),
            ("a/#", "a/b/c", True),
            ("a/#", "ab", False),
            ("#", "a/b", True),
            ("#", "$SYS/broker", False),
            ("$SYS/#", "$SYS/broker", True),
            ("+/b", "a/b", True),
            ("+/b", "$a/b", False),
            ("a/+", "a", False),
            ("a/+", "a/", True),
            ("a/+", "a/b/c", False),
            ("a/+/c", "a/b/c", True),
            ("a/b", "a/b", True),
            ("a/b", "a/c", False),
            ("/", "/", True),
        ]
        for topic_filter, topic, expected in cases:
            with self.subTest(filter=topic_filter, topic=topic):
                self.assertIs(DenyHandler(topic_filter).matches(topic), expected)

    def test_refuses_what_is_no_filter(self) -> None:
        for wrong in ("", "a#", "a/#/b", "a+/b", "a\0"):
            with self.subTest(wrong), self.assertRaises(ValueError):
                DenyHandler(wrong)
