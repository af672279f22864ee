"""The lines that the data path writes: one a connection event or refusal, whatever devices send.

Rules:

1. One event is one line. Every text is escaped (line ends, control characters, terminal codes, direction marks) and
   cut; what devices choose at 64 characters.
2. Payloads, passwords and tokens are never written, not even when a caller passes them.
3. Refusals, and failures of a target or a responder, are limited to `lines_per_second` for each reason; what was left
   out is counted and said later.
4. Reasons come from the code, so that their number is bounded.

Links and handlers' policies call `Journal`; observers of `mgate.logs`, or any of Twisted's, write what it emits.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

__all__ = ["CLIENT_TEXT", "Journal", "Line", "escape"]

CLIENT_TEXT = 64
OWN_TEXT = 256
OWN_FIELDS = frozenset({"text", "detail", "error", "target"})
SECRET_FIELDS = frozenset({"payload", "password", "token", "secret", "authorization"})
SHORT_NAMES = {"connection_id": "conn", "client_id": "client", "protocol": "proto"}
REJECT_ORDER = ("proto", "reason", "handler", "text", "peer", "client", "conn", "listener")
UNQUOTED = frozenset(' "=')
MAX_REASONS = 64
FAULT_INTERVAL = 60.0


def escape(text: str, limit: int = CLIENT_TEXT) -> str:
    """Make `text` safe for one line of a terminal, and at most `limit` characters long."""
    if len(text) <= limit and text.isprintable() and "\\" not in text:
        return text
    parts = []
    room = limit
    for character in text[: limit + 1]:
        if character == "\\":
            part = "\\\\"
        elif character.isprintable():
            part = character
        else:
            part = character.encode("unicode_escape").decode("ascii")
        parts.append(part)
        room -= len(part)
        if room < 0:
            break
    if room >= 0:
        return "".join(parts)
    while parts and room < 3:
        room += len(parts.pop())
    return "".join(parts) + "..."


class Line(Mapping[str, Any]):
    """The fields of one event: a mapping for structured logs, and text as ``event=reject reason=quota ...``."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __iter__(self) -> Any:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __str__(self) -> str:
        pairs = [f"{key}={_quoted(value)}" for key, value in self._fields.items() if key != "traceback"]
        trace = self._fields.get("traceback", "")
        return " ".join(pairs) + "".join(f"\n    {row}" for row in trace.splitlines())


class Journal:
    """What a listener's factories and links write to.

    Args:
        lines_per_second: refusals that are written for each reason; more are only counted.
        clock: seconds that only grow.
        log: where the events go; a logger of the namespace ``mgate`` if left out.
    """

    def __init__(
        self,
        *,
        lines_per_second: int = 10,
        clock: Callable[[], float] = time.monotonic,
        log: Logger | None = None,
    ) -> None:
        self._per_second = lines_per_second
        self._clock = clock
        self._log = log or Logger("mgate")
        self._windows: dict[str, list[float | int]] = {}
        self._faults: dict[str, float] = {}

    def event(self, name: str, *, level: LogLevel | None = None, **fields: Any) -> None:
        """Write that something happened, as in ``event("connect", listener="mqtt", client_id="a")``."""
        self._emit(level or LogLevel.info, {"event": name, **_cleaned(fields)})

    def reject(self, reason: str, *, handler: str = "", **fields: Any) -> None:
        """Write that a device was refused, unless this reason has used up its lines of this second.

        Args:
            reason: a word from the closed list of `mgate.errors`.
            handler: who refused; "" for the gateway itself.
            fields: `protocol`, `text`, `peer`, `client_id`, `connection_id`, `listener`, and what else is known.
        """
        if self._admitted(reason):
            known = _cleaned({"protocol": "mqtt", **fields, "reason": reason, "handler": handler})
            ordered = {key: known.pop(key, "") for key in REJECT_ORDER}
            self._emit(LogLevel.warn, {"event": "reject", **ordered, **known})

    def target_failed(self, **fields: Any) -> None:
        """Write that an address of a target could not be dialled; limited as refusals are.

        Args:
            fields: `target`, `error` and `listener`.
        """
        if self._admitted("target_failed"):
            self._emit(LogLevel.warn, {"event": "target_failed", **_cleaned(fields)})

    def revocation(self, reason: str, text: str) -> None:
        """Write why the status of a certificate cannot be had; limited as refusals are."""
        if self._admitted(reason):
            self._emit(LogLevel.warn, {"event": "revocation", **_cleaned({"reason": reason, "text": text})})

    def fault(self, handler: str, hook: str, failure: Failure | BaseException) -> None:
        """Write that a hook of a handler raised what it may not; with a traceback once a minute for each type."""
        error = failure.value if isinstance(failure, Failure) else failure
        kind = type(error).__name__
        fields = _cleaned({"handler": handler, "hook": hook, "error": f"{kind}: {error}"})
        now = self._clock()
        known = kind in self._faults or len(self._faults) < MAX_REASONS
        if known and now >= self._faults.get(kind, now):
            self._faults[kind] = now + FAULT_INTERVAL
            self._emit(LogLevel.error, {"event": "fault", **fields, "traceback": _traceback(failure)})
        elif self._admitted("handler_fault"):
            self._emit(LogLevel.error, {"event": "fault", **fields})

    def flush(self) -> None:
        """Say how many lines were left out in the seconds that are over; the service calls it every second."""
        now = self._clock()
        for reason, window in self._windows.items():
            if now >= window[0]:
                self._tell_suppressed(reason, window)

    def _admitted(self, reason: str) -> bool:
        if reason not in self._windows and len(self._windows) >= MAX_REASONS:
            reason = "other"
        now = self._clock()
        window = self._windows.setdefault(reason, [now + 1.0, 0, 0])  # its end, lines written, lines left out
        if now >= window[0]:
            self._tell_suppressed(reason, window)
            window[0] = now + 1.0
            window[1] = 0
        if window[1] >= self._per_second:
            window[2] += 1
            return False
        window[1] += 1
        return True

    def _tell_suppressed(self, reason: str, window: list[float | int]) -> None:
        if window[2]:
            suppressed, window[2] = window[2], 0
            self._emit(LogLevel.warn, {"event": "suppressed", "reason": reason, "suppressed": suppressed})

    def _emit(self, level: LogLevel, fields: dict[str, Any]) -> None:
        self._log.emit(level, "{journal}", journal=Line(fields))


def _cleaned(fields: dict[str, Any]) -> dict[str, Any]:
    cleaned = {}
    for key, value in fields.items():
        key = SHORT_NAMES.get(key, key)
        if key in SECRET_FIELDS:
            continue
        if isinstance(value, tuple) and len(value) == 2:
            host, port = value
            value = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        elif isinstance(value, bytes):
            value = value.decode("utf-8", "backslashreplace")
        if value is not None and not isinstance(value, bool | int | float):
            value = escape(str(value), OWN_TEXT if key in OWN_FIELDS else CLIENT_TEXT)
        cleaned[key] = value
    return cleaned


def _quoted(value: Any) -> str:
    """A value of a text line: bare where it can be told from its neighbours, else in quotes."""
    if not isinstance(value, str):
        return json.dumps(value)
    if value and UNQUOTED.isdisjoint(value):
        return value
    return '"' + value.replace('"', '\\"') + '"'


def _traceback(failure: Failure | BaseException) -> str:
    """Where it was raised. The message is escaped: it may repeat what a device sent."""
    if isinstance(failure, Failure):
        error, trace = failure.value, failure.getTracebackObject()
    else:
        error, trace = failure, failure.__traceback__
    frames = traceback.format_tb(trace)
    return "".join(frames) + f"{type(error).__name__}: {escape(str(error), OWN_TEXT)}"
