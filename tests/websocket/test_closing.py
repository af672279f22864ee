"""The code that a Close frame tells for each way in which a connection ends."""

from __future__ import annotations

import unittest

from mgate.errors import ConfigError, Denied, GateError, Kind, Malformed, TargetLost, TimedOut
from mgate.websocket.closing import Violation, close_code


class CloseCodes(unittest.TestCase):
    def test_each_error(self) -> None:
        cases: list[tuple[GateError | None, int]] = [
            (None, 1000),
            (Violation(1003, "text"), 1003),
            (Malformed("bad"), 1002),
            (TimedOut("late"), 1008),
            (TargetLost("shutting down", "shutdown"), 1001),
            (TargetLost("closed", "target_closed"), 1000),
            (TargetLost("refused", "target_refused"), 1000),
            (TargetLost("bad", "upstream_malformed"), 1011),
            (TargetLost("down", "target_down"), 1013),
            (ConfigError([]), 1011),
        ]
        for error, code in cases:
            self.assertEqual(close_code(error), code, error)

    def test_each_kind_of_refusal(self) -> None:
        codes = {
            Kind.QUOTA: 1013, Kind.RATE: 1013, Kind.TARGET_DOWN: 1013, Kind.TARGET_SLOW: 1013,
            Kind.TOO_LARGE: 1009, Kind.INTERNAL_FAULT: 1011, Kind.HANDLER_FAULT: 1011,
        }  # fmt: skip
        for kind in Kind:
            self.assertEqual(close_code(Denied(kind)), codes.get(kind, 1008), kind)
