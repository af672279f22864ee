"""The gateway between devices and a target: hooks and their edits, keep-alive on both sides, streams, ends."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.protocols.tls import TLSMemoryBIOFactory

from mgate.handler import Denied, Handler, Interceptor, Message
from mgate.http.bodies import Chunked
from mgate.http.choices import Choices
from mgate.http.protocol import Handover, HttpDeviceFactory
from mgate.limits import Limits
from mgate.policy import Policy
from mgate.tls.contexts import ServerContexts
from tests.gateway import Flood, eventually
from tests.http.serving import OK, HttpTarget, HttpTest, answers, get, post, reactor, responses
from tests.tls import handshakes

HEAD = b"POST /messages/a HTTP/1.1\r\nHost: gate\r\n"


def status(answer: bytes) -> int:
    return int(answer[9:12])


class Hooks(HttpTest):
    """What handlers are asked and told, and what becomes of their answers."""

    async def test_order(self) -> None:
        asked: list[str] = []

        class Judge(Handler):
            def auth_connect(self, session: Any) -> None:
                asked.append(f"auth_connect {session.protocol} {session.id} {session.peer.host}")

            def auth_publish(self, session: Any, topic: str, payload: bytes) -> None:
                asked.append(f"auth_publish {topic} {payload!r} {session.packet.method}")

            def publish(self, session: Any, topic: str, payload: bytes) -> None:
                asked.append(f"publish {topic} {payload!r}")

        gateway = await self.serving(Judge())
        await gateway.asked(post("/messages/a", b"hello", "Authorization: Basic dTpw"))
        self.assertEqual(
            asked,
            [
                "auth_connect http u 127.0.0.1", "auth_publish messages/a b'hello' POST", "publish messages/a b'hello'",
            ],
        )  # fmt: skip

    async def test_edits_are_what_the_target_gets(self) -> None:
        class Editor(Handler):
            def auth_connect(self, session: Any) -> None:
                session.username, session.password = "other", b"secret"

            async def auth_publish(self, session: Any, topic: str, payload: bytes) -> Message:
                return Message("tenant/a b", b"longer " + payload)

        gateway = await self.serving(Editor())
        await gateway.asked(post("/messages/a?x=1", b"hello"))
        (request,) = gateway.target.requests
        self.assertTrue(request.startswith(b"POST /tenant/a%20b?x=1 HTTP/1.1\r\n"))
        self.assertTrue(request.endswith(b"content-length: 12\r\n\r\nlonger hello"))
        self.assertIn(b"\r\nauthorization: Basic b3RoZXI6c2VjcmV0\r\n", request)

    async def test_refusals(self) -> None:
        class Judge(Handler):
            def auth_publish(self, session: Any, topic: str, payload: bytes) -> Any:
                if b"kind " in payload:
                    raise Denied(payload[5:].decode(), "no")
                if payload == b"fault":
                    raise RuntimeError("broken")
                return "nonsense" if payload == b"nonsense" else None

        gateway = await self.serving(Judge())
        device = await gateway.device()
        expected = [
            (b"kind not authorised", 403), (b"kind quota", 429), (b"kind too large", 413), (b"kind bad topic", 400),
            (b"kind target slow", 504), (b"fault", 500), (b"nonsense", 500), (b"fine", 200),
        ]  # fmt: skip
        device.send(b"".join(post("/messages/a", payload) for payload, _ in expected))
        answered = await answers(device, len(expected))
        self.assertEqual([status(answer) for answer in answered], [code for _, code in expected])
        self.assertIn(b"retry-after: 1\r\n", answered[1])
        told = json.loads(answered[5].partition(b"\r\n\r\n")[2])
        self.assertEqual(told, {"message": "internal fault", "code": "internal_fault", "request_id": "http-1.6"})
        self.assertEqual([request[-4:] for request in gateway.target.requests], [b"fine"])
        self.assertEqual(gateway.counters.rejects["handler_fault"], 2)
        self.assertEqual(len(gateway.journal.faults), 2)

    async def test_slow_handlers_are_waited_for_in_order(self) -> None:
        waiting: list[Deferred[None]] = []

        class Slow(Handler):
            def auth_connect(self, session: Any) -> Any:
                if session.username != "slow":
                    return None
                waiting.append(Deferred())
                return waiting[-1]

        gateway = await self.serving(Slow())
        device = await gateway.device()
        device.send(post("/messages/1", b"1", "Authorization: Basic c2xvdzpw") + post("/messages/2", b"2"))
        await eventually(lambda: bool(waiting), lambda: "not asked")
        await gateway.asked(post("/messages/3"))
        self.assertEqual(len(gateway.target.requests), 1)
        waiting[0].callback(None)
        await answers(device, 2)
        self.assertEqual([one.split(b" ")[1][-1:] for one in gateway.target.requests], [b"3", b"1", b"2"])

    async def test_a_handler_that_never_answers(self) -> None:
        cancelled: list[Any] = []

        class Never(Handler):
            def auth_publish(self, session: Any, topic: str, payload: bytes) -> Any:
                return Deferred(cancelled.append) if topic == "messages/never" else None

        gateway = await self.serving(Never(), limits=Limits(handler_timeout=0.1))
        self.assertEqual(status((await gateway.asked(post("/messages/never")))[0]), 500)
        self.assertEqual(len(cancelled), 1)
        device = await gateway.device()
        device.send(post("/messages/never"))
        await eventually(lambda: gateway.counters.questions == 2, lambda: "not asked")
        await gateway.settle()
        self.assertEqual(len(cancelled), 2)
        self.assertEqual(gateway.target.received, b"")

    async def test_reads_are_subscriptions_and_deliveries(self) -> None:
        class Reader(Handler):
            def auth_subscribe(self, session: Any, filters: list[str]) -> Any:
                if filters == ["messages/closed"]:
                    return [Denied("not authorised")]
                return ["messages/open/b"] if filters == ["messages/b"] else None

            def auth_deliver(self, session: Any, topic: str, payload: bytes) -> Any:
                if topic == "messages/secret":
                    raise Denied("not authorised", "not for you")
                return Message(payload=b"judged " + payload)

        gateway = await self.serving(Reader())
        device = await gateway.device()
        fields = ("Accept-Encoding: gzip", "Range: bytes=1-2")
        paths = ("/messages/closed", "/messages/secret", "/messages/b")
        device.send(b"".join(get(path, *fields) for path in paths) + get("/messages/c", method="DELETE"))
        answered = await answers(device, 4)
        self.assertEqual([status(answer) for answer in answered], [403, 403, 200, 200])
        self.assertTrue(answered[2].endswith(b"content-length: 9\r\n\r\njudged ok"))
        self.assertNotIn(b"gzip", gateway.target.received)
        self.assertNotIn(b"bytes=", gateway.target.received)
        self.assertEqual(gateway.target.requests[1].split(b" ")[1], b"/messages/open/b")

    async def test_interceptors(self) -> None:
        class Stamp(Interceptor):
            def after(self, session: Any, packet: Any, direction: Any) -> Any:
                packet.fields.append((b"x-stamp", direction.value.encode()))
                packet.payload += b"!"

        gateway = await self.serving(Stamp())
        (answer,) = await gateway.asked(post())
        self.assertIn(b"\r\nx-stamp: downlink\r\n", answer)
        self.assertTrue(answer.endswith(b"content-length: 3\r\n\r\nok!"))
        (request,) = gateway.target.requests
        self.assertIn(b"\r\nx-stamp: uplink\r\n", request)
        self.assertTrue(request.endswith(b"content-length: 6\r\n\r\nhello!"))

    async def test_bypass_is_anchored_and_unasked(self) -> None:
        class Nobody(Handler):
            def auth_connect(self, session: Any) -> None:
                raise Denied("bad credentials")

        self.serves_at_the_end = False
        gateway = await self.serving(Nobody())
        (answer,) = await gateway.asked(get("/health"))
        self.assertEqual(status(answer), 200)
        for path in ("/healthz", "/health/x", "/a/health"):
            await gateway.refused(get(path), 404)

    async def test_the_target_refuses_and_nobody_is_told_of_a_publish(self) -> None:
        told: list[str] = []

        class Told(Handler):
            def publish(self, session: Any, topic: str, payload: bytes) -> None:
                told.append(topic)

        gateway = await self.serving(Told())
        gateway.target.answer = lambda side, request: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(status((await gateway.asked(post()))[0]), 404)
        self.assertEqual(told, [])

    async def test_stripped_prefix(self) -> None:
        choices = Choices(path_prefix="/p", strip_prefix=True, target_path="/messages")
        gateway = await self.serving(choices=choices)
        self.serves_at_the_end = False
        await gateway.asked(get("/p/messages/x"))
        self.assertEqual(gateway.target.requests[0].split(b" ")[1], b"/messages/x")
        for path in ("/p", "/p/other", "/p/messages", "/p/messagesX/x", "/messages/x"):
            await gateway.refused(get(path), 404)


class Connections(HttpTest):
    """Keep-alive, the pool, retries."""

    async def test_connections_are_kept_on_both_sides(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        for count in range(1, 4):
            device.send(post())
            await answers(device, count)
        await gateway.asked(get())
        self.assertEqual(len(gateway.target.sides), 1)
        self.assertEqual(gateway.counters.target_dials, 1)

    async def test_connections_are_not_shared_where_the_target_is_told_of_devices(self) -> None:
        gateway = await self.serving(shared=False)
        await gateway.asked(get())
        await gateway.asked(get())
        self.assertEqual(gateway.counters.target_dials, 2)

    async def test_http_1_0(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        device.send(get(version="1.0"))
        self.assertIn(b"connection: close", await device.read_until_closed())
        device = await gateway.device()
        device.send(get("/messages/a", "Connection: keep-alive", version="1.0"))
        (answer,) = await answers(device)
        self.assertIn(b"connection: keep-alive", answer)
        gateway.target.answer = lambda side, request: (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        )
        device.send(get("/messages/a", "Connection: keep-alive", version="1.0"))
        self.assertTrue((await device.read_until_closed()).endswith(b"connection: close\r\n\r\nok"))

    async def test_a_body_that_ends_with_the_connection(self) -> None:
        gateway = await self.serving()

        def answer(side: Any, request: bytes) -> None:
            side.send(b"HTTP/1.1 200 OK\r\n\r\nall")
            side.close()

        gateway.target.answer = answer
        device = await gateway.device()
        for count in (1, 2):
            device.send(get())
            self.assertTrue((await answers(device, count))[-1].endswith(b"chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n"))

    async def test_a_kept_connection_that_the_target_closed_is_not_used(self) -> None:
        gateway = await self.serving()
        for _ in range(5):
            await gateway.asked(post())
            gateway.target.sides[-1].close()
            (answer,) = await gateway.asked(post())
            self.assertEqual(status(answer), 200)

    async def test_only_idempotent_requests_are_sent_again(self) -> None:
        gateway = await self.serving()
        for request, code, times in ((post(), 502, 1), (get(), 200, 2), (get(method="DELETE"), 200, 2)):
            gateway.target.answer = lambda side, request: OK
            await gateway.asked(get())
            before, closed = len(gateway.target.requests), []

            def answer(side: Any, request: bytes, closed: list[Any] = closed) -> bytes | None:
                if closed:
                    return OK
                closed.append(side)
                side.close()
                return None

            gateway.target.answer = answer
            (answered,) = await gateway.asked(request)
            self.assertEqual(status(answered), code)
            self.assertEqual(len(gateway.target.requests) - before, times)

    async def test_the_target_is_down(self) -> None:
        gateway = await self.serving()
        self.serves_at_the_end = False
        await gateway.target.stop()
        device = await gateway.device()
        device.send(post() + get())
        answered = await answers(device, 2)
        self.assertEqual([status(answer) for answer in answered], [502, 502])
        self.assertEqual(gateway.counters.target_failures, 2)

    async def test_http_answer_timeout_of_a_silent_target(self) -> None:
        gateway = await self.serving(limits=Limits(http_answer_timeout=0.2))
        gateway.target.answer = lambda side, request: None
        (answer,) = await gateway.asked(post())
        self.assertEqual(status(answer), 504)
        await gateway.target.sides[0].until(lambda: gateway.target.sides[0].closed, "close")

    async def test_the_target_cuts_a_response(self) -> None:
        gateway = await self.serving()

        def answer(side: Any, request: bytes) -> None:
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            reactor.callLater(0.05, side.close)

        gateway.target.answer = answer
        device = await gateway.device()
        device.send(get())
        await device.until(lambda: device.closed, "close")
        self.assertTrue(device.was_reset)

    async def test_http_max_idle_targets(self) -> None:
        gateway = await self.serving(limits=Limits(http_max_idle_targets=1))
        held: list[Any] = []
        gateway.target.answer = lambda side, request: held.append(side)
        devices = [await gateway.device() for _ in range(2)]
        for device in devices:
            device.send(get())
        await eventually(lambda: len(held) == 2, lambda: f"{len(held)} requests")
        for side in held:
            side.send(OK)
        for device in devices:
            await answers(device, 1)
        await eventually(lambda: [side.closed for side in held].count(True) == 1, lambda: "both are kept, or none")

    async def test_http_target_keep_alive_closes_unused_connections(self) -> None:
        gateway = await self.serving(limits=Limits(http_target_keep_alive=0.1, http_keep_alive=0.4))
        await gateway.asked(get())
        side = gateway.target.sides[0]
        await side.until(lambda: side.closed, "close")

    async def test_a_device_that_is_gone_is_not_missed(self) -> None:
        told: list[str] = []

        class Told(Handler):
            def publish(self, session: Any, topic: str, payload: bytes) -> None:
                told.append(topic)

        gateway = await self.serving(Told())
        held: list[Any] = []
        gateway.target.answer = lambda side, request: held.append(side)
        device = await gateway.device()
        device.send(post("/messages/last"))
        await eventually(lambda: bool(held), lambda: "no request")
        device.reset()
        await eventually(lambda: device.closed, lambda: "open")
        held[0].send(OK)
        await gateway.released()
        self.assertEqual(told, ["messages/last"])

    async def test_half_closed_devices_get_their_answers(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        device.send(post() + get())
        device.fin()
        self.assertEqual(len(responses(await device.read_until_closed())), 2)

    async def test_refused_bodies_are_skipped(self) -> None:
        class Nobody(Handler):
            def auth_connect(self, session: Any) -> None:
                if session.username is None:
                    raise Denied("bad credentials")

        self.serves_at_the_end = False
        gateway = await self.serving(Nobody())
        device = await gateway.device()
        device.send(HEAD + b"Content-Length: 30\r\n\r\nGET /smuggled ")
        (answer,) = await answers(device)
        self.assertEqual(status(answer), 401)
        device.send(b"HTTP/1.1\r\n\r\n.x.x" + post("/messages/a", b"hello", "Authorization: Basic dTpw"))
        self.assertEqual(status((await answers(device, 2))[1]), 200)
        self.assertEqual(len(gateway.target.requests), 1)

    async def test_drain(self) -> None:
        gateway = await self.serving()
        self.serves_at_the_end = False
        idle = await gateway.device()
        idle.send(get())
        await answers(idle)
        held: list[Any] = []
        gateway.target.answer = lambda side, request: held.append(side)
        busy = await gateway.device()
        busy.send(post())
        await eventually(lambda: bool(held), lambda: "no request")
        half = await gateway.device()
        half.send(get() + b"GET /mess")
        await eventually(lambda: len(held) > 1, lambda: "no request")
        held[1].send(OK)
        await answers(half)
        drained = gateway.factory.drain()
        await idle.until(lambda: idle.closed, "close of the idle one")
        held[0].send(OK)
        self.assertIn(b"connection: close", await busy.read_until_closed())
        self.assertIn(b"HTTP/1.1 503 ", await half.read_until_closed())
        await drained

    async def test_drain_does_not_wait_for_ever(self) -> None:
        gateway = await self.serving(limits=Limits(drain_timeout=0.1))
        self.serves_at_the_end = False
        gateway.target.answer = lambda side, request: None
        device = await gateway.device()
        device.send(post())
        await eventually(lambda: bool(gateway.target.requests), lambda: "no request")
        await gateway.factory.drain()
        await device.until(lambda: device.closed, "close")

    async def test_limits_of_connections(self) -> None:
        gateway = await self.serving(limits=Limits(max_connections_per_address=1))
        first = await gateway.device()
        second = await gateway.device()
        await second.until(lambda: second.closed, "close")
        self.assertEqual(gateway.counters.rejects, {"max_connections_per_address": 1})
        first.send(get())
        await answers(first)


class Streams(HttpTest):
    """Large bodies pass piece by piece, and no faster than they are taken."""

    async def test_upload_in_pieces(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        body = bytes(range(256)) * 1024
        device.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:100_000])
        await eventually(lambda: len(gateway.target.received) > 60_000, lambda: "nothing was passed on")
        device.send(body[100_000:])
        await answers(device)
        self.assertTrue(gateway.target.requests[0].endswith(body))

    async def test_chunked_upload_in_pieces(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        device.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            device.send(b"2000;x=y\r\n" + b"x" * 8192 + b"\r\n")
        await eventually(lambda: len(gateway.target.received) > 60_000, lambda: "nothing was passed on")
        device.send(b"0\r\nX-Trailer: 1\r\n\r\n")
        await answers(device)
        (request,) = gateway.target.requests
        self.assertIn(b"transfer-encoding: chunked", request)
        body = Chunked()
        self.assertEqual(body.feed(request.partition(b"\r\n\r\n")[2]), (b"x" * 8192 * 20, b""))
        self.assertTrue(body.done)
        self.assertNotIn(b"railer", request)

    async def test_an_upload_that_stops_never_is_a_whole_request(self) -> None:
        gateway = await self.serving(limits=Limits(http_body_timeout=0.3))
        device = await gateway.device()
        device.send(HEAD + b"Content-Length: 200000\r\n\r\n" + b"x" * 100_000)
        self.assertEqual(status(await device.read_until_closed()), 408)
        await gateway.target.sides[0].until(lambda: gateway.target.sides[0].closed, "close")
        self.assertEqual(gateway.target.requests, [])

    async def test_an_early_answer(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        device.send(HEAD + b"Content-Length: 200000\r\n\r\n" + b"x" * 100_000)
        await eventually(lambda: len(gateway.target.received) > 60_000, lambda: "nothing was passed on")
        gateway.target.sides[0].send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        data = await device.read_until_closed()
        self.assertEqual(status(data), 413)
        self.assertIn(b"connection: close", data)

    async def test_a_device_that_does_not_read_stops_the_target(self) -> None:
        gateway = await self.serving()
        total = 64 * 1024 * 1024
        gateway.target.answer = lambda side, request: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total
        device = await gateway.device()
        device.stop_reading()
        device.send(get())
        await eventually(lambda: bool(gateway.target.requests), lambda: "no request")
        flood = Flood(gateway.target.sides[0], b"x" * 65536, total)
        taken = await flood.stalled()
        self.assertLess(taken, 16 * 1024 * 1024)
        device.read_on()
        await device.until(lambda: len(device.received) > total, "all of it", 20)

    async def test_a_target_that_does_not_read_stops_the_device(self) -> None:
        gateway = await self.serving(limits=Limits(http_max_body=64 * 1024 * 1024))
        total = 48 * 1024 * 1024
        device = await gateway.device()
        device.send(HEAD + b"Content-Length: %d\r\n\r\n" % total)
        device.send(b"x" * 65536)
        await eventually(lambda: bool(gateway.target.sides), lambda: "not dialled")
        gateway.target.sides[0].stop_reading()
        flood = Flood(device, b"x" * 65536, total - 65536)
        self.assertLess(await flood.stalled(), 24 * 1024 * 1024)
        gateway.target.sides[0].read_on()
        await eventually(lambda: flood.left <= 0, lambda: f"{flood.left} left", 20)
        device.reset()


class Successor(Protocol):
    """Echoes in capitals."""

    def connectionMade(self) -> None:
        self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())


class Upgrades(HttpTest):
    """WebSockets are authorised here, and served by somebody else."""

    async def test_handover(self) -> None:
        taken: list[Handover] = []

        def upgrade(handover: Handover) -> Successor:
            taken.append(handover)
            return Successor()

        gateway = await self.serving(upgrade=upgrade)
        device = await gateway.device()
        device.send(get("/messages/a", "Connection: keep-alive, Upgrade", "Upgrade: websocket") + b"behind")
        await device.until(lambda: device.received.endswith(b"BEHIND"), "echo")
        device.send(b"more")
        await device.until(lambda: device.received.endswith(b"MORE"), "echo")
        self.assertEqual(taken[0].exchange.request.topic, "messages/a")
        self.assertTrue(taken[0].raw.startswith(b"GET /messages/a HTTP/1.1\r\n"))
        self.assertEqual(gateway.target.received, b"")
        device.close()
        await gateway.released()

    async def test_it_is_authorised_first_and_may_be_refused(self) -> None:
        class Nobody(Handler):
            def auth_connect(self, session: Any) -> None:
                if session.username == "evil":
                    raise Denied("bad credentials")

        def upgrade(handover: Handover) -> Any:
            raise Denied("target down", "later")

        gateway = await self.serving(Nobody(), upgrade=upgrade)
        fields = ("Connection: Upgrade", "Upgrade: websocket")
        await gateway.refused(get("/messages/a", *fields, "Authorization: Basic ZXZpbDpw"), 401)
        await gateway.refused(get("/messages/a", *fields) + get("/messages/b"), 502)


    async def test_it_may_be_refused_later(self) -> None:
        taken: list[Handover] = []

        class Waits(Protocol):
            def dataReceived(self, data: bytes) -> None:
                raise AssertionError(data)

        def upgrade(handover: Handover) -> Waits:
            taken.append(handover)
            return Waits()

        gateway = await self.serving(upgrade=upgrade)
        device = await gateway.device()
        device.send(get("/messages/a", "Connection: Upgrade", "Upgrade: websocket"))
        await eventually(lambda: bool(taken), lambda: "not taken over")
        taken[0].device.refuse(Denied("target slow"))
        device.send(get("/messages/b"))
        data = await device.read_until_closed()
        self.assertEqual((status(data), data.count(b"HTTP/1.1")), (504, 1))
        self.assertEqual(gateway.target.received, b"")


class Ends(HttpTest):
    """What seldom happens, and must not keep others from being served."""

    async def test_the_next_address_is_dialled(self) -> None:
        nobody = TCP4ClientEndpoint(reactor, "127.0.0.1", 1)
        target = HttpTarget()
        gateway = await self.serving(endpoints=[nobody, target.endpoint()])
        await gateway.target.stop()
        gateway.target = target
        self.assertEqual(status((await gateway.asked(post()))[0]), 200)
        self.assertEqual((gateway.counters.target_dials, gateway.counters.target_failures), (2, 1))

    async def test_a_target_that_can_not_be_dialled_in_time(self) -> None:
        class Nowhere:
            cancelled = 0

            def connect(self, factory: Any) -> Deferred[Any]:
                return Deferred(self.cancel)

            def cancel(self, _: Any) -> None:
                self.cancelled += 1

        nowhere = Nowhere()
        self.serves_at_the_end = False
        gateway = await self.serving(endpoints=[nowhere], limits=Limits(dial_timeout=0.1))
        self.assertEqual(status((await gateway.asked(post()))[0]), 504)
        self.assertEqual(nowhere.cancelled, 1)
        gateway.factory.limits, gateway.factory.pool.limits = Limits(drain_timeout=0.1), Limits()
        device = await gateway.device()
        device.send(post())
        await eventually(lambda: gateway.counters.target_dials == 2, lambda: "not dialled")
        await gateway.factory.drain()
        self.assertEqual(nowhere.cancelled, 2)

    async def test_a_fault_of_the_gateway_ends_one_connection(self) -> None:
        gateway = await self.serving()
        rules = gateway.factory.rules
        self.patch(rules, "read", lambda head, local: 1 / 0)
        device = await gateway.device()
        device.send(get())
        self.assertEqual(status(await device.read_until_closed()), 500)
        self.assertEqual(len(gateway.journal.faults), 1)
        self.patch(rules, "read", type(rules).read.__get__(rules))

    async def test_a_device_that_stays_after_its_refusal(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        device.send(b"GARBAGE\r\n\r\n")
        await device.until(lambda: device.received.endswith(b"}\n"), "refusal")
        with contextlib.suppress(AssertionError):
            await eventually(lambda: device.closed, lambda: "", 0.05)
        for protocol in gateway.factory.open:
            protocol.look(0.0)
        await gateway.released()

    async def test_a_device_that_goes_on_after_its_refusal(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        before = gateway.refusals
        device.send(b"GARBAGE\r\n\r\n" + b"x" * 4 * 1024 * 1024)
        await device.until(lambda: device.closed, "close")
        self.assertEqual(gateway.refusals, before + 1)

    async def test_a_device_that_does_not_read_its_refusals(self) -> None:
        class Judge(Handler):
            def auth_subscribe(self, session: Any, filters: list[str]) -> None:
                raise Denied("not authorised")

        limits = Limits(http_head_timeout=0.3, write_buffer_high=16 * 1024)
        gateway = await self.serving(Judge(), limits=limits)
        device = await gateway.device()
        device.stop_reading()
        flood = Flood(device, get() * 100, 64 * 1024 * 1024)
        await eventually(lambda: gateway.counters.connections == 0, lambda: "still served", 10)
        self.assertLess(flood.pushed, 32 * 1024 * 1024)
        device.read_on()

    async def test_many_refusals_at_once(self) -> None:
        class Judge(Handler):
            def auth_subscribe(self, session: Any, filters: list[str]) -> None:
                raise Denied("not authorised")

        gateway = await self.serving(Judge())
        device = await gateway.device()
        device.send(get() * 1000)
        answered = await answers(device, 1000)
        self.assertEqual({status(answer) for answer in answered}, {403})
        self.assertIn(b"http-1.1000", answered[-1])
        device.send(get() * 1000)
        device.reset()

    async def test_a_device_that_does_not_read_is_given_up(self) -> None:
        limits = Limits(http_answer_timeout=0.2, drain_timeout=0.2)
        gateway = await self.serving(limits=limits)
        total = 64 * 1024 * 1024
        gateway.target.answer = lambda side, request: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total
        device = await gateway.device()
        device.stop_reading()
        device.send(get())
        await eventually(lambda: bool(gateway.target.requests), lambda: "no request")
        Flood(gateway.target.sides[0], b"x" * 65536, total)
        await eventually(lambda: gateway.counters.connections == 0, lambda: "still served", 10)
        device.read_on()

    async def test_reload(self) -> None:
        class Nobody(Handler):
            def auth_connect(self, session: Any) -> None:
                raise Denied("bad credentials")

        gateway = await self.serving(Nobody())
        old = await gateway.device()
        old.send(get())
        self.assertEqual(status((await answers(old))[0]), 401)
        factory = gateway.factory
        factory.adopt(factory.pool.targets, Policy([]), factory.limits, factory.choices)
        self.assertEqual(status((await gateway.asked(get()))[0]), 200)
        old.send(get())
        self.assertEqual(status((await answers(old, 2))[1]), 401)

    async def test_a_judged_response_has_a_limit(self) -> None:
        class Reader(Handler):
            def auth_deliver(self, session: Any, topic: str, payload: bytes) -> None: ...

        gateway = await self.serving(Reader(), limits=Limits(http_max_body=1000))
        gateway.target.answer = lambda side, request: b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001
        self.assertEqual(status((await gateway.asked(get()))[0]), 502)

        def answer(side: Any, request: bytes) -> None:
            side.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)
            side.close()

        gateway.target.answer = answer
        self.assertTrue((await gateway.asked(get()))[0].endswith(b"content-length: 1000\r\n\r\n" + b"x" * 1000))

    async def test_a_factory_needs_a_target(self) -> None:
        with self.assertRaises(ValueError):
            HttpDeviceFactory(reactor, [], Policy([]))


class Encrypted(HttpTest):
    async def test_certificates_are_in_the_session(self) -> None:
        seen: list[Any] = []

        class Judge(Handler):
            def auth_publish(self, session: Any, topic: str, payload: bytes) -> None:
                if session.certificate is not None:
                    seen.append((session.certificate.common_name, len(payload)))

        gateway = await self.serving(Judge())
        contexts = ServerContexts(handshakes.settings(), None, [b"http/1.1"], reactor)
        factory = TLSMemoryBIOFactory(contexts, False, gateway.factory, reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: port.stopListening())
        arguments = [
            "-sS", "-m", "5", "--cacert", handshakes.file("root.pem"), "--cert", handshakes.file("client-good.pem"),
            "--key", handshakes.file("client-good.key"), "--connect-to", f"::127.0.0.1:{port.getHost().port}",
            "-d", "x" * 100_000, "https://localhost/messages/a",
        ]  # fmt: skip
        out, err, code = await getProcessOutputAndValue("curl", arguments, reactor=reactor)
        self.assertEqual((out, code), (b"ok", 0), err)
        self.assertEqual([length for _, length in seen], [100_000])
        self.assertTrue(seen[0][0])


class RealClients(HttpTest):
    async def test_curl(self) -> None:
        class Judge(Handler):
            def auth_connect(self, session: Any) -> None:
                if session.username != "u":
                    raise Denied("bad credentials", "who are you?")

        self.serves_at_the_end = False
        gateway = await self.serving(Judge())
        url = f"http://127.0.0.1:{gateway.port}/messages/a"
        large = "x" * 100_000

        async def curl(*arguments: str) -> str:
            out, _, code = await getProcessOutputAndValue("curl", ["-sS", "-m", "5", *arguments], reactor=reactor)
            self.assertEqual(code, 0)
            return str(out.decode())

        self.assertEqual(await curl("-u", "u:p", "-d", "hello", url), "ok")
        self.assertEqual(await curl("-u", "u:p", "-X", "PUT", "-d", large, "-H", "Expect: 100-continue", url), "ok")
        self.assertEqual(await curl("-u", "u:p", "-H", "Transfer-Encoding: chunked", "-d", large, url), "ok")
        self.assertEqual(await curl("-u", "u:p", url, url), "okok")
        answer = json.loads(await curl(url))
        self.assertEqual(answer["message"], "who are you?")
        self.assertEqual([len(one) > 100_000 for one in gateway.target.requests], [False, True, True, False, False])
