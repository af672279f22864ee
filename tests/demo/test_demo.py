"""`mgate demo` as somebody meets it who types what it prints; and its handlers and its lines alone."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import unittest
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from mgate.demo.handlers import HANDLERS, Accounts, OwnTopics, Plant
from mgate.demo.narration import HEADINGS, Narrator
from mgate.handler import Denied, Handler, Message, Session
from mgate.policy import Policy

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE = 30
"""Seconds after which a demo that says nothing is ended."""


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


class Demo:
    """A running `mgate demo`."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mgate", "demo", *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=ENVIRONMENT, preexec_fn=_hear_interrupts,
        )  # fmt: skip
        self._deadline = threading.Timer(PATIENCE, self.process.kill)
        self._deadline.start()
        self.banner = self.read_to(HEADINGS)

    def read_to(self, text: str) -> list[str]:
        """The lines that it prints up to the one that holds `text`."""
        lines: list[str] = []
        assert self.process.stdout is not None
        while not lines or text not in lines[-1]:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(f"no {text!r} in {lines}, {self.process.communicate()}")
            lines.append(line.rstrip("\n"))
        return lines

    def commands(self, program: str) -> list[list[str]]:
        """What it says to type, in order, for Mosquitto's clients or for ours."""
        found = [shlex.split(line) for line in self.banner if line.startswith("    ") and " -p " in line]
        foreign = program == "mosquitto"
        return [words for words in found if os.path.basename(words[0]).startswith("mosquitto") == foreign]

    def interrupt(self) -> tuple[str, str, int]:
        """Press Ctrl-C; (rest of the output, errors, exit code)."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate()
        self.close()
        return out, err, self.process.returncode

    def close(self) -> None:
        """It has ended."""
        self._deadline.cancel()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def _hear_interrupts() -> None:
    """A process started in the background of a shell ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class DemoTest(unittest.TestCase):
    def start(self, *arguments: str) -> Demo:
        demo = Demo(*arguments)

        def end() -> None:
            if demo.process.returncode is None:
                demo.interrupt()

        self.addCleanup(end)
        return demo

    def type(self, words: list[str]) -> tuple[str, int]:
        """Run a line that the demo printed; (output and errors, exit code)."""
        done = subprocess.run(
            words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
            env=ENVIRONMENT,
        )  # fmt: skip
        return done.stdout, done.returncode

    def play(self, commands: list[list[str]]) -> list[tuple[str, int]]:
        """Type all lines; the first one watches the broker while the others run."""
        watch, *others = commands
        # A retained message tells when the watcher has subscribed.
        at = watch[watch.index("-p") + 1]
        self.type([sys.executable, "-m", "mgate.demo.client", "pub", "-p", at, "-t", "ready", "-m", "now", "-r"])
        watching = subprocess.Popen(
            [*watch, "-C", "3"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        self.addCleanup(watching.kill)
        assert watching.stdout is not None
        self.assertEqual(watching.stdout.readline(), "ready now\n")
        results = [self.type(words) for words in others]
        watched, _ = watching.communicate(timeout=PATIENCE)
        return [(watched, watching.returncode), *results]

    def test_everything_that_it_says_to_type_does_what_it_says(self) -> None:
        demo = self.start("--port", "0")
        (watched, _), allowed, refused, rewritten, subscribed, login = self.play(demo.commands("mgate"))
        self.assertEqual(watched, "alice/hello hi\nplant/alice/up/temperature 21\n")
        self.assertEqual(allowed, ("acknowledged\n", 0))
        self.assertEqual(refused, ("publish refused: 0x87 not authorized: alice publishes below alice/ only\n", 1))
        self.assertEqual(rewritten, ("acknowledged\n", 0))
        self.assertEqual(subscribed[1], 1)
        self.assertRegex(
            subscribed[0], r"^subscribed to alice/# .*\nrefused bob/#: 0x87 not authorized.*\nsubscribed to news/# "
        )
        self.assertEqual(
            login, ("connect refused: 0x86 bad user name or password: unknown user or wrong password\n", 1)
        )
        out, err, code = demo.interrupt()
        self.assertEqual((err, code), ("", 0))
        verdicts = [re.split(r" {2,}", line)[2:5] for line in out.splitlines() if "auth_" in line]
        self.assertIn(["auth_publish", "alice/hello", "ok"], verdicts)
        self.assertIn(["auth_publish", "bob/hello", "REFUSED"], verdicts)
        self.assertIn(["auth_publish", "alice/up/temperature", "rewritten"], verdicts)
        self.assertIn(["auth_subscribe", "bob/#", "REFUSED"], verdicts)
        self.assertIn(["auth_connect", "(user alice)", "REFUSED"], verdicts)
        self.assertTrue(out.endswith("mgate demo: stopped\n"), out)

    @unittest.skipUnless(shutil.which("mosquitto_pub"), "mosquitto_pub is not installed")
    def test_the_lines_for_mosquitto_do_the_same(self) -> None:
        demo = self.start("--port", "0")
        (watched, _), allowed, refused, rewritten, subscribed, login = self.play(demo.commands("mosquitto"))
        self.assertEqual(watched, "alice/hello hi\nplant/alice/up/temperature 21\n")
        self.assertEqual((allowed, rewritten), (("", 0), ("", 0)))
        self.assertIn("Not authorized", refused[0])
        self.assertIn("alice publishes below alice/ only", refused[0])
        self.assertIn("0, 135, 0", subscribed[0])
        self.assertIn("Bad User Name or Password", login[0])
        self.assertEqual(demo.interrupt()[1:], ("", 0))

    def test_it_ends_with_open_connections_and_says_nothing_bad(self) -> None:
        demo = self.start("--port", "0")
        listening = next(line for line in demo.banner if "mgate on" in line)
        number = int(re.findall(r"mgate on 127\.0\.0\.1:(\d+)", listening)[0])
        words = next(words for words in demo.commands("mgate") if "news/#" in words)[:-2]
        with socket.create_connection(("127.0.0.1", number)):
            staying = subprocess.Popen(
                words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
            )  # fmt: skip
            demo.read_to("auth_subscribe  news/#")
            out, err, code = demo.interrupt()
            self.assertEqual((err, code), ("", 0), out)
            self.assertNotEqual(staying.wait(PATIENCE), 0)

    def test_a_wanted_port_that_is_taken_is_told_and_ends_it(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = str(taken.getsockname()[1])
            done = subprocess.run(
                [sys.executable, "-m", "mgate", "demo", "--port", number], cwd=ROOT, text=True, capture_output=True,
                timeout=PATIENCE, env=ENVIRONMENT,
            )  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, f"mgate demo: cannot listen on port {number}: Address already in use\n")

    def test_a_usual_port_that_is_taken_is_told_and_another_one_found(self) -> None:
        try:
            blocker = socket.create_server(("127.0.0.1", 1884))
        except OSError:
            blocker = socket.socket()  # somebody else has it, which is as good
        with blocker:
            demo = self.start()
        self.assertIn("Port 1884 is taken, so mgate listens on", "\n".join(demo.banner))
        self.assertEqual(demo.interrupt()[1:], ("", 0))

    def test_it_ends_when_nobody_reads_it(self) -> None:
        demo = self.start("--port", "0")
        assert demo.process.stdout is not None
        demo.process.stdout.close()
        words = demo.commands("mgate")[1]
        self.type(words)
        self.assertEqual(demo.process.wait(PATIENCE), 0)
        assert demo.process.stderr is not None
        self.assertEqual(demo.process.stderr.read(), "")
        demo.close()

    def test_mistakes_in_the_options_are_told(self) -> None:
        for option in ("--port=abc", "--port=70000", "--colour"):
            done = subprocess.run(
                [sys.executable, "-m", "mgate", "demo", option], cwd=ROOT, text=True, capture_output=True,
                timeout=PATIENCE, env=ENVIRONMENT,
            )  # fmt: skip
            self.assertEqual(done.returncode, 2)
            self.assertIn("mgate demo: error:", done.stderr)
