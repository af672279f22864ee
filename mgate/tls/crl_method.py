"""Answers from CRLs, which it reads where the operator or the certificate says, and keeps up to date.

Rules:

1. The distribution points that the operator configured are used instead of those that a certificate names. Where there
   are none of either, the offline file is.
2. They are tried in order. The first one that is in memory and about the certificate answers; only where none is, are
   they read. All but the last get a share of `deadline`; the last may take longer, for those who come later.
3. A CRL speaks about the certificates of one issuer: whoever signs it must have that issuer's name.
4. `HELD` CRLs are kept at most; the one that was used longest ago is let go, and is not refreshed any more.
5. Delta CRLs are not read: the whole one says the same, later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate, load_pem_x509_certificate
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from mgate.errors import ConfigError
from mgate.tls import crl
from mgate.tls.fetch import Fetcher
from mgate.tls.finding_cache import FindingCache
from mgate.tls.held_crl import CrlFile, CrlSource, CrlUrl, HeldCrl, InThread
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

__all__ = ["CrlMethod"]

HELD = 64
NAMED = 1024
BACKGROUND = 30.0
"""Seconds for a reading that no handshake waits for."""


class CrlMethod:
    """A `mgate.tls.revocation_method.RevocationMethod`; see `mgate.tls.revocation.MakeMethod` for its arguments.

    Args:
        in_thread: runs what takes long; in the reactor's thread pool if left out.

    Raises:
        ConfigError: a file that the settings name cannot be read, or is none of its kind.
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
        in_thread: InThread | None = None,
    ) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._clock = clock
        self._now = now
        self._report = report
        self._counters = counters
        self._found_revoked = found_revoked
        self._in_thread = in_thread or (lambda run: deferToThreadPool(clock, clock.getThreadPool(), run))
        self._keys = IssuerKeys()
        self._asking = Coalesced("crl")
        self._held: OrderedDict[tuple[str, bytes, bytes], HeldCrl] = OrderedDict()
        self._started = False
        self._named = lru_cache(maxsize=NAMED)(_named)
        self._points_signer = _signer("crl_distribution_points_issuer_cert_file", settings)
        self._offline_signer = _signer("offline_crl_issuer_cert_file", settings)
        if settings.offline_crl_file:
            _check_offline(settings.offline_crl_file, self._offline_signer, now())

    def cached(self, certificate: Certificate, issuer: Certificate) -> Finding | None:
        """RevocationMethod."""
        unread = False
        detail = "the certificate names no distribution point"
        for held in self._of(certificate, issuer):
            finding, why = self._finding(held, certificate)
            if finding is not None:
                return finding
            unread = unread or held.should_be_read
            detail = why
        return None if unread else Finding(Status.UNAVAILABLE, source="crl", detail=detail)

    def check(self, certificate: Certificate, issuer: Certificate) -> Deferred[Finding]:
        """RevocationMethod."""
        key = self._keys.key(certificate, issuer)
        return self._asking.ask(key, lambda: Deferred.fromCoroutine(self._check(certificate, issuer)))

    def due(self, certificate: Certificate, issuer: Certificate) -> float | None:
        """RevocationMethod; CRLs are kept up to date anyway."""
        return None

    def renew(self, certificate: Certificate, issuer: Certificate) -> Deferred[Finding]:
        """RevocationMethod."""
        return self.check(certificate, issuer)

    def inherit(self, previous: RevocationMethod) -> None:
        """RevocationMethod: a CRL that was verified goes on counting until a newer one is, over reloads too."""
        if not isinstance(previous, CrlMethod):
            return
        for (url, _, _), old in previous._held.items():
            configured = self._settings.crl_distribution_points
            mine = url in configured if configured else True
            if old.serials is None or not (mine if url else self._settings.offline_crl_file and not configured):
                continue
            signer = self._points_signer if configured else None if url else self._offline_signer
            held = self._hold(url, old.issuer, signer, bool(configured) or not url)
            if held.take_over(old):
                held.load(BACKGROUND)

    def start(self) -> None:
        """RevocationMethod: CRLs are read again before they end."""
        self._started = True
        for held in self._held.values():
            held.keep_up_to_date(BACKGROUND)

    def stop(self) -> None:
        """RevocationMethod."""
        self._started = False
        for held in self._held.values():
            held.stop()
        self._asking.stop()

    async def _check(self, certificate: Certificate, issuer: Certificate) -> Finding:
        answer = self.cached(certificate, issuer)
        if answer is not None:
            return answer
        points = self._of(certificate, issuer)
        share = self._settings.deadline / len(points)
        detail = ""
        for held in points:
            if held.should_be_read:
                await held.load(BACKGROUND if held is points[-1] else share)
            finding, detail = self._finding(held, certificate)
            if finding is not None:
                return finding
        return Finding(Status.UNAVAILABLE, source="crl", detail=detail)

    def _finding(self, held: HeldCrl, certificate: Certificate) -> tuple[Finding | None, str]:
        """What a CRL says about a certificate, or why it says nothing."""
        if held.serials is None:
            return None, held.detail
        try:
            return held.serials.finding(certificate, self._now()), ""
        except Unusable as error:
            return None, held.detail or f"{held.name}: {error}"

    def _of(self, certificate: Certificate, issuer: Certificate) -> list[HeldCrl]:
        """The CRLs that may be about a certificate, in the order in which they are tried."""
        settings = self._settings
        if settings.crl_distribution_points:
            names, signer = settings.crl_distribution_points, self._points_signer
        else:
            names, signer = self._named(certificate), None
        if names:
            return [self._hold(name, issuer, signer, settings.crl_distribution_points != ()) for name in names]
        if settings.offline_crl_file:
            return [self._hold("", issuer, self._offline_signer, True)]
        return []

    def _hold(self, url: str, issuer: Certificate, signer: Certificate | None, trusted: bool) -> HeldCrl:
        """The CRL from a URL, "" for the offline file, about certificates of `issuer`."""
        if signer is None or signer.subject != issuer.subject:
            signer = issuer
        issuer_key = self._keys.key(issuer, issuer).issuer_key
        name = (url, issuer_key, self._keys.key(signer, signer).issuer_key)
        held = self._held.get(name)
        if held is None:
            source: CrlSource = CrlFile(self._settings.offline_crl_file, self._in_thread)
            if url:
                source = CrlUrl(url, self._fetcher, trusted)
            held = self._held[name] = HeldCrl(
                source, issuer, signer, self._clock, now=self._now, in_thread=self._in_thread, report=self._report,
                counters=self._counters, changed=lambda: self._found_revoked(issuer_key, None),
            )  # fmt: skip
            if self._started:
                held.keep_up_to_date(BACKGROUND)
            while len(self._held) > HELD:
                self._held.popitem(last=False)[1].stop()
        self._held.move_to_end(name)
        return held


def _named(certificate: Certificate) -> tuple[str, ...]:
    return tuple(crl.distribution_points(certificate))


def _signer(setting: str, settings: Revocation) -> Certificate | None:
    path: str = getattr(settings, setting)
    if not path:
        return None
    try:
        return load_pem_x509_certificate(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError([f"{path}:{setting}: cannot be read: {error.strerror or error}"]) from None
    except ValueError:
        raise ConfigError([f"{path}:{setting}: is no certificate in PEM"]) from None


def _check_offline(path: str, signer: Certificate | None, now: float) -> None:
    try:
        with Path(path).open("rb") as file:
            read = crl.load_crl(file.read(crl.MAX_CRL + 1))
        crl.check_whole(read, now=now)
        if signer is not None:
            crl.verify_crl(read, signer, now=now)
    except Unusable as error:
        raise ConfigError([f"{path}:offline_crl_file: {error}"]) from None
    except (OSError, ValueError) as error:  # a NUL in the path is a ValueError
        raise ConfigError([f"{path}:offline_crl_file: cannot be read: {getattr(error, 'strerror', error)}"]) from None
