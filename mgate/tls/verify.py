"""The verify callback of OpenSSL, with the alert that the device is told: the one file with private use of pyOpenSSL.

Rules:

1. pyOpenSSL lets a callback say yes or no, and a no is alert 80 (internal_error). The alert that belongs to the cause
   (RFC 8446 section 6.2) follows from the error of the X509_STORE_CTX, which only the binding can set.
2. Whatever fails in here refuses the device.
3. Private names may change with each release. `works` therefore holds a handshake with itself at the first use. If that
   does not give alert 44, the public interface serves instead: devices are refused all the same, but with alert 80.

`mgate.tls.contexts` calls `demand`, connections are asked by `Verifying`, `mgate.tls.connection` asks `session_reused`.
"""

from __future__ import annotations

import datetime
from functools import cache
from typing import Any, Protocol, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509
from twisted.logger import Logger

__all__ = ["ACCEPT", "MODE", "REVOKED", "UNAVAILABLE", "Verifying", "demand", "self_test", "session_reused", "works"]

ACCEPT = 0
"""X509_V_OK."""
REVOKED = 23
"""X509_V_ERR_CERT_REVOKED, alert 44 (certificate_revoked)."""
UNAVAILABLE = 73
"""X509_V_ERR_OCSP_VERIFY_NEEDED, alert 46 (certificate_unknown)."""
UNSPECIFIED = 1
"""X509_V_ERR_UNSPECIFIED, alert 80 (internal_error)."""

MODE = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT

log = Logger()


class Verifying(Protocol):
    """A connection that is asked about each certificate which OpenSSL has verified, from the trust anchor down."""

    def certificate_verified(self, certificate: X509, depth: int) -> int:
        """Return `ACCEPT`, `REVOKED` or `UNAVAILABLE`. `depth` is 0 for the certificate of the device."""


def demand(where: SSL.Context | SSL.Connection) -> None:
    """Have each device present a certificate, and ask its connection, a `Verifying`, about the chain.

    Args:
        where: a context that has made no connection yet; or a connection whose context was exchanged because of SNI,
            since OpenSSL keeps the callback of the context that it began with.
    """
    if works():
        _demand_coded(where)
    else:
        where.set_verify(MODE, _answer_plainly)


def session_reused(connection: SSL.Connection) -> bool:
    """Whether the handshake that has just ended resumed a session: then no certificate was verified.

    Without the binding it is False; a connection that nobody asked `Verifying.certificate_verified` shows the same.
    """
    return works() and bool(lib.SSL_session_reused(cast(Any, connection)._ssl))


@cache
def works() -> bool:
    """Whether the private use of pyOpenSSL does what it is for; found out once, and logged if not."""
    cause = self_test()
    if cause:
        log.error(
            "refused certificates get alert 80 instead of their own: the binding of pyOpenSSL has changed: {cause}",
            cause=cause,
        )
    return not cause


def self_test() -> str:
    """Refuse a throw-away certificate as revoked, in memory.

    Returns:
        what is wrong, or "" if the client was told alert 44.
    """
    try:
        told = _refusal_on_the_wire()
    except Exception as error:  # noqa: BLE001 - names of another release may be missing, or differ, in any way
        return f"{type(error).__name__}: {error}"
    return "" if told.endswith(_REVOKED_ALERT) else f"the client was told {told[-16:].hex(' ') or 'nothing'}"


_REVOKED_ALERT = bytes.fromhex("15 0303 0002 02 2c")


def _demand_coded(where: SSL.Context | SSL.Connection) -> None:
    private = cast(Any, where)
    if isinstance(where, SSL.Context):
        where.set_verify(MODE, _refuse)  # should the next line ever do nothing
        lib.SSL_CTX_set_verify(private._context, MODE, _callback())
    else:
        lib.SSL_set_verify(private._ssl, MODE, _callback())


def _refuse(*_: object) -> bool:
    return False


@cache
def _callback() -> Any:
    """The one callback for all contexts: it lives as long as the process, so that OpenSSL never calls a freed one."""
    return ffi.callback("int (*)(int, X509_STORE_CTX *)", _answer, error=0)


def _answer(ok: int, store: Any) -> int:
    """Called by OpenSSL for each certificate of the chain, and for each error that it found itself."""
    code = UNAVAILABLE
    try:
        if ok:
            index = lib.SSL_get_ex_data_X509_STORE_CTX_idx()
            ssl = lib.X509_STORE_CTX_get_ex_data(store, index)
            connection = cast(Any, SSL.Connection)._reverse_mapping[ssl]
            pointer = lib.X509_STORE_CTX_get_current_cert(store)
            lib.X509_up_ref(pointer)
            certificate = cast(Any, X509)._from_raw_x509_ptr(pointer)
            code = connection.certificate_verified(certificate, lib.X509_STORE_CTX_get_error_depth(store))
        else:
            code = lib.X509_STORE_CTX_get_error(store) or UNSPECIFIED
    except Exception:  # noqa: BLE001 - nothing may be raised into OpenSSL, and nothing that fails may admit
        log.failure("the verify callback failed, the device is refused")
    lib.X509_STORE_CTX_set_error(store, code)
    return int(code == ACCEPT)


def _answer_plainly(connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
    """The same by the public interface, which can only say yes or no."""
    try:
        return bool(ok) and cast(Verifying, connection).certificate_verified(certificate, depth) == ACCEPT
    except Exception:  # noqa: BLE001 - pyOpenSSL would raise it out of the reactor, without any alert
        log.failure("the verify callback failed, the device is refused")
        return False


class _Revoking(SSL.Connection):
    def certificate_verified(self, certificate: X509, depth: int) -> int:
        return REVOKED


def _refusal_on_the_wire() -> bytes:
    """What a server sends, in TLS 1.2 where alerts of the handshake are readable, to a client that it refuses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    contexts = []
    for _ in range(2):
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        contexts.append(context)
    client, server = SSL.Connection(contexts[0]), _server(contexts[1], certificate)
    client.set_connect_state()
    server.set_accept_state()
    sent = b""
    for _ in range(8):
        _transfer(client, server)
        flight = _transfer(server, client)
        sent += flight
    if lib.SSL_session_reused(cast(Any, server)._ssl):
        raise ValueError("a first handshake counts as resumed")
    return sent


def _server(context: SSL.Context, anchor: x509.Certificate) -> SSL.Connection:
    store = context.get_cert_store()
    assert store is not None
    store.add_cert(X509.from_cryptography(anchor))
    _demand_coded(context)
    return _Revoking(context)


def _transfer(sender: SSL.Connection, receiver: SSL.Connection) -> bytes:
    """Let one side go on, and give the other what it has to say."""
    try:
        sender.do_handshake()
    except SSL.Error:
        pass  # it waits, or it has refused: the bytes tell
    try:
        flight = sender.bio_read(65536)
    except SSL.WantReadError:
        return b""
    receiver.bio_write(flight)
    return flight
