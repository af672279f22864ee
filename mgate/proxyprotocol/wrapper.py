"""The PROXY protocol in front of a listener: who really connects is known before anything else looks at a connection.

Rules:

1. A `ProxiedFactory` sits on the TCP port itself, below TLS (proxy-protocol.txt section 2).
2. Only addresses in `trusted` are believed, and those must send a header. Nobody else's header is even read.
3. The inner protocol is made when the header is whole, with the address that stands in it. It then gets the transport
   itself: nothing of this module stays in the way of what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from twisted.internet.address import IPv4Address as TwistedIPv4Address
from twisted.internet.address import IPv6Address as TwistedIPv6Address
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from mgate.proxyprotocol.header import Address, BadHeader, read
from mgate.session import Peer

__all__ = ["ProxiedFactory"]

Refused = Callable[[str, Peer, str], None]


class HeaderReader(Protocol):
    """The connection of a trusted proxy until its header is there."""

    def __init__(self, factory: ProxiedFactory, addr: Any) -> None:
        self._factory = factory
        self._addr = addr
        self._data = bytearray()
        self._timer: Any = None

    def connectionMade(self) -> None:
        self._timer = self._factory.clock.callLater(self._factory.timeout, self._late)

    def dataReceived(self, data: bytes) -> None:
        if self._timer is None:  # refused, and the transport still delivers what it had read
            return
        self._data += data
        try:
            found = read(self._data)
        except BadHeader as error:
            self._refuse(error.reason, error.text)
            return
        if found is not None:
            self._hand_over(_address(found.header.source), bytes(self._data[found.size :]))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone without a header, as probes of load balancers do: nothing to tell."""
        self._done()

    def abort(self) -> None:
        """End it; called when the listener closes."""
        self._done()
        self._abort()

    def _hand_over(self, source: IAddress | None, rest: bytes) -> None:
        transport: Any = self.transport
        self._done()
        inner = self._factory.inner.buildProtocol(self._addr if source is None else source)
        if inner is None:  # a limit, which has told why
            self._abort()
            return
        if source is not None:
            transport.getPeer = lambda: source
        transport.protocol = inner
        inner.makeConnection(transport)
        if rest:
            inner.dataReceived(rest)

    def _late(self) -> None:
        self._timer = None
        self._refuse("proxy_timeout", "no whole PROXY header in time")

    def _refuse(self, reason: str, text: str) -> None:
        self._done()
        self._factory.refused(reason, Peer.of(self._addr), text)
        self._abort()

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def _done(self) -> None:
        """No longer pending."""
        self._factory.pending.discard(self)
        self._data = bytearray()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ProxiedFactory(Factory):
    """Serves the connections that proxies bring; a listener puts it around the factory of its TLS or its protocol.

    A connection over a UNIX socket has no address that could be trusted.

    Args:
        inner: makes the protocols, with the address that the header names; or the proxy's own address, if that speaks
            for itself (LOCAL, UNKNOWN).
        trusted: the proxies.
        clock: IReactorTime.
        timeout: seconds from accept to the whole header (`mgate.limits.Limits.proxy_header`).
        refused: called with a reason word, the address that connected, and a text for the log; the words are
            ``proxy_untrusted``, ``proxy_header``, ``proxy_timeout`` and ``max_connections``.
        required: close whoever is not trusted. If not, they are served as if there were no proxies.
        max_pending: connections whose header has not come yet; more are closed.

    Attributes:
        pending: the connections whose header has not come yet.
    """

    noisy = False

    def __init__(
        self,
        inner: IProtocolFactory,
        trusted: Sequence[IPv4Network | IPv6Network],
        clock: Any,
        *,
        timeout: float,
        refused: Refused,
        required: bool = True,
        max_pending: int = 10_000,
    ) -> None:
        self.inner = inner
        self.clock = clock
        self.timeout = timeout
        self.refused = refused
        self.pending: set[HeaderReader] = set()
        self._trusted = tuple(trusted)
        self._required = required
        self._max_pending = max_pending

    def buildProtocol(self, addr: Any) -> Any:
        """IProtocolFactory: what reads the header, or at once the inner protocol, or None for who is refused."""
        if not self._trusts(addr):
            if not self._required:
                return self.inner.buildProtocol(addr)
            self.refused("proxy_untrusted", Peer.of(addr), "not one of trusted_proxies")
            return None
        if len(self.pending) >= self._max_pending:
            self.refused("max_connections", Peer.of(addr), "too many connections without a PROXY header")
            return None
        protocol = HeaderReader(self, addr)
        self.pending.add(protocol)
        return protocol

    def _trusts(self, addr: Any) -> bool:
        try:
            address = ip_address(getattr(addr, "host", ""))
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self._trusted)

    def startFactory(self) -> None:
        """Called with the first port."""
        self.inner.doStart()

    def stopFactory(self) -> None:
        """Called with the last port: who has not said for whom it connects will not be served any more."""
        for protocol in list(self.pending):
            protocol.abort()
        self.inner.doStop()


def _address(source: Address | bytes | None) -> IAddress | None:
    """What Twisted would call the source, had it connected itself."""
    if source is None:
        return None
    if isinstance(source, bytes):
        return UNIXAddress(source or None)
    address = ip_address(source.host)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return TwistedIPv6Address("TCP", source.host, source.port)
        address = address.ipv4_mapped
    return TwistedIPv4Address("TCP", str(address), source.port)
