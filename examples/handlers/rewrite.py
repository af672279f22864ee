"""Devices say ``temperature``, the broker hears ``plant-7/<client id>/temperature``, and readings become JSON.

``rewrite:plant-7`` moves what devices publish below a prefix of their own, and moves it back on delivery.
"""

import json

from mgate.handler import Handler, Message, Session, plugin


class Rewrite(Handler):
    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Message:
        return Message(topic=self.prefix(session) + topic, payload=as_json(payload))

    def auth_subscribe(self, session: Session, filters: list[str]) -> list[str]:
        return [self.prefix(session) + each for each in filters]

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> Message:
        return Message(topic=topic.removeprefix(self.prefix(session)))

    def prefix(self, session: Session) -> str:
        return f"{self.arguments or 'site'}/{session.id}/"


def as_json(payload: bytes) -> bytes:
    """A bare number such as ``21.5`` becomes ``{"value": 21.5}``; everything else stays what it is."""
    try:
        return json.dumps({"value": float(payload)}).encode()
    except ValueError:
        return payload


rewrite = plugin("rewrite", Rewrite)
