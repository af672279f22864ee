"""Reads what a target answers to one request: interim heads are dropped, then a head, then payload up to its end."""

from __future__ import annotations

from mgate.errors import TargetLost
from mgate.http.bodies import Body, BodyError, Chunked, Counted, UntilClosed
from mgate.http.heads import END, ResponseHead, parse_response
from mgate.http.rules import LENGTH, tokens
from mgate.limits import Limits

__all__ = ["ResponseReader"]

MOST_INTERIM = 16
"""Interim responses (RFC 9110 section 15.2) before the one that counts."""


class ResponseReader:
    """The response to one request (RFC 9112 section 6.3).

    Args:
        method: of the request; HEAD is answered without a body.
        limits: sizes.

    Attributes:
        head: None until it was read.
        length: bytes of the body as its head says, or None.
        done: all of it was read.
        reusable: the connection may carry another request, once this is done.
        begun: anything at all came.
    """

    __slots__ = ("_body", "_buffer", "_interim", "_limits", "_method", "begun", "done", "head", "length", "reusable")

    def __init__(self, method: str, limits: Limits) -> None:
        self._method = method
        self._limits = limits
        self._buffer = b""
        self._body: Body = Counted(0)
        self._interim = 0
        self.head: ResponseHead | None = None
        self.length: int | None = None
        self.done = False
        self.reusable = False
        self.begun = False

    def feed(self, data: bytes) -> bytes:
        """Take what came; returns what of it is payload.

        Raises:
            TargetLost: the target broke the protocol.
        """
        self.begun = True
        if self.head is None:
            data = self._heads(self._buffer + data if self._buffer else data)
            if self.head is None:
                return b""
        if self._body.done:
            payload, rest = b"", data
        else:
            try:
                payload, rest = self._body.feed(data)
            except BodyError as error:
                raise _broken() from error
        self.done = self._body.done
        if rest:
            self.reusable = False  # it speaks unasked
        return payload

    def end(self) -> None:
        """The target has closed in order.

        Raises:
            TargetLost: that cut the response off.
        """
        if self.head is None or not isinstance(self._body, UntilClosed):
            raise TargetLost("the target closed without a whole response", "target_closed")
        self.done = True

    @property
    def until_closed(self) -> bool:
        """Does only the end of the connection end the body?"""
        return isinstance(self._body, UntilClosed)

    def _heads(self, data: bytes) -> bytes:
        """Read the head that counts, if it is there; returns what is behind it."""
        while True:
            end = data.find(END) + len(END)
            if end < len(END) or end > self._limits.http_max_head:
                if len(data) > self._limits.http_max_head:
                    raise _broken()
                self._buffer = data
                return b""
            head = parse_response(data[:end], self._limits.http_max_fields)
            data = data[end:]
            if head.status >= 200:
                self._buffer = b""
                self.head = head
                self._frame(head)
                return data
            self._interim += 1
            if head.status == 101 or self._interim > MOST_INTERIM:
                raise _broken()

    def _frame(self, head: ResponseHead) -> None:
        lengths = [value for name, value in head.fields if name == b"content-length"]
        codings = [value for name, value in head.fields if name == b"transfer-encoding"]
        connection = tokens(b",".join(value for name, value in head.fields if name == b"connection"))
        if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
            raise _broken()
        if lengths:
            if LENGTH.fullmatch(lengths[0]) is None:
                raise _broken()
            self.length = int(lengths[0])
        self.reusable = b"close" not in connection and (head.minor == 1 or b"keep-alive" in connection)
        if self._method == "HEAD" or head.status in (204, 304):
            return
        if codings:
            if codings[0].lower() != b"chunked" or head.minor == 0:
                raise _broken()
            self._body = Chunked()
        elif self.length is not None:
            self._body = Counted(self.length)
        else:
            self._body = UntilClosed()
            self.reusable = False


def _broken() -> TargetLost:
    return TargetLost("the target broke the protocol", "target_malformed")
