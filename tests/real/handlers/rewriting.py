"""Handlers that change everything that may be changed: at once, later, and two in a row."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from mgate.handler import Filter, Handler, Message, Session, plugin
from mgate.mqtt.properties import Properties, PropertyId

NEAR, FAR = "near/", "far/"
"""Where a topic is for the devices, and where it is on the broker."""


class Rewriter(Handler):
    """Devices say ``near/...``, the broker knows ``far/...``."""

    def auth_connect(self, session: Session) -> None:
        if session.id:
            session.id = f"far-{session.id}"
        if session.username == "anonymise":
            session.username = session.password = None
        elif session.username is not None:
            session.username, session.password = "gateway", b"secret of the gateway"
        if session.will is not None and session.will.topic == "near/no will":
            session.will = None
        elif session.username is None and session.id == "far-mortal":
            session.will = Message(f"{FAR}obituary", b"given by the gateway", 1, False)

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Message | None:
        if not topic.startswith(NEAR):
            return None
        changed = Message(topic=FAR + topic.removeprefix(NEAR), payload=payload.upper())
        what = topic.removeprefix(NEAR)
        if what == "qos 0":
            changed.qos = 0
        elif what == "qos 1":
            changed.qos = min(1, session.packet.qos)
        elif what == "retain":
            changed.retain = True
        elif what == "forget":
            changed.retain = False
        elif what == "properties" and session.version == 5:
            changed.properties = Properties(
                [
                    (PropertyId.CONTENT_TYPE, "text/changed"),
                    (PropertyId.USER_PROPERTY, ("b", "1")),
                    (PropertyId.USER_PROPERTY, ("a", "2")),
                    (PropertyId.USER_PROPERTY, ("b", "1")),
                ]
            )
        return changed

    def auth_subscribe(self, session: Session, filters: list[str]) -> Any:
        return [self._elsewhere(name) for name in filters]

    def _elsewhere(self, name: str) -> Any:
        if name == "near/two":
            return ["far/one", "far/other"]
        if name == "near/slowly":
            return Filter("far/slowly", qos=0)
        return FAR + name.removeprefix(NEAR) if name.startswith(NEAR) else name

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> Message | None:
        if not topic.startswith(FAR):
            return None
        return Message(topic=NEAR + topic.removeprefix(FAR), payload=payload + b"!")


class LateRewriter(Rewriter):
    """The same, but it has to wait before each answer."""

    async def auth_connect(self, session: Session) -> None:  # type: ignore[override]
        await deferLater(reactor, 0.01)
        super().auth_connect(session)

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Any:
        answer = super().auth_publish(session, topic, payload)  # before the wait: there is a packet only now
        return deferLater(reactor, 0.005, lambda: answer)

    async def auth_subscribe(self, session: Session, filters: list[str]) -> Any:
        await deferLater(reactor, 0.005)
        return super().auth_subscribe(session, filters)

    async def auth_deliver(self, session: Session, topic: str, payload: bytes) -> Any:  # type: ignore[override]
        await deferLater(reactor, 0.005)
        return super().auth_deliver(session, topic, payload)


class Signer(Handler):
    """Adds its argument to what the handlers before it left."""

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Message:
        return Message(payload=b"%s, %s of %s" % (payload, self.arguments.encode(), topic.encode()))


rewriter = plugin("rewriter", Rewriter)
late_rewriter = plugin("late-rewriter", LateRewriter)
signer = plugin("signer", Signer)
