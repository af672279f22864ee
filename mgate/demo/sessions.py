"""What the demo broker keeps for one client identifier: the session state of MQTT 5.0 section 4.1.

Sans-IO: a `ClientSession` calls only the `Outlet` that it was attached to.

Rules:

1. A message of QoS 1 or 2 that was sent stays in `unacknowledged` until its handshake ends; after a reconnect it is
   sent again in the old order, a PUBLISH with DUP [MQTT-4.4.0-1].
2. What cannot be sent now waits in one bounded queue; what does not fit is dropped and counted.
3. QoS 0 never waits for a device that is away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol

from mgate.demo.subscriptions import Grant
from mgate.mqtt.packets import Packet, Publish, Pubrel
from mgate.mqtt.properties import Properties, PropertyId

__all__ = ["ClientSession", "Outlet", "Stored", "without"]

HOP_PROPERTIES = frozenset(
    {PropertyId.TOPIC_ALIAS, PropertyId.SUBSCRIPTION_IDENTIFIER, PropertyId.MESSAGE_EXPIRY_INTERVAL}
)
"""Properties of a PUBLISH that a broker makes anew for each receiver."""


def without(properties: Properties | None, dropped: frozenset[PropertyId] = HOP_PROPERTIES) -> list[tuple[int, object]]:
    """The properties that pass through unaltered, in order (User Property [MQTT-3.3.2-18])."""
    return [(name, value) for name, value in properties or () if name not in dropped]


@dataclass(slots=True, eq=False)
class Stored:
    """A message on its way through the broker."""

    publish: Publish
    expires: float | None = None
    """When it is no longer worth delivering, on the broker's clock."""

    def outgoing(self, grant: Grant, retain: bool) -> Stored:
        """As one receiver gets it: with the lower QoS, and with the identifiers of its subscriptions."""
        properties = without(self.publish.properties)
        properties += [(PropertyId.SUBSCRIPTION_IDENTIFIER, number) for number in grant.identifiers]
        publish = replace(
            self.publish, qos=min(self.publish.qos, grant.qos), retain=retain, dup=False, packet_id=0,
            properties=Properties(properties),
        )  # fmt: skip
        return Stored(publish, self.expires)


class Outlet(Protocol):
    """The connection that a session is attached to."""

    receive_maximum: int
    full: bool
    """True while the transport cannot take more."""

    def send(self, packet: Packet) -> bool:
        """Write a packet; False if it is larger than the device allows, and was not written [MQTT-3.1.2-24]."""

    def end(self, reason_code: int) -> None:
        """End the connection after what is written."""


class ClientSession:
    """The state of one client identifier. It lives as long as its connection, or longer by `expiry` seconds.

    Args:
        clock: returns the time in seconds.
        max_queued: how many messages may wait.
    """

    def __init__(self, client_id: str, clock: Callable[[], float], max_queued: int) -> None:
        self.client_id = client_id
        self.expiry = 0.0
        self.outlet: Outlet | None = None
        self.received: set[int] = set()
        """Packet identifiers of QoS 2 messages of the device that wait for PUBREL."""
        self.dropped = 0
        self._clock = clock
        self._max_queued = max_queued
        self._queue: deque[Stored] = deque()
        self.unacknowledged: dict[int, Publish | Pubrel] = {}
        self._last_id = 0

    @property
    def connected(self) -> bool:
        return self.outlet is not None

    def attach(self, outlet: Outlet) -> None:
        """The device is here (CONNACK was sent): repeat what it did not acknowledge, then send what waited."""
        self.outlet = outlet
        for packet in list(self.unacknowledged.values()):
            outlet.send(replace(packet, dup=True) if isinstance(packet, Publish) else packet)
        self.flush()

    def detach(self) -> None:
        """The device is gone."""
        self.outlet = None
        self._queue = deque(message for message in self._queue if message.publish.qos)

    def deliver(self, message: Stored) -> None:
        """Send a message, or let it wait."""
        if message.publish.qos == 0 and self.outlet is None:
            return
        if len(self._queue) >= self._max_queued:
            self.dropped += 1
            return
        self._queue.append(message)
        self.flush()

    def flush(self) -> None:
        """Send what waited, as far as the device and its connection take it."""
        while self._queue and self.outlet is not None and not self.outlet.full:
            publish = self._queue[0].publish
            if publish.qos and len(self.unacknowledged) >= self.outlet.receive_maximum:
                return
            self._send(self._queue.popleft(), self.outlet)

    def acknowledged(self, packet_id: int) -> bool:
        """PUBACK, PUBCOMP or a refusing PUBREC: the handshake has ended. False if there was none."""
        known = self.unacknowledged.pop(packet_id, None) is not None
        self.flush()
        return known

    def half_acknowledged(self, packet_id: int) -> bool:
        """PUBREC: from now on PUBREL is repeated, not the message. False if there was no such message."""
        known = packet_id in self.unacknowledged
        if known:
            self.unacknowledged[packet_id] = Pubrel(packet_id)
        return known

    def _send(self, message: Stored, outlet: Outlet) -> None:
        publish = message.publish
        if message.expires is not None:
            left = message.expires - self._clock()
            if left <= 0:
                return
            properties = [*(publish.properties or ()), (PropertyId.MESSAGE_EXPIRY_INTERVAL, ceil(left))]
            publish = replace(publish, properties=Properties(properties))
        if publish.qos:
            publish.packet_id = self._next_id()
            self.unacknowledged[publish.packet_id] = publish
        if not outlet.send(publish) and publish.qos:
            del self.unacknowledged[publish.packet_id]

    def _next_id(self) -> int:
        while True:  # ends: no more than 65,535 can be unacknowledged, because Receive Maximum is no larger
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self.unacknowledged:
                return self._last_id
