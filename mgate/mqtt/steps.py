"""The first look at each packet, where it lies in the chunk.

A step checks one packet without making an object of it where it can. It returns None to let the packet leave as the
slice that it came in, or the journey that takes it out of the stream. `PLAIN` is the table by packet type; with an
interceptor every packet is `inspected`.
"""

from __future__ import annotations

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


def inspected(relay: MqttRelay, lane: Lane, data: bytes, span: Span) -> Journey:
    """Decode it, and send it on its way."""
    return relay.journey(lane, relay.decode(lane, data, span), data[span[1] : span[3]])


def connect(relay: MqttRelay, lane: Lane, data: bytes, span: Span) -> Journey:
    """A CONNECT that is not the first packet [MQTT-3.1.0-2]; nobody reads what it says."""
    raise Malformed("a second CONNECT", 0x82)


def publish(relay: MqttRelay, lane: Lane, data: bytes, span: Span) -> Journey | None:
    """PUBLISH (3.3). This is where nearly all time goes: a message without properties on a topic that was seen before
    is judged, passed and told of with one call for each hook, and no object but its payload."""
    head, _, body, stop = span
    qos = PUBLISH_QOS[head & 15]
    at = body + 2
    if at > stop or qos < 0:
        return inspected(relay, lane, data, span)
    middle = at + (data[body] << 8 | data[body + 1])
    name = data[at:middle]
    at = middle + 2 if qos else middle
    if at > stop:
        raise Malformed("PUBLISH is shorter than its topic says")
    if relay.version == 5:
        if at == stop:
            raise Malformed("PUBLISH without a property length")
        if data[at]:
            return inspected(relay, lane, data, span)
        at += 1
    topic = relay.topics.names.get(name)
    if topic is None:
        topic = relay.topics.learn(name)
        if controls_target(topic):
            return inspected(relay, lane, data, span)
    hook, notice = lane.hook, lane.notice
    if qos:
        packet_id = data[middle] << 8 | data[middle + 1]
        if not packet_id:
            raise Malformed("PUBLISH with packet identifier 0", 0x82)
        if qos == 2 and (hook is not None or notice is not None or lane.swallowed):
            return inspected(relay, lane, data, span)
    if hook is None and notice is None:
        return None
    payload = data[at:stop]
    if hook is not None:
        relay.judged = span
        try:
            answer = hook.call(relay.session, topic, payload)
        except Exception as error:
            answer = hook.refusal(error)
        if answer is not None and answer is not True:
            decision = hook.decide(answer, topic, payload)
            return relay.journey(lane, relay.decode(lane, data, span), data[span[1] : stop], decision)
    if notice is not None:
        if qos:
            lane.wait(packet_id, topic, payload)
        else:
            notice.tell(relay.session, topic, payload)
    return None


def acknowledgement(relay: MqttRelay, lane: Lane, data: bytes, span: Span) -> Journey | None:
    """PUBACK, PUBREC, PUBCOMP (3.4, 3.5, 3.7): two bytes nearly always."""
    head, _, body, stop = span
    if stop - body == 2 and not head & 15:
        packet_id = data[body] << 8 | data[body + 1]
        sender = relay.down if lane is relay.up else relay.up
        if packet_id and not sender.lowered:
            if sender.waiting and head != 0x70:
                message = sender.acknowledged(packet_id)
                if message is not None and sender.notice is not None:
                    sender.notice.tell(relay.session, *message)
            return None
    return inspected(relay, lane, data, span)


def release(relay: MqttRelay, lane: Lane, data: bytes, span: Span) -> Journey | None:
    """PUBREL (3.6): only exchanges that the gateway follows itself are of interest."""
    _, _, body, stop = span
    if span[0] == 0x62 and stop - body == 2 and not lane.swallowed and not lane.open:
        if not (data[body] or data[body + 1]):
            raise Malformed("PUBREL with packet identifier 0", 0x82)
        return None
    return inspected(relay, lane, data, span)


def ping(relay: MqttRelay, lane: Lane, data: bytes, span: Span) -> Journey | None:
    """PINGREQ of a device, PINGRESP of a target (3.12, 3.13)."""
    if span[2] == span[3] and span[0] == lane.ping:
        return None
    return inspected(relay, lane, data, span)


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
