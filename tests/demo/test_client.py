"""The bundled client: its errands alone, its connection on a test transport, and its command against a demo broker."""

from __future__ import annotations

import contextlib
import io
import sys
import unittest
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mgate.demo import client
from mgate.demo.client import ClientProtocol
from mgate.demo.errands import DONE, LOST, MISSED, REFUSED, Publishing, Subscribing, reason_text
from mgate.demo.faults import Faults
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
)
from mgate.mqtt.properties import Properties, PropertyId
from tests.demo.listening import ListeningTest

OWN_TOPICS = Properties([(PropertyId.REASON_STRING, "own topics\nonly")])


class Paper:
    """A line that writes down what an errand does."""

    def __init__(self, version: int = 5) -> None:
        self.version = version
        self.events: list[Any] = []

    def send(self, packet: Packet) -> None:
        self.events.append(packet)

    def finish(self, code: int) -> None:
        self.events.append(code)

    def say(self, text: str) -> None:
        self.events.append(text)

    def show(self, text: str) -> None:
        self.events.append(f"shown {text}")

    def run(self, errand: Any, *packets: Packet) -> list[Any]:
        """Begin the errand, let it receive packets, and return what it did."""
        errand.begin(self)
        for packet in packets:
            errand.received(self, packet)
        return self.events


class PublishingTest(unittest.TestCase):
    def errand(self, qos: int) -> tuple[Publishing, Publish]:
        message = Publish("t", b"x", qos, packet_id=1 if qos else 0)
        return Publishing(message), message

    def test_each_qos_ends_with_its_handshake(self) -> None:
        errand, message = self.errand(0)
        self.assertEqual(Paper().run(errand), [message, "sent; at QoS 0 nobody acknowledges", DONE])
        errand, message = self.errand(1)
        self.assertEqual(Paper().run(errand, Puback(9), Puback(1)), [message, "acknowledged", DONE])
        errand, message = self.errand(2)
        self.assertEqual(Paper().run(errand, Pubrec(1), Pubcomp(1)), [message, Pubrel(1), "acknowledged", DONE])

    def test_nobody_there_is_no_refusal(self) -> None:
        told = "acknowledged: 0x10 no matching subscribers"
        errand, message = self.errand(1)
        self.assertEqual(Paper().run(errand, Puback(1, 0x10)), [message, told, DONE])
        errand, message = self.errand(2)
        self.assertEqual(Paper().run(errand, Pubrec(1, 0x10), Pubcomp(1)), [message, Pubrel(1), told, DONE])

    def test_a_refusal_is_told_with_its_reason_on_one_line(self) -> None:
        refused = "publish refused: 0x87 not authorized: own topics\\nonly"
        for qos, answer in ((1, Puback(1, 0x87, OWN_TOPICS)), (2, Pubrec(1, 0x87, OWN_TOPICS))):
            errand, message = self.errand(qos)
            self.assertEqual(Paper().run(errand, answer), [message, refused, REFUSED])

    def test_an_answer_in_time_or_none(self) -> None:
        self.assertEqual(self.errand(1)[0].late(), MISSED)


class SubscribingTest(unittest.TestCase):
    def asked(self, *filters: str) -> Subscribe:
        return Subscribe(1, [Subscription(filter, 1) for filter in filters])

    def test_each_filter_is_told_and_refused_ones_give_the_exit_code(self) -> None:
        errand = Subscribing(["a", "b"], 1)
        events = Paper().run(errand, Suback(1, [1, 0x87], OWN_TOPICS))
        self.assertEqual(
            events,
            [
                self.asked("a", "b"),
                "subscribed to a (QoS 1)",
                "refused b: 0x87 not authorized: own topics\\nonly",
            ],
        )
        self.assertEqual(errand.late(), REFUSED)

    def test_when_all_are_refused_it_ends(self) -> None:
        events = Paper(4).run(Subscribing(["a"], 1), Suback(1, [0x80]))
        self.assertEqual(events, [self.asked("a"), "refused a: 0x80 failure", REFUSED])

    def test_messages_are_shown_and_acknowledged_once(self) -> None:
        errand = Subscribing(["a"], 1, count=3, verbose=True)
        double = Publish("a", b"2", 2, packet_id=7)
        events = Paper().run(
            errand, Publish("a", b"0"), Publish("a", b"1", 1, packet_id=5), double, double, Pubrel(7)
        )
        self.assertEqual(
            events[1:], ["shown a 0", Puback(5), "shown a 1", Pubrec(7), "shown a 2", DONE, Pubrec(7), Pubcomp(7)]
        )

    def test_nothing_can_play_with_the_terminal(self) -> None:
        events = Paper().run(Subscribing(["#"], verbose=True), Publish("a\x1b[2J", b"\x1b]0;x\x07\xff\n"))
        self.assertEqual(events[1], r"shown a\x1b[2J \x1b]0;x\x07\\xff\n")

    def test_time_is_the_wanted_end_without_a_count(self) -> None:
        self.assertEqual(Subscribing(["a"]).late(), DONE)
        self.assertEqual(Subscribing(["a"], count=1).late(), MISSED)

    def test_reasons_of_older_versions_have_names_too(self) -> None:
        self.assertEqual(reason_text(5, None, 4), "5 not authorized")


class Transport(StringTransport):
    def loseConnection(self) -> None:
        self.disconnecting = True


class ConnectionTest(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.codes: list[int] = []

    def connection(self, version: int = 5) -> ClientProtocol:
        protocol = ClientProtocol(Connect(version, "c"), Subscribing(["a"]), self.clock)
        protocol.done.addCallback(self.codes.append)
        protocol.makeConnection(self.transport)
        self.assertEqual(self.written(), encode(version, Connect(version, "c")))
        return protocol

    def written(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def told(self, protocol: ClientProtocol, *packets: Packet) -> str:
        """What it says on standard error about packets of the other side, and about the end."""
        with contextlib.redirect_stderr(io.StringIO()) as err:
            protocol.dataReceived(b"".join(encode(protocol.version, packet) for packet in packets))
            if self.transport.disconnecting:
                protocol.connectionLost()
        return err.getvalue()

    def test_it_keeps_the_connection_alive_and_says_goodbye(self) -> None:
        protocol = self.connection()
        self.assertEqual(self.told(protocol, Connack(0)), "")
        self.assertEqual(self.written(), encode(5, Subscribe(1, [Subscription("a")])))
        self.clock.advance(46)
        self.assertEqual(self.written(), encode(5, Pingreq()))
        protocol.late()
        self.assertEqual(self.written(), encode(5, Disconnect()))
        protocol.connectionLost()
        self.assertEqual(self.codes, [DONE])
        protocol.late()
        self.assertEqual(self.written(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_refused_connect_is_told(self) -> None:
        told = self.told(self.connection(), Connack(0x86, properties=OWN_TOPICS))
        self.assertEqual(told, "connect refused: 0x86 bad user name or password: own topics\\nonly\n")
        self.assertEqual(self.codes, [REFUSED])

    def test_a_refused_connect_of_311_is_told(self) -> None:
        self.assertEqual(self.told(self.connection(4), Connack(5)), "connect refused: 5 not authorized\n")

    def test_a_disconnect_of_the_other_side_is_told(self) -> None:
        told = self.told(self.connection(), Connack(0), Disconnect(0x8E), Publish("a"))
        self.assertEqual(told, "disconnected: 0x8e session taken over\n")
        self.assertEqual(self.codes, [REFUSED])

    def test_a_broken_protocol_is_told(self) -> None:
        told = self.told(self.connection(), Publish("a"))
        self.assertEqual(told, "the other side broke the protocol: the first packet is not a CONNACK\n")
        self.assertEqual(self.codes, [LOST])

    def test_a_lost_connection_is_told(self) -> None:
        for accepted, expected in (((), "closed before it was accepted"), ((Connack(0),), "connection lost")):
            self.setUp()
            protocol = self.connection()
            self.told(protocol, *accepted)
            with contextlib.redirect_stderr(io.StringIO()) as err:
                protocol.connectionLost()
            self.assertIn(expected, err.getvalue())
            self.assertEqual(self.codes, [LOST])


class UsageTest(unittest.TestCase):
    def mistake(self, *arguments: str) -> str:
        """Run the command with a mistake in its arguments, and return the last line of what it says."""
        with contextlib.redirect_stderr(io.StringIO()) as err, self.assertRaises(SystemExit) as end:
            client.main(arguments)
        self.assertEqual(end.exception.code, 2)
        return err.getvalue().splitlines()[-1]

    def test_mistakes_are_told_before_anything_is_dialled(self) -> None:
        for arguments, expected in (
            ((), "required: command"),
            (("pub", "-m", "x"), "required: -t/--topic"),
            (("pub", "-t", "a"), "one of the arguments -m/--message -n/--null-message is required"),
            (("pub", "-t", "a/#", "-m", "x"), "wildcard in a topic name"),
            (("sub", "-t", "a#"), "# is not alone in the last level of a topic filter"),
            (("sub", "-t", "a", "-V", "4"), "'4' is none of 3.1, 3.1.1 and 5"),
            (("sub", "-t", "a", "-p", "70000"), "'70000' is no port"),
            (("sub", "-t", "a", "-C", "0"), "'0' is no number of messages"),
            (("sub", "-t", "a", "-V", "3.1.1", "-P", "x"), "password without user name"),
        ):
            with self.subTest(arguments=arguments):
                self.assertIn(expected, self.mistake(*arguments))


class CommandTest(ListeningTest):
    async def client(self, command: str, *arguments: str) -> tuple[str, str, int]:
        return await self.command(
            sys.executable, "-m", "mgate.demo.client", command, "-p", self.number, *arguments
        )

    async def test_every_version_and_qos(self) -> None:
        for version in ("3.1", "3.1.1", "5"):
            qos = {"3.1": "0", "3.1.1": "1", "5": "2"}[version]
            code = await self.client("pub", "-V", version, "-t", "t", "-m", f"at {qos}", "-r", "-q", qos)
            told = {"3.1": "sent; at QoS 0 nobody acknowledges"}.get(version, "acknowledged")
            if version == "5":
                told += ": 0x10 no matching subscribers"
            self.assertEqual(code, ("", told + "\n", DONE))
            got = await self.client("sub", "-V", version, "-t", "#", "-v", "-q", qos, "-C", "1", "-W", "9")
            self.assertEqual(got, (f"t at {qos}\n", f"subscribed to # (QoS {qos})\n", DONE))

    async def test_too_late(self) -> None:
        got = await self.client("sub", "-t", "t", "-C", "1", "-W", "0.1")
        self.assertEqual(got[2], MISSED)

    async def test_refused(self) -> None:
        self.factory.faults = Faults(refuse=0x8A)
        got = await self.client("pub", "-t", "t", "-m", "x")
        self.assertEqual(got, ("", "connect refused: 0x8a banned\n", REFUSED))

    async def test_nobody_listens(self) -> None:
        await self.port.stopListening()
        out, err, code = await self.client("pub", "-t", "t", "-n")
        self.assertEqual((out, code), ("", LOST))
        self.assertRegex(err, r"^cannot connect to 127.0.0.1 port \d+: Connection was refused by other side")
        self.assertEqual(len(err.splitlines()), 1)
