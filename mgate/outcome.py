"""What a relay answers: values only, so that no relay ever calls out to I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mgate.errors import GateError

__all__ = ["Direction", "Outcome", "Question", "Relay"]


class Direction(Enum):
    """Which way something passes: `UPLINK` from the device to the target, `DOWNLINK` from the target to the device."""

    UPLINK = "uplink"
    DOWNLINK = "downlink"


class Question(Protocol):
    """A decision that a handler has not made yet. `mgate.policy` makes them, the link waits for them."""

    def listen(self, answered: Callable[[object], None]) -> None:
        """Call `answered` once with what the handler decided: a value, or the exception that it raised."""

    def cancel(self) -> None:
        """Nobody waits for the answer any more; it is cancelled, and a late one is dropped."""


@dataclass(slots=True)
class Outcome:
    """What one chunk of bytes, or one answer, led to."""

    pieces: Sequence[bytes | memoryview] = ()
    """For the far side, already in order; not joined, which would copy a large packet once more."""
    reply: bytes = b""
    """Back to the side that the bytes came from."""
    question: Question | None = None
    """A handler is still thinking; nothing behind this moves in this direction."""
    close: GateError | None = None
    """End the link after `forward` and `reply` are written."""
    release: bool = False
    """The other direction was held until now: the link asks for it with `answer` once this is written."""

    again: bool = False
    """There is more to do with what was read, in another turn: the link asks for it with `go_on`."""

    @property
    def forward(self) -> bytes:
        """The pieces as one."""
        return b"".join(self.pieces)


class Relay(Protocol):
    """The sans-IO core of a link: the link feeds it, and writes what it answers."""

    def receive(self, direction: Direction, data: bytes) -> Outcome:
        """Bytes came in on the side that `direction` starts from. While a question is open they are queued."""

    def go_on(self, direction: Direction) -> Outcome:
        """It is another turn: run on with what was left."""

    def answer(self, direction: Direction, answer: object) -> Outcome:
        """The open question of this direction was decided; run on with what was queued behind it."""
