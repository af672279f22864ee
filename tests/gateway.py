"""A running gateway between raw sockets, for tests that see it as its users do.

::

    class Case(GatewayTest):
        async def test_publish_reaches_the_target(self):
            gateway = await self.gateway()
            device = await gateway.connected(version=5)
            device.send(publish("a/b", b"x", version=5))
            await device.uplink.expect(publish("a/b", b"x", version=5))

The parts, all on free ports of the loopback interface:

- `GatewayTest.gateway` starts an `MqttDeviceFactory` in front of a `RecordingTarget` and stops both after the test.
  Before that, every test ends with `Gateway.serve_another`: whatever the test did, a fresh device must be able to
  connect and to publish.
- `RawDevice` writes the bytes it is told to and keeps what comes back.
- `RecordingTarget` keeps every byte of every connection, and answers as a broker would, or as a `Script` says.
- `RecordingJournal` and `Gateway.counters` hold what the gateway says of itself.

All waiting is for events, and fails after `PATIENCE` seconds with what had come by then.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mgate.counters import Counters
from mgate.limits import Limits
from mgate.mqtt.protocol import MqttDeviceFactory
from mgate.policy import Policy
from tests import wire

__all__ = [
    "PATIENCE", "WITNESS", "Flood", "Gateway", "GatewayTest", "RawDevice", "RecordingJournal", "RecordingTarget",
    "Script", "TargetSide", "Wire", "eventually",
]  # fmt: skip

reactor: Any = installed_reactor

PATIENCE = float(os.environ.get("MGATE_TEST_PATIENCE", "5"))
"""Seconds after which what a test waits for counts as never coming; slow machines may need more."""

WITNESS = "witness"
"""The client identifier of the device that shows, after a test, that others are served. Handlers that misbehave on
purpose must leave it alone."""


def _shown(data: bytes | bytearray) -> str:
    return f"{len(data)} bytes {bytes(data[:64]).hex(' ')}{' ...' if len(data) > 64 else ''}"


def _bound_kernel_buffers(handle: Any) -> None:
    """Keep Linux from growing the buffers of a socket to 32 MiB, behind which back-pressure would not show."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        handle.setsockopt(socket.SOL_SOCKET, option, 128 * 1024)


async def eventually(condition: Callable[[], bool], what: Callable[[], str], patience: float = PATIENCE) -> None:
    """Wait for `condition` where no event tells of it: it is looked at again after every few turns of the reactor."""
    end = reactor.seconds() + patience
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError(f"not after {patience} s: {what()}")
        await deferLater(reactor, 0.002)


class Wire(Protocol):
    """One end of a TCP connection: the bytes that came, and ways to wait for more of them."""

    def __init__(self) -> None:
        self.received = bytearray()
        """All that ever came."""
        self.closed = False
        self.was_reset = False
        """Closed by a reset of the peer, not by its FIN."""
        self._read = 0
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._changed()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.closed = True
        self.was_reset = reason.check(ConnectionLost) is not None
        self._changed()

    def _changed(self) -> None:
        for condition, waiting in list(self._waiting):
            if not waiting.called and condition():
                waiting.callback(None)

    async def until(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Wait until `condition` holds; it is looked at when bytes come and when the connection ends.

        Raises:
            AssertionError: it did not hold in time.
        """
        if condition():
            return
        waiting: Deferred[None] = Deferred()
        entry = (condition, waiting)
        self._waiting.append(entry)
        waiting.addTimeout(patience, reactor)
        try:
            await waiting
        except TimeoutError:
            state = "closed" if self.closed else "open"
            raise AssertionError(f"no {what} in {patience} s; {state}, {_shown(self.received)}") from None
        finally:
            self._waiting.remove(entry)

    @property
    def unread(self) -> bytes:
        """What came and was not yet given out."""
        return bytes(self.received[self._read :])

    async def read_packet(self) -> bytes:
        """The next whole packet.

        Raises:
            AssertionError: the connection ended, or the time, before there was one.
        """
        await self.until(lambda: bool(wire.packets(self.unread)[0]) or self.closed, "packet")
        found, _ = wire.packets(self.unread)
        if not found:
            raise AssertionError(f"closed instead of a packet, unread {_shown(self.unread)}")
        self._read += len(found[0])
        return found[0]

    async def read_until_closed(self, patience: float = PATIENCE) -> bytes:
        """Everything that was not yet given out, when the peer has closed."""
        await self.until(lambda: self.closed, "close", patience)
        rest = self.unread
        self._read = len(self.received)
        return rest

    def send(self, data: bytes) -> None:
        """Write `data` in one piece."""
        self.transport.write(data)

    def fin(self) -> None:
        """Send a FIN, and keep reading."""
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close after what was written."""
        self.transport.loseConnection()

    def reset(self) -> None:
        """Send a RST, now."""
        self.transport.abortConnection()

    def stop_reading(self) -> None:
        """Leave what comes in the buffers of the kernel, until `read_on`."""
        self.transport.pauseProducing()

    def read_on(self) -> None:
        """Read again."""
        self.transport.resumeProducing()


class Flood:
    """Pushes bytes into one end of a connection as fast as its transport takes them, and counts them.

    Args:
        end: a device, or a target's side.
        chunk: what is pushed, again and again.
        total: bytes to stop after.

    Attributes:
        pushed: bytes that the transport has taken.
    """

    def __init__(self, end: Wire, chunk: bytes, total: int) -> None:
        self.end = end
        self.chunk = chunk
        self.left = total
        self.pushed = 0
        self._paused = False
        end.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        while self.left > 0 and not self._paused:
            self.left -= len(self.chunk)
            self.pushed += len(self.chunk)
            self.end.send(self.chunk)
        if self.left <= 0:
            self.end.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self.left = 0

    async def stalled(self) -> int:
        """Wait until nothing was taken for a while; returns the bytes that were.

        Raises:
            AssertionError: all was taken.
        """
        seen, still = -1, 0

        def settled() -> bool:
            nonlocal seen, still
            still = still + 1 if self.pushed == seen else 0
            seen = self.pushed
            return still > 50 or self.left <= 0

        await eventually(settled, lambda: f"still taking after {self.pushed} bytes", 10)
        if self.left <= 0:
            raise AssertionError(f"all {self.pushed} bytes were taken, though nobody reads on the other side")
        return self.pushed


class Script(NamedTuple):
    """What a target does on one connection."""

    connack: bytes | None = None
    """Raw bytes to answer the CONNECT with; None is a CONNACK 0, b"" is silence."""
    answers: bool = True
    """Acknowledge PUBLISH, PUBREL, SUBSCRIBE, UNSUBSCRIBE and PINGREQ, and close at DISCONNECT, as a broker does."""


class TargetSide(Wire):
    """One connection that the gateway opened to the target."""

    def __init__(self, target: RecordingTarget, script: Script) -> None:
        super().__init__()
        self.target = target
        self.script = script
        self.version = 4
        self.packets: list[bytes] = []
        self._rest = b""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.target.joined(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        found, self._rest = wire.packets(self._rest + data)
        for packet in found:
            self.packets.append(packet)
            answer = self._answer(packet)
            if answer:
                self.transport.write(answer)
        self._changed()

    def _answer(self, packet: bytes) -> bytes:
        kind, qos = packet[0] >> 4, packet[0] >> 1 & 3
        body = packet[len(packet) - _length(packet) :]
        if kind == 1:
            name = int.from_bytes(body[:2], "big")
            self.version = body[2 + name]
            accepted = wire.connack(version=self.version)
            return accepted if self.script.connack is None else self.script.connack
        if not self.script.answers:
            return b""
        if kind == 3 and qos:
            start = 2 + int.from_bytes(body[:2], "big")
            packet_id = int.from_bytes(body[start : start + 2], "big")
            return wire.puback(packet_id) if qos == 1 else wire.pubrec(packet_id)
        packet_id = int.from_bytes(body[:2], "big")
        if kind == 5:
            return wire.pubrel(packet_id)
        if kind == 6:
            return wire.pubcomp(packet_id)
        if kind == 8:
            options = self._options(body)
            return wire.suback(packet_id, bytes(one & 3 for one in options), version=self.version)
        if kind == 10:
            return wire.unsuback(packet_id, bytes(len(self._filters(body))), version=self.version)
        if kind == 14:
            self.transport.loseConnection()
        return wire.PINGRESP if kind == 12 else b""

    def _options(self, body: bytes) -> list[int]:
        pos, found = self._behind_properties(body), []
        while pos < len(body):
            pos += 3 + int.from_bytes(body[pos : pos + 2], "big")
            found.append(body[pos - 1])
        return found

    def _filters(self, body: bytes) -> list[bytes]:
        pos, found = self._behind_properties(body), []
        while pos < len(body):
            stop = pos + 2 + int.from_bytes(body[pos : pos + 2], "big")
            found.append(body[pos + 2 : stop])
            pos = stop
        return found

    def _behind_properties(self, body: bytes) -> int:
        return 2 if self.version < 5 else 2 + len(wire.packets(b"\x00" + body[2:])[0][0]) - 1

    async def expect(self, *packets: bytes) -> None:
        """Wait for these packets, byte for byte and in this order, behind the CONNECT.

        Raises:
            AssertionError: other packets came, or not all of these in time.
        """
        await self.until(lambda: len(self.packets) > len(packets) or self.closed, f"{len(packets)} packets")
        got = self.packets[1 : len(packets) + 1]
        if got != list(packets):
            raise AssertionError(f"expected {[_shown(one) for one in packets]}, got {[_shown(one) for one in got]}")

    @property
    def behind_connect(self) -> bytes:
        """The bytes that came behind the CONNECT."""
        return bytes(self.received[len(self.packets[0]) :]) if self.packets else bytes(self.received)


def _length(packet: bytes) -> int:
    """The remaining length of a whole packet."""
    header = 2
    while packet[header - 1] > 127:
        header += 1
    return len(packet) - header


class RecordingTarget(Factory):
    """A broker as far as a test needs one. Its connections stay in `sides`, in the order in which they were opened."""

    noisy = False

    def __init__(self) -> None:
        self.sides: list[TargetSide] = []
        self.scripts: deque[Script] = deque()
        """For the next connections; those behind them get the default."""
        self.port = 0
        self._taken = 0
        self._listening: Any = None
        self._waiting: Deferred[None] | None = None

    def buildProtocol(self, addr: Any) -> TargetSide:
        return TargetSide(self, self.scripts.popleft() if self.scripts else Script())

    def joined(self, side: TargetSide) -> None:
        """A `TargetSide` is connected."""
        self.sides.append(side)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    async def accepted(self) -> TargetSide:
        """The next connection that no test has taken yet."""
        if self._taken == len(self.sides):
            self._waiting = Deferred()
            self._waiting.addTimeout(PATIENCE, reactor)
            try:
                await self._waiting
            except TimeoutError:
                raise AssertionError(f"the gateway did not dial the target in {PATIENCE} s") from None
        self._taken += 1
        return self.sides[self._taken - 1]

    def forget(self) -> None:
        """Count all connections as taken, and drop the scripts that are left."""
        self._taken = len(self.sides)
        self.scripts.clear()

    def listen(self) -> None:
        """Start to accept, on the same port as before if there was one."""
        self._listening = reactor.listenTCP(self.port, self, interface="127.0.0.1")
        _bound_kernel_buffers(self._listening.socket)
        self.port = self._listening.getHost().port

    def endpoint(self) -> TCP4ClientEndpoint:
        """What dials it."""
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuse new connections. Those that are open stay."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await (listening.stopListening() or succeed(None))


class RecordingJournal:
    """What the gateway reported, instead of log lines."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.rejects: list[tuple[str, str, dict[str, Any]]] = []
        """(reason, handler, fields)."""
        self.faults: list[tuple[str, str, Any]] = []
        """(handler, hook, failure)."""

    def event(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))

    def reject(self, reason: str, *, handler: str = "", **fields: Any) -> None:
        self.rejects.append((reason, handler, fields))

    def fault(self, handler: str, hook: str, failure: Any) -> None:
        self.faults.append((handler, hook, failure))


class RawDevice(Wire):
    """A device that writes the bytes it is told to."""

    uplink: TargetSide
    """The target's end; set by `Gateway.connected`."""


class Gateway:
    """A gateway that listens, with what it is connected to. Made by `GatewayTest.gateway`.

    Attributes:
        port: where it listens on 127.0.0.1.
        target: the `RecordingTarget`, or None where the test brought endpoints of its own.
        counters, journal: what it says of itself.
    """

    def __init__(self, factory: Any, target: RecordingTarget | None, counters: Counters, journal: Any) -> None:
        self.factory = factory
        self.target: Any = target
        self.counters = counters
        self.journal = journal
        self.devices: list[RawDevice] = []
        self._listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        _bound_kernel_buffers(self._listening.socket)
        self.port: int = self._listening.getHost().port

    async def device(self) -> RawDevice:
        """A device that has connected with TCP and said nothing."""
        device = RawDevice()
        self.devices.append(device)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), device)
        _bound_kernel_buffers(device.transport.getHandle())
        return device

    async def connected(self, *, version: int = 4, script: Script | None = None, **fields: Any) -> RawDevice:
        """A device that has its CONNACK 0, with `uplink` the connection that was dialled for it.

        Args:
            version: the protocol level.
            script: what the target does on this connection.
            fields: more for `tests.wire.connect`.
        """
        if script is not None:
            self.target.scripts.append(script)
        device = await self.device()
        device.send(wire.connect(version=version, **fields))
        device.uplink = await self.target.accepted()
        answer = await device.read_packet()
        if answer[0] != 0x20 or answer[3] != 0:
            raise AssertionError(f"no CONNACK 0 but {_shown(answer)}")
        return device

    @property
    def refusals(self) -> int:
        """How many refusals were counted, all reasons together."""
        return sum(self.counters.rejects.values())

    async def settle(self) -> None:
        """Close what the test left open, and wait until the gateway holds nothing of it."""
        for device in self.devices:
            if not device.closed:
                device.reset()
        await self.released()
        self.devices.clear()

    async def released(self, patience: float = PATIENCE) -> None:
        """Wait until the gateway has closed both sides of every connection."""
        sides = self.target.sides if self.target is not None else []
        await eventually(
            lambda: self.counters.connections == 0 and all(one.closed for one in [*self.devices, *sides]),
            lambda: (
                f"{self.counters.connections} connections counted, "
                f"{sum(not one.closed for one in self.devices)} devices and "
                f"{sum(not one.closed for one in sides)} connections to the target open"
            ),
            patience,
        )

    def forget(self) -> None:
        """Leave out connections to the target that no test has taken; for a test that goes on after a failure."""
        if self.target is not None:
            self.target.forget()

    async def serve_another(self) -> None:
        """A fresh device connects and publishes, and the target receives it.

        Raises:
            AssertionError: the gateway does not serve.
        """
        self.forget()
        device = await self.connected(client_id=WITNESS)
        message = wire.publish("witness/topic", b"still here", qos=1, packet_id=77)
        device.send(message)
        await device.uplink.expect(message)
        answer = await device.read_packet()
        if answer != wire.puback(77):
            raise AssertionError(f"no PUBACK 77 for the witness but {_shown(answer)}")
        device.send(wire.DISCONNECT)
        await device.uplink.until(lambda: device.uplink.closed, "close of the witness")

    async def stop(self) -> None:
        """Stop to listen, and close what is open; the target stops too."""
        await (self._listening.stopListening() or succeed(None))
        if self.target is not None:
            await self.target.stop()
            for side in self.target.sides:
                side.reset()
        for device in self.devices:
            device.reset()
        await self.released()


class GatewayTest(TestCase):
    """Base of the tests with a running gateway. Test methods may be coroutines."""

    timeout = 30
    serves_at_the_end = True
    """Set to False by a test whose gateway is meant not to serve at its end."""

    async def gateway(
        self,
        *handlers: Any,
        limits: Limits | None = None,
        endpoints: Sequence[Any] | None = None,
        target: RecordingTarget | None = None,
        journal: Any = None,
    ) -> Gateway:
        """Start a gateway.

        Args:
            handlers: the handlers of its policy, in order; they are named by their classes.
            limits: other than the defaults.
            endpoints: client endpoints to dial instead of that of a `RecordingTarget`.
            target: the `RecordingTarget` behind these endpoints, if there is one.
            journal: instead of a `RecordingJournal`.
        """
        if endpoints is None:
            target = RecordingTarget()
            target.listen()
            endpoints = [target.endpoint()]
        counters, journal = Counters(), journal or RecordingJournal()
        factory = MqttDeviceFactory(
            reactor,
            list(endpoints),
            Policy([(type(one).__name__, one) for one in handlers]),
            limits=limits or Limits(),
            counters=counters,
            listener="mqtt",
            journal=journal,
        )
        gateway = Gateway(factory, target, counters, journal)
        self.addCleanup(self._end, gateway)
        return gateway

    async def _end(self, gateway: Gateway) -> None:
        try:
            await gateway.settle()
            if self.serves_at_the_end and gateway.target is not None:
                await gateway.serve_another()
        finally:
            await gateway.stop()
