"""The side of the devices: WebSocket connections that are accepted, each around a protocol of another factory.

`mgate.listeners` puts a `CarrierFactory` around the factory of MQTT; TLS and PROXY headers stand in front of it as they
do in front of any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate.errors import GateError
from mgate.limits import Limits
from mgate.session import Peer
from mgate.websocket.carrier import PING_INTERVAL, Carrier
from mgate.websocket.frames import Frames
from mgate.websocket.handshake import HeadReader, Refused, Request, Rules, agree

__all__ = ["CarrierFactory", "DeviceCarrier"]


@implementer(IHandshakeListener)
class DeviceCarrier(Carrier):
    """The connection of one device. Made by `CarrierFactory`, with the protocol that it will carry."""

    __slots__ = ("_factory", "_head", "_peer", "_rules")

    def __init__(self, factory: CarrierFactory, inner: Any, peer: Peer) -> None:
        super().__init__(
            Frames(True, factory.limits.max_packet_size), factory.clock, factory.limits, factory.ping_interval
        )
        self.inner = inner
        self._factory = factory
        self._peer = peer
        self._head: HeadReader | None = HeadReader(factory.limits.http_max_head)
        self._rules = factory.rules

    def connectionMade(self) -> None:
        """IProtocol."""
        super().connectionMade()
        self.inner.makeConnection(self)

    def handshakeCompleted(self) -> None:
        """IHandshakeListener: TLS stands."""
        if IHandshakeListener.providedBy(self.inner):
            self.inner.handshakeCompleted()

    def handshake(self, data: bytes) -> bytes:
        """Read the request, and agree or refuse."""
        assert self._head is not None
        try:
            found = self._head.receive(data)
            if found is None:
                return b""
            request, subprotocol = self._rules.read(found[0])
        except Refused as error:
            self.refused(error)
            self.wire.write([error.answer()])
            self._hang_up()
            self._tell_end(Failure(ConnectionDone()))
            return b""
        self._head = None
        self.wire.write([agree(request.key, subprotocol)])
        self.opened()
        self._factory.introduce(self.inner, request)
        return found[1]

    def refused(self, error: GateError) -> None:
        """Tell the listener."""
        self._factory.refused(error.reason, self._peer, error.text)

    def ended_by(self) -> GateError | None:
        """Ask what knows what is carried."""
        return None if self.inner is None else self._factory.ended_by(self.inner)


class CarrierFactory(Factory):
    """Serves one WebSocket listener: carries the bytes of another factory's protocols.

    Args:
        inner: makes the protocol for each connection, and may refuse one by making none; `drain` and `counters` are
            its own.
        clock: IReactorTime.
        rules: what a handshake must be.
        limits: sizes and times.
        refused: called with a reason word, the address of the device and a text for the log.
        introduce: called with a protocol of `inner` and the `Request` that it was opened by.
        ended_by: asked why a protocol of `inner` closes its transport; None is the ordinary end.
        ping_interval: seconds, 0 for never.
    """

    noisy = False

    def __init__(
        self,
        inner: Any,
        clock: Any,
        rules: Rules,
        limits: Limits,
        refused: Callable[[str, Peer, str], None],
        *,
        introduce: Callable[[Any, Request], None] = lambda protocol, request: None,
        ended_by: Callable[[Any], GateError | None] = lambda protocol: None,
        ping_interval: float = PING_INTERVAL,
    ) -> None:
        self.inner = inner
        self.clock = clock
        self.refused = refused
        self.introduce = introduce
        self.ended_by = ended_by
        self.adopt(rules, limits, ping_interval)

    def adopt(self, rules: Rules, limits: Limits, ping_interval: float = PING_INTERVAL) -> None:
        """Serve who connects from now on with these."""
        self.rules = rules
        self.limits = limits
        self.ping_interval = ping_interval

    @property
    def counters(self) -> Any:
        """Of the factory inside."""
        return self.inner.counters

    def drain(self) -> Any:
        """As the factory inside: its protocols end their connections in order."""
        return self.inner.drain()

    def buildProtocol(self, addr: IAddress | None) -> DeviceCarrier | None:
        """IProtocolFactory; None for who is refused."""
        inner = self.inner.buildProtocol(addr)
        return None if inner is None else DeviceCarrier(self, inner, Peer.of(addr))

    def startFactory(self) -> None:
        """Called with the first port."""
        self.inner.doStart()

    def stopFactory(self) -> None:
        """Called with the last port."""
        self.inner.doStop()
