"""The fifteen MQTT packets as values, for MQTT 3.1 (level 3), 3.1.1 (level 4) and 5.0 (level 5).

Rules:

1. A packet object holds exactly what was on the wire: what `decode` accepts, `encode` gives back byte for byte.
   Where version 5 lets a field be left out (reason code, properties), it is `None`, which means the default.
2. Text is `str`, already checked to be the strict UTF-8 of [MQTT-1.5.4-1]; binary fields are `bytes`.
3. No policy here: a packet object says nothing about who may send it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from mgate.mqtt.properties import Properties

__all__ = [
    "Auth", "Connack", "Connect", "Disconnect", "Packet", "PacketType", "Pingreq", "Pingresp", "Puback", "Pubcomp",
    "Publish", "Pubrec", "Pubrel", "Suback", "Subscribe", "Subscription", "Unsuback", "Unsubscribe", "Will",
]  # fmt: skip


class PacketType(IntEnum):
    """The upper four bits of the first byte, MQTT 5.0 table 2-1."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


@dataclass(slots=True)
class Packet:
    """What all packets share. Interceptors may test `packet.type`."""

    type: ClassVar[PacketType]


@dataclass(slots=True)
class Will:
    """The will of a CONNECT (3.1.2.5). `properties` is None below version 5."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None


@dataclass(slots=True)
class Connect(Packet):
    """3.1 CONNECT. The flags byte is made from the fields: None means that the field is not there."""

    type: ClassVar[PacketType] = PacketType.CONNECT
    version: int
    client_id: str
    clean_start: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties | None = None
    flags: int = 0
    """The lower bits of the first byte, which MQTT 3.1 does not use."""
    reserved: bool = False
    """The lowest bit of the flags byte, which MQTT 3.1 does not use."""


@dataclass(slots=True)
class Connack(Packet):
    """3.2 CONNACK. `reason_code` is the return code of 3.1 and 3.1.1."""

    type: ClassVar[PacketType] = PacketType.CONNACK
    reason_code: int = 0
    session_present: bool = False
    properties: Properties | None = None


@dataclass(slots=True)
class Publish(Packet):
    """3.3 PUBLISH. `packet_id` is 0 exactly where QoS is 0. `topic` may be empty in version 5 (topic alias)."""

    type: ClassVar[PacketType] = PacketType.PUBLISH
    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties | None = None


@dataclass(slots=True)
class _Acknowledgement(Packet):
    packet_id: int
    reason_code: int | None = None
    properties: Properties | None = None
    flags: int = 0
    """The lower bits of the first byte; MQTT 3.1 lets PUBREL carry DUP."""


@dataclass(slots=True)
class Puback(_Acknowledgement):
    """3.4 PUBACK."""

    type: ClassVar[PacketType] = PacketType.PUBACK


@dataclass(slots=True)
class Pubrec(_Acknowledgement):
    """3.5 PUBREC."""

    type: ClassVar[PacketType] = PacketType.PUBREC


@dataclass(slots=True)
class Pubrel(_Acknowledgement):
    """3.6 PUBREL."""

    type: ClassVar[PacketType] = PacketType.PUBREL
    flags: int = 2


@dataclass(slots=True)
class Pubcomp(_Acknowledgement):
    """3.7 PUBCOMP."""

    type: ClassVar[PacketType] = PacketType.PUBCOMP


@dataclass(slots=True)
class Subscription:
    """One topic filter of a SUBSCRIBE with its options (3.8.3.1). Below version 5 only `qos` exists."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(slots=True)
class Subscribe(Packet):
    """3.8 SUBSCRIBE."""

    type: ClassVar[PacketType] = PacketType.SUBSCRIBE
    packet_id: int
    subscriptions: list[Subscription] = field(default_factory=list)
    properties: Properties | None = None
    flags: int = 2


@dataclass(slots=True)
class Suback(Packet):
    """3.9 SUBACK: one reason code (3.x: return code) for each filter."""

    type: ClassVar[PacketType] = PacketType.SUBACK
    packet_id: int
    reason_codes: list[int] = field(default_factory=list)
    properties: Properties | None = None


@dataclass(slots=True)
class Unsubscribe(Packet):
    """3.10 UNSUBSCRIBE."""

    type: ClassVar[PacketType] = PacketType.UNSUBSCRIBE
    packet_id: int
    filters: list[str] = field(default_factory=list)
    properties: Properties | None = None
    flags: int = 2


@dataclass(slots=True)
class Unsuback(Packet):
    """3.11 UNSUBACK: reason codes in version 5 only."""

    type: ClassVar[PacketType] = PacketType.UNSUBACK
    packet_id: int
    reason_codes: list[int] = field(default_factory=list)
    properties: Properties | None = None


@dataclass(slots=True)
class Pingreq(Packet):
    """3.12 PINGREQ."""

    type: ClassVar[PacketType] = PacketType.PINGREQ


@dataclass(slots=True)
class Pingresp(Packet):
    """3.13 PINGRESP."""

    type: ClassVar[PacketType] = PacketType.PINGRESP


@dataclass(slots=True)
class Disconnect(Packet):
    """3.14 DISCONNECT."""

    type: ClassVar[PacketType] = PacketType.DISCONNECT
    reason_code: int | None = None
    properties: Properties | None = None


@dataclass(slots=True)
class Auth(Packet):
    """3.15 AUTH, version 5 only."""

    type: ClassVar[PacketType] = PacketType.AUTH
    reason_code: int | None = None
    properties: Properties | None = None
