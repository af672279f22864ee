"""One side of a link, on real sockets: order, what is unsent, and when the other side is not read."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from mgate.flow import LARGE, SMALL, Side
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.policy import Policy
from tests import wire
from tests.gateway import RecordingTarget

HIGH = 256 * 1024
MEGABYTE = 1 << 20


class Reader(Protocol):
    """Reads when it is told to, and says when it has as many bytes as are wanted, or the end."""

    def __init__(self) -> None:
        self.data = b""
        self.wanted = 0
        self.enough: Deferred[bytes] = Deferred()
        self.made: Deferred[Reader] = Deferred()

    def connectionMade(self) -> None:
        self.transport.pauseProducing()  # type: ignore[union-attr]
        self.made.callback(self)

    def read(self, wanted: int) -> Deferred[bytes]:
        self.wanted = wanted
        self.transport.resumeProducing()  # type: ignore[union-attr]
        return self.enough

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= self.wanted and not self.enough.called:
            self.enough.callback(self.data)

    def connectionLost(self, reason: Any = None) -> None:
        if not self.enough.called:
            self.enough.callback(self.data)


class SocketTests(TestCase):
    async def setUp(self) -> None:
        self.reader = Reader()
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            Factory.forProtocol(lambda: self.reader)
        )
        self.addCleanup(listening.stopListening)
        writer = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port), Protocol())
        await self.reader.made
        self.transport: Any = writer.transport
        self.side, self.peer = Side(HIGH), Side(HIGH)
        self.side.peer = self.peer
        self.side.attach(self.transport)
        self.addCleanup(self.transport.abortConnection)

    async def fill(self) -> bytes:
        """Write until the kernel takes no more and too much is unsent."""
        sent = b""
        while self.peer.reading:
            chunk = bytes([len(sent) >> 18 & 255]) * (MEGABYTE // 4)
            self.side.write([chunk])
            sent += chunk
        return sent

    async def test_small_and_large_ones_leave_at_once(self) -> None:
        for size in (1, SMALL, LARGE, LARGE + 1):
            self.side.write([bytes(size)])
            self.assertEqual(self.side.unsent, 0, size)

    async def test_what_is_between_leaves_later_with_what_follows(self) -> None:
        self.side.write([bytes(SMALL + 1)])
        self.assertEqual(self.side.unsent, SMALL + 1)
        self.assertFalse(self.side.owes, "a moment is enough for that")
        self.side.write([b"behind"])
        self.assertEqual(await self.reader.read(SMALL + 7), bytes(SMALL + 1) + b"behind")
        self.assertEqual(self.side.unsent, 0)

    async def test_pieces_stay_in_order(self) -> None:
        few = [memoryview(b"one, ")[:5], b"two, ", bytes(LARGE)]
        many = [b"%d " % number for number in range(200)]
        self.side.write(few)
        self.side.write(many)
        whole = b"".join((*few, *many))
        self.assertEqual(await self.reader.read(len(whole)), whole)

    async def test_too_much_unsent_stops_the_peer_until_all_is_sent(self) -> None:
        sent = await self.fill()
        self.assertGreater(self.side.unsent, HIGH)
        self.assertTrue(self.side.owes)
        self.side.write([b"more"])
        self.assertEqual(await self.reader.read(len(sent) + 4), sent + b"more")
        self.assertTrue(self.peer.reading)
        self.assertEqual(self.side.unsent, 0)

    async def test_who_does_not_take_its_answers_is_not_read(self) -> None:
        sent = await self.fill()
        self.side.answer(b"no")
        self.assertFalse(self.side.reading)
        await self.reader.read(len(sent) + 2)
        self.assertTrue(self.side.reading)

    async def test_what_is_unsent_leaves_before_the_connection_closes(self) -> None:
        sent = await self.fill()
        self.side.close()
        self.assertEqual(await self.reader.read(1 << 60), sent)

    async def test_what_is_unsent_leaves_before_nothing_more_is_sent(self) -> None:
        sent = await self.fill()
        self.side.finish()
        self.assertEqual(await self.reader.read(1 << 60), sent)

    async def test_a_socket_that_is_broken(self) -> None:
        lost: Deferred[None] = Deferred()
        self.transport.protocol.connectionLost = lambda reason: lost.callback(None)
        self.reader.transport.abortConnection()  # type: ignore[union-attr]
        await self.reader.enough
        self.side.write([b"nobody"])
        self.side.write([b"listens"])
        await lost

    async def test_a_reset_that_comes_while_something_is_sent_is_no_orderly_close(self) -> None:
        """The kernel tells of it once; here it tells the one who sends."""
        lost: Deferred[bool] = Deferred()
        self.transport.protocol.connectionLost = lambda reason: lost.callback(reason.check(ConnectionDone) is not None)
        self.transport.stopReading()  # as while another connection is being served
        self.reader.transport.abortConnection()  # type: ignore[union-attr]
        await self.reader.enough
        self.side.write([b"nobody listens"])
        self.side.write([b"nobody listens"])
        self.transport.startReading()
        self.assertFalse(await lost)

    async def test_nothing_is_sent_after_an_abort(self) -> None:
        self.side.abort()
        self.side.write([b"too late"])
        self.assertEqual(await self.reader.read(1), b"")

    async def test_without_a_transport_it_is_dropped(self) -> None:
        self.side.detach()
        self.side.write([b"dropped"])
        self.assertEqual(self.side.unsent, 0)


class OtherTransportTests(TestCase):
    """TLS and tests have transports that are no plain socket; those tell the producer when to pause."""

    def test_only_what_is_written_while_it_is_full_counts(self) -> None:
        transport: Any = StringTransport()
        side, peer = Side(HIGH), Side(HIGH)
        side.peer = peer
        side.attach(transport)
        self.assertTrue(transport.streaming)
        side.write([b"a", b"b"])
        self.assertEqual((transport.value(), side.unsent), (b"ab", 0))
        side.pauseProducing()
        side.write([bytes(HIGH)])
        side.pauseProducing()
        self.assertFalse(peer.reading)
        side.resumeProducing()
        self.assertTrue(peer.reading)
        self.assertEqual(side.unsent, 0)


class UnixSocketTests(TestCase):
    """Both ends of a link may be UNIX sockets; they have no options of TCP."""

    async def test_through_two_of_them(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        front, back = (os.path.relpath(os.path.join(folder, name)) for name in ("front", "back"))
        target = RecordingTarget()
        broker = await UNIXServerEndpoint(reactor, back).listen(target)
        self.addCleanup(broker.stopListening)
        factory = MqttDeviceFactory(reactor, [UNIXClientEndpoint(reactor, back)], Policy([]))
        gateway = await UNIXServerEndpoint(reactor, front).listen(factory)
        self.addCleanup(gateway.stopListening)
        device = await connectProtocol(UNIXClientEndpoint(reactor, front), Reader())
        device.transport.write(wire.connect())
        self.assertEqual(await device.read(4), wire.connack())
        side = await target.accepted()
        messages = wire.publish("a", b"x"), wire.publish("a", bytes(3000)), wire.publish("a", bytes(LARGE))
        for message in messages:
            device.transport.write(message)
        await side.expect(*messages)
        device.transport.loseConnection()
        await side.until(lambda: side.closed, "the end")
        await factory.drain()
