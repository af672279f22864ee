"""``log``: one structured line for everything that handlers are asked and told, and never a payload or a password.

It admits everything. Where it stands in the list of handlers says what its ``auth_`` lines mean: all handlers before
it had agreed. It watches every message in both directions, so it is for demonstrations and for looking closely.
"""

from __future__ import annotations

from typing import Any

from mgate.handler import Handler, MakerContext
from mgate.journal import Journal
from mgate.session import Session

__all__ = ["LogHandler"]


class LogHandler(Handler):
    """Writes what it sees to a `Journal`, which escapes and cuts what devices chose.

    Raises:
        ValueError: there are arguments; it takes none.
    """

    def __init__(
        self, arguments: str = "", context: MakerContext | None = None, journal: Journal | None = None
    ) -> None:
        super().__init__(arguments, context)
        if arguments:
            raise ValueError("it takes no arguments")
        self._journal = journal or Journal()

    def auth_connect(self, session: Session) -> None:
        self._write("auth_connect", session, username=session.username, peer=tuple(session.peer))

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        self._write("auth_publish", session, topic=topic, size=len(payload))

    def auth_subscribe(self, session: Session, filters: list[str]) -> None:
        for topic_filter in filters:
            self._write("auth_subscribe", session, filter=topic_filter)

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> None:
        self._write("auth_deliver", session, topic=topic, size=len(payload))

    def connect(self, session: Session) -> None:
        self._write("connect", session)

    def publish(self, session: Session, topic: str, payload: bytes) -> None:
        self._write("publish", session, topic=topic, size=len(payload))

    def subscribe(self, session: Session, granted: dict[str, int]) -> None:
        for topic_filter, qos in granted.items():
            self._write("subscribe", session, filter=topic_filter, qos=qos)

    def unsubscribe(self, session: Session, filters: list[str]) -> None:
        for topic_filter in filters:
            self._write("unsubscribe", session, filter=topic_filter)

    def disconnect(self, session: Session, reason: str) -> None:
        self._write("disconnect", session, reason=reason)

    def _write(self, hook: str, session: Session, **fields: Any) -> None:
        # Under a name of their own: the gateway itself writes event=connect and event=disconnect.
        self._journal.event("hook", hook=hook, client_id=session.id, connection_id=session.connection_id, **fields)
