"""`mgate.mqtt.text`: UTF-8, topic names, topic filters and shares."""

from __future__ import annotations

import unittest

from mgate.errors import Malformed
from mgate.mqtt.text import check_topic_filter, check_topic_name, decode_text, split_shared
from tests.mqtt.refused import BAD_FILTERS, BAD_TEXT


class DecodeTextTests(unittest.TestCase):
    def test_reads_only_its_span(self) -> None:
        self.assertEqual(decode_text(b"\0abc\0", 1, 4), "abc")
        self.assertEqual(decode_text(b"\0abc\0", 2, 2), "")

    def test_passes_what_the_standard_only_advises_against(self) -> None:
        for text in ("\ufeffa", "\uffff", "\ufdd0", "\U0010ffff", "e\u0301", "\x01\x1f\x7f\x80", "\U0002a6d4", "\r\n"):
            data = text.encode()
            self.assertEqual(decode_text(data, 0, len(data)), text)

    def test_refuses(self) -> None:
        for name, data in BAD_TEXT.items():
            with self.subTest(name), self.assertRaises(Malformed) as caught:
                decode_text(data, 0, len(data))
            self.assertEqual(caught.exception.code, 0x81)


class TopicNameTests(unittest.TestCase):
    def test_accepts(self) -> None:
        for topic in ("a", "/", "//", "a/", " ", "$SYS/x", "$share/g/a", "\ufeff", "a/\u00e9"):
            check_topic_name(topic)

    def test_refuses_with_its_code(self) -> None:
        for topic, code in (("", 0x82), ("#", 0x90), ("+", 0x90), ("a/#", 0x90), ("a+b", 0x90), ("#/a", 0x90)):
            with self.subTest(topic), self.assertRaises(Malformed) as caught:
                check_topic_name(topic)
            self.assertEqual(caught.exception.code, code)


class TopicFilterTests(unittest.TestCase):
    def test_accepts(self) -> None:
        for good in (
            "a", "/", "//", "#", "+", "+/+", "/+", "+/", "a/#", "/#", "+/#", "+/a/+/#", "$SYS/#", "$share",
            "$sharex/g", "$share/g/a", "$share/g/#", "$share/g/+", "$share/g//", "$share/g/$SYS/#", "$queue/a",
            "$queue/#", "$queue", "$exclusive/a/+", "$share/\u00e9/a", "$delayed/5/a", "a/$share/+",
        ):  # fmt: skip
            with self.subTest(good):
                check_topic_filter(good)

    def test_refuses(self) -> None:
        for bad in BAD_FILTERS:
            with self.subTest(bad), self.assertRaises(Malformed) as caught:
                check_topic_filter(bad)
            self.assertEqual(caught.exception.code, 0x81)

    def test_longest_filters_take_linear_time(self) -> None:
        """Levels as many and as long as a length field can say; quadratic time would take seconds."""
        check_topic_filter("/" * 65535)
        check_topic_filter("+/" * 32767 + "#")
        with self.assertRaises(Malformed):
            check_topic_filter("#" * 65535)
        with self.assertRaises(Malformed):
            check_topic_filter("+/" * 32766 + "a+")


class SplitSharedTests(unittest.TestCase):
    def test_splits(self) -> None:
        for whole, prefix, inner in (
            ("a/b", "", "a/b"),
            ("", "", ""),
            ("$share/g/a/b", "$share/g/", "a/b"),
            ("$share/g//", "$share/g/", "/"),
            ("$share/g/#", "$share/g/", "#"),
            ("$queue/x", "$queue/", "x"),
            ("$exclusive/x/y", "$exclusive/", "x/y"),
            ("$queue", "", "$queue"),
            ("$share", "", "$share"),
            ("$SHARE/g/a", "", "$SHARE/g/a"),
            ("x/$share/g/a", "", "x/$share/g/a"),
        ):
            with self.subTest(whole):
                self.assertEqual(split_shared(whole), (prefix, inner))

    def test_broken_share_comes_back_whole(self) -> None:
        for broken in ("$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"):
            self.assertEqual(split_shared(broken), ("", broken))
