"""Certificates and keys from files, with everything that is wrong with them said before anybody connects.

Rules:

1. All problems are found at once. Each is one line, ``file: cause``, and never holds anything of a key.
2. A problem stops the start or the reload. A note is for the log: what works now, but not for long, or not for all.

`mgate.tls.contexts` loads what a listener needs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

__all__ = ["Credentials", "Files", "PrivateKey"]

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey

EXPIRES_SOON = timedelta(days=30)
LARGEST_FILE = 4 * 1024 * 1024
"""Bytes; the certificate authorities of a whole machine take a twentieth."""
LEAST_RSA_BITS = 2048
CURVES = (SECP256R1, SECP384R1, SECP521R1)


@dataclass(frozen=True)
class Credentials:
    """A certificate with its chain, the own one first, and its key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """What the certificate is for: its DNS names and IP addresses, in lower case."""
        try:
            sans = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        return tuple(str(name.value).lower() for name in sans if isinstance(name, x509.DNSName | x509.IPAddress))


PRIVATE = b"PRIVATE KEY-----"
"""A key stands in the file, whatever the file is said to be."""


class Files:
    """Reads the files of one configuration, and collects what is wrong with them.

    Args:
        now: for the validity of certificates; the wall clock if left out.

    Attributes:
        problems: lines that stop the start.
        notes: lines for the log.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._now = now or datetime.now(UTC)

    def credentials(self, cert_file: str, key_file: str, *, allow_insecure_key: bool) -> Credentials | None:
        """A certificate with its chain, and its key; None after a problem.

        Args:
            cert_file: PEM, the certificate itself first; a key may stand in it, too.
            key_file: PEM, not encrypted: nobody is there to type a password.
            allow_insecure_key: take a key that others may read.
        """
        if not (cert_file and key_file):
            given, missing = (cert_file, "key_file") if cert_file else (key_file, "cert_file")
            self.problems.append(f"{given}: there is no {missing} to it" if given else "no cert_file and no key_file")
            return None
        chain = self._certificates(cert_file, allow_insecure_key)
        key = self._key(key_file, allow_insecure_key)
        if not chain or key is None:
            return None
        if chain[0].public_key() != key.public_key():
            later = any(each.public_key() == key.public_key() for each in chain[1:])
            cause = "must come first in" if later else "is not in"
            self.problems.append(f"{key_file}: the certificate of this key {cause} {cert_file}")
            return None
        self._own_certificate(cert_file, chain)
        return Credentials(tuple(chain), key)

    def authorities(self, ca_file: str) -> tuple[x509.Certificate, ...]:
        """Certificates that sign those of peers; empty after a problem."""
        found = self._certificates(ca_file)
        for each in found:
            if each.not_valid_after_utc < self._now:
                self.notes.append(f"{ca_file}: {_subject(each)} has expired on {_day(each)}")
        if found and all(each.not_valid_after_utc < self._now for each in found):
            self.problems.append(f"{ca_file}: every certificate has expired")
        return tuple(found)

    def _certificates(self, path: str, allow_insecure: bool = True) -> Sequence[x509.Certificate]:
        data = self._read(path)
        if data is None:
            return ()
        if PRIVATE in data and not allow_insecure and self._read(path, secret=True) is None:
            return ()
        try:
            found = x509.load_pem_x509_certificates(data)
            for each in found:
                _ = each.extensions, each.public_key(), each.subject  # these are parsed at first use
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            self.problems.append(f"{path}: no certificate in PEM that can be read")
            return ()
        return found

    def _key(self, path: str, allow_insecure: bool) -> PrivateKey | None:
        data = self._read(path, secret=not allow_insecure)
        if data is None:
            return None
        try:
            key = load_pem_private_key(data, None)
        except TypeError:
            self.problems.append(f"{path}: the key is encrypted; nobody can type its password here")
            return None
        except (ValueError, UnsupportedAlgorithm):
            self.problems.append(f"{path}: no private key in PEM that can be read")
            return None
        if isinstance(key, RSAPrivateKey) and key.key_size < LEAST_RSA_BITS:
            self.problems.append(f"{path}: an RSA key of {key.key_size} bits; {LEAST_RSA_BITS} is the least")
        elif isinstance(key, EllipticCurvePrivateKey) and not isinstance(key.curve, CURVES):
            self.problems.append(f"{path}: TLS knows no key on the curve {key.curve.name}")
        elif isinstance(key, PrivateKey):
            return key
        else:
            self.problems.append(f"{path}: no key for TLS: RSA, ECDSA or EdDSA")
        return None

    def _read(self, path: str, *, secret: bool = False) -> bytes | None:
        """The bytes of a file; what is no plain file is not opened: a pipe would wait, a device never end."""
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                self.problems.append(f"{path}: not a file")
                return None
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if secret and status.st_mode & stat.S_IRWXO:
                    mode = stat.S_IMODE(status.st_mode)
                    self.problems.append(
                        f"{path}: others may read this key, its mode is {mode:04o}; use chmod o= on it, "
                        "or set allow_insecure_key"
                    )
                    return None
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            self.problems.append(f"{path}: {os.strerror(error.errno) if error.errno else error}")
            return None
        except ValueError:  # a NUL in the path
            self.problems.append(f"{path!r}: no path")
            return None
        if len(data) > LARGEST_FILE:
            self.problems.append(f"{path}: larger than {LARGEST_FILE} bytes")
            return None
        return data

    def _own_certificate(self, path: str, chain: Sequence[x509.Certificate]) -> None:
        own = chain[0]
        if own.not_valid_after_utc < self._now:
            self.problems.append(f"{path}: the certificate has expired on {_day(own)}")
        elif own.not_valid_before_utc > self._now:
            self.problems.append(f"{path}: the certificate is not valid before {own.not_valid_before_utc:%Y-%m-%d}")
        elif own.not_valid_after_utc < self._now + EXPIRES_SOON:
            self.notes.append(f"{path}: the certificate expires on {_day(own)}")
        for each in chain:
            if isinstance(each.signature_hash_algorithm, MD5 | SHA1) and each.issuer != each.subject:
                # Some releases of OpenSSL refuse to send it, others leave the refusal to the device.
                name = each.signature_hash_algorithm.name
                self.problems.append(f"{path}: {_subject(each)} is signed with {name}, which nobody believes any more")
        for each in chain[1:]:
            key = each.public_key()
            if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
                # OpenSSL would refuse to send it, at each handshake.
                bits = f"an RSA key of {key.key_size} bits; {LEAST_RSA_BITS} is the least"
                self.problems.append(f"{path}: {_subject(each)} in the chain has {bits}")
            if each.not_valid_after_utc < self._now:
                self.notes.append(f"{path}: {_subject(each)} in the chain has expired on {_day(each)}")
        if any(one.issuer != other.subject for one, other in zip(chain, chain[1:], strict=False)):
            self.notes.append(f"{path}: the chain is out of order: each certificate must be signed by the next")
        try:
            usage = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            return
        if ExtendedKeyUsageOID.SERVER_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
            self.notes.append(f"{path}: the certificate is not for servers (extendedKeyUsage); devices may refuse it")


def _day(certificate: x509.Certificate) -> str:
    return f"{certificate.not_valid_after_utc:%Y-%m-%d}"


def _subject(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())
