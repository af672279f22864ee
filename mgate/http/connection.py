"""How the exchanges and the connection of an HTTP device end: refusals, time-outs, shutdown.

`mgate.http.device` has the rest of it.

Rules:

1. A refused request is answered once, counted once and reported once.
2. The connection goes on only if the rest of the refused body is known and short. Else it ends in order: what was
   answered must arrive, so reading goes on for a moment.
3. Every wait has an end. The factory looks at `due` several times a second: a timer for each wait of each request would
   cost more than parsing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol

from mgate.errors import GateError, TargetLost, TimedOut
from mgate.flow import Side
from mgate.http.answers import Refused, refused, render
from mgate.http.bodies import Counted
from mgate.http.exchange import Exchange, report
from mgate.http.forwarding import forwarded_fields
from mgate.http.heads import RequestHead
from mgate.http.rules import Request
from mgate.http.transfer import Transfer
from mgate.outcome import Question
from mgate.session import Peer, Session

if TYPE_CHECKING:
    from mgate.http.protocol import HttpDeviceFactory

__all__ = ["BODY", "BUSY", "DISCARD", "ENDING", "HANDED_OVER", "HEAD", "NEVER", "STREAM", "DeviceConnection"]

HEAD, BODY, STREAM, BUSY, DISCARD, ENDING, HANDED_OVER = range(7)
"""What is read now: a head, a body that is collected, one that is passed on; nothing, because an exchange is under way;
the rest of a refused body; nothing any more; what a protocol wants that has taken over."""

DISCARDED = 64 * 1024
"""Bytes of a refused body that are read, so that the connection can go on."""
LINGER = 2.0
"""Seconds that a device is given to close after it was told the last thing."""
NEVER = float("inf")


class DeviceConnection(Protocol):
    """What `mgate.http.device.HttpDeviceProtocol` is made of, beside reading.

    Attributes:
        peer: where the device connected from.
        certificate: who it is by its certificate, or None.
        connection_id: unique in this process.
        side: what it is written to.
        due: when something must have happened, in seconds of the factory.
        successor: the protocol that has taken over, or None.
    """

    __slots__ = (
        "_advancing", "_asked", "_collected", "_ended", "_eof", "_exchange", "_forwarded", "_held_back", "_input",
        "_later", "_local", "_looked", "_number", "_over", "_raw", "_read", "_request_head", "_size", "_skipped",
        "_stopping", "_transfer", "certificate", "connected", "connection_id", "due", "factory", "limits", "peer",
        "policy", "pool", "rules", "side", "state", "successor", "transport",
    )  # fmt: skip

    def __init__(self, factory: HttpDeviceFactory, peer: Peer, connection_id: str) -> None:
        self.factory: HttpDeviceFactory = factory
        self.peer = peer
        self.connection_id = connection_id
        self.limits, self.policy, self.rules, self.pool = factory.limits, factory.policy, factory.rules, factory.pool
        self.certificate: Any = None
        self.side = Side(factory.limits.write_buffer_high)
        self.state = HEAD
        self.due = factory.now() + factory.limits.http_head_timeout
        self.successor: Any = None
        self._forwarded = forwarded_fields(factory.choices, peer.host)
        self._local = ""
        self._input = b""
        self._looked = 0
        self._skipped = self._advancing = self._eof = self._stopping = self._over = self._held_back = False
        self._number = 0
        self._exchange: Exchange | None = None
        self._transfer: Transfer | None = None
        self._asked: tuple[Question, Any] | None = None
        self._collected: list[bytes] = []
        self._size = 0
        self._ended = 0
        self._later: Any = None
        self._raw = b""
        self._request_head: RequestHead | None = None
        self._read: Request | None = None

    def refuse(self, error: GateError) -> None:
        """Answer the request by an error; also called by who takes over WebSockets, instead of taking over."""
        if self.state == ENDING or self._over:
            return
        exchange, self.successor = self._exchange, None
        if self._transfer is not None:
            transfer, self._transfer = self._transfer, None
            transfer.abandon()
            if transfer.answered:
                self.cut(error)
                return
        head_only, close = False, True
        if exchange is not None:
            head_only = exchange.request.method == "HEAD"
        elif self._request_head is not None and not self._looked and not self._read:
            head_only = self._request_head.method == "HEAD"
        if exchange is None:
            self._number += 1
            session = Session(self.connection_id, self.factory.listener, "http", self.peer)
            request_id = f"{self.connection_id}.{self._number}"
            report(error, self.factory.counters, self.factory.journal, session, request_id)
            answer = refused(error)
        else:
            request_id = exchange.request_id
            answer = exchange.refuse(error)
            close = answer.close or self.closing() or not self._rest_is_short(exchange.request)
        close = close or self.side.transport is None
        self.side.answer(render(answer, request_id, head_only=head_only, close=close))
        if close:
            self._end()
        elif exchange is not None and not exchange.request.body.done:
            self.state = DISCARD
            self._size = 0
            self.wait(self.limits.http_body_timeout)
        else:
            self._next()

    def _rest_is_short(self, request: Request) -> bool:
        """Is what is left of the body worth reading?"""
        if request.upgrade:
            return False
        if request.body.done:
            return True
        return isinstance(request.body, Counted) and request.body.left <= DISCARDED and not request.expects

    def _next(self) -> None:
        """Read the next request."""
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None
        self._collected = []
        self.state = HEAD
        if self._stopping or (self._eof and not self._input):
            self._end()
        elif self._input:
            self.wait(self.limits.http_head_timeout)
        else:
            self.wait(self.limits.http_keep_alive)

    def _end(self) -> None:
        """Close in order: what was written goes out, and what still comes is thrown away for a moment."""
        if self._over:
            return
        self.state = ENDING
        self._input = b""
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None
        if self.side.transport is None:
            self._closed()
            return
        self.wait(self.limits.drain_timeout if self.side.owes else LINGER)
        if self._eof:
            self.side.close()
        else:
            self.side.finish()

    def _broken(self, error: Exception) -> None:
        """A fault of the gateway itself: this connection ends, and others live."""
        self.factory.journal.fault("", "", error)
        if self._transfer is not None:
            self._transfer.abandon()
            self._transfer = None
        if self.state == HANDED_OVER:
            self.side.abort()
        else:
            self.refuse(Refused(500, "internal fault", "internal_fault", close=True))

    def _abandon(self) -> None:
        """Drop what is under way: the device is gone, or does not finish its request."""
        if self._asked is not None:
            (question, timer), self._asked = self._asked, None
            question.cancel()
            if timer.active():
                timer.cancel()
        if self._transfer is not None:
            self._transfer.abandon()
            self._transfer = None

    def _closed(self) -> None:
        if not self._over:
            self._over = True
            if self._later is not None:
                self._later.cancel()
                self._later = None
            self.due = NEVER
            if self._exchange is not None:
                self._exchange.close()
                self._exchange = None
            self.factory.gone(self)

    def wait(self, seconds: float) -> None:
        """Something must happen within `seconds`."""
        self.due = self.factory.now() + seconds

    def closing(self) -> bool:
        """Is the connection to be closed behind the response?"""
        assert self._exchange is not None
        return self._stopping or not self._exchange.request.keep_alive or (self._eof and not self._input)

    def cut(self, error: GateError) -> None:
        """The response broke off after its head was passed on."""
        self._transfer = None
        if self._exchange is not None:
            self._exchange.refuse(error)
        self.side.abort()
        if self.side.transport is None:
            self._end()

    def look(self, now: float) -> None:
        """`due` has passed."""
        try:
            self._expire(now)
        except Exception as error:  # noqa: BLE001 - the time of all other connections must go on
            self._broken(error)

    def _expire(self, now: float) -> None:
        if self.state == ENDING:
            self.due = NEVER
            self.side.abort()
        elif self.state == DISCARD or (self.state == HEAD and not self._input):
            self._end()
        elif self.state == HEAD:
            if self.side.unsent > self.limits.write_buffer_high:
                self.side.abort()  # it asks and does not listen
            else:
                self.refuse(TimedOut("the head of the request was not finished in time", "head_timeout"))
        elif self.state == BODY:
            self.refuse(TimedOut("the body of the request was not finished in time", "body_timeout"))
        elif self.state == STREAM and self.side.reading:
            self.refuse(TimedOut("the body of the request was not finished in time", "body_timeout"))
        elif self._transfer is not None and self._transfer.held_back and not self._held_back:
            self._held_back = True
            self.due = now + self.limits.drain_timeout
        elif self._transfer is not None:
            self._transfer.expired()
        else:
            self.due = NEVER

    def stop(self) -> None:
        """The gateway shuts down: the exchange that is under way is finished, and no other begins."""
        self._stopping = True
        if self.successor is not None:
            stop = getattr(self.successor, "stop", None)
            if stop is not None:
                stop()
            else:
                self.side.abort()
        elif self.state == HEAD and self._input:
            self.refuse(TargetLost("the gateway is shutting down", "shutdown"))
        elif self.state in (HEAD, DISCARD):
            self._end()

    def cut_off(self) -> None:
        """The gateway waits no longer."""
        self._abandon()
        self.side.abort()
        if self.side.transport is None:
            self._closed()
