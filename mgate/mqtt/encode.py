"""Packets to bytes, exactly: fixed header and all. The relay calls `encode` for packets that somebody edited or made.

Rules:

1. `decode` reads back the same packet, with one exception: a None that version 5 does not let be left out (the
   properties of PUBLISH) is written as none, and read back as empty.
2. What `decode` refuses from both sides cannot be written: it is a `ValueError`, and nothing leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mgate.errors import Malformed
from mgate.mqtt import reasons
from mgate.mqtt.connect import encode_connack, encode_connect
from mgate.mqtt.fields import encode_integer, encode_text, encode_varint
from mgate.mqtt.packets import (
    Auth,
    Disconnect,
    Packet,
    PacketType,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from mgate.mqtt.properties import Properties, PropertyId, encode_properties
from mgate.mqtt.text import SHARE, check_topic_filter, check_topic_name

__all__ = ["encode"]

_Parts = tuple[int, tuple[bytes, ...]]
"""The lower four bits of the first byte, and the body in parts, so that a payload is copied only once."""


def encode(version: int, packet: Packet) -> bytes:
    """Write one whole packet for a connection of this protocol level.

    Raises:
        ValueError: a field has a value that this version cannot carry, or one of the wrong type.
    """
    try:
        flags, parts = _WRITERS[packet.type](version, packet)
        length = encode_varint(sum(map(len, parts)))
        return b"".join((bytes((packet.type << 4 | flags,)), length, *parts))
    except Malformed as broken:
        raise ValueError(broken.text) from None
    except (AttributeError, TypeError) as wrong:
        # Handlers fill in fields, and no type checker stands between them and this.
        raise ValueError("a field has a value of the wrong type") from wrong


def _publish(version: int, packet: Publish) -> _Parts:
    if packet.qos not in (0, 1, 2):
        raise ValueError("QoS is 0, 1 or 2")
    if packet.dup and not packet.qos and version > 3:
        raise ValueError("DUP with QoS 0")
    if packet.topic or version < 5 or (packet.properties or Properties()).get(PropertyId.TOPIC_ALIAS) is None:
        check_topic_name(packet.topic)
    if packet.qos:
        packet_id = _packet_id(packet.packet_id)
    elif packet.packet_id:
        raise ValueError("packet identifier with QoS 0")
    else:
        packet_id = b""
    flags = (8 if packet.dup else 0) | packet.qos << 1 | (1 if packet.retain else 0)
    properties = _properties(version, PacketType.PUBLISH, packet.properties)
    return flags, (encode_text(packet.topic), packet_id, properties, packet.payload)


def _acknowledgement(version: int, packet: Puback | Pubrec | Pubrel | Pubcomp) -> _Parts:
    acknowledges = packet.type in (PacketType.PUBACK, PacketType.PUBREC)
    codes = reasons.PUBACK_FROM_TARGET if acknowledges else reasons.PUBREL_CODES
    flags = _flags(version, packet.flags, 2 if packet.type == PacketType.PUBREL else 0)
    return flags, (_packet_id(packet.packet_id), _reason(version, codes, packet))


def _subscribe(version: int, packet: Subscribe) -> _Parts:
    if not packet.subscriptions:
        raise ValueError("SUBSCRIBE without a topic filter")
    return _flags(version, packet.flags, 2), (
        _packet_id(packet.packet_id),
        _properties(version, PacketType.SUBSCRIBE, packet.properties),
        *(_subscription(version, subscription) for subscription in packet.subscriptions),
    )


def _subscription(version: int, subscription: Subscription) -> bytes:
    check_topic_filter(subscription.filter)
    if subscription.qos not in (0, 1, 2) or subscription.retain_handling not in (0, 1, 2):
        raise ValueError("QoS and retain handling are 0, 1 or 2")
    options = (4 if subscription.no_local else 0) | (8 if subscription.retain_as_published else 0)
    options |= subscription.retain_handling << 4
    if options and version < 5:
        raise ValueError("subscription option below version 5")
    if subscription.no_local and subscription.filter.startswith(SHARE):
        raise ValueError("shared subscription with no local")
    return encode_text(subscription.filter) + bytes((options | subscription.qos,))


def _suback(version: int, packet: Suback) -> _Parts:
    codes = reasons.SUBACK_CODES if version >= 5 else reasons.SUBACK_RETURN_CODES
    if not packet.reason_codes or not codes.issuperset(packet.reason_codes):
        raise ValueError("SUBACK without a reason code, or with an unknown one")
    return 0, (
        _packet_id(packet.packet_id),
        _properties(version, PacketType.SUBACK, packet.properties),
        bytes(packet.reason_codes),
    )


def _unsubscribe(version: int, packet: Unsubscribe) -> _Parts:
    if not packet.filters:
        raise ValueError("UNSUBSCRIBE without a topic filter")
    for filter in packet.filters:
        check_topic_filter(filter)
    return _flags(version, packet.flags, 2), (
        _packet_id(packet.packet_id),
        _properties(version, PacketType.UNSUBSCRIBE, packet.properties),
        *map(encode_text, packet.filters),
    )


def _unsuback(version: int, packet: Unsuback) -> _Parts:
    if (version < 5) is bool(packet.reason_codes) or not reasons.UNSUBACK_CODES.issuperset(packet.reason_codes):
        raise ValueError("UNSUBACK has reason codes in version 5, and there only known ones")
    return 0, (
        _packet_id(packet.packet_id),
        _properties(version, PacketType.UNSUBACK, packet.properties),
        bytes(packet.reason_codes),
    )


def _ping(version: int, packet: Pingreq | Pingresp) -> _Parts:
    return 0, ()


def _disconnect(version: int, packet: Disconnect) -> _Parts:
    return 0, (_reason(version, reasons.DISCONNECT_FROM_DEVICE | reasons.DISCONNECT_FROM_TARGET, packet),)


def _auth(version: int, packet: Auth) -> _Parts:
    if version < 5:
        raise ValueError("AUTH below version 5")
    if packet.reason_code is None and packet.properties is None:
        return 0, ()
    if packet.properties is None or packet.properties.get(PropertyId.AUTHENTICATION_METHOD) is None:
        raise ValueError("AUTH without an authentication method")
    return 0, (_reason(version, reasons.AUTH_FROM_DEVICE | reasons.AUTH_FROM_TARGET, packet),)


def _flags(version: int, flags: int, fixed: int) -> int:
    """Check the flags of a packet that keeps them for MQTT 3.1 (`mgate.mqtt.decode`, rule 4)."""
    if flags != fixed and (version > 3 or flags & 6 == 6 or not 0 <= flags <= 15):
        raise ValueError("flags of the fixed header are wrong")
    return flags


def _packet_id(packet_id: int) -> bytes:
    if not packet_id:
        raise ValueError("packet identifier is 0")
    return encode_integer(packet_id)


def _properties(version: int, kind: PacketType, properties: Properties | None) -> bytes:
    if version >= 5:
        return encode_properties(properties, kind)
    if properties:
        raise ValueError("properties below version 5")
    return b""


def _reason(
    version: int, codes: frozenset[int], packet: Puback | Pubrec | Pubrel | Pubcomp | Disconnect | Auth
) -> bytes:
    """Write how acknowledgements, DISCONNECT and AUTH end: nothing, a reason code, or that and properties."""
    code = packet.reason_code or 0
    if version < 5:
        if code or packet.properties:
            raise ValueError("reason code or properties below version 5")
        return b""
    if code not in codes:
        raise ValueError("reason code that this packet may not carry")
    if packet.properties is not None:
        return bytes((code,)) + encode_properties(packet.properties, packet.type)
    return b"" if packet.reason_code is None else bytes((code,))


_WRITERS: dict[PacketType, Callable[[int, Any], _Parts]] = {
    PacketType.CONNECT: encode_connect,
    PacketType.CONNACK: encode_connack,
    PacketType.PUBLISH: _publish,
    PacketType.PUBACK: _acknowledgement,
    PacketType.PUBREC: _acknowledgement,
    PacketType.PUBREL: _acknowledgement,
    PacketType.PUBCOMP: _acknowledgement,
    PacketType.SUBSCRIBE: _subscribe,
    PacketType.SUBACK: _suback,
    PacketType.UNSUBSCRIBE: _unsubscribe,
    PacketType.UNSUBACK: _unsuback,
    PacketType.PINGREQ: _ping,
    PacketType.PINGRESP: _ping,
    PacketType.DISCONNECT: _disconnect,
    PacketType.AUTH: _auth,
}
