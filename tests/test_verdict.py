"""What each hook may answer, and how the answers of several handlers add up."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from mgate.errors import Denied
from mgate.mqtt.packets import Pingreq, Publish
from mgate.outcome import Direction
from mgate.session import Filter, Message
from mgate.verdict import Connects, Messages, Packets, Subscribes


class ConnectsTests(TestCase):
    def test_has_no_edit_but_that_of_the_session(self) -> None:
        for answer in ("yes", 1, Message("a"), [], object()):
            with self.subTest(repr(answer)), self.assertRaises(TypeError):
                Connects().read(answer, ())

    def test_nothing_adds_up(self) -> None:
        self.assertIsNone(Connects().add(None, None))
        self.assertEqual(Connects().apply(None, ()), ())


class MessagesTests(TestCase):
    grammar = Messages()

    def test_a_message(self) -> None:
        for answer in (Message(), Message("a"), Message(payload=b""), Message("a", b"b", 1, True)):
            with self.subTest(answer):
                self.assertIs(self.grammar.read(answer, ("t", b"p")), answer)

    def test_anything_else(self) -> None:
        for answer in ("a", b"a", ("a", b"b"), 1, Message, Message(b"a"), Message("a", "b"), Message("a", bytearray())):  # type: ignore[arg-type]
            with self.subTest(repr(answer)), self.assertRaises(TypeError):
                self.grammar.read(answer, ("t", b"p"))

    def test_two_edits_are_one(self) -> None:
        one = Message("a", b"1", 2, True, ["p"])
        for first, then, both in (
            (None, one, one),
            (one, Message(), one),
            (one, Message("b"), Message("b", b"1", 2, True, ["p"])),
            (one, Message("", b"", 0, False, []), Message("", b"", 0, False, [])),
            (Message("a"), Message(payload=b"2"), Message("a", b"2")),
        ):
            with self.subTest(first=first, then=then):
                self.assertEqual(self.grammar.add(first, then), both)

    def test_the_next_handler_is_asked_about_the_edited_message(self) -> None:
        for edit, asked in ((Message("a"), ("a", b"p")), (Message(payload=b""), ("t", b"")), (Message(), ("t", b"p"))):
            with self.subTest(edit):
                self.assertEqual(self.grammar.apply(edit, ("t", b"p")), asked)


class SubscribesTests(TestCase):
    grammar = Subscribes()
    no = Denied("not authorised")

    def test_each_form_of_a_slot(self) -> None:
        for answer, slot in (
            ("x", [Filter("x")]),
            (Filter("x", 1, True, False, 2), [Filter("x", 1, True, False, 2)]),
            (Filter(qos=0), [Filter("a", 0)]),
            (["x", Filter("y", 1)], [Filter("x"), Filter("y", 1)]),
            (("x",), [Filter("x")]),
            (self.no, self.no),
        ):
            with self.subTest(repr(answer)):
                self.assertEqual(self.grammar.read([answer], (["a"],)), [slot])
                self.assertEqual(self.grammar.read((answer,), (["a"],)), [slot])

    def test_another_length(self) -> None:
        for answer in ([], ["x"], ["x", "y", "z"], "xy", {"x": 1, "y": 2}, Message("a"), 2):
            with self.subTest(repr(answer)), self.assertRaises(TypeError):
                self.grammar.read(answer, (["a", "b"],))

    def test_other_items(self) -> None:
        for item in (None, True, 1, b"x", Denied, Message("x"), Filter(b"x"), [None], [[]], [self.no]):  # type: ignore[arg-type]
            with self.subTest(repr(item)), self.assertRaises(TypeError):
                self.grammar.read([item], (["a"],))

    def test_a_slot_of_nothing(self) -> None:
        """To subscribe to nothing is to refuse, and that has a code: so it must be said as Denied."""
        with self.assertRaises(ValueError):
            self.grammar.read([[]], (["a"],))

    def test_the_next_handler_is_asked_about_what_is_left(self) -> None:
        slots = self.grammar.read([["x", "y"], self.no, "z"], (["a", "b", "c"],))
        self.assertEqual(self.grammar.apply(slots, (["a", "b", "c"],)), (["x", "y", "z"],))

    def test_two_edits_are_one(self) -> None:
        first = self.grammar.read([["x", Filter("y", 1, True)], self.no, "z"], (["a", "b", "c"],))
        worse = Denied("quota")
        for answer, both in (
            (["x", "y", "z"], [[Filter("x"), Filter("y", 1, True)], self.no, [Filter("z")]]),
            (["1", ["2", Filter("3", 0)], worse],
             [[Filter("1"), Filter("2", 1, True), Filter("3", 0, True)], self.no, worse]),
            ([worse, "2", "3"], [worse, self.no, [Filter("3")]]),
            (["1", worse, Filter("3", None, False, True, 2)], [worse, self.no, [Filter("3", None, False, True, 2)]]),
        ):  # fmt: skip
            with self.subTest(repr(answer)):
                then = self.grammar.read(answer, (["x", "y", "z"],))
                self.assertEqual(self.grammar.add(first, then), both)

    def test_no_edit_before(self) -> None:
        slots = self.grammar.read(["x"], (["a"],))
        self.assertIs(self.grammar.add(None, slots), slots)


class PacketsTests(TestCase):
    grammar = Packets()

    def test_a_packet_of_the_same_type(self) -> None:
        packet, direction = Publish("a"), Direction.UPLINK
        other = Publish("b")
        self.assertIs(self.grammar.read(other, (packet, direction)), other)
        self.assertIs(self.grammar.add(packet, other), other)
        self.assertEqual(self.grammar.apply(other, (packet, direction)), (other, direction))

    def test_anything_else(self) -> None:
        answers: list[Any] = [Pingreq(), Publish, "a", b"\xc0\x00", Message("a")]
        for answer in answers:
            with self.subTest(repr(answer)), self.assertRaises(TypeError):
                self.grammar.read(answer, (Publish("a"), Direction.UPLINK))
