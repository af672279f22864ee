"""A test without its broker says so; in CI it fails."""

from __future__ import annotations

import os
import unittest
from unittest import mock

from tests.real.needed import needed


class NeededTest(unittest.TestCase):
    def test_a_program_that_is_not_there(self) -> None:
        for ci, error, text in (("false", unittest.SkipTest, "^NOT TESTED"), ("true", AssertionError, "^CI=true, but")):
            with mock.patch.dict(os.environ, {"CI": ci}), self.assertRaisesRegex(error, f"{text}.*no-such-program"):
                needed("no-such-program", "nowhere")

    def test_a_program_that_is_there(self) -> None:
        self.assertTrue(os.access(needed("sh", "everywhere"), os.X_OK))
