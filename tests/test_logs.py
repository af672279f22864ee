"""The journal and its observers: one line an event whatever devices send, no secrets, and no flood."""

from __future__ import annotations

import errno
import io
import json
import os
import tempfile
import unittest
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mgate.journal import CLIENT_TEXT, Journal, escape
from mgate.logs import line_observer, twistd_observer
from mgate.session import Peer

NASTY = "a\r\nevent=connect client=fake\x1b[31m\x00\u202e\u2028\ud800\\"


class FullDisk(io.StringIO):
    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise OSError(errno.ENOSPC, "No space left on device")


class JournalTest(unittest.TestCase):
    """A journal on a clock of its own, whose lines are kept."""

    def setUp(self) -> None:
        self.now = 0.0
        self.file = io.StringIO()

    def journal(self, format: str = "text", **options: Any) -> Journal:
        log = Logger("mgate", observer=line_observer(self.file, format))
        return Journal(clock=lambda: self.now, log=log, **options)

    def lines(self) -> list[str]:
        """What was written since the last call, without the time."""
        lines = [line.partition("Z ")[2] for line in self.file.getvalue().splitlines()]
        self.file.seek(0)
        self.file.truncate()
        return lines

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.getvalue().splitlines()]


class Escape(unittest.TestCase):
    def test_what_terminals_and_parsers_act_upon(self) -> None:
        self.assertEqual(escape("a\r\n\x1b[31m\x00\x7f"), r"a\r\n\x1b[31m\x00\x7f")
        self.assertEqual(escape("\u202e\u2028\ud800\\"), r"\u202e\u2028\ud800" + "\\\\")
        self.assertEqual(escape("Müller 温度"), "Müller 温度")

    def test_length(self) -> None:
        self.assertEqual(escape("x" * CLIENT_TEXT), "x" * CLIENT_TEXT)
        for text in ("x" * (CLIENT_TEXT + 1), "\n" * 40, "\U000e0001" * 1000, "x" * 63 + "\n", NASTY * 10_000):
            with self.subTest(text[:3]):
                self.assertLessEqual(len(escape(text)), CLIENT_TEXT)
                self.assertTrue(escape(text).endswith("..."))
                self.assertTrue(escape(text).isprintable())


class Events(JournalTest):
    def test_an_event_is_one_line_of_text(self) -> None:
        self.journal().event("connect", connection_id="c1", peer=Peer("::1", 5), client_id="a b", version=5, clean=True)
        self.assertEqual(self.lines(), ['info  event=connect conn=c1 peer=[::1]:5 client="a b" version=5 clean=true'])

    def test_whatever_a_device_calls_itself(self) -> None:
        for format in ("text", "json"):
            with self.subTest(format):
                self.journal(format).event("connect", client_id=NASTY, username='x" peer="y')
                written = self.file.getvalue()
                self.lines()
                self.assertEqual(written.count("\n"), 1)
                self.assertTrue(written[:-1].isprintable())

    def test_secrets_are_not_written(self) -> None:
        self.journal().event("connect", password=b"hunter2", payload=b"hunter2", token="hunter2", secret="hunter2")
        self.assertEqual(self.lines(), ["info  event=connect"])

    def test_bytes(self) -> None:
        self.journal().event("connect", client_id=b"\xff\n")
        self.assertEqual(self.lines(), [r"info  event=connect client=\\xff\n"])

    def test_json(self) -> None:
        self.journal("json").reject("quota", peer=("10.0.0.1", 7), client_id="a", listener="mqtt")
        (record,) = self.records()
        self.assertRegex(record.pop("ts"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            record,
            {
                "level": "warn", "logger": "mgate", "event": "reject", "proto": "mqtt", "reason": "quota",
                "handler": "", "text": "", "peer": "10.0.0.1:7", "client": "a", "conn": "", "listener": "mqtt",
            },
        )  # fmt: skip


class Rejects(JournalTest):
    def test_the_fields_and_their_order(self) -> None:
        self.journal().reject(
            "not_authorised", handler="acl", text="no way", topic="a/b", listener="mqtt", connection_id="c1"
        )
        self.assertEqual(
            self.lines(),
            ['warn  event=reject proto=mqtt reason=not_authorised handler=acl text="no way" peer="" client="" '
             "conn=c1 listener=mqtt topic=a/b"],
        )  # fmt: skip

    def test_a_flood_is_cut_and_counted(self) -> None:
        journal = self.journal(lines_per_second=10)
        for _ in range(10_000):
            journal.reject("malformed")
        self.assertEqual(len(self.lines()), 10)
        self.now = 1.0
        journal.reject("malformed")
        lines = self.lines()
        self.assertEqual(lines[0], "warn  event=suppressed reason=malformed suppressed=9990")
        self.assertEqual(len(lines), 2)
        self.now = 5.0
        journal.reject("malformed")
        self.assertEqual(len(self.lines()), 1)  # nothing was left out this time

    def test_a_flood_that_ended_is_told_too(self) -> None:
        journal = self.journal(lines_per_second=1)
        for _ in range(3):
            journal.reject("malformed")
        self.lines()
        journal.flush()
        self.assertEqual(self.lines(), [])
        self.now = 1.0
        journal.flush()
        journal.flush()
        self.assertEqual(self.lines(), ["warn  event=suppressed reason=malformed suppressed=2"])

    def test_reasons_do_not_silence_each_other(self) -> None:
        journal = self.journal(lines_per_second=1)
        for reason in ("malformed", "quota", "malformed"):
            journal.reject(reason)
        self.assertEqual(len(self.lines()), 2)

    def test_memory_and_lines_are_bounded_even_if_reasons_are_not(self) -> None:
        journal = self.journal(lines_per_second=1)
        for number in range(1000):
            journal.reject(f"reason{number}")
        self.assertLessEqual(len(self.lines()), 65)


class Faults(JournalTest):
    def fault(self, journal: Journal, error: Exception) -> None:
        try:
            raise error
        except type(error) as raised:
            journal.fault("acl", "auth_publish", raised)

    def test_a_traceback_once_a_minute_for_each_type(self) -> None:
        journal = self.journal()
        self.fault(journal, ValueError("bad\nevent=fake"))
        first = self.lines()
        journal_line = r'error  event=fault handler=acl hook=auth_publish error="ValueError: bad\nevent=fake"'
        self.assertEqual(self.file.getvalue(), "")
        self.assertIn(journal_line.split(" ", 2)[2], first[0])
        self.assertGreater(len(first), 2)
        self.fault(journal, ValueError("again"))
        self.assertEqual(len(self.lines()), 1)
        self.fault(journal, TypeError("other"))
        self.assertGreater(len(self.lines()), 2)
        self.now = 60.0
        self.fault(journal, ValueError("later"))
        self.assertGreater(len(self.lines()), 2)

    def test_the_traceback_cannot_forge_lines(self) -> None:
        self.fault(self.journal(), ValueError("bad\n2026-01-01T00:00:00.000Z info event=connect"))
        head, *trace = self.file.getvalue().splitlines()
        self.assertIn("event=fault", head)
        self.assertTrue(all(row.startswith("    ") for row in trace))

    def test_a_failure_and_json(self) -> None:
        self.journal("json").fault("acl", "publish", Failure(ValueError("x")))
        self.assertEqual(self.records()[0]["error"], "ValueError: x")
        self.assertTrue(self.records()[0]["traceback"].endswith("ValueError: x"))

    def test_a_flood(self) -> None:
        journal = self.journal(lines_per_second=10)
        for number in range(1000):
            journal.fault("acl", "publish", type(f"Error{number}", (Exception,), {})())
        self.assertLessEqual(sum("event=fault" in line for line in self.lines()), 64 + 10)


class Observers(JournalTest):
    def test_other_events_are_one_line_too(self) -> None:
        for format in ("text", "json"):
            with self.subTest(format):
                Logger("other", observer=line_observer(self.file, format)).info("{x}", x="one\ntwo\x1b[2J")
                written = self.file.getvalue()
                self.lines()
                self.assertIn("one | two\\", written)
                self.assertEqual(written.count("\n"), 1)

    def test_a_failure_keeps_its_traceback(self) -> None:
        for format in ("text", "json"):
            with self.subTest(format):
                log = Logger("other", observer=line_observer(self.file, format))
                log.failure("oh", failure=Failure(ValueError("why")))
                self.assertIn("ValueError: why", self.file.getvalue())

    def test_level(self) -> None:
        log = Logger("mgate", observer=line_observer(self.file, "text", "warn"))
        for level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error):
            log.emit(level, "x")
        self.assertEqual(self.lines(), ["warn  x", "error x"])

    def test_a_log_that_cannot_be_written_stops_nobody(self) -> None:
        with open(os.devnull, "w") as file:
            log = Logger("mgate", observer=line_observer(file))
        log.info("the file is closed")
        full = FullDisk()
        Logger("mgate", observer=line_observer(full)).info("the disk is full")
        self.assertEqual(full.tried, 1)

    def test_a_terminal_that_knows_ascii_only(self) -> None:
        raw = io.BytesIO()
        log = Logger("mgate", observer=line_observer(io.TextIOWrapper(raw, "ascii")))
        log.info("M\u00fcller")
        self.assertIn(b"M\\xfcller\n", raw.getvalue())

    def test_where_twistd_logs(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "mgate.log")
            observer = twistd_observer({"logfile": name, "nodaemon": False}, "json", "info")
            Logger("mgate", observer=observer).info("hello")
            with open(name) as file:
                self.assertEqual(json.loads(file.read())["msg"], "hello")
        with self.assertRaises(SystemExit):
            twistd_observer({"logfile": "-", "nodaemon": False}, "text", "info")
