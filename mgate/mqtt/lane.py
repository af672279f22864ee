"""One direction of an MQTT relay: what is unfinished, what is held, and which exchanges are open in it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mgate.mqtt.aliases import Aliases
from mgate.outcome import Direction, Question
from mgate.policy import Hook, Notice

__all__ = ["Journey", "Lane", "note"]

Journey = Generator[Question, Any, None]
"""The way of one packet that is not plain: it yields a Question where a handler thinks, and is sent the answer."""

NOTHING: Any = ()
"""Stands for every list of an idle lane, so that an idle connection has none of its own. Never changed."""

WAITING = 200
"""Bytes that a waiting message takes beside its topic and payload, roughly."""

LARGE = 8192
"""Bytes from which on a copy costs more than what it takes to avoid it."""


class Lane:
    """State of one direction. Sets are of packet identifiers, and made only when there is one to keep.

    Attributes:
        hook, notice: who judges a PUBLISH of this direction, and who is told of it.
        out: bytes for the far side, in order. reply: bytes back to the near side.
        journey, question: the packet whose handler is thinking.
        asked: a handler had to think about a packet of the chunk that is being taken apart.
        resting: others have their turn first; what is held goes on in another.
        blocked: nothing moves in this direction until the relay is asked with `answer`.
        held: bytes that came meanwhile, not looked at yet.
        ended: the near side said DISCONNECT, or the connection is over: what still comes is dropped.
        counts: packets by type. ping: the only first byte that a ping of this direction has.
        swallowed: QoS 2 messages that went nowhere; the gateway finishes their exchange with the near side.
        open: QoS 2 messages that were forwarded and not yet released.
        lowered: QoS 2 messages that were forwarded with QoS 1.
        waiting: messages that wait for PUBACK or PUBREC, as (topic, payload, the bytes that it takes).
        waiting_size: the bytes that all of them take.
    """

    __slots__ = (
        "_have", "_need", "_parts", "aliases", "asked", "blocked", "counts", "direction", "ended", "held", "hook",
        "journey", "lowered", "notice", "open", "out", "ping", "question", "reply", "resting", "swallowed",
        "waiting", "waiting_size",
    )  # fmt: skip

    def __init__(
        self, direction: Direction, hook: Hook | None, notice: Notice | None, counts: list[int]
    ) -> None:
        self.direction = direction
        self.ping = 0xC0 if direction is Direction.UPLINK else 0xD0
        self.counts = counts
        self.hook = hook
        self.notice = notice
        self.out: list[bytes | memoryview] = NOTHING
        self.reply: list[bytes] = NOTHING
        self.journey: Journey | None = None
        self.question: Question | None = None
        self.asked = False
        self.blocked = False
        self.resting = False
        self.ended = False
        self.held = b""
        self.swallowed: set[int] | None = None
        self.open: set[int] | None = None
        self.lowered: set[int] | None = None
        self.waiting: dict[int, tuple[str, bytes, int]] | None = None
        self.waiting_size = 0
        self.aliases: Aliases | None = None
        self._parts: list[bytes | bytearray | memoryview] = NOTHING
        self._have = 0
        self._need = 0

    @property
    def unfinished(self) -> bool:
        """Has a packet begun that is not whole yet?"""
        return self._have > 0

    @property
    def begun(self) -> int:
        """The size of that packet in bytes, as far as it is known; 0 if none has begun."""
        return self._need if self._have else 0

    def hold(self, data: bytes) -> None:
        """Bytes came while nothing moves."""
        if not self.ended:
            self.held += data

    def rest(self) -> None:
        """Enough for one turn."""
        self.blocked = self.resting = True

    def keep(self, data: bytes, start: int, need: int) -> None:
        """Remember the beginning of a packet, which is the end of a chunk.

        Args:
            start: where in `data` it begins. need: how many bytes of it must be there before looking again pays.
        """
        self._have = len(data) - start
        self._need = need
        # A view saves a copy, but keeps the whole chunk.
        self._parts = [memoryview(data)[start:] if self._have >= LARGE else data[start:]]

    def take(self, data: bytes) -> tuple[bytes, int]:
        """Put a new chunk behind the unfinished packet.

        Nothing is joined before there is enough: joining on each read would be quadratic. A large packet is completed
        alone, so that what follows it is not copied twice.

        Returns:
            (bytes to split now, where in `data` to go on after those). No bytes while the packet is unfinished.
        """
        missing = self._need - self._have
        if len(data) < missing:
            self._have += len(data)
            if len(data) >= LARGE:
                self._parts.append(data)
            elif isinstance(self._parts[-1], bytearray):
                self._parts[-1] += data
            else:
                self._parts.append(bytearray(data))
            return b"", len(data)
        parts, self._parts, self._have = self._parts, NOTHING, 0
        if missing < LARGE:
            parts.append(data)
            return b"".join(parts), len(data)
        parts.append(memoryview(data)[:missing])
        return b"".join(parts), missing

    def wait(self, packet_id: int, topic: str, payload: bytes) -> None:
        """A message of QoS 1 or 2 was forwarded; the handlers are told once it is acknowledged."""
        waiting = self.waiting
        if waiting is None:
            waiting = self.waiting = {}
        elif packet_id in waiting:
            self.waiting_size -= waiting[packet_id][2]
        size = len(topic) + len(payload) + WAITING
        waiting[packet_id] = topic, payload, size
        self.waiting_size += size

    def acknowledged(self, packet_id: int) -> tuple[str, bytes] | None:
        """The message that a PUBACK or PUBREC answers, if anybody is to be told."""
        message = self.waiting.pop(packet_id, None) if self.waiting else None
        if message is None:
            return None
        topic, payload, size = message
        self.waiting_size -= size
        return topic, payload


def note(identifiers: set[int] | None, packet_id: int) -> set[int]:
    """Add to a set that is made at first use."""
    if identifiers is None:
        return {packet_id}
    identifiers.add(packet_id)
    return identifiers


