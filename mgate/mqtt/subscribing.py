"""SUBSCRIBE and UNSUBSCRIBE, and the acknowledgements that answer them (MQTT 5.0 sections 3.8 to 3.11).

A device gets one code for each filter that it sent, in its order, whatever was forwarded [MQTT-3.8.4-6]. So each
request that was edited is remembered by its packet identifier: which codes of the target answer which filter, and
which filters the gateway refused itself.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mgate.errors import Denied, Malformed
from mgate.mqtt import refusal, report
from mgate.mqtt.lane import Lane
from mgate.mqtt.packets import Suback, Subscribe, Subscription, Unsuback, Unsubscribe
from mgate.mqtt.text import check_topic_filter, split_shared
from mgate.policy import Hook
from mgate.session import Filter

if TYPE_CHECKING:
    from mgate.mqtt.relay import MqttRelay

__all__ = ["Request", "judge_suback", "judge_subscribe", "judge_unsuback", "judge_unsubscribe", "refuse"]


@dataclass(slots=True)
class Request:
    """A SUBSCRIBE or UNSUBSCRIBE that the target has not answered.

    Attributes:
        sent: the filters that were forwarded, in order.
        slots: for each filter of the device the code of the gateway, or how many of `sent` stand for it. None where
            they are the same.
    """

    sent: list[str]
    slots: list[int | range] | None = None

    @property
    def size(self) -> int:
        """Roughly, the bytes that are kept."""
        return 200 + sum(100 + len(name) for name in self.sent) + 40 * len(self.slots or ())


def judge_subscribe(
    relay: MqttRelay, lane: Lane, packet: Subscribe, decision: Any = None
) -> Generator[Any, Any, Subscribe | None]:
    """Ask about the filters. Returns what to forward, or None where every filter was refused.

    Raises:
        Denied, Malformed.
    """
    relay.check_user_properties(packet.properties)
    relay.check_filters([item.filter for item in packet.subscriptions])
    hook = relay.policy.auth_subscribe
    slots = None
    if hook is not None:
        shared = [split_shared(item.filter) for item in packet.subscriptions]
        slots = yield from relay.decided(hook, hook.ask(relay.session, [inner for _, inner in shared]))
    if hook is None or slots is None:
        if relay.policy.subscribe is not None:
            relay.requested = Request([item.filter for item in packet.subscriptions])
        return packet
    try:
        rewritten = _rewritten(relay, lane, hook, packet, [prefix for prefix, _ in shared], slots)
        if rewritten is not None and rewritten is not packet:
            relay.encode(rewritten)
        return rewritten
    except (Malformed, ValueError, TypeError) as error:
        raise relay.fault(hook, error) from error


def _rewritten(
    relay: MqttRelay,
    lane: Lane,
    hook: Hook,
    packet: Subscribe,
    prefixes: list[str],
    answer: list[Denied | list[Filter]],
) -> Subscribe | None:
    """The SUBSCRIBE with what the handlers made of its filters."""
    allowed: list[Subscription] = []
    slots: list[int | range] = []
    first: Denied | None = None
    for asked, prefix, slot in zip(packet.subscriptions, prefixes, answer, strict=True):
        if isinstance(slot, Denied):
            report.denied(relay, hook.refusal(slot))
            first = first or slot
            slots.append(refusal.suback_code(relay.version, slot))
            continue
        slots.append(range(len(allowed), len(allowed) + len(slot)))
        renamed = [_subscription(asked, prefix, one) for one in slot]
        relay.exchanges.rename(asked.filter, [one.filter for one in renamed])
        allowed += renamed
    if first is not None and relay.version == 3:
        if relay.choices.denied_subscribe_31 == "disconnect":
            relay.end(first)
            return None
        granted = zip(slots, packet.subscriptions, strict=True)
        slots = [item.qos if isinstance(slot, int) else slot for slot, item in granted]
    if first is not None and not allowed:
        codes = [slot for slot in slots if isinstance(slot, int)]
        lane.reply.append(refusal.suback(relay.version, packet.packet_id, codes, first, relay.room))
        return None
    relay.requested = Request([item.filter for item in allowed], slots)
    return packet if allowed == packet.subscriptions else replace(packet, subscriptions=allowed)


def _subscription(asked: Subscription, prefix: str, wanted: Filter) -> Subscription:
    """One filter with the options of the device, but for those that a handler set."""
    text = prefix + (wanted.filter or "")
    check_topic_filter(text)
    qos = asked.qos if wanted.qos is None else wanted.qos
    if qos not in (0, 1, 2) or qos > asked.qos:
        raise ValueError(f"the QoS of a subscription may be lowered only, not set from {asked.qos} to {qos}")
    return Subscription(
        text,
        qos,
        asked.no_local if wanted.no_local is None else wanted.no_local,
        asked.retain_as_published if wanted.retain_as_published is None else wanted.retain_as_published,
        asked.retain_handling if wanted.retain_handling is None else wanted.retain_handling,
    )


def refuse(relay: MqttRelay, lane: Lane, packet: Subscribe, denied: Denied) -> None:
    """Every filter was refused at once, or what the handlers made of them can not be forwarded."""
    if relay.version == 3 and relay.choices.denied_subscribe_31 == "disconnect":
        relay.end(denied)
        return
    code = refusal.suback_code(relay.version, denied)
    codes = [item.qos if relay.version == 3 else code for item in packet.subscriptions]
    lane.reply.append(refusal.suback(relay.version, packet.packet_id, codes, denied, relay.room))


def judge_suback(
    relay: MqttRelay, lane: Lane, packet: Suback, decision: Any = None
) -> Generator[Any, Any, Suback | None]:
    """Merge the codes of the target with those of the gateway, and tell the handlers what was granted."""
    request = relay.exchanges.answered(packet.packet_id)
    if request is None:
        return packet
    codes = packet.reason_codes
    if len(codes) != len(request.sent):
        raise Malformed("SUBACK has another number of codes than there were filters", 0x82)
    notice = relay.policy.subscribe
    if notice is not None:
        granted = {name: code for name, code in zip(request.sent, codes, strict=True) if code < 0x80}
        if granted:
            notice.tell(relay.session, granted)
    merged = _merged(request, codes)
    return packet if merged == codes else replace(packet, reason_codes=merged)
    yield


def judge_unsubscribe(
    relay: MqttRelay, lane: Lane, packet: Unsubscribe, decision: Any = None
) -> Generator[Any, Any, Unsubscribe | None]:
    """UNSUBSCRIBE needs no permission; filters that were rewritten when they were subscribed are rewritten alike."""
    relay.check_user_properties(packet.properties)
    relay.check_filters(packet.filters)
    sent: list[str] = []
    slots: list[int | range] = []
    for name in packet.filters:
        renamed = relay.exchanges.original(name)
        slots.append(range(len(sent), len(sent) + len(renamed)))
        sent += renamed
    if sent != packet.filters:
        relay.requested = Request(sent, slots)
        return replace(packet, filters=sent)
    if relay.policy.unsubscribe is not None:
        relay.requested = Request(sent)
    return packet
    yield


def judge_unsuback(
    relay: MqttRelay, lane: Lane, packet: Unsuback, decision: Any = None
) -> Generator[Any, Any, Unsuback | None]:
    """Merge codes as for SUBACK, and tell the handlers."""
    request = relay.exchanges.answered(packet.packet_id)
    if request is None:
        return packet
    codes = packet.reason_codes
    if relay.version == 5 and len(codes) != len(request.sent):
        raise Malformed("UNSUBACK has another number of codes than there were filters", 0x82)
    notice = relay.policy.unsubscribe
    if notice is not None:
        gone = [name for index, name in enumerate(request.sent) if relay.version < 5 or codes[index] < 0x80]
        if gone:
            notice.tell(relay.session, gone)
    if relay.version < 5:
        return packet
    merged = _merged(request, codes)
    return packet if merged == codes else replace(packet, reason_codes=merged)
    yield


def _merged(request: Request, codes: list[int]) -> list[int]:
    """One code for each filter of the device; of several that stand for one, the worst."""
    if request.slots is None:
        return codes
    return [slot if isinstance(slot, int) else _worst([codes[index] for index in slot]) for slot in request.slots]


def _worst(codes: list[int]) -> int:
    """A failure before a success, and of successes the lowest QoS."""
    failures = [code for code in codes if code >= 0x80]
    return failures[0] if failures else min(codes)
