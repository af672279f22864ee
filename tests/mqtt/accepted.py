"""Packets that must be read and written back byte for byte; part of the table in `tests.mqtt.cases`."""

from __future__ import annotations

from mgate.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
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
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)  # fmt: skip
from mgate.mqtt.properties import Properties
from mgate.outcome import Direction
from tests.wire import Will as WireWill
from tests.wire import connect, integer, packet, properties, puback, short, text, user_property

__all__ = ["ACCEPTED"]

UP, DOWN = Direction.UPLINK, Direction.DOWNLINK
NONE = Properties()
ID = b"\0\7"
"""A packet identifier, 7."""


def _good_in_all(version: int) -> list[tuple[str, Direction, bytes, Packet]]:
    """What passes in every version; in version 5 there are empty properties between the fields."""
    none = NONE if version == 5 else None
    empty = properties(version, b"")
    return [
        ("publish", UP, packet(0x30, text("a/b") + empty + b"hi"), Publish("a/b", b"hi", properties=none)),
        ("publish down", DOWN, packet(0x30, text("a") + empty), Publish("a", properties=none)),
        ("M33 empty retained", UP, packet(0x31, text("/") + empty), Publish("/", retain=True, properties=none)),
        (
            "M33 100 KiB",
            UP,
            packet(0x3D, text("a") + ID + empty + b"\xff" * 102400),
            Publish("a", b"\xff" * 102400, 2, True, True, 7, none),
        ),
        (
            "publish qos 1",
            UP,
            packet(0x32, text("a") + ID + empty + b"\0"),
            Publish("a", b"\0", 1, False, False, 7, none),
        ),
        ("M31 byte order mark", UP, packet(0x30, text(b"\xef\xbb\xbfa") + empty), Publish("\ufeffa", properties=none)),
        ("M31 U+2A6D4", UP, packet(0x30, text(b"\xf0\xaa\x9b\x94") + empty), Publish("\U0002a6d4", properties=none)),
        ("M31 NFD", UP, packet(0x30, text(b"e\xcc\x81") + empty), Publish("e\u0301", properties=none)),
        ("noncharacter", UP, packet(0x30, text(b"\xef\xbf\xbf") + empty), Publish("\uffff", properties=none)),
        ("M35 slashes", UP, packet(0x30, text("/" * 65535) + empty), Publish("/" * 65535, properties=none)),
        ("puback", UP, packet(0x40, ID), Puback(7)),
        ("pubrec", DOWN, packet(0x50, ID), Pubrec(7)),
        ("pubrel", UP, packet(0x62, ID), Pubrel(7)),
        ("pubcomp", DOWN, packet(0x70, ID), Pubcomp(7)),
        (
            "subscribe",
            UP,
            packet(0x82, ID + empty + text("a/+/#") + b"\0" + text("#") + b"\1" + text("+") + b"\2"),
            Subscribe(7, [Subscription("a/+/#"), Subscription("#", 1), Subscription("+", 2)], none),
        ),
        (
            "M49 shared",
            UP,
            packet(0x82, ID + empty + text("$share/g/x") + b"\1" + text("$queue/a/+") + b"\0" + text("$share") + b"\0"),
            Subscribe(7, [Subscription("$share/g/x", 1), Subscription("$queue/a/+"), Subscription("$share")], none),
        ),
        ("suback", DOWN, packet(0x90, ID + empty + b"\0\1\2\x80"), Suback(7, [0, 1, 2, 0x80], none)),
        ("unsubscribe", UP, packet(0xA2, ID + empty + text("a") + text("/#")), Unsubscribe(7, ["a", "/#"], none)),
        ("pingreq", UP, b"\xc0\0", Pingreq()),
        ("pingresp", DOWN, b"\xd0\0", Pingresp()),
        ("disconnect", UP, b"\xe0\0", Disconnect()),
        (
            "connect",
            UP,
            connect("d", version=version, keep_alive=60),
            Connect(version, "d", True, 60, properties=none),
        ),
        (
            "connect with everything",
            UP,
            connect(
                "d", version=version, clean=False, username="u", password=b"\xff", will=WireWill("w", b"\0", 2, True)
            ),
            Connect(version, "d", False, 0, "u", b"\xff", Will("w", b"\0", 2, True, none), none),
        ),
        (
            "M17 control characters",
            UP,
            connect("a\r\n\x1b[2J", version=version),
            Connect(version, "a\r\n\x1b[2J", properties=none),
        ),
        (
            "empty user name, password and will",
            UP,
            connect("d", version=version, username="", password=b"", will=WireWill("w", b"")),
            Connect(version, "d", True, 0, "", b"", Will("w", b"", properties=none), none),
        ),
    ]


_OLD_GOOD: list[tuple[str, int, Direction, bytes, Packet]] = [
    ("connack", 3, DOWN, b"\x20\2\0\0", Connack()),
    ("connack", 4, DOWN, b"\x20\2\1\0", Connack(0, True)),
    ("U06 connack refuses", 4, DOWN, b"\x20\2\0\5", Connack(5)),
    ("unsuback", 3, DOWN, packet(0xB0, ID), Unsuback(7)),
    ("unsuback", 4, DOWN, packet(0xB0, ID), Unsuback(7)),
    ("empty client id", 4, UP, connect(""), Connect(4, "")),
    ("dup with qos 0", 3, UP, packet(0x38, text("a")), Publish("a", dup=True)),
    ("connect with bits", 3, UP, b"\x19" + connect("a", version=3)[1:], Connect(3, "a", flags=9)),
    ("connect with qos", 3, UP, b"\x14" + connect("a", version=3)[1:], Connect(3, "a", flags=4)),
    ("connect with reserved", 3, UP, connect("a", version=3, flags=3), Connect(3, "a", reserved=True)),
    ("puback with bits", 3, UP, packet(0x4B, ID), Puback(7, flags=11)),
    ("pubrel with dup", 3, UP, packet(0x6A, ID), Pubrel(7, flags=10)),
    ("subscribe with dup", 3, UP, packet(0x8A, ID + text("a") + b"\0"), Subscribe(7, [Subscription("a")], flags=10)),
    ("unsubscribe with no bits", 3, UP, packet(0xA0, ID + text("a")), Unsubscribe(7, ["a"], flags=0)),
]

_MESSAGE = (
    b"\1\1"
    + b"\2"
    + integer(9)
    + b"\3"
    + text("t")
    + b"\x08"
    + text("r")
    + b"\x09"
    + text(b"\xff")
    + user_property("k", "v")
    + user_property("k", "")
)
_MESSAGE_PAIRS = [(1, 1), (2, 9), (3, "t"), (8, "r"), (9, b"\xff"), (38, ("k", "v")), (38, ("k", ""))]
_LOGIN = (
    b"\x11"
    + integer(2**32 - 1)
    + b"\x15"
    + text("m")
    + b"\x16"
    + text(b"")
    + b"\x21"
    + short(1)
    + b"\x22"
    + short(0)
    + b"\x27"
    + integer(1)
    + user_property("", "")
)
_LOGIN_PAIRS = [(17, 2**32 - 1), (21, "m"), (22, b""), (33, 1), (34, 0), (39, 1), (38, ("", ""))]
_ANSWER = b"\x1f" + text("why") + user_property("k", "v")
_ANSWER_PAIRS = [(31, "why"), (38, ("k", "v"))]
_TEN = b"".join(user_property("k", str(number)) for number in range(10))
_TEN_PAIRS = [(38, ("k", str(number))) for number in range(10)]


def _v5(raw: bytes) -> bytes:
    return properties(5, raw)


_NEW_GOOD: list[tuple[str, Direction, bytes, Packet]] = [
    (
        "M13 password without user",
        UP,
        connect(version=5, password=b"p"),
        Connect(5, "device", password=b"p", properties=NONE),
    ),
    ("empty client id, kept", UP, connect("", version=5, clean=False), Connect(5, "", False, properties=NONE)),
    (
        "connect, all properties",
        UP,
        connect(
            "d",
            version=5,
            props=_LOGIN + b"\x17\1\x19\0",
            will=WireWill("w", b"", properties=b"\x18" + integer(5) + _MESSAGE),
        ),
        Connect(
            5,
            "d",
            will=Will("w", b"", properties=Properties([(24, 5), *_MESSAGE_PAIRS])),
            properties=Properties([*_LOGIN_PAIRS, (23, 1), (25, 0)]),
        ),
    ),
    (
        "connack, all properties",
        DOWN,
        packet(
            0x20,
            b"\1\0"
            + _v5(
                _LOGIN
                + b"\x24\0\x25\1\x12"
                + text("id")
                + b"\x28\0\x29\1\x2a\0\x13"
                + short(30)
                + b"\x1a"
                + text("i")
                + b"\x1c"
                + text("s")
                + b"\x1f"
                + text("r")
            ),
        ),
        Connack(
            0,
            True,
            Properties(
                [
                    *_LOGIN_PAIRS,
                    (36, 0),
                    (37, 1),
                    (18, "id"),
                    (40, 0),
                    (41, 1),
                    (42, 0),
                    (19, 30),
                    (26, "i"),
                    (28, "s"),
                    (31, "r"),
                ]
            ),
        ),
    ),
    ("puback of a message too large", DOWN, puback(7, 0x95), Puback(7, 0x95)),
    ("pubrec of a message too large", DOWN, packet(0x50, ID + b"\x95\0"), Pubrec(7, 0x95, NONE)),
    ("U06 connack refuses", DOWN, b"\x20\3\0\x87\0", Connack(0x87, properties=NONE)),
    (
        "M41 all properties",
        UP,
        packet(0x30, text("a") + _v5(_MESSAGE + b"\x23\0\1") + b"p"),
        Publish("a", b"p", properties=Properties([*_MESSAGE_PAIRS, (35, 1)])),
    ),
    ("M41 user properties", UP, packet(0x30, text("a") + _v5(_TEN)), Publish("a", properties=Properties(_TEN_PAIRS))),
    ("alias", UP, packet(0x30, text("") + _v5(b"\x23\xff\xff")), Publish("", properties=Properties([(35, 65535)]))),
    (
        "alias, empty, no first",
        DOWN,
        packet(0x30, text("") + _v5(user_property("a", "b") + b"\x23\0\1")),
        Publish("", properties=Properties([(38, ("a", "b")), (35, 1)])),
    ),
    *(
        (
            f"properties of {size} bytes",
            UP,
            packet(0x30, text("a") + _v5(b"\x09" + text(bytes(size - 3)))),
            Publish("a", properties=Properties([(9, bytes(size - 3))])),
        )
        for size in (127, 128, 16383, 16384)
    ),
    (
        "subscription identifiers",
        DOWN,
        packet(0x30, text("a") + _v5(b"\x0b\1\x0b\xff\xff\xff\x7f\x0b\1")),
        Publish("a", properties=Properties([(11, 1), (11, 268435455), (11, 1)])),
    ),
    ("puback, code", DOWN, packet(0x40, ID + b"\x10"), Puback(7, 16)),
    ("puback, code 0", DOWN, packet(0x40, ID + b"\0"), Puback(7, 0)),
    ("puback, no properties", DOWN, packet(0x40, ID + b"\x87\0"), Puback(7, 0x87, NONE)),
    ("puback, properties", DOWN, packet(0x40, ID + b"\0" + _v5(_ANSWER)), Puback(7, 0, Properties(_ANSWER_PAIRS))),
    ("pubrec, properties", UP, packet(0x50, ID + b"\x91" + _v5(_ANSWER)), Pubrec(7, 0x91, Properties(_ANSWER_PAIRS))),
    ("pubrel, properties", UP, packet(0x62, ID + b"\x92" + _v5(_ANSWER)), Pubrel(7, 0x92, Properties(_ANSWER_PAIRS))),
    ("pubcomp, properties", UP, packet(0x70, ID + b"\x92" + _v5(_ANSWER)), Pubcomp(7, 0x92, Properties(_ANSWER_PAIRS))),
    (
        "subscribe, all options",
        UP,
        packet(0x82, ID + _v5(b"\x0b\1" + _TEN) + text("a") + b"\x2e" + text("$share/g/+") + b"\x19"),
        Subscribe(
            7,
            [Subscription("a", 2, True, True, 2), Subscription("$share/g/+", 1, False, True, 1)],
            Properties([(11, 1), *_TEN_PAIRS]),
        ),
    ),
    (
        "suback, properties",
        DOWN,
        packet(0x90, ID + _v5(_ANSWER) + b"\0\x87\x8f\xa2"),
        Suback(7, [0, 0x87, 0x8F, 0xA2], Properties(_ANSWER_PAIRS)),
    ),
    (
        "unsubscribe, properties",
        UP,
        packet(0xA2, ID + _v5(_TEN) + text("a")),
        Unsubscribe(7, ["a"], Properties(_TEN_PAIRS)),
    ),
    (
        "unsuback, properties",
        DOWN,
        packet(0xB0, ID + _v5(_ANSWER) + b"\0\x11\x91"),
        Unsuback(7, [0, 0x11, 0x91], Properties(_ANSWER_PAIRS)),
    ),
    ("M53 disconnect with will", UP, packet(0xE0, b"\4"), Disconnect(4)),
    ("disconnect, code 0", UP, packet(0xE0, b"\0"), Disconnect(0)),
    ("disconnect, no properties", UP, packet(0xE0, b"\0\0"), Disconnect(0, NONE)),
    (
        "disconnect, expiry",
        UP,
        packet(0xE0, b"\0" + _v5(_ANSWER + b"\x11" + integer(0))),
        Disconnect(0, Properties([*_ANSWER_PAIRS, (17, 0)])),
    ),
    ("disconnect down", DOWN, b"\xe0\0", Disconnect()),
    ("U06 taken over", DOWN, packet(0xE0, b"\x8e"), Disconnect(0x8E)),
    (
        "disconnect, moved",
        DOWN,
        packet(0xE0, b"\x9d" + _v5(b"\x1c" + text("s"))),
        Disconnect(0x9D, Properties([(28, "s")])),
    ),
    (
        "auth goes on",
        UP,
        packet(0xF0, b"\x18" + _v5(b"\x15" + text("m") + b"\x16" + text(b"\0"))),
        Auth(0x18, Properties([(21, "m"), (22, b"\0")])),
    ),
    (
        "auth anew",
        UP,
        packet(0xF0, b"\x19" + _v5(b"\x15" + text("m") + _ANSWER)),
        Auth(0x19, Properties([(21, "m"), *_ANSWER_PAIRS])),
    ),
    ("auth succeeds", DOWN, b"\xf0\0", Auth()),
    ("auth succeeds, method", DOWN, packet(0xF0, b"\0" + _v5(b"\x15" + text("m"))), Auth(0, Properties([(21, "m")]))),
]


ACCEPTED: list[tuple[str, int, Direction, bytes, Packet]] = [
    *(
        (name, version, direction, data, packet)
        for version in (3, 4, 5)
        for name, direction, data, packet in _good_in_all(version)
    ),
    *_OLD_GOOD,
    *((name, 5, direction, data, packet) for name, direction, data, packet in _NEW_GOOD),
]
