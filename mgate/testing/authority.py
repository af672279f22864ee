"""A certificate authority for tests and demonstrations: it signs certificates, CRLs and OCSP responses.

Its keys are made for the moment and its certificates say whatever a test wants, mistakes included. Use it for nothing
that must be safe. All times are distances from now, so that "expired" is ``-DAY``::

    root = Authority.root("root")
    fleet = root.intermediate("fleet", ocsp_url="http://127.0.0.1:8080/ocsp")
    pump = fleet.issue("pump", names=["pump.example"])
    fleet.revoke(pump, ReasonFlags.key_compromise)
    fleet.crl().public_bytes(Encoding.PEM)
    fleet.ocsp_response(pump.certificate.serial_number)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import ReasonFlags, ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from mgate.tls.status import Status

__all__ = ["DAY", "HOUR", "YEAR", "Authority", "Credential", "Entry", "Extensions"]

HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extensions = Sequence[tuple[x509.ExtensionType, bool]]
"""Extensions, and whether each is critical."""

CA_USAGE = {"key_cert_sign": True, "crl_sign": True, "digital_signature": True}
INDEX_TIME = "%y%m%d%H%M%SZ"
STATUSES = {
    Status.GOOD: ocsp.OCSPCertStatus.GOOD,
    Status.REVOKED: ocsp.OCSPCertStatus.REVOKED,
    Status.UNKNOWN: ocsp.OCSPCertStatus.UNKNOWN,
}


def now() -> datetime:
    """The present, in the whole seconds that certificates can tell."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Credential:
    """A certificate with its key and with the certificates that lead to the root, which is not among them."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def load(cls, certificates: Path, key: Path) -> Credential:
        """Read what `pem` and `key_pem` were written to.

        Raises:
            OSError: a file cannot be read.
            ValueError: it holds something else.
        """
        certificate, *chain = x509.load_pem_x509_certificates(certificates.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
        if not isinstance(private, PrivateKey):
            raise ValueError(f"{key} is neither an EC nor an RSA key")
        return cls(certificate, private, tuple(chain))

    @property
    def pem(self) -> bytes:
        """The certificate first, then its chain, as TLS sends them (RFC 8446 section 4.4.2)."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in (self.certificate, *self.chain))

    @property
    def key_pem(self) -> bytes:
        """The key, without a password."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True)
class Entry:
    """What an authority knows of one certificate: a line of its index.

    Attributes:
        serial: the serial number.
        expires: the end of its validity.
        subject: for people.
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


@dataclass
class Authority:
    """A certificate authority.

    Attributes:
        name: its common name, and what its files and its CRL are called.
        credential: its own certificate and key.
        ocsp_url, crl_urls: what certificates that it issues name as responder (authorityInfoAccess) and as CRL
            distribution points, unless `issue` is told otherwise.
        index: what it knows of the certificates that it issued, by serial number.
        crl_number: of the CRL that it signed last.
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
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(name)
        builder = _builder(subject, key, -DAY, 10 * YEAR).issuer_name(subject)
        certificate = _extended(builder, _authority_extensions(key, CA_USAGE)).sign(key, hashes.SHA256())
        return cls(name, Credential(certificate, key), ocsp_url, crl_urls)

    def intermediate(
        self, name: str, *, ocsp_url: str = "", crl_urls: Sequence[str] = (), crl_sign: bool = True
    ) -> Authority:
        """A new authority that this one vouches for; without `crl_sign` it must not sign CRLs (RFC 5280 4.2.1.3)."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = _authority_extensions(key, CA_USAGE | {"crl_sign": crl_sign})
        credential = self._sign(_named(name), key, -DAY, 5 * YEAR, [*extensions, *self._addresses(None, None)])
        self._enter(credential.certificate)
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
        key = key or ec.generate_private_key(ec.SECP256R1())
        wanted: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_key_usage(digital_signature=True), True),
            *self._addresses(ocsp_url, crl_urls),
            *extensions,
        ]
        if usage:
            wanted.append((x509.ExtendedKeyUsage(usage), False))
        if alternatives := [_alternative(each) for each in names]:
            wanted.append((x509.SubjectAlternativeName(alternatives), False))
        credential = self._sign(_named(name), key, not_before, not_after, wanted, serial)
        if known:
            self._enter(credential.certificate)
        return credential

    def revoke(
        self,
        credential: Credential,
        reason: ReasonFlags | None = ReasonFlags.key_compromise,
        *,
        since: timedelta = timedelta(0),
    ) -> None:
        """Revoke a certificate; with ``certificate_hold`` until `release`."""
        self._enter(credential.certificate, now() + since, reason)

    def release(self, credential: Credential) -> None:
        """Take back that a certificate was revoked."""
        self._enter(credential.certificate)

    def crl(
        self,
        *,
        this_update: timedelta = -HOUR,
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
            self.crl_number += 1
            number = self.crl_number
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
                revoked = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(entry.revoked)
                if entry.reason is not None:
                    revoked = revoked.add_extension(x509.CRLReason(entry.reason), False)
                builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(key or own.key, hashes.SHA256())

    def ocsp_response(
        self,
        serial: int,
        *,
        status: Status | None = None,
        this_update: timedelta = -HOUR,
        next_update: timedelta | None = DAY,
        nonce: bytes | None = None,
        delegate: Credential | None = None,
        key: PrivateKey | None = None,
        id_algorithm: hashes.HashAlgorithm | None = None,
        algorithm: hashes.HashAlgorithm | None = None,
        responder_id: ocsp.OCSPResponderEncoding = ocsp.OCSPResponderEncoding.HASH,
    ) -> bytes:
        """Sign a response about one certificate of this authority (RFC 6960 section 4.2), in DER.

        Args:
            serial: of the certificate.
            status: good, revoked or unknown, whatever the index says.
            this_update, next_update: from now; None leaves nextUpdate out.
            nonce: what the request asked to see again.
            delegate: signs instead of the authority itself, and its certificate is enclosed.
            key: signs instead of the key of who is named as responder.
            id_algorithm: the hash in the certID, instead of SHA-1, which is what most ask with.
            algorithm: the hash to sign with, instead of SHA-256.
            responder_id: names the responder by its key or by its name.
        """
        entry = self.index.get(serial)
        if status is None:
            status = Status.UNKNOWN if entry is None else entry.status
        revoked = reason = None
        if status is Status.REVOKED:
            revoked, reason = (entry.revoked, entry.reason) if entry else (None, None)
            revoked = revoked or now() - DAY
        signer = delegate or self.credential
        id_algorithm = id_algorithm or hashes.SHA1()
        name_hash, key_hash = self.identifiers(id_algorithm)
        builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
            name_hash,
            key_hash,
            serial,
            id_algorithm,
            STATUSES[status],
            now() + this_update,
            None if next_update is None else now() + next_update,
            revoked,
            reason,
        )
        builder = builder.responder_id(responder_id, signer.certificate)
        if delegate is not None:
            builder = builder.certificates([delegate.certificate])
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), False)
        return builder.sign(key or signer.key, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)

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
        """The index in the format of ``openssl ca`` and ``openssl ocsp -index``."""
        lines = []
        for entry in self.index.values():
            kind, since = "V", ""
            if entry.revoked is not None:
                kind, since = "R", entry.revoked.strftime(INDEX_TIME)
                since += f",{entry.reason.value}" if entry.reason else ""
            serial = f"{entry.serial:X}"
            serial = serial.zfill(len(serial) + len(serial) % 2)
            expires = entry.expires.strftime(INDEX_TIME)
            lines.append("\t".join([kind, expires, since, serial, "unknown", f"/CN={entry.subject}"]) + "\n")
        return "".join(lines)

    def read_index(self, text: str) -> None:
        """Replace the index by one in the format of `index_text`.

        Raises:
            ValueError: a line has another format.
        """
        found = {}
        for line in text.splitlines():
            kind, expires, since, serial, _, subject = line.split("\t")
            revoked, _, reason = since.partition(",")
            found[int(serial, 16)] = Entry(
                int(serial, 16),
                datetime.strptime(expires, INDEX_TIME).replace(tzinfo=UTC),
                subject.removeprefix("/CN="),
                datetime.strptime(revoked, INDEX_TIME).replace(tzinfo=UTC) if kind == "R" else None,
                ReasonFlags(reason) if reason else None,
            )
        self.index = found

    def _enter(
        self, certificate: x509.Certificate, revoked: datetime | None = None, reason: ReasonFlags | None = None
    ) -> None:
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        entry = Entry(certificate.serial_number, certificate.not_valid_after_utc, str(name.value), revoked, reason)
        self.index[entry.serial] = replace(entry, reason=reason if revoked else None)

    def _addresses(self, ocsp_url: str | None, crl_urls: Sequence[str] | None) -> Extensions:
        """authorityInfoAccess and cRLDistributionPoints, as far as there are any."""
        found: list[tuple[x509.ExtensionType, bool]] = []
        if url := self.ocsp_url if ocsp_url is None else ocsp_url:
            responder = x509.UniformResourceIdentifier(url)
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, responder)
            found.append((x509.AuthorityInformationAccess([access]), False))
        if urls := self.crl_urls if crl_urls is None else crl_urls:
            points = [
                x509.DistributionPoint([x509.UniformResourceIdentifier(each)], None, None, None) for each in urls
            ]
            found.append((x509.CRLDistributionPoints(points), False))
        return found

    def _sign(
        self,
        subject: x509.Name,
        key: PrivateKey,
        not_before: timedelta,
        not_after: timedelta,
        extensions: Extensions,
        serial: int | None = None,
    ) -> Credential:
        own = self.credential
        builder = _builder(subject, key, not_before, not_after, serial).issuer_name(own.certificate.subject)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(own.key.public_key())
        certificate = _extended(builder, [*extensions, (identifier, False)]).sign(own.key, hashes.SHA256())
        self_signed = own.certificate.issuer == own.certificate.subject
        return Credential(certificate, key, () if self_signed else (own.certificate, *own.chain))


def _named(name: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mgate test"),
        x509.NameAttribute(NameOID.COMMON_NAME, name),
    ])  # fmt: skip


def _builder(
    subject: x509.Name, key: PrivateKey, not_before: timedelta, not_after: timedelta, serial: int | None = None
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.serial_number(serial or x509.random_serial_number())
    builder = builder.not_valid_before(now() + not_before).not_valid_after(now() + not_after)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)


def _extended(builder: x509.CertificateBuilder, extensions: Extensions) -> x509.CertificateBuilder:
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder


def _authority_extensions(key: PrivateKey, usage: dict[str, bool]) -> Extensions:
    return [(x509.BasicConstraints(ca=True, path_length=None), True), (_key_usage(**usage), True)]


def _key_usage(**usage: bool) -> x509.KeyUsage:
    """What is not named is not allowed."""
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**dict.fromkeys(names, False) | usage)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        if ":" in name:
            return x509.UniformResourceIdentifier(name)
        return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


def _digest(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()
