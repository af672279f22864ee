"""One CRL that is kept up to date: read from a URL or a file, verified, indexed, and read again before it ends.

Rules:

1. The newest CRL that was verified counts until its nextUpdate; one that cannot be read or believed never replaces it,
   nor does an older one (RFC 5280 section 5.2.3).
2. It is read again when 80 % of its time is over, give or take a bit, so that gateways do not all come at once; and at
   least once a day, because authorities publish ahead of time what is urgent. A file is looked at every minute.
3. All who wait for it wait for one reading. What is large is verified and indexed in a thread.
4. After a failure it is not read again for 5 to 30 seconds; in the background up to 5 minutes, while the old one holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import uniform
from typing import Any, Protocol

from cryptography.x509 import Certificate
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from mgate.tls import crl
from mgate.tls.fetch import Fetcher
from mgate.tls.fetch_rules import FetchError
from mgate.tls.revocation_method import Report, RevocationCounters, retry_after
from mgate.tls.status import Unusable

__all__ = ["CrlFile", "CrlSource", "CrlUrl", "HeldCrl", "InThread"]

InThread = Callable[[Callable[[], Any]], Deferred[Any]]
"""Runs a function in a thread."""

DAY = 86400.0
MINUTE = 60.0
SOONEST = 1.0
LATEST_RETRY = 300.0


class CrlSource(Protocol):
    """Where a CRL is read from."""

    name: str
    """For logs."""
    longest: float
    """Seconds after which it is read again, however long the CRL holds."""

    def read(self, deadline: float, known: bool) -> Deferred[bytes | None]:
        """Its bytes; None if they are the same as last time, which may be said only if `known`. Fails with
        FetchError."""


class CrlUrl:
    """A distribution point.

    Args:
        trusted: the operator configured it.
    """

    longest = DAY

    def __init__(self, url: str, fetcher: Fetcher, trusted: bool) -> None:
        self.name = url
        self._fetcher = fetcher
        self._trusted = trusted

    def read(self, deadline: float, known: bool) -> Deferred[bytes | None]:
        """CrlSource."""
        fetched: Deferred[Any] = self._fetcher.fetch(
            "GET", self.name, limit=crl.MAX_CRL, deadline=deadline, trusted=self._trusted
        )
        return fetched


class CrlFile:
    """A file that the operator keeps up to date."""

    longest = MINUTE

    def __init__(self, path: str, in_thread: InThread) -> None:
        self.name = path
        self._in_thread = in_thread
        self._seen: tuple[int, int, int] | None = None

    def read(self, deadline: float, known: bool) -> Deferred[bytes | None]:
        """CrlSource."""
        return self._in_thread(lambda: self._read(known))

    def _read(self, known: bool) -> bytes | None:
        try:
            with Path(self.name).open("rb") as file:
                status = Path(self.name).stat()
                seen = (status.st_mtime_ns, status.st_size, status.st_ino)
                if known and seen == self._seen:
                    return None
                data = file.read(crl.MAX_CRL + 1)
        except OSError as error:
            raise FetchError(f"cannot be read: {error.strerror or error}") from None
        self._seen = seen
        return data


class HeldCrl:
    """A CRL of one issuer from one source.

    Args:
        source: where it is read from.
        issuer: whose certificates it is asked about.
        signer: who signed it.
        clock: IReactorTime.
        now: POSIX time in seconds.
        in_thread: see `InThread`.
        changed: called when something is on it that was not on the one before.
    """

    def __init__(
        self,
        source: CrlSource,
        issuer: Certificate,
        signer: Certificate,
        clock: Any,
        *,
        now: Callable[[], float],
        in_thread: InThread,
        report: Report,
        counters: RevocationCounters,
        changed: Callable[[], None],
    ) -> None:
        self.serials: crl.RevokedSerials | None = None
        self.detail = ""
        """Why it could not be read the last time."""
        self.issuer = issuer
        self._source = source
        self._signer = signer
        self._clock = clock
        self._now = now
        self._in_thread = in_thread
        self._report = report
        self._counters = counters
        self._changed = changed
        self._failures = 0
        self._quiet_until = 0.0
        self._reading: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._timer: Any = None
        self._refreshed = False
        self._deadline = 0.0

    @property
    def name(self) -> str:
        """Where it is from, for logs."""
        return self._source.name

    @property
    def should_be_read(self) -> bool:
        """Whether there is none that holds, and it is worth a try, because none has just failed."""
        now = self._now()
        return now >= self._quiet_until and (self.serials is None or self.serials.next_update <= now)

    def take_over(self, previous: HeldCrl) -> bool:
        """Begin with what another has verified by the same signer; returns whether there was anything to take."""
        if self.serials is not None or previous.serials is None or previous._signer != self._signer:
            return False
        self.serials = previous.serials
        return True

    def keep_up_to_date(self, deadline: float) -> None:
        """Begin to read it again in the background; each reading has `deadline` seconds."""
        self._refreshed = True
        self._deadline = deadline
        if self.serials is not None and self._timer is None:
            self._schedule()

    def load(self, deadline: float) -> Deferred[None]:
        """Read it now, or join those who wait for it. Fires when that is over, whether there is a CRL or not."""
        loaded: Deferred[None] = Deferred()
        self._waiting.append(loaded)
        if self._reading is None:
            self._counters.crl_fetches += 1
            reading = self._reading = Deferred.fromCoroutine(self._read(deadline))
            reading.addErrback(self._failed).addCallback(lambda _: self._over())
        return loaded

    def stop(self) -> None:
        """End the reading and the timer; who waits is told at once."""
        self._refreshed = False
        self._disarm()
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self, deadline: float) -> None:
        data = await self._source.read(deadline, self.serials is not None and not self._failures)
        if data is None:
            return
        previous = self.serials
        serials: crl.RevokedSerials = await self._in_thread(lambda: self._verified(data))
        if previous is not None:
            serials.check_follows(previous)
        self.serials = serials
        self.detail = ""
        self._failures = 0
        listed = serials.revoked | serials.on_hold
        if listed and (previous is None or not listed <= previous.revoked | previous.on_hold):
            self._changed()

    def _verified(self, data: bytes) -> crl.RevokedSerials:
        """Runs in a thread."""
        read = crl.load_crl(data)
        crl.verify_crl(read, self._signer, now=self._now())
        return crl.revoked_serials(read, source=f"crl {self._source.name}")

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self.detail = f"{self.name}: stopped"
            return
        # Whatever reading, verifying or indexing raises leaves the CRL before in place, and none if there was none.
        expected = failure.check(FetchError, Unusable) is not None
        text = str(failure.value) if expected else f"{type(failure.value).__name__}: {failure.value}"
        self.detail = f"{self.name}: {text}"
        self._failures += 1
        self._quiet_until = self._now() + retry_after(self._failures)
        self._counters.crl_failures += 1
        self._report("crl_failed", self.detail)

    def _over(self) -> None:
        self._reading = None
        self._schedule()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(None)

    def _schedule(self) -> None:
        self._disarm()
        if self._refreshed and self.serials is not None:
            self._timer = self._clock.callLater(self._next(), self._refresh)

    def _next(self) -> float:
        """Seconds until it is read again."""
        if self._failures:
            return min(LATEST_RETRY, retry_after(1) * 2.0 ** min(self._failures - 1, 8)) * uniform(0.8, 1.2)
        serials = self.serials
        assert serials is not None
        now = self._now()
        lifetime = serials.next_update - serials.this_update
        delay = serials.this_update + lifetime * uniform(0.75, 0.85) - now
        if delay <= 0:  # the authority is late, or our copy is not the newest
            delay = max(lifetime / 50, (serials.next_update - now) / 10)
        return max(SOONEST, min(delay, self._source.longest))

    def _refresh(self) -> None:
        self._timer = None
        self.load(self._deadline)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
