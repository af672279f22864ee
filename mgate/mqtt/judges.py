"""Who judges a packet that somebody watches, by direction and packet type. What is not named here just passes."""

from __future__ import annotations

from typing import Any

from mgate.mqtt import connecting, publishing, subscribing
from mgate.mqtt.packets import PacketType
from mgate.outcome import Direction

__all__ = ["JUDGES"]

UPLINK: dict[int, Any] = {
    PacketType.CONNECT: connecting.judge_connect,
    PacketType.PUBLISH: publishing.judge,
    PacketType.PUBACK: publishing.judge_acknowledgement,
    PacketType.PUBREC: publishing.judge_acknowledgement,
    PacketType.PUBREL: publishing.judge_release,
    PacketType.SUBSCRIBE: subscribing.judge_subscribe,
    PacketType.UNSUBSCRIBE: subscribing.judge_unsubscribe,
    PacketType.DISCONNECT: connecting.judge_disconnect,
    PacketType.AUTH: connecting.judge_auth,
}
DOWNLINK: dict[int, Any] = {
    PacketType.CONNACK: connecting.judge_connack,
    PacketType.PUBLISH: publishing.judge,
    PacketType.PUBACK: publishing.judge_acknowledgement,
    PacketType.PUBREC: publishing.judge_acknowledgement,
    PacketType.PUBREL: publishing.judge_release,
    PacketType.SUBACK: subscribing.judge_suback,
    PacketType.UNSUBACK: subscribing.judge_unsuback,
    PacketType.DISCONNECT: connecting.judge_disconnect,
    PacketType.AUTH: connecting.judge_auth,
}
JUDGES = {Direction.UPLINK: UPLINK, Direction.DOWNLINK: DOWNLINK}
