"""Where packets start and stop in a chunk of bytes (MQTT 5.0 section 2.1.4): the one seam that may be compiled.

Takes and gives only ints and bytes, and looks at nothing but the fixed header.
"""

from __future__ import annotations

from mgate.errors import Malformed

__all__ = ["Span", "split"]

Span = tuple[int, int, int, int]
"""(first byte of the packet, its position, start of the body, stop of the body)."""


def split(
    data: bytes, limit: int, pos: int = 0, window: int = 1 << 30
) -> tuple[list[Span], int, int, Malformed | None]:
    """Find the whole packets in `data`; the relays call it once for each chunk.

    Args:
        data: bytes that have a fixed header at `pos`.
        limit: the largest packet allowed, in bytes with its fixed header; checked as soon as the header is there, so
            that no more is ever kept of a packet that is too large.

        window: no packet is begun this many bytes behind `pos` or later, so that a caller who will stop soon does not
            pay for all of `data`.

    Returns:
        (spans, end, need, error). `spans` are the whole packets, `end` is where the last of them stops, and `need` is
        how many bytes must be there, counted from `end`, before it is worth to look again (0 where nothing is left
        over but what the window left out). `error` is the fixed header that ended the walk: a Remaining Length of more
        than four bytes, or one not in its shortest form [MQTT-1.5.5-1], or a packet larger than `limit` (0x95); the
        spans before it are good.
    """
    spans: list[Span] = []
    append = spans.append
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
                    return spans, pos, body - pos + 1, None
                byte = data[body]
                body += 1
                length |= (byte & 127) << shift
                if byte < 128:
                    break
                shift += 7
                if shift == 28:
                    return spans, pos, 0, Malformed("the remaining length has more than four bytes")
            if byte == 0:
                return spans, pos, 0, Malformed("the remaining length is not in its shortest form")
        stop = body + length
        if stop - pos > limit:
            return spans, pos, 0, Malformed("the packet is larger than allowed", 0x95)
        if stop > size:
            return spans, pos, stop - pos, None
        append((data[pos], pos, body, stop))
        pos = stop
    return spans, pos, 2 if size - pos == 1 else 0, None
