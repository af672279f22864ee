"""Hypothesis strategies for packets, written from the standard and not from the tables of the codec.

`PLACES` and `EXAMPLES` are a second copy of MQTT 5.0 table 2-4, so that a slip in the first one is seen.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mgate.mqtt.framing import split
from mgate.mqtt.packets import (
    Auth,
    Connack,
    Connect,
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
    Will,
)
from mgate.mqtt.properties import Properties, PropertyId
from mgate.outcome import Direction
from tests.mqtt.cases import CASES
from tests.wire import packet as framed

__all__ = ["EXAMPLES", "PLACES", "damaged_packets", "packets"]

_P = PropertyId
_PUBLISHED = {
    _P.PAYLOAD_FORMAT_INDICATOR, _P.MESSAGE_EXPIRY_INTERVAL, _P.CONTENT_TYPE, _P.RESPONSE_TOPIC, _P.CORRELATION_DATA,
    _P.USER_PROPERTY,
}  # fmt: skip
_ANSWER = {_P.REASON_STRING, _P.USER_PROPERTY}
_LOGIN = {
    _P.SESSION_EXPIRY_INTERVAL, _P.AUTHENTICATION_METHOD, _P.AUTHENTICATION_DATA, _P.RECEIVE_MAXIMUM,
    _P.TOPIC_ALIAS_MAXIMUM, _P.MAXIMUM_PACKET_SIZE, _P.USER_PROPERTY,
}  # fmt: skip
PLACES: dict[int, frozenset[PropertyId]] = {
    0: frozenset(_PUBLISHED | {_P.WILL_DELAY_INTERVAL}),
    1: frozenset(_LOGIN | {_P.REQUEST_PROBLEM_INFORMATION, _P.REQUEST_RESPONSE_INFORMATION}),
    2: frozenset(
        _LOGIN | _ANSWER | {
            _P.ASSIGNED_CLIENT_IDENTIFIER, _P.SERVER_KEEP_ALIVE, _P.RESPONSE_INFORMATION, _P.SERVER_REFERENCE,
            _P.MAXIMUM_QOS, _P.RETAIN_AVAILABLE, _P.WILDCARD_SUBSCRIPTION_AVAILABLE,
            _P.SUBSCRIPTION_IDENTIFIER_AVAILABLE, _P.SHARED_SUBSCRIPTION_AVAILABLE,
        }
    ),
    3: frozenset(_PUBLISHED | {_P.TOPIC_ALIAS}),
    19: frozenset(_PUBLISHED | {_P.TOPIC_ALIAS, _P.SUBSCRIPTION_IDENTIFIER}),
    **{kind: frozenset(_ANSWER) for kind in (4, 5, 6, 7, 9, 11)},
    8: frozenset({_P.SUBSCRIPTION_IDENTIFIER, _P.USER_PROPERTY}),
    10: frozenset({_P.USER_PROPERTY}),
    14: frozenset(_ANSWER | {_P.SESSION_EXPIRY_INTERVAL}),
    30: frozenset(_ANSWER | {_P.SERVER_REFERENCE}),
    15: frozenset(_ANSWER | {_P.AUTHENTICATION_METHOD, _P.AUTHENTICATION_DATA}),
}  # fmt: skip
"""Which property may stand where: by packet type, 0 for the will, 16 more for what only the target may send."""

_FLAGS = (
    _P.PAYLOAD_FORMAT_INDICATOR, _P.REQUEST_PROBLEM_INFORMATION, _P.REQUEST_RESPONSE_INFORMATION,
    _P.MAXIMUM_QOS, _P.RETAIN_AVAILABLE, _P.WILDCARD_SUBSCRIPTION_AVAILABLE,
    _P.SUBSCRIPTION_IDENTIFIER_AVAILABLE, _P.SHARED_SUBSCRIPTION_AVAILABLE,
)  # fmt: skip
_SHORTS = (_P.SERVER_KEEP_ALIVE, _P.RECEIVE_MAXIMUM, _P.TOPIC_ALIAS_MAXIMUM, _P.TOPIC_ALIAS)
_LONGS = (
    _P.MESSAGE_EXPIRY_INTERVAL, _P.SESSION_EXPIRY_INTERVAL, _P.WILL_DELAY_INTERVAL, _P.MAXIMUM_PACKET_SIZE,
)  # fmt: skip
_TEXTS = (
    _P.CONTENT_TYPE, _P.RESPONSE_TOPIC, _P.ASSIGNED_CLIENT_IDENTIFIER, _P.AUTHENTICATION_METHOD,
    _P.RESPONSE_INFORMATION, _P.SERVER_REFERENCE, _P.REASON_STRING,
)  # fmt: skip
EXAMPLES: dict[PropertyId, tuple[Any, bytes]] = {
    **dict.fromkeys(_FLAGS, (1, b"\1")),
    **dict.fromkeys(_SHORTS, (258, b"\1\2")),
    **dict.fromkeys(_LONGS, (16909060, b"\1\2\3\4")),
    **dict.fromkeys(_TEXTS, ("\u00e9", b"\0\2\xc3\xa9")),
    _P.CORRELATION_DATA: (b"\xff\0", b"\0\2\xff\0"),
    _P.AUTHENTICATION_DATA: (b"\xff\0", b"\0\2\xff\0"),
    _P.SUBSCRIPTION_IDENTIFIER: (268435455, b"\xff\xff\xff\x7f"),
    _P.USER_PROPERTY: (("k", ""), b"\0\1k\0\0"),
}  # fmt: skip
"""For each property a value, and how it is written."""

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_binary = st.binary(max_size=20)
_uint16 = st.integers(0, 65535)
_uint32 = st.integers(0, 2**32 - 1)
_packet_ids = st.integers(1, 65535)
_qos = st.integers(0, 2)
_level = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/+#"), max_size=6)
topics = st.lists(_level, min_size=1, max_size=6).map("/".join).filter(bool)


@st.composite
def _plain_filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.one_of(st.just("+"), _level), max_size=5))
    end = draw(st.sampled_from([[], ["#"]]))
    return "/".join(levels + end) or "/"


@st.composite
def _filters(draw: st.DrawFn) -> str:
    prefix = draw(st.sampled_from(["", "", "$queue/", "$exclusive/", "$share/g/", "$share/\u00e9 1/"]))
    return prefix + draw(_plain_filters().filter(lambda text: not text.startswith(("$s", "$q", "$e"))))


def _value(identifier: PropertyId) -> st.SearchStrategy[Any]:
    example = EXAMPLES[identifier][0]
    if identifier is _P.RESPONSE_TOPIC:
        return topics
    if identifier is _P.USER_PROPERTY:
        return st.tuples(_text, _text)
    if identifier is _P.SUBSCRIPTION_IDENTIFIER:
        return st.integers(1, 268435455)
    if isinstance(example, str):
        return _text
    if isinstance(example, bytes):
        return _binary
    if example == 1:
        return st.integers(0, 1)
    least = 1 if identifier in (_P.RECEIVE_MAXIMUM, _P.MAXIMUM_PACKET_SIZE, _P.TOPIC_ALIAS) else 0
    return st.integers(least, 65535 if example == 258 else 2**32 - 1)


@st.composite
def _properties(draw: st.DrawFn, kind: int) -> Properties:
    chosen = draw(st.lists(st.sampled_from(sorted(PLACES[kind])), unique=True, max_size=6))
    repeated = {_P.USER_PROPERTY} | ({_P.SUBSCRIPTION_IDENTIFIER} if kind == 19 else set())
    if draw(st.booleans()):
        chosen += draw(st.lists(st.sampled_from(sorted(repeated & PLACES[kind])), max_size=3))
    pairs = Properties((identifier, draw(_value(identifier))) for identifier in chosen)
    if pairs.get(_P.AUTHENTICATION_DATA) is not None and pairs.get(_P.AUTHENTICATION_METHOD) is None:
        pairs.append((_P.AUTHENTICATION_METHOD, draw(_text)))
    return pairs


_CODES = {
    2: [0, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F],
    4: [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
    6: [0, 0x92],
    9: [0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
    11: [0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
    14: [0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99],
    30: [
        0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
        0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ],
}  # fmt: skip


@st.composite
def _connects(draw: st.DrawFn, version: int) -> Connect:
    new = version == 5
    clean = draw(st.booleans())
    client_id = draw(_text if new or (version == 4 and clean) else _text.filter(bool))
    will = None
    if draw(st.booleans()):
        pairs = draw(_properties(0)) if new else None
        will = Will(draw(topics), draw(_binary), draw(_qos), draw(st.booleans()), pairs)
    username = draw(st.none() | _text)
    password = draw(st.none() | _binary) if new or username is not None else None
    pairs = draw(_properties(1)) if new else None
    unused = (draw(st.sampled_from([0, 4, 9])), draw(st.booleans())) if version == 3 else (0, False)
    return Connect(version, client_id, clean, draw(_uint16), username, password, will, pairs, *unused)


@st.composite
def _connacks(draw: st.DrawFn, version: int) -> Connack:
    code = draw(st.sampled_from(_CODES[2] if version == 5 else [0, 1, 2, 3, 4, 5]))
    present = draw(st.booleans()) if code == 0 else False
    return Connack(code, present, draw(_properties(2)) if version == 5 else None)


@st.composite
def _publishes(draw: st.DrawFn, version: int, kind: int) -> Publish:
    qos = draw(_qos)
    dup = draw(st.booleans()) if qos or version == 3 else False
    pairs = draw(_properties(kind)) if version == 5 else None
    aliased = pairs is not None and pairs.get(_P.TOPIC_ALIAS) is not None
    topic = draw(st.one_of(st.just(""), topics) if aliased else topics)
    packet_id = draw(_packet_ids) if qos else 0
    return Publish(topic, draw(_binary), qos, draw(st.booleans()), dup, packet_id, pairs)


@st.composite
def _acknowledgements(draw: st.DrawFn, version: int) -> Packet:
    make, code, fixed = draw(st.sampled_from([(Puback, 4, 0), (Pubrec, 4, 0), (Pubrel, 6, 2), (Pubcomp, 6, 0)]))
    flags = draw(st.integers(0, 15).filter(lambda bits: bits & 6 != 6)) if version == 3 else fixed
    reason, pairs = draw(_reasons(code, 4)) if version == 5 else (None, None)
    packet: Packet = make(draw(_packet_ids), reason, pairs, flags)
    return packet


@st.composite
def _reasons(draw: st.DrawFn, codes: int, kind: int) -> tuple[int | None, Properties | None]:
    code = draw(st.none() | st.sampled_from(_CODES[codes]))
    return code, None if code is None else draw(st.none() | _properties(kind))


@st.composite
def _subscribes(draw: st.DrawFn, version: int) -> Subscribe:
    flag = st.booleans() if version == 5 else st.just(False)
    handling = st.integers(0, 2) if version == 5 else st.just(0)
    subscriptions = draw(
        st.lists(st.builds(Subscription, _filters(), _qos, flag, flag, handling), min_size=1, max_size=4)
    )
    for subscription in subscriptions:
        if subscription.filter.startswith("$share/"):
            subscription.no_local = False
    flags = draw(st.sampled_from([2, 10, 0])) if version == 3 else 2
    return Subscribe(draw(_packet_ids), subscriptions, draw(_properties(8)) if version == 5 else None, flags)


@st.composite
def _auths(draw: st.DrawFn, codes: list[int]) -> Auth:
    pairs = draw(_properties(15))
    pairs.set(_P.AUTHENTICATION_METHOD, draw(_text))
    return Auth(draw(st.sampled_from(codes)), pairs)


def packets(version: int, direction: Direction) -> st.SearchStrategy[Packet]:
    """Every packet that this side may send in this version."""
    new = version == 5

    def pairs(kind: int) -> st.SearchStrategy[Properties | None]:
        return _properties(kind) if new else st.none()

    either: list[st.SearchStrategy[Packet]] = [_acknowledgements(version)]
    if direction is Direction.UPLINK:
        filters = st.lists(_filters(), min_size=1, max_size=4)
        return st.one_of(
            *either,
            _connects(version),
            _publishes(version, PacketType.PUBLISH),
            _subscribes(version),
            st.builds(Unsubscribe, _packet_ids, filters, pairs(10)),
            st.just(Pingreq()),
            *([_reasons(14, 14).map(lambda end: Disconnect(*end)), _auths([0x18, 0x19])] if new else []),
            *([] if new else [st.just(Disconnect())]),
        )
    granted = st.lists(st.sampled_from(_CODES[9] if new else [0, 1, 2, 0x80]), min_size=1, max_size=4)
    gone = st.lists(st.sampled_from(_CODES[11]), min_size=1, max_size=4) if new else st.just([])
    return st.one_of(
        *either,
        _connacks(version),
        _publishes(version, PacketType.PUBLISH + 16),
        st.builds(Suback, _packet_ids, granted, pairs(9)),
        st.builds(Unsuback, _packet_ids, gone, pairs(11)),
        st.just(Pingresp()),
        *([_reasons(30, 30).map(lambda end: Disconnect(*end)), _auths([0, 0x18]), st.just(Auth())] if new else []),
    )


_SEEDS = [case.data for case in CASES if len(case.data) < 300]


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    seed = draw(st.sampled_from(_SEEDS))
    ((head, ((_, body, _),)),) = split(seed, 1 << 28)[0]
    spot = draw(st.integers(body, len(seed)))
    cut = draw(st.integers(0, 2))
    return framed(head, seed[body:spot] + draw(st.binary(max_size=2)) + seed[spot + cut :])


damaged_packets = _damaged()
"""Wire cases with a few bytes of the body put in, changed or taken out; still one whole packet."""
