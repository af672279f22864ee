"""A certificate with its key, and how one is made: the part of `mgate.testing.authority` that knows X.509."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

__all__ = [
    "DAY", "HOUR", "YEAR", "Credential", "Extensions", "PrivateKey", "addresses", "alternatives", "certify",
    "key_usage", "new_key", "now", "replace_file",
]  # fmt: skip

HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extensions = Sequence[tuple[x509.ExtensionType, bool]]
"""Extensions, and whether each is critical."""


def now() -> datetime:
    """The present, in the whole seconds that certificates can tell."""
    return datetime.now(UTC).replace(microsecond=0)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key of P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file that appears whole, or not at all; a key is never readable by others, not even for a moment."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        if path.suffix != ".key":
            os.fchmod(file.fileno(), 0o644)
    os.replace(temporary, path)
    return path


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

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``name.pem`` and ``name.key``, which only the owner may read, and return their paths."""
        return replace_file(folder / f"{name}.pem", self.pem), replace_file(folder / f"{name}.key", self.key_pem)

    @property
    def serial(self) -> int:
        """The serial number of the certificate."""
        return self.certificate.serial_number

    @property
    def name(self) -> str:
        """The common name in its subject."""
        return _common_name(self.certificate.subject)

    @property
    def issuer_name(self) -> str:
        """The common name of who signed the certificate."""
        return _common_name(self.certificate.issuer)

    @property
    def pem(self) -> bytes:
        """The certificate first, then its chain, as TLS sends them (RFC 8446 section 4.4.2)."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in (self.certificate, *self.chain))

    @property
    def key_pem(self) -> bytes:
        """The key, without a password."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certify(
    name: str,
    key: PrivateKey,
    issuer: Credential | None,
    *,
    not_before: timedelta,
    not_after: timedelta,
    serial: int | None = None,
    extensions: Extensions = (),
) -> Credential:
    """Sign a certificate for the holder of `key`, who is the issuer as well if that is None."""
    subject = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mgate test"),
        x509.NameAttribute(NameOID.COMMON_NAME, name),
    ])  # fmt: skip
    signer = key if issuer is None else issuer.key
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.issuer_name(subject if issuer is None else issuer.certificate.subject)
    builder = builder.serial_number(x509.random_serial_number() if serial is None else serial)
    builder = builder.not_valid_before(now() + not_before).not_valid_after(now() + not_after)
    for extension, critical in (
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        *extensions,
    ):
        builder = builder.add_extension(extension, critical)
    above = () if issuer is None or _is_root(issuer) else (issuer.certificate, *issuer.chain)
    return Credential(builder.sign(signer, hashes.SHA256()), key, above)


def _common_name(name: x509.Name) -> str:
    (found,) = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found.value)


def _is_root(credential: Credential) -> bool:
    return credential.certificate.issuer == credential.certificate.subject


def addresses(ocsp_url: str, crl_urls: Sequence[str]) -> Extensions:
    """authorityInfoAccess and cRLDistributionPoints (RFC 5280 sections 4.2.2.1, 4.2.1.13), as far as there are any."""
    found: list[tuple[x509.ExtensionType, bool]] = []
    if ocsp_url:
        responder = x509.UniformResourceIdentifier(ocsp_url)
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, responder)
        found.append((x509.AuthorityInformationAccess([access]), False))
    if crl_urls:
        names = [[x509.UniformResourceIdentifier(url)] for url in crl_urls]
        points = [x509.DistributionPoint(each, None, None, None) for each in names]
        found.append((x509.CRLDistributionPoints(points), False))
    return found


def alternatives(names: Iterable[str]) -> Extensions:
    """subjectAltName (RFC 5280 section 4.2.1.6), if there are any names."""
    found = [_alternative(each) for each in names]
    return [(x509.SubjectAlternativeName(found), False)] if found else []


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        if ":" in name:
            return x509.UniformResourceIdentifier(name)
        return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


def key_usage(*allowed: str) -> x509.KeyUsage:
    """keyUsage (RFC 5280 section 4.2.1.3); what is not named is not allowed."""
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: name in allowed for name in names})
