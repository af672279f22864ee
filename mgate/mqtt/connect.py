"""The two packets that open a connection, CONNECT and CONNACK, read and written (MQTT 5.0 3.1 and 3.2).

CONNECT is the one packet that names its own version, so it is read without one: `decode_connect`.
"""

from __future__ import annotations

from mgate.errors import Malformed
from mgate.mqtt.fields import encode_binary, encode_integer, encode_text, read_binary, read_integer, read_text
from mgate.mqtt.packets import Connack, Connect, PacketType, Will
from mgate.mqtt.properties import WILL, Properties, PropertyId, decode_properties, encode_properties
from mgate.mqtt.reasons import CONNACK_CODES, RETURN_CODES
from mgate.mqtt.text import check_topic_name

__all__ = ["UnsupportedVersion", "decode_connack", "decode_connect", "encode_connack", "encode_connect"]

_MQTT = b"\0\4MQTT"
_MQISDP = b"\0\6MQIsdp"

_USERNAME, _PASSWORD, _RETAIN, _QOS, _WILL, _CLEAN_START, _RESERVED = 0x80, 0x40, 0x20, 0x18, 0x04, 0x02, 0x01


class UnsupportedVersion(Malformed):
    """The protocol name is known, but not with this level. `version` holds the level byte as it came."""

    reason = "unsupported_version"

    def __init__(self, level: int) -> None:
        super().__init__("protocol level is not supported", 0x84, level)


def decode_connect(head: int, data: bytes, body: int, stop: int) -> Connect:
    """Read the CONNECT whose first byte is `head` and whose body is `data[body:stop]`; the relay calls it for the
    first packet of a device.

    Raises:
        UnsupportedVersion: a level other than 3, 4 and 5.
        Malformed: anything else; `version` is set as soon as the level is known, else it is 0.
    """
    start = data[body : min(stop, body + 8)]
    if start.startswith(_MQTT):
        levels, pos = range(4, 6), body + len(_MQTT)
    elif start == _MQISDP:
        levels, pos = range(3, 4), body + len(_MQISDP)
    else:
        raise Malformed("protocol name is neither MQTT nor MQIsdp")
    level = read_integer(data, pos, stop, 1)
    if level not in (3, 4, 5):
        raise UnsupportedVersion(level)
    if level not in levels:
        raise Malformed("the protocol name belongs to another level")
    try:
        return _decode_fields(level, head & 15, data, pos + 1, stop)
    except Malformed as broken:
        broken.version = level
        raise


def _decode_fields(version: int, unused: int, data: bytes, pos: int, stop: int) -> Connect:
    flags = read_integer(data, pos, stop, 1)
    reserved = flags & _RESERVED != 0
    _check_unused(version, unused, reserved)
    if flags & (_RETAIN | _QOS) and not flags & _WILL:
        raise Malformed("QoS or retain of a will that is not there")  # [MQTT-3.1.2-11, 3.1.2-13]
    if flags & _PASSWORD and not flags & _USERNAME and version < 5:
        raise Malformed("password without user name")  # [MQTT-3.1.2-22] of version 3.1.1
    keep_alive = read_integer(data, pos + 1, stop)
    pos += 3
    properties: Properties | None = None
    if version >= 5:
        properties, pos = decode_properties(PacketType.CONNECT, data, pos, stop)
        _check_authentication(properties)
    client_id, pos = read_text(data, pos, stop)
    will: Will | None = None
    if flags & _WILL:
        will, pos = _decode_will(version, flags, data, pos, stop)
    username: str | None = None
    if flags & _USERNAME:
        username, pos = read_text(data, pos, stop)
    password: bytes | None = None
    if flags & _PASSWORD:
        password, pos = read_binary(data, pos, stop)
    if pos != stop:
        raise Malformed("bytes behind the last field of CONNECT")
    clean_start = flags & _CLEAN_START != 0
    _check_client_id(version, client_id, clean_start)
    return Connect(version, client_id, clean_start, keep_alive, username, password, will, properties, unused, reserved)


def _decode_will(version: int, flags: int, data: bytes, pos: int, stop: int) -> tuple[Will, int]:
    qos = (flags & _QOS) >> 3
    if qos == 3:
        raise Malformed("QoS 3 of a will")  # [MQTT-3.1.2-12]
    properties: Properties | None = None
    if version >= 5:
        properties, pos = decode_properties(WILL, data, pos, stop)
    topic, pos = read_text(data, pos, stop)
    try:
        check_topic_name(topic)
    except Malformed as broken:
        # CONNACK has other codes than DISCONNECT: 0x90 in it would say that this topic is closed to the device.
        broken.code = 0x81
        raise
    payload, pos = read_binary(data, pos, stop)
    return Will(topic, payload, qos, flags & _RETAIN != 0, properties), pos


def _check_unused(version: int, flags: int, reserved: bool) -> None:
    """Check the bits that MQTT 3.1 does not use (`mgate.mqtt.decode`, rule 4)."""
    if flags & 6 == 6 or not 0 <= flags <= (15 if version == 3 else 0):
        raise Malformed("flags of the fixed header are wrong")  # [MQTT-2.1.3-1]
    if reserved and version > 3:
        raise Malformed("reserved flag of CONNECT is set")  # [MQTT-3.1.2-3]


def _check_client_id(version: int, client_id: str, clean_start: bool) -> None:
    """Refuse an empty identifier where the target may not choose one [MQTT-3.1.3-8]; 3.1 never lets it."""
    if not client_id and (version == 3 or (version == 4 and not clean_start)):
        raise Malformed("client identifier is empty", 0x85)


def _check_authentication(properties: Properties) -> None:
    """Refuse authentication data of no method (3.1.2.11.10)."""
    if (
        properties.get(PropertyId.AUTHENTICATION_DATA) is not None
        and properties.get(PropertyId.AUTHENTICATION_METHOD) is None
    ):
        raise Malformed("authentication data without a method", 0x82)


def encode_connect(version: int, packet: Connect) -> tuple[int, tuple[bytes, ...]]:
    """Write a CONNECT for `mgate.mqtt.encode`: the flags of the fixed header, and the parts of the body.

    Raises:
        ValueError, Malformed: a field may not be as it is.
    """
    if packet.version != version or version not in (3, 4, 5):
        raise ValueError("CONNECT is of another version")
    if version < 5 and packet.properties:
        raise ValueError("properties below version 5")
    if version < 5 and packet.password is not None and packet.username is None:
        raise ValueError("password without user name")
    _check_unused(version, packet.flags, packet.reserved)
    _check_client_id(version, packet.client_id, packet.clean_start)
    flags = (_CLEAN_START if packet.clean_start else 0) | (_RESERVED if packet.reserved else 0)
    parts = [encode_integer(packet.keep_alive)]
    if version >= 5:
        _check_authentication(packet.properties or Properties())
        parts.append(encode_properties(packet.properties, PacketType.CONNECT))
    parts.append(encode_text(packet.client_id))
    if packet.will is not None:
        flags |= _WILL | packet.will.qos << 3 | (_RETAIN if packet.will.retain else 0)
        parts.append(_encode_will(version, packet.will))
    if packet.username is not None:
        flags |= _USERNAME
        parts.append(encode_text(packet.username))
    if packet.password is not None:
        flags |= _PASSWORD
        parts.append(encode_binary(packet.password))
    name = _MQISDP if version == 3 else _MQTT
    return packet.flags, (name, bytes((version, flags)), *parts)


def _encode_will(version: int, will: Will) -> bytes:
    if will.qos not in (0, 1, 2):
        raise ValueError("QoS of a will is 0, 1 or 2")
    check_topic_name(will.topic)
    message = encode_text(will.topic) + encode_binary(will.payload)
    if version >= 5:
        return encode_properties(will.properties, WILL) + message
    if will.properties:
        raise ValueError("properties below version 5")
    return message


def decode_connack(version: int, data: bytes, body: int, stop: int) -> Connack:
    """Read the CONNACK whose body is `data[body:stop]`; for `mgate.mqtt.decode`."""
    flags = read_integer(data, body, stop, 1)
    code = read_integer(data, body + 1, stop, 1)
    if flags > 1:
        raise Malformed("reserved flag of CONNACK is set")  # [MQTT-3.2.2-1]
    if flags and code:
        raise Malformed("session present in a CONNACK that refuses", 0x82)  # [MQTT-3.2.2-6]
    if code not in (CONNACK_CODES if version >= 5 else RETURN_CODES):
        raise Malformed("CONNACK has no such reason code", 0x82)
    pos = body + 2
    properties: Properties | None = None
    if version >= 5:
        properties, pos = decode_properties(PacketType.CONNACK, data, pos, stop)
        _check_authentication(properties)
    if pos != stop:
        raise Malformed("bytes behind the last field of CONNACK")
    return Connack(code, flags == 1, properties)


def encode_connack(version: int, packet: Connack) -> tuple[int, tuple[bytes, ...]]:
    """Write a CONNACK for `mgate.mqtt.encode`: the flags of the fixed header, and the parts of the body.

    Raises:
        ValueError, Malformed: a field may not be as it is.
    """
    if packet.reason_code not in (CONNACK_CODES if version >= 5 else RETURN_CODES):
        raise ValueError("CONNACK has no such reason code")
    if packet.session_present and packet.reason_code:
        raise ValueError("session present in a CONNACK that refuses")
    start = bytes((1 if packet.session_present else 0, packet.reason_code))
    if version >= 5:
        _check_authentication(packet.properties or Properties())
        return 0, (start, encode_properties(packet.properties, PacketType.CONNACK))
    if packet.properties:
        raise ValueError("properties below version 5")
    return 0, (start,)
