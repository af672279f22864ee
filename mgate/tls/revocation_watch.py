"""Live sessions whose certificates are asked about again, so that one that is revoked later is noticed and cut.

Rules:

1. A method tells what turned out to be revoked: an OCSP answer about one certificate, whoever asked for it, or a CRL on
   which there is something new. All live certificates that this may concern are then looked up in memory, `SLICE` of
   them in a turn of the reactor.
2. A method that does not keep itself up to date (OCSP) is asked again when it says that this is due, which is before
   its answer expires. At most `RENEWED` certificates are asked about again, `AT_ONCE` at a time; beyond that, and while
   nobody can be asked, a session lives on: what was good stays good until somebody says otherwise.
3. A session is told once. What nobody watches any more is not asked about any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any

from cryptography.x509 import Certificate

from mgate.tls.revocation_method import CertificateKey, IssuerKeys, RevocationCounters, RevocationMethod
from mgate.tls.status import Finding, Status

__all__ = ["Watches"]

SLICE = 200
RENEWED = 10_000
AT_ONCE = 8
SOONEST = 30.0

Cut = Callable[[Finding], None]
Asked = tuple[tuple[Certificate, Certificate], tuple[RevocationMethod, ...]]


@dataclass(slots=True, eq=False)
class _Watch:
    """One live session."""

    cut: Cut
    keys: list[CertificateKey]


@dataclass(slots=True, eq=False)
class _Live:
    """A certificate that live sessions use."""

    certificate: Certificate
    issuer: Certificate
    methods: tuple[RevocationMethod, ...]
    watches: set[_Watch] = field(default_factory=set)
    scheduled: int = 0

    def revoked(self) -> Finding | None:
        for method in self.methods:
            finding = method.cached(self.certificate, self.issuer)
            if finding is not None and finding.status is Status.REVOKED:
                return finding
        return None


class Watches:
    """Every live session of a checker.

    Args:
        clock: IReactorTime.
        now: POSIX time in seconds.
        counters: where cut sessions are counted.
    """

    def __init__(self, clock: Any, now: Callable[[], float], counters: RevocationCounters) -> None:
        self._clock = clock
        self._now = now
        self._counters = counters
        self._keys = IssuerKeys()
        self._live: dict[CertificateKey, _Live] = {}
        self._by_issuer: dict[bytes, dict[CertificateKey, None]] = {}
        self._due: list[tuple[float, int, CertificateKey, _Live, RevocationMethod]] = []
        self._number = 0
        self._dead = 0
        self._renewing = 0
        self._started = False
        self._timer: Any = None
        self._to_see: dict[CertificateKey, None] = {}
        self._seeing: Any = None

    def __len__(self) -> int:
        return len(self._live)

    def add(self, asked: Sequence[Asked], cut: Cut) -> Callable[[], None]:
        """Watch the certificates of a session; returns what ends it."""
        watch = _Watch(cut, [])
        for (certificate, issuer), methods in asked:
            key = self._keys.key(certificate, issuer)
            if methods and key not in watch.keys:
                watch.keys.append(key)
                live = self._live.get(key)
                if live is None:
                    live = self._live[key] = _Live(certificate, issuer, methods)
                    self._by_issuer.setdefault(key.issuer_key, {})[key] = None
                    for method in methods:
                        self._schedule(key, live, method)
                live.watches.add(watch)
                if live.revoked() is not None:  # it became known while the handshake was held for another reason
                    self.look(key.issuer_key, key)
        return lambda: self._remove(watch)

    def look(self, issuer_key: bytes, key: CertificateKey | None) -> None:
        """Something of this issuer is revoked: cut the sessions that are concerned, beginning in the next turn.

        Args:
            key: what is revoked; None for whatever is new on a CRL.
        """
        if key is None:
            self._to_see.update(self._by_issuer.get(issuer_key, {}))
        elif key in self._live:
            self._to_see[key] = None
        if self._to_see and self._seeing is None:
            self._seeing = self._clock.callLater(0, self._see)

    def start(self) -> None:
        """Begin to ask again."""
        self._started = True
        self._arm()

    def stop(self) -> None:
        """Cut nobody and ask for nobody any more."""
        self._started = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._seeing is not None:
            self._seeing.cancel()
            self._seeing = None
        self._to_see.clear()

    def _remove(self, watch: _Watch) -> None:
        for key in watch.keys:
            live = self._live[key]
            live.watches.discard(watch)
            if not live.watches:
                del self._live[key]
                self._dead += live.scheduled
                of_issuer = self._by_issuer[key.issuer_key]
                del of_issuer[key]
                if not of_issuer:
                    del self._by_issuer[key.issuer_key]
        watch.keys.clear()

    def _see(self) -> None:
        self._seeing = None
        for key in list(islice(self._to_see, SLICE)):
            del self._to_see[key]
            live = self._live.get(key)
            finding = live.revoked() if live is not None else None
            if live is not None and finding is not None:
                for watch in list(live.watches):
                    self._remove(watch)
                    self._counters.cut += 1
                    self._clock.callLater(0, watch.cut, finding)
        if self._to_see:
            self._seeing = self._clock.callLater(0, self._see)

    def _schedule(self, key: CertificateKey, live: _Live, method: RevocationMethod) -> None:
        due = method.due(live.certificate, live.issuer)
        if len(self._due) >= RENEWED and self._dead * 4 > RENEWED:
            self._due = [each for each in self._due if self._live.get(each[2]) is each[3]]
            heapify(self._due)
            self._dead = 0
        if due is not None and len(self._due) < RENEWED:
            self._number += 1
            live.scheduled += 1
            heappush(self._due, (max(due, self._now() + SOONEST), self._number, key, live, method))
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._started and self._due and self._renewing < AT_ONCE:
            self._timer = self._clock.callLater(max(0.0, self._due[0][0] - self._now()), self._renew)

    def _renew(self) -> None:
        self._timer = None
        while self._due and self._due[0][0] <= self._now() and self._renewing < AT_ONCE:
            _, _, key, live, method = heappop(self._due)
            live.scheduled -= 1
            if self._live.get(key) is not live:
                self._dead -= 1
            else:
                self._renewing += 1
                method.renew(live.certificate, live.issuer).addCallback(self._renewed, key, live, method)
        self._arm()

    def _renewed(self, finding: Finding, key: CertificateKey, live: _Live, method: RevocationMethod) -> None:
        self._renewing -= 1
        if self._live.get(key) is live:
            self._schedule(key, live, method)
        self._arm()
