"""Answers who a device is: what it publishes to ``who`` becomes what the session says of it."""

import json

from mgate.handler import Handler, Message, Session, plugin


class Teller(Handler):
    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Message | None:
        if topic != "who":
            return None
        certificate = session.certificate
        told = {"host": session.peer.host, "name": certificate.common_name if certificate is not None else None}
        return Message(payload=json.dumps(told).encode())


teller = plugin("teller", Teller)
