"""Log observers: each event is one line of text or of JSON, wherever twistd logs."""

from __future__ import annotations

import errno
import io
import json
import os
import tempfile
import unittest

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mgate.journal import Journal
from mgate.logs import line_observer, twistd_observer

STAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
NASTY = "a\r\nevent=connect client=fake\x1b[31m\x00\u202e\u2028\ud800\\"


class FullDisk(io.StringIO):
    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise OSError(errno.ENOSPC, "No space left on device")


class Observers(unittest.TestCase):
    def setUp(self) -> None:
        self.file = io.StringIO()

    def journal(self, format: str) -> Journal:
        return Journal(log=Logger("mgate", observer=line_observer(self.file, format)))

    def lines(self) -> list[str]:
        """What was written since the last call."""
        lines = self.file.getvalue().splitlines(keepends=True)
        self.file.seek(0)
        self.file.truncate()
        return lines

    def test_journal_as_json(self) -> None:
        self.journal("json").reject("quota", peer=("10.0.0.1", 7), client_id="a", listener="mqtt")
        record = json.loads(self.file.getvalue())
        self.assertRegex(record.pop("ts"), STAMP)
        self.assertEqual(
            record,
            {
                "level": "warn", "logger": "mgate", "event": "reject", "proto": "mqtt", "reason": "quota",
                "handler": "", "text": "", "peer": "10.0.0.1:7", "client": "a", "conn": "", "listener": "mqtt",
            },
        )  # fmt: skip

    def test_journal_as_text(self) -> None:
        self.journal("text").event("connect", client_id="a b")
        time, text = self.file.getvalue().split(" ", 1)
        self.assertRegex(time, STAMP)
        self.assertEqual(text, 'info  event=connect client="a b"\n')

    def test_whatever_a_device_calls_itself(self) -> None:
        for format in ("text", "json"):
            with self.subTest(format):
                self.journal(format).event("connect", client_id=NASTY, username='x" peer="y')
                (line,) = self.lines()
                self.assertTrue(line.endswith("\n"))
                self.assertTrue(line[:-1].isprintable())

    def test_other_events_are_one_line_too(self) -> None:
        for format in ("text", "json"):
            with self.subTest(format):
                Logger("other", observer=line_observer(self.file, format)).info("{x}", x="one\ntwo\x1b[2J")
                (line,) = self.lines()
                self.assertIn("one | two\\", line)

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
        self.assertEqual([line.partition("Z ")[2] for line in self.lines()], ["warn  x\n", "error x\n"])

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
