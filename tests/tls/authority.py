"""A certificate authority in memory, and OCSP responses written byte by byte: also those that no library would sign.

Nothing here is a secret: keys are made anew by each run. Times are seconds from `NOW`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID, OCSPExtensionOID

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
HOUR = 3600.0
DAY = 24 * HOUR

Extensions = Iterable[tuple[x509.ExtensionType, bool]]

CA = x509.BasicConstraints(True, None), True
OCSP_SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False
NO_CHECK = x509.OCSPNoCheck(), False
DELEGATE = [OCSP_SIGNING, NO_CHECK]
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0")


def at(seconds: float) -> datetime:
    """The moment so many seconds after `NOW`."""
    return datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=seconds)


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(*names: str) -> tuple[x509.KeyUsage, bool]:
    """The key usage extension with only these uses."""
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in names for name in every}), True


def uris(*urls: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(url) for url in urls]


def points(*urls: str, **fields: Any) -> x509.DistributionPoint:
    given = {"full_name": uris(*urls) or None, "relative_name": None, "reasons": None, "crl_issuer": None}
    return x509.DistributionPoint(**{**given, **fields})


def scope(**fields: Any) -> tuple[x509.IssuingDistributionPoint, bool]:
    """The issuing distribution point extension, with nothing but these fields."""
    given: dict[str, Any] = dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    given |= {"full_name": None, "relative_name": None, "only_some_reasons": None}
    return x509.IssuingDistributionPoint(**given | fields), True


def responders(*urls: str) -> tuple[x509.AuthorityInformationAccess, bool]:
    ways = [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, name) for name in uris(*urls)]
    return x509.AuthorityInformationAccess(ways), False


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    """One RSA key for all tests: it takes long to find one."""
    return rsa.generate_private_key(65537, 2048)


class Party:
    """A certificate with its key.

    Args:
        parent: who signs it; None for itself.
        begins, ends: seconds from `NOW`.
    """

    def __init__(
        self,
        name: str,
        parent: Party | None = None,
        extensions: Extensions = (),
        *,
        key: Any = None,
        serial: int | None = None,
        begins: float = -DAY,
        ends: float = DAY,
        digest: hashes.HashAlgorithm | None = hashes.SHA256(),  # noqa: B008
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        issuer, signer = (named(name), self.key) if parent is None else (parent.certificate.subject, parent.key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(issuer)
            .public_key(self.key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(at(begins))
            .not_valid_after(at(ends))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        if isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
            digest = None
        self.certificate = builder.sign(signer, digest)

    def crl(
        self,
        revoked: Iterable[int | x509.RevokedCertificate] = (),
        extensions: Extensions = (),
        *,
        number: int | None = 1,
        this: float = -HOUR,
        until: float = HOUR,
        key: Any = None,
        digest: hashes.HashAlgorithm | None = hashes.SHA256(),  # noqa: B008
        padding: padding.PSS | None = None,
    ) -> x509.CertificateRevocationList:
        """A CRL of this authority. `until` is counted from `NOW` as well."""
        builder = x509.CertificateRevocationListBuilder(
            self.certificate.subject,
            at(this),
            at(until),
            [],
            [entry(each) if isinstance(each, int) else each for each in revoked],
        )
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(key or self.key, digest, rsa_padding=padding)


def entry(serial: int, reason: x509.ReasonFlags | None = None, *more: tuple[Any, bool]) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at(-DAY))
    if reason is not None:
        more = ((x509.CRLReason(reason), False), *more)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical)
    return builder.build()


def der(tag: int, *parts: bytes) -> bytes:
    """One value of ASN.1, from its parts."""
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


SEQUENCE, OCTETS, OID, ENUMERATED, TIME, INTEGER, BITS, NULL = 0x30, 4, 6, 10, 24, 2, 3, b"\5\0"


def oid(dotted: str) -> bytes:
    first, second, *others = map(int, dotted.split("."))
    out = bytearray([40 * first + second])
    for number in others:
        septets = [number & 127]
        while number := number >> 7:
            septets.append(number & 127 | 128)
        out += bytes(reversed(septets))
    return der(OID, bytes(out))


def moment(seconds: float) -> bytes:
    return der(TIME, f"{at(seconds):%Y%m%d%H%M%SZ}".encode())


def critical_extension(dotted: str, value: bytes, critical: bool = True) -> bytes:
    return der(SEQUENCE, oid(dotted), b"\1\1\xff" if critical else b"", der(OCTETS, value))


HASHES = {
    "sha1": ("1.3.14.3.2.26", hashes.SHA1()),
    "sha256": ("2.16.840.1.101.3.4.2.1", hashes.SHA256()),
    "sha512": ("2.16.840.1.101.3.4.2.3", hashes.SHA512()),
    "md5": ("1.2.840.113549.2.5", hashes.SHA1()),  # with the hashes of SHA-1: nobody will look
}


@dataclass
class Answer:
    """What a response says about one certificate. Times are seconds from `NOW`."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    status: str = "good"
    reason: int | None = None
    this: float = -60.0
    until: float | None = HOUR
    digest: str = "sha256"
    extensions: Sequence[bytes] = ()

    def der(self) -> bytes:
        name, algorithm = HASHES[self.digest]
        about = ocsp.OCSPRequestBuilder().add_certificate(self.certificate, self.issuer, algorithm).build()
        serial = about.serial_number
        identity = der(
            SEQUENCE,
            der(SEQUENCE, oid(name), NULL),
            der(OCTETS, about.issuer_name_hash),
            der(OCTETS, about.issuer_key_hash),
            der(INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, "big")),
        )
        status = {"good": b"\x80\0", "unknown": b"\x82\0"}.get(self.status)
        if status is None:
            why = b"" if self.reason is None else der(0xA0, der(ENUMERATED, bytes([self.reason])))
            status = der(0xA1, moment(-DAY), why)
        until = b"" if self.until is None else der(0xA0, moment(self.until))
        extensions = der(0xA1, der(SEQUENCE, *self.extensions)) if self.extensions else b""
        return der(SEQUENCE, identity, status, moment(self.this), until, extensions)


@dataclass
class Response:
    """A whole OCSP response, ready to be bent: change any field, then call `der`."""

    signer: Party
    answers: Sequence[Answer]
    by_key: bool = False
    responder: x509.Certificate | None = None
    """Whose name or key the responder ID is; the signer's if None."""
    nonce: bytes | None = None
    certificates: Sequence[x509.Certificate] = ()
    extensions: Sequence[bytes] = ()
    algorithm: str = ""
    """The signature algorithm that it claims; the one that was used if empty."""
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    pss: bool = False
    broken: bool = False

    def der(self) -> bytes:
        responder = self.responder or self.signer.certificate
        if self.by_key:
            about = ocsp.OCSPRequestBuilder().add_certificate(responder, responder, hashes.SHA1()).build()
            identity = der(0xA2, der(OCTETS, about.issuer_key_hash))
        else:
            identity = der(0xA1, responder.subject.public_bytes())
        extensions = list(self.extensions)
        if self.nonce is not None:
            extensions.append(critical_extension(OCSPExtensionOID.NONCE.dotted_string, der(OCTETS, self.nonce), False))
        signed = der(
            SEQUENCE,
            identity,
            moment(-30),
            der(SEQUENCE, *(answer.der() for answer in self.answers)),
            der(0xA1, der(SEQUENCE, *extensions)) if extensions else b"",
        )
        algorithm, signature = self._sign(signed)
        if self.broken:
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        return successful(
            der(
                SEQUENCE,
                signed,
                der(SEQUENCE, oid(self.algorithm or algorithm)),
                der(BITS, b"\0", signature),
                der(0xA0, der(SEQUENCE, *(each.public_bytes(Encoding.DER) for each in self.certificates)))
                if self.certificates
                else b"",
            )
        )

    def _sign(self, signed: bytes) -> tuple[str, bytes]:
        key, bits = self.signer.key, self.digest.digest_size * 8
        if isinstance(key, rsa.RSAPrivateKey):
            if self.pss:
                how = padding.PSS(padding.MGF1(self.digest), self.digest.digest_size)
                return "1.2.840.113549.1.1.10", key.sign(signed, how, self.digest)
            names = {160: 5, 256: 11, 384: 12, 512: 13}
            return f"1.2.840.113549.1.1.{names[bits]}", key.sign(signed, padding.PKCS1v15(), self.digest)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            names = {160: "1", 256: "3.2", 384: "3.3", 512: "3.4"}
            return f"1.2.840.10045.4.{names[bits]}", key.sign(signed, ec.ECDSA(self.digest))
        return "1.3.101.112" if isinstance(key, ed25519.Ed25519PrivateKey) else "1.3.101.113", key.sign(signed)


def successful(basic: bytes) -> bytes:
    """An OCSPResponse around a BasicOCSPResponse."""
    return der(
        SEQUENCE,
        der(ENUMERATED, b"\0"),
        der(0xA0, der(SEQUENCE, oid("1.3.6.1.5.5.7.48.1.1"), der(OCTETS, basic))),
    )
