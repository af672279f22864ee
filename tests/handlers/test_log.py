"""``log`` writes a line for every hook, and no payload, password or line end of a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import TestCase

from twisted.logger import LogEvent, Logger, formatEvent, globalLogPublisher
from zope.interface.verify import verifyObject

from mgate.handlers.log import LogHandler
from mgate.interfaces import IHandler
from mgate.journal import Journal
from mgate.session import Peer, Session

SESSION = Session("c-1", id="dev\nice", username="alice", password=b"hush-hush", peer=Peer("192.0.2.1", 4711))


class LogTests(TestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        journal = Journal(log=Logger("mgate", observer=self.events.append))
        self.handler = LogHandler(journal=journal)

    def lines(self, hook: Callable[..., Any], *arguments: Any) -> list[str]:
        self.events.clear()
        self.assertIsNone(hook(SESSION, *arguments))
        return [formatEvent(event) for event in self.events]

    def test_is_a_handler(self) -> None:
        verifyObject(IHandler, self.handler)

    def test_every_hook(self) -> None:
        handler = self.handler
        who = "client=dev\\nice conn=c-1"
        cases: list[tuple[Callable[..., Any], tuple[Any, ...], list[str]]] = [
            (handler.auth_connect, (), [f"event=hook hook=auth_connect {who} username=alice peer=192.0.2.1:4711"]),
            (handler.auth_publish, ("t/1", b"hush-hush"), [f"event=hook hook=auth_publish {who} topic=t/1 size=9"]),
            (handler.auth_deliver, ("t/1", b"hush-hush"), [f"event=hook hook=auth_deliver {who} topic=t/1 size=9"]),
            (handler.publish, ("t/1", b"hush-hush"), [f"event=hook hook=publish {who} topic=t/1 size=9"]),
            (
                handler.auth_subscribe,
                (["a/#", "b"],),
                [f"event=hook hook=auth_subscribe {who} filter=a/#", f"event=hook hook=auth_subscribe {who} filter=b"],
            ),
            (handler.connect, (), [f"event=hook hook=connect {who}"]),
            (handler.subscribe, ({"a/#": 1},), [f"event=hook hook=subscribe {who} filter=a/# qos=1"]),
            (handler.unsubscribe, (["a/#"],), [f"event=hook hook=unsubscribe {who} filter=a/#"]),
            (handler.disconnect, ("keep_alive",), [f"event=hook hook=disconnect {who} reason=keep_alive"]),
        ]
        for hook, arguments, expected in cases:
            with self.subTest(hook.__name__):
                self.assertEqual(self.lines(hook, *arguments), expected)

    def test_no_secret_in_any_field(self) -> None:
        for hook in (self.handler.auth_connect, self.handler.connect):
            hook(SESSION)
        self.handler.auth_publish(SESSION, "t", b"hush-hush")
        self.assertNotIn("hush", repr([dict(event["journal"]) for event in self.events]))

    def test_takes_no_arguments(self) -> None:
        with self.assertRaises(ValueError):
            LogHandler("verbose")

    def test_writes_to_the_log_of_the_process_by_default(self) -> None:
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        LogHandler().connect(SESSION)
        self.assertEqual([event["journal"]["hook"] for event in self.events], ["connect"])
