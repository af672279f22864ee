"""One HTTP exchange with a server that may be anybody: the addresses of its name, a connection to exactly one of them,
and a body, all of them bounded. `mgate.tls.fetch` puts a time limit and a queue around it.

Rules:

1. A name is looked up once. If one of its addresses may not be connected to, none is; and the connection goes to an
   address that was checked, not to the name, which could mean something else by then.
2. What a server sends is counted as it arrives, header and body and what is between; too much ends the connection.
3. No redirect is followed, no compressed body asked for, no connection kept. That is why it is `Agent`, on which treq
   is built, and not treq: treq always offers gzip, so that a small answer could become a large one in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from mgate.dialling import InTurn
from mgate.tls.fetch_rules import FetchError, Location, Network, may_connect

__all__ = ["Exchange"]

HEAD = 32 * 1024
ADDRESSES = 4
MOST_ADDRESSES = 64


class Exchange:
    """A request and its answer.

    Args:
        reactor: IReactorTCP and IReactorTime.
        resolver: IHostnameResolver.
        location: where to.
        networks: addresses that may be connected to beside public ones; None for any address.
        limit: bytes of the body.
        deadline: seconds that there are for all of it; the connection attempts share them.
        trust_root: whom to believe that a server of an https URL is who it should be; None for the machine's own.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: Any,
        location: Location,
        *,
        networks: Sequence[Network] | None,
        limit: int,
        deadline: float,
        trust_root: Any = None,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._location = location
        self._networks = networks
        self._limit = limit
        self._deadline = deadline
        self._trust_root = trust_root
        self._connections: list[_Counted] = []
        self._over = False

    async def run(self, method: str, data: bytes, content_type: str) -> bytes:
        """The body of the answer.

        Raises:
            FetchError: an address that may not be connected to, another status than 200, or a body that is too large or
                was cut short. What else Twisted raises, of connections and of HTTP, is passed on.
        """
        addresses = await self._addresses()
        endpoints: list[IStreamClientEndpoint] = []
        seconds = self._deadline / len(addresses)
        for host in addresses:
            kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
            endpoints.append(kind(self._reactor, host, self._location.port, timeout=seconds))
        endpoint: IStreamClientEndpoint = InTurn(endpoints)
        if self._location.scheme == "https":
            endpoint = wrapClientTLS(optionsForClientTLS(self._location.host, self._trust_root), endpoint)
        agent = Agent.usingEndpointFactory(self._reactor, _To(_Counting(endpoint, self._counted)))
        headers = Headers({"Host": [self._location.host_header], "User-Agent": ["mgate"]})
        if content_type:
            headers.addRawHeader("Content-Type", content_type)
        response = await agent.request(
            method.encode("ascii"), self._location.url.encode("ascii"), headers, _Bytes(data) if data else None
        )
        if response.code != 200:
            raise FetchError(f"HTTP status {response.code}")
        if response.length is not UNKNOWN_LENGTH and response.length > self._limit:
            raise FetchError(f"body of {response.length} bytes, {self._limit} are read")
        body = _Body(self._limit)
        response.deliverBody(body)
        return await body.whole

    def abort(self) -> None:
        """End the connection, whatever it is doing; none is begun afterwards."""
        self._over = True
        for connection in self._connections:
            connection.abort()
        self._connections.clear()

    def _counted(self, connection: _Counted) -> int:
        if self._over:
            connection.abort()
        self._connections.append(connection)
        return self._limit + HEAD

    async def _addresses(self) -> list[str]:
        """Addresses that may be connected to, at most `ADDRESSES`."""
        host = self._location.host
        if ":" in host or host.replace(".", "").isdigit():  # an address: `parse_url` lets nothing else look like one
            addresses = [host]
        else:
            names = _Names()
            self._resolver.resolveHostName(names, host, self._location.port, transportSemantics="TCP")
            addresses = await names.complete
        if not addresses:
            raise FetchError("the name has no address")
        if self._networks is not None:
            for address in addresses:
                if not may_connect(address, self._networks):
                    raise FetchError(f"{address} is no address that a certificate may lead to")
        return addresses[:ADDRESSES]


@implementer(IResolutionReceiver)
class _Names:
    """Collects the addresses of a name."""

    def __init__(self) -> None:
        self.complete: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing to keep: the resolver of Twisted cannot be cancelled, and a late answer is not heard."""

    def addressResolved(self, address: IAddress) -> None:
        """One more."""
        if isinstance(address, IPv4Address | IPv6Address):
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        """All."""
        if self.complete.called:  # cancelled
            return
        if len(self._found) > MOST_ADDRESSES:
            self.complete.errback(FetchError(f"the name has {len(self._found)} addresses"))
        else:
            self.complete.callback(self._found)


@implementer(IAgentEndpointFactory)
class _To:
    """Leads an Agent to one endpoint, whatever the URL says."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """IAgentEndpointFactory."""
        return self._endpoint


@implementer(IStreamClientEndpoint)
class _Counting:
    """Puts a `_Counted` around each connection of an endpoint."""

    def __init__(self, endpoint: IStreamClientEndpoint, begun: Callable[[_Counted], int]) -> None:
        self._endpoint = endpoint
        self._begun = begun

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """IStreamClientEndpoint."""
        protocolFactory.noisy = False  # type: ignore[attr-defined]
        wrapping = WrappingFactory(protocolFactory)
        wrapping.noisy = False
        wrapping.protocol = lambda factory, protocol: _Counted(factory, protocol, self._begun)
        connected: Deferred[Any] = self._endpoint.connect(wrapping)
        return connected.addCallback(lambda counted: counted.wrappedProtocol)


class _Counted(ProtocolWrapper):
    """Ends a connection on which more arrives than there may be."""

    def __init__(self, factory: Any, protocol: Any, begun: Callable[[_Counted], int]) -> None:
        super().__init__(factory, protocol)
        self._begun = begun
        self._left = 0
        self._open = False

    def makeConnection(self, transport: Any) -> None:
        """IProtocol."""
        self._open = True
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        self._left = self._begun(self)

    def dataReceived(self, data: bytes) -> None:
        """IProtocol."""
        self._left -= len(data)
        if self._left < 0:
            self.abort()
        elif self._open:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """IProtocol."""
        self._open = False
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """End it at once."""
        if self._open:
            self._open = False
            transport: Any = self.transport
            transport.abortConnection()


class _Body(Protocol):
    """Collects a body up to a limit; `whole` fires with it."""

    def __init__(self, limit: int) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._parts: list[bytes] = []
        self._left = limit
        self._limit = limit

    def dataReceived(self, data: bytes) -> None:
        """IProtocol."""
        self._left -= len(data)
        if self._left >= 0:
            self._parts.append(data)
        elif not self.whole.called:
            self._parts.clear()
            self.whole.errback(FetchError(f"body of more than {self._limit} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """IProtocol. PotentialDataLoss: a server of HTTP/1.0 did not say how long the body is; whoever reads it will
        see whether all of it is there, because it is signed."""
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(FetchError("the body was cut short"))


@implementer(IBodyProducer)
class _Bytes:
    """The body of a request."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """IBodyProducer."""
        consumer.write(self._data)
        written: Deferred[None] = Deferred()
        written.callback(None)
        return written

    def pauseProducing(self) -> None:
        """IBodyProducer; all has been written."""

    def resumeProducing(self) -> None:
        """IBodyProducer; all has been written."""

    def stopProducing(self) -> None:
        """IBodyProducer; all has been written."""
