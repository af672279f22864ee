"""TLS listeners as devices meet them: ``openssl s_client`` on a socket, and files of every kind."""

from __future__ import annotations

import gc
import os
import shutil
import weakref
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mgate.errors import ConfigError
from mgate.limits import DEFAULT
from mgate.testing.authority import Authority
from mgate.testing.credential import DAY, Credential
from mgate.testing.pki import SERVER, Pki
from mgate.testing.responder import Responder
from mgate.tls.contexts import ServerContexts, identity_of
from mgate.tls.credentials import Files
from mgate.tls.fetch import Fetcher
from mgate.tls.revocation import RevocationChecker
from mgate.tls.settings import Revocation, ServerName, ServerTls
from mgate.tls.status import Finding
from mgate.tls.verify import session_reused
from tests.gateway import eventually
from tests.tls.handshakes import (
    FLAGS,
    GOOD,
    REVOKED,
    TLS12,
    TLS13,
    VERSIONS,
    FakeChecker,
    Handshake,
    Server,
    TlsCase,
    client_connection,
    common_name,
    each_version,
    file,
    folder,
    pki,
    reactor,
    settings,
)

COLD: dict[str, Finding | None] = {"good": None}


@implementer(IOpenSSLServerConnectionCreator)
class Reloadable:
    """What makes connections may be exchanged, as a reload does."""

    def __init__(self, current: ServerContexts) -> None:
        self.current = current

    def serverConnectionForTLS(self, protocol: Any) -> Any:
        return self.current.serverConnectionForTLS(protocol)


class Devices(TlsCase):
    """Seen by s_client."""

    async def test_good(self) -> None:
        for flag in FLAGS.values():
            server = await self.serve(checker=FakeChecker())
            spoken = await self.s_client(server, flag)
            self.assertIn("echo hello", spoken.text)
            self.assertEqual(server.echoes[0].received, b"hello\n")

    async def test_revoked(self) -> None:
        for flag in FLAGS.values():
            server = await self.serve(checker=FakeChecker({"good": REVOKED}))
            spoken = await self.s_client(server, flag)
            self.assertIn("alert certificate revoked", spoken.text)
            self.assertEqual((server.echoes[0].received, server.echoes[0].handshakes), (b"", 0))

    async def test_revoked_and_not_known_before(self) -> None:
        """TLS 1.2 is told on the first attempt, TLS 1.3 is closed then and told on the second."""
        for version, flag in FLAGS.items():
            checker = FakeChecker(COLD)
            server = await self.serve(checker=checker)
            attempt = self.s_client(server, flag)
            running = _started(attempt)
            await eventually(lambda checker=checker: bool(checker.asked), lambda: "nobody was asked")
            checker.tell(REVOKED)
            spoken = await running
            self.assertEqual("alert certificate revoked" in spoken.text, version == TLS12, spoken.text)
            checker.known["good"] = REVOKED
            self.assertIn("alert certificate revoked", (await self.s_client(server, flag)).text)
            self.assertEqual([(each.received, each.handshakes) for each in server.echoes], [(b"", 0)] * 2)

    async def test_good_and_not_known_before(self) -> None:
        for flag in FLAGS.values():
            checker = FakeChecker(COLD)
            server = await self.serve(checker=checker)
            running = _started(self.s_client(server, flag))
            await eventually(lambda checker=checker: bool(checker.asked), lambda: "nobody was asked")
            self.assertEqual(server.echoes[0].received, b"")
            checker.tell(GOOD)
            self.assertIn("echo hello", (await running).text)

    async def test_refused_by_openssl(self) -> None:
        cases = {
            "expired": "alert certificate expired", "of-unknown-ca": "alert unknown ca",
            "server-only": "alert unsupported certificate",
        }  # fmt: skip
        for flag in FLAGS.values():
            server = await self.serve()
            for client, alert in cases.items():
                self.assertIn(alert, (await self.s_client(server, flag, client=client)).text)
            self.assertEqual({bytes(each.received) for each in server.echoes}, {b""})

    async def test_no_certificate(self) -> None:
        server = await self.serve(checker=FakeChecker())
        self.assertIn("alert handshake failure", (await self.s_client(server, "-tls1_2", client=None)).text)
        self.assertIn("alert certificate required", (await self.s_client(server, "-tls1_3", client=None)).text)
        self.assertEqual({bytes(each.received) for each in server.echoes}, {b""})

    async def test_a_missing_intermediate(self) -> None:
        server = await self.serve()
        leaf = Path(self.mktemp())
        leaf.write_bytes(pki().clients["good"].certificate.public_bytes(Encoding.PEM))
        for flag in FLAGS.values():
            certificate = ("-cert", str(leaf), "-key", file("client-good.key"))
            self.assertIn("alert unknown ca", (await self.s_client(server, flag, *certificate, client=None)).text)

    async def test_no_client_certificate_is_asked_for_without_authorities(self) -> None:
        for flag in FLAGS.values():
            server = await self.serve(settings(client_ca_file=""))
            spoken = await self.s_client(server, flag, client=None)
            self.assertIn("echo hello", spoken.text)
            self.assertIn("No client certificate CA names sent", spoken.text)

    async def test_the_authorities_are_named(self) -> None:
        server = await self.serve()
        self.assertIn("Acceptable client certificate CA names", (await self.s_client(server, "-tls1_3")).text)

    async def test_old_versions_and_weak_ciphers(self) -> None:
        server = await self.serve(settings(client_ca_file=""))
        for flags in (
            ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
            ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
            ("-tls1_2", "-cipher", "NULL:eNULL:aNULL:@SECLEVEL=0"),
            ("-tls1_2", "-cipher", "AES128-GCM-SHA256:AES128-SHA"),
            ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"),
        ):
            spoken = await self.s_client(server, *flags, client=None)
            self.assertRegex(spoken.text, "alert (protocol version|handshake failure)", flags)
        self.assertEqual({bytes(each.received) for each in server.echoes}, {b""})

    async def test_each_good_cipher(self) -> None:
        made = pki().rsa_server()
        rsa_files = _write(self, made)
        for algorithm, files in (("ECDSA", (file("server.pem"), file("server.key"))), ("RSA", rsa_files)):
            server = await self.serve(ServerTls(*files))
            for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"):
                name = f"ECDHE-{algorithm}-{cipher}"
                spoken = await self.s_client(server, "-tls1_2", "-cipher", name, client=None)
                self.assertIn(f"Cipher is {name}", spoken.text)

    async def test_renegotiation_is_refused(self) -> None:
        server = await self.serve()
        spoken = await self.s_client(server, "-tls1_2", stdin=b"R\n")
        self.assertIn("RENEGOTIATING", spoken.text)
        self.assertRegex(spoken.text, "no renegotiation|alert handshake failure")

    async def test_no_session_is_resumed(self) -> None:
        for client_ca in (file("root.pem"), ""):
            for flags in (("-tls1_2",), ("-tls1_2", "-no_ticket"), ("-tls1_3",)):
                checker = FakeChecker() if client_ca else None
                server = await self.serve(settings(client_ca_file=client_ca), checker)
                session = self.mktemp()
                first = await self.s_client(server, *flags, "-sess_out", session)
                self.assertIn("echo hello", first.text)
                if "-tls1_2" in flags:
                    self.assertRegex(first.text, "Session-ID: *\n", "the listener has nothing that could be resumed")
                    self.assertFalse(os.path.exists(session))
                    continue
                again = await self.s_client(server, *flags, "-sess_in", session)
                self.assertRegex(again.text, "New, TLSv1")
                self.assertNotIn("Reused, TLSv1", again.text)
                self.assertIn("echo hello", again.text, "it is served by a full handshake")
                if checker is not None:
                    checker.known["good"] = REVOKED
                    revoked = await self.s_client(server, *flags, "-sess_in", session)
                    self.assertIn("alert certificate revoked", revoked.text)

    @each_version
    def test_a_session_of_yesterday_is_asked_about_today(self, version: int) -> None:
        other = (ServerName(file("other-server.pem"), file("other-server.key")),)
        for tls in (settings(), settings(client_ca_file=""), settings(server_name=other)):
            checker = FakeChecker()
            creator, refusals = self.contexts(tls, checker)
            client = client_connection(version, pki().clients["good"])
            first = Handshake(creator, client).run(b"hello")
            self.assertEqual(first.echo.received, b"hello")
            session = client.get_session()
            assert session is not None
            checker.known["good"] = REVOKED
            again = SSL.Connection(client.get_context())
            again.set_connect_state()
            again.set_session(session)
            second = Handshake(creator, again).run(b"hello\n")
            if tls.client_ca_file:
                self.assertIn("certificate revoked", second.alert)
                self.assertEqual((second.echo.handshakes, refusals.reasons), (0, ["tls_revoked"]))
            else:
                self.assertEqual(second.received, b"echo hello\n", "it is served by a full handshake")
                self.assertFalse(session_reused(again))

    async def test_early_data_is_never_taken(self) -> None:
        server = await self.serve(settings(client_ca_file=""))
        session, early = self.mktemp(), Path(self.mktemp())
        early.write_bytes(b"early\n")
        await self.s_client(server, "-tls1_3", "-sess_out", session, client=None)
        spoken = await self.s_client(server, "-tls1_3", "-sess_in", session, "-early_data", str(early), client=None)
        self.assertNotIn("Early data was accepted", spoken.text)
        self.assertNotIn(b"early", b"".join(each.received for each in server.echoes))

    async def test_alpn(self) -> None:
        server = await self.serve(alpn=[b"mqtt", b"http/1.1"])
        for flag in FLAGS.values():
            for offered, chosen in (
                ("mqtt", "ALPN protocol: mqtt"),
                ("x-foreign,http/1.1", "ALPN protocol: http/1.1"),
                ("http/1.1,mqtt", "ALPN protocol: mqtt"),
                ("x-foreign", "No ALPN negotiated"),
            ):
                spoken = await self.s_client(server, flag, "-alpn", offered)
                self.assertIn(chosen, spoken.text, offered)
                self.assertIn("echo hello", spoken.text)
            self.assertIn("No ALPN negotiated", (await self.s_client(server, flag)).text)

    async def test_a_listener_without_alpn(self) -> None:
        server = await self.serve(alpn=[])
        self.assertIn("echo hello", (await self.s_client(server, "-alpn", "mqtt")).text)

    async def test_forty_megabytes_while_the_handshake_is_held(self) -> None:
        checker = FakeChecker(COLD)
        creator, refusals = self.contexts(checker=checker, clock=reactor)
        noting = _Noting(creator)
        server = await self.serve_with(noting, refusals)
        sender = _Flood(client_connection(TLS13, pki().clients["good"]), 40 * 1024 * 1024)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", server.port), sender)
        await eventually(lambda: bool(checker.asked), lambda: "nobody was asked")
        await sender.stuck
        self.assertLess(noting.made[0]._held_bytes, 256 * 1024, "the rest waits in the kernel, and in the device")
        self.assertEqual(server.echoes[0].received, b"")
        checker.tell(GOOD)
        await eventually(lambda: len(server.echoes[0].received) == sender.size, lambda: "not all came", 30)
        sender.transport.abortConnection()
        await server.echoes[0].done

    async def test_a_device_that_leaves_while_its_handshake_is_held(self) -> None:
        """Nobody reads, so that it is noticed afterwards."""
        for version in VERSIONS:
            for leave in ("abortConnection", "loseConnection"):
                for finding in (GOOD, REVOKED):
                    checker = FakeChecker(COLD)
                    server = await self.serve(checker=checker)
                    device = _Flood(client_connection(version, pki().clients["good"]), 5)
                    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", server.port), device)
                    await eventually(lambda: bool(checker.asked), lambda: "nobody was asked")  # noqa: B023
                    device.transport.unregisterProducer()
                    getattr(device.transport, leave)()
                    await device.ended
                    self.assertIsNone(server.echoes[0].lost)
                    checker.tell(finding)
                    await server.echoes[0].done
                    self.assertEqual(server.echoes[0].handshakes, 1 if finding is GOOD else 0)
                    self.assertEqual(server.refusals.faults, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_hello_that_never_comes_or_never_ends(self) -> None:
        for begin in (b"", b"\x16\x03\x01\x02\x00\x01"):
            server = await self.serve(handshake=0.05)
            device = _Silent(begin)
            await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", server.port), device)
            await device.ended
            await server.echoes[0].done
            self.assertEqual(server.refusals.reasons, ["tls_timeout"])

    async def test_junk(self) -> None:
        for junk in (b"\x10\x0c\x00\x04MQTT\x04\x02\x00<\x00\x00", b"GET / HTTP/1.1\r\n\r\n", os.urandom(5) + bytes(9)):
            server = await self.serve()
            device = _Silent(junk)
            await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", server.port), device)
            await device.ended
            await server.echoes[0].done
            self.assertEqual(server.refusals.reasons, ["tls_handshake"])


class Strangers(TlsCase):
    """Whatever they send, nothing is raised, and nobody gets in."""

    @each_version
    def test_flights_with_wrong_bytes(self, version: int) -> None:
        random = Random(version)
        for number in range(200):
            checker = FakeChecker(COLD if number % 2 else {})
            shake, refusals = self.handshake(checker, version, name=b"localhost", tls=settings(strict_sni=True))
            wrong = random.randrange(1, 4)
            while wrong and not shake.closed:
                shake._client(b"hello\n")
                flight = bytearray(shake.flight())
                wrong -= 1
                if not flight:
                    break
                if not wrong:
                    for _ in range(random.randrange(1, 4)):
                        flight[random.randrange(len(flight))] ^= 1 << random.randrange(8)
                shake.protocol.dataReceived(bytes(flight))
                shake.clock.advance(0)
                shake._deliver()
            checker.tell(GOOD)
            shake.clock.advance(20)
            self.assertTrue(shake.closed or shake.echo.handshakes)
            shake.leave()
            self.assertEqual(refusals.faults, [])
            self.assertEqual(shake.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])


class Chains(TlsCase):
    """Certificates of devices that are too long, too many, or turn in a circle."""

    def refuse(self, credential: Credential, version: int) -> tuple[Handshake, list[tuple[str, str]]]:
        creator, refusals = self.contexts(checker=FakeChecker())
        shake = Handshake(creator, client_connection(version, credential)).run(b"hello\n")
        self.assertEqual((shake.echo.handshakes, shake.echo.received, shake.closed), (0, b"", True))
        return shake, refusals

    @each_version
    def test_a_hundred_certificates(self, version: int) -> None:
        authority = pki().root
        for number in range(20):
            authority = authority.intermediate(f"ca-{number}")
        shake, refusals = self.refuse(authority.issue("deep"), version)
        self.assertIn("unknown ca", shake.alert)
        self.assertEqual(refusals, [("tls_handshake", "certificate verify failed")])
        for number in range(80):
            authority = authority.intermediate(f"ca-{number}")
        self.refuse(authority.issue("deeper"), version)

    @each_version
    def test_a_chain_as_long_as_it_may_be(self, version: int) -> None:
        authority = pki().root
        for number in range(8):
            authority = authority.intermediate(f"ca-{number}")
        creator, refusals = self.contexts(checker=FakeChecker())
        shake = Handshake(creator, client_connection(version, authority.issue("deep"))).run(b"hello\n")
        self.assertEqual((shake.echo.received, refusals), (b"hello\n", []))

    @each_version
    def test_a_certificate_of_a_mebibyte(self, version: int) -> None:
        padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x04\x83\x0f\xff\xff" + bytes(0xFFFFF))
        large = pki().intermediate.issue("large", known=False, extensions=[(padding, False)])
        _, refusals = self.refuse(large, version)
        self.assertEqual(refusals[0][0], "tls_handshake")
        self.assertRegex(refusals[0][1], "excessive message size")

    @each_version
    def test_authorities_that_signed_each_other(self, version: int) -> None:
        one, other = Authority.root("one"), Authority.root("other")
        by_other = other.intermediate("one").credential.certificate
        by_one = one.intermediate("other").credential.certificate
        made = one.issue("device")
        self.refuse(Credential(made.certificate, made.key, (by_other, by_one)), version)

    @each_version
    def test_a_device_is_no_authority(self, version: int) -> None:
        good = pki().clients["good"]
        signed = Authority("good", good).issue("forged")
        self.refuse(signed, version)

    def test_name_constraints(self) -> None:
        constraint = x509.NameConstraints([x509.DNSName("pumps.example")], None)
        limited = pki().intermediate.issue(
            "limited", known=False, extensions=[(constraint, True)], usage=()
        )
        self.refuse(Authority("limited", limited).issue("valve", names=["valve.example"]), TLS13)

    def test_an_intermediate_alone_may_be_trusted(self) -> None:
        checker = FakeChecker()
        creator, refusals = self.contexts(settings(client_ca_file=file("intermediate.pem")), checker)
        shake = Handshake(creator, client_connection(TLS13, pki().clients["good"])).run(b"hello\n")
        self.assertEqual((shake.echo.received, refusals), (b"hello\n", []))

    def test_a_bundle_does_not_hide_that_an_intermediate_is_revoked(self) -> None:
        """ca.pem holds the intermediates beside the root; they are asked about all the same."""
        checker = FakeChecker({"revoked-intermediate": REVOKED})
        creator, refusals = self.contexts(settings(client_ca_file=file("ca.pem")), checker)
        shake = Handshake(creator, client_connection(TLS13, pki().clients["of-revoked-ca"])).run(b"hello\n")
        self.assertIn("certificate revoked", shake.alert)


class Names(TlsCase):
    """SNI: certificates, and authorities of devices, by the name that is asked for."""

    def served(self, shake: Handshake) -> str:
        certificate = shake.client.get_peer_certificate(as_cryptography=True)
        return common_name(certificate) if certificate is not None else ""

    def other(self, **changes: Any) -> ServerTls:
        name = ServerName(file("other-server.pem"), file("other-server.key"), **changes)
        return settings(client_ca_file="", server_name=(name,))

    def attempt(self, tls: ServerTls, name: bytes | None, version: int = TLS13, **options: Any) -> Any:
        shake, refusals = self.handshake(tls=tls, name=name, version=version, **options)
        shake.run(b"hello\n")
        return shake, refusals

    @each_version
    def test_each_name_has_its_certificate(self, version: int) -> None:
        cases = {
            None: "server", b"localhost": "server", b"other.example": "other-server", b"OTHER.example.": "other-server",
            b"unknown.example": "server", b"x.other.example": "server", b"\xff": "server",
        }  # fmt: skip
        for name, expected in cases.items():
            shake, refusals = self.attempt(self.other(), name, version)
            self.assertEqual((self.served(shake), shake.received), (expected, b"echo hello\n"), name)

    def test_names_that_are_given_count_instead_of_those_in_the_certificate(self) -> None:
        tls = self.other(names=("Given.example", "*.wild.example"))
        cases = {
            b"given.example": "other-server", b"a.wild.example": "other-server", b"a.b.wild.example": "server",
            b"wild.example": "server", b"other.example": "server",
        }  # fmt: skip
        for name, expected in cases.items():
            self.assertEqual(self.served(self.attempt(tls, name)[0]), expected, name)

    @each_version
    def test_strict(self, version: int) -> None:
        tls = replace(self.other(), strict_sni=True)
        for name in (b"localhost", b"other.example", b"127.0.0.1", None):
            shake, refusals = self.attempt(tls, name, version)
            self.assertEqual((shake.received, refusals), (b"echo hello\n", []), name)
        for name in (b"unknown.example", b"\xff", b"a" * 255):
            shake, refusals = self.attempt(tls, name, version)
            self.assertIn("unrecognized name", shake.alert)
            self.assertEqual(shake.wire, bytes.fromhex("15 0303 0002 02 70"), "nothing but the alert")
            self.assertEqual((refusals.reasons, shake.closed), (["tls_server_name"], True))
            self.assertEqual(shake.echo.handshakes, 0)

    async def test_strict_by_s_client(self) -> None:
        server = await self.serve(replace(self.other(), strict_sni=True))
        for flag in FLAGS.values():
            spoken = await self.s_client(server, flag, "-servername", "unknown.example")
            self.assertIn("SSL alert number 112", spoken.text)
            spoken = await self.s_client(server, flag, "-servername", "other.example")
            self.assertIn("other-server", spoken.text)
            self.assertIn("echo hello", spoken.text)

    async def test_a_hello_that_is_asked_for_again(self) -> None:
        """The key share is of no use (RFC 8446 section 4.1.4): the second hello asks for the name as well."""
        server = await self.serve(replace(self.other(client_ca_file=file("root.pem")), strict_sni=True))
        flags = ("-tls1_3", "-msg", "-groups", "P-521:P-256")
        spoken = await self.s_client(server, *flags, "-servername", "other.example")
        self.assertEqual(spoken.text.count("ClientHello"), 2, "the listener has asked again")
        self.assertIn("other-server", spoken.text)
        self.assertIn("echo hello", spoken.text)
        spoken = await self.s_client(server, *flags, "-servername", "unknown.example")
        self.assertIn("SSL alert number 112", spoken.text)
        self.assertEqual(server.refusals.reasons, ["tls_server_name"])

    def test_a_name_that_is_unknown_beside_ciphers_that_are(self) -> None:
        creator, refusals = self.contexts(replace(self.other(), strict_sni=True))
        client = client_connection(TLS12, None, b"unknown.example", b"AES128-SHA")
        shake = Handshake(creator, client).run()
        self.assertIn("unrecognized name", shake.alert)
        self.assertEqual(refusals.reasons, ["tls_server_name"])

    @each_version
    def test_authorities_of_a_name(self, version: int) -> None:
        """Nobody is asked for a certificate but those who ask for that name."""
        tls = self.other(client_ca_file=file("foreign.pem"))
        for checker in (None, FakeChecker()):
            shake, refusals = self.attempt(tls, None, version, client=None, checker=checker)
            self.assertEqual((shake.received, refusals), (b"echo hello\n", []))
            for client, received in (("of-unknown-ca", b"hello\n"), ("good", b""), (None, b"")):
                shake, refusals = self.attempt(tls, b"other.example", version, client=client, checker=checker)
                self.assertEqual(shake.echo.received, received, client)
                self.assertEqual(refusals.reasons, [] if received else ["tls_handshake"])
        checker = FakeChecker({"of-unknown-ca": REVOKED})
        shake, refusals = self.attempt(tls, b"other.example", version, client="of-unknown-ca", checker=checker)
        self.assertIn("certificate revoked", shake.alert)

    @each_version
    def test_authorities_of_a_name_instead_of_the_listeners(self, version: int) -> None:
        tls = replace(self.other(client_ca_file=file("foreign.pem")), client_ca_file=file("root.pem"))
        for name, client, received in (
            (None, "good", b"hello\n"), (b"other.example", "good", b""),
            (None, "of-unknown-ca", b""), (b"other.example", "of-unknown-ca", b"hello\n"),
        ):  # fmt: skip
            shake, _ = self.attempt(tls, name, version, client=client, checker=FakeChecker())
            self.assertEqual(shake.echo.received, received, (name, client))

    @each_version
    def test_a_name_without_authorities_has_the_listeners(self, version: int) -> None:
        tls = replace(self.other(), client_ca_file=file("root.pem"))
        shake, _ = self.attempt(tls, b"other.example", version, client="of-unknown-ca")
        self.assertIn("unknown ca", shake.alert)

    @each_version
    def test_held_after_the_context_was_exchanged(self, version: int) -> None:
        tls = self.other(client_ca_file=file("root.pem"))
        for finding, received in ((GOOD, b"hello\n"), (REVOKED, b"")):
            checker = FakeChecker(COLD)
            shake, _ = self.attempt(tls, b"other.example", version, checker=checker)
            self.assertEqual((shake.connection.state, shake.echo.received), ("held", b""))
            checker.tell(finding)
            shake.run(b"hello\n" if version == TLS12 else b"")
            self.assertEqual(shake.echo.received, received)

    @each_version
    def test_contexts_live_as_long_as_their_connections(self, version: int) -> None:
        """OpenSSL would call into a context that is gone; the interpreter would not survive that."""
        for name in (None, b"other.example"):
            creator, _ = self.contexts(self.other())
            reloadable = Reloadable(creator)
            shake = Handshake(reloadable, client_connection(version, None, name))
            reloadable.current, _ = self.contexts(settings())
            del creator
            gc.collect()
            shake.run(b"hello\n")
            self.assertEqual(shake.received, b"echo hello\n")

    @each_version
    def test_a_choice_that_fails_refuses(self, version: int) -> None:
        creator, refusals = self.contexts(self.other())
        self.patch(creator, "_named", lambda asked: 1 / 0)
        shake = Handshake(creator, client_connection(version, None, b"other.example")).run(b"hello\n")
        self.assertIn("internal error", shake.alert)
        self.assertEqual((refusals.reasons, shake.echo.handshakes), (["tls_fault"], 0))
        self.assertIsInstance(refusals.faults[0], ZeroDivisionError)

    @each_version
    def test_alpn_after_the_context_was_exchanged(self, version: int) -> None:
        shake, _ = self.handshake(tls=self.other(), name=b"other.example", version=version)
        shake.client.set_alpn_protos([b"x-foreign", b"mqtt"])
        shake.run(b"hello\n")
        self.assertEqual(shake.client.get_alpn_proto_negotiated(), b"mqtt")


class WrittenDown(TlsCase):
    def test_faults_are_logged_where_nobody_is_told(self) -> None:
        creator = ServerContexts(settings(server_name=(), strict_sni=True), None, [], Clock())
        self.patch(creator, "_named", lambda asked: 1 / 0)
        shake = Handshake(creator, client_connection(TLS13, None, b"other.example")).run()
        self.assertIn("internal error", shake.alert)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        creator.failed(Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Asked(TlsCase):
    """With the checker that listeners have, and a responder."""

    async def test_statuses(self) -> None:
        responder = Responder(reactor)
        url = await responder.listen()
        self.addCleanup(responder.stop)
        made = Pki.make(url)
        responder.authorities = made.authorities
        directory = Path(self.mktemp())
        made.write(directory)
        tls = replace(
            settings(client_ca_file=str(directory / "root.pem")),
            revocation=Revocation(methods=("ocsp",), allowed_networks=("127.0.0.1/32",), allowed_ports=(_port(url),)),
        )
        for version in VERSIONS:
            for client, alert in {
                "good": "", "revoked": "certificate revoked", "of-revoked-ca": "certificate revoked",
                "unknown": "certificate unknown", "no-urls": "certificate unknown",
            }.items():  # fmt: skip
                fetcher = Fetcher(reactor, allowed_networks=("127.0.0.1/32",), allowed_ports=(_port(url),))
                checker = RevocationChecker(tls.revocation, fetcher, reactor)
                for attempt in ("cold", "warm"):
                    creator, refusals = self.contexts(tls, checker)
                    shake = Handshake(creator, client_connection(version, made.clients[client])).run(b"hello\n")
                    connection = shake.connection
                    # Where there is nobody to ask, that is known without asking.
                    cold = attempt == "cold" and client != "no-urls"
                    self.assertEqual(connection.state == "held", cold, (client, attempt))
                    await eventually(lambda: connection.state != "held", lambda: "no answer")  # noqa: B023
                    shake.run(b"hello\n" if version == TLS12 else b"")
                    self.assertEqual(bytes(shake.echo.received), b"" if alert else b"hello\n", (client, attempt))
                    told = "" if cold and version == TLS13 else alert
                    self.assertIn(told, shake.alert, (client, attempt))
                    self.assertEqual(bool(shake.alert), bool(told))
                    shake.leave()
                checker.stop()


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


class Who(TlsCase):
    @each_version
    def test_identity(self, version: int) -> None:
        for checker in (None, FakeChecker()):
            shake, _ = self.handshake(checker, version)
            shake.run(b"hello")
            who = identity_of(shake.connection)
            assert who is not None
            self.assertEqual((who.common_name, who.dns), ("good", ("good.example",)))
            self.assertEqual([common_name(each) for each in who.chain], ["good", "intermediate", "root"])

    def test_nobody_was_asked(self) -> None:
        shake, _ = self.handshake(tls=settings(client_ca_file=""))
        shake.run(b"hello")
        self.assertIsNone(identity_of(shake.connection))

    @each_version
    def test_before_the_end_of_the_handshake(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, _ = self.handshake(checker, version)
        self.assertIsNone(identity_of(shake.connection))
        shake.run()
        self.assertEqual(shake.connection.state, "held")
        self.assertIsNone(identity_of(shake.connection))
        checker.tell(REVOKED)
        self.assertIsNone(identity_of(shake.connection))


class Reload(TlsCase):
    def test_it_makes_connections(self) -> None:
        creator, _ = self.contexts()
        verifyObject(IOpenSSLServerConnectionCreator, creator)
        self.assertEqual(DEFAULT.tls_handshake, 10.0)

    async def test_new_devices_get_the_new_certificate_and_old_ones_stay(self) -> None:
        old, refusals = self.contexts(clock=reactor)
        reloadable = Reloadable(old)
        server = await self.serve_with(reloadable, refusals)
        sender = _Flood(client_connection(TLS13, pki().clients["good"]), 5)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", server.port), sender)
        await eventually(lambda: server.echoes[0].received == bytes(5), lambda: "not served")
        files = (file("other-server.pem"), file("other-server.key"))
        reloadable.current, _ = self.contexts(replace(settings(), cert_file=files[0], key_file=files[1]), clock=reactor)
        del old
        gc.collect()
        running = _started(self.s_client(Server(server.port, [], refusals, None), "-tls1_3"))
        self.assertIn("CN = other-server", (await running).text)
        sender.write(bytes(5))
        await eventually(lambda: server.echoes[0].received == bytes(10), lambda: "the old connection is gone")
        sender.transport.abortConnection()
        for echo in server.echoes:
            await echo.done

    def test_what_was_replaced_goes_with_its_last_connection(self) -> None:
        other = ServerName(file("other-server.pem"), file("other-server.key"))
        tls = settings(server_name=(other,), strict_sni=True)
        reloadable = Reloadable(self.contexts(tls, FakeChecker())[0])
        good = pki().clients["good"]
        first = weakref.ref(reloadable.current)
        live = Handshake(reloadable, client_connection(TLS13, good, b"other.example")).run(b"hello")
        replaced = []
        for _ in range(20):
            reloadable.current, _ = self.contexts(tls, FakeChecker())
            replaced.append(weakref.ref(reloadable.current))
            shake = Handshake(reloadable, client_connection(TLS12, good, b"other.example")).run(b"hello")
            self.assertEqual(shake.echo.received, b"hello")
            shake.leave()
        gc.collect()
        self.assertEqual([each() for each in replaced if each() is not reloadable.current], [None] * 19)
        self.assertIsNotNone(first())
        live.run(b" again\n")
        self.assertEqual(live.received, b"echo  again\n")
        live.leave()
        gc.collect()
        self.assertIsNone(first())

    @each_version
    def test_while_a_handshake_is_held(self, version: int) -> None:
        checker = FakeChecker(COLD)
        creator, _ = self.contexts(checker=checker)
        reloadable = Reloadable(creator)
        shake = Handshake(reloadable, client_connection(version, pki().clients["good"])).run(b"hello\n")
        reloadable.current, _ = self.contexts()
        del creator
        gc.collect()
        checker.tell(GOOD)
        shake.run(b"hello\n" if version == TLS12 else b"")
        self.assertEqual(shake.received, b"echo hello\n")


class Configured(TlsCase):
    """What is wrong with the files is said at once, in one line each."""

    def problems(self, tls: ServerTls, now: datetime | None = None) -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            ServerContexts(tls, None, [], Clock(), files=Files(now))
        problems: list[str] = caught.exception.problems
        for problem in problems:
            self.assertNotIn("\n", problem)
            self.assertNotIn("PRIVATE", problem)
        return problems

    def notes(self, tls: ServerTls, now: datetime | None = None) -> tuple[str, ...]:
        return ServerContexts(tls, None, [], Clock(), files=Files(now)).notes

    def path(self, content: bytes, mode: int = 0o600) -> str:
        path = Path(self.mktemp())
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def with_key(self, key: Any, password: bytes | None = None) -> str:
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        return self.path(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))

    def test_nothing_is_wrong(self) -> None:
        self.assertEqual(self.notes(settings()), ())
        other = ServerName(file("other-server.pem"), file("other-server.key"), client_ca_file=file("root.pem"))
        (note,) = self.notes(ServerTls(file("server.pem"), file("server.key"), server_name=(other,)))
        self.assertIn("for some server names only", note)
        self.assertEqual(self.notes(settings(server_name=(other,))), ())

    def test_half_a_pair(self) -> None:
        cert, key = file("server.pem"), file("server.key")
        self.assertEqual(self.problems(ServerTls(cert, "")), [f"{cert}: there is no key_file to it"])
        self.assertEqual(self.problems(ServerTls("", key)), [f"{key}: there is no cert_file to it"])
        self.assertEqual(self.problems(ServerTls("", "")), ["no cert_file and no key_file"])

    def test_a_key_that_does_not_match(self) -> None:
        cert, key = file("server.pem"), file("other-server.key")
        self.assertEqual(self.problems(ServerTls(cert, key)), [f"{key}: the certificate of this key is not in {cert}"])

    def test_a_certificate_that_does_not_come_first(self) -> None:
        server = pki().server
        pem = pki().root.credential.pem + server.pem
        cert = self.path(pem)
        key = file("server.key")
        expected = [f"{key}: the certificate of this key must come first in {cert}"]
        self.assertEqual(self.problems(ServerTls(cert, key)), expected)

    def test_a_key_in_the_file_of_the_certificate_is_a_key(self) -> None:
        both = self.path(pki().server.pem + pki().server.key_pem, 0o644)
        (problem,) = self.problems(ServerTls(both, file("server.key")))
        self.assertIn(f"{both}: others may read this key", problem)
        self.contexts(ServerTls(both, file("server.key"), allow_insecure_key=True))
        self.contexts(ServerTls(self.path(pki().server.pem + pki().server.key_pem, 0o600), file("server.key")))

    def test_a_key_that_others_may_read(self) -> None:
        key = self.path(pki().server.key_pem, 0o644)
        tls = ServerTls(file("server.pem"), key)
        (problem,) = self.problems(tls)
        self.assertIn(f"{key}: others may read this key, its mode is 0644", problem)
        self.assertEqual(self.notes(replace(tls, allow_insecure_key=True)), ())
        self.assertEqual(self.notes(replace(tls, key_file=self.path(pki().server.key_pem, 0o640))), ())

    def test_files_that_cannot_be_read(self) -> None:
        cert = file("server.pem")
        pipe = self.mktemp()
        os.mkfifo(pipe)
        large = self.path(b"-" * (4 * 1024 * 1024 + 1))
        for path, cause in {
            "/nowhere/key.pem": "/nowhere/key.pem: No such file or directory",
            str(folder()): f"{folder()}: not a file",
            pipe: f"{pipe}: not a file",
            "/dev/zero": "/dev/zero: not a file",
            f"{cert}/key.pem": f"{cert}/key.pem: Not a directory",
            large: f"{large}: larger than 4194304 bytes",
            "a\0b": "'a\\x00b': no path",
        }.items():
            self.assertEqual(self.problems(ServerTls(cert, path, allow_insecure_key=True)), [cause])
            self.assertEqual(self.problems(settings(client_ca_file=path)), [cause])

    def test_junk(self) -> None:
        key = file("server.key")
        for junk in (
            b"", b"junk", b"\0" * 100, pki().server.key_pem, pki().server.certificate.public_bytes(Encoding.DER),
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", pki().server.pem[:200],
        ):  # fmt: skip
            path = self.path(junk)
            cause = f"{path}: no certificate in PEM that can be read"
            self.assertEqual(self.problems(ServerTls(path, key)), [cause])
            self.assertEqual(self.problems(settings(client_ca_file=path)), [cause])
        for junk in (b"", b"junk", pki().server.pem, pki().server.key_pem[:100], b"-----BEGIN PRIVATE KEY-----\nAA\n"):
            path = self.path(junk)
            cause = f"{path}: no private key in PEM that can be read"
            self.assertEqual(self.problems(ServerTls(file("server.pem"), path)), [cause])

    def test_certificate_and_key_in_one_file(self) -> None:
        both = self.path(pki().server.pem + pki().server.key_pem)
        self.assertEqual(self.notes(ServerTls(both, both)), ())

    def test_keys_that_do_not_do(self) -> None:
        cases = {
            self.with_key(pki().server.key, b"secret-word"): "the key is encrypted; nobody can type its password here",
            self.with_key(rsa.generate_private_key(65537, 1024)): "an RSA key of 1024 bits; 2048 is the least",
            self.with_key(ec.generate_private_key(ec.SECP256K1())): "TLS knows no key on the curve secp256k1",
            self.with_key(dsa.generate_private_key(2048)): "no key for TLS: RSA, ECDSA or EdDSA",
        }
        for path, cause in cases.items():
            self.assertEqual(self.problems(ServerTls(file("server.pem"), path)), [f"{path}: {cause}"])

    def test_an_rsa_key(self) -> None:
        self.assertEqual(self.notes(ServerTls(*_write(self, pki().rsa_server()))), ())

    def test_dates(self) -> None:
        cert = file("server.pem")
        own = pki().server.certificate
        ends, begins = own.not_valid_after_utc, own.not_valid_before_utc
        after, before = ends + timedelta(seconds=1), begins - timedelta(seconds=1)
        tls = settings(client_ca_file="")
        self.assertEqual(self.problems(tls, after), [f"{cert}: the certificate has expired on {ends:%Y-%m-%d}"])
        self.assertEqual(self.problems(tls, before), [f"{cert}: the certificate is not valid before {begins:%Y-%m-%d}"])
        soon = ends - timedelta(days=29)
        self.assertEqual(self.notes(tls, soon), (f"{cert}: the certificate expires on {ends:%Y-%m-%d}",))
        self.assertEqual(self.notes(tls, ends - timedelta(days=31)), ())

    def test_an_authority_that_has_expired(self) -> None:
        expired = pki().intermediate.issue("old", known=False, not_before=-2 * DAY, not_after=-DAY)
        alone = self.path(expired.certificate.public_bytes(Encoding.PEM))
        self.assertEqual(self.problems(settings(client_ca_file=alone)), [f"{alone}: every certificate has expired"])
        both = self.path(expired.certificate.public_bytes(Encoding.PEM) + pki().root.credential.pem)
        (note,) = self.notes(settings(client_ca_file=both))
        self.assertRegex(note, f"{both}: 'CN=old.*' has expired on ")

    def test_a_chain_with_faults(self) -> None:
        server = pki().server
        pem = server.certificate.public_bytes(Encoding.PEM)
        old = pki().intermediate.issue("old", known=False, not_before=-2 * DAY, not_after=-DAY)
        cert = self.path(pem + old.certificate.public_bytes(Encoding.PEM))
        one, two = self.notes(ServerTls(cert, file("server.key")))
        self.assertRegex(one, f"{cert}: 'CN=old.*' in the chain has expired on ")
        self.assertEqual(two, f"{cert}: the chain is out of order: each certificate must be signed by the next")

    def test_a_certificate_for_clients(self) -> None:
        (note,) = self.notes(ServerTls(file("client-good.pem"), file("client-good.key")))
        self.assertIn("the certificate is not for servers", note)
        files = _write(self, pki().intermediate.issue("any", usage=(), known=False))
        self.assertEqual(self.notes(ServerTls(*files)), ())

    def test_what_openssl_would_refuse_to_send(self) -> None:
        server = pki().server
        small = pki().intermediate.issue("small", known=False, key=rsa.generate_private_key(65537, 1024))
        cert = self.path(server.certificate.public_bytes(Encoding.PEM) + small.certificate.public_bytes(Encoding.PEM))
        (problem,) = self.problems(ServerTls(cert, file("server.key")))
        self.assertRegex(problem, "CN=small.* in the chain has an RSA key of 1024 bits; 2048 is the least")
        with mock.patch.object(SSL.Context, "use_privatekey", side_effect=SSL.Error([("SSL", "", "key too small")])):
            cert = file("server.pem")
            self.assertEqual(self.problems(settings()), [f"{cert}: OpenSSL refuses it: key too small"])
        with mock.patch.object(SSL.Context, "use_privatekey", side_effect=SSL.Error()):
            self.assertEqual(self.problems(settings()), [f"{cert}: OpenSSL refuses it: Error"])

    def test_old_signatures(self) -> None:
        old = self.with_sha1(pki().rsa_server())
        cert = self.path(old.certificate.public_bytes(Encoding.PEM))
        problem = self.problems(ServerTls(cert, self.with_key(old.key)))[0]
        self.assertRegex(problem, f"{cert}: 'CN=server.*' is signed with sha1, which nobody believes any more")

    def with_sha1(self, made: Credential) -> Credential:
        """The same certificate, as if it were signed by RSA with SHA-1."""
        signer = rsa.generate_private_key(65537, 2048)
        builder = x509.CertificateBuilder(
            x509.Name([]), made.certificate.subject, made.key.public_key(), 1,
            made.certificate.not_valid_before_utc, made.certificate.not_valid_after_utc,
        )  # fmt: skip
        der = builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)
        sha256, sha1 = (bytes.fromhex("2a864886f70d0101") + last for last in (b"\x0b", b"\x05"))
        return replace(made, certificate=x509.load_der_x509_certificate(der.replace(sha256, sha1)))

    def test_names(self) -> None:
        other = file("other-server.pem"), file("other-server.key")
        nameless = _write(self, pki().intermediate.issue("nameless", usage=SERVER, known=False))
        tls = settings(server_name=(
            ServerName(*other, names=("a.example",)),
            ServerName(*other, names=("A.example",)),
            ServerName(*nameless),
            ServerName(other[0], ""),
            ServerName(*other, client_ca_file="/nowhere/ca.pem"),
        ))  # fmt: skip
        self.assertEqual(self.problems(tls), [
            f"{other[0]}: another certificate is for 'a.example' already",
            f"{nameless[0]}: the certificate has no name; say which with names",
            f"{other[0]}: there is no key_file to it",
            "/nowhere/ca.pem: No such file or directory",
        ])  # fmt: skip

    def test_all_problems_at_once(self) -> None:
        tls = ServerTls("/nowhere/cert.pem", "/nowhere/key.pem", client_ca_file="/nowhere/ca.pem")
        self.assertEqual(len(self.problems(tls)), 3)

    def test_no_key_shows_itself(self) -> None:
        credentials = Files().credentials(file("server.pem"), file("server.key"), allow_insecure_key=False)
        self.assertNotIn("key=", repr(credentials))

    def test_a_failed_reload_leaves_what_was(self) -> None:
        copy = Path(self.mktemp())
        shutil.copytree(folder(), copy)
        tls = ServerTls(str(copy / "server.pem"), str(copy / "server.key"))
        ServerContexts(tls, None, [], Clock())
        (copy / "server.pem").write_bytes(pki().other_server.pem)
        self.assertEqual(len(self.problems(tls)), 1)


def _write(case: TlsCase, credential: Credential) -> tuple[str, str]:
    """The files of a certificate and its key."""
    cert, key = Path(case.mktemp()), Path(case.mktemp())
    cert.write_bytes(credential.pem)
    key.touch(0o600)
    key.write_bytes(credential.key_pem)
    return str(cert), str(key)


def _started(coroutine: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(coroutine)


@implementer(IOpenSSLServerConnectionCreator)
class _Noting:
    """Keeps the connections that a creator makes."""

    def __init__(self, creator: ServerContexts) -> None:
        self.creator = creator
        self.made: list[Any] = []

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        self.made.append(self.creator.serverConnectionForTLS(protocol))
        return self.made[-1]


class _Silent(Protocol):
    """Says one thing, and waits for the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


class _Flood(Protocol):
    """A device that sends so many bytes, as fast as they are taken, as soon as it thinks that it may."""

    CHUNK = 16 * 1024  # a record

    def __init__(self, connection: SSL.Connection, size: int) -> None:
        self.connection = connection
        self.size = size
        self.left = size
        self.stuck: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.shaken = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        self.connection.bio_write(data)
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)

    def _go_on(self) -> None:
        if not self.shaken:
            try:
                self.connection.do_handshake()
                self.shaken = True
            except SSL.WantReadError:
                pass
            self._flush()
        if self.shaken:
            self.resumeProducing()

    def _flush(self) -> None:
        try:
            while True:
                self.transport.write(self.connection.bio_read(1 << 20))
        except SSL.WantReadError:
            pass

    def write(self, data: bytes) -> None:
        self.connection.send(data)
        self._flush()

    def pauseProducing(self) -> None:
        self.full = True
        if not self.stuck.called:
            reactor.callLater(0.1, self._look)

    def _look(self) -> None:
        if self.full and not self.stuck.called:
            self.stuck.callback(None)

    full = False

    def resumeProducing(self) -> None:
        self.full = False
        while self.shaken and self.left and not self.full:
            chunk = bytes(min(self.left, self.CHUNK))
            self.left -= len(chunk)
            self.write(chunk)

    def stopProducing(self) -> None:
        self.left = 0


