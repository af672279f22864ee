"""Topic names that were checked before are found again; the memory is bounded."""

from __future__ import annotations

from unittest import TestCase

from mgate.errors import Malformed
from mgate.mqtt.topics import LARGEST, Topics, controls_target


class TopicsTests(TestCase):
    def test_a_checked_name_is_kept(self) -> None:
        topics = Topics(8)
        self.assertEqual(topics.learn("grün/a".encode()), "grün/a")
        self.assertEqual(topics.names, {"grün/a".encode(): "grün/a"})

    def test_a_bad_name_is_not(self) -> None:
        topics = Topics(3)
        for name, code in (
            (b"", 0x82), (b"a/+", 0x90), (b"#", 0x90), (b"\xff", 0x81), (b"a\0", 0x81), (b"a/b/c/d", 0x81),
            (b"///", 0x81),
        ):  # fmt: skip
            with self.subTest(name), self.assertRaises(Malformed) as caught:
                topics.learn(name)
            self.assertEqual(caught.exception.code, code)
        self.assertEqual(topics.names, {})

    def test_as_many_levels_as_allowed(self) -> None:
        self.assertEqual(Topics(3).learn(b"a/b/c"), "a/b/c")

    def test_a_device_that_invents_topics_only_empties_it(self) -> None:
        topics = Topics(8, room=4)
        for number in range(100):
            topics.learn(b"t/%d" % number)
            self.assertLessEqual(len(topics.names), 4)
        self.assertIn(b"t/99", topics.names)

    def test_long_names_are_checked_each_time(self) -> None:
        topics = Topics(8)
        for size, kept in ((LARGEST, True), (LARGEST + 1, False)):
            topics.learn(b"a" * size)
            self.assertEqual(b"a" * size in topics.names, kept)

    def test_topics_that_control_the_target_are_looked_at_each_time(self) -> None:
        topics = Topics(8)
        self.assertEqual(topics.learn(b"$SYS/a"), "$SYS/a")
        self.assertEqual(topics.names, {})

    def test_what_controls_the_target(self) -> None:
        for topic in (
            "$SYS",
            "$SYS/broker/load",
            "$SYS/broker/connection/a/b/state",
            "$SYS/broker/connection//state",
            "$SYS/broker/connection/a/state/x",
            "$SYS/broker/connection/a/state\n",
            "$CONTROL/dynamic-security/v1",
            "$CONTROL",
            "$delayed/5/a",
        ):
            self.assertTrue(controls_target(topic), topic)
        for topic in (
            "$SYS/broker/connection/a.b/state",
            "$SYSTEM/a",
            "$CONTROLS",
            "a/$SYS",
            "SYS",
            "$sys/a",
            "$share/g/a",
        ):
            self.assertFalse(controls_target(topic), topic)
