"""Who a device is, by its verified certificate: names as text that cannot be mistaken for another name.

Rules:

1. Nothing in a certificate makes these functions raise: what cannot be read is left out.
2. A name with a NUL or another character that cannot be printed is left out: programs that stop reading there would
   take it for another name.
3. The common name counts only if there is exactly one (RFC 6125 section 2.3.1). Other names are those of the
   subjectAltName extension (RFC 5280 section 4.2.1.6).

`mgate.tls.contexts` asks for it when a handshake has ended; it is for handlers, rules and logs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    Certificate,
    DNSName,
    DuplicateExtension,
    ExtensionNotFound,
    IPAddress,
    Name,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    UnsupportedGeneralNameType,
)
from cryptography.x509.oid import NameOID

__all__ = ["Identity", "described", "identify"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What handlers and rules see of a verified certificate.

    Attributes:
        subject: the distinguished name as RFC 4514 writes it; "" if it cannot be read.
        common_name: the only common name, or "".
        dns, ip, uri, email: the subjectAltNames of each kind, in their order.
        serial: in hexadecimal, upper case, as ``openssl x509 -serial`` prints it.
        fingerprint: SHA-256 of the certificate, in hexadecimal, lower case.
        not_after: the last moment of its validity, UTC.
        certificate: the certificate itself.
        chain: with the certificates that it was verified by, from its own to the trust anchor.
    """

    subject: str
    common_name: str
    dns: tuple[str, ...]
    ip: tuple[str, ...]
    uri: tuple[str, ...]
    email: tuple[str, ...]
    serial: str
    fingerprint: str
    not_after: datetime
    certificate: Certificate = field(repr=False)
    chain: tuple[Certificate, ...] = field(repr=False, default=())


def identify(certificate: Certificate, chain: Iterable[Certificate] = ()) -> Identity:
    """The identity in a certificate that was verified, with its chain."""
    sans = _sans(certificate)
    return Identity(
        subject=_subject(certificate),
        common_name=_common_name(certificate),
        dns=_texts(name.value for name in sans if isinstance(name, DNSName)),
        ip=_texts(name.value for name in sans if isinstance(name, IPAddress) and not _is_network(name)),
        uri=_texts(name.value for name in sans if isinstance(name, UniformResourceIdentifier)),
        email=_texts(name.value for name in sans if isinstance(name, RFC822Name)),
        serial=_serial(certificate.serial_number),
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        not_after=certificate.not_valid_after_utc,
        certificate=certificate,
        chain=tuple(chain),
    )


def described(certificate: Certificate) -> str:
    """A certificate in a few words, for logs: its subject, or its serial number if that cannot be read."""
    return _subject(certificate) or f"serial {_serial(certificate.serial_number)}"


def _subject(certificate: Certificate) -> str:
    name = _name(certificate)
    return "" if name is None else name.rfc4514_string()


def _name(certificate: Certificate) -> Name | None:
    try:
        return certificate.subject
    except ValueError:  # an encoding that is none
        return None


def _common_name(certificate: Certificate) -> str:
    name = _name(certificate)
    values = [] if name is None else [each.value for each in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return (_texts(values) or ("",))[0] if len(values) == 1 else ""


def _sans(certificate: Certificate) -> tuple[object, ...]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(SubjectAlternativeName).value)
    except (ExtensionNotFound, DuplicateExtension, UnsupportedGeneralNameType, ValueError):
        return ()


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    texts = (value if isinstance(value, str) else str(value) for value in values if not isinstance(value, bytes))
    return tuple(text for text in texts if text and text.isprintable())


def _is_network(name: IPAddress) -> bool:
    return isinstance(name.value, IPv4Network | IPv6Network)


def _serial(number: int) -> str:
    digits = f"{abs(number):X}"
    return ("-" if number < 0 else "") + digits.zfill(len(digits) + len(digits) % 2)
