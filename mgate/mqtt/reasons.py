"""Reason codes of MQTT 5.0 and return codes of 3.1 and 3.1.1: their names, and which packet may carry which.

The names label log lines. The sets are asked by the decoder and the encoder; a code outside them is refused
[MQTT-3.2.2-8, 3.4.2-1, 3.5.2-1, 3.6.2-1, 3.7.2-1, 3.9.3-2, 3.11.3-2, 3.14.2-1, 3.15.2-1].
"""

from __future__ import annotations

__all__ = [
    "AUTH_FROM_DEVICE", "AUTH_FROM_TARGET", "CONNACK_CODES", "DISCONNECT_FROM_DEVICE", "DISCONNECT_FROM_TARGET",
    "PUBACK_CODES", "PUBACK_FROM_TARGET", "PUBREL_CODES", "REASONS", "RETURN_CODES", "SUBACK_CODES",
    "SUBACK_RETURN_CODES", "UNSUBACK_CODES", "reason_name",
]  # fmt: skip

REASONS: dict[int, str] = {
    0x00: "success",
    0x01: "granted QoS 1",
    0x02: "granted QoS 2",
    0x04: "disconnect with will message",
    0x10: "no matching subscribers",
    0x11: "no subscription existed",
    0x18: "continue authentication",
    0x19: "re-authenticate",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x92: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}
"""MQTT 5.0 table 2-6, by number."""

RETURN_CODES: dict[int, str] = {
    0: "accepted",
    1: "unacceptable protocol version",
    2: "identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}
"""CONNACK of MQTT 3.1 and 3.1.1, by number."""

CONNACK_CODES = frozenset(
    [0, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F],
)
PUBACK_CODES = frozenset([0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
"""PUBACK and PUBREC."""
PUBACK_FROM_TARGET = PUBACK_CODES | {0x95}
"""Mosquitto has 0x95 for a message above its `message_size_limit`."""
PUBREL_CODES = frozenset([0, 0x92])
"""PUBREL and PUBCOMP."""
SUBACK_CODES = frozenset([0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2])
SUBACK_RETURN_CODES = frozenset([0, 1, 2, 0x80])
"""MQTT 3.1.1. Version 3.1 has no 0x80, but there are brokers that send it there too."""
UNSUBACK_CODES = frozenset([0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91])
DISCONNECT_FROM_DEVICE = frozenset([0, 4, *range(0x80, 0x84), 0x90, *range(0x93, 0x9A)])
DISCONNECT_FROM_TARGET = frozenset(
    # 0x8C is missing in table 3-10, but table 2-6 lists DISCONNECT for it, and a failed re-authentication needs it.
    [0, *range(0x80, 0x84), 0x87, 0x89, 0x8B, 0x8C, *range(0x8D, 0x91), *range(0x93, 0xA3)],
)
AUTH_FROM_DEVICE = frozenset([0x18, 0x19])
AUTH_FROM_TARGET = frozenset([0x00, 0x18])


def reason_name(code: int, version: int = 5) -> str:
    """Name a code for a log line: of version 5, or of a CONNACK below it. Unknown ones are named by their number."""
    names = REASONS if version >= 5 else RETURN_CODES
    return names.get(code) or f"0x{code:02x}"
