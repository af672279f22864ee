"""Topic aliases: what the near side has named, and what the far side knows of it."""

from __future__ import annotations

from unittest import TestCase

from mgate.errors import Malformed
from mgate.mqtt.aliases import Aliases
from mgate.mqtt.packets import Publish
from mgate.mqtt.properties import Properties, PropertyId


def message(topic: str, alias: int | None = None) -> Publish:
    return Publish(topic, properties=Properties([] if alias is None else [(PropertyId.TOPIC_ALIAS, alias)]))


class AliasesTests(TestCase):
    def setUp(self) -> None:
        self.aliases = Aliases(3)

    def test_without_an_alias(self) -> None:
        for packet in (message("a"), Publish("a")):
            self.assertEqual(self.aliases.resolve(packet), "a")
            self.assertTrue(self.aliases.known(packet, "a"))
            self.aliases.sent(packet)

    def test_a_mapping_is_remembered_and_replaced(self) -> None:
        self.assertEqual(self.aliases.resolve(message("a", 1)), "a")
        self.assertEqual(self.aliases.resolve(message("b", 3)), "b")
        self.assertEqual(self.aliases.resolve(message("", 1)), "a")
        self.assertEqual(self.aliases.resolve(message("c", 1)), "c")
        self.assertEqual(self.aliases.resolve(message("", 1)), "c")
        self.assertEqual(self.aliases.resolve(message("", 3)), "b")

    def test_an_alias_out_of_range(self) -> None:
        for alias in (0, 4, 65535):
            for topic in ("a", ""):
                with self.assertRaises(Malformed) as caught:
                    self.aliases.resolve(message(topic, alias))
                self.assertEqual(caught.exception.code, 0x94)

    def test_an_unknown_alias(self) -> None:
        self.aliases.resolve(message("a", 1))
        with self.assertRaises(Malformed) as caught:
            self.aliases.resolve(message("", 2))
        self.assertEqual(caught.exception.code, 0x82)

    def test_the_far_side_knows_only_what_it_was_sent(self) -> None:
        self.aliases.resolve(message("a", 1))
        self.assertTrue(self.aliases.known(message("a", 1), "a"), "it says its topic")
        self.assertFalse(self.aliases.known(message("", 1), "a"), "the packet that set it may have been refused")
        self.aliases.sent(message("a", 1))
        self.assertTrue(self.aliases.known(message("", 1), "a"))
        self.aliases.sent(message("", 1))
        self.aliases.resolve(message("b", 1))
        self.assertFalse(self.aliases.known(message("", 1), "b"), "it still stands for a")
        self.aliases.sent(message("b", 1))
        self.assertTrue(self.aliases.known(message("", 1), "b"))
