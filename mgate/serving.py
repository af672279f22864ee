"""What serves: the listeners of the configuration in use, and what those before it left behind.

`mgate.service` opens them at the start, and replaces them at a reload:

1. Everything new is made first: files read, handlers made, addresses taken. If anything fails, nothing has changed.
2. Addresses that stay stay open, whichever listener they belong to afterwards.
3. Connections keep what they began with: policy, limits, targets, contexts of TLS, revocation checker.
4. What only the connections of before need goes with the last of them; `Serving.sweep` looks, once a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from mgate.addresses import ListenAddress
from mgate.binding import BindError, Binding
from mgate.config import Configuration, Listener
from mgate.errors import GateError
from mgate.generation import Generation
from mgate.journal import Journal
from mgate.listeners import StreamListener
from mgate.tls.checkers import Checkers

__all__ = ["Serving"]

_log = Logger("mgate")

_Key = str | tuple[str, int]


def _key(address: ListenAddress) -> _Key:
    """The address, however it was written."""
    return address.endpoint or (address.host, address.port)


class Serving:
    """All listeners of a gateway.

    Args:
        configuration: what to serve; nothing is bound yet.
        reactor: to run in.
        journal: what the data path writes to.

    Attributes:
        listeners: those that devices can connect to, by name.
        checkers: those of client certificates.

    Raises:
        ConfigError: something that the configuration names cannot be had.
    """

    def __init__(self, configuration: Configuration, reactor: Any, journal: Journal) -> None:
        self._reactor = reactor
        self._journal = journal
        self.checkers = Checkers(reactor, journal.revocation)
        self._generation = Generation(configuration, reactor, journal, self.checkers)
        self.listeners = {name: prepared.listener() for name, prepared in self._generation.prepared.items()}
        self._retired: dict[str, StreamListener] = {}

    @property
    def configuration(self) -> Configuration:
        """The one in use."""
        return self._generation.configuration

    @property
    def notes(self) -> list[str]:
        """What is no mistake, but worth a line."""
        of_listeners = (note for listener in self.listeners.values() for note in listener.notes)
        return [*self.configuration.notes, *of_listeners]

    def lines(self) -> list[str]:
        """What each listener is, for the log."""
        return [self._line(name, listener) for name, listener in self.configuration.listeners.items()]

    def check(self) -> None:
        """Find what only Twisted knows to be wrong; ``mgate check`` calls it.

        Raises:
            ConfigError: an address cannot be read.
        """
        for listener in self.listeners.values():
            listener.binding.check()

    def bind(self) -> None:
        """Take every address, or none.

        Raises:
            BindError: one cannot be had.
            ConfigError: one cannot be read.
        """
        try:
            for listener in self.listeners.values():
                listener.bind()
        except GateError:
            self.close()
            raise

    def open(self) -> Deferred[None]:
        """Accept devices on every address, or on none.

        Returns:
            Fires when all are open; fails with `BindError`.
        """
        starts = [each.start() for each in self.listeners.values()]
        return DeferredList(starts, consumeErrors=True).addCallback(self._opened)

    def _opened(self, results: list[tuple[bool, Any]]) -> None:
        texts = [result.value.text for good, result in results if not good]
        if texts:
            self.close()
            raise BindError("\n".join(texts))

    def replace(self, configuration: Configuration) -> None:
        """Serve those who connect from now on as `configuration` says.

        Raises:
            GateError: something cannot be had, and all is as it was. `ConfigError` has several texts, in `problems`.
        """
        known = self._retired | self.listeners
        counters = {name: listener.counters for name, listener in known.items()}
        generation = Generation(configuration, self._reactor, self._journal, self.checkers, counters)
        held = {_key(listener.address): listener.binding for listener in self.listeners.values()}
        taken: dict[_Key, Binding] = {}
        try:
            for name, wanted in configuration.listeners.items():
                if _key(wanted.listen) not in held:
                    binding = taken[_key(wanted.listen)] = Binding(name, wanted.listen, self._reactor)
                    self._take(binding, held.values())
        except GateError:
            for binding in taken.values():
                binding.close()
            generation.discard()
            raise
        self._put_to_use(generation, known, held | taken)

    def _take(self, binding: Binding, held: Iterable[Binding]) -> None:
        """Open a new address, which nobody is served at yet.

        Raises:
            GateError: it cannot be had.
        """
        try:
            binding.bind()
            starting = binding.start()
            if starting.called and isinstance(starting.result, Failure):
                failure = starting.result
                starting.addErrback(lambda _: None)
                failure.raiseException()
            starting.addErrback(lambda failure: _log.error("{problem}", problem=str(failure.value)))
        except BindError as error:
            ours = next((other for other in held if binding.address.overlaps(other.address)), None)
            if ours is None:
                raise
            raise BindError(f"{error.text}: the gateway itself listens on {ours}, which takes a restart") from error

    def _put_to_use(
        self, generation: Generation, known: dict[str, StreamListener], bindings: dict[_Key, Binding]
    ) -> None:
        """Nothing can fail any more."""
        before, self.listeners = self.listeners, {}
        self._generation = generation
        for name, prepared in generation.prepared.items():
            listener = known.get(name)
            if listener is None:
                listener = prepared.listener(bindings[_key(generation.configuration.listeners[name].listen)])
            else:
                prepared.renew(listener)
            self.listeners[name] = listener
            self._retired.pop(name, None)
        for name, listener in self.listeners.items():  # once all are renewed: they may have exchanged addresses
            listener.listen_on(bindings.pop(_key(generation.configuration.listeners[name].listen)))
        for binding in bindings.values():
            binding.close()
            _log.info("no longer listening on {address}", address=binding)
        self._retired |= {name: each for name, each in before.items() if name not in self.listeners}
        self.sweep()

    def sweep(self) -> None:
        """Let go of what only connections of before needed that are gone."""
        for listener in self.listeners.values():
            listener.sweep()
        for name, listener in list(self._retired.items()):
            if listener.sweep(retired=True):
                del self._retired[name]

    def close(self) -> Deferred[Any]:
        """Accept nobody any more; the links that exist go on."""
        return gatherResults([each.close() for each in self._all()])

    def drain(self) -> Deferred[Any]:
        """Let all links come to their end."""
        return gatherResults([each.drain() for each in self._all()])

    def _all(self) -> Iterator[StreamListener]:
        yield from self.listeners.values()
        yield from self._retired.values()

    def _line(self, name: str, listener: Listener) -> str:
        targets = ", then ".join(map(str, listener.target))
        handlers = ", ".join(self._generation.policies[name].names) or "none, so everything passes"
        where = f"{name}: listening on {self.listeners[name]}{_tls(listener)}"
        return f"{where} -> target {targets}, handlers: {handlers}"


def _tls(listener: Listener) -> str:
    """What a listener asks of devices."""
    if listener.tls is None:
        return ""
    asked = "".join(f", {method}" for method in listener.tls.revocation.methods)
    return f" (TLS, client certificates{asked})" if listener.tls.client_ca_file else " (TLS)"
