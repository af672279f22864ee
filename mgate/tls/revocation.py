"""Decides whether a client certificate may be used: asks every method that the listener names, remembers, and limits.

Rules:

1. The verify callback asks `decide`, which answers from memory. None means: not known, so the handshake is held and,
   once the device has proved that it has the key, `check_chain` finds out.
2. All methods must pass. The worst answer counts: revoked before unknown before unavailable before good.
3. `on_failure = "soft"` accepts what nobody could be asked about. It never accepts "unknown": somebody was asked, and
   knows of no such certificate (RFC 6960 section 2.2).
4. The trust anchor is never asked about: nobody stands above it who could revoke it.
5. A held handshake waits at most `deadline` seconds, and at most `max_pending` of them wait.
6. Live sessions: see `mgate.tls.revocation_watch`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from cryptography.x509 import Certificate
from twisted.internet.defer import Deferred, succeed

from mgate.tls.crl_method import CrlMethod
from mgate.tls.fetch import Fetcher
from mgate.tls.finding_cache import FindingCache
from mgate.tls.ocsp_method import OcspMethod
from mgate.tls.revocation_method import CertificateKey, Report, RevocationCounters, RevocationMethod
from mgate.tls.revocation_watch import Watches
from mgate.tls.settings import Revocation
from mgate.tls.status import Finding, Status

__all__ = ["CHECKS", "NOT_ASKED", "RevocationChecker"]

Pair = tuple[Certificate, Certificate]


class MakeMethod(Protocol):
    """How a method is made. `found_revoked` is to be called when something turned out to be revoked, with the issuer's
    key, and with the key of the certificate where that is known: see `mgate.tls.revocation_method.CertificateKey`."""

    def __call__(
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
    ) -> RevocationMethod: ...


CHECKS: dict[str, tuple[MakeMethod, Callable[[Revocation], int]]] = {
    "ocsp": (OcspMethod, lambda settings: settings.ocsp_depth),
    "crl": (CrlMethod, lambda settings: settings.crl_depth),
}
"""Every method by the name that `Revocation.methods` gives it, with how deep into the chain it asks (0: all of it)."""

NOT_ASKED = Finding(Status.GOOD, source="not asked about")
"""What `decide` says of the trust anchor, and of certificates that the depths leave out; compare with ``is``."""

_SEVERITY = {Status.GOOD: 0, Status.UNAVAILABLE: 1, Status.UNKNOWN: 2, Status.REVOKED: 3}


class RevocationChecker:
    """The status of client certificates for all listeners with equal settings.

    Args:
        settings: what is asked, how deep, and what becomes of certificates that nobody can be asked about.
        fetcher: reads URLs; made with the `allowed_networks` and `allowed_ports` of the same settings.
        clock: IReactorTime.
        cache: findings; pass the same to all checkers of a process, so that one bound holds for all.
        now: POSIX time in seconds.
        report: see `Report`; words are ``ocsp_failed``, ``crl_failed``, ``revocation_late``, ``revocation_pending``
            and ``revocation_soft``.

    Raises:
        ConfigError: a file that the settings name cannot be used.
    """

    def __init__(
        self,
        settings: Revocation,
        fetcher: Fetcher,
        clock: Any,
        *,
        cache: FindingCache | None = None,
        now: Callable[[], float] = time.time,
        report: Report = lambda word, text: None,
    ) -> None:
        self.settings = settings
        self.counters = RevocationCounters()
        self._clock = clock
        self._report = report
        self._methods: list[tuple[RevocationMethod, int]] = []
        self._watches = Watches(clock, now, self.counters)
        self._subscribers: list[Callable[[], None]] = []
        self._telling: Any = None
        memory = FindingCache(now) if cache is None else cache
        for name in settings.methods:
            make, depth = CHECKS[name]
            method = make(
                settings, fetcher, clock, cache=memory, now=now, report=report, counters=self.counters,
                found_revoked=self._found_revoked,
            )  # fmt: skip
            self._methods.append((method, depth(settings)))

    def inherit(self, previous: RevocationChecker) -> None:
        """Begin with what another checker has learnt; `mgate.tls.checkers` calls it at a reload, before `start`."""
        for method, _ in self._methods:
            for other, _ in previous._methods:
                method.inherit(other)

    def start(self) -> None:
        """Begin to refresh CRLs and to ask again about live sessions; the service calls it."""
        for method, _ in self._methods:
            method.start()
        self._watches.start()

    def stop(self) -> None:
        """End every timer and request; held handshakes are told that nobody could be asked."""
        self._watches.stop()
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        for method, _ in self._methods:
            method.stop()

    def decide(self, chain: Mapping[int, Certificate], depth: int) -> Finding | None:
        """The status of ``chain[depth]``, from memory; the verify callback calls it for each certificate.

        Args:
            chain: the verified certificates by depth, 0 for the device's own; those above `depth` must be there.
            depth: which one.

        Returns:
            `NOT_ASKED` for the trust anchor and for what the settings leave out, None if it must be checked first,
            else the worst that the methods know. Ask `accepts` about it.
        """
        issuer = chain.get(depth + 1)
        if issuer is None:
            return NOT_ASKED
        finding, missing = self._known([(depth, (chain[depth], issuer))])
        if missing and self._passes(finding):
            return None
        self.counters.from_memory += 1
        self.counters.revoked += finding.status is Status.REVOKED
        return finding

    def accepts(self, finding: Finding) -> bool:
        """Whether a certificate with this finding may be used; called once for each that `decide` or a check gave."""
        if finding.status is Status.UNAVAILABLE and self._passes(finding):
            self.counters.soft_accepted += 1
            self._report("revocation_soft", f"accepted without an answer: {finding.source}: {finding.detail}")
        return self._passes(finding)

    def check_chain(self, chain: Mapping[int, Certificate]) -> Deferred[Finding]:
        """Find out about a whole chain; the connection calls it when the device has proved that it has the key.

        Returns:
            Fires, perhaps at once, with the worst finding. It fails only if it is cancelled, which gives up the place
            among those who wait.
        """
        return self._check(_pairs(chain))

    def revoked(self, chain: Mapping[int, Certificate]) -> Finding | None:
        """What is known by now against the certificates of a live session, from memory; None if nothing."""
        for depth, (certificate, issuer) in _pairs(chain):
            for method in self._at(depth):
                finding = method.cached(certificate, issuer)
                if finding is not None and finding.status is Status.REVOKED:
                    return finding
        return None

    def watch(self, chain: Mapping[int, Certificate], cut: Callable[[Finding], None]) -> Callable[[], None]:
        """Have a live session told, once, when a certificate of its chain turns out to be revoked.

        The listener calls it after the handshake, and calls what it returns when the session has ended. See
        `mgate.tls.revocation_watch` for what is done to find out.
        """
        return self._watches.add([(pair, tuple(self._at(depth))) for depth, pair in _pairs(chain)], cut)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called whenever some certificate turned out to be revoked: ask `revoked` about those alive.

        `watch` does that for single sessions. Returns what ends the subscription.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback) if callback in self._subscribers else None

    def _at(self, depth: int) -> Iterator[RevocationMethod]:
        return (method for method, depths in self._methods if depths == 0 or depth < depths)

    def _passes(self, finding: Finding) -> bool:
        if finding.status is Status.UNAVAILABLE:
            return self.settings.on_failure == "soft"
        return finding.status is Status.GOOD

    def _known(self, asked: Iterable[tuple[int, Pair]]) -> tuple[Finding, list[tuple[RevocationMethod, Pair]]]:
        """The worst that is in memory, and what must be asked."""
        worst, missing = NOT_ASKED, []
        for depth, (certificate, issuer) in asked:
            for method in self._at(depth):
                finding = method.cached(certificate, issuer)
                if finding is None:
                    missing.append((method, (certificate, issuer)))
                else:
                    worst = _worse(worst, finding)
        return worst, missing

    def _check(self, asked: Iterable[tuple[int, Pair]]) -> Deferred[Finding]:
        known, missing = self._known(asked)
        if not missing or not self._passes(known):
            self.counters.revoked += known.status is Status.REVOKED
            return succeed(known)
        if self.counters.pending >= self.settings.max_pending:
            self.counters.refused_pending += 1
            self._report("revocation_pending", f"{self.settings.max_pending} handshakes wait already")
            return succeed(Finding(Status.UNAVAILABLE, source="gateway", detail="too many handshakes wait"))
        self.counters.pending += 1
        if self.settings.on_miss == "refuse":
            self._asking(known, missing)
            return succeed(Finding(Status.UNKNOWN, source="gateway", detail="not known yet, and on_miss is refuse"))
        self.counters.held += 1
        return self._asking(known, missing)

    def _asking(self, known: Finding, missing: list[tuple[RevocationMethod, Pair]]) -> Deferred[Finding]:
        """Ask all at once; fires with the first finding that does not pass, else with the worst of them."""
        worst, left = known, len(missing)

        def end() -> None:
            self.counters.pending -= 1
            if late.active():
                late.cancel()

        def tell(finding: Finding) -> None:
            if not verdict.called:
                end()
                self.counters.revoked += finding.status is Status.REVOKED
                verdict.callback(finding)

        def answered(finding: Finding) -> None:
            nonlocal worst, left
            left -= 1
            worst = _worse(worst, finding)
            if left == 0 or not self._passes(worst):
                tell(worst)

        def too_late() -> None:
            self.counters.late += 1
            text = f"no answer in {self.settings.deadline:g} s"
            self._report("revocation_late", text)
            tell(_worse(worst, Finding(Status.UNAVAILABLE, source="gateway", detail=text)))

        verdict: Deferred[Finding] = Deferred(lambda _: end())
        late = self._clock.callLater(self.settings.deadline, too_late)
        for method, (certificate, issuer) in missing:
            if not verdict.called:
                method.check(certificate, issuer).addCallback(answered)
        return verdict

    def _found_revoked(self, issuer_key: bytes, key: CertificateKey | None) -> None:
        self._watches.look(issuer_key, key)
        if self._telling is None:  # in another turn: what a subscriber raises must not become an answer of the method
            self._telling = self._clock.callLater(0, self._tell)

    def _tell(self) -> None:
        self._telling = None
        for callback in list(self._subscribers):
            self._clock.callLater(0, callback)


def _worse(one: Finding, other: Finding) -> Finding:
    if _SEVERITY[other.status] > _SEVERITY[one.status] or one is NOT_ASKED:
        return other
    return one


def _pairs(chain: Mapping[int, Certificate]) -> Iterator[tuple[int, Pair]]:
    """Every certificate of a chain but the trust anchor, with its depth and its issuer."""
    return ((depth, (chain[depth], chain[depth + 1])) for depth in sorted(chain) if depth + 1 in chain)
