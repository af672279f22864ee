"""OCSP (RFC 6960): the request about one certificate, and what a response says about it. No I/O, no clock.

`mgate.tls.revocation` sends what `request` makes to one of `responder_urls` and gives the answer to `read_response`.
Times are POSIX seconds. Rules of a response that is believed, each of which `read_response` checks:

1. It is signed by the issuer of the certificate, or by a delegate: a certificate that this issuer, and no other,
   signed for OCSP signing, that is in date, and that itself need not be checked (sections 2.6, 4.2.2.2).
2. The signature is over SHA-2 or an Edwards curve. RSASSA-PSS is refused: cryptography does not tell its parameters.
3. It is about this certificate of this issuer, by the hash that the response itself uses (section 4.1.1).
4. It is in date, and carries the nonce of the request unless it carries none (RFC 9654).
"""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    ExtensionOID,
    OCSPExtensionOID,
    SignatureAlgorithmOID,
)

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

__all__ = ["MAX_RESPONSE", "get_path", "read_response", "request", "responder_urls"]

MAX_RESPONSE = 65536
"""Bytes of a response; no fetch needs to read more."""
MAX_CERTIFICATES = 8
MAX_STATUSES = 100

UNKNOWN_KEPT = 300.0
"""Seconds for which an unknown certificate stays unknown in memory: it may just have been issued."""

_RSA = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.RSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.RSA_WITH_SHA512: hashes.SHA512(),
}
_ECDSA = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: hashes.SHA512(),
}

_DELEGATE_EXTENSIONS = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.OCSP_NO_CHECK,
)
_TRUE = b"\x01\x01\xff"
"""DER of the flag ``critical``."""

_SEVERITY = (Status.GOOD, Status.UNKNOWN, Status.REVOKED)


def responder_urls(certificate: x509.Certificate) -> list[str]:
    """The http and https addresses of the OCSP responders that a certificate names (RFC 5280 section 4.2.2.1), in
    its order; none if it cannot be read. `mgate.tls.revocation` asks them one after the other."""
    try:
        with reading("certificate"):
            access = extension(certificate.extensions, x509.AuthorityInformationAccess)
    except Unusable:
        return []
    if access is None:
        return []
    return web_addresses(
        each.access_location for each in access if each.access_method == AuthorityInformationAccessOID.OCSP
    )


def request(certificate: x509.Certificate, issuer: x509.Certificate, nonce: bytes | None) -> bytes:
    """The DER of a request for the status of `certificate` (section 4.1), to be sent with POST as
    ``application/ocsp-request``.

    Args:
        nonce: 1 to 128 random bytes, 32 by RFC 9654; None where HTTP caches may answer.
    """
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256())
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def get_path(request: bytes) -> str:
    """The last segment of the path of a GET: it goes behind the responder's URL and one slash (appendix A.1)."""
    return quote(b64encode(request).decode("ascii"), safe="")


@reading("OCSP response")
def read_response(
    der: bytes,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    nonce: bytes | None,
    *,
    now: float,
    source: str = "ocsp",
    skew: float = 300.0,
    max_age: float = 7 * 86400.0,
    require_nonce: bool = False,
) -> Finding:
    """What the body of a responder's answer says about `certificate`.

    Args:
        der: the body, from a stranger.
        certificate, issuer: neighbours of a chain that was verified.
        nonce: the one in the request.
        now: POSIX time in seconds.
        source: what the finding is said to be from.
        skew: seconds by which clocks may differ.
        max_age: seconds after which a response that does not say how long it holds is stale; nothing good is kept
            for longer.
        require_nonce: refuse what does not carry the nonce of the request.

    Returns:
        GOOD, REVOKED or UNKNOWN. `expires` is 0 where there is no nextUpdate or it has come.

    Raises:
        Unusable: the response breaks a rule of this module, or says nothing about the certificate.
    """
    if len(der) > MAX_RESPONSE:
        raise Unusable("the OCSP response is too large")
    response = ocsp.load_der_ocsp_response(der)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise Unusable(f"the responder answers {response.response_status.name}")
    _check_signer(response, issuer, now, skew)
    check_critical(response.extensions, (OCSPExtensionOID.NONCE,), "the OCSP response")
    _check_nonce(response, nonce, require_nonce)
    findings = [_finding(single, now, source, skew, max_age) for single in _statuses(response, certificate, issuer)]
    if not findings:
        raise Unusable("the OCSP response is about another certificate")
    # A responder may answer by more than one hash; where it contradicts itself, the worst is believed.
    return max(findings, key=lambda finding: _SEVERITY.index(finding.status))


def _check_signer(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: float, skew: float) -> None:
    certificates = response.certificates
    if len(certificates) > MAX_CERTIFICATES:
        raise Unusable("the OCSP response has too many certificates")
    reason = "the OCSP response is signed neither by the issuer nor by a certificate that it brings along"
    for signer in (issuer, *certificates):
        if _is_named(response, signer):
            try:
                if signer != issuer:
                    _check_delegate(signer, issuer, now, skew)
                return _check_signature(response, signer)
            except Unusable as why:  # the same name or key may be there twice
                reason = str(why)
    raise Unusable(reason)


def _is_named(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    """Whether `signer` is the responder ID, by name or by key (section 4.2.1)."""
    if response.responder_key_hash is None:
        return response.responder_name == signer.subject
    # cryptography hashes the bits of a key, as they are in the certificate, for requests only.
    return response.responder_key_hash == _cert_id(signer, signer, hashes.SHA1()).issuer_key_hash


def _cert_id(certificate: x509.Certificate, issuer: x509.Certificate, digest: hashes.HashAlgorithm) -> ocsp.OCSPRequest:
    return ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, digest).build()


@reading("certificate of the OCSP responder")
def _check_delegate(delegate: x509.Certificate, issuer: x509.Certificate, now: float, skew: float) -> None:
    check_digest(delegate.signature_hash_algorithm, "the certificate of the OCSP responder")
    try:
        delegate.verify_directly_issued_by(issuer)
    except (ValueError, InvalidSignature):
        raise Unusable("the OCSP responder's certificate is from another issuer") from None
    check_times(
        delegate.not_valid_before_utc, delegate.not_valid_after_utc, now, skew, "the certificate of the OCSP responder"
    )
    extensions = delegate.extensions
    check_critical(extensions, _DELEGATE_EXTENSIONS, "the certificate of the OCSP responder")
    purposes = extension(extensions, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        raise Unusable("the OCSP responder's certificate is not for OCSP signing")
    usage = extension(extensions, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise Unusable("the key of the OCSP responder's certificate is not for signing")
    if extension(extensions, x509.OCSPNoCheck) is None:
        # Section 4.2.2.2.1: otherwise it had to be checked itself, before the certificate that is asked about.
        raise Unusable("the OCSP responder's certificate has no ocsp-nocheck")


def _check_signature(response: ocsp.OCSPResponse, signer: x509.Certificate) -> None:
    algorithm = response.signature_algorithm_oid
    if algorithm == SignatureAlgorithmOID.RSASSA_PSS:
        raise Unusable("the OCSP response is signed with RSASSA-PSS, which is not supported")
    check_digest(response.signature_hash_algorithm, "the OCSP response")
    key, signature, signed = signer.public_key(), response.signature, response.tbs_response_bytes
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA:
            return key.verify(signature, signed, padding.PKCS1v15(), _RSA[algorithm])
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm in _ECDSA:
            return key.verify(signature, signed, ec.ECDSA(_ECDSA[algorithm]))
        if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == SignatureAlgorithmOID.ED25519:
            return key.verify(signature, signed)
        if isinstance(key, ed448.Ed448PublicKey) and algorithm == SignatureAlgorithmOID.ED448:
            return key.verify(signature, signed)
    except InvalidSignature:
        raise Unusable("the signature of the OCSP response is wrong") from None
    raise Unusable(f"the OCSP response is signed with {algorithm.dotted_string}, which does not fit the signer's key")


def _check_nonce(response: ocsp.OCSPResponse, nonce: bytes | None, require_nonce: bool) -> None:
    answered = extension(response.extensions, x509.OCSPNonce)
    if nonce is None or answered is None:
        if require_nonce:
            raise Unusable("the OCSP response has no nonce")
    elif answered.nonce != nonce:
        raise Unusable("the nonce of the OCSP response is not that of the request")


def _statuses(
    response: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> list[ocsp.OCSPSingleResponse]:
    """What the response has about the certificate, among what it may have about others."""
    singles = list(response.responses)
    if len(singles) > MAX_STATUSES:
        raise Unusable("the OCSP response is about too many certificates")
    if len(singles) == 1:
        check_critical(response.single_extensions, (), "the OCSP response")
    elif _TRUE in response.tbs_response_bytes:
        # cryptography does not tell the extensions of several. These bytes may also be there by chance, in a hash:
        # rarely, and then there is no answer rather than a wrong one.
        raise Unusable("the OCSP response has critical extensions about several certificates")
    return [single for single in singles if _is_about(single, certificate, issuer)]


def _is_about(single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if single.serial_number != certificate.serial_number:
        return False
    try:
        digest = single.hash_algorithm
    except UnsupportedAlgorithm:
        return False
    ours = _cert_id(certificate, issuer, digest)
    return (single.issuer_name_hash, single.issuer_key_hash) == (ours.issuer_name_hash, ours.issuer_key_hash)


def _finding(single: ocsp.OCSPSingleResponse, now: float, source: str, skew: float, max_age: float) -> Finding:
    this, until = single.this_update_utc, single.next_update_utc
    check_times(this, until, now, skew, "the OCSP response")
    if until is None and this.timestamp() + max_age + skew < now:
        raise Unusable("the OCSP response has no nextUpdate and is too old")
    expires = 0.0
    if until is not None and until.timestamp() > now:
        expires = min(until.timestamp(), now + max_age)
    if single.certificate_status is ocsp.OCSPCertStatus.GOOD:
        return Finding(Status.GOOD, expires, source)
    if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        return Finding(
            Status.UNKNOWN, min(expires, now + UNKNOWN_KEPT), source, "the responder does not know the certificate"
        )
    return _revoked(single, now, source, expires)


def _revoked(single: ocsp.OCSPSingleResponse, now: float, source: str, expires: float) -> Finding:
    reason, since = single.revocation_reason, single.revocation_time_utc
    on_hold = reason is x509.ReasonFlags.certificate_hold
    return Finding(
        Status.REVOKED,
        expires if on_hold else max(expires, now + REVOKED_KEPT),
        source,
        f"revoked at {since:%Y-%m-%dT%H:%M:%SZ}" + (f", {reason.value}" if reason is not None else ""),
        on_hold,
    )
