"""The one place that renders a refusal in MQTT: reason codes and return codes for each kind, and the packets.

MQTT 3.x has no way to refuse a PUBLISH: it is acknowledged and goes nowhere, or the connection ends
[MQTT-3.3.5-2]. MQTT 3.1 has no way to refuse a SUBSCRIBE either.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from mgate.errors import Denied, GateError, Kind, Malformed, TargetLost, TimedOut
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Connack, Disconnect, Puback, Pubcomp, Pubrec, Suback
from mgate.mqtt.properties import Properties, PropertyId

__all__ = ["CODES", "Codes", "acknowledged", "connack", "disconnect", "completed", "refused", "suback", "suback_code"]


class Codes(NamedTuple):
    """The codes of one kind: CONNACK of 3.x and 5, then SUBACK, PUBACK/PUBREC and DISCONNECT of 5."""

    connack3: int
    connack5: int
    suback: int
    puback: int
    disconnect: int


CODES = {
    Kind.BAD_CREDENTIALS: Codes(4, 0x86, 0x87, 0x87, 0x87),
    Kind.NOT_AUTHORISED: Codes(5, 0x87, 0x87, 0x87, 0x87),
    Kind.BAD_CLIENT_ID: Codes(2, 0x85, 0x87, 0x87, 0x87),
    Kind.BANNED: Codes(5, 0x8A, 0x87, 0x87, 0x98),
    Kind.BAD_TOPIC: Codes(5, 0x90, 0x8F, 0x90, 0x90),
    Kind.QUOTA: Codes(3, 0x97, 0x97, 0x97, 0x97),
    Kind.RATE: Codes(3, 0x9F, 0x97, 0x97, 0x96),
    Kind.BAD_PAYLOAD: Codes(5, 0x99, 0x80, 0x99, 0x99),
    Kind.TOO_LARGE: Codes(5, 0x95, 0x97, 0x97, 0x95),
    Kind.TARGET_DOWN: Codes(3, 0x88, 0x80, 0x80, 0x8B),
    Kind.TARGET_SLOW: Codes(3, 0x88, 0x80, 0x80, 0x80),
    Kind.INTERNAL_FAULT: Codes(3, 0x80, 0x80, 0x80, 0x80),
    Kind.HANDLER_FAULT: Codes(5, 0x83, 0x83, 0x83, 0x83),
}

SUBACK_FAILURE = 0x80
"""The only refusal that SUBACK has below version 5 [MQTT-3.9.3-2]."""


ROOMY = 1 << 28
"""The largest packet that there can be."""


def connack(version: int, error: GateError, room: int = ROOMY) -> bytes:
    """The CONNACK that refuses a CONNECT, or nothing where MQTT 3.x has no code for the mistake and just closes.

    Args:
        room: the largest packet that the device takes, in bytes [MQTT-3.2.2-19].
    """
    if isinstance(error, Denied):
        codes = CODES[error.kind]
    elif isinstance(error, TargetLost):
        if version < 5 and error.reason in ("target_closed", "target_lost"):
            return b""  # it was there and closed without a word, which is how brokers refuse in 3.x
        codes = CODES[Kind.TARGET_DOWN]
    elif isinstance(error, Malformed):
        if version < 5:
            return _connack3_of(error)
        return _explained(Connack(error.code), error, room)
    else:
        return b""
    if version < 5:
        return encode(version, Connack(codes.connack3))
    return _explained(Connack(codes.connack5), error, room)


def _connack3_of(error: Malformed) -> bytes:
    """Of broken CONNECTs only a bad level and a bad client identifier have a return code (3.1.1 table 3.1)."""
    if error.code == 0x84:
        return encode(4, Connack(1))
    if error.code == 0x85:
        return encode(4, Connack(2))
    return b""


def disconnect(version: int, error: GateError, room: int = ROOMY) -> bytes:
    """The DISCONNECT that ends a connection with version 5; nothing below, where a target may not send one.

    A target that closes without DISCONNECT is answering something that the device did: the device sees it close, as it
    would without a gateway.

    Args:
        room: the largest packet that the device takes, in bytes [MQTT-3.14.2-3].
    """
    if version < 5 or error.reason == "target_closed":
        return b""
    if isinstance(error, Denied):
        code = CODES[error.kind].disconnect
    elif isinstance(error, Malformed):
        code = error.code
    elif isinstance(error, TargetLost):
        code = 0x83 if error.reason == "upstream_malformed" else 0x8B
    elif isinstance(error, TimedOut):
        code = 0x8D if error.reason == "keep_alive" else 0x80
    else:
        code = 0x80
    return _explained(Disconnect(code), error, room)


def refused(version: int, qos: int, packet_id: int, denied: Denied, room: int) -> bytes:
    """The answer to a refused PUBLISH: a reason code with version 5, below it the same as if it had been taken.

    Args:
        room: the largest packet with a Reason String that the device takes, in bytes; 0 if it wants none
            (Request Problem Information, 3.1.2.11.7).
    """
    if version < 5 or not qos:
        return acknowledged(version, qos, packet_id)
    make = Puback if qos == 1 else Pubrec
    return _explained(make(packet_id, CODES[denied.kind].puback), denied, room)


def acknowledged(version: int, qos: int, packet_id: int) -> bytes:
    """The first answer to a PUBLISH that went nowhere, as if it had been taken; nothing at QoS 0."""
    return encode(version, (Puback if qos == 1 else Pubrec)(packet_id)) if qos else b""


def completed(version: int, packet_id: int) -> bytes:
    """The PUBCOMP that ends a QoS 2 exchange."""
    return encode(version, Pubcomp(packet_id))


def suback(version: int, packet_id: int, codes: list[int], denied: Denied, room: int) -> bytes:
    """A SUBACK of the gateway's own. `denied` gives it a Reason String with version 5, in the room that there is."""
    packet = Suback(packet_id, codes)
    return encode(version, packet) if version < 5 else _explained(packet, denied, room)


def suback_code(version: int, denied: Denied) -> int:
    """The code of one refused filter."""
    return CODES[denied.kind].suback if version == 5 else SUBACK_FAILURE


def _explained(packet: Connack | Disconnect | Puback | Pubrec | Suback, error: GateError, room: int) -> bytes:
    """A packet of version 5 with its Reason String, or without it where it would be larger than `room`; nothing if it
    still is [MQTT-3.1.2-24], but a `room` of 0 just means no words."""
    whole = encode(5, replace(packet, properties=_reason(error)))
    if len(whole) <= room:
        return whole
    bare = encode(5, packet)
    return bare if not room or len(bare) <= room else b""


def _reason(error: GateError) -> Properties | None:
    """The Reason String, cut so that no refusal grows large. Who broke the protocol or kept silent is told by the code
    alone, byte for byte as brokers do it: the words are for the log.

    A handler may quote what a device sent: what MQTT forbids in a string is replaced [MQTT-1.5.4-1] [MQTT-1.5.4-2].
    """
    if isinstance(error, (Malformed, TimedOut)) or not error.text:
        return None
    text = error.text[:256].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return Properties([(PropertyId.REASON_STRING, text)])
