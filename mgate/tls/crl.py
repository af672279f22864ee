"""CRLs (RFC 5280 sections 5 and 6.3): where a certificate says they are, and what one says. No I/O, no clock.

`mgate.tls.revocation` fetches what `distribution_points` names, or reads a file, and calls `load_crl`, `verify_crl`
and `revoked_serials`, the last of them in a thread: it takes up to a quarter of a second for 100,000 entries. Then it
asks `RevokedSerials.finding`, which takes microseconds. Times are POSIX seconds. What this module never accepts:

1. Indirect CRLs, and CRLs for some reasons or for attribute certificates only.
2. A critical extension that it does not act on, in the list or in any of its entries.
3. A CRL of the issuer that is for other certificates of the issuer: of a CA, of its users, of another distribution
   point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from mgate.tls.signed import (
    REVOKED_KEPT,
    check_critical,
    check_digest,
    check_times,
    extension,
    reading,
    web_addresses,
)
from mgate.tls.status import Finding, Status, Unusable

__all__ = [
    "MAX_CRL",
    "RevokedSerials",
    "check_whole",
    "delta_distribution_points",
    "distribution_points",
    "load_crl",
    "revoked_serials",
    "verify_crl",
]

MAX_CRL = 32 * 1024 * 1024
"""Bytes of a CRL; no fetch needs to read more. It is room for 800,000 entries."""

_PEM = b"-----BEGIN X509 CRL-----"

_LIST_EXTENSIONS = (
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.CRL_NUMBER,
    ExtensionOID.DELTA_CRL_INDICATOR,
    ExtensionOID.ISSUING_DISTRIBUTION_POINT,
)


def distribution_points(certificate: x509.Certificate) -> list[str]:
    """The http and https addresses at which a certificate says that whole CRLs of its issuer are (RFC 5280 section
    4.2.1.13), in its order; none if it cannot be read. `mgate.tls.revocation` tries them one after the other."""
    return _points(certificate, x509.CRLDistributionPoints)


def delta_distribution_points(source: x509.Certificate | x509.CertificateRevocationList) -> list[str]:
    """The same for delta CRLs, which a certificate or a whole CRL may name (freshest CRL, sections 4.2.1.15 and
    5.2.6)."""
    return _points(source, x509.FreshestCRL)


def _points(
    source: x509.Certificate | x509.CertificateRevocationList,
    kind: type[x509.CRLDistributionPoints] | type[x509.FreshestCRL],
) -> list[str]:
    try:
        with reading("distribution points"):
            points = extension(source.extensions, kind)
    except Unusable:
        return []
    return web_addresses(
        name
        for point in points or ()
        if point.reasons is None and point.crl_issuer is None  # else it is not about every reason, or indirect
        for name in point.full_name or ()
    )


@reading("CRL")
def load_crl(data: bytes) -> x509.CertificateRevocationList:
    """A CRL from its DER, or from PEM with any text around it.

    Raises:
        Unusable: it is neither, larger than `MAX_CRL`, or several in one file, of which only one would be heeded.
    """
    if len(data) > MAX_CRL:
        raise Unusable("the CRL is too large")
    if data.startswith(b"0"):
        return x509.load_der_x509_crl(data)
    if data.count(_PEM) != 1:
        raise Unusable("what should be a CRL is none" if _PEM not in data else "there are several CRLs in one file")
    return x509.load_pem_x509_crl(data[data.index(_PEM) :])


@reading("CRL")
def verify_crl(
    crl: x509.CertificateRevocationList, issuer: x509.Certificate, *, now: float, skew: float = 300.0
) -> None:
    """Check that `issuer` signed a CRL, whole or delta, and that it is in date (section 6.3.3).

    Args:
        issuer: a certificate that was verified, or that an operator trusts.
        now: POSIX time in seconds.
        skew: seconds by which clocks may differ.

    Raises:
        Unusable: neither, or a critical extension is unknown.
    """
    if crl.issuer != issuer.subject:
        raise Unusable("the CRL is from another issuer")
    usage = extension(issuer.extensions, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        raise Unusable("the issuer's key is not for signing CRLs")
    check_digest(crl.signature_hash_algorithm, "the CRL")
    check_times(crl.last_update_utc, _end(crl), now, skew, "the CRL")
    check_critical(crl.extensions, _LIST_EXTENSIONS, "the CRL")
    if not crl.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]  # of any kind: TypeError
        raise Unusable("the signature of the CRL is wrong")


def check_whole(crl: x509.CertificateRevocationList, *, now: float, skew: float = 300.0) -> None:
    """Check what can be checked of a CRL before it is known whose certificates it is asked about.

    Raises:
        Unusable: it is a delta, or out of date.
    """
    if extension(crl.extensions, x509.DeltaCRLIndicator) is not None:
        raise Unusable("it is a delta CRL, which says nothing by itself")
    check_times(crl.last_update_utc, _end(crl), now, skew, "the CRL")


@dataclass(frozen=True, slots=True)
class _Scope:
    """What certificates of its issuer a CRL is about (section 5.2.5)."""

    only_users: bool = False
    only_authorities: bool = False
    points: frozenset[x509.GeneralName] = frozenset()
    """If there are any, only certificates that name one of them as their distribution point."""

    @classmethod
    def of(cls, crl: x509.CertificateRevocationList) -> _Scope:
        point = extension(crl.extensions, x509.IssuingDistributionPoint)
        if point is None:
            return cls()
        if point.indirect_crl:
            raise Unusable("the CRL is indirect, which is not supported")
        if point.only_some_reasons is not None or point.only_contains_attribute_certs:
            raise Unusable("the CRL is about some reasons or about attribute certificates only")
        if point.relative_name is not None:
            raise Unusable("the CRL has a relative distribution point, which is not supported")
        return cls(point.only_contains_user_certs, point.only_contains_ca_certs, frozenset(point.full_name or ()))

    @reading("certificate")
    def check(self, certificate: x509.Certificate) -> None:
        """Raise `Unusable` if the certificate is not within (section 6.3.3, b 2)."""
        extensions = certificate.extensions
        constraints = extension(extensions, x509.BasicConstraints)
        authority = constraints is not None and constraints.ca
        if self.only_authorities and not authority or self.only_users and authority:
            raise Unusable(f"the CRL is only about certificates of {'users' if authority else 'authorities'}")
        if self.points:
            points = extension(extensions, x509.CRLDistributionPoints) or ()
            if not any(self.points.intersection(point.full_name or ()) for point in points):
                raise Unusable("the CRL is for certificates of another distribution point")


@dataclass(frozen=True, slots=True)
class RevokedSerials:
    """What one verified CRL says, or one with the deltas that came after it. Made by `revoked_serials`.

    Attributes:
        issuer: whose certificates it is about.
        revoked: serial numbers, without those on hold.
        on_hold: serial numbers with the reason certificateHold.
        number: the CRL number, None in CRLs of version 1.
        this_update, next_update: POSIX times in seconds.
        source: what findings are said to be from.
    """

    issuer: x509.Name
    revoked: frozenset[int]
    on_hold: frozenset[int]
    number: int | None
    this_update: float
    next_update: float
    source: str
    scope: _Scope

    def finding(self, certificate: x509.Certificate, now: float, *, skew: float = 300.0) -> Finding:
        """Whether a certificate is revoked: GOOD, or REVOKED. For each certificate of a handshake; no loop.

        Raises:
            Unusable: the CRL is out of date by now, or not about this certificate.
        """
        if self.next_update + skew < now:
            raise Unusable("the CRL is out of date")
        with reading("certificate"):
            if certificate.issuer != self.issuer:
                raise Unusable("the CRL is from another issuer than the certificate")
        self.scope.check(certificate)
        serial = certificate.serial_number
        expires = self.next_update if self.next_update > now else 0.0
        if serial in self.revoked:
            return Finding(Status.REVOKED, max(expires, now + REVOKED_KEPT), self.source, "is on the CRL")
        if serial in self.on_hold:
            return Finding(Status.REVOKED, expires, self.source, "is on hold on the CRL", True)
        return Finding(Status.GOOD, expires, self.source)

    def check_follows(self, previous: RevokedSerials) -> None:
        """Called before `previous` is replaced by this: nobody may bring back an old CRL that is still in date.

        Raises:
            Unusable: the CRL number or thisUpdate goes backwards, or the issuer is another (section 5.2.3).
        """
        if self.issuer != previous.issuer:
            raise Unusable("the CRL is from another issuer than the one before")
        if _age(self) < _age(previous):
            raise Unusable(f"the CRL (number {self.number}) is older than the one before (number {previous.number})")

    @reading("delta CRL")
    def with_delta(self, delta: x509.CertificateRevocationList, *, source: str = "") -> RevokedSerials:
        """This with what a delta CRL changes (section 5.2.4); it holds until the first of both ends.

        Args:
            delta: verified by `verify_crl` with the issuer that signed this.
            source: what findings are said to be from; as before if empty.

        Raises:
            Unusable: it is no delta, of another scope, older than this, or built on a newer CRL than this.
        """
        base = extension(delta.extensions, x509.DeltaCRLIndicator)
        if base is None:
            raise Unusable("the CRL is no delta to another")
        changes, removed = _read(delta, source or self.source, True)
        if (changes.issuer, changes.scope) != (self.issuer, self.scope):
            raise Unusable("the delta CRL is from another issuer or about other certificates")
        if self.number is None or base.crl_number > self.number:
            raise Unusable(f"the delta CRL changes number {base.crl_number}, there is {self.number}")
        if _age(changes) < _age(self):
            raise Unusable(f"the delta CRL has number {changes.number}, there is {self.number}")
        revoked = (self.revoked - removed) | changes.revoked
        return replace(
            changes,
            revoked=revoked,
            on_hold=((self.on_hold - removed) | changes.on_hold) - revoked,
            next_update=min(self.next_update, changes.next_update),
        )


def _age(serials: RevokedSerials) -> tuple[int, float]:
    return (-1 if serials.number is None else serials.number, serials.this_update)


@reading("CRL")
def revoked_serials(crl: x509.CertificateRevocationList, *, source: str = "crl") -> RevokedSerials:
    """What a whole CRL that `verify_crl` accepted says, in a form that answers at once. A pure function, for a thread.

    Raises:
        Unusable: a delta CRL, a scope that is not supported, an entry that cannot be read or has an unknown critical
            extension.
    """
    if extension(crl.extensions, x509.DeltaCRLIndicator) is not None:
        raise Unusable("the CRL is only a delta to another")
    return _read(crl, source)[0]


def _read(crl: x509.CertificateRevocationList, source: str, delta: bool = False) -> tuple[RevokedSerials, set[int]]:
    """What a CRL lists; and, of a delta, what is no longer to be listed."""
    revoked: set[int] = set()
    on_hold: set[int] = set()
    removed: set[int] = set()
    for entry in crl:
        reason = _reason(entry)
        if reason is x509.ReasonFlags.certificate_hold:
            on_hold.add(entry.serial_number)
        elif reason is x509.ReasonFlags.remove_from_crl and delta:
            removed.add(entry.serial_number)
        else:
            revoked.add(entry.serial_number)
    number = extension(crl.extensions, x509.CRLNumber)
    serials = RevokedSerials(
        crl.issuer,
        frozenset(revoked),
        frozenset(on_hold - revoked),
        None if number is None else number.crl_number,
        crl.last_update_utc.timestamp(),
        _end(crl).timestamp(),
        source,
        _Scope.of(crl),
    )
    return serials, removed


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    extensions = entry.extensions
    # Indirect CRLs say with a critical extension whose certificate an entry is about.
    check_critical(extensions, (CRLEntryExtensionOID.CRL_REASON,), "an entry of the CRL")
    reason = extension(extensions, x509.CRLReason)
    return None if reason is None else reason.reason


def _end(crl: x509.CertificateRevocationList) -> datetime:
    if crl.next_update_utc is None:
        raise Unusable("the CRL does not say how long it holds")  # as it must, section 5.1.2.5
    return crl.next_update_utc
