"""The revocation checkers of a process: one for all listeners with equal settings, kept across reloads.

`mgate.entrance` asks for them, and gives them back when its last connection is gone: live sessions of before a reload
are still told by theirs. They share one memory of findings, so that one bound holds for all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mgate.tls.fetch import Fetcher
from mgate.tls.finding_cache import FindingCache
from mgate.tls.revocation import RevocationChecker
from mgate.tls.revocation_method import Report
from mgate.tls.settings import Revocation

__all__ = ["Checkers"]

Seen = tuple[Revocation, tuple[object, ...]]
"""Settings, and what their files were: a file that was replaced makes another checker, which reads it at once."""


@dataclass(slots=True)
class _Used:
    checker: RevocationChecker
    fetcher: Fetcher
    users: int = 0

    def stop(self) -> None:
        self.checker.stop()
        self.fetcher.stop()


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
        self._used: dict[Seen, _Used] = {}
        self._running = False

    @property
    def all(self) -> Mapping[Revocation, RevocationChecker]:
        """Every checker, the newest of each settings, for those who read counters."""
        return {settings: used.checker for (settings, _), used in self._used.items()}

    def of(self, settings: Revocation) -> RevocationChecker | None:
        """The checker for `settings`, or None where no certificate is asked about. `release` gives it back.

        Raises:
            ConfigError: a file that the settings name cannot be used.
        """
        if not settings.methods:
            return None
        seen = settings, _files(settings)
        used = self._used.get(seen)
        if used is None:
            fetcher = Fetcher(
                self._reactor, allowed_networks=settings.allowed_networks, allowed_ports=settings.allowed_ports
            )
            checker = RevocationChecker(
                settings, fetcher, self._reactor, cache=self._memory, now=self._now, report=self._report
            )
            for other in reversed(self._used.values()):
                checker.inherit(other.checker)
            used = self._used[seen] = _Used(checker, fetcher)
            if self._running:
                checker.start()
        used.users += 1
        return used.checker

    def release(self, checker: RevocationChecker) -> None:
        """One of those who asked for it needs it no longer; when nobody does, it is stopped and forgotten."""
        for seen, used in list(self._used.items()):
            if used.checker is checker:
                used.users -= 1
                if not used.users:
                    del self._used[seen]
                    used.stop()

    def start(self) -> None:
        """Begin to refresh; the service calls it."""
        self._running = True
        for used in self._used.values():
            used.checker.start()

    def stop(self) -> None:
        """End all timers and requests."""
        self._running = False
        for used in self._used.values():
            used.stop()


def _files(settings: Revocation) -> tuple[object, ...]:
    """What can be told of the files that the settings name without reading them."""
    paths = (
        settings.crl_distribution_points_issuer_cert_file,
        settings.offline_crl_file,
        settings.offline_crl_issuer_cert_file,
    )
    return tuple(_file(path) for path in paths if path)


def _file(path: str) -> object:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None  # whoever reads it says why
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
