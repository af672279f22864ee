"""What a device is told when its request goes nowhere: one status for each kind of refusal, with a JSON body.

RFC 9110 section 15 has the statuses; the body is ``{"message": ..., "code": ..., "request_id": ...}``, where the code
is the reason word that logs and counters carry too.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from mgate.errors import Denied, GateError, Kind, TargetLost, TimedOut

__all__ = ["CONTINUE", "Refused", "refused", "render"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""RFC 9110 section 15.2.1."""

RETRY_AFTER = 1
"""Seconds that a device is asked to wait where waiting may help."""

CHALLENGE = (b"www-authenticate", b'Basic realm="mgate", charset="UTF-8"')
"""RFC 7617 section 2."""

STATUSES = {
    Kind.BAD_CREDENTIALS: 401,
    Kind.NOT_AUTHORISED: 403,
    Kind.BAD_CLIENT_ID: 400,
    Kind.BANNED: 403,
    Kind.BAD_TOPIC: 400,
    Kind.QUOTA: 429,
    Kind.RATE: 429,
    Kind.BAD_PAYLOAD: 400,
    Kind.TOO_LARGE: 413,
    Kind.TARGET_DOWN: 502,
    Kind.TARGET_SLOW: 504,
    Kind.INTERNAL_FAULT: 500,
    Kind.HANDLER_FAULT: 500,
}
TARGET_STATUSES = {"target_slow": 504, "shutdown": 503}
TEXTS = {Kind.HANDLER_FAULT: "internal fault"}
"""What is told instead of the kind: that a handler broke is nobody's business outside."""


class Refused(GateError):
    """A request that is answered by the gateway.

    Args:
        status: of the answer.
        text: told to the device; constant, or what a handler chose to tell.
        reason: the word for logs and counters.
        fields: more fields of the answer.
        close: what follows on the connection can not be trusted, or is not worth reading.
    """

    def __init__(
        self,
        status: int,
        text: str,
        reason: str = "bad_request",
        *,
        fields: tuple[tuple[bytes, bytes], ...] = (),
        close: bool = False,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.fields = fields
        self.close = close


def refused(error: GateError) -> Refused:
    """The answer for any error of the gateway."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Denied):
        status = STATUSES[error.kind]
        text = error.text or TEXTS.get(error.kind, error.kind.value)
        reason = error.reason
    elif isinstance(error, TargetLost):
        status, text, reason = TARGET_STATUSES.get(error.reason, 502), error.text, error.reason
    elif isinstance(error, TimedOut):
        status, text, reason = 408, error.text, error.reason
    else:
        status, text, reason = 500, "internal fault", error.reason
    return Refused(status, text, reason, fields=_advice(status), close=status in (408, 503))


def _advice(status: int) -> tuple[tuple[bytes, bytes], ...]:
    if status == 401:
        return (CHALLENGE,)
    if status in (429, 503):
        return ((b"retry-after", b"%d" % RETRY_AFTER),)
    return ()


def render(answer: Refused, request_id: str, *, head_only: bool = False, close: bool = False) -> bytes:
    """The whole answer on the wire.

    Args:
        request_id: joins the answer with the lines of the log.
        head_only: it answers a HEAD, so only the length of the body is told (RFC 9110 section 9.3.2).
        close: the gateway closes the connection behind it.
    """
    code = "internal_fault" if answer.reason == "handler_fault" else answer.reason
    told = {"message": answer.text, "code": code, "request_id": request_id}
    body = json.dumps(told, ensure_ascii=True).encode("ascii") + b"\n"
    lines = [
        b"HTTP/1.1 %d %s" % (answer.status, HTTPStatus(answer.status).phrase.encode("ascii")),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"cache-control: no-store",
        *(b"%s: %s" % field for field in answer.fields),
    ]
    if close:
        lines.append(b"connection: close")
    lines += [b"", b"" if head_only else body]
    return b"\r\n".join(lines)
