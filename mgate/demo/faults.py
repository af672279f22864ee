"""How a demo broker misbehaves when a test asks for it, and the way to its transport which does so.

The broker's connections write through a `Tap` only, so that a fault needs no code anywhere else.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

__all__ = ["NO_FAULTS", "Faults", "Tap"]


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults of one broker; the default has none. An argument of `BrokerFactory`.

    Attributes:
        delay: everything that the broker sends leaves so many seconds later.
        drop: packets of these types are never sent (`PacketType`, or its number).
        split: every packet leaves in pieces of so many bytes, each in a turn of the reactor of its own.
        refuse: the reason code with which every CONNECT is refused (for 3.x its return code).
        silent: nothing is ever answered, though everything is read.
        close_after: the connection is reset when so many packets were received.
    """

    delay: float = 0.0
    drop: frozenset[int] = frozenset()
    split: int = 0
    refuse: int = 0
    silent: bool = False
    close_after: int = 0


NO_FAULTS = Faults()


class Tap:
    """Writes to a transport, in order, as faultily as it is told."""

    def __init__(self, transport: Any, reactor: Any, faults: Faults) -> None:
        self._transport = transport
        self._reactor = reactor
        self._faults = faults
        self._late: deque[tuple[float, bytes | None]] = deque()
        """When each piece is due; None closes the connection."""

    def write(self, packet: bytes) -> None:
        """Write one packet. Called with whole packets, so that the first byte tells its type."""
        faults = self._faults
        if faults.silent or packet[0] >> 4 in faults.drop:
            return
        if faults.split:
            for start in range(0, len(packet), faults.split):
                self._later(packet[start : start + faults.split])
        elif faults.delay:
            self._later(packet)
        else:
            self._transport.write(packet)

    def close(self) -> None:
        """End the connection after everything that was written."""
        if self._late:
            self._later(None)
        else:
            self._transport.loseConnection()

    def _later(self, piece: bytes | None) -> None:
        self._late.append((self._reactor.seconds() + self._faults.delay, piece))
        if len(self._late) == 1:
            self._wait()

    def _wait(self) -> None:
        """Calls are made one after the other: two that are due in the same turn would leave in one write."""
        self._reactor.callLater(max(0.0, self._late[0][0] - self._reactor.seconds()), self._release)

    def _release(self) -> None:
        _, piece = self._late.popleft()
        if piece is None:
            self._transport.loseConnection()
        else:
            self._transport.write(piece)
        if self._late:
            self._wait()
