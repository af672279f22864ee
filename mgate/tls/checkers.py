"""The revocation checkers of a process: one for all listeners with equal settings, kept across reloads.

`mgate.listeners` asks for them. They share one memory of findings, so that one bound holds for all; and a checker lives
on as long as a listener uses it or used it before a reload, because live sessions are told by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from mgate.tls.fetch import Fetcher
from mgate.tls.finding_cache import FindingCache
from mgate.tls.revocation import RevocationChecker
from mgate.tls.revocation_method import Report
from mgate.tls.settings import Revocation

__all__ = ["Checkers"]


class Checkers:
    """Makes a checker for each `Revocation` that differs.

    Args:
        reactor: IReactorTime, and what a `Fetcher` needs.
        report: told of what could not be fetched, for the log.
        now: POSIX time in seconds.
    """

    def __init__(self, reactor: Any, report: Report, now: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._report = report
        self._now = now
        self._memory = FindingCache(now)
        self._checkers: dict[Revocation, tuple[RevocationChecker, Fetcher]] = {}
        self._running = False

    @property
    def all(self) -> Mapping[Revocation, RevocationChecker]:
        """Every checker, for those who read counters."""
        return {settings: checker for settings, (checker, _) in self._checkers.items()}

    def of(self, settings: Revocation) -> RevocationChecker | None:
        """The checker for `settings`, or None where no certificate is asked about.

        Raises:
            ConfigError: a file that the settings name cannot be used.
        """
        if not settings.methods:
            return None
        if settings not in self._checkers:
            fetcher = Fetcher(
                self._reactor, allowed_networks=settings.allowed_networks, allowed_ports=settings.allowed_ports
            )
            checker = RevocationChecker(
                settings, fetcher, self._reactor, cache=self._memory, now=self._now, report=self._report
            )
            self._checkers[settings] = checker, fetcher
            if self._running:
                checker.start()
        return self._checkers[settings][0]

    def start(self) -> None:
        """Begin to refresh; the service calls it."""
        self._running = True
        for checker, _ in self._checkers.values():
            checker.start()

    def stop(self) -> None:
        """End all timers and requests."""
        self._running = False
        for checker, fetcher in self._checkers.values():
            checker.stop()
            fetcher.stop()
