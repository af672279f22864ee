"""Bytes to packets, strictly. The relay calls `decode` for packets that somebody watches.

Rules:

1. Any bytes give a packet or `Malformed`, never another exception, in time linear in their number.
2. What is accepted is kept exactly: `encode` gives the same bytes back.
3. A packet that only the other side may send is refused, so a device cannot play the target, nor a target the device.
4. MQTT 3.1 leaves bits of the first byte unused where 3.1.1 and 5.0 fix them [MQTT-2.1.3-1], and old devices set
   them. In 3.1 they are kept in `flags` where the packet has that field; QoS 3 is refused there too. So is the
   lowest bit of CONNECT's flags byte [MQTT-3.1.2-3], kept in `reserved`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mgate.errors import Malformed
from mgate.mqtt import reasons
from mgate.mqtt.connect import UnsupportedVersion, decode_connack, decode_connect
from mgate.mqtt.fields import read_integer, read_text
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
from mgate.mqtt.properties import FROM_TARGET, Properties, PropertyId, decode_properties
from mgate.mqtt.text import SHARE, check_topic_filter, check_topic_name
from mgate.outcome import Direction

__all__ = ["UnsupportedVersion", "decode", "decode_connect"]


def decode(version: int, direction: Direction, head: int, data: bytes, body: int, stop: int) -> Packet:
    """Read one whole packet.

    Args:
        version: the protocol level of the connection: 3, 4 or 5. A CONNECT is read by the level that it names.
        direction: who sent it.
        head: its first byte.
        data: a buffer that holds it.
        body: where its body starts, behind the Remaining Length.
        stop: where it ends.

    Raises:
        Malformed: with the reason code for the DISCONNECT or CONNACK of version 5.
    """
    readers = _FROM_DEVICE if direction is Direction.UPLINK else _FROM_TARGET
    return readers[head >> 4](version, head, data, body, stop)


def _connect(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    return decode_connect(head, data, body, stop)


def _connack(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    _check_flags(head, 0)
    return decode_connack(version, data, body, stop)


def _publish(kind: int, version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    qos = head >> 1 & 3
    if qos == 3:
        raise Malformed("QoS 3")  # [MQTT-3.3.1-4]
    dup = head & 8 != 0
    if dup and not qos and version > 3:
        raise Malformed("DUP with QoS 0")  # [MQTT-3.3.1-2]
    topic, pos = read_text(data, body, stop)
    packet_id = 0
    if qos:
        packet_id = _packet_id(data, pos, stop)
        pos += 2
    properties: Properties | None = None
    if version >= 5:
        properties, pos = decode_properties(kind, data, pos, stop)
    if topic or properties is None or properties.get(PropertyId.TOPIC_ALIAS) is None:
        check_topic_name(topic)
    return Publish(topic, data[pos:stop], qos, head & 1 != 0, dup, packet_id, properties)


def _puback(codes: frozenset[int], version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    return Puback(*_acknowledgement(version, head, 0, codes, data, body, stop))


def _pubrec(codes: frozenset[int], version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    return Pubrec(*_acknowledgement(version, head, 0, codes, data, body, stop))


def _pubrel(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    return Pubrel(*_acknowledgement(version, head, 2, reasons.PUBREL_CODES, data, body, stop))


def _pubcomp(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    return Pubcomp(*_acknowledgement(version, head, 0, reasons.PUBREL_CODES, data, body, stop))


def _acknowledgement(
    version: int, head: int, flags: int, codes: frozenset[int], data: bytes, body: int, stop: int
) -> tuple[int, int | None, Properties | None, int]:
    flags = _check_old_flags(version, head, flags)
    packet_id = _packet_id(data, body, stop)
    code, properties = _reason(head >> 4, codes, data, body + 2, stop if version >= 5 else body + 2)
    if version < 5 and body + 2 != stop:
        raise Malformed("bytes behind the packet identifier")
    return packet_id, code, properties, flags


def _subscribe(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    flags = _check_old_flags(version, head, 2)
    packet_id, properties, pos = _identified(PacketType.SUBSCRIBE, version, data, body, stop)
    subscriptions: list[Subscription] = []
    while pos < stop:
        filter, pos = read_text(data, pos, stop)
        check_topic_filter(filter)
        options = read_integer(data, pos, stop, 1)
        pos += 1
        if options & (0xC0 if version >= 5 else 0xFC):
            raise Malformed("reserved subscription option is set")  # [MQTT-3.8.3-5]
        subscription = Subscription(filter, options & 3, options & 4 != 0, options & 8 != 0, options >> 4)
        if subscription.qos == 3 or subscription.retain_handling == 3:
            raise Malformed("QoS or retain handling of a subscription is 3", 0x82)
        if subscription.no_local and filter.startswith(SHARE):
            raise Malformed("shared subscription with no local", 0x82)  # [MQTT-3.8.3-4]
        subscriptions.append(subscription)
    if not subscriptions:
        raise Malformed("SUBSCRIBE without a topic filter", 0x82)  # [MQTT-3.8.3-2]
    return Subscribe(packet_id, subscriptions, properties, flags)


def _suback(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    _check_flags(head, 0)
    packet_id, properties, pos = _identified(PacketType.SUBACK, version, data, body, stop)
    codes = data[pos:stop]
    if not codes or not (reasons.SUBACK_CODES if version >= 5 else reasons.SUBACK_RETURN_CODES).issuperset(codes):
        raise Malformed("SUBACK without a reason code, or with an unknown one", 0x82)
    return Suback(packet_id, list(codes), properties)


def _unsubscribe(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    flags = _check_old_flags(version, head, 2)
    packet_id, properties, pos = _identified(PacketType.UNSUBSCRIBE, version, data, body, stop)
    filters: list[str] = []
    while pos < stop:
        filter, pos = read_text(data, pos, stop)
        check_topic_filter(filter)
        filters.append(filter)
    if not filters:
        raise Malformed("UNSUBSCRIBE without a topic filter", 0x82)  # [MQTT-3.10.3-2]
    return Unsubscribe(packet_id, filters, properties, flags)


def _unsuback(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    _check_flags(head, 0)
    packet_id, properties, pos = _identified(PacketType.UNSUBACK, version, data, body, stop)
    codes = data[pos:stop]
    if version < 5:
        _check_empty(pos, stop)
    elif not codes or not reasons.UNSUBACK_CODES.issuperset(codes):
        raise Malformed("UNSUBACK without a reason code, or with an unknown one", 0x82)
    return Unsuback(packet_id, list(codes), properties)


def _pingreq(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    _check_flags(head, 0)
    _check_empty(body, stop)
    return Pingreq()


def _pingresp(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    _check_flags(head, 0)
    _check_empty(body, stop)
    return Pingresp()


def _disconnect_up(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    _check_flags(head, 0)
    if version < 5:
        _check_empty(body, stop)
    return Disconnect(*_reason(PacketType.DISCONNECT, reasons.DISCONNECT_FROM_DEVICE, data, body, stop))


def _disconnect_down(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    if version < 5:
        return _wrong_side(version, head, data, body, stop)
    _check_flags(head, 0)
    return Disconnect(*_reason(PacketType.DISCONNECT + FROM_TARGET, reasons.DISCONNECT_FROM_TARGET, data, body, stop))


def _auth(codes: frozenset[int], version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    if version < 5:
        return _reserved(version, head, data, body, stop)
    _check_flags(head, 0)
    if body == stop:
        if 0 not in codes:
            raise Malformed("AUTH of a device without a reason code", 0x82)
        return Auth()
    code = read_integer(data, body, stop, 1)
    if code not in codes:
        raise Malformed("reason code that this side may not send", 0x82)  # [MQTT-3.15.2-1]
    # Unlike the other packets, AUTH has no form with a reason code alone (3.15.2.1).
    properties, pos = decode_properties(PacketType.AUTH, data, body + 1, stop)
    _check_empty(pos, stop)
    if properties.get(PropertyId.AUTHENTICATION_METHOD) is None:
        raise Malformed("AUTH without an authentication method", 0x82)
    return Auth(code, properties)


def _reserved(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    raise Malformed("packet type is reserved")


def _wrong_side(version: int, head: int, data: bytes, body: int, stop: int) -> Packet:
    raise Malformed("packet that only the other side may send", 0x82)


def _check_flags(head: int, flags: int) -> None:
    if head & 15 != flags:
        raise Malformed("flags of the fixed header are wrong")  # [MQTT-2.1.3-1]


def _check_old_flags(version: int, head: int, flags: int) -> int:
    """Check the flags of a packet that keeps them for MQTT 3.1 (rule 4), and return them."""
    if version > 3 or head & 6 == 6:
        _check_flags(head, flags)
    return head & 15


def _check_empty(pos: int, stop: int) -> None:
    if pos != stop:
        raise Malformed("bytes behind the last field of the packet")


def _packet_id(data: bytes, pos: int, stop: int) -> int:
    packet_id = read_integer(data, pos, stop)
    if not packet_id:
        raise Malformed("packet identifier is 0", 0x82)  # [MQTT-2.2.1-3]
    return packet_id


def _identified(
    kind: PacketType, version: int, data: bytes, body: int, stop: int
) -> tuple[int, Properties | None, int]:
    """Read how the four packets around subscriptions begin. Returns identifier, properties, and what comes next."""
    packet_id = _packet_id(data, body, stop)
    if version < 5:
        return packet_id, None, body + 2
    properties, pos = decode_properties(kind, data, body + 2, stop)
    return packet_id, properties, pos


def _reason(kind: int, codes: frozenset[int], data: bytes, pos: int, stop: int) -> tuple[int | None, Properties | None]:
    """Read how acknowledgements and DISCONNECT end: nothing, a reason code, or a reason code and properties."""
    if pos == stop:
        return None, None
    code = data[pos]
    if code not in codes:
        raise Malformed("reason code that this packet may not carry", 0x82)
    if pos + 1 == stop:
        return code, None
    properties, pos = decode_properties(kind, data, pos + 1, stop)
    _check_empty(pos, stop)
    return code, properties


_Reader = Callable[[int, int, bytes, int, int], Packet]

_publish_up = partial(_publish, PacketType.PUBLISH)
_publish_down = partial(_publish, PacketType.PUBLISH + FROM_TARGET)
_puback_up = partial(_puback, reasons.PUBACK_CODES)
_puback_down = partial(_puback, reasons.PUBACK_FROM_TARGET)
_pubrec_up = partial(_pubrec, reasons.PUBACK_CODES)
_pubrec_down = partial(_pubrec, reasons.PUBACK_FROM_TARGET)
_auth_up = partial(_auth, reasons.AUTH_FROM_DEVICE)
_auth_down = partial(_auth, reasons.AUTH_FROM_TARGET)

_FROM_DEVICE: tuple[_Reader, ...] = (
    _reserved, _connect, _wrong_side, _publish_up, _puback_up, _pubrec_up, _pubrel, _pubcomp,
    _subscribe, _wrong_side, _unsubscribe, _wrong_side, _pingreq, _wrong_side, _disconnect_up, _auth_up,
)  # fmt: skip
_FROM_TARGET: tuple[_Reader, ...] = (
    _reserved, _wrong_side, _connack, _publish_down, _puback_down, _pubrec_down, _pubrel, _pubcomp,
    _wrong_side, _suback, _wrong_side, _unsuback, _wrong_side, _pingresp, _disconnect_down, _auth_down,
)  # fmt: skip
