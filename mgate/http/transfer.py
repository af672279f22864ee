"""One request on its way to the target, and the response on its way back, passed on as it comes.

Rules:

1. A request is sent again on a fresh connection only if a kept one ended before any byte of the response, and only if
   its method is idempotent and all of it is at hand (RFC 9112 section 9.3.1).
2. A response that was cut off is cut off for the device too: its connection is reset, never ended in order.
3. Each side waits for the other one (`mgate.flow.Side`).
"""

from __future__ import annotations

from typing import Any, Protocol

from mgate.errors import GateError, TargetLost
from mgate.flow import FULL, Side
from mgate.http.bodies import chunk
from mgate.http.exchange import Exchange, Judgement
from mgate.http.forwarding import end_to_end, request_head, response_head
from mgate.http.pool import Dial, HttpTargetProtocol, Pool
from mgate.http.responses import ResponseReader
from mgate.http.rules import Response
from mgate.limits import Limits
from mgate.proxyprotocol.outgoing import Device

__all__ = ["Transfer", "TransferOwner"]

IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE"))
"""RFC 9110 section 9.2.2."""


class TransferOwner(Protocol):
    """The protocol of the device."""

    side: Side

    def wait(self, seconds: float) -> None:
        """Something must happen within `seconds`."""

    def joined(self) -> None:
        """The target is connected: the rest of a streamed body may go out."""

    def decide(self, journey: Judgement, then: Any) -> None:
        """Run a judgement, and call `then` with its result; what it raises refuses the request."""

    def closing(self) -> bool:
        """Is the connection to be closed behind the response?"""

    def transferred(self, close: bool) -> None:
        """The whole response was passed on."""

    def failed(self, error: GateError) -> None:
        """There is no response; the device was told nothing yet."""

    def cut(self, error: GateError) -> None:
        """The response broke off after its head was passed on."""

    def introduced(self) -> Device:
        """What a target is told of the device, where it is told of devices."""


class Transfer:
    """One exchange with the target, from `begin` on.

    Args:
        owner: the device.
        exchange: as it was judged.
        forwarded: the lines that tell of the device (`mgate.http.forwarding.forwarded_fields`).
        payload: the body, or its first part.
        streamed: more of the body comes, by `send`.
    """

    __slots__ = (
        "_answered", "_chunked_down", "_close", "_collected", "_connection", "_dial", "_exchange", "_fresh", "_limits",
        "_owner", "_pieces", "_pool", "_reader", "_size", "sending", "streamed",
    )  # fmt: skip

    def __init__(
        self, owner: TransferOwner, exchange: Exchange, pool: Pool, forwarded: bytes, payload: bytes, streamed: bool
    ) -> None:
        request = exchange.request
        self._owner = owner
        self._exchange = exchange
        self._pool = pool
        self._limits: Limits = pool.limits
        self._reader = ResponseReader(request.method, pool.limits)
        self._connection: HttpTargetProtocol | None = None
        self._answered = self._close = self._chunked_down = self._fresh = False
        self._collected: list[bytes] = []
        self._size = 0
        self.streamed = self.sending = streamed
        length = request.length if streamed else len(payload)
        head = request_head(request, forwarded, exchange.authorization, length)
        self._pieces = [head]
        if payload:
            self._pieces += chunk(payload) if length is None else [payload]
        self._dial: Dial | None = None

    def begin(self) -> None:
        """Have the request on its way; what comes of it may come at once."""
        self._take(fresh=False)

    def _take(self, *, fresh: bool) -> None:
        self._fresh = fresh
        dial = self._pool.take(self, fresh=fresh)
        if self._connection is None:
            self._dial = dial

    @property
    def answered(self) -> bool:
        """Has the device been told the head of the response?"""
        return self._answered

    def send(self, payload: bytes, done: bool) -> None:
        """More of a streamed body; `done` with the last of it."""
        connection = self._connection
        if connection is None:
            return
        pieces: list[bytes] = []
        if self._exchange.request.length is not None:
            pieces = [payload]
        else:
            if payload:
                pieces = chunk(payload)
            if done:
                pieces += chunk(b"")
        connection.side.write(pieces)
        self._pool.counters.bytes_uplink += sum(map(len, pieces))
        if done:
            self.sending = False
            self._owner.wait(self._limits.http_answer_timeout)

    def abandon(self) -> None:
        """Nobody waits for the response any more."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        self._release(keep=False)

    def expired(self) -> None:
        """The target has said nothing for too long."""
        self._fail(TargetLost("the target does not answer", "target_slow"))

    @property
    def held_back(self) -> bool:
        """Is the target not read, because the device does not take what came?"""
        return self._connection is not None and not self._connection.side.reading

    # TargetUser.

    def target_joined(self, connection: HttpTargetProtocol) -> None:
        self._dial = None
        self._connection = connection
        side = self._owner.side
        connection.side.peer = side
        side.peer = connection.side
        connection.side.write(self._pieces)
        self._pool.counters.bytes_uplink += sum(map(len, self._pieces))
        self._owner.wait(self._limits.http_answer_timeout)
        if self.streamed:
            self._pieces = []
            self._owner.joined()

    def target_missed(self, error: GateError) -> None:
        self._dial = None
        self._owner.failed(error)

    def target_data(self, data: bytes) -> None:
        reader = self._reader
        try:
            payload = reader.feed(data)
        except TargetLost as error:
            self._fail(error)
            return
        self._owner.wait(self._limits.http_answer_timeout)
        if reader.head is None:
            return
        if self._exchange.wants_answer:
            self._collect(payload)
        else:
            self._pass_on(payload)

    def target_lost(self, clean: bool) -> None:
        connection, self._connection = self._connection, None
        reader = self._reader
        if clean and reader.until_closed:
            reader.end()
            if self._exchange.wants_answer:
                self._collect(b"")
            else:
                self._pass_on(b"")
        elif connection is not None and connection.used and not reader.begun and self._repeatable():
            self._take(fresh=True)
        else:
            self._fail(TargetLost("the connection to the target is gone", "target_closed" if clean else "target_lost"))

    def introduced(self) -> Device:
        return self._owner.introduced()

    # The response.

    def _repeatable(self) -> bool:
        return not self.streamed and not self._fresh and self._exchange.request.method in IDEMPOTENT

    def _pass_on(self, payload: bytes) -> None:
        pieces: list[bytes] = []
        if not self._answered:
            pieces.append(self._head())
        if self._chunked_down:
            if payload:
                pieces += chunk(payload)
            if self._reader.done:
                pieces += chunk(b"")
        elif payload:
            pieces.append(payload)
        self._pool.counters.bytes_downlink += sum(map(len, pieces))
        self._owner.side.write(pieces)
        if self._reader.done:
            self._finish()

    def _head(self) -> bytes:
        """The head for the device of a response that is passed on as it comes."""
        reader, request, head = self._reader, self._exchange.request, self._reader.head
        assert head is not None
        self._answered = True
        self._exchange.accepted(head.status)
        self._close = self._owner.closing() or self.sending
        framing = b""
        if reader.length is not None and head.status != 204:
            framing = b"content-length: %d" % reader.length
        elif request.method != "HEAD" and head.status not in (204, 304):
            if request.minor == 0:
                self._close = True
            else:
                self._chunked_down = True
                framing = b"transfer-encoding: chunked"
        return response_head(
            head.status, head.phrase, end_to_end(head.fields), framing,
            close=self._close, announce_keep_alive=request.minor == 0,
        )  # fmt: skip

    def _collect(self, payload: bytes) -> None:
        """Keep a response that somebody judges, until it is whole."""
        self._size += len(payload)
        if self._size > self._limits.http_max_body:
            self._fail(TargetLost("the response of the target is too large", "target_malformed"))
            return
        self._collected.append(payload)
        head = self._reader.head
        if self._reader.done and head is not None:
            self._release(keep=True)
            self._exchange.accepted(head.status)
            whole = b"".join(self._collected)
            response = Response(head.status, end_to_end(head.fields), whole)
            self._owner.decide(self._exchange.judge_answer(response), self._answer_whole)

    def _answer_whole(self, response: Response) -> None:
        head, request = self._reader.head, self._exchange.request
        assert head is not None
        self._close = self._owner.closing() or self.sending
        bodiless = request.method == "HEAD" or response.status in (204, 304)
        length = self._reader.length if bodiless else len(response.payload)
        framing = b"" if length is None or response.status == 204 else b"content-length: %d" % length
        phrase = head.phrase if response.status == head.status else b""
        whole = [
            response_head(
                response.status, phrase, response.fields, framing,
                close=self._close, announce_keep_alive=request.minor == 0,
            )
        ]  # fmt: skip
        if not bodiless:
            whole.append(response.payload)
        self._pool.counters.bytes_downlink += sum(map(len, whole))
        self._owner.side.write(whole)
        self._owner.transferred(self._close)

    def _finish(self) -> None:
        self._release(keep=True)
        self._owner.transferred(self._close)

    def _fail(self, error: GateError) -> None:
        self._release(keep=False)
        if self._answered:
            self._owner.cut(error)
        else:
            self._owner.failed(error)

    def _release(self, *, keep: bool) -> None:
        """Part from the connection."""
        connection, self._connection = self._connection, None
        self._owner.side.peer = None
        self._owner.side.open(FULL)
        if connection is None:
            return
        connection.side.peer = None
        connection.side.open(FULL)
        if keep and self._reader.reusable and not self.sending:
            self._pool.give_back(connection)
        else:
            connection.drop()
