"""Small fast devices with persistent sessions, which keep their side of QoS 1 and 2 over any number of connections.

Rules, as MQTT 5.0 has them in 4.3 and 4.4 (and 3.1.1 too):

1. After each connection is made again, what was not answered is sent again in its order: PUBLISH with DUP, or PUBREL.
2. A packet identifier is free when its exchange has ended, and not before.
3. Of QoS 2, a PUBLISH whose identifier was not released yet is the same message, and is not counted again.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from typing import Any

from mgate.mqtt.encode import encode
from mgate.mqtt.framing import split
from mgate.mqtt.packets import Connect, Publish, Subscribe, Subscription
from mgate.mqtt.properties import Properties, PropertyId

__all__ = ["NotKept", "Publisher", "Subscriber"]

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, DISCONNECT = 2, 3, 4, 5, 6, 7, 9, 14
SOON = 0.002
"""Seconds until a device connects again."""
MOST = 1 << 20
DIGITS = 8
"""The number of a message, as the beginning of its payload."""


class NotKept(AssertionError):
    """A promise of the protocol was broken."""


class _Device(asyncio.Protocol):
    """Connects until `done`, and hands packets on.

    Attributes:
        tls: what to connect with over TLS, if it is to be.
    """

    tls: ssl.SSLContext | None = None

    def __init__(self, port: int, client_id: str, version: int) -> None:
        self.port = port
        self.client_id = client_id
        self.version = version
        self.connections = 0
        self.known = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = None
        self._rest = b""
        self._open = False
        properties = Properties([(PropertyId.SESSION_EXPIRY_INTERVAL, 3600)]) if version == 5 else None
        self._connect = encode(version, Connect(version, client_id, False, 60, properties=properties))

    async def run(self) -> None:
        """Connect, and again, until all is done."""
        loop = asyncio.get_running_loop()
        while not self.over.done():
            self._rest, self._open = b"", False
            self._lost: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(lambda: self, "127.0.0.1", self.port, ssl=self.tls)
            await asyncio.wait((self._lost, self.over), return_when=asyncio.FIRST_COMPLETED)
            if not self.over.done():
                await asyncio.sleep(SOON)
        self._transport.close()
        self.over.result()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._connect)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self.over.done():
            return
        if self._rest:
            data = self._rest + data
        runs, end, _, broken = split(data, MOST)
        self._rest = data[end:]
        try:
            if broken is not None:
                raise NotKept(f"{self.client_id} received bad bytes: {broken}")
            out: list[bytes] = []
            for head, (_, start, stop) in ((head, span) for head, spans in runs for span in spans):
                if head >> 4 == DISCONNECT and self.version == 5:
                    break
                if self._open:
                    self.take(head, data, start, stop, out)
                else:
                    self._answered(head, data, start, out)
            self.fill(out)
            if out:
                self._transport.write(b"".join(out))
            self.told()
        except Exception as error:  # noqa: BLE001
            self.over.set_exception(error)

    def _answered(self, head: int, data: bytes, start: int, out: list[bytes]) -> None:
        """CONNACK. The target may be lost before it has spoken; then the gateway says that there is none."""
        if head >> 4 != CONNACK:
            raise NotKept(f"{self.client_id} received packet {head:#x} before CONNACK")
        present, code = data[start], data[start + 1]
        if code in (3, 0x88):
            return
        if code:
            raise NotKept(f"{self.client_id} was refused with {code:#x}")
        if self.known and not present:
            raise NotKept(f"the session of {self.client_id} is lost")
        self._open = self.known = True
        self.connections += 1
        self.resume(out)

    def resume(self, out: list[bytes]) -> None:
        """The connection is open: say again what was not answered."""
        raise NotImplementedError

    def take(self, head: int, data: bytes, start: int, stop: int, out: list[bytes]) -> None:
        """A packet came."""
        raise NotImplementedError

    def fill(self, out: list[bytes]) -> None:
        """A chunk was read: send more."""

    def told(self) -> None:
        """A chunk was read and answered."""

    def finish(self) -> None:
        """All is done."""
        if not self.over.done():
            self.over.set_result(None)


class Publisher(_Device):
    """Publishes numbered messages.

    Args:
        topic: of all messages. closed: the topic of those that are to be refused, or "".
        count: how many. window: how many may be unanswered.

    Attributes:
        acknowledged: the numbers that the other side has taken over. refused: those that it has said no to.
        allowed: the number to stop at; see `Subscriber.publisher`.
    """

    def __init__(
        self, port: int, client_id: str, version: int, qos: int, topic: str, count: int, window: int, closed: str = ""
    ) -> None:
        super().__init__(port, client_id, version)
        self.qos = qos
        self.count = count
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.allowed = count
        self._next = 0
        self._free = deque(range(1, window + 1))
        self._waiting: dict[int, int] = {}  # by packet identifier, in the order of sending: the number of a message
        self._releasing: dict[int, int] = {}
        self._topic, self._closed = topic, closed

    def is_closed(self, number: int) -> bool:
        """Is this one of the messages that are to be refused?"""
        return bool(self._closed) and number % 20 == 7

    def _publish(self, packet_id: int, number: int, dup: bool) -> bytes:
        topic = self._closed if self.is_closed(number) else self._topic
        payload = b"%08d of a message" % number
        return encode(self.version, Publish(topic, payload, self.qos, False, dup, packet_id))

    def resume(self, out: list[bytes]) -> None:
        out += [struct.pack("!BBH", PUBREL << 4 | 2, 2, packet_id) for packet_id in self._releasing]
        out += [self._publish(packet_id, number, True) for packet_id, number in self._waiting.items()]

    def fill(self, out: list[bytes]) -> None:
        if self._open:
            while self._free and self._next < min(self.count, self.allowed):
                packet_id = self._free.popleft()
                self._waiting[packet_id] = self._next
                out.append(self._publish(packet_id, self._next, False))
                self._next += 1

    def allow(self, number: int) -> None:
        """Messages up to `number` may be sent."""
        self.allowed = number
        out: list[bytes] = []
        self.fill(out)
        if out:
            self._transport.write(b"".join(out))

    def take(self, head: int, data: bytes, start: int, stop: int, out: list[bytes]) -> None:
        kind = head >> 4
        packet_id = data[start] << 8 | data[start + 1]
        code = data[start + 2] if stop - start > 2 else 0
        if kind == PUBACK and self.qos == 1:
            self._end(packet_id, self._waiting.pop(packet_id), code)
        elif kind == PUBREC and code >= 0x80:
            self._end(packet_id, self._waiting.pop(packet_id), code)
        elif kind == PUBREC:
            number = self._waiting.pop(packet_id, None)
            if number is not None:
                self._releasing[packet_id] = number
            elif packet_id not in self._releasing:
                raise NotKept(f"PUBREC for {packet_id}, which is not in use")
            out.append(struct.pack("!BBH", PUBREL << 4 | 2, 2, packet_id))
        elif kind == PUBCOMP:
            self._end(packet_id, self._releasing.pop(packet_id), 0)
        else:
            raise NotKept(f"{self.client_id} received packet {head:#x}")

    def _end(self, packet_id: int, number: int, code: int) -> None:
        (self.refused if code >= 0x80 else self.acknowledged).add(number)
        self._free.append(packet_id)
        if len(self.acknowledged) + len(self.refused) == self.count:
            self.finish()


class Subscriber(_Device):
    """Receives numbered messages until it has all that it expects.

    Args:
        topic_filter: subscribed once. expected: how many different numbers.
        publisher: who publishes them. ahead: how many messages it may be ahead of this device.

    Attributes:
        seen: how often each number was delivered to whoever uses this device.
        ready: set when the subscription is there.
    """

    def __init__(
        self, port: int, client_id: str, version: int, qos: int, topic_filter: str, expected: int,
        publisher: Publisher, ahead: int,
    ) -> None:  # fmt: skip
        super().__init__(port, client_id, version)
        self._publisher = publisher
        self._ahead = publisher.allowed = ahead
        self._highest = 0
        self.qos = qos
        self.expected = expected
        self.seen: dict[int, int] = {}
        self.ready = asyncio.Event()
        self._held: set[int] = set()
        self._subscribe = encode(version, Subscribe(1, [Subscription(topic_filter, qos)]))

    def resume(self, out: list[bytes]) -> None:
        if not self.ready.is_set():
            out.append(self._subscribe)

    def take(self, head: int, data: bytes, start: int, stop: int, out: list[bytes]) -> None:
        kind = head >> 4
        if kind == PUBLISH:
            self._message(head, data, start, stop, out)
        elif kind == PUBREL:
            packet_id = data[start : start + 2]
            self._held.discard(packet_id[0] << 8 | packet_id[1])
            out.append(bytes((PUBCOMP << 4, 2)) + packet_id)
        elif kind == SUBACK:
            if data[stop - 1] != self.qos:
                raise NotKept(f"{self.client_id} was granted {data[stop - 1]:#x}")
            self.ready.set()
        else:
            raise NotKept(f"{self.client_id} received packet {head:#x}")

    def _message(self, head: int, data: bytes, start: int, stop: int, out: list[bytes]) -> None:
        qos = head >> 1 & 3
        if qos != self.qos:
            raise NotKept(f"{self.client_id} received QoS {qos}")
        at = start + 2 + (data[start] << 8 | data[start + 1])
        packet_id = data[at] << 8 | data[at + 1]
        at += 2
        if self.version == 5:
            at += 1 + data[at]
        number = int(data[at : at + DIGITS])
        if qos == 1:
            self._deliver(number)
            out.append(struct.pack("!BBH", PUBACK << 4, 2, packet_id))
            return
        if packet_id not in self._held:
            self._held.add(packet_id)
            self._deliver(number)
        out.append(struct.pack("!BBH", PUBREC << 4, 2, packet_id))

    def told(self) -> None:
        self._publisher.allow(self._highest + self._ahead)

    def _deliver(self, number: int) -> None:
        self._highest = max(self._highest, number)
        self.seen[number] = self.seen.get(number, 0) + 1
        if len(self.seen) == self.expected:
            # What is still to come would be a copy; give it the time of one turn through everything.
            asyncio.get_running_loop().call_later(1.0, self.finish)
