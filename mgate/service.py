"""The service that twistd runs: it assembles everything, says READY when every listener is open, and drains at the end.

Exit codes: 1 the configuration cannot be used, 2 an address cannot be listened on. What happened is the last line of
standard error then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from mgate import systemd
from mgate.allocator import keep_freed_memory
from mgate.config import Configuration
from mgate.errors import ConfigError, GateError
from mgate.journal import Journal
from mgate.listeners import PROTOCOLS, BindError
from mgate.logs import twistd_observer
from mgate.policy import Policy

__all__ = ["BAD_CONFIGURATION", "CANNOT_LISTEN", "GatewayService", "load_policies", "makeService"]

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
        service = GatewayService(configuration, load_policies(configuration, reactor, journal), reactor, journal)
        service.twistd = getattr(options, "parent", None)
        service.bind()
    except ConfigError as error:
        _give_up(BAD_CONFIGURATION, error.problems)
    except BindError as error:
        _give_up(CANNOT_LISTEN, [error.text])
    return service


def load_policies(configuration: Configuration, reactor: Any, journal: Journal) -> dict[str, Policy]:
    """Find and make the handlers of every listener. `makeService` and ``mgate check`` call it.

    Raises:
        ConfigError: a handler that is named or a folder of plugins cannot be had; with all of them.
    """
    from mgate.dropins import discover_usable, find_handler
    from mgate.handler import MakerContext

    problems: list[str] = []
    found = discover_usable(configuration.plugin_dirs, problems)
    policies: dict[str, Policy] = {}
    for name, listener in configuration.listeners.items():
        context = MakerContext(reactor, name, configuration.directory)
        handlers = []
        for spec in listener.handlers or ():
            try:
                handlers.append((spec.partition(":")[0], find_handler(spec, context, found)))
            except ConfigError as error:
                source = configuration.source_of_handlers(name)
                problems += [f'{source}: listener "{name}": {problem}' for problem in error.problems]
        policies[name] = Policy(handlers, journal.fault)
    if problems:
        raise ConfigError(problems)
    return policies


class GatewayService(Service):
    """All listeners of one configuration.

    Args:
        configuration: what to start.
        policies: who judges, by the name of the listener.
        reactor: to run in.
        journal: what the data path writes to.
        environ: where systemd leaves its address.
    """

    def __init__(
        self,
        configuration: Configuration,
        policies: Mapping[str, Policy],
        reactor: Any,
        journal: Journal,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.twistd: Mapping[str, Any] | None = None
        """The options of twistd, if it is what runs this service."""
        self._configuration = configuration
        self._policies = policies
        self._reactor = reactor
        self._journal = journal
        self._environ = environ
        self._opening: Deferred[None] | None = None
        self._flushing = LoopingCall(journal.flush)
        self._flushing.clock = reactor
        self._undo: list[Callable[[], object]] = []
        self._listeners = {
            name: PROTOCOLS[listener.protocol](name, listener, policies[name], reactor, journal)
            for name, listener in configuration.listeners.items()
        }

    def setServiceParent(self, parent: Any) -> None:
        """Called by twistd with the application, just before it begins to log: it shall write our lines.

        ``--logger`` and ``--syslog`` win.
        """
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self.twistd is not None and "logfile" in self.twistd and not self.twistd.get("syslog"):
            log = self._configuration.log
            parent.setComponent(ILogObserver, twistd_observer(self.twistd, log.format, log.level))

    def check(self) -> None:
        """Find what only Twisted knows to be wrong; ``mgate check`` calls it.

        Raises:
            ConfigError: an address cannot be read.
        """
        for listener in self._listeners.values():
            listener.check()

    def bind(self) -> None:
        """Take every address, or none.

        Raises:
            BindError: one cannot be had.
            ConfigError: one cannot be read.
        """
        try:
            for listener in self._listeners.values():
                listener.bind()
        except GateError:
            for listener in self._listeners.values():
                listener.close()
            raise

    def privilegedStartService(self) -> None:
        """Called by twistd before it gives up its privileges."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._open()

    def startService(self) -> None:
        """Called by twistd once it runs as the user that it shall run as."""
        super().startService()  # type: ignore[no-untyped-call]
        for note in self._configuration.notes:
            _log.warn("{note}", note=note)
        self._flushing.start(1.0, now=False)
        self._take_signals()
        # Once the reactor runs: only then are devices served, and signals handled.
        self._open().addCallback(lambda _: self._reactor.callWhenRunning(self._say_ready))

    def stopService(self) -> Deferred[None]:
        """Called by twistd at SIGTERM and SIGINT: nobody is accepted any more, and the links drain."""
        super().stopService()  # type: ignore[no-untyped-call]
        _log.info("stopping: no new connections; those that are open end within their drain_timeout")
        self._tell_systemd("STOPPING=1")
        if self._flushing.running:
            self._flushing.stop()
        while self._undo:
            self._undo.pop()()
        stopping: Deferred[Any] = gatherResults([each.close() for each in self._listeners.values()])
        stopping.addCallback(lambda _: gatherResults([each.drain() for each in self._listeners.values()]))
        return stopping.addCallback(lambda _: self._journal.flush())

    def _open(self) -> Deferred[None]:
        """Open all listeners, once. If one fails, all are closed and the process ends."""
        if self._opening is None:
            starts = [each.start() for each in self._listeners.values()]
            self._opening = DeferredList(starts, consumeErrors=True).addCallback(self._check)
            failed: list[Failure] = []
            self._opening.addErrback(failed.append)
            if failed:
                _give_up(CANNOT_LISTEN, str(failed[0].value).splitlines())
        return self._opening

    def _check(self, results: list[tuple[bool, Any]]) -> None:
        texts = [result.value.text for good, result in results if not good]
        if texts:
            for listener in self._listeners.values():
                listener.close()
            raise BindError("\n".join(texts))

    def _say_ready(self) -> None:
        for name, listener in self._listeners.items():
            configured = self._configuration.listeners[name]
            _log.info(
                "{name}: listening on {address} -> target {targets}, handlers: {handlers}",
                name=name,
                address=listener,
                targets=", then ".join(map(str, configured.target)),
                handlers=", ".join(self._policies[name].names) or "none, so everything passes",
            )
        _log.info("ready: {count} listening", count=len(self._listeners))
        self._tell_systemd("READY=1")

    def _tell_systemd(self, state: str) -> None:
        try:
            systemd.notify(state, self._environ)
        except OSError as error:
            _log.warn("cannot tell systemd {state}: {error}", state=state, error=error)

    def _take_signals(self) -> None:
        """SIGHUP must not kill, and a second SIGTERM or SIGINT need not wait for the links to drain."""
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._hung_up))
        self._undo.append(lambda: signal.signal(signal.SIGHUP, previous))
        self._reactor.addSystemEventTrigger("before", "shutdown", _let_signals_kill)

    def _hung_up(self) -> None:
        _log.warn("SIGHUP: this version cannot reload its configuration; restart it instead")


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
