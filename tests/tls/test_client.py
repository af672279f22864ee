"""TLS towards a target: whom the gateway believes, what it shows, and that nothing is sent before."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import reactor as installed_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mgate.dialling import Watched
from mgate.errors import ConfigError
from mgate.proxyprotocol.outgoing import Device, Introducing, device_of
from mgate.proxyprotocol.wrapper import ProxiedFactory
from mgate.session import Peer, Session
from mgate.testing.authority import Authority
from mgate.tls import client
from mgate.tls.client import HandshakeFailed, TargetConnections, TargetEndpoint
from mgate.tls.settings import TargetTls
from tests.gateway import PATIENCE, Wire, eventually
from tests.processes import free_port

reactor: Any = installed_reactor

SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
DAY = timedelta(days=1)

ROOT = Authority.root("root")
INTERMEDIATE = ROOT.intermediate("intermediate")
FOREIGN = Authority.root("foreign")
GOOD = INTERMEDIATE.issue("good", names=["broker.example"], usage=SERVER)
CLIENT = INTERMEDIATE.issue("gateway")

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


@implementer(IOpenSSLServerConnectionCreator)
class Target(Factory):
    """A TLS server that keeps its connections, and the names that it was asked for."""

    noisy = False

    def __init__(self, credential: Any, version: int, clients: Authority | None = None) -> None:
        self.sides: list[Wire] = []
        self.asked: list[bytes | None] = []
        self.shown: list[str] = []
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.set_min_proto_version(version)
        self.context.set_max_proto_version(version)
        first, *chain = x509.load_pem_x509_certificates(credential.pem)
        self.context.use_certificate(first)
        for certificate in chain:
            self.context.add_extra_chain_cert(certificate)
        self.context.use_privatekey(credential.key)
        self.context.set_tlsext_servername_callback(lambda connection: self.asked.append(connection.get_servername()))
        if clients is not None:
            store = self.context.get_cert_store()
            assert store is not None
            store.add_cert(X509.from_cryptography(clients.credential.certificate))
            self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verified)

    def _verified(self, connection: Any, certificate: X509, error: int, depth: int, ok: int) -> bool:
        (name,) = certificate.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        self.shown.append(str(name.value))
        return bool(ok)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context, None)

    def buildProtocol(self, addr: Any) -> Wire:
        self.sides.append(Wire())
        return self.sides[-1]


class Link(Factory):
    """What a link is to an endpoint."""

    noisy = False

    def __init__(self) -> None:
        self.built: list[Joined] = []

    def buildProtocol(self, addr: Any) -> Joined:
        self.built.append(Joined())
        return self.built[-1]

    def introduced(self) -> Device:
        return Device(Peer("192.0.2.1", 56324), Peer("198.51.100.7", 8883))


class Joined(Protocol):
    """The target's side of a link: writes as soon as it can."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[Any] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(b"CONNECT")

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)


class Files:
    """Files of one test."""

    def __init__(self, test: Any) -> None:
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name: str, content: bytes, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def root(self, authority: Authority = ROOT) -> str:
        return self.write(f"{authority.name}.pem", authority.credential.pem)

    def mutual(self, credential: Any = CLIENT) -> dict[str, str]:
        return {
            "cert_file": self.write("gateway.pem", credential.pem),
            "key_file": self.write("gateway.key", credential.key_pem),
        }


class HandshakeTest(TestCase):
    """Sockets, in TLS 1.2 and 1.3."""

    timeout = 30

    def setUp(self) -> None:
        self.files = Files(self)
        self.reports: list[str] = []

    def listen(self, factory: Any) -> int:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: port.stopListening() or succeed(None))
        return int(port.getHost().port)

    def serve(self, target: Target) -> int:
        return self.listen(TLSMemoryBIOFactory(target, False, target, reactor))

    def endpoint(
        self, port: int, settings: TargetTls | None = None, host: str = "broker.example", timeout: float = PATIENCE
    ) -> TargetEndpoint:
        connections = TargetConnections(settings or TargetTls(ca_file=self.files.root()), host)
        below = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        return TargetEndpoint(connections, below, reactor, timeout=timeout, report=self.reports.append)

    async def check_joins(self, target: Target, **dial: Any) -> Joined:
        link = Link()
        joined: Joined = await self.endpoint(self.serve(target), **dial).connect(link)
        self.assertIs(joined, link.built[0])
        await eventually(lambda: bool(target.sides), lambda: "no connection")
        side = target.sides[0]
        await side.until(lambda: side.received == b"CONNECT", "CONNECT")
        side.send(b"CONNACK")
        await eventually(lambda: joined.received == b"CONNACK", lambda: f"received {joined.received!r}")
        side.close()
        await joined.lost
        self.assertEqual(self.reports, [])
        return joined

    async def check_refuses(self, target: Target, why: str, **dial: Any) -> None:
        link = Link()
        reports: list[str] = []
        watched = Watched(self.endpoint(self.serve(target), **dial), PATIENCE, reactor, reports.append)
        failure = await self.assertFailure(watched.connect(link), HandshakeFailed)
        self.assertEqual(str(failure), f"TLS handshake: {why}")
        self.assertEqual(reports, [f"TLS handshake: {why}"])
        self.assertEqual(link.built, [])
        await eventually(lambda: all(side.closed for side in target.sides), lambda: "it stays open")
        self.assertEqual([bytes(side.received) for side in target.sides], [b""] * len(target.sides))

    async def test_good(self) -> None:
        for version in VERSIONS:
            target = Target(GOOD, version)
            await self.check_joins(target)
            self.assertEqual(target.asked, [b"broker.example"])

    async def test_another_name_by_configuration(self) -> None:
        target = Target(GOOD, SSL.TLS1_3_VERSION)
        settings = TargetTls(ca_file=self.files.root(), server_name="broker.example")
        await self.check_joins(target, settings=settings, host="127.0.0.1")
        self.assertEqual(target.asked, [b"broker.example"])

    async def test_a_dot_at_the_end_is_no_part_of_the_name(self) -> None:
        target = Target(GOOD, SSL.TLS1_3_VERSION)
        await self.check_joins(target, host="broker.example.")
        self.assertEqual(target.asked, [b"broker.example"])

    async def test_addresses(self) -> None:
        credential = INTERMEDIATE.issue("by address", names=["127.0.0.1", "::1", "fe80::1"], usage=SERVER)
        for host in ("127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "fe80::1%lo"):
            target = Target(credential, SSL.TLS1_3_VERSION)
            await self.check_joins(target, host=host)
            self.assertEqual(target.asked, [None])

    async def test_wrong_name(self) -> None:
        for version in VERSIONS:
            await self.check_refuses(
                Target(GOOD, version), "its certificate is not for other.example", host="other.example"
            )
        await self.check_refuses(Target(GOOD, version), "its certificate is not for 127.0.0.1", host="127.0.0.1")

    async def test_a_name_in_the_subject_only(self) -> None:
        """RFC 9525 section 6.4: the common name is none to verify by."""
        for version in VERSIONS:
            credential = INTERMEDIATE.issue("broker.example", usage=SERVER)
            await self.check_refuses(Target(credential, version), "its certificate is not for broker.example")

    async def test_expired(self) -> None:
        credential = INTERMEDIATE.issue(
            "old", names=["broker.example"], usage=SERVER, not_before=-2 * DAY, not_after=-DAY
        )
        for version in VERSIONS:
            await self.check_refuses(Target(credential, version), "its certificate has expired")

    async def test_not_yet_valid(self) -> None:
        credential = INTERMEDIATE.issue("new", names=["broker.example"], usage=SERVER, not_before=DAY)
        await self.check_refuses(Target(credential, SSL.TLS1_3_VERSION), "its certificate is not valid yet")

    async def test_not_for_servers(self) -> None:
        credential = INTERMEDIATE.issue("client", names=["broker.example"])
        await self.check_refuses(Target(credential, SSL.TLS1_3_VERSION), "its certificate is not for servers")

    async def test_unknown_authority(self) -> None:
        credential = FOREIGN.issue("foreign", names=["broker.example"], usage=SERVER)
        for version in VERSIONS:
            await self.check_refuses(Target(credential, version), "its certificate is of an unknown authority")

    async def test_a_lower_authority_may_be_trusted_alone(self) -> None:
        file = self.files.write("lower.pem", INTERMEDIATE.credential.certificate.public_bytes(Encoding.PEM))
        await self.check_joins(Target(GOOD, SSL.TLS1_3_VERSION), settings=TargetTls(ca_file=file))

    async def test_a_certificate_may_be_trusted_itself(self) -> None:
        file = self.files.write("own.pem", GOOD.certificate.public_bytes(Encoding.PEM))
        await self.check_joins(Target(GOOD, SSL.TLS1_3_VERSION), settings=TargetTls(ca_file=file))

    async def test_the_authorities_of_the_machine_do_not_know_ours(self) -> None:
        await self.check_refuses(
            Target(GOOD, SSL.TLS1_3_VERSION),
            "the certificate 1 above its own is of an unknown authority",
            settings=TargetTls(),
        )

    async def test_old_versions(self) -> None:
        target = Target(GOOD, SSL.TLS1_1_VERSION)
        target.context.set_cipher_list(b"ALL:@SECLEVEL=0")
        link = Link()
        await self.assertFailure(self.endpoint(self.serve(target)).connect(link), HandshakeFailed)
        self.assertEqual(link.built, [])

    async def test_a_client_certificate_with_its_chain(self) -> None:
        """The target knows the root only."""
        for version in VERSIONS:
            target = Target(GOOD, version, ROOT)
            settings = TargetTls(ca_file=self.files.root(), **self.files.mutual())
            await self.check_joins(target, settings=settings)
            self.assertEqual(target.shown, ["root", "intermediate", "gateway"])

    async def test_a_client_certificate_that_is_missing_in_tls_1_2(self) -> None:
        target = Target(GOOD, SSL.TLS1_2_VERSION, ROOT)
        link = Link()
        failure = await self.assertFailure(self.endpoint(self.serve(target)).connect(link), HandshakeFailed)
        self.assertIn("alert", str(failure))
        self.assertEqual(link.built, [])

    async def test_a_client_certificate_that_is_missing_in_tls_1_3(self) -> None:
        """The target says so when we are done already (RFC 8446 section 4.4.2.4): it is reported."""
        target = Target(GOOD, SSL.TLS1_3_VERSION, ROOT)
        joined = await self.endpoint(self.serve(target)).connect(Link())
        await joined.lost
        self.assertEqual(len(self.reports), 1)
        self.assertIn("certificate required", self.reports[0])
        self.assertEqual([bytes(side.received) for side in target.sides], [b""])

    async def test_a_silent_target(self) -> None:
        silent = Factory.forProtocol(Wire)
        link = Link()
        failure = await self.assertFailure(
            self.endpoint(self.listen(silent), timeout=0.05).connect(link), TimeoutError
        )
        self.assertEqual(str(failure), "no TLS handshake in 0.05 s")
        self.assertEqual(link.built, [])

    async def test_a_target_that_closes(self) -> None:
        class Closing(Protocol):
            def connectionMade(self) -> None:
                self.transport.loseConnection()

        failure = await self.assertFailure(
            self.endpoint(self.listen(Factory.forProtocol(Closing))).connect(Link()), HandshakeFailed
        )
        self.assertEqual(str(failure), "TLS handshake: it closed the connection")

    async def test_a_target_that_speaks_plain_text(self) -> None:
        """It gets a hello, and nothing in plain text after it."""
        class Plain(Wire):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        plain: list[Plain] = []

        class Plains(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Plain:
                plain.append(Plain())
                return plain[-1]

        failure = await self.assertFailure(self.endpoint(self.listen(Plains())).connect(Link()), HandshakeFailed)
        self.assertIn("wrong version number", str(failure))
        await eventually(lambda: plain[0].closed, lambda: "it stays open")
        self.assertNotIn(b"CONNECT", plain[0].received)

    async def test_nobody_listens(self) -> None:
        await self.assertFailure(self.endpoint(free_port()).connect(Link()), ConnectionRefusedError)

    async def test_who_gives_up_while_it_dials(self) -> None:
        dialling = self.endpoint(self.serve(Target(GOOD, SSL.TLS1_3_VERSION))).connect(Link())
        dialling.cancel()
        await self.assertFailure(dialling, CancelledError)

    async def test_who_gives_up_in_the_handshake(self) -> None:
        sides: list[Wire] = []

        class Silent(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Wire:
                sides.append(Wire())
                return sides[-1]

        link = Link()
        dialling = self.endpoint(self.listen(Silent())).connect(link)
        await eventually(lambda: bool(sides), lambda: "no connection")
        await sides[0].until(lambda: bool(sides[0].received), "hello")
        dialling.cancel()
        await self.assertFailure(dialling, CancelledError)
        await sides[0].read_until_closed()
        self.assertEqual(link.built, [])

    async def test_a_proxy_header_goes_below(self) -> None:
        """It is read below TLS again, by what reads it in front of our own listeners."""
        target = Target(GOOD, SSL.TLS1_3_VERSION)
        proxied = ProxiedFactory(
            TLSMemoryBIOFactory(target, False, target, reactor), [ip_network("127.0.0.1")], reactor,
            timeout=PATIENCE, refused=self.fail,
        )  # fmt: skip
        connections = TargetConnections(TargetTls(ca_file=self.files.root()), "broker.example")
        endpoint = Introducing(
            TCP4ClientEndpoint(reactor, "127.0.0.1", self.listen(proxied)),
            lambda below: TargetEndpoint(connections, below, reactor, timeout=PATIENCE, report=self.reports.append),
        )
        joined = await endpoint.connect(Link())
        side = target.sides[0]
        await side.until(lambda: side.received == b"CONNECT", "CONNECT")
        self.assertEqual(side.transport.getPeer(), IPv4Address("TCP", "192.0.2.1", 56324))
        self.assertEqual(device_of(Session(), side.transport).tls_version, "TLSv1.3")
        side.close()
        await joined.lost

    async def test_a_link_that_wants_the_connection_no_more(self) -> None:
        class Nobody(Link):
            def buildProtocol(self, addr: Any) -> Any:
                return None

        target = Target(GOOD, SSL.TLS1_3_VERSION)
        await self.assertFailure(self.endpoint(self.serve(target)).connect(Nobody()), HandshakeFailed)
        await eventually(lambda: all(side.closed for side in target.sides), lambda: "it stays open")

    async def test_what_goes_wrong_while_a_certificate_is_read_refuses(self) -> None:
        with mock.patch.object(client, "extract_patterns", side_effect=IndexError):
            await self.check_refuses(
                Target(GOOD, SSL.TLS1_3_VERSION), "its certificate cannot be read: IndexError"
            )


class DialTest(SynchronousTestCase):
    """Without sockets: what a link may do meanwhile."""

    def setUp(self) -> None:
        self.memory = MemoryReactorClock()
        connections = TargetConnections(TargetTls(), "broker.example")
        verifyObject(IOpenSSLClientConnectionCreator, connections)
        below = TCP4ClientEndpoint(self.memory, "192.0.2.1", 8883)
        self.endpoint = TargetEndpoint(connections, below, self.memory, timeout=3.0, report=self.fail)

    def test_interface(self) -> None:
        verifyObject(IStreamClientEndpoint, self.endpoint)

    def test_the_handshake_is_bounded_from_the_connection_on(self) -> None:
        dialled = self.endpoint.connect(Link())
        self.memory.advance(2.0)
        transport = StringTransport()
        self.memory.tcpClients[0][2].doStart()
        self.memory.tcpClients[0][2].buildProtocol(None).makeConnection(transport)
        self.assertTrue(transport.value().startswith(b"\x16\x03"))  # a hello, and no plain text
        self.memory.advance(2.9)
        self.assertNoResult(dialled)
        self.memory.advance(0.2)
        self.failureResultOf(dialled, TimeoutError)
        self.assertTrue(transport.disconnected)
        self.memory.tcpClients[0][2].doStop()

    def test_a_hello_carries_no_context_of_another_target(self) -> None:
        """Each target has its own context: names, files and callbacks are not shared."""
        settings = TargetTls()
        first, second = TargetConnections(settings, "a.example"), TargetConnections(settings, "b.example")
        for connections, name in ((first, b"a.example"), (second, b"b.example")):
            connection = connections.clientConnectionForTLS(None)
            with self.assertRaises(SSL.WantReadError):
                connection.do_handshake()
            self.assertIn(name, connection.bio_read(4096))


class ConfigurationTest(SynchronousTestCase):
    """Files and names that cannot be used."""

    def setUp(self) -> None:
        self.files = Files(self)

    def check(self, *problems: str, host: str = "broker.example", **settings: str) -> None:
        with self.assertRaises(ConfigError) as caught:
            TargetConnections(TargetTls(**settings), host)
        found = caught.exception.problems
        self.assertEqual(len(found), len(problems), found)
        for line, problem in zip(found, problems, strict=True):
            self.assertIn(problem, line)
            self.assertNotIn("\n", line)

    def test_names(self) -> None:
        for name in ("", "a..b", "1.2.3", "a b", "x" * 300 + ".example", "."):
            self.check(f"{name!r} is neither a host name nor an IP address", host=name)

    def test_no_such_file(self) -> None:
        self.check("nowhere.pem: No such file or directory", ca_file="nowhere.pem")

    def test_no_certificates(self) -> None:
        for content in (b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            file = self.files.write("ca.pem", content)
            self.check(f"{file}: no certificate", ca_file=file)

    def test_every_file_is_told(self) -> None:
        self.check(
            "a.pem: No such file", "b.pem: No such file", "c.pem: No such file",
            ca_file="a.pem", cert_file="b.pem", key_file="c.pem",
        )  # fmt: skip

    def test_half_a_pair(self) -> None:
        mutual = self.files.mutual()
        self.check("gateway.pem: there is no key_file", cert_file=mutual["cert_file"])
        self.check("gateway.key: there is no cert_file", key_file=mutual["key_file"])

    def test_the_key_of_another(self) -> None:
        mutual = self.files.mutual()
        mutual["key_file"] = self.files.write("other.key", GOOD.key_pem)
        self.check("other.key: the certificate of this key is not in", **mutual)

    def test_a_key_that_everybody_may_read(self) -> None:
        mutual = self.files.mutual()
        os.chmod(mutual["key_file"], 0o644)
        self.check("gateway.key: others may read this key", **mutual)

    def test_an_expired_certificate(self) -> None:
        old = INTERMEDIATE.issue("old", not_before=-2 * DAY, not_after=-DAY)
        self.check("gateway.pem: the certificate has expired", **self.files.mutual(old))

    def test_a_certificate_that_openssl_does_not_take(self) -> None:
        with mock.patch.object(SSL.Context, "use_certificate", side_effect=SSL.Error([("x509", "", "bad")])):
            self.check("gateway.pem: OpenSSL refuses it: bad", **self.files.mutual())
