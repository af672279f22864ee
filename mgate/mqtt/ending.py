"""How a connection ends: what the device is told, and what is left to do.

The relay ends it where a packet was the cause, the link where none was; handlers hear of the end once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgate.errors import GateError, Malformed, TargetLost
from mgate.mqtt import refusal, report
from mgate.mqtt.connecting import ASKING, CLOSED, CONNECTING, NEW, OPEN
from mgate.mqtt.decode import UnsupportedVersion
from mgate.mqtt.lane import Lane

if TYPE_CHECKING:
    from mgate.mqtt.relay import MqttRelay

__all__ = ["broken", "close", "closed", "fail", "farewell"]


def farewell(relay: MqttRelay, error: Any) -> bytes:
    """What a device is told when the gateway ends its connection because of `error`."""
    room = relay.terms.device_maximum or refusal.ROOMY
    if relay.state == NEW:
        if isinstance(error, UnsupportedVersion):
            # A bridge sets the highest bit of its level, and after return code 1 it tries again without.
            return refusal.connack(error.version & 0x7F, error)
        version = getattr(error, "version", 0) or relay.version
        return refusal.connack(version, error) if version else b""
    if relay.state in (ASKING, CONNECTING):
        return refusal.connack(relay.version, error, room)
    if relay.up.ended or relay.down.ended:
        return b""
    return refusal.disconnect(relay.version, error, room)


def close(relay: MqttRelay, error: GateError) -> None:
    """Nothing moves any more in either direction."""
    relay.state = CLOSED
    relay.closing = error
    for lane in (relay.up, relay.down):
        lane.blocked = lane.ended = True
        lane.held = b""


def broken(relay: MqttRelay, lane: Lane, error: Malformed) -> None:
    """A side broke the protocol."""
    ending: GateError = error
    if lane is relay.down:
        ending = TargetLost(error.text, "upstream_malformed")
    report.ended(relay, ending)
    relay.end(ending)


def fail(relay: MqttRelay, error: GateError) -> bytes:
    """As `MqttRelay.fail`."""
    if relay.state == CLOSED:
        return b""
    told = farewell(relay, error)
    if relay.state != OPEN or error.reason not in ("target_closed", "target_lost", "shutdown"):
        report.ended(relay, error)
    close(relay, error)
    return told


def closed(relay: MqttRelay, reason: str) -> str:
    """As `MqttRelay.closed`."""
    if relay.said_goodbye:
        reason = "disconnect"
    relay.session._reader = None
    for lane in (relay.up, relay.down):
        if lane.question is not None:
            lane.question.cancel()
            lane.question = None
        if lane.journey is not None:
            lane.journey.close()
            lane.journey = None
    relay.state = CLOSED
    if relay.connected:
        relay.connected = False
        if relay.policy.disconnect is not None:
            relay.policy.disconnect.tell(relay.session, reason)
    return reason
