"""Responders and CRLs that lie, fail, stall or stand where nobody may be sent: the whole gateway refuses the device.

One case for each way in which an answer cannot be used; each rule by itself is tested in test_ocsp, test_crl,
test_fetch and test_fetch_rules. `tests.tls.test_gateway_status` has the list of what is proved where.
"""

from __future__ import annotations

import contextlib
import math
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPResponseStatus
from OpenSSL import SSL

from mgate.testing.credential import DAY
from mgate.testing.responder import Behaviour
from tests.gateway import RawDevice
from tests.tls.gateway import TlsGateway, TlsGatewayTest
from tests.tls.handshakes import TLS12, VERSIONS, client_connection

MOMENT = timedelta(0)


class Answers(TlsGatewayTest):
    """What a responder says."""

    async def unusable(self, method: str, cases: dict[str, dict[str, Any]], **settings: Any) -> None:
        """A good device is refused, since no answer can be believed."""
        self.assertTrue(cases)
        for name, behaviour in cases.items():
            with self.subTest(name):
                self.misbehave(**behaviour)
                await self.assert_refused(
                    "good", 46, "tls_unavailable", methods=[method], ocsp_depth=1, deadline=0.5, **settings
                )

    async def test_07_crls(self) -> None:
        indirect = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        foreign = self.pki.foreign
        current = self.pki.intermediate.crl()
        await self.unusable("crl", {
            "expired": {"crl": {"this_update": -2 * DAY, "next_update": -DAY}},
            "from the future": {"crl": {"this_update": DAY, "next_update": 2 * DAY}},
            "wrong signer": {"crl": {"key": foreign.credential.key}},
            "foreign issuer": {"authority": foreign},
            "indirect": {"crl": {"extensions": [(indirect, True)]}},
            "unknown critical extension": {"crl": {"extensions": [(unknown, True)]}},
            "truncated": {"body": current.public_bytes(Encoding.DER)[:-20]},
            "truncated PEM": {"body": current.public_bytes(Encoding.PEM)[:-40]},
            "HTML": {"body": b"<html>moved</html>"},
            "a delta in the place of its base": {"crl": {"delta_of": 1}},
        })  # fmt: skip

    async def test_07_an_authority_that_may_not_sign_crls(self) -> None:
        mute = self.pki.root.intermediate(
            "mute", crl_sign=False, ocsp_url=f"{self.pki.url}/ocsp", crl_urls=[f"{self.pki.url}/mute.crl"]
        )
        self.responder.authorities = [*self.pki.authorities, mute]
        await self.assert_refused(mute.issue("device"), 46, "tls_unavailable", methods=["crl"])
        self.assertGreater(self.responder.requests["mute.crl"], 0)

    async def test_08_ocsp_responses(self) -> None:
        delegates = self.pki.delegates
        await self.unusable("ocsp", {
            "bad signature": {"ocsp": {"signature": "broken"}},
            "SHA-1": {"ocsp": {"signature": "sha1"}},
            "a key of somebody else": {"ocsp": {"key": self.pki.foreign.credential.key}},
            **{
                f"delegate {name}": {"ocsp": {"delegate": delegates[name]}}
                for name in ("foreign", "no-eku", "expired", "no-nocheck", "of-root")
            },
            "stale": {"ocsp": {"this_update": -2 * DAY, "next_update": -DAY}},
            "stale without nextUpdate": {"ocsp": {"this_update": -30 * DAY, "next_update": None}},
            "from the future": {"ocsp": {"this_update": DAY, "next_update": 2 * DAY}},
            "another certificate": {"ocsp": {"serial": self.pki.clients["slow"].serial}},
            "another issuer": {"authority": self.pki.root},
            "another nonce": {"ocsp": {"nonce": bytes(32)}},
            "try later": {"error": OCSPResponseStatus.TRY_LATER},
            "garbage": {"body": b"\x30\x03\x0a\x01\x00"},
        })  # fmt: skip
        await self.unusable("ocsp", {"no nonce": {"ocsp": {"nonce": None}}}, require_nonce=True)

    async def test_08_ocsp_responses_that_are_good_enough(self) -> None:
        for name, changes in {
            "delegate": {"delegate": self.pki.delegates["good"]},
            "no nextUpdate": {"next_update": None},
            "nextUpdate is now": {"next_update": MOMENT},
            "no nonce": {"nonce": None},
        }.items():
            self.misbehave(ocsp=changes)
            for version in VERSIONS:
                with self.subTest(name, version=version):
                    gateway = await self.gateway(methods=["ocsp"], ocsp_depth=1)
                    await self.assert_served(gateway, "good", version)

    async def test_08_the_same_serial_of_another_issuer(self) -> None:
        serial = self.pki.clients["revoked"].serial
        other = self.pki.root.intermediate(
            "other", ocsp_url=f"{self.pki.url}/ocsp", crl_urls=[f"{self.pki.url}/other.crl"]
        )
        self.responder.authorities = [*self.pki.authorities, other]
        namesake = other.issue("namesake", serial=serial)
        for methods in (["ocsp"], ["crl"]):
            for version in VERSIONS:
                gateway = await self.gateway(methods=methods)
                await self.assert_refused("revoked", 44, "tls_revoked", gateway=gateway, versions=[version])
                await self.assert_served(gateway, namesake, version)

    async def test_09_transport(self) -> None:
        cases: dict[str, dict[str, Any]] = {
            "error": {"code": 500},
            "nothing here": {"code": 404},
            "too large, as it says": {"content_length": 1 << 30},
            "too large, as it turns out": {"endless": True},
            "redirect to itself": {"redirect": f"{self.pki.url}/ocsp"},
            "redirect to a link-local address": {"redirect": "http://169.254.169.254/latest/meta-data"},
            "redirect to a file": {"redirect": "file:///etc/passwd"},
        }
        slow: dict[str, dict[str, Any]] = {"no end in sight": {"delay": math.inf}, "a drip": {"drip": 0.05}}
        await self.unusable("ocsp", {**cases, **slow})
        await self.unusable("crl", cases)
        # A CRL that comes too late is still waited for, for those who come later: nothing is known yet.
        await self.unusable("crl", slow, versions=[TLS12])


class Places(TlsGatewayTest):
    """Where responders are."""

    async def test_09_down(self) -> None:
        await self.responder.stop()
        for method in ("ocsp", "crl"):
            await self.assert_refused("good", 46, "tls_unavailable", methods=[method])
            for version in VERSIONS:
                gateway = await self.gateway(methods=[method], ocsp_depth=1, on_failure="soft")
                await self.assert_served(gateway, "good", version)
                self.assertEqual(gateway.checker.counters.soft_accepted, 1)
                self.assertIn("revocation_soft", [word for word, _ in gateway.journal.reports])
                await self.assert_refused("of-unknown-ca", 48, "tls_handshake", known=True, gateway=gateway)

    async def test_09_first_distribution_point_down(self) -> None:
        self.responder.behaviours["gone"] = Behaviour(code=500)
        urls = [f"{self.pki.url}/gone/intermediate.crl", f"{self.pki.url}/intermediate.crl"]
        device = self.pki.intermediate.issue("device", crl_urls=urls)
        stolen = self.pki.intermediate.issue("stolen", crl_urls=urls)
        self.pki.intermediate.revoke(stolen)
        for version in VERSIONS:
            await self.assert_served(await self.gateway(methods=["crl"]), device, version)
        self.assertEqual(self.responder.requests["gone/intermediate.crl"], 2)
        await self.assert_refused(stolen, 44, "tls_revoked", methods=["crl"])

    async def test_10_addresses_that_certificates_must_not_name(self) -> None:
        port = self.responder_port
        for url in (
            f"http://127.0.0.1:{port}/ocsp", f"http://localhost:{port}/ocsp", f"http://[::1]:{port}/ocsp",
            f"http://[::ffff:127.0.0.1]:{port}/ocsp", f"http://0.0.0.0:{port}/ocsp", f"http://2130706433:{port}/ocsp",
            f"http://0x7f000001:{port}/ocsp", f"http://a:b@127.0.0.1:{port}/ocsp", "http://10.0.0.1/ocsp",
            "http://169.254.169.254/ocsp", "http://[fe80::1]/ocsp", "http://198.51.100.1:22/ocsp",
            "file:///etc/passwd", "ldap://127.0.0.1/cn=ca",
        ):  # fmt: skip
            device = self.pki.intermediate.issue("device", ocsp_url=url, crl_urls=[url])
            for method in ("ocsp", "crl"):
                with self.subTest(url, method=method):
                    # Of what is no address of the web it is known at once that nobody can be asked.
                    gateway = await self.gateway(methods=[method], allowed_networks=[], ocsp_depth=1)
                    await self.assert_refused(device, 46, "tls_unavailable", gateway=gateway, versions=[TLS12])
        self.assertEqual(sum(self.responder.requests.values()), 0)


class Canary(TlsGatewayTest):
    """Nobody makes the gateway ask by showing it a certificate."""

    async def test_11_a_certificate_of_nobody(self) -> None:
        forged = self.pki.foreign.issue(
            "forged", ocsp_url=f"{self.pki.url}/ocsp", crl_urls=[f"{self.pki.url}/intermediate.crl"]
        )
        for client in ("of-unknown-ca", forged):
            await self.assert_refused(client, 48, "tls_handshake", known=True, methods=["ocsp", "crl"])
        self.assertEqual(sum(self.responder.requests.values()), 0)

    async def test_11_a_certificate_without_its_key(self) -> None:
        gateway = await self.gateway(methods=["ocsp", "crl"])
        thief, flight = await self.last_flight(gateway, TLS12)
        thief.send(_with_another_signature(flight))
        answer = await thief.read_until_closed()
        self.assertIn(b"\x15\x03\x03\x00\x02\x02\x33", answer, "decrypt_error: the signature is not of this key")
        await gateway.quiet()
        self.assertEqual((gateway.delivered, gateway.journal.reasons), ([], ["tls_handshake"]))
        self.assertEqual(sum(self.responder.requests.values()), 0)

    async def test_11_a_certificate_whose_key_is_never_shown(self) -> None:
        for version in VERSIONS:
            gateway = await self.gateway(methods=["ocsp", "crl"], limits={"tls_handshake": 0.3})
            thief, flight = await self.last_flight(gateway, version)
            thief.send(flight[:-1])
            await thief.read_until_closed()
            await gateway.quiet()
            self.assertEqual((gateway.delivered, gateway.journal.reasons), ([], ["tls_timeout"]))
        self.assertEqual(sum(self.responder.requests.values()), 0)

    async def last_flight(self, gateway: TlsGateway, version: int) -> tuple[RawDevice, bytes]:
        """A device that has yet to send what proves that it has the key of its certificate, and what that is."""
        device = await gateway.raw()
        client = client_connection(version, self.pki.clients["good"])
        taken, flight = 0, b""

        def shake_hands() -> None:
            nonlocal taken, flight
            if len(device.received) > taken:
                client.bio_write(bytes(device.received[taken:]))
                taken = len(device.received)
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                flight += client.bio_read(1 << 20)

        shake_hands()
        device.send(flight)
        flight = b""

        def ready() -> bool:
            shake_hands()
            return bool(flight)

        await device.until(ready, "flight of the gateway")
        return device, flight


def _with_another_signature(flight: bytes) -> bytes:
    """The last flight of a device in TLS 1.2 with one bit of its CertificateVerify changed (RFC 5246 section 7.4.8)."""
    changed, at = bytearray(flight), 0
    while at < len(flight):
        size = int.from_bytes(flight[at + 3 : at + 5], "big")
        if flight[at] == 22 and flight[at + 5] == 15:
            changed[at + 5 + size - 1] ^= 1
            return bytes(changed)
        at += 5 + size
    raise AssertionError("no CertificateVerify")


