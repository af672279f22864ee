"""The cheapest handler that watches every PUBLISH: it agrees at once. What it costs is what mgate costs."""

from __future__ import annotations

from mgate.handler import Handler, Session, plugin


class Agree(Handler):
    """Is asked about every message and told of every message."""

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        return None

    def publish(self, session: Session, topic: str, payload: bytes) -> None:
        return None


agree = plugin("agree", Agree)
