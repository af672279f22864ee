"""What OCSP responses and CRLs have in common: an authority signed them, and a stranger may have made them up.

Called by `mgate.tls.ocsp` and `mgate.tls.crl`. Rules:

1. Nothing but `Unusable` comes out of reading what strangers send.
2. A critical extension that we do not act on makes the whole structure unusable (RFC 5280 sections 4.2 and 5.2).
3. MD5 and SHA-1 sign nothing (RFC 9155 says the same of TLS).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from mgate.tls.status import Unusable

__all__ = ["REVOKED_KEPT", "check_critical", "check_digest", "check_times", "extension", "reading", "web_addresses"]

MAX_ADDRESSES = 8
MAX_ADDRESS = 2048

REVOKED_KEPT = 3600.0
"""Seconds for which a revoked certificate stays revoked in memory, however soon there is news: it never comes back."""

T = TypeVar("T", bound=x509.ExtensionType)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn whatever cryptography raises on broken structures into `Unusable`; also a decorator.

    cryptography parses late, so that any attribute may raise any of these.
    """
    try:
        yield
    except Unusable:
        raise
    except (
        ValueError,
        TypeError,  # a key of a kind that signs nothing
        OverflowError,
        InternalError,  # OpenSSL has an error that cryptography has no name for
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as broken:
        raise Unusable(f"{what} cannot be read: {broken}"[:200]) from broken


def extension(extensions: x509.Extensions, kind: type[T]) -> T | None:
    """The value of the extension of this kind, or None."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def check_critical(extensions: x509.Extensions, known: Collection[x509.ObjectIdentifier], what: str) -> None:
    """Raise `Unusable` for a critical extension that is not `known`."""
    for each in extensions:
        if each.critical and each.oid not in known:
            raise Unusable(f"{what} has the unknown critical extension {each.oid.dotted_string}")


def check_digest(digest: hashes.HashAlgorithm | None, what: str) -> None:
    """Raise `Unusable` for a signature over an MD5 or SHA-1 digest; None is a scheme with a digest of its own."""
    if isinstance(digest, hashes.MD5 | hashes.SHA1):
        raise Unusable(f"{what} is signed with {digest.name}, which can be forged")


def check_times(this: datetime, until: datetime | None, now: float, skew: float, what: str) -> None:
    """Raise `Unusable` outside of thisUpdate and nextUpdate, each `skew` seconds wider (RFC 6960 section 4.2.2.1,
    RFC 5280 section 6.3.3)."""
    if this.timestamp() > now + skew:
        raise Unusable(f"{what} is from the future: {this:%Y-%m-%dT%H:%M:%SZ}")
    if until is not None and until < this:
        raise Unusable(f"{what} ends before it begins")
    if until is not None and until.timestamp() + skew < now:
        raise Unusable(f"{what} ended at {until:%Y-%m-%dT%H:%M:%SZ}")


def web_addresses(names: Iterable[x509.GeneralName]) -> list[str]:
    """The http and https URLs among `names`, in their order, each once; the first few if there are many."""
    found: dict[str, None] = {}
    for name in names:
        if isinstance(name, x509.UniformResourceIdentifier) and len(name.value) <= MAX_ADDRESS:
            url = name.value
            visible = url.isascii() and url.isprintable() and " " not in url
            if visible and url.lower().startswith(("http://", "https://")):
                found[url] = None
    return list(found)[:MAX_ADDRESSES]
