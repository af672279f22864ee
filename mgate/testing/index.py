"""What an authority knows of the certificates that it issued, in the format of ``openssl ca`` and ``openssl ocsp``.

A line has six fields with tabs between them: V or R, the end of the validity, since when and why it is revoked, the
serial number, a file name that nobody uses, and the subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.x509 import ReasonFlags

from mgate.tls.status import Status

__all__ = ["Entry", "read_index", "write_index"]

TIME = "%y%m%d%H%M%SZ"


@dataclass(frozen=True)
class Entry:
    """What is known of one certificate.

    Attributes:
        serial: the serial number.
        expires: the end of its validity.
        subject: its common name.
        revoked: since when it is revoked, or None.
        reason: why, if that was said.
    """

    serial: int
    expires: datetime
    subject: str = ""
    revoked: datetime | None = None
    reason: ReasonFlags | None = None

    @property
    def status(self) -> Status:
        """What an OCSP responder says of it."""
        return Status.GOOD if self.revoked is None else Status.REVOKED


def write_index(entries: Iterable[Entry]) -> str:
    """One line each."""
    return "".join(_line(entry) for entry in entries)


def _line(entry: Entry) -> str:
    kind, since = "V", ""
    if entry.revoked is not None:
        kind, since = "R", entry.revoked.strftime(TIME)
        since += "" if entry.reason is None else f",{entry.reason.value}"
    serial = entry.serial.to_bytes((entry.serial.bit_length() + 7) // 8 or 1).hex().upper()
    return "\t".join([kind, entry.expires.strftime(TIME), since, serial, "unknown", f"/CN={entry.subject}"]) + "\n"


def read_index(text: str) -> dict[int, Entry]:
    """The entries by serial number.

    Raises:
        ValueError: a line has another format.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = _entry(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        found[entry.serial] = entry
    return found


def _entry(line: str) -> Entry:
    kind, expires, since, serial, _, subject = line.split("\t")
    if kind not in ("V", "R", "E"):
        raise ValueError(f"{kind!r} is none of V, R and E")
    revoked, _, reason = since.partition(",")
    return Entry(
        int(serial, 16),
        _time(expires),
        subject.rpartition("/CN=")[2],
        _time(revoked) if kind == "R" else None,
        ReasonFlags(reason) if kind == "R" and reason else None,
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)
