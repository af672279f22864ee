"""A running HTTP gateway between raw sockets: `tests.gateway` for requests and responses.

`HttpTest.serving` starts an `HttpDeviceFactory` in front of an `HttpTarget`, which keeps every byte and answers each
whole request with its `answer`. Every test ends with a fresh device whose request is served.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from mgate.counters import Counters
from mgate.http.choices import Choices
from mgate.http.protocol import HttpDeviceFactory
from mgate.limits import Limits
from mgate.policy import Policy
from tests.gateway import PATIENCE, Gateway, RawDevice, RecordingJournal, Wire, eventually

__all__ = ["OK", "HttpGateway", "HttpTarget", "HttpTest", "TargetSide", "get", "post", "responses"]

reactor: Any = installed_reactor

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[["TargetSide", bytes], "bytes | None"]


def post(path: str = "/messages/a", body: bytes = b"hello", *fields: str, version: str = "1.1") -> bytes:
    """A POST."""
    lines = [f"POST {path} HTTP/{version}", "Host: gate", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def get(path: str = "/messages/a", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A GET, or another request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: gate", *fields, "", ""]).encode("latin-1")


def _message(data: bytes, bodiless: bool = False) -> int:
    """Bytes of the first whole message in `data`, or 0."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return 0
    head = data[:end].lower()
    length = re.search(rb"\r\ncontent-length: *(\d+)", head)
    if bodiless or re.match(rb"http/1.1 (1\d\d|204|304)", head):
        return end
    if b"transfer-encoding: chunked" in head:
        stop = data.find(b"0\r\n\r\n", end) if not data[end:].startswith(b"0\r\n\r\n") else end
        return stop + 5 if stop >= 0 else 0
    size = end + (int(length[1]) if length else 0)
    return size if len(data) >= size else 0


def responses(data: bytes) -> list[bytes]:
    """The whole messages in `data`."""
    found = []
    while size := _message(data):
        found.append(data[:size])
        data = data[size:]
    return found


class TargetSide(Wire):
    """One connection that the gateway opened to the target."""

    def __init__(self, target: HttpTarget) -> None:
        super().__init__()
        self.target = target
        self.requests: list[bytes] = []
        self._rest = b""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.target.sides.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._rest += data
        while size := _message(self._rest):
            request, self._rest = self._rest[:size], self._rest[size:]
            self.requests.append(request)
            answer = self.target.answer(self, request)
            if answer:
                self.transport.write(answer)
        self._changed()


class HttpTarget(Factory):
    """A web server as far as a test needs one."""

    noisy = False

    def __init__(self) -> None:
        self.sides: list[TargetSide] = []
        self.answer: Answer = lambda side, request: OK
        self.listening: Any = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port: int = self.listening.getHost().port

    def buildProtocol(self, addr: Any) -> TargetSide:
        return TargetSide(self)

    @property
    def requests(self) -> list[bytes]:
        """All whole requests."""
        return [request for side in self.sides for request in side.requests]

    @property
    def received(self) -> bytes:
        """All bytes."""
        return b"".join(bytes(side.received) for side in self.sides)

    def endpoint(self) -> TCP4ClientEndpoint:
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)

    async def stop(self) -> None:
        await (self.listening.stopListening() or succeed(None))


class HttpGateway(Gateway):
    """A gateway that listens for HTTP."""

    target: HttpTarget

    async def asked(self, data: bytes, count: int = 1) -> list[bytes]:
        """Send bytes on a new connection; the first `count` whole responses."""
        device = await self.device()
        device.send(data)
        return await answers(device, count)

    async def refused(self, data: bytes, *statuses: int, patience: float = PATIENCE) -> bytes:
        """Send bytes on a new connection, which must be refused and closed without a byte for the target."""
        before, refusals = len(self.target.received), self.refusals
        device = await self.device()
        device.send(data)
        answer = await device.read_until_closed(patience)
        status = int(answer[9:12]) if answer[:9] == b"HTTP/1.1 " else 0
        if status not in statuses:
            raise AssertionError(f"expected {statuses}, got {answer[:200]!r}")
        if answer.count(b"HTTP/1.1 ") != 1:
            raise AssertionError(f"more than one answer: {answer!r}")
        if len(self.target.received) != before:
            raise AssertionError(f"the target received {self.target.received[before:]!r}")
        if self.refusals != refusals + 1 or len(self.journal.rejects) != self.refusals:
            raise AssertionError(f"counted {self.refusals - refusals} refusals, reported {self.journal.rejects}")
        return answer

    async def released(self, patience: float = PATIENCE) -> None:
        await eventually(
            lambda: self.counters.connections == 0 and all(one.closed for one in self.devices),
            lambda: f"{self.counters.connections} connections counted",
            patience,
        )

    async def serve_another(self) -> None:
        self.target.answer = lambda side, request: OK
        before = len(self.target.requests)
        answer = (await self.asked(post("/messages/witness", b"still here")))[0]
        if not answer.startswith(b"HTTP/1.1 200") or len(self.target.requests) != before + 1:
            raise AssertionError(f"the gateway does not serve: {answer!r}")


async def answers(device: RawDevice, count: int = 1) -> list[bytes]:
    """The next whole responses that a device gets; all that came is counted from the start."""
    await device.until(lambda: len(responses(device.received)) >= count or device.closed, f"{count} responses")
    found = responses(bytes(device.received))
    if len(found) < count:
        raise AssertionError(f"closed after {len(found)} responses: {bytes(device.received[:300])!r}")
    return found


class HttpTest(TestCase):
    """Base of the tests with a running HTTP gateway."""

    timeout = 30
    serves_at_the_end = True

    async def serving(
        self,
        *handlers: Any,
        limits: Limits | None = None,
        choices: Choices | None = None,
        endpoints: Any = None,
        **more: Any,
    ) -> HttpGateway:
        """Start a gateway that serves what is below ``/messages``."""
        target, counters, journal = HttpTarget(), Counters(), RecordingJournal()
        factory = HttpDeviceFactory(
            reactor,
            endpoints or [target.endpoint()],
            Policy([(type(one).__name__, one) for one in handlers]),
            limits=limits or Limits(),
            choices=choices or Choices(path_prefix="/messages", target_host=b"target:80"),
            counters=counters,
            listener="http",
            journal=journal,  # type: ignore[arg-type]
            **more,
        )
        gateway = HttpGateway(factory, target, counters, journal)  # type: ignore[arg-type]
        self.addCleanup(self._end, gateway)
        return gateway

    async def _end(self, gateway: HttpGateway) -> None:
        try:
            await gateway.settle()
            if self.serves_at_the_end:
                await gateway.serve_another()
        finally:
            for device in gateway.devices:
                device.reset()
            await gateway.released()
            await (gateway._listening.stopListening() or succeed(None))
            await gateway.factory.drain()
            await gateway.target.stop()
            for side in gateway.target.sides:
                side.reset()
            sides = gateway.target.sides
            await eventually(lambda: all(side.closed for side in sides), lambda: "a side of the target is open")
