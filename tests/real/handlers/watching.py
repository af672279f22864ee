"""Watches everything there is to see, and admits it: no packet passes unread, and none may come out changed."""

from typing import Any

from mgate.handler import Direction, Handler, Interceptor, Session, plugin


class Watcher(Handler):
    def auth_connect(self, session: Session) -> None:
        return None

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        return None

    def auth_subscribe(self, session: Session, filters: list[str]) -> None:
        return None

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> bool:
        return True

    def connect(self, session: Session) -> None:
        session.attributes["seen"] = []

    def publish(self, session: Session, topic: str, payload: bytes) -> None:
        session.attributes["seen"].append(topic)

    def subscribe(self, session: Session, granted: dict[str, int]) -> None:
        session.attributes["seen"] += granted

    def unsubscribe(self, session: Session, filters: list[str]) -> None:
        session.attributes["seen"] += filters

    def disconnect(self, session: Session, reason: str) -> None:
        session.attributes["seen"].append(reason)


class Copier(Interceptor):
    """Looks at every packet of both directions, so that each is decoded."""

    def before(self, session: Session, packet: Any, direction: Direction) -> None:
        repr(packet)

    def after(self, session: Session, packet: Any, direction: Direction) -> None:
        repr(packet)


watcher = plugin("watcher", Watcher)
copier = plugin("copier", Copier)
