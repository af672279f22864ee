"""A test without its broker says so; in CI it fails."""

from __future__ import annotations

import os
import unittest
from unittest import mock

from tests.real.needed import needed


class NeededTest(unittest.TestCase):
    def test_a_program_that_is_not_there(self) -> None:
        with mock.patch.dict(os.environ, {"CI": "false"}), self.assertRaisesRegex(unittest.SkipTest, "NOT TESTED: no-such"):
            needed("no-such-program", "nowhere")
        with mock.patch.dict(os.environ, {"CI": "true"}), self.assertRaisesRegex(AssertionError, "CI=true, but no-such"):
            needed("no-such-program", "nowhere")

    def test_a_program_that_is_there(self) -> None:
        self.assertTrue(os.access(needed("sh", "everywhere"), os.X_OK))
