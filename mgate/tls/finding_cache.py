"""What is remembered of certificates: a bounded memory of findings, each until it expires. OCSP answers stand here.

One memory may serve several checkers of a process: whoever keeps something in it makes the settings that the answer
depends on part of the key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from mgate.tls.revocation_method import FIRST_RETRY, retry_after
from mgate.tls.status import Finding, Status

__all__ = ["FindingCache"]

ENTRIES = 20_000
LONGEST = 7 * 86400.0
REVOKED_AT_LEAST = 3600.0


class FindingCache:
    """Findings by key; the one that was asked for longest ago is forgotten first.

    Args:
        now: POSIX time in seconds.
        entries: how many findings are kept; one takes about 600 bytes.
    """

    def __init__(self, now: Callable[[], float], entries: int = ENTRIES) -> None:
        self._now = now
        self._entries = entries
        self._findings: OrderedDict[Hashable, tuple[Finding, float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._findings)

    def get(self, key: Hashable) -> Finding | None:
        """The finding of a key, None if there is none or it has expired."""
        found = self._findings.get(key)
        if found is None or found[1] <= self._now():
            return None  # not deleted: the number of failures is still needed, and the bound holds anyway
        self._findings.move_to_end(key)
        return found[0]

    def expires(self, key: Hashable) -> float:
        """Until when, in POSIX time, the finding of a key may be used; 0 if there is none."""
        found = self._findings.get(key)
        return found[1] if found is not None else 0.0

    def forget(self, key: Hashable) -> None:
        """There is something better to say, under another key."""
        self._findings.pop(key, None)

    def put(self, key: Hashable, finding: Finding) -> float:
        """Keep a finding; returns until when, 0 if not at all.

        A revocation is final unless it is a hold (RFC 5280 section 5.3.1), so it is kept for an hour at least, a hold
        for 5 seconds. That nobody could be asked is kept for 5 seconds, and twice as long each time that it happens
        again, up to 30.
        """
        now = self._now()
        failures = 0
        expires = min(finding.expires, now + LONGEST)
        if finding.status is Status.UNAVAILABLE:
            before = self._findings.get(key)
            failures = before[2] + 1 if before is not None else 1
            expires = now + retry_after(failures)
        elif finding.status is Status.REVOKED:
            expires = max(expires, now + (FIRST_RETRY if finding.on_hold else REVOKED_AT_LEAST))
        self._findings.pop(key, None)
        if expires <= now:
            return 0.0
        self._findings[key] = (finding, expires, failures)
        while len(self._findings) > self._entries:
            self._findings.popitem(last=False)
        return expires
