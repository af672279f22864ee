"""Thinks about some messages for a moment, and admits them all."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from mgate.handler import Handler, MakerContext, Session, plugin


class Hesitater(Handler):
    def __init__(self, arguments: str = "", context: MakerContext | None = None) -> None:
        super().__init__(arguments, context)
        self.every = int(arguments or 100)
        self.count = 0

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Any:
        return self.wait()

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> Any:
        return self.wait()

    def wait(self) -> Any:
        self.count += 1
        return deferLater(reactor, 0.002) if self.count % self.every == 0 else None


hesitater = plugin("hesitater", Hesitater)
