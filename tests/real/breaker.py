"""A TCP relay that resets its connections at random: the bad network between the gateway and its broker."""

from __future__ import annotations

import asyncio
import math
import random
import socket
import struct
from typing import Any

__all__ = ["Breaker"]

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: close sends RST, and what was not read yet is gone."""


class Breaker:
    """Give each connection a random number of bytes to live for, both directions together. The last chunk is cut
    where they end, so that connections break within packets too.

    Args:
        target: a port of the loopback interface.
        dice: decides when.
        shortest, longest: how many bytes a connection may live for.

    Attributes:
        port: where it listens. resets: how many connections it has broken. open: both sides of those that are there.
    """

    def __init__(self, target: int, dice: random.Random, shortest: int, longest: int) -> None:
        self.target = target
        self.port = 0
        self.resets = 0
        self._dice = dice
        self._shortest = shortest
        self._longest = longest
        self.open: set[_Near | _Far] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Near(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Accept no more, and end what is there."""
        if self._server is not None:
            self._server.close()
        for near in list(self.open):
            near.end()
        while self.open:
            await asyncio.sleep(0)

    def life(self) -> int:
        """How many bytes a new connection lives for; of each order of magnitude as often as of any other."""
        return int(math.exp(self._dice.uniform(math.log(self._shortest), math.log(self._longest))))


class _Near(asyncio.Protocol):
    """The connection that the gateway has made."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.left = breaker.life()
        self.transport: Any = None
        self.far: Any = None
        self._early: list[bytes] = []
        self._over = False
        self._dialling: asyncio.Task[Any] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.breaker.open.add(self)
        loop = asyncio.get_running_loop()
        self._dialling = loop.create_task(
            loop.create_connection(lambda: _Far(self), "127.0.0.1", self.breaker.target)
        )

    def joined(self, far: Any) -> None:
        """The broker has accepted."""
        self.far = far
        if self._over:
            far.abort()
        elif self._early:
            far.write(b"".join(self._early))

    def data_received(self, data: bytes) -> None:
        data = self.spend(data)
        if self.far is None:
            self._early.append(data)
        else:
            self.far.write(data)
        self.break_if_due()

    def spend(self, data: bytes) -> bytes:
        """What of `data` still arrives."""
        data = data[: max(0, self.left)]
        self.left -= len(data)
        return data

    def break_if_due(self) -> None:
        """Reset both sides if no byte is left to live for."""
        if self.left <= 0 and not self._over:
            self.breaker.resets += 1
            self.end()

    def end(self) -> None:
        """Reset both sides."""
        self._over = True
        if self._dialling is not None:
            self._dialling.cancel()
        for transport in (self.transport, self.far):
            if transport is not None and not transport.is_closing():
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                transport.abort()

    def eof_received(self) -> bool:
        """A device said DISCONNECT: its target side is closed in order."""
        self._over = True
        if self.far is not None:
            self.far.close()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._over = True
        self.breaker.open.discard(self)
        if self.far is not None:
            self.far.close()


class _Far(asyncio.Protocol):
    """The connection to the broker."""

    def __init__(self, near: _Near) -> None:
        self.near = near

    def end(self) -> None:
        """Reset both sides."""
        self.near.end()

    def connection_made(self, transport: Any) -> None:
        self.near.breaker.open.add(self)
        self.near.joined(transport)

    def data_received(self, data: bytes) -> None:
        self.near.transport.write(self.near.spend(data))
        self.near.break_if_due()

    def connection_lost(self, error: Exception | None) -> None:
        self.near.breaker.open.discard(self)
        self.near.transport.close()
