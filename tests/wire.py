"""Legal MQTT packets as bytes, made by hand from the specification.

The tests that speak to a running gateway use these, never `mgate.mqtt.encode`, so that a mistake of our codec cannot
hide behind the same mistake in its test. What is illegal is written out by the test that needs it, with `packet`,
`text` and `varint`.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "DISCONNECT", "PINGREQ", "PINGRESP", "Will", "auth", "connack", "connect", "disconnect", "integer", "packet",
    "packets", "properties", "puback", "pubcomp", "publish", "pubrec", "pubrel", "short", "suback", "subscribe",
    "text", "unsuback", "unsubscribe", "user_property", "varint",
]  # fmt: skip

PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"
DISCONNECT = b"\xe0\x00"


class Will(NamedTuple):
    """The will of a CONNECT; `properties` are the bytes behind their length."""

    topic: str | bytes = "will/topic"
    payload: bytes = b"gone"
    qos: int = 0
    retain: bool = False
    properties: bytes = b""


def varint(value: int) -> bytes:
    """A variable byte integer in its shortest form (1.5.5)."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def short(value: int) -> bytes:
    """A two byte integer."""
    return value.to_bytes(2, "big")


def integer(value: int) -> bytes:
    """A four byte integer."""
    return value.to_bytes(4, "big")


def text(value: str | bytes) -> bytes:
    """A UTF-8 string or binary data with its two byte length; bytes are taken as they are."""
    raw = value.encode() if isinstance(value, str) else value
    return short(len(raw)) + raw


def packet(first: int, body: bytes = b"") -> bytes:
    """A fixed header and `body`."""
    return bytes([first]) + varint(len(body)) + body


def properties(version: int, raw: bytes) -> bytes:
    """The properties with their length, or nothing below version 5."""
    return varint(len(raw)) + raw if version == 5 else b""


def user_property(key: str | bytes, value: str | bytes) -> bytes:
    """One User Property."""
    return b"\x26" + text(key) + text(value)


def connect(
    client_id: str | bytes = "device",
    *,
    version: int = 4,
    clean: bool = True,
    keep_alive: int = 0,
    username: str | bytes | None = None,
    password: bytes | None = None,
    will: Will | None = None,
    props: bytes = b"",
    flags: int | None = None,
    name: bytes | None = None,
    level: int | None = None,
) -> bytes:
    """A CONNECT; `flags`, `name` and `level` replace what the other arguments would give."""
    byte, tail = 2 if clean else 0, text(client_id)
    if will is not None:
        byte |= 4 | will.qos << 3 | (32 if will.retain else 0)
        tail += properties(version, will.properties) + text(will.topic) + text(will.payload)
    if username is not None:
        byte |= 128
        tail += text(username)
    if password is not None:
        byte |= 64
        tail += text(password)
    head = text((b"MQIsdp" if version == 3 else b"MQTT") if name is None else name)
    head += bytes([version if level is None else level, byte if flags is None else flags]) + short(keep_alive)
    return packet(0x10, head + properties(version, props) + tail)


def connack(code: int = 0, *, version: int = 4, present: int = 0, props: bytes = b"") -> bytes:
    """A CONNACK."""
    return packet(0x20, bytes([present, code]) + properties(version, props))


def publish(
    topic: str | bytes = "a/b",
    payload: bytes = b"payload",
    *,
    qos: int = 0,
    packet_id: int = 1,
    retain: bool = False,
    dup: bool = False,
    version: int = 4,
    props: bytes = b"",
) -> bytes:
    """A PUBLISH; with QoS 0 it has no packet identifier."""
    identifier = short(packet_id) if qos else b""
    first = 0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    return packet(first, text(topic) + identifier + properties(version, props) + payload)


def _acknowledgement(first: int, packet_id: int, code: int | None, props: bytes | None) -> bytes:
    tail = b"" if code is None else bytes([code])
    return packet(first, short(packet_id) + tail + (b"" if props is None else properties(5, props)))


def puback(packet_id: int = 1, code: int | None = None, props: bytes | None = None) -> bytes:
    """A PUBACK; without a code the form of two bytes, which all versions have."""
    return _acknowledgement(0x40, packet_id, code, props)


def pubrec(packet_id: int = 1, code: int | None = None, props: bytes | None = None) -> bytes:
    """A PUBREC, as `puback`."""
    return _acknowledgement(0x50, packet_id, code, props)


def pubrel(packet_id: int = 1, code: int | None = None, props: bytes | None = None) -> bytes:
    """A PUBREL, as `puback`."""
    return _acknowledgement(0x62, packet_id, code, props)


def pubcomp(packet_id: int = 1, code: int | None = None, props: bytes | None = None) -> bytes:
    """A PUBCOMP, as `puback`."""
    return _acknowledgement(0x70, packet_id, code, props)


def subscribe(
    *filters: str | bytes, packet_id: int = 1, options: int = 0, version: int = 4, props: bytes = b""
) -> bytes:
    """A SUBSCRIBE; `options` is the byte behind every filter."""
    entries = b"".join(text(one) + bytes([options]) for one in filters)
    return packet(0x82, short(packet_id) + properties(version, props) + entries)


def suback(packet_id: int, codes: bytes, *, version: int = 4, props: bytes = b"") -> bytes:
    """A SUBACK with one byte of `codes` for each filter."""
    return packet(0x90, short(packet_id) + properties(version, props) + codes)


def unsubscribe(*filters: str | bytes, packet_id: int = 1, version: int = 4, props: bytes = b"") -> bytes:
    """An UNSUBSCRIBE."""
    return packet(0xA2, short(packet_id) + properties(version, props) + b"".join(text(one) for one in filters))


def unsuback(packet_id: int, codes: bytes = b"", *, version: int = 4, props: bytes = b"") -> bytes:
    """An UNSUBACK; `codes` in version 5 only."""
    return packet(0xB0, short(packet_id) + properties(version, props) + (codes if version == 5 else b""))


def disconnect(code: int | None = None, props: bytes | None = None) -> bytes:
    """A DISCONNECT; without a code the form of no body, which all versions have."""
    tail = b"" if code is None else bytes([code])
    return packet(0xE0, tail + (b"" if props is None else properties(5, props)))


def auth(code: int | None = None, props: bytes | None = None) -> bytes:
    """An AUTH, version 5 only."""
    tail = b"" if code is None else bytes([code])
    return packet(0xF0, tail + (b"" if props is None else properties(5, props)))


def packets(stream: bytes) -> tuple[list[bytes], bytes]:
    """The whole packets at the start of `stream`, and the bytes behind them."""
    found, start = [], 0
    while True:
        length = shift = 0
        pos = start + 1
        while pos < len(stream):
            length |= (stream[pos] & 127) << shift
            shift += 7
            pos += 1
            if stream[pos - 1] < 128:
                break
        else:
            return found, stream[start:]
        if pos + length > len(stream):
            return found, stream[start:]
        found.append(stream[start : pos + length])
        start = pos + length
