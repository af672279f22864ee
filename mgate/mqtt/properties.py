"""The 27 properties of MQTT 5.0 (2.2.2): where each may stand, what it may hold, how it is read and written.

Rules:

1. Properties are kept as pairs in the order of the wire, so that user properties keep order and repetition, and
   what was read is written back byte for byte.
2. One row of a table says all about a property. Reading and writing ask the same row.
3. An unknown property is malformed (0x81), a repeated one or one with a forbidden value is a protocol error (0x82)
   [2.2.2.2, and "it is a Protocol Error" at each property].
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

from mgate.errors import Malformed
from mgate.mqtt.fields import (
    encode_binary,
    encode_integer,
    encode_text,
    encode_varint,
    read_binary,
    read_integer,
    read_text,
    read_varint,
)

__all__ = [
    "FROM_TARGET", "WILL", "Properties", "PropertyId", "decode_properties", "encode_properties", "encode_varint",
]  # fmt: skip

WILL = 0
"""The kind of the will properties of a CONNECT. The kind of any other properties is the number of its packet type."""
FROM_TARGET = 16
"""Added to the packet type where the target may send other properties than the device: PUBLISH and DISCONNECT."""


class PropertyId(IntEnum):
    """Table 2-4."""

    PAYLOAD_FORMAT_INDICATOR = 1
    MESSAGE_EXPIRY_INTERVAL = 2
    CONTENT_TYPE = 3
    RESPONSE_TOPIC = 8
    CORRELATION_DATA = 9
    SUBSCRIPTION_IDENTIFIER = 11
    SESSION_EXPIRY_INTERVAL = 17
    ASSIGNED_CLIENT_IDENTIFIER = 18
    SERVER_KEEP_ALIVE = 19
    AUTHENTICATION_METHOD = 21
    AUTHENTICATION_DATA = 22
    REQUEST_PROBLEM_INFORMATION = 23
    WILL_DELAY_INTERVAL = 24
    REQUEST_RESPONSE_INFORMATION = 25
    RESPONSE_INFORMATION = 26
    SERVER_REFERENCE = 28
    REASON_STRING = 31
    RECEIVE_MAXIMUM = 33
    TOPIC_ALIAS_MAXIMUM = 34
    TOPIC_ALIAS = 35
    MAXIMUM_QOS = 36
    RETAIN_AVAILABLE = 37
    USER_PROPERTY = 38
    MAXIMUM_PACKET_SIZE = 39
    WILDCARD_SUBSCRIPTION_AVAILABLE = 40
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 41
    SHARED_SUBSCRIPTION_AVAILABLE = 42


class Properties(list[tuple[int, Any]]):
    """Pairs of a `PropertyId` and its value, in the order of the wire.

    Values: `int` for numbers, `str` for text, `bytes` for binary data, `(str, str)` for a user property.
    """

    __slots__ = ()

    def get(self, identifier: int, default: Any = None) -> Any:
        """Return the first value of a property, or the default."""
        for found, value in self:
            if found == identifier:
                return value
        return default

    def all(self, identifier: int) -> list[Any]:
        """Return every value of a property that may be repeated."""
        return [value for found, value in self if found == identifier]

    def set(self, identifier: int, value: Any) -> None:
        """Put a value in the place of the first one, or at the end, and drop all others."""
        kept: list[tuple[int, Any]] = []
        pair: tuple[int, Any] | None = (identifier, value)
        for item in self:
            if item[0] != identifier:
                kept.append(item)
            elif pair is not None:
                kept.append(pair)
                pair = None
        if pair is not None:
            kept.append(pair)
        self[:] = kept

    def remove(self, identifier: int) -> None:  # type: ignore[override]
        """Drop every value of a property, if there is any."""
        self[:] = [item for item in self if item[0] != identifier]


class _Form(NamedTuple):
    """A data type, and which of its values are allowed."""

    read: Callable[[bytes, int, int], tuple[Any, int]]
    write: Callable[[Any], bytes]
    type: type
    forbids: Callable[[Any], bool] = lambda value: False
    code: int = 0x82


def _read_number(size: int, data: bytes, pos: int, stop: int) -> tuple[int, int]:
    return read_integer(data, pos, stop, size), pos + size


def _read_pair(data: bytes, pos: int, stop: int) -> tuple[tuple[str, str], int]:
    name, pos = read_text(data, pos, stop)
    value, pos = read_text(data, pos, stop)
    return (name, value), pos


def _encode_pair(pair: tuple[str, str]) -> bytes:
    name, value = pair
    if not isinstance(name, str) or not isinstance(value, str):
        raise ValueError("a user property is a pair of strings")
    return encode_text(name) + encode_text(value)


def _number(size: int, forbids: Callable[[int], bool] = lambda value: False, code: int = 0x82) -> _Form:
    return _Form(partial(_read_number, size), partial(encode_integer, size=size), int, forbids, code)


def _is_zero(value: int) -> bool:
    return value == 0


def _is_no_topic(value: str) -> bool:
    return not value or "#" in value or "+" in value


_FLAG = _number(1, lambda value: value > 1)
_SECONDS = _number(4)
_TEXT = _Form(read_text, encode_text, str)
_BINARY = _Form(read_binary, encode_binary, bytes)
_PAIR = _Form(_read_pair, _encode_pair, tuple)


def _mask(*kinds: int) -> int:
    return sum(1 << kind for kind in kinds)


_CONNECT, _CONNACK, _PUBLISH = 1, 2, 3
_SUBSCRIBE, _SUBACK, _UNSUBSCRIBE, _UNSUBACK, _DISCONNECT, _AUTH = 8, 9, 10, 11, 14, 15
_ACKNOWLEDGEMENTS = (4, 5, 6, 7)
_PUBLISHED = _mask(_PUBLISH, _PUBLISH + FROM_TARGET)
_DISCONNECTED = _mask(_DISCONNECT, _DISCONNECT + FROM_TARGET)
_MESSAGE = _PUBLISHED | _mask(WILL)
_LOGIN = _mask(_CONNECT, _CONNACK)
_REASONED = _mask(_CONNACK, *_ACKNOWLEDGEMENTS, _SUBACK, _UNSUBACK, _AUTH) | _DISCONNECTED
_ANYWHERE = _REASONED | _MESSAGE | _mask(_CONNECT, _SUBSCRIBE, _UNSUBSCRIBE)


class _Rule(NamedTuple):
    """One property: its data type, the kinds where it may stand, and those where it may stand more than once."""

    identifier: PropertyId
    form: _Form
    kinds: int
    repeats: int = 0


_RULES: dict[int, _Rule] = {
    rule.identifier: rule
    for rule in (
        _Rule(PropertyId.PAYLOAD_FORMAT_INDICATOR, _FLAG, _MESSAGE),
        _Rule(PropertyId.MESSAGE_EXPIRY_INTERVAL, _SECONDS, _MESSAGE),
        _Rule(PropertyId.CONTENT_TYPE, _TEXT, _MESSAGE),
        _Rule(PropertyId.RESPONSE_TOPIC, _TEXT._replace(forbids=_is_no_topic), _MESSAGE),
        _Rule(PropertyId.CORRELATION_DATA, _BINARY, _MESSAGE),
        _Rule(
            PropertyId.SUBSCRIPTION_IDENTIFIER,
            _Form(read_varint, encode_varint, int, _is_zero),
            _mask(_PUBLISH + FROM_TARGET, _SUBSCRIBE),
            _mask(_PUBLISH + FROM_TARGET),
        ),
        _Rule(PropertyId.SESSION_EXPIRY_INTERVAL, _SECONDS, _LOGIN | _mask(_DISCONNECT)),
        _Rule(PropertyId.ASSIGNED_CLIENT_IDENTIFIER, _TEXT, _mask(_CONNACK)),
        _Rule(PropertyId.SERVER_KEEP_ALIVE, _number(2), _mask(_CONNACK)),
        _Rule(PropertyId.AUTHENTICATION_METHOD, _TEXT, _LOGIN | _mask(_AUTH)),
        _Rule(PropertyId.AUTHENTICATION_DATA, _BINARY, _LOGIN | _mask(_AUTH)),
        _Rule(PropertyId.REQUEST_PROBLEM_INFORMATION, _FLAG, _mask(_CONNECT)),
        _Rule(PropertyId.WILL_DELAY_INTERVAL, _SECONDS, _mask(WILL)),
        _Rule(PropertyId.REQUEST_RESPONSE_INFORMATION, _FLAG, _mask(_CONNECT)),
        _Rule(PropertyId.RESPONSE_INFORMATION, _TEXT, _mask(_CONNACK)),
        _Rule(PropertyId.SERVER_REFERENCE, _TEXT, _mask(_CONNACK, _DISCONNECT + FROM_TARGET)),
        _Rule(PropertyId.REASON_STRING, _TEXT, _REASONED),
        _Rule(PropertyId.RECEIVE_MAXIMUM, _number(2, _is_zero), _LOGIN),
        _Rule(PropertyId.TOPIC_ALIAS_MAXIMUM, _number(2), _LOGIN),
        _Rule(PropertyId.TOPIC_ALIAS, _number(2, _is_zero, 0x94), _PUBLISHED),
        _Rule(PropertyId.MAXIMUM_QOS, _FLAG, _mask(_CONNACK)),
        _Rule(PropertyId.RETAIN_AVAILABLE, _FLAG, _mask(_CONNACK)),
        _Rule(PropertyId.USER_PROPERTY, _PAIR, _ANYWHERE, _ANYWHERE),
        _Rule(PropertyId.MAXIMUM_PACKET_SIZE, _number(4, _is_zero), _LOGIN),
        _Rule(PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE, _FLAG, _mask(_CONNACK)),
        _Rule(PropertyId.SUBSCRIPTION_IDENTIFIER_AVAILABLE, _FLAG, _mask(_CONNACK)),
        _Rule(PropertyId.SHARED_SUBSCRIPTION_AVAILABLE, _FLAG, _mask(_CONNACK)),
    )
}


def decode_properties(kind: int, data: bytes, pos: int, stop: int) -> tuple[Properties, int]:
    """Read the property length at `pos` and the properties behind it; for the decoders of packets.

    Args:
        kind: the packet type, plus `FROM_TARGET` for a PUBLISH or DISCONNECT of the target; or `WILL`.

    Returns:
        The properties, and the position behind them.

    Raises:
        Malformed: with the code that the clause of the property asks for.
    """
    length, pos = read_varint(data, pos, stop)
    properties = Properties()
    end = pos + length
    if end > stop:
        raise Malformed("properties run beyond their packet")
    place = 1 << kind
    seen = 0
    while pos < end:
        # An identifier is a Variable Byte Integer, but all that exist fit into one byte.
        rule = _RULES.get(data[pos])
        if rule is None:
            raise Malformed("unknown property")
        if not rule.kinds & place:
            if not rule.kinds & 1 << (kind ^ FROM_TARGET):
                raise Malformed("property not allowed in this packet")
            # It depends on the sender what may be there: the sender broke the protocol, unless it is malformed anyway.
            rule.form.read(data, pos + 1, end)
            raise Malformed("property not allowed in this direction", 0x82)
        bit = 1 << rule.identifier
        if seen & bit and not rule.repeats & place:
            raise Malformed("property given twice", 0x82)
        seen |= bit
        value, pos = rule.form.read(data, pos + 1, end)
        if rule.form.forbids(value):
            raise Malformed("property has a value that is not allowed", rule.form.code)
        properties.append((rule.identifier, value))
    return properties, end


def encode_properties(properties: Properties | None, kind: int | None = None) -> bytes:
    """Write properties with their length; None is written as none, a length of 0.

    Args:
        kind: the packet type or `WILL`, to check that each property may stand there in at least one direction.

    Raises:
        ValueError: one is unknown, has a value that is not allowed, or may not stand there, or not twice.
    """
    if not properties:
        return b"\0"
    place = -1 if kind is None else 1 << kind | 1 << kind + FROM_TARGET
    seen = 0
    encoded = bytearray()
    for identifier, value in properties:
        rule = _RULES.get(identifier)
        if rule is None:
            raise ValueError(f"there is no property {identifier}")
        bit = 1 << identifier
        if not rule.kinds & place or (seen & bit and not rule.repeats & place):
            raise ValueError(f"{rule.identifier.name} may not stand here")
        seen |= bit
        if not isinstance(value, rule.form.type) or rule.form.forbids(value):
            raise ValueError(f"{rule.identifier.name} may not have this value")
        encoded.append(identifier)
        encoded += rule.form.write(value)
    return encode_varint(len(encoded)) + encoded
