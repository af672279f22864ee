"""The near end of both probes: what a device sends, what it was told, and what was noted of it on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from twisted.python.failure import Failure

from mgate.counters import Counters
from mgate.demo.stream import PacketStream
from mgate.errors import GateError
from mgate.journal import Journal
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from mgate.mqtt.properties import Properties, PropertyId
from mgate.outcome import Direction
from mgate.session import Peer, Session
from mgate.testing.target import LARGEST, FakeTarget

__all__ = ["PEER", "Effect", "Probe", "Refusal", "check_open"]

PEER = Peer("192.0.2.1", 50000)
"""Where every fake device connects from."""

T = TypeVar("T")


class Refusal(NamedTuple):
    """What the log says of a refusal: the kind with underscores, which handler and hook refused, and its text."""

    reason: str
    handler: str
    hook: str
    text: str


@dataclass(slots=True)
class Effect:
    """What one step led to, the answers of the target included.

    Attributes:
        to_target, to_device: the packets that arrived there, in order.
        closed: why the gateway ended the connection, or None.
        waiting: a handler has not answered yet; what its answer leads to will be added to this effect.
    """

    to_target: list[Packet] = field(default_factory=list)
    to_device: list[Packet] = field(default_factory=list)
    closed: GateError | None = None
    waiting: bool = False

    @property
    def published(self) -> list[tuple[str, bytes]]:
        """Topic and payload of each message that reached the target."""
        return [(each.topic, each.payload) for each in self.to_target if isinstance(each, Publish)]

    @property
    def delivered(self) -> list[tuple[str, bytes]]:
        """Topic and payload of each message that reached the device."""
        return [(each.topic, each.payload) for each in self.to_device if isinstance(each, Publish)]

    @property
    def codes(self) -> list[int]:
        """The reason codes that the device was told, in order; a SUBACK has several. 0 where a packet has none."""
        codes: list[int] = []
        for packet in self.to_device:
            if isinstance(packet, Suback | Unsuback):
                codes += packet.reason_codes
            elif hasattr(packet, "reason_code"):
                codes.append(packet.reason_code or 0)
        return codes

    @property
    def reasons(self) -> list[str]:
        """The Reason Strings that the device was told (MQTT 5)."""
        properties = (getattr(packet, "properties", None) or Properties() for packet in self.to_device)
        return [text for each in properties for text in each.all(PropertyId.REASON_STRING)]


class _Notebook(Journal):
    """Keeps what would be logged."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[Refusal] = []
        self.faults: list[BaseException] = []

    def event(self, name: str, **fields: Any) -> None:
        """Nothing: connections are seen in other ways."""

    def reject(self, reason: str, *, handler: str = "", **fields: Any) -> None:
        self.refusals.append(Refusal(reason, handler, fields.get("hook", ""), fields.get("text", "")))

    def fault(self, handler: str, hook: str, failure: Failure | BaseException) -> None:
        error: Any = failure.value if isinstance(failure, Failure) else failure
        self.faults.append(error)


class Probe(Generic[T]):
    """The packets of a device by name, and what both probes keep.

    Attributes:
        version: the protocol level, 3, 4 or 5.
        session: what the handlers are given.
        target: the other end.
        refusals: every refusal so far.
        faults: what handlers raised that was not `Denied`.
        counters: those of the listener.
    """

    session: Session

    def __init__(self, version: int, target: FakeTarget | None, raise_faults: bool) -> None:
        self.version = version
        self.target = target or FakeTarget()
        self.counters = Counters()
        self._notebook = _Notebook()
        self.refusals = self._notebook.refusals
        self.faults = self._notebook.faults
        self._raise_faults = raise_faults
        self._faults_told = 0
        self._packet_id = 0
        self._received = PacketStream(Direction.DOWNLINK, version, LARGEST)

    def send(self, *packets: Packet) -> T:
        """The device sends packets, in one piece."""
        raise NotImplementedError

    def connect(self, client_id: str = "device", **fields: Any) -> T:
        """Send CONNECT. `fields` are those of `mgate.mqtt.packets.Connect`: ``username``, ``password``, ``will`` ..."""
        return self.send(Connect(self.version, client_id, **fields))

    def publish(
        self, topic: str, payload: bytes = b"", *, qos: int = 0, retain: bool = False,
        properties: Properties | None = None,
    ) -> T:  # fmt: skip
        """Send PUBLISH, with a packet identifier of its own where it needs one. PUBREL is left to the test."""
        packet_id = self._next_packet_id() if qos else 0
        return self.send(Publish(topic, payload, qos, retain, False, packet_id, properties))

    def subscribe(self, *filters: str, qos: int = 0) -> T:
        """Send SUBSCRIBE."""
        return self.send(Subscribe(self._next_packet_id(), [Subscription(each, qos) for each in filters]))

    def unsubscribe(self, *filters: str) -> T:
        """Send UNSUBSCRIBE."""
        return self.send(Unsubscribe(self._next_packet_id(), list(filters)))

    def disconnect(self) -> T:
        """Send DISCONNECT."""
        return self.send(Disconnect())

    def _next_packet_id(self) -> int:
        self._packet_id += 1
        return self._packet_id

    def _encoded(self, packets: Sequence[Packet]) -> bytes:
        return b"".join(encode(self.version, packet) for packet in packets)

    def _told_faults(self) -> None:
        """Raise the first fault that nobody has seen yet."""
        news = self.faults[self._faults_told :]
        self._faults_told = len(self.faults)
        if news and self._raise_faults:
            raise news[0]


def check_open(received: Sequence[Packet], why: object) -> None:
    """Raise AssertionError if a device that should be connected is not."""
    if not any(isinstance(packet, Connack) and packet.reason_code == 0 for packet in received):
        raise AssertionError(f"the connection is not open: {why!r}; the device got {received!r}")
