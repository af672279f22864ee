"""The PROXY protocol towards a target: it is told which device a connection is for, before all else and below TLS.

Rules:

1. A header is of version 2 (proxy-protocol.txt section 2.2) and speaks for one device, so it is made for each dial.
2. It is in the kernel before the protocol of the target gets the transport, which may write to the socket directly.
3. A target that cannot be told is not connected.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, NamedTuple, Protocol

from twisted.internet import protocol as twisted_protocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocolFactory, ISSLTransport, IStreamClientEndpoint
from twisted.internet.tcp import Connection
from zope.interface import implementer

from mgate.proxyprotocol.encode import encode
from mgate.proxyprotocol.header import Address, Header, Ssl, SslClient
from mgate.session import Peer, Session

__all__ = ["Device", "HeaderFirst", "Introducing", "IntroducesDevice", "device_of", "header_for"]

MAX_NAME = 256
"""Characters of a common name that are told; RFC 5280 (upper bounds) has 64."""

Endpoint = IStreamClientEndpoint


class Device(NamedTuple):
    """What a target is told of a device.

    Attributes:
        peer: where it connected from.
        local: where it connected to, None if that is not known any more.
        tls_version: ``"TLSv1.3"``, say; "" without TLS.
        common_name: of the subject of its certificate, "" if there is none.
        verified: it has a certificate, which was verified.
    """

    peer: Peer
    local: Peer | None = None
    tls_version: str = ""
    common_name: str = ""
    verified: bool = False


class IntroducesDevice(Protocol):
    """The factory that a link gives to the endpoints of its target."""

    def introduced(self) -> Device:
        """The device that is dialled for; called once for each dial of an `Introducing` endpoint."""


def device_of(session: Session, transport: Any) -> Device:
    """The facts of a device, for an `IntroducesDevice`.

    Args:
        session: has the peer and the verified certificate.
        transport: of the device, or None if it is gone already.
    """
    local, version = None, ""
    if transport is not None:
        local = Peer.of(transport.getHost())
        over_tls = ISSLTransport.providedBy(transport)
        if over_tls:
            version = transport.getHandle().get_protocol_version_name()
    certificate = session.certificate
    name = certificate.common_name[:MAX_NAME] if certificate is not None else ""
    return Device(session.peer, local, version, name, certificate is not None)


def header_for(device: Device) -> bytes:
    """The header that tells of `device`; its addresses are left out if it connected over no IP."""
    source = _address(device.peer)
    destination = _address(device.local) if device.local is not None else None
    if source is None:
        destination = None
    elif destination is None:
        destination = Address("0.0.0.0" if ip_address(source.host).version == 4 else "::", 0)
    ssl = None
    if device.tls_version or device.verified:
        client = SslClient.SSL
        if device.verified:
            # Sessions with a certificate are not resumed: what was shown was shown on this connection.
            client |= SslClient.CERT_CONN | SslClient.CERT_SESS
        ssl = Ssl(client, 0 if device.verified else 1, device.tls_version, device.common_name)
    return encode(Header(source, destination, ssl=ssl))


def _address(peer: Peer) -> Address | None:
    try:
        host = ip_address(peer.host)
    except ValueError:
        return None
    return Address(str(host), peer.port)


@implementer(IStreamClientEndpoint)
class Introducing:
    """Dials a target for a device, which the factory names (`IntroducesDevice`); a link sees it as one endpoint.

    Args:
        endpoint: the target's TCP or UNIX endpoint.
        above: what stands above the header, given the endpoint that sends it: TLS
            (`mgate.tls.client.TargetEndpoint`). None if the target has no TLS.
    """

    def __init__(self, endpoint: Endpoint, above: Callable[[Endpoint], Endpoint] | None = None) -> None:
        self._endpoint = endpoint
        self._above = above

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """IStreamClientEndpoint; `protocolFactory` is an `IntroducesDevice` too."""
        first: Endpoint = HeaderFirst(self._endpoint, header_for(protocolFactory.introduced()))
        endpoint = first if self._above is None else self._above(first)
        return endpoint.connect(protocolFactory)


@implementer(IStreamClientEndpoint)
class HeaderFirst:
    """Dials an endpoint, and sends a header in front of everything else.

    Args:
        endpoint: to dial.
        header: the bytes to send.
    """

    def __init__(self, endpoint: Endpoint, header: bytes) -> None:
        self._endpoint = endpoint
        self._header = header

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """IStreamClientEndpoint; fails with ConnectError if the header cannot be sent."""
        dialled: Deferred[Any] = self._endpoint.connect(_HeaderFactory(protocolFactory, self._header))
        return dialled.addCallback(_inner)


def _inner(writer: _HeaderWriter) -> Any:
    if not writer.sent:
        raise ConnectError(string="it closed before its PROXY header was sent")
    return writer.inner


class _HeaderFactory(twisted_protocol.Factory):
    """Builds what writes the header around what the inner factory builds."""

    noisy = False

    def __init__(self, inner: Any, header: bytes) -> None:
        self._inner = inner
        self._header = header

    def buildProtocol(self, addr: Any) -> Any:
        inner = self._inner.buildProtocol(addr)
        return None if inner is None else _HeaderWriter(inner, self._header)

    def startFactory(self) -> None:
        self._inner.doStart()

    def stopFactory(self) -> None:
        self._inner.doStop()


class _HeaderWriter(twisted_protocol.Protocol):
    """Writes the header and hands the transport over; Twisted may still have a protocol of its own between."""

    def __init__(self, inner: Any, header: bytes) -> None:
        self.inner = inner
        self.sent = False
        self._header = header

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.sent = _send(transport, self._header)
        if self.sent:
            transport.protocol = self.inner
            self.inner.makeConnection(transport)
        else:
            transport.abortConnection()


def _send(transport: Any, header: bytes) -> bool:
    """Whether the header has left. The buffer of a fresh socket has room for all of it."""
    if not isinstance(transport, Connection):
        transport.write(header)
        return True
    handle: socket.socket = transport.getHandle()
    try:
        return handle.send(header) == len(header)
    except OSError:
        return False
