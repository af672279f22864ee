"""A certificate authority for tests and demonstrations: it signs certificates, CRLs and OCSP responses.

Its keys are made for the moment and its certificates say whatever a test wants, mistakes included. Use it for nothing
that must be safe. All times are distances from now, so that "expired" is ``-DAY``::

    root = Authority.root("root")
    fleet = root.intermediate("fleet", ocsp_url="http://127.0.0.1:8080/ocsp")
    pump = fleet.issue("pump", names=["pump.example"])
    fleet.revoke(pump, ReasonFlags.key_compromise)
    fleet.crl().public_bytes(Encoding.PEM)
    fleet.ocsp_response(pump.serial)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ReasonFlags, ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from mgate.testing.credential import (
    DAY,
    HOUR,
    YEAR,
    Credential,
    Extensions,
    PrivateKey,
    addresses,
    alternatives,
    certify,
    key_usage,
    new_key,
    now,
)
from mgate.testing.index import Entry, read_index, write_index
from mgate.testing.resigning import resigned
from mgate.tls.status import Status

__all__ = ["Authority"]

MANY = 10 * YEAR
MOMENT = timedelta(0)

STATUSES = {
    Status.GOOD: ocsp.OCSPCertStatus.GOOD,
    Status.REVOKED: ocsp.OCSPCertStatus.REVOKED,
    Status.UNKNOWN: ocsp.OCSPCertStatus.UNKNOWN,
}


@dataclass
class Authority:
    """A certificate authority.

    Attributes:
        name: its common name, and what its files and its CRL are called.
        credential: its own certificate and key.
        ocsp_url, crl_urls: what certificates that it issues name as responder (authorityInfoAccess) and as CRL
            distribution points, unless `issue` is told otherwise.
        index: what it knows of the certificates that it issued, by serial number.
        crl_number: of the CRL that it signed last, unless it was told a number.
    """

    name: str
    credential: Credential
    ocsp_url: str = ""
    crl_urls: Sequence[str] = ()
    index: dict[int, Entry] = field(default_factory=dict)
    crl_number: int = 0

    @classmethod
    def root(cls, name: str, *, ocsp_url: str = "", crl_urls: Sequence[str] = ()) -> Authority:
        """A new trust anchor."""
        extensions = _authority_extensions(crl_sign=True)
        credential = certify(name, new_key(), None, not_before=-DAY, not_after=MANY, extensions=extensions)
        return cls(name, credential, ocsp_url, crl_urls)

    @classmethod
    def load(cls, folder: Path, name: str) -> Authority:
        """Read the authority of this name from the files that `Pki.write` wrote.

        Raises:
            OSError: a file cannot be read.
            ValueError: it holds something else.
        """
        authority = cls(name, Credential.load(folder / f"{name}.pem", folder / f"{name}.key"))
        authority.read_index((folder / f"{name}-index.txt").read_text())
        return authority

    def intermediate(
        self, name: str, *, ocsp_url: str = "", crl_urls: Sequence[str] = (), crl_sign: bool = True
    ) -> Authority:
        """A new authority that this one vouches for; without `crl_sign` it must not sign CRLs (RFC 5280 4.2.1.3)."""
        extensions = [*_authority_extensions(crl_sign=crl_sign), *addresses(self.ocsp_url, self.crl_urls)]
        credential = certify(name, new_key(), self.credential, not_before=-DAY, not_after=MANY, extensions=extensions)
        self._enter(credential)
        return Authority(name, credential, ocsp_url, crl_urls)

    def issue(
        self,
        name: str,
        *,
        names: Iterable[str] = (),
        usage: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
        not_before: timedelta = -HOUR,
        not_after: timedelta = YEAR,
        ocsp_url: str | None = None,
        crl_urls: Sequence[str] | None = None,
        known: bool = True,
        key: PrivateKey | None = None,
        serial: int | None = None,
        extensions: Extensions = (),
    ) -> Credential:
        """Issue a certificate to somebody who is no authority.

        Args:
            name: the common name.
            names: subject alternative names: addresses, URIs (what has a colon), e-mail addresses, or host names.
            usage: extended key usage; empty for none.
            not_before, not_after: from now.
            ocsp_url, crl_urls: instead of the authority's own; empty for none.
            known: enter it into the index; otherwise its OCSP status is unknown.
            key: its key, instead of a new one of P-256.
            serial: its serial number, instead of a random one.
            extensions: more of them.
        """
        wanted: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (key_usage("digital_signature"), True),
            *addresses(
                self.ocsp_url if ocsp_url is None else ocsp_url, self.crl_urls if crl_urls is None else crl_urls
            ),
            *alternatives(names),
            *extensions,
        ]
        if usage:
            wanted.append((x509.ExtendedKeyUsage(usage), False))
        credential = certify(
            name,
            key or new_key(),
            self.credential,
            not_before=not_before,
            not_after=not_after,
            serial=serial,
            extensions=wanted,
        )
        if known:
            self._enter(credential)
        return credential

    def revoke(
        self,
        credential: Credential,
        reason: ReasonFlags | None = ReasonFlags.key_compromise,
        *,
        since: timedelta = MOMENT,
    ) -> None:
        """Revoke a certificate; with ``certificate_hold`` until `release`."""
        self._enter(credential, now() + since, reason)

    def release(self, credential: Credential) -> None:
        """Take back that a certificate was revoked."""
        self._enter(credential)

    def crl(
        self,
        *,
        this_update: timedelta = MOMENT,
        next_update: timedelta = 30 * DAY,
        entries: Iterable[Entry] | None = None,
        number: int | None = None,
        delta_of: int | None = None,
        key: PrivateKey | None = None,
        extensions: Extensions = (),
    ) -> x509.CertificateRevocationList:
        """Sign a CRL (RFC 5280 section 5).

        Args:
            this_update, next_update: from now.
            entries: what it lists, instead of all that is revoked.
            number: its CRLNumber, instead of the next one.
            delta_of: makes it a delta to the CRL of this number.
            key: signs it, instead of the authority's own key.
            extensions: more of them.
        """
        if number is None:
            # By the clock, so that numbers rise although an authority is loaded anew (RFC 5280 section 5.2.3).
            number = self.crl_number = max(self.crl_number + 1, int(now().timestamp()))
        own = self.credential
        builder = x509.CertificateRevocationListBuilder().issuer_name(own.certificate.subject)
        builder = builder.last_update(now() + this_update).next_update(now() + next_update)
        wanted: list[tuple[x509.ExtensionType, bool]] = [
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(own.key.public_key()), False),
            (x509.CRLNumber(number), False),
            *extensions,
        ]
        if delta_of is not None:
            wanted.append((x509.DeltaCRLIndicator(delta_of), True))
        for extension, critical in wanted:
            builder = builder.add_extension(extension, critical)
        for entry in self.index.values() if entries is None else entries:
            if entry.revoked is not None:
                builder = builder.add_revoked_certificate(_revoked(entry, entry.revoked))
        return builder.sign(key or own.key, hashes.SHA256())

    def ocsp_response(
        self,
        serial: int,
        *,
        status: Status | None = None,
        this_update: timedelta = MOMENT,
        next_update: timedelta | None = DAY,
        nonce: bytes | None = None,
        delegate: Credential | None = None,
        key: PrivateKey | None = None,
        algorithm: hashes.HashAlgorithm | None = None,
        by_name: bool = False,
        signature: str = "sha256",
    ) -> bytes:
        """Sign a response about one certificate of this authority (RFC 6960 section 4.2), in DER.

        Args:
            serial: of the certificate.
            status: good, revoked or unknown, whatever the index says.
            this_update, next_update: from now; None leaves nextUpdate out.
            nonce: what the request asked to see again.
            delegate: signs instead of the authority itself, and its certificate is enclosed.
            key: signs instead of the key of who is named as responder.
            algorithm: the hash in the certID, instead of SHA-1, which is what most ask with.
            by_name: the responder is named by its subject and not by the hash of its key.
            signature: ``sha256``, or what `mgate.testing.resigning.resigned` offers.
        """
        entry = self.index.get(serial)
        if status is None:
            status = Status.UNKNOWN if entry is None else entry.status
        revoked = reason = None
        if status is Status.REVOKED:
            revoked, reason = (entry.revoked, entry.reason) if entry else (None, None)
            revoked = revoked or now() - DAY
        signer = delegate or self.credential
        algorithm = algorithm or hashes.SHA1()
        builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
            *self.identifiers(algorithm),
            serial,
            algorithm,
            STATUSES[status],
            now() + this_update,
            None if next_update is None else now() + next_update,
            revoked,
            reason,
        )
        encoding = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
        builder = builder.responder_id(encoding, signer.certificate)
        if delegate is not None:
            builder = builder.certificates([delegate.certificate])
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), False)
        response = builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)
        if key is None and signature == "sha256":
            return response
        return resigned(response, key or signer.key, signature)

    def identifiers(self, algorithm: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
        """The issuerNameHash and the issuerKeyHash by which requests name this authority (RFC 6960 4.1.1)."""
        certificate = self.credential.certificate
        key = certificate.public_key()
        coding = (
            (Encoding.X962, PublicFormat.UncompressedPoint)
            if isinstance(key, ec.EllipticCurvePublicKey)
            else (Encoding.DER, PublicFormat.PKCS1)
        )
        return _digest(certificate.subject.public_bytes(), algorithm), _digest(key.public_bytes(*coding), algorithm)

    def index_text(self) -> str:
        """The index as OpenSSL writes it, for a file."""
        return write_index(self.index.values())

    def read_index(self, text: str) -> None:
        """Replace the index by what `index_text` returned or ``openssl ca`` wrote.

        Raises:
            ValueError: a line has another format.
        """
        self.index = read_index(text)

    def _enter(
        self, credential: Credential, revoked: datetime | None = None, reason: ReasonFlags | None = None
    ) -> None:
        expires = credential.certificate.not_valid_after_utc
        self.index[credential.serial] = Entry(credential.serial, expires, credential.name, revoked, reason)


def _authority_extensions(*, crl_sign: bool) -> Extensions:
    usage = key_usage("digital_signature", "key_cert_sign", *(["crl_sign"] if crl_sign else []))
    return [(x509.BasicConstraints(ca=True, path_length=None), True), (usage, True)]


def _revoked(entry: Entry, since: datetime) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(since)
    if entry.reason is not None:
        builder = builder.add_extension(x509.CRLReason(entry.reason), False)
    return builder.build()


def _digest(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()
