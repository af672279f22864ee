"""OCSP responses with signatures that `cryptography` refuses to make: with SHA-1, with RSASSA-PSS, of another key than
that of the responder who is named, or simply wrong ones."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from mgate.testing.credential import PrivateKey

__all__ = ["resigned"]

SEQUENCE, OCTETS, BITS, ENUMERATED, CONTEXT_0 = 0x30, 0x04, 0x03, 0x0A, 0xA0
OCSP_BASIC = bytes.fromhex("06092b0601050507300101")
HASHES: dict[str, hashes.HashAlgorithm] = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}
ECDSA_WITH = {"sha1": bytes.fromhex("300906072a8648ce3d0401"), "sha256": bytes.fromhex("300a06082a8648ce3d040302")}
RSA_WITH = {
    "sha1": bytes.fromhex("300d06092a864886f70d0101050500"),
    "sha256": bytes.fromhex("300d06092a864886f70d01010b0500"),
}
RSASSA_PSS = bytes.fromhex(
    "304106092a864886f70d01010a3034"  # with SHA-256, MGF1 of SHA-256 and a salt of 32 octets (RFC 8017 A.2.3)
    "a00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500"
    "a203020120"
)


def resigned(response: bytes, key: PrivateKey, scheme: str) -> bytes:
    """The same response with another signature (RFC 6960 section 4.2.1).

    Args:
        response: a successful one, in DER.
        key: signs.
        scheme: ``sha256``, ``sha1``, ``pss`` (RSA keys only), or ``broken``: one that does not verify.

    Raises:
        ValueError: ``pss`` with another key.
    """
    loaded = ocsp.load_der_ocsp_response(response)
    signed = loaded.tbs_response_bytes
    if scheme == "broken":
        # The signature stands verbatim in the response: DER does not wrap it.
        right = loaded.signature
        return response.replace(right, right[:-1] + bytes([right[-1] ^ 1]))
    if scheme == "pss":
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("RSASSA-PSS needs an RSA key")
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        algorithm, signature = RSASSA_PSS, key.sign(signed, pss, hashes.SHA256())
    elif isinstance(key, rsa.RSAPrivateKey):
        algorithm, signature = RSA_WITH[scheme], key.sign(signed, padding.PKCS1v15(), HASHES[scheme])
    else:
        algorithm, signature = ECDSA_WITH[scheme], key.sign(signed, ec.ECDSA(HASHES[scheme]))
    basic = _der(SEQUENCE, signed, algorithm, _der(BITS, b"\0", signature), _certificates(loaded.certificates))
    body = _der(CONTEXT_0, _der(SEQUENCE, OCSP_BASIC, _der(OCTETS, basic)))
    return _der(SEQUENCE, _der(ENUMERATED, b"\0"), body)


def _certificates(certificates: list[x509.Certificate]) -> bytes:
    encoded = [each.public_bytes(Encoding.DER) for each in certificates]
    return _der(CONTEXT_0, _der(SEQUENCE, *encoded)) if encoded else b""


def _der(tag: int, *parts: bytes) -> bytes:
    """One value with its tag and its length (X.690 section 8.1)."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content
