"""The connection of one HTTP device: reads requests one after the other, has each judged, and answers in that order.

Rules:

1. One exchange at a time; what is sent meanwhile waits, and above `CROWD` bytes it is not read.
2. Nothing of a request goes to the target before it is admitted, and a short body not before it is whole.
3. After a refusal the connection goes on only if the rest of the body is known and short; else it ends in order: what
   was answered must arrive, so reading goes on for a moment.
4. Every wait has an end. The factory looks at `due` several times a second: a timer for each wait of each request would
   cost more than parsing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate.errors import GateError, TargetLost, TimedOut
from mgate.flow import CROWDED, Side
from mgate.http.answers import CONTINUE, Refused, refused, render
from mgate.http.bodies import BodyError, Counted
from mgate.http.exchange import Exchange, Judgement, report
from mgate.http.forwarding import forwarded_fields
from mgate.http.heads import END, RequestHead, check_begun, parse_request
from mgate.http.rules import Request
from mgate.http.transfer import Transfer
from mgate.outcome import Question
from mgate.proxyprotocol.outgoing import Device, device_of
from mgate.session import Peer, Session

if TYPE_CHECKING:
    from mgate.http.protocol import HttpDeviceFactory

__all__ = ["Handover", "HttpDeviceProtocol"]

HEAD, BODY, STREAM, BUSY, DISCARD, ENDING, HANDED_OVER = range(7)
"""What is read now: a head, a body that is collected, one that is passed on; nothing, because an exchange is under way;
the rest of a refused body; nothing any more; what a protocol wants that has taken over."""

CROWD = 64 * 1024
STREAMED = 64 * 1024
"""Bytes of a body from which on it is passed on before it is whole, if nobody judges it."""
DISCARDED = 64 * 1024
"""Bytes of a refused body that are read, so that the connection can go on."""
LINGER = 2.0
"""Seconds that a device is given to close after it was told the last thing."""
LINGERED = 1024 * 1024
"""Bytes that it may send meanwhile."""
NEVER = float("inf")


class Handover(NamedTuple):
    """A WebSocket handshake that was authorised; whoever takes it over answers it.

    Attributes:
        device: the connection. Its `refuse` answers with an error instead, also later, as long as the successor has
            written nothing; its transport is what the successor gets.
        exchange: as it was authorised: `auth_connect`, then `auth_subscribe` with the topic.
        head, raw: the head of the request, parsed and as it came.
        behind: what came behind it.
    """

    device: HttpDeviceProtocol
    exchange: Exchange
    head: RequestHead
    raw: bytes
    behind: bytes


class DeviceSide(Side):
    """Tells the device's protocol when all was sent."""

    __slots__ = ("_owner",)

    def __init__(self, high: int, owner: HttpDeviceProtocol) -> None:
        super().__init__(high)
        self._owner = owner

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._owner.sent()


@implementer(IHandshakeListener, IHalfCloseableProtocol)
class HttpDeviceProtocol(Protocol):
    """The connection of one device. Made by `HttpDeviceFactory`.

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
        "_local", "_looked", "_number", "_over", "_raw", "_read", "_request_head", "_size", "_skipped", "_stopping",
        "_transfer", "certificate", "connected", "connection_id", "due", "factory", "limits", "peer", "policy", "pool",
        "rules", "side", "state", "successor", "transport",
    )  # fmt: skip

    def __init__(self, factory: HttpDeviceFactory, peer: Peer, connection_id: str) -> None:
        self.factory: HttpDeviceFactory = factory
        self.peer = peer
        self.connection_id = connection_id
        self.limits, self.policy, self.rules, self.pool = factory.limits, factory.policy, factory.rules, factory.pool
        self.certificate: Any = None
        self.side: Side = DeviceSide(factory.limits.write_buffer_high, self)
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
        self._raw = b""
        self._request_head: RequestHead | None = None
        self._read: Request | None = None

    # Twisted.

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.side.attach(transport)
        self._local = Peer.of(transport.getHost()).host

    def handshakeCompleted(self) -> None:
        """IHandshakeListener: TLS stands, and the device is who its certificate says."""
        from mgate.tls.contexts import identity_of

        transport: Any = self.transport
        self.certificate = identity_of(transport.getHandle())

    def dataReceived(self, data: bytes) -> None:
        if self.successor is not None:
            self.successor.dataReceived(data)
            return
        if self.state == ENDING:
            self._ended += len(data)
            if self._ended > LINGERED:
                self.side.abort()
            return
        self._input = self._input + data if self._input else data
        self._advance()

    def readConnectionLost(self) -> None:
        """IHalfCloseableProtocol: the device sends nothing more, and may still wait for an answer."""
        if self.successor is not None:
            self.side.abort()
            return
        self._eof = True
        if self.state in (HEAD, BODY, STREAM, DISCARD):
            self._advance()
        if self.state in (HEAD, BODY, STREAM, DISCARD, ENDING):
            self._abandon()
            self.side.close()

    def writeConnectionLost(self) -> None:
        """IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.side.detach()
        if self.successor is not None:
            successor, self.successor = self.successor, None
            successor.connectionLost(reason)
        elif self._transfer is not None and self.state == BUSY:
            # The request was admitted and is whole: it goes on, and handlers are told, as of any message.
            self._eof = True
            return
        self._abandon()
        self._closed()

    # Reading.

    def _advance(self) -> None:
        """Do what can be done with what was read."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._step():
                pass
        except GateError as error:
            self.refuse(error)
        except Exception as error:  # noqa: BLE001 - as in mgate.link: a fault of the gateway ends one connection
            self._broken(error)
        finally:
            self._advancing = False
        if len(self._input) > CROWD and self.state in (BUSY, HEAD):
            self.side.shut(CROWDED)
        elif not self.side.reading:
            self.side.open(CROWDED)

    def _step(self) -> bool:
        """One step; is there anything more to do?"""
        state = self.state
        if not self._input or state in (BUSY, ENDING, HANDED_OVER):
            return False
        if state == HEAD:
            return self._read_head()
        if state == BODY:
            return self._read_body()
        if state == STREAM:
            return self._read_stream()
        return self._read_discarded()

    def _read_head(self) -> bool:
        if self.side.unsent > self.limits.write_buffer_high or self._stopping:
            return False
        data = self._input
        if not self._skipped and data.startswith(b"\r"):
            # RFC 9112 section 2.2: one empty line may be in front.
            if data == b"\r":
                return False
            if data.startswith(b"\r\n"):
                data = self._input = data[2:]
                self._skipped = True
        if not self._looked:
            self.due = min(self.due, self.factory.now() + self.limits.http_head_timeout)
        most = self.limits.http_max_head
        end = data.find(END, max(0, self._looked - 3), most)
        if end < 0:
            if len(data) >= most:
                if data.find(b"\r\n", 0, most) < 0:
                    raise Refused(414, "the request target is too long", "head_too_large", close=True)
                raise Refused(431, "the fields are too large", "head_too_large", close=True)
            check_begun(data, self._looked)
            self._looked = len(data)
            return False
        raw = data[: end + 4]
        self._input = data[end + 4 :]
        self._looked = 0
        self._skipped = False
        if raw != self._raw:
            self._read = None
            self._raw = raw
            self._request_head = None
            self._request_head = parse_request(raw, self.limits.http_max_fields)
        if self._read is None:
            assert self._request_head is not None
            self._read = self.rules.read(self._request_head, self._local)
        # Most devices say the same again and again, and to read it anew costs a fifth of the whole request.
        self._begin(self._read.again())
        return bool(self._input)

    def _begin(self, request: Request) -> None:
        self._number += 1
        self.state = BUSY
        self.due = NEVER
        factory = self.factory
        session = Session(self.connection_id, factory.listener, "http", self.peer)
        session.certificate = self.certificate
        request_id = f"{self.connection_id}.{self._number}"
        exchange = Exchange(
            request, session, self.policy, self.rules, factory.counters, factory.journal, request_id
        )
        self._exchange = exchange
        self.decide(exchange.authorise(), self._authorised)

    def _authorised(self, _: None) -> None:
        assert self._exchange is not None
        request = self._exchange.request
        if request.upgrade:
            self._hand_over()
        elif request.body.done:
            self._judge(b"")
        else:
            if request.expects and not self._input:
                self.side.answer(CONTINUE)
            self._collected = []
            self._size = 0
            self.state = BODY
            self.wait(self.limits.http_body_timeout)

    def _feed(self) -> bytes:
        """The payload in what was read."""
        assert self._exchange is not None
        request = self._exchange.request
        try:
            payload, self._input = request.body.feed(self._input)
        except BodyError as error:
            raise Refused(400, str(error), "framing", close=True) from None
        self._size += len(payload)
        if self._size > self.limits.http_max_body:
            raise Refused(413, "the body is too large", "too_large", close=True)
        return payload

    def _read_body(self) -> bool:
        exchange = self._exchange
        assert exchange is not None
        self._collected.append(self._feed())
        if exchange.request.body.done:
            self.state = BUSY
            self.due = NEVER
            self._judge(b"".join(self._collected))
        elif self._size >= STREAMED and not exchange.wants_payload:
            exchange.judge_stream()
            self.state = BUSY
            self.due = NEVER
            self._send(b"".join(self._collected), streamed=True)
        return bool(self._input)

    def _read_stream(self) -> bool:
        assert self._exchange is not None and self._transfer is not None
        payload = self._feed()
        done = self._exchange.request.body.done
        if done:
            self.state = BUSY
        self._transfer.send(payload, done)
        return bool(self._input)

    def _read_discarded(self) -> bool:
        assert self._exchange is not None
        self._feed()
        if self._exchange.request.body.done:
            self._next()
        return bool(self._input)

    # Judging.

    def decide(self, journey: Judgement, then: Any, answer: object = None) -> None:
        """Run a judgement, and call `then` with its result; what it raises refuses the request."""
        try:
            question = journey.send(answer)
        except StopIteration as stop:
            then(stop.value)
        except GateError as error:
            self.refuse(error)
            self._advance()
        else:
            self._ask(question, journey, then)

    def _ask(self, question: Question, journey: Judgement, then: Any) -> None:
        """Wait for a handler, but not for ever."""
        self.due = NEVER

        def answered(answer: object) -> None:
            self._asked = None
            if timer.active():
                timer.cancel()
            try:
                self.decide(journey, then, answer)
            except Exception as error:  # noqa: BLE001 - likewise
                self._broken(error)
            self._advance()

        def late() -> None:
            question.cancel()
            answered(TimedOut("no answer in time", "handler_timeout"))

        timer = self.factory.clock.callLater(self.limits.handler_timeout, late)
        self._asked = (question, timer)
        question.listen(answered)

    def _judge(self, payload: bytes) -> None:
        assert self._exchange is not None
        self.decide(self._exchange.judge(payload), self._admitted)

    def _admitted(self, _: None) -> None:
        assert self._exchange is not None
        self._send(self._exchange.request.payload or b"", streamed=False)

    def _send(self, payload: bytes, *, streamed: bool) -> None:
        assert self._exchange is not None
        self._held_back = False
        self._transfer = Transfer(self, self._exchange, self.pool, self._forwarded, payload, streamed)
        self._transfer.begin()

    def _hand_over(self) -> None:
        exchange, upgrade = self._exchange, self.factory.upgrade
        assert exchange is not None and self._request_head is not None
        if upgrade is None:
            raise Refused(501, "WebSockets are not served here", "upgrade", close=True)
        behind, self._input = self._input, b""
        self.state = HANDED_OVER
        successor = upgrade(Handover(self, exchange, self._request_head, self._raw, behind))
        transport: Any = self.transport
        if self.state == HANDED_OVER and self.side.transport is not None:
            transport.unregisterProducer()
            self.successor = successor
            successor.makeConnection(transport)
            if behind and self.successor is not None:
                successor.dataReceived(behind)

    # TransferOwner.

    def wait(self, seconds: float) -> None:
        """Something must happen within `seconds`."""
        self.due = self.factory.now() + seconds

    def joined(self) -> None:
        """The target is connected: the rest of a streamed body may go out."""
        self.state = STREAM
        self.wait(self.limits.http_body_timeout)
        self._advance()

    def closing(self) -> bool:
        """Is the connection to be closed behind the response?"""
        assert self._exchange is not None
        return self._stopping or not self._exchange.request.keep_alive or (self._eof and not self._input)

    def transferred(self, close: bool) -> None:
        """The whole response was passed on."""
        self._transfer = None
        if close or self.side.transport is None:
            self._end()
        else:
            self._next()
            self._advance()

    def failed(self, error: GateError) -> None:
        """There is no response; the device was told nothing yet."""
        self._transfer = None
        self.refuse(error)
        self._advance()

    def cut(self, error: GateError) -> None:
        """The response broke off after its head was passed on."""
        self._transfer = None
        if self._exchange is not None:
            self._exchange.refuse(error)
        self.side.abort()
        if self.side.transport is None:
            self._end()

    def introduced(self) -> Device:
        """What a target is told of the device, where it is told of devices."""
        assert self._exchange is not None
        return device_of(self._exchange.session, self.side.transport)

    # The end of an exchange, and of the connection.

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
            self.due = NEVER
            if self._exchange is not None:
                self._exchange.close()
                self._exchange = None
            self.factory.gone(self)

    # Time.

    def sent(self) -> None:
        """All was sent that was written; requests that waited for it go on."""
        if self.state == HEAD and self._input:
            self._advance()

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
