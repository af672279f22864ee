"""The service that twistd runs: it assembles everything, says READY when every listener is open, and drains at the end.

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
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from mgate import systemd
from mgate.allocator import keep_freed_memory
from mgate.config import Configuration, Listener
from mgate.counters import ServiceCounters
from mgate.errors import ConfigError, GateError
from mgate.generation import Generation
from mgate.journal import Journal
from mgate.listeners import BindError, StreamListener
from mgate.logs import twistd_observer
from mgate.tls.checkers import Checkers

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
        self._flushing = LoopingCall(journal.flush)
        self._flushing.clock = reactor
        self._undo: list[Callable[[], object]] = []
        self._checkers = Checkers(reactor, journal.revocation)
        self._generation = Generation(configuration, reactor, journal, self._checkers)
        self._listeners = {name: prepared.listener() for name, prepared in self._generation.prepared.items()}
        self._retired: list[StreamListener] = []

    def setServiceParent(self, parent: Any) -> None:
        """Called by twistd with the application, just before it begins to log: it shall write our lines.

        ``--logger`` and ``--syslog`` win.
        """
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self.twistd is not None and "logfile" in self.twistd and not self.twistd.get("syslog"):
            log = self._generation.configuration.log
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
        self._tell_notes()
        self._flushing.start(1.0, now=False)
        self._checkers.start()
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
        serving = [*self._listeners.values(), *self._retired]
        stopping: Deferred[Any] = gatherResults([each.close() for each in serving])
        stopping.addCallback(lambda _: gatherResults([each.drain() for each in serving]))
        stopping.addCallback(lambda _: self._checkers.stop())
        return stopping.addCallback(lambda _: self._journal.flush())

    def reload(self) -> bool:
        """Read everything again, and use it for those who connect from now on; called at SIGHUP.

        The connections that exist keep what they began with. If anything is wrong, nothing changes.

        Returns:
            Whether it succeeded.
        """
        self._tell_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        known = {name: listener.counters for name, listener in self._listeners.items()}
        bound: dict[str, StreamListener] = {}
        try:
            generation = Generation(self._reread(), self._reactor, self._journal, self._checkers, known)
            for name, prepared in generation.prepared.items():
                listener = generation.configuration.listeners[name]
                if name not in self._listeners or self._listeners[name].address != listener.listen:
                    bound[name] = prepared.listener()
                    bound[name].bind()
        except GateError as error:
            for each in bound.values():
                each.close()
            self.counters.reload_failures += 1
            self.counters.last_reload_succeeded = 0
            for problem in getattr(error, "problems", None) or [str(error)]:
                _log.error("cannot reload: {problem}", problem=problem)
            _log.error("the configuration stays as it was")
            self._tell_systemd("READY=1")
            return False
        self._put_to_use(generation, bound)
        self.counters.reloads += 1
        self.counters.last_reload_succeeded = 1
        self._tell_notes()
        _log.info("reloaded: {count} listening", count=len(self._listeners))
        self._tell_systemd("READY=1")
        return True

    def _put_to_use(self, generation: Generation, bound: Mapping[str, StreamListener]) -> None:
        """Nothing can fail any more but to accept on what is bound."""
        self._generation = generation
        for name, listener in list(self._listeners.items()):
            if name in bound or name not in generation.prepared:
                del self._listeners[name]
                listener.close()
                self._retired.append(listener)
                _log.info("{name}: no longer listening on {address}", name=name, address=listener)
            else:
                generation.prepared[name].renew(listener)
        for name, listener in bound.items():
            self._listeners[name] = listener
            listener.start().addErrback(lambda failure: _log.error("cannot reload: {why}", why=failure.value))
            self._tell_listening(name)

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
        for name in self._listeners:
            self._tell_listening(name)
        _log.info("ready: {count} listening", count=len(self._listeners))
        self._tell_systemd("READY=1")

    def _tell_listening(self, name: str) -> None:
        configured = self._generation.configuration.listeners[name]
        _log.info(
            "{name}: listening on {address}{tls} -> target {targets}, handlers: {handlers}",
            name=name,
            address=self._listeners[name],
            tls=_tls(configured),
            targets=", then ".join(map(str, configured.target)),
            handlers=", ".join(self._generation.policies[name].names) or "none, so everything passes",
        )

    def _tell_notes(self) -> None:
        for note in self.notes:
            _log.warn("{note}", note=note)

    @property
    def notes(self) -> list[str]:
        """What is no mistake, but worth a line; ``mgate check`` prints them too."""
        of_listeners = (note for listener in self._listeners.values() for note in listener.notes)
        return [*self._generation.configuration.notes, *of_listeners]

    def _tell_systemd(self, state: str) -> None:
        try:
            systemd.notify(state, self._environ)
        except OSError as error:
            _log.warn("cannot tell systemd {state}: {error}", state=state, error=error)

    def _take_signals(self) -> None:
        """SIGHUP reloads, and a second SIGTERM or SIGINT need not wait for the links to drain."""
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        self._undo.append(lambda: signal.signal(signal.SIGHUP, previous))
        self._reactor.addSystemEventTrigger("before", "shutdown", _let_signals_kill)


def _tls(listener: Listener) -> str:
    """What a listener asks of devices."""
    if listener.tls is None:
        return ""
    asked = "".join(f", {method}" for method in listener.tls.revocation.methods)
    return f" (TLS, client certificates{asked})" if listener.tls.client_ca_file else " (TLS)"


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
