"""From the first byte to CONNACK, and the packets that belong to the connection: CONNECT, CONNACK, AUTH, DISCONNECT.

Rules:

1. The first packet of a device is CONNECT, and there is only one [MQTT-3.1.0-1] [MQTT-3.1.0-2].
2. Nothing reaches the target before `auth_connect`, and `auth_publish` for the will, have agreed.
3. What a device sends behind its CONNECT waits for CONNACK, so that no message is judged before the connection is
   accepted and its identity is final. In enhanced authentication (MQTT 5.0 section 4.12) each AUTH of the target lets
   one of the device pass.
4. The first packet of a target is CONNACK, or AUTH if the device named an authentication method.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mgate.errors import Denied, Kind, Malformed
from mgate.mqtt import report
from mgate.mqtt.aliases import Aliases
from mgate.mqtt.decode import decode_connect
from mgate.mqtt.framing import Span, split
from mgate.mqtt.lane import Lane
from mgate.mqtt.packets import Auth, Connack, Connect, Disconnect, PacketType, Publish, Will
from mgate.mqtt.properties import Properties, PropertyId
from mgate.mqtt.topics import controls_target
from mgate.outcome import Direction
from mgate.session import Message
from mgate.verdict import Messages

if TYPE_CHECKING:
    from mgate.mqtt.relay import MqttRelay

__all__ = [
    "ASKING", "CLOSED", "CONNECTING", "NEW", "NO_TERMS", "OPEN", "Terms", "forwarded", "judge_auth",
    "judge_connack", "judge_connect", "judge_disconnect", "opening",
]  # fmt: skip

NEW = "new"
"""No whole CONNECT yet."""
ASKING = "asking"
"""A handler thinks about the CONNECT."""
CONNECTING = "connecting"
"""CONNECT was forwarded, CONNACK is awaited."""
OPEN = "open"
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Terms:
    """What CONNECT and CONNACK of version 5 agreed on.

    Attributes:
        auth_method: the Authentication Method, or None.
        explains: may acknowledgements carry a Reason String?
        expires: does the session outlive the connection?
        assigned: did a handler choose the client identifier?
        device_maximum, target_maximum: the largest packet that each takes, in bytes; 0 if it did not say.
    """

    auth_method: str | None = None
    explains: bool = True
    expires: bool = False
    assigned: bool = False
    device_maximum: int = 0
    target_maximum: int = 0


NO_TERMS = Terms()

MESSAGES = Messages()


def opening(relay: MqttRelay, lane: Lane, data: bytes) -> bytes:
    """Take packets one at a time until the connection is open.

    Returns: the bytes behind the packet that opened it, or b"".
    Raises: Malformed.
    """
    while data and relay.state != OPEN and not lane.blocked:
        _check_start(relay, lane, data[0])
        limit = relay.limits.max_connect_size if relay.state == NEW else relay.limits.max_packet_size
        runs, _, need, error = split(data, limit, 0, 1)
        if not runs:
            if error is not None:
                raise error
            lane.keep(data, 0, need)
            return b""
        head, (span,) = runs[0]
        relay.heard = True
        if relay.state == NEW:
            packet: Any = _hello(relay, data, head, span)
            relay.state = ASKING
        else:
            packet = relay.decode(lane, data, head, span)
        data, whole = data[span[2] :], data[: span[2]]
        if data and packet.type is PacketType.AUTH and lane.direction is Direction.UPLINK:
            raise Malformed("bytes behind AUTH, before it was answered", 0x82)  # 4.12: the target speaks next
        lane.counts[packet.type] += 1
        relay.run(lane, relay.journey(lane, packet, whole))
    if lane.blocked:
        lane.hold(data)
        return b""
    return data


def _check_start(relay: MqttRelay, lane: Lane, head: int) -> None:
    """Refuse at its first byte what may not come yet: TLS, HTTP, and every packet before CONNECT or CONNACK."""
    if relay.state == NEW:
        # Its lower bits are judged with the level. A TLS hello begins as a CONNECT with QoS 3 would.
        if head >> 4 != PacketType.CONNECT or head & 6 == 6:
            raise Malformed("the first packet is not CONNECT", 0x82)
    elif lane.direction is Direction.DOWNLINK:
        if head != PacketType.CONNACK << 4 and (head != PacketType.AUTH << 4 or relay.terms.auth_method is None):
            raise Malformed("the first packet of the target is not CONNACK", 0x82)
    elif head not in (PacketType.AUTH << 4, PacketType.DISCONNECT << 4):
        raise Malformed("the packet may not come before CONNACK", 0x82)


def _hello(relay: MqttRelay, data: bytes, head: int, span: Span) -> Connect:
    """Decode CONNECT, and hold it against the limits."""
    packet = decode_connect(head, data, span[1], span[2])
    relay.version = packet.version
    if packet.version not in relay.choices.versions:
        raise Malformed("the protocol level is not served here", 0x84, packet.version)
    if len(packet.client_id.encode()) > relay.limits.max_clientid_len:
        raise Malformed("the client identifier is longer than allowed", 0x85, packet.version)
    relay.check_user_properties(packet.properties)
    relay.check_user_properties(packet.will.properties if packet.will else None)
    if packet.will is not None:
        relay.topics.check_levels(packet.will.topic)
    largest = (packet.properties or Properties()).get(PropertyId.MAXIMUM_PACKET_SIZE)
    if largest is not None:
        relay.terms = replace(NO_TERMS, device_maximum=largest)
    return packet


def judge_connect(
    relay: MqttRelay, lane: Lane, packet: Connect, decision: Any = None
) -> Generator[Any, Any, Connect | None]:
    """Fill the session, ask about it and about the will, and return the CONNECT as the handlers left it."""
    session = relay.session
    session.version = packet.version
    session.id, session.username, session.password = packet.client_id, packet.username, packet.password
    session.clean_start, session.keep_alive = packet.clean_start, packet.keep_alive
    session.properties = packet.properties
    will = packet.will
    before = None
    if will is not None:
        before = Message(will.topic, will.payload, will.qos, will.retain, will.properties)
        session.will = replace(before, properties=will.properties and Properties(will.properties))
    hook = relay.policy.auth_connect
    if hook is not None:
        yield from relay.decided(hook, hook.ask(session))
        if session.will is not None:
            try:
                MESSAGES.read(session.will, ())
            except TypeError as error:
                raise relay.fault(hook, error) from error
    yield from _judge_will(relay)
    edited = packet
    if (packet.client_id, packet.username, packet.password) != (session.id, session.username, session.password):
        edited = replace(edited, client_id=session.id, username=session.username, password=session.password)
    if session.will != before:
        edited = replace(edited, will=_will(session.will, packet.version))
    if edited is not packet:
        try:
            relay.encode(edited)
            if edited.will is not None:
                relay.topics.check_levels(edited.will.topic)
        except (Malformed, ValueError) as error:
            raise relay.fault(hook or relay.policy.auth_publish, error) from error
    return edited


def _judge_will(relay: MqttRelay) -> Generator[Any, Any, None]:
    """A will is a message that the target publishes later: it is judged now, as a PUBLISH."""
    will, hook = relay.session.will, relay.policy.auth_publish
    if will is None:
        return
    try:
        edit = None
        if hook is not None:
            properties = will.properties if relay.version == 5 else None
            relay.judged = Publish(
                will.topic or "", will.payload or b"", will.qos or 0, bool(will.retain), properties=properties
            )
            edit = yield from relay.decided(hook, hook.ask(relay.session, will.topic, will.payload))
        if (edit is None or edit.topic is None) and controls_target(will.topic or ""):
            raise Denied(Kind.NOT_AUTHORISED, "the topic of the will controls the target")
    except Denied as denied:
        if relay.choices.denied_will != "strip":
            raise
        report.denied(relay, denied)
        relay.session.will = None
    else:
        if edit is not None:
            relay.session.will = Message(
                *(
                    getattr(will if getattr(edit, name) is None else edit, name)
                    for name in ("topic", "payload", "qos", "retain", "properties")
                )
            )


def _will(message: Message | None, version: int) -> Will | None:
    if message is None:
        return None
    properties = (message.properties or Properties()) if version == 5 else None
    return Will(message.topic or "", message.payload or b"", message.qos or 0, bool(message.retain), properties)


def forwarded(relay: MqttRelay, lane: Lane, came: Connect, went: Connect) -> None:
    """CONNECT was forwarded: note what it promises for the rest of the connection."""
    properties = went.properties or Properties()
    method = properties.get(PropertyId.AUTHENTICATION_METHOD)
    if went.version == 5:
        relay.terms = Terms(
            method,
            properties.get(PropertyId.REQUEST_PROBLEM_INFORMATION, 1) != 0,
            properties.get(PropertyId.SESSION_EXPIRY_INTERVAL, 0) != 0,
            bool(went.client_id) and not came.client_id,
            properties.get(PropertyId.MAXIMUM_PACKET_SIZE, 0),
        )
    maximum = properties.get(PropertyId.TOPIC_ALIAS_MAXIMUM, 0)
    if maximum:
        relay.down.aliases = Aliases(maximum)
    relay.keep_alive = went.keep_alive
    relay.state = CONNECTING
    lane.blocked = True


def judge_connack(
    relay: MqttRelay, lane: Lane, packet: Connack, decision: Any = None
) -> Generator[Any, Any, Connack | None]:
    """The target has decided. If it agreed, both directions are open, and the handlers are told."""
    if relay.state != CONNECTING:
        raise Malformed("a second CONNACK", 0x82)
    if packet.reason_code != 0:
        return packet
    session = relay.session
    properties = packet.properties or Properties()
    if PropertyId.MAXIMUM_PACKET_SIZE in dict(properties):
        relay.terms = replace(relay.terms, target_maximum=properties.get(PropertyId.MAXIMUM_PACKET_SIZE))
    relay.keep_alive = properties.get(PropertyId.SERVER_KEEP_ALIVE, relay.keep_alive)
    session.keep_alive = relay.keep_alive
    maximum = properties.get(PropertyId.TOPIC_ALIAS_MAXIMUM, 0)
    if maximum:
        relay.up.aliases = Aliases(maximum)
    given = properties.get(PropertyId.ASSIGNED_CLIENT_IDENTIFIER)
    if given is not None:
        session.id = given
    elif relay.terms.assigned:
        # The device sent no identifier and a handler chose one: it must learn it [MQTT-3.2.2-16].
        properties = Properties(properties)
        properties.set(PropertyId.ASSIGNED_CLIENT_IDENTIFIER, session.id)
        packet = replace(packet, properties=properties)
    return packet
    yield


def judge_auth(relay: MqttRelay, lane: Lane, packet: Auth, decision: Any = None) -> Generator[Any, Any, Auth | None]:
    """Enhanced authentication passes through, if the CONNECT began it and the method stays [MQTT-4.12.0-5]."""
    method = (packet.properties or Properties()).get(PropertyId.AUTHENTICATION_METHOD)
    if relay.terms.auth_method is None or (method is not None and method != relay.terms.auth_method):
        raise Malformed("AUTH with another method than CONNECT", 0x82)
    relay.check_user_properties(packet.properties)
    if relay.state == CONNECTING:
        if lane.direction is Direction.UPLINK:
            lane.blocked = True
        else:
            relay.release()
    return packet
    yield


def judge_disconnect(
    relay: MqttRelay, lane: Lane, packet: Disconnect, decision: Any = None
) -> Generator[Any, Any, Disconnect | None]:
    """DISCONNECT: what follows it in this direction is dropped [MQTT-3.14.4-2]."""
    if lane.direction is Direction.DOWNLINK:
        lane.ended = lane.blocked = True
        return packet
    properties = packet.properties or Properties()
    if properties.get(PropertyId.SESSION_EXPIRY_INTERVAL, 0) and not relay.terms.expires:
        raise Malformed("DISCONNECT raises a session expiry of zero", 0x82)
    relay.said_goodbye = True
    lane.ended = lane.blocked = True
    return packet
    yield
