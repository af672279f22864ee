"""Refuses what asks for it by its name, so that a test can say in the topic what it wants to see."""

from typing import Any

from mgate.handler import Denied, Handler, Session, plugin

TEXT = "as you asked"


class Refuser(Handler):
    def auth_connect(self, session: Session) -> None:
        """The user ``deny`` names a kind in its password."""
        if session.username == "deny":
            raise Denied((session.password or b"").decode(), TEXT)

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        """The second level of ``closed/quota`` is the kind."""
        if topic.startswith("closed/"):
            raise Denied(topic.split("/")[1], TEXT)

    def auth_subscribe(self, session: Session, filters: list[str]) -> Any:
        return [Denied(name.split("/")[1], TEXT) if name.startswith("closed/") else name for name in filters]

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> None:
        if topic.startswith("unheard/"):
            raise Denied("not authorised", TEXT)


refuser = plugin("refuser", Refuser)
