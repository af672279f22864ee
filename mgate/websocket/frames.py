"""Frames of WebSocket (RFC 6455 sections 5 to 8) without I/O. START READING HERE: `Frames.receive`.

Rules:

1. Whatever breaks the protocol ends the connection with the close code for it, as soon as the header shows it.
2. Every frame meets every check. Unfragmented binary messages of ordinary size meet them in a loop of a few steps,
   and a whole run of them is unmasked at once: that is what a flood consists of.
3. What is kept of a frame that is not whole is a header, a control frame, or (with `whole`) one message up to its
   limit; a message of many fragments is given up before its fragments cost more than its bytes.
4. No extension is spoken, so a reserved bit is an error (section 5.2).

Why frames are read here and not by autobahn's protocol classes: those take 13 us for a small message, copy what is
left of a chunk once for each frame, own timers and write a log line for each peer that breaks a rule. What autobahn
does better is done by autobahn: it unmasks large payloads in native code, and finds bad UTF-8 at the first octet.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

from autobahn.websocket import USES_NVX
from autobahn.websocket.utf8validator import Utf8Validator
from autobahn.websocket.xormasker import create_xor_masker  # type: ignore[attr-defined]

from mgate.websocket.closing import Closed, Violation, close_payload, read_close

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "Frames", "Message", "Received", "masked"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})

WHOLE_BINARY = 0x80 | BINARY
"""The first byte of a binary message in one frame."""

CONTROL_MOST = 125
SMALL_MOST = 125
LARGEST = 1 << 63

FREE_FRAGMENTS = 4096
FRAGMENT_BYTES = 16
"""A message may come in so many fragments, and in one more for each of so many bytes."""

NATIVE_FROM = 1200
"""Bytes from which on native code unmasks in less time than arithmetic on integers, which needs no set-up."""

SMALL_HEADS = tuple(bytes((WHOLE_BINARY, size)) for size in range(SMALL_MOST + 1))


class Message(NamedTuple):
    """A whole message.

    Attributes:
        opcode: `TEXT` or `BINARY`.
        payload: of text, valid UTF-8.
    """

    opcode: int
    payload: bytes


@dataclass(slots=True)
class Received:
    """What one chunk led to."""

    data: bytes = b""
    """Payload of binary messages, whole or not, in order. With `whole`, always empty."""
    messages: list[Message] = field(default_factory=list)
    """With `whole`: the messages that became whole."""
    replies: list[bytes] = field(default_factory=list)
    """Frames to send back: a Pong for each Ping (section 5.5.3)."""
    closed: Closed | None = None
    """The peer has closed; nothing behind that is read."""
    error: Violation | None = None
    """The peer broke a rule; nothing behind that is read."""


def masked(payload: bytes, key: bytes) -> bytes:
    """The payload with a key of four bytes put on it, or taken off (section 5.3)."""
    size = len(payload)
    if size >= NATIVE_FROM and USES_NVX:
        return create_xor_masker(key, size).process(payload)  # type: ignore[no-any-return]
    return _xor(payload, (key * (size // 4 + 1))[:size])


def _xor(one: bytes, other: bytes) -> bytes:
    number = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return number.to_bytes(len(one), "little")


class Frames:
    """Both directions of one connection, after its opening handshake.

    Args:
        server: the role of this end: a server is sent masked frames and sends unmasked ones (section 5.1).
        max_message: bytes of a message.
        whole: give out whole messages, text too. Without, only binary messages are accepted, and their payload is
            given out as it comes, as MQTT wants it [MQTT-6.0.0-1].
    """

    __slots__ = (
        "_buffer", "_ended", "_final", "_fragments", "_key", "_left", "_max_message", "_opcode", "_rest", "_server",
        "_size", "_validator", "_whole",
    )  # fmt: skip

    def __init__(self, server: bool, max_message: int, *, whole: bool = False) -> None:
        self._server = server
        self._max_message = max_message
        self._whole = whole
        self._ended = False
        self._rest = b""
        # The frame that is being read.
        self._left = 0
        self._final = True
        self._key = b""
        # The message that is being read; opcode 0 between messages.
        self._opcode = 0
        self._size = 0
        self._fragments = 0
        self._buffer = bytearray()
        self._validator: Utf8Validator | None = None

    # What comes.

    def receive(self, data: bytes) -> Received:
        """Bytes came from the peer. After a Close frame or a violation all are dropped."""
        received = Received()
        if self._ended:
            return received
        if self._rest:
            data, self._rest = self._rest + data, b""
        pieces: list[bytes] = []
        run = _masked_run if self._server else _bare_run
        position, end = 0, len(data)
        try:
            while position < end:
                if self._left:
                    position = self._continue(data, position, pieces, received)
                    continue
                if not self._opcode and not self._whole:
                    position = run(data, position, self._max_message, pieces)
                    if position == end:
                        break
                start = self._begin(data, position, pieces, received)
                if not start:
                    self._rest = data[position:]
                    break
                position = start
                if received.closed is not None:
                    self._ended = True
                    break
        except Violation as violation:
            self._ended = True
            received.error = violation
        received.data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return received

    def _begin(self, data: bytes, position: int, pieces: list[bytes], received: Received) -> int:
        """Read the header at `position`; of a control frame, all. Returns where that ends, or 0 if it is not all there.

        Raises:
            Violation: it breaks a rule.
        """
        here = len(data) - position
        if here < 2:
            return 0
        first, second = data[position], data[position + 1]
        opcode, final, size = first & 15, first >= 128, second & 127
        if first & 0x70:
            raise Violation(1002, "a reserved bit is set")
        if opcode not in OPCODES:
            raise Violation(1002, "a reserved opcode")
        if (second >= 128) is not self._server:
            raise Violation(1002, "a frame is not masked" if self._server else "a frame is masked")
        head = 6 if self._server else 2
        if opcode >= CLOSE:
            if not final or size > CONTROL_MOST:
                raise Violation(1002, "a control frame is fragmented or too long")
            if here < head + size:
                return 0
        else:
            self._check_opcode(opcode)
            if size > SMALL_MOST:
                wide = 2 if size == 126 else 8
                if here < 2 + wide:
                    return 0
                size = int.from_bytes(data[position + 2 : position + 2 + wide], "big")
                head += wide
                if size >= LARGEST or size <= (SMALL_MOST if wide == 2 else 0xFFFF):
                    raise Violation(1002, "the length of a frame is malformed")
            self._check_size(size)
            if here < head:
                return 0
        start = position + head
        self._key = data[start - 4 : start] if self._server else b""
        if opcode >= CLOSE:
            payload = data[start : start + size]
            self._control(opcode, masked(payload, self._key) if self._server else payload, received)
            return start + size
        self._size += size
        self._fragments += 1
        self._opcode = opcode or self._opcode
        self._final = final
        self._left = size
        if not size:
            self._frame_done(b"", received)
        return start

    def _check_opcode(self, opcode: int) -> None:
        """Of a data frame; section 5.4."""
        if opcode == CONTINUATION:
            if not self._opcode:
                raise Violation(1002, "a continuation of nothing")
        elif self._opcode:
            raise Violation(1002, "a message inside of another one")
        elif opcode == TEXT and not self._whole:
            raise Violation(1003, "text is not accepted")

    def _check_size(self, size: int) -> None:
        if self._size + size > self._max_message:
            raise Violation(1009, "the message is too large", "too_large")
        if self._fragments >= FREE_FRAGMENTS + self._size // FRAGMENT_BYTES:
            raise Violation(1008, "the message has too many fragments", "too_large")

    def _continue(self, data: bytes, position: int, pieces: list[bytes], received: Received) -> int:
        """Take what is there of the payload of a data frame. Returns where it ends."""
        stop = min(position + self._left, len(data))
        payload = data[position:stop]
        size = stop - position
        self._left -= size
        if self._server:
            payload = masked(payload, self._key)
            turn = size & 3
            self._key = self._key[turn:] + self._key[:turn]
        if not self._whole:
            pieces.append(payload)
            payload = b""
        elif self._opcode == TEXT:
            self._check_text(payload)
        if self._left:
            self._buffer += payload
        else:
            self._frame_done(payload, received)
        return stop

    def _check_text(self, payload: bytes) -> None:
        if self._validator is None:
            self._validator = Utf8Validator()
        if not self._validator.validate(payload)[0]:
            raise Violation(1007, "text is not UTF-8")

    def _frame_done(self, payload: bytes, received: Received) -> None:
        """A data frame ends, with `payload` of it that is not in the buffer yet."""
        if not self._final:
            self._buffer += payload
            return
        if self._whole:
            # The second value tells whether the octets so far end a character; then the next text may follow.
            if self._opcode == TEXT and self._validator is not None and not self._validator.validate(b"")[1]:
                raise Violation(1007, "text ends inside of a character")
            if self._buffer:
                payload = bytes(self._buffer) + payload
                self._buffer = bytearray()
            received.messages.append(Message(self._opcode, payload))
        self._opcode = self._size = self._fragments = 0

    def _control(self, opcode: int, payload: bytes, received: Received) -> None:
        """A whole control frame (section 5.5); a Pong has nothing to tell."""
        if opcode == PING:
            received.replies.append(self._frame(PONG, payload))
        elif opcode == CLOSE:
            received.closed = read_close(payload)

    # What goes.

    def data(self, payload: bytes) -> list[bytes]:
        """One binary message with this payload, as pieces to be written one after the other."""
        if not self._server:
            return [self._frame(BINARY, payload)]
        size = len(payload)
        return [SMALL_HEADS[size] if size <= SMALL_MOST else _head(BINARY, size, 0), payload]

    def message(self, message: Message) -> bytes:
        """The frame of one message."""
        return self._frame(message.opcode, message.payload)

    def ping(self) -> bytes:
        """A Ping frame."""
        return self._frame(PING, b"")

    def close(self, code: int, reason: str = "") -> bytes:
        """A Close frame, as `mgate.websocket.closing.close_payload` says."""
        return self._frame(CLOSE, close_payload(code, reason))

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        if self._server:
            return _head(opcode, len(payload), 0) + payload
        key = os.urandom(4)  # unpredictable, lest a device choose what a proxy on the way reads (section 10.3)
        return b"".join((_head(opcode, len(payload), 128), key, masked(payload, key)))


def _head(opcode: int, size: int, mask: int) -> bytes:
    if size <= SMALL_MOST:
        return bytes((128 | opcode, mask | size))
    if size <= 0xFFFF:
        return bytes((128 | opcode, mask | 126)) + size.to_bytes(2, "big")
    return bytes((128 | opcode, mask | 127)) + size.to_bytes(8, "big")


def _masked_run(data: bytes, position: int, most: int, pieces: list[bytes]) -> int:
    """Read masked binary messages in one frame each, as long as they are whole and of ordinary size.

    Args:
        most: bytes of a message.
        pieces: what they carry is added to these.

    Returns: where the first frame begins that is something else.
    """
    end = len(data)
    payloads: list[bytes] = []
    keys: list[bytes] = []
    while position + 6 <= end and data[position] == WHOLE_BINARY:
        size = data[position + 1]
        if 128 <= size < 254:
            size -= 128
            start = position + 6
            stop = start + size
            if stop > end or size > most:
                break
            keys.append((data[position + 2 : start] * 32)[:size])
        elif size == 254 and position + 8 <= end:
            size = data[position + 2] << 8 | data[position + 3]
            start = position + 8
            stop = start + size
            if stop > end or size > most or not SMALL_MOST < size < NATIVE_FROM:
                break
            keys.append((data[position + 4 : start] * (size // 4 + 1))[:size])
        else:
            break
        payloads.append(data[start:stop])
        position = stop
    if payloads:
        pieces.append(_xor(b"".join(payloads), b"".join(keys)))
    return position


def _bare_run(data: bytes, position: int, most: int, pieces: list[bytes]) -> int:
    """As `_masked_run`, of frames that are not masked."""
    end = len(data)
    while position + 2 <= end and data[position] == WHOLE_BINARY:
        size = data[position + 1]
        start = position + 2
        if size == 126 and position + 4 <= end:
            size = data[position + 2] << 8 | data[position + 3]
            start = position + 4
            if size <= SMALL_MOST:
                break
        elif size > SMALL_MOST:
            break
        stop = start + size
        if stop > end or size > most:
            break
        pieces.append(data[start:stop])
        position = stop
    return position
