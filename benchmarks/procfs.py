"""CPU time and memory, as the kernel counts them: of a process with its threads and children, of the machine.
Linux only."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Usage", "busy_cores", "usage"]

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class Usage(NamedTuple):
    """CPU nanoseconds since the start, and resident memory in KiB."""

    cpu_ns: int
    rss_kib: int

    def cpu_since(self, earlier: Usage) -> int:
        """CPU nanoseconds between two readings."""
        return self.cpu_ns - earlier.cpu_ns


def usage(pid: int | None) -> Usage:
    """Read what `pid` and its descendants have used; zeros for None. What ends while we read is left out.

    Nanoseconds come from ``/proc/PID/task/TID/schedstat``: ``stat`` counts in ticks of 10 ms.
    """
    cpu_ns = rss_kib = 0
    for member in family(pid) if pid is not None else []:
        with suppress(OSError):
            rss_kib += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * PAGE_KIB
            for task in os.listdir(f"/proc/{member}/task"):
                cpu_ns += int(Path(f"/proc/{member}/task/{task}/schedstat").read_text().split()[0])
    return Usage(cpu_ns, rss_kib)


def family(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                # The name of the program, in brackets, may hold anything; the parent is the second field behind it.
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    members = [pid]
    for member in members:
        members.extend(child for child, parent in parents.items() if parent == member)
    return members


def busy_cores(seconds: float) -> float:
    """How many cores the whole machine kept busy in the next `seconds`."""
    start, begun = _idle_ticks(), time.monotonic()
    time.sleep(seconds)
    idle = (_idle_ticks() - start) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
    return max(0.0, (os.cpu_count() or 1) - idle)


def _idle_ticks() -> int:
    idle, waiting = Path("/proc/stat").read_text().split("\n", 1)[0].split()[4:6]
    return int(idle) + int(waiting)
