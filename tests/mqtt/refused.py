"""Packets that must be refused, and with which reason code; part of the table in `tests.mqtt.cases`."""

from __future__ import annotations

from mgate.outcome import Direction
from tests.wire import (
    Will,
    auth,
    connack,
    connect,
    disconnect,
    integer,
    packet,
    properties,
    puback,
    publish,
    short,
    suback,
    subscribe,
    text,
    unsuback,
    unsubscribe,
    user_property,
    varint,
)

__all__ = ["REFUSED"]

UP, DOWN = Direction.UPLINK, Direction.DOWNLINK
ID = b"\0\7"

_Row = tuple[str, Direction, int, bytes]

BAD_TEXT = {
    "U+0000": b"a\0",
    "surrogate D800": b"\xed\xa0\x80",
    "surrogate DFFF": b"\xed\xbf\xbf",
    "surrogate pair": b"\xed\xa0\x81\xed\xb0\x80",
    "bad second byte": b"\xc3\x28",
    "overlong slash": b"\xc0\xaf",
    "overlong three bytes": b"\xe0\x80\xaf",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "lone continuation": b"\x80",
    "cut sequence": b"\xe2\x82",
    "five bytes": b"\xf8\x88\x80\x80\x80",
}
BAD_FILTERS = [
    "", "a/#/b", "sport+", "a+/b", "#a", "a/b#", "##", "+#", "#/", "a/+b/c", "++", "$share//a", "$share/g",
    "$share/g/", "$share/", "$share/g+/a", "$share/+/a", "$share/#/a", "$share/#", "$share/g/a+", "$share/g/#/a",
    "$queue/", "$queue/a#", "$exclusive/", "$share/g/$share/h/a", "$queue/$exclusive/a", "$share/g/$queue/a",
]  # fmt: skip


def _in_all(version: int) -> list[_Row]:
    """What is refused in every version."""
    none = properties(version, b"")
    will = Will("w", b"x")
    cut = connect("device", version=version, username="u", password=b"p", will=will)
    return [
        *((f"M10 connect cut at {size}", UP, 0x81, packet(0x10, cut[2:size])) for size in range(2, len(cut))),
        ("M10 connect with bytes behind", UP, 0x81, packet(0x10, cut[2:] + b"\0")),
        ("connect with qos 3", UP, 0x81, b"\x16" + cut[1:]),
        ("M12 will qos, no will", UP, 0x81, connect(version=version, flags=0x0A)),
        ("M12 will retain, no will", UP, 0x81, connect(version=version, flags=0x22)),
        ("M12 will qos 3", UP, 0x81, connect(version=version, will=will, flags=0x1E)),
        ("M12 will missing", UP, 0x81, connect(version=version, flags=6)),
        ("M12 will topic empty", UP, 0x81, connect(version=version, will=Will("", b""))),
        ("M12 will topic wildcard", UP, 0x81, connect(version=version, will=Will("a/#", b""))),
        ("M13 user missing", UP, 0x81, connect(version=version, flags=0x82)),
        ("password missing", UP, 0x81, connect(version=version, username="u", flags=0xC2)),
        *((f"M14 client id, {name}", UP, 0x81, connect(bad, version=version)) for name, bad in BAD_TEXT.items()),
        *((f"M14 user, {name}", UP, 0x81, connect(version=version, username=bad)) for name, bad in BAD_TEXT.items()),
        *((f"M31 {name}", UP, 0x81, publish(bad, version=version)) for name, bad in BAD_TEXT.items()),
        *((f"M46 {name}", UP, 0x81, subscribe("ok", bad, version=version)) for name, bad in BAD_TEXT.items()),
        *((f"M46 {bad}", UP, 0x81, subscribe("ok", bad, version=version)) for bad in BAD_FILTERS),
        *((f"M51 {bad}", UP, 0x81, unsubscribe("ok", bad, version=version)) for bad in BAD_FILTERS),
        ("M51 bad text", UP, 0x81, unsubscribe(b"\xff", version=version)),
        *((f"M24 type 0, {way.value}", way, 0x81, b"\0\0") for way in Direction),
        ("M25 connack", UP, 0x82, connack(version=version)),
        ("M25 suback", UP, 0x82, suback(7, b"\0", version=version)),
        ("M25 unsuback", UP, 0x82, unsuback(7, b"\0", version=version)),
        ("M25 pingresp", UP, 0x82, b"\xd0\0"),
        ("U01 connect", DOWN, 0x82, connect(version=version)),
        ("U01 subscribe", DOWN, 0x82, subscribe("a", version=version)),
        ("unsubscribe down", DOWN, 0x82, unsubscribe("a", version=version)),
        ("pingreq down", DOWN, 0x82, b"\xc0\0"),
        ("M23 pingreq flags", UP, 0x81, b"\xc1\0"),
        ("pingresp flags", DOWN, 0x81, b"\xd8\0"),
        ("M23 disconnect flags", UP, 0x81, b"\xe2\0"),
        ("connack flags", DOWN, 0x81, b"\x21" + connack(version=version)[1:]),
        ("suback flags", DOWN, 0x81, b"\x92" + suback(7, b"\0", version=version)[1:]),
        ("unsuback flags", DOWN, 0x81, b"\xb2" + unsuback(7, b"\0", version=version)[1:]),
        ("puback qos 3", UP, 0x81, packet(0x46, ID)),
        ("subscribe qos 3", UP, 0x81, b"\x86" + subscribe("a", version=version)[1:]),
        ("M26 pingreq with body", UP, 0x81, packet(0xC0, b"\0")),
        ("pingresp with body", DOWN, 0x81, packet(0xD0, b"\0")),
        ("M27 qos 3", UP, 0x81, b"\x36" + publish(version=version, qos=1)[1:]),
        ("U04 qos 3", DOWN, 0x81, b"\x37" + publish(version=version, qos=1)[1:]),
        ("M28 id 0", UP, 0x82, publish(version=version, qos=1, packet_id=0)),
        ("id 0, qos 2", UP, 0x82, publish(version=version, qos=2, packet_id=0)),
        ("M29 empty topic", UP, 0x82, publish("", version=version)),
        *(
            (f"M30 {topic} {way.value}", way, 0x90, publish(topic, version=version))
            for topic in ("#", "+", "a/+/b", "a#b", "a+")
            for way in Direction
        ),
        ("M32 topic beyond packet", UP, 0x81, packet(0x30, b"\0\7abc\0\0")),
        ("M32 empty publish", UP, 0x81, b"\x30\0"),
        ("M32 one byte", UP, 0x81, packet(0x30, b"\0")),
        ("M32 no id", UP, 0x81, packet(0x32, text("a"))),
        ("M32 half an id", UP, 0x81, packet(0x32, text("a") + b"\0")),
        *(
            (f"M42 {way.value} type {first >> 4}, {len(body)} bytes", way, code, packet(first, body))
            for first in (0x40, 0x50, 0x62, 0x70)
            for way in Direction
            for body, code in ((b"", 0x81), (b"\0", 0x81), (b"\0\0", 0x82))
        ),
        ("M45 no filter", UP, 0x82, packet(0x82, ID + none)),
        ("M45 id 0", UP, 0x82, subscribe("a", version=version, packet_id=0)),
        ("M45 without options", UP, 0x81, packet(0x82, ID + none + text("a"))),
        ("M45 one byte", UP, 0x81, packet(0x82, b"\0")),
        ("M45 empty", UP, 0x81, packet(0x82)),
        ("M45 filter beyond packet", UP, 0x81, packet(0x82, ID + none + b"\0\7a\0")),
        ("M47 qos 3", UP, 0x82, subscribe("a", version=version, options=3)),
        ("M47 reserved bit", UP, 0x81, subscribe("a", version=version, options=0x41)),
        ("M51 no filter", UP, 0x82, packet(0xA2, ID + none)),
        ("M51 id 0", UP, 0x82, unsubscribe("a", version=version, packet_id=0)),
        ("M51 filter beyond packet", UP, 0x81, packet(0xA2, ID + none + b"\0\7a")),
        ("M51 empty", UP, 0x81, packet(0xA2)),
        ("connack empty", DOWN, 0x81, packet(0x20)),
        ("connack one byte", DOWN, 0x81, packet(0x20, b"\0")),
        ("connack reserved flag", DOWN, 0x81, connack(version=version, present=2)),
        ("connack refused, present", DOWN, 0x82, connack(0x87 if version == 5 else 5, version=version, present=1)),
        ("connack unknown code", DOWN, 0x82, connack(6, version=version)),
        ("connack bytes behind", DOWN, 0x81, packet(0x20, connack(version=version)[2:] + b"\0")),
        ("U11 suback without codes", DOWN, 0x82, packet(0x90, ID + none)),
        ("suback unknown code", DOWN, 0x82, suback(7, b"\0\3", version=version)),
        ("suback id 0", DOWN, 0x82, suback(0, b"\0", version=version)),
        ("unsuback id 0", DOWN, 0x82, unsuback(0, b"\0", version=version)),
        ("unsuback cut", DOWN, 0x81, packet(0xB0, b"\0")),
    ]


def _below_5(version: int) -> list[_Row]:
    """What is refused in 3.1 and 3.1.1."""
    return [
        ("M13 password without user", UP, 0x81, connect(version=version, password=b"p")),
        ("M16 empty client id", UP, 0x85, connect("", version=version, clean=False)),
        *((f"M24 type 15, {way.value}", way, 0x81, b"\xf0\0") for way in Direction),
        ("disconnect down", DOWN, 0x82, b"\xe0\0"),
        ("M53 disconnect with body", UP, 0x81, packet(0xE0, b"\0")),
        ("puback with code", UP, 0x81, puback(7, 0)),
        ("M47 option of version 5", UP, 0x81, subscribe("a", version=version, options=4)),
        ("unsuback with code", DOWN, 0x81, packet(0xB0, ID + b"\0")),
        ("connack of version 5", DOWN, 0x81, connack(version=5)),
    ]


_OLD: list[tuple[str, int, Direction, int, bytes]] = [
    ("M16 empty client id, clean", 3, UP, 0x85, connect("", version=3)),
    ("M11 reserved flag", 4, UP, 0x81, connect(flags=3)),
    *((f"M23 connect, first byte {first:#x}", 4, UP, 0x81, bytes((first,)) + connect()[1:]) for first in (0x11, 0x14)),
    ("M28 dup with qos 0", 4, UP, 0x81, publish(dup=True)),
    *(
        (f"M23 first byte {first:#x}", 4, UP, 0x81, packet(first, body))
        for first, body in (
            (0x48, ID), (0x50 | 2, ID), (0x60, ID), (0x6A, ID), (0x72, ID),
            (0x80, ID + text("a") + b"\0"), (0xA0, ID + text("a")),
        )
    ),
]  # fmt: skip

LEVELS = [
    *(
        (f"M23 connect, first byte {first:#x}", 0x81, bytes((first,)) + connect(version=5)[1:])
        for first in (0x12, 0x18)
    ),
    ("M11 reserved flag", 0x81, connect(version=5, flags=3)),
    *((f"M08 level {level}", 0x84, connect(version=5, level=level)) for level in (0, 1, 2, 6, 0x83, 0x84, 255)),
    ("M09 name of another level, 3", 0x81, connect(version=5, level=3)),
    *((f"M08 MQIsdp level {level}", 0x84, connect(version=3, level=level)) for level in (0, 2, 0x83)),
    *((f"M09 name of another level, {level}", 0x81, connect(version=3, level=level)) for level in (4, 5)),
    *(
        (f"M09 name {name[:8]!r}", 0x81, connect(version=4, name=name))
        for name in (b"", b"mqtt", b"MQT", b"MQTTX", b"MQIsdP", b"MQIsdp\0", b"\0MQTT", b"x" * 65535)
    ),
    ("M10 empty connect", 0x81, packet(0x10)),
    ("M10 name without level", 0x81, packet(0x10, text("MQTT"))),
    ("name beyond packet", 0x81, packet(0x10, b"\0\4MQT")),
]
"""CONNECTs of no version: the name of the row, the reason code, the bytes."""

_FLAGS = (0x17, 0x19)
_CONNECT_PROPERTIES: list[tuple[str, int, bytes]] = [
    ("M18 receive maximum 0", 0x82, b"\x21\0\0"),
    ("M18 packet size 0", 0x82, b"\x27" + integer(0)),
    *((f"M18 flag {number} is 2", 0x82, bytes((number, 2))) for number in _FLAGS),
    ("M18 data without method", 0x82, b"\x16" + text(b"x")),
    ("M18 expiry twice", 0x82, (b"\x11" + integer(1)) * 2),
    ("M18 method twice", 0x82, (b"\x15" + text("m")) * 2),
    *((f"M19 property {number} in connect", 0x81, bytes((number, 0, 0, 0, 0))) for number in (1, 2, 18, 24, 35, 36)),
    *((f"M19 unknown property {number}", 0x81, bytes((number, 0))) for number in (0, 4, 43, 127, 128, 255)),
    ("M20 number cut", 0x81, b"\x11\0\0\0"),
    ("M20 text cut", 0x81, b"\x15\0\3a"),
    ("M20 text without length", 0x81, b"\x15\0"),
    ("M20 data cut", 0x81, b"\x15\0\1m\x16\0\1"),
    ("M20 pair cut", 0x81, b"\x26\0\1a\0\1"),
    ("M20 pair without value", 0x81, b"\x26\0\1a"),
    ("M20 only an identifier", 0x81, b"\x21"),
    ("bad text", 0x81, user_property("k", b"\xff")),
]
_MESSAGE_PROPERTIES: list[tuple[str, int, bytes]] = [
    ("M38 format twice", 0x82, b"\1\0\1\0"),
    ("M38 content type twice", 0x82, (b"\3" + text("t")) * 2),
    ("M38 expiry twice", 0x82, (b"\2" + integer(1)) * 2),
    ("M39 format 2", 0x82, b"\1\2"),
    ("M39 response topic wildcard", 0x82, b"\x08" + text("a/#")),
    ("M39 response topic plus", 0x82, b"\x08" + text("+")),
    ("response topic empty", 0x82, b"\x08" + text("")),
    ("M40 unknown property", 0x81, b"\x7f\0"),
    ("M40 property 0", 0x81, b"\0\0"),
    ("M40 key is not UTF-8", 0x81, user_property(b"\xc0\xaf", "v")),
    ("key with U+0000", 0x81, user_property(b"\0", "v")),
    ("M40 value beyond properties", 0x81, b"\x09\0\7a"),
]
_PUBLISH_PROPERTIES: list[tuple[str, int, bytes]] = [
    ("M37 alias 0", 0x94, b"\x23\0\0"),
    ("alias twice", 0x82, b"\x23\0\1" * 2),
    ("M40 connect property", 0x81, b"\x21\0\1"),
    ("will property", 0x81, b"\x18" + integer(0)),
]


def _new() -> list[_Row]:
    """What is refused in version 5 only."""
    method = b"\x15" + text("m")
    topic = text("a")
    return [
        *((name, UP, code, connect(version=5, props=raw)) for name, code, raw in _CONNECT_PROPERTIES),
        *((f"will: {name}", UP, code, connect(version=5, will=Will("w", b"", 0, False, raw)))
          for name, code, raw in _MESSAGE_PROPERTIES),
        *((f"will: property {number}", UP, 0x81, connect(version=5, will=Will(properties=bytes((number, 0, 1)))))
          for number in (11, 17, 31, 33, 35)),
        *((f"{name} {way.value}", way, code, publish(version=5, props=raw))
          for name, code, raw in [*_MESSAGE_PROPERTIES, *_PUBLISH_PROPERTIES] for way in Direction),
        ("M21 properties beyond packet", UP, 0x81, packet(0x10, text("MQTT") + b"\5\2\0\0\x7f" + text(""))),
        ("M21 length of five bytes", UP, 0x81, packet(0x10, text("MQTT") + b"\5\2\0\0\x80\x80\x80\x80\1" + text(""))),
        ("M40 length overrun", UP, 0x81, packet(0x30, topic + b"\2\x23\0")),
        ("M40 length overlong", UP, 0x81, packet(0x30, topic + b"\x80\0")),
        ("length overlong, four bytes", UP, 0x81, packet(0x30, topic + b"\x82\x80\x80\0\1\0")),
        ("length missing", UP, 0x81, packet(0x30, topic)),
        ("length cut", UP, 0x81, packet(0x30, topic + b"\x80")),
        ("value runs out of the properties", UP, 0x81, packet(0x30, topic + b"\2\x23\0\1")),
        ("M28 dup with qos 0", UP, 0x81, publish(version=5, dup=True)),
        ("M37 empty topic, other property", UP, 0x82, publish("", version=5, props=b"\1\1")),
        ("wildcard with alias", UP, 0x90, publish("#", version=5, props=b"\x23\0\1")),
        ("M39 subscription id from a device", UP, 0x82, publish(version=5, props=b"\x0b\1")),
        ("subscription id 0 down", DOWN, 0x82, publish(version=5, props=b"\x0b\0")),
        ("subscription id up", UP, 0x82, publish(version=5, props=b"\x0b\5")),
        ("subscription id up, overlong", UP, 0x81, publish(version=5, props=b"\x0b\x81\0")),
        ("subscription id up, cut", UP, 0x81, publish(version=5, props=b"\x0b")),
        ("subscription id overlong", DOWN, 0x81, publish(version=5, props=b"\x0b\x81\0")),
        ("subscription id of five bytes", DOWN, 0x81, publish(version=5, props=b"\x0b\xff\xff\xff\xff\1")),
        *((f"M23 first byte {first:#x}", UP, 0x81, packet(first, ID))
          for first in (0x48, 0x52, 0x60, 0x6A, 0x72)),
        *((f"M42 type {first >> 4}, unknown code", way, 0x82, packet(first, ID + b"\1"))
          for first in (0x40, 0x50, 0x62, 0x70) for way in Direction),
        ("puback with a code of pubrel", UP, 0x82, puback(7, 0x92)),
        ("puback with a code of a target", UP, 0x82, puback(7, 0x95)),
        ("M42 puback overrun", UP, 0x81, packet(0x40, ID + b"\0\1")),
        ("puback bytes behind", UP, 0x81, packet(0x40, ID + b"\0\0\0")),
        ("puback wrong property", UP, 0x81, puback(7, 0, b"\x1c" + text("s"))),
        ("reason string twice", DOWN, 0x82, puback(7, 0, (b"\x1f" + text("")) * 2)),
        ("M47 retain handling 3", UP, 0x82, subscribe("a", version=5, options=0x30)),
        ("M47 reserved bit 7", UP, 0x81, subscribe("a", version=5, options=0x80)),
        ("M48 subscription id 0", UP, 0x82, subscribe("a", version=5, props=b"\x0b\0")),
        ("M48 two subscription ids", UP, 0x82, subscribe("a", version=5, props=b"\x0b\1\x0b\2")),
        ("M49 shared, no local", UP, 0x82, subscribe("$share/g/a", version=5, options=4)),
        ("subscribe without properties", UP, 0x81, packet(0x82, ID)),
        ("unsubscribe with subscription id", UP, 0x81, unsubscribe("a", version=5, props=b"\x0b\1")),
        ("unsuback without codes", DOWN, 0x82, unsuback(7, b"", version=5)),
        ("unsuback unknown code", DOWN, 0x82, unsuback(7, b"\1", version=5)),
        ("connack without properties", DOWN, 0x81, packet(0x20, b"\0\0")),
        ("connack data without method", DOWN, 0x82, connack(version=5, props=b"\x16" + text(b"d"))),
        ("connack maximum qos 2", DOWN, 0x82, connack(version=5, props=b"\x24\2")),
        ("connack will property", DOWN, 0x81, connack(version=5, props=b"\x18" + integer(0))),
        *((f"M52 code {code} of a device", UP, 0x82, auth(code, method)) for code in (0, 1, 0x87)),
        ("M52 empty auth of a device", UP, 0x82, b"\xf0\0"),
        ("re-authenticate from the target", DOWN, 0x82, auth(0x19, method)),
        ("M52 without method", UP, 0x82, auth(0x18, b"")),
        ("M52 without properties", UP, 0x81, auth(0x18)),
        ("M52 flags", UP, 0x81, b"\xf1" + auth(0x18, method)[1:]),
        ("auth bytes behind", UP, 0x81, packet(0xF0, auth(0x18, method)[2:] + b"\0")),
        *((f"M53 code {code:#x}", UP, 0x82, disconnect(code)) for code in (1, 0x87, 0x8D, 0x8E, 0x9C, 0xA3)),
        *((f"disconnect code {code:#x} down", DOWN, 0x82, disconnect(code)) for code in (4, 0x91, 0xA3)),
        ("disconnect flags down", DOWN, 0x81, b"\xe1\0"),
        ("expiry from the target", DOWN, 0x82, disconnect(0, b"\x11" + integer(1))),
        ("server reference from a device", UP, 0x82, disconnect(0, b"\x1c" + text("s"))),
        ("disconnect bytes behind", UP, 0x81, packet(0xE0, b"\0\0\0")),
        ("disconnect length cut", UP, 0x81, packet(0xE0, b"\0" + varint(200)[:1])),
        ("publish with half an id down", DOWN, 0x81, packet(0x32, topic + short(7)[:1])),
    ]  # fmt: skip


REFUSED: list[tuple[str, int, Direction, bytes, int]] = [
    *((name, version, way, data, code) for version in (3, 4, 5) for name, way, code, data in _in_all(version)),
    *((name, version, way, data, code) for version in (3, 4) for name, way, code, data in _below_5(version)),
    *((name, version, way, data, code) for name, version, way, code, data in _OLD),
    *((name, 5, way, data, code) for name, way, code, data in _new()),
    *((name, 5, UP, data, code) for name, code, data in LEVELS),
]
