"""The handlers of `mgate demo`. Read them as an example: this is all that it takes to write rules.

A handler overrides the hooks that it cares about. A hook that returns nothing agrees; one that raises `Denied` refuses,
and the device is told why in the words of its protocol. Handlers stand in a list, and all of them must agree.
"""

from __future__ import annotations

import hmac

from mgate.handler import Denied, Handler, Message, Session
from mgate.handlers.certificate import CertificateHandler

__all__ = ["CERTIFIED", "HANDLERS", "Accounts", "OwnTopics", "Plant"]


class Accounts(Handler):
    """Who may connect. The broker is dialled only when this has agreed."""

    PASSWORDS = {"alice": b"wonderland", "bob": b"builder"}

    def auth_connect(self, session: Session) -> None:
        expected = self.PASSWORDS.get(session.username or "", b"")
        if not expected or not hmac.compare_digest(session.password or b"", expected):
            raise Denied("bad credentials", "unknown user or wrong password")


class OwnTopics(Handler):
    """Everybody publishes and subscribes below their own name; news/# is for reading only."""

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        if topic.startswith("news/"):
            raise Denied("not authorised", "news is for reading only")
        if not topic.startswith(f"{session.username}/"):
            raise Denied("not authorised", f"{session.username} publishes below {session.username}/ only")

    def auth_subscribe(self, session: Session, filters: list[str]) -> list[str | Denied]:
        # One answer for each filter: some may be refused while the others pass.
        return [self._judge(session, filter) for filter in filters]

    def _judge(self, session: Session, filter: str) -> str | Denied:
        if filter.startswith((f"{session.username}/", "news/")):
            return filter
        return Denied("not authorised", f"{session.username} reads {session.username}/# and news/# only")


class Plant(Handler):
    """What is published below <name>/up/ reaches the broker below plant/: a hook may rewrite what it agrees to."""

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Message | None:
        if topic.startswith(f"{session.username}/up/"):
            return Message(topic=f"plant/{topic}")
        return None


HANDLERS: tuple[tuple[str, Handler], ...] = (("accounts", Accounts()), ("own-topics", OwnTopics()), ("plant", Plant()))
"""In the order in which they are asked, with the names that the demo shows."""

CERTIFIED: tuple[tuple[str, Handler], ...] = (("certificate", CertificateHandler("username=cn")), *HANDLERS[1:])
"""Where devices have certificates: the user name is the common name, so that the other rules stay as they are."""
