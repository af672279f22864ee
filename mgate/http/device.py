"""The connection of one HTTP device: reads requests one after the other, has each judged, and answers in that order.

Rules:

1. One exchange at a time; what is sent meanwhile waits, and above `CROWD` bytes it is not read.
2. Nothing of a request goes to the target before it is admitted, and a short body not before it is whole.
3. How it all ends, and what of it takes too long, is in `mgate.http.connection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate.errors import GateError, TimedOut
from mgate.flow import CROWDED, Side
from mgate.http.answers import CONTINUE, Refused
from mgate.http.bodies import BodyError
from mgate.http.connection import BODY, BUSY, DISCARD, ENDING, HANDED_OVER, HEAD, NEVER, STREAM, DeviceConnection
from mgate.http.exchange import Exchange, Judgement
from mgate.http.heads import END, RequestHead, check_begun, parse_request
from mgate.http.rules import Request
from mgate.http.transfer import Transfer
from mgate.outcome import Question
from mgate.proxyprotocol.outgoing import Device, device_of
from mgate.session import Peer, Session

if TYPE_CHECKING:
    from mgate.http.protocol import HttpDeviceFactory

__all__ = ["Handover", "HttpDeviceProtocol"]

CROWD = 64 * 1024
"""Bytes that may wait behind an exchange."""
TURN = 64
"""Requests and pieces of bodies that one connection may have dealt with at once, before others have their turn."""
STREAMED = 64 * 1024
"""Bytes of a body from which on it is passed on before it is whole, if nobody judges it."""
LINGERED = 1024 * 1024
"""Bytes that a device may send after it was told the last thing."""


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
class HttpDeviceProtocol(DeviceConnection):
    """The connection of one device. Made by `HttpDeviceFactory`; see `DeviceConnection` for its attributes."""

    __slots__ = ()

    def __init__(self, factory: HttpDeviceFactory, peer: Peer, connection_id: str) -> None:
        super().__init__(factory, peer, connection_id)
        self.side = DeviceSide(factory.limits.write_buffer_high, self)

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

    def _advance(self) -> None:
        """Do what can be done with what was read."""
        if self._advancing:
            return
        self._advancing = True
        steps = 0 if self._later is None else TURN
        try:
            while steps < TURN and self._step():
                steps += 1
        except GateError as error:
            self.refuse(error)
        except Exception as error:  # noqa: BLE001 - as in mgate.link: a fault of the gateway ends one connection
            self._broken(error)
        finally:
            self._advancing = False
        if steps == TURN and self._later is None and not self._over:
            self._later = self.factory.clock.callLater(0, self._go_on)
        if len(self._input) > CROWD and self.state in (BUSY, HEAD):
            self.side.shut(CROWDED)
        elif not self.side.reading:
            self.side.open(CROWDED)

    def _go_on(self) -> None:
        """Others have had their turn."""
        self._later = None
        self._advance()

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

    def joined(self) -> None:
        """The target is connected: the rest of a streamed body may go out."""
        self.state = STREAM
        self.wait(self.limits.http_body_timeout)
        self._advance()

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

    def introduced(self) -> Device:
        """What a target is told of the device, where it is told of devices."""
        assert self._exchange is not None
        return device_of(self._exchange.session, self.side.transport)

    def sent(self) -> None:
        """All was sent that was written; requests that waited for it go on."""
        if self.state == HEAD and self._input:
            self._advance()
