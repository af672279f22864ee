"""One side of a link: a transport that is read only while nothing speaks against it, with bounded unsent bytes.

Where the transport is a plain socket with nothing unsent, what goes out is handed to the kernel at once: the transport
would join it first, and take a turn of the reactor more. What the kernel does not take is left to the transport. A
`Side` is the producer registered with its own transport, which tells it when all of that is sent.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

__all__ = ["CROWDED", "READ", "STOPPING", "Side"]

FULL = 1
"""The far side does not take what was read."""
CROWDED = 2
"""The relay holds too much behind a question."""
UNREAD = 4
"""It does not take the gateway's own answers."""
STOPPING = 8
"""The gateway is shutting down."""

READ = 64 * 1024
"""Bytes that Twisted reads at once, and unsent bytes above which it asks a push producer to pause
(`FileDescriptor.bufferSize`)."""
LARGE_READ = 256 * 1024
"""Bytes to read at once amid packets of `LARGE_PACKET` bytes and more: fewer and longer reads cost less there, while
for small packets they would only make the turns of one connection longer."""
LARGE_PACKET = 32 * 1024

SMALL = 1024
LARGE = 32 * 1024
"""Between so many bytes the transport does send, a turn later. Those are windows of many small messages, and one that
was sent at once comes back in halves, each with its own wake-ups."""

MANY = 16
"""Pieces from which on they are so small that joining them costs less than handing each to the kernel."""

TCP_KEEP_ALIVE = [
    (getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]
"""A peer that vanished is noticed within 90 s."""


@implementer(IPushProducer)
class Side:
    """The device's or the target's end of a link.

    Args:
        high: unsent bytes at which the peer is not read any more; it is read again once all is sent.

    Attributes:
        transport: None before it is connected and after it was lost.
        peer: the other side.
        unsent: bytes that the transport has not sent yet, or 0 once all are sent. Of a transport that is no plain
            socket only those are counted that it was given after it had asked to pause.
    """

    __slots__ = ("_full", "_high", "_reasons", "_socket", "peer", "transport", "unsent")

    def __init__(self, high: int) -> None:
        self.transport: Any = None
        self.peer: Side | None = None
        self.unsent = 0
        self._high = high
        self._reasons = 0
        self._socket: socket.socket | None = None
        self._full = False

    def attach(self, transport: Any) -> None:
        """The transport is connected."""
        self.transport = transport
        plain = isinstance(transport, Connection)
        if plain:
            self._socket = transport.getHandle()
        below = _connection_below(transport)
        if below is not None and below.getHandle().family != socket.AF_UNIX:
            below.setTcpNoDelay(True)
            below.setTcpKeepAlive(True)
            for option, value in TCP_KEEP_ALIVE:
                below.getHandle().setsockopt(socket.IPPROTO_TCP, option, value)
        # A plain socket's bytes are counted here, so it need only say when all are sent.
        transport.registerProducer(self, not plain)
        if self._reasons:
            transport.pauseProducing()

    def detach(self) -> None:
        """The transport is gone; what is written from now on is dropped."""
        self.transport = self._socket = None
        self.unsent = 0
        if self.peer is not None:
            self.peer.open(FULL)

    @property
    def reading(self) -> bool:
        """Is anything that the other end sends being read?"""
        return not self._reasons

    @property
    def owes(self) -> bool:
        """Is so much unsent that a moment may not be enough?"""
        return self.unsent > READ

    def shut(self, reason: int) -> None:
        """Stop reading because of `reason`."""
        if not self._reasons and self.transport is not None:
            self.transport.pauseProducing()
        self._reasons |= reason

    def open(self, reason: int) -> None:
        """`reason` has gone; reading goes on once the last one has."""
        if self._reasons & reason:
            self._reasons &= ~reason
            if not self._reasons and self.transport is not None:
                self.transport.resumeProducing()

    def expect(self, size: int) -> None:
        """A packet of `size` bytes is being read, or none if it is 0."""
        if self.transport is not None:
            self.transport.bufferSize = LARGE_READ if size >= LARGE_PACKET else READ

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send bytes, and have the peer wait if too many are unsent."""
        if self.transport is None:
            return
        if self._socket is not None:
            size = sum(map(len, pieces))
            later = self.unsent or SMALL < size < LARGE
            try:
                rest = b"".join(pieces) if later else _send(self._socket, pieces, size)
            except OSError:
                # The kernel tells of a reset once, so the transport would take the end for an orderly one.
                self.abort()
                return
            if rest:
                self.unsent += len(rest)
                self.transport.write(rest)
        else:
            data = b"".join(pieces)
            self.transport.write(data)
            if self._full:
                self.unsent += len(data)
        if self.unsent > self._high and self.peer is not None:
            self.peer.shut(FULL)

    def answer(self, data: bytes) -> None:
        """Send an answer of the gateway's own. A side that does not take its answers is not read for more."""
        self.write([data])
        if self.unsent > self._high:
            self.shut(UNREAD)

    def finish(self) -> None:
        """Send what is unsent, then say that nothing more comes, and still read: closing with unread bytes would
        reset the connection, and the last packet might be lost with it."""
        if self.transport is not None:
            self.transport.unregisterProducer()
            self._reasons = 0
            self.transport.resumeProducing()
            if isinstance(self.transport, Connection):
                self.transport.loseWriteConnection()
            else:
                self.transport.loseConnection()

    def close(self) -> None:
        """Send what is unsent, then close."""
        if self.transport is not None:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self._socket = None
        if self.transport is not None:
            self.transport.abortConnection()

    # IPushProducer: what this side's own transport says of its unsent bytes.

    def pauseProducing(self) -> None:
        # Twisted says it again with each write while its buffer is full.
        if not self._full:
            self._full = True
            self.unsent = READ

    def resumeProducing(self) -> None:
        self._full = False
        self.unsent = 0
        self.open(UNREAD)
        if self.peer is not None:
            self.peer.open(FULL)

    def stopProducing(self) -> None:
        """The transport was lost; its protocol tells the link."""


def _connection_below(transport: Any) -> Any:
    """The connection that carries a transport such as TLS, or the transport itself; None if there is no socket."""
    while transport is not None and not isinstance(transport, Connection):
        transport = getattr(transport, "transport", None)
    return transport


def _send(connected: socket.socket, pieces: Sequence[bytes | memoryview], size: int) -> bytes:
    """Give the kernel what it takes of `size` bytes. Returns the rest. Raises OSError if the connection is broken."""
    if len(pieces) >= MANY:
        pieces = [b"".join(pieces)]
    try:
        sent = connected.send(pieces[0]) if len(pieces) == 1 else connected.sendmsg(pieces)
    except BlockingIOError:
        sent = 0
    return b"" if sent == size else b"".join(pieces)[sent:]
