"""Errors carry a text for the device, a word for counters, and a detail for the log."""

from __future__ import annotations

from unittest import TestCase

from mgate.errors import ConfigError, Denied, GateError, Kind, Malformed, TargetLost, TimedOut


class ErrorTests(TestCase):
    def test_denied_by_word(self) -> None:
        error = Denied("not authorised", "topics of others are closed", detail="rule 7")
        self.assertIs(error.kind, Kind.NOT_AUTHORISED)
        self.assertEqual((str(error), error.text, error.detail), ("topics of others are closed",) * 2 + ("rule 7",))
        self.assertEqual(error.reason, "not_authorised")
        self.assertEqual(error.handler, "")

    def test_denied_without_anything(self) -> None:
        self.assertIs(Denied().kind, Kind.NOT_AUTHORISED)

    def test_spellings_of_one_word(self) -> None:
        for word in ("not authorized", "Not Authorised", "NOT_AUTHORIZED", "not-authorised"):
            with self.subTest(word):
                self.assertIs(Denied(word).kind, Kind.NOT_AUTHORISED)
        for kind in Kind:
            self.assertIs(Kind(kind.name), kind)

    def test_denied_by_a_word_that_does_not_exist(self) -> None:
        with self.assertRaisesRegex(ValueError, "^'qouta' is no kind of refusal; did you mean 'quota'[?]$"):
            Denied("qouta")
        with self.assertRaisesRegex(ValueError, "'because' is no kind of refusal; there are: bad credentials, not au"):
            Denied("because")

    def test_what_is_no_text_is_told_as_one(self) -> None:
        denied = Denied("quota", KeyError("k"), detail=OSError("gone"))  # type: ignore[arg-type]
        self.assertEqual((denied.text, denied.detail, str(denied)), ("'k'", "gone", "'k'"))

    def test_malformed(self) -> None:
        error = Malformed("no topic", 0x82, 5)
        self.assertEqual((error.text, error.code, error.version, error.reason), ("no topic", 0x82, 5, "malformed"))

    def test_target_and_time(self) -> None:
        self.assertEqual(TargetLost("gone").reason, "target_lost")
        self.assertEqual(TargetLost("no answer", "target_slow").reason, "target_slow")
        self.assertEqual(TimedOut("silent").reason, "timeout")
        self.assertEqual(TimedOut("silent", "keep_alive").reason, "keep_alive")

    def test_configuration_names_every_problem(self) -> None:
        error = ConfigError(["a: wrong", "b: missing"])
        self.assertEqual(error.problems, ["a: wrong", "b: missing"])
        self.assertEqual(str(error), "a: wrong\nb: missing")

    def test_reasons_are_single_words(self) -> None:
        errors: list[GateError] = [GateError(), Malformed(""), TargetLost(""), TimedOut(""), ConfigError([])]
        for error in [*errors, *map(Denied, Kind)]:
            with self.subTest(type(error).__name__, reason=error.reason):
                self.assertRegex(error.reason, r"^[a-z_]+$")
