"""What listens: a configured listener, its policy and a reactor become something that serves, and can be renewed.

`PROTOCOLS` is the only place that knows every protocol. `mgate.generation` prepares listeners, so that everything that
can be wrong with their files is known before anything is changed; `mgate.serving` puts them to use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from mgate.addresses import ListenAddress
from mgate.binding import Binding
from mgate.config import Listener
from mgate.counters import Counters
from mgate.entrance import Entrance
from mgate.errors import ConfigError
from mgate.journal import Journal
from mgate.policy import Policy
from mgate.targets import target_endpoints
from mgate.tls.checkers import Checkers

__all__ = ["PROTOCOLS", "Prepared", "PreparedMqtt", "StreamListener"]


class StreamListener:
    """One listener of a stream protocol.

    Args:
        name: of the listener.
        factory: makes a protocol for each device, can `drain`, and has `counters` and the `open` connections.
        entrance: what stands in front of the factory.
        binding: the address.

    Attributes:
        factory, binding: as given.
        counters: what happened on it.
    """

    def __init__(self, name: str, factory: Any, entrance: Entrance, binding: Binding) -> None:
        self.name = name
        self.factory = factory
        self.counters: Counters = factory.counters
        self._entrances = [entrance]
        self._way_in = entrance.around(factory)
        self.listen_on(binding)

    @property
    def address(self) -> ListenAddress:
        """Where it listens."""
        return self.binding.address

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the log."""
        return self._entrances[-1].notes

    def listen_on(self, binding: Binding) -> None:
        """Serve who connects there."""
        self.binding = binding
        binding.serve(self.name, self._way_in)

    def adopt(self, entrance: Entrance) -> None:
        """Let those who connect from now on come in this way."""
        self._entrances.append(entrance)
        self._way_in = entrance.around(self.factory)
        self.binding.serve(self.name, self._way_in)

    def bind(self) -> None:
        """Take the address; see `Binding.bind`."""
        self.binding.bind()

    def start(self) -> Deferred[None]:
        """Accept devices; see `Binding.start`."""
        return self.binding.start()

    def close(self) -> Deferred[None]:
        """Accept nobody any more, for good; the links that exist go on."""
        for entrance in self._entrances:
            entrance.stop()
        return self.binding.close()

    def drain(self) -> Deferred[None]:
        """Let the links of this listener come to their end; the factory knows how long that may take."""
        drained: Deferred[None] = self.factory.drain()
        return drained

    def sweep(self, *, retired: bool = False) -> bool:
        """Let go of entrances that were replaced, once the last connection that came through them is gone.

        Args:
            retired: nobody comes through the newest one any more, either.

        Returns:
            Whether nothing is left: only if it is retired, and nobody is connected.
        """
        newest = self._entrances[-1]
        for entrance in list(self._entrances):
            if entrance.idle and (retired or entrance is not newest):
                entrance.release()
                if entrance is not newest:
                    self._entrances.remove(entrance)
        return retired and not self.factory.open and self._entrances == [newest] and newest.idle

    def __str__(self) -> str:
        return str(self.binding)


class Prepared(Protocol):
    """A listener whose configuration was read and whose files were, before anything of it is put to use."""

    def listener(self, binding: Binding | None = None) -> StreamListener:
        """A new listener; on an address that is not bound yet, unless there is one."""

    def renew(self, listener: StreamListener) -> None:
        """Have a listener that serves already use it for those who connect from now on."""

    def discard(self) -> None:
        """It will not be put to use."""


class PreparedMqtt:
    """One MQTT listener.

    Args:
        name: of the listener.
        listener: its configuration.
        policy: who judges.
        reactor, journal: handed down.
        checkers: asked for the status of client certificates.
        counters: of the listener, which go on counting over a reload; new ones if left out.

    Raises:
        ConfigError: with every file that cannot be used.
    """

    def __init__(
        self,
        name: str,
        listener: Listener,
        policy: Policy,
        reactor: Any,
        journal: Journal,
        checkers: Checkers,
        counters: Counters | None = None,
    ) -> None:
        from mgate.mqtt.choices import Choices

        self._name = name
        self._listener = listener
        self._policy = policy
        self._reactor = reactor
        self._journal = journal
        self._counters = counters or Counters()
        self._choices = Choices(
            versions=frozenset(listener.versions),
            denied_publish=listener.denied_publish,
            denied_delivery=listener.denied_delivery,
            denied_subscribe_31=listener.denied_subscribe_31,
            denied_will=listener.denied_will,
        )
        self._entrance: Entrance | None = None
        problems: list[str] = []
        for part in (self._prepare_entrance, self._prepare_targets):
            try:
                part(checkers)
            except ConfigError as error:
                problems += [f'listener "{name}": {problem}' for problem in error.problems]
        if problems:
            self.discard()
            raise ConfigError(problems)

    def _prepare_entrance(self, checkers: Checkers) -> None:
        self._entrance = Entrance(
            self._name, self._listener, [b"mqtt"], self._reactor, self._journal, self._counters, checkers
        )

    def _prepare_targets(self, _: Checkers) -> None:
        self._targets = target_endpoints(self._name, self._listener, self._reactor, self._journal)

    def listener(self, binding: Binding | None = None) -> StreamListener:
        """A new listener; on an address that is not bound yet, unless there is one."""
        from mgate.mqtt.protocol import MqttDeviceFactory

        factory = MqttDeviceFactory(
            self._reactor,
            self._targets,
            self._policy,
            limits=self._listener.limits,
            choices=self._choices,
            counters=self._counters,
            listener=self._name,
            journal=self._journal,
        )
        assert self._entrance is not None
        binding = binding or Binding(self._name, self._listener.listen, self._reactor)
        return StreamListener(self._name, factory, self._entrance, binding)

    def renew(self, listener: StreamListener) -> None:
        """Have a listener that serves already use it for those who connect from now on."""
        assert self._entrance is not None
        listener.factory.adopt(self._targets, self._policy, self._listener.limits, self._choices)
        listener.adopt(self._entrance)

    def discard(self) -> None:
        """It will not be put to use."""
        if self._entrance is not None:
            self._entrance.release()


PROTOCOLS: dict[str, Callable[..., Prepared]] = {"mqtt": PreparedMqtt}
"""What prepares a listener of each protocol."""
