"""``deny:<topic filter>``: nobody publishes below a topic filter. Refuses wills on such topics too."""

from __future__ import annotations

from mgate.errors import Denied, Kind
from mgate.handler import Handler, MakerContext
from mgate.session import Session

__all__ = ["DenyHandler"]


class DenyHandler(Handler):
    """Refuses to publish on each topic name that a topic filter matches, and admits everything else.

    Args:
        arguments: the topic filter, with ``+`` and ``#`` where they are allowed [MQTT-4.7.1-2, MQTT-4.7.1-3].

    Raises:
        ValueError: it is not a topic filter.
    """

    def __init__(self, arguments: str = "", context: MakerContext | None = None) -> None:
        super().__init__(arguments, context)
        levels = arguments.split("/")
        wrong = any(len(level) > 1 and ("+" in level or "#" in level) for level in levels) or "#" in levels[:-1]
        if not arguments or "\0" in arguments or wrong:
            raise ValueError(f"{arguments!r} is no topic filter; write it behind the colon, as in deny:factory/#")
        self._open_ended = levels[-1] == "#"
        self._levels = levels[:-1] if self._open_ended else levels
        self._starts_wild = levels[0] in ("+", "#")

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        """Called by the policy; see `IHandler`."""
        if self.matches(topic):
            raise Denied(Kind.NOT_AUTHORISED, f"nobody publishes below {self.arguments}")

    def matches(self, topic: str) -> bool:
        """Whether the filter matches a topic name: ``a/#`` matches ``a`` too, and a wildcard in front never matches
        a topic that starts with ``$`` [MQTT-4.7.2-1]."""
        if self._starts_wild and topic.startswith("$"):
            return False
        names = topic.split("/")
        if len(names) < len(self._levels) or (len(names) > len(self._levels) and not self._open_ended):
            return False
        return all(level in ("+", name) for level, name in zip(self._levels, names, strict=False))
