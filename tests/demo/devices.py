"""Devices at a demo broker without a wire between them: a test transport, and a clock that tests move."""

from __future__ import annotations

import unittest
from itertools import count
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mgate.demo.broker import Broker, BrokerFactory
from mgate.demo.stream import PacketStream
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Connack, Connect, Packet, Subscribe, Subscription
from mgate.mqtt.properties import Properties, PropertyId
from mgate.outcome import Direction


class Transport(StringTransport):
    """A transport that loses its connection as soon as it is told to."""

    protocol: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self.protocol.connectionLost()

    abortConnection = loseConnection


class Device:
    """The device's end of one connection to a broker."""

    def __init__(self, factory: BrokerFactory, version: int = 5) -> None:
        self.version = version
        self.stream = PacketStream(Direction.DOWNLINK, version)
        self.transport = Transport()
        self.protocol: Any = factory.buildProtocol(None)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)

    def send(self, *packets: Packet) -> Any:
        """Send packets in one chunk, and return what has come since."""
        self.protocol.dataReceived(b"".join(encode(self.version, packet) for packet in packets))
        return self.got()

    def got(self) -> Any:
        data = self.transport.value()
        self.transport.clear()
        return list(self.stream.receive(data))

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting

    def lose(self) -> None:
        """The wire is cut."""
        self.transport.loseConnection()


class BrokerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.numbers = count()
        self.start()

    def start(self, **arguments: Any) -> None:
        limits = {key: arguments.pop(key) for key in list(arguments) if key.startswith("max_")}
        self.broker = Broker(self.clock, **limits)
        self.factory = BrokerFactory(self.clock, broker=self.broker, **arguments)

    def device(self, client_id: str = "", version: int = 5, clean: bool = True, **fields: Any) -> Device:
        """A connected device; `self.connack` is the answer."""
        device = Device(self.factory, version)
        client_id = client_id or f"device-{next(self.numbers)}"
        (self.connack,) = device.send(Connect(version, client_id, clean, **fields))[:1]
        self.assertIsInstance(self.connack, Connack)
        return device

    def subscriber(self, *filters: str, qos: int = 2, version: int = 5, **fields: Any) -> Device:
        device = self.device(version=version, **fields)
        device.send(Subscribe(1, [Subscription(filter, qos) for filter in filters]))
        return device

    def expiring(self, seconds: int) -> Properties:
        return Properties([(PropertyId.SESSION_EXPIRY_INTERVAL, seconds)])
