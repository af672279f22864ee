"""The handlers of the demo and the lines that it writes, without a demo."""

from __future__ import annotations

import re
import unittest
from typing import Any

from twisted.logger import Logger

from mgate.demo.handlers import CERTIFIED, HANDLERS, Accounts, OwnTopics, Plant
from mgate.demo.narration import Narrator
from mgate.handler import Denied, Handler, Message, Session
from mgate.policy import Policy
from mgate.testing.authority import Authority
from mgate.tls.identity import identify


def session(username: str | None = "alice", password: bytes | None = b"wonderland") -> Session:
    return Session(id="c", username=username, password=password)


class HandlersTest(unittest.TestCase):
    def test_accounts(self) -> None:
        Accounts().auth_connect(session())
        for username, password in (("alice", b"x"), ("eve", b"wonderland"), ("", b""), (None, None), ("alice", None)):
            with self.subTest(username=username), self.assertRaises(Denied) as caught:
                Accounts().auth_connect(session(username, password))
            self.assertEqual(caught.exception.kind, "bad credentials")

    def test_own_topics(self) -> None:
        rules = OwnTopics()
        rules.auth_publish(session(), "alice/x", b"")
        for topic in ("bob/x", "alice", "news/x", "x"):
            with self.subTest(topic=topic), self.assertRaises(Denied):
                rules.auth_publish(session(), topic, b"")
        answers = rules.auth_subscribe(session(), ["alice/#", "bob/#", "news/+", "#", "+/x"])
        self.assertEqual([isinstance(answer, Denied) for answer in answers], [False, True, False, True, True])

    def test_plant(self) -> None:
        self.assertEqual(Plant().auth_publish(session(), "alice/up/t", b""), Message(topic="plant/alice/up/t"))
        self.assertIsNone(Plant().auth_publish(session(), "alice/upper", b""))


class NarratorTest(unittest.TestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.narrator = Narrator(self.lines.append, clock=lambda: "12:00:00")

    def policy(self, *handlers: tuple[str, Handler]) -> Any:
        return Policy(self.narrator.watch(handlers or HANDLERS))

    def told(self) -> list[list[str]]:
        """The lines so far, cut into their columns, without the time."""
        lines, self.lines[:] = self.lines[:], []
        return [re.split(r" {2,}", line)[1:] for line in lines]

    def test_what_was_agreed_is_told_once(self) -> None:
        policy = self.policy()
        self.assertIsNone(policy.auth_connect.ask(session()))
        self.assertIsNone(policy.auth_publish.ask(session(), "alice/x", b""))
        self.assertEqual(
            self.told(), [["c", "auth_connect", "(user alice)", "ok"], ["c", "auth_publish", "alice/x", "ok"]]
        )

    def test_a_refusal_is_told_with_its_handler_and_its_reason(self) -> None:
        denied = self.policy().auth_publish.ask(session(), "bob/x", b"")
        self.assertIsInstance(denied, Denied)
        self.assertEqual(
            self.told(),
            [["c", "auth_publish", "bob/x", "REFUSED", "own-topics: alice publishes below alice/ only"]],
        )

    def test_a_login_without_a_name_is_told(self) -> None:
        self.policy().auth_connect.ask(session(None, None))
        self.assertEqual(self.told()[0][2], "(no user name)")

    def test_a_rewritten_topic_is_told(self) -> None:
        edit = self.policy().auth_publish.ask(session(), "alice/up/t", b"")
        self.assertEqual(edit, Message(topic="plant/alice/up/t"))
        self.assertEqual(
            self.told(), [["c", "auth_publish", "alice/up/t", "rewritten", "plant: to plant/alice/up/t"]]
        )

    def test_each_filter_is_told(self) -> None:
        self.policy().auth_subscribe.ask(session(), ["alice/#", "bob/#"])
        self.assertEqual([line[2:4] for line in self.told()], [["alice/#", "ok"], ["bob/#", "REFUSED"]])

    def test_who_it_is_by_certificate_is_told(self) -> None:
        certified = session(None, None)
        certified.certificate = identify(Authority.root("ca").issue("bob").certificate)
        policy = self.policy(*CERTIFIED)
        self.assertIsNone(policy.auth_connect.ask(certified))
        self.assertIsNone(policy.auth_publish.ask(certified, "bob/x", b""))
        self.assertEqual(
            self.told(),
            [
                ["c", "auth_connect", "(user bob)", "ok", f"certificate: {certified.certificate.subject}"],
                ["c", "auth_publish", "bob/x", "ok"],
            ],
        )
        self.assertIsInstance(policy.auth_connect.ask(session()), Denied)
        self.assertEqual(
            self.told(),
            [["c", "auth_connect", "(user alice)", "REFUSED", "certificate: a client certificate is needed"]],
        )

    def test_what_tls_refuses_is_told_with_the_address(self) -> None:
        self.narrator.journal.reject("tls_revoked", text="CN=bob: revoked (crl)", peer=("127.0.0.1", 4711))
        self.assertEqual(self.told(), [["127.0.0.1:4711", "(TLS)", "-", "REFUSED", "CN=bob: revoked (crl)"]])

    def test_the_end_of_a_connection_is_told(self) -> None:
        self.policy().disconnect.tell(session(), "keep_alive")
        self.assertEqual(self.told(), [["c", "disconnect", "-", "gone", "keep alive"]])

    def test_hooks_that_no_handler_has_stay_unwatched(self) -> None:
        policy = self.policy(("accounts", Accounts()))
        self.assertIsNone(policy.auth_publish)
        self.assertIsNone(policy.auth_deliver)

    def test_what_the_gateway_refuses_by_itself_is_told_and_what_handlers_refuse_is_not_told_twice(self) -> None:
        journal = self.narrator.journal
        journal.reject("malformed", text="QoS 3", client_id="x")
        journal.reject("not_authorised", handler="own-topics", client_id="x")
        journal.event("connect", client_id="x")
        self.assertEqual(self.told(), [["x", "(gateway)", "-", "REFUSED", "QoS 3"]])
        journal.fault("plant", "auth_publish", ValueError("no"))
        self.assertEqual(self.told(), [["-", "auth_publish", "-", "FAULT", "plant: ValueError: no"]])

    def test_a_flood_is_summed_up(self) -> None:
        for _ in range(12):
            self.narrator.journal.reject("malformed")
        self.assertEqual(len(self.told()), 10)

    def test_text_of_devices_cannot_play_with_the_terminal(self) -> None:
        wild = Session(id="c\x1b[2J\n", username="alice", password=b"x")
        self.policy().auth_publish.ask(wild, "bob/\x1b]0;x\x07" + "y" * 100, b"")
        (line,) = self.lines
        self.assertTrue(line.isprintable())
        self.assertIn(r"c\x1b[2J\n", line)

    def test_colour_only_where_it_was_asked_for(self) -> None:
        Narrator(self.lines.append, color=True, clock=lambda: "").line("c", "h", "t", "ok")
        self.assertIn("\x1b[90mok       \x1b[0m", self.lines.pop())
        self.narrator.line("c", "h", "t", "ok")
        self.assertNotIn("\x1b", self.lines.pop())

    def test_only_the_journal_of_the_demo_is_read(self) -> None:
        Logger("mgate").info("{journal}", journal={"event": "reject", "handler": "", "client": "", "text": "x"})
        self.assertEqual(self.lines, [])
