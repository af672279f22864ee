"""What is asked of the C library."""

from __future__ import annotations

import platform
import unittest
from unittest import mock

from mgate.allocator import keep_freed_memory


class AllocatorTests(unittest.TestCase):
    def test_glibc_takes_it(self) -> None:
        self.assertEqual(keep_freed_memory(), platform.libc_ver()[0] == "glibc")

    def test_another_library_is_left_alone(self) -> None:
        with mock.patch.object(platform, "libc_ver", return_value=("", "")):
            self.assertFalse(keep_freed_memory())
