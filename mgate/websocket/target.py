"""The side of the targets: an endpoint that is connected when the target has agreed to speak WebSocket.

`mgate.targets` puts a `WebSocketEndpoint` around the endpoint of each target whose address says so: around
`mgate.tls.client.TargetEndpoint` for ``wss://``.

Rules:

1. `connect` fires when the handshake is done, so that nothing of a device is sent to somebody who speaks no WebSocket.
2. A handshake ends in time, or the dial fails. Redirections are not followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate.errors import GateError, TargetLost
from mgate.limits import Limits
from mgate.websocket.carrier import PING_INTERVAL, Carrier
from mgate.websocket.frames import Frames
from mgate.websocket.handshake import MQTT_SUBPROTOCOLS, ClientOpening, HeadReader, Refused

__all__ = ["NotAgreed", "WebSocketEndpoint"]


class NotAgreed(ConnectError):
    """The target is there, but speaks no WebSocket with us; the text says why."""

    def __init__(self, text: str) -> None:
        super().__init__(string=text)  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        return str(self.args[0])


@implementer(IStreamClientEndpoint)
class WebSocketEndpoint:
    """Dials an endpoint and speaks WebSocket on it.

    Args:
        endpoint: to dial; one of TLS for ``wss://``.
        host: for the Host field: the name of the target, with its port if that is not the one of the scheme.
        path: of the target, with its query.
        clock: IReactorTime.
        limits: `max_packet_size` for a message, `http_max_head` and `http_max_fields` for the handshake.
        timeout: seconds from the connection below to the end of the handshake.
        report: called with one short text if the target breaks the protocol later.
        subprotocols: to offer; the target must choose one.
        ping_interval: seconds, 0 for never.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        host: str,
        path: str,
        clock: Any,
        *,
        limits: Limits,
        timeout: float,
        report: Callable[[str], None],
        subprotocols: Sequence[str] = MQTT_SUBPROTOCOLS[:1],
        ping_interval: float = PING_INTERVAL,
    ) -> None:
        self._endpoint = endpoint
        self._host = host
        self._path = path or "/"
        self._subprotocols = subprotocols
        self.clock = clock
        self.limits = limits
        self.timeout = timeout
        self.report = report
        self.ping_interval = ping_interval

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """IStreamClientEndpoint.

        Returns:
            Fires with the protocol after the handshake. Fails with `NotAgreed`, with
            `twisted.internet.defer.TimeoutError`, or as the endpoint does.
        """
        dial = _Dial(protocolFactory, self)
        dial.start(self._endpoint.connect(dial))
        return dial.done

    def opening(self) -> ClientOpening:
        """A new handshake."""
        return ClientOpening(self._host, self._path, self._subprotocols, self.limits.http_max_fields)


class _Dial(Factory):
    """One attempt: the factory of what makes the handshake, and what becomes of it."""

    noisy = False

    def __init__(self, inner: Any, endpoint: WebSocketEndpoint) -> None:
        self.inner = inner
        self.endpoint = endpoint
        self.done: Deferred[Any] = Deferred(self._cancel)
        self._attempt: Any = None
        self._carrier: TargetCarrier | None = None

    def start(self, attempt: Deferred[Any]) -> None:
        """`attempt` dials; the handshake goes on from there."""
        self._attempt = attempt
        attempt.addErrback(self.failed).addErrback(lambda _: None)

    def buildProtocol(self, addr: Any) -> TargetCarrier:
        self._carrier = TargetCarrier(self, addr)
        return self._carrier

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
        if self._carrier is not None:
            self._carrier.abortConnection()
        else:
            self._attempt.cancel()


class TargetCarrier(Carrier):
    """The connection to a target; what it carries is made after the handshake."""

    __slots__ = ("_addr", "_dial", "_head", "_opening", "_timer")

    def __init__(self, dial: _Dial, addr: Any) -> None:
        endpoint = dial.endpoint
        super().__init__(
            Frames(False, endpoint.limits.max_packet_size), endpoint.clock, endpoint.limits, endpoint.ping_interval
        )
        self._dial = dial
        self._addr = addr
        self._opening = endpoint.opening()
        self._head = HeadReader(endpoint.limits.http_max_head)
        self._timer: Any = None

    def connectionMade(self) -> None:
        """IProtocol."""
        super().connectionMade()
        self._timer = self._clock.callLater(self._dial.endpoint.timeout, self._no_answer)
        self.wire.write([self._opening.request()])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """IProtocol."""
        self._fail("it closed the connection")
        super().connectionLost(reason)

    def handshake(self, data: bytes) -> bytes:
        """Read the answer."""
        try:
            found = self._head.receive(data)
            if found is None:
                return b""
            self._opening.check(found[0])
        except Refused:
            self._fail("its answer is malformed")
            self.abortConnection()
            return b""
        except TargetLost as error:
            self._fail(error.text)
            self.abortConnection()
            return b""
        dial = self._dial
        inner = dial.inner.buildProtocol(self._addr)
        if inner is None:
            self._fail("nobody wants the connection any more")
            self.abortConnection()
            return b""
        self._stop_timer()
        self.inner = inner
        self.opened()
        inner.makeConnection(self)
        dial.done.callback(inner)
        return found[1]

    def abortConnection(self) -> None:
        """End at once."""
        self._stop_timer()
        super().abortConnection()

    def refused(self, error: GateError) -> None:
        """Tell the listener."""
        self._dial.endpoint.report(f"WebSocket: {error.text}")

    def _fail(self, why: str) -> None:
        self._stop_timer()
        self._dial.failed(Failure(NotAgreed(f"WebSocket handshake: {why}")))

    def _no_answer(self) -> None:
        self._timer = None
        self._dial.failed(Failure(TimeoutError(f"no WebSocket handshake in {self._dial.endpoint.timeout:g} s")))
        self.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
