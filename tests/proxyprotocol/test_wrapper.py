"""Connections that proxies bring: who is believed, who is closed, and what the protocol behind them sees."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mgate.handler import Handler
from mgate.limits import Limits
from mgate.proxyprotocol.encode import encode
from mgate.proxyprotocol.header import MAX_HEADER, Address, Header
from mgate.proxyprotocol.wrapper import ProxiedFactory
from mgate.session import Peer, Session
from tests import wire
from tests.gateway import PATIENCE, Gateway, GatewayTest, RawDevice

reactor: Any = installed_reactor

PROXY = IPv4Address("TCP", "10.0.0.1", 5000)
TRUSTED = ("10.0.0.0/24", "2001:db8::/32")
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
BINARY = encode(Header(Address("192.0.2.1", 56324), Address("198.51.100.7", 443)))


def networks(*texts: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text) for text in texts]


class Recorder(Protocol):
    """An inner protocol that keeps what it is told."""

    def __init__(self, addr: Any) -> None:
        self.addr = addr
        self.received: list[bytes] = []
        self.lost: list[Failure] = []

    def connectionMade(self) -> None:
        self.peer_at_start = self.transport.getPeer()

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.lost.append(reason)


class Recorders(Factory):
    """Makes them."""

    noisy = False
    full = False

    def __init__(self) -> None:
        self.made: list[Recorder] = []
        self.state = ""

    def buildProtocol(self, addr: Any) -> Recorder | None:
        if self.full:
            return None
        self.made.append(Recorder(addr))
        return self.made[-1]

    def startFactory(self) -> None:
        self.state = "started"

    def stopFactory(self) -> None:
        self.state = "stopped"


class Fake(StringTransport):
    """A transport that gives what arrives to its `protocol`, as those of sockets do."""

    aborted = False

    def __init__(self, protocol: Any, peer: Any) -> None:
        super().__init__(peerAddress=peer)
        self.protocol = protocol
        protocol.makeConnection(self)

    def abortConnection(self) -> None:
        self.aborted = True

    def arrive(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.protocol.dataReceived(chunk)


class WrapperTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.inner = Recorders()
        self.refusals: list[tuple[str, Peer, str]] = []
        self.factory = self.wrapped()

    def wrapped(self, **choices: Any) -> ProxiedFactory:
        return ProxiedFactory(
            self.inner, networks(*TRUSTED), self.clock, timeout=3.0,
            refused=lambda *told: self.refusals.append(told), **choices,
        )  # fmt: skip

    def connect(self, peer: Any = PROXY) -> Fake:
        return Fake(self.factory.buildProtocol(peer), peer)

    def assert_refused(self, transport: Fake, reason: str) -> None:
        self.assertTrue(transport.aborted)
        self.assertEqual([(told, peer) for told, peer, _ in self.refusals], [(reason, Peer("10.0.0.1", 5000))])
        self.assertEqual(self.inner.made, [])
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        self.assertEqual(self.factory.pending, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_interface(self) -> None:
        verifyObject(IProtocolFactory, self.factory)

    def test_the_inner_protocol_gets_the_real_address_and_the_rest(self) -> None:
        for header in (LINE, BINARY):
            transport = self.connect()
            transport.arrive(header + b"rest")
            transport.arrive(b"more")
            inner = self.inner.made[-1]
            self.assertEqual((inner.addr.host, inner.addr.port), ("192.0.2.1", 56324))
            self.assertEqual(inner.peer_at_start, inner.addr)
            self.assertEqual(transport.getPeer(), inner.addr)
            self.assertIs(inner.transport, transport)
            self.assertIs(transport.protocol, inner)
            self.assertEqual(inner.received, [b"rest", b"more"])
        self.assertEqual(self.refusals, [])
        self.assert_nothing_left()

    def test_byte_by_byte(self) -> None:
        for header in (LINE, BINARY):
            transport = self.connect()
            transport.arrive(*(bytes([byte]) for byte in header + b"ab"))
            self.assertEqual(self.inner.made[-1].received, [b"a", b"b"])

    def test_no_bytes_behind_the_header_are_no_chunk(self) -> None:
        self.connect().arrive(BINARY)
        self.assertEqual(self.inner.made[0].received, [])

    def test_addresses(self) -> None:
        for source, told in (
            (Address("2001:db8::9", 7), IPv6Address("TCP", "2001:db8::9", 7)),
            (Address("::ffff:192.0.2.9", 7), IPv4Address("TCP", "192.0.2.9", 7)),
            (b"/run/device", UNIXAddress(b"/run/device")),
            (b"", UNIXAddress(None)),
            (None, PROXY),
        ):
            with self.subTest(source=source):
                transport = self.connect()
                transport.arrive(encode(Header(source, source)))
                self.assertEqual(self.inner.made[-1].addr, told)
                self.assertEqual(transport.getPeer(), told)

    def test_a_proxy_that_speaks_for_itself_keeps_its_address(self) -> None:
        for header in (b"PROXY UNKNOWN\r\n", encode(Header())):
            self.connect().arrive(header)
            self.assertEqual(self.inner.made[-1].addr, PROXY)

    def test_junk(self) -> None:
        transport = self.connect()
        transport.arrive(wire.connect(), b"more", BINARY)
        self.assert_refused(transport, "proxy_header")
        self.assertEqual(self.refusals[0][2], "it begins with no header")

    def test_a_header_that_goes_wrong_late(self) -> None:
        transport = self.connect()
        transport.arrive(LINE[:20], b" nonsense\r\n")
        self.assert_refused(transport, "proxy_header")

    def test_length_65535_is_refused_at_the_length(self) -> None:
        transport = self.connect()
        transport.arrive(BINARY[:14] + b"\xff\xff")
        self.assert_refused(transport, "proxy_header")

    def test_an_unfinished_header_is_bounded(self) -> None:
        transport = self.connect()
        reader = transport.protocol
        transport.arrive(BINARY[:14] + (MAX_HEADER - 16).to_bytes(2, "big"), BINARY[16:28])
        for _ in range(MAX_HEADER // 1000):
            transport.arrive(bytes(1000))
            self.assertLess(len(reader._data), MAX_HEADER)

    def test_proxy_header_not_in_time(self) -> None:
        transport = self.connect()
        self.clock.advance(2.9)
        self.assertFalse(transport.aborted)
        transport.arrive(BINARY[:-1])
        self.clock.advance(0.1)
        self.assert_refused(transport, "proxy_timeout")
        transport.arrive(BINARY[-1:])
        self.assertEqual(self.inner.made, [])
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.refusals), 1)

    def test_no_time_counts_behind_the_header(self) -> None:
        transport = self.connect()
        transport.arrive(LINE)
        self.clock.advance(60)
        self.assertFalse(transport.aborted)

    def test_a_probe_that_leaves_is_nothing_to_tell(self) -> None:
        for sent in (b"", BINARY[:5]):
            transport = self.connect()
            transport.arrive(sent)
            transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.refusals, self.inner.made), ([], []))
        self.assert_nothing_left()

    def test_the_end_is_told_to_the_inner_protocol(self) -> None:
        transport = self.connect()
        transport.arrive(LINE)
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.inner.made[0].lost), 1)

    def test_a_limit_of_the_inner_factory(self) -> None:
        self.inner.full = True
        transport = self.connect()
        transport.arrive(LINE)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.refusals, [])  # the inner factory has told
        self.assert_nothing_left()

    def test_strangers(self) -> None:
        for peer in (
            IPv4Address("TCP", "10.0.1.1", 5000), IPv6Address("TCP", "2001:db9::1", 1), UNIXAddress(b"/run/a"), None,
        ):  # fmt: skip
            self.assertIsNone(self.factory.buildProtocol(peer))
        self.assertEqual({reason for reason, _, _ in self.refusals}, {"proxy_untrusted"})
        self.assertEqual(self.refusals[0][1], Peer("10.0.1.1", 5000))
        self.assertEqual(self.inner.made, [])

    def test_strangers_may_be_served_as_they_are(self) -> None:
        self.factory = self.wrapped(required=False)
        stranger = IPv4Address("TCP", "10.0.1.1", 5000)
        transport = self.connect(stranger)
        transport.arrive(LINE)
        self.assertEqual(self.inner.made[0].addr, stranger)
        self.assertEqual(self.inner.made[0].received, [LINE])  # believed nothing

    def test_trusted_in_other_forms(self) -> None:
        for peer in (IPv6Address("TCP", "2001:db8::1", 1), IPv6Address("TCP", "::ffff:10.0.0.7", 1)):
            transport = self.connect(peer)
            transport.arrive(LINE)
            self.assertEqual(self.inner.made[-1].addr.host, "192.0.2.1")

    def test_more_than_may_wait(self) -> None:
        self.factory = self.wrapped(max_pending=2)
        first = self.connect()
        self.connect()
        self.assertIsNone(self.factory.buildProtocol(PROXY))
        self.assertEqual([reason for reason, _, _ in self.refusals], ["max_connections"])
        first.arrive(LINE)
        self.connect()
        self.assertEqual(len(self.refusals), 1)

    def test_closing_ends_who_still_waits(self) -> None:
        self.factory.doStart()
        self.assertEqual(self.inner.state, "started")
        waiting, served = self.connect(), self.connect()
        served.arrive(LINE)
        self.factory.doStop()
        self.assertEqual(self.inner.state, "stopped")
        self.assertTrue(waiting.aborted)
        self.assertFalse(served.aborted)
        self.assertEqual(self.refusals, [])
        self.assert_nothing_left()


class Sessions(Handler):
    """Keeps the sessions, and on what transport their device is."""

    def __init__(self) -> None:
        self.seen: list[Session] = []

    def auth_connect(self, session: Session) -> None:
        self.seen.append(session)


class ProxiedGatewayTest(GatewayTest):
    """Sockets: a gateway behind a proxy."""

    async def proxied(self, gateway: Gateway, *trusted: str, timeout: float = PATIENCE) -> int:
        """A port in front of a gateway that only these may use; what it refuses is in `self.refusals`."""
        self.refusals: list[str] = []
        factory = ProxiedFactory(
            gateway.factory, networks(*trusted), reactor, timeout=timeout,
            refused=lambda reason, peer, text: self.refusals.append(reason),
        )  # fmt: skip
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: port.stopListening() or succeed(None))
        return int(port.getHost().port)

    async def device(self, gateway: Gateway, port: int) -> RawDevice:
        device = RawDevice()
        gateway.devices.append(device)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), device)
        return device

    async def test_the_session_has_the_real_address(self) -> None:
        handler = Sessions()
        gateway = await self.gateway(handler)
        device = await self.device(gateway, await self.proxied(gateway, "127.0.0.0/8"))
        device.send(BINARY + wire.connect(client_id="far"))
        self.assertEqual(await device.read_packet(), wire.connack())
        self.assertEqual(handler.seen[0].peer, Peer("192.0.2.1", 56324))
        (protocol,) = gateway.factory.open
        self.assertIsInstance(protocol.transport, Connection)  # so that the link may write to the socket itself
        self.assertIs(protocol.transport.protocol, protocol)
        events = [fields["peer"] for name, fields in gateway.journal.events if name == "connect"]
        self.assertEqual(events, [Peer("192.0.2.1", 56324)])

    async def test_segments_and_packets_behind(self) -> None:
        gateway = await self.gateway()
        device = await self.device(gateway, await self.proxied(gateway, "127.0.0.1"))
        device.send(LINE[:10])
        device.send(LINE[10:] + wire.connect() + wire.PINGREQ)
        uplink = await gateway.target.accepted()
        await uplink.expect(wire.PINGREQ)

    async def test_limits_count_by_the_real_address(self) -> None:
        gateway = await self.gateway(limits=Limits(max_connections_per_address=1))
        port = await self.proxied(gateway, "127.0.0.1")
        first = await self.device(gateway, port)
        first.send(LINE + wire.connect())
        self.assertEqual(await first.read_packet(), wire.connack())
        same = await self.device(gateway, port)
        same.send(LINE + wire.connect())
        self.assertEqual(await same.read_until_closed(), b"")
        other = await self.device(gateway, port)
        other.send(LINE.replace(b"192.0.2.1", b"192.0.2.2") + wire.connect())
        self.assertEqual(await other.read_packet(), wire.connack())
        (reason, _, fields), = gateway.journal.rejects
        self.assertEqual((reason, fields["peer"].host), ("max_connections_per_address", "192.0.2.1"))

    async def test_a_stranger_with_a_header_is_closed(self) -> None:
        gateway = await self.gateway()
        device = await self.device(gateway, await self.proxied(gateway, "192.0.2.0/24"))
        device.send(LINE + wire.connect())
        self.assertEqual(await device.read_until_closed(), b"")
        self.assertEqual(self.refusals, ["proxy_untrusted"])
        self.assertEqual(gateway.target.sides, [])

    async def test_a_header_where_none_is_expected_reaches_no_target(self) -> None:
        gateway = await self.gateway()
        for header in (LINE, BINARY):
            device = await gateway.device()
            device.send(header + wire.connect())
            self.assertEqual(await device.read_until_closed(), b"")
        self.assertEqual(gateway.target.sides, [])

    async def test_silence(self) -> None:
        gateway = await self.gateway()
        silent = await self.device(gateway, await self.proxied(gateway, "127.0.0.1", timeout=0.05))
        self.assertEqual(await silent.read_until_closed(), b"")
        self.assertEqual(self.refusals, ["proxy_timeout"])
        self.assertEqual(gateway.target.sides, [])

    async def test_junk(self) -> None:
        gateway = await self.gateway()
        junk = await self.device(gateway, await self.proxied(gateway, "127.0.0.1"))
        junk.send(wire.connect())
        self.assertEqual(await junk.read_until_closed(), b"")
        self.assertEqual(self.refusals, ["proxy_header"])
        self.assertEqual(gateway.target.sides, [])
