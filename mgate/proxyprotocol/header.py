"""Headers of the PROXY protocol (HAProxy's proxy-protocol.txt), versions 1 and 2: their values, and how they are read.

`mgate.proxyprotocol.wrapper` reads what a proxy in front sends; `mgate.proxyprotocol.encode` writes. Section numbers
are those of proxy-protocol.txt.

Rules:

1. What begins with no header, and lengths that no header has, are refused without waiting for more.
2. What two readers could understand differently is refused: leading zeros, repeated values, bytes left over.
3. A proxy that speaks for nobody (LOCAL, UNKNOWN) has no source: the connection is its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import ip_address
from typing import NamedTuple

from mgate.errors import GateError
from mgate.proxyprotocol.crc32c import crc32c

__all__ = [
    "ADDRESSES", "FIXED", "MAX_HEADER", "MAX_LINE", "MAX_UNIQUE_ID", "SIGNATURE", "UNIX_PATH", "Address", "BadHeader",
    "Family", "Header", "Read", "Ssl", "SslClient", "Type", "read",
]  # fmt: skip

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""What version 2 begins with (section 2.2)."""

MAX_LINE = 107
"""The longest line of version 1, with its CR LF (section 2.1)."""

MAX_HEADER = 4096
"""The longest header that is read or written. Version 2 could say 64 KiB, which no proxy needs."""

FIXED = len(SIGNATURE) + 4
"""Bytes of version 2 in front of the addresses."""

UNIX_PATH = 108
"""Bytes of the path of a UNIX socket, filled up with zeros."""

MAX_UNIQUE_ID = 128


class BadHeader(GateError):
    """What came is no header of the PROXY protocol; the text says why and repeats nothing of it."""

    reason = "proxy_header"


class Family(IntEnum):
    """Address family and transport protocol (section 2.2), as far as a stream can have them."""

    UNSPECIFIED = 0x00
    TCP4 = 0x11
    TCP6 = 0x21
    UNIX = 0x31


ADDRESSES = {Family.UNSPECIFIED: "", Family.TCP4: "!4s4sHH", Family.TCP6: "!16s16sHH", Family.UNIX: "!108s108s"}
"""The address block of each family, for `struct`."""


class Type(IntEnum):
    """PP2_TYPE_*, and within PP2_TYPE_SSL PP2_SUBTYPE_SSL_* (section 2.2.1 and below)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    SSL_VERSION = 0x21
    SSL_CN = 0x22


class SslClient(IntFlag):
    """PP2_CLIENT_*: what the client of the proxy did."""

    SSL = 0x01
    """It connected over TLS."""
    CERT_CONN = 0x02
    """It presented a certificate on this connection."""
    CERT_SESS = 0x04
    """It presented a certificate at least once in the TLS session."""


class Address(NamedTuple):
    """An IP address as text, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Ssl:
    """PP2_TYPE_SSL: the TLS between the proxy and its client.

    Attributes:
        client: see `SslClient`.
        verify: 0 if the client presented a certificate and it was verified, anything else if not.
        version: ``"TLSv1.3"``, say.
        common_name: of the subject of the client's certificate.
    """

    client: SslClient = SslClient.SSL
    verify: int = 1
    version: str = ""
    common_name: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """What a proxy tells of a connection.

    Attributes:
        source, destination: both ends of the connection as the proxy sees it; bytes are the path of a UNIX socket.
            Both are None if the proxy speaks for nobody or does not know.
        alpn: the application protocol that was negotiated.
        authority: the host name that the client asked for (SNI).
        unique_id: what the proxy calls the connection.
        ssl: None if nothing is known of TLS.
    """

    source: Address | bytes | None = None
    destination: Address | bytes | None = None
    alpn: bytes = b""
    authority: str = ""
    unique_id: bytes = b""
    ssl: Ssl | None = None


class Read(NamedTuple):
    """A whole header, and how many bytes it took."""

    header: Header
    size: int


def read(data: bytes | bytearray) -> Read | None:
    """Read the header at the start of all that was received so far; of either version.

    Returns:
        None while more bytes are needed; `data` is shorter than `MAX_HEADER` then.

    Raises:
        BadHeader: this is no header, whatever comes next.
    """
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _read_2(bytes(data[:MAX_HEADER]))
    if data[:6] == b"PROXY "[: len(data)]:
        return _read_1(bytes(data[: MAX_LINE + 1]))
    raise BadHeader("it begins with no header")


# Version 1, section 2.1.


def _read_1(data: bytes) -> Read | None:
    end = data.find(b"\r")
    if end < 0:
        if len(data) >= MAX_LINE:
            raise BadHeader("version 1: the line is too long")
        return None
    if end + 2 > MAX_LINE:
        raise BadHeader("version 1: the line is too long")
    if len(data) == end + 1:
        return None
    if data[end + 1] != 0x0A:
        raise BadHeader("version 1: a CR without LF")
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":  # what follows it is to be ignored
        return Read(Header(), end + 2)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise BadHeader("version 1: not a protocol, two addresses and two ports")
    version = 4 if words[1] == b"TCP4" else 6
    source = Address(_host(words[2], version), _port(words[4]))
    destination = Address(_host(words[3], version), _port(words[5]))
    return Read(Header(source, destination), end + 2)


def _host(word: bytes, version: int) -> str:
    try:
        text = word.decode("ascii")
        address = ip_address(text)
    except ValueError:
        raise BadHeader("version 1: not an address") from None
    if address.version != version or "%" in text:
        raise BadHeader("version 1: an address of another family")
    return str(address)


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[0] == 0x30 and word != b"0") or int(word) > 0xFFFF:
        raise BadHeader("version 1: not a port")
    return int(word)


# Version 2, section 2.2.


def _read_2(data: bytes) -> Read | None:
    if len(data) > 12 and data[12] not in (0x20, 0x21):
        raise BadHeader("version 2: unknown version or command")
    local = data[12:13] == b"\x20"
    if len(data) > 13 and not local and data[13] not in ADDRESSES:
        raise BadHeader("version 2: unknown address family or protocol")
    if len(data) < FIXED:
        return None
    size = FIXED + int.from_bytes(data[14:16], "big")
    if size > MAX_HEADER:
        raise BadHeader("version 2: too long")
    needed = 0 if local else struct.calcsize(ADDRESSES[Family(data[13])])
    if size < FIXED + needed:
        raise BadHeader("version 2: too short for its addresses")
    if len(data) < size:
        return None
    if local:  # its whole content is to be discarded
        return Read(Header(), size)
    source, destination = _addresses(Family(data[13]), data[FIXED : FIXED + needed])
    return Read(_told(source, destination, data[:size], FIXED + needed), size)


def _addresses(family: Family, block: bytes) -> tuple[Address | bytes | None, Address | bytes | None]:
    if family is Family.UNSPECIFIED:
        return None, None
    if family is Family.UNIX:
        return block[:UNIX_PATH].rstrip(b"\0"), block[UNIX_PATH:].rstrip(b"\0")
    source, destination, source_port, destination_port = struct.unpack(ADDRESSES[family], block)
    return Address(str(ip_address(source)), source_port), Address(str(ip_address(destination)), destination_port)


def _told(source: Address | bytes | None, destination: Address | bytes | None, data: bytes, start: int) -> Header:
    """The header with the values behind its addresses; what no reader of ours asks for is skipped."""
    values = _values(data, start, {Type.ALPN, Type.AUTHORITY, Type.CRC32C, Type.UNIQUE_ID, Type.SSL})
    if Type.CRC32C in values:
        at, checksum = values[Type.CRC32C]
        if len(checksum) != 4 or int.from_bytes(checksum, "big") != crc32c(data[:at] + bytes(4) + data[at + 4 :]):
            raise BadHeader("version 2: wrong checksum")
    unique_id = values.get(Type.UNIQUE_ID, (0, b""))[1]
    if len(unique_id) > MAX_UNIQUE_ID:
        raise BadHeader("version 2: the unique id is too long")
    return Header(
        source,
        destination,
        values.get(Type.ALPN, (0, b""))[1],
        _text(values.get(Type.AUTHORITY, (0, b""))[1]),
        unique_id,
        _ssl(values[Type.SSL][1]) if Type.SSL in values else None,
    )


def _ssl(value: bytes) -> Ssl:
    if len(value) < 5:
        raise BadHeader("version 2: PP2_TYPE_SSL is too short")
    client, verify = struct.unpack_from("!BI", value)
    values = _values(value, 5, {Type.SSL_VERSION, Type.SSL_CN})
    return Ssl(
        SslClient(client & 0x07),  # the others have no meaning yet
        verify,
        _text(values.get(Type.SSL_VERSION, (0, b""))[1]),
        _text(values.get(Type.SSL_CN, (0, b""))[1]),
    )


def _values(data: bytes, start: int, wanted: set[Type]) -> dict[int, tuple[int, bytes]]:
    """Type-length-value triples: the wanted ones, each with the offset of its value (section 2.2.1)."""
    values: dict[int, tuple[int, bytes]] = {}
    while start < len(data):
        if start + 3 > len(data):
            raise BadHeader("version 2: a value is cut off")
        kind, at = data[start], start + 3
        start = at + int.from_bytes(data[start + 1 : at], "big")
        if start > len(data):
            raise BadHeader("version 2: a value is cut off")
        if kind in wanted:
            if kind in values:
                raise BadHeader("version 2: a value is there twice")
            values[kind] = at, data[at:start]
    return values


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadHeader("version 2: a text is not UTF-8") from None
