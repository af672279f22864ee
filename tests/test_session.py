"""What handlers receive: who is speaking, and the packet while it is judged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import TestCase

from mgate.session import Message, Peer, Session


class Reader:
    """Lends a session one packet, as a relay does."""

    def read_judged(self) -> Any:
        return "the packet"


class SessionTests(TestCase):
    def test_attributes_are_each_devices_own(self) -> None:
        one, two = Session(), Session()
        one.attributes["tenant"] = "acme"
        self.assertEqual(one.attributes, {"tenant": "acme"})
        self.assertEqual(two.attributes, {})

    def test_packet_is_read_when_it_is_asked_for(self) -> None:
        session = Session()
        self.assertIsNone(session.packet)
        session._reader = Reader()
        self.assertEqual(session.packet, "the packet")

    def test_two_sessions_are_never_equal(self) -> None:
        self.assertNotEqual(Session(id="a"), Session(id="a"))

    def test_repr_hides_the_password_and_escapes(self) -> None:
        session = Session("c-1", id="a\n", username="alice", password=b"hush", peer=Peer("192.0.2.1", 1))
        self.assertEqual(repr(session), r"<Session c-1 mqtt id='a\n' username='alice'>")

    def test_peer_of_an_address(self) -> None:
        address = SimpleNamespace(host="192.0.2.1", port=1883)
        self.assertEqual((Peer.of(address), Peer.of(None)), (Peer("192.0.2.1", 1883), Peer("", 0)))

    def test_message_keeps_what_is_not_named(self) -> None:
        message = Message(topic="t")
        self.assertEqual((message.payload, message.qos, message.retain, message.properties), (None,) * 4)
