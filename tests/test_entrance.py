"""What stands in front of a protocol: PROXY header below TLS, what is refused there, and when nobody needs it."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mgate.addresses import parse_listen, parse_target
from mgate.binding import Switch
from mgate.config import Listener
from mgate.counters import Counters
from mgate.entrance import Entrance
from mgate.errors import ConfigError
from mgate.testing.pki import Pki
from mgate.tls.checkers import Checkers
from mgate.tls.settings import Revocation, ServerTls
from tests.gateway import RecordingJournal
from tests.tls.handshakes import TLS13, client_connection

PROXY = IPv4Address("TCP", "127.0.0.1", 4000)
HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 8883\r\n"


class Heard(Protocol):
    def __init__(self, address: Any) -> None:
        self.address = address
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class Serving(Factory):
    def __init__(self) -> None:
        self.made: list[Heard] = []
        self.full = False

    def buildProtocol(self, addr: Any) -> Any:
        if self.full:
            return None
        self.made.append(Heard(addr))
        return self.made[-1]


class Transport(StringTransport):
    disconnected = False

    def abortConnection(self) -> None:
        self.disconnected = True

    def failIfNotConnected(self, error: Any) -> None:
        """ITCPTransport, which is not asked."""


class EntranceTest(unittest.TestCase):
    pki: Pki

    @classmethod
    def setUpClass(cls) -> None:
        held = tempfile.TemporaryDirectory()
        cls.addClassCleanup(held.cleanup)
        cls.folder = Path(held.name)
        cls.pki = Pki.make()
        cls.pki.write(cls.folder)

    def setUp(self) -> None:
        self.clock = Clock()
        self.journal: Any = RecordingJournal()
        self.counters = Counters()
        self.checkers = Checkers(self.clock, lambda word, text: None)
        self.serving = Serving()

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def tls(self, **keys: Any) -> ServerTls:
        return ServerTls(self.path("server.pem"), self.path("server.key"), **keys)

    def entrance(self, **keys: Any) -> Entrance:
        listener = attrs.evolve(Listener(parse_listen(":1"), (parse_target("x"),)), **keys)
        return Entrance("devices", listener, [b"mqtt"], self.clock, self.journal, self.counters, self.checkers)

    def connect(self, way_in: Any) -> tuple[Any, Transport]:
        protocol, transport = way_in.buildProtocol(PROXY), Transport(peerAddress=PROXY)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return protocol, transport

    def test_nothing_in_front(self) -> None:
        entrance = self.entrance()
        self.assertIs(entrance.around(self.serving), self.serving)
        self.assertTrue(entrance.idle)
        self.assertEqual(entrance.notes, ())

    def test_the_header_is_below_tls(self) -> None:
        entrance = self.entrance(tls=self.tls(), trusted_proxies=("127.0.0.1/32",))
        way_in = entrance.around(self.serving)
        _, transport = self.connect(way_in)
        self.assertFalse(entrance.idle, "its header may still come")
        self.assertEqual(self.serving.made, [])
        device = client_connection(TLS13, None)
        reading: Any = transport.protocol
        reading.dataReceived(HEADER)
        for _ in range(3):
            try:
                device.do_handshake()
            except SSL.WantReadError:
                transport.protocol.dataReceived(device.bio_read(1 << 16))
                device.bio_write(transport.value())
                transport.clear()
        device.send(b"hello")
        transport.protocol.dataReceived(device.bio_read(1 << 16))
        (made,) = self.serving.made
        self.assertEqual((made.address.host, made.address.port, made.data), ("192.0.2.1", 5000, b"hello"))
        self.assertFalse(entrance.idle)
        transport.protocol.connectionLost(connectionDone)
        self.assertTrue(entrance.idle)

    def test_whom_the_protocol_does_not_serve(self) -> None:
        self.serving.full = True
        self.assertIsNone(self.entrance(tls=self.tls()).around(self.serving).buildProtocol(PROXY))

    def test_who_is_refused_is_counted_and_told(self) -> None:
        way_in = self.entrance(trusted_proxies=("192.0.2.0/24",)).around(self.serving)
        self.assertIsNone(way_in.buildProtocol(PROXY))
        self.assertEqual(self.counters.rejects, {"proxy_untrusted": 1})
        self.assertEqual(self.counters.connections_refused, 1)
        ((reason, _, fields),) = self.journal.rejects
        self.assertEqual((reason, fields["listener"], fields["peer"].port), ("proxy_untrusted", "devices", 4000))
        way_in = self.entrance(tls=self.tls()).around(self.serving)
        _, transport = self.connect(way_in)
        transport.protocol.dataReceived(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")
        self.assertEqual(self.counters.rejects, {"proxy_untrusted": 1, "tls_handshake": 1})

    def test_who_waits_is_sent_away_at_the_end(self) -> None:
        entrance = self.entrance(trusted_proxies=("127.0.0.1/32",))
        entrance.stop()
        _, transport = self.connect(entrance.around(self.serving))
        entrance.stop()
        self.assertTrue(transport.disconnected)
        self.assertTrue(entrance.idle)

    def test_the_checker_is_given_back(self) -> None:
        asked = Revocation(("ocsp",))
        tls = self.tls(client_ca_file=self.path("root.pem"), revocation=asked)
        one, other = self.entrance(tls=tls), self.entrance(tls=tls)
        (checker,) = self.checkers.all.values()
        one.release()
        one.release()
        self.assertEqual([*self.checkers.all.values()], [checker])
        other.release()
        self.assertEqual(self.checkers.all, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_files_that_cannot_be_used(self) -> None:
        asked = Revocation(("crl",), offline_crl_file=self.path("no.crl"))
        with self.assertRaises(ConfigError) as caught:
            self.entrance(tls=self.tls(client_ca_file=self.path("no.pem"), revocation=asked))
        self.assertRegex("\n".join(caught.exception.problems), "no.crl(.|\n)*no.pem")
        self.assertEqual(self.checkers.all, {})
        with self.assertRaises(ConfigError):
            self.entrance(tls=self.tls(client_ca_file=self.path("no.pem"), revocation=Revocation(("ocsp",))))
        self.assertEqual(self.checkers.all, {}, "what was made for it is gone")
        with self.assertRaises(ConfigError):
            asked = Revocation(("crl",), offline_crl_file="a\0b")
            self.entrance(tls=self.tls(client_ca_file=self.path("root.pem"), revocation=asked))

    def test_where_memory_may_not_be_executable(self) -> None:
        """As under MemoryDenyWriteExecute of systemd."""
        with mock.patch.object(SSL.Context, "set_alpn_select_callback", side_effect=MemoryError):
            with self.assertRaises(ConfigError) as caught:
                self.entrance(tls=self.tls())
        self.assertRegex(*caught.exception.problems, "MemoryDenyWriteExecute")

    def test_notes_name_the_listener(self) -> None:
        (note,) = self.entrance(tls=ServerTls(self.path("client-good.pem"), self.path("client-good.key"))).notes
        self.assertRegex(note, '^listener "devices": .*client-good.pem: the certificate is not for servers')


class SwitchTest(unittest.TestCase):
    def test_serves_as_told(self) -> None:
        switch, serving = Switch("devices"), Serving()
        self.assertIsNone(switch.buildProtocol(PROXY))
        switch.current = serving
        self.assertIs(switch.buildProtocol(PROXY), serving.made[0])

    def test_has_the_name_of_the_listener(self) -> None:
        self.assertEqual(Switch("devices").logPrefix(), "devices")
