"""Keep freed memory a little longer: what the service asks of the C library, where that is glibc.

Reading 64 KiB and more at a time, glibc maps a new piece of memory for nearly each read, or gives the top of the heap
back to the kernel after it, and has it faulted in again for the next. Keeping 16 MiB saved about a quarter of the CPU
time of a 64 KiB message.
"""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_freed_memory"]

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT = 16 * 1024 * 1024
"""Bytes that may lie free at the top of the heap."""
MAPPED = 4 * 1024 * 1024
"""Bytes of one allocation from which on it gets a mapping of its own."""


def keep_freed_memory() -> bool:
    """Called once, before the reactor runs. Returns whether the C library took it; without glibc nothing happens."""
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_TRIM_THRESHOLD, KEPT) and libc.mallopt(M_MMAP_THRESHOLD, MAPPED))
