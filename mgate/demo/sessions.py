"""What the demo broker keeps for one client identifier: the session state of MQTT 5.0 section 4.1.

Sans-IO: a `ClientSession` calls only the `Outlet` that it was attached to.

Rules:

1. A message of QoS 1 or 2 that was sent stays in `unacknowledged` until its handshake ends; after a reconnect it is
   sent again in the old order, a PUBLISH with DUP [MQTT-4.4.0-1].
2. What cannot be sent now waits in one bounded queue; what does not fit is dropped and counted. All sessions together
   keep no more bytes than the `Budget` of their broker allows.
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

__all__ = ["Budget", "ClientSession", "Outlet", "Stored", "without"]

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


class Budget:
    """The memory that a broker spends on messages.

    Args:
        limit: bytes.
    """

    OVERHEAD = 1024
    """Bytes that a message costs beside its payload, roughly."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def take(self, publish: Publish) -> bool:
        """Pay for keeping a message; False if it cannot be afforded."""
        cost = self._cost(publish)
        if cost > self.left:
            return False
        self.left -= cost
        return True

    def give_back(self, publish: Publish) -> None:
        """It is not kept any more."""
        self.left += self._cost(publish)

    def _cost(self, publish: Publish) -> int:
        return len(publish.payload) + len(publish.topic) + self.OVERHEAD


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
        budget: what they may cost.
    """

    def __init__(self, client_id: str, clock: Callable[[], float], max_queued: int, budget: Budget) -> None:
        self.client_id = client_id
        self.expiry = 0.0
        self.outlet: Outlet | None = None
        self.received: set[int] = set()
        """Packet identifiers of QoS 2 messages of the device that wait for PUBREL."""
        self.dropped = 0
        self._clock = clock
        self._max_queued = max_queued
        self._budget = budget
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
        for _ in range(len(self._queue)):
            message = self._queue.popleft()
            if message.publish.qos:
                self._queue.append(message)
            else:
                self._budget.give_back(message.publish)

    def discard(self) -> None:
        """The session has ended: nothing is kept any more."""
        for publish in (*self.unacknowledged.values(), *(message.publish for message in self._queue)):
            self._release(publish)
        self.unacknowledged.clear()
        self._queue.clear()

    def deliver(self, message: Stored) -> None:
        """Send a message, or let it wait."""
        if message.publish.qos == 0 and self.outlet is None:
            return
        if len(self._queue) >= self._max_queued or not self._budget.take(message.publish):
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
        known = self.unacknowledged.pop(packet_id, None)
        self._release(known)
        self.flush()
        return known is not None

    def half_acknowledged(self, packet_id: int) -> bool:
        """PUBREC: from now on PUBREL is repeated, not the message. False if there was no such message."""
        known = packet_id in self.unacknowledged
        if known:
            self._release(self.unacknowledged[packet_id])
            self.unacknowledged[packet_id] = Pubrel(packet_id)
        return known

    def _send(self, message: Stored, outlet: Outlet) -> None:
        publish = message.publish
        if message.expires is not None:
            left = message.expires - self._clock()
            if left <= 0:
                self._release(publish)
                return
            properties = [*(publish.properties or ()), (PropertyId.MESSAGE_EXPIRY_INTERVAL, ceil(left))]
            publish = replace(publish, properties=Properties(properties))
        if publish.qos:
            publish.packet_id = self._next_id()
            self.unacknowledged[publish.packet_id] = publish
        sent = outlet.send(publish)
        if not sent:
            self.unacknowledged.pop(publish.packet_id, None)
        if not sent or not publish.qos:
            self._release(publish)

    def _release(self, packet: Publish | Pubrel | None) -> None:
        """A message need not be kept any more. PUBREL costs nothing: there are few."""
        if isinstance(packet, Publish):
            self._budget.give_back(packet)

    def _next_id(self) -> int:
        while True:  # ends: no more than 65,535 can be unacknowledged, because Receive Maximum is no larger
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self.unacknowledged:
                return self._last_id
