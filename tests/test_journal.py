"""The journal: one line an event whatever devices send, no secrets, and no flood."""

from __future__ import annotations

import unittest
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from mgate.journal import CLIENT_TEXT, Journal, escape
from mgate.session import Peer

NASTY = "a\r\nevent=connect client=fake\x1b[31m\x00\u202e\u2028\ud800\\"


class JournalTest(unittest.TestCase):
    """A journal on a clock of its own, whose events are kept."""

    def setUp(self) -> None:
        self.now = 0.0
        self.events: list[dict[str, Any]] = []

    def journal(self, **options: Any) -> Journal:
        return Journal(clock=lambda: self.now, log=Logger("mgate", observer=self.events.append), **options)

    def lines(self) -> list[str]:
        """Level and text of what was written since the last call."""
        lines = [f"{event['log_level'].name} {event['journal']}" for event in self.events]
        self.events.clear()
        return lines


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
        self.assertEqual(self.lines(), ['info event=connect conn=c1 peer=[::1]:5 client="a b" version=5 clean=true'])

    def test_whatever_a_device_calls_itself(self) -> None:
        self.journal().event("connect", client_id=NASTY, username='x" peer="y')
        (line,) = self.lines()
        self.assertTrue(line.isprintable())
        self.assertIn(r'username="x\" peer=\"y"', line)

    def test_a_target_that_fails_does_not_flood(self) -> None:
        journal = self.journal(lines_per_second=1)
        for _ in range(3):
            journal.target_failed(target="mqtt://b:1", error="DNS lookup failed", listener="mqtt")
        line = 'warn event=target_failed target=mqtt://b:1 error="DNS lookup failed" listener=mqtt'
        self.assertEqual(self.lines(), [line])
        self.now = 1.0
        journal.flush()
        self.assertEqual(self.lines(), ["warn event=suppressed reason=target_failed suppressed=2"])

    def test_a_responder_that_fails_does_not_flood(self) -> None:
        journal = self.journal(lines_per_second=1)
        for _ in range(2):
            journal.revocation("ocsp_failed", "http://responder: no answer in 3 s")
        line = 'warn event=revocation reason=ocsp_failed text="http://responder: no answer in 3 s"'
        self.assertEqual(self.lines(), [line])

    def test_secrets_are_not_written(self) -> None:
        self.journal().event("connect", password=b"hunter2", payload=b"hunter2", token="hunter2", secret="hunter2")
        self.assertEqual(self.lines(), ["info event=connect"])

    def test_bytes(self) -> None:
        self.journal().event("connect", client_id=b"\xff\n")
        self.assertEqual(self.lines(), [r"info event=connect client=\\xff\n"])

    def test_the_fields_are_a_mapping(self) -> None:
        self.journal().event("connect", connection_id="c1", clean=True, properties=None, topics=["a\n"])
        fields = self.events[0]["journal"]
        self.assertEqual(
            dict(fields), {"event": "connect", "conn": "c1", "clean": True, "properties": None, "topics": r"['a\\n']"}
        )
        self.assertEqual(len(fields), 5)


class Rejects(JournalTest):
    def test_the_fields_and_their_order(self) -> None:
        self.journal().reject(
            "not_authorised", handler="acl", text="no way", topic="a/b", listener="mqtt", connection_id="c1"
        )
        self.assertEqual(
            self.lines(),
            ['warn event=reject proto=mqtt reason=not_authorised handler=acl text="no way" peer="" client="" '
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
        self.assertEqual(lines[0], "warn event=suppressed reason=malformed suppressed=9990")
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
        self.assertEqual(self.lines(), ["warn event=suppressed reason=malformed suppressed=2"])

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
        for now, error, told in (
            (0.0, ValueError("bad"), True), (59.0, ValueError("again"), False), (59.0, TypeError("other"), True),
            (60.0, ValueError("later"), True), (61.0, ValueError("soon"), False),
        ):  # fmt: skip
            self.now = now
            self.fault(journal, error)
            (line,) = self.lines()
            head = f'error event=fault handler=acl hook=auth_publish error="{type(error).__name__}: {error}"'
            self.assertTrue(line.startswith(head))
            self.assertEqual("in fault\n" in line, told)

    def test_the_traceback_cannot_forge_lines(self) -> None:
        self.fault(self.journal(), ValueError("bad\nevent=connect"))
        head, *trace = self.lines()[0].splitlines()
        self.assertIn(r"ValueError: bad\nevent=connect", head)
        self.assertTrue(trace)
        self.assertTrue(all(row.startswith("    ") for row in trace))

    def test_a_failure(self) -> None:
        self.journal().fault("acl", "publish", Failure(ValueError("x")))
        fields = self.events[0]["journal"]
        self.assertEqual(fields["error"], "ValueError: x")
        self.assertTrue(fields["traceback"].endswith("ValueError: x"))

    def test_a_flood(self) -> None:
        journal = self.journal(lines_per_second=10)
        for number in range(1000):
            journal.fault("acl", "publish", type(f"Error{number}", (Exception,), {})())
        self.assertLessEqual(sum("event=fault" in line for line in self.lines()), 64 + 10)
