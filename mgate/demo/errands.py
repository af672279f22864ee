"""What the bundled client does once it is connected: publish one message, or subscribe and print.

Sans-IO: an errand calls only the `Line` that carries it, so it is tested with a list in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mgate.journal import escape
from mgate.mqtt.packets import (
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
)
from mgate.mqtt.properties import PropertyId
from mgate.mqtt.reasons import reason_name

__all__ = ["DONE", "LOST", "MISSED", "REFUSED", "Errand", "Line", "Publishing", "Subscribing", "reason_text"]

DONE, REFUSED, LOST, MISSED = 0, 1, 3, 4
"""Exit codes: done; refused by the other side; no connection, or it was lost; not enough messages in time. 2 is what
argparse exits with."""

PACKET_ID = 1
LONGEST = 4096


class Line(Protocol):
    """The connection that an errand runs on, and the terminal."""

    version: int

    def send(self, packet: Packet) -> None:
        """Write a packet."""

    def finish(self, code: int) -> None:
        """Disconnect, and end the command with this exit code."""

    def say(self, text: str) -> None:
        """Print a line about the connection."""

    def show(self, text: str) -> None:
        """Print a message."""


class Errand(Protocol):
    """What a client is started for."""

    def begin(self, line: Line) -> None:
        """The connection was accepted."""

    def received(self, line: Line, packet: Packet) -> None:
        """A packet came."""

    def late(self) -> int:
        """The time is up. Returns the exit code."""


def reason_text(code: int, properties: Any = None, version: int = 5) -> str:
    """A reason code in words, with the Reason String if there is one: ``0x87 not authorized: only your own topics``."""
    number = f"0x{code:02x}" if version >= 5 else str(code)
    words = reason_name(code, version)
    reason = (properties.get(PropertyId.REASON_STRING) if properties else None) or ""
    return " ".join((number, words)) + (f": {escape(reason, 256)}" if reason else "")


class Publishing:
    """Publishes one message, and ends when it is acknowledged (at QoS 0, when it is written)."""

    def __init__(self, message: Publish) -> None:
        self._message = message
        self._code = 0

    def begin(self, line: Line) -> None:
        line.send(self._message)
        if not self._message.qos:
            line.say("sent; at QoS 0 nobody acknowledges")
            line.finish(DONE)

    def received(self, line: Line, packet: Packet) -> None:
        if isinstance(packet, Puback | Pubrec | Pubcomp) and packet.packet_id == self._message.packet_id:
            code = packet.reason_code or 0
            if code >= 0x80:
                line.say(f"publish refused: {reason_text(code, packet.properties)}")
                line.finish(REFUSED)
            elif isinstance(packet, Pubrec):
                self._code = code
                line.send(Pubrel(packet.packet_id))
            else:
                # Not "published": below version 5 a refused message is acknowledged too [MQTT-3.3.5-2].
                self._code = self._code or code
                line.say("acknowledged" + (f": {reason_text(self._code)}" if self._code else ""))
                line.finish(DONE)

    def late(self) -> int:
        return MISSED


class Subscribing:
    """Subscribes, says which filters were granted, and prints messages.

    Args:
        filters: topic filters.
        qos: the QoS asked for.
        count: end after so many messages; 0 for never.
        verbose: print the topic before the payload.
    """

    def __init__(self, filters: Sequence[str], qos: int = 0, count: int = 0, verbose: bool = False) -> None:
        self._filters = filters
        self._qos = qos
        self._left = count
        self._counted = count > 0
        self._verbose = verbose
        self._refused = False
        self._unreleased: set[int] = set()

    def packet(self) -> Subscribe:
        """The SUBSCRIBE that it sends."""
        return Subscribe(PACKET_ID, [Subscription(filter, self._qos) for filter in self._filters])

    def begin(self, line: Line) -> None:
        line.send(self.packet())

    def received(self, line: Line, packet: Packet) -> None:
        if isinstance(packet, Suback):
            self._answered(line, packet)
        elif isinstance(packet, Publish):
            self._arrived(line, packet)
        elif isinstance(packet, Pubrel):
            self._unreleased.discard(packet.packet_id)
            line.send(Pubcomp(packet.packet_id))

    def late(self) -> int:
        if self._counted:
            return MISSED
        return REFUSED if self._refused else DONE

    def _answered(self, line: Line, packet: Suback) -> None:
        for filter, code in zip(self._filters, packet.reason_codes, strict=False):
            name = escape(filter, 256)
            if code < 0x80:
                line.say(f"subscribed to {name} (QoS {code})")
            else:
                self._refused = True
                reason = reason_text(code, packet.properties) if line.version >= 5 else "0x80 failure"
                line.say(f"refused {name}: {reason}")
        if min(packet.reason_codes) >= 0x80:
            line.finish(REFUSED)

    def _arrived(self, line: Line, packet: Publish) -> None:
        again = packet.packet_id in self._unreleased
        if packet.qos == 1:
            line.send(Puback(packet.packet_id))
        elif packet.qos == 2:
            self._unreleased.add(packet.packet_id)
            line.send(Pubrec(packet.packet_id))
        if again:
            return
        text = escape(packet.payload.decode("utf-8", "backslashreplace"), LONGEST)
        line.show(f"{escape(packet.topic, 256)} {text}" if self._verbose else text)
        if self._counted:
            self._left -= 1
            if not self._left:
                line.finish(REFUSED if self._refused else DONE)
