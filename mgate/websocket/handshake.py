"""The opening handshake of WebSocket (RFC 6455 section 4), both roles, without I/O.

Rules:

1. The head of a request is bounded, and strict (RFC 9112 sections 2 to 5): what could be read in two ways is refused.
2. What is no upgrade to this version of WebSocket is answered by HTTP and closed; nothing behind it is read.
3. One sub-protocol is chosen out of those that are offered, the first that is spoken here. None is an error.
4. Extensions are declined, by not naming them (section 9.1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from mgate.errors import GateError, TargetLost

__all__ = ["MQTT_SUBPROTOCOLS", "ClientOpening", "HeadReader", "Refused", "Request", "Rules", "accept_for", "agree"]

MQTT_SUBPROTOCOLS = ("mqtt", "mqttv3.1")
"""MQTT 5.0 and 3.1.1 [MQTT-6.0.0-3], and what MQTT 3.1 was called."""

VERSION = "13"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
END = b"\r\n\r\n"

Fields = dict[str, list[str]]
"""Values of each field, by its name in lower case."""

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]++) HTTP/(\d)\.(\d)")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*+)?")
FIELD = re.compile(rb"(" + TOKEN + rb"):[\t ]*+([\t\x20-\x7e\x80-\xff]*+)")
HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
ABSOLUTE = re.compile(r"(?:https?|wss?)://([^/?#]*)([^#]*)", re.IGNORECASE)
AMBIGUOUS = re.compile(rb"[\x00-\x1f\x7f/\\]")
"""What would change the path if it were written out."""


class Refused(GateError):
    """A handshake that is answered by HTTP, and goes no further.

    Args:
        status: of the answer.
        text: told to the device; constant.
        reason: the word for logs and counters.
        fields: more fields of the answer.
    """

    def __init__(self, status: int, text: str, reason: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.fields = fields

    def answer(self) -> bytes:
        """The whole response."""
        body = json.dumps({"message": self.text, "code": self.reason}).encode("ascii") + b"\n"
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.fields),
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body


@dataclass(slots=True)
class Request:
    """An upgrade that was asked for in order.

    Attributes:
        path: with its percent-encoding resolved.
        query: behind the question mark, as it came; it may hold a token, so it belongs in no log.
        host: the Host field.
        origin: None if the device named none, as who is no browser does.
        offered: the sub-protocols, in the order of the device.
        key: of the handshake.
        fields: all fields.
    """

    path: str
    query: str
    host: str
    origin: str | None
    offered: tuple[str, ...]
    key: str
    fields: Fields


class HeadReader:
    """Gathers the head of a request or response out of chunks.

    Args:
        most: bytes that it may have.
    """

    __slots__ = ("_data", "_most")

    def __init__(self, most: int) -> None:
        self._data = bytearray()
        self._most = most

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take a chunk. Returns None until the head is whole, then the head and what came behind it.

        Raises:
            Refused: 431 if it is too large, 400 if it can not become a head.
        """
        start = max(0, len(self._data) - len(END) + 1)
        self._data += data
        end = self._data.find(END, start) + len(END)
        if end > self._most or (end < len(END) and len(self._data) > self._most):
            raise Refused(431, "the head of the request is too large", "head_too_large")
        if not self._data[:1].isalpha():
            # TLS, MQTT, a PROXY header of version 2: it would not come to an end before the time has.
            raise Refused(400, "the head of the request is malformed", "malformed")
        return None if end < len(END) else (bytes(self._data[:end]), bytes(self._data[end:]))


class Rules:
    """What a listener demands of a handshake.

    Args:
        path_prefix: what is served is this path, and what is below it.
        origins: pages of which origins may connect, as ``"https://example.org"``; any if there are none.
        subprotocols: that are spoken.
        max_fields: of a head.
    """

    def __init__(
        self,
        path_prefix: str = "",
        origins: Sequence[str] = (),
        subprotocols: Sequence[str] = MQTT_SUBPROTOCOLS,
        max_fields: int = 100,
    ) -> None:
        self._prefix = path_prefix.rstrip("/")
        self._origins = frozenset(origin.lower() for origin in origins)
        self._subprotocols = frozenset(subprotocols)
        self._max_fields = max_fields

    def read(self, head: bytes) -> tuple[Request, str]:
        """What is asked for by a whole head, and the sub-protocol to speak.

        Raises:
            Refused: it is none that is served.
        """
        line, fields = _parse(head, REQUEST_LINE, self._max_fields)
        method, target, major, minor = (part.decode("ascii") for part in line.groups())
        if major != "1" or minor not in "01":
            raise Refused(505, "only HTTP/1.1 is spoken here", "version")
        if method != "GET":
            raise Refused(405, "the method is not served", "method", [("Allow", "GET")])
        host = _once(fields, "host")
        if HOST.fullmatch(host) is None:
            raise Refused(400, "the Host field is missing or malformed", "host")
        path, query = _path(target, host)
        if self._prefix and path != self._prefix and not path.startswith(self._prefix + "/"):
            raise Refused(404, "there is nothing here", "not_found")
        if minor == "0" or "websocket" not in _tokens(fields, "upgrade") or "upgrade" not in _tokens(
            fields, "connection"
        ):
            raise Refused(426, "WebSocket is spoken here", "no_upgrade", _upgrade())
        if "transfer-encoding" in fields or _once(fields, "content-length") not in ("", "0"):
            raise Refused(400, "a handshake has no body", "framing")
        if _once(fields, "sec-websocket-version") != VERSION:
            raise Refused(426, "only version 13 of WebSocket is spoken here", "version", _upgrade())
        key = _once(fields, "sec-websocket-key")
        if not _is_key(key):
            raise Refused(400, "the key of the handshake is missing or malformed", "malformed")
        origin = _once(fields, "origin") if "origin" in fields else None
        if origin is not None and self._origins and origin.lower() not in self._origins:
            raise Refused(403, "the origin is not allowed", "origin")
        offered = tuple(_list(fields, "sec-websocket-protocol"))
        for subprotocol in offered:
            if subprotocol in self._subprotocols:
                return Request(path, query, host, origin, offered, key, fields), subprotocol
        raise Refused(400, "none of the sub-protocols is spoken here", "subprotocol")


def accept_for(key: str) -> str:
    """What proves that the key was read (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + GUID, usedforsecurity=False).digest()).decode("ascii")


def agree(key: str, subprotocol: str) -> bytes:
    """The response 101 to a handshake."""
    return (
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_for(key)}\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    ).encode("ascii")


class ClientOpening:
    """The handshake with a target.

    Args:
        host: for the Host field, with the port if the scheme has another.
        path: of the target, with its query, beginning with a slash.
        subprotocols: to offer.
        max_fields: of the head of its answer.
    """

    def __init__(
        self, host: str, path: str, subprotocols: Sequence[str] = MQTT_SUBPROTOCOLS[:1], max_fields: int = 100
    ) -> None:
        self._host = host
        self._path = path
        self._subprotocols = tuple(subprotocols)
        self._max_fields = max_fields
        self._key = base64.b64encode(os.urandom(16)).decode("ascii")

    def request(self) -> bytes:
        """What to send."""
        return (
            f"GET {self._path} HTTP/1.1\r\n"
            f"Host: {self._host}\r\n"
            "Upgrade: websocket\r\n"
            "Connection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {self._key}\r\n"
            f"Sec-WebSocket-Version: {VERSION}\r\n"
            f"Sec-WebSocket-Protocol: {', '.join(self._subprotocols)}\r\n\r\n"
        ).encode("ascii")

    def check(self, head: bytes) -> str:
        """Read the answer (RFC 6455 section 4.1). Returns the sub-protocol that the target chose.

        Raises:
            TargetLost: it did not agree; the text says why.
        """
        try:
            line, fields = _parse(head, STATUS_LINE, self._max_fields)
            status = int(line[1])
            if status != HTTPStatus.SWITCHING_PROTOCOLS:
                raise _disagrees(f"it answered {status}")
            if "websocket" not in _tokens(fields, "upgrade") or "upgrade" not in _tokens(fields, "connection"):
                raise _disagrees("its answer is no upgrade to WebSocket")
            if _once(fields, "sec-websocket-accept") != accept_for(self._key):
                raise _disagrees("its answer is to another handshake")
            if _list(fields, "sec-websocket-extensions"):
                raise _disagrees("it speaks an extension that was not offered")
            chosen = _once(fields, "sec-websocket-protocol")
        except Refused:
            raise _disagrees("its answer is malformed") from None
        if chosen not in self._subprotocols:
            raise _disagrees("it speaks none of the sub-protocols that were offered")
        return chosen


def _disagrees(why: str) -> TargetLost:
    return TargetLost(why, "target_refused")


def _upgrade() -> list[tuple[str, str]]:
    return [("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)]


def _parse(head: bytes, first: re.Pattern[bytes], max_fields: int) -> tuple[re.Match[bytes], Fields]:
    """The first line and the fields of a head that ends with an empty line. Raises Refused."""
    top, *lines = head[: -len(END)].split(b"\r\n")
    line = first.fullmatch(top)
    if line is None:
        raise Refused(400, "the first line is malformed", "malformed")
    if len(lines) > max_fields:
        raise Refused(431, "too many fields", "head_too_large")
    fields: Fields = {}
    for text in lines:
        match = FIELD.fullmatch(text)
        if match is None:
            raise Refused(400, "a field is malformed", "malformed")
        fields.setdefault(match[1].decode("ascii").lower(), []).append(match[2].decode("latin-1").rstrip("\t "))
    return line, fields


def _once(fields: Fields, name: str) -> str:
    """The only value of a field, "" if there is none. Raises Refused."""
    values = fields.get(name, [""])
    if len(values) > 1:
        raise Refused(400, "a field is there twice", "duplicate_field")
    return values[0]


def _list(fields: Fields, name: str) -> list[str]:
    """The members of a list, which may be spread over several fields (RFC 9110 section 5.6.1)."""
    members = (member.strip("\t ") for value in fields.get(name, []) for member in value.split(","))
    return [member for member in members if member]


def _tokens(fields: Fields, name: str) -> set[str]:
    return {member.lower() for member in _list(fields, name)}


def _path(target: str, host: str) -> tuple[str, str]:
    """The path and the query of a request target (RFC 9112 section 3.2). Raises Refused."""
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is not None:
        if absolute[1].lower() != host.lower():
            raise Refused(400, "the request is for another host", "host")
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    path, _, query = target.partition("?")
    segments = [unquote_to_bytes(segment) for segment in path.split("/")]
    if (
        segments[0]
        or len(segments) < 2
        or re.search("%(?![0-9A-Fa-f]{2})|#", target)
        or any(AMBIGUOUS.search(segment) or segment in (b".", b"..") for segment in segments)
        or b"" in segments[1:-1]
    ):
        raise Refused(400, "the path is malformed", "bad_path")
    try:
        return b"/".join(segments).decode("utf-8"), query
    except UnicodeDecodeError:
        raise Refused(400, "the path is malformed", "bad_path") from None


def _is_key(key: str) -> bool:
    """Is it base64 of 16 bytes (RFC 6455 section 4.2.1)?"""
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
