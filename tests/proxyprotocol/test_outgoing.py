"""What a target is told of a device, and that it is told before everything else."""

from __future__ import annotations

import socket
from typing import Any
from unittest import mock

from twisted.internet import reactor as installed_reactor
from twisted.internet import ssl
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mgate.flow import Side
from mgate.proxyprotocol.encode import encode
from mgate.proxyprotocol.header import MAX_HEADER, Address, Header, Ssl, SslClient, read
from mgate.proxyprotocol.outgoing import Device, HeaderFirst, Introducing, device_of, header_for
from mgate.session import Peer, Session
from mgate.testing.authority import Authority
from mgate.tls.identity import identify
from tests.gateway import Wire, eventually
from tests.processes import free_port

reactor: Any = installed_reactor

PEER, LOCAL = Peer("192.0.2.1", 56324), Peer("198.51.100.7", 8883)
SOURCE, DESTINATION = Address(*PEER), Address(*LOCAL)


def told(device: Device) -> Header:
    found = read(header_for(device))
    assert found is not None
    return found.header


class Transport(StringTransport):
    """Of a device."""

    def __init__(self) -> None:
        super().__init__(hostAddress=IPv4Address("TCP", *LOCAL))


def tls_transport() -> Any:
    """Of a device that speaks TLS."""
    creator = ssl.CertificateOptions()
    transport = TLSMemoryBIOFactory(creator, True, Factory.forProtocol(Protocol), Clock()).buildProtocol(None)
    transport.makeConnection(Transport())
    return transport


class HeaderTest(SynchronousTestCase):
    """From a device to the header."""

    def test_addresses(self) -> None:
        self.assertEqual(told(Device(PEER, LOCAL)), Header(SOURCE, DESTINATION))

    def test_a_device_that_is_gone_already(self) -> None:
        self.assertEqual(told(Device(PEER)), Header(SOURCE, Address("0.0.0.0", 0)))
        self.assertEqual(told(Device(Peer("2001:db8::1", 1))), Header(Address("2001:db8::1", 1), Address("::", 0)))

    def test_a_device_of_no_address_is_local(self) -> None:
        self.assertEqual(header_for(Device(Peer("", 0), LOCAL)), encode(Header()))

    def test_tls_without_a_certificate(self) -> None:
        ssl = told(Device(PEER, LOCAL, "TLSv1.2")).ssl
        self.assertEqual(ssl, Ssl(SslClient.SSL, 1, "TLSv1.2"))

    def test_tls_with_a_certificate(self) -> None:
        ssl = told(Device(PEER, LOCAL, "TLSv1.3", "sensor", True)).ssl
        client = SslClient.SSL | SslClient.CERT_CONN | SslClient.CERT_SESS
        self.assertEqual(ssl, Ssl(client, 0, "TLSv1.3", "sensor"))

    def test_what_is_known_of_no_address_is_still_told(self) -> None:
        header = told(Device(Peer("", 0), None, "TLSv1.3", "sensor", True))
        self.assertIsNone(header.source)
        assert header.ssl is not None
        self.assertEqual(header.ssl.common_name, "sensor")


class DeviceTest(SynchronousTestCase):
    """From a session and a transport to the facts."""

    def test_plain(self) -> None:
        self.assertEqual(device_of(Session(peer=PEER), Transport()), Device(PEER, LOCAL))

    def test_gone(self) -> None:
        self.assertEqual(device_of(Session(peer=PEER), None), Device(PEER))

    def test_unix(self) -> None:
        transport = Transport()
        transport.hostAddr = UNIXAddress(b"/run/mgate")
        self.assertEqual(device_of(Session(), transport).local, Peer("", 0))

    def test_tls(self) -> None:
        transport = tls_transport()
        identity = identify(Authority.root("root").issue("sensor-7").certificate)
        device = device_of(Session(peer=PEER, certificate=identity), transport)
        self.assertEqual(device[3:], ("sensor-7", True))
        self.assertEqual(device.tls_version, transport.getHandle().get_protocol_version_name())

    def test_a_name_is_cut(self) -> None:
        identity = mock.Mock(common_name="\N{GREEK SMALL LETTER ALPHA}" * 60_000)
        device = device_of(Session(peer=PEER, certificate=identity), None)
        self.assertLess(len(header_for(device)), MAX_HEADER)
        self.assertTrue(device.common_name)


class Target(Factory):
    """Keeps its connections."""

    noisy = False

    def __init__(self) -> None:
        self.sides: list[Wire] = []

    def buildProtocol(self, addr: Any) -> Wire:
        self.sides.append(Wire())
        return self.sides[-1]


class Link(Factory):
    """What a link is to an endpoint: a factory, that says who it is for."""

    noisy = False

    def __init__(self, protocol: Any = None) -> None:
        self.joined = Joined() if protocol is None else protocol
        self.asked = 0

    def buildProtocol(self, addr: Any) -> Any:
        return self.joined

    def introduced(self) -> Device:
        self.asked += 1
        return Device(PEER, LOCAL)


class Joined(Protocol):
    """The target's side of a link, which writes at once and past its transport."""

    def __init__(self) -> None:
        self.side = Side(1024)
        self.received = b""
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.side.attach(self.transport)
        self.side.write([b"CONNECT"])

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.side.detach()
        self.lost.callback(None)


@implementer(IStreamClientEndpoint)
class Wrapping:
    """What TLS is to an `Introducing`: an endpoint around the one that it is given."""

    def __init__(self, endpoint: IStreamClientEndpoint, seen: list[object]) -> None:
        self.endpoint = endpoint
        self.seen = seen

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.seen += [self.endpoint, protocolFactory]
        connected: Deferred[Any] = self.endpoint.connect(protocolFactory)
        return connected


class DialTest(TestCase):
    """Sockets."""

    timeout = 30

    def target(self) -> tuple[Target, TCP4ClientEndpoint]:
        target = Target()
        port = reactor.listenTCP(0, target, interface="127.0.0.1")
        self.addCleanup(lambda: port.stopListening() or succeed(None))
        return target, TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)

    async def test_the_header_is_first_and_nothing_stays_between(self) -> None:
        target, endpoint = self.target()
        link = Link()
        introducing = Introducing(endpoint)
        verifyObject(IStreamClientEndpoint, introducing)
        verifyObject(IStreamClientEndpoint, HeaderFirst(endpoint, b""))
        joined = await introducing.connect(link)
        self.assertIs(joined, link.joined)
        self.assertEqual(link.asked, 1)
        self.assertIsInstance(joined.transport, Connection)
        self.assertIs(joined.transport.protocol, joined)
        expected = encode(Header(SOURCE, DESTINATION)) + b"CONNECT"
        await eventually(lambda: bool(target.sides), lambda: "nobody has connected")
        side = target.sides[0]
        await side.until(lambda: len(side.received) >= len(expected), "header and packet")
        self.assertEqual(bytes(side.received), expected)
        side.send(b"CONNACK")
        await eventually(lambda: joined.received == b"CONNACK", lambda: f"received {joined.received!r}")
        side.close()
        await joined.lost

    async def test_what_stands_above_gets_what_sends_the_header(self) -> None:
        target, endpoint = self.target()
        link = Link()
        seen: list[Any] = []
        joined = await Introducing(endpoint, lambda first: Wrapping(first, seen)).connect(link)
        self.assertIsInstance(seen[0], HeaderFirst)
        self.assertIs(seen[1], link)
        self.assertIs(joined, link.joined)
        joined.transport.abortConnection()
        await joined.lost

    async def test_nobody_listens(self) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", free_port())
        await self.assertFailure(Introducing(endpoint).connect(Link()), ConnectionRefusedError)

    async def test_a_header_that_does_not_leave_connects_nobody(self) -> None:
        target, endpoint = self.target()
        for trouble in (mock.Mock(return_value=5), mock.Mock(side_effect=OSError)):
            link = Link()
            handle = mock.Mock(spec=socket.socket, send=trouble)
            with mock.patch.object(Connection, "getHandle", return_value=handle):
                failure = await self.assertFailure(HeaderFirst(endpoint, bytes(10)).connect(link), ConnectError)
            self.assertIn("PROXY header", str(failure))
            self.assertIsNone(link.joined.transport)
        await eventually(
            lambda: len(target.sides) == 2 and all(side.closed for side in target.sides),
            lambda: f"{len(target.sides)} connections, open: {[not side.closed for side in target.sides]}",
        )
        self.assertEqual([bytes(side.received) for side in target.sides], [b"", b""])


class MemoryTest(SynchronousTestCase):
    """A transport that is no socket, as those of other tests are."""

    def dial(self, protocol: Any) -> tuple[Deferred[Any], Any]:
        memory = MemoryReactorClock()
        link = Link(protocol)
        link.joined = protocol
        dialled = HeaderFirst(TCP4ClientEndpoint(memory, "192.0.2.1", 1), b"header").connect(link)
        return dialled, memory.tcpClients[0][2]

    def test_the_header_is_written(self) -> None:
        protocol = Protocol()
        dialled, factory = self.dial(protocol)
        transport = StringTransport()
        factory.doStart()
        factory.buildProtocol(None).makeConnection(transport)
        factory.doStop()
        self.assertIs(self.successResultOf(dialled), protocol)
        self.assertEqual(transport.value(), b"header")
        self.assertIs(transport.protocol, protocol)  # type: ignore[attr-defined]

    def test_nobody_wants_the_connection(self) -> None:
        memory = MemoryReactorClock()
        link = Link()
        link.joined = None
        dialled = HeaderFirst(TCP4ClientEndpoint(memory, "192.0.2.1", 1), b"header").connect(link)
        memory.tcpClients[0][2].buildProtocol(None)
        self.failureResultOf(dialled)
