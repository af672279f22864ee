"""The service that twistd runs: it says READY when every listener is open, reloads at SIGHUP, and drains at the end.

Exit codes: 1 the configuration cannot be used, 2 an address cannot be listened on. What happened is the last line of
standard error then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from mgate import systemd
from mgate.allocator import keep_freed_memory
from mgate.binding import BindError
from mgate.config import Configuration
from mgate.counters import ServiceCounters
from mgate.errors import ConfigError, GateError
from mgate.journal import Journal
from mgate.logs import twistd_observer
from mgate.serving import Serving

__all__ = ["BAD_CONFIGURATION", "CANNOT_LISTEN", "GatewayService", "makeService"]

BAD_CONFIGURATION = 1
CANNOT_LISTEN = 2

_log = Logger("mgate")


def makeService(options: Any, reactor: Any = None) -> GatewayService:
    """Called by twistd (through `mgate.tap`) before it becomes a daemon: the last moment to fail with an exit code.

    Args:
        options: parsed `mgate.options.Options`.
        reactor: to run in; the installed one if left out.
    """
    if reactor is None:
        from twisted.internet import reactor as installed

        reactor = installed
    configuration: Configuration = options.configuration
    keep_freed_memory()
    journal = Journal(lines_per_second=configuration.log.lines_per_second)
    try:
        service = GatewayService(configuration, reactor, journal, options.reread)
        service.twistd = getattr(options, "parent", None)
        service.bind()
    except ConfigError as error:
        _give_up(BAD_CONFIGURATION, error.problems)
    except BindError as error:
        _give_up(CANNOT_LISTEN, [error.text])
    return service


class GatewayService(Service):
    """All listeners of one configuration.

    Args:
        configuration: what to start.
        reactor: to run in.
        journal: what the data path writes to.
        reread: reads the configuration again, for a reload; raises ConfigError.
        environ: where systemd leaves its address.

    Attributes:
        counters: of the whole gateway.

    Raises:
        ConfigError: something that the configuration names cannot be had.
    """

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        journal: Journal,
        reread: Callable[[], Configuration],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.twistd: Mapping[str, Any] | None = None
        """The options of twistd, if it is what runs this service."""
        self.counters = ServiceCounters()
        self._reactor = reactor
        self._journal = journal
        self._reread = reread
        self._environ = environ
        self._opening: Deferred[None] | None = None
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        self._hang_up: Any = None
        self._reload_due = False
        self._serving = Serving(configuration, reactor, journal)

    def setServiceParent(self, parent: Any) -> None:
        """Called by twistd with the application, just before it begins to log: it shall write our lines.

        ``--logger`` and ``--syslog`` win.
        """
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self.twistd is not None and "logfile" in self.twistd and not self.twistd.get("syslog"):
            log = self._serving.configuration.log
            parent.setComponent(ILogObserver, twistd_observer(self.twistd, log.format, log.level))

    @property
    def notes(self) -> list[str]:
        """What is no mistake, but worth a line; ``mgate check`` prints them too."""
        return self._serving.notes

    def check(self) -> None:
        """Find what only Twisted knows to be wrong; ``mgate check`` calls it.

        Raises:
            ConfigError: an address cannot be read.
        """
        self._serving.check()

    def bind(self) -> None:
        """Take every address, or none.

        Raises:
            BindError: one cannot be had.
            ConfigError: one cannot be read.
        """
        self._serving.bind()

    def privilegedStartService(self) -> None:
        """Called by twistd before it gives up its privileges."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._open()

    def startService(self) -> None:
        """Called by twistd once it runs as the user that it shall run as."""
        super().startService()  # type: ignore[no-untyped-call]
        self._tell_notes()
        self._ticking.start(1.0, now=False)
        self._serving.checkers.start()
        self._take_signals()
        # Once the reactor runs: only then are devices served, and signals handled.
        self._open().addCallback(lambda _: self._reactor.callWhenRunning(self._say_ready))

    def stopService(self) -> Deferred[None]:
        """Called by twistd at SIGTERM and SIGINT: nobody is accepted any more, and the links drain."""
        super().stopService()  # type: ignore[no-untyped-call]
        _log.info("stopping: no new connections; those that are open end within their drain_timeout")
        self._tell_systemd("STOPPING=1")
        if self._ticking.running:
            self._ticking.stop()
        stopping = self._serving.close()
        stopping.addCallback(lambda _: self._serving.drain())
        return stopping.addCallback(self._stopped)

    def _stopped(self, _: object) -> None:
        self._serving.checkers.stop()
        if self._hang_up is not None:  # not earlier: it would kill while links drain
            signal.signal(signal.SIGHUP, self._hang_up)
            self._hang_up = None
        self._journal.flush()

    def reload(self) -> bool:
        """Read everything again, and use it for those who connect from now on; called at SIGHUP.

        The connections that exist keep what they began with. If anything is wrong, nothing changes.

        Returns:
            Whether it succeeded.
        """
        self._reload_due = False
        if not self.running:
            _log.warn("not reloaded: the gateway is stopping")
            return False
        self._tell_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        before, log = self._serving.lines(), self._serving.configuration.log
        try:
            self._serving.replace(self._reread())
        except GateError as error:
            self.counters.reload_failures += 1
            self.counters.last_reload_succeeded = 0
            for problem in error.problems if isinstance(error, ConfigError) else [error.text]:
                _log.error("cannot reload: {problem}", problem=problem)
            _log.error("not reloaded: the configuration stays as it was")
        else:
            self.counters.reloads += 1
            self.counters.last_reload_succeeded = 1
            self._tell_notes()
            if self._serving.configuration.log != log:
                _log.warn("log: what has changed there counts from the next start")
            self._tell_listening([line for line in self._serving.lines() if line not in before])
            _log.info("reloaded: {count} listening", count=len(self._serving.listeners))
        self._tell_systemd("READY=1")
        return self.counters.last_reload_succeeded == 1

    def _tick(self) -> None:
        """Called once a second."""
        self._journal.flush()
        self._serving.sweep()

    def _open(self) -> Deferred[None]:
        """Open all listeners, once. If one fails, all are closed and the process ends."""
        if self._opening is None:
            self._opening = self._serving.open()
            failed: list[Failure] = []
            self._opening.addErrback(failed.append)
            if failed:
                _give_up(CANNOT_LISTEN, str(failed[0].value).splitlines())
        return self._opening

    def _say_ready(self) -> None:
        self._tell_listening(self._serving.lines())
        _log.info("ready: {count} listening", count=len(self._serving.listeners))
        self._tell_systemd("READY=1")

    def _tell_listening(self, lines: list[str]) -> None:
        for line in lines:
            _log.info("{line}", line=line)

    def _tell_notes(self) -> None:
        for note in self.notes:
            _log.warn("{note}", note=note)

    def _tell_systemd(self, state: str) -> None:
        try:
            systemd.notify(state, self._environ)
        except OSError as error:
            _log.warn("cannot tell systemd {state}: {error}", state=state, error=error)

    def _take_signals(self) -> None:
        """SIGHUP reloads, and a second SIGTERM or SIGINT need not wait for the links to drain."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._hang_up = signal.signal(signal.SIGHUP, self._hung_up)
        self._reactor.addSystemEventTrigger("before", "shutdown", _let_signals_kill)

    def _hung_up(self, *_: object) -> None:
        """However many signals come before the reload begins, it is one."""
        if not self._reload_due:
            self._reload_due = True
            self._reactor.callFromThread(self.reload)


def _let_signals_kill() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _give_up(code: int, problems: list[str]) -> NoReturn:
    """End the process with `code`, the reasons last on the real standard error: twistd may have redirected ours."""
    stream = sys.__stderr__
    if stream is not None:
        for problem in problems:
            stream.write(f"mgate: {problem}\n")
        stream.flush()
    raise SystemExit(code)
