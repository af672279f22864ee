"""Keep freed memory a little longer: what the service asks of the C library, where that is glibc.

Reading 64 KiB at a time, glibc gives the top of the heap back to the kernel after nearly each read and has it faulted
in again for the next. Keeping 16 MiB saved about a quarter of the CPU time of a 64 KiB message.
"""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_freed_memory"]

M_TRIM_THRESHOLD = -1
KEPT = 16 * 1024 * 1024
"""Bytes that may lie free at the top of the heap."""


def keep_freed_memory() -> bool:
    """Called once, before the reactor runs. Returns whether the C library took it; without glibc nothing happens."""
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, KEPT))
