"""WebSocket frames and handshakes as bytes, made by hand from RFC 6455, never by the code that is tested."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ACCEPT", "KEY", "Parsed", "close", "frame", "parse", "request", "unmasked"]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455 section 1.3."""

MASK = bytes.fromhex("37fa213d")


class Parsed(NamedTuple):
    """One frame."""

    opcode: int
    payload: bytes
    final: bool = True
    masked: bool = False


def unmasked(payload: bytes, key: bytes) -> bytes:
    """The payload with the key taken off, or put on, as section 5.3 says it octet by octet."""
    return bytes(octet ^ key[position % 4] for position, octet in enumerate(payload))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    key: bytes | None = MASK,
    reserved: int = 0,
    size: int | None = None,
    width: int | None = None,
) -> bytes:
    """A frame, right or wrong.

    Args:
        key: None for a frame without a mask.
        reserved: the reserved bits, 0 to 7.
        size: what the length says, if it lies.
        width: bytes of the extended length, if they are not the fewest: 0, 2 or 8.
    """
    size = len(payload) if size is None else size
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    length = {0: size, 2: 126, 8: 127}[width]
    head = bytes([final << 7 | reserved << 4 | opcode, (key is not None) << 7 | length])
    if width:
        head += size.to_bytes(width, "big")
    return head + payload if key is None else head + key + unmasked(payload, key)


def close(code: int | None = None, reason: bytes = b"", *, key: bytes | None = MASK) -> bytes:
    """A Close frame."""
    return frame(8, b"" if code is None else code.to_bytes(2, "big") + reason, key=key)


def parse(data: bytes) -> tuple[list[Parsed], bytes]:
    """The whole frames in `data`, and what is left of it."""
    found = []
    while len(data) >= 2:
        size, start = data[1] & 127, 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        key = b""
        if data[1] & 128:
            key, start = data[start : start + 4], start + 4
        if len(data) < start + size:
            break
        payload = data[start : start + size]
        masked = bool(data[1] & 128)
        found.append(Parsed(data[0] & 15, unmasked(payload, key) if key else payload, bool(data[0] & 128), masked))
        data = data[start + size :]
    return found, data


def request(
    path: str = "/mqtt", *, method: str = "GET", version: str = "HTTP/1.1", without: str = "", **fields: str | list[str]
) -> bytes:
    """A request for an upgrade; underscores in the names of `fields` stand for dashes, a list is a repeated field."""
    names: dict[str, str | list[str]] = {
        "Host": "localhost:8083",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    known = {name.lower(): name for name in names}
    for field, value in fields.items():
        dashed = field.replace("_", "-")
        names[known.get(dashed.lower(), dashed)] = value
    lines = [f"{method} {path} {version}"]
    for name, value in names.items():
        if name.lower() != without.lower():
            lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
