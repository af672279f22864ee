"""What a TLS listener serves with: certificates by the name that a device asks for, and the connections they make.

Rules:

1. TLS 1.2 and 1.3, the ciphers that Mozilla calls intermediate, no compression, no renegotiation.
2. No session is ever resumed, with client certificates or without: a resumed session verifies no certificate, and
   keys of tickets that live as long as the process would undo forward secrecy.
3. ALPN chooses ours if the device offers it, and goes on without if it does not (RFC 7301 section 3.2 would end the
   connection; there are devices that offer names which no server knows).
4. Nothing changes once it is made: OpenSSL shares contexts between connections, and calls into them. A reload makes
   new `ServerContexts`. A connection keeps those that made it.

`mgate.entrance` makes them, and puts them around the factory of a listener.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.x509 import Certificate
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate.errors import ConfigError
from mgate.limits import DEFAULT
from mgate.tls import verify
from mgate.tls.connection import Checker, RevocationConnection
from mgate.tls.credentials import Credentials, Files
from mgate.tls.identity import Identity, identify
from mgate.tls.settings import ServerTls

__all__ = ["ServerContexts", "identity_of"]

CIPHERS = b":".join(
    b"ECDHE-%s-%s" % (authentication, cipher)
    for cipher in (b"AES128-GCM-SHA256", b"AES256-GCM-SHA384", b"CHACHA20-POLY1305")
    for authentication in (b"ECDSA", b"RSA")
)
"""For TLS 1.2. Those of TLS 1.3 are all good."""
TLS13_CIPHERS = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET
SOME_NAMES = (
    "client certificates are demanded for some server names only: "
    "who asks for another name, or for none, is served without one"
)
LONGEST_CHAIN = 8
"""Certificates between that of a device and the trust anchor."""

log = Logger()


@implementer(IOpenSSLServerConnectionCreator)
class ServerContexts:
    """The TLS of one listener, as its files were when this was made.

    Args:
        settings: which files.
        checker: asked for the status of client certificates; None where none is asked for.
        alpn: what the listener speaks, best first, as ``[b"mqtt"]``.
        clock: IReactorTime, for the time that a handshake may take.
        handshake: that time in seconds.
        refused: called for each device that is refused, with the reason of `RevocationConnection` and a text for logs.
        failed: called with what our own code raised; written to the log if left out.
        files: reads the files.

    Attributes:
        notes: lines for the log, as that a certificate expires soon.

    Raises:
        ConfigError: one line for each problem, ``file: cause``.
    """

    def __init__(
        self,
        settings: ServerTls,
        checker: Checker | None,
        alpn: Sequence[bytes],
        clock: Any,
        *,
        handshake: float = DEFAULT.tls_handshake,
        refused: Callable[[RevocationConnection, str, str], None] = lambda connection, reason, detail: None,
        failed: Callable[[BaseException | Failure], None] | None = None,
        files: Files | None = None,
    ) -> None:
        self._checker = checker
        self._alpn = tuple(alpn)
        self._clock = clock
        self._handshake = handshake
        self.refused = refused
        self.failed = failed or _write_down
        self._strict = settings.strict_sni
        self._session_id = os.urandom(16)
        files = files or Files()
        self._default, self._by_name = self._contexts(settings, files)
        if files.problems:
            raise ConfigError(list(dict.fromkeys(files.problems)))
        if not settings.client_ca_file and any(name.client_ca_file for name in settings.server_name):
            files.notes.append(SOME_NAMES)
        self.notes = tuple(dict.fromkeys(files.notes))
        if settings.server_name or settings.strict_sni:
            assert self._default is not None
            self._default.set_tlsext_servername_callback(self._choose)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> RevocationConnection:
        """Called by TLSMemoryBIOFactory for each device that connects."""
        assert self._default is not None
        connection = RevocationConnection(self._default, protocol, self, self._checker)
        connection.set_accept_state()
        connection.end_by(self._clock, self._handshake)
        return connection

    def _contexts(self, settings: ServerTls, files: Files) -> tuple[SSL.Context | None, dict[str, SSL.Context]]:
        insecure = settings.allow_insecure_key
        own = files.credentials(settings.cert_file, settings.key_file, allow_insecure_key=insecure)
        authorities = files.authorities(settings.client_ca_file) if settings.client_ca_file else ()
        default = self._context(own, settings.cert_file, authorities, settings.client_ca_file, files)
        explicit: dict[str, SSL.Context] = {}
        implicit: dict[str, SSL.Context] = {}
        for other in settings.server_name:
            credentials = files.credentials(other.cert_file, other.key_file, allow_insecure_key=insecure)
            ca_file = other.client_ca_file or settings.client_ca_file
            signers = files.authorities(other.client_ca_file) if other.client_ca_file else authorities
            context = self._context(credentials, other.cert_file, signers, ca_file, files)
            if credentials is None or context is None:
                continue
            if not (other.names or credentials.names):
                files.problems.append(f"{other.cert_file}: the certificate has no name; say which with names")
            for name in map(_plain, other.names):
                if name in explicit:
                    files.problems.append(f"{other.cert_file}: another certificate is for {name!r} already")
                explicit[name] = context
            for name in credentials.names if not other.names else ():
                implicit.setdefault(name, context)
        if own is not None and default is not None:
            implicit = {**dict.fromkeys(own.names, default), **implicit}
        return default, {**implicit, **explicit}

    def _context(
        self,
        credentials: Credentials | None,
        cert_file: str,
        authorities: Sequence[Certificate],
        ca_file: str,
        files: Files,
    ) -> SSL.Context | None:
        if credentials is None:
            return None
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(OPTIONS)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(self._session_id)
        context.set_cipher_list(CIPHERS)
        context.set_tls13_ciphersuites(TLS13_CIPHERS)
        if self._alpn:
            context.set_alpn_select_callback(self._select)
        try:
            context.use_certificate(credentials.chain[0])
            context.use_privatekey(credentials.key)
            for certificate in credentials.chain[1:]:
                context.add_extra_chain_cert(certificate)
        except (SSL.Error, crypto.Error) as error:
            files.problems.append(f"{cert_file}: OpenSSL refuses it: {_words(error)}")
            return None
        if ca_file:
            self._demand_certificates(context, authorities)
        return context

    def _demand_certificates(self, context: SSL.Context, authorities: Sequence[Certificate]) -> None:
        """Have devices present a certificate of these authorities; of nobody's, if there are none."""
        store = context.get_cert_store()
        assert store is not None
        for authority in authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
            context.add_client_ca(authority)
        if authorities and not any(each.issuer == each.subject for each in authorities):
            # Somebody trusts a lower authority alone. Beside a root this must not be set: an authority of the file
            # that the root has revoked would be an anchor of its own.
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        context.set_verify_depth(LONGEST_CHAIN)
        if self._checker is not None:
            verify.demand(context)
        else:
            context.set_verify(verify.MODE)

    def _select(self, connection: SSL.Connection, offered: Sequence[bytes]) -> Any:
        return next((ours for ours in self._alpn if ours in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

    def _choose(self, connection: SSL.Connection) -> None:
        """Called by OpenSSL with each hello, whether it asks for a name (RFC 6066 section 3) or not."""
        assert isinstance(connection, RevocationConnection)
        try:
            asked = connection.get_servername()
            context = None if asked is None else self._named(asked)
            if context is not None:
                self._switch(connection, context)
            elif asked is not None and self._strict:
                connection.refuse_name()
        except Exception as error:  # noqa: BLE001 - called by OpenSSL, and not every pyOpenSSL refuses by itself then
            connection.refuse_fault(error)

    def _named(self, asked: bytes) -> SSL.Context | None:
        name = _plain(asked.decode("ascii", "replace"))
        _, dot, parent = name.partition(".")
        return self._by_name.get(name) or (self._by_name.get(f"*.{parent}") if dot else None)

    def _switch(self, connection: RevocationConnection, context: SSL.Context) -> None:
        if context is self._default:
            return
        connection.set_context(context)
        # The certificate, the authorities and ALPN are those of the new context, but whether a certificate is
        # demanded, and who is asked about it, stays as the connection began.
        if context.get_verify_mode() != connection.get_verify_mode():
            if self._checker is not None:
                verify.demand(connection)
            else:
                connection.set_verify(verify.MODE)


def identity_of(connection: RevocationConnection) -> Identity | None:
    """Who the device is, once its handshake has ended; None before, and where no certificate is asked for.

    Protocols call it in `handshakeCompleted`, with ``transport.getHandle()``.
    """
    if not (connection.established and connection.get_verify_mode() & SSL.VERIFY_PEER):
        return None
    chain = connection.get_verified_chain(as_cryptography=True)
    return identify(chain[0], chain) if chain else None


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _words(error: Exception) -> str:
    queue = error.args[0] if error.args else ()
    return "; ".join(str(entry[-1]) for entry in queue) or type(error).__name__


def _write_down(error: BaseException | Failure) -> None:
    log.failure("TLS has failed", failure=error if isinstance(error, Failure) else Failure(error))
