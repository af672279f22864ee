"""How a WebSocket connection ends: the codes of Close frames (RFC 6455 section 7.4), and what stands behind each."""

from __future__ import annotations

from typing import NamedTuple

from mgate.errors import Denied, GateError, Kind, Malformed, TargetLost, TimedOut

__all__ = ["NO_STATUS", "Closed", "Violation", "close_code", "close_payload", "read_close"]

NO_STATUS = 1005
"""Stands for a Close frame without a code; never on the wire (section 7.4.1)."""
CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
"""What a Close frame may say: RFC 6455 section 7.4 and the registry of IANA."""

REASON_MOST = 123
"""Bytes; a control frame carries 125, and the code takes two."""

DENIED_CODES = {
    Kind.QUOTA: 1013, Kind.RATE: 1013, Kind.TARGET_DOWN: 1013, Kind.TARGET_SLOW: 1013,
    Kind.TOO_LARGE: 1009, Kind.INTERNAL_FAULT: 1011, Kind.HANDLER_FAULT: 1011,
}  # fmt: skip
TARGET_CODES = {"shutdown": 1001, "target_closed": 1000, "target_refused": 1000, "upstream_malformed": 1011}


class Violation(GateError):
    """The peer broke the WebSocket protocol, or a limit.

    Args:
        code: what the Close frame tells (section 7.4.1).
        text: constant text, told to the peer and written to the log.
        reason: the word for logs and counters.
    """

    def __init__(self, code: int, text: str, reason: str = "malformed") -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason


class Closed(NamedTuple):
    """The Close frame of the peer; code is `NO_STATUS` if it has none."""

    code: int
    reason: str


def close_code(error: GateError | None) -> int:
    """The code of a Close frame (RFC 6455 section 7.4.1) for what ended a connection; None is its ordinary end."""
    if error is None:
        return 1000
    if isinstance(error, Violation):
        return error.code
    if isinstance(error, Malformed):
        return 1002
    if isinstance(error, Denied):
        return DENIED_CODES.get(error.kind, 1008)
    if isinstance(error, TargetLost):
        return TARGET_CODES.get(error.reason, 1013)
    return 1008 if isinstance(error, TimedOut) else 1011


def close_payload(code: int, reason: str = "") -> bytes:
    """What a Close frame carries. A code that may not be sent becomes 1000, and a long reason is cut.

    Args:
        code: `NO_STATUS` for nothing at all.
    """
    if code == NO_STATUS:
        return b""
    if code not in CODES:
        code, reason = 1000, ""
    told = reason.encode("utf-8", "replace")[:REASON_MOST].decode("utf-8", "ignore")
    return code.to_bytes(2, "big") + told.encode("utf-8")


def read_close(payload: bytes) -> Closed:
    """What a Close frame says (section 5.5.1). Raises Violation."""
    if not payload:
        return Closed(NO_STATUS, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code not in CODES:
        raise Violation(1002, "a close code that may not be sent")
    try:
        return Closed(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise Violation(1007, "the reason of a Close is not UTF-8") from None
