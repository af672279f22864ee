"""PUBLISH packets that are not plain: judged late, edited, refused, with aliases or properties (MQTT 5.0 section 3.3).

The relay passes plain messages itself; it comes here for all others. The same code serves both directions: an uplink
message goes through `auth_publish`, a downlink message through `auth_deliver`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mgate.errors import Denied, Kind, Malformed
from mgate.mqtt import refusal
from mgate.mqtt.lane import Lane, note
from mgate.mqtt.packets import Puback, Publish, Pubrec, Pubrel
from mgate.mqtt.properties import Properties, PropertyId
from mgate.mqtt.text import check_topic_name
from mgate.mqtt.topics import controls_target
from mgate.outcome import Direction
from mgate.session import Message

if TYPE_CHECKING:
    from mgate.mqtt.relay import MqttRelay

__all__ = ["UNASKED", "forwarded", "judge", "judge_acknowledgement", "judge_release", "refuse"]

UNASKED: Any = object()
"""The decision about a message that no handler was asked about yet."""

MOST_SWALLOWED = 4096
"""QoS 2 messages that a device may leave unfinished after each was refused; a device that leaves more is cut off."""


def judge(
    relay: MqttRelay, lane: Lane, packet: Publish, decision: Any = UNASKED
) -> Generator[Any, Any, Publish | None]:
    """Ask about one message. Returns what to forward, or None where the gateway has answered it.

    Raises:
        Denied, Malformed.
    """
    relay.check_user_properties(packet.properties)
    topic = _resolve(lane, packet)
    relay.topics.check_levels(topic)
    if packet.qos == 2 and lane.swallowed and packet.packet_id in lane.swallowed:
        lane.reply.append(refusal.acknowledged(relay.version, 2, packet.packet_id))
        return None
    if lane.hook is not None:
        if decision is UNASKED:
            decision = lane.hook.ask(relay.session, topic, packet.payload)
        decision = yield from relay.decided(lane.hook, decision)
    else:
        decision = None
    named = decision is not None and decision.topic is not None
    if not named and lane.direction is Direction.UPLINK and controls_target(topic):
        raise Denied(Kind.NOT_AUTHORISED, "the topic controls the target")
    if decision is None:
        return _unedited(lane, packet, topic)
    try:
        edited = _edited(packet, topic, decision)
        relay.topics.check_levels(edited.topic)
        return edited
    except (Malformed, ValueError, TypeError) as error:
        raise relay.fault(lane.hook, error) from error


def _resolve(lane: Lane, packet: Publish) -> str:
    if lane.aliases is not None:
        return lane.aliases.resolve(packet)
    if packet.properties and packet.properties.get(PropertyId.TOPIC_ALIAS) is not None:
        raise Malformed("the receiver takes no topic aliases", 0x94)
    return packet.topic


def _unedited(lane: Lane, packet: Publish, topic: str) -> Publish:
    """As it came, but with its topic where the far side does not know the alias."""
    if lane.aliases is None or lane.aliases.known(packet, topic):
        return packet
    return replace(packet, topic=topic)


def _edited(packet: Publish, topic: str, message: Message) -> Publish:
    """The packet with what a handler changed. Its topic alias is left behind: it stands for the old topic."""
    qos = packet.qos if message.qos is None else message.qos
    if qos not in (0, 1, 2) or qos > packet.qos:
        raise ValueError(f"the QoS of a message may be lowered only, not set from {packet.qos} to {qos}")
    topic = topic if message.topic is None else message.topic
    check_topic_name(topic)
    properties = packet.properties
    if properties is not None:
        properties = Properties(properties if message.properties is None else message.properties)
        properties.remove(PropertyId.TOPIC_ALIAS)
    return Publish(
        topic,
        packet.payload if message.payload is None else message.payload,
        qos,
        packet.retain if message.retain is None else bool(message.retain),
        packet.dup and qos > 0,
        packet.packet_id if qos else 0,
        properties,
    )


def forwarded(relay: MqttRelay, lane: Lane, came: Publish, went: Publish) -> None:
    """Keep what the rest of the exchange needs, and tell the handlers of a message that needs no acknowledgement.

    The near side of a message whose QoS was lowered still waits for the handshake that it began.
    """
    if lane.aliases is not None:
        lane.aliases.sent(went)
    if came.qos == 2 and went.qos == 2:
        lane.open = note(lane.open, came.packet_id)
    elif came.qos == 2 and went.qos == 1:
        lane.lowered = note(lane.lowered, came.packet_id)
    elif came.qos > went.qos:
        lane.reply.append(refusal.acknowledged(relay.version, came.qos, came.packet_id))
        if came.qos == 2:
            lane.swallowed = note(lane.swallowed, came.packet_id)
    if lane.notice is not None:
        topic = went.topic or _resolve(lane, went)
        if went.qos == 0:
            lane.notice.tell_message(relay.session, topic, went.payload)
        else:
            lane.wait(went.packet_id, topic, went.payload)


def refuse(relay: MqttRelay, lane: Lane, packet: Publish, denied: Denied) -> None:
    """Answer a refused message in the words of its version, or end the link where the choice is so.

    A QoS 2 message whose first copy has been forwarded can not be refused on its own any more.
    """
    uplink = lane.direction is Direction.UPLINK
    choice = relay.choices.denied_publish if uplink else relay.choices.denied_delivery
    if choice == "disconnect" or (packet.qos == 2 and lane.open and packet.packet_id in lane.open):
        relay.end(denied)
        return
    if uplink:
        lane.reply.append(refusal.refused(relay.version, packet.qos, packet.packet_id, denied, relay.room))
    else:
        lane.reply.append(refusal.acknowledged(relay.version, packet.qos, packet.packet_id))
    if packet.qos == 2 and not (uplink and relay.version == 5):
        lane.swallowed = note(lane.swallowed, packet.packet_id)
        if len(lane.swallowed) > MOST_SWALLOWED:
            relay.end(Denied(Kind.QUOTA, "too many unfinished exchanges"))


def judge_release(
    relay: MqttRelay, lane: Lane, packet: Pubrel, decision: Any = UNASKED
) -> Generator[Any, Any, Pubrel | None]:
    """PUBREL: of a message that went nowhere it ends here."""
    if lane.open:
        lane.open.discard(packet.packet_id)
    if lane.swallowed and packet.packet_id in lane.swallowed:
        lane.swallowed.discard(packet.packet_id)
        lane.reply.append(refusal.completed(relay.version, packet.packet_id))
        return None
    return packet
    yield


def judge_acknowledgement(
    relay: MqttRelay, lane: Lane, packet: Puback | Pubrec, decision: Any = UNASKED
) -> Generator[Any, Any, Puback | Pubrec | None]:
    """PUBACK and PUBREC of the far side of an exchange: the handlers are told, a lowered QoS is undone."""
    sender = relay.other(lane)
    failed = (packet.reason_code or 0) >= 0x80
    if sender.notice is not None:
        message = sender.acknowledged(packet.packet_id)
        if message is not None and not failed:
            sender.notice.tell_message(relay.session, *message)
    if failed and isinstance(packet, Pubrec) and sender.open:
        sender.open.discard(packet.packet_id)
    if isinstance(packet, Puback) and sender.lowered and packet.packet_id in sender.lowered:
        sender.lowered.discard(packet.packet_id)
        if not (failed and relay.version == 5):
            sender.swallowed = note(sender.swallowed, packet.packet_id)
        lane.out.append(relay.encode(Pubrec(packet.packet_id, packet.reason_code, packet.properties)))
        return None
    return packet
    yield
