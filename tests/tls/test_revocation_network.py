"""The checker with real connections to a responder that misbehaves."""

from __future__ import annotations

import math
from typing import Any

from cryptography.x509 import Certificate
from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from mgate.testing.pki import Pki
from mgate.testing.responder import Behaviour, Responder
from mgate.tls.fetch import Fetcher
from mgate.tls.revocation import RevocationChecker
from mgate.tls.settings import Revocation
from mgate.tls.status import Finding, Status

reactor: Any = installed_reactor


class NetworkTests(TestCase):
    """OCSP and CRLs of a responder on the loopback interface."""

    timeout = 30

    async def setUp(self) -> None:
        self.responder = Responder(reactor)
        self.addCleanup(self.responder.stop)
        self.pki = Pki.make(await self.responder.listen())
        self.responder.authorities = self.pki.authorities
        self.port = int(self.pki.url.rpartition(":")[2])

    def checker(
        self, *methods: Any, networks: tuple[str, ...] = ("127.0.0.0/8",), **settings: Any
    ) -> RevocationChecker:
        """A checker that may ask the responder."""
        wanted = Revocation(methods=methods, allowed_networks=networks, allowed_ports=(self.port,), **settings)
        fetcher = Fetcher(reactor, allowed_networks=wanted.allowed_networks, allowed_ports=wanted.allowed_ports)
        checker = RevocationChecker(wanted, fetcher, reactor)
        checker.start()
        self.addCleanup(fetcher.stop)
        self.addCleanup(checker.stop)
        return checker

    def chain(self, name: str) -> dict[int, Certificate]:
        """The chain of a device."""
        return {
            0: self.pki.clients[name].certificate,
            1: self.pki.intermediate.credential.certificate,
            2: self.pki.root.credential.certificate,
        }

    async def found(self, checker: RevocationChecker, name: str) -> Finding:
        """What a check finds; the verify callback is then told the same."""
        chain = self.chain(name)
        finding: Finding = await checker.check_chain(chain)
        if finding.status in (Status.REVOKED, Status.GOOD):
            decided = checker.decide(chain, 0)
            assert decided is not None
            self.assertEqual(decided.status, finding.status)
        return finding

    async def test_each_method(self) -> None:
        for settings in (
            {"methods": ("ocsp",)},
            {"methods": ("ocsp",), "ocsp_method": "get"},
            {"methods": ("ocsp",), "require_nonce": True},
            {"methods": ("crl",), "crl_depth": 0},
            {"methods": ("ocsp", "crl")},
        ):
            with self.subTest(settings=settings):
                checker = self.checker(*settings.pop("methods"), **settings)  # type: ignore[misc]
                self.assertEqual((await self.found(checker, "good")).status, Status.GOOD)
                self.assertEqual((await self.found(checker, "revoked")).status, Status.REVOKED)

    async def test_private_addresses_of_certificates(self) -> None:
        for method in ("ocsp", "crl"):
            checker = self.checker(method, networks=())
            self.assertEqual((await self.found(checker, "good")).status, Status.UNAVAILABLE)
        self.assertEqual(sum(self.responder.requests.values()), 0)
        checker = self.checker("ocsp", networks=(), ocsp_responder_url=self.pki.url + "/ocsp")
        self.assertEqual((await self.found(checker, "good")).status, Status.GOOD)

    async def test_answers_that_are_none(self) -> None:
        for name, behaviour in {
            "status": Behaviour(code=500),
            "redirect to itself": Behaviour(redirect=self.pki.url + "/ocsp"),
            "redirect to a file": Behaviour(redirect="file:///etc/passwd"),
            "too long": Behaviour(content_length=1 << 30),
            "cut short": Behaviour(body=b"\x30\x80", endless=True),
            "html": Behaviour(body=b"<html>moved</html>"),
        }.items():
            self.responder.behaviours[""] = behaviour
            for method in ("ocsp", "crl"):
                with self.subTest(name, method=method):
                    checker = self.checker(method, ocsp_depth=1)
                    self.assertEqual((await self.found(checker, "good")).status, Status.UNAVAILABLE)

    async def test_too_slow(self) -> None:
        for name, behaviour in {"stall": Behaviour(delay=math.inf), "drip": Behaviour(drip=0.05)}.items():
            self.responder.behaviours[""] = behaviour
            for method in ("ocsp", "crl"):
                with self.subTest(name, method=method):
                    checker = self.checker(method, ocsp_depth=1, deadline=0.2)
                    self.assertEqual((await self.found(checker, "good")).status, Status.UNAVAILABLE)

    async def test_one_request_for_all_who_wait(self) -> None:
        self.responder.behaviours["ocsp"] = Behaviour(delay=math.inf)
        checker, chain = self.checker("ocsp", ocsp_depth=1), self.chain("good")
        asking = [checker.check_chain(chain) for _ in range(1000)]
        await self.responder.asked()
        self.responder.release()
        for each in asking:
            self.assertEqual((await each).status, Status.GOOD)
        self.assertEqual(self.responder.requests["ocsp"], 1)
