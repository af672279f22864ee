"""The first look at packets, where they lie in the chunk.

A step is given packets in a row that have the same first byte, and checks each without making an object of it where it
can: those leave as the slice that they came in. It returns the journey of the first one that has to be taken out of the
stream, and is called again for those behind it; or None when there are no more. `PLAIN` is the table by packet type;
with an interceptor every packet is `inspected`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mgate.errors import Malformed
from mgate.mqtt.framing import Span
from mgate.mqtt.lane import Journey, Lane
from mgate.mqtt.topics import controls_target

if TYPE_CHECKING:
    from mgate.mqtt.relay import MqttRelay

__all__ = ["INSPECTED", "PLAIN"]

PUBLISH_QOS = (0, 0, 1, 1, 2, 2, -1, -1, -1, -1, 1, 1, 2, 2, -1, -1)
"""The QoS by the flags of the first byte; -1 for QoS 3, and for DUP with QoS 0, which MQTT 3.1 lets pass."""


def inspected(relay: MqttRelay, lane: Lane, data: bytes, head: int, run: Iterator[Span]) -> Journey | None:
    """Any packet: decode it, and send it on its way."""
    for span in run:
        return taken(relay, lane, data, head, span)
    return None


def taken(relay: MqttRelay, lane: Lane, data: bytes, head: int, span: Span) -> Journey:
    """The journey of the packet at `span`."""
    return relay.journey(lane, relay.decode(lane, data, head, span), data[span[0] : span[2]])


def connect(relay: MqttRelay, lane: Lane, data: bytes, head: int, run: Iterator[Span]) -> Journey | None:
    """A CONNECT that is not the first packet [MQTT-3.1.0-2]; nobody reads what it says."""
    next(run)
    raise Malformed("a second CONNECT", 0x82)


def publish(relay: MqttRelay, lane: Lane, data: bytes, head: int, run: Iterator[Span]) -> Journey | None:
    """PUBLISH (3.3). This is where nearly all time goes: a message without properties on a topic that was seen before
    is judged, passed and told of with one call for each hook, and no object but its payload."""
    qos = PUBLISH_QOS[head & 15]
    hook, notice, session, topics = lane.hook, lane.notice, relay.session, relay.topics
    names, five = topics.names, relay.version == 5
    if qos < 0 or (qos == 2 and (hook is not None or notice is not None or lane.swallowed)):
        return inspected(relay, lane, data, head, run)
    for span in run:
        start, body, stop = span
        at = body + 2
        if at > stop:
            return taken(relay, lane, data, head, span)
        middle = at + (data[body] << 8 | data[body + 1])
        name = data[at:middle]
        at = middle + 2 if qos else middle
        if at > stop:
            raise Malformed("PUBLISH is shorter than its topic says")
        if five:
            if at == stop:
                raise Malformed("PUBLISH without a property length")
            if data[at]:
                return taken(relay, lane, data, head, span)
            at += 1
        topic = names.get(name)
        if topic is None:
            topic = topics.learn(name)
            if controls_target(topic):
                return taken(relay, lane, data, head, span)
        if qos:
            packet_id = data[middle] << 8 | data[middle + 1]
            if not packet_id:
                raise Malformed("PUBLISH with packet identifier 0", 0x82)
        if hook is not None:
            payload = data[at:stop]
            relay.judged = head, span
            try:
                answer = hook.call(session, topic, payload)
            except Exception as error:
                answer = hook.refusal(error)
            if answer is not None and answer is not True:
                decision = hook.decide(answer, topic, payload)
                return relay.journey(lane, relay.decode(lane, data, head, span), data[start:stop], decision)
        elif notice is None:
            continue
        else:
            payload = data[at:stop]
        if notice is None:
            continue
        if qos:
            lane.wait(packet_id, topic, payload)
        else:
            notice.tell_message(session, topic, payload)
    return None


def acknowledgement(relay: MqttRelay, lane: Lane, data: bytes, head: int, run: Iterator[Span]) -> Journey | None:
    """PUBACK, PUBREC, PUBCOMP (3.4, 3.5, 3.7): two bytes nearly always."""
    sender = relay.down if lane is relay.up else relay.up
    notice, session = None if head == 0x70 else sender.notice, relay.session
    for span in run:
        _, body, stop = span
        packet_id = data[body] << 8 | data[body + 1] if stop - body == 2 else 0
        if not packet_id or head & 15 or sender.lowered:
            return taken(relay, lane, data, head, span)
        if notice is not None:
            message = sender.acknowledged(packet_id)
            if message is not None:
                topic, payload = message
                notice.tell_message(session, topic, payload)
    return None


def release(relay: MqttRelay, lane: Lane, data: bytes, head: int, run: Iterator[Span]) -> Journey | None:
    """PUBREL (3.6): only exchanges that the gateway follows itself are of interest."""
    for span in run:
        _, body, stop = span
        if head != 0x62 or stop - body != 2 or lane.swallowed or lane.open:
            return taken(relay, lane, data, head, span)
        if not (data[body] or data[body + 1]):
            raise Malformed("PUBREL with packet identifier 0", 0x82)
    return None


def ping(relay: MqttRelay, lane: Lane, data: bytes, head: int, run: Iterator[Span]) -> Journey | None:
    """PINGREQ of a device, PINGRESP of a target (3.12, 3.13)."""
    for span in run:
        if span[1] != span[2] or head != lane.ping:
            return taken(relay, lane, data, head, span)
    return None


PLAIN = (
    inspected,  # 0 is reserved: decode refuses it
    connect,
    inspected,
    publish,
    acknowledgement,
    acknowledgement,
    release,
    acknowledgement,
    inspected,
    inspected,
    inspected,
    inspected,
    ping,
    ping,
    inspected,
    inspected,
)
INSPECTED = (inspected, connect, *(inspected,) * 14)
