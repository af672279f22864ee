"""Topic names that were checked before: most messages name one of a few topics, and checking costs more than finding.

One `Topics` serves a listener; it is bounded, so that a device which invents topics only empties it.
"""

from __future__ import annotations

import re

from mgate.errors import Malformed
from mgate.mqtt.text import check_topic_name, decode_text

__all__ = ["Topics", "controls_target"]

LARGEST = 256
"""Longer names are checked each time, so that the memory is bounded: bytes."""


CONTROLLING = frozenset(("$SYS", "$CONTROL", "$delayed"))
"""First levels that mean something else to a broker than a topic: what it says of itself, what it is told to do, and
(EMQX) a message for another topic, later, which a rule about topics would not recognise."""


BRIDGE_STATE = re.compile(r"\$SYS/broker/connection/[^/]+/state")
"""Where a mosquitto that is a bridge says whether it is connected, in its will too. It is the one topic below $SYS that
mosquitto lets others write to."""


def controls_target(topic: str) -> bool:
    """Is it one of the topics by which brokers are controlled? No device writes there by default."""
    if not topic.startswith("$") or topic.split("/", 1)[0] not in CONTROLLING:
        return False
    return BRIDGE_STATE.fullmatch(topic) is None


class Topics:
    """Names by their bytes. The relay looks into `names` itself and calls `learn` for what is not there.

    Args:
        levels: the most levels that a topic may have.
        room: how many names are kept.
    """

    __slots__ = ("_levels", "_room", "names")

    def __init__(self, levels: int, room: int = 2048) -> None:
        self.names: dict[bytes, str] = {}
        self._levels = levels
        self._room = room

    def learn(self, name: bytes) -> str:
        """Check a topic name and remember it, unless it is one that `controls_target`.

        Raises:
            Malformed: not UTF-8, empty, with a wildcard, or with too many levels.
        """
        topic = decode_text(name, 0, len(name))
        check_topic_name(topic)
        self.check_levels(topic)
        if len(name) <= LARGEST and not controls_target(topic):
            if len(self.names) >= self._room:
                self.names.clear()
            self.names[name] = topic
        return topic

    def check_levels(self, topic: str) -> None:
        """Raises Malformed if a topic name or filter has more levels than the limit."""
        if topic.count("/") >= self._levels:
            raise Malformed("the topic has more levels than allowed")
