"""Bytes to packets, for both ends of the demo: its broker and its client."""

from __future__ import annotations

from collections.abc import Iterator

from mgate.mqtt.decode import decode
from mgate.mqtt.framing import split
from mgate.mqtt.packets import Packet
from mgate.outcome import Direction

__all__ = ["PacketStream"]


class PacketStream:
    """The bytes of one connection, cut into packets.

    Args:
        direction: who sends these packets.
        version: the protocol level, if it is known already; a broker sets it when it has read the CONNECT.
        limit: the largest packet in bytes.
    """

    def __init__(self, direction: Direction, version: int = 0, limit: int = 1024 * 1024) -> None:
        self.version = version
        self._direction = direction
        self._limit = limit
        self._buffer = bytearray()
        self._need = 0

    def receive(self, data: bytes) -> Iterator[Packet]:
        """Give the packets that are whole now, one by one.

        Raises:
            Malformed: where a packet breaks the protocol, after those before it.
        """
        self._buffer += data
        if len(self._buffer) < self._need:
            return
        chunk = bytes(self._buffer)
        runs, end, self._need, error = split(chunk, self._limit)
        del self._buffer[:end]
        for head, spans in runs:
            for _, start, stop in spans:
                yield decode(self.version, self._direction, head, chunk, start, stop)
        if error is not None:
            raise error
