"""Topic aliases of one direction (MQTT 5.0 section 3.3.2.3.4).

The sender's side is read and remembered here. The same numbers are used on the far side, as long as the far side has
seen the same mapping; where it has not (the packet that set it was refused or rewritten), the topic is sent along.
"""

from __future__ import annotations

from mgate.errors import Malformed
from mgate.mqtt.packets import Publish
from mgate.mqtt.properties import PropertyId

__all__ = ["Aliases"]


class Aliases:
    """The mappings that the sender of one direction has made.

    Args:
        maximum: the Topic Alias Maximum that the receiver announced.
    """

    __slots__ = ("_far", "_near", "maximum")

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self._near: dict[int, str] = {}
        self._far: dict[int, str] = {}

    def resolve(self, packet: Publish) -> str:
        """The topic of a PUBLISH; remembers a mapping even if that packet is refused later.

        Raises:
            Malformed: the alias is 0 or above the maximum (0x94), or it is unknown (0x82).
        """
        alias = packet.properties.get(PropertyId.TOPIC_ALIAS) if packet.properties else None
        if alias is None:
            return packet.topic
        if not 0 < alias <= self.maximum:
            raise Malformed("the topic alias is above the maximum", 0x94)
        if packet.topic:
            self._near[alias] = packet.topic
            return packet.topic
        if alias not in self._near:
            raise Malformed("the topic alias is unknown", 0x82)
        return self._near[alias]

    def known(self, packet: Publish, topic: str) -> bool:
        """Does the far side know the topic of a packet, if it goes on as it came?"""
        alias = packet.properties.get(PropertyId.TOPIC_ALIAS) if packet.properties else None
        return alias is None or bool(packet.topic) or self._far.get(alias) == topic

    def sent(self, packet: Publish) -> None:
        """A packet was forwarded: from now on the far side knows the mapping that it sets."""
        alias = packet.properties.get(PropertyId.TOPIC_ALIAS) if packet.properties else None
        if alias is not None and packet.topic:
            self._far[alias] = packet.topic
