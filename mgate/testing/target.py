"""The far end of both probes: a broker that says yes."""

from __future__ import annotations

from collections.abc import Sequence

from mgate.demo.stream import PacketStream
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import (
    Connack,
    Connect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from mgate.outcome import Direction

__all__ = ["LARGEST", "FakeTarget"]

LARGEST = 256 * 1024 * 1024
"""No packet is too large for a fake: bytes."""


class FakeTarget:
    """Stands for the broker. It keeps what it is sent and agrees with everything; override `answer` for another.

    Attributes:
        packets: all that it was sent.
    """

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self._stream = PacketStream(Direction.UPLINK, limit=LARGEST)

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the gateway, and return the bytes of the answers."""
        answers = b""
        for packet in self._stream.receive(data):
            if isinstance(packet, Connect):
                self._stream.version = packet.version
            self.packets.append(packet)
            answers += b"".join(encode(self._stream.version, answer) for answer in self.answer(packet))
        return answers

    def answer(self, packet: Packet) -> Sequence[Packet]:
        """What a broker that agrees says to one packet."""
        match packet:
            case Connect():
                return [Connack()]
            case Publish(qos=1):
                return [Puback(packet.packet_id)]
            case Publish(qos=2):
                return [Pubrec(packet.packet_id)]
            case Pubrel():
                return [Pubcomp(packet.packet_id)]
            case Subscribe():
                return [Suback(packet.packet_id, [each.qos for each in packet.subscriptions])]
            case Unsubscribe():
                return [Unsuback(packet.packet_id, [0] * len(packet.filters) if self._stream.version == 5 else [])]
            case Pingreq():
                return [Pingresp()]
        return []
