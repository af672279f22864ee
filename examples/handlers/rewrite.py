"""Devices say ``temperature``, the broker hears ``plant-7/<client id>/temperature``, and readings become JSON.

``rewrite:plant-7`` moves what devices publish below a prefix of their own, and moves it back on delivery.
"""

import json

from mgate.handler import Denied, Handler, Message, Session, plugin


class Rewrite(Handler):
    def auth_connect(self, session: Session) -> None:
        if not is_level(session.id):
            raise Denied("bad client id", "a client identifier without / + # that does not begin with $ is needed")
        if session.username is not None and not is_level(session.username):
            raise Denied("bad credentials", "a user name without / + # that does not begin with $ is needed")

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Message:
        return Message(topic=self.prefix(session) + topic, payload=as_json(payload))

    def auth_subscribe(self, session: Session, filters: list[str]) -> list[str]:
        return [self.prefix(session) + each for each in filters]

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> Message:
        return Message(topic=topic.removeprefix(self.prefix(session)))

    def prefix(self, session: Session) -> str:
        return f"{self.arguments or 'site'}/{session.id}/"


def is_level(name: str) -> bool:
    """Whether a name that a device chose is one level of a topic. The client identifier ``+`` would read everything."""
    return name != "" and not name.startswith("$") and set(name).isdisjoint("/+#")


def as_json(payload: bytes) -> bytes:
    """A bare number such as ``21.5`` becomes ``{"value": 21.5}``; everything else stays what it is."""
    try:
        value = float(payload)
    except ValueError:
        return payload
    try:
        return json.dumps({"value": value}, allow_nan=False).encode()
    except ValueError:
        raise Denied("bad payload", "JSON knows finite numbers only") from None


rewrite = plugin("rewrite", Rewrite)
