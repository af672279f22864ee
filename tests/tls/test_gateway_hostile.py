"""Devices that do with TLS what nobody should, T01-T14: no target is dialled, and no byte of theirs is believed.

What is proved elsewhere, by row: T03 and junk in test_connection and test_contexts, too; T04 (early data) and T08-T09
(resumption) in test_contexts; T06-T07 (chains, identities) in test_contexts, test_identity and, through the gateway,
test_gateway_status; T10-T11 in test_gateway_responders; T13 (a choice of names that raises) in test_contexts.
"""

from __future__ import annotations

import contextlib

from OpenSSL import SSL
from twisted.internet.task import deferLater

from tests import wire
from tests.gateway import RawDevice, reactor
from tests.tls.gateway import HELLO, TlsGateway, TlsGatewayTest, alert
from tests.tls.handshakes import FLAGS, TLS13, VERSIONS, client_connection

SOON = {"tls_handshake": 0.3}


class Handshakes(TlsGatewayTest):
    """What is wrong before there is a session."""

    async def assert_late(self, gateway: TlsGateway, device: RawDevice) -> None:
        self.assertEqual(await device.read_until_closed(), b"")
        await gateway.quiet()
        self.assertEqual((gateway.delivered, gateway.journal.reasons), ([], ["tls_timeout"]))
        self.assertEqual(gateway.counters.rejects, {"tls_timeout": 1})

    async def test_t02_tls_handshake_without_a_hello(self) -> None:
        gateway = await self.gateway(methods=["ocsp"], limits=SOON)
        await self.assert_late(gateway, await gateway.raw())

    async def test_t03_a_hello_byte_by_byte(self) -> None:
        gateway = await self.gateway(methods=["ocsp"], limits=SOON)
        device = await gateway.raw()
        client = client_connection(TLS13, self.pki.clients["good"])
        with contextlib.suppress(SSL.WantReadError):
            client.do_handshake()
        hello = iter(client.bio_read(65536))
        while not device.closed:
            device.send(bytes([next(hello)]))
            await deferLater(reactor, 0.01)
        await self.assert_late(gateway, device)

    async def test_t02_many_who_are_silent(self) -> None:
        gateway = await self.gateway(limits=SOON)
        for _ in range(100):
            await gateway.raw()
        await gateway.quiet()
        self.assertEqual((gateway.delivered, gateway.counters.rejects), ([], {"tls_timeout": 100}))

    async def test_plain_text(self) -> None:
        gateway = await self.gateway(methods=["ocsp"])
        for text in (HELLO, b"GET / HTTP/1.1\r\n\r\n", bytes(65536), b"\x16\x03\x01\xff\xff" + bytes(70000)):
            device = await gateway.raw()
            device.send(text)
            await device.read_until_closed()
            await gateway.quiet()
            self.assertEqual(gateway.delivered, [])
        self.assertEqual(set(gateway.journal.reasons), {"tls_handshake"})
        self.assertEqual(gateway.journal.faults, [])

    async def test_t05_old_versions_and_weak_ciphers(self) -> None:
        weak = ("-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")
        for flags, number in (
            (("-tls1", *weak), 70), (("-tls1_1", *weak), 70), (("-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"), 40),
            (("-tls1_2", "-cipher", "NULL:@SECLEVEL=0"), 40),
        ):  # fmt: skip
            with self.subTest(flags):
                gateway = await self.gateway(methods=["ocsp"])
                spoken = await self.s_client(gateway, "good", *flags, "-nocommands")
                self.assertEqual(alert(spoken), number, spoken.text)
                self.assertEqual((gateway.delivered, gateway.journal.reasons), ([], ["tls_handshake"]))
        self.assertEqual(sum(self.responder.requests.values()), 0)

    async def test_t01_12_renegotiation(self) -> None:
        for settings in ({}, {"methods": ["ocsp"]}):
            gateway = await self.gateway(**settings)
            spoken = await self.s_client(gateway, "good", "-tls1_2", stdin=b"R\n")
            self.assertIn("RENEGOTIATING", spoken.text)
            self.assertRegex(spoken.text, "no renegotiation|alert handshake failure")
            self.assertEqual(gateway.delivered, [])

    async def test_t08_12_resumption_of_somebody_who_was_revoked_since(self) -> None:
        for flags in (("-tls1_2",), ("-tls1_2", "-no_ticket"), ("-tls1_3",)):
            session = self.folder / f"session{len(flags)}{flags[0]}"
            gateway = await self.gateway(methods=["ocsp"])
            first = await self.s_client(gateway, "good", *flags, "-nocommands", "-sess_out", str(session))
            self.assertIn("\x20\x02\x00\x00", first.text)
            self.pki.intermediate.revoke(self.pki.clients["good"])
            sides = len(gateway.target.sides)
            fresh = await self.gateway(methods=["ocsp"])
            for serving in (gateway, fresh):
                resumed = ("-sess_in", str(session)) if session.exists() else ()
                again = await self.s_client(serving, "good", *flags, "-nocommands", *resumed)
                self.assertNotIn("Reused, TLSv1", again.text)
            self.assertEqual(fresh.delivered, [])
            self.assertEqual(fresh.journal.reasons, ["tls_revoked"])
            self.assertEqual(len(gateway.target.sides), sides + 1, "what memory knows holds, by a full handshake")
            self.pki.intermediate.release(self.pki.clients["good"])

    async def test_t12_a_name_that_nobody_has(self) -> None:
        gateway = await self.gateway(methods=["ocsp"], tls={"strict_sni": True})
        for version in VERSIONS:
            asked = ("-servername", "nobody.example")
            spoken = await self.s_client(gateway, "good", FLAGS[version], "-nocommands", *asked)
            self.assertEqual(alert(spoken), 112)
        self.assertEqual((gateway.delivered, set(gateway.journal.reasons)), ([], {"tls_server_name"}))


class Truncated(TlsGatewayTest):
    """T14: the connection ends in the middle of a packet. Who ended it is not known, so the packet does not count."""

    async def test_fin_without_close_notify(self) -> None:
        message = wire.publish("a/b", bytes(300), qos=1)
        for version in VERSIONS:
            for size in (1, 2, 40, len(message) - 1):
                with self.subTest(version=version, size=size):
                    gateway = await self.gateway()
                    device = await gateway.connected(self.pki.clients["good"], version)
                    device.send(message[:size])
                    device.transport.transport.loseWriteConnection()  # TCP's FIN alone: TLS says nothing
                    await device.uplink.until(lambda device=device: device.uplink.closed, "close")
                    await gateway.quiet()
                    self.assertEqual(device.uplink.behind_connect, b"")
                    self.assertEqual(gateway.counters.rejects, {"truncated": 1})

    async def test_close_notify(self) -> None:
        gateway = await self.gateway()
        for version in VERSIONS:
            device = await gateway.connected(self.pki.clients["good"], version)
            device.send(wire.publish("a/b", bytes(300))[:200])
            device.close()
            await gateway.quiet()
            self.assertEqual(device.uplink.behind_connect, b"")
        self.assertEqual(gateway.counters.rejects, {"truncated": 2})

    async def test_whole_packets_count(self) -> None:
        gateway = await self.gateway()
        for version in VERSIONS:
            device = await gateway.connected(self.pki.clients["good"], version)
            device.send(wire.publish("a/b", bytes(300)))
            await device.uplink.expect(wire.publish("a/b", bytes(300)))
            device.transport.transport.loseWriteConnection()
            await gateway.quiet()
        self.assertEqual(gateway.counters.rejects, {})
