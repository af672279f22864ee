"""Targets over WebSocket: those that do not agree, break the protocol or say nothing, and ``wss://``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from mgate.limits import Limits
from mgate.proxyprotocol.outgoing import Introducing
from mgate.tls.client import TargetConnections, TargetEndpoint
from mgate.tls.contexts import ServerContexts
from mgate.tls.settings import TargetTls
from mgate.websocket.handshake import accept_for
from mgate.websocket.target import NotAgreed, WebSocketEndpoint
from tests import wire
from tests.gateway import PATIENCE, Wire
from tests.tls.handshakes import file, settings
from tests.websocket import raw
from tests.websocket.gateway import WebSocketTest, towards
from tests.websocket.raw import frame

reactor: Any = installed_reactor


def agreed(key: str, subprotocol: str = "mqtt") -> bytes:
    return (
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-accept: {accept_for(key)}\r\nsec-websocket-protocol: {subprotocol}\r\n\r\n"
    ).encode("ascii")


class RawTarget(Factory, Protocol):
    """One connection: answers a handshake with what `answer` makes of its key; None is silence."""

    noisy = False

    def __init__(self, test: Any, answer: Callable[[str], bytes | None] = agreed) -> None:
        self.answer = answer
        self.side = Wire()
        self.side.dataReceived = self.came  # type: ignore[method-assign]
        self.answered = False
        port = reactor.listenTCP(0, self, interface="127.0.0.1")
        test.addCleanup(port.stopListening)
        test.addCleanup(lambda: self.side.closed or self.side.transport is None or self.side.reset())
        self.port: int = port.getHost().port

    def buildProtocol(self, addr: Any) -> Wire:
        return self.side

    def came(self, data: bytes) -> None:
        self.side.received += data
        if not self.answered and b"\r\n\r\n" in self.side.received:
            self.answered = True
            found = re.search(rb"Sec-WebSocket-Key: (\S+)", bytes(self.side.received))
            assert found is not None
            answer = self.answer(found[1].decode())
            if answer == b"":
                self.side.close()
            elif answer is not None:
                self.side.send(answer)
        self.side._changed()

    @property
    def frames(self) -> list[raw.Parsed]:
        """What came behind the handshake."""
        return raw.parse(bytes(self.side.received).partition(b"\r\n\r\n")[2])[0]


class Carried(Wire):
    """What is carried."""

    def __init__(self) -> None:
        super().__init__()
        self.why: Any = None

    def connectionMade(self) -> None:
        """Nothing to set."""

    def connectionLost(self, reason: Any = None) -> None:
        self.why = reason
        super().connectionLost(reason)


class Dials(TestCase):
    timeout = 30

    async def fails(self, answer: Callable[[str], bytes | None], text: str, **options: Any) -> None:
        target = RawTarget(self, answer)
        dialled = towards(target.port, [], **options).connect(Factory.forProtocol(Carried))
        error = await self.assertFailure(dialled, NotAgreed, TimeoutError)
        self.assertIn(text, str(error))
        await target.side.until(lambda: target.side.closed, "close")

    async def test_who_does_not_agree(self) -> None:
        for answer, text in (
            (lambda key: b"HTTP/1.1 404 Not Found\r\n\r\n", "it answered 404"),
            (lambda key: b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1/\r\n\r\n", "it answered 302"),
            (lambda key: agreed(raw.KEY), "to another handshake"),
            (lambda key: agreed(key, "stomp"), "none of the sub-protocols"),
            (lambda key: agreed(key)[:-2] + b"sec-websocket-extensions: permessage-deflate\r\n\r\n", "an extension"),
            (lambda key: wire.connack(), "malformed"),
            (lambda key: agreed(key).replace(b"upgrade:", b"upgrade :"), "malformed"),
            (lambda key: b"HTTP/1.1 101 x\r\nX: " + b"y" * 70000, "malformed"),
            (lambda key: b"", "it closed the connection"),
        ):
            await self.fails(answer, text)

    async def test_silence(self) -> None:
        await self.fails(lambda key: None, "no WebSocket handshake in 0.1 s", timeout=0.1)

    async def test_silence_inside_of_the_answer(self) -> None:
        await self.fails(lambda key: agreed(key)[:-1], "no WebSocket handshake in 0.1 s", timeout=0.1)

    async def test_who_dials_gives_up(self) -> None:
        target = RawTarget(self, lambda key: None)
        dialled: Deferred[Any] = towards(target.port, []).connect(Factory.forProtocol(Carried))
        await target.side.until(lambda: target.answered, "handshake")
        dialled.cancel()
        await self.assertFailure(dialled, CancelledError)
        await target.side.until(lambda: target.side.closed, "close")

    async def test_who_dials_gives_up_before_the_connection(self) -> None:
        never: Deferred[Any] = Deferred()
        below = type("Below", (), {"connect": lambda self, factory: never})()
        endpoint = WebSocketEndpoint(below, "a", "", reactor, limits=Limits(), timeout=1, report=print)
        dialled = endpoint.connect(Factory.forProtocol(Carried))
        dialled.cancel()
        await self.assertFailure(dialled, CancelledError)
        self.assertTrue(never.called)

    async def test_nobody_wants_it_any_more(self) -> None:
        class Nobody(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> None:
                return None

        target = RawTarget(self)
        await self.assertFailure(towards(target.port, []).connect(Nobody()), NotAgreed)
        await target.side.until(lambda: target.side.closed, "close")

    async def test_what_is_asked_for(self) -> None:
        target = RawTarget(self)
        dialled = await towards(target.port, [], path="/a?b=c").connect(Factory.forProtocol(Carried))
        lines = bytes(target.side.received).split(b"\r\n")
        self.assertEqual(lines[0], b"GET /a?b=c HTTP/1.1")
        self.assertIn(b"Host: 127.0.0.1:%d" % target.port, lines)
        self.assertIn(b"Sec-WebSocket-Protocol: mqtt", lines)
        dialled.close()
        await target.side.until(lambda: bool(target.frames), "close frame")
        self.assertEqual(target.frames, [raw.Parsed(8, b"\x03\xe8", masked=True)])
        target.side.send(raw.close(1000, key=None))
        await dialled.until(lambda: dialled.closed, "close")
        self.assertFalse(dialled.was_reset)

    async def test_a_frame_glued_to_the_answer(self) -> None:
        target = RawTarget(self, lambda key: agreed(key) + frame(2, b"at once", key=None))
        dialled = await towards(target.port, []).connect(Factory.forProtocol(Carried))
        await dialled.until(lambda: dialled.unread == b"at once", "frame")
        dialled.reset()
        await dialled.until(lambda: dialled.closed, "close")

    async def test_a_target_that_breaks_the_protocol(self) -> None:
        for bad, code in (
            (frame(2, b"masked"), 1002),
            (frame(1, b"text", key=None), 1003),
            (frame(2, key=None, size=1 << 40)[:10], 1009),
        ):
            reports: list[str] = []
            target = RawTarget(self, lambda key, bad=bad: agreed(key) + bad)  # type: ignore[misc]
            dialled = await towards(target.port, reports).connect(Factory.forProtocol(Carried))
            await dialled.until(lambda dialled=dialled: dialled.closed, "close")
            await target.side.until(lambda target=target: target.side.closed, "close", PATIENCE)
            self.assertEqual(target.frames[-1].payload[:2], code.to_bytes(2, "big"))
            self.assertEqual(len(reports), 1, reports)

    async def test_a_target_that_closes(self) -> None:
        target = RawTarget(self, lambda key: agreed(key) + raw.close(1001, key=None))
        dialled = await towards(target.port, []).connect(Factory.forProtocol(Carried))
        await dialled.until(lambda: dialled.closed, "close")
        await target.side.until(lambda: target.side.closed, "close of the socket")
        self.assertEqual(target.frames, [raw.Parsed(8, b"\x03\xe9", masked=True)])

    async def test_a_target_that_is_gone_answers_no_ping(self) -> None:
        reports: list[str] = []
        target = RawTarget(self)
        dialled = await towards(target.port, reports, ping_interval=0.05).connect(Factory.forProtocol(Carried))
        await dialled.until(lambda: dialled.closed, "close")
        self.assertEqual((target.frames, len(reports)), ([raw.Parsed(9, b"", masked=True)], 1))


class Behind(WebSocketTest):
    async def test_tls_and_a_proxy_header_below(self) -> None:
        behind = await self.websocket()
        contexts = ServerContexts(
            settings(client_ca_file=""), None, [b"http/1.1"], reactor,
            handshake=5.0, refused=lambda *_: None, failed=lambda error: self.fail(str(error)),
        )  # fmt: skip
        headers: list[bytes] = []

        class HeaderCutter(Protocol):
            def __init__(self, inner: Any) -> None:
                self.inner = inner

            def dataReceived(self, data: bytes) -> None:
                size = 16 + int.from_bytes(data[14:16], "big")
                headers.append(data[:size])
                transport: Any = self.transport
                transport.protocol = self.inner
                self.inner.makeConnection(transport)
                if data[size:]:
                    self.inner.dataReceived(data[size:])

        class Cutters(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> HeaderCutter:
                return HeaderCutter(secure.buildProtocol(addr))

        secure = TLSMemoryBIOFactory(contexts, False, behind.factory, reactor)
        behind.serve_through(Cutters())
        connections = TargetConnections(TargetTls(file("root.pem")), "localhost")

        def above(below: Any) -> WebSocketEndpoint:
            secured = TargetEndpoint(connections, below, reactor, timeout=5.0, report=self.fail)
            return WebSocketEndpoint(
                secured, "localhost", "/mqtt", reactor, limits=Limits(), timeout=5.0, report=self.fail, ping_interval=0
            )

        endpoint = Introducing(TCP4ClientEndpoint(reactor, "127.0.0.1", behind.port), above)
        front = await self.gateway(endpoints=[endpoint])
        device = await front.device()
        device.send(wire.connect())
        uplink = await behind.target.accepted()
        self.assertEqual(await device.read_packet(), wire.connack())
        packet = wire.publish("a", b"x" * 500_000)
        device.send(packet)
        await uplink.expect(packet)
        uplink.send(packet)
        self.assertEqual(await device.read_packet(), packet)
        self.assertEqual(headers[0][:12], b"\r\n\r\n\0\r\nQUIT\n")
        self.serves_at_the_end = False
