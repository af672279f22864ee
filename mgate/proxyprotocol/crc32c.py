"""CRC-32C (Castagnoli; RFC 3720 section 12.1), the checksum of PROXY headers; the standard library has another CRC."""

from __future__ import annotations

__all__ = ["crc32c"]


def _entries() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _entries()


def crc32c(data: bytes) -> int:
    """The checksum of `data`; called for a header that carries one, or shall."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
