"""The data types of MQTT 5.0 1.5, read with bounds and written with ranges; used by the packets and the properties.

Rules:

1. A reader gets the buffer, a position and the end of the packet, and never looks beyond that end.
2. A reader raises `Malformed` and a writer `ValueError`, neither anything else.
3. What a reader accepts, the writer of the same type gives back byte for byte: a Variable Byte Integer that is
   longer than needed is refused [MQTT-1.5.5-1].
"""

from __future__ import annotations

from mgate.errors import Malformed
from mgate.mqtt.text import decode_text

__all__ = [
    "VARINT_MAX", "encode_binary", "encode_integer", "encode_text", "encode_varint", "read_binary", "read_integer",
    "read_text", "read_varint",
]  # fmt: skip

VARINT_MAX = 268_435_455
"""The largest Variable Byte Integer, four bytes long."""


def read_integer(data: bytes, pos: int, stop: int, size: int = 2) -> int:
    """Read a big-endian integer of `size` bytes at `pos`."""
    if pos + size > stop:
        raise Malformed("packet ends inside a number")
    return int.from_bytes(data[pos : pos + size], "big")


def read_varint(data: bytes, pos: int, stop: int) -> tuple[int, int]:
    """Read a Variable Byte Integer at `pos`. Returns its value and the position behind it."""
    if pos < stop and data[pos] < 0x80:
        return data[pos], pos + 1
    value = 0
    for index in range(min(4, stop - pos)):
        byte = data[pos + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if index and not byte:
                raise Malformed("variable byte integer is longer than needed")
            return value, pos + index + 1
    raise Malformed("variable byte integer does not end")


def _span(data: bytes, pos: int, stop: int) -> tuple[int, int]:
    """Where the field starts and ends whose two byte length is at `pos`."""
    start = pos + 2
    if start <= stop:
        end = start + (data[pos] << 8 | data[pos + 1])
        if end <= stop:
            return start, end
    raise Malformed("field runs beyond its packet")


def read_binary(data: bytes, pos: int, stop: int) -> tuple[bytes, int]:
    """Read Binary Data with its length at `pos`. Returns it and the position behind it."""
    start, end = _span(data, pos, stop)
    return data[start:end], end


def read_text(data: bytes, pos: int, stop: int) -> tuple[str, int]:
    """Read a UTF-8 Encoded String with its length at `pos`. Returns it and the position behind it."""
    start, end = _span(data, pos, stop)
    return decode_text(data, start, end), end


def encode_integer(value: int, size: int = 2) -> bytes:
    """Write an integer big-endian in `size` bytes.

    Raises:
        ValueError: it does not fit.
    """
    if not 0 <= value < 1 << 8 * size:
        raise ValueError(f"{value} does not fit into {size} bytes")
    return value.to_bytes(size, "big")


def encode_varint(value: int) -> bytes:
    """Write a Variable Byte Integer in as few bytes as it needs; also the Remaining Length of a packet.

    Raises:
        ValueError: it is negative or above 268,435,455.
    """
    if not 0 <= value <= VARINT_MAX:
        raise ValueError(f"{value} is no variable byte integer")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_binary(value: bytes) -> bytes:
    """Write Binary Data with its length.

    Raises:
        ValueError: it is longer than 65,535 bytes.
    """
    if len(value) > 0xFFFF:
        raise ValueError("field is longer than 65535 bytes")
    return len(value).to_bytes(2, "big") + value


def encode_text(value: str) -> bytes:
    """Write a UTF-8 Encoded String with its length.

    Raises:
        ValueError: it holds U+0000 or a surrogate, or is longer than 65,535 bytes.
    """
    if "\0" in value:
        raise ValueError("text holds U+0000")
    return encode_binary(value.encode())
