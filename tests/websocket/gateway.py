"""A running gateway whose devices speak MQTT over WebSocket, beside `tests.gateway`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from mgate.counters import Counters
from mgate.limits import Limits
from mgate.mqtt.protocol import MqttDeviceFactory, MqttDeviceProtocol
from mgate.policy import Policy
from mgate.session import Peer
from mgate.tls.client import TargetConnections, TargetEndpoint
from mgate.tls.settings import TargetTls
from mgate.websocket.device import CarrierFactory
from mgate.websocket.handshake import Request, Rules
from mgate.websocket.target import WebSocketEndpoint
from tests import wire
from tests.gateway import Gateway, GatewayTest, RawDevice, RecordingJournal, RecordingTarget, Script
from tests.tls.handshakes import file
from tests.websocket import raw

__all__ = ["WebSocketDevice", "WebSocketGateway", "WebSocketTest", "carried", "towards"]

reactor: Any = installed_reactor


def carried(
    inner: MqttDeviceFactory, rules: Rules | None = None, *, ping_interval: float = 0, clock: Any = reactor
) -> CarrierFactory:
    """A WebSocket listener in front of MQTT, put together as the service does it."""

    def refused(reason: str, peer: Peer, text: str) -> None:
        inner.counters.reject(reason)
        inner.journal.reject(reason, text=text, peer=peer, listener=inner.listener)

    def introduce(protocol: MqttDeviceProtocol, request: Request) -> None:
        protocol.relay.session.attributes["request"] = request

    return CarrierFactory(
        inner,
        clock,
        rules or Rules("/mqtt"),
        inner.limits,
        refused,
        introduce=introduce,
        ended_by=lambda protocol: protocol.relay.closing,
        ping_interval=ping_interval,
    )


def towards(port: int, reports: list[str], *, path: str = "/mqtt", **options: Any) -> WebSocketEndpoint:
    """What dials a WebSocket target on this machine."""
    return WebSocketEndpoint(
        TCP4ClientEndpoint(reactor, "127.0.0.1", port),
        f"127.0.0.1:{port}",
        path,
        reactor,
        report=reports.append,
        **{"limits": Limits(), "timeout": 5.0, "ping_interval": 0, **options},
    )


class WebSocketDevice(RawDevice):
    """A device that speaks WebSocket. `received` is what binary messages carried, `send` makes one of them.

    Attributes:
        raw: every byte that came.
        head: of the answer to the handshake, once it is there.
        frames: behind it.
        polite: it answers a Close frame with another.
    """

    def __init__(self) -> None:
        super().__init__()
        self.raw = b""
        self.head = b""
        self.frames: list[raw.Parsed] = []
        self.polite = True
        self._rest = b""

    def dataReceived(self, data: bytes) -> None:
        self.raw += data
        self._rest += data
        if not self.head and b"\r\n\r\n" in self._rest:
            head, end, self._rest = self._rest.partition(b"\r\n\r\n")
            self.head = head + end
        if self.head.startswith(b"HTTP/1.1 101 "):
            frames, self._rest = raw.parse(self._rest)
            self.frames += frames
            for frame in frames:
                if frame.opcode == 2:
                    self.received += frame.payload
                elif frame.opcode == 8 and self.polite:
                    self.send_raw(raw.frame(8, frame.payload))
        self._changed()

    def send(self, data: bytes) -> None:
        self.send_raw(raw.frame(2, data))

    def send_raw(self, data: bytes) -> None:
        """Write `data` as it is."""
        self.transport.write(data)

    async def upgraded(self, request: bytes | None = None) -> bytes:
        """Make the handshake; returns the head of the answer."""
        self.send_raw(raw.request() if request is None else request)
        await self.until(lambda: bool(self.head) or self.closed, "answer to the handshake")
        return self.head

    async def read_frame(self, number: int) -> raw.Parsed:
        """The frame of this number, once it is there."""
        await self.until(lambda: len(self.frames) > number or self.closed, f"frame {number}")
        return self.frames[number]

    async def close_told(self) -> tuple[int, str]:
        """Code and reason of the Close frame, once the connection is closed behind it; code 0 if there is none."""
        await self.until(lambda: self.closed, "close")
        told = [frame.payload for frame in self.frames if frame.opcode == 8]
        if not told:
            return 0, ""
        if len(told) > 1 or self.frames[-1].opcode != 8 or self._rest:
            raise AssertionError(f"something behind a Close: {self.frames}, {self._rest!r}")
        return int.from_bytes(told[0][:2], "big"), told[0][2:].decode("utf-8")


class WebSocketGateway(Gateway):
    """Its listener speaks WebSocket."""

    def serve_through(self, factory: Any) -> None:
        """Let who connects from now on come in through `factory`, which stands around its own."""
        self._listening.factory = factory

    async def device(self, *, tls: str = "") -> WebSocketDevice:
        """As `Gateway.device`.

        Args:
            tls: the certificate to connect with, by its name in `tests.tls.handshakes.pki`.
        """
        device = WebSocketDevice()
        self.devices.append(device)
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        if tls:
            identity = TargetTls(file("root.pem"), file(f"client-{tls}.pem"), file(f"client-{tls}.key"))
            connections = TargetConnections(identity, "localhost")
            endpoint = TargetEndpoint(connections, endpoint, reactor, timeout=5.0, report=lambda text: None)
        await connectProtocol(endpoint, device)
        return device

    async def connected(
        self, *, version: int = 4, script: Script | None = None, request: bytes | None = None, **fields: Any
    ) -> WebSocketDevice:
        if script is not None:
            self.target.scripts.append(script)
        device = await self.device()
        head = await device.upgraded(request)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(f"no upgrade but {bytes(device.raw[:200])!r}")
        device.send(wire.connect(version=version, **fields))
        device.uplink = await self.target.accepted()
        answer = await device.read_packet()
        if answer[0] != 0x20 or answer[3] != 0:
            raise AssertionError(f"no CONNACK 0 but {answer.hex(' ')}")
        return device


class WebSocketTest(GatewayTest):
    """Base of the tests with a WebSocket listener."""

    async def websocket(
        self,
        *handlers: Any,
        limits: Limits | None = None,
        rules: Rules | None = None,
        endpoints: Sequence[Any] | None = None,
        ping_interval: float = 0,
    ) -> WebSocketGateway:
        """Start a gateway with a WebSocket listener; as `GatewayTest.gateway`."""
        target = None
        if endpoints is None:
            target = RecordingTarget()
            target.listen()
            endpoints = [target.endpoint()]
        counters, journal = Counters(), RecordingJournal()
        inner = MqttDeviceFactory(
            reactor,
            list(endpoints),
            Policy([(type(one).__name__, one) for one in handlers]),
            limits=limits or Limits(),
            counters=counters,
            listener="ws",
            journal=journal,  # type: ignore[arg-type]
        )
        factory = carried(inner, rules, ping_interval=ping_interval)
        gateway = WebSocketGateway(factory, target, counters, journal)
        self.addCleanup(self._end, gateway)
        return gateway
