"""Asks OCSP responders about certificates, and remembers their answers.

Rules:

1. The responder that the operator configured is asked instead of those that the certificate names; those are asked one
   after the other until one gives an answer that can be believed. Together they have `deadline` seconds.
2. An answer is kept until it expires. That there was none is kept for 5 to 30 seconds.
3. The certificates of live sessions are asked about again when 80 % of that time is over, and once an hour at least.
"""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from typing import Any

from cryptography.x509 import Certificate
from twisted.internet.defer import Deferred

from mgate.errors import ConfigError
from mgate.tls import ocsp
from mgate.tls.fetch import Fetcher
from mgate.tls.fetch_rules import FetchError
from mgate.tls.finding_cache import FindingCache
from mgate.tls.revocation_method import (
    CertificateKey,
    Coalesced,
    IssuerKeys,
    Report,
    RevocationCounters,
    RevocationMethod,
)
from mgate.tls.settings import Revocation
from mgate.tls.status import Finding, Status, Unusable

__all__ = ["OcspMethod"]

NONCE = 32  # RFC 9654 section 2.1
ASKED_AGAIN = 0.8
LATEST = 3600.0
NOT_KEPT = 300.0
"""Seconds after which a live session is asked about again whose responder gives answers for this once only."""


class OcspMethod:
    """A `mgate.tls.revocation_method.RevocationMethod`; see `mgate.tls.revocation.MakeMethod` for its arguments.

    Raises:
        ConfigError: a nonce is demanded, but requests are to be such that HTTP caches can answer them.
    """

    def __init__(
        self,
        settings: Revocation,
        fetcher: Fetcher,
        clock: Any,
        *,
        cache: FindingCache,
        now: Callable[[], float],
        report: Report,
        counters: RevocationCounters,
        found_revoked: Callable[[bytes, CertificateKey | None], None],
    ) -> None:
        if settings.require_nonce and settings.ocsp_method == "get":
            raise ConfigError(["require_nonce: requests with ocsp_method = \"get\" have none"])
        self._settings = settings
        self._fetcher = fetcher
        self._cache = cache
        self._now = now
        self._report = report
        self._counters = counters
        self._found_revoked = found_revoked
        self._keys = IssuerKeys()
        self._asking = Coalesced("ocsp")
        self._scope = ("ocsp", settings.ocsp_responder_url, settings.ocsp_method, settings.require_nonce)
        # What a responder said holds for all who would ask it. That it could not be asked depends on who may ask whom.
        self._failing = (*self._scope, settings.allowed_networks, settings.allowed_ports, settings.deadline)

    def cached(self, certificate: Certificate, issuer: Certificate) -> Finding | None:
        """RevocationMethod."""
        key = self._keys.key(certificate, issuer)
        finding = self._cache.get((self._scope, key))
        if finding is None and not self._urls(certificate):
            return Finding(Status.UNAVAILABLE, source="ocsp", detail="the certificate names no responder")
        return finding if finding is not None else self._cache.get((self._failing, key))

    def check(self, certificate: Certificate, issuer: Certificate) -> Deferred[Finding]:
        """RevocationMethod."""
        key = self._keys.key(certificate, issuer)
        return self._asking.ask(key, lambda: Deferred.fromCoroutine(self._ask(certificate, issuer, key)))

    def due(self, certificate: Certificate, issuer: Certificate) -> float | None:
        """RevocationMethod."""
        if not self._urls(certificate):
            return None
        now = self._now()
        key = self._keys.key(certificate, issuer)
        left = max(self._cache.expires((scope, key)) for scope in (self._scope, self._failing)) - now
        return now + min(left * ASKED_AGAIN, LATEST) if left > 0 else now + NOT_KEPT

    def renew(self, certificate: Certificate, issuer: Certificate) -> Deferred[Finding]:
        """RevocationMethod."""
        return self.check(certificate, issuer)

    def inherit(self, previous: RevocationMethod) -> None:
        """RevocationMethod; what responders have said is in the memory that all checkers share."""

    def start(self) -> None:
        """RevocationMethod; nothing is done without being asked."""

    def stop(self) -> None:
        """RevocationMethod."""
        self._asking.stop()

    def _urls(self, certificate: Certificate) -> list[str]:
        configured = self._settings.ocsp_responder_url
        return [configured] if configured else ocsp.responder_urls(certificate)

    async def _ask(self, certificate: Certificate, issuer: Certificate, key: CertificateKey) -> Finding:
        urls = self._urls(certificate)
        detail = "the certificate names no responder"
        finding: Finding | None = None
        for url in urls:
            try:
                finding = await self._ask_one(url, certificate, issuer, self._settings.deadline / len(urls))
                break
            except (FetchError, Unusable) as error:
                self._counters.ocsp_failures += 1
                detail = f"{url}: {error}"
                self._report("ocsp_failed", detail)
        if finding is None:
            finding = Finding(Status.UNAVAILABLE, source="ocsp", detail=detail)
            self._cache.put((self._failing, key), finding)
            return finding
        self._cache.put((self._scope, key), finding)
        self._cache.forget((self._failing, key))
        if finding.status is Status.REVOKED:
            self._found_revoked(key.issuer_key, key)
        return finding

    async def _ask_one(self, url: str, certificate: Certificate, issuer: Certificate, deadline: float) -> Finding:
        self._counters.ocsp_requests += 1
        trusted = bool(self._settings.ocsp_responder_url)
        nonce: bytes | None = None
        if self._settings.ocsp_method == "get":
            path = ocsp.get_path(ocsp.request(certificate, issuer, None))
            body = await self._fetcher.fetch(
                "GET", f"{url.removesuffix('/')}/{path}",
                limit=ocsp.MAX_RESPONSE, deadline=deadline, trusted=trusted,
            )  # fmt: skip
        else:
            nonce = urandom(NONCE)
            body = await self._fetcher.fetch(
                "POST", url, data=ocsp.request(certificate, issuer, nonce), content_type="application/ocsp-request",
                limit=ocsp.MAX_RESPONSE, deadline=deadline, trusted=trusted,
            )  # fmt: skip
        return ocsp.read_response(
            body, certificate, issuer, nonce,
            now=self._now(), source=f"ocsp {url}", require_nonce=self._settings.require_nonce,
        )  # fmt: skip
