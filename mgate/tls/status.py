"""What is known of a certificate: whether its issuer has revoked it, from whom that is known, and until when.

`mgate.tls.ocsp` and `mgate.tls.crl` find it out, `mgate.tls.revocation` keeps it and decides by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Status", "Unusable"]


class Status(Enum):
    """The status of one certificate (RFC 6960 section 2.2), or that nobody could be asked."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    """The responder does not know the certificate."""
    UNAVAILABLE = "unavailable"
    """There is no answer, or none that can be trusted."""


class Unusable(ValueError):  # noqa: N818
    """An OCSP response or a CRL that says nothing about the certificate; the text says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The status of one certificate.

    Attributes:
        status: see `Status`.
        expires: POSIX time in seconds until which it may be answered from memory; 0 for this once only.
        source: ``"ocsp"`` or ``"crl"``, with the address or the file that it is from, for logs.
        detail: a short text for operators.
        on_hold: revoked for a while only (certificateHold, RFC 5280 section 5.3.1).
    """

    status: Status
    expires: float = 0.0
    source: str = ""
    detail: str = ""
    on_hold: bool = False
