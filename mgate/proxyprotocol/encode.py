"""Headers of version 2 of the PROXY protocol, written (proxy-protocol.txt section 2.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from mgate.proxyprotocol.crc32c import crc32c
from mgate.proxyprotocol.header import (
    ADDRESSES,
    FIXED,
    MAX_HEADER,
    MAX_UNIQUE_ID,
    SIGNATURE,
    UNIX_PATH,
    Address,
    Family,
    Header,
    Type,
)

__all__ = ["encode"]


def encode(header: Header, *, checksum: bool = False) -> bytes:
    """Write a header of version 2; `mgate.proxyprotocol.outgoing` sends it to targets.

    A header of which nothing is known is written as LOCAL; one without addresses, but with values, as PROXY with the
    family UNSPEC, because the values of a LOCAL header are discarded. If one address is IPv4 and the other IPv6, the
    former is written as an IPv4-mapped one.

    Args:
        header: what to tell.
        checksum: with PP2_TYPE_CRC32C.

    Raises:
        ValueError: only one of source and destination is there, they are of different kinds, no IP addresses, or a
            value is too long.
    """
    family, block = _block(header.source, header.destination)
    values = b"".join(_written(header))
    if checksum:
        values += _value(Type.CRC32C, bytes(4))
    size = len(block) + len(values)
    if FIXED + size > MAX_HEADER or len(header.unique_id) > MAX_UNIQUE_ID:
        raise ValueError("the header is too long")
    command = 0x21 if size else 0x20
    data = SIGNATURE + struct.pack("!BBH", command, family, size) + block + values
    return data[:-4] + crc32c(data).to_bytes(4, "big") if checksum else data


def _block(source: Address | bytes | None, destination: Address | bytes | None) -> tuple[Family, bytes]:
    if source is None and destination is None:
        return Family.UNSPECIFIED, b""
    if isinstance(source, bytes) and isinstance(destination, bytes):
        if max(len(source), len(destination)) > UNIX_PATH:
            raise ValueError("the path of a UNIX socket is too long")
        return Family.UNIX, struct.pack(ADDRESSES[Family.UNIX], source, destination)
    if not isinstance(source, Address) or not isinstance(destination, Address):
        raise ValueError("source and destination are not of one kind")
    near, far = ip_address(source.host), ip_address(destination.host)
    family = Family.TCP4 if near.version == far.version == 4 else Family.TCP6
    if family is Family.TCP6:
        near, far = _mapped(near), _mapped(far)
    return family, struct.pack(ADDRESSES[family], near.packed, far.packed, source.port, destination.port)


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    """RFC 4291 section 2.5.5.2."""
    return address if isinstance(address, IPv6Address) else IPv6Address(bytes(10) + b"\xff\xff" + address.packed)


def _written(header: Header) -> Iterator[bytes]:
    if header.alpn:
        yield _value(Type.ALPN, header.alpn)
    if header.authority:
        yield _value(Type.AUTHORITY, header.authority.encode())
    if header.unique_id:
        yield _value(Type.UNIQUE_ID, header.unique_id)
    if header.ssl is not None:
        value = struct.pack("!BI", header.ssl.client, header.ssl.verify)
        if header.ssl.version:
            value += _value(Type.SSL_VERSION, header.ssl.version.encode())
        if header.ssl.common_name:
            value += _value(Type.SSL_CN, header.ssl.common_name.encode())
        yield _value(Type.SSL, value)


def _value(kind: Type, value: bytes) -> bytes:
    if len(value) > MAX_HEADER:
        raise ValueError("the header is too long")
    return struct.pack("!BH", kind, len(value)) + value
