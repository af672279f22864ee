"""Carriers on real sockets: order, back-pressure, every way to end, and what stands in front of them."""

from __future__ import annotations

import socket
from typing import Any
from unittest import mock

from twisted.internet import reactor as installed_reactor
from twisted.internet.interfaces import ISSLTransport, ITransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mgate.addresses import parse_listen
from mgate.entrance import Entrance
from mgate.errors import Denied
from mgate.handler import Handler
from mgate.limits import Limits
from mgate.session import Peer
from mgate.tables import Listener, Targets
from mgate.tls.checkers import Checkers
from mgate.websocket import carrier as carrier_module
from mgate.websocket.carrier import Carrier
from mgate.websocket.frames import Frames
from tests import wire
from tests.gateway import Flood, RecordingTarget
from tests.tls.handshakes import settings
from tests.websocket import raw
from tests.websocket.gateway import WebSocketDevice, WebSocketTest, towards
from tests.websocket.raw import frame, request

reactor: Any = installed_reactor

MEGABYTE = 1 << 20


def bound(device: WebSocketDevice) -> None:
    """Keep the buffers of the kernel small, behind which back-pressure would not show."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        device.transport.getHandle().setsockopt(socket.SOL_SOCKET, option, 128 * 1024)


class Streams(WebSocketTest):
    async def test_large_packets_both_ways(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        packet = wire.publish("a", bytes(range(256)) * 4000)
        device.send(packet)
        await device.uplink.expect(packet)
        device.uplink.send(packet)
        self.assertEqual(await device.read_packet(), packet)

    async def test_one_message_for_each_chunk_that_goes_down(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        many = b"".join(wire.publish("a", b"%d" % number) for number in range(100))
        device.uplink.send(many)
        await device.until(lambda: device.unread == many, "100 packets")
        self.assertLess(len(device.frames), 10)

    async def test_a_device_that_does_not_read_stops_its_target(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        bound(device)
        device.stop_reading()
        chunk = wire.publish("a", b"x" * 1000) * 60
        flood = Flood(device.uplink, chunk, 64 * MEGABYTE)
        self.assertLess(await flood.stalled(), 8 * MEGABYTE)
        flood.left = 0
        pushed = flood.pushed
        device.read_on()
        await device.until(lambda: len(device.unread) >= pushed, "all of it", 20)
        self.assertEqual(device.unread, chunk * (pushed // len(chunk)))

    async def test_a_target_that_does_not_read_stops_its_device(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        bound(device)
        uplink = device.uplink
        uplink.stop_reading()
        chunk = wire.publish("a", b"x" * 1000) * 60
        flood = Flood(device, chunk, 64 * MEGABYTE)
        self.assertLess(await flood.stalled(), 8 * MEGABYTE)
        flood.left = 0
        uplink.read_on()
        await uplink.until(lambda: len(uplink.behind_connect) >= flood.pushed, "all of it", 20)
        self.assertEqual(uplink.behind_connect, chunk * (flood.pushed // len(chunk)))

    async def test_handlers_know_the_request(self) -> None:
        class Curious(Handler):
            def auth_connect(self, session: Any) -> Any:
                asked = session.attributes["request"]
                if (asked.path, asked.query, asked.origin) != ("/mqtt/room", "token=secret", "https://a.example"):
                    raise Denied("banned")

        gateway = await self.websocket(Curious())
        gateway_request = request("/mqtt/room?token=secret", Origin="https://a.example")
        device = await gateway.connected(request=gateway_request)
        self.assertEqual(device.uplink.packets, [wire.connect()])
        other = await gateway.device()
        await other.upgraded()
        other.send(wire.connect())
        self.assertEqual((await other.close_told())[0], 1008)
        self.assertEqual(other.received[:1], b"\x20")
        self.serves_at_the_end = False


class Ends(WebSocketTest):
    async def test_the_target_closes(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        device.uplink.send(wire.publish("a", b"last"))
        device.uplink.close()
        self.assertEqual((await device.close_told())[0], 1000)
        self.assertEqual(device.unread, wire.publish("a", b"last"))

    async def test_a_goodbye(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        device.send(wire.publish("a", b"x") + wire.DISCONNECT)
        await device.uplink.expect(wire.publish("a", b"x"), wire.DISCONNECT)
        self.assertEqual((await device.close_told())[0], 1000)
        self.assertEqual(gateway.refusals, 0)

    async def test_a_shutdown(self) -> None:
        gateway = await self.websocket()
        devices = [await gateway.connected(version=5), await gateway.device()]
        drained = gateway.factory.drain()
        self.assertEqual((await devices[0].close_told())[0], 1001)
        self.assertEqual(devices[0].unread[:3], b"\xe0\x21\x8b")
        await devices[1].until(lambda: devices[1].closed, "close")
        await drained
        self.serves_at_the_end = False

    async def test_no_target(self) -> None:
        target = RecordingTarget()
        target.listen()
        await target.stop()
        gateway = await self.websocket(endpoints=[target.endpoint()])
        device = await gateway.device()
        await device.upgraded()
        device.send(wire.connect())
        self.assertEqual((await device.close_told())[0], 1013)
        self.assertEqual(device.received, wire.connack(3))

    async def test_fin_without_a_close_frame(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        device.send(wire.publish("a", b"x"))
        device.fin()
        await device.uplink.until(lambda: device.uplink.closed, "close")
        self.assertEqual(device.uplink.behind_connect, wire.publish("a", b"x"))

    async def test_who_does_not_answer_a_close_is_cut_off(self) -> None:
        gateway = await self.websocket()
        with mock.patch.object(carrier_module, "LINGER", 0.1):
            device = await gateway.connected()
            device.polite = False
            device.uplink.close()
            await device.read_frame(1)
            device.send(wire.publish("a", b"ignored"))
            self.assertEqual((await device.close_told())[0], 1000)
            self.assertEqual(gateway.counters.connections, 0)

    async def test_who_answers_a_close_is_done_at_once(self) -> None:
        gateway = await self.websocket()
        with mock.patch.object(carrier_module, "LINGER", 1000):
            device = await gateway.connected()
            device.uplink.close()
            self.assertEqual((await device.close_told())[0], 1000)

    async def test_who_leaves_without_closing_his_socket_is_gone_for_the_target(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        device.stop_reading()
        device.send_raw(raw.close(1000))
        await device.uplink.until(lambda: device.uplink.closed, "close")
        device.read_on()


class Pings(WebSocketTest):
    async def test_who_answers_stays_and_who_does_not_goes(self) -> None:
        gateway = await self.websocket(ping_interval=0.1)
        device = await gateway.connected()
        for number in range(1, 4):
            self.assertEqual(await device.read_frame(number), raw.Parsed(9, b""))
            device.send_raw(frame(10))
        await device.until(lambda: device.closed, "close")
        await device.uplink.until(lambda: device.uplink.closed, "close of the target's side")
        self.assertEqual(gateway.counters.rejects, {"ping_timeout": 1})

    async def test_nobody_is_asked_after_a_close_frame(self) -> None:
        clock, transport = Clock(), StringTransport()
        carrier = Carrier(Frames(True, 1000), clock, Limits(), 0.5)
        carrier.makeConnection(transport)
        carrier.opened()
        carrier.loseConnection()
        clock.pump([0.5] * 3)
        self.assertEqual(transport.value(), raw.close(1000, key=None))

    async def test_who_is_not_read_is_not_taken_for_gone(self) -> None:
        clock, transport = Clock(), StringTransport()
        carrier = Carrier(Frames(True, 1000), clock, Limits(), 30.0)
        carrier.makeConnection(transport)
        carrier.opened()
        carrier.pauseProducing()
        clock.pump([30.0] * 5)
        self.assertEqual((transport.value(), transport.disconnecting), (b"", False))
        carrier.resumeProducing()
        clock.advance(30.0)
        self.assertEqual(transport.value(), frame(9, key=None))


class InFront(WebSocketTest):
    """TLS and the PROXY protocol stand in front of a carrier as they do in front of MQTT."""

    async def test_a_header_tells_who_connects(self) -> None:
        gateway = await self.websocket()
        self.behind(gateway, trusted_proxies=("127.0.0.1",))
        device = await gateway.device()
        await device.upgraded(b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 8083\r\n" + request("/nowhere"))
        self.assertIn(b" 404 ", device.head)
        (_, _, fields), *_ = gateway.journal.rejects
        self.assertEqual(fields["peer"], Peer("192.0.2.7", 4000))
        self.serves_at_the_end = False

    def behind(self, gateway: Any, **keys: Any) -> None:
        listener = Listener(parse_listen("127.0.0.1:1"), Targets(), **keys)
        checkers = Checkers(reactor, lambda *_: None)
        entrance = Entrance("ws", listener, [b"http/1.1"], reactor, gateway.journal, gateway.counters, checkers)
        gateway.serve_through(entrance.around(gateway.factory))

    async def test_tls_with_the_certificate_of_the_device(self) -> None:
        class Named(Handler):
            names: list[str] = []

            def auth_connect(self, session: Any) -> Any:
                self.names.append(session.certificate.common_name)

        gateway = await self.websocket(Named())
        self.behind(gateway, tls=settings())
        device = await gateway.device(tls="good")
        await device.upgraded()
        device.send(wire.connect())
        device.uplink = await gateway.target.accepted()
        self.assertEqual(await device.read_packet(), wire.connack())
        self.assertEqual(len(Named.names), 1)
        (protocol,) = gateway.factory.inner.open
        transport = protocol.link.device.transport
        self.assertTrue(ISSLTransport.providedBy(transport))
        self.assertEqual(transport.getPeer().host, "127.0.0.1")
        self.assertEqual(transport.getHost().port, gateway.port)
        self.assertIsNotNone(transport.getPeerCertificate())
        packet = wire.publish("a", b"x" * 500_000)
        device.send(packet)
        await device.uplink.expect(packet)
        device.uplink.send(packet)
        self.assertEqual(await device.read_packet(), packet)
        device.send_raw(raw.close(1000))
        self.assertEqual((await device.close_told())[0], 1000)
        self.serves_at_the_end = False


class Transport(SynchronousTestCase):
    """What is carried finds a transport as Twisted has them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.below = StringTransport()
        self.carrier = Carrier(Frames(True, 1000), self.clock, Limits(), 0)
        self.carrier.inner = self.inner = mock.Mock(["dataReceived", "connectionLost"])
        self.carrier.makeConnection(self.below)
        self.carrier.opened()

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(ITransport, self.carrier))
        self.carrier.bufferSize = 5
        self.assertEqual((self.below.bufferSize, self.carrier.bufferSize), (5, 5))  # type: ignore[attr-defined]

    def test_writes(self) -> None:
        self.carrier.writeSequence([b"a", b"b"])
        self.carrier.write(b"")
        self.assertEqual(self.below.value(), frame(2, b"ab", key=None))

    def test_a_chunk_is_delivered_once(self) -> None:
        self.carrier.dataReceived(frame(2, b"a") + frame(2, b"b") + frame(9, b"p") + frame(2, b"c"))
        self.inner.dataReceived.assert_called_once_with(b"abc")
        self.assertEqual(self.below.value(), frame(10, b"p", key=None))

    def test_half_close_is_close(self) -> None:
        self.carrier.loseWriteConnection()
        self.carrier.loseConnection()
        self.carrier.write(b"late")
        self.assertEqual(self.below.value(), raw.close(1000, key=None))
        self.carrier.dataReceived(frame(2, b"late") + raw.close(1000))
        self.inner.dataReceived.assert_not_called()
        self.assertEqual(self.below.value(), raw.close(1000, key=None))
        self.assertTrue(self.below.disconnecting)

    def test_only_push_producers(self) -> None:
        self.assertRaises(ValueError, self.carrier.registerProducer, mock.Mock(), False)

    def test_a_producer_that_comes_too_late_is_stopped(self) -> None:
        self.carrier.dataReceived(frame(1))
        producer = mock.Mock()
        self.carrier.registerProducer(producer, True)
        producer.stopProducing.assert_called_once_with()

    def test_a_producer_is_paused_and_resumed(self) -> None:
        producer = mock.Mock()
        self.carrier.registerProducer(producer, True)
        below: Any = self.below.producer
        below.pauseProducing()
        self.carrier.write(b"x" * 100)
        producer.pauseProducing.assert_called_once_with()
        below.resumeProducing()
        producer.resumeProducing.assert_called_once_with()
        self.carrier.unregisterProducer()
        below.pauseProducing()
        self.carrier.write(b"x" * 100)
        below.resumeProducing()
        producer.pauseProducing.assert_called_once_with()

    def test_the_end_is_told_once(self) -> None:
        self.carrier.dataReceived(frame(2, b"ok") + frame(3))
        self.assertEqual(self.inner.connectionLost.call_count, 1)
        self.carrier.connectionLost(Failure(Exception()))
        self.assertEqual(self.inner.connectionLost.call_count, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_second_fault_while_closing(self) -> None:
        self.carrier.loseConnection()
        self.carrier.dataReceived(frame(3))
        self.assertEqual(self.below.value(), raw.close(1000, key=None))
        self.assertTrue(self.below.disconnecting)
        self.clock.advance(carrier_module.LINGER)
        self.assertTrue(self.below.disconnected)

    def test_what_is_carried_stops_in_the_middle(self) -> None:
        self.inner.dataReceived.side_effect = lambda data: self.carrier.abortConnection()
        self.carrier.dataReceived(frame(2, b"x") + frame(9))
        self.assertTrue(self.below.disconnected)
        self.assertEqual(self.below.value(), b"")

    def test_stop_producing_closes(self) -> None:
        self.carrier.stopProducing()
        self.assertEqual(self.below.value(), raw.close(1000, key=None))


class Chained(WebSocketTest):
    """An MQTT listener and a WebSocket listener with a ``ws://`` target."""

    async def test_mqtt_over_a_websocket_target(self) -> None:
        behind = await self.websocket()
        reports: list[str] = []
        front = await self.gateway(endpoints=[towards(behind.port, reports)])
        device = await front.device()
        device.send(wire.connect(version=5))
        uplink = await behind.target.accepted()
        self.assertEqual(await device.read_packet(), wire.connack(version=5))
        packets = [wire.publish("a", b"x" * size, version=5) for size in (1, 200, 900_000)]
        device.send(b"".join(packets))
        await uplink.expect(*packets)
        uplink.send(b"".join(packets))
        for packet in packets:
            self.assertEqual(await device.read_packet(), packet)
        device.send(wire.DISCONNECT)
        await uplink.until(lambda: uplink.closed, "close")
        self.assertEqual(uplink.packets[-1], wire.DISCONNECT)
        await device.until(lambda: device.closed, "close")
        self.assertEqual((reports, behind.refusals, front.refusals), ([], 0, 0))

    async def test_websocket_on_both_sides(self) -> None:
        behind = await self.websocket()
        front = await self.websocket(endpoints=[towards(behind.port, [])])
        device = await front.device()
        await device.upgraded()
        device.send(wire.connect())
        uplink = await behind.target.accepted()
        self.assertEqual(await device.read_packet(), wire.connack())
        device.send_raw(raw.close(1000))
        self.assertEqual((await device.close_told())[0], 1000)
        await uplink.until(lambda: uplink.closed, "close")
        self.assertEqual(uplink.behind_connect, b"")

    async def test_back_pressure_through_both(self) -> None:
        behind = await self.websocket()
        front = await self.gateway(endpoints=[towards(behind.port, [])])
        device = await front.device()
        device.send(wire.connect())
        uplink = await behind.target.accepted()
        await device.read_packet()
        uplink.stop_reading()
        chunk = wire.publish("a", b"x" * 1000) * 60
        flood = Flood(device, chunk, 64 * MEGABYTE)
        self.assertLess(await flood.stalled(), 16 * MEGABYTE)
        flood.left = 0
        uplink.read_on()
        await uplink.until(lambda: len(uplink.behind_connect) >= flood.pushed, "all of it", 20)
        self.assertEqual(uplink.behind_connect, chunk * (flood.pushed // len(chunk)))

    async def test_another_path_is_refused(self) -> None:
        behind = await self.websocket()
        reports: list[str] = []
        front = await self.gateway(endpoints=[towards(behind.port, reports, path="/other")])
        device = await front.device()
        device.send(wire.connect())
        self.assertEqual(await device.read_until_closed(), wire.connack(3))

    async def test_nobody_listens(self) -> None:
        target = RecordingTarget()
        target.listen()
        await target.stop()
        front = await self.gateway(endpoints=[towards(target.port, [])])
        device = await front.device()
        device.send(wire.connect())
        self.assertEqual(await device.read_until_closed(), wire.connack(3))


