"""Where the body of a message ends (RFC 9112 sections 6 and 7). Strict, because what two parsers see differently is how
requests are smuggled: a chunk size is 1 to 8 hexadecimal digits, line ends are CRLF, extensions and trailers are
checked, bounded and dropped.
"""

from __future__ import annotations

import re
from typing import Protocol

__all__ = ["Body", "BodyError", "Chunked", "Counted", "UntilClosed", "chunk"]

SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?")
TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
MAX_LINE = 1024
"""Bytes of one line with a chunk size and its extensions, or of one trailer field."""
MAX_EXTRA = 16 * 1024
"""Bytes of all extensions and trailers of a message."""

SIZE, DATA, DATA_END, TRAILERS, DONE = range(5)


class BodyError(ValueError):
    """A body that is not framed as HTTP/1.1 has it. The message is constant text."""


class Body(Protocol):
    """Reads one body.

    Attributes:
        done: its end was seen.
    """

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take what came. Returns what of it is payload, and what is behind the end of the body.

        Raises:
            BodyError: it is no body.
        """


class Counted:
    """A body with a Content-Length of `left` bytes."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done = left == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """As `Body.feed`; raises nothing."""
        size = len(data)
        if size < self.left:
            self.left -= size
            return data, b""
        left, self.left = self.left, 0
        self.done = True
        return (data, b"") if size == left else (data[:left], data[left:])


class UntilClosed:
    """The body of a response that ends with its connection."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """As `Body.feed`; raises nothing."""
        return data, b""


class Chunked:
    """A body in chunks (RFC 9112 section 7.1)."""

    __slots__ = ("_extra", "_left", "_line", "_state", "done")

    def __init__(self) -> None:
        self.done = False
        self._state = SIZE
        self._left = 0
        self._line = b""
        self._extra = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """As `Body.feed`."""
        payload = []
        position = 0
        if self._line:
            data, self._line = self._line + data, b""
        while position < len(data) and not self.done:
            if self._state == DATA:
                piece = data[position : position + self._left]
                payload.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = DATA_END
                continue
            end = data.find(b"\r\n", position, position + MAX_LINE + 2)
            if end < 0:
                self._keep(data[position:])
                return b"".join(payload), b""
            self._take(data[position:end])
            position = end + 2
        return b"".join(payload), data[position:]

    def _keep(self, begun: bytes) -> None:
        """A line that is not whole yet; it is refused as soon as it can not become one."""
        if len(begun) > MAX_LINE + 1:
            raise BodyError("a line between chunks is too long")
        text = begun.removesuffix(b"\r")
        if self._state == DATA_END and text:
            raise BodyError("a chunk is longer than it said")
        if self._state == SIZE and text and SIZE_LINE.fullmatch(text) is None and not text.rstrip(b"\t ").isalnum():
            raise BodyError("a chunk size is malformed")
        if b"\n" in text or b"\r" in text:
            raise BodyError("a line between chunks is malformed")
        self._line = begun

    def _take(self, line: bytes) -> None:
        """A whole line, without its CRLF."""
        if self._state == DATA_END:
            if line:
                raise BodyError("a chunk is longer than it said")
            self._state = SIZE
        elif self._state == SIZE:
            match = SIZE_LINE.fullmatch(line)
            if match is None:
                raise BodyError("a chunk size is malformed")
            self._spend(len(line) - len(match[1]))
            self._left = int(match[1], 16)
            self._state = DATA if self._left else TRAILERS
        elif line:
            if TRAILER.fullmatch(line) is None:
                raise BodyError("a trailer field is malformed")
            self._spend(len(line))
        else:
            self._state = DONE
            self.done = True

    def _spend(self, size: int) -> None:
        self._extra += size
        if self._extra > MAX_EXTRA:
            raise BodyError("too many chunk extensions or trailers")


def chunk(payload: bytes) -> list[bytes]:
    """One chunk, in pieces; the last one of a body is ``chunk(b"")``."""
    return [b"%x\r\n" % len(payload), payload, b"\r\n"] if payload else [b"0\r\n\r\n"]
