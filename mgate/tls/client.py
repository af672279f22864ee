"""TLS towards a target: who the target must prove to be, and an endpoint that is connected only when it has.

`mgate.listeners` puts a `TargetEndpoint` around the endpoint of each target whose address says so.

Rules:

1. A name or an address that the certificate must have is always known (RFC 9525); nothing falls back to plain text.
2. `connect` fires when the handshake is done, so that nothing of a device is sent to somebody who proved nothing. In
   TLS 1.3 the target judges our own certificate later than that: its refusal is reported too.
3. A handshake ends in time, or the dial fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity.cryptography import extract_patterns
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate.errors import ConfigError
from mgate.tls.client_context import reason_of, target_context
from mgate.tls.settings import TargetTls

__all__ = ["HandshakeFailed", "TargetConnections", "TargetEndpoint"]

CODES = SSL.X509VerificationCodes

HOST_NAME = re.compile(rb"([a-z0-9_-]{1,63}\.)*(?![0-9]+$)[a-z0-9_-]{1,63}")
"""Labels, the last of which is no number, as it would be in an address (RFC 1123 section 2.1)."""

VERIFIED = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT

REFUSALS = {
    CODES.ERR_CERT_HAS_EXPIRED: "has expired",
    CODES.ERR_CERT_NOT_YET_VALID: "is not valid yet",
    CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN: "is of an unknown authority",
    CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "is of an unknown authority",
    CODES.ERR_UNABLE_TO_GET_ISSUER_CERT: "is of an unknown authority",
    CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "is of an unknown authority",
    CODES.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "is of an unknown authority",
    CODES.ERR_INVALID_CA: "is none that may issue others",
    CODES.ERR_INVALID_PURPOSE: "is not for servers",
}


class HandshakeFailed(ConnectError):
    """The target is there, but there is no TLS connection to it; the text says why."""

    def __init__(self, text: str) -> None:
        super().__init__(string=text)  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        return str(self.args[0])


class TargetConnection(SSL.Connection):
    """Knows whose certificate it must see, and why it refused one.

    Attributes:
        name, identity: what the certificate must have, as text and for service_identity.
        why: a text once the certificate was refused.
    """

    def __init__(self, context: SSL.Context, name: str, identity: Any) -> None:
        super().__init__(context, None)
        self.name = name
        self.identity = identity
        self.why = ""


@implementer(IOpenSSLClientConnectionCreator)
class TargetConnections:
    """Makes the OpenSSL connections to one target; reads its files once.

    Args:
        settings: files, and the name that the certificate must have.
        host: of the target's address, used if the settings name nothing: a host name, which SNI asks for too, or an IP
            address, which has no place there (RFC 6066 section 3).

    Raises:
        ConfigError: one line for each file that cannot be used, and for a name that cannot be one.
    """

    def __init__(self, settings: TargetTls, host: str) -> None:
        self._name = settings.server_name or host
        self._sni, self._identity = _identity(self._name)
        self._context = target_context(settings)
        self._context.set_verify(VERIFIED, _verify)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """IOpenSSLClientConnectionCreator."""
        connection = TargetConnection(self._context, self._name, self._identity)
        if self._sni:
            connection.set_tlsext_host_name(self._sni)
        connection.set_connect_state()
        return connection


def _identity(name: str) -> tuple[bytes, Any]:
    """What SNI asks for, and what the certificate must have (RFC 9525 section 6.1)."""
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        pass
    else:
        return b"", IPAddress_ID(str(address))
    try:
        sni = name.removesuffix(".").encode("idna").lower()
    except UnicodeError:
        sni = b""
    if HOST_NAME.fullmatch(sni) is None or len(sni) > 253:
        raise ConfigError([f"target_tls.server_name: {name!r} is neither a host name nor an IP address"])
    return sni, DNS_ID(sni.decode("ascii"))


def _verify(connection: Any, certificate: X509, error: int, depth: int, ok: int) -> bool:
    """Called by OpenSSL for each certificate of the chain, the target's own last."""
    if not ok:
        whose = "its certificate" if depth == 0 else f"the certificate {depth} above its own"
        connection.why = f"{whose} {REFUSALS.get(error, f'cannot be verified (X509_V_ERR {error})')}"
        return False
    if depth:
        return True
    try:
        patterns = extract_patterns(certificate.to_cryptography())
        verify_service_identity(patterns, [connection.identity], [])
    except (VerificationError, CertificateError):
        connection.why = f"its certificate is not for {connection.name}"
        return False
    except Exception as unexpected:  # noqa: BLE001 - OpenSSL calls and could not pass it on; what goes wrong refuses
        connection.why = f"its certificate cannot be read: {type(unexpected).__name__}"
        return False
    return True


@implementer(IStreamClientEndpoint)
class TargetEndpoint:
    """Dials an endpoint and speaks TLS on it.

    Args:
        connections: for this target; a reload may assign others, which the next dial uses.
        endpoint: to dial; with PROXY headers, what sends them (`mgate.proxyprotocol.outgoing.HeaderFirst`).
        clock: IReactorTime.
        timeout: seconds from the TCP connection to the end of the handshake.
        report: called with one short text if TLS breaks down after `connect` has fired, as it does when a target that
            speaks TLS 1.3 refuses our certificate.
    """

    def __init__(
        self,
        connections: TargetConnections,
        endpoint: IStreamClientEndpoint,
        clock: Any,
        *,
        timeout: float,
        report: Callable[[str], None],
    ) -> None:
        self.connections = connections
        self._endpoint = endpoint
        self._clock = clock
        self._timeout = timeout
        self._report = report

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """IStreamClientEndpoint.

        Returns:
            Fires with the protocol after the handshake. Fails with `HandshakeFailed`, with
            `twisted.internet.defer.TimeoutError`, or as the endpoint does.
        """
        dial = _Dial(protocolFactory, self._clock, self._timeout, self._report)
        wrapped = TLSMemoryBIOFactory(self.connections, True, dial, self._clock)
        dial.start(self._endpoint.connect(wrapped))
        return dial.done


class _Dial(Factory):
    """One attempt: the factory of what waits for the handshake, and what becomes of it."""

    noisy = False

    def __init__(self, inner: Any, clock: Any, timeout: float, report: Callable[[str], None]) -> None:
        self.inner = inner
        self.clock = clock
        self.timeout = timeout
        self.report = report
        self.done: Deferred[Any] = Deferred(self._cancel)
        self._attempt: Any = None
        self._handshake: _Handshake | None = None

    def start(self, attempt: Deferred[Any]) -> None:
        """`attempt` dials; it fires when TCP is connected, and the handshake goes on from there."""
        self._attempt = attempt
        attempt.addErrback(self.failed).addErrback(lambda _: None)

    def buildProtocol(self, addr: Any) -> _Handshake:
        self._handshake = _Handshake(self, addr)
        return self._handshake

    def startFactory(self) -> None:
        self.inner.doStart()

    def stopFactory(self) -> None:
        self.inner.doStop()

    def failed(self, failure: Failure) -> None:
        """There will be no connection; told once."""
        if not self.done.called:
            self.done.errback(failure)

    def _cancel(self, _: Deferred[Any]) -> None:
        self.done.errback(CancelledError())
        if self._handshake is not None:
            self._handshake.abort()
        else:
            self._attempt.cancel()


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """The connection until TLS is there. Then each chunk goes straight to the protocol of the target; only the end
    still passes here, because it may have a reason that is worth telling."""

    def __init__(self, dial: _Dial, addr: Any) -> None:
        self._dial = dial
        self._addr = addr
        self._inner: Any = None
        self._timer: Any = None

    def connectionMade(self) -> None:
        """TCP is connected; TLS begins as soon as this returns."""
        self._timer = self._dial.clock.callLater(self._dial.timeout, self._late)

    def handshakeCompleted(self) -> None:
        """IHandshakeListener: the target is who it must be."""
        self._stop_timer()
        dial = self._dial
        inner = None if dial.done.called else dial.inner.buildProtocol(self._addr)
        if inner is None:
            self.abort()
            dial.failed(Failure(HandshakeFailed("nobody wants the connection any more")))
            return
        self._inner = inner
        self.dataReceived = inner.dataReceived  # type: ignore[method-assign]
        inner.makeConnection(self.transport)
        dial.done.callback(inner)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """IProtocol."""
        self._stop_timer()
        if self._inner is None:
            self._dial.failed(Failure(HandshakeFailed(f"TLS handshake: {self._why(reason)}")))
            return
        if reason.check(SSL.Error) is not None:
            self._dial.report(f"TLS: {reason_of(reason.value)}")
        del self.dataReceived
        self._inner.connectionLost(reason)

    def abort(self) -> None:
        """End the connection."""
        self._stop_timer()
        transport: Any = self.transport
        transport.abortConnection()

    def _why(self, reason: Failure) -> str:
        transport: Any = self.transport
        connection: TargetConnection = transport.getHandle()
        if connection.why:
            return connection.why
        if reason.check(SSL.Error) is not None:
            return reason_of(reason.value)
        return "it closed the connection"

    def _late(self) -> None:
        self._timer = None
        self._dial.failed(Failure(TimeoutError(f"no TLS handshake in {self._dial.timeout:g} s")))
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
