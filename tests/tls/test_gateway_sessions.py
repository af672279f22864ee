"""What handlers, counters and the log get to know of certificates, and what becomes of sessions, held or live."""

from __future__ import annotations

import gc
import math
import time
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from mgate.errors import ConfigError, Denied, Kind
from mgate.handler import Handler
from mgate.session import Session
from mgate.testing.responder import Behaviour
from mgate.tls.identity import Identity, identify
from tests import wire
from tests.gateway import RawDevice, eventually
from tests.tls.gateway import Hooks, TlsGateway, TlsGatewayTest, alert
from tests.tls.handshakes import FLAGS, TLS12, TLS13, VERSIONS

MANY = 1000


class ByCertificate(Handler):
    """The certificate says who the device is; another user name is refused."""

    def auth_connect(self, session: Session) -> None:
        name = session.certificate.common_name
        if session.username not in (None, name):
            raise Denied(Kind.NOT_AUTHORISED, "the user name is not that of the certificate")
        session.username = session.id = name


class Identities(TlsGatewayTest):
    """`Session.certificate`."""

    async def test_every_hook_gets_the_verified_leaf(self) -> None:
        good = self.pki.clients["good"]
        for version in VERSIONS:
            hooks = Hooks()
            gateway = await self.gateway(hooks, methods=["ocsp"])
            device = await gateway.connected(good, version)
            device.send(wire.publish("a/b", b"x") + wire.subscribe("a/#", packet_id=7))
            self.assertEqual((await device.read_packet())[0], 0x90)
            device.uplink.send(wire.publish("a/c", b"y"))
            self.assertEqual(await device.read_packet(), wire.publish("a/c", b"y"))
            device.send(wire.unsubscribe("a/#", packet_id=8))
            self.assertEqual((await device.read_packet())[0], 0xB0)
            device.send(wire.DISCONNECT)
            await device.read_until_closed()
            await gateway.quiet()
            self.assertEqual(
                sorted(hooks.names),
                ["auth_connect", "auth_deliver", "auth_publish", "auth_subscribe", "connect", "disconnect disconnect",
                 "publish", "subscribe", "unsubscribe"],
            )  # fmt: skip
            for name, identity in hooks.called:
                self.assertIsInstance(identity, Identity, name)
                self.assertEqual(identity.certificate, good.certificate, name)
            self.assertEqual(identity.common_name, "good")
            self.assertEqual((identity.dns, identity.uri), (("good.example",), ("urn:mgate:device:good",)))
            self.assertEqual(identity.fingerprint, identify(good.certificate).fingerprint)
            self.assertEqual([each.subject for each in identity.chain][1:], [
                self.pki.intermediate.credential.certificate.subject, self.pki.root.credential.certificate.subject
            ])  # fmt: skip

    async def test_of_somebody_who_sends_more_certificates(self) -> None:
        good, other = self.pki.clients["good"], self.pki.clients["unknown"]
        padded = type(good)(good.certificate, good.key, (*good.chain, other.certificate))
        hooks = Hooks()
        gateway = await self.gateway(hooks)
        await gateway.connected(padded)
        self.assertEqual({each.common_name for _, each in hooks.called}, {"good"})

    async def test_no_certificate_is_asked_for(self) -> None:
        gateway = await self.gateway(tls={"client_ca_file": ""})
        await gateway.connected(self.pki.clients["good"])
        self.assertEqual(gateway.handler.called, [("auth_connect", None), ("connect", None)])

    async def test_names_are_taken_from_the_certificate(self) -> None:
        gateway = await self.gateway(ByCertificate())
        for version in VERSIONS:
            device = await gateway.connected(self.pki.clients["good"], version, client_id="whatever")
            self.assertEqual(device.uplink.packets[0], wire.connect("good", username="good"))

    async def test_another_name_is_refused(self) -> None:
        gateway = await self.gateway(ByCertificate())
        for version in VERSIONS:
            device = await gateway.device(self.pki.clients["good"], version)
            device.send(wire.connect("x", username="admin") + wire.publish("a/b", b"x"))
            self.assertEqual(await device.read_until_closed(), wire.connack(5))
        self.assertEqual((gateway.target.sides, gateway.counters.target_dials), ([], 0))
        self.assertEqual(gateway.counters.rejects, {"not_authorised": 2})


class HeldDevices(TlsGatewayTest):
    """While a responder takes its time."""

    async def held(self, gateway: TlsGateway, version: int = TLS13, client: str = "good") -> RawDevice:
        """A device whose handshake is held."""
        asked = self.responder.requests["ocsp"]
        device = await gateway.device(self.pki.clients[client], version)
        await self.responder.asked("ocsp", asked + 1)
        self.assertEqual(gateway.checker.counters.pending, 1)
        return device

    async def test_13_a_checker_that_raises(self) -> None:
        for version in VERSIONS:
            gateway = await self.gateway(methods=["ocsp"])
            self.patch(gateway.checker, "decide", lambda chain, depth: 1 / 0)
            spoken = await self.s_client(gateway, "good", FLAGS[version], "-nocommands")
            self.assertEqual(alert(spoken), 46)
            self.assertEqual((gateway.delivered, gateway.journal.reasons), ([], ["tls_fault"]))
            self.assertEqual([hook for _, hook, _ in gateway.journal.faults], ["tls"])
            gateway.journal.faults.clear()  # tracebacks keep connections
            gc.collect()

    async def test_14_it_leaves(self) -> None:
        """A goodbye lets what was said before it count, but not of one that is revoked."""
        self.misbehave(delay=math.inf)
        for version in VERSIONS:
            for client, leave in (("good", RawDevice.reset), ("revoked", RawDevice.close)):
                gateway = await self.gateway(methods=["ocsp"], ocsp_depth=1, deadline=20)
                device = await self.held(gateway, version, client)
                device.send(wire.connect() + wire.publish("a/b", b"x"))
                leave(device)
                self.responder.release()
                await gateway.quiet()
                self.assertEqual(gateway.checker.counters.pending, 0)
                self.assertEqual((gateway.target.sides, gateway.handler.called), ([], []))

    async def test_14_it_is_silent(self) -> None:
        self.misbehave(delay=math.inf)
        for version in VERSIONS:
            gateway = await self.gateway(methods=["ocsp"], ocsp_depth=1, deadline=20, limits={"tls_handshake": 0.3})
            device = await self.held(gateway, version)
            await device.read_until_closed()
            await gateway.quiet()
            self.assertEqual((gateway.delivered, gateway.journal.reasons), ([], ["tls_timeout"]))
            self.assertEqual(gateway.checker.counters.pending, 0)

    async def test_14_it_sends_forty_megabytes(self) -> None:
        self.misbehave(delay=math.inf)
        gateway = await self.gateway(methods=["ocsp"], ocsp_depth=1, deadline=20, limits={"max_packet_size": 1 << 20})
        device = await self.held(gateway)
        messages = [wire.publish("a/b", bytes([number]) * (1 << 19)) for number in range(80)]
        device.send(wire.connect())
        for message in messages:
            device.send(message)
        self.assertEqual(gateway.delivered, [])
        self.responder.release()
        side = await gateway.target.accepted()
        await side.until(lambda: len(side.packets) > len(messages), "all of it", 20)
        await side.expect(*messages)

    async def test_14_too_many_are_held(self) -> None:
        self.misbehave(delay=math.inf)
        one = {"methods": ["ocsp"], "ocsp_depth": 1, "deadline": 20, "max_pending": 1}
        for on_failure in ("hard", "soft"):
            gateway = await self.gateway(**one, on_failure=on_failure)
            await self.held(gateway)
            gateway.staying = 1
            if on_failure == "soft":
                await self.assert_served(gateway, "unknown", TLS12)
            else:
                spoken = await self.s_client(gateway, "unknown", "-tls1_2", "-nocommands")
                self.assertEqual((alert(spoken), gateway.delivered), (46, []))
            self.assertEqual(gateway.checker.counters.refused_pending, 1)
            self.assertIn("revocation_pending", [word for word, _ in gateway.journal.reports])

    async def test_09_a_hundred_and_fifty_who_are_held_keep_nobody_waiting(self) -> None:
        """How long others take is for benchmarks/slow_responder.py to say."""
        gateway = await self.gateway(methods=["ocsp"], ocsp_depth=1, deadline=50, limits={"tls_handshake": 50})
        await self.assert_served(gateway, "good", TLS13)
        self.misbehave(delay=math.inf)
        slow = [self.pki.intermediate.issue(f"slow-{number}") for number in range(150)]
        held = [await gateway.device(credential, TLS12) for credential in slow]
        await eventually(lambda: gateway.checker.counters.pending == len(slow), lambda: "not all are held")
        for number in range(100):
            device = await gateway.connected(self.pki.clients["good"], VERSIONS[number % 2])
            device.close()
        self.assertEqual(gateway.checker.counters.pending, len(slow))
        self.assertEqual(gateway.counters.sessions_total, 101)
        self.responder.behaviours.clear()
        self.responder.release()
        for each in held:
            each.send(wire.connect())
            self.assertEqual(await each.read_packet(), wire.connack())

    async def test_15_one_request_for_a_thousand(self) -> None:
        self.responder.behaviours["ocsp"] = Behaviour(delay=math.inf)
        limits = {"tls_handshake": 50, "max_connections_per_address": 2 * MANY, "max_connection_rate": 2 * MANY}
        gateway = await self.gateway(methods=["ocsp"], ocsp_depth=1, deadline=50, limits=limits)
        good = self.pki.clients["good"]
        for _ in range(MANY // 50):
            await gatherResults([Deferred.fromCoroutine(gateway.device(good, TLS12)) for _ in range(50)])
        await eventually(lambda: gateway.checker.counters.held == MANY, lambda: "not all are held", 30)
        self.assertEqual(gateway.delivered, [])
        self.responder.release()
        gateway.devices[-1].send(wire.connect("last"))
        self.assertEqual(await gateway.devices[-1].read_packet(), wire.connack())
        open_ones = gateway.listener.factory.open
        await eventually(lambda: all(map(_established, open_ones)), lambda: "not all are admitted", 30)
        self.assertEqual(len(open_ones), MANY)
        self.assertEqual(self.responder.requests["ocsp"], 1)
        self.assertEqual(self.responder.serials[good.serial], 1)

    async def test_17_reload_while_held(self) -> None:
        for version in VERSIONS:
            self.misbehave(delay=math.inf)
            gateway = await self.gateway(methods=["ocsp"], ocsp_depth=1, deadline=20)
            device = await self.held(gateway, version)
            device.send(wire.connect())
            # What is served afterwards has another certificate and other authorities.
            gateway.reload(self.configuration(
                gateway.target, tls={"cert_file": "other-server.pem", "key_file": "other-server.key",
                                     "client_ca_file": "foreign.pem"},
            ))  # fmt: skip
            gc.collect()
            with self.assertRaises(ConfigError):
                gateway.reload(self.configuration(gateway.target, tls={"cert_file": "crl.pem"}))
            gc.collect()
            self.responder.release()
            self.assertEqual(await device.read_packet(), wire.connack())
            device.reset()
            await gateway.quiet()
            gateway.target.forget()
            spoken = await self.s_client(gateway, "good", FLAGS[version], "-nocommands")
            self.assertEqual(alert(spoken), 48)
            self.assertIn("CN = other-server", spoken.text)
            self.responder.behaviours.clear()
            await self.assert_served(gateway, "of-unknown-ca", version)


class LiveSessions(TlsGatewayTest):
    """16: a certificate that turns out to be revoked ends the sessions that use it."""

    async def test_16_cut_when_a_crl_says_so(self) -> None:
        for version in VERSIONS:
            self.responder.behaviours["intermediate.crl"] = Behaviour(crl={"next_update": timedelta(seconds=4)})
            gateway = await self.gateway(methods=["crl"])
            device = await gateway.connected(self.pki.clients["good"], version)
            other = await gateway.connected(self.pki.clients["unknown"], version)
            self.pki.intermediate.revoke(self.pki.clients["good"])
            await device.read_until_closed(20)
            await device.uplink.until(lambda device=device: device.uplink.closed, "close of the target's side")
            counters = gateway.counters
            await eventually(lambda counters=counters: counters.connections == 1, lambda: "both are still there")
            notices = [identity.common_name for name, identity in gateway.handler.called if "disconnect" in name]
            self.assertEqual(notices, ["good"])
            ((reason, _, fields),) = gateway.journal.rejects
            self.assertEqual((reason, fields["listener"]), ("tls_revoked", "devices"))
            self.assertIn("CN=good", fields["text"])
            ended = [fields for name, fields in gateway.journal.events if name == "disconnect"]
            self.assertEqual([each["client_id"] for each in ended], ["device"])
            self.assertEqual(gateway.checker.counters.cut, 1)
            other.send(wire.PINGREQ)
            self.assertEqual(await other.read_packet(), wire.PINGRESP, "others live on")
            self.pki.intermediate.release(self.pki.clients["good"])

    async def test_16_cut_when_another_device_is_found_out(self) -> None:
        """What a responder says when one device connects holds for all sessions with that certificate."""
        ahead = 0.0
        gateway = await self.gateway(now=lambda: time.time() + ahead, methods=["ocsp"], ocsp_depth=1)
        device = await gateway.connected(self.pki.clients["good"])
        self.pki.intermediate.revoke(self.pki.clients["good"])
        later = timedelta(days=2)
        self.responder.behaviours["ocsp"] = Behaviour(ocsp={"this_update": later, "next_update": 2 * later})
        ahead = later.total_seconds()
        await gateway.device(self.pki.clients["good"])
        await device.read_until_closed()
        await gateway.quiet()
        self.assertEqual(gateway.journal.reasons, ["tls_revoked"] * 2)
        self.assertEqual(len([name for name in gateway.handler.names if "disconnect" in name]), 1)


def _established(protocol: Any) -> bool:
    return bool(protocol.transport.getHandle().established)


