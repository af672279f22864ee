"""`mgate demo` as somebody meets it who types what it prints."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import unittest
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.demo.running import ENVIRONMENT, PATIENCE, ROOT, Demo

WATCHED = "alice/hello hi\nplant/alice/up/temperature 21\nalice/hello hi\nalice/hello hi\n"
NOWHERE = """
import sys, tempfile
tempfile.tempdir = "/nowhere"
from mgate.demo import main
sys.exit(main(["--port", "0"]))
"""


class DemoTest(unittest.TestCase):
    def start(self, *arguments: str, **environment: str) -> Demo:
        demo = Demo(*arguments, environment=environment)

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
            [*watch, "-C", "5"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        self.addCleanup(watching.kill)
        assert watching.stdout is not None
        self.assertEqual(watching.stdout.readline(), "ready now\n")
        results = [self.type(words) for words in others]
        watched, _ = watching.communicate(timeout=PATIENCE)
        return [(watched, watching.returncode), *results]

    def test_everything_that_it_says_to_type_does_what_it_says(self) -> None:
        demo = self.start("--port", "0")
        (watched, _), allowed, refused, rewritten, subscribed, login, *secure = self.play(demo.commands("mgate"))
        self.assertEqual(watched, WATCHED)
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
        encrypted, certified, revoked, without = secure
        self.assertEqual((encrypted, certified), (("acknowledged\n", 0), ("acknowledged\n", 0)))
        for (told, code), alert in ((revoked, "alert certificate revoked"), (without, "alert certificate required")):
            self.assertRegex(told, rf"^TLS: .*{alert}\nconnection closed before it was accepted\n$")
            self.assertEqual(code, 3)
        out, err, code = demo.interrupt()
        self.assertEqual((err, code), ("", 0))
        verdicts = [re.split(r" {2,}", line)[2:5] for line in out.splitlines() if "auth_" in line]
        self.assertIn(["auth_publish", "alice/hello", "ok"], verdicts)
        self.assertIn(["auth_publish", "bob/hello", "REFUSED"], verdicts)
        self.assertIn(["auth_publish", "alice/up/temperature", "rewritten"], verdicts)
        self.assertIn(["auth_subscribe", "bob/#", "REFUSED"], verdicts)
        self.assertIn(["auth_connect", "(user alice)", "REFUSED"], verdicts)
        self.assert_tls_told(out)
        self.assertTrue(out.endswith("mgate demo: stopped\n"), out)

    def assert_tls_told(self, out: str) -> None:
        """Who it was by certificate, and who was refused before there was any MQTT."""
        self.assertRegex(out, r"auth_connect +\(user alice\) +ok +certificate: CN=alice")
        self.assertRegex(out, r"127\.0\.0\.1:\d+ +\(TLS\) +- +REFUSED +CN=bob.*: revoked \((crl|ocsp) http://127")
        self.assertRegex(out, r"127\.0\.0\.1:\d+ +\(TLS\) +- +REFUSED +peer did not return a certificate")

    @unittest.skipUnless(shutil.which("mosquitto_pub"), "mosquitto_pub is not installed")
    def test_the_lines_for_mosquitto_do_the_same(self) -> None:
        demo = self.start("--port", "0")
        (watched, _), allowed, refused, rewritten, subscribed, login, *secure = self.play(demo.commands("mosquitto"))
        self.assertEqual(watched, WATCHED)
        self.assertEqual((allowed, rewritten), (("", 0), ("", 0)))
        self.assertIn("Not authorized", refused[0])
        self.assertIn("alice publishes below alice/ only", refused[0])
        self.assertIn("0, 135, 0", subscribed[0])
        self.assertIn("Bad User Name or Password", login[0])
        encrypted, certified, revoked, without = secure
        self.assertEqual((encrypted, certified), (("", 0), ("", 0)))
        self.assertTrue(revoked[1] and without[1], secure)
        out, *end = demo.interrupt()
        self.assert_tls_told(out)
        self.assertEqual(end, ["", 0])

    def test_a_revoked_certificate_is_refused_at_once(self) -> None:
        demo = self.start("--port", "0")
        told, code = self.type(next(words for words in demo.commands("mgate") if {"bob/hello", "--cert"} <= set(words)))
        self.assertIn("connection closed before it was accepted", told)
        self.assertEqual(code, 3)
        self.assertRegex(demo.read_to("REFUSED")[-1], "CN=bob.*: revoked")

    def test_keys_are_for_the_user_alone_and_go_with_the_demo(self) -> None:
        for by in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(by), TemporaryDirectory() as folder:
                demo = self.start("--port", "0", TMPDIR=folder)
                (made,) = Path(folder).iterdir()
                self.assertEqual(made.stat().st_mode & 0o777, 0o700)
                keys = sorted(made.glob("*.key"))
                self.assertEqual([key.name for key in keys], ["alice.key", "bob.key", "server.key"])
                self.assertEqual({key.stat().st_mode & 0o777 for key in keys}, {0o600})
                self.assertEqual(demo.interrupt(by), ("\nmgate demo: stopped\n", "", 0))
                self.assertEqual([*Path(folder).iterdir()], [])

    def test_a_folder_with_a_space_can_be_typed(self) -> None:
        with TemporaryDirectory(prefix="to let ") as folder:
            demo = self.start("--port", "0", TMPDIR=folder)
            told = self.type(next(words for words in demo.commands("mgate") if "--cert" in words))
            self.assertEqual(told, ("acknowledged: 0x10 no matching subscribers\n", 0))
            demo.interrupt()

    def test_without_a_place_for_certificates_it_says_so(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", NOWHERE], cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE,
            env=ENVIRONMENT,
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, "^mgate demo: cannot write certificates: .*No such file.*\n$")

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

    def test_usual_ports_that_are_taken_are_told_and_others_found(self) -> None:
        with ExitStack() as taken:
            for number in (1884, 8883, 8884):
                # If somebody else has it, that is as good.
                with suppress(OSError):
                    taken.enter_context(socket.create_server(("127.0.0.1", number)))
            demo = self.start()
        banner = "\n".join(demo.banner)
        for number, listens in ((1884, ""), (8883, " for TLS"), (8884, " for mutual TLS")):
            self.assertRegex(banner, rf"Port {number} is taken, so mgate listens{listens} on \d+\.")
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
