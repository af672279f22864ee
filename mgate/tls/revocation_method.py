"""What every method of asking about a certificate is: the protocol, the key of a certificate, and asking once for all.

Rules:

1. A certificate is known by the key and the name of its issuer and its serial, never by the serial alone.
2. `cached` is called by the verify callback: it does no I/O and does not wait.
3. `check` never fails: whatever goes wrong is a `Finding` of status UNAVAILABLE, and the policy decides about it.

To add a method, write a module with a class like `mgate.tls.ocsp_method.OcspMethod` and name it in
`mgate.tls.revocation.CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mgate.tls.status import Finding, Status

__all__ = [
    "FIRST_RETRY",
    "CertificateKey",
    "Coalesced",
    "IssuerKeys",
    "Report",
    "RevocationCounters",
    "RevocationMethod",
    "retry_after",
]

ISSUERS = 256
FIRST_RETRY = 5.0
LAST_RETRY = 30.0

Report = Callable[[str, str], None]
"""Called for the log with a word of a closed list and a text: ``report("ocsp_failed", "http://...: no answer")``."""


@dataclass(slots=True)
class RevocationCounters:
    """What happened in one checker since its start. Every field only grows, but for `pending`."""

    pending: int = 0
    """Handshakes that wait for a status now."""
    from_memory: int = 0
    """Decisions of the verify callback that needed no question."""
    held: int = 0
    """Handshakes that had to wait."""
    refused_pending: int = 0
    """Handshakes that would have had to wait, but `max_pending` did already."""
    late: int = 0
    """Handshakes whose status was not known within the deadline."""
    soft_accepted: int = 0
    """Certificates accepted although nobody could be asked about them."""
    revoked: int = 0
    """Answers "revoked" that were given to the verify callback or a held handshake."""
    ocsp_requests: int = 0
    ocsp_failures: int = 0
    crl_fetches: int = 0
    crl_failures: int = 0
    cut: int = 0
    """Live sessions that were told that their certificate is revoked."""


class CertificateKey(NamedTuple):
    """What tells a certificate from all others (RFC 6960 section 4.1.1 names the same three)."""

    issuer_key: bytes
    """SHA-256 of the issuer's SubjectPublicKeyInfo."""
    issuer_name: bytes
    """The issuer's name, as DER."""
    serial: int


class RevocationMethod(Protocol):
    """One way to learn the status of a certificate; made by `mgate.tls.revocation.RevocationChecker`."""

    def cached(self, certificate: Certificate, issuer: Certificate) -> Finding | None:
        """Answer from memory; None if somebody must be asked. The verify callback calls it."""

    def check(self, certificate: Certificate, issuer: Certificate) -> Deferred[Finding]:
        """Ask, or join those who already ask about this certificate. The Deferred never fails, but when cancelled."""

    def due(self, certificate: Certificate, issuer: Certificate) -> float | None:
        """POSIX time at which a live session's certificate is to be asked about again; None if that needs no asking,
        because the method keeps itself up to date."""

    def renew(self, certificate: Certificate, issuer: Certificate) -> Deferred[Finding]:
        """As `check`, but asks although there is an answer in memory, and keeps that one if nobody can be asked."""

    def inherit(self, previous: RevocationMethod) -> None:
        """Begin with what another object of the same method has learnt, as far as it holds under these settings."""

    def start(self) -> None:
        """Begin what the method does in the background."""

    def stop(self) -> None:
        """End it, and every request that is under way."""


class IssuerKeys:
    """Makes keys of certificates; remembers the part that is the same for all certificates of an issuer.

    A method calls it for each handshake: 20 us the first time that it meets an issuer, 2 us later.
    """

    def __init__(self) -> None:
        self._issuer = lru_cache(maxsize=ISSUERS)(_issuer_key)

    def key(self, certificate: Certificate, issuer: Certificate) -> CertificateKey:
        """The key of a certificate."""
        issuer_key, issuer_name = self._issuer(issuer)
        return CertificateKey(issuer_key, issuer_name, certificate.serial_number)


def _issuer_key(issuer: Certificate) -> tuple[bytes, bytes]:
    spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(spki).digest(), issuer.subject.public_bytes()


class Coalesced:
    """All who ask the same question while it is being asked wait for the one answer.

    Args:
        source: named in the finding that stands for a question that raised.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._waiting: dict[Hashable, list[Deferred[Finding]]] = {}
        self._asked: dict[Hashable, Deferred[None]] = {}
        self._log = Logger("mgate.tls")

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, question: Hashable, start: Callable[[], Deferred[Finding]]) -> Deferred[Finding]:
        """Join the question, or start it. Who cancels stops waiting; the question goes on for the others."""
        answer: Deferred[Finding] = Deferred()
        if question in self._waiting:
            self._waiting[question].append(answer)
            return answer
        self._waiting[question] = [answer]
        asked = start().addErrback(self._raised).addCallback(self._tell, question)
        if not asked.called:
            self._asked[question] = asked
        return answer

    def stop(self) -> None:
        """Cancel every question; all who wait are told that there is no answer."""
        for asked in list(self._asked.values()):
            asked.cancel()

    def _raised(self, failure: Failure) -> Finding:
        # Methods can be added by anybody; whatever one raises must not accept a certificate, nor leave one waiting.
        if failure.check(CancelledError) is None:
            self._log.failure("revocation check failed", failure)
        return Finding(Status.UNAVAILABLE, source=self._source, detail="the check itself failed")

    def _tell(self, finding: Finding, question: Hashable) -> None:
        self._asked.pop(question, None)
        for answer in self._waiting.pop(question):
            if not answer.called:
                answer.callback(finding)


def retry_after(failures: int) -> float:
    """Seconds until somebody who could not be asked is asked again; `failures` in a row, 1 for the first."""
    return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 8))
