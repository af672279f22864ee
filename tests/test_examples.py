"""Each example handler is imported as a plugin of --plugin-dir, and does what its first line says."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import TestCase

from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

import mgate.plugins
from mgate.dropins import Found, discover, find_handler
from mgate.errors import ConfigError, Denied
from mgate.handler import MakerContext
from mgate.session import Message, Session
from mgate.testing import relay_with

HANDLERS = Path(__file__).parent.parent / "examples" / "handlers"


class ImmediateReactor:
    """A reactor whose only thread is ours: what is handed to a thread is done at once, and counted."""

    def __init__(self) -> None:
        self.handed_over = 0

    def getThreadPool(self) -> ThreadPool:
        pool = ThreadPool()
        pool.callInThreadWithCallback = self.run  # type: ignore[method-assign]
        return pool

    def run(self, told: Any, function: Any, *arguments: Any, **keywords: Any) -> None:
        self.handed_over += 1
        told(True, function(*arguments, **keywords))

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)


class ExampleTestCase(TestCase):
    """The examples, copied to where only we may write: a checkout may belong to a group."""

    found: list[Found]

    @classmethod
    def setUpClass(cls) -> None:
        folder = Path(tempfile.mkdtemp()).resolve()
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.addClassCleanup(mgate.plugins.__path__.remove, str(folder))
        for example in HANDLERS.glob("*.py"):
            shutil.copyfile(example, folder / example.name)
            (folder / example.name).chmod(0o644)
            cls.addClassCleanup(sys.modules.pop, f"mgate.plugins.{example.stem}", None)
        cls.found = discover([str(folder)])

    def make(self, spec: str, **context: Any) -> Any:
        return find_handler(spec, MakerContext(**context), self.found)

    def assert_denied(self, kind: str, hook: Any, *arguments: Any) -> None:
        with self.assertRaises(Denied) as caught:
            hook(*arguments)
        self.assertEqual(caught.exception.kind, kind)


class EveryExampleTests(ExampleTestCase):
    def test_each_file_offers_a_handler(self) -> None:
        offered = {os.path.basename(each.source): each.status for each in self.found}
        for example in HANDLERS.glob("*.py"):
            with self.subTest(example.name):
                self.assertEqual(offered[example.name], "loaded")


class TenantRulesTests(ExampleTestCase):
    def setUp(self) -> None:
        self.rules = self.make("tenant-rules")
        self.session = Session(username="alice")

    def test_connects_with_a_user_name(self) -> None:
        self.assertIsNone(self.rules.auth_connect(self.session))

    def test_no_user_name_and_none_that_is_a_filter(self) -> None:
        for name in (None, "", "+", "#", "a/b", "$share"):
            with self.subTest(name):
                self.assert_denied("bad credentials", self.rules.auth_connect, Session(username=name))

    def test_publishes_below_its_name(self) -> None:
        self.assertIsNone(self.rules.auth_publish(self.session, "alice/t", b""))
        for topic in ("bob/t", "alice", "alicea/t"):
            with self.subTest(topic):
                self.assert_denied("not authorised", self.rules.auth_publish, self.session, topic, b"")

    def test_subscribes_below_its_name(self) -> None:
        answers = self.rules.auth_subscribe(self.session, ["alice/#", "#", "+/t"])
        self.assertEqual(answers[0], "alice/#")
        self.assertEqual([answer.kind for answer in answers[1:]], ["not authorised"] * 2)


class CredentialsTests(ExampleTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        stored = hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 100_000).hex()
        (self.folder / "devices.toml").write_text(f'pump = "salt:{stored}"\n')
        self.reactor = ImmediateReactor()
        self.handler = self.make("credentials:devices.toml", directory=str(self.folder), reactor=self.reactor)

    def ask(self, username: str | None, password: bytes | None) -> Any:
        """What the coroutine ends with: a value or an exception."""
        asked = self.handler.auth_connect(Session(username=username, password=password))
        self.assertTrue(asyncio.iscoroutine(asked))
        answers: list[Any] = []
        Deferred.fromCoroutine(asked).addBoth(answers.append)
        self.assertEqual(len(answers), 1)
        return getattr(answers[0], "value", answers[0])

    def test_right_password(self) -> None:
        self.assertIsNone(self.ask("pump", b"secret"))

    def test_reads_and_hashes_in_a_thread(self) -> None:
        self.ask("pump", b"secret")
        self.assertEqual(self.reactor.handed_over, 1)

    def test_wrong_or_missing(self) -> None:
        for username, password in [("pump", b"wrong"), ("pump", None), ("valve", b"secret"), (None, None)]:
            with self.subTest(username=username, password=password):
                answer = self.ask(username, password)
                self.assertIsInstance(answer, Denied)
                self.assertEqual(answer.kind, "bad credentials")

    def test_changed_file_counts_at_once(self) -> None:
        (self.folder / "devices.toml").write_text("")
        self.assertIsInstance(self.ask("pump", b"secret"), Denied)

    def test_missing_file_stops_the_start(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.make("credentials:other.toml", directory=str(self.folder))
        self.assertIn("there is no file", caught.exception.text)


class RewriteTests(ExampleTestCase):
    def setUp(self) -> None:
        self.handler = self.make("rewrite:plant-7")
        self.session = Session(id="pump")

    def test_up(self) -> None:
        self.assertEqual(
            self.handler.auth_publish(self.session, "temperature", b"21.5"),
            Message("plant-7/pump/temperature", b'{"value": 21.5}'),
        )

    def test_what_is_no_number_stays(self) -> None:
        self.assertEqual(self.handler.auth_publish(self.session, "t", b"\xff").payload, b"\xff")

    def test_what_json_cannot_say_is_refused(self) -> None:
        for payload in (b"nan", b"-inf", b"Infinity", b"1e999"):
            with self.subTest(payload):
                self.assert_denied("bad payload", self.handler.auth_publish, self.session, "t", payload)

    def test_client_identifiers_and_user_names_that_are_no_level(self) -> None:
        for name in ("", "+", "#", "a/b", "a+", "/", "$share"):
            with self.subTest(name):
                self.assert_denied("bad client id", self.handler.auth_connect, Session(id=name))
                self.assert_denied("bad credentials", self.handler.auth_connect, Session(id="pump", username=name))
        for allowed in (None, "alice", "a$b"):
            self.assertIsNone(self.handler.auth_connect(Session(id="pump", username=allowed)))

    def test_nobody_reads_what_others_get(self) -> None:
        """Through the gateway: nothing of such a device comes to the broker."""
        for name in ("+", "#"):
            device = relay_with(self.handler, opened=False)
            effect = device.connect(client_id=name)
            self.assertEqual((effect.codes, effect.to_target), ([0x85], []))
            self.assertIsInstance(effect.closed, Denied)

    def test_subscription_and_way_back(self) -> None:
        self.assertEqual(self.handler.auth_subscribe(self.session, ["set/#", "+"]), [
            "plant-7/pump/set/#", "plant-7/pump/+",
        ])  # fmt: skip
        self.assertEqual(
            self.handler.auth_deliver(self.session, "plant-7/pump/set/speed", b"9"), Message("set/speed")
        )
