"""The heads that the gateway writes: a request for the target, and a response for the device."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from mgate.http.choices import Choices
from mgate.http.heads import Fields
from mgate.http.paths import encode_path
from mgate.http.rules import Request, tokens

__all__ = ["end_to_end", "forwarded_fields", "request_head", "response_head"]

HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"content-length",
))  # fmt: skip
"""Fields of a response that belong to one hop (RFC 9110 section 7.6.1), and its framing, which is written anew."""

PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


def forwarded_fields(choices: Choices, host: str) -> bytes:
    """What does not change between the requests of a connection: the lines that tell the target of the device.

    Args:
        host: the address of the device, without port.
    """
    proto = b"https" if choices.secure else b"http"
    address = host.encode("ascii", "replace") or b"unknown"
    node = b'"[%s]"' % address if b":" in address else address
    return b"host: %s\r\nx-forwarded-for: %s\r\nx-forwarded-proto: %s\r\nforwarded: for=%s;proto=%s" % (
        choices.target_host, address, proto, node, proto,
    )  # fmt: skip


def request_head(request: Request, forwarded: bytes, authorization: bytes | None, length: int | None) -> bytes:
    """The head for the target (RFC 9112 section 3).

    Args:
        forwarded: from `forwarded_fields`.
        authorization: the value of that field, or None.
        length: bytes of the body; None if it is sent in chunks.
    """
    lines = [
        b"%s %s%s HTTP/1.1\r\n%s"
        % (
            request.method.encode("ascii"),
            encode_path(request.path),
            b"?" + request.query if request.query else b"",
            forwarded,
        )
    ]
    if request.host:
        host = b'"%s"' % request.host if b":" in request.host else request.host
        lines[0] += b";host=%s\r\nx-forwarded-host: %s" % (host, request.host)
    for field in request.fields:
        lines.append(b"%s: %s" % field)
    if authorization is not None:
        lines.append(b"authorization: " + authorization)
    if length is None:
        lines.append(b"transfer-encoding: chunked\r\n\r\n")
    elif length or request.method in ("POST", "PUT"):
        lines.append(b"content-length: %d\r\n\r\n" % length)
    else:
        lines.append(b"\r\n")
    return b"\r\n".join(lines)


def end_to_end(fields: Fields) -> Fields:
    """The fields of a response that are for the device."""
    named: Iterable[bytes] = ()
    kept = []
    for field in fields:
        if field[0] in HOP:
            if field[0] == b"connection":
                named = {*named, *tokens(field[1])}
        else:
            kept.append(field)
    return [field for field in kept if field[0] not in named] if named else kept


def response_head(
    status: int, phrase: bytes, fields: Fields, framing: bytes, *, close: bool, announce_keep_alive: bool
) -> bytes:
    """The head for the device.

    Args:
        framing: the line that says how long the body is, or b"".
        close: the gateway closes the connection behind it.
        announce_keep_alive: the device speaks HTTP/1.0, and must be told that the connection stays.
    """
    lines = [b"HTTP/1.1 %d %s" % (status, phrase or PHRASES.get(status, b""))]
    for field in fields:
        lines.append(b"%s: %s" % field)
    if framing:
        lines.append(framing)
    if close:
        lines.append(b"connection: close")
    elif announce_keep_alive:
        lines.append(b"connection: keep-alive")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
