"""Devices whose certificates are good, revoked, on hold, unknown or unheard of, as they meet the whole gateway.

What a connection must withstand, by number, and which test proves it through the whole gateway:

1-6 (revoked, by an authority that is revoked, on hold, unknown, nobody to ask, depths): here. 7-11 (CRLs, responses,
responders, addresses, certificates that are not to be believed): test_gateway_responders. 12 (resumption,
renegotiation): test_gateway_hostile. 13-17 (a callback that raises, what devices do while they are held, one request
for a thousand, live sessions, reloads): test_gateway_sessions.

Below the gateway each rule is tested by itself: 1-6 and 15-16 in test_revocation, 7 in test_crl and (a number that goes
back) test_revocation, 8 in test_ocsp and test_oracle, 9-10 in test_fetch and test_fetch_rules, 11 and 13-14 in
test_connection, 12 and 17 in test_contexts. 19 (the self-test of the binding) is in test_verify alone.
"""

from __future__ import annotations

import time

from cryptography.x509 import ReasonFlags

from mgate.testing.credential import HOUR
from mgate.testing.responder import Behaviour
from mgate.tls.status import Status
from tests.tls.gateway import TlsGatewayTest, alert
from tests.tls.handshakes import FLAGS, TLS12, TLS13, VERSIONS

OCSP, CRL, BOTH = ["ocsp"], ["crl"], ["ocsp", "crl"]


class Statuses(TlsGatewayTest):
    """With a responder that answers as it should."""

    async def test_good(self) -> None:
        for version in VERSIONS:
            for methods in (OCSP, CRL, BOTH):
                with self.subTest(version=version, methods=methods):
                    gateway = await self.gateway(methods=methods, crl_depth=0)
                    await self.assert_served(gateway, "good", version)
                    asked = sum(self.responder.requests.values())
                    self.assertEqual(gateway.checker.counters.held, 1)
                    await self.assert_served(gateway, "good", version)
                    self.assertEqual(gateway.checker.counters.held, 1, "the second time it is in memory")
                    self.assertEqual(sum(self.responder.requests.values()), asked)

    async def test_01_revoked_leaf(self) -> None:
        for methods in (OCSP, CRL, BOTH):
            await self.assert_refused("revoked", 44, "tls_revoked", methods=methods)

    async def test_02_revoked_intermediate(self) -> None:
        for methods in (OCSP, CRL, BOTH):
            await self.assert_refused("of-revoked-ca", 44, "tls_revoked", methods=methods, crl_depth=0)

    async def test_03_on_hold_then_released(self) -> None:
        # A CRL that a clock of the future can believe is a matter of test_revocation.
        ahead = 0.0
        for version in VERSIONS:
            gateway = await self.gateway(now=lambda: time.time() + ahead, methods=OCSP, ocsp_depth=1)  # noqa: B023
            await self.assert_refused("on-hold", 44, "tls_revoked", gateway=gateway, versions=[version])
            self.pki.intermediate.release(self.pki.clients["on-hold"])
            later = 48 * HOUR
            self.responder.behaviours["ocsp"] = Behaviour(ocsp={"this_update": later, "next_update": later + HOUR})
            ahead = later.total_seconds()
            await self.assert_served(gateway, "on-hold", version)
            ahead = 0.0
            self.responder.behaviours.pop("ocsp")
            self.pki.intermediate.revoke(self.pki.clients["on-hold"], ReasonFlags.certificate_hold, since=-HOUR)

    async def test_04_unknown(self) -> None:
        for on_failure in ("hard", "soft"):
            await self.assert_refused("unknown", 46, "tls_unavailable", methods=OCSP, on_failure=on_failure)

    async def test_05_nobody_to_ask(self) -> None:
        for methods in (OCSP, CRL):
            await self.assert_refused("no-urls", 46, "tls_unavailable", known=True, methods=methods, ocsp_depth=1)
            for version in VERSIONS:
                gateway = await self.gateway(methods=methods, ocsp_depth=1, on_failure="soft")
                await self.assert_served(gateway, "no-urls", version)
                self.assertEqual(gateway.checker.counters.soft_accepted, 1)
        self.assertEqual(sum(self.responder.requests.values()), 0)

    async def test_05_the_configured_responder_is_asked_instead(self) -> None:
        url = f"{self.pki.url}/ocsp"
        gateway = await self.gateway(methods=OCSP, ocsp_responder_url=url, allowed_networks=[], allowed_ports=[80])
        for version in VERSIONS:
            await self.assert_served(gateway, "no-urls", version)
        self.assertGreater(self.responder.requests["ocsp"], 0)

    async def test_06_depth(self) -> None:
        for version in VERSIONS:
            for settings in ({"methods": OCSP, "ocsp_depth": 1}, {"methods": CRL, "crl_depth": 1}):
                await self.assert_served(await self.gateway(**settings), "of-revoked-ca", version)

    async def test_all_methods_must_agree(self) -> None:
        self.responder.behaviours["ocsp"] = Behaviour(ocsp={"status": Status.GOOD})
        await self.assert_refused("revoked", 44, "tls_revoked", methods=BOTH)
        self.responder.behaviours["intermediate.crl"] = Behaviour(code=500)
        await self.assert_refused("good", 46, "tls_unavailable", methods=BOTH)

    async def test_refused_at_the_first_attempt_where_nobody_is_to_wait(self) -> None:
        for version in VERSIONS:
            gateway = await self.gateway(methods=OCSP, on_miss="refuse", ocsp_depth=1)
            requests = self.responder.requests["ocsp"]
            spoken = await self.s_client(gateway, "good", FLAGS[version], "-nocommands")
            self.assertEqual(alert(spoken), 46 if version == TLS12 else None, spoken.text)
            self.assertEqual(gateway.delivered, [])
            await self.responder.asked("ocsp", requests + 1)
            await gateway.known("good", self.pki)
            await self.assert_served(gateway, "good", version)


class BeforeAnybodyIsAsked(TlsGatewayTest):
    """Certificates that OpenSSL refuses: nobody hears of them."""

    async def test_refused_by_openssl(self) -> None:
        for client, number in {"of-unknown-ca": 48, "expired": 45, "not-yet-valid": 42, "server-only": 43}.items():
            await self.assert_refused(client, number, "tls_handshake", known=True, methods=BOTH)
        self.assertEqual(sum(self.responder.requests.values()), 0)

    async def test_no_certificate(self) -> None:
        for version, number in {TLS12: 40, TLS13: 116}.items():
            gateway = await self.gateway(methods=BOTH)
            spoken = await self.s_client(gateway, None, FLAGS[version], "-nocommands")
            self.assertEqual(alert(spoken), number)
            self.assertEqual((gateway.delivered, gateway.journal.reasons), ([], ["tls_handshake"]))
        self.assertEqual(sum(self.responder.requests.values()), 0)

    async def test_without_revocation_every_verified_certificate_will_do(self) -> None:
        gateway = await self.gateway()
        for version in VERSIONS:
            await self.assert_served(gateway, "revoked", version)
            await self.assert_refused("of-unknown-ca", 48, "tls_handshake", known=True, versions=[version])
