"""Bytes over WebSocket as a transport. What it carries sees an ordinary stream, with back-pressure and an end.

Rules:

1. One binary message for each write, one call of `dataReceived` for each chunk: where messages begin and end means
   nothing to what is carried [MQTT-6.0.0-1].
2. What is carried is connected from accept on, so that its own time limits count from there; it hears nothing before
   the handshake is done, and what it says until then is dropped.
3. An end is told by a Close frame with the code for its cause. Who does not answer it is cut off in time.
4. A peer that has closed, or broken the protocol, is over at once for what is carried; its socket may take longer.

The socket itself belongs to a `mgate.flow.Side`, which sends and reads as it does for any link.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import ISSLTransport, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from mgate.errors import GateError, TimedOut
from mgate.flow import CROWDED, READ, Side
from mgate.limits import Limits
from mgate.websocket.closing import Closed, Violation, close_code
from mgate.websocket.frames import Frames

__all__ = ["PING_INTERVAL", "Carrier"]

CONNECTING, OPEN, CLOSING, CLOSED = range(4)
"""States of RFC 6455 section 7.1: closing is who has sent a Close frame and was not answered yet."""

PING_INTERVAL = 30.0
"""Seconds of silence after which a peer is asked for a sign of life."""

LINGER = 2.0
"""Seconds that a peer is given to answer the last thing that it was told."""

@implementer(ITransport)
class Carrier(Protocol):
    """One connection after its opening handshake: a protocol below, a transport above.

    Args:
        frames: of this role.
        clock: IReactorTime.
        limits: `drain_timeout` is for what is unsent when it ends.
        ping_interval: seconds, 0 for never.

    Attributes:
        inner: the protocol that is carried; None while there is none.
        wire: the connection below.
    """

    # Without a dict, an idle connection is smaller.
    __slots__ = (
        "_asked", "_clock", "_deadline", "_frames", "_heard", "_limits", "_ping_interval", "_pinging", "_producer",
        "_state", "connected", "inner", "transport", "wire",
    )  # fmt: skip

    def __init__(self, frames: Frames, clock: Any, limits: Limits, ping_interval: float) -> None:
        self.inner: Any = None
        self.wire = Side(READ)
        # Of its peer, a side wants no more than to stop and to start it.
        self.wire.peer = cast(Any, self)
        self._frames = frames
        self._clock = clock
        self._limits = limits
        self._ping_interval = ping_interval
        self._state = CONNECTING
        self._producer: Any = None
        self._heard = True
        self._asked = False
        self._pinging: Any = None
        self._deadline: Any = None

    # What the connection below calls.

    def connectionMade(self) -> None:
        """IProtocol."""
        if ISSLTransport.providedBy(self.transport):
            alsoProvides(self, ISSLTransport)
        self.wire.attach(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """IProtocol."""
        self._heard = True
        if self._state == CONNECTING:
            data = self.handshake(data)
        if not data or self._state in (CONNECTING, CLOSED):
            return
        received = self._frames.receive(data)
        if received.data and self._state == OPEN:
            self.inner.dataReceived(received.data)
        if received.replies and self._state == OPEN:
            self.wire.answer(b"".join(received.replies))
        if received.closed is not None:
            self._peer_closed(received.closed)
        elif received.error is not None:
            self._broken(received.error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """IProtocol."""
        self._state = CLOSED
        self._stop_timers()
        self.wire.detach()
        self._tell_end(reason)

    def handshake(self, data: bytes) -> bytes:
        """Go on with the opening handshake. Returns what came behind it."""
        raise NotImplementedError

    def refused(self, error: GateError) -> None:
        """The peer did what ends the connection; for the log."""

    def ended_by(self) -> GateError | None:
        """Why what is carried closes its transport; for the Close frame."""
        return None

    # What happens to it.

    def opened(self) -> None:
        """The handshake is done."""
        self._state = OPEN
        if self._ping_interval:
            self._pinging = self._clock.callLater(self._ping_interval, self._ping)

    def _ping(self) -> None:
        """Somebody who is silent, though he was asked a while ago, is gone. Nobody is while nobody listens to him."""
        if self._state != OPEN:
            return
        self._pinging = self._clock.callLater(self._ping_interval, self._ping)
        if self._heard or not self.wire.reading:
            self._heard = self._asked = False
        elif not self._asked:
            self._asked = True
            self.wire.answer(self._frames.ping())
        else:
            self.refused(TimedOut("no answer to a WebSocket ping", "ping_timeout"))
            self.wire.abort()

    def _peer_closed(self, closed: Closed) -> None:
        """The closing handshake (section 7.1.2): an answer to ours, or answered with the same code."""
        if self._state == OPEN:
            self.wire.write([self._frames.close(closed.code, closed.reason)])
        self._hang_up()
        self._tell_end(Failure(ConnectionDone()))

    def _broken(self, violation: Violation) -> None:
        """The peer broke the protocol (section 7.1.7)."""
        if self._state == OPEN:
            self.refused(violation)
            self.wire.write([self._frames.close(violation.code, violation.text)])
        self._hang_up()
        self._tell_end(Failure(ConnectionAborted()))

    def _hang_up(self) -> None:
        """All was said: end the connection below, but let what is unsent go out."""
        self._state = CLOSED
        self.wire.finish()
        self._bound()

    def _bound(self) -> None:
        if self._deadline is None and self.wire.transport is not None:
            owed = self._limits.drain_timeout
            self._deadline = self._clock.callLater(owed if self.wire.owes else min(LINGER, owed), self._late)

    def _late(self) -> None:
        self._deadline = None
        self.wire.abort()

    def _stop_timers(self) -> None:
        for timer in (self._pinging, self._deadline):
            if timer is not None and timer.active():
                timer.cancel()
        self._pinging = self._deadline = None

    def _tell_end(self, reason: Failure) -> None:
        """Once."""
        inner, self.inner = self.inner, None
        self._producer = None
        if inner is not None:
            inner.connectionLost(reason)

    # ITransport and its kin, for what is carried.

    def write(self, data: bytes) -> None:
        """Send one binary message."""
        if data and self._state == OPEN:
            self.wire.write(self._frames.data(data))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send one binary message."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Send what was written, then a Close frame, and end when the peer has answered it, or when it is late."""
        if self._state == CONNECTING:
            self._hang_up()
        elif self._state == OPEN:
            self._state = CLOSING
            error = self.ended_by()
            self.wire.write([self._frames.close(close_code(error), "" if error is None else error.text)])
            self.wire.open(CROWDED)  # its answer must be heard
            self._bound()

    def loseWriteConnection(self) -> None:
        """A Close frame ends both directions, so this is `loseConnection`."""
        self.loseConnection()

    def abortConnection(self) -> None:
        """End at once."""
        self._state = CLOSED
        self.wire.abort()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """A push producer is told to pause while too much is unsent, and to resume once all is sent."""
        if not streaming:
            raise ValueError("only push producers are served")
        self._producer = producer
        if self._state == CLOSED:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        """It is not told any more."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Read no more of the peer."""
        self.wire.shut(CROWDED)

    def resumeProducing(self) -> None:
        """Read the peer again."""
        self.wire.open(CROWDED)

    def stopProducing(self) -> None:
        """IPushProducer."""
        self.loseConnection()

    def getPeer(self) -> Any:
        """Of the connection below."""
        return self._below.getPeer()

    def getHost(self) -> Any:
        """Of the connection below."""
        return self._below.getHost()

    def getHandle(self) -> Any:
        """Of the connection below: with TLS, that of OpenSSL."""
        return self._below.getHandle()

    def getPeerCertificate(self) -> Any:
        """Of the connection below, which has it with TLS."""
        return self._below.getPeerCertificate()

    @property
    def bufferSize(self) -> int:
        """Bytes to read at once."""
        size: int = self._below.bufferSize
        return size

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self._below.bufferSize = size

    @property
    def _below(self) -> Any:
        return self.transport

    # What `wire` says to its peer.

    def shut(self, reason: int) -> None:
        """Too much is unsent."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def open(self, reason: int) -> None:
        """All is sent."""
        if self._producer is not None:
            self._producer.resumeProducing()
