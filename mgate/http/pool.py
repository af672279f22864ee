"""Connections to the target of a listener, kept while they are not used.

Rules:

1. A connection carries one exchange at a time, and is kept only if its last response ended as its head had said.
2. Before a kept connection is used it is looked at: if the target has closed it, it is dropped, and nothing was sent.
3. A target that speaks unasked is cut off.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.error import ConnectError, ConnectionDone, DNSLookupError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate.counters import Counters
from mgate.errors import GateError, TargetLost
from mgate.flow import Side
from mgate.limits import Limits
from mgate.proxyprotocol.outgoing import Device

__all__ = ["Dial", "HttpTargetProtocol", "Pool", "TargetUser"]


class TargetUser(Protocol):
    """Who has an exchange with the target: a device's protocol."""

    def target_joined(self, connection: HttpTargetProtocol) -> None:
        """A connection is there."""

    def target_missed(self, error: GateError) -> None:
        """There is none to be had."""

    def target_data(self, data: bytes) -> None:
        """The target has sent something."""

    def target_lost(self, clean: bool) -> None:
        """The connection is gone."""

    def introduced(self) -> Device:
        """What a target is told of the device, where it is told of devices."""


class HttpTargetProtocol(TwistedProtocol):
    """One connection to the target.

    Attributes:
        side: what it is written to.
        user: whose exchange it carries, or None.
        used: it has carried an exchange before.
        idle_since: when it was put back.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.side = Side(pool.limits.write_buffer_high)
        self.user: TargetUser | None = None
        self.used = False
        self.idle_since = 0.0
        self._socket: socket.socket | None = None

    def connectionMade(self) -> None:
        self.side.attach(self.transport)
        if isinstance(self.transport, Connection):
            self._socket = self.transport.getHandle()

    def dataReceived(self, data: bytes) -> None:
        if self.user is not None:
            self.user.target_data(data)
        else:
            self.drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._socket = None
        self.side.detach()
        self.pool.left(self)
        user, self.user = self.user, None
        if user is not None:
            user.target_lost(clean=reason.check(ConnectionDone) is not None)

    def alive(self) -> bool:
        """Has the target neither closed nor spoken, as far as the kernel knows?"""
        if self.side.transport is None:
            return False
        if self._socket is None:
            return True
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def drop(self) -> None:
        """Close at once; nobody is told any more."""
        self.user = None
        self.side.peer = None
        self.side.abort()


@implementer(IProtocolFactory)
class Dial:
    """One attempt to connect to the target, for one user; its addresses are tried in turn.

    Args:
        pool: of the listener.
        user: told of the end.
    """

    def __init__(self, pool: Pool, user: TargetUser) -> None:
        self._pool = pool
        self._user: TargetUser | None = user
        self._attempt: Any = None
        self._introduced = user.introduced
        self._made: Any = None
        self._dial(0)

    def cancel(self) -> None:
        """The user is not interested any more."""
        self._user = None
        if self._attempt is not None:
            self._attempt.cancel()

    def _dial(self, index: int) -> None:
        pool = self._pool
        pool.counters.target_dials += 1
        attempt = pool.targets[index].connect(self)
        attempt.addTimeout(pool.limits.dial_timeout, pool.clock)
        self._attempt = attempt
        attempt.addCallbacks(self._joined, self._missed, errbackArgs=(index,))

    def _joined(self, connection: Any) -> None:
        self._attempt = None
        user, self._user = self._user, None
        # Endpoints may wrap what `buildProtocol` made; it knows its own transport by now.
        made, self._made = self._made, None
        if user is None or made.side.transport is None:
            made.drop()
            if user is not None:
                user.target_missed(TargetLost("the target can not be reached", "target_down"))
            return
        made.user = user
        user.target_joined(made)

    def _missed(self, failure: Any, index: int) -> None:
        pool = self._pool
        pool.counters.target_failures += 1
        if self._user is None:
            return
        if index + 1 < len(pool.targets):
            self._dial(index + 1)
            return
        user, self._user, self._attempt = self._user, None, None
        if failure.check(ConnectError, DNSLookupError, OSError) and not failure.check(TimeoutError):
            user.target_missed(TargetLost("the target can not be reached", "target_down"))
        else:
            user.target_missed(TargetLost("the target does not answer", "target_slow"))

    def buildProtocol(self, addr: Any) -> Any:
        """IProtocolFactory."""
        self._made = HttpTargetProtocol(self._pool)
        return self._made

    def introduced(self) -> Device:
        """IntroducesDevice: asked by the endpoint of a target that wants a PROXY header."""
        return self._introduced()

    def doStart(self) -> None:
        """IProtocolFactory."""

    def doStop(self) -> None:
        """IProtocolFactory."""


class Pool:
    """The connections of one listener to its target.

    Args:
        targets: the addresses of the target, tried in turn.
        limits, counters: of the listener.
        clock: IReactorTime.
        now: seconds that only grow.
        shared: a connection may carry the exchanges of several devices; not so where the target is told of the device
            when it is dialled.
    """

    def __init__(
        self,
        targets: Sequence[IStreamClientEndpoint],
        limits: Limits,
        counters: Counters,
        clock: Any,
        now: Callable[[], float],
        shared: bool,
    ) -> None:
        self.targets = targets
        self.limits = limits
        self.counters = counters
        self.clock = clock
        self._now = now
        self._shared = shared
        self._open = True
        self._idle: deque[HttpTargetProtocol] = deque()

    def take(self, user: TargetUser, *, fresh: bool = False) -> Dial | None:
        """Find or make a connection; `user` is told of it, at once where one is kept. Returns what can be cancelled."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.alive():
                connection.user = user
                user.target_joined(connection)
                return None
            connection.drop()
        return Dial(self, user)

    def give_back(self, connection: HttpTargetProtocol) -> None:
        """An exchange is over, and the connection may carry another."""
        connection.user = None
        connection.side.peer = None
        if not self._shared or not self._open or len(self._idle) >= self.limits.http_max_idle_targets:
            connection.drop()
            return
        connection.used = True
        connection.idle_since = self._now()
        self._idle.append(connection)

    def left(self, connection: HttpTargetProtocol) -> None:
        """A connection is gone."""
        if connection.user is None and connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Close what was not used for too long."""
        while self._idle and now - self._idle[0].idle_since >= self.limits.http_target_keep_alive:
            self._idle.popleft().drop()

    @property
    def empty(self) -> bool:
        """Is no connection kept?"""
        return not self._idle

    def close(self) -> None:
        """Keep nothing any more."""
        self._open = False
        while self._idle:
            self._idle.pop().drop()
