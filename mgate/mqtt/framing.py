"""Where packets start and stop in a chunk of bytes (MQTT 5.0 section 2.1.4): the one seam that may be compiled.

Takes and gives only ints and bytes, and looks at nothing but the fixed header.
"""

from __future__ import annotations

from typing import Any

from mgate.errors import Malformed

__all__ = ["Run", "Span", "split"]

Span = tuple[int, int, int]
"""(position of a packet, start of its body, stop of its body)."""

Run = tuple[int, list[Span]]
"""Packets in a row that have the same first byte: that byte, and where they are."""


def split(
    data: bytes, limit: int, pos: int = 0, window: int = 1 << 30
) -> tuple[list[Run], int, int, Malformed | None]:
    """Find the whole packets in `data`; the relays call it once for each chunk.

    Args:
        data: bytes that have a fixed header at `pos`.
        limit: the largest packet allowed, in bytes with its fixed header; checked as soon as the header is there, so
            that no more is ever kept of a packet that is too large.

        window: no packet is begun this many bytes behind `pos` or later, so that a caller who will stop soon does not
            pay for all of `data`.

    Returns:
        (runs, end, need, error). `runs` are the whole packets, `end` is where the last of them stops, and `need` is
        how many bytes must be there, counted from `end`, before it is worth to look again (0 where nothing is left
        over but what the window left out). `error` is the fixed header that ended the walk: a Remaining Length of more
        than four bytes, or one not in its shortest form [MQTT-1.5.5-1], or a packet larger than `limit` (0x95); the
        packets before it are good.
    """
    runs: list[Run] = []
    head = -1
    append: Any = None
    size = len(data)
    last = min(size - 1, pos + window)
    while pos < last:
        length = data[pos + 1]
        body = pos + 2
        if length > 127:
            length &= 127
            shift = 7
            while True:
                if body == size:
                    return runs, pos, body - pos + 1, None
                byte = data[body]
                body += 1
                length |= (byte & 127) << shift
                if byte < 128:
                    break
                shift += 7
                if shift == 28:
                    return runs, pos, 0, Malformed("the remaining length has more than four bytes")
            if byte == 0:
                return runs, pos, 0, Malformed("the remaining length is not in its shortest form")
        stop = body + length
        if stop - pos > limit:
            return runs, pos, 0, Malformed("the packet is larger than allowed", 0x95)
        if stop > size:
            return runs, pos, stop - pos, None
        if data[pos] != head:
            head = data[pos]
            spans: list[Span] = []
            append = spans.append
            runs.append((head, spans))
        append((pos, body, stop))
        pos = stop
    return runs, pos, 2 if size - pos == 1 else 0, None
