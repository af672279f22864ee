"""Log observers: one line an event, as text or as JSON, for everything that this process logs.

`mgate.service` gives twistd what `twistd_observer` makes; an embedding program may use `line_observer` itself.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from mgate.journal import Line, escape

__all__ = ["FORMATS", "LEVELS", "line_observer", "twistd_observer"]

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warn", "error", "critical")
MESSAGE_LENGTH = 4096


def line_observer(file: IO[Any], format: str = "text", level: str = "info") -> ILogObserver:
    """Make an observer that writes what is at least as severe as `level` to `file`.

    Args:
        file: a text file; flushed after each line.
        format: one of `FORMATS`.
        level: one of `LEVELS`.
    """
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.lookupByName(level))
    return FilteringLogObserver(_LineObserver(file, _RENDERERS[format]), [predicate])


def twistd_observer(twistd: Mapping[str, Any], format: str, level: str) -> ILogObserver:
    """Make the observer that writes our lines to where twistd would write its own.

    Args:
        twistd: the options of twistd (``logfile``, ``nodaemon``).
        format: one of `FORMATS`.
        level: one of `LEVELS`.

    Raises:
        SystemExit: a daemon should log to standard output.
        OSError: the log file cannot be opened.
    """
    name = twistd.get("logfile") or ""
    foreground = bool(twistd.get("nodaemon") or twistd.get("debug"))
    if name == "-" and not foreground:
        raise SystemExit("mgate: a daemon cannot log to stdout: use --logfile=FILE, or -n")
    if foreground and name in ("", "-"):
        return line_observer(sys.stdout, format, level)
    return line_observer(_rotating(name or "twistd.log"), format, level)


def _rotating(name: str) -> IO[Any]:
    """A log file that SIGUSR1 rotates, as twistd's own does."""
    log_file = LogFile.fromFullPath(name)
    if not signal.getsignal(signal.SIGUSR1):

        def rotate(number: int, frame: object) -> None:
            from twisted.internet import reactor  # the one that runs by now

            reactor.callFromThread(log_file.rotate)  # type: ignore[attr-defined]

        signal.signal(signal.SIGUSR1, rotate)
    return log_file  # type: ignore[no-any-return]


@implementer(ILogObserver)
class _LineObserver:
    """Writes each event with one `write`, so that lines of several processes on one pipe do not mix."""

    def __init__(self, file: IO[Any], render: Callable[[LogEvent], str]) -> None:
        self._file = file
        self._render = render

    def __call__(self, event: LogEvent) -> None:
        line = self._render(event) + "\n"
        try:
            try:
                self._file.write(line)
            except UnicodeEncodeError:  # a terminal that knows ASCII only
                self._file.write(line.encode("ascii", "backslashreplace").decode("ascii"))
            self._file.flush()
        except (OSError, ValueError):
            return  # closed, or the disk is full: nobody can be told, and a gateway goes on without its log


def _text(event: LogEvent) -> str:
    line = event.get("journal")
    head = f"{_time(event)} {_level(event):<5} "
    if isinstance(line, Line):
        return head + str(line)
    trace = _traceback(event)
    return head + escape(_message(event), MESSAGE_LENGTH) + "".join(f"\n    {row}" for row in trace.splitlines())


def _json(event: LogEvent) -> str:
    record: dict[str, Any] = {"ts": _time(event), "level": _level(event), "logger": event.get("log_namespace", "")}
    line = event.get("journal")
    if isinstance(line, Line):
        record |= line
    else:
        record["msg"] = escape(_message(event), MESSAGE_LENGTH)
        if trace := _traceback(event):
            record["traceback"] = trace
    return json.dumps(record, ensure_ascii=True, default=str)


def _message(event: LogEvent) -> str:
    return formatEvent(event).rstrip("\n").replace("\n", " | ")


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _level(event: LogEvent) -> str:
    level = event.get("log_level", LogLevel.info)
    return str(level.name) if level is not None else "info"


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return str(failure.getTraceback()).rstrip("\n") if failure is not None else ""


_RENDERERS = {"text": _text, "json": _json}
