import unittest
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from mgate.handler import Denied, Handler, Session
from mgate.testing import relay_with


class Asks(Handler):
    """Asks somebody else who may publish."""

    def __init__(self, ask: Callable[[str | None], Deferred[bool]]) -> None:
        super().__init__()
        self.ask = ask

    async def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        if not await self.ask(session.username):
            raise Denied("not authorised", "they said no")


class AsksTests(unittest.TestCase):
    def setUp(self) -> None:
        self.answer: Deferred[Any] = Deferred()
        self.device = relay_with(Asks(lambda name: self.answer), username="alice")
        self.effect = self.device.publish("t", b"1", qos=1)

    def test_waits(self) -> None:
        self.assertTrue(self.effect.waiting)
        self.assertEqual(self.effect.to_target, [])

    def test_yes(self) -> None:
        self.answer.callback(True)
        self.assertEqual(self.effect.published, [("t", b"1")])

    def test_no(self) -> None:
        self.answer.callback(False)
        self.assertEqual(self.effect.reasons, ["they said no"])


class NoAnswerTests(unittest.TestCase):
    def test_never(self) -> None:
        device = relay_with(Asks(lambda name: Deferred()), raise_faults=False)
        effect = device.publish("t", b"1", qos=1)
        device.time_out()
        self.assertEqual(effect.codes, [0x83])
        self.assertEqual(effect.published, [])
